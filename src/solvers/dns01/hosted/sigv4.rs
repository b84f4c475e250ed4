//! Signature Version 4 of AWS ("Create a signed AWS API request").

use std::fmt;

use aws_lc_rs::hmac;
use http::HeaderName;
use http::header::AUTHORIZATION;
use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::net::{Error, Request, hex};
use crate::pki::sha256_hex;

const X_AMZ_DATE: HeaderName = HeaderName::from_static("x-amz-date");
const X_AMZ_SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// Credentials; temporary ones have a token.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) access_key_id: String,
    pub(super) secret_access_key: Zeroizing<String>,
    pub(super) token: Option<Zeroizing<String>>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.access_key_id)
    }
}

/// The request with its signature, which covers all headers that it has. The path must be escaped as it is sent, and
/// have nothing to normalize.
pub(super) fn sign(
    mut request: Request,
    session: &Session,
    region: &str,
    service: &str,
    now: Timestamp,
) -> Result<Request, Error> {
    let time = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    request = request.header(X_AMZ_DATE, &time)?;
    if let Some(token) = &session.token {
        request = request.header(X_AMZ_SECURITY_TOKEN, token)?;
    }
    let day = time.get(..8).unwrap_or_default();
    let scope = format!("{day}/{region}/{service}/aws4_request");
    let (canonical, signed) = canonical(&request)?;
    let hash = sha256_hex(canonical.as_bytes());
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{hash}");
    let secret = Zeroizing::new(format!("AWS4{}", session.secret_access_key.as_str()));
    let mut key = mac(secret.as_bytes(), day);
    for part in [region, service, "aws4_request"] {
        key = mac(key.as_ref(), part);
    }
    let signature = hex(mac(key.as_ref(), &to_sign).as_ref());
    let value = format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={signed}, Signature={signature}",
        session.access_key_id
    );
    request.header(AUTHORIZATION, &value)
}

/// The canonical request, and the names of its headers.
fn canonical(request: &Request) -> Result<(Zeroizing<String>, String), Error> {
    let url = request
        .url
        .split_once("://")
        .ok_or(Error::Request("not a URL"))?
        .1;
    let (host, rest) = url.split_at(url.find('/').unwrap_or(url.len()));
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut query: Vec<_> = query.split('&').filter(|field| !field.is_empty()).collect();
    query.sort_unstable_by_key(|field| field.split_once('='));
    let mut headers = vec![("host", host)];
    for (name, value) in &request.headers {
        let value = value
            .to_str()
            .map_err(|_| Error::Request("a header that is no text"))?;
        headers.push((name.as_str(), value.trim()));
    }
    headers.sort_unstable();
    let names: Vec<_> = headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let mut canonical = Zeroizing::new(format!(
        "{}\n{}\n{}\n",
        request.method,
        if path.is_empty() { "/" } else { path },
        query.join("&")
    ));
    for (name, value) in headers {
        canonical.push_str(name);
        canonical.push(':');
        canonical.push_str(value);
        canonical.push('\n');
    }
    let body = sha256_hex(&request.body);
    for part in ["\n", &names, "\n", &body] {
        canonical.push_str(part);
    }
    Ok((canonical, names))
}

fn mac(key: &[u8], data: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data.as_bytes())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use http::Method;

    use super::*;

    /// "Signature Version 4 test suite" of AWS (`aws-sig-v4-test-suite`: get-vanilla, get-vanilla-query-order-key-case,
    /// post-vanilla), and the `ListUsers` example of "Create a signed AWS API request".
    #[test]
    fn signatures_are_those_of_awss_vectors() {
        let session = Session {
            access_key_id: "AKIDEXAMPLE".into(),
            secret_access_key: Zeroizing::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into()),
            token: None,
        };
        let now = "2015-08-30T12:36:00Z".parse().unwrap();
        let plain = |method, url| Request::new(method, url);
        let form = "application/x-www-form-urlencoded; charset=utf-8";
        for (request, service, names, signature) in [
            (
                plain(Method::GET, "https://example.amazonaws.com/"),
                "service",
                "host;x-amz-date",
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                plain(Method::POST, "https://example.amazonaws.com"),
                "service",
                "host;x-amz-date",
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
            (
                plain(
                    Method::GET,
                    "https://example.amazonaws.com/?Param2=value2&Param1=value1",
                ),
                "service",
                "host;x-amz-date",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            (
                plain(
                    Method::GET,
                    "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08",
                )
                .body(form, ""),
                "iam",
                "content-type;host;x-amz-date",
                "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
            ),
        ] {
            let signed = sign(request, &session, "us-east-1", service, now).unwrap();
            let expected = format!(
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/{service}/aws4_request, \
                 SignedHeaders={names}, Signature={signature}"
            );
            assert_eq!(signed.headers[AUTHORIZATION], expected);
        }
    }
}
