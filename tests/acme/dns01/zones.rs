//! Names whose zone is not where one would think: delegated to other servers, or another one within than without.

use anyhow::Result;

use super::{cluster, named, rfc2136, with_flags};
use crate::support::{DEADLINE, Namespace, certificate};
use crate::{FLAGS, SAID, aside};

/// A zone whose only server is at this address, and nothing else.
fn zone(origin: &str, address: &str) -> String {
    format!(
        "$TTL 1\n$ORIGIN {origin}.\n@ SOA inside root 1 60 60 600 1\n@ NS inside\n@ A {address}\ninside A {address}\n"
    )
}

#[test]
fn a_delegated_child_is_written_to_where_it_is_served() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let child = "child.dns01.example.com";
    let etc = cluster.lab.dir().join("etc");
    // The CA asks the same resolver as the operator, which remembers that a name was not there: it is, with another's value.
    let others = format!(
        "{}_acme-challenge.www TXT other\n",
        zone(child, "127.0.0.4")
    );
    std::fs::write(etc.join("child.zone"), others)?;
    let zones = format!(
        "zone \"{child}\" {{ type primary; file \"child.zone\"; allow-update {{ key \"lab\"; }}; }};"
    );
    let server = named(cluster, "127.0.0.4", "recursion no;", &zones)?;
    cluster.dns_update(&format!("add {child} 1 NS inside.{child}"))?;
    cluster.dns_update(&format!("add inside.{child} 1 A 127.0.0.4"))?;

    // The parent's server is not the child's.
    let namespace = cluster.namespace("dns-child-wrong")?;
    namespace.dns01(&rfc2136(""))?;
    let name = format!("wrong.{child}");
    namespace.apply(&certificate("site", "pebble", &name, ""))?;
    let words = "is not the primary server of zone child.dns01.example.com. (NOTAUTH)";
    namespace.says("site", &[words], SAID)?;

    // A solver for each, and names of both in one certificate.
    let namespace = cluster.namespace("dns-child")?;
    namespace.tsig(lab::TSIG_SECRET)?;
    let selector = format!(
        "solvers: [{{selector: {{dnsZones: [{child}]}}, dns01: {}}}, ",
        rfc2136("").replace(lab::ADDRESS, "127.0.0.4")
    );
    let issuer = cluster.dns01_issuer("pebble", &rfc2136(""))?;
    namespace.apply(&issuer.replace("solvers: [", &selector))?;
    let names = format!("www.{child}, beside-the-child.dns01.example.com");
    namespace.apply(&certificate("site", "pebble", &names, ""))?;
    namespace.ready("site", DEADLINE)?;
    namespace.none_left(&["challenge"], DEADLINE)?;
    let log = server.log()?;
    for change in ["adding an RR at '", "deleting an RR at "] {
        let line = format!("'{child}/IN': {change}_acme-challenge.www.{child}");
        assert!(log.contains(&line), "{line}: {log}");
    }
    assert!(!log.contains("beside-the-child"), "{log}");
    Ok(())
}

/// The answers within a network, at 127.0.0.5: another copy of dns01.example.com, which nobody updates.
const INSIDE: &str = "127.0.0.5:53";

fn asks(namespace: &Namespace<'_>, name: &str, solver: &str) -> Result<()> {
    namespace.dns01(solver)?;
    namespace.apply(&certificate("site", "pebble", name, ""))
}

#[test]
fn a_zone_that_is_another_within() -> Result<()> {
    let Some(cluster) = aside() else {
        return Ok(());
    };
    let etc = cluster.lab.dir().join("etc");
    std::fs::write(
        etc.join("inside.zone"),
        zone("dns01.example.com", "127.0.0.5"),
    )?;
    let options = format!(
        "recursion yes; allow-recursion {{ any; }}; forward only; forwarders {{ {}; }};",
        lab::ADDRESS
    );
    let zones = "zone \"dns01.example.com\" { type primary; file \"inside.zone\"; };";
    let _inside = named(cluster, "127.0.0.5", &options, zones)?;
    let namespace = cluster.alone("dns-split")?;
    let within = format!("--dns01-recursive-nameservers={INSIDE}");
    let without = format!("--dns01-recursive-nameservers={}:53", lab::ADDRESS);
    let only = "--dns01-recursive-nameservers-only";

    // What is seen within is not what the CA sees. No other operator comes in between, which would see the record.
    with_flags(&namespace, &[&within], || {
        asks(&namespace, "split.dns01.example.com", &rfc2136(""))?;
        let words = "inside.dns01.example.com. (127.0.0.5) answers that there is none";
        namespace.says("site", &[words], SAID)?;
        // A solver that knows better.
        let own = rfc2136(&format!("nameservers: [\"{}:53\"]", lab::ADDRESS));
        namespace.apply(&cluster.dns01_issuer("own", &own)?)?;
        namespace.apply(&certificate(
            "own",
            "own",
            "split-own.dns01.example.com",
            "",
        ))?;
        namespace.ready("own", SAID)?;
        cluster.operator(&[FLAGS[0], &within, only])?;
        let words = format!("{INSIDE} answers that there is none");
        namespace.says("site", &[&words], SAID)?;
        // The flag that a user sets then.
        cluster.operator(&[FLAGS[0], &without])?;
        namespace.ready("site", SAID)?;
        namespace.none_left(&["challenge"], DEADLINE)
    })
}

#[test]
fn resolvers_alone_are_asked_where_the_servers_cannot_be() -> Result<()> {
    let Some(cluster) = aside() else {
        return Ok(());
    };
    let namespace = cluster.alone("dns-only")?;
    let resolvers = format!("--dns01-recursive-nameservers={}:53", lab::ADDRESS);
    let only = "--dns01-recursive-nameservers-only=true";
    // One of the two servers of the zone, which does not have it, and logs what it is asked.
    let server = named(cluster, "127.0.0.3", "recursion no; querylog yes;", "")?;
    with_flags(&namespace, &[&resolvers, only], || {
        asks(&namespace, "only.slow.example.com", &rfc2136(""))?;
        namespace.ready("site", SAID)?;
        namespace.none_left(&["challenge"], DEADLINE)
    })?;
    let log = server.log()?;
    assert!(log.contains("query: version.bind"), "it does log: {log}");
    assert!(!log.contains("slow.example.com"), "it was asked: {log}");
    Ok(())
}
