//! Issuers whose CA is in a Secret: what they sign, and what they say when they cannot.

use std::time::Duration;

use anyhow::{Context, Result};
use everleaf::pki::{
    CertificateSigningRequest, CertificateTemplate, Curve, KeyAlgorithm, KeyEncoding, KeyUsages,
    PrivateKey, RequestParams, Subject, Urls, build_request, self_sign,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::signing::{key_and_request, request, shell};
use crate::support::{DEADLINE, Namespace, certificate, ready_condition};
use crate::{cluster, self_signed};

/// A CA Issuer; `rest` are further fields of its `spec.ca`.
pub fn issuer(name: &str, secret: &str, rest: &str) -> String {
    format!(
        "{{apiVersion: cert-manager.io/v1, kind: Issuer, metadata: {{name: {name}}}, \
         spec: {{ca: {{secretName: {secret}{rest}}}}}}}"
    )
}

/// A CA of a Certificate of its own, and the Issuer `issuer` that signs with it.
pub fn bootstrap(namespace: &Namespace<'_>, issuer_name: &str) -> Result<()> {
    namespace.apply(&self_signed("self"))?;
    namespace.apply(&authority("root", "self"))?;
    namespace.apply(&issuer(issuer_name, "root", ""))?;
    says(
        namespace,
        issuer_name,
        "KeyPairVerified",
        "Signing CA verified",
    )
    .map(drop)
}

fn authority(name: &str, issuer: &str) -> String {
    let host = format!("{name}.example.com");
    certificate(
        name,
        issuer,
        &host,
        &format!("isCA: true, commonName: {name}, duration: 8760h"),
    )
}

/// Wait for the reason and the words of an Issuer's Ready condition.
pub fn says(namespace: &Namespace<'_>, issuer: &str, reason: &str, words: &str) -> Result<Value> {
    says_within(DEADLINE, namespace, issuer, (reason, words))
}

/// The same, with a deadline of the caller's.
pub fn says_within(
    deadline: Duration,
    namespace: &Namespace<'_>,
    issuer: &str,
    (reason, words): (&str, &str),
) -> Result<Value> {
    let what = format!("{reason}: {words}");
    namespace.until(deadline, "issuer", issuer, &what, |object| {
        let ready = ready_condition(object);
        let message = ready["message"].as_str().unwrap_or_default();
        ready["reason"] == reason && message.contains(words)
    })
}

/// Key and self-signed certificate in PEM, valid between these seconds from now on.
pub fn pair(is_ca: bool, from: i64, to: i64) -> Result<(String, String)> {
    let key = PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256))?;
    let params = RequestParams {
        subject: Subject::from_common_name("made"),
        ..RequestParams::default()
    };
    let csr = build_request(&params, &key)?;
    let csr = CertificateSigningRequest::parse_pem(csr.as_bytes())?;
    let template = CertificateTemplate {
        csr: &csr,
        not_before: Timestamp::now() + SignedDuration::from_secs(from),
        duration: Duration::from_secs(u64::try_from(to - from)?),
        is_ca,
        usages: KeyUsages::from_names::<&str>(&[], is_ca)?,
        urls: Urls::default(),
    };
    let certificate = self_sign(&template, &key)?.to_pem();
    Ok((key.to_pem(KeyEncoding::Pkcs8)?.to_string(), certificate))
}

pub const YEAR: i64 = 365 * 24 * 3600;

pub fn store(namespace: &str, name: &str, (key, certificate): &(String, String)) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": { "name": name, "namespace": namespace },
        "stringData": { "tls.key": key, "tls.crt": certificate },
    })
}

/// Check by openssl that clients who trust nothing but `ca.crt` accept what a server presents.
pub fn verify(namespace: &Namespace<'_>, secret: &str, more: &str) -> Result<()> {
    namespace.pair_matches(secret)?;
    shell(namespace, "true", &[])?;
    let dir = namespace
        .cluster
        .lab
        .dir()
        .join("openssl")
        .join(&namespace.name);
    for entry in ["tls.crt", "ca.crt"] {
        std::fs::write(dir.join(entry), namespace.secret_entry(secret, entry)?)?;
    }
    let script =
        format!("openssl verify -x509_strict {more} -CAfile ca.crt -untrusted tls.crt tls.crt");
    let said = shell(namespace, &script, &[])?;
    assert!(said.contains("tls.crt: OK"), "{said}");
    Ok(())
}

/// How many certificates are in `tls.crt`.
pub fn presented(namespace: &Namespace<'_>, secret: &str) -> Result<usize> {
    let chain = String::from_utf8(namespace.secret_entry(secret, "tls.crt")?)?;
    Ok(chain.matches("BEGIN CERTIFICATE").count())
}

#[test]
fn a_root_and_an_intermediate_of_our_own_sign_what_openssl_accepts() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("ca-bootstrap")?;
    // Everything at once, the leaf first: each waits for what it needs.
    let leaf = certificate("leaf", "ca", "leaf.example.com", "");
    let lowest = certificate("lowest", "sub", "lowest.example.com", "");
    for yaml in [
        lowest,
        leaf,
        issuer("sub", "middle", ""),
        issuer("ca", "root", ""),
    ] {
        namespace.apply(&yaml)?;
    }
    says(
        &namespace,
        "ca",
        "ErrGetKeyPair",
        "Error getting keypair for CA issuer: secrets \"root\" not found",
    )?;
    namespace.says("leaf", &["\"root\" not found"], DEADLINE)?;
    namespace.apply(&authority("middle", "ca"))?;
    namespace.apply(&self_signed("self"))?;
    namespace.apply(&authority("root", "self"))?;
    for name in ["leaf", "lowest"] {
        namespace.ready(name, DEADLINE)?;
    }
    says(&namespace, "ca", "KeyPairVerified", "Signing CA verified")?;

    verify(&namespace, "leaf", "-verify_hostname leaf.example.com")?;
    assert_eq!(presented(&namespace, "leaf")?, 1, "without the root");
    let root = namespace.secret_entry("root", "tls.crt")?;
    assert_eq!(namespace.secret_entry("leaf", "ca.crt")?, root);

    verify(&namespace, "middle", "")?;
    verify(&namespace, "lowest", "-verify_hostname lowest.example.com")?;
    assert_eq!(presented(&namespace, "lowest")?, 2, "with the intermediate");
    assert_eq!(namespace.secret_entry("lowest", "ca.crt")?, root);
    let chain = namespace.secret_entry("lowest", "tls.crt")?;
    assert!(chain.ends_with(&namespace.secret_entry("middle", "tls.crt")?));

    let done = namespace.get("certificaterequest", "leaf-1")?;
    let ready = ready_condition(&done);
    assert_eq!(
        ready["message"],
        "Certificate fetched from issuer successfully"
    );
    for reason in ["ErrGetKeyPair", "ErrInitIssuer", "KeyPairVerified"] {
        let of_issuer = |e: &Value| e["reason"] == reason && e["involvedObject"]["name"] == "ca";
        namespace.until_list("event", reason, |all| all.iter().any(of_issuer))?;
    }
    Ok(())
}

#[test]
fn a_cluster_issuer_signs_everywhere_and_says_where_more_is_found() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("ca-cluster")?;
    cluster.lab.apply(
        "{apiVersion: cert-manager.io/v1, kind: ClusterIssuer, metadata: {name: house}, spec: {ca: {secretName: house, \
         crlDistributionPoints: ['http://ca.example.com/crl'], ocspServers: ['http://ocsp.example.com'], \
         issuingCertificateURLs: ['http://ca.example.com/ca.crt']}}}",
    )?;
    let yaml = certificate("site", "house", "site.example.com", "");
    namespace.apply(&yaml.replace(
        "issuerRef: {name: house}",
        "issuerRef: {name: house, kind: ClusterIssuer}",
    ))?;
    namespace.says(
        "site",
        &["\"house\" not found", "\"kube-system\""],
        DEADLINE,
    )?;
    // The API server takes events about cluster-scoped objects there alone.
    let events = cluster.existing("default");
    events.until_list("event", "ErrGetKeyPair of the ClusterIssuer", |all| {
        all.iter().any(|event| {
            let about = &event["involvedObject"];
            event["reason"] == "ErrGetKeyPair"
                && about["kind"] == "ClusterIssuer"
                && about["name"] == "house"
        })
    })?;
    let made = pair(true, 0, YEAR)?;
    cluster
        .lab
        .apply(&store("kube-system", "house", &made).to_string())?;
    namespace.ready("site", DEADLINE)?;
    verify(&namespace, "site", "")?;
    let text = namespace.x509("site", &["-text"])?;
    for line in [
        "OCSP - URI:http://ocsp.example.com",
        "CA Issuers - URI:http://ca.example.com/ca.crt",
        "URI:http://ca.example.com/crl",
        "X509v3 Basic Constraints: critical\n                CA:FALSE",
        "X509v3 Key Usage: critical\n                Digital Signature, Key Encipherment",
        "X509v3 Subject Alternative Name: critical\n                DNS:site.example.com",
        "X509v3 Authority Key Identifier",
        "Issuer: CN = made",
        "Signature Algorithm: ecdsa-with-SHA256",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    Ok(())
}

#[test]
fn a_key_pair_that_cannot_sign_is_named_until_another_takes_its_place() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("ca-bad")?;
    namespace.apply(&issuer("ca", "pair", ""))?;
    namespace.apply(&certificate("site", "ca", "site.example.com", ""))?;
    let good = pair(true, 0, YEAR)?;
    let leaf = pair(false, 0, YEAR)?;
    let expired = pair(true, -100, -10)?;
    let early = pair(true, 3600, YEAR)?;
    let none = ("no key".to_owned(), good.1.clone());
    let other = (leaf.0.clone(), good.1.clone());
    let empty = (good.0.clone(), "no certificate".to_owned());
    for (made, reason, words) in [
        (&leaf, "ErrInvalidKeyPair", "certificate is not a CA"),
        (
            &other,
            "ErrInvalidKeyPair",
            "not the one of the first certificate",
        ),
        (&expired, "ErrInvalidKeyPair", "certificate has expired at"),
        (
            &early,
            "ErrInvalidKeyPair",
            "certificate is not valid before",
        ),
        (&none, "ErrGetKeyPair", "tls.key"),
        (&empty, "ErrGetKeyPair", "tls.crt"),
    ] {
        namespace.apply(&store(&namespace.name, "pair", made).to_string())?;
        says(&namespace, "ca", reason, words)?;
        namespace.says("site", &[words], DEADLINE)?;
    }
    namespace.kubectl(&["delete", "secret", "pair"])?;
    says(
        &namespace,
        "ca",
        "ErrGetKeyPair",
        "secrets \"pair\" not found",
    )?;
    assert!(!namespace.has("secret", "site")?, "nothing was signed");
    namespace.apply(&store(&namespace.name, "pair", &good).to_string())?;
    namespace.ready("site", DEADLINE)?;
    verify(&namespace, "site", "")?;
    assert!(
        !cluster
            .operator_log()?
            .contains(good.0.lines().nth(1).context("a key")?)
    );
    Ok(())
}

#[test]
fn another_ca_in_the_secret_signs_from_then_on() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("ca-rotated")?;
    namespace.apply(&issuer("ca", "pair", ""))?;
    for name in ["first", "second"] {
        let made = pair(true, 0, YEAR)?;
        let mark = format!("mark-{name}");
        namespace.apply(&issuer(&mark, &mark, ""))?;
        says(&namespace, &mark, "ErrGetKeyPair", "not found")?;
        namespace.apply(&store(&namespace.name, "pair", &made).to_string())?;
        // The watch that shows this one has shown the other: until then the one before may sign, as in cert-manager.
        namespace.apply(&store(&namespace.name, &mark, &made).to_string())?;
        says(&namespace, &mark, "KeyPairVerified", "")?;
        namespace.apply(&certificate(name, "ca", &format!("{name}.example.com"), ""))?;
        namespace.ready(name, DEADLINE)?;
        verify(&namespace, name, "")?;
        let ca = String::from_utf8(namespace.secret_entry(name, "ca.crt")?)?;
        assert_eq!(ca, made.1, "{name}");
    }
    Ok(())
}

#[test]
fn no_certificate_outlives_its_ca_and_a_ca_that_ends_is_told() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("ca-end")?;
    let made = pair(true, 0, 864_000)?;
    namespace.apply(&store(&namespace.name, "pair", &made).to_string())?;
    namespace.apply(&issuer("ca", "pair", ""))?;
    namespace.apply(&certificate("site", "ca", "site.example.com", ""))?;
    namespace.ready("site", DEADLINE)?;
    let end = cluster.openssl(&["x509", "-noout", "-enddate"], made.1.as_bytes())?;
    assert_eq!(namespace.x509("site", &["-enddate"])?, end);
    let request = namespace.get("certificaterequest", "site-1")?;
    let message = ready_condition(&request)["message"].to_string();
    let words = "Certificate fetched from issuer successfully; it ends at ";
    assert!(message.contains(words), "{message}");

    // One that ends while we look.
    namespace.apply(&issuer("brief", "brief", ""))?;
    says(&namespace, "brief", "ErrGetKeyPair", "not found")?;
    let states = namespace.watch("issuer", "brief")?;
    let made = pair(true, 0, 60)?;
    namespace.apply(&store(&namespace.name, "brief", &made).to_string())?;
    states.until_one(DEADLINE, "one that can sign", |issuer| {
        ready_condition(issuer)["reason"] == "KeyPairVerified"
    })?;
    let ended = ("ErrInvalidKeyPair", "certificate has expired at");
    says_within(2 * DEADLINE, &namespace, "brief", ended)?;
    Ok(())
}

#[test]
fn a_users_request_is_signed_without_its_key_and_a_broken_chain_is_the_end() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("ca-requests")?;
    let made = pair(true, 0, YEAR)?;
    namespace.apply(&store(&namespace.name, "pair", &made).to_string())?;
    let other = pair(true, 0, YEAR)?;
    let broken = (made.0.clone(), format!("{}{}", made.1, other.1));
    namespace.apply(&store(&namespace.name, "broken", &broken).to_string())?;
    let (_, csr) = key_and_request(&namespace, "users.example.com")?;
    for name in ["pair", "broken"] {
        namespace.apply(&issuer(name, name, ""))?;
        namespace.apply(&request(name, &csr, name, None))?;
    }
    let ended = |name, reason: &str| {
        namespace.until(DEADLINE, "certificaterequest", name, reason, |object| {
            ready_condition(object)["reason"] == reason
        })
    };
    let issued = ended("pair", "Issued")?;
    assert_ne!(issued["status"]["certificate"], issued["status"]["ca"]);
    let failed = ended("broken", "Failed")?;
    let message = ready_condition(&failed)["message"].to_string();
    let words = "Error signing certificate: certificate chain is malformed or broken";
    assert!(message.contains(words), "{message}");
    let event = |e: &Value| {
        e["reason"] == "SigningError"
            && e["source"]["component"] == "cert-manager-certificaterequests-issuer-ca"
    };
    namespace.until_list("event", "a SigningError", |events| events.iter().any(event))?;
    Ok(())
}
