use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280;
use der::flagset::FlagSet;
use x509_cert::ext::pkix::KeyUsages as Bits;

use super::Error;

enum Kind {
    Bit(Bits),
    Extended(ObjectIdentifier),
}

/// Microsoft server gated crypto.
const MICROSOFT_SGC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.10.3.3");
/// Netscape server gated crypto.
const NETSCAPE_SGC: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.113730.4.1");
/// RFC 2459 §4.2.1.13 names the three `IPsec` purposes that RFC 5280 dropped.
const IPSEC_END_SYSTEM: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.5");
const IPSEC_TUNNEL: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.6");
const IPSEC_USER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.7");

/// The values of `spec.usages`. Where two mean the same, the second is the one that is printed.
static TABLE: [(&str, Kind); 23] = [
    ("signing", Kind::Bit(Bits::DigitalSignature)),
    ("digital signature", Kind::Bit(Bits::DigitalSignature)),
    ("content commitment", Kind::Bit(Bits::NonRepudiation)),
    ("key encipherment", Kind::Bit(Bits::KeyEncipherment)),
    ("key agreement", Kind::Bit(Bits::KeyAgreement)),
    ("data encipherment", Kind::Bit(Bits::DataEncipherment)),
    ("cert sign", Kind::Bit(Bits::KeyCertSign)),
    ("crl sign", Kind::Bit(Bits::CRLSign)),
    ("encipher only", Kind::Bit(Bits::EncipherOnly)),
    ("decipher only", Kind::Bit(Bits::DecipherOnly)),
    ("any", Kind::Extended(rfc5280::ANY_EXTENDED_KEY_USAGE)),
    ("server auth", Kind::Extended(rfc5280::ID_KP_SERVER_AUTH)),
    ("client auth", Kind::Extended(rfc5280::ID_KP_CLIENT_AUTH)),
    ("code signing", Kind::Extended(rfc5280::ID_KP_CODE_SIGNING)),
    ("s/mime", Kind::Extended(rfc5280::ID_KP_EMAIL_PROTECTION)),
    (
        "email protection",
        Kind::Extended(rfc5280::ID_KP_EMAIL_PROTECTION),
    ),
    ("ipsec end system", Kind::Extended(IPSEC_END_SYSTEM)),
    ("ipsec tunnel", Kind::Extended(IPSEC_TUNNEL)),
    ("ipsec user", Kind::Extended(IPSEC_USER)),
    ("timestamping", Kind::Extended(rfc5280::ID_KP_TIME_STAMPING)),
    ("ocsp signing", Kind::Extended(rfc5280::ID_KP_OCSP_SIGNING)),
    ("microsoft sgc", Kind::Extended(MICROSOFT_SGC)),
    ("netscape sgc", Kind::Extended(NETSCAPE_SGC)),
];

/// Every value that `spec.usages` may hold, aliases included, in the order of the CRD.
pub fn usage_names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|(name, _)| *name)
}

/// What a key may be used for: the bits of `KeyUsage` and the OIDs of `ExtendedKeyUsage` (RFC 5280 §4.2.1.3, §4.2.1.12).
#[derive(Debug, Clone, Default)]
pub struct KeyUsages {
    pub(super) bits: FlagSet<Bits>,
    pub(super) extended: Vec<ObjectIdentifier>,
}

impl KeyUsages {
    /// From `spec.usages`; empty means digital signature and key encipherment. A CA also gets cert sign.
    pub fn from_names<S: AsRef<str>>(names: &[S], is_ca: bool) -> Result<Self, Error> {
        let mut usages = Self::default();
        for name in names {
            usages.add(name.as_ref())?;
        }
        if names.is_empty() {
            usages.bits |= Bits::DigitalSignature | Bits::KeyEncipherment;
        }
        if is_ca {
            usages.bits |= Bits::KeyCertSign;
        }
        Ok(usages)
    }

    fn add(&mut self, name: &str) -> Result<(), Error> {
        let kind = TABLE.iter().find(|(known, _)| *known == name);
        match kind {
            Some((_, Kind::Bit(bit))) => self.bits |= *bit,
            Some((_, Kind::Extended(oid))) if self.extended.contains(oid) => {}
            Some((_, Kind::Extended(oid))) => self.extended.push(*oid),
            None => {
                let name: String = name.chars().take(40).collect();
                return Err(Error::invalid("usages", format!("unknown usage {name:?}")));
            }
        }
        Ok(())
    }

    /// Names in the order of the CRD, each meaning once; an extended usage without a name is its OID.
    pub fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for (name, kind) in &TABLE {
            let (present, alias) = match kind {
                Kind::Bit(bit) => (self.bits.contains(*bit), *name == "signing"),
                Kind::Extended(oid) => (self.extended.contains(oid), *name == "s/mime"),
            };
            if present && !alias {
                names.push((*name).to_owned());
            }
        }
        let named = |oid: &ObjectIdentifier| {
            TABLE
                .iter()
                .any(|(_, kind)| matches!(kind, Kind::Extended(known) if known == oid))
        };
        names.extend(
            self.extended
                .iter()
                .filter(|oid| !named(oid))
                .map(ToString::to_string),
        );
        names
    }

    /// Whether neither a bit nor an extended usage is set.
    pub fn is_empty(&self) -> bool {
        self.bits.is_empty() && self.extended.is_empty()
    }

    /// Same extended usages, in whatever order.
    pub(super) fn same_extended(&self, other: &Self) -> bool {
        sorted(&self.extended) == sorted(&other.extended)
    }
}

/// The extended usages of a certificate that have a name in `spec.usages`, in four bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purposes(u32);

impl Purposes {
    /// Who says none, or any, may be used for all (RFC 5280 §4.2.1.12).
    pub(super) fn of(usages: &KeyUsages) -> Self {
        let extended = &usages.extended;
        if extended.is_empty() || extended.contains(&rfc5280::ANY_EXTENDED_KEY_USAGE) {
            return Self(u32::MAX);
        }
        let is_said = |kind: &Kind| matches!(kind, Kind::Extended(oid) if extended.contains(oid));
        let said = TABLE.iter().zip(0..).filter(|((_, kind), _)| is_said(kind));
        Self(said.fold(0, |all, (_, bit)| all | (1_u32 << bit)))
    }

    /// The names of those that were asked for and are not here, each meaning once.
    pub fn lacks(self, asked: &KeyUsages) -> Vec<&'static str> {
        let is_asked =
            |kind: &Kind| matches!(kind, Kind::Extended(oid) if asked.extended.contains(oid));
        let lacking = TABLE.iter().zip(0..).filter(|((name, kind), bit)| {
            is_asked(kind) && *name != "s/mime" && self.0 & (1_u32 << bit) == 0
        });
        lacking.map(|((name, _), _)| *name).collect()
    }
}

/// The order of extended usages has no meaning.
impl PartialEq for KeyUsages {
    fn eq(&self, other: &Self) -> bool {
        self.bits == other.bits && self.same_extended(other)
    }
}

impl Eq for KeyUsages {}

fn sorted(oids: &[ObjectIdentifier]) -> Vec<ObjectIdentifier> {
    let mut oids = oids.to_vec();
    oids.sort_unstable();
    oids.dedup();
    oids
}
