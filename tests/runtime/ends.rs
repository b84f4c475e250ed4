//! Whatever a replica is doing: it ends when it has to.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process::{SELF_SIGNED, cluster, replica, turn};
use crate::support::{DEADLINE, STOPPED, certificate};

#[test]
fn a_replica_that_loses_its_lease_before_it_knows_everything() -> Result<()> {
    let Some(cluster) = cluster()? else {
        return Ok(());
    };
    let _turn = turn();
    let lab = &cluster.lab;
    lab.kubectl(&["delete", "crd", "certificates.cert-manager.io"])?;
    let replica = replica(lab, 1)?;
    let lease = [
        "lease",
        "cert-manager-controller",
        "--namespace=kube-system",
    ];
    lab.wait(DEADLINE, "it holds the Lease", || {
        let held = lab.kubectl(&[&["get"], &lease[..], &["--output=json"]].concat());
        let held: Value = serde_json::from_str(&held.unwrap_or_default()).unwrap_or_default();
        let holder = held["spec"]["holderIdentity"].as_str();
        Ok(holder.filter(|h| h.starts_with("replica-1")).map(drop))
    })?;
    let other = r#"--patch={"spec": {"holderIdentity": "other"}}"#;
    lab.kubectl(&[&["patch"], &lease[..], &["--type=merge", other]].concat())?;
    replica.wait(STOPPED).context("it ends")?;
    let log = replica.log()?;
    assert!(log.contains("the Lease is lost"), "{log}");
    Ok(())
}

#[test]
fn keys_that_take_long_keep_no_process_from_its_end() -> Result<()> {
    let Some(cluster) = cluster()? else {
        return Ok(());
    };
    let _turn = turn();
    // All of them at a time.
    cluster.operator(&["--concurrent-workers=64"])?;
    let namespace = cluster.namespace("slow")?;
    namespace.apply(SELF_SIGNED)?;
    // More of them than can be made in the time that the test gives it to end.
    let names: Vec<_> = (0..64).map(|number| format!("slow-{number}")).collect();
    let slow = names.iter().map(|name| {
        let slow = certificate(name, "self", "slow.example.com", "");
        slow.replace("algorithm: ECDSA", "algorithm: RSA, size: 8192")
    });
    let certificates = namespace.watch("certificate", "")?;
    namespace.apply(&slow.collect::<Vec<_>>().join("\n---\n"))?;
    let is_under_way = |object: &Value| {
        let all = object["status"]["conditions"].as_array();
        all.into_iter().flatten().any(|c| c["type"] == "Issuing")
    };
    certificates.until(DEADLINE, "all under way", |events| {
        let begun = events.iter().filter(|(_, object)| is_under_way(object));
        let begun: BTreeSet<_> = begun
            .filter_map(|(_, object)| object["metadata"]["name"].as_str())
            .collect();
        names.iter().all(|name| begun.contains(name.as_str()))
    })?;
    let all = namespace.list("certificate")?;
    let made = all.iter().filter(|c| !c["status"]["revision"].is_null());
    // The others take longer than it waits.
    assert!(made.count() < names.len() / 4, "the test tests something");
    cluster.stop_operator()
}
