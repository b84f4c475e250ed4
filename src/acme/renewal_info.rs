//! Renewal information (RFC 9773): when a CA wants a certificate to be renewed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::transport::Action;
use super::{Client, Error};
use crate::net::{clean, web_link};
use crate::pki::ParsedCertificate;

/// Longest key identifier and serial number that make an identifier: RFC 5280 §4.1.2.2 knows 20 octets.
const MAX_OCTETS: usize = 64;

/// Problem types (RFC 8555 §6.7) that are said of an order whether it replaces a certificate or not.
const NOT_OF_REPLACES: [&str; 7] = [
    "badNonce",
    "caa",
    "invalidProfile",
    "rateLimited",
    "rejectedIdentifier",
    "unsupportedIdentifier",
    "userActionRequired",
];

/// A suggestion of the CA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenewalInfo {
    /// Start of the window.
    pub start: Timestamp,
    /// End of the window, after its start.
    pub end: Timestamp,
    /// A page that says why. Made safe to show.
    pub explanation_url: Option<String>,
    /// When the CA wants to be asked again: its word, to be bounded.
    pub retry_after: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    suggested_window: Window,
    #[serde(default, rename = "explanationURL")]
    explanation_url: Value,
}

#[derive(Deserialize)]
struct Window {
    start: String,
    end: String,
}

/// What identifies a certificate towards its CA (§4.1); `None` for one that does not name the key of its issuer.
pub fn certificate_id(certificate: &ParsedCertificate) -> Option<String> {
    let key = certificate.authority_key_id()?;
    identifier(key, certificate.serial_bytes())
}

/// Of the issuer's key identifier and the octets of the serial number, with the leading zero if there is one.
pub(super) fn identifier(key: &[u8], serial: &[u8]) -> Option<String> {
    let fits = |octets: &[u8]| (1..=MAX_OCTETS).contains(&octets.len());
    let encode = |octets| URL_SAFE_NO_PAD.encode(octets);
    (fits(key) && fits(serial)).then(|| format!("{}.{}", encode(key), encode(serial)))
}

/// The issuer's key identifier and the octets of the serial number in such an identifier.
pub fn identified(id: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let (key, serial) = id.split_once('.')?;
    let decode = |text| URL_SAFE_NO_PAD.decode(text).ok();
    Some((decode(key)?, decode(serial)?))
}

impl Client {
    /// When the CA wants the certificate to be renewed (§4.1). Asked without an account.
    pub async fn renewal_info(&self, certificate_id: &str) -> Result<RenewalInfo, Error> {
        let directory = self.directory().await?;
        let base = directory.renewal_info.as_deref();
        let base = base.ok_or(Error::Unsupported("renewalInfo"))?;
        let url = format!("{}/{certificate_id}", base.trim_end_matches('/'));
        let reply = self.get_unsigned(Action::GetRenewalInfo, &url).await?;
        read(reply.json("renewalInfo")?, reply.retry_after())
    }
}

fn read(body: Body, retry_after: Option<Timestamp>) -> Result<RenewalInfo, Error> {
    let Window { start, end } = body.suggested_window;
    let time = |name, text: &str| {
        let unreadable = || {
            format!(
                "{name} of the suggested window is no time: {}",
                clean(text, 64)
            )
        };
        text.trim()
            .parse::<Timestamp>()
            .map_err(|_| Error::Protocol(unreadable()))
    };
    let (start, end) = (time("the start", &start)?, time("the end", &end)?);
    if end <= start {
        let text = format!("the suggested window ends at {end}, and starts at {start}");
        return Err(Error::Protocol(text));
    }
    Ok(RenewalInfo {
        start,
        end,
        explanation_url: body
            .explanation_url
            .as_str()
            .and_then(web_link)
            .map(ToOwned::to_owned),
        retry_after,
    })
}

/// Whether an order may have been refused because of the certificate that it is to replace: servers say so with
/// problems of many types. The order can be asked for without it then, since none was made.
pub fn may_be_replaces(error: &Error) -> bool {
    match error {
        Error::Problem { problem, .. } => !NOT_OF_REPLACES.iter().any(|name| problem.is(name)),
        // From a proxy in front, these say nothing of the request.
        Error::Status { status, .. } => {
            (400..600).contains(status) && ![408, 425, 429, 502, 503, 504].contains(status)
        }
        _ => false,
    }
}
