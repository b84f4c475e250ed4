use std::fmt;

use const_oid::ObjectIdentifier;
use const_oid::db::rfc4519;
use der::{Any, Decode, Encode, Reader as _, SliceReader, Tag, Tagged as _};
use x509_cert::attr::AttributeTypeAndValue;

use super::Error;

const WHAT: &str = "subject";

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
        let rdns = lists.into_iter().filter(|(_, values)| !values.is_empty());
        let rdns = rdns.map(|(oid, values)| rdn(values.iter().map(|value| (oid, value.as_str()))));
        let rdns = rdns.collect::<Result<Vec<_>, _>>()?;
        rdns.to_der().map_err(Error::malformed(WHAT))
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

/// A `RelativeDistinguishedName` as Go's `encoding/asn1` writes it: sorted by encoding, the same value twice stays
/// twice, and each is a `PrintableString` if it can be, else a `UTF8String`.
pub(super) fn rdn<'a>(
    attributes: impl Iterator<Item = (ObjectIdentifier, &'a str)>,
) -> Result<Any, Error> {
    let malformed = Error::malformed(WHAT);
    let mut encoded = Vec::new();
    for (oid, value) in attributes {
        let tag = if value.bytes().all(is_printable) {
            Tag::PrintableString
        } else {
            Tag::Utf8String
        };
        let value = Any::new(tag, value.as_bytes()).map_err(&malformed)?;
        let attribute = AttributeTypeAndValue { oid, value };
        encoded.push(attribute.to_der().map_err(&malformed)?);
    }
    encoded.sort_unstable();
    Any::new(Tag::Set, encoded.concat()).map_err(malformed)
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
        read(&der).map_err(Error::malformed(what))?;
        Ok(Self(der))
    }

    /// Of these `RelativeDistinguishedName`s, which have been encoded.
    pub(super) fn from_rdns(rdns: &Vec<Any>) -> Result<Self, Error> {
        rdns.to_der().map(Self).map_err(Error::malformed(WHAT))
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
        for attribute in self.decoded().iter().flatten() {
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

    fn decoded(&self) -> Vec<Vec<AttributeTypeAndValue>> {
        // The constructor has decoded the same bytes.
        read(&self.0).unwrap_or_default()
    }
}

/// Sets need not be sorted, nor their members differ: what others wrote is taken as it is.
fn read(name: &[u8]) -> der::Result<Vec<Vec<AttributeTypeAndValue>>> {
    let mut rdns = Vec::new();
    for set in Vec::<Any>::from_der(name)? {
        set.tag().assert_eq(Tag::Set)?;
        let mut reader = SliceReader::new(set.value())?;
        let mut attributes = Vec::new();
        while !reader.is_finished() {
            attributes.push(AttributeTypeAndValue::decode(&mut reader)?);
        }
        rdns.push(attributes);
    }
    Ok(rdns)
}

const EMPTY_NAME: [u8; 2] = [0x30, 0x00];

/// RFC 4514, most specific attribute first.
impl fmt::Display for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rdns = self.decoded();
        let texts = rdns.iter().rev().map(|attributes| {
            let texts = attributes.iter().map(ToString::to_string);
            texts.collect::<Vec<_>>().join("+")
        });
        f.write_str(&texts.collect::<Vec<_>>().join(","))
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
