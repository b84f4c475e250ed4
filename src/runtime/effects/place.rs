//! Where each kind is written, which informer shows it, and under whose name.

use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use k8s_openapi::api::networking::v1::Ingress;
use kube::Resource;

use crate::api::issuer::{ClusterIssuer, Issuer};
use crate::api::{
    Certificate, CertificateRequest, CertificateRevocation, Challenge, ClusterOrderedIssuer, Order,
    OrderedIssuer, labels,
};
use crate::controllers::action::Target;
use crate::controllers::key::Kind;
use crate::controllers::progress::Informer;

/// Where a kind lives.
pub(super) struct Place {
    pub(super) path: String,
    pub(super) informer: Option<Informer>,
    pub(super) manager: &'static str,
}

pub(super) fn status_manager(kind: Kind) -> &'static str {
    match kind {
        Kind::Certificate => labels::MANAGER_CERTIFICATES_READINESS,
        Kind::CertificateRequest => labels::MANAGER_CERTIFICATEREQUESTS_APPROVER,
        Kind::Issuer => labels::MANAGER_ISSUERS,
        Kind::ClusterIssuer => labels::MANAGER_CLUSTERISSUERS,
        Kind::Order => labels::MANAGER_ORDERS,
        Kind::Challenge => labels::MANAGER_CHALLENGES,
        Kind::Ingress => labels::MANAGER_INGRESS_SHIM,
        Kind::Revocation => labels::MANAGER_CERTIFICATEREVOCATIONS,
        Kind::OrderedIssuer | Kind::ClusterOrderedIssuer => labels::MANAGER_ORDERED_ISSUERS,
    }
}

pub(super) fn place_of(kind: Kind, namespace: &str, manager: &'static str) -> Place {
    let namespace = (!namespace.is_empty()).then_some(namespace);
    let (path, informer) = match kind {
        Kind::Certificate => (
            Certificate::url_path(&(), namespace),
            Informer::Certificates,
        ),
        Kind::CertificateRequest => (
            CertificateRequest::url_path(&(), namespace),
            Informer::CertificateRequests,
        ),
        Kind::Issuer => (Issuer::url_path(&(), namespace), Informer::Issuers),
        Kind::ClusterIssuer => (ClusterIssuer::url_path(&(), None), Informer::ClusterIssuers),
        Kind::Order => (Order::url_path(&(), namespace), Informer::Orders),
        Kind::Challenge => (Challenge::url_path(&(), namespace), Informer::Challenges),
        Kind::Ingress => (Ingress::url_path(&(), namespace), Informer::Ingresses),
        Kind::Revocation => (
            CertificateRevocation::url_path(&(), namespace),
            Informer::Revocations,
        ),
        Kind::OrderedIssuer => (
            OrderedIssuer::url_path(&(), namespace),
            Informer::OrderedIssuers,
        ),
        Kind::ClusterOrderedIssuer => (
            ClusterOrderedIssuer::url_path(&(), None),
            Informer::ClusterOrderedIssuers,
        ),
    };
    Place {
        path,
        informer: Some(informer),
        manager,
    }
}

pub(super) fn account_secret_place(namespace: &str) -> Place {
    Place {
        path: Secret::url_path(&(), Some(namespace)),
        informer: Some(Informer::OtherSecrets),
        manager: labels::MANAGER_ISSUERS,
    }
}

pub(super) fn target_place(target: Target, namespace: &str) -> (String, Informer) {
    let namespace = Some(namespace);
    match target {
        Target::Certificate => (
            Certificate::url_path(&(), namespace),
            Informer::Certificates,
        ),
        Target::CertificateRequest => (
            CertificateRequest::url_path(&(), namespace),
            Informer::CertificateRequests,
        ),
        Target::Challenge => (Challenge::url_path(&(), namespace), Informer::Challenges),
        Target::Order => (Order::url_path(&(), namespace), Informer::Orders),
        Target::Secret => (Secret::url_path(&(), namespace), Informer::Secrets),
        Target::Pod => (Pod::url_path(&(), namespace), Informer::SolverPods),
        Target::Service => (Service::url_path(&(), namespace), Informer::SolverServices),
        Target::Ingress => (Ingress::url_path(&(), namespace), Informer::Ingresses),
        Target::Revocation => (
            CertificateRevocation::url_path(&(), namespace),
            Informer::Revocations,
        ),
    }
}

/// The resource in a path, among those that are written.
pub(super) fn resource(path: &str) -> &'static str {
    const KNOWN: [&str; 17] = [
        "certificates",
        "certificaterequests",
        "certificaterevocations",
        "issuers",
        "clusterissuers",
        "orders",
        "challenges",
        "secrets",
        "events",
        "pods",
        "services",
        "configmaps",
        "ingresses",
        "endpointslices",
        "leases",
        "orderedissuers",
        "clusterorderedissuers",
    ];
    KNOWN
        .into_iter()
        .find(|name| path.split('/').any(|part| part == *name))
        .unwrap_or("other")
}
