//! Certificates: keep a valid key pair in the Secret.

mod budget;
pub mod cron;
mod names;
mod observe;
pub(crate) mod outputs;
mod plan;
mod policy;
mod renewal;
mod request;
mod secret;
mod suggestion;
mod syntax;
#[cfg(test)]
mod tests;
mod window;

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use zeroize::Zeroizing;

pub use budget::Budget;
pub use observe::observe;
pub use outputs::{Entries, Recipe};
pub use plan::{absorb, plan};
pub use secret::{Roots, SecretData, repaired};
pub use suggestion::Asking;

use outputs::Passwords;
use renewal::{Renewal, delay, renewal};

use super::facts::{KeyFact, LeafFact, Made, RequestFact, SecretFact};
use super::polls::Heard;
use super::revocation::Withdrawal;
use super::rotation::Wish;
use super::status::find;
use crate::api::meta::{Condition, IssuerReference};
use crate::api::{Certificate, CertificateStatus, labels};
use crate::pki::{KeyAlgorithm, KeyEncoding, RequestParams};

/// How long a request may wait for approval or an external issuer before that is worth a word.
const PATIENCE: SignedDuration = SignedDuration::from_secs(5);

/// Lifetime of a certificate when nobody asked for one: 90 days.
pub const DEFAULT_DURATION: SignedDuration = SignedDuration::from_hours(2160);

/// What the flags say about Certificates (contract §7.2).
#[derive(Debug, Clone)]
#[allow(clippy::struct_excessive_bools, reason = "flags are flags")]
pub struct Settings {
    /// Wait after a first failure.
    pub min_backoff: Duration,
    /// Longest wait after a failure.
    pub max_backoff: Duration,
    /// Whether somebody has set one of the two.
    pub is_backoff_set: bool,
    /// How many requests a Certificate may make.
    pub budget: Budget,
    /// Give the Secret an owner reference.
    pub enable_certificate_owner_ref: bool,
    /// Which annotations go to the request.
    pub copied_annotation_prefixes: Vec<String>,
    /// Say in the CSR whether it is for a CA (gate `UseCertificateRequestBasicConstraints`).
    pub basic_constraints_in_request: bool,
    /// Post an event for each step, not only for what a condition does not say.
    pub verbose_events: bool,
    /// This operator approves requests itself: none waits for somebody else.
    pub approves: bool,
    /// Ask CAs when to renew (gate `ACMEUseARI`).
    pub renewal_info: bool,
}

/// A Certificate and everything that its plan depends on.
#[derive(Debug, Clone)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Observation {
    /// The Certificate.
    pub certificate: Arc<Certificate>,
    /// Its Secret.
    pub secret: Option<Arc<SecretFact>>,
    /// The requests that it controls.
    pub requests: Vec<Arc<RequestFact>>,
    /// Requests that count against the budget and were deleted.
    pub unlisted: Vec<Made>,
    /// The next private keys that it controls.
    pub next_keys: Vec<Arc<SecretFact>>,
    /// The next private key, when this process holds it.
    pub staged: Option<KeyFact>,
    /// The Certificate that keeps the Secret, when it is another one.
    pub rival: Option<String>,
    /// The issuer.
    pub issuer: IssuerState,
    /// When the issuer was last changed.
    pub issuer_changed: Option<Timestamp>,
    /// Which issuer, as it was changed last: what a request notes when it is made.
    pub issuer_version: Option<String>,
    /// The deepest cause of not being ready, in words.
    pub cause: Option<String>,
    /// When the open request was made that was made for the one under way, while nobody has approved it.
    pub unapproved: Option<Timestamp>,
    /// The write that the API server refuses, and what it says, in words that follow "The API server refuses to".
    pub refused: Option<String>,
    /// When what made the last attempt fail was seen to be gone.
    pub recovered: Option<Timestamp>,
    /// The passwords of keystores: read only when one is about to be written or checked.
    pub passwords: Passwords,
    /// What the keystores depend on beside the Secret; see [`Checked`].
    pub stores_version: u64,
    /// The keystores in the Secret are known to open with the passwords of now.
    pub stores_checked: bool,
    /// The rotation of the issuer's CA, while one is under way.
    pub rotation: Option<Following>,
    /// A revocation of the certificate in the Secret, or of its key.
    pub withdrawal: Option<Withdrawal>,
    /// The public keys, among those that are there, that are compromised: none of them is used again.
    pub compromised: Vec<u64>,
    /// The revocation that waits for its deletion is there.
    pub is_stood_by: bool,
    /// The revocation of the key that its annotation calls compromised is there.
    pub is_reported: bool,
    /// Whether the CA is asked when to renew.
    pub asking: Asking,
    /// Whether the issuer whose CA that is, is an ACME issuer.
    pub is_acme: bool,
    /// The issuer whose CA that is: one of an ordered issuer's, or `spec.issuerRef`.
    pub signer: Option<IssuerReference>,
}

/// A rotation, as far as a Certificate cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Following {
    /// What it wants of this one now.
    pub wish: Wish,
    /// PEM of what clients are to trust.
    pub roots: String,
    /// Certificates that begin before are of an old CA.
    pub started: Timestamp,
}

/// The issuer, as far as a Certificate cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IssuerState {
    /// Of another group: somebody else signs.
    External,
    /// It does not exist.
    Missing,
    /// It exists and is not ready.
    NotReady,
    /// It can sign.
    Ready {
        /// Without asking anybody outside: the private key need not be stored first.
        in_process: bool,
    },
}

/// A step that needs randomness or a private key.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// Get the private key and sign the CSR.
    Prepare {
        /// Where the key comes from.
        source: KeySource,
        /// Whether it is stored before the request is made.
        durable: bool,
        /// The name under which it is stored or remembered.
        key_secret: String,
        /// What the CSR asks for.
        params: Box<RequestParams>,
    },
    /// Get the private key of the issuance under way, for the target Secret.
    LoadKey {
        /// The name under which it is stored or remembered.
        name: String,
        /// How the target Secret holds it.
        encoding: KeyEncoding,
        /// Digest of the public key that the certificate is for. What is remembered under this name
        /// may be the key of another attempt, that another replica has overtaken.
        public: u64,
        /// The chain, in PEM.
        certificate: Vec<u8>,
        /// The CA, in PEM.
        ca: Option<Vec<u8>>,
        /// What else the target Secret is to hold.
        recipe: Box<Recipe>,
        /// See [`Observation::stores_version`].
        stores_version: u64,
    },
    /// Sign a certificate that holds the place of the real one, for the key of the issuance under way.
    Temporary {
        /// The name under which the key is stored or remembered.
        name: String,
        /// How the target Secret holds it.
        encoding: KeyEncoding,
        /// Digest of the public key of the request.
        public: u64,
        /// What the CSR asks for.
        params: Box<RequestParams>,
        /// Lifetime.
        duration: SignedDuration,
        /// What else the target Secret is to hold.
        recipe: Box<Recipe>,
        /// See [`Observation::stores_version`].
        stores_version: u64,
    },
    /// Read the target Secret's data, to apply it again with the right metadata and outputs.
    Repair {
        /// Name of the Secret.
        name: String,
        /// What it is to hold beside key and certificate.
        recipe: Box<Recipe>,
        /// See [`Observation::stores_version`].
        stores_version: u64,
        /// What becomes of `ca.crt`.
        roots: Roots,
        /// Apply it even if the keystores fit.
        needed: bool,
    },
    /// Ask the CA when it wants the certificate to be renewed (RFC 9773).
    AskCa {
        /// Whose CA.
        issuer: IssuerReference,
        /// The certificate's identifier.
        id: Box<str>,
    },
}

/// Where a private key comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A new one.
    Generate(KeyAlgorithm),
    /// The next private key Secret of this name.
    Next(String),
    /// This process remembers it.
    Staged,
    /// The target Secret of this name (rotation policy Never).
    Target(String),
}

/// What an effect brought.
pub enum Outcome {
    /// A CSR in PEM; and the key in PKCS#8 PEM, when it is to be stored and is not yet.
    Prepared {
        /// PEM.
        csr: String,
        /// PKCS#8 PEM.
        key: Option<Zeroizing<Vec<u8>>>,
    },
    /// What goes into the target Secret.
    Loaded(SecretData),
    /// What goes into the target Secret for the time being.
    Temporary(SecretData),
    /// The outputs cannot be made of what the issuer returned: why.
    Unmakable(String),
    /// There is nothing to write: the keystores fit, and nothing else was wrong.
    Sound,
    /// The private key is nowhere.
    KeyLost,
    /// The CSR cannot be built from this spec: why.
    Unbuildable(String),
    /// The target Secret's data.
    Repaired(SecretData),
    /// What the CA said about renewal.
    Heard(Heard),
}

impl Observation {
    /// `status`, empty when there is none.
    pub fn status(&self) -> &CertificateStatus {
        static EMPTY: std::sync::LazyLock<CertificateStatus> =
            std::sync::LazyLock::new(CertificateStatus::default);
        self.certificate.status.as_ref().unwrap_or(&EMPTY)
    }

    /// `status.conditions`.
    pub fn conditions(&self) -> &[Condition] {
        self.status().conditions.as_deref().unwrap_or_default()
    }

    /// Whether an issuance is under way.
    pub fn is_issuing(&self) -> bool {
        find(self.conditions(), "Issuing").is_some_and(Condition::is_true)
    }

    /// The revision that is being issued, or would be.
    pub fn next_revision(&self) -> i64 {
        self.status().revision.unwrap_or_default().saturating_add(1)
    }

    /// The certificate in the Secret, if it can be read.
    pub fn leaf(&self) -> Option<&LeafFact> {
        self.secret.as_ref()?.certificate.as_ref()?.as_ref().ok()
    }

    /// When the certificate in the Secret is due; `None` when renewal is disabled.
    pub fn renewal_of(&self, leaf: &LeafFact) -> Option<Renewal> {
        let spec = &self.certificate.spec;
        renewal(spec, leaf.not_before, leaf.not_after, self.suggestion())
    }

    /// When that renewal begins: not all of a public CA's at once.
    pub fn renewal_start(&self, leaf: &LeafFact, due: &Renewal) -> Timestamp {
        if !self.is_acme {
            return due.at;
        }
        let delay = delay(&self.certificate.spec, leaf, due);
        due.at.checked_add(delay).unwrap_or(due.at)
    }

    /// The request that gave the certificate in the Secret, if it is still there.
    ///
    /// cert-manager before 1.13 left several of one revision, and triggers nothing while there are. The one for the key in
    /// the Secret is the one, and of several for it one that asks for what the spec does.
    pub fn current_request(&self) -> Option<&RequestFact> {
        let revision = self.status().revision?;
        let all = self.requests.iter().map(AsRef::as_ref);
        let mut of_it = all.filter(|r: &&RequestFact| r.revision == Some(revision));
        let first = of_it.next()?;
        let rank = |request: &RequestFact| {
            let asked = request.compared.as_ref().map(|c| c.public).ok();
            let is_for_key = asked.is_some() && asked == self.public_key();
            (
                is_for_key,
                policy::request_differences(self, request).is_empty(),
            )
        };
        Some(of_it.fold(first, |best, other| {
            if rank(other) > rank(best) {
                other
            } else {
                best
            }
        }))
    }

    /// Digest of the public key in the Secret, if its private key can be read.
    fn public_key(&self) -> Option<u64> {
        let key = self.secret.as_ref()?.key.as_ref()?.as_ref().ok()?;
        Some(key.public)
    }

    /// Whether what made the last attempt fail has changed: the name became reachable, or the issuer was edited since the
    /// attempt `began`, perhaps too late for it. Times are in whole seconds: what its `request` notes of the issuer says
    /// which of the two was first; where it notes nothing, what is of the same second counts as seen.
    pub fn cause_ended(&self, request: Option<&RequestFact>, began: Timestamp) -> bool {
        let is_edited = || {
            let noted = request.and_then(noted_issuer);
            match (noted, &self.issuer_version) {
                (Some(noted), Some(version)) => noted != *version,
                _ => self.issuer_changed.is_some_and(|changed| changed > began),
            }
        };
        self.recovered.is_some() || is_edited()
    }
}

/// The issuer that a request was made for, as it was then.
fn noted_issuer(request: &RequestFact) -> Option<String> {
    let body = request.object()?;
    let annotations = body.metadata.annotations.as_ref()?;
    annotations.get(labels::ISSUER_SEEN_ANNOTATION).cloned()
}
