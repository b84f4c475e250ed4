//! `spec.literalSubject`: a distinguished name as RFC 4514 writes it, read as go-ldap reads it for cert-manager, so
//! that a subject comes out as the same bytes.

use const_oid::ObjectIdentifier;
use const_oid::db::rfc4519;

use super::Error;
use super::subject::{DistinguishedName, rdn};

/// Keys that may stand for an object identifier; case counts, as in cert-manager.
const KEYS: [(&str, ObjectIdentifier); 10] = [
    ("C", rfc4519::C),
    ("CN", rfc4519::CN),
    ("DC", rfc4519::DC),
    ("L", rfc4519::L),
    ("O", rfc4519::O),
    ("OU", rfc4519::OU),
    ("SERIALNUMBER", rfc4519::SERIAL_NUMBER),
    ("ST", rfc4519::ST),
    ("STREET", rfc4519::STREET),
    ("UID", rfc4519::UID),
];

/// What may follow a backslash as it is (RFC 4514 §2.4).
const SPECIAL: &[u8] = b" \"#+,;<=>\\";

type Attribute = (ObjectIdentifier, String);

impl DistinguishedName {
    /// Reads RFC 4514. The string begins with the most specific name, the encoding with the least specific
    /// (RFC 4514 §2.1). Blank text is a name without attributes.
    pub fn from_rfc4514(text: &str) -> Result<Self, Error> {
        let rdns = parse(text)?;
        let rdns = rdns.iter().rev().map(|attributes| {
            let attributes = attributes.iter();
            rdn(attributes.map(|(oid, value)| (*oid, value.as_str())))
        });
        Self::from_rdns(&rdns.collect::<Result<_, _>>()?)
    }
}

fn fault(problem: impl Into<String>) -> Error {
    Error::invalid("literalSubject", problem)
}

/// The beginning of a value, for an error.
fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

fn parse(text: &str) -> Result<Vec<Vec<Attribute>>, Error> {
    let mut rdns = Vec::new();
    if text.trim().is_empty() {
        return Ok(rdns);
    }
    let mut attributes = Vec::new();
    let (mut kind, mut start, mut escaped) = (None, 0, false);
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'=' if kind.is_none() => {
                kind = Some(attribute_type(part(start, at))?);
                start = at + 1;
            }
            b',' | b';' | b'+' => {
                attributes.push(attribute(kind.take(), part(start, at))?);
                if byte != b'+' {
                    rdns.push(std::mem::take(&mut attributes));
                }
                start = at + 1;
            }
            _ => {}
        }
    }
    attributes.push(attribute(kind, part(start, text.len()))?);
    rdns.push(attributes);
    Ok(rdns)
}

fn attribute(kind: Option<ObjectIdentifier>, text: &str) -> Result<Attribute, Error> {
    let kind = kind.ok_or_else(|| {
        fault(format!(
            "\"{}\" has no key: write it like CN=name, and a comma in a value as \\,",
            shown(text)
        ))
    })?;
    let value = match text.strip_prefix('#') {
        Some(digits) => encoded_value(digits)?,
        None => unescape(text)?,
    };
    Ok((kind, value))
}

fn attribute_type(text: &str) -> Result<ObjectIdentifier, Error> {
    let name = unescape(text)?;
    let known = KEYS.iter().find(|(key, _)| *key == name);
    known
        .map(|(_, oid)| *oid)
        .or_else(|| ObjectIdentifier::new(&name).ok())
        .ok_or_else(|| {
            let keys = KEYS.map(|(key, _)| key).join(", ");
            fault(format!(
                "the key \"{}\" is not known; use {keys}, or a dotted object identifier",
                shown(&name)
            ))
        })
}

/// Without surrounding spaces, and with escapes resolved (RFC 4514 §2.4).
fn unescape(text: &str) -> Result<String, Error> {
    let trimmed = text.trim_matches(' ').as_bytes();
    let mut rest = trimmed;
    let mut value = Vec::with_capacity(trimmed.len());
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'\\' {
            value.push(*byte);
            continue;
        }
        match rest {
            [special, after @ ..] if SPECIAL.contains(special) => {
                value.push(*special);
                rest = after;
            }
            [high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                value.push(hex_digit(*high) << 4 | hex_digit(*low));
                rest = after;
            }
            // A space at the end that the backslash before it keeps.
            [] if text.ends_with(' ') => value.push(b' '),
            _ => {
                let text = shown(text);
                return Err(fault(format!(
                    "in \"{text}\" a backslash is not followed by two hex digits or one of \"#+,;<=>\\ and space"
                )));
            }
        }
    }
    String::from_utf8(value).map_err(|_| fault(format!("\"{}\" is not UTF-8", shown(text))))
}

/// `#` and the hex digits of a BER value: its contents, whatever its type (RFC 4514 §2.4).
fn encoded_value(digits: &str) -> Result<String, Error> {
    let broken = |what: &str| fault(format!("\"#{}\" is {what}", shown(digits)));
    let bytes = from_hex(digits).ok_or_else(|| broken("not hexadecimal"))?;
    let contents = contents(&bytes).ok_or_else(|| broken("not one BER value"))?;
    String::from_utf8(contents.to_vec()).map_err(|_| broken("not text"))
}

fn from_hex(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
            Some(hex_digit(*high) << 4 | hex_digit(*low))
        }
        _ => None,
    });
    pairs.collect()
}

/// 0 to 15; the caller has checked that it is a hex digit.
fn hex_digit(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

/// X.690 §8.1, with a tag of one byte and a definite length.
fn contents(value: &[u8]) -> Option<&[u8]> {
    let [tag, length, rest @ ..] = value else {
        return None;
    };
    if tag & 0x1f == 0x1f {
        return None;
    }
    let (length, rest) = match length {
        0..=0x7f => (usize::from(*length), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            let length = bytes.iter().fold(0, |sum, b| sum << 8 | usize::from(*b));
            (length, rest)
        }
        _ => return None,
    };
    (rest.len() == length).then_some(rest)
}
