//! The operator dies at every write to the API server and every call to the CA, in three ways each; started again,
//! it brings the issuance to its end. `make crash` runs it whole; `EVERLEAF_CRASH_SAMPLE=N` takes about N of the plans,
//! `EVERLEAF_CRASH_SCENARIO=NAME` those of one scenario.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests wait by the wall clock and fail by panicking; JSON without an entry is null"
)]

mod panic;
mod rollover;
mod run;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use lab::Options;

use run::{Crash, Ended, Scenario};
use support::{Ca, Cluster};

/// Plans at once: each has an operator and a namespace of its own, and waits for most of its time.
const AT_ONCE: usize = 3;

#[test]
fn a_crash_at_any_write_or_call_loses_nothing() -> Result<()> {
    if lab::skipped("a_crash_at_any_write_or_call_loses_nothing") {
        return Ok(());
    }
    // Each order is validated.
    let cluster = Cluster::start(&Options {
        pebble: vec![("PEBBLE_AUTHZREUSE".into(), "0".into())],
        ..Options::default()
    })?;
    let sample = std::env::var("EVERLEAF_CRASH_SAMPLE")
        .ok()
        .map(|text| text.parse::<usize>())
        .transpose()
        .context("EVERLEAF_CRASH_SAMPLE")?;
    let mut plans = 0;
    let mut failures = Vec::new();
    let only = std::env::var("EVERLEAF_CRASH_SCENARIO").ok();
    let down = Ca::start(&cluster.lab, &[], |config| config)?;
    for scenario in Scenario::ALL {
        if only
            .as_ref()
            .is_some_and(|only| *only != format!("{scenario:?}"))
        {
            continue;
        }
        let sample = sample.map(|n| n.div_ceil(Scenario::ALL.len()));
        let swept = sweep(&cluster, &down, scenario, sample)?;
        plans += swept.0;
        failures.extend(swept.1);
    }
    for failure in &failures {
        println!("FAILED {failure}");
    }
    println!("crash sweep: {plans} plans, {} failures", failures.len());
    ensure!(failures.is_empty(), "{} plans failed", failures.len());
    Ok(())
}

/// All plans of a scenario: their number, and what went wrong. `down` is a CA that cannot be reached when it is needed.
fn sweep(
    cluster: &Cluster,
    down: &Ca,
    scenario: Scenario,
    sample: Option<usize>,
) -> Result<(usize, Vec<String>)> {
    let began = Instant::now();
    let rehearsal = scenario.namespace(0);
    if !run::has_certificate(cluster, &rehearsal) {
        run::prepare(cluster, down, scenario, std::slice::from_ref(&rehearsal))?;
        if scenario.goes_on() {
            run::issue(cluster, std::slice::from_ref(&rehearsal))?;
        }
    }
    let calls = run::rehearse(cluster, scenario, &rehearsal)?;
    let all = Crash::each(&calls);
    let step = sample.map_or(1, |sample| all.len().div_ceil(sample.max(1)));
    let chosen: Vec<&Crash> = all.iter().step_by(step).collect();
    println!(
        "{scenario:?}: {} writes and calls, {} plans",
        calls.len(),
        chosen.len()
    );
    let namespaces = (1..=chosen.len()).map(|plan| scenario.namespace(plan));
    let namespaces: Vec<_> = namespaces.collect();
    let missing: Vec<_> = namespaces
        .iter()
        .filter(|name| !scenario.goes_on() || !run::has_certificate(cluster, name))
        .cloned()
        .collect();
    run::prepare(cluster, down, scenario, &missing)?;
    if scenario.goes_on() {
        run::issue(cluster, &missing)?;
    }

    let failures = Mutex::new(Vec::new());
    let met = Mutex::new(BTreeSet::new());
    let unreached = AtomicUsize::new(0);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for slot in 0..AT_ONCE {
            let (failures, met, unreached, next) = (&failures, &met, &unreached, &next);
            let (chosen, namespaces) = (&chosen, &namespaces);
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let (Some(crash), Some(name)) = (chosen.get(index), namespaces.get(index))
                    else {
                        return;
                    };
                    match run::plan(cluster, scenario, slot, name, crash) {
                        Ok(Ended::Crashed) => {
                            met.lock()
                                .unwrap()
                                .insert((crash.kind.clone(), crash.stage));
                        }
                        Ok(Ended::Unreached) => {
                            unreached.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) => {
                            let failure = format!("{scenario:?} {crash} in {name}: {error:#}");
                            println!("{failure}");
                            failures.lock().unwrap().push(failure);
                        }
                    }
                }
            });
        }
    });
    let unreached = unreached.into_inner();
    println!(
        "{scenario:?}: {:.0} s; {unreached} plans ended before their crash",
        began.elapsed().as_secs_f64(),
    );
    let met = met.into_inner().unwrap();
    let mut failures = failures.into_inner().unwrap();
    // A sample, too, has to be one of crashes.
    if met.is_empty() || unreached * 2 > chosen.len() {
        failures.push(format!(
            "{scenario:?}: {unreached} of {} never crashed",
            chosen.len()
        ));
    }
    if step == 1 && failures.is_empty() {
        // A plan may have fewer calls of a kind than the rehearsal had; each kind must have met each stage.
        let missed: BTreeSet<_> = all.iter().map(|c| (c.kind.clone(), c.stage)).collect();
        for (kind, stage) in missed.difference(&met) {
            failures.push(format!("{scenario:?}: no plan crashed at {kind}, {stage}"));
        }
    }
    Ok((chosen.len(), failures))
}
