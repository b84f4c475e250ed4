//! everleaf

pub mod api;
pub mod pki;
