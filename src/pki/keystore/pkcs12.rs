//! PKCS#12 (RFC 7292) in the four profiles of the API, laid out as go-pkcs12 lays it out: certificates
//! encrypted, the private key shrouded, both tied together by the leaf's SHA-1 as `localKeyId`.

mod protect;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use der::asn1::{Any, ObjectIdentifier, OctetString, SetOfVec};
use der::{Decode, Encode, Sequence, Tag, ValueOrd};
use x509_cert::AlgorithmIdentifier;

use super::{Identity, Password, contains, encoding_failed, sha1};
use crate::pki::{Error, ParsedCertificate};
use protect::{Cipher, Mac};

const DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
const ENCRYPTED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.6");
const SHROUDED_KEY_BAG: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.10.1.2");
const CERT_BAG: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.10.1.3");
const X509_CERTIFICATE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.22.1");
const FRIENDLY_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.20");
const LOCAL_KEY_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.21");
/// Marks a trust anchor to Java, which otherwise ignores certificates without a key.
const JAVA_TRUSTED: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.113894.746875.1.1");
const ANY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");

/// The values of `spec.keystores.pkcs12.profile`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Profile {
    /// RC2 of 40 bits and triple DES, MAC with SHA-1: what everything reads.
    #[default]
    LegacyRc2,
    /// Triple DES, MAC with SHA-1.
    LegacyDes,
    /// AES-256, MAC with SHA-256.
    Modern2023,
    /// As 2023, with PBMAC1 (RFC 9579).
    Modern2026,
}

impl Profile {
    /// By its name in the API; the empty one is the default.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "" | "LegacyRC2" => Self::LegacyRc2,
            "LegacyDES" => Self::LegacyDes,
            "Modern2023" => Self::Modern2023,
            "Modern2026" => Self::Modern2026,
            _ => return None,
        })
    }

    /// Ciphers of certificates and of the private key, and the MAC.
    fn methods(self) -> (Cipher, Cipher, Mac) {
        match self {
            Self::LegacyRc2 => (Cipher::Rc2Of40, Cipher::TripleDes, Mac::Sha1),
            Self::LegacyDes => (Cipher::TripleDes, Cipher::TripleDes, Mac::Sha1),
            Self::Modern2023 => (Cipher::Aes256, Cipher::Aes256, Mac::Sha256),
            Self::Modern2026 => (Cipher::Aes256, Cipher::Aes256, Mac::Pbmac1),
        }
    }
}

/// RFC 7292 §4.
#[derive(Sequence)]
struct Pfx {
    version: u8,
    safe: ContentInfo,
    mac: MacData,
}

#[derive(Sequence)]
struct ContentInfo {
    kind: ObjectIdentifier,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    content: Any,
}

#[derive(Sequence)]
struct MacData {
    mac: DigestInfo,
    salt: OctetString,
    #[asn1(default = "once")]
    iterations: u32,
}

fn once() -> u32 {
    1
}

#[derive(Sequence)]
struct DigestInfo {
    algorithm: AlgorithmIdentifier,
    digest: OctetString,
}

/// RFC 5652 §8.
#[derive(Sequence)]
struct EncryptedData {
    version: u8,
    content: EncryptedContent,
}

#[derive(Sequence)]
struct EncryptedContent {
    kind: ObjectIdentifier,
    algorithm: AlgorithmIdentifier,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT")]
    data: OctetString,
}

/// RFC 7292 §4.2.
#[derive(Sequence)]
struct SafeBag {
    kind: ObjectIdentifier,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    value: Any,
    #[asn1(optional = "true")]
    attributes: Option<SetOfVec<Attribute>>,
}

#[derive(Clone, PartialEq, Eq, Sequence, ValueOrd)]
struct Attribute {
    kind: ObjectIdentifier,
    values: SetOfVec<Any>,
}

#[derive(Sequence)]
struct CertBag {
    kind: ObjectIdentifier,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    value: OctetString,
}

/// RFC 5958 §3.
#[derive(Sequence)]
struct EncryptedPrivateKeyInfo {
    algorithm: AlgorithmIdentifier,
    data: OctetString,
}

/// A private key with its chain, and the certificates of its CA behind them.
pub fn keystore(
    profile: Profile,
    identity: Identity<'_>,
    authorities: &[ParsedCertificate],
    password: &Password,
) -> Result<Vec<u8>, Error> {
    let (certificates, key, _) = profile.methods();
    let leaf = identity.chain.first().map(ParsedCertificate::der);
    let id = OctetString::new(sha1(&[leaf.unwrap_or_default()])).map_err(encoding_failed)?;
    let id = attribute(
        LOCAL_KEY_ID,
        Any::encode_from(&id).map_err(encoding_failed)?,
    )?;
    let id = SetOfVec::from_iter([id]).map_err(encoding_failed)?;
    let all = identity.chain.iter().chain(authorities).enumerate();
    let bags = all
        .map(|(index, c)| cert_bag(c, (index == 0).then(|| id.clone())))
        .collect::<Result<Vec<_>, _>>()?;
    let (algorithm, data) = key.encrypt(&identity.key.pkcs8_der()?, password)?;
    let key = EncryptedPrivateKeyInfo {
        algorithm,
        data: OctetString::new(data).map_err(encoding_failed)?,
    };
    let key = SafeBag {
        kind: SHROUDED_KEY_BAG,
        value: Any::encode_from(&key).map_err(encoding_failed)?,
        attributes: Some(id),
    };
    let contents = [
        encrypted(certificates, &bags, password)?,
        data_content(&vec![key].to_der().map_err(encoding_failed)?)?,
    ];
    seal(profile, &contents.into(), password)
}

/// Certificates that are trusted. Java knows each by its subject; what has the same subject as one
/// before it is numbered, because Java would keep the last of them only.
pub fn truststore(
    profile: Profile,
    authorities: &[ParsedCertificate],
    password: &Password,
) -> Result<Vec<u8>, Error> {
    let (cipher, ..) = profile.methods();
    let usage = Any::encode_from(&ANY_USAGE).map_err(encoding_failed)?;
    let mut names: Vec<String> = Vec::new();
    let mut bags = Vec::new();
    for certificate in authorities {
        let subject = certificate.subject().to_string();
        let is_taken = |name: &String| {
            names
                .iter()
                .any(|n| n.to_lowercase() == name.to_lowercase())
        };
        let numbered = (2..).map(|n| format!("{subject} ({n})"));
        let mut candidates = std::iter::once(subject.clone()).chain(numbered);
        let name = candidates.find(|name| !is_taken(name)).unwrap_or_default();
        let text: Vec<u8> = name.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let text = Any::new(Tag::BmpString, text).map_err(encoding_failed)?;
        names.push(name);
        let attributes = [
            attribute(JAVA_TRUSTED, usage.clone())?,
            attribute(FRIENDLY_NAME, text)?,
        ];
        let attributes = SetOfVec::from_iter(attributes).map_err(encoding_failed)?;
        bags.push(cert_bag(certificate, Some(attributes))?);
    }
    seal(
        profile,
        &vec![encrypted(cipher, &bags, password)?],
        password,
    )
}

/// Whether this is a store of this profile that opens with this password. One that asks for more work
/// than any writer does, or that is not DER, does not open.
pub fn opens(store: &[u8], profile: Profile, password: &Password) -> bool {
    let Ok(pfx) = Pfx::from_der(store) else {
        return false;
    };
    let Ok(safe) = pfx.safe.content.decode_as::<OctetString>() else {
        return false;
    };
    let (cipher, _, mac) = profile.methods();
    let MacData {
        mac: found,
        salt,
        iterations,
    } = &pfx.mac;
    first_cipher(safe.as_bytes()).is_some_and(|oid| oid == cipher.oid())
        && mac
            .again(
                &found.algorithm,
                salt.as_bytes(),
                *iterations,
                safe.as_bytes(),
                password,
            )
            .is_some_and(|right| verify_slices_are_equal(&right, found.digest.as_bytes()).is_ok())
}

/// Whether the private key of a keystore is tied to this certificate: its `localKeyId` is not encrypted.
pub fn holds(keystore: &[u8], leaf: &ParsedCertificate) -> bool {
    contains(keystore, &sha1(&[leaf.der()]))
}

/// The cipher of the first content that is encrypted.
fn first_cipher(safe: &[u8]) -> Option<ObjectIdentifier> {
    let contents = Vec::<ContentInfo>::from_der(safe).ok()?;
    let found = contents.into_iter().find(|c| c.kind == ENCRYPTED_DATA)?;
    let data: EncryptedData = found.content.decode_as().ok()?;
    Some(data.content.algorithm.oid)
}

fn attribute(kind: ObjectIdentifier, value: Any) -> Result<Attribute, Error> {
    let values = SetOfVec::from_iter([value]).map_err(encoding_failed)?;
    Ok(Attribute { kind, values })
}

fn cert_bag(
    certificate: &ParsedCertificate,
    attributes: Option<SetOfVec<Attribute>>,
) -> Result<SafeBag, Error> {
    let bag = CertBag {
        kind: X509_CERTIFICATE,
        value: OctetString::new(certificate.der()).map_err(encoding_failed)?,
    };
    Ok(SafeBag {
        kind: CERT_BAG,
        value: Any::encode_from(&bag).map_err(encoding_failed)?,
        attributes,
    })
}

fn data_content(bytes: &[u8]) -> Result<ContentInfo, Error> {
    let bytes = OctetString::new(bytes).map_err(encoding_failed)?;
    Ok(ContentInfo {
        kind: DATA,
        content: Any::encode_from(&bytes).map_err(encoding_failed)?,
    })
}

fn encrypted(
    cipher: Cipher,
    bags: &Vec<SafeBag>,
    password: &Password,
) -> Result<ContentInfo, Error> {
    let plain = bags.to_der().map_err(encoding_failed)?;
    let (algorithm, data) = cipher.encrypt(&plain, password)?;
    let data = EncryptedData {
        version: 0,
        content: EncryptedContent {
            kind: DATA,
            algorithm,
            data: OctetString::new(data).map_err(encoding_failed)?,
        },
    };
    Ok(ContentInfo {
        kind: ENCRYPTED_DATA,
        content: Any::encode_from(&data).map_err(encoding_failed)?,
    })
}

fn seal(
    profile: Profile,
    contents: &Vec<ContentInfo>,
    password: &Password,
) -> Result<Vec<u8>, Error> {
    let safe = contents.to_der().map_err(encoding_failed)?;
    let (_, _, mac) = profile.methods();
    let made = mac.make(&safe, password)?;
    let pfx = Pfx {
        version: 3,
        safe: data_content(&safe)?,
        mac: MacData {
            mac: DigestInfo {
                algorithm: made.algorithm,
                digest: OctetString::new(made.digest).map_err(encoding_failed)?,
            },
            salt: OctetString::new(made.salt).map_err(encoding_failed)?,
            iterations: made.iterations,
        },
    };
    pfx.to_der().map_err(encoding_failed)
}
