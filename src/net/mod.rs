//! What all share who speak HTTP with a server that is not the cluster's: text of strangers made safe to show, how long
//! a server asks to wait, and one exchange.

mod any_server;
mod client;
mod dial;
mod exchange;
mod roots;
#[cfg(test)]
mod tests;
mod text;

use std::error::Error as StdError;

use jiff::{SignedDuration, Timestamp};

pub use any_server::AnyServer;
pub use client::{Client, Error, Reply, Request, escape, escape_all_but, hex, query};
pub use dial::{Dialer, Proxies, Proxy, Resolver};
pub use exchange::{Answer, Bounds, Connections, Unanswered};
pub use roots::public_roots;
pub use text::{MAX_MESSAGE, MAX_PIECE, clean, clean_link, cut, web_link};

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
    parse_date(value)
}

/// A date of a header (RFC 9110 §5.6.7).
fn parse_date(value: &str) -> Option<Timestamp> {
    let parser = jiff::fmt::rfc2822::DateTimeParser::new();
    parser.parse_timestamp(value).ok()
}
