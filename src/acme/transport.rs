//! One exchange with an ACME server, and somebody told about it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_LANGUAGE, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Method, Request};
use http_body_util::Full;
use hyper_rustls::HttpsConnectorBuilder;
use tokio::time::Instant;

use super::Error;
use super::reply::Exchange;
use super::tls;
use super::url::Origin;
use crate::net::{Bounds, Connections, Dialer, MAX_PIECE, Proxies, Resolver, clean};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For what is only read, without a signature: nothing is made at the server that a repetition would make twice.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// The same for renewal information, which a worker waits for that has other certificates to look after.
const RENEWAL_INFO_TIMEOUT: Duration = Duration::from_secs(10);
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
    /// `https` or `http`.
    pub scheme: &'static str,
    /// With the port, if it is not the usual one.
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
    connections: Connections,
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
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        Ok(Self {
            connections: Connections::new(connector),
            user_agent: HeaderValue::from_str(user_agent).map_err(|_| Error::Config {
                field: "user agent",
                problem: "not a header value".to_owned(),
            })?,
            observer,
        })
    }

    /// One exchange, until `deadline`. Redirects are not followed.
    pub(super) async fn exchange(
        &self,
        action: Action,
        method: Method,
        url: &str,
        body: Option<String>,
        deadline: Instant,
    ) -> Exchange {
        let origin = match Origin::of(url) {
            Ok(origin) => origin,
            Err(error) => return Exchange::failed(error),
        };
        let (scheme, host) = (origin.scheme(), origin.host());
        let request = match self.request(&method, url, body) {
            Ok(request) => request,
            Err(error) => return Exchange::failed(error),
        };
        let start = Instant::now();
        let bounds = bounds(action, &method, deadline, start);
        let outcome = self.connections.exchange(request, &host, bounds).await;
        let duration = start.elapsed();
        if let Some(observer) = &self.observer {
            observer(&Observation {
                action,
                method: method.as_str(),
                status: outcome
                    .as_ref()
                    .map_or(TRANSPORT_FAILURE, |answer| answer.status),
                scheme,
                host: &host,
                duration,
            });
        }
        match outcome {
            Ok(answer) => Exchange::judge(answer, url, &host),
            Err(error) => Exchange::failed(error.into()),
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
}

/// A server may take all the time that its call has left for what is signed: some are slow to make accounts, orders and
/// certificates, and what is asked again meanwhile is made twice.
pub(super) fn bounds(action: Action, method: &Method, deadline: Instant, now: Instant) -> Bounds {
    let most = match action {
        _ if *method == Method::POST => Duration::MAX,
        Action::GetRenewalInfo => RENEWAL_INFO_TIMEOUT,
        _ => READ_TIMEOUT,
    };
    Bounds {
        time: deadline.duration_since(now).min(most),
        body: MAX_BODY,
    }
}
