//! What makes a Certificate be issued again, and what does not.

use anyhow::Result;
use serde_json::{Value, json};

use crate::support::{DEADLINE, Namespace, certificate, ready_condition};
use crate::{aside, cluster, condition, now, patch_status, self_signed, set_condition};

fn issued(namespace: &Namespace<'_>, rest: &str) -> Result<Value> {
    namespace.apply(&self_signed("self"))?;
    namespace.apply(&certificate("site", "self", "site.example.com", rest))?;
    namespace.ready("site", DEADLINE)
}

fn revision(namespace: &Namespace<'_>, number: u64) -> Result<Value> {
    namespace.until(
        DEADLINE,
        "certificate",
        "site",
        &format!("at revision {number}"),
        |object| object["status"]["revision"] == number && crate::support::is_ready(object),
    )
}

#[test]
fn by_hand_as_cmctl_does() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("manual")?;
    issued(&namespace, "")?;
    let old = namespace.secret_entry("site", "tls.crt")?;
    let trigger = json!({"type": "Issuing", "status": "True", "reason": "ManuallyTriggered",
        "message": "Certificate re-issuance manually triggered", "observedGeneration": 1,
        "lastTransitionTime": now()});
    set_condition(&namespace, "certificate", "site", &trigger)?;
    let done = revision(&namespace, 2)?;
    assert!(condition(&done, "Issuing").is_null());
    assert_ne!(namespace.secret_entry("site", "tls.crt")?, old);
    namespace.pair_matches("site")?;
    let requests = namespace.until_list("certificaterequest", "one request", |r| r.len() == 1)?;
    assert_eq!(requests[0]["metadata"]["name"], "site-2");
    Ok(())
}

#[test]
fn a_secret_that_is_deleted_broken_or_brought_from_elsewhere() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("broken-secret")?;
    issued(&namespace, "")?;
    namespace.kubectl(&["delete", "secret", "site"])?;
    revision(&namespace, 2)?;
    namespace.pair_matches("site")?;

    let broken = json!({"data": {"tls.key": "bm8ga2V5"}}).to_string();
    let patch = format!("--patch={broken}");
    namespace.kubectl(&["patch", "secret", "site", "--type=merge", &patch])?;
    revision(&namespace, 3)?;
    namespace.pair_matches("site")?;

    // Another type of Secret, which cannot be changed, with a label and an entry of its owner.
    namespace.kubectl(&["delete", "certificate", "site"])?;
    namespace.kubectl(&["delete", "secret", "site"])?;
    namespace.apply(
        "{apiVersion: v1, kind: Secret, metadata: {name: site, labels: {theirs: kept}}, type: Opaque, \
         data: {note: a2VwdA==}}",
    )?;
    issued(&namespace, "")?;
    namespace.pair_matches("site")?;
    let secret = namespace.get("secret", "site")?;
    assert_eq!(secret["type"], "Opaque");
    assert_eq!(secret["metadata"]["labels"]["theirs"], "kept");
    assert_eq!(secret["data"]["note"], "a2VwdA==");
    Ok(())
}

#[test]
fn a_change_of_key_names_or_issuer_but_not_of_renewal() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("changes")?;
    let first = issued(&namespace, "")?;
    // Only the time of renewal moves.
    namespace.apply(&certificate(
        "site",
        "self",
        "site.example.com",
        "renewBefore: 240h",
    ))?;
    let moved = namespace.until(DEADLINE, "certificate", "site", "moved", |object| {
        object["status"]["renewalTime"] != first["status"]["renewalTime"]
            && ready_condition(object)["observedGeneration"] == 2
    })?;
    assert_eq!(moved["status"]["revision"], 1);

    let other = certificate("site", "self", "site.example.com", "renewBefore: 240h");
    namespace.apply(&other.replace("algorithm: ECDSA", "algorithm: ECDSA, size: 384"))?;
    revision(&namespace, 2)?;
    let text = namespace.x509("site", &["-text"])?;
    assert!(text.contains("384 bit"), "{text}");

    namespace.apply(&self_signed("next"))?;
    namespace.apply(
        &other
            .replace("algorithm: ECDSA", "algorithm: ECDSA, size: 384")
            .replace("issuerRef: {name: self}", "issuerRef: {name: next}"),
    )?;
    revision(&namespace, 3)?;
    let secret = namespace.get("secret", "site")?;
    assert_eq!(
        secret["metadata"]["annotations"]["cert-manager.io/issuer-name"],
        "next"
    );

    // The defaults of the reference are the same reference.
    namespace.apply(
        &other
            .replace("algorithm: ECDSA", "algorithm: ECDSA, size: 384")
            .replace(
                "issuerRef: {name: self}",
                "issuerRef: {name: next, kind: Issuer, group: cert-manager.io}",
            ),
    )?;
    let same = namespace.until(DEADLINE, "certificate", "site", "seen", |object| {
        ready_condition(object)["observedGeneration"] == 5
    })?;
    assert_eq!(same["status"]["revision"], 3);
    assert_eq!(ready_condition(&same)["status"], "True");
    Ok(())
}

#[test]
fn a_field_that_cannot_be_met_is_named_and_nothing_is_issued() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("unmet")?;
    namespace.apply(&self_signed("self"))?;
    let asked = certificate("site", "self", "site.example.com", "");
    namespace.apply(&asked.replace("algorithm: ECDSA", "algorithm: RSA, size: 1024"))?;
    namespace.says(
        "site",
        &["spec.privateKey.size", "use 2048 to 8192"],
        DEADLINE,
    )?;
    let object = namespace.get("certificate", "site")?;
    assert_eq!(ready_condition(&object)["status"], "False");
    assert_eq!(ready_condition(&object)["reason"], "InvalidSpec");
    assert!(condition(&object, "Issuing").is_null());
    assert_eq!(object["spec"]["privateKey"]["size"], 1024, "it is kept");
    assert_eq!(namespace.list("certificaterequest")?.len(), 0);
    assert_eq!(namespace.list("secret")?.len(), 0);
    // Without it the certificate comes.
    namespace.apply(&asked.replace("algorithm: ECDSA", "algorithm: RSA, size: 2500"))?;
    namespace.ready("site", DEADLINE)?;
    Ok(())
}

#[test]
fn two_certificates_on_one_secret() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("twins")?;
    issued(&namespace, "")?;
    let twin = certificate("twin", "self", "twin.example.com", "")
        .replace("secretName: twin", "secretName: site");
    namespace.apply(&twin)?;
    let words = [
        "Certificate \"site\"",
        "spec.secretName \"site\"",
        "Secret of its own",
    ];
    namespace.says("twin", &words, DEADLINE)?;
    let secret = namespace.get("secret", "site")?;
    assert_eq!(
        secret["metadata"]["annotations"]["cert-manager.io/certificate-name"],
        "site"
    );
    assert_eq!(namespace.list("certificaterequest")?.len(), 1);
    // When the first goes, the second takes over.
    namespace.kubectl(&["delete", "certificate", "site"])?;
    namespace.ready("twin", DEADLINE)?;
    let names = namespace.x509("site", &["-ext", "subjectAltName"])?;
    assert!(names.contains("twin.example.com"), "{names}");
    Ok(())
}

#[test]
fn fields_and_conditions_newer_than_ours_survive() -> Result<()> {
    let Some(cluster) = aside() else {
        return Ok(());
    };
    let namespace = cluster.alone("newer")?;
    let patch = json!([{"op": "add", "value": true,
        "path": "/spec/versions/0/schema/openAPIV3Schema/properties/status/x-kubernetes-preserve-unknown-fields"}]);
    cluster.lab.kubectl(&[
        "patch",
        "crd",
        "certificates.cert-manager.io",
        "--type=json",
        &format!("--patch={patch}"),
    ])?;
    issued(&namespace, "")?;
    // The server takes a moment to serve the new schema.
    let newer = json!({"newer": {"than": "ours"}});
    cluster.lab.wait(DEADLINE, "the new schema", || {
        patch_status(&namespace, "certificate/site", &newer)?;
        let object = namespace.get("certificate", "site")?;
        Ok((object["status"]["newer"]["than"] == "ours").then_some(()))
    })?;
    let unknown = json!({"type": "Audited", "status": "True", "reason": "Yes", "message": "by another program",
        "lastTransitionTime": "2026-01-01T00:00:00Z"});
    set_condition(&namespace, "certificate", "site", &unknown)?;
    namespace.apply(&certificate("site", "self", "other.example.com", ""))?;
    let done = revision(&namespace, 2)?;
    assert_eq!(done["status"]["newer"]["than"], "ours");
    assert_eq!(condition(&done, "Audited")["reason"], "Yes");
    assert_eq!(
        condition(&done, "Audited")["lastTransitionTime"],
        "2026-01-01T00:00:00Z"
    );
    Ok(())
}

/// As a restore from a backup does: each Secret right before its Certificate, which an informer may show first.
#[test]
fn what_is_restored_is_not_issued_again() -> Result<()> {
    const PAIRS: usize = 100;
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("restored")?;
    issued(&namespace, "")?;
    let data = namespace.get("secret", "site")?["data"].clone();
    let names = (0..PAIRS).map(|number| format!("restored-{number}"));
    let pair = |name: &String| {
        let secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/tls",
            "metadata": { "name": name },
            "data": data,
        });
        format!(
            "{secret}\n---\n{}",
            certificate(name, "self", "site.example.com", "")
        )
    };
    let names: Vec<_> = names.collect();
    let pairs: Vec<_> = names.iter().map(pair).collect();
    namespace.apply(&pairs.join("\n---\n"))?;
    for name in &names {
        namespace.ready(name, DEADLINE)?;
        let object = namespace.until(DEADLINE, "certificate", name, "at rest", |object| {
            condition(object, "Issuing").is_null()
        })?;
        assert!(object["status"]["revision"].is_null(), "{object}");
        assert_eq!(namespace.get("secret", name)?["data"], data, "{name}");
    }
    Ok(())
}
