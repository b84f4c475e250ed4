//! Pieces that several kinds share: references, conditions, key usages.

use std::borrow::Cow;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::labels;

/// A condition that holds.
pub const TRUE: &str = "True";

/// A condition that does not hold.
pub const FALSE: &str = "False";

/// A condition of which nothing is known.
pub const UNKNOWN: &str = "Unknown";

/// Kind of a namespaced issuer; what an absent [`IssuerReference::kind`] means.
pub const ISSUER_KIND: &str = "Issuer";

/// Kind of a cluster-wide issuer.
pub const CLUSTER_ISSUER_KIND: &str = "ClusterIssuer";

/// Kind of a namespaced list of issuers.
pub const ORDERED_ISSUER_KIND: &str = "OrderedIssuer";

/// Kind of a cluster-wide list of issuers.
pub const CLUSTER_ORDERED_ISSUER_KIND: &str = "ClusterOrderedIssuer";

/// Names the issuer that signs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IssuerReference {
    /// API group of the issuer; `cert-manager.io` when absent, another one for external issuers.
    /// Example: `cert-manager.io`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Kind of the issuer; `Issuer` when absent. Example: `ClusterIssuer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Name of the issuer. Example: `letsencrypt`.
    pub name: String,
}

impl IssuerReference {
    /// The kind, with absent and empty read as [`ISSUER_KIND`].
    pub fn kind_or_default(&self) -> &str {
        or_default(self.kind.as_deref(), ISSUER_KIND)
    }

    /// The group, with absent and empty read as [`labels::GROUP`].
    pub fn group_or_default(&self) -> &str {
        or_default(self.group.as_deref(), labels::GROUP)
    }

    /// Whether the issuer is of this operator's group; another one's are external.
    pub fn is_ours(&self) -> bool {
        self.group_or_default() == labels::GROUP
    }

    /// Whether it names issuers in order of preference, of this operator's own group.
    pub fn is_ordered(&self) -> bool {
        let kinds = [ORDERED_ISSUER_KIND, CLUSTER_ORDERED_ISSUER_KIND];
        self.group_or_default() == labels::OWN_GROUP && kinds.contains(&self.kind_or_default())
    }

    /// Whether it names a kind without a namespace.
    pub fn is_cluster_wide(&self) -> bool {
        let kinds = [CLUSTER_ISSUER_KIND, CLUSTER_ORDERED_ISSUER_KIND];
        kinds.contains(&self.kind_or_default())
    }

    /// Whether both name the same issuer: absent, empty and the default are equal.
    pub fn is_same(&self, other: &Self) -> bool {
        self.name == other.name
            && self.kind_or_default() == other.kind_or_default()
            && self.group_or_default() == other.group_or_default()
    }
}

fn or_default<'a>(value: Option<&'a str>, default: &'a str) -> &'a str {
    value.filter(|v| !v.is_empty()).unwrap_or(default)
}

/// One entry of a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeySelector {
    /// Entry of the Secret; some uses have a default for it. Example: `tls.key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Name of the Secret. Example: `account-key`.
    pub name: String,
}

impl SecretKeySelector {
    /// The entry, with absent and empty read as the default of this use.
    pub fn key_or<'a>(&'a self, default: &'a str) -> &'a str {
        or_default(self.key.as_deref(), default)
    }
}

/// An object in the same namespace, or in the cluster resource namespace for cluster-wide issuers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalObjectReference {
    /// Name of the object. Example: `credentials`.
    pub name: String,
}

/// A service account that tokens are requested for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccountRef {
    /// Audiences of the token. Example: `["sts.amazonaws.com"]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audiences: Option<Vec<String>>,
    /// Name of the service account. Example: `dns`.
    pub name: String,
}

/// One aspect of an object's state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// When `status` last changed. Example: `2026-11-24T14:36:26Z`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Time>,
    /// What is the case, for people. Example: `Certificate is up to date and has not expired`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Generation of the spec that this was said of. Example: `2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What is the case, in one word for programs. Example: `Ready`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether the condition holds. Example: `True`.
    #[schemars(extend("enum" = [TRUE, FALSE, UNKNOWN]))]
    pub status: String,
    /// Which condition this is. Example: `Ready`.
    #[serde(rename = "type")]
    pub type_: String,
}

impl Condition {
    /// Whether the condition holds.
    pub fn is_true(&self) -> bool {
        self.status == TRUE
    }
}

/// Schema of a [`Condition`] on a `CertificateRequest`, which has no `observedGeneration`.
pub(super) struct ConditionWithoutGeneration;

impl JsonSchema for ConditionWithoutGeneration {
    fn schema_name() -> Cow<'static, str> {
        "ConditionWithoutGeneration".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = Condition::json_schema(generator);
        if let Some(properties) = schema.get_mut("properties").and_then(|p| p.as_object_mut()) {
            properties.remove("observedGeneration");
        }
        schema
    }
}

/// The key usages, in the order of the schema (contract §1.9).
pub const KEY_USAGES: [&str; 23] = [
    "signing",
    "digital signature",
    "content commitment",
    "key encipherment",
    "key agreement",
    "data encipherment",
    "cert sign",
    "crl sign",
    "encipher only",
    "decipher only",
    "any",
    "server auth",
    "client auth",
    "code signing",
    "email protection",
    "s/mime",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "timestamping",
    "ocsp signing",
    "microsoft sgc",
    "netscape sgc",
];

/// Schema of one key usage.
pub(super) struct KeyUsage;

impl JsonSchema for KeyUsage {
    fn schema_name() -> Cow<'static, str> {
        "KeyUsage".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": KEY_USAGES })
    }
}

/// A string that must not be shown: `Debug` hides it.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Sensitive(pub String);

impl fmt::Debug for Sensitive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}
