//! Objects recorded from a cluster that cert-manager served, brought into a lab.

use std::collections::HashMap;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lab::Lab;
use serde_json::{Value, json};

/// Soon after the objects were recorded: the shortest of their certificates is due in a minute and a half.
pub const RECORDED_AT: &str = "2026-11-24 14:38:00";

/// The namespace that they are of.
pub const NAMESPACE: &str = "shop";

/// Issuers of every kind but ACME, with all that hangs on them.
pub const READY: &str = include_str!("../fixtures/cert-manager-1.21.1/ready.json");

/// An ACME issuer with a certificate and a refused one.
pub const ACME: &str = include_str!("../fixtures/cert-manager-1.21.1/acme-ready.json");

/// The same in the middle of an issuance.
pub const IN_FLIGHT: &str = include_str!("../fixtures/cert-manager-1.21.1/acme-in-flight.json");

/// Where etcd has the objects of a kind.
const PLACES: [(&str, &str); 8] = [
    ("Certificate", "cert-manager.io/certificates"),
    ("CertificateRequest", "cert-manager.io/certificaterequests"),
    ("Challenge", "acme.cert-manager.io/challenges"),
    ("ClusterIssuer", "cert-manager.io/clusterissuers"),
    ("Ingress", "ingress"),
    ("Issuer", "cert-manager.io/issuers"),
    ("Order", "acme.cert-manager.io/orders"),
    ("Secret", "secrets"),
];

/// The objects of a file.
pub fn objects(file: &str) -> Result<Vec<Value>> {
    let list: Value = serde_json::from_str(file)?;
    Ok(list["items"].as_array().context("items")?.clone())
}

/// Put them into etcd as they were, as one does who restores a backup of it: uids, times, owners and managed fields are
/// kept, which no client of the API server can.
pub fn restore(lab: &Lab, objects: &[Value]) -> Result<()> {
    let puts: Vec<_> = objects.iter().map(put).collect::<Result<_>>()?;
    let body = lab.dir().join("restore.json");
    std::fs::write(&body, json!({ "success": puts }).to_string())?;
    let mut curl = lab.command("curl");
    curl.args(["-fsS", "http://127.0.0.1:2379/v3/kv/txn", "--data-binary"])
        .arg(format!("@{}", body.display()));
    lab::output(&mut curl)?;
    Ok(())
}

fn put(object: &Value) -> Result<Value> {
    let kind = object["kind"].as_str().context("a kind")?;
    let (_, place) = PLACES
        .iter()
        .find(|(known, _)| *known == kind)
        .with_context(|| format!("{kind} is not in the table"))?;
    let meta = &object["metadata"];
    let parts = [&meta["namespace"], &meta["name"]].map(|part| part.as_str());
    let path: Vec<_> = parts.into_iter().flatten().collect();
    let mut stored = object.clone();
    // It is the revision of etcd.
    if let Some(meta) = stored["metadata"].as_object_mut() {
        meta.remove("resourceVersion");
    }
    Ok(json!({ "requestPut": {
        "key": STANDARD.encode(format!("/registry/{place}/{}", path.join("/"))),
        "value": STANDARD.encode(stored.to_string()),
    }}))
}

/// Make them by requests to the API server, as a client does who moves them to another cluster: with the managers of
/// their fields, and with the uids that this server gives in the references to owners. Their times are those of now.
pub fn bring(lab: &Lab, objects: &[Value]) -> Result<()> {
    let mut uids = HashMap::new();
    for kind in [
        "ClusterIssuer",
        "Issuer",
        "Ingress",
        "Certificate",
        "CertificateRequest",
        "Secret",
    ] {
        let of_kind = objects.iter().filter(|object| object["kind"] == kind);
        let mut by_manager: HashMap<&str, Vec<Value>> = HashMap::new();
        for object in of_kind.clone() {
            let manager = manager(object, None);
            by_manager
                .entry(manager)
                .or_default()
                .push(bare(object, &uids));
        }
        for (manager, list) in by_manager {
            let made = send(
                lab,
                &[
                    "apply",
                    "--server-side",
                    "--output=json",
                    &format!("--field-manager={manager}"),
                ],
                &list,
            )?;
            // One object is printed as itself.
            let made: Value = serde_json::from_str(&made)?;
            let made = made["items"]
                .as_array()
                .cloned()
                .unwrap_or_else(|| vec![made]);
            for object in made {
                uids.insert(
                    key(&object["kind"], &object["metadata"]["name"]),
                    object["metadata"]["uid"].clone(),
                );
            }
        }
        let mut by_manager: HashMap<&str, Vec<Value>> = HashMap::new();
        for object in of_kind.filter(|object| !object["status"].is_null() && kind != "Ingress") {
            let manager = manager(object, Some("status"));
            let mut sent = bare(object, &uids);
            sent["status"] = object["status"].clone();
            by_manager.entry(manager).or_default().push(sent);
        }
        for (manager, list) in by_manager {
            send(
                lab,
                &[
                    "replace",
                    "--subresource=status",
                    &format!("--field-manager={manager}"),
                ],
                &list,
            )?;
        }
    }
    Ok(())
}

/// Who has written it last, or its subresource.
fn manager<'a>(object: &'a Value, subresource: Option<&str>) -> &'a str {
    let all = object["metadata"]["managedFields"].as_array();
    let fits = |entry: &&Value| entry["subresource"].as_str() == subresource;
    let last = all.into_iter().flatten().rfind(fits);
    last.and_then(|entry| entry["manager"].as_str())
        .unwrap_or("kubectl")
}

fn key(kind: &Value, name: &Value) -> (String, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(kind), text(name))
}

/// What a client may say of it.
fn bare(object: &Value, uids: &HashMap<(String, String), Value>) -> Value {
    let mut sent = object.clone();
    if let Some(sent) = sent.as_object_mut() {
        sent.remove("status");
    }
    if let Some(meta) = sent["metadata"].as_object_mut() {
        for theirs in [
            "uid",
            "resourceVersion",
            "creationTimestamp",
            "generation",
            "managedFields",
        ] {
            meta.remove(theirs);
        }
        let owners = meta
            .get_mut("ownerReferences")
            .and_then(Value::as_array_mut);
        for owner in owners.into_iter().flatten() {
            owner["uid"] = uids[&key(&owner["kind"], &owner["name"])].clone();
        }
    }
    sent
}

fn send(lab: &Lab, arguments: &[&str], objects: &[Value]) -> Result<String> {
    let file = lab.dir().join("bring.json");
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    std::fs::write(&file, list.to_string())?;
    let file = format!("--filename={}", file.display());
    lab.kubectl(&[arguments, &[&file]].concat())
}
