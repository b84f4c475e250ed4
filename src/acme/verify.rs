//! Whether a certificate is the one that was asked for: a CA's slip must not reach a Secret.

use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};

use super::CertificateChain;
use crate::pki::{CertificateSigningRequest, ParsedCertificate, check_chain_order, leading_up};

/// How far the CA's clock may be ahead of ours.
const SKEW: SignedDuration = SignedDuration::from_mins(10);

/// A chain is put in order up to this many certificates: each is compared with each.
const SORTED: usize = 10;

/// What is wrong with a chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No certificate has the public key of the request.
    #[error("it is for another public key than the request")]
    OtherKey,
    /// Anything else, in words.
    #[error("{0}")]
    Other(String),
}

impl CertificateChain {
    /// What is wrong with the chain as an answer to `csr`. More names than asked for are no fault: some CAs
    /// add `www` by themselves.
    pub fn fault(&self, csr: &CertificateSigningRequest, now: Timestamp) -> Option<Fault> {
        let leaf = self.certificates.first()?;
        let is_of_key = |c: &ParsedCertificate| c.public_key_der() == csr.public_key_der();
        if !self.certificates.iter().any(is_of_key) {
            return Some(Fault::OtherKey);
        }
        if !is_of_key(leaf) {
            return Some(Fault::Other("it does not come first".into()));
        }
        self.other_fault(leaf, csr, now).map(Fault::Other)
    }

    /// The chain as a server is to send it (RFC 5246 §7.4.2): what leads up from the certificate that answers `csr`, in order.
    /// Some CAs add others, or have them as they come. What has a fault at its start stays as it is.
    #[must_use]
    pub fn in_order(self, csr: &CertificateSigningRequest) -> Self {
        let is_leaf = |c: &ParsedCertificate| c.public_key_der() == csr.public_key_der();
        if self.certificates.len() > SORTED || !self.certificates.first().is_some_and(is_leaf) {
            return self;
        }
        let certificates = leading_up(&self.certificates);
        if certificates.len() < 2 || certificates == self.certificates {
            return self;
        }
        let subjects = self.certificates.iter().map(|c| c.subject().to_string());
        let subjects: Vec<_> = subjects.collect();
        tracing::warn!(?subjects, "the CA's chain is put in order");
        Self {
            pem: certificates.iter().map(ParsedCertificate::to_pem).collect(),
            certificates,
            ..self
        }
    }

    fn other_fault(
        &self,
        leaf: &ParsedCertificate,
        csr: &CertificateSigningRequest,
        now: Timestamp,
    ) -> Option<String> {
        if let Some(name) = self.missing_name(csr) {
            return Some(format!("it does not name \"{name}\""));
        }
        if leaf.is_ca() && csr.is_ca() != Some(true) {
            return Some("it is one of a CA, which nobody asked for".into());
        }
        if leaf.not_after() <= now {
            return Some(format!("it has expired at {}", leaf.not_after()));
        }
        if leaf.not_before() > now.saturating_add(SKEW).unwrap_or(now) {
            return Some(format!(
                "it is not valid before {}: the clock of the CA or of this node is wrong",
                leaf.not_before()
            ));
        }
        check_chain_order(&self.certificates)
            .err()
            .map(|error| error.to_string())
    }

    fn missing_name(&self, csr: &CertificateSigningRequest) -> Option<String> {
        let has = self.certificates.first()?.sans();
        let names: Vec<_> = has.dns_names.iter().map(|n| n.to_lowercase()).collect();
        let addresses: Vec<_> = has.ip_addresses.iter().map(IpAddr::to_canonical).collect();
        let asked = csr.sans();
        let mut missing = asked
            .dns_names
            .iter()
            .filter(|name| !names.contains(&name.to_lowercase()));
        let mut unaddressed = asked
            .ip_addresses
            .iter()
            .filter(|address| !addresses.contains(&address.to_canonical()));
        missing
            .next()
            .cloned()
            .or_else(|| unaddressed.next().map(ToString::to_string))
    }
}
