use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use const_oid::ObjectIdentifier;
use der::asn1::{Ia5String, OctetString};
use der::{Any, Decode, Encode, Tag, TagNumber, Tagged as _};
use x509_cert::ext::pkix::name::{GeneralName, OtherName as OtherNameDer};

use super::Error;

const WHAT: &str = "subjectAltName";

/// An `otherName` whose value is a `UTF8String`, as `spec.otherNames` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherName {
    /// Dotted.
    pub oid: String,
    pub utf8_value: String,
}

/// The names of a subjectAltName extension by type (RFC 5280 §4.2.1.6), each list in the order of the encoding.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubjectAltNames {
    pub dns_names: Vec<String>,
    pub ip_addresses: Vec<IpAddr>,
    pub email_addresses: Vec<String>,
    pub uris: Vec<String>,
    pub other_names: Vec<OtherName>,
    /// How many names are of a type that none of the lists can hold.
    pub others: usize,
}

impl SubjectAltNames {
    /// Whether there is no name of any type.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// `GeneralNames`, types in the order in which Go, and so cert-manager, writes them.
    pub(super) fn to_der(&self) -> Result<Vec<u8>, Error> {
        let mut names: Vec<GeneralName> = Vec::new();
        for name in &self.dns_names {
            names.push(GeneralName::DnsName(ia5("dnsNames", name)?));
        }
        for name in &self.email_addresses {
            names.push(GeneralName::Rfc822Name(ia5("emailAddresses", name)?));
        }
        for address in &self.ip_addresses {
            // Four bytes also for an IPv4 address in IPv6 notation, as Go has it.
            let bytes = match address.to_canonical() {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            };
            let bytes = OctetString::new(bytes).map_err(Error::malformed(WHAT))?;
            names.push(GeneralName::IpAddress(bytes));
        }
        for name in &self.uris {
            names.push(GeneralName::UniformResourceIdentifier(ia5("uris", name)?));
        }
        for name in &self.other_names {
            names.push(GeneralName::OtherName(other_name(name)?));
        }
        names.to_der().map_err(Error::malformed(WHAT))
    }

    /// Reads `GeneralNames`. Types that are not known are counted, broken values of known types are an error.
    pub(super) fn from_der(der: &[u8]) -> Result<Self, Error> {
        let mut sans = Self::default();
        for name in Vec::<Any>::from_der(der).map_err(Error::malformed(WHAT))? {
            sans.add(&name)?;
        }
        Ok(sans)
    }

    fn add(&mut self, name: &Any) -> Result<(), Error> {
        let Tag::ContextSpecific { number, .. } = name.tag() else {
            return Err(broken("a name without a type"));
        };
        match number {
            TagNumber(0) => match read_other_name(name) {
                Some(name) => self.other_names.push(name),
                None => self.others += 1,
            },
            TagNumber(1) => self.email_addresses.push(text(name)?),
            TagNumber(2) => self.dns_names.push(text(name)?),
            TagNumber(6) => self.uris.push(text(name)?),
            TagNumber(7) => self.ip_addresses.push(address(name.value())?),
            _ => self.others += 1,
        }
        Ok(())
    }
}

fn broken(detail: &str) -> Error {
    Error::Malformed {
        what: WHAT,
        detail: detail.to_owned(),
    }
}

pub(super) fn ia5(field: &'static str, value: &str) -> Result<Ia5String, Error> {
    Ia5String::new(value).map_err(|_| {
        let start: String = value.chars().take(64).collect();
        Error::invalid(field, format!("{start:?} is not ASCII"))
    })
}

fn other_name(name: &OtherName) -> Result<OtherNameDer, Error> {
    let type_id = ObjectIdentifier::new(&name.oid)
        .map_err(|_| Error::invalid("otherNames", "the oid is not a dotted object identifier"))?;
    let value = Any::new(Tag::Utf8String, name.utf8_value.as_bytes())
        .map_err(Error::malformed("otherNames"))?;
    Ok(OtherNameDer { type_id, value })
}

fn read_other_name(name: &Any) -> Option<OtherName> {
    let der = name.to_der().ok()?;
    let Ok(GeneralName::OtherName(name)) = GeneralName::from_der(&der) else {
        return None;
    };
    if name.value.tag() != Tag::Utf8String {
        return None;
    }
    Some(OtherName {
        oid: name.type_id.to_string(),
        utf8_value: String::from_utf8(name.value.value().to_vec()).ok()?,
    })
}

fn text(name: &Any) -> Result<String, Error> {
    match std::str::from_utf8(name.value()) {
        Ok(text) if text.is_ascii() => Ok(text.to_owned()),
        _ => Err(broken("a name that is not ASCII")),
    }
}

fn address(bytes: &[u8]) -> Result<IpAddr, Error> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        Ok(Ipv4Addr::from(octets).into())
    } else if let Ok(octets) = <[u8; 16]>::try_from(bytes) {
        Ok(Ipv6Addr::from(octets).into())
    } else {
        Err(broken("an IP address of neither 4 nor 16 bytes"))
    }
}
