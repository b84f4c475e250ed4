//! Issuers and ClusterIssuers: make them able to sign, and say whether they are.

mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::Timestamp;

pub use plan::{absorb, plan};

use super::facts::IssuerFact;
use super::key::{Key, Kind};
use super::reads::Reader;
use super::vault;

/// An issuer and everything that its plan depends on.
#[derive(Debug, Clone)]
pub struct Observation {
    /// Issuer or ClusterIssuer.
    pub kind: Kind,
    /// The issuer.
    pub issuer: Arc<IssuerFact>,
    /// The namespace of its Secrets.
    pub home: Arc<str>,
    /// Of the account key in use: its hash, once this process has loaded it for this issuer as it is
    /// now.
    pub loaded: Option<String>,
    /// The CA refused, or the Vault has answered, and is left alone until then; unless something changes that
    /// it depends on.
    pub resting: Option<Timestamp>,
}

/// A step that asks the CA, or reads or makes a private key.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Load the account's private key; without one, make it.
    LoadAccountKey,
    /// Register the account with the CA, or find it there; update its contact.
    Register,
    /// Look at the key pair of a CA of the user's own, in the Secret of this name.
    LoadAuthority(String),
    /// Ask a Vault whether it can work and lets us in.
    CheckVault,
}

/// What an effect brought.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    /// The key is loaded; its hash.
    KeyLoaded(String),
    /// There was no key: this Secret is to be created, then everything starts again.
    KeyMade(Box<super::action::SecretObject>),
    /// There is no usable key, and none may be made.
    KeyMissing(String),
    /// The account is registered.
    Registered {
        /// Its URL.
        uri: String,
        /// The contact that the CA has.
        email: Option<String>,
        /// Hash of its key.
        key_hash: String,
    },
    /// The CA, or the way to it, refused.
    Refused {
        /// Condition reason of the contract.
        reason: &'static str,
        /// What was said.
        message: String,
        /// When to try again.
        retry: Retry,
    },
    /// What is in the Secret of a CA of the user's own.
    Authority(Authority),
    /// What a Vault said.
    Vault(Result<Login, vault::Problem>),
}

/// A login to a Vault that works.
#[derive(Debug, PartialEq, Eq)]
pub struct Login {
    /// When the token that it is done with ends, if it does.
    pub until: Option<Timestamp>,
}

/// A CA of the user's own, as its Secret has it.
#[derive(Debug, PartialEq, Eq)]
pub enum Authority {
    /// It can sign, between these two times.
    Usable {
        /// It is not valid before.
        not_before: Timestamp,
        /// The last second that it is valid.
        not_after: Timestamp,
    },
    /// There is no key pair to read: what is wrong.
    Unreadable(String),
    /// The key pair cannot sign: what is wrong.
    Invalid(String),
}

/// When a refused call is made again, if nothing changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// It would be refused again: seldom.
    OnChange,
    /// It may help: soon.
    Soon,
    /// The CA asked for patience until then.
    At(Timestamp),
}

/// Everything that the plan of this issuer depends on; `None` when it is gone. `loaded` is what this
/// process has in use for it, `resting` what it remembers of a refusal.
pub fn observe(
    reader: &Reader,
    key: &Key,
    loaded: Option<String>,
    resting: Option<Timestamp>,
) -> Option<Observation> {
    let issuer = reader.store.issuer_named(&key.namespace, &key.name)?;
    let home = reader.store.home(key.kind, &key.namespace).clone();
    Some(Observation {
        kind: key.kind,
        issuer,
        home,
        loaded,
        resting,
    })
}
