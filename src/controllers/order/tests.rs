#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Effect, Heard, Made, Memo, Observation, Outcome, Question, Wait, absorb, plan, steps};
use crate::acme::limits::Turn;
use crate::acme::{Identifier, dns01_value};
use crate::api::{Challenge, Order, OrderSpec, names};
use crate::controllers::action::{Action, Event, Object, Plan, Target};
use crate::controllers::facts::Identity;
use crate::controllers::fixtures::{START, issuer, map};
use crate::controllers::key::{Key, Kind};
use crate::explain::{Code, Verdict};

mod limits;
mod preflight;

const URL: &str = "https://ca.example/order/1";
const THUMBPRINT: &str = "thumbprint";

/// Later than the time in which passing states are not written down.
fn later() -> Timestamp {
    START + SignedDuration::from_secs(60)
}

fn http01() -> Value {
    json!([{ "http01": { "ingress": { "ingressClassName": "traefik" } } }])
}

fn authorization(name: &str) -> Value {
    let challenge = |kind: &str| json!({ "type": kind, "token": format!("token-{}", name.replace(['.', ':'], "_")), "url": format!("https://ca.example/{kind}/{name}") });
    json!({
        "url": format!("https://ca.example/authz/{name}"),
        "identifier": name,
        "wildcard": false,
        "initialState": "pending",
        "challenges": [challenge("dns-01"), challenge("http-01")],
    })
}

/// An Order whose status is this, and an issuer with these solvers.
fn seen(status: &Value, solvers: &Value) -> Observation {
    let acme = json!({ "server": "https://ca.example/dir", "privateKeySecretRef": { "name": "a" }, "solvers": solvers });
    let order = Order {
        metadata: ObjectMeta {
            name: Some("app-1-7".into()),
            namespace: Some("shop".into()),
            uid: Some("uid-of-order".into()),
            resource_version: Some("7".into()),
            creation_timestamp: Some(Time(START)),
            ..ObjectMeta::default()
        },
        spec: OrderSpec {
            dns_names: Some(vec!["b.example.com".into(), "a.example.com".into()]),
            ..OrderSpec::default()
        },
        status: serde_json::from_value(status.clone()).unwrap(),
    };
    Observation {
        order: order.into(),
        issuer: Some(
            issuer(
                json!({ "acme": acme }),
                Some((true, "ACMEAccountRegistered")),
            )
            .into(),
        ),
        thumbprint: Some(THUMBPRINT.into()),
        challenges: vec![],
        ahead: None,
        turn: Turn::Go,
        memo: Memo::default(),
        made: None,
        orphaned: false,
        in_use_until: None,
    }
}

/// An Order that the CA has, with the authorizations of these names.
fn pending(names: &[&str], solvers: &Value) -> Observation {
    let authorizations: Vec<Value> = names.iter().map(|n| authorization(n)).collect();
    let status = json!({ "url": URL, "finalizeURL": "https://ca.example/f", "state": "pending", "authorizations": authorizations });
    seen(&status, solvers)
}

fn edit(seen: &mut Observation, status: &Value) {
    let mut order = Order::clone(&seen.order);
    let mut whole = json!(order.status.unwrap_or_default());
    json_patch::merge(&mut whole, status);
    order.status = serde_json::from_value(whole).unwrap();
    seen.order = order.into();
}

/// The Challenges that a plan creates; it does nothing else.
fn created(plan: &Plan<Effect>) -> Vec<Challenge> {
    let challenge = |action: &Action| match action {
        Action::Ensure(object) => match &**object {
            Object::Challenge(challenge) => challenge.clone(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    plan.actions.iter().map(challenge).collect()
}

/// The Challenges that the Order needs, as the API server would have them, in these states.
fn with_challenges(mut seen: Observation, states: &[Option<&str>]) -> Observation {
    let made = created(&plan(&seen, later()));
    assert_eq!(made.len(), states.len());
    let stored = made
        .into_iter()
        .zip(states)
        .enumerate()
        .map(|(n, (mut challenge, state))| {
            challenge.metadata.uid = Some(format!("uid-{n}"));
            challenge.status = serde_json::from_value(
                json!({ "state": state, "reason": state.map(|s| format!("it is {s}")) }),
            )
            .unwrap();
            Arc::new(challenge)
        });
    seen.challenges = stored.collect();
    seen
}

fn status(action: &Action) -> &Value {
    let Action::PatchStatus {
        key,
        version,
        status,
    } = action
    else {
        panic!("{action:?}")
    };
    assert_eq!(
        (key, version.as_str()),
        (&Key::new(Kind::Order, "shop", "app-1-7"), "7")
    );
    status
}

fn deletes(actions: &[Action], challenges: &[Arc<Challenge>]) {
    let wanted: Vec<_> = challenges
        .iter()
        .map(|c| Action::Delete(Target::Challenge, Identity::of(&c.metadata)))
        .collect();
    assert_eq!(actions, wanted);
}

#[test]
fn the_ca_does_not_hear_of_an_order_that_nobody_asked_for() {
    let mut seen = seen(&json!({}), &json!([]));
    assert!(matches!(
        plan(&seen, START).effect,
        Some(Effect::Ask(Question::Create { .. }))
    ));
    seen.orphaned = true;
    assert_eq!(plan(&seen, START), Plan::idle());
}

#[test]
fn an_order_begins_at_the_ca_with_its_names_sorted() {
    let mut seen = seen(&Value::Null, &http01());
    let mut order = Order::clone(&seen.order);
    order.spec.common_name = Some("c.example.com".into());
    order.spec.ip_addresses = Some(vec!["192.0.2.7".into()]);
    order.spec.duration = Some("24h".into());
    order.spec.profile = Some("short".into());
    order.spec.replaces = Some("key.serial".into());
    seen.order = order.clone().into();
    let names =
        ["a.example.com", "b.example.com", "c.example.com"].map(|n| Identifier::dns(n.to_owned()));
    let ip = Identifier::ip("192.0.2.7".parse().unwrap());
    let wanted = Question::Create {
        identifiers: names.into_iter().chain([ip]).collect(),
        duration: Some(Duration::from_hours(24)),
        profile: Some("short".into()),
        replaces: Some("key.serial".into()),
    };
    assert_eq!(
        plan(&seen, START),
        Plan {
            effect: Some(Effect::Ask(wanted)),
            ..Plan::idle()
        }
    );

    // A common name that is another name already, or an address, is no further one.
    for common_name in ["a.example.com", "192.0.2.7"] {
        order.spec.common_name = Some(common_name.into());
        seen.order = order.clone().into();
        let Some(Effect::Ask(Question::Create { identifiers, .. })) = plan(&seen, START).effect
        else {
            panic!()
        };
        assert_eq!(identifiers.len(), 3, "{common_name}");
    }
}

#[test]
fn an_order_that_is_not_wholly_known_is_read() {
    for status in [
        json!({ "url": URL }),
        json!({ "url": URL, "finalizeURL": "f" }),
        json!({ "url": URL, "finalizeURL": "f", "authorizations": [] }),
        json!({ "url": URL, "finalizeURL": "f", "authorizations": [{ "url": "a" }] }),
        json!({ "url": URL, "authorizations": [authorization("a")] }),
    ] {
        assert_eq!(
            plan(&seen(&status, &http01()), START).effect,
            Some(Effect::Ask(Question::Read)),
            "{status}"
        );
    }
}

/// A CA that knows the account's names already has nothing to ask for.
#[test]
fn an_order_without_authorizations_is_completed() {
    let status = json!({ "url": URL, "finalizeURL": "f", "authorizations": [], "state": "ready" });
    let plan = plan(&seen(&status, &http01()), START);
    assert_eq!(plan.effect, Some(Effect::Ask(Question::Complete)));
}

#[test]
fn what_the_ca_says_is_stored_and_the_challenges_made_at_once() {
    let before = seen(&Value::Null, &http01());
    let authorizations = [
        authorization("a.example.com"),
        authorization("b.example.com"),
    ];
    let made = Made {
        url: URL.into(),
        finalize_url: "https://ca.example/f".into(),
        state: "pending".into(),
        expires: Some(later()),
        authorizations: serde_json::from_value(json!(authorizations)).unwrap(),
        without_replaces: false,
    };
    let outcome = Outcome::Read(made.clone());
    let plan = absorb(&before, outcome, START);
    let written = json!({
        "url": URL,
        "finalizeURL": "https://ca.example/f",
        "state": "pending",
        "authorizations": authorizations,
        "expires": "2026-01-01T00:01:00Z",
        "reason": null,
    });
    assert_eq!(status(&plan.actions[0]), &written);
    let rest = Plan {
        actions: plan.actions[1..].to_vec(),
        ..Plan::idle()
    };
    assert_eq!(
        created(&rest),
        created(&super::plan(
            &pending(&["a.example.com", "b.example.com"], &http01()),
            START
        ))
    );

    // As long as no status shows it, it is written again, whatever else is in the way: another question makes another order.
    let mut unseen = before;
    unseen.made = Some(made);
    unseen.turn = Turn::Behind(None);
    unseen.memo.resting = Some(later());
    assert_eq!(super::plan(&unseen, START), plan);
    unseen.issuer = None;
    let again = super::plan(&unseen, START);
    assert_eq!((status(&again.actions[0]), again.effect), (&written, None));
    let seen = with_challenges(pending(&["a.example.com"], &http01()), &[Some("valid")]);
    let shown = Observation {
        made: unseen.made,
        ..seen
    };
    let complete = Some(Effect::Ask(Question::Complete));
    assert_eq!(super::plan(&shown, START).effect, complete);
}

/// (What the CA wants to be proven, whether it has been asked for `*.w.example.com`, `a.example.com`, `b.example.com` and an
/// address.)
#[test]
fn what_was_not_asked_for_is_not_proven() {
    for (name, wildcard, asked) in [
        ("a.example.com", Some(false), true),
        ("A.Example.com", None, true),
        ("w.example.com", Some(true), true),
        // Some CAs do not say that it is one.
        ("w.example.com", None, true),
        ("2001:db8:0::1", None, true),
        ("a.example.com", Some(true), false),
        ("*.w.example.com", Some(false), false),
        ("x.w.example.com", Some(false), false),
        ("bank.example", Some(false), false),
        ("", None, false),
    ] {
        let mut seen = seen(&Value::Null, &http01());
        let order = Arc::make_mut(&mut seen.order);
        order.spec.common_name = Some("*.w.example.com".into());
        order.spec.ip_addresses = Some(vec!["2001:db8::1".into()]);
        let mut one = authorization(name);
        one["wildcard"] = json!(wildcard);
        let read = |one: &Value| {
            Outcome::Read(Made {
                url: URL.into(),
                finalize_url: "https://ca.example/f".into(),
                state: "pending".into(),
                expires: None,
                authorizations: serde_json::from_value(json!([
                    authorization("b.example.com"),
                    one
                ]))
                .unwrap(),
                without_replaces: false,
            })
        };
        let plan = absorb(&seen, read(&one), START);
        let said = status(&plan.actions[0]);
        if asked {
            assert_eq!(said["state"], "pending", "{name}");
            continue;
        }
        assert_eq!((&said["state"], plan.actions.len()), (&json!("errored"), 1));
        let reason = said["reason"].as_str().unwrap();
        assert!(
            reason.contains("EL-1420") && reason.contains(name),
            "{reason}"
        );
        // What the CA has found proven before costs nothing.
        one["initialState"] = json!("valid");
        let plan = absorb(&seen, read(&one), START);
        assert_eq!(status(&plan.actions[0])["state"], "pending");
    }
}

/// It becomes a part of paths, and of an Ingress (RFC 8555 §8.3).
#[test]
fn an_order_with_a_token_that_is_none_has_ended() {
    let seen = seen(&Value::Null, &http01());
    for (kind, token, is_used) in [
        ("http-01", "../../admin", false),
        ("http-01", "a\r\nHost: b", false),
        ("dns-01", "", false),
        ("http-01", &*"a".repeat(10_000), false),
        ("http-01", &*"a".repeat(128), true),
        ("tls-alpn-01", "not ours", true),
    ] {
        let mut one = authorization("a.example.com");
        one["challenges"][1] = json!({ "type": kind, "token": token, "url": "u" });
        let outcome = Outcome::Read(Made {
            url: URL.into(),
            finalize_url: "https://ca.example/f".into(),
            state: "pending".into(),
            expires: None,
            authorizations: serde_json::from_value(json!([one])).unwrap(),
            without_replaces: false,
        });
        let plan = absorb(&seen, outcome, START);
        let said = status(&plan.actions[0]);
        assert_eq!(said["state"] == "pending", is_used, "{kind} {token}");
        let reason = said["reason"].as_str().unwrap_or_default();
        assert_eq!(reason.contains("is not base64url"), !is_used, "{reason}");
        assert!(is_used || token.is_empty() || !reason.contains(token));
    }
    // As an Order of before may have it.
    let mut before = pending(&["a.example.com"], &http01());
    let mut one = authorization("a.example.com");
    one["challenges"][1]["token"] = json!("../../admin");
    edit(&mut before, &json!({ "authorizations": [one] }));
    let plan = plan(&before, START);
    let reason = status(&plan.actions[0])["reason"].as_str().unwrap();
    assert!(reason.contains("is not base64url"), "{reason}");
}

#[test]
fn a_challenge_says_what_is_to_be_shown() {
    let mut seen = pending(&["a.example.com"], &http01());
    let made = created(&plan(&seen, START)).remove(0);
    let spec = &made.spec;
    assert_eq!(
        (spec.type_.as_str(), spec.dns_name.as_str(), spec.wildcard),
        ("HTTP-01", "a.example.com", Some(false))
    );
    assert_eq!(
        (spec.token.as_str(), spec.key.as_str()),
        ("token-a_example_com", "token-a_example_com.thumbprint")
    );
    assert_eq!(
        (spec.url.as_str(), spec.authorization_url.as_str()),
        (
            "https://ca.example/http-01/a.example.com",
            "https://ca.example/authz/a.example.com"
        )
    );
    let meta = &made.metadata;
    assert_eq!(meta.name, names::challenge_name("app-1-7", spec).ok());
    assert_eq!(
        meta.finalizers.as_deref(),
        Some(&["acme.cert-manager.io/finalizer".to_owned()][..])
    );
    assert_eq!((&meta.labels, &meta.annotations), (&None, &None));
    let owner = &meta.owner_references.as_ref().unwrap()[0];
    assert_eq!(
        (owner.kind.as_str(), owner.uid.as_str(), owner.controller),
        ("Order", "uid-of-order", Some(true))
    );

    // What the Certificate overrides comes with the Order's annotations.
    let mut order = Order::clone(&seen.order);
    order.metadata.annotations = Some(map(&[(
        "acme.cert-manager.io/http01-override-ingress-name",
        "web",
    )]));
    seen.order = order.into();
    let made = created(&plan(&seen, START)).remove(0);
    let ingress = made.spec.solver.http01.unwrap().ingress.unwrap();
    assert_eq!(
        (ingress.name.as_deref(), ingress.ingress_class_name),
        (Some("web"), None)
    );
}

#[test]
fn a_wildcard_is_solved_by_dns() {
    let mut seen = pending(
        &["a.example.com"],
        &json!([{ "dns01": { "webhook": { "groupName": "a", "solverName": "b" } } }]),
    );
    edit(
        &mut seen,
        &json!({ "authorizations": [{
        "url": "u", "identifier": "a.example.com", "wildcard": true, "initialState": "pending",
        "challenges": [{ "type": "dns-01", "token": "t", "url": "c" }],
    }] }),
    );
    let spec = created(&plan(&seen, START)).remove(0).spec;
    assert_eq!((spec.type_.as_str(), spec.wildcard), ("DNS-01", Some(true)));
    assert_eq!(spec.key, dns01_value("t.thumbprint"));
}

#[test]
fn only_what_is_open_is_solved() {
    let mut half = pending(&["a.example.com", "b.example.com"], &http01());
    let mut valid = authorization("a.example.com");
    valid["initialState"] = json!("valid");
    edit(
        &mut half,
        &json!({ "authorizations": [valid, authorization("b.example.com")] }),
    );
    let names: Vec<_> = created(&plan(&half, START))
        .into_iter()
        .map(|c| c.spec.dns_name)
        .collect();
    assert_eq!(names, ["b.example.com"]);
    edit(&mut half, &json!({ "authorizations": [valid] }));
    assert_eq!(
        plan(&half, START),
        Plan {
            effect: Some(Effect::Ask(Question::Complete)),
            ..Plan::idle()
        },
        "nothing to prove"
    );
}

#[test]
fn missing_challenges_are_made_and_others_deleted() {
    let mut seen = with_challenges(
        pending(&["a.example.com", "b.example.com"], &http01()),
        &[None, None],
    );
    assert_eq!(plan(&seen, START), Plan::idle(), "both are under way");
    let lost = seen.challenges.pop().unwrap();
    let mut stray = Challenge::clone(&lost);
    stray.metadata.name = Some("stray".into());
    seen.challenges.push(stray.into());
    let acted = plan(&seen, START);
    deletes(&acted.actions[..1], &seen.challenges[1..]);
    assert_eq!(
        created(&Plan {
            actions: acted.actions[1..].to_vec(),
            ..Plan::idle()
        })[0]
            .metadata
            .name,
        lost.metadata.name
    );
}

#[test]
fn the_ca_is_asked_when_all_is_done_or_something_failed() {
    let order = || pending(&["a.example.com", "b.example.com"], &http01());
    for (states, completes) in [
        ([Some("valid"), Some("valid")], true),
        ([Some("valid"), Some("pending")], false),
        ([Some("valid"), None], false),
        ([Some("pending"), Some("processing")], false),
        ([Some("invalid"), None], true),
        ([Some("pending"), Some("expired")], true),
        ([Some("errored"), Some("valid")], true),
    ] {
        let plan = plan(&with_challenges(order(), &states), START);
        assert_eq!(
            plan.effect == Some(Effect::Ask(Question::Complete)),
            completes,
            "{states:?}"
        );
        assert_eq!(plan.actions, [], "{states:?}");
    }
}

#[test]
fn an_order_that_the_ca_holds_for_ready_is_completed_whatever_the_solvers_are_now() {
    for state in ["ready", "processing", "valid"] {
        for solvers in [http01(), json!([])] {
            let mut seen = pending(&["a.example.com"], &solvers);
            edit(&mut seen, &json!({ "state": state }));
            assert_eq!(
                plan(&seen, START).effect,
                Some(Effect::Ask(Question::Complete)),
                "{state} {solvers}"
            );
        }
    }
}

#[test]
fn an_order_that_has_ended_rests() {
    for state in ["invalid", "expired", "errored"] {
        let mut seen = with_challenges(pending(&["a.example.com"], &http01()), &[Some("invalid")]);
        edit(&mut seen, &json!({ "state": state }));
        assert_eq!(plan(&seen, START), Plan::idle(), "its Challenges say why");
    }
    let mut seen = with_challenges(pending(&["a.example.com"], &http01()), &[Some("valid")]);
    edit(
        &mut seen,
        &json!({ "state": "valid", "certificate": ByteString(b"pem".to_vec()) }),
    );
    deletes(&plan(&seen, START).actions, &seen.challenges);
    seen.challenges.clear();
    assert_eq!(plan(&seen, START), Plan::idle());
    let mut order = Order::clone(&pending(&["a"], &http01()).order);
    order.metadata.deletion_timestamp = Some(Time(START));
    seen.order = order.into();
    assert_eq!(plan(&seen, START), Plan::idle());
}

#[test]
fn without_its_issuer_it_waits() {
    let mut seen = with_challenges(pending(&["a.example.com"], &http01()), &[Some("pending")]);
    seen.thumbprint = None;
    assert_eq!(
        plan(&seen, START),
        Plan::idle(),
        "the account is not loaded"
    );
    seen.thumbprint = Some(THUMBPRINT.into());
    let mut fact = (**seen.issuer.as_ref().unwrap()).clone();
    fact.status.conditions = None;
    seen.issuer = Some(fact.into());
    assert_eq!(plan(&seen, START), Plan::idle(), "not ready");
    seen.issuer = None;
    deletes(&plan(&seen, START).actions, &seen.challenges);
}

#[test]
fn no_solver_is_said_once_and_forgotten_when_there_is_one() {
    for solvers in [
        json!([]),
        json!([{ "dns01": { "webhook": { "groupName": "a", "solverName": "b" } }, "selector": { "dnsNames": ["x"] } }]),
    ] {
        let mut seen = pending(&["a.example.com"], &solvers);
        let first = plan(&seen, START);
        let reason = status(&first.actions[0])["reason"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(!reason.is_empty());
        assert_eq!(
            (first.events[0].reason.as_str(), first.events[0].warning),
            ("Solver", true)
        );
        edit(&mut seen, &json!({ "reason": reason }));
        assert_eq!(plan(&seen, START), Plan::idle());

        let mut mended = pending(&["a.example.com"], &http01());
        edit(&mut mended, &json!({ "reason": reason }));
        let plan = plan(&mended, START);
        assert_eq!(status(&plan.actions[0]), &json!({ "reason": null }));
        assert_eq!(plan.actions.len(), 2);
    }
    // Two overrides at once: none is chosen.
    let mut seen = pending(&["a.example.com"], &http01());
    let mut order = Order::clone(&seen.order);
    order.metadata.annotations = Some(map(&[
        ("acme.cert-manager.io/http01-override-ingress-name", "web"),
        (
            "acme.cert-manager.io/http01-override-ingress-class",
            "traefik",
        ),
    ]));
    seen.order = order.into();
    assert_eq!(plan(&seen, START).events[0].reason, "Solver");
}

#[test]
fn the_certificate_is_stored_and_the_challenges_go() {
    let seen = with_challenges(pending(&["a.example.com"], &http01()), &[Some("valid")]);
    let plan = absorb(&seen, Outcome::Issued(b"chain".to_vec()), START);
    let written =
        json!({ "state": "valid", "certificate": ByteString(b"chain".to_vec()), "reason": null });
    assert_eq!(status(&plan.actions[0]), &written);
    deletes(&plan.actions[1..], &seen.challenges);
}

#[test]
fn an_order_with_nothing_to_prove_is_finalized_when_it_is_ready_and_read_until_then() {
    let mut seen = pending(&[], &http01());
    assert_eq!(plan(&seen, START).effect, Some(Effect::Ask(Question::Read)));
    for state in ["ready", "processing", "valid"] {
        edit(&mut seen, &json!({ "state": state }));
        let wanted = Some(Effect::Ask(Question::Complete));
        assert_eq!(plan(&seen, START).effect, wanted, "{state}");
    }
    // What is written as it was wakes nobody.
    let outcome = Outcome::Read(Made {
        url: URL.into(),
        finalize_url: "https://ca.example/f".into(),
        state: String::new(),
        expires: None,
        authorizations: vec![],
        without_replaces: false,
    });
    let again = absorb(&seen, outcome, START);
    assert_eq!(again.wake, Some(Duration::from_secs(10)));
    assert_eq!(status(&again.actions[0])["state"], Value::Null, "not known");
}

#[test]
fn each_step_can_be_told() {
    let seen = pending(&["a.example.com"], &http01());
    let made = plan(&seen, START);
    let name = created(&made)[0].metadata.name.clone().unwrap();
    let message = format!("Created Challenge resource \"{name}\" for domain \"a.example.com\"");
    let event = Event::normal("cert-manager-orders", "Created", message);
    assert_eq!(steps(&made), [event]);
    let done = absorb(&seen, Outcome::Issued(b"chain".to_vec()), START);
    let message = "Order completed successfully";
    let event = Event::normal("cert-manager-orders", "Complete", message);
    assert_eq!(steps(&done), [event]);
    assert_eq!(steps(&Plan::idle()), []);
}

#[test]
fn passing_states_are_written_only_when_they_last() {
    let seen = pending(&["a.example.com"], &http01());
    let outcome = |state: &str| Outcome::NotYet {
        state: state.into(),
        retry: Some(Duration::from_secs(3)),
        expires: None,
    };
    let early = absorb(&seen, outcome("processing"), START);
    assert_eq!(
        (early.actions, early.wake),
        (vec![], Some(Duration::from_secs(3)))
    );
    let late = absorb(&seen, outcome("processing"), later());
    assert_eq!(status(&late.actions[0]), &json!({ "state": "processing" }));
    // One that the API does not have is none.
    assert_eq!(absorb(&seen, outcome(""), later()).actions, []);
    assert_eq!(
        absorb(&seen, outcome("pending"), later()).actions,
        [],
        "no news"
    );
}

#[test]
fn a_ca_that_cannot_be_reached_is_asked_again() {
    let mut seen = pending(&["a.example.com"], &http01());
    let outcome = || Outcome::Unavailable {
        reason: "no route".into(),
        wait: Wait::Fault,
    };
    let plan = absorb(&seen, outcome(), START);
    assert_eq!(
        (status(&plan.actions[0]), plan.wake),
        (
            &json!({ "reason": "no route" }),
            Some(Duration::from_secs(5))
        )
    );
    edit(&mut seen, &json!({ "reason": "no route" }));
    seen.memo.faults = 1;
    let again = absorb(&seen, outcome(), START);
    assert_eq!(
        (again.actions, again.wake),
        (vec![], Some(Duration::from_secs(10))),
        "said once"
    );
    // It is forgotten when the CA answers again.
    let answer = Outcome::NotYet {
        state: "pending".into(),
        retry: Some(Duration::from_secs(1)),
        expires: None,
    };
    let plan = absorb(&seen, answer, START);
    assert_eq!(status(&plan.actions[0]), &json!({ "reason": null }));
}

#[test]
fn that_the_ca_names_a_time_does_not_hide_that_it_is_at_fault() {
    let seen = pending(&["a.example.com"], &http01());
    let told = Verdict::new(Code::CA_UNABLE, "the CA answers with status 503").to_string();
    let outcome = Outcome::Unavailable {
        reason: told,
        wait: Wait::Asked(Duration::from_hours(24)),
    };
    let plan = absorb(&seen, outcome, START);
    let reason = status(&plan.actions[0])["reason"].as_str().unwrap();
    let expected = "the CA answers with status 503. Next attempt at 2026-01-02T00:00:00Z, as the CA asks (EL-1420).";
    assert_eq!(reason, expected);
    let fault = crate::explain::ca_fault(reason).unwrap();
    assert_eq!((fault.code, fault.until), (Code::CA_UNABLE, None));
}

#[test]
fn an_order_that_is_asked_for_in_vain_is_given_up() {
    let later = START - SignedDuration::from_hours(6);
    let over = START - SignedDuration::from_hours(7);
    for (wait, faults, expires, ends) in [
        (Wait::Missing, 5, later, false),
        (Wait::Missing, 6, later, true),
        (Wait::Missing, 0, over, true),
        (Wait::Unknown, 2, later, false),
        (Wait::Unknown, 3, later, true),
        (Wait::Fault, 99, later, false),
        (Wait::Fault, 99, over, true),
        (Wait::Refused, 99, over, false),
    ] {
        let mut seen = pending(&["a.example.com"], &http01());
        edit(&mut seen, &json!({ "expires": expires }));
        // Faults of another kind before are no answers about the order.
        let is_unknown = wait == Wait::Unknown;
        (seen.memo.faults, seen.memo.unknown) = if is_unknown { (9, faults) } else { (faults, 9) };
        let reason = "404 (EL-1420)".to_owned();
        let plan = absorb(&seen, Outcome::Unavailable { reason, wait }, START);
        let state = status(&plan.actions[0]).get("state");
        let ended = state.is_some_and(|state| state == "errored");
        assert_eq!(ended, ends, "{wait:?} {faults} {expires}");
        // Nobody waits for one that is not there yet.
        edit(&mut seen, &json!({ "url": null }));
        let reason = "404 (EL-1420)".to_owned();
        let plan = absorb(&seen, Outcome::Unavailable { reason, wait }, START);
        assert_eq!(status(&plan.actions[0]).get("state"), None);
    }
}

/// (How the CA is to be left alone, what was refused before, for how long then, what the reader is told.)
#[test]
fn a_ca_is_left_alone_for_as_long_as_it_must() {
    let minutes = Duration::from_mins;
    let hours = Duration::from_hours;
    let memo = |faults, refusals| Memo {
        faults,
        refusals,
        ..Memo::default()
    };
    for (wait, memo, expected, note) in [
        (Wait::Fault, memo(0, 0), Duration::from_secs(5), ""),
        (Wait::Fault, memo(3, 0), Duration::from_secs(40), ""),
        (Wait::Fault, memo(u32::MAX, 0), minutes(5), ""),
        (
            Wait::Refused,
            memo(9, 0),
            minutes(1),
            ". Next attempt at 2026-01-01T00:01:00Z",
        ),
        (
            Wait::Refused,
            memo(0, 1),
            minutes(10),
            ". Next attempt at 2026-01-01T00:10:00Z",
        ),
        (
            Wait::Refused,
            memo(0, 2),
            minutes(100),
            ". Next attempt at 2026-01-01T01:40:00Z",
        ),
        (
            Wait::Refused,
            memo(0, 3),
            hours(24),
            ". Next attempt at 2026-01-02T00:00:00Z",
        ),
        (
            Wait::Refused,
            memo(0, u32::MAX),
            hours(24),
            ". Next attempt at 2026-01-02T00:00:00Z",
        ),
        (
            Wait::Asked(minutes(3)),
            memo(0, 7),
            minutes(3),
            ". Next attempt at 2026-01-01T00:03:00Z, as the CA asks",
        ),
        (
            Wait::Human,
            memo(0, 0),
            hours(24),
            ". Next attempt at 2026-01-02T00:00:00Z",
        ),
    ] {
        let mut seen = pending(&["a.example.com"], &http01());
        seen.memo = memo.clone();
        let reason = "no".to_owned();
        let plan = absorb(&seen, Outcome::Unavailable { reason, wait }, START);
        assert_eq!(plan.wake, Some(expected), "{wait:?} {memo:?}");
        let written = json!({ "reason": format!("no{note}") });
        assert_eq!(status(&plan.actions[0]), &written);
        // Whatever wakes it before, its own write among it, asks nobody.
        seen.memo = memo.after(Heard::Wait(wait), plan.wake, START);
        let mut early = seen.clone();
        edit(&mut early, &json!({ "url": null }));
        assert_eq!(super::plan(&early, START), Plan::wait(expected));
        let then = START.checked_add(expected).unwrap();
        assert!(super::plan(&early, then).effect.is_some());
    }
}

/// (How the CA is to be left alone, hours left of the certificate in use, the wait in minutes.)
#[test]
fn a_ca_is_not_left_alone_beyond_a_share_of_the_life_left() {
    for (wait, left, expected) in [
        (Wait::Refused, 30 * 24, 24 * 60),
        (Wait::Refused, 50, 5 * 60),
        (Wait::Refused, -1, 24 * 60),
        (Wait::Human, 30 * 24, 24 * 60),
        (Wait::Human, 50, 5 * 60),
        (Wait::Human, 2, 60),
    ] {
        let mut seen = pending(&["a.example.com"], &http01());
        seen.in_use_until = Some(START + SignedDuration::from_hours(left));
        seen.memo.refusals = 9;
        let reason = "no".to_owned();
        let plan = absorb(&seen, Outcome::Unavailable { reason, wait }, START);
        assert_eq!(
            plan.wake,
            Some(Duration::from_mins(expected)),
            "{wait:?} {left}"
        );
    }
}

#[test]
fn a_ca_that_is_at_work_is_looked_at_ever_less_often_and_not_for_ever() {
    let mut seen = pending(&["a.example.com"], &http01());
    let (mut now, mut looks) = (START, 0);
    let outcome = || Outcome::NotYet {
        state: "processing".into(),
        retry: None,
        expires: None,
    };
    loop {
        let plan = absorb(&seen, outcome(), now);
        let Some(wake) = plan.wake else {
            let written = status(&plan.actions[0]);
            assert_eq!(written["state"], "errored");
            let reason = written["reason"].as_str().unwrap();
            assert!(
                reason.contains("for an hour") && reason.contains("processing"),
                "{reason}"
            );
            break;
        };
        assert!(wake <= Duration::from_secs(30));
        seen.memo = seen.memo.after(Heard::AtWork, plan.wake, now);
        now = now.checked_add(wake).unwrap();
        looks += 1;
    }
    let passed = now.duration_since(START);
    assert!(passed < SignedDuration::from_mins(61), "{passed}");
    assert!(looks < 135, "{looks}");
    assert_eq!(Memo::default().look(START), Duration::from_millis(500));
}

/// `ZeroSSL` takes more than an hour when there is much to do; where a human has to say yes, it takes a day. (When the order
/// ends, after how many hours it is given up.)
#[test]
fn a_ca_that_makes_a_certificate_has_as_long_as_its_order_lasts() {
    for (ends, given_up) in [(None, 1), (Some(0), 1), (Some(20), 20), (Some(90 * 24), 72)] {
        for state in ["processing", "ready"] {
            let mut seen = pending(&["a.example.com"], &http01());
            let (mut now, mut looks) = (START, 0);
            let hours = |hours| START + SignedDuration::from_hours(hours);
            let plan = loop {
                let outcome = Outcome::NotYet {
                    state: state.into(),
                    retry: None,
                    expires: ends.map(hours),
                };
                let plan = absorb(&seen, outcome, now);
                let Some(wake) = plan.wake else { break plan };
                for action in &plan.actions {
                    edit(&mut seen, status(action));
                }
                seen.memo = seen.memo.after(Heard::AtWork, plan.wake, now);
                let said = seen.order.status.clone().unwrap().reason;
                let is_late = now >= hours(1);
                let fault = said.as_deref().and_then(crate::explain::ca_fault);
                assert_eq!(fault.is_some(), is_late, "another CA may be asked: {now}");
                let is_slow = state == "processing" && now >= START + SignedDuration::from_secs(30);
                assert_eq!(said.is_some(), is_late || is_slow, "{now}");
                now = now.checked_add(wake).unwrap();
                looks += 1;
            };
            assert_eq!(status(&plan.actions[0])["state"], "errored");
            let expected = if state == "processing" { given_up } else { 1 };
            let took = now.duration_since(START).as_mins();
            assert!((expected * 60..expected * 60 + 6).contains(&took), "{took}");
            assert!(looks < 1000, "{looks}");
        }
    }
    // A new process knows of no time: what was said stays.
    let mut seen = pending(&["a.example.com"], &http01());
    seen.memo.working = Some(START - SignedDuration::from_hours(2));
    let outcome = || Outcome::NotYet {
        state: "processing".into(),
        retry: None,
        expires: Some(Timestamp::MAX),
    };
    let plan = absorb(&seen, outcome(), START);
    edit(&mut seen, status(&plan.actions[0]));
    seen.memo = Memo::default();
    assert_eq!(absorb(&seen, outcome(), START).actions, []);
}

#[test]
fn a_ca_that_wants_to_be_left_alone_for_a_day_is_not_believed_at_first() {
    let mut seen = pending(&["a.example.com"], &http01());
    for (working, granted) in [(None, 60), (Some(30), 60), (Some(240), 240)] {
        let since = |seconds| START - SignedDuration::from_secs(seconds);
        seen.memo.working = working.map(since);
        let outcome = Outcome::NotYet {
            state: "processing".into(),
            retry: Some(Duration::from_hours(24)),
            expires: None,
        };
        let wake = absorb(&seen, outcome, START).wake;
        assert_eq!(wake, Some(Duration::from_secs(granted)));
    }
}

#[test]
fn an_order_that_the_ca_is_about_to_end_is_given_up() {
    let mut seen = with_challenges(pending(&["a.example.com"], &http01()), &[Some("pending")]);
    edit(&mut seen, &json!({ "expires": "2026-01-01T01:00:00Z" }));
    assert_eq!(plan(&seen, START), Plan::wait(Duration::from_secs(3570)));
    let late = START + SignedDuration::from_mins(60);
    // Nobody has asked for it who would ask again.
    let plan = plan(&seen, late);
    let written = status(&plan.actions[0]);
    assert_eq!(written["state"], "expired");
    let reason = "The CA's order has expired before all of its names were proven: challenge for \"a.example.com\": it is pending";
    assert_eq!(written["reason"], reason);
    deletes(&plan.actions[1..], &seen.challenges);
    // What is proven is brought to its end: that of an authorization while it was open is not its own.
    let mut proven = with_challenges(pending(&["a.example.com"], &http01()), &[Some("valid")]);
    edit(&mut proven, &json!({ "expires": "2026-01-01T01:00:00Z" }));
    edit(&mut seen, &json!({ "state": "ready" }));
    for seen in [seen, proven] {
        let plan = super::plan(&seen, late);
        assert_eq!(plan.effect, Some(Effect::Ask(Question::Complete)));
        assert_eq!(plan.actions, []);
    }
}

/// It is no failed attempt: what keeps it is waited for, and noticed. (Its age in minutes, how far its Challenges are, whether it is
/// made anew.)
#[test]
fn an_order_that_runs_out_before_the_ca_could_validate_is_made_anew() {
    let names = ["a.example.com", "b.example.com"];
    for (age, states, anew) in [
        (60, [Some("pending"), None], true),
        (60, [Some("valid"), Some("pending")], true),
        (60, [Some("pending"), Some("processing")], false),
        (29, [Some("pending"), None], false),
        (0, [Some("pending"), None], false),
    ] {
        let mut seen = with_challenges(pending(&names, &http01()), &states);
        let late = START + SignedDuration::from_mins(age);
        edit(&mut seen, &json!({ "expires": late }));
        let mut order = Order::clone(&seen.order);
        let owner = json!([{ "apiVersion": "cert-manager.io/v1", "kind": "CertificateRequest", "name": "site-1", "uid": "r", "controller": true }]);
        order.metadata.owner_references = serde_json::from_value(owner).unwrap();
        seen.order = order.into();
        // Until its end the CA gives the same order again.
        let soon = plan(&seen, late - SignedDuration::from_secs(30));
        let waits = soon == Plan::wait(Duration::from_secs(40));
        assert_eq!(waits, anew, "{age} {states:?}: {soon:?}");
        let plan = plan(&seen, late + SignedDuration::from_secs(10));
        let (last, first) = plan.actions.split_last().unwrap();
        let remakes = *last == Action::Delete(Target::Order, Identity::of(&seen.order.metadata));
        assert_eq!(remakes, anew, "{age} {states:?}: {plan:?}");
        if remakes {
            deletes(first, &seen.challenges);
        } else {
            assert_eq!(status(&plan.actions[0])["state"], "expired");
        }
    }
}

/// The CA has given one order to two, and the other has ended it.
#[test]
fn the_certificate_of_another_key_is_a_new_beginning_once_and_then_the_fault_of_the_ca() {
    let mut seen = pending(&["a.example.com"], &http01());
    let reason = "it is for another public key (EL-1420).";
    let other = || Outcome::OtherKey(reason.into());
    let heard = other().heard();
    let first = absorb(&seen, other(), START);
    let id = Identity::of(&seen.order.metadata);
    assert_eq!(first.actions, [Action::Delete(Target::Order, id)]);
    seen.memo = seen.memo.after(heard, None, START);
    let made = Heard::News;
    seen.memo = seen.memo.after(made, None, START);
    seen.memo = seen.memo.after(Heard::AtWork, None, START);
    let second = absorb(&seen, other(), START);
    let written = json!({ "state": "errored", "reason": reason, "failureTime": START });
    assert_eq!(status(&second.actions[0]), &written);
    assert_eq!(second.actions.len(), 1);
}

#[test]
fn a_challenge_of_the_key_before_is_made_anew() {
    let mut seen = with_challenges(pending(&["a.example.com"], &http01()), &[Some("pending")]);
    seen.thumbprint = Some("another".into());
    let plan = plan(&seen, START);
    deletes(&plan.actions, &seen.challenges);
    // One that was found valid proves the account, whatever its key is by now.
    let mut proven = with_challenges(pending(&["a.example.com"], &http01()), &[Some("valid")]);
    proven.thumbprint = Some("another".into());
    let plan = super::plan(&proven, START);
    assert_eq!(
        (plan.actions, plan.effect),
        (vec![], Some(Effect::Ask(Question::Complete)))
    );
}

#[test]
fn a_failure_says_the_deepest_cause() {
    let failed = |states: &[Option<&str>]| {
        let seen = with_challenges(
            pending(&["a.example.com", "b.example.com"], &http01()),
            states,
        );
        let outcome = Outcome::Ended {
            state: "invalid".into(),
            reason: "the CA's word".into(),
        };
        let plan = absorb(&seen, outcome, START);
        let written = status(&plan.actions[0]).clone();
        assert_eq!(
            (&written["state"], &written["failureTime"]),
            (&json!("invalid"), &json!(Time(START)))
        );
        assert_eq!(plan.actions.len(), 1);
        written["reason"].as_str().unwrap().to_owned()
    };
    assert_eq!(failed(&[Some("valid"), Some("valid")]), "the CA's word");
    assert_eq!(
        failed(&[Some("valid"), Some("invalid")]),
        "challenge for \"b.example.com\" failed: it is invalid"
    );
    assert_eq!(failed(&[Some("pending"), None]), "the CA's word");
}

/// step-ca leaves it open until it expires.
#[test]
fn an_order_that_the_ca_leaves_open_after_a_failure_ends() {
    let open = || Outcome::NotYet {
        state: "pending".into(),
        retry: None,
        expires: None,
    };
    let order = pending(&["a.example.com"], &http01());
    let mut seen = with_challenges(order, &[Some("invalid")]);
    seen.memo.working = Some(START);
    let early = absorb(&seen, open(), START + SignedDuration::from_secs(9));
    assert_eq!((early.actions.len(), early.wake.is_some()), (0, true));
    let plan = absorb(&seen, open(), START + SignedDuration::from_secs(10));
    let written = status(&plan.actions[0]);
    let reason = "challenge for \"a.example.com\" failed: it is invalid";
    assert_eq!(
        (&written["state"], &written["reason"]),
        (&json!("errored"), &json!(reason))
    );
    assert_eq!(plan.wake, None);
}

proptest! {
    #[test]
    fn nothing_panics_and_what_has_ended_stays_so(
        state in prop::option::of("(valid|ready|pending|processing|invalid|expired|errored|x)"),
        known in prop::collection::vec(prop::option::of("[a-z.]{0,8}"), 0..3),
        challenges in prop::collection::vec(prop::option::of("(valid|invalid|pending|x)"), 0..3),
        solvers in prop::sample::select(vec![json!(null), json!([]), json!([{}]), http01()]),
        duration in prop::option::of(".{0,8}"),
        url in prop::option::of(Just(URL)),
    ) {
        let authorizations: Vec<Value> = known.iter().map(|name| match name {
            Some(name) => authorization(name),
            None => json!({ "url": "u" }),
        }).collect();
        let status = json!({ "url": url, "finalizeURL": url, "state": state, "authorizations": authorizations });
        let mut seen = seen(&status, &solvers);
        let mut order = Order::clone(&seen.order);
        order.spec.duration = duration;
        seen.order = order.into();
        let stray = |(n, state): (usize, Option<String>)| {
            let mut challenge = Challenge::default();
            challenge.metadata.name = Some(format!("stray-{n}"));
            challenge.status = serde_json::from_value(json!({ "state": state })).unwrap();
            Arc::new(challenge)
        };
        seen.challenges = challenges.into_iter().enumerate().map(stray).collect();
        let acted = plan(&seen, START);
        if let Some("invalid" | "expired" | "errored") = state.as_deref() {
            prop_assert_eq!(acted, Plan::idle());
        }
        for outcome in [
            Outcome::Issued(vec![]),
            Outcome::Ended { state: "x".into(), reason: String::new() },
            Outcome::NotYet { state: "x".into(), retry: Some(Duration::MAX), expires: Some(Timestamp::MIN) },
            Outcome::Unavailable { reason: "x".into(), wait: Wait::Fault },
            Outcome::AccountRefused,
        ] {
            prop_assert_eq!(absorb(&seen, outcome, START).effect, None);
        }
    }
}

/// Events of an Order come from its own controller.
#[test]
fn the_source_of_events_is_the_contracts() {
    let plan = plan(&pending(&["a.example.com"], &json!([])), START);
    let [Event { component, .. }] = plan.events.as_slice() else {
        panic!()
    };
    assert_eq!(*component, "cert-manager-orders");
}
