#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod certificates;
mod chains;
mod constraints;
mod keys;
mod keystores;
mod lists;
mod literal;
mod openssl;
mod requests;
mod robustness;

use super::{
    CertificateSigningRequest, Curve, KeyAlgorithm, KeyUsages, PrivateKey, RequestParams, Subject,
    build_request,
};

/// One of each type. RSA 2048 stands for all sizes, because generating takes long.
const ALGORITHMS: [KeyAlgorithm; 5] = [
    KeyAlgorithm::Rsa { bits: 2048 },
    KeyAlgorithm::Ecdsa(Curve::P256),
    KeyAlgorithm::Ecdsa(Curve::P384),
    KeyAlgorithm::Ecdsa(Curve::P521),
    KeyAlgorithm::Ed25519,
];

fn key(algorithm: KeyAlgorithm) -> PrivateKey {
    PrivateKey::generate(algorithm).unwrap()
}

fn p256() -> PrivateKey {
    key(KeyAlgorithm::Ecdsa(Curve::P256))
}

/// What cert-manager would ask for with a common name and two DNS names.
fn params() -> RequestParams {
    RequestParams {
        subject: Subject::from_common_name("example.com"),
        dns_names: vec!["example.com".into(), "*.example.com".into()],
        usages: KeyUsages::from_names::<&str>(&[], false).unwrap(),
        encode_usages: true,
        ..RequestParams::default()
    }
}

fn from_hex(digits: &str) -> Vec<u8> {
    let starts = (0..digits.len()).step_by(2);
    starts
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}

fn request(params: &RequestParams, key: &PrivateKey) -> CertificateSigningRequest {
    CertificateSigningRequest::parse_pem(build_request(params, key).unwrap().as_bytes()).unwrap()
}
