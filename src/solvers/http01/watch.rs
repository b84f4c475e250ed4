//! What is seen of a name after a CA has refused it: when it leads elsewhere, or another answer comes, what was wrong may
//! have been put right. The challenge itself is not answered any more by then, so that no answer is the right one.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::self_check::{Outcome, Reason};
use crate::dns::Caa;

/// How many looks in a row have to agree: a server that answers now and then is not to cost an attempt each time.
const TWICE: u32 = 2;
/// The same where one of several addresses has gone, and nothing else has changed: more than a resolver that is short of one
/// for a moment.
const GONE: u32 = 6;
/// The same where others have come: three minutes, which those do not stay that change all the time.
const SETTLED: u32 = 24;

/// What one look shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glimpse {
    /// Where the name leads; empty if that is not known.
    pub addresses: BTreeSet<IpAddr>,
    /// What comes from there.
    pub answer: Answer,
    /// The CAA records that count for the name, where the CA has refused it for those.
    pub caa: Option<BTreeSet<Caa>>,
}

/// The kind of an answer; nothing of what a server sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nobody is reached.
    Nobody,
    /// The same, which may be so for a moment.
    Silence,
    /// What comes from a solver that is just being taken away, or that has no way to it.
    Passing,
    /// Somebody who does not answer the challenge.
    Other(Reason),
}

impl Answer {
    /// Of a self-check.
    pub fn of(found: &Outcome) -> Self {
        match found {
            Outcome::Reachable | Outcome::NotYet(Reason::Status(500..=599)) => Self::Passing,
            // Pages are never twice of one length.
            Outcome::NotYet(Reason::OtherBody { .. }) => Self::Other(Reason::OtherBody {
                length: 0,
                more: false,
            }),
            Outcome::NotYet(reason) if reason.reached_a_server() => Self::Other(reason.clone()),
            Outcome::NotYet(Reason::TimedOut(_) | Reason::Broken) => Self::Silence,
            Outcome::NotYet(_) => Self::Nobody,
        }
    }

    fn is_somebody(&self) -> bool {
        !matches!(self, Self::Nobody | Self::Silence)
    }
}

/// What has changed between two looks.
enum Change {
    /// The answer, or the CAA records.
    Other,
    /// Addresses alone, in which so many looks have to agree.
    Addresses(u32),
}

impl Glimpse {
    /// Whether all is as there but the addresses.
    fn is_like(&self, other: &Self) -> bool {
        (&self.answer, &self.caa) == (&other.answer, &other.caa)
    }

    /// What has changed since; `None` if nothing has, or only for the worse.
    fn change_since(&self, before: &Self) -> Option<Change> {
        let caa = self.caa.as_ref().zip(before.caa.as_ref());
        if caa.is_some_and(|(now, before)| now != before) {
            return Some(Change::Other);
        }
        if !self.answer.is_somebody() {
            return None;
        }
        let is_another = match (&before.answer, &self.answer) {
            (Answer::Nobody | Answer::Silence, _) => true,
            (Answer::Other(before), Answer::Other(now)) => before != now,
            _ => false,
        };
        let are_known = !before.addresses.is_empty() && !self.addresses.is_empty();
        let has_gone = are_known && !before.addresses.is_subset(&self.addresses);
        let has_come = are_known && !self.addresses.is_subset(&before.addresses);
        match (is_another, has_gone, has_come) {
            (true, ..) => Some(Change::Other),
            (false, false, false) => None,
            (false, true, false) => Some(Change::Addresses(GONE)),
            _ => Some(Change::Addresses(SETTLED)),
        }
    }
}

/// What is seen of a name after a CA refused it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    /// When it refused, or at the first look after that.
    before: Option<Glimpse>,
    newest: Option<Glimpse>,
    /// How many looks in a row were as the newest, whatever their addresses.
    times: u32,
    /// How many with its addresses too.
    settled: u32,
}

impl Watch {
    /// Of what was seen before the CA was asked: whether anybody was reached.
    pub fn since(found: &Outcome) -> Self {
        let glimpse = Glimpse {
            addresses: BTreeSet::new(),
            answer: Answer::of(found),
            caa: None,
        };
        Self {
            before: (glimpse.answer == Answer::Nobody).then_some(glimpse),
            ..Self::default()
        }
    }

    /// Take note of a look; whether what it shows is another thing than at the refusal, and no worse.
    pub fn see(&mut self, now: Glimpse) -> bool {
        let newest = self.newest.replace(now.clone());
        let more = |times: u32, agrees: bool| if agrees { times.saturating_add(1) } else { 1 };
        let is_like = newest.as_ref().is_some_and(|newest| newest.is_like(&now));
        self.times = more(self.times, is_like);
        self.settled = more(self.settled, newest.as_ref() == Some(&now));
        let Some(before) = &mut self.before else {
            if now.answer != Answer::Silence || self.times >= TWICE {
                self.before = Some(now);
            }
            return false;
        };
        if before.answer == Answer::Passing && matches!(now.answer, Answer::Other(_)) {
            before.answer = now.answer.clone();
        }
        if before.caa.is_none() {
            before.caa.clone_from(&now.caa);
        }
        if before.addresses.is_empty() {
            before.addresses.clone_from(&now.addresses);
        }
        let has_changed = now.change_since(before).is_some_and(|change| match change {
            Change::Other => self.times >= TWICE,
            Change::Addresses(needed) => self.settled >= needed,
        });
        if has_changed {
            self.before = Some(now);
        }
        has_changed
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(addresses: &[&str], found: Result<(), Reason>) -> Glimpse {
        let addresses = addresses.iter().filter_map(|address| address.parse().ok());
        let found = found.map_or_else(Outcome::NotYet, |()| Outcome::Reachable);
        Glimpse {
            addresses: addresses.collect(),
            answer: Answer::of(&found),
            caa: None,
        }
    }

    /// At which of the looks, each taken so many times, a change is told.
    fn told(mut watch: Watch, looks: &[(Glimpse, usize)]) -> Vec<usize> {
        let all = looks
            .iter()
            .flat_map(|(look, times)| vec![look.clone(); *times]);
        let all = all.enumerate();
        all.filter_map(|(number, look)| watch.see(look).then_some(number))
            .collect()
    }

    #[test]
    #[allow(clippy::too_many_lines, reason = "a table")]
    fn a_name_that_leads_elsewhere_or_answers_otherwise_has_changed_once() {
        let status = |code| Err(Reason::Status(code));
        let page = |length| {
            let more = false;
            Err(Reason::OtherBody { length, more })
        };
        let (here, there) = (&["192.0.2.1"][..], &["192.0.2.2"][..]);
        let both = &["192.0.2.1", "2001:db8::1"][..];
        let slow = || Err(Reason::TimedOut(Duration::from_secs(5)));
        let cases = [
            // Another host, a rule that took everything, a redirect to a login.
            (
                vec![(at(there, page(9)), 3), (at(here, status(404)), 9)],
                vec![4],
            ),
            (
                vec![(at(here, page(9)), 1), (at(here, status(404)), 9)],
                vec![2],
            ),
            (
                vec![
                    (at(here, Err(Reason::BadRedirect(302))), 1),
                    (at(here, status(404)), 2),
                ],
                vec![2],
            ),
            // Nothing has changed, or for the worse.
            (vec![(at(here, page(9)), 2), (at(here, page(7)), 9)], vec![]),
            (
                vec![
                    (at(here, status(404)), 1),
                    (at(there, Err(Reason::Refused(80))), 99),
                ],
                vec![],
            ),
            // A wrong address beside a good one.
            (
                vec![(at(both, status(404)), 1), (at(here, status(404)), 9)],
                vec![6],
            ),
            // A resolver that is short of it for a moment, or does not say where the name leads.
            (
                vec![
                    (at(both, status(404)), 1),
                    (at(here, status(404)), 5),
                    (at(both, status(404)), 9),
                ],
                vec![],
            ),
            (
                vec![(at(&[], status(404)), 1), (at(here, status(404)), 60)],
                vec![],
            ),
            // Others each time, and another answer.
            (
                vec![
                    (at(here, page(9)), 1),
                    (at(there, status(404)), 1),
                    (at(both, status(404)), 1),
                ],
                vec![2],
            ),
            (
                vec![(at(both, status(404)), 1), (at(&[], status(404)), 9)],
                vec![],
            ),
            // Nothing but addresses: those of some hosts change all the time.
            (
                vec![(at(there, status(404)), 1), (at(here, status(404)), 23)],
                vec![],
            ),
            (
                vec![(at(there, status(404)), 1), (at(here, status(404)), 60)],
                vec![24],
            ),
            (
                vec![
                    (at(there, status(404)), 12),
                    (at(here, status(404)), 12),
                    (at(there, status(404)), 12),
                ],
                vec![],
            ),
            // Nobody was there; a look or two of our own got no answer.
            (
                vec![
                    (at(&[], Err(Reason::Unresolved)), 1),
                    (at(here, status(404)), 9),
                ],
                vec![2],
            ),
            (
                vec![(at(here, slow()), 2), (at(here, status(503)), 9)],
                vec![3],
            ),
            (
                vec![(at(here, slow()), 1), (at(here, status(404)), 9)],
                vec![],
            ),
            (
                vec![
                    (at(here, status(404)), 1),
                    (at(here, slow()), 1),
                    (at(here, status(404)), 9),
                ],
                vec![],
            ),
            // It answers now and then.
            (
                vec![[(at(here, page(9)), 1), (at(here, status(404)), 1)]; 9].concat(),
                vec![],
            ),
            // The solver that was, until its Ingress has gone.
            (
                vec![
                    (at(here, Ok(())), 3),
                    (at(here, status(503)), 3),
                    (at(here, status(404)), 9),
                ],
                vec![],
            ),
            (
                vec![
                    (at(here, status(503)), 1),
                    (at(here, status(404)), 2),
                    (at(here, page(9)), 2),
                ],
                vec![4],
            ),
        ];
        for (looks, expected) in cases {
            assert_eq!(told(Watch::default(), &looks), expected, "{looks:?}");
        }
    }

    #[test]
    fn other_caa_records_are_a_change_whoever_answers() {
        let look = |caa: Option<&str>| {
            let record = |value: &str| Caa {
                flags: 0,
                tag: "issue".to_owned(),
                value: value.to_owned(),
            };
            let caa = caa.map(|values| values.split_terminator(' ').map(record).collect());
            let look = at(&["192.0.2.1"], Err(Reason::Refused(80)));
            (Glimpse { caa, ..look }, 2)
        };
        let (other, none) = (look(Some("other")), look(Some("")));
        let looks = [look(None), other.clone(), look(None), none.clone(), none];
        assert_eq!(told(Watch::default(), &looks), [7]);
        assert_eq!(told(Watch::default(), &[other.clone(), other]), [0; 0]);
    }

    #[test]
    fn what_reached_nobody_before_the_refusal_is_remembered() {
        let after = || vec![(at(&["192.0.2.1"], Err(Reason::Status(404))), 9)];
        let since = |reason| Watch::since(&Outcome::NotYet(reason));
        assert_eq!(told(since(Reason::Refused(80)), &after()), [1]);
        for reason in [
            Reason::Status(404),
            Reason::TimedOut(Duration::from_secs(5)),
        ] {
            assert_eq!(told(since(reason), &after()), [0; 0]);
        }
    }
}
