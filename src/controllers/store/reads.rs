//! Reads.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Measured, Name, Store};
use crate::api::meta::{CLUSTER_ISSUER_KIND, ISSUER_KIND, IssuerReference};
use crate::api::{Certificate, Challenge, Order};
use crate::controllers::action::Target;
use crate::controllers::digest::digest;
use crate::controllers::facts::{
    Identity, IngressFact, IssuerFact, Made, RequestFact, SecretFact, SolverFact, controller_of,
};
use crate::controllers::key::{Key, Kind};
use crate::controllers::rotation::Leaf;

impl Store {
    /// What refers to an Issuer or ClusterIssuer and is not finished.
    pub fn users_of(&self, issuer: &Key) -> Vec<Key> {
        let name = (issuer.namespace.clone(), issuer.name.clone());
        self.inner.read().users_of(issuer.kind, &name)
    }

    /// The Certificate for which a Challenge was made, if it was made for one.
    pub fn root_of(&self, challenge: &Challenge) -> Option<Key> {
        let owner = controller_of(&challenge.metadata, "Order")?;
        let namespace = challenge.metadata.namespace.as_deref()?;
        let order = (namespace.into(), owner.name.as_str().into());
        self.inner.read().root_of_order(&order)
    }

    /// A Certificate.
    pub fn certificate(&self, namespace: &str, name: &str) -> Option<Arc<Certificate>> {
        let name = (namespace.into(), name.into());
        self.inner.read().opened_certificate(&name)
    }

    /// A CertificateRequest.
    pub fn request(&self, namespace: &str, name: &str) -> Option<Arc<RequestFact>> {
        self.inner
            .read()
            .requests
            .get(&(namespace.into(), name.into()))
            .cloned()
    }

    /// Whether what controls a request that is not answered is not there, by its uid: it was deleted, or the request is from a
    /// backup.
    pub fn is_orphaned_request(&self, request: &RequestFact) -> bool {
        let namespace = &request.id.namespace;
        if request.is_final() {
            return false;
        }
        if let Some((uid, name)) = &request.owner {
            let certificate = self.certificate(namespace, name);
            return certificate.is_none_or(|c| c.metadata.uid.as_deref() != Some(&**uid));
        }
        let parent = request.parent.as_deref();
        parent.is_some_and(|(uid, name)| !self.has_request(namespace, name, uid))
    }

    /// Whether the request that controls an Order of which the CA has not heard is not there, by its uid.
    pub fn is_orphaned_order(&self, order: &Order) -> bool {
        let namespace = order.metadata.namespace.as_deref().unwrap_or_default();
        if order
            .status
            .as_ref()
            .is_some_and(|status| status.url.is_some())
        {
            return false;
        }
        let owner = controller_of(&order.metadata, "CertificateRequest");
        owner.is_some_and(|owner| !self.has_request(namespace, &owner.name, &owner.uid))
    }

    fn has_request(&self, namespace: &str, name: &str, uid: &str) -> bool {
        let request = self.request(namespace, name);
        request.is_some_and(|request| request.id.uid == uid)
    }

    /// The requests that a Certificate controls.
    pub fn requests_of(&self, namespace: &str, uid: &str) -> Vec<Arc<RequestFact>> {
        let inner = self.inner.read();
        let Some(index) = inner.by_owner.get(&Kind::CertificateRequest) else {
            return vec![];
        };
        let names = index.names(namespace, uid);
        names
            .filter_map(|n| inner.requests.get(&(namespace.into(), n.clone())).cloned())
            .collect()
    }

    /// What counts against the budget of a Certificate, and no request of it lists.
    pub fn unlisted_of(&self, uid: &str) -> Vec<Made> {
        let inner = self.inner.read();
        let unlisted = inner.unlisted.get(uid).into_iter().flatten();
        unlisted.copied().collect()
    }

    /// The Orders that a request controls.
    pub fn orders_of(&self, namespace: &str, uid: &str) -> Vec<Arc<Order>> {
        let inner = self.inner.read();
        let Some(index) = inner.by_owner.get(&Kind::Order) else {
            return vec![];
        };
        let names = index.names(namespace, uid);
        names
            .filter_map(|n| inner.opened_order(&(namespace.into(), n.clone())))
            .collect()
    }

    /// The Challenges that an Order controls.
    pub fn challenges_of(&self, namespace: &str, uid: &str) -> Vec<Arc<Challenge>> {
        let inner = self.inner.read();
        let Some(index) = inner.by_owner.get(&Kind::Challenge) else {
            return vec![];
        };
        let names = index.names(namespace, uid);
        names
            .filter_map(|n| {
                inner
                    .challenges
                    .get(&(namespace.into(), n.clone()))
                    .cloned()
            })
            .collect()
    }

    /// The Certificates that an Ingress controls.
    pub fn certificates_of(&self, namespace: &str, uid: &str) -> Vec<Arc<Certificate>> {
        let inner = self.inner.read();
        let Some(index) = inner.by_owner.get(&Kind::Certificate) else {
            return vec![];
        };
        let names = index.names(namespace, uid);
        let is_its = |c: &Arc<Certificate>| {
            controller_of(&c.metadata, "Ingress").is_some_and(|owner| owner.uid == uid)
        };
        names
            .filter_map(|n| inner.opened_certificate(&(namespace.into(), n.clone())))
            .filter(is_its)
            .collect()
    }

    /// All Certificates of a namespace that name this Secret.
    pub fn certificates_for(&self, namespace: &str, secret: &str) -> Vec<Arc<Certificate>> {
        let inner = self.inner.read();
        let names = inner.by_secret.names(namespace, secret);
        names
            .filter_map(|n| inner.opened_certificate(&(namespace.into(), n.clone())))
            .collect()
    }

    /// The next private keys of a Certificate.
    pub fn next_keys_of(&self, namespace: &str, uid: &str) -> Vec<Arc<SecretFact>> {
        let inner = self.inner.read();
        let names = inner.next_keys.names(namespace, uid);
        names
            .filter_map(|n| inner.secrets.get(&(namespace.into(), n.clone())).cloned())
            .collect()
    }

    /// A labelled Secret.
    pub fn secret(&self, namespace: &str, name: &str) -> Option<Arc<SecretFact>> {
        self.inner
            .read()
            .secrets
            .get(&(namespace.into(), name.into()))
            .cloned()
    }

    /// Whether a Secret without the label exists.
    pub fn has_other_secret(&self, namespace: &str, name: &str) -> bool {
        let name: Name = (namespace.into(), name.into());
        self.inner.read().other_secrets.contains_key(&digest(&name))
    }

    /// Something that differs whenever the Secret was written; `None` when there is none.
    pub fn secret_version(&self, namespace: &str, name: &str) -> Option<u64> {
        let name: Name = (namespace.into(), name.into());
        let inner = self.inner.read();
        let labelled = inner.secrets.get(&name).map(|s| digest(&s.id.version));
        labelled.or_else(|| inner.other_secrets.get(&digest(&name)).copied())
    }

    /// The Issuer or ClusterIssuer of this operator's group that a reference names; `None` when it
    /// does not exist.
    pub fn issuer(&self, namespace: &str, reference: &IssuerReference) -> Option<Arc<IssuerFact>> {
        let home: Arc<str> = match reference.kind_or_default() {
            ISSUER_KIND => namespace.into(),
            CLUSTER_ISSUER_KIND => "".into(),
            _ => return None,
        };
        self.inner
            .read()
            .issuers
            .get(&(home, reference.name.as_str().into()))
            .cloned()
    }

    /// An Issuer (or, with an empty namespace, a ClusterIssuer) by name.
    pub fn issuer_named(&self, namespace: &str, name: &str) -> Option<Arc<IssuerFact>> {
        self.inner
            .read()
            .issuers
            .get(&(namespace.into(), name.into()))
            .cloned()
    }

    /// The certificates of an Issuer or ClusterIssuer, as their Secrets have them.
    pub fn leaves_of(&self, issuer: &Key) -> Vec<(Name, Leaf)> {
        let name = (issuer.namespace.clone(), issuer.name.clone());
        self.inner.read().leaves_of(issuer.kind, &name).collect()
    }

    /// An Order.
    pub fn order(&self, namespace: &str, name: &str) -> Option<Arc<Order>> {
        let name = (namespace.into(), name.into());
        self.inner.read().opened_order(&name)
    }

    /// When the status of an Order was written last, if somebody says.
    pub fn order_written(&self, namespace: &str, name: &str) -> Option<Timestamp> {
        let name = (namespace.into(), name.into());
        self.inner.read().orders.get(&name)?.written()
    }

    /// The Orders without a status, then those whose status was written since then, the oldest first.
    pub fn orders_since(&self, since: Timestamp) -> Vec<Name> {
        let inner = self.inner.read();
        let all = inner.orders.iter();
        let written = all.map(|(name, order)| (order.written(), name.clone()));
        let recent = written.filter(|(at, _)| at.is_none_or(|at| at >= since));
        let mut recent: Vec<_> = recent.collect();
        recent.sort();
        recent.into_iter().map(|(_, name)| name).collect()
    }

    /// A Challenge.
    pub fn challenge(&self, namespace: &str, name: &str) -> Option<Arc<Challenge>> {
        self.inner
            .read()
            .challenges
            .get(&(namespace.into(), name.into()))
            .cloned()
    }

    /// All Challenges of a namespace.
    pub fn challenges_in(&self, namespace: &str) -> Vec<Arc<Challenge>> {
        let inner = self.inner.read();
        inner
            .challenges
            .iter()
            .filter(|((ns, _), _)| &**ns == namespace)
            .map(|(_, c)| c.clone())
            .collect()
    }

    /// An Ingress.
    pub fn ingress(&self, namespace: &str, name: &str) -> Option<Arc<IngressFact>> {
        self.inner
            .read()
            .ingresses
            .get(&(namespace.into(), name.into()))
            .cloned()
    }

    /// A solver's Pod.
    pub fn solver_pod(&self, namespace: &str, name: &str) -> Option<Arc<SolverFact>> {
        self.inner
            .read()
            .pods
            .get(&(namespace.into(), name.into()))
            .cloned()
    }

    /// A solver's Service.
    pub fn solver_service(&self, namespace: &str, name: &str) -> Option<Arc<SolverFact>> {
        self.inner
            .read()
            .services
            .get(&(namespace.into(), name.into()))
            .cloned()
    }

    /// The Ingresses, Services and Pods that a Challenge controls.
    pub fn solver_objects_of(&self, namespace: &str, challenge: &str) -> Vec<(Target, Identity)> {
        let inner = self.inner.read();
        let is_its = |name: &Name, owner: &Option<String>| {
            &*name.0 == namespace && owner.as_deref() == Some(challenge)
        };
        let ingresses = inner.ingresses.iter();
        let ingresses = ingresses.filter(|(name, fact)| is_its(name, &fact.challenge));
        let ingresses = ingresses.map(|(_, fact)| (Target::Ingress, fact.id.clone()));
        let kinds = [
            (Target::Service, &inner.services),
            (Target::Pod, &inner.pods),
        ];
        let others = kinds.into_iter().flat_map(|(target, facts)| {
            let its = facts.iter();
            let its = its.filter(|(name, fact)| is_its(name, &fact.challenge));
            its.map(move |(_, fact)| (target, fact.id.clone()))
        });
        ingresses.chain(others).collect()
    }

    /// Whether an IngressClass of this name exists, or may exist.
    pub fn has_ingress_class(&self, name: &str) -> bool {
        let inner = self.inner.read();
        inner.classes_unknown || inner.ingress_classes.contains(name)
    }

    /// Nobody watches IngressClasses: each may exist.
    pub fn ignore_ingress_classes(&self) {
        self.inner.write().classes_unknown = true;
    }

    /// What metrics say of all Certificates.
    pub fn measured(&self) -> Vec<(Name, Measured)> {
        let inner = self.inner.read();
        let all = inner.certificates.iter();
        all.map(|(name, entry)| (name.clone(), entry.measured.clone()))
            .collect()
    }

    /// All Issuers and ClusterIssuers.
    pub fn issuers(&self) -> Vec<Arc<IssuerFact>> {
        self.inner.read().issuers.values().cloned().collect()
    }

    /// All Challenges.
    pub fn challenges(&self) -> Vec<Arc<Challenge>> {
        self.inner.read().challenges.values().cloned().collect()
    }
}
