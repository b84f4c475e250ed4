//! A revocation that the annotation of a Certificate asks for, since its private key is compromised: an object of its own, which
//! stays when the Certificate goes, and keeps the key out of use.

use super::standing::{name_of, order_for};
use crate::api::{Certificate, CertificateRevocation, labels};
use crate::pki::RevocationReason;

/// The revision whose private key is compromised, as the annotation of a Certificate says; an error says what is wrong with its
/// value.
///
/// A revision and not a plain `true`, which would be about each key that comes after, too, as soon as nobody remembers that it was
/// done: in a repository from which the cluster is made anew it would revoke what is good.
pub fn compromised_revision(certificate: &Certificate) -> Option<Result<i64, String>> {
    let annotation = labels::KEY_COMPROMISED_ANNOTATION;
    let value = certificate.metadata.annotations.as_ref()?.get(annotation)?;
    let status = certificate.status.as_ref();
    let newest = status.and_then(|s| s.revision).unwrap_or_default();
    let revision = value.parse().ok().filter(|revision| *revision >= 1);
    Some(match revision {
        Some(revision) if revision <= newest => Ok(revision),
        Some(_) => Err(format!(
            "annotation {annotation}: there is no revision {value} yet, status.revision is {newest}"
        )),
        None => Err(format!(
            "annotation {annotation}: \"{value}\" is no revision: say which one's key is compromised; that of now is {newest}"
        )),
    })
}

/// The name of the revocation for the key of this revision of this very Certificate.
pub fn compromise_name(certificate: &Certificate, revision: i64) -> String {
    name_of(certificate, &format!("compromised-{revision}"))
}

/// The revocation of all that there is of the Certificate up to this revision.
pub fn compromise_order(certificate: &Certificate, revision: i64) -> CertificateRevocation {
    let name = compromise_name(certificate, revision);
    let mut order = order_for(certificate, name, RevocationReason::KeyCompromise);
    order.spec.older_revisions = Some(true);
    order
}
