//! The facts as the metrics page shows them.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::controllers::progress::Informer;
use crate::controllers::status::find;
use crate::controllers::store::Store;
use crate::telemetry::metrics::{CertificateRow, ChallengeRow, IssuerRow, Objects};

/// Reads the store at each scrape; keeps nothing.
pub struct Scrape(Arc<Store>);

impl Scrape {
    /// Of this store.
    pub fn new(store: Arc<Store>) -> Self {
        Self(store)
    }
}

const UNKNOWN: &str = "Unknown";

fn unix(time: Option<&Time>) -> Option<i64> {
    time.map(|t| t.0.as_second())
}

impl Objects for Scrape {
    fn certificates(&self, each: &mut dyn FnMut(&CertificateRow<'_>)) {
        // One after the other: there may be thousands.
        for (namespace, name) in self.0.names(Informer::Certificates).into_iter().flatten() {
            let Some(object) = self.0.certificate(&namespace, &name) else {
                continue;
            };
            let status = object.status.as_ref();
            let conditions = status
                .and_then(|s| s.conditions.as_deref())
                .unwrap_or_default();
            let issuer = &object.spec.issuer_ref;
            each(&CertificateRow {
                name: &name,
                namespace: &namespace,
                issuer_name: &issuer.name,
                issuer_kind: issuer.kind.as_deref().unwrap_or_default(),
                issuer_group: issuer.group.as_deref().unwrap_or_default(),
                ready: find(conditions, "Ready").map_or(UNKNOWN, |c| &c.status),
                not_before: unix(status.and_then(|s| s.not_before.as_ref())),
                not_after: unix(status.and_then(|s| s.not_after.as_ref())),
                renewal: unix(status.and_then(|s| s.renewal_time.as_ref())),
            });
        }
    }

    fn challenges(&self, each: &mut dyn FnMut(&ChallengeRow<'_>)) {
        for object in self.0.challenges() {
            let status = object.status.as_ref();
            each(&ChallengeRow {
                name: object.metadata.name.as_deref().unwrap_or_default(),
                namespace: object.metadata.namespace.as_deref().unwrap_or_default(),
                domain: &object.spec.dns_name,
                type_: &object.spec.type_,
                state: status.and_then(|s| s.state.as_deref()).unwrap_or_default(),
                reason: status.and_then(|s| s.reason.as_deref()).unwrap_or_default(),
                processing: status.and_then(|s| s.processing).unwrap_or_default(),
            });
        }
    }

    fn issuers(&self, each: &mut dyn FnMut(&IssuerRow<'_>)) {
        for fact in self.0.issuers() {
            let namespace = &fact.id.namespace;
            each(&IssuerRow {
                name: &fact.id.name,
                namespace: (!namespace.is_empty()).then_some(namespace),
                ready: fact.ready().map_or(UNKNOWN, |c| &c.status),
            });
        }
    }
}
