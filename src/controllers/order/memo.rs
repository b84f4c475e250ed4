//! What a process remembers of an Order between two looks at the CA. Lost in a crash, it costs a question too many.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Outcome;
use crate::acme::limits::{refusal_delay, within_a_share};
use crate::controllers::status::{doubled, spread};
use crate::explain::not_before;

/// The first wait after a fault that may be gone in a moment; it doubles.
const FAULT: Duration = Duration::from_secs(5);
/// The longest.
const FAULT_MOST: Duration = Duration::from_mins(5);
/// Faults in a row after which nobody comes back to a URL any more: some five minutes.
const MISSED: u32 = 6;
/// Answers in a row before the one after which a CA is believed that says that it has nothing there: some forty seconds.
pub(in crate::controllers) const UNKNOWN: u32 = 3;
/// How much longer an order may last than what was open in it: Let's Encrypt has orders of eight hours with authorizations of
/// one.
const OUTLASTS: SignedDuration = SignedDuration::from_hours(7);
/// The least wait for a human.
const HUMAN: Duration = Duration::from_hours(1);
/// The first wait for a CA that is at work; it doubles.
const LOOK: Duration = Duration::from_millis(500);
/// The longest.
const LOOK_MOST: Duration = Duration::from_secs(30);
/// For one that has been at work for longer than [`WORK`].
const LOOK_LONG: Duration = Duration::from_mins(5);
/// How long a CA may be at work once all is proven, or longer while it makes the certificate of an order that has not ended.
pub(super) const WORK: SignedDuration = SignedDuration::from_hours(1);
/// How long at most: over a weekend, where humans have to say yes. `ZeroSSL` has orders that come to no end.
const WORK_MOST: SignedDuration = SignedDuration::from_hours(3 * 24);

/// How often in a row a chain is tried to be fetched that the issuer prefers.
const CHAIN_TRIES: u32 = 3;

/// What is remembered of an Order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memo {
    /// The CA is left alone until then.
    pub resting: Option<Timestamp>,
    /// Since when the CA has been at work without an end.
    pub working: Option<Timestamp>,
    /// Looks at the CA since then.
    pub looks: u32,
    /// Faults in a row.
    pub faults: u32,
    /// How often in a row the CA did not know what it has made.
    pub unknown: u32,
    /// Refusals in a row.
    pub refusals: u32,
    /// An Order of this name has got the certificate of another key before.
    pub mismatched: bool,
}

/// How long the CA is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// The fault may be gone in a moment.
    Fault,
    /// Nobody is at the URL: the CA may have lost what it had there, or something before the CA answers for a moment.
    Missing,
    /// The CA itself says that it has nothing at the URL: it has lost it, or a replica of it does not know it yet.
    Unknown,
    /// The CA refuses for now and does not say until when.
    Refused,
    /// As long as the CA asks for.
    Asked(Duration),
    /// Until a human has done something at the CA.
    Human,
}

impl Wait {
    /// How long from now, for somebody who remembers this, and whose certificate in use has so much `left`.
    pub fn delay(self, memo: &Memo, left: Option<Duration>, now: Timestamp) -> Duration {
        match self {
            Self::Fault | Self::Missing | Self::Unknown => {
                spread(doubled(FAULT, memo.faults, FAULT_MOST), now)
            }
            Self::Refused => within_a_share(refusal_delay(memo.refusals.saturating_add(1)), left),
            Self::Asked(asked) => asked,
            Self::Human => within_a_share(refusal_delay(u32::MAX), left).max(HUMAN),
        }
    }

    /// What a reader is told about a time that is long enough to be wondered about.
    pub fn note(self, until: Timestamp) -> String {
        match self {
            Self::Fault | Self::Missing | Self::Unknown => String::new(),
            Self::Asked(_) => format!(". {}", not_before(until)),
            Self::Refused | Self::Human => format!(". Next attempt at {until:.0}"),
        }
    }
}

/// An answer, as far as it is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// The CA is at work.
    AtWork,
    /// The CA is to be left alone.
    Wait(Wait),
    /// The certificate of another key.
    OtherKey,
    /// News.
    News,
}

impl Outcome {
    /// What is to be remembered of it.
    pub fn heard(&self) -> Heard {
        match self {
            Self::NotYet { .. } => Heard::AtWork,
            Self::Unavailable { wait, .. } => Heard::Wait(*wait),
            Self::OtherKey(_) => Heard::OtherKey,
            _ => Heard::News,
        }
    }
}

impl Memo {
    /// Until when the CA is left alone, if it is.
    pub fn rests(&self, now: Timestamp) -> Option<Timestamp> {
        self.resting.filter(|until| *until > now)
    }

    /// Whether a chain that the issuer prefers, and that cannot be fetched for the moment, is waited for. What the CA gives
    /// first does as well, and is better than none.
    pub fn waits_for_a_chain(&self) -> bool {
        self.faults.saturating_add(self.refusals) < CHAIN_TRIES
    }

    /// Whether an order that is asked for in vain is given up. A CA that is down may have it when it is back, if the order
    /// lasts until then.
    pub fn is_lost(&self, wait: Wait, expires: Option<Timestamp>, now: Timestamp) -> bool {
        match wait {
            Wait::Missing if self.faults >= MISSED => true,
            Wait::Unknown if self.unknown >= UNKNOWN => true,
            Wait::Missing | Wait::Unknown | Wait::Fault => {
                expires.is_some_and(|end| now.duration_since(end) >= OUTLASTS)
            }
            _ => false,
        }
    }

    /// How long a CA that is at work is left alone, if it does not say.
    pub fn look(&self, now: Timestamp) -> Duration {
        if self.works_for(WORK, now) {
            return LOOK_LONG;
        }
        doubled(LOOK, self.looks.saturating_sub(1), LOOK_MOST)
    }

    /// Whether the CA has been at work for so long.
    pub fn works_for(&self, limit: SignedDuration, now: Timestamp) -> bool {
        let passed = self.working.map(|since| now.duration_since(since));
        passed.is_some_and(|passed| passed >= limit)
    }

    /// Whether a CA that makes the certificate is given up: not before the end of the order, which it says itself. Some take
    /// an hour and more when there is much to do, or wait for a human.
    pub fn is_given_up(&self, expires: Option<Timestamp>, now: Timestamp) -> bool {
        let is_past = expires.is_none_or(|end| end <= now);
        self.works_for(WORK, now) && is_past || self.works_for(WORK_MOST, now)
    }

    /// What is to be remembered after this answer, which leads to another look after `wake`.
    #[must_use]
    pub fn after(&self, heard: Heard, wake: Option<Duration>, now: Timestamp) -> Self {
        let resting = wake.and_then(|wake| now.checked_add(wake).ok());
        match heard {
            Heard::AtWork => Self {
                resting,
                working: self.working.or(Some(now)),
                looks: self.looks.saturating_add(1),
                mismatched: self.mismatched,
                ..Self::default()
            },
            Heard::Wait(wait) => {
                let is_fault = matches!(wait, Wait::Fault | Wait::Missing | Wait::Unknown);
                let next = |count: u32| count.saturating_add(1);
                let is_unknown = wait == Wait::Unknown;
                Self {
                    resting,
                    faults: if is_fault { next(self.faults) } else { 0 },
                    unknown: if is_unknown { next(self.unknown) } else { 0 },
                    refusals: if is_fault {
                        self.refusals
                    } else {
                        next(self.refusals)
                    },
                    ..self.clone()
                }
            }
            Heard::News | Heard::OtherKey => Self {
                mismatched: self.mismatched || heard == Heard::OtherKey,
                ..Self::default()
            },
        }
    }
}
