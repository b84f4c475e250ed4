//! Every version of an object, as a client that watches it sees them.

use anyhow::Result;
use lab::{Lab, Process};
use serde_json::Value;

use super::{api, unique};

/// A watch that runs until it is dropped.
pub struct Watch(Process);

impl Watch {
    /// Watch one object, or with an empty name all of its kind.
    pub fn start(lab: &Lab, namespace: &str, kind: &str, name: &str) -> Result<Self> {
        let pki = lab.dir().join("pki");
        let list = api::url(namespace, kind, "")?;
        let selector = match name {
            "" => String::new(),
            name => format!("&fieldSelector=metadata.name%3D{name}"),
        };
        let mut curl = lab.command("curl");
        curl.args(["-sSN", "--cacert"])
            .arg(pki.join("ca.crt"))
            .arg("--cert")
            .arg(pki.join("admin.crt"))
            .arg("--key")
            .arg(pki.join("admin.key"))
            .arg(format!("{list}?watch=1{selector}"));
        Ok(Self(
            lab.spawn(&format!("watch-{kind}-{}", unique()), curl)?,
        ))
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
