//! Objects at rest.

use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::issuer_digest;
use crate::api::{Certificate, Order};
use crate::controllers::status::find;

/// An object as its JSON: one allocation of a kilobyte, where the typed one takes three in thirty. Reading it back
/// takes microseconds, and a reconcile looks at a handful of them while thousands rest.
pub(super) struct Packed<T> {
    json: Box<[u8]>,
    object: PhantomData<fn() -> T>,
}

impl<T> std::fmt::Debug for Packed<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.json.len())
    }
}

impl<T: Serialize + DeserializeOwned> Packed<T> {
    /// Objects of the API are written as they were read: neither this nor [`Self::open`] fails for them.
    pub(super) fn of(object: &T) -> Self {
        let json = serde_json::to_vec(object).unwrap_or_default();
        Self {
            json: json.into(),
            object: PhantomData,
        }
    }

    pub(super) fn open(&self) -> Option<Arc<T>> {
        serde_json::from_slice(&self.json).ok().map(Arc::new)
    }
}

/// A Certificate, and what is asked of all of them.
#[derive(Debug)]
pub(super) struct CertificateEntry {
    pub(super) object: Packed<Certificate>,
    /// `status.revision`.
    pub(super) revision: Option<i64>,
    /// Ready, and nothing under way.
    pub(super) settled: bool,
    /// Of the issuer, as [`issuer_digest`] has it.
    pub(super) issuer: u64,
}

impl CertificateEntry {
    pub(super) fn of(object: &Certificate) -> Self {
        let status = object.status.as_ref();
        let conditions = status
            .and_then(|s| s.conditions.as_deref())
            .unwrap_or_default();
        let is_true = |kind| find(conditions, kind).is_some_and(|c| c.status == "True");
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
        Self {
            object: Packed::of(object),
            revision: status.and_then(|s| s.revision),
            settled: is_true("Ready") && !is_true("Issuing"),
            issuer: issuer_digest(namespace, &object.spec.issuer_ref),
        }
    }
}

/// An Order, and what is asked of all of them.
#[derive(Debug)]
pub(super) struct OrderEntry {
    pub(super) object: Packed<Order>,
    /// Of the issuer, as [`issuer_digest`] has it.
    pub(super) issuer: u64,
}

impl OrderEntry {
    pub(super) fn of(object: &Order) -> Self {
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
        Self {
            object: Packed::of(object),
            issuer: issuer_digest(namespace, &object.spec.issuer_ref),
        }
    }
}
