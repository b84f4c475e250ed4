//! Ordered issuers, and the requests that are made for theirs.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::routes::digest_of;
use super::{Inner, Name, Store, id_name, issuer_digest, key};
use crate::api::Certificate;
use crate::api::meta::IssuerReference;
use crate::controllers::facts::{OrderedFact, RequestFact, SecretFact, controller_of};
use crate::controllers::key::{Key, Kind};

impl Store {
    /// The OrderedIssuer or ClusterOrderedIssuer that a reference names; `None` when it does not exist.
    pub fn ordered(
        &self,
        namespace: &str,
        reference: &IssuerReference,
    ) -> Option<Arc<OrderedFact>> {
        if !reference.is_ordered() {
            return None;
        }
        let home = if reference.is_cluster_wide() {
            ""
        } else {
            namespace
        };
        self.ordered_named(home, &reference.name)
    }

    /// An OrderedIssuer (or, with an empty namespace, a ClusterOrderedIssuer) by name.
    pub fn ordered_named(&self, namespace: &str, name: &str) -> Option<Arc<OrderedFact>> {
        let name = (namespace.into(), name.into());
        self.inner.read().ordered.get(&name).cloned()
    }

    /// Whose CA has signed the certificate in the Secret of a Certificate: the issuer that the Secret names; or that one of an
    /// ordered issuer's which gave the answer, as long as the requests that tell are there.
    pub fn signer(
        &self,
        namespace: &str,
        certificate: &Certificate,
        secret: &SecretFact,
    ) -> Option<IssuerReference> {
        let named = secret.issued_by()?;
        if !named.is_ordered() {
            return Some(named);
        }
        let leaf = secret.certificate.as_ref()?.as_ref().ok()?;
        let revision = certificate.status.as_ref()?.revision;
        let uid = certificate.metadata.uid.as_deref()?;
        let is_its = |request: &&Arc<RequestFact>| {
            let compared = request.compared.as_ref();
            request.revision == revision && compared.is_ok_and(|c| c.public == leaf.public)
        };
        let requests = self.requests_of(namespace, uid);
        self.answered_by(requests.iter().find(is_its)?)
    }

    /// Whose CA has answered a request: its issuer's, or that of one of an ordered issuer's.
    pub fn answered_by(&self, request: &RequestFact) -> Option<IssuerReference> {
        if !request.issuer.is_ordered() {
            return Some(request.issuer.clone());
        }
        let children = self.requests_of(&request.id.namespace, &request.id.uid);
        let signed = children.iter().find(|c| c.ready_reason() == "Issued")?;
        Some(signed.issuer.clone())
    }

    /// The Certificate that a request is for, be it made of one of an ordered issuer's.
    pub fn certificate_of(&self, request: &RequestFact) -> Option<Arc<Certificate>> {
        let namespace = &request.id.namespace;
        let parent = request.parent.as_deref();
        let parent = parent.and_then(|(_, name)| self.request(namespace, name));
        let (_, owner) = parent.as_deref().unwrap_or(request).owner.as_ref()?;
        self.certificate(namespace, owner)
    }

    /// The requests that were made of this issuer for ordered ones, and failed; an empty namespace means all.
    pub fn failed_children(
        &self,
        namespace: &str,
        issuer: &IssuerReference,
    ) -> Vec<Arc<RequestFact>> {
        let inner = self.inner.read();
        let found = inner.requests.iter().filter(|(name, request)| {
            (namespace.is_empty() || &*name.0 == namespace)
                && has_failed_for_another(request)
                && request.issuer.is_same(issuer)
        });
        found.map(|(_, request)| request.clone()).collect()
    }

    /// Labels and names of the Certificates of an ordered issuer, up to so many names.
    pub fn names_by(&self, ordered: &Key, most: usize) -> Vec<(Labels, Vec<String>)> {
        self.inner.read().names_by(ordered, most)
    }
}

type Labels = BTreeMap<String, String>;

fn has_failed_for_another(request: &RequestFact) -> bool {
    request.parent.is_some() && request.ready_reason() == "Failed"
}

impl Inner {
    pub(super) fn ordered(&mut self, kind: Kind, fact: OrderedFact) -> Vec<Key> {
        let name = id_name(&fact.id);
        let new = Arc::new(fact);
        let old = self.ordered.insert(name.clone(), new.clone());
        let same = old.is_some_and(|old| {
            old.generation == new.generation && old.status == new.status && old.id.uid == new.id.uid
        });
        let mut keys = vec![key(kind, &name)];
        if !same {
            keys.extend(self.users_of(kind, &name));
        }
        keys
    }

    pub(super) fn forget_ordered(&mut self, kind: Kind, name: &Name) -> Vec<Key> {
        self.ordered.remove(name);
        let mut keys = vec![key(kind, name)];
        keys.extend(self.users_of(kind, name));
        keys
    }

    pub(super) fn ordered_names(&self, cluster: bool) -> HashSet<Name> {
        let names = self.ordered.keys();
        names
            .filter(|(namespace, _)| namespace.is_empty() == cluster)
            .cloned()
            .collect()
    }

    /// The ordered issuers that list an issuer.
    pub(super) fn lists_of(&self, kind: Kind, issuer: &Name) -> Vec<Key> {
        self.listing(digest_of(kind, issuer))
    }

    fn listing(&self, digest: u64) -> Vec<Key> {
        let lists = self.ordered.iter().filter(|(name, fact)| {
            fact.issuers()
                .any(|reference| issuer_digest(&name.0, &reference) == digest)
        });
        lists
            .map(|(name, _)| match &*name.0 {
                "" => key(Kind::ClusterOrderedIssuer, name),
                _ => key(Kind::OrderedIssuer, name),
            })
            .collect()
    }

    fn names_by(&self, ordered: &Key, most: usize) -> Vec<(Labels, Vec<String>)> {
        let name = (ordered.namespace.clone(), ordered.name.clone());
        let digest = digest_of(ordered.kind, &name);
        let its = self.certificates.values().filter(|c| c.issuer == digest);
        let mut left = most;
        let named = its.filter_map(|entry| {
            if left == 0 {
                return None;
            }
            let certificate = entry.object.open()?;
            let spec = &certificate.spec;
            let mut names = spec.dns_names.clone().unwrap_or_default();
            names.extend(spec.common_name.clone().filter(|name| !name.is_empty()));
            names.truncate(left);
            left -= names.len();
            let labels = certificate.metadata.labels.clone().unwrap_or_default();
            Some((labels, names))
        });
        named.collect()
    }

    /// The ordered issuers that have to know what became of this request.
    pub(super) fn doubters(&self, request: &RequestFact) -> Vec<Key> {
        if !has_failed_for_another(request) {
            return vec![];
        }
        self.listing(issuer_digest(&request.id.namespace, &request.issuer))
    }

    /// The request of an ordered issuer that this one was made for.
    pub(super) fn parent_of_request(&self, request: &Name) -> Option<Key> {
        let (_, parent) = self.requests.get(request)?.parent.as_deref()?;
        let parent = (request.0.clone(), parent.clone());
        Some(key(Kind::CertificateRequest, &parent))
    }

    pub(super) fn parent_of_order(&self, order: &Name) -> Option<Key> {
        let object = self.opened_order(order)?;
        let owner = controller_of(&object.metadata, "CertificateRequest")?;
        self.parent_of_request(&(order.0.clone(), owner.name.as_str().into()))
    }

    /// Whether the answer is for a request that has none yet.
    pub(super) fn is_awaited(&self, request: &RequestFact) -> bool {
        let Some((_, parent)) = request.parent.as_deref() else {
            return false;
        };
        let parent = (request.id.namespace.clone(), parent.clone());
        let parent = self.requests.get(&parent);
        // The informer may show the younger first.
        parent.is_none_or(|parent| !parent.is_final())
    }
}
