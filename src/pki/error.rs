use super::algorithm::{KeyAlgorithm, SignatureAlgorithm};

/// Why bytes could not be read, or a request or certificate could not be made.
///
/// No variant carries any part of a private key, and none carries text of unbounded length.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The input is larger than this program is willing to parse.
    #[error("{what} of {size} bytes is over the limit of {limit} bytes ({flag})")]
    TooLarge {
        what: &'static str,
        size: usize,
        limit: usize,
        /// Which flag moves the limit.
        flag: &'static str,
    },
    /// No PEM block where one was expected.
    #[error("no PEM block found in {0}")]
    NoPem(&'static str),
    /// A PEM block begins but its base64 or its end line is wrong.
    #[error("broken PEM block")]
    BrokenPem,
    /// More blocks than the one that was expected.
    #[error("{0} holds more than one PEM block")]
    SeveralBlocks(&'static str),
    /// A PEM block of another type than expected. The label is cut to 40 printable characters.
    #[error("unexpected PEM block \"{found}\" in {what}")]
    UnexpectedBlock { what: &'static str, found: String },
    /// The private key is protected by a passphrase.
    #[error("encrypted private keys are not supported")]
    EncryptedKey,
    /// The bytes are not a private key of a type that is supported.
    #[error(
        "not a valid private key of a supported type (RSA 2048 to 8192 bits, ECDSA P-256, P-384, P-521, Ed25519)"
    )]
    UnsupportedPrivateKey,
    /// The bytes are not a public key of a type that is supported.
    #[error(
        "not a valid public key of a supported type (RSA 2048 to 8192 bits, ECDSA P-256, P-384, P-521, Ed25519)"
    )]
    UnsupportedPublicKey,
    /// The key cannot make this kind of signature.
    #[error("signature algorithm {signature} does not fit {key} keys")]
    SignatureMismatch {
        signature: SignatureAlgorithm,
        key: KeyAlgorithm,
    },
    /// A signature made with an algorithm that is not supported: its name, or its OID.
    #[error("unsupported signature algorithm {0}")]
    UnsupportedSignature(String),
    /// The signature does not verify with the key that should have made it.
    #[error("the signature of the {0} is not valid")]
    BadSignature(&'static str),
    /// The DER structure is not what it should be.
    #[error("malformed {what}: {detail}")]
    Malformed { what: &'static str, detail: String },
    /// A value that cannot be put in a request or certificate.
    #[error("{field}: {problem}")]
    InvalidValue {
        field: &'static str,
        problem: String,
    },
    /// The CSR asks for something else than its surrounding request.
    #[error("encoded CSR error: {0}")]
    CsrMismatch(String),
    /// The chain is not leaf first with each certificate signed by the next.
    #[error("certificate {index} of the chain (\"{subject}\") is not signed by the one after it")]
    BrokenChain { index: usize, subject: String },
    /// A certificate of a bag has signed neither the leaf nor anything above it.
    #[error("certificate chain is malformed or broken: nothing leads to \"{0}\"")]
    StrayCertificate(String),
    /// Whether one of a bag has signed another cannot be told.
    #[error(
        "certificate chain cannot be checked: of \"{subject}\", which \"{issuer}\" has issued by its name: {problem}"
    )]
    UnverifiableChain {
        subject: String,
        issuer: String,
        problem: String,
    },
    /// More certificates than a chain is looked for in.
    #[error("certificate chain is too long: more than {0} certificates")]
    TooManyCertificates(usize),
    /// The certificate is for another key.
    #[error("the certificate's public key does not match the private key")]
    KeyMismatch,
    /// The cryptographic library failed without a reason that it names.
    #[error("cryptographic operation failed: {0}")]
    Crypto(&'static str),
}

impl Error {
    pub(super) fn malformed(what: &'static str) -> impl Fn(der::Error) -> Self {
        move |error| Self::Malformed {
            what,
            detail: error.to_string(),
        }
    }

    pub(super) fn invalid(field: &'static str, problem: impl Into<String>) -> Self {
        Self::InvalidValue {
            field,
            problem: problem.into(),
        }
    }
}
