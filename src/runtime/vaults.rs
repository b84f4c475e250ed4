//! The Vaults behind Vault issuers: what is needed of the cluster to ask one, and what its answer means. Nothing of a
//! credential is kept: each question logs in anew (contract §6.3).

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::Api;
use kube::api::PostParams;
use parking_lot::Mutex;

use crate::api::meta::{SecretKeySelector, ServiceAccountRef};
use crate::api::vault::VaultIssuer;
use crate::api::vault_auth::{KubernetesToken, VaultMethod};
use crate::controllers::certificate_request as request;
use crate::controllers::facts::{IssuerFact, digest};
use crate::controllers::issuer;
use crate::controllers::key::{Key, Kind};
use crate::controllers::reads::{ReadError, Reader};
use crate::controllers::store::Store;
use crate::controllers::vault::{Cause, Problem};
use crate::issuers::vault::client::{Server, Vault};
use crate::issuers::vault::{Class, Credential, Error, KeyPair, Login, Signed};

/// Lifetime of a service account's token, as cert-manager asks for it.
const TOKEN_SECONDS: i64 = 600;
/// The longest time that a token may take to be made.
const DEADLINE: Duration = Duration::from_secs(15);

/// What is remembered of the Vaults: which issuers and requests need not ask for now.
#[derive(Default)]
pub struct Vaults(Mutex<HashMap<Key, Rest>>);

struct Rest {
    asked: u64,
    until: Timestamp,
}

/// A failure to get as far as a question.
enum Halt {
    Read(ReadError),
    Problem(Problem),
}

impl From<ReadError> for Halt {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<Problem> for Halt {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl Vaults {
    /// Until when an issuer or a request need not ask, unless what it depends on has changed.
    pub fn resting(&self, store: &Store, key: &Key) -> Option<Timestamp> {
        let rests = self.0.lock();
        let rest = rests.get(key)?;
        (asked(store, key)? == rest.asked).then_some(rest.until)
    }

    /// An issuer or a request need not ask until then; without a time, until something changes.
    pub fn rest(&self, store: &Store, key: &Key, until: Option<Timestamp>) {
        if let Some(asked) = asked(store, key) {
            let until = until.unwrap_or(Timestamp::MAX);
            self.0.lock().insert(key.clone(), Rest { asked, until });
        }
    }

    /// It is gone, or has to ask anew.
    pub fn forget(&self, key: &Key) {
        self.0.lock().remove(key);
    }

    /// An issuer's effect.
    pub async fn check(
        &self,
        reader: &Reader,
        seen: &issuer::Observation,
    ) -> Result<issuer::Outcome, ReadError> {
        let Some(vault) = &seen.issuer.spec.vault else {
            return Ok(issuer::Outcome::Vault(Err(no_longer())));
        };
        let id = &seen.issuer.id;
        let issuer = Key::new(seen.kind, &id.namespace, &id.name);
        let answer = match check(&mut Asking::new(reader, &issuer, vault)).await {
            Ok(until) => Ok(issuer::Login { until }),
            Err(Halt::Problem(problem)) => Err(problem),
            Err(Halt::Read(error)) => return Err(error),
        };
        Ok(issuer::Outcome::Vault(answer))
    }

    /// A request's effect.
    pub async fn sign(
        &self,
        reader: &Reader,
        issuer: &Key,
        vault: &VaultIssuer,
        csr: &[u8],
        duration: SignedDuration,
    ) -> Result<request::Outcome, ReadError> {
        let mut asking = Asking::new(reader, issuer, vault);
        let (server, token) = match log_in(&mut asking).await {
            Ok(session) => session,
            Err(Halt::Read(error)) => return Err(error),
            Err(Halt::Problem(problem)) => return Ok(not_let_in(&problem)),
        };
        let answer = server.sign(&token, &vault.path, csr, duration).await;
        Ok(match answer {
            Ok(Signed { certificate, ca }) => request::Outcome::Signed {
                certificate,
                ca,
                clamped: None,
            },
            Err(error) => not_signed(&error),
        })
    }
}

/// The request waits: its issuer, which is asked too, says the same.
fn not_let_in(problem: &Problem) -> request::Outcome {
    let (reason, doing) = if problem.is_watched && problem.cause == Cause::Credentials {
        ("SecretMissing", "Required secret resource not found")
    } else {
        (
            "VaultInitError",
            "Failed to initialise vault client for signing",
        )
    };
    request::Outcome::Unavailable {
        reason,
        message: format!("{doing}: {problem}"),
    }
}

/// What Vault refuses is the end of the request; what it cannot do now is not.
fn not_signed(error: &Error) -> request::Outcome {
    let class = error.class();
    let cause = match class {
        Class::Forbidden => Cause::Permission,
        Class::Nowhere => Cause::Path,
        Class::Refused | Class::Config => Cause::Refused,
        class => failed(class),
    };
    let said = format!("Vault failed to sign certificate: {error}");
    let message = Problem::new(cause, said).to_string();
    match class {
        Class::Forbidden | Class::Nowhere | Class::Refused | Class::Config => {
            request::Outcome::Refused {
                reason: "SigningError",
                message,
            }
        }
        Class::Unreachable
        | Class::Sealed
        | Class::NotInitialized
        | Class::Failed
        | Class::Token => request::Outcome::Unavailable {
            reason: "VaultInitError",
            message,
        },
    }
}

/// Causes that have nothing to do with what is asked.
fn failed(class: Class) -> Cause {
    match class {
        Class::Unreachable => Cause::Unreachable,
        Class::Sealed => Cause::Sealed,
        Class::NotInitialized => Cause::NotInitialized,
        Class::Token => Cause::Token,
        Class::Forbidden | Class::Refused | Class::Nowhere => Cause::Login,
        Class::Config => Cause::Spec,
        Class::Failed => Cause::Answer,
    }
}

/// Whether a Vault can work and lets us in; when the token ends, if it does.
async fn check(asking: &mut Asking<'_>) -> Result<Option<Timestamp>, Halt> {
    let server = asking.server().await?;
    server.health().await.map_err(|error| {
        let doing = match error.class() {
            Class::Sealed | Class::NotInitialized => "Vault is not initialized or is sealed",
            _ => "Failed to call Vault health check",
        };
        Problem::new(failed(error.class()), format!("{doing}: {error}"))
    })?;
    let login = asking.login().await?;
    let is_token = matches!(login, Login::Token(_));
    let token = server.log_in(login).await.map_err(|e| refused(&e))?;
    if !is_token {
        return Ok(None);
    }
    Ok(server.expiry(&token).await.map_err(|e| refused(&e))?)
}

async fn log_in(asking: &mut Asking<'_>) -> Result<(Vault, Credential), Halt> {
    let server = asking.server().await?;
    let login = asking.login().await?;
    let token = server.log_in(login).await.map_err(|e| refused(&e))?;
    Ok((server, token))
}

fn refused(error: &Error) -> Problem {
    Problem::new(failed(error.class()), init_failed(error))
}

fn init_failed(problem: impl std::fmt::Display) -> String {
    format!("Failed to initialize Vault client: {problem}")
}

/// Something of the cluster is not there that an informer shows when it comes.
fn missing(problem: impl std::fmt::Display) -> Problem {
    Problem {
        is_watched: true,
        ..Problem::new(Cause::Credentials, init_failed(problem))
    }
}

/// What the issuer says, or what is in a Secret, does not do.
fn unusable(problem: impl std::fmt::Display) -> Problem {
    Problem {
        cause: Cause::Spec,
        ..missing(problem)
    }
}

/// The issuer was another one when its effect was planned.
fn no_longer() -> Problem {
    unusable("spec.vault is gone")
}

/// What a question to the Vault of an issuer depends on in the cluster. Each Secret is read once.
struct Asking<'a> {
    reader: &'a Reader,
    issuer: &'a Key,
    home: &'a str,
    vault: &'a VaultIssuer,
    secrets: HashMap<String, Option<Secret>>,
}

impl<'a> Asking<'a> {
    fn new(reader: &'a Reader, issuer: &'a Key, vault: &'a VaultIssuer) -> Self {
        Self {
            reader,
            issuer,
            home: reader.store.home(issuer.kind, &issuer.namespace),
            vault,
            secrets: HashMap::new(),
        }
    }

    /// The way to the Vault; nothing is sent yet.
    async fn server(&mut self) -> Result<Vault, Halt> {
        let method = self.method()?;
        let vault = self.vault;
        let ca_bundle = match (&vault.ca_bundle, &vault.ca_bundle_secret_ref) {
            (Some(bundle), _) if !bundle.0.is_empty() => Some(bundle.0.clone()),
            (_, Some(selector)) => Some(self.selected(selector, "ca.crt").await?),
            _ => None,
        };
        let pair = self.pair(&method).await?;
        let server = Server {
            url: &vault.server,
            name: vault.server_name.as_deref().filter(|name| !name.is_empty()),
            namespace: vault.namespace.as_deref(),
            ca_bundle: ca_bundle.as_deref(),
            identity: pair
                .as_ref()
                .map(|(certificate, key)| KeyPair { certificate, key }),
        };
        // Spec and Secrets: both are watched.
        Ok(Vault::new(&server).map_err(unusable)?)
    }

    /// The client certificate of the connection: that of the login comes first.
    async fn pair(&mut self, method: &VaultMethod<'_>) -> Result<Option<(Vec<u8>, Vec<u8>)>, Halt> {
        let of_login = match method {
            VaultMethod::ClientCertificate(auth) => auth.secret_name.as_deref(),
            _ => None,
        };
        if let Some(name) = of_login.filter(|name| !name.is_empty()) {
            let certificate = self.entry(name, "tls.crt").await?;
            return Ok(Some((certificate, self.entry(name, "tls.key").await?)));
        }
        let vault = self.vault;
        let selectors = (&vault.client_cert_secret_ref, &vault.client_key_secret_ref);
        let (Some(certificate), Some(key)) = selectors else {
            return Ok(None);
        };
        let certificate = self.selected(certificate, "tls.crt").await?;
        Ok(Some((certificate, self.selected(key, "tls.key").await?)))
    }

    fn method(&self) -> Result<VaultMethod<'a>, Problem> {
        self.vault.method().map_err(unusable)
    }

    /// What the login takes.
    async fn login(&mut self) -> Result<Login, Halt> {
        let method = self.method()?;
        let mount = method.mount().unwrap_or_default().to_owned();
        Ok(match method {
            VaultMethod::Token(selector) => Login::Token(self.credential(selector, "token").await?),
            VaultMethod::AppRole(role) => Login::AppRole {
                mount,
                role_id: role.role_id.clone(),
                secret_id: self.credential(&role.secret_ref, "secretId").await?,
            },
            VaultMethod::ClientCertificate(auth) => Login::ClientCertificate {
                mount,
                name: auth.name.clone().unwrap_or_default(),
            },
            VaultMethod::Kubernetes(auth, source) => Login::Kubernetes {
                mount,
                role: auth.role.clone(),
                jwt: match source {
                    KubernetesToken::Secret(selector) => self.credential(selector, "token").await?,
                    KubernetesToken::Requested(account) => self.request_token(account).await?,
                },
            },
        })
    }

    async fn credential(
        &mut self,
        selector: &SecretKeySelector,
        default: &str,
    ) -> Result<Credential, Halt> {
        let entry = self.selected(selector, default).await?;
        Credential::read(&entry).ok_or_else(|| {
            let name = selector.key_or(default);
            missing(format!(
                "entry \"{name}\" of Secret \"{}\" in namespace \"{}\" is empty, or no text",
                selector.name, self.home
            ))
            .into()
        })
    }

    async fn selected(
        &mut self,
        selector: &SecretKeySelector,
        default: &str,
    ) -> Result<Vec<u8>, Halt> {
        self.entry(&selector.name, selector.key_or(default)).await
    }

    async fn entry(&mut self, secret: &str, entry: &str) -> Result<Vec<u8>, Halt> {
        if !self.secrets.contains_key(secret) {
            let live = self.reader.live(self.home, secret).await?;
            self.secrets.insert(secret.to_owned(), live);
        }
        let Some(found) = self.secrets.get(secret).and_then(Option::as_ref) else {
            return Err(missing(format!(
                "secret \"{secret}\" not found in namespace \"{}\"",
                self.home
            ))
            .into());
        };
        let data = found.data.as_ref().and_then(|data| data.get(entry));
        data.map(|ByteString(bytes)| bytes.clone()).ok_or_else(|| {
            missing(format!(
                "no data for \"{entry}\" in secret '{}/{secret}'",
                self.home
            ))
            .into()
        })
    }

    /// A token of a service account, for this issuer alone. The API server stores nothing, so it is no write.
    async fn request_token(&self, account: &ServiceAccountRef) -> Result<Credential, Halt> {
        let api: Api<ServiceAccount> = Api::namespaced(self.reader.client.clone(), self.home);
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: self.audiences(account),
                expiration_seconds: Some(TOKEN_SECONDS),
                bound_object_ref: None,
            },
            ..TokenRequest::default()
        };
        let name = &account.name;
        let params = PostParams::default();
        let made = api.create_token_request(name, &params, &request);
        let refused = |problem: String| {
            // Nobody watches service accounts and roles: it is asked for again.
            Halt::Problem(Problem::new(Cause::Credentials, init_failed(problem)))
        };
        match tokio::time::timeout(DEADLINE, made).await {
            Ok(Ok(made)) => {
                let token = made.status.map(|status| status.token).unwrap_or_default();
                Credential::read(token.as_bytes())
                    .ok_or_else(|| refused("the API server has made an empty token".into()))
            }
            Ok(Err(kube::Error::Api(status))) => Err(refused(format!(
                "no token for service account \"{}/{name}\": {}",
                self.home, status.message
            ))),
            Ok(Err(source)) => Err(ReadError::Api {
                what: format!("a token for service account {}/{name}", self.home),
                source: Box::new(source),
            }
            .into()),
            Err(_) => Err(ReadError::Deadline(format!(
                "a token for service account {}/{name}",
                self.home
            ))
            .into()),
        }
    }

    /// Those that the user names, one that only this issuer has, and the server.
    fn audiences(&self, account: &ServiceAccountRef) -> Vec<String> {
        let issuer = match self.issuer.kind {
            Kind::ClusterIssuer => format!("vault://{}", self.issuer.name),
            _ => format!("vault://{}/{}", self.issuer.namespace, self.issuer.name),
        };
        let named = account.audiences.iter().flatten().cloned();
        named.chain([issuer, self.vault.server.clone()]).collect()
    }
}

/// What the answer of a Vault depends on, as far as it is in the cluster. Of an issuer: itself, and its Secrets. Of a
/// request: its issuer, and whether that is ready.
fn asked(store: &Store, key: &Key) -> Option<u64> {
    if key.kind != Kind::CertificateRequest {
        return Some(of_issuer(
            store,
            key,
            &*store.issuer_named(&key.namespace, &key.name)?,
        ));
    }
    let request = store.request(&key.namespace, &key.name)?;
    let issuer = store.issuer(&key.namespace, &request.issuer)?;
    let ready = issuer.ready().map(|ready| &ready.last_transition_time);
    let since = ready.and_then(|time| time.as_ref().map(|time| time.0));
    let key = request::issuer_key(&issuer);
    Some(digest(&(of_issuer(store, &key, &issuer), since)))
}

fn of_issuer(store: &Store, key: &Key, issuer: &IssuerFact) -> u64 {
    let home = store.home(key.kind, &key.namespace);
    let secrets = issuer.spec.vault.iter().flat_map(VaultIssuer::secrets);
    let versions: Vec<_> = secrets
        .map(|secret| store.secret_version(home, secret))
        .collect();
    digest(&(&issuer.id.uid, issuer.generation, versions))
}
