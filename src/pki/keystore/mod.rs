//! Keystores as Java and OpenSSL read them: JKS and PKCS#12, bytes in, bytes out.

pub mod jks;
pub mod pkcs12;

use std::fmt;
use std::hash::{Hash, Hasher};

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use zeroize::Zeroizing;

use super::{Error, ParsedCertificate, PrivateKey};

/// The password of a keystore. Its memory is wiped when it is dropped, and no formatter shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// Any text, also an empty one.
    pub fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    /// As PBKDF2 takes it (RFC 8018 §3: UTF-8 is what everybody chose).
    fn utf8(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// UTF-16, most significant byte first, with `end` zero bytes behind it. Characters beyond the Basic
    /// Multilingual Plane are surrogate pairs, as OpenSSL and Java write them.
    fn utf16(&self, end: usize) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(2 * self.0.len() + end));
        for unit in self.0.encode_utf16() {
            out.extend_from_slice(&unit.to_be_bytes());
        }
        let length = out.len() + end;
        out.resize(length, 0);
        out
    }
}

impl Hash for Password {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_str().hash(state);
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password([hidden])")
    }
}

/// A private key and its certificates, the leaf first.
#[derive(Clone, Copy)]
pub struct Identity<'a> {
    /// The private key.
    pub key: &'a PrivateKey,
    /// At least one.
    pub chain: &'a [ParsedCertificate],
}

fn sha1(parts: &[&[u8]]) -> [u8; 20] {
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    for part in parts {
        context.update(part);
    }
    let mut out = [0; 20];
    // A SHA-1 digest has 20 bytes (FIPS 180-4 §6.1).
    out.copy_from_slice(context.finish().as_ref());
    out
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Error::Crypto("random numbers"))?;
    Ok(bytes)
}

fn encoding_failed(_: der::Error) -> Error {
    Error::Crypto("encoding a keystore")
}
