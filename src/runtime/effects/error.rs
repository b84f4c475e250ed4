//! Why a write did not succeed.

use super::DEADLINE;
use crate::net::{MAX_MESSAGE, clean};

/// Status codes that say nothing about what was asked for: credentials that are renewed, an API server that is overloaded or
/// going down.
const PASSING: [u16; 6] = [401, 408, 429, 502, 503, 504];

/// A write that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum EffectError {
    /// The object has changed or is gone: look again.
    #[error("{what}: the object has changed meanwhile")]
    Stale {
        /// Verb and object.
        what: String,
    },
    /// The name is taken by an object that is not ours.
    #[error("{what}: an object of this name exists and belongs to somebody else; it is left alone")]
    Foreign {
        /// Verb and object.
        what: String,
    },
    /// There is no place for what was to be made.
    #[error("{what}: {problem}: create the namespace, or apply the CustomResourceDefinition")]
    Nowhere {
        /// Verb and object.
        what: String,
        /// What the API server said.
        problem: String,
    },
    /// The namespace is going away.
    #[error("{what}: the namespace is being deleted")]
    Terminating {
        /// Verb and object.
        what: String,
    },
    /// The API server refused or could not be reached.
    #[error("{what}: {source}")]
    Api {
        /// Verb and object.
        what: String,
        /// The reason.
        #[source]
        source: Box<kube::Error>,
    },
    /// No answer in time.
    #[error("{what}: no answer from the API server within {seconds} s", seconds = DEADLINE.as_secs())]
    Deadline {
        /// Verb and object.
        what: String,
    },
    /// The request could not be built: a bug.
    #[error("{what}: {problem}")]
    Request {
        /// Verb and object.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl EffectError {
    /// What the API server refused, and why, if it would refuse the same again: quotas, policies, webhooks, missing rights.
    pub fn refusal(&self) -> Option<String> {
        match self {
            Self::Foreign { .. } => Some(self.to_string()),
            Self::Api { what, source } => match &**source {
                kube::Error::Api(status) if !PASSING.contains(&status.code) => {
                    Some(format!("{what}: {}", clean(&status.message, MAX_MESSAGE)))
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether the same may be taken a moment later: the API server did not answer, or could not do it now.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Deadline { .. } => true,
            Self::Api { source, .. } => match &**source {
                kube::Error::Api(status) => status.code >= 500 || PASSING.contains(&status.code),
                _ => true,
            },
            _ => false,
        }
    }
}
