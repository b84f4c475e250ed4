//! What clients of the cert-manager API rely on: the contract, on a real API server.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests fail by panicking and measure by the wall clock"
)]

#[path = "../support/mod.rs"]
mod support;

mod budget;
mod ca;
mod ca_rotation;
mod external;
mod fields;
mod fights;
mod hostile;
mod lifecycle;
mod odd_times;
mod outputs;
mod ownership;
mod recorded;
mod refusals;
mod requests;
mod revocation_list;
mod shim;
mod signing;
mod temporary;
mod vault;

use std::sync::OnceLock;

use anyhow::Result;
use serde_json::Value;
use support::{Cluster, Namespace, served, shared};

/// It holds no Lease, so that one started after another acts at once. It serves revocation lists.
const FLAGS: [&str; 3] = [
    "--leader-elect=false",
    "--revocation-list-listen-address=10.244.0.1:9404",
    "--revocation-list-url=http://10.244.0.1:9404",
];

/// Where it does.
const LISTS: &str = "http://10.244.0.1:9404";

static CLUSTER: OnceLock<Cluster> = OnceLock::new();
static ASIDE: OnceLock<Cluster> = OnceLock::new();

fn cluster() -> Option<&'static Cluster> {
    shared(&CLUSTER, start)
}

/// Another, for tests that end the operator or give it other flags: one at a time, while those of the first go on.
fn aside() -> Option<&'static Cluster> {
    shared(&ASIDE, start)
}

fn start() -> Result<Cluster> {
    let cluster = Cluster::counted()?;
    cluster.lab.apply(external::KIND)?;
    served(&cluster.lab)?;
    cluster.operator(&FLAGS)?;
    Ok(cluster)
}

/// A SelfSigned Issuer.
fn self_signed(name: &str) -> String {
    format!(
        "{{apiVersion: cert-manager.io/v1, kind: Issuer, metadata: {{name: {name}}}, spec: {{selfSigned: {{}}}}}}"
    )
}

/// A condition of an object; null without one.
fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    let all = object["status"]["conditions"].as_array();
    all.into_iter()
        .flatten()
        .find(|c| c["type"] == kind)
        .unwrap_or(&Value::Null)
}

/// Be another writer of the Secret `site`, with the field manager `secret-sync`: its data becomes this.
fn overwrite(namespace: &Namespace<'_>, data: &Value) -> Result<()> {
    let manifest = serde_json::json!({ "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": { "name": "site" }, "data": data });
    let name = format!("{}-writer.json", namespace.name);
    let file = namespace.cluster.lab.dir().join(name);
    std::fs::write(&file, manifest.to_string())?;
    let file = format!("--filename={}", file.display());
    let apply = [
        "apply",
        "--server-side",
        "--force-conflicts",
        "--field-manager=secret-sync",
        &file,
    ];
    namespace.kubectl(&apply)?;
    Ok(())
}

/// Merge into the status of an object, as its users do.
fn patch_status(namespace: &Namespace<'_>, object: &str, status: &Value) -> Result<()> {
    let patch = serde_json::json!({ "status": status });
    namespace.kubectl(&[
        "patch",
        object,
        "--subresource=status",
        "--type=merge",
        &format!("--patch={patch}"),
    ])?;
    Ok(())
}

/// Add a condition to an object, or replace it.
fn set_condition(
    namespace: &Namespace<'_>,
    kind: &str,
    name: &str,
    condition: &Value,
) -> Result<()> {
    let object = namespace.get(kind, name)?;
    let all = object["status"]["conditions"].as_array();
    let others = all.into_iter().flatten();
    let mut conditions: Vec<Value> = others
        .filter(|c| c["type"] != condition["type"])
        .cloned()
        .collect();
    conditions.push(condition.clone());
    let status = serde_json::json!({ "conditions": conditions });
    patch_status(namespace, &format!("{kind}/{name}"), &status)
}

/// The time as the API writes it.
fn now() -> String {
    jiff::Timestamp::now().strftime("%FT%TZ").to_string()
}
