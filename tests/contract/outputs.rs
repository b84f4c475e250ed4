//! Keystores and other formats of a Secret, on a real API server.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::support::{DEADLINE, Namespace, certificate, entry};
use crate::{aside, cluster, condition, self_signed};

const STORES: &str = "keystores: {jks: {create: true, passwordSecretRef: {name: store, key: password}}, \
                      pkcs12: {create: true, profile: Modern2023, passwordSecretRef: {name: store, key: password}}}";
const FORMATS: &str = "additionalOutputFormats: [{type: DER}, {type: CombinedPEM}]";

/// Passwords that are found nowhere by chance.
const FIRST: &str = "first-6f1c0b";
const SECOND: &str = "second-2d9e47";

const ALL: [&str; 9] = [
    "ca.crt",
    "key.der",
    "keystore.jks",
    "keystore.p12",
    "tls-combined.pem",
    "tls.crt",
    "tls.key",
    "truststore.jks",
    "truststore.p12",
];

fn set_password(namespace: &Namespace<'_>, password: &str) -> Result<()> {
    namespace.apply(&format!(
        "{{apiVersion: v1, kind: Secret, metadata: {{name: store}}, stringData: {{password: {password}}}}}"
    ))
}

fn entries(secret: &Value) -> Vec<&str> {
    let data = secret["data"].as_object();
    data.into_iter()
        .flatten()
        .map(|(k, _)| k.as_str())
        .collect()
}

/// Both PKCS#12 stores open, by OpenSSL; gives what it says of the keystore.
fn opens(namespace: &Namespace<'_>, secret: &Value, password: &str) -> Result<String> {
    let password = format!("pass:{password}");
    let arguments = ["pkcs12", "-nodes", "-passin", password.as_str()];
    let cluster = namespace.cluster;
    cluster.openssl(&arguments, &entry(secret, "truststore.p12")?)?;
    cluster.openssl(&arguments, &entry(secret, "keystore.p12")?)
}

/// The Secret, when its store opens with this password.
fn opened(namespace: &Namespace<'_>, password: &str) -> Result<Value> {
    namespace.until(DEADLINE, "secret", "site", password, |secret| {
        opens(namespace, secret, password).is_ok()
    })
}

fn nothing_was_issued_again(namespace: &Namespace<'_>) -> Result<()> {
    let requests = namespace.list("certificaterequest")?;
    ensure!(requests.len() == 1, "{} requests", requests.len());
    let certificate = namespace.get("certificate", "site")?;
    assert_eq!(certificate["status"]["revision"], 1);
    Ok(())
}

#[test]
fn the_password_comes_later_changes_and_what_is_not_asked_for_goes() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("outputs")?;
    namespace.apply(&self_signed("self"))?;
    let asked = |rest: &str| certificate("site", "self", "site.example.com", rest);
    namespace.apply(&asked(&format!("{STORES}, {FORMATS}")))?;
    // Issued, and written nowhere.
    namespace.says("site", &["Secret \"store\"", "does not exist"], DEADLINE)?;
    let object = namespace.get("certificate", "site")?;
    assert_eq!(condition(&object, "Issuing")["status"], "True");
    let secrets = namespace.list("secret")?;
    assert!(secrets.iter().all(|s| s["metadata"]["name"] != "site"));
    namespace.until_list("event", "an event", |events| {
        let reasons = events.iter().map(|e| &e["reason"]);
        reasons
            .into_iter()
            .any(|r| r == "KeystorePasswordSecretNotFound")
    })?;

    set_password(&namespace, FIRST)?;
    namespace.ready("site", DEADLINE)?;
    namespace.pair_matches("site")?;
    let secret = namespace.get("secret", "site")?;
    assert_eq!(entries(&secret), ALL);
    let text = opens(&namespace, &secret, FIRST)?;
    assert!(text.contains("BEGIN PRIVATE KEY"), "{text}");
    let (key, chain) = (entry(&secret, "tls.key")?, entry(&secret, "tls.crt")?);
    assert_eq!(
        entry(&secret, "tls-combined.pem")?,
        [key, chain].join(&b"\n"[..])
    );
    let der = entry(&secret, "key.der")?;
    let arguments = ["pkey", "-inform", "DER", "-pubout"];
    let public = cluster.openssl(&["pkey", "-pubout"], &entry(&secret, "tls.key")?)?;
    assert_eq!(cluster.openssl(&arguments, &der)?, public);
    nothing_was_issued_again(&namespace)?;

    set_password(&namespace, SECOND)?;
    let rotated = opened(&namespace, SECOND)?;
    for same in [
        "tls.crt",
        "tls.key",
        "ca.crt",
        "key.der",
        "tls-combined.pem",
    ] {
        assert_eq!(rotated["data"][same], secret["data"][same], "{same}");
    }
    assert_ne!(
        rotated["data"]["keystore.jks"],
        secret["data"]["keystore.jks"]
    );
    nothing_was_issued_again(&namespace)?;

    // What somebody breaks is put right; what is not asked for any more goes.
    let broken = json!({"data": {"key.der": "AAAA", "keystore.p12": "AAAA"}});
    let patch = format!("--patch={broken}");
    namespace.kubectl(&["patch", "secret", "site", "--type=merge", &patch])?;
    let mended = opened(&namespace, SECOND)?;
    assert_eq!(mended["data"]["key.der"], secret["data"]["key.der"]);
    namespace.apply(&asked("additionalOutputFormats: [{type: DER}]"))?;
    namespace.until(DEADLINE, "secret", "site", "smaller", |secret| {
        entries(secret) == ["ca.crt", "key.der", "tls.crt", "tls.key"]
    })?;
    namespace.apply(&asked(""))?;
    namespace.until(DEADLINE, "secret", "site", "plain", |secret| {
        entries(secret) == ["ca.crt", "tls.crt", "tls.key"]
    })?;
    nothing_was_issued_again(&namespace)?;

    // So that all events are there.
    namespace.renew("site")?;
    let events = namespace.events_after(2)?;
    let told = [
        cluster.operator_log()?,
        json!(events).to_string(),
        namespace.get("certificate", "site")?.to_string(),
    ];
    for text in told {
        assert!(!text.contains(FIRST) && !text.contains(SECOND));
    }
    Ok(())
}

#[test]
fn a_restart_finds_the_stores_as_they_should_be() -> Result<()> {
    let Some(cluster) = aside() else {
        return Ok(());
    };
    let namespace = cluster.alone("outputs-restart")?;
    namespace.apply(&self_signed("self"))?;
    set_password(&namespace, "changeit")?;
    for (profile, name) in ["LegacyRC2", "LegacyDES", "Modern2023", "Modern2026"]
        .into_iter()
        .zip(["a", "b", "c", "d"])
    {
        let stores = format!(
            "keystores: {{jks: {{create: true, password: literal}}, pkcs12: {{create: true, profile: {profile}, \
             passwordSecretRef: {{name: store, key: password}}}}}}, {FORMATS}"
        );
        namespace.apply(&certificate(name, "self", "site.example.com", &stores))?;
    }
    let names = ["a", "b", "c", "d"];
    for name in names {
        namespace.ready(name, DEADLINE)?;
    }
    cluster.quiet()?;
    let versions = || -> Result<Vec<Value>> {
        let version = |name| -> Result<Value> {
            let secret = namespace.get("secret", name)?;
            assert_eq!(entries(&secret), ALL, "{name}");
            Ok(secret["metadata"]["resourceVersion"].clone())
        };
        names.into_iter().map(version).collect()
    };
    let before = versions()?;
    cluster.stop_operator()?;
    cluster.operator(&crate::FLAGS)?;
    cluster.quiet()?;
    assert_eq!(versions()?, before);
    // The password is rotated while nobody looks.
    cluster.stop_operator()?;
    set_password(&namespace, "rotated")?;
    cluster.operator(&crate::FLAGS)?;
    namespace.until(DEADLINE, "secret", "c", "rotated", |secret| {
        opens(&namespace, secret, "rotated").is_ok()
    })?;
    Ok(())
}
