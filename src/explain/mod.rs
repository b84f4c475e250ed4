//! From a Certificate and everything under it to the deepest cause that is known, in words that a
//! person can act on. Progress as it should be is no cause.

#[cfg(test)]
mod tests;

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

/// The deepest cause, in whole sentences; `None` when nothing is wrong.
pub fn cause(chain: &Chain<'_>) -> Option<String> {
    // Without an issuer nothing below it goes on, whatever was wrong there.
    let missing = || issuer(chain).filter(|_| chain.issuer == Issuer::Missing);
    let found = missing()
        .or_else(|| challenge(chain))
        .or_else(|| order(chain))
        .or_else(|| request(chain))
        .or_else(|| issuer(chain))?;
    let stop = if found.ends_with('.') { "" } else { "." };
    let advice = advice(&found).map(|a| format!(" {a}"));
    Some(format!("{found}{stop}{}", advice.unwrap_or_default()))
}

/// What to do about an ACME problem, by its type (RFC 8555 §6.7).
const ADVICE: [(&str, &str); 9] = [
    (
        "rejectedIdentifier",
        "The CA does not issue for this name: take the name out of the Certificate, or use an issuer of \
         another CA.",
    ),
    (
        "unsupportedIdentifier",
        "The CA does not issue for names of this sort: take the name out of the Certificate, or use an issuer \
         of another CA.",
    ),
    (
        "caa",
        "A CAA record of the domain forbids this CA: change the record, or use an issuer of a CA that it allows.",
    ),
    (
        "dns",
        "Correct the DNS of the name: the CA must be able to resolve it.",
    ),
    (
        "connection",
        "Correct the DNS record of the name, or let port 80 through to the Ingress controller: the CA must be \
         able to fetch http:// from there.",
    ),
    (
        "unauthorized",
        "Something else answers for the name: its DNS record must lead to this cluster's Ingress controller, \
         and the Ingress class of the issuer's solver must be that controller's.",
    ),
    (
        "rateLimited",
        "The CA's limit is reached: nothing but waiting helps.",
    ),
    (
        "badCSR",
        "The CA refuses what the Certificate asks for: correct its spec.",
    ),
    (
        "externalAccountRequired",
        "Set spec.acme.externalAccountBinding of the issuer: this CA knows its customers.",
    ),
];

fn advice(text: &str) -> Option<&'static str> {
    let (_, rest) = text.split_once("urn:ietf:params:acme:error:")?;
    let kind = rest.split(|c: char| !c.is_ascii_alphanumeric()).next()?;
    ADVICE
        .iter()
        .find(|(known, _)| *known == kind)
        .map(|(_, advice)| *advice)
}

fn issuer(chain: &Chain<'_>) -> Option<String> {
    let reference = chain.issuer_ref;
    let (kind, name) = (reference.kind_or_default(), &reference.name);
    match &chain.issuer {
        Issuer::Missing if kind == "ClusterIssuer" => Some(format!(
            "ClusterIssuer \"{name}\" does not exist: create it, or correct spec.issuerRef."
        )),
        Issuer::Missing => Some(format!(
            "{kind} \"{name}\" does not exist in namespace \"{}\": create it, or correct spec.issuerRef.",
            chain.namespace
        )),
        Issuer::NotReady(why) if why.is_empty() => {
            Some(format!("{kind} \"{name}\" is not ready yet."))
        }
        Issuer::NotReady(why) => Some(format!("{kind} \"{name}\" is not ready: {why}")),
        Issuer::External | Issuer::Ready => None,
    }
}

fn request(chain: &Chain<'_>) -> Option<String> {
    let request = chain.request?;
    let name = request.metadata.name.as_deref().unwrap_or_default();
    let status = request.status.as_ref();
    let conditions = status
        .and_then(|s| s.conditions.as_deref())
        .unwrap_or_default();
    let find = |kind: &str| conditions.iter().find(|c| c.type_ == kind);
    let failed = find("Denied")
        .or_else(|| find("InvalidRequest"))
        .filter(|c| c.status == "True");
    let failed = failed.or_else(|| find("Ready").filter(|c| c.reason.as_deref() == Some("Failed")));
    if let Some(condition) = failed {
        let why = condition.message.as_deref().unwrap_or_default();
        return Some(format!("CertificateRequest \"{name}\": {why}"));
    }
    if !chain.overdue {
        return None;
    }
    if find("Approved").is_none() {
        return Some(format!(
            "CertificateRequest \"{name}\" waits for approval: approve or deny it, or let this operator's \
             approver run."
        ));
    }
    let reference = chain.issuer_ref;
    (chain.issuer == Issuer::External).then(|| {
        format!(
            "CertificateRequest \"{name}\" waits for the external issuer {}.{} \"{}\": look at that issuer's \
             controller.",
            reference.kind_or_default(),
            reference.group_or_default(),
            reference.name
        )
    })
}

fn order(chain: &Chain<'_>) -> Option<String> {
    let order = chain.order?;
    let name = order.metadata.name.as_deref().unwrap_or_default();
    let reason = order
        .status
        .as_ref()?
        .reason
        .as_deref()
        .filter(|r| !r.is_empty())?;
    Some(format!("Order \"{name}\": {reason}"))
}

fn challenge(chain: &Chain<'_>) -> Option<String> {
    chain.challenges.iter().find_map(|challenge| {
        let status = challenge.status.as_ref()?;
        let reason = status.reason.as_deref().filter(|r| !r.is_empty())?;
        let domain = &challenge.spec.dns_name;
        (status.state.as_deref() != Some("valid")).then(|| {
            format!(
                "{} challenge for \"{domain}\": {reason}",
                challenge.spec.type_
            )
        })
    })
}
