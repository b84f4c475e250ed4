//! One HTTP exchange: deadline, size limit, and somebody told about it.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_LANGUAGE, CONTENT_TYPE, HeaderMap, USER_AGENT};
use http::{HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::Instant;

use super::Error;
use super::reply::Exchange;
use super::tls;
use super::url::Origin;
use crate::net::{Dialer, MAX_PIECE, Proxies, Resolver, clean, innermost};

/// For one exchange, connecting included.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Shorter than servers keep connections, so that a request is seldom sent into one that is being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
const MAX_BODY: usize = 1 << 20;

/// What a request is for: the `action` label of the metrics, named as cert-manager names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    Discover,
    RegisterAccount,
    GetRegistration,
    UpdateRegistration,
    ChangeKey,
    AuthorizeOrder,
    GetOrder,
    GetAuthorization,
    GetChallenge,
    AcceptChallenge,
    CreateOrderCert,
    FetchCert,
    ListCertAlternates,
    RevokeCert,
    GetRenewalInfo,
}

impl Action {
    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Discover => "discover",
            Self::RegisterAccount => "register_account",
            Self::GetRegistration => "get_registration",
            Self::UpdateRegistration => "update_registration",
            Self::ChangeKey => "change_key",
            Self::AuthorizeOrder => "authorize_order",
            Self::GetOrder => "get_order",
            Self::GetAuthorization => "get_authorization",
            Self::GetChallenge => "get_challenge",
            Self::AcceptChallenge => "accept_challenge",
            Self::CreateOrderCert => "create_order_cert",
            Self::FetchCert => "fetch_cert",
            Self::ListCertAlternates => "list_cert_alternates",
            Self::RevokeCert => "revoke_cert",
            Self::GetRenewalInfo => "get_renewal_info",
        }
    }
}

/// One HTTP exchange, for metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation<'a> {
    pub action: Action,
    /// `GET`, `HEAD` or `POST`.
    pub method: &'a str,
    /// [`TRANSPORT_FAILURE`] if there was no reply.
    pub status: u16,
    /// With the port, if it is not 443. The scheme is always https.
    pub host: &'a str,
    pub duration: Duration,
}

/// Stands for the status code when there was no reply.
pub const TRANSPORT_FAILURE: u16 = 999;

/// Called after each exchange, also those for nonces and those that are repeated.
pub type Observer = Arc<dyn Fn(&Observation<'_>) + Send + Sync>;

/// Where in a call the process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallStage {
    /// Nothing of it has been sent.
    Before,
    /// It has ended: if it did not fail, the server has done it and nobody has seen the reply yet.
    After,
}

/// Called around each call but those for the directory and nonces, once each however often a nonce had to be replaced:
/// tests of crash safety end the process here.
pub type CallHook = Arc<dyn Fn(Action, CallStage) + Send + Sync>;

pub(super) struct Transport {
    http: HyperClient<HttpsConnector<Dialer>, Full<Bytes>>,
    user_agent: HeaderValue,
    observer: Option<Observer>,
}

impl Transport {
    /// Through the proxy that the environment names, if it does.
    pub(super) fn new(
        ca_bundle: Option<&[u8]>,
        skip_tls_verify: bool,
        user_agent: &str,
        observer: Option<Observer>,
    ) -> Result<Self, Error> {
        let proxies = Some(Proxies::of_environment());
        let connector = Dialer::new(Resolver::System, proxies, CONNECT_TIMEOUT);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls::config(ca_bundle, skip_tls_verify)?)
            .https_only()
            .enable_http1()
            .wrap_connector(connector);
        let http = HyperClient::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(8)
            .build(connector);
        Ok(Self {
            http,
            user_agent: HeaderValue::from_str(user_agent).map_err(|_| Error::Config {
                field: "user agent",
                problem: "not a header value".to_owned(),
            })?,
            observer,
        })
    }

    /// One exchange, until `deadline` or the limit of a single request, whichever is earlier. Redirects are not followed.
    pub(super) async fn exchange(
        &self,
        action: Action,
        method: Method,
        url: &str,
        body: Option<String>,
        deadline: Instant,
    ) -> Exchange {
        let host = match Origin::of(url) {
            Ok(origin) => origin.host(),
            Err(error) => return Exchange::failed(error),
        };
        let request = match self.request(&method, url, body) {
            Ok(request) => request,
            Err(error) => return Exchange::failed(error),
        };
        let start = Instant::now();
        let limit = deadline.min(start + REQUEST_TIMEOUT);
        let outcome = tokio::time::timeout_at(limit, self.send(request, &host)).await;
        let duration = start.elapsed();
        let outcome = outcome.unwrap_or_else(|_| {
            Err(Error::Timeout {
                host: host.clone(),
                seconds: duration.as_secs(),
            })
        });
        if let Some(observer) = &self.observer {
            observer(&Observation {
                action,
                method: method.as_str(),
                status: outcome
                    .as_ref()
                    .map_or(TRANSPORT_FAILURE, |(status, ..)| *status),
                host: &host,
                duration,
            });
        }
        match outcome {
            Ok((status, headers, body)) => Exchange::judge(status, headers, body, url, &host),
            Err(error) => Exchange::failed(error),
        }
    }

    fn request(
        &self,
        method: &Method,
        url: &str,
        body: Option<String>,
    ) -> Result<Request<Full<Bytes>>, Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(url)
            .header(USER_AGENT, &self.user_agent)
            .header(ACCEPT_LANGUAGE, "en");
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/jose+json");
        }
        request
            .body(Full::from(body.unwrap_or_default()))
            .map_err(|_| Error::Url {
                url: clean(url, MAX_PIECE),
                reason: "not a URL".to_owned(),
            })
    }

    async fn send(
        &self,
        request: Request<Full<Bytes>>,
        host: &str,
    ) -> Result<(u16, HeaderMap, Bytes), Error> {
        let response = self
            .http
            .request(request)
            .await
            .map_err(|error| network(host, &error))?;
        let (parts, body) = Response::into_parts(response);
        let body = read(body, host).await?;
        Ok((parts.status.as_u16(), parts.headers, body))
    }
}

async fn read(body: Incoming, host: &str) -> Result<Bytes, Error> {
    match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Error::TooLarge {
            host: host.to_owned(),
            limit: MAX_BODY,
        }),
        Err(error) => Err(network(host, error.as_ref())),
    }
}

fn network(host: &str, error: &(dyn StdError + 'static)) -> Error {
    Error::Network {
        host: host.to_owned(),
        message: innermost(error),
    }
}
