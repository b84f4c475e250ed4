//! The Kubernetes API that Everleaf serves: cert-manager's six kinds and its own, with their schema.
//!
//! Types mirror the stored JSON. What is optional there is an `Option` here, lists and maps
//! included, so that absent and empty stay distinct and no default is ever stored that the user
//! did not write. Fields with a closed set of values are strings: the schema guards what is
//! written, and reading never fails on a value that a newer version stored.

mod absent;
pub mod acme_issuer;
mod base64_bytes;

pub mod certificate;
pub mod certificate_request;
pub mod challenge;
pub mod crd;
pub mod dns01;
pub mod duration;
#[cfg(test)]
mod fixtures;
mod go_json;
mod go_shapes;
pub mod issuer;
pub mod item;
pub mod labels;
pub mod meta;
pub mod names;
pub mod order;
pub mod ordered_issuer;
pub mod revocation;
mod schema;
pub mod solver;
pub mod vault;
pub mod vault_auth;
pub mod venafi;

pub use certificate::{Certificate, CertificateSpec, CertificateStatus};
pub use certificate_request::{
    CertificateRequest, CertificateRequestSpec, CertificateRequestStatus,
};
pub use challenge::{Challenge, ChallengeSpec, ChallengeStatus};
pub use crd::{crds, crds_yaml};
pub use issuer::{AnyIssuer, ClusterIssuer, ClusterIssuerSpec, Issuer, IssuerSpec, IssuerStatus};
pub use item::Item;
pub use meta::{Condition, IssuerReference, LocalObjectReference, SecretKeySelector};
pub use order::{Order, OrderSpec, OrderStatus};
pub use ordered_issuer::{
    ClusterOrderedIssuer, OrderedIssuer, OrderedIssuerSpec, OrderedIssuerStatus,
};
pub use revocation::{
    CertificateRevocation, CertificateRevocationSpec, CertificateRevocationStatus,
    RevokedCertificate,
};

#[cfg(test)]
mod tests;
