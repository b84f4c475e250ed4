#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod ordered;
mod rehearsal;

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Effect, Observation, Outcome, Settings, Wanted, absorb, plan};
use crate::api::{CertificateRequest, Order, OrderSpec, OrderStatus, names};
use crate::controllers::action::{Action, Event, Object, Plan, Target};
use crate::controllers::facts::{Identity, IssuerFact, RequestFact};
use crate::controllers::fixtures::{START, issuer, map, signing_request};
use crate::controllers::key::{Key, Kind};
use crate::controllers::status::condition;
use crate::pki::{
    CertificateSigningRequest, CertificateTemplate, KeyUsages, PrivateKey, RequestParams, Subject,
    Urls, self_sign,
};

const NOW: Timestamp = START;

/// A request, its key, and what surrounds it.
struct Scene {
    request: CertificateRequest,
    key: PrivateKey,
    issuer: Option<Value>,
    ready: Option<(bool, &'static str)>,
    orders: Vec<Order>,
    settings: Settings,
}

fn acme() -> Value {
    json!({ "acme": { "server": "https://ca.example/dir", "privateKeySecretRef": { "name": "account" } } })
}

fn ca() -> Value {
    json!({ "ca": { "secretName": "root" } })
}

fn params() -> RequestParams {
    RequestParams {
        dns_names: vec!["app.example.com".into()],
        usages: KeyUsages::from_names::<&str>(&[], false).unwrap(),
        encode_usages: true,
        ..RequestParams::default()
    }
}

/// A request of a Certificate, approved, for this issuer.
fn scene(issuer: Value, params: &RequestParams) -> Scene {
    let (key, csr) = signing_request(params);
    let mut request = CertificateRequest {
        metadata: ObjectMeta {
            name: Some("app-1".into()),
            namespace: Some("shop".into()),
            uid: Some("uid-of-app-1".into()),
            resource_version: Some("7".into()),
            labels: Some(map(&[("team", "shop")])),
            annotations: Some(map(&[(
                "cert-manager.io/private-key-secret-name",
                "app-key",
            )])),
            owner_references: Some(vec![OwnerReference {
                api_version: "cert-manager.io/v1".into(),
                kind: "Certificate".into(),
                name: "app".into(),
                uid: "uid-of-app".into(),
                controller: Some(true),
                ..OwnerReference::default()
            }]),
            ..ObjectMeta::default()
        },
        ..CertificateRequest::default()
    };
    request.spec.request = ByteString(csr);
    request.spec.issuer_ref.name = "ca".into();
    let mut scene = Scene {
        request,
        key,
        issuer: Some(issuer),
        ready: Some((true, "IsReady")),
        orders: vec![],
        settings: Settings {
            approve: true,
            signers_off: vec![],
            verbose_events: false,
            renewal_info: true,
            revocation_list_url: String::new(),
        },
    };
    scene.conditions(&[("Approved", true, "cert-manager.io")]);
    scene
}

#[test]
fn a_renewal_that_can_wait_does_while_the_ca_is_being_replaced() {
    let scene = scene(ca(), &params());
    let mut seen = scene.seen();
    let hour = Duration::from_hours(1);
    seen.waits = Some(("not yet".into(), NOW + hour));
    let first = plan(&seen, &scene.settings, NOW);
    assert_eq!(first.effect, None);
    assert_eq!(first.wake, Some(hour), "then it cannot wait any longer");
    let [Action::PatchStatus { status, .. }] = first.actions.as_slice() else {
        panic!("not one status: {:?}", first.actions)
    };
    let ready = status["conditions"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&ready["reason"], &ready["message"]),
        (&json!("Pending"), &json!("not yet"))
    );
    assert_eq!(first.events[0].reason, "IssuancePending");
    seen.waits = None;
    assert!(matches!(
        plan(&seen, &scene.settings, NOW).effect,
        Some(Effect::SignByCa { .. })
    ));
}

#[test]
fn a_request_whose_certificate_is_not_there_is_neither_approved_nor_signed() {
    let mut scene = scene(ca(), &params());
    scene.conditions(&[]);
    scene.request.metadata.creation_timestamp = Some(Time(NOW - Duration::from_secs(50)));
    let mut seen = scene.seen();
    seen.orphaned = true;
    let early = plan(&seen, &scene.settings, NOW);
    // It may be on its way.
    assert_eq!(early, Plan::wait(Duration::from_secs(10)));
    let late = plan(&seen, &scene.settings, NOW + Duration::from_secs(10));
    assert_eq!(late.effect, None);
    let [Action::PatchStatus { status, .. }] = late.actions.as_slice() else {
        panic!("not one status: {:?}", late.actions)
    };
    let [ready] = status["conditions"].as_array().unwrap().as_slice() else {
        panic!("approved: {status}")
    };
    let message = ready["message"].as_str().unwrap();
    assert!(
        message.contains("Certificate \"app\" with the uid uid-of-app"),
        "{message}"
    );
    assert_eq!(late.events[0].reason, "OwnerNotFound");

    seen.orphaned = false;
    let there = plan(&seen, &scene.settings, NOW);
    assert!(matches!(there.effect, Some(Effect::SignByCa { .. })));

    // Somebody else's issuer finds it not approved, and that is all that is said to it.
    scene.request.spec.issuer_ref.group = Some("issuers.example.com".into());
    let mut seen = scene.seen();
    seen.orphaned = true;
    let foreign = plan(&seen, &scene.settings, NOW + Duration::from_secs(10));
    assert_eq!(foreign, Plan::idle());
}

fn self_signed() -> Scene {
    scene(json!({ "selfSigned": {} }), &params())
}

impl Scene {
    fn conditions(&mut self, conditions: &[(&str, bool, &str)]) {
        let made = |(kind, status, reason): &(&str, bool, &str)| {
            condition(kind, *status, reason, "", None)
        };
        self.request.status.get_or_insert_default().conditions =
            Some(conditions.iter().map(made).collect());
    }

    fn seen(&self) -> Observation {
        Observation {
            request: RequestFact::of(self.request.clone()).into(),
            issuer: self
                .issuer
                .clone()
                .map(|spec| issuer(spec, self.ready).into()),
            may_approve: true,
            orphaned: false,
            ordered: None,
            orders: self.orders.iter().cloned().map(Arc::new).collect(),
            resting: None,
            waits: None,
            compromised: None,
            predecessor: None,
            rehearsal: None,
        }
    }

    fn plan(&self) -> Plan<Effect> {
        let plan = plan(&self.seen(), &self.settings, NOW);
        assert_eq!(plan.wake, None, "everything it waits for wakes it");
        plan
    }

    fn absorb(&self, outcome: Outcome) -> Plan<Effect> {
        absorb(&self.seen(), &self.settings, outcome, NOW)
    }

    /// An Order of this request, in this state.
    fn with_order(mut self, status: OrderStatus) -> Self {
        let meta = ObjectMeta {
            name: Some("app-1-7".into()),
            uid: Some("uid-of-order".into()),
            creation_timestamp: Some(Time(NOW)),
            ..ObjectMeta::default()
        };
        self.orders.push(Order {
            metadata: meta,
            spec: OrderSpec::default(),
            status: Some(status),
        });
        self
    }

    fn wanted(&self, duration: SignedDuration) -> Wanted {
        Wanted {
            csr: self.request.spec.request.0.clone(),
            not_before: NOW,
            duration,
            is_ca: false,
            usages: vec![],
            crl_distribution_points: vec![],
            ocsp_servers: vec![],
            issuing_certificate_urls: vec![],
        }
    }

    /// The certificate, its own CA.
    fn signed(&self) -> Outcome {
        let pem = self.certificate();
        Outcome::Signed {
            certificate: pem.clone(),
            ca: pem,
            clamped: None,
        }
    }

    fn certificate(&self) -> String {
        let csr = CertificateSigningRequest::parse_pem(&self.request.spec.request.0).unwrap();
        let template = CertificateTemplate {
            csr: &csr,
            not_before: NOW,
            duration: Duration::from_hours(1),
            is_ca: false,
            usages: KeyUsages::from_names::<&str>(&[], false).unwrap(),
            urls: Urls::default(),
        };
        self_sign(&template, &self.key).unwrap().to_pem()
    }
}

/// The status that the only action writes.
fn status(plan: &Plan<Effect>) -> &Value {
    let [
        Action::PatchStatus {
            key,
            version,
            status,
        },
    ] = plan.actions.as_slice()
    else {
        panic!("not one status: {:?}", plan.actions)
    };
    assert_eq!(
        (key, version.as_str()),
        (&Key::new(Kind::CertificateRequest, "shop", "app-1"), "7")
    );
    status
}

/// Status and reason of a condition in a status.
fn told<'a>(status: &'a Value, kind: &str) -> (&'a str, &'a str, &'a str) {
    let conditions = status["conditions"].as_array().unwrap();
    let found = conditions
        .iter()
        .find(|c| c["type"] == kind)
        .unwrap_or(&Value::Null);
    let text = |name: &str| found[name].as_str().unwrap_or_default();
    (text("status"), text("reason"), text("message"))
}

/// The request is refused for good, with this event.
fn fails(plan: &Plan<Effect>, component: &'static str, reason: &str, says: &str) {
    let status = status(plan);
    let (is, why, message) = told(status, "Ready");
    assert_eq!((is, why), ("False", "Failed"));
    assert!(message.contains(says), "{message}");
    assert_eq!(status["failureTime"], json!(Time(NOW)));
    assert_eq!(plan.events, [Event::warning(component, reason, message)]);
    assert_eq!(plan.effect, None);
}

/// The request waits, and says for what.
fn waits(plan: &Plan<Effect>, says: &str) {
    let (is, why, message) = told(status(plan), "Ready");
    assert_eq!((is, why), ("False", "Pending"));
    assert!(message.contains(says), "{message}");
    assert_eq!(plan.effect, None);
}

const ACME: &str = "cert-manager-certificaterequests-issuer-acme";
const CA: &str = "cert-manager-certificaterequests-issuer-ca";
const SELF_SIGNED: &str = "cert-manager-certificaterequests-issuer-selfsigned";

#[test]
fn what_nobody_has_decided_about_is_approved_whatever_the_issuer() {
    for group in ["", "cert-manager.io", "pca.example"] {
        let mut scene = self_signed();
        scene.conditions(&[]);
        scene.issuer = None;
        scene.request.spec.issuer_ref.group = Some(group.into());
        let plan = scene.plan();
        let (is, reason, message) = told(status(&plan), "Approved");
        assert_eq!((is, reason), ("True", "cert-manager.io"), "{group}");
        assert_eq!(
            message,
            "Certificate request has been approved by cert-manager.io"
        );
    }
}

#[test]
fn approval_is_left_to_others_when_the_approver_is_off() {
    let mut scene = self_signed();
    scene.conditions(&[]);
    scene.settings.approve = false;
    assert_eq!(scene.plan(), Plan::idle());
    scene.settings.verbose_events = true;
    let message = "Not signing CertificateRequest until it is Approved";
    let waits = Event::normal(SELF_SIGNED, "WaitingForApproval", message);
    let plan = scene.plan();
    assert_eq!((plan.actions, plan.events), (vec![], vec![waits]));
}

#[test]
fn what_may_not_be_approved_is_left_to_others_and_looked_at_again() {
    let mut scene = self_signed();
    scene.conditions(&[]);
    let mut seen = scene.seen();
    assert!(seen.is_undecided());
    seen.may_approve = false;
    let left = plan(&seen, &scene.settings, NOW);
    let waits = Plan {
        wake: Some(super::REFUSED),
        ..Plan::idle()
    };
    assert_eq!(left, waits);
    for decided in [
        [("Approved", true, "Someone")],
        [("Denied", true, "Someone")],
        [("InvalidRequest", true, "Bad")],
        [("Ready", false, "Failed")],
    ] {
        scene.conditions(&decided);
        assert!(!scene.seen().is_undecided(), "{decided:?}");
    }
}

#[test]
fn a_type_whose_signer_is_off_is_left_to_others_and_the_rest_goes_on() {
    let all = [
        ("selfsigned", json!({ "selfSigned": {} })),
        ("ca", ca()),
        ("acme", acme()),
        ("vault", vault()),
        ("venafi", json!({ "venafi": { "zone": "shop" } })),
    ];
    for off in [
        "certificaterequests-issuer-selfsigned",
        "certificaterequests-issuer-ca",
        "certificaterequests-issuer-acme",
        "certificaterequests-issuer-vault",
        "certificaterequests-issuer-venafi",
    ] {
        for (name, spec) in &all {
            let mut scene = scene(spec.clone(), &params());
            scene.settings.signers_off = vec![off];
            let is_idle = scene.plan() == Plan::idle();
            assert_eq!(is_idle, off.ends_with(&format!("-{name}")), "{name}, {off}");
            scene.conditions(&[]);
            let approved = scene.plan();
            assert!(approved != Plan::idle(), "{name}: approved all the same");
        }
    }
}

#[test]
fn an_external_issuer_signs_by_itself() {
    let mut scene = self_signed();
    scene.request.spec.issuer_ref.group = Some("pca.example".into());
    scene.issuer = None;
    assert_eq!(scene.plan(), Plan::idle());
    scene.conditions(&[("Denied", true, "Policy")]);
    assert_eq!(scene.plan(), Plan::idle(), "nor is its denial ours to note");
}

#[test]
fn a_denied_request_is_ended() {
    let mut scene = self_signed();
    scene.conditions(&[("Denied", true, "Policy")]);
    let plan = scene.plan();
    let status = status(&plan);
    assert_eq!(told(status, "Ready").1, "Denied");
    assert_eq!(told(status, "Approved").0, "", "and not approved");
    assert_eq!(status["failureTime"], json!(Time(NOW)));
}

#[test]
fn what_has_ended_rests() {
    for conditions in [
        [("Ready", true, "Issued")],
        [("Ready", false, "Failed")],
        [("Ready", false, "Denied")],
        [("InvalidRequest", true, "Bad")],
    ] {
        let mut scene = self_signed();
        scene.conditions(&conditions);
        assert_eq!(scene.plan(), Plan::idle(), "{conditions:?}");
    }
    let mut scene = self_signed();
    scene.request.metadata.deletion_timestamp = Some(Time(NOW));
    assert_eq!(scene.plan(), Plan::idle());
}

#[test]
fn an_issuer_that_cannot_sign_is_waited_for() {
    let mut missing = self_signed();
    missing.issuer = None;
    waits(
        &missing.plan(),
        "Referenced \"Issuer\" not found: issuer.cert-manager.io \"ca\" not found",
    );
    assert_eq!(missing.plan().events[0].reason, "IssuerNotFound");
    missing.request.spec.issuer_ref.kind = Some("ClusterIssuer".into());
    waits(
        &missing.plan(),
        "clusterissuer.cert-manager.io \"ca\" not found",
    );

    for ready in [None, Some((false, "ErrRegisterACMEAccount"))] {
        let mut scene = self_signed();
        scene.ready = ready;
        waits(&scene.plan(), "does not have a Ready status condition");
        assert_eq!(scene.plan().events[0].reason, "IssuerNotReady");
    }
    for spec in [json!({ "venafi": { "zone": "a" } }), json!({})] {
        waits(
            &scene(spec, &params()).plan(),
            "it signs with acme, ca, selfSigned and vault",
        );
    }
}

#[test]
fn waiting_is_said_once() {
    let mut scene = self_signed();
    scene.issuer = None;
    let first = scene.plan();
    scene.request.status = serde_json::from_value(status(&first).clone()).unwrap();
    assert_eq!(scene.plan(), Plan::idle());
}

#[test]
fn a_csr_that_does_not_say_what_the_request_does_is_refused() {
    let usages = |names: &[&str]| RequestParams {
        usages: KeyUsages::from_names(names, false).unwrap(),
        ..params()
    };
    let mut unreadable = self_signed();
    unreadable.request.spec.request = ByteString(b"?".to_vec());
    fails(
        &unreadable.plan(),
        SELF_SIGNED,
        "RequestParsingError",
        "spec.request cannot be read",
    );

    let mut other = scene(acme(), &usages(&["client auth"]));
    other.request.spec.usages = Some(vec!["server auth".into()]);
    fails(
        &other.plan(),
        ACME,
        "RequestParsingError",
        "(client auth) are not those of spec.usages (server auth)",
    );

    let mut unknown = self_signed();
    unknown.request.spec.usages = Some(vec!["telepathy".into()]);
    fails(
        &unknown.plan(),
        SELF_SIGNED,
        "RequestParsingError",
        "spec.usages",
    );

    let mut endless = self_signed();
    endless.request.spec.duration = Some("90d".into());
    fails(
        &endless.plan(),
        SELF_SIGNED,
        "RequestParsingError",
        "spec.duration: ",
    );

    let mut authority = scene(
        acme(),
        &RequestParams {
            basic_constraints: true,
            is_ca: true,
            ..usages(&["cert sign"])
        },
    );
    authority.request.spec.usages = Some(vec!["cert sign".into()]);
    fails(
        &authority.plan(),
        ACME,
        "RequestParsingError",
        "spec.isCA disagree",
    );

    // The order of usages, and a CSR that says none, are no contradiction.
    let mut same = scene(acme(), &usages(&["client auth", "server auth"]));
    same.request.spec.usages = Some(vec!["server auth".into(), "client auth".into()]);
    assert_eq!(same.plan().actions.len(), 2);
    let mut silent = scene(
        acme(),
        &RequestParams {
            encode_usages: false,
            ..params()
        },
    );
    silent.request.spec.usages = Some(vec!["any".into()]);
    assert_eq!(silent.plan().actions.len(), 2);
}

#[test]
fn a_self_signed_certificate_is_signed_with_the_key_of_the_request() {
    let mut scene = scene(
        json!({ "selfSigned": { "crlDistributionPoints": ["http://crl"] } }),
        &params(),
    );
    let effect = |scene: &Scene| scene.plan().effect.unwrap();
    let wanted = |duration| Effect::SelfSign {
        key_secret: "app-key".into(),
        wanted: Wanted {
            crl_distribution_points: vec!["http://crl".into()],
            ..scene.wanted(duration)
        },
    };
    assert_eq!(
        effect(&scene),
        wanted(SignedDuration::from_hours(2160)),
        "90 days by default"
    );
    let shorter = wanted(SignedDuration::from_hours(1));
    scene.request.spec.duration = Some("1h".into());
    assert_eq!(effect(&scene), shorter);

    for annotation in [None, Some("")] {
        scene.request.metadata.annotations =
            annotation.map(|a| map(&[("cert-manager.io/private-key-secret-name", a)]));
        fails(
            &scene.plan(),
            SELF_SIGNED,
            "MissingAnnotation",
            "private-key-secret-name",
        );
    }
}

#[test]
fn approval_and_certificate_are_one_write() {
    let mut scene = self_signed();
    scene.conditions(&[]);
    let first = scene.plan();
    assert_eq!(
        (first.actions, first.events),
        (vec![], vec![]),
        "the status waits for the effect"
    );
    assert!(first.effect.is_some());
    let pem = scene.certificate();
    let plan = scene.absorb(Outcome::Signed {
        certificate: pem.clone(),
        ca: pem.clone(),
        clamped: None,
    });
    let written = status(&plan);
    assert_eq!(told(written, "Approved").0, "True");
    assert_eq!(
        told(written, "Ready"),
        (
            "True",
            "Issued",
            "Certificate fetched from issuer successfully"
        )
    );
    let certificate = json!(ByteString(pem.into_bytes()));
    assert_eq!(
        (&written["certificate"], &written["ca"]),
        (&certificate, &certificate)
    );
    assert_eq!(plan.events, [], "the Certificate tells");
}

#[test]
fn a_request_of_nobody_is_told_that_it_is_issued() {
    let mut scene = self_signed();
    scene.request.metadata.owner_references = None;
    let plan = scene.absorb(scene.signed());
    assert_eq!(plan.events[0].reason, "CertificateIssued");
}

#[test]
fn a_self_signed_certificate_without_a_subject_is_warned_about_when_asked() {
    for (subject, verbose, warned) in [("", true, true), ("", false, false), ("app", true, false)] {
        let subject = Subject {
            common_name: subject.into(),
            ..Subject::default()
        };
        let mut scene = scene(
            json!({ "selfSigned": {} }),
            &RequestParams {
                subject,
                ..params()
            },
        );
        scene.settings.verbose_events = verbose;
        let plan = scene.absorb(scene.signed());
        assert_eq!(
            plan.events
                .iter()
                .any(|e| e.warning && e.reason == "BadConfig"),
            warned
        );
    }
}

#[test]
fn a_key_that_is_missing_is_waited_for_and_one_that_does_not_fit_is_the_end() {
    let scene = self_signed();
    waits(
        &scene.absorb(Outcome::Waiting {
            reason: "SecretMissing",
            message: "Referenced secret shop/app-key not found".into(),
        }),
        "shop/app-key not found",
    );
    let refused = Outcome::Refused {
        reason: "ErrorKeyMatch",
        message: "not the key".into(),
    };
    fails(
        &scene.absorb(refused),
        SELF_SIGNED,
        "ErrorKeyMatch",
        "not the key",
    );
}

#[test]
fn a_ca_is_asked_to_sign_what_the_request_and_the_issuer_say() {
    let urls = json!({ "ca": {
        "secretName": "root",
        "crlDistributionPoints": ["http://crl"],
        "ocspServers": ["http://ocsp"],
        "issuingCertificateURLs": ["http://ca"],
    } });
    let mut scene = scene(urls, &params());
    // Who signs with a CA needs no key of the request.
    scene.request.metadata.annotations = None;
    scene.request.spec.duration = Some("1h".into());
    let effect = Effect::SignByCa {
        issuer: Key::new(Kind::Issuer, "shop", "ca"),
        secret: "root".into(),
        wanted: Wanted {
            crl_distribution_points: vec!["http://crl".into()],
            ocsp_servers: vec!["http://ocsp".into()],
            issuing_certificate_urls: vec!["http://ca".into()],
            ..scene.wanted(SignedDuration::from_hours(1))
        },
    };
    assert_eq!(scene.plan().effect, Some(effect));

    let mut seen = scene.seen();
    let mut fact = (*seen.issuer.unwrap()).clone();
    fact.id.namespace = "".into();
    seen.issuer = Some(fact.into());
    let Some(Effect::SignByCa { issuer, .. }) = plan(&seen, &scene.settings, NOW).effect else {
        panic!("no CA asked")
    };
    assert_eq!(issuer, Key::new(Kind::ClusterIssuer, "", "ca"));
}

#[test]
fn what_a_ca_signs_is_approved_and_issued_in_one_write() {
    let mut scene = scene(ca(), &params());
    scene.conditions(&[]);
    assert_eq!(scene.plan().actions, vec![], "the status waits for the CA");
    for (clamped, says) in [
        (None, "Certificate fetched from issuer successfully"),
        (
            Some(NOW),
            "Certificate fetched from issuer successfully; it ends at 2026-01-01T00:00:00Z, before the time asked for, \
             because its CA's certificate does",
        ),
    ] {
        let plan = scene.absorb(Outcome::Signed {
            certificate: "leaf, then middle".into(),
            ca: "root".into(),
            clamped,
        });
        let written = status(&plan);
        assert_eq!(told(written, "Approved").0, "True");
        assert_eq!(told(written, "Ready"), ("True", "Issued", says));
        let data = |text: &str| json!(ByteString(text.as_bytes().to_vec()));
        assert_eq!(written["certificate"], data("leaf, then middle"));
        assert_eq!(written["ca"], data("root"));
        assert_eq!(plan.events, []);
    }
    // A subject that is empty is no issuer's.
    scene.settings.verbose_events = true;
    let reasons = |plan: &Plan<Effect>| {
        plan.events
            .iter()
            .map(|e| (e.component, e.reason.clone()))
            .collect::<Vec<_>>()
    };
    assert!(reasons(&scene.absorb(scene.signed())).contains(&(CA, "CertificateIssued".into())));
    assert!(
        !reasons(&scene.absorb(scene.signed()))
            .iter()
            .any(|(_, reason)| reason == "BadConfig")
    );
}

#[test]
fn a_secret_of_a_ca_is_waited_for_and_a_refusal_is_the_end() {
    let scene = scene(ca(), &params());
    for reason in ["SecretMissing", "SecretInvalidData"] {
        let plan = scene.absorb(Outcome::Waiting {
            reason,
            message: "Referenced secret shop/root".into(),
        });
        waits(&plan, "shop/root");
        assert_eq!(
            plan.events,
            [Event::normal(CA, reason, "Referenced secret shop/root")]
        );
    }
    let refused = Outcome::Refused {
        reason: "SigningError",
        message: "Error signing certificate: broken".into(),
    };
    fails(&scene.absorb(refused), CA, "SigningError", "broken");
}

fn vault() -> Value {
    json!({ "vault": { "server": "https://vault", "path": "pki/sign/app", "auth": {
        "tokenSecretRef": { "name": "token" } } } })
}

const VAULT: &str = "cert-manager-certificaterequests-issuer-vault";

#[test]
fn a_vault_is_asked_to_sign() {
    let mut scene = scene(vault(), &params());
    scene.request.spec.duration = Some("1h".into());
    let spec = issuer(vault(), None).spec.vault.unwrap();
    let effect = Effect::SignByVault {
        issuer: Key::new(Kind::Issuer, "shop", "ca"),
        vault: Box::new(spec),
        csr: scene.request.spec.request.0.clone(),
        duration: SignedDuration::from_hours(1),
    };
    assert_eq!(scene.plan().effect, Some(effect));
    // As long as is known that it cannot, it is not.
    let mut seen = scene.seen();
    seen.resting = Some(NOW + SignedDuration::from_secs(7));
    let rests = plan(&seen, &scene.settings, NOW);
    assert_eq!(rests, Plan::wait(Duration::from_secs(7)));
    let later = NOW + SignedDuration::from_secs(7);
    assert!(plan(&seen, &scene.settings, later).effect.is_some());
}

#[test]
fn what_a_vault_signs_is_issued_with_what_is_known_of_its_top() {
    let scene = scene(vault(), &params());
    for (ca, known) in [("root", true), ("", false)] {
        let plan = scene.absorb(Outcome::Signed {
            certificate: "leaf".into(),
            ca: ca.into(),
            clamped: None,
        });
        let written = status(&plan);
        assert_eq!(told(written, "Ready").1, "Issued");
        assert_eq!(written.get("ca").is_some(), known);
    }
}

#[test]
fn a_vault_that_cannot_sign_now_is_asked_again_and_its_refusal_is_the_end() {
    let mut scene = scene(vault(), &params());
    let unavailable = || Outcome::Unavailable {
        reason: "VaultInitError",
        message: "Failed to initialise vault client for signing: x (EL-1501).".into(),
    };
    let first = scene.absorb(unavailable());
    waits(&first, "Failed to initialise vault client for signing: x");
    assert_eq!(first.wake, Some(Duration::from_secs(5)));
    let [event] = first.events.as_slice() else {
        panic!("{:?}", first.events)
    };
    assert_eq!(
        (event.component, event.reason.as_str()),
        (VAULT, "VaultInitError")
    );
    for (since, wait) in [(3, 5), (20, 20), (3600, 60)] {
        scene.conditions(&[
            ("Approved", true, "cert-manager.io"),
            ("Ready", false, "Pending"),
        ]);
        let conditions = scene.request.status.as_mut().unwrap().conditions.as_mut();
        let since = Time(NOW - SignedDuration::from_secs(since));
        conditions.unwrap()[1].last_transition_time = Some(since);
        let again = scene.absorb(unavailable());
        assert_eq!(again.wake, Some(Duration::from_secs(wait)));
        assert_eq!(again.events, [], "said once");
    }
    let refused = Outcome::Refused {
        reason: "SigningError",
        message: "Vault failed to sign certificate: unknown role: app".into(),
    };
    fails(
        &scene.absorb(refused),
        VAULT,
        "SigningError",
        "unknown role",
    );
}

/// The Order that a plan creates, after the status.
fn ordered(plan: &Plan<Effect>) -> Order {
    let [Action::PatchStatus { status, .. }, Action::Ensure(object)] = plan.actions.as_slice()
    else {
        panic!("{:?}", plan.actions)
    };
    assert_eq!(told(status, "Ready").1, "Pending");
    let Object::Order(order) = &**object else {
        panic!("{object:?}")
    };
    assert!(
        told(status, "Ready")
            .2
            .ends_with(&format!("shop/{}", order.metadata.name.clone().unwrap()))
    );
    order.clone()
}

#[test]
fn an_acme_request_gets_one_order() {
    let asked = RequestParams {
        subject: Subject {
            common_name: "app.example.com".into(),
            ..Subject::default()
        },
        ip_addresses: vec!["192.0.2.7".parse().unwrap()],
        ..params()
    };
    let mut scene = scene(acme(), &asked);
    scene.request.spec.duration = Some("24h".into());
    let order = ordered(&scene.plan());
    let spec = OrderSpec {
        common_name: Some("app.example.com".into()),
        dns_names: Some(vec!["app.example.com".into()]),
        ip_addresses: Some(vec!["192.0.2.7".into()]),
        issuer_ref: scene.request.spec.issuer_ref.clone(),
        request: scene.request.spec.request.clone(),
        ..OrderSpec::default()
    };
    assert_eq!(order.spec, spec);
    let meta = order.metadata;
    assert_eq!(meta.name, names::order_name("app-1", &spec).ok());
    assert_eq!(
        (&meta.labels, &meta.annotations),
        (
            &scene.request.metadata.labels,
            &scene.request.metadata.annotations
        )
    );
    let owner = &meta.owner_references.unwrap()[0];
    assert_eq!(
        (owner.kind.as_str(), owner.uid.as_str(), owner.controller),
        ("CertificateRequest", "uid-of-app-1", Some(true))
    );

    let mut more = acme();
    json_patch::merge(
        &mut more,
        &json!({ "acme": { "enableDurationFeature": true, "profile": "short" } }),
    );
    scene.issuer = Some(more);
    let order = ordered(&scene.plan());
    assert_eq!(
        (
            order.spec.duration.as_deref(),
            order.spec.profile.as_deref()
        ),
        (Some("24h"), Some("short"))
    );
}

#[test]
fn a_common_name_that_is_no_other_name_cannot_be_ordered() {
    let named = |name: &str| {
        let subject = Subject {
            common_name: name.into(),
            ..Subject::default()
        };
        let ip_addresses = vec!["192.0.2.7".parse().unwrap()];
        scene(
            acme(),
            &RequestParams {
                subject,
                ip_addresses,
                ..params()
            },
        )
    };
    fails(
        &named("other").plan(),
        ACME,
        "InvalidOrder",
        "add \"other\" to spec.dnsNames",
    );
    ordered(&named("192.0.2.7").plan());
}

#[test]
fn the_order_is_followed_to_its_end() {
    let state = |state: &str| OrderStatus {
        state: Some(state.into()),
        ..OrderStatus::default()
    };
    let order = || scene(acme(), &params());
    for waiting in ["", "pending", "ready", "processing", "valid"] {
        let mut scene = order().with_order(state(waiting));
        waits(
            &scene.plan(),
            "Waiting on certificate issuance from order shop/app-1-7",
        );
        scene.conditions(&[("Approved", true, ""), ("Ready", false, "Pending")]);
        assert_eq!(scene.plan(), Plan::idle(), "most are over soon");
        let created = NOW - SignedDuration::from_secs(30);
        scene.orders[0].metadata.creation_timestamp = Some(Time(created));
        let told = format!("from order shop/app-1-7: \"{waiting}\"");
        waits(&scene.plan(), &told);
    }
    for failed in ["invalid", "expired", "errored"] {
        let status = OrderStatus {
            reason: Some("the CA said no".into()),
            ..state(failed)
        };
        fails(
            &order().with_order(status).plan(),
            ACME,
            "OrderFailed",
            &format!("\"{failed}\" state: the CA said no"),
        );
    }
    let scene = order();
    let pem = ByteString(scene.certificate().into_bytes());
    let status_of = |pem: &ByteString| OrderStatus {
        certificate: Some(pem.clone()),
        ..state("valid")
    };
    let plan = scene.with_order(status_of(&pem)).plan();
    let written = status(&plan);
    assert_eq!(
        (told(written, "Ready").1, &written["certificate"]),
        ("Issued", &json!(pem))
    );
    assert!(written.get("ca").is_none(), "ACME gives none");

    for useless in [pem, ByteString(b"?".to_vec()), ByteString(vec![])] {
        let scene = order().with_order(status_of(&useless));
        let id = Identity::of(&scene.orders[0].metadata);
        assert_eq!(
            scene.plan().actions,
            [Action::Delete(Target::Order, id)],
            "it is ordered again"
        );
    }
}

#[test]
fn an_order_that_is_being_deleted_is_none() {
    let mut scene = scene(acme(), &params()).with_order(OrderStatus::default());
    scene.orders[0].metadata.deletion_timestamp = Some(Time(NOW));
    ordered(&scene.plan());
}

proptest! {
    #[test]
    fn nothing_panics_and_what_has_ended_stays_so(
        csr in prop_oneof![Just(None), prop::collection::vec(any::<u8>(), 0..40).prop_map(Some)],
        duration in prop::option::of(".{0,12}"),
        kinds in prop::collection::vec(("(Ready|Approved|Denied|InvalidRequest)", any::<bool>(), "(Issued|Failed|Pending|x)"), 0..4),
        spec in prop::sample::select(vec![Value::Null, json!({}), json!({ "selfSigned": {} }), ca(), acme()]),
        state in prop::option::of("(valid|invalid|pending|)"),
        group in prop::option::of("(cert-manager.io|other|)"),
        approve: bool,
    ) {
        let mut scene = scene(spec, &params());
        if scene.issuer == Some(Value::Null) {
            scene.issuer = None;
        }
        if let Some(csr) = csr {
            scene.request.spec.request = ByteString(csr);
        }
        scene.request.spec.duration = duration;
        scene.request.spec.issuer_ref.group = group;
        scene.settings.approve = approve;
        let kinds: Vec<_> = kinds.iter().map(|(kind, is, reason)| (kind.as_str(), *is, reason.as_str())).collect();
        scene.conditions(&kinds);
        if let Some(state) = state {
            scene = scene.with_order(OrderStatus { state: Some(state), ..OrderStatus::default() });
        }
        let plan = scene.plan();
        let ended = scene.seen().request.is_final();
        prop_assert!(!ended || plan == Plan::idle());
        let signed = Outcome::Signed { certificate: "?".into(), ca: "?".into(), clamped: None };
        for outcome in [signed, Outcome::Waiting { reason: "SecretMissing", message: String::new() }] {
            let _ = scene.absorb(outcome);
        }
    }
}

#[test]
fn a_request_with_a_compromised_key_fails() {
    let scene = scene(ca(), &params());
    let mut seen = scene.seen();
    seen.compromised = Some("shop/stolen".into());
    let plan = plan(&seen, &scene.settings, NOW);
    assert_eq!(plan.effect, None);
    let [Action::PatchStatus { status, .. }] = plan.actions.as_slice() else {
        panic!("not one status: {:?}", plan.actions)
    };
    let ready = status["conditions"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&ready["status"], &ready["reason"]),
        (&json!("False"), &json!("Failed"))
    );
    let message = ready["message"].as_str().unwrap();
    assert!(
        message.contains("\"shop/stolen\"") && message.contains("EL-1608"),
        "{message}"
    );
}
