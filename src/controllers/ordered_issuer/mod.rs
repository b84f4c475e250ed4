//! Ordered issuers: which of their issuers can sign now, and since when the others cannot (ADR 0017).

mod choice;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;

pub use choice::{Fitness, Listed, listed, patience, shown};
pub use plan::{absorb, plan};

use super::facts::{OrderedFact, RequestFact};
use super::key::{Key, Kind};
use super::reads::Reader;
use crate::api::meta::IssuerReference;
use crate::explain::ca_fault;

/// An ordered issuer and everything that its plan depends on.
#[derive(Debug, Clone)]
pub struct Observation {
    /// OrderedIssuer or ClusterOrderedIssuer.
    pub kind: Kind,
    /// The ordered issuer.
    pub fact: Arc<OrderedFact>,
    /// Its issuers, and what requests of them came to, in the order of the spec.
    pub issuers: Vec<Watched>,
}

/// One of the issuers.
#[derive(Debug, Clone)]
pub struct Watched {
    /// The issuer.
    pub listed: Listed,
    /// The newest request that was given up because this issuer could not sign: when, and why.
    pub failure: Option<(Timestamp, String)>,
    /// The newest look at its server by this process.
    pub look: Option<Look>,
}

/// A look at a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// When.
    pub at: Timestamp,
    /// Whether it did not answer as it should.
    pub failed: bool,
}

/// The newest look at the server of each issuer. Kept in memory only: after a restart each is looked at again.
#[derive(Debug, Default)]
pub struct Looks(Mutex<HashMap<Key, Look>>);

impl Looks {
    /// What an ordered issuer in this namespace has found out.
    pub fn note(&self, namespace: &str, outcome: &Outcome, now: Timestamp) {
        let mut looks = self.0.lock();
        for (issuer, answer) in outcome {
            let failed = answer.is_err();
            looks.insert(issuer_key(namespace, issuer), Look { at: now, failed });
        }
    }

    fn newest(&self, namespace: &str, issuer: &IssuerReference) -> Option<Look> {
        let looks = self.0.lock();
        looks.get(&issuer_key(namespace, issuer)).copied()
    }
}

fn issuer_key(namespace: &str, issuer: &IssuerReference) -> Key {
    if issuer.is_cluster_wide() {
        Key::new(Kind::ClusterIssuer, "", &issuer.name)
    } else {
        Key::new(Kind::Issuer, namespace, &issuer.name)
    }
}

/// Ask servers whether they would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// For the directory and the account of these ACME issuers; and the DNS, whether they may issue.
    Probe(Vec<IssuerReference>),
}

/// Whether each answered, and if not, why; of one that did, which names CAA records do not let it issue for.
pub type Outcome = Vec<(IssuerReference, Result<Option<String>, String>)>;

/// Everything that the plan of this ordered issuer depends on; `None` when it is gone.
pub fn observe(reader: &Reader, looks: &Looks, key: &Key) -> Option<Observation> {
    let fact = reader.store.ordered_named(&key.namespace, &key.name)?;
    let issuers = listed(&reader.store, &key.namespace, &fact).into_iter();
    let issuers = issuers.map(|listed| Watched {
        failure: failure(reader, &key.namespace, &listed.reference),
        look: looks.newest(&key.namespace, &listed.reference),
        listed,
    });
    Some(Observation {
        kind: key.kind,
        issuers: issuers.collect(),
        fact,
    })
}

fn failure(
    reader: &Reader,
    namespace: &str,
    issuer: &IssuerReference,
) -> Option<(Timestamp, String)> {
    // Those of a ClusterIssuer are in all namespaces.
    let home = if issuer.is_cluster_wide() {
        ""
    } else {
        namespace
    };
    let failed = reader.store.failed_children(home, issuer).into_iter();
    let failures = failed.filter_map(|request| {
        let why = general_fault(&request)?;
        Some((request.failure_time?, why))
    });
    failures.max_by_key(|(at, _)| *at)
}

/// Why a request of an issuer failed, if all others of that issuer would have failed too.
fn general_fault(request: &RequestFact) -> Option<String> {
    let message = request.ready.as_ref()?.message.as_deref()?;
    let fault = ca_fault(message)?;
    fault.is_general().then(|| fault.text.to_owned())
}
