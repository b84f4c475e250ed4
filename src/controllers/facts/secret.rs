//! What is kept of a Secret of certificates: digests, and never a private key.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;

use super::{Applied, Identity, OutputsFact, Owner, applied, owner_of};
use crate::acme::{certificate_id, web_link};
use crate::api::labels;
use crate::api::meta::IssuerReference;
use crate::controllers::digest::{digest, public_digest, short};
use crate::controllers::matching::{NamesByField, leaf_names};
use crate::pki::{
    KeyAlgorithm, ParsedCertificate, PrivateKey, Purposes, TEMPORARY_ISSUER, parse_chain,
};

/// A Secret that carries the label `controller.cert-manager.io/fao`.
#[derive(Debug, Clone)]
pub struct SecretFact {
    /// Identity.
    pub id: Identity,
    /// `type`.
    pub kind: String,
    /// The uid of the Certificate whose next private key this is.
    pub next_key_of: Option<Arc<str>>,
    /// The controlling Certificate: uid and name.
    pub owner: Option<Owner>,
    /// The annotation `cert-manager.io/certificate-name`.
    pub certificate_name: Option<Box<str>>,
    /// The issuer annotations: name, kind, group.
    pub issuer: [Option<String>; 3],
    /// Whether there is any data.
    pub has_data: bool,
    /// The private key: algorithm and digest of its public half. `None` when absent or empty.
    pub key: Option<Result<KeyFact, String>>,
    /// The certificate. `None` when absent or empty.
    pub certificate: Option<Result<LeafFact, String>>,
    /// A CA of temporary certificates has signed it.
    signed_as_temporary: bool,
    /// Digests of its labels and annotations, in order; see [`Self::has_label`].
    metadata: Box<[u64]>,
    /// Whether the annotations that describe the certificate do so, and are this operator's.
    pub described: bool,
    /// What this operator wrote beside the contract's own labels and annotations: labels and
    /// annotations of a template, and perhaps owners.
    pub applied: Applied,
    /// The entries that repeat key and certificate in other forms.
    pub outputs: OutputsFact,
    /// The field manager that writes the key or the certificate beside this operator.
    pub other_writer: Option<Box<str>>,
}

/// What is known of a private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyFact {
    /// Algorithm and size.
    pub algorithm: KeyAlgorithm,
    /// Digest of the public key; see [`public_digest`].
    pub public: u64,
}

impl KeyFact {
    /// Read from a PEM block.
    pub fn of(key: &PrivateKey) -> Self {
        Self {
            algorithm: key.algorithm(),
            public: public_digest(key.public_key_der()),
        }
    }
}

/// What is known of a leaf certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafFact {
    /// Start of validity.
    pub not_before: Timestamp,
    /// End of validity.
    pub not_after: Timestamp,
    /// Digest of its public key.
    pub public: u64,
    /// Of its SHA-256; see [`short`].
    pub fingerprint: u64,
    /// Union of common name and DNS names, addresses, URIs and e-mail addresses: what is compared when
    /// no request is left (contract §4.2, fuzzy).
    pub names: u64,
    /// Which of them, field by field.
    pub by_field: NamesByField,
    /// What identifies it towards its CA (RFC 9773 §4.1).
    pub id: Option<Box<str>>,
    /// Where it says that the revocation list of its CA is.
    pub list: Option<Arc<str>>,
    /// Its extended usages.
    pub purposes: Purposes,
}

impl LeafFact {
    /// Read the first certificate of a PEM chain; and whether a CA of temporary certificates has signed it.
    fn of(pem: &[u8]) -> Result<(Self, bool), String> {
        let chain = parse_chain(pem).map_err(|e| e.to_string())?;
        let leaf = chain.first().ok_or("no certificate found")?;
        let temporary = leaf.issuer().common_name().as_deref() == Some(TEMPORARY_ISSUER);
        Ok((Self::from(leaf), temporary))
    }
}

impl From<&ParsedCertificate> for LeafFact {
    fn from(leaf: &ParsedCertificate) -> Self {
        Self {
            not_before: leaf.not_before(),
            not_after: leaf.not_after(),
            public: public_digest(leaf.public_key_der()),
            fingerprint: short(&leaf.fingerprint()),
            names: leaf_names(leaf),
            by_field: NamesByField::of(leaf),
            id: certificate_id(leaf).map(Into::into),
            // Not by LDAP.
            list: leaf
                .list_uris()
                .iter()
                .find_map(|uri| web_link(uri))
                .map(Into::into),
            purposes: leaf.purposes(),
        }
    }
}

impl SecretFact {
    /// Whether it holds a place only, until the real certificate comes.
    pub fn is_temporary(&self) -> bool {
        self.signed_as_temporary && self.issuer.iter().all(Option::is_none)
    }

    /// The issuer that its certificate came from, as its annotations say.
    pub fn issued_by(&self) -> Option<IssuerReference> {
        let [name, kind, group] = self.issuer.clone();
        let name = name.filter(|name| !name.is_empty())?;
        Some(IssuerReference { group, kind, name })
    }

    /// Whether its certificate came from the issuer that a reference names, as its annotations say.
    pub fn is_from(&self, reference: &IssuerReference) -> bool {
        self.issued_by()
            .is_some_and(|found| found.is_same(reference))
    }

    /// Whether it has this label with this value.
    pub fn has_label(&self, key: &str, value: &str) -> bool {
        self.metadata.binary_search(&pair(true, key, value)).is_ok()
    }

    /// Whether it has this annotation with this value.
    pub fn has_annotation(&self, key: &str, value: &str) -> bool {
        let pair = pair(false, key, value);
        self.metadata.binary_search(&pair).is_ok()
    }

    /// Reduce an object; its data is dropped.
    pub fn of(object: &Secret) -> Self {
        let meta = &object.metadata;
        let annotation = |key: &str| meta.annotations.as_ref().and_then(|a| a.get(key)).cloned();
        let data = |key: &str| {
            let bytes = &object.data.as_ref()?.get(key)?.0;
            (!bytes.is_empty()).then_some(bytes.as_slice())
        };
        let owner = owner_of(meta);
        let is_next_key = meta.labels.as_ref().is_some_and(|l| {
            l.get(labels::NEXT_PRIVATE_KEY_LABEL)
                .is_some_and(|v| v == "true")
        });
        let tags = meta.labels.iter().flatten().map(|(k, v)| pair(true, k, v));
        let notes = meta.annotations.iter().flatten();
        let mut metadata: Box<[u64]> = tags.chain(notes.map(|(k, v)| pair(false, k, v))).collect();
        metadata.sort_unstable();
        let leaf = data("tls.crt").map(LeafFact::of);
        Self {
            id: Identity::of(meta),
            kind: object.type_.clone().unwrap_or_default(),
            next_key_of: owner.clone().filter(|_| is_next_key).map(|(uid, _)| uid),
            owner,
            certificate_name: annotation(labels::CERTIFICATE_NAME_ANNOTATION).map(Into::into),
            issuer: [
                annotation(labels::ISSUER_NAME_ANNOTATION),
                annotation(labels::ISSUER_KIND_ANNOTATION),
                annotation(labels::ISSUER_GROUP_ANNOTATION),
            ],
            has_data: object.data.as_ref().is_some_and(|d| !d.is_empty()),
            key: data("tls.key").map(|pem| {
                PrivateKey::from_pem(pem)
                    .map(|k| KeyFact::of(&k))
                    .map_err(|e| e.to_string())
            }),
            signed_as_temporary: matches!(leaf, Some(Ok((_, true)))),
            certificate: leaf.map(|leaf| leaf.map(|(fact, _)| fact)),
            metadata,
            described: data("tls.crt").is_none_or(|pem| applied::is_described(pem, meta)),
            applied: Applied::of(meta),
            outputs: OutputsFact::of(object),
            other_writer: applied::other_writer(meta),
        }
    }
}

/// Digest of a label or an annotation.
fn pair(label: bool, key: &str, value: &str) -> u64 {
    digest(&(label, key, value))
}
