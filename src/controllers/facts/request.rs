//! What is kept of a CertificateRequest.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{Identity, Owner, Packed, controller_of, owner_of, prune};
use crate::api::meta::{Condition, IssuerReference};
use crate::api::{CertificateRequest, labels};
use crate::controllers::matching::{Compared, request_fields};
use crate::controllers::status::find;

/// A request that counts against the budget of its Certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Made {
    /// When, in milliseconds: several may fall into one second.
    pub at: Timestamp,
    /// The generation of the Certificate that it was made for.
    pub generation: i64,
}

impl Made {
    /// Those that an annotation lists, as `MILLISECONDS/GENERATION` with spaces between; what cannot be read
    /// is passed over.
    fn parse(text: &str) -> Box<[Self]> {
        let one = |word: &str| {
            let (at, generation) = word.split_once('/')?;
            Some(Self {
                at: Timestamp::from_millisecond(at.parse().ok()?).ok()?,
                generation: generation.parse().ok()?,
            })
        };
        text.split(' ').filter_map(one).collect()
    }

    /// Those that a request with this metadata counts: as it lists them, or itself.
    pub fn counted_by(meta: &ObjectMeta) -> Box<[Self]> {
        let annotations = meta.annotations.as_ref();
        let listed = annotations.and_then(|a| a.get(labels::REQUESTS_MADE_ANNOTATION));
        listed.map_or_else(
            || {
                let at = Identity::of(meta).created;
                Box::from([Self { at, generation: 0 }])
            },
            |text| Self::parse(text),
        )
    }
}

impl std::fmt::Display for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.at.as_millisecond(), self.generation)
    }
}

/// A CertificateRequest.
#[derive(Debug, Clone)]
pub struct RequestFact {
    /// Identity.
    pub id: Identity,
    /// The requests that count, as it lists them; a request without the list counts itself.
    pub made: Box<[Made]>,
    /// The owning Certificate: uid and name.
    pub owner: Option<Owner>,
    /// The request of an ordered issuer that it was made for: uid and name.
    pub parent: Option<Box<Owner>>,
    /// The annotation `cert-manager.io/certificate-revision`, if it is a number.
    pub revision: Option<i64>,
    /// The annotation `cert-manager.io/private-key-secret-name`.
    pub key_secret: Option<Box<str>>,
    /// `spec.issuerRef`.
    pub issuer: IssuerReference,
    /// Approved.
    pub approved: bool,
    /// The Denied condition, when True.
    pub denied: Option<Box<Condition>>,
    /// The `InvalidRequest` condition, when True.
    pub invalid: Option<Box<Condition>>,
    /// The Ready condition.
    pub ready: Option<Box<Condition>>,
    /// `status.failureTime`.
    pub failure_time: Option<Timestamp>,
    /// What is compared with the Certificate's spec; an error when the CSR cannot be read.
    pub compared: Result<Compared, String>,
    /// The object, while somebody still has to act on it.
    pub body: Option<Packed<CertificateRequest>>,
}

impl RequestFact {
    /// Reduce an object.
    pub fn of(mut object: CertificateRequest) -> Self {
        prune(&mut object.metadata);
        let meta = &object.metadata;
        let annotation = |key: &str| meta.annotations.as_ref().and_then(|a| a.get(key)).cloned();
        let status = object.status.as_ref();
        let conditions = status
            .and_then(|s| s.conditions.as_deref())
            .unwrap_or_default();
        let truth = |kind| {
            find(conditions, kind)
                .filter(|c| c.status == "True")
                .cloned()
                .map(Box::new)
        };
        let id = Identity::of(meta);
        Self {
            id,
            made: Made::counted_by(meta),
            owner: owner_of(meta),
            parent: controller_of(meta, "CertificateRequest")
                .map(|o| Box::new((o.uid.as_str().into(), o.name.as_str().into()))),
            revision: annotation(labels::CERTIFICATE_REVISION_ANNOTATION)
                .and_then(|r| r.parse().ok()),
            key_secret: annotation(labels::PRIVATE_KEY_SECRET_NAME_ANNOTATION).map(Into::into),
            issuer: object.spec.issuer_ref.clone(),
            approved: truth("Approved").is_some(),
            denied: truth("Denied"),
            invalid: truth("InvalidRequest"),
            ready: find(conditions, "Ready").cloned().map(Box::new),
            failure_time: status.and_then(|s| s.failure_time.as_ref()).map(|t| t.0),
            compared: request_fields(&object.spec),
            body: Some(Packed::of(&object)),
        }
    }

    /// The reason of the Ready condition; empty when there is none.
    pub fn ready_reason(&self) -> &str {
        self.ready
            .as_ref()
            .and_then(|c| c.reason.as_deref())
            .unwrap_or_default()
    }

    /// The object, while somebody still has to act on it.
    pub fn object(&self) -> Option<Arc<CertificateRequest>> {
        self.body.as_ref().and_then(Packed::open)
    }

    /// Its issuer has given it up and does not say why: there is a time of failure, and no Ready condition.
    pub fn is_stalled(&self) -> bool {
        self.ready.is_none() && self.failure_time.is_some()
    }

    /// No issuer will touch it again.
    pub fn is_final(&self) -> bool {
        self.invalid.is_some() || matches!(self.ready_reason(), "Issued" | "Failed" | "Denied")
    }
}
