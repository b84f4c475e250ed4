//! The operator's requests, from the audit log of the API server.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader};

use anyhow::Result;
use lab::Lab;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    stage: String,
    verb: String,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    object_ref: Reference,
    #[serde(default)]
    response_status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Reference {
    resource: String,
    subresource: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    code: u16,
}

/// How often each kind of request was made: everything but watches and the Lease.
#[derive(Debug, Default, Clone)]
pub struct Requests(BTreeMap<String, usize>);

impl Requests {
    /// What the operator has asked of the API server until now.
    pub fn of_operator(lab: &Lab) -> Result<Self> {
        let mut counts = BTreeMap::new();
        for line in BufReader::new(File::open(lab.audit_log())?).lines() {
            let entry: Entry = serde_json::from_str(&line?)?;
            let object = &entry.object_ref;
            if entry.stage != "ResponseComplete"
                || entry.verb == "watch"
                || object.resource == "leases"
                || !entry.user_agent.starts_with("everleaf/")
            {
                continue;
            }
            let mut kind = format!("{} {}", entry.verb, object.resource);
            if !object.subresource.is_empty() {
                write!(kind, "/{}", object.subresource)?;
            }
            if entry.response_status.code >= 400 {
                write!(kind, " ({})", entry.response_status.code)?;
            }
            *counts.entry(kind).or_default() += 1;
        }
        Ok(Self(counts))
    }

    /// What came after `earlier`.
    pub fn since(mut self, earlier: &Self) -> Self {
        for (kind, count) in &mut self.0 {
            *count -= earlier.0.get(kind).copied().unwrap_or_default();
        }
        self.0.retain(|_, count| *count > 0);
        self
    }

    pub fn total(&self) -> usize {
        self.0.values().sum()
    }

    /// Those that are meant to change something.
    pub fn writes(&self) -> usize {
        let reads = ["get ", "list "];
        let writes = self
            .0
            .iter()
            .filter(|(kind, _)| !reads.iter().any(|read| kind.starts_with(read)));
        writes.map(|(_, count)| count).sum()
    }

    /// Requests a certificate.
    pub fn each(&self, certificates: usize) -> f64 {
        self.total() as f64 / certificates as f64
    }

    /// A line for each kind, the most frequent first.
    pub fn by_kind(&self, certificates: usize) -> String {
        let mut kinds: Vec<_> = self.0.iter().collect();
        kinds.sort_by(|a, b| b.1.cmp(a.1));
        let line = |(kind, count): (&String, &usize)| {
            format!("  {:>6.2} {kind}\n", *count as f64 / certificates as f64)
        };
        kinds.into_iter().map(line).collect()
    }
}
