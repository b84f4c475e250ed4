//! The next private key (contract §4.3): which one, and whether there has to be a new one.

use std::sync::Arc;

use serde_json::json;

use super::{KEYS, Step};
use crate::controllers::action::Event;
use crate::controllers::certificate::policy::{self, Violation};
use crate::controllers::certificate::request::{Wanted, key_secret_name};
use crate::controllers::certificate::{Effect, IssuerState, KeySource};
use crate::controllers::facts::{KeyFact, SecretFact};
use crate::explain::{Code, Verdict};
use crate::pki::RequestParams;

impl Step<'_> {
    /// The private key of the issuance under way.
    pub(super) fn current_key(&self) -> Option<KeyFact> {
        let stored = self
            .stored_key()
            .and_then(|s| s.key.as_ref()?.as_ref().ok());
        let fits =
            |key: &KeyFact| self.may_use(key) && policy::key_differences(self.o, key).is_empty();
        // What is remembered before an issuance has begun is of an attempt that failed.
        let staged = self.o.staged.filter(|_| self.o.is_issuing());
        stored.copied().or(staged.filter(fits))
    }

    /// A key that is known to be compromised is not used again, whatever the policy.
    fn may_use(&self, key: &KeyFact) -> bool {
        !self.o.compromised.contains(&key.public)
    }

    /// The next private key that counts: of those that fit, the one that the status names, else the
    /// first (contract §4.3).
    pub(super) fn stored_key(&self) -> Option<&Arc<SecretFact>> {
        let named = self.o.status().next_private_key_secret_name.as_deref();
        let fits = |s: &&Arc<SecretFact>| {
            let key = s.key.as_ref().and_then(|k| k.as_ref().ok());
            key.is_some_and(|k| self.may_use(k) && policy::key_differences(self.o, k).is_empty())
        };
        let fitting = || self.o.next_keys.iter().filter(fits);
        let is_named = |s: &&Arc<SecretFact>| Some(s.id.name.as_ref()) == named;
        fitting().find(is_named).or_else(|| fitting().next())
    }

    /// Make the private key, or take the one that is there, and build the CSR.
    pub(super) fn prepare(&mut self, wanted: &Wanted) {
        if self.is_spent() {
            return;
        }
        let source = match self.key_source(wanted) {
            Ok(source) => source,
            Err(problem) => {
                let verdict = Verdict::new(Code::KEY_KEPT, problem.clone());
                let why = Violation {
                    reason: "CannotRegenerateKey",
                    message: verdict.to_string(),
                };
                self.plan
                    .events
                    .push(Event::warning(KEYS, "CannotRegenerateKey", problem));
                self.ready(Some(&why), None);
                return;
            }
        };
        // What nobody outside is asked for is over at once: after a restart it can be made again.
        let at_once = matches!(self.o.issuer, IssuerState::Ready { in_process: true })
            && self.settings.approves;
        let durable = !at_once;
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
        } else if matches!(source, KeySource::Generate(_)) && self.settings.verbose_events {
            let message = if durable {
                format!("A new private key goes to temporary Secret resource \"{name}\"")
            } else {
                "A new private key is made, and stored with its certificate".to_owned()
            };
            let event = Event::normal(KEYS, "Generated", message);
            self.plan.events.push(event);
        }
        self.plan.effect = Some(Effect::Prepare {
            source,
            durable,
            key_secret: name,
            params: Box::new(RequestParams {
                basic_constraints: self.settings.basic_constraints_in_request,
                ..wanted.params.clone()
            }),
        });
    }

    fn rotation_policy(&self) -> Option<&str> {
        let key = self.o.certificate.spec.private_key.as_ref();
        key.and_then(|k| k.rotation_policy.as_deref())
    }

    pub(super) fn key_name(&self) -> String {
        let stored = self.stored_key().map(|s| s.id.name.to_string());
        stored.unwrap_or_else(|| key_secret_name(&self.o.certificate, self.o.next_revision()))
    }

    /// Contract §4.3: an existing next key that fits, the target's key with rotation policy Never, else
    /// a new one. An error says why the policy forbids a new one.
    pub(super) fn key_source(&mut self, wanted: &Wanted) -> Result<KeySource, String> {
        let stored = self.stored_key().map(|s| s.id.name.to_string());
        self.discard_keys(stored.as_deref());
        if let Some(name) = stored {
            return Ok(KeySource::Next(name));
        }
        let unfit = self.o.next_keys.iter().find_map(|s| {
            let fields = policy::key_differences(self.o, s.key.as_ref()?.as_ref().ok()?);
            (!fields.is_empty() && !s.id.deleting).then_some(fields)
        });
        if let Some(fields) = unfit.filter(|_| self.settings.verbose_events) {
            let fields = fields.join(", ");
            let message = format!("Regenerating private key due to change in fields: [{fields}]");
            let event = Event::normal(KEYS, "Deleted", message);
            self.plan.events.push(event);
        }
        if self.current_key().is_some() {
            return Ok(KeySource::Staged);
        }
        let policy = self.rotation_policy();
        let existing = self.o.secret.as_ref().and_then(|s| s.key.as_ref());
        match (policy, existing) {
            (Some("Never"), Some(Ok(key))) if self.may_use(key) => {
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
}
