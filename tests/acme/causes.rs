//! What is wrong is said in the Certificate's Ready condition; once it is put right, the Certificate
//! becomes Ready by itself.

use anyhow::Result;
use serde_json::Value;

use crate::support::{Ca, DEADLINE, Namespace, certificate};
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
        .replace("{http01:", "{waitInsteadOfSelfCheck: 15s, http01:");
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
    namespace.failed_twice("site")?;
    cluster.dns_update("add y.nowhere.example.com 1 A 10.244.0.1")?;
    recovers(&namespace)
}

/// The CA reaches a server before the repair and after, and neither answers the challenge by then.
#[test]
fn a_rule_that_takes_every_path() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("taken")?;
    let host = "taken.example.com";
    // A server that speaks TLS only, and says so.
    let directory: http::Uri = cluster.lab.acme_directory().parse()?;
    let (address, port) = directory.host().zip(directory.port_u16()).unwrap();
    for object in [
        "{apiVersion: v1, kind: Service, metadata: {name: other}, spec: {ports: [{port: 80}]}}"
            .into(),
        format!(
            "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: other, labels: \
             {{kubernetes.io/service-name: other}}}}, addressType: IPv4, ports: [{{port: {port}}}], \
             endpoints: [{{addresses: [{address}]}}]}}"
        ),
        format!(
            "{{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {{name: other, annotations: \
             {{traefik.ingress.kubernetes.io/router.priority: '100000'}}}}, spec: {{ingressClassName: traefik, rules: [{{host: \
             {host}, http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: other, port: {{number: 80}}}}}}}}]}}}}]}}}}"
        ),
    ] {
        namespace.apply(&object)?;
    }
    // The CA is asked without a look of our own.
    let issuer = cluster
        .acme_issuer("pebble", "default", TRAEFIK)?
        .replace("{http01:", "{waitInsteadOfSelfCheck: 15s, http01:");
    namespace.apply(&issuer)?;
    namespace.apply(&certificate("site", "pebble", host, ""))?;
    let words = [
        host,
        "urn:ietf:params:acme:error:unauthorized",
        "or as soon as the cause has changed",
    ];
    namespace.says("site", &words, SAID)?;
    namespace.failed_twice("site")?;
    namespace.kubectl(&["delete", "ingress,service,endpointslice", "other"])?;
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

#[test]
fn a_ca_that_is_down() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("ca-down")?;
    let ca = Ca::start(&cluster.lab, &[], |config| config)?;
    let issuer = ca.issuer(cluster, "pebble", TRAEFIK)?;
    ca.stop()?;
    namespace.apply(&issuer)?;
    namespace.apply(&certificate("site", "pebble", "ca-down.example.com", ""))?;
    let words = ["Issuer \"pebble\" is not ready", "cannot reach 10.244.0.1"];
    namespace.says("site", &words, SAID)?;
    ca.restart()?;
    recovers(&namespace)
}

#[test]
fn a_quota_that_leaves_no_room_for_the_solver() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("quota")?;
    namespace.apply(
        "{apiVersion: v1, kind: ResourceQuota, metadata: {name: full}, \
         spec: {hard: {count/ingresses.networking.k8s.io: 0}}}",
    )?;
    namespace.until(DEADLINE, "resourcequota", "full", "counted", |quota| {
        !quota["status"]["hard"].is_null()
    })?;
    namespace.apply(&cluster.acme_issuer("pebble", "default", TRAEFIK)?)?;
    namespace.apply(&certificate("site", "pebble", "quota.example.com", ""))?;
    let words = [
        "HTTP-01 challenge for \"quota.example.com\": Error presenting challenge: create Ingress quota/cm-acme-http-solver-",
        "exceeded quota: full",
    ];
    namespace.says("site", &words, SAID)?;
    // It is tried more than once until then.
    let told = |all: &[Value]| {
        let told = all.iter().filter(|e| e["reason"] == "PresentError");
        let of_challenge = |e: &Value| e["involvedObject"]["kind"] == "Challenge";
        told.clone().count() == 1 && told.clone().all(of_challenge)
    };
    namespace.until_list("event", "one PresentError", |all| told(all))?;
    namespace.kubectl(&["delete", "resourcequota", "full"])?;
    recovers(&namespace)?;
    assert!(told(&namespace.events_after(1)?), "said once");
    Ok(())
}

#[test]
fn a_profile_that_the_ca_does_not_have() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("profile")?;
    let issuer = cluster.acme_issuer("pebble", "nosuch", TRAEFIK)?;
    namespace.apply(&issuer)?;
    namespace.apply(&certificate("site", "pebble", "profile.example.com", ""))?;
    let words = [
        "Failed to create Order: acme: certificate authority does not advertise a profile with name nosuch",
        "default",
    ];
    namespace.says("site", &words, SAID)?;
    namespace.apply(&issuer.replace("nosuch", "shortlived"))?;
    recovers(&namespace)
}

#[test]
fn an_account_key_that_is_none() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("account-key")?;
    let bad = "--from-literal=tls.key=nonsense";
    namespace.kubectl(&["create", "secret", "generic", "pebble-account", bad])?;
    namespace.apply(&cluster.acme_issuer("pebble", "default", TRAEFIK)?)?;
    namespace.apply(&certificate(
        "site",
        "pebble",
        "account-key.example.com",
        "",
    ))?;
    let words = [
        "Issuer \"pebble\" is not ready",
        "Secret \"pebble-account\"",
    ];
    namespace.says("site", &words, SAID)?;
    // A new one is made.
    namespace.kubectl(&["delete", "secret", "pebble-account"])?;
    recovers(&namespace)
}

#[test]
fn a_wildcard_that_no_solver_can_prove() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("wildcard")?;
    namespace.apply(&cluster.acme_issuer("pebble", "default", TRAEFIK)?)?;
    namespace.apply(&certificate(
        "site",
        "pebble",
        "'*.wildcard.example.com'",
        "",
    ))?;
    let words = ["*.wildcard.example.com", "dns-01", "solver"];
    namespace.says("site", &words, SAID)?;
    // Only the Certificate can be put right, as this issuer cannot do wildcards.
    namespace.apply(&certificate(
        "site",
        "pebble",
        "www.wildcard.example.com",
        "",
    ))?;
    namespace.ready("site", SAID)?;
    namespace.none_left(&TEMPORARY, SAID)
}

#[test]
fn a_common_name_that_is_not_among_the_names() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("common-name")?;
    namespace.apply(&cluster.acme_issuer("pebble", "default", TRAEFIK)?)?;
    let other = "commonName: other.example.com";
    namespace.apply(&certificate(
        "site",
        "pebble",
        "common-name.example.com",
        other,
    ))?;
    let words = ["commonName", "add \"other.example.com\" to spec.dnsNames"];
    namespace.says("site", &words, SAID)?;
    namespace.apply(&certificate(
        "site",
        "pebble",
        "common-name.example.com",
        "",
    ))?;
    namespace.ready("site", SAID)?;
    Ok(())
}

/// Ready in time without a change of the Certificate, and nothing left of the failure.
fn recovers(namespace: &Namespace<'_>) -> Result<()> {
    let object = namespace.ready("site", SAID)?;
    assert_eq!(object["metadata"]["generation"], 1);
    assert_eq!(object["status"]["revision"], 1);
    assert_eq!(object["status"]["failedIssuanceAttempts"], Value::Null);
    assert_eq!(object["status"]["lastFailureTime"], Value::Null);
    namespace.pair_matches("site")?;
    namespace.none_left(&TEMPORARY, SAID)
}
