//! Each row of the key manager (contract §4.3).

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;

use super::authority::{Answer, new_key, pair, pem};
use super::world::{START, World};
use crate::controllers::certificate::IssuerState;
use crate::controllers::certificate::request::owner;
use crate::pki::{Curve, KeyAlgorithm, KeyEncoding, PrivateKey, parse_chain, verify_key_matches};

const P256: KeyAlgorithm = KeyAlgorithm::Ecdsa(Curve::P256);

fn key_of(secret: &Secret) -> PrivateKey {
    PrivateKey::from_pem(&secret.data.as_ref().unwrap()["tls.key"].0).unwrap()
}

/// A next private key of this Certificate, as it is stored.
fn next_key(world: &World, name: &str, data: &[u8]) -> Secret {
    let yes = |key: &str| (key.to_owned(), "true".to_owned());
    Secret {
        metadata: ObjectMeta {
            name: Some(name.into()),
            namespace: Some("shop".into()),
            uid: Some(format!("uid-of-{name}")),
            labels: Some(BTreeMap::from([
                yes("cert-manager.io/next-private-key"),
                yes("controller.cert-manager.io/fao"),
            ])),
            owner_references: Some(vec![owner(&world.certificate)]),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".into()),
        data: Some(BTreeMap::from([(
            "tls.key".to_owned(),
            ByteString(data.to_vec()),
        )])),
        ..Secret::default()
    }
}

fn names(world: &World) -> Vec<&str> {
    world
        .next_keys
        .iter()
        .filter_map(|s| s.metadata.name.as_deref())
        .collect()
}

/// A world that stops when the request is made.
fn waiting(spec: &serde_json::Value) -> World {
    let mut world = World::new(spec);
    world.answer = Answer::Nothing;
    world
}

#[test]
fn the_next_key_is_stored_before_the_request_is_made() {
    let mut world = waiting(&json!({}));
    world.run(4);
    assert_eq!(world.writes, ["status", "create key", "create request"]);
    let secret = &world.next_keys[0];
    assert_eq!(
        secret,
        &Secret {
            metadata: secret.metadata.clone(),
            data: secret.data.clone(),
            ..next_key(&world, "", b"")
        }
    );
    let labels = secret.metadata.labels.as_ref().unwrap();
    assert_eq!(
        labels,
        next_key(&world, "", b"").metadata.labels.as_ref().unwrap()
    );
    assert_eq!(
        secret.metadata.owner_references,
        Some(vec![owner(&world.certificate)])
    );
    let name = secret.metadata.name.clone().unwrap();
    assert!(
        name.starts_with("app-") && name.len() == "app-".len() + 5,
        "{name}"
    );
    assert_eq!(world.status().next_private_key_secret_name, Some(name));
    let text = secret.data.as_ref().unwrap()["tls.key"].0.clone();
    assert!(
        text.starts_with(b"-----BEGIN PRIVATE KEY-----"),
        "not PKCS#8"
    );
    assert_eq!(key_of(secret).algorithm(), P256);
}

#[test]
fn for_an_issuer_in_this_process_the_key_stays_in_memory() {
    let mut world = waiting(&json!({}));
    world.issuer = IssuerState::Ready { in_process: true };
    world.run(4);
    assert_eq!(world.writes, ["status", "create request"]);
    assert_eq!((world.next_keys.len(), world.memory.len()), (0, 1));
    assert_eq!(world.status().next_private_key_secret_name, None);
}

/// Whoever approves may take days, and nothing that is approved is thrown away.
#[test]
fn a_key_whose_request_waits_for_somebody_else_is_stored() {
    let mut world = waiting(&json!({}));
    world.issuer = IssuerState::Ready { in_process: true };
    world.settings.approves = false;
    world.run(4);
    assert_eq!(world.writes, ["status", "create key", "create request"]);
    world.memory.clear();
    world.forget_records();
    assert!(world.run(2));
    assert_eq!(world.writes, [""; 0], "a restart changes nothing");
    world.answer = Answer::Sign;
    world.run(4);
    assert_eq!(world.ready(), ("True", "Ready"));
}

#[test]
fn a_key_in_memory_that_is_lost_is_made_anew() {
    let mut world = waiting(&json!({}));
    world.issuer = IssuerState::Ready { in_process: true };
    world.run(4);
    world.memory.clear();
    world.forget_records();
    world.run(4);
    assert_eq!(
        world.writes,
        ["delete CertificateRequest", "create request"]
    );
    world.answer = Answer::Sign;
    world.run(4);
    assert_eq!(world.ready(), ("True", "Ready"));
}

#[test]
fn each_issuance_has_a_new_key_unless_the_policy_is_never() {
    for (policy, rotates) in [
        (json!(null), true),
        (json!("Always"), true),
        (json!("Never"), false),
    ] {
        let mut world = World::issued(&json!({ "privateKey": { "rotationPolicy": policy } }));
        let before = world.entry("tls.key").clone();
        world.renew_by_hand();
        world.run(12);
        assert_eq!(world.status().revision, Some(2));
        assert_eq!(*world.entry("tls.key") != before, rotates, "{policy}");
        assert_eq!(
            world.event_reasons().contains(&"Reused"),
            !rotates,
            "{policy}"
        );
    }
}

#[test]
fn with_policy_never_and_nothing_to_reuse_a_key_is_made() {
    for (what, change, told) in [
        ("no Secret", (|w| w.secret = None) as fn(&mut World), false),
        ("empty", |w| w.entry("tls.key").clear(), false),
        ("unreadable", |w| *w.entry("tls.key") = b"?".to_vec(), true),
    ] {
        let mut world = World::issued(&json!({ "privateKey": { "rotationPolicy": "Never" } }));
        change(&mut world);
        world.run(12);
        assert_eq!(
            (world.ready(), world.status().revision),
            (("True", "Ready"), Some(2)),
            "{what}"
        );
        assert_eq!(
            world.event_reasons().contains(&"DecodeFailed"),
            told,
            "{what}"
        );
    }
}

#[test]
fn with_policy_never_a_key_that_does_not_fit_stops_the_issuance_and_says_so() {
    let mut world = World::issued(&json!({ "privateKey": { "rotationPolicy": "Never" } }));
    world.edit(&json!({ "privateKey": { "size": 384 } }));
    assert!(world.run(6), "{:?}", world.writes);
    assert_eq!(world.writes, ["status"], "said once, then silent");
    assert_eq!(
        (world.issuing(), world.ready()),
        (("True", "SecretMismatch"), ("False", "CannotRegenerateKey"))
    );
    assert!(
        world
            .message("Ready")
            .contains("set it to Always, or delete the Secret"),
        "{}",
        world.message("Ready")
    );
    assert!(world.event_reasons().contains(&"CannotRegenerateKey"));
    // Both ways out work.
    let mut deleted = world.clone();
    deleted.secret = None;
    deleted.run(12);
    world.edit(&json!({ "privateKey": { "rotationPolicy": "Always" } }));
    world.run(12);
    for mut world in [world, deleted] {
        assert_eq!(world.ready(), ("True", "Ready"));
        let key = PrivateKey::from_pem(world.entry("tls.key")).unwrap();
        assert_eq!(key.algorithm(), KeyAlgorithm::Ecdsa(Curve::P384));
    }
}

#[test]
fn a_stored_key_is_adopted() {
    let mut world = waiting(&json!({}));
    let key = new_key(P256);
    world.next_keys = vec![next_key(
        &world,
        "app-found",
        &pem(&key, KeyEncoding::Pkcs8),
    )];
    world.run(4);
    assert_eq!(world.writes, ["status", "create request"]);
    assert_eq!(
        world.status().next_private_key_secret_name.as_deref(),
        Some("app-found")
    );
    world.answer = Answer::Sign;
    world.run(12);
    assert_eq!(
        PrivateKey::from_pem(world.entry("tls.key"))
            .unwrap()
            .public_key_der(),
        key.public_key_der()
    );
    assert_eq!(names(&world), [""; 0], "it is not needed any more");
}

#[test]
fn a_stored_key_that_is_of_no_use_is_replaced() {
    let wrong = pem(&new_key(KeyAlgorithm::Ed25519), KeyEncoding::Pkcs8);
    for (what, data) in [
        ("empty", &b""[..]),
        ("unreadable", b"?"),
        ("other algorithm", &wrong),
    ] {
        let mut world = waiting(&json!({}));
        world.next_keys = vec![next_key(&world, "app-found", data)];
        world.run(6);
        assert_eq!(
            world.writes,
            ["status", "delete Secret", "create key", "create request"],
            "{what}"
        );
        assert_eq!(names(&world).len(), 1, "{what}");
        assert_eq!(key_of(&world.next_keys[0]).algorithm(), P256, "{what}");
    }
}

#[test]
fn of_several_stored_keys_the_one_of_the_status_remains() {
    let fresh = || pem(&new_key(P256), KeyEncoding::Pkcs8);
    for named in ["app-a", "app-b", "app-c"] {
        let mut world = waiting(&json!({}));
        world.next_keys = ["app-a", "app-b", "app-c"]
            .map(|n| next_key(&world, n, &fresh()))
            .to_vec();
        world
            .certificate
            .status
            .get_or_insert_default()
            .next_private_key_secret_name = Some(named.into());
        world.run(6);
        assert_eq!(names(&world), [named]);
        assert_eq!(world.requests.len(), 1);
        assert!(
            !world.writes.contains(&"delete CertificateRequest".into()),
            "{:?}",
            world.writes
        );
        world.answer = Answer::Sign;
        world.run(6);
        assert_eq!(world.ready(), ("True", "Ready"));
    }
}

#[test]
fn several_stored_keys_do_not_make_a_good_request_useless() {
    let mut world = waiting(&json!({}));
    world.run(4);
    // Found first, and not the one of the request.
    let other = next_key(&world, "aaa", &pem(&new_key(P256), KeyEncoding::Pkcs8));
    world.next_keys.insert(0, other);
    world.forget_records();
    world.run(4);
    assert_eq!(world.writes, ["delete Secret"]);
    assert_eq!(
        names(&world),
        [world.status().next_private_key_secret_name.unwrap()]
    );
}

#[test]
fn no_key_is_left_when_nothing_is_under_way() {
    let mut world = World::issued(&json!({}));
    let data = pem(&new_key(P256), KeyEncoding::Pkcs8);
    world.next_keys = vec![
        next_key(&world, "app-left", &data),
        next_key(&world, "app-more", &data),
    ];
    world
        .certificate
        .status
        .as_mut()
        .unwrap()
        .next_private_key_secret_name = Some("app-left".into());
    world.run(4);
    assert_eq!(world.writes, ["status", "delete Secret", "delete Secret"]);
    assert_eq!(world.status().next_private_key_secret_name, None);
}

#[test]
fn the_target_secret_holds_the_key_in_the_encoding_of_the_spec() {
    for (spec, begin) in [
        (json!({}), "EC PRIVATE KEY"),
        (
            json!({ "privateKey": { "encoding": "PKCS1" } }),
            "EC PRIVATE KEY",
        ),
        (
            json!({ "privateKey": { "encoding": "PKCS8" } }),
            "PRIVATE KEY",
        ),
        (
            json!({ "privateKey": { "algorithm": null } }),
            "RSA PRIVATE KEY",
        ),
        (
            json!({ "privateKey": { "algorithm": "Ed25519" } }),
            "PRIVATE KEY",
        ),
        (
            json!({ "privateKey": { "algorithm": "Ed25519", "encoding": "PKCS1" } }),
            "PRIVATE KEY",
        ),
    ] {
        let mut world = World::issued(&spec);
        let begin = format!("-----BEGIN {begin}-----\n");
        assert!(
            world.entry("tls.key").starts_with(begin.as_bytes()),
            "{spec}"
        );
    }
}

#[test]
fn nothing_is_taken_from_a_secret_with_policy_always() {
    let mut world = waiting(&json!({}));
    world.answer = Answer::Sign;
    let (key, certificate) = pair(&["old.example.com"], START, world.lifetime);
    world.secret = Some(Secret {
        type_: Some("Opaque".into()),
        ..next_key(&world, "app-tls", &key)
    });
    *world.entry("tls.crt") = certificate;
    world.run(12);
    assert_eq!(world.ready(), ("True", "Ready"));
    assert_ne!(*world.entry("tls.key"), key);
    assert_eq!(
        world.secret.unwrap().type_.as_deref(),
        Some("Opaque"),
        "the type of a Secret cannot be changed"
    );
}

#[test]
fn the_stored_key_counts_and_not_another_one_that_is_remembered() {
    // Another replica stored its key under the name that this one remembers one of its own by.
    let mut world = waiting(&json!({}));
    world.run(4);
    let name = world.status().next_private_key_secret_name.unwrap();
    world.memory.insert(name.clone(), new_key(P256));
    world.requests.clear();
    world.forget_records();
    assert!(world.run(4), "{:?}", world.writes);
    assert_eq!(world.writes, ["create request"]);
    // The same when it has the request already.
    world.memory.insert(name, new_key(P256));
    world.answer = Answer::Sign;
    world.run(6);
    assert_eq!(
        (world.ready(), world.status().revision),
        (("True", "Ready"), Some(1))
    );
    let certificate = parse_chain(world.entry("tls.crt")).unwrap().remove(0);
    let key = PrivateKey::from_pem(world.entry("tls.key")).unwrap();
    verify_key_matches(&certificate, &key).unwrap();
}
