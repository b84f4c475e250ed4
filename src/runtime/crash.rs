//! Crash points: with the feature `crash-points`, the process ends at a chosen write to the API server
//! or call to the CA. Without it, nothing of this is compiled in.
//!
//! `EVERLEAF_CRASH=N:STAGE:KIND` ends it at the N-th of those that begin with KIND (counted from 1): what
//! is done side by side comes in any order, but each kind in its own. `EVERLEAF_CRASH_LOG=FILE` gets a
//! line for each, so that a test can find out which there are. Events, reads and the Lease do not count:
//! nothing that is to be finished depends on them.
//!
//! `EVERLEAF_PANIC=Certificate NAMESPACE/NAME` makes each reconcile of that object panic.

/// Where in a write or call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Nothing has been sent.
    Before,
    /// It has been carried out; nobody has seen the answer.
    Committed,
    /// The answer has been used: its reconcile makes the next call, or has ended.
    After,
}

/// A write or call reaches this stage.
#[cfg(not(feature = "crash-points"))]
#[inline]
pub fn point(_stage: Stage, _what: &str) {}

/// A reconcile of this object begins.
#[cfg(not(feature = "crash-points"))]
#[inline]
pub fn reconcile(_object: &impl std::fmt::Display) {}

#[cfg(feature = "crash-points")]
pub use armed::{point, reconcile};

#[cfg(feature = "crash-points")]
mod armed {
    use std::collections::HashSet;
    use std::io::Write;
    use std::sync::LazyLock;

    use parking_lot::Mutex;
    use tokio::task::Id;

    use super::Stage;

    struct Armed {
        at: Option<At>,
        log: Option<std::fs::File>,
        /// Tasks whose newest call is the one. A task makes one after the other.
        newest: HashSet<Option<Id>>,
    }

    struct At {
        /// How many of the kind are still to come, with the one.
        left: u64,
        stage: Stage,
        kind: String,
    }

    static ARMED: LazyLock<Mutex<Armed>> = LazyLock::new(|| {
        let at = std::env::var("EVERLEAF_CRASH").ok().and_then(|text| {
            let mut parts = text.splitn(3, ':');
            let left = parts.next()?.parse().ok()?;
            let stage = match parts.next()? {
                "before" => Stage::Before,
                "committed" => Stage::Committed,
                "after" => Stage::After,
                _ => return None,
            };
            let kind = parts.next()?.to_owned();
            Some(At { left, stage, kind })
        });
        let log = std::env::var_os("EVERLEAF_CRASH_LOG").and_then(|path| {
            std::fs::File::options()
                .create(true)
                .append(true)
                .open(path)
                .ok()
        });
        Mutex::new(Armed {
            at,
            log,
            newest: HashSet::new(),
        })
    });

    /// A reconcile of this object begins.
    ///
    /// # Panics
    /// When a test asks for it.
    pub fn reconcile(object: &impl std::fmt::Display) {
        let asked = std::env::var("EVERLEAF_PANIC").is_ok_and(|name| name == object.to_string());
        assert!(!asked, "EVERLEAF_PANIC");
    }

    /// A write or call of this task reaches this stage.
    pub fn point(stage: Stage, what: &str) {
        let task = tokio::task::try_id();
        let mut armed = ARMED.lock();
        match stage {
            Stage::Before => {
                armed.reached(task, Stage::After);
                armed.newest.remove(&task);
                if let Some(log) = &mut armed.log {
                    // A test reads the file; a failed write shows as a missing line there.
                    drop(writeln!(log, "{what}"));
                }
                if armed.is_the_one(what) {
                    armed.newest.insert(task);
                }
                armed.reached(task, Stage::Before);
            }
            Stage::Committed => armed.reached(task, Stage::Committed),
            Stage::After => {
                armed.reached(task, Stage::After);
                armed.newest.remove(&task);
            }
        }
    }

    impl Armed {
        fn is_the_one(&mut self, what: &str) -> bool {
            let Some(at) = self.at.as_mut().filter(|at| what.starts_with(&at.kind)) else {
                return false;
            };
            at.left = at.left.wrapping_sub(1);
            at.left == 0
        }

        fn reached(&self, task: Option<Id>, stage: Stage) {
            let armed = self.at.as_ref().is_some_and(|at| at.stage == stage);
            if armed && self.newest.contains(&task) {
                std::process::abort();
            }
        }
    }
}
