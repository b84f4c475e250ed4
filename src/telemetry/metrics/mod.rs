//! Metrics under cert-manager's names (contract §7.5), so that its dashboards and alerts work, and
//! our own under `everleaf_`.
//!
//! The text is Prometheus' classic format 0.0.4, where a counter has the name that it was given;
//! in `OpenMetrics` it would have to end in `_total`, which two of cert-manager's do not.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Registry;

mod clock;
mod objects;
mod process;
mod summary;

pub use objects::{CertificateRow, ChallengeRow, IssuerRow, LimitRow, Objects};
use summary::Summary;

/// The type of the text that [`Metrics::text`] gives.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics of the process. What counts is kept here; what can be read off the objects of the
/// cluster is read at each scrape, so that a deleted object leaves nothing behind.
pub struct Metrics {
    registry: Registry,
    objects: Arc<OnceLock<Arc<dyn Objects>>>,
    acme_requests: Family<AcmeRequest, ClassicCounter>,
    acme_durations: Summary,
    sync_calls: Family<ByController, ClassicCounter>,
    sync_errors: Family<ByController, ClassicCounter>,
    panics: Family<ByController, ClassicCounter>,
    queue_depth: Family<ByController, Gauge>,
    api_requests: Family<ApiRequest, ClassicCounter>,
    informer_restarts: Family<ByKind, ClassicCounter>,
    informer_events: Family<ByKind, Gauge>,
    stale_sync_skips: ClassicCounter,
    leader: Gauge,
}

/// One exchange with an ACME server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
pub struct AcmeRequest {
    pub scheme: String,
    pub host: String,
    /// One of contract §7.5: `get_order`, `fetch_cert` and so on.
    pub action: &'static str,
    pub method: &'static str,
    /// 999 when there was no response.
    pub status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByController {
    controller: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByKind {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ApiRequest {
    verb: &'static str,
    kind: &'static str,
    code: u16,
}

/// A counter that keeps the name that it is registered with.
#[derive(Clone, Debug, Default)]
struct ClassicCounter(Counter);

impl TypedMetric for ClassicCounter {
    const TYPE: MetricType = MetricType::Counter;
}

impl EncodeMetric for ClassicCounter {
    // As the line of a gauge, which gets no suffix.
    fn encode(&self, mut encoder: MetricEncoder) -> fmt::Result {
        encoder.encode_gauge(&self.0.get())
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Everything at zero, and no objects until [`Self::set_objects`].
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            objects: Arc::default(),
            acme_requests: Family::default(),
            acme_durations: Summary::default(),
            sync_calls: Family::default(),
            sync_errors: Family::default(),
            panics: Family::default(),
            queue_depth: Family::default(),
            api_requests: Family::default(),
            informer_restarts: Family::default(),
            informer_events: Family::default(),
            stale_sync_skips: ClassicCounter::default(),
            leader: Gauge::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "certmanager_http_acme_client_request_count",
            "Requests to ACME servers",
            self.acme_requests.clone(),
        );
        registry.register(
            "certmanager_controller_sync_call_count",
            "Reconciles begun",
            self.sync_calls.clone(),
        );
        registry.register(
            "certmanager_controller_sync_error_count",
            "Reconciles that failed and are tried again",
            self.sync_errors.clone(),
        );
        registry.register(
            "everleaf_reconcile_panics_total",
            "Reconciles that panicked; their object is set aside",
            self.panics.clone(),
        );
        registry.register(
            "everleaf_queue_depth",
            "Objects that wait for a reconcile",
            self.queue_depth.clone(),
        );
        registry.register(
            "everleaf_api_requests_total",
            "Requests to the Kubernetes API, without watches",
            self.api_requests.clone(),
        );
        registry.register(
            "everleaf_informer_restarts_total",
            "Watches begun anew with a list",
            self.informer_restarts.clone(),
        );
        registry.register(
            "everleaf_informer_last_event_timestamp_seconds",
            "When a watch last delivered something, bookmarks included",
            self.informer_events.clone(),
        );
        registry.register(
            "everleaf_stale_sync_skips_total",
            "Reconciles put off until the object's own last write was seen",
            self.stale_sync_skips.clone(),
        );
        registry.register(
            "everleaf_leader",
            "Whether this process holds the Lease",
            self.leader.clone(),
        );
        let objects = objects::ObjectCollector {
            objects: Arc::clone(&self.objects),
            leader: self.leader.clone(),
        };
        self.registry.register_collector(Box::new(objects));
        self.registry.register_collector(Box::new(clock::Clock));
        self.registry.register_collector(Box::new(process::Process));
    }

    /// Where the metrics of objects are read from. Only the first call counts.
    pub fn set_objects(&self, objects: Arc<dyn Objects>) {
        // A second source could only disagree with the first.
        let _ = self.objects.set(objects);
    }

    /// Counts an exchange with an ACME server and what it took.
    pub fn acme_request(&self, request: AcmeRequest, took: Duration) {
        self.acme_requests.get_or_create(&request).0.inc();
        self.acme_durations.observe(request, took);
    }

    /// A reconcile begins.
    pub fn sync_called(&self, controller: &'static str) {
        let labels = ByController { controller };
        self.sync_calls.get_or_create(&labels).0.inc();
    }

    /// A reconcile failed.
    pub fn sync_failed(&self, controller: &'static str) {
        let labels = ByController { controller };
        self.sync_errors.get_or_create(&labels).0.inc();
    }

    /// A reconcile panicked.
    pub fn panicked(&self, controller: &'static str) {
        let labels = ByController { controller };
        self.panics.get_or_create(&labels).0.inc();
    }

    /// So many objects wait.
    pub fn set_queue_depth(&self, controller: &'static str, depth: usize) {
        let depth = i64::try_from(depth).unwrap_or(i64::MAX);
        let labels = ByController { controller };
        self.queue_depth.get_or_create(&labels).set(depth);
    }

    /// A request to the Kubernetes API ended with an HTTP status, or 0 without one.
    pub fn api_request(&self, verb: &'static str, kind: &'static str, code: u16) {
        let labels = ApiRequest { verb, kind, code };
        self.api_requests.get_or_create(&labels).0.inc();
    }

    /// A watch begins anew.
    pub fn informer_restarted(&self, kind: &'static str) {
        let labels = ByKind { kind };
        self.informer_restarts.get_or_create(&labels).0.inc();
    }

    /// A watch delivered something.
    pub fn informer_event(&self, kind: &'static str, at: Timestamp) {
        let labels = ByKind { kind };
        self.informer_events
            .get_or_create(&labels)
            .set(at.as_second());
    }

    /// A reconcile is put off because its object is older than our last write.
    pub fn stale_sync_skipped(&self) {
        self.stale_sync_skips.0.inc();
    }

    /// Whether this process holds the Lease.
    pub fn set_leader(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// All metrics in Prometheus' text format.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let written = text::encode_registry(&mut out, &self.registry)
            .and_then(|()| self.acme_durations.write(&mut out));
        if let Err(error) = written {
            tracing::warn!(%error, "metrics are incomplete");
        }
        out
    }
}

#[cfg(test)]
mod tests;
