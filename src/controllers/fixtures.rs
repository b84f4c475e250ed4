//! Objects that the tests of several controllers need.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::facts::{Identity, IssuerFact};
use super::status::condition;
use crate::api::{IssuerSpec, IssuerStatus};
use crate::pki::{Curve, KeyAlgorithm, PrivateKey, RequestParams, build_request};

/// 2026-01-01, midnight.
pub(super) const START: Timestamp = Timestamp::constant(1_767_225_600, 0);

/// The identity of an object in the namespace shop.
pub(super) fn identity(name: &str) -> Identity {
    Identity {
        namespace: "shop".into(),
        name: name.into(),
        uid: format!("uid-of-{name}"),
        version: "7".into(),
        deleting: false,
        created: START,
    }
}

/// The Issuer "ca", of generation 2; the word is the reason of its Ready condition, if it has one.
pub(super) fn issuer(spec: Value, ready: Option<(bool, &str)>) -> IssuerFact {
    let spec: IssuerSpec = serde_json::from_value(spec).unwrap();
    let conditions = ready.map(|(is, reason)| vec![condition("Ready", is, reason, "", Some(2))]);
    let status = IssuerStatus {
        conditions,
        ..IssuerStatus::default()
    };
    IssuerFact {
        id: identity("ca"),
        generation: 2,
        ..IssuerFact::of(&ObjectMeta::default(), spec, Some(status))
    }
}

pub(super) fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

/// A new key, and a CSR of it in PEM.
pub(super) fn signing_request(params: &RequestParams) -> (PrivateKey, Vec<u8>) {
    let key = PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256)).unwrap();
    let csr = build_request(params, &key).unwrap();
    (key, csr.into_bytes())
}
