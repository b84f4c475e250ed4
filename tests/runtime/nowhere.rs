//! What has no place in the cluster.

use anyhow::Result;

use crate::process::{SELF_SIGNED, cluster};
use crate::support::{DEADLINE, certificate};

#[test]
fn what_cannot_be_made_is_told_and_keeps_no_certificate_waiting() -> Result<()> {
    let Some(cluster) = cluster()? else {
        return Ok(());
    };
    let lab = &cluster.lab;
    lab.kubectl(&["delete", "crd", "certificaterevocations.everleaf.io"])?;
    cluster.operator(&["--cluster-resource-namespace=absent"])?;
    let namespace = cluster.namespace("nowhere")?;
    namespace.apply(SELF_SIGNED)?;
    let annotated = "name: site, annotations: {everleaf.io/revoke-on-delete: \"true\"}";
    let site = certificate("site", "self", "site.example.com", "");
    namespace.apply(&site.replacen("name: site", annotated, 1))?;
    let site = namespace.ready("site", DEADLINE)?;
    // As `kubectl describe` looks for it.
    namespace.until_list("event", "word of it", |all| {
        let mut all = all.iter().filter(|event| event["reason"] == "CannotCreate");
        all.any(|event| event["involvedObject"]["uid"] == site["metadata"]["uid"])
    })?;

    let issuer = cluster.acme_issuer("wide", "default", "{}")?;
    namespace.apply(&issuer.replace("kind: Issuer", "kind: ClusterIssuer"))?;
    lab.wait(DEADLINE, "the log says which Secret", || {
        let log = cluster.operator_log()?;
        let said = log.contains("create Secret absent/wide-account: namespaces");
        Ok(said.then_some(()))
    })
}
