//! Keys, certificate signing requests and certificates: bytes in, bytes out.
//!
//! Encoding and decoding are `x509-cert` and `der`, every cryptographic step is `aws-lc-rs`. Nothing here reads a clock,
//! a file or the network. What a stranger wrote (a subject, a subjectAltName) is carried as the bytes that came in and
//! is never encoded anew, so that what the key holder signed is what the certificate says.

mod algorithm;
mod certificate;
mod chain;
mod constraints;
mod crl;
mod csr;
mod error;
mod issue;
mod key;
pub mod keystore;
mod limits;
mod literal;
mod pem;
mod public_key;
mod reason;
mod rsa;
mod san;
mod signed;
mod subject;
mod usages;

#[cfg(test)]
mod tests;

pub use algorithm::{Curve, KeyAlgorithm, SignatureAlgorithm};
pub use certificate::{
    ParsedCertificate, check_chain_order, leading_up, line_of, parse_bundle, parse_chain,
    parse_download, sha256_hex, verify_key_matches,
};
pub use chain::{Chain, MAX_CERTIFICATES, build_chain};
pub use constraints::{IpRange, NameConstraints, Subtrees};
pub use crl::{RevocationList, RevokedSerial};
pub use csr::{CertificateSigningRequest, RequestParams, build_request};
pub use error::Error;
pub use issue::{CertificateTemplate, IssuerIdentity, Urls, self_sign, sign};
pub use key::{KeyEncoding, PrivateKey};
pub use limits::Limits;
pub use pem::first_block;
pub use reason::RevocationReason;
pub use san::{OtherName, SubjectAltNames};
pub use subject::{DistinguishedName, Subject};
pub use usages::{KeyUsages, Purposes, usage_names};

/// Common name of the CA of temporary certificates (contract §4.6).
pub const TEMPORARY_ISSUER: &str = "cert-manager.local";
