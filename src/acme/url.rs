//! The little that is needed of RFC 3986: where a URL leads, and a reference resolved against it.

use http::Uri;

use super::Error;
use crate::net::clean;

const HTTPS: &str = "https";

/// Scheme, host and port of a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    scheme: &'static str,
    host: String,
    port: u16,
}

impl Origin {
    /// The origin of an https or http URL without user information; anything else is refused.
    pub(super) fn of(url: &str) -> Result<Self, Error> {
        let refuse = |reason: &str| Error::Url {
            url: clean(url, 256),
            reason: reason.to_owned(),
        };
        let uri: Uri = url.parse().map_err(|_| refuse("not a URL"))?;
        let (scheme, port) = match uri.scheme_str() {
            Some("https") => (HTTPS, 443),
            Some("http") => ("http", 80),
            _ => return Err(refuse("not an https or http URL")),
        };
        let authority = uri.authority().ok_or_else(|| refuse("no host"))?;
        if authority.as_str().contains('@') {
            return Err(refuse("user information"));
        }
        Ok(Self {
            scheme,
            host: authority.host().to_ascii_lowercase(),
            port: authority.port_u16().unwrap_or(port),
        })
    }

    /// `https` or `http`.
    pub(super) fn scheme(&self) -> &'static str {
        self.scheme
    }

    /// `host`, or `host:port` if the port is not the usual one.
    pub(super) fn host(&self) -> String {
        match (self.scheme, self.port) {
            (HTTPS, 443) | ("http", 80) => self.host.clone(),
            (_, port) => format!("{}:{port}", self.host),
        }
    }

    /// Whether a server there may send us to `other`: nobody is led out of TLS.
    pub(super) fn may_lead_to(&self, other: &Self) -> bool {
        other.scheme == HTTPS || self.scheme != HTTPS
    }
}

/// Resolves `reference`, absolute or a path from the root, against a URL. Other references are left as they are
/// and fail when they are used.
pub(super) fn resolve(base: &str, reference: &str) -> String {
    if reference.starts_with('/')
        && !reference.starts_with("//")
        && let Ok(origin) = Origin::of(base)
    {
        return format!("{}://{}{reference}", origin.scheme, origin.host());
    }
    reference.to_owned()
}
