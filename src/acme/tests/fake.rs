//! An ACME server that says what a test tells it to, over real TLS on the loopback interface.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig as TlsConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::super::{Client, Hooks, ServerConfig};
use crate::pki::{
    CertificateSigningRequest, CertificateTemplate, Curve, IssuerIdentity, KeyAlgorithm, KeyUsages,
    ParsedCertificate, PrivateKey, RequestParams, Subject, Urls, build_request, self_sign, sign,
};

#[derive(Debug, Clone, Default)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    fn part(&self, name: &str) -> String {
        let body: Value = serde_json::from_str(&self.body).unwrap();
        let part = URL_SAFE_NO_PAD.decode(body[name].as_str().unwrap());
        String::from_utf8(part.unwrap()).unwrap()
    }

    /// Protected header of the JWS.
    pub(crate) fn protected(&self) -> Value {
        serde_json::from_str(&self.part("protected")).unwrap()
    }

    pub(crate) fn payload(&self) -> String {
        self.part("payload")
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Response {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    has_nonce: bool,
}

impl Response {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            has_nonce: true,
        }
    }

    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::new(status, body.to_string())
    }

    pub(crate) fn problem(status: u16, kind: &str) -> Self {
        let kind = format!("urn:ietf:params:acme:error:{kind}");
        Self::json(status, &json!({"type": kind, "detail": "because"}))
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn without_nonce(mut self) -> Self {
        self.has_nonce = false;
        self
    }

    fn write(&self, mut to: impl std::io::Write) -> std::io::Result<()> {
        let mut head = format!(
            "HTTP/1.1 {} x\r\nContent-Length: {}\r\nConnection: close\r\n",
            self.status,
            self.body.len()
        );
        for (name, value) in &self.headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        to.write_all(format!("{head}\r\n").as_bytes())?;
        to.write_all(&self.body)?;
        to.flush()
    }
}

/// `None` closes the connection without a word.
type Script = dyn Fn(&Request) -> Option<Response> + Send + Sync;

pub(crate) struct FakeServer {
    pub(crate) base: String,
    ca: ParsedCertificate,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl FakeServer {
    /// The script answers what is neither the directory nor a nonce.
    pub(crate) fn start(
        script: impl Fn(&Request) -> Option<Response> + Send + Sync + 'static,
    ) -> Self {
        Self::listen("https", tls(), script)
    }

    /// With a certificate that it has signed itself, as `openssl req -x509` makes it: one of a CA.
    pub(crate) fn self_signed(
        script: impl Fn(&Request) -> Option<Response> + Send + Sync + 'static,
    ) -> Self {
        Self::listen("https", self_signed_tls(), script)
    }

    /// The same without TLS.
    pub(crate) fn plain(
        script: impl Fn(&Request) -> Option<Response> + Send + Sync + 'static,
    ) -> Self {
        Self::listen("http", tls(), script)
    }

    fn listen(
        scheme: &'static str,
        (ca, tls): (ParsedCertificate, Arc<TlsConfig>),
        script: impl Fn(&Request) -> Option<Response> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("{scheme}://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let server = Self {
            base: base.clone(),
            ca,
            seen: Arc::clone(&seen),
        };
        let script: Arc<Script> = Arc::new(script);
        // It ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (tls, base) = (Arc::clone(&tls), base.clone());
                let (script, seen) = (Arc::clone(&script), Arc::clone(&seen));
                let mut stream = stream.unwrap();
                thread::spawn(move || {
                    if scheme == "http" {
                        serve(&mut stream, &base, &*script, &seen);
                        return;
                    }
                    let tls = ServerConnection::new(tls).unwrap();
                    let mut stream = StreamOwned::new(tls, stream);
                    if serve(&mut stream, &base, &*script, &seen) {
                        stream.conn.send_close_notify();
                        let _ = stream.flush();
                    }
                });
            }
        });
        server
    }

    pub(crate) fn config(&self) -> ServerConfig {
        ServerConfig {
            directory_url: format!("{}/directory", self.base),
            ca_bundle: Some(self.ca.to_pem().into_bytes()),
            skip_tls_verify: false,
            user_agent: "everleaf-test/1".into(),
        }
    }

    pub(crate) fn client(&self) -> Client {
        self.client_with(Hooks::default())
    }

    pub(crate) fn client_with(&self, hooks: Hooks) -> Client {
        Client::with_hooks(&self.config(), hooks).unwrap()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Every request so far, oldest first.
    pub(crate) fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn posts(&self) -> Vec<Request> {
        let mut seen = self.seen();
        seen.retain(|request| request.method == "POST");
        seen
    }
}

/// A CA, and a server certificate from it for 127.0.0.1: made by the code next door.
fn tls() -> (ParsedCertificate, Arc<TlsConfig>) {
    let [ca_key, key] =
        [0; 2].map(|_| PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256)).unwrap());
    let ca_csr = csr(
        &RequestParams {
            subject: Subject::from_common_name("test CA"),
            ..RequestParams::default()
        },
        &ca_key,
    );
    let ca = self_sign(&template(&ca_csr, true), &ca_key).unwrap();
    let csr = csr(
        &RequestParams {
            ip_addresses: vec!["127.0.0.1".parse().unwrap()],
            ..RequestParams::default()
        },
        &key,
    );
    let issuer = IssuerIdentity {
        subject_der: ca.subject().as_der(),
        subject_key_id: ca.subject_key_id(),
        key: &ca_key,
    };
    let certificate = sign(&template(&csr, false), issuer).unwrap();
    let config = serving(&certificate, &key);
    (ca, config)
}

fn self_signed_tls() -> (ParsedCertificate, Arc<TlsConfig>) {
    let key = PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256)).unwrap();
    let params = RequestParams {
        subject: Subject::from_common_name("acme.example.com"),
        ip_addresses: vec!["127.0.0.1".parse().unwrap()],
        ..RequestParams::default()
    };
    let certificate = self_sign(&template(&csr(&params, &key), true), &key).unwrap();
    let config = serving(&certificate, &key);
    (certificate, config)
}

fn serving(certificate: &ParsedCertificate, key: &PrivateKey) -> Arc<TlsConfig> {
    let key = PrivatePkcs8KeyDer::from(key.pkcs8_der().unwrap().to_vec());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = TlsConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from(certificate.der().to_vec())],
            PrivateKeyDer::from(key),
        )
        .unwrap();
    Arc::new(config)
}

fn csr(params: &RequestParams, key: &PrivateKey) -> CertificateSigningRequest {
    CertificateSigningRequest::parse_pem(build_request(params, key).unwrap().as_bytes()).unwrap()
}

#[allow(
    clippy::disallowed_methods,
    reason = "the client checks the certificate against its own clock"
)]
fn template(csr: &CertificateSigningRequest, is_ca: bool) -> CertificateTemplate<'_> {
    CertificateTemplate {
        csr,
        not_before: Timestamp::now(),
        duration: Duration::from_hours(1),
        is_ca,
        usages: KeyUsages::from_names(&["digital signature", "server auth"], is_ca).unwrap(),
        urls: Urls::default(),
    }
}

/// Whether there was an answer.
fn serve(
    stream: &mut (impl std::io::Read + std::io::Write),
    base: &str,
    script: &Script,
    seen: &Mutex<Vec<Request>>,
) -> bool {
    let Some(request) = read(&mut *stream) else {
        return false;
    };
    let number = {
        let mut seen = seen.lock().unwrap();
        seen.push(request.clone());
        seen.len()
    };
    let response = match request.path.as_str() {
        "/directory" => Some(Response::json(200, &directory(base))),
        "/nonce" => Some(Response::new(200, "")),
        _ => script(&request),
    };
    let Some(mut response) = response else {
        return false;
    };
    let is_directory = request.path == "/directory";
    if !is_directory
        && response.has_nonce
        && !response
            .headers
            .iter()
            .any(|(name, _)| *name == "Replay-Nonce")
    {
        response = response.with("Replay-Nonce", format!("nonce-{number}"));
    }
    // The client may have given up on a reply that it refuses.
    let _ = response.write(stream);
    true
}

pub(crate) fn directory(base: &str) -> Value {
    json!({
        "newNonce": format!("{base}/nonce"),
        "newAccount": format!("{base}/account"),
        "newOrder": format!("{base}/order"),
        "renewalInfo": format!("{base}/renewal-info"),
        "keyChange": format!("{base}/key-change"),
        "revokeCert": "ldap://elsewhere/",
        "newToy": {"a": [1]},
        "meta": {"profiles": {"short": "x", "other": {}}, "caaIdentities": null, "website": null}
    })
}

fn read(stream: impl std::io::Read) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_ascii_whitespace();
    let mut request = Request {
        method: words.next()?.to_owned(),
        path: words.next()?.to_owned(),
        ..Request::default()
    };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        request
            .headers
            .push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let length = request
        .header("content-length")
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    request.body = String::from_utf8(body).unwrap();
    Some(request)
}
