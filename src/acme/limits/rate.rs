//! Buckets of tokens that refill evenly, told by one time each (GCRA), as Let's Encrypt's limiter has them.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// So many within so long: the size of a bucket, and the time in which an empty one is full again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    count: u32,
    period: Duration,
}

impl Rate {
    /// `None` unless both are more than nothing.
    pub const fn new(count: u32, period: Duration) -> Option<Self> {
        if count == 0 || period.is_zero() {
            return None;
        }
        Some(Self { count, period })
    }

    /// The time in which one token comes back.
    pub fn interval(self) -> SignedDuration {
        signed(self.period) / i32::try_from(self.count).unwrap_or(i32::MAX)
    }

    /// The time in which an empty bucket is full: a whole number of intervals.
    fn whole(self) -> SignedDuration {
        self.interval() * i32::try_from(self.count).unwrap_or(i32::MAX)
    }
}

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
const WEEK: u64 = 7 * DAY;

/// As people say it: `5 a week`, `300 in 3h`.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.count;
        match self.period.as_secs() {
            1 => write!(f, "{count} a second"),
            60 => write!(f, "{count} a minute"),
            HOUR => write!(f, "{count} an hour"),
            DAY => write!(f, "{count} a day"),
            WEEK => write!(f, "{count} a week"),
            s if s % DAY == 0 => write!(f, "{count} in {}d", s / DAY),
            s if s % HOUR == 0 => write!(f, "{count} in {}h", s / HOUR),
            s if s % 60 == 0 => write!(f, "{count} in {}m", s / 60),
            s => write!(f, "{count} in {s}s"),
        }
    }
}

/// A bucket. A new one is full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bucket {
    /// When it is full again, if nothing more is taken; full when that is past. GCRA's theoretical arrival time.
    pub full_at: Timestamp,
    /// Tokens that will be taken, and are not yet: the CA counts a certificate when it is issued, not when it is ordered.
    pub reserved: u32,
}

impl Bucket {
    /// When there is a token that nobody has reserved: now or before, if there is one.
    pub fn next(&self, rate: Rate, now: Timestamp) -> Timestamp {
        let taken = i32::try_from(self.reserved.saturating_add(1)).unwrap_or(i32::MAX);
        let full = later(self.full_at.max(now), rate.interval().saturating_mul(taken));
        later(full, -rate.whole())
    }

    /// Tokens that are there and not reserved.
    pub fn left(&self, rate: Rate, now: Timestamp) -> u32 {
        let missing = self.full_at.max(now).duration_since(now);
        let there =
            rate.whole().saturating_sub(missing).as_nanos() / rate.interval().as_nanos().max(1);
        let there = u32::try_from(there.max(0)).unwrap_or(u32::MAX);
        there.saturating_sub(self.reserved)
    }

    /// A token was taken at that time, whether there was one or not.
    pub fn take(&mut self, rate: Rate, at: Timestamp) {
        self.full_at = later(self.full_at.max(at), rate.interval());
    }

    /// The CA has said that the next token is there at that time, and not before.
    pub fn learn(&mut self, rate: Rate, next: Timestamp) {
        let full = later(next, rate.whole().saturating_sub(rate.interval()));
        self.full_at = self.full_at.max(full);
    }
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

/// That much later; the end of time at most.
pub fn later(time: Timestamp, by: SignedDuration) -> Timestamp {
    let end = if by.is_negative() {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    };
    time.checked_add(by).unwrap_or(end)
}
