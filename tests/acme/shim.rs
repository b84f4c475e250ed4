//! The Ingress shim on a real API server: made, changed, refused, left alone, deleted.

use anyhow::Result;
use serde_json::{Value, json};

use crate::cluster;
use crate::support::{DEADLINE, Namespace, SELF_SIGNED, is_ready};

/// An Ingress with these annotations and TLS blocks, in YAML flow style.
fn ingress(annotations: &str, tls: &str) -> String {
    format!(
        "{{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {{name: web, labels: {{team: shop}}, \
         annotations: {{cert-manager.io/issuer: self, cert-manager.io/private-key-algorithm: ECDSA{annotations}}}}}, \
         spec: {{tls: [{tls}], defaultBackend: {{service: {{name: web, port: {{number: 80}}}}}}}}}}"
    )
}

fn told(namespace: &Namespace<'_>, reason: &str, says: &str) -> Result<()> {
    namespace.until_list("event", &format!("{reason} with {says}"), |all| {
        let is = |e: &&Value| e["reason"] == reason && e["involvedObject"]["kind"] == "Ingress";
        all.iter()
            .filter(is)
            .any(|e| e["message"].as_str().unwrap_or_default().contains(says))
    })?;
    Ok(())
}

#[test]
fn a_certificate_follows_its_ingress() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("shim")?;
    namespace.apply(SELF_SIGNED)?;
    let tls = "{hosts: [shim.example.com, 192.0.2.7], secretName: web-tls}";
    namespace.apply(&ingress(
        ", cert-manager.io/email-sans: ops@example.com",
        tls,
    ))?;
    let made = namespace.ready("web-tls", DEADLINE)?;
    namespace.pair_matches("web-tls")?;
    assert_eq!(made["metadata"]["labels"], json!({"team": "shop"}));
    let spec = json!({
        "dnsNames": ["shim.example.com"],
        "ipAddresses": ["192.0.2.7"],
        "emailAddresses": ["ops@example.com"],
        "secretName": "web-tls",
        "issuerRef": {"name": "self", "kind": "Issuer", "group": "cert-manager.io"},
        "usages": ["digital signature", "key encipherment"],
        "privateKey": {"algorithm": "ECDSA"},
    });
    assert_eq!(made["spec"], spec);
    told(
        &namespace,
        "CreateCertificate",
        "Successfully created Certificate \"web-tls\"",
    )?;

    // What somebody else adds stays; what the Ingress said and does not say any more goes.
    namespace.kubectl(&[
        "patch",
        "certificate",
        "web-tls",
        "--type=merge",
        "-p",
        r#"{"spec":{"uris":["spiffe://a/b"],"renewBeforePercentage":40}}"#,
    ])?;
    namespace.apply(&ingress(", cert-manager.io/duration: 48h", tls))?;
    let changed = namespace.until(DEADLINE, "certificate", "web-tls", "changed", |object| {
        object["spec"]["duration"] == "48h0m0s" && is_ready(object)
    })?;
    let spec = &changed["spec"];
    assert_eq!(spec["emailAddresses"], Value::Null);
    assert_eq!(
        (&spec["uris"], &spec["renewBeforePercentage"]),
        (&json!(["spiffe://a/b"]), &json!(40))
    );
    told(&namespace, "UpdateCertificate", "web-tls")?;

    // A fault stops nothing that is there.
    namespace.apply(&ingress(", cert-manager.io/duration: 2d", tls))?;
    told(
        &namespace,
        "BadConfig",
        "annotation cert-manager.io/duration: ",
    )?;
    assert_eq!(
        namespace.get("certificate", "web-tls")?["spec"],
        changed["spec"]
    );

    // Another Secret, another Certificate; the old one goes.
    namespace.apply(&ingress(
        "",
        "{hosts: [shim.example.com], secretName: new-tls}",
    ))?;
    namespace.ready("new-tls", DEADLINE)?;
    namespace.until_list("certificate", "only new-tls", |all| {
        all.iter().all(|c| c["metadata"]["name"] == "new-tls")
    })?;
    told(&namespace, "DeleteCertificate", "web-tls")?;

    // And with the Ingress, all of it.
    namespace.kubectl(&["delete", "ingress", "web"])?;
    namespace.none_left(&["certificate", "certificaterequest"], DEADLINE)
}

#[test]
fn a_certificate_of_somebody_else_is_left_alone_until_it_is_gone() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("shim-other")?;
    namespace.apply(SELF_SIGNED)?;
    namespace.apply(&crate::support::certificate(
        "web-tls",
        "self",
        "mine.example.com",
        "",
    ))?;
    let mine = namespace.ready("web-tls", DEADLINE)?;
    let tls = "{hosts: [b.example.com], secretName: b-tls}, {hosts: [shim.example.com], secretName: web-tls}, {hosts: [c.example.com]}";
    namespace.apply(&ingress("", tls))?;
    namespace.ready("b-tls", DEADLINE)?;
    told(&namespace, "BadConfig", "spec.tls[2] has no secretName")?;
    assert_eq!(
        namespace.get("certificate", "web-tls")?["metadata"]["resourceVersion"],
        mine["metadata"]["resourceVersion"]
    );

    namespace.kubectl(&["delete", "certificate", "web-tls"])?;
    namespace.until(
        DEADLINE,
        "certificate",
        "web-tls",
        "the Ingress's",
        |object| object["metadata"]["ownerReferences"][0]["kind"] == "Ingress" && is_ready(object),
    )?;
    Ok(())
}
