//! The address of an object that a controller reconciles.

use std::sync::Arc;

/// The kinds that have a controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `cert-manager.io/v1` Certificate.
    Certificate,
    /// `cert-manager.io/v1` CertificateRequest.
    CertificateRequest,
    /// `cert-manager.io/v1` Issuer.
    Issuer,
    /// `cert-manager.io/v1` ClusterIssuer; its namespace is empty.
    ClusterIssuer,
    /// `acme.cert-manager.io/v1` Order.
    Order,
    /// `acme.cert-manager.io/v1` Challenge.
    Challenge,
    /// `networking.k8s.io/v1` Ingress.
    Ingress,
    /// `everleaf.io/v1alpha1` CertificateRevocation.
    Revocation,
    /// `everleaf.io/v1alpha1` OrderedIssuer.
    OrderedIssuer,
    /// `everleaf.io/v1alpha1` ClusterOrderedIssuer; its namespace is empty.
    ClusterOrderedIssuer,
}

impl Kind {
    /// How many there are.
    pub const COUNT: usize = 10;

    /// All of them, in the order of [`Kind::index`].
    pub const ALL: [Self; Self::COUNT] = [
        Self::Certificate,
        Self::CertificateRequest,
        Self::Issuer,
        Self::ClusterIssuer,
        Self::Order,
        Self::Challenge,
        Self::Ingress,
        Self::Revocation,
        Self::OrderedIssuer,
        Self::ClusterOrderedIssuer,
    ];

    /// Position in an array with one place a kind.
    pub fn index(self) -> usize {
        self as usize
    }

    /// The kind as manifests write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Certificate => "Certificate",
            Self::CertificateRequest => "CertificateRequest",
            Self::Issuer => "Issuer",
            Self::ClusterIssuer => "ClusterIssuer",
            Self::Order => "Order",
            Self::Challenge => "Challenge",
            Self::Ingress => "Ingress",
            Self::Revocation => "CertificateRevocation",
            Self::OrderedIssuer => "OrderedIssuer",
            Self::ClusterOrderedIssuer => "ClusterOrderedIssuer",
        }
    }

    /// The controller's name, as flags, metrics and event sources use it (contract §4.1).
    pub fn controller(self) -> &'static str {
        match self {
            Self::Certificate => "certificates",
            Self::CertificateRequest => "certificaterequests",
            Self::Issuer => "issuers",
            Self::ClusterIssuer => "clusterissuers",
            Self::Order => "orders",
            Self::Challenge => "challenges",
            Self::Ingress => "ingress-shim",
            Self::Revocation => "certificaterevocations",
            Self::OrderedIssuer => "orderedissuers",
            Self::ClusterOrderedIssuer => "clusterorderedissuers",
        }
    }
}

/// Kind, namespace and name; cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Which controller.
    pub kind: Kind,
    /// Empty for a cluster-scoped kind.
    pub namespace: Arc<str>,
    /// The object's name.
    pub name: Arc<str>,
}

impl Key {
    /// The key of an object.
    pub fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        Self {
            kind,
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ", self.kind.name())?;
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.name)
    }
}
