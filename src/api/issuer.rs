//! The Issuer and `ClusterIssuer` kinds: who signs, and how to reach them.
//!
//! Both share one schema. Source of names and rules: contract §1.6.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::acme_issuer::{AcmeIssuer, AcmeIssuerStatus};
use super::meta::Condition;
use super::vault::VaultIssuer;
use super::venafi::VenafiIssuer;

/// How this issuer signs: exactly one of the five types.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "cert-manager.io",
    version = "v1",
    kind = "Issuer",
    plural = "issuers",
    namespaced,
    status = "IssuerStatus",
    doc = "Who signs certificates of this namespace.",
    derive = "PartialEq",
    derive = "Default",
    shortname = "iss",
    category = "cert-manager"
)]
pub struct IssuerSpec {
    /// An ACME server such as Let's Encrypt. Example: `{"server":
    /// "https://acme-v02.api.letsencrypt.org/directory", "privateKeySecretRef": {"name":
    /// "account"}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acme: Option<AcmeIssuer>,
    /// A CA whose key is in a Secret. Example: `{"secretName": "ca-key-pair"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<CaIssuer>,
    /// Each certificate signs itself. Example: `{}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub self_signed: Option<SelfSignedIssuer>,
    /// A PKI engine of Vault or `OpenBao`. Example: `{"server":
    /// "https://vault.example.com", "path": "pki/sign/app", "auth": {"tokenSecretRef": {"name":
    /// "vault"}}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vault: Option<VaultIssuer>,
    /// A Venafi or Palo Alto NGTS service. Example: `{"zone":
    /// "shop", "cloud": {"apiTokenSecretRef": {"name": "venafi"}}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub venafi: Option<VenafiIssuer>,
    /// Watch the revocation lists that certificates of this issuer name, and replace at once what is in one; absent, they are not
    /// looked at, as with cert-manager. An extension of Everleaf. Example: `true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watch_revocation_lists: Option<bool>,
}

/// A CA whose certificate and key are in a Secret.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CaIssuer {
    /// Where revocation lists are found, put into each certificate. Example:
    /// `["http://ca.example.com/crl"]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crl_distribution_points: Option<Vec<String>>,
    /// Where the CA's certificate is found, put into each certificate. Example:
    /// `["http://ca.example.com/ca.crt"]`.
    #[serde(
        rename = "issuingCertificateURLs",
        skip_serializing_if = "Option::is_none"
    )]
    pub issuing_certificate_urls: Option<Vec<String>>,
    /// OCSP servers, put into each certificate. Example: `["http://ocsp.example.com"]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ocsp_servers: Option<Vec<String>>,
    /// What becomes of the certificates when another CA comes into the Secret; absent, they stay until they are due,
    /// as with cert-manager. An extension of Everleaf. Example: `{}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation: Option<CaRotation>,
    /// Have a revocation list kept, signed and served; absent, there is none, as with cert-manager. An extension of Everleaf.
    /// Example: `{}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revocation_list: Option<CaRevocationList>,
    /// The Secret with `tls.crt` and `tls.key` of the CA. Example: `ca-key-pair`.
    pub secret_name: String,
}

/// A list of the certificates of the CA that are revoked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CaRevocationList {
    /// How long a list is valid, 10m or more; it is signed anew after half of that. 168h if absent. Example: `24h`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = DURATION))]
    pub lifetime: Option<String>,
}

/// Once another CA is in the Secret, all certificates of the old one are issued anew in waves, soonest expiry first.
/// `ca.crt` of each Secret holds the roots of both meanwhile.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CaRotation {
    /// How long the old root stays in `ca.crt` after the last certificate was issued anew; 24h if absent. Example: `72h`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = DURATION))]
    pub overlap: Option<String>,
    /// How long the new root is in `ca.crt` of all Secrets before the first certificate is issued anew, so that clients
    /// take it up; 10m if absent. Example: `30m`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = DURATION))]
    pub trust_ahead: Option<String>,
}

/// A duration of Go that is not negative.
pub(super) const DURATION: &str = r"^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$";

/// Each certificate signs itself with its own key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SelfSignedIssuer {
    /// Where revocation lists are found, put into each certificate. Example:
    /// `["http://ca.example.com/crl"]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crl_distribution_points: Option<Vec<String>>,
}

/// Whether the issuer can sign.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IssuerStatus {
    /// The ACME account. Example: `{"uri": "https://acme.example.com/acct/1"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acme: Option<AcmeIssuerStatus>,
    /// The CA that was last seen in the Secret, for issuers with `spec.ca.rotation`. An extension of Everleaf.
    /// Example: `{"authority": "9f86d081884c7d65", "roots": "-----BEGIN CERTIFICATE-----…"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<CaIssuerStatus>,
    /// `Ready`. Example: `[{"type": "Ready", "status": "True"}]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Option<Vec<Condition>>,
}

/// The CA that signs, and how far the certificates have followed it. It is kept here so that a restart forgets nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CaIssuerStatus {
    /// Digest of name and key of the CA and of its root. Example: `9f86d081884c7d65`.
    pub authority: String,
    /// What clients are to trust, in PEM: the root of the CA first, then those of CAs before it. Example:
    /// `-----BEGIN CERTIFICATE-----…`.
    pub roots: String,
    /// The rotation under way. Example: `{"phase": "Reissuing"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation: Option<CaRotationStatus>,
}

/// How far a rotation is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CaRotationStatus {
    /// How many certificates it is about. Example: `500`.
    pub certificates: i64,
    /// How many of them this phase was done with when the newest wave began. Example: `120`.
    pub done: i64,
    /// `Trusting`: the new root goes into each `ca.crt`. `Reissuing`: the certificates are issued anew. `Overlapping`: both
    /// roots stay. `Retiring`: the old root goes. Example: `Reissuing`.
    #[schemars(extend("enum" = ["Trusting", "Reissuing", "Overlapping", "Retiring"]))]
    pub phase: String,
    /// The last certificate of the newest wave; those before it in the order of expiry had their turn. Example:
    /// `{"notAfter": "2026-11-24T14:36:26Z", "namespace": "shop", "name": "www-tls"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reached: Option<CaRotationPlace>,
    /// When the phase began. Example: `2026-11-24T14:36:26Z`.
    pub since: Time,
    /// Certificates that begin before this time are of an old CA. Example: `2026-11-24T14:36:26Z`.
    pub started: Time,
    /// When the newest wave began. Example: `2026-11-24T14:36:26Z`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wave: Option<Time>,
}

/// A place in the order of expiry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CaRotationPlace {
    /// Name of the Secret. Example: `www-tls`.
    pub name: String,
    /// Its namespace. Example: `shop`.
    pub namespace: String,
    /// When the certificate in it ends. Example: `2026-11-24T14:36:26Z`.
    pub not_after: Time,
}

/// The spec of a [`ClusterIssuer`]: the same as an [`Issuer`]'s.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[kube(
    group = "cert-manager.io",
    version = "v1",
    kind = "ClusterIssuer",
    plural = "clusterissuers",
    status = "IssuerStatus",
    doc = "Who signs certificates of all namespaces.",
    derive = "PartialEq",
    derive = "Default",
    shortname = "ciss",
    category = "cert-manager"
)]
pub struct ClusterIssuerSpec(pub IssuerSpec);

/// What an [`Issuer`] and a [`ClusterIssuer`] have in common.
pub trait AnyIssuer: kube::Resource<DynamicType = ()> {
    /// How it signs.
    fn issuer_spec(&self) -> &IssuerSpec;

    /// What is known of it, where anything is.
    fn issuer_status(&self) -> Option<&IssuerStatus>;
}

impl AnyIssuer for Issuer {
    fn issuer_spec(&self) -> &IssuerSpec {
        &self.spec
    }

    fn issuer_status(&self) -> Option<&IssuerStatus> {
        self.status.as_ref()
    }
}

impl AnyIssuer for ClusterIssuer {
    fn issuer_spec(&self) -> &IssuerSpec {
        &self.spec.0
    }

    fn issuer_status(&self) -> Option<&IssuerStatus> {
        self.status.as_ref()
    }
}
