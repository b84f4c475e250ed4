//! How many requests of the API server a certificate takes, events included.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::support::{DEADLINE, Namespace, certificate, requests};
use crate::{aside, ca, self_signed};

const LOT: usize = 10;
/// Of all of them together: statuses that are written in more steps on a busy machine. One more for each would be seen.
const SLACK: usize = LOT / 2;
/// A Challenge whose self-check has not passed after four seconds says so, then the Certificate, then both something else.
const TOLD: usize = 3;

/// Requests of the operator in this namespace, by verb and resource.
fn asked(namespace: &Namespace<'_>) -> Result<BTreeMap<String, usize>> {
    namespace.quiet()?;
    let mut counts = BTreeMap::new();
    for request in requests(&namespace.cluster.lab)? {
        if request.namespace == namespace.name {
            *counts
                .entry(format!("{} {}", request.verb, request.resource))
                .or_default() += 1;
        }
    }
    Ok(counts)
}

/// Issue a lot at once, with at most so many requests each; all of them, by verb and resource.
fn issue(namespace: &Namespace<'_>, limit: usize) -> Result<BTreeMap<String, usize>> {
    let before = asked(namespace)?;
    let all: Vec<_> = (0..LOT)
        .map(|number| {
            let name = format!("site-{number}");
            let host = format!("{name}.{}.example.com", namespace.name);
            certificate(&name, "issuer", &host, "")
        })
        .collect();
    namespace.apply(&all.join("\n---\n"))?;
    for number in 0..LOT {
        namespace.ready(&format!("site-{number}"), DEADLINE)?;
    }
    let mut after = asked(namespace)?;
    for (what, count) in before {
        *after.entry(what).or_default() -= count;
    }
    let sum: usize = after.values().sum();
    let told = after.get("patch challenges/status").copied();
    let slack = SLACK + TOLD * told.unwrap_or_default();
    println!("{sum} requests for {LOT} certificates: {after:?}");
    assert!(
        sum <= limit * LOT + slack,
        "{sum} requests for {LOT} certificates: {after:?}"
    );
    Ok(after)
}

#[test]
fn seven_requests_a_self_signed_certificate() -> Result<()> {
    let Some(cluster) = aside() else {
        return Ok(());
    };
    let namespace = cluster.alone("budget-self-signed")?;
    namespace.apply(&self_signed("issuer"))?;
    issue(&namespace, 7).map(drop)
}

#[test]
fn seven_requests_a_certificate_of_a_ca_and_none_for_its_key() -> Result<()> {
    let Some(cluster) = aside() else {
        return Ok(());
    };
    let namespace = cluster.alone("budget-ca")?;
    ca::bootstrap(&namespace, "issuer")?;
    let asked = issue(&namespace, 7)?;
    assert_eq!(
        asked.get("get secrets").copied().unwrap_or_default(),
        0,
        "{asked:?}"
    );
    Ok(())
}

/// One of them keeps what the CA says of its renewal.
#[test]
fn nineteen_requests_an_acme_certificate() -> Result<()> {
    let Some(cluster) = aside() else {
        return Ok(());
    };
    let namespace = cluster.alone("budget-acme")?;
    let issuer = cluster.acme_issuer("issuer", "default", "{ingressClassName: traefik}")?;
    namespace.apply(&issuer)?;
    namespace.until(DEADLINE, "issuer", "issuer", "Ready", |issuer| {
        issuer["status"]["conditions"][0]["status"] == "True"
    })?;
    issue(&namespace, 19).map(drop)
}
