//! Where the requests of a self-check go: first to the name, then wherever redirects lead that a CA follows.

use std::net::IpAddr;

use hyper::Uri;

use super::super::{PATH_PREFIX, normalise_host};
use super::{Reason, Settings};

/// Where one request goes.
pub(super) struct Target {
    pub(super) tls: bool,
    /// Without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// Origin form: path and query.
    pub(super) path: String,
}

impl Target {
    pub(super) fn first(domain: &str, token: &str, port: u16) -> Result<Self, Reason> {
        let target = Self {
            tls: false,
            host: normalise_host(domain),
            port,
            path: format!("{PATH_PREFIX}{token}"),
        };
        // A token is base64url (RFC 8555 §8.3); anything else could change the request.
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let fits = !target.host.is_empty() && !token.is_empty() && token.bytes().all(is_token);
        fits.then_some(target).ok_or(Reason::BadName)
    }

    /// Follows what CAs follow (Boulder's rules): http and https, ports 80 and 443, to a name. An
    /// address in a redirect would let a tenant's site send the operator around the cluster.
    pub(super) fn redirected(&self, location: &str, settings: &Settings) -> Option<Self> {
        let location = location.split('#').next().unwrap_or_default();
        let scheme = if self.tls { "https" } else { "http" };
        let absolute = match location.strip_prefix("//") {
            Some(rest) => format!("{scheme}://{rest}").parse::<Uri>(),
            None => location.parse(),
        };
        let uri = absolute.ok()?;
        let path = uri
            .path_and_query()
            .map_or("/", |path| path.as_str())
            .to_owned();
        if location.starts_with('/') && !location.starts_with("//") {
            let host = self.host.clone();
            return Some(Self {
                host,
                path,
                ..*self
            });
        }
        let tls = match uri.scheme_str()? {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let default = if tls {
            settings.https_port
        } else {
            settings.http_port
        };
        let port = uri.port_u16().unwrap_or(default);
        let host = normalise_host(uri.host()?);
        let allowed = [80, 443, settings.http_port, settings.https_port].contains(&port);
        if !allowed || host.is_empty() || host.parse::<IpAddr>().is_ok() {
            return None;
        }
        Some(Self {
            tls,
            host,
            port,
            path,
        })
    }

    /// The whole of it; `None` if the host cannot be in one.
    pub(super) fn uri(&self) -> Option<Uri> {
        let scheme = if self.tls { "https" } else { "http" };
        let whole = format!("{scheme}://{}{}", self.authority(), self.path);
        whole.parse().ok()
    }

    pub(super) fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        match (self.tls, self.port) {
            (false, 80) | (true, 443) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}
