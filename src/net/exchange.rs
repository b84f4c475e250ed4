//! One request and its answer: in time, not too long, and from nowhere else, since redirects are not followed.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use zeroize::Zeroizing;

use super::dial::Dialer;
use super::innermost;

/// Shorter than servers keep connections, so that a request is seldom sent into one that is being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// No connection, or it broke. Whether the server got the request is unknown.
    #[error("cannot reach {host}: {message}")]
    Network {
        /// With the port, if it is not the usual one.
        host: String,
        /// The innermost cause.
        message: String,
    },
    /// No complete answer in time. Whether the server got the request is unknown.
    #[error("no answer from {host} within {seconds} s")]
    Timeout {
        /// With the port, if it is not the usual one.
        host: String,
        /// The limit.
        seconds: u64,
    },
    /// The answer is longer than any that makes sense.
    #[error("the answer of {host} is over {limit} bytes")]
    TooLarge {
        /// With the port, if it is not the usual one.
        host: String,
        /// In bytes.
        limit: usize,
    },
}

/// What a server answered.
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// Wiped when it is dropped: it may be a token.
    pub body: Zeroizing<Vec<u8>>,
}

/// How far an exchange may go.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Connecting included.
    pub time: Duration,
    /// Of the answer's body, in bytes.
    pub body: usize,
}

/// Connections, kept for a while; cheap to clone.
#[derive(Clone)]
pub struct Connections(Client<HttpsConnector<Dialer>, Full<Bytes>>);

impl Connections {
    /// None is open yet.
    pub fn new(connector: HttpsConnector<Dialer>) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(8)
            .build(connector);
        Self(client)
    }

    /// One exchange; any status is an answer. `host` is what errors call the server.
    pub async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        host: &str,
        bounds: Bounds,
    ) -> Result<Answer, Unanswered> {
        let answer = self.unbounded(request, host, bounds.body);
        let answer = tokio::time::timeout(bounds.time, answer).await;
        answer.unwrap_or_else(|_| {
            Err(Unanswered::Timeout {
                host: host.to_owned(),
                seconds: bounds.time.as_secs(),
            })
        })
    }

    async fn unbounded(
        &self,
        request: Request<Full<Bytes>>,
        host: &str,
        limit: usize,
    ) -> Result<Answer, Unanswered> {
        let network = |error: &(dyn std::error::Error + 'static)| Unanswered::Network {
            host: host.to_owned(),
            message: innermost(error),
        };
        let answer = self.0.request(request).await.map_err(|e| network(&e))?;
        let (parts, body) = answer.into_parts();
        match Limited::new(body, limit).collect().await {
            Ok(body) => Ok(Answer {
                status: parts.status.as_u16(),
                headers: parts.headers,
                body: Zeroizing::new(body.to_bytes().to_vec()),
            }),
            Err(error) if error.is::<LengthLimitError>() => Err(Unanswered::TooLarge {
                host: host.to_owned(),
                limit,
            }),
            Err(error) => Err(network(error.as_ref())),
        }
    }
}
