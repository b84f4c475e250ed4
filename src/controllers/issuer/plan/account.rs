//! The ACME account of an issuer: its key, its registration, and another key for it (contract §5.1, RFC 8555 §7.3).

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, json};

use super::{between, component, conditions, ready, unready, write};
use crate::acme::limits::refusal_delay;
use crate::api::acme_issuer::AcmeIssuer;
use crate::api::labels;
use crate::controllers::action::{Action, Event, Object, Plan, SecretObject, SecretPatch};
use crate::controllers::issuer::{Effect, Observation, Outcome, Retry, Solvers};
use crate::controllers::order;
use crate::controllers::status::doubled;
use crate::explain::{Code, Verdict};

const REGISTERED: &str = "The ACME account was registered with the ACME server";

/// How long a CA that could not be reached is left alone at first; each time in a row doubles it (contract §5.1).
const FAULT: Duration = Duration::from_secs(5);
const FAULT_MOST: Duration = Duration::from_mins(5);
/// The least time that a CA is left alone that asks for patience.
const LEAST: Duration = Duration::from_mins(1);
/// The longest time that a CA may ask for: what it says is its word only.
const MOST: Duration = Duration::from_hours(7 * 24);

pub(super) fn plan(o: &Observation, acme: &AcmeIssuer, now: Timestamp) -> Plan<Effect> {
    if acme.server.contains("acme-v01.api.letsencrypt.org")
        || acme.server.contains("acme-staging.api.letsencrypt.org")
    {
        let message = "spec.acme.server: this is the ACME v1 endpoint, which is gone; use \
                       https://acme-v02.api.letsencrypt.org/directory";
        return unready(o, "InvalidConfig", message, now);
    }
    let knows_the_key = o.loaded.is_some() && !o.account.staged && o.account.blocked.is_none();
    if let Solvers::Faulty(problem) = &o.solvers
        && knows_the_key
    {
        // Its Secrets wake it.
        return unready(o, "InvalidSolver", problem, now);
    }
    let Some(effect) = next(o, acme) else {
        return registered(o, now);
    };
    if effect == Effect::Register
        && let Some((until, message)) = forgets(o).filter(|(until, _)| *until > now)
    {
        return Plan {
            wake: Some(between(now, until)),
            ..unready(o, "ErrVerifyACMEAccount", &message, now)
        };
    }
    let asks = !matches!(
        effect,
        Effect::LoadAccountKey | Effect::Block(_) | Effect::CheckSolvers
    );
    // Words of the CA that differ each time are written each time, and wake each time.
    if let Some(until) = o.resting.filter(|until| asks && *until > now) {
        return Plan::wait(between(now, until));
    }
    Plan {
        effect: Some(effect),
        ..Plan::idle()
    }
}

/// Until when an account that the CA does not know, though it was registered again already, is left as it is, and why: servers behind
/// one name that do not share their accounts would be asked without end.
fn forgets(o: &Observation) -> Option<(Timestamp, String)> {
    let (last, times) = o.account.registered_again.filter(|_| o.account.unknown)?;
    let until = last.checked_add(refusal_delay(times)).ok()?;
    let message = format!(
        "The CA does not know the ACME account that it took at {last:.0}, when it was registered again: servers behind its URL may not \
         share their accounts. Next attempt at {until:.0}, or as soon as the issuer or one of its Secrets has changed"
    );
    Some((until, message))
}

fn next(o: &Observation, acme: &AcmeIssuer) -> Option<Effect> {
    let Some(hash) = &o.loaded else {
        return Some(Effect::LoadAccountKey);
    };
    // Which of the two keys the CA has must be known before it is asked anything with one of them.
    if o.account.staged {
        return Some(Effect::ChangeKey);
    }
    if let Some(why) = &o.account.blocked {
        return Some(Effect::Block(why.clone()));
    }
    if o.solvers == Solvers::Unknown {
        return Some(Effect::CheckSolvers);
    }
    if o.account.unknown || !is_registered(o, acme, hash) {
        return Some(Effect::Register);
    }
    let wish = o.issuer.account_key.rotate.as_ref();
    (wish.is_some() && wish != o.account.rotation.as_ref()).then_some(Effect::StageKey)
}

/// Nothing is to be asked of the CA: store what is known of its limits, and say what is wrong with what the issuer says of
/// them.
fn registered(o: &Observation, now: Timestamp) -> Plan<Effect> {
    let mut status = Map::new();
    let stored = o
        .issuer
        .status
        .acme
        .as_ref()
        .and_then(|acme| acme.limits.as_ref());
    if o.limits.is_some() && o.limits.as_ref() != stored {
        status.insert("acme".into(), json!({ "limits": o.limits }));
    }
    let wrong = order::policy(&o.issuer, 1)
        .and_then(Result::err)
        .map(|wrong| {
            let text = format!(
                "metadata.annotations[{}]: {wrong}",
                labels::ACME_LIMITS_ANNOTATION
            );
            Verdict::new(Code::LIMITS_UNREADABLE, text).to_string()
        });
    let said = o.issuer.ready().and_then(|ready| ready.message.as_deref());
    let is_said = said.is_some_and(|said| said.contains(&Code::LIMITS_UNREADABLE.to_string()));
    if wrong.is_none() && !is_said {
        return write(o, &conditions(o), status);
    }
    let wrong = wrong.map(|wrong| format!("{REGISTERED}. {wrong}"));
    let message = wrong.as_deref().unwrap_or(REGISTERED);
    ready(o, true, "ACMEAccountRegistered", message, status, now)
}

/// What lets cert-manager, and us, leave the CA alone (contract §5.1).
fn is_registered(o: &Observation, acme: &AcmeIssuer, hash: &str) -> bool {
    let status = o.issuer.status.acme.clone().unwrap_or_default();
    let uri = status.uri.unwrap_or_default();
    o.issuer.is_ready()
        && !uri.is_empty()
        && same_server(&uri, &acme.server)
        && status.last_registered_email.unwrap_or_default() == email(acme)
        && status.last_private_key_hash.as_deref() == Some(hash)
        && o.issuer.ready().and_then(|c| c.observed_generation) == Some(o.issuer.generation)
}

fn email(acme: &AcmeIssuer) -> String {
    acme.email.clone().unwrap_or_default()
}

/// Whether the URL of an account is one of this server, as its directory's URL has it.
pub fn same_server(account: &str, server: &str) -> bool {
    let host = |url: &str| Some(url.parse::<http::Uri>().ok()?.authority()?.to_string());
    let host_of_account = host(account);
    host_of_account.is_some() && host_of_account == host(server)
}

pub(super) fn absorb(
    o: &Observation,
    acme: &AcmeIssuer,
    outcome: Outcome,
    now: Timestamp,
) -> Plan<Effect> {
    match outcome {
        Outcome::Authority(_) | Outcome::Vault(_) => Plan::idle(),
        Outcome::KeyLoaded(hash) if is_at_rest(o, acme, &hash) && o.solvers != Solvers::Unknown => {
            registered(o, now)
        }
        // The next plan finds the key loaded, and what is known of the Secrets.
        Outcome::KeyLoaded(_) | Outcome::SolversChecked => Plan::wait(Duration::ZERO),
        Outcome::KeyMade(secret) => Plan {
            events: replaced(o, &secret).into_iter().collect(),
            actions: vec![Action::Ensure(Box::new(Object::Secret(*secret)))],
            wake: Some(Duration::ZERO),
            ..Plan::idle()
        },
        // The Secret wakes its issuer, which reads it again.
        Outcome::KeyStaged(patch) => patched(patch),
        Outcome::KeyChanged(patch) => Plan {
            events: vec![Event::normal(
                component(o),
                "AccountKeyChanged",
                "The CA has taken another key for the ACME account",
            )],
            ..patched(patch)
        },
        Outcome::KeyKept { patch, message } => Plan {
            actions: patch.into_iter().map(write_secret).collect(),
            events: vec![Event::warning(component(o), "AccountKeyKept", message)],
            wake: Some(refusal_delay(u32::MAX)),
            ..Plan::idle()
        },
        Outcome::KeyMissing(message) => unready(o, "ErrVerifyACMEAccount", &message, now),
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
        } => refused(o, reason, &message, retry, now),
    }
}

/// Whether a key that has just been loaded leaves nothing to do: what else is known of it was not known yet.
fn is_at_rest(o: &Observation, acme: &AcmeIssuer, hash: &str) -> bool {
    is_registered(o, acme, hash) && !o.account.staged && o.issuer.account_key.rotate.is_none()
}

fn write_secret(patch: SecretPatch) -> Action {
    Action::PatchAccountSecret(Box::new(patch))
}

fn patched(patch: SecretPatch) -> Plan<Effect> {
    Plan {
        actions: vec![write_secret(patch)],
        ..Plan::idle()
    }
}

fn refused(
    o: &Observation,
    reason: &'static str,
    message: &str,
    retry: Retry,
    now: Timestamp,
) -> Plan<Effect> {
    let wake = match retry {
        Retry::OnChange => refusal_delay(o.account.refusals.saturating_add(1)),
        Retry::Soon => doubled(FAULT, o.account.faults, FAULT_MOST),
        Retry::At(time) => between(now, time).clamp(LEAST, MOST),
    };
    let until = now.checked_add(wake).unwrap_or(Timestamp::MAX);
    let note = match retry {
        Retry::OnChange => format!(
            ". Next attempt at {until:.0}, or as soon as the issuer or one of its Secrets has changed"
        ),
        Retry::Soon => String::new(),
        Retry::At(_) => format!(". Next attempt at {until:.0}, as the CA asks"),
    };
    let message = format!("{message}{note}");
    Plan {
        wake: Some(wake),
        ..unready(o, reason, &message, now)
    }
}

/// There was an account already, whose key is not there any more: somebody may know where it is.
fn replaced(o: &Observation, made: &SecretObject) -> Option<Event> {
    let account = o.issuer.status.acme.as_ref()?.uri.as_deref()?;
    let server = &o.issuer.spec.acme.as_ref()?.server;
    if !same_server(account, server) {
        // It is another server's, whose issuer this was.
        return None;
    }
    let meta = &made.0.metadata;
    let (name, namespace) = (meta.name.as_deref()?, meta.namespace.as_deref()?);
    let message = format!(
        "Secret \"{name}\" for the key of the ACME account is not in namespace \"{namespace}\", though the account {account} is \
         registered: a new key is made, and with it another account. If that account's key is in a Secret elsewhere, put it \
         there in place of the new one; the Secrets of ClusterIssuers are looked for where --cluster-resource-namespace says"
    );
    Some(Event::warning(component(o), "AccountKeyMissing", message))
}
