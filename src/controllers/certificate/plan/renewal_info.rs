//! Renewal information (RFC 9773): when the CA is asked, and what of its answers is written down.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::{AGAIN, READINESS, Step, between};
use crate::acme::RenewalInfo;
use crate::api::certificate::{CertificateAriStatus, CertificateAriWindow};
use crate::controllers::action::{Event, Plan};
use crate::controllers::certificate::policy;
use crate::controllers::certificate::renewal::By;
use crate::controllers::certificate::suggestion::{STALE, absurdity, is_missed, noted};
use crate::controllers::certificate::{Asking, Effect, Observation, Settings};
use crate::controllers::facts::LeafFact;
use crate::controllers::polls::{Answer, Heard};
use crate::controllers::status::seconds;

impl Step<'_> {
    /// Ask the CA, if it is time: not before the first answer is stored, never about a certificate that has
    /// expired, and only about one that came from this issuer.
    pub(super) fn ask_ca(&mut self) {
        let o = self.o;
        let next = match o.asking {
            Asking::On(next) => next,
            Asking::Idle => return,
            // What was said while it was asked is of no use any more.
            Asking::Off => return self.clear(["acme"]),
        };
        let wanted = &o.certificate.spec.issuer_ref;
        let Some(secret) = o.secret.as_ref().filter(|secret| secret.is_from(wanted)) else {
            return;
        };
        let Some(issuer) = o.signer.clone() else {
            return;
        };
        let Some((leaf, id)) = o.leaf().and_then(|leaf| Some((leaf, leaf.id.clone()?))) else {
            return;
        };
        if leaf.not_after <= self.now || secret.is_temporary() || o.renewal_of(leaf).is_none() {
            return;
        }
        let stored = noted(o.status(), leaf).and_then(|noted| noted.next_check.as_ref());
        let next = next.or(stored.map(|time| time.0)).unwrap_or(self.now);
        if next > self.now {
            self.plan.sooner(between(self.now, next));
        } else if self.is_at_rest() {
            self.plan.effect = Some(Effect::AskCa { issuer, id });
        } else {
            self.plan.sooner(AGAIN);
        }
    }

    /// Nothing is written by this plan: what is written of the answer goes onto the version that was seen.
    fn is_at_rest(&self) -> bool {
        self.plan.effect.is_none()
            && self.plan.actions.is_empty()
            && self.after.is_empty()
            && self.status.is_empty()
            && self.conditions == self.o.conditions()
    }

    /// When it is renewed, if the CA has a say in that.
    pub(super) fn chosen_by_ca(&self) -> Option<String> {
        let due = self.o.renewal_of(self.o.leaf()?)?;
        let suggestion = self.o.suggestion().filter(|_| due.by == By::Window)?;
        let words = format!("It renews at {:.0}, as the CA suggests", due.at);
        Some(suggestion.verdict(&words).to_string())
    }
}

/// Write down what was heard, if it says something new; with it, when the renewal is due.
pub(super) fn absorb(
    o: &Observation,
    settings: &Settings,
    heard: &Heard,
    now: Timestamp,
) -> Plan<Effect> {
    let again = Plan::wait(between(now, heard.next));
    let Some(leaf) = o.leaf() else { return again };
    let old = noted(o.status(), leaf).cloned();
    let Some(new) = news(old.as_ref(), leaf, heard, now) else {
        return again;
    };
    let mut after = o.clone();
    let certificate = std::sync::Arc::make_mut(&mut after.certificate);
    let acme = certificate
        .status
        .get_or_insert_default()
        .acme
        .get_or_insert_default();
    acme.ari = Some(new.clone());
    let mut step = Step::new(&after, settings, now);
    step.plan = again;
    step.put("acme", json!({ "ari": patch(&new) }));
    step.ready(policy::readiness(&after, now).as_ref(), None);
    step.settle_times();
    let error = new
        .last_error
        .filter(|error| old.is_none_or(|old| old.last_error.as_ref() != Some(error)));
    if let Some(error) = error {
        step.plan
            .events
            .push(Event::warning(READINESS, "ARIError", error));
    }
    step.finish()
}

/// What the status shall say; `None` if it says it already. That the CA was asked once more is not worth a write, but once
/// a day.
fn news(
    old: Option<&CertificateAriStatus>,
    leaf: &LeafFact,
    heard: &Heard,
    now: Timestamp,
) -> Option<CertificateAriStatus> {
    let next_check = Some(seconds(heard.next));
    let failed = |problem: &str| {
        let old = old.cloned().unwrap_or_default();
        let is_new = old.last_error.as_deref() != Some(problem);
        // A window that is known still counts, and with it the time at which it was named.
        let last_checked = old.last_checked.clone().or(Some(seconds(now)));
        is_new.then(|| CertificateAriStatus {
            last_checked,
            last_error: Some(problem.to_owned()),
            next_check: next_check.clone(),
            ..old
        })
    };
    let info = match &heard.answer {
        Answer::Later | Answer::NotOffered | Answer::Failed(_, false) => return None,
        Answer::Failed(problem, true) => return failed(problem),
        Answer::Given(info) => info,
    };
    if let Some(problem) = absurdity(leaf, (info.start, info.end), now) {
        return failed(&problem);
    }
    let known = old.filter(|old| old.suggested_window.is_some());
    let new = if known.is_none() && is_missed(leaf, info, now) {
        CertificateAriStatus {
            last_checked: Some(seconds(now)),
            next_check,
            ..CertificateAriStatus::default()
        }
    } else {
        let suggested = Some(window(info));
        let same = known.filter(|known| known.suggested_window == suggested && info.end <= now);
        CertificateAriStatus {
            explanation_url: info.explanation_url.clone(),
            // One that was over when it was named is another matter than one that has passed since.
            last_checked: same.map_or(Some(seconds(now)), |known| known.last_checked.clone()),
            last_error: None,
            next_check,
            suggested_window: suggested,
        }
    };
    old.is_none_or(|old| differs(old, &new, now)).then_some(new)
}

/// Whether the new one says more than that it is newer.
fn differs(old: &CertificateAriStatus, new: &CertificateAriStatus, now: Timestamp) -> bool {
    let is_over = new
        .suggested_window
        .as_ref()
        .is_some_and(|window| window.end.0 <= now);
    let checked = old.last_checked.as_ref();
    let is_stale = checked.is_none_or(|time| now.duration_since(time.0) >= STALE);
    old.suggested_window != new.suggested_window
        || old.explanation_url != new.explanation_url
        || old.last_error.is_some()
        || (is_stale && !is_over)
}

/// In whole seconds, and not empty.
fn window(info: &RenewalInfo) -> CertificateAriWindow {
    let fraction = SignedDuration::from_nanos(999_999_999);
    CertificateAriWindow {
        start: seconds(info.start),
        end: seconds(info.end.saturating_add(fraction).unwrap_or(info.end)),
    }
}

/// As a merge patch: what is not said any more goes.
fn patch(new: &CertificateAriStatus) -> Value {
    let fields = ["explanationURL", "lastError", "suggestedWindow"];
    let mut patch: Map<_, _> = fields
        .map(|field| (field.to_owned(), Value::Null))
        .into_iter()
        .collect();
    if let Value::Object(said) = json!(new) {
        patch.extend(said);
    }
    Value::Object(patch)
}
