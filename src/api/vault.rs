//! The Vault issuer.
//!
//! Source of names and rules: contract §1.6 and §6.3.

use k8s_openapi::ByteString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::base64_bytes;
use super::meta::{SecretKeySelector, ServiceAccountRef};
use super::schema::Base64;

/// A PKI engine of Vault or `OpenBao`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultIssuer {
    /// How to log in: exactly one way. Example: `{"tokenSecretRef": {"name": "vault"}}`.
    pub auth: VaultAuth,
    /// PEM certificates that vouch for the server, base64 encoded. Not together with
    /// `caBundleSecretRef`. Example: `LS0tLS1CRUdJTi...`.
    #[serde(
        default,
        deserialize_with = "base64_bytes::optional",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<Base64>")]
    pub ca_bundle: Option<ByteString>,
    /// Where such certificates are kept; `key` is `ca.crt` when absent. Example: `{"name":
    /// "vault-ca"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_bundle_secret_ref: Option<SecretKeySelector>,
    /// Where the client certificate is kept; `key` is `tls.crt` when absent. Example: `{"name":
    /// "vault-client"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_cert_secret_ref: Option<SecretKeySelector>,
    /// Where the client key is kept; `key` is `tls.key` when absent. Example: `{"name":
    /// "vault-client"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_key_secret_ref: Option<SecretKeySelector>,
    /// Vault namespace. Example: `team-a`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Path that signs. Example: `pki/sign/app`.
    pub path: String,
    /// URL of the server. Example: `https://vault.example.com:8200`.
    pub server: String,
    /// Name that the server's certificate must hold; the URL's host when absent. Example:
    /// `vault.internal`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}

/// How to log in to Vault: exactly one way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultAuth {
    /// With an `AppRole`. Example: `{"path": "approle", "roleId": "0000", "secretRef": {"name":
    /// "vault", "key": "secretId"}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_role: Option<VaultAppRole>,
    /// With an AWS identity. Example: `{"role": "app"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aws: Option<VaultAwsAuth>,
    /// With a TLS client certificate. Example: `{"secretName": "vault-client"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<VaultClientCertificateAuth>,
    /// With a service account. Example: `{"role": "app", "serviceAccountRef": {"name": "vault"}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<VaultKubernetesAuth>,
    /// With a token; `key` is `token` when absent. Example: `{"name": "vault", "key": "token"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_secret_ref: Option<SecretKeySelector>,
}

/// Log in with an `AppRole`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultAppRole {
    /// Mount path. Example: `approle`.
    pub path: String,
    /// ID of the role. Example: `00000000-0000-0000-0000-000000000000`.
    pub role_id: String,
    /// Where the role's secret ID is kept; `key` is needed. Example: `{"name": "vault", "key":
    /// "secretId"}`.
    pub secret_ref: SecretKeySelector,
}

/// Log in with an AWS identity.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultAwsAuth {
    /// IAM role to assume first. Example: `arn:aws:iam::1:role/vault`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iam_role_arn: Option<String>,
    /// Mount path; `/v1/auth/aws` when absent. Example: `/v1/auth/aws-eu`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mount_path: Option<String>,
    /// AWS region; the environment's, else `us-east-1`, when absent. Example: `eu-west-1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Vault role. Example: `app`.
    #[schemars(length(min = 1))]
    pub role: String,
    /// Service account whose token AWS accepts. Example: `{"name": "vault"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account_ref: Option<ServiceAccountRef>,
    /// Value of the server ID header, where the mount asks for one. Example: `vault.example.com`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vault_header_value: Option<String>,
}

/// Log in with a TLS client certificate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultClientCertificateAuth {
    /// Mount path; `/v1/auth/cert` when absent. Example: `/v1/auth/cert-eu`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mount_path: Option<String>,
    /// Role to match; any when absent. Example: `app`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The Secret with `tls.crt` and `tls.key`. Example: `vault-client`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
}

/// Log in with a service account: one of `secretRef` and `serviceAccountRef`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultKubernetesAuth {
    /// Mount path; `/v1/auth/kubernetes` when absent. Example: `/v1/auth/kubernetes-eu`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mount_path: Option<String>,
    /// Vault role. Example: `app`.
    pub role: String,
    /// Where a token is kept; `key` is `token` when absent. Example: `{"name": "vault-token"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKeySelector>,
    /// Service account to get tokens for. Example: `{"name": "vault"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account_ref: Option<ServiceAccountRef>,
}
