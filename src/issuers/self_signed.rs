//! Certificates signed with their own key (contract §6.2).

use jiff::{SignedDuration, Timestamp};

use crate::pki::{self, CertificateSigningRequest, CertificateTemplate, KeyUsages, PrivateKey};

/// What a self-signed certificate is to hold.
#[derive(Debug)]
pub struct Request<'a> {
    /// PEM.
    pub csr: &'a [u8],
    /// Start of validity.
    pub not_before: Timestamp,
    /// Lifetime.
    pub duration: SignedDuration,
    /// Make it a CA.
    pub is_ca: bool,
    /// Names of the usages.
    pub usages: &'a [String],
    /// Copied into the certificate.
    pub crl_distribution_points: &'a [String],
}

/// Why it cannot be signed; each is final.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key in the Secret is not the one of the CSR.
    #[error("the private key in the Secret is not the one that the CSR was made with")]
    OtherKey,
    /// The lifetime is negative or too long.
    #[error("spec.duration {0} is no lifetime of a certificate")]
    Duration(SignedDuration),
    /// The CSR, the usages or the key do not do.
    #[error(transparent)]
    Pki(#[from] pki::Error),
}

/// Sign; PEM.
pub fn sign(request: &Request<'_>, key: &PrivateKey) -> Result<String, Error> {
    let csr = CertificateSigningRequest::parse_pem(request.csr)?;
    if csr.public_key_der() != key.public_key_der() {
        return Err(Error::OtherKey);
    }
    let duration = request.duration;
    let template = CertificateTemplate {
        csr: &csr,
        not_before: request.not_before,
        duration: duration.try_into().map_err(|_| Error::Duration(duration))?,
        is_ca: request.is_ca,
        usages: KeyUsages::from_names(request.usages, request.is_ca)?,
        crl_distribution_points: request.crl_distribution_points,
    };
    Ok(pki::self_sign(&template, key)?.to_pem())
}
