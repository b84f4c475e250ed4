//! Keys, certificate signing requests and certificates: bytes in, bytes out.
//!
//! Encoding and decoding are `x509-cert` and `der`, every cryptographic step is `aws-lc-rs`. Nothing here reads a clock,
//! a file or the network. What a stranger wrote (a subject, a subjectAltName) is carried as the bytes that came in and
//! is never encoded anew, so that what the key holder signed is what the certificate says.

mod algorithm;
mod certificate;
mod chain;
mod constraints;
mod csr;
mod error;
mod issue;
mod key;
pub mod keystore;
mod literal;
mod pem;
mod public_key;
mod san;
mod signed;
mod subject;
mod usages;

#[cfg(test)]
mod tests;

pub use algorithm::{Curve, KeyAlgorithm, SignatureAlgorithm};
pub use certificate::{
    ParsedCertificate, check_chain_order, parse_bundle, parse_chain, verify_key_matches,
};
pub use chain::{Chain, MAX_CERTIFICATES, build_chain};
pub use constraints::{IpRange, NameConstraints, Subtrees};
pub use csr::{CertificateSigningRequest, RequestParams, build_request};
pub use error::Error;
pub use issue::{CertificateTemplate, IssuerIdentity, Urls, self_sign, sign};
pub use key::{KeyEncoding, PrivateKey};
pub use pem::first_block;
pub use san::{OtherName, SubjectAltNames};
pub use subject::{DistinguishedName, Subject};
pub use usages::{KeyUsages, usage_names};

/// Largest PEM private key that is read, in bytes (cert-manager's own limit).
pub const MAX_PRIVATE_KEY_PEM: usize = 13_000;
/// Largest PEM of a single certificate or signing request that is read, in bytes.
pub const MAX_CERTIFICATE_PEM: usize = 36_500;
/// Largest PEM certificate chain that is read, in bytes.
pub const MAX_CHAIN_PEM: usize = 95_000;
/// Largest PEM trust bundle that is read, in bytes.
pub const MAX_BUNDLE_PEM: usize = 330_000;
