//! A namespace of a cluster: what is asked for in it, and what there is to see.

use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow, ensure};
use lab::Lab;
use parking_lot::{RwLockReadGuard, RwLockWriteGuard};
use serde_json::{Value, json};

use super::{Cluster, DEADLINE, Watch, api, entry, is_ready, ready_condition, unique};

/// Between two looks at the cluster.
pub(super) const POLL: Duration = Duration::from_millis(250);

/// Whether others have the cluster at the same time.
pub(super) enum Turn<'a> {
    Together(#[expect(dead_code, reason = "held")] RwLockReadGuard<'a, ()>),
    Alone(#[expect(dead_code, reason = "held")] RwLockWriteGuard<'a, ()>),
}

/// A namespace of a [`Cluster`].
pub struct Namespace<'a> {
    pub cluster: &'a Cluster,
    pub name: String,
    pub(super) _turn: Turn<'a>,
}

impl Namespace<'_> {
    /// Apply YAML in this namespace.
    pub fn apply(&self, yaml: &str) -> Result<()> {
        self.kubectl(&["apply", "-f", &self.file(yaml)?])?;
        Ok(())
    }

    /// Create the object of this YAML; as it was before anybody else has changed it.
    pub fn create(&self, yaml: &str) -> Result<Value> {
        let file = self.file(yaml)?;
        let mut created = self.kubectl(&["create", "--output=json", "-f", &file])?;
        if created.is_empty() {
            created = self.kubectl(&["get", "--output=json", "-f", &file])?;
        }
        Ok(serde_json::from_str(&created)?)
    }

    fn file(&self, yaml: &str) -> Result<String> {
        let name = format!("{}-{}.yaml", self.name, unique());
        let file = self.cluster.lab.dir().join(name);
        std::fs::write(&file, yaml)?;
        Ok(file.to_string_lossy().into_owned())
    }

    /// Run kubectl in this namespace; what it said.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let of = format!("--namespace={}", self.name);
        kubectl(&self.cluster.lab, &[arguments, &[&of]].concat())
    }

    /// One object.
    pub fn get(&self, kind: &str, name: &str) -> Result<Value> {
        let url = api::url(&self.name, kind, name)?;
        let object = persistently(|| self.cluster.lab.get(&url))?;
        Ok(serde_json::from_str(&object)?)
    }

    /// All objects of a kind.
    pub fn list(&self, kind: &str) -> Result<Vec<Value>> {
        let url = api::url(&self.name, kind, "")?;
        let list = persistently(|| self.cluster.lab.get(&url))?;
        let list: Value = serde_json::from_str(&list)?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    /// Ask for a new certificate, as `cmctl renew` does.
    pub fn renew(&self, name: &str) -> Result<()> {
        let certificate = self.get("certificate", name)?;
        let mut conditions = certificate["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        conditions.retain(|condition| condition["type"] != "Issuing");
        conditions.push(json!({
            "type": "Issuing", "status": "True", "reason": "ManuallyTriggered",
            "message": "Certificate re-issuance manually triggered",
            "lastTransitionTime": format!("{:.0}", jiff::Timestamp::now()),
            "observedGeneration": certificate["metadata"]["generation"],
        }));
        let patch = json!({ "status": { "conditions": conditions } }).to_string();
        let patch = ["--subresource=status", "--type=merge", "--patch", &patch];
        self.kubectl(&[&["patch", "certificate", name], &patch[..]].concat())?;
        Ok(())
    }

    /// Have two attempts for a Certificate as failed: by itself the next one comes ten minutes after the last then, and in
    /// no test.
    pub fn failed_twice(&self, name: &str) -> Result<()> {
        let patch = "--patch={\"status\":{\"failedIssuanceAttempts\":2}}";
        let patch = ["--subresource=status", "--type=merge", patch];
        self.kubectl(&[&["patch", "certificate", name], &patch[..]].concat())?;
        Ok(())
    }

    /// Have the certificate of this Certificate revoked; what the status says of it.
    pub fn revoked(&self, certificate: &str, reason: &str) -> Result<Value> {
        self.revoked_as(certificate, certificate, reason)
    }

    /// The same, by a CertificateRevocation of this name.
    pub fn revoked_as(&self, name: &str, certificate: &str, reason: &str) -> Result<Value> {
        self.apply(&format!(
            "{{apiVersion: everleaf.io/v1alpha1, kind: CertificateRevocation, metadata: {{name: {name}}}, spec: \
             {{certificateRef: {{name: {certificate}}}, reason: {reason}}}}}"
        ))?;
        let kind = "certificaterevocation";
        let done = self.until(DEADLINE, kind, name, "done", |object| {
            ready_condition(object)["reason"] == "Revoked"
        })?;
        Ok(done["status"]["certificates"][0].clone())
    }

    /// Record every version of an object from now on.
    pub fn watch(&self, kind: &str, name: &str) -> Result<Watch> {
        Watch::start(&self.cluster.lab, &self.name, kind, name)
    }

    /// A condition of an object; null when it has none of that type.
    pub fn condition(&self, kind: &str, name: &str, condition: &str) -> Result<Value> {
        let object = self.get(kind, name)?;
        let all = object["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        Ok(all
            .into_iter()
            .find(|c| c["type"] == condition)
            .unwrap_or_default())
    }

    /// Wait until an object satisfies `holds`; at the deadline, say what it looked like last.
    pub fn until(
        &self,
        deadline: Duration,
        kind: &str,
        name: &str,
        what: &str,
        holds: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let what = format!("{kind} {}/{name} that is {what}", self.name);
        let seen = poll(deadline, &what, || {
            let object = self.get(kind, name)?;
            ensure!(holds(&object), "{:#}", object["status"]);
            Ok(object)
        });
        seen.map_err(|error| self.with_log(&error))
    }

    /// What went wrong, with the last that the operator has logged of this namespace.
    fn with_log(&self, error: &Error) -> Error {
        let log = self.cluster.operator_log().unwrap_or_default();
        let of_it = format!(" {}/", self.name);
        let mut lines: Vec<String> = log
            .lines()
            .rev()
            .filter(|line| line.contains(&of_it) || line.contains(&of_it.replace(' ', "=")))
            .map(|line| line.chars().take(400).collect())
            .take(40)
            .collect();
        lines.reverse();
        anyhow!(
            "{error:#}\nthe operator of {}:\n{}",
            self.name,
            lines.join("\n")
        )
    }

    /// Wait until the operator asks for nothing of this namespace, as [`Cluster::quiet`] does for all.
    pub fn quiet(&self) -> Result<()> {
        self.cluster.quiet_as_to(|r| r.namespace == self.name)
    }

    /// Whether there is an object of this name.
    pub fn has(&self, kind: &str, name: &str) -> Result<bool> {
        let all = self.list(kind)?;
        Ok(all.iter().any(|object| object["metadata"]["name"] == name))
    }

    /// Delete its Certificates. The CA is asked about each, one a second: those of other tests would wait for their turn.
    pub fn leave_the_line(&self) -> Result<()> {
        self.kubectl(&["delete", "certificates", "--all", "--wait=false"])
            .map(drop)
    }

    /// Wait until the objects of a kind satisfy `holds`.
    pub fn until_list(
        &self,
        kind: &str,
        what: &str,
        holds: impl Fn(&[Value]) -> bool,
    ) -> Result<Vec<Value>> {
        self.until_list_within(DEADLINE, kind, what, holds)
    }

    /// The same, with a deadline of the caller's.
    pub fn until_list_within(
        &self,
        deadline: Duration,
        kind: &str,
        what: &str,
        holds: impl Fn(&[Value]) -> bool,
    ) -> Result<Vec<Value>> {
        poll(
            deadline,
            &format!("{kind} in {}: {what}", self.name),
            || {
                let all = self.list(kind)?;
                ensure!(holds(&all), "{all:?}");
                Ok(all)
            },
        )
    }

    /// The events, once so many issuances are among them. They are posted in the order of what happened, so that whatever
    /// was to be told before is there too.
    pub fn events_after(&self, issuances: usize) -> Result<Vec<Value>> {
        self.until_list("event", &format!("{issuances} issuances told"), |all| {
            let told = all
                .iter()
                .filter(|e| e["message"] == "The certificate has been successfully issued");
            told.count() >= issuances
        })
    }

    /// Wait until a Certificate is Ready for its current generation and nothing is under way.
    pub fn ready(&self, name: &str, deadline: Duration) -> Result<Value> {
        self.until(deadline, "certificate", name, "Ready", is_ready)
    }

    /// Wait until the message of a Certificate's Ready condition contains all of `words`.
    pub fn says(&self, name: &str, words: &[&str], deadline: Duration) -> Result<String> {
        let object = self.until(
            deadline,
            "certificate",
            name,
            &format!("saying {words:?}"),
            |object| {
                let message = ready_condition(object)["message"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned();
                words.iter().all(|word| message.contains(word))
            },
        )?;
        Ok(ready_condition(&object)["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned())
    }

    /// Wait until there is no object of these kinds left.
    pub fn none_left(&self, kinds: &[&str], deadline: Duration) -> Result<()> {
        let what = format!("end of all {kinds:?} in {}", self.name);
        poll(deadline, &what, || {
            for kind in kinds {
                let left = self.list(kind)?;
                let names = left.iter().map(|object| &object["metadata"]["name"]);
                ensure!(left.is_empty(), "{kind}: {:?}", names.collect::<Vec<_>>());
            }
            Ok(())
        })
    }

    /// One entry of a Secret, decoded.
    pub fn secret_entry(&self, name: &str, part: &str) -> Result<Vec<u8>> {
        entry(&self.get("secret", name)?, part)
    }

    /// Check that key and certificate of a Secret belong together.
    pub fn pair_matches(&self, secret: &str) -> Result<()> {
        self.cluster.is_pair(&self.get("secret", secret)?)
    }

    /// What openssl says about a certificate of this namespace, with these options of `openssl x509`.
    pub fn x509(&self, secret: &str, options: &[&str]) -> Result<String> {
        let certificate = self.secret_entry(secret, "tls.crt")?;
        self.cluster
            .openssl(&[&["x509", "-noout"], options].concat(), &certificate)
    }

    /// Serial number of the certificate in a Secret, as CAs have it on record.
    pub fn serial(&self, secret: &str) -> Result<String> {
        let said = self.x509(secret, &["-serial"])?;
        let serial = said.trim().strip_prefix("serial=").context("a serial")?;
        Ok(serial.trim_start_matches('0').to_lowercase())
    }
}

/// Words of kubectl and of the API server for an answer that did not come.
const LOST: [&str; 10] = [
    "etcdserver:",
    "(Timeout)",
    "Client.Timeout",
    "handshake timeout",
    "i/o timeout",
    "deadline exceeded",
    "EOF",
    "connection refused",
    "connection reset",
    "connection lost",
];

/// What a command has said that failed: all but the first line, in which the command is.
fn said(error: &Error) -> String {
    let text = format!("{error:#}");
    text.split_once('\n').unwrap_or_default().1.to_owned()
}

/// Whether no answer came. Of curl it is whatever is not 4xx.
fn is_lost(said: &str) -> bool {
    let of_curl = said.contains("curl: (") && !said.contains("returned error: 4");
    of_curl || LOST.iter().any(|word| said.contains(word))
}

/// Run a command that asks a server; once or twice more if the answer is lost, as on a busy machine. No refusal is.
pub(super) fn persistently<T>(mut ask: impl FnMut() -> Result<T>) -> Result<T> {
    for _ in 1..3 {
        match ask() {
            Err(error) if is_lost(&said(&error)) => std::thread::sleep(POLL),
            done => return done,
        }
    }
    ask()
}

/// Run kubectl so. What was created or deleted although the answer was lost, is; nothing is said of it then.
pub(super) fn kubectl(lab: &Lab, arguments: &[&str]) -> Result<String> {
    let done = match arguments.first() {
        Some(&"create") => Some("(AlreadyExists)"),
        Some(&"delete") => Some("(NotFound)"),
        _ => None,
    };
    let mut is_again = false;
    persistently(|| {
        let answer = lab.kubectl(arguments);
        let was_lost = std::mem::replace(&mut is_again, true);
        let refused = answer.as_ref().err().map(said).unwrap_or_default();
        let is_done = done.is_some_and(|done| refused.contains(done));
        if was_lost && is_done && !is_lost(&refused) {
            return Ok(String::new());
        }
        answer
    })
}

/// Look until there is what is wanted. An error says what there is instead, or why it could not be seen: one answer that
/// does not come on a busy machine is no end. At the deadline the last one is told.
pub fn poll<T>(deadline: Duration, what: &str, mut look: impl FnMut() -> Result<T>) -> Result<T> {
    let end = Instant::now() + deadline;
    loop {
        match look() {
            Err(last) if Instant::now() > end => {
                let error = last.context(format!("waited {deadline:?} for {what}; last"));
                return Err(error);
            }
            Err(_) => std::thread::sleep(POLL),
            found => return found,
        }
    }
}
