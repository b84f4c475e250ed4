//! What outlives the process, and what does not outlive its use.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::book::Freeze;
use super::ledger::{Ledger, MEMORY};
use super::line::Id;
use super::order::{Ca, Kept, Row, Stage};
use super::rate::later;
use super::scope::Scope;

/// How often what is as good as new is dropped.
const SWEEP: SignedDuration = SignedDuration::from_mins(10);

impl Ledger {
    pub(super) fn keep(
        &mut self,
        ca: &Arc<str>,
        issuer: &Id,
        scopes: impl IntoIterator<Item = Scope>,
    ) {
        for scope in scopes {
            self.changes += 1;
            self.unsaved.insert(issuer.clone());
            self.behind.insert(issuer.clone(), self.changes);
            self.kept.insert((ca.clone(), scope), issuer.clone());
        }
    }

    /// The issuers that have something new to store, each once.
    pub fn take_unsaved(&mut self) -> BTreeSet<Id> {
        std::mem::take(&mut self.unsaved)
    }

    /// If an issuer has something to store that it has not: the number of the newest change, for [`Self::saved`].
    pub fn unsaved(&self, issuer: &Id) -> Option<u64> {
        self.behind.get(issuer).copied()
    }

    /// An issuer has stored all up to this change.
    pub fn saved(&mut self, issuer: &Id, change: u64) {
        if self.unsaved(issuer) == Some(change) {
            self.behind.remove(issuer);
        }
    }

    /// Up to when a CA's own counts are in its buckets.
    pub fn newest(&self, directory: &str) -> Timestamp {
        self.books
            .get(directory)
            .map_or(Timestamp::UNIX_EPOCH, |book| book.newest)
    }

    /// What an issuer is to store, in a steady order.
    pub fn kept(&self, issuer: &Id, now: Timestamp) -> Vec<Kept> {
        let of = self.kept.iter().filter(|(_, by)| *by == issuer);
        let mut kept: Vec<_> = of
            .filter_map(|((directory, scope), _)| {
                let state = self.books.get(directory)?.states.get(scope)?;
                let freeze = state.freeze.as_ref().filter(|f| f.until > now);
                let frozen = freeze.map(|f| (f.until, f.words.clone()));
                (state.bucket.full_at > now || frozen.is_some()).then(|| Kept {
                    scope: scope.clone(),
                    full_at: state.bucket.full_at,
                    frozen,
                })
            })
            .collect();
        kept.sort_by(|a, b| a.scope.cmp(&b.scope));
        kept
    }

    /// Take in what an issuer had stored at that time, before anything else.
    pub fn restore(&mut self, ca: &Ca, kept: Vec<Kept>, at: Timestamp) {
        let book = self.books.entry(ca.directory.clone()).or_default();
        for Kept {
            scope,
            full_at,
            frozen,
        } in kept
        {
            let state = book.states.entry(scope.clone()).or_default();
            if full_at >= state.bucket.full_at {
                state.bucket.full_at = full_at;
                state.stored = Some(at);
            }
            if let Some((until, words)) = frozen {
                let unnamed = None;
                state.freeze = Some(Box::new(Freeze {
                    until,
                    words,
                    // Their row begins anew: no status has it.
                    unsaid: 0,
                    unnamed,
                }));
            }
            self.kept
                .insert((ca.directory.clone(), scope), ca.issuer.clone());
        }
    }

    /// The buckets of accounts and domains of which a token is missing, and what is waited for.
    pub fn rows(&self, now: Timestamp) -> Vec<Row> {
        let mut rows = BTreeMap::new();
        for (directory, book) in &self.books {
            for (scope, left) in book.used(now) {
                rows.insert((directory, scope), (Some(left), 0));
            }
        }
        for entry in self.entries.values() {
            if let (Stage::Waiting(_), Some(block)) = (entry.stage, &entry.block) {
                let row = rows.entry((&entry.ca.directory, &block.scope)).or_default();
                row.1 += 1;
            }
        }
        let rows = rows.into_iter();
        rows.map(|((directory, scope), (left, waiting))| Row {
            directory: directory.clone(),
            scope: scope.clone(),
            left,
            waiting,
        })
        .collect()
    }

    pub(super) fn sweep(&mut self, now: Timestamp) {
        if now.duration_since(self.swept) < SWEEP {
            return;
        }
        self.swept = now;
        for book in self.books.values_mut() {
            book.sweep(now);
        }
        self.past.retain(|_, past| later(past.at, MEMORY) > now);
        let books = &self.books;
        self.kept.retain(|(directory, scope), _| {
            let book = books.get(directory);
            book.is_some_and(|book| book.states.contains_key(scope))
        });
        self.accounts.retain(|_, account| !account.is_idle());
    }
}
