//! The places of Challenges: so many are validated at once, the others wait in line.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::controllers::challenge::Memo;
use crate::controllers::key::Key;

/// How long a place is kept for a Challenge that has nothing in place yet.
const PRESENTING: Duration = Duration::from_secs(10);
/// How long one is kept for a Challenge that the CA was asked for: a CA that takes longer, or cannot be reached, is in
/// nobody's way.
const ASKING: Duration = Duration::from_mins(3);

/// What is remembered of Challenges, and whose turn it is.
#[derive(Debug)]
pub struct Places {
    /// `--max-concurrent-challenges`.
    most: usize,
    known: HashMap<Key, Known>,
    waiting: VecDeque<Key>,
}

#[derive(Debug, Default)]
struct Known {
    memo: Memo,
    /// Since when it has a place.
    admitted: Option<Instant>,
    /// Since when the CA is asked.
    asked: Option<Instant>,
    /// Its uid, if this process answers for it.
    owner: Option<String>,
}

impl Known {
    /// One that cannot be presented keeps no other from its place.
    fn takes_place(&self, now: Instant) -> bool {
        let since = |since: Instant| now.duration_since(since);
        let is_on_its_way =
            self.memo.presented.is_some() || self.admitted.is_some_and(|t| since(t) < PRESENTING);
        is_on_its_way && !self.waits_for_the_ca(now)
    }

    /// It has had its place, and goes on without one.
    fn waits_for_the_ca(&self, now: Instant) -> bool {
        self.asked
            .is_some_and(|since| now.duration_since(since) >= ASKING)
    }
}

impl Places {
    /// At most so many at once.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            known: HashMap::new(),
            waiting: VecDeque::new(),
        }
    }

    /// What is remembered of a Challenge.
    pub fn memo(&self, key: &Key) -> Memo {
        let known = self.known.get(key);
        known.map(|k| k.memo.clone()).unwrap_or_default()
    }

    /// What is remembered of a Challenge, to add to it.
    pub fn memo_mut(&mut self, key: &Key) -> &mut Memo {
        &mut self.known.entry(key.clone()).or_default().memo
    }

    /// Whether anything is remembered of it.
    pub fn knows(&self, key: &Key) -> bool {
        self.known.contains_key(key)
    }

    /// This process answers for it; `owner` is its uid.
    pub fn answers(&mut self, key: &Key, owner: &str) {
        let known = self.known.entry(key.clone()).or_default();
        known.memo.direct = true;
        known.owner = Some(owner.to_owned());
    }

    /// It is gone, and has left. Its uid, if this process has answered for it.
    pub fn forget(&mut self, key: &Key) -> Option<String> {
        self.known.remove(key)?.owner
    }

    fn free(&self, now: Instant) -> usize {
        let taken = self.known.values().filter(|k| k.takes_place(now)).count();
        self.most.saturating_sub(taken)
    }

    /// Whether this one has a place; otherwise it is in the line for one.
    pub fn admit(&mut self, key: &Key, now: Instant) -> bool {
        let goes_on = |k: &Known| k.takes_place(now) || k.waits_for_the_ca(now);
        if self.known.get(key).is_some_and(goes_on) {
            return true;
        }
        if self.free(now) == 0 {
            if !self.waiting.contains(key) {
                self.waiting.push_back(key.clone());
            }
            return false;
        }
        self.waiting.retain(|waiting| waiting != key);
        self.known.entry(key.clone()).or_default().admitted = Some(now);
        true
    }

    /// The CA was asked for it.
    pub fn asked(&mut self, key: &Key, now: Instant) {
        let known = self.known.entry(key.clone()).or_default();
        known.asked.get_or_insert(now);
    }

    /// It needs no place any more. Who has one now instead.
    pub fn leave(&mut self, key: &Key, now: Instant) -> Vec<Key> {
        self.waiting.retain(|waiting| waiting != key);
        if let Some(known) = self.known.get_mut(key) {
            known.memo.presented = None;
            known.admitted = None;
            known.asked = None;
        }
        let next: Vec<Key> = (0..self.free(now))
            .map_while(|_| self.waiting.pop_front())
            .collect();
        for key in &next {
            self.known.entry(key.clone()).or_default().admitted = Some(now);
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::key::Kind;
    use crate::runtime::clock::{monotonic, now};

    fn key(name: &str) -> Key {
        Key::new(Kind::Challenge, "team", name)
    }

    #[test]
    fn who_leaves_gives_the_place_to_the_first_in_line() {
        let mut places = Places::new(2);
        let time = monotonic();
        assert!(places.admit(&key("a"), time));
        assert!(places.admit(&key("b"), time));
        assert!(!places.admit(&key("c"), time));
        assert!(!places.admit(&key("d"), time));
        assert!(places.admit(&key("a"), time), "it has one");
        assert_eq!(places.leave(&key("a"), time), [key("c")]);
        assert!(!places.admit(&key("a"), time), "it is after d now");
        assert!(places.admit(&key("c"), time));
        assert_eq!(places.leave(&key("d"), time), [], "it had none");
        assert_eq!(places.leave(&key("b"), time), [key("a")]);
    }

    #[test]
    fn what_cannot_be_presented_keeps_nobody_waiting() {
        let mut places = Places::new(1);
        let time = monotonic();
        assert!(places.admit(&key("a"), time));
        let later = time + PRESENTING;
        assert!(places.admit(&key("b"), later), "a has had its time");
        assert!(!places.admit(&key("a"), later));
        places.memo_mut(&key("b")).presented = Some(now());
        assert!(
            !places.admit(&key("a"), later + PRESENTING),
            "b is under way"
        );
    }

    #[test]
    fn one_that_waits_for_a_slow_ca_gives_its_place_back_and_goes_on() {
        let mut places = Places::new(1);
        let time = monotonic();
        assert!(places.admit(&key("slow"), time));
        places.memo_mut(&key("slow")).presented = Some(now());
        places.asked(&key("slow"), time);
        places.asked(&key("slow"), time + ASKING / 2);
        assert!(!places.admit(&key("next"), time + ASKING / 2));
        let later = time + ASKING;
        assert!(places.admit(&key("next"), later));
        assert!(places.admit(&key("slow"), later), "it needs none");
        assert!(!places.admit(&key("third"), later), "next has one");
        places.leave(&key("slow"), later);
        assert!(!places.admit(&key("slow"), later), "it begins anew");
    }

    #[test]
    fn nothing_is_remembered_of_what_is_gone() {
        let mut places = Places::new(1);
        places.memo_mut(&key("a")).accepted = true;
        assert!(places.memo(&key("a")).accepted);
        places.forget(&key("a"));
        assert!(!places.knows(&key("a")));
        assert_eq!(places.memo(&key("a")), Memo::default());
    }
}
