//! Effects that need a private key or randomness. Keys come from memory or from their Secret, and go
//! nowhere but into the outcome.

pub mod approvals;
pub mod authorities;
pub mod vaults;

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use self::authorities::Authorities;
use self::vaults::Vaults;
use super::clock::now;
use crate::controllers::certificate::{self, Entries, KeySource, Recipe, Roots, SecretData};
use crate::controllers::certificate_request as request;
use crate::controllers::facts::{KeyFact, ca_digest, stores_digest};
use crate::controllers::key::Key;
use crate::controllers::reads::{ReadError, Reader};
use crate::issuers::{self, self_signed, temporary};
use crate::pki::{self, KeyAlgorithm, KeyEncoding, PrivateKey, Urls, build_request};
use crate::runtime::acme::accounts::AccountsInUse;
use crate::runtime::acme::renewals;

/// Makes keys and signatures. New RSA keys take a core for a while: as many at once as there are
/// cores, and off the tasks that serve everything else.
pub struct Signer {
    rsa: Arc<Semaphore>,
    /// The CAs behind CA issuers.
    pub authorities: Authorities,
    /// The Vaults behind Vault issuers.
    pub vaults: Vaults,
}

impl Default for Signer {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            rsa: Arc::new(Semaphore::new(cores)),
            authorities: Authorities::default(),
            vaults: Vaults::default(),
        }
    }
}

impl Signer {
    /// A Certificate's effect.
    pub async fn certificate(
        &self,
        reader: &Reader,
        accounts: &AccountsInUse,
        certificate: &Key,
        effect: certificate::Effect,
    ) -> Result<certificate::Outcome, ReadError> {
        let namespace = &certificate.namespace;
        match effect {
            certificate::Effect::Prepare {
                source,
                durable,
                key_secret,
                params,
            } => {
                let stored = matches!(source, KeySource::Next(_));
                let Some(key) = self.key(reader, namespace, &key_secret, source).await? else {
                    return Ok(certificate::Outcome::KeyLost);
                };
                let csr = match build_request(&params, &key) {
                    Ok(csr) => csr,
                    Err(problem) => {
                        return Ok(certificate::Outcome::Unbuildable(problem.to_string()));
                    }
                };
                reader
                    .keys
                    .put(namespace, &certificate.name, &key_secret, key.clone());
                let key = (durable && !stored)
                    .then(|| encoded(&key, KeyEncoding::Pkcs8))
                    .flatten();
                Ok(certificate::Outcome::Prepared { csr, key })
            }
            certificate::Effect::LoadKey {
                name,
                encoding,
                public,
                certificate: chain,
                ca,
                recipe,
                stores_version,
            } => {
                let key = self.under_way(reader, namespace, &name, public).await?;
                let Some(pem) = key.and_then(|key| encoded(&key, encoding)) else {
                    return Ok(certificate::Outcome::KeyLost);
                };
                let data = SecretData {
                    key: pem.to_vec(),
                    certificate: chain,
                    ca,
                    outputs: Entries::new(),
                };
                Ok(
                    match complete(reader, certificate, data, &recipe, stores_version) {
                        Ok(data) => certificate::Outcome::Loaded(data),
                        Err(problem) => certificate::Outcome::Unmakable(problem.to_string()),
                    },
                )
            }
            certificate::Effect::Temporary {
                name,
                encoding,
                public,
                params,
                duration,
                recipe,
                stores_version,
            } => {
                let Some(key) = self.under_way(reader, namespace, &name, public).await? else {
                    return Ok(certificate::Outcome::KeyLost);
                };
                let signed = temporary::sign(&params, &key, now(), duration);
                let (Ok(signed), Some(pem)) = (signed, encoded(&key, encoding)) else {
                    return Ok(certificate::Outcome::Sound);
                };
                let data = SecretData {
                    key: pem.to_vec(),
                    certificate: signed.into_bytes(),
                    ca: None,
                    outputs: Entries::new(),
                };
                let data = complete(reader, certificate, data, &recipe, stores_version);
                // If it cannot be made, the real one will tell.
                Ok(data.map_or(certificate::Outcome::Sound, certificate::Outcome::Temporary))
            }
            certificate::Effect::Repair {
                name,
                recipe,
                stores_version,
                roots,
                needed,
            } => {
                let secret: Option<Secret> = reader.live(namespace, &name).await?;
                let found = secret.and_then(|s| s.data).unwrap_or_default();
                let as_it_is = (roots, needed, stores_version);
                Ok(repair(reader, certificate, found, &recipe, as_it_is))
            }
            certificate::Effect::AskCa { issuer, id } => {
                let account = accounts.account(&reader.store, namespace, &issuer);
                let heard =
                    renewals::ask(&reader.polls, account.as_deref(), certificate, &id).await;
                Ok(certificate::Outcome::Heard(heard))
            }
        }
    }

    /// The key of an issuance under way, if it is the one of this public key.
    async fn under_way(
        &self,
        reader: &Reader,
        namespace: &str,
        name: &str,
        public: u64,
    ) -> Result<Option<Arc<PrivateKey>>, ReadError> {
        let is_asked = |key: &Arc<PrivateKey>| KeyFact::of(key).public == public;
        if let Some(key) = reader.keys.get(namespace, name).filter(is_asked) {
            return Ok(Some(key));
        }
        let stored = self.stored(reader, namespace, name).await?;
        Ok(stored.and_then(Result::ok).filter(is_asked))
    }

    async fn key(
        &self,
        reader: &Reader,
        namespace: &str,
        name: &str,
        source: KeySource,
    ) -> Result<Option<Arc<PrivateKey>>, ReadError> {
        match source {
            KeySource::Staged => Ok(reader.keys.get(namespace, name)),
            // What is stored counts, even if this process remembers another one under that name.
            KeySource::Next(name) | KeySource::Target(name) => {
                let stored = self.stored(reader, namespace, &name).await?;
                Ok(stored.and_then(Result::ok))
            }
            KeySource::Generate(algorithm) => Ok(self.generate(algorithm).await.map(Arc::new)),
        }
    }

    /// The key in a Secret, or why it cannot be read; `None` where there is no Secret.
    async fn stored(
        &self,
        reader: &Reader,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Result<Arc<PrivateKey>, String>>, ReadError> {
        let secret: Option<Secret> = reader.live(namespace, name).await?;
        Ok(secret.map(|secret| {
            let pem = secret.data.and_then(|mut data| data.remove("tls.key"));
            let key = PrivateKey::from_pem(&pem.unwrap_or_default().0);
            key.map(Arc::new).map_err(|problem| problem.to_string())
        }))
    }

    /// A new key; `None` if the random source or the library failed.
    pub async fn generate(&self, algorithm: KeyAlgorithm) -> Option<PrivateKey> {
        if !matches!(algorithm, KeyAlgorithm::Rsa { .. }) {
            return PrivateKey::generate(algorithm).ok();
        }
        let _turn = self.rsa.acquire().await.ok()?;
        let made = tokio::task::spawn_blocking(move || PrivateKey::generate(algorithm)).await;
        made.ok()?.ok()
    }

    /// A request's effect.
    pub async fn request(
        &self,
        reader: &Reader,
        namespace: &str,
        effect: request::Effect,
    ) -> Result<request::Outcome, ReadError> {
        match effect {
            request::Effect::SelfSign { key_secret, wanted } => {
                self.self_sign(reader, namespace, &key_secret, &wanted)
                    .await
            }
            request::Effect::SignByVault {
                issuer,
                vault,
                csr,
                duration,
            } => {
                self.vaults
                    .sign(reader, &issuer, &vault, &csr, duration)
                    .await
            }
            request::Effect::SignByCa {
                issuer,
                secret,
                wanted,
            } => {
                let at = wanted.not_before;
                let authority = match self
                    .authorities
                    .to_sign(reader, &issuer, &secret, at)
                    .await?
                {
                    Ok(authority) => authority,
                    Err(waiting) => return Ok(waiting),
                };
                Ok(match authority.sign(&asked(&wanted)) {
                    Ok(issued) => request::Outcome::Signed {
                        certificate: issued.certificate,
                        ca: issued.ca,
                        clamped: issued.clamped,
                    },
                    Err(error) => request::Outcome::Refused {
                        reason: "SigningError",
                        message: format!("Error signing certificate: {error}"),
                    },
                })
            }
        }
    }

    async fn self_sign(
        &self,
        reader: &Reader,
        namespace: &str,
        key_secret: &str,
        wanted: &request::Wanted,
    ) -> Result<request::Outcome, ReadError> {
        let key = match reader.keys.get(namespace, key_secret) {
            Some(key) => Some(Ok(key)),
            None => self.stored(reader, namespace, key_secret).await?,
        };
        let Some(key) = key else {
            let message = format!("Referenced secret {namespace}/{key_secret} not found");
            return Ok(request::Outcome::Waiting {
                reason: "MissingSecret",
                message,
            });
        };
        let key = match key {
            Ok(key) => key,
            Err(problem) => {
                let message = format!(
                    "Referenced secret {namespace}/{key_secret} has no private key that can be read in tls.key: {problem}"
                );
                return Ok(request::Outcome::Waiting {
                    reason: "ErrorParsingKey",
                    message,
                });
            }
        };
        Ok(match self_signed::sign(&asked(wanted), &key) {
            Ok(pem) => request::Outcome::Signed {
                ca: pem.clone(),
                certificate: pem,
                clamped: None,
            },
            Err(error @ issuers::Error::OtherKey) => request::Outcome::Refused {
                reason: "ErrorKeyMatch",
                message: error.to_string(),
            },
            Err(error) => request::Outcome::Refused {
                reason: "ErrorSigning",
                message: format!("Error signing certificate: {error}"),
            },
        })
    }
}

/// With the other entries of the Secret, which are noted to fit.
fn complete(
    reader: &Reader,
    certificate: &Key,
    data: SecretData,
    recipe: &Recipe,
    stores_version: u64,
) -> Result<SecretData, pki::Error> {
    let data = data.with_outputs(recipe, &Entries::new(), now())?;
    let (checked, stores) = (&reader.checked, data.stores_digest());
    checked.note(
        &certificate.namespace,
        &certificate.name,
        stores_version,
        stores,
    );
    Ok(data)
}

/// What becomes of the entries of a Secret; what was seen of them is noted.
fn repair(
    reader: &Reader,
    certificate: &Key,
    mut found: Entries,
    recipe: &Recipe,
    (roots, needed, stores_version): (Roots, bool, u64),
) -> certificate::Outcome {
    let (namespace, name) = (&certificate.namespace, &certificate.name);
    let needed = roots.change(&mut found) || needed;
    if let Roots::With(roots) = &roots {
        let digest = |pem| u64::from(ca_digest(pem));
        let ca = found.get("ca.crt").map(|ca| digest(&ca.0));
        let (roots, ca) = (digest(roots.as_bytes()), ca.unwrap_or_default());
        reader.trusting.note(namespace, name, roots, ca);
    }
    let outcome = certificate::repaired(recipe, &found, needed, now());
    let stores = match &outcome {
        certificate::Outcome::Sound => Some(stores_digest(&found)),
        certificate::Outcome::Repaired(data) => Some(data.stores_digest()),
        _ => None,
    };
    if let Some(stores) = stores.filter(|_| recipe.is_complete()) {
        let checked = &reader.checked;
        checked.note(namespace, name, stores_version, stores);
    }
    outcome
}

fn asked(wanted: &request::Wanted) -> issuers::Request<'_> {
    issuers::Request {
        csr: &wanted.csr,
        not_before: wanted.not_before,
        duration: wanted.duration,
        is_ca: wanted.is_ca,
        usages: &wanted.usages,
        urls: Urls {
            crl_distribution_points: &wanted.crl_distribution_points,
            ocsp_servers: &wanted.ocsp_servers,
            issuing_certificates: &wanted.issuing_certificate_urls,
        },
    }
}

/// PEM bytes of a key; `None` for an encoding that it does not have.
fn encoded(key: &PrivateKey, encoding: KeyEncoding) -> Option<Zeroizing<Vec<u8>>> {
    let pem: Result<Zeroizing<String>, pki::Error> = key.to_pem(encoding);
    pem.ok().map(|pem| Zeroizing::new(pem.as_bytes().to_vec()))
}
