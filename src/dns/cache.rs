//! What resolvers have said of zones and their servers, for as long as it holds: the names of one zone ask but once who
//! serves it, also when a hundred of them ask at the same time.
//!
//! What a check looks for, and the aliases that lead to it, is never kept.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use domain::base::Rtype;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::Error;
use super::exchange::Server;
use super::message::{Answer, Name};

/// How many questions are kept.
const MOST: usize = 2048;
/// The longest time, whatever the time to live: somebody who moves a zone is not to wait for long.
const LONGEST: Duration = Duration::from_mins(5);
/// The longest time that something is known not to be there: it is mostly asked for since it should be.
const LONGEST_ABSENT: Duration = Duration::from_secs(5);
/// Who asks at the same time has the same answer, or fault.
const SHORTEST: Duration = Duration::from_secs(1);

/// What was asked, and whom: another resolver may say something else.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Question {
    pub(super) servers: Arc<[Server]>,
    pub(super) name: Name,
    pub(super) kind: Rtype,
}

struct Kept {
    answer: Result<Answer, Error>,
    asked: Instant,
    until: Instant,
}

/// Held while it is asked.
type Slot = Arc<tokio::sync::Mutex<Option<Kept>>>;

pub(super) struct Cache {
    slots: Mutex<HashMap<Question, Slot>>,
    clock: fn() -> Instant,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            slots: Mutex::default(),
            clock: Instant::now,
        }
    }
}

impl Cache {
    /// The answer that is kept, if it holds and was not asked for before `since`; else that of `ask`.
    pub(super) async fn answer(
        &self,
        question: Question,
        since: Option<Instant>,
        ask: impl Future<Output = Result<Answer, Error>>,
    ) -> Result<Answer, Error> {
        let slot = self.slot(question);
        let mut kept = slot.lock().await;
        let asked = (self.clock)();
        if let Some(kept) = kept.as_ref()
            && asked < kept.until
            && since.is_none_or(|since| kept.asked >= since)
        {
            return kept.answer.clone();
        }
        let answer = ask.await;
        let until = (self.clock)() + lifetime(&answer);
        *kept = Some(Kept {
            answer: answer.clone(),
            asked,
            until,
        });
        answer
    }

    /// Its place; one that nobody else finds when there are too many.
    fn slot(&self, question: Question) -> Slot {
        let mut slots = self.slots.lock();
        if let Some(slot) = slots.get(&question) {
            return Arc::clone(slot);
        }
        if slots.len() >= MOST {
            let now = (self.clock)();
            // One that is locked is being asked.
            slots.retain(|_, slot| {
                slot.try_lock()
                    .map_or(true, |kept| kept.as_ref().is_some_and(|k| now < k.until))
            });
        }
        if slots.len() >= MOST {
            return Slot::default();
        }
        Arc::clone(slots.entry(question).or_default())
    }
}

fn lifetime(answer: &Result<Answer, Error>) -> Duration {
    let Ok(answer) = answer else {
        return SHORTEST;
    };
    let longest = if answer.answers.is_empty() {
        LONGEST_ABSENT
    } else {
        LONGEST
    };
    let said = answer.lifetime().unwrap_or(SHORTEST);
    said.clamp(SHORTEST, longest)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use domain::base::iana::Rcode;

    use super::super::message::{Data, Entry, name};
    use super::*;

    fn question(text: &str) -> Question {
        Question {
            servers: Arc::from([Server::parse("192.0.2.1").unwrap()]),
            name: name(text).unwrap(),
            kind: Rtype::NS,
        }
    }

    /// That `owner` is a server, for so many seconds; or, without seconds, that there is none.
    fn said(owner: &str, seconds: Option<u64>) -> Answer {
        let entry = |seconds| Entry {
            owner: name(owner).unwrap(),
            ttl: Duration::from_secs(seconds),
            data: Data::Server(name(owner).unwrap()),
        };
        Answer {
            code: Rcode::NOERROR,
            authoritative: false,
            answers: seconds.map(entry).into_iter().collect(),
            authority: vec![],
        }
    }

    thread_local! {
        static NOW: Cell<Option<Instant>> = const { Cell::new(None) };
    }

    /// The time of the test, which runs in one thread.
    fn now() -> Instant {
        let now = NOW.get().unwrap_or_else(Instant::now);
        NOW.set(Some(now));
        now
    }

    fn pass(time: Duration) {
        NOW.set(Some(now() + time));
    }

    struct World {
        cache: Cache,
        asked: Cell<usize>,
    }

    impl World {
        fn new() -> Self {
            let cache = Cache {
                clock: now,
                ..Cache::default()
            };
            Self {
                cache,
                asked: Cell::new(0),
            }
        }

        async fn ask(
            &self,
            text: &str,
            since: Option<Instant>,
            answer: Result<Answer, Error>,
        ) -> Result<Answer, Error> {
            let ask = async {
                self.asked.set(self.asked.get() + 1);
                tokio::task::yield_now().await;
                answer
            };
            self.cache.answer(question(text), since, ask).await
        }
    }

    #[tokio::test]
    async fn an_answer_is_kept_for_its_time_and_no_longer() {
        let hour = 3600;
        let cases = [
            (Some(60), 60),
            // Bounded, below and above.
            (Some(0), 1),
            (Some(hour), 300),
            (None, 1),
        ];
        for (ttl, kept) in cases {
            let world = World::new();
            let answer = Ok(said("ns.example", ttl));
            for _ in 0..2 {
                assert_eq!(world.ask("a.example", None, answer.clone()).await, answer);
            }
            pass(Duration::from_millis(kept * 1000 - 10));
            let _ = world.ask("a.example", None, answer.clone()).await;
            assert_eq!(world.asked.get(), 1, "{ttl:?}");
            pass(Duration::from_millis(20));
            let _ = world.ask("a.example", None, answer.clone()).await;
            assert_eq!(world.asked.get(), 2, "{ttl:?}");
        }
    }

    #[tokio::test]
    async fn a_fault_is_kept_for_those_who_ask_at_the_same_time() {
        let world = World::new();
        let fault = || Err(Error::Silent("192.0.2.1:53".into()));
        let asked = (0..100).map(|_| world.ask("a.example", None, fault()));
        let answers = futures::future::join_all(asked).await;
        assert!(answers.iter().all(|answer| *answer == fault()));
        assert_eq!(world.asked.get(), 1);
        pass(SHORTEST);
        let answer = Ok(said("ns.example", Some(60)));
        assert_eq!(world.ask("a.example", None, answer.clone()).await, answer);
    }

    #[tokio::test]
    async fn who_wants_a_new_answer_has_one() {
        let world = World::new();
        let (old, new) = (
            Ok(said("old.example", Some(60))),
            Ok(said("new.example", Some(60))),
        );
        let _ = world.ask("a.example", None, old.clone()).await;
        pass(Duration::from_secs(1));
        let since = Some(now());
        assert_eq!(world.ask("a.example", since, new.clone()).await, new);
        // And so have all others, who do not ask again.
        assert_eq!(world.ask("a.example", since, old.clone()).await, new);
        assert_eq!(world.ask("a.example", None, old).await, new);
        assert_eq!(world.asked.get(), 2);
    }

    #[tokio::test]
    async fn it_does_not_grow_without_end() {
        let world = World::new();
        let answer = Ok(said("ns.example", Some(60)));
        for number in 0..MOST + 10 {
            let _ = world
                .ask(&format!("n{number}.example"), None, answer.clone())
                .await;
        }
        assert!(world.cache.slots.lock().len() <= MOST);
        pass(LONGEST);
        let _ = world.ask("b.example", None, answer).await;
        assert_eq!(world.cache.slots.lock().len(), 1);
    }
}
