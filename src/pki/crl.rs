//! Revocation lists (RFC 5280 §5): the complete list of one CA, signed by its own key.

use std::time::Duration;

use bytes::Bytes;
use const_oid::db::rfc5280;
use der::asn1::{GeneralizedTime, Int, OctetString};
use der::{Any, Decode, Encode, Sequence};
use jiff::Timestamp;
use x509_cert::AlgorithmIdentifier;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, CrlReason};
use x509_cert::time::Time;

use super::certificate::{serial_text, timestamp};
use super::signed::{ExtensionList, Signed};
use super::{Error, IssuerIdentity, RevocationReason, SignatureAlgorithm};

const WHAT: &str = "revocation list";
/// Version 2, which is written as 1.
const VERSION: u8 = 1;

/// RFC 5280 §5.1.2.
#[derive(Sequence)]
struct ListBody {
    version: u8,
    signature: AlgorithmIdentifier,
    issuer: Any,
    this_update: Time,
    next_update: Option<Time>,
    revoked: Option<Vec<Entry>>,
    #[asn1(context_specific = "0", optional = "true")]
    extensions: Option<Vec<Extension>>,
}

#[derive(Sequence)]
struct Entry {
    serial: Int,
    date: Time,
    extensions: Option<Vec<Extension>>,
}

/// A certificate that is revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokedSerial {
    /// Content octets of the serial number's DER, as in the certificate.
    pub serial: Vec<u8>,
    /// Since when; fractions of a second are cut off.
    pub at: Timestamp,
    pub reason: RevocationReason,
}

impl RevokedSerial {
    /// The serial number in lower case hex, without leading zeros.
    pub fn text(&self) -> String {
        serial_text(&self.serial)
    }
}

/// A list that has been read. Its signature has not been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationList {
    der: Bytes,
    /// Counts up from one list of a CA to the next (RFC 5280 §5.2.3).
    pub number: u64,
    pub this_update: Timestamp,
    /// When there will be a newer one at the latest.
    pub next_update: Option<Timestamp>,
    /// In the order of the list.
    pub revoked: Vec<RevokedSerial>,
}

impl RevocationList {
    /// Signs a list.
    pub fn sign(
        issuer: IssuerIdentity<'_>,
        number: u64,
        this_update: Timestamp,
        next_update: Timestamp,
        revoked: &[RevokedSerial],
    ) -> Result<Self, Error> {
        let malformed = Error::malformed(WHAT);
        let algorithm = SignatureAlgorithm::default_for(issuer.key.algorithm());
        let entries = revoked.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
        let mut extensions = ExtensionList::default();
        if let Some(id) = issuer.subject_key_id {
            let authority = AuthorityKeyIdentifier {
                key_identifier: Some(OctetString::new(id).map_err(&malformed)?),
                ..AuthorityKeyIdentifier::default()
            };
            extensions.push(rfc5280::ID_CE_AUTHORITY_KEY_IDENTIFIER, false, &authority)?;
        }
        extensions.push(rfc5280::ID_CE_CRL_NUMBER, false, &number)?;
        let body = ListBody {
            version: VERSION,
            signature: algorithm.identifier(),
            issuer: Any::from_der(issuer.subject_der).map_err(&malformed)?,
            this_update: time(this_update)?,
            next_update: Some(time(next_update)?),
            // RFC 5280 §5.1.2.6: absent when there are none.
            revoked: Some(entries).filter(|entries| !entries.is_empty()),
            extensions: Some(extensions.0),
        };
        let body = body.to_der().map_err(&malformed)?;
        Self::from_der(Signed::sign(&body, algorithm, issuer.key)?)
    }

    /// Reads a list in DER.
    pub fn from_der(der: impl Into<Bytes>) -> Result<Self, Error> {
        let malformed = Error::malformed(WHAT);
        let der = der.into();
        let signed = Signed::from_der(&der).map_err(&malformed)?;
        let body = signed.body.to_der().map_err(&malformed)?;
        let body = ListBody::from_der(&body).map_err(&malformed)?;
        let extensions = body.extensions.unwrap_or_default();
        let is_delta = |e: &Extension| e.extn_id == rfc5280::ID_CE_DELTA_CRL_INDICATOR;
        if extensions.iter().any(is_delta) {
            return Err(Error::invalid(WHAT, "it says only what has changed"));
        }
        let number = extensions
            .iter()
            .find(|e| e.extn_id == rfc5280::ID_CE_CRL_NUMBER);
        let number = number.map(|e| u64::from_der(e.extn_value.as_bytes()));
        let revoked = body.revoked.unwrap_or_default();
        Ok(Self {
            der,
            number: number.transpose().map_err(&malformed)?.unwrap_or_default(),
            this_update: timestamp(body.this_update)?,
            next_update: body.next_update.map(timestamp).transpose()?,
            revoked: revoked
                .iter()
                .filter_map(|entry| revoked_serial(entry).transpose())
                .collect::<Result<_, _>>()?,
        })
    }

    /// The list as it is served.
    pub fn der(&self) -> &Bytes {
        &self.der
    }

    /// Checks the signature with a DER `SubjectPublicKeyInfo`.
    pub fn verify(&self, spki: &[u8]) -> Result<(), Error> {
        Signed::from_der(&self.der)
            .map_err(Error::malformed(WHAT))?
            .verify(WHAT, spki)
    }
}

fn entry(revoked: &RevokedSerial) -> Result<Entry, Error> {
    let mut extensions = ExtensionList::default();
    if let Some(reason) = crl_reason(revoked.reason) {
        extensions.push(rfc5280::ID_CE_CRL_REASONS, false, &reason)?;
    }
    Ok(Entry {
        serial: Int::new(&revoked.serial).map_err(Error::malformed(WHAT))?,
        date: time(revoked.at)?,
        extensions: Some(extensions.0).filter(|list| !list.is_empty()),
    })
}

/// RFC 5280 §5.3.1: unspecified is said by saying nothing.
fn crl_reason(reason: RevocationReason) -> Option<CrlReason> {
    Some(match reason {
        RevocationReason::Unspecified => return None,
        RevocationReason::KeyCompromise => CrlReason::KeyCompromise,
        RevocationReason::AffiliationChanged => CrlReason::AffiliationChanged,
        RevocationReason::Superseded => CrlReason::Superseded,
        RevocationReason::CessationOfOperation => CrlReason::CessationOfOperation,
        RevocationReason::PrivilegeWithdrawn => CrlReason::PrivilegeWithdrawn,
    })
}

/// `None` for an entry that is about a certificate of another CA, or takes one out again (RFC 5280 §5.3).
fn revoked_serial(entry: &Entry) -> Result<Option<RevokedSerial>, Error> {
    let extensions = entry.extensions.as_deref().unwrap_or_default();
    let is_reason = |e: &&Extension| e.extn_id == rfc5280::ID_CE_CRL_REASONS;
    if extensions.iter().any(|e| e.critical && !is_reason(&e)) {
        return Ok(None);
    }
    let reason = extensions.iter().find(is_reason);
    let reason = reason.and_then(|e| CrlReason::from_der(e.extn_value.as_bytes()).ok());
    let reason = match reason {
        Some(CrlReason::RemoveFromCRL) => return Ok(None),
        Some(CrlReason::KeyCompromise) => RevocationReason::KeyCompromise,
        Some(CrlReason::AffiliationChanged) => RevocationReason::AffiliationChanged,
        Some(CrlReason::Superseded) => RevocationReason::Superseded,
        Some(CrlReason::CessationOfOperation) => RevocationReason::CessationOfOperation,
        Some(CrlReason::PrivilegeWithdrawn) => RevocationReason::PrivilegeWithdrawn,
        _ => RevocationReason::Unspecified,
    };
    Ok(Some(RevokedSerial {
        serial: entry.serial.as_bytes().to_vec(),
        at: timestamp(entry.date)?,
        reason,
    }))
}

/// `UTCTime` until 2049, `GeneralizedTime` after that (RFC 5280 §5.1.2.4).
fn time(at: Timestamp) -> Result<Time, Error> {
    let out_of_range = || Error::invalid("time", "out of range");
    let seconds = u64::try_from(at.as_second()).map_err(|_| out_of_range())?;
    GeneralizedTime::from_unix_duration(Duration::from_secs(seconds))
        .map(|time| Time::from(time.to_date_time()))
        .map_err(|_| out_of_range())
}
