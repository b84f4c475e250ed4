#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use kube::Config;
use serde_json::json;

use super::looks::{Look, Noted, judged};
use super::*;
use crate::controllers::challenge::{Check, Sight};
use crate::controllers::progress::Progress;
use crate::controllers::reads::Recoveries;
use crate::dns::{Fault, Path, Trouble};
use crate::net;

/// Of an API server that nobody asks.
pub fn reader() -> Reader {
    let nowhere = Config::new(http::Uri::from_static("http://127.0.0.1:1"));
    let client = kube::Client::try_from(nowhere).unwrap();
    Reader::new(Arc::new(Store::new("system")), client)
}

/// And of providers that nobody asks.
pub fn dns01() -> (Dns01, Arc<Recoveries>, Arc<Queue>) {
    let queue = Arc::new(Queue::new(1, Arc::new(Progress::default())));
    let reader = reader();
    let recoveries = reader.recoveries.clone();
    let settings = Settings {
        resolvers: vec![],
        resolvers_only: false,
        issuer_ambient: false,
        cluster_issuer_ambient: false,
    };
    let http = || Client::plain(net::public_roots()).unwrap();
    let hosted = Hosted::new(http(), Client::local().unwrap(), now);
    let dns01 = Dns01::new(reader, queue.clone(), settings, http(), hosted);
    (dns01, recoveries, queue)
}

#[tokio::test]
async fn a_record_that_is_forgotten_is_not_watched_again() {
    let (dns01, ..) = dns01();
    let key = Key::new(Kind::Challenge, "shop", "site");
    let mut object = Challenge::default();
    object.spec.solver.dns01 = serde_json::from_value(json!({ "cloudflare": {} })).unwrap();
    dns01.watch(&key);
    dns01.forget(&key);
    assert!(!dns01.has_recovered(&key, &object).await);
    assert!(dns01.records.lock().is_empty());
}

#[tokio::test]
async fn a_look_ends_also_by_a_panic() {
    let (dns01, ..) = dns01();
    let key = Key::new(Kind::Challenge, "shop", "site");
    dns01.watch(&key);
    let look = Look::begin(&dns01, &key);
    assert!(look.is_some() && Look::begin(&dns01, &key).is_none());
    let bug = move || {
        let _look = look;
        panic!("a bug");
    };
    assert!(catch_unwind(AssertUnwindSafe(bug)).is_err());
    assert!(Look::begin(&dns01, &key).is_some());
}

#[test]
fn a_record_that_all_servers_deny_is_lost_after_a_while_and_ever_later() {
    let fault = |trouble| Fault {
        server: "ns.example. (192.0.2.53)".into(),
        trouble,
    };
    let seen = |having, trouble| Propagation {
        name: "_acme-challenge.a.example.".into(),
        path: None,
        having,
        faults: vec![fault(trouble)],
    };
    let absent = || Trouble::Absent { others: 1 };
    let at: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let after = |seconds| at + jiff::SignedDuration::from_secs(seconds);
    for (times, seconds) in [(1, 5), (2, 10), (3, 20), (40, 5 << 16)] {
        let kept = Kept {
            written: Some(at),
            times,
            ..Kept::default()
        };
        assert!(
            !kept.is_lost(&seen(0, absent()), after(seconds - 1)),
            "{times}"
        );
        assert!(kept.is_lost(&seen(0, absent()), after(seconds)), "{times}");
        assert!(!kept.is_lost(&seen(1, absent()), after(seconds)));
        assert!(!kept.is_lost(&seen(0, Trouble::Slow), after(seconds)));
    }
    let never = Kept::default();
    assert!(!never.is_lost(&seen(0, absent()), after(1000)));
}

#[test]
fn a_provider_that_does_not_take_a_lost_record_twice_undoes_nothing() {
    let refusal = || Err(Error::permanent("already exists"));
    for (written, lost, removing, fails) in [
        (true, true, false, false),
        (true, false, false, true),
        (true, true, true, true),
        (false, true, false, true),
    ] {
        let mut kept = Kept {
            written: written.then(now),
            times: 1,
            lost,
            ..Kept::default()
        };
        kept.end(&RecordState::Unknown, removing, refusal());
        let failed = matches!(kept.state, RecordState::Failed(_));
        assert_eq!(failed, fails, "{written} {lost} {removing}");
        // It is tried ever later; once.
        assert_eq!((kept.times, kept.lost), (if fails { 1 } else { 2 }, false));
    }
}

#[tokio::test]
async fn a_record_that_is_written_anew_is_looked_for_anew() {
    let (dns01, ..) = dns01();
    let key = Key::new(Kind::Challenge, "shop", "site");
    let path = |name: &str, zone: &str| Path {
        name: name.into(),
        zone: zone.into(),
        servers: vec![],
    };
    let solver = |strategy: &str| {
        serde_json::from_value(json!({ "cloudflare": {}, "cnameStrategy": strategy })).unwrap()
    };
    let seen = |path| Propagation {
        name: "n.".into(),
        path: Some(path),
        having: 0,
        faults: vec![Fault {
            server: "ns".into(),
            trouble: Trouble::Absent { others: 0 },
        }],
    };
    let long_ago = now() - jiff::SignedDuration::from_secs(60);
    for (at, strategy, written, expected) in [
        (path("n.a.", "a."), "", now(), Noted::Right),
        (path("n.a.", "a."), "", long_ago, Noted::Anew),
        (path("m.a.", "a."), "Follow", now(), Noted::Anew),
        (path("n.a.", "n.a."), "", now(), Noted::Anew),
        (
            path("m.a.", "a."),
            "",
            long_ago,
            Noted::Astray("n.a.".into()),
        ),
    ] {
        let kept = Kept {
            state: RecordState::Present,
            places: vec![Record {
                domain: "a".into(),
                zone: "a.".into(),
                name: "n.a.".into(),
                value: "value".into(),
            }],
            written: Some(written),
            times: 1,
            ..Kept::default()
        };
        dns01.records.lock().insert(key.clone(), kept);
        let looked = Ok(seen(at));
        let noted = dns01.note(&key, &solver(strategy), &looked);
        assert_eq!(noted, expected, "{looked:?}");
        let state = dns01.records.lock().get(&key).unwrap().state.clone();
        let is_anew = noted == Noted::Anew;
        assert_eq!(state == RecordState::Unknown, is_anew, "{looked:?}");
        let (check, sight) = judged(looked, &noted);
        assert_eq!((check == Check::None, sight), (is_anew, Sight::Denied));
    }
}
