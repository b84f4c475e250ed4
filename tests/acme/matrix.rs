//! Fifty orders of one to ten names each, drawn by lot, over HTTP and by DNS, wildcards and an address among them, at a CA
//! that is as awkward as Pebble can be: it refuses three good nonces of ten, takes its time to validate, knows accounts of
//! another system only, reads requests strictly, and has three more chains for each certificate.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::dns01::rfc2136;
use crate::support::orders::{Dice, Wanted};
use crate::support::{Ca, Cluster, DEADLINE, Namespace};
use crate::{TEMPORARY, TRAEFIK, cluster};

const ORDERS: usize = 50;

/// Until half of them are Ready: a debug build on a busy machine.
const LIMIT: Duration = Duration::from_mins(5);

/// So many names are drawn from: they come again in later orders.
const NAMES: u64 = 40;

/// The root that the issuer prefers, of one to three.
const ALTERNATE: usize = 2;

/// One after the other: each keeps a machine busy.
#[test]
fn where_nothing_half_or_all_of_what_is_proven_is_used_again() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let seen = fifty_orders(cluster, 0)?;
    // It is one of a hundred that Pebble uses again all the same.
    assert!(seen.validations * 10 > seen.names * 9, "{seen:?}");
    fifty_orders(cluster, 50)?;
    let seen = fifty_orders(cluster, 100)?;
    assert!(seen.validations < seen.names, "{seen:?}");
    Ok(())
}

#[derive(Debug)]
struct Seen {
    /// In all orders together.
    names: usize,
    validations: usize,
}

/// `reuse`: of a hundred names that are proven, how many need not be again.
fn fifty_orders(cluster: &Cluster, reuse: u32) -> Result<Seen> {
    let namespace = cluster.namespace(&format!("matrix-{reuse}"))?;
    let ca = awkward(cluster, reuse)?;
    let root = ca.root(&cluster.lab, ALTERNATE)?;
    namespace.tsig(lab::TSIG_SECRET)?;
    let eab = format!("--from-literal=secret={}", lab::EAB_KEY);
    namespace.kubectl(&["create", "secret", "generic", "eab", &eab])?;
    namespace.apply(&issuer(cluster, &ca, &root)?)?;
    let wanted = draw(&namespace.name)?;
    // The second half finds names that are proven already.
    for half in wanted.chunks(ORDERS / 2) {
        namespace.issue_all(half, LIMIT)?;
    }
    let invalid = invalid(&ca)?;
    let why = troubles(&namespace)?;
    let made = (ca.orders()? - invalid.len(), ca.accounts()?);
    assert_eq!(made, (ORDERS, 1), "made twice: {invalid:?} {why}");
    assert_eq!(invalid, BTreeSet::new(), "not proven: {why}");
    namespace.all_are_right(&wanted, &root)?;
    assert!(
        nonces_refused(cluster, &ca)? > 100,
        "the test tests something"
    );
    namespace.none_left(&TEMPORARY, DEADLINE)?;
    assert_eq!(records(&namespace)?, [""; 0]);
    Ok(Seen {
        names: wanted.iter().map(Wanted::size).sum(),
        validations: ca.validations()?,
    })
}

/// The orders of which the CA could not validate a name: another one is made after each.
fn invalid(ca: &Ca) -> Result<BTreeSet<String>> {
    let lines = ca.said(" set INVALID by invalid authz ")?;
    let id = |line: &String| {
        let (_, rest) = line.split_once("order ")?;
        rest.split(' ').next().map(str::to_owned)
    };
    let ids = lines.iter().map(|line| id(line).context("an id"));
    ids.collect()
}

/// What was warned of, and what the operator has counted of its calls that were not answered and of the times that it was
/// not up to date.
fn troubles(namespace: &Namespace<'_>) -> Result<String> {
    let events = namespace.list("event")?;
    let warnings = events.iter().filter(|event| event["type"] == "Warning");
    let warnings: Vec<_> = warnings.map(|event| &event["message"]).collect();
    let metrics = namespace.cluster.metrics()?;
    let counts = metrics.lines().filter(|line| {
        line.starts_with("everleaf_stale_sync_skips_total") || line.contains("status=\"999\"")
    });
    let counts: Vec<_> = counts.collect();
    Ok(format!("{warnings:#?} {counts:#?}"))
}

fn awkward(cluster: &Cluster, reuse: u32) -> Result<Ca> {
    let reuse = reuse.to_string();
    let environment = [
        ("PEBBLE_WFE_NONCEREJECT", "30"),
        ("PEBBLE_AUTHZREUSE", &reuse),
        ("PEBBLE_VA_NOSLEEP", "0"),
        // No, or one second.
        ("PEBBLE_VA_SLEEPTIME", "2"),
        ("PEBBLE_ALTERNATE_ROOTS", "3"),
        ("PEBBLE_CHAIN_LENGTH", "2"),
    ];
    Ca::start(&cluster.lab, &environment, |config| {
        config.replace(
            "\"externalAccountBindingRequired\": false",
            "\"externalAccountBindingRequired\": true",
        )
    })
}

/// It proves names of the zone that takes updates in DNS, and others over HTTP.
fn issuer(cluster: &Cluster, ca: &Ca, root: &str) -> Result<String> {
    let subject = cluster.openssl(&["x509", "-noout", "-subject"], root.as_bytes())?;
    let (_, preferred) = subject.trim().split_once("CN = ").context("a root")?;
    let zone = format!(
        "solvers: [{{selector: {{dnsZones: [dns01.example.com]}}, dns01: {}}}, ",
        rfc2136("")
    );
    let rest = format!(
        "    preferredChain: {preferred}\n    \
         externalAccountBinding: {{keyID: kid-1, keySecretRef: {{name: eab, key: secret}}}}\n    profile:"
    );
    Ok(ca
        .issuer(cluster, "pebble", TRAEFIK)?
        .replace("solvers: [", &zone)
        .replace("    profile:", &rest))
}

/// Five Certificates of each size; one in seven with the address of the ingress controller.
fn draw(domain: &str) -> Result<Vec<Wanted>> {
    let mut dice = Dice::of(domain)?;
    let all = (0..ORDERS).map(|number| {
        let addresses = if number % 7 == 6 {
            &[lab::ADDRESS][..]
        } else {
            &[]
        };
        let name = format!("site-{number}");
        Wanted::draw((name, "pebble"), 1 + number % 10, addresses, || {
            let host = dice.below(NAMES);
            match dice.below(10) {
                0..5 => format!("w{host}.{domain}.example.com"),
                5..8 => format!("d{host}.{domain}.dns01.example.com"),
                _ => format!("*.d{host}.{domain}.dns01.example.com"),
            }
        })
    });
    Ok(all.collect())
}

/// As the operator has counted them.
fn nonces_refused(cluster: &Cluster, ca: &Ca) -> Result<u64> {
    let host = ca.directory.trim_start_matches("https://");
    let host = host.trim_end_matches("/dir");
    let metrics = cluster.metrics()?;
    let refused = metrics
        .lines()
        .filter(|line| line.contains(host) && line.contains("status=\"400\""))
        .filter(|line| line.starts_with("certmanager_http_acme_client_request_count"));
    let counts = refused.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    Ok(counts.sum())
}

/// The TXT records of the namespace that are in the zone.
fn records(namespace: &Namespace<'_>) -> Result<Vec<String>> {
    let mut dig = namespace.cluster.lab.command("dig");
    let server = format!("@{}", lab::ADDRESS);
    let zone = lab::output(dig.args([&server, "dns01.example.com", "AXFR"]))?;
    assert!(zone.contains("SOA"), "{zone}");
    let ours = format!(".{}.", namespace.name);
    let left = zone
        .lines()
        .filter(|line| line.contains(&ours) && line.contains("TXT"));
    Ok(left.map(str::to_owned).collect())
}
