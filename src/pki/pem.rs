//! PEM as it is found in Secrets: any line width, CRLF, text around the blocks. `pem-rfc7468` refuses all three.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use zeroize::Zeroizing;

use super::Error;

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";
/// RFC 7468 §2.
const LINE_WIDTH: usize = 64;

/// `openssl ecparam -genkey` writes the curve as a block of its own before the key.
pub(super) const EC_PARAMETERS: &str = "EC PARAMETERS";

/// As Go reads base64: bits that are left over in the last character may be anything.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

pub(super) struct Block {
    pub(super) label: String,
    pub(super) contents: Zeroizing<Vec<u8>>,
    /// By a header (RFC 1421), as old OpenSSL still writes it around encrypted keys.
    pub(super) encrypted: bool,
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

/// Every block in order. Text outside of blocks is ignored; a block that does not end or decode is an error in its place.
pub(super) fn decode(text: &[u8]) -> impl Iterator<Item = Result<Block, Error>> {
    let mut lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let mut open: Option<Open<'_>> = None;
    std::iter::from_fn(move || {
        for line in lines.by_ref() {
            if line.starts_with(BEGIN) {
                let label = label(line, BEGIN);
                let unended = std::mem::replace(&mut open, label.map(Open::new));
                if unended.is_some() || label.is_none() {
                    return Some(Err(Error::BrokenPem));
                }
            } else if line.starts_with(END) {
                if let Some(block) = open.take() {
                    return Some(block.close(label(line, END)));
                }
            } else if let Some(block) = &mut open {
                block.push(line);
            }
        }
        open.take().map(|_| Err(Error::BrokenPem))
    })
}

/// The blocks that are whole, at least one. Broken ones between them are passed over as Go's `encoding/pem` does, with which
/// cert-manager reads: what it has stored is as good here.
pub(super) fn whole(text: &[u8], what: &'static str) -> Result<Vec<Block>, Error> {
    let mut problem = Error::NoPem(what);
    let mut blocks = Vec::new();
    for block in decode(text) {
        match block {
            Ok(block) => blocks.push(block),
            Err(broken) => problem = broken,
        }
    }
    if blocks.is_empty() {
        return Err(problem);
    }
    Ok(blocks)
}

/// The first block that is not just parameters of a curve.
pub(super) fn first_key(text: &[u8], what: &'static str) -> Result<Block, Error> {
    let mut blocks = whole(text, what)?.into_iter();
    let block = blocks.find(|block| block.label != EC_PARAMETERS);
    block.ok_or(Error::NoPem(what))
}

/// The contents of the first block that is not just parameters of a curve: of a private key in PEM, its
/// DER.
pub fn first_block(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
    Ok(first_key(text, "private key")?.contents)
}

/// The one block of `text`.
pub(super) fn decode_single(text: &[u8], what: &'static str) -> Result<Block, Error> {
    let mut blocks = whole(text, what)?.into_iter();
    let block = blocks.next().ok_or(Error::NoPem(what))?;
    if blocks.next().is_some() {
        return Err(Error::SeveralBlocks(what));
    }
    Ok(block)
}

fn label<'a>(line: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    line.strip_prefix(prefix)?.strip_suffix(DASHES)
}

/// A block that has begun.
struct Open<'a> {
    label: &'a [u8],
    encoded: Zeroizing<Vec<u8>>,
    encrypted: bool,
}

impl<'a> Open<'a> {
    fn new(label: &'a [u8]) -> Self {
        Self {
            label,
            encoded: Zeroizing::default(),
            encrypted: false,
        }
    }

    /// Headers come before everything else.
    fn push(&mut self, line: &[u8]) {
        if self.encoded.is_empty() && line.contains(&b':') {
            self.encrypted |= line.starts_with(b"Proc-Type:") && line.ends_with(b"ENCRYPTED");
            return;
        }
        let visible = line.iter().filter(|byte| !byte.is_ascii_whitespace());
        self.encoded.extend(visible);
    }

    fn close(self, end: Option<&[u8]>) -> Result<Block, Error> {
        let contents = LENIENT.decode(&*self.encoded);
        let contents = contents.map(Zeroizing::new);
        let contents = contents.ok().filter(|_| end == Some(self.label));
        Ok(Block {
            label: String::from_utf8_lossy(self.label).into_owned(),
            contents: contents.ok_or(Error::BrokenPem)?,
            encrypted: self.encrypted,
        })
    }
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
