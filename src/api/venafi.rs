//! The Venafi issuer: Venafi by its several names, and Palo Alto NGTS.
//!
//! Source of names and rules: contract §1.6 and §6.4.

use k8s_openapi::ByteString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::base64_bytes;
use super::meta::{LocalObjectReference, SecretKeySelector};
use super::schema::Base64;

/// A Venafi service: exactly one of `tpp`, `cloud` and `ngts`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "[has(self.tpp), has(self.cloud), has(self.ngts)].filter(set, set).size() == 1",
    "message": "exactly one of tpp, cloud and ngts must be configured",
}]))]
pub struct VenafiIssuer {
    /// The hosted service. Example: `{"apiTokenSecretRef": {"name": "venafi"}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloud: Option<VenafiCloud>,
    /// Palo Alto NGTS. Example: `{"tsgID": "1", "credentialsRef": {"name": "ngts"}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ngts: Option<VenafiNgts>,
    /// A self-hosted server. Example: `{"url": "https://tpp.example.com/vedsdk", "credentialsRef":
    /// {"name": "tpp"}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpp: Option<VenafiTpp>,
    /// Policy folder or application that rules the request. Example: `shop\\default`.
    pub zone: String,
}

/// The hosted service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VenafiCloud {
    /// Where the API key is kept; `key` is `api-key` when absent. Example: `{"name": "venafi"}`.
    pub api_token_secret_ref: SecretKeySelector,
    /// URL of the service; the public one when absent. Example: `https://api.venafi.cloud`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// Palo Alto NGTS.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VenafiNgts {
    /// The Secret with `client-id` and `client-secret`. Example: `{"name": "ngts"}`.
    pub credentials_ref: LocalObjectReference,
    /// Where tokens are got. Example: `https://auth.example.com/oauth2/token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_endpoint: Option<String>,
    /// Tenant service group. Example: `1234567890`.
    #[serde(rename = "tsgID")]
    pub tsg_id: String,
    /// URL of the service. Example: `https://api.example.com`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// A self-hosted server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VenafiTpp {
    /// PEM certificates that vouch for the server, base64 encoded. Example: `LS0tLS1CRUdJTi...`.
    #[serde(
        default,
        deserialize_with = "base64_bytes::optional",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<Base64>")]
    pub ca_bundle: Option<ByteString>,
    /// Where such certificates are kept; `key` is `ca.crt` when absent. Example: `{"name":
    /// "tpp-ca"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_bundle_secret_ref: Option<SecretKeySelector>,
    /// The Secret with `access-token`, or `username` and `password`. Example: `{"name": "tpp"}`.
    pub credentials_ref: LocalObjectReference,
    /// URL of the server. Example: `https://tpp.example.com/vedsdk`.
    pub url: String,
}
