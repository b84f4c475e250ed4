//! Google Cloud DNS, API v1. The values of a name are one record set; a change names the set that it replaces, and is
//! refused when that is not the one that is there.

use std::sync::Arc;

use http::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::bearer::Login as _;
use super::edit::{Change, Set, Written, Zoned, Zones, after, name};
use super::google::{Account, Login};
use super::tokens::Identity;
use super::{Api, Hosted, PAGES, optional, segment};
use crate::api::dns01;
use crate::net::{Reply, Request, query};
use crate::solvers::dns01::{Error, Given, Record};

const BASE: &str = "https://dns.googleapis.com/dns/v1/projects";
const API: Api = Api {
    name: "Cloud DNS",
    remedy: "let the service account have dns.managedZones.list, dns.resourceRecordSets.* and dns.changes.create in \
             the project",
};
/// In seconds (contract §5.7).
const TTL: u32 = 60;

pub(super) struct CloudDns {
    hosted: Arc<Hosted>,
    login: Login,
    /// Up to the managed zones.
    base: String,
    /// Name of the managed zone, escaped.
    zone: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ManagedZones {
    #[serde(default)]
    managed_zones: Vec<ManagedZone>,
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ManagedZone {
    name: String,
    #[serde(default)]
    dns_name: String,
    #[serde(default)]
    visibility: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RecordSets {
    #[serde(default)]
    rrsets: Vec<RecordSet>,
    next_page_token: Option<String>,
}

#[derive(Clone, Deserialize)]
struct RecordSet {
    #[serde(default)]
    name: String,
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    ttl: u32,
    #[serde(default)]
    rrdatas: Vec<String>,
}

impl CloudDns {
    pub(super) fn new(
        spec: &dns01::CloudDns,
        given: &Given,
        hosted: Arc<Hosted>,
    ) -> Result<Self, Error> {
        const FIELD: &str = "cloudDNS.serviceAccountSecretRef";
        let login = match (given.secrets.bytes(FIELD), &given.ambient) {
            (Some(file), _) => {
                let place = format!("dns01.{FIELD}: the entry of the Secret");
                Login::Account(Account::read(file, &place)?)
            }
            (None, Some(ambient)) => Login::Ambient(Arc::clone(ambient)),
            (None, None) => return Err(super::no_ambient(FIELD)),
        };
        let project = segment("cloudDNS.project", &spec.project)?;
        let zone = optional(spec.hosted_zone_name.as_deref());
        let zone = zone.map(|zone| segment("cloudDNS.hostedZoneName", zone));
        Ok(Self {
            hosted,
            login,
            base: format!("{BASE}/{project}/managedZones"),
            zone: zone.transpose()?,
        })
    }

    async fn send(&self, call: &str, request: Request) -> Result<Reply, Error> {
        self.hosted.send_as(&self.login, &API, call, request).await
    }

    async fn page<T: DeserializeOwned>(
        &self,
        call: &str,
        url: &str,
        fields: &[(&str, &str)],
        token: Option<&str>,
    ) -> Result<T, Error> {
        let mut fields = fields.to_vec();
        fields.extend(token.map(|token| ("pageToken", token)));
        let url = format!("{url}?{}", query(&fields));
        let reply = self.send(call, Request::get(url)).await?;
        if !reply.is_success() {
            return Err(self.refused(call, &reply));
        }
        reply.json().ok_or_else(|| API.unreadable(call, &reply))
    }

    fn refused(&self, call: &str, reply: &Reply) -> Error {
        let body: Value = reply.json().unwrap_or_default();
        let words = body.pointer("/error/message").and_then(Value::as_str);
        let reason = body
            .pointer("/error/errors/0/reason")
            .and_then(Value::as_str);
        // Too many calls are a 403 here, at times.
        if reason.is_some_and(|reason| reason.ends_with("ateLimitExceeded")) {
            let limited = Reply {
                status: 429,
                ..reply.clone()
            };
            return API.refused(call, &limited, words.unwrap_or_default(), self.hosted.now());
        }
        API.refused(call, reply, words.unwrap_or_default(), self.hosted.now())
    }
}

impl Zones for CloudDns {
    /// The set as it is.
    type State = Option<(String, u32)>;
    const NAME: &'static str = API.name;

    fn hosted(&self) -> &Hosted {
        &self.hosted
    }

    fn account(&self) -> Identity {
        let zone = self.zone.as_deref().unwrap_or_default();
        self.login.identity().with(&self.base).with(zone)
    }

    async fn zone(&self, name: &str) -> Result<Zoned, Error> {
        if let Some(zone) = &self.zone {
            return Ok(Zoned::Here(zone.clone()));
        }
        let wanted = format!("{name}.");
        let mut token = None;
        for _ in 0..PAGES {
            let fields = [("dnsName", wanted.as_str())];
            let page: ManagedZones = self
                .page("list managed zones", &self.base, &fields, token.as_deref())
                .await?;
            let found = page.managed_zones.into_iter().find(|zone| {
                zone.dns_name.eq_ignore_ascii_case(&wanted) && zone.visibility != "private"
            });
            if let Some(zone) = found {
                return Ok(Zoned::Here(crate::net::escape(&zone.name)));
            }
            match page.next_page_token {
                Some(next) => token = Some(next),
                None => return Ok(Zoned::Absent),
            }
        }
        Err(API.endless("list managed zones"))
    }

    async fn read(&self, zone: &str, record: &Record) -> Result<Set<Option<(String, u32)>>, Error> {
        let url = format!("{}/{zone}/rrsets", self.base);
        let wanted = format!("{}.", name(record));
        let mut token = None;
        for _ in 0..PAGES {
            let fields = [("name", wanted.as_str()), ("type", "TXT")];
            let page: RecordSets = self
                .page("list record sets", &url, &fields, token.as_deref())
                .await?;
            let found = page
                .rrsets
                .into_iter()
                .find(|set| set.kind == "TXT" && set.name.eq_ignore_ascii_case(&wanted));
            if let Some(set) = found {
                return Ok(Set {
                    values: set.rrdatas,
                    state: Some((set.name, set.ttl)),
                });
            }
            match page.next_page_token {
                Some(next) => token = Some(next),
                None => return Ok(Set::default()),
            }
        }
        Err(API.endless("list record sets"))
    }

    async fn write(
        &self,
        zone: &str,
        record: &Record,
        before: &Set<Option<(String, u32)>>,
        change: Change,
    ) -> Result<Written, Error> {
        let call = "change the record set";
        let fallback = (format!("{}.", name(record)), TTL);
        let (name, ttl) = before.state.as_ref().unwrap_or(&fallback);
        let set = |values: &[String]| {
            let set = json!({ "name": name, "type": "TXT", "ttl": ttl, "rrdatas": values });
            if values.is_empty() {
                json!([])
            } else {
                json!([set])
            }
        };
        let body = json!({
            "deletions": set(&before.values),
            "additions": set(&after(before, record, change)),
        });
        let url = format!("{}/{zone}/changes", self.base);
        let reply = self
            .send(call, Request::new(Method::POST, url).json(&body))
            .await?;
        match reply.status {
            // What was to go is not there as it was, or what was to come is there.
            404 | 409 | 412 if !missing_zone(&reply) => Ok(Written::LookAgain),
            200..=299 => match reply.json::<Value>() {
                Some(change) if change.get("id").is_some() => Ok(Written::Done),
                _ => Err(API.unreadable(call, &reply)),
            },
            _ => Err(self.refused(call, &reply)),
        }
    }
}

/// Whether it is the zone, or the project, that is not there.
fn missing_zone(reply: &Reply) -> bool {
    let body: Value = reply.json().unwrap_or_default();
    let words = body.pointer("/error/message").and_then(Value::as_str);
    words.is_some_and(|words| words.contains("managedZone") || words.contains("project"))
}
