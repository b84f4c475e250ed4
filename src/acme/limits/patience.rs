//! How long a CA is left alone that refuses and does not say until when.

use std::time::Duration;

/// The least.
const LEAST: Duration = Duration::from_mins(1);

/// The wait after so many refusals in a row: Let's Encrypt's integration guide asks for no more than this, and pauses who does not
/// keep to it.
pub fn refusal_delay(refusals: u32) -> Duration {
    match refusals {
        0 | 1 => LEAST,
        2 => Duration::from_mins(10),
        3 => Duration::from_mins(100),
        _ => Duration::from_hours(24),
    }
}

/// This wait, but never beyond a tenth of what is `left` of the certificate in use; without one, the wait.
pub fn within_a_share(wait: Duration, left: Option<Duration>) -> Duration {
    left.map_or(wait, |left| wait.min((left / 10).max(LEAST)))
}
