//! Limits of a CA are foreseen. Pebble has none: the issuer's annotation says what it would have, and its log what it was
//! asked.

use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::Value;

use crate::support::{Ca, Cluster, DEADLINE, Namespace, certificate};
use crate::{FLAGS, SAID, TRAEFIK, cluster};

const WAITS: &str = "waits for a limit of the CA, next slot ";

/// A CA of the test's own, and its issuer with these limits.
fn limited(cluster: &Cluster, namespace: &Namespace<'_>, limits: &str) -> Result<Ca> {
    let ca = Ca::start(&cluster.lab, &[("PEBBLE_AUTHZREUSE", "0")], |config| config)?;
    let issuer = cluster.acme_issuer("limited", "default", TRAEFIK)?;
    let annotations =
        format!("{{name: limited, annotations: {{everleaf.io/acme-limits: '{limits}'}}}}");
    let issuer = issuer
        .replace("{name: limited}\nspec", &format!("{annotations}\nspec"))
        .replace(&cluster.lab.acme_directory(), &ca.directory);
    namespace.apply(&issuer)?;
    namespace.until(DEADLINE, "issuer", "limited", "Ready", |issuer| {
        issuer["status"]["conditions"][0]["status"] == "True"
    })?;
    Ok(ca)
}

fn site(name: &str) -> String {
    certificate(name, "limited", &format!("{name}.ledger.example.com"), "")
}

/// When the CA issued the certificate of now: Pebble dates nothing back.
fn issued_at(namespace: &Namespace<'_>, certificate: &str) -> Result<Timestamp> {
    let object = namespace.get("certificate", certificate)?;
    let from = object["status"]["notBefore"].as_str();
    Ok(from.context("not issued")?.parse()?)
}

fn restart(cluster: &Cluster) -> Result<()> {
    cluster.kill_operator()?;
    cluster.operator(&FLAGS)
}

#[test]
fn what_would_be_refused_waits_and_says_until_when_and_a_restart_changes_nothing() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.alone("ledger-waits")?;
    let ca = limited(cluster, &namespace, "domain=2/60s")?;
    namespace.apply(&[site("one"), site("two")].join("\n---\n"))?;
    namespace.ready("one", DEADLINE)?;
    namespace.ready("two", DEADLINE)?;
    namespace.apply(&site("three"))?;
    let words = [WAITS, " UTC: 2 a minute for example.com (EL-1430)."];
    let said = namespace.says("three", &words, SAID)?;
    assert_eq!(ca.orders()?, 2, "it was not asked");

    restart(cluster)?;
    let object = namespace.ready("three", Duration::from_mins(1))?;
    assert_eq!(ca.orders()?, 3);
    let first = issued_at(&namespace, "one")?.min(issued_at(&namespace, "two")?);
    let waited = issued_at(&namespace, "three")?.duration_since(first);
    assert!(waited.as_secs() >= 29, "{waited}, said: {said}");
    // It was one attempt all along.
    let requests = namespace.list("certificaterequest")?;
    assert_eq!(requests.len(), 3);
    assert_eq!(object["status"]["failedIssuanceAttempts"], Value::Null);
    assert_eq!(object["status"]["revision"], 1);
    Ok(())
}

#[test]
fn who_waits_is_served_by_expiry() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("ledger-expiry")?;
    let ca = limited(cluster, &namespace, "domain=1/6s")?;
    namespace.apply("{apiVersion: cert-manager.io/v1, kind: Issuer, metadata: {name: own}, spec: {selfSigned: {}}}")?;
    let sites = [("a", "960h"), ("b", "240h"), ("c", "720h"), ("d", "480h")];
    let before = sites.map(|(name, duration)| {
        let site = site(name).replace("issuerRef: {name: limited}", "issuerRef: {name: own}");
        site.replace("secretName", &format!("duration: {duration}, secretName"))
    });
    namespace.apply(&before.join("\n---\n"))?;
    for (name, _) in sites {
        namespace.ready(name, DEADLINE)?;
    }
    // The one token is taken while all others come to want it.
    namespace.apply(&site("first"))?;
    namespace.ready("first", DEADLINE)?;
    let patch = r#"--patch={"spec":{"issuerRef":{"name":"limited"}}}"#;
    for (name, _) in sites {
        namespace.kubectl(&["patch", "certificate", name, "--type=merge", patch])?;
    }
    let mut issued = vec![];
    for (name, _) in sites {
        namespace.until(
            Duration::from_secs(90),
            "certificate",
            name,
            "of the CA",
            |object| object["status"]["revision"] == 2,
        )?;
        issued.push((issued_at(&namespace, name)?, name));
    }
    issued.sort_unstable();
    // The first may have found a token before the others were there.
    let order: String = issued
        .iter()
        .map(|(_, name)| *name)
        .filter(|name| *name != "a")
        .collect();
    assert_eq!(order, "bdc", "{issued:?}");
    assert_eq!(ca.orders()?, 5, "none was refused, none made twice");
    Ok(())
}

#[test]
fn what_deleted_certificates_took_is_not_forgotten() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.alone("ledger-kept")?;
    let ca = limited(cluster, &namespace, "domain=1/40s")?;
    namespace.apply(&site("gone"))?;
    namespace.ready("gone", DEADLINE)?;
    namespace.kubectl(&["delete", "certificate", "gone"])?;
    namespace.kubectl(&["delete", "secret", "gone"])?;
    let kept = |issuer: &Value| {
        let bucket = &issuer["status"]["acme"]["limits"]["buckets"][0];
        bucket["of"] == "example.com" && bucket["limit"] == "CertificatesPerDomain"
    };
    namespace.until(SAID, "issuer", "limited", "told", kept)?;
    restart(cluster)?;
    namespace.apply(&site("next"))?;
    namespace.says("next", &[WAITS, "1 in 40s for example.com"], SAID)?;
    assert_eq!(ca.orders()?, 1);
    namespace.ready("next", Duration::from_mins(1))?;
    Ok(())
}

#[test]
fn no_more_orders_at_once_than_may_be() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("ledger-under-way")?;
    let ca = limited(cluster, &namespace, "under-way=2")?;
    let orders = namespace.watch("order", "")?;
    let sites: Vec<_> = (0..6).map(|n| format!("site-{n}")).collect();
    let all: Vec<_> = sites.iter().map(|name| site(name)).collect();
    namespace.apply(&all.join("\n---\n"))?;
    for name in &sites {
        namespace.ready(name, DEADLINE)?;
    }
    let mut under_way = std::collections::BTreeSet::new();
    for (_, order) in orders.events()? {
        let name = order["metadata"]["name"].to_string();
        match (&order["status"]["state"], &order["status"]["url"]) {
            (state, _) if state == "valid" => under_way.remove(&name),
            (_, Value::Null) => false,
            _ => under_way.insert(name),
        };
        assert!(under_way.len() <= 2, "{under_way:?}");
    }
    assert_eq!(ca.orders()?, 6);
    Ok(())
}

#[test]
fn limits_that_cannot_be_read_are_named() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("ledger-unreadable")?;
    let _ca = limited(cluster, &namespace, "domain=fifty")?;
    let said = |words: &'static str| {
        move |issuer: &Value| {
            let condition = &issuer["status"]["conditions"][0];
            let message = condition["message"].as_str().unwrap_or_default();
            condition["status"] == "True" && message.ends_with(words)
        }
    };
    let fault = "everleaf.io/acme-limits]: \"domain=fifty\": expected COUNT/TIME, such as 50/7d or 300/3h, or none \
                 (EL-1431).";
    namespace.until(SAID, "issuer", "limited", "naming the fault", said(fault))?;
    // It works all the same.
    namespace.apply(&site("site"))?;
    namespace.ready("site", DEADLINE)?;
    namespace.kubectl(&[
        "annotate",
        "issuer",
        "limited",
        "--overwrite",
        "everleaf.io/acme-limits=domain=50/7d",
    ])?;
    namespace.until(
        SAID,
        "issuer",
        "limited",
        "content",
        said("registered with the ACME server"),
    )?;
    Ok(())
}
