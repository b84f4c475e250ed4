//! The challenges that a responder answers for.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::watch;

use super::normalise_host;

/// The table of key authorizations, shared between who presents challenges and the responder.
///
/// Two challenges can share a token: two orders of one account for one name get the same pending
/// authorization (RFC 8555 §7.1.4). An entry therefore lives until its last owner is gone.
#[derive(Clone, Default)]
pub struct Tokens {
    entries: Arc<RwLock<Entries>>,
}

type Entries = HashMap<(String, String), Entry>;

struct Entry {
    key: Arc<str>,
    owners: Vec<String>,
    hits: watch::Sender<u64>,
}

/// Counts the answers given for one token, those to the operator's own self-check left out.
#[derive(Clone, Debug)]
pub struct Hits(watch::Receiver<u64>);

impl Hits {
    /// Waits until the token has been asked for. False when the entry went away before that.
    pub async fn first(&mut self) -> bool {
        self.0.wait_for(|hits| *hits > 0).await.is_ok()
    }

    /// The answers given so far. A CA may ask from several places.
    pub fn count(&self) -> u64 {
        *self.0.borrow()
    }
}

impl Tokens {
    /// Answers for `token` on `domain` with `key` from now on, as long as `owner` (the uid of the
    /// Challenge) wants it. Saying it again changes nothing and keeps the count.
    pub fn insert(&self, owner: &str, domain: &str, token: &str, key: &str) -> Hits {
        let mut entries = self.entries.write();
        let entry = entries
            .entry(index(domain, token))
            .or_insert_with(|| Entry {
                key: key.into(),
                owners: Vec::new(),
                hits: watch::Sender::new(0),
            });
        if *entry.key != *key {
            entry.key = key.into();
        }
        if !entry.owners.iter().any(|known| known == owner) {
            entry.owners.push(owner.to_owned());
        }
        Hits(entry.hits.subscribe())
    }

    /// Stops answering for `token` on `domain` for this owner.
    pub fn remove(&self, owner: &str, domain: &str, token: &str) {
        let mut entries = self.entries.write();
        let index = index(domain, token);
        if let Some(entry) = entries.get_mut(&index) {
            entry.owners.retain(|known| known != owner);
            if entry.owners.is_empty() {
                entries.remove(&index);
            }
        }
    }

    /// Stops answering for whatever this owner inserted.
    pub fn remove_owner(&self, owner: &str) {
        self.entries.write().retain(|_, entry| {
            entry.owners.retain(|known| known != owner);
            !entry.owners.is_empty()
        });
    }

    /// How many tokens are answered for.
    pub fn len(&self) -> usize {
        self.entries.read().len()
    }

    /// Whether no token is answered for.
    pub fn is_empty(&self) -> bool {
        self.entries.read().is_empty()
    }

    /// The key authorization for a request; counts it unless `own` (the operator's self-check).
    pub(super) fn answer(&self, host: &str, token: &str, own: bool) -> Option<Arc<str>> {
        let entries = self.entries.read();
        let entry = entries.get(&index(host, token))?;
        if !own {
            entry.hits.send_modify(|hits| *hits += 1);
        }
        Some(Arc::clone(&entry.key))
    }
}

fn index(domain: &str, token: &str) -> (String, String) {
    (normalise_host(domain), token.to_owned())
}

/// Says how many, never which: a token and its key belong to no log.
impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("len", &self.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use futures::FutureExt;

    use super::Tokens;

    #[test]
    fn an_entry_lives_until_its_last_owner_is_gone() {
        let tokens = Tokens::default();
        tokens.insert("a", "example.com", "t", "t.key");
        tokens.insert("a", "example.com", "t", "t.key");
        tokens.insert("b", "EXAMPLE.com", "t", "t.key");
        assert_eq!(tokens.len(), 1);

        tokens.remove("a", "example.com", "t");
        let answer = tokens.answer("example.com:80", "t", false).unwrap();
        assert_eq!(&*answer, "t.key");

        tokens.remove_owner("b");
        assert!(tokens.answer("example.com", "t", false).is_none());
        assert!(tokens.is_empty());
    }

    #[test]
    fn an_owner_takes_only_its_own_entries_along() {
        let tokens = Tokens::default();
        tokens.insert("a", "one.example", "t1", "k1");
        tokens.insert("a", "two.example", "t2", "k2");
        tokens.insert("b", "three.example", "t3", "k3");
        tokens.remove("b", "one.example", "t1");
        tokens.remove_owner("a");
        assert!(tokens.answer("one.example", "t1", false).is_none());
        assert!(tokens.answer("two.example", "t2", false).is_none());
        assert!(tokens.answer("three.example", "t3", false).is_some());
    }

    #[test]
    fn a_later_key_replaces_the_earlier_one() {
        let tokens = Tokens::default();
        tokens.insert("a", "example.com", "t", "old");
        tokens.insert("a", "example.com", "t", "new");
        assert_eq!(&*tokens.answer("example.com", "t", false).unwrap(), "new");
    }

    #[test]
    fn the_first_hit_is_seen_and_the_self_check_is_none() {
        let tokens = Tokens::default();
        let mut hits = tokens.insert("a", "example.com", "t", "k");
        tokens.answer("example.com", "t", true);
        tokens.answer("example.com", "other", false);
        assert_eq!(hits.first().now_or_never(), None);

        tokens.answer("example.com", "t", false);
        tokens.answer("example.com", "t", false);
        assert_eq!(hits.first().now_or_never(), Some(true));
        assert_eq!(hits.count(), 2);
        assert_eq!(tokens.insert("a", "example.com", "t", "k").count(), 2);
    }

    #[test]
    fn waiting_ends_when_the_entry_goes_away() {
        let tokens = Tokens::default();
        let mut hits = tokens.insert("a", "example.com", "t", "k");
        tokens.remove_owner("a");
        assert_eq!(hits.first().now_or_never(), Some(false));
    }

    #[test]
    fn debug_shows_neither_token_nor_key() {
        let tokens = Tokens::default();
        tokens.insert("a", "example.com", "some-token", "some-token.some-key");
        assert_eq!(format!("{tokens:?}"), "Tokens { len: 1 }");
    }
}
