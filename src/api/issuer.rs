//! The Issuer and `ClusterIssuer` kinds: who signs, and how to reach them.
//!
//! Both share one schema. Source of names and rules: contract §1.6.

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
    /// The Secret with `tls.crt` and `tls.key` of the CA. Example: `ca-key-pair`.
    pub secret_name: String,
}

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
    /// `Ready`. Example: `[{"type": "Ready", "status": "True"}]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Option<Vec<Condition>>,
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
