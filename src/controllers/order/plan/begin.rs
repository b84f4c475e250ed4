//! Before the CA has heard of an Order: a look at its names, its turn by the ledger of limits, and then the request that makes
//! an order of it.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::{ORDERS, between, effect};
use crate::acme::Identifier;
use crate::acme::limits::{Slot, Turn};
use crate::api::Order;
use crate::api::acme_issuer::AcmeIssuer;
use crate::api::duration::parse_go_duration;
use crate::controllers::action::{Action, Event, Plan, patch_status};
use crate::controllers::facts::Identity;
use crate::controllers::key::Kind;
use crate::controllers::order::preflight::{Standing, subjects};
use crate::controllers::order::{Effect, Memo, Observation, Question};
use crate::explain::{Code, Verdict, quoted};

/// A wait that is shorter is not written down.
const WORTH_SAYING: Duration = Duration::from_secs(5);
/// The same of a wait for others: of many orders at once each waits for those before it, and a write for each would make them wait
/// longer.
const WORTH_SAYING_OF_OTHERS: Duration = Duration::from_mins(5);

/// So that the time has come when it is asked for.
const TICK: Duration = Duration::from_millis(10);

/// Spend an order, when nothing is in its way.
pub(super) fn begin(o: &Observation, acme: &AcmeIssuer, now: Timestamp) -> Plan<Effect> {
    let labels = o.order.metadata.labels.clone().unwrap_or_default();
    let look = || {
        effect(Effect::Look(subjects(
            acme,
            &labels,
            &identifiers(&o.order),
        )))
    };
    let mut doubts = vec![];
    match o.ahead.as_ref().map(|ahead| ahead.standing(now)) {
        Some(Standing::Look) => return look(),
        Some(Standing::Looking(end)) => return Plan::wait(between(now, end)),
        Some(Standing::Held(text, again)) => {
            let mut plan = Plan::wait(between(now, again));
            plan.actions.extend(say(o, &text));
            return plan;
        }
        Some(Standing::Clear(sight)) if o.turn == Turn::Go && sight.is_stale(now) => return look(),
        Some(Standing::Clear(sight)) => doubts.extend(sight.doubts()),
        None => {}
    }
    match &o.turn {
        Turn::Go => {
            let mut plan = effect(Effect::Ask(create(&o.order)));
            // They are told once.
            if o.memo == Memo::default() {
                let events = doubts.into_iter();
                let events = events.map(|text| Event::warning(ORDERS, "Preflight", text));
                plan.events.extend(events);
            }
            plan
        }
        Turn::Behind(Some(until)) => {
            let text =
                "waits for other orders of the account, of which so many as may be are under way";
            behind(o, *until, WORTH_SAYING_OF_OTHERS, text, now)
        }
        Turn::Twin(until) => {
            let text = "waits for another order of the account for the same names, since a CA may give one certificate to both";
            behind(o, *until, WORTH_SAYING, text, now)
        }
        Turn::Behind(None) => Plan {
            actions: unsay(o),
            wake: o.memo.rests(now).map(|until| between(now, until) + TICK),
            ..Plan::idle()
        },
        Turn::Wait(slot) => wait_for(o, slot, now),
    }
}

/// Whoever comes to an end wakes it, or else time does. It says so once it is older than `patience`.
fn behind(
    o: &Observation,
    until: Timestamp,
    patience: Duration,
    text: &str,
    now: Timestamp,
) -> Plan<Effect> {
    let created = o.order.metadata.creation_timestamp.as_ref();
    let since = created.map_or(now, |created| created.0);
    let told = since.saturating_add(patience).unwrap_or(now);
    if told > now {
        return Plan {
            actions: unsay(o),
            ..Plan::wait(between(now, until.min(told)) + TICK)
        };
    }
    let mut plan = Plan::wait(between(now, until) + TICK);
    let verdict = Verdict::new(Code::TURN_AHEAD, text);
    plan.actions.extend(say(o, &verdict.to_string()));
    plan
}

/// Why the order waits.
fn say(o: &Observation, text: &str) -> Option<Action> {
    let said = o.order.status.as_ref().and_then(|s| s.reason.as_deref());
    let id = Identity::of(&o.order.metadata);
    (said != Some(text)).then(|| patch_status(Kind::Order, &id, json!({ "reason": text })))
}

/// What was in the way of the order is no longer.
fn unsay(o: &Observation) -> Vec<Action> {
    let said = o.order.status.as_ref().and_then(|s| s.reason.as_deref());
    let code = said.and_then(quoted).map(|(code, _)| code);
    let ahead = [
        Code::CAA_AHEAD,
        Code::UNREACHED_AHEAD,
        Code::LIMIT_AHEAD,
        Code::TURN_AHEAD,
    ];
    let is_past = code.is_some_and(|code| ahead.contains(&code));
    let id = Identity::of(&o.order.metadata);
    let forget = is_past.then(|| patch_status(Kind::Order, &id, json!({ "reason": null })));
    forget.into_iter().collect()
}

/// The CA would refuse it: say until when, and for which limit.
fn wait_for(o: &Observation, slot: &Slot, now: Timestamp) -> Plan<Effect> {
    let mut plan = Plan::wait(between(now, slot.until) + TICK);
    let text = Verdict::new(
        Code::LIMIT_AHEAD,
        format!("waits for a limit of the CA, {slot}"),
    );
    // What passes in a moment is not worth a write.
    if between(now, slot.told) >= WORTH_SAYING {
        plan.actions.extend(say(o, &text.to_string()));
    }
    plan
}

/// The DNS names with the common name, sorted, then the addresses.
pub(super) fn identifiers(order: &Order) -> Vec<Identifier> {
    let spec = &order.spec;
    let list = |field: &Option<Vec<String>>| field.clone().unwrap_or_default();
    let mut names = list(&spec.dns_names);
    let addresses = list(&spec.ip_addresses);
    names.extend(
        spec.common_name
            .clone()
            .filter(|name| !addresses.contains(name)),
    );
    names.sort();
    names.dedup();
    let dns = names.into_iter().map(Identifier::dns);
    let ips = addresses
        .iter()
        .filter_map(|a| a.parse().ok())
        .map(Identifier::ip);
    dns.chain(ips).collect()
}

fn create(order: &Order) -> Question {
    let spec = &order.spec;
    let duration = spec
        .duration
        .as_deref()
        .and_then(|d| parse_go_duration(d).ok());
    Question::Create {
        identifiers: identifiers(order),
        duration: duration.and_then(|d| Duration::try_from(d).ok()),
        profile: spec.profile.clone(),
        replaces: spec.replaces.clone().filter(|id| !id.is_empty()),
    }
}
