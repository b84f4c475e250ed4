//! A revocation that waits for the deletion of its Certificate: an object of its own, so that it is there when the
//! Certificate is gone, whether or not this program ran then. No Certificate has a finalizer for it, and none waits.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::mark::marks;
use crate::api::meta::LocalObjectReference;
use crate::api::revocation::CERTIFICATE_DELETED;
use crate::api::{Certificate, CertificateRevocation, CertificateRevocationSpec, labels};
use crate::pki::{RevocationReason, sha256_hex};

/// The longest front of a name beside what follows it.
const FRONT: usize = 200;

/// The name of the revocation that waits for the deletion of this very Certificate.
pub fn standing_name(certificate: &Certificate) -> String {
    name_of(certificate, "on-delete")
}

/// The name of a revocation of this very Certificate.
pub(super) fn name_of(certificate: &Certificate, what: &str) -> String {
    let meta = &certificate.metadata;
    let name = meta.name.as_deref().unwrap_or_default();
    // Names are ASCII; one that is cut still begins with its front.
    let front = name
        .get(..FRONT)
        .unwrap_or(name)
        .trim_end_matches(['-', '.']);
    let hash = sha256_hex(meta.uid.as_deref().unwrap_or_default().as_bytes());
    format!("{front}-{what}-{}", hash.get(..8).unwrap_or_default())
}

/// The revocation that the annotation of a Certificate asks for, if it does; an error says what is wrong with its value.
pub fn standing_order(certificate: &Certificate) -> Option<Result<CertificateRevocation, String>> {
    let meta = &certificate.metadata;
    let annotations = meta.annotations.as_ref()?;
    let value = annotations.get(labels::REVOKE_ON_DELETE_ANNOTATION)?;
    let reason = match value.as_str() {
        labels::TRUE => Some(RevocationReason::CessationOfOperation),
        word => RevocationReason::from_word(word),
    };
    let Some(reason) = reason else {
        return Some(Err(format!(
            "annotation {}: \"{value}\" is no reason: use true, for cessationOfOperation, or one of {}",
            labels::REVOKE_ON_DELETE_ANNOTATION,
            RevocationReason::WORDS.join(", ")
        )));
    };
    let mut order = order_for(certificate, standing_name(certificate), reason);
    order.spec.when = Some(CERTIFICATE_DELETED.to_owned());
    Some(Ok(order))
}

/// A revocation of a Certificate that one of its annotations asks for.
pub(super) fn order_for(
    certificate: &Certificate,
    name: String,
    reason: RevocationReason,
) -> CertificateRevocation {
    let meta = &certificate.metadata;
    let managed = (
        labels::MANAGED_BY_LABEL.to_owned(),
        labels::MANAGED_BY_EVERLEAF.to_owned(),
    );
    CertificateRevocation {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: meta.namespace.clone(),
            labels: Some(BTreeMap::from([managed])),
            ..ObjectMeta::default()
        },
        spec: CertificateRevocationSpec {
            certificate_ref: Some(LocalObjectReference {
                name: meta.name.clone().unwrap_or_default(),
            }),
            reason: Some(reason.word().to_owned()),
            ..CertificateRevocationSpec::default()
        },
        status: None,
    }
}

/// Whether it waits for the deletion of a Certificate.
pub(super) fn is_standing(object: &CertificateRevocation) -> bool {
    object.spec.when.as_deref() == Some(CERTIFICATE_DELETED)
}

/// Whether it waits for the deletion of this Certificate, which is not deleted yet. One that has waited to its end waits for no
/// other.
pub(super) fn stands_by(object: &CertificateRevocation, certificate: &Certificate) -> bool {
    let meta = &certificate.metadata;
    let uid = object
        .status
        .as_ref()
        .and_then(|s| s.certificate_uid.as_ref());
    is_standing(object)
        && marks(object).is_none()
        && meta.deletion_timestamp.is_none()
        && uid.is_none_or(|uid| meta.uid.as_ref() == Some(uid))
}

/// Whether the annotation that asked for it is gone from its Certificate.
pub(super) fn is_cancelled(object: &CertificateRevocation, certificate: &Certificate) -> bool {
    let labels = object.metadata.labels.as_ref();
    let made = labels.and_then(|l| l.get(labels::MANAGED_BY_LABEL));
    let asked = certificate.metadata.annotations.as_ref();
    made.is_some_and(|by| by == labels::MANAGED_BY_EVERLEAF)
        && asked.is_none_or(|a| !a.contains_key(labels::REVOKE_ON_DELETE_ANNOTATION))
}
