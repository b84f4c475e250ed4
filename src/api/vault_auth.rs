//! What a [`VaultIssuer`] says, read once: the one way to log in, or the field that is at fault
//! (contract §6.3).

use super::meta::{SecretKeySelector, ServiceAccountRef};
use super::vault::{VaultAppRole, VaultClientCertificateAuth, VaultIssuer, VaultKubernetesAuth};

/// How to log in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum VaultMethod<'a> {
    /// With the token in this entry of a Secret.
    Token(&'a SecretKeySelector),
    /// With an `AppRole`, whose secret ID is in a Secret.
    AppRole(&'a VaultAppRole),
    /// With the TLS client certificate of the connection.
    ClientCertificate(&'a VaultClientCertificateAuth),
    /// With a token of Kubernetes.
    Kubernetes(&'a VaultKubernetesAuth, KubernetesToken<'a>),
}

/// Where the token for a Kubernetes login comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum KubernetesToken<'a> {
    /// An entry of a Secret.
    Secret(&'a SecretKeySelector),
    /// The API server makes one for a service account.
    Requested(&'a ServiceAccountRef),
}

/// Why an issuer cannot be used as it is written. The first words are cert-manager's where it has a
/// check of its own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VaultSpecError {
    /// A field is empty that must not be.
    #[error("{0}")]
    Missing(&'static str),
    /// More than one way to log in.
    #[error(
        "Multiple auth methods cannot be set on the same Vault issuer: spec.vault.auth has {0}; keep one"
    )]
    Several(String),
    /// Two fields exclude each other, or need each other.
    #[error("{0}")]
    Conflict(&'static str),
    /// A path would lead elsewhere than it says.
    #[error("{0} must not have \"..\" in it")]
    Path(&'static str),
    /// There is no code for this way to log in.
    #[error(
        "spec.vault.auth.aws: this version of Everleaf keeps the field but does not log in with it; it logs in \
         with tokenSecretRef, appRole, clientCertificate and kubernetes"
    )]
    Aws,
}

use VaultSpecError::{Aws, Conflict, Missing, Path, Several};

impl VaultIssuer {
    /// The way to log in, if the issuer can be used as it is written.
    pub fn method(&self) -> Result<VaultMethod<'_>, VaultSpecError> {
        if self.server.is_empty() || self.path.is_empty() {
            return Err(Missing("Vault server and path are required fields"));
        }
        let bundle = self.ca_bundle.as_ref().is_some_and(|b| !b.0.is_empty());
        if bundle && self.ca_bundle_secret_ref.is_some() {
            return Err(Conflict(
                "spec.vault.caBundle and caBundleSecretRef exclude each other: keep one",
            ));
        }
        if self.client_cert_secret_ref.is_some() != self.client_key_secret_ref.is_some() {
            return Err(Conflict(
                "spec.vault.clientCertSecretRef and clientKeySecretRef need each other: set both, or none",
            ));
        }
        let method = self.one_method()?;
        for (field, path) in [
            ("spec.vault.path", Some(self.path.as_str())),
            ("the path of the auth method", method.mount()),
        ] {
            if path.is_some_and(|path| path.split('/').any(|part| part == "..")) {
                return Err(Path(field));
            }
        }
        Ok(method)
    }

    /// In the order of precedence.
    fn one_method(&self) -> Result<VaultMethod<'_>, VaultSpecError> {
        let auth = &self.auth;
        let set = [
            ("tokenSecretRef", auth.token_secret_ref.is_some()),
            ("appRole", auth.app_role.is_some()),
            ("clientCertificate", auth.client_certificate.is_some()),
            ("kubernetes", auth.kubernetes.is_some()),
            ("aws", auth.aws.is_some()),
        ];
        let names: Vec<_> = set
            .iter()
            .filter(|(_, set)| *set)
            .map(|(n, _)| *n)
            .collect();
        if names.len() > 1 {
            return Err(Several(names.join(", ")));
        }
        if let Some(token) = &auth.token_secret_ref {
            return match token.name.as_str() {
                "" => Err(Missing("Vault Token auth requires tokenSecretRef.name")),
                _ => Ok(VaultMethod::Token(token)),
            };
        }
        if let Some(role) = &auth.app_role {
            if role.role_id.is_empty() || role.secret_ref.name.is_empty() {
                return Err(Missing(
                    "Vault AppRole auth requires both roleId and tokenSecretRef.name: \
                     spec.vault.auth.appRole needs roleId and secretRef.name",
                ));
            }
            if role
                .secret_ref
                .key
                .as_deref()
                .unwrap_or_default()
                .is_empty()
            {
                return Err(Missing("Vault AppRole auth requires secretRef.key"));
            }
            return Ok(VaultMethod::AppRole(role));
        }
        if let Some(certificate) = &auth.client_certificate {
            return Ok(VaultMethod::ClientCertificate(certificate));
        }
        if let Some(kubernetes) = &auth.kubernetes {
            return by_kubernetes(kubernetes);
        }
        if auth.aws.is_some() {
            return Err(Aws);
        }
        Err(Missing(
            "Vault tokenSecretRef, appRole, clientCertificate, or kubernetes is required",
        ))
    }

    /// Names of the Secrets that the issuer reads.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        let auth = &self.auth;
        let kubernetes = auth.kubernetes.as_ref().and_then(|k| k.secret_ref.as_ref());
        let selectors = [
            self.ca_bundle_secret_ref.as_ref(),
            self.client_cert_secret_ref.as_ref(),
            self.client_key_secret_ref.as_ref(),
            auth.token_secret_ref.as_ref(),
            auth.app_role.as_ref().map(|role| &role.secret_ref),
            kubernetes,
        ];
        let certificate = auth.client_certificate.as_ref();
        selectors
            .into_iter()
            .flatten()
            .map(|selector| selector.name.as_str())
            .chain(certificate.and_then(|c| c.secret_name.as_deref()))
            .filter(|name| !name.is_empty())
    }
}

fn by_kubernetes(kubernetes: &VaultKubernetesAuth) -> Result<VaultMethod<'_>, VaultSpecError> {
    if kubernetes.role.is_empty() {
        return Err(Missing("Vault Kubernetes auth requires a role to be set"));
    }
    let secret = kubernetes
        .secret_ref
        .as_ref()
        .filter(|s| !s.name.is_empty());
    let account = kubernetes
        .service_account_ref
        .as_ref()
        .filter(|s| !s.name.is_empty());
    let token = match (secret, account) {
        (Some(secret), None) => KubernetesToken::Secret(secret),
        (None, Some(account)) => KubernetesToken::Requested(account),
        (None, None) => {
            return Err(Missing(
                "Vault Kubernetes auth requires either secretRef.name or serviceAccountRef.name to be set",
            ));
        }
        (Some(_), Some(_)) => {
            return Err(Conflict(
                "Vault Kubernetes auth cannot be used with both secretRef.name and serviceAccountRef.name",
            ));
        }
    };
    Ok(VaultMethod::Kubernetes(kubernetes, token))
}

impl VaultMethod<'_> {
    /// Where the auth method is mounted, as it is written; absent and empty mean the default of the
    /// method.
    pub fn mount(&self) -> Option<&str> {
        let path = match self {
            Self::Token(_) => None,
            Self::AppRole(role) => Some(role.path.as_str()),
            Self::ClientCertificate(certificate) => certificate.mount_path.as_deref(),
            Self::Kubernetes(kubernetes, _) => kubernetes.mount_path.as_deref(),
        };
        path.filter(|path| !path.is_empty())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use serde_json::{Value, json};

    use super::*;

    fn issuer(more: &Value) -> VaultIssuer {
        let mut spec = json!({ "server": "https://vault", "path": "pki/sign/app", "auth": {} });
        json_patch::merge(&mut spec, more);
        serde_json::from_value(spec).unwrap()
    }

    fn token() -> Value {
        json!({ "name": "vault" })
    }

    fn role() -> Value {
        json!({ "path": "", "roleId": "id", "secretRef": { "name": "role", "key": "secretId" } })
    }

    fn account() -> Value {
        json!({ "role": "app", "serviceAccountRef": { "name": "vault" } })
    }

    #[test]
    fn the_one_method_is_found() {
        for (auth, mount) in [
            (json!({ "tokenSecretRef": token() }), None),
            (json!({ "appRole": role() }), None),
            (json!({ "clientCertificate": {} }), None),
            (
                json!({ "clientCertificate": { "mountPath": "/v1/auth/tls" } }),
                Some("/v1/auth/tls"),
            ),
            (json!({ "kubernetes": account() }), None),
            (
                json!({ "kubernetes": { "role": "app", "secretRef": token(), "mountPath": "/v1/auth/k" } }),
                Some("/v1/auth/k"),
            ),
        ] {
            let issuer = issuer(&json!({ "auth": auth }));
            assert_eq!(issuer.method().unwrap().mount(), mount, "{auth}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let both = json!({ "role": "app", "secretRef": token(), "serviceAccountRef": { "name": "vault" } });
        let mut keyless = role();
        json_patch::merge(&mut keyless, &json!({ "secretRef": { "key": null } }));
        let ok = json!({ "tokenSecretRef": token() });
        for (more, says) in [
            (json!({ "server": "" }), "server and path are required"),
            (json!({ "path": "" }), "server and path are required"),
            (
                json!({}),
                "tokenSecretRef, appRole, clientCertificate, or kubernetes is required",
            ),
            (
                json!({ "auth": { "tokenSecretRef": token(), "appRole": role() } }),
                "Multiple auth methods cannot be set on the same Vault issuer: spec.vault.auth has \
                 tokenSecretRef, appRole",
            ),
            (
                json!({ "auth": { "kubernetes": account(), "aws": { "role": "a" } } }),
                "Multiple auth methods",
            ),
            (
                json!({ "auth": { "aws": { "role": "a" } } }),
                "spec.vault.auth.aws",
            ),
            (
                json!({ "auth": { "tokenSecretRef": { "name": "" } } }),
                "tokenSecretRef.name",
            ),
            (
                json!({ "auth": { "appRole": { "path": "", "roleId": "", "secretRef": token() } } }),
                "roleId",
            ),
            (json!({ "auth": { "appRole": keyless } }), "secretRef.key"),
            (
                json!({ "auth": { "kubernetes": { "role": "" } } }),
                "requires a role",
            ),
            (
                json!({ "auth": { "kubernetes": { "role": "a" } } }),
                "requires either",
            ),
            (
                json!({ "auth": { "kubernetes": both } }),
                "cannot be used with both",
            ),
            (
                json!({ "auth": ok, "caBundle": "YQ==", "caBundleSecretRef": token() }),
                "exclude each other",
            ),
            (
                json!({ "auth": ok, "clientCertSecretRef": token() }),
                "need each other",
            ),
            (
                json!({ "auth": ok, "path": "pki/../sys/raw" }),
                "spec.vault.path must not",
            ),
            (
                json!({ "auth": { "appRole": { "path": "a/../b", "roleId": "id",
                    "secretRef": { "name": "r", "key": "k" } } } }),
                "the path of the auth method must not",
            ),
        ] {
            let error = issuer(&more).method().unwrap_err().to_string();
            assert!(error.contains(says), "{more}: {error}");
        }
        assert!(
            issuer(&json!({ "auth": ok, "path": "pki/..a/sign" }))
                .method()
                .is_ok()
        );
    }

    #[test]
    fn every_secret_is_listed() {
        let issuer = issuer(&json!({
            "caBundleSecretRef": { "name": "a" },
            "clientCertSecretRef": { "name": "b" },
            "clientKeySecretRef": { "name": "c" },
            "auth": {
                "tokenSecretRef": { "name": "d" },
                "appRole": { "path": "", "roleId": "", "secretRef": { "name": "e" } },
                "kubernetes": { "role": "", "secretRef": { "name": "f" } },
                "clientCertificate": { "secretName": "g" },
            },
        }));
        assert_eq!(issuer.secrets().collect::<String>(), "abcdefg");
    }
}
