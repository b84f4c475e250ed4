//! Why a record was not written.

use jiff::Timestamp;

/// What to do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Only a change of the issuer, of its Secrets or at the provider helps.
    Permanent,
    /// Time may cure it.
    Transient,
    /// Nothing is to be sent to the provider before this time.
    RateLimited { until: Timestamp },
}

/// A failure of a provider. Its text becomes the `reason` of the Challenge, which other tenants may read, and a write
/// each time it changes: the same fault has the same text (no request IDs, times, ports of our own), it is short, and it
/// holds no secret. What a server wrote goes through [`said`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Error {
    pub class: Class,
    /// The fault and what to do about it: `rfc2136.nameserver 192.0.2.53:53 refused the update of zone example.com.:
    /// let key acme update it`.
    pub text: String,
}

impl Error {
    /// Only a change helps.
    pub fn permanent(text: impl Into<String>) -> Self {
        Self::new(Class::Permanent, text)
    }

    /// Time may cure it.
    pub fn transient(text: impl Into<String>) -> Self {
        Self::new(Class::Transient, text)
    }

    /// The provider wants to be left alone until then.
    pub fn rate_limited(until: Timestamp, text: impl Into<String>) -> Self {
        Self::new(Class::RateLimited { until }, text)
    }

    fn new(class: Class, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { class, text }
    }
}

/// The longest piece of a server's words that is shown, in characters.
const MOST_WORDS: usize = 200;

/// What a server wrote, on one line, without control characters, and cut.
pub fn said(words: &str) -> String {
    let visible = words.split(|c: char| c.is_whitespace() || c.is_control());
    let words: Vec<&str> = visible.filter(|word| !word.is_empty()).collect();
    let line = words.join(" ");
    match line.char_indices().nth(MOST_WORDS) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::said;

    #[test]
    fn what_a_server_says_is_one_short_line() {
        assert_eq!(said(" no\r\n\tsuch \u{7} zone\n"), "no such zone");
        let long = "ü".repeat(1000);
        assert_eq!(said(&long).chars().count(), 201);
        assert!(said(&long).ends_with('…'));
    }
}
