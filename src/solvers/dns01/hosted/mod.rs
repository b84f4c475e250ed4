//! The hosted providers: DNS services with an HTTP API of their own.
//!
//! What they have in common is here and in [`edit`]: a call and what its failure means, tokens that are lent, a value
//! added to others. A provider's module has its calls and how their answers read, one that logs in has a second one for
//! that. No SDK: each takes a handful of documented calls.

mod akamai;
mod aws;
mod azure;
mod azure_dns;
mod bearer;
mod cloud_dns;
mod cloudflare;
mod digitalocean;
mod edgegrid;
mod edit;
mod google;
mod route53;
mod sigv4;
mod tokens;
mod xml;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize as _, Deserializer};
use zeroize::Zeroizing;

use super::{Error, Given, Provider, Record, said};
use crate::api::dns01::Dns01Solver;
use crate::net::{self, Client, Reply, Request, escape, hex};
use edit::{Known, Names, Resting};
use sigv4::Session;
use tokens::Tokens;

/// The longest wait that a provider may ask for: it is the server's word.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_hours(1);
/// The wait after a refusal for too many calls that does not say how long.
const USUAL_WAIT: SignedDuration = SignedDuration::from_secs(30);
/// The most pages of a list that are read.
const PAGES: usize = 500;

/// What all hosted providers share, for as long as the process lives: connections, and tokens they have been lent.
pub struct Hosted {
    http: Client,
    local: Client,
    clock: fn() -> Timestamp,
    bearers: Tokens<Zeroizing<String>>,
    sessions: Tokens<Session>,
    names: Names,
    zones: Known,
    resting: Resting,
}

impl Hosted {
    /// With the client of the services, and that of the metadata services of the machine.
    pub fn new(http: Client, local: Client, clock: fn() -> Timestamp) -> Arc<Self> {
        Arc::new(Self {
            http,
            local,
            clock,
            bearers: Tokens::default(),
            sessions: Tokens::default(),
            names: Names::default(),
            zones: Known::default(),
            resting: Resting::default(),
        })
    }

    /// The solver's provider; `None` if it is none of these. The order is cert-manager's, for solvers that it would not
    /// have admitted (contract §1.10).
    ///
    /// # Errors
    /// Permanent, when the fields or the credentials of the solver do not do.
    pub fn provider(
        self: &Arc<Self>,
        solver: &Dns01Solver,
        given: &Given,
    ) -> Option<Result<Box<dyn Provider>, Error>> {
        let hosted = || Arc::clone(self);
        Some(if let Some(spec) = &solver.akamai {
            boxed(akamai::Akamai::new(spec, given, hosted()))
        } else if let Some(spec) = &solver.cloud_dns {
            boxed(cloud_dns::CloudDns::new(spec, given, hosted()))
        } else if let Some(spec) = &solver.cloudflare {
            boxed(cloudflare::Cloudflare::new(spec, given, hosted()))
        } else if solver.digitalocean.is_some() {
            boxed(digitalocean::DigitalOcean::new(given, hosted()))
        } else if let Some(spec) = &solver.route53 {
            boxed(route53::Route53::new(spec, given, hosted()))
        } else if let Some(spec) = &solver.azure_dns {
            boxed(azure_dns::AzureDns::new(spec, given, hosted()))
        } else {
            return None;
        })
    }

    fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// One exchange with a service.
    async fn send(&self, api: &Api, call: &str, request: Request) -> Result<Reply, Error> {
        let reply = self.http.send(request).await;
        reply.map_err(|error| api.unreached(call, &error))
    }

    /// One exchange with a metadata service of the machine.
    async fn send_local(&self, api: &Api, call: &str, request: Request) -> Result<Reply, Error> {
        let reply = self.local.send(request).await;
        reply.map_err(|error| api.unreached(call, &error))
    }
}

fn boxed<P: Provider + 'static>(made: Result<P, Error>) -> Result<Box<dyn Provider>, Error> {
    made.map(|provider| Box::new(provider) as Box<dyn Provider>)
}

/// All providers edit zones.
macro_rules! provider {
    ($($kind:ty),*) => {$(
        impl Provider for $kind {
            fn present<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<(), Error>> {
                edit::present(self, record).boxed()
            }

            fn clean_up<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<(), Error>> {
                edit::clean_up(self, record).boxed()
            }
        }
    )*};
}

provider!(
    akamai::Akamai,
    azure_dns::AzureDns,
    cloud_dns::CloudDns,
    cloudflare::Cloudflare,
    digitalocean::DigitalOcean,
    route53::Route53
);

/// How failures of a service are told.
struct Api {
    /// Of the service.
    name: &'static str,
    /// What helps when it refuses the credentials.
    remedy: &'static str,
}

impl Api {
    /// An answer that says failure. `words` are the service's, without what is different each time.
    fn refused(&self, call: &str, reply: &Reply, words: &str, now: Timestamp) -> Error {
        let words = said(&steady(words));
        let space = if words.is_empty() { "" } else { " " };
        let text = format!(
            "{}: cannot {call}: {}{space}{words}",
            self.name, reply.status
        );
        let asked = reply.retry_after(now).map(|until| bounded(until, now));
        match (reply.status, asked) {
            (429, None) => Error::rate_limited(bounded_by(now, USUAL_WAIT), text),
            (429 | 503, Some(until)) => Error::rate_limited(until, text),
            (401 | 403, _) => Error::permanent(format!("{text}: {}", self.remedy)),
            // Request Timeout, Conflict, Precondition Failed, Too Early.
            (408 | 409 | 412 | 425, _) => Error::transient(text),
            (400..=499, _) => Error::permanent(text),
            // Failures of the server, and redirects, which are not followed: they would carry the credentials along.
            _ => Error::transient(text),
        }
    }

    /// An answer that says success and is none of the service's: most often a proxy's.
    fn unreadable(&self, call: &str, reply: &Reply) -> Error {
        Error::transient(format!(
            "{}: cannot {call}: the answer of {} is none of that service",
            self.name, reply.host
        ))
    }

    fn unreached(&self, call: &str, error: &net::Error) -> Error {
        let text = format!("{}: cannot {call}: {error}", self.name);
        match error {
            net::Error::Request(_) => Error::permanent(text),
            net::Error::Unanswered(_) => Error::transient(text),
        }
    }

    /// A list without an end.
    fn endless(&self, call: &str) -> Error {
        Error::transient(format!(
            "{}: cannot {call}: the list has over {PAGES} pages",
            self.name
        ))
    }
}

fn bounded(until: Timestamp, now: Timestamp) -> Timestamp {
    until.clamp(now, bounded_by(now, LONGEST_WAIT))
}

fn bounded_by(now: Timestamp, wait: SignedDuration) -> Timestamp {
    now.saturating_add(wait).unwrap_or(Timestamp::MAX)
}

/// A server's words without what is different each time: identifiers of requests, and times.
fn steady(words: &str) -> String {
    let kept = words.split_ascii_whitespace().map(|word| {
        let inner = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        if is_uuid(inner) || is_time(inner) {
            "…"
        } else {
            word
        }
    });
    kept.collect::<Vec<_>>().join(" ")
}

fn is_uuid(word: &str) -> bool {
    let lengths = word.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12]) && word.chars().all(|c| c == '-' || c.is_ascii_hexdigit())
}

fn is_time(word: &str) -> bool {
    word.len() >= 8
        && word.contains([':', 'T'])
        && word.starts_with(|c: char| c.is_ascii_digit())
        && word
            .chars()
            .all(|c| c.is_ascii_digit() || "-:.TZ+".contains(c))
}

/// A credential that goes into a header: what cannot is refused here, where its field is known.
fn header_credential(given: &Given, field: &str) -> Result<Zeroizing<String>, Error> {
    let text = given.secrets.required(field)?;
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(Zeroizing::new(text.to_owned()));
    }
    Err(Error::permanent(format!(
        "dns01.{field}: the entry of the Secret has characters that no such credential has: correct the Secret"
    )))
}

/// A credential in an answer or a file.
fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(deserializer).map(Zeroizing::new)
}

/// The field of a solver that is needed, without white space around it.
fn field<'a>(name: &str, value: Option<&'a str>) -> Result<&'a str, Error> {
    let value = value.map(str::trim).filter(|value| !value.is_empty());
    value.ok_or_else(|| Error::permanent(format!("dns01.{name}: is needed: set it")))
}

/// A field as a part of a URL's path.
fn segment(name: &str, value: &str) -> Result<String, Error> {
    let value = field(name, Some(value))?;
    // Servers take those for steps on the way.
    if [".", ".."].contains(&value) {
        return Err(Error::permanent(format!(
            "dns01.{name}: is no name: correct it"
        )));
    }
    Ok(escape(value))
}

/// An optional field; an empty one is none.
fn optional(value: Option<&str>) -> Option<&str> {
    value.map(str::trim).filter(|value| !value.is_empty())
}

/// Neither credentials of the solver nor the right to the operator's own.
fn no_ambient(name: &str) -> Error {
    Error::permanent(format!(
        "dns01.{name}: is needed, since this issuer may not use the operator's own credentials: set it, or see \
         --issuer-ambient-credentials"
    ))
}

/// A file of the operator's Pod; `place` is how it is called.
async fn read_file(path: &str, place: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
    let owned = path.to_owned();
    let read = tokio::task::spawn_blocking(move || std::fs::read(owned)).await;
    match read {
        Ok(Ok(bytes)) => Ok(Zeroizing::new(bytes)),
        Ok(Err(error)) => Err(Error::transient(format!(
            "{place} cannot be read: {}",
            error.kind()
        ))),
        Err(_) => Err(Error::transient(format!("{place} cannot be read"))),
    }
}

/// A file that holds a token.
async fn read_token(path: &str, place: &str) -> Result<Zeroizing<String>, Error> {
    let bytes = read_file(path, place).await?;
    let text = std::str::from_utf8(&bytes)
        .map(str::trim)
        .unwrap_or_default();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::transient(format!("{place} holds no token")));
    }
    Ok(Zeroizing::new(text.to_owned()))
}
