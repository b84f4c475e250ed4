//! What the certificate in the Secret has otherwise than the spec asks for. The issuer chose it: as with cert-manager, it is
//! used, and not issued again.

use super::{ISSUING, Step, UP_TO_DATE, fallback, joined};
use crate::controllers::action::Event;
use crate::controllers::facts::{LeafFact, RequestFact};
use crate::controllers::matching::spec_names;
use crate::controllers::status::find;
use crate::explain::{Code, Verdict};
use crate::pki::KeyUsages;

impl Step<'_> {
    /// What Ready says of a certificate that will do, and of the request that it is the answer to, if that is there.
    pub(super) fn up_to_date(&mut self, leaf: &LeafFact, request: Option<&RequestFact>) -> String {
        // Without the request nobody knows what the CA was asked for: the spec may have been changed since.
        let usages = request.and_then(|_| self.left_out_usages(leaf));
        let notes = [self.other_names(leaf), usages, request.and_then(fallback)];
        let notes = notes.into_iter().flatten();
        notes.fold(UP_TO_DATE.to_owned(), |all, note| {
            joined(&all, &note.to_string())
        })
    }

    /// Other names, though all else fits: whoever misses a name finds here why.
    fn other_names(&self, leaf: &LeafFact) -> Option<Verdict> {
        (leaf.names != spec_names(&self.o.certificate.spec)).then(|| {
            let text = "The issuer put other names into it than the spec asks for: see the annotations of the Secret";
            Verdict::new(Code::OTHER_NAMES, text)
        })
    }

    /// Fewer extended usages: public CAs give what their rules allow, and a client finds that out when it is refused.
    fn left_out_usages(&mut self, leaf: &LeafFact) -> Option<Verdict> {
        let asked = self.o.certificate.spec.usages.as_deref()?;
        let asked = KeyUsages::from_names(asked, false).ok()?;
        let lacking = leaf.purposes.lacks(&asked);
        if lacking.is_empty() {
            return None;
        }
        let text = format!(
            "The CA has left out usages that spec.usages asks for ({}): for certificates of clients use an issuer of a private \
             CA, or take out what nobody needs",
            lacking.join(", ")
        );
        let note = Verdict::new(Code::USAGES_LEFT_OUT, text);
        let words = note.to_string();
        let said = find(&self.conditions, "Ready").and_then(|c| c.message.as_deref());
        if !said.is_some_and(|said| said.contains(&words)) {
            let event = Event::warning(ISSUING, "UsagesLeftOut", words);
            self.plan.events.push(event);
        }
        Some(note)
    }
}
