use std::fmt;

use const_oid::ObjectIdentifier;
use const_oid::db::rfc4519;
use der::asn1::SetOfVec;
use der::{Any, Decode, Encode, Tag, Tagged as _};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::name::{Name, RdnSequence, RelativeDistinguishedName};

use super::Error;

/// The parts of a distinguished name that `spec.subject` and `spec.commonName` can say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    pub countries: Vec<String>,
    pub organizations: Vec<String>,
    pub organizational_units: Vec<String>,
    pub localities: Vec<String>,
    pub provinces: Vec<String>,
    pub street_addresses: Vec<String>,
    pub postal_codes: Vec<String>,
    /// Empty means absent.
    pub common_name: String,
    /// The attribute of the name, not the certificate's serial number. Empty means absent.
    pub serial_number: String,
}

impl Subject {
    /// Only a common name.
    pub fn from_common_name(name: impl Into<String>) -> Self {
        Self {
            common_name: name.into(),
            ..Self::default()
        }
    }

    /// DER as Go's `pkix.Name` encodes it, so that an adopted certificate keeps its subject byte for byte: attribute
    /// types in a fixed order, all values of a type in one RDN.
    pub fn to_der(&self) -> Result<Vec<u8>, Error> {
        let common_name = single(&self.common_name);
        let serial_number = single(&self.serial_number);
        let lists: [(ObjectIdentifier, &[String]); 9] = [
            (rfc4519::C, &self.countries),
            (rfc4519::ST, &self.provinces),
            (rfc4519::L, &self.localities),
            (rfc4519::STREET, &self.street_addresses),
            (rfc4519::POSTAL_CODE, &self.postal_codes),
            (rfc4519::O, &self.organizations),
            (rfc4519::OU, &self.organizational_units),
            (rfc4519::CN, common_name),
            (rfc4519::SERIAL_NUMBER, serial_number),
        ];
        let mut sequence = RdnSequence::default();
        for (oid, values) in lists {
            if !values.is_empty() {
                sequence.push(rdn(oid, values)?);
            }
        }
        sequence.to_der().map_err(Error::malformed("subject"))
    }

    fn field(&mut self, oid: ObjectIdentifier) -> Option<Field<'_>> {
        Some(match oid {
            rfc4519::C => Field::List(&mut self.countries),
            rfc4519::O => Field::List(&mut self.organizations),
            rfc4519::OU => Field::List(&mut self.organizational_units),
            rfc4519::L => Field::List(&mut self.localities),
            rfc4519::ST => Field::List(&mut self.provinces),
            rfc4519::STREET => Field::List(&mut self.street_addresses),
            rfc4519::POSTAL_CODE => Field::List(&mut self.postal_codes),
            rfc4519::CN => Field::Single(&mut self.common_name),
            rfc4519::SERIAL_NUMBER => Field::Single(&mut self.serial_number),
            _ => return None,
        })
    }
}

enum Field<'a> {
    List(&'a mut Vec<String>),
    Single(&'a mut String),
}

fn single(value: &String) -> &[String] {
    if value.is_empty() {
        &[]
    } else {
        std::slice::from_ref(value)
    }
}

fn rdn(oid: ObjectIdentifier, values: &[String]) -> Result<RelativeDistinguishedName, Error> {
    let mut set = SetOfVec::new();
    for value in values {
        let tag = if value.bytes().all(is_printable) {
            Tag::PrintableString
        } else {
            Tag::Utf8String
        };
        let value = Any::new(tag, value.as_bytes()).map_err(Error::malformed("subject"))?;
        set.insert(AttributeTypeAndValue { oid, value })
            .map_err(|_| Error::invalid("subject", "the same value twice in one list"))?;
    }
    Ok(RelativeDistinguishedName::from(set))
}

/// X.680 §41.4. As in Go, `*` and `&` are not among them.
fn is_printable(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(&byte)
}

/// A name as it stands in a certificate or request: the bytes count, not what they mean.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct DistinguishedName(Vec<u8>);

impl DistinguishedName {
    pub(super) fn from_any(name: &Any, what: &'static str) -> Result<Self, Error> {
        let der = name.to_der().map_err(Error::malformed(what))?;
        Name::from_der(&der).map_err(Error::malformed(what))?;
        Ok(Self(der))
    }

    /// DER `Name`.
    pub fn as_der(&self) -> &[u8] {
        &self.0
    }

    /// Whether it has no attribute at all.
    pub fn is_empty(&self) -> bool {
        self.0 == EMPTY_NAME
    }

    /// The attributes that [`Subject`] knows; the others are left out. Of several common names the last counts, as in
    /// Go.
    pub fn to_subject(&self) -> Subject {
        let mut subject = Subject::default();
        let name = self.decoded();
        for attribute in name.iter() {
            let Some(value) = text(&attribute.value) else {
                continue;
            };
            match subject.field(attribute.oid) {
                Some(Field::List(list)) => list.push(value),
                Some(Field::Single(field)) => *field = value,
                None => {}
            }
        }
        subject
    }

    /// The common name, if there is one that is text and not empty.
    pub fn common_name(&self) -> Option<String> {
        Some(self.to_subject().common_name).filter(|name| !name.is_empty())
    }

    fn decoded(&self) -> Name {
        // The constructor has decoded the same bytes.
        Name::from_der(&self.0).unwrap_or_default()
    }
}

const EMPTY_NAME: [u8; 2] = [0x30, 0x00];

/// RFC 4514, most specific attribute first.
impl fmt::Display for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.decoded().fmt(f)
    }
}

impl fmt::Debug for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DistinguishedName({self})")
    }
}

fn text(value: &Any) -> Option<String> {
    match value.tag() {
        Tag::PrintableString | Tag::Utf8String | Tag::Ia5String => {
            std::str::from_utf8(value.value()).ok().map(str::to_owned)
        }
        // Latin-1 is how TeletexString is read everywhere (RFC 5280 §4.1.2.4 keeps it for old CAs).
        Tag::TeletexString => Some(value.value().iter().copied().map(char::from).collect()),
        Tag::BmpString => {
            let units = value.value().chunks_exact(2);
            let units = units.map(|pair| {
                pair.iter()
                    .fold(0, |unit, byte| unit << 8 | u16::from(*byte))
            });
            char::decode_utf16(units).collect::<Result<_, _>>().ok()
        }
        _ => None,
    }
}
