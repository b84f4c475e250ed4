//! What the API server was asked, from its audit log.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};

use anyhow::Result;
use lab::Lab;
use serde_json::Value;

/// A request of the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `get`, `create`, `patch`, `delete`, `list`, `watch`, `update`.
    pub verb: String,
    /// Plural, with the subresource behind a slash.
    pub resource: String,
    /// Empty for all namespaces.
    pub namespace: String,
    /// Empty where the request names no object.
    pub name: String,
    /// HTTP status code.
    pub code: u64,
}

impl Request {
    /// It is meant to change something.
    pub fn is_write(&self) -> bool {
        // A review is made to be answered, and kept nowhere.
        let asks = ["selfsubjectaccessreviews", "selfsubjectreviews"];
        !asks.contains(&self.resource.as_str())
            && !matches!(self.verb.as_str(), "get" | "list" | "watch")
    }
}

/// All requests of the operator so far that have been answered, in order.
pub fn requests(lab: &Lab) -> Result<Vec<Request>> {
    let log = std::fs::read_to_string(lab.audit_log())?;
    Ok(log.lines().filter_map(request).collect())
}

/// Those that are answered from now on.
pub struct Tail {
    log: BufReader<File>,
    /// The beginning of a line whose end is not there yet.
    line: Vec<u8>,
}

impl Tail {
    pub fn start(lab: &Lab) -> Result<Self> {
        let mut log = BufReader::new(File::open(lab.audit_log())?);
        log.seek(SeekFrom::End(0))?;
        Ok(Self { log, line: vec![] })
    }

    /// Since this was last asked.
    pub fn requests(&mut self) -> Result<Vec<Request>> {
        let mut all = vec![];
        while self.log.read_until(b'\n', &mut self.line)? > 0 {
            if self.line.ends_with(b"\n") {
                all.extend(request(&String::from_utf8_lossy(&self.line)));
                self.line.clear();
            }
        }
        Ok(all)
    }
}

fn request(line: &str) -> Option<Request> {
    // Most requests are others', and reading them takes its time.
    let event = line
        .contains("everleaf/")
        .then(|| serde_json::from_str(line));
    let event: Value = event?.ok()?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if event["stage"] != "ResponseComplete" || !text(&event["userAgent"]).starts_with("everleaf/") {
        return None;
    }
    let object = &event["objectRef"];
    let subresource = text(&object["subresource"]);
    let resource = text(&object["resource"]);
    Some(Request {
        verb: text(&event["verb"]),
        resource: if subresource.is_empty() {
            resource
        } else {
            format!("{resource}/{subresource}")
        },
        namespace: text(&object["namespace"]),
        name: text(&object["name"]),
        code: event["responseStatus"]["code"].as_u64().unwrap_or_default(),
    })
}
