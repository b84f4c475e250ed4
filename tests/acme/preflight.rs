//! Before an order is spent, its names are looked at: in the lab's DNS, and at port 80. How many orders were spent is the
//! CA's own count.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::support::{Ca, Cluster, DEADLINE, Namespace, certificate, ready_condition};
use crate::{SAID, TRAEFIK, cluster, dns01};

/// By which name Pebble goes.
const IDENTITY: &str = "pebble.letsencrypt.org";
/// As `--http01-self-check-limit` of `dns01::cluster` has it, in seconds.
const LIMIT: i64 = 15;
/// Where nothing listens at port 80.
const DEAF: &str = "127.0.0.80";

/// A namespace with a CA of its own, and the Issuer `pebble` of that.
fn site<'a>(cluster: &'a Cluster, name: &str) -> Result<(Namespace<'a>, Ca)> {
    let namespace = cluster.namespace(name)?;
    let ca = Ca::start(&cluster.lab, &[("PEBBLE_AUTHZREUSE", "0")], |config| config)?;
    namespace.apply(&ca.issuer(cluster, "pebble", TRAEFIK)?)?;
    namespace.until(DEADLINE, "issuer", "pebble", "registered", |issuer| {
        issuer["status"]["acme"]["uri"].is_string()
    })?;
    Ok((namespace, ca))
}

/// One attempt, and one order.
fn issued_at_once(namespace: &Namespace<'_>, ca: &Ca, name: &str) -> Result<()> {
    let object = namespace.ready(name, SAID)?;
    namespace.pair_matches(name)?;
    let status = &object["status"];
    assert_eq!(status["revision"], 1);
    assert_eq!(status["failedIssuanceAttempts"], Value::Null);
    assert_eq!(status["lastFailureTime"], Value::Null);
    assert_eq!(namespace.list("certificaterequest")?.len(), 1);
    assert_eq!(ca.orders()?, 1);
    Ok(())
}

#[test]
fn a_caa_record_keeps_the_order_back_until_it_changes() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let (namespace, ca) = site(cluster, "preflight-caa")?;
    let host = "caa.nowhere.example.com";
    cluster.dns_update(&format!(
        "add {host} 1 A {}\nadd {host} 1 CAA 0 issue \"other-ca.example\"",
        lab::ADDRESS
    ))?;
    namespace.apply(&certificate("site", "pebble", host, ""))?;
    let record = format!("{host}. CAA 0 issue \"other-ca.example\" does not let this CA issue");
    let cure = format!("add {host}. CAA 0 issue \"{IDENTITY}\"");
    namespace.says("site", &[&record, &cure, "(EL-1440)"], SAID)?;
    assert_eq!(ca.orders()?, 0);
    assert_eq!(ca.count("order-plz -> calling")?, 0, "nor asked for");
    cluster.dns_update(&format!("add {host} 1 CAA 0 issue \"{IDENTITY}\""))?;
    issued_at_once(&namespace, &ca, "site")
}

#[test]
fn caa_records_above_the_name_and_where_it_leads_count() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let (namespace, ca) = site(cluster, "preflight-climb")?;
    let zone = "nowhere.example.com";
    cluster.dns_update(&format!(
        "add a.climb.{zone} 1 A {ip}\nadd climb.{zone} 1 CAA 0 issue \";\"\n\
         add led.{zone} 1 CNAME leads.{zone}\nadd leads.{zone} 1 A {ip}\nadd leads.{zone} 1 CAA 0 issue \";\"\n\
         add closer.climb.{zone} 1 A {ip}\nadd closer.climb.{zone} 1 CAA 0 issue \"{IDENTITY}\"",
        ip = lab::ADDRESS
    ))?;
    for (name, host, at) in [("above", "a.climb", "climb"), ("alias", "led", "led")] {
        namespace.apply(&certificate(name, "pebble", &format!("{host}.{zone}"), ""))?;
        let record = format!("The record {at}.{zone}. CAA 0 issue \";\" does not let");
        namespace.says(name, &[&record, "(EL-1440)"], SAID)?;
    }
    assert_eq!(ca.orders()?, 0);
    let allowed = format!("closer.climb.{zone}");
    namespace.apply(&certificate("closer", "pebble", &allowed, ""))?;
    namespace.ready("closer", SAID)?;
    assert_eq!(ca.orders()?, 1);
    Ok(())
}

#[test]
fn a_caa_record_for_another_account() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let (namespace, ca) = site(cluster, "preflight-account")?;
    let issuer = namespace.get("issuer", "pebble")?;
    let account = issuer["status"]["acme"]["uri"].as_str();
    let account = account.context("registered")?;
    let host = "account.nowhere.example.com";
    let caa = |account: &str| format!("CAA 0 issue \"{IDENTITY}; accounturi={account}\"");
    cluster.dns_update(&format!(
        "add {host} 1 A {}\nadd {host} 1 {}",
        lab::ADDRESS,
        caa(&format!("{account}0"))
    ))?;
    namespace.apply(&certificate("site", "pebble", host, ""))?;
    let cure = format!("put accounturi={account} there");
    namespace.says("site", &["does not let this account issue", &cure], SAID)?;
    assert_eq!(ca.orders()?, 0);
    cluster.dns_update(&format!("delete {host} CAA\nadd {host} 1 {}", caa(account)))?;
    issued_at_once(&namespace, &ca, "site")
}

#[test]
fn an_issuer_may_do_without() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let (namespace, ca) = site(cluster, "preflight-off")?;
    let host = "off.nowhere.example.com";
    cluster.dns_update(&format!(
        "add {host} 1 A {}\nadd {host} 1 CAA 0 issue \";\"",
        lab::ADDRESS
    ))?;
    namespace.apply(&certificate("site", "pebble", host, ""))?;
    namespace.says("site", &["(EL-1440)"], SAID)?;
    let off = "everleaf.io/preflight=off";
    namespace.kubectl(&["annotate", "issuer", "pebble", off])?;
    // Pebble does not look at CAA records.
    issued_at_once(&namespace, &ca, "site")
}

#[test]
fn a_name_without_an_answer_at_port_80() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let (namespace, ca) = site(cluster, "preflight-deaf")?;
    let host = "deaf.nowhere.example.com";
    cluster.dns_update(&format!("add {host} 1 A {DEAF}"))?;
    namespace.apply(&certificate("site", "pebble", host, ""))?;
    let words = [
        host,
        "cannot be reached from here: connection refused on port 80: let port 80 through",
        "The CA is asked at 20",
        "(EL-1441)",
    ];
    namespace.says("site", &words, SAID)?;
    assert_eq!(ca.orders()?, 0);
    let right = format!("delete {host} A\nadd {host} 1 A {}", lab::ADDRESS);
    cluster.dns_update(&right)?;
    issued_at_once(&namespace, &ca, "site")
}

#[test]
fn the_ca_is_asked_in_the_end_and_nothing_is_waited_for_twice() -> Result<()> {
    let Some(cluster) = dns01::cluster() else {
        return Ok(());
    };
    let (namespace, ca) = site(cluster, "preflight-end")?;
    let host = "end.nowhere.example.com";
    let orders = namespace.watch("order", "")?;
    let certificates = namespace.watch("certificate", "site")?;
    namespace.apply(&certificate("site", "pebble", host, ""))?;
    // For the seconds until the CA is asked.
    let words = [host, "does not resolve", "add a DNS record", "(EL-1441)"];
    certificates.until_one(SAID, &format!("one that says {words:?}"), |object| {
        let message = ready_condition(object)["message"].to_string();
        words.iter().all(|word| message.contains(word))
    })?;
    // The challenge has another self-check of the same, which waits for as long again where nothing was waited for before.
    let words = ["urn:ietf:params:acme:error:", "Next attempt at"];
    namespace.says("site", &words, 2 * DEADLINE)?;
    assert_eq!(ca.orders()?, 1);
    let [made, asked] =
        ["Added order ", "Pulled a task from the Tasks queue"].map(|words| ca.times(words));
    let (made, asked) = (made?, asked?);
    let made = made.first().context("an order")?;
    let asked = asked.first().context("a validation")?;
    assert!(asked - made < LIMIT, "{} s between them", asked - made);
    // It was held back, and said why.
    let held = |order: &Value| {
        let reason = order["status"]["reason"].as_str().unwrap_or_default();
        reason.contains("EL-1441") && order["status"]["url"].is_null()
    };
    orders
        .until_one(DEADLINE, "an order that is held back", held)
        .map(drop)
}
