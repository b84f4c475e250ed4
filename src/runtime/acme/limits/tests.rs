#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::api::Issuer;
use crate::controllers::progress::Progress;
use crate::controllers::store::Change;

const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

fn object<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn order(name: &str, spec: &Value, status: &Value) -> Change {
    let mut all = json!({ "issuerRef": { "name": "ca" }, "request": "" });
    json_patch::merge(&mut all, spec);
    Change::Order(object(json!({
        "metadata": { "namespace": "shop", "name": name, "uid": name, "creationTimestamp": NOW },
        "spec": all,
        "status": status,
    })))
}

/// Once the answer is in its Secret, little of an Order is kept in memory, which may be before it was last looked at.
#[test]
fn an_order_of_which_little_is_left_has_ended_all_the_same() {
    let store = Store::new("system");
    let issuer: Issuer = object(json!({
        "metadata": { "namespace": "shop", "name": "ca", "uid": "ca" },
        "spec": { "acme": { "server": "https://ca.example/dir", "privateKeySecretRef": { "name": "key" } } },
        "status": { "acme": { "uri": "https://ca.example/account/1" } },
    }));
    let issuer = IssuerFact::of(&issuer.metadata, issuer.spec, issuer.status);
    store.apply(Change::Issuer(Kind::Issuer, issuer));
    let limits = LimitsInUse::new(9, Arc::new(Queue::new(1, Arc::new(Progress::default()))));
    let turn = |name: &str| {
        let key = Key::new(Kind::Order, "shop", name);
        limits.order(&store, &key, true, NOW)
    };
    let names = json!({ "dnsNames": ["a.example.com"] });
    store.apply(order("first", &names, &json!({})));
    assert_eq!(turn("first"), Turn::Go);
    let made = json!({ "url": "https://ca.example/order/1", "state": "pending" });
    store.apply(order("first", &names, &made));
    turn("first");
    store.apply(order("second", &names, &json!({})));
    assert!(matches!(turn("second"), Turn::Twin(_)));

    let left = json!({ "state": "valid", "certificate": "" });
    store.apply(order("first", &json!({}), &left));
    turn("first");
    assert_eq!(turn("second"), Turn::Go);
}
