//! What the benches of issuance share. Such a program is two: run by cargo it starts labs and measures; run by itself
//! inside a lab (`client …`) it creates objects and watches them.
#![allow(
    dead_code,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    reason = "each bench uses a part of it, and is a command that prints figures"
)]

pub mod client;
pub mod lot;
pub mod process;
pub mod requests;

use std::process::ExitCode;

use anyhow::Result;

use lot::Issued;
use process::load;

/// Run a bench, which gets the names that it was given; or this program's other half.
pub fn run(name: &str, bench: impl Fn(&[String]) -> Result<()>) -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let run = match arguments.first().map(String::as_str) {
        Some("client") => client::run(arguments.get(1..).unwrap_or_default()),
        _ if lab::skipped(&format!("the {name} bench")) => Ok(()),
        _ => {
            // cargo passes a flag of its own.
            let names = arguments.into_iter().filter(|a| !a.starts_with("--"));
            bench(&names.collect::<Vec<_>>())
        }
    };
    run.map_or_else(
        |error| {
            eprintln!("{name}: {error:#}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

/// A figure, the most that it may be, and what it is.
pub struct Row(pub &'static str, pub f64, pub f64);

/// A goal that is missed is printed as missed.
pub fn table(rows: &[Row]) {
    println!("\n{:<46} | {:>9} | {:>9} |", "figure", "asked", "measured");
    for Row(figure, asked, measured) in rows {
        let verdict = if measured <= asked { "" } else { "missed" };
        println!("{figure:<46} | {asked:>9.2} | {measured:>9.2} | {verdict}");
    }
}

/// A lot of so many certificates, and its requests by kind.
pub fn report(name: &str, issued: &Issued, count: usize) -> Result<()> {
    println!(
        "{name}: {:.2} s, p50 {:.2} s, p99 {:.2} s; CPU s: operator {:.2}, API server {:.1}; MiB: peak {:.1}, \
         settled {:.1}; {:.2} requests each; load {}",
        issued.seconds,
        issued.p50,
        issued.p99,
        issued.operator_cpu,
        issued.server_cpu,
        issued.peak_mib,
        issued.settled_mib,
        issued.requests.each(count),
        load()?
    );
    print!("{}", issued.requests.by_kind(count));
    Ok(())
}
