use std::fmt::{self, Write as _};

use aws_lc_rs::digest;
use der::asn1::{BitString, Int};
use der::flagset::FlagSet;
use der::{Any, Decode, Encode, Sequence};
use jiff::Timestamp;
use x509_cert::AlgorithmIdentifier;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::KeyUsages as Bits;
use x509_cert::time::{Time, Validity};

use super::limits::Limit;
use super::signed::{KnownExtensions, Signed};
use super::subject::DistinguishedName;
use super::{Error, KeyUsages, PrivateKey, Purposes, SubjectAltNames, pem};

const WHAT: &str = "certificate";
const CHAIN: &str = "certificate chain";
pub(super) const LABEL: &str = "CERTIFICATE";

/// RFC 5280 §4.1. Names and key stay raw; a serial number may be of any length and sign, as old CAs wrote them.
#[derive(Sequence)]
pub(super) struct CertificateBody {
    #[asn1(context_specific = "0", default = "Default::default")]
    pub(super) version: u8,
    pub(super) serial: Int,
    pub(super) signature: AlgorithmIdentifier,
    pub(super) issuer: Any,
    pub(super) validity: Validity,
    pub(super) subject: Any,
    pub(super) public_key: Any,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    pub(super) issuer_unique_id: Option<BitString>,
    #[asn1(context_specific = "2", tag_mode = "IMPLICIT", optional = "true")]
    pub(super) subject_unique_id: Option<BitString>,
    #[asn1(context_specific = "3", optional = "true")]
    pub(super) extensions: Option<Vec<Extension>>,
}

/// A certificate that has been read. Its signature has not been checked: see [`check_chain_order`].
#[derive(Clone, PartialEq, Eq)]
pub struct ParsedCertificate {
    der: Vec<u8>,
    serial: Vec<u8>,
    not_before: Timestamp,
    not_after: Timestamp,
    issuer: DistinguishedName,
    subject: DistinguishedName,
    public_key_der: Vec<u8>,
    extensions: KnownExtensions,
}

impl fmt::Debug for ParsedCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParsedCertificate")
            .field("serial", &self.serial())
            .field("subject", &self.subject)
            .finish_non_exhaustive()
    }
}

impl ParsedCertificate {
    /// Reads one DER certificate.
    pub fn from_der(der: &[u8]) -> Result<Self, Error> {
        Limit::Certificate.check(WHAT, der.len())?;
        let malformed = Error::malformed(WHAT);
        let signed = Signed::from_der(der).map_err(&malformed)?;
        let body = signed.body.to_der().map_err(&malformed)?;
        let body = CertificateBody::from_der(&body).map_err(&malformed)?;
        let extensions = body.extensions.unwrap_or_default();
        Ok(Self {
            der: der.to_vec(),
            serial: body.serial.as_bytes().to_vec(),
            not_before: timestamp(body.validity.not_before)?,
            not_after: timestamp(body.validity.not_after)?,
            issuer: DistinguishedName::from_any(&body.issuer, WHAT)?,
            subject: DistinguishedName::from_any(&body.subject, WHAT)?,
            public_key_der: body.public_key.to_der().map_err(&malformed)?,
            extensions: KnownExtensions::read(&extensions, WHAT)?,
        })
    }

    /// The certificate as it came.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// One PEM block.
    pub fn to_pem(&self) -> String {
        pem::encode(LABEL, &self.der).to_string()
    }

    /// Serial number in lower case hex, without leading zeros.
    pub fn serial(&self) -> String {
        serial_text(&self.serial)
    }

    /// Content octets of the serial number's DER, leading zero included: one half of an ARI identifier (RFC 9773 §4.1).
    pub fn serial_bytes(&self) -> &[u8] {
        &self.serial
    }

    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// The last second of the validity period (RFC 5280 §4.1.2.5: inclusive).
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    pub fn issuer(&self) -> &DistinguishedName {
        &self.issuer
    }

    pub fn subject(&self) -> &DistinguishedName {
        &self.subject
    }

    /// Whether `BasicConstraints` say that it is a CA.
    pub fn is_ca(&self) -> bool {
        self.extensions.is_ca.unwrap_or(false)
    }

    /// Whether it does not forbid itself to sign certificates. One of version 1 says nothing of it.
    pub fn may_issue(&self) -> bool {
        let signs = |bits: FlagSet<Bits>| bits.contains(Bits::KeyCertSign);
        self.extensions.is_ca.unwrap_or(true) && self.extensions.key_usage.is_none_or(signs)
    }

    /// Whether it does not forbid itself to sign revocation lists.
    pub fn may_list(&self) -> bool {
        let signs = |bits: FlagSet<Bits>| bits.contains(Bits::CRLSign);
        self.extensions.key_usage.is_none_or(signs)
    }

    /// Whether it is a root: a CA that has signed itself.
    pub fn is_self_signed(&self) -> bool {
        self.may_issue() && self.verify_issued_by(self).is_ok()
    }

    /// The subject, cut to a length that does for messages.
    pub(super) fn short_subject(&self) -> String {
        self.subject.to_string().chars().take(200).collect()
    }

    /// DER `SubjectPublicKeyInfo`.
    pub fn public_key_der(&self) -> &[u8] {
        &self.public_key_der
    }

    /// The names of the subjectAltName extension; all lists are empty if there is none.
    pub fn sans(&self) -> SubjectAltNames {
        self.extensions.sans()
    }

    /// Its extended usages.
    pub fn purposes(&self) -> Purposes {
        Purposes::of(&self.usages().unwrap_or_default())
    }

    /// The usages, if it says any.
    pub fn usages(&self) -> Option<KeyUsages> {
        self.extensions.usages()
    }

    /// Subject key identifier, if there is one.
    pub fn subject_key_id(&self) -> Option<&[u8]> {
        self.extensions.subject_key_id.as_deref()
    }

    /// Key identifier of the issuer, if the certificate says it.
    pub fn authority_key_id(&self) -> Option<&[u8]> {
        self.extensions.authority_key_id.as_deref()
    }

    /// Where it says that revocation lists are, as it says it.
    pub fn list_uris(&self) -> &[String] {
        &self.extensions.lists
    }

    /// SHA-256 of the DER in lower case hex.
    pub fn fingerprint(&self) -> String {
        sha256_hex(&self.der)
    }

    /// SHA-256 of the DER `SubjectPublicKeyInfo` in lower case hex.
    pub fn public_key_hash(&self) -> String {
        sha256_hex(&self.public_key_der)
    }

    /// Checks that `issuer` is named as the issuer and made the signature. Validity, usages and constraints are not
    /// looked at.
    pub fn verify_issued_by(&self, issuer: &Self) -> Result<(), Error> {
        if self.issuer != issuer.subject {
            return Err(Error::BadSignature(WHAT));
        }
        Signed::from_der(&self.der)
            .map_err(Error::malformed(WHAT))?
            .verify(WHAT, &issuer.public_key_der)
    }

    /// Whether `issuer` has signed it, as far as can be told.
    fn may_be_issued_by(&self, issuer: &Self) -> bool {
        match self.verify_issued_by(issuer) {
            Ok(()) | Err(Error::UnsupportedSignature(_) | Error::UnsupportedPublicKey) => true,
            Err(_) => false,
        }
    }
}

/// Content octets of a serial number in lower case hex, without leading zeros.
pub(super) fn serial_text(octets: &[u8]) -> String {
    let digits = hex(octets);
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() { "0" } else { digits }.to_owned()
}

/// Every certificate of a PEM chain in the order that it has; at least one. Blocks are certificates whatever their label
/// says (`X509 CERTIFICATE`), and broken ones are passed over: as cert-manager reads what is in a Secret.
pub fn parse_chain(text: &[u8]) -> Result<Vec<ParsedCertificate>, Error> {
    parse(CHAIN, text, Limit::Chain)
}

/// Like [`parse_chain`] with room for a trust bundle.
pub fn parse_bundle(text: &[u8]) -> Result<Vec<ParsedCertificate>, Error> {
    parse("certificate bundle", text, Limit::Bundle)
}

/// A PEM chain as a CA hands it out: one that is cut off, or holds something else, is refused (RFC 8555 §9.1).
pub fn parse_download(text: &[u8]) -> Result<Vec<ParsedCertificate>, Error> {
    Limit::Chain.check(CHAIN, text.len())?;
    for block in pem::decode(text) {
        let block = block?;
        if block.label != LABEL {
            return Err(block.unexpected(CHAIN));
        }
    }
    parse_chain(text)
}

fn parse(what: &'static str, text: &[u8], limit: Limit) -> Result<Vec<ParsedCertificate>, Error> {
    limit.check(what, text.len())?;
    let blocks = pem::whole(text, what)?.into_iter();
    blocks
        .map(|block| ParsedCertificate::from_der(&block.contents))
        .collect()
}

/// Digest of the subjects and keys of these certificates: it stays when one is renewed for the same key. 16 hex digits.
pub fn line_of(certificates: &[&ParsedCertificate]) -> String {
    let mut all = digest::Context::new(&digest::SHA256);
    for certificate in certificates {
        // Both are DER, and so say where they end.
        all.update(certificate.subject.as_der());
        all.update(&certificate.public_key_der);
    }
    hex(all.finish().as_ref().split_at(8).0)
}

/// Checks that the chain is leaf first and that each certificate is signed by the next. Where a signature is of a kind that is
/// not understood, such as RSASSA-PSS, the names tell.
pub fn check_chain_order(chain: &[ParsedCertificate]) -> Result<(), Error> {
    for (index, (certificate, issuer)) in chain.iter().zip(chain.iter().skip(1)).enumerate() {
        if !certificate.may_be_issued_by(issuer) {
            return Err(Error::BrokenChain {
                index,
                subject: certificate.short_subject(),
            });
        }
    }
    Ok(())
}

/// What leads up from the first certificate of a chain, whatever the order of the others; nothing else of it.
pub fn leading_up(chain: &[ParsedCertificate]) -> Vec<ParsedCertificate> {
    let mut others: Vec<_> = chain.iter().collect();
    let mut path: Vec<ParsedCertificate> = vec![];
    while let Some(next) = others
        .iter()
        .position(|other| path.last().is_none_or(|last| last.may_be_issued_by(other)))
    {
        let next = others.remove(next);
        others.retain(|other| *other != next);
        path.push(next.clone());
    }
    path
}

/// Checks that the certificate is for this key.
pub fn verify_key_matches(certificate: &ParsedCertificate, key: &PrivateKey) -> Result<(), Error> {
    if certificate.public_key_der == key.public_key_der() {
        Ok(())
    } else {
        Err(Error::KeyMismatch)
    }
}

/// The last that there is for one after it: RFC 5280 §4.1.2.5 has the end of 9999 for "no end".
pub(super) fn timestamp(time: Time) -> Result<Timestamp, Error> {
    let last = Timestamp::MAX.as_second();
    let seconds = i64::try_from(time.to_unix_duration().as_secs());
    Timestamp::from_second(seconds.unwrap_or(last).min(last)).map_err(|_| Error::Malformed {
        what: WHAT,
        detail: "time out of range".to_owned(),
    })
}

/// SHA-256 in lower case hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut out, byte| {
            // Writing to a String cannot fail.
            let _ = write!(out, "{byte:02x}");
            out
        })
}
