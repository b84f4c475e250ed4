//! The CAs behind CA issuers: each is read from its Secret once for each version of it, however many
//! certificates it signs.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use parking_lot::Mutex;
use tokio::sync::Mutex as Turn;
use zeroize::Zeroizing;

use crate::controllers::certificate_request as request;
use crate::controllers::digest::digest;
use crate::controllers::facts::Identity;
use crate::controllers::issuer;
use crate::controllers::key::Key;
use crate::controllers::reads::{ReadError, Reader};
use crate::controllers::rotation::Signing;
use crate::issuers::ca::{Authority, Entries, Unusable};

/// The CAs in use, by their issuer.
#[derive(Default)]
pub struct Authorities(Mutex<HashMap<Key, Arc<Turn<Option<Loaded>>>>>);

/// What is in a Secret of this name and version.
#[derive(Clone)]
struct Loaded {
    secret: String,
    version: Option<u64>,
    authority: Result<Arc<Authority>, Problem>,
}

/// Why there is no CA.
#[derive(Debug, Clone)]
enum Problem {
    Missing,
    Unusable(Unusable),
}

impl Authorities {
    /// The issuer is gone, or is no CA any more.
    pub fn forget(&self, issuer: &Key) {
        self.0.lock().remove(issuer);
    }

    /// An issuer's effect.
    pub async fn issuer(
        &self,
        reader: &Reader,
        issuer: &Key,
        secret: &str,
    ) -> Result<issuer::Outcome, ReadError> {
        let authority = match self.current(reader, issuer, secret).await? {
            Ok(authority) => {
                let (not_before, not_after) = authority.validity();
                issuer::Authority::Usable {
                    not_before,
                    not_after,
                    signing: authority.line().map(|(authority, root)| Signing {
                        authority: authority.to_owned(),
                        root: root.to_owned(),
                    }),
                }
            }
            Err(Problem::Missing) => issuer::Authority::Unreadable(format!(
                "secrets \"{secret}\" not found in namespace \"{}\"",
                reader.store.home(issuer.kind, &issuer.namespace)
            )),
            Err(Problem::Unusable(problem)) => match problem {
                Unusable::Missing(_) | Unusable::Unreadable(..) => {
                    issuer::Authority::Unreadable(format!(
                        "secret \"{}/{secret}\": {problem}",
                        reader.store.home(issuer.kind, &issuer.namespace)
                    ))
                }
                Unusable::NotCa | Unusable::NoCertSign | Unusable::OtherKey => {
                    issuer::Authority::Invalid(problem.to_string())
                }
            },
        };
        Ok(issuer::Outcome::Authority(authority))
    }

    /// The CA of an issuer, to sign at this time; otherwise what the request that waits for it is told.
    pub async fn to_sign(
        &self,
        reader: &Reader,
        issuer: &Key,
        secret: &str,
        now: Timestamp,
    ) -> Result<Result<Arc<Authority>, request::Outcome>, ReadError> {
        let home = reader.store.home(issuer.kind, &issuer.namespace);
        let invalid = |problem: String| request::Outcome::Waiting {
            reason: "SecretInvalidData",
            message: format!(
                "Failed to parse signing CA keypair from secret {home}/{secret}: {problem}"
            ),
        };
        Ok(match self.current(reader, issuer, secret).await? {
            Ok(authority) if !is_noted(reader, issuer, &authority) => {
                Err(request::Outcome::Waiting {
                    reason: "IssuancePending",
                    message: format!(
                        "The CA in secret {home}/{secret} was replaced: waiting until the status of the issuer says so"
                    ),
                })
            }
            Ok(authority) => {
                let (not_before, not_after) = authority.validity();
                if not_before <= now && now <= not_after {
                    Ok(authority)
                } else {
                    Err(invalid(format!(
                        "the certificate of the CA is valid from {not_before} to {not_after}"
                    )))
                }
            }
            Err(Problem::Missing) => Err(request::Outcome::Waiting {
                reason: "SecretMissing",
                message: format!("Referenced secret {home}/{secret} not found"),
            }),
            Err(Problem::Unusable(problem)) => Err(invalid(problem.to_string())),
        })
    }

    /// The CA of an issuer, to sign its revocation list; in words why not.
    pub async fn to_list(
        &self,
        reader: &Reader,
        issuer: &Key,
        secret: &str,
    ) -> Result<Result<Arc<Authority>, String>, ReadError> {
        let home = reader.store.home(issuer.kind, &issuer.namespace);
        let problem = |text: String| format!("the CA in Secret \"{home}/{secret}\": {text}");
        Ok(match self.current(reader, issuer, secret).await? {
            Ok(authority) if !authority.may_list() => Err(problem(
                "the key usages of its certificate do not include crl sign: have it issued anew with \"crl sign\" in \
                 spec.usages"
                    .to_owned(),
            )),
            Ok(authority) => Ok(authority),
            Err(Problem::Missing) => Err(problem("it does not exist".to_owned())),
            Err(Problem::Unusable(unusable)) => Err(problem(unusable.to_string())),
        })
    }

    /// What is in the Secret as it is now.
    async fn current(
        &self,
        reader: &Reader,
        issuer: &Key,
        secret: &str,
    ) -> Result<Result<Arc<Authority>, Problem>, ReadError> {
        let answer = self.read(reader, issuer, secret).await;
        let fact = reader.store.issuer_named(&issuer.namespace, &issuer.name);
        if fact.is_none_or(|fact| fact.spec.ca.is_none()) {
            // It has gone meanwhile: nobody would forget the key.
            self.forget(issuer);
        }
        answer
    }

    /// Of many that ask at once, one reads.
    async fn read(
        &self,
        reader: &Reader,
        issuer: &Key,
        secret: &str,
    ) -> Result<Result<Arc<Authority>, Problem>, ReadError> {
        let home = reader.store.home(issuer.kind, &issuer.namespace);
        let turn = self.0.lock().entry(issuer.clone()).or_default().clone();
        let mut loaded = turn.lock().await;
        let version = reader.store.secret_version(home, secret);
        if let Some(known) = &*loaded
            && known.secret == secret
            && known.version == version
        {
            return Ok(known.authority.clone());
        }
        let live: Option<Secret> = reader.live(home, secret).await?;
        let version = live
            .as_ref()
            .map(|s| digest(&Identity::of(&s.metadata).version));
        let authority = live.map_or(Err(Problem::Missing), |live| {
            load(live).map(Arc::new).map_err(Problem::Unusable)
        });
        *loaded = Some(Loaded {
            secret: secret.to_owned(),
            version,
            authority: authority.clone(),
        });
        Ok(authority)
    }
}

/// Before an issuer that asks for rotations signs with a CA, its status knows that CA: what is signed later
/// is of it, and all certificates begin to trust it.
fn is_noted(reader: &Reader, issuer: &Key, authority: &Authority) -> bool {
    let Some(fact) = reader.store.issuer_named(&issuer.namespace, &issuer.name) else {
        return true;
    };
    let asks = fact
        .spec
        .ca
        .as_ref()
        .is_some_and(|ca| ca.rotation.is_some());
    let known = fact.status.ca.as_ref().map(|ca| ca.authority.as_str());
    !asks || authority.line().is_none_or(|(line, _)| known == Some(line))
}

fn load(secret: Secret) -> Result<Authority, Unusable> {
    let mut data = secret.data.unwrap_or_default();
    let key = data.remove("tls.key").map(|key| Zeroizing::new(key.0));
    let entry = |name: &str| data.get(name).map(|ByteString(bytes)| bytes.as_slice());
    Authority::load(Entries {
        certificate: entry("tls.crt"),
        key: key.as_ref().map(|key| key.as_slice()),
        ca: entry("ca.crt"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::key::Kind;
    use crate::runtime::challenges::dns01::tests::reader;

    #[tokio::test]
    async fn nothing_is_kept_of_an_issuer_that_is_gone() {
        let authorities = Authorities::default();
        let key = Key::new(Kind::Issuer, "shop", "ca");
        let answer = authorities.current(&reader(), &key, "ca").await;
        assert!(answer.is_err(), "nobody can be asked");
        assert!(authorities.0.lock().is_empty());
    }
}
