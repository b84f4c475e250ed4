//! Crash points: with the feature `crash-points`, the process ends at a chosen write to the API server
//! or call to the CA. Without it, nothing of this is compiled in.
//!
//! `EVERLEAF_CRASH=N:STAGE` ends it at the N-th of them (counted from 1). `EVERLEAF_CRASH_LOG=FILE`
//! gets a line for each, so that a test can find out how many there are. Events, reads and the Lease
//! do not count: nothing that is to be finished depends on them.

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

#[cfg(feature = "crash-points")]
pub use armed::point;

#[cfg(feature = "crash-points")]
mod armed {
    use std::collections::HashMap;
    use std::io::Write;
    use std::sync::LazyLock;

    use parking_lot::Mutex;
    use tokio::task::Id;

    use super::Stage;

    struct Armed {
        count: u64,
        at: Option<(u64, Stage)>,
        log: Option<std::fs::File>,
        /// The number of each task's newest call. A task makes one after the other.
        newest: HashMap<Option<Id>, u64>,
    }

    static ARMED: LazyLock<Mutex<Armed>> = LazyLock::new(|| {
        let at = std::env::var("EVERLEAF_CRASH").ok().and_then(|text| {
            let (number, stage) = text.split_once(':')?;
            let stage = match stage {
                "before" => Stage::Before,
                "committed" => Stage::Committed,
                "after" => Stage::After,
                _ => return None,
            };
            Some((number.parse().ok()?, stage))
        });
        let log = std::env::var_os("EVERLEAF_CRASH_LOG").and_then(|path| {
            std::fs::File::options()
                .create(true)
                .append(true)
                .open(path)
                .ok()
        });
        Mutex::new(Armed {
            count: 0,
            at,
            log,
            newest: HashMap::new(),
        })
    });

    /// A write or call of this task reaches this stage.
    pub fn point(stage: Stage, what: &str) {
        let task = tokio::task::try_id();
        let mut armed = ARMED.lock();
        match stage {
            Stage::Before => {
                armed.reached(task, Stage::After);
                armed.count += 1;
                let number = armed.count;
                armed.newest.insert(task, number);
                if let Some(log) = &mut armed.log {
                    // A test reads the file; a failed write shows as a missing line there.
                    drop(writeln!(log, "{number} {what}"));
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
        fn reached(&self, task: Option<Id>, stage: Stage) {
            let number = self.newest.get(&task).copied();
            if self.at.is_some() && self.at == number.map(|number| (number, stage)) {
                std::process::abort();
            }
        }
    }
}
