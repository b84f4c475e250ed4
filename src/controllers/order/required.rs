//! The Challenges that an Order needs: one for each authorization that is not valid yet.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::Observation;
use crate::acme::{dns01_value, key_authorization};
use crate::api::acme_issuer::AcmeIssuer;
use crate::api::order::{OrderAuthorization, OrderChallenge};
use crate::api::solver::Solver;
use crate::api::{Challenge, ChallengeSpec, labels, names};
use crate::solvers::overrides::overridden;
use crate::solvers::pick::{Wanted, pick};

/// Why an authorization cannot be solved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoSolver(pub String);

/// What is said of a token that is not used.
pub fn bad_token(domain: &str) -> String {
    format!("the token of a challenge for \"{domain}\" is not base64url of at most 128 characters")
}

/// The Challenges of all authorizations that need one.
pub fn required(
    o: &Observation,
    acme: &AcmeIssuer,
    thumbprint: &str,
) -> Result<Vec<Challenge>, NoSolver> {
    let status = o.order.status.clone().unwrap_or_default();
    let open = status.authorizations.unwrap_or_default();
    let open = open
        .into_iter()
        .filter(|a| a.initial_state.as_deref() != Some("valid"));
    open.map(|authorization| challenge(o, acme, thumbprint, &authorization))
        .collect()
}

fn challenge(
    o: &Observation,
    acme: &AcmeIssuer,
    thumbprint: &str,
    authorization: &OrderAuthorization,
) -> Result<Challenge, NoSolver> {
    let domain = authorization.identifier.clone().unwrap_or_default();
    let wildcard = authorization.wildcard.unwrap_or_default();
    let offered = authorization.challenges.as_deref().unwrap_or_default();
    let types: Vec<&str> = offered.iter().map(|c| c.type_.as_str()).collect();
    let solvers = acme.solvers.as_deref().unwrap_or_default();
    let order_labels = o.order.metadata.labels.clone().unwrap_or_default();
    let wanted = Wanted {
        name: &domain,
        wildcard,
        labels: &order_labels,
        offered: &types,
    };
    let choice = pick(solvers, &wanted).map_err(|e| NoSolver(e.to_string()))?;
    let (Some(solver), Some(offer)) = (solvers.get(choice.solver), offered.get(choice.challenge))
    else {
        return Err(NoSolver(format!(
            "no configured challenge solver can be used for \"{domain}\""
        )));
    };
    let annotations = o.order.metadata.annotations.clone().unwrap_or_default();
    let solver = overridden(solver.clone(), &annotations).map_err(|e| NoSolver(e.to_string()))?;
    build(
        o,
        authorization,
        offer,
        solver,
        &domain,
        wildcard,
        thumbprint,
    )
}

fn build(
    o: &Observation,
    authorization: &OrderAuthorization,
    offer: &OrderChallenge,
    solver: Solver,
    domain: &str,
    wildcard: bool,
    thumbprint: &str,
) -> Result<Challenge, NoSolver> {
    let dns = offer.type_ == "dns-01";
    let authorized = key_authorization(&offer.token, thumbprint);
    let authorized = authorized.ok_or_else(|| NoSolver(bad_token(domain)))?;
    let spec = ChallengeSpec {
        authorization_url: authorization.url.clone(),
        dns_name: domain.to_owned(),
        issuer_ref: o.order.spec.issuer_ref.clone(),
        key: if dns {
            dns01_value(&authorized)
        } else {
            authorized
        },
        solver,
        token: offer.token.clone(),
        type_: if dns { "DNS-01" } else { "HTTP-01" }.into(),
        url: offer.url.clone(),
        wildcard: Some(wildcard),
    };
    let meta = &o.order.metadata;
    let order = meta.name.clone().unwrap_or_default();
    let name = names::challenge_name(&order, &spec).map_err(|e| NoSolver(e.to_string()))?;
    Ok(Challenge {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: meta.namespace.clone(),
            // Before any side effect, and without a write of its own.
            finalizers: Some(vec![labels::CHALLENGE_FINALIZER.into()]),
            owner_references: Some(vec![OwnerReference {
                api_version: "acme.cert-manager.io/v1".into(),
                kind: "Order".into(),
                name: order,
                uid: meta.uid.clone().unwrap_or_default(),
                controller: Some(true),
                block_owner_deletion: Some(true),
            }]),
            ..ObjectMeta::default()
        },
        spec,
        status: None,
    })
}
