//! An acme-dns server (github.com/joohoi/acme-dns): a name of its own for each domain, to which the domain's
//! `_acme-challenge` is a CNAME record. It keeps the newest two values of a name, which is why a wildcard and its apex
//! can be there at once, and has no way to take one away (contract §5.7).

use std::collections::BTreeMap;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{HeaderName, Method};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{Error, Given, Provider, Record, said};
use crate::api::dns01;
use crate::net::{self, Client, Request};

const ACCOUNTS: &str = "acmeDNS.accountSecretRef";

/// An acme-dns server, and the accounts there by domain.
pub struct AcmeDns {
    host: String,
    accounts: BTreeMap<String, Account>,
    http: Client,
}

/// An account as the server's `/register` answers it.
#[derive(Deserialize)]
struct Account {
    #[serde(deserialize_with = "secret")]
    username: Zeroizing<String>,
    #[serde(deserialize_with = "secret")]
    password: Zeroizing<String>,
    subdomain: String,
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(deserializer).map(Zeroizing::new)
}

/// Makes the provider; nothing is sent.
///
/// # Errors
/// Permanent: the spec or the Secret does not do.
pub fn provider(spec: &dns01::AcmeDns, given: &Given, http: Client) -> Result<AcmeDns, Error> {
    let host = spec.host.trim().trim_end_matches('/');
    if host.is_empty() {
        return Err(Error::permanent(
            "dns01.acmeDNS.host is empty: set the URL of the acme-dns server",
        ));
    }
    let scheme = if host.contains("://") { "" } else { "https://" };
    let json = given.secrets.bytes(ACCOUNTS).unwrap_or_default();
    // What serde says of it could quote it.
    let accounts = serde_json::from_slice(json).map_err(|_| {
        Error::permanent(format!(
            "dns01.{ACCOUNTS}: the entry of the Secret is not a JSON object of accounts by domain, such as {{\"example.com\": \
             {{\"username\": …, \"password\": …, \"subdomain\": …}}}}: correct the Secret"
        ))
    })?;
    Ok(AcmeDns {
        host: format!("{scheme}{host}"),
        accounts,
        http,
    })
}

impl AcmeDns {
    async fn update(&self, record: &Record) -> Result<(), Error> {
        let account = self.accounts.get(&record.domain).ok_or_else(|| {
            Error::permanent(format!(
                "dns01.{ACCOUNTS}: the Secret has no account for {}: register one at {} and add it",
                record.domain, self.host
            ))
        })?;
        let body = json!({ "subdomain": account.subdomain, "txt": record.value });
        let request = Request::new(Method::POST, format!("{}/update", self.host)).json(&body);
        let request = request
            .header(HeaderName::from_static("x-api-user"), &account.username)
            .and_then(|request| {
                request.header(HeaderName::from_static("x-api-key"), &account.password)
            })
            .map_err(|_| {
                Error::permanent(format!(
                    "dns01.{ACCOUNTS}: username or password of the account for {} cannot be sent: correct the Secret",
                    record.domain
                ))
            })?;
        let reply = self.http.send(request).await.map_err(|error| {
            let text = format!("acme-dns: {error}");
            match error {
                net::Error::Request(_) => Error::permanent(text),
                net::Error::Unanswered(_) => Error::transient(text),
            }
        })?;
        if reply.is_success() {
            return Ok(());
        }
        let words = reply.json::<Value>();
        let words = words.as_ref().and_then(|words| words["error"].as_str());
        let words = said(words.unwrap_or_default());
        let text = format!("acme-dns: {} answers {} {words}", self.host, reply.status);
        let text = text.trim_end();
        Err(match reply.status {
            401 | 403 => Error::permanent(format!(
                "{text}: correct the account for {} in the Secret that dns01.{ACCOUNTS} names",
                record.domain
            )),
            400..=499 if ![408, 425, 429].contains(&reply.status) => Error::permanent(text),
            _ => Error::transient(text),
        })
    }
}

impl Provider for AcmeDns {
    fn present<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<(), Error>> {
        self.update(record).boxed()
    }

    /// The server has no call for it; the next values push this one out.
    fn clean_up<'a>(&'a self, _: &'a Record) -> BoxFuture<'a, Result<(), Error>> {
        futures::future::ready(Ok(())).boxed()
    }
}
