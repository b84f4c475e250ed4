//! What is asked for, and what is written: names, keys, Secrets, accounts.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::support::{Ca, DEADLINE, Namespace, Request, certificate, entry, poll, requests};
use crate::{FLAGS, TRAEFIK, aside, cluster};

/// The CSR of a request as openssl prints it.
fn csr(namespace: &Namespace<'_>, request: &str) -> Result<String> {
    use base64::Engine as _;
    let request = namespace.get("certificaterequest", request)?;
    let pem = base64::engine::general_purpose::STANDARD
        .decode(request["spec"]["request"].as_str().context("a CSR")?)?;
    namespace
        .cluster
        .openssl(&["req", "-noout", "-text", "-verify"], &pem)
}

#[test]
fn several_names_keep_their_order_and_keys_are_rsa() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("names")?;
    namespace.apply(&cluster.acme_issuer("pebble", "default", TRAEFIK)?)?;
    namespace.apply(
        "{apiVersion: cert-manager.io/v1, kind: Certificate, metadata: {name: site, labels: {team: a}, \
         annotations: {note: kept}}, \
         spec: {secretName: site-tls, dnsNames: [z.names.example.com, a.names.example.com, m.names.example.com], \
         issuerRef: {name: pebble, kind: Issuer, group: cert-manager.io}}}",
    )?;
    namespace.ready("site", DEADLINE)?;
    namespace.pair_matches("site-tls")?;

    let request = namespace.get("certificaterequest", "site-1")?;
    assert_eq!(request["metadata"]["labels"], json!({"team": "a"}));
    assert_eq!(request["metadata"]["annotations"]["note"], "kept");
    let text = csr(&namespace, "site-1")?;
    assert!(
        text.contains("DNS:z.names.example.com, DNS:a.names.example.com, DNS:m.names.example.com"),
        "{text}"
    );
    assert!(text.contains("Public-Key: (2048 bit)"), "{text}");
    assert!(
        text.contains("Digital Signature, Key Encipherment"),
        "{text}"
    );

    let key = String::from_utf8(namespace.secret_entry("site-tls", "tls.key")?)?;
    assert!(key.starts_with("-----BEGIN RSA PRIVATE KEY-----\n"));
    let secret = namespace.get("secret", "site-tls")?;
    assert_eq!(secret["type"], "kubernetes.io/tls");
    assert_eq!(secret["data"]["ca.crt"], Value::Null, "ACME gives no CA");
    let annotations = &secret["metadata"]["annotations"];
    for (name, value) in [
        ("certificate-name", "site"),
        ("issuer-name", "pebble"),
        ("issuer-kind", "Issuer"),
        ("issuer-group", "cert-manager.io"),
        ("ip-sans", ""),
        ("uri-sans", ""),
    ] {
        assert_eq!(
            annotations[format!("cert-manager.io/{name}")],
            value,
            "{name}"
        );
    }
    let names = annotations["cert-manager.io/alt-names"]
        .as_str()
        .context("alt-names")?;
    let shown = namespace.x509("site-tls", &["-ext", "subjectAltName"])?;
    let expected: Vec<_> = names.split(',').map(|n| format!("DNS:{n}")).collect();
    assert!(shown.contains(&expected.join(", ")), "{names} / {shown}");
    let mut sorted: Vec<_> = names.split(',').collect();
    sorted.sort_unstable();
    assert_eq!(
        sorted,
        [
            "a.names.example.com",
            "m.names.example.com",
            "z.names.example.com"
        ]
    );
    // The chain leads to the CA's root.
    let chain = String::from_utf8(namespace.secret_entry("site-tls", "tls.crt")?)?;
    assert_eq!(chain.matches("BEGIN CERTIFICATE").count(), 2);
    Ok(())
}

#[test]
fn encoding_usages_and_a_template_that_changes() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("template")?;
    namespace.apply(&cluster.acme_issuer("pebble", "default", TRAEFIK)?)?;
    let with = |template: &str| {
        certificate(
            "site",
            "pebble",
            "template.example.com",
            &format!("usages: [digital signature, server auth], secretTemplate: {template}"),
        )
        .replacen(
            "privateKey: {algorithm: ECDSA}",
            "privateKey: {algorithm: ECDSA, size: 384, encoding: PKCS8}",
            1,
        )
    };
    namespace.apply(&with("{labels: {a: one, b: two}, annotations: {c: three}}"))?;
    namespace.ready("site", DEADLINE)?;
    namespace.pair_matches("site")?;
    let text = csr(&namespace, "site-1")?;
    assert!(text.contains("TLS Web Server Authentication"), "{text}");
    assert!(text.contains("Public-Key: (384 bit)"), "{text}");
    let key = String::from_utf8(namespace.secret_entry("site", "tls.key")?)?;
    assert!(key.starts_with("-----BEGIN PRIVATE KEY-----\n"));
    let before = namespace.get("secret", "site")?;
    assert_eq!(before["metadata"]["labels"]["a"], "one");
    assert_eq!(before["metadata"]["labels"]["b"], "two");
    assert_eq!(before["metadata"]["annotations"]["c"], "three");

    // Somebody else's label stays; ours follow the template; nothing is issued anew.
    namespace.kubectl(&["label", "secret", "site", "theirs=kept"])?;
    namespace.apply(&with("{labels: {a: changed}}"))?;
    let after = namespace.until(
        DEADLINE,
        "secret",
        "site",
        "as the template says",
        |secret| {
            let labels = &secret["metadata"]["labels"];
            labels["a"] == "changed"
                && labels["b"].is_null()
                && secret["metadata"]["annotations"]["c"].is_null()
        },
    )?;
    assert_eq!(after["metadata"]["labels"]["theirs"], "kept");
    assert_eq!(after["data"], before["data"]);

    // What somebody takes away comes back.
    namespace.kubectl(&["label", "secret", "site", "a-"])?;
    namespace.kubectl(&["annotate", "secret", "site", "cert-manager.io/alt-names-"])?;
    let back = namespace.until(DEADLINE, "secret", "site", "repaired", |secret| {
        secret["metadata"]["labels"]["a"] == "changed"
            && secret["metadata"]["annotations"]["cert-manager.io/alt-names"]
                == "template.example.com"
    })?;
    assert_eq!(back["data"], before["data"]);
    assert_eq!(
        namespace.get("certificate", "site")?["status"]["revision"],
        1
    );
    Ok(())
}

#[test]
fn an_account_is_made_once() -> Result<()> {
    let Some(cluster) = aside() else {
        return Ok(());
    };
    let namespace = cluster.alone("account")?;
    let ca = Ca::start(&cluster.lab, &[], |config| config)?;
    let issuer = ca.issuer(cluster, "pebble", TRAEFIK)?.replace(
        "    profile:",
        "    email: Someone@Example.com\n    profile:",
    );
    namespace.apply(&issuer)?;
    namespace.apply(&certificate("site", "pebble", "account.example.com", ""))?;
    namespace.ready("site", DEADLINE)?;

    let secret = namespace.get("secret", "pebble-account")?;
    assert_eq!(
        secret["metadata"]["labels"],
        json!({"app.kubernetes.io/managed-by": "cert-manager"})
    );
    let key = entry(&secret, "tls.key")?;
    assert!(key.starts_with(b"-----BEGIN RSA PRIVATE KEY-----\n"));
    let status = namespace.get("issuer", "pebble")?["status"].clone();
    let account = &status["acme"];
    let authority = ca.directory.trim_end_matches("/dir");
    let uri = account["uri"].as_str().context("an account URL")?;
    assert!(uri.starts_with(authority), "{uri}");
    assert_eq!(account["lastRegisteredEmail"], "Someone@Example.com");
    assert_eq!(
        account["lastPrivateKeyHash"],
        json!(key_hash(&namespace, &key)?)
    );
    assert_eq!(status["conditions"][0]["reason"], "ACMEAccountRegistered");
    assert_eq!(ca.accounts()?, 1);

    // A restart changes nothing. Nobody asks for three seconds either while the CA is slow to say when to renew.
    namespace.until(DEADLINE, "certificate", "site", "asked about", |object| {
        object["status"]["acme"]["ari"]["suggestedWindow"].is_object()
    })?;
    namespace.quiet()?;
    let before = requests(&cluster.lab)?.len();
    cluster.operator(&FLAGS)?;
    // What other tests have left behind is theirs.
    let since = || -> Result<Vec<_>> {
        let since = requests(&cluster.lab)?.into_iter().skip(before);
        Ok(since.filter(|r| r.namespace == namespace.name).collect())
    };
    poll(DEADLINE, "the account being read", || {
        let since = since()?;
        let read = |r: &Request| r.verb == "get" && r.name == "pebble-account";
        ensure!(since.iter().any(read), "{since:?}");
        Ok(())
    })?;
    namespace.quiet()?;
    let writes: Vec<_> = since()?.into_iter().filter(Request::is_write).collect();
    assert_eq!(writes, []);
    assert_eq!(ca.accounts()?, 1);

    // The account is in use all the same.
    namespace.apply(&certificate(
        "other",
        "pebble",
        "other.account.example.com",
        "",
    ))?;
    namespace.ready("other", DEADLINE)?;
    assert_eq!(ca.accounts()?, 1);
    Ok(())
}

/// Base64 of the SHA-256 of the key's PKCS#1 form (contract §1.6).
pub fn key_hash(namespace: &Namespace<'_>, pem: &[u8]) -> Result<String> {
    let lab = &namespace.cluster.lab;
    let file = lab.dir().join("account.key");
    std::fs::write(&file, pem)?;
    let mut shell = lab.command("sh");
    shell.args([
        "-c",
        "openssl rsa -in \"$0\" -traditional -outform DER 2>/dev/null | openssl dgst -sha256 -binary | base64",
    ]);
    Ok(lab::output(shell.arg(file))?.trim().to_owned())
}

#[test]
fn an_external_account() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("external-account")?;
    let ca = Ca::start(&cluster.lab, &[], |config| {
        config.replace(
            "\"externalAccountBindingRequired\": false",
            "\"externalAccountBindingRequired\": true",
        )
    })?;
    let without = ca.issuer(cluster, "pebble", TRAEFIK)?;
    namespace.apply(&without)?;
    namespace.apply(&certificate(
        "site",
        "pebble",
        "external-account.example.com",
        "",
    ))?;
    let words = [
        "Issuer \"pebble\" is not ready",
        "externalAccountRequired",
        "Set spec.acme.externalAccountBinding",
    ];
    namespace.says("site", &words, DEADLINE)?;
    let with = without.replace(
        "    profile:",
        "    externalAccountBinding: {keyID: kid-1, keySecretRef: {name: eab, key: secret}}\n    profile:",
    );
    namespace.apply(&with)?;
    namespace.says(
        "site",
        &["Secret \"eab\"", "has no entry \"secret\""],
        DEADLINE,
    )?;
    // Its arrival is enough.
    let secret = format!("--from-literal=secret={}", lab::EAB_KEY);
    namespace.kubectl(&["create", "secret", "generic", "eab", &secret])?;
    namespace.ready("site", crate::SAID)?;
    assert_eq!(ca.accounts()?, 1);
    Ok(())
}
