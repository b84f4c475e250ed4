//! everleaf

pub mod pki;
