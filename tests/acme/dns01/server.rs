//! A server in the lab: a webhook solver, and an acme-dns server. It writes to BIND what it is told to, and prints what it
//! was asked. It runs in this test program, started anew within the lab.

use std::convert::Infallible;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use lab::Process;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::{Cluster, DEADLINE};

/// Environment of the started program: its port, and whether it speaks TLS.
const PORT: &str = "EVERLEAF_TEST_PORT";
const TLS: &str = "EVERLEAF_TEST_TLS";
/// What a line that tells of a call begins with.
const CALL: &str = "CALL ";

/// It ends when dropped.
pub struct Server {
    process: Process,
    unlocked: PathBuf,
    pub port: u16,
}

impl Server {
    /// Start it in the lab; a webhook solver speaks TLS.
    pub fn start(cluster: &Cluster, name: &str, tls: bool) -> Result<Self> {
        let port = if tls { 9443 } else { 9080 };
        let mut command = cluster.lab.command(std::env::current_exe()?);
        command
            .args([
                "--exact",
                "dns01::server::serves",
                "--ignored",
                "--nocapture",
            ])
            .env(PORT, port.to_string())
            .env(TLS, tls.to_string());
        let process = cluster.lab.spawn(name, command)?;
        cluster.lab.wait(DEADLINE, name, || {
            Ok(process.log()?.contains("SERVING").then_some(()))
        })?;
        let unlocked = unlocked(cluster.lab.dir());
        Ok(Self {
            process,
            unlocked,
            port,
        })
    }

    /// From now on the webhook solver does what it is told.
    pub fn unlock(&self) -> Result<()> {
        Ok(std::fs::write(&self.unlocked, "")?)
    }

    /// What it was asked, in order.
    pub fn calls(&self) -> Result<Vec<Value>> {
        let log = self.process.log()?;
        let lines = log.lines().filter_map(|line| line.strip_prefix(CALL));
        lines.map(|line| Ok(serde_json::from_str(line)?)).collect()
    }
}

fn unlocked(dir: &Path) -> PathBuf {
    dir.join("webhook-unlocked")
}

#[tokio::test]
#[ignore = "it is the server, which other tests start in the lab"]
async fn serves() -> Result<()> {
    let port: u16 = std::env::var(PORT).context("started by hand")?.parse()?;
    let dir = PathBuf::from(std::env::var("LAB_DIR")?);
    let listener = TcpListener::bind((lab::ADDRESS, port)).await?;
    let acceptor = (std::env::var(TLS)? == "true")
        .then(|| acceptor(&dir))
        .transpose()?;
    println!("\nSERVING");
    loop {
        let (stream, _) = listener.accept().await?;
        let (acceptor, dir) = (acceptor.clone(), dir.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(dir.clone(), request));
            let http = hyper::server::conn::http1::Builder::new();
            match acceptor {
                Some(acceptor) => {
                    let stream = acceptor.accept(stream).await?;
                    http.serve_connection(TokioIo::new(stream), service).await?;
                }
                None => http.serve_connection(TokioIo::new(stream), service).await?,
            }
            anyhow::Ok(())
        });
    }
}

fn acceptor(dir: &Path) -> Result<TlsAcceptor> {
    let pki = dir.join("pki");
    let chain = CertificateDer::pem_file_iter(pki.join("pebble.crt"))?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(pki.join("pebble.key"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn answer(
    dir: PathBuf,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let path = parts.uri.path().to_owned();
    let header = |name: &str| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let (user, key) = (header("x-api-user"), header("x-api-key"));
    if parts.method == "POST" {
        // In one piece: connections are served side by side.
        let call = json!({ "path": path, "user": user, "key": key, "body": body });
        println!("{CALL}{call}");
    }
    let (status, answer) = match (parts.method.as_str(), path.as_str()) {
        ("POST", "/update") if key != Some("opensesame") => (401, json!({ "error": "forbidden" })),
        ("POST", "/update") => {
            let text = body["txt"].as_str().unwrap_or_default();
            let name = body["subdomain"].as_str().unwrap_or_default();
            change(&format!("add {name}.dns01.example.com 1 TXT {text}"));
            (200, json!({ "txt": text }))
        }
        ("POST", _) => (200, json!({ "response": solve(&dir, &body["request"]) })),
        ("GET", "/apis/acme.everleaf.test/v1alpha1") => (200, discovery()),
        _ => (
            404,
            json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404 }),
        ),
    };
    let response = Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(answer.to_string())));
    Ok(response.unwrap_or_default())
}

fn discovery() -> Value {
    json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "acme.everleaf.test/v1alpha1",
        "resources": [{
            "name": "recorder", "singularName": "", "namespaced": false, "kind": "ChallengePayload", "verbs": ["create"],
        }],
    })
}

/// As a webhook solver does.
fn solve(dir: &Path, request: &Value) -> Value {
    if !unlocked(dir).exists() {
        let status = json!({ "status": "Failure", "message": "the zone is locked", "code": 400 });
        return json!({ "uid": request["uid"], "success": false, "status": status });
    }
    let name = request["resolvedFQDN"].as_str().unwrap_or_default();
    let key = request["key"].as_str().unwrap_or_default();
    match request["action"].as_str() {
        Some("Present") => change(&format!("add {name} 1 TXT {key}")),
        _ => change(&format!("delete {name} TXT {key}")),
    }
    json!({ "uid": request["uid"], "success": true })
}

/// A line as nsupdate reads it.
fn change(line: &str) {
    let key = format!("hmac-sha256:lab:{}", lab::TSIG_SECRET);
    let nsupdate = Command::new("nsupdate")
        .args(["-y", &key])
        .stdin(Stdio::piped())
        .spawn();
    let mut nsupdate = nsupdate.expect("nsupdate starts");
    let mut input = nsupdate.stdin.take().expect("its input is a pipe");
    write!(input, "server {}\n{line}\nsend\n", lab::ADDRESS).expect("it reads");
    drop(input);
    assert!(nsupdate.wait().expect("it ends").success(), "{line}");
}
