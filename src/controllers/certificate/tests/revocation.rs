//! What a CertificateRevocation does to the Certificate whose certificate or key it is about.

use serde_json::json;

use super::authority::Answer;
use super::world::World;
use crate::controllers::facts::KeyFact;
use crate::controllers::revocation::Withdrawal;
use crate::pki::PrivateKey;

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
