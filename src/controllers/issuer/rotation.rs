//! What a CA issuer says of a rotation of its CA: the state in `status.ca`, and the condition `CARotation`.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::plan::component;
use super::{Observation, Settings};
use crate::api::Condition;
use crate::controllers::action::Event;
use crate::controllers::rotation::{Known, Phase, Rotation, Signing, Terms, Turn, advance};
use crate::controllers::status::{condition, remove_condition, set_condition};

/// The condition, and the reason of its events.
const ROTATION: &str = "CARotation";

/// The next turn of the issuer's certificates; `None` if it asks for no rotations, or if its CA cannot sign now.
pub(super) fn follow(
    o: &Observation,
    settings: &Settings,
    signing: Option<&Signing>,
    now: Timestamp,
) -> Option<Turn> {
    let asked = o.issuer.spec.ca.as_ref()?.rotation.as_ref()?;
    let terms = Terms::of(asked, settings.pace);
    let known = Known::of(&o.issuer);
    Some(advance(known.as_ref(), signing?, &o.leaves, &terms, now))
}

/// Put what has changed into the status; the events about it.
pub(super) fn publish(
    o: &Observation,
    turn: &Turn,
    conditions: &mut Vec<Condition>,
    status: &mut Map<String, Value>,
    now: Timestamp,
) -> Vec<Event> {
    let before = Known::of(&o.issuer);
    if before.as_ref() == Some(&turn.known) {
        return vec![];
    }
    status.insert("ca".into(), turn.known.to_status());
    let before = before.and_then(|known| known.rotation);
    let after = turn.known.rotation.as_ref();
    let generation = Some(o.issuer.generation);
    let new = match (&before, after) {
        (_, Some(rotation)) => {
            let message = message(rotation, turn.next);
            condition(ROTATION, true, rotation.phase.name(), message, generation)
        }
        (Some(_), None) => {
            let message = "All certificates are of the CA in the Secret, and trust its root alone";
            condition(ROTATION, false, "Rotated", message, generation)
        }
        (None, None) => return vec![],
    };
    let told = new.message.clone().unwrap_or_default();
    set_condition(conditions, new, now);
    let phase = |rotation: &Rotation| (rotation.phase, rotation.since);
    if before.as_ref().map(phase) == after.map(phase) {
        return vec![];
    }
    vec![Event::normal(component(o), ROTATION, told)]
}

/// The user does not ask for rotations any more: what is left of them goes.
pub(super) fn retract(
    o: &Observation,
    conditions: &mut Vec<Condition>,
    status: &mut Map<String, Value>,
) {
    if o.issuer.status.ca.is_some() {
        status.insert("ca".into(), Value::Null);
        remove_condition(conditions, ROTATION);
    }
}

fn message(rotation: &Rotation, next: Option<Timestamp>) -> String {
    let (done, all) = (rotation.done, rotation.certificates);
    let begun = rotation.started;
    let rest = match rotation.phase {
        Phase::Trusting => format!("ca.crt of {done} of {all} certificates holds the new root too"),
        Phase::Reissuing => format!("{done} of {all} certificates are issued anew"),
        Phase::Overlapping => {
            format!("all {all} certificates are issued anew, and trust the old root too")
        }
        Phase::Retiring => format!("{done} of {all} certificates trust the new root alone"),
    };
    let next = next.map(|next| match rotation.phase {
        Phase::Overlapping => format!(", until {next:.0}"),
        _ => format!("; the next wave begins at {next:.0} at the earliest"),
    });
    let next = next.unwrap_or_default();
    format!("Another CA came into the Secret at {begun:.0}: {rest}{next}")
}
