//! CertificateRevocations that annotations of a Certificate ask for.

use super::Step;
use crate::api::labels;
use crate::controllers::action::{Action, Event, Object};
use crate::controllers::digest::{DIGITS, short};
use crate::controllers::revocation::{compromise_order, compromised_key, standing_order};

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

    /// Have the certificates revoked whose key is compromised, if its annotation says so: once for each key.
    pub(super) fn have_revoked(&mut self) {
        let annotation = labels::KEY_COMPROMISED_ANNOTATION;
        let certificate = &self.o.certificate;
        let stored = self.o.leaf().map(|leaf| leaf.public);
        let named = stored.map(|public| format!("{annotation}={public:0DIGITS$x}"));
        let problem = match (compromised_key(certificate), named) {
            (None, _) | (Some(Ok(_)), None) => return,
            (Some(Ok(_)), _) if self.o.is_reported => return,
            (Some(Ok(key)), _) if stored == Some(short(&key)) => {
                let order = Object::Revocation(compromise_order(certificate, &key));
                return self.after.push(Action::Ensure(Box::new(order)));
            }
            (Some(Ok(key)), Some(named)) => format!(
                "annotation {annotation}: the private key {key} is not the one in the Secret, so that nothing is revoked; of \
                 that one say {named}"
            ),
            (Some(Err(value)), Some(named)) => format!(
                "annotation {annotation}: \"{value}\" names no private key, and what it is meant to be about could change: of \
                 the one that is in the Secret now say {named}"
            ),
            (Some(Err(value)), None) => format!(
                "annotation {annotation}: \"{value}\" names no private key: say the SHA-256 of its public key in hex"
            ),
        };
        let event = Event::warning("everleaf", "InvalidAnnotation", problem);
        self.plan.events.push(event);
    }
}
