//! `SubjectPublicKeyInfo` (RFC 5280 §4.1.2.7): what kind of key it is, its JWK, and signatures checked with it.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, ECDSA_P256_SHA512_ASN1, ECDSA_P384_SHA256_ASN1,
    ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA512_ASN1, ECDSA_P521_SHA256_ASN1, ECDSA_P521_SHA384_ASN1,
    ECDSA_P521_SHA512_ASN1, ED25519, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
    RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use const_oid::ObjectIdentifier;
use const_oid::db::{rfc5912, rfc8410};
use der::asn1::{BitStringRef, UintRef};
use der::{Any, AnyRef, Decode, Sequence};
use x509_cert::AlgorithmIdentifier;

use super::Error;
use super::algorithm::{Curve, KeyAlgorithm, SignatureAlgorithm};

#[derive(Sequence)]
struct KeyInfo<'a> {
    algorithm: KeyInfoAlgorithm<'a>,
    key: BitStringRef<'a>,
}

#[derive(Sequence)]
struct KeyInfoAlgorithm<'a> {
    oid: ObjectIdentifier,
    parameters: Option<AnyRef<'a>>,
}

/// RFC 8017 appendix A.1.1.
#[derive(Sequence)]
struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    exponent: UintRef<'a>,
}

enum Parts<'a> {
    Rsa(RsaPublicKey<'a>),
    Ecdsa(Curve, &'a [u8]),
    Ed25519(&'a [u8]),
}

fn parts(spki: &[u8]) -> Result<Parts<'_>, Error> {
    let unsupported = || Error::UnsupportedPublicKey;
    let info = KeyInfo::from_der(spki).map_err(|_| unsupported())?;
    let key = info.key.as_bytes().ok_or_else(unsupported)?;
    match info.algorithm.oid {
        rfc5912::RSA_ENCRYPTION => Ok(Parts::Rsa(
            RsaPublicKey::from_der(key).map_err(|_| unsupported())?,
        )),
        rfc5912::ID_EC_PUBLIC_KEY => {
            let parameters = info.algorithm.parameters.ok_or_else(unsupported)?;
            let oid = parameters
                .decode_as::<ObjectIdentifier>()
                .map_err(|_| unsupported())?;
            let curve = Curve::ALL
                .into_iter()
                .find(|curve| curve.facts().oid == oid)
                .ok_or_else(unsupported)?;
            Ok(Parts::Ecdsa(curve, key))
        }
        rfc8410::ID_ED_25519 => Ok(Parts::Ed25519(key)),
        _ => Err(unsupported()),
    }
}

/// Type and size of the key in a DER `SubjectPublicKeyInfo`.
pub(super) fn key_algorithm(spki: &[u8]) -> Result<KeyAlgorithm, Error> {
    Ok(match parts(spki)? {
        Parts::Rsa(key) => KeyAlgorithm::Rsa {
            bits: bit_length(key.modulus.as_bytes()),
        },
        Parts::Ecdsa(curve, _) => KeyAlgorithm::Ecdsa(curve),
        Parts::Ed25519(_) => KeyAlgorithm::Ed25519,
    })
}

fn bit_length(magnitude: &[u8]) -> u32 {
    let first = magnitude.first().map_or(0, |byte| byte.leading_zeros());
    u32::try_from(magnitude.len() * 8).map_or(u32::MAX, |bits| bits - first)
}

/// The bits that key identifiers are computed from (RFC 5280 §4.2.1.2).
pub(super) fn key_bits(spki: &[u8]) -> Result<&[u8], Error> {
    let info = KeyInfo::from_der(spki).map_err(|_| Error::UnsupportedPublicKey)?;
    info.key.as_bytes().ok_or(Error::UnsupportedPublicKey)
}

/// The required members of the JWK in the order and spelling that RFC 7638 §3 hashes.
pub(super) fn jwk(spki: &[u8]) -> Result<String, Error> {
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    Ok(match parts(spki)? {
        Parts::Rsa(key) => format!(
            r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#,
            encode(key.exponent.as_bytes()),
            encode(key.modulus.as_bytes())
        ),
        Parts::Ecdsa(curve, point) => {
            // SEC 1 §2.3.3: 04, then both coordinates at full width.
            let (x, y) = point
                .strip_prefix(&[4])
                .and_then(|rest| rest.split_at_checked(curve.facts().width))
                .ok_or(Error::UnsupportedPublicKey)?;
            format!(
                r#"{{"crv":"{}","kty":"EC","x":"{}","y":"{}"}}"#,
                curve.facts().jwk_name,
                encode(x),
                encode(y)
            )
        }
        Parts::Ed25519(key) => {
            format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, encode(key))
        }
    })
}

/// Checks `signature` over `message`. `what` names the signed thing in the error.
///
/// It tells who signed whom, and so knows what Go does, which cert-manager builds chains with: RSASSA-PSS as well, and RSA
/// keys of 1024 bits, as far as the library has them; never SHA-1 and MD5, which anybody can forge.
pub(super) fn verify(
    what: &'static str,
    algorithm: &AlgorithmIdentifier,
    spki: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), Error> {
    let unsupported = || Error::UnsupportedSignature(name(algorithm.oid));
    let key = key_algorithm(spki)?;
    let verifier = if algorithm.oid == rfc5912::ID_RSASSA_PSS {
        pss(algorithm.parameters.as_ref()).ok_or_else(unsupported)?
    } else {
        let signature = SignatureAlgorithm::from_oid(algorithm.oid).ok_or_else(unsupported)?;
        verifier(signature, key).ok_or(Error::SignatureMismatch { signature, key })?
    };
    UnparsedPublicKey::new(verifier, spki)
        .verify(message, signature)
        .map_err(|_| Error::BadSignature(what))
}

/// As people call it, at least what old CAs have signed with.
fn name(algorithm: ObjectIdentifier) -> String {
    match algorithm {
        rfc5912::SHA_1_WITH_RSA_ENCRYPTION => "SHA-1 with RSA".to_owned(),
        rfc5912::MD_5_WITH_RSA_ENCRYPTION => "MD5 with RSA".to_owned(),
        rfc5912::ID_RSASSA_PSS => "RSASSA-PSS with these parameters".to_owned(),
        other => other.to_string(),
    }
}

/// RFC 4055 §3.1. What is left out is SHA-1, a salt of 20 octets and a trailer of 1.
#[derive(Sequence)]
struct PssParameters {
    #[asn1(context_specific = "0", optional = "true")]
    hash: Option<AlgorithmIdentifier>,
    #[asn1(context_specific = "1", optional = "true")]
    mask: Option<AlgorithmIdentifier>,
    #[asn1(context_specific = "2", optional = "true")]
    salt: Option<u32>,
    #[asn1(context_specific = "3", optional = "true")]
    trailer: Option<u8>,
}

/// One of the three forms that are in use: the mask is made with the hash, and the salt is as long as it.
fn pss(parameters: Option<&Any>) -> Option<&'static dyn VerificationAlgorithm> {
    let given: PssParameters = parameters?.decode_as().ok()?;
    let (hash, mask) = (given.hash?, given.mask?);
    let masked_with: AlgorithmIdentifier = mask.parameters?.decode_as().ok()?;
    if mask.oid != rfc5912::ID_MGF_1
        || masked_with.oid != hash.oid
        || given.trailer.unwrap_or(1) != 1
    {
        return None;
    }
    Some(match (hash.oid, given.salt?) {
        (rfc5912::ID_SHA_256, 32) => &RSA_PSS_2048_8192_SHA256,
        (rfc5912::ID_SHA_384, 48) => &RSA_PSS_2048_8192_SHA384,
        (rfc5912::ID_SHA_512, 64) => &RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

fn verifier(
    signature: SignatureAlgorithm,
    key: KeyAlgorithm,
) -> Option<&'static dyn VerificationAlgorithm> {
    use Curve::{P256, P384, P521};
    use KeyAlgorithm::{Ecdsa, Ed25519, Rsa};
    use SignatureAlgorithm as S;
    Some(match (signature, key) {
        (S::Sha256WithRsa, Rsa { bits: ..2048 }) => &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
        (S::Sha512WithRsa, Rsa { bits: ..2048 }) => &RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
        (_, Rsa { bits: ..2048 }) => return None,
        (S::Sha256WithRsa, Rsa { .. }) => &RSA_PKCS1_2048_8192_SHA256,
        (S::Sha384WithRsa, Rsa { .. }) => &RSA_PKCS1_2048_8192_SHA384,
        (S::Sha512WithRsa, Rsa { .. }) => &RSA_PKCS1_2048_8192_SHA512,
        (S::EcdsaWithSha256, Ecdsa(P256)) => &ECDSA_P256_SHA256_ASN1,
        (S::EcdsaWithSha384, Ecdsa(P256)) => &ECDSA_P256_SHA384_ASN1,
        (S::EcdsaWithSha512, Ecdsa(P256)) => &ECDSA_P256_SHA512_ASN1,
        (S::EcdsaWithSha256, Ecdsa(P384)) => &ECDSA_P384_SHA256_ASN1,
        (S::EcdsaWithSha384, Ecdsa(P384)) => &ECDSA_P384_SHA384_ASN1,
        (S::EcdsaWithSha512, Ecdsa(P384)) => &ECDSA_P384_SHA512_ASN1,
        (S::EcdsaWithSha256, Ecdsa(P521)) => &ECDSA_P521_SHA256_ASN1,
        (S::EcdsaWithSha384, Ecdsa(P521)) => &ECDSA_P521_SHA384_ASN1,
        (S::EcdsaWithSha512, Ecdsa(P521)) => &ECDSA_P521_SHA512_ASN1,
        (S::PureEd25519, Ed25519) => &ED25519,
        _ => return None,
    })
}
