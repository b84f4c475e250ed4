//! Watches on the demo's namespace, merged into one stream.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lab::Lab;
use serde_json::Value;

/// Kind and path of what is watched; of Pods, Services and the like only those of HTTP-01 solvers.
const WATCHED: [(&str, &str, &str); 5] = [
    ("Certificate", "/apis/cert-manager.io/v1", "certificates"),
    ("Pod", "/api/v1", "pods"),
    ("Service", "/api/v1", "services"),
    (
        "EndpointSlice",
        "/apis/discovery.k8s.io/v1",
        "endpointslices",
    ),
    ("Ingress", "/apis/networking.k8s.io/v1", "ingresses"),
];
const SOLVERS: &str = "&labelSelector=acme.cert-manager.io/http01-solver%3Dtrue";

/// An object appeared, changed, or went.
#[derive(Debug)]
pub struct Event {
    pub kind: &'static str,
    pub gone: bool,
    pub object: Value,
    pub at: Instant,
}

/// The running watches. Dropping it ends them.
#[derive(Debug)]
pub struct Watch {
    watchers: Vec<Child>,
    events: Receiver<Event>,
}

impl Watch {
    pub fn start(lab: &Lab) -> Result<Self> {
        let (sender, events) = mpsc::channel();
        let mut watch = Self {
            watchers: Vec::new(),
            events,
        };
        for (kind, api, plural) in WATCHED {
            let selector = if kind == "Certificate" { "" } else { SOLVERS };
            let path =
                format!("{api}/namespaces/demo/{plural}?watch=1&timeoutSeconds=3600{selector}");
            let mut watcher = lab
                .command("kubectl")
                .args(["get", "--raw", &path])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()?;
            let output = watcher.stdout.take().context("a pipe")?;
            watch.watchers.push(watcher);
            let sender = sender.clone();
            thread::spawn(move || forward(kind, BufReader::new(output), &sender));
        }
        Ok(watch)
    }

    /// The next event, if one comes in time.
    pub fn next(&self, patience: Duration) -> Option<Event> {
        self.events.recv_timeout(patience).ok()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        for watcher in &mut self.watchers {
            // Either fails only for one that has already ended.
            let _ = watcher.kill();
            let _ = watcher.wait();
        }
    }
}

/// Until the watch ends or nobody listens any more.
fn forward(kind: &'static str, output: impl BufRead, events: &Sender<Event>) {
    for line in output.lines().map_while(Result::ok) {
        let Ok(mut change) = serde_json::from_str::<Value>(&line) else {
            return;
        };
        let event = Event {
            kind,
            gone: change["type"] == "DELETED",
            object: change["object"].take(),
            at: Instant::now(),
        };
        if events.send(event).is_err() {
            return;
        }
    }
}
