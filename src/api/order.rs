//! The Order kind: one ACME order and its authorizations.
//!
//! Source of names and rules: contract §1.7, RFC 8555 §7.1.3.

use k8s_openapi::ByteString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::base64_bytes;
use super::meta::IssuerReference;
use super::schema::Base64;

/// States of an ACME resource, as stored (RFC 8555 §7.1.6; `errored` is for what is not the CA's).
pub mod state {
    /// Done and good; final.
    pub const VALID: &str = "valid";
    /// All challenges are done, finalize is due.
    pub const READY: &str = "ready";
    /// Challenges are under way.
    pub const PENDING: &str = "pending";
    /// The CA is at work.
    pub const PROCESSING: &str = "processing";
    /// Refused by the CA; final.
    pub const INVALID: &str = "invalid";
    /// Not done in time; final.
    pub const EXPIRED: &str = "expired";
    /// Failed on this side; final.
    pub const ERRORED: &str = "errored";

    /// All states, in the order of the schema.
    pub const ALL: [&str; 7] = [VALID, READY, PENDING, PROCESSING, INVALID, EXPIRED, ERRORED];

    /// Whether the state is a failure that nothing follows.
    pub fn is_failure(state: &str) -> bool {
        matches!(state, INVALID | EXPIRED | ERRORED)
    }

    /// Whether nothing follows the state.
    pub fn is_final(state: &str) -> bool {
        state == VALID || is_failure(state)
    }
}

/// What is ordered.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "acme.cert-manager.io",
    version = "v1",
    kind = "Order",
    plural = "orders",
    namespaced,
    status = "OrderStatus",
    doc = "One order at an ACME server.",
    derive = "PartialEq",
    derive = "Default",
    category = "cert-manager",
    category = "cert-manager-acme",
    selectable = ".spec.issuerRef.group",
    selectable = ".spec.issuerRef.kind",
    selectable = ".spec.issuerRef.name"
)]
pub struct OrderSpec {
    /// Common name of the request, one of the names below too. Example: `app.example.com`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub common_name: Option<String>,
    /// DNS names. Example: `["app.example.com"]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_names: Option<Vec<String>>,
    /// Wanted lifetime as a Go duration, passed on as the end date. Example: `2160h0m0s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// IP addresses. Example: `["192.0.2.7"]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_addresses: Option<Vec<String>>,
    /// The ACME issuer. Example: `{"name": "letsencrypt"}`.
    pub issuer_ref: IssuerReference,
    /// Certificate profile to ask the CA for. Example: `shortlived`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The certificate that this one replaces, by its ARI identifier (RFC 9773 §4.1). Example:
    /// `aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
    /// The PEM signing request, base64 encoded. Example: `LS0tLS1CRUdJTi...`.
    #[serde(deserialize_with = "base64_bytes::required")]
    #[schemars(with = "Base64")]
    pub request: ByteString,
}

/// What became of the order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderStatus {
    /// What the CA wants shown for each name; fixed once set. Example: `[{"url":
    /// "https://acme.example.com/authz/1"}]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorizations: Option<Vec<OrderAuthorization>>,
    /// The PEM chain, base64 encoded; fixed once set. Example: `LS0tLS1CRUdJTi...`.
    #[serde(
        default,
        deserialize_with = "base64_bytes::optional",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<Base64>")]
    pub certificate: Option<ByteString>,
    /// When the CA ends the order if it is not done by then. Ours: cert-manager ignores it. Example:
    /// `2026-12-01T14:36:26Z`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<Time>,
    /// When the order failed. Example: `2026-11-24T14:36:26Z`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_time: Option<Time>,
    /// Where the signing request is sent; fixed once set. Example:
    /// `https://acme.example.com/order/1/finalize`.
    #[serde(rename = "finalizeURL", skip_serializing_if = "Option::is_none")]
    pub finalize_url: Option<String>,
    /// Why the order is in its state, in words. Example: `rejectedIdentifier`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Where the order stands; unknown when absent. Example: `pending`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = state::ALL))]
    pub state: Option<String>,
    /// The order at the CA; fixed once set. Example: `https://acme.example.com/order/1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// What the CA wants shown for one name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderAuthorization {
    /// Ways that the CA offers, of which one is done. Example: `[{"type": "http-01", "token":
    /// "abc", "url": "https://acme.example.com/chall/1"}]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub challenges: Option<Vec<OrderChallenge>>,
    /// The name, without the wildcard. Example: `app.example.com`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identifier: Option<String>,
    /// State when first seen; `valid` needs no challenge. Example: `pending`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = state::ALL))]
    pub initial_state: Option<String>,
    /// The authorization at the CA. Example: `https://acme.example.com/authz/1`.
    pub url: String,
    /// Whether a wildcard was ordered. Example: `false`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wildcard: Option<bool>,
}

/// One way of showing control of a name, as the CA offers it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderChallenge {
    /// The CA's token. Example: `DGyRejmCefe7v4NfDGDKfA`.
    pub token: String,
    /// Type of the challenge. Example: `http-01`.
    #[serde(rename = "type")]
    pub type_: String,
    /// The challenge at the CA. Example: `https://acme.example.com/chall/1`.
    pub url: String,
}
