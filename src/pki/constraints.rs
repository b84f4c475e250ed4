use std::net::IpAddr;
use std::str::FromStr;

use const_oid::db::rfc5280;
use der::asn1::OctetString;
use x509_cert::ext::pkix::NameConstraints as Der;
use x509_cert::ext::pkix::constraints::name::{GeneralSubtree, GeneralSubtrees};
use x509_cert::ext::pkix::name::GeneralName;

use super::Error;
use super::san::ia5;
use super::signed::ExtensionList;

/// `spec.nameConstraints`: the names that a CA may give, and those that it may not (RFC 5280 §4.2.1.10).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NameConstraints {
    /// Whether a client that does not know the extension must refuse the certificate.
    pub critical: bool,
    pub permitted: Subtrees,
    pub excluded: Subtrees,
}

/// Subtrees of names by type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subtrees {
    pub dns_domains: Vec<String>,
    pub ip_ranges: Vec<IpRange>,
    pub email_addresses: Vec<String>,
    pub uri_domains: Vec<String>,
}

/// All addresses that share the first bits of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpRange {
    address: IpAddr,
    /// At most as many as the address has.
    bits: u8,
}

/// CIDR notation, as Go reads it: bits after the prefix may be set, and do not count.
impl FromStr for IpRange {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let range = text.split_once('/').and_then(|(address, bits)| {
            let address: IpAddr = address.parse().ok()?;
            let is_number = !bits.is_empty() && bits.bytes().all(|b| b.is_ascii_digit());
            let bits: u8 = bits.parse().ok().filter(|_| is_number)?;
            let width = if address.is_ipv4() { 32 } else { 128 };
            (bits <= width).then_some(Self { address, bits })
        });
        range.ok_or_else(|| {
            let start: String = text.chars().take(64).collect();
            Error::invalid(
                "nameConstraints",
                format!("\"{start}\" is no IP range; write it like 10.0.0.0/8"),
            )
        })
    }
}

impl IpRange {
    /// The address without the bits after the prefix, then the mask.
    fn to_bytes(self) -> Vec<u8> {
        let address = match self.address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let bits = usize::from(self.bits);
        let mask = (0..address.len()).map(|index| {
            let set = bits.saturating_sub(index * 8).min(8);
            u8::try_from(0xff00_u16 >> set & 0xff).unwrap_or_default()
        });
        let mask: Vec<u8> = mask.collect();
        let masked = address.iter().zip(&mask).map(|(byte, mask)| byte & mask);
        masked.chain(mask.iter().copied()).collect()
    }
}

impl NameConstraints {
    /// Whether it says nothing about any name.
    pub fn is_empty(&self) -> bool {
        self.permitted == Subtrees::default() && self.excluded == Subtrees::default()
    }

    /// Adds the extension, if there is something to say: an empty one is not allowed.
    pub(super) fn push_to(&self, extensions: &mut ExtensionList) -> Result<(), Error> {
        if self.is_empty() {
            return Ok(());
        }
        let value = Der {
            permitted_subtrees: self.permitted.to_der()?,
            excluded_subtrees: self.excluded.to_der()?,
        };
        extensions.push(rfc5280::ID_CE_NAME_CONSTRAINTS, self.critical, &value)
    }
}

impl Subtrees {
    /// Types in the order in which cert-manager writes them.
    fn to_der(&self) -> Result<Option<GeneralSubtrees>, Error> {
        let text = |name: &String| ia5("nameConstraints", name);
        let mut names = Vec::new();
        for name in &self.dns_domains {
            names.push(GeneralName::DnsName(text(name)?));
        }
        for range in &self.ip_ranges {
            let bytes = OctetString::new(range.to_bytes());
            let bytes = bytes.map_err(Error::malformed("nameConstraints"))?;
            names.push(GeneralName::IpAddress(bytes));
        }
        for name in &self.email_addresses {
            names.push(GeneralName::Rfc822Name(text(name)?));
        }
        for name in &self.uri_domains {
            names.push(GeneralName::UniformResourceIdentifier(text(name)?));
        }
        let subtree = |base| GeneralSubtree {
            base,
            minimum: 0,
            maximum: None,
        };
        let subtrees: GeneralSubtrees = names.into_iter().map(subtree).collect();
        Ok((!subtrees.is_empty()).then_some(subtrees))
    }
}
