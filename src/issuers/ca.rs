//! Certificates signed by a CA whose key is in a Secret (contract §6.1).

use std::time::Duration;

use jiff::Timestamp;

use super::{Error, Request};
use crate::pki::{
    self, CertificateSigningRequest, Chain, IssuerIdentity, ParsedCertificate, PrivateKey,
    RevocationList, RevokedSerial, build_chain, parse_bundle, parse_chain, verify_key_matches,
};

/// A CA that can sign. Its key is wiped when it is dropped, and no formatter shows it.
#[derive(Debug)]
pub struct Authority {
    certificate: ParsedCertificate,
    key: PrivateKey,
    /// What goes with each certificate that it signs; why nothing can be signed if its own chain is broken.
    chain: Result<AboveLeaf, pki::Error>,
}

/// PEM of what is the same for all certificates of a CA.
#[derive(Debug)]
struct AboveLeaf {
    /// What follows the leaf: the CA itself and what is above it, without a self-signed root.
    intermediates: String,
    /// The root-most certificate known.
    top: String,
    /// Digest of name and key of the CA and of its root.
    line: String,
}

/// The entries of a CA's Secret.
#[derive(Clone, Copy)]
pub struct Entries<'a> {
    /// `tls.crt`: the CA first, then what is above it in any order.
    pub certificate: Option<&'a [u8]>,
    /// `tls.key`.
    pub key: Option<&'a [u8]>,
    /// `ca.crt`, whose first certificate is the top of the chain.
    pub ca: Option<&'a [u8]>,
}

/// Why nothing can be signed with what is in the Secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// An entry is not there, or empty.
    #[error("no data for \"{0}\"")]
    Missing(&'static str),
    /// An entry cannot be read.
    #[error("{0}: {1}")]
    Unreadable(&'static str, pki::Error),
    /// The first certificate does not say that it is a CA.
    #[error("certificate is not a CA")]
    NotCa,
    /// The first certificate has usages, and signing certificates is not among them.
    #[error("the key usages of the certificate do not include cert sign")]
    NoCertSign,
    /// The key is another one than the certificate's.
    #[error("the private key in tls.key is not the one of the first certificate in tls.crt")]
    OtherKey,
}

/// A certificate and what goes with it, in PEM.
#[derive(Debug, PartialEq, Eq)]
pub struct Issued {
    /// The chain, leaf first, without a self-signed root.
    pub certificate: String,
    /// The root-most certificate known.
    pub ca: String,
    /// The end of validity, if that is earlier than asked for, because the CA's own is.
    pub clamped: Option<Timestamp>,
}

impl Authority {
    /// From the entries of its Secret.
    pub fn load(entries: Entries<'_>) -> Result<Self, Unusable> {
        let certificates = read("tls.crt", entries.certificate, parse_chain)?;
        let key = read("tls.key", entries.key, PrivateKey::from_pem)?;
        let mut certificates = certificates.into_iter();
        let certificate = certificates.next().ok_or(Unusable::Missing("tls.crt"))?;
        if !certificate.is_ca() {
            return Err(Unusable::NotCa);
        }
        if !certificate.may_issue() {
            return Err(Unusable::NoCertSign);
        }
        verify_key_matches(&certificate, &key).map_err(|_| Unusable::OtherKey)?;
        let mut bag: Vec<_> = certificates.collect();
        if entries.ca.is_some_and(|pem| !pem.is_empty()) {
            bag.extend(
                read("ca.crt", entries.ca, parse_bundle)?
                    .into_iter()
                    .take(1),
            );
        }
        let chain = build_chain(&certificate, &bag).map(|chain| above(&certificate, &chain));
        Ok(Self {
            certificate,
            key,
            chain,
        })
    }

    /// When it begins to be valid, and the last second that it is.
    pub fn validity(&self) -> (Timestamp, Timestamp) {
        (self.certificate.not_before(), self.certificate.not_after())
    }

    /// Digest of name and key of the CA and of its root, and that root in PEM; `None` if its chain is broken.
    /// The same CA with another validity is the same.
    pub fn line(&self) -> Option<(&str, &str)> {
        let chain = self.chain.as_ref().ok()?;
        Some((&chain.line, &chain.top))
    }

    /// Whether its certificate lets it sign revocation lists.
    pub fn may_list(&self) -> bool {
        self.certificate.may_list()
    }

    /// Whether it has signed this certificate.
    pub fn has_signed(&self, certificate: &ParsedCertificate) -> bool {
        certificate.verify_issued_by(&self.certificate).is_ok()
    }

    /// Whether it has signed this revocation list.
    pub fn signs(&self, list: &RevocationList) -> bool {
        list.verify(self.certificate.public_key_der()).is_ok()
    }

    /// Sign a revocation list that is valid between these times.
    pub fn sign_list(
        &self,
        number: u64,
        begin: Timestamp,
        end: Timestamp,
        revoked: &[RevokedSerial],
    ) -> Result<RevocationList, pki::Error> {
        RevocationList::sign(self.identity(), number, begin, end, revoked)
    }

    fn identity(&self) -> IssuerIdentity<'_> {
        IssuerIdentity {
            subject_der: self.certificate.subject().as_der(),
            subject_key_id: self.certificate.subject_key_id(),
            key: &self.key,
        }
    }

    /// Sign. No certificate outlives its CA.
    pub fn sign(&self, request: &Request<'_>) -> Result<Issued, Error> {
        let chain = self.chain.as_ref().map_err(Clone::clone)?;
        let csr = CertificateSigningRequest::parse_pem(request.csr)?;
        let mut template = request.template(&csr)?;
        // Certificates know whole seconds only; the template cuts off the rest.
        let begin = request.not_before.as_second();
        let (_, end) = self.validity();
        let left = u64::try_from(end.as_second() - begin).unwrap_or_default();
        let left = Duration::from_secs(left);
        let clamped = template.duration > left;
        if clamped {
            template.duration = left;
        }
        let leaf = pki::sign(&template, self.identity())?;
        Ok(Issued {
            certificate: leaf.to_pem() + &chain.intermediates,
            ca: chain.top.clone(),
            clamped: clamped.then_some(end),
        })
    }
}

fn above(certificate: &ParsedCertificate, chain: &Chain) -> AboveLeaf {
    let intermediates = if certificate.is_self_signed() {
        String::new()
    } else {
        let pem = chain.certificates.iter().map(ParsedCertificate::to_pem);
        pem.collect()
    };
    let top = chain.ca.as_ref().unwrap_or(certificate);
    AboveLeaf {
        intermediates,
        top: top.to_pem(),
        line: pki::line_of(&[certificate, top]),
    }
}

fn read<T>(
    name: &'static str,
    entry: Option<&[u8]>,
    parse: impl Fn(&[u8]) -> Result<T, pki::Error>,
) -> Result<T, Unusable> {
    let pem = entry.filter(|pem| !pem.is_empty());
    parse(pem.ok_or(Unusable::Missing(name))?).map_err(|error| Unusable::Unreadable(name, error))
}
