//! When each certificate's CA is asked next for renewal information (RFC 9773 §4.3), and the turns of those that are due:
//! ten thousand are not asked for at once.
//!
//! It is kept in memory. After a restart the statuses say enough to begin with, and the turns spread what is due then.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use super::digest::digest;
use crate::acme::{Class, Error, RenewalInfo, Unanswered};

/// Between two questions to one CA.
const PACE: SignedDuration = SignedDuration::from_secs(1);
/// Until the next question, if the CA does not say.
const USUAL: SignedDuration = SignedDuration::from_hours(6);
/// What is believed of a CA that says (RFC 9773 §4.3.2).
const LEAST: SignedDuration = SignedDuration::from_mins(1);
const MOST: SignedDuration = SignedDuration::from_hours(24);
/// How often in a row a CA that cannot be reached is asked sooner than usually, after a minute at first and then twice
/// as long each time (§4.3.3).
const TRIES: u8 = 5;

/// The questions of this process. A certificate is known by namespace and name of its Certificate, and by its identifier:
/// another certificate begins anew.
#[derive(Debug, Default)]
pub struct Polls(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// By digest of the Certificate's name.
    next: HashMap<u64, Poll>,
    /// By URL of the directory.
    lines: HashMap<Box<str>, Line>,
}

#[derive(Debug, Clone, Copy)]
struct Poll {
    /// Digest of the certificate's identifier.
    id: u64,
    at: Timestamp,
    /// Failures in a row.
    tries: u8,
    /// `at` is a turn that it was given.
    has_turn: bool,
}

/// Those that wait for one CA.
#[derive(Debug, Clone, Copy)]
struct Line {
    /// The first turn that nobody has.
    free: Timestamp,
    /// Until when the CA wants to be left alone.
    rests: Timestamp,
}

/// Which certificate is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Namespace of the Certificate.
    pub namespace: &'a str,
    /// Name of the Certificate.
    pub name: &'a str,
    /// Identifier of the certificate (RFC 9773 §4.1).
    pub id: &'a str,
}

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It was not asked yet: others come first.
    Later,
    /// The CA has none to give.
    NotOffered,
    /// The CA's suggestion.
    Given(RenewalInfo),
    /// None that can be used: why. Whether it is worth a word: a CA that cannot be reached for some minutes is not.
    Failed(String, bool),
}

/// The answer, and when to ask again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// What was said.
    pub answer: Answer,
    /// When to ask again.
    pub next: Timestamp,
    /// Failures in a row.
    pub tries: u8,
}

impl Subject<'_> {
    fn key(&self) -> u64 {
        digest(&(self.namespace, self.name))
    }
}

impl Polls {
    /// When the CA is asked next about this certificate; `None` if this process does not know.
    pub fn next(&self, subject: Subject<'_>) -> Option<Timestamp> {
        self.0.lock().poll(subject).map(|poll| poll.at)
    }

    /// Failures in a row.
    pub fn tries(&self, subject: Subject<'_>) -> u8 {
        let inner = self.0.lock();
        inner.poll(subject).map_or(0, |poll| poll.tries)
    }

    /// Whether it is the turn of this certificate to be asked about; if not, when it is. Whoever has the turn is not
    /// asked about again within a minute, unless what was heard is noted.
    pub fn turn(&self, ca: &str, subject: Subject<'_>, now: Timestamp) -> Result<(), Timestamp> {
        let mut inner = self.0.lock();
        let known = inner.poll(subject);
        let line = inner.lines.entry(ca.into()).or_insert(Line {
            free: now,
            rests: now,
        });
        let had = known.filter(|poll| poll.has_turn && poll.at <= now && line.rests <= now);
        let turn = had.map_or_else(
            || {
                let turn = line.free.max(line.rests).max(now);
                line.free = later(turn, PACE);
                turn
            },
            |_| now,
        );
        let waits = turn > now;
        let poll = Poll {
            id: digest(&subject.id),
            at: if waits { turn } else { later(now, LEAST) },
            tries: known.map_or(0, |poll| poll.tries),
            has_turn: waits,
        };
        inner.next.insert(subject.key(), poll);
        if waits { Err(turn) } else { Ok(()) }
    }

    /// Ask again when what was heard says so. A turn is noted already.
    pub fn note(&self, subject: Subject<'_>, heard: &Heard) {
        if heard.answer == Answer::Later {
            return;
        }
        let poll = Poll {
            id: digest(&subject.id),
            at: heard.next,
            tries: heard.tries,
            has_turn: false,
        };
        self.0.lock().next.insert(subject.key(), poll);
    }

    /// The CA wants to be left alone until then: by everybody.
    pub fn rest(&self, ca: &str, until: Timestamp, now: Timestamp) {
        let until = until.clamp(now, later(now, MOST));
        let mut inner = self.0.lock();
        let line = inner.lines.entry(ca.into()).or_insert(Line {
            free: now,
            rests: now,
        });
        line.rests = line.rests.max(until);
    }

    /// The Certificate is gone.
    pub fn forget(&self, namespace: &str, name: &str) {
        let key = digest(&(namespace, name));
        self.0.lock().next.remove(&key);
    }
}

impl Inner {
    fn poll(&self, subject: Subject<'_>) -> Option<Poll> {
        let poll = self.next.get(&subject.key()).copied();
        poll.filter(|poll| poll.id == digest(&subject.id))
    }
}

/// What follows from the CA's reply, after so many failures in a row.
pub fn heard(reply: Result<RenewalInfo, Error>, tries: u8, now: Timestamp) -> Heard {
    let error = match reply {
        Ok(info) => {
            let next = asked_for(info.retry_after, now).unwrap_or(later(now, USUAL));
            return Heard {
                answer: Answer::Given(info),
                next,
                tries: 0,
            };
        }
        Err(error) => error,
    };
    if matches!(error, Error::Unsupported(_)) {
        return Heard {
            answer: Answer::NotOffered,
            next: later(now, MOST),
            tries: 0,
        };
    }
    let said = retry_after(&error);
    let passes = is_temporary(&error) && tries < TRIES;
    let wait = if passes { LEAST * (1 << tries) } else { USUAL };
    Heard {
        answer: Answer::Failed(error.to_string(), !passes),
        next: asked_for(said, now).unwrap_or(later(now, wait)),
        tries: if passes { tries + 1 } else { 0 },
    }
}

/// What a refusal says of the next try.
pub fn retry_after(error: &Error) -> Option<Timestamp> {
    match error.class() {
        Class::RateLimited { until } => until,
        _ => None,
    }
}

/// Whether nothing but the moment is wrong.
fn is_temporary(error: &Error) -> bool {
    match error {
        Error::Unanswered(Unanswered::Network { .. } | Unanswered::Timeout { .. }) => true,
        _ => error
            .status()
            .is_some_and(|status| status >= 500 || status == 429),
    }
}

fn asked_for(said: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
    said.map(|time| time.clamp(later(now, LEAST), later(now, MOST)))
}

fn later(time: Timestamp, wait: SignedDuration) -> Timestamp {
    time.saturating_add(wait).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "tests fail by panicking"
    )]

    use super::*;

    const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);
    const CA: &str = "https://ca.example/dir";

    fn subject<'a>(name: &'a str, id: &'a str) -> Subject<'a> {
        Subject {
            namespace: "shop",
            name,
            id,
        }
    }

    fn seconds(time: Timestamp) -> i64 {
        time.duration_since(NOW).as_secs()
    }

    fn info(retry_after: Option<i64>) -> RenewalInfo {
        RenewalInfo {
            start: NOW,
            end: NOW + PACE,
            explanation_url: None,
            retry_after: retry_after.map(|wait| NOW + SignedDuration::from_secs(wait)),
        }
    }

    #[test]
    fn retry_after_is_believed_within_reason() {
        for (said, expected) in [
            (None, 6 * 3600),
            (Some(-5), 60),
            (Some(0), 60),
            (Some(59), 60),
            (Some(61), 61),
            (Some(21_600), 21_600),
            (Some(86_400), 86_400),
            (Some(86_401), 86_400),
            (Some(1_000_000_000), 86_400),
        ] {
            let heard = heard(Ok(info(said)), 3, NOW);
            assert_eq!(
                (seconds(heard.next), heard.tries),
                (expected, 0),
                "{said:?}"
            );
        }
    }

    #[test]
    fn a_ca_that_cannot_be_reached_is_asked_a_few_times_more_then_as_usual() {
        let mut tries = 0;
        let mut said = vec![];
        for _ in 0..8 {
            let error = Error::Unanswered(Unanswered::Network {
                host: "ca".into(),
                message: "reset".into(),
            });
            let heard = heard(Err(error), tries, NOW);
            let Answer::Failed(_, lasts) = heard.answer else {
                panic!("{heard:?}")
            };
            said.push((seconds(heard.next) / 60, lasts));
            tries = heard.tries;
        }
        let six_hours = (360, true);
        let expected = [1, 2, 4, 8, 16].map(|minutes| (minutes, false));
        assert_eq!(said[..5], expected);
        assert_eq!(said[5], six_hours);
        assert_eq!(said[6], (1, false), "and then again");
    }

    #[test]
    fn each_failure_has_its_wait() {
        let status = |status, retry_after: Option<i64>| Error::Status {
            status,
            host: "ca".into(),
            leads_to: None,
            retry_after: retry_after.map(|wait| NOW + SignedDuration::from_secs(wait)),
        };
        for (error, expected) in [
            (status(404, None), (6 * 3600, true)),
            (Error::Protocol("no window".into()), (6 * 3600, true)),
            (status(500, None), (60, false)),
            (status(503, Some(600)), (600, false)),
            (status(429, Some(1)), (60, false)),
        ] {
            let text = error.to_string();
            let heard = heard(Err(error), 0, NOW);
            let lasts = matches!(heard.answer, Answer::Failed(_, true));
            assert_eq!((seconds(heard.next), lasts), expected, "{text}");
        }
        let heard = heard(Err(Error::Unsupported("renewalInfo")), 0, NOW);
        assert_eq!((heard.answer, heard.next), (Answer::NotOffered, NOW + MOST));
    }

    #[test]
    fn a_turn_that_was_given_is_kept_and_another_certificate_begins_anew() {
        let polls = Polls::default();
        assert_eq!(polls.turn(CA, subject("a", "1"), NOW), Ok(()));
        let turn = NOW + PACE;
        assert_eq!(polls.turn(CA, subject("b", "1"), NOW), Err(turn));
        assert_eq!(polls.next(subject("b", "1")), Some(turn));
        assert_eq!(polls.next(subject("b", "2")), None);
        assert_eq!(polls.turn(CA, subject("c", "1"), turn), Err(turn + PACE));
        assert_eq!(polls.turn(CA, subject("b", "1"), turn), Ok(()), "its own");
        let other = polls.turn("https://other/dir", subject("d", "1"), NOW);
        assert_eq!(other, Ok(()), "another CA");
        polls.forget("shop", "b");
        assert_eq!(polls.next(subject("b", "1")), None);
    }

    #[test]
    fn a_ca_that_is_to_be_left_alone_is_by_all() {
        let polls = Polls::default();
        polls.turn(CA, subject("a", "1"), NOW).unwrap();
        polls.turn(CA, subject("b", "1"), NOW).unwrap_err();
        let until = NOW + SignedDuration::from_mins(10);
        polls.rest(CA, until, NOW);
        assert_eq!(polls.turn(CA, subject("b", "1"), NOW + PACE), Err(until));
        assert_eq!(polls.turn(CA, subject("c", "1"), NOW), Err(until + PACE));
        assert_eq!(polls.turn(CA, subject("b", "1"), until), Ok(()));
    }

    /// A day of ten thousand certificates that are all due when the process starts, with a CA that wants to be asked
    /// every six hours.
    #[test]
    fn ten_thousand_certificates_are_asked_about_at_one_a_second() {
        let polls = Polls::default();
        let names: Vec<String> = (0..10_000).map(|n| format!("site-{n}")).collect();
        let mut due: std::collections::BTreeSet<(Timestamp, usize)> =
            (0..names.len()).map(|n| (NOW, n)).collect();
        let mut asked: Vec<Timestamp> = vec![];
        let mut each = vec![0; names.len()];
        let end = NOW + SignedDuration::from_hours(24);
        while let Some((now, n)) = due.pop_first().filter(|(now, _)| *now < end) {
            let subject = subject(&names[n], "1");
            let next = if let Err(turn) = polls.turn(CA, subject, now) {
                turn
            } else {
                asked.push(now);
                each[n] += 1;
                let info = RenewalInfo {
                    retry_after: Some(now + SignedDuration::from_hours(6)),
                    ..info(None)
                };
                let heard = heard(Ok(info), 0, now);
                polls.note(subject, &heard);
                heard.next
            };
            due.insert((next, n));
        }
        let closest = asked.windows(2).map(|pair| pair[1].duration_since(pair[0]));
        assert_eq!(closest.min(), Some(PACE));
        assert_eq!((each.iter().min(), each.iter().max()), (Some(&4), Some(&4)));
    }
}
