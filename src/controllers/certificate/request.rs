//! From a Certificate's spec to the CSR and the CertificateRequest that ask for it (contract §4.4).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::ByteString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::names::{name_constraints, other_names, subject, unencodable};
use super::outputs::Outputs;
use super::syntax;
use super::window::windows;
use crate::api::duration::{format_go_duration, parse_go_duration};
use crate::api::meta::{CLUSTER_ISSUER_KIND, ISSUER_KIND};
use crate::api::{
    Certificate, CertificateRequest, CertificateRequestSpec, CertificateSpec, labels, names,
};
use crate::controllers::facts::Made;
use crate::controllers::matching::WantedSubject;
use crate::pki::{
    Curve, KeyAlgorithm, KeyEncoding, KeyUsages, RequestParams, SignatureAlgorithm, Subject,
};

/// A field that cannot be met, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// Path of the field.
    pub field: Cow<'static, str>,
    /// What is wrong with its value, and what to do.
    pub problem: String,
}

pub(super) fn invalid(field: impl Into<Cow<'static, str>>, problem: impl Into<String>) -> Invalid {
    Invalid {
        field: field.into(),
        problem: problem.into(),
    }
}

/// What the spec asks for, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// Algorithm and size of the private key.
    pub key: KeyAlgorithm,
    /// How the private key is written into the Secret.
    pub encoding: KeyEncoding,
    /// What goes into the CSR.
    pub params: RequestParams,
    /// What the Secret holds beside key and certificate.
    pub outputs: Outputs,
}

impl TryFrom<&CertificateSpec> for Wanted {
    type Error = Invalid;

    fn try_from(spec: &CertificateSpec) -> Result<Self, Invalid> {
        check_given(spec)?;
        windows(spec)?;
        let key = desired_key(spec)?;
        let params = params(spec)?;
        let literal = params.literal_subject.as_ref();
        if params.subject.common_name.is_empty()
            && literal.is_none_or(|name| name.common_name().is_none())
            && params.dns_names.is_empty()
            && params.ip_addresses.is_empty()
            && params.email_addresses.is_empty()
            && params.uris.is_empty()
            && params.other_names.is_empty()
        {
            let problem = "at least one of commonName (or CN in literalSubject), dnsNames, uris, \
                           emailAddresses, ipAddresses and otherNames is needed";
            return Err(invalid("spec", problem));
        }
        if let Some(algorithm) = params.signature_algorithm
            && !algorithm.fits(key)
        {
            let problem = format!(
                "{algorithm} is no signature of {key} keys; leave it out, or use one that fits spec.privateKey"
            );
            return Err(invalid("spec.signatureAlgorithm", problem));
        }
        params.check().map_err(unencodable)?;
        Ok(Self {
            key,
            encoding: encoding(spec),
            params,
            outputs: Outputs::try_from(spec)?,
        })
    }
}

/// What the schema lets through and no certificate can be made from.
fn check_given(spec: &CertificateSpec) -> Result<(), Invalid> {
    if spec.secret_name.is_empty() {
        return Err(invalid(
            "spec.secretName",
            "it is empty: name the Secret that the certificate goes to",
        ));
    }
    syntax::check(spec)?;
    let issuer = &spec.issuer_ref;
    if issuer.name.is_empty() {
        return Err(invalid(
            "spec.issuerRef.name",
            "it is empty: name the issuer",
        ));
    }
    let kind = issuer.kind_or_default();
    if issuer.is_ours() && ![ISSUER_KIND, CLUSTER_ISSUER_KIND].contains(&kind) {
        let problem = format!(
            "\"{kind}\" is no kind of {}: use Issuer or ClusterIssuer, or name the group of the issuer",
            labels::GROUP
        );
        return Err(invalid("spec.issuerRef.kind", problem));
    }
    let durations = [
        ("spec.duration", &spec.duration),
        ("spec.renewBefore", &spec.renew_before),
    ];
    for (field, text) in durations {
        let Some(text) = text else { continue };
        match parse_go_duration(text) {
            Ok(time) if time.is_positive() || field == "spec.renewBefore" => {}
            Ok(_) => {
                return Err(invalid(
                    field,
                    format!("{text} is no lifetime; use 1h or more"),
                ));
            }
            Err(error) => return Err(invalid(field, format!("{error}: write it like 2160h"))),
        }
    }
    Ok(())
}

/// The private key that the spec asks for.
pub fn desired_key(spec: &CertificateSpec) -> Result<KeyAlgorithm, Invalid> {
    let key = spec.private_key.as_ref();
    let size = key.and_then(|k| k.size).filter(|s| *s != 0);
    match key.and_then(|k| k.algorithm.as_deref()).unwrap_or("RSA") {
        "RSA" | "" => {
            let bits = size.unwrap_or(2048);
            match u32::try_from(bits) {
                Ok(bits @ 2048..=8192) => Ok(KeyAlgorithm::Rsa { bits }),
                _ => Err(invalid(
                    "spec.privateKey.size",
                    format!("{bits} is no size of an RSA key; use 2048 to 8192"),
                )),
            }
        }
        "ECDSA" => match size.unwrap_or(256) {
            256 => Ok(KeyAlgorithm::Ecdsa(Curve::P256)),
            384 => Ok(KeyAlgorithm::Ecdsa(Curve::P384)),
            521 => Ok(KeyAlgorithm::Ecdsa(Curve::P521)),
            other => Err(invalid(
                "spec.privateKey.size",
                format!("{other} is no size of an ECDSA key; use 256, 384 or 521"),
            )),
        },
        "Ed25519" => Ok(KeyAlgorithm::Ed25519),
        other => Err(invalid(
            "spec.privateKey.algorithm",
            format!("\"{other}\" is not RSA, ECDSA or Ed25519"),
        )),
    }
}

fn encoding(spec: &CertificateSpec) -> KeyEncoding {
    match spec
        .private_key
        .as_ref()
        .and_then(|k| k.encoding.as_deref())
    {
        Some("PKCS8") => KeyEncoding::Pkcs8,
        _ => KeyEncoding::Pkcs1,
    }
}

fn params(spec: &CertificateSpec) -> Result<RequestParams, Invalid> {
    let list = |field: Option<&Vec<String>>| field.cloned().unwrap_or_default();
    let mut ip_addresses = Vec::new();
    for text in list(spec.ip_addresses.as_ref()) {
        let address: IpAddr = text
            .parse()
            .map_err(|_| invalid("spec.ipAddresses", format!("\"{text}\" is no IP address")))?;
        // An IPv4 address has one form in a certificate (RFC 5280 §4.2.1.6).
        ip_addresses.push(address.to_canonical());
    }
    let names = list(spec.usages.as_ref());
    let is_ca = spec.is_ca.unwrap_or_default();
    let usages =
        KeyUsages::from_names(&names, is_ca).map_err(|e| invalid("spec.usages", e.to_string()))?;
    let signature_algorithm = spec
        .signature_algorithm
        .as_deref()
        .filter(|a| !a.is_empty());
    let signature_algorithm = signature_algorithm
        .map(|name| {
            SignatureAlgorithm::from_name(name).ok_or_else(|| {
                invalid(
                    "spec.signatureAlgorithm",
                    format!("\"{name}\" is not known"),
                )
            })
        })
        .transpose()?;
    let (subject, literal_subject) = match subject(spec)? {
        WantedSubject::Parts(subject) => (subject, None),
        WantedSubject::Literal(name) => (Subject::default(), Some(name)),
    };
    Ok(RequestParams {
        subject,
        literal_subject,
        dns_names: list(spec.dns_names.as_ref()),
        ip_addresses,
        email_addresses: list(spec.email_addresses.as_ref()),
        uris: list(spec.uris.as_ref()),
        other_names: other_names(spec)?,
        usages,
        encode_usages: spec.encode_usages_in_request.unwrap_or(true),
        is_ca,
        basic_constraints: false,
        name_constraints: name_constraints(spec)?,
        signature_algorithm,
    })
}

/// The name of a next private key: the same each time for one Certificate and revision, so that a
/// crash never leaves two. It looks like the generated names of the contract (§4.3).
pub fn key_secret_name(certificate: &Certificate, revision: i64) -> String {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let meta = &certificate.metadata;
    let name = meta.name.as_deref().unwrap_or_default();
    let mut rest = crate::controllers::digest::digest(&(meta.uid.as_deref(), revision));
    let mut suffix = String::new();
    for _ in 0..5 {
        let index = usize::try_from(rest % 27).unwrap_or_default();
        suffix.push(ALPHABET.get(index).map_or('x', |b| char::from(*b)));
        rest /= 27;
    }
    let room: String = name.chars().take(253 - 6).collect();
    format!("{}-{suffix}", room.trim_end_matches(['-', '.']))
}

/// The controller reference of a Certificate's children.
pub fn owner(certificate: &Certificate) -> OwnerReference {
    OwnerReference {
        api_version: "cert-manager.io/v1".into(),
        kind: "Certificate".into(),
        name: certificate.metadata.name.clone().unwrap_or_default(),
        uid: certificate.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// How many attempts in a row have failed before the next one is made with care.
const REPEATED: i64 = 2;

/// The CertificateRequest of a revision.
pub fn certificate_request(
    certificate: &Certificate,
    revision: i64,
    key_secret: &str,
    csr: &str,
    made: Option<&BTreeSet<Made>>,
    copied_prefixes: &[String],
) -> CertificateRequest {
    let meta = &certificate.metadata;
    let name = meta.name.as_deref().unwrap_or_default();
    let spec = &certificate.spec;
    let mut annotations: BTreeMap<String, String> =
        copied_annotations(meta.annotations.as_ref(), copied_prefixes);
    annotations.insert(labels::CERTIFICATE_NAME_ANNOTATION.into(), name.into());
    annotations.insert(
        labels::CERTIFICATE_REVISION_ANNOTATION.into(),
        revision.to_string(),
    );
    annotations.insert(
        labels::PRIVATE_KEY_SECRET_NAME_ANNOTATION.into(),
        key_secret.into(),
    );
    if let Some(made) = made {
        let made: Vec<_> = made.iter().map(ToString::to_string).collect();
        annotations.insert(labels::REQUESTS_MADE_ANNOTATION.into(), made.join(" "));
    }
    let status = certificate.status.as_ref();
    let failed = status.and_then(|status| status.failed_issuance_attempts);
    if let Some(failed) = failed.filter(|failed| *failed >= REPEATED) {
        annotations.insert(
            labels::FAILED_ATTEMPTS_ANNOTATION.into(),
            failed.to_string(),
        );
    }
    CertificateRequest {
        metadata: ObjectMeta {
            name: Some(names::certificate_request_name(name, revision)),
            namespace: meta.namespace.clone(),
            labels: meta.labels.clone(),
            annotations: Some(annotations),
            owner_references: Some(vec![owner(certificate)]),
            ..ObjectMeta::default()
        },
        spec: CertificateRequestSpec {
            duration: spec.duration.as_deref().map(in_go_form),
            issuer_ref: spec.issuer_ref.clone(),
            is_ca: spec.is_ca,
            usages: spec.usages.clone(),
            request: ByteString(csr.as_bytes().to_vec()),
            ..CertificateRequestSpec::default()
        },
        status: None,
    }
}

/// A duration as Go writes it: what a client of cert-manager finds in a request.
fn in_go_form(text: &str) -> String {
    parse_go_duration(text).map_or_else(|_| text.to_owned(), format_go_duration)
}

/// The annotations that `--copied-annotation-prefixes` lets through: evaluated in order, so that the last one that
/// matches counts. A leading `-` excludes; with a `*` anywhere each of the others includes all (contract §3.3).
pub fn copied_annotations(
    annotations: Option<&BTreeMap<String, String>>,
    prefixes: &[String],
) -> BTreeMap<String, String> {
    let all = prefixes.iter().any(|p| p == "*");
    let included = |key: &str| {
        let verdict = |prefix: &String| match prefix.strip_prefix('-') {
            Some(banned) => key.starts_with(banned).then_some(false),
            None => (all || key.starts_with(prefix.as_str())).then_some(true),
        };
        prefixes.iter().rev().find_map(verdict).unwrap_or_default()
    };
    annotations
        .into_iter()
        .flatten()
        .filter(|(k, _)| included(k))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect()
}
