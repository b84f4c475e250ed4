//! What is looked at before an order is spent (docs/preflight.md), and what follows from it. Pure. Only a CAA record keeps
//! an order back for as long as it is there: the CA would have to say no. All else may look otherwise from where the CA is,
//! and keeps it back for a while only.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::acme::{Caa, Identifier, Issuance, Refusal, Why};
use crate::api::acme_issuer::AcmeIssuer;
use crate::api::solver::Solver;
use crate::explain::{Code, Verdict};
use crate::solvers::http01::self_check::Reason;
use crate::solvers::pick::{Wanted, pick};

/// The longest time that a look takes.
pub const LOOK: Duration = Duration::from_secs(10);
/// A look that is older says nothing about an order that is made now.
const FRESH: SignedDuration = SignedDuration::from_secs(30);
/// Between two looks at records that forbid it: as long as they have done so, but within these.
const FORBIDDEN: (SignedDuration, SignedDuration) =
    (SignedDuration::from_secs(5), SignedDuration::from_mins(5));
/// The same of all else.
const UNREACHED: (SignedDuration, SignedDuration) =
    (SignedDuration::from_secs(2), SignedDuration::from_secs(10));

const HTTP: &str = "http-01";
const DNS: &str = "dns-01";

/// A name of an Order, and how it is to be proven.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    /// Without the star of a wildcard.
    pub name: String,
    /// For all names below it.
    pub wildcard: bool,
    /// An address has no records.
    pub is_address: bool,
    /// `http-01` or `dns-01`, if that is certain.
    pub method: Option<&'static str>,
    /// Whether it has to be reached at port 80.
    pub reach: bool,
    /// The solver's own resolvers.
    pub nameservers: Vec<String>,
}

/// What the DNS says of who may issue for a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Records {
    /// It was not asked, or did not answer in time.
    Unasked,
    /// Why it cannot be told.
    Unread(String),
    /// The records of the closest name upwards that has any.
    Read {
        /// That name, with its final dot.
        at: String,
        /// None at all: everybody may.
        all: Vec<Caa>,
    },
}

/// Who takes connections for a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// It was not tried, or not to its end.
    Untried,
    /// Each address with what came of it; none when the name does not resolve.
    Tried(Vec<(IpAddr, Result<(), Reason>)>),
}

/// What was seen of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The name.
    pub subject: Subject,
    /// Who may issue for it.
    pub records: Records,
    /// Who answers for it.
    pub reach: Reach,
}

/// A look at all names of an Order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    /// When.
    pub at: Timestamp,
    /// Since when looks have found something in the way.
    pub since: Timestamp,
    /// The names by which the CA says that it goes.
    pub identities: Vec<String>,
    /// URL of the account.
    pub account: Option<String>,
    /// What was seen of each.
    pub names: Vec<Seen>,
}

/// What is known before an order is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ahead {
    /// Since when a look has been under way.
    pub looking: Option<Timestamp>,
    /// The newest one that came to its end.
    pub sight: Option<Arc<Sight>>,
    /// How long what is not certain keeps the order back.
    pub patience: Duration,
}

/// What follows from it.
#[derive(Debug, PartialEq, Eq)]
pub enum Standing<'a> {
    /// It is to be looked at.
    Look,
    /// That is being done, until then at most.
    Looking(Timestamp),
    /// The order is not made: why, and when it is looked at again.
    Held(String, Timestamp),
    /// Nothing is in the way.
    Clear(&'a Sight),
}

impl Ahead {
    /// Whether an order may be made.
    pub fn standing(&self, now: Timestamp) -> Standing<'_> {
        let end = |since: Timestamp| since.checked_add(2 * LOOK).unwrap_or(since);
        if let Some(end) = self.looking.map(end).filter(|end| *end > now) {
            return Standing::Looking(end);
        }
        let Some(sight) = &self.sight else {
            return Standing::Look;
        };
        let Some((text, (least, most))) = self.obstacle(sight, now) else {
            return Standing::Clear(sight);
        };
        let pause = sight.at.duration_since(sight.since).clamp(least, most);
        match sight.at.checked_add(pause) {
            Ok(again) if again > now => Standing::Held(text, again),
            _ => Standing::Look,
        }
    }

    /// Whether the order is made though something uncertain is in the way, as its time is over.
    pub fn has_waited(&self) -> bool {
        self.sight.as_ref().is_some_and(|s| s.advice().is_some())
    }

    fn obstacle(
        &self,
        sight: &Sight,
        now: Timestamp,
    ) -> Option<(String, (SignedDuration, SignedDuration))> {
        if let Some(text) = sight.refused_for() {
            let verdict = Verdict::new(Code::CAA_AHEAD, text);
            return Some((verdict.to_string(), FORBIDDEN));
        }
        let (code, text) = sight.advice()?;
        let end = sight.since.checked_add(self.patience).ok()?;
        (end > now).then(|| {
            let text = format!("{text}. The CA is asked at {end:.0} all the same");
            (Verdict::new(code, text).to_string(), UNREACHED)
        })
    }
}

impl Sight {
    /// Whether it is too old to make an order after it.
    pub fn is_stale(&self, now: Timestamp) -> bool {
        now.duration_since(self.at) > FRESH
    }

    /// Whether nothing is in the way.
    pub fn is_clear(&self) -> bool {
        self.refused_for().is_none() && self.advice().is_none()
    }

    /// For which names the CA must not issue, and why: that is certain.
    pub fn refused_for(&self) -> Option<String> {
        let is_certain = |why| why != Why::OtherMethod && why != Why::Unknown;
        let refused = self.refused();
        let refused = refused.filter(|(.., refusal)| is_certain(refusal.why));
        several(refused.map(|(seen, at, refusal)| self.told(&seen.subject, at, &refusal)))
    }

    /// What may be in the way, and what to do about it. That the CA would have to validate anew, or does not know a critical
    /// property either, is likely only.
    fn advice(&self) -> Option<(Code, String)> {
        let refused = self.refused();
        let refused = refused.map(|(seen, at, refusal)| self.told(&seen.subject, at, &refusal));
        let unreached = || several(self.names.iter().filter_map(Seen::unreached));
        let text = several(refused).map(|text| (Code::CAA_AHEAD, text));
        text.or_else(|| unreached().map(|text| (Code::UNREACHED_AHEAD, text)))
    }

    /// What is odd, and keeps nothing back.
    pub fn doubts(&self) -> impl Iterator<Item = String> {
        let unread = self.names.iter().filter_map(|seen| match &seen.records {
            Records::Unread(why) => Some(format!(
                "The CAA records of \"{}\" cannot be read from here: {why}. A CA that cannot read them either does not issue",
                seen.subject.name
            )),
            _ => None,
        });
        unread.chain(self.names.iter().filter_map(Seen::partly_reached))
    }

    fn refused(&self) -> impl Iterator<Item = (&Seen, &str, Refusal)> {
        self.names.iter().filter_map(|seen| {
            let Records::Read { at, all } = &seen.records else {
                return None;
            };
            let issuance = Issuance {
                identities: &self.identities,
                account: self.account.as_deref(),
                method: seen.subject.method,
                wildcard: seen.subject.wildcard,
            };
            Some((seen, at.as_str(), issuance.refusal(all)?))
        })
    }

    fn told(&self, subject: &Subject, at: &str, refusal: &Refusal) -> String {
        let record = format!("The record {at} {}", refusal.record);
        let star = if subject.wildcard { "*." } else { "" };
        let name = format!("\"{star}{}\"", subject.name);
        let tag = &refusal.record.tag;
        let identity = self.identities.first().map_or("", String::as_str);
        match refusal.why {
            Why::OtherCa => format!(
                "{record} does not let this CA issue for {name}: add {at} CAA 0 {tag} \"{identity}\", or use an issuer of a CA \
                 that the records name"
            ),
            Why::OtherAccount => format!(
                "{record} does not let this account issue for {name}: put accounturi={} there, or use the issuer of that \
                 account",
                self.account.as_deref().unwrap_or_default()
            ),
            Why::SeveralAccounts => format!(
                "{record} names several accounts, so that none may issue for {name}: leave one accounturi in each record"
            ),
            Why::OtherMethod => format!(
                "{record} does not let this CA validate {name} by {}: add that to validationmethods, or use a solver that the \
                 record allows",
                subject.method.unwrap_or_default()
            ),
            Why::Unknown => format!(
                "{record} forbids all CAs that do not know this tag to issue for {name}: take the record away if this CA does \
                 not"
            ),
        }
    }
}

impl Seen {
    /// What was tried, without what only the network here cannot do: most clusters have no IPv6.
    fn tried(&self) -> Option<Vec<&(IpAddr, Result<(), Reason>)>> {
        let Reach::Tried(all) = &self.reach else {
            return None;
        };
        let is_told = |(address, came): &&(IpAddr, Result<(), Reason>)| {
            address.is_ipv4() || *came != Err(Reason::Unreachable)
        };
        let told: Vec<_> = all.iter().filter(is_told).collect();
        (all.is_empty() || !told.is_empty()).then_some(told)
    }

    fn unreached(&self) -> Option<String> {
        let tried = self.tried()?;
        if tried.iter().any(|(_, came)| came.is_ok()) {
            return None;
        }
        let mut reasons = tried.iter().filter_map(|(_, came)| came.as_ref().err());
        let reason = reasons.next().unwrap_or(&Reason::Unresolved);
        Some(format!(
            "\"{}\" cannot be reached from here: {reason}: {}",
            self.subject.name,
            reason.advice()
        ))
    }

    /// Some of its addresses answer, others do not.
    fn partly_reached(&self) -> Option<String> {
        let tried = self.tried()?;
        let good = tried.iter().find(|(_, came)| came.is_ok())?;
        let (bad, reason) = tried
            .iter()
            .find_map(|(address, came)| Some((address, came.as_ref().err()?)))?;
        Some(format!(
            "\"{}\" answers at {}, but not at {bad}: {reason}. A CA may ask there: take that address out of the DNS, or let \
             port 80 through to the Ingress controller",
            self.subject.name, good.0
        ))
    }
}

/// The first, and how many more there are.
fn several(mut texts: impl Iterator<Item = String>) -> Option<String> {
    let first = texts.next()?;
    Some(match texts.count() {
        0 => first,
        1 => format!("{first}. The same of one name more"),
        more => format!("{first}. The same of {more} names more"),
    })
}

/// How each of these is to be proven with an issuer's solvers.
pub fn subjects(
    acme: &AcmeIssuer,
    labels: &BTreeMap<String, String>,
    identifiers: &[Identifier],
) -> Vec<Subject> {
    let solvers = acme.solvers.as_deref().unwrap_or_default();
    let subject = |identifier: &Identifier| {
        let stripped = identifier.value.strip_prefix("*.");
        let name = stripped.unwrap_or(&identifier.value);
        let (wildcard, is_address) = (stripped.is_some(), identifier.kind == "ip");
        // What a CA may offer (RFC 8555 §7.1.4, RFC 8738 §7).
        let offered: &[&str] = match (wildcard, is_address) {
            (true, _) => &[DNS],
            (_, true) => &[HTTP],
            _ => &[HTTP, DNS],
        };
        let wanted = Wanted {
            name,
            wildcard,
            labels,
            offered,
        };
        let picked = pick(solvers, &wanted).ok();
        let solver = picked.and_then(|picked| solvers.get(picked.solver));
        let method = solver.and_then(|solver| method(solver, offered));
        let checks = |solver: &Solver| solver.wait_instead_of_self_check.is_none();
        let dns01 = solver.and_then(|solver| solver.dns01.as_ref());
        Subject {
            name: name.to_owned(),
            wildcard,
            is_address,
            method,
            reach: method == Some(HTTP) && solver.is_some_and(checks),
            nameservers: dns01
                .and_then(|dns01| dns01.nameservers.clone())
                .unwrap_or_default(),
        }
    };
    identifiers.iter().map(subject).collect()
}

/// What a solver will do; of one that could do both, the order of the CA's offers decides.
fn method(solver: &Solver, offered: &[&str]) -> Option<&'static str> {
    let can = |is: bool, method: &'static str| (is && offered.contains(&method)).then_some(method);
    let http = can(solver.http01.is_some(), HTTP);
    let dns = can(solver.dns01.is_some(), DNS);
    http.xor(dns)
}
