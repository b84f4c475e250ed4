//! everleaf
pub mod api;
