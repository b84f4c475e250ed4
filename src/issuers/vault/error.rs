//! Why a Vault did not do what it was asked.

use crate::net::Unanswered;
use crate::{acme, pki};

/// Why a call failed. What a server wrote is cut and escaped, and credentials are taken out of it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A field of the issuer does not do.
    #[error("{field}: {problem}")]
    Config {
        /// Which.
        field: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The CSR cannot be read.
    #[error("the CSR: {0}")]
    Request(#[source] pki::Error),
    /// There is no answer.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    /// It is sealed.
    #[error("Vault is sealed")]
    Sealed,
    /// It is not initialized.
    #[error("Vault is not initialized")]
    NotInitialized,
    /// It answered with a failure.
    #[error("{call}: {status}{said}")]
    Status {
        /// Method and URL.
        call: String,
        /// The status code.
        status: u16,
        /// After a colon, if it said anything.
        said: String,
    },
    /// An answer that says success and is none of Vault's.
    #[error("unexpected answer of Vault: {0}")]
    Answer(&'static str),
    /// The certificates in its answer cannot be used.
    #[error("certificate from Vault: {0}")]
    Certificate(#[source] pki::Error),
}

/// What to do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// There is no connection.
    Unreachable,
    /// It is sealed.
    Sealed,
    /// It is not initialized.
    NotInitialized,
    /// It failed, or something in between did: the same call may work later.
    Failed,
    /// It does not know the token.
    Token,
    /// It does not allow this.
    Forbidden,
    /// There is nothing at this path.
    Nowhere,
    /// It refuses this call as it is.
    Refused,
    /// The issuer has to be changed first.
    Config,
}

impl Error {
    /// What to do about it.
    pub fn class(&self) -> Class {
        match self {
            Self::Config { .. } => Class::Config,
            Self::Unanswered(Unanswered::TooLarge { .. }) | Self::Answer(_) => Class::Failed,
            Self::Unanswered(_) => Class::Unreachable,
            Self::Sealed => Class::Sealed,
            Self::NotInitialized => Class::NotInitialized,
            Self::Request(_) | Self::Certificate(_) => Class::Refused,
            Self::Status { status, said, .. } => match status {
                403 if said.contains("invalid token") => Class::Token,
                401 | 403 => Class::Forbidden,
                404 | 405 => Class::Nowhere,
                // Timeouts, and a standby that has not caught up.
                408 | 412 | 425 | 429 => Class::Failed,
                400..=499 => Class::Refused,
                503 if said.contains("sealed") => Class::Sealed,
                _ => Class::Failed,
            },
        }
    }

    #[allow(
        clippy::needless_pass_by_value,
        reason = "callers have an error of their own, or a word"
    )]
    pub(super) fn config(field: &'static str, problem: impl std::fmt::Display) -> Self {
        Self::Config {
            field,
            problem: problem.to_string(),
        }
    }
}

impl From<acme::Error> for Error {
    /// Of the certificates that vouch for the server.
    fn from(error: acme::Error) -> Self {
        match error {
            acme::Error::Config { problem, .. } => Self::config("spec.vault.caBundle", problem),
            other => Self::config("spec.vault", other),
        }
    }
}
