//! DNS-01: a TXT record at a provider (contract §5.7). That a record may be there is in the status before the provider is
//! asked to write it, so that it is taken away whatever happens in between.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::super::{Check, Effect, Failure, Observation, RecordState, Retry, Settings, Sight};
use super::{
    CHALLENGES, NOT_PRESENTED, Patience, after_presented, asked, between, checked, effect, probe,
    say, started, until_probe,
};
use crate::api::challenge::DNS_01;
use crate::api::dns01::Dns01Solver;
use crate::controllers::action::{Event, Plan, patch_status};
use crate::controllers::facts::Identity;
use crate::controllers::key::Kind;

/// A provider that failed is asked again after this, doubled each time (contract §5.5 has 5 s to 30 min).
const FIRST_RETRY: Duration = Duration::from_secs(2);
const LONGEST_RETRY: Duration = Duration::from_mins(5);
/// The same where only a change helps, which mostly wakes it by itself.
const PERMANENT_RETRY: Duration = Duration::from_mins(10);
/// The longest that a provider's own word puts a record off.
const LONGEST_LIMIT: Duration = Duration::from_hours(1);
/// How long some of a zone's servers, having trouble of their own, keep the CA from asking the others.
const PARTLY: Duration = Duration::from_secs(10);
/// How long a deletion waits for a provider that fails: in vain until something changes, or not.
const PERMANENT_PATIENCE: Duration = Duration::from_secs(5);
const TRANSIENT_PATIENCE: Duration = Duration::from_secs(30);
/// The same for one that has said when it may be asked.
const LIMITED_PATIENCE: Duration = Duration::from_mins(3);

const WAITING: &str = "Waiting for DNS-01 challenge propagation";

/// The solver, if the Challenge is one of these.
pub(super) fn solver(o: &Observation) -> Option<&Dns01Solver> {
    let spec = &o.challenge.spec;
    let solver = spec.solver.dns01.as_deref();
    solver.filter(|_| spec.type_ == DNS_01)
}

pub(super) fn live(o: &Observation, settings: &Settings, now: Timestamp) -> Plan<Effect> {
    if let Some(plan) = asked(o) {
        return plan;
    }
    match &o.record {
        RecordState::Busy(_) => Plan::idle(),
        RecordState::Present => {
            let patience = Patience {
                limit: limit(o, settings),
                longest: settings.dns01.check_period,
                speaks_at_once: false,
            };
            let waiting = |reason: &str| format!("{WAITING}: {reason}");
            let mut plan = checked(o, settings, &patience, waiting, now);
            if let (Some(Effect::Accept), Check::Failed { reason, .. }) =
                (&plan.effect, &o.memo.check)
            {
                // A slow server takes all the time that there is: it is named all the same.
                plan.actions = say(o, &waiting(reason));
            }
            plan
        }
        RecordState::Failed(failure) if !failure.removing => {
            let mut plan = again(failure, Effect::Present, now);
            if plan.effect.is_none() {
                // Where the record belongs may be what was wrong.
                probe(o, &mut plan, until_probe(o), now);
            }
            plan.actions = say(o, &format!("{NOT_PRESENTED}{}", failure.reason));
            if !plan.actions.is_empty() {
                plan.events
                    .push(failed("PresentError", "presenting", failure));
            }
            plan
        }
        RecordState::Unknown | RecordState::Absent | RecordState::Failed(_) => present(o, settings),
    }
}

/// Say in the status that there may be a record, and have it written.
fn present(o: &Observation, settings: &Settings) -> Plan<Effect> {
    let status = o.challenge.status.as_ref();
    if status.is_some_and(|status| status.processing == Some(true)) {
        return effect(Effect::Present);
    }
    let id = Identity::of(&o.challenge.metadata);
    let mut begun = Map::from_iter([("processing".to_owned(), json!(true))]);
    if status.is_some_and(|status| status.reason.is_some()) {
        // Why it had to wait.
        begun.insert("reason".into(), Value::Null);
    }
    let begun = Value::Object(begun);
    Plan {
        actions: vec![patch_status(Kind::Challenge, &id, begun)],
        events: started(settings),
        wake: Some(Duration::ZERO),
        ..Plan::idle()
    }
}

/// How long a self-check that fails keeps the CA from being asked. A CA that asks a server without the record says no,
/// and that costs the attempt; a server that cannot be asked from here is another matter. One that has denied it and is
/// silent now has not got it by that.
fn limit(o: &Observation, settings: &Settings) -> Duration {
    let most = settings.dns01.check_limit;
    let from_then = match o.memo.sight {
        Sight::Denied => return most,
        Sight::Partly => PARTLY,
        Sight::Nothing => settings.self_check_limit,
    };
    let denied = after_presented(o, o.memo.denied);
    denied.saturating_add(from_then).min(most)
}

/// The step that failed, once its time has come.
fn again(failure: &Failure, step: Effect, now: Timestamp) -> Plan<Effect> {
    let doubled = FIRST_RETRY.saturating_mul(1 << failure.count.saturating_sub(1).min(16));
    let pause = match failure.retry {
        Retry::OnChange => PERMANENT_RETRY,
        Retry::Soon => doubled.min(LONGEST_RETRY),
        Retry::At(time) => between(failure.at, time).clamp(FIRST_RETRY, LONGEST_LIMIT),
    };
    let then = failure.at.checked_add(pause).unwrap_or(now);
    if then <= now {
        effect(step)
    } else {
        Plan::wait(between(now, then))
    }
}

fn failed(reason: &str, doing: &str, failure: &Failure) -> Event {
    let message = format!("Error {doing} challenge: {}", failure.reason);
    Event::warning(CHALLENGES, reason, message)
}

/// What is left to do until the record has gone; `None` when it has.
pub(super) fn clean_up(o: &Observation, now: Timestamp) -> Option<Plan<Effect>> {
    let status = o.challenge.status.as_ref();
    let may_be_there =
        status.is_some_and(|s| s.processing == Some(true) || s.presented == Some(true));
    match &o.record {
        // Another Challenge needs the same record, and takes it away in the end.
        _ if o.shared => None,
        RecordState::Busy(_) => Some(until_given_up(o, Plan::idle(), now)),
        RecordState::Absent => None,
        RecordState::Unknown if !may_be_there => None,
        RecordState::Failed(failure) if failure.removing => {
            let plan = again(failure, Effect::CleanUp, now);
            Some(until_given_up(o, plan, now))
        }
        _ => Some(effect(Effect::CleanUp)),
    }
}

/// The step, with a look at the time when the deletion waits no longer.
fn until_given_up(o: &Observation, mut plan: Plan<Effect>, now: Timestamp) -> Plan<Effect> {
    if let Some(then) = deadline(o).filter(|then| *then > now) {
        plan.sooner(between(now, then));
    }
    plan
}

/// Until when a deletion waits for its record to go. A provider that has no answer yet, or fails, is waited for as long
/// from when the deletion was seen; one that has said when it may be asked, until it was asked once more.
fn deadline(o: &Observation) -> Option<Timestamp> {
    let seen = o.challenge.metadata.deletion_timestamp.as_ref()?.0;
    let (since, patience) = match &o.record {
        RecordState::Busy(since) => (seen.max(*since), TRANSIENT_PATIENCE),
        RecordState::Failed(failure) if failure.removing => {
            let begun = seen.min(failure.since);
            match failure.retry {
                Retry::OnChange => (failure.since, PERMANENT_PATIENCE),
                Retry::Soon => (begun, TRANSIENT_PATIENCE),
                Retry::At(then) => {
                    let granted = between(begun, then).saturating_add(FIRST_RETRY);
                    (begun, granted.clamp(TRANSIENT_PATIENCE, LIMITED_PATIENCE))
                }
            }
        }
        _ => return None,
    };
    since.checked_add(patience).ok()
}

/// A record that a deletion waits for no longer, and what is said of it.
pub(super) fn gives_up(o: &Observation, now: Timestamp) -> Option<Event> {
    let is_over = deadline(o).is_some_and(|then| then <= now);
    let reason = match &o.record {
        RecordState::Failed(failure) => &failure.reason,
        _ => "the provider has not answered yet",
    };
    is_over.then(|| {
        let domain = &o.challenge.spec.dns_name;
        let message = format!(
            "Error cleaning up challenge: {reason}. The TXT record of {domain} may still be there; it does no harm, and can \
             be deleted by hand"
        );
        Event::warning(CHALLENGES, "CleanUpError", message)
    })
}
