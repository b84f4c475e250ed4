//! A revocation's effect: the request to the CA, signed by the issuer's account or by the certificate's own key.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;

use super::accounts::AccountsInUse;
use crate::acme::{self, Class, Client, Revoker};
use crate::controllers::reads::{ReadError, Reader};
use crate::controllers::revocation::{Effect, Observation, Outcome, Signer};
use crate::issuers::acme::Account;
use crate::pki::{ParsedCertificate, PrivateKey};

/// Have the CA revoke a certificate.
pub async fn revoke(
    accounts: &AccountsInUse,
    reader: &Reader,
    seen: &Observation,
    effect: &Effect,
) -> Result<Outcome, ReadError> {
    let Effect::Revoke {
        certificate,
        reason,
        signer,
        ..
    } = effect;
    let account = account(accounts, reader, seen);
    let answer = match signer {
        Signer::Account => {
            let Some(reference) = account.as_ref().and_then(|account| account.reference()) else {
                return Ok(unavailable("the ACME account is not registered yet"));
            };
            let Some(account) = account else {
                return Ok(unavailable("the ACME account is not loaded yet"));
            };
            let revoker = Revoker::Account(&reference);
            account.client.revoke(revoker, certificate, *reason).await
        }
        Signer::CertificateKey { secret, entry } => {
            let key = match key(reader, seen, secret, entry, certificate).await? {
                Ok(key) => key,
                Err(problem) => return Ok(Outcome::NoKey(problem)),
            };
            let client = match client(accounts, account.as_deref(), seen) {
                Ok(client) => client,
                Err(error) => return Ok(judged(&error)),
            };
            let revoker = Revoker::CertificateKey(&key);
            client.revoke(revoker, certificate, *reason).await
        }
    };
    Ok(match answer {
        Ok(_) => Outcome::Revoked,
        Err(error) => judged(&error),
    })
}

fn account(accounts: &AccountsInUse, reader: &Reader, seen: &Observation) -> Option<Arc<Account>> {
    let reference = seen.status().issuer_ref.as_ref()?;
    let namespace = seen.object.metadata.namespace.as_deref()?;
    accounts.account(&reader.store, namespace, reference)
}

/// The way to the server: a certificate's own key needs no account there.
fn client(
    accounts: &AccountsInUse,
    account: Option<&Account>,
    seen: &Observation,
) -> Result<Client, acme::Error> {
    if let Some(account) = account {
        return Ok(account.client.clone());
    }
    let spec = seen.issuer.as_ref().and_then(|i| i.spec.acme.as_ref());
    let spec = spec.ok_or_else(|| acme::Error::Config {
        field: "spec.acme",
        problem: "the issuer has none any more".to_owned(),
    })?;
    accounts.client(spec)
}

/// The private key of this certificate out of a Secret; in words why not.
async fn key(
    reader: &Reader,
    seen: &Observation,
    secret: &str,
    entry: &str,
    certificate: &[u8],
) -> Result<Result<PrivateKey, String>, ReadError> {
    let namespace = seen.object.metadata.namespace.as_deref();
    let namespace = namespace.unwrap_or_default();
    let found: Option<Secret> = reader.live(namespace, secret).await?;
    let pem = found.and_then(|s| s.data?.remove(entry));
    let Some(pem) = pem else {
        return Ok(Err(format!(
            "Secret \"{secret}\" in namespace \"{namespace}\" has no entry \"{entry}\" with the private key of the \
             certificate"
        )));
    };
    let key = match PrivateKey::from_pem(&pem.0) {
        Ok(key) => key,
        Err(error) => {
            return Ok(Err(format!(
                "Secret \"{secret}\", entry \"{entry}\": {error}"
            )));
        }
    };
    let leaf = ParsedCertificate::from_der(certificate);
    if leaf.is_ok_and(|leaf| leaf.public_key_der() == key.public_key_der()) {
        return Ok(Ok(key));
    }
    Ok(Err(format!(
        "the private key in Secret \"{secret}\", entry \"{entry}\", is not that of the certificate"
    )))
}

/// What a failure means. An account that the server does not know is registered anew by its issuer.
fn judged(error: &acme::Error) -> Outcome {
    let message = error.to_string();
    let is = |kind: &str| error.problem().is_some_and(|problem| problem.is(kind));
    match error.class() {
        Class::Permanent => Outcome::Refused {
            unauthorized: is("unauthorized"),
            message,
        },
        // Its issuer looks after the account.
        Class::Account | Class::Transient => Outcome::Unavailable {
            message,
            until: None,
        },
        Class::RateLimited { until } => Outcome::Unavailable { message, until },
    }
}

fn unavailable(message: &str) -> Outcome {
    Outcome::Unavailable {
        message: message.to_owned(),
        until: None,
    }
}
