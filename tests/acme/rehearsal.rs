//! Once attempts have failed, another CA is asked first, which here is a second Pebble, as Let's Encrypt's staging server is
//! for its own. How many orders each got is that CA's own count.

use anyhow::Result;
use serde_json::Value;

use crate::support::{Ca, Cluster, DEADLINE, Namespace, certificate, ready_condition};
use crate::{SAID, TEMPORARY, TRAEFIK, cluster};

/// A namespace in which two attempts for this name have failed; `production` is about to be asked once more.
struct Site<'a> {
    namespace: Namespace<'a>,
    staging: Ca,
    production: Ca,
}

fn site<'a>(cluster: &'a Cluster, name: &str, host: &str) -> Result<Site<'a>> {
    let namespace = cluster.namespace(name)?;
    namespace.apply(&certificate("site", "production", host, ""))?;
    namespace.says("site", &["Issuer \"production\" does not exist"], SAID)?;
    namespace.failed_twice("site")?;
    // The next one is made after those.
    namespace.kubectl(&["delete", "certificaterequest", "site-1"])?;
    let start = || Ca::start(&cluster.lab, &[("PEBBLE_AUTHZREUSE", "0")], |config| config);
    let (staging, production) = (start()?, start()?);
    issuer(&namespace, "staging", &staging)?;
    Ok(Site {
        namespace,
        staging,
        production,
    })
}

impl Site<'_> {
    /// The issuer that the Certificate waits for is there.
    fn goes_on(&self) -> Result<()> {
        issuer(&self.namespace, "production", &self.production)
    }

    /// Ready by the production CA, with one order there, and nothing temporary left.
    fn is_issued(&self) -> Result<Value> {
        let object = self.namespace.ready("site", DEADLINE)?;
        self.namespace.pair_matches("site")?;
        let serial = self.namespace.serial("site")?;
        let (state, _) = self
            .production
            .record(&self.namespace.cluster.lab, &serial)?;
        assert_eq!(state, "Valid");
        assert_eq!(self.production.orders()?, 1);
        assert_eq!(object["status"]["failedIssuanceAttempts"], Value::Null);
        self.namespace.none_left(&TEMPORARY, SAID)?;
        Ok(object)
    }
}

/// An issuer at this CA, which asks the CA itself without a look of our own.
fn issuer(namespace: &Namespace<'_>, name: &str, ca: &Ca) -> Result<()> {
    let cluster = namespace.cluster;
    let annotated = format!(
        "metadata: {{name: {name}, annotations: {{everleaf.io/rehearsal-issuer: staging, everleaf.io/preflight: \"off\"}}}}"
    );
    let issuer = ca
        .issuer(cluster, name, TRAEFIK)?
        .replace(&format!("metadata: {{name: {name}}}"), &annotated)
        .replace("{http01:", "{waitInsteadOfSelfCheck: 10s, http01:");
    namespace.apply(&issuer)?;
    namespace.until(DEADLINE, "issuer", name, "ready", |issuer| {
        ready_condition(issuer)["status"] == "True"
    })?;
    Ok(())
}

#[test]
fn what_would_fail_again_fails_at_the_other_ca() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let host = "rehearsed.nowhere.example.com";
    let site = site(cluster, "rehearsal", host)?;
    site.goes_on()?;
    let words = [
        host,
        "urn:ietf:params:acme:error:connection",
        "Next attempt at",
    ];
    site.namespace.says("site", &words, SAID)?;
    let status = site.namespace.get("certificate", "site")?["status"].take();
    assert_eq!(status["failedIssuanceAttempts"], 3);
    let issuing = site.namespace.condition("certificate", "site", "Issuing")?;
    let said = issuing["message"].to_string();
    let words = "The rehearsal at Issuer \\\"staging\\\" failed: ";
    assert!(said.contains(words), "{said}");
    assert_eq!((site.staging.orders()?, site.production.orders()?), (1, 0));

    cluster.dns_update(&format!("add {host} 1 A {}", lab::ADDRESS))?;
    site.is_issued()?;
    assert_eq!(site.staging.orders()?, 2, "rehearsed once more");
    Ok(())
}

#[test]
fn a_rehearsal_that_cannot_be_had_holds_nothing_up() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let site = site(cluster, "no-rehearsal", "unrehearsed.example.com")?;
    site.staging.stop()?;
    site.goes_on()?;
    site.is_issued()?;
    let skipped = |event: &Value| event["reason"] == "RehearsalSkipped";
    let events = site
        .namespace
        .until_list("event", "RehearsalSkipped", |all| all.iter().any(skipped))?;
    let said = events.iter().find(|event| skipped(event));
    let said = said.map(|event| event["message"].to_string());
    let said = said.unwrap_or_default();
    let words = "No rehearsal at Issuer \\\"staging\\\": Given up";
    assert!(said.contains(words), "{said}");
    Ok(())
}
