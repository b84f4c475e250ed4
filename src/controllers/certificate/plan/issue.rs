//! An issuance under way: the request, its answer, and the write of the target Secret.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{ISSUING, REQUESTS, Step};
use crate::api::duration::parse_go_duration;
use crate::api::labels;
use crate::api::meta::IssuerReference;
use crate::controllers::action::{Action, Event, NO_VERSION, Object, SecretObject, Target};
use crate::controllers::certificate::budget;
use crate::controllers::certificate::policy::{self};
use crate::controllers::certificate::renewal::renewal;
use crate::controllers::certificate::request::{Wanted, certificate_request};
use crate::controllers::certificate::secret::{SecretData, next_key, target};
use crate::controllers::certificate::{DEFAULT_DURATION, Effect, IssuerState, PATIENCE};
use crate::controllers::digest::public_digest;
use crate::controllers::facts::{KeyFact, Made, RequestFact};
use crate::controllers::rotation::merged;
use crate::controllers::status::{condition, find, remove_condition, seconds};
use crate::explain::{Code, STALLED, Verdict};
use crate::pki::{ParsedCertificate, parse_chain};

/// What the Issuing condition says before the cause.
pub(super) const FAILED: &str =
    "The certificate request has failed to complete and will be retried: ";

impl Step<'_> {
    /// Issuing: private key, then request, then its answer.
    pub(super) fn proceed(&mut self, wanted: &Wanted) {
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
            // Together, so that the new one lists what the old one listed.
            return self.prepare(wanted);
        }
        if let Some(refusal) = request.denied.as_ref().or(request.invalid.as_ref()) {
            return self.fail(
                refusal.reason.as_deref().unwrap_or("Failed"),
                refusal.message.as_deref(),
            );
        }
        if request.is_stalled() {
            let name = &request.id.name;
            let why = format!("CertificateRequest \"{name}\" {STALLED}");
            return self.fail("Stalled", Some(&why));
        }
        match request.ready_reason() {
            "Failed" | "Denied" => {
                let ready = request.ready.as_ref();
                let reason = ready.and_then(|c| c.reason.as_deref()).unwrap_or("Failed");
                self.fail(reason, ready.and_then(|c| c.message.as_deref()));
            }
            "Issued" => self.answer(&request, wanted),
            _ => {
                let waits = !request.approved || self.o.issuer == IssuerState::External;
                let asked = waits.then_some(request.id.created).or(self.o.unapproved);
                let since = asked.map(|asked| self.now.duration_since(asked));
                if let Some(since) = since.filter(|since| *since < PATIENCE) {
                    let left = Duration::try_from(PATIENCE - since);
                    self.plan.sooner(left.unwrap_or_default());
                }
                self.offer_temporary(&request, wanted);
            }
        }
    }

    /// Whether the Secret whose absence has begun the issuance is there, good, and not by it: restored from a backup.
    pub(super) fn is_restored(&self) -> bool {
        let issuing = find(&self.conditions, "Issuing");
        if issuing.and_then(|c| c.reason.as_deref()) != Some("DoesNotExist")
            || policy::trigger(self.o, self.now).is_some()
        {
            return false;
        }
        let key = self.o.secret.as_ref().and_then(|s| s.key.as_ref());
        let public = key.and_then(|key| Some(key.as_ref().ok()?.public));
        let compared = self.next_request().and_then(|r| r.compared.as_ref().ok());
        let ours = compared.map(|c| c.public);
        let ours = ours.into_iter().chain(self.current_key().map(|k| k.public));
        public.is_some_and(|public| ours.into_iter().all(|own| own != public))
    }

    /// Nothing need be issued: what was there before is there again.
    pub(super) fn stand_down(&mut self, wanted: &Wanted) {
        remove_condition(&mut self.conditions, "Issuing");
        self.start_over();
        let secret = &self.o.certificate.spec.secret_name;
        let message = format!(
            "Secret \"{secret}\" has come back with a certificate that will do: nothing is issued"
        );
        let event = Event::normal(ISSUING, "Restored", message);
        self.plan.events.push(event);
        self.settle(wanted);
    }

    /// A request that takes its time, and nothing to serve in the meantime: a temporary certificate, if one
    /// is asked for (contract §4.6).
    fn offer_temporary(&mut self, request: &RequestFact, wanted: &Wanted) {
        let certificate = &self.o.certificate;
        let annotations = certificate.metadata.annotations.as_ref();
        let asked = annotations.and_then(|a| a.get(labels::ISSUE_TEMPORARY_CERTIFICATE_ANNOTATION));
        let asked = asked.is_some_and(|value| value == labels::TRUE);
        if !asked || request.ready.is_none() || !policy::lacks_pair(self.o) {
            return;
        }
        let Ok(compared) = &request.compared else {
            return;
        };
        let recipe = match wanted.outputs.complete(&self.o.passwords) {
            Ok(recipe) => recipe,
            Err(problem) => return self.say_password(&problem),
        };
        let duration = certificate.spec.duration.as_deref();
        let duration = duration.and_then(|text| parse_go_duration(text).ok());
        self.plan.effect = Some(Effect::Temporary {
            name: self.key_name(),
            encoding: wanted.encoding,
            public: compared.public,
            params: Box::new(wanted.params.clone()),
            duration: duration.unwrap_or(DEFAULT_DURATION),
            recipe: Box::new(recipe),
            stores_version: self.o.stores_version,
        });
    }

    /// Write the target Secret for the time being: no issuer stands for it.
    pub(super) fn hold_place(&mut self, data: SecretData) {
        let Ok(chain) = parse_chain(&data.certificate) else {
            return;
        };
        let Some(leaf) = chain.first() else { return };
        self.apply(None, leaf, data);
        let message = "Issued temporary certificate";
        self.plan
            .events
            .push(Event::normal(ISSUING, "Issuing", message));
    }

    /// A request of another spec, another key, or an earlier failure.
    pub(super) fn is_useless(&self, request: &RequestFact, key: Option<&KeyFact>) -> bool {
        let Ok(compared) = &request.compared else {
            return true;
        };
        let known = key.is_some_and(|k| k.public == compared.public);
        // The key of a failed or denied request may be gone already: its answer still counts.
        let refused = request.denied.is_some()
            || request.is_stalled()
            || (request.is_final() && request.ready_reason() != "Issued");
        if !policy::request_differences(self.o, request).is_empty() || !(known || refused) {
            return true;
        }
        // Not every answer that is of no use comes with a failure time. A refusal has the time of its
        // condition; what this Certificate found fault with, the time when it counted that.
        let refusal = request.denied.as_ref().or(request.invalid.as_ref());
        let refusal = refusal.and_then(|c| c.last_transition_time.as_ref().map(|t| t.0));
        let answered = request.failure_time.or(refusal);
        let counted = self.o.status().last_failure_time.as_ref().map(|t| t.0);
        let counted = counted.filter(|counted| request.id.created <= *counted);
        if refused
            && let Some(counted) = counted
            && answered.is_none_or(|answered| answered <= counted)
        {
            // Whoever wants another attempt may have another clock, or name no time.
            return true;
        }
        let since = find(&self.conditions, "Issuing").and_then(|c| c.last_transition_time.as_ref());
        let failed = answered.or(counted);
        matches!((failed, since), (Some(failed), Some(since)) if failed < since.0)
    }

    /// The key is there: store it, if an outside CA will be asked, and create the request.
    pub(super) fn request(&mut self, csr: &str, key: Option<&[u8]>) {
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
        let mut made = budget::made(self.o, self.now);
        // The first counts itself, without a list.
        let exempt = self.is_exempt();
        if !made.is_empty() && !exempt {
            let generation = certificate.metadata.generation.unwrap_or_default();
            let at = Timestamp::from_millisecond(self.now.as_millisecond()).unwrap_or(self.now);
            made.insert(Made { at, generation });
        }
        let rotates = budget::is_of_rotation(self.o, policy::trigger(self.o, self.now).as_ref());
        let listed = (!made.is_empty() || rotates).then_some(&made);
        let mut request = certificate_request(certificate, revision, &name, csr, listed, prefixes);
        if let Some(version) = &self.o.issuer_version {
            let annotations = request.metadata.annotations.get_or_insert_default();
            annotations.insert(labels::ISSUER_SEEN_ANNOTATION.into(), version.clone());
        }
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
    pub(super) fn answer(&mut self, request: &RequestFact, wanted: &Wanted) {
        let Some(body) = request.object() else {
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
                let public = public_digest(leaf.public_key_der());
                let asked = request.compared.as_ref().map(|c| c.public);
                if asked != Ok(public) {
                    let asked = asked.unwrap_or_default();
                    Some(misplaced(&chain, asked).unwrap_or_else(|| {
                        "the issuer returned a certificate for another public key".to_owned()
                    }))
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
        let recipe = match wanted.outputs.complete(&self.o.passwords) {
            Ok(recipe) => recipe,
            Err(problem) => return self.wait_for_password(&problem),
        };
        let status = body.status.as_ref();
        let ca = status.and_then(|s| s.ca.as_ref()).map(|ca| ca.0.clone());
        self.plan.effect = Some(Effect::LoadKey {
            name: self.key_name(),
            encoding: wanted.encoding,
            public: asked.public,
            certificate: chain.map(|c| c.0.clone()).unwrap_or_default(),
            ca: self.with_roots(ca.filter(|ca| !ca.is_empty())),
            recipe: Box::new(recipe),
            stores_version: self.o.stores_version,
        });
    }

    /// What the issuer said, and during a rotation of its CA all that clients are to trust.
    fn with_roots(&self, ca: Option<Vec<u8>>) -> Option<Vec<u8>> {
        let Some(rotation) = &self.o.rotation else {
            return ca;
        };
        Some(merged(&rotation.roots, &ca.unwrap_or_default()).into_bytes())
    }

    /// The certificate is there and stays in its request until the password is: a Secret is never
    /// written without its keystores.
    fn wait_for_password(&mut self, problem: &str) {
        self.say_waiting(&Verdict::new(Code::KEYSTORE_PASSWORD, problem));
        self.say_password(problem);
    }

    pub(super) fn say_password(&mut self, problem: &str) {
        self.plan.events.push(Event::warning(
            ISSUING,
            "KeystorePasswordSecretNotFound",
            problem,
        ));
    }

    /// Write the target Secret in one piece, then the status, then clean up.
    pub(super) fn issue(&mut self, data: SecretData) {
        let Some(request) = self.next_request().cloned() else {
            return;
        };
        let Ok(chain) = parse_chain(&data.certificate) else {
            return;
        };
        let Some(leaf) = chain.first() else { return };
        let message = self.up_to_date(&leaf.into(), Some(&request));
        self.apply(Some(&request.issuer), leaf, data);
        let generation = self.o.certificate.metadata.generation;
        self.set(condition("Ready", true, "Ready", message, generation));
        remove_condition(&mut self.conditions, "Issuing");
        self.put("revision", json!(self.o.next_revision()));
        self.put("notBefore", json!(seconds(leaf.not_before())));
        self.put("notAfter", json!(seconds(leaf.not_after())));
        let spec = &self.o.certificate.spec;
        let due = renewal(spec, leaf.not_before(), leaf.not_after(), None);
        let due = due.map_or(Value::Null, |due| json!(seconds(due.at)));
        self.put("renewalTime", due);
        self.clear([
            "acme",
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

    pub(super) fn apply(
        &mut self,
        issuer: Option<&IssuerReference>,
        leaf: &ParsedCertificate,
        data: SecretData,
    ) {
        let found = self.o.secret.as_deref();
        let owned = self.settings.enable_certificate_owner_ref;
        let mut secret = target(&self.o.certificate, issuer, leaf, data, found, owned);
        if self.o.secret.is_none() {
            // It may have been restored a moment ago, and no informer has shown it yet.
            secret.metadata.resource_version = Some(NO_VERSION.into());
        }
        self.plan
            .actions
            .push(Action::ApplySecret(Box::new(SecretObject(secret))));
    }

    /// The Secret lost labels, annotations or entries that the Certificate asks for: put them back.
    pub(super) fn repair(&mut self, data: SecretData) {
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
    pub(super) fn start_over(&mut self) {
        if let Some(request) = self.next_request() {
            self.after.push(Action::Delete(
                Target::CertificateRequest,
                request.id.clone(),
            ));
        }
    }

    /// The library refuses what the check of the spec has let through.
    pub(super) fn unbuildable(&mut self, problem: &str) {
        let message = format!("Failed to build the certificate request: {problem}");
        self.fail("RequestFailed", Some(&message));
    }

    /// Key and certificate are there, and cannot be put into the form that is asked for.
    pub(super) fn unmakable(&mut self, problem: &str) {
        let message = format!("Failed to make the keystores of the Secret: {problem}");
        if find(&self.conditions, "Issuing").is_some_and(|c| c.status == "True") {
            return self.fail("OutputsFailed", Some(&message));
        }
        self.plan
            .events
            .push(Event::warning(ISSUING, "OutputsFailed", message));
    }

    pub(super) fn fail(&mut self, reason: &str, message: Option<&str>) {
        let attempts = self.o.status().failed_issuance_attempts.unwrap_or_default();
        let attempts = attempts.saturating_add(1);
        let message = message.unwrap_or_default();
        let message = format!("{FAILED}{message}");
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
}

/// That the certificate for this public key is in the chain, and not at its beginning.
fn misplaced(chain: &[ParsedCertificate], public: u64) -> Option<String> {
    let is_it = |c: &ParsedCertificate| public_digest(c.public_key_der()) == public;
    let place = chain.iter().position(is_it)?;
    Some(format!(
        "the issuer returned its chain in the wrong order: the certificate has to come first, and is number {}",
        place + 1
    ))
}
