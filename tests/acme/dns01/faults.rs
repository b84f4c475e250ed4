//! What goes wrong is said with the name of whose fault it is, and ends when it is put right.

use std::sync::OnceLock;

use anyhow::Result;
use lab::Process;
use serde_json::Value;

use super::{cluster, named, rfc2136, with_flags};
use crate::SAID;
use crate::support::{Ca, Cluster, DEADLINE, certificate, ready_condition};

#[test]
fn a_missing_secret_is_said_of_the_issuer_and_its_coming_ends_it() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("dns-no-secret")?;
    namespace.apply(&cluster.dns01_issuer("pebble", &rfc2136(""))?)?;
    namespace.apply(&certificate(
        "site",
        "pebble",
        "no-secret.dns01.example.com",
        "",
    ))?;
    let said = |words: [&str; 2]| {
        namespace.until(SAID, "issuer", "pebble", "InvalidSolver", |issuer| {
            let ready = ready_condition(issuer);
            let message = ready["message"].as_str().unwrap_or_default();
            ready["reason"] == "InvalidSolver" && words.iter().all(|word| message.contains(word))
        })
    };
    let field = "spec.acme.solvers[0].dns01.rfc2136.tsigSecretSecretRef: Secret \"tsig\"";
    said([
        field,
        "does not exist in namespace \"dns-no-secret\": create it",
    ])?;
    namespace
        .apply("{apiVersion: v1, kind: Secret, metadata: {name: tsig}, stringData: {other: b}}")?;
    said([field, "has no entry \"secret\": add it"])?;
    namespace.tsig(lab::TSIG_SECRET)?;
    namespace.ready("site", SAID)?;
    Ok(())
}

#[test]
fn a_wrong_secret_is_said_and_the_right_one_ends_it() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("dns-wrong-secret")?;
    namespace.dns01(&rfc2136(""))?;
    namespace.tsig("d3Jvbmc=")?;
    namespace.apply(&certificate(
        "site",
        "pebble",
        "wrong.dns01.example.com",
        "",
    ))?;
    let words = [
        "has another secret for TSIG key \"lab.\" (BADSIG)",
        "correct the Secret",
    ];
    namespace.challenge_says(&words)?;
    namespace.says("site", &words, SAID)?;
    let events = namespace.until_list("event", "PresentError", |all| {
        all.iter().any(|event| event["reason"] == "PresentError")
    })?;
    let errors = events
        .iter()
        .filter(|event| event["reason"] == "PresentError");
    assert_eq!(errors.count(), 1, "said once");
    // It would try again in ten minutes.
    namespace.tsig(lab::TSIG_SECRET)?;
    namespace.ready("site", SAID)?;
    Ok(())
}

#[test]
fn an_unknown_key_and_a_zone_that_is_not_to_be_updated() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    for (name, solver, domain, words) in [
        (
            "dns-unknown-key",
            rfc2136("").replace("tsigKeyName: lab", "tsigKeyName: nobody"),
            "unknown.dns01.example.com",
            ["knows no TSIG key \"nobody.\"", "(BADKEY)"],
        ),
        (
            "dns-other-algorithm",
            rfc2136("").replace("HMACSHA256", "HMACSHA512"),
            "other.dns01.example.com",
            ["knows no TSIG key \"lab.\" with HMACSHA512", "(BADKEY)"],
        ),
        (
            "dns-forbidden",
            rfc2136(""),
            "forbidden.example.com",
            [
                "refuses to update _acme-challenge.forbidden.example.com. in zone example.com.",
                "(REFUSED)",
            ],
        ),
        (
            "dns-no-key",
            format!("{{rfc2136: {{nameserver: {}}}}}", lab::ADDRESS),
            "open.dns01.example.com",
            ["in zone dns01.example.com. without a TSIG key", "(REFUSED)"],
        ),
    ] {
        let namespace = cluster.namespace(name)?;
        namespace.dns01(&solver)?;
        namespace.apply(&certificate("site", "pebble", domain, ""))?;
        namespace.says("site", &words, SAID)?;
        // Nothing was written, so nothing keeps it.
        namespace.kubectl(&["delete", "certificate", "site", "--wait=false"])?;
        namespace.none_left(&["challenge"], DEADLINE)?;
    }
    Ok(())
}

#[test]
fn a_server_of_another_zone_and_one_that_is_not_there() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    other(cluster);
    for (name, server, words) in [
        (
            "dns-not-auth",
            "127.0.0.2",
            "is not the primary server of zone dns01.example.com. (NOTAUTH)",
        ),
        (
            "dns-refused",
            "127.0.0.8",
            "name server 127.0.0.8:53 cannot be reached: connection refused",
        ),
    ] {
        let namespace = cluster.namespace(name)?;
        namespace.dns01(&rfc2136("").replace(lab::ADDRESS, server))?;
        let domain = format!("{name}.dns01.example.com");
        namespace.apply(&certificate("site", "pebble", &domain, ""))?;
        namespace.says("site", &[words], SAID)?;
    }
    Ok(())
}

/// Another name server, at 127.0.0.2, for all tests: it has an old copy of lying.example.com, and nothing else.
fn other(cluster: &Cluster) {
    static OTHER: OnceLock<Process> = OnceLock::new();
    OTHER.get_or_init(|| {
        let etc = cluster.lab.dir().join("etc");
        std::fs::copy(etc.join("lying.example.com.zone"), etc.join("old.zone")).expect("a copy");
        let zones = "zone \"lying.example.com\" { type primary; file \"old.zone\"; };";
        named(cluster, "127.0.0.2", "recursion no;", zones).expect("it starts")
    });
}

/// The name server of a zone that has a fault is named, and the CA asked all the same. What the Challenge said.
fn named_and_issued(cluster: &Cluster, zone: &str, words: &[&str]) -> Result<()> {
    let namespace = cluster.namespace(&format!("dns-{zone}"))?;
    let ca = Ca::start(&cluster.lab, &[], |config| config)?;
    namespace.tsig(lab::TSIG_SECRET)?;
    let issuer = cluster.dns01_issuer("pebble", &rfc2136(""))?;
    namespace.apply(&issuer.replace(&cluster.lab.acme_directory(), &ca.directory))?;
    let challenges = namespace.watch("challenge", "")?;
    let certificates = namespace.watch("certificate", "site")?;
    let name = format!("www.{zone}.example.com");
    namespace.apply(&certificate("site", "pebble", &name, ""))?;
    let all = [&["1 of 2 name servers have the TXT record"], words].concat();
    let has = |text: &Value| {
        let text = text.as_str().unwrap_or_default();
        all.iter().all(|word| text.contains(word))
    };
    challenges.until_one(DEADLINE, &format!("a reason with {all:?}"), |challenge| {
        has(&challenge["status"]["reason"])
    })?;
    // A slow one takes all the time that there is: the Certificate may be issued before it has said it. Of the others it has
    // as long as it takes, since the CA does not go on before.
    if zone != "slow" {
        ca.pause()?;
        let said = certificates.until_one(DEADLINE, "a Certificate that says it", |object| {
            has(&ready_condition(object)["message"])
        });
        ca.resume()?;
        said?;
    }
    namespace.ready("site", DEADLINE).map(drop)
}

#[test]
fn a_lying_server_and_a_lame_one() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    other(cluster);
    let lying = ["other.lying.example.com. (127.0.0.2) answers that there is none"];
    let lame = [
        "other.lame.example.com. (127.0.0.2) is named as a server of the zone and does not serve it",
    ];
    // Each takes its time.
    std::thread::scope(|scope| {
        let first = scope.spawn(|| named_and_issued(cluster, "lying", &lying));
        let second = named_and_issued(cluster, "lame", &lame);
        first.join().expect("no panic").and(second)
    })
}

#[test]
fn a_slow_server() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let slow = named(cluster, "127.0.0.3", "recursion no;", "")?;
    // It takes questions, and does not answer them.
    slow.signal("STOP")?;
    let words = ["other.slow.example.com. (127.0.0.3) does not answer within 10 s"];
    let outcome = named_and_issued(cluster, "slow", &words);
    slow.signal("CONT")?;
    outcome
}

#[test]
fn a_refusal_for_an_alias_is_tried_again_once_the_alias_is_put_right() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("dns-astray")?;
    namespace.dns01(&rfc2136(""))?;
    let alias = "_acme-challenge.astray.dns01.example.com";
    cluster.dns_update(&format!("add {alias} 1 CNAME nothing.dns01.example.com"))?;
    let versions = namespace.watch("certificate", "site")?;
    namespace.apply(&certificate(
        "site",
        "pebble",
        "astray.dns01.example.com",
        "",
    ))?;
    let words = [
        "(10.244.0.1) answers that there is none",
        "it was written at _acme-challenge.astray.dns01.example.com., whose CNAME records lead elsewhere",
        "set cnameStrategy: Follow",
    ];
    // For the few seconds until the CA is asked.
    versions.until_one(SAID, "one that says why", |object| {
        let message = ready_condition(object)["message"].to_string();
        words.iter().all(|word| message.contains(word))
    })?;
    // The CA has said no.
    namespace.says("site", &["Next attempt at"], SAID)?;
    namespace.failed_twice("site")?;
    cluster.dns_update(&format!("delete {alias} CNAME"))?;
    let site = namespace.ready("site", DEADLINE)?;
    assert_eq!(site["metadata"]["generation"], 1);
    assert_eq!(site["status"]["failedIssuanceAttempts"], Value::Null);
    namespace.none_left(&["challenge"], DEADLINE)
}

#[test]
fn a_record_that_was_lost_is_written_once_more() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.alone("dns-lost")?;
    namespace.dns01(&rfc2136(""))?;
    let alias = "_acme-challenge.lost.dns01.example.com";
    cluster.dns_update(&format!("add {alias} 1 CNAME nothing.dns01.example.com"))?;
    // Nothing but the record itself is to end the wait.
    with_flags(&namespace, &["--dns01-self-check-limit=10m"], || {
        namespace.apply(&certificate("site", "pebble", "lost.dns01.example.com", ""))?;
        // BIND has said yes, and kept nothing.
        namespace.challenge_says(&["it was written at _acme-challenge.lost.dns01.example.com."])?;
        cluster.dns_update(&format!("delete {alias} CNAME"))?;
        let site = namespace.ready("site", DEADLINE)?;
        assert_eq!(site["status"]["failedIssuanceAttempts"], Value::Null);
        namespace.none_left(&["challenge"], DEADLINE)
    })
}

#[test]
fn a_record_that_is_refused_goes_where_a_new_alias_leads() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("dns-moved")?;
    namespace.dns01(&rfc2136("cnameStrategy: Follow"))?;
    let alias = "_acme-challenge.moved.dns01.example.com";
    cluster.dns_update(&format!("add {alias} 1 CNAME closed.example.com"))?;
    namespace.apply(&certificate(
        "site",
        "pebble",
        "moved.dns01.example.com",
        "",
    ))?;
    let words = ["refuses to update closed.example.com. in zone example.com."];
    namespace.says("site", &words, SAID)?;
    cluster.dns_update(&format!("delete {alias} CNAME"))?;
    cluster.dns_update(&format!("add {alias} 1 CNAME open.dns01.example.com"))?;
    namespace.ready("site", SAID)?;
    namespace.none_left(&["challenge"], DEADLINE)?;
    assert_eq!(cluster.texts("open.dns01.example.com")?, [""; 0]);
    Ok(())
}

#[test]
fn what_a_namespace_says_is_not_signed_with_a_cluster_issuers_credentials() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("dns-guest")?;
    let issuer = cluster
        .dns01_issuer("dns-shared", &rfc2136(""))?
        .replace("kind: Issuer", "kind: ClusterIssuer");
    cluster.lab.apply(&issuer)?;
    cluster.lab.apply(&format!(
        "{{apiVersion: v1, kind: Secret, metadata: {{name: tsig, namespace: kube-system}}, stringData: {{secret: {}}}}}",
        lab::TSIG_SECRET
    ))?;
    // The issuer's own solver does.
    let own = certificate("site", "dns-shared", "guest.dns01.example.com", "").replace(
        "{name: dns-shared}",
        "{name: dns-shared, kind: ClusterIssuer}",
    );
    namespace.apply(&own)?;
    namespace.ready("site", DEADLINE)?;
    // One that a guest has written does not.
    namespace.apply(
        "{apiVersion: acme.cert-manager.io/v1, kind: Challenge, metadata: {name: forged, finalizers: \
         [acme.cert-manager.io/finalizer]}, spec: {authorizationURL: \"https://ca.invalid/a\", url: \"https://ca.invalid/c\", \
         dnsName: forged.dns01.example.com, token: t, key: k, type: DNS-01, issuerRef: {name: dns-shared, kind: ClusterIssuer}, \
         solver: {dns01: {rfc2136: {nameserver: 10.244.0.1, tsigKeyName: lab, tsigAlgorithm: HMACSHA256, tsigSecretSecretRef: \
         {name: tsig, key: secret}, protocol: TCP}}}}}",
    )?;
    namespace.challenge_says(&["ClusterIssuer \"dns-shared\" has no such solver"])?;
    assert_eq!(
        cluster.texts("_acme-challenge.forged.dns01.example.com")?,
        [""; 0]
    );
    namespace.kubectl(&["delete", "challenge", "forged", "--wait=false"])?;
    namespace.none_left(&["challenge"], DEADLINE)
}
