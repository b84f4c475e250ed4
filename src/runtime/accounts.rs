//! The ACME accounts that this process has in use: load or make the key, register, and act for
//! Orders. None of it is the only copy of anything.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use parking_lot::Mutex;

use super::ca::Session;
use super::clock::now;
use super::signing::Signer;
use crate::acme::{Class, Eab, Hooks, Status};
use crate::api::acme_issuer::AcmeIssuer;
use crate::api::labels;
use crate::api::meta::IssuerReference;
use crate::controllers::action::SecretObject;
use crate::controllers::issuer::Retry;
use crate::controllers::key::Key;
use crate::controllers::reads::{ReadError, Reader};
use crate::controllers::store::{Name, Store};
use crate::controllers::{issuer, order};
use crate::issuers::acme::{Account, Accounts};
use crate::pki::{CertificateSigningRequest, KeyAlgorithm, KeyEncoding};

/// The longest time that a look at a server may take.
const LOOK: Duration = Duration::from_secs(10);

/// The accounts behind Issuers and ClusterIssuers.
pub struct AccountsInUse {
    accounts: Accounts,
    refusals: Mutex<HashMap<Name, Refusal>>,
    hooks: Hooks,
    signer: Arc<Signer>,
}

/// The CA refused an account. What for, and until when it is left alone.
struct Refusal {
    asked: Asked,
    until: Timestamp,
}

/// What a CA's answer to a registration depends on, as far as it is in the cluster: generation of the
/// issuer, versions of the Secrets of the account's key and of the external account binding.
type Asked = (i64, Option<u64>, Option<u64>);

impl AccountsInUse {
    /// None is loaded yet.
    pub fn new(hooks: Hooks, signer: Arc<Signer>) -> Self {
        Self {
            accounts: Accounts::default(),
            refusals: Mutex::default(),
            hooks,
            signer,
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

    /// Until when the CA, which refused, is left alone with the same question.
    pub fn resting(&self, store: &Store, key: &Key) -> Option<Timestamp> {
        let refusals = self.refusals.lock();
        let refusal = refusals.get(&(key.namespace.clone(), key.name.clone()))?;
        (asked(store, key)? == refusal.asked).then_some(refusal.until)
    }

    /// The CA refused: leave it alone until then.
    pub fn rest(&self, store: &Store, key: &Key, until: Timestamp) {
        if let Some(asked) = asked(store, key) {
            let name = (key.namespace.clone(), key.name.clone());
            self.refusals.lock().insert(name, Refusal { asked, until });
        }
    }

    /// Whether Orders of this issuer can go on.
    pub fn is_usable(&self, key: &Key) -> bool {
        self.accounts
            .get(&(key.namespace.clone(), key.name.clone()))
            .is_some_and(|a| a.kid.is_some())
    }

    /// The issuer is gone.
    pub fn forget(&self, key: &Key) {
        let name = (key.namespace.clone(), key.name.clone());
        self.accounts.remove(&name);
        self.refusals.lock().remove(&name);
    }

    /// Load the account's private key; without one, make it.
    pub async fn load(
        &self,
        reader: &Reader,
        seen: &issuer::Observation,
    ) -> Result<issuer::Outcome, ReadError> {
        let Some(spec) = &seen.issuer.spec.acme else {
            return Ok(no_longer());
        };
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

    /// Register the account with the CA, or find it there; update its contact.
    pub async fn register(
        &self,
        reader: &Reader,
        seen: &issuer::Observation,
    ) -> Result<issuer::Outcome, ReadError> {
        let Some(spec) = &seen.issuer.spec.acme else {
            return Ok(no_longer());
        };
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
            Err(message) => return Ok(refused(message, Retry::OnChange)),
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
                return Ok(refused(message, retry(&error)));
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
            return Ok(issuer::Outcome::Refused {
                reason: "ErrUpdateACMEAccount",
                message,
                retry: retry(&error),
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

    /// Whether the server of an issuer answers and knows the account; if not, why.
    pub async fn probe(
        &self,
        store: &Store,
        namespace: &str,
        reference: &IssuerReference,
    ) -> Result<(), String> {
        let account = self.account(store, namespace, reference);
        let account = account.ok_or("the ACME account is not registered yet")?;
        let looked = async {
            account.client.probe().await?;
            account.client.find_account(&account.key).await
        };
        // Others wait for what is found out.
        let found = tokio::time::timeout(LOOK, looked).await;
        let found = found.map_err(|_| format!("no reply within {} s", LOOK.as_secs()))?;
        let found = found.map_err(|e| e.to_string())?;
        match found.status {
            status @ (Status::Deactivated | Status::Revoked) => {
                Err(format!("the ACME account is {}", status.as_str()))
            }
            _ => Ok(()),
        }
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
                replaces,
            } => {
                let (profile, replaces) = (profile.as_deref(), replaces.as_deref());
                session
                    .create_order(&identifiers, duration, profile, replaces)
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
}

fn retry(error: &crate::acme::Error) -> Retry {
    match error.class() {
        Class::Permanent => Retry::OnChange,
        Class::Transient | Class::RateLimited { until: None } => Retry::Soon,
        Class::RateLimited { until: Some(time) } => Retry::At(time),
    }
}

/// The issuer was another one when its effect was planned.
fn no_longer() -> issuer::Outcome {
    issuer::Outcome::KeyMissing("spec.acme is gone".into())
}

fn refused(message: String, retry: Retry) -> issuer::Outcome {
    issuer::Outcome::Refused {
        reason: "ErrRegisterACMEAccount",
        message,
        retry,
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
    store.secret_version(
        store.home(key.kind, &key.namespace),
        &spec.private_key_secret_ref.name,
    )
}

fn asked(store: &Store, key: &Key) -> Option<Asked> {
    let issuer = store.issuer_named(&key.namespace, &key.name)?;
    let spec = issuer.spec.acme.as_ref()?;
    let binding = spec.external_account_binding.as_ref();
    let binding = binding.and_then(|b| {
        store.secret_version(store.home(key.kind, &key.namespace), &b.key_secret_ref.name)
    });
    Some((issuer.generation, secret_version(store, key, spec), binding))
}
