//! The Ingress shim: one Certificate for each TLS block of an annotated Ingress (contract §3.1).

mod annotations;
mod certificate;
mod fields;
mod plan;
#[cfg(test)]
mod tests;
mod values;

use std::sync::Arc;

pub use plan::plan;

use super::facts::IngressFact;
use super::key::Key;
use super::reads::Reader;
use crate::api::Certificate;

/// What the flags say about the shim (contract §7.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Issuer of an Ingress that names none; empty when there is no such default.
    pub default_issuer_name: String,
    /// Its kind.
    pub default_issuer_kind: String,
    /// Its group.
    pub default_issuer_group: String,
    /// Annotations that ask for the default issuer's certificate when they are true.
    pub auto_annotations: Vec<String>,
    /// Annotations that are copied to the Certificate as they are.
    pub extra_annotations: Vec<String>,
}

/// An Ingress and everything that its plan depends on.
#[derive(Debug, Clone)]
pub struct Observation {
    /// The Ingress.
    pub ingress: Arc<IngressFact>,
    /// The Certificates that it controls.
    pub certificates: Vec<Arc<Certificate>>,
    /// Certificates that it does not control and that have the name of one of its Secrets.
    pub others: Vec<Arc<Certificate>>,
}

/// Everything that the plan of this Ingress depends on; `None` when it is gone or asks for nothing.
pub fn observe(reader: &Reader, key: &Key, settings: &Settings) -> Option<Observation> {
    let store = &reader.store;
    let ingress = store.ingress(&key.namespace, &key.name)?;
    if !annotations::asks(&ingress, settings) {
        return None;
    }
    let certificates = store.certificates_of(&key.namespace, &ingress.id.uid);
    let controlled = |name: &str| {
        certificates
            .iter()
            .any(|c| c.metadata.name.as_deref() == Some(name))
    };
    let secrets = ingress
        .tls
        .iter()
        .filter_map(|(_, secret)| secret.as_deref());
    let others = secrets.filter(|name| !controlled(name));
    let others = others
        .filter_map(|name| store.certificate(&key.namespace, name))
        .collect();
    Some(Observation {
        ingress,
        certificates,
        others,
    })
}
