//! Which fields of a Certificate the shim has set, by its managed fields: that is how a removed
//! annotation is told from an edit by hand.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};
use serde_json::{Map, Value};

use crate::api::{Certificate, labels};

/// Fields of the spec that are removed only when the shim has set them.
const SPEC: [&str; 5] = [
    "ipAddresses",
    "emailAddresses",
    "subject",
    "renewBeforePercentage",
    "secretTemplate",
];

/// What of an object's managed fields the shim's plan needs; nothing for most Certificates.
pub fn kept(entries: &[ManagedFieldsEntry]) -> Option<Vec<ManagedFieldsEntry>> {
    let ours = entries
        .iter()
        .filter(|e| e.manager.as_deref() == Some(labels::MANAGER_INGRESS_SHIM));
    let slim = ours.filter_map(|entry| Some(FieldsV1(slim(&entry.fields_v1.as_ref()?.0)?)));
    let slim: Vec<_> = slim
        .map(|fields| ManagedFieldsEntry {
            manager: Some(labels::MANAGER_INGRESS_SHIM.into()),
            fields_v1: Some(fields),
            ..ManagedFieldsEntry::default()
        })
        .collect();
    (!slim.is_empty()).then_some(slim)
}

fn slim(fields: &Value) -> Option<Value> {
    let mut kept = Map::new();
    let annotations = fields
        .pointer("/f:metadata/f:annotations")
        .and_then(Value::as_object);
    let names = annotations
        .into_iter()
        .flat_map(Map::keys)
        .filter(|key| *key != ".");
    let names: Map<String, Value> = names.map(|key| (key.clone(), Value::Null)).collect();
    if !names.is_empty() {
        let names = Map::from_iter([("f:annotations".to_owned(), Value::Object(names))]);
        kept.insert("f:metadata".into(), Value::Object(names));
    }
    let spec = fields.get("f:spec").and_then(Value::as_object);
    let spec = spec
        .into_iter()
        .flat_map(Map::keys)
        .filter(|key| SPEC.iter().any(|f| key.strip_prefix("f:") == Some(f)));
    let spec: Map<String, Value> = spec.map(|key| (key.clone(), Value::Null)).collect();
    if !spec.is_empty() {
        kept.insert("f:spec".into(), Value::Object(spec));
    }
    (!kept.is_empty()).then_some(Value::Object(kept))
}

/// Whether the shim has set the field at this path.
pub fn is_ours(certificate: &Certificate, path: &[&str]) -> bool {
    certificate
        .metadata
        .managed_fields
        .iter()
        .flatten()
        .any(|entry| {
            let fields = entry.fields_v1.as_ref().map(|f| &f.0);
            let found = path
                .iter()
                .fold(fields, |value, step| value?.get(format!("f:{step}")));
            entry.manager.as_deref() == Some(labels::MANAGER_INGRESS_SHIM) && found.is_some()
        })
}
