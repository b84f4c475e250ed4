//! Amazon Route 53, API 2013-04-01. The values of a name are one record set. A change deletes the set as it was read and
//! creates the new one: both or nothing, and nothing if the set is another one by then.
//!
//! `GetChange` is not asked whether a change is in sync: whether the record can be seen is asked of the authoritative
//! servers before the CA is, and a worker would wait for it.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::aws::{Login, complaint, is_expired, is_throttled, partition, refused};
use super::edit::{Change, Set, Written, Zoned, Zones, after, name};
use super::sigv4::sign;
use super::tokens::Identity;
use super::xml::{Element, escape};
use super::{Api, Hosted, PAGES, optional};
use crate::api::dns01;
use crate::net::{Reply, Request, query};
use crate::solvers::dns01::{Error, Given, Record};

const API: Api = Api {
    name: "Route 53",
    remedy: "let the identity have route53:ListHostedZonesByName, and on the zone route53:ListResourceRecordSets and \
             route53:ChangeResourceRecordSets",
};
/// In seconds (contract §5.7).
const TTL: &str = "10";
const XMLNS: &str = "https://route53.amazonaws.com/doc/2013-04-01/";
/// An account has five calls a second, for all who use it.
const THROTTLED: [Duration; 3] = [
    Duration::from_millis(300),
    Duration::from_millis(700),
    Duration::from_millis(1500),
];

pub(super) struct Route53 {
    hosted: Arc<Hosted>,
    login: Login,
    zone: Option<String>,
}

impl Route53 {
    pub(super) fn new(
        spec: &dns01::Route53,
        given: &Given,
        hosted: Arc<Hosted>,
    ) -> Result<Self, Error> {
        let zone = optional(spec.hosted_zone_id.as_deref());
        let zone = zone.map(|zone| zone.trim_start_matches("/hostedzone/"));
        if zone.is_some_and(|zone| !zone.bytes().all(|byte| byte.is_ascii_alphanumeric())) {
            return Err(Error::permanent(
                "dns01.route53.hostedZoneID: is no ID of a hosted zone: set one such as Z0123456789ABC",
            ));
        }
        Ok(Self {
            hosted,
            login: Login::new(spec, given)?,
            zone: zone.map(str::to_owned),
        })
    }

    async fn call(
        &self,
        call: &str,
        method: Method,
        path: &str,
        body: Option<&str>,
    ) -> Result<Reply, Error> {
        let partition = partition(&self.login.region);
        let url = format!("{}/2013-04-01/{path}", partition.route53);
        let mut pauses = THROTTLED.iter();
        let mut renewed = false;
        loop {
            let session = self.login.session(&self.hosted).await?;
            let mut request = Request::new(method.clone(), &url);
            if let Some(body) = body {
                request = request.body("application/xml", body.to_owned());
            }
            let now = self.hosted.now();
            let signed = sign(request, &session, partition.region, "route53", now);
            let signed = signed.map_err(|error| API.unreached(call, &error))?;
            let reply = self.hosted.send(&API, call, signed).await?;
            if reply.is_success() {
                return Ok(reply);
            }
            let (code, _) = complaint(&reply);
            if is_throttled(&code)
                && let Some(pause) = pauses.next()
            {
                tokio::time::sleep(*pause).await;
                continue;
            }
            if is_expired(&code) && session.token.is_some() && !renewed {
                renewed = true;
                self.login.forget(&self.hosted);
                continue;
            }
            return Ok(reply);
        }
    }

    /// The document of a successful answer.
    fn read_document(&self, call: &str, reply: &Reply, root: &str) -> Result<Element, Error> {
        if !reply.is_success() {
            return Err(refused(&API, &self.hosted, call, reply));
        }
        let document = Element::parse(&reply.body).filter(|document| document.name == root);
        document.ok_or_else(|| API.unreadable(call, reply))
    }
}

impl Zones for Route53 {
    /// The TTL of what is there.
    type State = Option<String>;
    const NAME: &'static str = API.name;

    fn hosted(&self) -> &Hosted {
        &self.hosted
    }

    fn account(&self) -> Identity {
        self.login
            .identity()
            .with(self.zone.as_deref().unwrap_or_default())
    }

    /// The list begins at a name, and goes on with what follows in the alphabet: those of this name come first.
    async fn zone(&self, name: &str) -> Result<Zoned, Error> {
        if let Some(zone) = &self.zone {
            return Ok(Zoned::Here(zone.clone()));
        }
        let call = "list hosted zones";
        let mut next: Option<(String, String)> = None;
        for _ in 0..PAGES {
            let mut fields = vec![("maxitems", "100")];
            match &next {
                Some((name, id)) => {
                    fields.extend([("dnsname", name.as_str()), ("hostedzoneid", id)]);
                }
                None => fields.push(("dnsname", name)),
            }
            let path = format!("hostedzonesbyname?{}", query(&fields));
            let reply = self.call(call, Method::GET, &path, None).await?;
            let document = self.read_document(call, &reply, "ListHostedZonesByNameResponse")?;
            let zones = document.child("HostedZones").map(|list| &list.children);
            for zone in zones.into_iter().flatten() {
                if zone.text_of("Name").trim_end_matches('.') != name {
                    return Ok(Zoned::Absent);
                }
                let private = zone.at(&["Config", "PrivateZone"]);
                if private.is_none_or(|private| private.text.trim() != "true") {
                    let id = zone.text_of("Id").trim_start_matches("/hostedzone/");
                    return Ok(Zoned::Here(id.to_owned()));
                }
            }
            if document.text_of("IsTruncated") != "true" {
                return Ok(Zoned::Absent);
            }
            let part = |name| document.text_of(name).to_owned();
            next = Some((part("NextDNSName"), part("NextHostedZoneId")));
        }
        Err(API.endless(call))
    }

    /// The list begins at a name and type: the set is the first, or is not there.
    async fn read(&self, zone: &str, record: &Record) -> Result<Set<Option<String>>, Error> {
        let call = "list record sets";
        let wanted = format!("{}.", name(record));
        let fields = [
            ("name", wanted.as_str()),
            ("type", "TXT"),
            ("maxitems", "1"),
        ];
        let path = format!("hostedzone/{zone}/rrset?{}", query(&fields));
        let reply = self.call(call, Method::GET, &path, None).await?;
        if reply.status == 404 && complaint(&reply).0 == "NoSuchHostedZone" {
            return Ok(Set::default());
        }
        let document = self.read_document(call, &reply, "ListResourceRecordSetsResponse")?;
        let first = document.at(&["ResourceRecordSets", "ResourceRecordSet"]);
        let Some(set) = first.filter(|set| {
            set.text_of("Name").eq_ignore_ascii_case(&wanted) && set.text_of("Type") == "TXT"
        }) else {
            return Ok(Set::default());
        };
        if set.child("SetIdentifier").is_some() {
            return Err(Error::permanent(format!(
                "Route 53: the TXT records of {wanted} have a routing policy: give them none, or another name by a CNAME"
            )));
        }
        let values = set.child("ResourceRecords").map(|list| &list.children);
        let values = values
            .into_iter()
            .flatten()
            .map(|value| value.text_of("Value").to_owned());
        Ok(Set {
            values: values.collect(),
            state: Some(set.text_of("TTL").to_owned()),
        })
    }

    async fn write(
        &self,
        zone: &str,
        record: &Record,
        before: &Set<Option<String>>,
        change: Change,
    ) -> Result<Written, Error> {
        let call = "change the record set";
        let ttl = before.state.as_deref().unwrap_or(TTL);
        let wanted = format!("{}.", name(record));
        let mut changes = part("DELETE", &wanted, ttl, &before.values);
        changes.push_str(&part(
            "CREATE",
            &wanted,
            ttl,
            &after(before, record, change),
        ));
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ChangeResourceRecordSetsRequest xmlns=\"{XMLNS}\"><ChangeBatch>\
             <Changes>{changes}</Changes></ChangeBatch></ChangeResourceRecordSetsRequest>"
        );
        let path = format!("hostedzone/{zone}/rrset/");
        let reply = self.call(call, Method::POST, &path, Some(&body)).await?;
        if !reply.is_success() {
            let (code, words) = complaint(&reply);
            // What was to go is not there as it was, or what was to come is there; or another change is under way.
            let beaten = code == "InvalidChangeBatch" && words.contains("Tried to ");
            if beaten || code == "PriorRequestNotComplete" {
                return Ok(Written::LookAgain);
            }
        }
        self.read_document(call, &reply, "ChangeResourceRecordSetsResponse")?;
        Ok(Written::Done)
    }
}

/// A change of a batch; none for a set without values.
fn part(action: &str, name: &str, ttl: &str, values: &[String]) -> String {
    let mut part = String::new();
    if values.is_empty() {
        return part;
    }
    let (name, ttl) = (escape(name), escape(ttl));
    let _ = write!(
        part,
        "<Change><Action>{action}</Action><ResourceRecordSet><Name>{name}</Name><Type>TXT</Type><TTL>{ttl}</TTL>\
         <ResourceRecords>"
    );
    for value in values {
        let value = escape(value);
        let _ = write!(
            part,
            "<ResourceRecord><Value>{value}</Value></ResourceRecord>"
        );
    }
    part.push_str("</ResourceRecords></ResourceRecordSet></Change>");
    part
}
