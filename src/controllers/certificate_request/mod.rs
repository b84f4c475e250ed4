//! CertificateRequests: approve them, and have them signed.

mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

pub use plan::{absorb, plan};

use super::facts::{IssuerFact, RequestFact};
use super::key::Key;
use super::reads::Reader;
use crate::api::Order;

/// What the flags say about requests.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Approve what nobody has decided about (`--controllers` without
    /// `-certificaterequests-approver`).
    pub approve: bool,
    /// Post an event for each step, not only for what a condition does not say.
    pub verbose_events: bool,
}

/// A request and everything that its plan depends on.
#[derive(Debug, Clone)]
pub struct Observation {
    /// The request; its body is there unless it is final.
    pub request: Arc<RequestFact>,
    /// Its issuer, if it is of this operator's group and exists.
    pub issuer: Option<Arc<IssuerFact>>,
    /// The Orders that it controls.
    pub orders: Vec<Arc<Order>>,
}

/// A step that needs a private key.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Sign the request with the private key that its CSR was made with.
    SelfSign {
        /// The Secret of the private key.
        key_secret: String,
        /// PEM.
        csr: Vec<u8>,
        /// Lifetime.
        duration: SignedDuration,
        /// Make it a CA.
        is_ca: bool,
        /// Names of the usages.
        usages: Vec<String>,
        /// From the issuer.
        crl_distribution_points: Vec<String>,
        /// Start of validity.
        not_before: Timestamp,
    },
}

/// What an effect brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// PEM of the certificate.
    Signed(String),
    /// The Secret of the private key, or the key in it, is missing.
    NoKey(String),
    /// It cannot be signed, now or ever.
    Refused {
        /// Event reason of the contract.
        reason: &'static str,
        /// What is wrong.
        message: String,
    },
}

/// Everything that the plan of this request depends on; `None` when it is gone.
pub fn observe(reader: &Reader, key: &Key) -> Option<Observation> {
    let store = &reader.store;
    let request = store.request(&key.namespace, &key.name)?;
    Some(Observation {
        issuer: store
            .issuer(&key.namespace, &request.issuer)
            .filter(|_| request.issuer.is_ours()),
        orders: store.orders_of(&key.namespace, &request.id.uid),
        request,
    })
}
