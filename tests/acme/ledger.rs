//! Limits of a CA are foreseen. Pebble has none: the issuer's annotation says what it would have, and its log what it was
//! asked.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::support::{Ca, Cluster, DEADLINE, Namespace, certificate};
use crate::{FLAGS, SAID, TRAEFIK, aside, cluster};

const WAITS: &str = "waits for a limit of the CA, next slot ";

/// A CA of the test's own, and its issuer with these limits.
fn limited(cluster: &Cluster, namespace: &Namespace<'_>, limits: &str) -> Result<Ca> {
    let ca = Ca::start(&cluster.lab, &[("PEBBLE_AUTHZREUSE", "0")], |config| config)?;
    let issuer = ca.issuer(cluster, "limited", TRAEFIK)?;
    let annotations =
        format!("{{name: limited, annotations: {{everleaf.io/acme-limits: '{limits}'}}}}");
    let issuer = issuer.replace("{name: limited}\nspec", &format!("{annotations}\nspec"));
    namespace.apply(&issuer)?;
    namespace.until(DEADLINE, "issuer", "limited", "Ready", |issuer| {
        issuer["status"]["conditions"][0]["status"] == "True"
    })?;
    Ok(ca)
}

fn site(name: &str) -> String {
    certificate(name, "limited", &format!("{name}.ledger.example.com"), "")
}

/// The issuer learns that its CA allows more.
fn allow(namespace: &Namespace<'_>, limits: &str) -> Result<()> {
    let limits = format!("everleaf.io/acme-limits={limits}");
    let annotate = ["annotate", "issuer", "limited", "--overwrite", &limits];
    namespace.kubectl(&annotate).map(drop)
}

/// The first labels of the names of the orders, as the CA has made them.
fn ordered(namespace: &Namespace<'_>, ca: &Ca) -> Result<Vec<String>> {
    let objects = namespace.list("order")?;
    let name = |line: &String| {
        let id = line.split('"').nth(1)?;
        let of_it = |object: &&Value| {
            object["status"]["url"]
                .as_str()
                .is_some_and(|url| url.ends_with(id))
        };
        let object = objects.iter().find(of_it)?;
        let host = object["spec"]["dnsNames"][0].as_str()?;
        host.split('.').next().map(str::to_owned)
    };
    let made = ca.said("Added order ")?;
    let names = made
        .iter()
        .map(|line| name(line).with_context(|| format!("no Order for {line}")));
    names.collect()
}

fn restart(cluster: &Cluster) -> Result<()> {
    cluster.kill_operator()?;
    cluster.operator(&FLAGS)
}

#[test]
fn what_would_be_refused_waits_and_says_until_when_and_a_restart_changes_nothing() -> Result<()> {
    let Some(cluster) = aside() else {
        return Ok(());
    };
    let namespace = cluster.alone("ledger-waits")?;
    let ca = limited(cluster, &namespace, "domain=2/1h")?;
    namespace.apply(&[site("one"), site("two")].join("\n---\n"))?;
    namespace.ready("one", DEADLINE)?;
    namespace.ready("two", DEADLINE)?;
    namespace.apply(&site("three"))?;
    let words = [WAITS, " UTC: 2 an hour for example.com (EL-1430)."];
    namespace.says("three", &words, SAID)?;
    assert_eq!(ca.orders()?, 2, "it was not asked");

    restart(cluster)?;
    // Who comes after the restart stands behind who waited before.
    namespace.apply(&site("four"))?;
    namespace.says("four", &words, SAID)?;
    namespace.quiet()?;
    namespace.says("three", &words, SAID)?;
    assert_eq!(ca.orders()?, 2, "nor after a restart");
    // It was one attempt all along.
    allow(&namespace, "domain=50/7d")?;
    let object = namespace.ready("three", DEADLINE)?;
    namespace.ready("four", DEADLINE)?;
    assert_eq!(ca.orders()?, 4);
    let requests = namespace.list("certificaterequest")?;
    assert_eq!(requests.len(), 4);
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
    let ca = limited(cluster, &namespace, "domain=1/20s")?;
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
    cluster.lab.wait(DEADLINE, "its order", || {
        Ok((ca.orders()? == 1).then_some(()))
    })?;
    let after =
        before.map(|site| site.replace("issuerRef: {name: own}", "issuerRef: {name: limited}"));
    namespace.apply(&after.join("\n---\n"))?;
    namespace.ready("first", DEADLINE)?;
    for (name, _) in sites {
        namespace.until(2 * DEADLINE, "certificate", name, "of the CA", |object| {
            object["status"]["revision"] == 2
        })?;
    }
    // The first may have found a token before the others were there.
    let mut order = ordered(&namespace, &ca)?;
    order.retain(|name| name != "a");
    assert_eq!(order, ["first", "b", "d", "c"]);
    assert_eq!(ca.orders()?, 5, "none was refused, none made twice");
    Ok(())
}

#[test]
fn what_deleted_certificates_took_is_not_forgotten() -> Result<()> {
    let Some(cluster) = aside() else {
        return Ok(());
    };
    let namespace = cluster.alone("ledger-kept")?;
    let ca = limited(cluster, &namespace, "domain=1/1h")?;
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
    namespace.says("next", &[WAITS, "1 an hour for example.com"], SAID)?;
    assert_eq!(ca.orders()?, 1);
    allow(&namespace, "domain=50/7d")?;
    namespace.ready("next", DEADLINE)?;
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
    for (_, order) in orders.as_far_as_all(&namespace.list("order")?)? {
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
    allow(&namespace, "domain=50/7d")?;
    namespace.until(
        SAID,
        "issuer",
        "limited",
        "content",
        said("registered with the ACME server"),
    )?;
    Ok(())
}
