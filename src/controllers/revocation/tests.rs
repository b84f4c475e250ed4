//! A revocation, step by step: the status is written before the CA is asked, and nothing is asked twice without need.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use super::{
    Claims, Effect, Found, FoundCertificate, Observation, Outcome, Signer, Stage, absorb, listed,
    plan, standing_name, standing_order,
};
use crate::api::meta::IssuerReference;
use crate::api::{Certificate, CertificateRevocation, RevokedCertificate};
use crate::controllers::action::{Action, Plan, Target};
use crate::controllers::digest::short;
use crate::controllers::facts::{KeyFact, SecretFact};
use crate::controllers::fixtures::{START, issuer, signing_request};
use crate::explain::{Code, Verdict};
use crate::pki::{
    CertificateSigningRequest, CertificateTemplate, KeyEncoding, KeyUsages, ParsedCertificate,
    PrivateKey, RequestParams, RevocationReason, Subject, Urls, self_sign,
};

fn pair() -> (PrivateKey, ParsedCertificate) {
    let params = RequestParams {
        subject: Subject::from_common_name("app"),
        ..RequestParams::default()
    };
    let (key, csr) = signing_request(&params);
    let template = CertificateTemplate {
        csr: &CertificateSigningRequest::parse_pem(&csr).unwrap(),
        not_before: START,
        duration: Duration::from_hours(2160),
        is_ca: false,
        usages: KeyUsages::default(),
        urls: Urls::default(),
    };
    let certificate = self_sign(&template, &key).unwrap();
    (key, certificate)
}

fn secret(key: &PrivateKey, certificate: &ParsedCertificate) -> Arc<SecretFact> {
    let pem = key.to_pem(KeyEncoding::Pkcs8).unwrap();
    let data = [
        ("tls.crt", certificate.to_pem().into_bytes()),
        ("tls.key", pem.as_bytes().to_vec()),
    ];
    let data = data.map(|(name, bytes)| (name.to_owned(), ByteString(bytes)));
    Arc::new(SecretFact::of(&Secret {
        metadata: ObjectMeta {
            name: Some("app-tls".into()),
            namespace: Some("shop".into()),
            ..ObjectMeta::default()
        },
        data: Some(data.into()),
        ..Secret::default()
    }))
}

/// A revocation that nobody has looked at, of a Certificate with that key and certificate in its Secret.
struct Scene {
    seen: Observation,
    now: Timestamp,
    key: PrivateKey,
    certificate: ParsedCertificate,
}

fn scene(spec: &Value) -> Scene {
    let (key, certificate) = pair();
    let mut whole = json!({ "certificateRef": { "name": "app" } });
    json_patch::merge(&mut whole, spec);
    let object: CertificateRevocation = serde_json::from_value(json!({
        "metadata": { "name": "gone", "namespace": "shop", "resourceVersion": "7", "generation": 1,
            "creationTimestamp": START.to_string() },
        "spec": whole,
    }))
    .unwrap();
    let keeper: Certificate = serde_json::from_value(json!({
        "metadata": { "name": "app", "namespace": "shop" },
        "spec": { "secretName": "app-tls", "issuerRef": { "name": "ca" } },
    }))
    .unwrap();
    let found = Found {
        certificates: vec![FoundCertificate {
            certificate: certificate.clone(),
            key_held: true,
        }],
        issuer: IssuerReference {
            name: "ca".into(),
            ..IssuerReference::default()
        },
        secret: Some("app-tls".into()),
        stored: Some(START),
    };
    let acme = json!({ "acme": {
        "server": "https://acme.example.com/directory", "privateKeySecretRef": { "name": "account" },
    } });
    Scene {
        seen: Observation {
            object: object.into(),
            found: Some(Ok(found)),
            issuer: Some(issuer(acme, Some((true, "ACMEAccountRegistered"))).into()),
            account: true,
            secret: Some(secret(&key, &certificate)),
            keeper: Some(keeper.into()),
            subject: None,
            unmarkable: false,
        },
        now: START,
        key,
        certificate,
    }
}

impl Scene {
    /// Carry out the writes of a plan; the effect that is left.
    fn carry_out(&mut self, plan: Plan<Effect>) -> Option<Effect> {
        for action in plan.actions {
            let patch = match action {
                Action::PatchStatus { status, .. } => json!({ "status": status }),
                Action::Annotate {
                    annotation, value, ..
                } => {
                    json!({ "metadata": { "annotations": { annotation: value } } })
                }
                Action::PutList(_) => continue,
                other => panic!("not expected: {other:?}"),
            };
            let mut object = serde_json::to_value(&*self.seen.object).unwrap();
            json_patch::merge(&mut object, &patch);
            self.seen.object = Arc::new(serde_json::from_value(object).unwrap());
        }
        if self.seen.status().certificates.is_some() {
            self.seen.found = None;
        }
        plan.effect
    }

    fn step(&mut self) -> Option<Effect> {
        let plan = plan(&self.seen, self.now);
        self.carry_out(plan)
    }

    /// Until the CA is to be asked.
    fn until_asked(&mut self) -> Effect {
        for _ in 0..4 {
            if let Some(effect) = self.step() {
                return effect;
            }
        }
        panic!("nobody is asked: {:?}", self.seen.status())
    }

    fn answer(&mut self, effect: &Effect, outcome: Outcome) {
        let plan = absorb(&self.seen, effect, outcome, self.now);
        assert_eq!(self.carry_out(plan), None);
    }

    /// The annotation.
    fn mark(&self) -> Option<String> {
        let annotations = self.seen.object.metadata.annotations.as_ref()?;
        annotations.get("everleaf.io/revokes").cloned()
    }

    fn mark_of(certificate: &ParsedCertificate) -> String {
        format!(
            "{}/{}",
            certificate.fingerprint(),
            certificate.public_key_hash()
        )
    }

    /// The object is created again as a backup has it: without status, with these certificates where the spec leads to.
    fn restore(&mut self, certificates: &[&ParsedCertificate]) {
        let object = Arc::make_mut(&mut self.seen.object);
        object.status = None;
        let found = certificates.iter().map(|certificate| FoundCertificate {
            certificate: (*certificate).clone(),
            key_held: true,
        });
        self.seen.found = Some(Ok(Found {
            certificates: found.collect(),
            issuer: IssuerReference {
                name: "ca".into(),
                ..IssuerReference::default()
            },
            secret: Some("app-tls".into()),
            stored: Some(START),
        }));
    }

    fn entry(&self) -> &RevokedCertificate {
        &self.seen.status().certificates.as_ref().unwrap()[0]
    }

    /// Status, reason and message of the Ready condition.
    fn ready(&self) -> (&str, &str, &str) {
        let ready = &self.seen.conditions()[0];
        let reason = ready.reason.as_deref().unwrap_or_default();
        let message = ready.message.as_deref().unwrap_or_default();
        (&ready.status, reason, message)
    }
}

fn signer(effect: &Effect) -> &Signer {
    let Effect::Revoke { signer, .. } = effect else {
        panic!("not the CA is asked: {effect:?}")
    };
    signer
}

#[test]
fn what_is_to_be_revoked_is_written_before_the_ca_is_asked_once() {
    let mut scene = scene(&json!({ "reason": "superseded" }));
    assert_eq!(scene.step(), None);
    let entry = scene.entry().clone();
    assert_eq!((&*entry.state, entry.attempts), ("Pending", None));
    assert_eq!(entry.serial, scene.certificate.serial());
    assert_eq!(scene.seen.status().issuer_ref.as_ref().unwrap().name, "ca");

    assert_eq!(scene.step(), None);
    assert_eq!(
        scene.entry().attempts,
        None,
        "where a backup keeps it, first"
    );
    assert_eq!(scene.mark(), Some(Scene::mark_of(&scene.certificate)));
    assert_eq!(scene.step(), None, "only written");
    assert_eq!(scene.entry().state, "Requested");
    assert_eq!(scene.entry().attempts, Some(1));
    assert!(scene.entry().requested_time.is_some());

    let effect = scene.step().unwrap();
    let Effect::Revoke {
        certificate,
        reason,
        signer,
        ..
    } = &effect
    else {
        panic!("not the CA is asked: {effect:?}")
    };
    assert_eq!(certificate, scene.certificate.der());
    assert_eq!(*reason, RevocationReason::Superseded);
    assert_eq!(*signer, Signer::Account);
    // A process that dies here leaves it to the next, which asks the same.
    assert_eq!(scene.step(), Some(effect));
    let effect = scene.until_asked();
    scene.answer(&effect, Outcome::Revoked(None));
    assert_eq!(scene.entry().state, "Revoked");
    assert_eq!(scene.ready(), ("True", "Revoked", "1 certificate revoked"));
    let rest = plan(&scene.seen, scene.now);
    assert_eq!(rest, Plan::idle());
}

#[test]
fn a_ca_that_cannot_be_asked_is_asked_again_later_and_later() {
    let mut scene = scene(&json!({}));
    let mut waits = vec![];
    for _ in 0..12 {
        let effect = scene.until_asked();
        let outcome = Outcome::Unavailable {
            message: "no reply".into(),
            until: None,
        };
        scene.answer(&effect, outcome);
        let next = scene.entry().next_attempt_time.clone().unwrap().0;
        let wait = plan(&scene.seen, scene.now).wake.unwrap();
        assert_eq!(plan(&scene.seen, scene.now).effect, None);
        assert_eq!(scene.now + SignedDuration::try_from(wait).unwrap(), next);
        waits.push(wait.as_secs());
        scene.now = next;
    }
    assert_eq!(waits[..4], [10, 20, 40, 80]);
    assert_eq!(waits[11], 3600);
    assert_eq!(scene.entry().attempts, Some(12));
    let (_, reason, message) = scene.ready();
    assert_eq!(reason, "Unavailable");
    assert!(message.contains("no reply (EL-1604)"), "{message}");

    let effect = scene.until_asked();
    let until = scene.now + SignedDuration::from_mins(5);
    let outcome = Outcome::Unavailable {
        message: "slow down".into(),
        until: Some(until),
    };
    scene.answer(&effect, outcome);
    assert_eq!(scene.entry().next_attempt_time.as_ref().unwrap().0, until);
}

#[test]
fn a_refusal_is_final_and_says_what_to_do() {
    for (message, unauthorized, advice) in [
        ("badRevocationReason: no", false, "cessationOfOperation"),
        ("unauthorized: no", true, "privateKeySecretRef"),
    ] {
        let mut scene = scene(&json!({ "reason": "affiliationChanged" }));
        let effect = scene.until_asked();
        let outcome = Outcome::Refused {
            message: message.into(),
            unauthorized,
        };
        scene.answer(&effect, outcome);
        assert_eq!(scene.entry().state, "Refused");
        let (status, reason, said) = scene.ready();
        assert_eq!((status, reason), ("False", "Refused"));
        assert!(said.contains(advice) && said.contains("EL-1603"), "{said}");
        assert_eq!(plan(&scene.seen, scene.now), Plan::idle());
    }
}

#[test]
fn a_ca_that_does_not_take_the_key_of_the_certificate_is_asked_by_the_account() {
    let mut scene = scene(&json!({ "reason": "keyCompromise" }));
    let refused = || Outcome::Refused {
        message: "unauthorized: no".into(),
        unauthorized: true,
    };
    let effect = scene.until_asked();
    assert!(matches!(signer(&effect), Signer::CertificateKey { .. }));
    scene.answer(&effect, refused());
    let entry = scene.entry();
    assert_eq!(
        (entry.state.as_str(), entry.attempts),
        ("Requested", Some(2))
    );
    assert_eq!(entry.signed_by.as_deref(), Some("Account"));
    let effect = scene.until_asked();
    assert_eq!(signer(&effect), &Signer::Account);
    scene.answer(&effect, refused());
    assert_eq!(scene.entry().state, "Refused");
}

#[test]
fn nothing_is_asked_without_an_account_an_acme_issuer_or_a_life() {
    let mut waiting = scene(&json!({}));
    waiting.seen.account = false;
    for _ in 0..3 {
        assert_eq!(waiting.step(), None);
    }
    assert_eq!(waiting.ready().1, "IssuerNotReady");
    assert_eq!(waiting.entry().attempts, None);
    waiting.seen.account = true;
    assert_eq!(signer(&waiting.until_asked()), &Signer::Account);

    let mut other = scene(&json!({}));
    other.seen.issuer = Some(issuer(json!({ "selfSigned": {} }), Some((true, "IsReady"))).into());
    other.step();
    other.step();
    assert_eq!(other.step(), None);
    assert!(other.ready().2.contains("EL-1602"), "{:?}", other.ready());
    other.seen.issuer = None;
    other.step();
    assert!(other.ready().2.contains("does not exist"));

    let mut late = scene(&json!({}));
    late.step();
    late.step();
    late.now = START + SignedDuration::from_hours(2161);
    assert_eq!(late.step(), None);
    assert_eq!(late.entry().state, "Expired");
    let said = "0 certificates revoked; 1 certificate had expired";
    assert_eq!(late.ready(), ("True", "Revoked", said));
}

#[test]
fn a_ca_issuer_with_a_list_revokes_by_it_and_stores_it_before_it_says_so() {
    let mut scene = scene(&json!({ "reason": "keyCompromise" }));
    let ca = |list: Value| {
        let spec = json!({ "ca": { "secretName": "house", "revocationList": list } });
        Some(issuer(spec, Some((true, "KeyPairVerified"))).into())
    };
    scene.seen.account = false;
    scene.seen.issuer = ca(Value::Null);
    for _ in 0..3 {
        assert_eq!(scene.step(), None);
    }
    let said = scene.ready().2;
    assert!(
        said.contains("spec.ca.revocationList") && said.contains("EL-1602"),
        "{said}"
    );
    scene.seen.issuer = ca(json!({}));
    let effect = scene.until_asked();
    assert_eq!(scene.entry().signed_by.as_deref(), Some("CA"));
    let Effect::List { certificate, .. } = &effect else {
        panic!("not a list: {effect:?}")
    };
    assert_eq!(certificate, scene.certificate.der());
    let there = |is_there| listed(&scene.seen.object, |_| is_there);
    let (certificate, revoked) = there(false).remove(0);
    assert_eq!(certificate, scene.certificate);
    assert_eq!(revoked.entry.reason, RevocationReason::KeyCompromise);
    assert_eq!(revoked.entry.serial, certificate.serial_bytes());
    assert_eq!(revoked.not_after, certificate.not_after());
    assert!(there(true).is_empty());
    let outcome = Outcome::Revoked(Some(Box::default()));
    let plan = absorb(&scene.seen, &effect, outcome, scene.now);
    assert!(matches!(
        plan.actions.as_slice(),
        [Action::PutList(_), Action::PatchStatus { .. }]
    ));
    scene.carry_out(plan);
    assert_eq!(scene.entry().state, "Revoked");
    let public = KeyFact::of(&scene.key).public;
    assert_eq!(Claims::of(&scene.seen.object).keys, [(public, true)]);
}

#[test]
fn what_cannot_be_found_is_said_and_looked_for_again() {
    let mut scene = scene(&json!({}));
    let verdict = Verdict::new(
        Code::REVOCATION_SUBJECT,
        "Secret \"app-tls\" does not exist",
    );
    scene.seen.found = Some(Err(verdict));
    assert_eq!(scene.step(), None);
    assert_eq!(scene.ready().1, "NotFound");
    assert_eq!(plan(&scene.seen, scene.now), Plan::idle());
}

#[test]
fn one_that_comes_back_without_its_status_is_about_what_it_was_about() {
    let mut scene = scene(&json!({ "reason": "keyCompromise" }));
    let effect = scene.until_asked();
    scene.answer(&effect, Outcome::Revoked(None));
    let old = scene.certificate.clone();
    let public = KeyFact::of(&scene.key).public;
    let (key, next) = pair();
    let innocent = KeyFact::of(&key).public;

    // Another certificate is in the Secret by now.
    scene.restore(&[&next]);
    for _ in 0..3 {
        assert_eq!(scene.step(), None);
    }
    assert_eq!(scene.seen.status().certificates, None);
    let (_, reason, message) = scene.ready();
    assert_eq!(reason, "NotFound");
    assert!(
        message.contains("another certificate") && message.contains("EL-1601"),
        "{message}"
    );
    let claims = Claims::of(&scene.seen.object);
    assert_eq!(
        (claims.leaves, claims.keys),
        (vec![], vec![(public, false)]),
        "still barred"
    );
    assert_ne!(public, innocent);

    // An earlier request was answered with it; or the Secret is older than the object.
    scene.restore(&[&next, &old]);
    let Effect::Revoke { certificate, .. } = scene.until_asked() else {
        panic!("not the CA is asked")
    };
    assert_eq!(certificate, old.der());
    assert_eq!(scene.seen.status().certificates.as_ref().unwrap().len(), 1);
    assert_eq!(scene.mark(), Some(Scene::mark_of(&old)));

    // What cannot be read names nothing, rather than anything.
    scene.restore(&[&next]);
    let object = Arc::make_mut(&mut scene.seen.object);
    let annotations = object.metadata.annotations.as_mut().unwrap();
    annotations.insert("everleaf.io/revokes".into(), "all".into());
    assert_eq!(scene.step(), None);
    assert_eq!(scene.ready().1, "NotFound");
}

/// The annotation of a Certificate names a key; by the time the Secret is read, a renewal may have come between.
#[test]
fn a_compromised_key_that_is_not_in_the_secret_any_more_costs_no_other_its_certificate() {
    let mut scene = scene(&json!({ "reason": "keyCompromise" }));
    let (old, (_, next)) = (scene.certificate.clone(), pair());
    let hash = old.public_key_hash();
    let about = |scene: &mut Scene| {
        let object = Arc::make_mut(&mut scene.seen.object);
        let annotation = (
            "everleaf.io/key-compromised".to_owned(),
            hash[..16].to_owned(),
        );
        object.metadata.annotations = Some([annotation].into());
    };
    scene.restore(&[&next]);
    about(&mut scene);
    assert_eq!(scene.step(), None);
    assert_eq!(scene.ready().1, "NotFound");
    let barred = KeyFact::of(&scene.key).public;
    assert_eq!(Claims::of(&scene.seen.object).keys, [(barred, false)]);

    scene.restore(&[&next, &old]);
    about(&mut scene);
    let Effect::Revoke { certificate, .. } = scene.until_asked() else {
        panic!("not the CA is asked")
    };
    assert_eq!(certificate, old.der());
    assert_eq!(scene.seen.status().certificates.as_ref().unwrap().len(), 1);
}

/// The annotation is for backups: a right that is missing does not keep the CA from being asked.
#[test]
fn one_that_cannot_be_marked_is_revoked_all_the_same() {
    let mut scene = scene(&json!({ "reason": "superseded" }));
    scene.seen.unmarkable = true;
    assert!(matches!(scene.until_asked(), Effect::Revoke { .. }));
    assert_eq!(scene.mark(), None);
    let said = super::unmarkable("forbidden");
    assert_eq!(said.reason, "NotMarked");
}

#[test]
fn an_object_of_an_earlier_version_is_marked_also_when_it_is_done() {
    let mut scene = scene(&json!({ "reason": "superseded" }));
    let effect = scene.until_asked();
    scene.answer(&effect, Outcome::Revoked(None));
    assert_eq!(plan(&scene.seen, scene.now), Plan::idle());
    Arc::make_mut(&mut scene.seen.object).metadata.annotations = None;
    assert_eq!(scene.step(), None);
    assert_eq!(scene.mark(), Some(Scene::mark_of(&scene.certificate)));
    assert_eq!(plan(&scene.seen, scene.now), Plan::idle());
}

/// A repository from which a cluster is made anew has no annotation.
#[test]
fn what_was_made_after_the_object_is_not_what_it_is_about() {
    let mut early = scene(&json!({ "reason": "keyCompromise" }));
    let Some(Ok(found)) = &mut early.seen.found else {
        panic!("something is found")
    };
    found.stored = Some(START + SignedDuration::from_secs(1));
    let found = early.seen.found.clone();
    assert_eq!(early.step(), None);
    assert_eq!(early.ready().1, "NotFound");
    assert!(
        early.ready().2.contains("made after this object"),
        "{:?}",
        early.ready()
    );
    assert_eq!(Claims::of(&early.seen.object), Claims::default());

    let mut waiting = scene(&json!({ "when": "CertificateDeleted" }));
    waiting.seen.found = found;
    waiting.seen.subject = Some(subject("uid-1", &json!({})).into());
    assert_eq!(waiting.step(), None);
    assert_eq!(waiting.ready().1, "Waiting", "it is about what comes");
}

#[test]
fn with_renew_first_the_ca_is_asked_once_another_certificate_is_in_the_secret() {
    let mut scene = scene(&json!({ "renewFirst": true }));
    for _ in 0..3 {
        assert_eq!(scene.step(), None);
    }
    assert_eq!(scene.entry().state, "Pending");
    assert_eq!(scene.ready().1, "Renewing");
    let leaf = short(&scene.certificate.fingerprint());
    assert_eq!(
        Claims::of(&scene.seen.object).leaves,
        [(leaf, Stage::Replacing)]
    );
    scene.seen.secret = None;
    assert_eq!(scene.step(), None, "a Secret that is gone is no successor");
    let (key, next) = pair();
    scene.seen.secret = Some(secret(&key, &next));
    let effect = scene.until_asked();
    scene.answer(&effect, Outcome::Revoked(None));
    assert_eq!(scene.ready().1, "Revoked");

    scene.seen.keeper = None;
    let mut orphan = self::scene(&json!({ "renewFirst": true }));
    orphan.seen.keeper = None;
    for _ in 0..3 {
        orphan.step();
    }
    assert!(orphan.ready().2.contains("no Certificate has the Secret"));
}

#[test]
fn a_compromised_key_signs_while_it_is_there_and_the_account_after_that() {
    let mut scene = scene(&json!({ "reason": "keyCompromise" }));
    scene.seen.account = false;
    let effect = scene.until_asked();
    let key = Signer::CertificateKey {
        secret: "app-tls".into(),
        entry: "tls.key".into(),
    };
    assert_eq!(*signer(&effect), key, "it needs no account");
    assert_eq!(scene.entry().signed_by.as_deref(), Some("CertificateKey"));

    scene.answer(&effect, Outcome::NoKey("it is another one".into()));
    let (key, next) = pair();
    scene.seen.secret = Some(secret(&key, &next));
    scene.seen.account = true;
    scene.now = scene.entry().next_attempt_time.clone().unwrap().0;
    assert_eq!(*signer(&scene.until_asked()), Signer::Account);
    assert_eq!(scene.entry().signed_by.as_deref(), Some("Account"));
}

#[test]
fn a_given_key_signs_whatever_the_reason_and_counts_as_compromised() {
    let given = json!({ "privateKeySecretRef": { "name": "copy", "key": "old.key" } });
    let mut scene = scene(&given);
    let effect = scene.until_asked();
    let key = Signer::CertificateKey {
        secret: "copy".into(),
        entry: "old.key".into(),
    };
    assert_eq!(*signer(&effect), key);
    let public = KeyFact::of(&scene.key).public;
    assert_eq!(Claims::of(&scene.seen.object).keys, [(public, true)]);
}

#[test]
fn the_certificate_is_replaced_once_the_ca_has_answered_and_the_key_barred_at_once() {
    let mut scene = scene(&json!({ "reason": "keyCompromise" }));
    scene.step();
    let leaf = short(&scene.certificate.fingerprint());
    let public = KeyFact::of(&scene.key).public;
    let claims = Claims::of(&scene.seen.object);
    assert_eq!(claims.keys, [(public, true)]);
    assert_eq!(claims.leaves, [(leaf, Stage::Asking)]);
    let effect = scene.until_asked();
    let refused = Outcome::Unavailable {
        message: "no reply".into(),
        until: None,
    };
    let mut failed = Scene {
        seen: scene.seen.clone(),
        now: scene.now,
        key: pair().0,
        certificate: scene.certificate.clone(),
    };
    failed.answer(&effect, refused);
    let claims = Claims::of(&failed.seen.object);
    assert_eq!(
        claims.leaves,
        [(leaf, Stage::Withdrawn)],
        "it is not waited for long"
    );

    scene.answer(&effect, Outcome::Revoked(None));
    let claims = Claims::of(&scene.seen.object);
    assert_eq!(claims.leaves, [(leaf, Stage::Withdrawn)]);

    let mut mild = self::scene(&json!({ "reason": "superseded" }));
    mild.step();
    assert_eq!(Claims::of(&mild.seen.object).keys, []);
    let effect = mild.until_asked();
    mild.answer(
        &effect,
        Outcome::Refused {
            message: "no".into(),
            unauthorized: false,
        },
    );
    assert_eq!(Claims::of(&mild.seen.object), Claims::default());
}

fn subject(uid: &str, annotations: &Value) -> Certificate {
    serde_json::from_value(json!({
        "metadata": { "name": "app", "namespace": "shop", "uid": uid, "annotations": annotations },
        "spec": { "secretName": "app-tls", "issuerRef": { "name": "ca" } },
    }))
    .unwrap()
}

#[test]
fn what_waits_for_a_deletion_follows_its_certificate_and_acts_once_it_is_gone() {
    let mut scene = scene(&json!({ "when": "CertificateDeleted" }));
    scene.seen.subject = Some(subject("uid-1", &json!({})).into());
    assert_eq!(scene.step(), None);
    let uid = scene.seen.status().certificate_uid.as_deref();
    assert_eq!(uid, Some("uid-1"));
    assert_eq!(scene.ready().1, "Waiting");
    assert_eq!(Claims::of(&scene.seen.object), Claims::default());
    assert_eq!(plan(&scene.seen, scene.now), Plan::idle());

    let (_, next) = pair();
    scene.seen.found = Some(Ok(Found {
        certificates: vec![FoundCertificate {
            certificate: next.clone(),
            key_held: true,
        }],
        issuer: scene.seen.status().issuer_ref.clone().unwrap(),
        secret: Some("app-tls".into()),
        stored: Some(START),
    }));
    assert_eq!(scene.step(), None);
    assert_eq!(scene.entry().serial, next.serial());
    assert_eq!(
        scene.seen.object.metadata.annotations, None,
        "that may change"
    );

    // One of the same name is another one.
    scene.seen.subject = Some(subject("uid-2", &json!({})).into());
    let effect = scene.until_asked();
    scene.answer(&effect, Outcome::Revoked(None));
    assert_eq!(scene.ready().1, "Revoked");
}

#[test]
fn the_annotation_asks_for_it_and_takes_it_back() {
    let asked = |value: &str| {
        let annotations = json!({ "everleaf.io/revoke-on-delete": value });
        standing_order(&subject("uid-1", &annotations))
    };
    let order = asked("true").unwrap().unwrap();
    assert_eq!(order.spec.reason.as_deref(), Some("cessationOfOperation"));
    assert_eq!(order.spec.certificate_ref.as_ref().unwrap().name, "app");
    let other = asked("superseded").unwrap().unwrap();
    assert_eq!(other.spec.reason.as_deref(), Some("superseded"));
    let problem = asked("please").unwrap().unwrap_err();
    assert!(problem.contains("keyCompromise"), "{problem}");
    assert_eq!(standing_order(&subject("uid-1", &json!({}))), None);
    let of = |uid| standing_name(&subject(uid, &json!({})));
    assert_ne!(of("uid-1"), of("uid-2"));

    let mut scene = scene(&json!({ "when": "CertificateDeleted" }));
    scene.seen.object = Arc::new(order);
    scene.seen.subject = Some(subject("uid-1", &json!({})).into());
    let plan = plan(&scene.seen, scene.now);
    let [Action::Delete(Target::Revocation, id)] = plan.actions.as_slice() else {
        panic!("not deleted: {:?}", plan.actions)
    };
    assert_eq!(*id.name, *of("uid-1"));
}
