//! What happens while no watch runs.

use anyhow::Result;
use lab::Options;

use crate::support::{Cluster, DEADLINE, SELF_SIGNED, certificate};

/// The operator stands still while objects are deleted and the API server starts anew: its watches
/// cannot go on where they were, and only the comparison of a new list with what it knew tells it.
#[test]
fn what_is_deleted_while_no_watch_runs_is_noticed() -> Result<()> {
    if lab::skipped("what_is_deleted_while_no_watch_runs_is_noticed") {
        return Ok(());
    }
    let cluster = Cluster::start(&Options::default())?;
    let lab = &cluster.lab;
    cluster.operator(&["--leader-elect=false"])?;
    let namespace = cluster.namespace("relist")?;
    namespace.apply(SELF_SIGNED)?;
    for name in ["goes", "loses-secret", "loses-issuer"] {
        let host = format!("{name}.example.com");
        namespace.apply(&certificate(name, "self", &host, ""))?;
    }
    for name in ["goes", "loses-secret", "loses-issuer"] {
        namespace.ready(name, DEADLINE)?;
    }

    cluster.signal_operator("STOP")?;
    namespace.kubectl(&["delete", "certificate", "goes"])?;
    namespace.kubectl(&["delete", "secret", "loses-secret"])?;
    namespace.kubectl(&["delete", "issuer", "self"])?;
    lab.part("apiserver")?.restart()?;
    lab.wait(DEADLINE, "the API server is back", || {
        lab.kubectl(&["get", "--raw", "/readyz"]).map(Some)
    })?;
    cluster.signal_operator("CONT")?;

    let words = ["Issuer \"self\" does not exist"];
    namespace.says("loses-secret", &words, DEADLINE)?;
    lab.wait(DEADLINE, "the deleted Certificate is forgotten", || {
        let metrics = cluster.metrics()?;
        let known = |name: &str| metrics.contains(&format!("{{name=\"{name}\""));
        Ok((known("loses-secret") && !known("goes")).then_some(()))
    })?;
    namespace.apply(SELF_SIGNED)?;
    namespace.ready("loses-secret", DEADLINE)?;
    namespace.pair_matches("loses-secret")
}
