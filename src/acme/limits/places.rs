//! The orders of an account that are under way: a bounded number.

use std::collections::{BTreeSet, HashMap};

use jiff::{SignedDuration, Timestamp};

use super::line::Id;
use super::rate::later;

/// How long an order may hold a place. One that takes longer waits for something outside, such as a solver that nobody
/// has configured, and must not keep all others waiting with it.
const PATIENCE: SignedDuration = SignedDuration::from_mins(2);

/// Who holds a place, and since when.
#[derive(Debug, Default)]
pub(super) struct Places {
    since: HashMap<Id, Timestamp>,
    oldest: BTreeSet<(Timestamp, Id)>,
}

impl Places {
    pub(super) fn take(&mut self, id: &Id, now: Timestamp) {
        self.give_back(id);
        self.since.insert(id.clone(), now);
        self.oldest.insert((now, id.clone()));
    }

    pub(super) fn give_back(&mut self, id: &Id) {
        if let Some(since) = self.since.remove(id) {
            self.oldest.remove(&(since, id.clone()));
        }
    }

    /// Whether one of so many places is free now, with so many about to be taken.
    pub(super) fn has_room(&mut self, all: usize, wanted: usize, now: Timestamp) -> bool {
        while let Some((since, id)) = self
            .oldest
            .first()
            .filter(|(t, _)| later(*t, PATIENCE) <= now)
        {
            self.since.remove(id);
            let first = (*since, id.clone());
            self.oldest.remove(&first);
        }
        self.since.len() + wanted < all
    }

    /// When the next place is free at the latest.
    pub(super) fn next(&self) -> Option<Timestamp> {
        let (since, _) = self.oldest.first()?;
        Some(later(*since, PATIENCE))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.since.is_empty()
    }
}
