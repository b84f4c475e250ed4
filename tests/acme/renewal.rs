//! Renewal: due in time, one write, and a valid pair in the Secret all along.

use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use serde_json::Value;

use crate::support::{Namespace, certificate, entry, ready_condition};
use crate::{TRAEFIK, cluster};

/// A certificate of the profile `minute` lives for 60 s.
const RENEWED: Duration = Duration::from_secs(90);

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

fn issued(namespace: &Namespace<'_>, host: &str, rest: &str) -> Result<Value> {
    let issuer = namespace.cluster.acme_issuer("pebble", "minute", TRAEFIK)?;
    namespace.apply(&issuer)?;
    namespace.apply(&certificate("site", "pebble", host, rest))?;
    namespace.ready("site", RENEWED)
}

#[test]
fn two_thirds_into_its_life() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("renew-third")?;
    let (renewal, end) = schedule(&issued(&namespace, "renew-third.example.com", "")?)?;
    // Pebble counts the last second too.
    assert!((59..=60).contains(&end), "{end}");
    assert_eq!(renewal, end * 2 / 3);
    namespace.kubectl(&["delete", "certificate", "site"])?;
    Ok(())
}

#[test]
fn before_the_end_as_asked_for_and_always_with_a_valid_pair() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("renew-before")?;
    let secrets = namespace.watch("secret", "site")?;
    let certificates = namespace.watch("certificate", "site")?;
    let first = issued(&namespace, "renew-before.example.com", "renewBefore: 50s")?;
    let (renewal, end) = schedule(&first)?;
    assert_eq!(renewal, end - 50);
    let second = namespace.until(RENEWED, "certificate", "site", "renewed", |object| {
        object["status"]["revision"] == 2
    })?;
    assert!(time(&second["status"]["notAfter"])? > time(&first["status"]["notAfter"])?);

    let versions: Vec<Value> = secrets
        .events()?
        .into_iter()
        .map(|(kind, secret)| {
            assert_ne!(kind, "DELETED");
            secret
        })
        .collect();
    let leaves: Vec<_> = versions
        .iter()
        .map(|secret| entry(secret, "tls.crt"))
        .collect::<Result<_>>()?;
    assert_eq!(leaves.len(), 2, "one write each");
    assert_ne!(leaves[0], leaves[1]);
    for secret in &versions {
        cluster.is_pair(secret)?;
    }
    // The default policy: a new private key each time.
    assert_ne!(
        entry(&versions[0], "tls.key")?,
        entry(&versions[1], "tls.key")?
    );

    let mut ready = false;
    for (_, object) in certificates.events()? {
        let now = ready_condition(&object)["status"] == "True";
        assert!(now || !ready, "not Ready while it is renewed: {object}");
        ready |= now;
    }
    let requests = namespace.until_list("certificaterequest", "one request", |requests| {
        requests.len() == 1
    })?;
    assert_eq!(requests[0]["metadata"]["name"], "site-2");
    assert_eq!(
        requests[0]["metadata"]["annotations"]["cert-manager.io/certificate-revision"],
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
    let first = namespace.ready("site", RENEWED)?;
    let key = namespace.secret_entry("site", "tls.key")?;
    let (renewal, end) = schedule(&first)?;
    assert_eq!(renewal, end * 2 / 10);
    namespace.until(RENEWED, "certificate", "site", "renewed", |object| {
        object["status"]["revision"] == 2
    })?;
    namespace.pair_matches("site")?;
    assert_eq!(namespace.secret_entry("site", "tls.key")?, key);
    let requests = namespace.list("certificaterequest")?;
    let names: Vec<_> = requests.iter().map(|r| &r["metadata"]["name"]).collect();
    assert_eq!(names, ["site-1", "site-2"]);
    namespace.kubectl(&["delete", "certificate", "site"])?;
    Ok(())
}
