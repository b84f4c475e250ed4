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

/// Of an admission webhook, of an API server without leader, of a conflict: nothing but the process knows of the order then.
#[test]
fn an_order_whose_url_cannot_be_stored_is_not_made_again() -> Result<()> {
    let Some(cluster) = aside() else {
        return Ok(());
    };
    let namespace = cluster.alone("unstored")?;
    let ca = Ca::start(&cluster.lab, &[], |config| config)?;
    let issuer = cluster
        .acme_issuer("pebble", "default", TRAEFIK)?
        .replace(&cluster.lab.acme_directory(), &ca.directory);
    namespace.apply(&issuer)?;
    for object in [
        r#"{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicy, metadata: {name: unstored}, spec: {
             matchConstraints: {resourceRules: [{apiGroups: [acme.cert-manager.io], apiVersions: ["*"], operations: [UPDATE],
               resources: [orders/status]}]},
             validations: [{expression: "!has(object.status.url)", message: "no URL today"}]}}"#,
        "{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicyBinding, metadata: {name: unstored}, \
         spec: {policyName: unstored, validationActions: [Deny]}}",
        "{apiVersion: acme.cert-manager.io/v1, kind: Order, metadata: {name: nobodys}, spec: {request: eA==, issuerRef: {name: none}}}",
    ] {
        namespace.apply(object)?;
    }
    let patch = [
        "patch",
        "order",
        "nobodys",
        "--subresource=status",
        "--type=merge",
        r#"--patch={"status":{"url":"https://ca.example/order/1"}}"#,
        "--dry-run=server",
    ];
    cluster.lab.wait(DEADLINE, "the policy in force", || {
        match namespace.kubectl(&patch) {
            Err(error) if error.to_string().contains("no URL today") => Ok(Some(())),
            other => other.map(|_| None),
        }
    })?;
    let failures = || -> Result<u64> {
        let metrics = cluster.metrics()?;
        let line = metrics.lines().find(|line| {
            line.starts_with("certmanager_controller_sync_error_count") && line.contains("orders")
        });
        let count = line.and_then(|line| line.rsplit(' ').next());
        Ok(count.map_or(Ok(0), str::parse)?)
    };
    let before = failures()?;
    namespace.apply(&certificate("site", "pebble", "unstored.example.com", ""))?;
    cluster.lab.wait(DEADLINE, "three writes refused", || {
        Ok((failures()? >= before + 3).then_some(()))
    })?;
    for kind in [
        "validatingadmissionpolicybinding",
        "validatingadmissionpolicy",
    ] {
        cluster.lab.kubectl(&["delete", kind, "unstored"])?;
    }
    namespace.ready("site", DEADLINE)?;
    assert_eq!(ca.orders()?, 1);
    Ok(())
}
