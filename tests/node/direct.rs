//! Mode `Direct`: the operator's own Pod answers, through a Service and an EndpointSlice.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::support::install::{helm, pods, rolled_out};
use crate::support::{Cluster, DEADLINE, Namespace, requests};
use crate::{SAID, appeared, ask, cluster, issued, prepare};

#[test]
fn the_operator_answers_where_the_solver_says_so() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("by-solver")?;
    prepare(&namespace, "{ingressClassName: traefik, mode: Direct}")?;
    without_pod(&namespace)
}

#[test]
fn the_operator_answers_where_the_chart_says_so() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.alone("by-chart")?;
    prepare(&namespace, "{ingressClassName: traefik}")?;
    set_mode(cluster, "Direct")?;
    let done = without_pod(&namespace);
    set_mode(cluster, "Pod")?;
    done
}

/// The class comes when the operator's Pod has been replaced, so that only the new one can answer.
#[test]
fn a_new_pod_of_the_operator_answers_for_the_old() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.alone("moved")?;
    prepare(&namespace, "{ingressClassName: moved, mode: Direct}")?;
    ask(&namespace)?;
    namespace.says("site", &["IngressClass \"moved\" does not exist"], SAID)?;
    let old = address(&namespace)?;
    let slices = namespace.watch("endpointslice", "")?;
    crate::operator::replace(cluster)?;
    cluster.lab.apply(
        "{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: moved}, \
         spec: {controller: traefik.io/ingress-controller}}",
    )?;
    namespace.ready("site", 2 * DEADLINE)?;
    slices.until_one(DEADLINE, "a slice that leads elsewhere", |slice| {
        let address = &slice["endpoints"][0]["addresses"][0];
        address.is_string() && *address != old
    })?;
    issued(&namespace)
}

fn without_pod(namespace: &Namespace<'_>) -> Result<()> {
    let pods = namespace.watch("pod", "")?;
    let slices = namespace.watch("endpointslice", "")?;
    ask(namespace)?;
    issued(namespace)?;
    slices.until_one(DEADLINE, "an EndpointSlice", |_| true)?;
    // What the operator has asked for is known when it has come to rest, whatever the watch has shown.
    namespace.quiet()?;
    let made = |kind: &str| -> Result<usize> {
        let all = requests(&namespace.cluster.lab)?.into_iter();
        let made = all
            .filter(|r| r.namespace == namespace.name && r.verb == "create" && r.resource == kind);
        Ok(made.count())
    };
    assert_eq!(appeared(&pods)?, Vec::<Value>::new(), "no Pod");
    assert_eq!(made("pods")?, 0, "no Pod");
    Ok(())
}

fn set_mode(cluster: &Cluster, mode: &str) -> Result<()> {
    let line =
        "upgrade everleaf charts/everleaf --namespace everleaf --reuse-values --set http01.mode=";
    helm(&cluster.lab, &format!("{line}{mode}"))?;
    rolled_out(&cluster.lab)?;
    // The one before acts until it has ended.
    pods(&cluster.lab, 1)
}

fn address(namespace: &Namespace<'_>) -> Result<Value> {
    let slices = namespace.list("endpointslice")?;
    let slice = slices.first().context("an EndpointSlice")?;
    Ok(slice["endpoints"][0]["addresses"][0].clone())
}
