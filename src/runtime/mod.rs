//! What keeps the controllers running: informers, queue, Lease, and the only writer.

pub mod acme;
pub mod challenges;
pub mod clock;
mod connection;
pub mod controller;
pub mod crash;
pub mod drive;
pub mod effects;
pub mod events;
pub mod informer;
mod kubeconfig;
pub mod lease;
pub mod options;
pub mod queue;
pub mod revocation;
pub mod scrape;
pub mod signing;
mod user;
