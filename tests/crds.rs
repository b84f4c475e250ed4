//! The custom resource definitions are the contract's, and `crds/` holds what the code makes.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use everleaf::api::meta::KEY_USAGES;
use everleaf::api::{crds, crds_yaml};
use serde_json::{Value, json};

/// Paths, types and rules of the contract's field tables (§1.3 to §1.8), one line a field.
const CONTRACT: &str = include_str!("fixtures/contract-schema.tsv");

/// Fields that are Everleaf's own. Absent, each means what cert-manager does.
const EXTENSIONS: [&str; 30] = [
    "Issuer\tspec.acme.solvers[].http01.ingress.mode\tstring\t\tenum=Pod,Direct",
    "Issuer\tspec.ca.revocationList\tobject",
    "Issuer\tspec.ca.revocationList.lifetime\tstring\t\tpattern",
    "Issuer\tspec.ca.rotation\tobject",
    "Issuer\tspec.ca.rotation.overlap\tstring\t\tpattern",
    "Issuer\tspec.ca.rotation.trustAhead\tstring\t\tpattern",
    "Issuer\tspec.watchRevocationLists\tbool",
    "Issuer\tstatus.acme.limits\tobject",
    "Issuer\tstatus.acme.limits.asOf\ttime\trequired",
    "Issuer\tstatus.acme.limits.buckets\t[]object\trequired",
    "Issuer\tstatus.acme.limits.buckets[].frozenUntil\ttime",
    "Issuer\tstatus.acme.limits.buckets[].fullAt\ttime\trequired",
    "Issuer\tstatus.acme.limits.buckets[].limit\tstring\trequired",
    "Issuer\tstatus.acme.limits.buckets[].of\tstring\trequired",
    "Issuer\tstatus.acme.limits.buckets[].reason\tstring",
    "Issuer\tstatus.ca\tobject",
    "Issuer\tstatus.ca.authority\tstring\trequired",
    "Issuer\tstatus.ca.roots\tstring\trequired",
    "Issuer\tstatus.ca.rotation\tobject",
    "Issuer\tstatus.ca.rotation.certificates\tint64\trequired",
    "Issuer\tstatus.ca.rotation.done\tint64\trequired",
    "Issuer\tstatus.ca.rotation.phase\tstring\trequired\tenum=Trusting,Reissuing,Overlapping,Retiring",
    "Issuer\tstatus.ca.rotation.reached\tobject",
    "Issuer\tstatus.ca.rotation.reached.name\tstring\trequired",
    "Issuer\tstatus.ca.rotation.reached.namespace\tstring\trequired",
    "Issuer\tstatus.ca.rotation.reached.notAfter\ttime\trequired",
    "Issuer\tstatus.ca.rotation.since\ttime\trequired",
    "Issuer\tstatus.ca.rotation.started\ttime\trequired",
    "Issuer\tstatus.ca.rotation.wave\ttime",
    "Order\tstatus.expires\ttime",
];

/// The definitions as JSON; made once, since making them takes a while without optimization.
static CRDS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let crds = crds().into_iter();
    crds.map(|crd| serde_json::to_value(crd).unwrap()).collect()
});

/// The definition of a kind.
fn crd(kind: &str) -> &'static Value {
    CRDS.iter()
        .find(|crd| crd["spec"]["names"]["kind"] == kind)
        .unwrap()
}

fn version(kind: &str) -> &'static Value {
    let versions = crd(kind)["spec"]["versions"].as_array().unwrap();
    assert_eq!(versions.len(), 1, "{kind}");
    &versions[0]
}

fn schema(kind: &str) -> &'static Value {
    &version(kind)["schema"]["openAPIV3Schema"]
}

/// The part of a schema at a path such as `spec.solvers[].dns01`.
fn at<'a>(schema: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(schema, |schema, step| {
        let (name, elements) = match step.strip_suffix("[]") {
            Some(name) => (name, true),
            None => (step, false),
        };
        let property = &schema["properties"][name];
        if elements {
            &property["items"]
        } else {
            property
        }
    })
}

fn names(value: &Value) -> BTreeSet<&str> {
    match value {
        Value::Array(names) => names.iter().map(|n| n.as_str().unwrap()).collect(),
        Value::Object(map) => map.keys().map(String::as_str).collect(),
        _ => BTreeSet::new(),
    }
}

fn set<const N: usize>(names: [&str; N]) -> BTreeSet<&str> {
    BTreeSet::from(names)
}

#[test]
fn committed_files_are_what_the_code_makes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    let made = crds_yaml().unwrap();
    if std::env::var_os("BLESS").is_some() {
        for (name, yaml) in &made {
            fs::write(folder.join(format!("{name}.yaml")), yaml).unwrap();
        }
    }
    let committed: BTreeMap<String, String> = fs::read_dir(&folder)
        .unwrap()
        .map(|file| {
            let path = file.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect();
    assert_eq!(names_of(&committed), names_of(&made));
    for (name, yaml) in &made {
        assert!(
            committed[name] == *yaml,
            "crds/{name}.yaml is stale: run BLESS=1 cargo test --test crds"
        );
    }
}

fn names_of(files: &BTreeMap<String, String>) -> Vec<&String> {
    files.keys().collect()
}

#[test]
fn definitions_come_in_a_fixed_order_and_stay_small() {
    let sizes: Vec<(String, usize)> = crds_yaml()
        .unwrap()
        .into_iter()
        .map(|(name, yaml)| (name, yaml.len()))
        .collect();
    let names: Vec<&str> = sizes.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "certificaterequests.cert-manager.io",
            "certificaterevocations.everleaf.io",
            "certificates.cert-manager.io",
            "challenges.acme.cert-manager.io",
            "clusterissuers.cert-manager.io",
            "clusterorderedissuers.everleaf.io",
            "issuers.cert-manager.io",
            "orderedissuers.everleaf.io",
            "orders.acme.cert-manager.io",
        ]
    );
    // kubectl apply keeps a copy in an annotation, which ends at 256 KiB.
    for (name, size) in sizes {
        assert!(size < 200_000, "{name}: {size}");
    }
}

#[test]
fn names_scope_and_selectable_fields_are_the_contracts() {
    let cert_manager: &[&str] = &["cert-manager"];
    let acme: &[&str] = &["cert-manager", "cert-manager-acme"];
    let issuer_ref = json!([
        {"jsonPath": ".spec.issuerRef.group"},
        {"jsonPath": ".spec.issuerRef.kind"},
        {"jsonPath": ".spec.issuerRef.name"},
    ]);
    for (kind, plural, group, scope, short, categories, selectable) in [
        (
            "Certificate",
            "certificates",
            "cert-manager.io",
            "Namespaced",
            json!(["cert", "certs"]),
            cert_manager,
            true,
        ),
        (
            "CertificateRequest",
            "certificaterequests",
            "cert-manager.io",
            "Namespaced",
            json!(["cr", "crs"]),
            cert_manager,
            true,
        ),
        (
            "Issuer",
            "issuers",
            "cert-manager.io",
            "Namespaced",
            json!(["iss"]),
            cert_manager,
            false,
        ),
        (
            "ClusterIssuer",
            "clusterissuers",
            "cert-manager.io",
            "Cluster",
            json!(["ciss"]),
            cert_manager,
            false,
        ),
        (
            "Order",
            "orders",
            "acme.cert-manager.io",
            "Namespaced",
            Value::Null,
            acme,
            true,
        ),
        (
            "Challenge",
            "challenges",
            "acme.cert-manager.io",
            "Namespaced",
            Value::Null,
            acme,
            true,
        ),
    ] {
        let crd = crd(kind);
        let spec = &crd["spec"];
        assert_eq!(spec["names"]["plural"], plural);
        assert_eq!(spec["names"]["singular"], kind.to_ascii_lowercase());
        assert_eq!(spec["names"]["listKind"], format!("{kind}List"));
        assert_eq!(spec["names"]["categories"], json!(categories), "{kind}");
        assert_eq!(spec["names"]["shortNames"], short, "{kind}");
        assert_eq!(spec["group"], group, "{kind}");
        assert_eq!(spec["scope"], scope, "{kind}");
        assert_eq!(spec["conversion"], Value::Null, "{kind}");

        let version = version(kind);
        assert_eq!(version["name"], "v1");
        assert_eq!(version["served"], true);
        assert_eq!(version["storage"], true);
        assert_eq!(version["subresources"], json!({"status": {}}), "{kind}");
        let fields = if selectable {
            issuer_ref.clone()
        } else {
            Value::Null
        };
        assert_eq!(version["selectableFields"], fields, "{kind}");
    }
}

#[test]
fn kinds_of_our_own_are_in_a_group_of_our_own() {
    for (kind, scope) in [
        ("OrderedIssuer", "Namespaced"),
        ("ClusterOrderedIssuer", "Cluster"),
    ] {
        let spec = &crd(kind)["spec"];
        assert_eq!(spec["group"], "everleaf.io", "{kind}");
        assert_eq!(spec["scope"], scope, "{kind}");
        assert_eq!(version(kind)["name"], "v1alpha1", "{kind}");
        assert_eq!(
            version(kind)["subresources"],
            json!({"status": {}}),
            "{kind}"
        );
        assert_eq!(names(&schema(kind)["required"]), set(["spec"]), "{kind}");
    }
    let issuers = at(schema("OrderedIssuer"), "spec.issuers");
    assert_eq!(
        (&issuers["minItems"], &issuers["maxItems"]),
        (&json!(1), &json!(16))
    );
}

#[test]
fn required_at_the_top_is_the_contracts() {
    for (kind, required) in [
        ("Certificate", set([])),
        ("CertificateRequest", set([])),
        ("Issuer", set(["spec"])),
        ("ClusterIssuer", set(["spec"])),
        ("Order", set(["metadata", "spec"])),
        ("Challenge", set(["metadata", "spec"])),
    ] {
        let schema = schema(kind);
        assert_eq!(names(&schema["required"]), required, "{kind}");
        assert_eq!(
            names(&schema["properties"]),
            set(["apiVersion", "kind", "metadata", "spec", "status"])
        );
    }
}

#[test]
fn columns_are_the_contracts() {
    let condition = |type_: &str| format!(".status.conditions[?(@.type == \"{type_}\")].status");
    let ready = format!("Ready {}", condition("Ready"));
    let approved = format!("Approved {}", condition("Approved"));
    let denied = format!("Denied {}", condition("Denied"));
    let status = "Status .status.conditions[?(@.type == \"Ready\")].message wide";
    let age = "Age .metadata.creationTimestamp";
    let issuer = "Issuer .spec.issuerRef.name";
    let issuer_wide = "Issuer .spec.issuerRef.name wide";
    let expiration = "Expiration .status.notAfter wide";
    let (state, reason) = ("State .status.state", "Reason .status.reason wide");
    for (kind, columns) in [
        (
            "Certificate",
            vec![
                &*ready,
                "Secret .spec.secretName",
                issuer_wide,
                status,
                expiration,
                age,
            ],
        ),
        (
            "CertificateRequest",
            vec![
                &*approved,
                &denied,
                &ready,
                issuer,
                "Requester .spec.username",
                status,
                age,
            ],
        ),
        ("Issuer", vec![&*ready, status, age]),
        ("ClusterIssuer", vec![&*ready, status, age]),
        ("Order", vec![state, issuer_wide, reason, age]),
        (
            "Challenge",
            vec![state, "Domain .spec.dnsName", reason, age],
        ),
    ] {
        let version = version(kind);
        let made: Vec<String> = version["additionalPrinterColumns"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| {
                let age = c["name"] == "Age";
                assert_eq!(c["type"], if age { "date" } else { "string" });
                let wide = if c["priority"] == 1 { " wide" } else { "" };
                let text = |field: &str| c[field].as_str().unwrap().to_owned();
                format!("{} {}{wide}", text("name"), text("jsonPath"))
            })
            .collect();
        assert_eq!(made, columns, "{kind}");
    }
}

#[test]
fn fields_are_those_of_the_contracts_tables() {
    let mut made: Vec<String> = Vec::new();
    for kind in [
        "Certificate",
        "CertificateRequest",
        "Issuer",
        "Order",
        "Challenge",
    ] {
        let schema = schema(kind);
        for part in ["spec", "status"] {
            describe(kind, part, &schema["properties"][part], &mut made);
        }
    }
    let made: BTreeSet<&str> = made.iter().map(String::as_str).collect();
    let expected: BTreeSet<&str> = CONTRACT.lines().chain(EXTENSIONS).collect();
    let missing: Vec<&&str> = expected.difference(&made).collect();
    let unexpected: Vec<&&str> = made.difference(&expected).collect();
    assert!(
        missing.is_empty() && unexpected.is_empty(),
        "missing: {missing:#?}\nunexpected: {unexpected:#?}"
    );
    assert_eq!(made.len(), 353);
}

/// Lists the fields of an object in the notation of [`CONTRACT`].
fn describe(kind: &str, path: &str, object: &Value, lines: &mut Vec<String>) {
    let required = names(&object["required"]);
    for (name, field) in object["properties"].as_object().unwrap() {
        let path = format!("{path}.{name}");
        let type_ = type_of(name, field);
        let required = if required.contains(name.as_str()) {
            "required"
        } else {
            ""
        };
        let line = format!("{kind}\t{path}\t{type_}\t{required}\t{}", rules_of(field));
        lines.push(line.trim_end().to_owned());

        // The tables say these once, elsewhere; tests below compare them.
        let elsewhere = path.ends_with("gatewayHTTPRoute.podTemplate") || path == "spec.solver";
        if elsewhere {
            if path != "spec.solver" {
                lines.pop();
            }
        } else if type_ == "object" && !KUBERNETES_TYPES.contains(&name.as_str()) {
            describe(kind, &path, field, lines);
        } else if type_ == "[]object" && !KUBERNETES_TYPES.contains(&name.as_str()) {
            describe(kind, &format!("{path}[]"), &field["items"], lines);
        }
    }
}

/// Fields whose inside the tables leave to Kubernetes' own documentation.
const KUBERNETES_TYPES: [&str; 4] = ["affinity", "resources", "securityContext", "tolerations"];

fn type_of(name: &str, field: &Value) -> String {
    let properties = names(&field["properties"]);
    let named = |own: &[&str]| properties == own.iter().copied().collect();
    match field["type"].as_str() {
        None if field["x-kubernetes-preserve-unknown-fields"] == true => "any JSON".to_owned(),
        Some("array") => format!("[]{}", type_of(name, &field["items"])),
        Some("object") if field["additionalProperties"].is_object() => {
            format!(
                "map[string]{}",
                type_of(name, &field["additionalProperties"])
            )
        }
        Some("object") if named(&["name", "kind", "group"]) => "IssuerReference".to_owned(),
        Some("object") if named(&["name", "key"]) => "SecretKeySelector".to_owned(),
        Some("object") if named(&["name"]) => "LocalObjectReference".to_owned(),
        Some("object") => "object".to_owned(),
        Some("boolean") => "bool".to_owned(),
        Some("integer") => field["format"].as_str().unwrap_or("int").to_owned(),
        Some("string") => match field["format"].as_str() {
            None => "string".to_owned(),
            Some("byte") => "base64 bytes".to_owned(),
            Some("date-time") => "time".to_owned(),
            Some(other) => panic!("{name}: format {other}"),
        },
        other => panic!("{name}: type {other:?}"),
    }
}

fn rules_of(field: &Value) -> String {
    let mut rules = Vec::new();
    if let Some(default) = field.get("default") {
        rules.push(format!("default={}", default.as_str().unwrap()));
    }
    if let Some(values) = field["enum"].as_array() {
        let values: Vec<&str> = values.iter().map(|v| v.as_str().unwrap()).collect();
        rules.push(format!("enum={}", values.join(",")));
    }
    if let Some(values) = field["items"]["enum"].as_array() {
        assert_eq!(values, &KEY_USAGES.map(Value::from));
        rules.push("items=usages".to_owned());
    }
    if field["type"] == "array" {
        match field["x-kubernetes-list-type"].as_str() {
            Some("atomic") => {}
            Some("map") => {
                let keys: Vec<&str> = names(&field["x-kubernetes-list-map-keys"])
                    .into_iter()
                    .collect();
                rules.push(format!("mapList={}", keys.join(",")));
            }
            other => panic!("list type {other:?} of {field}"),
        }
    }
    for number in ["maxLength", "maximum", "minLength", "minimum"] {
        if let Some(value) = field[number].as_f64() {
            rules.push(format!("{number}={value}"));
        }
    }
    if field["pattern"].is_string() {
        rules.push("pattern".to_owned());
    }
    if field["x-kubernetes-validations"].is_array() {
        rules.push("rule".to_owned());
    }
    rules.join(" ")
}

#[test]
fn key_usages_are_the_contracts() {
    let usages: BTreeSet<&str> = KEY_USAGES.into_iter().collect();
    assert_eq!(
        usages,
        set([
            "signing",
            "digital signature",
            "content commitment",
            "key encipherment",
            "key agreement",
            "data encipherment",
            "cert sign",
            "crl sign",
            "encipher only",
            "decipher only",
            "any",
            "server auth",
            "client auth",
            "code signing",
            "email protection",
            "s/mime",
            "ipsec end system",
            "ipsec tunnel",
            "ipsec user",
            "timestamping",
            "ocsp signing",
            "microsoft sgc",
            "netscape sgc",
        ])
    );
}

#[test]
fn what_the_tables_say_once_is_the_same_everywhere() {
    let (issuer, cluster_issuer) = (schema("Issuer"), schema("ClusterIssuer"));
    for part in ["spec", "status"] {
        let strip = |schema: &Value| {
            let mut part = schema["properties"][part].clone();
            part.as_object_mut().unwrap().remove("description");
            part
        };
        assert_eq!(strip(issuer), strip(cluster_issuer));
    }

    let solver = at(issuer, "spec.acme.solvers[]");
    let challenge = schema("Challenge");
    for part in ["properties", "required", "type"] {
        assert_eq!(solver[part], at(challenge, "spec.solver")[part]);
    }
    assert_eq!(
        at(solver, "http01.ingress.podTemplate"),
        at(solver, "http01.gatewayHTTPRoute.podTemplate")
    );

    let issuer_ref = at(challenge, "spec.issuerRef");
    assert_eq!(names(&issuer_ref["required"]), set(["name"]));
    assert_eq!(issuer_ref["properties"]["kind"]["default"], Value::Null);
    let selector = at(issuer, "spec.acme.privateKeySecretRef");
    assert_eq!(names(&selector["required"]), set(["name"]));
}

#[test]
fn pod_template_takes_the_contracts_parts_of_a_pod() {
    let issuer = schema("Issuer");
    let spec = at(
        issuer,
        "spec.acme.solvers[].http01.ingress.podTemplate.spec",
    );
    assert_eq!(
        names(&at(spec, "securityContext")["properties"]),
        set([
            "fsGroup",
            "fsGroupChangePolicy",
            "runAsGroup",
            "runAsNonRoot",
            "runAsUser",
            "seLinuxOptions",
            "seccompProfile",
            "supplementalGroups",
            "sysctls",
        ])
    );
    assert_eq!(
        names(&at(spec, "resources")["properties"]),
        set(["limits", "requests"])
    );
    assert_eq!(
        at(spec, "resources.limits")["additionalProperties"]["x-kubernetes-int-or-string"],
        true
    );
    assert_eq!(
        names(&at(spec, "tolerations[]")["properties"]),
        set(["effect", "key", "operator", "tolerationSeconds", "value"])
    );
    assert_eq!(
        names(&at(spec, "affinity")["properties"]),
        set(["nodeAffinity", "podAffinity", "podAntiAffinity"])
    );
    // The API server takes a map list only if its key is required or has a default.
    assert_eq!(
        at(spec, "imagePullSecrets[]")["properties"]["name"]["default"],
        ""
    );
    assert_eq!(
        at(
            spec,
            "affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[].labelSelector"
        )["x-kubernetes-map-type"],
        "atomic"
    );
}

#[test]
fn only_three_fields_have_a_default_and_two_have_rules() {
    let mut defaults = BTreeSet::new();
    let mut rules = BTreeSet::new();
    for crd in CRDS.iter() {
        walk(
            "",
            &crd["spec"]["versions"][0]["schema"],
            &mut |path, node| {
                // As in a Pod; see above.
                if node.get("default").is_some() && !path.ends_with("imagePullSecrets/items/name") {
                    defaults.insert(path.rsplit('/').next().unwrap().to_owned());
                }
                if node.get("x-kubernetes-validations").is_some() {
                    rules.insert(path.rsplit('/').next().unwrap().to_owned());
                }
                assert_eq!(node.get("nullable"), None, "{path}");
                assert_eq!(node.get("title"), None, "{path}");
                assert_eq!(node.get("$ref"), None, "{path}");
            },
        );
    }
    let as_strs = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>();
    assert_eq!(
        as_strs(&defaults),
        ["group", "kind", "renewalInformationSource"]
    );
    // Of a kind of ours: its spec.
    assert_eq!(as_strs(&rules), ["spec", "venafi"]);
}

#[test]
fn every_field_of_ours_has_a_description_with_an_example() {
    for crd in CRDS.iter() {
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        for part in ["spec", "status"] {
            walk(part, &schema["properties"][part], &mut |path, node| {
                let foreign = FOREIGN.iter().any(|f| path.contains(&format!("/{f}/")));
                let field = !path.ends_with("items") && path.contains('/');
                if field && !foreign {
                    let description = node["description"].as_str().unwrap_or_default();
                    assert!(
                        description.contains("Example: `"),
                        "{path}: {description:?}"
                    );
                    assert!(description.ends_with("`."), "{path}: {description:?}");
                } else if foreign {
                    assert_eq!(node.get("description"), None, "{path}");
                }
            });
        }
    }
}

/// Fields below which the schema is that of a Pod.
const FOREIGN: [&str; 8] = [
    "affinity",
    "imagePullSecrets",
    "limits",
    "requests",
    "seLinuxOptions",
    "seccompProfile",
    "sysctls",
    "tolerations",
];

/// Calls `visit` for a schema and all below it, each with its path.
fn walk(path: &str, schema: &Value, visit: &mut impl FnMut(&str, &Value)) {
    visit(path, schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(&format!("{path}/{name}"), property, visit);
    }
    for (key, name) in [("items", "items"), ("additionalProperties", "items")] {
        if schema[key].is_object() {
            walk(&format!("{path}/{name}"), &schema[key], visit);
        }
    }
    if schema["openAPIV3Schema"].is_object() {
        walk(path, &schema["openAPIV3Schema"], visit);
    }
}
