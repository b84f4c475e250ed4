//! Akamai Edge DNS, API v2. The values of a name are one record set, which is replaced as a whole and without a
//! condition: writes of this process wait for each other, and each is read back.

use std::sync::Arc;

use aws_lc_rs::rand;
use http::Method;
use serde::Deserialize;
use serde_json::json;

use super::edgegrid::Client;
use super::edit::{Change, Set, Written, Zoned, Zones, after, name};
use super::tokens::Identity;
use super::{Api, Hosted, header_credential};
use crate::api::dns01;
use crate::net::{Reply, Request, escape, hex};
use crate::solvers::dns01::{Error, Given, Record};

const API: Api = Api {
    name: "Akamai",
    remedy: "let the API client of dns01.akamai have READ-WRITE access to DNS-Zone Record Management, and the zone in \
             its group",
};
/// In seconds (contract §5.7).
const TTL: u32 = 300;

pub(super) struct Akamai {
    hosted: Arc<Hosted>,
    host: String,
    client: Client,
}

#[derive(Deserialize)]
struct Zone {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct RecordSet {
    #[serde(default)]
    ttl: Option<u32>,
    rdata: Vec<String>,
}

/// A problem document (RFC 9457). Its `instance` and `requestId` are different each time.
#[derive(Default, Deserialize)]
struct Problem {
    #[serde(default)]
    title: String,
    #[serde(default)]
    detail: String,
}

impl Akamai {
    pub(super) fn new(
        spec: &dns01::Akamai,
        given: &Given,
        hosted: Arc<Hosted>,
    ) -> Result<Self, Error> {
        const FIELD: &str = "akamai.serviceConsumerDomain";
        let host = super::field(FIELD, Some(&spec.service_consumer_domain))?;
        // As it is copied from the credentials' page.
        let host = host
            .strip_prefix("https://")
            .unwrap_or(host)
            .trim_end_matches('/');
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
        if !host.bytes().all(plain) {
            return Err(Error::permanent(format!(
                "dns01.{FIELD}: is no host name: set the host of the API client's credentials"
            )));
        }
        Ok(Self {
            hosted,
            host: host.to_ascii_lowercase(),
            client: Client {
                token: header_credential(given, "akamai.clientTokenSecretRef")?,
                secret: header_credential(given, "akamai.clientSecretSecretRef")?,
                access_token: header_credential(given, "akamai.accessTokenSecretRef")?,
            },
        })
    }

    async fn send(
        &self,
        call: &str,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> Result<Reply, Error> {
        let mut request =
            Request::new(method, format!("https://{}/config-dns/v2{path}", self.host));
        if let Some(body) = body {
            request = request.json(body);
        }
        let mut nonce = [0; 16];
        rand::fill(&mut nonce)
            .map_err(|_| Error::transient(format!("{}: no random numbers", API.name)))?;
        let signed = self.client.sign(request, self.hosted.now(), &hex(&nonce));
        let signed = signed.map_err(|error| API.unreached(call, &error))?;
        self.hosted.send(&API, call, signed).await
    }

    fn refused(&self, call: &str, reply: &Reply) -> Error {
        let Problem { title, detail } = reply.json().unwrap_or_default();
        let words = format!("{title} {detail}");
        API.refused(call, reply, words.trim(), self.hosted.now())
    }

    async fn put(
        &self,
        zone: &str,
        record: &Record,
        before: &Set<Option<u32>>,
        values: &[String],
    ) -> Result<(), Error> {
        let path = path(zone, record);
        let (call, method) = match (before.values.is_empty(), values.is_empty()) {
            (true, _) => ("create the record set", Method::POST),
            (false, false) => ("replace the record set", Method::PUT),
            (false, true) => ("delete the record set", Method::DELETE),
        };
        let body = json!({
            "name": name(record),
            "type": "TXT",
            "ttl": before.state.unwrap_or(TTL),
            "rdata": values,
        });
        let body = (method != Method::DELETE).then_some(&body);
        let reply = self.send(call, method, &path, body).await?;
        match reply.status {
            // Created by somebody else, or deleted, since it was read: the next look tells.
            404 | 409 | 412 => Ok(()),
            _ if reply.is_success() => Ok(()),
            _ => Err(self.refused(call, &reply)),
        }
    }
}

impl Zones for Akamai {
    /// The TTL of what is there.
    type State = Option<u32>;
    const NAME: &'static str = API.name;

    fn hosted(&self) -> &Hosted {
        &self.hosted
    }

    fn account(&self) -> Identity {
        let client = &self.client;
        let tokens = [&client.token, &client.secret, &client.access_token];
        let [client, secret, access] = tokens.map(|token| token.as_str());
        Identity::of(&["akamai", &self.host, client, secret, access])
    }

    async fn zone(&self, name: &str) -> Result<Zoned, Error> {
        let call = "read the zone";
        let path = format!("/zones/{}", escape(name));
        let reply = self.send(call, Method::GET, &path, None).await?;
        match reply.status {
            404 => Ok(Zoned::Absent),
            403 => Ok(Zoned::Denied(self.refused(call, &reply))),
            200..=299 => {
                let zone: Zone = reply.json().ok_or_else(|| API.unreadable(call, &reply))?;
                if zone.kind.eq_ignore_ascii_case("primary") {
                    return Ok(Zoned::Here(name.to_owned()));
                }
                Ok(Zoned::Denied(Error::permanent(format!(
                    "{}: the zone {name} is not a primary one: its records are written elsewhere",
                    API.name
                ))))
            }
            _ => Err(self.refused(call, &reply)),
        }
    }

    async fn read(&self, zone: &str, record: &Record) -> Result<Set<Option<u32>>, Error> {
        let call = "read the record set";
        let reply = self
            .send(call, Method::GET, &path(zone, record), None)
            .await?;
        match reply.status {
            404 => Ok(Set::default()),
            200..=299 => {
                let set: RecordSet = reply.json().ok_or_else(|| API.unreadable(call, &reply))?;
                Ok(Set {
                    values: set.rdata,
                    state: set.ttl,
                })
            }
            _ => Err(self.refused(call, &reply)),
        }
    }

    async fn write(
        &self,
        zone: &str,
        record: &Record,
        before: &Set<Option<u32>>,
        change: Change,
    ) -> Result<Written, Error> {
        let values = after(before, record, change);
        self.put(zone, record, before, &values).await?;
        Ok(Written::LookAgain)
    }
}

fn path(zone: &str, record: &Record) -> String {
    let name = escape(name(record));
    format!("/zones/{}/names/{name}/types/TXT", escape(zone))
}
