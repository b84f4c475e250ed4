//! The same Certificates that a real cert-manager was given lead to the same requests and Secrets.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::cluster;
use crate::support::{Cluster, DEADLINE, entry};

/// Recorded from cert-manager; see the README beside it.
const RECORDED: &str = include_str!("../fixtures/cert-manager-1.21.1/ready.json");

/// Certificates of the Issuer "ca", by name.
const NAMES: [&str; 15] = [
    "ecdsa-256",
    "ecdsa-521-pkcs8",
    "ed25519",
    "every-name",
    "intermediate",
    "literal",
    "minimal",
    "no-renewal",
    "no-usages-in-request",
    "outputs",
    "percent",
    "pkcs12-2026",
    "pkcs12-legacy",
    "rsa-4096-pkcs8",
    "windows",
];

fn recorded(kind: &str, holds: impl Fn(&Value) -> bool) -> Result<Value> {
    let all: Value = serde_json::from_str(RECORDED)?;
    let items = all["items"].as_array().context("items")?;
    let found = items.iter().find(|o| o["kind"] == kind && holds(o));
    found.cloned().with_context(|| format!("no such {kind}"))
}

fn named(kind: &str, name: &str) -> Result<Value> {
    recorded(kind, |object| object["metadata"]["name"] == name)
}

/// What clients of a target Secret see. Lists of names are compared with the certificate elsewhere.
fn secret_shape(secret: &Value) -> Result<Value> {
    let data = secret["data"].as_object().context("data")?;
    let fields: Vec<_> = secret["metadata"]["managedFields"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|f| f["manager"] == "cert-manager-certificates-issuing")
        .map(|f| json!([f["operation"], f["fieldsV1"], f["apiVersion"]]))
        .collect();
    let first_line = |name: &str| -> Result<String> {
        let text = String::from_utf8(entry(secret, name)?)?;
        Ok(text.lines().next().unwrap_or_default().to_owned())
    };
    Ok(json!({
        "type": secret["type"],
        "labels": secret["metadata"]["labels"],
        "annotations": secret["metadata"]["annotations"],
        "owners": secret["metadata"]["ownerReferences"],
        "entries": data.keys().collect::<Vec<_>>(),
        "key": first_line("tls.key")?,
        "certificate": first_line("tls.crt")?,
        "managed": fields,
    }))
}

/// What clients of a request see; without what a webhook adds about its creator.
fn request_shape(request: &Value, revision: &str) -> Value {
    let mut spec = request["spec"].clone();
    let mut annotations = request["metadata"]["annotations"].clone();
    annotations["cert-manager.io/private-key-secret-name"] = json!("its own");
    annotations["cert-manager.io/certificate-revision"] = json!(revision);
    // Ours, and passed over by all others.
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.remove("everleaf.io/issuer-seen");
    }
    for field in ["request", "username", "uid", "groups", "extra"] {
        spec[field] = Value::Null;
    }
    let owner = &request["metadata"]["ownerReferences"][0];
    let conditions: Vec<_> = request["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|c| json!([c["type"], c["status"], c["reason"], c["message"]]))
        .collect();
    json!({
        "labels": request["metadata"]["labels"],
        "annotations": annotations,
        "owner": [owner["apiVersion"], owner["kind"], owner["name"], owner["controller"],
            owner["blockOwnerDeletion"]],
        "spec": spec,
        "conditions": conditions,
    })
}

#[test]
fn secrets_and_requests_have_the_same_shape() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("recorded")?;
    namespace.apply(
        "{apiVersion: v1, kind: Secret, metadata: {name: keystore-password}, stringData: {password: changeit}}",
    )?;
    let authority = [
        ("Issuer", "self"),
        ("Certificate", "root"),
        ("Issuer", "ca"),
    ];
    for (kind, name) in authority
        .into_iter()
        .chain(NAMES.map(|name| ("Certificate", name)))
    {
        let object = named(kind, name)?;
        let meta = &object["metadata"];
        let wanted = json!({
            "apiVersion": object["apiVersion"],
            "kind": kind,
            "metadata": { "name": name, "labels": meta["labels"], "annotations": meta["annotations"] },
            "spec": object["spec"],
        });
        namespace.apply(&wanted.to_string())?;
    }
    let root = namespace
        .ready("root", DEADLINE)
        .and_then(|_| namespace.secret_entry("root", "tls.crt"))?;
    for name in NAMES {
        namespace.ready(name, DEADLINE)?;
        namespace.pair_matches(name)?;
        let ours = secret_shape(&namespace.get("secret", name)?)?;
        assert_eq!(ours, secret_shape(&named("Secret", name)?)?, "{name}");

        let theirs = recorded("CertificateRequest", |r| {
            r["metadata"]["annotations"]["cert-manager.io/certificate-name"] == name
        })?;
        let ours = namespace.get("certificaterequest", &format!("{name}-1"))?;
        assert_eq!(
            request_shape(&ours, "1"),
            request_shape(&theirs, "1"),
            "{name}"
        );
        let theirs = extensions(cluster, &entry(&named("Secret", name)?, "tls.crt")?)?;
        let ours = extensions(cluster, &namespace.secret_entry(name, "tls.crt")?)?;
        assert_eq!(ours, theirs, "{name}");
        assert_eq!(namespace.secret_entry(name, "ca.crt")?, root, "{name}");
    }
    Ok(())
}

/// Subject, issuer, algorithm and extensions of a certificate, without what is derived from its CA's key. The names are
/// in no order.
fn extensions(cluster: &Cluster, certificate: &[u8]) -> Result<Vec<String>> {
    let hidden = "no_serial,no_validity,no_pubkey,no_sigdump";
    let text = cluster.openssl(
        &["x509", "-noout", "-text", "-certopt", hidden],
        certificate,
    )?;
    assert!(text.contains("Authority Key Identifier"), "{text}");
    let is_derived = |line: &&str| line.split(':').all(|byte| byte.len() == 2);
    let lines = text.lines().map(str::trim).filter(|line| !is_derived(line));
    let sorted = |line: &str| {
        let mut names: Vec<_> = line.split(", ").collect();
        names.sort_unstable();
        names.join(", ")
    };
    Ok(lines
        .map(|line| {
            if line.contains("DNS:") {
                sorted(line)
            } else {
                line.to_owned()
            }
        })
        .collect())
}

#[test]
fn a_cluster_issuer_signs_too() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("recorded-cluster")?;
    cluster.lab.apply(
        "{apiVersion: cert-manager.io/v1, kind: ClusterIssuer, metadata: {name: self}, spec: {selfSigned: {}}}",
    )?;
    let certificate = named("Certificate", "cluster-issuer")?;
    let wanted = json!({
        "apiVersion": certificate["apiVersion"],
        "kind": certificate["kind"],
        "metadata": { "name": "cluster-issuer" },
        "spec": certificate["spec"],
    });
    namespace.apply(&wanted.to_string())?;
    namespace.ready("cluster-issuer", DEADLINE)?;
    let mut theirs = secret_shape(&named("Secret", "cluster-issuer")?)?;
    let ours = secret_shape(&namespace.get("secret", "cluster-issuer")?)?;
    theirs["annotations"]["cert-manager.io/alt-names"] = json!("ci.example.com");
    assert_eq!(ours, theirs);
    Ok(())
}
