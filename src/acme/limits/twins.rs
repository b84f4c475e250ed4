//! Orders of an account for the same names. A CA may answer the second with what it has made for the first, as Boulder does
//! (`reuse of pending and ready orders`), and only one of the two keys gets its certificate then.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::line::Id;
use super::rate::later;

/// How long an order is waited for. One that takes longer waits for something outside; should both come to an end after
/// all, the one with the wrong certificate begins anew.
const PATIENCE: SignedDuration = SignedDuration::from_mins(10);

/// What makes two orders of an account one: digest of the names, and the profile.
pub(super) type Twin = (Arc<str>, Option<Arc<str>>);

/// Who is with the CA, and since when.
#[derive(Debug, Default)]
pub(super) struct Twins {
    with_ca: HashMap<Twin, BTreeMap<Id, Timestamp>>,
    /// Somebody waits for one of these to end.
    awaited: HashSet<Twin>,
}

impl Twins {
    pub(super) fn begin(&mut self, of: Twin, id: &Id, now: Timestamp) {
        self.with_ca.entry(of).or_default().insert(id.clone(), now);
    }

    /// Whether somebody waits for that.
    pub(super) fn end(&mut self, of: &Twin, id: &Id) -> bool {
        if let Some(ids) = self.with_ca.get_mut(of) {
            ids.remove(id);
            if ids.is_empty() {
                self.with_ca.remove(of);
            }
        }
        self.awaited.remove(of)
    }

    /// Until when another one is waited for at most, if there is one.
    pub(super) fn until(&self, of: &Twin, now: Timestamp) -> Option<Timestamp> {
        // With one that takes longer than that, the others gain nothing by waiting.
        let since = self.with_ca.get(of)?.values().min()?;
        Some(later(*since, PATIENCE)).filter(|until| *until > now)
    }

    /// Whether one has to wait for another; it is told of its end.
    pub(super) fn waits(&mut self, of: Twin, now: Timestamp) -> bool {
        let waits = self.until(&of, now).is_some();
        if waits {
            self.awaited.insert(of);
        }
        waits
    }

    pub(super) fn is_empty(&self) -> bool {
        self.with_ca.is_empty()
    }
}
