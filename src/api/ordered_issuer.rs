//! The `OrderedIssuer` and `ClusterOrderedIssuer` kinds: other issuers in order of preference.
//!
//! Ours alone, in a group of ours, so that cert-manager leaves their requests alone as it does those of any
//! external issuer (contract §9.5, ADR 0017).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::issuer::DURATION;
use super::meta::Condition;

/// Which issuers sign, the best first.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "everleaf.io",
    version = "v1alpha1",
    kind = "OrderedIssuer",
    plural = "orderedissuers",
    namespaced,
    status = "OrderedIssuerStatus",
    doc = "Other issuers in order of preference: when one cannot sign, the next does.",
    derive = "PartialEq",
    derive = "Default",
    shortname = "oiss",
    category = "cert-manager"
)]
pub struct OrderedIssuerSpec {
    /// For how long an issuer is given the time to sign again before the next one is asked, as a Go duration; 1m
    /// when absent. Example: `2m`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = DURATION))]
    pub after: Option<String>,
    /// The issuers, the best first. Example: `[{"name": "letsencrypt"}, {"name": "internal", "kind":
    /// "ClusterIssuer"}]`.
    #[schemars(length(min = 1, max = 16))]
    pub issuers: Vec<ListedIssuer>,
}

/// An issuer of the group `cert-manager.io`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListedIssuer {
    /// Kind of the issuer; absent, `Issuer` in an `OrderedIssuer`, `ClusterIssuer` in a `ClusterOrderedIssuer`, which
    /// lists no others. Example: `ClusterIssuer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Issuer", "ClusterIssuer"]))]
    pub kind: Option<String>,
    /// Name of the issuer. Example: `letsencrypt`.
    pub name: String,
}

/// Who can sign, and who cannot and why.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderedIssuerStatus {
    /// `Ready`: whether any of the issuers can sign. Example: `[{"type": "Ready", "status": "True"}]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Option<Vec<Condition>>,
    /// What is known of each issuer, in the order of the spec. Example: `[{"kind": "Issuer", "name": "letsencrypt",
    /// "state": "Fit", "since": "2026-11-24T14:36:26Z"}]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuers: Option<Vec<ListedIssuerStatus>>,
}

/// What is known of one issuer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListedIssuerStatus {
    /// Its kind. Example: `Issuer`.
    pub kind: String,
    /// Why it is not fit, or which names CAA records do not let it issue for. Example: `Failed to create Order: cannot reach ca.example.com`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Its name. Example: `letsencrypt`.
    pub name: String,
    /// When it came into this state. Example: `2026-11-24T14:36:26Z`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// `Fit`: it can sign. `Faulty`: it is ready, but could not sign. `NotReady`: its Ready condition says no. `Missing`:
    /// there is no such issuer. Example: `Fit`.
    #[schemars(extend("enum" = [FIT, FAULTY, NOT_READY, MISSING]))]
    pub state: String,
    /// Of a faulty one: when it is looked at again. Example: `2026-11-24T14:37:26Z`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
}

/// It can sign.
pub const FIT: &str = "Fit";
/// It is ready, but could not sign.
pub const FAULTY: &str = "Faulty";
/// Its Ready condition says no.
pub const NOT_READY: &str = "NotReady";
/// There is no such issuer.
pub const MISSING: &str = "Missing";

/// The spec of a [`ClusterOrderedIssuer`]: the same as an [`OrderedIssuer`]'s.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[kube(
    group = "everleaf.io",
    version = "v1alpha1",
    kind = "ClusterOrderedIssuer",
    plural = "clusterorderedissuers",
    status = "OrderedIssuerStatus",
    doc = "ClusterIssuers in order of preference: when one cannot sign, the next does.",
    derive = "PartialEq",
    derive = "Default",
    shortname = "coiss",
    category = "cert-manager"
)]
pub struct ClusterOrderedIssuerSpec(pub OrderedIssuerSpec);
