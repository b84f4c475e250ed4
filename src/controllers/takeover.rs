//! What cert-manager 1.21.1 left is gone on with: no certificate is issued anew, no Order or Challenge
//! is made twice, and hardly anything is written.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::Ingress;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::action::{Action, Plan};
use super::facts::{
    self, IngressFact, IssuerFact, KeyFact, RequestFact, SecretFact, controller_of,
};
use super::{certificate, certificate_request, ingress, issuer, order};
use crate::acme::RenewalInfo;
use crate::acme::limits::Turn;
use crate::api::{Certificate, CertificateRequest, Challenge, Issuer, Order};
use crate::controllers::certificate::IssuerState;
use crate::controllers::certificate::outputs::{Outputs, Passwords, password_of};
use crate::controllers::key::Kind;
use crate::controllers::polls::{Answer, Heard};
use crate::pki::PrivateKey;

const READY: &str = include_str!("../../tests/fixtures/cert-manager-1.21.1/ready.json");
const IN_FLIGHT: &str =
    include_str!("../../tests/fixtures/cert-manager-1.21.1/acme-in-flight.json");
const ACME: &str = include_str!("../../tests/fixtures/cert-manager-1.21.1/acme-ready.json");

/// Soon after the objects were recorded: one of them lives for minutes only.
fn now() -> Timestamp {
    "2026-11-24T14:38:00Z".parse().unwrap()
}

fn items<T: DeserializeOwned>(file: &str, kind: &str) -> Vec<T> {
    let list: Value = serde_json::from_str(file).unwrap();
    let items = list["items"].as_array().unwrap().iter();
    let found = items.filter(|item| item["kind"] == kind);
    found
        .map(|item| serde_json::from_value(item.clone()).unwrap())
        .collect()
}

/// There is at least one.
fn all<T: DeserializeOwned>(file: &str, kind: &str) -> Vec<T> {
    let found = items(file, kind);
    assert!(!found.is_empty(), "no {kind}");
    found
}

/// A Certificate with its Secrets and requests, and an issuer that is ready.
fn seen(file: &str, certificate: &Certificate) -> certificate::Observation {
    let uid = certificate.metadata.uid.clone().unwrap();
    let secrets: Vec<_> = all::<Secret>(file, "Secret")
        .iter()
        .map(SecretFact::of)
        .map(Arc::new)
        .collect();
    let requests = all::<CertificateRequest>(file, "CertificateRequest")
        .into_iter()
        .map(RequestFact::of);
    let owned = |r: &RequestFact| r.owner.as_ref().is_some_and(|(owner, _)| **owner == *uid);
    certificate::Observation {
        certificate: facts::certificate(certificate.clone()).into(),
        secret: secrets
            .iter()
            .find(|s| *s.id.name == *certificate.spec.secret_name)
            .cloned(),
        requests: requests.filter(owned).map(Arc::new).collect(),
        unlisted: vec![],
        next_keys: secrets
            .into_iter()
            .filter(|s| s.next_key_of.as_deref() == Some(&*uid))
            .collect(),
        staged: None::<KeyFact>,
        rival: (certificate.metadata.name.as_deref() == Some("twin-b")).then(|| "twin-a".into()),
        issuer: IssuerState::Ready { in_process: false },
        issuer_changed: None,
        issuer_version: None,
        unapproved: None,
        cause: None,
        refused: None,
        recovered: None,
        passwords: Passwords::new(),
        stores_version: 0,
        stores_checked: true,
        rotation: None,
        withdrawal: None,
        compromised: vec![],
        is_stood_by: false,
        is_reported: false,
        is_acme: false,
        asking: certificate::Asking::Idle,
        signer: None,
    }
}

fn settings() -> certificate::Settings {
    certificate::Settings {
        min_backoff: Duration::from_hours(1),
        max_backoff: Duration::from_hours(32),
        is_backoff_set: false,
        budget: certificate::Budget { hour: 6, day: 20 },
        enable_certificate_owner_ref: false,
        copied_annotation_prefixes: vec!["*".into()],
        basic_constraints_in_request: false,
        verbose_events: false,
        approves: true,
        renewal_info: true,
    }
}

fn plan_of(file: &str, certificate: &Certificate) -> Plan<certificate::Effect> {
    certificate::plan(&seen(file, certificate), &settings(), now())
}

#[test]
fn keystores_and_other_formats_are_found_as_they_should_be() {
    let secrets = all::<Secret>(READY, "Secret");
    let data = |name: &str| {
        let mut found = secrets
            .iter()
            .filter(|s| s.metadata.name.as_deref() == Some(name));
        found.next().and_then(|s| s.data.clone()).unwrap()
    };
    let mut checked = 0;
    for certificate in all::<Certificate>(READY, "Certificate") {
        let outputs = Outputs::try_from(&certificate.spec).unwrap();
        let refs = outputs.password_refs().cloned();
        let passwords = refs.map(|r| (r.clone(), password_of(&r, Some(&data(&r.secret)))));
        let recipe = outputs.complete(&passwords.collect()).unwrap();
        if !outputs.has_stores() {
            continue;
        }
        let found = data(&certificate.spec.secret_name);
        let outcome = certificate::repaired(&recipe, &found, false, now());
        assert!(matches!(outcome, certificate::Outcome::Sound));
        checked += 1;
    }
    assert_eq!(checked, 3);
}

/// The Ready condition that a plan writes, which does nothing else.
fn told(plan: &Plan<certificate::Effect>) -> (String, String) {
    let [Action::PatchStatus { status, .. }] = plan.actions.as_slice() else {
        panic!("{:?}", plan.actions)
    };
    assert_eq!(plan.effect, None);
    assert_eq!(status.as_object().unwrap().len(), 1, "{status}");
    let conditions = status["conditions"].as_array().unwrap();
    let ready = conditions.iter().find(|c| c["type"] == "Ready").unwrap();
    let text = |name: &str| ready[name].as_str().unwrap().to_owned();
    (text("reason"), text("message"))
}

#[test]
fn no_certificate_is_issued_anew_and_none_is_written_to() {
    let mut said = BTreeMap::new();
    for certificate in all::<Certificate>(READY, "Certificate") {
        let name = certificate.metadata.name.clone().unwrap();
        let plan = plan_of(READY, &certificate);
        if plan.actions.is_empty() {
            assert_eq!((plan.effect, plan.events), (None, vec![]), "{name}");
        } else {
            said.insert(name, told(&plan));
        }
    }
    let twin = said.remove("twin-b").unwrap();
    assert_eq!(twin.0, "IncorrectCertificate");
    assert!(
        twin.1
            .ends_with("give this one a Secret of its own (EL-1104)."),
        "{}",
        twin.1
    );
    assert!(said.is_empty(), "{said:?}");
}

#[test]
fn every_certificate_is_renewed_at_the_time_that_was_said() {
    let mut renewed = 0;
    for mut certificate in all::<Certificate>(READY, "Certificate") {
        let name = certificate.metadata.name.clone().unwrap();
        let known = certificate.status.clone().unwrap_or_default();
        let Some(status) = certificate.status.as_mut() else {
            continue;
        };
        (status.renewal_time, status.not_before, status.not_after) = (None, None, None);
        let plan = plan_of(READY, &certificate);
        let Some(Action::PatchStatus { status, .. }) = plan.actions.first() else {
            continue;
        };
        // What is asked for in vain is not renewed.
        if known.not_after.is_none() || status.get("conditions").is_some() {
            continue;
        }
        for (field, time) in [
            ("notBefore", known.not_before),
            ("notAfter", known.not_after),
            ("renewalTime", known.renewal_time),
        ] {
            assert_eq!(status[field], serde_json::json!(time), "{name} {field}");
        }
        renewed += 1;
    }
    assert_eq!(renewed, 19);
}

/// Of a fleet that renews later than its CA would have it, as `renewBefore: 360h` does, most are past the window that the
/// CA names when it is asked first: cert-manager does not ask.
#[test]
fn what_a_ca_says_when_it_is_asked_first_renews_nothing_before_its_time() {
    let mut asked = 0;
    for mut certificate in all::<Certificate>(READY, "Certificate") {
        let name = certificate.metadata.name.clone().unwrap();
        let Some(leaf) = seen(READY, &certificate).leaf().cloned() else {
            continue;
        };
        let life = leaf.not_after.duration_since(leaf.not_before);
        if life < SignedDuration::from_hours(24 * 6) {
            continue;
        }
        certificate.spec.renew_before = Some(format!("{}s", life.as_secs() / 6));
        let now = leaf.not_before + life / 4 * 3;
        let mut seen = seen(READY, &certificate);
        seen.asking = certificate::Asking::On(None);
        seen.signer = Some(certificate.spec.issuer_ref.clone());
        let mut status = serde_json::json!(certificate.status);
        // The spec's new time is written, then the CA is asked.
        let plan = (0..3)
            .map(|_| {
                let plan = certificate::plan(&seen, &settings(), now);
                apply(&mut status, &plan);
                seen.certificate = with_status(&certificate, &status);
                plan
            })
            .find(|plan| plan.effect.is_some());
        let Some(certificate::Effect::AskCa { .. }) = plan.and_then(|plan| plan.effect) else {
            continue;
        };
        asked += 1;
        let usual = RenewalInfo {
            start: leaf.not_before + life / 100 * 65,
            end: leaf.not_before + life / 100 * 68,
            explanation_url: None,
            retry_after: None,
        };
        let heard = Heard {
            answer: Answer::Given(usual),
            next: now + SignedDuration::from_hours(6),
            tries: 0,
        };
        let outcome = certificate::Outcome::Heard(heard);
        let plan = certificate::absorb(&seen, &settings(), outcome, now);
        apply(&mut status, &plan);
        seen.certificate = with_status(&certificate, &status);
        seen.asking = certificate::Asking::On(Some(now + SignedDuration::from_hours(6)));
        let plan = certificate::plan(&seen, &settings(), now);
        assert_eq!((plan.actions, plan.effect), (vec![], None), "{name}");
    }
    assert!(asked > 9, "{asked}");
}

fn apply(status: &mut Value, plan: &Plan<certificate::Effect>) {
    for action in &plan.actions {
        if let Action::PatchStatus { status: patch, .. } = action {
            json_patch::merge(status, patch);
        }
    }
}

fn with_status(certificate: &Certificate, status: &Value) -> Arc<Certificate> {
    let mut certificate = certificate.clone();
    certificate.status = serde_json::from_value(status.clone()).unwrap();
    facts::certificate(certificate).into()
}

#[test]
fn an_issuance_under_way_is_gone_on_with() {
    let pending = all::<Certificate>(READY, "Certificate");
    let pending = pending
        .iter()
        .find(|c| c.metadata.name.as_deref() == Some("pending"))
        .unwrap();
    let mut missing = seen(READY, pending);
    missing.issuer = IssuerState::Missing;
    assert_eq!((missing.requests.len(), missing.next_keys.len()), (1, 1));
    assert_eq!(
        certificate::plan(&missing, &settings(), now()).actions,
        [],
        "its request and key are kept"
    );

    for certificate in all::<Certificate>(IN_FLIGHT, "Certificate") {
        assert_eq!(
            plan_of(IN_FLIGHT, &certificate).actions,
            [],
            "its request is waited for"
        );
    }
}

#[test]
fn a_refused_certificate_waits_as_long_as_was_said() {
    for certificate in all::<Certificate>(ACME, "Certificate") {
        let plan = plan_of(ACME, &certificate);
        if certificate.metadata.name.as_deref() == Some("acme-refused") {
            let (reason, message) = told(&plan);
            assert_eq!(reason, "DoesNotExist");
            assert!(
                message.contains("Next attempt at 2026-11-24T15:36:27Z"),
                "{message}"
            );
        } else {
            assert_eq!((plan.actions, plan.effect), (vec![], None));
        }
    }
}

#[test]
fn requests_that_have_ended_are_left_alone() {
    let settings = certificate_request::Settings {
        approve: true,
        signers_off: vec![],
        revocation_list_url: String::new(),
        verbose_events: false,
        renewal_info: true,
    };
    for file in [READY, ACME] {
        for request in all::<CertificateRequest>(file, "CertificateRequest") {
            let request = RequestFact::of(request);
            if request
                .owner
                .as_ref()
                .is_some_and(|(_, name)| &**name == "pending")
            {
                continue;
            }
            assert!(request.is_final(), "{}", request.id.name);
            let seen = certificate_request::Observation {
                request: request.into(),
                may_approve: true,
                orphaned: false,
                ordered: None,
                issuer: None,
                orders: vec![],
                resting: None,
                waits: None,
                compromised: None,
                predecessor: None,
                rehearsal: None,
            };
            assert_eq!(
                certificate_request::plan(&seen, &settings, now()),
                Plan::idle()
            );
        }
    }
}

/// The ACME issuer of a file, with its account's key in use.
fn acme_issuer(file: &str) -> (IssuerFact, PrivateKey) {
    let issuer = all::<Issuer>(file, "Issuer").remove(0);
    let secrets = all::<Secret>(file, "Secret");
    let account = secrets
        .iter()
        .find(|s| s.metadata.name.as_deref() == Some("acme-account"))
        .unwrap();
    let key = PrivateKey::from_pem(&account.data.as_ref().unwrap()["tls.key"].0).unwrap();
    let fact = IssuerFact::of(&issuer.metadata, issuer.spec, issuer.status);
    (fact, key)
}

fn orders(file: &str) -> Vec<order::Observation> {
    let (issuer, key) = acme_issuer(file);
    let issuer = Arc::new(issuer);
    let challenges = items(file, "Challenge");
    let challenges: Vec<_> = challenges.into_iter().map(Arc::<Challenge>::new).collect();
    let observe = |order: Order| {
        let uid = order.metadata.uid.clone().unwrap();
        let owned =
            |c: &&Arc<Challenge>| controller_of(&c.metadata, "Order").is_some_and(|o| o.uid == uid);
        order::Observation {
            issuer: Some(issuer.clone()),
            thumbprint: Some(key.jwk_thumbprint().unwrap()),
            challenges: challenges.iter().filter(owned).cloned().collect(),
            order: order.into(),
            ahead: None,
            turn: Turn::Go,
            memo: order::Memo::default(),
            made: None,
            orphaned: false,
            in_use_until: None,
        }
    };
    all::<Order>(file, "Order")
        .into_iter()
        .map(observe)
        .collect()
}

#[test]
fn the_challenges_of_an_order_are_recognized() {
    for seen in orders(IN_FLIGHT) {
        assert_eq!(seen.challenges.len(), 2);
        assert_eq!(
            order::plan(&seen, now()),
            Plan::idle(),
            "neither made again nor deleted"
        );
        // What would be made is what is there: the same names, and the same proof.
        let lost = order::Observation {
            challenges: vec![],
            ..seen.clone()
        };
        let made = order::plan(&lost, now()).actions;
        for action in &made {
            let Action::Ensure(object) = action else {
                panic!("{action:?}")
            };
            let super::action::Object::Challenge(made) = &**object else {
                panic!()
            };
            let there = seen
                .challenges
                .iter()
                .find(|c| c.metadata.name == made.metadata.name)
                .unwrap();
            assert_eq!(made.spec, there.spec);
        }
        assert_eq!(made.len(), 2);
    }
}

#[test]
fn orders_that_have_ended_are_left_alone() {
    let ended = orders(ACME);
    assert_eq!(ended.len(), 2);
    for seen in ended {
        assert_eq!(order::plan(&seen, now()), Plan::idle());
    }
}

#[test]
fn the_account_is_found_again_with_its_own_key() {
    for file in [IN_FLIGHT, ACME] {
        let (fact, key) = acme_issuer(file);
        let der = key.pkcs1_der().unwrap();
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der);
        let hash = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, hash);
        assert_eq!(
            fact.status.acme.as_ref().unwrap().last_private_key_hash,
            Some(hash.clone())
        );
        let seen = issuer::Observation {
            kind: Kind::Issuer,
            issuer: fact.into(),
            home: "shop".into(),
            loaded: Some(hash),
            account: issuer::AccountState::default(),
            resting: None,
            solvers: issuer::Solvers::Sound,
            leaves: vec![],
            limits: None,
        };
        // cert-manager had not stored the account's address: it is asked for once.
        assert_eq!(
            issuer::plan(&seen, now()).effect,
            Some(issuer::Effect::Register)
        );
    }
}

#[test]
fn the_shim_finds_its_certificate_as_it_should_be() {
    let fact = IngressFact::of(all::<Ingress>(READY, "Ingress").remove(0));
    let owned = |c: &Certificate| {
        controller_of(&c.metadata, "Ingress").is_some_and(|o| o.uid == fact.id.uid)
    };
    let certificates = all::<Certificate>(READY, "Certificate")
        .into_iter()
        .filter(owned);
    let certificates: Vec<_> = certificates.map(facts::certificate).map(Arc::new).collect();
    assert_eq!(certificates.len(), 1);
    let seen = ingress::Observation {
        ingress: fact.into(),
        certificates,
        others: vec![],
    };
    let settings = ingress::Settings {
        default_issuer_name: String::new(),
        default_issuer_kind: "Issuer".into(),
        default_issuer_group: "cert-manager.io".into(),
        auto_annotations: vec![],
        extra_annotations: vec![],
    };
    assert_eq!(ingress::plan(&seen, &settings, now()), Plan::idle());
}
