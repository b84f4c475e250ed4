//! A request of an ordered issuer: a request of the same CSR is made of one of its issuers after the other, never of two
//! at once, and the answer of one is the answer (ADR 0017).

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{ISSUED, Step};
use crate::api::labels::MANAGER_ORDERED_ISSUERS as ORDERED;
use crate::api::meta::IssuerReference;
use crate::controllers::action::{Action, Event, Target};
use crate::controllers::certificate_request::{Child, Ordered};
use crate::controllers::ordered_issuer::{Fitness, Listed, patience, shown};
use crate::controllers::status::{condition, find, remove_condition};
use crate::explain::{Code, ISSUER_FAULT, Verdict, quoted};

/// Holds while the issuer that is asked has a fault of its own; since when it has, is its transition time.
const FAULT: &str = ISSUER_FAULT;

/// Between whom is asked, and why not the one before.
const BECAUSE: &str = " is asked, because ";

/// How long an issuer of which nothing new is known is not asked again by a request that gave it up.
const TRIED_AGAIN: SignedDuration = SignedDuration::from_mins(10);

/// An issuer that has a fault, in words that end in a code.
struct Trouble {
    text: String,
    code: Code,
    /// When the next issuer is asked.
    patient_until: Timestamp,
}

impl Step<'_> {
    pub(super) fn sign_in_order(&mut self) {
        let Some(ordered) = self.o.ordered.as_deref() else {
            let reference = &self.o.request.issuer;
            let message = format!(
                "{} does not exist: create it, or correct spec.issuerRef",
                shown(reference)
            );
            let verdict = Verdict::new(Code::ISSUER_MISSING, message);
            return self.pending(ORDERED, "IssuerNotFound", verdict.to_string());
        };
        let live = ordered.children.iter().find(|child| !child.is_given_up());
        match live {
            Some(child) if child.request.id.deleting => {}
            Some(child) => self.follow_child(ordered, child),
            None => self.ask_next(ordered),
        }
    }

    fn follow_child(&mut self, ordered: &Ordered, child: &Child) {
        let request = &child.request;
        let issuer = shown(&request.issuer);
        let message = request.ready.as_ref().and_then(|c| c.message.as_deref());
        if let Some(refusal) = request.denied.as_ref().or(request.invalid.as_ref()) {
            let why = refusal.message.as_deref().unwrap_or_default();
            return self.failed(ORDERED, "IssuerRefused", &format!("{issuer}: {why}"));
        }
        match request.ready_reason() {
            "Issued" => self.copy(child),
            "Failed" | "Denied" => {
                let why = message.unwrap_or_default();
                self.failed(ORDERED, "IssuerRefused", &format!("{issuer}: {why}"));
            }
            _ => match self.trouble(ordered, child) {
                None => self.changed |= remove_condition(&mut self.conditions, FAULT),
                Some(trouble) => self.bear(ordered, child, &trouble),
            },
        }
    }

    /// The answer of the issuer is the answer.
    fn copy(&mut self, child: &Child) {
        let Some(status) = child.request.object().and_then(|body| body.status.clone()) else {
            return;
        };
        let Some(certificate) = status.certificate else {
            let why = format!("{} returned no certificate", shown(&child.request.issuer));
            return self.failed(ORDERED, "IssuerRefused", &why);
        };
        if let Some(ca) = status.ca.filter(|ca| !ca.0.is_empty()) {
            self.put("ca", json!(ca));
        }
        let asked = find(&self.conditions, "Ready").and_then(|c| c.message.clone());
        let reason = asked.as_deref().and_then(|m| m.split_once(BECAUSE));
        let message = reason.map_or_else(
            || ISSUED.to_owned(),
            |(_, reason)| {
                format!(
                    "Issued by {}, because {reason}",
                    shown(&child.request.issuer)
                )
            },
        );
        remove_condition(&mut self.conditions, FAULT);
        self.issued(ORDERED, &certificate, &message);
    }

    /// What is wrong with the issuer that is asked, if the issuer is to blame.
    fn trouble(&self, ordered: &Ordered, child: &Child) -> Option<Trouble> {
        let reference = &child.request.issuer;
        let listed = ordered
            .listed
            .iter()
            .find(|l| l.reference.is_same(reference));
        let patience = patience(&ordered.fact);
        let fitness = listed.map(|l| l.fitness(patience, child.request.id.created, self.now));
        let Some(fault) = child.fault() else {
            return unready(listed, fitness?, self.now);
        };
        let began = find(&self.conditions, FAULT).and_then(|c| c.last_transition_time.as_ref());
        let began = began.map_or(self.now, |t| t.0);
        let patient_until = match fault.until {
            // What is known to end in time is waited for.
            Some(until) if !self.outlasts(ordered, until, patience) => until,
            // Others have had the patience already.
            _ if matches!(fitness, Some(Fitness::Unfit(..))) => self.now,
            _ => began.checked_add(patience).unwrap_or(self.now),
        };
        Some(Trouble {
            text: fault.text.to_owned(),
            code: fault.code,
            patient_until,
        })
    }

    /// Whether a limit lasts for too long: half of what the certificate has left, or without one the patience.
    fn outlasts(&self, ordered: &Ordered, until: Timestamp, patience: SignedDuration) -> bool {
        let left = ordered.not_after.map(|end| end.duration_since(self.now));
        let most = left.map_or(patience, |left| (left / 2).max(patience));
        until.duration_since(self.now) > most
    }

    /// The issuer has a fault: wait a while for its end, then give it up for the next one, if that one can sign.
    fn bear(&mut self, ordered: &Ordered, child: &Child, trouble: &Trouble) {
        let issuer = shown(&child.request.issuer);
        let text = format!("{issuer} cannot sign: {}", trouble.text);
        // What the issuer says of itself may have a code already.
        let text = match quoted(&text) {
            Some(_) => text,
            None => Verdict::new(trouble.code, text).to_string(),
        };
        if find(&self.conditions, FAULT).is_none() {
            let event = Event::warning(ORDERED, FAULT, &text);
            self.plan.events.push(event);
        }
        self.set(condition(FAULT, true, "CaFault", text, None));
        let tried = ordered.tried().chain([&child.request.issuer]);
        let tried: Vec<_> = tried.collect();
        if !matches!(self.next(ordered, &tried), Next::Ask(_)) {
            return;
        }
        if trouble.patient_until > self.now {
            let left = trouble.patient_until.duration_since(self.now);
            return self.plan.sooner(left.try_into().unwrap_or_default());
        }
        self.give_up(child, &trouble.text, trouble.code);
    }

    /// No request is under way: make one of the best issuer that can sign.
    fn ask_next(&mut self, ordered: &Ordered) {
        if !self.clears_orders(&ordered.children) {
            return;
        }
        let tried: Vec<_> = ordered.tried().collect();
        match self.next(ordered, &tried) {
            Next::Ask(listed) => self.ask(ordered, listed),
            Next::Wait(until, listed) => {
                let left = until.duration_since(self.now);
                self.plan.sooner(left.try_into().unwrap_or_default());
                let message = format!("{} is not ready yet", shown(&listed.reference));
                let verdict = Verdict::new(Code::ISSUER_NOT_READY, message);
                self.pending(ORDERED, "IssuerNotReady", verdict.to_string());
            }
            Next::None => self.none(ordered),
        }
    }

    fn next<'a>(&self, ordered: &'a Ordered, tried: &[&IssuerReference]) -> Next<'a> {
        let patience = patience(&ordered.fact);
        let made = self.o.request.id.created;
        for listed in &ordered.listed {
            if tried.iter().any(|tried| tried.is_same(&listed.reference)) {
                continue;
            }
            match listed.fitness(patience, made, self.now) {
                Fitness::Fit => return Next::Ask(listed),
                Fitness::Undecided(until) => return Next::Wait(until, listed),
                Fitness::Unfit(..) => {}
            }
        }
        Next::None
    }

    /// Nobody is left who can sign. One that was given up may be able to again.
    fn none(&mut self, ordered: &Ordered) {
        let patience = patience(&ordered.fact);
        let made = self.o.request.id.created;
        let again = ordered.listed.iter().find_map(|listed| {
            let mut children = ordered.children.iter();
            let child = children.find(|c| c.request.issuer.is_same(&listed.reference))?;
            let is_fit = listed.fitness(patience, made, self.now) == Fitness::Fit;
            (is_fit && self.has_recovered(listed, child)).then_some(child)
        });
        if let Some(child) = again {
            let id = child.request.id.clone();
            return self
                .after
                .push(Action::Delete(Target::CertificateRequest, id));
        }
        let reasons = ordered
            .listed
            .iter()
            .map(|listed| self.reason(ordered, listed));
        let reasons: Vec<_> = reasons.flatten().collect();
        let message = format!("None of the issuers can sign: {}", reasons.join("; "));
        let verdict = Verdict::new(Code::ORDERED_NONE, message);
        self.pending(ORDERED, "NoneFit", verdict.to_string());
        self.plan.sooner(AGAIN);
    }

    /// Whether an issuer that is fit now may have become so since it was given up.
    fn has_recovered(&self, listed: &Listed, child: &Child) -> bool {
        let Some(failed) = child.request.failure_time else {
            return true;
        };
        if let Some(until) = child.end().and_then(|fault| fault.until) {
            return until <= self.now;
        }
        let since = listed.known.as_ref().and_then(|known| known.since.as_ref());
        let was_seen = since.is_some_and(|since| since.0 > failed);
        was_seen || self.now.duration_since(failed) > TRIED_AGAIN
    }

    /// Why an issuer is not asked, and since when.
    fn reason(&self, ordered: &Ordered, listed: &Listed) -> Option<String> {
        let issuer = shown(&listed.reference);
        let child = ordered
            .children
            .iter()
            .find(|child| child.is_given_up() && child.request.issuer.is_same(&listed.reference));
        if let Some(child) = child {
            let why = child.end()?.text;
            let why = why.split_once(" cannot sign: ").map_or(why, |(_, why)| why);
            let since = child.request.failure_time?;
            return Some(format!("{issuer} cannot sign, since {since}: {why}"));
        }
        let made = self.o.request.id.created;
        match listed.fitness(patience(&ordered.fact), made, self.now) {
            Fitness::Unfit(since, why) => {
                Some(format!("{issuer} cannot sign, since {since:.0}: {why}"))
            }
            Fitness::Fit | Fitness::Undecided(_) => None,
        }
    }

    fn ask(&mut self, ordered: &Ordered, listed: &Listed) {
        let before = ordered.listed.iter();
        let before = before.take_while(|l| !l.reference.is_same(&listed.reference));
        let reasons = before.filter_map(|listed| self.reason(ordered, listed));
        let reasons: Vec<_> = reasons.collect();
        let issuer = shown(&listed.reference);
        let message = if reasons.is_empty() {
            format!("{issuer} is asked")
        } else {
            let text = format!("{issuer}{BECAUSE}{}", reasons.join("; "));
            self.plan
                .events
                .push(Event::warning(ORDERED, "Fallback", &text));
            Verdict::new(Code::ORDERED_FALLBACK, text).to_string()
        };
        self.changed |= remove_condition(&mut self.conditions, FAULT);
        self.set(condition("Ready", false, "Pending", message, None));
        self.ask_for(&listed.reference);
    }
}

/// Whose turn it is.
enum Next<'a> {
    /// This one's.
    Ask(&'a Listed),
    /// This one's, if it becomes able to sign until then.
    Wait(Timestamp, &'a Listed),
    /// Nobody's.
    None,
}

/// When to look again if nobody can sign.
const AGAIN: Duration = Duration::from_mins(1);

/// An issuer that became unable to sign with the request under way.
fn unready(listed: Option<&Listed>, fitness: Fitness, now: Timestamp) -> Option<Trouble> {
    let listed = listed?;
    let code = match listed.issuer {
        Some(_) => Code::ISSUER_NOT_READY,
        None => Code::ISSUER_MISSING,
    };
    let (text, patient_until) = match fitness {
        // One that is marked as faulty and has not failed here may do.
        Fitness::Fit => return None,
        Fitness::Unfit(..) if listed.issuer.as_ref().is_some_and(|i| i.is_ready()) => return None,
        Fitness::Unfit(_, why) => (why, now),
        Fitness::Undecided(until) => ("it is not ready".to_owned(), until),
    };
    Some(Trouble {
        text,
        code,
        patient_until,
    })
}

impl Ordered {
    /// The issuers that were asked and given up.
    fn tried(&self) -> impl Iterator<Item = &IssuerReference> {
        let given_up = self.children.iter().filter(|child| child.is_given_up());
        given_up.map(|child| &child.request.issuer)
    }
}
