//! Contract §4.5: what the Certificate asks for on its Secret is applied by the operator, even where somebody else wrote it first.

use anyhow::Result;
use serde_json::{Value, json};

use crate::support::{DEADLINE, Namespace, certificate};
use crate::{FLAGS, aside, cluster, self_signed};

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

/// Be the one who applies as the operator does: what the Secret has, and these owners.
fn apply_owners(namespace: &Namespace<'_>, owners: &Value) -> Result<()> {
    let secret = namespace.get("secret", "site")?;
    let meta = &secret["metadata"];
    let whole = json!({ "apiVersion": "v1", "kind": "Secret", "type": secret["type"], "data": secret["data"],
        "metadata": { "name": "site", "labels": meta["labels"], "annotations": meta["annotations"],
            "ownerReferences": owners } });
    let file = namespace.cluster.lab.dir().join("owners.json");
    std::fs::write(&file, whole.to_string())?;
    let file = format!("--filename={}", file.display());
    let manager = "--field-manager=cert-manager-certificates-issuing";
    namespace.kubectl(&[
        "apply",
        "--server-side",
        "--force-conflicts",
        manager,
        &file,
    ])?;
    Ok(())
}

fn until_owned_by(namespace: &Namespace<'_>, what: &str, owners: &Value) -> Result<()> {
    let is_so = |secret: &Value| secret["metadata"]["ownerReferences"] == *owners;
    namespace
        .until(DEADLINE, "secret", "site", what, is_so)
        .map(drop)
}

/// As cert-manager's own test has it (`Test_IssuingController_OwnerRefernece`).
#[test]
fn the_certificate_owns_its_secret_if_that_is_asked_for_and_other_owners_stay() -> Result<()> {
    let Some(cluster) = aside() else {
        return Ok(());
    };
    let namespace = cluster.alone("owners")?;
    namespace.apply(&self_signed("self"))?;
    namespace.apply(&certificate("site", "self", "owners.example.com", ""))?;
    let certificate = namespace.ready("site", DEADLINE)?;
    let own = json!({ "apiVersion": "cert-manager.io/v1", "kind": "Certificate", "name": "site",
        "uid": certificate["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true });
    let other = namespace.get("issuer", "self")?;
    let other = json!({ "apiVersion": "cert-manager.io/v1", "kind": "Issuer", "name": "self",
        "uid": other["metadata"]["uid"], "controller": false, "blockOwnerDeletion": false });
    apply_owners(&namespace, &json!([own]))?;
    until_owned_by(&namespace, "of nobody", &Value::Null)?;

    apply_owners(&namespace, &json!([other]))?;
    // What is put right comes after that of which nothing is to come.
    namespace.kubectl(&[
        "annotate",
        "secret",
        "site",
        "--overwrite",
        "cert-manager.io/alt-names=x",
    ])?;
    namespace.until(DEADLINE, "secret", "site", "repaired", |secret| {
        secret["metadata"]["annotations"]["cert-manager.io/alt-names"] == "owners.example.com"
    })?;
    until_owned_by(&namespace, "of the other", &json!([other]))?;

    let flags = [FLAGS[0], "--enable-certificate-owner-ref"];
    cluster.while_operator_with(&flags, &[], || owner_is_put_right(&namespace, &own, &other))
}

fn owner_is_put_right(namespace: &Namespace<'_>, own: &Value, other: &Value) -> Result<()> {
    let all = |secret: &Value| {
        let owners = secret["metadata"]["ownerReferences"].as_array();
        let owners = owners.map_or(&[][..], Vec::as_slice);
        owners.len() == 2 && owners.contains(own) && owners.contains(other)
    };
    namespace.until(DEADLINE, "secret", "site", "of both", all)?;
    apply_owners(namespace, &json!([]))?;
    until_owned_by(namespace, "owned again", &json!([own]))?;
    let patch =
        json!([{ "op": "replace", "path": "/metadata/ownerReferences/0/name", "value": "random" }]);
    let patch = format!("--patch={patch}");
    namespace.kubectl(&["patch", "secret", "site", "--type=json", &patch])?;
    until_owned_by(namespace, "of the right name", &json!([own]))?;
    let object = namespace.get("certificate", "site")?;
    assert_eq!(object["status"]["revision"], 1);
    Ok(())
}
