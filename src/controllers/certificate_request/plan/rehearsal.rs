//! The rehearsal: once attempts have failed, another issuer, such as one at the CA's staging server, is asked first, and the
//! CA itself only if that one issues (ADR 0020). What cannot be told keeps nothing back.

use jiff::SignedDuration;

use super::{ACME, Step};
use crate::controllers::action::Event;
use crate::controllers::certificate_request::{Child, Rehearsal};
use crate::controllers::ordered_issuer::shown;
use crate::explain::{Code, acme_validation_failed};

/// How long a rehearsal may take before the CA is asked without it.
const LONGEST: SignedDuration = SignedDuration::from_mins(10);

impl Step<'_> {
    /// Whether the CA can be asked: there is no rehearsal, or it is over and did not fail.
    pub(super) fn is_rehearsed(&mut self) -> bool {
        let Some(rehearsal) = self.o.rehearsal.as_deref() else {
            return true;
        };
        match &rehearsal.child {
            None => self.begin(rehearsal),
            Some(child) => self.attend(rehearsal, child),
        }
    }

    fn begin(&mut self, rehearsal: &Rehearsal) -> bool {
        let issuer = rehearsal.issuer.as_deref();
        let problem = match issuer {
            _ if rehearsal.reference.is_same(&self.o.request.issuer) => "it is the issuer itself",
            None => "it does not exist",
            Some(issuer) if issuer.spec.acme.is_none() => "it is of another type than acme",
            Some(issuer) if !issuer.is_ready() => "it is not ready",
            Some(_) => {
                let issuer = shown(&rehearsal.reference);
                let message = format!("{issuer} is asked first, since the last attempts failed");
                self.pending(ACME, "Rehearsal", message);
                self.ask_for(&rehearsal.reference);
                return false;
            }
        };
        self.without(rehearsal, problem)
    }

    fn attend(&mut self, rehearsal: &Rehearsal, child: &Child) -> bool {
        let request = &child.request;
        if request.id.deleting {
            // Its deletion wakes this one.
            return false;
        }
        if request.denied.is_some() || request.invalid.is_some() {
            return self.without(rehearsal, "the request was refused before it was asked");
        }
        match request.ready_reason() {
            "Issued" => true,
            "Failed" => {
                let ready = request.ready.as_ref();
                let why = ready.and_then(|c| c.message.as_deref()).unwrap_or_default();
                if acme_validation_failed(why) {
                    let issuer = shown(&rehearsal.reference);
                    let message = format!("The rehearsal at {issuer} failed: {why}");
                    self.failed(ACME, "RehearsalFailed", &message);
                    return false;
                }
                self.clears_orders([child]) && self.without(rehearsal, why)
            }
            _ => {
                self.watch(child);
                false
            }
        }
    }

    /// It is under way: end it when it is not about the names any more, or takes too long.
    fn watch(&mut self, child: &Child) {
        if let Some(fault) = child.fault() {
            return self.give_up(child, fault.text, fault.code);
        }
        let left = LONGEST - self.now.duration_since(child.request.id.created);
        if left.is_positive() {
            return self.plan.sooner(left.try_into().unwrap_or_default());
        }
        self.give_up(
            child,
            "it has not answered for ten minutes",
            Code::CA_UNABLE,
        );
    }

    /// The CA is asked all the same.
    fn without(&mut self, rehearsal: &Rehearsal, why: &str) -> bool {
        let issuer = shown(&rehearsal.reference);
        let text = format!("No rehearsal at {issuer}: {why}");
        self.plan
            .events
            .push(Event::warning(ACME, "RehearsalSkipped", text));
        true
    }
}
