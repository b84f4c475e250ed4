//! The ledger of what CAs allow (`acme::limits`), as the Orders of this cluster fill it. None of it is the only copy: after
//! a start it follows from the Orders and from what issuers have stored.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::acme::limits::{Ca, Id, Kept, Ledger, Limit, Scope, Turn};
use crate::api::Order;
use crate::api::acme_issuer::{AcmeLimitStatus, AcmeLimitsStatus};
use crate::controllers::certificate_request::issuer_key;
use crate::controllers::facts::IssuerFact;
use crate::controllers::key::{Key, Kind};
use crate::controllers::order;
use crate::controllers::store::Store;
use crate::runtime::clock::now;
use crate::runtime::queue::Queue;
use crate::telemetry::metrics::LimitRow;

/// Times of objects are cut to whole seconds.
const SECOND: SignedDuration = SignedDuration::from_secs(1);
/// The least time between two writes of an issuer.
const PAUSE: SignedDuration = SignedDuration::from_secs(10);
/// What is older has no part in any limit.
const MEMORY: SignedDuration = SignedDuration::from_hours(8 * 24);

/// The ledger, and who waits for it.
pub struct LimitsInUse {
    ledger: Mutex<Ledger>,
    /// Orders of an account at once, where the issuer does not say.
    under_way: usize,
    queue: Arc<Queue>,
    /// When the ledger is to be looked at, as [`Self::keep_time`] knows.
    due: Mutex<Option<Timestamp>>,
    moved: Notify,
    /// When an issuer was stored last.
    stored: Mutex<HashMap<Id, Timestamp>>,
}

/// An Order and what the ledger has to know of it.
struct Subject {
    id: Id,
    uid: String,
    ca: Ca,
    account: String,
    order: Arc<Order>,
}

impl LimitsInUse {
    /// Nothing is known yet.
    pub fn new(under_way: usize, queue: Arc<Queue>) -> Self {
        Self {
            ledger: Mutex::default(),
            under_way,
            queue,
            due: Mutex::default(),
            moved: Notify::new(),
            stored: Mutex::default(),
        }
    }

    /// Take in what issuers have stored, and all Orders, before the first of them is reconciled: those that wait have their
    /// places in the line again.
    pub fn rebuild(&self, store: &Store, now: Timestamp) {
        let mut ledger = self.ledger.lock();
        for issuer in store.issuers() {
            let acme = issuer.status.acme.as_ref();
            let stored = acme.and_then(|acme| acme.limits.as_ref());
            if let (Some(ca), Some(stored)) = (order::ca(&issuer, self.under_way), stored) {
                ledger.restore(&ca, restored(stored), stored.as_of.0);
            }
        }
        for (namespace, name) in store.orders_since(now - MEMORY) {
            let key = Key {
                kind: Kind::Order,
                namespace,
                name,
            };
            if let Some(subject) = self.subject(store, &key)
                && !see(&mut ledger, store, &subject, now)
                && let Some(ask) = order::ask(store, &subject.order, &subject.account, now)
            {
                ledger.stand(&subject.ca, &subject.id, &subject.uid, ask);
            }
        }
    }

    /// How far an Order is; and whether it may be sent to the CA, if that is next. `asks`: nothing else keeps it.
    pub fn order(&self, store: &Store, key: &Key, asks: bool, now: Timestamp) -> Turn {
        let turn = {
            let mut ledger = self.ledger.lock();
            if store.order(&key.namespace, &key.name).is_none() {
                ledger.gone(&id(key), now);
            }
            match self.subject(store, key) {
                None => Turn::Behind(None),
                Some(subject) if see(&mut ledger, store, &subject, now) => Turn::Go,
                Some(_) if !asks => Turn::Behind(None),
                Some(subject) => ask(&mut ledger, store, &subject, now),
            }
        };
        self.wake(store);
        turn
    }

    /// An Order will not be made for now: what is kept for it is free for others.
    pub fn withdraw(&self, store: &Store, key: &Key, now: Timestamp) {
        self.ledger.lock().gone(&id(key), now);
        self.wake(store);
    }

    /// Wake whoever's turn it is when its time comes.
    pub async fn keep_time(self: Arc<Self>, store: Arc<Store>, stop: CancellationToken) {
        loop {
            let due = self.ledger.lock().due();
            let left =
                due.map(|due| Duration::try_from(due.duration_since(now())).unwrap_or_default());
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.moved.notified() => continue,
                () = tokio::time::sleep(left.unwrap_or(Duration::MAX)) => {}
            }
            self.ledger.lock().tick(now());
            self.wake(&store);
        }
    }

    /// The CA has refused an Order for a limit, in these words.
    pub fn refused(
        &self,
        store: &Store,
        key: &Key,
        words: &str,
        retry: Option<Duration>,
        now: Timestamp,
    ) -> Turn {
        let until = retry.and_then(|retry| now.checked_add(retry).ok());
        let turn = self.ledger.lock().refused(&id(key), words, until, now);
        self.wake(store);
        turn
    }

    /// The CA has made the order of an Order without what the Order is to replace: it counts after all.
    pub fn replaces_nothing(&self, store: &Store, key: &Key, now: Timestamp) {
        let Some(subject) = self.subject(store, key) else {
            return;
        };
        let mut order = Order::clone(&subject.order);
        order.spec.replaces = None;
        if let Some(ask) = order::ask(store, &order, &subject.account, now) {
            self.ledger.lock().counts(&subject.id, ask.exemption);
        }
    }

    /// The CA does not take an Order, and not for a limit: others need not wait for it.
    pub fn give_back(&self, store: &Store, key: &Key, now: Timestamp) {
        self.ledger.lock().give_back(&id(key), now);
        self.wake(store);
    }

    /// What an issuer has to store that it has not, with the number of the newest change in it; the error says how long it
    /// has to wait, as many Orders may go at once.
    pub fn to_store(
        &self,
        issuer: &IssuerFact,
        now: Timestamp,
    ) -> Result<Option<(AcmeLimitsStatus, u64)>, Duration> {
        let id = (issuer.id.namespace.clone(), issuer.id.name.clone());
        let ledger = self.ledger.lock();
        let Some((acme, change)) = issuer.spec.acme.as_ref().zip(ledger.unsaved(&id)) else {
            return Ok(None);
        };
        let next = self.stored.lock().get(&id).map(|last| *last + PAUSE);
        if let Some(left) = next
            .map(|next| next.duration_since(now))
            .filter(SignedDuration::is_positive)
        {
            return Err(left.unsigned_abs());
        }
        let status = AcmeLimitsStatus {
            as_of: Time(whole(ledger.newest(&acme.server))),
            buckets: ledger.kept(&id, now).into_iter().map(stored).collect(),
        };
        Ok(Some((status, change)))
    }

    /// It has, up to this change.
    pub fn is_stored(&self, key: &Key, change: u64, now: Timestamp) {
        self.stored.lock().insert(id(key), now);
        self.ledger.lock().saved(&id(key), change);
    }

    /// What is left of each limit, and who waits for it.
    pub fn rows(&self, now: Timestamp) -> Vec<LimitRow> {
        let rows = self.ledger.lock().rows(now);
        let rows = rows.into_iter().map(|row| LimitRow {
            server: host(&row.directory),
            limit: row.scope.limit.name(),
            scope: row.scope.of,
            left: row.left.map(i64::from),
            waiting: row.waiting.into(),
        });
        rows.collect()
    }

    fn subject(&self, store: &Store, key: &Key) -> Option<Subject> {
        let order = store.order(&key.namespace, &key.name)?;
        let issuer = store.issuer(&key.namespace, &order.spec.issuer_ref)?;
        let account = issuer.status.acme.as_ref()?.uri.clone();
        Some(Subject {
            id: id(key),
            uid: order.metadata.uid.clone().unwrap_or_default(),
            ca: order::ca(&issuer, self.under_way)?,
            account: account.filter(|uri| !uri.is_empty())?,
            order,
        })
    }

    /// Wake those whose turn it is, and the issuers that have something to store.
    fn wake(&self, store: &Store) {
        let (admitted, unsaved, due) = {
            let mut ledger = self.ledger.lock();
            (ledger.take_admitted(), ledger.take_unsaved(), ledger.due())
        };
        if std::mem::replace(&mut *self.due.lock(), due) != due {
            self.moved.notify_one();
        }
        for (namespace, name) in admitted {
            self.queue.add(Key {
                kind: Kind::Order,
                namespace,
                name,
            });
        }
        for (namespace, name) in unsaved {
            if let Some(issuer) = store.issuer_named(&namespace, &name) {
                self.queue.add(issuer_key(&issuer));
            }
        }
    }
}

/// Tell the ledger how far an Order is; whether the CA has heard of it.
fn see(ledger: &mut Ledger, store: &Store, subject: &Subject, now: Timestamp) -> bool {
    let order = &*subject.order;
    let namespace = &subject.id.0;
    let uid = &subject.uid;
    let challenges = store.challenges_of(namespace, uid);
    let Some(progress) = order::progress(order, &challenges) else {
        return false;
    };
    let written = store.order_written(namespace, &subject.id.1);
    let at = written.map_or(now, |written| written + SECOND);
    let which = (&subject.id, uid.as_str());
    if ledger.is_news(&subject.ca, which, &progress, (at, now))
        // Of one that has ended the names may be gone from memory, before this is heard.
        && let Some(ask) =
            order::ask(store, order, &subject.account, now).or_else(|| ledger.asked(which))
    {
        ledger.see(&subject.ca, which, ask, &progress, (at, now));
    }
    true
}

fn ask(ledger: &mut Ledger, store: &Store, subject: &Subject, now: Timestamp) -> Turn {
    match order::ask(store, &subject.order, &subject.account, now) {
        Some(ask) => ledger.ask(&subject.ca, &subject.id, &subject.uid, ask, now),
        // It names nothing: the CA says what is wrong with that.
        None => Turn::Go,
    }
}

fn id(key: &Key) -> Id {
    (key.namespace.clone(), key.name.clone())
}

fn host(directory: &str) -> String {
    let uri = directory.parse::<http::Uri>().ok();
    let host = uri.as_ref().and_then(|uri| uri.authority());
    host.map_or_else(|| directory.to_owned(), ToString::to_string)
}

/// Whole seconds, and rather too late.
fn whole(time: Timestamp) -> Timestamp {
    let up = i64::from(time.subsec_nanosecond() > 0);
    Timestamp::from_second(time.as_second() + up).unwrap_or(time)
}

fn stored(kept: Kept) -> AcmeLimitStatus {
    let (frozen_until, reason) = kept.frozen.unzip();
    AcmeLimitStatus {
        frozen_until: frozen_until.map(|until| Time(whole(until))),
        full_at: Time(whole(kept.full_at)),
        limit: kept.scope.limit.name().into(),
        of: kept.scope.of.to_string(),
        reason: reason.map(|words| words.to_string()),
    }
}

/// What a newer version has stored, and this one does not know, is left out.
fn restored(stored: &AcmeLimitsStatus) -> Vec<Kept> {
    let known = |bucket: &AcmeLimitStatus| {
        let limit = Limit::ALL
            .into_iter()
            .find(|limit| limit.name() == bucket.limit)?;
        let words = bucket.reason.as_deref().unwrap_or_default();
        Some(Kept {
            scope: Scope::new(limit, bucket.of.as_str()),
            full_at: bucket.full_at.0,
            frozen: bucket
                .frozen_until
                .as_ref()
                .map(|until| (until.0, words.into())),
        })
    };
    stored.buckets.iter().filter_map(known).collect()
}

#[cfg(test)]
mod tests;
