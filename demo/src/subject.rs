//! The two certificates of the demo, and what is seen of them and of their solvers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;

use crate::say::{Say, seconds};
use crate::site::Served;
use crate::watch::Event;

/// A certificate to be had.
pub struct Subject {
    /// Of the Certificate, its Secret and its Ingress.
    pub name: &'static str,
    /// What asks for it.
    pub title: &'static str,
    pub host: &'static str,
    /// The message of its Ready condition.
    pub said: String,
    /// From apply to Ready.
    pub ready: Option<Duration>,
    /// When it is renewed.
    pub due: Option<Timestamp>,
    /// Each certificate that a handshake showed, and when first.
    pub served: Vec<(Served, Instant)>,
    pub handshakes: usize,
}

impl Subject {
    fn new(name: &'static str, title: &'static str, host: &'static str) -> Self {
        Self {
            name,
            title,
            host,
            said: "not seen by the operator yet".to_owned(),
            ready: None,
            due: None,
            served: Vec::new(),
            handshakes: 0,
        }
    }
}

/// Everything that the watches have shown.
pub struct Seen {
    pub subjects: [Subject; 2],
    pub applied: Instant,
    /// When each solver object that is there appeared, by kind and name.
    pub solvers: BTreeMap<(&'static str, String), Instant>,
    /// Kinds of solver objects that came and went.
    pub gone: BTreeSet<&'static str>,
}

impl Seen {
    /// Nothing yet.
    pub fn new() -> Self {
        Self {
            subjects: [
                Subject::new("shop", "Certificate shop", "shop.example.com"),
                Subject::new("www", "Ingress www", "www.example.com"),
            ],
            applied: Instant::now(),
            solvers: BTreeMap::new(),
            gone: BTreeSet::new(),
        }
    }

    /// Takes note of an event; whether there was something to tell.
    pub fn note(&mut self, event: &Event, say: &Say) -> bool {
        match event.kind {
            "Certificate" => self.certificate(event, say),
            kind => self.solver(kind, event, say),
        }
    }

    fn certificate(&mut self, event: &Event, say: &Say) -> bool {
        let (name, status) = (&event.object["metadata"]["name"], &event.object["status"]);
        let Some(subject) = self
            .subjects
            .iter_mut()
            .find(|subject| name == subject.name)
        else {
            return false;
        };
        subject.due = status["renewalTime"]
            .as_str()
            .and_then(|time| time.parse().ok());
        let mut conditions = status["conditions"].as_array().into_iter().flatten();
        let Some(ready) = conditions.find(|condition| condition["type"] == "Ready") else {
            return false;
        };
        let said = ready["message"].as_str().unwrap_or_default();
        if subject.said == said {
            return false;
        }
        said.clone_into(&mut subject.said);
        let title = subject.title;
        if ready["status"] != "True" {
            say.line(&format!("{title}: {said}"));
        } else if subject.ready.is_none() {
            let after = event.at - self.applied;
            subject.ready = Some(after);
            say.line(&format!(
                "{title}: Ready, {} after apply. {said}",
                seconds(after)
            ));
        }
        true
    }

    /// A Pod, Service, Ingress or EndpointSlice of a solver came or went.
    fn solver(&mut self, kind: &'static str, event: &Event, say: &Say) -> bool {
        let metadata = &event.object["metadata"];
        let Some(whose) = self.whose(metadata) else {
            return false;
        };
        let name = metadata["name"].as_str().unwrap_or_default().to_owned();
        let key = (kind, name.clone());
        if event.gone {
            let Some(since) = self.solvers.remove(&key) else {
                return false;
            };
            self.gone.insert(kind);
            let after = seconds(event.at - since);
            say.line(&format!("{whose}: {kind} {name} is gone, after {after}"));
        } else {
            if self.solvers.contains_key(&key) {
                return false;
            }
            self.solvers.insert(key, event.at);
            say.line(&format!("{whose}: {kind} {name} appeared"));
        }
        true
    }

    /// Whose solver an object belongs to; nobody's, if Kubernetes made it for a Service and copied its labels.
    fn whose(&self, metadata: &Value) -> Option<String> {
        if metadata["labels"]["app.kubernetes.io/managed-by"] == "everleaf" {
            return Some("all solvers".to_owned());
        }
        let owner = &metadata["ownerReferences"][0];
        let challenge = owner["name"]
            .as_str()
            .filter(|_| owner["kind"] == "Challenge")?;
        let subject = self
            .subjects
            .iter()
            .find(|subject| belongs(challenge, subject.name))?;
        Some(format!("solver for {}", subject.host))
    }
}

/// Whether an object with a derived name, such as `shop-1-1009562299`, is of the Certificate of this name.
pub fn belongs(name: &str, certificate: &str) -> bool {
    name.strip_prefix(certificate)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}
