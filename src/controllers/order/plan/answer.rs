//! What a CA would have proven, compared with what it was asked for.

use std::net::IpAddr;

use super::super::Outcome;
use super::super::required::bad_token;
use super::begin::identifiers;
use crate::acme::{Identifier, key_authorization};
use crate::api::Order;
use crate::api::order::OrderAuthorization;
use crate::explain::{Code, Verdict};

/// The types of challenges that are answered.
const ANSWERED: [&str; 2] = ["http-01", "dns-01"];

/// An order of which something else would have to be proven than was asked for, or with a token that may not be used, has
/// come to its end.
pub(super) fn checked(order: &Order, outcome: Outcome) -> Outcome {
    let Outcome::Read(made) = &outcome else {
        return outcome;
    };
    let asked = identifiers(order);
    let all = made.authorizations.iter();
    let mut open = all.filter(|a| a.initial_state.as_deref() != Some("valid"));
    let Some(fault) = open.find_map(|authorization| fault(&asked, authorization)) else {
        return outcome;
    };
    let text = format!("The CA's order cannot be used: {fault}");
    Outcome::Ended {
        state: "errored".into(),
        reason: Verdict::new(Code::CA_UNABLE, text).to_string(),
    }
}

fn fault(asked: &[Identifier], authorization: &OrderAuthorization) -> Option<String> {
    let name = authorization.identifier.as_deref().unwrap_or_default();
    let is_wildcard = authorization.wildcard == Some(true);
    let is_of = |asked: &Identifier| match asked.value.strip_prefix("*.") {
        Some(base) => is_same(base, name),
        None => !is_wildcard && is_same(&asked.value, name),
    };
    if !asked.iter().any(is_of) {
        let star = if is_wildcard { "*." } else { "" };
        return Some(format!(
            "it wants \"{star}{name}\" to be proven, which was not asked for"
        ));
    }
    let offered = authorization.challenges.iter().flatten();
    let mut tokens = offered
        .filter(|c| ANSWERED.contains(&c.type_.as_str()))
        .map(|c| key_authorization(&c.token, ""));
    let is_bad = tokens.any(|token| token.is_none());
    is_bad.then(|| bad_token(name))
}

/// Whether both are the same name, or the same address.
fn is_same(asked: &str, found: &str) -> bool {
    let address = |text: &str| text.parse::<IpAddr>().ok();
    match (address(asked), address(found)) {
        (None, None) => asked.eq_ignore_ascii_case(found),
        (asked, found) => asked == found,
    }
}
