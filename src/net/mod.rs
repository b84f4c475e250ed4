//! What all share who speak HTTP with a server that is not the cluster's: text of strangers made safe to show, how long
//! a server asks to wait, and one exchange.

mod client;
mod dial;
mod exchange;
#[cfg(test)]
mod tests;
mod text;

use std::error::Error as StdError;

use jiff::{SignedDuration, Timestamp};

pub use client::{Client, Error, Reply, Request, escape, escape_all_but, hex, public_roots, query};
pub use dial::{Dialer, Proxies, Resolver};
pub use exchange::{Answer, Bounds, Connections, Unanswered};
pub use text::{MAX_MESSAGE, MAX_PIECE, clean, clean_link, cut};

/// The innermost cause is what a person can act on: "connection refused", "unknown issuer".
pub fn innermost(error: &(dyn StdError + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    clean(&cause.to_string(), MAX_PIECE)
}

/// More seconds than a day has are a slip: a server that means it gives a date.
const MAX_SECONDS: i64 = 24 * 60 * 60;

/// A `Retry-After`: seconds or a date (RFC 9110 §10.2.3).
pub fn parse_retry_after(value: &str, now: Timestamp) -> Option<Timestamp> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds = value.parse().unwrap_or(MAX_SECONDS).min(MAX_SECONDS);
        return Some(
            now.saturating_add(SignedDuration::from_secs(seconds))
                .unwrap_or(Timestamp::MAX),
        );
    }
    jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(value)
        .ok()
}
