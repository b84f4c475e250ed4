//! What certificates and signing requests have in common: a signed body and extensions.

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280;
use der::asn1::{BitString, OctetString};
use der::flagset::FlagSet;
use der::{Any, Decode, Encode, Sequence};
use x509_cert::AlgorithmIdentifier;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, CrlDistributionPoints, KeyUsages as Bits,
};

use super::{Error, KeyUsages, PrivateKey, SignatureAlgorithm, SubjectAltNames, public_key};

/// `SIGNED` of X.509 (RFC 5280 §4.1.1, RFC 2986 §4.2). The body stays raw: DER has one encoding of a value only, so
/// that encoding it again gives the signed bytes.
#[derive(Sequence)]
pub(super) struct Signed {
    pub(super) body: Any,
    algorithm: AlgorithmIdentifier,
    signature: BitString,
}

impl Signed {
    /// Signs an encoded body and gives the DER of the whole.
    pub(super) fn sign(
        body: &[u8],
        algorithm: SignatureAlgorithm,
        key: &PrivateKey,
    ) -> Result<Vec<u8>, Error> {
        let what = "signed structure";
        let signature = key.sign(algorithm, body)?;
        let signed = Self {
            body: Any::from_der(body).map_err(Error::malformed(what))?,
            algorithm: algorithm.identifier(),
            signature: BitString::from_bytes(&signature).map_err(Error::malformed(what))?,
        };
        signed.to_der().map_err(Error::malformed(what))
    }

    /// Checks the signature with a DER `SubjectPublicKeyInfo`.
    pub(super) fn verify(&self, what: &'static str, spki: &[u8]) -> Result<(), Error> {
        let body = self.body.to_der().map_err(Error::malformed(what))?;
        let signature = self.signature.as_bytes().ok_or(Error::BadSignature(what))?;
        public_key::verify(what, &self.algorithm, spki, &body, signature)
    }
}

/// The extensions that this program reads; all others are passed over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct KnownExtensions {
    /// The raw extension value, and what it says.
    pub(super) san: Option<(OctetString, SubjectAltNames)>,
    pub(super) key_usage: Option<FlagSet<Bits>>,
    pub(super) extended_key_usage: Option<Vec<ObjectIdentifier>>,
    pub(super) is_ca: Option<bool>,
    pub(super) subject_key_id: Option<Vec<u8>>,
    pub(super) authority_key_id: Option<Vec<u8>>,
    pub(super) name_constraints: Option<Extension>,
    /// URIs of the distribution points.
    pub(super) lists: Vec<String>,
}

impl KnownExtensions {
    pub(super) fn read(extensions: &[Extension], what: &'static str) -> Result<Self, Error> {
        let mut known = Self::default();
        for (index, extension) in extensions.iter().enumerate() {
            // RFC 5280 §4.2: no more than one instance of a particular extension.
            let repeated = |other: &Extension| other.extn_id == extension.extn_id;
            if extensions.iter().take(index).any(repeated) {
                return Err(Error::Malformed {
                    what,
                    detail: format!("extension {} twice", extension.extn_id),
                });
            }
            known.add(extension, what)?;
        }
        Ok(known)
    }

    fn add(&mut self, extension: &Extension, what: &'static str) -> Result<(), Error> {
        let value = extension.extn_value.as_bytes();
        match extension.extn_id {
            rfc5280::ID_CE_SUBJECT_ALT_NAME => {
                let sans = SubjectAltNames::from_der(value)?;
                self.san = Some((extension.extn_value.clone(), sans));
            }
            rfc5280::ID_CE_KEY_USAGE => self.key_usage = Some(decode(value, what)?),
            rfc5280::ID_CE_EXT_KEY_USAGE => self.extended_key_usage = Some(decode(value, what)?),
            rfc5280::ID_CE_BASIC_CONSTRAINTS => {
                let constraints: BasicConstraints = decode(value, what)?;
                self.is_ca = Some(constraints.ca);
            }
            rfc5280::ID_CE_SUBJECT_KEY_IDENTIFIER => {
                let id: OctetString = decode(value, what)?;
                self.subject_key_id = Some(id.into());
            }
            rfc5280::ID_CE_AUTHORITY_KEY_IDENTIFIER => {
                // It is a hint: a certificate is not refused for it.
                let id: Option<AuthorityKeyIdentifier> = decode(value, what).ok();
                self.authority_key_id = id.and_then(|id| id.key_identifier).map(Into::into);
            }
            rfc5280::ID_CE_CRL_DISTRIBUTION_POINTS => {
                // A hint as well.
                let points: Option<CrlDistributionPoints> = decode(value, what).ok();
                self.lists = points.map(uris).unwrap_or_default();
            }
            rfc5280::ID_CE_NAME_CONSTRAINTS => self.name_constraints = Some(extension.clone()),
            _ => {}
        }
        Ok(())
    }

    pub(super) fn sans(&self) -> SubjectAltNames {
        self.san
            .as_ref()
            .map_or_else(SubjectAltNames::default, |(_, sans)| sans.clone())
    }

    /// The usages, if either extension is there.
    pub(super) fn usages(&self) -> Option<KeyUsages> {
        if self.key_usage.is_none() && self.extended_key_usage.is_none() {
            return None;
        }
        Some(KeyUsages {
            bits: self.key_usage.unwrap_or_default(),
            extended: self.extended_key_usage.clone().unwrap_or_default(),
        })
    }
}

fn uris(points: CrlDistributionPoints) -> Vec<String> {
    let names = points
        .0
        .into_iter()
        .filter_map(|point| match point.distribution_point? {
            DistributionPointName::FullName(names) => Some(names),
            DistributionPointName::NameRelativeToCRLIssuer(_) => None,
        });
    let uris = names.flatten().filter_map(|name| match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.to_string()),
        _ => None,
    });
    uris.collect()
}

fn decode<T>(value: &[u8], what: &'static str) -> Result<T, Error>
where
    T: for<'a> Decode<'a, Error = der::Error>,
{
    T::from_der(value).map_err(Error::malformed(what))
}

/// Collects the extensions of a request or certificate.
#[derive(Default)]
pub(super) struct ExtensionList(pub(super) Vec<Extension>);

impl ExtensionList {
    pub(super) fn push(
        &mut self,
        id: ObjectIdentifier,
        critical: bool,
        value: &impl Encode,
    ) -> Result<(), Error> {
        let value = value.to_der().map_err(Error::malformed("extension"))?;
        self.push_raw(id, critical, value)
    }

    pub(super) fn push_raw(
        &mut self,
        id: ObjectIdentifier,
        critical: bool,
        value: impl Into<Box<[u8]>>,
    ) -> Result<(), Error> {
        self.0.push(Extension {
            extn_id: id,
            critical,
            extn_value: OctetString::new(value).map_err(Error::malformed("extension"))?,
        });
        Ok(())
    }

    /// `KeyUsage`, critical, and `ExtendedKeyUsage`, each if there is something to say.
    pub(super) fn push_usages(&mut self, usages: &KeyUsages) -> Result<(), Error> {
        if !usages.bits.is_empty() {
            self.push(rfc5280::ID_CE_KEY_USAGE, true, &usages.bits)?;
        }
        if !usages.extended.is_empty() {
            self.push(rfc5280::ID_CE_EXT_KEY_USAGE, false, &usages.extended)?;
        }
        Ok(())
    }

    /// Critical, without a path length.
    pub(super) fn push_basic_constraints(&mut self, is_ca: bool) -> Result<(), Error> {
        let value = BasicConstraints {
            ca: is_ca,
            path_len_constraint: None,
        };
        self.push(rfc5280::ID_CE_BASIC_CONSTRAINTS, true, &value)
    }
}
