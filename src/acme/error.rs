use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

use super::types::{Identifier, nullable};
use crate::net::{MAX_MESSAGE, MAX_PIECE, Unanswered, clean, cut};
use crate::pki;

/// What to do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The same call fails again until somebody changes something.
    Permanent,
    /// Trying again later may help.
    Transient,
    /// The server asks for patience, until a given time if it says one. The time is the server's word: bound it.
    RateLimited { until: Option<Timestamp> },
    /// The account cannot be used as it is, whatever is asked for with it.
    Account,
}

/// Whose fault a failed call is: another CA does better only if it is this CA's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The CA cannot be reached, or does not work.
    Ca,
    /// The CA does not accept the account.
    Account,
    /// The request's, the site's or the configuration's; or it is a limit, which is nobody's.
    Other,
}

/// Why a call failed. What a server wrote is cut and escaped; the body of a reply that is no ACME problem is not kept.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The server refused with a problem document (RFC 8555 §6.7).
    #[error("{problem}")]
    Problem {
        problem: Box<Problem>,
        retry_after: Option<Timestamp>,
    },
    /// The server answered with something else, mostly a proxy in front of it.
    #[error(
        "{status}: the reply of {host}{} is not an ACME problem document",
        .leads_to.as_ref().map(|to| format!(", which leads to {to},")).unwrap_or_default()
    )]
    Status {
        status: u16,
        host: String,
        /// Of a redirect, which is not followed.
        leads_to: Option<String>,
        retry_after: Option<Timestamp>,
    },
    /// There is no reply.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    /// A URL that leads to a place that the directory does not name, or out of TLS.
    #[error("refused URL {url:?}: {reason}")]
    Url { url: String, reason: String },
    /// A successful reply that lacks what RFC 8555 demands.
    #[error("unexpected reply of the ACME server: {0}")]
    Protocol(String),
    /// The server has no such resource in its directory.
    #[error("the ACME server's directory has no {0}")]
    Unsupported(&'static str),
    /// The server does not offer the profile that was asked for. The front is cert-manager's wording.
    #[error(
        "acme: certificate authority does not advertise a profile with name {profile}; it offers: {offered}"
    )]
    UnknownProfile { profile: String, offered: String },
    /// What the caller gave cannot be used: `field` says which.
    #[error("{field}: {problem}")]
    Config {
        field: &'static str,
        problem: String,
    },
    /// The account key cannot sign.
    #[error("account key: {0}")]
    Key(#[source] pki::Error),
    /// The certificate that the server gave cannot be used.
    #[error("certificate from the ACME server: {0}")]
    Certificate(#[source] pki::Error),
}

/// Problem types (behind [`URN`]) that time may cure, whatever the status code says.
const TRANSIENT: [&str; 8] = [
    "badNonce",
    "connection",
    "dns",
    "incorrectResponse",
    "orderNotReady",
    "serverInternal",
    "tls",
    // Boulder: another request for the same object is under way.
    "conflict",
];
/// Problem types that are about the account (RFC 8555 §6.7, §7.3.3).
const OF_THE_ACCOUNT: [&str; 2] = ["accountDoesNotExist", "userActionRequired"];
const URN: &str = "urn:ietf:params:acme:error:";
const TOO_MANY_REQUESTS: u16 = 429;
/// What smallstep's server says of a change of keys, though its directory names the resource.
const NOT_IMPLEMENTED: u16 = 501;
const UNAVAILABLE: u16 = 503;

impl Error {
    /// What to do about it.
    pub fn class(&self) -> Class {
        match self {
            Self::Problem {
                problem,
                retry_after,
            } => problem.classify(*retry_after),
            Self::Status {
                status,
                retry_after,
                ..
            } => match classify_status(*status, *retry_after) {
                // Of something before the server, or of one that is out of order. What ACME refuses for good has a document, and
                // so has what it limits: a proxy counts requests, and takes the next in a moment.
                Class::Permanent if *status != NOT_IMPLEMENTED => Class::Transient,
                Class::RateLimited { until: None } => Class::Transient,
                class => class,
            },
            Self::Unanswered(_) | Self::Protocol(_) | Self::Certificate(_) => Class::Transient,
            Self::Url { .. }
            | Self::Unsupported(_)
            | Self::UnknownProfile { .. }
            | Self::Config { .. }
            | Self::Key(_) => Class::Permanent,
        }
    }

    /// Whose fault it is.
    pub fn blame(&self) -> Blame {
        match self {
            Self::Problem { problem, .. } => problem.blame(),
            // A limit is nobody's fault.
            Self::Status {
                status: TOO_MANY_REQUESTS,
                ..
            }
            | Self::Url { .. }
            | Self::Unsupported(_)
            | Self::UnknownProfile { .. }
            | Self::Config { .. }
            | Self::Key(_) => Blame::Other,
            Self::Status { .. }
            | Self::Unanswered(_)
            | Self::Protocol(_)
            | Self::Certificate(_) => Blame::Ca,
        }
    }

    /// The problem document, if the server sent one.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem { problem, .. } => Some(problem),
            _ => None,
        }
    }

    /// Status code of the reply, if there was one that says failure.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Problem { problem, .. } => Some(problem.status),
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether nobody answers at the URL, or not to this method.
    pub fn finds_nothing(&self) -> bool {
        matches!(self.status(), Some(404 | 405))
    }

    /// Whether the CA has no account of the key.
    pub fn is_account_unknown(&self) -> bool {
        self.problem().is_some_and(|p| p.is("accountDoesNotExist"))
    }

    /// Whether the CA wants an external account binding (RFC 8555 §7.3.4): some do also where they are only to look for
    /// an account.
    pub fn wants_binding(&self) -> bool {
        let problem = self.problem();
        problem.is_some_and(|p| p.is("externalAccountRequired"))
    }

    pub(super) fn is_bad_nonce(&self) -> bool {
        self.problem().is_some_and(|problem| problem.is("badNonce"))
    }
}

fn classify_status(status: u16, retry_after: Option<Timestamp>) -> Class {
    match status {
        TOO_MANY_REQUESTS => Class::RateLimited { until: retry_after },
        UNAVAILABLE if retry_after.is_some() => Class::RateLimited { until: retry_after },
        // Request Timeout and Too Early.
        408 | 425 => Class::Transient,
        400..=499 | NOT_IMPLEMENTED => Class::Permanent,
        // Server errors, and what no ACME server says, such as a redirect of some proxy.
        _ => Class::Transient,
    }
}

/// A problem document (RFC 7807, RFC 8555 §6.7), of a reply or inside an order or challenge.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// A URN, most often of [`Problem::is`]'s kind.
    #[serde(rename = "type", deserialize_with = "nullable")]
    pub kind: String,
    #[serde(deserialize_with = "nullable")]
    pub detail: String,
    /// HTTP status code. 0 if it is not known.
    #[serde(deserialize_with = "lenient_status")]
    pub status: u16,
    /// Where a human can do what `userActionRequired` asks for.
    pub instance: Option<String>,
    #[serde(deserialize_with = "nullable")]
    pub subproblems: Vec<Subproblem>,
}

/// A problem with one identifier of several (RFC 8555 §6.7.1).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Subproblem {
    #[serde(rename = "type", deserialize_with = "nullable")]
    pub kind: String,
    #[serde(deserialize_with = "nullable")]
    pub detail: String,
    pub identifier: Option<Identifier>,
}

impl Problem {
    /// Whether it is of the ACME type `name`, such as `rateLimited`.
    pub fn is(&self, name: &str) -> bool {
        self.kind.strip_prefix(URN) == Some(name)
    }

    /// What to do about it when it stands alone, inside an order or a challenge.
    pub fn class(&self) -> Class {
        self.classify(None)
    }

    /// What the server says about a pause, with the whole link that lifts it: Let's Encrypt refuses names that have failed
    /// for months with `rateLimited` and a link in the detail, and waiting is of no use then.
    pub fn pause(&self) -> Option<String> {
        let start = self.detail.find("https://")?;
        let (before, rest) = self.detail.split_at_checked(start)?;
        let link = rest.split_ascii_whitespace().next()?;
        let is_pause = self.is("rateLimited") && link.contains("unpause");
        is_pause.then(|| format!("{} {}", clean(before, MAX_PIECE), clean(link, MAX_LINK)))
    }

    /// Where a human can do what is asked for (RFC 8555 §7.3.3).
    pub fn action_link(&self) -> Option<String> {
        let link = self.instance.as_deref()?;
        let is_one = self.is("userActionRequired") && link.starts_with("https://");
        is_one.then(|| clean(link, MAX_LINK))
    }

    fn blame(&self) -> Blame {
        let is_any = |names: &[&str]| names.iter().any(|name| self.is(name));
        if is_any(&[
            "accountDoesNotExist",
            "externalAccountRequired",
            "userActionRequired",
        ]) {
            Blame::Account
        } else if self.is("unauthorized") {
            // Of a call, not of a validation: the account is deactivated (RFC 8555 §7.3.6).
            Blame::Account
        } else if self.is("serverInternal") || self.is("badNonce") || self.status >= 500 {
            Blame::Ca
        } else {
            Blame::Other
        }
    }

    fn classify(&self, retry_after: Option<Timestamp>) -> Class {
        if self.is("rateLimited") {
            return Class::RateLimited { until: retry_after };
        }
        if OF_THE_ACCOUNT.iter().any(|name| self.is(name)) {
            return Class::Account;
        }
        if TRANSIENT.iter().any(|name| self.is(name)) {
            return match classify_status(self.status, retry_after) {
                limited @ Class::RateLimited { .. } => limited,
                _ => Class::Transient,
            };
        }
        if self.status == 0 {
            return Class::Permanent;
        }
        classify_status(self.status, retry_after)
    }
}

/// Whatever is no status code is not known.
fn lenient_status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    let number = value.as_u64().and_then(|number| u16::try_from(number).ok());
    Ok(number.unwrap_or(0))
}

/// The link of Let's Encrypt to lift a pause carries a token with the names.
const MAX_LINK: usize = 2048;
/// How many subproblems are shown.
const SHOWN: usize = 5;

/// cert-manager's wording, which people search for and alert on.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = format!(
            "{} {}: {}",
            self.status,
            clean(&self.kind, 128),
            clean(&self.detail, MAX_PIECE)
        );
        if !self.subproblems.is_empty() {
            text.push_str("; subproblems:");
        }
        for subproblem in self.subproblems.iter().take(SHOWN) {
            text.push_str("\n\t");
            text.push_str(&subproblem.to_string());
        }
        if let Some(more) = self.subproblems.len().checked_sub(SHOWN + 1) {
            text.push_str("\n\tand ");
            text.push_str(&(more + 1).to_string());
            text.push_str(" more");
        }
        if text.len() > MAX_MESSAGE {
            text = cut(text, MAX_MESSAGE);
        }
        f.write_str(&text)
    }
}

impl fmt::Display for Subproblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", clean(&self.kind, 128))?;
        if let Some(identifier) = &self.identifier {
            let kind = clean(&identifier.kind, 32);
            write!(f, "[{kind}: {}] ", clean(&identifier.value, 256))?;
        }
        f.write_str(&clean(&self.detail, MAX_PIECE))
    }
}
