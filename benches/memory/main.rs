//! What ten thousand live certificates of CA issuers cost: memory, a restart, the next certificate, Secrets that nobody
//! asked for; and five thousand at once, beside the floor of the same machine. `make bench-memory` runs it; the names
//! `live` and `lot` run only that part.
#![allow(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    reason = "it is a command that measures by the wall clock and prints figures"
)]

mod restart;
#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use lab::{Lab, Process};

use support::lot::{self, Issued, Lot, SETTLED, pause};
use support::process::{load, mib, rest};
use support::{Row, report, table};

/// Certificates live, all in one namespace.
const LIVE: usize = 10_000;
/// They come in batches, each once the last is Ready, as clusters grow: not all at once.
const BATCH: usize = 500;
/// Those whose cost is compared: the second hundred and the last.
const SAMPLE: usize = 100;
/// At once, beside the floor.
const LOT: usize = 5_000;
/// Secrets of 100 KiB that no certificate has to do with.
const UNRELATED: usize = 2_000;
const DEADLINE: Duration = Duration::from_mins(5);

fn main() -> ExitCode {
    support::run("memory", bench)
}

fn bench(chosen: &[String]) -> Result<()> {
    let wanted = |part: &str| chosen.is_empty() || chosen.iter().any(|c| c == part);
    let cores = std::thread::available_parallelism()?;
    println!("{cores} cores, load {}", load()?);
    let mut rows = Vec::new();
    if wanted("live") {
        live(&mut rows)?;
    }
    if wanted("lot") {
        all_at_once(&mut rows)?;
    }
    table(&rows);
    Ok(())
}

fn live(rows: &mut Vec<Row>) -> Result<()> {
    let lab = lot::cluster()?;
    let mut operator = lot::operator(&lab)?;
    lot::issuers(&lab, Lot::Ca)?;
    let (few, many) = grow(&lab, &operator)?;
    let (few_cpu, many_cpu) = (
        1000.0 * few.operator_cpu / SAMPLE as f64,
        1000.0 * many.operator_cpu / SAMPLE as f64,
    );
    println!("operator CPU ms each: {few_cpu:.2} at {SAMPLE}, {many_cpu:.2} at {LIVE}");
    let again = restart::restart(&lab, &mut operator, LIVE)?;
    println!(
        "restart: ready after {:.2} s, at rest after {:.2} s; {:.2} CPU s; MiB: peak {:.1}, settled {:.1}; load {}\n{}",
        again.ready,
        again.seconds,
        again.cpu,
        again.peak_mib,
        again.settled_mib,
        load()?,
        again.requests.by_kind(1)
    );
    let unrelated = unrelated(&lab, &operator)?;
    rows.extend([
        Row("10,000 live: settled MiB", 72.0, many.settled_mib),
        Row(
            "requests each at 10,000, of those at 100",
            1.02,
            many.requests.each(SAMPLE) / few.requests.each(SAMPLE),
        ),
        // A sample takes a third of a second, and the kernel counts in hundredths.
        Row(
            "operator CPU each at 10,000, of that at 100",
            1.25,
            many_cpu / few_cpu,
        ),
        Row("restart: writes", 0.0, again.requests.writes() as f64),
        Row("restart: ready, all looked at: s", 10.0, again.seconds),
        Row("restart: CPU s", 5.0, again.cpu),
        Row("restart: settled MiB", 72.0, again.settled_mib),
        Row("2,000 Secrets of 100 KiB: MiB more", 2.0, unrelated),
    ]);
    Ok(())
}

/// Certificates until there are enough; what the second hundred cost, and the last.
fn grow(lab: &Lab, operator: &Process) -> Result<(Issued, Issued)> {
    let issue = |numbers| lot::more(lab, operator, Lot::Ca, numbers);
    // The first ones warm up.
    issue(0..SAMPLE)?;
    let few = issue(SAMPLE..2 * SAMPLE)?;
    report("the second hundred", &few, SAMPLE)?;
    let (mut live, most) = (2 * SAMPLE, LIVE - SAMPLE);
    while live < most {
        let next = (live + BATCH).min(most);
        lot::client(lab, "issue", live..next, Lot::Ca)?;
        live = next;
    }
    // Events of the batches are posted still: they are not what the next certificate costs.
    rest(Instant::now(), operator.pid()?, DEADLINE)?;
    let many = issue(most..LIVE)?;
    report("the last hundred", &many, SAMPLE)?;
    Ok((few, many))
}

/// MiB that the operator grows by through Secrets that are none of its business.
fn unrelated(lab: &Lab, operator: &Process) -> Result<f64> {
    let pid = operator.pid()?;
    let before = mib(pid, "VmRSS")?;
    lot::client(lab, "unrelated", 0..UNRELATED, Lot::SelfSigned)?;
    pause(SETTLED);
    Ok(mib(pid, "VmRSS")? - before)
}

fn all_at_once(rows: &mut Vec<Row>) -> Result<()> {
    let floor = lot::floor(LOT)?;
    println!(
        "floor of {LOT}: {:.2} s, API server {:.1} CPU s; load {}",
        floor.seconds,
        floor.server_cpu,
        load()?
    );
    let issued = lot::issue(Lot::Ca, LOT)?;
    report("5,000 at once", &issued, LOT)?;
    rows.extend([
        Row(
            "5,000 at once: seconds, of the floor's",
            1.4,
            issued.seconds / floor.seconds,
        ),
        Row(
            "5,000 at once: requests each",
            7.0,
            issued.requests.each(LOT),
        ),
    ]);
    Ok(())
}
