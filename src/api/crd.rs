//! The custom resource definitions, made from the types.
//!
//! The derive gives names, fields and their schema; this module adds what it cannot say, so that
//! the result is the contract's §1: columns, what is required at the top, list and map types.
//! `everleaf crds` prints them, and `crds/` holds them for charts and reviewers.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinition, JSON, JSONSchemaProps,
    JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

use super::{
    Certificate, CertificateRequest, CertificateRevocation, Challenge, ClusterIssuer,
    ClusterOrderedIssuer, Issuer, Order, OrderedIssuer,
};

/// Why a definition could not be written as YAML.
#[derive(Debug, thiserror::Error)]
#[error("cannot write a CustomResourceDefinition as YAML: {0}")]
pub enum Error {
    /// Not even as JSON.
    Json(#[from] serde_json::Error),
    /// As JSON, but not as YAML.
    Yaml(#[from] serde_saphyr::ser::Error),
}

/// A printer column: name, JSON path, type, and whether only `-o wide` shows it.
type Column = (&'static str, &'static str, &'static str, bool);

const READY: Column = (
    "Ready",
    r#".status.conditions[?(@.type == "Ready")].status"#,
    "string",
    false,
);
const STATUS: Column = (
    "Status",
    r#".status.conditions[?(@.type == "Ready")].message"#,
    "string",
    true,
);
const AGE: Column = ("Age", ".metadata.creationTimestamp", "date", false);
const STATE: Column = ("State", ".status.state", "string", false);
const REASON: Column = ("Reason", ".status.reason", "string", true);
const ISSUER_PATH: &str = ".spec.issuerRef.name";

const CERTIFICATE_COLUMNS: &[Column] = &[
    READY,
    ("Secret", ".spec.secretName", "string", false),
    ("Issuer", ISSUER_PATH, "string", true),
    STATUS,
    ("Expiration", ".status.notAfter", "string", true),
    AGE,
];
const CERTIFICATE_REQUEST_COLUMNS: &[Column] = &[
    (
        "Approved",
        r#".status.conditions[?(@.type == "Approved")].status"#,
        "string",
        false,
    ),
    (
        "Denied",
        r#".status.conditions[?(@.type == "Denied")].status"#,
        "string",
        false,
    ),
    READY,
    ("Issuer", ISSUER_PATH, "string", false),
    ("Requester", ".spec.username", "string", false),
    STATUS,
    AGE,
];
const ISSUER_COLUMNS: &[Column] = &[READY, STATUS, AGE];
const ORDER_COLUMNS: &[Column] = &[STATE, ("Issuer", ISSUER_PATH, "string", true), REASON, AGE];
const CHALLENGE_COLUMNS: &[Column] = &[
    STATE,
    ("Domain", ".spec.dnsName", "string", false),
    REASON,
    AGE,
];

const REVOCATION_COLUMNS: &[Column] = &[
    READY,
    ("Reason", ".spec.reason", "string", false),
    ("Serial", ".status.certificates[0].serial", "string", true),
    STATUS,
    AGE,
];

/// All definitions, by name.
pub fn crds() -> Vec<CustomResourceDefinition> {
    // Contract §1.1: what is required at the top differs by kind.
    let mut crds = vec![
        finish(Certificate::crd(), CERTIFICATE_COLUMNS, &[]),
        finish(CertificateRequest::crd(), CERTIFICATE_REQUEST_COLUMNS, &[]),
        finish(Issuer::crd(), ISSUER_COLUMNS, &["spec"]),
        finish(ClusterIssuer::crd(), ISSUER_COLUMNS, &["spec"]),
        finish(Order::crd(), ORDER_COLUMNS, &["metadata", "spec"]),
        finish(Challenge::crd(), CHALLENGE_COLUMNS, &["metadata", "spec"]),
        finish(CertificateRevocation::crd(), REVOCATION_COLUMNS, &["spec"]),
        finish(OrderedIssuer::crd(), ISSUER_COLUMNS, &["spec"]),
        finish(ClusterOrderedIssuer::crd(), ISSUER_COLUMNS, &["spec"]),
    ];
    crds.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    crds
}

/// The definitions as YAML, by name. A file of `crds/` holds one each.
///
/// # Errors
///
/// When a definition cannot be written, which none of them causes.
pub fn crds_yaml() -> Result<BTreeMap<String, String>, Error> {
    crds()
        .into_iter()
        .map(|crd| {
            // By way of JSON: keys in order of the alphabet, as other generators write them, and
            // the YAML writer is compiled for one type instead of forty.
            let yaml = serde_saphyr::to_string(&serde_json::to_value(&crd)?)?;
            Ok((crd.metadata.name.unwrap_or_default(), yaml))
        })
        .collect()
}

fn finish(
    mut crd: CustomResourceDefinition,
    columns: &[Column],
    required: &[&str],
) -> CustomResourceDefinition {
    crd.metadata.labels = Some(BTreeMap::from([
        ("app.kubernetes.io/name".to_owned(), "everleaf".to_owned()),
        ("app.kubernetes.io/component".to_owned(), "crds".to_owned()),
    ]));
    crd.spec.names.list_kind = Some(format!("{}List", crd.spec.names.kind));
    for version in &mut crd.spec.versions {
        version.additional_printer_columns = Some(columns.iter().map(column).collect());
        if let Some(schema) = version
            .schema
            .as_mut()
            .and_then(|s| s.open_api_v3_schema.as_mut())
        {
            tidy(schema, Origin::Ours);
            finish_root(schema, required);
        }
    }
    crd
}

fn column(&(name, json_path, type_, wide): &Column) -> CustomResourceColumnDefinition {
    CustomResourceColumnDefinition {
        name: name.to_owned(),
        json_path: json_path.to_owned(),
        type_: type_.to_owned(),
        priority: wide.then_some(1),
        ..CustomResourceColumnDefinition::default()
    }
}

fn finish_root(schema: &mut JSONSchemaProps, required: &[&str]) {
    schema.required =
        (!required.is_empty()).then(|| required.iter().map(|r| (*r).to_owned()).collect());
    let properties = schema.properties.get_or_insert_default();
    for (name, type_) in [
        ("apiVersion", "string"),
        ("kind", "string"),
        ("metadata", "object"),
    ] {
        properties.insert(name.to_owned(), of_type(type_));
    }
}

/// Whose type a part of the schema comes from.
#[derive(Clone, Copy, PartialEq)]
enum Origin {
    /// A type of this crate: its descriptions stay.
    Ours,
    /// A type of Kubernetes' own API, which is described there: its descriptions would be most of
    /// the definition.
    Kubernetes,
}

/// Fields whose value is a type of Kubernetes' own API.
const KUBERNETES_FIELDS: &[&str] = &[
    "affinity",
    "imagePullSecrets",
    "limits",
    "requests",
    "seLinuxOptions",
    "seccompProfile",
    "sysctls",
    "tolerations",
];

/// Objects in these fields are replaced as a whole by server-side apply, as in a Pod.
const ATOMIC_OBJECTS: &[&str] = &[
    "labelSelector",
    "namespaceSelector",
    "preference",
    "requiredDuringSchedulingIgnoredDuringExecution",
];

/// So are the elements of these lists.
const ATOMIC_ELEMENTS: &[&str] = &["imagePullSecrets", "nodeSelectorTerms"];

/// What a Kubernetes quantity looks like.
const QUANTITY: &str = r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$";

/// Brings a schema and all below it into the form of the contract.
fn tidy(schema: &mut JSONSchemaProps, origin: Origin) {
    // An optional field may be left out; it may not be null.
    schema.nullable = None;
    schema.title = None;
    if let Some(values) = &mut schema.enum_ {
        values.retain(|value| !value.0.is_null());
    }
    schema.description = match origin {
        Origin::Ours => schema.description.take().map(|d| one_line(&d)),
        Origin::Kubernetes => None,
    };
    if schema.x_kubernetes_int_or_string == Some(true) {
        schema.any_of = Some(["integer", "string"].map(of_type).into());
        schema.pattern = Some(QUANTITY.to_owned());
    }

    for (name, property) in schema.properties.iter_mut().flatten() {
        tidy_property(name, property, origin);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        tidy(values, origin);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(elements)) = &mut schema.items {
        tidy(elements, origin);
    }
}

fn tidy_property(name: &str, property: &mut JSONSchemaProps, origin: Origin) {
    if KUBERNETES_FIELDS.contains(&name) {
        // What the field is for is ours to say; what its value means is not.
        let description = property.description.take().map(|d| one_line(&d));
        tidy(property, Origin::Kubernetes);
        property.description = description.filter(|_| origin == Origin::Ours);
    } else {
        tidy(property, origin);
    }

    if property.type_.as_deref() == Some("array") {
        property
            .x_kubernetes_list_type
            .get_or_insert_with(|| "atomic".to_owned());
    }
    if ATOMIC_OBJECTS.contains(&name) && property.type_.as_deref() == Some("object") {
        property.x_kubernetes_map_type = Some("atomic".to_owned());
    }
    if let Some(JSONSchemaPropsOrArray::Schema(elements)) = &mut property.items {
        if ATOMIC_ELEMENTS.contains(&name) {
            elements.x_kubernetes_map_type = Some("atomic".to_owned());
        }
        if name == "imagePullSecrets" {
            // The key of a map list is required or has a default; Pods have the latter.
            elements.required = None;
            if let Some(key) = elements.properties.iter_mut().flatten().next() {
                key.1.default = Some(JSON("".into()));
            }
        }
    }
}

/// Line breaks of the source mean nothing to a reader of the schema.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn of_type(type_: &str) -> JSONSchemaProps {
    JSONSchemaProps {
        type_: Some(type_.to_owned()),
        ..JSONSchemaProps::default()
    }
}
