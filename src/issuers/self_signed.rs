//! Certificates signed with their own key (contract §6.2).

use super::{Error, Request};
use crate::pki::{self, CertificateSigningRequest, PrivateKey};

/// Sign; PEM.
pub fn sign(request: &Request<'_>, key: &PrivateKey) -> Result<String, Error> {
    let csr = CertificateSigningRequest::parse_pem(request.csr)?;
    if csr.public_key_der() != key.public_key_der() {
        return Err(Error::OtherKey);
    }
    Ok(pki::self_sign(&request.template(&csr)?, key)?.to_pem())
}
