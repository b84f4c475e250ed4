//! The life of a Challenge (contract §5.5 to §5.7): present, self-check, ask the CA, clean up. The
//! self-check is advice. It shortens the wait; after a bounded time the CA is asked all the same.

mod dns01;
mod http01;
mod told;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Map, Value, json};

use self::told::{
    ANOTHER, NO_PLACE, NOT_PRESENTED, at_work, is_caused, not_presented, presented, say, started,
    unsay, unsay_wait,
};
pub use self::told::{presents, refused, without_secrets};
use super::{Check, Effect, Observation, Outcome, Settings, is_final, state};
use crate::api::challenge::{DNS_01, HTTP_01};
use crate::api::duration::{format_go_duration, parse_go_duration};
use crate::api::labels;
use crate::controllers::action::{Action, Event, Plan, patch_status};
use crate::controllers::facts::Identity;
use crate::controllers::key::{Key, Kind};
use crate::controllers::order::UNKNOWN;
use crate::controllers::status::seconds;
use crate::explain::{Code, Verdict};
use crate::solvers::http01::objects::Presentation;

const CHALLENGES: &str = "cert-manager-challenges";

/// Time between self-checks that fail: short at first.
const FIRST_CHECK_AGAIN: Duration = Duration::from_millis(250);
/// A look that is no older than this is the last before the CA is asked.
const NEW: Duration = Duration::from_secs(1);
/// A self-check that fails for longer than this is worth a line in the status.
const PATIENCE: Duration = Duration::from_secs(4);
/// The same of a wait for a place, and for a CA that is at work: others, and most CAs, are done by then.
const LONG: Duration = Duration::from_secs(30);
/// How soon it is looked again for an older Challenge of the name.
const EARLIER: Duration = Duration::from_secs(1);
/// Time between the first looks at a name after a failure.
const PROBE: Duration = Duration::from_secs(5);
/// The longest, which is reached after an hour, and how many looks there are in the first minute.
const LONGEST_PROBE: Duration = Duration::from_mins(1);
const PROBES_A_MINUTE: u32 = 12;
/// At the latest when a Challenge that has no place asks again for one.
const TURN: Duration = Duration::from_secs(10);
/// How soon it is looked again for what keeps the answer from being put in place.
const RETRY: Duration = Duration::from_secs(5);

/// Plan the next step of a Challenge.
pub fn plan(o: &Observation, settings: &Settings, now: Timestamp) -> Plan<Effect> {
    let mut plan = decide(o, settings, now);
    // Whatever else wakes the Challenge, its own writes among it, is no reason to ask the CA again.
    if matches!(plan.effect, Some(Effect::Accept | Effect::Poll))
        && let Some(until) = o.memo.rests(now)
    {
        plan.effect = None;
        // What it would have said beside: the CA's own words stand.
        plan.actions.clear();
        plan.sooner(between(now, until));
        if o.memo.accepted {
            plan.actions.extend(http01::lost(o, settings));
        }
    }
    plan
}

fn decide(o: &Observation, settings: &Settings, now: Timestamp) -> Plan<Effect> {
    let meta = &o.challenge.metadata;
    if meta.deletion_timestamp.is_some() {
        return end(o, settings, now);
    }
    if is_final(state(&o.challenge)) {
        return rest(o, settings, now);
    }
    if !o.account {
        // The issuer wakes its Challenges when its account is loaded.
        return Plan::idle();
    }
    let waited = between(Identity::of(meta).created, now);
    if o.earlier {
        return Plan {
            actions: if waited >= PATIENCE {
                say(o, ANOTHER)
            } else {
                vec![]
            },
            ..Plan::wait(EARLIER)
        };
    }
    if !o.admitted {
        // It is woken when its turn comes.
        return Plan {
            // What kept it from being put in place when it had one is still the cause.
            actions: if waited >= LONG && !is_caused(o) {
                say(o, NO_PLACE)
            } else {
                vec![]
            },
            ..Plan::wait(TURN)
        };
    }
    if let Some(forget) = unsay_wait(o) {
        return first(forget);
    }
    if o.memo.valid && order_is_told(o) {
        return clean_up(o, settings, now).unwrap_or_else(Plan::idle);
    }
    if let Some(hold) = hold(o) {
        return first(hold);
    }
    if dns01::solver(o).is_some() {
        return dns01::live(o, settings, now);
    }
    let spec = &o.challenge.spec;
    let solver = spec.solver.http01.as_ref();
    match (
        Presentation::of(&o.challenge),
        solver.and_then(|http01| http01.ingress.as_ref()),
    ) {
        (Some(presentation), Some(solver)) => http01::live(o, settings, &presentation, solver, now),
        _ => unsupported(o),
    }
}

/// One write, and the next step at once.
fn first(action: Action) -> Plan<Effect> {
    Plan {
        actions: vec![action],
        wake: Some(Duration::ZERO),
        ..Plan::idle()
    }
}

fn unsupported(o: &Observation) -> Plan<Effect> {
    let reason = match o.challenge.spec.type_.as_str() {
        DNS_01 => {
            "spec.solver.dns01 is absent: delete this Challenge, so that its Order makes another"
        }
        _ => {
            "spec.solver.http01.gatewayHTTPRoute: this version of Everleaf keeps the field but cannot solve \
             through a Gateway yet; give the issuer a solver with http01.ingress or dns01 for this name"
        }
    };
    Plan {
        actions: say(o, reason),
        ..Plan::idle()
    }
}

/// Look at the authorization, once the CA was asked; ask again where it waits for that.
fn asked(o: &Observation) -> Option<Plan<Effect>> {
    let step = if o.memo.unproven {
        Effect::Accept
    } else {
        Effect::Poll
    };
    o.memo.accepted.then(|| effect(step))
}

/// How long self-checks may fail.
struct Patience {
    /// Before the CA is asked all the same.
    limit: Duration,
    /// The longest time between two.
    longest: Duration,
    /// The obstacle is known, whatever they say.
    speaks_at_once: bool,
}

/// Everything is in place: wait until a self-check passes, the time is over, or the solver's own wait is.
fn checked(
    o: &Observation,
    settings: &Settings,
    patience: &Patience,
    obstacle: impl FnOnce(&str) -> String,
    now: Timestamp,
) -> Plan<Effect> {
    let own = o
        .challenge
        .spec
        .solver
        .wait_instead_of_self_check
        .as_deref();
    if let Some(wait) = own.and_then(|wait| parse_go_duration(wait).ok()) {
        return wait_out(o, settings, wait, now);
    }
    let Some(since) = o.memo.presented else {
        // The runtime notes the time when it sees nothing missing.
        return Plan {
            events: presented(o, settings),
            ..effect(Effect::SelfCheck)
        };
    };
    let waited = between(since, now);
    match &o.memo.check {
        Check::Passed => effect(Effect::Accept),
        Check::None => effect(Effect::SelfCheck),
        Check::Running => Plan::idle(),
        Check::Failed { reason, at } => {
            let failing = between(since, *at);
            let is_over = waited >= patience.limit;
            if is_over && (failing >= patience.limit || between(*at, now) <= NEW) {
                return effect(Effect::Accept);
            }
            let longest = patience.longest.max(FIRST_CHECK_AGAIN);
            let pause = (failing / 2).clamp(FIRST_CHECK_AGAIN, longest);
            let again = at.checked_add(pause).unwrap_or(now);
            let mut plan = if again <= now || is_over {
                effect(Effect::SelfCheck)
            } else {
                let left = patience.limit.saturating_sub(waited);
                Plan::wait(between(now, again).min(pause).min(left))
            };
            if waited >= PATIENCE || patience.speaks_at_once {
                plan.actions = say(o, &obstacle(reason));
            }
            plan
        }
    }
}

/// The solver has a wait of its own in place of the self-check. It begins when the status says that all is in place, which
/// outlives this process.
fn wait_out(
    o: &Observation,
    settings: &Settings,
    wait: SignedDuration,
    now: Timestamp,
) -> Plan<Effect> {
    let status = o.challenge.status.as_ref();
    let status = status.filter(|status| status.presented == Some(true));
    let length = Duration::try_from(wait).unwrap_or_default();
    if let Some(Time(since)) = status.and_then(|status| status.presented_at.as_ref()) {
        let left = length.saturating_sub(between(*since, now));
        return if left.is_zero() {
            effect(Effect::Accept)
        } else {
            Plan::wait(left)
        };
    }
    if length.is_zero() {
        return effect(Effect::Accept);
    }
    let reason = format!(
        "Waiting {} before accepting {} challenge without self-check",
        format_go_duration(wait),
        o.challenge.spec.type_
    );
    let id = Identity::of(&o.challenge.metadata);
    let status = json!({
        "presented": true,
        "presentedAt": seconds(now),
        "processing": true,
        "state": "pending",
        "reason": reason,
    });
    Plan {
        actions: vec![patch_status(Kind::Challenge, &id, status)],
        events: presented(o, settings),
        wake: Some(length),
        ..Plan::idle()
    }
}

fn between(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or_default()
}

/// How long after everything was in place that was, if both were.
fn after_presented(o: &Observation, then: Option<Timestamp>) -> Duration {
    let both = o.memo.presented.zip(then);
    both.map_or(Duration::ZERO, |(since, then)| between(since, then))
}

/// Whether success needs no word in the status: the Order hears of it from this process, asks the CA,
/// and deletes the Challenge. After a crash in between the CA is asked again. A status that says
/// something else already is brought up to date.
fn order_is_told(o: &Observation) -> bool {
    let status = o.challenge.status.as_ref();
    let said = status.is_some_and(|s| s.state.is_some() || s.reason.is_some());
    o.last && !said
}

fn effect(effect: Effect) -> Plan<Effect> {
    Plan {
        effect: Some(effect),
        ..Plan::idle()
    }
}

/// The Challenge is to go: nothing of it stays behind.
fn end(o: &Observation, settings: &Settings, now: Timestamp) -> Plan<Effect> {
    if dns01::solver(o).is_some() {
        let mut plan = Plan::idle();
        if let Some(left) = dns01::clean_up(o, now) {
            // Whoever deletes a namespace, or an issuer with its Secrets, is not kept waiting for them.
            let Some(event) = dns01::gives_up(o, now) else {
                return left;
            };
            plan.events.push(event);
        }
        plan.actions.extend(release(o));
        return plan;
    }
    let mut plan = http01::clean_up(o, settings);
    plan.actions.extend(release(o));
    plan
}

/// What is left to take away, if anything is.
fn clean_up(o: &Observation, settings: &Settings, now: Timestamp) -> Option<Plan<Effect>> {
    if dns01::solver(o).is_some() {
        return dns01::clean_up(o, now);
    }
    let plan = http01::clean_up(o, settings);
    (!plan.actions.is_empty()).then_some(plan)
}

/// A finished Challenge: nothing of it stays in the cluster or the DNS, and after a failure the name is watched.
fn rest(o: &Observation, settings: &Settings, now: Timestamp) -> Plan<Effect> {
    let left = clean_up(o, settings, now);
    let is_dns01 = dns01::solver(o).is_some();
    let mut plan = match left {
        // The status says that there is a record until there is none.
        Some(plan) if is_dns01 => return plan,
        Some(plan) => plan,
        None => Plan::idle(),
    };
    let status = o.challenge.status.clone().unwrap_or_default();
    if status.presented == Some(true) || status.processing == Some(true) {
        let id = Identity::of(&o.challenge.metadata);
        let idle = json!({ "presented": false, "processing": false });
        plan.actions.push(patch_status(Kind::Challenge, &id, idle));
    }
    let failed = state(&o.challenge) != "valid";
    let is_http01 = o.challenge.spec.type_ == HTTP_01;
    if failed && (is_http01 || is_dns01) && plan.actions.is_empty() {
        probe(o, &mut plan, until_probe(o), now);
    }
    plan
}

/// When to look at a name again after a failure: more seldom, once it is no hasty correction any more.
fn until_probe(o: &Observation) -> Duration {
    let times = (o.memo.probes / PROBES_A_MINUTE).saturating_add(1);
    PROBE.saturating_mul(times).min(LONGEST_PROBE)
}

/// Look at the name each time that this has passed, whatever else wakes the Challenge: what two looks agree in is to be so
/// for a while.
fn probe(o: &Observation, plan: &mut Plan<Effect>, pause: Duration, now: Timestamp) {
    let passed = o.memo.probed.map_or(pause, |at| between(at, now));
    let left = pause.saturating_sub(passed);
    if left.is_zero() {
        plan.effect = Some(Effect::Probe);
        plan.sooner(pause);
    } else {
        plan.sooner(left);
    }
}

/// A Challenge that nobody holds would go without being cleaned up: whoever has made it left our finalizer out.
fn hold(o: &Observation) -> Option<Action> {
    let mut finalizers = o.challenge.metadata.finalizers.clone().unwrap_or_default();
    if labels::holds(&finalizers) {
        return None;
    }
    finalizers.push(labels::CHALLENGE_FINALIZER.into());
    Some(set_finalizers(o, finalizers))
}

/// Take our finalizers off, both the old and the new one.
fn release(o: &Observation) -> Option<Action> {
    let all = o.challenge.metadata.finalizers.clone().unwrap_or_default();
    let left = all
        .iter()
        .filter(|f| !labels::CHALLENGE_FINALIZERS.contains(&f.as_str()));
    let left: Vec<String> = left.cloned().collect();
    (left.len() != all.len()).then(|| set_finalizers(o, left))
}

fn set_finalizers(o: &Observation, finalizers: Vec<String>) -> Action {
    let id = Identity::of(&o.challenge.metadata);
    Action::SetFinalizers {
        key: Key {
            kind: Kind::Challenge,
            namespace: id.namespace,
            name: id.name,
        },
        version: id.version,
        finalizers,
    }
}

/// Plan what follows from the CA's answer.
pub fn absorb(
    o: &Observation,
    settings: &Settings,
    outcome: Outcome,
    now: Timestamp,
) -> Plan<Effect> {
    let memo = o.memo.after(&outcome, now);
    let wake = memo.rests(now).map(|until| between(now, until));
    match outcome {
        Outcome::Started => Plan::idle(),
        Outcome::State { state, reason, .. } if is_final(&state) => {
            ended(o, settings, &state, reason)
        }
        Outcome::State { state, reason, .. } if memo.is_stuck(now) => {
            ended(o, settings, "errored", Some(stuck(&state, reason)))
        }
        Outcome::State { state, reason, .. } => {
            let since = memo.working.filter(|since| between(*since, now) >= LONG);
            let reason = reason.or_else(|| since.map(|since| at_work(&state, since)));
            let lost = o.memo.accepted.then(|| http01::lost(o, settings));
            let mut actions = lost.unwrap_or_default();
            actions.extend(reason.into_iter().flat_map(|reason| say(o, &reason)));
            Plan {
                actions,
                wake,
                ..Plan::idle()
            }
        }
        Outcome::Unknown { reason } if o.memo.unknown >= UNKNOWN => {
            ended(o, settings, "expired", Some(reason))
        }
        Outcome::Unavailable { reason, .. }
        | Outcome::Unknown { reason }
        | Outcome::Refused { reason }
        | Outcome::AccountRefused { reason } => Plan {
            actions: say(o, &reason),
            wake,
            ..Plan::idle()
        },
    }
}

/// A CA that has come to no end for too long, in words.
fn stuck(state: &str, reason: Option<String>) -> String {
    if let Some(reason) = reason {
        return format!("{reason}; the CA has been at work for an hour");
    }
    let text = format!(
        "The CA has not come to an end with the challenge for an hour: it still is \"{state}\""
    );
    Verdict::new(Code::CA_UNABLE, text).to_string()
}

/// The CA has come to an end, or is given up.
fn ended(
    o: &Observation,
    settings: &Settings,
    state: &str,
    reason: Option<String>,
) -> Plan<Effect> {
    let is_valid = state == "valid";
    let reason = if is_valid {
        Some("Successfully authorized domain".to_owned())
    } else {
        reason.map(|reason| suspect(o, reason))
    };
    let mut status = Map::from_iter([
        ("state".to_owned(), json!(state)),
        ("reason".to_owned(), json!(reason)),
    ]);
    let id = Identity::of(&o.challenge.metadata);
    let mut plan = Plan::idle();
    if dns01::solver(o).is_some() {
        // The record goes next; until then the status says that there is one.
        plan.wake = Some(Duration::ZERO);
    } else {
        // Everything temporary goes at once; the status follows, so a crash in between cleans up
        // again.
        plan = http01::clean_up(o, settings);
        status.insert("presented".into(), json!(false));
        status.insert("processing".into(), json!(false));
    }
    if !is_valid || !order_is_told(o) {
        plan.actions
            .push(patch_status(Kind::Challenge, &id, Value::Object(status)));
    }
    plan.events
        .extend(verdict(o, settings, state, reason.as_deref()));
    plan
}

/// The CA's words, and what did not look right before it was asked: most likely why.
fn suspect(o: &Observation, reason: String) -> String {
    match &o.memo.check {
        Check::Failed { reason: seen, .. } if dns01::solver(o).is_some() => {
            format!("{reason}; before the CA was asked, {seen}")
        }
        _ => reason,
    }
}

fn verdict(
    o: &Observation,
    settings: &Settings,
    state: &str,
    reason: Option<&str>,
) -> Option<Event> {
    let domain = &o.challenge.spec.dns_name;
    if state == "valid" {
        let message = format!(
            "Domain \"{domain}\" verified with \"{}\" validation",
            o.challenge.spec.type_
        );
        return settings
            .verbose_events
            .then(|| Event::normal(CHALLENGES, "DomainVerified", message));
    }
    let message = format!(
        "Accepting challenge authorization failed: {}",
        reason.unwrap_or_default()
    );
    Some(Event::warning(CHALLENGES, "Failed", message))
}
