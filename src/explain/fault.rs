//! Faults of a CA, as told from those of a request or of the user's own site.

use jiff::Timestamp;

use super::code::{Code, of_acme_problem, quoted};

/// What a CA, or the way to it, does wrong: another CA may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault<'a> {
    /// Which.
    pub code: Code,
    /// In words, without the code.
    pub text: &'a str,
    /// When it ends, if the CA has said so.
    pub until: Option<Timestamp>,
}

/// The codes that say so. What is wrong with a request, a name or its DNS is not among them, as no other CA would do
/// better; but for a CAA record, which is about one CA, and was seen before that one was asked.
const FAULTS: [Code; 11] = [
    Code::ISSUER_MISSING,
    Code::ISSUER_NOT_READY,
    Code::CA_UNABLE,
    Code::CA_ACCOUNT,
    Code::CAA_AHEAD,
    Code::VAULT_UNREACHABLE,
    Code::VAULT_SEALED,
    Code::VAULT_NOT_INITIALIZED,
    Code::VAULT_LOGIN,
    Code::VAULT_TOKEN,
    Code::VAULT_ANSWER,
];

impl Fault<'_> {
    /// Whether every request of the same issuer meets it, and its Ready condition does not say so.
    pub fn is_general(&self) -> bool {
        let others = [
            Code::ISSUER_MISSING,
            Code::ISSUER_NOT_READY,
            Code::ACME_RATE_LIMITED,
            Code::LIMIT_AHEAD,
            Code::CAA_AHEAD,
        ];
        !others.contains(&self.code)
    }
}

/// What stands before the time of [`not_before`].
const NOT_BEFORE: &str = "Next attempt at ";

/// What follows the time.
const AS_ASKED: &str = ", as the CA asks";

/// That a CA does not want to be asked before this time, in words that [`ca_fault`] reads.
pub fn not_before(until: Timestamp) -> String {
    format!("{NOT_BEFORE}{until:.0}{AS_ASKED}")
}

/// The fault of a CA that a message of ours tells; `None` for all else, and for a limit without an end.
pub fn ca_fault(text: &str) -> Option<Fault<'_>> {
    if let Some((code, text)) = quoted(text) {
        let until = slot(text).filter(|_| code == Code::LIMIT_AHEAD);
        let is_one = until.is_some() || FAULTS.contains(&code);
        return is_one.then_some(Fault { code, text, until });
    }
    let (code, _) = of_acme_problem(text)?;
    if code != Code::ACME_RATE_LIMITED {
        return None;
    }
    let (_, rest) = text.rsplit_once(NOT_BEFORE)?;
    let (until, _) = rest.split_once(AS_ASKED)?;
    let until = until.parse().ok();
    until.is_some().then_some(Fault { code, text, until })
}

/// When an Order that waits for a limit is next (`acme::limits::Slot`).
fn slot(text: &str) -> Option<Timestamp> {
    let (_, rest) = text.split_once("next slot ")?;
    let (time, _) = rest.split_once(" UTC")?;
    format!("{}:00Z", time.replacen(' ', "T", 1)).parse().ok()
}
