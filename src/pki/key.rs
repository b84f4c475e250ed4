use std::fmt;

use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::encoding::{EcPrivateKeyRfc5915Der, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use der::asn1::{OctetStringRef, UintRef};
use der::{AnyRef, Decode, Sequence};
use zeroize::Zeroizing;

use super::algorithm::{Curve, KeyAlgorithm, Scheme, SignatureAlgorithm};
use super::limits::Limit;
use super::{Error, pem, public_key};

const WHAT: &str = "private key";
const GENERATION: &str = "key generation";

/// The values of `spec.privateKey.encoding`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KeyEncoding {
    #[default]
    /// `RSA PRIVATE KEY` (RFC 8017 A.1.2) and `EC PRIVATE KEY` (RFC 5915).
    Pkcs1,
    /// `PRIVATE KEY` (RFC 5958).
    Pkcs8,
}

/// A private key. Its memory is wiped when it is dropped, and no formatter shows it.
pub struct PrivateKey {
    pair: Pair,
    algorithm: KeyAlgorithm,
    public_key_der: Vec<u8>,
}

enum Pair {
    Rsa(rsa::KeyPair),
    Ecdsa(Curve, EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.algorithm)
    }
}

impl PrivateKey {
    /// A new key. RSA takes 0.1 s (2048 bits) to several seconds of one core: call it where that does no harm.
    ///
    /// [`Error::UnsupportedPrivateKey`] for RSA sizes out of 2048 to 8192.
    pub fn generate(algorithm: KeyAlgorithm) -> Result<Self, Error> {
        let failed = |_| Error::Crypto(GENERATION);
        Self::new(match algorithm {
            KeyAlgorithm::Rsa { bits } => Pair::Rsa(new_rsa(bits)?),
            KeyAlgorithm::Ecdsa(curve) => Pair::Ecdsa(
                curve,
                EcdsaKeyPair::generate(curve.facts().signing).map_err(failed)?,
            ),
            KeyAlgorithm::Ed25519 => Pair::Ed25519(Ed25519KeyPair::generate().map_err(failed)?),
        })
    }

    /// The first private key in a PEM text: PKCS#1, SEC 1 or PKCS#8, of any type that is supported.
    pub fn from_pem(text: &[u8]) -> Result<Self, Error> {
        Limit::PrivateKey.check(WHAT, text.len())?;
        let block = pem::first_key(text, WHAT)?;
        if block.encrypted {
            return Err(Error::EncryptedKey);
        }
        let der = &block.contents;
        let pair = match block.label.as_str() {
            "RSA PRIVATE KEY" => rsa::KeyPair::from_der(der).ok().map(Pair::Rsa),
            "EC PRIVATE KEY" => ecdsa_pair(der),
            "PRIVATE KEY" => rsa::KeyPair::from_pkcs8(der)
                .ok()
                .map(Pair::Rsa)
                .or_else(|| ecdsa_pair(der))
                .or_else(|| Ed25519KeyPair::from_pkcs8(der).ok().map(Pair::Ed25519)),
            "ENCRYPTED PRIVATE KEY" => return Err(Error::EncryptedKey),
            _ => return Err(block.unexpected(WHAT)),
        };
        Self::new(pair.ok_or(Error::UnsupportedPrivateKey)?)
    }

    fn new(pair: Pair) -> Result<Self, Error> {
        let der: Result<PublicKeyX509Der<'_>, _> = match &pair {
            Pair::Rsa(pair) => pair.public_key().as_der(),
            Pair::Ecdsa(_, pair) => pair.public_key().as_der(),
            Pair::Ed25519(pair) => pair.public_key().as_der(),
        };
        let public_key_der = der
            .map_err(|_| Error::Crypto("encoding the public key"))?
            .as_ref()
            .to_vec();
        Ok(Self {
            pair,
            algorithm: public_key::key_algorithm(&public_key_der)?,
            public_key_der,
        })
    }

    /// Type and size.
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// DER `SubjectPublicKeyInfo`.
    pub fn public_key_der(&self) -> &[u8] {
        &self.public_key_der
    }

    /// The key as text. Ed25519 has no PKCS#1 form and is always PKCS#8.
    pub fn to_pem(&self, encoding: KeyEncoding) -> Result<Zeroizing<String>, Error> {
        Ok(match (encoding, &self.pair) {
            (KeyEncoding::Pkcs1, Pair::Rsa(_)) => {
                pem::encode("RSA PRIVATE KEY", &self.pkcs1_der()?)
            }
            (KeyEncoding::Pkcs1, Pair::Ecdsa(_, pair)) => {
                let der: EcPrivateKeyRfc5915Der<'_> =
                    pair.private_key().as_der().map_err(encoding_failed)?;
                pem::encode("EC PRIVATE KEY", der.as_ref())
            }
            _ => pem::encode("PRIVATE KEY", &self.pkcs8_der()?),
        })
    }

    /// DER `PrivateKeyInfo` (RFC 5958), version 1.
    pub fn pkcs8_der(&self) -> Result<Zeroizing<Vec<u8>>, Error> {
        let copy = |bytes: &[u8]| Zeroizing::new(bytes.to_vec());
        match &self.pair {
            Pair::Rsa(pair) => {
                let der: Result<Pkcs8V1Der<'_>, _> = pair.as_der();
                der.map(|der| copy(der.as_ref()))
            }
            Pair::Ecdsa(_, pair) => pair.to_pkcs8v1().map(|der| copy(der.as_ref())),
            Pair::Ed25519(pair) => pair.to_pkcs8v1().map(|der| copy(der.as_ref())),
        }
        .map_err(encoding_failed)
    }

    /// DER `RSAPrivateKey` (RFC 8017 A.1.2): `status.acme.lastPrivateKeyHash` is taken over it. RSA keys only.
    pub fn pkcs1_der(&self) -> Result<Zeroizing<Vec<u8>>, Error> {
        if !matches!(self.pair, Pair::Rsa(_)) {
            return Err(Error::UnsupportedPrivateKey);
        }
        let pkcs8 = self.pkcs8_der()?;
        let info = PrivateKeyInfo::from_der(&pkcs8).map_err(|_| Error::Crypto("encoding a key"))?;
        Ok(Zeroizing::new(info.private_key.as_bytes().to_vec()))
    }

    /// A signature in the form that X.509 carries: ECDSA as DER (RFC 5758 §3.2).
    pub fn sign(&self, algorithm: SignatureAlgorithm, message: &[u8]) -> Result<Vec<u8>, Error> {
        let failed = |_| Error::Crypto("signing");
        match (&self.pair, algorithm.scheme()) {
            (Pair::Rsa(pair), Scheme::Rsa(padding)) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &SystemRandom::new(), message, &mut signature)
                    .map_err(failed)?;
                Ok(signature)
            }
            (Pair::Ecdsa(curve, pair), Scheme::Ecdsa(hash)) => {
                let digest = digest::digest(hash, message);
                pair.sign_digest(&fit_digest(*curve, digest.as_ref())?)
                    .map(|signature| signature.as_ref().to_vec())
                    .map_err(failed)
            }
            (Pair::Ed25519(pair), Scheme::Ed25519) => pair
                .try_sign(message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(failed),
            _ => Err(Error::SignatureMismatch {
                signature: algorithm,
                key: self.algorithm,
            }),
        }
    }

    /// `alg` of the signatures that [`sign_jws`](Self::sign_jws) makes (RFC 7518 §3.1, RFC 8037 §3.1).
    pub fn jws_algorithm(&self) -> &'static str {
        match &self.pair {
            Pair::Rsa(_) => "RS256",
            Pair::Ecdsa(curve, _) => curve.facts().jws_name,
            Pair::Ed25519(_) => "EdDSA",
        }
    }

    /// A signature in the form that JWS carries: ECDSA as two fixed width integers (RFC 7518 §3.4).
    pub fn sign_jws(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(
                    &RSA_PKCS1_SHA256,
                    &SystemRandom::new(),
                    message,
                    &mut signature,
                )
                .map_err(|_| Error::Crypto("signing"))?;
                Ok(signature)
            }
            Pair::Ecdsa(curve, _) => {
                let der = self.sign(SignatureAlgorithm::default_for(self.algorithm), message)?;
                fixed_width(&der, curve.facts().width)
            }
            Pair::Ed25519(_) => self.sign(SignatureAlgorithm::PureEd25519, message),
        }
    }

    /// The public key as JSON Web Key: the required members only, in the form that RFC 7638 §3 hashes.
    pub fn jwk(&self) -> Result<String, Error> {
        public_key::jwk(&self.public_key_der)
    }

    /// JWK thumbprint (RFC 7638), base64url: the second half of a key authorization (RFC 8555 §8.1).
    pub fn jwk_thumbprint(&self) -> Result<String, Error> {
        let hash = digest::digest(&digest::SHA256, self.jwk()?.as_bytes());
        Ok(URL_SAFE_NO_PAD.encode(hash))
    }
}

fn new_rsa(bits: u32) -> Result<rsa::KeyPair, Error> {
    let size = match bits {
        2048 => KeySize::Rsa2048,
        3072 => KeySize::Rsa3072,
        4096 => KeySize::Rsa4096,
        8192 => KeySize::Rsa8192,
        _ if (2048..=8192).contains(&bits) => {
            let der = super::rsa::generate(bits)?;
            return rsa::KeyPair::from_der(&der).map_err(|_| Error::Crypto(GENERATION));
        }
        _ => return Err(Error::UnsupportedPrivateKey),
    };
    rsa::KeyPair::generate(size).map_err(|_| Error::Crypto(GENERATION))
}

fn encoding_failed(_: aws_lc_rs::error::Unspecified) -> Error {
    Error::Crypto("encoding a key")
}

/// RFC 5958 §2 without the optional fields, which our own encoder does not write.
#[derive(Sequence)]
struct PrivateKeyInfo<'a> {
    version: u8,
    algorithm: AnyRef<'a>,
    private_key: &'a OctetStringRef,
}

/// SEC 1 or PKCS#8 alike.
fn ecdsa_pair(der: &[u8]) -> Option<Pair> {
    Curve::ALL.into_iter().find_map(|curve| {
        EcdsaKeyPair::from_private_key_der(curve.facts().signing, der)
            .ok()
            .map(|pair| Pair::Ecdsa(curve, pair))
    })
}

/// Lets the one digest that the library pairs with a curve stand for any other.
///
/// ECDSA reads a digest as an integer of at most the bits of the curve's order, leftmost first (FIPS 186-5 §6.4.1).
/// So a longer digest may be cut on the right, and a shorter one led by zeros, without changing the signature.
/// For P-521 the library's digest has 512 bits, fewer than the order, and none of the three is ever cut.
fn fit_digest(curve: Curve, hash: &[u8]) -> Result<Digest, Error> {
    let native = curve.facts().digest;
    let width = native.output_len();
    let kept = hash.get(..width).unwrap_or(hash);
    let mut fitted = vec![0; width - kept.len()];
    fitted.extend_from_slice(kept);
    Digest::import_less_safe(&fitted, native).map_err(|_| Error::Crypto("hashing"))
}

/// RFC 3279 §2.2.3.
#[derive(Sequence)]
struct EcdsaSignature<'a> {
    r: UintRef<'a>,
    s: UintRef<'a>,
}

fn fixed_width(der: &[u8], width: usize) -> Result<Vec<u8>, Error> {
    let failed = || Error::Crypto("encoding a signature");
    let signature = EcdsaSignature::from_der(der).map_err(|_| failed())?;
    let mut out = Vec::with_capacity(2 * width);
    for half in [signature.r.as_bytes(), signature.s.as_bytes()] {
        let zeros = width.checked_sub(half.len()).ok_or_else(failed)?;
        out.resize(out.len() + zeros, 0);
        out.extend_from_slice(half);
    }
    Ok(out)
}
