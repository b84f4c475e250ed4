//! Encryption and integrity by password: PKCS#12's own derivation (RFC 7292 appendix B) for the old
//! profiles, PBES2 (RFC 8018 §6.2) and PBMAC1 (RFC 9579) for the new ones. Salts and iterations are
//! those of go-pkcs12.

use std::num::NonZeroU32;

use aws_lc_rs::cipher::{
    AES_256, Algorithm, EncryptionContext, PaddedBlockEncryptingKey, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::{digest, hmac, pbkdf2};
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeEncrypt, KeyIvInit};
use der::Sequence;
use der::asn1::{Any, ObjectIdentifier, OctetString};
use x509_cert::AlgorithmIdentifier;
use zeroize::Zeroizing;

use super::super::{Password, encoding_failed, random};
use crate::pki::Error;

const RC2_OF_40: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.1.6");
const TRIPLE_DES: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.1.3");
const PBES2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.13");
const PBKDF2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.12");
const PBMAC1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.14");
const AES_256_CBC: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.1.42");
const HMAC_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.2.9");
const SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");

const ITERATIONS: u32 = 2048;
/// The most that is done to check a MAC that somebody else made.
const MOST_ITERATIONS: u32 = 1_000_000;
/// Of SHA-1 and SHA-256 (RFC 7292 appendix B.2: v).
const BLOCK: usize = 64;

/// What bytes are derived for (RFC 7292 appendix B.3).
#[derive(Clone, Copy)]
enum Purpose {
    Key = 1,
    Iv = 2,
    Mac = 3,
}

#[derive(Sequence)]
struct PbeParams {
    salt: OctetString,
    iterations: u32,
}

#[derive(Sequence)]
struct TwoAlgorithms {
    derivation: AlgorithmIdentifier,
    scheme: AlgorithmIdentifier,
}

/// RFC 8018 appendix A.2; what is absent has defaults that none of the profiles uses.
#[derive(Sequence)]
struct Pbkdf2Params {
    salt: OctetString,
    iterations: u32,
    #[asn1(optional = "true")]
    length: Option<u32>,
    #[asn1(optional = "true")]
    function: Option<AlgorithmIdentifier>,
}

/// How contents are encrypted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Cipher {
    Rc2Of40,
    TripleDes,
    Aes256,
}

impl Cipher {
    /// Names the whole scheme, derivation included.
    pub(super) fn oid(self) -> ObjectIdentifier {
        match self {
            Self::Rc2Of40 => RC2_OF_40,
            Self::TripleDes => TRIPLE_DES,
            Self::Aes256 => PBES2,
        }
    }

    pub(super) fn encrypt(
        self,
        plain: &[u8],
        password: &Password,
    ) -> Result<(AlgorithmIdentifier, Vec<u8>), Error> {
        if self == Self::Aes256 {
            return aes(plain, password);
        }
        let salt = random::<8>()?;
        let derive = |purpose, length| {
            let algorithm = &digest::SHA1_FOR_LEGACY_USE_ONLY;
            kdf(
                algorithm,
                &password.utf16(2),
                &salt,
                ITERATIONS,
                purpose,
                length,
            )
        };
        let iv = derive(Purpose::Iv, 8);
        let data = if self == Self::Rc2Of40 {
            let key = derive(Purpose::Key, 5);
            cbc::Encryptor::<rc2::Rc2>::new_from_slices(&key, &iv)
                .map_err(|_| Error::Crypto("RC2"))?
                .encrypt_padded_vec::<Pkcs7>(plain)
        } else {
            let iv = <[u8; 8]>::try_from(iv.as_slice()).map_err(|_| Error::Crypto("DES"))?;
            let iv = EncryptionContext::Iv64(FixedLength::from(iv));
            #[allow(deprecated, reason = "the profile asks for it")]
            let algorithm = &aws_lc_rs::cipher::DES_EDE3_FOR_LEGACY_USE_ONLY;
            padded(algorithm, &derive(Purpose::Key, 24), iv, plain)?
        };
        let params = PbeParams {
            salt: OctetString::new(salt).map_err(encoding_failed)?,
            iterations: ITERATIONS,
        };
        Ok((identifier(self.oid(), &params)?, data))
    }
}

fn aes(plain: &[u8], password: &Password) -> Result<(AlgorithmIdentifier, Vec<u8>), Error> {
    let salt = random::<16>()?;
    let iv = random::<16>()?;
    let key = stretch(password, &salt, ITERATIONS);
    let context = EncryptionContext::Iv128(FixedLength::from(iv));
    let data = padded(&AES_256, &*key, context, plain)?;
    let iv = OctetString::new(iv).map_err(encoding_failed)?;
    let params = TwoAlgorithms {
        derivation: derivation(&salt, None)?,
        scheme: identifier(AES_256_CBC, &iv)?,
    };
    Ok((identifier(PBES2, &params)?, data))
}

fn padded(
    algorithm: &'static Algorithm,
    key: &[u8],
    iv: EncryptionContext,
    plain: &[u8],
) -> Result<Vec<u8>, Error> {
    let failed = |_| Error::Crypto("encrypting a keystore");
    let key = UnboundCipherKey::new(algorithm, key).map_err(failed)?;
    let key = PaddedBlockEncryptingKey::cbc_pkcs7(key).map_err(failed)?;
    // Room for the padding, so that the plain text is not left behind in another place.
    let mut data = Vec::with_capacity(plain.len() + 16);
    data.extend_from_slice(plain);
    key.less_safe_encrypt(&mut data, iv).map_err(failed)?;
    Ok(data)
}

/// PBKDF2 with HMAC-SHA-256, 32 bytes.
fn stretch(password: &Password, salt: &[u8], iterations: u32) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    let iterations = NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN);
    let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
    pbkdf2::derive(algorithm, iterations, salt, password.utf8(), &mut *key);
    key
}

fn derivation(salt: &[u8], length: Option<u32>) -> Result<AlgorithmIdentifier, Error> {
    let params = Pbkdf2Params {
        salt: OctetString::new(salt).map_err(encoding_failed)?,
        iterations: ITERATIONS,
        length,
        function: Some(plain_identifier(HMAC_SHA256)),
    };
    identifier(PBKDF2, &params)
}

fn identifier<T: der::Tagged + der::EncodeValue>(
    oid: ObjectIdentifier,
    params: &T,
) -> Result<AlgorithmIdentifier, Error> {
    let parameters = Some(Any::encode_from(params).map_err(encoding_failed)?);
    Ok(AlgorithmIdentifier { oid, parameters })
}

fn plain_identifier(oid: ObjectIdentifier) -> AlgorithmIdentifier {
    AlgorithmIdentifier {
        oid,
        parameters: None,
    }
}

/// How integrity is protected.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mac {
    Sha1,
    Sha256,
    Pbmac1,
}

/// A MAC with what is needed to make it again.
pub(super) struct Made {
    pub(super) algorithm: AlgorithmIdentifier,
    pub(super) digest: Vec<u8>,
    pub(super) salt: Vec<u8>,
    pub(super) iterations: u32,
}

impl Mac {
    pub(super) fn make(self, safe: &[u8], password: &Password) -> Result<Made, Error> {
        Ok(match self {
            Self::Sha1 => {
                let salt = random::<8>()?.to_vec();
                Made {
                    algorithm: plain_identifier(SHA1),
                    digest: self.old(safe, password, &salt, 1),
                    salt,
                    iterations: 1,
                }
            }
            Self::Sha256 => {
                let salt = random::<16>()?.to_vec();
                Made {
                    algorithm: plain_identifier(SHA256),
                    digest: self.old(safe, password, &salt, ITERATIONS),
                    salt,
                    iterations: ITERATIONS,
                }
            }
            Self::Pbmac1 => {
                let salt = random::<16>()?;
                let key = stretch(password, &salt, ITERATIONS);
                let params = TwoAlgorithms {
                    derivation: derivation(&salt, Some(32))?,
                    scheme: plain_identifier(HMAC_SHA256),
                };
                Made {
                    algorithm: identifier(PBMAC1, &params)?,
                    digest: sign(hmac::HMAC_SHA256, &*key, safe),
                    // The outer ones are not used (RFC 9579 §5).
                    salt: vec![],
                    iterations: 0,
                }
            }
        })
    }

    /// The MAC that is right for this password, if the store has one of this kind.
    pub(super) fn again(
        self,
        algorithm: &AlgorithmIdentifier,
        salt: &[u8],
        iterations: u32,
        safe: &[u8],
        password: &Password,
    ) -> Option<Vec<u8>> {
        let bearable = |iterations: u32| (1..=MOST_ITERATIONS).contains(&iterations);
        match self {
            Self::Sha1 | Self::Sha256 => {
                let oid = if self == Self::Sha1 { SHA1 } else { SHA256 };
                (algorithm.oid == oid && bearable(iterations))
                    .then(|| self.old(safe, password, salt, iterations))
            }
            Self::Pbmac1 => {
                let params: TwoAlgorithms = algorithm.parameters.as_ref()?.decode_as().ok()?;
                let pbkdf2: Pbkdf2Params =
                    params.derivation.parameters.as_ref()?.decode_as().ok()?;
                let known = algorithm.oid == PBMAC1
                    && params.derivation.oid == PBKDF2
                    && params.scheme.oid == HMAC_SHA256
                    && pbkdf2.function.is_some_and(|f| f.oid == HMAC_SHA256)
                    && pbkdf2.length == Some(32)
                    && bearable(pbkdf2.iterations);
                known.then(|| {
                    let key = stretch(password, pbkdf2.salt.as_bytes(), pbkdf2.iterations);
                    sign(hmac::HMAC_SHA256, &*key, safe)
                })
            }
        }
    }

    /// HMAC with a key by PKCS#12's derivation (RFC 7292 §4 and appendix B).
    fn old(self, safe: &[u8], password: &Password, salt: &[u8], iterations: u32) -> Vec<u8> {
        let (hash, mac) = match self {
            Self::Sha1 => (
                &digest::SHA1_FOR_LEGACY_USE_ONLY,
                hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            ),
            Self::Sha256 | Self::Pbmac1 => (&digest::SHA256, hmac::HMAC_SHA256),
        };
        let password = password.utf16(2);
        let length = hash.output_len();
        let key = kdf(hash, &password, salt, iterations, Purpose::Mac, length);
        sign(mac, &key, safe)
    }
}

fn sign(algorithm: hmac::Algorithm, key: &[u8], message: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(algorithm, key);
    hmac::sign(&key, message).as_ref().to_vec()
}

/// RFC 7292 appendix B.2.
fn kdf(
    algorithm: &'static digest::Algorithm,
    password: &[u8],
    salt: &[u8],
    iterations: u32,
    purpose: Purpose,
    length: usize,
) -> Zeroizing<Vec<u8>> {
    let filled = |bytes: &[u8]| bytes.len().div_ceil(BLOCK) * BLOCK;
    let diversifier = [purpose as u8; BLOCK];
    let mut input = Zeroizing::new(Vec::with_capacity(filled(salt) + filled(password)));
    for part in [salt, password] {
        input.extend(part.iter().copied().cycle().take(filled(part)));
    }
    let mut out = Zeroizing::new(Vec::with_capacity(length + algorithm.output_len()));
    loop {
        let mut context = digest::Context::new(algorithm);
        context.update(&diversifier);
        context.update(&input);
        let mut hash = context.finish();
        for _ in 1..iterations {
            hash = digest::digest(algorithm, hash.as_ref());
        }
        out.extend_from_slice(hash.as_ref());
        if out.len() >= length {
            out.truncate(length);
            return out;
        }
        let addend: Vec<u8> = hash.as_ref().iter().copied().cycle().take(BLOCK).collect();
        for block in input.chunks_mut(BLOCK) {
            add_one_and(block, &addend);
        }
    }
}

/// `block + addend + 1`, as numbers of the block's size.
fn add_one_and(block: &mut [u8], addend: &[u8]) {
    let mut carry = 1;
    for (byte, other) in block.iter_mut().zip(addend).rev() {
        let sum = u16::from(*byte) + u16::from(*other) + carry;
        [_, *byte] = sum.to_be_bytes();
        carry = sum >> 8;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    /// Whether the MAC is made again for a store that asks for so many iterations.
    fn is_made(mac: Mac, iterations: u32) -> bool {
        let salt = [7; 16];
        let params = TwoAlgorithms {
            derivation: identifier(
                PBKDF2,
                &Pbkdf2Params {
                    salt: OctetString::new(salt).unwrap(),
                    iterations,
                    length: Some(32),
                    function: Some(plain_identifier(HMAC_SHA256)),
                },
            )
            .unwrap(),
            scheme: plain_identifier(HMAC_SHA256),
        };
        let algorithm = match mac {
            Mac::Sha1 => plain_identifier(SHA1),
            Mac::Sha256 => plain_identifier(SHA256),
            Mac::Pbmac1 => identifier(PBMAC1, &params).unwrap(),
        };
        let password = Password::new("changeit");
        mac.again(&algorithm, &salt, iterations, b"contents", &password)
            .is_some()
    }

    #[test]
    fn no_store_can_ask_for_endless_work() {
        for mac in [Mac::Sha1, Mac::Sha256, Mac::Pbmac1] {
            for (iterations, made) in [
                (0, false),
                (1, true),
                (ITERATIONS, true),
                (MOST_ITERATIONS + 1, false),
                (u32::MAX, false),
            ] {
                assert_eq!(is_made(mac, iterations), made, "{iterations}");
            }
        }
    }
}
