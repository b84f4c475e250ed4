//! An account becomes known to its CA, or is found there.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;

use super::{AccountsInUse, name_of, no_longer};
use crate::acme::{self, Class, Eab, Error, Status};
use crate::api::acme_issuer::AcmeIssuer;
use crate::controllers::issuer::{Observation, Outcome, Retry};
use crate::controllers::reads::{ReadError, Reader};
use crate::issuers::acme::{Account, closed_account};

const REGISTER: &str = "ErrRegisterACMEAccount";
const VERIFY: &str = "ErrVerifyACMEAccount";

impl AccountsInUse {
    /// Register the account with the CA, or find it there; update its contact.
    pub async fn register(
        &self,
        reader: &Reader,
        seen: &Observation,
    ) -> Result<Outcome, ReadError> {
        let Some(spec) = &seen.issuer.spec.acme else {
            return Ok(no_longer());
        };
        let name = name_of(seen);
        let Some(account) = self.accounts.get(&name) else {
            return Ok(Outcome::KeyMissing(
                "the account's private key is not loaded".into(),
            ));
        };
        let eab = match self.binding(reader, seen, spec).await? {
            Ok(eab) => eab,
            Err(message) => return Ok(refused(REGISTER, message, Retry::OnChange)),
        };
        let email = spec.email.as_deref().filter(|e| !e.is_empty());
        let registered = match known_or_new(seen, &account, email, eab.as_ref()).await {
            Ok(registered) => registered,
            Err(refusal) => {
                self.suspend(seen);
                let message = refusal.explained(&account).await;
                return Ok(refused(REGISTER, message, retry(&refusal.error)));
            }
        };
        if matches!(registered.status, Status::Deactivated | Status::Revoked) {
            self.suspend(seen);
            let message = closed_account(registered.status.as_str());
            return Ok(refused(VERIFY, message, Retry::OnChange));
        }
        let usable = account.with_url(Some(registered.url.clone()));
        let wanted = email.map(|e| format!("mailto:{}", e.to_lowercase()));
        let known = registered.contact.first().cloned();
        if !registered.created
            && known != wanted
            && let Some(reference) = usable.reference()
            && let Err(error) = account.client.update_contact(&reference, email).await
        {
            self.suspend(seen);
            let message = format!("Failed to update ACME account: {error}");
            return Ok(refused("ErrUpdateACMEAccount", message, retry(&error)));
        }
        let outcome = Outcome::Registered {
            uri: registered.url,
            email: email.map(ToOwned::to_owned),
            key_hash: usable.hash.clone(),
        };
        self.accounts.put(name, Arc::new(usable));
        Ok(outcome)
    }

    /// The CA does not take the account: nobody uses it until it is registered again.
    pub fn block(&self, seen: &Observation, why: String) -> Outcome {
        self.suspend(seen);
        refused(VERIFY, why, Retry::OnChange)
    }

    fn suspend(&self, seen: &Observation) {
        let name = name_of(seen);
        if let Some(account) = self.accounts.get(&name) {
            self.accounts.put(name, Arc::new(account.with_url(None)));
        }
    }

    /// The external account binding, if the issuer has one; in words what is wrong with it.
    async fn binding(
        &self,
        reader: &Reader,
        seen: &Observation,
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
}

/// Why an account could not be had.
#[derive(Debug)]
pub(super) struct Refusal {
    error: Error,
    /// It is what CAs say of an external account binding that they do not take; the account is not closed.
    of_binding: bool,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self {
            error,
            of_binding: false,
        }
    }
}

impl Refusal {
    /// What the CA said, and what to do about it where it is not the words' matter.
    pub(super) async fn explained(&self, account: &Account) -> String {
        let error = &self.error;
        let message = format!("Failed to register ACME account: {error}");
        if self.of_binding {
            return format!(
                "{message}. The external account binding may be used up or expired: have the CA make a new one for \
                 spec.acme.externalAccountBinding"
            );
        }
        if error.problem().is_some_and(|p| p.is("unauthorized")) {
            return format!("{message}. {}", closed_account("as it seems"));
        }
        match account.place_to_act(error).await {
            Some(link) => format!("{message}. Do at {link} what it asks for"),
            None => message,
        }
    }
}

/// A key that was registered before is looked for first: a CA may have closed registration, or want another binding. Some
/// CAs want the binding for that too.
pub(super) async fn known_or_new(
    seen: &Observation,
    account: &Account,
    email: Option<&str>,
    eab: Option<&Eab>,
) -> Result<acme::Account, Refusal> {
    let (client, key) = (&account.client, &account.key);
    let status = seen.issuer.status.acme.as_ref();
    let hash = status.and_then(|status| status.last_private_key_hash.as_deref());
    let was_registered = hash == Some(&account.hash);
    if was_registered {
        match client.find_account(key).await {
            Err(error) if error.is_account_unknown() || error.wants_binding() => {}
            found => return Ok(found?),
        }
    }
    let error = match client.new_account(key, email, eab).await {
        Err(error) if eab.is_some() && error.class() == Class::Permanent => error,
        made => return Ok(made?),
    };
    // The binding is used up, or has expired: the key may have its account from before.
    if !was_registered {
        match client.find_account(key).await {
            Ok(found) => return Ok(found),
            Err(closed) if closed.problem().is_some_and(|p| p.is("unauthorized")) => {
                return Err(closed.into());
            }
            Err(_) => {}
        }
    }
    let is_of_binding = |problem: &acme::Problem| {
        let kinds = ["unauthorized", "externalAccountRequired", "malformed"];
        kinds.iter().any(|kind| problem.is(kind))
    };
    Err(Refusal {
        of_binding: error.problem().is_some_and(is_of_binding),
        error,
    })
}

pub(super) fn retry(error: &Error) -> Retry {
    match error.class() {
        Class::Permanent | Class::Account | Class::RateLimited { until: None } => Retry::OnChange,
        Class::Transient => Retry::Soon,
        Class::RateLimited { until: Some(time) } => Retry::At(time),
    }
}

pub(super) fn refused(reason: &'static str, message: String, retry: Retry) -> Outcome {
    Outcome::Refused {
        reason,
        message,
        retry,
    }
}
