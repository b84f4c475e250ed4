//! Readiness of an issuer (contract §2.3, §5.1, §6.1, §6.3). The account's key is stored before the CA hears of
//! it, so a crash never loses an account.

mod account;

pub use account::same_server;

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::rotation::{follow, publish, retract};
use super::{Authority, Effect, Login, Observation, Outcome, Settings};
use crate::api::labels;
use crate::api::vault::VaultIssuer;
use crate::api::vault_auth::VaultSpecError;
use crate::api::{Condition, IssuerSpec};
use crate::controllers::action::{Event, Plan, patch_status};
use crate::controllers::key::Kind;
use crate::controllers::rotation::Turn;
use crate::controllers::status::{backoff, condition, set_condition};
use crate::controllers::vault::{Cause, Problem};

const VERIFIED: &str = "KeyPairVerified";

const VAULT_ERROR: &str = "VaultError";

const NOT_SUPPORTED: &str = "NotSupported";

/// The least time between two logins to a Vault that works.
const LOGIN: Duration = Duration::from_secs(10);
/// The longest time between two questions to a Vault that did not do.
const VAULT_PATIENCE: Duration = Duration::from_mins(1);

/// Plan the next step of an issuer.
pub fn plan(o: &Observation, now: Timestamp) -> Plan<Effect> {
    if o.issuer.id.deleting {
        return Plan::idle();
    }
    let spec = &o.issuer.spec;
    if types(spec) != 1 {
        let message = "spec: exactly one of acme, ca, selfSigned, vault and venafi is needed";
        return unready(o, "InvalidConfig", message, now);
    }
    if spec.self_signed.is_some() {
        return ready(o, true, "IsReady", "", Map::new(), now);
    }
    if let Some(acme) = &spec.acme {
        return account::plan(o, acme, now);
    }
    if let Some(ca) = &spec.ca {
        if ca.secret_name.is_empty() {
            let problem = Authority::Unreadable("spec.ca.secretName is empty".into());
            return judge(o, problem, None, now);
        }
        return Plan {
            effect: Some(Effect::LoadAuthority(ca.secret_name.clone())),
            ..Plan::idle()
        };
    }
    if let Some(vault) = &spec.vault {
        return plan_vault(o, vault, now);
    }
    let message = "spec.venafi: this version of Everleaf keeps the field but does not sign with it yet; it signs with \
                   acme, ca, selfSigned and vault";
    unready(o, NOT_SUPPORTED, message, now)
}

/// How many types of issuer a spec is of.
fn types(spec: &IssuerSpec) -> usize {
    let given = [
        spec.acme.is_some(),
        spec.ca.is_some(),
        spec.self_signed.is_some(),
        spec.vault.is_some(),
        spec.venafi.is_some(),
    ];
    given.into_iter().filter(|given| *given).count()
}

/// A Vault that has answered is asked again when its answer is old, or something that it depends on has changed.
fn plan_vault(o: &Observation, vault: &VaultIssuer, now: Timestamp) -> Plan<Effect> {
    match vault.method() {
        Ok(_) => {}
        Err(problem @ VaultSpecError::Aws) => {
            return unready(o, NOT_SUPPORTED, &problem.to_string(), now);
        }
        Err(problem) => {
            let message = Problem::new(Cause::Spec, problem.to_string()).to_string();
            return unready(o, VAULT_ERROR, &message, now);
        }
    }
    let is_said = o.issuer.ready().and_then(|c| c.observed_generation) == Some(o.issuer.generation);
    match o.resting.filter(|until| is_said && *until > now) {
        Some(until) if until == Timestamp::MAX => Plan::idle(),
        Some(until) => Plan::wait(between(now, until)),
        None => Plan {
            effect: Some(Effect::CheckVault),
            ..Plan::idle()
        },
    }
}

/// Whether a Vault can sign. `wake` says until when its answer counts; without one, until something changes.
fn judge_vault(o: &Observation, answer: Result<Login, Problem>, now: Timestamp) -> Plan<Effect> {
    let second = Duration::from_secs(1);
    match answer {
        Ok(Login { until }) => {
            let message = "Vault verified";
            let mut plan = ready(o, true, "VaultVerified", message, Map::new(), now);
            // Vault's clock may be behind ours.
            plan.wake = until.map(|until| (between(now, until) + second).max(LOGIN));
            plan
        }
        Err(problem) => {
            let message = problem.to_string();
            let mut plan = unready(o, VAULT_ERROR, &message, now);
            plan.wake = problem.is_retried().then(|| {
                let failed = o.issuer.ready().filter(|ready| !ready.is_true());
                backoff(failed, now, VAULT_PATIENCE)
            });
            plan
        }
    }
}

/// Plan what follows from an effect.
pub fn absorb(
    o: &Observation,
    settings: &Settings,
    outcome: Outcome,
    now: Timestamp,
) -> Plan<Effect> {
    let outcome = match outcome {
        Outcome::Vault(answer) => return judge_vault(o, answer, now),
        Outcome::Authority(authority) => {
            let signing = match &authority {
                Authority::Usable {
                    not_before,
                    not_after,
                    signing,
                } if (*not_before..=*not_after).contains(&now) => signing.clone(),
                _ => None,
            };
            let turn = follow(o, settings, signing.as_ref(), now);
            return judge(o, authority, turn, now);
        }
        outcome => outcome,
    };
    match &o.issuer.spec.acme {
        Some(acme) => account::absorb(o, acme, outcome, now),
        None => Plan::idle(),
    }
}

/// Whether a CA of the user's own can sign. Its Secret wakes its issuer; time does where the validity begins or ends.
/// `turn` is what becomes of the certificates of the CA.
fn judge(
    o: &Observation,
    authority: Authority,
    turn: Option<Turn>,
    now: Timestamp,
) -> Plan<Effect> {
    let second = Duration::from_secs(1);
    let (problem, wake) = match authority {
        Authority::Usable { not_before, .. } if now < not_before => {
            let problem = format!("certificate is not valid before {not_before}");
            (
                Some(("ErrInvalidKeyPair", problem)),
                Some(between(now, not_before) + second),
            )
        }
        Authority::Usable { not_after, .. } if now > not_after => {
            let problem = format!("certificate has expired at {not_after}");
            (Some(("ErrInvalidKeyPair", problem)), None)
        }
        Authority::Usable { not_after, .. } => (None, Some(between(now, not_after) + second)),
        Authority::Unreadable(problem) => (Some(("ErrGetKeyPair", problem)), None),
        Authority::Invalid(problem) => (Some(("ErrInvalidKeyPair", problem)), None),
    };
    let (reason, message) = match &problem {
        None => (VERIFIED, "Signing CA verified".to_owned()),
        Some((reason, problem)) => (
            *reason,
            format!("Error getting keypair for CA issuer: {problem}"),
        ),
    };
    let mut conditions = conditions(o);
    let judged = set_ready(o, &mut conditions, problem.is_none(), reason, &message, now);
    let mut status = Map::new();
    let mut told = vec![];
    if let Some(turn) = &turn {
        told = publish(o, turn, &mut conditions, &mut status, now);
    } else if o
        .issuer
        .spec
        .ca
        .as_ref()
        .is_none_or(|ca| ca.rotation.is_none())
    {
        retract(o, &mut conditions, &mut status);
    }
    let mut plan = write(o, &conditions, status);
    plan.wake = wake;
    if let Some(wake) = turn.and_then(|turn| turn.wake) {
        plan.sooner(wake);
    }
    if judged {
        plan.events = match problem {
            None => vec![Event::normal(component(o), reason, message)],
            Some((_, problem)) => vec![
                Event::warning(component(o), reason, message),
                not_initialized(o, &problem),
            ],
        };
    }
    plan.events.extend(told);
    plan
}

fn not_initialized(o: &Observation, problem: &str) -> Event {
    let message = format!("Error initializing issuer: {problem}");
    Event::warning(component(o), "ErrInitIssuer", message)
}

pub(super) fn component(o: &Observation) -> &'static str {
    match o.kind {
        Kind::ClusterIssuer => labels::MANAGER_CLUSTERISSUERS,
        _ => labels::MANAGER_ISSUERS,
    }
}

fn ready(
    o: &Observation,
    is_ready: bool,
    reason: &str,
    message: &str,
    status: Map<String, Value>,
    now: Timestamp,
) -> Plan<Effect> {
    let mut conditions = conditions(o);
    set_ready(o, &mut conditions, is_ready, reason, message, now);
    write(o, &conditions, status)
}

/// It cannot sign: that is told when it is written (contract §2.5).
fn unready(o: &Observation, reason: &str, message: &str, now: Timestamp) -> Plan<Effect> {
    let mut plan = ready(o, false, reason, message, Map::new(), now);
    if !plan.actions.is_empty() {
        plan.events.push(not_initialized(o, message));
    }
    plan
}

fn conditions(o: &Observation) -> Vec<Condition> {
    o.issuer.status.conditions.clone().unwrap_or_default()
}

fn set_ready(
    o: &Observation,
    conditions: &mut Vec<Condition>,
    is_ready: bool,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> bool {
    let mut new = condition(
        "Ready",
        is_ready,
        reason,
        message,
        Some(o.issuer.generation),
    );
    new.message = new.message.filter(|m| !m.is_empty());
    set_condition(conditions, new, now)
}

/// Write what differs.
fn write(o: &Observation, new: &[Condition], mut status: Map<String, Value>) -> Plan<Effect> {
    if new != conditions(o) {
        status.insert("conditions".into(), json!(new));
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
