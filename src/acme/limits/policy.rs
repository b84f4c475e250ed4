//! What a CA allows, as far as it is known.

use std::time::Duration;

use super::rate::Rate;
use super::scope::Limit;

/// The limits of a CA. One that is not known is `None`: nothing is predicted, only learned from what the CA refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Orders of an account.
    pub orders: Option<Rate>,
    /// Certificates of a registered domain.
    pub domain: Option<Rate>,
    /// Certificates of the same names.
    pub set: Option<Rate>,
    /// Failed validations of a name by an account.
    pub failures: Option<Rate>,
    /// Whether another certificate for the same names counts as an order of the account and a certificate of the domain.
    pub renewals_count: bool,
    /// Orders of an account that may be under way at once.
    pub under_way: usize,
}

/// Why an annotation cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{part:?}: {problem}")]
pub struct PolicyError {
    part: String,
    problem: &'static str,
}

const HOUR: u64 = 3600;
const WEEK: u64 = 7 * 24 * HOUR;

const fn rate(count: u32, seconds: u64) -> Option<Rate> {
    Rate::new(count, Duration::from_secs(seconds))
}

/// A rate in a text: `50/7d`, or `none`.
const SHAPE: &str = "expected COUNT/TIME, such as 50/7d or 300/3h, or none";

impl Policy {
    /// What is known of the CA with this directory. `under_way`: orders at once, unless the issuer says.
    pub fn of(directory: &str, under_way: usize) -> Self {
        let nothing = Self {
            orders: None,
            domain: None,
            set: None,
            failures: None,
            renewals_count: true,
            under_way,
        };
        // https://letsencrypt.org/docs/rate-limits/ and /docs/staging-environment/, as of 2026-08-05.
        match directory {
            "https://acme-v02.api.letsencrypt.org/directory" => Self {
                orders: rate(300, 3 * HOUR),
                domain: rate(50, WEEK),
                set: rate(5, WEEK),
                failures: rate(5, HOUR),
                renewals_count: false,
                ..nothing
            },
            "https://acme-staging-v02.api.letsencrypt.org/directory" => Self {
                orders: rate(1500, 3 * HOUR),
                domain: rate(30_000, 1),
                set: rate(30_000, WEEK),
                failures: rate(200, HOUR),
                renewals_count: false,
                ..nothing
            },
            _ => nothing,
        }
    }

    /// With what an issuer's annotation says: `orders=300/3h, domain=50/7d, set=5/7d, failures=5/1h, renewals=exempt,
    /// under-way=60`. What it does not name stays.
    pub fn with(mut self, text: &str) -> Result<Self, PolicyError> {
        let parts = text.split(',').map(str::trim);
        for part in parts.filter(|part| !part.is_empty()) {
            let wrong = |problem| PolicyError {
                part: part.to_owned(),
                problem,
            };
            let (name, value) = part.split_once('=').ok_or(wrong("expected NAME=VALUE"))?;
            let (name, value) = (name.trim(), value.trim());
            let read = || parse(value).ok_or(wrong(SHAPE));
            match name {
                "orders" => self.orders = read()?,
                "domain" => self.domain = read()?,
                "set" => self.set = read()?,
                "failures" => self.failures = read()?,
                "renewals" => {
                    self.renewals_count = match value {
                        "exempt" => false,
                        "counted" => true,
                        _ => return Err(wrong("expected exempt or counted")),
                    }
                }
                "under-way" => {
                    let number = value.parse().ok().filter(|n| *n > 0);
                    self.under_way = number.ok_or(wrong("expected a number over 0"))?;
                }
                _ => {
                    return Err(wrong(
                        "the names are orders, domain, set, failures, renewals and under-way",
                    ));
                }
            }
        }
        Ok(self)
    }

    /// Whether no limit is known.
    pub fn is_unknown(&self) -> bool {
        Limit::ALL.iter().all(|limit| self.rate(*limit).is_none())
    }

    /// The rate of a limit.
    pub fn rate(&self, limit: Limit) -> Option<Rate> {
        match limit {
            Limit::OrdersPerAccount => self.orders,
            Limit::CertificatesPerDomain => self.domain,
            Limit::CertificatesPerSet => self.set,
            Limit::FailuresPerName => self.failures,
        }
    }
}

/// The outer `None`: it cannot be read.
#[allow(clippy::option_option, reason = "no limit is one of the values")]
fn parse(text: &str) -> Option<Option<Rate>> {
    if text == "none" {
        return Some(None);
    }
    let (count, time) = text.split_once('/')?;
    let (number, unit) = time.split_at_checked(time.len().checked_sub(1)?)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => HOUR,
        "d" => 24 * HOUR,
        "w" => WEEK,
        _ => return None,
    };
    let seconds = number.parse::<u64>().ok()?.checked_mul(unit)?;
    // Longer than a year is none.
    let seconds = (seconds <= 53 * WEEK).then_some(seconds)?;
    Some(Some(rate(count.parse().ok()?, seconds)?))
}
