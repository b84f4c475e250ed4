//! What is kept of the entries that repeat key and certificate in other forms (contract §4.6).

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use serde_json::Value;

use super::applied;
use crate::controllers::digest::digest;
use crate::pki::{first_block, line_of, parse_bundle};

/// An entry of the target Secret that is made of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Output {
    /// The private key in DER.
    Der,
    /// Private key and chain in one.
    CombinedPem,
    /// Java's keystore.
    Jks,
    /// Java's keystore of the CA.
    JksTrust,
    /// PKCS#12 keystore.
    Pkcs12,
    /// PKCS#12 keystore of the CA.
    Pkcs12Trust,
}

impl Output {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Der,
        Self::CombinedPem,
        Self::Jks,
        Self::JksTrust,
        Self::Pkcs12,
        Self::Pkcs12Trust,
    ];

    /// Its key in the Secret.
    pub fn entry(self) -> &'static str {
        match self {
            Self::Der => "key.der",
            Self::CombinedPem => "tls-combined.pem",
            Self::Jks => "keystore.jks",
            Self::JksTrust => "truststore.jks",
            Self::Pkcs12 => "keystore.p12",
            Self::Pkcs12Trust => "truststore.p12",
        }
    }

    /// Whether it is protected by a password.
    pub fn is_store(self) -> bool {
        !matches!(self, Self::Der | Self::CombinedPem)
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// What is known of the outputs of a Secret: a few bits, because there are many Secrets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutputsFact {
    good: u8,
    applied: u8,
    /// Digest of `ca.crt`; see [`ca_digest`].
    pub ca: u32,
    /// Digest of whom `ca.crt` has clients trust; see [`trust_digest`].
    pub trust: u32,
    /// Digest of the stores; see [`stores_digest`].
    pub stores: u64,
}

impl OutputsFact {
    pub(super) fn of(object: &Secret) -> Self {
        let empty = BTreeMap::new();
        let data = object.data.as_ref().unwrap_or(&empty);
        let entry = |name: &str| data.get(name).map_or(&[][..], |bytes| bytes.0.as_slice());
        let is_good = |output: Output| {
            let found = entry(output.entry());
            !found.is_empty()
                && match output {
                    Output::Der => first_block(entry("tls.key")).is_ok_and(|der| *der == found),
                    Output::CombinedPem => is_joined(found, entry("tls.key"), entry("tls.crt")),
                    _ => true,
                }
        };
        let managed = applied::ours(&object.metadata);
        let managed = managed.and_then(|fields| fields.get("f:data"));
        let is_applied = |output: Output| {
            let field = format!("f:{}", output.entry());
            managed
                .and_then(Value::as_object)
                .is_some_and(|f| f.contains_key(&field))
        };
        let bits = |holds: &dyn Fn(Output) -> bool| {
            let held = Output::ALL.into_iter().filter(|o| holds(*o));
            held.fold(0, |bits, output| bits | output.bit())
        };
        Self {
            good: bits(&is_good),
            applied: bits(&is_applied),
            ca: ca_digest(entry("ca.crt")),
            trust: trust_digest(entry("ca.crt")),
            stores: stores_digest(data),
        }
    }

    /// It has data; of what needs no password also: it says what key and certificate say.
    pub fn is_good(self, output: Output) -> bool {
        self.good & output.bit() != 0
    }

    /// Whether `ca.crt` has any data.
    pub fn has_ca(self) -> bool {
        self.ca != 0
    }

    /// This operator wrote it.
    pub fn is_applied(self, output: Output) -> bool {
        self.applied & output.bit() != 0
    }
}

/// Digest of `ca.crt`, in few bits, because there are many Secrets; zero when it is empty.
pub fn ca_digest(pem: &[u8]) -> u32 {
    if pem.is_empty() {
        return 0;
    }
    half(digest(&pem))
}

/// Digest of the names and keys of the CAs in a bundle: unlike [`ca_digest`], the same when one of them is renewed with its key.
/// Zero when there are none.
pub fn trust_digest(bundle: &[u8]) -> u32 {
    let found = parse_bundle(bundle).unwrap_or_default();
    let authorities: BTreeSet<String> = found.iter().map(|one| line_of(&[one])).collect();
    if authorities.is_empty() {
        return 0;
    }
    half(digest(&authorities))
}

/// The lower half.
fn half(digest: u64) -> u32 {
    u32::try_from(digest & u64::from(u32::MAX)).unwrap_or_default()
}

/// Digest of the keystores of a Secret and of the certificate that they should hold, which tells whether
/// any was written since; zero when there are none.
pub fn stores_digest(data: &BTreeMap<String, ByteString>) -> u64 {
    let stores = Output::ALL.into_iter().filter(|o| o.is_store());
    let stores = stores.map(|o| data.get(o.entry()).map(|bytes| &bytes.0));
    let stores: Vec<_> = stores.collect();
    if stores.iter().all(Option::is_none) {
        return 0;
    }
    let made_of = ["tls.crt", "ca.crt"].map(|name| data.get(name).map(|bytes| &bytes.0));
    digest(&(stores, made_of))
}

/// `tls-combined.pem`: key, newline, chain.
fn is_joined(found: &[u8], key: &[u8], chain: &[u8]) -> bool {
    let rest = found.strip_prefix(key).and_then(|r| r.strip_prefix(b"\n"));
    rest == Some(chain)
}
