//! The operator in a Pod, as the chart installs it, on a node that runs solver Pods. Every namespace
//! here enforces the Pod Security Standard `restricted`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail by panicking; JSON without an entry is null"
)]

#[path = "../support/mod.rs"]
mod support;

mod direct;
mod operator;
mod pod;

use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::Options;
use serde_json::Value;
use support::{Cluster, DEADLINE, Namespace, TEMPORARY, Watch, certificate, install, shared};

/// How long the operator may take to say what is wrong, and to go on once it is put right.
const SAID: Duration = DEADLINE;

/// How long everything temporary may outlive a challenge.
const CLEANED: Duration = DEADLINE;

static CLUSTER: OnceLock<Cluster> = OnceLock::new();

/// One operator for all tests, and an audit log of its requests.
fn cluster() -> Option<&'static Cluster> {
    shared(&CLUSTER, || {
        let options = Options {
            audit: true,
            pebble: vec![("PEBBLE_AUTHZREUSE".into(), "0".into())],
            ..Options::default()
        };
        Cluster::installed(&options, "--set global.leaderElection.retryPeriod=2s")
    })
}

/// A restricted namespace with an ACME issuer `pebble`; `solver` is its `ingress` in YAML flow style.
fn prepare(namespace: &Namespace<'_>, solver: &str) -> Result<()> {
    let cluster = namespace.cluster;
    install::restrict(&cluster.lab, &namespace.name)?;
    namespace.apply(&cluster.acme_issuer("pebble", "default", solver)?)
}

/// Ask for a certificate `site` of the issuer `pebble`.
fn ask(namespace: &Namespace<'_>) -> Result<()> {
    let name = format!("{}.example.com", namespace.name);
    namespace.apply(&certificate("site", "pebble", &name, ""))
}

/// It is there, belongs to its key, and nothing temporary is left.
fn issued(namespace: &Namespace<'_>) -> Result<()> {
    // A Lease that was not given back has to expire first.
    namespace.ready("site", 2 * DEADLINE)?;
    namespace.pair_matches("site")?;
    namespace.none_left(&TEMPORARY, CLEANED)
}

/// What the watched kind's objects were when they appeared.
fn appeared(watch: &Watch) -> Result<Vec<Value>> {
    let events = watch.events()?.into_iter();
    let added = events.filter(|(kind, _)| kind == "ADDED");
    Ok(added.map(|(_, object)| object).collect())
}

/// The only object that appeared, once it has gone.
fn only(watch: &Watch) -> Result<Value> {
    watch.until(DEADLINE, "an object that has come and gone", |events| {
        events.iter().any(|(kind, _)| kind == "DELETED")
    })?;
    let mut all = appeared(watch)?;
    ensure!(all.len() == 1, "one was expected: {all:?}");
    all.pop().context("one")
}
