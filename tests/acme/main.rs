//! ACME issuance over HTTP-01 against a real API server, Pebble, Traefik and DNS.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "tests fail by panicking"
)]

#[path = "../support/mod.rs"]
mod support;

use std::sync::OnceLock;

use anyhow::Result;
use lab::Options;
use support::{Cluster, DEADLINE, can_run, certificate, shared};

static CLUSTER: OnceLock<Cluster> = OnceLock::new();

fn cluster() -> &'static Cluster {
    shared(&CLUSTER, || {
        let cluster = Cluster::start(&Options::default())?;
        cluster.operator(&[])?;
        Ok(cluster)
    })
}

#[test]
fn a_certificate_is_issued_and_everything_temporary_goes() -> Result<()> {
    if !can_run("a_certificate_is_issued_and_everything_temporary_goes") {
        return Ok(());
    }
    let cluster = cluster();
    let namespace = cluster.namespace("first")?;
    namespace.apply(&cluster.acme_issuer("pebble", "default", "{ingressClassName: traefik}")?)?;
    namespace.apply(&certificate("site", "pebble", "first.example.com", ""))?;
    namespace.ready("site", DEADLINE)?;
    namespace.pair_matches("site")?;
    namespace.none_left(
        &["challenge", "ingress", "service", "endpointslice", "pod"],
        DEADLINE,
    )?;
    let secrets: Vec<_> = namespace
        .list("secret")?
        .iter()
        .map(|s| s["metadata"]["name"].clone())
        .collect();
    assert_eq!(
        secrets,
        ["pebble-account", "site"],
        "the next private key is gone"
    );
    Ok(())
}
