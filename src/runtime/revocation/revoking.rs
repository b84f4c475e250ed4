//! A revocation's effect: the request to the CA, signed by the issuer's account or by the certificate's own key.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;

use super::lists::{self, Signed};
use crate::acme::{self, Class, Client, Revoker};
use crate::controllers::certificate_request::issuer_key;
use crate::controllers::reads::{ReadError, Reader};
use crate::controllers::revocation::{Observation, Outcome, Signer};
use crate::controllers::revocation_list::MOST;
use crate::issuers::acme::Account;
use crate::pki::{ParsedCertificate, PrivateKey, RevocationReason};
use crate::runtime::acme::accounts::AccountsInUse;
use crate::runtime::signing::authorities::Authorities;

/// A certificate, and how its ACME CA is asked to revoke it.
pub struct Asked<'a> {
    /// DER.
    pub certificate: &'a [u8],
    /// Why.
    pub reason: RevocationReason,
    /// Who signs the request.
    pub signer: &'a Signer,
}

/// Have the CA revoke a certificate.
pub async fn revoke(
    accounts: &AccountsInUse,
    reader: &Reader,
    seen: &Observation,
    asked: Asked<'_>,
) -> Result<Outcome, ReadError> {
    let Asked {
        certificate,
        reason,
        signer,
    } = asked;
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
            account.client.revoke(revoker, certificate, reason).await
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
            client.revoke(revoker, certificate, reason).await
        }
    };
    Ok(match answer {
        Ok(_) => Outcome::Revoked(None),
        Err(error) => judged(&error),
    })
}

/// Put a certificate, in DER, into the list of its CA. `keeps` says whether this operator keeps lists.
pub async fn list(
    authorities: &Authorities,
    reader: &Reader,
    seen: &Observation,
    certificate: &[u8],
    keeps: bool,
) -> Result<Outcome, ReadError> {
    let issuer = seen.issuer.as_ref();
    let found = issuer.and_then(|issuer| Some((issuer_key(issuer), issuer.spec.ca.as_ref()?)));
    let (Some((key, ca)), Ok(leaf)) = (found, ParsedCertificate::from_der(certificate)) else {
        return Ok(unavailable("the issuer is no CA any more"));
    };
    let signed = lists::sign(authorities, reader, &key, ca, keeps).await?;
    Ok(match signed {
        Signed::Not(problem) => unavailable(&problem),
        signed if !signed.has(&leaf) => unavailable(&left_out(&ca.secret_name)),
        Signed::Anew(_, object) => Outcome::Revoked(Some(object)),
        Signed::Stands(..) => Outcome::Revoked(None),
    })
}

/// Why a list has been signed without a certificate.
fn left_out(secret: &str) -> String {
    format!(
        "the list of the CA that is in Secret \"{secret}\" does not take the certificate: another CA has signed it, which \
         alone can revoke it, or there are {MOST} certificates in the list that have not expired"
    )
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
