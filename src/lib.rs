//! everleaf

pub mod acme;
pub mod pki;
