//! When a certificate is due (contract §4.2): the contract's examples, and the edges of its table.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::authority::Answer;
use super::world::{START, World};
use crate::api::CertificateSpec;
use crate::controllers::certificate::renewal::{delay, renewal};
use crate::controllers::facts::LeafFact;

/// Seconds from the start of a certificate's life until it is due.
fn due(spec: &Value, lifetime: SignedDuration) -> Option<i64> {
    let mut whole = json!({ "secretName": "a", "issuerRef": { "name": "a" } });
    json_patch::merge(&mut whole, spec);
    let spec: CertificateSpec = serde_json::from_value(whole).unwrap();
    let time = renewal(&spec, START, START + lifetime, None)?.at;
    assert_eq!(time.subsec_nanosecond(), 0);
    Some(time.duration_since(START).as_secs())
}

#[test]
fn the_examples_of_the_contract() {
    const HOUR: i64 = 3600;
    let hours = SignedDuration::from_hours;
    for (spec, lifetime, wanted) in [
        (json!({}), hours(90 * 24), 60 * 24 * HOUR),
        (json!({}), hours(144), 96 * HOUR),
        // Day 31.33.
        (json!({}), hours(47 * 24), 752 * HOUR),
        (json!({ "renewBeforePercentage": 25 }), hours(1), 45 * 60),
    ] {
        assert_eq!(due(&spec, lifetime), Some(wanted), "{spec}");
    }
}

#[test]
fn each_row_of_the_table() {
    let life = SignedDuration::from_secs(3000);
    for (spec, wanted) in [
        (json!({ "renewBefore": "10m" }), Some(2400)),
        (
            json!({ "renewBefore": "10m", "renewBeforePercentage": 50 }),
            Some(2400),
        ),
        (json!({ "renewBefore": "2999s" }), Some(1)),
        (json!({ "renewBefore": "50m" }), Some(2000)),
        (
            json!({ "renewBefore": "1h", "renewBeforePercentage": 50 }),
            Some(1500),
        ),
        (json!({ "renewBefore": "0s" }), Some(2000)),
        (json!({ "renewBefore": "-5m" }), Some(2000)),
        (json!({ "renewBefore": "soon" }), Some(2000)),
        (json!({ "renewBeforePercentage": 1 }), Some(2970)),
        (json!({ "renewBeforePercentage": 99 }), Some(30)),
        (json!({ "renewBeforePercentage": 0 }), Some(2000)),
        (json!({ "renewBeforePercentage": 100 }), Some(2000)),
        (json!({ "renewBeforePercentage": -7 }), Some(2000)),
        (
            json!({ "renewal": { "policy": "RenewBefore" } }),
            Some(2000),
        ),
        (json!({ "renewal": { "policy": "Disabled" } }), None),
        // The lifetime is that of the certificate, not the one asked for.
        (json!({ "duration": "9000h" }), Some(2000)),
    ] {
        assert_eq!(due(&spec, life), wanted, "{spec}");
    }
    assert_eq!(
        due(&json!({}), SignedDuration::from_millis(100_000)),
        Some(66),
        "whole seconds"
    );
}

#[test]
fn no_lifetime_is_too_strange() {
    let spec = CertificateSpec {
        renew_before_percentage: Some(99),
        ..CertificateSpec::default()
    };
    for (from, to) in [
        (Timestamp::MIN, Timestamp::MAX),
        (Timestamp::MAX, Timestamp::MIN),
        (START, START),
    ] {
        let _ = renewal(&spec, from, to, None);
        let _ = renewal(&CertificateSpec::default(), from, to, None);
    }
}

#[test]
fn it_is_woken_when_it_is_due_and_renewed() {
    let mut world = World::issued(&json!({}));
    world.step();
    let due = world.status().renewal_time.unwrap().0;
    assert_eq!(
        SignedDuration::try_from(world.wake.unwrap()).unwrap(),
        due.duration_since(world.now)
    );
    world.now = due;
    world.run(12);
    assert_eq!(
        (world.ready(), world.status().revision),
        (("True", "Ready"), Some(2))
    );
    assert!(world.status().renewal_time.unwrap().0 > due);
}

#[test]
fn an_edit_of_renew_before_moves_the_time_and_nothing_else() {
    let mut world = World::issued(&json!({}));
    world.edit(&json!({ "renewBefore": "24h" }));
    world.run(3);
    assert_eq!(world.writes, ["status"]);
    let status = world.status();
    assert_eq!(
        status
            .not_after
            .unwrap()
            .0
            .duration_since(status.renewal_time.unwrap().0),
        SignedDuration::from_hours(24)
    );
    assert_eq!(status.revision, Some(1));
}

#[test]
fn without_renewal_it_expires_and_says_so() {
    let mut world = World::issued(&json!({ "renewal": { "policy": "Disabled" } }));
    assert_eq!(world.status().renewal_time, None);
    world.step();
    let end = world.status().not_after.unwrap().0;
    let wake = world.wake.expect("it has to be looked at when it expires");
    world.pass(wake.try_into().unwrap());
    assert!(world.now > end);
    world.answer = Answer::Nothing;
    world.run(3);
    assert_eq!(
        (world.ready(), world.issuing()),
        (("False", "Expired"), ("", ""))
    );
    assert_eq!(
        world.message("Ready"),
        "Certificate expired on Wed, 01 Apr 2026 00:00:00 UTC"
    );
}

/// A fleet that was issued in one minute is not renewed in one minute, and `status.renewalTime` is the contract's all the same.
#[test]
fn what_an_acme_ca_signed_is_renewed_within_an_hour_of_its_time() {
    let mut world = World::new(&json!({}));
    (world.is_acme, world.lifetime) = (true, SignedDuration::from_hours(90 * 24));
    assert!(world.run(12), "{:?}", world.writes);
    let due = START + SignedDuration::from_hours(60 * 24);
    assert_eq!(world.status().renewal_time.unwrap().0, due);
    world.now = due;
    assert!(world.run(3), "{:?}", world.writes);
    let wait = SignedDuration::try_from(world.wake.unwrap()).unwrap();
    assert!(
        wait.is_positive() && wait < SignedDuration::from_hours(1),
        "{wait}"
    );
    assert_eq!(world.status().revision, Some(1));
    world.now = due + wait;
    world.run(12);
    assert_eq!(world.status().revision, Some(2));
}

/// The longest delays of certificates with this lifetime, from which so many seconds are the most: the mean is half of that.
#[test]
fn the_delay_is_drawn_from_a_part_of_the_lifetime() {
    const HOUR: i64 = 3600;
    let windows = json!({ "renewal": { "policy": "RenewBefore", "windows": [{ "cron": "0 0 * * *", "windowDuration": "4h" }] } });
    for (spec, hours, most) in [
        (json!({}), 90 * 24, HOUR),
        (json!({}), 6 * 24, 96 * 36),
        (json!({}), 36, 24 * 36),
        // What somebody looks at.
        (json!({}), 35, 0),
        (json!({}), 1, 0),
        (json!({ "renewBefore": "2159h" }), 90 * 24, 0),
        (json!({ "renewBefore": "20m" }), 90 * 24, 600),
        (windows, 90 * 24, 0),
    ] {
        let mut world = World::new(&spec);
        world.lifetime = SignedDuration::from_hours(hours);
        assert!(world.run(12), "{:?}", world.writes);
        let seen = world.observe();
        let leaf = seen.leaf().unwrap();
        let due = seen.renewal_of(leaf).unwrap();
        let delays = (0..200).map(|public| {
            let leaf = LeafFact {
                public,
                ..leaf.clone()
            };
            delay(&seen.certificate.spec, &leaf, &due).as_secs()
        });
        let delays: Vec<_> = delays.collect();
        assert!(
            delays.iter().all(|delay| (0..=most).contains(delay)),
            "{spec} {hours}"
        );
        let mean = delays.iter().sum::<i64>() / 200;
        assert!(
            (most * 2 / 5..=most * 3 / 5).contains(&mean),
            "{spec} {hours}: {mean}"
        );
    }
}

#[test]
fn what_another_ca_signed_is_renewed_at_its_time() {
    let mut world = World::new(&json!({}));
    world.lifetime = SignedDuration::from_hours(90 * 24);
    assert!(world.run(12), "{:?}", world.writes);
    world.now = world.status().renewal_time.unwrap().0;
    world.run(12);
    assert_eq!(world.status().revision, Some(2));
}
