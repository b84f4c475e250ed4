//! Asks for the challenge's file as a CA will: advice on when to ask the CA, never a condition.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HOST, HeaderValue, LOCATION, PROXY_AUTHORIZATION, USER_AGENT};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tower_service::Service as _;

use self::target::Target;
use super::normalise_host;
use super::responder::SELF_CHECK_AGENT;
use crate::dns::{self, Resolver};
use crate::net::{self, Dialer, Proxies, Proxy};

mod target;
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
    #[error("the proxy that HTTP_PROXY or HTTPS_PROXY names does not lead there")]
    Proxy,
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
            | Self::Proxy
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
            Self::Proxy => {
                "see that the name resolves and its host answers, and let the proxy of the operator lead there, or name it in \
                 NO_PROXY"
            }
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
    /// Those that lead out of this network, and whoever asks them for a way.
    proxies: Option<(Proxies, Dialer)>,
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
            proxies: None,
        })
    }

    /// The same, through these where they lead.
    #[must_use]
    pub fn through(self, proxies: Proxies) -> Self {
        let dialer = Dialer::new(net::Resolver::System, Some(proxies.clone()), CONNECT);
        Self {
            proxies: Some((proxies, dialer)),
            ..self
        }
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

    /// Whether a proxy leads to the name: where it resolves to is the proxy's affair then.
    pub fn is_proxied(&self, domain: &str) -> bool {
        let target = Target {
            tls: false,
            host: normalise_host(domain),
            port: self.settings.http_port,
            path: "/".to_owned(),
        };
        let uri = target.uri();
        self.proxy_to(uri.as_ref()).is_some()
    }

    /// Where the CA's first request will go; the name resolves, or this is why it does not.
    ///
    /// # Errors
    /// [`Reason::Unresolved`].
    pub async fn addresses(&self, domain: &str) -> Result<Vec<SocketAddr>, Reason> {
        let host = normalise_host(domain);
        self.resolve(&host, self.settings.http_port).await
    }

    /// Where the name leads, in order; nowhere if that cannot be told.
    pub async fn leads_to(&self, domain: &str) -> BTreeSet<IpAddr> {
        if self.is_proxied(domain) {
            return BTreeSet::new();
        }
        let found = tokio::time::timeout(self.settings.deadline, self.addresses(domain)).await;
        let found = found.ok().and_then(Result::ok).unwrap_or_default();
        found.iter().map(SocketAddr::ip).collect()
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
        let uri = target.uri();
        let proxy = self.proxy_to(uri.as_ref());
        if !target.tls {
            // A request for a proxy has the whole URI (RFC 9112 §3.2.2).
            return if let (Some(proxy), Some(uri)) = (proxy, uri) {
                let stream = reach(&proxy).await?;
                let whole = uri.to_string();
                let response = exchange(stream, target, &whole, proxy.authorization).await?;
                // Its own words, of a name that it does not know or a host that it does not reach.
                let is_its_own = matches!(response.status().as_u16(), 407 | 502..=504);
                (!is_its_own).then_some(response).ok_or(Reason::Proxy)
            } else {
                let stream = self.connect(&target.host, target.port).await?;
                exchange(stream, target, &target.path, None).await
            };
        }
        let stream = match (&self.proxies, proxy, uri) {
            (Some((_, dialer)), Some(_), Some(uri)) => {
                let tunnel = dialer.clone().call(uri).await;
                tunnel.map_err(|_| Reason::Proxy)?.into_inner()
            }
            _ => self.connect(&target.host, target.port).await?,
        };
        let name = ServerName::try_from(target.host.clone()).map_err(|_| Reason::BadName)?;
        let stream = self.tls.connect(name, stream).await;
        exchange(stream.map_err(|_| Reason::Tls)?, target, &target.path, None).await
    }

    fn proxy_to(&self, uri: Option<&Uri>) -> Option<Proxy> {
        let (proxies, _) = self.proxies.as_ref()?;
        proxies.to(uri?)
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

/// A connection to a proxy.
async fn reach(proxy: &Proxy) -> Result<TcpStream, Reason> {
    let address = (proxy.host.trim_matches(['[', ']']), proxy.port);
    let attempt = tokio::time::timeout(CONNECT, TcpStream::connect(address)).await;
    attempt
        .map_err(|_| Reason::Proxy)?
        .map_err(|_| Reason::Proxy)
}

/// `asked` is what the request asks for: the path, or all of the URI.
async fn exchange<S>(
    stream: S,
    target: &Target,
    asked: &str,
    authorization: Option<HeaderValue>,
) -> Result<Response<Incoming>, Reason>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut request = Request::get(asked)
        .header(HOST, target.authority())
        .header(USER_AGENT, SELF_CHECK_AGENT)
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|_| Reason::BadName)?;
    if let Some(authorization) = authorization {
        request
            .headers_mut()
            .insert(PROXY_AUTHORIZATION, authorization);
    }
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
