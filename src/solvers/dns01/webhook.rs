//! A solver of another project, behind an aggregated API of the cluster (contract §5.8). It is asked by the API server on
//! our behalf, so whoever may ask it is a matter of RBAC: `create` on its group.

use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::header::CONTENT_TYPE;
use kube::Client;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Error, Provider, Record, said};
use crate::api::dns01;
use crate::net::escape;

/// For one call, which may write to a slow DNS service; cert-manager has none.
const DEADLINE: Duration = Duration::from_mins(1);
const PAYLOAD: &str = "webhook.acme.cert-manager.io/v1alpha1";

/// A webhook solver.
pub struct Webhook {
    group: String,
    solver: String,
    config: Value,
    /// The namespace of the issuer's Secrets.
    home: String,
    ambient: bool,
    client: Client,
}

/// Makes the provider; nothing is sent. `home` is the namespace of the issuer's Secrets, `ambient` whether the issuer may
/// use credentials of the solver's own surroundings.
///
/// # Errors
/// Permanent: the spec does not do.
pub fn provider(
    spec: &dns01::WebhookProvider,
    home: &str,
    ambient: bool,
    client: Client,
) -> Result<Webhook, Error> {
    let field = |name: &str, value: &str| {
        // A dot alone would be a step on the way.
        let fits = !value.is_empty() && value.chars().any(|c| c != '.');
        fits.then(|| escape(value)).ok_or_else(|| {
            Error::permanent(format!(
                "dns01.webhook.{name}: \"{value}\" is no name: correct it"
            ))
        })
    };
    Ok(Webhook {
        group: field("groupName", &spec.group_name)?,
        solver: field("solverName", &spec.solver_name)?,
        config: spec.config.clone().unwrap_or_default(),
        home: home.to_owned(),
        ambient,
        client,
    })
}

#[derive(Deserialize)]
struct Answer {
    response: Option<Response>,
}

#[derive(Deserialize)]
struct Response {
    #[serde(default)]
    success: bool,
    status: Option<Said>,
}

/// Of a `metav1.Status`.
#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    message: String,
}

impl Webhook {
    async fn call(&self, action: &str, record: &Record) -> Result<(), Error> {
        let Self { group, solver, .. } = self;
        let (place, name) = (format!("/apis/{group}/v1alpha1/{solver}"), self.name());
        let request = http::Request::post(place)
            .header(CONTENT_TYPE, "application/json")
            .body(self.payload(action, record).to_string().into_bytes())
            .map_err(|_| Error::permanent(format!("{name}: its name is no part of a URL")))?;
        let answer = tokio::time::timeout(DEADLINE, self.client.request::<Answer>(request)).await;
        let answer = answer.map_err(|_| {
            let seconds = DEADLINE.as_secs();
            Error::transient(format!("{name} does not answer within {seconds} s"))
        })?;
        let response = answer.map_err(|error| self.refused(&error))?.response;
        match response {
            Some(Response { success: true, .. }) => Ok(()),
            Some(Response {
                status: Some(status),
                ..
            }) => Err(Error::transient(format!(
                "{name}: {}",
                said(&status.message)
            ))),
            _ => Err(Error::transient(format!(
                "{name} fails and does not say why"
            ))),
        }
    }

    fn name(&self) -> String {
        format!("webhook solver {} of group {}", self.solver, self.group)
    }

    fn refused(&self, error: &kube::Error) -> Error {
        let name = self.name();
        match error {
            kube::Error::Api(status) if status.code == 403 => Error::permanent(format!(
                "{name}: Everleaf may not ask it: let a ClusterRole with the verb create on {}.{} be bound to its service \
                 account",
                self.solver, self.group
            )),
            kube::Error::Api(status) if status.code == 404 => Error::transient(format!(
                "{name} is not there: install it, or correct dns01.webhook in the issuer (APIService v1alpha1.{})",
                self.group
            )),
            kube::Error::Api(status) => {
                Error::transient(format!("{name}: {}", said(&status.message)))
            }
            // Words of libraries, with addresses and the like.
            _ => Error::transient(format!("{name}: the API server cannot be asked for it")),
        }
    }

    fn payload(&self, action: &str, record: &Record) -> Value {
        json!({
            "apiVersion": PAYLOAD,
            "kind": "ChallengePayload",
            "request": {
                "uid": "",
                "action": action,
                "type": "dns-01",
                "dnsName": record.domain,
                "key": record.value,
                "resourceNamespace": self.home,
                "resolvedFQDN": record.name,
                "resolvedZone": record.zone,
                "allowAmbientCredentials": self.ambient,
                "config": self.config,
            },
        })
    }
}

impl Provider for Webhook {
    fn present<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<(), Error>> {
        self.call("Present", record).boxed()
    }

    fn clean_up<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<(), Error>> {
        self.call("CleanUp", record).boxed()
    }
}
