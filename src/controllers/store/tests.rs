#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod ordered;
mod owned;

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use serde_json::json;

use super::{Change, Store};
use crate::api::meta::IssuerReference;
use crate::api::{Certificate, CertificateRequest, Challenge};
use crate::controllers::digest::digest;
use crate::controllers::facts::{Identity, IssuerFact, RequestFact, SecretFact};
use crate::controllers::fixtures::{START, identity, issuer, signing_request};
use crate::controllers::key::{Key, Kind};
use crate::controllers::progress::Informer;
use crate::pki::{
    CertificateSigningRequest, CertificateTemplate, KeyUsages, RequestParams, Urls, self_sign,
};

/// A ready CA Issuer in the namespace shop, a ClusterIssuer of the same name, and a request for each.
fn store() -> Store {
    let store = Store::new("system");
    let ready = Some((true, "KeyPairVerified"));
    let fact = issuer(json!({ "ca": { "secretName": "root" } }), ready);
    let cluster = IssuerFact {
        id: Identity {
            namespace: "".into(),
            ..fact.id.clone()
        },
        ..fact.clone()
    };
    store.apply(Change::Issuer(Kind::Issuer, fact));
    store.apply(Change::Issuer(Kind::ClusterIssuer, cluster));
    for kind in ["Issuer", "ClusterIssuer"] {
        let request: CertificateRequest = serde_json::from_value(json!({
            "metadata": { "namespace": "shop", "name": format!("for-{kind}") },
            "spec": { "request": "", "issuerRef": { "name": "ca", "kind": kind } },
        }))
        .unwrap();
        store.apply(Change::Request(RequestFact::of(request)));
    }
    store
}

fn secret(namespace: &str, name: &str) -> Identity {
    Identity {
        namespace: namespace.into(),
        ..identity(name)
    }
}

#[test]
fn the_secret_of_a_ca_wakes_its_issuer_and_the_requests_that_wait_for_it() {
    let store = store();
    let own = [
        Key::new(Kind::Issuer, "shop", "ca"),
        Key::new(Kind::CertificateRequest, "shop", "for-Issuer"),
    ];
    let cluster = [
        Key::new(Kind::ClusterIssuer, "", "ca"),
        Key::new(Kind::CertificateRequest, "shop", "for-ClusterIssuer"),
    ];
    let written = |namespace, name| store.apply(Change::OtherSecret(secret(namespace, name), true));
    assert_eq!(written("shop", "root"), own);
    assert_eq!(written("system", "root"), cluster);
    assert_eq!(written("shop", "other"), []);
    assert_eq!(written("elsewhere", "root"), []);
    let name = ("shop".into(), "root".into());
    assert_eq!(store.remove(Informer::OtherSecrets, &name), own);
}

#[test]
fn the_secret_of_a_ca_that_went_unseen_wakes_its_issuer() {
    let store = store();
    store.apply(Change::OtherSecret(secret("shop", "root"), true));
    let kept = digest(&(Arc::<str>::from("shop"), Arc::<str>::from("root")));
    assert_eq!(store.replace_other_secrets(HashMap::from([(kept, 2)])), []);
    let gone = store.replace_other_secrets(HashMap::new());
    assert_eq!(gone, [Key::new(Kind::Issuer, "shop", "ca")]);
    assert_eq!(store.replace_other_secrets(HashMap::new()), []);
}

#[test]
fn each_secret_of_a_vault_issuer_wakes_it() {
    let store = Store::new("system");
    let spec = json!({ "vault": { "server": "https://vault", "path": "pki/sign/app",
        "caBundleSecretRef": { "name": "server-ca" },
        "auth": { "appRole": { "path": "", "roleId": "id", "secretRef": { "name": "role", "key": "id" } } } } });
    store.apply(Change::Issuer(Kind::Issuer, issuer(spec, None)));
    let own = [Key::new(Kind::Issuer, "shop", "ca")];
    for name in ["server-ca", "role"] {
        let written = store.apply(Change::OtherSecret(secret("shop", name), true));
        assert_eq!(written, own, "{name}");
    }
    assert_eq!(store.replace_other_secrets(HashMap::new()), own, "unseen");
}

#[test]
fn the_secret_of_a_dns01_solver_wakes_its_issuer_and_the_challenges_that_wait_for_it() {
    let store = Store::new("system");
    let spec = json!({ "acme": { "server": "https://ca", "privateKeySecretRef": { "name": "account" }, "solvers": [
        { "http01": { "ingress": {} } },
        { "dns01": { "cloudflare": { "apiTokenSecretRef": { "name": "token", "key": "token" } } } },
    ] } });
    store.apply(Change::Issuer(Kind::Issuer, issuer(spec, None)));
    let mut challenge = Challenge::default();
    challenge.metadata.namespace = Some("shop".into());
    challenge.metadata.name = Some("waits".into());
    challenge.spec.issuer_ref.name = "ca".into();
    store.apply(Change::Challenge(challenge));
    let both = [
        Key::new(Kind::Issuer, "shop", "ca"),
        Key::new(Kind::Challenge, "shop", "waits"),
    ];
    let written = store.apply(Change::OtherSecret(secret("shop", "token"), true));
    assert_eq!(written, both);
    let written = store.apply(Change::OtherSecret(secret("shop", "other"), true));
    assert_eq!(written, []);
    let unseen = store.replace_other_secrets(HashMap::new());
    assert_eq!(unseen, [Key::new(Kind::Issuer, "shop", "ca")]);
}

/// A certificate that ends in 2026.
/// One that is spelt wrong is no Issuer of the same name.
#[test]
fn an_issuer_is_found_by_its_kind() {
    let store = store();
    let found = |kind: &str| {
        let reference = IssuerReference {
            kind: Some(kind.into()),
            name: "ca".into(),
            ..IssuerReference::default()
        };
        store.issuer("shop", &reference).is_some()
    };
    let kinds = ["", "Issuer", "ClusterIssuer", "issuer", "clusterissuer"];
    let wanted = [true, true, true, false, false];
    assert_eq!(kinds.map(found), wanted);
}

fn self_signed() -> Vec<u8> {
    answered().1
}

/// A CSR, and a certificate for it.
fn answered() -> (Vec<u8>, Vec<u8>) {
    let (key, csr) = signing_request(&RequestParams::default());
    let template = CertificateTemplate {
        csr: &CertificateSigningRequest::parse_pem(&csr).unwrap(),
        not_before: START,
        duration: std::time::Duration::from_hours(2160),
        is_ca: false,
        usages: KeyUsages::default(),
        urls: Urls::default(),
    };
    let certificate = self_sign(&template, &key).unwrap().to_pem();
    (csr, certificate.into_bytes())
}

#[test]
fn a_rotation_of_a_ca_wakes_those_whose_turn_it_is() {
    let store = Store::new("system");
    let asks = json!({ "ca": { "secretName": "root", "rotation": {} } });
    let status = |reached: &str| {
        json!({ "ca": { "authority": "two", "roots": "two", "rotation": {
            "phase": "Trusting", "certificates": 2, "done": 0,
            "started": "2026-01-01T00:00:00Z", "since": "2026-01-01T00:00:00Z",
            "reached": { "notAfter": reached, "namespace": "shop", "name": "site" },
        } } })
    };
    let pem = self_signed();
    let certificate: Certificate = serde_json::from_value(json!({
        "metadata": { "namespace": "shop", "name": "site", "uid": "uid-of-site" },
        "spec": { "secretName": "site", "issuerRef": { "name": "ca" } },
        "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
    }))
    .unwrap();
    let secret: Secret = serde_json::from_value(json!({
        "metadata": { "namespace": "shop", "name": "site", "annotations": {
            "cert-manager.io/certificate-name": "site",
            "cert-manager.io/issuer-name": "ca",
        } },
        "data": { "tls.crt": ByteString(pem), "ca.crt": ByteString(b"one".to_vec()) },
    }))
    .unwrap();
    store.apply(Change::Certificate(certificate));
    store.apply(Change::Secret(SecretFact::of(&secret)));
    let changed = |status: Option<serde_json::Value>| {
        let mut fact = issuer(asks.clone(), Some((true, "KeyPairVerified")));
        let conditions = fact.status.conditions.take();
        fact.status = serde_json::from_value(status.unwrap_or_default()).unwrap_or_default();
        fact.status.conditions = conditions;
        store.apply(Change::Issuer(Kind::Issuer, fact))
    };
    let own = Key::new(Kind::Issuer, "shop", "ca");
    let site = Key::new(Kind::Certificate, "shop", "site");
    assert_eq!(changed(None), std::slice::from_ref(&own));
    let early = changed(Some(status("2026-01-02T00:00:00Z")));
    assert_eq!(early, std::slice::from_ref(&own));
    let turn = changed(Some(status("2036-01-01T00:00:00Z")));
    assert_eq!(turn, [own.clone(), site]);
    let again = changed(Some(status("2036-01-01T00:00:00Z")));
    assert_eq!(again, [own], "nothing is new");
}

const NOTHING: [i64; 0] = [];

/// The Certificate `site`, which owns the requests below.
fn site() -> Certificate {
    serde_json::from_value(json!({
        "metadata": { "namespace": "shop", "name": "site", "uid": "uid-of-site" },
        "spec": { "secretName": "site", "issuerRef": { "name": "ca" } },
    }))
    .unwrap()
}

/// A request of it that lists these times, in milliseconds, or nothing; made seven seconds after the epoch.
fn request(name: &str, made: &[i64]) -> CertificateRequest {
    let listed: Vec<_> = made.iter().map(|at| format!("{at}/0")).collect();
    let mut request: CertificateRequest = serde_json::from_value(json!({
        "metadata": {
            "namespace": "shop",
            "name": name,
            "creationTimestamp": "1970-01-01T00:00:07Z",
            "annotations": { "everleaf.io/requests-made": listed.join(" ") },
            "ownerReferences": [{ "apiVersion": "cert-manager.io/v1", "kind": "Certificate",
                "name": "site", "uid": "uid-of-site", "controller": true }],
        },
        "spec": { "request": "", "issuerRef": { "name": "ca" } },
    }))
    .unwrap();
    if made.is_empty() {
        request.metadata.annotations = None;
    }
    request
}

fn shown(request: &CertificateRequest) -> Change {
    Change::Request(RequestFact::of(request.clone()))
}

/// What counts and no request lists, in milliseconds.
fn unlisted(store: &Store) -> Vec<i64> {
    let made = store.unlisted_of("uid-of-site").into_iter();
    made.map(|m| m.at.as_millisecond()).collect()
}

#[test]
fn what_a_deleted_request_has_counted_is_remembered_until_another_lists_it() {
    let store = store();
    let named = |name: &str| ("shop".into(), name.into());
    store.apply(Change::Certificate(site()));
    let gone = |name| store.remove(Informer::CertificateRequests, &named(name));

    store.apply(shown(&request("site-1", &[1, 2])));
    gone("site-1");
    assert_eq!(unlisted(&store), [1, 2]);
    store.apply(shown(&request("site-1", &[1, 2, 3])));
    assert_eq!(unlisted(&store), NOTHING);
    // History: the newer one lists what the older one listed.
    store.apply(shown(&request("site-2", &[1, 2, 3, 4])));
    gone("site-1");
    assert_eq!(unlisted(&store), NOTHING);

    gone("site-2");
    assert_eq!(unlisted(&store), [1, 2, 3, 4]);
    store.remove(Informer::Certificates, &named("site"));
    assert_eq!(unlisted(&store), NOTHING);
    // What goes after its Certificate leaves nothing behind.
    store.apply(shown(&request("site-3", &[5])));
    gone("site-3");
    assert_eq!(unlisted(&store), NOTHING);
}

#[test]
fn a_request_counts_from_its_creation_whether_an_informer_shows_it_or_not() {
    let store = store();
    // The first lists nothing and counts by its time of creation.
    let (first, second) = (request("site-1", &[]), request("site-2", &[7000, 8000]));
    let gone =
        |name: &str| store.remove(Informer::CertificateRequests, &("shop".into(), name.into()));
    store.request_is_made(&first.metadata);
    assert_eq!(unlisted(&store), NOTHING, "of a Certificate that is gone");
    store.apply(Change::Certificate(site()));

    store.request_is_made(&first.metadata);
    assert_eq!(unlisted(&store), [7000], "no informer has shown it");
    store.apply(shown(&first));
    assert_eq!(unlisted(&store), NOTHING, "counted once");
    store.request_is_made(&second.metadata);
    store.apply(shown(&second));
    store.request_is_made(&second.metadata);
    assert_eq!(unlisted(&store), NOTHING, "shown before the reply was read");
    gone("site-1");
    gone("site-2");
    assert_eq!(unlisted(&store), [7000, 8000]);
}

#[test]
fn an_index_has_each_name_once_and_in_order() {
    let namespace: Arc<str> = "team".into();
    let mut index = super::Index::default();
    let names = ["b", "c", "a", "b"].map(Arc::<str>::from);
    for name in &names {
        index.insert(&namespace, "tls", name);
    }
    let listed = |index: &super::Index| {
        let names = index.names("team", "tls");
        names.map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(listed(&index), ["a", "b", "c"]);
    index.remove(&namespace, "tls", &"b".into());
    index.remove(&namespace, "tls", &"nobody".into());
    assert_eq!(listed(&index), ["a", "c"]);
    for name in ["a", "c"] {
        index.remove(&namespace, "tls", &name.into());
    }
    assert!(index.0.is_empty(), "no place is kept for nothing");
}
