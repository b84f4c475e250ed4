//! `EdgeGrid`, Akamai's signature of requests ("Authenticate with `EdgeGrid`", EG1-HMAC-SHA256).

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use http::header::AUTHORIZATION;
use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::net::{Error, Request};

/// Of a body, the most that is signed.
const MAX_SIGNED: usize = 131_072;

/// The client's credentials.
pub(super) struct Client {
    pub(super) token: Zeroizing<String>,
    pub(super) secret: Zeroizing<String>,
    pub(super) access_token: Zeroizing<String>,
}

impl Client {
    /// The request with its signature. A nonce is used once.
    pub(super) fn sign(
        &self,
        request: Request,
        now: Timestamp,
        nonce: &str,
    ) -> Result<Request, Error> {
        let time = now.strftime("%Y%m%dT%H:%M:%S+0000").to_string();
        let unsigned = Zeroizing::new(format!(
            "EG1-HMAC-SHA256 client_token={};access_token={};timestamp={time};nonce={nonce};",
            self.token.as_str(),
            self.access_token.as_str()
        ));
        let (scheme, rest) = request
            .url
            .split_once("://")
            .ok_or(Error::Request("not a URL"))?;
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        // Method, scheme, host, path with query, signed headers, of which there are none, hash of the body.
        let data = Zeroizing::new(format!(
            "{}\t{scheme}\t{host}\t{path}\t\t{}\t{}",
            request.method,
            hash(&request),
            unsigned.as_str()
        ));
        let key = mac(self.secret.as_bytes(), time.as_bytes());
        let signature = mac(key.as_bytes(), data.as_bytes());
        let value = Zeroizing::new(format!("{}signature={signature}", unsigned.as_str()));
        request.header(AUTHORIZATION, &value)
    }
}

/// Only that of a POST is signed.
fn hash(request: &Request) -> String {
    if request.method != Method::POST || request.body.is_empty() {
        return String::new();
    }
    let signed = request.body.get(..MAX_SIGNED).unwrap_or(&request.body);
    STANDARD.encode(digest(&SHA256, signed))
}

fn mac(key: &[u8], data: &[u8]) -> String {
    STANDARD.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    /// The vectors that Akamai publishes with its signing libraries (`testdata.json`).
    #[test]
    fn signatures_are_those_of_akamais_vectors() {
        let client = Client {
            token: Zeroizing::new("akab-client-token-xxx-xxxxxxxxxxxxxxxx".into()),
            secret: Zeroizing::new("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx=".into()),
            access_token: Zeroizing::new("akab-access-token-xxx-xxxxxxxxxxxxxxxx".into()),
        };
        let now = "2014-03-21T19:34:21Z".parse().unwrap();
        let body = "datadatadatadatadatadatadatadata";
        for (method, path, body, signature) in [
            (
                Method::GET,
                "/",
                "",
                "tL+y4hxyHxgWVD30X3pWnGKHcPzmrIF+LThiAOhMxYU=",
            ),
            (
                Method::GET,
                "/testapi/v1/t1?p1=1&p2=2",
                "",
                "hKDH1UlnQySSHjvIcZpDMbQHihTQ0XyVAKZaApabdeA=",
            ),
            (
                Method::POST,
                "/testapi/v1/t3",
                body,
                "hXm4iCxtpN22m4cbZb4lVLW5rhX8Ca82vCFqXzSTPe4=",
            ),
            (
                Method::POST,
                "/testapi/v1/t6",
                "",
                "1gEDxeQGD5GovIkJJGcBaKnZ+VaPtrc4qBUHixjsPCQ=",
            ),
        ] {
            let host = "akaa-baseurl-xxxxxxxxxxx-xxxxxxxxxxxxx.luna.akamaiapis.net";
            let request = Request::new(method, format!("https://{host}{path}")).body("", body);
            let nonce = "nonce-xx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
            let signed = client.sign(request, now, nonce).unwrap();
            let expected = format!(
                "EG1-HMAC-SHA256 client_token=akab-client-token-xxx-xxxxxxxxxxxxxxxx;\
                 access_token=akab-access-token-xxx-xxxxxxxxxxxxxxxx;timestamp=20140321T19:34:21+0000;\
                 nonce={nonce};signature={signature}"
            );
            assert_eq!(signed.headers[AUTHORIZATION], expected, "{path}");
        }
    }
}
