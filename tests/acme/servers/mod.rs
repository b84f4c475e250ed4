//! ACME servers other than Pebble and Boulder: what each does in its own way, and the life of a certificate by each.

mod acme2certifier;
mod step;
mod vault;

use anyhow::Result;
use serde_json::Value;

use crate::dns01::rfc2136;
use crate::support::{DEADLINE, Namespace, certificate, is_ready, ready_condition};
use crate::{TEMPORARY, TRAEFIK};

/// A CA of one test, or of several.
struct Server {
    /// URL of its directory.
    directory: String,
    /// PEM.
    root: String,
}

impl Server {
    /// The Issuer `ca` and the key of its DNS-01 solver; `rest` are further fields of its `acme` in flow style, each
    /// after a comma.
    fn serves(&self, namespace: &Namespace<'_>, rest: &str) -> Result<()> {
        namespace.tsig(lab::TSIG_SECRET)?;
        namespace.apply(&format!(
            "{{apiVersion: cert-manager.io/v1, kind: Issuer, metadata: {{name: ca}}, spec: {{acme: {{server: {}, caBundle: {}, \
             privateKeySecretRef: {{name: ca-account}}, solvers: [{{http01: {{ingress: {TRAEFIK}}}}}, {{dns01: {}, selector: \
             {{dnsZones: [dns01.example.com]}}}}]{rest}}}}}}}",
            self.directory,
            namespace.cluster.ca_bundle()?,
            rfc2136(""),
        ))
    }

    /// Two names by HTTP-01, and a wildcard with its own name by DNS-01: issued, and issued again.
    fn issues_and_renews(&self, namespace: &Namespace<'_>) -> Result<()> {
        let host = &namespace.name;
        let all = [
            (
                "site",
                format!("{host}.example.com, www.{host}.example.com"),
            ),
            (
                "wild",
                format!("{host}.dns01.example.com, '*.{host}.dns01.example.com'"),
            ),
        ];
        for (name, names) in &all {
            namespace.apply(&certificate(name, "ca", names, ""))?;
        }
        for revision in 1..=2 {
            for (name, names) in &all {
                revised(namespace, name, revision)?;
                namespace.verify(name, &self.root)?;
                let shown = namespace.x509(name, &["-ext", "subjectAltName"])?;
                for name in names.split(", ") {
                    let name = format!("DNS:{}", name.trim_matches('\''));
                    assert!(shown.contains(&name), "{name}: {shown}");
                }
                if revision == 1 {
                    namespace.renew(name)?;
                }
            }
        }
        namespace.none_left(&TEMPORARY, DEADLINE)
    }
}

/// Wait until a Certificate is ready with this revision.
fn revised(namespace: &Namespace<'_>, name: &str, revision: u64) -> Result<Value> {
    let what = format!("of revision {revision}");
    namespace.until(DEADLINE, "certificate", name, &what, |object| {
        is_ready(object) && object["status"]["revision"] == revision
    })
}

/// Have the certificate of this Certificate revoked, and replaced; its serial number, as CAs have it on record.
fn revoke(namespace: &Namespace<'_>, name: &str, reason: &str, signer: &str) -> Result<String> {
    let serial = namespace.serial(name)?;
    let entry = namespace.revoked(name, reason)?;
    assert_eq!(
        (&entry["serial"], &entry["signedBy"]),
        (&serial.as_str().into(), &signer.into())
    );
    Ok(serial)
}

/// Ask for another key of the account, and wait until the CA's answer to that is an event with these words; the issuer
/// stays ready.
fn keeps_its_key(namespace: &Namespace<'_>, words: &str) -> Result<()> {
    let rotate = "everleaf.io/rotate-account-key=now";
    namespace.kubectl(&["annotate", "issuer", "ca", rotate])?;
    namespace.until_list("event", "word of it", |events| {
        events.iter().any(|event| {
            let message = event["message"].as_str().unwrap_or_default();
            event["reason"] == "AccountKeyKept" && message.contains(words)
        })
    })?;
    namespace.until(DEADLINE, "issuer", "ca", "ready all the same", |issuer| {
        ready_condition(issuer)["status"] == "True"
    })?;
    Ok(())
}

/// Wait until the issuer's Ready condition has these words.
fn issuer_says(namespace: &Namespace<'_>, words: &str) -> Result<()> {
    namespace.until(DEADLINE, "issuer", "ca", words, |issuer| {
        let message = ready_condition(issuer)["message"].clone();
        message
            .as_str()
            .is_some_and(|message| message.contains(words))
    })?;
    Ok(())
}
