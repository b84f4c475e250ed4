//! Conditions as the contract sets them: the transition time moves only when the status flips, and a
//! status is written only when something else than a time differs.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::meta::Condition;

/// The least wait of [`backoff`].
const FIRST_WAIT: Duration = Duration::from_secs(5);

/// A condition without its transition time.
pub fn condition(
    kind: &str,
    status: bool,
    reason: &str,
    message: impl Into<String>,
    generation: Option<i64>,
) -> Condition {
    Condition {
        type_: kind.into(),
        status: if status { "True" } else { "False" }.into(),
        reason: Some(reason.into()),
        message: Some(message.into()),
        last_transition_time: None,
        observed_generation: generation,
    }
}

/// Put `new` into the list; whether that changed anything but a time.
pub fn set_condition(list: &mut Vec<Condition>, mut new: Condition, now: Timestamp) -> bool {
    let Some(old) = list.iter_mut().find(|c| c.type_ == new.type_) else {
        new.last_transition_time = Some(seconds(now));
        list.push(new);
        return true;
    };
    new.last_transition_time = if old.status == new.status && old.last_transition_time.is_some() {
        old.last_transition_time.clone()
    } else {
        Some(seconds(now))
    };
    let changed = *old != new;
    *old = new;
    changed
}

/// Take a condition out of the list; whether it was there.
pub fn remove_condition(list: &mut Vec<Condition>, kind: &str) -> bool {
    let before = list.len();
    list.retain(|c| c.type_ != kind);
    before != list.len()
}

/// A time as the API stores it: whole seconds.
pub fn seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

/// How long to wait before another try of what has failed since this condition does not hold: as long as that is ago, so
/// that the waits double, without anything to remember. Seconds at first, at most `most`.
pub fn backoff(failed: Option<&Condition>, now: Timestamp, most: Duration) -> Duration {
    let since = failed.and_then(|c| c.last_transition_time.as_ref());
    let passed = since.map(|Time(since)| now.duration_since(*since));
    let passed = passed.and_then(|passed| Duration::try_from(passed).ok());
    passed.unwrap_or_default().clamp(FIRST_WAIT, most)
}

/// `first`, doubled this many times, at most `most`.
pub fn doubled(first: Duration, times: u32, most: Duration) -> Duration {
    let factor = 1_u32.checked_shl(times.min(16)).unwrap_or(u32::MAX);
    first.saturating_mul(factor).min(most)
}

/// This wait, or up to a half longer: those whom a CA has turned away at once do not all come back at once. By how much is as
/// good as random, as `now` is the time of an answer to a fraction of a millisecond.
pub fn spread(wait: Duration, now: Timestamp) -> Duration {
    let fraction = now.subsec_microsecond().unsigned_abs() % 1000;
    wait.saturating_add(wait.saturating_mul(fraction) / 2000)
}

/// When a CA is looked at again that has been at work since then and asks for this wait. A minute is always granted, and
/// more no longer than it has taken so far: `ZeroSSL` asks for a day, of what it is done with in seconds.
pub fn granted(asked: Duration, since: Option<Timestamp>, now: Timestamp) -> Duration {
    let passed = since.map(|since| now.duration_since(since));
    let passed = passed.and_then(|passed| Duration::try_from(passed).ok());
    asked.min(passed.unwrap_or_default().max(Duration::from_mins(1)))
}

/// The condition of that type, if there is one.
pub fn find<'a>(list: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    list.iter().find(|c| c.type_ == kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_were_turned_away_together_come_back_one_after_the_other() {
        let five = Duration::from_secs(5);
        let back = |nanoseconds| spread(five, Timestamp::constant(1_800_000_000, nanoseconds));
        assert_eq!(back(0), five);
        assert_eq!(back(7_000_000), five);
        assert_eq!(back(7_500_000), Duration::from_millis(6250));
        assert_eq!(back(999_999_999), Duration::from_micros(7_497_500));
    }
}
