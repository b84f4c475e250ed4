//! Renewal within windows, and never beyond expiry (contract §4.2).

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::world::{START, World};
use crate::api::CertificateSpec;
use crate::controllers::certificate::renewal::{By, Renewal, renewal};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Of a certificate from 2026-01-01 to `not_after`, by default due after two thirds of that.
fn due(renewal_spec: &Value, not_after: &str) -> Renewal {
    let spec = json!({ "secretName": "a", "issuerRef": { "name": "a" }, "renewal": renewal_spec });
    let spec: CertificateSpec = serde_json::from_value(spec).unwrap();
    renewal(&spec, START, at(not_after), None).unwrap()
}

fn windows(windows: &Value) -> Value {
    json!({ "policy": "RenewBefore", "windows": windows })
}

#[test]
fn it_is_when_it_should_be_or_when_the_next_window_opens() {
    // Of 30 days: due on the 21st, a Wednesday, at midnight.
    let end = "2026-01-31T00:00:00Z";
    for (given, wanted) in [
        (json!([]), "2026-01-21T00:00:00Z"),
        // Open since Tuesday evening.
        (
            json!([{ "cron": "0 22 * * 2", "windowDuration": "4h" }]),
            "2026-01-21T00:00:00Z",
        ),
        // Its first and its last moment.
        (
            json!([{ "cron": "0 0 * * *", "windowDuration": "1s" }]),
            "2026-01-21T00:00:00Z",
        ),
        (
            json!([{ "cron": "0 22 * * *", "windowDuration": "2h" }]),
            "2026-01-21T00:00:00Z",
        ),
        // Just closed: the next day's.
        (
            json!([{ "cron": "0 22 * * *", "windowDuration": "1h59m59s" }]),
            "2026-01-21T22:00:00Z",
        ),
        (
            json!([{ "cron": "0 2 * * 6", "windowDuration": "4h" }]),
            "2026-01-24T02:00:00Z",
        ),
        // By the clock of Berlin.
        (
            json!([{ "cron": "0 2 * * 6", "windowDuration": "4h", "timezone": "Europe/Berlin" }]),
            "2026-01-24T01:00:00Z",
        ),
        // The earliest of several; one that is open now wins.
        (
            json!([
                { "cron": "0 2 * * 6", "windowDuration": "4h" },
                { "cron": "0 2 * * 5", "windowDuration": "4h" },
            ]),
            "2026-01-23T02:00:00Z",
        ),
        (
            json!([
                { "cron": "0 2 * * 6", "windowDuration": "4h" },
                { "cron": "@weekly", "windowDuration": "96h" },
            ]),
            "2026-01-21T00:00:00Z",
        ),
        // No time of the day.
        (
            json!([{ "cron": "@every 1h", "windowDuration": "1m" }]),
            "2026-01-21T00:00:00Z",
        ),
    ] {
        let wanted = Renewal {
            at: at(wanted),
            misses_windows: false,
            by: By::Spec,
        };
        assert_eq!(due(&windows(&given), end), wanted, "{given}");
    }
}

#[test]
fn without_a_window_before_expiry_it_is_renewed_outside() {
    let end = "2026-01-31T00:00:00Z";
    for cron in ["0 0 31 1 *", "@yearly", "0 0 30 2 *"] {
        let given = windows(&json!([{ "cron": cron, "windowDuration": "1h" }]));
        let wanted = Renewal {
            at: at("2026-01-21T00:00:00Z"),
            misses_windows: true,
            by: By::Spec,
        };
        assert_eq!(due(&given, end), wanted, "{cron}");
    }
    // A minute before is early enough.
    let given = windows(&json!([{ "cron": "59 23 30 1 *", "windowDuration": "1h" }]));
    assert_eq!(due(&given, end).at, at("2026-01-30T23:59:00Z"));
}

#[test]
fn the_status_says_when_and_then_it_is_renewed() {
    let spec = windows(
        &json!([{ "cron": "0 2 * * 6", "windowDuration": "4h", "timezone": "Europe/Berlin" }]),
    );
    let mut world = World::issued(&json!({ "renewal": spec }));
    world.step();
    // Due on Monday, the 2nd of March; the window opens on Saturday.
    let opens = at("2026-03-07T01:00:00Z");
    assert_eq!(world.status().renewal_time.unwrap().0, opens);
    let wake = SignedDuration::try_from(world.wake.unwrap()).unwrap();
    assert_eq!(world.now + wake, opens);
    world.now = opens - SignedDuration::from_secs(1);
    world.run(12);
    assert_eq!(world.status().revision, Some(1));
    world.now = opens;
    world.run(12);
    assert_eq!(
        (world.ready(), world.status().revision),
        (("True", "Ready"), Some(2))
    );
}

#[test]
fn that_no_window_comes_in_time_is_said_and_it_is_renewed_still() {
    let spec = windows(&json!([{ "cron": "@yearly", "windowDuration": "1h" }]));
    let mut world = World::issued(&json!({}));
    world.edit(&json!({ "renewal": spec }));
    assert!(world.run(3));
    assert_eq!(world.ready(), ("False", "WindowError"));
    assert!(
        world.message("Ready").starts_with(
            "Could not calculate renewal time: cannot find a time with the given windows"
        ),
        "{}",
        world.message("Ready")
    );
    assert!(world.message("Ready").ends_with("(EL-1110)."));
    let due = world.status().renewal_time.unwrap().0;
    world.forget_records();
    world.now = due;
    world.step();
    assert_eq!(world.issuing(), ("True", "Renewing"));
    assert!(
        world
            .message("Issuing")
            .starts_with("Renewing certificate without satisfying renewal windows at: 2026-03-0"),
        "{}",
        world.message("Issuing")
    );
    assert_eq!(world.event_reasons(), ["WindowError", "Issuing"]);
    world.run(12);
    assert_eq!(world.status().revision, Some(2));
}

#[test]
fn windows_and_policy_are_not_compared() {
    let mut world = World::issued(&json!({}));
    world.edit(
        &json!({ "renewal": windows(&json!([{ "cron": "@daily", "windowDuration": "1h" }])) }),
    );
    assert!(world.run(3));
    assert_eq!(world.writes, ["status"]);
    assert_eq!(world.status().revision, Some(1));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn never_too_early_and_never_beyond_expiry(
        cron in "([0-9]|[*]) ([0-9]|1[0-9]|[*]|[*]/5) ([1-9]|[*]) ([1-9]|[*]) ([0-6]|[*])",
        length in 1..10_000_i64,
        life in 7200..40_000_000_i64,
        zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York"]),
    ) {
        let given = json!([{ "cron": cron, "windowDuration": format!("{length}s"), "timezone": zone }]);
        let end = START + SignedDuration::from_secs(life);
        let plain = due(&json!({ "policy": "RenewBefore" }), &end.to_string()).at;
        let found = due(&windows(&given), &end.to_string());
        prop_assert!(found.at >= plain && found.at < end, "{:?}", found);
        prop_assert!(!found.misses_windows || found.at == plain);
    }
}
