//! The process: flags, ports, logs, Lease, shutdown, and an API server that goes away.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "tests fail by panicking and measure by the wall clock"
)]

#[path = "../support/mod.rs"]
mod support;

mod ends;
mod failover;
mod flags;
mod nowhere;
mod process;
mod relist;
