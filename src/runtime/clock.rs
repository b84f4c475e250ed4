//! The only place that reads a clock; everything below takes `now` as an argument.
#![allow(
    clippy::disallowed_methods,
    reason = "this module is what the others call instead"
)]

use std::time::Instant;

use jiff::Timestamp;

/// The wall clock.
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// The monotonic clock, for deadlines and back-offs.
pub fn monotonic() -> Instant {
    Instant::now()
}
