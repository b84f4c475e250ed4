//! Certificates.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{Driver, Ended, Failure};
use crate::controllers::certificate::{self, IssuerState};
use crate::controllers::facts::RequestFact;
use crate::controllers::key::Key;
use crate::controllers::polls::{Heard, Subject};
use crate::runtime::clock::{monotonic, now};
use crate::runtime::effects::EffectError;

/// Since when which write of a Certificate is refused, and in which words.
pub type Refusals = Mutex<HashMap<Key, (Instant, String)>>;

/// Time in which other words about a write that is refused are no news.
const SILENCE: Duration = Duration::from_mins(1);

/// When to look again at what has just changed.
const SOON: Duration = Duration::from_secs(1);

impl Driver {
    pub(super) async fn certificate(&self, key: &Key, ended: &mut Ended) -> Result<(), Failure> {
        let settings = &self.settings.certificate;
        let Some(mut seen) = certificate::observe(&self.reader, key, settings, now()).await? else {
            self.reader.keys.forget(&key.namespace, &key.name);
            self.reader.checked.forget(&key.namespace, &key.name);
            self.reader.trusting.forget(&key.namespace, &key.name);
            self.reader.polls.forget(&key.namespace, &key.name);
            self.refusals.lock().remove(key);
            return Ok(());
        };
        let refused = |(_, words): &(Instant, String)| words.clone();
        seen.refused = self.refusals.lock().get(key).map(refused);
        let answer = self.keep(key, &mut seen, ended).await;
        match &answer {
            Err(Failure::Write(error)) => self.refused(key, error),
            Ok(()) if seen.refused.is_some() => {
                self.refusals.lock().remove(key);
                // What the status says of it is no longer true.
                ended.wake = Some(ended.wake.map_or(SOON, |wake| wake.min(SOON)));
            }
            _ => {}
        }
        answer
    }

    /// Whether this operator approves and signs the request itself, so that a restart throws nobody's answer away.
    async fn answers_at_once(
        &self,
        key: &Key,
        seen: &certificate::Observation,
    ) -> Result<bool, Failure> {
        let reference = &seen.certificate.spec.issuer_ref;
        let issuer = self.reader.store.issuer(&key.namespace, reference);
        if issuer.is_some_and(|issuer| self.settings.request.is_off(&issuer)) {
            return Ok(false);
        }
        let allowed = self
            .approvals
            .allow(&self.reader, &key.namespace, reference);
        Ok(allowed.await?)
    }

    /// Note what the API server refuses. One that says something else each time does not write a status each time.
    fn refused(&self, key: &Key, error: &EffectError) {
        let Some(words) = error.refusal() else { return };
        let now = monotonic();
        let mut refusals = self.refusals.lock();
        let known = refusals.get(key);
        if known.is_none_or(|(since, _)| now.duration_since(*since) >= SILENCE) {
            refusals.insert(key.clone(), (now, words));
        }
    }

    async fn keep(
        &self,
        key: &Key,
        seen: &mut certificate::Observation,
        ended: &mut Ended,
    ) -> Result<(), Failure> {
        let settings = &self.settings.certificate;
        let uid = seen.certificate.metadata.uid.clone().unwrap_or_default();
        let mut plan = certificate::plan(seen, settings, now());
        if let Some(certificate::Effect::Prepare { durable: false, .. }) = &plan.effect
            && !self.answers_at_once(key, seen).await?
        {
            seen.issuer = IssuerState::Ready { in_process: false };
            plan = certificate::plan(seen, settings, now());
        }
        let effect = plan.effect.take();
        self.carry_out(key, &uid, plan, ended).await?;
        // Not before a write has shown that this is how the Certificate is.
        if !seen.is_issuing() {
            self.reader.keys.forget(&key.namespace, &key.name);
        }
        if effect.is_none() && !seen.is_issuing() {
            self.consumed(key, seen, seen.next_revision() - 1);
        }
        if let Some(effect) = effect {
            let (reader, accounts) = (&self.reader, &self.accounts);
            let outcome = self
                .signer
                .certificate(reader, accounts, key, effect)
                .await?;
            let stored = matches!(outcome, certificate::Outcome::Loaded(_));
            let heard = match &outcome {
                certificate::Outcome::Heard(heard) => Some(heard.clone()),
                _ => None,
            };
            let plan = certificate::absorb(seen, settings, outcome, now());
            self.carry_out(key, &uid, plan, ended).await?;
            if stored {
                self.consumed(key, seen, seen.next_revision());
            }
            if let Some(heard) = heard {
                self.note(key, seen, &heard);
            }
        }
        Ok(())
    }

    /// What the CA said is written down, if it had to be: it is asked again when it is time.
    fn note(&self, key: &Key, seen: &certificate::Observation, heard: &Heard) {
        let id = seen.leaf().and_then(|leaf| leaf.id.as_deref());
        let subject = Subject {
            namespace: &key.namespace,
            name: &key.name,
            id: id.unwrap_or_default(),
        };
        self.reader.polls.note(subject, heard);
    }

    /// The certificate of this revision is in its Secret: neither its private key nor its request is
    /// needed any more.
    fn consumed(&self, key: &Key, seen: &certificate::Observation, revision: i64) {
        self.reader.keys.forget(&key.namespace, &key.name);
        let done = |r: &&Arc<RequestFact>| r.revision.is_some_and(|of| of <= revision);
        for request in seen.requests.iter().filter(done) {
            self.reader.store.request_is_consumed(request);
        }
    }
}
