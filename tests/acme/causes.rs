//! What is wrong is said in the Certificate's Ready condition; once it is put right, the Certificate
//! becomes Ready by itself.

use anyhow::Result;

use crate::support::{Ca, Namespace, certificate};
use crate::{SAID, TEMPORARY, TRAEFIK, cluster};

#[test]
fn a_missing_issuer() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("missing-issuer")?;
    namespace.apply(&certificate(
        "site",
        "later",
        "missing-issuer.example.com",
        "",
    ))?;
    let words = [
        "Issuer \"later\" does not exist in namespace \"missing-issuer\"",
        "create it",
    ];
    namespace.says("site", &words, SAID)?;
    namespace.apply(&cluster.acme_issuer("later", "default", TRAEFIK)?)?;
    recovers(&namespace)
}

#[test]
fn a_name_that_the_ca_refuses() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("refused")?;
    let issuer = cluster.acme_issuer("strict", "default", TRAEFIK)?;
    namespace.apply(&issuer)?;
    namespace.apply(&certificate("site", "strict", "blocked.example.com", ""))?;
    let words = [
        "blocked.example.com",
        "rejectedIdentifier",
        "take the name out of the Certificate",
        "Next attempt at",
    ];
    namespace.says("site", &words, SAID)?;
    let liberal = Ca::start(&cluster.lab, &[], |config| {
        config.replace("blocked.example.com", "blocked.invalid")
    })?;
    namespace.apply(&issuer.replace(&cluster.lab.acme_directory(), &liberal.directory))?;
    recovers(&namespace)
}

#[test]
fn a_refused_name_and_an_issuer_that_becomes_self_signed() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("refused-self")?;
    namespace.apply(&cluster.acme_issuer("strict", "default", TRAEFIK)?)?;
    namespace.apply(&certificate("site", "strict", "blocked.example.com", ""))?;
    namespace.says("site", &["rejectedIdentifier"], SAID)?;
    namespace.kubectl(&[
        "patch",
        "issuer",
        "strict",
        "--type=merge",
        "--patch={\"spec\":{\"acme\":null,\"selfSigned\":{}}}",
    ])?;
    recovers(&namespace)
}

#[test]
fn a_host_that_resolves_nowhere() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("nowhere")?;
    namespace.apply(&cluster.acme_issuer("pebble", "default", TRAEFIK)?)?;
    namespace.apply(&certificate("site", "pebble", "x.nowhere.example.com", ""))?;
    let words = [
        "x.nowhere.example.com",
        "does not resolve",
        "add a DNS record",
    ];
    namespace.says("site", &words, SAID)?;
    cluster.dns_update("add x.nowhere.example.com 1 A 10.244.0.1")?;
    recovers(&namespace)
}

#[test]
fn a_host_that_the_ca_could_not_resolve() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("nowhere-failed")?;
    // The CA is asked without a look of our own, so the attempt fails.
    let issuer = cluster
        .acme_issuer("pebble", "default", TRAEFIK)?
        .replace("{http01:", "{waitInsteadOfSelfCheck: 2s, http01:");
    namespace.apply(&issuer)?;
    namespace.apply(&certificate("site", "pebble", "y.nowhere.example.com", ""))?;
    let words = [
        "y.nowhere.example.com",
        // Pebble's word for a name that does not resolve.
        "urn:ietf:params:acme:error:connection",
        "Correct the DNS record of the name",
        "Next attempt at",
    ];
    namespace.says("site", &words, SAID)?;
    namespace.none_left(&["ingress", "service", "endpointslice", "pod"], SAID)?;
    cluster.dns_update("add y.nowhere.example.com 1 A 10.244.0.1")?;
    recovers(&namespace)
}

#[test]
fn a_solver_class_that_does_not_exist() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("no-class")?;
    namespace.apply(&cluster.acme_issuer("pebble", "default", "{ingressClassName: absent}")?)?;
    namespace.apply(&certificate("site", "pebble", "no-class.example.com", ""))?;
    let words = [
        "no-class.example.com",
        "IngressClass \"absent\" does not exist",
        "create it",
    ];
    namespace.says("site", &words, SAID)?;
    cluster.lab.apply(
        "{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: absent}, \
         spec: {controller: traefik.io/ingress-controller}}",
    )?;
    recovers(&namespace)
}

#[test]
fn a_solver_class_that_is_corrected_in_the_issuer() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("wrong-class")?;
    let issuer = cluster.acme_issuer("pebble", "default", "{ingressClassName: traefick}")?;
    namespace.apply(&issuer)?;
    namespace.apply(&certificate(
        "site",
        "pebble",
        "wrong-class.example.com",
        "",
    ))?;
    let words = ["IngressClass \"traefick\" does not exist", "solver"];
    namespace.says("site", &words, SAID)?;
    namespace.apply(&issuer.replace("traefick", "traefik"))?;
    recovers(&namespace)
}

/// Ready in time without a change of the Certificate, and nothing left of the failure.
fn recovers(namespace: &Namespace<'_>) -> Result<()> {
    let object = namespace.ready("site", SAID)?;
    assert_eq!(object["metadata"]["generation"], 1);
    assert_eq!(object["status"]["revision"], 1);
    assert_eq!(
        object["status"]["failedIssuanceAttempts"],
        serde_json::Value::Null
    );
    assert_eq!(object["status"]["lastFailureTime"], serde_json::Value::Null);
    namespace.pair_matches("site")?;
    namespace.none_left(&TEMPORARY, SAID)
}
