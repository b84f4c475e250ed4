//! The line of an account: who is next.
//!
//! 1. Renewals of what expires within [`DANGER`], or has: the soonest first.
//! 2. Orders for what has no certificate yet: namespaces take turns, each with its oldest.
//! 3. All other renewals: what expires soonest first.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::rate::later;

/// Namespace and name of an Order.
pub type Id = (Arc<str>, Arc<str>);

/// What expires within this time goes before what was never there.
const DANGER: SignedDuration = SignedDuration::from_hours(24);

/// Those who wait.
#[derive(Debug, Default)]
pub struct Line {
    renewals: BTreeSet<(Timestamp, Id)>,
    fresh: BTreeMap<Arc<str>, BTreeSet<(Timestamp, Id)>>,
    /// Of a namespace that waits: when it had its last turn, in turns.
    turns: HashMap<Arc<str>, u64>,
    turn: u64,
}

/// A place in the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A certificate that expires at that time.
    Renewal(Timestamp),
    /// None is there yet; asked for at that time.
    Fresh(Timestamp),
}

impl Line {
    /// Stand in line.
    pub fn join(&mut self, id: &Id, place: Place) {
        match place {
            Place::Renewal(expires) => drop(self.renewals.insert((expires, id.clone()))),
            Place::Fresh(since) => {
                let of = self.fresh.entry(id.0.clone()).or_default();
                of.insert((since, id.clone()));
            }
        }
    }

    /// Leave the line. `served`: because it is its turn.
    pub fn leave(&mut self, id: &Id, place: Place, served: bool) {
        match place {
            Place::Renewal(expires) => drop(self.renewals.remove(&(expires, id.clone()))),
            Place::Fresh(since) => {
                let Some(of) = self.fresh.get_mut(&id.0) else {
                    return;
                };
                of.remove(&(since, id.clone()));
                if served {
                    self.turn += 1;
                    self.turns.insert(id.0.clone(), self.turn);
                }
                if of.is_empty() {
                    self.fresh.remove(&id.0);
                    // A namespace that comes again at once does not gain by it.
                    if self.fresh.is_empty() {
                        self.turns.clear();
                    }
                }
            }
        }
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.renewals.is_empty() && self.fresh.is_empty()
    }

    /// Those who wait, the next first. Whoever stops early has not paid for the rest.
    pub fn in_order(&self, now: Timestamp) -> impl Iterator<Item = &Id> {
        let end = later(now, DANGER);
        let danger = self
            .renewals
            .iter()
            .take_while(move |(expires, _)| *expires <= end);
        let safe = self
            .renewals
            .iter()
            .skip_while(move |(expires, _)| *expires <= end);
        let mut namespaces: Vec<_> = self.fresh.iter().collect();
        namespaces.sort_by_key(|(namespace, _)| self.turns.get(*namespace).copied().unwrap_or(0));
        let mut rounds: VecDeque<_> = namespaces.into_iter().map(|(_, of)| of.iter()).collect();
        let fresh = std::iter::from_fn(move || {
            loop {
                let mut of = rounds.pop_front()?;
                if let Some(next) = of.next() {
                    rounds.push_back(of);
                    return Some(next);
                }
            }
        });
        danger.chain(fresh).chain(safe).map(|(_, id)| id)
    }
}
