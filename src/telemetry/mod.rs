//! What the operator says about itself: metrics, logs, probes.

pub mod admin;
pub mod logs;
pub mod metrics;
