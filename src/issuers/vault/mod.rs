//! Certificates signed by the PKI engine of Vault or `OpenBao` (contract §6.3): which calls there are and how their
//! answers read. [`client`] makes them.

pub mod client;
mod error;
#[cfg(test)]
mod tests;
mod tls;

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

pub use error::{Class, Error};

use crate::api::duration::format_go_duration;
use crate::pki::{CertificateSigningRequest, ParsedCertificate, build_chain, parse_bundle};

/// A credential: it is wiped when it is dropped, and no formatter shows it.
#[derive(Clone)]
pub struct Credential(Zeroizing<String>);

impl Credential {
    /// From an entry of a Secret, without the white space around it. `None` if it is empty or no text.
    pub fn read(entry: &[u8]) -> Option<Self> {
        let text = str::from_utf8(entry).ok()?.trim();
        (!text.is_empty()).then(|| Self::from(text))
    }
}

impl From<&str> for Credential {
    fn from(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

/// How to come by a token.
#[derive(Debug)]
pub enum Login {
    /// It is there already.
    Token(Credential),
    /// With an `AppRole`.
    AppRole {
        /// Mount path; `approle` when empty.
        mount: String,
        /// ID of the role.
        role_id: String,
        /// Its secret ID.
        secret_id: Credential,
    },
    /// With the certificate of the connection.
    ClientCertificate {
        /// Mount path from `/v1` on; `/v1/auth/cert` when empty.
        mount: String,
        /// Role to match; any when empty.
        name: String,
    },
    /// With a token of Kubernetes.
    Kubernetes {
        /// Mount path from `/v1` on; `/v1/auth/kubernetes` when empty.
        mount: String,
        /// Role.
        role: String,
        /// The token.
        jwt: Credential,
    },
}

/// One request.
#[derive(Debug)]
struct Call {
    method: http::Method,
    /// From `/v1` on.
    path: String,
    body: Option<Zeroizing<String>>,
    /// Whether the namespace of the issuer is meant; the server's state is of none.
    in_namespace: bool,
}

impl Call {
    /// Whether the server can work.
    fn health() -> Self {
        Self {
            in_namespace: false,
            ..Self::get("/v1/sys/health")
        }
    }

    /// What the token in use is.
    fn lookup() -> Self {
        Self::get("/v1/auth/token/lookup-self")
    }

    /// The login; `None` with a token.
    fn login(login: &Login) -> Option<Self> {
        let or = |mount: &str, default: &str| match mount {
            "" => default.to_owned(),
            mount => mount.to_owned(),
        };
        Some(match login {
            Login::Token(_) => return None,
            Login::AppRole {
                mount,
                role_id,
                secret_id,
            } => Self::post(
                &format!("/v1/auth/{}/login", or(mount, "approle")),
                &json!({ "role_id": role_id.trim(), "secret_id": *secret_id.0 }),
            ),
            Login::ClientCertificate { mount, name } => Self::post(
                &format!("{}/login", or(mount, "/v1/auth/cert")),
                &json!({ "name": name }),
            ),
            Login::Kubernetes { mount, role, jwt } => Self::post(
                &format!("{}/login", or(mount, "/v1/auth/kubernetes")),
                &json!({ "role": role, "jwt": *jwt.0 }),
            ),
        })
    }

    /// Have a request signed. Vault takes names from the fields, where the role lets it, and all are strings.
    fn sign(path: &str, pem: &[u8], duration: SignedDuration) -> Result<Self, Error> {
        let csr = CertificateSigningRequest::parse_pem(pem).map_err(Error::Request)?;
        let sans = csr.sans();
        let addresses = sans.ip_addresses.iter().map(ToString::to_string);
        let body = json!({
            "csr": String::from_utf8_lossy(pem),
            "common_name": csr.subject().common_name().unwrap_or_default(),
            "alt_names": sans.dns_names.join(","),
            "ip_sans": addresses.collect::<Vec<_>>().join(","),
            "uri_sans": sans.uris.join(","),
            "ttl": format_go_duration(duration),
            "exclude_cn_from_sans": "true",
        });
        Ok(Self::post(&format!("/v1/{path}"), &body))
    }

    fn get(path: &str) -> Self {
        Self {
            method: http::Method::GET,
            path: path.to_owned(),
            body: None,
            in_namespace: true,
        }
    }

    fn post(path: &str, body: &Value) -> Self {
        Self {
            method: http::Method::POST,
            body: Some(Zeroizing::new(body.to_string())),
            ..Self::get(path)
        }
    }
}

/// What the state of the server says (contract §6.3): 429, 472 and 473 are standbys, which pass on what they are asked.
fn judge_health(status: u16, refused: impl FnOnce() -> Error) -> Result<(), Error> {
    match status {
        200..=299 | 429 | 472 | 473 => Ok(()),
        501 => Err(Error::NotInitialized),
        503 => Err(Error::Sealed),
        _ => Err(refused()),
    }
}

/// The token in the answer to a login.
fn read_token(body: &[u8]) -> Result<Credential, Error> {
    #[derive(Deserialize)]
    struct Answer {
        auth: Auth,
    }
    #[derive(Deserialize)]
    struct Auth {
        client_token: String,
    }
    let answer: Answer = read("no login", body)?;
    let token = Zeroizing::new(answer.auth.client_token);
    Credential::read(token.as_bytes()).ok_or(Error::Answer("a login without a token"))
}

/// When the token ends, from the answer to a look-up; `None` if it does not.
fn read_expiry(body: &[u8]) -> Result<Option<Timestamp>, Error> {
    #[derive(Deserialize)]
    struct Answer {
        data: Data,
    }
    #[derive(Deserialize)]
    struct Data {
        expire_time: Option<Timestamp>,
    }
    let answer: Answer = read("no token", body)?;
    Ok(answer.data.expire_time)
}

/// A certificate and what goes with it; PEM.
#[derive(Debug, PartialEq, Eq)]
pub struct Signed {
    /// The leaf, and what is above it, without a self-signed root.
    pub certificate: String,
    /// The root-most certificate known; empty if none is.
    pub ca: String,
}

/// The certificate in the answer to a request, with its chain in order (contract §6.1).
fn read_signed(body: &[u8]) -> Result<Signed, Error> {
    #[derive(Deserialize)]
    struct Answer {
        data: Data,
    }
    #[derive(Deserialize)]
    struct Data {
        certificate: String,
        #[serde(default)]
        issuing_ca: Option<String>,
        #[serde(default)]
        ca_chain: Option<Vec<String>>,
    }
    let Data {
        certificate,
        issuing_ca,
        ca_chain,
    } = read::<Answer>("no certificate", body)?.data;
    let leaf = parse_bundle(certificate.as_bytes()).map_err(Error::Certificate)?;
    let leaf = leaf
        .into_iter()
        .next()
        .ok_or(Error::Answer("no certificate"))?;
    let mut bag = vec![];
    for pem in ca_chain.into_iter().flatten().chain(issuing_ca) {
        if !pem.trim().is_empty() {
            bag.extend(parse_bundle(pem.as_bytes()).map_err(Error::Certificate)?);
        }
    }
    let chain = build_chain(&leaf, &bag).map_err(Error::Certificate)?;
    Ok(Signed {
        certificate: chain
            .certificates
            .iter()
            .map(ParsedCertificate::to_pem)
            .collect(),
        ca: chain.ca.map(|ca| ca.to_pem()).unwrap_or_default(),
    })
}

fn read<'a, T: Deserialize<'a>>(what: &'static str, body: &'a [u8]) -> Result<T, Error> {
    // Its message would quote the body.
    serde_json::from_slice(body).map_err(|_| Error::Answer(what))
}

/// A key pair for the connection, both PEM.
pub struct KeyPair<'a> {
    /// Leaf first.
    pub certificate: &'a [u8],
    /// Its private key.
    pub key: &'a [u8],
}
