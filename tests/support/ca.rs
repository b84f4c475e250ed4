//! ACME CAs beside the lab's own.

use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context, Result};
use lab::{Lab, Process};
use serde_json::Value;

use super::namespace::persistently;
use super::{Cluster, DEADLINE, unique};

/// Of the CAs of this process: each has two ports.
static NEXT: AtomicU16 = AtomicU16::new(0);

const RENEWAL_QUESTION: &str = "renewalInfo/ -> calling";

/// What the lab's own CA has on record for a serial number: its status, and why it was revoked (RFC 5280 §5.3.1).
pub fn on_record(lab: &Lab, serial: &str) -> Result<(String, Option<u64>)> {
    record(lab, &format!("https://{}:15000", lab::ADDRESS), serial)
}

fn record(lab: &Lab, management: &str, serial: &str) -> Result<(String, Option<u64>)> {
    let url = format!("{management}/cert-status-by-serial/{serial}");
    let said = persistently(|| lab.get(&url))?;
    let record: Value = serde_json::from_str(&said)?;
    let status = record["Status"].as_str().context("a status")?;
    Ok((status.to_owned(), record["Reason"].as_u64()))
}

/// A Pebble of one test. It ends when dropped.
pub struct Ca {
    process: Process,
    /// URL of its directory.
    pub directory: String,
    /// URL of what a CA does not have.
    management: String,
}

impl Ca {
    /// Start one that differs from the lab's in its environment, and in what `edit` replaces in its
    /// configuration.
    pub fn start(
        lab: &Lab,
        environment: &[(&str, &str)],
        edit: impl Fn(String) -> String,
    ) -> Result<Self> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 16000 + 2 * number;
        let listen = format!("{}:{port}", lab::ADDRESS);
        let manage = format!("{}:{}", lab::ADDRESS, port + 1);
        let etc = lab.dir().join("etc");
        let config = edit(std::fs::read_to_string(etc.join("pebble.json"))?);
        let mut config: Value = serde_json::from_str(&config)?;
        config["pebble"]["listenAddress"] = listen.as_str().into();
        config["pebble"]["managementListenAddress"] = manage.as_str().into();
        let file = etc.join(format!("pebble-{number}.json"));
        std::fs::write(&file, config.to_string())?;
        let mut command = lab.command("pebble");
        command
            .arg("-strict")
            .arg("-config")
            .arg(&file)
            .env("PEBBLE_VA_NOSLEEP", "1")
            .envs(environment.iter().copied());
        let process = lab.spawn(&format!("pebble-{number}"), command)?;
        let directory = format!("https://{listen}/dir");
        lab.wait(DEADLINE, "another CA", || lab.get(&directory).map(Some))?;
        let management = format!("https://{manage}");
        Ok(Self {
            process,
            directory,
            management,
        })
    }

    /// As [`Cluster::acme_issuer`], of this CA and its default profile.
    pub fn issuer(&self, cluster: &Cluster, name: &str, solver: &str) -> Result<String> {
        let issuer = cluster.acme_issuer(name, "default", solver)?;
        Ok(issuer.replace(&cluster.lab.acme_directory(), &self.directory))
    }

    /// End it for now.
    pub fn stop(&self) -> Result<()> {
        self.process.kill()
    }

    /// Start it anew; it has forgotten everything.
    pub fn restart(&self) -> Result<()> {
        self.process.restart()
    }

    /// Let it hang: it takes connections and says nothing.
    pub fn pause(&self) -> Result<()> {
        self.process.signal("STOP")
    }

    /// Let it go on where it stopped.
    pub fn resume(&self) -> Result<()> {
        self.process.signal("CONT")
    }

    /// One of its roots, PEM: 0 is that of the chains that it gives unasked, the others are those of their alternates.
    pub fn root(&self, lab: &Lab, number: usize) -> Result<String> {
        let url = format!("{}/roots/{number}", self.management);
        persistently(|| lab.get(&url))
    }

    /// How many accounts it has made.
    pub fn accounts(&self) -> Result<usize> {
        self.count("accounts in memory")
    }

    /// How many orders it has made.
    pub fn orders(&self) -> Result<usize> {
        self.count("Added order ")
    }

    /// How many names it has found to be proven; what it took over from an earlier order it did not look at again.
    pub fn validations(&self) -> Result<usize> {
        self.count("set VALID by completed challenge")
    }

    /// How often it was asked when to renew.
    pub fn renewal_questions(&self) -> Result<usize> {
        self.count(RENEWAL_QUESTION)
    }

    /// When it was asked when to renew: seconds, from some beginning.
    pub fn renewal_question_times(&self) -> Result<Vec<i64>> {
        self.times(RENEWAL_QUESTION)
    }

    /// When it has signed a certificate, by the same clock.
    pub fn issuance_times(&self) -> Result<Vec<i64>> {
        self.times("Issued certificate serial ")
    }

    /// When the lines of its log were written that say so, by the same clock.
    pub fn times(&self, words: &str) -> Result<Vec<i64>> {
        let lines = self.said(words)?;
        let time = |line: &String| {
            let mut words = line.split(' ').skip(1);
            let words = [
                words.next().context("a date")?,
                words.next().context("a time")?,
            ];
            let time = jiff::civil::DateTime::strptime("%Y/%m/%d %H:%M:%S", words.join(" "))?;
            Ok(time
                .to_zoned(jiff::tz::TimeZone::UTC)?
                .timestamp()
                .as_second())
        };
        lines.iter().map(time).collect()
    }

    /// How many orders it has taken as replacements of a certificate.
    pub fn replacements(&self) -> Result<usize> {
        self.count("is a replacement of")
    }

    /// As [`on_record`].
    pub fn record(&self, lab: &Lab, serial: &str) -> Result<(String, Option<u64>)> {
        record(lab, &self.management, serial)
    }

    /// Have it answer with this, word for word, when it is asked when to renew a certificate.
    pub fn suggest(&self, lab: &Lab, certificate: &[u8], answer: &str) -> Result<()> {
        let file = lab.dir().join(format!("suggestion-{}", unique()));
        let certificate = std::str::from_utf8(certificate)?;
        let body = serde_json::json!({ "Certificate": certificate, "ARIResponse": answer });
        std::fs::write(&file, body.to_string())?;
        let url = format!("{}/set-renewal-info/", self.management);
        let mut curl = lab.command("curl");
        curl.args(["-fsS", "--max-time", "20", "--cacert"])
            .arg(lab.dir().join("pki/ca.crt"))
            .arg("--data-binary")
            .arg(format!("@{}", file.display()))
            .arg(url);
        persistently(|| lab::output(&mut curl)).map(drop)
    }

    /// How many lines of its log say so.
    pub fn count(&self, words: &str) -> Result<usize> {
        Ok(self.said(words)?.len())
    }

    /// The lines of its log that say so.
    pub fn said(&self, words: &str) -> Result<Vec<String>> {
        let log = self.process.log().context("the CA's log")?;
        let lines = log.lines().filter(|line| line.contains(words));
        Ok(lines.map(str::to_owned).collect())
    }
}
