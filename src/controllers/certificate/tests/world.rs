//! A tiny API server with one Certificate, and an issuer that answers as it is told to.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    FieldsV1, ManagedFieldsEntry, ObjectMeta, Time,
};
use serde_json::{Value, json};

use super::authority::{Answer, new_key, pem, read_key, respond, temporary_for};
use crate::api::meta::Condition;
use crate::api::{Certificate, CertificateRequest, CertificateStatus};
use crate::controllers::action::{Action, Event, NO_VERSION, Object, Plan, Target};
use crate::controllers::certificate::outputs::{
    Entries, Outputs, PasswordRef, Passwords, missing, password_of,
};
use crate::controllers::certificate::request::key_secret_name;
use crate::controllers::certificate::{
    Asking, Effect, Following, IssuerState, KeySource, Observation, Outcome, SecretData, Settings,
    absorb, plan, repaired,
};
use crate::controllers::digest::digest;
use crate::controllers::facts::{KeyFact, Made, RequestFact, SecretFact, stores_digest};
use crate::controllers::polls::Heard;
use crate::controllers::revocation::Withdrawal;
use crate::controllers::status::{condition, find, set_condition};
use crate::pki::{KeyEncoding, PrivateKey, build_request};

/// 2026-01-01, midnight.
pub(super) const START: Timestamp = Timestamp::constant(1_767_225_600, 0);

/// Everything there is. The steps are those of the controller: observe, plan, write, effect, absorb.
#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) now: Timestamp,
    pub(super) settings: Settings,
    pub(super) certificate: Certificate,
    pub(super) secret: Option<Secret>,
    pub(super) requests: Vec<CertificateRequest>,
    pub(super) next_keys: Vec<Secret>,
    /// The keys that the process remembers.
    pub(super) memory: HashMap<String, Arc<PrivateKey>>,
    pub(super) issuer: IssuerState,
    pub(super) issuer_changed: Option<Timestamp>,
    pub(super) issuer_version: Option<String>,
    pub(super) recovered: Option<Timestamp>,
    pub(super) cause: Option<String>,
    pub(super) unapproved: Option<Timestamp>,
    pub(super) rival: Option<String>,
    /// What the API server says of each Secret, and of each request, if it refuses them.
    pub(super) refuses: Option<String>,
    /// What it has refused last.
    refused: Option<String>,
    pub(super) answer: Answer,
    /// What requests that somebody deleted had counted.
    pub(super) unlisted: Vec<Made>,
    /// Secrets with passwords of keystores.
    pub(super) passwords: HashMap<String, Entries>,
    /// The digest of the keystores that were checked.
    checked: Option<u64>,
    /// The CA that the issuer returns.
    pub(super) ca: Option<Vec<u8>>,
    /// The rotation of that CA.
    pub(super) rotation: Option<Following>,
    /// A revocation of the certificate in the Secret, or of its key.
    pub(super) withdrawal: Option<Withdrawal>,
    pub(super) is_reported: bool,
    /// Public keys that are compromised.
    pub(super) compromised: Vec<u64>,
    pub(super) is_acme: bool,
    /// Whether the issuer's CA is asked when to renew.
    pub(super) asking: Asking,
    /// What it says.
    pub(super) heard: Option<Heard>,
    /// How often it was asked.
    pub(super) asked: usize,
    /// The certificate that it was asked about, and when it is next.
    polled: Option<(Box<str>, Timestamp)>,
    /// Why no CSR can be built, if none can.
    pub(super) unbuildable: Option<String>,
    /// Validity of what the issuer signs.
    pub(super) lifetime: SignedDuration,
    /// What was written, in order.
    pub(super) writes: Vec<String>,
    pub(super) events: Vec<Event>,
    pub(super) wake: Option<Duration>,
    versions: u64,
}

impl World {
    /// A Certificate that was just created. `spec` is merged over an ECDSA key, one name and an Issuer.
    pub(super) fn new(spec: &Value) -> Self {
        let mut whole = json!({
            "secretName": "app-tls",
            "issuerRef": { "name": "ca" },
            "dnsNames": ["app.example.com"],
            "privateKey": { "algorithm": "ECDSA" },
        });
        json_patch::merge(&mut whole, spec);
        let certificate = Certificate {
            metadata: ObjectMeta {
                name: Some("app".into()),
                namespace: Some("shop".into()),
                uid: Some("uid-of-app".into()),
                resource_version: Some("1".into()),
                generation: Some(1),
                creation_timestamp: Some(Time(START)),
                ..ObjectMeta::default()
            },
            spec: serde_json::from_value(whole).unwrap(),
            status: None,
        };
        Self {
            now: START,
            settings: Settings {
                min_backoff: Duration::from_hours(1),
                max_backoff: Duration::from_hours(32),
                is_backoff_set: false,
                budget: crate::controllers::certificate::Budget { hour: 6, day: 20 },
                enable_certificate_owner_ref: false,
                copied_annotation_prefixes: vec!["*".into()],
                basic_constraints_in_request: false,
                verbose_events: false,
                approves: true,
                renewal_info: true,
            },
            certificate,
            secret: None,
            requests: vec![],
            unlisted: vec![],
            next_keys: vec![],
            memory: HashMap::new(),
            issuer: IssuerState::Ready { in_process: false },
            issuer_changed: None,
            issuer_version: None,
            recovered: None,
            cause: None,
            unapproved: None,
            rival: None,
            refuses: None,
            refused: None,
            answer: Answer::Sign,
            passwords: HashMap::new(),
            checked: None,
            ca: None,
            rotation: None,
            withdrawal: None,
            is_reported: false,
            compromised: vec![],
            asking: Asking::Off,
            is_acme: false,
            heard: None,
            asked: 0,
            polled: None,
            unbuildable: None,
            lifetime: SignedDuration::from_hours(2160),
            writes: vec![],
            events: vec![],
            wake: None,
            versions: 1,
        }
    }

    /// A Certificate that was issued once, and is settled.
    pub(super) fn issued(spec: &Value) -> Self {
        let mut world = Self::new(spec);
        world.run(12);
        assert_eq!(world.ready(), ("True", "Ready"), "{:?}", world.conditions());
        world.forget_records();
        world
    }

    pub(super) fn forget_records(&mut self) {
        self.writes.clear();
        self.events.clear();
    }

    /// Change the spec, as a user would.
    pub(super) fn edit(&mut self, spec: &Value) {
        let mut whole = json!(self.certificate.spec);
        json_patch::merge(&mut whole, spec);
        self.certificate.spec = serde_json::from_value(whole).unwrap();
        let generation = self.certificate.metadata.generation.unwrap_or_default() + 1;
        self.certificate.metadata.generation = Some(generation);
        self.touch();
    }

    pub(super) fn pass(&mut self, time: SignedDuration) {
        self.now += time;
    }

    /// Reconcile and let the issuer answer until nothing is written any more; whether that came to pass.
    pub(super) fn run(&mut self, steps: usize) -> bool {
        for _ in 0..steps {
            let before = self.writes.len();
            self.step();
            let answered = self.answer_requests();
            self.pass(SignedDuration::from_secs(1));
            if before == self.writes.len() && !answered {
                return true;
            }
        }
        false
    }

    /// One reconcile; whether each write was accepted.
    pub(super) fn step(&mut self) -> bool {
        let seen = self.observe();
        let mut plan = plan(&seen, &self.settings, self.now);
        self.wake = plan.wake;
        let effect = plan.effect.take();
        if !self.carry_out(plan) {
            return false;
        }
        let Some(effect) = effect else {
            self.refused = None;
            return true;
        };
        let outcome = self.perform(effect);
        let consumed = matches!(outcome, Outcome::Loaded(_));
        let plan = absorb(&seen, &self.settings, outcome, self.now);
        assert_eq!(plan.effect, None, "one effect a reconcile");
        if !self.carry_out(plan) {
            return false;
        }
        if consumed {
            // Its key is in the target Secret now.
            self.memory.clear();
        }
        self.refused = None;
        true
    }

    pub(super) fn observe(&self) -> Observation {
        let requests: Vec<_> = self
            .requests
            .iter()
            .cloned()
            .map(RequestFact::of)
            .map(Arc::new)
            .collect();
        let mut seen = Observation {
            certificate: self.certificate.clone().into(),
            secret: self.secret.as_ref().map(SecretFact::of).map(Arc::new),
            requests,
            unlisted: self.unlisted.clone(),
            next_keys: self
                .next_keys
                .iter()
                .map(SecretFact::of)
                .map(Arc::new)
                .collect(),
            staged: None,
            rival: self.rival.clone(),
            issuer: self.issuer,
            issuer_changed: self.issuer_changed,
            issuer_version: self.issuer_version.clone(),
            cause: self.cause.clone(),
            unapproved: self.unapproved,
            refused: self.refused.clone(),
            recovered: self.recovered,
            passwords: Passwords::new(),
            stores_version: 0,
            stores_checked: true,
            rotation: self.rotation.clone(),
            withdrawal: self.withdrawal.clone(),
            compromised: self.compromised.clone(),
            is_stood_by: false,
            is_reported: self.is_reported,
            asking: Asking::Off,
            is_acme: self.is_acme,
            signer: Some(self.certificate.spec.issuer_ref.clone()),
        };
        seen.asking = self.asking(&seen);
        if let Ok(outputs) = Outputs::try_from(&self.certificate.spec)
            && outputs.has_stores()
        {
            let found = |r: &PasswordRef| match self.passwords.get(&r.secret) {
                None => Err(missing(r)),
                Some(data) => password_of(r, Some(data)),
            };
            let read = outputs.password_refs().map(|r| (r.clone(), found(r)));
            seen.passwords = read.collect();
            seen.stores_version = digest(&(&outputs, format!("{:?}", self.passwords)));
            let stores = seen.secret.as_ref().map_or(0, |s| s.outputs.stores);
            seen.stores_checked = self.checked == Some(digest(&(seen.stores_version, stores)));
        }
        let next = seen.next_revision();
        let names = seen
            .requests
            .iter()
            .filter(|r| r.revision == Some(next))
            .filter_map(|r| r.key_secret.as_deref().map(ToOwned::to_owned));
        let names = names.chain([key_secret_name(&self.certificate, next)]);
        seen.staged = names
            .filter_map(|n| self.memory.get(&n))
            .map(|k| KeyFact::of(k))
            .next();
        seen
    }

    fn carry_out(&mut self, plan: Plan<Effect>) -> bool {
        let created = plan.actions.iter().filter_map(created_request);
        let created: Vec<_> = created.collect();
        let deletes = |name: &String| {
            plan.actions.iter().any(|a| matches!(a, Action::Delete(Target::CertificateRequest, id) if *id.name == **name))
        };
        assert!(
            !created.iter().any(deletes),
            "a request is created and deleted: {:?}",
            plan.actions
        );
        for action in plan.actions {
            if !self.write(action) {
                return false;
            }
        }
        self.events.extend(plan.events);
        true
    }

    fn write(&mut self, action: Action) -> bool {
        self.writes.push(name_of(&action));
        let is_ruled = matches!(action, Action::Ensure(_) | Action::ApplySecret(_));
        if let Some(words) = self.refuses.clone().filter(|_| is_ruled) {
            self.refused = Some(words);
            return false;
        }
        match action {
            Action::PatchStatus {
                version, status, ..
            } => {
                if Some(version) != self.certificate.metadata.resource_version {
                    return false;
                }
                let mut whole = json!(self.certificate.status.clone().unwrap_or_default());
                json_patch::merge(&mut whole, &status);
                let new: CertificateStatus = serde_json::from_value(whole).unwrap();
                if self.certificate.status.as_ref() != Some(&new) {
                    self.certificate.status = Some(new);
                    self.touch();
                }
                true
            }
            Action::Create(object) => self.create(*object, false),
            Action::Ensure(object) => self.create(*object, true),
            Action::ApplySecret(secret) => {
                let mut secret = secret.0;
                let made = secret.metadata.resource_version.take().as_deref() == Some(NO_VERSION);
                assert_eq!(
                    made,
                    self.secret.is_none(),
                    "what is there is never put over"
                );
                secret.metadata.uid = Some("uid-of-secret".into());
                secret.metadata.managed_fields = Some(vec![applied_fields(&secret)]);
                self.secret = Some(secret);
                true
            }
            Action::Delete(Target::CertificateRequest, id) => {
                self.requests
                    .retain(|r| r.metadata.uid.as_deref() != Some(&id.uid));
                true
            }
            Action::Delete(Target::Secret, id) => {
                self.next_keys
                    .retain(|s| s.metadata.uid.as_deref() != Some(&id.uid));
                true
            }
            other => panic!("no business of this controller: {other:?}"),
        }
    }

    fn create(&mut self, object: Object, ensure: bool) -> bool {
        self.versions += 1;
        let identify = |meta: &mut ObjectMeta, now, versions| {
            meta.uid = Some(format!("uid-{versions}"));
            meta.resource_version = Some(format!("{versions}"));
            meta.creation_timestamp = Some(Time(now));
        };
        match object {
            Object::CertificateRequest(mut request) => {
                if self
                    .requests
                    .iter()
                    .any(|r| r.metadata.name == request.metadata.name)
                {
                    return ensure;
                }
                identify(&mut request.metadata, self.now, self.versions);
                self.requests.push(request);
            }
            Object::Secret(secret) => {
                let mut secret = secret.0;
                if self
                    .next_keys
                    .iter()
                    .any(|s| s.metadata.name == secret.metadata.name)
                {
                    return false;
                }
                identify(&mut secret.metadata, self.now, self.versions);
                self.next_keys.push(secret);
            }
            other => panic!("no business of this controller: {other:?}"),
        }
        true
    }

    fn perform(&mut self, effect: Effect) -> Outcome {
        match effect {
            Effect::Prepare {
                source,
                durable,
                key_secret,
                params,
            } => {
                let stored = matches!(source, KeySource::Next(_));
                let Some(key) = self.key(&key_secret, source) else {
                    return Outcome::KeyLost;
                };
                if let Some(problem) = &self.unbuildable {
                    return Outcome::Unbuildable(problem.clone());
                }
                let csr = match build_request(&params, &key) {
                    Ok(csr) => csr,
                    Err(problem) => return Outcome::Unbuildable(problem.to_string()),
                };
                self.memory.insert(key_secret, key.clone());
                Outcome::Prepared {
                    csr,
                    key: (durable && !stored).then(|| pem(&key, KeyEncoding::Pkcs8)),
                }
            }
            Effect::LoadKey {
                name,
                encoding,
                public,
                certificate,
                ca,
                recipe,
                stores_version,
            } => {
                let is_asked = |key: &Arc<PrivateKey>| KeyFact::of(key).public == public;
                let key = self.memory.get(&name).cloned().filter(is_asked);
                let key = key.or_else(|| self.stored(&name).filter(is_asked));
                let Some(key) = key else {
                    return Outcome::KeyLost;
                };
                let data = SecretData {
                    key: pem(&key, encoding).to_vec(),
                    certificate,
                    ca,
                    outputs: Entries::new(),
                };
                match data.with_outputs(&recipe, &Entries::new(), self.now) {
                    Ok(data) => {
                        self.checked = Some(digest(&(stores_version, data.stores_digest())));
                        Outcome::Loaded(data)
                    }
                    Err(problem) => Outcome::Unmakable(problem.to_string()),
                }
            }
            Effect::Temporary {
                name,
                encoding,
                public,
                params,
                duration,
                ..
            } => {
                let is_asked = |key: &Arc<PrivateKey>| KeyFact::of(key).public == public;
                let key = self
                    .memory
                    .get(&name)
                    .cloned()
                    .or_else(|| self.stored(&name));
                let Some(key) = key.filter(is_asked) else {
                    return Outcome::KeyLost;
                };
                Outcome::Temporary(SecretData {
                    key: pem(&key, encoding).to_vec(),
                    certificate: temporary_for(&key, &params, self.now, duration),
                    ca: None,
                    outputs: Entries::new(),
                })
            }
            Effect::Repair {
                recipe,
                stores_version,
                roots,
                needed,
                ..
            } => {
                let mut found = self.secret.clone().and_then(|s| s.data).unwrap_or_default();
                let needed = roots.change(&mut found) || needed;
                let outcome = repaired(&recipe, &found, needed, self.now);
                let stores = match &outcome {
                    Outcome::Sound => stores_digest(&found),
                    Outcome::Repaired(data) => data.stores_digest(),
                    _ => return outcome,
                };
                if recipe.is_complete() {
                    self.checked = Some(digest(&(stores_version, stores)));
                }
                outcome
            }
            Effect::AskCa { id, .. } => self.ask(id),
        }
    }

    fn ask(&mut self, id: Box<str>) -> Outcome {
        self.asked += 1;
        let heard = self.heard.clone().expect("the CA is asked");
        self.polled = Some((id, heard.next));
        Outcome::Heard(heard)
    }

    /// As a restart does.
    pub(super) fn forget_polls(&mut self) {
        self.polled = None;
    }

    /// As the process remembers it: a question about another certificate is none.
    fn asking(&self, seen: &Observation) -> Asking {
        let id = seen.leaf().and_then(|leaf| leaf.id.as_ref());
        let polled = self.polled.as_ref().filter(|(of, _)| Some(of) == id);
        match self.asking {
            Asking::On(_) => Asking::On(polled.map(|(_, next)| *next)),
            other => other,
        }
    }

    fn key(&self, name: &str, source: KeySource) -> Option<Arc<PrivateKey>> {
        match source {
            KeySource::Generate(algorithm) => Some(new_key(algorithm)),
            KeySource::Staged => self.memory.get(name).cloned(),
            KeySource::Next(name) => self.stored(&name),
            KeySource::Target(_) => read_key(self.secret.as_ref()?),
        }
    }

    fn stored(&self, name: &str) -> Option<Arc<PrivateKey>> {
        read_key(
            self.next_keys
                .iter()
                .find(|s| s.metadata.name.as_deref() == Some(name))?,
        )
    }

    /// The issuer's turn; whether it did anything.
    pub(super) fn answer_requests(&mut self) -> bool {
        if !matches!(
            self.issuer,
            IssuerState::Ready { .. } | IssuerState::External
        ) || self.answer == Answer::Nothing
        {
            return false;
        }
        let (answer, now, lifetime) = (self.answer, self.now, self.lifetime);
        let ca = self.ca.clone();
        let open = |r: &&mut CertificateRequest| {
            r.status
                .as_ref()
                .and_then(|s| s.conditions.as_ref())
                .is_none()
        };
        let mut any = false;
        for request in self.requests.iter_mut().filter(open) {
            respond(request, answer, now, lifetime);
            if answer == Answer::Sign {
                let status = request.status.get_or_insert_default();
                status.ca = ca.clone().map(ByteString);
            }
            any = true;
        }
        any
    }

    pub(super) fn conditions(&self) -> &[Condition] {
        self.certificate
            .status
            .as_ref()
            .and_then(|s| s.conditions.as_deref())
            .unwrap_or_default()
    }

    fn condition(&self, kind: &str) -> (&str, &str) {
        find(self.conditions(), kind).map_or(("", ""), |c| {
            (c.status.as_str(), c.reason.as_deref().unwrap_or_default())
        })
    }

    /// Status and reason.
    pub(super) fn ready(&self) -> (&str, &str) {
        self.condition("Ready")
    }

    /// Status and reason; both empty when there is no such condition.
    pub(super) fn issuing(&self) -> (&str, &str) {
        self.condition("Issuing")
    }

    pub(super) fn message(&self, kind: &str) -> &str {
        find(self.conditions(), kind)
            .and_then(|c| c.message.as_deref())
            .unwrap_or_default()
    }

    pub(super) fn status(&self) -> CertificateStatus {
        self.certificate.status.clone().unwrap_or_default()
    }

    pub(super) fn event_reasons(&self) -> Vec<&str> {
        self.events.iter().map(|e| e.reason.as_str()).collect()
    }

    /// An entry of the target Secret, to be changed.
    pub(super) fn entry(&mut self, name: &str) -> &mut Vec<u8> {
        let data = self.secret.as_mut().unwrap().data.get_or_insert_default();
        &mut data.entry(name.to_owned()).or_default().0
    }

    /// What its managed fields say that was applied to the target Secret, to be changed.
    pub(super) fn managed(&mut self) -> &mut Value {
        let meta = &mut self.secret.as_mut().unwrap().metadata;
        let entry = &mut meta.managed_fields.as_mut().unwrap()[0];
        &mut entry.fields_v1.as_mut().unwrap().0
    }

    /// The annotations of the target Secret, to be changed.
    pub(super) fn annotations(&mut self) -> &mut BTreeMap<String, String> {
        self.secret
            .as_mut()
            .unwrap()
            .metadata
            .annotations
            .get_or_insert_default()
    }

    /// `cmctl renew`.
    pub(super) fn renew_by_hand(&mut self) {
        let mut conditions = self.conditions().to_vec();
        let generation = self.certificate.metadata.generation;
        let new = condition(
            "Issuing",
            true,
            "ManuallyTriggered",
            "Certificate re-issuance manually triggered",
            generation,
        );
        set_condition(&mut conditions, new, self.now);
        self.certificate.status.get_or_insert_default().conditions = Some(conditions);
        self.touch();
    }

    fn touch(&mut self) {
        self.versions += 1;
        self.certificate.metadata.resource_version = Some(self.versions.to_string());
    }
}

/// The managed fields of a Secret that was just applied.
fn applied_fields(secret: &Secret) -> ManagedFieldsEntry {
    fn keys<T>(map: Option<&BTreeMap<String, T>>) -> Value {
        let keys = map.into_iter().flatten().map(|(key, _)| key);
        keys.map(|key| (format!("f:{key}"), json!({}))).collect()
    }
    let meta = &secret.metadata;
    let owners = meta.owner_references.iter().flatten();
    let owners = owners.map(|o| (format!("k:{{\"uid\":\"{}\"}}", o.uid), json!({})));
    let owners: Value = owners.collect();
    let fields = json!({
        "f:data": keys(secret.data.as_ref()),
        "f:metadata": {
            "f:annotations": keys(meta.annotations.as_ref()),
            "f:labels": keys(meta.labels.as_ref()),
            "f:ownerReferences": owners,
        },
    });
    ManagedFieldsEntry {
        manager: Some("cert-manager-certificates-issuing".into()),
        operation: Some("Apply".into()),
        fields_v1: Some(FieldsV1(fields)),
        ..ManagedFieldsEntry::default()
    }
}

fn created_request(action: &Action) -> Option<String> {
    let (Action::Create(object) | Action::Ensure(object)) = action else {
        return None;
    };
    match &**object {
        Object::CertificateRequest(request) => request.metadata.name.clone(),
        _ => None,
    }
}

/// A write in a few words.
fn name_of(action: &Action) -> String {
    match action {
        Action::PatchStatus { .. } => "status".into(),
        Action::Create(object) | Action::Ensure(object) => match &**object {
            Object::CertificateRequest(_) => "create request".into(),
            Object::Secret(_) => "create key".into(),
            other => format!("create {other:?}"),
        },
        Action::ApplySecret(_) => "apply secret".into(),
        Action::Delete(target, _) => format!("delete {target:?}"),
        other => format!("{other:?}"),
    }
}
