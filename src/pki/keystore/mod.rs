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
pub struct Password {
    text: Zeroizing<String>,
    /// The bytes, if they are not the text's.
    bytes: Option<Zeroizing<Vec<u8>>>,
}

impl Password {
    /// Any text, also an empty one.
    pub fn new(text: &str) -> Self {
        Self {
            text: Zeroizing::new(text.to_owned()),
            bytes: None,
        }
    }

    /// Any bytes. Where text is wanted, each that belongs to no character counts as U+FFFD: so does Go, which cert-manager
    /// writes PKCS#12 with.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        if let Ok(text) = std::str::from_utf8(bytes) {
            return Self::new(text);
        }
        // Of its final size, as a text that grew would leave copies in freed memory.
        let mut text = Zeroizing::new(String::with_capacity(3 * bytes.len()));
        for chunk in bytes.utf8_chunks() {
            text.push_str(chunk.valid());
            text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
        }
        Self {
            text,
            bytes: Some(Zeroizing::new(bytes.to_vec())),
        }
    }

    /// As PBKDF2 takes it (RFC 8018 §3: UTF-8 is what everybody chose).
    fn utf8(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// UTF-16, most significant byte first, with `end` zero bytes behind it. Characters beyond the Basic
    /// Multilingual Plane are surrogate pairs, as OpenSSL and Java write them.
    fn utf16(&self, end: usize) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(2 * self.text.len() + end));
        for unit in self.text.encode_utf16() {
            out.extend_from_slice(&unit.to_be_bytes());
        }
        let length = out.len() + end;
        out.resize(length, 0);
        out
    }

    /// As if each byte were a character.
    fn bytewise(&self) -> Zeroizing<Vec<u8>> {
        let bytes = self.bytes.as_ref().map_or(self.utf8(), |bytes| bytes);
        let mut out = Zeroizing::new(Vec::with_capacity(2 * bytes.len()));
        out.extend(bytes.iter().flat_map(|byte| [0, *byte]));
        out
    }

    /// As Java's own keystores take it. Bytes that are no text are characters of Latin-1: which else could there be.
    fn java(&self) -> Zeroizing<Vec<u8>> {
        if self.bytes.is_some() {
            self.bytewise()
        } else {
            self.utf16(0)
        }
    }
}

impl Hash for Password {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.as_str().hash(state);
        self.bytes
            .as_ref()
            .map(|bytes| bytes.as_slice())
            .hash(state);
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
