//! What in an existing Certificate is not as the Ingress asks for, as a merge patch (RFC 7386).

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde_json::{Map, Value, json};

use super::Settings;
use crate::api::duration::parse_go_duration;
use crate::api::{Certificate, CertificateSpec, labels};
use crate::controllers::facts::ownership::is_ours;
use crate::pki::KeyUsages;

/// A field of the spec that annotations or TLS blocks set.
struct Field {
    name: &'static str,
    /// Whether two specs mean the same by it.
    same: fn(&CertificateSpec, &CertificateSpec) -> bool,
    /// Whether it is removed when the Ingress does not ask for it: always, or only when the shim has
    /// set it. cert-manager never looks at fields of the second sort, so people edit them by hand.
    always: bool,
}

const FIELDS: [Field; 13] = [
    Field {
        name: "commonName",
        same: |a, b| text(a.common_name.as_ref()) == text(b.common_name.as_ref()),
        always: true,
    },
    Field {
        name: "dnsNames",
        same: |a, b| list(a.dns_names.as_ref()) == list(b.dns_names.as_ref()),
        always: true,
    },
    Field {
        name: "ipAddresses",
        same: |a, b| list(a.ip_addresses.as_ref()) == list(b.ip_addresses.as_ref()),
        always: false,
    },
    Field {
        name: "emailAddresses",
        same: |a, b| list(a.email_addresses.as_ref()) == list(b.email_addresses.as_ref()),
        always: false,
    },
    Field {
        name: "subject",
        same: |a, b| pruned(&json!(a.subject)) == pruned(&json!(b.subject)),
        always: false,
    },
    Field {
        name: "secretName",
        same: |a, b| a.secret_name == b.secret_name,
        always: true,
    },
    Field {
        name: "issuerRef",
        same: |a, b| a.issuer_ref.is_same(&b.issuer_ref),
        always: true,
    },
    Field {
        name: "usages",
        same: same_usages,
        always: true,
    },
    Field {
        name: "duration",
        same: |a, b| time(a.duration.as_ref()) == time(b.duration.as_ref()),
        always: true,
    },
    Field {
        name: "renewBefore",
        same: |a, b| time(a.renew_before.as_ref()) == time(b.renew_before.as_ref()),
        always: true,
    },
    Field {
        name: "renewBeforePercentage",
        same: |a, b| a.renew_before_percentage == b.renew_before_percentage,
        always: false,
    },
    Field {
        name: "revisionHistoryLimit",
        same: |a, b| a.revision_history_limit == b.revision_history_limit,
        always: true,
    },
    Field {
        name: "secretTemplate",
        same: |a, b| pruned(&json!(a.secret_template)) == pruned(&json!(b.secret_template)),
        always: false,
    },
];

fn text(field: Option<&String>) -> &str {
    field.map(String::as_str).unwrap_or_default()
}

fn list(field: Option<&Vec<String>>) -> &[String] {
    field.map(Vec::as_slice).unwrap_or_default()
}

/// A duration; one that cannot be read equals only itself.
fn time(field: Option<&String>) -> Option<Result<SignedDuration, &str>> {
    field.map(|text| parse_go_duration(text).map_err(|_| text.as_str()))
}

fn same_usages(a: &CertificateSpec, b: &CertificateSpec) -> bool {
    let read =
        |spec: &CertificateSpec| KeyUsages::from_names(list(spec.usages.as_ref()), false).ok();
    list(a.usages.as_ref()) == list(b.usages.as_ref())
        || read(a).is_some_and(|a| Some(a) == read(b))
}

/// Without what is empty: absent and empty mean the same.
fn pruned(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map
                .iter()
                .map(|(k, v)| (k.clone(), pruned(v)))
                .filter(|(_, v)| !v.is_null());
            let kept: Map<String, Value> = kept.collect();
            if kept.is_empty() {
                Value::Null
            } else {
                Value::Object(kept)
            }
        }
        Value::Array(items) if items.is_empty() => Value::Null,
        Value::String(text) if text.is_empty() => Value::Null,
        other => other.clone(),
    }
}

/// The merge patch that turns `old` into `new`.
fn merge_patch(old: &Value, new: &Value) -> Value {
    let (Value::Object(old), Value::Object(new)) = (old, new) else {
        return new.clone();
    };
    let removed = old
        .keys()
        .filter(|k| !new.contains_key(*k))
        .map(|k| (k.clone(), Value::Null));
    let changed = new.iter().filter(|(k, v)| old.get(*k) != Some(v));
    let changed = changed.map(|(k, v)| {
        (
            k.clone(),
            merge_patch(old.get(k).unwrap_or(&Value::Null), v),
        )
    });
    Value::Object(removed.chain(changed).collect())
}

/// The patch that makes `old` what the Ingress asks for; `None` when it is already. Fields that no
/// annotation and no TLS block sets are left alone.
pub(super) fn patch(old: &Certificate, new: &Certificate, settings: &Settings) -> Option<Value> {
    let mut meta = Map::new();
    let labels = |c: &Certificate| json!(c.metadata.labels.clone().unwrap_or_default());
    let changed = merge_patch(&labels(old), &labels(new));
    meta.extend(filled("labels", changed));
    meta.extend(filled("annotations", annotations(old, new, settings)));
    let mut patch = Map::new();
    patch.extend(filled("metadata", Value::Object(meta)));
    patch.extend(filled("spec", Value::Object(spec(old, new))));
    (!patch.is_empty()).then_some(Value::Object(patch))
}

fn filled(key: &str, value: Value) -> Option<(String, Value)> {
    value
        .as_object()
        .is_some_and(|map| !map.is_empty())
        .then(|| (key.to_owned(), value))
}

fn spec(old: &Certificate, new: &Certificate) -> Map<String, Value> {
    let (before, after) = (json!(old.spec), json!(new.spec));
    let mut patch = Map::new();
    for field in FIELDS.iter().filter(|f| !(f.same)(&old.spec, &new.spec)) {
        let wanted = after.get(field.name).unwrap_or(&Value::Null);
        if wanted.is_null() && !field.always && !is_ours(old, &["spec", field.name]) {
            continue;
        }
        let found = before.get(field.name).unwrap_or(&Value::Null);
        patch.insert(field.name.to_owned(), merge_patch(found, wanted));
    }
    let key = private_key(&old.spec, &new.spec);
    patch.extend(filled("privateKey", Value::Object(key)));
    patch
}

/// The parts of the private key one by one: another tool may have set a part that is not the shim's.
fn private_key(old: &CertificateSpec, new: &CertificateSpec) -> Map<String, Value> {
    let (old, new) = (
        old.private_key.clone().unwrap_or_default(),
        new.private_key.clone().unwrap_or_default(),
    );
    let ignores_size = new.algorithm.as_deref() == Some("Ed25519");
    let words = [
        ("algorithm", old.algorithm, new.algorithm),
        ("encoding", old.encoding, new.encoding),
        ("rotationPolicy", old.rotation_policy, new.rotation_policy),
    ];
    let words = words
        .into_iter()
        .filter(|(_, old, new)| text(old.as_ref()) != text(new.as_ref()));
    let mut patch: Map<String, Value> = words
        .map(|(name, _, new)| (name.to_owned(), json!(new)))
        .collect();
    if !ignores_size && old.size.unwrap_or_default() != new.size.unwrap_or_default() {
        patch.insert("size".into(), json!(new.size));
    }
    patch
}

/// Annotations that the shim sets, or has set and does not want any more.
fn annotations(old: &Certificate, new: &Certificate, settings: &Settings) -> Value {
    let empty = BTreeMap::new();
    let found = old.metadata.annotations.as_ref().unwrap_or(&empty);
    let wanted = new.metadata.annotations.as_ref().unwrap_or(&empty);
    let set = wanted
        .iter()
        .filter(|(k, v)| found.get(*k) != Some(v))
        .map(|(k, v)| (k.clone(), json!(v)));
    let generated = [
        labels::HTTP01_OVERRIDE_INGRESS_NAME_ANNOTATION,
        labels::HTTP01_OVERRIDE_INGRESS_CLASS_ANNOTATION,
        labels::HTTP01_OVERRIDE_INGRESS_INGRESSCLASSNAME_ANNOTATION,
        labels::ISSUE_TEMPORARY_CERTIFICATE_ANNOTATION,
    ];
    let ours = generated
        .into_iter()
        .chain(settings.extra_annotations.iter().map(String::as_str));
    let stale = ours.filter(|key| found.contains_key(*key) && !wanted.contains_key(*key));
    let stale = stale.filter(|key| is_ours(old, &["metadata", "annotations", key]));
    Value::Object(
        set.chain(stale.map(|key| (key.to_owned(), Value::Null)))
            .collect(),
    )
}
