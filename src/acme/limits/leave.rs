//! How an Order leaves the ledger, or moves in it, without having come to its end.

use std::collections::HashSet;

use jiff::Timestamp;

use super::ledger::{Ledger, MEMORY};
use super::line::Id;
use super::order::{Ca, Entry, Stage};
use super::rate::later;
use super::scope::{Ask, Exemption, Scope};

impl Ledger {
    /// The CA does not take an Order for a reason of its own, which may last: others go first, until it asks again.
    pub fn give_back(&mut self, id: &Id, now: Timestamp) {
        if let Some(entry) = self.entries.get(id)
            && entry.stage == Stage::Admitted
        {
            self.gone(id, now);
        }
    }

    /// An Order is gone. What it took is to be kept.
    pub fn gone(&mut self, id: &Id, now: Timestamp) {
        if let Some(entry) = self.entries.remove(id) {
            let of = entry.ask.account.clone();
            let account = self.accounts.entry(of.clone()).or_default();
            let book = self.books.entry(entry.ca.directory.clone()).or_default();
            let (needs, policy) = (&entry.needs, &entry.ca.policy);
            if let Stage::Waiting(place) = entry.stage {
                account.line.leave(id, place, false);
                // Tokens may have been held back for it.
                if entry.block.is_some() && needs.is_of_several_domains() {
                    self.serve(&of, true, now);
                }
                return;
            }
            account.twins.end(&entry.twin(), id);
            book.release(needs.certificate(policy), policy);
            account.places.give_back(id);
            if entry.stage == Stage::Admitted {
                book.release(needs.order(policy), policy);
            } else {
                let order: Vec<Scope> = needs.order(policy).cloned().collect();
                let order = order.into_iter().filter(|s| policy.rate(s.limit).is_some());
                self.keep(&entry.ca.directory, &entry.ca.issuer, order);
            }
            self.serve(&of, true, now);
        }
        let past = self.past.remove(id);
        if let Some(past) = past.filter(|past| later(past.at, MEMORY) > now) {
            self.keep(&past.directory, &past.issuer, past.scopes);
        }
    }

    /// Its issuer has another account or another server now: what the CA has not made is asked for there.
    pub(super) fn move_over(&mut self, ca: &Ca, id: &Id, ask: &Ask, now: Timestamp) {
        let moves = self.entries.get(id).is_some_and(|entry| {
            entry.stage != Stage::Made && entry.is_elsewhere(ca, &ask.account)
        });
        if moves {
            self.gone(id, now);
        }
    }

    /// Its issuer says something else of what the CA allows. So it is for all who wait there, at once: who still waits by
    /// what was said before would keep those behind it.
    pub(super) fn hear(&mut self, ca: &Ca, id: &Id, now: Timestamp) {
        let waits = |entry: &Entry| matches!(entry.stage, Stage::Waiting(_));
        let entry = self.entries.get(id).filter(|entry| waits(entry));
        if entry.is_none_or(|entry| entry.ca.policy == ca.policy) {
            return;
        }
        let mut heard = HashSet::new();
        for entry in self.entries.values_mut() {
            let is_there = entry.ca.issuer == ca.issuer && entry.ca.directory == ca.directory;
            if is_there && waits(entry) {
                entry.ca.policy = ca.policy.clone();
                entry.block = None;
                heard.insert(entry.ask.account.clone());
            }
        }
        // Who is behind whom is counted anew.
        for of in heard {
            if let Some(account) = self.accounts.get_mut(&of) {
                account.due = Some(now);
            }
        }
    }

    /// The CA has taken an Order as one that replaces nothing: it counts after all.
    pub fn counts(&mut self, id: &Id, exemption: Exemption) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        if entry.stage != Stage::Admitted {
            return;
        }
        let book = self.books.entry(entry.ca.directory.clone()).or_default();
        let (needs, policy) = (&mut entry.needs, &entry.ca.policy);
        let reserved = needs.certificate(policy).chain(needs.order(policy));
        book.release(reserved, policy);
        needs.exemption = exemption;
        book.reserve(needs, policy);
    }

    /// Another Order has this name now.
    pub(super) fn replace(&mut self, id: &Id, uid: &str, now: Timestamp) {
        let other = self.entries.get(id).is_some_and(|e| &*e.uid != uid)
            || self.past.get(id).is_some_and(|p| &*p.uid != uid);
        if other {
            self.gone(id, now);
        }
    }
}
