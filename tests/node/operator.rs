//! The operator's own Pod.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::pod::NOWHERE;
use crate::support::Cluster;
use crate::support::install::{NAMESPACE, log, pods, rolled_out};
use crate::{SAID, ask, cluster, issued, prepare};

#[test]
fn another_pod_finishes_what_one_began() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.alone("replaced")?;
    prepare(&namespace, &NOWHERE.replace("ROOM", "replaced"))?;
    ask(&namespace)?;
    namespace.says("site", &["solver Pod cannot be scheduled"], SAID)?;
    let pods = namespace.watch("pod", "")?;
    replace(cluster)?;
    cluster
        .lab
        .kubectl(&["label", "node", "lab", "room-replaced=yes"])?;
    issued(&namespace)?;
    crate::only(&pods)?;
    Ok(())
}

#[test]
fn it_is_ready_by_its_probes_where_only_restricted_pods_may_run() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.existing(NAMESPACE);
    let privileged =
        "--overrides={\"spec\": {\"containers\": [{\"name\": \"a\", \"image\": \"a\"}]}}";
    let refused = namespace.kubectl(&["run", "a", "--image=a", "--dry-run=server", privileged]);
    let refused = refused
        .expect_err("a Pod that is not restricted")
        .to_string();
    ensure!(refused.contains("violates PodSecurity"), "{refused}");

    let is_ready = |pod: &&Value| {
        let status = &pod["status"]["containerStatuses"][0];
        pod["metadata"]["deletionTimestamp"].is_null() && status["ready"] == true
    };
    let pods = namespace.until_list("pod", "one that is ready", |all| {
        all.iter().any(|pod| is_ready(&pod))
    })?;
    let pod = pods.iter().find(is_ready).context("the operator's Pod")?;
    let container = &pod["spec"]["containers"][0];
    for (probe, path) in [("livenessProbe", "/livez"), ("readinessProbe", "/readyz")] {
        assert_eq!(container[probe]["httpGet"]["path"], path);
    }
    assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0);
    Ok(())
}

/// Nothing that the operator asked for was refused, in all that the tests here did so far and in an
/// issuance of either mode.
#[test]
fn its_rights_suffice() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    for (name, mode) in [("rights-pod", "Pod"), ("rights-direct", "Direct")] {
        let namespace = cluster.namespace(name)?;
        prepare(
            &namespace,
            &format!("{{ingressClassName: traefik, mode: {mode}}}"),
        )?;
        ask(&namespace)?;
        issued(&namespace)?;
    }
    let requests = requests(cluster)?;
    ensure!(
        requests.len() > 50,
        "{} requests are too few",
        requests.len()
    );
    let refused: Vec<_> = requests
        .iter()
        .filter(|request| request["responseStatus"]["code"] == 403)
        .map(|request| format!("{} {}", request["verb"], request["requestURI"]))
        .collect();
    assert_eq!(refused, Vec::<String>::new());
    let log = log(&cluster.lab)?;
    ensure!(!log.contains("forbidden"), "{log}");
    ensure!(!log.contains("panicked"), "{log}");
    Ok(())
}

/// Delete the operator's Pod and wait for another.
pub fn replace(cluster: &Cluster) -> Result<()> {
    let selector = "--selector=app.kubernetes.io/name=everleaf";
    cluster
        .lab
        .kubectl(&["--namespace", NAMESPACE, "delete", "pod", selector])?;
    rolled_out(&cluster.lab)?;
    pods(&cluster.lab, 1)
}

/// All requests of the operator to the API server.
fn requests(cluster: &Cluster) -> Result<Vec<Value>> {
    let account = format!("system:serviceaccount:{NAMESPACE}:everleaf");
    let log = fs::read_to_string(cluster.lab.audit_log())?;
    let events = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(events
        .filter(|event| event["user"]["username"] == account)
        .collect())
}
