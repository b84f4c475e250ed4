//! Nonces that a server has given (RFC 8555 §6.5), for the requests to come.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// More than requests are ever under way at once; older ones are dropped, servers forget them first.
const MAX: usize = 64;
/// Dogtag keeps one for half an hour, and answers an older one with status 500 and no word of the nonce.
const LIFETIME: Duration = Duration::from_mins(10);

/// Oldest first.
#[derive(Default)]
pub(super) struct Nonces(Mutex<Vec<(Instant, String)>>);

impl Nonces {
    /// The newest one that is young enough.
    pub(super) fn take(&self) -> Option<String> {
        let mut kept = self.0.lock();
        let (since, nonce) = kept.pop()?;
        if since.elapsed() < LIFETIME {
            return Some(nonce);
        }
        kept.clear();
        None
    }

    pub(super) fn keep(&self, nonce: Option<String>) {
        let Some(nonce) = nonce else {
            return;
        };
        let mut kept = self.0.lock();
        if kept.len() >= MAX {
            kept.remove(0);
        }
        kept.push((Instant::now(), nonce));
    }

    /// The server does not know them any more.
    pub(super) fn clear(&self) {
        self.0.lock().clear();
    }

    /// As if they had been given so much earlier.
    #[cfg(test)]
    pub(super) fn age(&self, by: Duration) {
        for (since, _) in &mut *self.0.lock() {
            *since -= by;
        }
    }
}
