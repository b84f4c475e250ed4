//! everleaf
pub mod api;
pub mod serve;
pub mod solvers;
pub mod telemetry;
