//! CertificateRevocations that annotations of a Certificate ask for.

use super::Step;
use crate::api::labels;
use crate::controllers::action::{Action, Event, Object};
use crate::controllers::revocation::{compromise_order, compromised_revision, standing_order};

impl Step<'_> {
    /// Have a revocation wait for the deletion of this Certificate, if it asks for that.
    pub(super) fn have_stood_by(&mut self) {
        let asked = standing_order(&self.o.certificate).filter(|_| !self.o.is_stood_by);
        match asked {
            None => {}
            Some(Ok(order)) => self
                .after
                .push(Action::Ensure(Box::new(Object::Revocation(order)))),
            Some(Err(problem)) => {
                let event = Event::warning("everleaf", "InvalidAnnotation", problem);
                self.plan.events.push(event);
            }
        }
    }

    /// Have the certificates revoked whose key is compromised, if its annotation says so: once for each revision.
    pub(super) fn have_revoked(&mut self) {
        let problem = match compromised_revision(&self.o.certificate) {
            None => return,
            Some(Ok(_)) if self.o.is_reported => return,
            Some(Ok(revision)) => match self.o.has_key_of(revision) {
                Some(false) => return,
                Some(true) => {
                    let order = compromise_order(&self.o.certificate, revision);
                    let order = Object::Revocation(order);
                    return self.after.push(Action::Ensure(Box::new(order)));
                }
                None => format!(
                    "annotation {}: whether the key of revision {revision} is still the one in the Secret is not known any \
                     more; if it is, say the revision of now: {}",
                    labels::KEY_COMPROMISED_ANNOTATION,
                    self.o.next_revision() - 1
                ),
            },
            Some(Err(problem)) => problem,
        };
        let event = Event::warning("everleaf", "InvalidAnnotation", problem);
        self.plan.events.push(event);
    }
}
