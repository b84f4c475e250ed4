//! What a plan may ask for: one closed set of writes, effects and events.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::Ingress;
use serde_json::Value;

use super::facts::Identity;
use super::key::{Key, Kind};
use crate::api::{Certificate, CertificateRequest, CertificateRevocation, Challenge, Order};

/// What to do with one object, now; and when to look again.
#[derive(Debug, Default, PartialEq)]
pub struct Plan<E> {
    /// Writes, in this order; a refused one ends the plan.
    pub actions: Vec<Action>,
    /// At most one step that needs randomness, a key, the CA or the network. It runs after the
    /// actions; what it brings goes to the controller's `absorb`, which plans the rest.
    pub effect: Option<E>,
    /// Events, posted when all writes have succeeded.
    pub events: Vec<Event>,
    /// Look again after this time, even if nothing has changed.
    pub wake: Option<Duration>,
}

impl<E> Plan<E> {
    /// Nothing to do until something changes.
    pub fn idle() -> Self {
        Self {
            actions: vec![],
            effect: None,
            events: vec![],
            wake: None,
        }
    }

    /// Look again after `wake`.
    pub fn wait(wake: Duration) -> Self {
        Self {
            wake: Some(wake),
            ..Self::idle()
        }
    }

    /// Look again after `wake`, or sooner if asked to already.
    pub fn sooner(&mut self, wake: Duration) {
        self.wake = Some(self.wake.map_or(wake, |w| w.min(wake)));
    }
}

/// A version that no object has: what is applied with it is made, and never put over what is there.
pub const NO_VERSION: &str = "1";

/// A write to the API server.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Merge `status` into the status of an object of this version. Fields that it does not name stay
    /// as they are, also those newer than this program.
    PatchStatus {
        /// The object.
        key: Key,
        /// The version that the plan has seen; a newer one refuses the write.
        version: String,
        /// Merge patch below `status`.
        status: Value,
    },
    /// Create an object; one that exists already is left alone and ends the plan.
    Create(Box<Object>),
    /// Create an object; one that exists already, with the same controller, is as good.
    Ensure(Box<Object>),
    /// Apply the target Secret with the field manager of the contract (§4.6). A version in it ([`NO_VERSION`]) refuses the
    /// write where there is one.
    ApplySecret(Box<SecretObject>),
    /// Merge `patch` into the metadata and spec of a Certificate of this version.
    PatchCertificate {
        /// The object.
        id: Identity,
        /// Merge patch of the whole object.
        patch: Value,
    },
    /// Set an annotation of an object of this version.
    Annotate {
        /// The object.
        key: Key,
        /// The version that the plan has seen.
        version: String,
        /// Its name.
        annotation: &'static str,
        /// What it is to say.
        value: String,
    },
    /// Merge into the Secret of an account's key, of the version that was read.
    PatchAccountSecret(Box<SecretPatch>),
    /// Edit a user's Ingress: each step of the patch tests what it is about to change.
    EditIngress(Identity, json_patch::Patch),
    /// Set the finalizers of a Challenge.
    SetFinalizers {
        /// The object.
        key: Key,
        /// The version that the plan has seen.
        version: String,
        /// All finalizers that are to remain.
        finalizers: Vec<String>,
    },
    /// Store the revocation list of an issuer: in place of the version that it says, or where there is none.
    PutList(Box<ConfigMap>),
    /// Delete this very object; one that is gone is as good.
    Delete(Target, Identity),
    /// Delete the shared Service and EndpointSlice of the Direct mode in a namespace.
    DeleteDirectService(Arc<str>),
}

/// The kinds that are deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A Certificate made by the shim.
    Certificate,
    /// A request of no further use.
    CertificateRequest,
    /// A Challenge that has done its work.
    Challenge,
    /// An Order whose certificate is unusable.
    Order,
    /// A next private key.
    Secret,
    /// A solver's Pod.
    Pod,
    /// A solver's Service.
    Service,
    /// A solver's Ingress.
    Ingress,
    /// A revocation that nobody asks for any more.
    Revocation,
}

/// The kinds that are created.
#[allow(clippy::large_enum_variant, reason = "always in a box")]
#[derive(Debug, Clone, PartialEq)]
pub enum Object {
    /// By the shim.
    Certificate(Certificate),
    /// By the certificate controller.
    CertificateRequest(CertificateRequest),
    /// By the certificaterequest controller.
    Order(Order),
    /// By the order controller.
    Challenge(Challenge),
    /// A next private key, or an ACME account's key.
    Secret(SecretObject),
    /// A solver's Pod.
    Pod(Pod),
    /// A solver's Service.
    Service(Service),
    /// The EndpointSlice of the Direct mode.
    EndpointSlice(EndpointSlice),
    /// A solver's Ingress.
    Ingress(Ingress),
    /// By the certificate controller: what waits for a Certificate's deletion.
    Revocation(CertificateRevocation),
}

/// A Secret whose data is never printed.
#[derive(Clone, PartialEq)]
pub struct SecretObject(pub Secret);

impl std::fmt::Debug for SecretObject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SecretObject")
            .field(&self.0.metadata.name)
            .finish()
    }
}

/// A merge patch of a Secret, which is never printed.
#[derive(Clone, PartialEq)]
pub struct SecretPatch {
    /// The Secret.
    pub id: Identity,
    /// Merge patch of the whole object.
    pub patch: Value,
}

impl std::fmt::Debug for SecretPatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SecretPatch").field(&self.id.name).finish()
    }
}

/// A Kubernetes event about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Warning rather than Normal.
    pub warning: bool,
    /// The reason, from contract §2.5.
    pub reason: String,
    /// The message.
    pub message: String,
    /// `cert-manager-<component>` is the source that clients know.
    pub component: &'static str,
}

impl Event {
    /// A Normal event.
    pub fn normal(component: &'static str, reason: &str, message: impl Into<String>) -> Self {
        Self {
            warning: false,
            reason: reason.into(),
            message: message.into(),
            component,
        }
    }

    /// A Warning event.
    pub fn warning(component: &'static str, reason: &str, message: impl Into<String>) -> Self {
        Self {
            warning: true,
            ..Self::normal(component, reason, message)
        }
    }
}

/// Patch the status of the object behind `id`.
pub fn patch_status(kind: Kind, id: &Identity, status: Value) -> Action {
    Action::PatchStatus {
        key: Key {
            kind,
            namespace: id.namespace.clone(),
            name: id.name.clone(),
        },
        version: id.version.clone(),
        status,
    }
}
