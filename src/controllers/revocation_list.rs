//! Revocation lists of CA issuers that ask for one (`spec.ca.revocationList`). The list of an issuer is in a ConfigMap, and the
//! list itself is all there is to remember: what was revoked stays in it when the CertificateRevocation is gone.

use std::collections::{BTreeMap, HashSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::action::Event;
use super::facts::Identity;
use super::key::{Key, Kind};
use crate::api::duration::parse_go_duration;
use crate::api::issuer::CaRevocationList;
use crate::api::labels;
use crate::explain::{Code, Verdict};
use crate::pki::{RevocationList, RevokedSerial};

/// The entry of the ConfigMap with the list, in DER.
pub const ENTRY: &str = "ca.crl";
/// The entry with when the certificates in the list expire, which the list cannot say: a line each, serial number and time.
const EXPIRY: &str = "expiry";
/// The most certificates of one list: it has to fit into a ConfigMap, whose bound is 1 MiB, with some 120 bytes for each.
pub const MOST: usize = 8_000;

/// How long a list is valid if its issuer does not say.
const LIFETIME: SignedDuration = SignedDuration::from_hours(168);
/// No list is valid for less: it is signed anew after half of that.
const SHORTEST: SignedDuration = SignedDuration::from_mins(10);

/// The list of an issuer, as its ConfigMap has it.
#[derive(Debug, Clone)]
pub struct ListFact {
    /// The ConfigMap.
    pub id: Identity,
    /// What it says; in words what is wrong with it.
    pub list: Result<RevocationList, String>,
    /// When the certificates in it expire, by serial number, as far as that is known.
    pub expiry: BTreeMap<String, Timestamp>,
}

impl ListFact {
    /// Reduce an object.
    pub fn of(object: &ConfigMap) -> Self {
        let der = object.binary_data.as_ref().and_then(|d| d.get(ENTRY));
        let der = der.map(|bytes| bytes.0.clone()).unwrap_or_default();
        let expiry = object.data.as_ref().and_then(|d| d.get(EXPIRY));
        let lines = expiry.into_iter().flat_map(|text| text.lines());
        let pair = |line: &str| {
            let (serial, time) = line.split_once(' ')?;
            Some((serial.to_owned(), time.parse().ok()?))
        };
        Self {
            id: Identity::of(&object.metadata),
            list: RevocationList::from_der(der).map_err(|e| e.to_string()),
            expiry: lines.filter_map(pair).collect(),
        }
    }
}

/// A certificate that is to be in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// As the list says it.
    pub entry: RevokedSerial,
    /// When the certificate expires.
    pub not_after: Timestamp,
}

/// What becomes of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// The one that is stored will do, until then.
    Stands(Timestamp),
    /// Another one is signed.
    Sign(Draft),
    /// It cannot be: why.
    Not(String),
}

/// A list that is to be signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Higher than that of any list of the issuer before.
    pub number: u64,
    /// When there will be another one.
    pub next_update: Timestamp,
    /// What is in it.
    pub revoked: Vec<RevokedSerial>,
    /// When the certificates in it expire, by serial number, as far as that is known.
    pub expiry: BTreeMap<String, Timestamp>,
}

/// What becomes of the list of an issuer.
///
/// `stored` is what its ConfigMap has, and `is_own` whether the CA of now has signed that: what another one has signed, which was
/// in the Secret before, is about other certificates. `missing` is what is revoked and not in it; of that, what finds no room
/// is left out. `ca_end` is when the CA expires.
pub fn next(
    stored: Option<&ListFact>,
    is_own: bool,
    mut missing: Vec<Revoked>,
    lifetime: SignedDuration,
    ca_end: Timestamp,
    now: Timestamp,
) -> Next {
    if ca_end <= now {
        return Next::Not(format!("the certificate of the CA has expired at {ca_end}"));
    }
    let list = stored.and_then(|stored| stored.list.as_ref().ok());
    let own = stored.zip(list.filter(|_| is_own));
    missing.retain(|more| more.not_after >= now);
    if let Some((_, own)) = own.filter(|_| missing.is_empty()) {
        let due = due(own, lifetime);
        // One more for the time until the CA's own end would say nothing new.
        let lasts = own.next_update.is_some_and(|end| end >= ca_end);
        if due > now || lasts {
            return Next::Stands(if lasts { ca_end } else { due });
        }
    }
    let (revoked, expiry) = contents(own, missing);
    // Numbers follow the time, so that they do not begin anew when a ConfigMap is lost.
    let time = u64::try_from(now.as_millisecond()).unwrap_or_default();
    let after = list.map_or(0, |list| list.number.saturating_add(1));
    Next::Sign(Draft {
        number: after.max(time),
        next_update: now.saturating_add(lifetime).unwrap_or(ca_end).min(ca_end),
        revoked,
        expiry,
    })
}

/// What is in the list after this one, and when that expires.
fn contents(
    own: Option<(&ListFact, &RevocationList)>,
    missing: Vec<Revoked>,
) -> (Vec<RevokedSerial>, BTreeMap<String, Timestamp>) {
    let (mut revoked, mut expiry) = (vec![], BTreeMap::new());
    if let Some((fact, own)) = own {
        expiry.clone_from(&fact.expiry);
        // RFC 5280 §3.3: each is in one list at least that was signed after it had expired.
        let stays = |entry: &&RevokedSerial| {
            let end = expiry.get(&entry.text());
            end.is_none_or(|end| *end >= own.this_update)
        };
        revoked.extend(own.revoked.iter().filter(stays).cloned());
    }
    let mut there: HashSet<String> = revoked.iter().map(RevokedSerial::text).collect();
    for more in missing {
        let text = more.entry.text();
        if revoked.len() < MOST && there.insert(text.clone()) {
            expiry.insert(text, more.not_after);
            revoked.push(more.entry);
        }
    }
    expiry.retain(|serial, _| there.contains(serial));
    (revoked, expiry)
}

/// When a list is signed anew, though nothing has changed: in the middle of its life, or of the one that is asked for now.
fn due(list: &RevocationList, lifetime: SignedDuration) -> Timestamp {
    let begin = list.this_update;
    let whole = list.next_update.map(|end| end.duration_since(begin));
    let half = whole.unwrap_or_default().min(lifetime) / 2;
    begin.saturating_add(half).unwrap_or(begin)
}

/// Name of the ConfigMap, in the namespace of the issuer's Secrets.
pub fn name(issuer: &Key) -> String {
    let kind = match issuer.kind {
        Kind::ClusterIssuer => "clusterissuer",
        _ => "issuer",
    };
    format!("everleaf-crl-{kind}-{}", issuer.name)
}

/// Where the list of an issuer is served.
pub fn path(issuer: &Key) -> String {
    match &*issuer.namespace {
        "" => format!("/crl/{}.crl", issuer.name),
        namespace => format!("/crl/{namespace}/{}.crl", issuer.name),
    }
}

/// The issuer whose list is served there. That it exists is not said.
pub fn issuer_at(path: &str) -> Option<Key> {
    let rest = path.strip_prefix("/crl/")?.strip_suffix(".crl")?;
    Some(match rest.split_once('/') {
        None => Key::new(Kind::ClusterIssuer, "", rest),
        Some((namespace, name)) => Key::new(Kind::Issuer, namespace, name),
    })
}

/// How long a list of this issuer is valid.
pub fn lifetime(asked: &CaRevocationList) -> SignedDuration {
    let lifetime = asked.lifetime.as_deref();
    let lifetime = lifetime.and_then(|text| parse_go_duration(text).ok());
    lifetime.unwrap_or(LIFETIME).max(SHORTEST)
}

/// That the list of an issuer cannot be signed.
pub fn unsigned(problem: &str) -> Event {
    let verdict = Verdict::new(Code::REVOCATION_LIST, problem).to_string();
    Event::warning("everleaf", "RevocationListFailed", verdict)
}

/// The ConfigMap of a list, in place of the one of `version`.
pub fn config_map(
    issuer: &Key,
    home: &str,
    list: &RevocationList,
    expiry: &BTreeMap<String, Timestamp>,
    version: Option<String>,
) -> ConfigMap {
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let lines = expiry
        .iter()
        .map(|(serial, end)| format!("{serial} {end:.0}\n"));
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name(issuer)),
            namespace: Some(home.to_owned()),
            resource_version: version,
            labels: Some(BTreeMap::from([
                pair(labels::REVOCATION_LIST_LABEL, labels::TRUE),
                pair(labels::MANAGED_BY_LABEL, labels::MANAGED_BY_EVERLEAF),
            ])),
            ..ObjectMeta::default()
        },
        binary_data: Some(BTreeMap::from([(
            ENTRY.to_owned(),
            ByteString(list.der().to_vec()),
        )])),
        data: Some(BTreeMap::from([(EXPIRY.to_owned(), lines.collect())])),
        ..ConfigMap::default()
    }
}

#[cfg(test)]
mod tests;
