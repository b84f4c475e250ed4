//! The calls of RFC 8555 §7, each by the URL that an earlier one gave.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{Timestamp, Unit};
use serde::Serialize;

use super::chain::passes;
use super::client::Client;
use super::jws::{Eab, Jws, Signer, parse_jwk, to_json};
use super::reply::Reply;
use super::transport::Action;
use super::{
    Account, Authorization, CertificateChain, Challenge, Class, Directory, Error, Identifier,
    Order, prefers,
};
use crate::net::clean;
use crate::pki::PrivateKey;

/// An account that the server knows: its key and its URL.
#[derive(Clone)]
pub struct AccountRef {
    pub key: Arc<PrivateKey>,
    /// The account's URL.
    pub kid: String,
}

impl fmt::Debug for AccountRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountRef")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

impl AccountRef {
    pub(super) fn signer(&self) -> Signer<'_> {
        Signer::Account(&self.key, &self.kid)
    }
}

#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct NewAccount {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    contact: Vec<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    terms_of_service_agreed: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    only_return_existing: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_account_binding: Option<Jws>,
}

#[derive(Serialize)]
struct Contact {
    contact: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewOrder<'a> {
    identifiers: &'a [Identifier],
    #[serde(skip_serializing_if = "Option::is_none")]
    not_after: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replaces: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct KeyChange<'a> {
    account: &'a str,
    old_key: serde_json::Value,
}

#[derive(Serialize)]
struct Finalize {
    csr: String,
}

/// E-mail address to contact URL.
fn contact(email: Option<&str>) -> Vec<String> {
    email
        .filter(|email| !email.is_empty())
        .map(|email| format!("mailto:{}", email.to_lowercase()))
        .into_iter()
        .collect()
}

const POST_AS_GET: &str = "";
/// How old a directory may be that lacks a profile.
const NEW_PROFILE: Duration = Duration::from_mins(1);

impl Client {
    /// Registers the key with the terms of service agreed to, or finds the account that it has (§7.3). Repeating it is
    /// harmless, so that a key that was stored before the call never loses its account.
    pub async fn new_account(
        &self,
        key: &PrivateKey,
        email: Option<&str>,
        eab: Option<&Eab>,
    ) -> Result<Account, Error> {
        let url = self.new_account_url().await?;
        let binding = eab.map(|eab| eab.bind(key, &url)).transpose()?;
        let payload = NewAccount {
            contact: contact(email),
            terms_of_service_agreed: true,
            external_account_binding: binding,
            ..NewAccount::default()
        };
        self.account_call(Action::RegisterAccount, key, &url, &payload)
            .await
    }

    /// The account that the key has; problem `accountDoesNotExist` if it has none (§7.3.1).
    pub async fn find_account(&self, key: &PrivateKey) -> Result<Account, Error> {
        let url = self.new_account_url().await?;
        let payload = NewAccount {
            only_return_existing: true,
            ..NewAccount::default()
        };
        self.account_call(Action::GetRegistration, key, &url, &payload)
            .await
    }

    /// Replaces the account's contacts (§7.3.2); `None` removes them.
    pub async fn update_contact(
        &self,
        account: &AccountRef,
        email: Option<&str>,
    ) -> Result<Account, Error> {
        let payload = to_json(&Contact {
            contact: contact(email),
        })?;
        let action = Action::UpdateRegistration;
        let reply = self
            .post(action, account.signer(), &account.kid, &payload)
            .await?;
        Ok(Account {
            url: account.kid.clone(),
            ..reply.json("account")?
        })
    }

    /// Replaces the account's key (§7.3.5). Status 409 if the new one has an account already.
    pub async fn change_key(
        &self,
        account: &AccountRef,
        new_key: &PrivateKey,
    ) -> Result<(), Error> {
        let directory = self.directory().await?;
        let url = directory.key_change.as_deref();
        let url = url.ok_or(Error::Unsupported("keyChange"))?;
        let change = to_json(&KeyChange {
            account: &account.kid,
            old_key: parse_jwk(&account.key)?,
        })?;
        let inner = to_json(&Jws::sign_change(new_key, url, &change)?)?;
        let action = Action::ChangeKey;
        self.post(action, account.signer(), url, &inner).await?;
        Ok(())
    }

    async fn new_account_url(&self) -> Result<String, Error> {
        let directory = self.directory().await?;
        let url = directory.new_account.clone();
        url.ok_or(Error::Unsupported("newAccount"))
    }

    async fn account_call(
        &self,
        action: Action,
        key: &PrivateKey,
        url: &str,
        payload: &NewAccount,
    ) -> Result<Account, Error> {
        let payload = to_json(payload)?;
        let reply = self.post(action, Signer::Key(key), url, &payload).await?;
        Ok(Account {
            url: location(&reply, "account")?,
            created: reply.status == 201,
            ..reply.json("account")?
        })
    }

    /// Asks for a certificate (§7.4). Many servers answer with an order that is still open for the same names, so that
    /// it may be in any state. `replaces` identifies the certificate that this one is to follow (RFC 9773 §5); a server
    /// without renewal information is not told, and one that does not repeat it in the order means the same order.
    pub async fn new_order(
        &self,
        account: &AccountRef,
        identifiers: &[Identifier],
        not_after: Option<Timestamp>,
        profile: Option<&str>,
        replaces: Option<&str>,
    ) -> Result<Order, Error> {
        let mut directory = self.directory().await?;
        let lacks = |directory: &Directory| {
            profile.filter(|profile| !directory.meta.profiles.contains_key(*profile))
        };
        if lacks(&directory).is_some() {
            // It may be new.
            directory = self.directory_within(NEW_PROFILE).await?;
        }
        if let Some(profile) = lacks(&directory) {
            let names: Vec<_> = directory.meta.profiles.keys().map(String::as_str).collect();
            return Err(Error::UnknownProfile {
                profile: clean(profile, 128),
                offered: clean(&names.join(", "), 256),
            });
        }
        let url = directory.new_order.as_deref();
        let url = url.ok_or(Error::Unsupported("newOrder"))?;
        let payload = to_json(&NewOrder {
            identifiers,
            not_after: not_after.map(|time| whole_seconds(time).to_string()),
            profile,
            replaces: replaces.filter(|_| directory.renewal_info.is_some()),
        })?;
        let action = Action::AuthorizeOrder;
        let reply = self.post(action, account.signer(), url, &payload).await?;
        order(&reply, location(&reply, "order")?)
    }

    /// The order as it is now.
    pub async fn order(&self, account: &AccountRef, url: &str) -> Result<Order, Error> {
        let reply = self.get(Action::GetOrder, account, url).await?;
        order(&reply, url.to_owned())
    }

    /// The authorization as it is now, with its challenges (§7.5).
    pub async fn authorization(
        &self,
        account: &AccountRef,
        url: &str,
    ) -> Result<Authorization, Error> {
        let reply = self.get(Action::GetAuthorization, account, url).await?;
        Ok(Authorization {
            retry_after: reply.retry_after(),
            ..reply.json("authorization")?
        })
    }

    /// The challenge as it is now.
    pub async fn challenge(&self, account: &AccountRef, url: &str) -> Result<Challenge, Error> {
        let reply = self.get(Action::GetChallenge, account, url).await?;
        challenge(&reply)
    }

    /// Tells the server that the answer is in place (§7.5.1). Not to be repeated without need: look first whether the
    /// challenge is still pending.
    pub async fn accept(
        &self,
        account: &AccountRef,
        challenge_url: &str,
    ) -> Result<Challenge, Error> {
        let action = Action::AcceptChallenge;
        let reply = self
            .post(action, account.signer(), challenge_url, "{}")
            .await?;
        challenge(&reply)
    }

    /// Hands in the signing request at the order's finalize URL (§7.4). Problem `orderNotReady` if it is not `ready`.
    pub async fn finalize(
        &self,
        account: &AccountRef,
        url: &str,
        csr_der: &[u8],
    ) -> Result<Order, Error> {
        let payload = to_json(&Finalize {
            csr: URL_SAFE_NO_PAD.encode(csr_der),
        })?;
        let action = Action::CreateOrderCert;
        let reply = self.post(action, account.signer(), url, &payload).await?;
        order(&reply, reply.location().unwrap_or_default())
    }

    /// The server's default chain and the URLs of its alternates (§7.4.2).
    pub async fn certificate(
        &self,
        account: &AccountRef,
        url: &str,
    ) -> Result<CertificateChain, Error> {
        let reply = self.get(Action::FetchCert, account, url).await?;
        CertificateChain::parse(&reply.body, reply.links("alternate"))
    }

    /// The chain that ends at the issuer with this common name, looked for in the default chain first; without one, the
    /// first chain with that issuer anywhere in it; without that, the default one. An alternate that cannot be fetched is
    /// passed over, unless it may be the one that is missing and can be waited for.
    pub async fn preferred_certificate(
        &self,
        account: &AccountRef,
        url: &str,
        preference: Preference<'_>,
    ) -> Result<CertificateChain, Error> {
        let default = self.certificate(account, url).await?;
        let Some(name) = preference.issuer.filter(|name| !name.is_empty()) else {
            return Ok(default);
        };
        if prefers(&default.certificates, name) {
            return Ok(default);
        }
        let (mut second, mut missing) = (None, None);
        for url in default.alternates.iter().take(MAX_ALTERNATES) {
            let reply = match self.get(Action::ListCertAlternates, account, url).await {
                Ok(reply) => reply,
                Err(error) => {
                    let may_pass =
                        matches!(error.class(), Class::Transient | Class::RateLimited { .. });
                    missing = missing.or(may_pass.then_some(error));
                    continue;
                }
            };
            match CertificateChain::parse(&reply.body, Vec::new()) {
                Ok(chain) if prefers(&chain.certificates, name) => return Ok(chain),
                Ok(chain) if passes(&chain.certificates, name) => {
                    second.get_or_insert(chain);
                }
                _ => {}
            }
        }
        if let Some(error) = missing.filter(|_| preference.waits) {
            return Err(error);
        }
        if passes(&default.certificates, name) {
            return Ok(default);
        }
        Ok(second.unwrap_or(default))
    }

    async fn get(&self, action: Action, account: &AccountRef, url: &str) -> Result<Reply, Error> {
        self.post(action, account.signer(), url, POST_AS_GET).await
    }
}

/// The chain that is wished for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Preference<'a> {
    /// The common name of an issuer in it.
    pub issuer: Option<&'a str>,
    /// What cannot be fetched for the moment is an error: it may be that chain.
    pub waits: bool,
}

/// Let's Encrypt has three; a server cannot make us fetch without end.
const MAX_ALTERNATES: usize = 10;

fn order(reply: &Reply, url: String) -> Result<Order, Error> {
    Ok(Order {
        url,
        retry_after: reply.retry_after(),
        ..reply.json("order")?
    })
}

fn challenge(reply: &Reply) -> Result<Challenge, Error> {
    Ok(Challenge {
        retry_after: reply.retry_after(),
        ..reply.json("challenge")?
    })
}

fn location(reply: &Reply, what: &str) -> Result<String, Error> {
    reply
        .location()
        .ok_or_else(|| Error::Protocol(format!("no Location of the {what}")))
}

/// Servers read RFC 3339 with varying patience for fractions.
fn whole_seconds(time: Timestamp) -> Timestamp {
    time.round(Unit::Second).unwrap_or(time)
}
