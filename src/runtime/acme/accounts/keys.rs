//! The key of an account: loaded, made, and changed for another one (RFC 8555 §7.3.5).
//!
//! Another key is in the Secret, beside the old one, before the CA hears of it. Whichever of the two the CA has after a
//! crash, it is found by asking, and the Secret is brought to the same state.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};
use std::sync::Arc;

use super::register::{refused, retry};
use super::{AccountsInUse, name_of, no_longer, secret_version};
use crate::acme::{AccountRef, Class, Error};
use crate::api::acme_issuer::AcmeIssuer;
use crate::api::labels;
use crate::controllers::action::{SecretObject, SecretPatch};
use crate::controllers::facts::Identity;
use crate::controllers::issuer::{Observation, Outcome, same_server};
use crate::controllers::key::Key;
use crate::controllers::reads::{ReadError, Reader};
use crate::issuers::acme::{Account, next_entry};
use crate::pki::{Curve, KeyAlgorithm, KeyEncoding, PrivateKey};

/// JWS algorithms of account keys (RFC 7518 §3.1, RFC 8037 §3.1); the first is cert-manager's only one.
const ALGORITHMS: [(&str, KeyAlgorithm); 4] = [
    ("RS256", KeyAlgorithm::Rsa { bits: 2048 }),
    ("ES256", KeyAlgorithm::Ecdsa(Curve::P256)),
    ("ES384", KeyAlgorithm::Ecdsa(Curve::P384)),
    ("EdDSA", KeyAlgorithm::Ed25519),
];

/// What the CA made of another key.
enum Changed {
    /// It has it.
    Yes,
    /// It does not take this one, ever.
    Never(String),
    /// It may later.
    Later(Error),
}

impl AccountsInUse {
    /// Load the account's private key; without one, make it.
    pub async fn load(&self, reader: &Reader, seen: &Observation) -> Result<Outcome, ReadError> {
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
            return Ok(Outcome::KeyMissing(format!(
                "Secret \"{}\" in namespace \"{}\" has no entry \"{entry}\" with the account's private key: add it, \
                 or delete the Secret to have a new account",
                reference.name, seen.home
            )));
        };
        let name = name_of(seen);
        let key = Key::new(seen.kind, &name.0, &name.1);
        let version = secret_version(&reader.store, &key, spec);
        let loaded_for = (seen.issuer.id.uid.clone(), seen.issuer.generation, version);
        let loaded = Account::load(spec, &pem.0, &secret, self.hooks.clone(), loaded_for);
        Ok(match loaded {
            Ok(account) => {
                let hash = account.hash.clone();
                let status = seen.issuer.status.acme.clone().unwrap_or_default();
                let same = status.last_private_key_hash.as_deref() == Some(&hash);
                let known = same
                    && seen.issuer.is_ready()
                    && status
                        .uri
                        .as_deref()
                        .is_some_and(|uri| same_server(uri, &spec.server));
                let account = account.with_url(status.uri.filter(|_| known));
                self.accounts.put(name, Arc::new(account));
                Outcome::KeyLoaded(hash)
            }
            Err(error) => Outcome::KeyMissing(error.to_string()),
        })
    }

    /// The account's key is stored before the CA hears of it.
    async fn make_key(&self, seen: &Observation, spec: &AcmeIssuer, entry: &str) -> Outcome {
        let reference = &spec.private_key_secret_ref;
        if spec.disable_account_key_generation == Some(true) {
            return Outcome::KeyMissing(format!(
                "Secret \"{}\" with the account's private key does not exist in namespace \"{}\", and \
                 spec.acme.disableAccountKeyGeneration forbids to make one",
                reference.name, seen.home
            ));
        }
        let pem = match self.new_key(seen).await {
            Ok(pem) => pem,
            Err(problem) => return Outcome::KeyMissing(problem),
        };
        // It is as new as any that the annotation could ask for.
        let rotation = seen.issuer.account_key.rotate.clone();
        let rotation =
            rotation.map(|wish| (labels::ACCOUNT_KEY_ROTATION_ANNOTATION.to_owned(), wish));
        Outcome::KeyMade(Box::new(SecretObject(Secret {
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
                annotations: rotation.map(|annotation| [annotation].into()),
                ..ObjectMeta::default()
            },
            data: Some([(entry.to_owned(), ByteString(pem))].into()),
            type_: Some("Opaque".into()),
            ..Secret::default()
        })))
    }

    /// A new key in PEM, of the algorithm that the issuer wants.
    async fn new_key(&self, seen: &Observation) -> Result<Vec<u8>, String> {
        let wanted = seen.issuer.account_key.algorithm.as_deref();
        let (first, _) = ALGORITHMS[0];
        let wanted = wanted.unwrap_or(first);
        let Some((_, algorithm)) = ALGORITHMS.iter().find(|(name, _)| *name == wanted) else {
            let names = ALGORITHMS.map(|(name, _)| name).join(", ");
            return Err(format!(
                "metadata.annotations[{:?}]: \"{wanted}\" is none of {names}",
                labels::ACCOUNT_KEY_ALGORITHM_ANNOTATION
            ));
        };
        let key = self.signer.generate(*algorithm).await;
        let pem = key.and_then(|key| pem(&key).ok());
        pem.ok_or_else(|| "the account's private key could not be made".into())
    }

    /// Make another key, to be stored beside the one in use. Not where the CA cannot take it.
    pub async fn stage_key(&self, seen: &Observation) -> Outcome {
        let (Some(spec), Some(account)) =
            (&seen.issuer.spec.acme, self.accounts.get(&name_of(seen)))
        else {
            return no_longer();
        };
        match account.client.directory().await {
            Ok(directory) if directory.key_change.is_none() => {
                return Outcome::KeyKept {
                    patch: None,
                    message: "The account's key is not changed: the CA does not offer it (its directory has no \
                              keyChange). Take the annotation off"
                        .into(),
                };
            }
            Ok(_) => {}
            Err(error) => {
                let message = format!("Failed to change the key of the ACME account: {error}");
                return refused("ErrUpdateACMEAccount", message, retry(&error));
            }
        }
        let pem = match self.new_key(seen).await {
            Ok(pem) => pem,
            Err(message) => {
                let patch = None;
                return Outcome::KeyKept { patch, message };
            }
        };
        let next = next_entry(spec.private_key_secret_ref.key_or("tls.key"));
        let wish = seen.issuer.account_key.rotate.clone();
        let patch = json!({
            "metadata": { "annotations": { labels::ACCOUNT_KEY_ROTATION_ANNOTATION: wish } },
            "data": { next: ByteString(pem) },
        });
        Outcome::KeyStaged(patch_of(&account, patch))
    }

    /// Bring CA and Secret to the key that is staged, wherever a process before this one has stopped.
    pub async fn change_key(&self, seen: &Observation) -> Outcome {
        let (Some(spec), Some(account)) =
            (&seen.issuer.spec.acme, self.accounts.get(&name_of(seen)))
        else {
            return no_longer();
        };
        let Some(next) = &account.next else {
            return Outcome::KeyLoaded(account.hash.clone());
        };
        let entry = spec.private_key_secret_ref.key_or("tls.key");
        let changed = match change(&account, next).await {
            // The answer may have been about a repetition of a request that has done it.
            Changed::Never(why) => match account.client.find_account(next).await {
                Ok(_) => Changed::Yes,
                Err(error) if error.is_account_unknown() || error.class() == Class::Permanent => {
                    Changed::Never(why)
                }
                // It may have it: the only copy of that key is not thrown away.
                Err(error) => Changed::Later(error),
            },
            changed => changed,
        };
        match changed {
            Changed::Yes => match pem(next) {
                Ok(pem) => {
                    let data = json!({ entry: ByteString(pem), next_entry(entry): null });
                    Outcome::KeyChanged(patch_of(&account, json!({ "data": data })))
                }
                Err(error) => Outcome::KeyMissing(error.to_string()),
            },
            Changed::Never(why) => {
                let data = json!({ next_entry(entry): null });
                Outcome::KeyKept {
                    patch: Some(patch_of(&account, json!({ "data": data }))),
                    message: format!(
                        "The account's key is not changed: {why}. It is tried again when the annotation is \
                         another one"
                    ),
                }
            }
            Changed::Later(error) => {
                let message = format!("Failed to change the key of the ACME account: {error}");
                refused("ErrUpdateACMEAccount", message, retry(&error))
            }
        }
    }
}

/// Have the CA take the next key instead of the present one, unless it has it already.
async fn change(account: &Account, next: &PrivateKey) -> Changed {
    match account.client.find_account(next).await {
        Ok(_) => return Changed::Yes,
        Err(error) if error.is_account_unknown() => {}
        Err(error) if error.class() == Class::Permanent => {
            return Changed::Never(error.to_string());
        }
        Err(error) => return Changed::Later(error),
    }
    let kid = match &account.kid {
        Some(kid) => kid.clone(),
        None => match account.client.find_account(&account.key).await {
            Ok(found) => found.url,
            // It has neither: the next one is registered as any key is.
            Err(error) if error.is_account_unknown() => return Changed::Yes,
            Err(error) => return Changed::Later(error),
        },
    };
    let reference = AccountRef {
        key: account.key.clone(),
        kid,
    };
    match account.client.change_key(&reference, next).await {
        Ok(()) => Changed::Yes,
        Err(error) if error.is_account_unknown() => Changed::Yes,
        // Vault's directory names a change of keys that the server does not have.
        Err(error) if error.class() == Class::Permanent || error.finds_nothing() => {
            Changed::Never(error.to_string())
        }
        Err(error) => Changed::Later(error),
    }
}

/// RSA keys as cert-manager reads them.
fn pem(key: &PrivateKey) -> Result<Vec<u8>, crate::pki::Error> {
    let encoding = match key.algorithm() {
        KeyAlgorithm::Rsa { .. } => KeyEncoding::Pkcs1,
        _ => KeyEncoding::Pkcs8,
    };
    Ok(key.to_pem(encoding)?.as_bytes().to_vec())
}

fn patch_of(account: &Account, patch: Value) -> SecretPatch {
    SecretPatch {
        id: Identity::of(&account.secret),
        patch,
    }
}
