//! What a CertificateRevocation is about, in an annotation of it. Whoever creates the object again, from a backup say, drops the
//! status; without this it would be about whatever is in the Secret by then.

use std::collections::BTreeSet;

use super::standing::is_standing;
use super::{Found, FoundCertificate};
use crate::api::{CertificateRevocation, labels};
use crate::controllers::action::Event;
use crate::explain::{Code, Verdict};
use crate::pki::parse_chain;

/// One certificate and its key: SHA-256 of each, in lower case hex.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// What the annotation names, if it is there; a part that cannot be read names nothing.
pub(super) fn marks(object: &CertificateRevocation) -> Option<BTreeSet<Mark>> {
    let annotations = object.metadata.annotations.as_ref()?;
    let value = annotations.get(labels::REVOKES_ANNOTATION)?;
    let each = value.split(',').filter_map(|part| {
        let (certificate, key) = part.trim().split_once('/')?;
        Some(Mark {
            certificate: certificate.to_ascii_lowercase(),
            key: key.to_ascii_lowercase(),
        })
    });
    Some(each.collect())
}

/// The value that the annotation has to have, if it does not name all that the status does.
pub(super) fn unmarked(object: &CertificateRevocation) -> Option<String> {
    let status = object.status.as_ref();
    let entries = status.and_then(|s| s.certificates.as_deref());
    let known = marks(object).unwrap_or_default();
    let mut all = known.clone();
    for entry in entries.unwrap_or_default() {
        let chain = parse_chain(entry.certificate.as_bytes()).unwrap_or_default();
        all.extend(chain.first().map(|certificate| Mark {
            certificate: certificate.fingerprint(),
            key: entry.public_key_hash.clone(),
        }));
    }
    (all != known).then(|| {
        let each = all.iter();
        let each: Vec<String> = each
            .map(|mark| format!("{}/{}", mark.certificate, mark.key))
            .collect();
        each.join(",")
    })
}

/// The API server refuses the annotation, for this reason.
pub fn unmarkable(problem: &str) -> Event {
    let message = format!(
        "The annotation {} cannot be written: {problem}. What this object is about is in its status alone: do not restore it from \
         a backup",
        labels::REVOKES_ANNOTATION
    );
    Event::warning("everleaf", "NotMarked", message)
}

/// The private key that it is about, if a Certificate's annotation has asked for it: the front of the SHA-256 of its public key.
pub(super) fn compromised(object: &CertificateRevocation) -> Option<&str> {
    let annotations = object.metadata.annotations.as_ref()?;
    let key = annotations.get(labels::KEY_COMPROMISED_ANNOTATION)?;
    Some(key)
}

/// Of what the spec leads to, what the object is about: only what the annotation names, if it is there; and nothing that came
/// after the object.
pub(super) fn meant(object: &CertificateRevocation, found: &Found) -> Result<Found, Verdict> {
    let nothing = |text| Err(Verdict::new(Code::REVOCATION_SUBJECT, text));
    let secret = found.secret.as_deref().unwrap_or_default();
    let only = |is_meant: &dyn Fn(&FoundCertificate) -> bool, none: String| {
        let meant = found.certificates.iter().filter(|f| is_meant(f));
        let certificates: Vec<_> = meant.cloned().collect();
        if certificates.is_empty() {
            return nothing(none);
        }
        Ok(Found {
            certificates,
            ..found.clone()
        })
    };
    if let Some(marks) = marks(object) {
        let is_meant = |f: &FoundCertificate| {
            let fingerprint = f.certificate.fingerprint();
            marks.iter().any(|mark| mark.certificate == fingerprint)
        };
        let none = format!(
            "Secret \"{secret}\" has another certificate than this object is about (annotation {}), so that nothing is \
             revoked; name the certificate itself in spec.certificate of another CertificateRevocation if it still has \
             to be",
            labels::REVOKES_ANNOTATION
        );
        return only(&is_meant, none);
    }
    if let Some(key) = compromised(object) {
        // A renewal may have come between.
        let is_meant = |f: &FoundCertificate| f.certificate.public_key_hash().starts_with(key);
        let none = format!(
            "Secret \"{secret}\" has no certificate any more of the key that is compromised ({key}), which is not used \
             again; name the certificate itself in spec.certificate of another CertificateRevocation if it still has \
             to be revoked"
        );
        return only(&is_meant, none);
    }
    let made = object.metadata.creation_timestamp.as_ref();
    let stored = found.stored.filter(|_| !is_standing(object));
    if let Some((stored, made)) = stored.zip(made)
        && stored > made.0
    {
        return nothing(format!(
            "Secret \"{secret}\" was made after this object, which can only be about what was there before: make another \
             CertificateRevocation if the certificate in it is to be revoked"
        ));
    }
    Ok(found.clone())
}
