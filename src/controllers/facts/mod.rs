//! What the informers keep of each object: enough to decide that there is nothing to do, without a
//! request and without a private key in memory.

mod applied;
mod details;
mod ingress;
mod issuer;
mod ordered;
mod outputs;
pub mod ownership;
mod packed;
mod pod;
mod request;
mod secret;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

pub use applied::{Applied, is_template_annotation, is_template_label};
pub use details::details;
pub use ingress::{IngressFact, SolverFact};
pub use issuer::{AccountKeyWish, IssuerFact};
pub use ordered::OrderedFact;
pub use outputs::{Output, OutputsFact, ca_digest, stores_digest, trust_digest};
pub use packed::Packed;
pub use pod::PodView;
pub use request::{Made, RequestFact};
pub use secret::{KeyFact, LeafFact, SecretFact};

use crate::api::{Certificate, labels};

/// Identity and version of an object.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Identity {
    /// Empty for a cluster-scoped object.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
    /// The uid.
    pub uid: String,
    /// The resource version.
    pub version: String,
    /// Being deleted.
    pub deleting: bool,
    /// When it was created.
    pub created: Timestamp,
}

impl Identity {
    /// Read it from an object's metadata.
    pub fn of(meta: &ObjectMeta) -> Self {
        Self {
            namespace: meta.namespace.as_deref().unwrap_or_default().into(),
            name: meta.name.as_deref().unwrap_or_default().into(),
            uid: meta.uid.clone().unwrap_or_default(),
            version: meta.resource_version.clone().unwrap_or_default(),
            deleting: meta.deletion_timestamp.is_some(),
            created: meta
                .creation_timestamp
                .as_ref()
                .map_or(Timestamp::UNIX_EPOCH, |t| t.0),
        }
    }
}

/// The controller among the owners, if it is of this kind, and of the API that we speak: others have Certificates, too. An
/// Ingress is one in whichever group it was when it was written.
pub fn controller_of<'a>(meta: &'a ObjectMeta, kind: &str) -> Option<&'a OwnerReference> {
    let is_known = |version: &str| {
        let group = version.split_once('/').map(|(group, _)| group);
        kind == "Ingress" || group.is_some_and(|group| labels::GROUPS.contains(&group))
    };
    meta.owner_references
        .as_deref()?
        .iter()
        .find(|o| o.controller == Some(true) && o.kind == kind && is_known(&o.api_version))
}

/// The Certificate that controls an object: uid and name. There are thousands: a pair of strings is smaller so, and an
/// index shares them.
pub type Owner = (Arc<str>, Arc<str>);

/// The Certificate that controls it: uid and name.
pub fn owner_of(meta: &ObjectMeta) -> Option<Owner> {
    controller_of(meta, "Certificate").map(|o| (o.uid.as_str().into(), o.name.as_str().into()))
}

/// When the object was last changed other than in its status, by its managed fields: it survives a
/// restart of the operator.
fn changed_at(meta: &ObjectMeta) -> Option<Timestamp> {
    meta.managed_fields
        .as_deref()?
        .iter()
        .filter(|f| f.subresource.as_deref().unwrap_or_default().is_empty())
        .filter_map(|f| f.time.as_ref().map(|t| t.0))
        .max()
}

/// When the status was last changed, by the same.
pub fn status_changed_at(meta: &ObjectMeta) -> Option<Timestamp> {
    let fields = meta.managed_fields.as_deref()?.iter();
    let of_status = fields.filter(|f| f.subresource.as_deref() == Some("status"));
    of_status.filter_map(|f| f.time.as_ref().map(|t| t.0)).max()
}

/// Drop what nobody reads: managed fields (most of an object's memory) and kubectl's copy of it.
pub fn prune(meta: &mut ObjectMeta) {
    meta.managed_fields = None;
    if let Some(annotations) = &mut meta.annotations {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
}

/// A Certificate: all but what nobody reads; renewal needs all of its spec.
/// Of the managed fields only what the Ingress shim needs is left.
pub fn certificate(mut object: Certificate) -> Certificate {
    let shim = object
        .metadata
        .managed_fields
        .as_deref()
        .and_then(ownership::kept);
    prune(&mut object.metadata);
    object.metadata.managed_fields = shim;
    object
}

#[cfg(test)]
mod tests;
