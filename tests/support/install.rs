//! The operator as it is installed: its image on a node, its chart by helm.

use std::path::PathBuf;

use anyhow::{Context, Result};
use lab::{Lab, Options, Tier};

use super::{DEADLINE, repository};

/// Where the operator is installed, in tests as in the README.
pub const NAMESPACE: &str = "everleaf";

/// The image that the chart names.
pub const IMAGE: &str = concat!("localhost/everleaf:", env!("CARGO_PKG_VERSION"));

/// The file that `make image` makes.
pub fn archive() -> Result<PathBuf> {
    let archive = std::env::var_os("EVERLEAF_IMAGE").map(PathBuf::from);
    archive.context("run make test, or make image first and set EVERLEAF_IMAGE")
}

/// A node lab with the image, and nothing else of the operator.
pub fn node(options: &Options) -> Result<Lab> {
    let archive = archive()?;
    let lab = Lab::start(Tier::Node, options)?;
    lab.load_image(IMAGE, &archive)?;
    Ok(lab)
}

/// Run helm at the top of the repository; `line` is its arguments, separated by spaces.
pub fn helm(lab: &Lab, line: &str) -> Result<String> {
    let mut helm = lab.command("helm");
    lab::output(helm.args(line.split(' ')).current_dir(repository()))
}

/// Wait until all replicas are those of the last change, and Ready by their probes.
pub fn rolled_out(lab: &Lab) -> Result<()> {
    let line = [
        "--namespace",
        NAMESPACE,
        "rollout",
        "status",
        "--timeout=1s",
    ];
    let status = [line.as_slice(), &["deployment/everleaf"]].concat();
    lab.wait(3 * DEADLINE, "the operator's Pods", || {
        lab.kubectl(&status).map(Some)
    })
    .with_context(|| log(lab).unwrap_or_default())?;
    Ok(())
}

/// Wait until the operator has so many Pods, those that are ending included, and not those that the node has given up.
pub fn pods(lab: &Lab, count: usize) -> Result<()> {
    let what = format!("{count} Pods of the operator");
    lab.wait(2 * DEADLINE, &what, || {
        let all = of_pods(lab, "{.metadata.uid}")?;
        Ok((all.len() == count).then_some(()))
    })
}

/// What is found at this `JSONPath` of each of the operator's Pods that has not failed.
pub fn of_pods(lab: &Lab, path: &str) -> Result<Vec<String>> {
    let of = [
        "--namespace",
        NAMESPACE,
        "get",
        "pods",
        "--selector=app.kubernetes.io/name=everleaf",
        "--field-selector=status.phase!=Failed",
    ];
    let output = format!("-o=jsonpath={{range .items[*]}}{path}{{\"\\n\"}}{{end}}");
    let found = lab.kubectl(&[of.as_slice(), &[&output]].concat())?;
    Ok(found.lines().map(str::to_owned).collect())
}

/// What the operator's Pods have logged.
pub fn log(lab: &Lab) -> Result<String> {
    let selector = "app.kubernetes.io/name=everleaf";
    lab.kubectl(&[
        "--namespace",
        NAMESPACE,
        "logs",
        "--selector",
        selector,
        "--tail=-1",
    ])
}

/// A namespace in which only Pods that pass the Pod Security Standard `restricted` may run.
pub fn restrict(lab: &Lab, namespace: &str) -> Result<()> {
    let label = "pod-security.kubernetes.io/enforce=restricted";
    lab.kubectl(&["label", "namespace", namespace, label])?;
    Ok(())
}
