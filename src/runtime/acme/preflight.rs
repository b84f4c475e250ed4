//! Looks at the names of Orders before an order is spent: what the DNS says of them, and who answers there. Aside of the
//! workers, and what many want to know within a moment is asked once. None of it is the only copy of anything.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::base::name::ToName as _;
use futures::StreamExt as _;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::{timeout, timeout_at};

use crate::acme::{Caa, Identifier};
use crate::controllers::facts::IssuerFact;
use crate::controllers::key::Key;
use crate::controllers::order::preflight::{
    Ahead, LOOK, Reach, Records, Seen, Sight, Subject, subjects,
};
use crate::controllers::store::Store;
use crate::dns;
use crate::issuers::acme::Account;
use crate::runtime::challenges::dns01::Dns01;
use crate::runtime::clock::{monotonic, now};
use crate::runtime::queue::Queue;
use crate::solvers::http01::self_check::{Reason, SelfCheck};

/// Names of one ordered issuer that are looked at in peacetime.
pub const MOST_NAMES: usize = 1000;
/// For one name, each of two times: within [`LOOK`].
const DEADLINE: Duration = Duration::from_secs(3);
/// Names that are looked at at once, of all Orders together.
const TOGETHER: usize = 32;
/// Of one Order.
const OF_ONE: usize = 8;
/// How long an answer is good for others too.
const MOMENT: Duration = Duration::from_secs(5);
/// Addresses of a name that are tried, of each family.
const MOST_ADDRESSES: usize = 2;

/// The looks of all Orders.
pub struct Preflights {
    dns01: Arc<Dns01>,
    check: SelfCheck,
    queue: Arc<Queue>,
    /// How long what is not certain keeps an order back.
    patience: Duration,
    places: Semaphore,
    caa: Asked<(Vec<String>, dns::Name), Result<Vec<Caa>, String>>,
    addresses: Asked<String, Result<Vec<SocketAddr>, Reason>>,
    doors: Asked<SocketAddr, Result<(), Reason>>,
    orders: Mutex<HashMap<Key, Kept>>,
}

/// What is remembered of an Order.
#[derive(Default)]
struct Kept {
    looking: Option<Timestamp>,
    sight: Option<Arc<Sight>>,
    /// It was made though its names could not be reached.
    waited: bool,
}

impl Preflights {
    /// Nothing was seen yet.
    pub fn new(dns01: Arc<Dns01>, check: SelfCheck, queue: Arc<Queue>, patience: Duration) -> Self {
        Self {
            dns01,
            check,
            queue,
            patience,
            places: Semaphore::new(TOGETHER),
            caa: Asked::default(),
            addresses: Asked::default(),
            doors: Asked::default(),
            orders: Mutex::default(),
        }
    }

    /// What is known before an order is made for this Order; `None` if its issuer does not want to know.
    pub fn ahead(&self, store: &Store, key: &Key) -> Option<Ahead> {
        let order = store.order(&key.namespace, &key.name)?;
        let issuer = store.issuer(&key.namespace, &order.spec.issuer_ref)?;
        if issuer.skips_preflight {
            return None;
        }
        let orders = self.orders.lock();
        let kept = orders.get(key);
        Some(Ahead {
            looking: kept.and_then(|kept| kept.looking),
            sight: kept.and_then(|kept| kept.sight.clone()),
            patience: self.patience,
        })
    }

    /// Look. What is seen wakes the Order.
    pub fn look(self: &Arc<Self>, key: &Key, account: Arc<Account>, subjects: Vec<Subject>) {
        let mut orders = self.orders.lock();
        orders.entry(key.clone()).or_default().looking = Some(now());
        drop(orders);
        let (this, key) = (self.clone(), key.clone());
        tokio::spawn(async move {
            let sight = this.see(&account, subjects).await;
            this.note(&key, sight);
            this.queue.add(key);
        });
    }

    fn note(&self, key: &Key, mut sight: Sight) {
        let mut orders = self.orders.lock();
        // Without an entry the Order has gone meanwhile.
        let Some(kept) = orders.get_mut(key) else {
            return;
        };
        if let Some(old) = kept.sight.as_ref().filter(|old| !old.is_clear()) {
            sight.since = old.since;
        }
        *kept = Kept {
            sight: Some(Arc::new(sight)),
            ..Kept::default()
        };
    }

    /// An order is being made.
    pub fn made(&self, key: &Key, ahead: Option<&Ahead>) {
        let waited = ahead.is_some_and(Ahead::has_waited);
        let mut orders = self.orders.lock();
        if waited {
            let kept = Kept {
                waited,
                ..Kept::default()
            };
            orders.insert(key.clone(), kept);
        } else {
            orders.remove(key);
        }
    }

    /// Whether the names of an Order could not be reached for as long as that is waited for.
    pub fn has_waited(&self, order: &Key) -> bool {
        self.orders.lock().get(order).is_some_and(|k| k.waited)
    }

    /// The Order is gone.
    pub fn forget(&self, key: &Key) {
        self.orders.lock().remove(key);
    }

    /// For which of the names of Certificates, with the labels of each, CAA records forbid the CA of this issuer.
    pub async fn forbidden(
        &self,
        account: &Account,
        issuer: &IssuerFact,
        names: &[(BTreeMap<String, String>, Vec<String>)],
    ) -> Option<String> {
        let acme = issuer.spec.acme.as_ref();
        let acme = acme.filter(|_| !issuer.skips_preflight)?;
        let all = names.iter().flat_map(|(labels, names)| {
            let names: Vec<_> = names.iter().map(Identifier::dns).collect();
            subjects(acme, labels, &names)
        });
        let all = all.map(|subject| Subject {
            reach: false,
            ..subject
        });
        let all: BTreeSet<_> = all.collect();
        let sight = self.see(account, all.into_iter().collect()).await;
        sight.refused_for()
    }

    /// Look at these names, as the CA of this account would.
    async fn see(&self, account: &Account, subjects: Vec<Subject>) -> Sight {
        let end = tokio::time::Instant::now() + LOOK;
        let directory = timeout_at(end, account.client.directory()).await;
        let identities = match directory {
            Ok(Ok(directory)) => directory.meta.caa_identities.clone(),
            // Whoever makes the order meets the same, and says so.
            _ => vec![],
        };
        let is_restricted = !identities.is_empty();
        let names = subjects.into_iter().map(|subject| async {
            let looked = timeout_at(end, self.see_one(&subject, is_restricted)).await;
            let (records, reach) = looked.unwrap_or((Records::Unasked, Reach::Untried));
            Seen {
                subject,
                records,
                reach,
            }
        });
        let names = futures::stream::iter(names).buffered(OF_ONE);
        let names = names.collect().await;
        let at = now();
        Sight {
            at,
            since: at,
            identities,
            account: account.kid.clone(),
            names,
        }
    }

    async fn see_one(&self, subject: &Subject, is_restricted: bool) -> (Records, Reach) {
        // It is never closed.
        let _place = self.places.acquire().await;
        let records = async {
            if subject.is_address || !is_restricted {
                return Records::Unasked;
            }
            let read = twice(DEADLINE, || self.records(subject)).await;
            read.unwrap_or_else(|| {
                Records::Unread(format!("no answer within {} s, twice", DEADLINE.as_secs()))
            })
        };
        let reach = async {
            if !subject.reach {
                return Reach::Untried;
            }
            let tried = twice(DEADLINE, || self.reach(&subject.name)).await;
            tried.unwrap_or(Reach::Untried)
        };
        futures::join!(records, reach)
    }

    /// The closest name upwards that has any decides (RFC 8659 §3).
    async fn records(&self, subject: &Subject) -> Records {
        let servers = &subject.nameservers;
        let found = self.dns01.resolver_of(servers);
        let (Ok(resolver), Ok(name)) = (found, dns::name(&subject.name)) else {
            // The solver and the CA say what is wrong with those.
            return Records::Unasked;
        };
        for place in name.iter_suffixes() {
            let place: dns::Name = place.to_canonical_name();
            if place.is_root() {
                break;
            }
            let at = dns::absolute(&place);
            let key = (servers.clone(), place.clone());
            let asked = self.caa.ask(key, monotonic(), async {
                let records = resolver.caa(&place).await;
                let records = records.map(|all| all.into_iter().map(record).collect());
                records.map_err(|error| error.to_string())
            });
            match asked.await {
                Err(why) => return Records::Unread(why),
                Ok(all) if all.is_empty() => {}
                Ok(all) => return Records::Read { at, all },
            }
        }
        Records::Read {
            at: String::new(),
            all: vec![],
        }
    }

    async fn reach(&self, name: &str) -> Reach {
        // Who answers there is not seen from here.
        if self.check.is_proxied(name) {
            return Reach::Untried;
        }
        let found = self
            .addresses
            .ask(name.to_owned(), monotonic(), self.check.addresses(name));
        let Ok(found) = found.await else {
            return Reach::Tried(vec![]);
        };
        let (four, six): (Vec<_>, Vec<_>) = found.into_iter().partition(SocketAddr::is_ipv4);
        let four = four.into_iter().take(MOST_ADDRESSES);
        let all = four.chain(six.into_iter().take(MOST_ADDRESSES));
        let tries = all.map(async |address| {
            let came = self
                .doors
                .ask(address, monotonic(), self.check.knock(address))
                .await;
            (address.ip(), came)
        });
        Reach::Tried(futures::future::join_all(tries).await)
    }
}

/// An answer that takes longer than this is asked for once more: what was lost on the way is no word about the name.
async fn twice<T, F: Future<Output = T>>(each: Duration, question: impl Fn() -> F) -> Option<T> {
    match timeout(each, question()).await {
        Ok(answer) => Some(answer),
        Err(_) => timeout(each, question()).await.ok(),
    }
}

fn record(found: dns::Caa) -> Caa {
    let dns::Caa { flags, tag, value } = found;
    Caa { flags, tag, value }
}

/// Answers that all get who ask the same within a [`MOMENT`].
struct Asked<K, V> {
    answers: Mutex<Answers<K, V>>,
}

struct Answers<K, V> {
    known: HashMap<K, (Instant, Arc<OnceCell<V>>)>,
    swept: Option<Instant>,
}

impl<K, V> Default for Asked<K, V> {
    fn default() -> Self {
        let answers = Answers {
            known: HashMap::new(),
            swept: None,
        };
        Self {
            answers: Mutex::new(answers),
        }
    }
}

impl<K: Eq + Hash, V: Clone> Asked<K, V> {
    async fn ask(&self, of: K, now: Instant, question: impl Future<Output = V>) -> V {
        let cell = {
            let answers = &mut *self.answers.lock();
            let is_past = |then: Instant| now.duration_since(then) >= MOMENT;
            if answers.swept.is_none_or(is_past) {
                answers.known.retain(|_, (asked, _)| !is_past(*asked));
                answers.swept = Some(now);
            }
            let new = || (now, Arc::new(OnceCell::new()));
            let known = answers.known.entry(of).or_insert_with(new);
            if is_past(known.0) {
                *known = new();
            }
            known.1.clone()
        };
        cell.get_or_init(|| question).await.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_question_without_an_answer_is_asked_once_more() {
        // How many are asked in vain, and the number of the one that is answered.
        for (silent, expected) in [(0, Some(0)), (1, Some(1)), (2, None)] {
            let asked = AtomicUsize::new(0);
            let question = || async {
                let number = asked.fetch_add(1, Ordering::Relaxed);
                if number < silent {
                    std::future::pending::<()>().await;
                }
                number
            };
            let answer = twice(Duration::from_millis(20), question).await;
            assert_eq!(answer, expected, "{silent}");
        }
    }

    #[tokio::test]
    async fn many_who_ask_the_same_ask_once() {
        let (shared, asked) = (Asked::default(), AtomicUsize::new(0));
        let begin = monotonic();
        let ask = |of: u8, now| {
            shared.ask(of, now, async {
                tokio::task::yield_now().await;
                asked.fetch_add(1, Ordering::Relaxed)
            })
        };
        let all = [1, 1, 2, 1].map(|of| ask(of, begin));
        assert_eq!(futures::future::join_all(all).await, [0, 0, 1, 0]);
        assert_eq!(ask(1, begin).await, 0, "it is known");
        assert_eq!(ask(1, begin + MOMENT).await, 2, "it may be another by now");
        let left = shared.answers.lock().known.len();
        assert_eq!(left, 1, "the other is forgotten");
    }
}
