//! Temporary certificates (contract §4.6): offered while the issuer takes its time, and no longer.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::authority::Answer;
use super::world::World;
use crate::api::labels;
use crate::pki::{PrivateKey, parse_chain, verify_key_matches};

const ASKED: &str = "Issued temporary certificate";

/// A Certificate with the annotation, whose issuer says that it takes its time.
fn pending(spec: &Value) -> World {
    let mut world = World::new(spec);
    ask(&mut world, "true");
    world.answer = Answer::Pend;
    world.run(12);
    world
}

fn ask(world: &mut World, value: &str) {
    let annotations = world
        .certificate
        .metadata
        .annotations
        .get_or_insert_default();
    let key = labels::ISSUE_TEMPORARY_CERTIFICATE_ANNOTATION.to_owned();
    annotations.insert(key, value.to_owned());
}

/// The issuer makes up its mind.
fn answer(world: &mut World, answer: Answer) {
    for request in &mut world.requests {
        request.status = None;
    }
    world.answer = answer;
    world.run(12);
}

fn offers(world: &World) -> usize {
    world.events.iter().filter(|e| e.message == ASKED).count()
}

#[test]
fn it_is_for_the_next_key_and_no_issuer_stands_for_it() {
    let mut world = pending(&json!({ "duration": "48h" }));
    assert_eq!(offers(&world), 1, "{:?}", world.events);
    let chain = parse_chain(world.entry("tls.crt")).unwrap();
    let key = PrivateKey::from_pem(world.entry("tls.key")).unwrap();
    assert_eq!(chain.len(), 1);
    verify_key_matches(&chain[0], &key).unwrap();
    let next = world.next_keys[0].data.as_ref().unwrap();
    let next = PrivateKey::from_pem(&next["tls.key"].0).unwrap();
    assert_eq!(next.public_key_der(), key.public_key_der());
    assert_eq!(chain[0].sans().dns_names, ["app.example.com"]);
    let lifetime = chain[0].not_after().duration_since(chain[0].not_before());
    assert_eq!(lifetime, SignedDuration::from_hours(48));
    let secret = world.secret.clone().unwrap();
    assert!(!secret.data.unwrap().contains_key("ca.crt"));
    let annotations = world.annotations();
    assert_eq!(annotations[labels::CERTIFICATE_NAME_ANNOTATION], "app");
    for of_issuer in [
        labels::ISSUER_NAME_ANNOTATION,
        labels::ISSUER_KIND_ANNOTATION,
        labels::ISSUER_GROUP_ANNOTATION,
    ] {
        assert!(!annotations.contains_key(of_issuer), "{of_issuer}");
    }

    // The real one takes its place, with the same key.
    answer(&mut world, Answer::Sign);
    assert_eq!(world.ready(), ("True", "Ready"));
    assert_eq!(world.issuing(), ("", ""));
    let message = "Certificate is up to date and has not expired";
    assert_eq!(world.message("Ready"), message);
    let real = parse_chain(world.entry("tls.crt")).unwrap();
    assert_eq!(real[0].public_key_der(), key.public_key_der());
    assert_eq!(real[0].issuer().common_name().as_deref(), Some("CA"));
    assert_eq!(world.annotations()[labels::ISSUER_NAME_ANNOTATION], "ca");
    assert_eq!(world.status().revision, Some(1));
    assert_eq!(offers(&world), 1);
}

#[test]
fn readiness_is_the_chains_and_the_message_says_what_it_is() {
    let world = pending(&json!({}));
    assert_eq!(world.issuing(), ("True", "DoesNotExist"));
    assert_eq!(world.ready(), ("True", "Ready"));
    let message = world.message("Ready");
    assert!(message.starts_with("Certificate is up to date and has not expired"));
    assert!(
        message.contains("temporary") && message.contains("EL-1107"),
        "{message}"
    );
    // Without issuer annotations it is no ClusterIssuer's.
    let world = pending(&json!({ "issuerRef": { "name": "ca", "kind": "ClusterIssuer" } }));
    assert_eq!(offers(&world), 1);
    assert_eq!(world.ready(), ("False", "IncorrectIssuer"));
}

#[test]
fn only_who_asks_gets_one_and_only_once_the_request_is_taken_up() {
    let cases = [
        (Some("true"), Answer::Nothing, 0),
        (Some("false"), Answer::Pend, 0),
        (Some("True"), Answer::Pend, 0),
        (None, Answer::Pend, 0),
        (Some("true"), Answer::Pend, 1),
        (Some("true"), Answer::Sign, 0),
        (Some("true"), Answer::Fail, 0),
    ];
    for (asked, answer, expected) in cases {
        let mut world = World::new(&json!({}));
        if let Some(value) = asked {
            ask(&mut world, value);
        }
        world.answer = answer;
        world.run(12);
        assert_eq!(offers(&world), expected, "{asked:?} {answer:?}");
    }
}

#[test]
fn a_pair_that_can_be_served_stays() {
    let mut world = World::issued(&json!({}));
    ask(&mut world, "true");
    world.answer = Answer::Pend;
    let served = world.entry("tls.crt").clone();
    world.renew_by_hand();
    world.run(12);
    assert_eq!(world.issuing().0, "True");
    assert_eq!(*world.entry("tls.crt"), served);

    // One that cannot does not.
    let changes: [fn(&mut World); 3] = [
        |w| w.secret = None,
        |w| w.entry("tls.key").clear(),
        |w| *w.entry("tls.crt") = b"no certificate".to_vec(),
    ];
    for change in changes {
        let mut world = world.clone();
        change(&mut world);
        world.run(12);
        assert_eq!(offers(&world), 1);
        let chain = parse_chain(world.entry("tls.crt")).unwrap();
        let issuer = chain[0].issuer().common_name();
        assert_eq!(issuer.as_deref(), Some(crate::pki::TEMPORARY_ISSUER));
    }
}

#[test]
fn it_ends_no_attempt_and_a_failed_one_is_made_again() {
    let mut world = pending(&json!({}));
    answer(&mut world, Answer::Fail);
    assert_eq!(world.issuing(), ("False", "Failed"));
    world.answer = Answer::Sign;
    world.pass(SignedDuration::from_hours(1));
    assert!(world.run(12));
    assert_eq!(world.ready(), ("True", "Ready"));
    assert_eq!(world.annotations()[labels::ISSUER_NAME_ANNOTATION], "ca");
}

#[test]
fn the_key_in_memory_does_for_an_issuer_of_our_own() {
    let mut world = World::new(&json!({}));
    ask(&mut world, "true");
    world.issuer = crate::controllers::certificate::IssuerState::Ready { in_process: true };
    world.answer = Answer::Pend;
    world.run(12);
    assert_eq!(offers(&world), 1);
    assert!(world.next_keys.is_empty());
    // A restart forgets it: a new key, a new request, and what is there stays meanwhile.
    world.memory.clear();
    world.run(12);
    assert_eq!(offers(&world), 1);
    answer(&mut world, Answer::Sign);
    assert_eq!(world.ready(), ("True", "Ready"));
}
