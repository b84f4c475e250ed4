//! A stop and a start of the operator.
#![allow(
    clippy::disallowed_methods,
    reason = "the time that passes is what is measured"
)]

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::{Lab, Process};

use crate::support::lot::{self, SETTLED, pause};
use crate::support::process::{mib, rest};
use crate::support::requests::Requests;

const DEADLINE: Duration = Duration::from_mins(2);

/// A start on what is there.
pub struct Restart {
    /// Seconds until `/readyz` said so.
    pub ready: f64,
    /// Seconds until everything was looked at, and the operator at rest.
    pub seconds: f64,
    /// CPU seconds until then.
    pub cpu: f64,
    pub peak_mib: f64,
    pub settled_mib: f64,
    pub requests: Requests,
}

/// Stop the operator as Kubernetes does, and start another on `certificates`.
pub fn restart(lab: &Lab, operator: &mut Process, certificates: usize) -> Result<Restart> {
    operator.signal("TERM")?;
    operator.wait(DEADLINE)?;
    let earlier = Requests::of_operator(lab)?;
    let began = Instant::now();
    *operator = lot::spawn(lab)?;
    let pid = operator.pid()?;
    let url = |port: u16, path: &str| format!("http://{}:{port}/{path}", lab::ADDRESS);
    lab.wait(DEADLINE, "readiness", || {
        lab.get(&url(9403, "readyz")).map(Some)
    })
    .with_context(|| operator.log().unwrap_or_default())?;
    let ready = began.elapsed().as_secs_f64();
    let (seconds, cpu) = rest(began, pid, DEADLINE)?;
    pause(SETTLED);
    let restart = Restart {
        ready,
        seconds,
        cpu,
        peak_mib: mib(pid, "VmHWM")?,
        settled_mib: mib(pid, "VmRSS")?,
        requests: Requests::of_operator(lab)?.since(&earlier),
    };
    // Last of all: a page of so many certificates takes memory and time of its own.
    let metrics = lab.get(&url(9402, "metrics"))?;
    let syncs = syncs(&metrics).context("no count of reconciles")?;
    ensure!(
        syncs >= certificates,
        "{syncs} reconciles for {certificates} Certificates"
    );
    Ok(restart)
}

/// How often a Certificate was reconciled.
fn syncs(metrics: &str) -> Option<usize> {
    let mut lines = metrics.lines();
    let line = lines.find(|line| {
        line.starts_with("certmanager_controller_sync_call_count")
            && line.contains("controller=\"certificates\"")
    })?;
    line.rsplit(' ').next()?.parse().ok()
}
