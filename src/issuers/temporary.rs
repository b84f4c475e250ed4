//! Certificates that hold a place until the real one comes (contract §4.6), signed by a CA that nobody
//! keeps: an Ingress controller may refuse to serve a host, and so its challenge, without any.

use jiff::{SignedDuration, Timestamp};

use super::Error;
use crate::pki::{
    self, CertificateSigningRequest, CertificateTemplate, Curve, IssuerIdentity, KeyAlgorithm,
    KeyUsages, PrivateKey, RequestParams, Subject, TEMPORARY_ISSUER, Urls, build_request,
};

/// `serialNumber` in the subject of each, as cert-manager has it.
const SERIAL_NUMBER: &str = "1234567890";

/// Sign for this key what a CSR of these parameters asks for; PEM.
pub fn sign(
    params: &RequestParams,
    key: &PrivateKey,
    not_before: Timestamp,
    duration: SignedDuration,
) -> Result<String, Error> {
    let authority = PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P521))?;
    let named = RequestParams {
        subject: Subject::from_common_name(TEMPORARY_ISSUER),
        ..RequestParams::default()
    };
    let named = request(&named, &authority)?;
    let lifetime = duration.try_into().map_err(|_| Error::Duration(duration))?;
    let template = CertificateTemplate {
        csr: &named,
        not_before,
        duration: lifetime,
        is_ca: true,
        usages: KeyUsages::default(),
        urls: Urls::default(),
    };
    let issuer = pki::self_sign(&template, &authority)?;
    let mut params = params.clone();
    params.subject.serial_number = SERIAL_NUMBER.into();
    let leaf = CertificateTemplate {
        csr: &request(&params, key)?,
        is_ca: params.is_ca,
        usages: params.usages.clone(),
        ..template
    };
    let issuer = IssuerIdentity {
        subject_der: issuer.subject().as_der(),
        subject_key_id: issuer.subject_key_id(),
        key: &authority,
    };
    Ok(pki::sign(&leaf, issuer)?.to_pem())
}

fn request(params: &RequestParams, key: &PrivateKey) -> Result<CertificateSigningRequest, Error> {
    let pem = build_request(params, key)?;
    Ok(CertificateSigningRequest::parse_pem(pem.as_bytes())?)
}
