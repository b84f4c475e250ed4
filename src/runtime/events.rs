//! Kubernetes events: posted aside, so that no reconcile waits for one or fails with one, and while there are many
//! reconciles a little later. The same words about the same object are not said twice within a while.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Event as CoreEvent, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::clock::{monotonic, now};
use super::effects::Effects;
use super::queue::Queue;
use crate::api::labels;
use crate::controllers::action::Event;
use crate::controllers::digest::digest;
use crate::controllers::key::{Key, Kind};

/// Events that wait to be posted; more are dropped and counted in the log.
const WAITING: usize = 4096;
/// Time in which the same words are not repeated.
const SILENCE: Duration = Duration::from_mins(10);
/// The longest time that an event waits for reconciles to come to rest: who reads it can, and they cannot.
const PATIENCE: Duration = Duration::from_secs(5);
/// Where events about cluster-scoped objects are: the API server takes them nowhere else (`legacyValidateEvent`).
const OF_THE_CLUSTER: &str = "default";
/// A message of an event, in bytes (API limit 1024).
const LONGEST: usize = 1000;

/// Where events are posted.
#[derive(Clone)]
pub struct Events {
    sender: mpsc::Sender<(Instant, CoreEvent)>,
    said: Arc<Mutex<HashMap<u64, Instant>>>,
}

impl Events {
    /// Start posting, until `Self` is dropped and all is posted.
    pub fn start(effects: Effects, queue: Arc<Queue>) -> (Self, tokio::task::JoinHandle<()>) {
        let (sender, mut receiver) = mpsc::channel::<(Instant, CoreEvent)>(WAITING);
        let task = tokio::spawn(async move {
            while let Some((since, event)) = receiver.recv().await {
                let latest = (since + PATIENCE).into();
                drop(tokio::time::timeout_at(latest, queue.at_rest()).await);
                if let Err(error) = effects.post_event(&event).await {
                    tracing::debug!(%error, "an event could not be posted");
                }
            }
        });
        let said = Arc::default();
        (Self { sender, said }, task)
    }

    /// Post an event about an object.
    pub fn post(&self, key: &Key, uid: &str, event: Event) {
        if self.said_before(uid, &event) {
            return;
        }
        let event = (monotonic(), build(key, uid, event));
        if self.sender.try_send(event).is_err() {
            tracing::warn!(object = %key, "too many events wait to be posted; one is dropped");
        }
    }

    fn said_before(&self, uid: &str, event: &Event) -> bool {
        if !event.warning {
            // A success is told each time.
            return false;
        }
        let words = digest(&(uid, &event.reason, &event.message));
        let time = monotonic();
        let mut said = self.said.lock();
        if said.len() == said.capacity() {
            // Before it grows: not each time that there are many.
            said.retain(|_, at| time.duration_since(*at) < SILENCE);
        }
        let before = said.insert(words, time);
        before.is_some_and(|at| time.duration_since(at) < SILENCE)
    }
}

fn build(key: &Key, uid: &str, event: Event) -> CoreEvent {
    let time = now();
    let namespace = if key.namespace.is_empty() {
        OF_THE_CLUSTER
    } else {
        &*key.namespace
    };
    let group = match key.kind {
        Kind::Order | Kind::Challenge => labels::ACME_API_VERSION,
        Kind::Ingress => "networking.k8s.io/v1",
        Kind::Revocation | Kind::OrderedIssuer | Kind::ClusterOrderedIssuer => {
            labels::OWN_API_VERSION
        }
        _ => labels::API_VERSION,
    };
    CoreEvent {
        metadata: ObjectMeta {
            name: Some(format!("{:.230}.{:x}", key.name, time.as_nanosecond())),
            namespace: Some(namespace.to_string()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some(group.into()),
            kind: Some(key.kind.name().into()),
            namespace: (!key.namespace.is_empty()).then(|| key.namespace.to_string()),
            name: Some(key.name.to_string()),
            uid: Some(uid.into()),
            ..ObjectReference::default()
        },
        type_: Some(if event.warning { "Warning" } else { "Normal" }.into()),
        reason: Some(event.reason),
        message: Some(shortened(event.message)),
        source: Some(EventSource {
            component: Some(event.component.into()),
            host: None,
        }),
        reporting_component: Some(event.component.into()),
        first_timestamp: Some(Time(time)),
        last_timestamp: Some(Time(time)),
        count: Some(1),
        ..CoreEvent::default()
    }
}

fn shortened(mut message: String) -> String {
    if message.len() > LONGEST {
        let end = (0..=LONGEST)
            .rev()
            .find(|i| message.is_char_boundary(*i))
            .unwrap_or_default();
        message.truncate(end);
        message.push('…');
    }
    message
}
