//! Certificates that this program signs itself, for `SelfSigned` and CA issuers by the same template.

use std::time::Duration;

use aws_lc_rs::{digest, rand};
use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280;
use der::asn1::{GeneralizedTime, Ia5String, Int, OctetString};
use der::{Any, Decode, Encode};
use jiff::{SignedDuration, Timestamp};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::crl::dp::DistributionPoint;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::ext::pkix::{AccessDescription, AuthorityKeyIdentifier};
use x509_cert::time::{Time, Validity};

use super::certificate::CertificateBody;
use super::signed::{ExtensionList, Signed};
use super::{
    CertificateSigningRequest, Error, KeyUsages, ParsedCertificate, PrivateKey, SignatureAlgorithm,
    public_key,
};

const WHAT: &str = "certificate";

/// What the certificate shall say, beside what it takes from the signing request: subject, names and key.
#[derive(Debug, Clone)]
pub struct CertificateTemplate<'a> {
    pub csr: &'a CertificateSigningRequest,
    /// Start of the validity; fractions of a second are cut off.
    pub not_before: Timestamp,
    /// Length of the validity.
    pub duration: Duration,
    pub is_ca: bool,
    /// Said in the certificate, with cert sign added if `is_ca`.
    pub usages: KeyUsages,
    pub urls: Urls<'a>,
}

/// Where a certificate says that more is to be found.
#[derive(Debug, Clone, Copy, Default)]
pub struct Urls<'a> {
    /// Revocation lists (RFC 5280 §4.2.1.13).
    pub crl_distribution_points: &'a [String],
    /// OCSP servers (RFC 5280 §4.2.2.1).
    pub ocsp_servers: &'a [String],
    /// The certificate of the CA (RFC 5280 §4.2.2.1).
    pub issuing_certificates: &'a [String],
}

/// Who signs.
#[derive(Debug, Clone, Copy)]
pub struct IssuerIdentity<'a> {
    /// DER `Name`, the issuer's subject byte for byte.
    pub subject_der: &'a [u8],
    /// The issuer's subject key identifier, if its certificate has one.
    pub subject_key_id: Option<&'a [u8]>,
    pub key: &'a PrivateKey,
}

/// A certificate signed by its own key, which has to be the key of the request.
pub fn self_sign(
    template: &CertificateTemplate<'_>,
    key: &PrivateKey,
) -> Result<ParsedCertificate, Error> {
    if template.csr.public_key_der() != key.public_key_der() {
        return Err(Error::KeyMismatch);
    }
    sign(
        template,
        IssuerIdentity {
            subject_der: template.csr.subject_der(),
            subject_key_id: None,
            key,
        },
    )
}

/// A certificate signed by `issuer`. Where the request itself says usages or CA, they have to be the template's.
pub fn sign(
    template: &CertificateTemplate<'_>,
    issuer: IssuerIdentity<'_>,
) -> Result<ParsedCertificate, Error> {
    let malformed = Error::malformed(WHAT);
    let mut usages = template.usages.clone();
    if template.is_ca {
        usages.bits |= x509_cert::ext::pkix::KeyUsages::KeyCertSign;
    }
    check_request(template, &usages)?;
    let algorithm = SignatureAlgorithm::default_for(issuer.key.algorithm());
    let body = CertificateBody {
        version: 2,
        serial: serial_number()?,
        signature: algorithm.identifier(),
        issuer: Any::from_der(issuer.subject_der).map_err(&malformed)?,
        validity: validity(template)?,
        subject: Any::from_der(template.csr.subject_der()).map_err(&malformed)?,
        public_key: Any::from_der(template.csr.public_key_der()).map_err(&malformed)?,
        issuer_unique_id: None,
        subject_unique_id: None,
        extensions: Some(extensions(template, &usages, issuer)?),
    };
    let body = body.to_der().map_err(&malformed)?;
    ParsedCertificate::from_der(&Signed::sign(&body, algorithm, issuer.key)?)
}

/// What the key holder signed must not be overruled silently (contract of `CertificateRequest`).
fn check_request(template: &CertificateTemplate<'_>, usages: &KeyUsages) -> Result<(), Error> {
    let requested = &template.csr.extensions;
    if let Some(bits) = requested.key_usage
        && bits != usages.bits
    {
        return Err(mismatch(
            "KeyUsages",
            template.csr.usages().as_ref(),
            usages,
        ));
    }
    if let Some(extended) = &requested.extended_key_usage {
        let requested = KeyUsages {
            extended: extended.clone(),
            ..KeyUsages::default()
        };
        if !requested.same_extended(usages) {
            return Err(mismatch(
                "ExtKeyUsages",
                template.csr.usages().as_ref(),
                usages,
            ));
        }
    }
    match requested.is_ca {
        Some(is_ca) if is_ca != template.is_ca => Err(Error::CsrMismatch(format!(
            "IsCA {is_ca} does not match the expected {}",
            template.is_ca
        ))),
        _ => Ok(()),
    }
}

fn mismatch(what: &str, found: Option<&KeyUsages>, expected: &KeyUsages) -> Error {
    let found = found.map(KeyUsages::names).unwrap_or_default();
    Error::CsrMismatch(format!(
        "the {what} [{}] do not match the expected [{}]",
        found.join(", ").chars().take(400).collect::<String>(),
        expected.names().join(", ")
    ))
}

/// 126 random bits in 16 bytes: positive, and over the 64 bits of CA/B BR §7.1.
fn serial_number() -> Result<Int, Error> {
    let mut serial = [0; 16];
    rand::fill(&mut serial).map_err(|_| Error::Crypto("random numbers"))?;
    if let Some(first) = serial.first_mut() {
        *first = *first & 0x7f | 0x40;
    }
    Int::new(&serial).map_err(Error::malformed(WHAT))
}

fn validity(template: &CertificateTemplate<'_>) -> Result<Validity, Error> {
    let out_of_range = || Error::invalid("duration", "the end of the validity is out of range");
    let duration = SignedDuration::try_from(template.duration).map_err(|_| out_of_range())?;
    let not_after = template
        .not_before
        .checked_add(duration)
        .map_err(|_| out_of_range())?;
    let time = |timestamp: Timestamp| {
        let seconds = u64::try_from(timestamp.as_second()).map_err(|_| out_of_range())?;
        GeneralizedTime::from_unix_duration(Duration::from_secs(seconds))
            .map(|time| Time::from(time.to_date_time()))
            .map_err(|_| out_of_range())
    };
    Ok(Validity::new(time(template.not_before)?, time(not_after)?))
}

fn extensions(
    template: &CertificateTemplate<'_>,
    usages: &KeyUsages,
    issuer: IssuerIdentity<'_>,
) -> Result<Vec<Extension>, Error> {
    let csr = template.csr;
    let mut list = ExtensionList::default();
    list.push_usages(usages)?;
    list.push_basic_constraints(template.is_ca)?;
    if template.is_ca {
        let id = key_identifier(csr.public_key_der())?;
        list.push(rfc5280::ID_CE_SUBJECT_KEY_IDENTIFIER, false, &id)?;
    }
    if issuer.subject_der != csr.subject_der()
        && let Some(id) = issuer.subject_key_id
    {
        list.push(
            rfc5280::ID_CE_AUTHORITY_KEY_IDENTIFIER,
            false,
            &authority(id)?,
        )?;
    }
    let access = authority_information(template.urls)?;
    if !access.is_empty() {
        list.push(rfc5280::ID_PE_AUTHORITY_INFO_ACCESS, false, &access)?;
    }
    if let Some((value, _)) = &csr.extensions.san {
        let critical = csr.subject().is_empty();
        list.push_raw(rfc5280::ID_CE_SUBJECT_ALT_NAME, critical, value.as_bytes())?;
    }
    list.0.extend(csr.extensions.name_constraints.clone());
    let crls = template.urls.crl_distribution_points;
    if !crls.is_empty() {
        let points = crls
            .iter()
            .map(|url| distribution_point(url))
            .collect::<Result<Vec<_>, _>>()?;
        list.push(CRL_DISTRIBUTION_POINTS, false, &points)?;
    }
    Ok(list.0)
}

const CRL_DISTRIBUTION_POINTS: ObjectIdentifier = rfc5280::ID_CE_CRL_DISTRIBUTION_POINTS;

/// RFC 7093 §2 method 1, as Go computes it since 1.25: the leftmost 160 bits of SHA-256 over the key's bits.
fn key_identifier(spki: &[u8]) -> Result<OctetString, Error> {
    let hash = digest::digest(&digest::SHA256, public_key::key_bits(spki)?);
    let (id, _) = hash.as_ref().split_at(20);
    OctetString::new(id).map_err(Error::malformed(WHAT))
}

fn authority(id: &[u8]) -> Result<AuthorityKeyIdentifier, Error> {
    Ok(AuthorityKeyIdentifier {
        key_identifier: Some(OctetString::new(id).map_err(Error::malformed(WHAT))?),
        ..AuthorityKeyIdentifier::default()
    })
}

/// OCSP servers first, as Go writes them.
fn authority_information(urls: Urls<'_>) -> Result<Vec<AccessDescription>, Error> {
    let ocsp = urls.ocsp_servers.iter();
    let ocsp = ocsp.map(|url| (rfc5280::ID_AD_OCSP, "ocspServers", url));
    let issuers = urls.issuing_certificates.iter();
    let issuers = issuers.map(|url| (rfc5280::ID_AD_CA_ISSUERS, "issuingCertificateURLs", url));
    ocsp.chain(issuers)
        .map(|(access_method, field, url)| {
            Ok(AccessDescription {
                access_method,
                access_location: location(field, url)?,
            })
        })
        .collect()
}

fn location(field: &'static str, url: &str) -> Result<GeneralName, Error> {
    let url = Ia5String::new(url).map_err(|_| Error::invalid(field, "a URL that is not ASCII"))?;
    Ok(GeneralName::UniformResourceIdentifier(url))
}

fn distribution_point(url: &str) -> Result<DistributionPoint, Error> {
    let name = location("crlDistributionPoints", url)?;
    Ok(DistributionPoint {
        distribution_point: Some(DistributionPointName::FullName(vec![name])),
        reasons: None,
        crl_issuer: None,
    })
}
