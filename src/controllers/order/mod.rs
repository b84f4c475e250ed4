//! Orders: one ACME order each, from the CA's answer to the certificate.

mod ask;
mod memo;
mod plan;
pub mod preflight;
mod required;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

pub use ask::{ask, ca, policy, progress};
pub(super) use memo::UNKNOWN;
pub use memo::{Heard, Memo, Wait};
pub use plan::{absorb, plan, steps};

use self::preflight::{Ahead, Subject};
use super::facts::IssuerFact;
use super::key::Key;
use super::reads::Reader;
use crate::acme::Identifier;
use crate::acme::limits::Turn;
use crate::api::order::{OrderAuthorization, state};
use crate::api::{Challenge, Order};
use crate::explain::ca_fault;

/// An Order and everything that its plan depends on.
#[derive(Debug, Clone)]
pub struct Observation {
    /// The Order.
    pub order: Arc<Order>,
    /// The CA has not heard of it, and the request that controls it, by its uid, is not there.
    pub orphaned: bool,
    /// Its issuer, if it exists.
    pub issuer: Option<Arc<IssuerFact>>,
    /// The account that this process has loaded for the issuer: thumbprint of its key
    /// (RFC 8555 §8.1).
    pub thumbprint: Option<String>,
    /// The Challenges that it controls.
    pub challenges: Vec<Arc<Challenge>>,
    /// What was seen of its names; `None` if nobody is to look.
    pub ahead: Option<Ahead>,
    /// Whether the CA would take it, by its limits.
    pub turn: Turn,
    /// When the certificate in use expires, if there is one.
    pub in_use_until: Option<Timestamp>,
    /// What this process remembers of it.
    pub memo: Memo,
    /// What the CA has made of it, where no status shows that yet.
    pub made: Option<Made>,
}

/// A step that asks the network or the CA.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Look at the names; what is seen comes into [`Observation::ahead`].
    Look(Vec<Subject>),
    /// Ask the CA.
    Ask(Question),
}

/// What the CA is asked.
#[derive(Debug, PartialEq, Eq)]
pub enum Question {
    /// Create the order, and read its authorizations.
    Create {
        /// Names and addresses.
        identifiers: Vec<Identifier>,
        /// End of validity to ask for, as a time from now.
        duration: Option<Duration>,
        /// ACME profile.
        profile: Option<String>,
        /// The certificate that it replaces, by its identifier (RFC 9773 §5).
        replaces: Option<String>,
    },
    /// Read the order and its authorizations.
    Read,
    /// Bring the order to its end: finalize it if it is ready, and fetch the certificate.
    Complete,
}

/// An order at the CA with its authorizations.
#[derive(Debug, Clone, PartialEq)]
pub struct Made {
    /// Its URL.
    pub url: String,
    /// Where it is finalized.
    pub finalize_url: String,
    /// Its state; empty for one that the API does not have.
    pub state: String,
    /// When it or one of its authorizations ends, whichever is first.
    pub expires: Option<Timestamp>,
    /// Its authorizations, as the status stores them.
    pub authorizations: Vec<OrderAuthorization>,
    /// It was made without what it was to replace.
    pub without_replaces: bool,
}

/// What the CA said.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    /// The order and its authorizations.
    Read(Made),
    /// The certificate chain, PEM, leaf first.
    Issued(Vec<u8>),
    /// A certificate for another public key than that of the request, and what there is to say about it.
    OtherKey(String),
    /// The CA is not done yet.
    NotYet {
        /// The order's state; empty for one that the API does not have.
        state: String,
        /// When to look again, if the CA says so.
        retry: Option<Duration>,
        /// When the order ends, if the CA says so.
        expires: Option<Timestamp>,
    },
    /// The order will never become a certificate.
    Ended {
        /// The order's state.
        state: String,
        /// Why.
        reason: String,
    },
    /// The request failed; trying again may help.
    Unavailable {
        /// What was said.
        reason: String,
        /// How long.
        wait: Wait,
    },
    /// The CA does not take the account: its issuer has to look at that first.
    AccountRefused,
}

impl Outcome {
    /// The words of a CA that refused for a limit, and how long it wants to be left alone.
    pub fn refusal(&self) -> Option<(&str, Option<Duration>)> {
        match self {
            // A CA that is at fault has no limit to tell of, whenever it wants to be asked again.
            Self::Unavailable { reason, .. }
                if ca_fault(reason).is_some_and(|f| f.is_general()) =>
            {
                None
            }
            Self::Unavailable { reason, wait } => {
                let (_, words) = reason.split_once(": ").unwrap_or(("", reason));
                match wait {
                    Wait::Asked(rest) => Some((words, Some(*rest))),
                    Wait::Refused => Some((words, None)),
                    Wait::Fault | Wait::Missing | Wait::Unknown | Wait::Human => None,
                }
            }
            _ => None,
        }
    }
}

/// Whether nothing more will come of an Order.
pub fn has_ended(order: &Order) -> bool {
    let Some(status) = &order.status else {
        return false;
    };
    match status.state.as_deref() {
        Some(state::VALID) => status.certificate.is_some(),
        state => state.is_some_and(state::is_failure),
    }
}

/// Everything that the plan of this Order depends on; `None` when it is gone.
pub fn observe(
    reader: &Reader,
    key: &Key,
    thumbprint: Option<String>,
    ahead: Option<Ahead>,
    turn: Turn,
    (memo, made): (Memo, Option<Made>),
) -> Option<Observation> {
    let store = &reader.store;
    let order = store.order(&key.namespace, &key.name)?;
    let uid = order.metadata.uid.as_deref().unwrap_or_default();
    Some(Observation {
        in_use_until: ask::in_use_until(store, &order),
        issuer: store.issuer(&key.namespace, &order.spec.issuer_ref),
        challenges: store.challenges_of(&key.namespace, uid),
        thumbprint,
        orphaned: store.is_orphaned_order(&order),
        order,
        ahead,
        turn,
        memo,
        made,
    })
}
