//! A Certificate with nothing under way: history, rivals, and the labels and annotations of its Secret.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::json;

use super::authority::{Answer, pair};
use super::world::{START, World};
use crate::controllers::certificate::IssuerState;
use crate::controllers::certificate::observe::may_have_secret;
use crate::controllers::certificate::request::owner;
use crate::controllers::fixtures::identity;
use crate::controllers::store::{Change, Store};

fn names(world: &World) -> Vec<&str> {
    world
        .requests
        .iter()
        .filter_map(|r| r.metadata.name.as_deref())
        .collect()
}

#[test]
fn it_writes_nothing() {
    let mut world = World::issued(&json!({}));
    assert!(world.run(3));
    assert_eq!(world.writes, [""; 0]);
    assert_eq!(world.events, []);
}

/// A Secret whose label was taken off is shown by neither informer for a moment.
#[test]
fn a_secret_that_no_informer_shows_is_looked_for_before_it_is_missed() {
    let store = Store::new("system");
    let looks = |world: &World| may_have_secret(&store, &world.certificate);
    let mut world = World::issued(&json!({}));
    assert!(looks(&world));
    assert!(
        !looks(&World::new(&json!({}))),
        "a first issuance costs no request"
    );
    world.renew_by_hand();
    assert!(!looks(&world), "nor does one under way");
    store.apply(Change::OtherSecret(identity("app-tls"), true));
    assert!(looks(&world));
}

#[test]
fn the_newest_requests_are_kept() {
    for (limit, kept) in [
        (None, &["app-4"][..]),
        (Some(1), &["app-4"]),
        (Some(3), &["app-2", "app-3", "app-4"]),
        (Some(9), &["app-1", "app-2", "app-3", "app-4"]),
    ] {
        let mut world = World::issued(&json!({ "revisionHistoryLimit": limit }));
        for _ in 0..3 {
            world.renew_by_hand();
            world.run(12);
        }
        assert_eq!(names(&world), kept, "{limit:?}");
    }
}

#[test]
fn history_is_kept_while_it_is_not_ready() {
    let mut world = World::issued(&json!({ "revisionHistoryLimit": 2 }));
    world.renew_by_hand();
    world.run(12);
    world.edit(&json!({ "revisionHistoryLimit": 1, "dnsNames": ["b.example.com"] }));
    world.answer = Answer::Fail;
    world.run(12);
    assert_eq!(names(&world), ["app-1", "app-2", "app-3"]);
    world.renew_by_hand();
    world.answer = Answer::Sign;
    world.run(12);
    assert_eq!((world.ready().0, names(&world)), ("True", vec!["app-3"]));
}

#[test]
fn a_rival_keeps_the_secret_and_is_named() {
    let mut world = World::new(&json!({}));
    world.rival = Some("older".into());
    assert!(world.run(6));
    assert_eq!(world.writes, ["status"], "nothing but why");
    assert_eq!(
        (world.ready(), world.issuing()),
        (("False", "DoesNotExist"), ("", ""))
    );
    assert_eq!(
        world.message("Ready"),
        "Issuing certificate as Secret does not exist. Certificate \"older\" has spec.secretName \"app-tls\" too \
         and keeps it; give this one a Secret of its own (EL-1104)."
    );
    // Its Secret may even be good for both.
    let mut world = World::issued(&json!({}));
    world.rival = Some("older".into());
    world.run(6);
    assert_eq!(world.ready(), ("False", "IncorrectCertificate"));
    world.rival = None;
    world.run(6);
    assert_eq!(world.ready(), ("True", "Ready"));
    assert_eq!(world.status().revision, Some(1));
}

#[test]
fn who_loses_the_secret_to_a_rival_ends_what_was_begun() {
    let mut world = World::new(&json!({}));
    world.answer = Answer::Pend;
    world.run(6);
    assert_eq!((world.issuing().0, world.requests.len()), ("True", 1));
    assert_eq!(world.next_keys.len(), 1);
    world.rival = Some("older".into());
    assert!(world.run(6), "{:?}", world.writes);
    assert_eq!(world.issuing(), ("", ""));
    assert_eq!((world.requests.len(), world.next_keys.len()), (0, 0));
    assert_eq!(world.status().next_private_key_secret_name, None);
    // Nor can anybody begin it by hand.
    world.renew_by_hand();
    assert!(world.run(6), "{:?}", world.writes);
    assert_eq!((world.issuing(), world.requests.len()), (("", ""), 0));
}

#[test]
fn labels_and_annotations_of_the_secret_are_put_back() {
    let spec = json!({ "secretTemplate": { "annotations": { "note": "x" }, "labels": { "team": "shop" } } });
    let world = World::issued(&spec);
    let whole = world.secret.clone();
    for (what, change) in [
        (
            "fao",
            (|w| {
                _ = w
                    .secret
                    .as_mut()
                    .unwrap()
                    .metadata
                    .labels
                    .as_mut()
                    .unwrap()
                    .remove("controller.cert-manager.io/fao")
            }) as fn(&mut World),
        ),
        ("label", |w| {
            _ = w
                .secret
                .as_mut()
                .unwrap()
                .metadata
                .labels
                .as_mut()
                .unwrap()
                .insert("team".into(), "other".into())
        }),
        ("annotation", |w| _ = w.annotations().remove("note")),
    ] {
        let mut world = world.clone();
        change(&mut world);
        assert!(world.run(4));
        assert_eq!(
            (world.writes.as_slice(), &world.secret),
            (&["apply secret".to_owned()][..], &whole),
            "{what}"
        );
    }
}

#[test]
fn a_new_template_reaches_the_secret_without_a_new_certificate() {
    let mut world = World::issued(&json!({}));
    let before = world.entry("tls.crt").clone();
    world.edit(&json!({ "secretTemplate": { "labels": { "team": "shop" } } }));
    assert!(world.run(4));
    assert_eq!(world.writes, ["status", "apply secret"]);
    assert_eq!(
        world
            .secret
            .as_ref()
            .unwrap()
            .metadata
            .labels
            .as_ref()
            .unwrap()["team"],
        "shop"
    );
    assert_eq!(
        (world.entry("tls.crt").clone(), world.status().revision),
        (before, Some(1))
    );
}

/// Someone else wrote it first, or applies it too: the field is ours nevertheless, so that it goes when the template does.
#[test]
fn what_others_wrote_and_the_certificate_asks_for_is_applied() {
    let spec = json!({ "secretTemplate": { "annotations": { "note": "x" }, "labels": { "team": "shop" } } });
    for field in [
        "f:annotations f:note",
        "f:labels f:team",
        "f:labels f:controller.cert-manager.io/fao",
        "f:annotations f:cert-manager.io/alt-names",
    ] {
        let mut world = World::issued(&spec);
        let whole = world.secret.clone();
        let (map, key) = field.split_once(' ').unwrap();
        let theirs = world.managed()["f:metadata"][map].as_object_mut().unwrap();
        assert!(theirs.remove(key).is_some(), "{field}");
        assert!(world.run(4));
        assert_eq!(world.writes, ["apply secret"], "{field}");
        assert_eq!(world.secret, whole, "{field}");
    }
}

#[test]
fn a_template_that_contradicts_the_contract_does_not_repair_for_ever() {
    let labels = json!({ "controller.cert-manager.io/fao": "false", "team": "shop" });
    let mut world = World::issued(&json!({ "secretTemplate": { "labels": labels } }));
    assert!(world.run(4));
    assert_eq!(world.writes, [""; 0]);
}

#[test]
fn a_pair_that_a_user_brings_is_taken_over() {
    let mut world = World::issued(&json!({}));
    let (key, certificate) = pair(&["app.example.com"], START, world.lifetime);
    let secret = world.secret.as_mut().unwrap();
    (secret.metadata.labels, secret.metadata.annotations) = (None, None);
    *world.entry("tls.key") = key.clone();
    *world.entry("tls.crt") = certificate;
    world.requests.clear();
    world.certificate.status = None;
    world.answer = Answer::Nothing;
    assert!(world.run(4));
    assert_eq!(world.ready(), ("True", "Ready"));
    assert_eq!(world.writes, ["status", "apply secret"]);
    assert_eq!(*world.entry("tls.key"), key);
    assert_eq!(
        world.annotations()["cert-manager.io/certificate-name"],
        "app"
    );
}

#[test]
fn the_loss_of_the_issuer_does_not_matter() {
    for issuer in [IssuerState::Missing, IssuerState::NotReady] {
        let mut world = World::issued(&json!({}));
        world.issuer = issuer;
        world.cause = Some("Issuer \"ca\" does not exist.".into());
        assert!(world.run(2));
        assert_eq!(world.writes, [""; 0]);
    }
}

fn owners(world: &mut World) -> &mut Vec<OwnerReference> {
    let meta = &mut world.secret.as_mut().unwrap().metadata;
    meta.owner_references.get_or_insert_default()
}

/// Somebody else is an owner too, applied with the name of this operator.
fn apply_another_owner(world: &mut World) -> OwnerReference {
    let other = OwnerReference {
        api_version: "example.org/v1".into(),
        kind: "App".into(),
        name: "app".into(),
        uid: "uid-of-another".into(),
        ..OwnerReference::default()
    };
    owners(world).push(other.clone());
    world.managed()["f:metadata"]["f:ownerReferences"][r#"k:{"uid":"uid-of-another"}"#] = json!({});
    other
}

#[test]
fn the_owner_of_the_secret_is_put_right() {
    let mut world = World::new(&json!({}));
    world.settings.enable_certificate_owner_ref = true;
    world.run(12);
    world.forget_records();
    let whole = world.secret.clone();
    let own = owner(&world.certificate);
    assert_eq!(*owners(&mut world), [own]);
    for (what, change) in [
        ("gone", (|w| owners(w).clear()) as fn(&mut World)),
        ("of another name", |w| owners(w)[0].name = "other".into()),
        ("of another version", |w| {
            owners(w)[0].api_version = "cert-manager.io/v2".into()
        }),
        ("no controller", |w| owners(w)[0].controller = None),
        ("not to wait for", |w| {
            owners(w)[0].block_owner_deletion = Some(false)
        }),
        ("somebody else's", |w| {
            w.managed()["f:metadata"]["f:ownerReferences"] = json!({})
        }),
    ] {
        let mut world = world.clone();
        change(&mut world);
        assert!(world.run(4), "{what}");
        assert_eq!(
            (world.writes.as_slice(), &world.secret),
            (&["apply secret".to_owned()][..], &whole),
            "{what}"
        );
    }
    world.settings.enable_certificate_owner_ref = false;
    assert!(world.run(4));
    assert_eq!(world.writes, ["apply secret"]);
    assert_eq!(*owners(&mut world), []);
}

#[test]
fn another_owner_of_the_secret_stays() {
    for owned in [false, true] {
        let mut world = World::new(&json!({}));
        world.settings.enable_certificate_owner_ref = owned;
        world.run(12);
        world.forget_records();
        let other = apply_another_owner(&mut world);
        let whole = world.secret.clone();
        assert!(world.run(4));
        assert_eq!(world.writes, [""; 0], "{owned}");
        world.annotations().remove("cert-manager.io/alt-names");
        assert!(world.run(4));
        assert_eq!(world.writes, ["apply secret"], "{owned}");
        assert_eq!(world.secret, whole, "{owned}");
        world.renew_by_hand();
        world.run(12);
        assert_eq!(world.status().revision, Some(2));
        assert!(owners(&mut world).contains(&other), "{owned}");
    }
}

/// There is room for one, and the Certificate is to be it.
#[test]
fn another_controller_of_the_secret_gives_way() {
    let mut world = World::issued(&json!({}));
    apply_another_owner(&mut world);
    owners(&mut world)[0].controller = Some(true);
    world.settings.enable_certificate_owner_ref = true;
    assert!(world.run(4));
    let own = owner(&world.certificate);
    assert_eq!(*owners(&mut world), [own]);
}
