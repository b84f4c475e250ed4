//! What the kernel says about a process and the machine.

#![allow(
    clippy::disallowed_methods,
    reason = "the time that passes is what is measured"
)]

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// Clock ticks a second in /proc: the same on all Linux architectures that have labs.
const TICKS: f64 = 100.0;

/// Between two looks at the CPU time.
const LOOK: Duration = Duration::from_millis(100);
/// At rest is who uses less than a fiftieth of a core for this long.
const REST: Duration = Duration::from_secs(2);

/// CPU seconds, user and system, of all threads of a process since its start.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name before the last parenthesis may hold anything.
    let (_, rest) = stat.rsplit_once(')').context("no name in stat")?;
    let mut ticks = 0.0;
    for field in rest.split_whitespace().skip(11).take(2) {
        ticks += field.parse::<f64>()?;
    }
    Ok(ticks / TICKS)
}

/// Wait until a process is at rest: when it was, in seconds since `began`, and the CPU seconds that it had used.
pub fn rest(began: Instant, pid: u32, deadline: Duration) -> Result<(f64, f64)> {
    let end = Instant::now() + deadline;
    let (mut busy, mut used) = (Instant::now(), cpu_seconds(pid)?);
    while busy.elapsed() < REST {
        ensure!(Instant::now() < end, "no rest within {deadline:?}");
        std::thread::sleep(LOOK);
        let now = cpu_seconds(pid)?;
        if now - used > REST.as_secs_f64() / 50.0 {
            (busy, used) = (Instant::now(), now);
        }
    }
    Ok((busy.duration_since(began).as_secs_f64(), cpu_seconds(pid)?))
}

/// A memory figure of a process in MiB: `VmRSS` or `VmHWM`, its peak.
pub fn mib(pid: u32, figure: &str) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(figure)?.strip_prefix(':'))
        .with_context(|| format!("no {figure} in status"))?;
    let kib = line.trim().trim_end_matches(" kB").parse::<f64>()?;
    Ok(kib / 1024.0)
}

/// The machine's load over the last minute: figures of a busy machine are of little worth.
pub fn load() -> Result<String> {
    let average = fs::read_to_string("/proc/loadavg")?;
    Ok(average.split(' ').next().unwrap_or_default().to_owned())
}
