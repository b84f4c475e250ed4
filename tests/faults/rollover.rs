//! The operator dies at every write and call of a change of the account's key. Whichever key the CA has then, the next
//! process brings Secret, status and CA to the same one, and the account stays the same.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use lab::Options;
use serde_json::Value;

use crate::run::{Crash, Operator, RECOVERY, calls, issuers, namespace_of};
use crate::support::{Cluster, DEADLINE, Namespace, poll, ready_condition};

#[test]
fn a_crash_while_the_key_of_an_account_changes_loses_neither() -> Result<()> {
    if lab::skipped("a_crash_while_the_key_of_an_account_changes_loses_neither") {
        return Ok(());
    }
    let cluster = Cluster::start(&Options::default())?;
    let rehearsal = namespace_of(0);
    issuers(&cluster, std::slice::from_ref(&rehearsal))?;
    let log = cluster.lab.dir().join("rollover.calls");
    let change = Change::begin(&cluster, &rehearsal)?;
    let operator = Operator::start(&cluster, &rehearsal, 0, None, Some(&log))?;
    let done = change.done(DEADLINE, None);
    operator.stop()?;
    done?;
    let crashes = Crash::each(&calls(&log)?);
    let changes = crashes.iter().filter(|crash| crash.kind == "change_key");
    ensure!(changes.count() == 3, "one change of the key: {crashes:?}");

    let names: Vec<_> = (1..=crashes.len()).map(namespace_of).collect();
    issuers(&cluster, &names)?;
    let accounts = accounts(&cluster)?;
    let mut failures = Vec::new();
    let mut met = BTreeSet::new();
    for (crash, name) in crashes.iter().zip(&names) {
        match plan(&cluster, name, crash) {
            Ok(true) => drop(met.insert(crash.to_string())),
            Ok(false) => {}
            Err(error) => failures.push(format!("{crash} in {name}: {error:#}")),
        }
    }
    println!(
        "rollover: {} plans, {} met their crash",
        crashes.len(),
        met.len()
    );
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    ensure!(
        met.len() + 3 > crashes.len(),
        "only these met their crash: {met:?}"
    );
    ensure!(self::accounts(&cluster)? == accounts, "an account was made");
    Ok(())
}

/// Whether it died where it should; what must hold after the next process has come to its end.
fn plan(cluster: &Cluster, name: &str, crash: &Crash) -> Result<bool> {
    let change = Change::begin(cluster, name)?;
    let doomed = Operator::start(cluster, name, 0, Some(crash), None)?;
    let ended = change.done(DEADLINE, Some(&doomed));
    let died = doomed.is_dead()?;
    doomed.kill()?;
    ended?;
    let operator = Operator::start(cluster, name, 0, None, None::<&Path>)?;
    let done = change.done(RECOVERY, None);
    operator.stop()?;
    done?;
    Ok(died)
}

/// A change of the key under way.
struct Change<'a> {
    namespace: Namespace<'a>,
    before: Value,
}

impl<'a> Change<'a> {
    fn begin(cluster: &'a Cluster, name: &str) -> Result<Self> {
        let namespace = cluster.existing(name);
        let before = namespace.get("issuer", "pebble")?["status"]["acme"].clone();
        let wish = "everleaf.io/rotate-account-key=now";
        namespace.kubectl(&["annotate", "issuer", "pebble", wish])?;
        Ok(Self { namespace, before })
    }

    /// Wait until the account has its new key everywhere, or the operator has died.
    fn done(&self, deadline: Duration, doomed: Option<&Operator>) -> Result<()> {
        poll(deadline, "another key everywhere", || {
            if let Some(doomed) = doomed
                && doomed.is_dead()?
            {
                return Ok(Ok(()));
            }
            let issuer = self.namespace.get("issuer", "pebble")?;
            let secret = self.namespace.get("secret", "pebble-account")?;
            let account = &issuer["status"]["acme"];
            let entries = secret["data"].as_object().context("data")?;
            // At no time may these be otherwise.
            if account["uri"] != self.before["uri"] || !entries.contains_key("tls.key") {
                let keys = entries.keys();
                return Ok(Err(anyhow!(
                    "another account or no key: {account}, {keys:?}"
                )));
            }
            let is_done = entries.len() == 1
                && account["lastPrivateKeyHash"] != self.before["lastPrivateKeyHash"]
                && ready_condition(&issuer)["status"] == "True";
            let words = ready_condition(&issuer);
            ensure!(is_done, "entries {:?}; {words}", entries.keys());
            Ok(Ok(()))
        })?
    }
}

/// How many accounts the CA has made.
fn accounts(cluster: &Cluster) -> Result<usize> {
    let log = cluster.lab.part("pebble")?.log()?;
    Ok(log
        .lines()
        .filter(|line| line.contains("accounts in memory"))
        .count())
}
