//! What is kept of an ordered issuer.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::Identity;
use crate::api::meta::{CLUSTER_ISSUER_KIND, Condition, ISSUER_KIND, IssuerReference};
use crate::api::{OrderedIssuerSpec, OrderedIssuerStatus, labels};
use crate::controllers::status::find;

/// An OrderedIssuer or ClusterOrderedIssuer.
#[derive(Debug, Clone)]
pub struct OrderedFact {
    /// Identity; the namespace of a ClusterOrderedIssuer is empty.
    pub id: Identity,
    /// `metadata.generation`.
    pub generation: i64,
    /// `spec`.
    pub spec: OrderedIssuerSpec,
    /// `status`.
    pub status: OrderedIssuerStatus,
}

impl OrderedFact {
    /// Reduce an object.
    pub fn of(
        meta: &ObjectMeta,
        spec: OrderedIssuerSpec,
        status: Option<OrderedIssuerStatus>,
    ) -> Self {
        Self {
            id: Identity::of(meta),
            generation: meta.generation.unwrap_or_default(),
            spec,
            status: status.unwrap_or_default(),
        }
    }

    /// Whether it has no namespace.
    pub fn is_cluster_wide(&self) -> bool {
        self.id.namespace.is_empty()
    }

    /// The issuers, with their kind.
    pub fn issuers(&self) -> impl Iterator<Item = IssuerReference> {
        let default = if self.is_cluster_wide() {
            CLUSTER_ISSUER_KIND
        } else {
            ISSUER_KIND
        };
        self.spec.issuers.iter().map(move |listed| IssuerReference {
            group: Some(labels::GROUP.to_owned()),
            kind: Some(listed.kind.clone().unwrap_or_else(|| default.to_owned())),
            name: listed.name.clone(),
        })
    }

    /// The Ready condition.
    pub fn ready(&self) -> Option<&Condition> {
        find(
            self.status.conditions.as_deref().unwrap_or_default(),
            "Ready",
        )
    }
}
