//! The Java keystore, version 2. It has no specification but the code of `OpenJDK`
//! (`sun.security.provider.JavaKeyStore` and `KeyProtector`): entries behind a header, then a SHA-1 of
//! password and entries. The private key is hidden by a key stream of SHA-1.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use der::asn1::{Any, ObjectIdentifier, OctetString};
use der::{Encode, Sequence};
use jiff::Timestamp;
use x509_cert::AlgorithmIdentifier;
use zeroize::Zeroizing;

use super::{Identity, Password, contains, encoding_failed, random, sha1};
use crate::pki::{Error, ParsedCertificate};

const MAGIC: u32 = 0xfeed_feed;
const VERSION: u32 = 2;
const PRIVATE_KEY: u32 = 1;
const TRUSTED_CERTIFICATE: u32 = 2;
/// What is hashed between the password and the entries.
const WHITENER: &[u8] = b"Mighty Aphrodite";
/// Of SHA-1.
const DIGEST: usize = 20;
/// The algorithm that hides private keys.
const KEY_PROTECTOR: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.42.2.17.1.1");

/// RFC 5958 §3.
#[derive(Sequence)]
struct EncryptedPrivateKeyInfo {
    algorithm: AlgorithmIdentifier,
    data: OctetString,
}

/// A keystore with a private key under `alias`, if one is given, and certificates that are trusted:
/// `ca`, `ca-1`, `ca-2` and so on (contract §4.6). Aliases are lower case, as Java compares them.
pub fn encode(
    identity: Option<(&str, Identity<'_>)>,
    authorities: &[ParsedCertificate],
    password: &Password,
    now: Timestamp,
) -> Result<Vec<u8>, Error> {
    let entries = authorities.len() + usize::from(identity.is_some());
    let mut out = Writer::default();
    out.number(MAGIC);
    out.number(VERSION);
    out.length(entries)?;
    if let Some((alias, identity)) = identity {
        out.number(PRIVATE_KEY);
        out.text(&alias.to_lowercase())?;
        out.time(now);
        out.block(&protect(&identity.key.pkcs8_der()?, password)?)?;
        out.length(identity.chain.len())?;
        for certificate in identity.chain {
            out.certificate(certificate)?;
        }
    }
    for (index, certificate) in authorities.iter().enumerate() {
        out.number(TRUSTED_CERTIFICATE);
        out.text(&match index {
            0 => "ca".to_owned(),
            _ => format!("ca-{index}"),
        })?;
        out.time(now);
        out.certificate(certificate)?;
    }
    let digest = sha1(&[&password.java(), WHITENER, &out.0]);
    out.0.extend_from_slice(&digest);
    Ok(out.0)
}

/// Whether a keystore opens with this password.
///
/// cert-manager hashes the UTF-8 of a password as if each byte were a character. What it wrote with a
/// password beyond ASCII is accepted too, and left to those who have learned to open it.
pub fn opens(keystore: &[u8], password: &Password) -> bool {
    let Some((entries, digest)) = keystore.split_last_chunk::<DIGEST>() else {
        return false;
    };
    if !entries.starts_with(&MAGIC.to_be_bytes()) {
        return false;
    }
    [password.java(), password.bytewise()].iter().any(|form| {
        let right = sha1(&[form, WHITENER, entries]);
        verify_slices_are_equal(&right, digest).is_ok()
    })
}

/// The alias of the first entry that is a private key; `None` when there is none, or no keystore.
pub fn alias(keystore: &[u8]) -> Option<String> {
    let mut rest = Reader(keystore);
    if (rest.number()?, rest.number()?) != (MAGIC, VERSION) {
        return None;
    }
    for _ in 0..rest.number()? {
        let kind = rest.number()?;
        let alias = rest.text()?;
        rest.take(8)?;
        if kind == PRIVATE_KEY {
            return Some(alias);
        }
        rest.text()?;
        let length = rest.number()?;
        rest.take(usize::try_from(length).ok()?)?;
    }
    None
}

/// Whether a keystore holds this certificate.
pub fn holds(keystore: &[u8], certificate: &ParsedCertificate) -> bool {
    contains(keystore, certificate.der())
}

/// Whether `found` is the alias that is written for `wanted`.
pub fn is_alias(found: &str, wanted: &str) -> bool {
    found == wanted.to_lowercase()
}

/// `KeyProtector.protect`: salt, key XOR key stream, SHA-1 of password and key. Each part of the key
/// stream is the SHA-1 of the password and the part before it; the salt comes first.
fn protect(key: &[u8], password: &Password) -> Result<Vec<u8>, Error> {
    let password = password.java();
    let salt = random::<DIGEST>()?;
    let mut hidden = Vec::with_capacity(key.len() + 2 * DIGEST);
    hidden.extend_from_slice(&salt);
    let mut stream = Zeroizing::new(salt);
    for part in key.chunks(DIGEST) {
        *stream = sha1(&[&password, &*stream]);
        hidden.extend(part.iter().zip(stream.iter()).map(|(a, b)| a ^ b));
    }
    hidden.extend_from_slice(&sha1(&[&password, key]));
    EncryptedPrivateKeyInfo {
        algorithm: AlgorithmIdentifier {
            oid: KEY_PROTECTOR,
            parameters: Some(Any::null()),
        },
        data: OctetString::new(hidden).map_err(encoding_failed)?,
    }
    .to_der()
    .map_err(encoding_failed)
}

/// As `java.io.DataOutputStream` writes.
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn number(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    fn length(&mut self, length: usize) -> Result<(), Error> {
        let length =
            u32::try_from(length).map_err(|_| Error::invalid("keystore", "it is too large"))?;
        self.number(length);
        Ok(())
    }

    fn time(&mut self, time: Timestamp) {
        self.0
            .extend_from_slice(&time.as_millisecond().to_be_bytes());
    }

    fn block(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.length(bytes.len())?;
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    /// Modified UTF-8: each UTF-16 unit by itself, and no zero byte.
    fn text(&mut self, text: &str) -> Result<(), Error> {
        let mut bytes = Vec::new();
        for unit in text.encode_utf16() {
            let tail = |shift: u16| 0x80 | low(unit >> shift & 0x3f);
            match unit {
                1..=0x7f => bytes.push(low(unit)),
                0 | 0x80..=0x7ff => bytes.extend([0xc0 | low(unit >> 6), tail(0)]),
                _ => bytes.extend([0xe0 | low(unit >> 12), tail(6), tail(0)]),
            }
        }
        let length = u16::try_from(bytes.len())
            .map_err(|_| Error::invalid("alias", "it has more than 65535 bytes"))?;
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(&bytes);
        Ok(())
    }

    fn certificate(&mut self, certificate: &ParsedCertificate) -> Result<(), Error> {
        self.text("X.509")?;
        self.block(certificate.der())
    }
}

fn low(unit: u16) -> u8 {
    let [_, low] = unit.to_be_bytes();
    low
}

/// The opposite of [`Writer`], as far as it is needed.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u32> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*taken))
    }

    fn text(&mut self) -> Option<String> {
        let (length, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        let mut bytes = self.take(usize::from(u16::from_be_bytes(*length)))?.iter();
        let mut next = || bytes.next().map(|byte| u16::from(*byte));
        let mut units = Vec::new();
        while let Some(first) = next() {
            units.push(match first {
                0..=0x7f => first,
                0xc0..=0xdf => (first & 0x1f) << 6 | next()? & 0x3f,
                0xe0..=0xef => (first & 0x0f) << 12 | (next()? & 0x3f) << 6 | next()? & 0x3f,
                _ => return None,
            });
        }
        String::from_utf16(&units).ok()
    }
}
