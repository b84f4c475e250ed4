//! What somebody owns: Certificates of an Ingress, Orders of a request.

use serde_json::{Value, json};

use super::super::{Change, Store};
use crate::api::{Certificate, CertificateRequest, Order};
use crate::controllers::facts::RequestFact;
use crate::controllers::key::{Key, Kind};

fn owner(kind: &str, name: &str) -> Value {
    json!([{ "apiVersion": "cert-manager.io/v1", "kind": kind, "name": name, "uid": format!("uid-of-{name}"), "controller": true }])
}

/// The Certificate `site`, of the Ingress of that name or of nobody.
fn site(ingress: &str, generation: i64) -> Certificate {
    let owners = if ingress.is_empty() {
        json!([])
    } else {
        owner("Ingress", ingress)
    };
    serde_json::from_value(json!({
        "metadata": { "namespace": "shop", "name": "site", "uid": "uid-of-site", "generation": generation,
            "ownerReferences": owners },
        "spec": { "secretName": "site", "issuerRef": { "name": "ca" } },
    }))
    .unwrap()
}

fn ingress(name: &str) -> Key {
    Key::new(Kind::Ingress, "shop", name)
}

fn controlled(store: &Store, ingress: &str) -> usize {
    let uid = format!("uid-of-{ingress}");
    store.certificates_of("shop", &uid).len()
}

#[test]
fn a_certificate_that_was_detached_from_its_ingress_is_not_its_own_any_more() {
    let store = Store::new("system");
    store.apply(Change::Certificate(site("web", 1)));
    assert_eq!(controlled(&store, "web"), 1);
    store.apply(Change::Certificate(site("", 1)));
    assert_eq!(controlled(&store, "web"), 0);
    store.apply(Change::Certificate(site("other", 1)));
    assert_eq!(
        [controlled(&store, "web"), controlled(&store, "other")],
        [0, 1]
    );
    let mut moved = site("", 2);
    moved.spec.secret_name = "elsewhere".into();
    store.apply(Change::Certificate(moved));
    assert_eq!(controlled(&store, "other"), 0);
}

#[test]
fn an_ingress_hears_of_changes_to_its_certificates_and_not_of_their_status() {
    let store = Store::new("system");
    let woken = |certificate: Certificate| {
        let mut keys = store.apply(Change::Certificate(certificate));
        keys.retain(|key| key.kind == Kind::Ingress);
        keys
    };
    assert_eq!(woken(site("web", 1)), [ingress("web")]);
    let mut ready = site("web", 1);
    ready.status.get_or_insert_default().revision = Some(1);
    assert_eq!(woken(ready), [], "its status is not the Ingress's");
    assert_eq!(woken(site("web", 2)), [ingress("web")]);
    let mut labelled = site("web", 2);
    labelled.metadata.labels = Some([("team".to_owned(), "shop".to_owned())].into());
    assert_eq!(woken(labelled), [ingress("web")]);
    assert_eq!(woken(site("other", 2)), [ingress("web"), ingress("other")]);
    assert_eq!(woken(site("", 2)), [ingress("other")]);
    assert_eq!(woken(site("", 3)), []);
}

#[test]
fn orders_that_a_list_brings_back_are_made_small_again() {
    let store = Store::new("system");
    let mut certificate = site("", 1);
    certificate.status.get_or_insert_default().revision = Some(1);
    store.apply(Change::Certificate(certificate));
    let request: CertificateRequest = serde_json::from_value(json!({
        "metadata": { "namespace": "shop", "name": "site-1", "uid": "uid-of-site-1",
            "annotations": { "cert-manager.io/certificate-revision": "1" },
            "ownerReferences": owner("Certificate", "site") },
        "spec": { "request": "", "issuerRef": { "name": "ca" } },
        "status": { "conditions": [{ "type": "Ready", "status": "True", "reason": "Issued" }] },
    }))
    .unwrap();
    let order: Order = serde_json::from_value(json!({
        "metadata": { "namespace": "shop", "name": "site-1", "ownerReferences": owner("CertificateRequest", "site-1") },
        "spec": { "request": "AAAA", "issuerRef": { "name": "ca" }, "dnsNames": ["www.example.com"] },
        "status": { "state": "valid", "certificate": "AAAA" },
    }))
    .unwrap();
    let is_whole = || {
        let order = store.order("shop", "site-1").unwrap();
        order.spec.dns_names.is_some()
    };
    store.apply(Change::Request(RequestFact::of(request)));
    for _ in 0..2 {
        store.apply(Change::Order(order.clone()));
        assert!(is_whole());
        let consumed = store.request("shop", "site-1").unwrap();
        assert!(
            consumed.body.is_none(),
            "its certificate was stored before the start"
        );
        store.request_is_consumed(&consumed);
        assert!(!is_whole());
    }
}

/// As a backup brings them back: with another uid than what they were made for.
#[test]
fn requests_and_orders_are_orphaned_until_what_controls_them_comes() {
    let store = Store::new("system");
    let request = |name: &str, kind: &str, of: &str| -> CertificateRequest {
        serde_json::from_value(json!({
            "metadata": { "namespace": "shop", "name": name, "uid": format!("uid-of-{name}"),
                "ownerReferences": owner(kind, of) },
            "spec": { "request": "", "issuerRef": { "name": "ca" } },
        }))
        .unwrap()
    };
    let order: Order = serde_json::from_value(json!({
        "metadata": { "namespace": "shop", "name": "site-1-2", "uid": "uid-of-order",
            "ownerReferences": owner("CertificateRequest", "site-1") },
        "spec": { "request": "", "issuerRef": { "name": "ca" } },
    }))
    .unwrap();
    let orphaned = |name: &str| {
        let request = store.request("shop", name).unwrap();
        store.is_orphaned_request(&request)
    };
    let wakes = |keys: Vec<Key>, kind, name: &str| keys.contains(&Key::new(kind, "shop", name));
    store.apply(Change::Order(order.clone()));
    assert!(store.is_orphaned_order(&order));
    let mut begun = order.clone();
    begun.status = serde_json::from_value(json!({ "url": "https://ca.example/order/1" })).unwrap();
    assert!(!store.is_orphaned_order(&begun), "it is the CA's by now");

    let child = request("site-1-first", "CertificateRequest", "site-1");
    store.apply(Change::Request(RequestFact::of(child)));
    assert!(orphaned("site-1-first"));
    let fact = RequestFact::of(request("site-1", "Certificate", "site"));
    let keys = store.apply(Change::Request(fact));
    assert!(wakes(keys.clone(), Kind::Order, "site-1-2"));
    assert!(wakes(keys, Kind::CertificateRequest, "site-1-first"));
    assert!(!store.is_orphaned_order(&order) && !orphaned("site-1-first"));
    assert!(orphaned("site-1"));

    // One of the name that is another one.
    let mut other = site("", 1);
    other.metadata.uid = Some("another".into());
    store.apply(Change::Certificate(other));
    assert!(orphaned("site-1"));
    let keys = store.apply(Change::Certificate(site("", 1)));
    assert!(wakes(keys, Kind::CertificateRequest, "site-1"));
    assert!(!orphaned("site-1"));
}
