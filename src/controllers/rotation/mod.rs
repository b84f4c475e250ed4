//! Another CA in the Secret of a CA issuer with `spec.ca.rotation` (ADR 11): its certificates follow in
//! waves, and at each moment each of them verifies against its own `ca.crt` and against that of every
//! other.
//!
//! A rotation is a sweep over the certificates in the order of expiry, three times: the new root goes into
//! `ca.crt`, the certificates are issued anew, the old root goes. Its state is in the status of the issuer;
//! what a certificate is at is read off its Secret.

mod advance;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

pub use advance::{Pace, Terms, Turn, advance};

use super::facts::{IssuerFact, SecretFact, ca_digest};
use super::status::{find, seconds};
use crate::api::Certificate;
use crate::api::issuer::{CaRotationPlace, CaRotationStatus};
use crate::pki::{ParsedCertificate, parse_bundle};

/// The CA in a Secret, as far as one is told from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signing {
    /// Digest of name and key of the CA and of its root.
    pub authority: String,
    /// The root-most certificate known, in PEM.
    pub root: String,
}

/// What the status of an issuer says of its CA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// See [`Signing::authority`].
    pub authority: String,
    /// PEM of what clients are to trust, the root of now first.
    pub roots: String,
    /// The rotation under way.
    pub rotation: Option<Rotation>,
}

/// A rotation under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// What is being done.
    pub phase: Phase,
    /// Certificates that begin before are of an old CA.
    pub started: Timestamp,
    /// When the phase began.
    pub since: Timestamp,
    /// When its newest wave began.
    pub wave: Option<Timestamp>,
    /// The last certificate of that wave.
    pub reached: Option<Place>,
    /// How many certificates there were then.
    pub certificates: usize,
    /// With how many of them the phase was done.
    pub done: usize,
}

/// The parts of a rotation, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The new root goes into each `ca.crt`.
    Trusting,
    /// The certificates of the old CA are issued anew.
    Reissuing,
    /// Both roots stay.
    Overlapping,
    /// The old root goes.
    Retiring,
}

impl Phase {
    const ALL: [Self; 4] = [
        Self::Trusting,
        Self::Reissuing,
        Self::Overlapping,
        Self::Retiring,
    ];

    /// As the status has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Trusting => "Trusting",
            Self::Reissuing => "Reissuing",
            Self::Overlapping => "Overlapping",
            Self::Retiring => "Retiring",
        }
    }
}

/// A certificate's place in the order of expiry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Its end.
    pub not_after: Timestamp,
    /// Namespace of its Secret.
    pub namespace: Arc<str>,
    /// Name of its Secret.
    pub name: Arc<str>,
}

/// A certificate of the issuer, as its Secret has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Its place.
    pub place: Place,
    /// Its beginning.
    pub not_before: Timestamp,
    /// Digest of `ca.crt`.
    pub ca: u32,
    /// Digest of whom `ca.crt` has clients trust; see [`trust_digest`](super::facts::trust_digest).
    pub trust: u32,
    /// `ca.crt` was seen to hold all roots, and others beside them.
    pub noted: bool,
    /// It has failed, or cannot be worked on: nobody should wait for it.
    pub stuck: bool,
}

/// What a rotation wants of a certificate now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Nothing.
    Nothing,
    /// All roots in `ca.crt`, beside what is there.
    Trust,
    /// A certificate of the new CA.
    Reissue,
    /// The root of now in `ca.crt`, and no other.
    Retire,
}

impl Leaf {
    /// `None` if the Secret holds no certificate that this Certificate has from its issuer.
    pub fn of(certificate: &Certificate, secret: &SecretFact) -> Option<Self> {
        let meta = &certificate.metadata;
        let leaf = secret.certificate.as_ref()?.as_ref().ok()?;
        let reference = &certificate.spec.issuer_ref;
        let [issuer, kind, _] = &secret.issuer;
        let kind = kind.as_deref().filter(|kind| !kind.is_empty());
        let is_its_own = secret.certificate_name.is_some()
            && secret.certificate_name.as_deref() == meta.name.as_deref()
            && issuer.as_ref() == Some(&reference.name)
            && kind.unwrap_or("Issuer") == reference.kind_or_default();
        if !is_its_own || meta.deletion_timestamp.is_some() {
            return None;
        }
        let status = certificate.status.as_ref();
        let conditions = status.and_then(|s| s.conditions.as_deref());
        let is = |kind, status| {
            find(conditions.unwrap_or_default(), kind).is_some_and(|c| c.status == status)
        };
        Some(Self {
            place: Place {
                not_after: leaf.not_after,
                namespace: secret.id.namespace.clone(),
                name: secret.id.name.clone(),
            },
            not_before: leaf.not_before,
            ca: secret.outputs.ca,
            trust: secret.outputs.trust,
            noted: false,
            stuck: is("Issuing", "False") || (is("Ready", "False") && !is("Issuing", "True")),
        })
    }
}

impl Known {
    /// `None` if the issuer does not ask for rotations, or its CA was not seen yet.
    pub fn of(issuer: &IssuerFact) -> Option<Self> {
        issuer.spec.ca.as_ref()?.rotation.as_ref()?;
        let status = issuer.status.ca.as_ref()?;
        Some(Self {
            authority: status.authority.clone(),
            roots: status.roots.clone(),
            rotation: status.rotation.as_ref().and_then(Rotation::of),
        })
    }

    /// What the rotation wants of a certificate now.
    pub fn wish(&self, leaf: &Leaf) -> Wish {
        let Some(rotation) = &self.rotation else {
            return Wish::Nothing;
        };
        let had_turn = rotation.reached.as_ref() >= Some(&leaf.place);
        let wanted = rotation.is_wanted(leaf, ca_digest(self.roots.as_bytes()));
        match rotation.phase {
            Phase::Trusting if wanted && had_turn => Wish::Trust,
            // Whoever missed its turn; a certificate that was being written when the rotation began.
            Phase::Reissuing | Phase::Overlapping if !self.is_trusting(leaf) => Wish::Trust,
            Phase::Reissuing if wanted && had_turn => Wish::Reissue,
            Phase::Retiring if wanted && had_turn => Wish::Retire,
            _ => Wish::Nothing,
        }
    }

    /// Until not everybody trusts the new root, nothing that can wait is signed with it: why.
    pub fn waits(&self) -> Option<String> {
        let rotation = self.rotation.as_ref()?;
        let early = match rotation.phase {
            Phase::Trusting => true,
            Phase::Reissuing => rotation.wave.is_none(),
            Phase::Overlapping | Phase::Retiring => false,
        };
        early.then(|| {
            let (done, all) = (rotation.done, rotation.certificates);
            format!("Another CA came into the Secret of the issuer: this renewal waits until all trust it ({done} of {all} hold its root)")
        })
    }

    fn is_trusting(&self, leaf: &Leaf) -> bool {
        leaf.noted || leaf.ca == ca_digest(self.roots.as_bytes())
    }

    /// For a merge patch of `status.ca`: what is not there is null.
    pub fn to_status(&self) -> Value {
        json!({
            "authority": self.authority,
            "roots": self.roots,
            "rotation": self.rotation.as_ref().map(Rotation::to_status),
        })
    }
}

impl Rotation {
    fn of(status: &CaRotationStatus) -> Option<Self> {
        let place = |place: &CaRotationPlace| Place {
            not_after: place.not_after.0,
            namespace: place.namespace.as_str().into(),
            name: place.name.as_str().into(),
        };
        Some(Self {
            phase: Phase::ALL
                .into_iter()
                .find(|phase| phase.name() == status.phase)?,
            started: status.started.0,
            since: status.since.0,
            wave: status.wave.as_ref().map(|time| time.0),
            reached: status.reached.as_ref().map(place),
            certificates: usize::try_from(status.certificates).unwrap_or_default(),
            done: usize::try_from(status.done).unwrap_or_default(),
        })
    }

    fn to_status(&self) -> Value {
        let time = |time: Timestamp| -> Time { seconds(time) };
        json!({
            "phase": self.phase.name(),
            "started": time(self.started),
            "since": time(self.since),
            "wave": self.wave.map(time),
            "reached": self.reached.as_ref().map(|place| json!({
                "notAfter": time(place.not_after),
                "namespace": *place.namespace,
                "name": *place.name,
            })),
            "certificates": self.certificates,
            "done": self.done,
        })
    }

    /// Whether a certificate is not of the CA of now.
    pub fn is_old(&self, leaf: &Leaf) -> bool {
        leaf.not_before < self.started
    }

    /// Whether this phase has something to do with a certificate, given the digest of all roots.
    fn is_wanted(&self, leaf: &Leaf, roots: u32) -> bool {
        match self.phase {
            Phase::Trusting => !leaf.noted && leaf.ca != roots,
            Phase::Reissuing => self.is_old(leaf),
            Phase::Overlapping => false,
            // One of an old CA needs what it has.
            Phase::Retiring => leaf.ca != roots && !self.is_old(leaf),
        }
    }
}

/// The certificates of a bundle, each in PEM. One that cannot be read has none.
fn split(bundle: &[u8]) -> Vec<String> {
    let found = parse_bundle(bundle).unwrap_or_default();
    found.iter().map(ParsedCertificate::to_pem).collect()
}

/// All roots, and those of `more` that are not among them.
pub fn merged(roots: &str, more: &[u8]) -> String {
    let mut all = split(roots.as_bytes());
    for other in split(more) {
        if !all.contains(&other) {
            all.push(other);
        }
    }
    all.concat()
}
