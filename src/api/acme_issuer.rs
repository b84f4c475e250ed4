//! The ACME issuer and its account.
//!
//! Source of names and rules: contract §1.6, RFC 8555.

use k8s_openapi::ByteString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::base64_bytes;
use super::meta::SecretKeySelector;
use super::schema::Base64;
use super::solver::Solver;

/// An ACME server (RFC 8555), the account there, and how challenges are solved.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AcmeIssuer {
    /// PEM certificates that vouch for the server, base64 encoded; the common public roots when
    /// absent. Not together with `skipTLSVerify`. Example: `LS0tLS1CRUdJTi...`.
    #[serde(
        default,
        deserialize_with = "base64_bytes::optional",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<Base64>")]
    pub ca_bundle: Option<ByteString>,
    /// Whether the account key must exist already. Example: `true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disable_account_key_generation: Option<bool>,
    /// Address at which the CA may reach the account's owner. Example: `ops@example.com`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Whether the wanted lifetime is passed to the CA, which few CAs accept. Example: `true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_duration_feature: Option<bool>,
    /// Binds the account to one that the CA knows already (RFC 8555 §7.3.4). Example: `{"keyID":
    /// "kid-1", "keySecretRef": {"name": "eab", "key": "hmac"}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_account_binding: Option<AcmeExternalAccountBinding>,
    /// Common name of the issuer at the top of the wanted chain, where the CA offers several.
    /// Example: `ISRG Root X1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub preferred_chain: Option<String>,
    /// The Secret of the account key, made when missing; `key` is `tls.key` when absent. Example:
    /// `{"name": "letsencrypt-account"}`.
    pub private_key_secret_ref: SecretKeySelector,
    /// Certificate profile to ask the CA for. Example: `shortlived`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Whether the CA is asked when to renew (`ARI`, RFC 9773) or not (`None`). Example: `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["ARI", "None"], "default" = "ARI"))]
    pub renewal_information_source: Option<String>,
    /// The server's directory. Example: `https://acme-v02.api.letsencrypt.org/directory`.
    pub server: String,
    /// Whether the server's certificate goes unchecked; for tests only. Example: `true`.
    #[serde(rename = "skipTLSVerify", skip_serializing_if = "Option::is_none")]
    pub skip_tls_verify: Option<bool>,
    /// How challenges are solved; the most specific selector wins. Example: `[{"http01":
    /// {"ingress": {"ingressClassName": "traefik"}}}]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub solvers: Option<Vec<Solver>>,
}

impl AcmeIssuer {
    /// Whether the CA is asked when to renew; so it is unless `renewalInformationSource` says `None`.
    pub fn asks_renewal_info(&self) -> bool {
        self.renewal_information_source.as_deref() != Some("None")
    }
}

/// Binds the ACME account to one that the CA knows already.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AcmeExternalAccountBinding {
    /// Ignored; HS256 is always used. Example: `HS256`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["HS256", "HS384", "HS512"]))]
    pub key_algorithm: Option<String>,
    /// The key's name at the CA. Example: `kid-1`.
    #[serde(rename = "keyID")]
    pub key_id: String,
    /// Where the MAC key is kept, as unpadded base64url text. Example: `{"name": "eab", "key":
    /// "hmac"}`.
    pub key_secret_ref: SecretKeySelector,
}

/// The ACME account.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AcmeIssuerStatus {
    /// SHA-256 of the account key, to notice a change. Example:
    /// `47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_private_key_hash: Option<String>,
    /// Address last registered. Example: `ops@example.com`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_registered_email: Option<String>,
    /// What is known of the CA's limits and no other object shows. An extension of Everleaf. Example: `{"asOf":
    /// "2026-11-24T14:36:26Z", "buckets": []}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<AcmeLimitsStatus>,
    /// The account's URL. Example: `https://acme-v02.api.letsencrypt.org/acme/acct/1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
}

/// Limits of the CA that are used up in part, by certificates that are not in the cluster any more or by the CA's word.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AcmeLimitsStatus {
    /// Up to when everything is counted in it. Example: `2026-11-24T14:36:26Z`.
    pub as_of: Time,
    /// The limits, each with what it counts. Example: `[{"limit": "CertificatesPerDomain", "of": "example.com",
    /// "fullAt": "2026-11-26T08:00:00Z"}]`.
    pub buckets: Vec<AcmeLimitStatus>,
}

/// A limit of the CA, as a bucket of tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AcmeLimitStatus {
    /// Until when the CA is not asked, as it has refused. Example: `2026-11-25T09:00:00Z`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frozen_until: Option<Time>,
    /// When the limit is as good as unused, if nothing more is issued. Example: `2026-11-26T08:00:00Z`.
    pub full_at: Time,
    /// Which limit: `OrdersPerAccount`, `CertificatesPerDomain`, `CertificatesPerSet` or `FailuresPerName`. Example:
    /// `CertificatesPerDomain`.
    pub limit: String,
    /// What it counts: the account, the registered domain, a digest of the exact names, or account and name. Example:
    /// `example.com`.
    pub of: String,
    /// What the CA said when it refused. Example: `too many certificates (50) already issued for "example.com"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
