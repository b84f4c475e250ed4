//! What is read of a reply, and whose an object is.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use serde::Deserialize;

use crate::api::labels;

/// What is read of a reply.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Reply {
    #[serde(default)]
    pub(super) metadata: ReplyMeta,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReplyMeta {
    #[serde(default)]
    pub(super) uid: String,
    #[serde(default)]
    pub(super) resource_version: String,
    pub(super) creation_timestamp: Option<Time>,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) owner_references: Vec<OwnerReference>,
}

/// Whose an object is that has the name of one of ours.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// It is the one that was to be made.
    Same,
    /// A next private key of the same owner, and another one than that at hand: no request must be made of this one.
    Unseen,
    /// Its owner was replaced by one of the same name: the garbage collector would take it away, but
    /// may need half a minute.
    Former,
    /// Somebody else's.
    Other,
}

/// By the controller that ours would have; an object without one is ours if it says so.
pub(super) fn owner(wanted: &ObjectMeta, found: &ReplyMeta) -> Owner {
    let mark =
        |labels: Option<&BTreeMap<String, String>>| labels?.get(labels::MANAGED_BY_LABEL).cloned();
    let controller = wanted
        .owner_references
        .iter()
        .flatten()
        .find(|o| o.controller == Some(true));
    let Some(controller) = controller else {
        let same = mark(wanted.labels.as_ref()) == mark(Some(&found.labels));
        return if same { Owner::Same } else { Owner::Other };
    };
    // What the informer and the facts want of one.
    let is_key = |labels: &BTreeMap<String, String>| {
        let mut marks = [labels::NEXT_PRIVATE_KEY_LABEL, labels::FAO_LABEL].iter();
        marks.all(|mark| labels.get(*mark).is_some_and(|v| v == labels::TRUE))
    };
    let is_key_wanted = wanted.labels.as_ref().is_some_and(is_key);
    let is_key_found = is_key(&found.labels);
    let found = &found.owner_references;
    let is_controlled = found
        .iter()
        .any(|o| o.uid == controller.uid && o.controller == Some(true));
    if found.iter().any(|o| o.uid == controller.uid) {
        match (is_key_wanted, is_key_found && is_controlled) {
            (false, _) => Owner::Same,
            (true, true) => Owner::Unseen,
            // No informer will show it as a key.
            (true, false) => Owner::Other,
        }
    } else if found
        .iter()
        .any(|o| o.kind == controller.kind && o.name == controller.name)
    {
        Owner::Former
    } else {
        Owner::Other
    }
}
