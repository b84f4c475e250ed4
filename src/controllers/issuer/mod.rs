//! Issuers and ClusterIssuers: make them able to sign, and say whether they are.

mod plan;
mod rotation;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::Timestamp;

pub use plan::{absorb, plan, same_server};

use super::facts::{IssuerFact, ca_digest};
use super::key::{Key, Kind};
use super::reads::Reader;
use super::rotation::{Known, Leaf, Pace, Signing};
use super::vault;
use crate::api::acme_issuer::AcmeLimitsStatus;

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
    /// What else this process knows of the account.
    pub account: AccountState,
    /// The CA refused, or the Vault has answered, and is left alone until then; unless something changes that
    /// it depends on.
    pub resting: Option<Timestamp>,
    /// What is known of the Secrets of its DNS-01 solvers.
    pub solvers: Solvers,
    /// Its certificates, if it asks for rotations of its CA.
    pub leaves: Vec<Leaf>,
    /// What is to be stored of the limits of its ACME server.
    pub limits: Option<AcmeLimitsStatus>,
}

/// What is known of the Secrets that an issuer's DNS-01 solvers refer to, as they are now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Solvers {
    /// They have not been looked at.
    Unknown,
    /// All are there, or none is needed.
    Sound,
    /// What is missing, and what to do.
    Faulty(String),
}

/// What a process knows of an ACME account in use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccountState {
    /// The CA does not know it any more.
    pub unknown: bool,
    /// When it was registered again for that, last, and how many times in a row.
    pub registered_again: Option<(Timestamp, u32)>,
    /// The CA does not take it: why, and what to do.
    pub blocked: Option<String>,
    /// Another key is in its Secret, to replace the one in use.
    pub staged: bool,
    /// The wish that the newest key in its Secret was made for.
    pub rotation: Option<String>,
    /// The CA has refused it, and is left alone until then.
    pub resting: Option<Timestamp>,
    /// How many times in a row, where asking again is of no use before something changes.
    pub refusals: u32,
    /// How many times in a row the CA could not be reached, or did not work.
    pub faults: u32,
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
    /// Look whether the Secrets of the DNS-01 solvers are there.
    CheckSolvers,
    /// Register the account with the CA, or find it there; update its contact.
    Register,
    /// Let nobody use the account until it is registered again, and say why.
    Block(String),
    /// Make another key for the account, to be stored beside the one in use.
    StageKey,
    /// Have the CA take the other key, if it has not yet.
    ChangeKey,
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
    /// Another key is made: it is to be stored first.
    KeyStaged(super::action::SecretPatch),
    /// The CA has the other key: the Secret is to have it alone.
    KeyChanged(super::action::SecretPatch),
    /// The key stays as it is.
    KeyKept {
        /// The other one is to be forgotten.
        patch: Option<super::action::SecretPatch>,
        /// Why.
        message: String,
    },
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
    /// The Secrets of the DNS-01 solvers were looked at: [`Observation::solvers`] has it.
    SolversChecked,
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
/// process has in use for it, `account` and `resting` what it remembers.
pub fn observe(
    reader: &Reader,
    key: &Key,
    loaded: Option<String>,
    account: AccountState,
    resting: Option<Timestamp>,
    solvers: Solvers,
) -> Option<Observation> {
    let issuer = reader.store.issuer_named(&key.namespace, &key.name)?;
    let home = reader.store.home(key.kind, &key.namespace).clone();
    let leaves = leaves(reader, key, &issuer);
    Some(Observation {
        kind: key.kind,
        issuer,
        home,
        loaded,
        account,
        resting,
        solvers,
        leaves,
        limits: None,
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
