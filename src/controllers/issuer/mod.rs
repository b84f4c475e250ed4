//! Issuers and ClusterIssuers: make them able to sign, and say whether they are.

mod plan;
mod rotation;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::Timestamp;

pub use plan::{absorb, plan};

use super::facts::{IssuerFact, ca_digest};
use super::key::{Key, Kind};
use super::reads::Reader;
use super::rotation::{Known, Leaf, Pace, Signing};
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
    /// Its certificates, if it asks for rotations of its CA.
    pub leaves: Vec<Leaf>,
}

/// What the flags say about issuers.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How fast certificates follow another CA.
    pub pace: Pace,
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
        /// Which one it is; `None` if its chain is broken.
        signing: Option<Signing>,
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
    let leaves = leaves(reader, key, &issuer);
    Some(Observation {
        kind: key.kind,
        issuer,
        home,
        loaded,
        resting,
        leaves,
    })
}

fn leaves(reader: &Reader, key: &Key, issuer: &IssuerFact) -> Vec<Leaf> {
    let ca = issuer.spec.ca.as_ref();
    if ca.is_none_or(|ca| ca.rotation.is_none()) {
        return vec![];
    }
    let roots = Known::of(issuer).map(|known| u64::from(ca_digest(known.roots.as_bytes())));
    let found = reader.store.leaves_of(key).into_iter();
    let noted = found.map(|((namespace, name), mut leaf)| {
        let trusting = &reader.trusting;
        let is_noted = |roots| trusting.is_noted(&namespace, &name, roots, u64::from(leaf.ca));
        leaf.noted = roots.is_some_and(is_noted);
        leaf
    });
    noted.collect()
}
