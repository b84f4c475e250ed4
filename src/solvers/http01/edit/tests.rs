#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use k8s_openapi::api::networking::v1::Ingress;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::ingress::challenge_path;
use super::{Patch, add, remove};

const HOST: &str = "www.example.com";
const TOKEN: &str = "tok";
const PATH: &str = "/.well-known/acme-challenge/tok";
const OURS: &str = "cm-acme-http-solver-1";

fn ingress(spec: &Value) -> Ingress {
    serde_json::from_value(json!({
        "metadata": { "name": "shop", "namespace": "shop", "resourceVersion": "7" },
        "spec": spec,
    }))
    .unwrap()
}

fn foreign(path: &str) -> Value {
    json!({ "path": path, "pathType": "Prefix", "backend": { "service": { "name": "shop", "port": { "number": 80 } } } })
}

fn apply(ingress: &Ingress, patch: &Patch) -> Ingress {
    let mut value = serde_json::to_value(ingress).unwrap();
    json_patch::patch(&mut value, patch).unwrap();
    serde_json::from_value(value).unwrap()
}

fn add_ours(ingress: &Ingress) -> Option<Ingress> {
    add(ingress, HOST, &challenge_path(TOKEN, OURS, true)).map(|patch| apply(ingress, &patch))
}

fn remove_ours(ingress: &Ingress) -> Option<Ingress> {
    remove(ingress, HOST, PATH, OURS).map(|patch| apply(ingress, &patch))
}

fn spec(ingress: &Ingress) -> Value {
    serde_json::to_value(ingress.spec.as_ref().unwrap()).unwrap()
}

#[test]
fn the_path_comes_first_in_the_rule_of_the_host() {
    let before = ingress(&json!({ "rules": [
        { "host": "other.example.com", "http": { "paths": [foreign("/")] } },
        { "host": HOST, "http": { "paths": [foreign("/")] } },
    ]}));
    let after = add_ours(&before).unwrap();
    let expected = json!({ "rules": [
        { "host": "other.example.com", "http": { "paths": [foreign("/")] } },
        { "host": HOST, "http": { "paths": [
            { "path": PATH, "pathType": "Exact", "backend": { "service": { "name": OURS, "port": { "number": 8089 } } } },
            foreign("/"),
        ] } },
    ]});
    assert_eq!(spec(&after), expected);
    assert_eq!(add_ours(&after), None);
    assert_eq!(remove_ours(&after).unwrap(), before);
    assert_eq!(remove_ours(&before), None);
}

#[test]
fn a_host_without_a_rule_gets_one() {
    let before = ingress(&json!({ "defaultBackend": { "service": { "name": "shop" } } }));
    let after = add_ours(&before).unwrap();
    assert_eq!(spec(&after).pointer("/rules/0/host").unwrap(), HOST);
    assert_eq!(remove_ours(&after).unwrap(), before);
}

#[test]
fn an_ip_identifier_uses_the_rule_without_host() {
    let before = ingress(&json!({ "rules": [
        { "host": HOST, "http": { "paths": [foreign("/")] } },
        { "http": { "paths": [foreign("/")] } },
    ]}));
    let path = challenge_path(TOKEN, OURS, true);
    let after = apply(&before, &add(&before, "192.0.2.7", &path).unwrap());
    assert_eq!(
        spec(&after).pointer("/rules/1/http/paths/0/path").unwrap(),
        PATH
    );
    let back = apply(&after, &remove(&after, "192.0.2.7", PATH, OURS).unwrap());
    assert_eq!(back, before);
}

#[test]
fn the_same_path_of_another_service_is_left_alone() {
    let before =
        ingress(&json!({ "rules": [{ "host": HOST, "http": { "paths": [foreign(PATH)] } }] }));
    assert_eq!(remove_ours(&before), None);
    let after = add_ours(&before).unwrap();
    assert_eq!(
        spec(&after).pointer("/rules/0/http/paths/1").unwrap(),
        &foreign(PATH)
    );
}

/// What cert-manager has put into an Ingress before a take-over.
#[test]
fn the_path_that_cert_manager_has_left_is_replaced_and_removed() {
    let theirs = json!(challenge_path(TOKEN, "cm-acme-http-solver-x7k2p", true));
    let others = json!(challenge_path("other", "cm-acme-http-solver-x7k2p", true));
    let with = |paths: Value| {
        ingress(&json!({ "rules": [
            { "host": "other.example.com", "http": { "paths": [theirs] } },
            { "host": HOST, "http": { "paths": paths } },
        ]}))
    };
    let before = with(json!([theirs, others, foreign("/"), theirs]));
    let clean = with(json!([others, foreign("/")]));
    let ours = challenge_path(TOKEN, OURS, true);
    let after = add_ours(&before).unwrap();
    assert_eq!(after, with(json!([ours, others, foreign("/")])));
    assert_eq!(add_ours(&after), None);
    assert_eq!(remove_ours(&after).unwrap(), clean);
    assert_eq!(remove_ours(&before).unwrap(), clean);
    // A rule of theirs alone is filled, and goes.
    let alone = with(json!([theirs]));
    assert_eq!(add_ours(&alone).unwrap(), with(json!([ours])));
    let gone = spec(&remove_ours(&alone).unwrap());
    assert_eq!(gone["rules"].as_array().unwrap().len(), 1);
    // The Service of another Challenge of ours is no business of this one.
    let foreign = with(json!([challenge_path(
        TOKEN,
        "cm-acme-http-solver-0123456789",
        true
    )]));
    assert_eq!(remove_ours(&foreign), None);
}

#[test]
fn an_ingress_of_our_rule_alone_stays() {
    let rule = json!({ "host": HOST, "http": { "paths": [challenge_path(TOKEN, OURS, true)] } });
    assert_eq!(remove_ours(&ingress(&json!({ "rules": [rule] }))), None);
}

#[test]
fn a_patch_fails_on_another_version() {
    let before =
        ingress(&json!({ "rules": [{ "host": HOST, "http": { "paths": [foreign("/")] } }] }));
    let patch = add(&before, HOST, &challenge_path(TOKEN, OURS, true)).unwrap();
    let mut value = serde_json::to_value(&before).unwrap();
    value["metadata"]["resourceVersion"] = json!("8");
    assert!(json_patch::patch(&mut value, &patch).is_err());
}

fn any_rule() -> impl Strategy<Value = Value> {
    let host = prop_oneof![
        Just(None),
        Just(Some("")),
        Just(Some(HOST)),
        Just(Some("other.example.com")),
    ];
    let path = prop_oneof![Just("/"), Just("/api"), Just(PATH)];
    let paths = prop::option::of(prop::collection::vec(path, 0..3));
    (host, paths).prop_map(|(host, paths)| {
        let mut rule = json!({});
        if let Some(host) = host {
            rule["host"] = json!(host);
        }
        if let Some(paths) = paths {
            let paths: Vec<_> = paths.into_iter().map(foreign).collect();
            rule["http"] = json!({ "paths": paths });
        }
        rule
    })
}

fn any_ingress() -> impl Strategy<Value = Ingress> {
    (prop::collection::vec(any_rule(), 0..4), any::<bool>()).prop_map(|(rules, default)| {
        let mut spec = json!({});
        if default || rules.is_empty() {
            spec["defaultBackend"] = json!({ "service": { "name": "shop" } });
        }
        if !rules.is_empty() {
            spec["rules"] = json!(rules);
        }
        ingress(&spec)
    })
}

proptest! {
    #[test]
    fn removing_undoes_adding(before in any_ingress(), name in prop_oneof![Just(HOST), Just("192.0.2.7")]) {
        let first = challenge_path("one", OURS, true);
        let second = challenge_path("two", "cm-acme-http-solver-2", false);
        let one = apply(&before, &add(&before, name, &first).unwrap());
        let both = apply(&one, &add(&one, name, &second).unwrap());
        prop_assert!(add(&both, name, &first).is_none());
        prop_assert!(add(&both, name, &second).is_none());

        let paths = |path: &str| format!("/.well-known/acme-challenge/{path}");
        let rest = apply(&both, &remove(&both, name, &paths("one"), OURS).unwrap());
        let none = apply(&rest, &remove(&rest, name, &paths("two"), "cm-acme-http-solver-2").unwrap());
        prop_assert_eq!(&none, &before);
        prop_assert!(remove(&none, name, &paths("one"), OURS).is_none());
    }
}
