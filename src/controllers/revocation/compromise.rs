//! A revocation that the annotation of a Certificate asks for, since its private key is compromised: an object of its own, which
//! stays when the Certificate goes, and keeps the key out of use.

use super::standing::{name_of, order_for};
use crate::api::{Certificate, CertificateRevocation, labels};
use crate::controllers::digest::DIGITS;
use crate::pki::RevocationReason;

/// The private key that is compromised, as the annotation of a Certificate says: the SHA-256 of its public key in lower case
/// hex, or the front of it; an error is a value that names no key.
///
/// A key and not a plain `true` or a revision, which would be about another key as soon as the Certificate has one, or is created
/// again: in a repository from which the cluster is made anew it would revoke what is good.
pub fn compromised_key(certificate: &Certificate) -> Option<Result<String, &str>> {
    let annotations = certificate.metadata.annotations.as_ref()?;
    let value = annotations.get(labels::KEY_COMPROMISED_ANNOTATION)?;
    let is_key =
        (DIGITS..=64).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_hexdigit());
    Some(if is_key {
        Ok(value.to_ascii_lowercase())
    } else {
        Err(value)
    })
}

/// The name of the revocation for this key of this very Certificate.
pub fn compromise_name(certificate: &Certificate, key: &str) -> String {
    let front = key.get(..8).unwrap_or(key);
    name_of(certificate, &format!("compromised-{front}"))
}

/// The revocation of all that there is of the Certificate, whose key this is.
pub fn compromise_order(certificate: &Certificate, key: &str) -> CertificateRevocation {
    let name = compromise_name(certificate, key);
    let mut order = order_for(certificate, name, RevocationReason::KeyCompromise);
    order.spec.older_revisions = Some(true);
    let about = (
        labels::KEY_COMPROMISED_ANNOTATION.to_owned(),
        key.to_owned(),
    );
    order.metadata.annotations = Some([about].into());
    order
}
