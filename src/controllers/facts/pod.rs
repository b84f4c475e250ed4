//! A Pod, as little of it as tells why it does not run. Reading whole Pods would put their hundreds of
//! types into the program.

use std::borrow::Cow;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::Deserialize;

/// `v1` Pod.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct PodView {
    /// Its metadata.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// Its status.
    #[serde(default)]
    pub status: Status,
}

/// `status` of a Pod.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    phase: Option<String>,
    conditions: Vec<Condition>,
    container_statuses: Vec<Container>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    message: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Container {
    state: State,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct State {
    waiting: Option<Waiting>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Waiting {
    reason: Option<String>,
}

impl Resource for PodView {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        Pod::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        Pod::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        Pod::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        Pod::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl PodView {
    /// Why it does not run; `None` when it does. A Pod that runs may still not answer; that is the
    /// self-check's to say.
    pub fn problem(&self) -> Option<String> {
        let status = &self.status;
        let phase = status
            .phase
            .as_deref()
            .filter(|phase| *phase != "Running")?;
        let unscheduled = status
            .conditions
            .iter()
            .find(|c| c.kind == "PodScheduled" && c.status == "False");
        if let Some(unscheduled) = unscheduled {
            let message = unscheduled.message.as_deref().unwrap_or_default();
            return Some(format!("cannot be scheduled: {message}"));
        }
        let mut containers = status.container_statuses.iter();
        let waiting = containers.find_map(|c| c.state.waiting.as_ref()?.reason.as_deref());
        Some(waiting.map_or_else(
            || format!("is {phase}"),
            |reason| format!("is waiting: {reason}"),
        ))
    }
}
