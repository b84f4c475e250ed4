use super::Error;
use crate::pki::{self, ParsedCertificate};

/// A certificate with what leads to its root, leaf first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateChain {
    /// PEM, nothing but the certificates.
    pub pem: String,
    pub certificates: Vec<ParsedCertificate>,
    /// URLs of other chains for the same certificate.
    pub alternates: Vec<String>,
}

impl CertificateChain {
    /// RFC 8555 §9.1: whatever is not a certificate makes the whole reply unusable.
    pub(super) fn parse(body: &[u8], alternates: Vec<String>) -> Result<Self, Error> {
        let certificates = pki::parse_download(body).map_err(Error::Certificate)?;
        Ok(Self {
            pem: certificates.iter().map(ParsedCertificate::to_pem).collect(),
            certificates,
            alternates,
        })
    }
}

/// Whether the chain is the one that `preferredChain` names: the issuer of its last certificate has this common name.
pub fn prefers(chain: &[ParsedCertificate], common_name: &str) -> bool {
    chain
        .last()
        .and_then(|last| last.issuer().common_name())
        .is_some_and(|name| name == common_name)
}

/// Whether any certificate of the chain is issued by this common name: what a CA calls a chain by need not be its top.
pub(super) fn passes(chain: &[ParsedCertificate], common_name: &str) -> bool {
    let names = chain.iter().map(|c| c.issuer().common_name());
    names.flatten().any(|name| name == common_name)
}
