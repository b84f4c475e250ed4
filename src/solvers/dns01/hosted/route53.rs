//! Amazon Route 53, API 2013-04-01. Each value is a record set of its own with the policy "multivalue answer", as
//! cert-manager writes it. Where a name has a simple set, the value is added to that: a change deletes the set as it was read
//! and creates the new one, both or nothing, and nothing if the set is another one by then.
//!
//! `GetChange` is not asked whether a change is in sync: whether the record can be seen is asked of the authoritative
//! servers before the CA is, and a worker would wait for it.

use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::aws::{Login, complaint, is_expired, is_throttled, partition, refused};
use super::edit::{Change, Set, Written, Zoned, Zones, is, name, quote};
use super::sigv4::sign;
use super::tokens::Identity;
use super::xml::Element;
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
/// Nearly always a name has one or two, and what follows in the zone is listed along.
const SETS_A_PAGE: &str = "10";
const SET: &str = "ResourceRecordSet";
const IDENTIFIER: &str = "SetIdentifier";
const RECORDS: &str = "ResourceRecords";
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
        let url = format!("https://{}/2013-04-01/{path}", partition.route53);
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
    /// The sets of the name, as they were listed.
    type State = Vec<Element>;
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

    /// The list begins at a name and type, and goes on with what follows: the sets of this name and type come first.
    async fn read(&self, zone: &str, record: &Record) -> Result<Set<Vec<Element>>, Error> {
        let call = "list record sets";
        let wanted = format!("{}.", name(record));
        let is_wanted =
            |name: &str, kind: &str| name.eq_ignore_ascii_case(&wanted) && kind == "TXT";
        let mut sets: Vec<Element> = Vec::new();
        let mut next: Option<String> = None;
        for _ in 0..PAGES {
            let mut fields = vec![
                ("name", wanted.as_str()),
                ("type", "TXT"),
                ("maxitems", SETS_A_PAGE),
            ];
            fields.extend(next.as_deref().map(|next| ("identifier", next)));
            let path = format!("hostedzone/{zone}/rrset?{}", query(&fields));
            let reply = self.call(call, Method::GET, &path, None).await?;
            if reply.status == 404 && complaint(&reply).0 == "NoSuchHostedZone" {
                return Ok(Set::default());
            }
            let document = self.read_document(call, &reply, "ListResourceRecordSetsResponse")?;
            let goes_on = document.text_of("IsTruncated") == "true"
                && is_wanted(
                    document.text_of("NextRecordName"),
                    document.text_of("NextRecordType"),
                );
            next = Some(document.text_of("NextRecordIdentifier").to_owned());
            let listed = document.children.into_iter();
            let listed = listed.filter(|part| part.name == "ResourceRecordSets");
            let listed = listed.flat_map(|list| list.children);
            sets.extend(listed.filter(|set| is_wanted(set.text_of("Name"), set.text_of("Type"))));
            if !goes_on {
                return Ok(Set {
                    values: sets.iter().flat_map(values).collect(),
                    state: sets,
                });
            }
        }
        Err(API.endless(call))
    }

    async fn write(
        &self,
        zone: &str,
        record: &Record,
        before: &Set<Vec<Element>>,
        change: Change,
    ) -> Result<Written, Error> {
        let call = "change the record set";
        let body = batch(&changes(record, &before.state, change)?);
        let path = format!("hostedzone/{zone}/rrset/");
        let reply = self.call(call, Method::POST, &path, Some(&body)).await?;
        if !reply.is_success() {
            let (code, words) = complaint(&reply);
            // What was to go is not there as it was, what was to come is there, or a set of the other kind is; or another
            // change is under way.
            let beaten = words.contains("Tried to ")
                || (words.contains("cannot be created") && words.contains("exist"));
            if (code == "InvalidChangeBatch" && beaten) || code == "PriorRequestNotComplete" {
                return Ok(Written::LookAgain);
            }
        }
        self.read_document(call, &reply, "ChangeResourceRecordSetsResponse")?;
        Ok(Written::Done)
    }
}

/// What makes the value come or go. A name has either one simple set, which all share who write there, or any number with
/// a policy; cert-manager gives each of its values a set of its own, whose answers come together (its #4793).
fn changes(record: &Record, sets: &[Element], change: Change) -> Result<Vec<Element>, Error> {
    let value = quote(&record.value);
    if change == Change::Remove {
        let ours = |set: &&Element| values(set).iter().any(|raw| is(raw, &record.value));
        let replaced = sets.iter().filter(ours).flat_map(|set| {
            let mut left = values(set);
            left.retain(|raw| !is(raw, &record.value));
            replace(set, &left)
        });
        return Ok(replaced.collect());
    }
    if sets.iter().any(|set| !is_shared(set)) {
        return Err(Error::permanent(format!(
            "Route 53: the TXT records of {}. have another routing policy than simple or multivalue answer: give them one of \
             these, or lead the name elsewhere by a CNAME",
            name(record)
        )));
    }
    if let Some(simple) = sets.iter().find(|set| set.child(IDENTIFIER).is_none()) {
        let mut more = values(simple);
        more.push(value);
        return Ok(replace(simple, &more));
    }
    let own = [
        ("Name", format!("{}.", name(record))),
        ("Type", "TXT".to_owned()),
        (IDENTIFIER, value.clone()),
        ("MultiValueAnswer", "true".to_owned()),
        ("TTL", TTL.to_owned()),
    ];
    let mut parts: Vec<_> = own
        .into_iter()
        .map(|(name, text)| Element::of_text(name, text))
        .collect();
    parts.push(records(&[value]));
    Ok(vec![step("UPSERT", Element::of_children(SET, parts))])
}

/// Whether all who ask get its values, beside those of its like.
fn is_shared(set: &Element) -> bool {
    let is_multivalue = set.text_of("MultiValueAnswer") == "true";
    (set.child(IDENTIFIER).is_none() || is_multivalue) && set.child(RECORDS).is_some()
}

fn values(set: &Element) -> Vec<String> {
    let listed = set.child(RECORDS).map(|list| &list.children);
    let values = listed.into_iter().flatten();
    values
        .map(|record| record.text_of("Value").to_owned())
        .collect()
}

fn records(values: &[String]) -> Element {
    let values = values.iter().map(|value| {
        let value = Element::of_text("Value", value);
        Element::of_children("ResourceRecord", vec![value])
    });
    Element::of_children(RECORDS, values.collect())
}

/// The set goes, if it is still as it was listed, and comes again with these values, if there are any: both or neither.
fn replace(set: &Element, values: &[String]) -> Vec<Element> {
    let mut steps = vec![step("DELETE", set.clone())];
    if !values.is_empty() {
        let mut changed = set.clone();
        for part in &mut changed.children {
            if part.name == RECORDS {
                *part = records(values);
            }
        }
        steps.push(step("CREATE", changed));
    }
    steps
}

fn step(action: &str, set: Element) -> Element {
    Element::of_children("Change", vec![Element::of_text("Action", action), set])
}

fn batch(changes: &[Element]) -> String {
    let changes: String = changes.iter().map(Element::write).collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ChangeResourceRecordSetsRequest xmlns=\"{XMLNS}\"><ChangeBatch>\
         <Changes>{changes}</Changes></ChangeBatch></ChangeResourceRecordSetsRequest>"
    )
}
