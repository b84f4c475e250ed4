//! The ports for those who run the operator: probes on 9403, metrics on 9402.

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt::Write;
use std::io;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::metrics::{self, Metrics};
use crate::serve::{Bounds, listen, serve};

/// `--internal-healthz-listen-address` when not given.
pub const PROBES_ADDRESS: &str = "0.0.0.0:9403";
/// `--metrics-listen-address` when not given.
pub const METRICS_ADDRESS: &str = "0.0.0.0:9402";

/// An address to listen on: `host:port`, `:port` or `0.0.0.0:port` for all addresses of both families as in Go, or `0` for
/// not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Off,
    At(String),
}

impl FromStr for Address {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "0" | "" => Self::Off,
            text if text.starts_with(':') => Self::At(format!("0.0.0.0{text}")),
            text => Self::At(text.to_owned()),
        })
    }
}

impl Address {
    /// Opens the port. None when off.
    pub async fn listen(&self) -> io::Result<Option<TcpListener>> {
        match self {
            Self::Off => Ok(None),
            Self::At(address) => match address.strip_prefix("0.0.0.0:").map(str::parse) {
                Some(Ok(port)) => listen(port).await,
                _ => TcpListener::bind(address).await,
            }
            .map(Some),
        }
    }
}

/// One thing that a probe looks at, and in words what is wrong with it.
pub type Check = (Cow<'static, str>, Result<(), String>);

/// What the probes ask. Both are called on each request, so they only look at what is known.
pub trait Probes: Send + Sync {
    /// A failure here has the process restarted: only what a restart can cure.
    fn live(&self) -> Vec<Check>;
    /// A failure here takes the process out of service.
    fn ready(&self) -> Vec<Check>;
}

/// Serves `/livez`, `/healthz` (the same) and `/readyz` until `stop`.
pub async fn serve_probes(listener: TcpListener, probes: Arc<dyn Probes>, stop: CancellationToken) {
    serve(listener, Bounds::ADMIN, stop, move |request| {
        probe(probes.as_ref(), request)
    })
    .await;
}

/// Serves `/metrics` until `stop`.
pub async fn serve_metrics(listener: TcpListener, metrics: Arc<Metrics>, stop: CancellationToken) {
    serve(listener, Bounds::ADMIN, stop, move |request| {
        scrape(&metrics, request)
    })
    .await;
}

fn probe<B>(probes: &dyn Probes, request: &Request<B>) -> Response<Full<Bytes>> {
    let checks = match (is_read(request), request.uri().path()) {
        (false, _) => return plain(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n"),
        (true, "/livez" | "/healthz") => probes.live(),
        (true, "/readyz") => probes.ready(),
        (true, _) => return plain(StatusCode::NOT_FOUND, "not found\n"),
    };
    let query = request.uri().query().unwrap_or_default();
    let verbose = query
        .split('&')
        .any(|part| part.split('=').next() == Some("verbose"));
    if checks.iter().all(|(_, result)| result.is_ok()) {
        let body = if verbose {
            report(&checks)
        } else {
            "ok\n".to_owned()
        };
        return plain(StatusCode::OK, body);
    }
    plain(StatusCode::SERVICE_UNAVAILABLE, report(&checks))
}

/// In the form of the Kubernetes API server's own probes.
fn report(checks: &[Check]) -> String {
    let mut body = String::new();
    for (name, result) in checks {
        // Writing to a String cannot fail.
        let _ = match result {
            Ok(()) => writeln!(body, "[+]{name} ok"),
            Err(reason) => writeln!(body, "[-]{name} failed: {reason}"),
        };
    }
    body
}

fn scrape<B>(metrics: &Metrics, request: &Request<B>) -> Response<Full<Bytes>> {
    match (is_read(request), request.uri().path()) {
        (false, _) => plain(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n"),
        (true, "/metrics") => typed(StatusCode::OK, metrics::CONTENT_TYPE, metrics.text()),
        (true, _) => plain(StatusCode::NOT_FOUND, "not found\n"),
    }
}

fn is_read<B>(request: &Request<B>) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD)
}

fn plain(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    typed(status, "text/plain; charset=utf-8", body)
}

fn typed(status: StatusCode, type_: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(type_));
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use http_body_util::BodyExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::{
        Address, Arc, Bytes, CONTENT_TYPE, CancellationToken, Check, Full, Metrics, Probes,
        Request, Response, StatusCode, TcpListener, probe, scrape, serve_metrics,
    };

    struct Standby;

    impl Probes for Standby {
        fn live(&self) -> Vec<Check> {
            vec![("lease".into(), Ok(())), ("queue".into(), Ok(()))]
        }

        fn ready(&self) -> Vec<Check> {
            let reason = "not listed yet".to_owned();
            vec![("lease".into(), Ok(())), ("informers".into(), Err(reason))]
        }
    }

    async fn body(response: Response<Full<Bytes>>) -> (StatusCode, String) {
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn probes_say_what_fails() {
        let get = |path: &str| Request::get(path).body(()).unwrap();
        let report = "[+]lease ok\n[-]informers failed: not listed yet\n";
        let cases = [
            ("/livez", StatusCode::OK, "ok\n"),
            ("/healthz", StatusCode::OK, "ok\n"),
            (
                "/livez?verbose",
                StatusCode::OK,
                "[+]lease ok\n[+]queue ok\n",
            ),
            (
                "/livez?a=b&verbose=1",
                StatusCode::OK,
                "[+]lease ok\n[+]queue ok\n",
            ),
            ("/readyz", StatusCode::SERVICE_UNAVAILABLE, report),
            ("/readyz?verbose", StatusCode::SERVICE_UNAVAILABLE, report),
            ("/", StatusCode::NOT_FOUND, "not found\n"),
        ];
        for (path, status, text) in cases {
            let answer = body(probe(&Standby, &get(path))).await;
            assert_eq!(answer, (status, text.to_owned()), "{path}");
        }
        let post = Request::post("/livez").body(()).unwrap();
        let (status, _) = body(probe(&Standby, &post)).await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    }

    #[tokio::test]
    async fn a_scrape_is_typed_as_the_classic_text() {
        let metrics = Metrics::new();
        let answer = scrape(&metrics, &Request::get("/metrics").body(()).unwrap());
        let type_ = answer.headers().get(CONTENT_TYPE).unwrap();
        assert_eq!(type_, "text/plain; version=0.0.4; charset=utf-8");
        let (status, text) = body(answer).await;
        assert_eq!(status, StatusCode::OK);
        assert!(text.contains("# TYPE everleaf_leader gauge\n"), "{text}");
        for request in [Request::get("/"), Request::post("/metrics")] {
            let (status, _) = body(scrape(&metrics, &request.body(()).unwrap())).await;
            assert!(status.is_client_error());
        }
    }

    #[tokio::test]
    async fn all_addresses_are_those_of_both_families() {
        let has_6 = TcpListener::bind("[::1]:0").await.is_ok();
        for all in [":0", "0.0.0.0:0"] {
            let address: Address = all.parse().unwrap();
            let listener = address.listen().await.unwrap().unwrap();
            let port = listener.local_addr().unwrap().port();
            for (host, is_there) in [("127.0.0.1", true), ("::1", has_6)] {
                let reached = TcpStream::connect((host, port)).await;
                assert_eq!(reached.is_ok(), is_there, "{all}: {host}");
            }
        }
    }

    #[tokio::test]
    async fn an_address_is_opened_or_off() {
        for off in ["0", ""] {
            let address: Address = off.parse().unwrap();
            assert!(address.listen().await.unwrap().is_none());
        }
        assert_eq!(":9402".parse(), Ok(Address::At("0.0.0.0:9402".to_owned())));

        let address: Address = "localhost:0".parse().unwrap();
        let listener = address.listen().await.unwrap().unwrap();
        let at = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let metrics = Arc::new(Metrics::new());
        let server = tokio::spawn(serve_metrics(listener, metrics, stop.clone()));
        let mut stream = TcpStream::connect(at).await.unwrap();
        let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.contains("everleaf_leader"));
        stop.cancel();
        server.await.unwrap();
    }
}
