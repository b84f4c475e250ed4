//! How far each informer has come, so that a reconcile can wait for its own writes.
//!
//! A watch delivers the versions of one kind in order, and versions of one kind compare as numbers
//! (Kubernetes KEP-5504), so one number an informer is enough.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

/// One watch each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Informer {
    /// Certificates.
    Certificates,
    /// CertificateRequests.
    CertificateRequests,
    /// Issuers.
    Issuers,
    /// ClusterIssuers.
    ClusterIssuers,
    /// Orders.
    Orders,
    /// Challenges.
    Challenges,
    /// Secrets with the label `controller.cert-manager.io/fao`, whole.
    Secrets,
    /// All other Secrets, metadata only.
    OtherSecrets,
    /// Ingresses.
    Ingresses,
    /// IngressClasses.
    IngressClasses,
    /// Pods of HTTP-01 solvers.
    SolverPods,
    /// Services of HTTP-01 solvers.
    SolverServices,
    /// CertificateRevocations.
    Revocations,
    /// ConfigMaps of revocation lists.
    RevocationLists,
    /// OrderedIssuers.
    OrderedIssuers,
    /// ClusterOrderedIssuers.
    ClusterOrderedIssuers,
}

impl Informer {
    /// How many there are.
    pub const COUNT: usize = 16;

    /// All of them, in the order of their index.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Certificates,
        Self::CertificateRequests,
        Self::Issuers,
        Self::ClusterIssuers,
        Self::Orders,
        Self::Challenges,
        Self::Secrets,
        Self::OtherSecrets,
        Self::Ingresses,
        Self::IngressClasses,
        Self::SolverPods,
        Self::SolverServices,
        Self::Revocations,
        Self::RevocationLists,
        Self::OrderedIssuers,
        Self::ClusterOrderedIssuers,
    ];

    /// Name for logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Certificates => "certificates",
            Self::CertificateRequests => "certificaterequests",
            Self::Issuers => "issuers",
            Self::ClusterIssuers => "clusterissuers",
            Self::Orders => "orders",
            Self::Challenges => "challenges",
            Self::Secrets => "secrets",
            Self::OtherSecrets => "secrets-metadata",
            Self::Ingresses => "ingresses",
            Self::IngressClasses => "ingressclasses",
            Self::SolverPods => "solver-pods",
            Self::SolverServices => "solver-services",
            Self::Revocations => "certificaterevocations",
            Self::RevocationLists => "revocation-lists",
            Self::OrderedIssuers => "orderedissuers",
            Self::ClusterOrderedIssuers => "clusterorderedissuers",
        }
    }

    /// Whether it is of a kind of ours, whose definition a cluster that came from cert-manager may not have yet, or is not
    /// for us to watch there: then there are none.
    pub fn is_optional(self) -> bool {
        matches!(
            self,
            Self::OrderedIssuers
                | Self::ClusterOrderedIssuers
                | Self::Revocations
                | Self::RevocationLists
        )
    }
}

/// A write that an informer has to show: its version, and when it was made.
#[derive(Debug, Clone)]
pub struct Seen {
    informer: Informer,
    version: u64,
    written: Instant,
}

impl Seen {
    /// `version` is the resource version in the API server's reply. One that is no number counts as
    /// seen: nothing can be compared with it.
    pub fn new(informer: Informer, version: &str, written: Instant) -> Self {
        Self {
            informer,
            version: version.parse().unwrap_or(0),
            written,
        }
    }

    /// Whether the other one is delivered whenever this one is.
    pub fn implies(&self, other: &Self) -> bool {
        self.informer == other.informer
            && self.version >= other.version
            && self.written >= other.written
    }
}

/// How far all informers have come.
#[derive(Debug, Default)]
pub struct Progress {
    versions: [AtomicU64; Informer::COUNT],
    listed: [Mutex<Option<Instant>>; Informer::COUNT],
}

impl Progress {
    /// An object of this version was delivered.
    pub fn advance(&self, informer: Informer, version: &str) {
        if let (Some(slot), Ok(version)) = (self.versions.get(informer as usize), version.parse()) {
            slot.fetch_max(version, Ordering::AcqRel);
        }
    }

    /// A whole list that began at `began` was delivered: it holds every write made before.
    pub fn listed(&self, informer: Informer, began: Instant) {
        if let Some(slot) = self.listed.get(informer as usize) {
            *slot.lock() = Some(began);
        }
    }

    /// Whether each informer has delivered its first list.
    pub fn waiting_for(&self) -> Vec<Informer> {
        let listed = |i: &Informer| {
            self.listed
                .get(*i as usize)
                .is_some_and(|l| l.lock().is_some())
        };
        Informer::ALL.into_iter().filter(|i| !listed(i)).collect()
    }

    /// Whether this write has been delivered.
    pub fn has(&self, seen: &Seen) -> bool {
        let index = seen.informer as usize;
        let passed = self
            .versions
            .get(index)
            .is_some_and(|v| v.load(Ordering::Acquire) >= seen.version);
        passed
            || self
                .listed
                .get(index)
                .is_some_and(|l| l.lock().is_some_and(|began| began > seen.written))
    }
}
