#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Effect, Listed, Look, Observation, Watched, absorb, plan};
use crate::api::OrderedIssuerStatus;
use crate::controllers::action::{Action, Plan};
use crate::controllers::facts::{IssuerFact, OrderedFact};
use crate::controllers::fixtures::{START, identity, issuer};
use crate::controllers::key::Kind;

const SECONDS: fn(i64) -> SignedDuration = SignedDuration::from_secs;

struct World {
    fact: OrderedFact,
    issuers: Vec<Option<IssuerFact>>,
    failures: Vec<Option<(Timestamp, String)>>,
    /// At the first issuer.
    look: Option<Look>,
    /// What CAA records forbid that issuer.
    forbidden: Option<String>,
    now: Timestamp,
}

fn acme() -> Value {
    json!({ "acme": { "server": "https://ca.example/dir", "privateKeySecretRef": { "name": "account" } } })
}

fn vault() -> Value {
    json!({ "vault": { "server": "https://vault", "path": "pki/sign/app", "auth": {} } })
}

fn ready(spec: Value) -> IssuerFact {
    issuer(spec, Some((true, "IsReady")))
}

/// An ordered issuer of an ACME issuer a and a Vault issuer b, both ready.
fn world() -> World {
    let spec = json!({ "issuers": [{ "name": "a" }, { "name": "b" }] });
    World {
        fact: OrderedFact {
            id: identity("list"),
            generation: 3,
            spec: serde_json::from_value(spec).unwrap(),
            status: OrderedIssuerStatus::default(),
        },
        issuers: vec![Some(ready(acme())), Some(ready(vault()))],
        failures: vec![None, None],
        look: Some(Look {
            at: START,
            failed: false,
        }),
        forbidden: None,
        now: START,
    }
}

impl World {
    fn seen(&self) -> Observation {
        let known = self.fact.status.issuers.clone().unwrap_or_default();
        let listed = self.fact.issuers().enumerate();
        let issuers = listed.map(|(i, reference)| Watched {
            listed: Listed {
                known: known.iter().find(|k| k.name == reference.name).cloned(),
                issuer: self.issuers[i].clone().map(Into::into),
                reference,
            },
            failure: self.failures[i].clone(),
            look: self.look.filter(|_| i == 0),
        });
        Observation {
            kind: Kind::OrderedIssuer,
            issuers: issuers.collect(),
            fact: self.fact.clone().into(),
        }
    }

    fn step(&mut self) -> Plan<Effect> {
        let made = plan(&self.seen(), self.now);
        self.write(&made);
        made
    }

    fn probed(&mut self, answer: Result<(), &str>) -> Plan<Effect> {
        let seen = self.seen();
        let first = seen.issuers[0].listed.reference.clone();
        let answer = answer
            .map(|()| self.forbidden.clone())
            .map_err(ToOwned::to_owned);
        self.look = Some(Look {
            at: self.now,
            failed: answer.is_err(),
        });
        let made = absorb(&seen, &vec![(first, answer)], self.now);
        self.write(&made);
        made
    }

    fn write(&mut self, plan: &Plan<Effect>) {
        for action in &plan.actions {
            let Action::PatchStatus { status, .. } = action else {
                panic!("{action:?}")
            };
            let mut whole = json!(self.fact.status);
            for (field, value) in status.as_object().unwrap() {
                whole[field] = value.clone();
            }
            self.fact.status = serde_json::from_value(whole).unwrap();
        }
    }

    fn pass(&mut self, time: SignedDuration) {
        self.now = self.now.checked_add(time).unwrap();
    }

    fn states(&self) -> Vec<&str> {
        let known = self.fact.status.issuers.iter().flatten();
        known.map(|k| k.state.as_str()).collect()
    }

    /// Status, reason and message of the Ready condition.
    fn ready(&self) -> (&str, &str, &str) {
        let ready = self.fact.ready().unwrap();
        assert_eq!(ready.observed_generation, Some(3));
        let [reason, message] =
            [&ready.reason, &ready.message].map(|text| text.as_deref().unwrap_or_default());
        (&ready.status, reason, message)
    }
}

#[test]
fn in_peacetime_it_says_who_is_fit_and_writes_once() {
    let mut world = world();
    let plan = world.step();
    let hour = Duration::from_hours(1);
    assert_eq!((plan.effect, plan.wake), (None, Some(hour)));
    assert_eq!(plan.events[0].reason, "InOrder");
    let message = "Issuer \"a\" is fit; Issuer \"b\" is fit";
    assert_eq!(world.ready(), ("True", "InOrder", message));
    world.pass(SECONDS(600));
    assert_eq!(world.step(), Plan::wait(Duration::from_mins(50)));
}

#[test]
fn a_server_is_looked_at_in_peacetime_and_after_a_restart() {
    let mut world = world();
    world.step();
    world.look = None;
    assert!(world.step().effect.is_some(), "nothing is remembered");
    assert_eq!(world.probed(Ok(())), Plan::wait(Duration::from_hours(1)));
    world.pass(SECONDS(3600));
    let Some(Effect::Probe(asked)) = world.step().effect else {
        panic!("not looked at")
    };
    assert_eq!(asked.len(), 1, "the Vault is looked at by its issuer");
    let once = world.probed(Err("no reply"));
    assert_eq!(
        once,
        Plan::wait(Duration::from_secs(10)),
        "it may be chance"
    );
    world.pass(SECONDS(10));
    assert!(world.step().effect.is_some());
    let plan = world.probed(Err("no reply"));
    assert_eq!(world.states(), ["Faulty", "Fit"]);
    assert_eq!(plan.wake, Some(Duration::from_secs(10)));
    assert_eq!(plan.events[0].reason, "Fallback");
    let message = world.ready().2;
    assert!(
        message.contains("since 2026-01-01T01:00:10Z: no reply"),
        "{message}"
    );
}

#[test]
fn what_caa_records_forbid_is_found_in_peacetime() {
    let mut world = world();
    world.look = None;
    assert!(world.step().effect.is_some());
    world.forbidden = Some("The record example.com. CAA 0 issue \"b\" does not let it".into());
    let plan = world.probed(Ok(()));
    // It is looked at sooner than one that nothing forbids.
    assert_eq!(plan.wake, Some(Duration::from_mins(5)));
    let message = "Issuer \"a\" is fit, but not for all names: The record example.com. CAA 0 issue \"b\" does not let it \
                   (EL-1222); Issuer \"b\" is fit";
    assert_eq!(world.ready(), ("True", "Degraded", message));
    assert_eq!(world.states(), ["Fit", "Fit"], "it is asked all the same");
    assert_eq!(
        world.step(),
        Plan::wait(Duration::from_mins(5)),
        "said once"
    );
    world.forbidden = None;
    world.pass(SECONDS(300));
    assert!(world.step().effect.is_some());
    assert_eq!(world.probed(Ok(())).wake, Some(Duration::from_hours(1)));
    let message = "Issuer \"a\" is fit; Issuer \"b\" is fit";
    assert_eq!(world.ready(), ("True", "InOrder", message));
}

#[test]
fn one_that_is_not_ready_or_not_there_is_named_with_its_reason() {
    let mut world = world();
    world.issuers[0] = None;
    let fact = world.issuers[1].as_mut().unwrap();
    let condition = &mut fact.status.conditions.as_mut().unwrap()[0];
    condition.status = "False".into();
    condition.message = Some("sealed".into());
    world.step();
    let message = "Issuer \"a\" does not exist, since 2026-01-01T00:00:00Z; \
                   Issuer \"b\" is not ready, since 2026-01-01T00:00:00Z: sealed";
    assert_eq!(world.ready(), ("False", "NoneFit", message));
    world.issuers[1] = Some(ready(vault()));
    let plan = world.step();
    assert!(plan.events[0].warning, "the first is missing still");
    assert_eq!(world.ready().1, "Fallback");
}

#[test]
fn a_ca_that_failed_is_faulty_until_it_answers() {
    let mut world = world();
    world.step();
    world.pass(SECONDS(100));
    world.failures[0] = Some((world.now, "cannot reach it".into()));
    let plan = world.step();
    assert_eq!(world.states(), ["Faulty", "Fit"]);
    assert_eq!(
        (plan.effect, plan.wake),
        (None, Some(Duration::from_secs(10)))
    );
    let (is, reason, message) = world.ready();
    assert_eq!((is, reason), ("True", "Fallback"));
    assert!(
        message.contains("since 2026-01-01T00:01:40Z: cannot reach it"),
        "{message}"
    );

    world.pass(SECONDS(10));
    let plan = world.step();
    let Some(Effect::Probe(asked)) = plan.effect else {
        panic!("not asked")
    };
    assert_eq!(asked[0].name, "a");
    let plan = world.probed(Err("still not"));
    assert_eq!(plan.wake, Some(Duration::from_secs(10)));
    world.pass(SECONDS(40));
    let plan = world.probed(Err("still not"));
    assert_eq!(plan.wake, Some(Duration::from_secs(50)), "ever less often");
    world.pass(SECONDS(7200));
    let plan = world.probed(Err("still not"));
    assert_eq!(plan.wake, Some(Duration::from_mins(5)), "but often enough");
    assert_eq!(plan.events, [], "nothing new");

    world.pass(SECONDS(300));
    let plan = world.probed(Ok(()));
    assert_eq!(plan.events[0].reason, "InOrder");
    assert_eq!(world.states(), ["Fit", "Fit"]);
    world.pass(SECONDS(1));
    assert_eq!(world.step().actions, [], "the failure of then is known");
}

#[test]
fn one_that_cannot_be_looked_at_is_tried_again_after_a_while() {
    let mut world = world();
    world.step();
    world.failures[1] = Some((world.now, "sealed".into()));
    let plan = world.step();
    assert_eq!(world.states(), ["Fit", "Faulty"]);
    assert_eq!(world.ready().1, "Degraded");
    assert_eq!(plan.wake, Some(Duration::from_mins(10)));
    world.pass(SECONDS(600));
    let plan = world.step();
    assert_eq!(plan.effect, None);
    assert_eq!(world.states(), ["Fit", "Fit"]);
}

#[test]
fn an_issuer_that_was_edited_has_another_chance() {
    let mut world = world();
    world.step();
    world.failures[0] = Some((world.now, "no".into()));
    world.step();
    world.pass(SECONDS(5));
    world.issuers[0].as_mut().unwrap().changed_at = Some(world.now);
    world.step();
    assert_eq!(world.states(), ["Fit", "Fit"]);
}

#[test]
fn failures_from_before_it_was_watched_do_not_count() {
    let mut world = world();
    world.failures[0] = Some((START.checked_sub(SECONDS(60)).unwrap(), "no".into()));
    world.step();
    world.step();
    assert_eq!(world.states(), ["Fit", "Fit"]);
}

#[test]
fn what_cannot_be_met_is_said() {
    let mut world = world();
    world.fact.spec.after = Some("soon".into());
    world.step();
    let (is, reason, message) = world.ready();
    assert_eq!((is, reason), ("False", "InvalidConfig"));
    assert!(message.starts_with("spec.after: "), "{message}");
    world.fact.spec.after = None;
    world.fact.id.namespace = "".into();
    world.fact.spec.issuers[1].kind = Some("Issuer".into());
    world.step();
    let message = world.ready().2;
    assert!(
        message.contains("Issuer \"b\" has a namespace"),
        "{message}"
    );
}
