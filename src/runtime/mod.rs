//! What keeps the controllers running: informers, queue, Lease, and the only writer.

pub mod clock;
pub mod crash;
pub mod effects;
pub mod informer;
pub mod lease;
pub mod queue;
