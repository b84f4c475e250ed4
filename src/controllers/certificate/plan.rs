//! One plan for one Certificate: trigger, private key, request, issuance, readiness and history
//! (contract §4.2 to §4.7).

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::policy::{self, Violation};
use super::renewal::{failure_delay, fresh_delay, renewal_time};
use super::request::{Invalid, Wanted, certificate_request, key_secret_name};
use super::secret::{SecretData, metadata_is_intact, next_key, target};
use super::{Effect, IssuerState, KeySource, Observation, Outcome, PATIENCE, Settings};
use crate::api::meta::{Condition, IssuerReference};
use crate::controllers::action::{Action, Event, Object, Plan, SecretObject, Target, patch_status};
use crate::controllers::facts::{Identity, KeyFact, RequestFact, SecretFact};
use crate::controllers::key::Kind;
use crate::controllers::status::{condition, find, remove_condition, seconds, set_condition};
use crate::pki::parse_chain;

const TRIGGER: &str = "cert-manager-certificates-trigger";
const KEYS: &str = "cert-manager-certificates-key-manager";
const REQUESTS: &str = "cert-manager-certificates-request-manager";
const ISSUING: &str = "cert-manager-certificates-issuing";

/// Plan the next step of a Certificate.
pub fn plan(o: &Observation, settings: &Settings, now: Timestamp) -> Plan<Effect> {
    let mut step = Step::new(o, settings, now);
    if o.certificate.metadata.deletion_timestamp.is_some() {
        return Plan::idle();
    }
    step.decide();
    step.finish()
}

/// Plan what follows from an effect.
pub fn absorb(
    o: &Observation,
    settings: &Settings,
    outcome: Outcome,
    now: Timestamp,
) -> Plan<Effect> {
    let mut step = Step::new(o, settings, now);
    match outcome {
        Outcome::Prepared { csr, key } => step.request(&csr, key.as_ref().map(|k| k.as_slice())),
        Outcome::Loaded(key) => step.issue(&key),
        Outcome::Repaired(data) => step.repair(data),
        Outcome::KeyLost => step.start_over(),
        Outcome::Unbuildable(problem) => step.unbuildable(&problem),
    }
    step.finish()
}

/// A plan in the making, and the status as it will be.
struct Step<'a> {
    o: &'a Observation,
    settings: &'a Settings,
    now: Timestamp,
    id: Identity,
    plan: Plan<Effect>,
    /// Writes that follow the status.
    after: Vec<Action>,
    conditions: Vec<Condition>,
    status: Map<String, Value>,
}

impl<'a> Step<'a> {
    fn new(o: &'a Observation, settings: &'a Settings, now: Timestamp) -> Self {
        Self {
            o,
            settings,
            now,
            id: Identity::of(&o.certificate.metadata),
            plan: Plan::idle(),
            after: vec![],
            conditions: o.conditions().to_vec(),
            status: Map::new(),
        }
    }

    fn decide(&mut self) {
        if let Some(rival) = &self.o.rival {
            self.yield_to(rival);
            return;
        }
        let wanted = match Wanted::try_from(&self.o.certificate.spec) {
            Ok(wanted) => wanted,
            Err(invalid) => return self.refuse(&invalid),
        };
        let issuing = find(&self.conditions, "Issuing").is_some_and(|c| c.status == "True");
        if issuing {
            self.proceed(&wanted);
        } else if let Some(violation) = policy::trigger(self.o, self.now) {
            self.trigger(&violation, &wanted);
        } else {
            self.settle();
        }
    }

    /// Another Certificate has the Secret: write nothing but why.
    fn yield_to(&mut self, rival: &str) {
        let secret = &self.o.certificate.spec.secret_name;
        let mut why = policy::readiness(self.o, self.now).unwrap_or(Violation {
            reason: "IncorrectCertificate",
            message: format!("Secret \"{secret}\" belongs to Certificate \"{rival}\""),
        });
        let note = format!(
            "Certificate \"{rival}\" has spec.secretName \"{secret}\" too and keeps it; give this one a \
             Secret of its own."
        );
        why.message = joined(&why.message, &note);
        self.ready(Some(&why), None);
    }

    /// Something is wrong with the Secret, and no issuance is under way.
    fn trigger(&mut self, violation: &Violation, wanted: &Wanted) {
        if let Some(until) = self.backoff_end()
            && until > self.now
        {
            self.ready(policy::readiness(self.o, self.now).as_ref(), Some(until));
            self.settle_times();
            self.discard_keys(None);
            self.plan.sooner(between(self.now, until));
            return;
        }
        let generation = self.o.certificate.metadata.generation;
        let issuing = condition(
            "Issuing",
            true,
            violation.reason,
            &violation.message,
            generation,
        );
        self.set(issuing);
        if violation.reason != "DoesNotExist" {
            self.plan
                .events
                .push(Event::normal(TRIGGER, "Issuing", &violation.message));
        }
        self.proceed(wanted);
    }

    /// The spec cannot be met: say which field, and keep what is there. Also when what is there is good
    /// still: it will not be renewed, and that must not be found out when it has expired.
    fn refuse(&mut self, invalid: &Invalid) {
        let found = policy::readiness(self.o, self.now).map_or_else(
            || "The certificate in the Secret stays as it is, and is not renewed".into(),
            |found| found.message,
        );
        let unmet = Violation {
            reason: invalid.reason,
            message: joined(&format!("{}: {}", invalid.field, invalid.problem), &found),
        };
        remove_condition(&mut self.conditions, "Issuing");
        self.ready(Some(&unmet), None);
        self.settle_times();
        self.clear(["nextPrivateKeySecretName"]);
        self.discard_keys(None);
    }

    /// Issuing: private key, then request, then its answer.
    fn proceed(&mut self, wanted: &Wanted) {
        let due = policy::readiness(self.o, self.now);
        self.ready(due.as_ref(), None);
        self.settle_times();
        self.forget_strays();
        let Some(request) = self.next_request().cloned() else {
            return self.prepare(wanted);
        };
        let stored = self.stored_key().map(|s| s.id.name.to_string());
        if stored.is_some() {
            self.discard_keys(stored.as_deref());
        }
        let key = self.current_key();
        if self.is_useless(&request, key.as_ref()) {
            self.after.push(Action::Delete(
                Target::CertificateRequest,
                request.id.clone(),
            ));
            return;
        }
        if let Some(refusal) = request.denied.as_ref().or(request.invalid.as_ref()) {
            return self.fail(
                refusal.reason.as_deref().unwrap_or("Failed"),
                refusal.message.as_deref(),
            );
        }
        match request.ready_reason() {
            "Failed" | "Denied" => {
                let ready = request.ready.as_ref();
                let reason = ready.and_then(|c| c.reason.as_deref()).unwrap_or("Failed");
                self.fail(reason, ready.and_then(|c| c.message.as_deref()));
            }
            "Issued" => self.answer(&request, wanted),
            _ if !request.approved || self.o.issuer == IssuerState::External => {
                let since = self.now.duration_since(request.id.created);
                if since < PATIENCE {
                    self.plan
                        .sooner(Duration::try_from(PATIENCE - since).unwrap_or_default());
                }
            }
            _ => {}
        }
    }

    /// A request of another spec, another key, or an earlier failure.
    fn is_useless(&self, request: &RequestFact, key: Option<&KeyFact>) -> bool {
        let Ok(compared) = &request.compared else {
            return true;
        };
        let known = key.is_some_and(|k| k.public == compared.public);
        // The key of a failed or denied request may be gone already: its answer still counts.
        let refused =
            request.denied.is_some() || (request.is_final() && request.ready_reason() != "Issued");
        if !policy::request_differences(self.o, request).is_empty() || !(known || refused) {
            return true;
        }
        let since = find(&self.conditions, "Issuing").and_then(|c| c.last_transition_time.as_ref());
        // Not every answer that is of no use comes with a failure time. A refusal has the time of its
        // condition; what this Certificate found fault with, the time when it counted that.
        let refusal = request.denied.as_ref().or(request.invalid.as_ref());
        let refused = refusal.and_then(|c| c.last_transition_time.as_ref().map(|t| t.0));
        let counted = self.o.status().last_failure_time.as_ref().map(|t| t.0);
        let counted = counted.filter(|counted| request.id.created <= *counted);
        let failed = request.failure_time.or(refused).or(counted);
        matches!((failed, since), (Some(failed), Some(since)) if failed < since.0)
    }

    /// The private key of the issuance under way.
    fn current_key(&self) -> Option<KeyFact> {
        let stored = self
            .stored_key()
            .and_then(|s| s.key.as_ref()?.as_ref().ok());
        stored.copied().or(self.o.staged)
    }

    /// The next private key that counts: of those that fit, the one that the status names, else the
    /// first (contract §4.3).
    fn stored_key(&self) -> Option<&Arc<SecretFact>> {
        let named = self.o.status().next_private_key_secret_name.as_deref();
        let fits = |s: &&Arc<SecretFact>| {
            let key = s.key.as_ref().and_then(|k| k.as_ref().ok());
            key.is_some_and(|k| policy::key_differences(self.o, k).is_empty())
        };
        let fitting = || self.o.next_keys.iter().filter(fits);
        let is_named = |s: &&Arc<SecretFact>| Some(s.id.name.as_ref()) == named;
        fitting().find(is_named).or_else(|| fitting().next())
    }

    /// Make the private key, or take the one that is there, and build the CSR.
    fn prepare(&mut self, wanted: &Wanted) {
        let source = match self.key_source(wanted) {
            Ok(source) => source,
            Err(problem) => {
                let why = Violation {
                    reason: "CannotRegenerateKey",
                    message: problem.clone(),
                };
                self.plan
                    .events
                    .push(Event::warning(KEYS, "CannotRegenerateKey", problem));
                self.ready(Some(&why), None);
                return;
            }
        };
        let durable = !matches!(self.o.issuer, IssuerState::Ready { in_process: true });
        let name = self.key_name();
        if durable && self.o.status().next_private_key_secret_name.as_deref() != Some(name.as_str())
        {
            self.put("nextPrivateKeySecretName", json!(name));
        }
        if matches!(source, KeySource::Target(_)) {
            let secret = &self.o.certificate.spec.secret_name;
            let message =
                format!("Reusing private key stored in existing Secret resource \"{secret}\"");
            self.plan
                .events
                .push(Event::normal(KEYS, "Reused", message));
        }
        self.plan.effect = Some(Effect::Prepare {
            source,
            durable,
            key_secret: name,
            params: Box::new(wanted.params.clone()),
        });
    }

    fn key_name(&self) -> String {
        let stored = self.stored_key().map(|s| s.id.name.to_string());
        stored.unwrap_or_else(|| key_secret_name(&self.o.certificate, self.o.next_revision()))
    }

    /// Contract §4.3: an existing next key that fits, the target's key with rotation policy Never, else
    /// a new one. An error says why the policy forbids a new one.
    fn key_source(&mut self, wanted: &Wanted) -> Result<KeySource, String> {
        let stored = self.stored_key().map(|s| s.id.name.to_string());
        self.discard_keys(stored.as_deref());
        if let Some(name) = stored {
            return Ok(KeySource::Next(name));
        }
        if let Some(key) = &self.o.staged
            && policy::key_differences(self.o, key).is_empty()
        {
            return Ok(KeySource::Staged);
        }
        let policy = self
            .o
            .certificate
            .spec
            .private_key
            .as_ref()
            .and_then(|k| k.rotation_policy.as_deref());
        let existing = self.o.secret.as_ref().and_then(|s| s.key.as_ref());
        match (policy, existing) {
            (Some("Never"), Some(Ok(key))) => {
                let fields = policy::key_differences(self.o, key);
                if fields.is_empty() {
                    return Ok(KeySource::Target(
                        self.o.certificate.spec.secret_name.clone(),
                    ));
                }
                Err(format!(
                    "the private key in the Secret does not match {}, and spec.privateKey.rotationPolicy \
                     Never forbids a new one: set it to Always, or delete the Secret",
                    fields.join(", ")
                ))
            }
            (Some("Never"), Some(Err(problem))) => {
                let message = format!(
                    "Existing private key cannot be read ({problem}); generating a new one"
                );
                self.plan
                    .events
                    .push(Event::warning(KEYS, "DecodeFailed", message));
                Ok(KeySource::Generate(wanted.key))
            }
            _ => Ok(KeySource::Generate(wanted.key)),
        }
    }

    /// The key is there: store it, if an outside CA will be asked, and create the request.
    fn request(&mut self, csr: &str, key: Option<&[u8]>) {
        let revision = self.o.next_revision();
        let name = self.key_name();
        let certificate = &self.o.certificate;
        if let Some(key) = key {
            let secret = next_key(certificate, &name, key);
            self.after
                .push(Action::Ensure(Box::new(Object::Secret(SecretObject(
                    secret,
                )))));
        }
        let prefixes = &self.settings.copied_annotation_prefixes;
        let request = certificate_request(certificate, revision, &name, csr, prefixes);
        if self.settings.verbose_events {
            let created = request.metadata.name.clone().unwrap_or_default();
            let message = format!("Created new CertificateRequest resource \"{created}\"");
            self.plan
                .events
                .push(Event::normal(REQUESTS, "Requested", message));
        }
        self.after
            .push(Action::Ensure(Box::new(Object::CertificateRequest(
                request,
            ))));
    }

    /// The request is answered: check the certificate, then fetch the private key.
    fn answer(&mut self, request: &RequestFact, wanted: &Wanted) {
        let Some(body) = &request.body else {
            // The answer was dropped from memory although nobody used it: read it again.
            return;
        };
        let chain = body.status.as_ref().and_then(|s| s.certificate.as_ref());
        let problem = match chain.map(|c| parse_chain(&c.0)) {
            None => Some("the issuer returned no certificate".to_owned()),
            Some(Err(e)) => Some(format!(
                "the issuer returned a certificate that cannot be read: {e}"
            )),
            Some(Ok(chain)) => chain.first().and_then(|leaf| {
                let public = crate::controllers::facts::digest(&leaf.public_key_der());
                let asked = request.compared.as_ref().map(|c| c.public);
                if asked != Ok(public) {
                    Some("the issuer returned a certificate for another public key".to_owned())
                } else if leaf.not_after() <= self.now {
                    Some(format!(
                        "the issuer returned a certificate that expired at {}",
                        leaf.not_after()
                    ))
                } else {
                    None
                }
            }),
        };
        if let Some(problem) = problem {
            return self.fail("InvalidCertificate", Some(&problem));
        }
        let Ok(asked) = &request.compared else { return };
        self.plan.effect = Some(Effect::LoadKey {
            name: self.key_name(),
            encoding: wanted.encoding,
            public: asked.public,
        });
    }

    /// Write the target Secret in one piece, then the status, then clean up.
    fn issue(&mut self, key: &[u8]) {
        let Some(request) = self.next_request().cloned() else {
            return;
        };
        let Some(status) = request.body.as_ref().and_then(|b| b.status.as_ref()) else {
            return;
        };
        let certificate = status
            .certificate
            .as_ref()
            .map(|c| c.0.clone())
            .unwrap_or_default();
        let Ok(chain) = parse_chain(&certificate) else {
            return;
        };
        let Some(leaf) = chain.first() else { return };
        let data = SecretData {
            key: key.to_vec(),
            certificate,
            ca: status
                .ca
                .as_ref()
                .map(|ca| ca.0.clone())
                .filter(|ca| !ca.is_empty()),
        };
        self.apply(Some(&request.issuer), leaf, data);
        let generation = self.o.certificate.metadata.generation;
        let message = "Certificate is up to date and has not expired";
        self.set(condition("Ready", true, "Ready", message, generation));
        remove_condition(&mut self.conditions, "Issuing");
        self.put("revision", json!(self.o.next_revision()));
        self.put("notBefore", json!(seconds(leaf.not_before())));
        self.put("notAfter", json!(seconds(leaf.not_after())));
        let due = renewal_time(
            &self.o.certificate.spec,
            leaf.not_before(),
            leaf.not_after(),
        );
        self.put(
            "renewalTime",
            due.map_or(Value::Null, |t| json!(seconds(t))),
        );
        self.clear([
            "lastFailureTime",
            "failedIssuanceAttempts",
            "nextPrivateKeySecretName",
        ]);
        self.discard_keys(None);
        let message = "The certificate has been successfully issued";
        self.plan
            .events
            .push(Event::normal(ISSUING, "Issuing", message));
    }

    fn apply(
        &mut self,
        issuer: Option<&IssuerReference>,
        leaf: &crate::pki::ParsedCertificate,
        data: SecretData,
    ) {
        let kind = self.o.secret.as_ref().map(|s| s.kind.as_str());
        let owned = self.settings.enable_certificate_owner_ref;
        let secret = target(&self.o.certificate, issuer, leaf, data, kind, owned);
        self.plan
            .actions
            .push(Action::ApplySecret(Box::new(SecretObject(secret))));
    }

    /// The Secret lost labels or annotations that the Certificate asks for: put them back.
    fn repair(&mut self, data: SecretData) {
        let Ok(chain) = parse_chain(&data.certificate) else {
            return;
        };
        let Some(leaf) = chain.first() else { return };
        if data.key.is_empty() {
            // It vanished since: a Secret without its key is a matter of the trigger chain.
            return;
        }
        let found = self.o.secret.as_ref().map(|s| s.issuer.clone());
        let [name, kind, group] = found.unwrap_or_default();
        // A pair that a user brought says no issuer, and must not name an empty one.
        let issuer = name.map(|name| IssuerReference { group, kind, name });
        self.apply(issuer.as_ref(), leaf, data);
    }

    /// The private key of the request is nowhere: the request is of no use.
    fn start_over(&mut self) {
        if let Some(request) = self.next_request() {
            self.after.push(Action::Delete(
                Target::CertificateRequest,
                request.id.clone(),
            ));
        }
    }

    /// The library refuses what the check of the spec has let through.
    fn unbuildable(&mut self, problem: &str) {
        let message = format!("Failed to build the certificate request: {problem}");
        self.fail("RequestFailed", Some(&message));
    }

    fn fail(&mut self, reason: &str, message: Option<&str>) {
        let attempts = self.o.status().failed_issuance_attempts.unwrap_or_default();
        let attempts = attempts.saturating_add(1);
        let message = message.unwrap_or_default();
        let message = format!(
            "The certificate request has failed to complete and will be retried: {message}"
        );
        let generation = self.o.certificate.metadata.generation;
        self.plan
            .events
            .push(Event::warning(ISSUING, reason, &message));
        self.set(condition("Issuing", false, reason, message, generation));
        self.put("lastFailureTime", json!(seconds(self.now)));
        self.put("failedIssuanceAttempts", json!(attempts));
        self.clear(["nextPrivateKeySecretName"]);
        self.discard_keys(None);
    }

    /// Nothing is wrong: readiness, history, and when to look again.
    fn settle(&mut self) {
        self.ready(policy::readiness(self.o, self.now).as_ref(), None);
        let due = self.settle_times();
        if let Some(due) = due {
            self.plan.sooner(between(self.now, due));
        }
        self.clear(["nextPrivateKeySecretName"]);
        self.discard_keys(None);
        self.forget_history();
        if let Some(secret) = &self.o.secret
            && !metadata_is_intact(
                &self.o.certificate,
                secret,
                self.settings.enable_certificate_owner_ref,
            )
        {
            self.plan.effect = Some(Effect::Repair(secret.id.name.to_string()));
        }
    }

    /// Validity and renewal time as the Secret's certificate says; returns the latter.
    fn settle_times(&mut self) -> Option<Timestamp> {
        let leaf = self
            .o
            .secret
            .as_ref()
            .and_then(|s| s.certificate.as_ref()?.as_ref().ok());
        let Some(leaf) = leaf else {
            self.clear(["notBefore", "notAfter", "renewalTime"]);
            return None;
        };
        if leaf.not_after >= self.now {
            // Whatever happens until then: that it has expired must be said.
            self.plan
                .sooner(between(self.now, leaf.not_after) + Duration::from_secs(1));
        }
        let due = renewal_time(&self.o.certificate.spec, leaf.not_before, leaf.not_after);
        let status = self.o.status();
        let as_json = |time: &Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| {
            time.as_ref().map_or(Value::Null, |t| json!(t))
        };
        let fields = [
            (
                "notBefore",
                json!(seconds(leaf.not_before)),
                as_json(&status.not_before),
            ),
            (
                "notAfter",
                json!(seconds(leaf.not_after)),
                as_json(&status.not_after),
            ),
            (
                "renewalTime",
                due.map_or(Value::Null, |t| json!(seconds(t))),
                as_json(&status.renewal_time),
            ),
        ];
        for (name, new, old) in fields {
            if new != old {
                self.put(name, new);
            }
        }
        due
    }

    /// Keep the newest `revisionHistoryLimit` requests, once Ready.
    fn forget_history(&mut self) {
        let ready = find(&self.conditions, "Ready").is_some_and(|c| c.status == "True");
        if !ready {
            return;
        }
        let limit = self
            .o
            .certificate
            .spec
            .revision_history_limit
            .filter(|l| *l >= 1)
            .unwrap_or(1);
        let mut requests: Vec<&Arc<RequestFact>> = self.o.requests.iter().collect();
        requests.sort_by_key(|r| std::cmp::Reverse(r.revision));
        let keep = usize::try_from(limit).unwrap_or(1);
        let old = requests.into_iter().skip(keep).filter(|r| !r.id.deleting);
        self.after
            .extend(old.map(|r| Action::Delete(Target::CertificateRequest, r.id.clone())));
    }

    /// Delete requests that do not say which issuance they belong to (contract §4.4).
    fn forget_strays(&mut self) {
        let strays = self
            .o
            .requests
            .iter()
            .filter(|r| r.revision.is_none() && !r.id.deleting);
        self.after
            .extend(strays.map(|r| Action::Delete(Target::CertificateRequest, r.id.clone())));
    }

    /// Delete next private keys, except the one named.
    fn discard_keys(&mut self, keep: Option<&str>) {
        let leftover = self
            .o
            .next_keys
            .iter()
            .filter(|s| Some(s.id.name.as_ref()) != keep && !s.id.deleting);
        self.after
            .extend(leftover.map(|s| Action::Delete(Target::Secret, s.id.clone())));
    }

    /// When the next attempt may start; `None` at once. A back-off ends when its cause ends.
    fn backoff_end(&self) -> Option<Timestamp> {
        let status = self.o.status();
        let failed = status.last_failure_time.as_ref()?.0;
        let request = self.next_request();
        let changed = request.is_some_and(|r| {
            r.compared.is_err() || !policy::request_differences(self.o, r).is_empty()
        });
        if changed || self.settings.min_backoff.is_zero() {
            return None;
        }
        let attempts = status.failed_issuance_attempts.unwrap_or_default();
        let began = request.map_or(failed, |r| r.id.created);
        let delay = failure_delay(
            attempts,
            self.settings.min_backoff,
            self.settings.max_backoff,
        );
        let delay = if self.o.cause_ended(began) {
            delay.min(fresh_delay(attempts))
        } else {
            delay
        };
        failed.checked_add(delay).ok()
    }

    fn next_request(&self) -> Option<&Arc<RequestFact>> {
        let next = self.o.next_revision();
        self.o
            .requests
            .iter()
            .find(|r| r.revision == Some(next) && !r.id.deleting)
    }

    /// The Ready condition: the contract's text, then the deepest cause that is known, then the next
    /// attempt.
    fn ready(&mut self, violation: Option<&Violation>, next: Option<Timestamp>) {
        let generation = self.o.certificate.metadata.generation;
        let new = match violation {
            None => condition(
                "Ready",
                true,
                "Ready",
                "Certificate is up to date and has not expired",
                generation,
            ),
            Some(violation) => {
                let mut message = violation.message.clone();
                if let Some(cause) = &self.o.cause {
                    message = joined(&message, cause);
                }
                if let Some(next) = next {
                    let note =
                        format!("Next attempt at {next:.0}, or as soon as the cause has changed.");
                    message = joined(&message, &note);
                }
                condition("Ready", false, violation.reason, message, generation)
            }
        };
        self.set(new);
    }

    fn set(&mut self, new: Condition) {
        set_condition(&mut self.conditions, new, self.now);
    }

    fn put(&mut self, field: &str, value: Value) {
        self.status.insert(field.into(), value);
    }

    /// Null the fields that have a value.
    fn clear<const N: usize>(&mut self, fields: [&str; N]) {
        let present = serde_json::to_value(self.o.status()).unwrap_or_default();
        for field in fields {
            if present.get(field).is_some() || self.status.contains_key(field) {
                self.status.insert(field.into(), Value::Null);
            }
        }
    }

    /// The status write comes before the children, and after the Secret.
    fn finish(mut self) -> Plan<Effect> {
        if self.conditions != self.o.conditions() {
            self.status
                .insert("conditions".into(), json!(self.conditions));
        }
        if !self.status.is_empty() {
            let patch = patch_status(Kind::Certificate, &self.id, Value::Object(self.status));
            self.plan.actions.push(patch);
        }
        self.plan.actions.append(&mut self.after);
        self.plan
    }
}

/// Two sentences.
fn joined(first: &str, second: &str) -> String {
    let stop = if first.ends_with('.') { "" } else { "." };
    format!("{first}{stop} {second}")
}

fn between(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or_default()
}
