//! How many requests a Certificate may make in a time. A writer that fights over the Secret, an issuer
//! that answers with something else than was asked for, a spec that changes every second: each would
//! otherwise make requests without end, and use up a CA's limits for everybody.
//!
//! Each CertificateRequest carries the times of those that count, its own included, so that a restart
//! forgets none. The process counts each from its creation, seen or not, and what somebody deletes is
//! remembered until the next request lists it. A renewal on schedule does not count: the certificate has
//! lived for most of its time.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::Observation;
use super::policy::{CA_ROTATED, Violation};
use crate::controllers::facts::Made;
use crate::explain::Verdict;

const HOUR: SignedDuration = SignedDuration::from_hours(1);
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// Requests of one Certificate that may be open at once.
const OPEN: usize = 3;

/// The most requests in a time; 0 for no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Within an hour.
    pub hour: usize,
    /// Within a day, for one spec: a change of it by a person begins anew.
    pub day: usize,
}

/// Why a request has to wait.
#[derive(Debug, PartialEq, Eq)]
pub struct Spent {
    /// When there is room again.
    pub until: Timestamp,
    /// Which bound is reached.
    pub bound: String,
}

/// The requests that count, by what is known now.
pub fn made(o: &Observation, now: Timestamp) -> BTreeSet<Made> {
    let all = o.requests.iter().flat_map(|r| r.made.iter().copied());
    let all = all.chain(o.unlisted.iter().copied());
    all.filter(|m| m.at <= now && now.duration_since(m.at) < DAY)
        .collect()
}

/// Whether there is room for one more.
pub fn check(
    budget: Budget,
    made: &BTreeSet<Made>,
    generation: i64,
    now: Timestamp,
) -> Option<Spent> {
    let within_hour = made.iter().filter(|m| now.duration_since(m.at) < HOUR);
    let of_this_spec = made.iter().filter(|m| m.generation == generation);
    let hour = "an hour (--certificate-requests-per-hour)";
    let day = "a day (--certificate-requests-per-day)";
    let bounds = [
        (oldest(within_hour, budget.hour), HOUR, budget.hour, hour),
        (oldest(of_this_spec, budget.day), DAY, budget.day, day),
    ];
    let spent = bounds.into_iter().filter_map(|(oldest, time, most, what)| {
        Some(Spent {
            until: oldest?.checked_add(time).ok()?,
            bound: format!("{most} requests were made within {what}"),
        })
    });
    spent.max_by_key(|s| s.until)
}

/// What begins the addition to a message.
const NOTE: &str = " Waiting:";

impl Spent {
    /// What is reached and when there is room again. `writer` is the field manager that wrote the Secret's data after this
    /// operator.
    pub fn text(&self, writer: Option<&str>) -> String {
        let rival = writer.map(|writer| {
            format!(" \"{writer}\" (a field manager) writes the data of the Secret too: let one of the two do it.")
        });
        let (bound, until) = (&self.bound, self.until);
        format!(
            "{bound}; the next one is made at {until:.0}.{}",
            rival.unwrap_or_default()
        )
    }
}

/// The message of a condition while it waits; one that says so already is brought up to date.
pub fn note(why: &str, waits_for: &Verdict) -> String {
    let why = unnoted(why);
    let stop = if why.is_empty() || why.ends_with('.') {
        ""
    } else {
        "."
    };
    format!("{why}{stop}{NOTE} {waits_for}")
}

/// The message of a condition that does not wait any more.
pub fn unnoted(message: &str) -> &str {
    message.split(NOTE).next().unwrap_or_default()
}

/// That too many requests are open already, if so, and which.
pub fn too_many_open(o: &Observation) -> Option<String> {
    let open = o
        .requests
        .iter()
        .filter(|r| !r.is_final() && !r.is_stalled());
    let names: Vec<_> = open.map(|r| format!("\"{}\"", r.id.name)).collect();
    (names.len() >= OPEN).then(|| {
        format!(
            "{} requests are open: CertificateRequests {}. The next one is made when one of them has ended: see why none \
             does, or delete those that nobody needs.",
            names.len(),
            names.join(", ")
        )
    })
}

/// The request that has to become old for one more: the `most`-th of the newest.
fn oldest<'a>(made: impl DoubleEndedIterator<Item = &'a Made>, most: usize) -> Option<Timestamp> {
    made.rev().nth(most.checked_sub(1)?).map(|m| m.at)
}

/// Whether this issuance is a renewal whose time has come, of a certificate that came long ago: an
/// issuer whose certificates are always due would make one without end.
pub fn is_on_schedule(o: &Observation, violation: Option<&Violation>, now: Timestamp) -> bool {
    let (Some(leaf), Some(request)) = (o.leaf(), o.current_request()) else {
        return false;
    };
    let half = leaf.not_after.duration_since(leaf.not_before) / 2;
    violation.is_some_and(|v| v.reason == "Renewing")
        && now.duration_since(request.id.created) >= half
}

/// Whether this issuance is the one that a rotation of the CA asks for: none of the user's doing. Once for
/// each rotation, so that a clock that is set back makes no requests without end.
pub fn is_of_rotation(o: &Observation, violation: Option<&Violation>) -> bool {
    let Some(rotation) = &o.rotation else {
        return false;
    };
    let is_first = o
        .current_request()
        .is_none_or(|request| request.id.created < rotation.started);
    violation.is_some_and(|v| v.reason == CA_ROTATED) && is_first
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BUDGET: Budget = Budget { hour: 6, day: 20 };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap_or_default()
    }

    fn requests(times: &[(i64, i64)]) -> BTreeSet<Made> {
        let made = |(second, generation): &(i64, i64)| Made {
            at: at(*second),
            generation: *generation,
        };
        times.iter().map(made).collect()
    }

    #[test]
    fn six_an_hour_whatever_the_spec() {
        let made = requests(&[(0, 1), (10, 1), (20, 2), (30, 2), (40, 3)]);
        assert_eq!(check(BUDGET, &made, 3, at(50)), None);
        let made = requests(&[(0, 1), (10, 1), (20, 2), (30, 2), (40, 3), (50, 4)]);
        let spent = check(BUDGET, &made, 9, at(60)).map(|s| (s.until, s.bound));
        let text = "6 requests were made within an hour (--certificate-requests-per-hour)";
        assert_eq!(spent, Some((at(3600), text.into())));
        assert_eq!(check(BUDGET, &made, 9, at(3600)), None);
    }

    #[test]
    fn twenty_a_day_for_one_spec() {
        let times: Vec<_> = (0..20).map(|n| (n * 3000, 1)).collect();
        let made = requests(&times);
        let now = at(20 * 3000 + 3600);
        assert_eq!(
            check(BUDGET, &made, 1, now).map(|s| s.until),
            Some(at(86_400))
        );
        assert_eq!(
            check(BUDGET, &made, 2, now),
            None,
            "a person has changed the spec"
        );
    }

    #[test]
    fn zero_is_no_bound() {
        let made = requests(&(0..100).map(|n| (n, 1)).collect::<Vec<_>>());
        assert_eq!(check(Budget { hour: 0, day: 0 }, &made, 1, at(100)), None);
    }

    proptest! {
        /// Whoever asks whenever, and waits when told to, never has more than the bounds in any window.
        #[test]
        fn no_window_holds_more_than_the_budget(steps in proptest::collection::vec((0_i64..4000, 1_i64..4), 1..120)) {
            let mut made = BTreeSet::new();
            let mut now = 0;
            for (step, generation) in steps {
                now += step;
                if check(BUDGET, &made, generation, at(now)).is_none() {
                    made.insert(Made { at: at(now), generation });
                }
            }
            for first in &made {
                let within = |time| made.iter().filter(move |m| m.at >= first.at && m.at.duration_since(first.at) < time);
                prop_assert!(within(HOUR).count() <= BUDGET.hour);
                prop_assert!(within(DAY).filter(|m| m.generation == first.generation).count() <= BUDGET.day);
            }
        }
    }
}
