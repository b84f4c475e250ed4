//! One step of a revocation: what is to be revoked, whether it can be asked for now, and what the CA said.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::mark::{meant, unmarked};
use super::standing::{is_cancelled, stands_by};
use super::{Effect, Found, Observation, Outcome, Signer, reason, renews_first};
use crate::api::meta::{Condition, IssuerReference};
use crate::api::revocation::{RevokedCertificate, signer, state};
use crate::api::{Certificate, CertificateRevocation, labels};
use crate::controllers::action::{Action, Event, Plan, Target, patch_status};
use crate::controllers::digest::short;
use crate::controllers::facts::Identity;
use crate::controllers::key::{Key, Kind};
use crate::controllers::status::{condition, find, seconds, set_condition};
use crate::explain::{Code, Verdict};
use crate::pki::{RevocationReason, parse_chain};

const COMPONENT: &str = "everleaf";

/// The first wait after a CA could not be asked; it doubles each time.
const FIRST_WAIT: Duration = Duration::from_secs(10);
/// The longest one.
const LONGEST_WAIT: Duration = Duration::from_hours(1);
/// The longest that a CA's word on when to ask again is believed.
const PATIENCE: Duration = Duration::from_hours(24);

/// Plan the next step of a revocation.
pub fn plan(o: &Observation, now: Timestamp) -> Plan<Effect> {
    if o.object.metadata.deletion_timestamp.is_some() {
        return Plan::idle();
    }
    let mut step = Step::new(o, now);
    let subject = o.subject.as_ref();
    let waits = subject.filter(|subject| stands_by(&o.object, subject));
    if let Some(subject) = waits
        && is_cancelled(&o.object, subject)
    {
        let id = Identity::of(&o.object.metadata);
        step.plan
            .actions
            .push(Action::Delete(Target::Revocation, id));
        return step.plan;
    }
    match &o.found {
        Some(Ok(found)) => match meant(&o.object, found) {
            Ok(found) => step.record(&found),
            Err(verdict) => step.say("NotFound", &verdict),
        },
        Some(Err(verdict)) => step.say("NotFound", verdict),
        None if waits.is_some() => {}
        // Before the CA hears of it.
        None => match unmarked(&o.object).filter(|_| !o.unmarkable) {
            Some(value) => return annotated(&o.object, value),
            None => step.decide(),
        },
    }
    if let Some(subject) = waits {
        step.stand_by(subject);
    }
    step.finish()
}

/// Write down what the object is about where a backup keeps it.
fn annotated(object: &CertificateRevocation, value: String) -> Plan<Effect> {
    let id = Identity::of(&object.metadata);
    Plan {
        actions: vec![Action::Annotate {
            key: Key {
                kind: Kind::Revocation,
                namespace: id.namespace,
                name: id.name,
            },
            version: id.version,
            annotation: labels::REVOKES_ANNOTATION,
            value,
        }],
        ..Plan::idle()
    }
}

/// Plan what follows from the answer of the CA.
pub fn absorb(o: &Observation, effect: &Effect, outcome: Outcome, now: Timestamp) -> Plan<Effect> {
    let mut step = Step::new(o, now);
    step.answer(effect.serial(), outcome);
    step.finish()
}

/// A plan in the making, and the status as it will be.
struct Step<'a> {
    o: &'a Observation,
    now: Timestamp,
    plan: Plan<Effect>,
    entries: Vec<RevokedCertificate>,
    conditions: Vec<Condition>,
    status: Map<String, Value>,
}

impl<'a> Step<'a> {
    fn new(o: &'a Observation, now: Timestamp) -> Self {
        Self {
            o,
            now,
            plan: Plan::idle(),
            entries: o.status().certificates.clone().unwrap_or_default(),
            conditions: o.conditions().to_vec(),
            status: Map::new(),
        }
    }

    /// Write down what is to be revoked.
    fn record(&mut self, found: &Found) {
        let entry = |f: &super::FoundCertificate| RevokedCertificate {
            certificate: f.certificate.to_pem(),
            key_held: f.key_held.then_some(true),
            not_after: Some(seconds(f.certificate.not_after())),
            public_key_hash: f.certificate.public_key_hash(),
            serial: f.certificate.serial(),
            state: state::PENDING.into(),
            ..RevokedCertificate::default()
        };
        self.entries = found.certificates.iter().map(entry).collect();
        self.status.insert("issuerRef".into(), json!(found.issuer));
        if let Some(secret) = &found.secret {
            self.status.insert("secretName".into(), json!(secret));
        }
        let count = self.entries.len();
        let message = format!("{} to be revoked", certificates(count));
        self.ready(false, "Pending", message);
    }

    /// What is to be revoked is known, and its Certificate is still there.
    fn stand_by(&mut self, subject: &Certificate) {
        if self.o.status().certificate_uid.is_none() {
            let uid = &subject.metadata.uid;
            self.status.insert("certificateUID".into(), json!(uid));
        }
        if !self.entries.is_empty() {
            let name = subject.metadata.name.as_deref().unwrap_or_default();
            let message = format!("Waiting for the deletion of Certificate \"{name}\"");
            self.ready(false, "Waiting", message);
        }
    }

    /// The next certificate that is not done with.
    fn decide(&mut self) {
        for entry in &mut self.entries {
            if !entry.is_final() && end(entry) < self.now {
                state::EXPIRED.clone_into(&mut entry.state);
                entry.next_attempt_time = None;
            }
        }
        let Some(at) = self.entries.iter().position(|e| !e.is_final()) else {
            return self.conclude();
        };
        if let Some(why) = self.awaited() {
            return self.say("Renewing", &why);
        }
        let Some(entry) = self.entries.get(at).cloned() else {
            return;
        };
        self.plan
            .sooner(between(self.now, end(&entry)) + Duration::from_secs(1));
        if let Some(next) = entry.next_attempt_time.as_ref().filter(|t| t.0 > self.now) {
            return self.plan.sooner(between(self.now, next.0));
        }
        let asked = entry.state == state::REQUESTED;
        let signed_by = match &entry.signed_by {
            Some(signed_by) if asked => signed_by.clone(),
            _ => self.choose_signer(&entry).to_owned(),
        };
        if let Err(verdict) = self.askable(&signed_by) {
            return self.say("IssuerNotReady", &verdict);
        }
        if asked {
            return self.ask(&entry, &signed_by);
        }
        self.request(at, &signed_by);
    }

    /// Say that the CA is going to be asked, before it is.
    fn request(&mut self, at: usize, signed_by: &str) {
        let now = seconds(self.now);
        let Some(entry) = self.entries.get_mut(at) else {
            return;
        };
        state::REQUESTED.clone_into(&mut entry.state);
        entry.attempts = Some(entry.attempts.unwrap_or_default().saturating_add(1));
        entry.requested_time.get_or_insert(now);
        entry.signed_by = Some(signed_by.to_owned());
        entry.next_attempt_time = None;
        let message = format!("The CA is asked to revoke {}", entry.serial);
        // What went wrong before is still of interest until there is an answer.
        if entry.message.is_none() {
            self.ready(false, "Requested", message);
        }
    }

    fn ask(&mut self, entry: &RevokedCertificate, signed_by: &str) {
        let chain = parse_chain(entry.certificate.as_bytes()).unwrap_or_default();
        let Some(certificate) = chain.first() else {
            let text = format!(
                "status.certificates: the certificate {} cannot be read",
                entry.serial
            );
            return self.say("NotFound", &Verdict::new(Code::REVOCATION_SUBJECT, text));
        };
        if self.is_listed() {
            self.plan.effect = Some(Effect::List {
                serial: entry.serial.clone(),
                certificate: certificate.der().to_vec(),
            });
            return;
        }
        let signer = match self
            .key_secret()
            .filter(|_| signed_by == signer::CERTIFICATE_KEY)
        {
            Some((secret, entry)) => Signer::CertificateKey { secret, entry },
            None => Signer::Account,
        };
        self.plan.effect = Some(Effect::Revoke {
            serial: entry.serial.clone(),
            certificate: certificate.der().to_vec(),
            reason: reason(&self.o.object),
            signer,
        });
    }

    /// Whether the issuer is a CA whose key is in a Secret: it revokes by its list.
    fn is_listed(&self) -> bool {
        let issuer = self.o.issuer.as_ref();
        issuer.is_some_and(|issuer| issuer.spec.ca.is_some())
    }

    /// The Secret and entry of a private key that may sign.
    fn key_secret(&self) -> Option<(String, String)> {
        if let Some(given) = &self.o.object.spec.private_key_secret_ref {
            return Some((given.name.clone(), given.key_or("tls.key").to_owned()));
        }
        let secret = self.o.status().secret_name.clone()?;
        Some((secret, "tls.key".to_owned()))
    }

    /// The account, unless a key is given; or the key is compromised and still there: it proves to the CA that it is, and
    /// needs no account.
    fn choose_signer(&self, entry: &RevokedCertificate) -> &'static str {
        let key = self
            .o
            .secret
            .as_ref()
            .and_then(|s| s.key.as_ref()?.as_ref().ok());
        let at_hand = key.is_some_and(|key| key.public == short(&entry.public_key_hash));
        let compromised = reason(&self.o.object) == RevocationReason::KeyCompromise;
        if self.is_listed() {
            signer::CA
        } else if self.o.object.spec.private_key_secret_ref.is_some() || (compromised && at_hand) {
            signer::CERTIFICATE_KEY
        } else {
            signer::ACCOUNT
        }
    }

    /// Whether the issuer's CA can be asked.
    fn askable(&self, signed_by: &str) -> Result<(), Verdict> {
        let reference = self.o.status().issuer_ref.clone().unwrap_or_default();
        let name = issuer_name(&reference);
        let fail = |code, text: String| Err(Verdict::new(code, text));
        let Some(issuer) = &self.o.issuer else {
            return fail(
                Code::ISSUER_MISSING,
                format!("{name} does not exist: create it"),
            );
        };
        if let Some(ca) = &issuer.spec.ca {
            if ca.revocation_list.is_some() {
                return Ok(());
            }
            let text = format!("{name} keeps no revocation list: set spec.ca.revocationList");
            return fail(Code::REVOCATION_ISSUER, text);
        }
        if issuer.spec.acme.is_none() {
            let text = format!(
                "{name} is of a type that this version of Everleaf cannot revoke with; it revokes with acme and ca"
            );
            return fail(Code::REVOCATION_ISSUER, text);
        }
        if signed_by == signer::CERTIFICATE_KEY || (issuer.is_ready() && self.o.account) {
            return Ok(());
        }
        let why = issuer.ready().and_then(|c| c.message.clone());
        let why = why.filter(|_| !issuer.is_ready());
        let text = match why {
            Some(why) => format!("{name} is not ready: {why}"),
            None => format!("{name} is not ready yet"),
        };
        fail(Code::ISSUER_NOT_READY, text)
    }

    /// With `renewFirst`: why the certificate has no successor yet.
    fn awaited(&self) -> Option<Verdict> {
        if !renews_first(&self.o.object) {
            return None;
        }
        let secret = self.o.status().secret_name.clone().unwrap_or_default();
        let wait = |text| Some(Verdict::new(Code::REVOCATION_WAITS, text));
        let Some(keeper) = &self.o.keeper else {
            return wait(format!(
                "spec.renewFirst: no Certificate has the Secret \"{secret}\", so that nobody renews what is in it: delete \
                 this object and make one without renewFirst"
            ));
        };
        let leaf = self.o.secret.as_ref().filter(|s| !s.is_temporary());
        let leaf = leaf.and_then(|s| s.certificate.as_ref()?.as_ref().ok());
        let is_old = |leaf| self.entries.iter().any(|e| is_certificate(e, leaf));
        if leaf.is_some_and(|leaf| !is_old(leaf.fingerprint)) {
            return None;
        }
        let name = keeper.metadata.name.as_deref().unwrap_or_default();
        let conditions = keeper.status.as_ref().and_then(|s| s.conditions.as_deref());
        let issuing = find(conditions.unwrap_or_default(), "Issuing");
        let said = issuing
            .and_then(|c| c.message.as_deref())
            .unwrap_or_default();
        wait(format!(
            "spec.renewFirst: Certificate \"{name}\" has no other certificate yet. {said}"
        ))
    }

    /// What the CA said about one certificate.
    fn answer(&mut self, serial: &str, outcome: Outcome) {
        let now = seconds(self.now);
        let advice = advice(&outcome);
        let Some(entry) = self.entries.iter_mut().find(|e| e.serial == serial) else {
            return;
        };
        match outcome {
            Outcome::Revoked(list) => {
                state::REVOKED.clone_into(&mut entry.state);
                entry.revoked_time = Some(now);
                entry.message = None;
                // Before the status, which says that it is done.
                self.plan.actions.extend(list.map(Action::PutList));
                let message = format!("The certificate {serial} is revoked");
                self.plan
                    .events
                    .push(Event::normal(COMPONENT, "Revoked", message));
            }
            // acme2certifier, where accounts have bindings, takes no other signature than theirs.
            Outcome::Refused {
                unauthorized: true, ..
            } if entry.signed_by.as_deref() == Some(signer::CERTIFICATE_KEY)
                && self.o.object.spec.private_key_secret_ref.is_none() =>
            {
                entry.signed_by = Some(signer::ACCOUNT.to_owned());
                entry.attempts = entry.attempts.map(|attempts| attempts.saturating_add(1));
            }
            Outcome::Refused { message, .. } => {
                let text = format!("{message}{advice}");
                let verdict = Verdict::new(Code::REVOCATION_REFUSED, text).to_string();
                state::REFUSED.clone_into(&mut entry.state);
                entry.message = Some(verdict.clone());
                self.plan
                    .events
                    .push(Event::warning(COMPONENT, "Refused", verdict));
            }
            Outcome::NoKey(message) => {
                let verdict = Verdict::new(Code::REVOCATION_KEY, message).to_string();
                self.try_again(serial, verdict, None);
            }
            Outcome::Unavailable { message, until } => {
                let wait = until.map(|until| between(self.now, until).clamp(FIRST_WAIT, PATIENCE));
                let verdict = Verdict::new(Code::REVOCATION_UNAVAILABLE, message).to_string();
                self.try_again(serial, verdict, wait);
            }
        }
        if self.entries.iter().all(RevokedCertificate::is_final) {
            self.conclude();
        }
    }

    /// Ask again after `wait`, or after twice the last time.
    fn try_again(&mut self, serial: &str, message: String, wait: Option<Duration>) {
        let Some(entry) = self.entries.iter_mut().find(|e| e.serial == serial) else {
            return;
        };
        let attempts = u32::try_from(entry.attempts.unwrap_or(1)).unwrap_or(u32::MAX);
        let factor = 2_u32.saturating_pow(attempts.saturating_sub(1).min(16));
        let wait = wait.unwrap_or_else(|| FIRST_WAIT.saturating_mul(factor).min(LONGEST_WAIT));
        let next = SignedDuration::try_from(wait).ok();
        let next = next.and_then(|wait| self.now.checked_add(wait).ok());
        state::PENDING.clone_into(&mut entry.state);
        entry.message = Some(message.clone());
        entry.next_attempt_time = next.map(seconds);
        self.plan.sooner(wait);
        self.ready(false, "Unavailable", message);
    }

    /// Nothing is left to do.
    fn conclude(&mut self) {
        let refused = self.entries.iter().find(|e| e.state == state::REFUSED);
        if let Some(message) = refused.and_then(|e| e.message.clone()) {
            return self.ready(false, "Refused", message);
        }
        let count = |state: &str| self.entries.iter().filter(|e| e.state == state).count();
        let (revoked, expired) = (count(state::REVOKED), count(state::EXPIRED));
        let mut message = format!("{} revoked", certificates(revoked));
        if expired > 0 {
            message = format!("{message}; {} had expired", certificates(expired));
        }
        self.ready(true, "Revoked", message);
    }

    fn say(&mut self, reason: &str, verdict: &Verdict) {
        self.ready(false, reason, verdict.to_string());
    }

    fn ready(&mut self, holds: bool, reason: &str, message: impl Into<String>) {
        let generation = self.o.object.metadata.generation;
        let new = condition("Ready", holds, reason, message, generation);
        set_condition(&mut self.conditions, new, self.now);
    }

    fn finish(mut self) -> Plan<Effect> {
        if self.conditions != self.o.conditions() {
            self.status
                .insert("conditions".into(), json!(self.conditions));
        }
        let before = self.o.status().certificates.as_deref().unwrap_or_default();
        if self.entries != before {
            self.status
                .insert("certificates".into(), json!(self.entries));
        }
        if !self.status.is_empty() {
            let id = Identity::of(&self.o.object.metadata);
            let patch = patch_status(Kind::Revocation, &id, Value::Object(self.status));
            self.plan.actions.push(patch);
        }
        self.plan
    }
}

/// What to do about a refusal.
fn advice(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Refused {
            message,
            unauthorized: false,
        } if message.contains("badRevocationReason") => {
            ". Make another CertificateRevocation with one of the reasons that this CA takes: Let's Encrypt takes \
             unspecified, keyCompromise, superseded and cessationOfOperation"
        }
        Outcome::Refused {
            unauthorized: true, ..
        } => {
            ". The certificate was issued to another account: make another CertificateRevocation with \
             privateKeySecretRef, so that the certificate's own key signs, or with the issuerRef of that account"
        }
        _ => "",
    }
}

/// Whether an entry is about the certificate of this fingerprint.
pub(super) fn is_certificate(entry: &RevokedCertificate, fingerprint: u64) -> bool {
    let chain = parse_chain(entry.certificate.as_bytes()).unwrap_or_default();
    chain
        .first()
        .is_some_and(|certificate| short(&certificate.fingerprint()) == fingerprint)
}

fn issuer_name(reference: &IssuerReference) -> String {
    format!("{} \"{}\"", reference.kind_or_default(), reference.name)
}

fn end(entry: &RevokedCertificate) -> Timestamp {
    entry.not_after.as_ref().map_or(Timestamp::MAX, |end| end.0)
}

fn certificates(count: usize) -> String {
    match count {
        1 => "1 certificate".into(),
        count => format!("{count} certificates"),
    }
}

fn between(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or_default()
}
