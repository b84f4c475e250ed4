//! Messages signed with a shared secret (RFC 8945).

use aws_lc_rs::hmac as fast;
use domain::base::Message;
use domain::base::name::ToName;
use domain::rdata::tsig::Tsig;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use md5::Md5;
use zeroize::Zeroizing;

use super::message::{Name, name};

/// How far the clocks may be apart, in seconds (RFC 8945 §10).
const FUDGE: u16 = 300;
/// Type of the record, and the class that it is in.
const TSIG: u16 = 250;
const ANY: u16 = 255;
const HEADER: usize = 12;
/// Where the header counts additional records.
const ARCOUNT: usize = 10;

/// How messages are signed. MD5 is what cert-manager and old key files have where nothing is said (contract §1.6); no
/// library of ours has it but for this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    HmacMd5,
    HmacSha1,
    HmacSha256,
    HmacSha512,
}

impl Algorithm {
    pub const ALL: [Self; 4] = [
        Self::HmacMd5,
        Self::HmacSha1,
        Self::HmacSha256,
        Self::HmacSha512,
    ];

    /// As a solver's spec has it, in capitals.
    pub fn as_spec(self) -> &'static str {
        match self {
            Self::HmacMd5 => "HMACMD5",
            Self::HmacSha1 => "HMACSHA1",
            Self::HmacSha256 => "HMACSHA256",
            Self::HmacSha512 => "HMACSHA512",
        }
    }

    /// Its name on the wire (RFC 8945 §6).
    fn name(self) -> &'static str {
        match self {
            Self::HmacMd5 => "hmac-md5.sig-alg.reg.int.",
            Self::HmacSha1 => "hmac-sha1.",
            Self::HmacSha256 => "hmac-sha256.",
            Self::HmacSha512 => "hmac-sha512.",
        }
    }

    fn fast(self) -> Option<fast::Algorithm> {
        match self {
            Self::HmacMd5 => None,
            Self::HmacSha1 => Some(fast::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
            Self::HmacSha256 => Some(fast::HMAC_SHA256),
            Self::HmacSha512 => Some(fast::HMAC_SHA512),
        }
    }
}

/// A key that a server knows too.
#[derive(Clone)]
pub struct Key {
    pub name: Name,
    pub algorithm: Algorithm,
    secret: Zeroizing<Vec<u8>>,
}

/// What a server says of our signature (RFC 8945 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is in order, and so is the answer's own.
    Sound,
    BadSignature,
    BadKey,
    BadTime,
    /// The answer is not signed, or by somebody else.
    Unsigned,
}

impl Key {
    pub fn new(name: Name, algorithm: Algorithm, secret: Vec<u8>) -> Self {
        Self {
            name,
            algorithm,
            secret: Zeroizing::new(secret),
        }
    }

    /// The message with a signature behind it; and the signature alone, which the answer's covers too.
    pub(super) fn sign(&self, message: &[u8], now: Timestamp) -> Option<(Vec<u8>, Vec<u8>)> {
        let time = time48(now);
        let mac = self.mac(&[message, &self.variables(time, FUDGE, 0, &[])?]);
        let algorithm = name(self.algorithm.name()).ok()?;
        let mut data = algorithm.as_slice().to_vec();
        data.extend_from_slice(&time);
        data.extend_from_slice(&FUDGE.to_be_bytes());
        data.extend_from_slice(&u16::try_from(mac.len()).ok()?.to_be_bytes());
        data.extend_from_slice(&mac);
        data.extend_from_slice(message.get(..2)?);
        // No error, and no other data.
        data.extend_from_slice(&[0; 4]);

        let mut signed = message.to_vec();
        signed.extend_from_slice(self.name.as_slice());
        signed.extend_from_slice(&TSIG.to_be_bytes());
        signed.extend_from_slice(&ANY.to_be_bytes());
        signed.extend_from_slice(&[0; 4]);
        signed.extend_from_slice(&u16::try_from(data.len()).ok()?.to_be_bytes());
        signed.extend_from_slice(&data);
        add_to_count(&mut signed, 1)?;
        Some((signed, mac))
    }

    /// Judge the answer to a message that had this signature.
    pub(super) fn verify(&self, answer: &[u8], request_mac: &[u8], now: Timestamp) -> Verdict {
        self.judge(answer, request_mac, now)
            .unwrap_or(Verdict::Unsigned)
    }

    fn judge(&self, answer: &[u8], request_mac: &[u8], now: Timestamp) -> Option<Verdict> {
        let message = Message::from_octets(answer).ok()?;
        let mut start = None;
        let mut last = None;
        let mut section = message.additional().ok()?;
        loop {
            let position = section.pos();
            let Some(record) = section.next() else {
                break;
            };
            (start, last) = (Some(position), Some(record.ok()?));
        }
        let record = last?.to_record::<Tsig<_, _>>().ok().flatten()?;
        let data = record.data();
        // What says that the key or the signature is unknown cannot be signed.
        match data.error().to_int() {
            16 => return Some(Verdict::BadSignature),
            17 => return Some(Verdict::BadKey),
            _ => {}
        }
        if record.owner().to_canonical_name::<Vec<u8>>() != self.name {
            return None;
        }
        let mut bare = answer.get(..start?)?.to_vec();
        add_to_count(&mut bare, -1)?;
        bare.get_mut(..2)?
            .copy_from_slice(&data.original_id().to_be_bytes());
        let length = u16::try_from(request_mac.len()).ok()?.to_be_bytes();
        let time = data.time_signed().into_octets();
        let error = data.error().to_int();
        let variables = self.variables(time, data.fudge(), error, data.other().as_ref())?;
        let pieces = [&length, request_mac, &bare, &variables];
        if !self.is_mac(&pieces, data.mac_slice()) {
            return None;
        }
        if error == 18 {
            return Some(Verdict::BadTime);
        }
        let signed = time
            .iter()
            .fold(0, |sum, byte| (sum << 8) | i64::from(*byte));
        let apart = now.as_second().abs_diff(signed);
        Some(if apart > u64::from(FUDGE) {
            Verdict::BadTime
        } else {
            Verdict::Sound
        })
    }

    /// What is signed beside the message (RFC 8945 §4.3.3).
    fn variables(&self, time: [u8; 6], fudge: u16, error: u16, other: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = self.name.as_slice().to_vec();
        bytes.extend_from_slice(&ANY.to_be_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(name(self.algorithm.name()).ok()?.as_slice());
        bytes.extend_from_slice(&time);
        bytes.extend_from_slice(&fudge.to_be_bytes());
        bytes.extend_from_slice(&error.to_be_bytes());
        bytes.extend_from_slice(&u16::try_from(other.len()).ok()?.to_be_bytes());
        bytes.extend_from_slice(other);
        Some(bytes)
    }

    pub(super) fn mac(&self, pieces: &[&[u8]]) -> Vec<u8> {
        match self.algorithm.fast() {
            Some(algorithm) => {
                let mut context = fast::Context::with_key(&fast::Key::new(algorithm, &self.secret));
                for piece in pieces {
                    context.update(piece);
                }
                context.sign().as_ref().to_vec()
            }
            None => self
                .md5(pieces)
                .map(|mac| mac.finalize().into_bytes().to_vec())
                .unwrap_or_default(),
        }
    }

    /// In constant time.
    fn is_mac(&self, pieces: &[&[u8]], mac: &[u8]) -> bool {
        match self.algorithm.fast() {
            Some(algorithm) => {
                let key = fast::Key::new(algorithm, &self.secret);
                fast::verify(&key, &pieces.concat(), mac).is_ok()
            }
            None => self
                .md5(pieces)
                .is_some_and(|own| own.verify_slice(mac).is_ok()),
        }
    }

    /// A key of any length will do, so there is always one.
    fn md5(&self, pieces: &[&[u8]]) -> Option<Hmac<Md5>> {
        let mut mac = Hmac::<Md5>::new_from_slice(&self.secret).ok()?;
        for piece in pieces {
            mac.update(piece);
        }
        Some(mac)
    }
}

fn time48(now: Timestamp) -> [u8; 6] {
    let [_, _, rest @ ..] = now.as_second().to_be_bytes();
    rest
}

/// `None` for a message without a header.
fn add_to_count(message: &mut [u8], more: i16) -> Option<()> {
    let count: &mut [u8; 2] = message.get_mut(ARCOUNT..HEADER)?.try_into().ok()?;
    *count = u16::from_be_bytes(*count)
        .wrapping_add_signed(more)
        .to_be_bytes();
    Some(())
}
