//! Kubernetes events: posted aside, so that no reconcile waits for one or fails with one, and while there are many
//! reconciles a little later. The same words about the same object are not said twice within a while.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Event as CoreEvent, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::clock::{monotonic, now};
use super::effects::{EffectError, Effects};
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

/// Before an event is posted once more that the API server did not answer for, or could not take.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// Digests of words, and when they were said.
type Said = Arc<Mutex<HashMap<u64, Instant>>>;

/// Where events are posted.
#[derive(Clone)]
pub struct Events {
    sender: mpsc::Sender<Waiting>,
    said: Said,
}

/// An event that waits to be posted.
struct Waiting {
    since: Instant,
    /// The digest of what is not to be said twice.
    words: Option<u64>,
    event: CoreEvent,
}

impl Events {
    /// Start posting, until `Self` is dropped and all is posted.
    pub fn start(effects: Effects, queue: Arc<Queue>) -> (Self, tokio::task::JoinHandle<()>) {
        let (sender, mut receiver) = mpsc::channel::<Waiting>(WAITING);
        let said = Said::default();
        let events = Self {
            sender,
            said: said.clone(),
        };
        let task = tokio::spawn(async move {
            let mut failing = Failing::default();
            while let Some(waiting) = receiver.recv().await {
                let latest = (waiting.since + PATIENCE).into();
                drop(tokio::time::timeout_at(latest, queue.at_rest()).await);
                let posted = post(&effects, &waiting.event, failing.pauses(&waiting.event)).await;
                failing.note(&waiting.event, &posted);
                if let Err(error) = posted {
                    tracing::debug!(%error, "an event could not be posted");
                    if error.may_pass() {
                        take_back(&said, waiting.words);
                    }
                }
            }
        });
        (events, task)
    }

    /// Post an event about an object.
    pub fn post(&self, key: &Key, uid: &str, event: Event) {
        // A success is told each time.
        let words = event
            .warning
            .then(|| digest(&(uid, &event.reason, &event.message)));
        if words.is_some_and(|words| self.said_before(words)) {
            return;
        }
        let event = Waiting {
            since: monotonic(),
            words,
            event: build(key, uid, event),
        };
        if self.sender.try_send(event).is_err() {
            tracing::warn!(object = %key, "too many events wait to be posted; one is dropped");
            take_back(&self.said, words);
        }
    }

    fn said_before(&self, words: u64) -> bool {
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

/// Nobody has read it: the next one to say it is heard.
fn take_back(said: &Said, words: Option<u64>) {
    if let Some(words) = words {
        said.lock().remove(&words);
    }
}

/// Where the last event could not be posted: that of all, and those of namespaces, which may have webhooks of their own.
#[derive(Default)]
struct Failing {
    last: bool,
    namespaces: HashSet<String>,
}

impl Failing {
    /// After which pauses this event is tried again: others wait behind it, and what has failed for the last one will for this.
    fn pauses(&self, event: &CoreEvent) -> &'static [Duration] {
        let namespace = event.metadata.namespace.as_deref().unwrap_or_default();
        if self.last || self.namespaces.contains(namespace) {
            &[]
        } else {
            &PAUSES
        }
    }

    fn note(&mut self, event: &CoreEvent, posted: &Result<(), EffectError>) {
        let namespace = event.metadata.namespace.clone().unwrap_or_default();
        self.last = may_pass(posted);
        if self.last {
            self.namespaces.insert(namespace);
        } else {
            self.namespaces.remove(&namespace);
        }
    }
}

fn may_pass(posted: &Result<(), EffectError>) -> bool {
    posted.as_ref().is_err_and(EffectError::may_pass)
}

/// Post an event; later ones wait, so that all are told in order.
async fn post(
    effects: &Effects,
    event: &CoreEvent,
    pauses: &[Duration],
) -> Result<(), EffectError> {
    let mut answer = effects.post_event(event).await;
    for pause in pauses {
        if !may_pass(&answer) {
            break;
        }
        tokio::time::sleep(*pause).await;
        answer = match effects.post_event(event).await {
            // The name is taken by itself: only the answer was lost.
            Err(EffectError::Stale { .. }) => Ok(()),
            answer => answer,
        };
    }
    answer
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

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "tests fail by panicking"
    )]

    use std::collections::VecDeque;

    use http::{Request, Response};
    use http_body_util::BodyExt as _;
    use kube::Client;
    use kube::client::Body;
    use tower::service_fn;

    use super::*;
    use crate::controllers::progress::Progress;

    /// An API server that answers with these statuses, then with 201, and keeps what it was sent: a real one fails so by
    /// chance only.
    #[derive(Clone, Default)]
    struct Server {
        answers: Arc<Mutex<VecDeque<u16>>>,
        sent: Arc<Mutex<Vec<CoreEvent>>>,
    }

    impl Server {
        async fn answer(self, request: Request<Body>) -> http::Result<Response<Body>> {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let event = serde_json::from_slice(&body).unwrap();
            self.sent.lock().push(event);
            let code = self.answers.lock().pop_front().unwrap_or(201);
            let reply = if code == 201 {
                serde_json::json!({ "metadata": {} })
            } else {
                serde_json::json!({ "kind": "Status", "status": "Failure", "message": "", "code": code })
            };
            let body = Body::from(reply.to_string().into_bytes());
            Response::builder().status(code).body(body)
        }

        fn client(&self) -> Client {
            let server = self.clone();
            Client::new(
                service_fn(move |request| server.clone().answer(request)),
                "default",
            )
        }
    }

    fn start(answers: &[u16]) -> (Events, tokio::task::JoinHandle<()>, Server) {
        let server = Server {
            answers: Arc::new(Mutex::new(answers.iter().copied().collect())),
            ..Server::default()
        };
        let effects = Effects::new(server.client(), Arc::default());
        let queue = Arc::new(Queue::new(8, Arc::<Progress>::default()));
        let (events, task) = Events::start(effects, queue);
        (events, task, server)
    }

    fn warn(events: &Events, message: &str) {
        warn_in("shop", events, message);
    }

    fn warn_in(namespace: &str, events: &Events, message: &str) {
        let key = Key::new(Kind::Certificate, namespace, "www");
        let event = Event {
            warning: true,
            reason: "Failed".into(),
            message: message.to_owned(),
            component: "everleaf",
        };
        events.post(&key, "uid", event);
    }

    fn messages(server: &Server) -> Vec<String> {
        let sent = server.sent.lock();
        sent.iter().filter_map(|e| e.message.clone()).collect()
    }

    #[tokio::test]
    async fn an_event_whose_answer_is_lost_is_posted_again_under_its_name_before_the_next() {
        let (events, task, server) = start(&[504, 409]);
        warn(&events, "first");
        warn(&events, "first");
        warn(&events, "second");
        drop(events);
        task.await.unwrap();
        assert_eq!(messages(&server), ["first", "first", "second"]);
        let sent = server.sent.lock();
        let names: Vec<_> = sent.iter().map(|e| &e.metadata.name).collect();
        assert_eq!(names[0], names[1]);
        assert_ne!(names[1], names[2]);
    }

    #[tokio::test]
    async fn what_could_not_be_posted_is_not_taken_for_said() {
        let tries = PAUSES.len() + 1;
        let (events, task, server) = start(&vec![503; tries]);
        warn(&events, "down");
        let posted = async {
            while messages(&server).len() <= tries {
                warn(&events, "down");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let limit = 10 * PAUSES.iter().sum::<Duration>();
        tokio::time::timeout(limit, posted).await.unwrap();
        warn(&events, "down");
        drop(events);
        task.await.unwrap();
        assert_eq!(messages(&server).len(), tries + 1, "said once");
    }

    /// Those behind it would wait for each: a webhook of one namespace fails for good, an API server is down for long.
    #[tokio::test]
    async fn what_fails_is_tried_once_until_it_works_again() {
        let down = [503; PAUSES.len() + 1];
        let (events, task, server) = start(&[&down[..], &[503, 201, 503, 201, 503][..]].concat());
        for (namespace, message) in [
            ("shop", "tried again"),
            ("blog", "all fails"),
            ("blog", "works again"),
            ("shop", "fails still"),
            ("shop", "works too"),
            ("shop", "tried again, too"),
        ] {
            warn_in(namespace, &events, message);
        }
        drop(events);
        task.await.unwrap();
        let mut expected = vec!["tried again"; down.len()];
        expected.extend(["all fails", "works again", "fails still", "works too"]);
        expected.extend(["tried again, too"; 2]);
        assert_eq!(messages(&server), expected);
    }

    #[tokio::test]
    async fn what_is_refused_is_not_asked_for_again() {
        let (events, task, server) = start(&[403]);
        warn(&events, "no rights");
        warn(&events, "no rights");
        drop(events);
        task.await.unwrap();
        assert_eq!(messages(&server).len(), 1);
    }
}
