//! How long it takes. The goals are those of a release build on a quiet machine; the bounds here are for a debug build on a
//! busy one.
#![allow(
    clippy::disallowed_methods,
    reason = "what is measured is the wall clock"
)]

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{cluster, rfc2136};
use crate::support::{DEADLINE, certificate};

#[test]
fn twenty_one_after_the_other_and_a_hundred_at_once() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.alone("dns-speed")?;
    namespace.dns01(&rfc2136(""))?;
    namespace.until(DEADLINE, "issuer", "pebble", "Ready", |issuer| {
        crate::support::ready_condition(issuer)["status"] == "True"
    })?;
    let mut times = vec![];
    for number in 0..20 {
        let name = format!("one-{number}");
        let begun = Instant::now();
        namespace.apply(&certificate(
            &name,
            "pebble",
            &format!("{name}.dns01.example.com"),
            "",
        ))?;
        namespace.ready(&name, DEADLINE)?;
        times.push(begun.elapsed());
    }
    times.sort();
    let median = times[times.len() / 2];
    let many: Vec<String> = (0..100)
        .map(|number| {
            let name = format!("many-{number}");
            certificate(&name, "pebble", &format!("{name}.dns01.example.com"), "")
        })
        .collect();
    let begun = Instant::now();
    namespace.apply(&many.join("\n---\n"))?;
    let applied = begun.elapsed();
    namespace.until_list("certificate", "120 that are Ready", |all| {
        all.len() == 120 && all.iter().all(crate::support::is_ready)
    })?;
    let hundred = begun.elapsed();
    println!(
        "DNS-01: median of 20 {median:?}; 100 at once {hundred:?}, {applied:?} of it to apply them"
    );
    assert!(median < Duration::from_secs(6), "median {median:?}");
    assert!(
        hundred < Duration::from_secs(40),
        "100 at once: {hundred:?}"
    );
    namespace.none_left(&["challenge"], DEADLINE)
}
