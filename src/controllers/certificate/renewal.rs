//! When a certificate is renewed, and when a failed one is tried again (contract §4.2).

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::suggestion::{Suggestion, drawn};
use super::window::{place, windows};
use crate::acme::limits::{refusal_delay, within_a_share};
use crate::api::CertificateSpec;
use crate::api::duration::parse_go_duration;
use crate::controllers::facts::LeafFact;

/// When a certificate is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewal {
    /// In whole seconds.
    pub at: Timestamp,
    /// No window of the spec opens between the time when it should be renewed and its expiry. Then it is
    /// renewed outside: a certificate that expires helps nobody.
    pub misses_windows: bool,
    /// Whose time it is.
    pub by: By,
}

/// Who chose the time of a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The spec, or what holds without a word of it.
    Spec,
    /// The CA: within its window.
    Window,
    /// The CA: at once.
    Demand,
}

/// When a certificate with this validity is due; `None` when renewal is disabled.
///
/// `renewBefore` counts if it is shorter than the certificate's own lifetime, then
/// `renewBeforePercentage` within 1..=99, else two thirds of the lifetime. If that falls in no window of
/// the spec, it is when the next one opens.
///
/// What the CA suggests can bring that forward and never put it off: the time of the spec is a promise to whoever wrote it,
/// so that no other rule is needed near the end of a lifetime. The point is drawn from the part of the CA's window that lies
/// before that time, since half a fleet would meet at that very time otherwise. Windows of the spec count for it as well.
/// A window of the CA that was over when it was named means that the certificate is revoked, or will be: then at once, and
/// no window of the spec is waited for. Who disabled renewals has none even then: contract §4.2 has no exception.
///
/// Without a suggestion the time is exactly the contract's: clients compare it with what cert-manager shows. See [`delay`]
/// for when the renewal begins then.
pub fn renewal(
    spec: &CertificateSpec,
    not_before: Timestamp,
    not_after: Timestamp,
    suggestion: Option<Suggestion<'_>>,
) -> Option<Renewal> {
    let limit = desired_time(spec, not_before, not_after)?;
    let earlier = suggestion.filter(|suggestion| suggestion.start < limit);
    let (desired, by) = match earlier {
        None => (limit, By::Spec),
        Some(suggestion) if suggestion.is_urgent() => {
            return Some(Renewal {
                at: suggestion.drawn(limit),
                misses_windows: false,
                by: By::Demand,
            });
        }
        Some(suggestion) => (suggestion.drawn(limit), By::Window),
    };
    // A window that cannot be read is refused before anything is renewed.
    let windows = windows(spec).unwrap_or_default();
    let placed = if windows.is_empty() {
        Some(desired)
    } else {
        place(&windows, desired, not_after)
    };
    Some(Renewal {
        at: placed.unwrap_or(desired),
        misses_windows: placed.is_none(),
        by,
    })
}

/// The longest time by which a renewal is put off so that a fleet does not come at once.
const LONGEST_DELAY: SignedDuration = SignedDuration::from_hours(1);

/// How long after its time the renewal of a certificate of an ACME CA begins that has named no time of its own: what was
/// issued in one minute would come back in one minute otherwise, and wait for the CA's limits.
///
/// Drawn by a digest, so that it is the same in each replica and after each restart, from whichever is least of an hour, of
/// the hundredth part of the time that the certificate was in use, and of half of what is left of it. None for one that is
/// renewed within a day, as whoever looks on has it, and where the spec has windows, since one could be missed.
pub fn delay(spec: &CertificateSpec, leaf: &LeafFact, due: &Renewal) -> SignedDuration {
    let used = due.at.duration_since(leaf.not_before);
    let is_exact = due.by != By::Spec
        || used < SignedDuration::from_hours(24)
        || windows(spec).is_ok_and(|windows| !windows.is_empty());
    if is_exact {
        return SignedDuration::ZERO;
    }
    let left = leaf.not_after.duration_since(due.at);
    let span = (used / 100).min(left / 2).min(LONGEST_DELAY);
    let text = format!("{:x} {}", leaf.public, leaf.not_after.as_second());
    SignedDuration::from_secs(drawn(&text, span.as_secs()))
}

fn desired_time(
    spec: &CertificateSpec,
    not_before: Timestamp,
    not_after: Timestamp,
) -> Option<Timestamp> {
    let disabled = spec
        .renewal
        .as_ref()
        .is_some_and(|r| r.policy.as_deref() == Some("Disabled"));
    if disabled {
        return None;
    }
    let lifetime = not_after.duration_since(not_before);
    let before = spec
        .renew_before
        .as_deref()
        .and_then(|text| parse_go_duration(text).ok());
    let before = before.filter(|b| b.is_positive() && *b < lifetime);
    let percentage = spec
        .renew_before_percentage
        .filter(|p| (1..=99).contains(p));
    let early = match (before, percentage) {
        (Some(before), _) => before,
        (None, Some(percentage)) => share(lifetime, percentage, 100),
        (None, None) => share(lifetime, 1, 3),
    };
    let due = not_after.checked_sub(early).ok()?;
    Timestamp::from_second(due.as_second()).ok()
}

fn share(lifetime: SignedDuration, part: i32, whole: i32) -> SignedDuration {
    let millis = lifetime.as_millis() * i128::from(part) / i128::from(whole);
    SignedDuration::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}

/// The wait after the n-th failure in a row: `first`, doubled each time, at most `last`.
pub fn failure_delay(attempts: i64, first: Duration, last: Duration) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1).max(0)).unwrap_or(u32::MAX);
    let factor = 1_u32.checked_shl(doublings.min(31)).unwrap_or(u32::MAX);
    first.checked_mul(factor).unwrap_or(last).min(last)
}

/// The wait after the n-th failure in a row that a public CA may lift by itself: in steps of its own, and never beyond a
/// tenth of what is `left` of the certificate in use.
pub fn refused_delay(attempts: i64, left: Option<Duration>) -> Duration {
    let refusals = u32::try_from(attempts).unwrap_or(u32::MAX);
    within_a_share(refusal_delay(refusals), left)
}

/// The wait after the n-th failure in a row once its cause has changed: a second, five times as long
/// each time. Times in the API are whole seconds: with less than one, the new request could not be told
/// from the failed one. With many, a cause that comes and goes does not use up the CA's limits.
pub fn fresh_delay(attempts: i64) -> Duration {
    let steps = u32::try_from(attempts.saturating_sub(1).max(0)).unwrap_or(u32::MAX);
    Duration::from_secs(5_u64.saturating_pow(steps.min(8)))
}
