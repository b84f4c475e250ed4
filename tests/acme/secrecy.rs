//! Private keys and tokens are told to nobody who did not have them before.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::support::{Namespace, certificate};
use crate::{SAID, TRAEFIK, cluster};

#[test]
fn neither_keys_nor_tokens_are_told() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("secrecy")?;
    let challenges = namespace.watch("challenge", "")?;
    let keys = namespace.watch("secret", "")?;
    // The CA is asked without a look of our own, so that one attempt fails.
    let issuer = cluster
        .acme_issuer("pebble", "default", TRAEFIK)?
        .replace("{http01:", "{waitInsteadOfSelfCheck: 15s, http01:");
    namespace.apply(&issuer)?;
    namespace.apply(&certificate("good", "pebble", "secrecy.example.com", ""))?;
    namespace.apply(&certificate(
        "bad",
        "pebble",
        "secrecy.nowhere.example.com",
        "",
    ))?;
    namespace.ready("good", SAID)?;
    namespace.says("bad", &["no such host", "Next attempt at"], SAID)?;

    let mut secrets = Vec::new();
    let shown = |events: &[(String, Value)], part: &[&str]| {
        let pointer = format!("/{}", part.join("/"));
        let parts = events
            .iter()
            .filter_map(|(_, object)| object.pointer(&pointer));
        parts.map(Value::to_string).collect::<BTreeSet<_>>().len()
    };
    let of_both = challenges.until(SAID, "two Challenges", |events| {
        shown(events, &["spec", "token"]) >= 2
    })?;
    for (_, challenge) in of_both {
        for field in ["token", "key"] {
            let value = challenge["spec"][field].as_str().context("a Challenge")?;
            secrets.push(value.to_owned());
        }
    }
    let of_all = keys.until(SAID, "three keys", |events| {
        shown(events, &["data", "tls.key"]) >= 3
    })?;
    for (_, secret) in of_all {
        let pem = crate::support::entry(&secret, "tls.key")?;
        // A line from the middle of the key.
        let line = String::from_utf8(pem)?
            .lines()
            .nth(1)
            .map(ToOwned::to_owned);
        secrets.extend(line);
    }
    secrets.sort();
    secrets.dedup();
    assert!(secrets.len() >= 7, "two Challenges, three keys");

    // The last that there is to tell.
    let is_last = |event: &Value| {
        let about = &event["involvedObject"];
        event["reason"] == "Failed" && about["kind"] == "Certificate" && about["name"] == "bad"
    };
    namespace.events_after(1)?;
    namespace.until_list("event", "the failure", |all| all.iter().any(is_last))?;
    let told = [
        ("log", cluster.operator_log()?),
        ("events", all(&namespace, "event", Value::clone)?),
        (
            "certificates",
            all(&namespace, "certificate", |o| o["status"].clone())?,
        ),
        (
            "challenges",
            all(&namespace, "challenge", |o| o["status"].clone())?,
        ),
        (
            "orders",
            all(&namespace, "order", |o| o["status"]["reason"].clone())?,
        ),
        (
            "requests",
            all(&namespace, "certificaterequest", |o| {
                o["status"]["conditions"].clone()
            })?,
        ),
    ];
    for (place, text) in told {
        assert!(!text.contains("PRIVATE KEY"), "{place}: {text}");
        for secret in &secrets {
            assert!(
                !text.contains(secret.as_str()),
                "{secret} is told in {place}"
            );
        }
    }
    Ok(())
}

/// What all objects of a kind say, in one text.
fn all(namespace: &Namespace<'_>, kind: &str, said: impl Fn(&Value) -> Value) -> Result<String> {
    let objects = namespace.list(kind)?;
    assert!(!objects.is_empty(), "no {kind}");
    Ok(objects.iter().map(|o| said(o).to_string()).collect())
}
