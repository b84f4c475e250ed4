//! Issuers of other groups: their controllers sign, this operator does the rest.

use anyhow::Result;
use serde_json::json;

use crate::signing::sign;
use crate::support::{DEADLINE, Namespace, certificate, ready_condition};
use crate::{cluster, condition, now, patch_status, set_condition};

const ISSUER: &str = "issuerRef: {name: outside, kind: Outside, group: issuers.example.org}";

fn external(host: &str) -> String {
    certificate("site", "x", host, "").replace("issuerRef: {name: x}", ISSUER)
}

/// Play the external issuer.
fn answer(namespace: &Namespace<'_>, request: &str) -> Result<()> {
    let object = namespace.until(
        DEADLINE,
        "certificaterequest",
        request,
        "approved",
        |object| condition(object, "Approved")["status"] == "True",
    )?;
    assert!(ready_condition(&object).is_null(), "not ours to judge");
    let (certificate, ca) = sign(namespace, request)?;
    let mut conditions = object["status"]["conditions"].clone();
    if let Some(all) = conditions.as_array_mut() {
        all.push(json!({"type": "Ready", "status": "True", "reason": "Issued", "message": "signed outside",
            "lastTransitionTime": now()}));
    }
    let status = json!({"certificate": certificate, "ca": ca, "conditions": conditions});
    patch_status(namespace, &format!("certificaterequest/{request}"), &status)
}

#[test]
fn a_request_is_made_approved_and_its_answer_used() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("external")?;
    namespace.apply(&external("one.external.example.com"))?;
    let words = [
        "CertificateRequest \"site-1\" waits for the external issuer",
        "issuers.example.org",
        "outside",
    ];
    namespace.says("site", &words, DEADLINE)?;
    answer(&namespace, "site-1")?;
    namespace.ready("site", DEADLINE)?;
    namespace.pair_matches("site")?;
    let secret = namespace.get("secret", "site")?;
    let annotations = &secret["metadata"]["annotations"];
    assert_eq!(annotations["cert-manager.io/issuer-name"], "outside");
    assert_eq!(annotations["cert-manager.io/issuer-kind"], "Outside");
    assert_eq!(
        annotations["cert-manager.io/issuer-group"],
        "issuers.example.org"
    );
    let ca = String::from_utf8(namespace.secret_entry("site", "ca.crt")?)?;
    assert!(ca.starts_with("-----BEGIN CERTIFICATE-----"));

    // A change of the spec: not Ready until the new one is there, and served meanwhile.
    let old = namespace.secret_entry("site", "tls.crt")?;
    namespace.apply(&external("two.external.example.com"))?;
    let changed = namespace.until(DEADLINE, "certificate", "site", "not Ready", |object| {
        ready_condition(object)["reason"] == "RequestChanged"
    })?;
    assert_eq!(ready_condition(&changed)["status"], "False");
    assert_eq!(ready_condition(&changed)["observedGeneration"], 2);
    let message = ready_condition(&changed)["message"].to_string();
    assert!(message.contains("spec.dnsNames"), "{message}");
    assert_eq!(condition(&changed, "Issuing")["status"], "True");
    assert_eq!(condition(&changed, "Issuing")["reason"], "RequestChanged");
    assert_eq!(namespace.secret_entry("site", "tls.crt")?, old);
    answer(&namespace, "site-2")?;
    let done = namespace.ready("site", DEADLINE)?;
    assert_eq!(done["status"]["revision"], 2);
    assert!(condition(&done, "Issuing").is_null());
    namespace.pair_matches("site")?;
    let names = namespace.x509("site", &["-ext", "subjectAltName"])?;
    assert!(names.contains("two.external.example.com"), "{names}");
    Ok(())
}

#[test]
fn an_invalid_request_and_a_wrong_certificate_are_failures() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("external-bad")?;
    namespace.apply(&external("one.external-bad.example.com"))?;
    namespace.until_list("certificaterequest", "one request", |all| all.len() == 1)?;
    let refusal = json!({"type": "InvalidRequest", "status": "True", "reason": "TooLong", "message": "names are too long",
        "lastTransitionTime": now()});
    set_condition(&namespace, "certificaterequest", "site-1", &refusal)?;
    namespace.says("site", &["names are too long", "Next attempt at"], DEADLINE)?;
    let failed = namespace.get("certificate", "site")?;
    assert_eq!(condition(&failed, "Issuing")["reason"], "TooLong");

    // The spec is corrected, which ends the back-off; then a certificate for another key comes.
    namespace.apply(&external("two.external-bad.example.com"))?;
    let asked = namespace.until(DEADLINE, "certificaterequest", "site-1", "new", |object| {
        condition(object, "InvalidRequest").is_null()
            && condition(object, "Approved")["status"] == "True"
    })?;
    let (_, ca) = sign(&namespace, "site-1")?;
    let mut conditions = asked["status"]["conditions"].clone();
    if let Some(all) = conditions.as_array_mut() {
        all.push(json!({"type": "Ready", "status": "True", "reason": "Issued", "message": "signed outside",
            "lastTransitionTime": now()}));
    }
    let status = json!({"certificate": ca, "conditions": conditions});
    patch_status(&namespace, "certificaterequest/site-1", &status)?;
    let failed = namespace.until(DEADLINE, "certificate", "site", "failed", |object| {
        condition(object, "Issuing")["reason"] == "InvalidCertificate"
    })?;
    let message = condition(&failed, "Issuing")["message"].to_string();
    assert!(message.contains("another public key"), "{message}");
    assert!(
        namespace.get("secret", "site").is_err(),
        "nothing is written"
    );
    Ok(())
}
