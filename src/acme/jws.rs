//! Signed requests (RFC 8555 §6.2): flattened JSON serialization of RFC 7515 with everything in the protected header.

use std::fmt;

use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE_NO_PAD};
use serde::Serialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::Error;
use crate::pki::PrivateKey;

/// How the server shall know the key.
#[derive(Clone, Copy)]
pub(super) enum Signer<'a> {
    /// By the key itself: newAccount, and revokeCert with the certificate's key.
    Key(&'a PrivateKey),
    /// By the account's URL.
    Account(&'a PrivateKey, &'a str),
}

#[derive(Serialize)]
struct Header<'a> {
    alg: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwk: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
    url: &'a str,
}

#[derive(Debug, Serialize)]
pub(super) struct Jws {
    protected: String,
    payload: String,
    signature: String,
}

impl Jws {
    /// `payload` is JSON, or empty for POST-as-GET (§6.3).
    pub(super) fn sign(
        signer: Signer<'_>,
        url: &str,
        nonce: &str,
        payload: &str,
    ) -> Result<Self, Error> {
        let (key, kid) = match signer {
            Signer::Key(key) => (key, None),
            Signer::Account(key, kid) => (key, Some(kid)),
        };
        let jwk = match kid {
            Some(_) => None,
            None => Some(parse_jwk(key)?),
        };
        let header = Header {
            alg: key.jws_algorithm(),
            jwk,
            kid,
            nonce: Some(nonce),
            url,
        };
        Self::assemble(&header, payload, |input| {
            key.sign_jws(input).map_err(Error::Key)
        })
    }

    /// The inner JWS of a key change (§7.3.5): signed by the new key, without a nonce.
    pub(super) fn sign_change(key: &PrivateKey, url: &str, payload: &str) -> Result<Self, Error> {
        let header = Header {
            alg: key.jws_algorithm(),
            jwk: Some(parse_jwk(key)?),
            kid: None,
            nonce: None,
            url,
        };
        Self::assemble(&header, payload, |input| {
            key.sign_jws(input).map_err(Error::Key)
        })
    }

    fn assemble(
        header: &Header<'_>,
        payload: &str,
        sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, Error>,
    ) -> Result<Self, Error> {
        let protected = URL_SAFE_NO_PAD.encode(to_json(header)?);
        let payload = URL_SAFE_NO_PAD.encode(payload);
        let signature = sign(format!("{protected}.{payload}").as_bytes())?;
        Ok(Self {
            protected,
            payload,
            signature: URL_SAFE_NO_PAD.encode(signature),
        })
    }
}

pub(super) fn to_json(value: &impl Serialize) -> Result<String, Error> {
    // Fails for maps with keys that are no strings, which none of these types has.
    serde_json::to_string(value).map_err(|_| Error::Protocol("encoding a request".to_owned()))
}

pub(super) fn parse_jwk(key: &PrivateKey) -> Result<Value, Error> {
    let jwk = key.jwk().map_err(Error::Key)?;
    serde_json::from_str(&jwk).map_err(|_| Error::Protocol("encoding a key".to_owned()))
}

/// External account binding (RFC 8555 §7.3.4): what a CA hands out to tie an ACME account to one of its own.
pub struct Eab {
    key_id: String,
    hmac_key: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Eab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Eab")
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

/// CAs hand out URL-safe and standard base64, with and without padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

impl Eab {
    /// `hmac_key` is the text of the Secret: base64 of any kind, spaces and line ends ignored.
    pub fn new(key_id: impl Into<String>, hmac_key: &[u8]) -> Result<Self, Error> {
        let text: Zeroizing<Vec<u8>> = Zeroizing::new(
            hmac_key
                .iter()
                .filter(|byte| !byte.is_ascii_whitespace())
                .map(|byte| match byte {
                    b'+' => b'-',
                    b'/' => b'_',
                    other => *other,
                })
                .collect(),
        );
        let refuse = |problem: &str| Error::Config {
            field: "externalAccountBinding",
            problem: problem.to_owned(),
        };
        let hmac_key = LENIENT
            .decode(&*text)
            .map(Zeroizing::new)
            .map_err(|_| refuse("the key is not base64"))?;
        if hmac_key.is_empty() {
            return Err(refuse("the key is empty"));
        }
        Ok(Self {
            key_id: key_id.into(),
            hmac_key,
        })
    }

    /// The inner JWS: the account's public key signed by the CA's key, without a nonce.
    pub(super) fn bind(&self, key: &PrivateKey, new_account_url: &str) -> Result<Jws, Error> {
        let header = Header {
            alg: "HS256",
            jwk: None,
            kid: Some(&self.key_id),
            nonce: None,
            url: new_account_url,
        };
        let hmac_key = hmac::Key::new(hmac::HMAC_SHA256, &self.hmac_key);
        let payload = key.jwk().map_err(Error::Key)?;
        Jws::assemble(&header, &payload, |input| {
            Ok(hmac::sign(&hmac_key, input).as_ref().to_vec())
        })
    }
}

/// Three times as much as CAs make.
const TOKEN_MOST: usize = 128;

/// What proves that the owner of the account whose key has this thumbprint put an answer in place (RFC 8555 §8.1). `None`
/// for a token that is not base64url (§8.3), or far too long: it becomes a part of paths.
pub fn key_authorization(token: &str, thumbprint: &str) -> Option<String> {
    let base64url = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let is_one = (1..=TOKEN_MOST).contains(&token.len()) && token.bytes().all(base64url);
    is_one.then(|| format!("{token}.{thumbprint}"))
}

/// Value of the TXT record for `dns-01` (RFC 8555 §8.4).
pub fn dns01_value(key_authorization: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(
        &digest::SHA256,
        key_authorization.as_bytes(),
    ))
}
