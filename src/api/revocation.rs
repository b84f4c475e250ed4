//! The `CertificateRevocation` kind, an extension of Everleaf: a certificate that its CA is to revoke.
//!
//! Source of the rules: docs/revocation.md, RFC 5280 §5.3.1, RFC 8555 §7.6.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::meta::{Condition, IssuerReference, LocalObjectReference, SecretKeySelector};

/// What [`CertificateRevocationSpec::reason`] may say (RFC 5280 §5.3.1).
const REASONS: [&str; 6] = [
    "unspecified",
    "keyCompromise",
    "affiliationChanged",
    "superseded",
    "cessationOfOperation",
    "privilegeWithdrawn",
];

/// How far the revocation of one certificate is.
pub mod state {
    /// It will be asked for: now, or when what it waits for has come.
    pub const PENDING: &str = "Pending";
    /// The CA is being asked. Written before it hears of it.
    pub const REQUESTED: &str = "Requested";
    /// The CA has revoked it; final.
    pub const REVOKED: &str = "Revoked";
    /// The CA does not do it; final.
    pub const REFUSED: &str = "Refused";
    /// It has expired, so that there is nothing to revoke; final.
    pub const EXPIRED: &str = "Expired";

    /// All states.
    pub const ALL: [&str; 5] = [PENDING, REQUESTED, REVOKED, REFUSED, EXPIRED];

    /// Whether nothing follows the state.
    pub fn is_final(state: &str) -> bool {
        matches!(state, REVOKED | REFUSED | EXPIRED)
    }
}

/// Who signs the request to the CA.
pub mod signer {
    /// The ACME account of the issuer.
    pub const ACCOUNT: &str = "Account";
    /// The private key of the certificate itself.
    pub const CERTIFICATE_KEY: &str = "CertificateKey";

    /// The CA whose key is in a Secret: it signs a list.
    pub const CA: &str = "CA";

    /// All of them.
    pub const ALL: [&str; 3] = [ACCOUNT, CERTIFICATE_KEY, CA];
}

/// What is revoked, and why. It cannot be changed: make another one.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "everleaf.io",
    version = "v1alpha1",
    kind = "CertificateRevocation",
    plural = "certificaterevocations",
    namespaced,
    status = "CertificateRevocationStatus",
    doc = "A certificate that its CA is to revoke. As long as it exists, a key that it calls compromised is not used again.",
    derive = "PartialEq",
    derive = "Default",
    shortname = "crev",
    category = "everleaf"
)]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "self == oldSelf",
        "message": "a revocation cannot be changed: make another CertificateRevocation",
    },
    {
        "rule": "[has(self.certificateRef), has(self.secretRef), has(self.certificate)].filter(set, set).size() == 1",
        "message": "exactly one of certificateRef, secretRef and certificate must be set",
    },
    {
        "rule": "!has(self.certificate) || has(self.issuerRef)",
        "message": "issuerRef must be set with certificate: a certificate does not say which issuer to ask",
    },
    {
        "rule": "!has(self.renewFirst) || !self.renewFirst || !has(self.certificate)",
        "message": "renewFirst needs certificateRef or secretRef: a certificate does not say what is to be renewed",
    },
    {
        "rule": "!has(self.when) || (has(self.certificateRef) && !(has(self.renewFirst) && self.renewFirst))",
        "message": "when needs certificateRef, and nothing is renewed then: leave renewFirst out",
    },
    {
        "rule": "!has(self.olderRevisions) || !self.olderRevisions || has(self.certificateRef)",
        "message": "olderRevisions needs certificateRef",
    },
]))]
pub struct CertificateRevocationSpec {
    /// The certificate itself, in PEM; of a chain the first one. `issuerRef` says whom to ask. Example:
    /// `-----BEGIN CERTIFICATE-----…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// The Certificate, in this namespace, whose certificate is revoked: the one that is in its Secret when this is first looked at,
    /// unless the Secret was made after this. The annotation `everleaf.io/revokes` keeps which one that is. Example:
    /// `{"name": "shop-tls"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_ref: Option<LocalObjectReference>,
    /// The issuer to ask; when absent, the one of the Certificate, or the one that the annotations of the Secret name.
    /// Example: `{"name": "letsencrypt", "kind": "ClusterIssuer"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer_ref: Option<IssuerReference>,
    /// Revoke also what earlier requests of the Certificate were answered with, as far as they are still there
    /// (`spec.revisionHistoryLimit`) and have not expired. Example: `true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub older_revisions: Option<bool>,
    /// A Secret of this namespace with the private key of the certificate: it signs the request in place of the issuer's
    /// account; `key` is `tls.key` when absent. Example: `{"name": "shop-tls-copy"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_key_secret_ref: Option<SecretKeySelector>,
    /// Why, in the words of RFC 5280; unspecified when absent. A key that is called compromised is not used again.
    /// Example: `keyCompromise`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = REASONS))]
    pub reason: Option<String>,
    /// Revoke only once another certificate is in the Secret. Otherwise the other one is asked for at the same time.
    /// Example: `true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renew_first: Option<bool>,
    /// The Secret, in this namespace, whose certificate (`tls.crt`) is revoked. Example: `{"name": "shop-tls"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<LocalObjectReference>,
    /// `CertificateDeleted` waits until the Certificate is deleted, and revokes what was in its Secret then; at once when
    /// absent. Example: `CertificateDeleted`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = [CERTIFICATE_DELETED]))]
    pub when: Option<String>,
}

/// The value of [`CertificateRevocationSpec::when`].
pub const CERTIFICATE_DELETED: &str = "CertificateDeleted";

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateRevocationStatus {
    /// The Certificate whose deletion is waited for. Example: `5b2e6f0a-6d3c-4a55-9f0e-0c1d2e3f4a5b`.
    #[serde(rename = "certificateUID", skip_serializing_if = "Option::is_none")]
    pub certificate_uid: Option<String>,
    /// The certificates, as they were found when this was first looked at; others that come later are not revoked, unless
    /// the deletion of the Certificate is waited for.
    /// Example: `[{"serial": "4a5b", "state": "Revoked"}]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["serial"]))]
    pub certificates: Option<Vec<RevokedCertificate>>,
    /// `Ready`: nothing is left to do. Example: `[{"type": "Ready", "status": "True"}]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Option<Vec<Condition>>,
    /// The issuer that is asked. Example: `{"name": "letsencrypt", "kind": "ClusterIssuer"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer_ref: Option<IssuerReference>,
    /// The Secret that the certificate was found in. Example: `shop-tls`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
}

/// One certificate, and how far its revocation is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevokedCertificate {
    /// How often the CA was asked, the question under way included. Example: `1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<i64>,
    /// The certificate, in PEM. Example: `-----BEGIN CERTIFICATE-----…`.
    pub certificate: String,
    /// Whether its private key was in a Secret of this namespace. Example: `true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_held: Option<bool>,
    /// Why the last question was of no use. Example: `badRevocationReason`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When the CA is asked again. Example: `2026-11-24T14:36:26Z`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_attempt_time: Option<Time>,
    /// When it ends by itself. Example: `2027-02-22T14:36:26Z`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Time>,
    /// SHA-256 of its public key (DER `SubjectPublicKeyInfo`), in hex. Example: `9f86d081884c7d65…`.
    pub public_key_hash: String,
    /// When the CA was asked first. Example: `2026-11-24T14:36:26Z`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested_time: Option<Time>,
    /// When the CA was found to have revoked it. Example: `2026-11-24T14:36:26Z`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_time: Option<Time>,
    /// Its serial number, in hex. Example: `4a5b6c7d8e9f`.
    pub serial: String,
    /// Which key signs: that of the issuer's `Account` or the `CertificateKey` the request, or that of the `CA` its list.
    /// Example: `Account`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = signer::ALL))]
    pub signed_by: Option<String>,
    /// How far its revocation is. Example: `Revoked`.
    #[schemars(extend("enum" = state::ALL))]
    pub state: String,
}

impl RevokedCertificate {
    /// Whether nothing more will be done about it.
    pub fn is_final(&self) -> bool {
        state::is_final(&self.state)
    }
}
