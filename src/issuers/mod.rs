//! How each type of issuer signs.

pub mod acme;
pub mod ca;
pub mod self_signed;
pub mod temporary;
#[cfg(test)]
mod tests;
pub mod vault;

use jiff::{SignedDuration, Timestamp};

use crate::pki::{self, CertificateSigningRequest, CertificateTemplate, KeyUsages, Urls};

/// What a certificate is to hold that is signed within this process.
#[derive(Debug, Clone, Copy)]
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
    pub urls: Urls<'a>,
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
    /// The CSR, the usages, the key or the chain do not do.
    #[error(transparent)]
    Pki(#[from] pki::Error),
}

impl<'a> Request<'a> {
    fn template(
        &self,
        csr: &'a CertificateSigningRequest,
    ) -> Result<CertificateTemplate<'a>, Error> {
        let duration = self.duration;
        Ok(CertificateTemplate {
            csr,
            not_before: self.not_before,
            duration: duration.try_into().map_err(|_| Error::Duration(duration))?,
            is_ca: self.is_ca,
            usages: KeyUsages::from_names(self.usages, self.is_ca)?,
            urls: self.urls,
        })
    }
}
