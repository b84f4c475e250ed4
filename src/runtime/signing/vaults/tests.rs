#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use super::*;
use crate::api::{CertificateRequest, IssuerSpec, IssuerStatus};
use crate::controllers::facts::{Identity, IssuerFact, RequestFact};
use crate::controllers::store::Change;
use crate::net::Unanswered;

const NOW: Timestamp = Timestamp::constant(1_767_225_600, 0);

fn identity(name: &str, version: &str) -> Identity {
    Identity {
        namespace: "shop".into(),
        name: name.into(),
        version: version.into(),
        ..Identity::default()
    }
}

fn issuer(store: &Store, generation: i64, ready: &Value) {
    let spec: IssuerSpec = serde_json::from_value(json!({ "vault": { "server": "https://vault",
        "path": "pki/sign/app", "auth": { "tokenSecretRef": { "name": "token" } } } }))
    .unwrap();
    let status: IssuerStatus = serde_json::from_value(json!({ "conditions": [ready] })).unwrap();
    let fact = IssuerFact {
        id: identity("vault", "1"),
        generation,
        ..IssuerFact::of(&ObjectMeta::default(), spec, Some(status))
    };
    store.apply(Change::Issuer(Kind::Issuer, fact));
}

fn ready(since: &str) -> Value {
    json!({ "type": "Ready", "status": "True", "lastTransitionTime": since })
}

/// A Vault issuer with its Secret, and a request for it.
fn store() -> Store {
    let store = Store::new("system");
    issuer(&store, 1, &ready("2026-01-01T00:00:00Z"));
    store.apply(Change::OtherSecret(identity("token", "1"), true));
    let request: CertificateRequest = serde_json::from_value(json!({
        "metadata": { "namespace": "shop", "name": "site-1" },
        "spec": { "request": "", "issuerRef": { "name": "vault" } },
    }))
    .unwrap();
    store.apply(Change::Request(RequestFact::of(request)));
    store
}

fn keys() -> [Key; 2] {
    [
        Key::new(Kind::Issuer, "shop", "vault"),
        Key::new(Kind::CertificateRequest, "shop", "site-1"),
    ]
}

type Edit = fn(&Store);

#[test]
fn an_answer_counts_until_what_it_depends_on_changes() {
    let changes: [(Edit, bool); 4] = [
        (
            |store| drop(store.apply(Change::OtherSecret(identity("other", "2"), true))),
            true,
        ),
        (
            |store| drop(store.apply(Change::OtherSecret(identity("token", "2"), true))),
            false,
        ),
        (
            |store| drop(store.apply(Change::OtherSecret(identity("token", "1"), false))),
            false,
        ),
        (
            |store| issuer(store, 2, &ready("2026-01-01T00:00:00Z")),
            false,
        ),
    ];
    for (index, (change, counts)) in changes.into_iter().enumerate() {
        let (store, vaults) = (store(), Vaults::default());
        for key in keys() {
            assert_eq!(vaults.resting(&store, &key), None);
            vaults.rest(&key, asked(&store, &key), Some(NOW));
        }
        change(&store);
        for key in keys() {
            let resting = vaults.resting(&store, &key);
            assert_eq!(resting, counts.then_some(NOW), "{index}: {key}");
        }
    }
}

#[test]
fn a_request_asks_again_once_its_issuer_has_recovered() {
    let (store, vaults) = (store(), Vaults::default());
    for key in keys() {
        vaults.rest(&key, asked(&store, &key), None);
    }
    issuer(&store, 1, &ready("2026-01-01T00:01:00Z"));
    let [issuer, request] = keys();
    assert_eq!(vaults.resting(&store, &issuer), Some(Timestamp::MAX));
    assert_eq!(vaults.resting(&store, &request), None);
}

#[test]
fn what_changed_during_a_question_is_asked_about() {
    let (store, vaults) = (store(), Vaults::default());
    let [issuer, _] = keys();
    let before = asked(&store, &issuer);
    store.apply(Change::OtherSecret(identity("token", "2"), true));
    vaults.rest(&issuer, before, None);
    assert_eq!(vaults.resting(&store, &issuer), None);
}

#[test]
fn nothing_is_remembered_of_what_is_gone_or_in_doubt() {
    let (store, vaults) = (store(), Vaults::default());
    let [issuer, _] = keys();
    vaults.rest(&issuer, asked(&store, &issuer), None);
    vaults.forget(&issuer);
    assert_eq!(vaults.resting(&store, &issuer), None);
}

#[test]
fn only_what_vault_refuses_ends_a_request() {
    let status = |status: u16, said: &str| Error::Status {
        call: "POST https://vault/v1/pki/sign/app".into(),
        status,
        said: format!(": {said}"),
    };
    let config = Error::Config {
        field: "spec.vault.path",
        problem: "not a path".into(),
    };
    for (error, code, ends) in [
        (status(400, "unknown role: app"), "EL-1509", true),
        (status(403, "permission denied"), "EL-1507", true),
        (status(404, "no handler for route"), "EL-1508", true),
        (
            status(403, "permission denied; invalid token"),
            "EL-1505",
            false,
        ),
        (status(429, ""), "EL-1510", false),
        (status(307, ""), "EL-1510", false),
        (status(500, "internal error"), "EL-1510", false),
        (status(503, "Vault is sealed"), "EL-1502", false),
        (Error::Sealed, "EL-1502", false),
        (Error::Answer("no certificate"), "EL-1510", false),
        (config, "EL-1511", false),
        (
            Error::Unanswered(Unanswered::Timeout {
                host: "vault".into(),
                seconds: 30,
            }),
            "EL-1501",
            false,
        ),
    ] {
        let (message, ended) = match not_signed(&error) {
            request::Outcome::Refused { reason, message } => {
                assert_eq!(reason, "SigningError");
                (message, true)
            }
            request::Outcome::Unavailable { message, .. } => (message, false),
            other => panic!("{other:?}"),
        };
        assert_eq!(ended, ends, "{message}");
        let begins = format!("Vault failed to sign certificate: {error}. ");
        assert!(message.starts_with(&begins), "{message}");
        assert!(message.ends_with(&format!("({code}).")), "{message}");
    }
}
