//! From a Certificate and everything under it to one verdict: the deepest cause that is known, in words
//! that a person can act on, with a code to look up. Progress as it should be is no cause.

mod code;
mod fault;
#[cfg(test)]
mod tests;
pub mod vault;

use std::fmt;

pub use code::{Code, acme_failure_may_pass, acme_validation_failed, quoted};
pub use fault::{Fault, ca_fault, not_before};

use crate::api::meta::{Condition, IssuerReference};
use crate::api::order::state;
use crate::api::{CertificateRequest, Challenge, Order};

/// The condition of a request while the issuer of a list that is asked has a fault of its own.
pub const ISSUER_FAULT: &str = "IssuerFault";

/// Characters of what others say that are repeated.
const LONGEST: usize = 300;

/// What is wrong with a request whose issuer has stopped halfway, in words that follow its name.
pub const STALLED: &str =
    "has a status.failureTime and no Ready condition: its issuer has failed and does not say why";

/// The issuer, as far as it is a cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Issuer {
    /// Of another group: somebody else signs and explains.
    External,
    /// It does not exist.
    Missing,
    /// It cannot sign; the message of its Ready condition.
    NotReady(String),
    /// It can sign.
    Ready,
}

/// What hangs together, from the Certificate down.
#[derive(Debug, Clone)]
pub struct Chain<'a> {
    /// The Certificate's namespace.
    pub namespace: &'a str,
    /// `spec.issuerRef`.
    pub issuer_ref: &'a IssuerReference,
    /// What it refers to.
    pub issuer: Issuer,
    /// The request under way.
    pub request: Option<&'a CertificateRequest>,
    /// The open request that was made for that one, of an issuer of the list.
    pub child: Option<&'a CertificateRequest>,
    /// Its Order.
    pub order: Option<&'a Order>,
    /// The Order's Challenges.
    pub challenges: Vec<&'a Challenge>,
    /// The request, or the one that was made for it, has waited for longer than it should need.
    pub overdue: bool,
}

/// What is wrong, why, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What it is, in short.
    pub code: Code,
    /// Whole sentences.
    pub text: String,
}

impl Verdict {
    /// Of a problem in whole sentences; the last stop may be missing.
    pub fn new(code: Code, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { code, text }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, text } = self;
        write!(f, "{} ({code}).", text.trim_end_matches('.'))
    }
}

/// The verdict; `None` when nothing is wrong.
pub fn verdict(chain: &Chain<'_>) -> Option<Verdict> {
    // Without an issuer nothing below it goes on, whatever was wrong there.
    let missing = || issuer(chain).filter(|_| chain.issuer == Issuer::Missing);
    // An Order that has not ended waits for its issuer, whatever it waited for before.
    let unready = || {
        let goes_on = chain.order.is_some_and(|order| {
            let state = order.status.as_ref().and_then(|s| s.state.as_deref());
            !state.is_some_and(state::is_failure)
        });
        issuer(chain).filter(|_| goes_on && matches!(chain.issuer, Issuer::NotReady(_)))
    };
    let found = missing()
        .or_else(|| challenge(chain))
        .or_else(unready)
        .or_else(|| order(chain))
        .or_else(|| request(chain))
        .or_else(|| issuer(chain))?;
    // What the CA said is the deepest of all.
    if let Some((code, text)) = quoted(&found.text) {
        return Some(Verdict::new(code, text));
    }
    Some(match code::of_acme_problem(&found.text) {
        Some((code, advice)) => Verdict {
            code,
            text: format!("{}. {advice}", found.text.trim_end_matches('.')),
        },
        None => found,
    })
}

fn issuer(chain: &Chain<'_>) -> Option<Verdict> {
    let reference = chain.issuer_ref;
    let (kind, name) = (reference.kind_or_default(), &reference.name);
    let (code, text) = match &chain.issuer {
        Issuer::Missing if reference.is_cluster_wide() => (
            Code::ISSUER_MISSING,
            format!("{kind} \"{name}\" does not exist: create it, or correct spec.issuerRef."),
        ),
        Issuer::Missing => (
            Code::ISSUER_MISSING,
            format!(
                "{kind} \"{name}\" does not exist in namespace \"{}\": create it, or correct spec.issuerRef.",
                chain.namespace
            ),
        ),
        Issuer::NotReady(why) if why.is_empty() => (
            Code::ISSUER_NOT_READY,
            format!("{kind} \"{name}\" is not ready yet."),
        ),
        Issuer::NotReady(why) => (
            Code::ISSUER_NOT_READY,
            format!("{kind} \"{name}\" is not ready: {why}"),
        ),
        Issuer::External | Issuer::Ready => return None,
    };
    Some(Verdict::new(code, text))
}

fn request(chain: &Chain<'_>) -> Option<Verdict> {
    let request = chain.request?;
    let child = || {
        let child = chain.child?;
        said(child).or_else(|| unapproved(chain, child))
    };
    refused(request)
        .or_else(|| fault(request))
        .or_else(child)
        .or_else(|| said(request))
        .or_else(|| unapproved(chain, request))
        .or_else(|| external(chain, request))
}

fn find<'a>(request: &'a CertificateRequest, kind: &str) -> Option<&'a Condition> {
    let conditions = request.status.as_ref()?.conditions.as_deref()?;
    conditions.iter().find(|c| c.type_ == kind)
}

fn named(request: &CertificateRequest) -> String {
    let name = request.metadata.name.as_deref().unwrap_or_default();
    format!("CertificateRequest \"{name}\"")
}

/// That it has come to nothing.
fn refused(request: &CertificateRequest) -> Option<Verdict> {
    let refused = find(request, "Denied")
        .or_else(|| find(request, "InvalidRequest"))
        .filter(|c| c.is_true())
        .map(|c| (Code::REQUEST_DENIED, c));
    let failed = || {
        let ready = find(request, "Ready").filter(|c| c.reason.as_deref() == Some("Failed"));
        ready.map(|c| (Code::REQUEST_FAILED, c))
    };
    let Some((code, condition)) = refused.or_else(failed) else {
        let status = request.status.as_ref()?;
        let is_stalled = status.failure_time.is_some() && find(request, "Ready").is_none();
        let text = format!("{} {STALLED}", named(request));
        return is_stalled.then(|| Verdict::new(Code::REQUEST_FAILED, text));
    };
    let why = condition.message.as_deref().unwrap_or_default();
    let text = format!("{}: {why}", named(request));
    Some(Verdict::new(code, text))
}

/// What is wrong with the issuer of a list that is asked.
fn fault(request: &CertificateRequest) -> Option<Verdict> {
    coded(request, find(request, ISSUER_FAULT)?)
}

/// Why it has come to nothing, or what it waits for, in words that end in a code.
fn said(request: &CertificateRequest) -> Option<Verdict> {
    refused(request).or_else(|| coded(request, find(request, "Ready")?))
}

fn coded(request: &CertificateRequest, condition: &Condition) -> Option<Verdict> {
    let (code, why) = quoted(condition.message.as_deref()?)?;
    let text = format!("{}: {why}", named(request));
    Some(Verdict::new(code, text))
}

/// Of another's kind that does not exist, nobody can have the right.
fn unapproved(chain: &Chain<'_>, request: &CertificateRequest) -> Option<Verdict> {
    if !chain.overdue || find(request, "Approved").is_some() {
        return None;
    }
    let reference = chain.issuer_ref;
    let kind = match chain.issuer {
        Issuer::External => {
            let (kind, group) = (reference.kind_or_default(), reference.group_or_default());
            format!(", whose kind {kind}.{group} has to exist")
        }
        _ => String::new(),
    };
    let text = format!(
        "{} waits for approval: approve or deny it, or let this operator's approver run and have the right to \
         approve requests to this issuer{kind}.",
        named(request)
    );
    Some(Verdict::new(Code::REQUEST_NOT_APPROVED, text))
}

/// Somebody else signs, and may say what keeps it from that.
fn external(chain: &Chain<'_>, request: &CertificateRequest) -> Option<Verdict> {
    let ready = find(request, "Ready");
    let has_signed = ready.is_some_and(Condition::is_true);
    if !chain.overdue || has_signed || chain.issuer != Issuer::External {
        return None;
    }
    let reference = chain.issuer_ref;
    let issuer = format!(
        "{}.{} \"{}\"",
        reference.kind_or_default(),
        reference.group_or_default(),
        reference.name
    );
    let said = ready.and_then(|c| c.message.as_deref());
    let said: String = said.unwrap_or_default().chars().take(LONGEST).collect();
    let rest = match said.as_str() {
        "" => ": look at that issuer's controller".to_owned(),
        said => format!(", whose controller says: {said}"),
    };
    let text = format!(
        "{} waits for the external issuer {issuer}{rest}",
        named(request)
    );
    Some(Verdict::new(Code::REQUEST_EXTERNAL, text))
}

fn order(chain: &Chain<'_>) -> Option<Verdict> {
    let order = chain.order?;
    let name = order.metadata.name.as_deref().unwrap_or_default();
    let reason = order
        .status
        .as_ref()?
        .reason
        .as_deref()
        .filter(|r| !r.is_empty())?;
    let text = format!("Order \"{name}\": {reason}");
    Some(Verdict::new(Code::ORDER_FAILED, text))
}

fn challenge(chain: &Chain<'_>) -> Option<Verdict> {
    chain.challenges.iter().find_map(|challenge| {
        let status = challenge.status.as_ref()?;
        let reason = status.reason.as_deref().filter(|r| !r.is_empty())?;
        let code = match status.state.as_deref() {
            Some(state::VALID) => return None,
            Some(state) if state::is_failure(state) => Code::CHALLENGE_FAILED,
            _ => Code::CHALLENGE_WAITS,
        };
        let domain = &challenge.spec.dns_name;
        let text = format!(
            "{} challenge for \"{domain}\": {reason}",
            challenge.spec.type_
        );
        Some(Verdict::new(code, text))
    })
}
