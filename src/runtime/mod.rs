//! What keeps the controllers running: informers, queue, Lease, and the only writer.

pub mod accounts;
pub mod authorities;
pub mod ca;
pub mod clock;
pub mod controller;
pub mod crash;
pub mod dns01;
pub mod drive;
pub mod effects;
pub mod events;
pub mod informer;
pub mod lease;
pub mod limits;
pub mod lists;
pub mod options;
pub mod orders;
pub mod places;
mod preflight;
pub mod queue;
pub mod renewals;
pub mod revoking;
pub mod scrape;
pub mod shared;
pub mod signing;
pub mod validations;
pub mod vaults;
pub mod watching;
