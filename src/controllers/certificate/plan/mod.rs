//! One plan for one Certificate: trigger, private key, request, issuance, readiness and history
//! (contract §4.2 to §4.7).

mod deviations;
mod issue;
mod key;
mod renewal_info;
mod revocations;
mod settle;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use issue::FAILED;

use super::budget;
use super::policy::{self, Violation};
use super::renewal::{failure_delay, fresh_delay, refused_delay};
use super::request::{Invalid, Wanted};
use super::{Effect, Observation, Outcome, Settings};
use crate::api::meta::Condition;
use crate::controllers::action::{Action, Event, Plan, patch_status};
use crate::controllers::facts::{Identity, RequestFact};
use crate::controllers::key::Kind;
use crate::controllers::status::{condition, find, remove_condition, set_condition};
use crate::explain::{Code, Verdict, acme_failure_may_pass, quoted};

/// When to look again at what was only looked at.
const AGAIN: Duration = Duration::from_secs(1);

const TRIGGER: &str = "cert-manager-certificates-trigger";
const READINESS: &str = "cert-manager-certificates-readiness";
const KEYS: &str = "cert-manager-certificates-key-manager";
const REQUESTS: &str = "cert-manager-certificates-request-manager";
const ISSUING: &str = "cert-manager-certificates-issuing";

/// What the Ready condition says when it is true.
const UP_TO_DATE: &str = "Certificate is up to date and has not expired";

/// Plan the next step of a Certificate.
pub fn plan(o: &Observation, settings: &Settings, now: Timestamp) -> Plan<Effect> {
    let mut step = Step::new(o, settings, now);
    if o.certificate.metadata.deletion_timestamp.is_some() {
        return Plan::idle();
    }
    step.decide();
    step.have_stood_by();
    step.have_revoked();
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
        Outcome::Loaded(data) => step.issue(data),
        Outcome::Temporary(data) => step.hold_place(data),
        Outcome::Unmakable(problem) => step.unmakable(&problem),
        // What was seen is noted; the next plan goes on from there.
        Outcome::Sound if step.has_roots_due() => step.plan.sooner(AGAIN),
        Outcome::Sound => {}
        Outcome::Repaired(data) => step.repair(data),
        Outcome::KeyLost => step.start_over(),
        Outcome::Unbuildable(problem) => step.unbuildable(&problem),
        Outcome::Heard(heard) => return renewal_info::absorb(o, settings, &heard, now),
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
        if self.follow(&wanted) {
            return;
        }
        let issuing = find(&self.conditions, "Issuing").is_some_and(|c| c.status == "True");
        if issuing && self.is_restored() {
            self.stand_down(&wanted);
        } else if issuing {
            self.proceed(&wanted);
        } else if let Some(violation) = policy::trigger(self.o, self.now) {
            self.trigger(&violation, &wanted);
        } else {
            self.settle(&wanted);
        }
    }

    /// Another Certificate has the Secret: write nothing but why, and end what was begun for it.
    fn yield_to(&mut self, rival: &str) {
        if find(&self.conditions, "Issuing").is_some_and(|c| c.status == "True") {
            remove_condition(&mut self.conditions, "Issuing");
            self.clear(["nextPrivateKeySecretName"]);
            self.start_over();
        }
        self.discard_keys(None);
        let secret = &self.o.certificate.spec.secret_name;
        let mut why = policy::readiness(self.o, self.now).unwrap_or(Violation {
            reason: "IncorrectCertificate",
            message: format!("Secret \"{secret}\" belongs to Certificate \"{rival}\""),
        });
        let note = format!(
            "Certificate \"{rival}\" has spec.secretName \"{secret}\" too and keeps it; give this one a \
             Secret of its own."
        );
        let note = Verdict::new(Code::SECRET_SHARED, note);
        why.message = joined(&why.message, &note.to_string());
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
        if let Some(missed) = policy::missed_windows(self.o)
            && violation.reason == "Renewing"
        {
            let message =
                format!("Renewing certificate without satisfying renewal windows due to {missed}");
            self.plan
                .events
                .push(Event::warning(TRIGGER, "WindowError", message));
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
        // That there is no certificate yet is no news.
        if violation.reason != "DoesNotExist" || self.settings.verbose_events {
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
        let why = Verdict::new(
            Code::SPEC_INVALID,
            format!("{}: {}", invalid.field, invalid.problem),
        );
        let unmet = Violation {
            reason: "InvalidSpec",
            message: joined(&why.to_string(), &found),
        };
        remove_condition(&mut self.conditions, "Issuing");
        self.ready(Some(&unmet), None);
        if self.settle_times().is_some() {
            // What was said of it, perhaps by one that can do what is asked for, stands.
            self.status.remove("renewalTime");
        }
        self.clear(["nextPrivateKeySecretName"]);
        self.discard_keys(None);
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
        let delay = if self.may_pass() {
            let leaf = self.o.leaf().filter(|leaf| leaf.not_after > failed);
            refused_delay(attempts, leaf.map(|leaf| between(failed, leaf.not_after)))
        } else {
            failure_delay(
                attempts,
                self.settings.min_backoff,
                self.settings.max_backoff,
            )
        };
        let delay = if self.o.cause_ended(request.map(AsRef::as_ref), began) {
            delay.min(fresh_delay(attempts))
        } else {
            delay
        };
        failed.checked_add(delay).ok()
    }

    /// Whether the last attempt failed at an ACME CA for something that may pass by itself. Who has set the flags wants
    /// what they say.
    fn may_pass(&self) -> bool {
        let failed = find(&self.conditions, "Issuing").filter(|c| !c.is_true());
        let why = failed.and_then(|c| c.message.as_deref());
        !self.settings.is_backoff_set && why.is_some_and(acme_failure_may_pass)
    }

    /// Whether this is a renewal whose time has come, or one because of another CA: the budget is not for them.
    fn is_exempt(&self) -> bool {
        let why = policy::trigger(self.o, self.now);
        budget::is_on_schedule(self.o, why.as_ref(), self.now)
            || budget::is_of_rotation(self.o, why.as_ref())
    }

    /// Whether another request has to wait, for the budget or for those that are open; says so, and looks again when there
    /// is room.
    fn is_spent(&mut self) -> bool {
        let generation = self.o.certificate.metadata.generation.unwrap_or_default();
        let made = budget::made(self.o, self.now);
        let spent = budget::check(self.settings.budget, &made, generation, self.now);
        let why = if let Some(spent) = spent.filter(|_| !self.is_exempt()) {
            self.plan.sooner(between(self.now, spent.until));
            let writer = self.o.secret.as_ref().and_then(|s| s.other_writer.as_ref());
            let text = spent.text(writer.map(AsRef::as_ref));
            Some(("RequestBudgetSpent", text))
        } else {
            budget::too_many_open(self.o).map(|text| ("RequestsOpen", text))
        };
        let Some((reason, text)) = why else {
            self.say_no_waiting();
            return false;
        };
        if let Some(message) = self.say_waiting(&Verdict::new(Code::BUDGET_SPENT, text)) {
            let event = Event::warning(TRIGGER, reason, message);
            self.plan.events.push(event);
        }
        true
    }

    /// What an issuance waits for, in both conditions: one that renews what is still good shows it nowhere else. The
    /// message of Issuing, if it is a new one.
    fn say_waiting(&mut self, why: &Verdict) -> Option<String> {
        if let Some(unmet) = policy::readiness(self.o, self.now) {
            let message = budget::note(&unmet.message, why);
            self.ready(Some(&Violation { message, ..unmet }), None);
        }
        let issuing = find(&self.conditions, "Issuing")?.clone();
        let message = budget::note(issuing.message.as_deref().unwrap_or_default(), why);
        if issuing.message.as_deref() == Some(&message) {
            return None;
        }
        self.set(Condition {
            message: Some(message.clone()),
            ..issuing
        });
        Some(message)
    }

    fn say_no_waiting(&mut self) {
        if let Some(issuing) = find(&self.conditions, "Issuing").cloned() {
            let message = issuing.message.as_deref().map(budget::unnoted);
            let message = message.map(ToOwned::to_owned);
            self.set(Condition { message, ..issuing });
        }
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
        let mut new = match violation {
            None => {
                let mut message = UP_TO_DATE.to_owned();
                if self.o.secret.as_ref().is_some_and(|s| s.is_temporary()) {
                    let note = "It is a temporary one, which no client trusts, until the issuer has signed";
                    let note = Verdict::new(Code::TEMPORARY, note).to_string();
                    let notes = std::iter::once(&note).chain(&self.o.cause);
                    message = notes.fold(message, |all, note| joined(&all, note));
                } else if let Some(leaf) = self.o.leaf() {
                    message = self.up_to_date(leaf, self.o.current_request());
                }
                if let Some(note) = self.chosen_by_ca() {
                    message = joined(&message, &note);
                }
                condition("Ready", true, "Ready", message, generation)
            }
            Some(violation) => {
                let mut message = violation.message.clone();
                if let Some(cause) = &self.o.cause {
                    message = joined(&message, cause);
                } else if let Some(useless) = next.and_then(|_| self.useless_answer()) {
                    message = joined(&message, &useless.to_string());
                }
                if let Some(next) = next {
                    let note =
                        format!("Next attempt at {next:.0}, or as soon as the cause has changed.");
                    message = joined(&message, &note);
                }
                condition("Ready", false, violation.reason, message, generation)
            }
        };
        if let Some(note) = self.refused() {
            let message = new.message.unwrap_or_default();
            new.message = Some(joined(&message, &note));
        }
        self.set(new);
    }

    /// That the API server refuses a write: whatever else is right, it keeps the Certificate from being renewed.
    fn refused(&mut self) -> Option<String> {
        let words = self.o.refused.as_ref()?.trim_end_matches('.');
        let text =
            format!("The API server refuses to {words}. It is tried again until that is allowed");
        let note = Verdict::new(Code::WRITE_REFUSED, text).to_string();
        let said = find(&self.conditions, "Ready").and_then(|c| c.message.as_deref());
        if !said.is_some_and(|said| said.contains(&note)) {
            let is_issuing = find(&self.conditions, "Issuing").is_some_and(Condition::is_true);
            let event = if is_issuing && self.next_request().is_none() {
                Event::warning(REQUESTS, "RequestFailed", &note)
            } else {
                Event::warning(ISSUING, "WriteRefused", &note)
            };
            self.plan.events.push(event);
        }
        Some(note)
    }

    /// Why what the issuer returned last was of no use.
    fn useless_answer(&self) -> Option<Verdict> {
        let failed = find(&self.conditions, "Issuing")
            .filter(|c| c.reason.as_deref() == Some("InvalidCertificate"))?;
        let why = failed.message.as_deref()?.strip_prefix(FAILED)?;
        let text = format!("The last attempt failed: {why}");
        Some(Verdict::new(Code::ANSWER_USELESS, text))
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

/// That another than the first of the issuers in order has signed a request, and why.
fn fallback(request: &RequestFact) -> Option<Verdict> {
    let ready = request.ready.as_ref()?;
    let (code, text) = quoted(ready.message.as_deref()?)?;
    (code == Code::ORDERED_FALLBACK).then(|| Verdict::new(code, text))
}

/// Two sentences.
fn joined(first: &str, second: &str) -> String {
    let stop = if first.ends_with('.') { "" } else { "." };
    format!("{first}{stop} {second}")
}

fn between(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or_default()
}
