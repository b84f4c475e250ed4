//! An annotated Ingress gets its Certificate, and the site its certificate.

use anyhow::Result;
use serde_json::Value;

use crate::support::{DEADLINE, Namespace};
use crate::{cluster, self_signed};

fn ingress(namespace: &Namespace<'_>, annotations: &str, hosts: &str) -> Result<Value> {
    namespace.apply(&format!(
        "{{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {{name: web, labels: {{team: a}}, \
         annotations: {{{annotations}}}}}, spec: {{ingressClassName: traefik, \
         tls: [{{hosts: [{hosts}], secretName: web-tls}}], \
         rules: [{{host: shim.example.com, http: {{paths: [{{path: /, pathType: Prefix, \
         backend: {{service: {{name: web, port: {{number: 80}}}}}}}}]}}}}]}}}}"
    ))?;
    namespace.get("ingress", "web")
}

#[test]
fn an_annotated_ingress_from_birth_to_death() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("shim")?;
    namespace.apply(&self_signed("self"))?;
    let annotations = "cert-manager.io/issuer: self, cert-manager.io/private-key-algorithm: ECDSA, \
                       cert-manager.io/duration: 72h";
    let owner = ingress(&namespace, annotations, "shim.example.com")?;
    let made = namespace.ready("web-tls", DEADLINE)?;
    assert_eq!(made["metadata"]["labels"]["team"], "a");
    assert_eq!(
        made["metadata"]["ownerReferences"][0]["uid"],
        owner["metadata"]["uid"]
    );
    assert_eq!(made["spec"]["secretName"], "web-tls");
    assert_eq!(made["spec"]["duration"], "72h0m0s");
    assert_eq!(made["spec"]["issuerRef"]["kind"], "Issuer");
    namespace.pair_matches("web-tls")?;
    let made =
        |e: &Value| e["reason"] == "CreateCertificate" && e["involvedObject"]["name"] == "web";
    namespace.until_list("event", "a CreateCertificate", |all| all.iter().any(made))?;

    // A host more, and the certificate follows.
    ingress(
        &namespace,
        annotations,
        "shim.example.com, more.example.com",
    )?;
    namespace.until(DEADLINE, "certificate", "web-tls", "re-issued", |object| {
        object["status"]["revision"] == 2 && crate::support::is_ready(object)
    })?;
    let names = namespace.x509("web-tls", &["-ext", "subjectAltName"])?;
    assert!(names.contains("DNS:more.example.com"), "{names}");

    // Without the TLS block the Certificate goes; the Secret stays, as it may be in use.
    namespace.kubectl(&[
        "patch",
        "ingress",
        "web",
        "--type=json",
        "--patch=[{\"op\":\"remove\",\"path\":\"/spec/tls\"}]",
    ])?;
    namespace.none_left(&["certificate"], DEADLINE)?;
    assert!(namespace.get("secret", "web-tls").is_ok());

    // And back; it goes with its Ingress.
    ingress(&namespace, annotations, "shim.example.com")?;
    namespace.ready("web-tls", DEADLINE)?;
    namespace.kubectl(&["delete", "ingress", "web"])?;
    namespace.none_left(&["certificate", "certificaterequest"], DEADLINE)
}

#[test]
fn annotations_that_contradict_each_other_are_an_event() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("shim-bad")?;
    let annotations = "cert-manager.io/issuer: self, cert-manager.io/cluster-issuer: self";
    ingress(&namespace, annotations, "shim-bad.example.com")?;
    let events = namespace.until_list("event", "a BadConfig", |events| {
        events.iter().any(|e| e["reason"] == "BadConfig")
    })?;
    let said = events.iter().find(|e| e["reason"] == "BadConfig");
    let message = said.map(|e| e["message"].to_string()).unwrap_or_default();
    assert!(
        message.contains("cert-manager.io/cluster-issuer"),
        "{message}"
    );
    assert_eq!(namespace.list("certificate")?.len(), 0);
    Ok(())
}
