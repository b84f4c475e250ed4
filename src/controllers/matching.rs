//! Whether a CertificateRequest, or a certificate, is what a Certificate's spec asks for
//! (contract §4.2, step 8). Lists are compared as sets, kind and group of the issuer with their
//! defaults applied.

use std::collections::BTreeSet;

use jiff::SignedDuration;

use super::facts::digest;
use crate::api::duration::parse_go_duration;
use crate::api::meta::IssuerReference;
use crate::api::{CertificateRequestSpec, CertificateSpec};
use crate::pki::{CertificateSigningRequest, KeyUsages, ParsedCertificate, Subject};

/// Digests of the compared fields, in the order of [`FIELDS`], and the few that need more than
/// equality.
#[derive(Debug, Clone, PartialEq)]
pub struct Compared {
    fields: [u64; FIELDS.len()],
    other_names: u64,
    duration: Option<SignedDuration>,
    issuer: IssuerReference,
    /// Digest of the public key in the CSR.
    pub public: u64,
}

const FIELDS: [&str; 7] = [
    "spec.ipAddresses",
    "spec.uris",
    "spec.emailAddresses",
    "spec.dnsNames",
    "spec.subject",
    "spec.isCA",
    "spec.usages",
];

fn set<T: AsRef<str>>(items: &[T]) -> u64 {
    digest(
        &items
            .iter()
            .map(|i| i.as_ref().to_owned())
            .collect::<BTreeSet<_>>(),
    )
}

fn addresses<'a>(items: impl Iterator<Item = &'a str>) -> u64 {
    let normal = |text: &str| {
        text.parse()
            .map_or_else(|_| text.to_owned(), |a: std::net::IpAddr| a.to_string())
    };
    digest(&items.map(normal).collect::<BTreeSet<_>>())
}

fn list(field: Option<&Vec<String>>) -> &[String] {
    field.map(Vec::as_slice).unwrap_or_default()
}

fn other_names<'a>(names: impl Iterator<Item = (&'a str, &'a str)>) -> u64 {
    digest(&names.collect::<BTreeSet<_>>())
}

/// A subject whose lists are sets.
fn subject_digest(subject: &Subject) -> u64 {
    let lists = [
        &subject.countries,
        &subject.organizations,
        &subject.organizational_units,
        &subject.localities,
        &subject.provinces,
        &subject.street_addresses,
        &subject.postal_codes,
    ];
    digest(&(
        lists.map(|l| set(l)),
        &subject.common_name,
        &subject.serial_number,
    ))
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
        fields: [
            digest(
                &sans
                    .ip_addresses
                    .iter()
                    .map(ToString::to_string)
                    .collect::<BTreeSet<_>>(),
            ),
            set(&sans.uris),
            set(&sans.email_addresses),
            set(&sans.dns_names),
            subject_digest(&csr.subject().to_subject()),
            digest(&spec.is_ca.unwrap_or_default()),
            usages(spec.usages.as_ref()),
        ],
        other_names: other_names(
            sans.other_names
                .iter()
                .map(|o| (o.oid.as_str(), o.utf8_value.as_str())),
        ),
        duration: duration(spec.duration.as_ref()),
        issuer: spec.issuer_ref.clone(),
        public: digest(&csr.public_key_der()),
    })
}

/// The fields of `spec` that differ from the request; empty when it is what was asked for.
pub fn differences(
    spec: &CertificateSpec,
    subject: &Subject,
    request: &Compared,
) -> Vec<&'static str> {
    let wanted = [
        addresses(list(spec.ip_addresses.as_ref()).iter().map(String::as_str)),
        set(list(spec.uris.as_ref())),
        set(list(spec.email_addresses.as_ref())),
        set(list(spec.dns_names.as_ref())),
        subject_digest(subject),
        digest(&spec.is_ca.unwrap_or_default()),
        usages(spec.usages.as_ref()),
    ];
    let pairs = wanted.iter().zip(&request.fields).zip(FIELDS);
    let mut fields: Vec<_> = pairs
        .filter(|((a, b), _)| a != b)
        .map(|(_, name)| name)
        .collect();
    let others = spec.other_names.as_deref().unwrap_or_default();
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let pairs: Vec<(String, String)> = others
        .iter()
        .map(|o| (text(&o.oid), text(&o.utf8_value)))
        .collect();
    let wanted = other_names(
        pairs
            .iter()
            .map(|(oid, value)| (oid.as_str(), value.as_str())),
    );
    if !others.is_empty() && wanted != request.other_names {
        fields.push("spec.otherNames");
    }
    if let (Some(wanted), Some(asked)) = (duration(spec.duration.as_ref()), request.duration)
        && wanted != asked
    {
        fields.push("spec.duration");
    }
    if !spec.issuer_ref.is_same(&request.issuer) {
        fields.push("spec.issuerRef");
    }
    fields
}

/// The union that is compared when no request is left (contract §4.2, fuzzy compare).
pub fn leaf_names(leaf: &ParsedCertificate) -> u64 {
    let sans = leaf.sans();
    let mut names: BTreeSet<String> = sans.dns_names.iter().cloned().collect();
    names.extend(leaf.subject().common_name());
    names.extend(sans.ip_addresses.iter().map(|a| format!("ip {a}")));
    names.extend(sans.uris.iter().map(|u| format!("uri {u}")));
    names.extend(sans.email_addresses.iter().map(|e| format!("email {e}")));
    digest(&names)
}

/// The same union of a spec.
pub fn spec_names(spec: &CertificateSpec) -> u64 {
    let mut names: BTreeSet<String> = list(spec.dns_names.as_ref()).iter().cloned().collect();
    names.extend(spec.common_name.iter().filter(|c| !c.is_empty()).cloned());
    let ip = |text: &String| {
        text.parse()
            .map_or_else(|_| text.clone(), |a: std::net::IpAddr| a.to_string())
    };
    names.extend(
        list(spec.ip_addresses.as_ref())
            .iter()
            .map(|a| format!("ip {}", ip(a))),
    );
    names.extend(list(spec.uris.as_ref()).iter().map(|u| format!("uri {u}")));
    names.extend(
        list(spec.email_addresses.as_ref())
            .iter()
            .map(|e| format!("email {e}")),
    );
    digest(&names)
}
