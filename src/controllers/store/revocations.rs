//! CertificateRevocations, and what they mean for the certificates and keys of others.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::routes::{digest_of, name_of};
use super::{Index, Inner, Name, Store, issuer_digest, key};
use crate::api::{CertificateRevocation, IssuerReference};
use crate::controllers::facts::{LeafFact, prune};
use crate::controllers::key::{Key, Kind};
use crate::controllers::revocation::{Claims, Stage, Withdrawal, listed};
use crate::controllers::revocation_list::{self, ListFact, Revoked};
use crate::controllers::status::find;
use crate::pki::ParsedCertificate;

/// All of them, by what is asked.
#[derive(Debug, Default)]
pub(super) struct Revocations {
    pub(super) objects: HashMap<Name, Arc<CertificateRevocation>>,
    /// By certificate.
    leaves: HashMap<u64, Vec<(Name, Stage)>>,
    /// By public key; whether it counts in the whole cluster.
    keys: HashMap<u64, Vec<(Name, bool)>>,
    /// Those that are not done, by namespace and the Certificate that they are about.
    by_certificate: Index,
    /// Those that are not done, by namespace and the Secret that they are about.
    by_secret: Index,
}

impl Revocations {
    fn insert(&mut self, name: &Name, object: CertificateRevocation) -> Claims {
        self.remove(name);
        let claims = Claims::of(&object);
        for (leaf, stage) in &claims.leaves {
            let all = self.leaves.entry(*leaf).or_default();
            all.push((name.clone(), *stage));
        }
        for (key, everywhere) in &claims.keys {
            let all = self.keys.entry(*key).or_default();
            all.push((name.clone(), *everywhere));
        }
        if is_open(&object) {
            if let Some(certificate) = certificate_of(&object) {
                self.by_certificate.insert(&name.0, certificate, &name.1);
            }
            for secret in secrets_of(&object) {
                self.by_secret.insert(&name.0, secret, &name.1);
            }
        }
        self.objects.insert(name.clone(), Arc::new(object));
        claims
    }

    fn remove(&mut self, name: &Name) -> Claims {
        let Some(old) = self.objects.remove(name) else {
            return Claims::default();
        };
        let claims = Claims::of(&old);
        for (leaf, _) in &claims.leaves {
            forget(&mut self.leaves, *leaf, name);
        }
        for (key, _) in &claims.keys {
            forget(&mut self.keys, *key, name);
        }
        if let Some(certificate) = certificate_of(&old) {
            self.by_certificate.remove(&name.0, certificate, &name.1);
        }
        for secret in secrets_of(&old) {
            self.by_secret.remove(&name.0, secret, &name.1);
        }
        claims
    }

    /// Who says that a key is compromised, to this namespace.
    fn compromised(&self, namespace: &str, public: u64) -> Option<&Name> {
        let all = self.keys.get(&public)?.iter();
        let mut all = all.filter(|(name, everywhere)| *everywhere || &*name.0 == namespace);
        all.next().map(|(name, _)| name)
    }
}

fn forget<T>(map: &mut HashMap<u64, Vec<(Name, T)>>, at: u64, name: &Name) {
    if let Some(all) = map.get_mut(&at) {
        all.retain(|(of, _)| of != name);
        if all.is_empty() {
            map.remove(&at);
        }
    }
}

fn certificate_of(object: &CertificateRevocation) -> Option<&str> {
    let reference = object.spec.certificate_ref.as_ref()?;
    Some(&reference.name)
}

fn secrets_of(object: &CertificateRevocation) -> impl Iterator<Item = &str> {
    let named = object.spec.secret_ref.iter().map(|r| r.name.as_str());
    let found = object
        .status
        .iter()
        .filter_map(|s| s.secret_name.as_deref());
    named.chain(found)
}

/// Whether there is anything left to do about it.
fn is_open(object: &CertificateRevocation) -> bool {
    let conditions = object.status.as_ref().and_then(|s| s.conditions.as_deref());
    let ready = find(conditions.unwrap_or_default(), "Ready");
    ready.is_none_or(|c| !c.is_true() && c.reason.as_deref() != Some("Refused"))
}

impl Inner {
    pub(super) fn revocation(&mut self, mut object: CertificateRevocation) -> Vec<Key> {
        prune(&mut object.metadata);
        let name = name_of(&object.metadata);
        let old = self.revocations.remove(&name);
        let new = self.revocations.insert(&name, object);
        let mut keys = vec![key(Kind::Revocation, &name)];
        if old != new {
            keys.extend(self.concerned(&new));
        }
        keys
    }

    pub(super) fn forget_revocation(&mut self, name: &Name) -> Vec<Key> {
        let old = self.revocations.remove(name);
        let mut keys = vec![key(Kind::Revocation, name)];
        keys.extend(self.concerned(&old));
        keys
    }

    /// The Certificates whose Secrets hold one of these certificates or keys.
    fn concerned(&self, claims: &Claims) -> Vec<Key> {
        let is_meant = |leaf: &LeafFact| {
            claims.leaves.iter().any(|(of, _)| *of == leaf.fingerprint)
                || claims.keys.iter().any(|(of, _)| *of == leaf.public)
        };
        let secrets = self.secrets.iter().filter(|(_, secret)| {
            let leaf = secret.certificate.as_ref();
            leaf.is_some_and(|leaf| leaf.as_ref().is_ok_and(is_meant))
        });
        let keepers = secrets.flat_map(|((namespace, secret), _)| {
            let names = self.by_secret.names(namespace, secret);
            names.map(|n| key(Kind::Certificate, &(namespace.clone(), n.clone())))
        });
        keepers.collect()
    }

    /// Those about a Certificate that are not done.
    pub(super) fn revocations_of(&self, certificate: &Name) -> Vec<Key> {
        let index = &self.revocations.by_certificate;
        revocation_keys(index, certificate)
    }

    /// Those about a Secret that are not done.
    pub(super) fn revocations_in(&self, secret: &Name) -> Vec<Key> {
        revocation_keys(&self.revocations.by_secret, secret)
    }

    /// Those that ask an issuer and are not done.
    pub(super) fn revocations_by(
        &self,
        is_it: impl Fn(&str, &IssuerReference) -> bool,
    ) -> Vec<Key> {
        let all = self.revocations.objects.iter();
        let asking = all.filter(|(name, object)| {
            let issuer = object.status.as_ref().and_then(|s| s.issuer_ref.as_ref());
            is_open(object) && issuer.is_some_and(|issuer| is_it(&name.0, issuer))
        });
        asking
            .map(|(name, _)| key(Kind::Revocation, name))
            .collect()
    }
}

fn revocation_keys(index: &Index, (namespace, by): &Name) -> Vec<Key> {
    let names = index.names(namespace, by);
    let keys = names.map(|n| key(Kind::Revocation, &(namespace.clone(), n.clone())));
    keys.collect()
}

impl Store {
    /// The revocation list of an issuer.
    pub fn list_of(&self, issuer: &Key) -> Option<Arc<ListFact>> {
        let home = self.home(issuer.kind, &issuer.namespace).clone();
        let name = (home, revocation_list::name(issuer).into());
        self.inner.read().lists.get(&name).cloned()
    }

    /// What CertificateRevocations have a CA issuer put into its list, apart from these serial numbers, which are there.
    pub fn listed_by(
        &self,
        issuer: &Key,
        there: &HashSet<String>,
    ) -> Vec<(ParsedCertificate, Revoked)> {
        let inner = self.inner.read();
        let name = (issuer.namespace.clone(), issuer.name.clone());
        let digest = digest_of(issuer.kind, &name);
        let its = inner.revocations.objects.iter().filter(|(name, object)| {
            let reference = object.status.as_ref().and_then(|s| s.issuer_ref.as_ref());
            reference.is_some_and(|reference| issuer_digest(&name.0, reference) == digest)
        });
        let is_there = |serial: &str| there.contains(serial);
        its.flat_map(|(_, object)| listed(object, is_there))
            .collect()
    }

    /// A CertificateRevocation.
    pub fn revocation(&self, namespace: &str, name: &str) -> Option<Arc<CertificateRevocation>> {
        let inner = self.inner.read();
        let objects = &inner.revocations.objects;
        objects.get(&(namespace.into(), name.into())).cloned()
    }

    /// What a Certificate of this namespace has to know of the certificate in its Secret.
    pub fn withdrawal(&self, namespace: &str, leaf: &LeafFact) -> Option<Withdrawal> {
        let inner = self.inner.read();
        let say = |name: &Name| format!("{}/{}", name.0, name.1);
        if let Some(all) = inner.revocations.leaves.get(&leaf.fingerprint) {
            // One of another namespace is about a copy.
            let own = all.iter().filter(|(name, _)| &*name.0 == namespace);
            if let Some((name, stage)) = own.max_by_key(|(_, stage)| *stage) {
                return match stage {
                    Stage::Asking => None,
                    Stage::Replacing => Some(Withdrawal::Replaced { by: say(name) }),
                    Stage::Withdrawn => Some(Withdrawal::Revoked { by: say(name) }),
                };
            }
        }
        let by = inner.revocations.compromised(namespace, leaf.public)?;
        Some(Withdrawal::Compromised { by: say(by) })
    }

    /// Which CertificateRevocation says that a key is compromised, to this namespace.
    pub fn compromised(&self, namespace: &str, public: u64) -> Option<String> {
        let inner = self.inner.read();
        let by = inner.revocations.compromised(namespace, public)?;
        Some(format!("{}/{}", by.0, by.1))
    }
}
