//! Services over HTTP: what is sent to them, with credentials that are not shown, and what they answer.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderName, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use jiff::Timestamp;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::dial::{Dialer, Proxies, Resolver};
use super::exchange::{Bounds, Connections, Unanswered};
use super::parse_retry_after;

/// For one exchange, connecting included.
const TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A service of the machine itself answers at once, or is not there.
const LOCAL_TIMEOUT: Duration = Duration::from_secs(5);
const LOCAL_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const MAX_BODY: usize = 4 << 20;
/// What is shorter is part of any text, and no secret.
const SECRET: usize = 8;

/// Why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The request cannot be sent as it is. What is wrong with it is not quoted: it may be a credential.
    #[error("{0}")]
    Request(&'static str),
    /// There is no answer.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
}

/// What is sent. Debug shows where to, and nothing of the headers and the body.
#[derive(Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Absolute.
    pub url: String,
    /// All but `Host`, `Content-Length` and `User-Agent`.
    pub headers: HeaderMap,
    /// Empty if there is none.
    pub body: Bytes,
    /// What may be a credential: a server that refuses it may say it again.
    hidden: Vec<Zeroizing<String>>,
}

impl Request {
    /// Without headers or a body.
    pub fn new(method: Method, url: impl Into<String>) -> Self {
        Self {
            method,
            url: url.into(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            hidden: Vec::new(),
        }
    }

    /// `GET`.
    pub fn get(url: impl Into<String>) -> Self {
        Self::new(Method::GET, url)
    }

    /// A header more. One that holds a credential is marked so, which keeps it out of any table of headers and of Debug.
    pub fn header(mut self, name: HeaderName, value: &str) -> Result<Self, Error> {
        let mut header = HeaderValue::from_str(value)
            .map_err(|_| Error::Request("a value that cannot be in a header"))?;
        header.set_sensitive(true);
        self.headers.insert(name, header);
        for part in value.split([' ', ',', ';', '=']) {
            self.hide(part);
        }
        Ok(self)
    }

    /// A body of a type.
    #[must_use]
    pub fn body(mut self, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let content_type = HeaderValue::from_static(content_type);
        self.headers.insert(CONTENT_TYPE, content_type);
        self.body = body.into();
        self
    }

    /// JSON.
    #[must_use]
    pub fn json(self, body: &serde_json::Value) -> Self {
        self.body("application/json", body.to_string())
    }

    /// A form.
    #[must_use]
    pub fn form(mut self, fields: &[(&str, &str)]) -> Self {
        for (_, value) in fields {
            self.hide(value);
        }
        self.body("application/x-www-form-urlencoded", query(fields))
    }
}

impl Request {
    fn hide(&mut self, text: &str) {
        if text.len() >= SECRET {
            self.hidden.push(Zeroizing::new(text.to_owned()));
        }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.url)
    }
}

/// What a server answered.
#[derive(Clone)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// Wiped when it is dropped: it may be a token.
    pub body: Zeroizing<Vec<u8>>,
    /// With the port, if it is not the usual one.
    pub host: String,
}

impl Reply {
    /// Whether the status says success.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as JSON; `None` if it is none of that kind.
    pub fn json<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.body).ok()
    }

    /// When the server wants to be asked again.
    pub fn retry_after(&self, now: Timestamp) -> Option<Timestamp> {
        parse_retry_after(self.headers.get(RETRY_AFTER)?.to_str().ok()?, now)
    }
}

/// Connections to services.
#[derive(Clone)]
pub struct Client {
    connections: Connections,
    bounds: Bounds,
}

impl Client {
    /// By https only, to servers that one of the roots vouches for. The way to them is the system's: its proxies are used
    /// too, unless the resolver says where all names lead.
    pub fn new(roots: RootCertStore, resolver: Resolver) -> Result<Self, rustls::Error> {
        let proxies = match resolver {
            Resolver::System => Some(Proxies::of_environment()),
            Resolver::Fixed(_) => None,
        };
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(roots)?)
            .https_only()
            .enable_http1()
            .wrap_connector(Dialer::new(resolver, proxies, CONNECT_TIMEOUT));
        Ok(Self::with(connector, TIMEOUT))
    }

    /// As [`Self::new`] with the system's way, and by plain http where a URL of the user's says so, which they may for a
    /// service of the cluster.
    pub fn plain(roots: RootCertStore) -> Result<Self, rustls::Error> {
        let proxies = Some(Proxies::of_environment());
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(roots)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(Dialer::new(Resolver::System, proxies, CONNECT_TIMEOUT));
        Ok(Self::with(connector, TIMEOUT))
    }

    /// To services of the machine that the process runs on, which a cloud offers by plain http.
    pub fn local() -> Result<Self, rustls::Error> {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(public_roots())?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(Dialer::new(Resolver::System, None, LOCAL_CONNECT_TIMEOUT));
        Ok(Self::with(connector, LOCAL_TIMEOUT))
    }

    fn with(connector: HttpsConnector<Dialer>, timeout: Duration) -> Self {
        Self {
            connections: Connections::new(connector),
            bounds: Bounds {
                time: timeout,
                body: MAX_BODY,
            },
        }
    }

    /// One exchange. Any status is an answer; one that says failure is kept without what the request's headers and form
    /// have brought.
    pub async fn send(&self, request: Request) -> Result<Reply, Error> {
        let host = host(&request.url)?;
        let mut sent = http::Request::builder()
            .method(&request.method)
            .uri(&request.url)
            .body(Full::new(request.body.clone()))
            .map_err(|_| Error::Request("not a URL"))?;
        sent.headers_mut().clone_from(&request.headers);
        let agent = HeaderValue::from_static(concat!("everleaf/", env!("CARGO_PKG_VERSION")));
        sent.headers_mut().insert(USER_AGENT, agent);
        sent.headers_mut()
            .entry(ACCEPT)
            .or_insert(HeaderValue::from_static("*/*"));
        let answer = self.connections.exchange(sent, &host, self.bounds).await?;
        let mut reply = Reply {
            status: answer.status,
            headers: answer.headers,
            body: answer.body,
            host,
        };
        if !reply.is_success() {
            reply.body = without(reply.body, &request.hidden);
        }
        Ok(reply)
    }
}

/// The public certificate authorities.
pub fn public_roots() -> RootCertStore {
    webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect()
}

fn tls(roots: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// A refusal without the credentials that were refused.
fn without(body: Zeroizing<Vec<u8>>, hidden: &[Zeroizing<String>]) -> Zeroizing<Vec<u8>> {
    let Ok(text) = std::str::from_utf8(&body) else {
        return body;
    };
    let mut text = text.to_owned();
    for secret in hidden {
        text = text.replace(secret.as_str(), "[hidden]");
    }
    Zeroizing::new(text.into_bytes())
}

fn host(url: &str) -> Result<String, Error> {
    let uri: http::Uri = url.parse().map_err(|_| Error::Request("not a URL"))?;
    let authority = uri.authority().ok_or(Error::Request("not a URL"))?;
    if authority.as_str().contains('@') {
        return Err(Error::Request("user information does not belong in a URL"));
    }
    Ok(authority.as_str().to_ascii_lowercase())
}

/// `name=value&…`, escaped as `SigV4` and forms both take it: all but unreserved characters (RFC 3986 §2.3).
pub fn query(fields: &[(&str, &str)]) -> String {
    let fields = fields
        .iter()
        .map(|(name, value)| format!("{}={}", escape(name), escape(value)));
    fields.collect::<Vec<_>>().join("&")
}

/// All but unreserved characters (RFC 3986 §2.3) escaped.
pub fn escape(text: &str) -> String {
    escape_all_but(b"-._~", text)
}

/// All but ASCII letters, digits and these characters escaped.
pub fn escape_all_but(kept: &[u8], text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || kept.contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push('%');
            escaped.push_str(&hex(&[byte]).to_ascii_uppercase());
        }
    }
    escaped
}

/// In lower case.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            // A half byte is a digit.
            text.extend(char::from_digit(u32::from(digit), 16));
        }
    }
    text
}
