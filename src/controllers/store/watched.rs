//! Certificates whose CA's revocation list is watched.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use super::routes::digest_of;
use super::{Inner, Store, issuer_kind, key};
use crate::api::meta::IssuerReference;
use crate::controllers::facts::SecretFact;
use crate::controllers::key::{Key, Kind};
use crate::controllers::watched_lists::Watched;

/// Below this nothing is gained by looking for what nobody uses.
const FEW: usize = 64;

impl Inner {
    /// Of the URL of a list one copy is kept, however many certificates say it.
    pub(super) fn share_list_url(&mut self, fact: &mut SecretFact) {
        let leaf = fact.certificate.as_mut().and_then(|c| c.as_mut().ok());
        let Some(url) = leaf.and_then(|leaf| leaf.list.as_mut()) else {
            return;
        };
        share(&mut self.list_urls, url);
    }

    /// The same for what a Certificate says of its issuer.
    pub(super) fn share_issuer(&mut self, reference: &mut Arc<IssuerReference>) {
        share(&mut self.issuer_references, reference);
    }
}

/// Use what is known, of few values that thousands have.
fn share<T: ?Sized + Eq + Hash>(known: &mut HashSet<Arc<T>>, value: &mut Arc<T>) {
    if let Some(known) = known.get(value) {
        *value = known.clone();
        return;
    }
    if known.len() >= FEW && known.len() == known.capacity() {
        known.retain(|value| Arc::strong_count(value) > 1);
    }
    known.insert(value.clone());
}

impl Store {
    /// The certificates of all issuers that ask for it (`spec.watchRevocationLists`), as far as they name a list.
    pub fn watched(&self) -> Vec<Watched> {
        let inner = self.inner.read();
        let asking = inner
            .issuers
            .iter()
            .filter(|(_, fact)| fact.spec.watch_revocation_lists == Some(true));
        let issuers: HashMap<u64, Key> = asking
            .map(|(name, _)| {
                let kind = issuer_kind(name);
                (digest_of(kind, name), key(kind, name))
            })
            .collect();
        if issuers.is_empty() {
            return vec![];
        }
        let mut watched = vec![];
        for (secret, fact) in &inner.secrets {
            let leaf = fact.certificate.as_ref().and_then(|c| c.as_ref().ok());
            let Some((list, id)) = leaf.and_then(|leaf| leaf.list.as_ref().zip(leaf.id.as_ref()))
            else {
                continue;
            };
            for name in inner.by_secret.names(&secret.0, &secret.1) {
                let certificate = (secret.0.clone(), name.clone());
                let entry = inner.certificates.get(&certificate);
                let Some(issuer) = entry.and_then(|entry| issuers.get(&entry.issuer)) else {
                    continue;
                };
                watched.push(Watched {
                    certificate: key(Kind::Certificate, &certificate),
                    issuer: issuer.clone(),
                    secret: secret.1.clone(),
                    list: list.clone(),
                    id: id.clone(),
                });
            }
        }
        watched
    }
}
