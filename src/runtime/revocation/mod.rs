//! Revocation: at the CA, in the lists that CA issuers sign, and in the lists of others that are watched.

pub mod lists;
pub mod revoking;
pub mod watching;
