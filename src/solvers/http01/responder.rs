//! Answers a CA's HTTP-01 requests: the operator's own solver port, and `everleaf solver` in a Pod.

use std::io;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::tokens::Tokens;
use super::{PATH_PREFIX, PORT};
use crate::serve::{Bounds, listen, serve};

/// What the operator's self-check calls itself, so that its requests are not taken for the CA's.
pub(super) const SELF_CHECK_AGENT: &str =
    concat!("everleaf/", env!("CARGO_PKG_VERSION"), " (self-check)");

/// The arguments of `everleaf solver`: cert-manager's `acmesolver` flags. Our own Pods give domain,
/// token and key by environment, because argument lists show up in process listings and audit logs.
#[derive(clap::Args)]
pub struct SolverArgs {
    /// Port to answer on.
    #[arg(long, default_value_t = PORT, env = "ACME_CHALLENGE_LISTEN_PORT")]
    pub listen_port: u16,
    /// Domain name to answer for.
    #[arg(long, env = ENV_DOMAIN)]
    pub domain: String,
    /// Token of the challenge.
    #[arg(long, env = ENV_TOKEN, hide_env_values = true)]
    pub token: String,
    /// Key authorization to answer with.
    #[arg(long, env = ENV_KEY, hide_env_values = true)]
    pub key: String,
}

pub(super) const ENV_DOMAIN: &str = "ACME_CHALLENGE_DOMAIN";
pub(super) const ENV_TOKEN: &str = "ACME_CHALLENGE_TOKEN";
pub(super) const ENV_KEY: &str = "ACME_CHALLENGE_KEY";

/// Runs `everleaf solver` until `stop` (SIGTERM: as process 1 of its Pod it gets no default action).
pub async fn run_solver(args: &SolverArgs, stop: CancellationToken) -> io::Result<()> {
    let listener = listen(args.listen_port).await?;
    tracing::info!(domain = args.domain, port = args.listen_port, "answering");
    respond(listener, only(args), stop).await;
    Ok(())
}

fn only(args: &SolverArgs) -> Tokens {
    let tokens = Tokens::default();
    tokens.insert("solver", &args.domain, &args.token, &args.key);
    tokens
}

/// Answers for `tokens` until `stop`.
pub async fn respond(listener: TcpListener, tokens: Tokens, stop: CancellationToken) {
    serve(listener, Bounds::PUBLIC, stop, move |request| {
        answer(&tokens, request)
    })
    .await;
}

fn answer<B>(tokens: &Tokens, request: &Request<B>) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refusal = plain(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
        refusal
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    match request.uri().path() {
        "/" | "/healthz" => plain(StatusCode::OK, "ok\n"),
        path => match authorization(tokens, request, path) {
            Some(key) => plain(StatusCode::OK, Bytes::copy_from_slice(key.as_bytes())),
            // The operator looks after a refusal too, when the way here may be open for a moment more: that is no answer of
            // whoever the name leads to.
            None if is_self_check(request) => {
                plain(StatusCode::SERVICE_UNAVAILABLE, "no such token\n")
            }
            None => plain(StatusCode::NOT_FOUND, "not found\n"),
        },
    }
}

fn authorization<B>(
    tokens: &Tokens,
    request: &Request<B>,
    path: &str,
) -> Option<std::sync::Arc<str>> {
    let token = path.strip_prefix(PATH_PREFIX)?;
    // The absolute form of the request target outranks the Host field (RFC 9112 §3.2.2).
    let host = match request.uri().host() {
        Some(host) => host,
        None => request.headers().get(HOST)?.to_str().ok()?,
    };
    tokens.answer(host, token, is_self_check(request))
}

fn is_self_check<B>(request: &Request<B>) -> bool {
    let agent = request.headers().get(USER_AGENT);
    agent.is_some_and(|agent| agent == SELF_CHECK_AGENT)
}

fn plain(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests;
