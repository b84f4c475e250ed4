//! Revocation lists of other CAs, which issuers ask to watch (`spec.watchRevocationLists`): when each is fetched, and which
//! certificates are in them. One fetch of a list is for all certificates that name it.
//!
//! It is kept in memory: after a restart all lists are fetched, one after the other.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use super::key::Key;
use crate::acme::identified;
use crate::pki::{RevocationList, RevocationReason, RevokedSerial};

/// How soon a list is fetched again at the soonest, and after a failure.
const LEAST: SignedDuration = SignedDuration::from_mins(1);
/// At the latest, if the server says nothing of it: a list of a week is signed anew when something is revoked.
const USUAL: SignedDuration = SignedDuration::from_hours(1);
/// At the latest, whatever the server says.
const MOST: SignedDuration = SignedDuration::from_hours(24);
/// Failures in a row that are not worth a word: each takes twice as long as the one before.
const TRIES: u8 = 5;

/// A certificate whose list is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// The Certificate.
    pub certificate: Key,
    /// Its issuer, which asks for it.
    pub issuer: Key,
    /// The Secret, in the namespace of the Certificate.
    pub secret: Arc<str>,
    /// The URL of the list.
    pub list: Arc<str>,
    /// What identifies the certificate: the key of its issuer, and its serial number (RFC 9773 §4.1).
    pub id: Box<str>,
}

/// What a list says of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The URL of the list.
    pub list: Arc<str>,
    /// Since when it is revoked.
    pub at: Timestamp,
    /// Why.
    pub reason: RevocationReason,
}

/// A list that has been fetched, and is signed by its CA.
#[derive(Debug)]
pub struct Fetched {
    /// What it says.
    pub list: RevocationList,
    /// The key identifier of the CA that has signed it.
    pub signer: Vec<u8>,
    /// Until when the server wants it to be kept, if it says.
    pub fresh_until: Option<Timestamp>,
}

/// Why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// In words.
    pub message: String,
    /// When the server wants to be asked again, if it says.
    pub until: Option<Timestamp>,
}

/// What follows from a fetch.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// These Certificates have a revoked certificate, which was not known.
    Revoked(Vec<Key>),
    /// The list cannot be used, and that is worth a word to those who ask for it.
    Unusable(String),
    /// Nothing.
    Nothing,
}

/// All of them.
#[derive(Debug, Default)]
pub struct WatchedLists(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    lists: HashMap<Arc<str>, State>,
    /// By what identifies the certificate.
    found: HashMap<Box<str>, Listing>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    next: Timestamp,
    /// Failures in a row.
    tries: u8,
}

impl WatchedLists {
    /// What a list says of the certificate that this identifies.
    pub fn listing(&self, id: &str) -> Option<Listing> {
        self.0.lock().found.get(id).cloned()
    }

    /// The list that is to be fetched now; otherwise when the next one is, if there is any. What nobody watches any more is
    /// forgotten.
    pub fn due(&self, watched: &[Watched], now: Timestamp) -> Result<Arc<str>, Option<Timestamp>> {
        let mut inner = self.0.lock();
        let urls: HashSet<&Arc<str>> = watched.iter().map(|w| &w.list).collect();
        let ids: HashSet<&str> = watched.iter().map(|w| &*w.id).collect();
        inner.lists.retain(|url, _| urls.contains(url));
        inner.found.retain(|id, _| ids.contains(&**id));
        for url in urls {
            let new = State {
                next: now,
                tries: 0,
            };
            inner.lists.entry(url.clone()).or_insert(new);
        }
        let first = inner
            .lists
            .iter()
            .min_by_key(|(url, state)| (state.next, *url));
        match first {
            Some((url, state)) if state.next <= now => Ok(url.clone()),
            first => Err(first.map(|(_, state)| state.next)),
        }
    }

    /// Take in what came of a fetch.
    pub fn heard(
        &self,
        url: &Arc<str>,
        watched: &[Watched],
        answer: Result<Fetched, Failure>,
        now: Timestamp,
    ) -> Heard {
        let mut inner = self.0.lock();
        let tries = inner.lists.get(url).map_or(0, |state| state.tries);
        let fetched = match answer {
            Ok(fetched) => fetched,
            Err(failure) => {
                let passes = tries < TRIES;
                let wait = if passes { LEAST * (1 << tries) } else { USUAL };
                let asked = failure.until.map(|until| between(until, now, MOST));
                let state = State {
                    next: asked.unwrap_or(later(now, wait)),
                    tries: if passes { tries + 1 } else { 0 },
                };
                inner.lists.insert(url.clone(), state);
                return if passes {
                    Heard::Nothing
                } else {
                    Heard::Unusable(failure.message)
                };
            }
        };
        let state = State {
            next: next_fetch(&fetched, now),
            tries: 0,
        };
        inner.lists.insert(url.clone(), state);
        let mut keys = vec![];
        for (watched, entry) in revoked(url, watched, &fetched) {
            let listing = Listing {
                list: url.clone(),
                at: entry.at,
                reason: entry.reason,
            };
            if inner.found.insert(watched.id.clone(), listing).is_none() {
                keys.push(watched.certificate.clone());
            }
        }
        if keys.is_empty() {
            return Heard::Nothing;
        }
        Heard::Revoked(keys)
    }
}

/// Those among the certificates that name this list which it has, and its CA has signed.
fn revoked<'a>(
    url: &Arc<str>,
    watched: &'a [Watched],
    fetched: &'a Fetched,
) -> Vec<(&'a Watched, &'a RevokedSerial)> {
    let mut by_serial: HashMap<Vec<u8>, Vec<&Watched>> = HashMap::new();
    for one in watched.iter().filter(|one| one.list == *url) {
        if let Some((signer, serial)) = identified(&one.id)
            && signer == fetched.signer
        {
            by_serial.entry(serial).or_default().push(one);
        }
    }
    let entries = fetched.list.revoked.iter();
    let pairs = entries.flat_map(|entry| {
        let all = by_serial.get(&entry.serial).into_iter().flatten();
        all.map(move |watched| (*watched, entry))
    });
    pairs.collect()
}

/// When a list is fetched again: when its server says so; else after a quarter of its life, or an hour, since it is signed anew
/// when something is revoked. One that is overdue is old, and what it says stays true.
fn next_fetch(fetched: &Fetched, now: Timestamp) -> Timestamp {
    if let Some(until) = fetched.fresh_until {
        return between(until, now, MOST);
    }
    let list = &fetched.list;
    let life = list
        .next_update
        .map(|end| end.duration_since(list.this_update));
    let quarter = life.unwrap_or(MOST) / 4;
    between(later(now, quarter), now, USUAL)
}

/// Within reason.
fn between(time: Timestamp, now: Timestamp, most: SignedDuration) -> Timestamp {
    time.clamp(later(now, LEAST), later(now, most))
}

fn later(time: Timestamp, wait: SignedDuration) -> Timestamp {
    time.saturating_add(wait).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
