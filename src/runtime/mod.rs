//! What keeps the controllers running: informers, queue, Lease, and the only writer.

pub mod ca;
pub mod clock;
pub mod crash;
pub mod drive;
pub mod effects;
pub mod events;
pub mod informer;
pub mod lease;
pub mod queue;
pub mod signing;
pub mod tenants;
