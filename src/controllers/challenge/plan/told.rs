//! What is said of a Challenge: in its status, and in events.

use jiff::Timestamp;
use json_patch::PatchOperation;
use serde_json::{Value, json};

use super::super::{Effect, Observation, Settings};
use super::CHALLENGES;
use crate::api::Challenge;
use crate::controllers::action::{Action, Event, Plan, patch_status};
use crate::controllers::facts::Identity;
use crate::controllers::key::Kind;
use crate::controllers::status::seconds;
use crate::explain::{Code, Verdict};

/// How a reason begins that says why the answer could not be put in place.
pub(super) const NOT_PRESENTED: &str = "Error presenting challenge: ";

/// Why one that has older ones before it waits.
pub(super) const ANOTHER: &str =
    "Waiting for an older Challenge for the same name: its solver answers for one at a time";

/// Why one that has no place waits.
pub(super) const NO_PLACE: &str = "Waiting for its turn: as many challenges as --max-concurrent-challenges allows are being validated (EL-1304).";

/// What is said of a CA that has been at work for long, without a word of its own.
pub(super) fn at_work(state: &str, since: Timestamp) -> String {
    let text = format!(
        "The CA has been at work on this challenge since {since:.0}: it still is \"{state}\" there"
    );
    Verdict::new(Code::AT_WORK, text).to_string()
}

/// Write `reason`, if it is not there already.
pub(super) fn say(o: &Observation, reason: &str) -> Vec<Action> {
    if self::reason(o) == Some(reason) {
        return vec![];
    }
    let mut status = json!({ "reason": reason, "state": "pending" });
    if let (Value::Object(status), Some(since)) = (&mut status, o.memo.presented) {
        status.insert("presented".into(), json!(true));
        status.insert("presentedAt".into(), json!(seconds(since)));
        status.insert("processing".into(), json!(true));
    }
    vec![patch_status(
        Kind::Challenge,
        &Identity::of(&o.challenge.metadata),
        status,
    )]
}

/// Where each step is wanted to be told: work on it has begun.
pub(super) fn started(settings: &Settings) -> Vec<Event> {
    let message = "Challenge scheduled for processing";
    let event = || Event::normal(CHALLENGES, "Started", message);
    settings.verbose_events.then(event).into_iter().collect()
}

/// The same: the answer is in place.
pub(super) fn presented(o: &Observation, settings: &Settings) -> Vec<Event> {
    let how = &o.challenge.spec.type_;
    let message = format!("Presented challenge using {how} challenge mechanism");
    let event = || Event::normal(CHALLENGES, "Presented", message);
    settings.verbose_events.then(event).into_iter().collect()
}

/// Whether a write puts the answer in place, rather than takes it away.
pub fn presents(action: &Action) -> bool {
    match action {
        Action::Ensure(_) => true,
        Action::EditIngress(_, patch) => {
            let mut steps = patch.0.iter();
            steps.any(|step| matches!(step, PatchOperation::Add(_)))
        }
        _ => false,
    }
}

/// What the API server has said of a solver's object, without what answers the challenge: webhooks quote paths.
pub fn without_secrets(challenge: &Challenge, words: &str) -> String {
    let spec = &challenge.spec;
    let secrets = [(&spec.key, "<key>"), (&spec.token, "<token>")];
    let secrets = secrets.into_iter().filter(|(secret, _)| !secret.is_empty());
    secrets.fold(words.to_owned(), |words, (secret, name)| {
        words.replace(secret.as_str(), name)
    })
}

/// The API server refuses an object of the solver, for these reasons.
pub fn refused(o: &Observation, presents: bool, words: &str) -> Plan<Effect> {
    if presents {
        return not_presented(o, words);
    }
    let message = format!("Error cleaning up challenge: {words}");
    Plan {
        events: vec![Event::warning(CHALLENGES, "CleanUpError", message)],
        ..Plan::idle()
    }
}

/// Say what keeps the answer from being put in place.
pub(super) fn not_presented(o: &Observation, problem: &str) -> Plan<Effect> {
    let message = format!("{NOT_PRESENTED}{problem}");
    let actions = say(o, &message);
    let is_news = !actions.is_empty();
    let event = || Event::warning(CHALLENGES, "PresentError", message);
    Plan {
        actions,
        events: is_news.then(event).into_iter().collect(),
        ..Plan::idle()
    }
}

/// What kept the answer from being put in place does no longer.
pub(super) fn unsay(o: &Observation) -> Option<Action> {
    forget(o, |reason| reason.starts_with(NOT_PRESENTED))
}

/// It waits for no other Challenge any more.
pub(super) fn unsay_wait(o: &Observation) -> Option<Action> {
    forget(o, is_wait)
}

/// Whether its status says why it does not go on, other than that others come first.
pub(super) fn is_caused(o: &Observation) -> bool {
    reason(o).is_some_and(|reason| !is_wait(reason))
}

fn is_wait(reason: &str) -> bool {
    [ANOTHER, NO_PLACE].contains(&reason)
}

fn forget(o: &Observation, is_over: impl Fn(&str) -> bool) -> Option<Action> {
    let id = Identity::of(&o.challenge.metadata);
    let forget = || patch_status(Kind::Challenge, &id, json!({ "reason": null }));
    reason(o).filter(|reason| is_over(reason)).map(|_| forget())
}

fn reason(o: &Observation) -> Option<&str> {
    o.challenge.status.as_ref()?.reason.as_deref()
}
