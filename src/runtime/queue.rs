//! What is to be reconciled, and when.
//!
//! A key is in here at most once. A key that is being reconciled is not handed out again; what arrives
//! meanwhile makes it run once more afterwards. Kinds have a bound of their own, so a slow CA (orders,
//! challenges) never takes the places of certificates, and namespaces take turns within a kind.
//! A key whose own writes have not come back through the informers yet is held until they have
//! (read your own writes), at most for [`HOLD`] before each run.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::clock::monotonic;
use crate::controllers::key::{Key, Kind};
use crate::controllers::progress::{Progress, Seen};

/// The longest time that a key waits for its own writes to be seen.
pub const HOLD: Duration = Duration::from_secs(10);

const FIRST_BACKOFF: Duration = Duration::from_millis(500);
const LAST_BACKOFF: Duration = Duration::from_mins(1);
const LAST_QUARANTINE: Duration = Duration::from_hours(1);

/// How a reconcile ended.
#[derive(Debug)]
pub enum Done {
    /// Nothing more to do until something changes, or until the time given.
    Idle(Option<Duration>),
    /// It failed; the back-off of this key grows.
    Failed,
    /// It panicked; the key is kept away for longer each time.
    Panicked,
}

/// The work queue of all controllers.
#[derive(Debug)]
pub struct Queue {
    state: Mutex<State>,
    work: Notify,
    rested: Notify,
    progress: Arc<Progress>,
}

#[derive(Debug)]
struct State {
    entries: HashMap<Key, Entry>,
    ready: [Turns; Kind::COUNT],
    delayed: BTreeSet<(Instant, Key)>,
    /// Keys that wait for their own writes.
    held: BTreeSet<Key>,
    next_kind: usize,
    limit: usize,
    stale_skips: u64,
}

#[derive(Debug, Default)]
struct Entry {
    place: Place,
    running: bool,
    /// Asked for while it was running.
    again: bool,
    failures: u32,
    /// Own writes that the informers have to show first: the newest of each.
    awaiting: Vec<Seen>,
    held_until: Option<Instant>,
    /// It panicked: nothing makes it run before this time.
    quarantined: Option<Instant>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum Place {
    #[default]
    Nowhere,
    Ready,
    Delayed(Instant),
}

/// Keys of one kind, one namespace after the other.
#[derive(Debug, Default)]
struct Turns {
    namespaces: VecDeque<Arc<str>>,
    keys: HashMap<Arc<str>, VecDeque<Key>>,
    /// How many keys.
    waiting: usize,
    running: usize,
}

impl Turns {
    fn push(&mut self, key: Key) {
        let keys = self.keys.entry(key.namespace.clone()).or_default();
        if keys.is_empty() {
            self.namespaces.push_back(key.namespace.clone());
        }
        keys.push_back(key);
        self.waiting += 1;
    }

    fn pop(&mut self) -> Option<Key> {
        let namespace = self.namespaces.pop_front()?;
        let keys = self.keys.get_mut(&namespace)?;
        let key = keys.pop_front();
        self.waiting -= usize::from(key.is_some());
        if keys.is_empty() {
            self.keys.remove(&namespace);
        } else {
            self.namespaces.push_back(namespace);
        }
        key
    }
}

impl Queue {
    /// `limit`: reconciles at once, a kind.
    pub fn new(limit: usize, progress: Arc<Progress>) -> Self {
        Self {
            state: Mutex::new(State {
                entries: HashMap::new(),
                ready: std::array::from_fn(|_| Turns::default()),
                delayed: BTreeSet::new(),
                held: BTreeSet::new(),
                next_kind: 0,
                limit,
                stale_skips: 0,
            }),
            work: Notify::new(),
            rested: Notify::new(),
            progress,
        }
    }

    /// Reconcile `key` as soon as there is room.
    pub fn add(&self, key: Key) {
        self.state.lock().make_ready(key);
        self.work.notify_one();
    }

    /// The informers have moved on: held keys may be free now.
    pub fn progressed(&self) {
        let mut state = self.state.lock();
        for key in std::mem::take(&mut state.held) {
            let free = state
                .entries
                .get(&key)
                .is_none_or(|e| e.awaiting.iter().all(|seen| self.progress.has(seen)));
            if free {
                state.make_ready(key);
                self.work.notify_one();
            } else {
                state.held.insert(key);
            }
        }
    }

    /// The next key; waits for one. Each key must be given back with [`Queue::done`].
    pub async fn next(&self) -> Key {
        loop {
            let wait = {
                let mut state = self.state.lock();
                let now = monotonic();
                state.promote(now);
                if let Some(key) = state.take(now, &self.progress) {
                    // Another worker may find more.
                    self.work.notify_one();
                    return key;
                }
                if state.is_at_rest() {
                    self.rested.notify_waiters();
                }
                state.delayed.first().map(|(due, _)| *due)
            };
            let work = self.work.notified();
            match wait {
                Some(due) => {
                    tokio::select! {
                        () = work => {}
                        () = tokio::time::sleep_until(due.into()) => {}
                    }
                }
                None => work.await,
            }
        }
    }

    /// Give a key back, with the writes that must be seen before it runs again.
    pub fn done(&self, key: Key, done: &Done, awaiting: Vec<Seen>) {
        let mut state = self.state.lock();
        let now = monotonic();
        if let Some(turns) = state.ready.get_mut(key.kind.index()) {
            turns.running -= 1;
        }
        let entry = state.entries.entry(key.clone()).or_default();
        entry.running = false;
        for seen in awaiting {
            entry.awaiting.retain(|earlier| !seen.implies(earlier));
            entry.awaiting.push(seen);
        }
        let again = std::mem::take(&mut entry.again);
        let delay = match done {
            Done::Idle(delay) => {
                entry.failures = 0;
                *delay
            }
            Done::Failed => {
                entry.failures += 1;
                Some(backoff(FIRST_BACKOFF, LAST_BACKOFF, entry.failures))
            }
            Done::Panicked => {
                entry.failures += 1;
                Some(backoff(LAST_BACKOFF, LAST_QUARANTINE, entry.failures))
            }
        };
        let panicked = matches!(done, Done::Panicked);
        entry.quarantined = delay.filter(|_| panicked).map(|delay| now + delay);
        if again && !panicked {
            state.make_ready(key);
        } else if let Some(delay) = delay {
            state.delay(key, now + delay);
        } else if entry.awaiting.is_empty() {
            state.entries.remove(&key);
        }
        drop(state);
        self.work.notify_one();
    }

    /// Wait until no key is under way and none is ready.
    pub async fn at_rest(&self) {
        loop {
            let rested = self.rested.notified();
            if self.state.lock().is_at_rest() {
                return;
            }
            rested.await;
        }
    }

    /// Keys of a kind that wait for a worker.
    pub fn depth(&self, kind: Kind) -> usize {
        let state = self.state.lock();
        let turns = state.ready.get(kind.index());
        turns.map_or(0, |turns| turns.waiting)
    }

    /// Reconciles that ran on facts older than their own writes, since this was last asked.
    pub fn take_stale_skips(&self) -> u64 {
        std::mem::take(&mut self.state.lock().stale_skips)
    }
}

impl State {
    fn is_at_rest(&self) -> bool {
        let mut kinds = self.ready.iter();
        kinds.all(|turns| turns.running == 0 && turns.keys.is_empty())
    }

    fn make_ready(&mut self, key: Key) {
        let entry = self.entries.entry(key.clone()).or_default();
        if entry.running {
            entry.again = true;
            return;
        }
        if entry.quarantined.is_some_and(|until| monotonic() < until) {
            return;
        }
        match entry.place {
            Place::Ready => return,
            Place::Delayed(due) => {
                self.delayed.remove(&(due, key.clone()));
            }
            Place::Nowhere => {}
        }
        entry.place = Place::Ready;
        if let Some(turns) = self.ready.get_mut(key.kind.index()) {
            turns.push(key);
        }
    }

    fn delay(&mut self, key: Key, due: Instant) {
        let entry = self.entries.entry(key.clone()).or_default();
        match entry.place {
            Place::Ready => return,
            Place::Delayed(earlier) => {
                self.delayed.remove(&(earlier, key.clone()));
            }
            Place::Nowhere => {}
        }
        entry.place = Place::Delayed(due);
        self.delayed.insert((due, key));
    }

    /// Move what is due to the ready keys.
    fn promote(&mut self, now: Instant) {
        while let Some((due, key)) = self.delayed.first().cloned() {
            if due > now {
                return;
            }
            self.make_ready(key);
        }
    }

    fn take(&mut self, now: Instant, progress: &Progress) -> Option<Key> {
        for offset in 0..Kind::COUNT {
            let index = (self.next_kind + offset) % Kind::COUNT;
            while let Some(key) = self.pop(index) {
                if self.hold(&key, now, progress) {
                    continue;
                }
                self.next_kind = index + 1;
                return Some(key);
            }
        }
        None
    }

    fn pop(&mut self, index: usize) -> Option<Key> {
        let limit = self.limit;
        let turns = self.ready.get_mut(index)?;
        if turns.running >= limit {
            return None;
        }
        turns.pop()
    }

    /// Keep a key back whose own writes have not been seen; otherwise mark it as running.
    fn hold(&mut self, key: &Key, now: Instant, progress: &Progress) -> bool {
        let entry = self.entries.entry(key.clone()).or_default();
        entry.place = Place::Nowhere;
        entry.awaiting.retain(|seen| !progress.has(seen));
        if !entry.awaiting.is_empty() {
            let until = *entry.held_until.get_or_insert(now + HOLD);
            if now < until {
                self.held.insert(key.clone());
                self.delay(key.clone(), until);
                return true;
            }
            self.stale_skips += 1;
        }
        let entry = self.entries.entry(key.clone()).or_default();
        entry.held_until = None;
        entry.running = true;
        if let Some(turns) = self.ready.get_mut(key.kind.index()) {
            turns.running += 1;
        }
        false
    }
}

fn backoff(first: Duration, last: Duration, failures: u32) -> Duration {
    first
        .saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1).min(16)))
        .min(last)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use crate::controllers::progress::Informer;

    fn key(namespace: &str, name: &str) -> Key {
        Key::new(Kind::Certificate, namespace, name)
    }

    fn queue(limit: usize) -> (Queue, Arc<Progress>) {
        let progress = Arc::new(Progress::default());
        (Queue::new(limit, progress.clone()), progress)
    }

    fn take(queue: &Queue) -> Option<Key> {
        take_at(queue, monotonic())
    }

    fn take_at(queue: &Queue, now: Instant) -> Option<Key> {
        let mut state = queue.state.lock();
        state.promote(now);
        state.take(now, &queue.progress)
    }

    #[test]
    fn a_key_is_queued_once() {
        let (queue, _) = queue(8);
        queue.add(key("a", "x"));
        queue.add(key("a", "x"));
        assert_eq!(take(&queue), Some(key("a", "x")));
        assert_eq!(take(&queue), None);
    }

    #[test]
    fn a_running_key_runs_again_only_after_it_is_done() {
        let (queue, _) = queue(8);
        queue.add(key("a", "x"));
        let running = take(&queue).unwrap();
        queue.add(key("a", "x"));
        assert_eq!(take(&queue), None);
        queue.done(running, &Done::Idle(None), vec![]);
        assert_eq!(take(&queue), Some(key("a", "x")));
    }

    #[test]
    fn namespaces_take_turns() {
        let (queue, _) = queue(8);
        for name in ["1", "2", "3"] {
            queue.add(key("crowded", name));
        }
        queue.add(key("quiet", "1"));
        assert_eq!(queue.depth(Kind::Certificate), 4);
        let order: Vec<_> = std::iter::from_fn(|| take(&queue))
            .map(|k| k.namespace)
            .collect();
        assert_eq!(
            order.iter().map(AsRef::as_ref).collect::<Vec<_>>(),
            ["crowded", "quiet", "crowded", "crowded"]
        );
        assert_eq!(queue.depth(Kind::Certificate), 0);
    }

    #[test]
    fn a_kind_at_its_limit_leaves_room_for_the_others() {
        let (queue, _) = queue(1);
        queue.add(key("a", "1"));
        queue.add(key("a", "2"));
        queue.add(Key::new(Kind::Order, "a", "1"));
        let first = take(&queue).unwrap();
        assert_eq!(take(&queue).unwrap().kind, Kind::Order);
        assert_eq!(take(&queue), None);
        queue.done(first, &Done::Idle(None), vec![]);
        assert_eq!(take(&queue), Some(key("a", "2")));
    }

    #[test]
    fn a_key_waits_until_its_own_write_is_seen() {
        let (queue, progress) = queue(8);
        queue.add(key("a", "x"));
        let running = take(&queue).unwrap();
        let write = Seen::new(Informer::Certificates, "7", monotonic());
        queue.done(running, &Done::Idle(None), vec![write]);
        queue.add(key("a", "x"));
        assert_eq!(take(&queue), None);
        progress.advance(Informer::Certificates, "6");
        queue.progressed();
        assert_eq!(take(&queue), None);
        progress.advance(Informer::Certificates, "7");
        queue.progressed();
        assert_eq!(take(&queue), Some(key("a", "x")));
    }

    #[test]
    fn a_key_that_ran_before_its_own_write_was_seen_waits_for_it_again() {
        let (queue, progress) = queue(8);
        queue.add(key("a", "x"));
        let running = take(&queue).unwrap();
        let write = Seen::new(Informer::Secrets, "7", monotonic());
        queue.done(running, &Done::Idle(None), vec![write]);
        queue.add(key("a", "x"));
        assert_eq!(take(&queue), None);
        let running = take_at(&queue, monotonic() + HOLD).unwrap();
        assert_eq!(queue.take_stale_skips(), 1);
        queue.done(running, &Done::Idle(None), vec![]);
        queue.add(key("a", "x"));
        assert_eq!(take(&queue), None);
        progress.advance(Informer::Secrets, "7");
        queue.progressed();
        assert_eq!(take(&queue), Some(key("a", "x")));
    }

    #[test]
    fn nothing_grows_while_a_watch_is_dead() {
        let (queue, _) = queue(8);
        let mut now = monotonic();
        for version in 1..=9 {
            queue.add(key("a", "x"));
            // It is held, and is asked for meanwhile.
            let mut running = take_at(&queue, now);
            if running.is_none() {
                queue.add(key("a", "x"));
                assert_eq!(take_at(&queue, now), None);
                queue.progressed();
                now += HOLD;
                running = take_at(&queue, now);
            }
            let version = version.to_string();
            let write = |informer| Seen::new(informer, &version, now);
            let writes = vec![write(Informer::Secrets), write(Informer::Certificates)];
            queue.done(running.unwrap(), &Done::Idle(None), writes);
        }
        let state = queue.state.lock();
        let awaiting = state.entries.values().map(|e| e.awaiting.len());
        assert_eq!((awaiting.sum::<usize>(), state.held.len()), (2, 1));
    }

    #[tokio::test]
    async fn it_is_at_rest_once_nothing_is_ready_or_under_way() {
        let (queue, _) = queue(8);
        queue.add(key("a", "x"));
        let mut rest = std::pin::pin!(queue.at_rest());
        assert!(futures::poll!(rest.as_mut()).is_pending());
        let running = queue.next().await;
        assert!(futures::poll!(rest.as_mut()).is_pending());
        queue.done(running, &Done::Idle(None), vec![]);
        let mut next = std::pin::pin!(queue.next());
        assert!(futures::poll!(next.as_mut()).is_pending());
        rest.await;
    }

    #[test]
    fn failures_back_off_and_success_forgets_them() {
        assert_eq!(backoff(FIRST_BACKOFF, LAST_BACKOFF, 1), FIRST_BACKOFF);
        assert_eq!(backoff(FIRST_BACKOFF, LAST_BACKOFF, 3), FIRST_BACKOFF * 4);
        assert_eq!(backoff(FIRST_BACKOFF, LAST_BACKOFF, 40), LAST_BACKOFF);
        let (queue, _) = queue(8);
        queue.add(key("a", "x"));
        let running = take(&queue).unwrap();
        queue.done(running, &Done::Failed, vec![]);
        assert_eq!(take(&queue), None, "a failed key waits");
        queue.add(key("a", "x"));
        assert!(take(&queue).is_some(), "a change ends the back-off");
    }

    #[test]
    fn a_quarantined_key_is_not_run_by_what_arrives() {
        let (queue, _) = queue(8);
        queue.add(key("a", "x"));
        let running = take(&queue).unwrap();
        queue.add(key("a", "x"));
        queue.done(running, &Done::Panicked, vec![]);
        assert_eq!(take(&queue), None);
        queue.add(key("a", "x"));
        assert_eq!(take(&queue), None, "nor by what arrives later");
    }
}
