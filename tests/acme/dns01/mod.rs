//! DNS-01 against a real BIND and Pebble, by dynamic updates; and by a webhook solver that the real API server asks.

mod doh;
mod faults;
mod others;
mod server;
mod speed;
mod zones;

use std::sync::OnceLock;

use anyhow::Result;
use lab::{Options, Process};
use serde_json::Value;

use crate::support::{Cluster, DEADLINE, Namespace, certificate, shared};
use crate::{FLAGS, SAID, aside};

static CLUSTER: OnceLock<Cluster> = OnceLock::new();

/// How long a server that denies a record, or a name that does not answer, keeps the CA from being asked.
const LIMITS: [&str; 2] = [
    "--dns01-self-check-limit=30s",
    "--http01-self-check-limit=15s",
];

/// A lab with an operator that does not wait for long.
pub fn cluster() -> Option<&'static Cluster> {
    shared(&CLUSTER, || {
        let cluster = Cluster::start(&Options {
            pebble: vec![("PEBBLE_AUTHZREUSE".into(), "0".into())],
            ..Options::default()
        })?;
        let flags = [&FLAGS[..], &LIMITS].concat();
        cluster.operator_with(&flags, &[(TRUSTED, &trusted(&cluster))])?;
        Ok(cluster)
    })
}

/// The operator trusts the lab's authority, as it would a company's own.
const TRUSTED: &str = "SSL_CERT_FILE";

fn trusted(cluster: &Cluster) -> String {
    let file = cluster.lab.dir().join("pki/ca.crt");
    file.to_string_lossy().into_owned()
}

/// Do this with an operator that has other flags. The namespace has the cluster to itself.
fn with_flags(
    namespace: &Namespace<'_>,
    flags: &[&str],
    act: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let cluster = namespace.cluster;
    let flags = [&FLAGS[..], flags].concat();
    cluster.while_operator_with(&flags, &[(TRUSTED, &trusted(cluster))], act)
}

/// Another name server of these zones, at an address of the loopback interface. `options` of its configuration are those
/// that it has beside the usual ones.
fn named(cluster: &Cluster, address: &str, options: &str, zones: &str) -> Result<Process> {
    let dir = cluster.lab.dir();
    let etc = dir.join("etc");
    let file = etc.join(format!("named-{address}.conf"));
    std::fs::write(
        &file,
        format!(
            "options {{ directory \"{}\"; pid-file none; session-keyfile none; lock-file none; listen-on {{ {address}; }}; \
             listen-on-v6 {{ none; }}; dnssec-validation no; notify no; {options} }};\ncontrols {{ }};\n\
             key \"lab\" {{ algorithm hmac-sha256; secret \"{}\"; }};\n{zones}\n",
            etc.display(),
            lab::TSIG_SECRET,
        ),
    )?;
    // It listens at addresses that an interface has.
    let mut ip = cluster.lab.command("ip");
    ip.args(["address", "replace", &format!("{address}/32"), "dev", "lo"]);
    lab::output(&mut ip)?;
    let mut command = cluster.lab.command(dir.join("named"));
    command.arg("-g").arg("-c").arg(&file);
    let process = cluster.lab.spawn(&format!("named-{address}"), command)?;
    cluster.lab.wait(DEADLINE, "another name server", || {
        let mut dig = cluster.lab.command("dig");
        dig.args(["+time=1", "+tries=1", &format!("@{address}")]);
        dig.args(["version.bind", "CH", "TXT"]);
        lab::output(&mut dig).map(Some)
    })?;
    Ok(process)
}

/// The solver of a zone of the lab, in flow style.
pub fn rfc2136(rest: &str) -> String {
    let comma = if rest.is_empty() { "" } else { ", " };
    format!(
        "{{rfc2136: {{nameserver: {}, tsigKeyName: lab, tsigAlgorithm: HMACSHA256, tsigSecretSecretRef: \
         {{name: tsig, key: secret}}}}{comma}{rest}}}",
        lab::ADDRESS
    )
}

impl Cluster {
    /// An ACME Issuer with one DNS-01 solver, in YAML flow style.
    fn dns01_issuer(&self, name: &str, solver: &str) -> Result<String> {
        let issuer = self.acme_issuer(name, "default", "{}")?;
        Ok(issuer.replace("{http01: {ingress: {}}}", &format!("{{dns01: {solver}}}")))
    }

    /// The TXT values at a name, as BIND answers them.
    fn texts(&self, name: &str) -> Result<Vec<String>> {
        let server = format!("@{}", lab::ADDRESS);
        let mut dig = self.lab.command("dig");
        dig.args(["+short", &server, name, "TXT"]);
        let said = lab::output(&mut dig)?;
        // An answer that did not come and was asked for again is told there too.
        let mut texts: Vec<String> = said
            .lines()
            .filter(|line| line.starts_with('"'))
            .map(|l| l.trim_matches('"').to_owned())
            .collect();
        texts.sort();
        Ok(texts)
    }
}

impl Namespace<'_> {
    /// The Secret of the TSIG key.
    pub fn tsig(&self, secret: &str) -> Result<()> {
        self.apply(&format!(
            "{{apiVersion: v1, kind: Secret, metadata: {{name: tsig}}, stringData: {{secret: {secret}}}}}"
        ))
    }

    /// An issuer named `pebble` with this solver, and the key.
    fn dns01(&self, solver: &str) -> Result<()> {
        self.tsig(lab::TSIG_SECRET)?;
        self.apply(&self.cluster.dns01_issuer("pebble", solver)?)
    }

    /// Wait until a Challenge of the namespace has a reason with these words.
    fn challenge_says(&self, words: &[&str]) -> Result<Value> {
        let says = |challenge: &Value| {
            let reason = challenge["status"]["reason"].as_str().unwrap_or_default();
            words.iter().all(|word| reason.contains(word))
        };
        let all = self.until_list("challenge", &format!("one that says {words:?}"), |all| {
            all.iter().any(says)
        })?;
        Ok(all.into_iter().find(says).unwrap_or_default())
    }
}

/// An issuance through this solver; nothing stays at the name.
fn issues(namespace: &Namespace<'_>, name: &str) -> Result<()> {
    namespace.apply(&certificate("site", "pebble", name, ""))?;
    namespace.ready("site", DEADLINE)?;
    namespace.pair_matches("site")?;
    namespace.none_left(&["challenge"], DEADLINE)
}

#[test]
fn one_name() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("dns-one")?;
    namespace.dns01(&rfc2136(""))?;
    issues(&namespace, "one.dns01.example.com")?;
    assert_eq!(
        cluster.texts("_acme-challenge.one.dns01.example.com")?,
        [""; 0]
    );
    Ok(())
}

#[test]
fn a_wildcard_and_its_apex_at_once_and_values_of_others_stay() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("dns-wildcard")?;
    let name = "_acme-challenge.wild.dns01.example.com";
    cluster.dns_update(&format!("add {name} 60 TXT \"a stranger's\""))?;
    cluster.dns_update(&format!("add {name} 60 TXT \"another\""))?;
    namespace.dns01(&rfc2136(""))?;
    let watch = namespace.watch("challenge", "")?;
    issues(
        &namespace,
        "\"*.wild.dns01.example.com\", wild.dns01.example.com",
    )?;
    let text = namespace.x509("site", &["-ext", "subjectAltName"])?;
    assert!(text.contains("DNS:*.wild.dns01.example.com"), "{text}");
    assert!(text.contains("DNS:wild.dns01.example.com"), "{text}");
    assert_eq!(cluster.texts(name)?, ["a stranger's", "another"]);
    // Both were under way before either had ended.
    let ended = |object: &Value| object["status"]["state"] == "valid";
    let events = watch.until_one(DEADLINE, "one that is valid", ended)?;
    let mut processing = std::collections::HashSet::new();
    for (_, object) in &events {
        if ended(object) {
            break;
        }
        if object["status"]["processing"] == true {
            processing.insert(object["metadata"]["name"].to_string());
        }
    }
    assert_eq!(processing.len(), 2, "{events:?}");
    Ok(())
}

#[test]
fn a_name_that_is_an_alias_of_another_zone() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("dns-alias")?;
    namespace.dns01(&rfc2136("cnameStrategy: Follow"))?;
    issues(&namespace, "alias.example.com")?;
    assert_eq!(cluster.texts("alias.dns01.example.com")?, [""; 0]);
    Ok(())
}

#[test]
fn by_udp_and_tcp_and_with_each_algorithm() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    for (number, (key, algorithm)) in [
        // The one of those who say nothing.
        ("lab-md5", ""),
        ("lab-sha1", "HMACSHA1"),
        ("lab", "hmacsha256"),
        ("lab-sha512", "HMACSHA512"),
    ]
    .into_iter()
    .enumerate()
    {
        for protocol in ["UDP", "TCP"] {
            let namespace = cluster.namespace(&format!("dns-{key}-{}", protocol.to_lowercase()))?;
            let algorithm = match algorithm {
                "" => String::new(),
                algorithm => format!("tsigAlgorithm: {algorithm}, "),
            };
            namespace.dns01(&format!(
                "{{rfc2136: {{nameserver: \"{}:53\", protocol: {protocol}, tsigKeyName: {key}, {algorithm}\
                 tsigSecretSecretRef: {{name: tsig, key: secret}}}}}}",
                lab::ADDRESS
            ))?;
            issues(
                &namespace,
                &format!("{}-{number}.dns01.example.com", protocol.to_lowercase()),
            )?;
        }
    }
    Ok(())
}

#[test]
fn a_deletion_in_the_middle_leaves_nothing() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("dns-deleted")?;
    let name = "_acme-challenge.deleted.dns01.example.com";
    // The CA is not asked before it is deleted.
    let solver = rfc2136("");
    let issuer = cluster
        .dns01_issuer("pebble", &solver)?
        .replace("{dns01:", "{waitInsteadOfSelfCheck: 1h, dns01:");
    namespace.tsig(lab::TSIG_SECRET)?;
    namespace.apply(&issuer)?;
    namespace.apply(&certificate(
        "site",
        "pebble",
        "deleted.dns01.example.com",
        "",
    ))?;
    cluster.lab.wait(SAID, "the record", || {
        Ok(Some(cluster.texts(name)?).filter(|texts| texts.len() == 1))
    })?;
    namespace.kubectl(&["delete", "certificate", "site", "--wait=false"])?;
    namespace.none_left(&["challenge", "order"], DEADLINE)?;
    assert_eq!(cluster.texts(name)?, [""; 0]);
    Ok(())
}

#[test]
fn a_kill_in_the_middle_is_no_matter() -> Result<()> {
    let Some(cluster) = aside() else {
        return Ok(());
    };
    let namespace = cluster.alone("dns-killed")?;
    let name = "_acme-challenge.killed.dns01.example.com";
    namespace.tsig(lab::TSIG_SECRET)?;
    let issuer = cluster.dns01_issuer("pebble", &rfc2136(""))?;
    let waiting = issuer.replace("{dns01:", "{waitInsteadOfSelfCheck: 45s, dns01:");
    namespace.apply(&waiting)?;
    namespace.apply(&certificate(
        "site",
        "pebble",
        "killed.dns01.example.com",
        "",
    ))?;
    cluster.lab.wait(SAID, "the record", || {
        Ok(Some(cluster.texts(name)?).filter(|texts| texts.len() == 1))
    })?;
    cluster.kill_operator()?;
    let killed = jiff::Timestamp::now();
    let challenges = namespace.list("challenge")?;
    assert_eq!(challenges.len(), 1, "the middle");
    if let Some(since) = challenges[0]["status"]["presentedAt"].as_str() {
        let waited = killed.duration_since(since.parse()?);
        assert!(
            waited < jiff::SignedDuration::from_secs(45),
            "{waited:?}: the CA was asked"
        );
    }
    cluster.operator(&FLAGS)?;
    namespace.ready("site", DEADLINE)?;
    namespace.none_left(&["challenge"], DEADLINE)?;
    assert_eq!(cluster.texts(name)?, [""; 0]);
    Ok(())
}

#[test]
fn resolvers_of_the_solver_alone() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("dns-resolvers")?;
    let own = format!("nameservers: [\"{}:53\"]", lab::ADDRESS);
    namespace.dns01(&rfc2136(&own))?;
    issues(&namespace, "resolvers.dns01.example.com")?;
    let deaf = cluster.namespace("dns-deaf")?;
    deaf.dns01(&rfc2136("nameservers: [\"127.0.0.9:53\"]"))?;
    deaf.apply(&certificate("site", "pebble", "deaf.dns01.example.com", ""))?;
    let words = ["name server 127.0.0.9:53 cannot be reached: connection refused"];
    deaf.says("site", &words, SAID)?;
    Ok(())
}
