//! Certificates of many names, drawn by lot; and what must be true of them when they are Ready.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use serde_json::Value;

use super::{Namespace, is_ready, ready_condition};

/// How word of an attempt that has failed begins.
const FAILED: &str = "The certificate request has failed to complete";

/// A seed other than the usual one, to try others.
const SEED: &str = "EVERLEAF_SEED";

/// Numbers that look like chance, and are the same for the same seed (splitmix64).
pub struct Dice(u64);

impl Dice {
    /// Of the usual seed, or of the one in the environment; says which.
    pub fn of(what: &str) -> Result<Self> {
        let seed = std::env::var(SEED).ok().map(|seed| seed.parse());
        let seed = seed.transpose().context(SEED)?.unwrap_or(1);
        println!("{what}: {SEED}={seed}");
        Ok(Self(seed))
    }

    /// A number below this one.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// A Certificate that is asked for.
#[derive(Debug)]
pub struct Wanted {
    pub name: String,
    pub issuer: String,
    /// Each once, in any order.
    pub dns_names: BTreeSet<String>,
    pub addresses: Vec<String>,
}

impl Wanted {
    /// So many names in all, those of DNS as `draw` draws them.
    pub fn draw(
        (name, issuer): (String, &str),
        size: usize,
        addresses: &[&str],
        mut draw: impl FnMut() -> String,
    ) -> Self {
        let mut dns_names = BTreeSet::new();
        while dns_names.len() + addresses.len() < size {
            dns_names.insert(draw());
        }
        Self {
            name,
            issuer: issuer.to_owned(),
            dns_names,
            addresses: addresses.iter().map(ToString::to_string).collect(),
        }
    }

    /// The number of its names.
    pub fn size(&self) -> usize {
        self.dns_names.len() + self.addresses.len()
    }

    fn yaml(&self) -> String {
        let list = |field: &str, names: Vec<String>| {
            if names.is_empty() {
                String::new()
            } else {
                format!("{field}: [{}], ", names.join(", "))
            }
        };
        let quoted = self.dns_names.iter().map(|name| format!("'{name}'"));
        format!(
            "{{apiVersion: cert-manager.io/v1, kind: Certificate, metadata: {{name: {name}}}, spec: {{secretName: {name}, \
             {}{}privateKey: {{algorithm: ECDSA}}, issuerRef: {{name: {}}}}}}}",
            list("dnsNames", quoted.collect()),
            list("ipAddresses", self.addresses.clone()),
            self.issuer,
            name = self.name,
        )
    }
}

impl Namespace<'_> {
    /// Ask for these, and wait until all are Ready.
    pub fn issue_all(&self, wanted: &[Wanted], deadline: Duration) -> Result<()> {
        let all: Vec<String> = wanted.iter().map(Wanted::yaml).collect();
        self.apply(&all.join("\n---\n"))?;
        let open = || -> Result<Vec<String>> {
            let mut open = vec![];
            for object in self.list("certificate")? {
                if !is_ready(&object) {
                    let message = &ready_condition(&object)["message"];
                    open.push(format!("{}: {message}", object["metadata"]["name"]));
                }
            }
            Ok(open)
        };
        let lab = &self.cluster.lab;
        let what = format!("{} Certificates", wanted.len());
        lab.wait(deadline, &what, || {
            let open = open()?;
            ensure!(open.is_empty(), "{} are open: {open:#?}", open.len());
            Ok(Some(()))
        })
    }

    /// Each was issued at the first attempt. The last one of each size and issuer has exactly the names that were asked
    /// for, and leads to one of these roots.
    pub fn all_are_right(&self, wanted: &[Wanted], roots: &str) -> Result<()> {
        let all = self.list("certificate")?;
        for wanted in wanted {
            let name = &wanted.name;
            let object = all.iter().find(|o| o["metadata"]["name"] == **name);
            let status = &object.context("a Certificate")?["status"];
            ensure!(
                status["revision"] == 1 && status["failedIssuanceAttempts"].is_null(),
                "{name}: {status}"
            );
        }
        // The success after a failure takes all signs of it back but this.
        let events = self.list("event")?;
        let message = |event: &Value| event["message"].as_str().map(ToOwned::to_owned);
        let failed: Vec<_> = events
            .iter()
            .filter_map(message)
            .filter(|message| message.starts_with(FAILED))
            .collect();
        ensure!(failed.is_empty(), "failed attempts: {failed:#?}");
        let kinds = wanted
            .iter()
            .map(|wanted| ((wanted.size(), &wanted.issuer), wanted));
        for wanted in kinds.collect::<BTreeMap<_, _>>().values() {
            let name = &wanted.name;
            let shown = self.x509(name, &["-ext", "subjectAltName"])?;
            let shown: BTreeSet<&str> = shown
                .lines()
                .filter(|line| line.contains(':') && !line.contains("X509v3"))
                .flat_map(|line| line.split(", ").map(str::trim))
                .collect();
            let dns = wanted.dns_names.iter().map(|name| format!("DNS:{name}"));
            let addresses = wanted.addresses.iter();
            let addresses = addresses.map(|address| format!("IP Address:{address}"));
            let asked: BTreeSet<String> = dns.chain(addresses).collect();
            ensure!(
                asked.iter().map(String::as_str).eq(shown.iter().copied()),
                "{name}: {asked:?} asked for, {shown:?} issued"
            );
            self.verify(name, roots)?;
        }
        Ok(())
    }

    /// Check with openssl that key and certificate of a Secret belong together, and that its chain leads to one of these
    /// roots, PEM.
    pub fn verify(&self, secret: &str, roots: &str) -> Result<()> {
        self.pair_matches(secret)?;
        let lab = &self.cluster.lab;
        let dir = lab.dir().join(format!("verify-{}-{secret}", self.name));
        std::fs::create_dir_all(&dir)?;
        std::fs::write(dir.join("chain"), self.secret_entry(secret, "tls.crt")?)?;
        std::fs::write(dir.join("roots"), roots)?;
        let mut openssl = lab.command("openssl");
        openssl.args(["verify", "-CAfile"]).arg(dir.join("roots"));
        openssl.arg("-untrusted").arg(dir.join("chain"));
        let said = lab::output(openssl.arg(dir.join("chain")))?;
        ensure!(said.contains(": OK"), "{secret}: {said}");
        Ok(())
    }
}
