//! Crash points: with the feature `crash-points`, the process ends at a chosen write to the API server
//! or call to the CA. Without it, nothing of this is compiled in.
//!
//! `EVERLEAF_CRASH=N:STAGE` ends it at the N-th of them (counted from 1). `EVERLEAF_CRASH_LOG=FILE`
//! gets a line for each, so that a test can find out how many there are.

/// Where in a write or call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Nothing has been sent.
    Before,
    /// It has been carried out; nobody has seen the answer.
    Committed,
    /// The answer has been used.
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
    use std::io::Write;
    use std::sync::LazyLock;

    use parking_lot::Mutex;

    use super::Stage;

    struct Armed {
        count: u64,
        at: Option<(u64, Stage)>,
        log: Option<std::fs::File>,
    }

    static ARMED: LazyLock<Mutex<Armed>> = LazyLock::new(|| {
        let at = std::env::var("EVERLEAF_CRASH").ok().and_then(|text| {
            let (number, stage) = text.split_once(':')?;
            let stage = match stage {
                "before" => Stage::Before,
                "committed" => Stage::Committed,
                _ => Stage::After,
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
        Mutex::new(Armed { count: 0, at, log })
    });

    /// A write or call reaches this stage.
    pub fn point(stage: Stage, what: &str) {
        let mut armed = ARMED.lock();
        if stage == Stage::Before {
            armed.count += 1;
        }
        let number = armed.count;
        if let Some(log) = &mut armed.log
            && stage == Stage::Before
        {
            // A test reads the file; a failed write shows as a missing line there.
            drop(writeln!(log, "{number} {what}"));
        }
        if armed.at == Some((number, stage)) {
            std::process::abort();
        }
    }
}
