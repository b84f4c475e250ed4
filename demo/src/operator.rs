//! The operator: from its chart, in a Pod; or as a process, where there is no node.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use lab::{ADDRESS, Lab, Process, output};

use crate::say::Say;

const IMAGE: &str = concat!("localhost/everleaf:", env!("CARGO_PKG_VERSION"));

/// The top of the repository.
fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// One of `demo/manifests`.
pub fn manifest(name: &str) -> Result<String> {
    let file = repository().join(format!("demo/manifests/{name}.yaml"));
    std::fs::read_to_string(&file).with_context(|| file.display().to_string())
}

/// Loads the image that `make image` built, and installs the chart with it.
pub fn install(lab: &Lab, say: &Say) -> Result<()> {
    let archive = made("EVERLEAF_IMAGE", "make image")?;
    lab.load_image(IMAGE, &archive)?;
    let kilobytes = archive.metadata()?.len() / 1000;
    say.line(&format!("{IMAGE} is on the node: {kilobytes} kB"));

    let helm = "install everleaf charts/everleaf --namespace everleaf --create-namespace";
    let mut command = lab.command("helm");
    output(command.args(helm.split(' ')).current_dir(repository()))?;
    say.line(&format!("helm {helm}"));
    let rollout = "--namespace everleaf rollout status deployment/everleaf --timeout=1s";
    let rollout: Vec<_> = rollout.split(' ').collect();
    lab.wait(Duration::from_secs(90), "the operator's Pod", || {
        lab.kubectl(&rollout).map(Some)
    })
    .with_context(|| diagnosis(lab))?;
    let pod = lab.kubectl(&["--namespace", "everleaf", "get", "pods", "-o", "name"])?;
    say.line(&format!("the operator runs: {}", pod.trim_end()));
    Ok(())
}

/// Applies the CRDs and starts the binary that `make build` built.
pub fn run(lab: &Lab, say: &Say) -> Result<Process> {
    let crds = repository().join("crds");
    lab.kubectl(&["apply", "--server-side", "-f", &crds.to_string_lossy()])?;
    lab.kubectl(&[
        "wait",
        "--for=condition=Established",
        "crd",
        "--all",
        "--timeout=30s",
    ])?;
    let mut command = lab.command(made("EVERLEAF_BINARY", "make build")?);
    command
        .args(["controller", "--http01-mode=Direct"])
        .env("POD_IP", ADDRESS);
    let process = lab.spawn("everleaf", command)?;
    let probe = || lab.get("http://127.0.0.1:9403/readyz").map(Some);
    lab.wait(Duration::from_secs(30), "the operator", probe)
        .with_context(|| process.log().unwrap_or_default())?;
    say.line("the operator runs, as a process: everleaf controller --http01-mode=Direct");
    Ok(process)
}

/// The end of what the operator has logged, and what happened to its Pod, for when something goes wrong.
pub fn diagnosis(lab: &Lab) -> String {
    let mut tail = lab.command("tail");
    if let Ok(log) = output(tail.args(["-n", "20"]).arg(lab.dir().join("log/everleaf"))) {
        return log;
    }
    let see = |arguments: &[&str]| {
        let all = [&["--namespace", "everleaf"], arguments].concat();
        lab.kubectl(&all)
            .unwrap_or_else(|error| format!("{error:#}"))
    };
    let events = see(&["get", "events", "--sort-by=.lastTimestamp"]);
    let log = see(&["logs", "deployment/everleaf", "--tail=20"]);
    format!("{events}\n{log}")
}

fn made(variable: &str, by: &str) -> Result<PathBuf> {
    let file = env::var_os(variable).map(PathBuf::from);
    file.filter(|file| file.exists()).with_context(|| {
        format!("run `make demo`, or `{by}` first and name what it made in {variable}")
    })
}
