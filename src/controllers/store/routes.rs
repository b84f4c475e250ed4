//! What a change does to the indexes, and the keys that it concerns.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::entries::{CertificateEntry, OrderEntry};
use super::{Index, Inner, Name, id_name, issuer_digest, key};
use crate::api::meta::IssuerReference;
use crate::api::{Certificate, Challenge, Order, labels};
use crate::controllers::facts::{
    IngressFact, IssuerFact, Made, Owner, RequestFact, controller_of, prune, status_changed_at,
};
use crate::controllers::key::{Key, Kind};
use crate::controllers::rotation::{Known, Leaf, Wish};

impl Inner {
    pub(super) fn certificate(&mut self, object: &Certificate) -> Vec<Key> {
        let name = name_of(&object.metadata);
        let mut keys = vec![key(Kind::Certificate, &name)];
        let mut entry = CertificateEntry::of(object);
        self.share_issuer(&mut entry.measured.issuer);
        let old = self.certificates.get(&name);
        let shim = old.map(|old| old.shim);
        let is_new = old.is_none_or(|old| old.links != entry.links);
        if old.is_some_and(|old| old.links != entry.links)
            && let Some(old) = self.opened_certificate(&name)
        {
            if old.spec.secret_name == object.spec.secret_name {
                self.unlink_certificate(&name, &old);
            } else {
                keys.extend(self.forget_certificate(&name));
            }
            keys.extend(ingress_of(&old));
        }
        for secret in object.spec.password_secrets() {
            self.by_password.insert(&name.0, secret, &name.1);
        }
        self.by_secret
            .insert(&name.0, object.spec.secret_name.as_str(), &name.1);
        if let Some(uid) = owner_uid(&object.metadata, "Ingress") {
            self.children(Kind::Certificate)
                .insert(&name.0, uid, &name.1);
        }
        if shim != Some(entry.shim) {
            keys.extend(ingress_of(object));
        }
        keys.extend(self.revocations_of(&name));
        if let (true, Some(uid)) = (is_new, object.metadata.uid.as_deref()) {
            keys.extend(self.children_keys(Kind::CertificateRequest, &name.0, uid));
        }
        self.certificates.insert(name, entry);
        keys
    }

    /// What somebody controls who was not known before.
    fn children_keys(&self, kind: Kind, namespace: &Arc<str>, uid: &str) -> Vec<Key> {
        let names = self.children_of(kind, namespace, uid).into_iter();
        names.map(|name| key(kind, &name)).collect()
    }

    pub(super) fn opened_certificate(&self, name: &Name) -> Option<Arc<Certificate>> {
        self.certificates.get(name)?.object.open()
    }

    pub(super) fn opened_order(&self, name: &Name) -> Option<Arc<Order>> {
        self.orders.get(name)?.object.open()
    }

    fn unlink_certificate(&mut self, name: &Name, object: &Certificate) {
        for secret in object.spec.password_secrets() {
            self.by_password.remove(&name.0, secret, &name.1);
        }
        self.by_secret
            .remove(&name.0, &object.spec.secret_name, &name.1);
        if let Some(uid) = owner_uid(&object.metadata, "Ingress") {
            self.children(Kind::Certificate)
                .remove(&name.0, &uid, &name.1);
        }
    }

    pub(super) fn forget_certificate(&mut self, name: &Name) -> Vec<Key> {
        let removed = self.certificates.remove(name);
        let Some(object) = removed.and_then(|entry| entry.object.open()) else {
            return vec![];
        };
        self.unlink_certificate(name, &object);
        let mut keys = vec![key(Kind::Certificate, name)];
        // Whoever controlled it: an Ingress that wants one of this name may make its own now.
        let names_it = |i: &IngressFact| i.tls.iter().any(|(_, s)| s.as_deref() == Some(&*name.1));
        let ingresses = self
            .ingresses
            .iter()
            .filter(|(n, i)| n.0 == name.0 && names_it(i));
        keys.extend(ingresses.map(|(n, _)| key(Kind::Ingress, n)));
        keys.extend(self.revocations_of(name));
        let rivals = self.by_secret.names(&name.0, &object.spec.secret_name);
        keys.extend(rivals.map(|n| key(Kind::Certificate, &(name.0.clone(), n.clone()))));
        keys
    }

    pub(super) fn request(&mut self, mut fact: RequestFact) -> Vec<Key> {
        let name = id_name(&fact.id);
        let owner = fact
            .owner
            .as_ref()
            .map(|(_, certificate)| (name.0.clone(), certificate.clone()));
        if fact.is_final()
            && !self.is_awaited(&fact)
            && owner
                .as_ref()
                .is_none_or(|o| self.revision_reached(o, fact.revision))
        {
            fact.body = None;
        }
        self.unlink_request(&name);
        for (uid, _) in fact.owner.iter().chain(fact.parent.as_deref()) {
            self.children(Kind::CertificateRequest)
                .insert(&name.0, uid.clone(), &name.1);
        }
        if let Some(secret) = &fact.key_secret
            && !fact.is_final()
        {
            self.by_key_secret.insert(&name.0, &**secret, &name.1);
        }
        self.count_as_listed(&fact);
        let lists = self.doubters(&fact);
        let mut keys = vec![key(Kind::CertificateRequest, &name)];
        let uid = fact.id.uid.clone();
        let old = self.requests.insert(name.clone(), Arc::new(fact));
        if old.is_none_or(|old| old.id.uid != uid) {
            keys.extend(self.children_keys(Kind::CertificateRequest, &name.0, &uid));
            keys.extend(self.children_keys(Kind::Order, &name.0, &uid));
        }
        keys.extend(owner.map(|o| key(Kind::Certificate, &o)));
        if let Some(parent) = self.parent_of_request(&name) {
            keys.push(parent);
            // What keeps it waiting is the Certificate's cause.
            keys.extend(self.root_of_request(&name));
        }
        keys.extend(lists);
        keys
    }

    /// The Certificate has this revision already: the request has nothing more to give.
    pub(super) fn revision_reached(&self, certificate: &Name, revision: Option<i64>) -> bool {
        let current = self.certificates.get(certificate).and_then(|c| c.revision);
        matches!((current, revision), (Some(current), Some(revision)) if current >= revision)
    }

    pub(super) fn unlink_request(&mut self, name: &Name) {
        let Some(old) = self.requests.get(name).cloned() else {
            return;
        };
        for (uid, _) in old.owner.iter().chain(old.parent.as_deref()) {
            self.children(Kind::CertificateRequest)
                .remove(&name.0, uid, &name.1);
        }
        if let Some(secret) = &old.key_secret {
            self.by_key_secret.remove(&name.0, secret, &name.1);
        }
    }

    pub(super) fn forget_request(&mut self, name: &Name) -> Vec<Key> {
        let parent = self.parent_of_request(name);
        let root = parent.as_ref().and_then(|_| self.root_of_request(name));
        self.unlink_request(name);
        let Some(fact) = self.requests.remove(name) else {
            return vec![];
        };
        let owner = fact.owner.as_ref();
        if let Some(owner) = owner {
            self.keep_count(&name.0, owner, &fact.made);
        }
        let mut keys = vec![key(Kind::CertificateRequest, name)];
        keys.extend(owner.map(|(_, c)| key(Kind::Certificate, &(name.0.clone(), c.clone()))));
        keys.extend(parent.into_iter().chain(root));
        keys
    }

    /// A request of this Certificate is not known any more, or not yet: what only it lists counts.
    pub(super) fn keep_count(&mut self, namespace: &Arc<str>, owner: &Owner, made: &[Made]) {
        let (uid, certificate) = owner;
        let index = self.by_owner.get(&Kind::CertificateRequest);
        let left = index.into_iter().flat_map(|i| i.names(namespace, uid));
        let left = left.filter_map(|n| self.requests.get(&(namespace.clone(), n.clone())));
        let listed: BTreeSet<Made> = left.flat_map(|r| r.made.iter().copied()).collect();
        let unlisted = made.iter().filter(|m| !listed.contains(m)).copied();
        let unlisted: Vec<Made> = unlisted.collect();
        if unlisted.is_empty() {
            return;
        }
        let name = (namespace.clone(), certificate.clone());
        let owner = self.opened_certificate(&name);
        if owner.is_some_and(|owner| owner.metadata.uid.as_deref() == Some(&**uid)) {
            self.unlisted
                .entry(uid.clone())
                .or_default()
                .extend(unlisted);
        }
    }

    /// Nothing of a Certificate that is gone counts.
    pub(super) fn forget_count(&mut self, certificate: &Name) {
        if self.unlisted.is_empty() {
            return;
        }
        let object = self.opened_certificate(certificate);
        if let Some(uid) = object.as_ref().and_then(|c| c.metadata.uid.as_ref()) {
            self.unlisted.remove(uid.as_str());
        }
    }

    fn count_as_listed(&mut self, new: &RequestFact) {
        let Some((uid, _)) = &new.owner else { return };
        if let Some(unlisted) = self.unlisted.get_mut(uid) {
            unlisted.retain(|made| !new.made.contains(made));
            if unlisted.is_empty() {
                self.unlisted.remove(uid);
            }
        }
    }

    pub(super) fn issuer(&mut self, kind: Kind, fact: IssuerFact) -> Vec<Key> {
        let name = id_name(&fact.id);
        let old = self.issuers.insert(name.clone(), Arc::new(fact));
        let new = self.issuers.get(&name);
        let same = old
            .zip(new)
            .is_some_and(|(old, new)| new.is_as_before(&old));
        let mut keys = vec![key(kind, &name)];
        if !same {
            keys.extend(self.users_of(kind, &name));
            keys.extend(self.lists_of(kind, &name));
            keys.extend(self.followers_of(kind, &name));
        }
        keys
    }

    /// The Certificates that a rotation of the CA wants something of now.
    fn followers_of(&self, kind: Kind, issuer: &Name) -> Vec<Key> {
        let known = self.issuers.get(issuer).and_then(|fact| Known::of(fact));
        let Some(known) = known.filter(|known| known.rotation.is_some()) else {
            return vec![];
        };
        let leaves = self.leaves_of(kind, issuer);
        let wanted = leaves.filter(|(_, leaf)| known.wish(leaf) != Wish::Nothing);
        wanted.map(|(n, _)| key(Kind::Certificate, &n)).collect()
    }

    /// The certificates of an issuer, as their Secrets have them.
    pub(super) fn leaves_of(
        &self,
        kind: Kind,
        issuer: &Name,
    ) -> impl Iterator<Item = (Name, Leaf)> {
        let digest = digest_of(kind, issuer);
        let its = self.certificates.iter();
        let its = its.filter(move |(_, entry)| entry.issuer == digest);
        its.filter_map(|(n, entry)| {
            let certificate = entry.object.open()?;
            let secret = (n.0.clone(), certificate.spec.secret_name.as_str().into());
            let leaf = Leaf::of(&certificate, self.secrets.get(&secret)?)?;
            Some((n.clone(), leaf))
        })
    }

    pub(super) fn forget_issuer(&mut self, kind: Kind, name: &Name) -> Vec<Key> {
        self.issuers.remove(name);
        let mut keys = vec![key(kind, name)];
        keys.extend(self.users_of(kind, name));
        keys.extend(self.lists_of(kind, name));
        keys
    }

    pub(super) fn issuer_names(&self, kind: Kind) -> HashSet<Name> {
        let cluster = kind == Kind::ClusterIssuer;
        self.issuers
            .keys()
            .filter(|(ns, _)| ns.is_empty() == cluster)
            .cloned()
            .collect()
    }

    /// Whatever refers to an issuer and is not finished.
    pub(super) fn users_of(&self, kind: Kind, issuer: &Name) -> Vec<Key> {
        let digest = digest_of(kind, issuer);
        let refers = |namespace: &str, r: &IssuerReference| issuer_digest(namespace, r) == digest;
        let certificates = self
            .certificates
            .iter()
            .filter(|(_, c)| !c.settled && c.issuer == digest);
        let requests = self
            .requests
            .iter()
            .filter(|(n, r)| !r.is_final() && refers(&n.0, &r.issuer));
        let orders = self.orders.iter().filter(|(_, o)| o.issuer == digest);
        let challenges = self
            .challenges
            .iter()
            .filter(|(n, c)| refers(&n.0, &c.spec.issuer_ref));
        certificates
            .map(|(n, _)| key(Kind::Certificate, n))
            .chain(requests.map(|(n, _)| key(Kind::CertificateRequest, n)))
            .chain(orders.map(|(n, _)| key(Kind::Order, n)))
            .chain(challenges.map(|(n, _)| key(Kind::Challenge, n)))
            .chain(self.revocations_by(refers))
            .collect()
    }

    pub(super) fn order(&mut self, mut object: Order) -> Vec<Key> {
        let written = status_changed_at(&object.metadata);
        prune(&mut object.metadata);
        let name = name_of(&object.metadata);
        let owner = controller_of(&object.metadata, "CertificateRequest").cloned();
        let mut keys = vec![key(Kind::Order, &name)];
        if let Some(owner) = owner {
            self.children(Kind::Order)
                .insert(&name.0, owner.uid.as_str(), &name.1);
            let request: Name = (name.0.clone(), owner.name.as_str().into());
            keys.push(key(Kind::CertificateRequest, &request));
            keys.extend(self.parent_of_request(&request));
            keys.extend(self.root_of_request(&request));
        }
        self.orders.insert(name, OrderEntry::of(&object, written));
        keys
    }

    pub(super) fn forget_order(&mut self, name: &Name) -> Vec<Key> {
        let removed = self.orders.remove(name);
        let Some(object) = removed.and_then(|entry| entry.object.open()) else {
            return vec![];
        };
        let mut keys = vec![key(Kind::Order, name)];
        if let Some(owner) = controller_of(&object.metadata, "CertificateRequest") {
            self.children(Kind::Order)
                .remove(&name.0, &owner.uid, &name.1);
            let request = (name.0.clone(), owner.name.as_str().into());
            keys.push(key(Kind::CertificateRequest, &request));
            keys.extend(self.parent_of_request(&request));
        }
        keys
    }

    pub(super) fn challenge(&mut self, mut object: Challenge) -> Vec<Key> {
        prune(&mut object.metadata);
        let name = name_of(&object.metadata);
        let owner = controller_of(&object.metadata, "Order").cloned();
        let reason = |c: &Challenge| c.status.as_ref().and_then(|s| s.reason.clone());
        let old = self.challenges.get(&name).and_then(|c| reason(c));
        let mut keys = vec![key(Kind::Challenge, &name)];
        if let Some(owner) = owner {
            self.children(Kind::Challenge)
                .insert(&name.0, owner.uid.as_str(), &name.1);
            let order: Name = (name.0.clone(), owner.name.as_str().into());
            keys.push(key(Kind::Order, &order));
            if old != reason(&object) {
                keys.extend(self.root_of_order(&order));
                keys.extend(self.parent_of_order(&order));
            }
        }
        self.challenges.insert(name, Arc::new(object));
        keys
    }

    pub(super) fn forget_challenge(&mut self, name: &Name) -> Vec<Key> {
        let Some(object) = self.challenges.remove(name) else {
            return vec![];
        };
        let mut keys = vec![key(Kind::Challenge, name)];
        if let Some(owner) = controller_of(&object.metadata, "Order") {
            self.children(Kind::Challenge)
                .remove(&name.0, &owner.uid, &name.1);
            let order: Name = (name.0.clone(), owner.name.as_str().into());
            keys.push(key(Kind::Order, &order));
            // What was wrong with it is no cause any more.
            keys.extend(self.root_of_order(&order));
        }
        // Another Challenge of the same name may have been waiting for this one.
        let same = self
            .challenges
            .iter()
            .filter(|(_, c)| c.spec.dns_name == object.spec.dns_name);
        keys.extend(same.map(|(n, _)| key(Kind::Challenge, n)));
        keys
    }

    pub(super) fn root_of_request(&self, request: &Name) -> Option<Key> {
        let fact = self.requests.get(request)?;
        let (_, certificate) = match &fact.parent {
            Some(parent) => {
                let parent = (request.0.clone(), parent.1.clone());
                self.requests.get(&parent)?.owner.as_ref()?
            }
            None => fact.owner.as_ref()?,
        };
        Some(key(
            Kind::Certificate,
            &(request.0.clone(), certificate.clone()),
        ))
    }

    pub(super) fn root_of_order(&self, order: &Name) -> Option<Key> {
        let object = self.opened_order(order)?;
        let owner = controller_of(&object.metadata, "CertificateRequest")?;
        self.root_of_request(&(order.0.clone(), owner.name.as_str().into()))
    }

    pub(super) fn live_challenges(&self) -> Vec<Key> {
        self.challenges
            .keys()
            .map(|n| key(Kind::Challenge, n))
            .collect()
    }

    pub(super) fn forget_secret(&mut self, name: &Name) -> Option<Owner> {
        let fact = self.secrets.remove(name)?;
        if let Some(uid) = &fact.next_key_of {
            self.next_keys.remove(&name.0, uid, &name.1);
        }
        fact.owner.clone()
    }

    pub(super) fn children(&mut self, kind: Kind) -> &mut Index {
        self.by_owner.entry(kind).or_default()
    }
}

/// What a reference to this issuer has as its [`issuer_digest`].
pub(super) fn digest_of(kind: Kind, issuer: &Name) -> u64 {
    let ordered = [Kind::OrderedIssuer, Kind::ClusterOrderedIssuer].contains(&kind);
    let reference = IssuerReference {
        name: issuer.1.to_string(),
        kind: Some(kind.name().to_owned()),
        group: ordered.then(|| labels::OWN_GROUP.to_owned()),
    };
    issuer_digest(&issuer.0, &reference)
}

pub(super) fn name_of(meta: &ObjectMeta) -> Name {
    (
        meta.namespace.as_deref().unwrap_or_default().into(),
        meta.name.as_deref().unwrap_or_default().into(),
    )
}

pub(super) fn challenge_key(namespace: &Arc<str>, challenge: Option<&str>) -> Vec<Key> {
    challenge
        .map(|c| key(Kind::Challenge, &(namespace.clone(), c.into())))
        .into_iter()
        .collect()
}

/// The Ingress that controls a Certificate.
fn ingress_of(certificate: &Certificate) -> Option<Key> {
    let meta = &certificate.metadata;
    let owner = controller_of(meta, "Ingress")?;
    Some(Key::new(
        Kind::Ingress,
        meta.namespace.as_deref()?,
        &owner.name,
    ))
}

/// The uid of the controller, if it is of this kind.
fn owner_uid(meta: &ObjectMeta, kind: &str) -> Option<String> {
    controller_of(meta, kind).map(|o| o.uid.clone())
}
