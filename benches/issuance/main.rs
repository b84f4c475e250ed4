//! What issuance costs: time, requests, CPU and memory for 500 Certificates at once, beside the floor of
//! the same machine. `make bench` runs it. Each lot has a fresh control-tier lab; the names of some, `selfsigned`,
//! `ca`, `acme`, `dns01`, `quiet`, run only those.
//!
//! The program is two: run by cargo it starts the labs and measures; run by itself inside a lab
//! (`client …`, see `support/client.rs`) it creates the Certificates and watches them.
#![allow(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "it is a command that prints figures"
)]

mod dns01;
mod quiet;
#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;

use anyhow::Result;

use support::lot::{self, Lot};
use support::process::load;
use support::{Row, report, table};

/// Certificates of a lot.
const COUNT: usize = 500;
/// Single certificates, one after the other, of which the median is taken.
const SINGLE: usize = 20;
/// DNS-01 certificates at once.
const TOGETHER: usize = 100;

fn main() -> ExitCode {
    support::run("issuance", bench)
}

/// The lots that are asked for by name, all without one; then the table. A goal that is missed is printed as missed;
/// only a lot that does not come to its end fails.
fn bench(chosen: &[String]) -> Result<()> {
    let wanted = |lot: &str| chosen.is_empty() || chosen.iter().any(|c| c == lot);
    let cores = std::thread::available_parallelism()?;
    println!(
        "{COUNT} Certificates a lot, {cores} cores, load {}",
        load()?
    );
    let mut rows = Vec::new();
    let floor = lot::floor(COUNT)?;
    let rate = 5.0 * COUNT as f64 / floor.seconds;
    println!(
        "floor: {:.2} s, {rate:.0} writes/s, API server {:.1} CPU s; load {}",
        floor.seconds,
        floor.server_cpu,
        load()?
    );
    if wanted("selfsigned") {
        let lot = lot::issue(Lot::SelfSigned, COUNT)?;
        report("SelfSigned", &lot, COUNT)?;
        let cpu = 1000.0 * lot.operator_cpu / COUNT as f64;
        rows.extend([
            Row(
                "SelfSigned: seconds, of the floor's",
                1.4,
                lot.seconds / floor.seconds,
            ),
            Row("SelfSigned: requests each", 7.0, lot.requests.each(COUNT)),
            Row("SelfSigned: operator CPU ms each", 4.0, cpu),
            Row("SelfSigned: settled MiB", 18.0, lot.settled_mib),
        ]);
    }
    if wanted("ca") {
        let lot = lot::issue(Lot::Ca, COUNT)?;
        report("CA", &lot, COUNT)?;
        rows.extend([
            Row(
                "CA, ten issuers: seconds, of the floor's",
                1.4,
                lot.seconds / floor.seconds,
            ),
            Row(
                "CA, ten issuers: requests each",
                7.0,
                lot.requests.each(COUNT),
            ),
            Row("CA, ten issuers: settled MiB", 18.0, lot.settled_mib),
        ]);
    }
    if wanted("acme") {
        let lot = lot::issue(Lot::Acme, COUNT)?;
        report("ACME", &lot, COUNT)?;
        let at_floor = lot.requests.total() as f64 / rate;
        rows.extend([
            Row("ACME: requests each", 18.0, lot.requests.each(COUNT)),
            Row(
                "ACME: seconds, of as many writes' at the floor",
                1.4,
                lot.seconds / at_floor,
            ),
            Row("ACME: settled MiB", 18.0, lot.settled_mib),
        ]);
    }
    if wanted("dns01") {
        let times = dns01::times(SINGLE, TOGETHER)?;
        rows.extend([
            Row(
                "DNS-01 by RFC 2136, apply to Ready: median s",
                3.0,
                times.median,
            ),
            Row("100 DNS-01 at once: seconds", 8.0, times.together),
        ]);
    }
    if wanted("quiet") {
        let quiet = quiet::quiet(SINGLE)?;
        rows.extend([
            Row("idle: MiB", 12.0, quiet.idle_mib),
            Row("idle: requests in 60 s", 0.0, quiet.idle_requests),
            Row(
                "HTTP-01 Direct, apply to Ready: median s",
                2.0,
                quiet.median_seconds,
            ),
        ]);
    }
    table(&rows);
    Ok(())
}
