//! What a cert-manager 1.21.1 cluster left is gone on with, on a real API server: nothing is issued anew.
//!
//! The certificates that were recorded end one day, so the operator's clock begins when they were recorded; nobody
//! else's does, and nothing of the objects is touched.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail by panicking"
)]

#[path = "../support/mod.rs"]
mod support;

mod fields;
mod objects;

use std::collections::BTreeMap;

use anyhow::Result;
use lab::Options;
use parking_lot::{Mutex, MutexGuard};
use serde_json::Value;
use support::recorded::{NAMESPACE, RECORDED_AT};
use support::{Cluster, Namespace, recorded};

/// A cluster of one test. One at a time: each is a whole control plane.
struct Taken {
    cluster: Cluster,
    _turn: MutexGuard<'static, ()>,
}

static TURN: Mutex<()> = Mutex::new(());

impl Taken {
    /// A lab with an API server that holds nothing yet but the namespace; no operator. `None` where labs cannot run.
    fn fresh() -> Result<Option<Self>> {
        let test = std::thread::current();
        if lab::skipped(test.name().unwrap_or("a test")) {
            return Ok(None);
        }
        let turn = TURN.lock();
        let cluster = Cluster::start(&Options {
            audit: true,
            clock: Some(RECORDED_AT.into()),
            ..Options::default()
        })?;
        cluster.lab.kubectl(&["create", "namespace", NAMESPACE])?;
        Ok(Some(Self {
            cluster,
            _turn: turn,
        }))
    }

    /// One that holds these objects as they were recorded.
    fn with(files: &[&str]) -> Result<Option<Self>> {
        let Some(taken) = Self::fresh()? else {
            return Ok(None);
        };
        for file in files {
            recorded::restore(&taken.cluster.lab, &recorded::objects(file)?)?;
        }
        Ok(Some(taken))
    }

    /// Start the operator, or start it again at the same time, and wait until it has come to rest.
    fn operate(&self) -> Result<()> {
        self.cluster.operator(&["--leader-elect=false"])?;
        self.cluster.quiet()
    }

    fn namespace(&self) -> Namespace<'_> {
        self.cluster.existing(NAMESPACE)
    }
}

/// Some part of each object of a kind, by name.
fn by_name(
    namespace: &Namespace<'_>,
    kind: &str,
    part: impl Fn(&Value) -> Value,
) -> Result<BTreeMap<String, Value>> {
    let all = namespace.list(kind)?;
    let name = |object: &Value| object["metadata"]["name"].as_str().unwrap().to_owned();
    Ok(all.iter().map(|o| (name(o), part(o))).collect())
}

/// Its resourceVersion.
fn version(object: &Value) -> Value {
    object["metadata"]["resourceVersion"].clone()
}

/// A condition of an object; null without one.
fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    let all = object["status"]["conditions"].as_array();
    all.into_iter()
        .flatten()
        .find(|c| c["type"] == kind)
        .unwrap_or(&Value::Null)
}
