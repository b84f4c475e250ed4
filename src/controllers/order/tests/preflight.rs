//! What is seen of the names before an order is made, and what becomes of it.

use super::*;
use crate::acme::Caa;
use crate::controllers::order::preflight::{
    Ahead, LOOK, Reach, Records, Seen, Sight, Subject, subjects,
};
use crate::solvers::http01::self_check::Reason;

const SECONDS: fn(i64) -> SignedDuration = SignedDuration::from_secs;
const PATIENCE: Duration = Duration::from_mins(1);
const ACCOUNT: &str = "https://ca.example/acct/7";

fn subject(name: &str) -> Subject {
    Subject {
        name: name.into(),
        wildcard: false,
        is_address: false,
        method: Some("http-01"),
        reach: true,
        nameservers: vec![],
    }
}

fn issue(value: &str) -> Records {
    let caa = Caa {
        flags: 0,
        tag: "issue".into(),
        value: value.into(),
    };
    Records::Read {
        at: "example.com.".into(),
        all: vec![caa],
    }
}

fn tried(all: &[(&str, Result<(), Reason>)]) -> Reach {
    let all = all.iter();
    let all = all.map(|(address, came)| (address.parse().unwrap(), came.clone()));
    Reach::Tried(all.collect())
}

/// A look at one name.
fn sight(records: Records, reach: Reach) -> Sight {
    Sight {
        at: START,
        since: START,
        identities: vec!["ca.example".into()],
        account: Some(ACCOUNT.into()),
        names: vec![Seen {
            subject: subject("www.example.com"),
            records,
            reach,
        }],
    }
}

fn good() -> Sight {
    sight(issue("ca.example"), tried(&[("192.0.2.1", Ok(()))]))
}

fn before(sight: Option<Sight>) -> Observation {
    let mut seen = seen(&Value::Null, &http01());
    seen.ahead = Some(Ahead {
        looking: None,
        sight: sight.map(Arc::new),
        patience: PATIENCE,
    });
    seen
}

fn creates(plan: &Plan<Effect>) -> bool {
    matches!(plan.effect, Some(Effect::Ask(Question::Create { .. })))
}

fn looks(plan: &Plan<Effect>) -> bool {
    matches!(plan.effect, Some(Effect::Look(_)))
}

/// Why the order is kept back, and when it is looked at again.
fn held(sight: Sight, now: Timestamp) -> (String, Duration) {
    let plan = plan(&before(Some(sight)), now);
    assert_eq!(plan.effect, None, "{:?}", plan.actions);
    let reason = status(&plan.actions[0])["reason"].as_str().unwrap().into();
    (reason, plan.wake.unwrap())
}

#[test]
fn names_are_looked_at_first_and_once() {
    let mut seen = before(None);
    let first = plan(&seen, START);
    let Some(Effect::Look(subjects)) = first.effect else {
        panic!("{first:?}")
    };
    let wanted = ["a.example.com", "b.example.com"].map(subject);
    assert_eq!(subjects, wanted);
    assert_eq!(first.actions, []);
    let ahead = seen.ahead.as_mut().unwrap();
    ahead.looking = Some(START);
    let under_way = plan(&seen, START + SECONDS(1));
    assert_eq!((under_way.effect, under_way.actions), (None, vec![]));
    // One that never ends is none.
    assert!(looks(&plan(&seen, START + 2 * LOOK)));
    assert!(creates(&plan(&before(Some(good())), START)));
}

#[test]
fn a_caa_record_keeps_it_back_for_as_long_as_it_is_there() {
    let mut forbids = sight(issue("other.example"), Reach::Untried);
    let (reason, wake) = held(forbids.clone(), START);
    assert_eq!(
        reason,
        "The record example.com. CAA 0 issue \"other.example\" does not let this CA issue for \"www.example.com\": add \
         example.com. CAA 0 issue \"ca.example\", or use an issuer of a CA that the records name (EL-1440)."
    );
    assert_eq!(wake, Duration::from_secs(5));
    // Said once, and looked at again: after a while, then after as long as it has lasted, within bounds.
    let mut seen = before(Some(forbids.clone()));
    edit(&mut seen, &json!({ "reason": reason }));
    assert_eq!(plan(&seen, START), Plan::wait(Duration::from_secs(5)));
    assert!(looks(&plan(&seen, START + SECONDS(5))));
    for (lasted, pause) in [(40, 40), (86_400, 300)] {
        forbids.at = START + SECONDS(lasted);
        let (again, wake) = held(forbids.clone(), forbids.at);
        assert_eq!((again, wake), (reason.clone(), Duration::from_secs(pause)));
    }
    // Another CA may be allowed.
    let fault = crate::explain::ca_fault(&reason).unwrap();
    assert!(!fault.is_general(), "others of this CA are not forbidden");
}

#[test]
fn the_account_counts_and_the_method_may() {
    let other = "ca.example; accounturi=https://ca.example/acct/8";
    let (reason, _) = held(sight(issue(other), Reach::Untried), START);
    let words = [
        "does not let this account issue",
        &format!("accounturi={ACCOUNT}"),
    ];
    assert!(words.iter().all(|word| reason.contains(word)), "{reason}");
    // An authorization that the account has already may have come about otherwise.
    let other = sight(
        issue("ca.example; validationmethods=dns-01"),
        Reach::Untried,
    );
    let (reason, _) = held(other.clone(), START);
    let words = [
        "by http-01",
        "The CA is asked at 2026-01-01T00:01:00Z all the same (EL-1440)",
    ];
    assert!(words.iter().all(|word| reason.contains(word)), "{reason}");
    let late = Sight {
        at: START + SECONDS(60),
        ..other
    };
    assert!(creates(&plan(&before(Some(late)), START + SECONDS(60))));
}

#[test]
fn a_name_that_cannot_be_reached_keeps_it_back_for_a_while() {
    let refused = Err(Reason::Refused(80));
    for (reach, words) in [
        (
            tried(&[]),
            ["does not resolve: add a DNS record", "www.example.com"],
        ),
        (
            tried(&[("192.0.2.1", refused.clone())]),
            ["connection refused on port 80: let port 80", "from here"],
        ),
        (
            tried(&[
                ("192.0.2.1", refused),
                ("2001:db8::1", Err(Reason::Unreachable)),
            ]),
            ["connection refused on port 80", "(EL-1441)"],
        ),
    ] {
        let mut gone = sight(issue("ca.example"), reach);
        let (reason, wake) = held(gone.clone(), START);
        assert!(words.iter().all(|word| reason.contains(word)), "{reason}");
        assert!(reason.contains("The CA is asked at 2026-01-01T00:01:00Z all the same"));
        assert_eq!(wake, Duration::from_secs(2));
        gone.at = START + SECONDS(59);
        held(gone.clone(), gone.at);
        gone.at = START + SECONDS(60);
        let seen = before(Some(gone.clone()));
        assert!(creates(&plan(&seen, gone.at)), "not for ever");
        assert!(seen.ahead.unwrap().has_waited());
    }
    // From here nothing can be said of it.
    let unknown = tried(&[("2001:db8::1", Err(Reason::Unreachable))]);
    for reach in [unknown, Reach::Untried] {
        let plan = plan(&before(Some(sight(issue("ca.example"), reach))), START);
        assert!(creates(&plan) && plan.events.is_empty(), "{plan:?}");
    }
}

#[test]
fn what_is_odd_is_told_once_and_keeps_nothing_back() {
    let broken = tried(&[
        ("192.0.2.1", Ok(())),
        ("2001:db8::1", Err(Reason::Refused(80))),
    ]);
    let unread = Records::Unread("SERVFAIL".into());
    let mut seen = before(Some(sight(unread, broken)));
    let first = plan(&seen, START);
    assert!(creates(&first));
    let told: Vec<_> = first.events.iter().map(|e| e.message.as_str()).collect();
    let [caa, address] = told[..] else {
        panic!("{told:?}")
    };
    assert!(caa.contains("cannot be read from here: SERVFAIL"), "{caa}");
    assert!(
        address.contains("answers at 192.0.2.1, but not at 2001:db8::1: connection refused"),
        "{address}"
    );
    seen.memo.faults = 1;
    assert_eq!(plan(&seen, START).events, []);
}

#[test]
fn an_order_is_made_after_a_fresh_look_and_in_its_turn() {
    let mut seen = before(Some(good()));
    let late = START + SECONDS(31);
    assert!(looks(&plan(&seen, late)), "it says nothing any more");
    seen.turn = Turn::Behind(None);
    assert_eq!(plan(&seen, late), Plan::idle(), "it is not its turn");
    // What was in the way is not told any longer.
    edit(&mut seen, &json!({ "reason": "The record (EL-1440)." }));
    assert_eq!(
        status(&plan(&seen, late).actions[0]),
        &json!({ "reason": null })
    );
    // One that the CA has is never looked at.
    let mut known = pending(&["a.example.com"], &http01());
    let going_on = plan(&known, START);
    known.ahead = before(None).ahead;
    assert_eq!(plan(&known, START), going_on);
}

#[test]
fn many_names_are_one_sentence() {
    let mut forbids = sight(issue(";"), Reach::Untried);
    let more = forbids.names[0].clone();
    forbids.names.push(more.clone());
    let (reason, _) = held(forbids.clone(), START);
    assert!(
        reason.contains("The same of one name more (EL-1440)"),
        "{reason}"
    );
    forbids.names.push(more);
    let (reason, _) = held(forbids, START);
    assert!(
        reason.contains("The same of 2 names more (EL-1440)"),
        "{reason}"
    );
}

#[test]
fn how_a_name_is_proven_is_known_before() {
    let acme = |solvers: Value| {
        serde_json::from_value(json!({
            "server": "https://ca.example/dir", "privateKeySecretRef": { "name": "a" }, "solvers": solvers
        }))
        .unwrap()
    };
    let http = json!({ "ingress": {} });
    let dns = json!({ "webhook": { "groupName": "g", "solverName": "s" }, "nameservers": ["192.0.2.53"] });
    let names = ["*.example.com", "www.example.com"].map(Identifier::dns);
    let ip = Identifier::ip("192.0.2.7".parse().unwrap());
    let names = names.into_iter().chain([ip]).collect::<Vec<_>>();
    let of = |solvers| -> Vec<_> {
        let all = subjects(&acme(solvers), &map(&[]), &names);
        all.into_iter().map(|s| (s.method, s.reach)).collect()
    };
    let (yes, no) = ((Some("http-01"), true), (None, false));
    let by_dns = (Some("dns-01"), false);
    for (solvers, expected) in [
        (json!([{ "http01": http }]), [no, yes, yes]),
        (json!([{ "dns01": dns }]), [by_dns, by_dns, no]),
        (json!([{ "http01": http, "dns01": dns }]), [by_dns, no, yes]),
        (
            json!([{ "http01": http, "waitInsteadOfSelfCheck": "5s" }]),
            [no, (Some("http-01"), false), (Some("http-01"), false)],
        ),
        (
            json!([{ "http01": http }, { "dns01": dns, "selector": { "dnsNames": ["www.example.com"] } }]),
            [no, by_dns, yes],
        ),
    ] {
        assert_eq!(of(solvers.clone()), expected, "{solvers}");
    }
    let all = subjects(&acme(json!([{ "dns01": dns }])), &map(&[]), &names);
    assert_eq!(
        (all[0].name.as_str(), all[0].wildcard),
        ("example.com", true)
    );
    assert_eq!(all[0].nameservers, ["192.0.2.53"]);
    assert!(all[2].is_address);
}
