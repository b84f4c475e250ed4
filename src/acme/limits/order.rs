//! What the ledger knows of one order.

use std::sync::Arc;

use jiff::Timestamp;

use super::book::{Block, Needs};
use super::line::{Id, Place};
use super::policy::Policy;
use super::scope::{Ask, Limit, Scope};
use super::twins::Twin;

/// A CA, and who asks it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ca {
    /// URL of its directory.
    pub directory: Arc<str>,
    /// What it allows.
    pub policy: Policy,
    /// The Issuer (or, with an empty namespace, the ClusterIssuer): where what has to be kept is stored.
    pub issuer: Id,
}

/// How far an order is, as the cluster shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The CA has it.
    Made,
    /// The certificate is there.
    Issued,
    /// It will never be, after the CA had it: because these names could not be validated.
    Failed(Vec<String>),
    /// It will never be, and the CA never had it.
    Refused,
}

/// A bucket whose state no object shows any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Which.
    pub scope: Scope,
    /// When it is full again.
    pub full_at: Timestamp,
    /// Until when the CA is not asked, and its words.
    pub frozen: Option<(Timestamp, Arc<str>)>,
}

/// A bucket, for whoever watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// URL of the CA's directory.
    pub directory: Arc<str>,
    /// Which.
    pub scope: Scope,
    /// Tokens left, if the limit is known.
    pub left: Option<u32>,
    /// Orders that wait for one.
    pub waiting: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Waiting(Place),
    /// It is its turn.
    Admitted,
    /// The CA has it.
    Made,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) uid: Box<str>,
    pub(super) ca: Ca,
    pub(super) ask: Ask,
    pub(super) needs: Needs,
    pub(super) stage: Stage,
    /// What it waits for, when that is not the others.
    pub(super) block: Option<Block>,
    /// The time that was told.
    pub(super) told: Option<Timestamp>,
}

impl Entry {
    /// What it has in common with those that the CA may take for the same order.
    pub(super) fn twin(&self) -> Twin {
        let mut scopes = self.needs.scopes.iter();
        let set = scopes.find(|scope| scope.limit == Limit::CertificatesPerSet);
        let set = set.map(|scope| scope.of.clone()).unwrap_or_default();
        (set, self.ask.profile.clone())
    }

    /// Whether it stands elsewhere than who asks this, there.
    pub(super) fn is_elsewhere(&self, ca: &Ca, account: &str) -> bool {
        *self.ask.account != *account || self.ca.directory != ca.directory
    }
}

/// An order that has ended.
#[derive(Debug)]
pub(super) struct Past {
    pub(super) uid: Box<str>,
    pub(super) at: Timestamp,
    pub(super) directory: Arc<str>,
    pub(super) issuer: Id,
    pub(super) scopes: Box<[Scope]>,
}
