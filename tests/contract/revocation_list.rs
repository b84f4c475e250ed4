//! The revocation list of a CA issuer: signed, served, named in certificates, and what openssl makes of it.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::ca::{issuer, says};
use crate::signing::shell;
use crate::support::{DEADLINE, Namespace, certificate, poll, ready_condition};
use crate::{FLAGS, LISTS, aside, cluster, self_signed};

/// The Certificate of a CA that may sign lists, and keeps its key.
fn authority(name: &str, issuer: &str) -> String {
    let may = "isCA: true, commonName: root, duration: 8760h, usages: [cert sign, crl sign]";
    let (any, kept) = (
        "algorithm: ECDSA",
        "algorithm: ECDSA, rotationPolicy: Never",
    );
    certificate(name, issuer, "root.example.com", may).replacen(any, kept, 1)
}

/// A CA that may sign lists, an issuer with one, and a leaf.
fn prepared(namespace: &Namespace<'_>, list: &str) -> Result<()> {
    namespace.apply(&self_signed("self"))?;
    namespace.apply(&authority("root", "self"))?;
    namespace.apply(&issuer(
        "house",
        "root",
        &format!(", revocationList: {list}"),
    ))?;
    says(namespace, "house", "KeyPairVerified", "Signing CA verified")?;
    namespace.apply(&certificate("leaf", "house", "leaf.example.com", ""))?;
    namespace.ready("leaf", DEADLINE)?;
    Ok(())
}

/// What openssl says of a certificate in a Secret, with the list as a client fetches it where the certificate says.
fn verdict(namespace: &Namespace<'_>, secret: &str) -> Result<String> {
    shell(namespace, "true", &[])?;
    let lab = &namespace.cluster.lab;
    let dir = lab.dir().join("openssl").join(&namespace.name);
    for entry in ["tls.crt", "ca.crt"] {
        std::fs::write(dir.join(entry), namespace.secret_entry(secret, entry)?)?;
    }
    let script = "url=$(openssl x509 -in tls.crt -noout -ext crlDistributionPoints | sed -n 's/^ *URI://p'); \
                  curl -fsS -o list.der \"$url\"; openssl crl -inform DER -in list.der -out list.pem; \
                  openssl crl -in list.pem -noout -CAfile ca.crt 2>&1; \
                  openssl verify -crl_check -CAfile ca.crt -CRLfile list.pem tls.crt 2>&1 || true";
    shell(namespace, script, &[])
}

/// The list, once so many certificates are in it.
fn fetched_with(namespace: &Namespace<'_>, count: usize) -> Result<String> {
    poll(
        DEADLINE,
        &format!("{count} certificates in the list"),
        || {
            let listed = fetched(namespace)?;
            let found = listed.matches("Serial Number:").count();
            ensure!(found == count, "{listed}");
            Ok(listed)
        },
    )
}

/// The list of the issuer `house`, as openssl prints it.
fn fetched(namespace: &Namespace<'_>) -> Result<String> {
    let url = format!("{LISTS}/crl/{}/house.crl", namespace.name);
    let script = "curl -fsS -o list.der \"$1\"; openssl crl -inform DER -in list.der -noout -text";
    shell(namespace, script, &[&url])
}

fn number(text: &str) -> Result<u64> {
    let (_, rest) = text.split_once("X509v3 CRL Number:").context("a number")?;
    let word = rest.split_whitespace().next().context("a number")?;
    Ok(match word.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16)?,
        None => word.parse()?,
    })
}

#[test]
fn openssl_refuses_what_is_revoked_and_takes_what_replaces_it() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("crl")?;
    prepared(&namespace, "{}")?;
    let first = number(&fetched_with(&namespace, 0)?)?;
    let said = verdict(&namespace, "leaf")?;
    assert!(
        said.contains("verify OK") && said.contains("tls.crt: OK"),
        "{said}"
    );
    let url = namespace.x509("leaf", &["-ext", "crlDistributionPoints"])?;
    assert!(
        url.contains(&format!("URI:{LISTS}/crl/crl/house.crl")),
        "{url}"
    );

    let old = namespace.get("secret", "leaf")?;
    let done = namespace.revoked_as("gone", "leaf", "keyCompromise")?;
    assert_eq!(done["signedBy"], "CA");
    namespace.until(DEADLINE, "certificate", "leaf", "replaced", |object| {
        object["status"]["revision"] == 2 && crate::support::is_ready(object)
    })?;
    let listed = fetched_with(&namespace, 1)?;
    let said = verdict(&namespace, "leaf")?;
    assert!(
        said.contains("verify OK") && said.contains("tls.crt: OK"),
        "{said}"
    );
    assert!(listed.contains("Key Compromise"), "{listed}");
    assert!(number(&listed)? > first);
    let new = namespace.get("secret", "leaf")?;
    assert_ne!(old["data"]["tls.key"], new["data"]["tls.key"]);

    // What the old certificate's clients see.
    let certificate = crate::support::entry(&old, "tls.crt")?;
    let dir = cluster.lab.dir().join("openssl").join(&namespace.name);
    std::fs::write(dir.join("old.crt"), certificate)?;
    let script = "openssl verify -crl_check -CAfile ca.crt -CRLfile list.pem old.crt 2>&1 || true";
    let said = shell(&namespace, script, &[])?;
    assert!(said.contains("certificate revoked"), "{said}");

    // The object may go: the list keeps what it says.
    namespace.kubectl(&["delete", "certificaterevocation", "gone"])?;
    namespace.revoked_as("next", "leaf", "superseded")?;
    let listed = fetched_with(&namespace, 2)?;
    assert!(
        listed.contains("Key Compromise") && listed.contains("Superseded"),
        "{listed}"
    );
    Ok(())
}

/// The list is gone or broken, the operator starts anew, the CA is renewed with the same key: what is revoked stays so, and
/// numbers go up.
#[test]
fn what_is_revoked_stays_in_the_list_whatever_happens() -> Result<()> {
    let Some(cluster) = aside() else {
        return Ok(());
    };
    let namespace = cluster.alone("crl-stays")?;
    prepared(&namespace, "{}")?;
    let name = "everleaf-crl-issuer-house";
    let done = namespace.revoked_as("gone", "leaf", "keyCompromise")?;
    let serial = done["serial"].as_str();
    let serial = serial.context("a serial number")?.to_uppercase();
    let is_in = |listed: &str| listed.matches(&serial).count() == 1;
    let mut last = fetched_with(&namespace, 1)?;
    assert!(is_in(&last), "{serial}: {last}");

    let broken = r#"{"binaryData": {"ca.crl": "bm8gbGlzdA=="}}"#;
    let patch = format!("--patch={broken}");
    for harm in [
        vec!["delete", "configmap", name],
        vec!["patch", "configmap", name, "--type=merge", &patch],
    ] {
        namespace.kubectl(&harm)?;
        last = cluster.lab.wait(DEADLINE, "the list", || {
            let listed = fetched(&namespace).ok();
            let higher = |listed: &String| {
                matches!((number(listed), number(&last)), (Ok(new), Ok(old)) if new > old)
            };
            Ok(listed.filter(higher))
        })?;
        assert!(is_in(&last), "{serial}: {last}");
    }

    // A restart signs nothing.
    cluster.operator(&FLAGS)?;
    cluster.quiet()?;
    assert_eq!(fetched(&namespace)?, last);

    // What only the list knows, with a renewed CA.
    namespace.kubectl(&["delete", "certificaterevocation", "gone"])?;
    let before = namespace.get("secret", "root")?;
    namespace.renew("root")?;
    let root = namespace.until(DEADLINE, "certificate", "root", "renewed", |object| {
        object["status"]["revision"] == 2 && crate::support::is_ready(object)
    });
    root?;
    let after = namespace.get("secret", "root")?;
    assert_eq!(before["data"]["tls.key"], after["data"]["tls.key"]);
    assert_ne!(before["data"]["tls.crt"], after["data"]["tls.crt"]);
    namespace.ready("leaf", DEADLINE)?;
    namespace.revoked_as("next", "leaf", "superseded")?;
    let listed = fetched_with(&namespace, 2)?;
    assert!(is_in(&listed), "{serial}: {listed}");
    let said = verdict(&namespace, "leaf")?;
    assert!(said.contains("verify OK"), "{said}");
    Ok(())
}

#[test]
fn without_a_list_or_the_right_to_sign_one_it_is_said() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("crl-none")?;
    crate::ca::bootstrap(&namespace, "house")?;
    namespace.apply(&certificate("leaf", "house", "leaf.example.com", ""))?;
    namespace.ready("leaf", DEADLINE)?;
    namespace.apply(
        "{apiVersion: everleaf.io/v1alpha1, kind: CertificateRevocation, metadata: {name: gone}, \
         spec: {certificateRef: {name: leaf}}}",
    )?;
    let says = |words: &'static [&'static str]| {
        namespace.until(
            DEADLINE,
            "certificaterevocation",
            "gone",
            "said",
            move |object| {
                let message = ready_condition(object)["message"].to_string();
                words.iter().all(|word| message.contains(word))
            },
        )
    };
    says(&["spec.ca.revocationList", "EL-1602"])?;
    namespace.apply(&issuer("house", "root", ", revocationList: {}"))?;
    says(&["crl sign", "EL-1604"])?;
    Ok(())
}

/// A ClusterIssuer whose list is watched: what one namespace has revoked of another's is replaced there, by the list alone.
#[test]
fn what_another_namespace_has_revoked_is_replaced_by_the_list() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let home = cluster.existing("kube-system");
    let (theirs, ours) = (
        cluster.namespace("crl-theirs")?,
        cluster.namespace("crl-ours")?,
    );
    home.apply(&self_signed("crl-self"))?;
    home.apply(&authority("crl-root", "crl-self"))?;
    home.apply(
        "{apiVersion: cert-manager.io/v1, kind: ClusterIssuer, metadata: {name: crl-shared}, \
         spec: {watchRevocationLists: true, ca: {secretName: crl-root, revocationList: {}}}}",
    )?;
    let leaf = |name: &str| {
        let issuer = "issuerRef: {name: crl-shared, kind: ClusterIssuer}";
        certificate(name, "x", &format!("{name}.example.com"), "")
            .replace("issuerRef: {name: x}", issuer)
    };
    theirs.apply(&leaf("copied"))?;
    theirs.ready("copied", DEADLINE)?;
    // Who has key and certificate may have it revoked.
    let entry = |entry| theirs.secret_entry("copied", entry).map(String::from_utf8);
    let copy = serde_json::json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "copy" },
        "stringData": { "tls.crt": entry("tls.crt")??, "tls.key": entry("tls.key")?? } });
    ours.apply(&copy.to_string())?;
    let states = theirs.watch("certificate", "copied")?;
    ours.apply(
        "{apiVersion: everleaf.io/v1alpha1, kind: CertificateRevocation, metadata: {name: gone}, spec: \
         {secretRef: {name: copy}, issuerRef: {name: crl-shared, kind: ClusterIssuer}, reason: superseded}}",
    )?;
    ours.until(
        DEADLINE,
        "certificaterevocation",
        "gone",
        "revoked",
        |object| ready_condition(object)["reason"] == "Revoked",
    )?;
    // The list may be a minute old for who has fetched it.
    theirs.until(
        2 * DEADLINE,
        "certificate",
        "copied",
        "replaced",
        |object| object["status"]["revision"] == 2 && crate::support::is_ready(object),
    )?;
    let list = format!("{LISTS}/crl/crl-shared.crl");
    let says_so = |object: &Value| {
        let ready = ready_condition(object);
        let message = ready["message"].as_str().unwrap_or_default();
        ready["reason"] == "Revoked" && message.contains(&list) && message.contains("superseded")
    };
    states.until_one(DEADLINE, "one that says so", says_so)?;
    Ok(())
}
