//! The facts as the metrics page shows them.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::clock::now;
use super::limits::LimitsInUse;
use crate::controllers::progress::Informer;
use crate::controllers::status::find;
use crate::controllers::store::Store;
use crate::telemetry::metrics::{CertificateRow, ChallengeRow, IssuerRow, LimitRow, Objects};

/// Reads the store and the ledger at each scrape; keeps nothing.
pub struct Scrape(Arc<Store>, Arc<LimitsInUse>);

impl Scrape {
    /// Of this store and this ledger.
    pub fn new(store: Arc<Store>, limits: Arc<LimitsInUse>) -> Self {
        Self(store, limits)
    }
}

const UNKNOWN: &str = "Unknown";

fn unix(time: Option<&Time>) -> Option<i64> {
    time.map(|t| t.0.as_second())
}

impl Objects for Scrape {
    fn certificates(&self) -> Vec<CertificateRow> {
        let names = self.0.names(Informer::Certificates).into_iter().flatten();
        // One after the other: unpacked they are much larger than their rows.
        let rows = names.filter_map(|(namespace, name)| {
            let object = Arc::unwrap_or_clone(self.0.certificate(&namespace, &name)?);
            let issuer = object.spec.issuer_ref;
            let status = object.status.unwrap_or_default();
            let conditions = status.conditions.unwrap_or_default();
            let ready = find(&conditions, "Ready").map_or(UNKNOWN, |c| &c.status);
            Some(CertificateRow {
                name,
                namespace,
                issuer_name: issuer.name,
                issuer_kind: issuer.kind.unwrap_or_default(),
                issuer_group: issuer.group.unwrap_or_default(),
                ready: ready.to_owned(),
                not_before: unix(status.not_before.as_ref()),
                not_after: unix(status.not_after.as_ref()),
                renewal: unix(status.renewal_time.as_ref()),
            })
        });
        rows.collect()
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

    fn limits(&self) -> Vec<LimitRow> {
        self.1.rows(now())
    }

    fn issuers(&self, each: &mut dyn FnMut(&IssuerRow<'_>)) {
        for fact in self.0.issuers() {
            let namespace = &fact.id.namespace;
            let ca = fact.status.ca.as_ref();
            let rotation = ca.and_then(|ca| ca.rotation.as_ref());
            each(&IssuerRow {
                name: &fact.id.name,
                namespace: (!namespace.is_empty()).then_some(namespace),
                ready: fact.ready().map_or(UNKNOWN, |c| &c.status),
                rotation: rotation.map(|r| [r.done, r.certificates - r.done]),
            });
        }
    }
}
