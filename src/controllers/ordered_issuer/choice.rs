//! Which issuer of a list can sign. Pure.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::api::duration::parse_go_duration;
use crate::api::meta::IssuerReference;
use crate::api::ordered_issuer::{FAULTY, ListedIssuerStatus};
use crate::controllers::facts::{IssuerFact, OrderedFact};
use crate::controllers::store::Store;

/// How long an issuer is given to become able to sign when the spec does not say.
const PATIENCE: SignedDuration = SignedDuration::from_mins(1);

/// An issuer of a list.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Kind and name.
    pub reference: IssuerReference,
    /// The issuer, if it exists.
    pub issuer: Option<Arc<IssuerFact>>,
    /// What the status of the ordered issuer says of it.
    pub known: Option<ListedIssuerStatus>,
}

/// Whether an issuer can sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fitness {
    /// It can, as far as is known.
    Fit,
    /// It cannot yet, and is given until then.
    Undecided(Timestamp),
    /// It cannot: since when, and why.
    Unfit(Timestamp, String),
}

/// The issuers of an ordered one, in its order. `namespace` is where those without a namespace of their own are.
pub fn listed(store: &Store, namespace: &str, fact: &OrderedFact) -> Vec<Listed> {
    let known = fact.status.issuers.as_deref().unwrap_or_default();
    let listed = fact.issuers().map(|reference| {
        // Else it would be another one in each namespace.
        let reachable = reference.is_cluster_wide() || !fact.is_cluster_wide();
        let issuer = store.issuer(namespace, &reference);
        let known = known.iter().find(|k| is_about(k, &reference)).cloned();
        Listed {
            issuer: issuer.filter(|_| reachable),
            known,
            reference,
        }
    });
    listed.collect()
}

/// Whether an entry of the status is about this issuer.
pub(super) fn is_about(entry: &ListedIssuerStatus, reference: &IssuerReference) -> bool {
    entry.kind == reference.kind_or_default() && entry.name == reference.name
}

/// How long an issuer is given to become able to sign.
pub fn patience(fact: &OrderedFact) -> SignedDuration {
    let given = fact.spec.after.as_deref();
    let given = given.and_then(|text| parse_go_duration(text).ok());
    given.unwrap_or(PATIENCE)
}

impl Listed {
    /// Whether it can sign a request that was made at this time.
    pub fn fitness(&self, patience: SignedDuration, made: Timestamp, now: Timestamp) -> Fitness {
        let Some(issuer) = &self.issuer else {
            return judge(made, patience, "there is no such issuer".into(), now);
        };
        if !issuer.is_ready() {
            let ready = issuer.ready();
            let since = ready.and_then(|c| c.last_transition_time.as_ref().map(|t| t.0));
            let why = ready.and_then(|c| c.message.as_deref()).unwrap_or_default();
            let why = match why {
                "" => "it is not ready".to_owned(),
                why => format!("it is not ready: {why}"),
            };
            return judge(since.unwrap_or(issuer.id.created), patience, why, now);
        }
        match self.known.as_ref().filter(|known| known.state == FAULTY) {
            Some(known) => {
                let since = known.since.as_ref().map_or(now, |t| t.0);
                Fitness::Unfit(since, known.message.clone().unwrap_or_default())
            }
            None => Fitness::Fit,
        }
    }
}

fn judge(since: Timestamp, patience: SignedDuration, why: String, now: Timestamp) -> Fitness {
    match since.checked_add(patience) {
        Ok(end) if end > now => Fitness::Undecided(end),
        _ => Fitness::Unfit(since, why),
    }
}

/// An issuer in words.
pub fn shown(reference: &IssuerReference) -> String {
    format!("{} \"{}\"", reference.kind_or_default(), reference.name)
}
