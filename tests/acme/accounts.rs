//! Accounts at the CA: keys of each type, another key for the same account, and a CA that has forgotten it.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::layout::key_hash;
use crate::support::{Ca, Cluster, DEADLINE, Namespace, certificate, entry, ready_condition};
use crate::{SAID, TRAEFIK, cluster};

/// A CA of the test's own, and an Issuer of it.
pub fn authority(cluster: &Cluster, annotations: &str) -> Result<(Ca, String)> {
    // Refused nonces would be asked for twice.
    let ca = Ca::start(&cluster.lab, &[("PEBBLE_WFE_NONCEREJECT", "0")], |config| {
        config
    })?;
    let issuer = ca.issuer(cluster, "pebble", TRAEFIK)?.replace(
        "metadata: {name: pebble}",
        &format!("metadata: {{name: pebble, annotations: {{{annotations}}}}}"),
    );
    Ok((ca, issuer))
}

fn account(namespace: &Namespace<'_>) -> Result<Value> {
    Ok(namespace.get("issuer", "pebble")?["status"]["acme"].clone())
}

fn is_ready(issuer: &Value) -> bool {
    ready_condition(issuer)["status"] == "True"
}

/// What openssl says about the account's key.
fn key(namespace: &Namespace<'_>) -> Result<String> {
    let pem = namespace.secret_entry("pebble-account", "tls.key")?;
    let text = namespace
        .cluster
        .openssl(&["pkey", "-noout", "-text_pub"], &pem)?;
    Ok(text)
}

#[test]
fn keys_of_each_type_that_the_ca_takes() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    for (algorithm, says) in [
        ("RS256", "Public-Key: (2048 bit)"),
        ("ES256", "NIST CURVE: P-256"),
        ("ES384", "NIST CURVE: P-384"),
    ] {
        let name = format!("key-{}", algorithm.to_lowercase());
        let namespace = cluster.namespace(&name)?;
        let wish = format!("everleaf.io/account-key-algorithm: {algorithm}");
        let (ca, issuer) = authority(cluster, &wish)?;
        namespace.apply(&issuer)?;
        let host = format!("{name}.example.com");
        namespace.apply(&certificate("site", "pebble", &host, ""))?;
        namespace.ready("site", DEADLINE)?;
        let text = key(&namespace)?;
        assert!(text.contains(says), "{algorithm}: {text}");
        assert_eq!((ca.accounts()?, ca.orders()?), (1, 1));
    }
    Ok(())
}

/// Pebble does not read `EdDSA`, and nobody reads other words.
#[test]
fn a_key_that_the_ca_does_not_take_is_said() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    for (name, algorithm, says) in [
        ("key-eddsa", "EdDSA", "badSignatureAlgorithm"),
        (
            "key-none",
            "none",
            "\"none\" is none of RS256, ES256, ES384, EdDSA",
        ),
    ] {
        let namespace = cluster.namespace(name)?;
        let wish = format!("everleaf.io/account-key-algorithm: {algorithm}");
        let (_ca, issuer) = authority(cluster, &wish)?;
        namespace.apply(&issuer)?;
        namespace.until(SAID, "issuer", "pebble", "saying why", |issuer| {
            let ready = ready_condition(issuer);
            let message = ready["message"].as_str().unwrap_or_default();
            ready["status"] == "False" && message.contains(says)
        })?;
    }
    Ok(())
}

#[test]
fn another_key_for_the_same_account() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("rollover")?;
    let (ca, issuer) = authority(cluster, "")?;
    namespace.apply(&issuer)?;
    namespace.apply(&certificate("site", "pebble", "rollover.example.com", ""))?;
    namespace.ready("site", DEADLINE)?;
    let (before, old) = (account(&namespace)?, key(&namespace)?);

    let rotate = |values: [&str; 2]| {
        let [when, algorithm] = values;
        let when = format!("everleaf.io/rotate-account-key={when}");
        let algorithm = format!("everleaf.io/account-key-algorithm={algorithm}");
        namespace.kubectl(&[
            "annotate",
            "--overwrite",
            "issuer",
            "pebble",
            &when,
            &algorithm,
        ])
    };
    let noted = |hash: &Value| {
        let hash = hash.clone();
        namespace.until(
            DEADLINE,
            "issuer",
            "pebble",
            "of another key",
            move |issuer| {
                is_ready(issuer) && issuer["status"]["acme"]["lastPrivateKeyHash"] != hash
            },
        )
    };
    rotate(["first", "RS256"])?;
    let after = noted(&before["lastPrivateKeyHash"])?["status"]["acme"].clone();
    assert_eq!(after["uri"], before["uri"], "the same account");
    assert_ne!(key(&namespace)?, old);
    let secret = namespace.get("secret", "pebble-account")?;
    assert_eq!(
        secret["metadata"]["annotations"],
        json!({"everleaf.io/account-key-rotation": "first"})
    );
    let entries = secret["data"].as_object().context("data")?;
    assert_eq!(entries.keys().collect::<Vec<_>>(), ["tls.key"]);
    let hash = key_hash(&namespace, &entry(&secret, "tls.key")?)?;
    assert_eq!(after["lastPrivateKeyHash"], json!(hash));
    assert_eq!(ca.count("POST /rollover-account-key -> calling")?, 1);

    // Once for each wish, and of another type if that is wanted.
    rotate(["second", "ES256"])?;
    let last = noted(&after["lastPrivateKeyHash"])?;
    assert_eq!(last["status"]["acme"]["uri"], before["uri"]);
    assert!(key(&namespace)?.contains("P-256"));

    // What the CA does not take leaves all as it is.
    rotate(["third", "EdDSA"])?;
    namespace.until_list("event", "word of it", |events| {
        events.iter().any(|event| {
            let message = event["message"].as_str().unwrap_or_default();
            event["reason"] == "AccountKeyKept" && message.contains("badSignatureAlgorithm")
        })
    })?;
    let secret = namespace.until(
        DEADLINE,
        "secret",
        "pebble-account",
        "as before",
        |secret| secret["data"]["tls.key.next"].is_null(),
    )?;
    assert!(!entry(&secret, "tls.key")?.is_empty());
    assert!(key(&namespace)?.contains("P-256"));
    assert!(is_ready(&namespace.get("issuer", "pebble")?));

    // The account is in use with its new key.
    namespace.renew("site")?;
    namespace.until(DEADLINE, "certificate", "site", "renewed", |object| {
        object["status"]["revision"] == 2
    })?;
    assert_eq!((ca.accounts()?, ca.orders()?), (1, 2));
    Ok(())
}

#[test]
fn an_address_that_changes() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("email")?;
    let (ca, issuer) = authority(cluster, "")?;
    let with =
        |email: &str| issuer.replace("    profile:", &format!("    email: {email}\n    profile:"));
    let mut accounts = Vec::new();
    for email in ["one@example.com", "two@example.com"] {
        namespace.apply(&with(email))?;
        let issuer = namespace.until(DEADLINE, "issuer", "pebble", "registered", |issuer| {
            is_ready(issuer) && issuer["status"]["acme"]["lastRegisteredEmail"] == email
        })?;
        accounts.push(issuer["status"]["acme"]["uri"].clone());
    }
    assert_eq!(accounts[0], accounts[1]);
    assert_eq!(ca.accounts()?, 1);
    Ok(())
}

/// Two Certificates notice it at once; the account is registered again once, with its old key.
#[test]
fn a_ca_that_was_rebuilt() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("rebuilt")?;
    let (ca, issuer) = authority(cluster, "")?;
    namespace.apply(&issuer)?;
    let names = ["one", "two"];
    for name in names {
        let host = format!("{name}.rebuilt.example.com");
        namespace.apply(&certificate(name, "pebble", &host, ""))?;
    }
    for name in names {
        namespace.ready(name, DEADLINE)?;
    }
    assert_eq!(ca.accounts()?, 1);
    let (before, old) = (account(&namespace)?, key(&namespace)?);
    ca.stop()?;
    ca.restart()?;
    for name in names {
        namespace.renew(name)?;
    }
    for name in names {
        namespace.until(DEADLINE, "certificate", name, "renewed", |object| {
            object["status"]["revision"] == 2
        })?;
    }
    assert_eq!(ca.accounts()?, 2, "one by each CA");
    assert_eq!(key(&namespace)?, old);
    let after = account(&namespace)?;
    assert_eq!(after["lastPrivateKeyHash"], before["lastPrivateKeyHash"]);
    Ok(())
}
