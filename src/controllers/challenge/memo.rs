//! What a process remembers of a Challenge. Nothing is lost with it: the solver objects and the CA know the rest.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{Outcome, is_final};
use crate::acme::limits::refusal_delay;
use crate::controllers::status::{doubled, granted, spread};
use crate::solvers::http01::watch::Watch;

/// The first look at the authorization after the CA was asked.
const FIRST_POLL: Duration = Duration::from_millis(200);
/// The shortest and the longest time between the next ones, unless the CA says otherwise.
const POLL: Duration = Duration::from_secs(1);
const POLL_MOST: Duration = Duration::from_secs(30);
/// The shortest and the longest time before a CA is asked again that waits for that.
const AGAIN: Duration = Duration::from_secs(5);
const AGAIN_MOST: Duration = Duration::from_mins(10);
/// The first wait after a fault that may be gone in a moment; it doubles.
const FAULT: Duration = Duration::from_secs(5);
/// The longest.
const FAULT_MOST: Duration = Duration::from_mins(5);
/// How long a CA may be at work on a challenge.
const WORK: SignedDuration = SignedDuration::from_hours(1);

/// What is remembered of a Challenge.
#[allow(clippy::struct_excessive_bools, reason = "independent facts")]
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memo {
    /// Since when everything has been in place.
    pub presented: Option<Timestamp>,
    /// The newest self-check.
    pub check: Check,
    /// What it saw of a DNS-01 record.
    pub sight: Sight,
    /// When a server denied that there is one, last.
    pub denied: Option<Timestamp>,
    /// The operator itself answers for it.
    pub direct: bool,
    /// The CA was asked to validate, by this process.
    pub accepted: bool,
    /// The CA has not found the answer, and waits to be asked again.
    pub unproven: bool,
    /// The CA is left alone until then.
    pub resting: Option<Timestamp>,
    /// Since when the CA has been at work without an end, or, if it is `unproven`, has waited to be asked again.
    pub working: Option<Timestamp>,
    /// Faults in a row.
    pub faults: u32,
    /// How often in a row the CA did not know what it has made.
    pub unknown: u32,
    /// Refusals in a row that did not say until when.
    pub refusals: u32,
    /// The CA has found it valid.
    pub valid: bool,
    /// How many looks in a row reached nobody, up to the newest.
    pub blocked: u32,
    /// What is seen of the name after it failed, by HTTP-01.
    pub watch: Watch,
    /// How many looks there were since it failed.
    pub probes: u32,
    /// When the newest of them began.
    pub probed: Option<Timestamp>,
    /// It is on its way.
    pub probing: bool,
    /// When something in the cluster was last in the way of an answer.
    pub hindered: Option<Timestamp>,
}

impl Memo {
    /// Until when the CA is left alone, if it is.
    pub fn rests(&self, now: Timestamp) -> Option<Timestamp> {
        self.resting.filter(|until| *until > now)
    }

    /// Take note of a look at a DNS-01 record.
    pub fn see(&mut self, check: Check, sight: Sight, now: Timestamp) {
        if sight == Sight::Denied {
            self.denied = Some(now);
        }
        (self.check, self.sight) = (check, sight);
    }

    /// Whether the CA has been at work for too long. One that says what it has not found waits for that, and the end of
    /// its order is the end.
    pub fn is_stuck(&self, now: Timestamp) -> bool {
        let worked = self.working.map(|since| now.duration_since(since));
        !self.unproven && worked.is_some_and(|worked| worked >= WORK)
    }

    /// What is to be remembered after this answer of the CA.
    #[must_use]
    pub fn after(&self, outcome: &Outcome, now: Timestamp) -> Self {
        let mut next = self.clone();
        let rest = match outcome {
            Outcome::Started => return next,
            Outcome::AccountRefused { .. } => {
                next.resting = None;
                return next;
            }
            Outcome::State { state, .. } if is_final(state) => None,
            Outcome::State {
                state,
                reason,
                retry,
            } => {
                next.unproven = state == "pending" && reason.is_some();
                let goes_on = next.unproven == self.unproven;
                next.working = self.working.filter(|_| goes_on).or(Some(now));
                Some(next.look(self.accepted, *retry, now))
            }
            Outcome::Unavailable { retry, .. } => {
                next.working = None;
                next.faults = self.faults.saturating_add(1);
                let wait = || spread(doubled(FAULT, self.faults, FAULT_MOST), now);
                Some(retry.unwrap_or_else(wait))
            }
            Outcome::Unknown { .. } => {
                next.unknown = self.unknown.saturating_add(1);
                Some(spread(doubled(FAULT, self.unknown, FAULT_MOST), now))
            }
            Outcome::Refused { .. } => {
                next.working = None;
                next.refusals = self.refusals.saturating_add(1);
                Some(refusal_delay(next.refusals))
            }
        };
        if !matches!(outcome, Outcome::Unknown { .. }) {
            next.unknown = 0;
        }
        if matches!(outcome, Outcome::State { .. }) {
            (next.accepted, next.faults, next.refusals) = (true, 0, 0);
        }
        next.resting = rest.map(|rest| now.checked_add(rest).unwrap_or(Timestamp::MAX));
        next
    }

    /// How long a CA is left alone that has come to no end. One that leaves a challenge `pending` with an error wants to
    /// be asked again (RFC 8555 §8.2): after half of the time that the answer has been in place, or that it has waited, or
    /// when it says.
    fn look(&self, accepted: bool, retry: Option<Duration>, now: Timestamp) -> Duration {
        let half = |since: Option<Timestamp>| {
            let passed = since.map(|since| now.duration_since(since));
            let passed = passed.and_then(|passed| Duration::try_from(passed).ok());
            passed.unwrap_or_default() / 2
        };
        if self.unproven {
            let since = self.presented.or(self.working);
            let pause = half(since).clamp(AGAIN, AGAIN_MOST);
            return pause.max(retry.unwrap_or_default());
        }
        if !accepted {
            return FIRST_POLL;
        }
        let retry = retry.map(|retry| granted(retry, self.working, now));
        retry.unwrap_or_else(|| half(self.working).clamp(POLL, POLL_MOST))
    }
}

/// The newest self-check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Check {
    /// None yet.
    #[default]
    None,
    /// On its way.
    Running,
    /// The CA will most likely see the same.
    Passed,
    /// It did not pass.
    Failed {
        /// Why, without anything of the remote body.
        reason: String,
        /// When.
        at: Timestamp,
    },
}

/// What a failed self-check saw of a record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sight {
    /// Nobody could be asked.
    #[default]
    Nothing,
    /// Some servers have it, the others have troubles of their own.
    Partly,
    /// Some server says that there is none.
    Denied,
}
