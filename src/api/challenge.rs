//! The Challenge kind: one ACME challenge that is being solved.
//!
//! Source of names and rules: contract §1.8, RFC 8555 §8.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::meta::IssuerReference;
use super::order::state;
use super::solver::Solver;

/// HTTP-01 as a Challenge spells it.
pub const HTTP_01: &str = "HTTP-01";

/// DNS-01 as a Challenge spells it.
pub const DNS_01: &str = "DNS-01";

/// The challenge, fixed once made.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "acme.cert-manager.io",
    version = "v1",
    kind = "Challenge",
    plural = "challenges",
    namespaced,
    status = "ChallengeStatus",
    doc = "One ACME challenge that is being solved.",
    derive = "PartialEq",
    derive = "Default",
    category = "cert-manager",
    category = "cert-manager-acme",
    selectable = ".spec.issuerRef.group",
    selectable = ".spec.issuerRef.kind",
    selectable = ".spec.issuerRef.name"
)]
pub struct ChallengeSpec {
    /// The authorization at the CA. Example: `https://acme.example.com/authz/1`.
    #[serde(rename = "authorizationURL")]
    pub authorization_url: String,
    /// The name to show control of, without the wildcard. Example: `app.example.com`.
    pub dns_name: String,
    /// The ACME issuer. Example: `{"name": "letsencrypt"}`.
    pub issuer_ref: IssuerReference,
    /// What is presented: for HTTP-01 the key authorization, for DNS-01 its digest. Example:
    /// `DGyRejmCefe7v4NfDGDKfA.thumbprint`.
    pub key: String,
    /// How it is solved, copied from the issuer. Example: `{"http01": {"ingress":
    /// {"ingressClassName": "traefik"}}}`.
    pub solver: Solver,
    /// The CA's token. Example: `DGyRejmCefe7v4NfDGDKfA`.
    pub token: String,
    /// Type of the challenge. Example: `HTTP-01`.
    #[serde(rename = "type")]
    #[schemars(extend("enum" = [HTTP_01, DNS_01]))]
    pub type_: String,
    /// The challenge at the CA. Example: `https://acme.example.com/chall/1`.
    pub url: String,
    /// Whether a wildcard was ordered. Example: `false`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wildcard: Option<bool>,
}

/// What became of the challenge.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChallengeStatus {
    /// Whether the answer has been put in place. Example: `true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presented: Option<bool>,
    /// When it was put in place. Example: `2026-11-24T14:36:26Z`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presented_at: Option<Time>,
    /// Whether the challenge is being worked on. Example: `true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processing: Option<bool>,
    /// Why the challenge is in its state, in words. Example: `waiting for the record`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Where the challenge stands; unknown when absent. Example: `pending`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = state::ALL))]
    pub state: Option<String>,
}
