//! The facts of all objects, with the few indexes that reconciles ask for, and the routes: which keys
//! a change wakes.

mod consumed;
mod entries;
mod ordered;
mod reads;
mod revocations;
mod routes;
#[cfg(test)]
mod tests;
mod watched;

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use parking_lot::RwLock;

use crate::api::meta::IssuerReference;
use crate::api::vault::VaultIssuer;
use crate::api::{Certificate, CertificateRevocation, Challenge, Order};
use crate::controllers::digest::digest;
use crate::controllers::facts::{
    Identity, IngressFact, IssuerFact, Made, OrderedFact, Owner, RequestFact, SecretFact,
    SolverFact, owner_of,
};
use crate::controllers::key::{Key, Kind};
use crate::controllers::progress::Informer;
use crate::controllers::revocation_list::{self, ListFact};

pub use entries::Measured;
use entries::{CertificateEntry, OrderEntry};
use revocations::Revocations;
use routes::challenge_key;

/// Namespace and name.
pub type Name = (Arc<str>, Arc<str>);

/// All facts; cheap reads, short writes.
#[derive(Debug, Default)]
pub struct Store {
    inner: RwLock<Inner>,
    /// Namespace whose Secrets ClusterIssuers refer to.
    cluster_namespace: Arc<str>,
}

#[derive(Debug, Default)]
struct Inner {
    certificates: HashMap<Name, CertificateEntry>,
    requests: HashMap<Name, Arc<RequestFact>>,
    issuers: HashMap<Name, Arc<IssuerFact>>,
    /// OrderedIssuers and ClusterOrderedIssuers; the latter have no namespace.
    ordered: HashMap<Name, Arc<OrderedFact>>,
    orders: HashMap<Name, OrderEntry>,
    challenges: HashMap<Name, Arc<Challenge>>,
    secrets: HashMap<Name, Arc<SecretFact>>,
    /// Secrets without our label: digest of the name, and the version as a number.
    other_secrets: HashMap<u64, u64>,
    ingresses: HashMap<Name, Arc<IngressFact>>,
    ingress_classes: HashSet<Arc<str>>,
    classes_unknown: bool,
    pods: HashMap<Name, Arc<SolverFact>>,
    services: HashMap<Name, Arc<SolverFact>>,
    /// Certificates by namespace and `spec.secretName`.
    by_secret: Index,
    /// Certificates by namespace and a Secret that holds the password of a keystore.
    by_password: Index,
    /// Children by namespace and the uid of their controller.
    by_owner: HashMap<Kind, Index>,
    /// Next private keys by namespace and the uid of their Certificate.
    next_keys: Index,
    /// Unfinished requests by namespace and the Secret of their private key.
    by_key_secret: Index,
    /// By uid of a Certificate, what counts against its budget and no request of it lists: somebody deleted
    /// the one that did, or no informer has shown it yet.
    unlisted: HashMap<Arc<str>, BTreeSet<Made>>,
    revocations: Revocations,
    /// By their ConfigMap.
    lists: HashMap<Name, Arc<ListFact>>,
    /// What certificates say of where lists are: a few, each of which thousands say.
    list_urls: HashSet<Arc<str>>,
    /// And of their issuers.
    issuer_references: HashSet<Arc<IssuerReference>>,
}

/// Names by namespace and something, in order: mostly one, of which there are thousands.
#[derive(Debug, Default)]
struct Index(HashMap<Name, Vec<Arc<str>>>);

impl Index {
    fn insert(&mut self, namespace: &Arc<str>, by: impl Into<Arc<str>>, name: &Arc<str>) {
        match self.0.entry((namespace.clone(), by.into())) {
            Entry::Vacant(vacant) => drop(vacant.insert(vec![name.clone()])),
            Entry::Occupied(mut names) => {
                if let Err(place) = names.get().binary_search(name) {
                    names.get_mut().insert(place, name.clone());
                }
            }
        }
    }

    fn remove(&mut self, namespace: &Arc<str>, by: &str, name: &Arc<str>) {
        let key = (namespace.clone(), by.into());
        let Some(names) = self.0.get_mut(&key) else {
            return;
        };
        if let Ok(place) = names.binary_search(name) {
            names.remove(place);
        }
        if names.is_empty() {
            self.0.remove(&key);
        }
    }

    fn names(&self, namespace: &str, by: &str) -> impl Iterator<Item = &Arc<str>> {
        self.0
            .get(&(namespace.into(), by.into()))
            .into_iter()
            .flatten()
    }
}

/// A change that an informer delivers.
#[allow(clippy::large_enum_variant, reason = "moved once, into the store")]
#[derive(Debug)]
pub enum Change {
    /// Added or modified.
    Certificate(Certificate),
    /// Added or modified.
    Request(RequestFact),
    /// Added or modified.
    Issuer(Kind, IssuerFact),
    /// Added or modified.
    Ordered(Kind, OrderedFact),
    /// Added or modified.
    Order(Order),
    /// Added or modified.
    Challenge(Challenge),
    /// Added or modified.
    Secret(SecretFact),
    /// Added, modified or removed; metadata only.
    OtherSecret(Identity, bool),
    /// Added or modified.
    Ingress(IngressFact),
    /// Added or modified.
    IngressClass(Arc<str>),
    /// Added or modified.
    Pod(SolverFact),
    /// Added or modified.
    Service(SolverFact),
    /// Added or modified.
    Revocation(CertificateRevocation),
    /// Added or modified.
    List(ListFact),
}

fn id_name(id: &Identity) -> Name {
    (id.namespace.clone(), id.name.clone())
}

fn key(kind: Kind, name: &Name) -> Key {
    Key {
        kind,
        namespace: name.0.clone(),
        name: name.1.clone(),
    }
}

/// What tells the issuer that a reference in this namespace means from others; 0 for one that is not of this
/// operator's group.
fn issuer_digest(namespace: &str, reference: &IssuerReference) -> u64 {
    if !reference.is_ours() && !reference.is_ordered() {
        return 0;
    }
    let home = if reference.is_cluster_wide() {
        ""
    } else {
        namespace
    };
    digest(&(reference.kind_or_default(), home, reference.name.as_str()))
}

/// Only a ClusterIssuer has no namespace.
fn issuer_kind(issuer: &Name) -> Kind {
    match &*issuer.0 {
        "" => Kind::ClusterIssuer,
        _ => Kind::Issuer,
    }
}

impl Store {
    /// An empty store. ClusterIssuers refer to Secrets in `cluster_namespace`.
    pub fn new(cluster_namespace: &str) -> Self {
        Self {
            inner: RwLock::default(),
            cluster_namespace: cluster_namespace.into(),
        }
    }

    /// Take a change in; the keys that it concerns.
    pub fn apply(&self, change: Change) -> Vec<Key> {
        let mut inner = self.inner.write();
        match change {
            Change::Certificate(object) => inner.certificate(&object),
            Change::Request(fact) => inner.request(fact),
            Change::Issuer(kind, fact) => inner.issuer(kind, fact),
            Change::Ordered(kind, fact) => inner.ordered(kind, fact),
            Change::Order(object) => inner.order(object),
            Change::Challenge(object) => inner.challenge(object),
            Change::Secret(mut fact) => {
                let name = id_name(&fact.id);
                inner.forget_secret(&name);
                inner.share_list_url(&mut fact);
                if let Some(uid) = &fact.next_key_of {
                    inner.next_keys.insert(&name.0, uid.clone(), &name.1);
                }
                let owner = fact.owner.clone();
                inner.secrets.insert(name.clone(), Arc::new(fact));
                self.wake_secret(&inner, &name, owner.as_ref())
            }
            Change::OtherSecret(id, present) => {
                let name = id_name(&id);
                if present {
                    inner
                        .other_secrets
                        .insert(digest(&name), digest(&id.version));
                } else {
                    inner.other_secrets.remove(&digest(&name));
                }
                self.wake_secret(&inner, &name, None)
            }
            Change::Ingress(fact) => {
                let name = id_name(&fact.id);
                let mut keys = vec![key(Kind::Ingress, &name)];
                keys.extend(challenge_key(&name.0, fact.challenge.as_deref()));
                inner.ingresses.insert(name, Arc::new(fact));
                keys
            }
            Change::IngressClass(class) => {
                if inner.ingress_classes.insert(class) {
                    inner.live_challenges()
                } else {
                    vec![]
                }
            }
            Change::Pod(fact) => {
                let name = id_name(&fact.id);
                let keys = challenge_key(&name.0, fact.challenge.as_deref());
                inner.pods.insert(name, Arc::new(fact));
                keys
            }
            Change::Service(fact) => {
                let name = id_name(&fact.id);
                let keys = challenge_key(&name.0, fact.challenge.as_deref());
                inner.services.insert(name, Arc::new(fact));
                keys
            }
            Change::Revocation(object) => inner.revocation(object),
            Change::List(fact) => {
                let name = id_name(&fact.id);
                inner.lists.insert(name.clone(), Arc::new(fact));
                self.wake_list(&inner, &name)
            }
        }
    }

    /// A request of a Certificate has just been made: it counts from now on, also when somebody deletes it
    /// before an informer shows it.
    pub fn request_is_made(&self, meta: &ObjectMeta) {
        let Some(owner) = owner_of(meta) else { return };
        let namespace = meta.namespace.as_deref().unwrap_or_default().into();
        let made = Made::counted_by(meta);
        self.inner.write().keep_count(&namespace, &owner, &made);
    }

    /// An object is gone; the keys that it concerns.
    pub fn remove(&self, informer: Informer, name: &Name) -> Vec<Key> {
        let mut inner = self.inner.write();
        match informer {
            Informer::Certificates => {
                inner.forget_count(name);
                inner.forget_certificate(name)
            }
            Informer::CertificateRequests => inner.forget_request(name),
            Informer::Issuers => inner.forget_issuer(Kind::Issuer, name),
            Informer::ClusterIssuers => inner.forget_issuer(Kind::ClusterIssuer, name),
            Informer::OrderedIssuers => inner.forget_ordered(Kind::OrderedIssuer, name),
            Informer::ClusterOrderedIssuers => {
                inner.forget_ordered(Kind::ClusterOrderedIssuer, name)
            }
            Informer::Orders => inner.forget_order(name),
            Informer::Challenges => inner.forget_challenge(name),
            Informer::Secrets => {
                let owner = inner.forget_secret(name);
                self.wake_secret(&inner, name, owner.as_ref())
            }
            Informer::OtherSecrets => {
                inner.other_secrets.remove(&digest(name));
                self.wake_secret(&inner, name, None)
            }
            Informer::Ingresses => {
                let Some(fact) = inner.ingresses.remove(name) else {
                    return vec![];
                };
                let mut keys = challenge_key(&name.0, fact.challenge.as_deref());
                keys.push(key(Kind::Ingress, name));
                keys
            }
            Informer::IngressClasses => {
                inner.ingress_classes.remove(&name.1);
                vec![]
            }
            Informer::SolverPods => {
                let fact = inner.pods.remove(name);
                challenge_key(&name.0, fact.and_then(|f| f.challenge.clone()).as_deref())
            }
            Informer::SolverServices => {
                let fact = inner.services.remove(name);
                challenge_key(&name.0, fact.and_then(|f| f.challenge.clone()).as_deref())
            }
            Informer::Revocations => inner.forget_revocation(name),
            Informer::RevocationLists => {
                inner.lists.remove(name);
                self.wake_list(&inner, name)
            }
        }
    }

    /// The names that an informer has delivered, to find what vanished during a relist. Secrets that
    /// are known by a digest only cannot be listed: `None`.
    pub fn names(&self, informer: Informer) -> Option<HashSet<Name>> {
        let inner = self.inner.read();
        Some(match informer {
            Informer::Certificates => inner.certificates.keys().cloned().collect(),
            Informer::CertificateRequests => inner.requests.keys().cloned().collect(),
            Informer::Issuers => inner.issuer_names(Kind::Issuer),
            Informer::ClusterIssuers => inner.issuer_names(Kind::ClusterIssuer),
            Informer::OrderedIssuers => inner.ordered_names(false),
            Informer::ClusterOrderedIssuers => inner.ordered_names(true),
            Informer::Orders => inner.orders.keys().cloned().collect(),
            Informer::Challenges => inner.challenges.keys().cloned().collect(),
            Informer::Secrets => inner.secrets.keys().cloned().collect(),
            Informer::OtherSecrets => return None,
            Informer::Ingresses => inner.ingresses.keys().cloned().collect(),
            Informer::IngressClasses => inner
                .ingress_classes
                .iter()
                .map(|c| ("".into(), c.clone()))
                .collect(),
            Informer::SolverPods => inner.pods.keys().cloned().collect(),
            Informer::SolverServices => inner.services.keys().cloned().collect(),
            Informer::Revocations => inner.revocations.objects.keys().cloned().collect(),
            Informer::RevocationLists => inner.lists.keys().cloned().collect(),
        })
    }

    /// Replace what is known of Secrets without the label, after a relist; the keys that those concern
    /// which are gone.
    pub fn replace_other_secrets(&self, present: HashMap<u64, u64>) -> Vec<Key> {
        let mut inner = self.inner.write();
        let known = std::mem::replace(&mut inner.other_secrets, present);
        let is_gone = |name: &Name| {
            let name = digest(name);
            known.contains_key(&name) && !inner.other_secrets.contains_key(&name)
        };
        // Only issuers of these kinds look at their Secrets once they are ready.
        let bereft = inner.issuers.iter().filter_map(|(name, fact)| {
            let kind = issuer_kind(name);
            let home = self.home(kind, &name.0);
            let ca = fact.spec.ca.iter().map(|ca| ca.secret_name.as_str());
            let vault = fact.spec.vault.iter().flat_map(VaultIssuer::secrets);
            let dns01 = fact.dns01_secrets();
            ca.chain(vault)
                .chain(dns01)
                .any(|secret| is_gone(&(home.clone(), secret.into())))
                .then(|| key(kind, name))
        });
        bereft.collect()
    }

    /// The namespace of an issuer's Secrets.
    pub fn home<'a>(&'a self, kind: Kind, namespace: &'a Arc<str>) -> &'a Arc<str> {
        match kind {
            Kind::ClusterIssuer => &self.cluster_namespace,
            _ => namespace,
        }
    }

    /// The certificate that a request was answered with is in its Secret: drop what nobody needs any
    /// more, which is most of the request and of its Orders.
    pub fn request_is_consumed(&self, request: &RequestFact) {
        if request.is_final() && self.inner.read().is_whole(request) {
            self.inner.write().consume(request);
        }
    }

    /// The issuer whose list is in this ConfigMap.
    fn wake_list(&self, inner: &Inner, list: &Name) -> Vec<Key> {
        let keys = inner.issuers.iter().filter_map(|(name, fact)| {
            let issuer = key(issuer_kind(name), name);
            let is_it = fact.spec.ca.is_some()
                && *self.home(issuer.kind, &name.0) == list.0
                && revocation_list::name(&issuer) == *list.1;
            is_it.then_some(issuer)
        });
        keys.collect()
    }

    fn wake_secret(&self, inner: &Inner, name: &Name, owner: Option<&Owner>) -> Vec<Key> {
        let (namespace, secret) = name;
        let named = |kind, name: &Arc<str>| Key {
            kind,
            namespace: namespace.clone(),
            name: name.clone(),
        };
        let mut keys: Vec<Key> = inner
            .by_secret
            .names(namespace, secret)
            .map(|n| named(Kind::Certificate, n))
            .collect();
        let protected = inner.by_password.names(namespace, secret);
        keys.extend(protected.map(|n| named(Kind::Certificate, n)));
        keys.extend(
            inner
                .by_key_secret
                .names(namespace, secret)
                .map(|n| named(Kind::CertificateRequest, n)),
        );
        keys.extend(owner.map(|(_, certificate)| named(Kind::Certificate, certificate)));
        keys.extend(inner.revocations_in(name));
        for (issuer_name, fact) in &inner.issuers {
            let kind = issuer_kind(issuer_name);
            let home = self.home(kind, &issuer_name.0);
            if home == namespace && fact.refers_to(secret) {
                keys.push(key(kind, issuer_name));
                // The issuer may be as ready as it was.
                let also = match &fact.spec {
                    spec if spec.ca.is_some() => Kind::CertificateRequest,
                    spec if spec.acme.is_some() => Kind::Challenge,
                    _ => continue,
                };
                let users = inner.users_of(kind, issuer_name).into_iter();
                keys.extend(users.filter(|user| user.kind == also));
            }
        }
        keys
    }
}
