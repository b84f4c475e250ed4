//! Ordered issuers and the requests that are made for theirs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::*;
use crate::api::{Order, OrderedIssuerStatus};
use crate::controllers::facts::OrderedFact;

const PARENT: &str = "site-1";

fn keys(all: &[(Kind, &str)]) -> Vec<Key> {
    let mut keys: Vec<Key> = all
        .iter()
        .map(|(kind, name)| Key::new(*kind, "shop", name))
        .collect();
    keys.sort();
    keys
}

fn applied(store: &Store, change: Change) -> Vec<Key> {
    let mut keys = store.apply(change);
    keys.sort();
    keys.dedup();
    keys
}

fn object(name: &str, owner: (&str, &str), issuer: &Value, conditions: &Value) -> RequestFact {
    let request: CertificateRequest = serde_json::from_value(json!({
        "metadata": { "namespace": "shop", "name": name, "uid": format!("uid-of-{name}"),
            "ownerReferences": [{ "apiVersion": "cert-manager.io/v1", "kind": owner.0, "name": owner.1,
                "uid": format!("uid-of-{}", owner.1), "controller": true }] },
        "spec": { "request": "", "issuerRef": issuer },
        "status": { "conditions": conditions, "certificate": "AAAA" },
    }))
    .unwrap();
    RequestFact::of(request)
}

/// The request of a Certificate, in this state.
fn parent(conditions: &Value) -> RequestFact {
    let issuer = json!({ "group": "everleaf.io", "kind": "OrderedIssuer", "name": "list" });
    object(PARENT, ("Certificate", "site"), &issuer, conditions)
}

/// The request of the issuer `ca` that was made for it, in this state.
fn child(conditions: &Value) -> RequestFact {
    let issuer = json!({ "name": "ca" });
    object(
        "site-1-7",
        ("CertificateRequest", PARENT),
        &issuer,
        conditions,
    )
}

fn ended(reason: &str) -> Value {
    let status = if reason == "Issued" { "True" } else { "False" };
    json!([{ "type": "Ready", "status": status, "reason": reason, "message": "so" }])
}

fn list(state: &str) -> Change {
    let status = json!({ "issuers": [{ "kind": "Issuer", "name": "ca", "state": state }] });
    let fact = OrderedFact {
        id: identity("list"),
        generation: 1,
        spec: serde_json::from_value(json!({ "issuers": [{ "name": "ca" }] })).unwrap(),
        status: serde_json::from_value::<OrderedIssuerStatus>(status).unwrap(),
    };
    Change::Ordered(Kind::OrderedIssuer, fact)
}

/// A Certificate, its request of an ordered issuer, and what was made for that.
fn scene() -> Store {
    let store = store();
    let certificate: Certificate = serde_json::from_value(json!({
        "metadata": { "namespace": "shop", "name": "site", "uid": "uid-of-site" },
        "spec": { "secretName": "site", "issuerRef": { "group": "everleaf.io", "kind": "OrderedIssuer", "name": "list" } },
    }))
    .unwrap();
    store.apply(Change::Certificate(certificate));
    store.apply(list("Fit"));
    store.apply(Change::Request(parent(&json!([]))));
    store.apply(Change::Request(child(&json!([]))));
    store
}

#[test]
fn what_is_under_a_request_of_an_ordered_issuer_wakes_it_and_its_certificate() {
    let store = scene();
    let own = [
        (Kind::CertificateRequest, "site-1-7"),
        (Kind::CertificateRequest, PARENT),
        (Kind::Certificate, "site"),
    ];
    assert_eq!(
        applied(&store, Change::Request(child(&json!([])))),
        keys(&own)
    );
    let order: Order = serde_json::from_value(json!({
        "metadata": { "namespace": "shop", "name": "order", "uid": "uid-of-order",
            "ownerReferences": [{ "apiVersion": "cert-manager.io/v1", "kind": "CertificateRequest",
                "name": "site-1-7", "uid": "uid-of-site-1-7", "controller": true }] },
        "spec": { "request": "", "issuerRef": { "name": "ca" } },
    }))
    .unwrap();
    let woken = applied(&store, Change::Order(order));
    let all = [own[0], own[1], own[2], (Kind::Order, "order")];
    assert_eq!(woken, keys(&all));
    let children = store.requests_of("shop", "uid-of-site-1");
    assert_eq!(&*children[0].id.name, "site-1-7");
    let name = ("shop".into(), "site-1-7".into());
    let mut woken = store.remove(Informer::CertificateRequests, &name);
    woken.sort();
    assert_eq!(woken, keys(&own));
    assert!(store.requests_of("shop", "uid-of-site-1").is_empty());
}

#[test]
fn an_ordered_issuer_hears_of_its_issuers_and_of_requests_that_they_failed() {
    let store = scene();
    let list_key = Key::new(Kind::OrderedIssuer, "shop", "list");
    let changed = |ready| {
        let fact = issuer(json!({ "ca": { "secretName": "root" } }), Some(ready));
        store.apply(Change::Issuer(Kind::Issuer, fact))
    };
    assert!(changed((false, "Gone")).contains(&list_key));
    assert!(
        !changed((false, "Gone")).contains(&list_key),
        "nothing is new"
    );
    let issued = store.apply(Change::Request(child(&ended("Issued"))));
    assert!(!issued.contains(&list_key));
    let failed = store.apply(Change::Request(child(&ended("Failed"))));
    assert!(failed.contains(&list_key));
    let reference = serde_json::from_value(json!({ "name": "ca" })).unwrap();
    assert_eq!(store.failed_children("shop", &reference).len(), 1);
    assert_eq!(store.failed_children("elsewhere", &reference).len(), 0);
}

#[test]
fn what_an_ordered_issuer_knows_wakes_those_who_wait_for_it() {
    let store = scene();
    let users = [
        (Kind::OrderedIssuer, "list"),
        (Kind::Certificate, "site"),
        (Kind::CertificateRequest, PARENT),
    ];
    assert_eq!(applied(&store, list("Faulty")), keys(&users));
    assert_eq!(
        applied(&store, list("Faulty")),
        keys(&users[..1]),
        "nothing is new"
    );
    let name = ("shop".into(), "list".into());
    let mut woken = store.remove(Informer::OrderedIssuers, &name);
    woken.sort();
    assert_eq!(woken, keys(&users));
}

#[test]
fn an_answer_is_kept_until_the_request_that_it_is_for_has_it() {
    let store = scene();
    let kept = || {
        let child = store.request("shop", "site-1-7").unwrap();
        child.object().is_some()
    };
    store.apply(Change::Request(child(&ended("Issued"))));
    assert!(kept());
    store.apply(Change::Request(parent(&ended("Issued"))));
    assert!(kept(), "until the Secret has it");
    let answered = store.request("shop", PARENT).unwrap();
    store.request_is_consumed(&answered);
    assert!(!kept());
}

#[test]
fn who_has_signed_is_known_from_the_requests_that_led_there() {
    let (csr, certificate) = answered();
    let (csr, certificate) = (STANDARD.encode(csr), STANDARD.encode(certificate));
    let secret: Secret = serde_json::from_value(json!({
        "metadata": { "namespace": "shop", "name": "site", "annotations": {
            "cert-manager.io/issuer-name": "list", "cert-manager.io/issuer-kind": "OrderedIssuer",
            "cert-manager.io/issuer-group": "everleaf.io" } },
        "data": { "tls.crt": certificate },
    }))
    .unwrap();
    let secret = SecretFact::of(&secret);
    let request = |name: &str, owner: (&str, &str), issuer: Value, reason: &str, revision: i64| {
        let object: CertificateRequest = serde_json::from_value(json!({
            "metadata": { "namespace": "shop", "name": name, "uid": format!("uid-of-{name}"),
                "annotations": { "cert-manager.io/certificate-revision": revision.to_string() },
                "ownerReferences": [{ "apiVersion": "cert-manager.io/v1", "kind": owner.0, "name": owner.1,
                    "uid": format!("uid-of-{}", owner.1), "controller": true }] },
            "spec": { "request": csr, "issuerRef": issuer },
            "status": { "conditions": ended(reason) },
        }))
        .unwrap();
        Change::Request(RequestFact::of(object))
    };
    let list = json!({ "group": "everleaf.io", "kind": "OrderedIssuer", "name": "list" });
    let store = scene();
    let signer = |store: &Store, revision: i64| {
        let mut certificate = Certificate::clone(&store.certificate("shop", "site").unwrap());
        certificate.status.get_or_insert_default().revision = Some(revision);
        let signer = store.signer("shop", &certificate, &secret);
        signer.map(|signer| signer.name)
    };
    assert_eq!(signer(&store, 1), None, "of another key");
    store.apply(request(PARENT, ("Certificate", "site"), list, "Issued", 1));
    assert_eq!(signer(&store, 1), None, "nobody has yet");
    for (name, issuer, reason) in [("site-1-7", "ca", "Failed"), ("site-1-8", "b", "Issued")] {
        let owner = ("CertificateRequest", PARENT);
        store.apply(request(name, owner, json!({ "name": issuer }), reason, 1));
    }
    assert_eq!(signer(&store, 1).as_deref(), Some("b"));
    assert_eq!(signer(&store, 2), None, "another request is the last");
    let child = store.request("shop", "site-1-8").unwrap();
    let its = store.certificate_of(&child).unwrap();
    assert_eq!(its.metadata.name.as_deref(), Some("site"));
}
