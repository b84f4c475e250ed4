//! Asks for the challenge's file as a CA will: advice on when to ask the CA, never a condition.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HOST, LOCATION, USER_AGENT};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::responder::SELF_CHECK_AGENT;
use super::{PATH_PREFIX, normalise_host};
use crate::dns::{self, Resolver};

mod trust;

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The key authorization was answered, so a CA with the same view of the network can be asked.
    Reachable,
    /// Not from here, not now.
    NotYet(Reason),
}

/// Why the file is not there. The text never holds what the remote side sent (body, location,
/// header): it ends up in conditions and events that other tenants may read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    #[error("the name does not resolve")]
    Unresolved,
    #[error("connection refused on port {0}")]
    Refused(u16),
    #[error("no route to the host")]
    Unreachable,
    #[error("no answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    #[error("the connection broke before the answer was complete")]
    Broken,
    #[error("the TLS handshake after a redirect failed")]
    Tls,
    #[error("answered {0}")]
    Status(u16),
    #[error("answered another body of {length} bytes{}", if *.more { " or more" } else { "" })]
    OtherBody { length: usize, more: bool },
    #[error("more than {MOST_REDIRECTS} redirects")]
    TooManyRedirects,
    #[error(
        "answered {0} with a redirect that no CA follows (not http or https on ports 80 and 443, or to a bare IP address)"
    )]
    BadRedirect(u16),
    #[error("the name or the token does not form a URL")]
    BadName,
}

impl Reason {
    /// Whether some server answered: the name and the way there are in order.
    pub fn reached_a_server(&self) -> bool {
        match self {
            Self::Unresolved
            | Self::Refused(_)
            | Self::Unreachable
            | Self::TimedOut(_)
            | Self::Broken
            | Self::BadName => false,
            Self::Tls
            | Self::Status(_)
            | Self::OtherBody { .. }
            | Self::TooManyRedirects
            | Self::BadRedirect(_) => true,
        }
    }
}

impl Reason {
    /// What a person can do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Unresolved => "add a DNS record that leads to the Ingress controller",
            Self::Refused(_) | Self::Unreachable | Self::TimedOut(_) | Self::Broken => {
                "let port 80 through to the Ingress controller, and see that the DNS record leads there"
            }
            Self::BadName => "correct spec.dnsNames",
            Self::Tls
            | Self::Status(_)
            | Self::OtherBody { .. }
            | Self::TooManyRedirects
            | Self::BadRedirect(_) => {
                "see that the DNS record leads to this cluster's Ingress controller, and that the controller \
                 serves the solver's Ingress class"
            }
        }
    }
}

/// Ports and patience; other than the defaults in laboratories only.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Where the first request goes. 80, as for every CA (RFC 8555 §8.3).
    pub http_port: u16,
    /// Where a redirect to https without port goes.
    pub https_port: u16,
    /// For the whole check, redirects included.
    pub deadline: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            http_port: 80,
            https_port: 443,
            deadline: Duration::from_secs(5),
        }
    }
}

/// The check's client; cheap to clone, keeps no connection.
#[derive(Clone)]
pub struct SelfCheck {
    settings: Settings,
    tls: TlsConnector,
    /// Whom to ask for addresses; without one, the system.
    resolver: Option<Resolver>,
}

const MOST_REDIRECTS: usize = 10;
/// A key authorization has 43 + 1 + 43 bytes.
const MOST_BYTES: usize = 1024;
/// For one of the name's addresses, so that a dead one leaves time for the next.
const CONNECT: Duration = Duration::from_secs(2);

impl SelfCheck {
    /// # Errors
    /// When the TLS back end supports no protocol version: a build error, found at start.
    pub fn new(settings: Settings) -> Result<Self, rustls::Error> {
        let tls = TlsConnector::from(Arc::new(trust::any_certificate()?));
        Ok(Self {
            settings,
            tls,
            resolver: None,
        })
    }

    /// The same, which asks these name servers for addresses.
    #[must_use]
    pub fn asking(self, resolver: Option<Resolver>) -> Self {
        Self { resolver, ..self }
    }

    /// Asks once for `token` on `domain` and compares the answer with `key`.
    pub async fn check(&self, domain: &str, token: &str, key: &str) -> Outcome {
        let walk = tokio::time::timeout(self.settings.deadline, self.walk(domain, token, key));
        match walk.await {
            Ok(Ok(())) => Outcome::Reachable,
            Ok(Err(reason)) => Outcome::NotYet(reason),
            Err(_) => Outcome::NotYet(Reason::TimedOut(self.settings.deadline)),
        }
    }

    /// Where the CA's first request will go; the name resolves, or this is why it does not.
    ///
    /// # Errors
    /// [`Reason::Unresolved`].
    pub async fn addresses(&self, domain: &str) -> Result<Vec<SocketAddr>, Reason> {
        let host = normalise_host(domain);
        self.resolve(&host, self.settings.http_port).await
    }

    /// Whether somebody takes connections at one of [`Self::addresses`].
    ///
    /// # Errors
    /// Why not.
    pub async fn knock(&self, address: SocketAddr) -> Result<(), Reason> {
        connect_to(address).await.map(drop)
    }

    async fn walk(&self, domain: &str, token: &str, key: &str) -> Result<(), Reason> {
        let mut target = Target::first(domain, token, self.settings.http_port)?;
        for _ in 0..=MOST_REDIRECTS {
            let response = self.get(&target).await?;
            let status = response.status();
            if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
                let location = response.headers().get(LOCATION);
                let next = location.and_then(|location| location.to_str().ok());
                target = next
                    .and_then(|location| target.redirected(location, &self.settings))
                    .ok_or(Reason::BadRedirect(status.as_u16()))?;
                continue;
            }
            if status != StatusCode::OK {
                return Err(Reason::Status(status.as_u16()));
            }
            return compare(response.into_body(), key).await;
        }
        Err(Reason::TooManyRedirects)
    }

    async fn get(&self, target: &Target) -> Result<Response<Incoming>, Reason> {
        let stream = self.connect(&target.host, target.port).await?;
        if !target.tls {
            return exchange(stream, target).await;
        }
        let name = ServerName::try_from(target.host.clone()).map_err(|_| Reason::BadName)?;
        let stream = self.tls.connect(name, stream).await;
        exchange(stream.map_err(|_| Reason::Tls)?, target).await
    }

    async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Reason> {
        let found: Vec<SocketAddr> = if let Some(resolver) = &self.resolver
            && host.parse::<IpAddr>().is_err()
        {
            let name = dns::name(host).map_err(|_| Reason::BadName)?;
            // Boxed: seldom used, and larger than all else.
            let found = Box::pin(resolver.addresses(&name)).await;
            let found = found.map_err(|_| Reason::Unresolved)?.into_iter();
            found
                .map(|address| SocketAddr::new(address, port))
                .collect()
        } else {
            let found = tokio::net::lookup_host((host, port)).await;
            found.map_err(|_| Reason::Unresolved)?.collect()
        };
        (!found.is_empty())
            .then_some(found)
            .ok_or(Reason::Unresolved)
    }

    async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, Reason> {
        let mut last = Reason::Unresolved;
        for address in self.resolve(host, port).await? {
            match connect_to(address).await {
                Ok(stream) => return Ok(stream),
                Err(reason) => last = reason,
            }
        }
        Err(last)
    }
}

/// Where one request goes.
struct Target {
    tls: bool,
    /// Without brackets.
    host: String,
    port: u16,
    /// Origin form: path and query.
    path: String,
}

impl Target {
    fn first(domain: &str, token: &str, port: u16) -> Result<Self, Reason> {
        let target = Self {
            tls: false,
            host: normalise_host(domain),
            port,
            path: format!("{PATH_PREFIX}{token}"),
        };
        // A token is base64url (RFC 8555 §8.3); anything else could change the request.
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let fits = !target.host.is_empty() && !token.is_empty() && token.bytes().all(is_token);
        fits.then_some(target).ok_or(Reason::BadName)
    }

    /// Follows what CAs follow (Boulder's rules): http and https, ports 80 and 443, to a name. An
    /// address in a redirect would let a tenant's site send the operator around the cluster.
    fn redirected(&self, location: &str, settings: &Settings) -> Option<Self> {
        let location = location.split('#').next().unwrap_or_default();
        let scheme = if self.tls { "https" } else { "http" };
        let absolute = match location.strip_prefix("//") {
            Some(rest) => format!("{scheme}://{rest}").parse::<Uri>(),
            None => location.parse(),
        };
        let uri = absolute.ok()?;
        let path = uri
            .path_and_query()
            .map_or("/", |path| path.as_str())
            .to_owned();
        if location.starts_with('/') && !location.starts_with("//") {
            let host = self.host.clone();
            return Some(Self {
                host,
                path,
                ..*self
            });
        }
        let tls = match uri.scheme_str()? {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let default = if tls {
            settings.https_port
        } else {
            settings.http_port
        };
        let port = uri.port_u16().unwrap_or(default);
        let host = normalise_host(uri.host()?);
        let allowed = [80, 443, settings.http_port, settings.https_port].contains(&port);
        if !allowed || host.is_empty() || host.parse::<IpAddr>().is_ok() {
            return None;
        }
        Some(Self {
            tls,
            host,
            port,
            path,
        })
    }

    fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        match (self.tls, self.port) {
            (false, 80) | (true, 443) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

async fn connect_to(address: SocketAddr) -> Result<TcpStream, Reason> {
    let attempt = tokio::time::timeout(CONNECT, TcpStream::connect(address)).await;
    attempt
        .map_err(|_| Reason::TimedOut(CONNECT))?
        .map_err(|error| match error.kind() {
            io::ErrorKind::ConnectionRefused => Reason::Refused(address.port()),
            io::ErrorKind::TimedOut => Reason::TimedOut(CONNECT),
            _ => Reason::Unreachable,
        })
}

async fn exchange<S>(stream: S, target: &Target) -> Result<Response<Incoming>, Reason>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let request = Request::get(&target.path)
        .header(HOST, target.authority())
        .header(USER_AGENT, SELF_CHECK_AGENT)
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|_| Reason::BadName)?;
    let handshake = hyper::client::conn::http1::Builder::new()
        .max_buf_size(16 * 1024)
        .handshake(TokioIo::new(stream))
        .await;
    let (mut sender, connection) = handshake.map_err(|_| Reason::Broken)?;
    // Ends when the response and the sender are dropped, at the latest with the deadline.
    tokio::spawn(connection);
    sender
        .send_request(request)
        .await
        .map_err(|_| Reason::Broken)
}

/// White space at the end is no difference (RFC 8555 §8.3).
async fn compare(mut body: Incoming, key: &str) -> Result<(), Reason> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Reason::Broken)?;
        bytes.extend_from_slice(frame.data_ref().map(Bytes::as_ref).unwrap_or_default());
        if bytes.len() > MOST_BYTES {
            let (length, more) = (MOST_BYTES, true);
            return Err(Reason::OtherBody { length, more });
        }
    }
    if bytes.trim_ascii_end() == key.as_bytes() {
        return Ok(());
    }
    let (length, more) = (bytes.len(), false);
    Err(Reason::OtherBody { length, more })
}

#[cfg(test)]
mod tests;
