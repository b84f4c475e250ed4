//! Contract §4.5: what the Certificate asks for on its Secret is applied by the operator, even where somebody else wrote it first.

use anyhow::Result;
use serde_json::{Value, json};

use crate::support::{DEADLINE, Namespace, certificate};
use crate::{cluster, self_signed};

/// Whether the operator has applied the field at this place.
fn has_applied(secret: &Value, place: &str) -> bool {
    let entries = secret["metadata"]["managedFields"].as_array();
    entries.into_iter().flatten().any(|entry| {
        entry["manager"] == "cert-manager-certificates-issuing"
            && entry["operation"] == "Apply"
            && entry["fieldsV1"].pointer(place).is_some()
    })
}

fn until_applied(namespace: &Namespace<'_>, places: &[&str]) -> Result<Value> {
    let all = |secret: &Value| places.iter().all(|place| has_applied(secret, place));
    namespace.until(DEADLINE, "secret", "site", "ours", all)
}

/// Be another who applies something to the Secret.
fn apply_too(namespace: &Namespace<'_>, mut part: Value) -> Result<()> {
    part["apiVersion"] = json!("v1");
    part["kind"] = json!("Secret");
    part["metadata"]["name"] = json!("site");
    let file = namespace.cluster.lab.dir().join("third.json");
    std::fs::write(&file, part.to_string())?;
    let file = format!("--filename={}", file.display());
    namespace.kubectl(&["apply", "--server-side", "--field-manager=third", &file])?;
    Ok(())
}

fn ask(namespace: &Namespace<'_>, spec: &Value) -> Result<()> {
    let patch = format!("--patch={}", json!({ "spec": spec }));
    namespace.kubectl(&["patch", "certificate", "site", "--type=merge", &patch])?;
    Ok(())
}

#[test]
fn what_a_third_party_wrote_first_is_applied_once_it_is_asked_for() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("ownership")?;
    namespace.apply(&self_signed("self"))?;
    let both = json!([{ "type": "DER" }, { "type": "CombinedPEM" }]);
    namespace.apply(&certificate("site", "self", "site.example.com", ""))?;
    namespace.ready("site", DEADLINE)?;

    let places = [
        "/f:metadata/f:labels/f:team",
        "/f:metadata/f:annotations/f:note",
    ];
    let meta = json!({ "labels": { "team": "shop" }, "annotations": { "note": "x" } });
    apply_too(&namespace, json!({ "metadata": meta }))?;
    ask(&namespace, &json!({ "secretTemplate": meta }))?;
    until_applied(&namespace, &places)?;

    let places = ["/f:data/f:key.der", "/f:data/f:tls-combined.pem"];
    ask(&namespace, &json!({ "additionalOutputFormats": both }))?;
    let secret = until_applied(&namespace, &places)?;
    ask(&namespace, &json!({ "additionalOutputFormats": null }))?;
    namespace.until(DEADLINE, "secret", "site", "without", |secret| {
        secret["data"]["key.der"].is_null()
    })?;
    let entries = ["key.der", "tls-combined.pem"];
    let data: Value = entries
        .map(|e| (e.to_owned(), secret["data"][e].clone()))
        .into_iter()
        .collect();
    apply_too(&namespace, json!({ "metadata": meta, "data": data }))?;
    ask(&namespace, &json!({ "additionalOutputFormats": both }))?;
    until_applied(&namespace, &places)?;

    let object = namespace.get("certificate", "site")?;
    assert_eq!(object["status"]["revision"], 1);
    Ok(())
}
