//! Some after each other, and many at once: all are issued, and how long it takes is printed. What it may take is a matter of
//! a release build on a quiet machine.
#![allow(
    clippy::disallowed_methods,
    reason = "what is measured is the wall clock"
)]

use std::time::Instant;

use anyhow::Result;
use serde_json::Value;

use super::rfc2136;
use crate::aside;
use crate::support::{DEADLINE, certificate, is_ready};

const IN_A_ROW: usize = 5;
const AT_ONCE: usize = 70;

#[test]
fn some_after_each_other_and_many_at_once() -> Result<()> {
    let Some(cluster) = aside() else {
        return Ok(());
    };
    let namespace = cluster.alone("dns-speed")?;
    namespace.dns01(&rfc2136(""))?;
    namespace.until(DEADLINE, "issuer", "pebble", "Ready", |issuer| {
        crate::support::ready_condition(issuer)["status"] == "True"
    })?;
    let mut times = vec![];
    for number in 0..IN_A_ROW {
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
    let many: Vec<String> = (0..AT_ONCE)
        .map(|number| {
            let name = format!("many-{number}");
            certificate(&name, "pebble", &format!("{name}.dns01.example.com"), "")
        })
        .collect();
    let begun = Instant::now();
    namespace.apply(&many.join("\n---\n"))?;
    let applied = begun.elapsed();
    let all_ready = |all: &[Value]| all.len() == IN_A_ROW + AT_ONCE && all.iter().all(is_ready);
    namespace.until_list_within(3 * DEADLINE, "certificate", "all Ready", all_ready)?;
    let many = begun.elapsed();
    println!(
        "DNS-01: median of {IN_A_ROW} {median:?}; {AT_ONCE} at once {many:?}, {applied:?} of it to apply them"
    );
    namespace.none_left(&["challenge"], DEADLINE)?;
    namespace.leave_the_line()
}
