//! Who may order now, and when the others.
//!
//! The state is what the CA has in its own buckets, as far as it can be known: it follows from the Orders of the last
//! days, each at the time that the cluster says, and so is the same after a restart. What no object shows any more is
//! given out to be stored ([`Ledger::kept`]).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::book::{Block, Book, Needs};
use super::line::{Id, Line, Place};
use super::order::{Ca, Entry, Past, Progress, Stage};
use super::places::Places;
use super::rate::later;
use super::scope::{Ask, Exemption, Limit, Scope};
use super::turn::{Slot, Turn};
use super::twins::Twins;

/// How long an order that has ended is of interest: the longest of all refills.
pub(super) const MEMORY: SignedDuration = SignedDuration::from_hours(8 * 24);

/// Orders of an account.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) line: Line,
    pub(super) places: Places,
    pub(super) twins: Twins,
    /// When to look at the line again, if nothing happens before.
    pub(super) due: Option<Timestamp>,
    /// How many wait for each bucket, by the last look.
    pub(super) behind: HashMap<Scope, i32>,
}

impl Account {
    fn next(&self) -> Option<Timestamp> {
        self.due.into_iter().chain(self.places.next()).min()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.places.is_empty() && self.line.is_empty() && self.twins.is_empty()
    }
}

/// All that is known of all CAs.
#[derive(Debug, Default)]
pub struct Ledger {
    pub(super) books: HashMap<Arc<str>, Book>,
    pub(super) accounts: HashMap<Arc<str>, Account>,
    pub(super) entries: HashMap<Id, Entry>,
    pub(super) past: HashMap<Id, Past>,
    /// By directory and bucket: the issuer that stores it.
    pub(super) kept: HashMap<(Arc<str>, Scope), Id>,
    /// Issuers whose store is behind, and were not told.
    pub(super) unsaved: BTreeSet<Id>,
    /// All whose store is behind, with the number of the newest change.
    pub(super) behind: HashMap<Id, u64>,
    pub(super) changes: u64,
    pub(super) admitted: Vec<Id>,
    pub(super) swept: Timestamp,
}

impl Ledger {
    /// Whether this Order may be sent to its CA now. Who may has the place until [`Self::see`] tells otherwise, or
    /// [`Self::give_back`].
    pub fn ask(&mut self, ca: &Ca, id: &Id, uid: &str, ask: Ask, now: Timestamp) -> Turn {
        self.sweep(now);
        self.replace(id, uid, now);
        self.move_over(ca, id, &ask, now);
        self.hear(ca, id, now);
        if !self.stand(ca, id, uid, ask) {
            return Turn::Go;
        }
        self.know(ca);
        self.look(id, now);
        self.turn(id, now)
    }

    /// Have an Order stand in line that has not asked yet, so that whoever asks first does not go before it: `false` if
    /// its turn has come.
    pub fn stand(&mut self, ca: &Ca, id: &Id, uid: &str, ask: Ask) -> bool {
        let place = ask.expires.map_or(Place::Fresh(ask.since), Place::Renewal);
        let account = self.accounts.entry(ask.account.clone()).or_default();
        if let Some(entry) = self.entries.get_mut(id) {
            let Stage::Waiting(old) = entry.stage else {
                return false;
            };
            if old != place {
                account.line.leave(id, old, false);
                account.line.join(id, place);
                entry.stage = Stage::Waiting(place);
            }
            let counts_after_all = entry.needs.exemption == Exemption::Nothing;
            if entry.ask.names != ask.names || !counts_after_all {
                entry.needs = Needs::of(&ask);
            }
            entry.ca = ca.clone();
            entry.ask = ask;
        } else {
            account.line.join(id, place);
            let entry = Entry {
                uid: uid.into(),
                ca: ca.clone(),
                needs: Needs::of(&ask),
                ask,
                stage: Stage::Waiting(place),
                block: None,
                told: None,
            };
            self.entries.insert(id.clone(), entry);
        }
        true
    }

    fn know(&mut self, ca: &Ca) {
        let book = self.books.entry(ca.directory.clone()).or_default();
        if book.policy.as_ref() != Some(&ca.policy) {
            book.policy = Some(ca.policy.clone());
        }
    }

    /// Look at the line if somebody in it may be next.
    fn look(&mut self, id: &Id, now: Timestamp) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        let of = entry.ask.account.clone();
        let account = self.accounts.entry(of.clone()).or_default();
        if !account.places.has_room(entry.ca.policy.under_way, 0, now) {
            return;
        }
        let due = account.due.is_some_and(|due| due <= now);
        if account.twins.waits(entry.twin(), now) {
            entry.block = None;
            return;
        }
        let book = self.books.entry(entry.ca.directory.clone()).or_default();
        match book.block(&entry.needs, &entry.ca.policy, &HashMap::new(), now) {
            Some(block) if !due => {
                account.due = account.due.into_iter().chain([block.until]).min();
                if entry
                    .block
                    .as_ref()
                    .is_none_or(|old| old.scope != block.scope)
                {
                    let behind = account.behind.entry(block.scope.clone()).or_default();
                    entry.block = Some(block.shifted(*behind));
                    *behind += 1;
                }
            }
            _ => {
                entry.block = None;
                self.serve(&of, false, now);
            }
        }
    }

    /// Go through the line of an account and admit whoever may go. `released`: tokens have come back before their time, so
    /// that who is known to wait may not have to any more.
    pub(super) fn serve(&mut self, of: &Arc<str>, released: bool, now: Timestamp) {
        let Some(account) = self.accounts.get_mut(of) else {
            return;
        };
        let mut admitted = vec![];
        let mut held = HashMap::new();
        let (mut exhausted, mut before) = (None::<Block>, 0);
        account.due = None;
        account.behind.clear();
        for id in account.line.in_order(now) {
            let Some(entry) = self.entries.get_mut(id) else {
                continue;
            };
            let policy = &entry.ca.policy;
            if !account
                .places
                .has_room(policy.under_way, admitted.len(), now)
            {
                break;
            }
            if account.twins.waits(entry.twin(), now) {
                entry.block = None;
                continue;
            }
            let known = entry.block.take().filter(|b| b.until > now && !released);
            // When the account has no token, nothing that counts there has to be looked at more closely.
            let counts = entry.needs.order(policy).next().is_some();
            let known = known.or_else(|| exhausted.clone().filter(|_| counts));
            let block = known.or_else(|| {
                let book = self.books.entry(entry.ca.directory.clone()).or_default();
                let block = book.block(&entry.needs, policy, &held, now);
                if block.is_none() {
                    book.reserve(&entry.needs, policy);
                }
                block
            });
            let Some(block) = block else {
                account.twins.begin(entry.twin(), id, now);
                admitted.push(id.clone());
                continue;
            };
            account.due = Some(account.due.map_or(block.until, |due| due.min(block.until)));
            entry.needs.hold(&block, &mut held);
            if block.scope.limit == Limit::OrdersPerAccount {
                entry.block = Some(block.clone().shifted(before));
                before += 1;
                exhausted = Some(block);
            } else {
                let behind = account.behind.entry(block.scope.clone()).or_default();
                entry.block = Some(block.shifted(*behind));
                *behind += 1;
            }
        }
        if let Some(block) = exhausted {
            account.behind.insert(block.scope, before);
        }
        for id in admitted {
            account.places.take(&id, now);
            if let Some(entry) = self.entries.get_mut(&id) {
                if let Stage::Waiting(place) = entry.stage {
                    account.line.leave(&id, place, true);
                }
                entry.stage = Stage::Admitted;
            }
            self.admitted.push(id);
        }
    }

    pub(super) fn turn(&mut self, id: &Id, now: Timestamp) -> Turn {
        let Some(entry) = self.entries.get_mut(id) else {
            return Turn::Behind(None);
        };
        if !matches!(entry.stage, Stage::Waiting(_)) {
            self.admitted.retain(|other| other != id);
            return Turn::Go;
        }
        let Some(block) = entry.block.clone().filter(|block| block.until > now) else {
            let account = self.accounts.get(&entry.ask.account);
            let twin = account.and_then(|account| account.twins.until(&entry.twin(), now));
            let place = || account.and_then(|account| account.places.next());
            return twin.map_or_else(|| Turn::Behind(place()), Turn::Twin);
        };
        let is_near = |told: &Timestamp| {
            let off = block.slot.duration_since(*told).abs();
            let left = told.duration_since(now);
            left.is_positive() && off <= (left / 8).max(SignedDuration::from_mins(1))
        };
        let told = entry.told.filter(is_near).unwrap_or(block.slot);
        entry.told = Some(told);
        Turn::Wait(Slot {
            until: block.slot,
            told,
            scope: block.scope,
            rate: block.rate,
            words: block.words,
        })
    }

    /// When it may be somebody's turn, if nothing happens before: [`Self::tick`] then.
    pub fn due(&self) -> Option<Timestamp> {
        let waited = self
            .accounts
            .values()
            .filter(|account| !account.line.is_empty());
        waited.filter_map(Account::next).min()
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Timestamp) {
        let due = self.accounts.iter().filter(|(_, account)| {
            let next = account.next().filter(|_| !account.line.is_empty());
            next.is_some_and(|next| next <= now)
        });
        let due: Vec<Arc<str>> = due.map(|(of, _)| of.clone()).collect();
        for of in due {
            self.serve(&of, false, now);
        }
    }

    /// Those who waited and whose turn it is now, each once.
    pub fn take_admitted(&mut self) -> Vec<Id> {
        std::mem::take(&mut self.admitted)
    }

    /// Whether it would change anything to [`Self::see`] this.
    pub fn is_news(
        &self,
        ca: &Ca,
        (id, uid): (&Id, &str),
        progress: &Progress,
        (at, now): (Timestamp, Timestamp),
    ) -> bool {
        if let Some(past) = self.past.get(id) {
            return &*past.uid != uid;
        }
        if let Some(entry) = self.entries.get(id) {
            return &*entry.uid != uid || entry.stage != Stage::Made || *progress != Progress::Made;
        }
        let is_over = *progress != Progress::Made && ca.policy.is_unknown();
        *progress != Progress::Refused && later(at, MEMORY) >= now && !is_over
    }

    /// What an Order that has not come to its end asked for, as it was told last.
    pub fn asked(&self, (id, uid): (&Id, &str)) -> Option<Ask> {
        let entry = self.entries.get(id).filter(|entry| &*entry.uid == uid)?;
        Some(entry.ask.clone())
    }

    /// How far an Order is, at the time at which the cluster says so. Told twice, it counts once.
    pub fn see(
        &mut self,
        ca: &Ca,
        (id, uid): (&Id, &str),
        ask: Ask,
        progress: &Progress,
        (at, now): (Timestamp, Timestamp),
    ) {
        if !self.is_news(ca, (id, uid), progress, (at, now)) {
            return;
        }
        self.replace(id, uid, now);
        self.move_over(ca, id, &ask, now);
        self.know(ca);
        if !self.entries.contains_key(id) {
            self.take_over(ca, (id, uid), ask, at.min(now));
        }
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        let of = entry.ask.account.clone();
        let account = self.accounts.entry(of.clone()).or_default();
        let book = self.books.entry(entry.ca.directory.clone()).or_default();
        let (needs, policy) = (&entry.needs, &entry.ca.policy);
        match entry.stage {
            Stage::Waiting(place) => {
                account.line.leave(id, place, true);
                account.places.take(id, now);
                account.twins.begin(entry.twin(), id, now);
                book.reserve(needs, policy);
                entry.stage = Stage::Admitted;
            }
            Stage::Admitted | Stage::Made => {}
        }
        if entry.stage == Stage::Admitted {
            book.release(needs.order(policy), policy);
            if *progress != Progress::Refused {
                book.taken(needs, now);
                book.take(needs.order(policy), policy, at);
            }
            entry.stage = Stage::Made;
        }
        if *progress == Progress::Made {
            return;
        }
        let was_full = !account.places.has_room(policy.under_way, 0, now);
        account.places.give_back(id);
        let was_awaited = account.twins.end(&entry.twin(), id);
        book.release(needs.certificate(policy), policy);
        let mut touched: Vec<Scope> = needs.order(policy).cloned().collect();
        match progress {
            Progress::Issued => {
                book.take(needs.certificate(policy), policy, at);
                touched.extend(needs.certificate(policy).cloned());
            }
            Progress::Failed(names) => {
                let failed: Vec<_> = names.iter().map(|name| entry.ask.failures(name)).collect();
                book.take(failed.iter(), policy, at);
                touched.extend(failed);
            }
            Progress::Made | Progress::Refused => touched.clear(),
        }
        touched.retain(|scope| policy.rate(scope.limit).is_some());
        if let Some(entry) = self.entries.remove(id)
            && !touched.is_empty()
        {
            let past = Past {
                uid: entry.uid,
                at,
                directory: entry.ca.directory,
                issuer: entry.ca.issuer,
                scopes: touched.into(),
            };
            self.past.insert(id.clone(), past);
        }
        let released = *progress != Progress::Issued;
        if was_full || was_awaited || released {
            self.serve(&of, released, now);
        }
    }

    /// An Order that this process has not seen before is with the CA already.
    fn take_over(&mut self, ca: &Ca, (id, uid): (&Id, &str), ask: Ask, since: Timestamp) {
        let account = self.accounts.entry(ask.account.clone()).or_default();
        account.places.take(id, since);
        let needs = Needs::of(&ask);
        let book = self.books.entry(ca.directory.clone()).or_default();
        book.reserve(&needs, &ca.policy);
        let entry = Entry {
            uid: uid.into(),
            ca: ca.clone(),
            needs,
            ask,
            stage: Stage::Admitted,
            block: None,
            told: None,
        };
        account.twins.begin(entry.twin(), id, since);
        self.entries.insert(id.clone(), entry);
    }
}
