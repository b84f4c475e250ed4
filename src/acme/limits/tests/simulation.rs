//! A day at Let's Encrypt with its production limits, against a limiter written after Boulder's (`ratelimits/`), which
//! knows nothing of ours.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::sync::LazyLock;

use super::*;

const DOMAINS: usize = 40;
const NAMES: usize = 3000;
const DAY: i64 = 24 * 3600 * 1000;

/// Times in milliseconds, as whole numbers.
#[derive(Default)]
struct Limiter {
    full_at: HashMap<String, i64>,
    issued: BTreeSet<String>,
}

/// Count, and period in milliseconds.
const ORDERS: (i64, i64) = (300, 3 * 3_600_000);
const PER_DOMAIN: (i64, i64) = (50, 7 * DAY);
const PER_SET: (i64, i64) = (5, 7 * DAY);

impl Limiter {
    fn has(&self, key: &str, (count, period): (i64, i64), now: i64) -> bool {
        let full = self.full_at.get(key).copied().unwrap_or(now).max(now);
        now >= full + period / count - period
    }

    fn spend(&mut self, key: &str, (count, period): (i64, i64), now: i64) {
        let full = self.full_at.entry(key.into()).or_insert(now);
        *full = (*full).max(now) + period / count;
    }

    /// Whether the order is taken.
    fn new_order(&mut self, name: &str, domain: &str, now: i64) -> bool {
        let renews = self.issued.contains(name);
        let set = self.has(name, PER_SET, now);
        let rest = self.has("account", ORDERS, now) && self.has(domain, PER_DOMAIN, now);
        if set && !renews && rest {
            self.spend("account", ORDERS, now);
        }
        set && (renews || rest)
    }

    fn finalize(&mut self, name: &str, domain: &str, now: i64) {
        if self.issued.insert(name.into()) {
            self.spend(domain, PER_DOMAIN, now);
        }
        self.spend(name, PER_SET, now);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Reconcile(usize),
    Finalize(usize),
    Tick,
    Restart,
}

struct Site {
    name: String,
    domain: String,
    ask: Ask,
}

/// 75 names a domain, all due at once. A fifth of them renews the same names; the others have new ones.
fn sites() -> Vec<Site> {
    let site = |n: usize| {
        let domain = format!("domain-{}.com", n % DOMAINS);
        let name = format!("n{n}.{domain}");
        // Scattered over 60 days, no two alike.
        let expires = START
            + days(1)
            + SignedDuration::from_mins((n * 7919 % NAMES * 28).try_into().unwrap());
        let ask = renewal(&[&name], expires);
        let exemption = if is_exempt(n) {
            Exemption::SameNames
        } else {
            Exemption::Nothing
        };
        Site {
            name,
            domain,
            ask: Ask { exemption, ..ask },
        }
    };
    (0..NAMES).map(site).collect()
}

/// Of each domain a fifth.
fn is_exempt(n: usize) -> bool {
    (n / DOMAINS).is_multiple_of(5)
}

fn counted(domain: usize) -> impl Iterator<Item = usize> {
    (0..NAMES).filter(move |n| n % DOMAINS == domain && !is_exempt(*n))
}

struct World {
    sites: Vec<Site>,
    ca: Ca,
    limiter: Limiter,
    ledger: Ledger,
    events: BinaryHeap<Reverse<(i64, Event)>>,
    /// Per site: when the cluster says that the CA had it, and that it was issued.
    made: BTreeMap<usize, Timestamp>,
    issued: BTreeMap<usize, (i64, Timestamp)>,
    refusals: usize,
    timer: Option<i64>,
}

fn time(millis: i64) -> Timestamp {
    START + SignedDuration::from_millis(millis)
}

/// As managed fields have it, and a second more: they are cut to whole ones.
fn written(millis: i64) -> Timestamp {
    at(millis.div_euclid(1000) + 1)
}

impl World {
    fn run(restart: Option<i64>) -> Self {
        let sites = sites();
        let mut limiter = Limiter::default();
        limiter.issued.extend(
            sites
                .iter()
                .filter(|s| s.ask.exemption == Exemption::SameNames)
                .map(|s| s.name.clone()),
        );
        let mut world = Self {
            sites,
            ca: lets_encrypt(),
            limiter,
            ledger: Ledger::default(),
            events: BinaryHeap::new(),
            made: BTreeMap::new(),
            issued: BTreeMap::new(),
            refusals: 0,
            timer: None,
        };
        for n in 0..NAMES {
            world
                .events
                .push(Reverse((0, Event::Reconcile(n * 17 % NAMES))));
        }
        world
            .events
            .extend(restart.map(|at| Reverse((at, Event::Restart))));
        while let Some(Reverse((now, event))) = world.events.pop() {
            if now >= DAY {
                break;
            }
            match event {
                Event::Reconcile(n) => world.reconcile(n, now),
                Event::Finalize(n) => world.finalize(n, now),
                Event::Tick => world.ledger.tick(time(now)),
                Event::Restart => world.restart(now),
            }
            world.set_timer();
            for (_, n) in world.ledger.take_admitted() {
                world
                    .events
                    .push(Reverse((now + 5, Event::Reconcile(n.parse().unwrap()))));
            }
        }
        world
    }

    fn set_timer(&mut self) {
        let due = self
            .ledger
            .due()
            .map(|due| due.duration_since(START).as_millis());
        let due = due.map(|due| i64::try_from(due).unwrap());
        if due != self.timer {
            self.timer = due;
            self.events
                .extend(due.map(|due| Reverse((due, Event::Tick))));
        }
    }

    fn see(&mut self, n: usize, progress: &Progress, at: Timestamp, now: i64) {
        let ask = self.sites[n].ask.clone();
        let id = id("team", &n.to_string());
        self.ledger
            .see(&self.ca, (&id, "u"), ask, progress, (at, time(now)));
    }

    fn reconcile(&mut self, n: usize, now: i64) {
        if self.made.contains_key(&n) {
            return;
        }
        let site = &self.sites[n];
        let id = id("team", &n.to_string());
        match self
            .ledger
            .ask(&self.ca, &id, "u", site.ask.clone(), time(now))
        {
            Turn::Behind(_) | Turn::Twin(_) => {}
            Turn::Wait(wait) => {
                let until = wait.until.duration_since(START).as_millis();
                self.events
                    .push(Reverse((until.try_into().unwrap(), Event::Reconcile(n))));
            }
            Turn::Go => {
                // The CA hears of it a little later.
                let heard = now + 40;
                if !self.limiter.new_order(&site.name, &site.domain, heard) {
                    self.refusals += 1;
                    return;
                }
                self.made.insert(n, written(heard));
                self.see(n, &Progress::Made, written(heard), heard);
                let takes = 2000 + i64::try_from(n * 31 % 9000).unwrap();
                self.events
                    .push(Reverse((heard + takes, Event::Finalize(n))));
            }
        }
    }

    fn finalize(&mut self, n: usize, now: i64) {
        let site = &self.sites[n];
        self.limiter.finalize(&site.name, &site.domain, now);
        self.issued.insert(n, (now, written(now + 500)));
        self.see(n, &Progress::Issued, written(now + 500), now + 500);
    }

    /// A new process that sees the Orders as they are, and reconciles all of them.
    fn restart(&mut self, now: i64) {
        self.ledger = Ledger::default();
        self.timer = None;
        let mut seen: Vec<_> = self
            .issued
            .iter()
            .map(|(n, (_, at))| (*at, *n, Progress::Issued))
            .collect();
        let made = self
            .made
            .iter()
            .filter(|(n, _)| !self.issued.contains_key(n));
        seen.extend(made.map(|(n, at)| (*at, *n, Progress::Made)));
        seen.sort_by_key(|(at, n, _)| (*at, *n));
        for (at, n, progress) in seen {
            self.see(n, &progress, at, now);
        }
        self.events
            .retain(|Reverse((_, event))| matches!(event, Event::Finalize(_)));
        for n in 0..NAMES {
            self.events
                .push(Reverse((now + 1, Event::Reconcile(n * 23 % NAMES))));
        }
    }

    /// Of a domain: what counts, in the order in which the CA issued.
    fn counted_of(&self, domain: usize) -> Vec<usize> {
        let counted = self
            .made
            .iter()
            .filter(|(n, _)| **n % DOMAINS == domain && !is_exempt(**n));
        let mut counted: Vec<_> = counted.map(|(n, at)| (*at, *n)).collect();
        counted.sort_unstable();
        counted.into_iter().map(|(_, n)| n).collect()
    }
}

static DAY_OF_ONE: LazyLock<World> = LazyLock::new(|| World::run(None));

#[test]
fn a_day_with_3000_names_in_40_domains_has_no_refusal_and_loses_no_token() {
    let world = &*DAY_OF_ONE;
    assert_eq!(world.refusals, 0);
    // 50 at once and one each 202 minutes: 57 of the 60 or so that count, of each domain; and all that do not.
    let exempt = NAMES / 5;
    let most: usize = (0..DOMAINS)
        .map(|domain| counted(domain).count().min(57))
        .sum();
    let issued = world.issued.len();
    println!("issued {issued} of at most {}", exempt + most);
    assert!(
        issued * 1000 >= (exempt + most) * 995,
        "{issued} of {}",
        exempt + most
    );
    let renewed = world.issued.keys().filter(|n| is_exempt(**n));
    assert_eq!(
        renewed.count(),
        exempt,
        "renewals of the same names do not wait for a week"
    );
}

#[test]
fn what_expires_first_is_issued_first() {
    let world = &*DAY_OF_ONE;
    for domain in 0..DOMAINS {
        let order = world.counted_of(domain);
        let waited = order.get(50..).unwrap_or_default();
        let expires: Vec<_> = waited.iter().map(|n| world.sites[*n].ask.expires).collect();
        assert!(expires.is_sorted(), "{domain}");
        let left = counted(domain).filter(|n| !world.made.contains_key(n));
        let soonest = left.filter_map(|n| world.sites[n].ask.expires).min();
        assert!(soonest.is_none_or(|soonest| expires.last().unwrap().unwrap() < soonest));
    }
}

#[test]
fn a_restart_in_the_middle_changes_nothing() {
    let (one, other) = (&*DAY_OF_ONE, World::run(Some(DAY / 2 + 1234)));
    assert_eq!(other.refusals, 0);
    let when = |world: &World| -> Vec<_> {
        world
            .issued
            .iter()
            .map(|(n, (at, _))| (*n, at / 60_000))
            .collect()
    };
    let (one, other) = (when(one), when(&other));
    let moved = one
        .iter()
        .zip(&other)
        .filter(|(a, b)| a.0 != b.0 || (a.1 - b.1).abs() > 1);
    assert_eq!(moved.collect::<Vec<_>>(), [], "who, and when to the minute");
    assert_eq!(one.len(), other.len());
}
