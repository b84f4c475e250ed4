//! How long one HTTP-01 certificate takes on a node, from `kubectl apply` to Ready, with the operator in a
//! Pod as the chart installs it. `make bench` runs it.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "it is a command that times others by the wall clock and prints figures"
)]

#[path = "../../tests/support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use lab::Options;
use support::{Cluster, certificate};

/// Certificates of a mode, one after the other.
const COUNT: usize = 20;

/// The modes, and the most seconds that the median may be.
const MODES: [(&str, f32); 2] = [("Pod", 5.0), ("Direct", 2.0)];

fn main() -> ExitCode {
    if lab::skipped("the node bench") {
        return ExitCode::SUCCESS;
    }
    bench().map_or_else(
        |error| {
            eprintln!("node: {error:#}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

/// A goal that is missed is printed as missed; only a certificate that is not issued fails.
fn bench() -> Result<()> {
    let options = Options {
        pebble: vec![("PEBBLE_AUTHZREUSE".into(), "0".into())],
        ..Options::default()
    };
    let cluster = Cluster::installed(&options, "")?;
    println!("{:<42} | {:>9} | {:>9} |", "figure", "asked", "measured");
    for (mode, asked) in MODES {
        let mut times = issue(&cluster, mode)?;
        times.sort();
        let measured = median(&times).as_secs_f32();
        let figure = format!("HTTP-01 {mode}, apply to Ready: median s");
        let verdict = if measured <= asked { "" } else { "missed" };
        println!("{figure:<42} | {asked:>9.2} | {measured:>9.2} | {verdict}");
        println!("  of {COUNT}: {times:.2?}; load {}", load()?);
    }
    Ok(())
}

/// What a user waits: `kubectl apply`, then `kubectl wait`, which watches.
fn issue(cluster: &Cluster, mode: &str) -> Result<Vec<Duration>> {
    let namespace = cluster.namespace(&mode.to_lowercase())?;
    let solver = format!("{{ingressClassName: traefik, mode: {mode}}}");
    namespace.apply(&cluster.acme_issuer("pebble", "default", &solver)?)?;
    let wait =
        |what: &str| namespace.kubectl(&["wait", what, "--for=condition=Ready", "--timeout=60s"]);
    wait("issuer/pebble")?;
    let mut times = Vec::new();
    for number in 0..COUNT {
        let name = format!("{}-{number}", namespace.name);
        let yaml = certificate(&name, "pebble", &format!("{name}.example.com"), "");
        let begin = Instant::now();
        namespace.apply(&yaml)?;
        wait(&format!("certificate/{name}"))?;
        times.push(begin.elapsed());
    }
    Ok(times)
}

/// Of an even number, the mean of the middle two.
fn median(sorted: &[Duration]) -> Duration {
    let middle = sorted.len() / 2;
    let around = sorted.iter().skip(middle - 1).take(2);
    around.sum::<Duration>() / 2
}

/// What else keeps the machine busy.
fn load() -> Result<String> {
    let load = std::fs::read_to_string("/proc/loadavg")?;
    Ok(load.split(' ').next().unwrap_or_default().to_owned())
}
