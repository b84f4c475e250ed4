//! The operator without work, and with little.

use std::time::Duration;

use anyhow::Result;

use crate::support::lot::{Lot, client, cluster, issuers, operator, pause};
use crate::support::process::mib;
use crate::support::requests::Requests;

/// A start has come to rest after this long.
const STARTED: Duration = Duration::from_secs(3);
const IDLE: Duration = Duration::from_mins(1);

/// An operator without work, and with one certificate at a time.
pub struct Quiet {
    pub idle_mib: f64,
    pub idle_requests: f64,
    pub median_seconds: f64,
}

/// An idle minute in an empty cluster, then `count` HTTP-01 certificates one after the other.
pub fn quiet(count: usize) -> Result<Quiet> {
    let lab = cluster()?;
    let operator = operator(&lab)?;
    let pid = operator.pid()?;
    pause(STARTED);
    let earlier = Requests::of_operator(&lab)?;
    pause(IDLE);
    let requests = Requests::of_operator(&lab)?.since(&earlier);
    let idle_mib = mib(pid, "VmRSS")?;
    issuers(&lab, Lot::Acme)?;
    let seen = client(&lab, "single", 0..count, Lot::Acme)?;
    Ok(Quiet {
        idle_mib,
        idle_requests: requests.total() as f64,
        median_seconds: seen.p50,
    })
}
