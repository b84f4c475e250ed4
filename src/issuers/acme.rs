//! The ACME accounts that this process has in use (contract §5.1).

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;

use crate::acme::{self, AccountRef, Client, Hooks, ServerConfig};
use crate::api::acme_issuer::AcmeIssuer;
type Name = (Arc<str>, Arc<str>);
use crate::pki::PrivateKey;

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
    /// What it was loaded for: generation of the issuer, version of the Secret.
    pub loaded_for: (i64, Option<u64>),
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
    /// From the issuer and the PEM of its key. `uri` is the account's URL, if the issuer's status has
    /// one for this key and server.
    pub fn load(
        spec: &AcmeIssuer,
        pem: &[u8],
        uri: Option<String>,
        hooks: Hooks,
        loaded_for: (i64, Option<u64>),
    ) -> Result<Self, Error> {
        let unusable = |problem: String| Error::Key {
            secret: spec.private_key_secret_ref.name.clone(),
            entry: spec.private_key_secret_ref.key_or("tls.key").into(),
            problem,
        };
        let key = PrivateKey::from_pem(pem).map_err(|e| unusable(e.to_string()))?;
        let client = Client::with_hooks(&config(spec), hooks)?;
        Ok(Self {
            client,
            hash: hash(&key).map_err(|e| unusable(e.to_string()))?,
            thumbprint: key.jwk_thumbprint().map_err(|e| unusable(e.to_string()))?,
            key: Arc::new(key),
            kid: uri.filter(|u| !u.is_empty()),
            loaded_for,
        })
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
