//! One chain out of a bag of certificates, as CAs hand them out: unordered, with duplicates, without the root
//! (contract §6.1).

use std::cmp::Reverse;
use std::collections::VecDeque;

use super::{Error, ParsedCertificate};

/// The most certificates that a bag may hold beside the leaf, duplicates not counted.
pub const MAX_CERTIFICATES: usize = 1000;

/// A chain, as a server presents it, and what its clients have to trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Leaf first, each signed by the next. A self-signed root is left out, unless it is the leaf.
    pub certificates: Vec<ParsedCertificate>,
    /// The root-most certificate known. `None` if that is the leaf and others have signed it.
    pub ca: Option<ParsedCertificate>,
}

/// The chain of `leaf` through a bag of certificates, whatever their order. Who signed whom is told by the issuer's
/// name and the signature.
///
/// A CA that others have cross-signed offers several ways up: the shortest to a self-signed root is taken; where no
/// root is known, the one that is known furthest. Of two certificates that serve alike, it is the one that ends later.
///
/// # Errors
///
/// [`Error::StrayCertificate`] for a certificate of the bag that no way from the leaf leads to,
/// [`Error::UnverifiableChain`] if that is so because of a signature of an unknown kind, and
/// [`Error::TooManyCertificates`].
pub fn build_chain(leaf: &ParsedCertificate, bag: &[ParsedCertificate]) -> Result<Chain, Error> {
    let mut others: Vec<_> = bag.iter().filter(|other| *other != leaf).collect();
    // Any order of the bag is the same bag.
    others.sort_by_key(|other| (Reverse(other.not_after()), other.der()));
    others.dedup();
    if others.len() > MAX_CERTIFICATES {
        return Err(Error::TooManyCertificates(MAX_CERTIFICATES));
    }
    let paths = Paths::walk(leaf, &others);
    if let Some(stray) = others.iter().find(|other| !paths.lead_to(other)) {
        let below = std::iter::once(leaf).chain(others.iter().copied());
        return Err(unverifiable(below, stray)
            .unwrap_or_else(|| Error::StrayCertificate(stray.short_subject())));
    }
    let mut certificates = paths.to_top();
    let top = certificates.last().copied().unwrap_or(leaf);
    let rooted = top.is_self_signed();
    let alone = certificates.len() == 1;
    if rooted && !alone {
        certificates.pop();
    }
    Ok(Chain {
        certificates: certificates.into_iter().cloned().collect(),
        ca: (rooted || !alone).then(|| top.clone()),
    })
}

/// Why it cannot be told what `issuer` has signed of these, if so.
fn unverifiable<'a>(
    mut certificates: impl Iterator<Item = &'a ParsedCertificate>,
    issuer: &ParsedCertificate,
) -> Option<Error> {
    certificates.find_map(|certificate| match certificate.verify_issued_by(issuer) {
        Ok(()) | Err(Error::BadSignature(_)) => None,
        Err(problem) => Some(Error::UnverifiableChain {
            subject: certificate.short_subject(),
            issuer: issuer.short_subject(),
            problem: problem.to_string(),
        }),
    })
}

/// The certificates that were reached from the leaf, nearest first.
struct Paths<'a>(Vec<Step<'a>>);

struct Step<'a> {
    certificate: &'a ParsedCertificate,
    /// Where the one below it is; the leaf has none.
    below: Option<usize>,
    depth: usize,
}

impl<'a> Paths<'a> {
    /// Breadth first, so that each is reached by the shortest way, and never twice.
    fn walk(leaf: &'a ParsedCertificate, others: &[&'a ParsedCertificate]) -> Self {
        let mut steps = vec![Step {
            certificate: leaf,
            below: None,
            depth: 0,
        }];
        let mut open = others.to_vec();
        let mut next = VecDeque::from([(0, leaf, 0)]);
        while let Some((below, certificate, depth)) = next.pop_front() {
            let issuers = issuers(certificate, &open);
            open.retain(|other| !issuers.contains(other));
            for issuer in issuers {
                next.push_back((steps.len(), issuer, depth + 1));
                steps.push(Step {
                    certificate: issuer,
                    below: Some(below),
                    depth: depth + 1,
                });
            }
        }
        Self(steps)
    }

    fn lead_to(&self, certificate: &ParsedCertificate) -> bool {
        self.0.iter().any(|step| step.certificate == certificate)
    }

    /// From the leaf to the top of the chain.
    fn to_top(&self) -> Vec<&'a ParsedCertificate> {
        let root = self.0.iter().find(|s| s.certificate.is_self_signed());
        // Of several that are as far, the first: `rev`, because the last of equals is the maximum.
        let top = root.or_else(|| self.0.iter().rev().max_by_key(|step| step.depth));
        let mut path = Vec::new();
        let mut at = top;
        while let Some(step) = at {
            path.push(step.certificate);
            at = step.below.and_then(|below| self.0.get(below));
        }
        path.reverse();
        path
    }
}

/// Those that have signed a certificate: all of one key, since a signature is of one key only.
fn issuers<'a>(
    certificate: &ParsedCertificate,
    others: &[&'a ParsedCertificate],
) -> Vec<&'a ParsedCertificate> {
    let named = || {
        let named = |other: &&&ParsedCertificate| {
            other.subject() == certificate.issuer() && other.may_issue()
        };
        others.iter().filter(named).copied()
    };
    let signed = |other: &&ParsedCertificate| certificate.verify_issued_by(other).is_ok();
    let Some(signer) = named().find(signed) else {
        return vec![];
    };
    named()
        .filter(|other| other.public_key_der() == signer.public_key_der())
        .collect()
}
