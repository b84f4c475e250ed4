//! The little that is needed of RFC 3986: where a URL leads, and a reference resolved against it.

use http::Uri;
use http::uri::{Authority, Scheme};

use super::Error;
use crate::net::clean;

/// Scheme, host and port of an https URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    host: String,
    port: u16,
}

impl Origin {
    /// The origin of an https URL without user information; anything else is refused.
    pub(super) fn of(url: &str) -> Result<Self, Error> {
        let refuse = |reason: &str| Error::Url {
            url: clean(url, 256),
            reason: reason.to_owned(),
        };
        let uri: Uri = url.parse().map_err(|_| refuse("not a URL"))?;
        if uri.scheme() != Some(&Scheme::HTTPS) {
            return Err(refuse("not https"));
        }
        let authority = uri.authority().ok_or_else(|| refuse("no host"))?;
        if authority.as_str().contains('@') {
            return Err(refuse("user information"));
        }
        Ok(Self {
            host: authority.host().to_ascii_lowercase(),
            port: port(authority),
        })
    }

    /// `host`, or `host:port` if the port is not the usual one.
    pub(super) fn host(&self) -> String {
        match self.port {
            443 => self.host.clone(),
            port => format!("{}:{port}", self.host),
        }
    }
}

fn port(authority: &Authority) -> u16 {
    authority.port_u16().unwrap_or(443)
}

/// Resolves `reference`, absolute or a path from the root, against an https URL. Other references are left as they are
/// and fail when they are used.
pub(super) fn resolve(base: &str, reference: &str) -> String {
    if reference.starts_with('/')
        && !reference.starts_with("//")
        && let Ok(origin) = Origin::of(base)
    {
        return format!("https://{}{reference}", origin.host());
    }
    reference.to_owned()
}
