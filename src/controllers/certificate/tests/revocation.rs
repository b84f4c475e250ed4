//! What a CertificateRevocation does to the Certificate whose certificate or key it is about.

use serde_json::json;

use super::authority::Answer;
use super::world::World;
use crate::controllers::action::{Action, Object};
use crate::controllers::certificate::plan;
use crate::controllers::facts::KeyFact;
use crate::controllers::revocation::Withdrawal;
use crate::controllers::watched_lists::Listing;
use crate::pki::{PrivateKey, RevocationReason};

fn by() -> String {
    "shop/stolen".into()
}

fn key(world: &World) -> KeyFact {
    let data = world.secret.as_ref().unwrap().data.as_ref().unwrap();
    KeyFact::of(&PrivateKey::from_pem(&data["tls.key"].0).unwrap())
}

#[test]
fn a_revoked_certificate_is_not_ready_and_issued_anew() {
    let mut world = World::issued(&json!({}));
    world.answer = Answer::Nothing;
    world.withdrawal = Some(Withdrawal::Revoked { by: by() });
    world.run(8);
    assert_eq!(world.issuing(), ("True", "Revoked"));
    assert_eq!(world.ready(), ("False", "Revoked"));
    let message = world.message("Ready");
    assert!(message.contains("\"shop/stolen\" (EL-1607)"), "{message}");

    world.answer = Answer::Sign;
    world.answer_requests();
    world.step();
    world.withdrawal = None;
    world.run(8);
    assert_eq!(world.ready(), ("True", "Ready"));
    assert_eq!(world.status().revision, Some(2));
}

#[test]
fn one_that_is_replaced_first_stays_ready_until_then() {
    let mut world = World::issued(&json!({}));
    world.answer = Answer::Nothing;
    world.withdrawal = Some(Withdrawal::Replaced { by: by() });
    world.run(8);
    assert_eq!(world.issuing(), ("True", "Revoked"));
    assert_eq!(world.ready(), ("True", "Ready"));
}

#[test]
fn a_compromised_key_is_replaced_whatever_the_policy_says() {
    for policy in ["Never", "Always"] {
        let spec = json!({ "privateKey": { "algorithm": "ECDSA", "rotationPolicy": policy } });
        let mut world = World::issued(&spec);
        let old = key(&world);
        world.compromised = vec![old.public];
        world.withdrawal = Some(Withdrawal::Compromised { by: by() });
        world.step();
        assert_eq!(world.issuing(), ("True", "KeyCompromised"), "{policy}");
        for _ in 0..8 {
            if key(&world) == old {
                world.step();
                world.answer_requests();
            }
        }
        world.withdrawal = None;
        world.run(8);
        assert_eq!(world.ready(), ("True", "Ready"), "{policy}");
        assert_ne!(key(&world).public, old.public);
    }
}

/// The reasons that CertificateRevocations are made for in one step, and the words of its events.
fn reported(world: &World, value: &str) -> (Vec<String>, Vec<String>) {
    let mut seen = world.observe();
    let annotations = [("everleaf.io/key-compromised".to_owned(), value.to_owned())];
    let certificate = std::sync::Arc::make_mut(&mut seen.certificate);
    certificate.metadata.annotations = Some(annotations.into());
    let plan = plan(&seen, &world.settings, world.now);
    let made = plan.actions.into_iter().filter_map(|action| match action {
        Action::Ensure(object) => match *object {
            Object::Revocation(object) => {
                assert_eq!(object.spec.older_revisions, Some(true));
                assert_eq!(object.metadata.owner_references, None);
                Some(object.spec.reason.unwrap())
            }
            _ => None,
        },
        _ => None,
    });
    let said = plan.events.into_iter().map(|event| event.message);
    (made.collect(), said.collect())
}

fn named(key: KeyFact) -> String {
    format!("{:016x}", key.public)
}

#[test]
fn the_annotation_has_the_key_that_it_names_revoked_once() {
    let never = json!({ "algorithm": "ECDSA", "rotationPolicy": "Never" });
    let mut world = World::issued(&json!({ "privateKey": never }));
    let nothing = (vec![], vec![]);
    let old = key(&world);
    let whole = format!("{}{}", named(old).to_uppercase(), "0".repeat(48));
    for value in [named(old), whole] {
        let done = (vec!["keyCompromise".to_owned()], vec![]);
        assert_eq!(reported(&world, &value), done, "{value}");
    }
    // A revision begins anew with each new Certificate of the name; and true is about whatever comes.
    for value in ["true", "1", "0", "2", "00112233", "no-digits-at-all"] {
        let (made, said) = reported(&world, value);
        assert!(made.is_empty(), "{value}: {made:?}");
        let advice = format!("say everleaf.io/key-compromised={}", named(old));
        assert!(said.iter().any(|said| said.ends_with(&advice)), "{said:?}");
    }
    world.is_reported = true;
    assert_eq!(reported(&world, &named(old)), nothing, "it is there");
    world.is_reported = false;
    // A renewal came in between, and the policy has kept the key.
    world.withdrawal = Some(Withdrawal::Revoked { by: by() });
    world.step();
    world.answer_requests();
    world.withdrawal = None;
    world.run(8);
    assert_eq!(world.status().revision, Some(2));
    assert_eq!(reported(&world, &named(old)).0, ["keyCompromise"]);
    // With another key it is done, also when the CertificateRevocation is gone.
    world.compromised = vec![old.public];
    world.withdrawal = Some(Withdrawal::Compromised { by: by() });
    for _ in 0..8 {
        if key(&world) == old {
            world.step();
            world.answer_requests();
        }
    }
    world.withdrawal = None;
    world.compromised = vec![];
    world.run(8);
    assert_eq!(world.status().revision, Some(3));
    let (made, said) = reported(&world, &named(old));
    assert_eq!(made, Vec::<String>::new());
    assert!(said[0].contains("is not the one in the Secret"), "{said:?}");
    world.is_reported = true;
    assert_eq!(reported(&world, &named(old)), nothing);
}

/// Deleted and applied again, or in a cluster that is made anew: its revisions begin at 1, and its keys are others.
#[test]
fn the_annotation_of_a_certificate_that_is_created_again_is_about_no_other_key() {
    let gone = key(&World::issued(&json!({})));
    let world = World::issued(&json!({}));
    assert_eq!(world.status().revision, Some(1));
    for value in ["1".to_owned(), named(gone)] {
        assert!(reported(&world, &value).0.is_empty(), "{value}");
    }
}

#[test]
fn a_key_that_is_found_compromised_in_the_middle_of_an_issuance_is_dropped() {
    let mut world = World::new(&json!({}));
    world.answer = Answer::Nothing;
    world.run(8);
    let staged = world.observe().staged.or_else(|| {
        let next = world.observe().next_keys.first().cloned()?;
        next.key.clone()?.ok()
    });
    let old = staged.unwrap();
    world.compromised = vec![old.public];
    world.answer = Answer::Sign;
    world.run(16);
    assert_eq!(world.ready(), ("True", "Ready"));
    assert_ne!(key(&world).public, old.public);
}

#[test]
fn what_is_in_its_cas_list_is_replaced_at_once_and_says_which_list() {
    let mut world = World::issued(&json!({ "renewBefore": "1h" }));
    world.answer = Answer::Nothing;
    world.withdrawal = Some(Withdrawal::Listed(Listing {
        list: "http://crl.example.com/ca.crl".into(),
        at: world.now,
        reason: RevocationReason::Superseded,
    }));
    world.run(8);
    assert_eq!(world.issuing(), ("True", "Revoked"));
    assert_eq!(world.ready(), ("False", "Revoked"));
    let message = world.message("Ready");
    for words in [
        "http://crl.example.com/ca.crl",
        "superseded",
        "2026-01-",
        "EL-1607",
    ] {
        assert!(message.contains(words), "{message}");
    }
}
