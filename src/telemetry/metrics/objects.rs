//! Metrics of objects, read at each scrape from whoever watches the objects.

use std::fmt;
use std::sync::{Arc, OnceLock};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::Gauge as Leader;

/// The objects as they are now, in any order. A closure is given each once a call.
pub trait Objects: Send + Sync {
    /// Asked for once a page: there may be thousands.
    fn certificates(&self) -> Vec<CertificateRow>;
    fn challenges(&self, each: &mut dyn FnMut(&ChallengeRow<'_>));
    /// Limits of CAs that are used up in part, or waited for.
    fn limits(&self) -> Vec<LimitRow>;
    /// Issuers and `ClusterIssuer`s.
    fn issuers(&self, each: &mut dyn FnMut(&IssuerRow<'_>));
}

/// A Certificate. Times are Unix seconds of its status.
#[derive(Clone, Debug)]
pub struct CertificateRow {
    pub name: Arc<str>,
    pub namespace: Arc<str>,
    pub issuer_name: String,
    /// As in the spec, so empty where the user left it out.
    pub issuer_kind: String,
    /// As in the spec, so empty where the user left it out.
    pub issuer_group: String,
    /// Status of the condition `Ready`; `Unknown` without one.
    pub ready: String,
    pub not_before: Option<i64>,
    pub not_after: Option<i64>,
    pub renewal: Option<i64>,
}

/// A Challenge.
#[derive(Clone, Copy, Debug, Default)]
pub struct ChallengeRow<'a> {
    pub name: &'a str,
    pub namespace: &'a str,
    pub domain: &'a str,
    /// `spec.type`.
    pub type_: &'a str,
    /// `status.state`, empty before the first.
    pub state: &'a str,
    pub reason: &'a str,
    pub processing: bool,
}

/// An Issuer, or without namespace a `ClusterIssuer`.
#[derive(Clone, Copy, Debug, Default)]
pub struct IssuerRow<'a> {
    pub name: &'a str,
    pub namespace: Option<&'a str>,
    /// Status of the condition `Ready`; `Unknown` without one.
    pub ready: &'a str,
    /// Of a rotation of its CA: how many certificates are done, and how many are not.
    pub rotation: Option<[i64; 2]>,
}

/// A limit of a CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitRow {
    /// Host of the CA.
    pub server: String,
    /// Which limit.
    pub limit: &'static str,
    /// What it counts.
    pub scope: Arc<str>,
    /// How often it can be used now, if that is known.
    pub left: Option<i64>,
    /// Orders that wait for it.
    pub waiting: i64,
}

const STATUSES: [&str; 3] = ["True", "False", "Unknown"];

/// The states of contract §1.9; the empty one is `unknown` in words.
const STATES: [&str; 8] = [
    "ready",
    "valid",
    "errored",
    "expired",
    "invalid",
    "processing",
    "",
    "pending",
];

type Time = fn(&CertificateRow) -> Option<i64>;

const TIMES: [(&str, &str, Time); 4] = [
    (
        "certmanager_certificate_expiration_timestamp_seconds",
        "When the certificate expires, in Unix time",
        |row| row.not_after,
    ),
    (
        "certmanager_certificate_not_after_timestamp_seconds",
        "When the certificate stops being valid, in Unix time",
        |row| row.not_after,
    ),
    (
        "certmanager_certificate_not_before_timestamp_seconds",
        "When the certificate begins to be valid, in Unix time",
        |row| row.not_before,
    ),
    (
        "certmanager_certificate_renewal_timestamp_seconds",
        "When the certificate is to be renewed, in Unix time",
        |row| row.renewal,
    ),
];

/// Of replicas that all watch, only the one that acts has the objects in its metrics: they would be counted once for
/// each. Those of cert-manager do not watch before they act.
pub(super) struct ObjectCollector {
    pub(super) objects: Arc<OnceLock<Arc<dyn Objects>>>,
    pub(super) leader: Leader,
}

impl fmt::Debug for ObjectCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ObjectCollector").finish_non_exhaustive()
    }
}

impl Collector for ObjectCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let Some(objects) = self.objects.get().filter(|_| self.leader.get() != 0) else {
            return Ok(());
        };
        certificates(objects.as_ref(), &mut encoder)?;
        challenges(objects.as_ref(), &mut encoder)?;
        issuers(objects.as_ref(), &mut encoder)
    }
}

fn certificates(objects: &dyn Objects, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let rows = objects.certificates();
    for (name, help, time) in TIMES {
        let mut gauge = Gauge::begin(encoder, name, help)?;
        for row in &rows {
            let labels = [
                ("name", &*row.name),
                ("namespace", &*row.namespace),
                ("issuer_name", &row.issuer_name),
                ("issuer_kind", &row.issuer_kind),
                ("issuer_group", &row.issuer_group),
            ];
            gauge.line(&labels, time(row).unwrap_or(0));
        }
        gauge.end()?;
    }
    let name = "certmanager_certificate_ready_status";
    let mut gauge = Gauge::begin(encoder, name, "Whether the certificate is ready")?;
    for row in &rows {
        for condition in STATUSES {
            let labels = [
                ("name", &*row.name),
                ("namespace", &*row.namespace),
                ("condition", condition),
                ("issuer_name", &row.issuer_name),
                ("issuer_kind", &row.issuer_kind),
                ("issuer_group", &row.issuer_group),
            ];
            gauge.line(&labels, i64::from(row.ready == condition));
        }
    }
    gauge.end()
}

fn challenges(objects: &dyn Objects, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let name = "certmanager_certificate_challenge_status";
    let mut gauge = Gauge::begin(encoder, name, "The state of the challenge")?;
    objects.challenges(&mut |row| {
        let processing = if row.processing { "true" } else { "false" };
        for status in STATES {
            let labels = [
                ("status", status),
                ("domain", row.domain),
                ("reason", row.reason),
                ("processing", processing),
                ("name", row.name),
                ("namespace", row.namespace),
                ("type", row.type_),
            ];
            gauge.line(&labels, i64::from(row.state == status));
        }
    });
    gauge.end()
}

fn issuers(objects: &dyn Objects, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let name = "certmanager_issuer_ready_status";
    let mut gauge = Gauge::begin(encoder, name, "Whether the Issuer is ready")?;
    objects.issuers(&mut |row| {
        let Some(namespace) = row.namespace else {
            return;
        };
        for condition in STATUSES {
            let labels = [
                ("name", row.name),
                ("namespace", namespace),
                ("condition", condition),
            ];
            gauge.line(&labels, i64::from(row.ready == condition));
        }
    });
    gauge.end()?;
    let name = "certmanager_clusterissuer_ready_status";
    let mut gauge = Gauge::begin(encoder, name, "Whether the ClusterIssuer is ready")?;
    objects.issuers(&mut |row| {
        if row.namespace.is_some() {
            return;
        }
        for condition in STATUSES {
            let labels = [("name", row.name), ("condition", condition)];
            gauge.line(&labels, i64::from(row.ready == condition));
        }
    });
    gauge.end()?;
    rotations(objects, encoder)?;
    limits(objects, encoder)
}

/// Nothing at all while there is none.
fn limits(objects: &dyn Objects, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let rows = objects.limits();
    if rows.is_empty() {
        return Ok(());
    }
    let labels = |row: &LimitRow| {
        [
            ("server", row.server.clone()),
            ("limit", row.limit.to_owned()),
            ("scope", row.scope.to_string()),
        ]
    };
    let name = "everleaf_acme_limit_tokens";
    let help = "How often a limit of an ACME server can be used now; only of those that are used up in part";
    let mut gauge = Gauge::begin(encoder, name, help)?;
    for row in &rows {
        if let Some(left) = row.left {
            gauge.line(&labels(row), left);
        }
    }
    gauge.end()?;
    let name = "everleaf_acme_limit_waiting";
    let help = "Orders that wait for a limit of an ACME server";
    let mut gauge = Gauge::begin(encoder, name, help)?;
    for row in &rows {
        gauge.line(&labels(row), row.waiting);
    }
    gauge.end()
}

/// Nothing at all while there is none.
fn rotations(objects: &dyn Objects, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let mut any = false;
    objects.issuers(&mut |row| any |= row.rotation.is_some());
    if !any {
        return Ok(());
    }
    let name = "everleaf_ca_rotation_certificates";
    let help = "Certificates that follow another CA of their issuer, in the phase of now";
    let mut gauge = Gauge::begin(encoder, name, help)?;
    objects.issuers(&mut |row| {
        let counts = ["done", "pending"].into_iter();
        for (state, count) in counts.zip(row.rotation.into_iter().flatten()) {
            let namespace = row.namespace.unwrap_or_default();
            let labels = [
                ("name", row.name),
                ("namespace", namespace),
                ("state", state),
            ];
            gauge.line(&labels, count);
        }
    });
    gauge.end()
}

/// Writes the lines of one gauge; the first failure is kept for the end, because a visitor's
/// closure cannot return it.
struct Gauge<'a> {
    encoder: prometheus_client::encoding::MetricEncoder<'a>,
    written: fmt::Result,
}

impl<'a> Gauge<'a> {
    fn begin(
        encoder: &'a mut DescriptorEncoder<'_>,
        name: &'a str,
        help: &str,
    ) -> Result<Self, fmt::Error> {
        let encoder = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        let written = Ok(());
        Ok(Self { encoder, written })
    }

    fn line(&mut self, labels: &impl EncodeLabelSet, value: i64) {
        if self.written.is_ok() {
            let family = self.encoder.encode_family(labels);
            self.written = family.and_then(|mut encoder| encoder.encode_gauge(&value));
        }
    }

    fn end(self) -> fmt::Result {
        self.written
    }
}
