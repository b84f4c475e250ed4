//! One folder a reconciler: what it reads, what it decides, how that is tested.
//!
//! `observe` reads, `plan` decides and is pure, `runtime` carries it out; what an effect brings goes
//! back into `absorb`, which is pure again.

pub mod action;
pub mod certificate;
pub mod certificate_request;
pub mod challenge;
pub mod digest;
pub mod facts;
#[cfg(test)]
mod fixtures;
pub mod ingress;
pub mod issuer;
pub mod key;
pub mod matching;
pub mod order;
pub mod ordered_issuer;
pub mod polls;
pub mod progress;
pub mod reads;
pub mod revocation;
pub mod revocation_list;
pub mod rotation;
pub mod status;
pub mod store;
#[cfg(test)]
mod takeover;
pub mod vault;
pub mod watched_lists;
