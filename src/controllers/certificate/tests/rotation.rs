//! What a Certificate does when the CA of its issuer is replaced (docs/ca-rotation.md).

use jiff::SignedDuration;
use k8s_openapi::ByteString;
use serde_json::{Value, json};

use super::authority::{Answer, pair};
use super::world::{START, World};
use crate::api::labels;
use crate::controllers::certificate::{Budget, Following, IssuerState};
use crate::controllers::rotation::Wish;
use crate::pki::keystore::jks;
use crate::pki::parse_chain;

/// A settled Certificate of a CA in this process; its root, and the root of the next CA.
fn issued(spec: &Value) -> (World, String, String) {
    let root = || String::from_utf8(pair(&["ca"], START, SignedDuration::from_hours(9)).1).unwrap();
    let (old, new) = (root(), root());
    let mut world = World::new(spec);
    world.issuer = IssuerState::Ready { in_process: true };
    world.ca = Some(old.clone().into_bytes());
    let password = ByteString("changeit".into());
    let passwords = [("password".into(), password)].into_iter().collect();
    world.passwords.insert("store".into(), passwords);
    world.run(12);
    assert_eq!(world.ready(), ("True", "Ready"));
    world.forget_records();
    (world, old, new)
}

fn ask(world: &mut World, wish: Wish, roots: &str) {
    world.rotation = Some(Following {
        wish,
        roots: roots.to_owned(),
        started: world.now + SignedDuration::from_secs(1),
    });
    world.pass(SignedDuration::from_secs(2));
}

fn ca(world: &mut World) -> String {
    String::from_utf8(world.entry("ca.crt").clone()).unwrap()
}

#[test]
fn roots_come_and_go_and_nothing_else_changes() {
    let (mut world, old, new) = issued(&json!({}));
    let before = world.secret.clone().unwrap();
    ask(&mut world, Wish::Trust, &format!("{new}{old}"));
    world.step();
    assert_eq!(world.writes, ["apply secret"]);
    assert_eq!(ca(&mut world), format!("{new}{old}"));
    ask(&mut world, Wish::Nothing, &format!("{new}{old}"));
    world.forget_records();
    assert!(world.run(3));
    assert_eq!(world.writes, [""; 0]);

    ask(&mut world, Wish::Retire, &new);
    world.step();
    assert_eq!(world.writes, ["apply secret"]);
    assert_eq!(ca(&mut world), new);
    let after = world.secret.clone().unwrap();
    assert_eq!(before.metadata.annotations, after.metadata.annotations);
    assert_eq!(before.metadata.labels, after.metadata.labels);
    for entry in ["tls.crt", "tls.key"] {
        assert_eq!(
            before.data.as_ref().unwrap()[entry],
            after.data.as_ref().unwrap()[entry]
        );
    }
    assert!(world.events.is_empty());
}

#[test]
fn a_root_that_the_issuer_does_not_know_stays_with_its_certificate() {
    let (mut world, old, new) = issued(&json!({}));
    ask(&mut world, Wish::Trust, &new);
    world.step();
    assert_eq!(ca(&mut world), format!("{new}{old}"));
    // Once it is there, there is nothing to write; what was seen is noted, and the plan is made again.
    world.forget_records();
    world.step();
    assert_eq!(world.writes, [""; 0]);
    assert!(world.wake.is_none_or(|wake| !wake.is_zero()));
}

#[test]
fn it_is_issued_anew_and_trusts_both() {
    let (mut world, old, new) = issued(&json!({}));
    let before = parse_chain(world.entry("tls.crt")).unwrap();
    world.ca = Some(new.clone().into_bytes());
    ask(&mut world, Wish::Reissue, &format!("{new}{old}"));
    world.step();
    assert_eq!(world.issuing(), ("True", "CARotated"));
    assert_eq!(world.ready(), ("True", "Ready"), "it is good still");
    world.answer_requests();
    world.step();
    assert_eq!(world.status().revision, Some(2));
    assert_ne!(parse_chain(world.entry("tls.crt")).unwrap(), before);
    assert_eq!(ca(&mut world), format!("{new}{old}"));
    assert_eq!(world.event_reasons(), ["Issuing", "Issuing"]);
    // A CA that was replaced once more in between.
    let (mut world, old, new) = issued(&json!({}));
    let (_, other, _) = issued(&json!({}));
    world.ca = Some(other.clone().into_bytes());
    ask(&mut world, Wish::Reissue, &format!("{new}{old}"));
    world.step();
    world.answer_requests();
    world.step();
    assert_eq!(ca(&mut world), format!("{new}{old}{other}"));
}

#[test]
fn keystores_hold_all_roots_and_wait_for_their_password() {
    let spec = json!({ "keystores": { "jks": {
        "create": true, "passwordSecretRef": { "name": "store", "key": "password" },
    } } });
    let (mut world, old, new) = issued(&spec);
    let holds = |world: &mut World, root: &str| {
        let root = parse_chain(root.as_bytes()).unwrap();
        jks::holds(world.entry("truststore.jks"), &root[0])
    };
    assert!(holds(&mut world, &old) && !holds(&mut world, &new));
    let passwords = std::mem::take(&mut world.passwords);
    ask(&mut world, Wish::Trust, &format!("{new}{old}"));
    world.run(3);
    assert!(
        !world.writes.iter().any(|w| w == "apply secret"),
        "{:?}",
        world.writes
    );
    world.passwords = passwords;
    world.step();
    assert!(holds(&mut world, &old) && holds(&mut world, &new));
    ask(&mut world, Wish::Retire, &new);
    world.step();
    assert!(!holds(&mut world, &old) && holds(&mut world, &new));
}

#[test]
fn it_does_not_count_against_the_budget_once() {
    let (mut world, old, new) = issued(&json!({}));
    world.settings.budget = Budget { hour: 1, day: 1 };
    ask(&mut world, Wish::Reissue, &format!("{new}{old}"));
    // It stays as it is, as if the clock were set back: each certificate begins too early.
    world.run(40);
    let made = world.writes.iter().filter(|w| *w == "create request");
    assert_eq!(made.count(), 1, "{:?}", world.writes);
    assert!(
        world.message("Issuing").contains("EL-1105"),
        "{}",
        world.message("Issuing")
    );
    let request = world.requests.last().unwrap();
    let listed = &request.metadata.annotations.as_ref().unwrap()[labels::REQUESTS_MADE_ANNOTATION];
    assert_eq!(
        listed.split(' ').count(),
        1,
        "the first issuance, and not this one: {listed}"
    );

    // Where there is none to list, it says so; without a list it would count itself.
    let (mut world, old, new) = issued(&json!({}));
    world.pass(SignedDuration::from_hours(48));
    ask(&mut world, Wish::Reissue, &format!("{new}{old}"));
    world.answer = Answer::Nothing;
    world.step();
    let request = world.requests.last().unwrap();
    let annotations = request.metadata.annotations.as_ref().unwrap();
    assert_eq!(annotations[labels::REQUESTS_MADE_ANNOTATION], "");
}
