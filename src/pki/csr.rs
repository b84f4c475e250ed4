use std::fmt;
use std::net::IpAddr;

use const_oid::db::{rfc5280, rfc5912};
use der::asn1::SetOfVec;
use der::{Any, Decode, Encode, Sequence};
use x509_cert::attr::Attribute;
use x509_cert::ext::Extension;

use super::limits::Limit;
use super::signed::{ExtensionList, KnownExtensions, Signed};
use super::subject::{DistinguishedName, Subject};
use super::{
    Error, KeyAlgorithm, KeyUsages, NameConstraints, OtherName, PrivateKey, SignatureAlgorithm,
    SubjectAltNames, pem, public_key,
};

const WHAT: &str = "certificate request";
const LABEL: &str = "CERTIFICATE REQUEST";

/// What a Certificate asks its signing request to say.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RequestParams {
    pub subject: Subject,
    /// Stands in place of `subject`, if there is one.
    pub literal_subject: Option<DistinguishedName>,
    pub dns_names: Vec<String>,
    pub ip_addresses: Vec<IpAddr>,
    pub email_addresses: Vec<String>,
    pub uris: Vec<String>,
    pub other_names: Vec<OtherName>,
    pub usages: KeyUsages,
    /// Whether the request says `usages` at all.
    pub encode_usages: bool,
    pub is_ca: bool,
    /// Whether the request says `is_ca` at all.
    pub basic_constraints: bool,
    pub name_constraints: NameConstraints,
    /// `None` is the default of the key's type and size.
    pub signature_algorithm: Option<SignatureAlgorithm>,
}

impl RequestParams {
    /// Whether a request can be built of these values, and read again.
    ///
    /// # Errors
    ///
    /// The value that cannot be encoded, or that there are too many.
    pub fn check(&self) -> Result<(), Error> {
        /// The largest public key and signature, and what surrounds them: RSA of 8192 bits.
        const OVERHEAD: usize = 2304;
        let extensions = Any::encode_from(&request_extensions(self)?);
        let extensions = extensions.map_err(Error::malformed(WHAT))?;
        let size = self.subject_der()?.len() + extensions.value().len() + OVERHEAD;
        // Base64, in lines of 64, between two lines of 40.
        let size = size.div_ceil(3) * 4;
        let size = size + size.div_ceil(64) + 80;
        Limit::Certificate.check(WHAT, size)
    }

    fn subject_der(&self) -> Result<Vec<u8>, Error> {
        match &self.literal_subject {
            Some(name) => Ok(name.as_der().to_vec()),
            None => self.subject.to_der(),
        }
    }

    fn has_subject(&self) -> bool {
        match &self.literal_subject {
            Some(name) => !name.is_empty(),
            None => self.subject != Subject::default(),
        }
    }
}

/// RFC 2986 §4.1. Attributes are a SET; a list is read instead, because the order of what others wrote does not matter.
#[derive(Sequence)]
struct RequestBody {
    version: u8,
    subject: Any,
    public_key: Any,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", optional = "true")]
    attributes: Option<Vec<Attribute>>,
}

/// A PEM signing request for the key, signed by it.
pub fn build_request(params: &RequestParams, key: &PrivateKey) -> Result<String, Error> {
    let algorithm = params
        .signature_algorithm
        .unwrap_or_else(|| SignatureAlgorithm::default_for(key.algorithm()));
    let malformed = Error::malformed(WHAT);
    let subject = params.subject_der()?;
    let extensions = request_extensions(params)?;
    let attributes = if extensions.is_empty() {
        Vec::new()
    } else {
        let value = Any::encode_from(&extensions).map_err(&malformed)?;
        vec![Attribute {
            oid: rfc5912::ID_EXTENSION_REQ,
            values: SetOfVec::try_from([value]).map_err(&malformed)?,
        }]
    };
    let body = RequestBody {
        version: 0,
        subject: Any::from_der(&subject).map_err(&malformed)?,
        public_key: Any::from_der(key.public_key_der()).map_err(&malformed)?,
        attributes: Some(attributes),
    };
    let body = body.to_der().map_err(&malformed)?;
    let der = Signed::sign(&body, algorithm, key)?;
    Ok(pem::encode(LABEL, &der).to_string())
}

fn request_extensions(params: &RequestParams) -> Result<Vec<Extension>, Error> {
    let sans = SubjectAltNames {
        dns_names: params.dns_names.clone(),
        ip_addresses: params.ip_addresses.clone(),
        email_addresses: params.email_addresses.clone(),
        uris: params.uris.clone(),
        other_names: params.other_names.clone(),
        others: 0,
    };
    let mut extensions = ExtensionList::default();
    if !sans.is_empty() {
        // RFC 5280 §4.2.1.6: critical if the subject is empty.
        let critical = !params.has_subject();
        extensions.push_raw(rfc5280::ID_CE_SUBJECT_ALT_NAME, critical, sans.to_der()?)?;
    }
    if params.encode_usages {
        extensions.push_usages(&params.usages)?;
    }
    if params.basic_constraints {
        extensions.push_basic_constraints(params.is_ca)?;
    }
    params.name_constraints.push_to(&mut extensions)?;
    Ok(extensions.0)
}

/// A signing request whose signature has been checked. Extensions that are not known are passed over.
#[derive(Clone)]
pub struct CertificateSigningRequest {
    der: Vec<u8>,
    subject: DistinguishedName,
    public_key_der: Vec<u8>,
    key_algorithm: KeyAlgorithm,
    pub(super) extensions: KnownExtensions,
}

impl fmt::Debug for CertificateSigningRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CertificateSigningRequest({})", self.subject)
    }
}

impl CertificateSigningRequest {
    /// Reads the one request in a PEM text and checks its signature.
    pub fn parse_pem(text: &[u8]) -> Result<Self, Error> {
        Limit::Certificate.check(WHAT, text.len())?;
        let block = pem::decode_single(text, WHAT)?;
        // Some tools still say NEW, as PKCS#10 of 1993 did.
        if block.label != LABEL && block.label != "NEW CERTIFICATE REQUEST" {
            return Err(block.unexpected(WHAT));
        }
        Self::parse_der(&block.contents)
    }

    /// Reads a DER request and checks its signature.
    pub fn parse_der(der: &[u8]) -> Result<Self, Error> {
        Limit::Certificate.check(WHAT, der.len())?;
        let malformed = Error::malformed(WHAT);
        let signed = Signed::from_der(der).map_err(&malformed)?;
        let body = signed.body.to_der().map_err(&malformed)?;
        let body = RequestBody::from_der(&body).map_err(&malformed)?;
        let public_key_der = body.public_key.to_der().map_err(&malformed)?;
        let key_algorithm = public_key::key_algorithm(&public_key_der)?;
        if let KeyAlgorithm::Rsa { bits: ..2048 } = key_algorithm {
            return Err(Error::UnsupportedPublicKey);
        }
        signed.verify(WHAT, &public_key_der)?;
        let requested = requested_extensions(&body.attributes.unwrap_or_default())?;
        Ok(Self {
            der: der.to_vec(),
            subject: DistinguishedName::from_any(&body.subject, WHAT)?,
            public_key_der,
            key_algorithm,
            extensions: KnownExtensions::read(&requested, WHAT)?,
        })
    }

    /// The request as it came.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// DER `SubjectPublicKeyInfo`.
    pub fn public_key_der(&self) -> &[u8] {
        &self.public_key_der
    }

    /// Type and size of the key.
    pub fn key_algorithm(&self) -> KeyAlgorithm {
        self.key_algorithm
    }

    /// The subject as it came.
    pub fn subject(&self) -> &DistinguishedName {
        &self.subject
    }

    /// DER of the subject as it came.
    pub fn subject_der(&self) -> &[u8] {
        self.subject.as_der()
    }

    /// The names of the subjectAltName extension; all lists are empty if there is none.
    pub fn sans(&self) -> SubjectAltNames {
        self.extensions.sans()
    }

    /// The usages that it asks for, if it says any.
    pub fn usages(&self) -> Option<KeyUsages> {
        self.extensions.usages()
    }

    /// The name constraints extension as it came: `id-ce-nameConstraints`, whether it is critical, and its value.
    pub fn name_constraints(&self) -> Option<&Extension> {
        self.extensions.name_constraints.as_ref()
    }

    /// Whether it asks to be a CA, if it says so either way.
    pub fn is_ca(&self) -> Option<bool> {
        self.extensions.is_ca
    }
}

fn requested_extensions(attributes: &[Attribute]) -> Result<Vec<Extension>, Error> {
    let mut extensions = Vec::new();
    for attribute in attributes {
        if attribute.oid != rfc5912::ID_EXTENSION_REQ {
            continue;
        }
        for value in attribute.values.iter() {
            let list: Vec<Extension> = value.decode_as().map_err(Error::malformed(WHAT))?;
            extensions.extend(list);
        }
    }
    Ok(extensions)
}
