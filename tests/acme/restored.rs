//! What a backup brings back without its status, of a Certificate that has another uid by now: the CA does not hear of it.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::support::{Ca, DEADLINE, Namespace, certificate};
use crate::{TRAEFIK, cluster};

/// The only object of a kind, as a backup creates it again.
fn backup(namespace: &Namespace<'_>, kind: &str) -> Result<Value> {
    let all = namespace.list(kind)?;
    let mut object = all.into_iter().next().context("one")?;
    let whole = object.as_object_mut().context("an object")?;
    whole.remove("status");
    let meta = whole["metadata"].as_object_mut().context("metadata")?;
    let kept = ["name", "annotations", "labels", "ownerReferences"];
    meta.retain(|field, _| kept.contains(&field.as_str()));
    Ok(object)
}

#[test]
fn a_request_and_an_order_cost_nothing_and_are_collected() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("restored")?;
    let ca = Ca::start(&cluster.lab, &[], |config| config)?;
    namespace.apply(&ca.issuer(cluster, "pebble", TRAEFIK)?)?;
    let yaml = certificate("site", "pebble", "restored.example.com", "");
    namespace.apply(&yaml)?;
    namespace.ready("site", DEADLINE)?;
    let kinds = ["certificaterequest", "order"];
    let [request, order] = kinds.map(|kind| backup(&namespace, kind));
    let (request, order) = (request?, order?);
    let (made, serial) = (ca.orders()?, namespace.serial("site")?);

    namespace.kubectl(&["delete", "certificate", "site"])?;
    namespace.none_left(&kinds, DEADLINE)?;
    namespace.apply(&yaml)?;
    namespace.ready("site", DEADLINE)?;
    assert!(namespace.list("certificaterequest")?.is_empty());
    let name = request["metadata"]["name"].as_str().context("a name")?;
    let versions = namespace.watch("certificaterequest", name)?;
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": [request, order] });
    namespace.apply(&list.to_string())?;
    namespace.none_left(&kinds, DEADLINE)?;
    namespace.quiet()?;
    let seen = versions.until(DEADLINE, "its end", |all| {
        all.iter().any(|(kind, _)| kind == "DELETED")
    })?;
    for (_, object) in seen {
        assert_eq!(object["status"]["conditions"], Value::Null, "{object}");
    }
    assert_eq!(ca.orders()?, made, "no order is made");
    assert_eq!(namespace.serial("site")?, serial);
    Ok(())
}
