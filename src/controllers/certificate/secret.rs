//! The Secrets of a Certificate: the target (contract §3.2, §4.6) and the next private key (§4.3).

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::Outcome;
use super::outputs::{Entries, Recipe};
use super::request::owner;
use crate::api::meta::IssuerReference;
use crate::api::{Certificate, labels};
use crate::controllers::facts::{
    Output, SecretFact, details, is_template_annotation, is_template_label, stores_digest,
};
use crate::controllers::rotation::merged;
use crate::pki::{self, ParsedCertificate};

/// What goes into the target Secret.
#[derive(Clone, PartialEq)]
pub struct SecretData {
    /// `tls.key`.
    pub key: Vec<u8>,
    /// `tls.crt`.
    pub certificate: Vec<u8>,
    /// `ca.crt`.
    pub ca: Option<Vec<u8>>,
    /// What is made of the others.
    pub outputs: Entries,
}

impl SecretData {
    /// With what is made of key, certificate and CA. Of the entries that were `found` what fits stays.
    pub fn with_outputs(
        mut self,
        recipe: &Recipe,
        found: &Entries,
        now: Timestamp,
    ) -> Result<Self, pki::Error> {
        self.outputs = recipe.make(&self, found, now)?;
        Ok(self)
    }

    /// The digest that [`stores_digest`] gives for the written Secret.
    pub fn stores_digest(&self) -> u64 {
        stores_digest(&self.clone().entries())
    }

    fn entries(self) -> Entries {
        let mut entries = self.outputs;
        entries.insert("tls.key".to_owned(), ByteString(self.key));
        entries.insert("tls.crt".to_owned(), ByteString(self.certificate));
        entries.extend(self.ca.map(|ca| ("ca.crt".to_owned(), ByteString(ca))));
        entries
    }
}

/// What becomes of `ca.crt`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Roots {
    /// Nothing.
    Kept,
    /// These too, in PEM.
    With(String),
    /// These and no others, in PEM.
    Only(String),
}

impl Roots {
    /// Change what was found in a Secret; whether that is a change. Keystores hold the CA too, and are made
    /// again.
    pub fn change(&self, found: &mut Entries) -> bool {
        let old = found.get("ca.crt").map(|b| b.0.clone()).unwrap_or_default();
        let new = match self {
            Self::Kept => return false,
            Self::With(roots) => merged(roots, &old),
            Self::Only(roots) => roots.clone(),
        };
        if new.as_bytes() == old {
            return false;
        }
        found.insert("ca.crt".to_owned(), ByteString(new.into_bytes()));
        for store in Output::ALL.into_iter().filter(|output| output.is_store()) {
            found.remove(store.entry());
        }
        true
    }
}

/// What is to be applied, given the data that was found in the Secret.
pub fn repaired(recipe: &Recipe, found: &Entries, needed: bool, now: Timestamp) -> Outcome {
    if !needed && recipe.fits(found) {
        return Outcome::Sound;
    }
    let entry = |name: &str| found.get(name).map(|b| b.0.clone());
    let data = SecretData {
        key: entry("tls.key").unwrap_or_default(),
        certificate: entry("tls.crt").unwrap_or_default(),
        ca: entry("ca.crt"),
        outputs: Entries::new(),
    };
    if data.key.is_empty() {
        // It vanished since: a Secret without its key is a matter of the trigger chain.
        return Outcome::Sound;
    }
    match data.with_outputs(recipe, found, now) {
        Ok(data) => Outcome::Repaired(data),
        Err(problem) => Outcome::Unmakable(problem.to_string()),
    }
}

/// The target Secret as it is applied, over the one that was `found`.
pub fn target(
    certificate: &Certificate,
    issuer: Option<&IssuerReference>,
    leaf: &ParsedCertificate,
    data: SecretData,
    found: Option<&SecretFact>,
    owned: bool,
) -> Secret {
    let template = certificate.spec.secret_template.clone().unwrap_or_default();
    let mut annotations = template.annotations.unwrap_or_default();
    annotations.extend(details(leaf));
    let name = certificate.metadata.name.clone().unwrap_or_default();
    annotations.insert(labels::CERTIFICATE_NAME_ANNOTATION.into(), name);
    annotations.extend(issuer.into_iter().flat_map(issuer_annotations));
    let mut all = template.labels.unwrap_or_default();
    all.insert(labels::FAO_LABEL.into(), "true".into());
    let owners = owners(certificate, found, owned);
    // It cannot be changed.
    let kind = found.map_or("kubernetes.io/tls", |found| &found.kind);
    Secret {
        metadata: ObjectMeta {
            name: Some(certificate.spec.secret_name.clone()),
            namespace: certificate.metadata.namespace.clone(),
            labels: Some(all),
            annotations: Some(annotations),
            owner_references: (!owners.is_empty()).then_some(owners),
            ..ObjectMeta::default()
        },
        type_: Some(kind.to_owned()),
        data: Some(data.entries()),
        ..Secret::default()
    }
}

/// The Certificate, if it is to be an owner, and whoever else was applied as one with the name of this operator: what is
/// not applied again goes. There is room for one controller.
fn owners(
    certificate: &Certificate,
    found: Option<&SecretFact>,
    owned: bool,
) -> Vec<OwnerReference> {
    let own = owner(certificate);
    let held = found.into_iter().flat_map(|found| &found.applied.owners);
    let others = held.filter(|o| o.uid != own.uid && !(owned && o.controller == Some(true)));
    let others: Vec<_> = others.cloned().collect();
    owned.then_some(own).into_iter().chain(others).collect()
}

fn issuer_annotations(issuer: &IssuerReference) -> [(String, String); 3] {
    [
        (labels::ISSUER_NAME_ANNOTATION, Some(&issuer.name)),
        (labels::ISSUER_KIND_ANNOTATION, issuer.kind.as_ref()),
        (labels::ISSUER_GROUP_ANNOTATION, issuer.group.as_ref()),
    ]
    .map(|(key, value)| (key.to_owned(), value.cloned().unwrap_or_default()))
}

/// A next private key, PKCS#8.
pub fn next_key(certificate: &Certificate, name: &str, pem: &[u8]) -> Secret {
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: certificate.metadata.namespace.clone(),
            labels: Some(BTreeMap::from([
                (labels::NEXT_PRIVATE_KEY_LABEL.to_owned(), "true".to_owned()),
                (labels::FAO_LABEL.to_owned(), "true".to_owned()),
            ])),
            owner_references: Some(vec![owner(certificate)]),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".into()),
        data: Some(BTreeMap::from([(
            "tls.key".to_owned(),
            ByteString(pem.to_vec()),
        )])),
        ..Secret::default()
    }
}

/// Whether the labels, annotations and owner that the Certificate asks for are on its Secret, applied by this operator,
/// and none that it does not ask for any more (contract §4.5). What others put there beside them is theirs.
pub fn metadata_is_intact(certificate: &Certificate, secret: &SecretFact, owned: bool) -> bool {
    let template = certificate.spec.secret_template.as_ref();
    let annotations = template.and_then(|t| t.annotations.as_ref());
    let annotations = annotations.into_iter().flatten();
    let annotations = annotations.filter(|(k, _)| is_template_annotation(k));
    let tags = template.and_then(|t| t.labels.as_ref());
    let tags = tags.into_iter().flatten();
    let tags = tags.filter(|(k, _)| is_template_label(k));
    let wanted = |applied: &String| match applied.strip_prefix("label ") {
        Some(label) => tags.clone().any(|(k, _)| k == label),
        None => annotations.clone().any(|(k, _)| k == applied),
    };
    let applied = &secret.applied.template;
    let own = owner(certificate);
    let held = secret.applied.owners.iter().find(|o| o.uid == own.uid);
    let is_owned_as_asked = if owned {
        held == Some(&own)
    } else {
        held.is_none()
    };
    secret.has_label(labels::FAO_LABEL, "true")
        && secret.described
        && secret.certificate_name.is_some()
        && annotations
            .clone()
            .all(|(k, v)| secret.has_annotation(k, v) && applied.contains(k))
        && tags
            .clone()
            .all(|(k, v)| secret.has_label(k, v) && applied.contains(&format!("label {k}")))
        && applied.iter().all(wanted)
        && is_owned_as_asked
}
