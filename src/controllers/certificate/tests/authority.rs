//! Who answers requests, well or badly; and keys and certificates for the tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use parking_lot::Mutex;
use zeroize::Zeroizing;

use crate::api::CertificateRequest;
use crate::api::duration::{self, parse_go_duration};
use crate::controllers::status::{condition, set_condition};
use crate::pki::{
    self, CertificateSigningRequest, CertificateTemplate, IssuerIdentity, KeyAlgorithm,
    KeyEncoding, KeyUsages, PrivateKey, RequestParams, Subject, Urls, build_request,
};

/// How a request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Nothing,
    Pend,
    Sign,
    /// As a public CA does, which gives nothing for clients.
    SignForServers,
    Deny,
    Invalid,
    Fail,
    WrongKey,
    LeafLast,
    Expired,
    Garbage,
    Empty,
}

pub(super) fn respond(
    request: &mut CertificateRequest,
    answer: Answer,
    now: Timestamp,
    lifetime: SignedDuration,
) {
    let readable = CertificateSigningRequest::parse_pem(&request.spec.request.0).is_ok()
        && asked_for(request).is_none_or(|asked| asked.is_ok());
    let answer = if readable { answer } else { Answer::Fail };
    let mut ready = |status, reason: &str, message: &str| {
        let mut conditions = request
            .status
            .clone()
            .unwrap_or_default()
            .conditions
            .unwrap_or_default();
        set_condition(
            &mut conditions,
            condition("Ready", status, reason, message, None),
            now,
        );
        request.status.get_or_insert_default().conditions = Some(conditions);
    };
    match answer {
        Answer::Nothing => {}
        Answer::Pend => ready(false, "Pending", "the CA takes its time"),
        Answer::Fail => {
            ready(false, "Failed", "the CA said no");
            request.status.get_or_insert_default().failure_time = Some(Time(now));
        }
        Answer::Deny | Answer::Invalid => {
            let (kind, reason) = if answer == Answer::Deny {
                ("Denied", "Policy")
            } else {
                ("InvalidRequest", "Bad")
            };
            let new = condition(kind, true, reason, "not like this", None);
            let mut conditions = vec![];
            set_condition(&mut conditions, new, now);
            request.status.get_or_insert_default().conditions = Some(conditions);
        }
        Answer::Sign
        | Answer::SignForServers
        | Answer::WrongKey
        | Answer::LeafLast
        | Answer::Expired
        | Answer::Garbage
        | Answer::Empty => {
            ready(
                true,
                "Issued",
                "Certificate fetched from issuer successfully",
            );
            let pem = match answer {
                Answer::Sign => Some(certificate_for(request, now, lifetime)),
                Answer::SignForServers => {
                    let mut taken = request.clone();
                    let usages = taken.spec.usages.get_or_insert_default();
                    usages.retain(|usage| usage != "client auth");
                    Some(certificate_for(&taken, now, lifetime))
                }
                Answer::WrongKey => Some(pair(&["app.example.com"], now, lifetime).1),
                Answer::LeafLast => {
                    let other = pair(&["ca.example.com"], now, lifetime).1;
                    Some([other, certificate_for(request, now, lifetime)].concat())
                }
                Answer::Expired => Some(certificate_for(
                    request,
                    now - lifetime - lifetime,
                    lifetime,
                )),
                Answer::Garbage => Some(b"no certificate".to_vec()),
                _ => None,
            };
            request.status.get_or_insert_default().certificate = pem.map(ByteString);
        }
    }
}

fn asked_for(request: &CertificateRequest) -> Option<Result<SignedDuration, duration::Error>> {
    request.spec.duration.as_deref().map(parse_go_duration)
}

/// A certificate as a CA would make it of this request.
fn certificate_for(
    request: &CertificateRequest,
    now: Timestamp,
    lifetime: SignedDuration,
) -> Vec<u8> {
    let asked = asked_for(request).map(Result::unwrap);
    let csr = CertificateSigningRequest::parse_pem(&request.spec.request.0).unwrap();
    let is_ca = request.spec.is_ca.unwrap_or_default();
    let usages =
        KeyUsages::from_names(&request.spec.usages.clone().unwrap_or_default(), is_ca).unwrap();
    sign(&csr, now, asked.unwrap_or(lifetime), is_ca, usages)
}

/// A certificate of a CA of the name that temporary ones have.
pub(super) fn temporary_for(
    key: &PrivateKey,
    params: &RequestParams,
    now: Timestamp,
    lifetime: SignedDuration,
) -> Vec<u8> {
    let csr = build_request(params, key).unwrap();
    let csr = CertificateSigningRequest::parse_pem(csr.as_bytes()).unwrap();
    let usages = params.usages.clone();
    sign_as(
        pki::TEMPORARY_ISSUER,
        &csr,
        now,
        lifetime,
        params.is_ca,
        usages,
    )
}

fn sign(
    csr: &CertificateSigningRequest,
    now: Timestamp,
    lifetime: SignedDuration,
    is_ca: bool,
    usages: KeyUsages,
) -> Vec<u8> {
    sign_as("CA", csr, now, lifetime, is_ca, usages)
}

fn sign_as(
    issuer: &str,
    csr: &CertificateSigningRequest,
    now: Timestamp,
    lifetime: SignedDuration,
    is_ca: bool,
    usages: KeyUsages,
) -> Vec<u8> {
    let key = PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap();
    let subject = Subject {
        common_name: issuer.into(),
        ..Subject::default()
    }
    .to_der()
    .unwrap();
    let template = CertificateTemplate {
        csr,
        not_before: now,
        duration: lifetime.try_into().unwrap(),
        is_ca,
        usages,
        urls: Urls::default(),
    };
    let issuer = IssuerIdentity {
        subject_der: &subject,
        subject_key_id: Some(b"the key of the CA..."),
        key: &key,
    };
    pki::sign(&template, issuer).unwrap().to_pem().into_bytes()
}

/// A private key and a certificate for it: PEM.
pub(super) fn pair(names: &[&str], now: Timestamp, lifetime: SignedDuration) -> (Vec<u8>, Vec<u8>) {
    let key = new_key(KeyAlgorithm::Ecdsa(pki::Curve::P256));
    pair_of(&key, names, now, lifetime)
}

/// This key and a certificate for it: PEM.
pub(super) fn pair_of(
    key: &PrivateKey,
    names: &[&str],
    now: Timestamp,
    lifetime: SignedDuration,
) -> (Vec<u8>, Vec<u8>) {
    pair_for(key, names, &[], now, lifetime)
}

/// This key and a certificate for it with these usages: PEM.
pub(super) fn pair_for(
    key: &PrivateKey,
    names: &[&str],
    usages: &[&str],
    now: Timestamp,
    lifetime: SignedDuration,
) -> (Vec<u8>, Vec<u8>) {
    let params = RequestParams {
        dns_names: names.iter().map(|n| (*n).to_owned()).collect(),
        ..RequestParams::default()
    };
    let csr = build_request(&params, key).unwrap();
    let csr = CertificateSigningRequest::parse_pem(csr.as_bytes()).unwrap();
    let usages = KeyUsages::from_names(usages, false).unwrap();
    (
        pem(key, KeyEncoding::Pkcs1).to_vec(),
        sign(&csr, now, lifetime, false, usages),
    )
}

/// A new key. RSA keys are slow to make, so that there is one for all.
pub(super) fn new_key(algorithm: KeyAlgorithm) -> Arc<PrivateKey> {
    // RSA keys take long: one of each size does.
    static RSA: Mutex<BTreeMap<u32, Arc<PrivateKey>>> = Mutex::new(BTreeMap::new());
    let new = || Arc::new(PrivateKey::generate(algorithm).unwrap());
    match algorithm {
        KeyAlgorithm::Rsa { bits } => RSA.lock().entry(bits).or_insert_with(new).clone(),
        _ => new(),
    }
}

pub(super) fn pem(key: &PrivateKey, encoding: KeyEncoding) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(key.to_pem(encoding).unwrap().as_bytes().to_vec())
}

pub(super) fn read_key(secret: &Secret) -> Option<Arc<PrivateKey>> {
    let pem = secret.data.as_ref()?.get("tls.key")?;
    PrivateKey::from_pem(&pem.0).ok().map(Arc::new)
}
