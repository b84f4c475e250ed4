//! step-ca, of which Caddy's ACME server is made too: certificates of a day; validation within the request, and none after
//! that but on request; no change of keys.

use std::time::Duration;

use anyhow::Result;
use lab::{Lab, PrivateCa};

use super::{Server, keeps_its_key, revised, revoke};
use crate::cluster;
use crate::support::{DEADLINE, certificate};

/// Where the one is whose list is looked at.
const LISTED: u16 = 9100;

fn server(lab: &Lab, port: u16) -> Result<(PrivateCa, Server)> {
    let ca = lab.step_ca(port)?;
    let server = Server {
        directory: ca.directory.clone(),
        root: lab.acme_ca_pem()?,
    };
    Ok((ca, server))
}

/// What it has revoked, as openssl shows it.
fn revoked(lab: &Lab, port: u16) -> Result<String> {
    let file = lab.dir().join("step.crl");
    let mut curl = lab.command("curl");
    curl.args(["-fsS", "--cacert"])
        .arg(lab.dir().join("pki/ca.crt"));
    curl.arg("--output")
        .arg(&file)
        .arg(format!("https://{}:{port}/crl", lab::ADDRESS));
    lab::output(&mut curl)?;
    let mut openssl = lab.command("openssl");
    openssl
        .args(["crl", "-inform", "DER", "-noout", "-text", "-in"])
        .arg(&file);
    Ok(lab::output(&mut openssl)?.to_lowercase())
}

#[test]
#[ignore = "the server takes minutes to build: make nightly"]
fn the_life_of_a_certificate() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("by-step")?;
    let (_ca, server) = server(&cluster.lab, LISTED)?;
    server.serves(&namespace, "")?;
    server.issues_and_renews(&namespace)?;
    for (name, reason, signer) in [
        ("site", "superseded", "Account"),
        ("wild", "keyCompromise", "CertificateKey"),
    ] {
        let serial = revoke(&namespace, name, reason, signer)?;
        let all = revoked(&cluster.lab, LISTED)?;
        assert!(all.contains(&serial), "{serial}: {all}");
        revised(&namespace, name, 3)?;
    }
    keeps_its_key(&namespace, "not implemented")
}

/// It leaves a challenge `pending` whose answer it does not find, and looks again when it is asked (RFC 8555 §8.2).
#[test]
#[ignore = "the server takes minutes to build: make nightly"]
fn a_name_that_appears_after_the_ca_has_looked() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("by-patient-step")?;
    let (_ca, server) = server(&cluster.lab, 9101)?;
    server.serves(&namespace, "")?;
    let hasty = "[{\"op\": \"add\", \"path\": \"/spec/acme/solvers/0/waitInsteadOfSelfCheck\", \"value\": \"0s\"}]";
    namespace.kubectl(&["patch", "issuer", "ca", "--type=json", "--patch", hasty])?;
    namespace.kubectl(&["annotate", "issuer", "ca", "everleaf.io/preflight=off"])?;
    let host = "step.nowhere.example.com";
    namespace.apply(&certificate("site", "ca", host, ""))?;
    namespace.says("site", &["urn:ietf:params:acme:error:connection"], DEADLINE)?;
    cluster.dns_update(&format!("add {host} 1 A {}", lab::ADDRESS))?;
    let object = namespace.ready("site", Duration::from_secs(30))?;
    assert_eq!(object["status"]["revision"], 1);
    assert_eq!(namespace.list("order")?.len(), 1, "it is the same order");
    Ok(())
}
