//! A process beside a real API server.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::{Lab, Options, Process};
use parking_lot::{Mutex, MutexGuard};
use serde_json::Value;

use crate::support::{Cluster, DEADLINE, certificate, everleaf, requests};

pub use crate::support::SELF_SIGNED;

pub fn cluster() -> Result<Option<Cluster>> {
    let test = std::thread::current();
    if lab::skipped(test.name().unwrap_or("a test")) {
        return Ok(None);
    }
    let options = Options {
        audit: true,
        ..Options::default()
    };
    Ok(Some(Cluster::start(&options)?))
}

fn metrics(lab: &Lab, port: u16) -> Result<String> {
    lab.get(&format!("http://{}:{port}/metrics", lab::ADDRESS))
}

/// One lab for all of this: each step builds on the one before.
#[test]
fn ports_logs_idleness_and_an_orderly_end() -> Result<()> {
    let Some(cluster) = cluster()? else {
        return Ok(());
    };
    // The lab excepts everything from it.
    let proxy = [("HTTPS_PROXY", "http://proxy.invalid:3128")];
    cluster.operator_with(&["--logging-format=json"], &proxy)?;
    let namespace = cluster.namespace("runtime")?;
    namespace.apply(SELF_SIGNED)?;
    namespace.apply(&certificate("site", "self", "site.example.com", ""))?;
    namespace.ready("site", DEADLINE)?;

    let ready = cluster
        .lab
        .get(&format!("http://{}:9403/readyz?verbose", lab::ADDRESS))?;
    assert!(
        ready.contains("[+]caches ok") && ready.contains("leader"),
        "{ready}"
    );
    assert_eq!(
        cluster
            .lab
            .get(&format!("http://{}:9403/livez", lab::ADDRESS))?,
        "ok\n"
    );

    let lines = [
        "certmanager_certificate_ready_status{name=\"site\",namespace=\"runtime\",condition=\"True\",issuer_name=\"self\"",
        "certmanager_certificate_expiration_timestamp_seconds{name=\"site\"",
        "certmanager_certificate_renewal_timestamp_seconds{name=\"site\"",
        "certmanager_issuer_ready_status{name=\"self\"",
        "certmanager_controller_sync_call_count{controller=\"certificates\"}",
        "certmanager_clock_time_seconds_gauge",
        "everleaf_leader 1",
    ];
    // It is counted after it was done.
    cluster.lab.wait(DEADLINE, "the metrics", || {
        let text = metrics(&cluster.lab, 9402)?;
        let missing = lines.iter().find(|line| !text.contains(*line));
        ensure!(missing.is_none(), "{missing:?} is not in\n{text}");
        Ok(Some(()))
    })?;

    cluster.quiet()?;
    let before = requests(&cluster.lab)?.len();
    let began = Instant::now();
    // The wait is what is tested: in it nothing but watches and the Lease may be asked for.
    while began.elapsed() < Duration::from_secs(12) {
        std::thread::sleep(Duration::from_millis(500));
    }
    let all = requests(&cluster.lab)?;
    let asked: Vec<_> = all
        .iter()
        .skip(before)
        .filter(|r| r.verb != "watch" && r.resource != "leases")
        .collect();
    assert!(asked.is_empty(), "asked without need: {asked:?}");

    let log = cluster.operator_log()?;
    for line in log.lines() {
        let entry: Value =
            serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))?;
        assert!(
            entry["timestamp"].is_string() && entry["level"].is_string(),
            "{line}"
        );
        assert!(!line.contains("PRIVATE KEY"), "{line}");
    }
    assert!(log.contains("successfully issued"), "{log}");

    cluster.stop_operator()?;
    let lease = cluster.lab.kubectl(&[
        "get",
        "lease",
        "cert-manager-controller",
        "--namespace=kube-system",
        "--output=jsonpath={.spec.holderIdentity}",
    ])?;
    assert_eq!(lease, "", "the Lease is given back");
    Ok(())
}

/// A test with several replicas at a time, or one that keeps the machine busy: where a Lease cannot be renewed, another one
/// would lead.
static TURN: Mutex<()> = Mutex::new(());

pub fn turn() -> MutexGuard<'static, ()> {
    TURN.lock()
}

/// A replica with ports of its own, so that two run side by side.
pub fn replica(lab: &Lab, number: u16) -> Result<Process> {
    let mut command = lab.command(everleaf());
    command
        .args([
            "controller",
            "--http01-mode=Direct",
            "--leader-election-retry-period=2s",
        ])
        .args([
            "--leader-election-lease-duration=60s",
            "--leader-election-renew-deadline=40s",
        ])
        .arg(format!("--http01-port={}", 8100 + number))
        .arg(format!(
            "--metrics-listen-address=0.0.0.0:{}",
            9500 + number
        ))
        .arg(format!(
            "--internal-healthz-listen-address=0.0.0.0:{}",
            9600 + number
        ))
        .env("POD_IP", lab::ADDRESS)
        .env("POD_NAME", format!("replica-{number}"));
    lab.spawn(&format!("replica-{number}"), command)
}

pub fn leads(lab: &Lab, number: u16) -> Result<Option<()>> {
    Ok(metrics(lab, 9500 + number)?
        .contains("everleaf_leader 1")
        .then_some(()))
}

/// Wait until a replica knows everything, and acts on nothing.
pub fn stands_by(lab: &Lab, number: u16) -> Result<()> {
    let caches = format!("http://{}:{}/readyz?verbose", lab::ADDRESS, 9600 + number);
    lab.wait(DEADLINE, "the standby knows everything", || {
        Ok(lab.get(&caches)?.contains("role standby").then_some(()))
    })
}

#[test]
fn a_standby_acts_once_the_leader_is_gone_and_not_before() -> Result<()> {
    let Some(cluster) = cluster()? else {
        return Ok(());
    };
    let _turn = turn();
    let lab = &cluster.lab;
    let first = replica(lab, 1)?;
    lab.wait(DEADLINE, "the first replica leads", || leads(lab, 1))?;
    let second = replica(lab, 2)?;
    stands_by(lab, 2)?;
    let line = lab.wait(DEADLINE, "it says so", || {
        let log = second.log()?;
        let mut lines = log.lines();
        let said = lines.find(|line| line.contains("this one stands by"));
        Ok(said.map(str::to_owned))
    })?;
    for words in ["holder=\"replica-1_", "/cert-manager-controller"] {
        assert!(line.contains(words), "{line}");
    }
    let namespace = cluster.namespace("replicas")?;
    namespace.apply(SELF_SIGNED)?;
    namespace.apply(&certificate("one", "self", "one.example.com", ""))?;
    namespace.ready("one", DEADLINE)?;
    assert!(
        !second.log()?.contains("successfully issued"),
        "the standby has acted"
    );

    first.kill()?;
    namespace.apply(&certificate("two", "self", "two.example.com", ""))?;
    namespace.ready("two", DEADLINE)?;
    lab.wait(DEADLINE, "the standby says that it has taken over", || {
        let issued = second.log()?.contains("successfully issued");
        Ok(issued.then_some(()))
    })?;
    assert_eq!(
        namespace.list("certificaterequest")?.len(),
        2,
        "one request a Certificate"
    );
    assert!(leads(lab, 2)?.is_some());
    Ok(())
}

#[test]
fn an_api_server_that_goes_away_and_comes_back() -> Result<()> {
    let Some(cluster) = cluster()? else {
        return Ok(());
    };
    // Longer than the API server is away, however busy the machine.
    cluster.operator(&[
        "--leader-election-lease-duration=3m",
        "--leader-election-renew-deadline=2m",
    ])?;
    let namespace = cluster.namespace("outage")?;
    namespace.apply(SELF_SIGNED)?;
    namespace.apply(&certificate("before", "self", "before.example.com", ""))?;
    namespace.ready("before", DEADLINE)?;

    cluster.lab.part("apiserver")?.restart()?;
    cluster.lab.wait(DEADLINE, "the API server is back", || {
        Ok(cluster
            .lab
            .kubectl(&["get", "--raw", "/readyz"])
            .is_ok()
            .then_some(()))
    })?;
    // What is deleted while no watch runs, or just after, is noticed all the same.
    namespace.kubectl(&["delete", "secret", "before"])?;
    namespace.ready("before", DEADLINE)?;
    namespace.until(DEADLINE, "secret", "before", "there again", |_| true)?;
    namespace.apply(&certificate("after", "self", "after.example.com", ""))?;
    namespace.ready("after", DEADLINE)?;
    Ok(())
}
