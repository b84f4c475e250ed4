#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]
#![allow(
    clippy::semicolon_if_nothing_returned,
    reason = "in a table of changes, each is an expression"
)]

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::{
    AccountState, Authority, Effect, Login, Observation, Outcome, Retry, Settings, Solvers, plan,
};
use crate::api::IssuerStatus;
use crate::api::acme_issuer::{AcmeIssuerStatus, AcmeLimitsStatus};
use crate::controllers::action::{Action, Event, Object, Plan, SecretObject, SecretPatch};
use crate::controllers::facts::{IssuerFact, ca_digest, trust_digest};
use crate::controllers::fixtures::{START, issuer};
use crate::controllers::key::{Key, Kind};
use crate::controllers::rotation::{Leaf, Pace, Place, Signing};
use crate::controllers::status::seconds;
use crate::controllers::vault::{Cause, Problem};

type Change = fn(&mut IssuerFact);

const HASH: &str = "hash";

const SETTINGS: Settings = Settings {
    pace: Pace {
        rate: 60,
        parallelism: 10,
    },
};

fn absorb(seen: &Observation, outcome: Outcome, now: Timestamp) -> Plan<Effect> {
    super::absorb(seen, &SETTINGS, outcome, now)
}

fn seen(spec: Value, ready: Option<(bool, &str)>) -> Observation {
    Observation {
        kind: Kind::Issuer,
        issuer: issuer(spec, ready).into(),
        home: "shop".into(),
        loaded: None,
        account: AccountState::default(),
        resting: None,
        solvers: Solvers::Sound,
        leaves: vec![],
        limits: None,
    }
}

fn acme(more: &Value) -> Value {
    let mut spec = json!({
        "server": "https://ca.example/dir",
        "email": "Ops@example.com",
        "privateKeySecretRef": { "name": "account" },
    });
    json_patch::merge(&mut spec, more);
    json!({ "acme": spec })
}

/// An ACME issuer whose account is registered, with the key in use.
fn registered() -> Observation {
    let mut seen = seen(acme(&json!({})), Some((true, "ACMEAccountRegistered")));
    let mut fact = (*seen.issuer).clone();
    fact.status.acme = Some(AcmeIssuerStatus {
        uri: Some("https://ca.example/account/1".into()),
        last_registered_email: Some("Ops@example.com".into()),
        last_private_key_hash: Some(HASH.into()),
        limits: None,
    });
    (seen.issuer, seen.loaded) = (fact.into(), Some(HASH.into()));
    seen
}

#[test]
fn what_no_order_shows_of_the_cas_limits_is_stored_once() {
    let limits: AcmeLimitsStatus = serde_json::from_value(json!({ "asOf": START, "buckets": [
        { "limit": "CertificatesPerDomain", "of": "example.com", "fullAt": START },
    ] }))
    .unwrap();
    let mut seen = registered();
    seen.limits = Some(limits.clone());
    let first = plan(&seen, START);
    let (status, _) = written(&first);
    assert_eq!(
        status,
        &json!({ "acme": { "limits": limits } }),
        "the account stays"
    );
    change(&mut seen, |fact| {
        fact.status.acme.as_mut().unwrap().limits = Some(limits);
    });
    assert_eq!(plan(&seen, START), Plan::idle());
    seen.limits = None;
    assert_eq!(plan(&seen, START), Plan::idle(), "and is left alone");
}

#[test]
fn limits_that_cannot_be_read_are_named_until_they_can() {
    let mut seen = registered();
    change(&mut seen, |fact| fact.limits = Some("domain=50".into()));
    let first = plan(&seen, START);
    let ready = written(&first).1.clone();
    let message = ready["message"].as_str().unwrap();
    assert_eq!(ready["status"], "True");
    assert!(message.starts_with(
        "The ACME account was registered with the ACME server. metadata.annotations["
    ));
    assert!(message.ends_with("(EL-1431)."), "{message}");
    change(&mut seen, |fact| {
        let conditions = fact.status.conditions.as_mut().unwrap();
        conditions[0] = serde_json::from_value(ready.clone()).unwrap();
    });
    assert_eq!(plan(&seen, START), Plan::idle(), "said once");
    change(&mut seen, |fact| fact.limits = Some("domain=50/7d".into()));
    let mended = plan(&seen, START);
    let message = &written(&mended).1["message"];
    assert_eq!(
        message,
        "The ACME account was registered with the ACME server"
    );
}

fn change(seen: &mut Observation, change: impl FnOnce(&mut IssuerFact)) {
    let mut fact = (*seen.issuer).clone();
    change(&mut fact);
    seen.issuer = fact.into();
}

/// The status that the only action writes: all of it, and the Ready condition.
fn written(plan: &Plan<Effect>) -> (&Value, &Value) {
    let [Action::PatchStatus { key, status, .. }] = plan.actions.as_slice() else {
        panic!("not one status: {:?}", plan.actions)
    };
    assert_eq!(key, &Key::new(Kind::Issuer, "shop", "ca"));
    (status, &status["conditions"][0])
}

fn is_ready(plan: &Plan<Effect>, status: &str, reason: &str, says: &str) {
    let (_, ready) = written(plan);
    assert_eq!(
        (&ready["status"], &ready["reason"]),
        (&json!(status), &json!(reason))
    );
    assert_eq!(ready["observedGeneration"], 2);
    assert!(
        ready["message"].as_str().unwrap_or_default().contains(says),
        "{ready}"
    );
}

#[test]
fn each_type_says_whether_it_can_sign() {
    for (spec, status, reason, says) in [
        (json!({ "selfSigned": {} }), "True", "IsReady", ""),
        (
            json!({ "ca": { "secretName": "" } }),
            "False",
            "ErrGetKeyPair",
            "spec.ca.secretName is empty",
        ),
        (
            json!({ "vault": { "server": "a", "path": "b", "auth": {} } }),
            "False",
            "VaultError",
            "Vault tokenSecretRef, appRole, clientCertificate, or kubernetes is required",
        ),
        (
            json!({ "vault": { "server": "a", "path": "b", "auth": { "tokenSecretRef": { "name": "t" },
                "clientCertificate": {} } } }),
            "False",
            "VaultError",
            "Multiple auth methods cannot be set on the same Vault issuer",
        ),
        (
            json!({ "vault": { "server": "a", "path": "b", "auth": { "aws": { "role": "r" } } } }),
            "False",
            "NotSupported",
            "spec.vault.auth.aws",
        ),
        (
            json!({ "venafi": { "zone": "a" } }),
            "False",
            "NotSupported",
            "spec.venafi",
        ),
        (json!({}), "False", "InvalidConfig", "exactly one of"),
        (
            json!({ "selfSigned": {}, "ca": { "secretName": "ca" } }),
            "False",
            "InvalidConfig",
            "exactly one of",
        ),
        (
            acme(&json!({ "server": "https://acme-v01.api.letsencrypt.org/directory" })),
            "False",
            "InvalidConfig",
            "acme-v02",
        ),
        (
            acme(&json!({ "server": "https://acme-staging.api.letsencrypt.org/directory" })),
            "False",
            "InvalidConfig",
            "acme-v02",
        ),
    ] {
        let first = plan(&seen(spec.clone(), None), START);
        is_ready(&first, status, reason, says);
        // Said once.
        let mut again = seen(spec, None);
        change(&mut again, |fact| {
            fact.status.conditions =
                serde_json::from_value(written(&first).0["conditions"].clone()).unwrap();
        });
        assert_eq!(plan(&again, START), Plan::idle());
    }
}

#[test]
fn a_new_generation_is_observed() {
    let mut seen = seen(json!({ "selfSigned": {} }), Some((true, "IsReady")));
    change(&mut seen, |fact| {
        fact.status.conditions.as_mut().unwrap()[0].observed_generation = Some(1)
    });
    is_ready(&plan(&seen, START), "True", "IsReady", "");
}

#[test]
fn an_issuer_that_is_being_deleted_is_left_alone() {
    let mut seen = seen(json!({ "selfSigned": {} }), None);
    change(&mut seen, |fact| fact.id.deleting = true);
    assert_eq!(plan(&seen, START), Plan::idle());
}

#[test]
fn the_key_comes_first_then_the_account() {
    let mut seen = seen(acme(&json!({})), None);
    assert_eq!(plan(&seen, START).effect, Some(Effect::LoadAccountKey));
    let secret = SecretObject(k8s_openapi::api::core::v1::Secret::default());
    let made = absorb(&seen, Outcome::KeyMade(Box::new(secret.clone())), START);
    assert_eq!(
        made.actions,
        [Action::Ensure(Box::new(Object::Secret(secret)))],
        "stored before the CA hears of it"
    );
    assert_eq!((made.wake, made.events), (Some(Duration::ZERO), vec![]));
    let loaded = absorb(&seen, Outcome::KeyLoaded(HASH.into()), START);
    assert_eq!(loaded, Plan::wait(Duration::ZERO));
    seen.loaded = Some(HASH.into());
    assert_eq!(plan(&seen, START).effect, Some(Effect::Register));
}

#[test]
fn an_account_whose_key_is_gone_is_not_replaced_in_silence() {
    let account = json!({ "acme": { "uri": "https://ca.example/account/1" } });
    let mut seen = seen(acme(&json!({})), None);
    Arc::make_mut(&mut seen.issuer).status = serde_json::from_value(account).unwrap();
    let mut secret = k8s_openapi::api::core::v1::Secret::default();
    secret.metadata.name = Some("account".into());
    secret.metadata.namespace = Some("everleaf".into());
    let made = absorb(
        &seen,
        Outcome::KeyMade(Box::new(SecretObject(secret))),
        START,
    );
    let said = &made.events[0];
    assert_eq!(said.reason, "AccountKeyMissing");
    for words in [
        "\"account\"",
        "https://ca.example/account/1",
        "\"everleaf\"",
        "--cluster-resource-namespace",
    ] {
        assert!(said.message.contains(words), "{words}: {}", said.message);
    }
}

#[test]
fn a_registered_account_is_written_down() {
    let mut seen = seen(acme(&json!({})), None);
    seen.loaded = Some(HASH.into());
    let outcome = Outcome::Registered {
        uri: "https://ca.example/account/1".into(),
        email: Some("Ops@example.com".into()),
        key_hash: HASH.into(),
    };
    let plan = absorb(&seen, outcome, START);
    is_ready(
        &plan,
        "True",
        "ACMEAccountRegistered",
        "The ACME account was registered",
    );
    let account = json!({
        "uri": "https://ca.example/account/1",
        "lastRegisteredEmail": "Ops@example.com",
        "lastPrivateKeyHash": HASH,
    });
    assert_eq!(written(&plan).0["acme"], account);
}

#[test]
fn a_registered_account_leaves_the_ca_alone() {
    let seen = registered();
    assert_eq!(plan(&seen, START), Plan::idle());
    // After a restart only its key is read.
    let restarted = Observation {
        loaded: None,
        ..seen.clone()
    };
    assert_eq!(plan(&restarted, START).effect, Some(Effect::LoadAccountKey));
    assert_eq!(
        absorb(&restarted, Outcome::KeyLoaded(HASH.into()), START),
        Plan::idle()
    );
}

#[test]
fn whatever_changed_about_the_account_is_told_to_the_ca() {
    let changes: [(&str, Change); 8] = [
        ("email", |f| {
            f.spec.acme.as_mut().unwrap().email = Some("new@example.com".into())
        }),
        ("no email", |f| f.spec.acme.as_mut().unwrap().email = None),
        ("server", |f| {
            f.spec.acme.as_mut().unwrap().server = "https://other.example/dir".into()
        }),
        ("key", |f| {
            f.status.acme.as_mut().unwrap().last_private_key_hash = Some("old".into())
        }),
        ("no uri", |f| f.status.acme.as_mut().unwrap().uri = None),
        ("spec", |f| f.generation = 3),
        ("not ready", |f| {
            f.status.conditions.as_mut().unwrap()[0].status = "False".into()
        }),
        ("never", |f| f.status = IssuerStatus::default()),
    ];
    for (what, made) in changes {
        let mut seen = registered();
        change(&mut seen, made);
        assert_eq!(plan(&seen, START).effect, Some(Effect::Register), "{what}");
    }
    // Another path at the same server is the same account.
    let mut seen = registered();
    change(&mut seen, |f| {
        f.spec.acme.as_mut().unwrap().server = "https://ca.example/other".into()
    });
    assert_eq!(plan(&seen, START), Plan::idle());
}

#[test]
fn a_refusal_is_said_and_tried_again_later() {
    let minutes = |n| START + SignedDuration::from_mins(n);
    for (retry, wake) in [
        (Retry::OnChange, Duration::from_mins(1)),
        (Retry::Soon, Duration::from_secs(5)),
        (Retry::At(minutes(45)), Duration::from_mins(45)),
        (Retry::At(START), Duration::from_mins(1)),
        (Retry::At(minutes(1_000_000)), Duration::from_hours(7 * 24)),
    ] {
        for kind in [Kind::Issuer, Kind::ClusterIssuer] {
            let mut seen = seen(acme(&json!({})), None);
            seen.kind = kind;
            let outcome = || Outcome::Refused {
                reason: "ErrRegisterACMEAccount",
                message: "no".into(),
                retry,
            };
            let first = absorb(&seen, outcome(), START);
            assert_eq!(first.wake, Some(wake));
            let Action::PatchStatus { status, key, .. } = &first.actions[0] else {
                panic!("{first:?}")
            };
            assert_eq!(
                (key.kind, &status["conditions"][0]["reason"]),
                (kind, &json!("ErrRegisterACMEAccount"))
            );
            let event = &first.events[0];
            let component = format!("cert-manager-{}", kind.controller());
            assert_eq!(
                (event.reason.as_str(), event.warning, event.component),
                ("ErrInitIssuer", true, component.as_str())
            );
            let conditions = serde_json::from_value(status["conditions"].clone()).unwrap();
            change(&mut seen, |fact| fact.status.conditions = conditions);
            let again = absorb(&seen, outcome(), START);
            assert_eq!(
                (again.actions, again.events, again.wake),
                (vec![], vec![], Some(wake)),
                "said once"
            );
        }
    }
}

#[test]
fn a_missing_key_is_waited_for() {
    let plan = absorb(
        &seen(acme(&json!({})), None),
        Outcome::KeyMissing("Secret \"account\"".into()),
        START,
    );
    is_ready(&plan, "False", "ErrVerifyACMEAccount", "Secret \"account\"");
    assert_eq!(plan.wake, None, "the Secret wakes it");
}

#[test]
fn whatever_keeps_an_issuer_from_being_set_up_is_told_once() {
    let mut faulty = registered();
    faulty.solvers = Solvers::Faulty("no Secret".into());
    let old = json!({ "server": "https://acme-v01.api.letsencrypt.org/directory" });
    let missing = Outcome::KeyMissing("no key".into());
    let new = || seen(acme(&json!({})), None);
    for (name, plan) in [
        ("InvalidSolver", plan(&faulty, START)),
        ("InvalidConfig", plan(&seen(acme(&old), None), START)),
        ("KeyMissing", absorb(&new(), missing, START)),
        ("no type", plan(&seen(json!({}), None), START)),
    ] {
        let message = written(&plan).1["message"].as_str().unwrap();
        let message = format!("Error initializing issuer: {message}");
        let event = Event::warning("cert-manager-issuers", "ErrInitIssuer", message);
        assert_eq!(plan.events, [event], "{name}");
    }
    let told = plan(&faulty, START);
    change(&mut faulty, |fact| {
        let conditions = written(&told).0["conditions"].clone();
        fact.status.conditions = serde_json::from_value(conditions).unwrap();
    });
    assert_eq!(plan(&faulty, START), Plan::idle());
}

#[test]
fn an_answer_for_what_is_no_acme_issuer_any_more_is_dropped() {
    let seen = seen(json!({ "selfSigned": {} }), None);
    assert_eq!(
        absorb(&seen, Outcome::KeyMissing("x".into()), START),
        Plan::idle()
    );
}

#[test]
fn a_ca_that_refused_is_left_alone_for_as_long_as_said() {
    let mut seen = seen(acme(&json!({})), Some((false, "ErrRegisterACMEAccount")));
    seen.loaded = Some(HASH.into());
    seen.resting = Some(START + SignedDuration::from_mins(10));
    assert_eq!(plan(&seen, START), Plan::wait(Duration::from_mins(10)));
    let later = START + SignedDuration::from_mins(10);
    assert_eq!(plan(&seen, later).effect, Some(Effect::Register));
    // To read the key is no question to the CA.
    seen.loaded = None;
    assert_eq!(plan(&seen, START).effect, Some(Effect::LoadAccountKey));
}

#[test]
fn refusals_in_a_row_are_further_and_further_apart() {
    let mut seen = seen(acme(&json!({})), None);
    for (before, minutes, says) in [
        (
            0,
            1,
            "no. Next attempt at 2026-01-01T00:01:00Z, or as soon as the issuer or one of its Secrets has changed",
        ),
        (1, 10, "2026-01-01T00:10:00Z"),
        (2, 100, "2026-01-01T01:40:00Z"),
        (3, 24 * 60, "2026-01-02T00:00:00Z"),
        (90, 24 * 60, "2026-01-02T00:00:00Z"),
    ] {
        seen.account.refusals = before;
        let outcome = Outcome::Refused {
            reason: "ErrRegisterACMEAccount",
            message: "no".into(),
            retry: Retry::OnChange,
        };
        let plan = absorb(&seen, outcome, START);
        is_ready(&plan, "False", "ErrRegisterACMEAccount", says);
        assert_eq!(plan.wake, Some(Duration::from_mins(minutes)));
    }
}

#[test]
fn faults_in_a_row_double_the_wait_up_to_five_minutes() {
    let mut seen = seen(acme(&json!({})), None);
    for (before, seconds) in [(0, 5), (1, 10), (2, 20), (5, 160), (6, 300), (90, 300)] {
        // Refusals are another matter.
        (seen.account.faults, seen.account.refusals) = (before, 3);
        let outcome = Outcome::Refused {
            reason: "ErrRegisterACMEAccount",
            message: "no".into(),
            retry: Retry::Soon,
        };
        let plan = absorb(&seen, outcome, START);
        assert_eq!(plan.wake, Some(Duration::from_secs(seconds)), "{before}");
    }
}

#[test]
fn an_account_that_the_ca_does_not_take_is_said_once_for_all() {
    let mut seen = registered();
    seen.account.blocked = Some("The terms have changed".into());
    let effect = Effect::Block("The terms have changed".into());
    assert_eq!(plan(&seen, START).effect, Some(effect));
    // One that the CA does not know is registered again, unless the CA is to be left alone.
    let mut seen = registered();
    seen.account.unknown = true;
    assert_eq!(plan(&seen, START).effect, Some(Effect::Register));
    seen.resting = Some(START + SignedDuration::from_mins(1));
    assert_eq!(plan(&seen, START), Plan::wait(Duration::from_mins(1)));
}

fn secret_patch() -> SecretPatch {
    SecretPatch {
        id: crate::controllers::fixtures::identity("account"),
        patch: json!({ "data": { "tls.key.next": "c2VjcmV0" } }),
    }
}

#[test]
fn another_key_is_stored_before_the_ca_hears_of_it() {
    let mut seen = registered();
    change(&mut seen, |f| f.account_key.rotate = Some("2026".into()));
    assert_eq!(plan(&seen, START).effect, Some(Effect::StageKey));
    let written = [Action::PatchAccountSecret(Box::new(secret_patch()))];
    let staged = absorb(&seen, Outcome::KeyStaged(secret_patch()), START);
    assert_eq!((&staged.actions[..], staged.effect), (&written[..], None));

    // The changed Secret is read again, and only then is the CA asked.
    seen.loaded = None;
    assert_eq!(plan(&seen, START).effect, Some(Effect::LoadAccountKey));
    let loaded = absorb(&seen, Outcome::KeyLoaded(HASH.into()), START);
    assert_eq!(loaded, Plan::wait(Duration::ZERO));
    seen.loaded = Some(HASH.into());
    (seen.account.staged, seen.account.rotation) = (true, Some("2026".into()));
    assert_eq!(plan(&seen, START).effect, Some(Effect::ChangeKey));
    // Also where a crash has left the account in doubt: with the old key it could be made anew.
    (seen.account.unknown, seen.account.blocked) = (true, Some("no".into()));
    assert_eq!(plan(&seen, START).effect, Some(Effect::ChangeKey));
    change(&mut seen, |f| f.status = IssuerStatus::default());
    assert_eq!(plan(&seen, START).effect, Some(Effect::ChangeKey));

    let changed = absorb(&seen, Outcome::KeyChanged(secret_patch()), START);
    assert_eq!((&changed.actions[..], changed.effect), (&written[..], None));
    assert_eq!(changed.events[0].reason, "AccountKeyChanged");

    // The new key's account is found at the CA, and noted.
    let mut seen = registered();
    change(&mut seen, |f| f.account_key.rotate = Some("2026".into()));
    (seen.loaded, seen.account.rotation) = (Some("new hash".into()), Some("2026".into()));
    assert_eq!(plan(&seen, START).effect, Some(Effect::Register));
    change(&mut seen, |f| {
        f.status.acme.as_mut().unwrap().last_private_key_hash = Some("new hash".into())
    });
    assert_eq!(plan(&seen, START), Plan::idle());
    assert!(!format!("{:?}", secret_patch()).contains("c2VjcmV0"));
}

#[test]
fn a_key_that_the_ca_does_not_take_is_forgotten() {
    let mut seen = registered();
    change(&mut seen, |f| f.account_key.rotate = Some("2026".into()));
    for patch in [None, Some(secret_patch())] {
        let outcome = Outcome::KeyKept {
            patch: patch.clone(),
            message: "The account's key is not changed".into(),
        };
        let plan = absorb(&seen, outcome, START);
        assert_eq!(plan.actions.len(), usize::from(patch.is_some()));
        let event = &plan.events[0];
        assert!(event.warning && event.reason == "AccountKeyKept");
        assert_eq!(
            plan.wake,
            Some(Duration::from_hours(24)),
            "the issuer stays Ready"
        );
    }
}

fn ca(kind: Kind, ready: Option<(bool, &str)>) -> Observation {
    Observation {
        kind,
        ..seen(json!({ "ca": { "secretName": "root" } }), ready)
    }
}

fn valid(from: i64, to: i64) -> Outcome {
    Outcome::Authority(Authority::Usable {
        not_before: START + SignedDuration::from_secs(from),
        not_after: START + SignedDuration::from_secs(to),
        signing: None,
    })
}

#[test]
fn a_ca_is_looked_at_whenever_something_changes() {
    for ready in [
        None,
        Some((true, "KeyPairVerified")),
        Some((false, "ErrGetKeyPair")),
    ] {
        let plan = plan(&ca(Kind::Issuer, ready), START);
        assert_eq!(plan.effect, Some(Effect::LoadAuthority("root".into())));
        assert_eq!((plan.actions, plan.wake), (vec![], None));
    }
}

#[test]
fn a_ca_is_ready_while_its_key_pair_can_sign() {
    const GETTING: &str = "Error getting keypair for CA issuer: ";
    let unreadable = Outcome::Authority(Authority::Unreadable("secrets \"root\" not found".into()));
    let invalid = Outcome::Authority(Authority::Invalid("certificate is not a CA".into()));
    for (outcome, reason, says, wake) in [
        (valid(0, 10), "KeyPairVerified", "", Some(11)),
        (valid(-5, 0), "KeyPairVerified", "", Some(1)),
        (
            valid(-5, -1),
            "ErrInvalidKeyPair",
            "certificate has expired at 2025-12-31T23:59:59Z",
            None,
        ),
        (
            valid(3, 9),
            "ErrInvalidKeyPair",
            "certificate is not valid before 2026-01-01T00:00:03Z",
            Some(4),
        ),
        (
            unreadable,
            "ErrGetKeyPair",
            "secrets \"root\" not found",
            None,
        ),
        (
            invalid,
            "ErrInvalidKeyPair",
            "certificate is not a CA",
            None,
        ),
    ] {
        let plan = absorb(&ca(Kind::Issuer, None), outcome, START);
        let events: Vec<_> = plan
            .events
            .iter()
            .map(|e| (e.warning, e.reason.as_str(), e.message.clone()))
            .collect();
        if reason == "KeyPairVerified" {
            is_ready(&plan, "True", reason, "Signing CA verified");
            assert_eq!(events, [(false, reason, "Signing CA verified".to_owned())]);
        } else {
            is_ready(&plan, "False", reason, &format!("{GETTING}{says}"));
            assert_eq!(
                events,
                [
                    (true, reason, format!("{GETTING}{says}")),
                    (
                        true,
                        "ErrInitIssuer",
                        format!("Error initializing issuer: {says}")
                    ),
                ]
            );
        }
        assert!(
            plan.events
                .iter()
                .all(|e| e.component == "cert-manager-issuers")
        );
        assert_eq!(plan.wake, wake.map(Duration::from_secs), "{reason}");
    }
}

#[test]
fn a_ca_that_is_as_it_was_is_not_written_but_its_end_is_still_waited_for() {
    let mut seen = ca(Kind::Issuer, None);
    let first = absorb(&seen, valid(0, 10), START);
    change(&mut seen, |fact| {
        fact.status.conditions =
            serde_json::from_value(written(&first).0["conditions"].clone()).unwrap();
    });
    assert_eq!(
        absorb(&seen, valid(0, 10), START),
        Plan::wait(Duration::from_secs(11))
    );
    let after = START + SignedDuration::from_secs(11);
    is_ready(
        &absorb(&seen, valid(0, 10), after),
        "False",
        "ErrInvalidKeyPair",
        "expired",
    );
}

#[test]
fn a_cluster_issuer_speaks_for_itself() {
    let plan = absorb(&ca(Kind::ClusterIssuer, None), valid(0, 1), START);
    assert_eq!(plan.events[0].component, "cert-manager-clusterissuers");
}

fn vault() -> Value {
    json!({ "vault": { "server": "https://vault", "path": "pki/sign/app", "auth": {
        "tokenSecretRef": { "name": "token" } } } })
}

fn sealed() -> Problem {
    Problem::new(
        Cause::Sealed,
        "Vault is not initialized or is sealed: Vault is sealed",
    )
}

/// The Ready condition does not hold since then.
fn failed_since(seconds: i64) -> Observation {
    let mut seen = seen(vault(), Some((false, "VaultError")));
    change(&mut seen, |fact| {
        let since = START - SignedDuration::from_secs(seconds);
        fact.status.conditions.as_mut().unwrap()[0].last_transition_time = Some(Time(since));
    });
    seen
}

#[test]
fn a_vault_is_asked_and_says_that_it_signs() {
    let seen = seen(vault(), None);
    let asked = plan(&seen, START);
    assert_eq!(
        (asked.effect, asked.actions),
        (Some(Effect::CheckVault), vec![])
    );
    let answered = absorb(&seen, Outcome::Vault(Ok(Login { until: None })), START);
    is_ready(&answered, "True", "VaultVerified", "Vault verified");
    assert_eq!((answered.wake, answered.events), (None, vec![]));
    let until = Some(START + SignedDuration::from_mins(1));
    let answered = absorb(&seen, Outcome::Vault(Ok(Login { until })), START);
    assert_eq!(
        answered.wake,
        Some(Duration::from_secs(61)),
        "the token ends"
    );
}

#[test]
fn a_vault_that_has_answered_is_left_alone() {
    let minute = SignedDuration::from_mins(1);
    for ready in [(true, "VaultVerified"), (false, "VaultError")] {
        let mut answered = seen(vault(), Some(ready));
        answered.resting = Some(START + minute);
        assert_eq!(plan(&answered, START), Plan::wait(Duration::from_mins(1)));
        assert_eq!(
            plan(&answered, START + minute).effect,
            Some(Effect::CheckVault),
            "its answer is old"
        );
        answered.resting = Some(Timestamp::MAX);
        assert_eq!(plan(&answered, START), Plan::idle());
        change(&mut answered, |fact| fact.generation += 1);
        assert_eq!(
            plan(&answered, START).effect,
            Some(Effect::CheckVault),
            "it was of another spec"
        );
    }
}

#[test]
fn what_a_vault_lacks_is_said_with_what_to_do() {
    for (cause, code) in [
        (Cause::Unreachable, "EL-1501"),
        (Cause::Sealed, "EL-1502"),
        (Cause::NotInitialized, "EL-1503"),
        (Cause::Login, "EL-1504"),
        (Cause::Token, "EL-1505"),
        (Cause::Credentials, "EL-1506"),
        (Cause::Answer, "EL-1510"),
        (Cause::Spec, "EL-1511"),
    ] {
        let problem = Problem::new(cause, "Failed to initialize Vault client: x");
        let failed = absorb(&seen(vault(), None), Outcome::Vault(Err(problem)), START);
        is_ready(
            &failed,
            "False",
            "VaultError",
            "Failed to initialize Vault client: x. ",
        );
        is_ready(&failed, "False", "VaultError", code);
        let [event] = failed.events.as_slice() else {
            panic!("{:?}", failed.events)
        };
        assert_eq!(
            (event.warning, event.reason.as_str()),
            (true, "ErrInitIssuer")
        );
    }
}

#[test]
fn a_vault_that_failed_is_asked_again_after_seconds_then_minutes() {
    for (since, wait) in [(0, 5), (5, 5), (7, 7), (40, 40), (3600, 60)] {
        let failed = absorb(&failed_since(since), Outcome::Vault(Err(sealed())), START);
        assert_eq!(failed.wake, Some(Duration::from_secs(wait)), "{since}");
    }
    // It was ready for long: that is no measure.
    let mut ready = failed_since(3600);
    change(&mut ready, |fact| {
        fact.status.conditions.as_mut().unwrap()[0].status = "True".into();
    });
    let failed = absorb(&ready, Outcome::Vault(Err(sealed())), START);
    assert_eq!(failed.wake, Some(Duration::from_secs(5)));
    // What an informer shows is waited for.
    let missing = Problem {
        is_watched: true,
        ..Problem::new(Cause::Credentials, "secret not found")
    };
    let waits = absorb(&failed_since(3600), Outcome::Vault(Err(missing)), START);
    assert_eq!(waits.wake, None);
}

#[test]
fn the_same_words_of_a_vault_are_written_once() {
    let first = absorb(&failed_since(60), Outcome::Vault(Err(sealed())), START);
    let mut again = failed_since(60);
    change(&mut again, |fact| {
        fact.status.conditions =
            serde_json::from_value(written(&first).0["conditions"].clone()).unwrap();
    });
    let second = absorb(&again, Outcome::Vault(Err(sealed())), START);
    assert_eq!((second.actions, second.events), (vec![], vec![]));
    assert_eq!(second.wake, Some(Duration::from_mins(1)));
}

/// A CA issuer that asks for rotations, or does not; and what its Secret holds.
fn rotating(asks: bool) -> (Observation, Outcome) {
    let mut ca = json!({ "secretName": "root" });
    if asks {
        ca["rotation"] = json!({});
    }
    let mut seen = seen(json!({ "ca": ca }), Some((true, "KeyPairVerified")));
    change(&mut seen, |fact| {
        let ready = &mut fact.status.conditions.as_mut().unwrap()[0];
        ready.message = Some("Signing CA verified".into());
        ready.last_transition_time = Some(seconds(START));
    });
    (seen, holds("one"))
}

fn holds(authority: &str) -> Outcome {
    Outcome::Authority(Authority::Usable {
        not_before: START,
        not_after: START + SignedDuration::from_hours(1),
        signing: Some(Signing {
            authority: authority.into(),
            root: format!("root of {authority}"),
        }),
    })
}

/// What is written into the status of an issuer, after it was written.
fn store(seen: &mut Observation, plan: &Plan<Effect>) -> Value {
    let [Action::PatchStatus { status, .. }] = plan.actions.as_slice() else {
        panic!("not one status: {:?}", plan.actions)
    };
    change(seen, |fact| {
        let mut whole = json!(fact.status);
        json_patch::merge(&mut whole, status);
        fact.status = serde_json::from_value(whole).unwrap();
    });
    status.clone()
}

fn rotation_of(seen: &Observation) -> Option<(String, String, String)> {
    let all = seen.issuer.status.conditions.clone().unwrap_or_default();
    let found = all.into_iter().find(|c| c.type_ == "CARotation")?;
    Some((found.status, found.reason?, found.message?))
}

#[test]
fn who_does_not_ask_for_rotations_is_written_nothing_of_them() {
    let (seen, _) = rotating(false);
    for authority in ["one", "two"] {
        let plan = absorb(&seen, holds(authority), START);
        assert_eq!((plan.actions, plan.events), (vec![], vec![]));
    }
}

#[test]
fn who_asks_is_told_how_far_it_is() {
    let (mut seen, outcome) = rotating(true);
    let plan = absorb(&seen, outcome, START);
    let status = store(&mut seen, &plan);
    let known = json!({ "authority": "one", "roots": "root of one", "rotation": null });
    assert_eq!(status, json!({ "ca": known }));
    assert_eq!(plan.events, []);
    let again = absorb(&seen, holds("one"), START);
    assert_eq!((again.actions, again.events), (vec![], vec![]));

    // What is signed meanwhile waits until this is written.
    seen.leaves = vec![leaf(1), leaf(2)];
    let plan = absorb(&seen, holds("two"), START);
    store(&mut seen, &plan);
    let (status, reason, message) = rotation_of(&seen).unwrap();
    assert_eq!((&*status, &*reason), ("True", "Trusting"));
    assert!(message.contains("0 of 2 certificates"), "{message}");
    assert_eq!(plan.events.len(), 1);
    assert_eq!(
        (&*plan.events[0].reason, &plan.events[0].message),
        ("CARotation", &message)
    );
    assert!(seen.issuer.is_ready());

    // A CA that cannot sign keeps it where it is.
    let late = START + SignedDuration::from_hours(2);
    let plan = absorb(&seen, holds("three"), late);
    let mut other = seen.clone();
    let status = store(&mut other, &plan);
    assert!(status.get("ca").is_none(), "{status}");

    // A wave.
    let plan = absorb(&seen, holds("two"), START + SignedDuration::from_secs(1));
    store(&mut seen, &plan);
    let (_, _, message) = rotation_of(&seen).unwrap();
    assert!(message.contains("the next wave begins at"), "{message}");
    assert_eq!(plan.events, [], "only a phase is an event");

    // No certificate is left: nothing keeps it.
    seen.leaves.clear();
    let plan = absorb(&seen, holds("two"), START + SignedDuration::from_secs(2));
    store(&mut seen, &plan);
    let (status, reason, _) = rotation_of(&seen).unwrap();
    assert_eq!((&*status, &*reason), ("False", "Rotated"));
    assert_eq!(plan.events.len(), 1);
}

fn leaf(days: i64) -> Leaf {
    Leaf {
        place: Place {
            not_after: START + SignedDuration::from_hours(24 * days),
            namespace: "shop".into(),
            name: format!("site-{days}").into(),
        },
        not_before: START - SignedDuration::from_hours(1),
        ca: ca_digest(b"root of one"),
        trust: trust_digest(b"root of one"),
        noted: false,
        stuck: false,
    }
}

#[test]
fn who_asks_no_longer_is_cleared_of_them() {
    let (mut seen, outcome) = rotating(true);
    let plan = absorb(&seen, outcome, START);
    store(&mut seen, &plan);
    seen.leaves = vec![leaf(1)];
    let plan = absorb(&seen, holds("two"), START);
    store(&mut seen, &plan);
    change(&mut seen, |fact| {
        fact.spec.ca.as_mut().unwrap().rotation = None
    });
    let plan = absorb(&seen, holds("two"), START);
    let status = store(&mut seen, &plan);
    assert_eq!(status["ca"], Value::Null);
    assert_eq!(rotation_of(&seen), None);
    assert!(seen.issuer.is_ready());
    assert_eq!(absorb(&seen, holds("two"), START).actions, []);
}

#[test]
fn the_secrets_of_dns01_solvers_are_looked_at_before_an_account_is_registered() {
    let problem =
        "spec.acme.solvers[0].dns01.rfc2136.tsigSecretSecretRef: Secret \"tsig\" does not exist";
    let mut seen = registered();
    // A ready issuer stays what it is while they are looked at, and when all are there.
    seen.solvers = Solvers::Unknown;
    assert_eq!(plan(&seen, START).effect, Some(Effect::CheckSolvers));
    let next = absorb(&seen, Outcome::SolversChecked, START);
    assert_eq!(next, Plan::wait(Duration::ZERO));
    seen.solvers = Solvers::Sound;
    assert_eq!(plan(&seen, START), Plan::idle());

    seen.solvers = Solvers::Faulty(problem.into());
    let faulty = plan(&seen, START);
    is_ready(&faulty, "False", "InvalidSolver", problem);
    assert_eq!(
        (faulty.effect, faulty.wake),
        (None, None),
        "its Secrets wake it"
    );

    // The key is there first: challenges of other solvers that are under way need the account.
    seen.loaded = None;
    assert_eq!(plan(&seen, START).effect, Some(Effect::LoadAccountKey));
}
