//! The half that runs inside a lab: it writes and watches, and prints what it saw as one line of JSON.
#![allow(
    clippy::disallowed_methods,
    reason = "it is the measuring clock, and no operator"
)]

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt, stream};
use http::header::{HeaderValue, USER_AGENT};
use kube::api::{Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::core::Request;
use kube::{Client, Config};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::lot::NAMESPACE;

/// Requests at once.
const IN_FLIGHT: usize = 32;

/// Bytes of a PEM certificate, a PEM request and a PEM key of ECDSA P-256.
const CERTIFICATE: usize = 700;
const REQUEST: usize = 520;
const KEY: usize = 227;
/// Bytes of a Secret that no certificate has to do with.
const UNRELATED: usize = 100 * 1024;

pub fn run(arguments: &[String]) -> Result<()> {
    let [what, first, count, issuers, domain] = arguments else {
        bail!(
            "client: prepare, floor, issue, single or unrelated; the number of the first, how many, how many Issuers, \
             and the domain"
        );
    };
    let (first, count, issuers) = (first.parse()?, count.parse::<usize>()?, issuers.parse()?);
    let numbers: Range<usize> = first..first + count;
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("a TLS back end is installed already"))?;
    let runtime = tokio::runtime::Runtime::new()?;
    let seen = runtime.block_on(async {
        let mut config = Config::infer().await?;
        let name = HeaderValue::from_static("everleaf-bench");
        config.headers.push((USER_AGENT, name));
        let bench = Bench {
            client: Client::try_from(config)?,
            issuers,
            domain: domain.as_str().into(),
        };
        match what.as_str() {
            "prepare" => bench.prepare(numbers).await,
            "floor" => bench.floor(numbers).await,
            "issue" => bench.issue(numbers).await,
            "single" => bench.single(numbers).await,
            "unrelated" => bench.unrelated(numbers).await,
            _ => bail!("client: no {what}"),
        }
    })?;
    println!(
        "{}",
        json!({ "seconds": seen.0, "p50": seen.1, "p99": seen.2 })
    );
    Ok(())
}

/// Seconds in all, median and 99th percentile of one certificate.
type Times = (f64, f64, f64);

#[derive(Clone)]
struct Bench {
    client: Client,
    /// The Certificates are shared out among `issuer-0` and so on.
    issuers: usize,
    /// Where the names are.
    domain: Arc<str>,
}

/// What the watch needs of a Certificate.
#[derive(Clone, Debug, Deserialize)]
struct Watched {
    metadata: Metadata,
    #[serde(default)]
    status: Status,
}

#[derive(Clone, Debug, Deserialize)]
struct Metadata {
    name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Deserialize)]
struct Condition {
    r#type: String,
    status: String,
}

impl Bench {
    /// The Certificates that the floor writes for: nobody issues them.
    async fn prepare(&self, numbers: Range<usize>) -> Result<Times> {
        let began = Instant::now();
        stream::iter(numbers.map(Ok))
            .try_for_each_concurrent(IN_FLIGHT, |n| self.certificate(n))
            .await?;
        Ok((began.elapsed().as_secs_f64(), 0.0, 0.0))
    }

    /// The contract's writes for one certificate: its request and that one's status, the Secret, the status of the
    /// Certificate at the begin and at the end.
    async fn floor(&self, numbers: Range<usize>) -> Result<Times> {
        let began = Instant::now();
        let times: Vec<f64> = stream::iter(numbers)
            .map(|n| async move {
                let began = Instant::now();
                self.writes(n).await?;
                Ok::<_, anyhow::Error>(began.elapsed().as_secs_f64())
            })
            .buffer_unordered(IN_FLIGHT)
            .try_collect()
            .await?;
        times_of(began, times)
    }

    async fn writes(&self, n: usize) -> Result<()> {
        let name = format!("bench-{n}");
        let request = format!("{name}-1");
        self.patch_status("certificates", &name, conditions(&["Ready", "Issuing"]))
            .await?;
        let body = json!({
            "apiVersion": "cert-manager.io/v1", "kind": "CertificateRequest",
            "metadata": { "name": request },
            "spec": {
                "request": filler(REQUEST),
                "issuerRef": { "name": "issuer", "kind": "Issuer", "group": "cert-manager.io" },
                "usages": ["digital signature", "key encipherment"],
            },
        });
        self.post(&path("certificaterequests"), &body).await?;
        let mut status = conditions(&["Approved", "Ready"]);
        status.insert("certificate".into(), json!(filler(CERTIFICATE)));
        self.patch_status("certificaterequests", &request, status)
            .await?;
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": { "name": name },
            "data": { "tls.crt": filler(CERTIFICATE), "tls.key": filler(KEY) },
        });
        let params = PatchParams::apply("bench").force();
        let request =
            Request::new(core_path("secrets")).patch(&name, &params, &Patch::Apply(secret))?;
        self.send(request).await?;
        let mut status = conditions(&["Ready"]);
        for time in ["notBefore", "notAfter", "renewalTime"] {
            status.insert(time.into(), json!("2030-01-01T00:00:00Z"));
        }
        status.insert("revision".into(), json!(1));
        self.patch_status("certificates", &name, status).await
    }

    /// Create Certificates, and wait until all are Ready.
    async fn issue(&self, numbers: Range<usize>) -> Result<Times> {
        let created: Arc<Mutex<HashMap<String, Instant>>> = Arc::default();
        let began = Instant::now();
        let watching = self.ready(numbers.len(), created.clone());
        let creating = stream::iter(numbers.map(Ok)).try_for_each_concurrent(IN_FLIGHT, |n| {
            let created = created.clone();
            async move {
                created
                    .lock()
                    .await
                    .insert(format!("bench-{n}"), Instant::now());
                self.certificate(n).await
            }
        });
        let (times, ()) = tokio::try_join!(watching, creating)?;
        times_of(began, times)
    }

    /// One certificate after the other.
    async fn single(&self, numbers: Range<usize>) -> Result<Times> {
        let began = Instant::now();
        let mut times = Vec::new();
        for n in numbers {
            times.push(self.issue(n..n + 1).await?.0);
        }
        times_of(began, times)
    }

    /// Secrets that no certificate has to do with.
    async fn unrelated(&self, numbers: Range<usize>) -> Result<Times> {
        let began = Instant::now();
        let data = filler(UNRELATED);
        stream::iter(numbers.map(Ok))
            .try_for_each_concurrent(IN_FLIGHT, |n| {
                let body = json!({
                    "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
                    "metadata": { "name": format!("unrelated-{n}") },
                    "data": { "data": &data },
                });
                async move { self.post(&core_path("secrets"), &body).await }
            })
            .await?;
        Ok((began.elapsed().as_secs_f64(), 0.0, 0.0))
    }

    /// Seconds from create to Ready of each certificate in `created`, when there are `count`.
    async fn ready(
        &self,
        count: usize,
        created: Arc<Mutex<HashMap<String, Instant>>>,
    ) -> Result<Vec<f64>> {
        let mut ready: HashMap<String, f64> = HashMap::new();
        while ready.len() < count {
            let watch = Request::new(path("certificates")).watch(&WatchParams::default(), "0")?;
            let events = self.client.request_events::<Watched>(watch).await?;
            let mut events = std::pin::pin!(events);
            while ready.len() < count
                && let Some(event) = events.next().await
            {
                let (WatchEvent::Added(object) | WatchEvent::Modified(object)) = event? else {
                    continue;
                };
                let is = |kind: &str| {
                    let mut all = object.status.conditions.iter();
                    all.any(|c| c.r#type == kind && c.status == "True")
                };
                if is("Ready")
                    && !is("Issuing")
                    && let Some(at) = created.lock().await.get(&object.metadata.name)
                {
                    let seconds = at.elapsed().as_secs_f64();
                    ready.entry(object.metadata.name).or_insert(seconds);
                }
            }
        }
        Ok(ready.into_values().collect())
    }

    async fn certificate(&self, n: usize) -> Result<()> {
        let name = format!("bench-{n}");
        let body = json!({
            "apiVersion": "cert-manager.io/v1", "kind": "Certificate",
            "metadata": { "name": name },
            "spec": {
                "secretName": name,
                "dnsNames": [format!("{n}.{}", self.domain)],
                "privateKey": { "algorithm": "ECDSA", "size": 256 },
                "issuerRef": { "name": format!("issuer-{}", n % self.issuers) },
            },
        });
        self.post(&path("certificates"), &body).await
    }

    async fn post(&self, path: &str, body: &Value) -> Result<()> {
        let request =
            Request::new(path).create(&PostParams::default(), serde_json::to_vec(body)?)?;
        self.send(request).await
    }

    async fn patch_status(
        &self,
        plural: &str,
        name: &str,
        status: serde_json::Map<String, Value>,
    ) -> Result<()> {
        let patch = Patch::Merge(json!({ "status": status }));
        let request = Request::new(path(plural)).patch_subresource(
            "status",
            name,
            &PatchParams::default(),
            &patch,
        )?;
        self.send(request).await
    }

    async fn send(&self, request: http::Request<Vec<u8>>) -> Result<()> {
        let what = format!("{} {}", request.method(), request.uri());
        self.client
            .request_text(request)
            .await
            .map(drop)
            .context(what)
    }
}

fn path(plural: &str) -> String {
    format!("/apis/cert-manager.io/v1/namespaces/{NAMESPACE}/{plural}")
}

fn core_path(plural: &str) -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/{plural}")
}

/// Base64 of so many bytes, which no API server looks into.
fn filler(bytes: usize) -> String {
    "QUJD".repeat(bytes.div_ceil(3))
}

fn conditions(kinds: &[&str]) -> serde_json::Map<String, Value> {
    let condition = |kind: &&str| {
        json!({
            "type": kind, "status": "True", "reason": "Bench", "observedGeneration": 1,
            "message": "A sentence as long as those that conditions usually have",
            "lastTransitionTime": "2030-01-01T00:00:00Z",
        })
    };
    let all: Vec<_> = kinds.iter().map(condition).collect();
    serde_json::Map::from_iter([("conditions".to_owned(), json!(all))])
}

fn times_of(began: Instant, mut times: Vec<f64>) -> Result<Times> {
    let seconds = began.elapsed().as_secs_f64();
    times.sort_by(f64::total_cmp);
    let at = |percent: usize| {
        let last = times.len().saturating_sub(1);
        times.get(last * percent / 100).copied()
    };
    Ok((
        seconds,
        at(50).context("no times")?,
        at(99).context("no times")?,
    ))
}
