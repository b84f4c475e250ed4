//! The facts of all objects, with the few indexes that reconciles ask for, and the routes: which keys
//! a change wakes.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use parking_lot::RwLock;

use super::facts::{
    Identity, IngressFact, IssuerFact, RequestFact, SecretFact, SolverFact, digest,
};
use super::key::{Key, Kind};
use super::progress::Informer;
use super::status::find;
use crate::api::meta::IssuerReference;
use crate::api::{Certificate, Challenge, Order};

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
    certificates: HashMap<Name, Arc<Certificate>>,
    requests: HashMap<Name, Arc<RequestFact>>,
    issuers: HashMap<Name, Arc<IssuerFact>>,
    orders: HashMap<Name, Arc<Order>>,
    challenges: HashMap<Name, Arc<Challenge>>,
    secrets: HashMap<Name, Arc<SecretFact>>,
    /// Secrets without our label: digest of the name, and the version as a number.
    other_secrets: HashMap<u64, u64>,
    ingresses: HashMap<Name, Arc<IngressFact>>,
    ingress_classes: HashSet<Arc<str>>,
    pods: HashMap<Name, Arc<SolverFact>>,
    services: HashMap<Name, Arc<SolverFact>>,
    /// Certificates by namespace and `spec.secretName`.
    by_secret: Index,
    /// Children by namespace and the uid of their controller.
    by_owner: HashMap<Kind, Index>,
    /// Next private keys by namespace and the uid of their Certificate.
    next_keys: Index,
    /// Unfinished requests by namespace and the Secret of their private key.
    by_key_secret: Index,
}

/// Names by namespace and something.
#[derive(Debug, Default)]
struct Index(HashMap<Name, BTreeSet<Arc<str>>>);

impl Index {
    fn insert(&mut self, namespace: &Arc<str>, by: &str, name: &Arc<str>) {
        self.0
            .entry((namespace.clone(), by.into()))
            .or_default()
            .insert(name.clone());
    }

    fn remove(&mut self, namespace: &Arc<str>, by: &str, name: &Arc<str>) {
        let key = (namespace.clone(), by.into());
        if let Some(names) = self.0.get_mut(&key) {
            names.remove(name);
            if names.is_empty() {
                self.0.remove(&key);
            }
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
    Certificate(Arc<Certificate>),
    /// Added or modified.
    Request(RequestFact),
    /// Added or modified.
    Issuer(Kind, IssuerFact),
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
}

fn name_of(meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> Name {
    (
        meta.namespace.as_deref().unwrap_or_default().into(),
        meta.name.as_deref().unwrap_or_default().into(),
    )
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

fn challenge_key(namespace: &Arc<str>, challenge: Option<&str>) -> Vec<Key> {
    challenge
        .map(|c| key(Kind::Challenge, &(namespace.clone(), c.into())))
        .into_iter()
        .collect()
}

/// The uid of the controller, if it is of this kind.
fn owner_uid(
    meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
    kind: &str,
) -> Option<String> {
    super::facts::controller_of(meta, kind).map(|o| o.uid.clone())
}

impl Store {
    /// An empty store. ClusterIssuers refer to Secrets in `cluster_namespace`.
    pub fn new(cluster_namespace: &str) -> Self {
        Self {
            inner: RwLock::default(),
            cluster_namespace: cluster_namespace.into(),
        }
    }

    /// The namespace of a ClusterIssuer's Secrets.
    pub fn cluster_namespace(&self) -> &Arc<str> {
        &self.cluster_namespace
    }

    /// Take a change in; the keys that it concerns.
    pub fn apply(&self, change: Change) -> Vec<Key> {
        let mut inner = self.inner.write();
        match change {
            Change::Certificate(object) => inner.certificate(object),
            Change::Request(fact) => inner.request(fact),
            Change::Issuer(kind, fact) => inner.issuer(kind, fact),
            Change::Order(object) => inner.order(object),
            Change::Challenge(object) => inner.challenge(object),
            Change::Secret(fact) => {
                let name = id_name(&fact.id);
                inner.forget_secret(&name);
                if let Some(uid) = &fact.next_key_of {
                    inner.next_keys.insert(&name.0, uid, &name.1);
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
        }
    }

    /// An object is gone; the keys that it concerns.
    pub fn remove(&self, informer: Informer, name: &Name) -> Vec<Key> {
        let mut inner = self.inner.write();
        match informer {
            Informer::Certificates => inner.forget_certificate(name),
            Informer::CertificateRequests => inner.forget_request(name),
            Informer::Issuers => inner.forget_issuer(Kind::Issuer, name),
            Informer::ClusterIssuers => inner.forget_issuer(Kind::ClusterIssuer, name),
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
        })
    }

    /// Replace what is known of Secrets without the label, after a relist.
    pub fn replace_other_secrets(&self, present: HashMap<u64, u64>) {
        self.inner.write().other_secrets = present;
    }

    /// Drop the body of a request that nobody needs any more.
    pub fn request_is_consumed(&self, namespace: &Arc<str>, name: &Arc<str>) {
        let mut inner = self.inner.write();
        if let Some(fact) = inner.requests.get_mut(&(namespace.clone(), name.clone()))
            && fact.is_final()
            && fact.body.is_some()
        {
            let mut slim = RequestFact::clone(fact);
            slim.body = None;
            *fact = Arc::new(slim);
        }
    }

    fn wake_secret(
        &self,
        inner: &Inner,
        name: &Name,
        owner: Option<&(String, String)>,
    ) -> Vec<Key> {
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
        keys.extend(
            inner
                .by_key_secret
                .names(namespace, secret)
                .map(|n| named(Kind::CertificateRequest, n)),
        );
        keys.extend(
            owner.map(|(_, certificate)| named(Kind::Certificate, &certificate.as_str().into())),
        );
        for (issuer_name, fact) in &inner.issuers {
            let (kind, home) = if issuer_name.0.is_empty() {
                (Kind::ClusterIssuer, &self.cluster_namespace)
            } else {
                (Kind::Issuer, &issuer_name.0)
            };
            if home == namespace && fact.refers_to(secret) {
                keys.push(key(kind, issuer_name));
            }
        }
        keys
    }
}

impl Inner {
    fn certificate(&mut self, object: Arc<Certificate>) -> Vec<Key> {
        let name = name_of(&object.metadata);
        let mut keys = vec![key(Kind::Certificate, &name)];
        if let Some(old) = self.certificates.get(&name)
            && old.spec.secret_name != object.spec.secret_name
        {
            keys.extend(self.forget_certificate(&name));
        }
        self.by_secret
            .insert(&name.0, &object.spec.secret_name, &name.1);
        if let Some(uid) = owner_uid(&object.metadata, "Ingress") {
            self.children(Kind::Certificate)
                .insert(&name.0, &uid, &name.1);
        }
        self.certificates.insert(name, object);
        keys
    }

    fn forget_certificate(&mut self, name: &Name) -> Vec<Key> {
        let Some(object) = self.certificates.remove(name) else {
            return vec![];
        };
        self.by_secret
            .remove(&name.0, &object.spec.secret_name, &name.1);
        let mut keys = vec![key(Kind::Certificate, name)];
        if let Some(uid) = owner_uid(&object.metadata, "Ingress") {
            self.children(Kind::Certificate)
                .remove(&name.0, &uid, &name.1);
        }
        // Whoever controlled it: an Ingress that wants one of this name may make its own now.
        let names_it = |i: &IngressFact| i.tls.iter().any(|(_, s)| s.as_deref() == Some(&*name.1));
        let ingresses = self
            .ingresses
            .iter()
            .filter(|(n, i)| n.0 == name.0 && names_it(i));
        keys.extend(ingresses.map(|(n, _)| key(Kind::Ingress, n)));
        let rivals = self.by_secret.names(&name.0, &object.spec.secret_name);
        keys.extend(rivals.map(|n| key(Kind::Certificate, &(name.0.clone(), n.clone()))));
        keys
    }

    fn request(&mut self, mut fact: RequestFact) -> Vec<Key> {
        let name = id_name(&fact.id);
        let owner = fact
            .owner
            .as_ref()
            .map(|(_, certificate)| (name.0.clone(), certificate.as_str().into()));
        if fact.is_final()
            && owner
                .as_ref()
                .is_none_or(|o| self.revision_reached(o, fact.revision))
        {
            fact.body = None;
        }
        self.unlink_request(&name);
        if let Some((uid, _)) = &fact.owner {
            self.children(Kind::CertificateRequest)
                .insert(&name.0, uid, &name.1);
        }
        if let Some(secret) = &fact.key_secret
            && !fact.is_final()
        {
            self.by_key_secret.insert(&name.0, secret, &name.1);
        }
        self.requests.insert(name.clone(), Arc::new(fact));
        let mut keys = vec![key(Kind::CertificateRequest, &name)];
        keys.extend(owner.map(|o| key(Kind::Certificate, &o)));
        keys
    }

    /// The Certificate has this revision already: the request has nothing more to give.
    fn revision_reached(&self, certificate: &Name, revision: Option<i64>) -> bool {
        let current = self
            .certificates
            .get(certificate)
            .and_then(|c| c.status.as_ref()?.revision);
        matches!((current, revision), (Some(current), Some(revision)) if current >= revision)
    }

    fn unlink_request(&mut self, name: &Name) {
        let Some(old) = self.requests.get(name).cloned() else {
            return;
        };
        if let Some((uid, _)) = &old.owner {
            self.children(Kind::CertificateRequest)
                .remove(&name.0, uid, &name.1);
        }
        if let Some(secret) = &old.key_secret {
            self.by_key_secret.remove(&name.0, secret, &name.1);
        }
    }

    fn forget_request(&mut self, name: &Name) -> Vec<Key> {
        self.unlink_request(name);
        let Some(fact) = self.requests.remove(name) else {
            return vec![];
        };
        let owner = fact.owner.as_ref();
        let mut keys = vec![key(Kind::CertificateRequest, name)];
        keys.extend(
            owner.map(|(_, c)| key(Kind::Certificate, &(name.0.clone(), c.as_str().into()))),
        );
        keys
    }

    fn issuer(&mut self, kind: Kind, fact: IssuerFact) -> Vec<Key> {
        let name = id_name(&fact.id);
        let old = self.issuers.insert(name.clone(), Arc::new(fact));
        let new = self.issuers.get(&name);
        let same = old.is_some_and(|old| {
            new.is_some_and(|new| {
                old.generation == new.generation
                    && old.ready() == new.ready()
                    && old.id.uid == new.id.uid
            })
        });
        let mut keys = vec![key(kind, &name)];
        if !same {
            keys.extend(self.users_of(kind, &name));
        }
        keys
    }

    fn forget_issuer(&mut self, kind: Kind, name: &Name) -> Vec<Key> {
        self.issuers.remove(name);
        let mut keys = vec![key(kind, name)];
        keys.extend(self.users_of(kind, name));
        keys
    }

    fn issuer_names(&self, kind: Kind) -> HashSet<Name> {
        let cluster = kind == Kind::ClusterIssuer;
        self.issuers
            .keys()
            .filter(|(ns, _)| ns.is_empty() == cluster)
            .cloned()
            .collect()
    }

    /// Whatever refers to an issuer and is not finished.
    fn users_of(&self, kind: Kind, issuer: &Name) -> Vec<Key> {
        let refers = |namespace: &Arc<str>, r: &IssuerReference| {
            r.is_ours()
                && r.name.as_str() == issuer.1.as_ref()
                && r.kind_or_default() == kind.name()
                && (kind == Kind::ClusterIssuer || *namespace == issuer.0)
        };
        let certificates = self.certificates.iter().filter(|(_, c)| !is_settled(c));
        let certificates = certificates.filter(|(n, c)| refers(&n.0, &c.spec.issuer_ref));
        let requests = self
            .requests
            .iter()
            .filter(|(n, r)| !r.is_final() && refers(&n.0, &r.issuer));
        let orders = self
            .orders
            .iter()
            .filter(|(n, o)| refers(&n.0, &o.spec.issuer_ref));
        let challenges = self
            .challenges
            .iter()
            .filter(|(n, c)| refers(&n.0, &c.spec.issuer_ref));
        certificates
            .map(|(n, _)| key(Kind::Certificate, n))
            .chain(requests.map(|(n, _)| key(Kind::CertificateRequest, n)))
            .chain(orders.map(|(n, _)| key(Kind::Order, n)))
            .chain(challenges.map(|(n, _)| key(Kind::Challenge, n)))
            .collect()
    }

    fn order(&mut self, mut object: Order) -> Vec<Key> {
        super::facts::prune(&mut object.metadata);
        let name = name_of(&object.metadata);
        let owner = super::facts::controller_of(&object.metadata, "CertificateRequest").cloned();
        let mut keys = vec![key(Kind::Order, &name)];
        if let Some(owner) = owner {
            self.children(Kind::Order)
                .insert(&name.0, &owner.uid, &name.1);
            let request: Name = (name.0.clone(), owner.name.as_str().into());
            keys.push(key(Kind::CertificateRequest, &request));
            keys.extend(self.root_of_request(&request));
        }
        self.orders.insert(name, Arc::new(object));
        keys
    }

    fn forget_order(&mut self, name: &Name) -> Vec<Key> {
        let Some(object) = self.orders.remove(name) else {
            return vec![];
        };
        let mut keys = vec![key(Kind::Order, name)];
        if let Some(owner) = super::facts::controller_of(&object.metadata, "CertificateRequest") {
            self.children(Kind::Order)
                .remove(&name.0, &owner.uid, &name.1);
            keys.push(key(
                Kind::CertificateRequest,
                &(name.0.clone(), owner.name.as_str().into()),
            ));
        }
        keys
    }

    fn challenge(&mut self, mut object: Challenge) -> Vec<Key> {
        super::facts::prune(&mut object.metadata);
        let name = name_of(&object.metadata);
        let owner = super::facts::controller_of(&object.metadata, "Order").cloned();
        let reason = |c: &Challenge| c.status.as_ref().and_then(|s| s.reason.clone());
        let old = self.challenges.get(&name).and_then(|c| reason(c));
        let mut keys = vec![key(Kind::Challenge, &name)];
        if let Some(owner) = owner {
            self.children(Kind::Challenge)
                .insert(&name.0, &owner.uid, &name.1);
            let order: Name = (name.0.clone(), owner.name.as_str().into());
            keys.push(key(Kind::Order, &order));
            if old != reason(&object) {
                keys.extend(self.root_of_order(&order));
            }
        }
        self.challenges.insert(name, Arc::new(object));
        keys
    }

    fn forget_challenge(&mut self, name: &Name) -> Vec<Key> {
        let Some(object) = self.challenges.remove(name) else {
            return vec![];
        };
        let mut keys = vec![key(Kind::Challenge, name)];
        if let Some(owner) = super::facts::controller_of(&object.metadata, "Order") {
            self.children(Kind::Challenge)
                .remove(&name.0, &owner.uid, &name.1);
            keys.push(key(
                Kind::Order,
                &(name.0.clone(), owner.name.as_str().into()),
            ));
        }
        // Another Challenge of the same name may have been waiting for this one.
        let same = self
            .challenges
            .iter()
            .filter(|(_, c)| c.spec.dns_name == object.spec.dns_name);
        keys.extend(same.map(|(n, _)| key(Kind::Challenge, n)));
        keys
    }

    fn root_of_request(&self, request: &Name) -> Option<Key> {
        let (_, certificate) = self.requests.get(request)?.owner.as_ref()?;
        Some(key(
            Kind::Certificate,
            &(request.0.clone(), certificate.as_str().into()),
        ))
    }

    fn root_of_order(&self, order: &Name) -> Option<Key> {
        let object = self.orders.get(order)?;
        let owner = super::facts::controller_of(&object.metadata, "CertificateRequest")?;
        self.root_of_request(&(order.0.clone(), owner.name.as_str().into()))
    }

    fn live_challenges(&self) -> Vec<Key> {
        self.challenges
            .keys()
            .map(|n| key(Kind::Challenge, n))
            .collect()
    }

    fn forget_secret(&mut self, name: &Name) -> Option<(String, String)> {
        let fact = self.secrets.remove(name)?;
        if let Some(uid) = &fact.next_key_of {
            self.next_keys.remove(&name.0, uid, &name.1);
        }
        fact.owner.clone()
    }

    fn children(&mut self, kind: Kind) -> &mut Index {
        self.by_owner.entry(kind).or_default()
    }
}

/// Ready for its current generation and nothing under way.
fn is_settled(object: &Certificate) -> bool {
    let conditions = object
        .status
        .as_ref()
        .and_then(|s| s.conditions.as_deref())
        .unwrap_or_default();
    let is_true = |kind| find(conditions, kind).is_some_and(|c| c.status == "True");
    is_true("Ready") && !is_true("Issuing")
}

/// Reads.
impl Store {
    /// What refers to an Issuer or ClusterIssuer and is not finished.
    pub fn users_of(&self, issuer: &Key) -> Vec<Key> {
        let name = (issuer.namespace.clone(), issuer.name.clone());
        self.inner.read().users_of(issuer.kind, &name)
    }

    /// A Certificate.
    pub fn certificate(&self, namespace: &str, name: &str) -> Option<Arc<Certificate>> {
        self.inner
            .read()
            .certificates
            .get(&(namespace.into(), name.into()))
            .cloned()
    }

    /// A CertificateRequest.
    pub fn request(&self, namespace: &str, name: &str) -> Option<Arc<RequestFact>> {
        self.inner
            .read()
            .requests
            .get(&(namespace.into(), name.into()))
            .cloned()
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

    /// The Orders that a request controls.
    pub fn orders_of(&self, namespace: &str, uid: &str) -> Vec<Arc<Order>> {
        let inner = self.inner.read();
        let Some(index) = inner.by_owner.get(&Kind::Order) else {
            return vec![];
        };
        let names = index.names(namespace, uid);
        names
            .filter_map(|n| inner.orders.get(&(namespace.into(), n.clone())).cloned())
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
        names
            .filter_map(|n| {
                inner
                    .certificates
                    .get(&(namespace.into(), n.clone()))
                    .cloned()
            })
            .collect()
    }

    /// All Certificates of a namespace that name this Secret.
    pub fn certificates_for(&self, namespace: &str, secret: &str) -> Vec<Arc<Certificate>> {
        let inner = self.inner.read();
        let names = inner.by_secret.names(namespace, secret);
        names
            .filter_map(|n| {
                inner
                    .certificates
                    .get(&(namespace.into(), n.clone()))
                    .cloned()
            })
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
        let cluster = reference.kind_or_default() == Kind::ClusterIssuer.name();
        let home: Arc<str> = if cluster { "".into() } else { namespace.into() };
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

    /// An Order.
    pub fn order(&self, namespace: &str, name: &str) -> Option<Arc<Order>> {
        self.inner
            .read()
            .orders
            .get(&(namespace.into(), name.into()))
            .cloned()
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

    /// Whether an IngressClass of this name exists.
    pub fn has_ingress_class(&self, name: &str) -> bool {
        self.inner.read().ingress_classes.contains(name)
    }

    /// Snapshots for the metrics page.
    pub fn snapshot(&self) -> Snapshot {
        let inner = self.inner.read();
        Snapshot {
            certificates: inner.certificates.values().cloned().collect(),
            issuers: inner.issuers.values().cloned().collect(),
            challenges: inner.challenges.values().cloned().collect(),
        }
    }
}

/// What the metrics page shows.
#[derive(Debug)]
pub struct Snapshot {
    /// All Certificates.
    pub certificates: Vec<Arc<Certificate>>,
    /// All Issuers and ClusterIssuers.
    pub issuers: Vec<Arc<IssuerFact>>,
    /// All Challenges.
    pub challenges: Vec<Arc<Challenge>>,
}
