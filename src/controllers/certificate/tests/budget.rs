//! Whoever fights a Certificate, it makes no more requests than its budget allows, says why, and goes on
//! when there is room.

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry, Time};
use serde_json::json;

use super::authority::Answer;
use super::world::World;
use crate::controllers::facts::RequestFact;

const MINUTES: i64 = 60;

fn requests(world: &World) -> usize {
    let created = world.writes.iter().filter(|w| **w == "create request");
    created.count()
}

/// Ten minutes in which something happens every second, with a restart of the operator each time.
fn ten_minutes(world: &mut World, each: impl Fn(&mut World, i64)) {
    for second in 0..10 * MINUTES {
        each(world, second);
        world.memory.clear();
        world.run(3);
    }
}

/// Another writer puts back what it holds.
fn restore(world: &mut World, held: &Secret) {
    let mut secret = held.clone();
    let fields = json!({ "f:data": { "f:tls.crt": {}, "f:tls.key": {} } });
    secret.metadata.managed_fields = Some(vec![ManagedFieldsEntry {
        manager: Some("secret-sync".into()),
        operation: Some("Update".into()),
        time: Some(Time(world.now)),
        fields_v1: Some(FieldsV1(fields)),
        ..ManagedFieldsEntry::default()
    }]);
    world.secret = Some(secret);
}

#[test]
fn a_second_writer_is_named_and_does_not_make_requests_without_end() {
    let mut world = World::issued(&json!({}));
    let mut held = world.secret.clone().unwrap();
    // Of another issuance: the key is not that of the newest request.
    let other = World::issued(&json!({})).secret.unwrap();
    held.data = other.data;
    ten_minutes(&mut world, |w, _| restore(w, &held));
    // The first issuance counts too.
    assert_eq!(requests(&world), 5);
    for kind in ["Issuing", "Ready"] {
        let message = world.message(kind);
        assert!(
            message.contains("6 requests were made within an hour"),
            "{kind}: {message}"
        );
        assert!(message.contains("\"secret-sync\""), "{kind}: {message}");
        assert_eq!(message.matches("Waiting:").count(), 1, "{kind}: {message}");
    }
    let told = world
        .event_reasons()
        .into_iter()
        .filter(|r| *r == "RequestBudgetSpent");
    assert_eq!(told.count(), 1, "once, not each second");

    world.pass(SignedDuration::from_hours(1));
    assert!(world.run(12));
    assert_eq!(
        world.ready(),
        ("True", "Ready"),
        "the other writer has stopped"
    );
}

#[test]
fn a_spec_that_changes_every_second_does_not_either() {
    let mut world = World::issued(&json!({}));
    ten_minutes(&mut world, |w, second| {
        w.edit(&json!({ "dnsNames": [format!("{second}.example.com")] }));
    });
    assert!((1..=5).contains(&requests(&world)), "{}", requests(&world));
    world.pass(SignedDuration::from_hours(1));
    assert!(world.run(12));
    assert_eq!(world.ready(), ("True", "Ready"));
}

#[test]
fn an_issuer_whose_certificates_are_always_due_does_not_either() {
    // Due a second after it came.
    let mut world = World::new(&json!({ "renewBefore": "5m" }));
    world.lifetime = SignedDuration::from_secs(301);
    let began = world.now;
    ten_minutes(&mut world, |_, _| ());
    let half_lives = world.now.duration_since(began).as_secs() / 150;
    let most = 6 + usize::try_from(half_lives).unwrap();
    assert!(
        (6..=most).contains(&requests(&world)),
        "{}",
        requests(&world)
    );
}

#[test]
fn renewals_on_schedule_have_no_bound() {
    let mut world = World::new(&json!({}));
    world.lifetime = SignedDuration::from_mins(1);
    for _ in 0..60 {
        world.pass(SignedDuration::from_secs(45));
        assert!(world.run(12));
        assert_eq!(
            world.ready(),
            ("True", "Ready"),
            "{}",
            world.message("Issuing")
        );
    }
    assert_eq!(requests(&world), 60);
}

#[test]
fn wrong_answers_are_waited_out_within_the_budget() {
    for answer in [Answer::Fail, Answer::Deny] {
        let mut world = World::new(&json!({}));
        world.answer = answer;
        ten_minutes(&mut world, |w, _| w.recovered = Some(w.now));
        assert!(
            (2..=6).contains(&requests(&world)),
            "{answer:?}: {}",
            requests(&world)
        );
    }
}

/// As the store remembers it: see `store::tests`.
#[test]
fn requests_that_somebody_deletes_count_still() {
    let mut world = World::new(&json!({}));
    world.answer = Answer::Nothing;
    for _ in 0..10 * MINUTES {
        world.run(3);
        let deleted = std::mem::take(&mut world.requests).into_iter();
        let counted = deleted.flat_map(|r| RequestFact::of(r).made.into_vec());
        world.unlisted.extend(counted);
    }
    assert_eq!(requests(&world), 6);
    let message = world.message("Issuing");
    assert!(
        message.contains("6 requests were made within an hour"),
        "{message}"
    );
}

#[test]
fn requests_that_nobody_answers_are_named_and_no_more_are_made() {
    let mut world = World::issued(&json!({ "revisionHistoryLimit": 9 }));
    for revision in 11..14 {
        let mut open = world.requests[0].clone();
        open.metadata.name = Some(format!("app-{revision}"));
        open.metadata.uid = Some(format!("uid-of-app-{revision}"));
        let annotations = open.metadata.annotations.as_mut().unwrap();
        annotations.insert(
            "cert-manager.io/certificate-revision".into(),
            revision.to_string(),
        );
        open.status = None;
        world.requests.push(open);
    }
    world.answer = Answer::Nothing;
    world.renew_by_hand();
    world.forget_records();
    assert!(world.run(12));
    assert_eq!(requests(&world), 0);
    let message = world.message("Issuing").to_owned();
    assert!(
        message.ends_with(
            "Waiting: 3 requests are open: CertificateRequests \"app-11\", \"app-12\", \"app-13\". The next one is made \
             when one of them has ended: see why none does, or delete those that nobody needs (EL-1105)."
        ),
        "{message}"
    );
    assert_eq!(world.event_reasons(), ["RequestsOpen"]);
    assert_eq!(world.ready(), ("True", "Ready"));

    world.requests.pop();
    world.run(12);
    assert_eq!(requests(&world), 1);
    assert!(
        !world.message("Issuing").contains("Waiting"),
        "{}",
        world.message("Issuing")
    );
}
