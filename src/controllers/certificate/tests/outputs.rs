//! Keystores and other formats: written with the Secret, put right without a new certificate.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use serde_json::{Value, json};

use super::authority::pair;
use super::world::{START, World};
use crate::pki::keystore::pkcs12::{self, Profile};
use crate::pki::keystore::{Password, jks};

/// Everything, with a password from a Secret.
fn everything() -> Value {
    let password = json!({ "name": "store", "key": "password" });
    json!({
        "additionalOutputFormats": [{ "type": "DER" }, { "type": "CombinedPEM" }],
        "keystores": {
            "jks": { "create": true, "passwordSecretRef": password, "alias": "Web" },
            "pkcs12": { "create": true, "passwordSecretRef": password, "profile": "Modern2023" },
        },
    })
}

fn set_password(world: &mut World, password: &str) {
    let data = BTreeMap::from([("password".into(), ByteString(password.into()))]);
    world.passwords.insert("store".into(), data);
}

fn new(spec: &Value) -> World {
    let mut world = World::new(spec);
    let (_, ca) = pair(&["ca"], START, world.lifetime);
    world.ca = Some(ca);
    set_password(&mut world, "changeit");
    world
}

fn issued(spec: &Value) -> World {
    let mut world = new(spec);
    world.run(12);
    assert_eq!(
        world.ready(),
        ("True", "Ready"),
        "{}",
        world.message("Ready")
    );
    world.forget_records();
    world
}

fn entries(world: &World) -> Vec<&str> {
    let data = world.secret.as_ref().unwrap().data.as_ref().unwrap();
    data.keys().map(String::as_str).collect()
}

/// Every store opens with the password.
fn opens(world: &mut World, password: &str) -> bool {
    let password = Password::new(password);
    let java = ["keystore.jks", "truststore.jks"].map(|e| jks::opens(world.entry(e), &password));
    let others = ["keystore.p12", "truststore.p12"]
        .map(|e| pkcs12::opens(world.entry(e), Profile::Modern2023, &password));
    java == [true; 2] && others == [true; 2]
}

const ALL: [&str; 9] = [
    "ca.crt",
    "key.der",
    "keystore.jks",
    "keystore.p12",
    "tls-combined.pem",
    "tls.crt",
    "tls.key",
    "truststore.jks",
    "truststore.p12",
];

#[test]
fn all_are_written_with_the_secret_and_only_once() {
    let mut world = new(&everything());
    world.run(12);
    assert_eq!(world.ready(), ("True", "Ready"));
    let applied = world.writes.iter().filter(|w| *w == "apply secret");
    assert_eq!(applied.count(), 1, "{:?}", world.writes);
    assert_eq!(entries(&world), ALL);
    assert!(opens(&mut world, "changeit"));
    let parts = ["tls.key", "tls.crt"].map(|e| world.entry(e).clone());
    let joined = parts.join(&b"\n"[..]);
    assert_eq!(*world.entry("tls-combined.pem"), joined);
    let der = crate::pki::first_block(world.entry("tls.key")).unwrap();
    assert_eq!(*world.entry("key.der"), *der);
    assert_eq!(jks::alias(world.entry("keystore.jks")).unwrap(), "web");
    world.forget_records();
    assert!(world.run(3));
    assert_eq!(world.writes, [""; 0]);
}

#[test]
fn without_a_ca_there_is_no_truststore() {
    let mut world = new(&everything());
    world.ca = None;
    world.run(12);
    let wanted: Vec<_> = ALL
        .into_iter()
        .filter(|e| *e != "ca.crt" && !e.starts_with("truststore"))
        .collect();
    assert_eq!(entries(&world), wanted);
    world.forget_records();
    assert!(world.run(3));
    assert_eq!(world.writes, [""; 0]);
}

#[test]
fn nothing_is_written_before_the_password_is_there() {
    let mut world = new(&everything());
    world.passwords.clear();
    world.run(12);
    assert_eq!(
        (world.ready(), world.issuing().0),
        (("False", "DoesNotExist"), "True")
    );
    assert!(world.secret.is_none());
    assert!(
        world
            .message("Ready")
            .contains("Secret \"store\" with the password of a keystore does not exist"),
        "{}",
        world.message("Ready")
    );
    assert!(
        world
            .event_reasons()
            .contains(&"KeystorePasswordSecretNotFound")
    );
    world.forget_records();
    assert!(world.run(3), "it waits without writing: {:?}", world.writes);
    assert_eq!(world.writes, [""; 0]);

    let data = BTreeMap::from([("other".into(), ByteString(b"x".to_vec()))]);
    world.passwords.insert("store".into(), data);
    world.run(3);
    assert!(
        world.message("Ready").contains("has no entry \"password\""),
        "{}",
        world.message("Ready")
    );
    set_password(&mut world, "changeit");
    world.forget_records();
    world.run(6);
    assert_eq!(world.ready(), ("True", "Ready"));
    assert!(opens(&mut world, "changeit"));
    assert_eq!(
        (world.requests.len(), world.status().revision),
        (1, Some(1))
    );
    assert!(!world.writes.contains(&"create request".to_owned()));
}

#[test]
fn a_renewal_without_the_password_keeps_what_is_there() {
    let mut world = issued(&everything());
    let before = world.secret.clone();
    world.passwords.clear();
    world.renew_by_hand();
    world.run(6);
    assert_eq!((world.ready().0, world.issuing().0), ("True", "True"));
    assert_eq!(world.secret, before);
    assert!(
        world
            .event_reasons()
            .contains(&"KeystorePasswordSecretNotFound")
    );
    let message = world.message("Issuing");
    assert!(
        message.contains("Waiting: Secret \"store\" with the password")
            && message.contains("(EL-1106)"),
        "{message}"
    );
    world.forget_records();
    assert!(world.run(3));
    assert_eq!(world.writes, [""; 0], "it is said once");
    set_password(&mut world, "other");
    world.run(6);
    assert_eq!(
        (world.ready().0, world.status().revision),
        ("True", Some(2))
    );
    assert!(opens(&mut world, "other"));
}

#[test]
fn a_new_password_reaches_the_stores_without_a_new_certificate() {
    let mut world = issued(&everything());
    let (key, der) = (
        world.entry("tls.key").clone(),
        world.entry("key.der").clone(),
    );
    set_password(&mut world, "rotated");
    assert!(world.run(4));
    assert_eq!(world.writes, ["apply secret"]);
    assert!(opens(&mut world, "rotated") && !opens(&mut world, "changeit"));
    assert_eq!(
        (
            world.entry("tls.key").clone(),
            world.entry("key.der").clone()
        ),
        (key, der)
    );
    assert_eq!(world.status().revision, Some(1));
}

#[test]
fn what_is_missing_or_wrong_is_put_right_and_the_rest_left_alone() {
    for broken in ALL
        .into_iter()
        .filter(|e| !e.starts_with("tls.") && *e != "ca.crt")
    {
        for (how, bytes) in [
            ("missing", None),
            ("empty", Some(vec![])),
            ("wrong", Some(b"?".to_vec())),
        ] {
            let mut world = issued(&everything());
            let before = world.secret.clone().unwrap().data.unwrap();
            let data = world.secret.as_mut().unwrap().data.as_mut().unwrap();
            match bytes {
                None => _ = data.remove(broken),
                Some(bytes) => _ = data.insert(broken.into(), ByteString(bytes)),
            }
            assert!(world.run(4), "{broken} {how}");
            assert_eq!(world.writes, ["apply secret"], "{broken} {how}");
            assert!(opens(&mut world, "changeit"), "{broken} {how}");
            let kind = broken.rsplit('.').next().unwrap();
            for (entry, bytes) in before {
                let touched = entry.ends_with(kind) && ["jks", "p12"].contains(&kind);
                assert!(
                    touched || *world.entry(&entry) == bytes.0,
                    "{broken} {how}: {entry}"
                );
            }
            assert_eq!(world.status().revision, Some(1));
        }
    }
}

#[test]
fn what_is_not_asked_for_any_more_is_removed() {
    let stores =
        |jks: Value, pkcs12: Value| json!({ "keystores": { "jks": jks, "pkcs12": pkcs12 } });
    let off = json!({ "create": false });
    for (edit, gone) in [
        (
            json!({ "additionalOutputFormats": null }),
            &["key.der", "tls-combined.pem"][..],
        ),
        (
            json!({ "additionalOutputFormats": [{ "type": "DER" }] }),
            &["tls-combined.pem"],
        ),
        (
            json!({ "keystores": null }),
            &[
                "keystore.jks",
                "truststore.jks",
                "keystore.p12",
                "truststore.p12",
            ],
        ),
        (
            stores(off.clone(), json!({})),
            &["keystore.jks", "truststore.jks"],
        ),
        (
            stores(json!({}), off.clone()),
            &["keystore.p12", "truststore.p12"],
        ),
        (
            stores(Value::Null, json!({})),
            &["keystore.jks", "truststore.jks"],
        ),
    ] {
        let mut world = issued(&everything());
        world.edit(&edit);
        assert!(world.run(4), "{edit}");
        let left: Vec<_> = ALL.into_iter().filter(|e| !gone.contains(e)).collect();
        assert_eq!(entries(&world), left, "{edit}");
        assert_eq!(world.status().revision, Some(1));
    }
}

#[test]
fn what_others_put_there_is_theirs() {
    let mut world = issued(&json!({}));
    *world.entry("keystore.jks") = b"theirs".to_vec();
    *world.entry("key.der") = b"theirs".to_vec();
    assert!(world.run(3));
    assert_eq!(world.writes, [""; 0]);
}

/// A keystore is another one each time it is made: one that others brought is left alone while it opens.
#[test]
fn what_others_put_there_is_applied_once_it_is_asked_for() {
    for entry in ALL
        .into_iter()
        .filter(|e| !e.contains("tls.") && *e != "ca.crt")
    {
        let mut world = issued(&everything());
        let theirs = world.managed()["f:data"].as_object_mut().unwrap();
        assert!(theirs.remove(&format!("f:{entry}")).is_some(), "{entry}");
        assert!(world.run(4));
        let is_applied = ["key.der", "tls-combined.pem"].contains(&entry);
        let wanted = if is_applied {
            &["apply secret"][..]
        } else {
            &[]
        };
        assert_eq!(world.writes, wanted, "{entry}");
    }
}

#[test]
fn another_profile_or_alias_is_another_store() {
    for edit in [
        json!({ "keystores": { "pkcs12": { "profile": "LegacyDES" } } }),
        json!({ "keystores": { "pkcs12": { "profile": "Modern2026" } } }),
        json!({ "keystores": { "jks": { "alias": "other" } } }),
    ] {
        let mut world = issued(&everything());
        world.edit(&edit);
        assert!(world.run(4));
        assert_eq!(world.writes, ["status", "apply secret"], "{edit}");
        assert_eq!(world.status().revision, Some(1));
    }
}

#[test]
fn a_lost_label_does_not_cost_the_stores() {
    let mut world = issued(&everything());
    let before = world.secret.clone();
    world.secret.as_mut().unwrap().metadata.labels = None;
    assert!(world.run(4));
    assert_eq!(
        (world.writes.as_slice(), &world.secret),
        (&["apply secret".to_owned()][..], &before)
    );
    // Nor does it when the password is gone.
    world.passwords.clear();
    world.secret.as_mut().unwrap().metadata.labels = None;
    assert!(world.run(4));
    assert_eq!(world.secret, before);
}

#[test]
fn a_password_may_be_of_any_bytes() {
    let mut world = new(&everything());
    let bytes = b"\xff\xfe\0\x80a".to_vec();
    let data = BTreeMap::from([("password".into(), ByteString(bytes.clone()))]);
    world.passwords.insert("store".into(), data);
    world.run(12);
    assert_eq!(
        world.ready(),
        ("True", "Ready"),
        "{}",
        world.message("Ready")
    );
    assert_eq!(entries(&world), ALL);
    let password = Password::of_bytes(&bytes);
    assert!(jks::opens(world.entry("keystore.jks"), &password));
    world.forget_records();
    assert!(world.run(3));
    assert_eq!(world.writes, [""; 0]);
}

#[test]
fn a_store_that_cannot_be_written_again_is_told_of() {
    let mut world = issued(&everything());
    world.passwords.clear();
    world
        .secret
        .as_mut()
        .unwrap()
        .data
        .as_mut()
        .unwrap()
        .remove("keystore.jks");
    assert!(world.run(3));
    assert_eq!(world.writes, [""; 0]);
    assert!(
        world
            .event_reasons()
            .contains(&"KeystorePasswordSecretNotFound")
    );
    assert_eq!(world.ready(), ("True", "Ready"));
    set_password(&mut world, "again");
    assert!(world.run(4));
    assert!(opens(&mut world, "again"));
}

#[test]
fn a_ca_that_cannot_be_read_fails_the_issuance() {
    let mut world = new(&everything());
    world.ca = Some(b"no certificate".to_vec());
    world.run(12);
    assert!(world.secret.is_none());
    assert_eq!(world.issuing(), ("False", "OutputsFailed"));
    assert_eq!(world.status().failed_issuance_attempts, Some(1));
}

#[test]
fn a_password_in_the_spec_will_do_and_is_said_nowhere() {
    let mut world =
        new(&json!({ "keystores": { "pkcs12": { "create": true, "password": "geheim" } } }));
    world.run(12);
    let password = Password::new("geheim");
    assert!(pkcs12::opens(
        world.entry("keystore.p12"),
        Profile::LegacyRc2,
        &password
    ));
    assert!(!format!("{:?}", world.observe()).contains("geheim"));
    let told = format!("{:?} {:?}", world.events, world.conditions());
    assert!(!told.contains("geheim"), "{told}");
}
