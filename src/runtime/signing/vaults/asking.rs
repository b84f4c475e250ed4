//! What a question to the Vault of an issuer takes out of the cluster.

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::Api;
use kube::api::PostParams;

use super::{Halt, init_failed, missing, unusable};
use crate::api::meta::{SecretKeySelector, ServiceAccountRef};
use crate::api::vault::VaultIssuer;
use crate::api::vault_auth::{KubernetesToken, VaultMethod};
use crate::controllers::key::{Key, Kind};
use crate::controllers::reads::{ReadError, Reader};
use crate::controllers::vault::{Cause, Problem};
use crate::issuers::vault::client::{Server, Vault};
use crate::issuers::vault::{Credential, KeyPair, Login};

/// Lifetime of a service account's token, as cert-manager asks for it.
const TOKEN_SECONDS: i64 = 600;
/// The longest time that a token may take to be made.
const DEADLINE: Duration = Duration::from_secs(15);

/// What a question to the Vault of an issuer depends on in the cluster. Each Secret is read once.
pub(super) struct Asking<'a> {
    reader: &'a Reader,
    issuer: &'a Key,
    home: &'a str,
    vault: &'a VaultIssuer,
    secrets: HashMap<String, Option<Secret>>,
}

impl<'a> Asking<'a> {
    pub(super) fn new(reader: &'a Reader, issuer: &'a Key, vault: &'a VaultIssuer) -> Self {
        Self {
            reader,
            issuer,
            home: reader.store.home(issuer.kind, &issuer.namespace),
            vault,
            secrets: HashMap::new(),
        }
    }

    /// The way to the Vault; nothing is sent yet.
    pub(super) async fn server(&mut self) -> Result<Vault, Halt> {
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
    pub(super) async fn login(&mut self) -> Result<Login, Halt> {
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
