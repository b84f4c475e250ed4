//! The ACME accounts that this process has in use (contract §5.1).

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use parking_lot::Mutex;

use crate::acme::{self, AccountRef, Client, Hooks, ServerConfig};
use crate::api::acme_issuer::AcmeIssuer;
use crate::api::labels;
use crate::net::clean_link;
use crate::pki::PrivateKey;

type Name = (Arc<str>, Arc<str>);

/// What an account was loaded for: uid and generation of the issuer, version of the Secret. An issuer that was deleted and
/// made anew begins at the first generation again, perhaps with another server.
pub type LoadedFor = (String, i64, Option<u64>);

/// An account's key and the way to its server.
pub struct Account {
    /// The server.
    pub client: Client,
    /// The key.
    pub key: Arc<PrivateKey>,
    /// Hash of the key, as `status.acme.lastPrivateKeyHash` has it.
    pub hash: String,
    /// Thumbprint of the key (RFC 8555 §8.1).
    pub thumbprint: String,
    /// The account's URL, once it is registered.
    pub kid: Option<String>,
    /// What it was loaded for.
    pub loaded_for: LoadedFor,
    /// The key that is to replace it: in the Secret, and perhaps at the CA already.
    pub next: Option<Arc<PrivateKey>>,
    /// Which wish for another key the Secret's was made or staged for.
    pub rotation: Option<String>,
    /// The Secret that the keys were read from.
    pub secret: ObjectMeta,
    trouble: Mutex<Option<Trouble>>,
}

/// Why a CA does not take an account that it took before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// It does not know it: it was rebuilt.
    Unknown,
    /// It wants something of the owner, or has closed the account: in words.
    Blocked(String),
}

/// What to do about an account that the CA has closed; `why` is its word for it.
pub fn closed_account(why: &str) -> String {
    format!(
        "The CA has closed the account ({why}): delete the Secret of spec.acme.privateKeySecretRef to have a new one, or \
         ask the CA"
    )
}

/// Why an account cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Secret's key is none, or not usable.
    #[error(
        "the account's private key in Secret \"{secret}\", entry \"{entry}\", cannot be used: {problem}"
    )]
    Key {
        /// Its Secret.
        secret: String,
        /// Its entry.
        entry: String,
        /// What is wrong.
        problem: String,
    },
    /// The issuer's configuration of the server does not do.
    #[error("spec.acme: {0}")]
    Server(#[from] acme::Error),
}

impl Account {
    /// From the issuer and the Secret of its key, which holds the key under `pem`.
    pub fn load(
        spec: &AcmeIssuer,
        pem: &[u8],
        secret: &Secret,
        hooks: Hooks,
        loaded_for: LoadedFor,
    ) -> Result<Self, Error> {
        let reference = &spec.private_key_secret_ref;
        let entry = reference.key_or("tls.key").to_owned();
        let unusable = |entry: &str, error: crate::pki::Error| Error::Key {
            secret: reference.name.clone(),
            entry: entry.to_owned(),
            problem: error.to_string(),
        };
        let key = PrivateKey::from_pem(pem).map_err(|e| unusable(&entry, e))?;
        let next_entry = next_entry(&entry);
        let next = secret.data.as_ref().and_then(|data| data.get(&next_entry));
        let next = next.map(|pem| PrivateKey::from_pem(&pem.0).map(Arc::new));
        let annotations = secret.metadata.annotations.as_ref();
        let rotation = annotations.and_then(|a| a.get(labels::ACCOUNT_KEY_ROTATION_ANNOTATION));
        Ok(Self {
            client: Client::with_hooks(&config(spec), hooks)?,
            hash: hash(&key).map_err(|e| unusable(&entry, e))?,
            thumbprint: key.jwk_thumbprint().map_err(|e| unusable(&entry, e))?,
            key: Arc::new(key),
            kid: None,
            loaded_for,
            next: next.transpose().map_err(|e| unusable(&next_entry, e))?,
            rotation: rotation.cloned(),
            secret: secret.metadata.clone(),
            trouble: Mutex::default(),
        })
    }

    /// The same with this URL, if any, and without trouble.
    #[must_use]
    pub fn with_url(&self, kid: Option<String>) -> Self {
        Self {
            client: self.client.clone(),
            key: self.key.clone(),
            hash: self.hash.clone(),
            thumbprint: self.thumbprint.clone(),
            kid: kid.filter(|url| !url.is_empty()),
            loaded_for: self.loaded_for.clone(),
            next: self.next.clone(),
            rotation: self.rotation.clone(),
            secret: self.secret.clone(),
            trouble: Mutex::default(),
        }
    }

    /// Whether it can be used for orders now.
    pub fn is_usable(&self) -> bool {
        self.kid.is_some() && self.next.is_none() && self.trouble.lock().is_none()
    }

    /// Where a human can do what a refusal asks for: its own link, or the terms of service.
    pub async fn place_to_act(&self, error: &acme::Error) -> Option<String> {
        let problem = error.problem()?;
        if !problem.is("userActionRequired") {
            return None;
        }
        if let Some(link) = problem.action_link() {
            return Some(link);
        }
        let directory = self.client.directory().await.ok()?;
        directory.meta.terms_of_service.as_deref().map(clean_link)
    }

    /// The CA has refused it.
    pub fn note(&self, trouble: Trouble) {
        self.trouble.lock().get_or_insert(trouble);
    }

    /// Why the CA has refused it, if it has.
    pub fn trouble(&self) -> Option<Trouble> {
        self.trouble.lock().clone()
    }

    /// For signed calls; `None` before registration.
    pub fn reference(&self) -> Option<AccountRef> {
        Some(AccountRef {
            key: self.key.clone(),
            kid: self.kid.clone()?,
        })
    }
}

/// The way to the server of an issuer, for what needs no account there.
pub fn client(spec: &AcmeIssuer, hooks: Hooks) -> Result<Client, acme::Error> {
    Client::with_hooks(&config(spec), hooks)
}

/// Where the Secret holds the key that is to replace the one under `entry`.
pub fn next_entry(entry: &str) -> String {
    format!("{entry}.next")
}

fn config(spec: &AcmeIssuer) -> ServerConfig {
    ServerConfig {
        directory_url: spec.server.clone(),
        ca_bundle: spec
            .ca_bundle
            .as_ref()
            .map(|b| b.0.clone())
            .filter(|b| !b.is_empty()),
        skip_tls_verify: spec.skip_tls_verify.unwrap_or_default(),
        user_agent: concat!("everleaf/", env!("CARGO_PKG_VERSION")).into(),
    }
}

/// Base64 of the SHA-256 of the key's PKCS#1 DER; of its PKCS#8 DER for other than RSA keys.
fn hash(key: &PrivateKey) -> Result<String, crate::pki::Error> {
    let der = key.pkcs1_der().or_else(|_| key.pkcs8_der())?;
    Ok(STANDARD.encode(digest::digest(&digest::SHA256, &der)))
}

/// All accounts in use, by the issuer's namespace and name.
#[derive(Default)]
pub struct Accounts(Mutex<HashMap<Name, Arc<Account>>>);

impl Accounts {
    /// The account of an issuer.
    pub fn get(&self, issuer: &Name) -> Option<Arc<Account>> {
        self.0.lock().get(issuer).cloned()
    }

    /// Use this account for an issuer from now on.
    pub fn put(&self, issuer: Name, account: Arc<Account>) {
        self.0.lock().insert(issuer, account);
    }

    /// An issuer is gone, or has to be looked at anew.
    pub fn remove(&self, issuer: &Name) {
        self.0.lock().remove(issuer);
    }
}
