//! Whom a server has asked to validate a challenge. Not of RFC 8555: Boulder says it.

use std::fmt;
use std::net::IpAddr;

use http::Uri;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::net::{MAX_PIECE, clean};

/// How many of them are read: there is one for each redirect.
const MOST: usize = 5;
const MOST_ADDRESSES: usize = 8;

/// Those that were asked, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked(Vec<Host>);

/// A host that was asked. Nothing of a URL but where it leads: the rest holds the token.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Host {
    /// `http://app.example.com`
    origin: Option<String>,
    used: IpAddr,
    resolved: Vec<IpAddr>,
}

impl Asked {
    /// What there is to add to these words of the server, which mostly name an address.
    pub fn beside(&self, words: &str) -> Option<String> {
        let is_told = |host: &Host| {
            host.resolved.iter().all(|address| *address == host.used)
                && words.contains(&host.used.to_string())
        };
        let told = || clean(&format!("the CA asked {self}"), MAX_PIECE);
        (!self.0.iter().all(is_told)).then(told)
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, host) in self.0.iter().enumerate() {
            match &host.origin {
                // The first is the name itself.
                Some(origin) if number > 0 => write!(f, ", then {origin} at {}", host.used)?,
                _ if number > 0 => write!(f, ", then {}", host.used)?,
                _ => write!(f, "{}", host.used)?,
            }
            if host.resolved.iter().any(|address| *address != host.used) {
                let resolved: Vec<String> = host.resolved.iter().map(ToString::to_string).collect();
                write!(f, " (of {})", resolved.join(", "))?;
            }
        }
        Ok(())
    }
}

/// Those that can be read.
pub(super) fn lenient<'de, D>(deserializer: D) -> Result<Asked, D::Error>
where
    D: Deserializer<'de>,
{
    let records = Value::deserialize(deserializer)?;
    let records = records.as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(Asked(records.iter().filter_map(host).take(MOST).collect()))
}

fn host(record: &Value) -> Option<Host> {
    let address = |value: &Value| value.as_str()?.parse::<IpAddr>().ok();
    let resolved = record["addressesResolved"].as_array();
    let resolved = resolved.map(Vec::as_slice).unwrap_or_default().iter();
    let origin = |url: &str| {
        let url: Uri = url.parse().ok()?;
        let origin = format!("{}://{}", url.scheme()?, url.host()?);
        Some(clean(&origin, MAX_PIECE))
    };
    Some(Host {
        origin: record["url"].as_str().and_then(origin),
        used: address(&record["addressUsed"])?,
        resolved: resolved.filter_map(address).take(MOST_ADDRESSES).collect(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use serde_json::json;

    use super::super::Challenge;

    #[test]
    fn whom_the_ca_has_asked_is_told_without_the_token() {
        let two = json!({ "url": "http://a.example/.well-known/acme-challenge/token", "hostname": "a.example", "port": "80",
                          "addressesResolved": ["192.0.2.1", "2001:db8::1"], "addressUsed": "2001:db8::1" });
        let one = json!({ "url": "https://user:word@login.example:8443/token?x",
                          "addressesResolved": ["192.0.2.7"], "addressUsed": "192.0.2.7" });
        let asked = |records, expected: Option<&str>| {
            let challenge = json!({ "type": "http-01", "validationRecord": records });
            let challenge: Challenge = serde_json::from_value(challenge).unwrap();
            let told = challenge.asked.beside("192.0.2.7: 404");
            assert_eq!(told.as_deref(), expected, "{challenge:?}");
        };
        asked(
            json!([two]),
            Some("the CA asked 2001:db8::1 (of 192.0.2.1, 2001:db8::1)"),
        );
        asked(
            json!([two, one]),
            Some(
                "the CA asked 2001:db8::1 (of 192.0.2.1, 2001:db8::1), then https://login.example at 192.0.2.7",
            ),
        );
        // The CA's own words say it.
        asked(json!([one]), None);
        let other = json!({ "addressUsed": "192.0.2.8" });
        asked(json!([other]), Some("the CA asked 192.0.2.8"));
        let many: Vec<_> = vec![&other; 9];
        asked(
            json!(many),
            Some(
                "the CA asked 192.0.2.8, then 192.0.2.8, then 192.0.2.8, then 192.0.2.8, then 192.0.2.8",
            ),
        );
        // DNS-01, and what is none.
        for nothing in [
            json!(null),
            json!([]),
            json!("x"),
            json!([{ "hostname": "a.example", "addressUsed": "" }, 7, null, { "addressUsed": ["192.0.2.8"] }]),
            json!([{ "addressUsed": "\u{1b}[31m", "url": 3, "addressesResolved": {} }]),
        ] {
            asked(nothing, None);
        }
    }
}
