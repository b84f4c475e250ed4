#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail by panicking"
)]

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::*;

mod domains;
mod ledger;
mod policies;
mod rates;
mod refusals;
mod simulation;

const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
const START: Timestamp = Timestamp::constant(1_800_000_000, 0);

fn at(seconds: i64) -> Timestamp {
    START + SignedDuration::from_secs(seconds)
}

fn days(n: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * n)
}

fn ca(policy: Policy) -> Ca {
    Ca {
        directory: LETS_ENCRYPT.into(),
        policy,
        issuer: ("".into(), "letsencrypt".into()),
    }
}

fn lets_encrypt() -> Ca {
    ca(Policy::of(LETS_ENCRYPT, 1000))
}

fn id(namespace: &str, name: &str) -> Id {
    (namespace.into(), name.into())
}

fn fresh(names: &[&str]) -> Ask {
    Ask {
        account: "https://ca/acct/1".into(),
        names: Ask::normal(names.iter().map(ToString::to_string)),
        profile: None,
        exemption: Exemption::Nothing,
        expires: None,
        since: START,
    }
}

fn renewal(names: &[&str], expires: Timestamp) -> Ask {
    Ask {
        expires: Some(expires),
        exemption: Exemption::SameNames,
        ..fresh(names)
    }
}
