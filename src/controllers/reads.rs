//! What reconcilers read from: the facts, the private keys in use, and single live objects.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use http::header::CONTENT_TYPE;
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use kube::{Api, Client, Resource};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::digest::digest;
use super::polls::Polls;
use super::store::{Name, Store};
use super::watched_lists::WatchedLists;
use crate::api::Item;
use crate::pki::PrivateKey;

/// The longest time that a read may take.
const DEADLINE: Duration = Duration::from_secs(15);

/// A failed read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The API server refused or could not be reached.
    #[error("reading {what}: {source}")]
    Api {
        /// Kind, namespace and name.
        what: String,
        /// The reason.
        #[source]
        source: Box<kube::Error>,
    },
    /// No answer in time.
    #[error("reading {0}: no answer within {seconds} s", seconds = DEADLINE.as_secs())]
    Deadline(String),
    /// What it says is not of its schema.
    #[error("reading {0}: it is not of its schema: correct it, or delete it")]
    Unreadable(String),
}

/// What all reconcilers read from.
#[derive(Clone)]
pub struct Reader {
    /// The facts.
    pub store: Arc<Store>,
    /// Private keys of issuances under way.
    pub keys: Arc<Keys>,
    /// What was seen to recover after a failed challenge.
    pub recoveries: Arc<Recoveries>,
    /// The keystores that were checked.
    pub checked: Arc<Checked>,
    /// The Secrets whose `ca.crt` was seen to hold all roots of a rotation, and others too.
    pub trusting: Arc<Checked>,
    /// When CAs are asked for renewal information.
    pub polls: Arc<Polls>,
    /// Revocation lists of other CAs, and what is in them.
    pub watched: Arc<WatchedLists>,
    /// The API server.
    pub client: Client,
}

impl Reader {
    /// Of these facts, with nothing else known yet.
    pub fn new(store: Arc<Store>, client: Client) -> Self {
        Self {
            store,
            keys: Arc::default(),
            recoveries: Arc::default(),
            checked: Arc::default(),
            trusting: Arc::default(),
            polls: Arc::default(),
            watched: Arc::default(),
            client,
        }
    }

    /// One live object; `None` when it does not exist.
    pub async fn live<K>(&self, namespace: &str, name: &str) -> Result<Option<K>, ReadError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + DeserializeOwned
            + Clone
            + std::fmt::Debug,
    {
        let what = || format!("{} {namespace}/{name}", K::kind(&()));
        let api: Api<Item<K>> = Api::namespaced(self.client.clone(), namespace);
        match tokio::time::timeout(DEADLINE, api.get_opt(name)).await {
            Ok(Ok(None)) => Ok(None),
            Ok(Ok(Some(Item::Read(object)))) => Ok(Some(object)),
            Ok(Ok(Some(Item::Unreadable(_)))) => Err(ReadError::Unreadable(what())),
            Ok(Err(e)) => Err(ReadError::Api {
                what: what(),
                source: Box::new(e),
            }),
            Err(_) => Err(ReadError::Deadline(what())),
        }
    }
}

impl Reader {
    /// What the API server answers at a path, to a body if there is one; `None` where there is nothing.
    pub async fn ask(&self, path: &str, body: Option<&Value>) -> Result<Option<Value>, ReadError> {
        let method = body.map_or(Method::GET, |_| Method::POST);
        let body = body.map_or_else(Vec::new, |body| body.to_string().into_bytes());
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header(CONTENT_TYPE, "application/json")
            .body(body);
        let answer = async {
            self.client
                .request(request.map_err(kube::Error::HttpError)?)
                .await
        };
        match tokio::time::timeout(DEADLINE, answer).await {
            Ok(Ok(answer)) => Ok(Some(answer)),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => Ok(None),
            Ok(Err(source)) => Err(ReadError::Api {
                what: path.to_owned(),
                source: Box::new(source),
            }),
            Err(_) => Err(ReadError::Deadline(path.to_owned())),
        }
    }
}

/// The private keys of issuances under way, by namespace and name of their Secret. They are here to
/// save reads; for a CA of our own (contract §6.2) they are nowhere else until the target Secret is
/// written.
#[derive(Default)]
pub struct Keys(Mutex<Held>);

#[derive(Default)]
struct Held {
    keys: HashMap<Name, Arc<PrivateKey>>,
    /// The keys of a Certificate: there may be thousands under way.
    of: HashMap<Name, Vec<Name>>,
}

impl Keys {
    /// The key, if this process has it.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<PrivateKey>> {
        let held = self.0.lock();
        held.keys.get(&(namespace.into(), name.into())).cloned()
    }

    /// Remember a key for a Certificate.
    pub fn put(&self, namespace: &str, certificate: &str, name: &str, key: Arc<PrivateKey>) {
        let name: Name = (namespace.into(), name.into());
        let certificate = (name.0.clone(), certificate.into());
        let mut held = self.0.lock();
        held.keys.insert(name.clone(), key);
        held.of.entry(certificate).or_default().push(name);
    }

    /// Nothing is under way for a Certificate: forget its keys. One is wiped when nobody uses it any
    /// more.
    pub fn forget(&self, namespace: &str, certificate: &str) {
        let mut held = self.0.lock();
        let names = held.of.remove(&(namespace.into(), certificate.into()));
        for name in names.unwrap_or_default() {
            held.keys.remove(&name);
        }
    }
}

/// When the obstacle of a failed Challenge was seen to be gone, by the Challenge's uid. Kept in memory
/// only: after a restart the obstacle is looked at again.
#[derive(Debug, Default)]
pub struct Recoveries(Mutex<HashMap<String, Timestamp>>);

impl Recoveries {
    /// The obstacle is gone.
    pub fn note(&self, challenge_uid: &str, now: Timestamp) {
        self.0.lock().insert(challenge_uid.to_owned(), now);
    }

    /// When it was seen to be gone.
    pub fn since(&self, challenge_uid: &str) -> Option<Timestamp> {
        self.0.lock().get(challenge_uid).copied()
    }

    /// Forget a Challenge that is gone.
    pub fn forget(&self, challenge_uid: &str) {
        self.0.lock().remove(challenge_uid);
    }
}

/// What was seen in Secrets and cannot be told by facts, by namespace and name of their Certificate. Of
/// keystores, that they open with the password of now: a digest of the stores, of what the spec asks for, and of the versions of the Secrets that
/// hold their passwords. After a restart each is looked at once.
#[derive(Debug, Default)]
pub struct Checked(Mutex<HashMap<u64, u64>>);

impl Checked {
    /// The stores of this digest fit, as long as what they depend on has this version.
    pub fn note(&self, namespace: &str, certificate: &str, version: u64, stores: u64) {
        let name = digest(&(namespace, certificate));
        self.0.lock().insert(name, digest(&(version, stores)));
    }

    /// Whether that was noted.
    pub fn is_noted(&self, namespace: &str, certificate: &str, version: u64, stores: u64) -> bool {
        let checked = self.0.lock();
        checked.get(&digest(&(namespace, certificate))) == Some(&digest(&(version, stores)))
    }

    /// Forget a Certificate that is gone.
    pub fn forget(&self, namespace: &str, certificate: &str) {
        self.0.lock().remove(&digest(&(namespace, certificate)));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;
    use crate::pki::KeyAlgorithm;

    #[test]
    fn keys_are_forgotten_with_their_certificate_alone() {
        let keys = Keys::default();
        let key = Arc::new(PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap());
        for (namespace, certificate, name) in [
            ("team", "site", "site-1"),
            ("team", "site", "site-2"),
            ("team", "other", "other-1"),
            ("elsewhere", "site", "site-1"),
        ] {
            keys.put(namespace, certificate, name, key.clone());
        }
        keys.forget("team", "site");
        assert!(keys.get("team", "site-1").is_none());
        assert!(keys.get("team", "site-2").is_none());
        assert!(keys.get("team", "other-1").is_some());
        assert!(keys.get("elsewhere", "site-1").is_some());
        keys.forget("team", "other");
        keys.forget("elsewhere", "site");
        assert_eq!(Arc::strong_count(&key), 1, "nothing of it is left");
    }
}
