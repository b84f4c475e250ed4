//! What keeps a Vault from signing, as its issuer and the requests that wait for it are told.

use std::fmt;

pub use crate::explain::vault::Cause;
use crate::explain::vault::verdict;

/// A problem: what was tried, what came of it, and with [`fmt::Display`] what to do, and a code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What it is.
    pub cause: Cause,
    /// The contract's own words first.
    pub said: String,
    /// It goes away when something changes that an informer shows, and not before.
    pub is_watched: bool,
}

impl Problem {
    /// A problem that time may cure.
    pub fn new(cause: Cause, said: impl Into<String>) -> Self {
        Self {
            cause,
            said: said.into(),
            is_watched: false,
        }
    }

    /// Whether it is of use to try again without a change in the cluster.
    pub fn is_retried(&self) -> bool {
        !self.is_watched
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        verdict(self.cause, &self.said).fmt(f)
    }
}
