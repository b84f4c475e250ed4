//! ACME issuance against a real API server, Pebble, Traefik and DNS.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests fail by panicking and measure by the wall clock"
)]

#[path = "../support/mod.rs"]
mod support;

mod accounts;
mod causes;
mod deletion;
mod dns01;
mod how_it_works;
mod layout;
mod ledger;
mod matrix;
mod ordered;
mod preflight;
mod rehearsal;
mod renewal;
mod renewal_info;
mod restored;
mod revocation;
mod robustness;
mod second_client;
mod secrecy;
mod servers;
mod shim;
mod solvers;

use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Result;
use support::{Cluster, DEADLINE, TEMPORARY, TRAEFIK, certificate, shared};

/// How long the operator may take to say what is wrong, and to go on once it is put right.
const SAID: Duration = DEADLINE;

/// A name that does not answer yet keeps the CA from being asked for longer than any test waits: the ingress controller of a
/// busy machine does not cost an attempt, and who says that something was put right has to see it.
const PATIENT: &str = "--http01-self-check-limit=5m";

static CLUSTER: OnceLock<Cluster> = OnceLock::new();
static ASIDE: OnceLock<Cluster> = OnceLock::new();

/// One operator for all tests. It holds no Lease, so that one started after a kill acts at once.
const FLAGS: [&str; 1] = ["--leader-elect=false"];

fn cluster() -> Option<&'static Cluster> {
    shared(&CLUSTER, || start(&[&FLAGS[..], &[PATIENT]].concat()))
}

/// Another, for tests that end the operator or give it other flags: one at a time, while those of the first go on.
fn aside() -> Option<&'static Cluster> {
    shared(&ASIDE, || start(&FLAGS))
}

fn start(flags: &[&str]) -> Result<Cluster> {
    let cluster = Cluster::counted()?;
    cluster.operator(flags)?;
    Ok(cluster)
}

#[test]
fn a_certificate_is_issued_and_everything_temporary_goes() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("first")?;
    namespace.apply(&cluster.acme_issuer("pebble", "default", TRAEFIK)?)?;
    namespace.apply(&certificate("site", "pebble", "first.example.com", ""))?;
    namespace.ready("site", DEADLINE)?;
    namespace.pair_matches("site")?;
    namespace.none_left(&TEMPORARY, DEADLINE)?;
    namespace.until_list("secret", "the next private key is gone", |all| {
        let names = all.iter().map(|secret| &secret["metadata"]["name"]);
        names.eq(["pebble-account", "site"])
    })?;
    Ok(())
}
