//! Trouble on the way: a CA that refuses nonces, and an operator that dies.

use anyhow::Result;

use crate::support::{Ca, DEADLINE, certificate};
use crate::{FLAGS, SAID, TEMPORARY, TRAEFIK, aside, cluster};

#[test]
fn a_ca_that_refuses_a_third_of_the_nonces() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("nonces")?;
    let ca = Ca::start(&cluster.lab, &[("PEBBLE_WFE_NONCEREJECT", "30")], |c| c)?;
    let issuer = ca.issuer(cluster, "pebble", TRAEFIK)?;
    namespace.apply(&issuer)?;
    for number in 1..=4 {
        let name = format!("site-{number}");
        let host = format!("{name}.nonces.example.com");
        namespace.apply(&certificate(&name, "pebble", &host, ""))?;
    }
    for number in 1..=4 {
        namespace.ready(&format!("site-{number}"), DEADLINE)?;
    }
    let host = ca
        .directory
        .trim_start_matches("https://")
        .trim_end_matches("/dir");
    let metrics = cluster.metrics()?;
    let refused = |line: &&str| line.contains(host) && line.contains("status=\"400\"");
    assert!(
        metrics.lines().any(|line| refused(&line)),
        "the test tests something: {metrics}"
    );
    assert_eq!(ca.orders()?, 4, "no order was made twice");
    Ok(())
}

#[test]
fn a_kill_in_the_middle_makes_no_second_order() -> Result<()> {
    let Some(cluster) = aside() else {
        return Ok(());
    };
    let namespace = cluster.alone("kill")?;
    let ca = Ca::start(&cluster.lab, &[], |config| config)?;
    let issuer = ca.issuer(cluster, "pebble", "{ingressClassName: nobody}")?;
    namespace.apply(&issuer)?;
    namespace.apply(&certificate("site", "pebble", "kill.example.com", ""))?;
    namespace.says("site", &["IngressClass \"nobody\""], SAID)?;
    let order = namespace.list("order")?.remove(0);
    cluster.kill_operator()?;
    cluster.operator(&FLAGS)?;
    namespace.apply(&issuer.replace("nobody", "traefik"))?;
    namespace.ready("site", SAID)?;
    namespace.pair_matches("site")?;
    assert_eq!(ca.orders()?, 1);
    assert_eq!(ca.accounts()?, 1);
    let after = namespace.list("order")?.remove(0);
    assert_eq!(after["metadata"]["uid"], order["metadata"]["uid"]);
    assert_eq!(after["status"]["url"], order["status"]["url"]);
    namespace.none_left(&TEMPORARY, DEADLINE)
}

#[test]
fn a_kill_at_any_time_ends_well() -> Result<()> {
    let Some(cluster) = aside() else {
        return Ok(());
    };
    let namespace = cluster.alone("kill-often")?;
    namespace.apply(&cluster.acme_issuer("pebble", "default", TRAEFIK)?)?;
    namespace.until(DEADLINE, "issuer", "pebble", "Ready", |issuer| {
        issuer["status"]["conditions"][0]["status"] == "True"
    })?;
    // Killed when each of these has just appeared.
    for kind in ["certificaterequest", "order", "challenge", "ingress"] {
        let name = format!("at-{kind}");
        let host = format!("{name}.kill-often.example.com");
        // It may be there for no longer than a second.
        let objects = namespace.watch(kind, "")?;
        namespace.apply(&certificate(&name, "pebble", &host, ""))?;
        objects.until_one(DEADLINE, "one that began", |object| {
            object.to_string().contains(&name)
        })?;
        cluster.kill_operator()?;
        cluster.operator(&FLAGS)?;
    }
    for kind in ["certificaterequest", "order", "challenge", "ingress"] {
        let name = format!("at-{kind}");
        let object = namespace.ready(&name, DEADLINE)?;
        assert_eq!(object["status"]["revision"], 1);
        namespace.pair_matches(&name)?;
    }
    namespace.none_left(&TEMPORARY, DEADLINE)?;
    // The CA ends an order that nobody answers for; that one is replaced.
    namespace.until_list("order", "one order each", |all| all.len() == 4)?;
    Ok(())
}
