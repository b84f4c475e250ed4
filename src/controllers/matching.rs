//! Whether a CertificateRequest, or a certificate, is what a Certificate's spec asks for
//! (contract §4.2, step 8). Lists are compared as sets, kind and group of the issuer with their
//! defaults applied.

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::SignedDuration;

use super::digest::{digest, public_digest};
use crate::api::duration::parse_go_duration;
use crate::api::meta::IssuerReference;
use crate::api::{CertificateRequestSpec, CertificateSpec, OrderSpec};
use crate::pki::{
    CertificateSigningRequest, DistinguishedName, KeyUsages, ParsedCertificate, Subject,
};

/// Digests of the compared fields, and the few that need more than equality.
#[derive(Debug, Clone, PartialEq)]
pub struct Compared {
    names: [u64; NAMES.len()],
    other_names: u64,
    subject: [u64; SUBJECT.len()],
    /// Digest of the subject's DER.
    literal_subject: u64,
    rest: [u64; REST.len()],
    duration: Option<SignedDuration>,
    /// Digest of the public key in the CSR.
    pub public: u64,
}

const NAMES: [&str; 4] = [
    "spec.ipAddresses",
    "spec.uris",
    "spec.emailAddresses",
    "spec.dnsNames",
];

/// As cert-manager spells them, `postCodes` too.
const SUBJECT: [&str; 9] = [
    "spec.commonName",
    "spec.subject.serialNumber",
    "spec.subject.organizations",
    "spec.subject.countries",
    "spec.subject.localities",
    "spec.subject.organizationalUnits",
    "spec.subject.postCodes",
    "spec.subject.provinces",
    "spec.subject.streetAddresses",
];

const REST: [&str; 2] = ["spec.isCA", "spec.usages"];

fn set<T: AsRef<str>>(items: &[T]) -> u64 {
    digest(
        &items
            .iter()
            .map(|i| i.as_ref().to_owned())
            .collect::<BTreeSet<_>>(),
    )
}

fn addresses(items: impl Iterator<Item = String>) -> u64 {
    digest(&items.collect::<BTreeSet<_>>())
}

/// An address in its only form: IPv4 in IPv6 (RFC 4291 §2.5.5.2) is IPv4.
fn canonical(text: &str) -> String {
    let address = text.parse().map(|a: IpAddr| a.to_canonical().to_string());
    address.unwrap_or_else(|_| text.to_owned())
}

fn canonical_ip(address: &IpAddr) -> String {
    address.to_canonical().to_string()
}

fn list(field: Option<&Vec<String>>) -> &[String] {
    field.map(Vec::as_slice).unwrap_or_default()
}

fn other_names<'a>(names: impl Iterator<Item = (&'a str, &'a str)>) -> u64 {
    digest(&names.collect::<BTreeSet<_>>())
}

/// The parts of a subject, in the order of [`SUBJECT`]; lists are sets.
fn subject_parts(subject: &Subject) -> [u64; SUBJECT.len()] {
    [
        digest(&subject.common_name),
        digest(&subject.serial_number),
        set(&subject.organizations),
        set(&subject.countries),
        set(&subject.localities),
        set(&subject.organizational_units),
        set(&subject.postal_codes),
        set(&subject.provinces),
        set(&subject.street_addresses),
    ]
}

fn duration(text: Option<&String>) -> Option<SignedDuration> {
    text.and_then(|t| parse_go_duration(t).ok())
}

/// The names of usages, as a set without aliases.
fn usages(names: Option<&Vec<String>>) -> u64 {
    KeyUsages::from_names(list(names), false).map_or_else(|_| set(list(names)), |u| set(&u.names()))
}

/// What a request asks for. An error says why its CSR cannot be read.
pub fn request_fields(spec: &CertificateRequestSpec) -> Result<Compared, String> {
    let csr = CertificateSigningRequest::parse_pem(&spec.request.0).map_err(|e| e.to_string())?;
    let sans = csr.sans();
    Ok(Compared {
        names: [
            addresses(sans.ip_addresses.iter().map(canonical_ip)),
            set(&sans.uris),
            set(&sans.email_addresses),
            set(&sans.dns_names),
        ],
        subject: subject_parts(&csr.subject().to_subject()),
        literal_subject: digest(&csr.subject_der()),
        rest: [
            digest(&spec.is_ca.unwrap_or_default()),
            usages(spec.usages.as_ref()),
        ],
        other_names: other_names(
            sans.other_names
                .iter()
                .map(|o| (o.oid.as_str(), o.utf8_value.as_str())),
        ),
        duration: duration(spec.duration.as_ref()),
        public: public_digest(csr.public_key_der()),
    })
}

/// The fields of `spec` that differ from a request and its issuer, in the order in which cert-manager names them;
/// empty when it is what was asked for.
pub fn differences(
    spec: &CertificateSpec,
    subject: &WantedSubject,
    request: &Compared,
    issuer: &IssuerReference,
) -> Vec<&'static str> {
    fn unequal<const N: usize>(
        wanted: [u64; N],
        asked: [u64; N],
        names: [&'static str; N],
    ) -> impl Iterator<Item = &'static str> {
        let pairs = wanted.into_iter().zip(asked).zip(names);
        pairs.filter(|((a, b), _)| a != b).map(|(_, name)| name)
    }
    let names = [
        addresses(
            list(spec.ip_addresses.as_ref())
                .iter()
                .map(|text| canonical(text)),
        ),
        set(list(spec.uris.as_ref())),
        set(list(spec.email_addresses.as_ref())),
        set(list(spec.dns_names.as_ref())),
    ];
    let mut fields: Vec<_> = unequal(names, request.names, NAMES).collect();
    if other_names_differ(spec, request) {
        fields.push("spec.otherNames");
    }
    match subject {
        WantedSubject::Parts(subject) => {
            fields.extend(unequal(subject_parts(subject), request.subject, SUBJECT));
        }
        WantedSubject::Literal(name) if digest(&name.as_der()) != request.literal_subject => {
            fields.push("spec.literalSubject");
        }
        WantedSubject::Literal(_) => {}
    }
    let rest = [
        digest(&spec.is_ca.unwrap_or_default()),
        usages(spec.usages.as_ref()),
    ];
    fields.extend(unequal(rest, request.rest, REST));
    if let (Some(wanted), Some(asked)) = (duration(spec.duration.as_ref()), request.duration)
        && wanted != asked
    {
        fields.push("spec.duration");
    }
    if !spec.issuer_ref.is_same(issuer) {
        fields.push("spec.issuerRef");
    }
    fields
}

/// They are compared only if the spec has any (contract §4.2).
fn other_names_differ(spec: &CertificateSpec, request: &Compared) -> bool {
    let others = spec.other_names.as_deref().unwrap_or_default();
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let pairs: Vec<(String, String)> = others
        .iter()
        .map(|o| (text(&o.oid), text(&o.utf8_value)))
        .collect();
    let pairs = pairs
        .iter()
        .map(|(oid, value)| (oid.as_str(), value.as_str()));
    !others.is_empty() && other_names(pairs) != request.other_names
}

/// What a spec wants for a subject.
#[derive(Debug, Clone, PartialEq)]
pub enum WantedSubject {
    /// `spec.commonName` and `spec.subject`.
    Parts(Subject),
    /// `spec.literalSubject`.
    Literal(DistinguishedName),
}

/// Digests of the names of a certificate, one for each field of a spec, to say which has changed. In few bits, because
/// there are many Secrets: whether one has, is for [`leaf_names`] to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamesByField {
    common_name: u32,
    dns_names: u32,
    both: u32,
    rest: [u32; REST_OF_NAMES.len()],
}

const REST_OF_NAMES: [&str; 3] = ["spec.ipAddresses", "spec.uris", "spec.emailAddresses"];

impl NamesByField {
    /// Of a certificate.
    pub fn of(leaf: &ParsedCertificate) -> Self {
        let sans = leaf.sans();
        let common_name = leaf.subject().common_name().unwrap_or_default();
        Self {
            common_name: low(digest(&common_name)),
            dns_names: low(set(&sans.dns_names)),
            both: both(&common_name, &sans.dns_names),
            rest: [
                low(addresses(sans.ip_addresses.iter().map(canonical_ip))),
                low(set(&sans.uris)),
                low(set(&sans.email_addresses)),
            ],
        }
    }

    /// The fields of a spec that differ, in the order in which cert-manager names them.
    pub fn differences(&self, spec: &CertificateSpec) -> Vec<&'static str> {
        let dns_names = list(spec.dns_names.as_ref());
        let mut fields = self.moved_names(&common_name_of(spec), dns_names);
        let ip_addresses = list(spec.ip_addresses.as_ref()).iter();
        let wanted = [
            addresses(ip_addresses.map(|text| canonical(text))),
            set(list(spec.uris.as_ref())),
            set(list(spec.email_addresses.as_ref())),
        ];
        let pairs = wanted.into_iter().zip(self.rest).zip(REST_OF_NAMES);
        fields.extend(
            pairs
                .filter(|((a, b), _)| low(*a) != *b)
                .map(|(_, field)| field),
        );
        fields
    }

    /// A CA may move a name from the common name to the DNS names and back. What is the common name here and a DNS name
    /// there, among others that have changed, is taken for changed too.
    fn moved_names(&self, common_name: &str, dns_names: &[String]) -> Vec<&'static str> {
        if both(common_name, dns_names) == self.both {
            return vec![];
        }
        let is_its = |name: &str| low(digest(&name)) == self.common_name;
        let has_same = low(set(dns_names)) == self.dns_names;
        let is_among = dns_names.iter().any(|name| name == common_name);
        let is_there = common_name.is_empty() || is_its(common_name) || (has_same && is_among);
        let is_wanted =
            is_its("") || is_its(common_name) || dns_names.iter().any(|name| is_its(name));
        let fields = [
            ("spec.commonName", is_there && is_wanted),
            ("spec.dnsNames", has_same),
        ];
        let changed = fields.into_iter().filter(|(_, fits)| !fits);
        changed.map(|(field, _)| field).collect()
    }
}

fn both(common_name: &str, dns_names: &[String]) -> u32 {
    let names = dns_names.iter().map(String::as_str).chain([common_name]);
    let names: BTreeSet<_> = names.filter(|name| !name.is_empty()).collect();
    low(digest(&names))
}

/// The lower half of a digest.
fn low(digest: u64) -> u32 {
    u32::try_from(digest & u64::from(u32::MAX)).unwrap_or_default()
}

/// The union that is compared when no request is left (contract §4.2, fuzzy compare).
pub fn leaf_names(leaf: &ParsedCertificate) -> u64 {
    let sans = leaf.sans();
    let mut names: BTreeSet<String> = sans.dns_names.iter().cloned().collect();
    names.extend(leaf.subject().common_name());
    let addresses = sans.ip_addresses.iter().map(canonical_ip);
    names.extend(addresses.map(|a| format!("ip {a}")));
    names.extend(sans.uris.iter().map(|u| format!("uri {u}")));
    names.extend(sans.email_addresses.iter().map(|e| format!("email {e}")));
    digest(&names)
}

/// The same union of an Order.
pub fn order_names(spec: &OrderSpec) -> u64 {
    let mut names: BTreeSet<String> = list(spec.dns_names.as_ref()).iter().cloned().collect();
    names.extend(spec.common_name.iter().filter(|c| !c.is_empty()).cloned());
    names.extend(ip_names(spec.ip_addresses.as_ref()));
    digest(&names)
}

fn ip_names(addresses: Option<&Vec<String>>) -> impl Iterator<Item = String> {
    let addresses = list(addresses).iter().map(|text| canonical(text));
    addresses.map(|a| format!("ip {a}"))
}

/// The common name that a spec asks for, which may be in its literal subject; empty without one.
fn common_name_of(spec: &CertificateSpec) -> String {
    let given = spec.common_name.clone().filter(|name| !name.is_empty());
    let literal = || {
        let literal = spec.literal_subject.as_deref().unwrap_or_default();
        DistinguishedName::from_rfc4514(literal).ok()?.common_name()
    };
    given.or_else(literal).unwrap_or_default()
}

/// The same union of a spec. cert-manager leaves out the common name of a literal subject, and so issues
/// such a certificate anew as soon as its request is gone.
pub fn spec_names(spec: &CertificateSpec) -> u64 {
    let mut names: BTreeSet<String> = list(spec.dns_names.as_ref()).iter().cloned().collect();
    names.extend(Some(common_name_of(spec)).filter(|name| !name.is_empty()));
    names.extend(ip_names(spec.ip_addresses.as_ref()));
    names.extend(list(spec.uris.as_ref()).iter().map(|u| format!("uri {u}")));
    names.extend(
        list(spec.email_addresses.as_ref())
            .iter()
            .map(|e| format!("email {e}")),
    );
    digest(&names)
}
