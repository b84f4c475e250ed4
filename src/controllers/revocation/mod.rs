//! CertificateRevocations: have a CA revoke certificates, each once, and have what is revoked replaced.
//!
//! What is to be revoked is looked up once and written into the status, certificates and all: after that nothing depends on
//! a Secret or request that may be gone. That the CA is about to be asked is written before it is, so that a process that
//! comes after a crash asks again, and learns that it was done. Which certificates they are is in an annotation before that, too,
//! since a status does not outlive a backup.

mod claims;
mod compromise;
mod mark;
mod observe;
mod plan;
mod standing;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;

pub use claims::{Claims, Stage, Withdrawal, listed};
pub use compromise::{compromise_name, compromise_order, compromised_key};
pub use mark::unmarkable;
pub use observe::observe;
pub use plan::{absorb, plan};
pub use standing::{standing_name, standing_order};

use super::facts::{IssuerFact, SecretFact};
use crate::api::meta::{Condition, IssuerReference};
use crate::api::{Certificate, CertificateRevocation, CertificateRevocationStatus};
use crate::explain::Verdict;
use crate::pki::{ParsedCertificate, RevocationReason};

/// A CertificateRevocation and everything that its plan depends on.
#[derive(Debug, Clone)]
pub struct Observation {
    /// The object.
    pub object: Arc<CertificateRevocation>,
    /// What its spec leads to now, as long as that is not in the status; in words why to nothing.
    pub found: Option<Result<Found, Verdict>>,
    /// The issuer that is asked, if it exists.
    pub issuer: Option<Arc<IssuerFact>>,
    /// The account of the issuer is registered, and this process has its key.
    pub account: bool,
    /// The Secret that the certificate was found in, as it is now.
    pub secret: Option<Arc<SecretFact>>,
    /// The Certificate that keeps that Secret.
    pub keeper: Option<Arc<Certificate>>,
    /// The Certificate that the spec names.
    pub subject: Option<Arc<Certificate>>,
    /// The API server refuses the annotation that says what it is about.
    pub unmarkable: bool,
}

/// What is to be revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The certificates, at least one; none is there twice.
    pub certificates: Vec<FoundCertificate>,
    /// Who has issued them.
    pub issuer: IssuerReference,
    /// The Secret that the first one is in.
    pub secret: Option<String>,
    /// When that Secret was made.
    pub stored: Option<Timestamp>,
}

/// One certificate that is to be revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundCertificate {
    /// The certificate.
    pub certificate: ParsedCertificate,
    /// Its private key is in a Secret of the namespace.
    pub key_held: bool,
}

/// A step that asks the CA.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Have one certificate revoked.
    Revoke {
        /// Its serial number, as the status has it.
        serial: String,
        /// DER.
        certificate: Vec<u8>,
        /// Why.
        reason: RevocationReason,
        /// Who signs the request.
        signer: Signer,
    },
    /// Put one certificate into the revocation list of its issuer.
    List {
        /// Its serial number, as the status has it.
        serial: String,
        /// DER.
        certificate: Vec<u8>,
    },
}

impl Effect {
    /// The serial number of the certificate that it is about.
    fn serial(&self) -> &str {
        match self {
            Self::Revoke { serial, .. } | Self::List { serial, .. } => serial,
        }
    }
}

/// Who signs the request to the CA.
#[derive(Debug, PartialEq, Eq)]
pub enum Signer {
    /// The account of the issuer.
    Account,
    /// The certificate's own private key.
    CertificateKey {
        /// Its Secret, in the namespace of the revocation.
        secret: String,
        /// Its entry.
        entry: String,
    },
}

/// What the CA said.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    /// It has revoked the certificate, now or before; with the list that says so, if that is to be stored first.
    Revoked(Option<Box<ConfigMap>>),
    /// The private key that was to sign is not there, or is another one: why.
    NoKey(String),
    /// It will not, however often it is asked.
    Refused {
        /// What was said.
        message: String,
        /// Because of who asked.
        unauthorized: bool,
    },
    /// It could not be asked, or asked for patience.
    Unavailable {
        /// What was said.
        message: String,
        /// The CA's word on when to ask again.
        until: Option<Timestamp>,
    },
}

impl Observation {
    /// `status`, empty when there is none.
    pub fn status(&self) -> &CertificateRevocationStatus {
        static EMPTY: std::sync::LazyLock<CertificateRevocationStatus> =
            std::sync::LazyLock::new(CertificateRevocationStatus::default);
        self.object.status.as_ref().unwrap_or(&EMPTY)
    }

    /// `status.conditions`.
    pub fn conditions(&self) -> &[Condition] {
        self.status().conditions.as_deref().unwrap_or_default()
    }
}

/// Why it is revoked; the schema lets no other word through.
pub fn reason(object: &CertificateRevocation) -> RevocationReason {
    let word = object.spec.reason.as_deref();
    word.and_then(RevocationReason::from_word)
        .unwrap_or(RevocationReason::Unspecified)
}

/// Whether the certificate is replaced before it is revoked.
fn renews_first(object: &CertificateRevocation) -> bool {
    object.spec.renew_first == Some(true)
}
