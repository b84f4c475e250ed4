//! `DigitalOcean`, API v2. Each value is a record of its own.

use std::sync::Arc;

use http::Method;
use http::header::AUTHORIZATION;
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::edit::{Change, Set, Written, Zoned, Zones, is, name, relative};
use super::tokens::Identity;
use super::{Api, Hosted, PAGES, header_credential};
use crate::net::{Reply, Request, escape, query};
use crate::solvers::dns01::{Error, Given, Record};

const BASE: &str = "https://api.digitalocean.com/v2";
const API: Api = Api {
    name: "DigitalOcean",
    remedy: "let the token of dns01.digitalocean.tokenSecretRef have the scopes domain:read, domain:create and \
             domain:delete",
};
/// In seconds (contract §5.7).
const TTL: u32 = 60;
/// The most that a page may have.
const PER_PAGE: &str = "200";

pub(super) struct DigitalOcean {
    hosted: Arc<Hosted>,
    token: Zeroizing<String>,
}

#[derive(Deserialize)]
struct Records {
    domain_records: Vec<Entry>,
    #[serde(default)]
    links: Links,
}

#[derive(Deserialize)]
struct Entry {
    id: u64,
    #[serde(default, rename = "type")]
    kind: String,
    /// Relative to the domain.
    #[serde(default)]
    name: String,
    #[serde(default)]
    data: String,
}

#[derive(Default, Deserialize)]
struct Links {
    #[serde(default)]
    pages: Pages,
}

#[derive(Default, Deserialize)]
struct Pages {
    next: Option<String>,
}

/// An answer that says failure. It has a `request_id` too, which is different each time.
#[derive(Default, Deserialize)]
struct Complaint {
    #[serde(default)]
    id: String,
    #[serde(default)]
    message: String,
}

impl DigitalOcean {
    pub(super) fn new(given: &Given, hosted: Arc<Hosted>) -> Result<Self, Error> {
        let token = header_credential(given, "digitalocean.tokenSecretRef")?;
        Ok(Self { hosted, token })
    }

    async fn send(&self, call: &str, request: Request) -> Result<Reply, Error> {
        let value = Zeroizing::new(format!("Bearer {}", self.token.as_str()));
        let request = request
            .header(AUTHORIZATION, &value)
            .map_err(|error| API.unreached(call, &error))?;
        self.hosted.send(&API, call, request).await
    }

    fn refused(&self, call: &str, reply: &Reply) -> Error {
        let Complaint { id, message } = reply.json().unwrap_or_default();
        let words = format!("{id} {message}");
        API.refused(call, reply, words.trim(), self.hosted.now())
    }
}

impl Zones for DigitalOcean {
    /// The records' IDs, in the order of the values.
    type State = Vec<u64>;
    const NAME: &'static str = API.name;

    fn hosted(&self) -> &Hosted {
        &self.hosted
    }

    fn account(&self) -> Identity {
        Identity::of(&["digitalocean", &self.token])
    }

    async fn zone(&self, name: &str) -> Result<Zoned, Error> {
        let call = "read the domain";
        let request = Request::get(format!("{BASE}/domains/{}", escape(name)));
        let reply = self.send(call, request).await?;
        match reply.status {
            404 => Ok(Zoned::Absent),
            200..=299 => {
                let domain: Option<serde_json::Value> = reply.json();
                let known = domain.is_some_and(|body| body.get("domain").is_some());
                if known {
                    Ok(Zoned::Here(name.to_owned()))
                } else {
                    Err(API.unreadable(call, &reply))
                }
            }
            _ => Err(self.refused(call, &reply)),
        }
    }

    async fn read(&self, zone: &str, record: &Record) -> Result<Set<Vec<u64>>, Error> {
        let call = "list records";
        let wanted = relative(name(record), zone).unwrap_or("@");
        let mut set = Set::<Vec<u64>>::default();
        for page in 1..=PAGES {
            let number = page.to_string();
            let fields = [
                ("type", "TXT"),
                ("name", name(record)),
                ("per_page", PER_PAGE),
                ("page", &number),
            ];
            let url = format!("{BASE}/domains/{}/records?{}", escape(zone), query(&fields));
            let reply = self.send(call, Request::get(url)).await?;
            if !reply.is_success() {
                return Err(self.refused(call, &reply));
            }
            let records: Records = reply.json().ok_or_else(|| API.unreadable(call, &reply))?;
            for entry in records.domain_records {
                if entry.kind == "TXT" && entry.name.eq_ignore_ascii_case(wanted) {
                    set.values.push(entry.data);
                    set.state.push(entry.id);
                }
            }
            // Not followed as it is: the token would go where it leads.
            if records.links.pages.next.is_none() {
                return Ok(set);
            }
        }
        Err(API.endless(call))
    }

    async fn write(
        &self,
        zone: &str,
        record: &Record,
        before: &Set<Vec<u64>>,
        change: Change,
    ) -> Result<Written, Error> {
        let base = format!("{BASE}/domains/{}/records", escape(zone));
        if change == Change::Add {
            let call = "create the record";
            let request = Request::new(Method::POST, base).json(&json!({
                "type": "TXT",
                "name": relative(name(record), zone).unwrap_or("@"),
                "data": record.value,
                "ttl": TTL,
            }));
            let reply = self.send(call, request).await?;
            let made: Option<serde_json::Value> = reply.json();
            return match made.filter(|_| reply.is_success()) {
                Some(body) if body.get("domain_record").is_some() => Ok(Written::Done),
                _ if reply.is_success() => Err(API.unreadable(call, &reply)),
                _ => Err(self.refused(call, &reply)),
            };
        }
        for (raw, id) in before.values.iter().zip(&before.state) {
            if is(raw, &record.value) {
                let call = "delete the record";
                let request = Request::new(Method::DELETE, format!("{base}/{id}"));
                let reply = self.send(call, request).await?;
                if !reply.is_success() && reply.status != 404 {
                    return Err(self.refused(call, &reply));
                }
            }
        }
        Ok(Written::Done)
    }
}
