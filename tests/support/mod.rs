//! A lab with the CRDs and the operator in it. One a test binary: tests take a namespace each.
#![allow(
    dead_code,
    unused_imports,
    reason = "each test binary uses a part of it"
)]
#![allow(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "tests wait by the wall clock and fail by panicking; JSON without an entry is null"
)]

mod api;
mod audit;
mod ca;
mod cluster;
pub mod install;
mod namespace;
mod objects;
pub mod orders;
pub mod recorded;
mod watch;

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Result;

pub use audit::{Request, Tail, requests};
#[allow(unused_imports, reason = "each test binary uses a part of it")]
pub use ca::{Ca, on_record};
pub use cluster::{Cluster, served};
pub use namespace::{Namespace, poll};
pub use objects::{SELF_SIGNED, certificate, entry, is_ready, ready_condition};
pub use watch::Watch;

/// Long enough for a loaded machine, and for one more attempt after one that it has spoilt, which comes after a minute; a
/// test that waits this long has failed.
pub const DEADLINE: Duration = Duration::from_mins(3);

/// The usual solver, as `ingress` of an Issuer has it.
pub const TRAEFIK: &str = "{ingressClassName: traefik}";

/// Everything temporary of a challenge.
pub const TEMPORARY: [&str; 5] = ["challenge", "ingress", "service", "endpointslice", "pod"];

/// A process that is told to end has ended by then, however busy the machine: the operator itself allows ten seconds.
pub const STOPPED: Duration = Duration::from_mins(1);

/// The binary under test.
pub fn everleaf() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_everleaf"))
}

/// The top of the repository.
pub fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A number that no other test of this process has.
fn unique() -> u32 {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(1);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

/// The cluster that all tests of a binary share, made by the first; `None` on a machine that cannot
/// run labs, which is said loudly.
pub fn shared(
    cell: &'static OnceLock<Cluster>,
    make: impl FnOnce() -> Result<Cluster>,
) -> Option<&'static Cluster> {
    // The harness names a test's thread after the test.
    let test = std::thread::current();
    (!lab::skipped(test.name().unwrap_or("a test")))
        .then(|| cell.get_or_init(|| make().expect("the lab starts")))
}
