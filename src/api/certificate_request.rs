//! The `CertificateRequest` kind: one signing request and its answer.
//!
//! Source of names and rules: contract §1.5.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::absent::absent_as_default;
use super::base64_bytes;
use super::meta::{Condition, ConditionWithoutGeneration, IssuerReference, KeyUsage};
use super::schema::Base64;

/// One request to sign, fixed once made.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", remote = "Self")]
#[kube(
    group = "cert-manager.io",
    version = "v1",
    kind = "CertificateRequest",
    plural = "certificaterequests",
    namespaced,
    status = "CertificateRequestStatus",
    doc = "One request to sign a certificate, and the answer.",
    derive = "PartialEq",
    derive = "Default",
    shortname = "cr",
    shortname = "crs",
    category = "cert-manager",
    selectable = ".spec.issuerRef.group",
    selectable = ".spec.issuerRef.kind",
    selectable = ".spec.issuerRef.name"
)]
// As cert-manager's webhook has it: what was approved is what is signed. Of these two fields alone: clients in Go leave out what is
// false or empty when they write a whole object, and to a rule that is a change.
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "self.request == oldSelf.request && self.issuerRef.name == oldSelf.issuerRef.name",
    "message": "request and issuerRef.name cannot be changed: make another CertificateRequest",
}]))]
pub struct CertificateRequestSpec {
    /// Wanted lifetime as a Go duration; 90 days when absent. Example: `2160h0m0s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// Further attributes of the user who made the request, set by the API server's admission.
    /// Example: `{"authentication.kubernetes.io/credential-id": ["JTI=1"]}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra: Option<BTreeMap<String, Vec<String>>>,
    /// Groups of the user who made the request, set at admission. Example:
    /// `["system:authenticated"]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
    /// Whether the certificate may sign others. Example: `false`.
    #[serde(rename = "isCA", skip_serializing_if = "Option::is_none")]
    pub is_ca: Option<bool>,
    /// The issuer that signs. Example: `{"name": "letsencrypt"}`.
    pub issuer_ref: IssuerReference,
    /// The PEM signing request, base64 encoded. Example: `LS0tLS1CRUdJTi...`.
    #[serde(deserialize_with = "base64_bytes::required")]
    #[schemars(with = "Base64")]
    pub request: ByteString,
    /// UID of the user who made the request, set at admission. Example:
    /// `f2292794-8145-4459-b62a-e07fcbfc95b0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// What the key may be used for; digital signature and key encipherment when absent. Example:
    /// `["server auth"]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<KeyUsage>>")]
    pub usages: Option<Vec<String>>,
    /// Name of the user who made the request, set at admission. Example:
    /// `system:serviceaccount:shop:deployer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
}

absent_as_default!(CertificateRequestSpec);

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateRequestStatus {
    /// PEM of the signing CA where the issuer knows it, base64 encoded. Example:
    /// `LS0tLS1CRUdJTi...`.
    #[serde(
        default,
        deserialize_with = "base64_bytes::optional",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<Base64>")]
    pub ca: Option<ByteString>,
    /// PEM chain, leaf first, base64 encoded. Example: `LS0tLS1CRUdJTi...`.
    #[serde(
        default,
        deserialize_with = "base64_bytes::optional",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<Base64>")]
    pub certificate: Option<ByteString>,
    /// `Ready`, `Approved`, `Denied` and `InvalidRequest`. Example: `[{"type": "Approved",
    /// "status": "True"}]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<ConditionWithoutGeneration>>", extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Option<Vec<Condition>>,
    /// When the request failed for good. Example: `2026-11-24T14:36:26Z`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_time: Option<Time>,
}
