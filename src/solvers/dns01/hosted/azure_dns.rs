//! Azure DNS, public zones (API 2018-05-01) and private ones (API 2020-06-01). The values of a name are one record set,
//! which is replaced only if its entity tag is the one that was read.

use std::sync::Arc;

use http::header::{IF_MATCH, IF_NONE_MATCH};
use http::{HeaderName, Method};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::azure::{Environment, Login, Way};
use super::bearer::Login as _;
use super::edit::{Change, Set, Written, Zoned, Zones, is, is_below, name, relative};
use super::tokens::Identity;
use super::{Api, Hosted, field, optional, segment};
use crate::api::dns01;
use crate::net::{Reply, Request, escape};
use crate::solvers::dns01::{Error, Given, Record};

const API: Api = Api {
    name: "Azure DNS",
    remedy: "give the identity the role DNS Zone Contributor (Private DNS Zone Contributor) on the zone",
};
/// In seconds (contract §5.7).
const TTL: u32 = 60;

/// How the two kinds of zones differ.
struct Kind {
    path: &'static str,
    version: &'static str,
    ttl: &'static str,
    records: &'static str,
}

const PUBLIC: Kind = Kind {
    path: "dnsZones",
    version: "2018-05-01",
    ttl: "TTL",
    records: "TXTRecords",
};
const PRIVATE: Kind = Kind {
    path: "privateDnsZones",
    version: "2020-06-01",
    ttl: "ttl",
    records: "txtRecords",
};

pub(super) struct AzureDns {
    hosted: Arc<Hosted>,
    login: Login,
    kind: &'static Kind,
    /// Up to the zones.
    base: String,
    zone: Option<String>,
}

/// A record set as it was read.
#[derive(Default)]
pub(super) struct State {
    etag: Option<String>,
    /// In the order of the values.
    records: Vec<Value>,
    /// What else it has: goes back as it came.
    properties: Map<String, Value>,
}

impl AzureDns {
    pub(super) fn new(
        spec: &dns01::AzureDns,
        given: &Given,
        hosted: Arc<Hosted>,
    ) -> Result<Self, Error> {
        let environment = Environment::named(spec.environment.as_deref())?;
        let kind = match optional(spec.zone_type.as_deref()) {
            None | Some("AzurePublicZone") => &PUBLIC,
            Some("AzurePrivateZone") => &PRIVATE,
            Some(_) => {
                return Err(Error::permanent(
                    "dns01.azureDNS.zoneType: must be AzurePublicZone or AzurePrivateZone",
                ));
            }
        };
        let base = format!(
            "{}/subscriptions/{}/resourceGroups/{}/providers/Microsoft.Network/{}",
            environment.management,
            segment("azureDNS.subscriptionID", &spec.subscription_id)?,
            segment("azureDNS.resourceGroupName", &spec.resource_group_name)?,
            kind.path
        );
        let zone = optional(spec.hosted_zone_name.as_deref());
        Ok(Self {
            hosted,
            login: Login {
                environment,
                way: way(spec, given)?,
            },
            kind,
            base,
            zone: zone.map(|zone| zone.trim_end_matches('.').to_ascii_lowercase()),
        })
    }

    async fn send(
        &self,
        call: &str,
        method: Method,
        path: &str,
        condition: Option<(HeaderName, &str)>,
        body: Option<&Value>,
    ) -> Result<Reply, Error> {
        let url = format!("{}{path}?api-version={}", self.base, self.kind.version);
        let mut request = Request::new(method, url);
        if let Some((name, value)) = condition {
            let with = request.header(name, value);
            request = with.map_err(|error| API.unreached(call, &error))?;
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        self.hosted.send_as(&self.login, &API, call, request).await
    }

    fn refused(&self, call: &str, reply: &Reply) -> Error {
        let body: Value = reply.json().unwrap_or_default();
        // Most have both below "error"; those of the resource provider have them at the top.
        let part = |name: &str| {
            let inner = body.pointer(&format!("/error/{name}"));
            inner.or_else(|| body.get(name)).and_then(Value::as_str)
        };
        let words = format!(
            "{} {}",
            part("code").unwrap_or_default(),
            part("message").unwrap_or_default()
        );
        API.refused(call, reply, words.trim(), self.hosted.now())
    }
}

/// No other record can be beside a CNAME (RFC 1034 §3.6.2), which Azure calls a conflict too.
fn beside_cname(error: Error) -> Error {
    if error.text.contains("CNAME") {
        let text = error.text;
        return Error::permanent(format!(
            "{text}: remove it, or have it followed by cnameStrategy: Follow"
        ));
    }
    error
}

fn path(zone: &str, record: &Record) -> String {
    let name = relative(name(record), zone).unwrap_or("@");
    format!("/{}/TXT/{}", escape(zone), escape(name))
}

fn way(spec: &dns01::AzureDns, given: &Given) -> Result<Way, Error> {
    const SECRET: &str = "azureDNS.clientSecretSecretRef";
    if let Some(client) = optional(spec.client_id.as_deref()) {
        return Ok(Way::Secret {
            tenant: field("azureDNS.tenantID", spec.tenant_id.as_deref())?.to_owned(),
            client: client.to_owned(),
            secret: Zeroizing::new(given.secrets.required(SECRET)?.to_owned()),
        });
    }
    let Some(ambient) = &given.ambient else {
        return Err(super::no_ambient("azureDNS.clientID"));
    };
    let identity = spec.managed_identity.clone().unwrap_or_default();
    let owned = |value: &Option<String>| optional(value.as_deref()).map(str::to_owned);
    Ok(Way::Ambient {
        ambient: Arc::clone(ambient),
        client: owned(&identity.client_id),
        resource: owned(&identity.resource_id),
        tenant: owned(&identity.tenant_id),
    })
}

impl Zones for AzureDns {
    type State = State;
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
            if is_below(name, zone) {
                return Ok(Zoned::Here(zone.clone()));
            }
            return Ok(Zoned::Absent);
        }
        let call = "read the zone";
        let path = format!("/{}", escape(name));
        let reply = self.send(call, Method::GET, &path, None, None).await?;
        match reply.status {
            404 => Ok(Zoned::Absent),
            // A role on one zone tells nothing of the others.
            403 => Ok(Zoned::Denied(self.refused(call, &reply))),
            200..=299 => match reply.json::<Value>() {
                Some(zone) if zone.get("id").is_some() => Ok(Zoned::Here(name.to_owned())),
                _ => Err(API.unreadable(call, &reply)),
            },
            _ => Err(self.refused(call, &reply)),
        }
    }

    async fn read(&self, zone: &str, record: &Record) -> Result<Set<State>, Error> {
        let call = "read the record set";
        let path = path(zone, record);
        let reply = self.send(call, Method::GET, &path, None, None).await?;
        match reply.status {
            404 => Ok(Set::default()),
            200..=299 => {
                let body: Value = reply.json().ok_or_else(|| API.unreadable(call, &reply))?;
                self.set(&body).ok_or_else(|| API.unreadable(call, &reply))
            }
            _ => Err(self.refused(call, &reply)),
        }
    }

    async fn write(
        &self,
        zone: &str,
        record: &Record,
        before: &Set<State>,
        change: Change,
    ) -> Result<Written, Error> {
        let state = &before.state;
        let mut records = state.records.clone();
        match change {
            Change::Add => records.push(json!({ "value": [record.value] })),
            Change::Remove => {
                let pairs = before.values.iter().zip(&state.records);
                let kept = pairs.filter(|(raw, _)| !is(raw, &record.value));
                records = kept.map(|(_, record)| record.clone()).collect();
            }
        }
        let condition = match &state.etag {
            Some(etag) => (IF_MATCH, etag.as_str()),
            None => (IF_NONE_MATCH, "*"),
        };
        let (call, method, body) = if records.is_empty() {
            ("delete the record set", Method::DELETE, None)
        } else {
            let mut properties = state.properties.clone();
            properties
                .entry(self.kind.ttl)
                .or_insert_with(|| json!(TTL));
            properties.insert(self.kind.records.to_owned(), Value::Array(records));
            let body = json!({ "properties": properties });
            ("write the record set", Method::PUT, Some(body))
        };
        let path = path(zone, record);
        let reply = self
            .send(call, method, &path, Some(condition), body.as_ref())
            .await?;
        match reply.status {
            // Somebody else has changed it.
            412 => Ok(Written::LookAgain),
            // Or is about to, or something else is in the way, and stays there.
            409 => Ok(Written::Refused(beside_cname(self.refused(call, &reply)))),
            _ if reply.is_success() => Ok(Written::Done),
            _ => Err(self.refused(call, &reply)),
        }
    }
}

impl AzureDns {
    fn set(&self, body: &Value) -> Option<Set<State>> {
        let etag = body.get("etag")?.as_str()?.to_owned();
        let mut properties = body.get("properties")?.as_object()?.clone();
        let records = properties.remove(self.kind.records).unwrap_or(json!([]));
        let records = records.as_array()?.clone();
        // What only Azure writes.
        for name in ["fqdn", "provisioningState", "isAutoRegistered"] {
            properties.remove(name);
        }
        let text = |record: &Value| {
            let strings = record.get("value").and_then(Value::as_array);
            let strings = strings.into_iter().flatten().filter_map(Value::as_str);
            strings.collect::<String>()
        };
        Some(Set {
            values: records.iter().map(text).collect(),
            state: State {
                etag: Some(etag),
                records,
                properties,
            },
        })
    }
}
