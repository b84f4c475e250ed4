//! Whatever a replica is doing: it ends when it has to.

use std::time::{Duration, Instant};

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
    cluster.operator(&[])?;
    let namespace = cluster.namespace("slow")?;
    namespace.apply(SELF_SIGNED)?;
    // More of them than can be made in the time that there is to end.
    let names: Vec<_> = (0..12).map(|number| format!("slow-{number}")).collect();
    for name in &names {
        let slow = certificate(name, "self", "slow.example.com", "");
        namespace.apply(&slow.replace("algorithm: ECDSA", "algorithm: RSA, size: 8192"))?;
    }
    for name in &names {
        namespace.until(DEADLINE, "certificate", name, "under way", |object| {
            let all = object["status"]["conditions"].as_array();
            all.into_iter().flatten().any(|c| c["type"] == "Issuing")
        })?;
    }
    let began = Instant::now();
    cluster.stop_operator()?;
    let took = began.elapsed();
    // It gives itself ten; the keys take longer than this.
    assert!(took < Duration::from_secs(25), "the end took {took:?}");
    Ok(())
}
