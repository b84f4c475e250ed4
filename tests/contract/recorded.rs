//! The same Certificates that a real cert-manager was given lead to the same requests and Secrets.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::support::{DEADLINE, entry};
use crate::{cluster, self_signed};

/// Recorded from cert-manager; see the README beside it.
const RECORDED: &str = include_str!("../fixtures/cert-manager-1.21.1/ready.json");

/// Those that a self-signing Issuer can issue, by name.
const NAMES: [&str; 12] = [
    "ecdsa-256",
    "ecdsa-521-pkcs8",
    "ed25519",
    "every-name",
    "minimal",
    "no-renewal",
    "no-usages-in-request",
    "outputs",
    "percent",
    "pkcs12-2026",
    "pkcs12-legacy",
    "rsa-4096-pkcs8",
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
    // The recorded one is of another type, which a Secret does not show.
    namespace.apply(&self_signed("ca"))?;
    namespace.apply(
        "{apiVersion: v1, kind: Secret, metadata: {name: keystore-password}, stringData: {password: changeit}}",
    )?;
    for name in NAMES {
        let certificate = named("Certificate", name)?;
        let meta = &certificate["metadata"];
        let wanted = json!({
            "apiVersion": certificate["apiVersion"],
            "kind": certificate["kind"],
            "metadata": { "name": name, "labels": meta["labels"], "annotations": meta["annotations"] },
            "spec": certificate["spec"],
        });
        namespace.apply(&wanted.to_string())?;
    }
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
    }
    // A self-signed certificate is its own CA.
    assert_eq!(
        namespace.secret_entry("minimal", "ca.crt")?,
        namespace.secret_entry("minimal", "tls.crt")?
    );
    Ok(())
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
