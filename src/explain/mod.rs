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

use crate::api::meta::IssuerReference;
use crate::api::{CertificateRequest, Challenge, Order};

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
    /// Its Order.
    pub order: Option<&'a Order>,
    /// The Order's Challenges.
    pub challenges: Vec<&'a Challenge>,
    /// The request has waited for longer than it should need.
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
            !matches!(state, Some("invalid" | "expired" | "errored"))
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
    let name = request.metadata.name.as_deref().unwrap_or_default();
    let status = request.status.as_ref();
    let conditions = status
        .and_then(|s| s.conditions.as_deref())
        .unwrap_or_default();
    let find = |kind: &str| conditions.iter().find(|c| c.type_ == kind);
    let refused = find("Denied")
        .or_else(|| find("InvalidRequest"))
        .filter(|c| c.status == "True")
        .map(|c| (Code::REQUEST_DENIED, c));
    let failed = || {
        let ready = find("Ready").filter(|c| c.reason.as_deref() == Some("Failed"));
        ready.map(|c| (Code::REQUEST_FAILED, c))
    };
    if let Some((code, condition)) = refused.or_else(failed) {
        let why = condition.message.as_deref().unwrap_or_default();
        return Some(Verdict::new(
            code,
            format!("CertificateRequest \"{name}\": {why}"),
        ));
    }
    let waits = find("Ready").and_then(|c| c.message.as_deref());
    if let Some((code, why)) = waits.and_then(quoted) {
        let text = format!("CertificateRequest \"{name}\": {why}");
        return Some(Verdict::new(code, text));
    }
    if !chain.overdue {
        return None;
    }
    if find("Approved").is_none() {
        let text = format!(
            "CertificateRequest \"{name}\" waits for approval: approve or deny it, or let this operator's \
             approver run and have the right to approve requests to this issuer."
        );
        return Some(Verdict::new(Code::REQUEST_NOT_APPROVED, text));
    }
    let reference = chain.issuer_ref;
    (chain.issuer == Issuer::External).then(|| {
        let text = format!(
            "CertificateRequest \"{name}\" waits for the external issuer {}.{} \"{}\": look at that issuer's \
             controller.",
            reference.kind_or_default(),
            reference.group_or_default(),
            reference.name
        );
        Verdict::new(Code::REQUEST_EXTERNAL, text)
    })
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
            Some("valid") => return None,
            Some("invalid" | "expired" | "errored") => Code::CHALLENGE_FAILED,
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
