//! The Vaults behind Vault issuers: what is needed of the cluster to ask one, and what its answer means. Nothing of a
//! credential is kept: each question logs in anew (contract §6.3).

mod asking;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use crate::api::vault::VaultIssuer;
use crate::controllers::certificate_request as request;
use crate::controllers::digest::digest;
use crate::controllers::facts::IssuerFact;
use crate::controllers::issuer;
use crate::controllers::key::{Key, Kind};
use crate::controllers::reads::{ReadError, Reader};
use crate::controllers::store::Store;
use crate::controllers::vault::{Cause, Problem};
use crate::issuers::vault::client::Vault;
use crate::issuers::vault::{Class, Credential, Error, Login, Signed};
use asking::Asking;

/// What is remembered of the Vaults: which issuers and requests need not ask for now.
#[derive(Default)]
pub struct Vaults(Mutex<HashMap<Key, Rest>>);

struct Rest {
    asked: Asked,
    until: Timestamp,
}

/// What the answer of a Vault depends on, as far as it is in the cluster.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Asked(u64);

/// A failure to get as far as a question.
enum Halt {
    Read(ReadError),
    Problem(Problem),
}

impl From<ReadError> for Halt {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<Problem> for Halt {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl Vaults {
    /// Until when an issuer or a request need not ask, unless what it depends on has changed.
    pub fn resting(&self, store: &Store, key: &Key) -> Option<Timestamp> {
        let rests = self.0.lock();
        let rest = rests.get(key)?;
        (asked(store, key)? == rest.asked).then_some(rest.until)
    }

    /// An issuer or a request need not ask until then; without a time, until something changes. What it has `asked` for
    /// is from before the question: what changed meanwhile may not be in the answer.
    pub fn rest(&self, key: &Key, asked: Option<Asked>, until: Option<Timestamp>) {
        if let Some(asked) = asked {
            let until = until.unwrap_or(Timestamp::MAX);
            self.0.lock().insert(key.clone(), Rest { asked, until });
        }
    }

    /// It is gone, or has to ask anew.
    pub fn forget(&self, key: &Key) {
        self.0.lock().remove(key);
    }

    /// An issuer's effect.
    pub async fn check(
        &self,
        reader: &Reader,
        seen: &issuer::Observation,
    ) -> Result<issuer::Outcome, ReadError> {
        let Some(vault) = &seen.issuer.spec.vault else {
            return Ok(issuer::Outcome::Vault(Err(no_longer())));
        };
        let id = &seen.issuer.id;
        let issuer = Key::new(seen.kind, &id.namespace, &id.name);
        let answer = match check(&mut Asking::new(reader, &issuer, vault)).await {
            Ok(until) => Ok(issuer::Login { until }),
            Err(Halt::Problem(problem)) => Err(problem),
            Err(Halt::Read(error)) => return Err(error),
        };
        Ok(issuer::Outcome::Vault(answer))
    }

    /// A request's effect.
    pub async fn sign(
        &self,
        reader: &Reader,
        issuer: &Key,
        vault: &VaultIssuer,
        csr: &[u8],
        duration: SignedDuration,
    ) -> Result<request::Outcome, ReadError> {
        let mut asking = Asking::new(reader, issuer, vault);
        let (server, token) = match log_in(&mut asking).await {
            Ok(session) => session,
            Err(Halt::Read(error)) => return Err(error),
            Err(Halt::Problem(problem)) => return Ok(not_let_in(&problem)),
        };
        let answer = server.sign(&token, &vault.path, csr, duration).await;
        Ok(match answer {
            Ok(Signed { certificate, ca }) => request::Outcome::Signed {
                certificate,
                ca,
                clamped: None,
            },
            Err(error) => not_signed(&error),
        })
    }
}

/// The request waits: its issuer, which is asked too, says the same.
fn not_let_in(problem: &Problem) -> request::Outcome {
    let (reason, doing) = if problem.is_watched && problem.cause == Cause::Credentials {
        ("SecretMissing", "Required secret resource not found")
    } else {
        (
            "VaultInitError",
            "Failed to initialise vault client for signing",
        )
    };
    request::Outcome::Unavailable {
        reason,
        message: format!("{doing}: {problem}"),
    }
}

/// What Vault refuses is the end of the request; what it cannot do now is not.
fn not_signed(error: &Error) -> request::Outcome {
    let class = error.class();
    let cause = match class {
        Class::Forbidden => Cause::Permission,
        Class::Nowhere => Cause::Path,
        Class::Refused => Cause::Refused,
        class => failed(class),
    };
    let said = format!("Vault failed to sign certificate: {error}");
    let message = Problem::new(cause, said).to_string();
    match class {
        Class::Forbidden | Class::Nowhere | Class::Refused => request::Outcome::Refused {
            reason: "SigningError",
            message,
        },
        Class::Unreachable
        | Class::Sealed
        | Class::NotInitialized
        | Class::Failed
        | Class::Token
        | Class::Config => request::Outcome::Unavailable {
            reason: "VaultInitError",
            message,
        },
    }
}

/// Causes that have nothing to do with what is asked.
fn failed(class: Class) -> Cause {
    match class {
        Class::Unreachable => Cause::Unreachable,
        Class::Sealed => Cause::Sealed,
        Class::NotInitialized => Cause::NotInitialized,
        Class::Token => Cause::Token,
        Class::Forbidden | Class::Refused | Class::Nowhere => Cause::Login,
        Class::Config => Cause::Spec,
        Class::Failed => Cause::Answer,
    }
}

/// Whether a Vault can work and lets us in; when the token ends, if it does.
async fn check(asking: &mut Asking<'_>) -> Result<Option<Timestamp>, Halt> {
    let server = asking.server().await?;
    server.health().await.map_err(|error| {
        let doing = match error.class() {
            Class::Sealed | Class::NotInitialized => "Vault is not initialized or is sealed",
            _ => "Failed to call Vault health check",
        };
        Problem::new(failed(error.class()), format!("{doing}: {error}"))
    })?;
    let login = asking.login().await?;
    let is_token = matches!(login, Login::Token(_));
    let token = server.log_in(login).await.map_err(|e| refused(&e))?;
    if !is_token {
        return Ok(None);
    }
    Ok(server.expiry(&token).await.map_err(|e| refused(&e))?)
}

async fn log_in(asking: &mut Asking<'_>) -> Result<(Vault, Credential), Halt> {
    let server = asking.server().await?;
    let login = asking.login().await?;
    let token = server.log_in(login).await.map_err(|e| refused(&e))?;
    Ok((server, token))
}

fn refused(error: &Error) -> Problem {
    Problem::new(failed(error.class()), init_failed(error))
}

fn init_failed(problem: impl std::fmt::Display) -> String {
    format!("Failed to initialize Vault client: {problem}")
}

/// Something of the cluster is not there that an informer shows when it comes.
fn missing(problem: impl std::fmt::Display) -> Problem {
    Problem {
        is_watched: true,
        ..Problem::new(Cause::Credentials, init_failed(problem))
    }
}

/// What the issuer says, or what is in a Secret, does not do.
fn unusable(problem: impl std::fmt::Display) -> Problem {
    Problem {
        cause: Cause::Spec,
        ..missing(problem)
    }
}

/// The issuer was another one when its effect was planned.
fn no_longer() -> Problem {
    unusable("spec.vault is gone")
}

/// Of an issuer: itself, and its Secrets. Of a request: its issuer, and whether that is ready.
pub fn asked(store: &Store, key: &Key) -> Option<Asked> {
    if key.kind != Kind::CertificateRequest {
        let issuer = store.issuer_named(&key.namespace, &key.name)?;
        return Some(Asked(of_issuer(store, key, &issuer)));
    }
    let request = store.request(&key.namespace, &key.name)?;
    let issuer = store.issuer(&key.namespace, &request.issuer)?;
    let since = issuer
        .ready()
        .and_then(|ready| ready.last_transition_time.as_ref());
    let key = request::issuer_key(&issuer);
    Some(Asked(digest(&(
        of_issuer(store, &key, &issuer),
        since.map(|time| time.0),
    ))))
}

fn of_issuer(store: &Store, key: &Key, issuer: &IssuerFact) -> u64 {
    let home = store.home(key.kind, &key.namespace);
    let secrets = issuer.spec.vault.iter().flat_map(VaultIssuer::secrets);
    let versions: Vec<_> = secrets
        .map(|secret| store.secret_version(home, secret))
        .collect();
    digest(&(&issuer.id.uid, issuer.generation, versions))
}
