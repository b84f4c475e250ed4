//! Another CA in the Secret of an issuer that asks for rotations: 500 certificates follow in waves, and at
//! no moment does one fail to verify. Every version of every Secret is looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use everleaf::pki::{
    ParsedCertificate, PrivateKey, check_chain_order, parse_bundle, parse_chain, verify_key_matches,
};
use serde_json::Value;

use crate::ca::{YEAR, issuer, pair, store, verify};
use crate::support::{DEADLINE, Namespace, certificate, entry, is_ready, poll, requests};
use crate::{FLAGS, aside, condition};

const LEAVES: usize = 500;
/// Certificates of a wave.
const WAVE: usize = 50;
/// A wave each second.
const PACE: [&str; 2] = ["--ca-rotation-rate=3000", "--ca-rotation-parallelism=50"];
/// A loaded machine issues some 20 certificates a second.
const PATIENCE: Duration = Duration::from_mins(5);

/// A version of a Secret, read.
struct Version {
    leaf: ParsedCertificate,
    /// Fingerprint of the root that has signed it.
    signer: String,
    /// Those in `ca.crt`.
    roots: BTreeSet<String>,
}

impl Version {
    /// Key and certificate belong together, and who trusts `ca.crt` accepts the certificate.
    fn read(secret: &Value) -> Result<Self> {
        let chain = parse_chain(&entry(secret, "tls.crt")?)?;
        let roots = parse_bundle(&entry(secret, "ca.crt")?)?;
        let key = PrivateKey::from_pem(&entry(secret, "tls.key")?)?;
        check_chain_order(&chain)?;
        let leaf = chain.first().context("a leaf")?.clone();
        verify_key_matches(&leaf, &key)?;
        let top = chain.last().context("a leaf")?;
        let signer = roots.iter().find(|root| top.verify_issued_by(root).is_ok());
        let signer = signer.context("none of ca.crt has signed it")?;
        Ok(Self {
            leaf,
            signer: signer.fingerprint(),
            roots: roots.iter().map(ParsedCertificate::fingerprint).collect(),
        })
    }
}

fn name(secret: &Value) -> String {
    secret["metadata"]["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// What was seen of the Secrets, in the order of the API server.
struct Seen {
    /// Versions of each.
    versions: BTreeMap<String, usize>,
    /// The order in which they were issued anew.
    reissued: Vec<String>,
}

/// Check each version: by itself, and with all others as they were at that time.
fn check(events: &[(String, Value)]) -> Result<Seen> {
    let mut now: BTreeMap<String, Version> = BTreeMap::new();
    let mut seen = Seen {
        versions: BTreeMap::new(),
        reissued: vec![],
    };
    for (_, secret) in events {
        let name = name(secret);
        if !name.starts_with("site-") {
            continue;
        }
        let version = Version::read(secret).with_context(|| name.clone())?;
        *seen.versions.entry(name.clone()).or_default() += 1;
        let before = now.insert(name.clone(), version);
        let changed = before.is_some_and(|before| before.leaf != now[&name].leaf);
        if changed && !seen.reissued.contains(&name) {
            seen.reissued.push(name);
        }
        if now.len() < LEAVES {
            continue;
        }
        // Whoever trusts what is in one of them accepts all of them.
        let signers: BTreeSet<_> = now.values().map(|version| &version.signer).collect();
        for (client, version) in &now {
            let trusts = |signer: &&String| version.roots.contains(*signer);
            assert!(
                signers.iter().all(trusts),
                "{client} does not trust all of {signers:?}"
            );
        }
    }
    Ok(seen)
}

fn all_ready(namespace: &Namespace<'_>, revision: u64) -> Result<()> {
    poll(PATIENCE, &format!("revision {revision} of all"), || {
        let all = namespace.list("certificate")?;
        let of = |c: &&Value| is_ready(c) && c["status"]["revision"] == revision;
        let ours = all.iter().filter(|c| name(c).starts_with("site-"));
        let ready = ours.filter(of).count();
        ensure!(ready == LEAVES, "{ready} of {LEAVES} are ready");
        Ok(())
    })
}

/// Each wave is over before the next begins, soonest expiry first.
fn check_waves(reissued: &[String]) {
    let mut expected: Vec<_> = (0..LEAVES).map(|n| (hours(n), site(n))).collect();
    expected.sort();
    let expected: Vec<_> = expected.into_iter().map(|(_, name)| name).collect();
    let set = |names: &[String]| names.iter().cloned().collect::<BTreeSet<_>>();
    assert_eq!(reissued.len(), LEAVES);
    for (wave, asked) in reissued.chunks(WAVE).zip(expected.chunks(WAVE)) {
        assert_eq!(set(wave), set(asked));
    }
}

/// As many waves as there should be, no two within one second.
fn check_phases(issuers: &[(String, Value)]) {
    let mut waves: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut phases = vec![];
    for (_, issuer) in issuers {
        let rotation = &issuer["status"]["ca"]["rotation"];
        let text = |field: &str| rotation[field].as_str().unwrap_or_default().to_owned();
        if !rotation.is_null() {
            waves.entry(text("phase")).or_default().insert(text("wave"));
            phases.push(text("phase"));
        }
    }
    phases.dedup();
    assert_eq!(phases, ["Trusting", "Reissuing", "Overlapping", "Retiring"]);
    for phase in ["Trusting", "Reissuing", "Retiring"] {
        let begun = waves[phase].iter().filter(|time| !time.is_empty()).count();
        assert_eq!(begun, LEAVES / WAVE, "{phase}: {:?}", waves[phase]);
    }
}

fn site(number: usize) -> String {
    format!("site-{number:03}")
}

/// Lifetime of a certificate: each has another, in another order than the names.
fn hours(number: usize) -> usize {
    2000 + (number * 7) % LEAVES
}

#[test]
fn five_hundred_certificates_follow_another_ca_and_none_fails_to_verify() -> Result<()> {
    let Some(cluster) = aside() else {
        return Ok(());
    };
    let namespace = cluster.alone("ca-rotation")?;
    let flags = [FLAGS.as_slice(), &PACE].concat();
    cluster.while_operator_with(&flags, &[], || all_follow(&namespace, &flags))
}

fn all_follow(namespace: &Namespace<'_>, flags: &[&str]) -> Result<()> {
    let cluster = namespace.cluster;
    let (old, new) = (pair(true, 0, 2 * YEAR)?, pair(true, 0, 2 * YEAR)?);
    namespace.apply(&store(&namespace.name, "pair", &old).to_string())?;
    namespace.apply(&issuer(
        "ca",
        "pair",
        ", rotation: {trustAhead: 3s, overlap: 5s}",
    ))?;
    namespace.apply(&issuer("still", "pair", ""))?;
    let leaf = |number: usize| {
        let (name, life) = (site(number), format!("duration: {}h", hours(number)));
        certificate(&name, "ca", &format!("{name}.example.com"), &life)
    };
    let all: Vec<_> = (0..LEAVES).map(leaf).collect();
    namespace.apply(&all.join("\n---\n"))?;
    namespace.apply(&certificate("other", "still", "other.example.com", ""))?;
    all_ready(namespace, 1)?;
    namespace.ready("other", DEADLINE)?;
    cluster.quiet()?;
    let known = namespace.get("issuer", "ca")?;
    assert_eq!(known["status"]["ca"]["roots"], old.1);
    assert!(known["status"]["ca"]["rotation"].is_null());
    assert!(
        condition(&known, "CARotation").is_null(),
        "nothing happened yet"
    );
    let asked = || -> Result<usize> {
        let all = requests(&cluster.lab)?.into_iter();
        Ok(all.filter(|r| r.namespace == namespace.name).count())
    };
    let (before, begun) = (asked()?, std::time::Instant::now());

    let secrets = namespace.watch("secret", "")?;
    let issuers = namespace.watch("issuer", "ca")?;
    namespace.apply(&store(&namespace.name, "pair", &new).to_string())?;
    // The operator ends in the middle, at once; on a busy machine a few waves later.
    namespace.until(PATIENCE, "issuer", "ca", "half way", |issuer| {
        let rotation = &issuer["status"]["ca"]["rotation"];
        let phase = rotation["phase"].as_str().unwrap_or_default();
        let has_begun = phase == "Reissuing" && rotation["done"].as_u64() >= Some(1);
        has_begun || ["Overlapping", "Retiring"].contains(&phase)
    })?;
    cluster.kill_operator()?;
    cluster.operator(flags)?;
    let done = namespace.until(PATIENCE, "issuer", "ca", "rotated", |issuer| {
        condition(issuer, "CARotation")["reason"] == "Rotated"
    })?;
    let took = begun.elapsed();
    all_ready(namespace, 2)?;
    cluster.quiet()?;
    assert_eq!(done["status"]["ca"]["roots"], new.1);
    assert!(done["status"]["ca"]["rotation"].is_null());

    let events = secrets.as_far_as_all(&namespace.list("secret")?)?;
    let seen = check(&events)?;
    assert_eq!(seen.versions.len(), LEAVES);
    // As first issued; both roots; the new certificate; one root. And what the kill has cut in two.
    let repeated = seen.versions.values().filter(|versions| **versions != 4);
    let repeated: Vec<_> = repeated.collect();
    assert!(
        repeated.len() <= WAVE && repeated.iter().all(|versions| **versions == 5),
        "{repeated:?}"
    );
    for secret in namespace.list("secret")? {
        if name(&secret).starts_with("site-") {
            assert_eq!(entry(&secret, "ca.crt")?, new.1.as_bytes());
        }
    }
    verify(namespace, "site-000", "")?;

    check_waves(&seen.reissued);
    check_phases(&issuers.as_far_as(&namespace.get("issuer", "ca")?)?);
    let told = |e: &Value| e["reason"] == "CARotation" && e["involvedObject"]["name"] == "ca";
    namespace.until_list("event", "a rotation", |all| all.iter().any(told))?;

    // Who does not ask for it sees nothing of it.
    let still = namespace.get("issuer", "still")?;
    assert!(still["status"]["ca"].is_null() && condition(&still, "CARotation").is_null());
    let other = events.iter().filter(|(_, secret)| name(secret) == "other");
    assert_eq!(other.count(), 1);

    let asked = asked()? - before;
    println!("rotation of {LEAVES} certificates: {took:.1?}, {asked} requests");
    assert!(asked <= 13 * LEAVES, "{asked} requests");
    Ok(())
}
