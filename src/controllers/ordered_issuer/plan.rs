//! The status of an ordered issuer: each of its issuers is watched in peacetime, so that whoever reads it knows before
//! the first one fails whether the others would do.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::choice::is_about;
use super::{Effect, Look, Observation, Outcome, Watched, shown};
use crate::api::duration::parse_go_duration;
use crate::api::labels::MANAGER_ORDERED_ISSUERS;
use crate::api::meta::IssuerReference;
use crate::api::ordered_issuer::{FAULTY, FIT, ListedIssuerStatus, MISSING, NOT_READY};
use crate::controllers::action::{Event, Plan, patch_status};
use crate::controllers::status::{condition, seconds, set_condition};
use crate::explain::{Code, Verdict};

/// When a server that failed is looked at for the first time, and at least how long after each look for the next.
const FIRST_LOOK: SignedDuration = SignedDuration::from_secs(10);
/// The longest time between two looks at one that failed.
const LAST_LOOK: SignedDuration = SignedDuration::from_mins(5);
/// The time between two looks at one that did not fail.
const PEACETIME: SignedDuration = SignedDuration::from_hours(1);
/// When an issuer that cannot be looked at is tried again with a request.
const TRIED_AGAIN: SignedDuration = SignedDuration::from_mins(10);

/// Plan the next step of an ordered issuer.
pub fn plan(o: &Observation, now: Timestamp) -> Plan<Effect> {
    if o.fact.id.deleting {
        return Plan::idle();
    }
    if let Some(problem) = unmet(o) {
        return write(o, &[], (false, "InvalidConfig", problem), now);
    }
    let entries = entries(o, now);
    let looks = o
        .issuers
        .iter()
        .zip(&entries)
        .filter_map(|(watched, entry)| {
            let at = next_look(watched, entry, watched.look)?;
            Some((watched, at))
        });
    let (due, later): (Vec<_>, Vec<_>) = looks.partition(|(_, at)| *at <= now);
    let due = due
        .into_iter()
        .map(|(watched, _)| watched.listed.reference.clone());
    let due: Vec<_> = due.collect();
    let mut plan = report(o, &entries, now);
    plan.wake = later.into_iter().map(|(_, at)| until(at, now)).min();
    plan.effect = (!due.is_empty()).then_some(Effect::Probe(due));
    plan
}

/// When an issuer is looked at next: also one that is not asked for certificates every day, before it has to be.
fn next_look(
    watched: &Watched,
    entry: &ListedIssuerStatus,
    look: Option<Look>,
) -> Option<Timestamp> {
    if is_faulty(entry) {
        return Some(ends(entry));
    }
    if entry.state != FIT || !is_acme(watched) {
        return None;
    }
    Some(look.map_or(Timestamp::MIN, |look| {
        let wait = match &entry.message {
            _ if look.failed => FIRST_LOOK,
            Some(_) => LAST_LOOK,
            None => PEACETIME,
        };
        look.at.checked_add(wait).unwrap_or(look.at)
    }))
}

fn until(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or_default()
}

/// Plan what follows from looking at servers.
pub fn absorb(o: &Observation, outcome: &Outcome, now: Timestamp) -> Plan<Effect> {
    let mut entries = entries(o, now);
    let mut wakes = vec![];
    for (watched, entry) in o.issuers.iter().zip(&mut entries) {
        let answer = outcome.iter().find(|(asked, _)| is_about(entry, asked));
        let look = answer.map(|(_, answer)| Look {
            at: now,
            failed: answer.is_err(),
        });
        if let Some((_, answer)) = answer {
            learn(watched, entry, answer, now);
        }
        wakes.extend(next_look(watched, entry, look.or(watched.look)));
    }
    let mut plan = report(o, &entries, now);
    plan.wake = wakes.into_iter().map(|at| until(at, now)).min();
    plan
}

/// What the answer of a server says of its issuer.
fn learn(
    watched: &Watched,
    entry: &mut ListedIssuerStatus,
    answer: &Result<Option<String>, String>,
    now: Timestamp,
) {
    let reference = &watched.listed.reference;
    let why = match answer {
        Ok(forbidden) => {
            if is_faulty(entry) {
                *entry = new(reference, FIT, None, now);
            }
            let verdict = |text: &String| Verdict::new(Code::ORDERED_CAA, text).to_string();
            if entry.state == FIT {
                entry.message = forbidden.as_ref().map(verdict);
            }
            return;
        }
        Err(why) => why,
    };
    // Once may be chance.
    let failed_before = watched.look.is_some_and(|look| look.failed);
    if entry.state == FIT && failed_before {
        *entry = new(reference, FAULTY, None, now);
    }
    if is_faulty(entry) {
        let since = entry.since.as_ref().map_or(now, |t| t.0);
        let wait = now.duration_since(since).clamp(FIRST_LOOK, LAST_LOOK);
        entry.until = now.checked_add(wait).ok().map(seconds);
        entry.message = Some(why.clone());
    }
}

/// What of the spec cannot be met.
fn unmet(o: &Observation) -> Option<String> {
    if let Some(Err(problem)) = o.fact.spec.after.as_deref().map(parse_go_duration) {
        return Some(format!("spec.after: {problem}"));
    }
    let local = o.issuers.iter().map(|watched| &watched.listed.reference);
    let mut local = local.filter(|r| o.fact.is_cluster_wide() && !r.is_cluster_wide());
    local.next().map(|reference| {
        format!(
            "spec.issuers: {} has a namespace; a ClusterOrderedIssuer lists ClusterIssuers only",
            shown(reference)
        )
    })
}

fn entries(o: &Observation, now: Timestamp) -> Vec<ListedIssuerStatus> {
    let issuers = o.issuers.iter();
    issuers.map(|watched| entry(watched, now)).collect()
}

/// What is to be known of an issuer from now on.
fn entry(watched: &Watched, now: Timestamp) -> ListedIssuerStatus {
    let listed = &watched.listed;
    let old = listed.known.as_ref();
    let kept = |state: &str, message: Option<String>| {
        let since = old.filter(|old| old.state == state);
        let since = since.and_then(|old| old.since.as_ref());
        new(
            &listed.reference,
            state,
            message,
            since.map_or(now, |t| t.0),
        )
    };
    let Some(issuer) = &listed.issuer else {
        return kept(MISSING, None);
    };
    if !issuer.is_ready() {
        let why = issuer.ready().and_then(|c| c.message.clone());
        return kept(NOT_READY, why.filter(|why| !why.is_empty()));
    }
    let since = old.and_then(|old| old.since.as_ref()).map(|t| t.0);
    // A failure before that is known already, or somebody has put it right.
    let newer = watched.failure.as_ref();
    let newer = newer.filter(|(at, _)| since.is_some_and(|since| *at >= since));
    let was_faulty = old.is_some_and(is_faulty);
    if let Some((at, why)) = newer
        && !was_faulty
    {
        let wait = if is_acme(watched) {
            FIRST_LOOK
        } else {
            TRIED_AGAIN
        };
        let mut entry = new(&listed.reference, FAULTY, Some(why.clone()), *at);
        entry.until = at.checked_add(wait).ok().map(seconds);
        return entry;
    }
    let changed = issuer.changed_at.zip(since);
    let is_edited = changed.is_some_and(|(changed, since)| changed > since);
    match old.filter(|_| was_faulty && !is_edited) {
        Some(old) if is_acme(watched) || ends(old) > now => old.clone(),
        // Until the next look.
        _ => kept(
            FIT,
            old.filter(|old| old.state == FIT)
                .and_then(|old| old.message.clone()),
        ),
    }
}

fn new(
    reference: &IssuerReference,
    state: &str,
    message: Option<String>,
    since: Timestamp,
) -> ListedIssuerStatus {
    ListedIssuerStatus {
        kind: reference.kind_or_default().to_owned(),
        name: reference.name.clone(),
        state: state.to_owned(),
        message,
        since: Some(seconds(since)),
        until: None,
    }
}

fn is_faulty(entry: &ListedIssuerStatus) -> bool {
    entry.state == FAULTY
}

fn ends(entry: &ListedIssuerStatus) -> Timestamp {
    entry.until.as_ref().map_or(Timestamp::MIN, |t| t.0)
}

fn is_acme(watched: &Watched) -> bool {
    let issuer = watched.listed.issuer.as_ref();
    issuer.is_some_and(|issuer| issuer.spec.acme.is_some())
}

/// Who is fit, and who is not and why.
fn report(o: &Observation, entries: &[ListedIssuerStatus], now: Timestamp) -> Plan<Effect> {
    let is_fit = |entry: &ListedIssuerStatus| entry.state == FIT;
    let is_whole = |entry: &ListedIssuerStatus| is_fit(entry) && entry.message.is_none();
    let (is_ready, reason) = match entries.first() {
        Some(_) if entries.iter().all(is_whole) => (true, "InOrder"),
        Some(first) if is_fit(first) => (true, "Degraded"),
        _ if entries.iter().any(is_fit) => (true, "Fallback"),
        _ => (false, "NoneFit"),
    };
    let lines = entries.iter().map(line).collect::<Vec<_>>();
    let message = lines.join("; ");
    write(o, entries, (is_ready, reason, message), now)
}

fn line(entry: &ListedIssuerStatus) -> String {
    let state = match entry.state.as_str() {
        FIT => {
            let but = entry.message.as_deref().map(|m| m.trim_end_matches('.'));
            let but = but.map(|m| format!(", but not for all names: {m}"));
            let but = but.unwrap_or_default();
            return format!("{} \"{}\" is fit{but}", entry.kind, entry.name);
        }
        FAULTY => "cannot sign",
        MISSING => "does not exist",
        _ => "is not ready",
    };
    let since = entry.since.as_ref().map(|t| format!(", since {}", t.0));
    let why = entry.message.as_ref().map(|why| format!(": {why}"));
    format!(
        "{} \"{}\" {state}{}{}",
        entry.kind,
        entry.name,
        since.unwrap_or_default(),
        why.unwrap_or_default()
    )
}

fn write(
    o: &Observation,
    entries: &[ListedIssuerStatus],
    (is_ready, reason, message): (bool, &str, String),
    now: Timestamp,
) -> Plan<Effect> {
    let old = &o.fact.status;
    let mut conditions = old.conditions.clone().unwrap_or_default();
    let generation = Some(o.fact.generation);
    let new = condition("Ready", is_ready, reason, message.clone(), generation);
    let before = o.fact.ready().and_then(|c| c.reason.clone());
    let mut status = Map::<String, Value>::new();
    if set_condition(&mut conditions, new, now) {
        status.insert("conditions".into(), json!(conditions));
    }
    if old.issuers.as_deref().unwrap_or_default() != entries {
        status.insert("issuers".into(), json!(entries));
    }
    let mut plan = Plan::idle();
    if status.is_empty() {
        return plan;
    }
    plan.actions
        .push(patch_status(o.kind, &o.fact.id, Value::Object(status)));
    if before.as_deref() != Some(reason) {
        let event = match reason {
            "InOrder" => Event::normal(MANAGER_ORDERED_ISSUERS, reason, message),
            _ => Event::warning(MANAGER_ORDERED_ISSUERS, reason, message),
        };
        plan.events.push(event);
    }
    plan
}
