//! The facts as the metrics page shows them.

use std::sync::Arc;

use super::clock::now;
use crate::controllers::store::Store;
use crate::runtime::acme::limits::LimitsInUse;
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

impl Objects for Scrape {
    fn certificates(&self) -> Vec<CertificateRow> {
        let rows = self
            .0
            .measured()
            .into_iter()
            .map(|((namespace, name), seen)| {
                let issuer = &*seen.issuer;
                CertificateRow {
                    name,
                    namespace,
                    issuer_name: issuer.name.clone(),
                    issuer_kind: issuer.kind.clone().unwrap_or_default(),
                    issuer_group: issuer.group.clone().unwrap_or_default(),
                    ready: seen.ready.to_owned(),
                    not_before: seen.not_before,
                    not_after: seen.not_after,
                    renewal: seen.renewal,
                }
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
