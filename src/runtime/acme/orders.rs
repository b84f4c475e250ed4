//! What this process remembers of Orders that the CA is at work on, has refused for the time being, or has just made.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use crate::controllers::key::Key;
use crate::controllers::order::{Made, Memo};
use crate::controllers::store::Store;

/// How long it is remembered that an Order of this name has got the certificate of another key.
const MISMATCH: SignedDuration = SignedDuration::from_hours(1);

/// What an answer of the CA is about: uid of the Order, uid and generation of its issuer. What another one does is unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    order: String,
    issuer: Option<(String, i64)>,
}

impl Subject {
    /// As the informers have it now.
    pub fn of(store: &Store, key: &Key) -> Self {
        let Some(order) = store.order(&key.namespace, &key.name) else {
            return Self::default();
        };
        let issuer = store.issuer(&key.namespace, &order.spec.issuer_ref);
        Self {
            order: order.metadata.uid.clone().unwrap_or_default(),
            issuer: issuer.map(|issuer| (issuer.id.uid.clone(), issuer.generation)),
        }
    }
}

/// The memos of all Orders, and the orders that were made for them.
#[derive(Default)]
pub struct Orders(Mutex<Remembered>);

#[derive(Default)]
struct Remembered {
    memos: HashMap<Key, (Subject, Memo)>,
    /// By uid of the Order. Nothing else knows of these until they are in a status.
    made: HashMap<Key, (String, Made)>,
    /// Orders of this name have got the certificate of another key. It outlives them: the next one has the same name.
    mismatched: HashMap<Key, Timestamp>,
}

impl Orders {
    /// What is remembered of an Order.
    pub fn memo(&self, subject: &Subject, key: &Key, now: Timestamp) -> Memo {
        let remembered = self.0.lock();
        let found = remembered.memos.get(key);
        let found = found.filter(|(about, _)| about == subject);
        let at = remembered.mismatched.get(key);
        Memo {
            mismatched: at.is_some_and(|at| now.duration_since(*at) < MISMATCH),
            ..found.map(|(_, memo)| memo.clone()).unwrap_or_default()
        }
    }

    /// Remember this of what was asked about.
    pub fn note(&self, subject: Subject, key: &Key, memo: Memo, now: Timestamp) {
        let mut remembered = self.0.lock();
        if memo.mismatched {
            let mismatched = &mut remembered.mismatched;
            mismatched.retain(|_, at| now.duration_since(*at) < MISMATCH);
            mismatched.entry(key.clone()).or_insert(now);
        }
        if memo == Memo::default() {
            remembered.memos.remove(key);
        } else {
            remembered.memos.insert(key.clone(), (subject, memo));
        }
    }

    /// The CA has made this for an Order.
    pub fn keep(&self, subject: &Subject, key: &Key, made: Made) {
        let mut remembered = self.0.lock();
        let kept = (subject.order.clone(), made);
        remembered.made.insert(key.clone(), kept);
    }

    /// What the CA has made for an Order, as long as no status shows it.
    pub fn made(&self, store: &Store, key: &Key) -> Option<Made> {
        let mut remembered = self.0.lock();
        let (uid, made) = remembered.made.get(key)?;
        let order = store.order(&key.namespace, &key.name);
        let waits = order.is_some_and(|order| {
            let status = order.status.as_ref();
            order.metadata.uid.as_ref() == Some(uid) && status.is_none_or(|s| s.url.is_none())
        });
        if waits {
            return Some(made.clone());
        }
        remembered.made.remove(key);
        None
    }

    /// The Order is gone.
    pub fn forget(&self, key: &Key) {
        let mut remembered = self.0.lock();
        remembered.memos.remove(key);
        remembered.made.remove(key);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use serde_json::{Value, json};

    use super::*;
    use crate::controllers::facts::IssuerFact;
    use crate::controllers::key::Kind;
    use crate::controllers::store::Change;

    const START: Timestamp = Timestamp::constant(1_800_000_000, 0);

    fn key() -> Key {
        Key::new(Kind::Order, "shop", "site-1-7")
    }

    fn made() -> Made {
        Made {
            url: "https://ca.example/order/1".into(),
            finalize_url: "https://ca.example/finalize/1".into(),
            state: "pending".into(),
            expires: None,
            authorizations: vec![],
            without_replaces: false,
        }
    }

    fn show(store: &Store, uid: &str, status: &Value) {
        store.apply(Change::Order(
            serde_json::from_value(json!({
                "metadata": { "namespace": "shop", "name": "site-1-7", "uid": uid },
                "spec": { "request": "", "issuerRef": { "name": "ca" } },
                "status": status,
            }))
            .unwrap(),
        ));
    }

    fn issuer(store: &Store, uid: &str, generation: i64) {
        let meta = serde_json::from_value(json!({
            "namespace": "shop", "name": "ca", "uid": uid, "generation": generation,
        }));
        let spec = serde_json::from_value(json!({ "selfSigned": {} })).unwrap();
        let fact = IssuerFact::of(&meta.unwrap(), spec, None);
        store.apply(Change::Issuer(Kind::Issuer, fact));
    }

    /// Its URL may not get into the status at once: a webhook refuses, the API server is away, the informer is late.
    #[test]
    fn an_order_that_the_ca_has_made_is_kept_until_its_url_is_seen() {
        let (store, orders) = (Store::new("system"), Orders::default());
        issuer(&store, "i", 1);
        show(&store, "u", &json!({}));
        orders.keep(&Subject::of(&store, &key()), &key(), made());
        assert_eq!(orders.made(&store, &key()), Some(made()));
        // Neither another word in the status nor another generation of the issuer is the end of it.
        issuer(&store, "i", 2);
        show(&store, "u", &json!({ "reason": "waits" }));
        assert_eq!(orders.made(&store, &key()), Some(made()));
        show(&store, "u", &json!({ "url": made().url }));
        assert_eq!(orders.made(&store, &key()), None);
        // It is not another Order's of this name.
        orders.keep(&Subject::of(&store, &key()), &key(), made());
        show(&store, "v", &json!({}));
        assert_eq!(orders.made(&store, &key()), None);
    }

    #[test]
    fn what_is_remembered_is_of_this_order_and_this_issuer() {
        let (store, orders) = (Store::new("system"), Orders::default());
        let rests = Memo {
            resting: Some(START),
            ..Memo::default()
        };
        let seen = || orders.memo(&Subject::of(&store, &key()), &key(), START);
        issuer(&store, "i", 1);
        show(&store, "u", &json!({}));
        let asked = Subject::of(&store, &key());
        orders.note(asked.clone(), &key(), rests.clone(), START);
        assert_eq!(seen(), rests);
        // Another Order of this name, another issuer of its name and of the same generation, another generation.
        show(&store, "v", &json!({}));
        assert_eq!(seen(), Memo::default());
        show(&store, "u", &json!({}));
        issuer(&store, "j", 1);
        assert_eq!(seen(), Memo::default());
        issuer(&store, "i", 2);
        assert_eq!(seen(), Memo::default());
        // The answer came when the issuer was another one already: it is about the one that was asked for.
        orders.note(asked, &key(), rests, START);
        assert_eq!(seen(), Memo::default());
    }

    #[test]
    fn a_wrong_key_is_remembered_for_the_next_order_of_the_name_and_not_for_ever() {
        let (store, orders) = (Store::new("system"), Orders::default());
        issuer(&store, "i", 1);
        show(&store, "u", &json!({}));
        let mismatched = Memo {
            mismatched: true,
            ..Memo::default()
        };
        orders.note(Subject::of(&store, &key()), &key(), mismatched, START);
        orders.forget(&key());
        show(&store, "v", &json!({}));
        let seen = |now| orders.memo(&Subject::of(&store, &key()), &key(), now);
        assert!(seen(START).mismatched);
        assert!(!seen(START + MISMATCH).mismatched);
    }
}
