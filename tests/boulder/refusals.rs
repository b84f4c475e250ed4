//! What Boulder refuses, and what the operator says and does then.

use std::time::Duration;

use anyhow::Result;
use lab::boulder::{CAA_IDENTITY, PUBLIC_ADDRESS};

use crate::support::{DEADLINE, certificate};
use crate::{SAID, account, stage};

#[test]
fn a_profile_that_it_does_not_have() -> Result<()> {
    let Some(stage) = stage() else { return Ok(()) };
    let namespace = stage.namespace("profile-none", ", profile: eternal")?;
    namespace.apply(&certificate("site", "boulder", "www.profile-none.shop", ""))?;
    let said = namespace.says("site", &["eternal", "profile"], SAID)?;
    for known in ["legacy", "modern", "shortlived"] {
        assert!(said.contains(known), "{said}");
    }
    assert_eq!(stage.orders("www.profile-none.shop")?, []);
    Ok(())
}

#[test]
fn caa_forbids_and_allows() -> Result<()> {
    let Some(stage) = stage() else { return Ok(()) };
    let namespace = stage.namespace("caa", "")?;
    for (name, owner) in [("forbids", "other-ca.example"), ("allows", CAA_IDENTITY)] {
        let host = format!("{name}.zone.shop");
        stage
            .cluster
            .dns_update(&format!("update add {host} 1 A {PUBLIC_ADDRESS}"))?;
        stage
            .cluster
            .dns_update(&format!("update add {host} 1 CAA 0 issue \"{owner}\""))?;
        namespace.apply(&certificate(name, "boulder", &host, ""))?;
    }
    namespace.ready("allows", DEADLINE)?;
    stage.verify(&namespace, "allows")?;
    namespace.says("forbids", &["CAA", "forbids.zone.shop"], SAID)?;
    Ok(())
}

#[test]
fn a_limit_is_told_and_kept_and_ends() -> Result<()> {
    let Some(stage) = stage() else { return Ok(()) };
    let namespace = stage.namespace("limited", "")?;
    namespace.apply(&certificate("one", "boulder", "one.limited.shop", ""))?;
    namespace.ready("one", DEADLINE)?;
    namespace.apply(&certificate("two", "boulder", "two.limited.shop", ""))?;
    let said = namespace.says("two", &["rateLimited", "limited.shop"], SAID)?;
    assert!(said.contains("retry after"), "{said}");
    namespace.ready("two", Duration::from_secs(90))?;
    stage.verify(&namespace, "two")?;
    Ok(())
}

#[test]
fn a_paused_name_tells_the_link() -> Result<()> {
    let Some(stage) = stage() else { return Ok(()) };
    let namespace = stage.namespace("paused", "")?;
    let account = account(&namespace)?;
    stage
        .boulder
        .pause(&stage.cluster.lab, account, "www.paused.shop")?;
    namespace.apply(&certificate("site", "boulder", "www.paused.shop", ""))?;
    namespace.says("site", &["/sfe/v1/unpause?jwt="], SAID)?;
    assert_eq!(stage.orders("www.paused.shop")?, []);
    // Somebody has followed the link, and asks anew.
    stage.boulder.unpause(&stage.cluster.lab, account)?;
    let both = "www.paused.shop, paused.shop";
    namespace.apply(&certificate("site", "boulder", both, ""))?;
    namespace.ready("site", DEADLINE)?;
    stage.verify(&namespace, "site")?;
    Ok(())
}
