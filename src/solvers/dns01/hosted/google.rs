//! Tokens of Google Cloud: for a service account by its key ("Using OAuth 2.0 for Server to Server Applications", RFC
//! 7523), or from the metadata server ("Application Default Credentials").

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderName, Method};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::bearer::{self, granted};
use super::tokens::{Identity, Lent};
use super::{Api, Hosted, optional, secret};
use crate::net::Request;
use crate::pki::PrivateKey;
use crate::solvers::dns01::{Ambient, Error};

const SCOPE: &str = "https://www.googleapis.com/auth/ndev.clouddns.readwrite";
const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// The longest life of an assertion, in seconds.
const ASSERTION: i64 = 3600;
const METADATA_HOST: &str = "169.254.169.254";
const METADATA_PATH: &str = "/computeMetadata/v1/instance/service-accounts/default/token";
const METADATA_FLAVOR: HeaderName = HeaderName::from_static("metadata-flavor");

const TOKENS: Api = Api {
    name: "Google's token service",
    remedy: "put a current key of the service account into the Secret of dns01.cloudDNS.serviceAccountSecretRef",
};
const METADATA: Api = Api {
    name: "Google's metadata server",
    remedy: "let the operator's Pod run as a service account of Google Cloud (Workload Identity)",
};

/// Who writes records.
pub(super) enum Login {
    Account(Account),
    Ambient(Arc<Ambient>),
}

/// A service account with its key.
pub(super) struct Account {
    email: String,
    key: PrivateKey,
    key_id: Option<String>,
    token_uri: String,
}

/// "Service account key file".
#[derive(Deserialize)]
struct KeyFile {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    client_email: String,
    #[serde(default, deserialize_with = "secret")]
    private_key: Zeroizing<String>,
    private_key_id: Option<String>,
    token_uri: Option<String>,
}

impl Account {
    /// From a key file; `place` is where it comes from.
    pub(super) fn read(file: &[u8], place: &str) -> Result<Self, Error> {
        let refuse = |problem: &str| {
            Error::permanent(format!(
                "{place}: {problem}: put the JSON key of a service account there"
            ))
        };
        // What is wrong with it would quote it.
        let file: KeyFile = serde_json::from_slice(file).map_err(|_| refuse("is no JSON key"))?;
        if file.kind != "service_account" {
            return Err(refuse("is not of the type service_account"));
        }
        let key = PrivateKey::from_pem(file.private_key.as_bytes())
            .map_err(|_| refuse("has no usable private_key"))?;
        if key.jws_algorithm() != "RS256" || file.client_email.is_empty() {
            return Err(refuse("has no RSA private_key or no client_email"));
        }
        let token_uri = file.token_uri.unwrap_or_else(|| TOKEN_URI.to_owned());
        if !token_uri.starts_with("https://") {
            return Err(refuse("has a token_uri that is not https"));
        }
        Ok(Self {
            email: file.client_email,
            key,
            key_id: file.private_key_id,
            token_uri,
        })
    }

    async fn log_in(&self, hosted: &Hosted) -> Result<Lent<Zeroizing<String>>, Error> {
        let now = hosted.now();
        let assertion = self.assertion(now)?;
        let fields = [("grant_type", GRANT), ("assertion", assertion.as_str())];
        let request = Request::new(Method::POST, &self.token_uri).form(&fields);
        let call = "log in";
        let reply = hosted.send(&TOKENS, call, request).await?;
        granted(&TOKENS, call, &reply, now)
    }

    fn assertion(&self, now: Timestamp) -> Result<Zeroizing<String>, Error> {
        let mut header = json!({ "alg": self.key.jws_algorithm(), "typ": "JWT" });
        if let (Some(id), Some(header)) = (&self.key_id, header.as_object_mut()) {
            header.insert("kid".to_owned(), json!(id));
        }
        let issued = now.as_second();
        let claims = json!({
            "iss": self.email,
            "scope": SCOPE,
            "aud": self.token_uri,
            "iat": issued,
            "exp": issued + ASSERTION,
        });
        let encode = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let signature = self.key.sign_jws(signed.as_bytes());
        let signature = signature.map_err(|_| {
            Error::permanent("dns01.cloudDNS: the service account's key cannot sign")
        })?;
        let signature = URL_SAFE_NO_PAD.encode(signature);
        Ok(Zeroizing::new(format!("{signed}.{signature}")))
    }
}

impl bearer::Login for Login {
    fn identity(&self) -> Identity {
        match self {
            // Its public key stands for the key.
            Self::Account(account) => {
                let key = super::hex(account.key.public_key_der());
                Identity::of(&["google", &account.email, &key, &account.token_uri])
            }
            Self::Ambient(_) => Identity::of(&["google"]),
        }
    }

    async fn log_in(&self, hosted: &Hosted) -> Result<Lent<Zeroizing<String>>, Error> {
        let ambient = match self {
            Self::Account(account) => return account.log_in(hosted).await,
            Self::Ambient(ambient) => ambient,
        };
        let variable = |name: &str| optional(ambient.variables.get(name).map(String::as_str));
        if let Some(path) = variable("GOOGLE_APPLICATION_CREDENTIALS") {
            const PLACE: &str = "the file of GOOGLE_APPLICATION_CREDENTIALS";
            let file = super::read_file(path, PLACE).await?;
            return Account::read(&file, PLACE)?.log_in(hosted).await;
        }
        let host = variable("GCE_METADATA_HOST").unwrap_or(METADATA_HOST);
        let call = "get a token";
        let request = Request::get(format!("http://{host}{METADATA_PATH}"))
            .header(METADATA_FLAVOR, "Google")
            .map_err(|error| METADATA.unreached(call, &error))?;
        let reply = hosted.send_local(&METADATA, call, request).await?;
        // Whoever else answers at this address does not say so.
        let google = reply.headers.get(METADATA_FLAVOR);
        if google.is_none_or(|flavor| flavor != "Google") {
            return Err(METADATA.unreadable(call, &reply));
        }
        granted(&METADATA, call, &reply, hosted.now())
    }
}
