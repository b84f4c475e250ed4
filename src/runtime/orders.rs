//! What this process remembers of Orders that the CA is at work on, or has refused for the time being.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::controllers::key::Key;
use crate::controllers::order::Memo;
use crate::controllers::store::Store;

/// The memos of all Orders, each with the generation of the issuer that it was made for: what another one does is
/// unknown.
#[derive(Default)]
pub struct Orders(Mutex<HashMap<Key, (Memo, i64)>>);

impl Orders {
    /// What is remembered of an Order.
    pub fn memo(&self, store: &Store, key: &Key) -> Memo {
        let memos = self.0.lock();
        let found = memos.get(key).cloned();
        let found = found.filter(|(_, made_for)| *made_for == generation(store, key));
        found.map(|(memo, _)| memo).unwrap_or_default()
    }

    /// Remember this.
    pub fn note(&self, store: &Store, key: &Key, memo: Memo) {
        if memo == Memo::default() {
            return self.forget(key);
        }
        let made_for = generation(store, key);
        self.0.lock().insert(key.clone(), (memo, made_for));
    }

    /// The Order is gone.
    pub fn forget(&self, key: &Key) {
        self.0.lock().remove(key);
    }
}

/// Of the issuer; 0 if there is none.
fn generation(store: &Store, key: &Key) -> i64 {
    let order = store.order(&key.namespace, &key.name);
    let issuer = order.and_then(|order| store.issuer(&key.namespace, &order.spec.issuer_ref));
    issuer.map_or(0, |issuer| issuer.generation)
}
