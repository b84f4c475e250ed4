//! What Boulder refuses, and what the operator says and does then.

use std::time::Duration;

use anyhow::Result;
use lab::boulder::{CAA_IDENTITY, PUBLIC_ADDRESS};

use crate::support::{DEADLINE, TRAEFIK, certificate};
use crate::{SAID, account, stage};

/// Of another host, which is not there.
const OTHER_ADDRESS: &str = "64.112.117.200";

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
    let record =
        "The record forbids.zone.shop. CAA 0 issue \"other-ca.example\" does not let this CA issue";
    namespace.says("forbids", &[record, "(EL-1440)"], SAID)?;
    let asked = || stage.orders_asked_for(account(&namespace)?);
    assert_eq!(asked()?, 1, "for the other one");
    let right = format!("update add forbids.zone.shop 1 CAA 0 issue \"{CAA_IDENTITY}\"");
    stage.cluster.dns_update(&right)?;
    namespace.ready("forbids", DEADLINE)?;
    stage.verify(&namespace, "forbids")?;
    assert_eq!(asked()?, 2);
    Ok(())
}

/// What the look would have told is the CA's to tell without it.
#[test]
fn caa_is_told_by_the_ca_too() -> Result<()> {
    let Some(stage) = stage() else { return Ok(()) };
    let namespace = stage.cluster.namespace("caa-told")?;
    let issuer = stage.issuer(&stage.boulder.directory(), "")?;
    let annotated = "{name: boulder, annotations: {everleaf.io/preflight: 'off'}}";
    namespace.apply(&issuer.replacen("{name: boulder}", annotated, 1))?;
    let host = "told.zone.shop";
    for record in [
        format!("A {PUBLIC_ADDRESS}"),
        "CAA 0 issue \"other-ca.example\"".into(),
    ] {
        let change = format!("update add {host} 1 {record}");
        stage.cluster.dns_update(&change)?;
    }
    namespace.apply(&certificate("told", "boulder", host, ""))?;
    namespace.says("told", &["CAA", host, "(EL-1403)"], SAID)?;
    // On a busy machine the CA may have said something else before.
    let orders = stage.orders_asked_for(account(&namespace)?)?;
    namespace.until(
        SAID,
        "certificate",
        "told",
        "an order an attempt",
        |object| object["status"]["failedIssuanceAttempts"] == orders,
    )?;
    namespace.failed_twice("told")?;
    // Once it may, it is asked again.
    let right = format!("update add {host} 1 CAA 0 issue \"{CAA_IDENTITY}\"");
    stage.cluster.dns_update(&right)?;
    namespace.ready("told", DEADLINE)?;
    stage.verify(&namespace, "told")?;
    Ok(())
}

/// A name has two addresses, and at neither is the answer: which of them the CA has asked it says beside its problem.
#[test]
fn whom_it_has_asked_is_told() -> Result<()> {
    let Some(stage) = stage() else { return Ok(()) };
    let namespace = stage.cluster.namespace("asked")?;
    // Nobody serves that class, and the CA is asked all the same.
    let issuer = stage.issuer(&stage.boulder.directory(), "")?;
    let unserved = "{waitInsteadOfSelfCheck: 1s, http01: {ingress: {ingressClassName: absent}}}";
    let issuer = issuer.replace(&format!("{{http01: {{ingress: {TRAEFIK}}}}}"), unserved);
    assert!(issuer.contains(unserved));
    namespace.apply(&issuer)?;
    let host = "asked.zone.shop";
    for address in [PUBLIC_ADDRESS, OTHER_ADDRESS] {
        let change = format!("update add {host} 1 A {address}");
        stage.cluster.dns_update(&change)?;
    }
    namespace.apply(&certificate("site", "boulder", host, ""))?;
    let words = ["the CA asked ", " (of ", PUBLIC_ADDRESS, OTHER_ADDRESS];
    namespace.says("site", &words, SAID)?;
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
    namespace.ready("two", Duration::from_mins(3))?;
    stage.verify(&namespace, "two")?;
    assert_eq!(stage.refusals(account(&namespace)?)?, 1, "asked in vain");
    Ok(())
}

/// A limit that lasts is told with another time in each refusal.
#[test]
fn a_long_limit_is_asked_about_once() -> Result<()> {
    let Some(stage) = stage() else { return Ok(()) };
    let namespace = stage.namespace("long", "")?;
    namespace.apply(&certificate("one", "boulder", "one.long.shop", ""))?;
    namespace.ready("one", DEADLINE)?;
    namespace.apply(&certificate("two", "boulder", "two.long.shop", ""))?;
    namespace.says("two", &["rateLimited", "long.shop"], SAID)?;
    // Others go on meanwhile.
    namespace.apply(&certificate("other", "boulder", "www.other.shop", ""))?;
    namespace.ready("other", DEADLINE)?;
    assert_eq!(stage.refusals(account(&namespace)?)?, 1, "asked in vain");
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
    assert_eq!(stage.refusals(account)?, 1, "asked in vain");
    // Somebody has followed the link, and asks at once, as EL-1407 says.
    stage.boulder.unpause(&stage.cluster.lab, account)?;
    namespace.kubectl(&["delete", "order", "--all"])?;
    namespace.ready("site", DEADLINE)?;
    stage.verify(&namespace, "site")?;
    Ok(())
}
