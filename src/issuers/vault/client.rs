//! The connection to a Vault.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::uri::Scheme;
use http::{HeaderValue, Request, Uri};
use http_body_util::Full;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{
    Call, Class, Credential, Error, KeyPair, Login, Signed, judge_health, read_expiry, read_signed,
    read_token, tls,
};
use crate::net::{
    Bounds, Connections, Dialer, MAX_PIECE, Proxies, Resolver, clean, escape_all_but,
};

const BOUNDS: Bounds = Bounds {
    time: Duration::from_secs(30),
    body: 1 << 20,
};
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// What is shorter is part of any text, and no secret.
const SECRET: usize = 8;
/// The most complaints of an answer that are shown.
const SHOWN: usize = 5;

/// Where a Vault is, how to trust it, and who we are to it.
pub struct Server<'a> {
    /// http or https; a path is in front of all others.
    pub url: &'a str,
    /// The name that its certificate must hold; the URL's host when absent.
    pub name: Option<&'a str>,
    /// Vault namespace.
    pub namespace: Option<&'a str>,
    /// PEM certificates that replace the public roots.
    pub ca_bundle: Option<&'a [u8]>,
    /// For TLS.
    pub identity: Option<KeyPair<'a>>,
}

/// Connections to one Vault; they close when it is dropped.
pub struct Vault {
    connections: Connections,
    /// Scheme, host, port and path, without a slash at the end.
    base: String,
    host: String,
    namespace: Option<HeaderValue>,
}

impl Vault {
    /// Makes no connection yet.
    pub fn new(server: &Server<'_>) -> Result<Self, Error> {
        let (base, host) = base(server.url)?;
        let namespace = server.namespace.filter(|namespace| !namespace.is_empty());
        let namespace = namespace
            .map(HeaderValue::from_str)
            .transpose()
            .map_err(|error| Error::config("spec.vault.namespace", error))?;
        let proxies = Some(Proxies::of_environment());
        let dialer = Dialer::new(Resolver::System, proxies, CONNECT_TIMEOUT);
        Ok(Self {
            connections: Connections::new(tls::connector(server, dialer)?),
            base,
            host,
            namespace,
        })
    }

    /// Whether it can work.
    pub async fn health(&self) -> Result<(), Error> {
        let call = Call::health();
        let (status, body) = self.exchange(&call, None).await?;
        judge_health(status, || self.refused(&call, status, &body, &[]))
    }

    /// A token, which a login brings unless it is there.
    pub async fn log_in(&self, login: Login) -> Result<Credential, Error> {
        let Some(call) = Call::login(&login) else {
            let Login::Token(token) = login else {
                return Err(Error::Answer("no login"));
            };
            return Ok(token);
        };
        let secret = match &login {
            Login::AppRole { secret_id, .. } => Some(secret_id),
            Login::Kubernetes { jwt, .. } => Some(jwt),
            Login::Token(_) | Login::ClientCertificate { .. } => None,
        };
        read_token(&self.call(&call, None, secret).await?)
    }

    /// When a token ends; `None` if it does not, or if Vault does not tell its bearer.
    pub async fn expiry(&self, token: &Credential) -> Result<Option<Timestamp>, Error> {
        match self.call(&Call::lookup(), Some(token), None).await {
            Ok(body) => read_expiry(&body),
            // A token without the default policy may sign all the same.
            Err(error) if error.class() == Class::Forbidden => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Have a CSR, PEM, signed at a path.
    pub async fn sign(
        &self,
        token: &Credential,
        path: &str,
        csr: &[u8],
        duration: SignedDuration,
    ) -> Result<Signed, Error> {
        let call = Call::sign(path, csr, duration)?;
        read_signed(&self.call(&call, Some(token), None).await?)
    }

    /// The body of an answer that says success.
    async fn call(
        &self,
        call: &Call,
        token: Option<&Credential>,
        secret: Option<&Credential>,
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        let (status, body) = self.exchange(call, token).await?;
        if (200..300).contains(&status) {
            return Ok(body);
        }
        let hidden: Vec<_> = token.into_iter().chain(secret).collect();
        Err(self.refused(call, status, &body, &hidden))
    }

    async fn exchange(
        &self,
        call: &Call,
        token: Option<&Credential>,
    ) -> Result<(u16, Zeroizing<Vec<u8>>), Error> {
        let request = self.request(call, token)?;
        let answer = self
            .connections
            .exchange(request, &self.host, BOUNDS)
            .await?;
        Ok((answer.status, answer.body))
    }

    fn request(
        &self,
        call: &Call,
        token: Option<&Credential>,
    ) -> Result<Request<Full<Bytes>>, Error> {
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(self.url(call))
            .header(USER_AGENT, concat!("everleaf/", env!("CARGO_PKG_VERSION")))
            // An agent or proxy of Vault's may ask for it, against forged requests of browsers.
            .header("X-Vault-Request", "true");
        if let Some(token) = token {
            let token = HeaderValue::from_str(&token.0);
            let mut token = token.map_err(|_| Error::config("the token", "not a token"))?;
            token.set_sensitive(true);
            request = request.header("X-Vault-Token", token);
        }
        if let Some(namespace) = self.namespace.as_ref().filter(|_| call.in_namespace) {
            request = request.header("X-Vault-Namespace", namespace);
        }
        if call.body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = call
            .body
            .as_ref()
            .map(|body| Bytes::copy_from_slice(body.as_bytes()));
        request
            .body(Full::new(body.unwrap_or_default()))
            .map_err(|_| Error::config("spec.vault.path", "not a path"))
    }

    fn url(&self, call: &Call) -> String {
        format!("{}{}", self.base, encoded(&call.path))
    }

    fn refused(&self, call: &Call, status: u16, body: &[u8], hidden: &[&Credential]) -> Error {
        let mut said = complaints(body);
        for credential in hidden.iter().filter(|c| c.0.len() >= SECRET) {
            said = said.replace(credential.0.as_str(), "[hidden]");
        }
        Error::Status {
            call: clean(&format!("{} {}", call.method, self.url(call)), MAX_PIECE),
            status,
            said,
        }
    }
}

/// The base of all URLs, and the host with its port.
fn base(url: &str) -> Result<(String, String), Error> {
    let refuse = |problem: &str| Error::config("spec.vault.server", problem);
    let uri: Uri = url.parse().map_err(|_| refuse("not a URL"))?;
    let known = [Some(&Scheme::HTTPS), Some(&Scheme::HTTP)].contains(&uri.scheme());
    let authority = uri.authority().filter(|_| known);
    let authority = authority.ok_or_else(|| refuse("not an http or https URL"))?;
    if authority.as_str().contains('@') {
        return Err(refuse("user information does not belong in the URL"));
    }
    let scheme = uri.scheme_str().unwrap_or_default();
    let path = uri.path().trim_end_matches('/');
    Ok((
        format!("{scheme}://{authority}{path}"),
        authority.to_string(),
    ))
}

/// A path as a URL has it: without empty parts, and with what does not belong there escaped.
fn encoded(path: &str) -> String {
    let mut url = String::with_capacity(path.len());
    for part in path.split('/').filter(|part| !part.is_empty()) {
        url.push('/');
        url.push_str(&escape_all_but(b"-._~!$&'()*+,;=:@", part));
    }
    url
}

/// What an answer complains about, after a colon; an answer that is not Vault's says nothing.
fn complaints(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(default)]
        errors: Vec<String>,
    }
    let Ok(answer) = serde_json::from_slice::<Answer>(body) else {
        return String::new();
    };
    // Several of one call come as one: a line that counts them, then a list with asterisks.
    let shown = answer
        .errors
        .iter()
        .flat_map(|error| error.lines())
        .map(|line| line.trim().trim_start_matches("* "))
        .filter(|line| !line.is_empty() && !line.ends_with("occurred:"));
    let shown: Vec<_> = shown
        .take(SHOWN)
        .map(|line| clean(line, MAX_PIECE))
        .collect();
    if shown.is_empty() {
        return String::new();
    }
    format!(": {}", shown.join("; "))
}
