#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]
#![allow(
    clippy::semicolon_if_nothing_returned,
    reason = "a change is an expression"
)]

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    Check, Dns01Settings, Effect, Memo, Objects, Observation, Outcome, RecordState, Settings,
    absorb, plan, presents, refused, without_secrets,
};
use crate::api::Challenge;
use crate::controllers::action::{Action, Event, Object, Plan, Target};
use crate::controllers::facts::Identity;
use crate::controllers::fixtures::{START, identity, map};
use crate::controllers::key::{Key, Kind};
use crate::solvers::http01::objects::{Mode, Presentation, SolverSettings};
use crate::solvers::http01::service::DIRECT_NAME;

mod dns01;

const KEY: &str = "token.thumbprint";

fn settings() -> Settings {
    Settings {
        solver: SolverSettings::default(),
        mode: Mode::Pod,
        address: Some("192.0.2.1:8089".parse().unwrap()),
        self_check_limit: Duration::from_secs(30),
        dns01: Dns01Settings {
            check_period: Duration::from_secs(10),
            check_limit: Duration::from_mins(10),
        },
        verbose_events: false,
    }
}

fn after(seconds: i64) -> Timestamp {
    START + SignedDuration::from_secs(seconds)
}

/// A new Challenge of app.example.com with this solver, and its account loaded.
fn seen(solver: &Value) -> Observation {
    let metadata = ObjectMeta {
        name: Some("app-1-7-9".into()),
        namespace: Some("shop".into()),
        uid: Some("uid-of-challenge".into()),
        resource_version: Some("7".into()),
        finalizers: Some(vec!["acme.cert-manager.io/finalizer".into()]),
        ..ObjectMeta::default()
    };
    let mut challenge = Challenge {
        metadata,
        ..Challenge::default()
    };
    challenge.spec.type_ = "HTTP-01".into();
    challenge.spec.dns_name = "app.example.com".into();
    challenge.spec.token = "token".into();
    challenge.spec.key = KEY.into();
    challenge.spec.solver = serde_json::from_value(solver.clone()).unwrap();
    Observation {
        challenge: challenge.into(),
        account: true,
        objects: Objects::default(),
        missing_class: None,
        earlier: false,
        admitted: true,
        direct_users: 0,
        last: false,
        waited: false,
        record: RecordState::Unknown,
        shared: false,
        memo: Memo::default(),
    }
}

fn pod_mode() -> Observation {
    seen(&json!({ "http01": { "ingress": { "ingressClassName": "traefik" } } }))
}

fn direct() -> Observation {
    seen(&json!({ "http01": { "ingress": { "mode": "Direct" } } }))
}

fn edit(seen: &mut Observation, change: impl FnOnce(&mut Challenge)) {
    let mut challenge = Challenge::clone(&seen.challenge);
    change(&mut challenge);
    seen.challenge = challenge.into();
}

/// With everything in place since the start, as the informers show it.
fn presented(mut seen: Observation) -> Observation {
    seen.objects = Objects {
        pod: Some(identity("pod")),
        service: Some(identity("service")),
        ingress: Some(identity("ingress")),
        direct_service: Some(identity("direct")),
        ..seen.objects
    };
    seen.memo.presented = Some(START);
    seen
}

fn checked(check: Check) -> Observation {
    let mut seen = presented(pod_mode());
    seen.memo.check = check;
    seen
}

fn failed(at: i64) -> Check {
    Check::Failed {
        reason: "connection refused".into(),
        at: after(at),
    }
}

/// The effect alone, or nothing, with a wake.
fn does(effect: Option<Effect>, wake: Option<Duration>) -> Plan<Effect> {
    Plan {
        effect,
        wake,
        ..Plan::idle()
    }
}

fn kinds(actions: &[Action]) -> Vec<&'static str> {
    let kind = |action: &Action| match action {
        Action::Ensure(object) => match &**object {
            Object::Pod(_) => "pod",
            Object::Service(s) if s.metadata.name.as_deref() == Some(DIRECT_NAME) => {
                "direct service"
            }
            Object::Service(_) => "service",
            Object::Ingress(_) => "ingress",
            Object::EndpointSlice(_) => "slice",
            other => panic!("{other:?}"),
        },
        Action::Delete(Target::Pod, _) => "-pod",
        Action::Delete(Target::Service, _) => "-service",
        Action::Delete(Target::Ingress, _) => "-ingress",
        Action::DeleteDirectService(namespace) if &**namespace == "shop" => "-direct",
        Action::EditIngress(..) => "edit",
        Action::PatchStatus { .. } => "status",
        Action::SetFinalizers { .. } => "finalizers",
        other => panic!("{other:?}"),
    };
    actions.iter().map(kind).collect()
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
        (&Key::new(Kind::Challenge, "shop", "app-1-7-9"), "7")
    );
    status
}

#[test]
fn it_waits_for_its_turn() {
    let turn = |change: fn(&mut Observation)| {
        let mut seen = pod_mode();
        change(&mut seen);
        plan(&seen, &settings(), START)
    };
    assert_eq!(
        turn(|s| s.account = false),
        Plan::idle(),
        "the account wakes it"
    );
    let second = Some(Duration::from_secs(1));
    let mut younger = pod_mode();
    younger.earlier = true;
    edit(&mut younger, |c| {
        c.metadata.creation_timestamp = Some(Time(START))
    });
    assert_eq!(
        plan(&younger, &settings(), START),
        does(None, second),
        "one Challenge of a name at a time"
    );
    let told = plan(&younger, &settings(), after(4));
    let reason = status(&told.actions[0])["reason"].to_string();
    assert!(reason.contains("an older Challenge"), "{reason}");
    let mut later = pod_mode();
    later.admitted = false;
    edit(&mut later, |c| {
        c.metadata.creation_timestamp = Some(Time(START))
    });
    assert_eq!(
        plan(&later, &settings(), START),
        does(None, Some(Duration::from_secs(10))),
        "it is woken when its turn comes"
    );
}

#[test]
fn a_wait_for_a_place_that_takes_long_is_said_until_it_ends() {
    let mut seen = pod_mode();
    edit(&mut seen, |c| {
        c.metadata.creation_timestamp = Some(Time(START));
    });
    seen.admitted = false;
    assert_eq!(plan(&seen, &settings(), after(29)).actions, []);
    let long = plan(&seen, &settings(), after(30));
    let reason = status(&long.actions[0])["reason"].clone();
    let text = reason.as_str().unwrap();
    assert!(text.contains("--max-concurrent-challenges"), "{text}");
    let told = json!({ "state": "pending", "reason": reason });
    edit(&mut seen, |c| {
        c.status = serde_json::from_value(told).unwrap();
    });
    assert_eq!(plan(&seen, &settings(), after(60)).actions, [], "once");
    let mut caused = seen.clone();
    edit(&mut caused, |c| {
        let status = json!({ "reason": "Error presenting challenge: quota" });
        c.status = serde_json::from_value(status).unwrap();
    });
    assert_eq!(plan(&caused, &settings(), after(60)).actions, []);
    seen.admitted = true;
    let unsaid = plan(&seen, &settings(), after(60));
    assert_eq!(status(&unsaid.actions[0]), &json!({ "reason": null }));
}

#[test]
fn a_ca_that_is_at_work_for_long_is_named() {
    let mut seen = checked(Check::Passed);
    seen.memo.accepted = true;
    let still = || Outcome::State {
        state: "processing".into(),
        reason: None,
        retry: None,
    };
    seen.memo.working = Some(START);
    assert_eq!(absorb(&seen, &settings(), still(), after(29)).actions, []);
    let told = absorb(&seen, &settings(), still(), after(30));
    let reason = status(&told.actions[0])["reason"].clone();
    assert_eq!(
        reason,
        "The CA has been at work on this challenge since 2026-01-01T00:00:00Z: it still is \"processing\" there (EL-1304)."
    );
    edit(&mut seen, |c| {
        let status = json!({ "state": "pending", "reason": reason });
        c.status = serde_json::from_value(status).unwrap();
    });
    assert_eq!(
        absorb(&seen, &settings(), still(), after(99)).actions,
        [],
        "once"
    );
}

#[test]
fn what_it_shows_is_put_in_place() {
    assert_eq!(
        kinds(&plan(&pod_mode(), &settings(), START).actions),
        ["pod", "service", "ingress"]
    );
    assert_eq!(
        kinds(&plan(&direct(), &settings(), START).actions),
        ["slice", "direct service", "ingress"]
    );
    // The flag chooses for solvers that do not say.
    let flag = Settings {
        mode: Mode::Direct,
        ..settings()
    };
    assert_eq!(
        kinds(&plan(&pod_mode(), &flag, START).actions),
        ["slice", "direct service", "ingress"]
    );
    // Only what is missing.
    let mut half = pod_mode();
    half.objects.pod = Some(identity("pod"));
    half.objects.ingress = Some(identity("ingress"));
    assert_eq!(kinds(&plan(&half, &settings(), START).actions), ["service"]);
}

#[test]
fn without_an_address_of_its_own_direct_says_so() {
    let nowhere = Settings {
        address: None,
        ..settings()
    };
    let plan = plan(&direct(), &nowhere, START);
    assert!(
        status(&plan.actions[0])["reason"]
            .as_str()
            .unwrap()
            .contains("POD_IP")
    );
    assert!(plan.wake.is_some());
}

/// A user's Ingress, with a rule for the name.
fn user_ingress() -> Ingress {
    let spec = json!({ "rules": [{ "host": "app.example.com", "http": { "paths": [
        { "path": "/", "pathType": "Prefix", "backend": { "service": { "name": "web", "port": { "number": 80 } } } },
    ] } }] });
    Ingress {
        metadata: ObjectMeta {
            name: Some("web".into()),
            namespace: Some("shop".into()),
            resource_version: Some("3".into()),
            ..ObjectMeta::default()
        },
        spec: serde_json::from_value(spec).unwrap(),
        status: None,
    }
}

#[test]
fn a_solver_with_a_name_edits_that_ingress_and_takes_its_path_out_again() {
    let mut seen = seen(&json!({ "http01": { "ingress": { "name": "web" } } }));
    let missing = plan(&seen, &settings(), START);
    let reason = status(&missing.actions[0])["reason"].as_str().unwrap();
    assert!(
        reason.contains("Ingress \"web\"") && reason.contains("create it"),
        "{reason}"
    );

    seen.objects.edited = Some(Box::new(user_ingress()));
    let acted = plan(&seen, &settings(), START);
    assert_eq!(kinds(&acted.actions), ["pod", "service", "edit"]);
    let Action::EditIngress(id, patch) = &acted.actions[2] else {
        panic!()
    };
    assert_eq!(id, &Identity::of(&user_ingress().metadata));
    let mut whole = json!(user_ingress());
    json_patch::patch(&mut whole, patch).unwrap();
    seen.objects.edited = Some(Box::new(serde_json::from_value(whole.clone()).unwrap()));
    seen.objects.pod = Some(identity("pod"));
    seen.objects.service = Some(identity("service"));
    assert_eq!(
        plan(&seen, &settings(), START),
        does(Some(Effect::SelfCheck), None),
        "it is in place"
    );

    edit(&mut seen, |c| {
        c.metadata.deletion_timestamp = Some(Time(START))
    });
    let gone = plan(&seen, &settings(), START);
    let Some(Action::EditIngress(_, patch)) = gone
        .actions
        .iter()
        .find(|a| matches!(a, Action::EditIngress(..)))
    else {
        panic!("{gone:?}")
    };
    json_patch::patch(&mut whole, patch).unwrap();
    assert_eq!(whole, json!(user_ingress()), "as the user left it");
}

#[test]
fn the_self_check_shortens_the_wait() {
    let mut seen = pod_mode();
    seen.objects = presented(pod_mode()).objects;
    assert_eq!(
        plan(&seen, &settings(), START),
        does(Some(Effect::SelfCheck), None),
        "everything is in place"
    );
    assert_eq!(
        plan(&checked(Check::None), &settings(), START),
        does(Some(Effect::SelfCheck), None)
    );
    assert_eq!(
        plan(&checked(Check::Running), &settings(), START),
        Plan::idle()
    );
    assert_eq!(
        plan(&checked(Check::Passed), &settings(), START),
        does(Some(Effect::Accept), None)
    );
}

#[test]
fn a_failing_self_check_is_repeated_and_after_a_while_said() {
    // Since when it failed, and how long after that it is repeated.
    for (failing, pause) in [(0, 250), (1, 500), (2, 1000), (4, 2000), (20, 2000)] {
        let seen = checked(failed(failing));
        let now = |millis| after(failing) + SignedDuration::from_millis(millis);
        let early = plan(&seen, &settings(), now(pause - 1));
        assert_eq!(early.effect, None);
        assert_eq!(early.wake, Some(Duration::from_millis(1)));
        let due = plan(&seen, &settings(), now(pause));
        assert_eq!(due.effect, Some(Effect::SelfCheck));
    }
    let mut long = checked(failed(4));
    let told = plan(&long, &settings(), after(5));
    assert_eq!(told.wake, Some(Duration::from_secs(1)));
    let written = json!({
        "reason": "Waiting for HTTP-01 challenge propagation: connection refused",
        "state": "pending",
        "presented": true,
        "presentedAt": Time(START),
        "processing": true,
    });
    assert_eq!(status(&told.actions[0]), &written);
    edit(&mut long, |c| {
        c.status = serde_json::from_value(written).unwrap()
    });
    assert_eq!(plan(&long, &settings(), after(5)).actions, [], "said once");
}

#[test]
fn the_ca_is_asked_all_the_same_after_a_bounded_time() {
    let accepts =
        |seen: &Observation, at| plan(seen, &settings(), after(at)).effect == Some(Effect::Accept);
    let looked = |blocked, at| {
        let mut seen = checked(failed(at));
        seen.memo.blocked = blocked;
        seen
    };
    assert!(!accepts(&looked(2, 29), 29));
    assert!(accepts(&looked(2, 29), 30));
    // Somebody answers, and not the right thing, whatever one look says.
    for blocked in [0, 1] {
        assert!(!accepts(&looked(blocked, 149), 149));
        assert!(accepts(&looked(blocked, 149), 150));
    }
    // Not on the word of an old look, and no later than that.
    let wait = |at, now| {
        let mut seen = dns01::written();
        seen.memo.check = failed(at);
        let plan = plan(&seen, &settings(), after(now));
        (plan.effect, plan.wake)
    };
    let rest = Some(Duration::from_secs(3));
    assert_eq!(wait(25, 27), (None, rest));
    assert_eq!(wait(25, 30), (Some(Effect::SelfCheck), None));
    assert_eq!(wait(30, 40), (Some(Effect::Accept), None));
    // What its Order has waited for already is not waited for again; what came in its way since is.
    for (blocked, is_over) in [(0, false), (1, false), (2, true)] {
        let mut waited = looked(blocked, 0);
        waited.waited = true;
        assert_eq!(accepts(&waited, 0), is_over, "{blocked}");
    }
    // Nobody answers without a class or a Pod: those get longer.
    let obstacles: [fn(&mut Observation); 2] = [
        |s| s.missing_class = Some("nginx".into()),
        |s| s.objects.pod_problem = Some("cannot be scheduled: no nodes".into()),
    ];
    for obstacle in obstacles {
        let mut seen = checked(failed(599));
        obstacle(&mut seen);
        assert!(!accepts(&seen, 599));
        assert!(accepts(&seen, 600));
        // An Ingress controller has its time from when they are out of the way.
        let mut seen = checked(failed(429));
        seen.memo.hindered = Some(after(400));
        assert!(!accepts(&seen, 429));
        seen.memo.check = failed(550);
        assert!(accepts(&seen, 550));
    }
}

#[test]
fn the_obstacle_is_named() {
    let reason = |seen: &Observation, at| {
        let plan = plan(seen, &settings(), after(at));
        plan.actions
            .first()
            .map(|a| status(a)["reason"].as_str().unwrap().to_owned())
            .unwrap_or_default()
    };
    let mut seen = checked(failed(0));
    seen.objects.pod_problem = Some("cannot be scheduled: no nodes".into());
    assert_eq!(
        reason(&seen, 5),
        "Waiting for HTTP-01 challenge propagation: the solver Pod cannot be scheduled: no nodes"
    );
    seen.missing_class = Some("nginx".into());
    assert!(
        reason(&seen, 0).contains("IngressClass \"nginx\" does not exist: create it"),
        "at once"
    );
}

fn with_wait(wait: &str) -> Observation {
    let mut seen = presented(seen(
        &json!({ "http01": { "ingress": {} }, "waitInsteadOfSelfCheck": wait }),
    ));
    // No self-check has been made.
    seen.memo = Memo::default();
    seen
}

#[test]
fn a_fixed_wait_takes_the_place_of_the_self_check_and_outlives_the_process() {
    let mut seen = with_wait("10s");
    let begun = plan(&seen, &settings(), START);
    let written = json!({
        "presented": true,
        "presentedAt": Time(START),
        "processing": true,
        "state": "pending",
        "reason": "Waiting 10s before accepting HTTP-01 challenge without self-check",
    });
    assert_eq!(status(&begun.actions[0]), &written);
    let wait = Some(Duration::from_secs(10));
    assert_eq!((begun.effect, begun.wake), (None, wait));

    edit(&mut seen, |c| {
        c.status = serde_json::from_value(written).unwrap()
    });
    assert_eq!(
        plan(&seen, &settings(), after(4)),
        does(None, Some(Duration::from_secs(6)))
    );
    assert_eq!(
        plan(&seen, &settings(), after(10)),
        does(Some(Effect::Accept), None)
    );
    // What was taken away again has to be there for as long once more.
    edit(&mut seen, |c| {
        c.status.get_or_insert_default().presented = Some(false);
    });
    assert_eq!(plan(&seen, &settings(), after(10)).wake, wait);
    for none in ["0s", "-1s"] {
        assert_eq!(
            plan(&with_wait(none), &settings(), START),
            does(Some(Effect::Accept), None),
            "{none}"
        );
    }
    assert_eq!(
        plan(&with_wait("soon"), &settings(), START).effect,
        Some(Effect::SelfCheck),
        "what cannot be read does not count"
    );
}

/// A CA that is at work, with nothing to say.
fn working(retry: Option<Duration>) -> Outcome {
    Outcome::State {
        state: "processing".into(),
        reason: None,
        retry,
    }
}

#[test]
fn once_asked_the_ca_is_polled_ever_less_often() {
    let mut seen = checked(Check::Passed);
    let wake = |seen: &Observation, retry, at| absorb(seen, &settings(), working(retry), at);
    let soon = Some(Duration::from_millis(200));
    assert_eq!(
        wake(&seen, None, START),
        does(None, soon),
        "the first look is soon"
    );
    seen.memo = seen.memo.after(&working(None), START);
    assert_eq!(
        plan(&seen, &settings(), after(1)),
        does(Some(Effect::Poll), None)
    );
    for (at, pause) in [(0, 1), (1, 1), (2, 1), (10, 5), (60, 30), (3000, 30)] {
        let pause = Duration::from_secs(pause);
        assert_eq!(wake(&seen, None, after(at)).wake, Some(pause), "{at}");
    }
    assert_eq!(
        wake(&seen, Some(Duration::from_secs(7)), START),
        does(None, Some(Duration::from_secs(7))),
        "as the CA says"
    );
    let day = Some(Duration::from_hours(24));
    for (at, granted) in [(0, 60), (60, 60), (300, 300)] {
        let granted = Some(Duration::from_secs(granted));
        let asked = wake(&seen, day, after(at));
        assert_eq!(asked.wake, granted, "not the day it asks for");
    }
}

#[test]
fn a_ca_that_comes_to_no_end_is_given_up() {
    let mut seen = checked(Check::Passed);
    seen.memo = seen.memo.after(&working(None), START);
    let early = absorb(&seen, &settings(), working(None), after(3599));
    assert_eq!(status(&early.actions[0])["state"], "pending");
    let given_up = absorb(&seen, &settings(), working(None), after(3600));
    let said = status(given_up.actions.last().unwrap());
    assert_eq!(
        (&said["state"], &said["presented"]),
        (&json!("errored"), &json!(false))
    );
    let reason = said["reason"].as_str().unwrap();
    assert!(
        reason.contains("EL-1420") && reason.contains("for an hour"),
        "{reason}"
    );
    assert_eq!(given_up.events.len(), 1);
    // One that could not be reached for an hour was not at work.
    let down = Outcome::Unavailable {
        reason: "no route".into(),
        retry: None,
    };
    seen.memo = seen.memo.after(&down, after(10));
    let back = absorb(&seen, &settings(), working(None), after(7200));
    assert_eq!(back, does(None, Some(Duration::from_secs(1))));
}

/// RFC 8555 §8.2, as step-ca does it.
#[test]
fn a_ca_that_did_not_find_the_answer_and_waits_is_asked_again_ever_less_often() {
    let mut seen = checked(Check::Passed);
    let unproven = |state: &str| Outcome::State {
        state: state.into(),
        reason: Some("no such host".into()),
        retry: None,
    };
    let heard = absorb(&seen, &settings(), unproven("pending"), START);
    assert_eq!(status(&heard.actions[0])["reason"], "no such host");
    for (asked, pause) in [(0, 5), (10, 5), (100, 50), (7200, 600)] {
        seen.memo = seen.memo.after(&unproven("pending"), after(asked));
        let (early, due) = (after(asked + pause - 1), after(asked + pause));
        let wait = does(None, Some(Duration::from_secs(1)));
        assert_eq!(plan(&seen, &settings(), early), wait, "{asked}");
        let ask = does(Some(Effect::Accept), None);
        assert_eq!(plan(&seen, &settings(), due), ask, "{asked}");
    }
    // What begins anew once it is asked again is not given up for what was before.
    let mut late = seen.clone();
    late.memo = late.memo.after(&working(None), after(7300));
    let goes_on = absorb(&late, &settings(), working(None), after(7301));
    assert_eq!(goes_on.actions, [], "{goes_on:?}");
    // With a wait in place of the self-check it is asked ever less often too.
    seen.memo.presented = None;
    seen.memo = seen.memo.after(&unproven("pending"), after(7200));
    assert_eq!(seen.memo.rests(after(7200)), Some(after(7800)));
    // It is not given up: its order ends.
    let said = absorb(&seen, &settings(), unproven("pending"), after(9000));
    assert_eq!(status(&said.actions[0])["state"], "pending");
    // One that says that it goes on by itself is not asked again.
    seen.memo = seen.memo.after(&unproven("processing"), after(7200));
    let look = does(Some(Effect::Poll), None);
    assert_eq!(plan(&seen, &settings(), after(9999)), look);
}

#[test]
fn a_ca_that_cannot_be_reached_is_asked_again_ever_less_often() {
    let mut seen = checked(Check::Passed);
    let outcome = |retry| Outcome::Unavailable {
        reason: "no route".into(),
        retry,
    };
    for pause in [5, 10, 20, 40, 80, 160, 300, 300] {
        let plan = absorb(&seen, &settings(), outcome(None), START);
        assert_eq!(
            (status(&plan.actions[0])["reason"].as_str(), plan.wake),
            (Some("no route"), Some(Duration::from_secs(pause)))
        );
        seen.memo = seen.memo.after(&outcome(None), START);
    }
    seen.memo = seen.memo.after(&working(None), START);
    let plan = absorb(&seen, &settings(), outcome(None), START);
    assert_eq!(plan.wake, Some(Duration::from_secs(5)), "it was there");
}

/// Its own write wakes it.
#[test]
fn whatever_wakes_it_a_ca_that_wants_to_be_left_alone_is() {
    let refused = |until: &str| Outcome::Unavailable {
        reason: format!("429, not before {until}"),
        retry: Some(Duration::from_mins(1)),
    };
    for accepted in [false, true] {
        let mut seen = checked(Check::Passed);
        if accepted {
            seen.memo = seen.memo.after(&working(None), START);
        }
        let told = absorb(&seen, &settings(), refused("12:01"), after(1));
        assert_eq!(
            (kinds(&told.actions), told.wake),
            (vec!["status"], Some(Duration::from_mins(1)))
        );
        seen.memo = seen.memo.after(&refused("12:01"), after(1));
        for at in 1..61 {
            let left = u64::try_from(61 - at).unwrap();
            let wait = does(None, Some(Duration::from_secs(left)));
            assert_eq!(plan(&seen, &settings(), after(at)), wait);
        }
        let step = if accepted {
            Effect::Poll
        } else {
            Effect::Accept
        };
        assert_eq!(plan(&seen, &settings(), after(61)), does(Some(step), None));
    }
}

#[test]
fn what_the_ca_has_said_stands_while_it_is_left_alone() {
    let mut seen = dns01::written();
    seen.memo.check = failed(3600);
    seen.memo.presented = Some(START);
    let late = after(3600);
    let asks = plan(&seen, &settings(), late);
    assert_eq!(
        (kinds(&asks.actions), asks.effect),
        (vec!["status"], Some(Effect::Accept))
    );
    let refused = Outcome::Unavailable {
        reason: "429".into(),
        retry: Some(Duration::from_hours(1)),
    };
    seen.memo = seen.memo.after(&refused, late);
    assert_eq!(
        plan(&seen, &settings(), late),
        does(None, Some(Duration::from_hours(1)))
    );
}

#[test]
fn an_account_that_the_ca_does_not_take_is_waited_for_without_a_rest() {
    let mut seen = checked(Check::Passed);
    let refused = || Outcome::AccountRefused {
        reason: "the terms have changed".into(),
    };
    let told = absorb(&seen, &settings(), refused(), START);
    assert_eq!((kinds(&told.actions), told.wake), (vec!["status"], None));
    seen.memo = seen.memo.after(&refused(), START);
    assert_eq!(
        plan(&seen, &settings(), START),
        does(Some(Effect::Accept), None),
        "it is woken when the issuer has its account back"
    );
}

#[test]
fn at_the_end_everything_goes_before_it_is_said() {
    for (state, reason, told) in [
        ("valid", None, "Successfully authorized domain"),
        ("invalid", Some("the CA got 404"), "the CA got 404"),
        ("expired", Some("too late"), "too late"),
        ("errored", Some("no"), "no"),
    ] {
        let seen = checked(Check::Passed);
        let outcome = Outcome::State {
            state: state.into(),
            reason: reason.map(Into::into),
            retry: None,
        };
        let plan = absorb(&seen, &settings(), outcome, START);
        assert_eq!(
            kinds(&plan.actions),
            ["-ingress", "-service", "-pod", "status"]
        );
        let written =
            json!({ "state": state, "reason": told, "presented": false, "processing": false });
        assert_eq!(status(&plan.actions[3]), &written);
        let events: Vec<Event> = reason
            .into_iter()
            .map(|r| {
                Event::warning(
                    "cert-manager-challenges",
                    "Failed",
                    format!("Accepting challenge authorization failed: {r}"),
                )
            })
            .collect();
        assert_eq!(plan.events, events, "{state}");
    }
    let loud = Settings {
        verbose_events: true,
        ..settings()
    };
    let outcome = Outcome::State {
        state: "valid".into(),
        reason: None,
        retry: None,
    };
    let plan = absorb(&checked(Check::Passed), &loud, outcome, START);
    assert_eq!(
        plan.events[0].message,
        "Domain \"app.example.com\" verified with \"HTTP-01\" validation"
    );
}

fn ended(mut seen: Observation, state: &str) -> Observation {
    edit(&mut seen, |c| {
        c.status = serde_json::from_value(json!({ "state": state })).unwrap()
    });
    seen
}

#[test]
fn what_has_ended_leaves_nothing_and_after_a_failure_watches_the_name() {
    for (state, watches) in [
        ("valid", false),
        ("invalid", true),
        ("expired", true),
        ("errored", true),
    ] {
        let left = plan(&ended(presented(pod_mode()), state), &settings(), START);
        assert_eq!(
            (kinds(&left.actions), left.effect),
            (vec!["-ingress", "-service", "-pod"], None),
            "{state}"
        );
        let clean = plan(&ended(pod_mode(), state), &settings(), START);
        let wanted = if watches {
            does(Some(Effect::Probe), Some(Duration::from_secs(5)))
        } else {
            Plan::idle()
        };
        assert_eq!(clean, wanted, "{state}");
        // What wakes it in between makes it look no sooner.
        let mut probed = ended(pod_mode(), state);
        probed.memo.probed = Some(START);
        let left = watches.then_some(Duration::from_secs(1));
        assert_eq!(plan(&probed, &settings(), after(4)), does(None, left));
        assert_eq!(plan(&probed, &settings(), after(5)), wanted, "{state}");
    }
    // cert-manager left it marked as under way.
    let mut marked = ended(pod_mode(), "valid");
    edit(&mut marked, |c| {
        let status = c.status.as_mut().unwrap();
        (status.presented, status.processing) = (Some(true), Some(true));
    });
    let plan = plan(&marked, &settings(), START);
    assert_eq!(
        status(&plan.actions[0]),
        &json!({ "presented": false, "processing": false })
    );
}

#[test]
fn what_is_deleted_already_is_not_deleted_again() {
    let mut seen = ended(presented(pod_mode()), "valid");
    for id in [
        &mut seen.objects.pod,
        &mut seen.objects.service,
        &mut seen.objects.ingress,
    ] {
        id.as_mut().unwrap().deleting = true;
    }
    assert_eq!(plan(&seen, &settings(), START), Plan::idle());
}

#[test]
fn the_shared_service_goes_with_its_last_user() {
    for (users, wanted) in [(1, vec!["-ingress"]), (0, vec!["-ingress", "-direct"])] {
        let mut seen = ended(presented(direct()), "valid");
        (seen.objects.pod, seen.objects.service) = (None, None);
        seen.direct_users = users;
        assert_eq!(kinds(&plan(&seen, &settings(), START).actions), wanted);
    }
}

#[test]
fn a_deleted_challenge_cleans_up_and_lets_go() {
    for (finalizers, left) in [
        (
            vec!["acme.cert-manager.io/finalizer", "other/x"],
            vec!["other/x"],
        ),
        (
            vec![
                "finalizer.acme.cert-manager.io",
                "acme.cert-manager.io/finalizer",
            ],
            vec![],
        ),
    ] {
        let mut seen = presented(pod_mode());
        edit(&mut seen, |c| {
            c.metadata.deletion_timestamp = Some(Time(START));
            c.metadata.finalizers = Some(finalizers.iter().map(|f| (*f).to_owned()).collect());
        });
        // Whatever else holds: no account, no turn.
        (seen.account, seen.earlier) = (false, true);
        let plan = plan(&seen, &settings(), START);
        assert_eq!(
            kinds(&plan.actions),
            ["-ingress", "-service", "-pod", "finalizers"]
        );
        let Action::SetFinalizers {
            finalizers,
            version,
            ..
        } = &plan.actions[3]
        else {
            panic!()
        };
        assert_eq!(
            (finalizers.as_slice(), version.as_str()),
            (
                left.iter()
                    .map(|f| (*f).to_owned())
                    .collect::<Vec<_>>()
                    .as_slice(),
                "7"
            )
        );
    }
    let mut released = pod_mode();
    edit(&mut released, |c| {
        c.metadata.deletion_timestamp = Some(Time(START));
        c.metadata.finalizers = Some(vec!["other/x".into()]);
    });
    assert_eq!(plan(&released, &settings(), START), Plan::idle());
}

#[test]
fn what_this_version_cannot_solve_is_said_once() {
    let mut dns = seen(&json!({}));
    edit(&mut dns, |c| c.spec.type_ = "DNS-01".into());
    let gateway = seen(&json!({ "http01": { "gatewayHTTPRoute": {} } }));
    for (mut seen, says) in [(dns, "spec.solver.dns01"), (gateway, "gatewayHTTPRoute")] {
        let first = plan(&seen, &settings(), START);
        let written = status(&first.actions[0]).clone();
        assert!(
            written["reason"].as_str().unwrap().contains(says),
            "{written}"
        );
        edit(&mut seen, |c| {
            c.status = serde_json::from_value(written).unwrap()
        });
        assert_eq!(plan(&seen, &settings(), START), Plan::idle());
    }
}

#[test]
fn objects_belong_to_the_challenge_and_carry_its_labels() {
    let seen = pod_mode();
    let presentation = Presentation::of(&seen.challenge).unwrap();
    let identity = presentation.identity();
    for action in plan(&seen, &settings(), START).actions {
        let Action::Ensure(object) = action else {
            panic!()
        };
        let meta = match *object {
            Object::Pod(o) => o.metadata,
            Object::Service(o) => o.metadata,
            Object::Ingress(o) => o.metadata,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            (meta.name, meta.labels),
            (Some(presentation.name()), Some(identity.clone()))
        );
        assert_eq!(meta.owner_references.unwrap()[0].uid, "uid-of-challenge");
    }
    assert_eq!(
        identity["acme.cert-manager.io/http01-solver"],
        map(&[("a", "true")])["a"]
    );
}

#[test]
fn what_the_api_server_refuses_of_a_solver_is_said_once_and_unsaid() {
    let mut seen = pod_mode();
    let actions = plan(&seen, &settings(), START).actions;
    assert!(actions.iter().all(presents));
    let quoted = format!("host and path \"/x/token\" of {KEY} is already defined");
    let words = without_secrets(&seen.challenge, &quoted);
    assert_eq!(
        words,
        "host and path \"/x/<token>\" of <key> is already defined"
    );

    let told = format!("Error presenting challenge: {words}");
    let first = refused(&seen, true, &words);
    let written = status(&first.actions[0]).clone();
    assert_eq!(written, json!({ "reason": told, "state": "pending" }));
    let event = Event::warning("cert-manager-challenges", "PresentError", told);
    assert_eq!(first.events, [event]);
    edit(&mut seen, |c| {
        c.status = serde_json::from_value(written).unwrap()
    });
    assert_eq!(refused(&seen, true, &words), Plan::idle(), "said once");
    let made = plan(&seen, &settings(), START);
    assert_eq!(kinds(&made.actions), ["pod", "service", "ingress"]);

    seen.objects = presented(pod_mode()).objects;
    let forgotten = plan(&seen, &settings(), START);
    assert_eq!(status(&forgotten.actions[0]), &json!({ "reason": null }));
    assert_eq!(forgotten.effect, None, "the version is another one then");
}

#[test]
fn what_cannot_be_cleaned_up_is_no_matter_of_the_status() {
    let mut seen = seen(&json!({ "http01": { "ingress": { "name": "web" } } }));
    seen.objects.edited = Some(Box::new(user_ingress()));
    let added = plan(&seen, &settings(), START).actions;
    let mut whole = json!(user_ingress());
    let Action::EditIngress(_, patch) = &added[2] else {
        panic!()
    };
    json_patch::patch(&mut whole, patch).unwrap();
    seen.objects.edited = Some(Box::new(serde_json::from_value(whole).unwrap()));
    edit(&mut seen, |c| {
        c.metadata.deletion_timestamp = Some(Time(START))
    });
    let removed = plan(&seen, &settings(), START).actions;
    assert_eq!(kinds(&removed), ["edit", "finalizers"]);
    assert!(!removed.iter().any(presents));
    let plan = refused(&seen, false, "not allowed");
    let message = "Error cleaning up challenge: not allowed";
    let event = Event::warning("cert-manager-challenges", "CleanUpError", message);
    assert_eq!((plan.actions, plan.events), (vec![], vec![event]));
}

#[test]
fn a_challenge_without_a_finalizer_is_held_before_anything_is_made() {
    let finalizers = |all: &[&str]| Some(all.iter().map(|f| (*f).to_owned()).collect());
    for (found, left) in [
        (None, Some(["acme.cert-manager.io/finalizer"].as_slice())),
        (
            finalizers(&["other/x"]),
            Some(&["other/x", "acme.cert-manager.io/finalizer"]),
        ),
        (finalizers(&["finalizer.acme.cert-manager.io"]), None),
    ] {
        let mut seen = pod_mode();
        edit(&mut seen, |c| c.metadata.finalizers.clone_from(&found));
        let plan = plan(&seen, &settings(), START);
        let Some(left) = left else {
            assert_eq!(kinds(&plan.actions), ["pod", "service", "ingress"]);
            continue;
        };
        let [Action::SetFinalizers { finalizers, .. }] = plan.actions.as_slice() else {
            panic!("{plan:?}")
        };
        assert_eq!(finalizers, left);
    }
    // What has ended is not held any more.
    let mut over = ended(pod_mode(), "invalid");
    edit(&mut over, |c| c.metadata.finalizers = None);
    assert_eq!(plan(&over, &settings(), START).actions, []);
}

#[test]
fn what_is_deleted_while_the_ca_is_at_work_is_made_again() {
    let mut seen = checked(Check::Passed);
    seen.memo.accepted = true;
    (seen.objects.pod, seen.objects.ingress) = (None, None);
    // The CA is asked first: it may be done, and the API server may refuse.
    assert_eq!(
        plan(&seen, &settings(), START),
        does(Some(Effect::Poll), None)
    );
    let still = || Outcome::State {
        state: "pending".into(),
        reason: None,
        retry: Some(Duration::from_secs(9)),
    };
    let again = absorb(&seen, &settings(), still(), START);
    assert_eq!(kinds(&again.actions), ["pod", "ingress"]);
    assert_eq!(again.wake, Some(Duration::from_secs(9)));
    // While the CA is left alone, that is all there is to do.
    seen.memo.resting = Some(after(30));
    let meanwhile = plan(&seen, &settings(), START);
    assert_eq!(
        (kinds(&meanwhile.actions), meanwhile.effect),
        (vec!["pod", "ingress"], None)
    );
    assert_eq!(meanwhile.wake, Some(Duration::from_secs(30)));
    seen.memo.accepted = false;
    assert_eq!(absorb(&seen, &settings(), still(), START).actions, []);
}

/// Of a Challenge that cert-manager has presented: its Ingress, Service and Pod.
fn adopted(mut seen: Observation) -> Observation {
    let made = [Target::Ingress, Target::Service, Target::Pod];
    seen.objects.adopted = made.map(|target| (target, identity("theirs"))).into();
    seen
}

#[test]
fn what_cert_manager_has_presented_answers_or_goes() {
    let whole = plan(&adopted(pod_mode()), &settings(), START);
    assert_eq!(whole, does(Some(Effect::SelfCheck), None), "it answers");
    // Two Ingresses of a path are refused by some controllers: theirs goes first.
    let mut broken = adopted(pod_mode());
    broken.objects.adopted.pop();
    assert_eq!(
        kinds(&plan(&broken, &settings(), START).actions),
        ["-ingress", "-service", "pod", "service", "ingress"]
    );
    assert_eq!(
        kinds(&plan(&adopted(direct()), &settings(), START).actions),
        [
            "-ingress",
            "-service",
            "-pod",
            "slice",
            "direct service",
            "ingress"
        ]
    );
    for (_, id) in &mut broken.objects.adopted {
        id.deleting = true;
    }
    let ours = kinds(&plan(&broken, &settings(), START).actions);
    assert_eq!(ours, ["pod", "service", "ingress"]);
    let over = plan(&ended(adopted(pod_mode()), "valid"), &settings(), START);
    assert_eq!(kinds(&over.actions), ["-ingress", "-service", "-pod"]);
}

#[test]
fn each_step_is_told_to_who_wants_to_know() {
    let loud = Settings {
        verbose_events: true,
        ..settings()
    };
    let event = |reason, message| vec![Event::normal("cert-manager-challenges", reason, message)];
    let started = event("Started", "Challenge scheduled for processing");
    let in_place = event(
        "Presented",
        "Presented challenge using HTTP-01 challenge mechanism",
    );
    assert_eq!(plan(&pod_mode(), &loud, START).events, started);
    let mut half = pod_mode();
    half.objects.pod = Some(identity("pod"));
    assert_eq!(plan(&half, &loud, START).events, []);
    half.objects = presented(pod_mode()).objects;
    assert_eq!(plan(&half, &loud, START).events, in_place);
    half.memo.presented = Some(START);
    assert_eq!(plan(&half, &loud, START).events, []);
    assert_eq!(plan(&with_wait("10s"), &loud, START).events, in_place);
    for quiet in [pod_mode(), with_wait("10s")] {
        assert_eq!(plan(&quiet, &settings(), START).events, []);
    }
}

proptest! {
    #[test]
    fn nothing_panics_and_keys_stay_out_of_status_and_events(
        solver in prop::sample::select(vec![
            json!({}),
            json!({ "http01": {} }),
            json!({ "http01": { "ingress": {} } }),
            json!({ "http01": { "ingress": { "name": "web", "mode": "Direct" } } }),
            json!({ "http01": { "gatewayHTTPRoute": {} } }),
            json!({ "dns01": {} }),
            json!({ "http01": { "ingress": {} }, "waitInsteadOfSelfCheck": "1s" }),
        ]),
        state in prop::option::of("(valid|invalid|pending|x)"),
        bits in any::<[bool; 14]>(),
        check in prop::sample::select(vec![Check::None, Check::Running, Check::Passed, failed(0), failed(i64::from(u32::MAX))]),
        now in prop_oneof![Just(Timestamp::MIN), Just(Timestamp::MAX), (0..1000_i64).prop_map(after)],
        admitted in any::<bool>(),
        record in prop::sample::select(dns01::states()),
        adopted in prop::sample::subsequence(vec![Target::Ingress, Target::Service, Target::Pod], 0..=3),
    ) {
        let mut seen = seen(&solver);
        if seen.challenge.spec.solver.dns01.is_some() {
            edit(&mut seen, |c| c.spec.type_ = "DNS-01".into());
        }
        seen.record = record;
        if let Some(state) = state {
            seen = ended(seen, &state);
        }
        let some = |is: bool, name: &str| is.then(|| identity(name));
        seen.objects = Objects {
            pod: some(bits[0], "pod"),
            pod_problem: bits[1].then(|| "is waiting".into()),
            service: some(bits[2], "service"),
            ingress: some(bits[3], "ingress"),
            direct_service: some(bits[4], "direct"),
            edited: bits[5].then(|| Box::new(user_ingress())),
            adopted: adopted.iter().map(|target| (*target, identity("theirs"))).collect(),
        };
        seen.memo = Memo { presented: bits[6].then_some(START), check, direct: bits[11], accepted: bits[7], valid: bits[12], blocked: bits[8].into(), ..Memo::default() };
        seen.last = bits[13];
        seen.missing_class = bits[9].then(|| "nginx".into());
        seen.admitted = admitted;
        if bits[10] {
            edit(&mut seen, |c| c.metadata.deletion_timestamp = Some(Time(START)));
        }
        let settings = Settings { mode: if bits[11] { Mode::Direct } else { Mode::Pod }, ..settings() };
        let mut plans = vec![plan(&seen, &settings, now)];
        for outcome in [
            Outcome::Started,
            Outcome::State { state: "invalid".into(), reason: Some("no".into()), retry: None },
            Outcome::State { state: "pending".into(), reason: None, retry: Some(Duration::MAX) },
            Outcome::Unavailable { reason: "no".into(), retry: None },
            Outcome::AccountRefused { reason: "no".into() },
        ] {
            plans.push(absorb(&seen, &settings, outcome, now));
        }
        for plan in plans {
            let said = plan.actions.iter().filter(|a| matches!(a, Action::PatchStatus { .. }));
            prop_assert!(said.clone().count() <= 1, "two writes of one version: {:?}", plan.actions);
            let shown = format!("{:?} {:?}", said.collect::<Vec<_>>(), plan.events);
            prop_assert!(!shown.contains(KEY));
        }
    }
}

#[test]
fn the_last_success_of_an_order_needs_no_status() {
    let valid = || Outcome::State {
        state: "valid".into(),
        reason: None,
        retry: None,
    };
    let mut seen = checked(Check::Passed);
    seen.memo.accepted = true;
    let written = |seen: &Observation| {
        let plan = absorb(seen, &settings(), valid(), START);
        let status = |a: &&Action| matches!(a, Action::PatchStatus { .. });
        (
            kinds(&plan.actions).len(),
            plan.actions.iter().filter(status).count(),
        )
    };
    assert_eq!(written(&seen).1, 1, "others of the Order are open");
    seen.last = true;
    assert_eq!(written(&seen).1, 0);
    assert!(written(&seen).0 > 0, "it is cleaned up all the same");

    // Until the Order deletes it, the CA is not asked again.
    seen.memo.valid = true;
    assert_eq!(plan(&seen, &settings(), START).effect, None);
    // An Order that came to another end, or a status that says otherwise, needs the word.
    let mut ended = seen.clone();
    ended.last = false;
    assert_eq!(plan(&ended, &settings(), START).effect, Some(Effect::Poll));
    edit(&mut seen, |c| {
        c.status.get_or_insert_default().reason = Some("waiting".into());
    });
    assert_eq!(plan(&seen, &settings(), START).effect, Some(Effect::Poll));
    assert_eq!(written(&seen).1, 1);
}
