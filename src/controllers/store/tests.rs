#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::HashMap;

use serde_json::json;

use super::{Change, Store};
use crate::api::CertificateRequest;
use crate::controllers::facts::{Identity, IssuerFact, RequestFact, digest};
use crate::controllers::fixtures::{identity, issuer};
use crate::controllers::key::{Key, Kind};
use crate::controllers::progress::Informer;

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
    let kept = digest(&(
        std::sync::Arc::<str>::from("shop"),
        std::sync::Arc::<str>::from("root"),
    ));
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
