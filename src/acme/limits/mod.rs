//! The limits of CAs, foreseen (docs/limits.md): an order that would be refused is not sent. Pure: plain data and `now`.
//!
//! A limit is a bucket of tokens for each of what it counts ([`Scope`]): the account, the registered domain, the exact set
//! of names, the name. [`Policy`] says how large and how fast they refill, [`Ledger`] keeps them and the line of those
//! who wait, and a refusal corrects both.

mod book;
mod domain;
mod keep;
mod leave;
mod ledger;
mod line;
mod order;
mod patience;
mod places;
mod policy;
mod rate;
mod refusal;
mod scope;
mod turn;
mod twins;

#[cfg(test)]
mod tests;

pub use domain::{domain_of, registered_domain};
pub use ledger::Ledger;
pub use line::Id;
pub use order::{Ca, Kept, Progress, Row};
pub use patience::{refusal_delay, within_a_share};
pub use policy::{Policy, PolicyError};
pub use rate::{Bucket, Rate};
pub use scope::{Ask, Exemption, Limit, Scope};
pub use turn::{Slot, Turn};
