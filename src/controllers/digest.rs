//! Digests in place of what is only compared.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::pki::sha256_hex;

/// A digest for equality within this process.
pub fn digest(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// How many digits of a SHA-256 in hex [`short`] keeps.
pub const DIGITS: usize = 16;

/// What is kept of a SHA-256 in hex: unlike [`digest`], the same in every process, so that it can be compared with what
/// an object says. 0 for what is no hex.
pub fn short(hex: &str) -> u64 {
    let front = hex.get(..DIGITS).unwrap_or_default();
    u64::from_str_radix(front, 16).unwrap_or_default()
}

/// Of a public key, in DER.
pub fn public_digest(der: &[u8]) -> u64 {
    short(&sha256_hex(der))
}
