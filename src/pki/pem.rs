//! PEM as it is found in Secrets: any line width, CRLF, text around the blocks. `pem-rfc7468` refuses all three.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::Error;

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";
/// RFC 7468 §2.
const LINE_WIDTH: usize = 64;

/// `openssl ecparam -genkey` writes the curve as a block of its own before the key.
pub(super) const EC_PARAMETERS: &str = "EC PARAMETERS";

pub(super) struct Block {
    pub(super) label: String,
    pub(super) contents: Zeroizing<Vec<u8>>,
}

impl Block {
    pub(super) fn unexpected(&self, what: &'static str) -> Error {
        Error::UnexpectedBlock {
            what,
            found: self
                .label
                .chars()
                .filter(|c| c.is_ascii_graphic() || *c == ' ')
                .take(40)
                .collect(),
        }
    }
}

/// Every block in order. Text outside of blocks is ignored, a block that does not end or decode is an error.
pub(super) fn decode(text: &[u8]) -> Result<Vec<Block>, Error> {
    let mut blocks = Vec::new();
    let mut lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    while let Some(line) = lines.next() {
        let Some(label) = label(line, BEGIN) else {
            continue;
        };
        blocks.push(decode_block(label, &mut lines)?);
    }
    Ok(blocks)
}

/// The contents of the first block that is not just parameters of a curve: of a private key in PEM, its
/// DER.
pub fn first_block(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
    let blocks = decode(text)?.into_iter();
    let mut blocks = blocks.filter(|block| block.label != EC_PARAMETERS);
    Ok(blocks.next().ok_or(Error::NoPem("private key"))?.contents)
}

/// The one block of `text`.
pub(super) fn decode_single(text: &[u8], what: &'static str) -> Result<Block, Error> {
    let mut blocks = decode(text)?.into_iter();
    let block = blocks.next().ok_or(Error::NoPem(what))?;
    if blocks.next().is_some() {
        return Err(Error::SeveralBlocks(what));
    }
    Ok(block)
}

fn label<'a>(line: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    line.strip_prefix(prefix)?.strip_suffix(DASHES)
}

fn decode_block<'a>(
    name: &[u8],
    lines: &mut impl Iterator<Item = &'a [u8]>,
) -> Result<Block, Error> {
    let mut encoded = Zeroizing::new(Vec::new());
    for line in lines {
        if let Some(end) = label(line, END) {
            if end != name {
                return Err(Error::BrokenPem);
            }
            return Ok(Block {
                label: String::from_utf8_lossy(name).into_owned(),
                contents: Zeroizing::new(STANDARD.decode(&*encoded).map_err(|_| Error::BrokenPem)?),
            });
        }
        if line.contains(&b':') {
            // RFC 1421 header, still written by old OpenSSL around encrypted keys.
            if line.starts_with(b"Proc-Type:") && line.ends_with(b"ENCRYPTED") {
                return Err(Error::EncryptedKey);
            }
            continue;
        }
        encoded.extend(line.iter().filter(|byte| !byte.is_ascii_whitespace()));
    }
    Err(Error::BrokenPem)
}

/// One block with the newline that ends it.
pub(super) fn encode(label: &str, der: &[u8]) -> Zeroizing<String> {
    // Both buffers get their final size at once: one that grew would leave copies of a key in freed memory.
    let length = der.len().div_ceil(3) * 4;
    let mut encoded = Zeroizing::new(String::with_capacity(length));
    STANDARD.encode_string(der, &mut encoded);
    let capacity = length + length.div_ceil(LINE_WIDTH) + 2 * (label.len() + 20);
    let mut out = Zeroizing::new(String::with_capacity(capacity));
    out.push_str("-----BEGIN ");
    out.push_str(label);
    out.push_str("-----\n");
    let mut rest = encoded.as_str();
    // Base64 is ASCII, so that each index is a character boundary.
    while let Some((line, tail)) = rest.split_at_checked(LINE_WIDTH) {
        out.push_str(line);
        out.push('\n');
        rest = tail;
    }
    if !rest.is_empty() {
        out.push_str(rest);
        out.push('\n');
    }
    out.push_str("-----END ");
    out.push_str(label);
    out.push_str("-----\n");
    out
}
