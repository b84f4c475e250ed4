//! An object on its way to being created.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::Serialize;

use super::{EffectError, bug, typed};
use crate::api::labels;
use crate::controllers::action::Object;
use crate::controllers::progress::Informer;

/// What is sent, and what is compared when something has the name already. The object is not kept: it
/// can be large, and a request can take seconds.
pub(super) struct Creation {
    pub(super) what: String,
    pub(super) path: String,
    pub(super) meta: Box<ObjectMeta>,
    pub(super) body: Vec<u8>,
    pub(super) informer: Option<Informer>,
    pub(super) manager: &'static str,
}

impl Creation {
    pub(super) fn of(object: &Object) -> Result<Self, EffectError> {
        match object {
            Object::Certificate(o) => {
                Self::new(o, Informer::Certificates, labels::MANAGER_INGRESS_SHIM)
            }
            Object::CertificateRequest(o) => Self::new(
                o,
                Informer::CertificateRequests,
                labels::MANAGER_CERTIFICATES_REQUEST_MANAGER,
            ),
            Object::Order(o) => Self::new(
                o,
                Informer::Orders,
                labels::MANAGER_CERTIFICATEREQUESTS_ISSUER_ACME,
            ),
            Object::Challenge(o) => Self::new(o, Informer::Challenges, labels::MANAGER_ORDERS),
            Object::Secret(o) => {
                let labels = o.0.metadata.labels.as_ref();
                let next_key = labels.is_some_and(|l| l.contains_key(labels::FAO_LABEL));
                let (informer, manager) = if next_key {
                    (Informer::Secrets, labels::MANAGER_CERTIFICATES_KEY_MANAGER)
                } else {
                    (Informer::OtherSecrets, labels::MANAGER_ISSUERS)
                };
                Self::new(&o.0, informer, manager)
            }
            Object::Pod(o) => Self::new(o, Informer::SolverPods, labels::MANAGER_CHALLENGES),
            Object::Service(o) => {
                Self::new(o, Informer::SolverServices, labels::MANAGER_CHALLENGES)
            }
            Object::EndpointSlice(o) => Self::new(o, None, labels::MANAGER_CHALLENGES),
            Object::Ingress(o) => Self::new(o, Informer::Ingresses, labels::MANAGER_CHALLENGES),
            Object::Revocation(o) => Self::new(
                o,
                Informer::Revocations,
                labels::MANAGER_CERTIFICATEREVOCATIONS,
            ),
        }
    }

    fn new<K>(
        object: &K,
        informer: impl Into<Option<Informer>>,
        manager: &'static str,
    ) -> Result<Self, EffectError>
    where
        K: Resource<DynamicType = ()> + Serialize,
    {
        let meta = object.meta();
        let namespace = meta.namespace.as_deref();
        let name = meta.name.as_deref().unwrap_or_default();
        let kind = K::kind(&());
        let what = format!("create {kind} {}/{name}", namespace.unwrap_or_default());
        let body = serde_json::to_vec(&typed(object)).map_err(|e| bug(&what, &e))?;
        Ok(Self {
            what,
            path: K::url_path(&(), namespace),
            meta: Box::new(meta.clone()),
            body,
            informer: informer.into(),
            manager,
        })
    }
}
