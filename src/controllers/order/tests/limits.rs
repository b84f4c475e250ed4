//! Limits of the CA: what the ledger is told of an Order, and what becomes of one that it keeps waiting.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use serde::de::DeserializeOwned;

use super::*;
use crate::acme::limits::{Exemption, Limit, Progress, Rate, Scope, Slot};
use crate::api::CertificateRequest;
use crate::controllers::facts::{RequestFact, SecretFact};
use crate::controllers::fixtures::signing_request;
use crate::controllers::order::{ask, ca, progress};
use crate::controllers::progress::Informer;
use crate::controllers::store::{Change, Store};
use crate::pki::{
    CertificateSigningRequest, CertificateTemplate, KeyUsages, RequestParams, Urls, self_sign,
};

fn waiting(seconds: i64, told: i64) -> Turn {
    Turn::Wait(Slot {
        until: START + SignedDuration::from_secs(seconds),
        told: START + SignedDuration::from_secs(told),
        scope: Scope::new(Limit::CertificatesPerSet, "0f"),
        rate: Rate::new(5, Duration::from_hours(7 * 24)),
        words: None,
    })
}

#[test]
fn an_order_that_would_be_refused_says_so_once_and_waits() {
    let mut seen = seen(&Value::Null, &http01());
    seen.turn = waiting(3600, 7200);
    let first = plan(&seen, START);
    let reason = "waits for a limit of the CA, next slot 2026-01-01 02:00 UTC: 5 a week for this exact set (EL-1430).";
    assert_eq!(status(&first.actions[0]), &json!({ "reason": reason }));
    assert_eq!((first.effect, first.events), (None, vec![]));
    assert!(
        first.wake.unwrap() > Duration::from_hours(1),
        "the time has come then"
    );
    assert!(first.wake.unwrap() < Duration::from_secs(3601));
    edit(&mut seen, &json!({ "reason": reason }));
    assert_eq!(plan(&seen, START).actions, [], "said already");
    // It is the cause that the Certificate shows.
    let issuer_ref = seen.order.spec.issuer_ref.clone();
    let verdict = crate::explain::verdict(&crate::explain::Chain {
        namespace: "shop",
        issuer_ref: &issuer_ref,
        issuer: crate::explain::Issuer::Ready,
        request: None,
        child: None,
        order: Some(&seen.order),
        challenges: vec![],
        overdue: false,
    });
    assert_eq!(
        verdict.unwrap().to_string(),
        format!("Order \"app-1-7\": {reason}")
    );
    // Another CA may do sooner.
    let fault = crate::explain::ca_fault(reason).unwrap();
    assert_eq!(fault.until, Some(START + SignedDuration::from_hours(2)));
    assert!(!fault.is_general());
    // It waits for others only, of whom nobody needs to be told.
    seen.turn = Turn::Behind(None);
    let behind = plan(&seen, START);
    assert_eq!(status(&behind.actions[0]), &json!({ "reason": null }));
    // Its turn has come: the CA's answer takes the reason away.
    seen.turn = Turn::Go;
    assert!(matches!(
        plan(&seen, START).effect,
        Some(Effect::Ask(Question::Create { .. }))
    ));
}

#[test]
fn a_wait_for_others_or_for_a_moment_is_not_written_down() {
    let mut seen = seen(&Value::Null, &http01());
    seen.turn = Turn::Behind(None);
    assert_eq!(plan(&seen, START), Plan::idle());
    seen.turn = Turn::Behind(Some(later()));
    let others = plan(&seen, START);
    assert_eq!((others.actions, others.effect), (vec![], None));
    assert!(others.wake.unwrap() > Duration::from_mins(1));
    // One that leaves the CA alone is in no line.
    seen.turn = Turn::Behind(None);
    seen.memo.resting = Some(later());
    assert!(plan(&seen, START).wake.unwrap() > Duration::from_mins(1));
    seen.memo.resting = None;
    seen.turn = waiting(2, 2);
    let soon = plan(&seen, START);
    assert_eq!((soon.actions, soon.effect), (vec![], None));
    assert!(soon.wake.unwrap() >= Duration::from_secs(2));
    // What the CA has is not asked for again.
    let known = pending(&["a.example.com"], &http01());
    let going_on = plan(&known, START);
    let behind = Observation {
        turn: Turn::Behind(None),
        ..known
    };
    assert_eq!(plan(&behind, START), going_on);
}

#[test]
fn a_wait_for_others_that_takes_long_is_said_once_until_it_ends() {
    let mut seen = seen(&Value::Null, &http01());
    let until = START + SignedDuration::from_mins(10);
    for (turn, patience, words) in [
        (Turn::Twin(until), 5, "for the same names"),
        (
            Turn::Behind(Some(until)),
            300,
            "other orders of the account",
        ),
    ] {
        seen.turn = turn;
        let patience = Duration::from_secs(patience);
        let early = plan(&seen, START);
        assert_eq!((early.actions, early.effect), (vec![], None));
        let wake = early.wake.unwrap();
        assert!(wake >= patience && wake < patience + Duration::from_secs(1));
        let now = START + SignedDuration::try_from(patience).unwrap();
        let late = plan(&seen, now);
        let reason = status(&late.actions[0])["reason"].clone();
        let text = reason.as_str().unwrap();
        assert!(text.contains(words) && text.contains("EL-1432"), "{text}");
        assert!(late.wake.unwrap() >= Duration::from_mins(5));
        // Another CA would do no better for the others, which are this one's work.
        assert_eq!(crate::explain::ca_fault(text), None);
        edit(&mut seen, &json!({ "reason": reason }));
        assert_eq!(plan(&seen, now).actions, [], "said already");
        seen.turn = Turn::Behind(None);
        assert_eq!(
            status(&plan(&seen, now).actions[0]),
            &json!({ "reason": null })
        );
        edit(&mut seen, &json!({ "reason": null }));
    }
}

fn object<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// A Certificate, its Secret with a certificate for these names, its second request and that one's Order.
fn store(secret_names: &[&str], secret_issuer: &str) -> Store {
    let store = Store::new("system");
    let owner = |kind: &str, name: &str| json!([{ "apiVersion": "cert-manager.io/v1", "kind": kind, "name": name, "uid": format!("uid-of-{name}"), "controller": true }]);
    let revision = json!({ "cert-manager.io/certificate-revision": "2" });
    store.apply(Change::Certificate(object(json!({
        "metadata": { "namespace": "shop", "name": "app", "uid": "uid-of-app" },
        "spec": { "secretName": "tls", "issuerRef": { "name": "ca" } },
        "status": { "acme": { "ari": { "suggestedWindow": {
            "start": START, "end": START + SignedDuration::from_hours(1) } } } },
    }))));
    let request: CertificateRequest = object(json!({
        "metadata": { "namespace": "shop", "name": "app-2", "uid": "uid-of-app-2",
            "ownerReferences": owner("Certificate", "app"), "annotations": revision },
        "spec": { "request": "", "issuerRef": { "name": "ca" } },
    }));
    store.apply(Change::Request(RequestFact::of(request)));
    store.apply(Change::Order(object(json!({
        "metadata": { "namespace": "shop", "name": "app-2-1", "uid": "u", "ownerReferences": owner("CertificateRequest", "app-2"),
            "annotations": revision, "creationTimestamp": START, "managedFields": [
                { "manager": "m", "operation": "Update", "time": "2026-01-01T00:00:07Z", "subresource": "status" },
                { "manager": "m", "operation": "Update", "time": "2026-01-01T00:00:03Z", "subresource": "status" },
                { "manager": "m", "operation": "Update", "time": "2026-01-01T00:00:09Z" },
            ] },
        "spec": { "commonName": "a.example.com", "dnsNames": ["B.example.com", "a.example.com"], "ipAddresses": ["192.0.2.1"],
            "issuerRef": { "name": "ca" }, "request": "" },
    }))));
    let params = RequestParams {
        dns_names: secret_names.iter().map(ToString::to_string).collect(),
        ip_addresses: vec!["192.0.2.1".parse().unwrap()],
        ..RequestParams::default()
    };
    let (key, csr) = signing_request(&params);
    let template = CertificateTemplate {
        csr: &CertificateSigningRequest::parse_pem(&csr).unwrap(),
        not_before: START,
        duration: Duration::from_hours(240),
        is_ca: false,
        usages: KeyUsages::default(),
        urls: Urls::default(),
    };
    let pem = self_sign(&template, &key).unwrap().to_pem();
    let secret = Secret {
        metadata: object(json!({ "namespace": "shop", "name": "tls",
            "annotations": { "cert-manager.io/issuer-name": secret_issuer } })),
        data: Some(BTreeMap::from([(
            "tls.crt".into(),
            ByteString(pem.into_bytes()),
        )])),
        ..Secret::default()
    };
    store.apply(Change::Secret(SecretFact::of(&secret)));
    store
}

const NAMES: [&str; 2] = ["B.example.com", "a.example.com"];

#[test]
fn the_ledger_is_told_names_expiry_and_what_does_not_count() {
    let expires = Some(START + SignedDuration::from_hours(240));
    let told = |store: &Store, edit: &dyn Fn(&mut Order), now| {
        let mut order = Order::clone(&store.order("shop", "app-2-1").unwrap());
        edit(&mut order);
        ask(store, &order, "https://ca/acct", now)
    };
    let same = store(&NAMES, "ca");
    let ask = told(&same, &|_| {}, START).unwrap();
    let names: Vec<&str> = ask.names.iter().map(AsRef::as_ref).collect();
    assert_eq!(names, ["192.0.2.1", "a.example.com", "b.example.com"]);
    assert_eq!((ask.expires, ask.since), (expires, START));
    assert_eq!(ask.exemption, Exemption::SameNames);

    let exemption =
        |store: &Store, edit: &dyn Fn(&mut Order), now| told(store, edit, now).unwrap().exemption;
    let as_is = |_: &mut Order| {};
    assert_eq!(
        exemption(&store(&NAMES[..1], "ca"), &as_is, START),
        Exemption::Nothing,
        "other names"
    );
    assert_eq!(
        exemption(&store(&NAMES, "other"), &as_is, START),
        Exemption::Nothing,
        "another issuer"
    );
    let replaces = |order: &mut Order| order.spec.replaces = Some("a.b".into());
    assert_eq!(exemption(&same, &replaces, START), Exemption::Replaces);
    let late = START + SignedDuration::from_hours(1);
    assert_eq!(
        exemption(&same, &replaces, late),
        Exemption::SameNames,
        "not in the CA's window"
    );
    let early = START - SignedDuration::from_hours(1);
    assert_eq!(exemption(&same, &replaces, early), Exemption::SameNames);

    // Nothing to renew is there.
    let none = store(&NAMES, "ca");
    none.remove(Informer::Secrets, &("shop".into(), "tls".into()));
    let fresh = told(&none, &as_is, START).unwrap();
    assert_eq!((fresh.expires, fresh.exemption), (None, Exemption::Nothing));
    // What has ended is a renewal by its revision: the Secret is the new one's.
    let ended =
        |order: &mut Order| order.status.get_or_insert_default().state = Some("valid".into());
    assert_eq!(exemption(&none, &ended, START), Exemption::SameNames);
    // Names that are not in memory any more.
    let emptied = |order: &mut Order| order.spec = OrderSpec::default();
    assert_eq!(told(&same, &emptied, START), None);
}

#[test]
fn when_the_status_was_written_is_known_and_outlives_what_is_dropped() {
    let store = store(&NAMES, "ca");
    let written = START + SignedDuration::from_secs(7);
    assert_eq!(store.order_written("shop", "app-2-1"), Some(written));
    assert_eq!(store.orders_since(written).len(), 1);
    assert_eq!(
        store.orders_since(written + SignedDuration::from_secs(1)),
        []
    );
}

#[test]
fn a_refusal_is_the_ledgers_only_if_it_is_for_a_limit() {
    let refused = "Failed to create Order: 429 urn:ietf:params:acme:error:rateLimited: slow";
    let busy =
        "Failed to create Order: 503 urn:ietf:params:acme:error:rateLimited: busy (EL-1420).";
    let words = refused.strip_prefix("Failed to create Order: ");
    let hour = Duration::from_hours(1);
    for (reason, wait, is) in [
        (refused, Wait::Asked(hour), Some((words, Some(hour)))),
        (refused, Wait::Refused, Some((words, None))),
        (refused, Wait::Fault, None),
        (refused, Wait::Human, None),
        (busy, Wait::Asked(hour), None),
    ] {
        let reason = reason.into();
        let outcome = Outcome::Unavailable { reason, wait };
        let told = outcome.refusal().map(|(words, rest)| (Some(words), rest));
        assert_eq!(told, is, "{outcome:?}");
    }
    assert_eq!(Outcome::AccountRefused.refusal(), None);
}

#[test]
fn how_far_the_ca_is() {
    let url = Some("https://ca.example/order/1");
    for (status, is) in [
        (json!({}), None),
        (json!({ "reason": "waits" }), None),
        (json!({ "url": url }), Some(Progress::Made)),
        (
            json!({ "url": url, "state": "pending" }),
            Some(Progress::Made),
        ),
        (
            json!({ "url": url, "state": "valid" }),
            Some(Progress::Made),
        ),
        (
            json!({ "url": url, "state": "valid", "certificate": "cGVt" }),
            Some(Progress::Issued),
        ),
        (
            json!({ "url": url, "state": "errored" }),
            Some(Progress::Failed(vec!["b.example.com".into()])),
        ),
        (json!({ "state": "errored" }), Some(Progress::Refused)),
    ] {
        let names = ["a.example.com", "b.example.com"];
        let mut seen = with_challenges(
            pending(&names, &http01()),
            &[Some("valid"), Some("invalid")],
        );
        let mut order = Order::clone(&seen.order);
        order.status = Some(object(status.clone()));
        seen.order = order.into();
        assert_eq!(progress(&seen.order, &seen.challenges), is, "{status}");
    }
}

#[test]
fn an_issuer_says_what_its_ca_allows() {
    let spec = json!({ "acme": { "server": "https://acme-v02.api.letsencrypt.org/directory", "privateKeySecretRef": { "name": "a" } } });
    let mut fact = issuer(spec, None);
    let week = |count| Rate::new(count, Duration::from_hours(7 * 24));
    let known = ca(&fact, 76).unwrap();
    assert_eq!(
        (known.policy.domain, known.policy.under_way),
        (week(50), 76)
    );
    assert_eq!(known.issuer, ("shop".into(), "ca".into()));
    fact.limits = Some("domain=500/7d".into());
    assert_eq!(ca(&fact, 76).unwrap().policy.domain, week(500));
    fact.limits = Some("domain=500/7d, nonsense".into());
    assert_eq!(ca(&fact, 76).unwrap(), known, "as if it said nothing");
    assert_eq!(ca(&issuer(json!({ "selfSigned": {} }), None), 76), None);
}
