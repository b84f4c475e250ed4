//! Objects at rest, with what is asked of all of them.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::issuer_digest;
use crate::api::{Certificate, CertificateStatus, IssuerReference, Order};
use crate::controllers::digest::digest;
use crate::controllers::facts::{Packed, controller_of};
use crate::controllers::status::find;

/// What metrics say of a Certificate: of thousands at once, so that none is unpacked for it.
#[derive(Debug, Clone)]
pub struct Measured {
    /// `spec.issuerRef`.
    pub issuer: Arc<IssuerReference>,
    /// Status of the condition Ready; `Unknown` without one.
    pub ready: &'static str,
    /// Of its status, in Unix seconds.
    pub not_before: Option<i64>,
    /// Of its status, in Unix seconds.
    pub not_after: Option<i64>,
    /// Of its status, in Unix seconds.
    pub renewal: Option<i64>,
}

impl Measured {
    fn of(object: &Certificate) -> Self {
        let status = object.status.as_ref();
        let conditions = status.and_then(|s| s.conditions.as_deref());
        let ready = find(conditions.unwrap_or_default(), "Ready");
        let unix = |of: fn(&CertificateStatus) -> &Option<Time>| {
            let time = status.and_then(|status| of(status).as_ref());
            time.map(|time| time.0.as_second())
        };
        Self {
            issuer: Arc::new(object.spec.issuer_ref.clone()),
            ready: match ready.map(|ready| ready.status.as_str()) {
                Some("True") => "True",
                Some("False") => "False",
                _ => "Unknown",
            },
            not_before: unix(|status| &status.not_before),
            not_after: unix(|status| &status.not_after),
            renewal: unix(|status| &status.renewal_time),
        }
    }
}

/// A Certificate, and what is asked of all of them.
#[derive(Debug)]
pub(super) struct CertificateEntry {
    pub(super) object: Packed<Certificate>,
    pub(super) measured: Measured,
    /// `status.revision`.
    pub(super) revision: Option<i64>,
    /// Ready, and nothing under way.
    pub(super) settled: bool,
    /// Of the issuer, as [`issuer_digest`] has it.
    pub(super) issuer: u64,
    /// Of its uid, and of what the indexes have of it.
    pub(super) links: u64,
    /// Of what its Ingress has written or would mend; 0 without one.
    pub(super) shim: u64,
}

impl CertificateEntry {
    pub(super) fn of(object: &Certificate) -> Self {
        let status = object.status.as_ref();
        let conditions = status
            .and_then(|s| s.conditions.as_deref())
            .unwrap_or_default();
        let is_true = |kind| find(conditions, kind).is_some_and(|c| c.status == "True");
        let meta = &object.metadata;
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        let ingress = controller_of(meta, "Ingress").map(|owner| owner.uid.as_str());
        let passwords: Vec<_> = object.spec.password_secrets().collect();
        let shim =
            ingress.map(|uid| digest(&(uid, meta.generation, &meta.labels, &meta.annotations)));
        Self {
            links: digest(&(&meta.uid, &object.spec.secret_name, passwords, ingress)),
            shim: shim.unwrap_or_default(),
            object: Packed::of(object),
            measured: Measured::of(object),
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
    /// When its status was written last, in Unix seconds; 0 if nobody says. Four bytes, as there are thousands.
    written: u32,
    /// Of the issuer, as [`issuer_digest`] has it.
    pub(super) issuer: u64,
    /// What nobody needs any more was dropped.
    pub(super) shrunk: bool,
}

impl OrderEntry {
    pub(super) fn of(object: &Order, written: Option<Timestamp>) -> Self {
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
        let seconds = written.map(Timestamp::as_second);
        Self {
            written: seconds.and_then(|s| s.try_into().ok()).unwrap_or(0),
            object: Packed::of(object),
            issuer: issuer_digest(namespace, &object.spec.issuer_ref),
            shrunk: false,
        }
    }

    /// When its status was written last, if somebody says.
    pub(super) fn written(&self) -> Option<Timestamp> {
        let known = (self.written > 0).then_some(self.written)?;
        Timestamp::from_second(known.into()).ok()
    }
}
