//! Renewal: due in time, one write, and a valid pair in the Secret all along.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::Value;

use crate::support::{DEADLINE, Namespace, Watch, certificate, entry, is_ready, ready_condition};
use crate::{TRAEFIK, cluster};

/// A certificate of the profile `minute` lives for 60 s.
const RENEWED: Duration = DEADLINE;

fn time(value: &Value) -> Result<Timestamp> {
    Ok(value.as_str().unwrap_or_default().parse()?)
}

/// Seconds from the start of validity to renewal, and to the end.
fn schedule(certificate: &Value) -> Result<(i64, i64)> {
    let status = &certificate["status"];
    let start = time(&status["notBefore"])?;
    let since = |field: &str| Ok::<_, anyhow::Error>((time(&status[field])? - start).get_seconds());
    Ok((since("renewalTime")?, since("notAfter")?))
}

fn ask(namespace: &Namespace<'_>, host: &str, rest: &str) -> Result<()> {
    let issuer = namespace.cluster.acme_issuer("pebble", "minute", TRAEFIK)?;
    namespace.apply(&issuer)?;
    namespace.apply(&certificate("site", "pebble", host, rest))
}

#[test]
fn two_thirds_into_its_life() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("renew-third")?;
    ask(&namespace, "renew-third.example.com", "")?;
    let (renewal, end) = schedule(&namespace.ready("site", RENEWED)?)?;
    // Pebble counts the last second too.
    assert!((59..=60).contains(&end), "{end}");
    assert_eq!(renewal, end * 2 / 3);
    namespace.kubectl(&["delete", "certificate", "site"])?;
    Ok(())
}

/// The Certificate when it is Ready with this revision: the watch has seen it, however short that was.
fn of_revision(watch: &Watch, revision: u64) -> Result<Value> {
    let is_it = |object: &Value| object["status"]["revision"] == revision && is_ready(object);
    let what = format!("revision {revision}");
    let events = watch.until_one(RENEWED, &what, is_it)?;
    let mut objects = events.into_iter().map(|(_, object)| object);
    objects.find(is_it).context(what)
}

/// The requests that were there after something of this type happened to the one of this name, by name.
fn requests_after(watch: &Watch, kind: &str, name: &str) -> Result<BTreeMap<String, Value>> {
    let is_it = |(happened, object): &(String, Value)| {
        happened == kind && object["metadata"]["name"] == name
    };
    let what = format!("{kind} {name}");
    let events = watch.until(RENEWED, &what, |events| events.iter().any(is_it))?;
    let mut there = BTreeMap::new();
    for event in events {
        let is_last = is_it(&event);
        let (kind, object) = event;
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        if kind == "DELETED" {
            there.remove(name);
        } else {
            there.insert(name.to_owned(), object);
        }
        if is_last {
            break;
        }
    }
    Ok(there)
}

/// The versions of a Secret so far.
fn versions(namespace: &Namespace<'_>, watch: &Watch, name: &str) -> Result<Vec<Value>> {
    let seen = watch.as_far_as(&namespace.get("secret", name)?)?;
    assert!(seen.iter().all(|(kind, _)| kind != "DELETED"));
    Ok(seen.into_iter().map(|(_, secret)| secret).collect())
}

#[test]
fn before_the_end_as_asked_for_and_always_with_a_valid_pair() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("renew-before")?;
    let secrets = namespace.watch("secret", "site")?;
    let certificates = namespace.watch("certificate", "site")?;
    let requests = namespace.watch("certificaterequest", "")?;
    ask(&namespace, "renew-before.example.com", "renewBefore: 40s")?;
    let first = of_revision(&certificates, 1)?;
    let (renewal, end) = schedule(&first)?;
    assert_eq!(renewal, end - 40);
    let second = of_revision(&certificates, 2)?;
    assert!(time(&second["status"]["notAfter"])? > time(&first["status"]["notAfter"])?);

    // It goes on being renewed: what is true of two is true of more.
    let versions = versions(&namespace, &secrets, "site")?;
    assert!(versions.len() >= 2, "{versions:?}");
    for pair in versions.windows(2) {
        let [old, new] = [0, 1].map(|number| entry(&pair[number], "tls.crt"));
        assert_ne!(old?, new?, "one write each");
        // The default policy: a new private key each time.
        let [old, new] = [0, 1].map(|number| entry(&pair[number], "tls.key"));
        assert_ne!(old?, new?);
    }
    for secret in &versions {
        cluster.is_pair(secret)?;
    }

    let mut ready = false;
    for (_, object) in certificates.as_far_as(&second)? {
        let now = ready_condition(&object)["status"] == "True";
        assert!(now || !ready, "not Ready while it is renewed: {object}");
        ready |= now;
    }
    let mut left = requests_after(&requests, "DELETED", "site-1")?;
    // Whoever collects it late finds the next one there.
    left.retain(|name, _| name.as_str() <= "site-2");
    assert!(left.keys().eq(["site-2"]), "one request: {left:?}");
    assert_eq!(
        left["site-2"]["metadata"]["annotations"]["cert-manager.io/certificate-revision"],
        "2"
    );
    namespace.kubectl(&["delete", "certificate", "site"])?;
    Ok(())
}

#[test]
fn by_percentage_with_the_same_key_and_a_longer_history() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("renew-percentage")?;
    let secrets = namespace.watch("secret", "site")?;
    let certificates = namespace.watch("certificate", "site")?;
    let requests = namespace.watch("certificaterequest", "")?;
    let rest = "renewBeforePercentage: 80, revisionHistoryLimit: 2, \
                privateKey: {algorithm: ECDSA, rotationPolicy: Never}";
    let issuer = cluster.acme_issuer("pebble", "minute", TRAEFIK)?;
    namespace.apply(&issuer)?;
    namespace.apply(
        &certificate("site", "pebble", "renew-percentage.example.com", rest).replacen(
            "privateKey: {algorithm: ECDSA}, ",
            "",
            1,
        ),
    )?;
    let (renewal, end) = schedule(&of_revision(&certificates, 1)?)?;
    assert_eq!(renewal, end * 2 / 10);
    of_revision(&certificates, 2)?;
    // Between the second and the third there was time to forget the first.
    let kept = requests_after(&requests, "ADDED", "site-3")?;
    assert!(kept.keys().eq(["site-1", "site-2", "site-3"]), "{kept:?}");
    let versions = versions(&namespace, &secrets, "site")?;
    assert!(versions.len() >= 2, "{versions:?}");
    let key = entry(&versions[0], "tls.key")?;
    for secret in &versions {
        cluster.is_pair(secret)?;
        assert_eq!(entry(secret, "tls.key")?, key);
    }
    namespace.kubectl(&["delete", "certificate", "site"])?;
    Ok(())
}
