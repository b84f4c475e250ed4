use super::*;
use crate::controllers::challenge::observe::has_earlier;
use crate::controllers::challenge::{Failure, Retry, Sight};
use crate::controllers::store::{Change, Store};

fn dns01() -> Observation {
    let mut seen = seen(&json!({ "dns01": { "rfc2136": { "nameserver": "192.0.2.53" } } }));
    edit(&mut seen, |c| c.spec.type_ = "DNS-01".into());
    seen
}

/// The status says that there may be a record.
fn processing() -> Observation {
    let mut seen = dns01();
    edit(&mut seen, |c| {
        c.status.get_or_insert_default().processing = Some(true);
    });
    seen
}

pub(super) fn written() -> Observation {
    let mut seen = processing();
    seen.record = RecordState::Present;
    seen.memo.presented = Some(START);
    seen
}

fn failure(removing: bool, retry: Retry, count: u32, at: i64) -> RecordState {
    RecordState::Failed(Failure {
        removing,
        reason: "the server refuses".into(),
        retry,
        count,
        since: START,
        at: after(at),
    })
}

/// Some of each.
pub(super) fn states() -> Vec<RecordState> {
    let retries = [Retry::OnChange, Retry::Soon, Retry::At(Timestamp::MAX)];
    let failed = retries.map(|retry| {
        [
            failure(true, retry, 0, 0),
            failure(false, retry, u32::MAX, 9),
        ]
    });
    let others = [
        RecordState::Unknown,
        RecordState::Busy(START),
        RecordState::Present,
        RecordState::Absent,
    ];
    others
        .into_iter()
        .chain(failed.into_iter().flatten())
        .collect()
}

fn statuses(plan: &Plan<Effect>) -> Vec<&Value> {
    let statuses = plan.actions.iter().filter_map(|action| match action {
        Action::PatchStatus { status, .. } => Some(status),
        _ => None,
    });
    statuses.collect()
}

#[test]
fn the_status_says_that_there_may_be_a_record_before_there_is() {
    let first = plan(&dns01(), &settings(), START);
    assert_eq!(first.effect, None);
    assert_eq!(statuses(&first), [&json!({ "processing": true })]);
    let second = plan(&processing(), &settings(), START);
    assert_eq!(second, does(Some(Effect::Present), None));
    let mut busy = processing();
    busy.record = RecordState::Busy(START);
    assert_eq!(plan(&busy, &settings(), START), Plan::idle());
}

/// In the order that they were made.
#[test]
fn what_may_take_the_place_of_anothers_value_waits_for_it_in_every_namespace() {
    let webhook = json!({ "dns01": { "webhook": { "groupName": "a.b", "solverName": "c" } } });
    let acme_dns =
        json!({ "dns01": { "acmeDNS": { "host": "h", "accountSecretRef": { "name": "a" } } } });
    let rfc2136 = json!({ "dns01": { "rfc2136": { "nameserver": "192.0.2.53" } } });
    let http01 = json!({ "http01": { "ingress": {} } });
    for (solver, type_, waits) in [
        (&webhook, "DNS-01", [false, true, true, true]),
        (&acme_dns, "DNS-01", [false, false, true, true]),
        (&rfc2136, "DNS-01", [false; 4]),
        // A Challenge of another namespace has objects of its own.
        (&http01, "HTTP-01", [false, false, true, true]),
    ] {
        let store = Store::new("cluster");
        let namespaces = ["shop", "blog", "shop", "blog"];
        let made = namespaces.iter().zip(0..).map(|(namespace, number)| {
            let mut seen = seen(solver);
            edit(&mut seen, |c| {
                c.spec.type_ = type_.into();
                c.metadata.namespace = Some((*namespace).into());
                c.metadata.name = Some(format!("c{number}"));
                c.metadata.uid = Some(number.to_string());
                c.metadata.creation_timestamp = Some(Time(after(number)));
            });
            store.apply(Change::Challenge(Challenge::clone(&seen.challenge)));
            seen.challenge
        });
        let made: Vec<_> = made.collect();
        let found = made.iter().map(|challenge| {
            let namespace = challenge.metadata.namespace.as_deref().unwrap();
            let neighbours = store.challenges_in(namespace);
            has_earlier(&store, challenge, &neighbours, after(9))
        });
        assert!(found.eq(waits), "{solver}");
    }
}

#[test]
fn an_older_challenge_is_waited_for_until_its_record_is_gone_and_an_hour_at_most() {
    let webhook =
        |name: &str| json!({ "dns01": { "webhook": { "groupName": "a.b", "solverName": name } } });
    let made = |number: i64, solver: &str, status: &Value| {
        let mut seen = seen(&webhook(solver));
        edit(&mut seen, |c| {
            c.spec.type_ = "DNS-01".into();
            c.metadata.name = Some(format!("c{number}"));
            c.metadata.uid = Some(number.to_string());
            c.metadata.creation_timestamp = Some(Time(after(number)));
            c.status = serde_json::from_value(status.clone()).unwrap();
        });
        Challenge::clone(&seen.challenge)
    };
    for (solver, status, at, waits) in [
        ("c", json!({ "state": "pending" }), 9, true),
        (
            "c",
            json!({ "state": "valid", "processing": true }),
            9,
            true,
        ),
        (
            "c",
            json!({ "state": "valid", "processing": false }),
            9,
            false,
        ),
        ("d", json!({ "state": "pending" }), 9, false),
        (
            "c",
            json!({ "state": "pending", "processing": true }),
            3600,
            false,
        ),
    ] {
        let store = Store::new("cluster");
        store.apply(Change::Challenge(made(0, solver, &status)));
        let younger = made(1, "c", &json!(null));
        store.apply(Change::Challenge(younger.clone()));
        let found = has_earlier(&store, &younger, &[], after(at));
        assert_eq!(found, waits, "{solver} {status} after {at} s");
    }
}

#[test]
fn a_record_that_is_there_is_looked_for_and_then_the_ca_asked_at_once() {
    let mut seen = written();
    seen.memo.presented = None;
    assert_eq!(
        plan(&seen, &settings(), START),
        does(Some(Effect::SelfCheck), None)
    );
    seen.memo.presented = Some(START);
    seen.memo.check = Check::Passed;
    assert_eq!(
        plan(&seen, &settings(), START),
        does(Some(Effect::Accept), None)
    );
}

#[test]
fn a_record_that_is_not_seen_is_looked_for_ever_more_seldom() {
    for (at, pause) in [(0, 250), (2, 1000), (10, 5000), (30, 10_000)] {
        let mut seen = written();
        seen.memo.check = failed(at);
        seen.memo.sight = Sight::Denied;
        let wake = plan(&seen, &settings(), after(at)).wake;
        assert_eq!(wake, Some(Duration::from_millis(pause)), "after {at} s");
    }
}

#[test]
fn what_was_seen_says_how_long_the_ca_is_kept_from_its_turn() {
    for (denied, sight, limit) in [
        (None, Sight::Partly, 10),
        (None, Sight::Nothing, 30),
        (None, Sight::Denied, 600),
        // Whoever has denied it just now, and is silent.
        (Some(100), Sight::Partly, 110),
        (Some(100), Sight::Nothing, 130),
        (Some(-9), Sight::Nothing, 30),
        (Some(590), Sight::Nothing, 600),
    ] {
        let mut seen = written();
        if let Some(denied) = denied {
            seen.memo.see(Check::None, Sight::Denied, after(denied));
        }
        let at = after(limit - 1);
        seen.memo.see(failed(limit - 1), sight, at);
        let before = plan(&seen, &settings(), after(limit - 1));
        assert_eq!(before.effect, None, "{sight:?}");
        let reason = "Waiting for DNS-01 challenge propagation: connection refused";
        assert_eq!(statuses(&before)[0]["reason"], reason, "{sight:?}");
        // One that is slow to the end is named when the CA is asked.
        let then = plan(&seen, &settings(), after(limit));
        assert_eq!(then.effect, Some(Effect::Accept), "{sight:?}");
        assert_eq!(statuses(&then)[0]["reason"], reason, "{sight:?}");
        edit(&mut seen, |c| {
            c.status.get_or_insert_default().reason = Some(reason.into());
        });
        let then = plan(&seen, &settings(), after(limit));
        assert_eq!(then, does(Some(Effect::Accept), None), "{sight:?}");
    }
}

#[test]
fn the_solvers_own_wait_takes_the_place_of_the_look() {
    let mut seen = written();
    edit(&mut seen, |c| {
        c.spec.solver.wait_instead_of_self_check = Some("90s".into())
    });
    seen.memo.presented = None;
    let begun = plan(&seen, &settings(), START);
    let written = statuses(&begun)[0].clone();
    assert_eq!(
        (begun.effect, &written["reason"]),
        (
            None,
            &json!("Waiting 1m30s before accepting DNS-01 challenge without self-check")
        )
    );
    edit(&mut seen, |c| {
        c.status = serde_json::from_value(written).unwrap()
    });
    let wait = Duration::from_mins(1);
    assert_eq!(plan(&seen, &settings(), after(30)), Plan::wait(wait));
    let then = plan(&seen, &settings(), after(90));
    assert_eq!(then, does(Some(Effect::Accept), None));
}

#[test]
fn a_provider_that_fails_is_asked_again_and_the_fault_is_said_once() {
    let cases = [
        (Retry::Soon, 1, 2),
        (Retry::Soon, 3, 8),
        (Retry::Soon, 40, 300),
        (Retry::OnChange, 1, 600),
        (Retry::At(after(90)), 1, 90),
        (Retry::At(after(1_000_000)), 1, 3600),
    ];
    for (retry, count, pause) in cases {
        let mut seen = processing();
        seen.record = failure(false, retry, count, 0);
        let first = plan(&seen, &settings(), START);
        // Unless the DNS says before that it belongs elsewhere.
        assert_eq!(first.effect, Some(Effect::Probe), "{retry:?}");
        let wake = Duration::from_secs(pause.min(5));
        assert_eq!(first.wake, Some(wake), "{retry:?}");
        let early = plan(&seen, &settings(), after(i64::try_from(pause).unwrap() - 1));
        assert_eq!(early.effect, Some(Effect::Probe), "{retry:?}");
        seen.memo.probed = Some(START);
        let woken = plan(&seen, &settings(), after(1));
        assert_eq!(woken.effect, None, "{retry:?}");
        assert_eq!(woken.wake, Some(Duration::from_secs(pause.min(5) - 1)));
        let reason = "Error presenting challenge: the server refuses";
        assert_eq!(statuses(&first)[0]["reason"], reason);
        assert_eq!(
            first.events,
            [Event::warning(
                "cert-manager-challenges",
                "PresentError",
                reason
            )]
        );
        edit(&mut seen, |c| {
            c.status.get_or_insert_default().reason = Some(reason.into());
        });
        let pause = i64::try_from(pause).unwrap();
        let then = plan(&seen, &settings(), after(pause));
        assert_eq!(then, does(Some(Effect::Present), None), "{retry:?}");
    }
}

#[test]
fn success_takes_the_record_away_before_the_status_says_so() {
    let mut seen = written();
    seen.memo.accepted = true;
    let valid = || Outcome::State {
        state: "valid".into(),
        reason: None,
        retry: None,
    };
    // The Order is told, and deletes it.
    seen.last = true;
    let told = absorb(&seen, &settings(), valid(), START);
    assert_eq!(told, does(None, Some(Duration::ZERO)));
    seen.memo.valid = true;
    assert_eq!(
        plan(&seen, &settings(), START),
        does(Some(Effect::CleanUp), None)
    );
    seen.record = RecordState::Absent;
    assert_eq!(plan(&seen, &settings(), START), Plan::idle());

    // It is not.
    let mut seen = written();
    let untold = absorb(&seen, &settings(), valid(), START);
    let reason = "Successfully authorized domain";
    assert_eq!(
        statuses(&untold),
        [&json!({ "state": "valid", "reason": reason })]
    );
    edit(&mut seen, |c| {
        c.status.get_or_insert_default().state = Some("valid".into())
    });
    assert_eq!(
        plan(&seen, &settings(), START),
        does(Some(Effect::CleanUp), None)
    );
    seen.record = RecordState::Absent;
    let rest = plan(&seen, &settings(), START);
    assert_eq!(
        statuses(&rest),
        [&json!({ "presented": false, "processing": false })]
    );
}

#[test]
fn after_a_refusal_the_dns_is_watched_ever_more_seldom() {
    let ended = |state: &str, probes| {
        let mut seen = dns01();
        edit(&mut seen, |c| {
            c.status.get_or_insert_default().state = Some(state.into())
        });
        seen.memo.probes = probes;
        seen
    };
    for (probes, pause) in [
        (0, 5),
        (11, 5),
        (12, 10),
        (36, 20),
        (500, 60),
        (u32::MAX, 60),
    ] {
        let plan = plan(&ended("invalid", probes), &settings(), START);
        let pause = Duration::from_secs(pause);
        assert_eq!(plan, does(Some(Effect::Probe), Some(pause)), "{probes}");
    }
    assert_eq!(plan(&ended("valid", 0), &settings(), START), Plan::idle());
    // Not before the record has gone.
    let mut there = ended("invalid", 0);
    edit(&mut there, |c| {
        c.status.get_or_insert_default().processing = Some(true)
    });
    there.record = RecordState::Present;
    assert_eq!(
        plan(&there, &settings(), START),
        does(Some(Effect::CleanUp), None)
    );
}

#[test]
fn a_refusal_says_what_did_not_look_right_before() {
    let mut seen = written();
    seen.memo.check = failed(5);
    let invalid = Outcome::State {
        state: "invalid".into(),
        reason: Some("no TXT record found".into()),
        retry: None,
    };
    let plan = absorb(&seen, &settings(), invalid, after(30));
    let reason = "no TXT record found; before the CA was asked, connection refused";
    assert_eq!(statuses(&plan)[0]["reason"], reason);
}

/// Being deleted, in this state of its record.
fn deleted(mut seen: Observation, record: RecordState) -> Observation {
    edit(&mut seen, |c| {
        c.metadata.deletion_timestamp = Some(Time(START))
    });
    seen.record = record;
    seen
}

fn is_released(plan: &Plan<Effect>) -> bool {
    let released = |action: &Action| matches!(action, Action::SetFinalizers { finalizers, .. } if finalizers.is_empty());
    plan.actions.iter().any(released)
}

#[test]
fn a_deletion_waits_until_the_record_has_gone() {
    let plan = |seen: &Observation| plan(seen, &settings(), after(1));
    // Whoever wrote it: this process, or one before.
    for record in [RecordState::Present, RecordState::Unknown] {
        let seen = deleted(processing(), record);
        assert_eq!(plan(&seen), does(Some(Effect::CleanUp), None));
    }
    let wait = Duration::from_secs(29);
    assert_eq!(
        plan(&deleted(processing(), RecordState::Busy(START))),
        Plan::wait(wait)
    );
    assert!(is_released(&plan(&deleted(
        processing(),
        RecordState::Absent
    ))));
    // Nothing was ever written.
    assert!(is_released(&plan(&deleted(dns01(), RecordState::Unknown))));
    // Another Challenge needs the record still.
    let mut shared = deleted(processing(), RecordState::Present);
    shared.shared = true;
    assert!(is_released(&plan(&shared)));
}

#[test]
fn a_deletion_does_not_wait_for_ever() {
    let failed = |retry, at| failure(true, retry, 9, at);
    for (record, patience) in [
        (failed(Retry::OnChange, 4), 5),
        (failed(Retry::Soon, 29), 30),
        // One that has said when is asked then once more, within reason.
        (failed(Retry::At(after(10)), 1), 30),
        (failed(Retry::At(after(100)), 1), 102),
        (failed(Retry::At(after(1000)), 1), 180),
        // One that does not answer, to the writing or to the taking away.
        (RecordState::Busy(START), 30),
        (RecordState::Busy(after(-500)), 30),
        (RecordState::Busy(after(100)), 130),
    ] {
        let retry = record.clone();
        let seen = deleted(processing(), record);
        let before = plan(&seen, &settings(), after(patience - 1));
        assert!(!is_released(&before), "{retry:?}");
        assert_eq!(before.wake, Some(Duration::from_secs(1)), "{retry:?}");
        let then = plan(&seen, &settings(), after(patience));
        assert!(is_released(&then), "{retry:?}");
        assert_eq!(then.events.len(), 1);
        assert_eq!(then.events[0].reason, "CleanUpError");
        assert!(then.events[0].message.contains("may still be there"));
    }
    let limited = deleted(processing(), failed(Retry::At(after(100)), 1));
    let asked = plan(&limited, &settings(), after(100));
    assert_eq!(asked.effect, Some(Effect::CleanUp));
}
