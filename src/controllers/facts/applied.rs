//! What this operator has written into the metadata of a target Secret, and what it would write.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::Value;

use super::details;
use crate::api::labels;
use crate::pki::parse_chain;

/// What the managed fields say that this operator applied to a Secret.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Applied {
    /// Labels (behind the word `label`) and annotations that come from a template.
    pub template: BTreeSet<String>,
    /// Owner references.
    pub owners: Box<[OwnerReference]>,
}

impl Applied {
    /// Read from the managed fields.
    pub(super) fn of(meta: &ObjectMeta) -> Self {
        let Some(fields) = ours(meta) else {
            return Self::default();
        };
        let keys = |field: &str| {
            let map = part(fields, field).and_then(Value::as_object);
            let map = map.into_iter().flatten();
            map.filter_map(|(key, _)| key.strip_prefix("f:").map(ToOwned::to_owned))
                .collect::<Vec<_>>()
        };
        let labels = keys("f:labels")
            .into_iter()
            .filter(|k| is_template_label(k))
            .map(|k| format!("label {k}"));
        let annotations = keys("f:annotations")
            .into_iter()
            .filter(|k| is_template_annotation(k));
        Self {
            template: labels.chain(annotations).collect(),
            owners: held(fields, meta),
        }
    }
}

/// The owner references that this operator holds. Each is one field, whose key is its uid.
fn held(fields: &Value, meta: &ObjectMeta) -> Box<[OwnerReference]> {
    let keys = part(fields, "f:ownerReferences").and_then(Value::as_object);
    let keys = keys.into_iter().flatten();
    let uids: Vec<Value> = keys
        .filter_map(|(key, _)| serde_json::from_str(key.strip_prefix("k:")?).ok())
        .collect();
    let owners = meta.owner_references.iter().flatten();
    let held = owners.filter(|owner| uids.iter().any(|key| key["uid"] == owner.uid.as_str()));
    held.cloned().collect()
}

fn part<'a>(fields: &'a Value, name: &str) -> Option<&'a Value> {
    fields.get("f:metadata").and_then(|meta| meta.get(name))
}

/// The fields that this operator has applied.
pub(super) fn ours(meta: &ObjectMeta) -> Option<&Value> {
    let ours = meta.managed_fields.iter().flatten().find(|f| {
        f.manager.as_deref() == Some(labels::MANAGER_CERTIFICATES_ISSUING)
            && f.operation.as_deref() == Some("Apply")
    });
    ours.and_then(|f| f.fields_v1.as_ref()).map(|f| &f.0)
}

/// The newest field manager, beside this operator, that holds the private key or the certificate.
pub(super) fn other_writer(meta: &ObjectMeta) -> Option<Box<str>> {
    let holds = |fields: &Value| {
        let data = fields.get("f:data");
        data.is_some_and(|d| d.get("f:tls.crt").is_some() || d.get("f:tls.key").is_some())
    };
    let others = meta.managed_fields.iter().flatten().filter(|f| {
        f.manager.as_deref() != Some(labels::MANAGER_CERTIFICATES_ISSUING)
            && f.fields_v1.as_ref().is_some_and(|fields| holds(&fields.0))
    });
    let newest = others.max_by_key(|f| f.time.as_ref().map(|t| t.0))?;
    newest.manager.as_deref().map(Into::into)
}

/// Whether a label of the target Secret can come from a template.
pub fn is_template_label(key: &str) -> bool {
    key != labels::FAO_LABEL
}

/// Whether an annotation of the target Secret can come from a template (contract §1.3).
pub fn is_template_annotation(key: &str) -> bool {
    !key.starts_with("cert-manager.io/") || key == labels::ALLOW_DIRECT_INJECTION_ANNOTATION
}

/// Whether the annotations describe the first certificate of a PEM chain, and are this operator's, as the label is
/// that marks the Secret (contract §4.5). One that cannot be read cannot be described.
pub(super) fn is_described(pem: &[u8], meta: &ObjectMeta) -> bool {
    let chain = parse_chain(pem).unwrap_or_default();
    let Some(leaf) = chain.first() else {
        return true;
    };
    let is_ours = |field: &str, key: &str| {
        let keys = ours(meta).and_then(|fields| part(fields, field));
        keys.is_some_and(|keys| keys.get(format!("f:{key}")).is_some())
    };
    let annotations = meta.annotations.as_ref();
    let is_said = |(key, value): (&String, &String)| {
        annotations.and_then(|a| a.get(key)) == Some(value) && is_ours("f:annotations", key)
    };
    is_ours("f:labels", labels::FAO_LABEL) && details(leaf).iter().all(is_said)
}
