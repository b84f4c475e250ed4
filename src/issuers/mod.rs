//! How each type of issuer signs.

pub mod acme;
pub mod self_signed;
