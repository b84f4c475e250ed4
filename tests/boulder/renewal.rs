//! Renewals when Boulder wants them.

use std::fmt::Write as _;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use crate::support::{DEADLINE, certificate};
use crate::{FLAGS, SAID, stage};

#[test]
fn a_certificate_that_the_ca_revoked_is_replaced() -> Result<()> {
    let Some(stage) = stage() else { return Ok(()) };
    let namespace = stage.cluster.alone("replaced")?;
    // One that starts knows no turns of certificates that are gone.
    stage.cluster.stop_operator()?;
    stage.cluster.operator(&FLAGS)?;
    namespace.apply(&stage.issuer(&stage.boulder.directory(), "")?)?;
    namespace.apply(&certificate("site", "boulder", "www.replaced.shop", ""))?;
    namespace.ready("site", DEADLINE)?;
    namespace.until(SAID, "certificate", "site", "asked for", |object| {
        object["status"]["acme"]["ari"]["suggestedWindow"].is_object()
    })?;
    let first = stage.orders("www.replaced.shop")?.remove(0).serial;
    stage
        .boulder
        .revoke(&stage.cluster.lab, &first, "superseded")?;

    // The next question would be in six hours.
    stage.cluster.stop_operator()?;
    let due = json!({ "status": { "acme": { "ari": { "nextCheck": "2026-01-01T00:00:00Z" } } } });
    let due = format!("--patch={due}");
    let patch = [
        "patch",
        "certificate",
        "site",
        "--subresource=status",
        "--type=merge",
        &due,
    ];
    namespace.kubectl(&patch)?;
    stage.cluster.operator(&FLAGS)?;
    namespace.until(DEADLINE, "certificate", "site", "replaced", |object| {
        object["status"]["revision"] == 2
    })?;
    stage.verify(&namespace, "site")?;
    let orders = stage.orders("www.replaced.shop")?;
    assert_eq!(orders.len(), 2, "{orders:?}");
    let (_, serial) = orders[1].replaces.split_once('.').unwrap_or_default();
    let mut replaced = String::new();
    for byte in URL_SAFE_NO_PAD.decode(serial)? {
        write!(replaced, "{byte:02x}")?;
    }
    assert_eq!(replaced, first);
    Ok(())
}
