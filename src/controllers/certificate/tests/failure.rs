//! How long a failed issuance waits, and what ends the wait (contract §4.2).

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::authority::Answer;
use super::world::World;
use crate::api::CertificateRequest;
use crate::controllers::certificate::IssuerState;
use crate::controllers::certificate::renewal::{failure_delay, fresh_delay, refused_delay};
use crate::controllers::facts::RequestFact;

const HOUR: Duration = Duration::from_hours(1);

/// A world whose issuance has just failed.
fn failed(answer: Answer) -> World {
    let mut world = World::new(&json!({}));
    world.answer = answer;
    assert!(world.run(12), "{:?}", world.writes);
    assert_eq!(world.issuing().0, "False");
    world.forget_records();
    world
}

fn attempts(world: &World) -> Option<i64> {
    world.status().failed_issuance_attempts
}

#[test]
fn the_delay_doubles_up_to_the_longest() {
    let day = Duration::from_hours(32);
    for (attempts, hours) in [
        (-1, 1),
        (0, 1),
        (1, 1),
        (2, 2),
        (3, 4),
        (4, 8),
        (5, 16),
        (6, 32),
        (7, 32),
        (i64::MAX, 32),
    ] {
        assert_eq!(
            failure_delay(attempts, HOUR, day),
            HOUR * hours,
            "{attempts}"
        );
    }
    assert_eq!(failure_delay(1, HOUR, HOUR / 2), HOUR / 2);
    assert_eq!(
        failure_delay(40, Duration::from_secs(u64::MAX), Duration::MAX),
        Duration::MAX
    );
}

#[test]
fn each_failure_is_waited_out_and_retried_whatever_it_was() {
    for answer in [
        Answer::Fail,
        Answer::Deny,
        Answer::Invalid,
        Answer::WrongKey,
        Answer::Expired,
        Answer::Garbage,
        Answer::Empty,
    ] {
        let mut world = failed(answer);
        let name = world.requests[0].metadata.uid.clone();
        for (n, hours) in [(1, 1), (2, 2), (3, 4), (4, 8)] {
            assert_eq!(attempts(&world), Some(n), "{answer:?}");
            let until =
                world.status().last_failure_time.unwrap().0 + SignedDuration::from_hours(hours);
            world.now = until - SignedDuration::from_secs(1);
            world.step();
            assert_eq!(
                (world.issuing().0, world.wake),
                ("False", Some(Duration::from_secs(1))),
                "{answer:?} {n}"
            );
            let next = format!("Next attempt at {until}, or as soon as the cause has changed.");
            assert!(
                world.message("Ready").ends_with(&next),
                "{}",
                world.message("Ready")
            );
            world.now = until;
            assert!(world.run(12), "{answer:?}: {:?}", world.writes);
        }
        assert_ne!(
            world.requests[0].metadata.uid, name,
            "{answer:?}: a new request each time"
        );
        world.answer = Answer::Sign;
        world.pass(SignedDuration::from_hours(32));
        world.run(12);
        assert_eq!(
            (world.ready(), attempts(&world)),
            (("True", "Ready"), None),
            "{answer:?}"
        );
    }
}

/// As `cmctl renew` asks for it, on a machine whose clock is late or in the second of the failure, or somebody by hand without
/// a time.
#[test]
fn whoever_asks_for_another_attempt_gets_one_whatever_their_clock() {
    for answer in [Answer::Fail, Answer::Deny, Answer::Invalid] {
        for late in [Some(3600), Some(0), None] {
            let mut world = failed(answer);
            world.memory.clear();
            let before = world.requests[0].metadata.uid.clone();
            world.renew_by_hand();
            let status = world.certificate.status.as_mut().unwrap();
            let failure = status.last_failure_time.clone().unwrap().0;
            let conditions = status.conditions.as_mut().unwrap();
            let issuing = conditions.iter_mut().find(|c| c.type_ == "Issuing");
            let time = late.map(|seconds| failure - SignedDuration::from_secs(seconds));
            issuing.unwrap().last_transition_time = time.map(Time);
            world.answer = Answer::Sign;
            assert!(world.run(12), "{:?}", world.writes);
            assert_eq!(world.ready(), ("True", "Ready"), "{answer:?} {late:?}");
            assert_ne!(world.requests[0].metadata.uid, before);
        }
    }
}

/// The API server, whose clock dates requests, may be behind the one that dates failures.
#[test]
fn an_attempt_that_nobody_has_counted_yet_is_counted() {
    let mut world = failed(Answer::Fail);
    let failure = world.status().last_failure_time.unwrap().0;
    world.pass(SignedDuration::from_secs(1));
    world.renew_by_hand();
    world.answer = Answer::Pend;
    world.run(12);
    let created = failure - SignedDuration::from_secs(5);
    world.requests[0].metadata.creation_timestamp = Some(Time(created));
    world.answer = Answer::Fail;
    world.run(12);
    assert_eq!((world.issuing().0, attempts(&world)), ("False", Some(2)));
}

#[test]
fn a_request_after_several_failures_says_how_many() {
    let mut world = World::new(&json!({}));
    world.answer = Answer::Fail;
    for said in [None, None, Some("2"), Some("3")] {
        assert!(world.run(12), "{:?}", world.writes);
        let annotations = world.requests[0].metadata.annotations.clone().unwrap();
        let noted = annotations.get("everleaf.io/failed-attempts");
        assert_eq!(noted.map(String::as_str), said);
        world.pass(SignedDuration::from_hours(32));
    }
    world.answer = Answer::Sign;
    world.run(12);
    assert_eq!(attempts(&world), None);
}

#[test]
fn a_refusal_of_an_acme_ca_is_waited_out_in_its_own_steps() {
    let minutes = Duration::from_mins;
    let days = |n: u64| Duration::from_hours(24 * n);
    for (attempts, left, expected) in [
        (1, None, minutes(1)),
        (2, None, minutes(10)),
        (3, None, minutes(100)),
        (4, None, days(1)),
        (i64::MAX, None, days(1)),
        // A share of what is left of the certificate in use.
        (4, Some(days(30)), days(1)),
        (4, Some(days(5)), days(5) / 10),
        (4, Some(Duration::ZERO), minutes(1)),
        (-1, Some(minutes(5)), minutes(1)),
    ] {
        assert_eq!(
            refused_delay(attempts, left),
            expected,
            "{attempts} {left:?}"
        );
    }
}

/// What was said of the last attempt, whether the flags were set, when the next one is.
#[test]
fn what_may_pass_at_an_acme_ca_is_tried_again_sooner() {
    let order = "Failed to wait for order resource \"site-1-1\" to become ready: order is in \"invalid\" state: ";
    let problem = |kind: &str| format!("{order}400 urn:ietf:params:acme:error:{kind}: because");
    for (why, is_set, wait) in [
        (problem("connection"), false, 1),
        (problem("caa"), false, 1),
        (format!("{order}The CA's order has expired"), false, 1),
        (problem("connection"), true, 60),
        (problem("rejectedIdentifier"), false, 60),
        (problem("badCSR"), false, 60),
        (
            format!(
                "{}; subproblems:\n\turn:ietf:params:acme:error:rejectedIdentifier: x",
                problem("compound")
            ),
            false,
            60,
        ),
        ("the CA of somebody".to_owned(), false, 60),
    ] {
        let mut world = failed(Answer::Fail);
        world.settings.is_backoff_set = is_set;
        let status = world.certificate.status.as_mut().unwrap();
        let conditions = status.conditions.as_mut().unwrap();
        let issuing = conditions
            .iter_mut()
            .find(|c| c.type_ == "Issuing")
            .unwrap();
        issuing.message = Some(format!("The certificate request has failed: {why}"));
        let failed = world.status().last_failure_time.unwrap().0;
        world.now = failed + SignedDuration::from_secs(1);
        world.step();
        let until = failed + SignedDuration::from_mins(wait);
        let next = format!("Next attempt at {until}, or as soon as the cause has changed.");
        let message = world.message("Ready");
        assert!(message.ends_with(&next), "{why}: {message}");
    }
}

#[test]
fn a_waiting_certificate_writes_nothing() {
    let mut world = failed(Answer::Fail);
    world.step();
    world.forget_records();
    world.pass(SignedDuration::from_mins(30));
    assert!(world.run(3));
    assert_eq!(world.writes, [""; 0]);
}

/// Whether a change 5 minutes after the failure starts a new attempt, which succeeds.
fn ends_the_wait(change: fn(&mut World)) -> bool {
    let mut world = failed(Answer::Fail);
    world.pass(SignedDuration::from_mins(5));
    world.answer = Answer::Sign;
    change(&mut world);
    world.run(12);
    assert_eq!(world.ready().0 == "True", attempts(&world).is_none());
    world.ready().0 == "True"
}

#[test]
fn the_wait_ends_with_its_cause() {
    let waiting = |change| assert!(!ends_the_wait(change));
    let ended = |change| assert!(ends_the_wait(change));
    waiting(|_| {});
    ended(|w| w.edit(&json!({ "dnsNames": ["b.example.com"] })));
    ended(|w| w.edit(&json!({ "issuerRef": { "name": "other" } })));
    waiting(|w| w.edit(&json!({ "renewBefore": "24h" })));
    ended(|w| w.requests[0].spec.request.0.clear());
    ended(|w| w.issuer_changed = Some(w.now));
    waiting(|w| w.issuer_changed = Some(w.now - SignedDuration::from_hours(1)));
    ended(|w| w.recovered = Some(w.now));
    ended(World::renew_by_hand);
    ended(|w| w.settings.min_backoff = Duration::ZERO);
}

/// All times of the API server are in whole seconds. Without a version: requests of cert-manager, which note none.
#[test]
fn an_issuer_of_the_second_of_the_request_does_not_end_the_wait() {
    for version in [None, Some("1".to_owned())] {
        let mut world = World::new(&json!({}));
        world.answer = Answer::Fail;
        (world.issuer_changed, world.issuer_version) = (Some(world.now), version);
        assert!(world.run(12), "{:?}", world.writes);
        assert_eq!(attempts(&world), Some(1));
        world.pass(SignedDuration::from_mins(59));
        world.run(12);
        assert_eq!(attempts(&world), Some(1));
    }
}

#[test]
fn an_edit_of_the_issuer_does_not_end_the_wait_after_the_next_attempt() {
    for version in [None, Some("2".to_owned())] {
        let mut world = failed(Answer::Fail);
        world.pass(SignedDuration::from_mins(5));
        (world.issuer_changed, world.issuer_version) = (Some(world.now), version);
        world.run(12);
        assert_eq!((attempts(&world), world.issuing().0), (Some(2), "False"));
        world.pass(SignedDuration::from_mins(119));
        world.run(3);
        assert_eq!(attempts(&world), Some(2));
    }
}

#[test]
fn an_edit_of_the_issuer_in_the_second_of_the_request_ends_the_wait() {
    let mut world = World::new(&json!({}));
    world.answer = Answer::Fail;
    (world.issuer_changed, world.issuer_version) = (Some(world.now), Some("1".into()));
    assert!(world.run(12), "{:?}", world.writes);
    world.issuer_version = Some("2".into());
    world.answer = Answer::Sign;
    world.pass(SignedDuration::from_secs(1));
    world.run(12);
    assert_eq!(world.ready(), ("True", "Ready"));
}

#[test]
fn a_cause_that_comes_and_goes_does_not_use_up_the_limits_of_the_ca() {
    let mut world = failed(Answer::Fail);
    // Each attempt finds its cause gone, and fails.
    for (n, seconds) in [
        (1, 1),
        (2, 5),
        (3, 25),
        (4, 125),
        (5, 625),
        (6, 3125),
        (7, 15_625),
    ] {
        assert_eq!(attempts(&world), Some(n));
        world.recovered = Some(world.now);
        let failed = world.status().last_failure_time.unwrap().0;
        let until = failed + SignedDuration::from_secs(seconds);
        if seconds > 1 {
            world.now = until - SignedDuration::from_secs(1);
            world.step();
            assert_eq!((attempts(&world), world.issuing().0), (Some(n), "False"));
        }
        world.now = until;
        while world.issuing().0 == "False" {
            world.step();
        }
        // What was seen is of a challenge of the old request.
        world.recovered = None;
        world.run(12);
    }
    assert_eq!(fresh_delay(i64::MAX), fresh_delay(9));
}

#[test]
fn a_certificate_that_fails_to_renew_is_ready_until_it_expires() {
    let mut world = World::issued(&json!({}));
    let status = world.status();
    world.answer = Answer::Fail;
    world.now = status.renewal_time.unwrap().0;
    world.run(12);
    assert_eq!(
        (world.issuing(), world.ready()),
        (("False", "Failed"), ("True", "Ready"))
    );
    let end = status.not_after.unwrap().0;
    world.now = end - SignedDuration::from_mins(10);
    world.run(12);
    assert_eq!(world.ready(), ("True", "Ready"));
    // Whatever else it waits for, it looks again when the certificate has expired.
    assert!(
        world.wake.unwrap() <= Duration::from_mins(10),
        "{:?}",
        world.wake
    );
    world.now = end + SignedDuration::from_secs(1);
    world.run(12);
    assert_eq!(world.ready(), ("False", "Expired"));
}

#[test]
fn a_request_that_cannot_be_built_is_a_failure_like_any_other() {
    let mut world = World::new(&json!({}));
    world.unbuildable = Some("the library failed".into());
    assert!(world.run(12), "{:?}", world.writes);
    assert_eq!(
        (world.issuing(), attempts(&world)),
        (("False", "RequestFailed"), Some(1))
    );
    assert!(
        world
            .message("Issuing")
            .ends_with("Failed to build the certificate request: the library failed")
    );
    world.unbuildable = None;
    world.pass(SignedDuration::from_hours(1));
    world.run(12);
    assert_eq!((world.ready(), attempts(&world)), (("True", "Ready"), None));
}

/// The CA has done its part, and is not asked again.
#[test]
fn what_the_api_server_refuses_is_said_once_and_tried_again() {
    let mut world = World::issued(&json!({}));
    world.answer = Answer::Nothing;
    world.renew_by_hand();
    world.run(3);
    assert_eq!(world.requests.len(), 2);
    world.answer = Answer::Sign;
    world.forget_records();
    world.refuses = Some("apply Secret shop/app-tls: policy \"labels\" denied request: no.".into());
    world.run(6);
    let note = "The API server refuses to apply Secret shop/app-tls: policy \"labels\" denied request: no. It is tried again \
                until that is allowed (EL-1108).";
    assert_eq!(world.ready(), ("True", "Ready"));
    assert!(
        world.message("Ready").ends_with(note),
        "{}",
        world.message("Ready")
    );
    assert_eq!(world.event_reasons(), ["WriteRefused"]);
    assert_eq!(world.events[0].message, note);
    let tried = world.writes.iter().filter(|w| *w == "apply secret").count();
    assert!(
        tried > 2 && world.writes.len() == tried + 1,
        "{:?}",
        world.writes
    );
    world.refuses = None;
    world.run(6);
    assert_eq!(
        (world.requests.len(), world.status().revision),
        (1, Some(2))
    );
    assert!(!world.message("Ready").contains("refuses"));
}

#[test]
fn a_request_that_the_api_server_refuses_is_said_too() {
    let mut world = World::new(&json!({}));
    world.issuer = IssuerState::Ready { in_process: true };
    world.refuses = Some("create CertificateRequest shop/app-1: exceeded quota".into());
    world.run(6);
    assert_eq!(world.ready(), ("False", "DoesNotExist"));
    let said = world
        .message("Ready")
        .contains("create CertificateRequest shop/app-1: exceeded quota. It is");
    assert!(said, "{}", world.message("Ready"));
    assert_eq!(world.event_reasons(), ["RequestFailed"]);
    world.refuses = None;
    world.run(12);
    assert_eq!(world.ready(), ("True", "Ready"));
    assert_eq!(world.status().failed_issuance_attempts, None);
}

#[test]
fn a_repair_that_the_api_server_refuses_is_said_until_it_is_not_needed() {
    let mut world = World::issued(&json!({}));
    world.refuses = Some("apply Secret shop/app-tls: no".into());
    world.edit(&json!({ "secretTemplate": { "labels": { "team": "shop" } } }));
    world.run(4);
    assert!(
        world.message("Ready").contains("EL-1108"),
        "{}",
        world.message("Ready")
    );
    world.edit(&json!({ "secretTemplate": null }));
    assert!(world.run(4));
    assert!(
        !world.message("Ready").contains("EL-1108"),
        "{}",
        world.message("Ready")
    );
}

/// As cert-manager's own test has it (`stalled_request_recovery_test.go`).
#[test]
fn a_request_with_a_time_of_failure_and_no_ready_condition_is_a_failure() {
    fn next(world: &mut World) -> &mut CertificateRequest {
        let is_it = |r: &&mut CertificateRequest| r.metadata.name.as_deref() == Some("app-2");
        world.requests.iter_mut().find(is_it).unwrap()
    }
    for (policy, rotates) in [("Always", true), ("Never", false)] {
        let mut world = World::issued(&json!({ "privateKey": { "rotationPolicy": policy } }));
        world.edit(&json!({ "dnsNames": ["new.example.com"] }));
        world.answer = Answer::Nothing;
        world.run(6);
        let mut keys = vec![];
        for attempt in [1, 2] {
            let now = world.now;
            next(&mut world).status.get_or_insert_default().failure_time = Some(Time(now));
            let before = next(&mut world).clone();
            let fact = RequestFact::of(before.clone());
            keys.push(fact.compared.clone().unwrap().public);
            assert!(world.run(6), "{:?}", world.writes);
            assert_eq!(world.issuing(), ("False", "Stalled"), "{policy}");
            let why =
                "CertificateRequest \"app-2\" has a status.failureTime and no Ready condition";
            assert!(
                world.message("Issuing").contains(why),
                "{}",
                world.message("Issuing")
            );
            assert_eq!(attempts(&world), Some(attempt), "{policy}: counted once");
            assert_eq!(next(&mut world).metadata.uid, before.metadata.uid);
            let failure = world.status().last_failure_time.unwrap().0;
            world.now = failure + SignedDuration::from_hours(attempt);
            world.run(6);
            assert_ne!(
                next(&mut world).metadata.uid,
                before.metadata.uid,
                "{policy}"
            );
        }
        assert_eq!(keys[0] != keys[1], rotates, "{policy}");
        world.answer = Answer::Sign;
        world.run(12);
        assert_eq!(world.ready(), ("True", "Ready"), "{policy}");
        assert_eq!((world.status().revision, attempts(&world)), (Some(2), None));
        assert_eq!(world.issuing(), ("", ""));
    }
}

#[test]
fn without_a_back_off_each_attempt_has_a_key_of_its_own() {
    for in_process in [false, true] {
        let mut world = World::new(&json!({}));
        world.settings.min_backoff = Duration::ZERO;
        world.issuer = IssuerState::Ready { in_process };
        world.answer = Answer::Fail;
        let mut keys = BTreeSet::new();
        for attempt in 1..=4 {
            while attempts(&world) < Some(attempt) {
                world.step();
                world.answer_requests();
                world.pass(SignedDuration::from_secs(1));
                assert!(world.writes.len() < 100, "{:?}", world.writes);
            }
            let fact = RequestFact::of(world.requests[0].clone());
            keys.insert(fact.compared.unwrap().public);
            assert_eq!(i64::try_from(keys.len()).unwrap(), attempt, "{in_process}");
        }
    }
}
