//! A Challenge against a CA with faults.

use super::*;
use crate::controllers::challenge::{Check, Dns01Settings, Objects, RecordState, Settings};
use crate::solvers::http01::objects::{Mode, SolverSettings};

fn settings() -> Settings {
    Settings {
        solver: SolverSettings::default(),
        mode: Mode::Pod,
        address: None,
        self_check_limit: Duration::from_secs(30),
        dns01: Dns01Settings {
            check_period: Duration::from_secs(10),
            check_limit: Duration::from_mins(10),
        },
        verbose_events: false,
    }
}

/// One that the CA is to be asked for: its solver waits for nothing.
fn due(ca: &ScriptedCa, now: Timestamp) -> challenge::Observation {
    let challenge = json!({
        "metadata": {
            "namespace": "shop", "name": "app", "uid": "uid", "resourceVersion": "7",
            "finalizers": ["acme.cert-manager.io/finalizer"],
        },
        "spec": {
            "authorizationURL": ca.server.url("/authz/1-0"), "url": ca.server.url("/challenge/1-0-http-01"),
            "dnsName": "a.example.com", "issuerRef": { "name": "ca" }, "key": "token.key", "token": "token",
            "type": "DNS-01", "wildcard": false,
            "solver": { "dns01": { "webhook": { "groupName": "a", "solverName": "b" } } },
        },
    });
    let challenge: Challenge = serde_json::from_value(challenge).unwrap();
    challenge::Observation {
        challenge: challenge.into(),
        account: true,
        objects: Objects::default(),
        missing_class: None,
        earlier: false,
        admitted: true,
        direct_users: 0,
        last: false,
        waited: false,
        record: RecordState::Present,
        shared: false,
        memo: challenge::Memo {
            presented: Some(now),
            check: Check::Passed,
            ..challenge::Memo::default()
        },
    }
}

/// For 20 seconds it is woken every second, by its own writes among others.
#[tokio::test]
async fn what_wakes_a_challenge_does_not_make_it_ask() {
    let ca = ScriptedCa::start();
    let account = registered(&ca).await;
    let mut now = clock::now();
    let mut seen = due(&ca, now);
    ca.fault(Call::Challenge, 9, Some(limited(Some("60"))));
    let mut said = 0;
    for second in 0..70 {
        let plan = challenge::plan(&seen, &settings(), now);
        if plan.effect == Some(challenge::Effect::Accept) {
            let spec = &seen.challenge.spec;
            let session = Session::new(&account, clock::now()).unwrap();
            let outcome = session.accept(&spec.authorization_url, &spec.url).await;
            let memo = seen.memo.after(&outcome, now);
            let plan = challenge::absorb(&seen, &settings(), outcome, now);
            assert!(plan.wake.unwrap() >= Duration::from_secs(59), "{plan:?}");
            said += plan.actions.len();
            seen.memo = memo;
        }
        let asked = if second < 59 { 1 } else { 2 };
        if second != 59 && second != 60 {
            assert_eq!(
                (ca.count(Call::Challenge), said),
                (asked, asked),
                "{second}"
            );
        }
        now = now.checked_add(SignedDuration::from_secs(1)).unwrap();
    }
}

/// What `ZeroSSL`'s proxy does at any call: the next one passes.
#[tokio::test]
async fn a_challenge_that_a_proxy_turns_away_is_tried_again_in_a_moment() {
    let ca = ScriptedCa::start();
    let account = registered(&ca).await;
    let now = Timestamp::constant(1_800_000_000, 0);
    let mut seen = due(&ca, now);
    let session = Session::new(&account, clock::now()).unwrap();
    ca.fault(Call::Challenge, 2, Some(html(429)));
    ca.fault(Call::Authorization, 1, Some(html(429)));
    let mut waits = vec![];
    for polls in [false, true, false] {
        let spec = &seen.challenge.spec;
        let (authorization, url) = (&spec.authorization_url, &spec.url);
        let outcome = if polls {
            session.poll(authorization, url).await
        } else {
            session.accept(authorization, url).await
        };
        seen.memo = seen.memo.after(&outcome, now);
        waits.push(seen.memo.resting.unwrap().duration_since(now).as_secs());
    }
    assert_eq!(waits, [5, 10, 20]);
    let spec = &seen.challenge.spec;
    let accepted = session.accept(&spec.authorization_url, &spec.url).await;
    assert!(matches!(accepted, challenge::Outcome::State { .. }));
}

/// (What it is asked in turn: whether it is only looked at.)
#[tokio::test]
async fn a_challenge_that_is_limited_without_a_word_about_when_is_asked_for_less_and_less() {
    let ca = ScriptedCa::start();
    let account = registered(&ca).await;
    let now = Timestamp::constant(1_800_000_000, 0);
    let mut seen = due(&ca, now);
    let session = Session::new(&account, clock::now()).unwrap();
    ca.fault(Call::Challenge, 3, Some(limited(None)));
    ca.fault(Call::Authorization, 1, Some(limited(None)));
    let (authorization, url) = (
        ca.server.url("/authz/1-0"),
        ca.server.url("/challenge/1-0-http-01"),
    );
    let mut waits = vec![];
    for polls in [false, false, true, false] {
        let outcome = if polls {
            session.poll(&authorization, &url).await
        } else {
            session.accept(&authorization, &url).await
        };
        seen.memo = seen.memo.after(&outcome, now);
        waits.push(seen.memo.resting.unwrap().duration_since(now).as_secs());
    }
    assert_eq!(waits, [60, 600, 6000, 24 * 60 * 60]);
    let heard = session.accept(&authorization, &url).await;
    assert_eq!(seen.memo.after(&heard, now).refusals, 0);
}

#[tokio::test]
async fn a_challenge_that_the_ca_does_not_know_is_lost_when_it_says_so_again() {
    let ca = ScriptedCa::start();
    let account = registered(&ca).await;
    let now = Timestamp::constant(1_800_000_000, 0);
    let mut seen = due(&ca, now);
    let session = Session::new(&account, clock::now()).unwrap();
    let unknown = || Some(Response::problem(404, "malformed"));
    ca.fault(Call::Challenge, 4, unknown());
    ca.fault(Call::Authorization, 4, unknown());
    let mut said = vec![];
    for _ in 0..4 {
        let spec = &seen.challenge.spec;
        let outcome = session.accept(&spec.authorization_url, &spec.url).await;
        let memo = seen.memo.after(&outcome, now);
        let plan = challenge::absorb(&seen, &settings(), outcome, now);
        let Some(Action::PatchStatus { status, .. }) = plan.actions.last() else {
            panic!("{plan:?}")
        };
        said.push(status["state"].as_str().unwrap().to_owned());
        seen.memo = memo;
    }
    assert_eq!(said, ["pending", "pending", "pending", "expired"]);
}

/// Nexus gives no status of a challenge. (What a process after a crash reads, whether it says the word.)
#[tokio::test]
async fn a_challenge_of_which_nothing_is_said_is_accepted_after_a_crash() {
    let ca = ScriptedCa::start();
    let account = registered(&ca).await;
    let session = Session::new(&account, clock::now()).unwrap();
    let (authorization, url) = (ca.server.url("/authz/1"), ca.server.url("/challenge/1"));
    let other = ca.server.url("/challenge/2");
    for (status, challenge, accepts) in [
        ("pending", json!({ "url": url }), true),
        (
            "pending",
            json!({ "url": other, "status": "pending" }),
            true,
        ),
        ("pending", json!({ "url": url, "status": "pending" }), true),
        (
            "pending",
            json!({ "url": url, "status": "processing" }),
            false,
        ),
        ("pending", json!({ "url": url, "status": "invalid" }), false),
        ("valid", json!({ "url": url }), false),
    ] {
        let whole = json!({ "status": status, "challenges": [challenge] });
        let answer = Response::json(200, &whole);
        ca.fault(Call::Authorization, 1, Some(answer));
        let before = ca.count(Call::Challenge);
        session.accept_if_pending(&authorization, &url).await;
        let accepted = ca.count(Call::Challenge) > before;
        assert_eq!(accepted, accepts, "{whole}");
    }
}
