//! What this process keeps in use for Issuers and Challenges: accounts, tokens that it answers for,
//! and what it remembers of a validation. None of it is the only copy of anything.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use parking_lot::Mutex;

use super::ca::Session;
use super::clock::now;
use super::queue::Queue;
use crate::acme::{Class, Eab, Hooks};
use crate::api::acme_issuer::AcmeIssuer;
use crate::api::meta::IssuerReference;
use crate::api::{Challenge, labels};
use crate::controllers::action::{Action, Object, SecretObject};
use crate::controllers::challenge::{self, Check, Memo};
use crate::controllers::key::{Key, Kind};
use crate::controllers::reads::{ReadError, Reader, Recoveries};
use crate::controllers::store::{Name, Store};
use crate::controllers::{issuer, order};
use crate::issuers::acme::{Account, Accounts};
use crate::pki::{CertificateSigningRequest, KeyAlgorithm, KeyEncoding};
use crate::solvers::http01::objects::Mode;
use crate::solvers::http01::self_check::{Outcome as Checked, SelfCheck};
use crate::solvers::http01::tokens::Tokens;

/// In use for Issuers and Challenges.
pub struct Tenants {
    accounts: Accounts,
    memos: Mutex<HashMap<Key, Memo>>,
    /// Namespaces whose EndpointSlice of the Direct mode was written by this process.
    slices: Mutex<HashSet<Arc<str>>>,
    /// What the responder of this process answers for.
    pub tokens: Tokens,
    self_check: SelfCheck,
    hooks: Hooks,
    signer: super::signing::Signer,
    recoveries: Arc<Recoveries>,
}

impl Tenants {
    /// Nothing in use yet.
    pub fn new(self_check: SelfCheck, hooks: Hooks, recoveries: Arc<Recoveries>) -> Self {
        Self {
            accounts: Accounts::default(),
            memos: Mutex::default(),
            slices: Mutex::default(),
            tokens: Tokens::default(),
            self_check,
            hooks,
            signer: super::signing::Signer::default(),
            recoveries,
        }
    }

    /// The account behind an issuer reference, once it is registered.
    pub fn account(
        &self,
        store: &Store,
        namespace: &str,
        reference: &IssuerReference,
    ) -> Option<Arc<Account>> {
        let issuer = store.issuer(namespace, reference)?;
        let account = self
            .accounts
            .get(&(issuer.id.namespace.clone(), issuer.id.name.clone()))?;
        account.kid.is_some().then_some(account)
    }

    /// Hash of the account key in use for this issuer as it is now.
    pub fn loaded_hash(&self, store: &Store, key: &Key) -> Option<String> {
        let issuer = store.issuer_named(&key.namespace, &key.name)?;
        let account = self
            .accounts
            .get(&(key.namespace.clone(), key.name.clone()))?;
        let current = (
            issuer.generation,
            secret_version(store, key, issuer.spec.acme.as_ref()?),
        );
        (account.loaded_for == current).then(|| account.hash.clone())
    }

    /// Whether Orders of this issuer can go on.
    pub fn account_is_usable(&self, key: &Key) -> bool {
        self.accounts
            .get(&(key.namespace.clone(), key.name.clone()))
            .is_some_and(|a| a.kid.is_some())
    }

    /// The issuer is gone.
    pub fn forget_issuer(&self, key: &Key) {
        self.accounts
            .remove(&(key.namespace.clone(), key.name.clone()));
    }

    /// An issuer's effect.
    pub async fn issuer(
        &self,
        reader: &Reader,
        seen: &issuer::Observation,
        effect: issuer::Effect,
    ) -> Result<issuer::Outcome, ReadError> {
        let Some(spec) = seen.issuer.spec.acme.clone() else {
            return Ok(issuer::Outcome::KeyMissing("spec.acme is gone".into()));
        };
        match effect {
            issuer::Effect::LoadAccountKey => self.load(reader, seen, &spec).await,
            issuer::Effect::Register => self.register(reader, seen, &spec).await,
        }
    }

    async fn load(
        &self,
        reader: &Reader,
        seen: &issuer::Observation,
        spec: &AcmeIssuer,
    ) -> Result<issuer::Outcome, ReadError> {
        let reference = &spec.private_key_secret_ref;
        let entry = reference.key_or("tls.key");
        let secret: Option<Secret> = reader.live(&seen.home, &reference.name).await?;
        let Some(secret) = secret else {
            return Ok(self.make_key(seen, spec, entry).await);
        };
        let Some(pem) = secret.data.as_ref().and_then(|d| d.get(entry)) else {
            return Ok(issuer::Outcome::KeyMissing(format!(
                "Secret \"{}\" in namespace \"{}\" has no entry \"{entry}\" with the account's private key: add it, \
                 or delete the Secret to have a new account",
                reference.name, seen.home
            )));
        };
        let id = &seen.issuer.id;
        let key = Key {
            kind: seen.kind,
            namespace: id.namespace.clone(),
            name: id.name.clone(),
        };
        let loaded_for = (
            seen.issuer.generation,
            secret_version(&reader.store, &key, spec),
        );
        let status = seen.issuer.status.acme.clone().unwrap_or_default();
        Ok(
            match Account::load(spec, &pem.0, None, self.hooks.clone(), loaded_for) {
                Ok(mut account) => {
                    let same = status.last_private_key_hash.as_deref() == Some(&account.hash);
                    let hash = account.hash.clone();
                    if same
                        && seen.issuer.is_ready()
                        && same_server(status.uri.as_deref(), &spec.server)
                    {
                        account.kid = status.uri;
                    }
                    self.accounts
                        .put((key.namespace, key.name), Arc::new(account));
                    issuer::Outcome::KeyLoaded(hash)
                }
                Err(error) => issuer::Outcome::KeyMissing(error.to_string()),
            },
        )
    }

    /// The account's key is stored before the CA hears of it.
    async fn make_key(
        &self,
        seen: &issuer::Observation,
        spec: &AcmeIssuer,
        entry: &str,
    ) -> issuer::Outcome {
        let reference = &spec.private_key_secret_ref;
        if spec.disable_account_key_generation == Some(true) {
            return issuer::Outcome::KeyMissing(format!(
                "Secret \"{}\" with the account's private key does not exist in namespace \"{}\", and \
                 spec.acme.disableAccountKeyGeneration forbids to make one",
                reference.name, seen.home
            ));
        }
        let key = self.signer.generate(KeyAlgorithm::Rsa { bits: 2048 }).await;
        let Some(pem) = key.and_then(|k| k.to_pem(KeyEncoding::Pkcs1).ok()) else {
            return issuer::Outcome::KeyMissing(
                "the account's private key could not be made".into(),
            );
        };
        issuer::Outcome::KeyMade(Box::new(SecretObject(Secret {
            metadata: ObjectMeta {
                name: Some(reference.name.clone()),
                namespace: Some(seen.home.to_string()),
                labels: Some(
                    [(
                        labels::MANAGED_BY_LABEL.to_owned(),
                        labels::MANAGED_BY.to_owned(),
                    )]
                    .into(),
                ),
                ..ObjectMeta::default()
            },
            data: Some([(entry.to_owned(), ByteString(pem.as_bytes().to_vec()))].into()),
            type_: Some("Opaque".into()),
            ..Secret::default()
        })))
    }

    async fn register(
        &self,
        reader: &Reader,
        seen: &issuer::Observation,
        spec: &AcmeIssuer,
    ) -> Result<issuer::Outcome, ReadError> {
        let name: Name = (
            seen.issuer.id.namespace.clone(),
            seen.issuer.id.name.clone(),
        );
        let Some(account) = self.accounts.get(&name) else {
            return Ok(issuer::Outcome::KeyMissing(
                "the account's private key is not loaded".into(),
            ));
        };
        let eab = match self.binding(reader, seen, spec).await? {
            Ok(eab) => eab,
            Err(message) => return Ok(refused(message, true)),
        };
        let email = spec.email.as_deref().filter(|e| !e.is_empty());
        let registered = match account
            .client
            .new_account(&account.key, email, eab.as_ref())
            .await
        {
            Ok(registered) => registered,
            Err(error) => {
                let message = format!("Failed to register ACME account: {error}");
                return Ok(refused(message, error.class() == Class::Permanent));
            }
        };
        let mut usable = Account {
            client: account.client.clone(),
            key: account.key.clone(),
            hash: account.hash.clone(),
            thumbprint: account.thumbprint.clone(),
            kid: Some(registered.url.clone()),
            loaded_for: account.loaded_for,
        };
        let wanted = email.map(|e| format!("mailto:{}", e.to_lowercase()));
        let known = registered.contact.first().cloned();
        if !registered.created
            && known != wanted
            && let Some(reference) = usable.reference()
            && let Err(error) = account.client.update_contact(&reference, email).await
        {
            usable.kid = None;
            let message = format!("Failed to update ACME account: {error}");
            let permanent = error.class() == Class::Permanent;
            return Ok(issuer::Outcome::Refused {
                reason: "ErrUpdateACMEAccount",
                message,
                permanent,
            });
        }
        let outcome = issuer::Outcome::Registered {
            uri: registered.url,
            email: email.map(ToOwned::to_owned),
            key_hash: usable.hash.clone(),
        };
        self.accounts.put(name, Arc::new(usable));
        Ok(outcome)
    }

    /// The external account binding, if the issuer has one; in words what is wrong with it.
    async fn binding(
        &self,
        reader: &Reader,
        seen: &issuer::Observation,
        spec: &AcmeIssuer,
    ) -> Result<Result<Option<Eab>, String>, ReadError> {
        let Some(binding) = &spec.external_account_binding else {
            return Ok(Ok(None));
        };
        let reference = &binding.key_secret_ref;
        let entry = reference.key.clone().unwrap_or_default();
        let secret: Option<Secret> = reader.live(&seen.home, &reference.name).await?;
        let value = secret.and_then(|s| s.data?.remove(&entry));
        Ok(match value {
            None => Err(format!(
                "spec.acme.externalAccountBinding.keySecretRef: Secret \"{}\" in namespace \"{}\" has no entry \
                 \"{entry}\"",
                reference.name, seen.home
            )),
            Some(value) => Eab::new(&binding.key_id, &value.0)
                .map(Some)
                .map_err(|e| e.to_string()),
        })
    }

    /// An Order's effect.
    pub async fn order(
        &self,
        account: &Account,
        seen: &order::Observation,
        effect: order::Effect,
    ) -> order::Outcome {
        let unavailable = |reason: &str| order::Outcome::Unavailable {
            reason: reason.into(),
            retry: None,
        };
        let Some(session) = Session::new(account, now()) else {
            return unavailable("the ACME account is not registered yet");
        };
        let url = seen
            .order
            .status
            .as_ref()
            .and_then(|s| s.url.clone())
            .unwrap_or_default();
        match effect {
            order::Effect::Create {
                identifiers,
                duration,
                profile,
            } => {
                session
                    .create_order(&identifiers, duration, profile.as_deref())
                    .await
            }
            order::Effect::Read => session.read_order(&url).await,
            order::Effect::Complete => {
                let request = &seen.order.spec.request.0;
                let der = CertificateSigningRequest::parse_pem(request)
                    .or_else(|_| CertificateSigningRequest::parse_der(request));
                match der {
                    Ok(csr) => {
                        let acme = seen.issuer.as_ref().and_then(|i| i.spec.acme.as_ref());
                        let preferred = acme.and_then(|a| a.preferred_chain.as_deref());
                        session.complete_order(&url, csr.der(), preferred).await
                    }
                    Err(error) => order::Outcome::Ended {
                        state: "errored".into(),
                        reason: format!("spec.request cannot be read: {error}"),
                    },
                }
            }
        }
    }

    /// What is remembered of a Challenge, and how many others are being validated.
    pub fn memo(&self, key: &Key) -> (Memo, usize) {
        let memos = self.memos.lock();
        let in_flight = memos
            .iter()
            .filter(|(k, m)| *k != key && m.presented.is_some())
            .count();
        (memos.get(key).cloned().unwrap_or_default(), in_flight)
    }

    /// The Challenge is gone.
    pub fn forget_challenge(&self, key: &Key) {
        self.memos.lock().remove(key);
    }

    /// Answer for the token before anybody is sent here; stop when the Challenge has ended.
    pub fn prepare_challenge(
        &self,
        key: &Key,
        seen: &mut challenge::Observation,
        settings: &challenge::Settings,
    ) {
        let object = &seen.challenge;
        let uid = object.metadata.uid.clone().unwrap_or_default();
        let ended = object.metadata.deletion_timestamp.is_some()
            || challenge::is_final(challenge::state(object));
        if ended {
            self.tokens.remove_owner(&uid);
            let mut memos = self.memos.lock();
            if let Some(memo) = memos.get_mut(key) {
                memo.presented = None;
            }
            if object.metadata.deletion_timestamp.is_some() {
                memos.remove(key);
                self.recoveries.forget(&uid);
            }
            return;
        }
        if mode(object, settings) == Some(Mode::Direct) {
            let spec = &object.spec;
            self.tokens
                .insert(&uid, &spec.dns_name, &spec.token, &spec.key);
            // A Service from before this process leads to an address that may be another's by now.
            if !self.slices.lock().contains(&key.namespace) {
                seen.objects.direct_service = None;
            }
        }
    }

    /// Take note of what a plan is about to write.
    pub fn planned(&self, key: &Key, actions: &[Action]) {
        let slice =
            |a: &Action| matches!(a, Action::Ensure(o) if matches!(**o, Object::EndpointSlice(_)));
        if actions.iter().any(slice) {
            self.slices.lock().insert(key.namespace.clone());
        }
        if actions
            .iter()
            .any(|a| matches!(a, Action::DeleteDirectService(_)))
        {
            self.slices.lock().remove(&key.namespace);
        }
    }

    /// A Challenge's effect.
    pub async fn challenge(
        self: Arc<Self>,
        queue: Arc<Queue>,
        key: &Key,
        seen: &challenge::Observation,
        account: Option<Arc<Account>>,
        effect: challenge::Effect,
    ) -> challenge::Outcome {
        let unavailable = challenge::Outcome::Unavailable {
            reason: "the ACME account is not registered yet".into(),
            retry: None,
        };
        let session = account.as_deref().and_then(|a| Session::new(a, now()));
        let spec = &seen.challenge.spec;
        match (effect, session) {
            (challenge::Effect::SelfCheck, _) => {
                let mut memos = self.memos.lock();
                let memo = memos.entry(key.clone()).or_default();
                memo.presented.get_or_insert_with(now);
                memo.check = Check::Running;
                drop(memos);
                self.clone()
                    .check(queue, key.clone(), seen.challenge.clone(), false);
                challenge::Outcome::Started
            }
            (challenge::Effect::Probe, _) => {
                self.clone()
                    .check(queue, key.clone(), seen.challenge.clone(), true);
                challenge::Outcome::Started
            }
            (challenge::Effect::Accept, Some(session)) => {
                let outcome = session.accept(&spec.authorization_url, &spec.url).await;
                if matches!(outcome, challenge::Outcome::State { .. }) {
                    self.memos.lock().entry(key.clone()).or_default().accepted = true;
                }
                outcome
            }
            (challenge::Effect::Poll, Some(session)) => {
                session.poll(&spec.authorization_url, &spec.url).await
            }
            (_, None) => unavailable,
        }
    }

    /// Look at the well-known path aside, so that a slow host takes no worker; the answer wakes the
    /// Challenge. `probe`: after a failure, whether the name can be reached at all.
    fn check(self: Arc<Self>, queue: Arc<Queue>, key: Key, object: Arc<Challenge>, probe: bool) {
        tokio::spawn(async move {
            let spec = &object.spec;
            let found = self
                .self_check
                .check(&spec.dns_name, &spec.token, &spec.key)
                .await;
            if probe {
                self.probed(&key, &object, &found);
                return;
            }
            let check = match found {
                Checked::Reachable => Check::Passed,
                Checked::NotYet(reason) => Check::Failed {
                    reason: reason.to_string(),
                    at: now(),
                },
            };
            if let Some(memo) = self.memos.lock().get_mut(&key) {
                memo.check = check;
            }
            queue.add(key);
        });
    }

    fn probed(&self, key: &Key, object: &Challenge, found: &Checked) {
        let reachable = match found {
            Checked::Reachable => true,
            Checked::NotYet(reason) => reason.reached_a_server(),
        };
        let mut memos = self.memos.lock();
        let memo = memos.entry(key.clone()).or_default();
        if reachable && memo.blocked {
            let uid = object.metadata.uid.clone().unwrap_or_default();
            self.recoveries.note(&uid, now());
        }
        memo.blocked = !reachable;
    }
}

fn mode(object: &Challenge, settings: &challenge::Settings) -> Option<Mode> {
    let ingress = object.spec.solver.http01.as_ref()?.ingress.as_ref()?;
    Some(Mode::of(ingress, settings.mode))
}

fn refused(message: String, permanent: bool) -> issuer::Outcome {
    issuer::Outcome::Refused {
        reason: "ErrRegisterACMEAccount",
        message,
        permanent,
    }
}

fn same_server(uri: Option<&str>, server: &str) -> bool {
    let host = |url: &str| {
        url.parse::<http::Uri>()
            .ok()
            .and_then(|u| u.authority().map(ToString::to_string))
    };
    uri.is_some_and(|uri| host(uri).is_some() && host(uri) == host(server))
}

fn secret_version(store: &Store, key: &Key, spec: &AcmeIssuer) -> Option<u64> {
    let home = match key.kind {
        Kind::ClusterIssuer => store.cluster_namespace().clone(),
        _ => key.namespace.clone(),
    };
    store.secret_version(&home, &spec.private_key_secret_ref.name)
}
