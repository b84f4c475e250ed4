//! What a solver refers to: Secrets, and a service account that a token is made for.

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::Api;
use kube::api::PostParams;

use crate::api::dns01::Dns01Solver;
use crate::api::meta::ServiceAccountRef;
use crate::controllers::reads::{ReadError, Reader};
use crate::solvers::dns01::{Error, ROUTE53_TOKEN, Secrets, needs};

/// Lifetime of a service account's token (contract §5.7).
const TOKEN_SECONDS: i64 = 600;
/// Who takes it, unless the solver says otherwise.
const AUDIENCE: &str = "sts.amazonaws.com";
/// The longest time that it may take to be made.
const DEADLINE: Duration = Duration::from_secs(15);

/// All that a solver refers to, from the namespace of the issuer's Secrets. Each Secret is read once.
///
/// # Errors
/// When nobody could be asked. Inside, permanent: one is not there, which its coming ends.
pub(super) async fn read(
    reader: &Reader,
    home: &str,
    solver: &Dns01Solver,
) -> Result<Result<Secrets, Error>, ReadError> {
    let mut secrets = Secrets::default();
    let mut live: HashMap<&str, Secret> = HashMap::new();
    for need in needs(solver) {
        let name = need.selector.name.as_str();
        let field = need.field;
        if !live.contains_key(name) {
            let Some(found) = reader.live(home, name).await? else {
                return Ok(Err(Error::permanent(format!(
                    "dns01.{field}: Secret \"{name}\" does not exist in namespace \"{home}\": create it"
                ))));
            };
            live.insert(name, found);
        }
        let entry = need.selector.key.as_deref().unwrap_or_default();
        let data = live.get(name).and_then(|secret| secret.data.as_ref());
        let Some(value) = data.and_then(|data| data.get(entry)) else {
            return Ok(Err(Error::permanent(format!(
                "dns01.{field}: Secret \"{name}\" in namespace \"{home}\" has no entry \"{entry}\": add it, or correct key"
            ))));
        };
        secrets.put(field, value.0.clone());
    }
    Ok(Ok(secrets))
}

/// As [`read`], with a token for the service account that the solver names.
///
/// # Errors
/// Permanent when the user can put it right, transient otherwise.
pub(super) async fn all(
    reader: &Reader,
    home: &str,
    solver: &Dns01Solver,
) -> Result<Secrets, Error> {
    let secrets = read(reader, home, solver).await;
    let mut secrets = secrets.map_err(|error| Error::transient(error.to_string()))??;
    let route53 = solver.route53.as_ref();
    if let Some(auth) = route53.and_then(|route53| route53.auth.as_ref()) {
        let token = token(reader, home, &auth.kubernetes.service_account_ref).await?;
        secrets.put(ROUTE53_TOKEN, token.into_bytes());
    }
    Ok(secrets)
}

/// The API server stores nothing of it, so it is no write.
async fn token(reader: &Reader, home: &str, account: &ServiceAccountRef) -> Result<String, Error> {
    let name = &account.name;
    let what = format!(
        "dns01.{ROUTE53_TOKEN}: no token for service account \"{name}\" in namespace \"{home}\""
    );
    let named = account.audiences.clone().unwrap_or_default();
    let request = TokenRequest {
        spec: TokenRequestSpec {
            audiences: if named.is_empty() {
                vec![AUDIENCE.to_owned()]
            } else {
                named
            },
            expiration_seconds: Some(TOKEN_SECONDS),
            bound_object_ref: None,
        },
        ..TokenRequest::default()
    };
    let api: Api<ServiceAccount> = Api::namespaced(reader.client.clone(), home);
    let params = PostParams::default();
    let made = api.create_token_request(name, &params, &request);
    match tokio::time::timeout(DEADLINE, made).await {
        Ok(Ok(made)) => {
            let status = made.status.map(|status| status.token);
            status.ok_or_else(|| Error::transient(what))
        }
        // Nobody watches service accounts and roles: it is asked for again.
        Ok(Err(kube::Error::Api(status))) => {
            Err(Error::transient(format!("{what}: {}", status.message)))
        }
        Ok(Err(_)) | Err(_) => Err(Error::transient(format!(
            "{what}: the API server does not answer"
        ))),
    }
}
