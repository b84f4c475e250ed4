use std::fmt;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING,
    EcdsaSigningAlgorithm, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RsaEncoding,
};
use const_oid::ObjectIdentifier;
use const_oid::db::{rfc5912, rfc8410};
use der::Any;
use x509_cert::AlgorithmIdentifier;

/// The NIST curves of RFC 5480 that Certificates may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Curve {
    P256,
    P384,
    P521,
}

/// What the rest of the module needs to know about a curve.
pub(super) struct CurveFacts {
    pub(super) oid: ObjectIdentifier,
    /// Bytes of a coordinate, and of each half of a fixed width signature.
    pub(super) width: usize,
    pub(super) signing: &'static EcdsaSigningAlgorithm,
    /// The digest that `signing` is named after.
    pub(super) digest: &'static digest::Algorithm,
    /// `crv` of RFC 7518 §6.2.1.1.
    pub(super) jwk_name: &'static str,
    /// `alg` of RFC 7518 §3.4.
    pub(super) jws_name: &'static str,
}

static P256: CurveFacts = CurveFacts {
    oid: rfc5912::SECP_256_R_1,
    width: 32,
    signing: &ECDSA_P256_SHA256_ASN1_SIGNING,
    digest: &digest::SHA256,
    jwk_name: "P-256",
    jws_name: "ES256",
};
static P384: CurveFacts = CurveFacts {
    oid: rfc5912::SECP_384_R_1,
    width: 48,
    signing: &ECDSA_P384_SHA384_ASN1_SIGNING,
    digest: &digest::SHA384,
    jwk_name: "P-384",
    jws_name: "ES384",
};
static P521: CurveFacts = CurveFacts {
    oid: rfc5912::SECP_521_R_1,
    width: 66,
    signing: &ECDSA_P521_SHA512_ASN1_SIGNING,
    digest: &digest::SHA512,
    jwk_name: "P-521",
    jws_name: "ES512",
};

impl Curve {
    /// All of them, smallest first.
    pub const ALL: [Self; 3] = [Self::P256, Self::P384, Self::P521];

    pub(super) fn facts(self) -> &'static CurveFacts {
        match self {
            Self::P256 => &P256,
            Self::P384 => &P384,
            Self::P521 => &P521,
        }
    }

    /// Bits of the field, as `spec.privateKey.size` names the curve.
    pub fn bits(self) -> u32 {
        match self {
            Self::P256 => 256,
            Self::P384 => 384,
            Self::P521 => 521,
        }
    }

    /// The curve that `spec.privateKey.size` names.
    pub fn from_bits(bits: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|curve| curve.bits() == bits)
    }
}

/// Type and size of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyAlgorithm {
    Rsa { bits: u32 },
    Ecdsa(Curve),
    Ed25519,
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa { bits } => write!(f, "RSA {bits}"),
            Self::Ecdsa(curve) => write!(f, "ECDSA {}", curve.facts().jwk_name),
            Self::Ed25519 => f.write_str("Ed25519"),
        }
    }
}

/// The values of `spec.signatureAlgorithm`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignatureAlgorithm {
    Sha256WithRsa,
    Sha384WithRsa,
    Sha512WithRsa,
    EcdsaWithSha256,
    EcdsaWithSha384,
    EcdsaWithSha512,
    PureEd25519,
}

/// How to make a signature.
pub(super) enum Scheme {
    Rsa(&'static dyn RsaEncoding),
    Ecdsa(&'static digest::Algorithm),
    Ed25519,
}

impl SignatureAlgorithm {
    /// All of them, in the order of the CRD.
    pub const ALL: [Self; 7] = [
        Self::Sha256WithRsa,
        Self::Sha384WithRsa,
        Self::Sha512WithRsa,
        Self::EcdsaWithSha256,
        Self::EcdsaWithSha384,
        Self::EcdsaWithSha512,
        Self::PureEd25519,
    ];

    /// The name in `spec.signatureAlgorithm`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256WithRsa => "SHA256WithRSA",
            Self::Sha384WithRsa => "SHA384WithRSA",
            Self::Sha512WithRsa => "SHA512WithRSA",
            Self::EcdsaWithSha256 => "ECDSAWithSHA256",
            Self::EcdsaWithSha384 => "ECDSAWithSHA384",
            Self::EcdsaWithSha512 => "ECDSAWithSHA512",
            Self::PureEd25519 => "PureEd25519",
        }
    }

    /// The algorithm that `spec.signatureAlgorithm` names.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
    }

    /// What a key signs with unless told otherwise (cert-manager's table: digest strength follows key size).
    pub fn default_for(key: KeyAlgorithm) -> Self {
        match key {
            KeyAlgorithm::Rsa { bits } if bits < 3072 => Self::Sha256WithRsa,
            KeyAlgorithm::Rsa { bits } if bits < 4096 => Self::Sha384WithRsa,
            KeyAlgorithm::Rsa { .. } => Self::Sha512WithRsa,
            KeyAlgorithm::Ecdsa(Curve::P256) => Self::EcdsaWithSha256,
            KeyAlgorithm::Ecdsa(Curve::P384) => Self::EcdsaWithSha384,
            KeyAlgorithm::Ecdsa(Curve::P521) => Self::EcdsaWithSha512,
            KeyAlgorithm::Ed25519 => Self::PureEd25519,
        }
    }

    /// Whether a key of this type can make such a signature. Any digest goes with any size of the same type.
    pub fn fits(self, key: KeyAlgorithm) -> bool {
        matches!(
            (self.scheme(), key),
            (Scheme::Rsa(_), KeyAlgorithm::Rsa { .. })
                | (Scheme::Ecdsa(_), KeyAlgorithm::Ecdsa(_))
                | (Scheme::Ed25519, KeyAlgorithm::Ed25519)
        )
    }

    pub(super) fn scheme(self) -> Scheme {
        match self {
            Self::Sha256WithRsa => Scheme::Rsa(&RSA_PKCS1_SHA256),
            Self::Sha384WithRsa => Scheme::Rsa(&RSA_PKCS1_SHA384),
            Self::Sha512WithRsa => Scheme::Rsa(&RSA_PKCS1_SHA512),
            Self::EcdsaWithSha256 => Scheme::Ecdsa(&digest::SHA256),
            Self::EcdsaWithSha384 => Scheme::Ecdsa(&digest::SHA384),
            Self::EcdsaWithSha512 => Scheme::Ecdsa(&digest::SHA512),
            Self::PureEd25519 => Scheme::Ed25519,
        }
    }

    pub(super) fn oid(self) -> ObjectIdentifier {
        match self {
            Self::Sha256WithRsa => rfc5912::SHA_256_WITH_RSA_ENCRYPTION,
            Self::Sha384WithRsa => rfc5912::SHA_384_WITH_RSA_ENCRYPTION,
            Self::Sha512WithRsa => rfc5912::SHA_512_WITH_RSA_ENCRYPTION,
            Self::EcdsaWithSha256 => rfc5912::ECDSA_WITH_SHA_256,
            Self::EcdsaWithSha384 => rfc5912::ECDSA_WITH_SHA_384,
            Self::EcdsaWithSha512 => rfc5912::ECDSA_WITH_SHA_512,
            Self::PureEd25519 => rfc8410::ID_ED_25519,
        }
    }

    pub(super) fn from_oid(oid: ObjectIdentifier) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.oid() == oid)
    }

    /// RSA takes a NULL parameter (RFC 4055 §5), the others none (RFC 5758 §3.2, RFC 8410 §3).
    pub(super) fn identifier(self) -> AlgorithmIdentifier {
        AlgorithmIdentifier {
            oid: self.oid(),
            parameters: matches!(self.scheme(), Scheme::Rsa(_)).then(Any::null),
        }
    }
}

impl fmt::Display for SignatureAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
