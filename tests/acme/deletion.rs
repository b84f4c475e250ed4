//! Deleting in the middle of a challenge leaves nothing behind, also when the operator is down.

use anyhow::Result;
use serde_json::Value;

use crate::support::{DEADLINE, Namespace, certificate};
use crate::{FLAGS, SAID, TEMPORARY, TRAEFIK, aside, cluster};

/// A Certificate in the middle of a challenge that will not come to an end by itself: everything is
/// presented, and no Ingress controller serves it.
fn in_the_middle(namespace: &Namespace<'_>, host: &str) -> Result<()> {
    let solver = "{ingressClassName: nobody}";
    namespace.apply(&namespace.cluster.acme_issuer("pebble", "default", solver)?)?;
    namespace.apply(&certificate("site", "pebble", host, ""))?;
    namespace.says("site", &["IngressClass \"nobody\" does not exist"], SAID)?;
    assert_eq!(namespace.list("ingress")?.len(), 1);
    assert_eq!(namespace.list("service")?.len(), 1);
    Ok(())
}

/// Delete `what` with the operator up, or while it is down.
fn delete(namespace: &Namespace<'_>, what: &[&str], down: bool) -> Result<()> {
    let cluster = namespace.cluster;
    if down {
        cluster.kill_operator()?;
    }
    let mut arguments = vec!["delete", "--wait=false"];
    arguments.extend(what);
    namespace.kubectl(&arguments)?;
    if down {
        cluster.operator(&FLAGS)?;
    }
    Ok(())
}

fn certificate_deleted(namespace: &Namespace<'_>, host: &str, down: bool) -> Result<()> {
    in_the_middle(namespace, host)?;
    delete(namespace, &["certificate/site"], down)?;
    namespace.none_left(&["certificate", "certificaterequest", "order"], DEADLINE)?;
    namespace.none_left(&TEMPORARY, DEADLINE)?;
    // What belongs to the Certificate goes when the garbage collector knows its kind: a moment after the cluster's start.
    let left = |all: &[Value]| all.len() == 1 && all[0]["metadata"]["name"] == "pebble-account";
    namespace.until_list("secret", "account alone", left)?;
    Ok(())
}

fn issuer_deleted(namespace: &Namespace<'_>, host: &str, down: bool) -> Result<()> {
    in_the_middle(namespace, host)?;
    delete(namespace, &["issuer/pebble"], down)?;
    namespace.none_left(&["issuer"], DEADLINE)?;
    namespace.none_left(&TEMPORARY, DEADLINE)?;
    namespace.says("site", &["Issuer \"pebble\" does not exist"], SAID)?;
    // Its return is all that it takes to go on.
    let solver = "{ingressClassName: traefik}";
    namespace.apply(&namespace.cluster.acme_issuer("pebble", "default", solver)?)?;
    namespace.ready("site", SAID)?;
    namespace.none_left(&TEMPORARY, DEADLINE)
}

fn namespace_deleted(namespace: &Namespace<'_>, host: &str, down: bool) -> Result<()> {
    in_the_middle(namespace, host)?;
    delete(namespace, &["namespace", &namespace.name], down)?;
    let lab = &namespace.cluster.lab;
    lab.wait(DEADLINE, "the namespace's end", || {
        let left = lab.kubectl(&["get", "namespace", &namespace.name, "--ignore-not-found"])?;
        Ok(left.trim().is_empty().then_some(()))
    })
}

#[test]
fn a_certificate() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("delete-certificate")?;
    certificate_deleted(&namespace, "delete-certificate.example.com", false)
}

#[test]
fn a_certificate_while_the_operator_is_down() -> Result<()> {
    let Some(cluster) = aside() else {
        return Ok(());
    };
    let namespace = cluster.alone("delete-certificate-down")?;
    certificate_deleted(&namespace, "delete-certificate-down.example.com", true)
}

#[test]
fn an_issuer() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("delete-issuer")?;
    issuer_deleted(&namespace, "delete-issuer.example.com", false)
}

#[test]
fn an_issuer_while_the_operator_is_down() -> Result<()> {
    let Some(cluster) = aside() else {
        return Ok(());
    };
    let namespace = cluster.alone("delete-issuer-down")?;
    issuer_deleted(&namespace, "delete-issuer-down.example.com", true)
}

#[test]
fn a_namespace() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("delete-namespace")?;
    namespace_deleted(&namespace, "delete-namespace.example.com", false)
}

#[test]
fn a_namespace_while_the_operator_is_down() -> Result<()> {
    let Some(cluster) = aside() else {
        return Ok(());
    };
    let namespace = cluster.alone("delete-namespace-down")?;
    namespace_deleted(&namespace, "delete-namespace-down.example.com", true)
}

#[test]
fn a_certificate_that_returns_at_once() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("delete-return")?;
    in_the_middle(&namespace, "delete-return.example.com")?;
    delete(&namespace, &["certificate/site"], false)?;
    namespace.apply(&cluster.acme_issuer("pebble", "default", TRAEFIK)?)?;
    namespace.apply(&certificate(
        "site",
        "pebble",
        "delete-return.example.com",
        "",
    ))?;
    namespace.ready("site", SAID)?;
    namespace.none_left(&TEMPORARY, DEADLINE)
}
