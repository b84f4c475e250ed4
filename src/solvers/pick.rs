//! Which of an issuer's solvers takes an authorization (contract §5.4).

use std::collections::BTreeMap;

use crate::api::challenge::{DNS_01, HTTP_01};
use crate::api::solver::{DnsNameSelector, Solver};

/// The challenge types that a solver can be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChallengeType {
    Http01,
    Dns01,
}

impl ChallengeType {
    /// As a CA writes it (RFC 8555 §9.7.8). None for types that no solver takes.
    pub fn from_acme(type_: &str) -> Option<Self> {
        match type_ {
            "http-01" => Some(Self::Http01),
            "dns-01" => Some(Self::Dns01),
            _ => None,
        }
    }

    /// As `spec.type` of a Challenge has it.
    pub fn as_spec(self) -> &'static str {
        match self {
            Self::Http01 => HTTP_01,
            Self::Dns01 => DNS_01,
        }
    }

    fn is_of(self, solver: &Solver) -> bool {
        match self {
            Self::Http01 => solver.http01.is_some(),
            Self::Dns01 => solver.dns01.is_some(),
        }
    }
}

/// What a solver is sought for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The identifier without `*.`.
    pub name: &'a str,
    pub wildcard: bool,
    /// The Order's, which are the Certificate's.
    pub labels: &'a BTreeMap<String, String>,
    /// Types of the authorization's challenges, in the CA's order.
    pub offered: &'a [&'a str],
}

/// The chosen solver, and the challenge that it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick {
    /// Index among the issuer's solvers.
    pub solver: usize,
    /// Index in [`Wanted::offered`].
    pub challenge: usize,
    pub type_: ChallengeType,
}

/// Why no solver fits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSolver {
    #[error("the issuer has no solvers")]
    NoneConfigured,
    #[error("the CA offers {offered} for {name}, and the issuer has no such solver")]
    NotOffered { name: String, offered: &'static str },
    #[error("no solver's selector matches {name} with the labels of the Certificate")]
    NotSelected { name: String },
}

/// Chooses a solver. The more particular selector wins: a name before a zone before labels, the
/// longer zone before the shorter, more labels before fewer, and the earlier solver among equals.
pub fn pick(solvers: &[Solver], wanted: &Wanted<'_>) -> Result<Pick, NoSolver> {
    let star = if wanted.wildcard { "*." } else { "" };
    let name = format!("{star}{}", wanted.name);
    if solvers.is_empty() {
        return Err(NoSolver::NoneConfigured);
    }
    let candidates: Vec<_> = solvers
        .iter()
        .enumerate()
        .filter_map(|(index, solver)| Some((solver, candidate(index, solver, wanted.offered)?)))
        .collect();
    if candidates.is_empty() {
        let offered = offered_words(wanted.offered);
        return Err(NoSolver::NotOffered { name, offered });
    }
    let mut best: Option<(Rank, Pick)> = None;
    for (solver, pick) in candidates {
        let Some(rank) = rank(solver.selector.as_ref(), &name, wanted.labels) else {
            continue;
        };
        if best.as_ref().is_none_or(|(best, _)| rank > *best) {
            best = Some((rank, pick));
        }
    }
    best.map(|(_, pick)| pick)
        .ok_or(NoSolver::NotSelected { name })
}

/// The first challenge in the CA's order that the solver is for.
fn candidate(index: usize, solver: &Solver, offered: &[&str]) -> Option<Pick> {
    offered.iter().enumerate().find_map(|(challenge, type_)| {
        let type_ = ChallengeType::from_acme(type_).filter(|type_| type_.is_of(solver))?;
        Some(Pick {
            solver: index,
            challenge,
            type_,
        })
    })
}

/// How particular a match is. The order of the fields is the order of comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    by_name: bool,
    zone_labels: usize,
    labels: usize,
}

/// None when the selector does not match. A solver without selector matches all, as one does whose
/// selector is empty.
fn rank(
    selector: Option<&DnsNameSelector>,
    name: &str,
    labels: &BTreeMap<String, String>,
) -> Option<Rank> {
    let names = selector.and_then(|selector| selector.dns_names.as_deref());
    let zones = selector.and_then(|selector| selector.dns_zones.as_deref());
    let pairs = selector.and_then(|selector| selector.match_labels.as_ref());

    let by_name = match names.unwrap_or_default() {
        [] => false,
        names if names.iter().any(|known| known == name) => true,
        _ => return None,
    };
    let zone_labels = match zones.unwrap_or_default() {
        [] => 0,
        zones => zones
            .iter()
            .filter_map(|zone| labels_of_zone(zone, name))
            .max()?,
    };
    let matched = pairs.into_iter().flatten();
    let all = matched
        .clone()
        .all(|(key, value)| labels.get(key) == Some(value));
    all.then(|| Rank {
        by_name,
        zone_labels,
        labels: matched.count(),
    })
}

/// How many labels the zone has, if the name is in it.
fn labels_of_zone(zone: &str, name: &str) -> Option<usize> {
    let is_inside = match name.strip_suffix(zone) {
        Some(rest) => !zone.is_empty() && (rest.is_empty() || rest.ends_with('.')),
        None => false,
    };
    is_inside.then(|| zone.split('.').count())
}

/// Not the CA's own words, which may be anything.
fn offered_words(offered: &[&str]) -> &'static str {
    let has = |type_| {
        offered
            .iter()
            .any(|offer| ChallengeType::from_acme(offer) == Some(type_))
    };
    match (has(ChallengeType::Http01), has(ChallengeType::Dns01)) {
        (true, true) => "http-01 and dns-01",
        (true, false) => "only http-01",
        (false, true) => "only dns-01",
        (false, false) => "neither http-01 nor dns-01",
    }
}

#[cfg(test)]
mod tests;
