//! What the ledger answers.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::rate::Rate;
use super::scope::Scope;

/// Whether an Order may be sent to its CA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// Now.
    Go,
    /// When others of the account have come to their end, or at that time: so many are under way already.
    Behind(Option<Timestamp>),
    /// When another one of the account for the same names has come to its end, or at that time.
    Twin(Timestamp),
    /// The CA would refuse it.
    Wait(Slot),
}

/// Why, and until when, a CA is not asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// When it is this one's turn, as far as can be said; to ask again then.
    pub until: Timestamp,
    /// The same, as it was said first: it moves with what others do, and is said again only when it is far off.
    pub told: Timestamp,
    /// The bucket that is empty.
    pub scope: Scope,
    /// What the CA allows of it, if that is known.
    pub rate: Option<Rate>,
    /// The CA's own words, if it has refused.
    pub words: Option<Arc<str>>,
}

/// `next slot 2026-11-28 14:32 UTC: 5 a week for this exact set`.
impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.told.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M");
        write!(f, "next slot {time} UTC: ")?;
        if let Some(rate) = self.rate {
            write!(f, "{rate} ")?;
        }
        f.write_str(&self.scope.words())?;
        match &self.words {
            Some(words) => write!(f, "; the CA said: {words}"),
            None => Ok(()),
        }
    }
}
