//! How connections are made: where names lead, and the proxies of the environment.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::{BoxFuture, ready};
use futures::{FutureExt as _, TryFutureExt as _};
use http::{HeaderValue, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Where the names of servers lead.
#[derive(Clone, Debug)]
pub enum Resolver {
    /// Where the system says.
    System,
    /// All to one address.
    Fixed(SocketAddr),
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        if let Self::Fixed(address) = self {
            return ready(Ok(vec![*address].into_iter())).boxed();
        }
        // Port 0 stands for that of the URL.
        let found = tokio::task::spawn_blocking(move || (name.as_str(), 0).to_socket_addrs());
        found.map(|found| found.map_err(io::Error::other)?).boxed()
    }
}

/// The proxies that lead to servers.
#[derive(Clone, Debug)]
pub struct Proxies(Arc<Matcher>);

impl Proxies {
    /// Those that the environment names, as curl reads it: `HTTPS_PROXY`, `ALL_PROXY`, and `NO_PROXY` for the exceptions.
    pub fn of_environment() -> Self {
        // The matcher's "*" stands for all names, and for no address.
        let exceptions = ["NO_PROXY", "no_proxy"].map(std::env::var);
        let nothing = exceptions.iter().flatten().any(|list| list.trim() == "*");
        Self(Arc::new(if nothing {
            Matcher::builder().build()
        } else {
            Matcher::from_env()
        }))
    }

    /// Whether one of them leads there.
    pub fn lead_to(&self, to: &Uri) -> bool {
        self.0.intercept(to).is_some()
    }

    /// The one that leads there, if it is one of http.
    pub fn to(&self, to: &Uri) -> Option<Proxy> {
        let found = self.0.intercept(to)?;
        let uri = found.uri();
        let is_plain = uri.scheme_str() == Some("http");
        is_plain.then_some(())?;
        Some(Proxy {
            host: uri.host()?.to_owned(),
            port: uri.port_u16().unwrap_or(80),
            authorization: found.basic_auth().cloned(),
        })
    }

    /// One that leads to all but these.
    #[cfg(test)]
    pub fn of(proxy: &str, except: &str) -> Self {
        Self(Arc::new(Matcher::builder().all(proxy).no(except).build()))
    }
}

/// A proxy, and who asks it. No Debug: that is a password.
pub struct Proxy {
    /// A name or an address.
    pub host: String,
    /// Of plain http.
    pub port: u16,
    /// `Proxy-Authorization`, if it wants to know.
    pub authorization: Option<HeaderValue>,
}

/// Makes connections.
#[derive(Clone)]
pub struct Dialer {
    direct: HttpConnector<Resolver>,
    proxies: Option<Proxies>,
}

impl Dialer {
    /// `timeout` is for each connection.
    pub fn new(resolver: Resolver, proxies: Option<Proxies>, timeout: Duration) -> Self {
        let mut direct = HttpConnector::new_with_resolver(resolver);
        direct.enforce_http(false);
        direct.set_nodelay(true);
        direct.set_connect_timeout(Some(timeout));
        Self { direct, proxies }
    }
}

impl Service<Uri> for Dialer {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.direct.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let proxies = self.proxies.as_ref();
        let Some(proxy) = proxies.and_then(|proxies| proxies.0.intercept(&to)) else {
            return self.direct.call(to).map_err(Into::into).boxed();
        };
        // Its password would go there in clear, or the bytes would mean nothing to it.
        if proxy.uri().scheme_str() != Some("http") {
            return ready(Err(
                "the proxy that the environment names is not one of http".into(),
            ))
            .boxed();
        }
        let mut tunnel = Tunnel::new(proxy.uri().clone(), self.direct.clone());
        if let Some(credentials) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(credentials.clone());
        }
        tunnel.call(to).map_err(Into::into).boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// A proxy that lets nobody through: the first line it was sent, and its credentials.
    async fn asked(proxy: impl Fn(SocketAddr) -> Matcher, to: &str) -> Option<(String, String)> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            let lines = reader.by_ref().lines().map(Result::unwrap);
            let head: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
            let answer = b"HTTP/1.1 407 x\r\ncontent-length: 0\r\n\r\n";
            reader.get_mut().write_all(answer).unwrap();
            head
        });
        let proxies = Some(Proxies(Arc::new(proxy(address))));
        let mut dialer = Dialer::new(Resolver::Fixed(address), proxies, Duration::from_secs(5));
        let connected = dialer.call(to.parse().unwrap()).await;
        if let Ok(stream) = connected {
            // Straight to the address that all names lead to.
            drop(stream);
            return None;
        }
        let head = seen.join().unwrap();
        let credentials = head
            .iter()
            .find_map(|line| line.strip_prefix("Proxy-Authorization: "));
        Some((head[0].clone(), credentials.unwrap_or_default().to_owned()))
    }

    #[tokio::test]
    async fn the_environments_proxies_lead_to_servers() {
        let to = "https://api.example.com/";
        let proxy = |address| {
            Matcher::builder()
                .all(format!("http://u:p@{address}"))
                .build()
        };
        let asked_for = asked(proxy, to).await.unwrap();
        assert_eq!(
            asked_for,
            (
                "CONNECT api.example.com:443 HTTP/1.1".into(),
                "Basic dTpw".into()
            )
        );
        let except = |address| {
            let proxy = Matcher::builder().https(format!("http://{address}"));
            proxy.no("example.com,10.0.0.0/8").build()
        };
        assert_eq!(asked(except, to).await, None);
        assert_eq!(
            asked(except, "https://other.net:8443/").await.unwrap().0,
            "CONNECT other.net:8443 HTTP/1.1"
        );
    }

    #[tokio::test]
    async fn a_proxy_that_is_not_of_http_is_refused() {
        let matcher = Matcher::builder().all("socks5://127.0.0.1:1").build();
        let proxies = Some(Proxies(Arc::new(matcher)));
        let mut dialer = Dialer::new(Resolver::System, proxies, Duration::from_secs(5));
        let error = dialer
            .call("https://api.example.com/".parse().unwrap())
            .await
            .unwrap_err();
        assert!(error.to_string().contains("not one of http"), "{error}");
    }
}
