//! Readiness of an issuer (contract §2.3, §5.1). The account's key is stored before the CA hears of
//! it, so a crash never loses an account.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Effect, Observation, Outcome, Retry};
use crate::api::acme_issuer::AcmeIssuer;
use crate::api::labels;
use crate::controllers::action::{Action, Event, Object, Plan, patch_status};
use crate::controllers::key::Kind;
use crate::controllers::status::{condition, set_condition};

const REGISTERED: &str = "The ACME account was registered with the ACME server";

/// How long a CA that refused is left alone when trying again is of no use by itself.
const PERMANENT: Duration = Duration::from_mins(10);
/// How long a CA that could not be reached is left alone.
const TRANSIENT: Duration = Duration::from_secs(10);
/// The longest time that a CA may ask for: what it says is its word only.
const PATIENCE: Duration = Duration::from_hours(6);

/// Plan the next step of an issuer.
pub fn plan(o: &Observation, now: Timestamp) -> Plan<Effect> {
    if o.issuer.id.deleting {
        return Plan::idle();
    }
    let spec = &o.issuer.spec;
    if spec.self_signed.is_some() {
        return ready(o, true, "IsReady", "", Map::new(), now);
    }
    if let Some(acme) = &spec.acme {
        return plan_acme(o, acme, now);
    }
    let kind = [
        ("ca", spec.ca.is_some()),
        ("vault", spec.vault.is_some()),
        ("venafi", spec.venafi.is_some()),
    ];
    if let Some((kind, _)) = kind.into_iter().find(|(_, set)| *set) {
        let message = format!(
            "spec.{kind}: this version of Everleaf keeps the field but does not sign with it yet; it signs \
             with acme and selfSigned"
        );
        ready(o, false, "NotSupported", &message, Map::new(), now)
    } else {
        let message = "spec: exactly one of acme, ca, selfSigned, vault and venafi is needed";
        ready(o, false, "InvalidConfig", message, Map::new(), now)
    }
}

fn plan_acme(o: &Observation, acme: &AcmeIssuer, now: Timestamp) -> Plan<Effect> {
    if acme.server.contains("acme-v01.api.letsencrypt.org")
        || acme.server.contains("acme-staging.api.letsencrypt.org")
    {
        let message = "spec.acme.server: this is the ACME v1 endpoint, which is gone; use \
                       https://acme-v02.api.letsencrypt.org/directory";
        return ready(o, false, "InvalidConfig", message, Map::new(), now);
    }
    let effect = match &o.loaded {
        None => Effect::LoadAccountKey,
        Some(hash) if !is_registered(o, acme, hash) => {
            // Words of the CA that differ each time are written each time, and wake each time.
            match o.resting.filter(|until| *until > now) {
                Some(until) => return Plan::wait(between(now, until)),
                None => Effect::Register,
            }
        }
        Some(_) => return Plan::idle(),
    };
    Plan {
        effect: Some(effect),
        ..Plan::idle()
    }
}

/// What lets cert-manager, and us, leave the CA alone (contract §5.1).
fn is_registered(o: &Observation, acme: &AcmeIssuer, hash: &str) -> bool {
    let status = o.issuer.status.acme.clone().unwrap_or_default();
    let uri = status.uri.unwrap_or_default();
    o.issuer.is_ready()
        && !uri.is_empty()
        && host(&uri) == host(&acme.server)
        && status.last_registered_email.unwrap_or_default() == email(acme)
        && status.last_private_key_hash.as_deref() == Some(hash)
        && o.issuer.ready().and_then(|c| c.observed_generation) == Some(o.issuer.generation)
}

fn email(acme: &AcmeIssuer) -> String {
    acme.email.clone().unwrap_or_default()
}

fn host(url: &str) -> Option<String> {
    url.parse::<http::Uri>()
        .ok()?
        .authority()
        .map(ToString::to_string)
}

/// Plan what follows from an effect.
pub fn absorb(o: &Observation, outcome: Outcome, now: Timestamp) -> Plan<Effect> {
    let Some(acme) = &o.issuer.spec.acme else {
        return Plan::idle();
    };
    match outcome {
        Outcome::KeyLoaded(hash) if is_registered(o, acme, &hash) => Plan::idle(),
        // The next plan finds the key loaded.
        Outcome::KeyLoaded(_) => Plan::wait(Duration::ZERO),
        Outcome::KeyMade(secret) => Plan {
            actions: vec![Action::Ensure(Box::new(Object::Secret(*secret)))],
            wake: Some(Duration::ZERO),
            ..Plan::idle()
        },
        Outcome::KeyMissing(message) => {
            ready(o, false, "ErrVerifyACMEAccount", &message, Map::new(), now)
        }
        Outcome::Registered {
            uri,
            email,
            key_hash,
        } => {
            let account = json!({
                "uri": uri,
                "lastRegisteredEmail": email,
                "lastPrivateKeyHash": key_hash,
            });
            let status = Map::from_iter([("acme".to_owned(), account)]);
            ready(o, true, "ACMEAccountRegistered", REGISTERED, status, now)
        }
        Outcome::Refused {
            reason,
            message,
            retry,
        } => {
            let mut plan = ready(o, false, reason, &message, Map::new(), now);
            plan.wake = Some(match retry {
                Retry::OnChange => PERMANENT,
                Retry::Soon => TRANSIENT,
                Retry::At(time) => between(now, time).clamp(TRANSIENT, PATIENCE),
            });
            if !plan.actions.is_empty() {
                let component = match o.kind {
                    Kind::ClusterIssuer => labels::MANAGER_CLUSTERISSUERS,
                    _ => labels::MANAGER_ISSUERS,
                };
                let message = format!("Error initializing issuer: {message}");
                plan.events
                    .push(Event::warning(component, "ErrInitIssuer", message));
            }
            plan
        }
    }
}

fn ready(
    o: &Observation,
    is_ready: bool,
    reason: &str,
    message: &str,
    mut status: Map<String, Value>,
    now: Timestamp,
) -> Plan<Effect> {
    let mut conditions = o.issuer.status.conditions.clone().unwrap_or_default();
    let mut new = condition(
        "Ready",
        is_ready,
        reason,
        message,
        Some(o.issuer.generation),
    );
    new.message = new.message.filter(|m| !m.is_empty());
    if set_condition(&mut conditions, new, now) {
        status.insert("conditions".into(), json!(conditions));
    }
    if status.is_empty() {
        return Plan::idle();
    }
    Plan {
        actions: vec![patch_status(o.kind, &o.issuer.id, Value::Object(status))],
        ..Plan::idle()
    }
}

fn between(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or_default()
}
