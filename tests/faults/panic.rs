//! A reconcile that panics.

use anyhow::Result;
use lab::{Lab, Options, Process};

use crate::support::{Cluster, DEADLINE, SELF_SIGNED, STOPPED, certificate, everleaf};

fn operator(lab: &Lab, panics_at: &str) -> Result<Process> {
    let mut command = lab.command(everleaf());
    command
        .args(["controller", "--leader-elect=false"])
        .env("EVERLEAF_PANIC", panics_at);
    lab.spawn("everleaf", command)
}

#[test]
fn a_panic_stops_one_object_and_is_counted() -> Result<()> {
    if lab::skipped("a_panic_stops_one_object_and_is_counted") {
        return Ok(());
    }
    let cluster = Cluster::start(&Options::default())?;
    let namespace = cluster.namespace("panic")?;
    namespace.apply(SELF_SIGNED)?;
    let process = operator(&cluster.lab, "Certificate panic/bad")?;
    namespace.apply(&certificate("bad", "self", "bad.example.com", ""))?;
    for name in ["good", "fine"] {
        namespace.apply(&certificate(
            name,
            "self",
            &format!("{name}.example.com"),
            "",
        ))?;
        namespace.ready(name, DEADLINE)?;
    }
    let counted = || -> Result<Option<String>> {
        let metrics = cluster.metrics()?;
        let name = "everleaf_reconcile_panics_total{controller=\"certificates\"}";
        let line = metrics.lines().find(|line| line.starts_with(name));
        Ok(line.and_then(|line| line.split_whitespace().last().map(ToOwned::to_owned)))
    };
    // A process that tells a panic with all its calls takes its time.
    let first = cluster.lab.wait(DEADLINE, "a panic", counted)?;
    // Once: the object is kept away for a minute.
    assert_eq!(first, "1");
    assert_eq!(process.exit_status()?, None, "the process goes on");
    process.signal("TERM")?;
    process.wait(STOPPED)?;

    let _again = operator(&cluster.lab, "")?;
    namespace.ready("bad", DEADLINE)?;
    Ok(())
}
