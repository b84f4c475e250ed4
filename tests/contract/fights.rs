//! Somebody else who works against a Certificate costs a bounded number of requests, and is named.

use anyhow::Result;
use serde_json::Value;

use crate::support::{DEADLINE, Namespace, certificate, is_ready, ready_condition};
use crate::{cluster, condition, overwrite, self_signed};

/// Requests that one Certificate may make within an hour.
const BUDGET: u64 = 6;

/// Whether the Certificate waits for its budget.
fn waits(object: &Value) -> bool {
    let issuing = condition(object, "Issuing");
    let message = issuing["message"].as_str().unwrap_or_default();
    message.contains("6 requests were made within an hour (--certificate-requests-per-hour)")
}

/// Do it again and again, until the Certificate waits; its revision then.
fn until_it_waits(
    namespace: &Namespace<'_>,
    mut act: impl FnMut(u64) -> Result<()>,
) -> Result<Value> {
    let mut acted = 0;
    loop {
        let further = |object: &Value| {
            let revision = object["status"]["revision"].as_u64();
            waits(object) || revision > Some(acted)
        };
        let what = format!("of a revision after {acted}, or waiting");
        let object = namespace.until(DEADLINE, "certificate", "site", &what, further)?;
        if waits(&object) {
            return Ok(object);
        }
        acted = object["status"]["revision"].as_u64().unwrap_or_default();
        act(acted)?;
    }
}

fn others_go_on(namespace: &Namespace<'_>) -> Result<()> {
    namespace.apply(&certificate("other", "self", "other.example.com", ""))?;
    namespace.ready("other", DEADLINE)?;
    Ok(())
}

#[test]
fn another_writer_of_the_secret() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("fights-writer")?;
    namespace.apply(&self_signed("self"))?;
    namespace.apply(&certificate("site", "self", "site.example.com", ""))?;
    namespace.ready("site", DEADLINE)?;
    namespace.apply(&certificate("theirs", "self", "site.example.com", ""))?;
    namespace.ready("theirs", DEADLINE)?;
    let held = namespace.get("secret", "theirs")?["data"].clone();
    let object = until_it_waits(&namespace, |_| overwrite(&namespace, &held))?;
    assert_eq!(object["status"]["revision"], BUDGET);
    let why = ready_condition(&object);
    let message = why["message"].as_str().unwrap_or_default();
    assert!(
        message.contains("\"secret-sync\" (a field manager)"),
        "{message}"
    );
    namespace.until_list("event", "a word about the budget", |events| {
        events.iter().any(|e| e["reason"] == "RequestBudgetSpent")
    })?;
    others_go_on(&namespace)
}

#[test]
fn a_spec_that_never_rests() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("fights-spec")?;
    namespace.apply(&self_signed("self"))?;
    namespace.apply(&certificate("site", "self", "site.example.com", ""))?;
    let object = until_it_waits(&namespace, |revision| {
        let name = format!("{revision}.example.com");
        namespace.apply(&certificate("site", "self", &name, ""))
    })?;
    assert_eq!(object["status"]["revision"], BUDGET);
    assert!(
        !is_ready(&object),
        "what is stored is not what is asked for"
    );
    others_go_on(&namespace)
}
