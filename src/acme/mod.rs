//! The ACME protocol (RFC 8555), one method a call.
//!
//! Whoever drives an order keeps its URLs in the cluster and may be a new process at each step, so that every call takes
//! a URL and an account and gives back what the server said; nothing is remembered here but the directory and unused
//! nonces. Account keys are of any type: clusters that cert-manager set up hold RSA keys.

mod asked;
mod caa;
mod calls;
mod chain;
mod client;
mod error;
mod jws;
pub mod limits;
mod nonces;
mod renewal_info;
mod reply;
mod revocation;
mod tls;
mod transport;
mod types;
mod url;
mod verify;

#[cfg(test)]
pub(crate) mod tests;

/// A part of [`Error`], and which links of strangers may be shown.
pub use crate::net::{Unanswered, web_link};
pub use asked::Asked;
pub use caa::{Caa, Issuance, Refusal, Why};
pub use calls::{AccountRef, Preference};
pub use chain::{CertificateChain, prefers};
pub use client::{Client, Hooks, ServerConfig};
pub use error::{Blame, Class, Error, Problem, Subproblem};
pub use jws::{Eab, dns01_value, key_authorization};
pub use renewal_info::{RenewalInfo, certificate_id, identified, may_be_replaces};
pub use revocation::{Revoked, Revoker};
pub use tls::roots;
pub use transport::{Action, CallHook, CallStage, Observation, Observer, TRANSPORT_FAILURE};
pub use types::{
    Account, Authorization, Challenge, Directory, DirectoryMeta, Identifier, Order, Status,
};
pub use verify::Fault;
