//! What a CertificateRevocation means for the certificates and keys of others.

use super::mark::{self, marks};
use super::standing::is_standing;
use super::{reason, renews_first};
use crate::api::revocation::{signer, state};
use crate::api::{CertificateRevocation, RevokedCertificate};
use crate::controllers::digest::short;
use crate::controllers::revocation_list::Revoked;
use crate::controllers::watched_lists::Listing;
use crate::pki::{ParsedCertificate, RevocationReason, RevokedSerial, parse_chain};

/// How far the revocation of a certificate is, for the Certificate that has it in its Secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The CA is asked for the first time: its answer is awaited, since the key in the Secret may have to sign.
    Asking,
    /// Another one is wanted, and this one is good until it is there.
    Replacing,
    /// It is revoked, or is going to be whatever happens.
    Withdrawn,
}

/// What a Certificate has to know of a revocation of the certificate in its Secret, or of its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Withdrawal {
    /// Another certificate is wanted before this one is revoked.
    Replaced {
        /// Namespace and name of the CertificateRevocation.
        by: String,
    },
    /// The certificate is revoked.
    Revoked {
        /// Namespace and name of the CertificateRevocation.
        by: String,
    },
    /// The CA says so in a list of its own.
    Listed(Listing),
    /// The private key is compromised.
    Compromised {
        /// Namespace and name of the CertificateRevocation.
        by: String,
    },
}

/// All that one CertificateRevocation means for others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// Certificates, by what is kept of their fingerprints.
    pub leaves: Vec<(u64, Stage)>,
    /// Public keys that are not to be used again; true: in the whole cluster, since the namespace had the private key,
    /// false: in its own namespace. Otherwise whoever reads a certificate off the network could have others lose its key.
    pub keys: Vec<(u64, bool)>,
}

impl Claims {
    /// Of an object with its status.
    pub fn of(object: &CertificateRevocation) -> Self {
        let status = object.status.as_ref();
        let entries = status.and_then(|s| s.certificates.as_deref());
        let mut claims = Self::default();
        for entry in entries.unwrap_or_default() {
            // Nothing is the matter with what waits for its Certificate's deletion.
            if is_standing(object) && entry.attempts.is_none() {
                continue;
            }
            if reason(object) == RevocationReason::KeyCompromise
                || entry.signed_by.as_deref() == Some(signer::CERTIFICATE_KEY)
            {
                let held = entry.key_held == Some(true);
                claims.keys.push((short(&entry.public_key_hash), held));
            }
            let chain = parse_chain(entry.certificate.as_bytes()).unwrap_or_default();
            if let (Some(stage), Some(leaf)) = (stage(object, entry), chain.first()) {
                claims.leaves.push((short(&leaf.fingerprint()), stage));
            }
        }
        // Also of what was not found any more.
        let compromised =
            (reason(object) == RevocationReason::KeyCompromise).then(|| marks(object));
        let marked = compromised.flatten().unwrap_or_default();
        let keys = marked.iter().map(|mark| mark.key.as_str());
        for key in keys.chain(mark::compromised(object)).map(short) {
            if claims.keys.iter().all(|(known, _)| *known != key) {
                claims.keys.push((key, false));
            }
        }
        claims
    }
}

fn stage(object: &CertificateRevocation, entry: &RevokedCertificate) -> Option<Stage> {
    match entry.state.as_str() {
        state::REVOKED => Some(Stage::Withdrawn),
        state::PENDING | state::REQUESTED if renews_first(object) => Some(Stage::Replacing),
        state::PENDING | state::REQUESTED if entry.message.is_some() => Some(Stage::Withdrawn),
        state::PENDING | state::REQUESTED => Some(Stage::Asking),
        _ => None,
    }
}

/// The certificates that this object has a CA issuer put into its list, apart from those whose serial numbers are there already.
pub fn listed(
    object: &CertificateRevocation,
    is_there: impl Fn(&str) -> bool,
) -> Vec<(ParsedCertificate, Revoked)> {
    let status = object.status.as_ref();
    let entries = status.and_then(|s| s.certificates.as_deref());
    let missing = entries.unwrap_or_default().iter().filter(|entry| {
        matches!(entry.state.as_str(), state::REVOKED | state::REQUESTED)
            && !is_there(&entry.serial)
    });
    let each = missing.filter_map(|entry| {
        let chain = parse_chain(entry.certificate.as_bytes()).ok()?;
        let certificate = chain.into_iter().next()?;
        let at = entry.requested_time.as_ref()?.0;
        let revoked = Revoked {
            entry: RevokedSerial {
                serial: certificate.serial_bytes().to_vec(),
                at,
                reason: reason(object),
            },
            not_after: certificate.not_after(),
        };
        Some((certificate, revoked))
    });
    each.collect()
}
