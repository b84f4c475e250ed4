//! Cloudflare, API v4. Each value is a record of its own.

use std::sync::Arc;

use http::HeaderName;
use http::header::AUTHORIZATION;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use zeroize::Zeroizing;

use super::edit::{Change, Set, Written, Zoned, Zones, name, quote};
use super::tokens::Identity;
use super::{Api, Hosted, PAGES, header_credential};
use crate::api::dns01;
use crate::net::{Reply, Request, query};
use crate::solvers::dns01::{Error, Given, Record};

const BASE: &str = "https://api.cloudflare.com/client/v4";
const API: Api = Api {
    name: "Cloudflare",
    remedy: "let the token of dns01.cloudflare have Zone:Read and DNS:Edit for the zone",
};
/// In seconds (contract §5.7).
const TTL: u32 = 60;
/// The most that a page of zones may have.
const PER_PAGE: usize = 50;
/// The record is there already, in all its fields.
const IDENTICAL: u32 = 81058;

const X_AUTH_EMAIL: HeaderName = HeaderName::from_static("x-auth-email");
const X_AUTH_KEY: HeaderName = HeaderName::from_static("x-auth-key");

pub(super) struct Cloudflare {
    hosted: Arc<Hosted>,
    credential: Credential,
}

enum Credential {
    Token(Zeroizing<String>),
    Key {
        email: String,
        key: Zeroizing<String>,
    },
}

/// The frame of every answer.
#[derive(Deserialize)]
struct Answer<T> {
    #[serde(default)]
    success: bool,
    result: Option<T>,
    #[serde(default)]
    errors: Vec<Complaint>,
    result_info: Option<Info>,
}

#[derive(Deserialize)]
struct Complaint {
    #[serde(default)]
    code: u32,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct Info {
    total_pages: Option<usize>,
}

#[derive(Deserialize)]
struct Zone {
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    status: String,
}

#[derive(Deserialize)]
struct Entry {
    id: String,
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    content: String,
}

impl Cloudflare {
    pub(super) fn new(
        spec: &dns01::Cloudflare,
        given: &Given,
        hosted: Arc<Hosted>,
    ) -> Result<Self, Error> {
        const TOKEN: &str = "cloudflare.apiTokenSecretRef";
        const KEY: &str = "cloudflare.apiKeySecretRef";
        let has = |field| given.secrets.bytes(field).is_some();
        let credential = match (has(TOKEN), has(KEY)) {
            (true, false) => Credential::Token(header_credential(given, TOKEN)?),
            (false, true) => Credential::Key {
                email: super::field("cloudflare.email", spec.email.as_deref())?.to_owned(),
                key: header_credential(given, KEY)?,
            },
            (true, true) => {
                return Err(Error::permanent(
                    "dns01.cloudflare: has both apiTokenSecretRef and apiKeySecretRef: remove one, better the key",
                ));
            }
            (false, false) => {
                return Err(Error::permanent(
                    "dns01.cloudflare: has neither apiTokenSecretRef nor apiKeySecretRef: set apiTokenSecretRef",
                ));
            }
        };
        Ok(Self { hosted, credential })
    }

    async fn call<T: DeserializeOwned>(
        &self,
        call: &str,
        request: Request,
    ) -> Result<Result<Answer<T>, Vec<Complaint>>, Error> {
        let request = match &self.credential {
            Credential::Token(token) => {
                let value = Zeroizing::new(format!("Bearer {}", token.as_str()));
                request.header(AUTHORIZATION, &value)
            }
            Credential::Key { email, key } => request
                .header(X_AUTH_EMAIL, email)
                .and_then(|request| request.header(X_AUTH_KEY, key)),
        };
        let request = request.map_err(|error| API.unreached(call, &error))?;
        let reply = self.hosted.send(&API, call, request).await?;
        self.judge(call, &reply)
    }

    /// The complaints of a refused call are those that the caller may know what to do about.
    fn judge<T: DeserializeOwned>(
        &self,
        call: &str,
        reply: &Reply,
    ) -> Result<Result<Answer<T>, Vec<Complaint>>, Error> {
        let answer: Option<Answer<T>> = reply.json();
        match answer {
            Some(answer) if reply.is_success() && answer.success => Ok(Ok(answer)),
            Some(answer) if matches!(reply.status, 200..=299 | 400 | 404) => Ok(Err(answer.errors)),
            None if reply.is_success() => Err(API.unreadable(call, reply)),
            answer => {
                let words = answer.map(|answer| words(&answer.errors));
                let now = self.hosted.now();
                Err(API.refused(call, reply, &words.unwrap_or_default(), now))
            }
        }
    }

    /// All entries of a list.
    async fn list<T: DeserializeOwned>(
        &self,
        call: &str,
        path: &str,
        fields: &[(&str, &str)],
    ) -> Result<Vec<T>, Error> {
        let mut found = Vec::new();
        let per_page = PER_PAGE.to_string();
        for page in 1..=PAGES {
            let number = page.to_string();
            let mut all = fields.to_vec();
            all.extend([("page", number.as_str()), ("per_page", per_page.as_str())]);
            let request = Request::get(format!("{BASE}{path}?{}", query(&all)));
            let answer = self.call::<Vec<T>>(call, request).await?;
            let answer = answer.map_err(|complaints| failed(call, &complaints))?;
            let entries = answer.result.unwrap_or_default();
            let count = entries.len();
            found.extend(entries);
            let last = match answer.result_info.and_then(|info| info.total_pages) {
                Some(total) => page >= total,
                None => count < PER_PAGE,
            };
            if last || count == 0 {
                return Ok(found);
            }
        }
        Err(API.endless(call))
    }
}

impl Zones for Cloudflare {
    /// The records' IDs, in the order of the values.
    type State = Vec<String>;
    const NAME: &'static str = API.name;

    fn hosted(&self) -> &Hosted {
        &self.hosted
    }

    fn account(&self) -> Identity {
        match &self.credential {
            Credential::Token(token) => Identity::of(&["cloudflare", token]),
            Credential::Key { email, key } => Identity::of(&["cloudflare", email, key]),
        }
    }

    /// A name may be there more than once: moved away, or waiting for its delegation.
    async fn zone(&self, name: &str) -> Result<Zoned, Error> {
        let mut zones: Vec<Zone> = self.list("list zones", "/zones", &[("name", name)]).await?;
        zones.retain(|zone| is_asked_for(&zone.name, name));
        zones.sort_by_key(|zone| zone.status != "active");
        Ok(zones
            .into_iter()
            .next()
            .map_or(Zoned::Absent, |zone| Zoned::Here(zone.id)))
    }

    async fn read(&self, zone: &str, record: &Record) -> Result<Set<Vec<String>>, Error> {
        let name = name(record);
        let path = format!("/zones/{zone}/dns_records");
        let fields = [("type", "TXT"), ("name.exact", name)];
        let entries: Vec<Entry> = self.list("list records", &path, &fields).await?;
        let ours = entries
            .into_iter()
            .filter(|entry| entry.kind == "TXT" && is_asked_for(&entry.name, name));
        let (values, state) = ours.map(|entry| (entry.content, entry.id)).unzip();
        Ok(Set { values, state })
    }

    async fn write(
        &self,
        zone: &str,
        record: &Record,
        before: &Set<Vec<String>>,
        change: Change,
    ) -> Result<Written, Error> {
        let path = format!("{BASE}/zones/{zone}/dns_records");
        if change == Change::Add {
            let request = Request::new(http::Method::POST, path).json(&json!({
                "type": "TXT",
                "name": name(record),
                "content": quote(&record.value),
                "ttl": TTL,
            }));
            return match self.call::<Entry>("create the record", request).await? {
                Ok(_) => Ok(Written::Done),
                Err(complaints) if complaints.iter().any(|c| c.code == IDENTICAL) => {
                    Ok(Written::Done)
                }
                Err(complaints) => Err(failed("create the record", &complaints)),
            };
        }
        for (raw, id) in before.values.iter().zip(&before.state) {
            if super::edit::is(raw, &record.value) {
                let request = Request::new(http::Method::DELETE, format!("{path}/{id}"));
                let deleted = self.call::<serde_json::Value>("delete the record", request);
                // Refused because it has gone, or for another reason: the list says which.
                if deleted.await?.is_err() {
                    return Ok(Written::LookAgain);
                }
            }
        }
        Ok(Written::Done)
    }
}

/// Whether it is the name that the list was to hold alone. Internationalized names are answered in Unicode, whatever they
/// were asked for by: for such labels the list is believed.
fn is_asked_for(answered: &str, asked: &str) -> bool {
    let (answered, asked) = (answered.split('.'), asked.split('.'));
    answered.clone().count() == asked.clone().count()
        && answered.zip(asked).all(|(label, asked)| {
            label.eq_ignore_ascii_case(asked) || (!label.is_ascii() && asked.starts_with("xn--"))
        })
}

fn failed(call: &str, complaints: &[Complaint]) -> Error {
    let words = super::said(&super::steady(&words(complaints)));
    Error::permanent(format!("{}: cannot {call}: {words}", API.name))
}

fn words(complaints: &[Complaint]) -> String {
    let words = complaints
        .iter()
        .map(|complaint| format!("{} ({})", complaint.message, complaint.code));
    words.collect::<Vec<_>>().join("; ")
}
