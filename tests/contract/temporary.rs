//! A temporary certificate while the issuer takes its time (contract §4.6), as openssl reads it.

use anyhow::Result;
use everleaf::pki::TEMPORARY_ISSUER;
use serde_json::Value;

use crate::ca::{YEAR, issuer, pair, store};
use crate::cluster;
use crate::support::{DEADLINE, certificate, is_ready, ready_condition};

#[test]
fn a_temporary_certificate_holds_the_place_of_the_real_one() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("temporary")?;
    // Its Secret is not there yet, so that requests wait.
    namespace.apply(&issuer("ca", "pair", ""))?;
    let asks = certificate(
        "site",
        "ca",
        "site.example.com",
        "commonName: site.example.com",
    );
    let asks = asks.replace(
        "metadata: {name: site}",
        "metadata: {name: site, annotations: {cert-manager.io/issue-temporary-certificate: 'true'}}",
    );
    namespace.apply(&asks)?;
    namespace.apply(&certificate("other", "ca", "other.example.com", ""))?;
    let held = namespace.until(DEADLINE, "secret", "site", "written", |_| true)?;
    let annotations = held["metadata"]["annotations"].as_object().unwrap();
    assert!(
        !annotations
            .keys()
            .any(|k| k.starts_with("cert-manager.io/issuer-"))
    );
    assert_eq!(annotations["cert-manager.io/certificate-name"], "site");
    assert_eq!(held["type"], "kubernetes.io/tls");
    assert!(held["data"]["ca.crt"].is_null());
    namespace.pair_matches("site")?;
    let text = namespace.x509("site", &["-text"])?;
    for part in [
        &format!("Issuer: CN = {TEMPORARY_ISSUER}"),
        "Signature Algorithm: ecdsa-with-SHA512",
        "DNS:site.example.com",
        "CA:FALSE",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let said = |e: &Value| {
        e["reason"] == "Issuing"
            && e["message"] == "Issued temporary certificate"
            && e["source"]["component"] == "cert-manager-certificates-issuing"
    };
    namespace.until_list("event", "temporary certificate", |all| all.iter().any(said))?;
    let ready = namespace.says(
        "site",
        &["temporary", "EL-1107", "\"pair\" not found"],
        DEADLINE,
    )?;
    assert!(ready.starts_with("Certificate is up to date"), "{ready}");
    let site = namespace.get("certificate", "site")?;
    assert!(!is_ready(&site), "it is being issued: {site}");
    assert!(!namespace.has("secret", "other")?, "nobody asked");

    let made = pair(true, 0, YEAR)?;
    namespace.apply(&store(&namespace.name, "pair", &made).to_string())?;
    let site = namespace.ready("site", DEADLINE)?;
    let message = &ready_condition(&site)["message"];
    assert_eq!(message, "Certificate is up to date and has not expired");
    assert!(namespace.x509("site", &["-issuer"])?.contains("CN = made"));
    assert_eq!(namespace.secret_entry("site", "ca.crt")?, made.1.as_bytes());
    let issued = namespace.get("secret", "site")?;
    assert_eq!(
        issued["metadata"]["annotations"]["cert-manager.io/issuer-name"],
        "ca"
    );
    assert_eq!(
        issued["data"]["tls.key"], held["data"]["tls.key"],
        "the same key"
    );
    Ok(())
}
