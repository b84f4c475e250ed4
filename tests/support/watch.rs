//! Every version of an object, as a client that watches it sees them.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use lab::{Lab, Process};
use serde_json::Value;

use super::namespace::persistently;
use super::{DEADLINE, api, poll, unique};

/// A watch that runs until it is dropped.
pub struct Watch(Process);

impl Watch {
    /// Watch one object, or with an empty name all of its kind; whatever happens from now on is seen.
    pub fn start(lab: &Lab, namespace: &str, kind: &str, name: &str) -> Result<Self> {
        persistently(|| Self::begin(lab, namespace, kind, name))
    }

    fn begin(lab: &Lab, namespace: &str, kind: &str, name: &str) -> Result<Self> {
        let pki = lab.dir().join("pki");
        let list = api::url(namespace, kind, "")?;
        let selector = match name {
            "" => String::new(),
            name => format!("&fieldSelector=metadata.name%3D{name}"),
        };
        let log = format!("watch-{kind}-{}", unique());
        let head = lab.dir().join(format!("{log}.head"));
        let mut curl = lab.command("curl");
        curl.args(["-fsSN", "--dump-header"])
            .arg(&head)
            .arg("--cacert")
            .arg(pki.join("ca.crt"))
            .arg("--cert")
            .arg(pki.join("admin.crt"))
            .arg("--key")
            .arg(pki.join("admin.key"))
            .arg(format!("{list}?watch=1{selector}"));
        let process = lab.spawn(&log, curl)?;
        // The API server answers when the watch stands. With another answer curl ends.
        lab.wait(DEADLINE, "an answer to the watch", || {
            let answer = std::fs::read_to_string(&head).unwrap_or_default();
            let (first, rest) = answer.split_once("\r\n").unwrap_or_default();
            let stands = first.contains(" 200") && rest.contains("\r\n\r\n");
            let ended = process.exit_status()?.is_some();
            Ok((ended || stands).then_some(()))
        })?;
        let watch = Self(process);
        watch.goes_on()?;
        Ok(watch)
    }

    /// One that has ended shows nothing any more.
    fn goes_on(&self) -> Result<()> {
        let Some(status) = self.0.exit_status()? else {
            return Ok(());
        };
        let log = self.0.log()?;
        let said = log.lines().next_back().unwrap_or_default();
        bail!("the watch has ended: {status}\n{said}")
    }

    /// Wait until what has happened satisfies `holds`. A watch may be behind what a GET has shown.
    pub fn until(
        &self,
        deadline: Duration,
        what: &str,
        holds: impl Fn(&[(String, Value)]) -> bool,
    ) -> Result<Vec<(String, Value)>> {
        poll(deadline, what, || {
            let ended = self.goes_on();
            let events = self.events()?;
            if holds(&events) {
                return Ok(Ok(events));
            }
            if ended.is_err() {
                return Ok(ended.map(|()| events));
            }
            bail!("{events:?}")
        })?
    }

    /// The same, of one version of an object.
    pub fn until_one(
        &self,
        deadline: Duration,
        what: &str,
        holds: impl Fn(&Value) -> bool,
    ) -> Result<Vec<(String, Value)>> {
        self.until(deadline, what, |events| {
            events.iter().any(|(_, object)| holds(object))
        })
    }

    /// Wait until it has shown this version of an object; what it has shown.
    pub fn as_far_as(&self, object: &Value) -> Result<Vec<(String, Value)>> {
        let version = |object: &Value| {
            let meta = &object["metadata"];
            (meta["uid"].clone(), meta["resourceVersion"].clone())
        };
        let wanted = version(object);
        self.until_one(DEADLINE, &format!("version {wanted:?}"), |object| {
            version(object) == wanted
        })
    }

    /// The same, of the one of these objects that was written last.
    pub fn as_far_as_all(&self, objects: &[Value]) -> Result<Vec<(String, Value)>> {
        let version = |object: &&Value| {
            let version = object["metadata"]["resourceVersion"].as_str();
            version.and_then(|version| version.parse::<u64>().ok())
        };
        let last = objects.iter().max_by_key(version);
        self.as_far_as(last.context("no objects")?)
    }

    /// What has happened so far: type and object.
    pub fn events(&self) -> Result<Vec<(String, Value)>> {
        let log = self.0.log()?;
        // The last line may be in the middle of being written.
        let lines = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        Ok(lines
            .map(|event| {
                let kind = event["type"].as_str().unwrap_or_default().to_owned();
                (kind, event["object"].clone())
            })
            .collect())
    }
}
