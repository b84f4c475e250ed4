//! One turn of a rotation: given the CA of now and the certificates as they are, what is done next and
//! when to look again.

use std::time::Duration;

use jiff::Timestamp;

use super::{Known, Leaf, Phase, Place, Rotation, Signing, merged, split};
use crate::api::duration::parse_go_duration;
use crate::api::issuer::CaRotation;
use crate::controllers::facts::{ca_digest, trust_digest};
use crate::controllers::status::seconds;

/// How long a wave is waited for. What has not come by then is not forgotten, but others get their turn.
const PATIENCE: Duration = Duration::from_mins(5);
/// When to look again at a wave that is under way.
const SOON: Duration = Duration::from_secs(1);
/// When to look again at certificates that do not follow.
const LATER: Duration = Duration::from_secs(30);
/// Roots of CAs that came and went during one rotation; more are dropped, oldest first. Each Secret keeps
/// that of its own certificate all the same.
const MOST_ROOTS: usize = 8;

/// How fast a rotation goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Secrets of one issuer that are written within a minute.
    pub rate: u32,
    /// How many at once: a wave.
    pub parallelism: usize,
}

impl Pace {
    /// The least time from one wave to the next.
    fn interval(self) -> Duration {
        let wave = u32::try_from(self.parallelism).unwrap_or(u32::MAX);
        Duration::from_mins(1).saturating_mul(wave) / self.rate.max(1)
    }
}

/// The terms of an issuer's rotations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How fast.
    pub pace: Pace,
    /// How long all trust the new root before the first certificate of it.
    pub trust_ahead: Duration,
    /// How long all trust the old root after the last certificate of it.
    pub overlap: Duration,
}

impl Terms {
    /// What the issuer says, with the defaults for what it does not.
    pub fn of(spec: &CaRotation, pace: Pace) -> Self {
        let time = |text: &Option<String>, default| {
            let given = text.as_deref().map(parse_go_duration);
            let given = given.and_then(|given| Duration::try_from(given.ok()?).ok());
            given.unwrap_or(default)
        };
        Self {
            pace,
            trust_ahead: time(&spec.trust_ahead, Duration::from_mins(10)),
            overlap: time(&spec.overlap, Duration::from_hours(24)),
        }
    }
}

/// What becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// What the status is to say.
    pub known: Known,
    /// When to look again.
    pub wake: Option<Duration>,
    /// The earliest time of the next wave or phase.
    pub next: Option<Timestamp>,
}

/// One turn. `known` is what the status says, if anything yet.
pub fn advance(
    known: Option<&Known>,
    now_signing: &Signing,
    leaves: &[Leaf],
    terms: &Terms,
    now: Timestamp,
) -> Turn {
    let mut known = match known {
        Some(known) if known.authority == now_signing.authority => known.with(&now_signing.root),
        Some(known) => return begin(now_signing, &known.roots, leaves, now),
        None => {
            // By name and key, as ever: one that was renewed with its key has other bytes.
            let current = trust_digest(now_signing.root.as_bytes());
            if leaves.iter().any(|leaf| leaf.trust != current) {
                // The CA was replaced before anybody asked for rotations.
                return begin(now_signing, "", leaves, now);
            }
            return Turn {
                known: Known {
                    authority: now_signing.authority.clone(),
                    roots: now_signing.root.clone(),
                    rotation: None,
                },
                wake: None,
                next: None,
            };
        }
    };
    let wake = known.sweep(leaves, terms, now);
    let next = known.rotation.as_ref().map(|rotation| rotation.next(terms));
    Turn { known, wake, next }
}

/// Another CA is there: from now on all are to trust its root too.
fn begin(signing: &Signing, roots: &str, leaves: &[Leaf], now: Timestamp) -> Turn {
    let roots = merged(&signing.root, roots.as_bytes());
    let roots = split(roots.as_bytes()).into_iter().take(MOST_ROOTS);
    // Certificates know whole seconds only: what was signed within this one may be of the old CA.
    let started = now.checked_add(Duration::from_secs(1)).unwrap_or(now);
    let mut rotation = Rotation {
        phase: Phase::Trusting,
        started: seconds(started).0,
        since: seconds(now).0,
        wave: None,
        reached: None,
        certificates: leaves.len(),
        done: 0,
    };
    rotation.enter(Phase::Trusting, leaves.len(), now);
    Turn {
        known: Known {
            authority: signing.authority.clone(),
            roots: roots.collect(),
            rotation: Some(rotation),
        },
        wake: Some(Duration::ZERO),
        next: None,
    }
}

/// What comes of looking at a sweep.
enum Sweep {
    /// Nothing, until then.
    Wait(Duration),
    /// All had their turn, and the rest does not follow yet.
    Stuck,
    /// The next wave begins.
    Wave(Place),
    /// Each certificate had its turn, and is done or given up for this phase.
    Over,
}

impl Known {
    /// The same CA, whose root may have been renewed with its key.
    fn with(&self, root: &str) -> Self {
        let mut known = self.clone();
        if !known.roots.starts_with(root) {
            let one = known
                .rotation
                .as_ref()
                .is_none_or(|rotation| rotation.phase == Phase::Retiring);
            known.roots = if one {
                root.to_owned()
            } else {
                merged(root, known.roots.as_bytes())
            };
        }
        known
    }

    /// As far as it goes now; when to look again, unless it is over.
    fn sweep(&mut self, leaves: &[Leaf], terms: &Terms, now: Timestamp) -> Option<Duration> {
        loop {
            let digest = ca_digest(self.roots.as_bytes());
            // Another CA below the same root: nobody has to learn or to unlearn anything.
            let same_root = split(self.roots.as_bytes()).len() < 2
                && leaves.iter().all(|leaf| leaf.ca == digest);
            let rotation = self.rotation.as_mut()?;
            let ahead = match rotation.phase {
                Phase::Reissuing if !same_root => terms.trust_ahead,
                _ => Duration::ZERO,
            };
            if rotation.phase == Phase::Overlapping {
                let overlap = if same_root {
                    Duration::ZERO
                } else {
                    terms.overlap
                };
                let end = after(rotation.since, overlap);
                if leaves.iter().any(|leaf| rotation.is_old(leaf)) {
                    rotation.enter(Phase::Reissuing, leaves.len(), now);
                } else if now < end {
                    return Some(between(now, end));
                } else {
                    self.roots = split(self.roots.as_bytes()).into_iter().take(1).collect();
                    rotation.enter(Phase::Retiring, leaves.len(), now);
                }
                continue;
            }
            match rotation.look(leaves, digest, terms.pace, ahead, now) {
                Sweep::Wait(time) => return Some(time),
                Sweep::Stuck => {
                    rotation.count(leaves, digest);
                    return Some(LATER);
                }
                Sweep::Wave(last) => {
                    rotation.count(leaves, digest);
                    rotation.reached = Some(last);
                    rotation.wave = Some(seconds(now).0);
                    return Some(SOON);
                }
                Sweep::Over => match rotation.phase {
                    Phase::Trusting => rotation.enter(Phase::Reissuing, leaves.len(), now),
                    Phase::Reissuing => rotation.enter(Phase::Overlapping, leaves.len(), now),
                    // Somebody has put an old one back.
                    _ if leaves.iter().any(|leaf| rotation.is_old(leaf)) => {
                        rotation.enter(Phase::Reissuing, leaves.len(), now);
                    }
                    _ => self.rotation = None,
                },
            }
        }
    }
}

impl Rotation {
    fn enter(&mut self, phase: Phase, certificates: usize, now: Timestamp) {
        self.phase = phase;
        self.since = seconds(now).0;
        self.wave = None;
        self.reached = None;
        self.certificates = certificates;
        self.done = 0;
    }

    fn count(&mut self, leaves: &[Leaf], roots: u32) {
        let is_done = |leaf: &&Leaf| !self.is_wanted(leaf, roots);
        self.done = leaves.iter().filter(is_done).count();
        self.certificates = leaves.len();
    }

    fn next(&self, terms: &Terms) -> Timestamp {
        match (self.phase, self.wave) {
            (_, Some(wave)) => after(wave, terms.pace.interval()),
            (Phase::Reissuing, None) => after(self.since, terms.trust_ahead),
            (Phase::Overlapping, None) => after(self.since, terms.overlap),
            _ => self.since,
        }
    }

    fn look(
        &self,
        leaves: &[Leaf],
        roots: u32,
        pace: Pace,
        ahead: Duration,
        now: Timestamp,
    ) -> Sweep {
        let wanted = leaves.iter().filter(|leaf| self.is_wanted(leaf, roots));
        let (asked, mut rest): (Vec<&Leaf>, Vec<&Leaf>) =
            wanted.partition(|leaf| self.reached.as_ref() >= Some(&leaf.place));
        let overdue = self.wave.is_some_and(|wave| now >= after(wave, PATIENCE));
        let is_awaited = |leaf: &&Leaf| self.phase != Phase::Reissuing || !leaf.stuck;
        let under_way = !overdue && asked.iter().any(is_awaited);
        if rest.is_empty() {
            let over = match self.phase {
                // The old root stays for as long as one certificate is of it.
                Phase::Reissuing => asked.is_empty(),
                _ => !under_way,
            };
            return match (over, under_way) {
                (true, _) => Sweep::Over,
                (_, true) => Sweep::Wait(SOON),
                _ => Sweep::Stuck,
            };
        }
        let first = after(self.since, ahead);
        let next = self.wave.map_or(first, |wave| after(wave, pace.interval()));
        if now < next {
            return Sweep::Wait(between(now, next));
        }
        if under_way {
            return Sweep::Wait(SOON);
        }
        rest.sort_by(|a, b| a.place.cmp(&b.place));
        let last = rest.iter().take(pace.parallelism.max(1)).next_back();
        last.map_or(Sweep::Over, |leaf| Sweep::Wave(leaf.place.clone()))
    }
}

fn after(time: Timestamp, wait: Duration) -> Timestamp {
    time.checked_add(wait).unwrap_or(Timestamp::MAX)
}

fn between(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or_default()
}
