//! The state machine of an Order (contract §5.3). What the CA answers is stored before the next step;
//! after a crash the CA is asked again by URL.

mod answer;
mod begin;

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use self::begin::begin;
use super::memo::WORK;
use super::required::{NoSolver, required};
use super::{Effect, Made, Observation, Outcome, Question};
use crate::api::order::{OrderStatus, state};
use crate::api::{Challenge, Order};
use crate::controllers::action::{Action, Event, Object, Plan, Target, patch_status};
use crate::controllers::facts::{Identity, controller_of};
use crate::controllers::key::Kind;
use crate::controllers::status::{granted, seconds};
use crate::explain::{Code, Verdict, quoted};

const ORDERS: &str = "cert-manager-orders";

/// The age up to which an Order's passing states are not written down.
const MOMENT: SignedDuration = SignedDuration::from_secs(30);

/// How soon an order is read again that has nothing to prove yet.
const UNPROVABLE: Duration = Duration::from_secs(10);

/// How long a CA may leave an order open of which a challenge has failed: some never end it.
const FAILED: SignedDuration = SignedDuration::from_secs(10);

/// Less than this before its end, an order is given up: what is proven then comes too late.
const TOO_LATE: SignedDuration = SignedDuration::from_secs(30);

/// After its end no CA gives an order to whoever asks for the same names: its clock may be behind ours by so much.
const OVER: SignedDuration = SignedDuration::from_secs(10);

/// An order that is made anew when it ends has lasted for so long at least.
const LASTS: SignedDuration = SignedDuration::from_mins(30);

/// Plan the next step of an Order.
pub fn plan(o: &Observation, now: Timestamp) -> Plan<Effect> {
    let mut plan = decide(o, now);
    // Whatever else wakes the Order, its own writes among it, is no reason to ask the CA again.
    if plan.effect.is_some()
        && let Some(until) = o.memo.rests(now)
    {
        plan.effect = None;
        plan.events.clear();
        plan.sooner(between(now, until));
    }
    plan
}

fn decide(o: &Observation, now: Timestamp) -> Plan<Effect> {
    let status = o.order.status.clone().unwrap_or_default();
    let state = status.state.as_deref().unwrap_or_default();
    if o.order.metadata.deletion_timestamp.is_some() || state::is_failure(state) {
        return Plan::idle();
    }
    if state == "valid" && status.certificate.is_some() {
        return Plan {
            actions: delete_all(o),
            ..Plan::idle()
        };
    }
    if let (None, Some(made)) = (&status.url, &o.made) {
        // The write has failed, or is not seen yet. Another question would make another order.
        return absorb(o, Outcome::Read(made.clone()), now);
    }
    if o.issuer.is_none() {
        // Nobody can say any more where the answers are to be: take them away until somebody can.
        return Plan {
            actions: delete_all(o),
            ..Plan::idle()
        };
    }
    let acme = o
        .issuer
        .as_ref()
        .filter(|i| i.is_ready())
        .and_then(|i| i.spec.acme.as_ref());
    let (Some(acme), Some(thumbprint)) = (acme, &o.thumbprint) else {
        // The issuer wakes its Orders when it becomes ready.
        return Plan::idle();
    };
    if status.url.is_none() && o.orphaned {
        // Nobody would use the certificate: the garbage collector deletes it, or its request comes and wakes it.
        return Plan::idle();
    }
    if status.url.is_none() {
        return begin(o, acme, now);
    }
    let known = status
        .authorizations
        .as_ref()
        .is_some_and(|a| !a.is_empty() && a.iter().all(|a| a.identifier.is_some()));
    if matches!(state, "ready" | "processing" | "valid") {
        // All is proven, whatever solvers the issuer has by now; there may be no authorization at all (RFC 8555 §7.1.3).
        return ask(Question::Complete);
    }
    if status.finalize_url.is_none() || !known {
        return ask(Question::Read);
    }
    let mut plan = match required(o, acme, thumbprint) {
        Ok(wanted) => solve(o, &status, wanted),
        Err(NoSolver(reason)) => no_solver(o, &status, &reason),
    };
    // It is the end of what is open. What is proven lasts longer, and the CA says how long.
    if let (None, Some(end)) = (&plan.effect, &status.expires) {
        let late = end.0 - TOO_LATE;
        if late <= now {
            return expire(o, end.0, now);
        }
        plan.sooner(between(now, late));
    }
    plan
}

/// What a plan does, for those who want each step told.
pub fn steps(plan: &Plan<Effect>) -> Vec<Event> {
    let step = |action: &Action| match action {
        Action::Ensure(object) => {
            let Object::Challenge(made) = &**object else {
                return None;
            };
            let name = made.metadata.name.as_deref().unwrap_or_default();
            let domain = &made.spec.dns_name;
            let message = format!("Created Challenge resource \"{name}\" for domain \"{domain}\"");
            Some(Event::normal(ORDERS, "Created", message))
        }
        Action::PatchStatus { status, .. } => {
            let message = "Order completed successfully";
            let event = || Event::normal(ORDERS, "Complete", message);
            status.get("certificate").map(|_| event())
        }
        _ => None,
    };
    plan.actions.iter().filter_map(step).collect()
}

/// The CA ends the order now, at `end` by its own word: another one is made, and what is open of this one is in its way. That is no
/// failed attempt if the CA has nothing to validate yet, such as for want of a DNS provider's token: nobody would hear that it is
/// there, once a back-off has begun. A CA whose orders last for moments only would be asked without end.
fn expire(o: &Observation, end: Timestamp, now: Timestamp) -> Plan<Effect> {
    let id = Identity::of(&o.order.metadata);
    let state = |c: &Challenge| c.status.as_ref().and_then(|s| s.state.clone());
    let is_at_work = |c: &Arc<Challenge>| state(c).as_deref() == Some("processing");
    let is_asked_for = controller_of(&o.order.metadata, "CertificateRequest").is_some();
    let has_lasted = now.duration_since(id.created) >= LASTS;
    if has_lasted
        && is_asked_for
        && !o.challenges.is_empty()
        && !o.challenges.iter().any(is_at_work)
    {
        // Before, the CA may give the same order again (Boulder, `GetOrderForNames`), which has no time left.
        if now.duration_since(end) < OVER {
            return Plan::wait(between(now, end + OVER));
        }
        let mut actions = delete_all(o);
        actions.push(Action::Delete(Target::Order, id));
        return Plan {
            actions,
            ..Plan::idle()
        };
    }
    let waits = o.challenges.iter().find_map(|c| {
        let why = c.status.as_ref()?.reason.clone()?;
        Some(format!(": challenge for \"{}\": {why}", c.spec.dns_name))
    });
    let reason = format!(
        "The CA's order has expired before all of its names were proven{}",
        waits.unwrap_or_default()
    );
    let status = json!({ "state": "expired", "reason": reason, "failureTime": seconds(now) });
    let mut plan = Plan {
        actions: vec![patch_status(Kind::Order, &id, status)],
        ..Plan::idle()
    };
    plan.actions.extend(delete_all(o));
    plan
}

fn between(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or_default()
}

fn ask(question: Question) -> Plan<Effect> {
    effect(Effect::Ask(question))
}

fn effect(effect: Effect) -> Plan<Effect> {
    Plan {
        effect: Some(effect),
        ..Plan::idle()
    }
}

/// Make what is missing, drop what is not wanted any more, and go on when all are valid.
fn solve(o: &Observation, status: &OrderStatus, wanted: Vec<Challenge>) -> Plan<Effect> {
    let name = |c: &Challenge| c.metadata.name.clone();
    let mut plan = Plan::idle();
    let leftover = o.challenges.iter().filter(|c| {
        let of_name = wanted.iter().find(|w| name(w) == name(c));
        c.metadata.deletion_timestamp.is_none() && of_name.is_none_or(|w| is_of_another_key(c, w))
    });
    plan.actions
        .extend(leftover.map(|c| Action::Delete(Target::Challenge, Identity::of(&c.metadata))));
    let state = |w: &Challenge| {
        let found = o.challenges.iter().find(|c| name(c) == name(w))?;
        Some(
            found
                .status
                .as_ref()
                .and_then(|s| s.state.clone())
                .unwrap_or_default(),
        )
    };
    let states: Vec<Option<String>> = wanted.iter().map(state).collect();
    let is = |s: &Option<String>, any: &[&str]| s.as_deref().is_some_and(|s| any.contains(&s));
    let all_valid = states.iter().all(|s| is(s, &["valid"]));
    let any_failed = states
        .iter()
        .any(|s| is(s, &["invalid", "expired", "errored"]));
    if all_valid || any_failed {
        plan.effect = Some(Effect::Ask(Question::Complete));
        return plan;
    }
    if status.reason.is_some() && states.iter().any(Option::is_none) {
        // There was no solver; now there is.
        let id = Identity::of(&o.order.metadata);
        let forget = json!({ "reason": null });
        plan.actions.push(patch_status(Kind::Order, &id, forget));
    }
    for (challenge, state) in wanted.into_iter().zip(states) {
        if state.is_none() {
            plan.actions
                .push(Action::Ensure(Box::new(Object::Challenge(challenge))));
        }
    }
    plan
}

/// Whether a Challenge proves the key that the account had before: nobody will find it valid any more.
fn is_of_another_key(challenge: &Challenge, wanted: &Challenge) -> bool {
    let status = challenge.status.as_ref();
    let state = status.and_then(|s| s.state.as_deref()).unwrap_or_default();
    challenge.spec.key != wanted.spec.key && !state::is_final(state)
}

fn no_solver(o: &Observation, status: &OrderStatus, reason: &str) -> Plan<Effect> {
    if status.reason.as_deref() == Some(reason) {
        return Plan::idle();
    }
    let id = Identity::of(&o.order.metadata);
    Plan {
        actions: vec![patch_status(Kind::Order, &id, json!({ "reason": reason }))],
        events: vec![Event::warning(
            ORDERS,
            "Solver",
            format!(
                "Failed to determine a valid solver configuration for the set of domains on the Order: {reason}"
            ),
        )],
        ..Plan::idle()
    }
}

fn delete_all(o: &Observation) -> Vec<Action> {
    let live = o
        .challenges
        .iter()
        .filter(|c| c.metadata.deletion_timestamp.is_none());
    live.map(|c| Action::Delete(Target::Challenge, Identity::of(&c.metadata)))
        .collect()
}

/// Plan what follows from the CA's answer.
pub fn absorb(o: &Observation, outcome: Outcome, now: Timestamp) -> Plan<Effect> {
    let id = Identity::of(&o.order.metadata);
    let patch = |status: Value| vec![patch_status(Kind::Order, &id, status)];
    let old = o.order.status.clone().unwrap_or_default();
    match answer::checked(&o.order, outcome) {
        Outcome::Read(made) => note(o, made),
        Outcome::Issued(chain) => {
            let certificate = k8s_openapi::ByteString(chain);
            let mut plan = Plan {
                actions: patch(
                    json!({ "state": "valid", "certificate": certificate, "reason": null }),
                ),
                ..Plan::idle()
            };
            plan.actions.extend(delete_all(o));
            plan
        }
        Outcome::NotYet {
            state,
            retry,
            expires,
        } => not_yet(o, &state, (retry, expires), now),
        // Somebody else with this account has ended the order that the CA gave to both. Its request makes another Order, and
        // the CA another order, as that one is not open any more (contract §5.2).
        Outcome::OtherKey(_) if !o.memo.mismatched => Plan {
            actions: vec![Action::Delete(Target::Order, id)],
            ..Plan::idle()
        },
        Outcome::OtherKey(reason) => ended(o, "errored", &reason, now),
        Outcome::Ended { state, reason } => ended(o, &state, &cause(o, &reason), now),
        Outcome::Unavailable { reason, wait }
            if old.url.is_some()
                && o.memo
                    .is_lost(wait, old.expires.as_ref().map(|end| end.0), now) =>
        {
            ended(o, "errored", &reason, now)
        }
        Outcome::Unavailable { reason, wait } => {
            let delay = wait.delay(&o.memo, left(o, now), now);
            let until = now.checked_add(delay).unwrap_or(Timestamp::MAX);
            let note = wait.note(until);
            // The code stays at the end.
            let reason = match quoted(&reason) {
                Some((code, text)) => Verdict::new(code, format!("{text}{note}")).to_string(),
                None => format!("{reason}{note}"),
            };
            let news = old.reason.as_deref() != Some(&reason);
            Plan {
                actions: if news {
                    patch(json!({ "reason": reason }))
                } else {
                    vec![]
                },
                wake: Some(delay),
                ..Plan::idle()
            }
        }
        // The issuer wakes its Orders when it has looked, and says what it found.
        Outcome::AccountRefused => Plan::idle(),
    }
}

/// What is left of the certificate in use.
fn left(o: &Observation, now: Timestamp) -> Option<Duration> {
    let end = o.in_use_until.filter(|end| *end > now);
    end.map(|end| between(now, end))
}

fn ended(o: &Observation, state: &str, reason: &str, now: Timestamp) -> Plan<Effect> {
    let id = Identity::of(&o.order.metadata);
    let status = json!({ "state": state, "reason": reason, "failureTime": seconds(now) });
    Plan {
        actions: vec![patch_status(Kind::Order, &id, status)],
        ..Plan::idle()
    }
}

/// Write down what the CA has, and make the Challenges in the same breath.
fn note(o: &Observation, made: Made) -> Plan<Effect> {
    let id = Identity::of(&o.order.metadata);
    let status = json!({
        "url": made.url,
        "finalizeURL": made.finalize_url,
        "state": Some(&made.state).filter(|state| !state.is_empty()),
        "authorizations": made.authorizations,
        "expires": made.expires.map(seconds),
        "reason": null,
    });
    let is_known = o.order.status.as_ref().is_some_and(|s| s.url.is_some());
    let mut plan = Plan {
        actions: vec![patch_status(Kind::Order, &id, status)],
        // What is written as it was wakes nobody.
        wake: (made.authorizations.is_empty() && is_known).then_some(UNPROVABLE),
        ..Plan::idle()
    };
    plan.actions.extend(first_challenges(o, made));
    plan
}

/// The CA is at work: look again, but not for ever.
fn not_yet(
    o: &Observation,
    state: &str,
    (retry, expires): (Option<Duration>, Option<Timestamp>),
    now: Timestamp,
) -> Plan<Effect> {
    let id = Identity::of(&o.order.metadata);
    let old = o.order.status.clone().unwrap_or_default();
    let mut status = Map::new();
    let failure = failure(o).filter(|_| state == "pending");
    let is_stuck = match (&failure, state) {
        (Some(_), _) => o.memo.works_for(FAILED, now),
        (None, "processing") => o.memo.is_given_up(expires, now),
        (None, _) => o.memo.works_for(WORK, now),
    };
    // It is said meanwhile: another CA may do better.
    let not_done = not_done(state);
    let was_late = old.reason.as_ref() == Some(&not_done);
    let is_late = state == "processing" && (was_late || o.memo.works_for(WORK, now));
    if is_stuck {
        let reason = failure.unwrap_or(not_done);
        status.insert("state".into(), json!("errored"));
        status.insert("reason".into(), json!(reason));
        status.insert("failureTime".into(), json!(seconds(now)));
    } else {
        let age = now.duration_since(id.created);
        // What lasts a moment is not worth a write.
        if !state.is_empty() && old.state.as_deref() != Some(state) && age >= MOMENT {
            status.insert("state".into(), json!(state));
        }
        let since = o.memo.working.filter(|_| o.memo.works_for(MOMENT, now));
        let is_slow = since.filter(|_| state == "processing");
        let slow = is_slow.map(|since| {
            let text = format!("The CA has been at work on the certificate since {since:.0}");
            Verdict::new(Code::AT_WORK, text).to_string()
        });
        // Where there is none: the CA could not be reached; now it can.
        let reason = is_late.then_some(not_done).or(slow);
        if old.reason != reason {
            status.insert("reason".into(), json!(reason));
        }
    }
    let mut plan = Plan::idle();
    if !is_stuck {
        let retry = retry.map(|retry| granted(retry, o.memo.working, now));
        plan.sooner(retry.unwrap_or_else(|| o.memo.look(now)));
    }
    if !status.is_empty() {
        let patch = patch_status(Kind::Order, &id, Value::Object(status));
        plan.actions.push(patch);
    }
    plan
}

fn not_done(state: &str) -> String {
    let reason = format!(
        "The CA has not come to an end with the order for an hour: it still is \"{state}\", though all is proven"
    );
    Verdict::new(Code::CA_UNABLE, reason).to_string()
}

fn first_challenges(o: &Observation, made: Made) -> Vec<Action> {
    let acme = o.issuer.as_ref().and_then(|i| i.spec.acme.as_ref());
    let (Some(acme), Some(thumbprint)) = (acme, &o.thumbprint) else {
        return vec![];
    };
    let mut order = Order::clone(&o.order);
    let status = order.status.get_or_insert_default();
    status.url = Some(made.url);
    status.finalize_url = Some(made.finalize_url);
    status.state = Some(made.state).filter(|state| !state.is_empty());
    status.authorizations = Some(made.authorizations);
    status.reason = None;
    let after = Observation {
        order: order.into(),
        ..o.clone()
    };
    match required(&after, acme, thumbprint) {
        Ok(wanted) => {
            let status = after.order.status.clone().unwrap_or_default();
            solve(&after, &status, wanted).actions
        }
        // The next plan says why.
        Err(NoSolver(_)) => vec![],
    }
}

/// The reason of the failed Challenge says more than that of the order.
fn cause(o: &Observation, reason: &str) -> String {
    failure(o).unwrap_or_else(|| reason.to_owned())
}

/// Why a Challenge has failed, if one has.
fn failure(o: &Observation) -> Option<String> {
    o.challenges.iter().find_map(|c| {
        let status = c.status.as_ref()?;
        let failed = status.state.as_deref().is_some_and(state::is_failure);
        let why = status.reason.clone().filter(|r| failed && !r.is_empty())?;
        Some(format!(
            "challenge for \"{}\" failed: {why}",
            c.spec.dns_name
        ))
    })
}
