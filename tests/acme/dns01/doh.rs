//! Resolvers that are asked by HTTPS (RFC 8484): a CoreDNS that speaks nothing else.

use anyhow::Result;
use lab::Process;

use super::{cluster, issues, rfc2136, with_flags};
use crate::support::certificate;
use crate::{SAID, aside};

fn url(port: u16) -> String {
    format!("https://{}:{port}/dns-query", lab::ADDRESS)
}

/// All that has to be known of a name was asked of this resolver.
fn was_asked(resolver: &Process, name: &str, kinds: &[&str]) -> Result<()> {
    let log = resolver.log()?;
    for kind in kinds {
        let question = format!("\"{kind} IN {name}. ");
        assert!(log.contains(&question), "no {question}: {log}");
    }
    Ok(())
}

#[test]
fn of_the_solver_alone() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let resolver = cluster.lab.doh(8453, "ca")?;
    let namespace = cluster.namespace("dns-doh")?;
    namespace.dns01(&rfc2136(&format!("nameservers: [\"{}\"]", url(8453))))?;
    issues(&namespace, "doh.dns01.example.com")?;
    was_asked(
        &resolver,
        "_acme-challenge.doh.dns01.example.com",
        &["SOA", "TXT"],
    )
}

#[test]
fn of_all_solvers_by_a_flag() -> Result<()> {
    let Some(cluster) = aside() else {
        return Ok(());
    };
    let resolver = cluster.lab.doh(8454, "ca")?;
    let namespace = cluster.alone("dns-doh-flag")?;
    namespace.dns01(&rfc2136("cnameStrategy: Follow"))?;
    let flag = format!("--dns01-recursive-nameservers={}", url(8454));
    with_flags(&namespace, &[&flag], || {
        issues(&namespace, "doh-flag.dns01.example.com")
    })?;
    let name = "_acme-challenge.doh-flag.dns01.example.com";
    was_asked(&resolver, name, &["CNAME", "SOA"])?;
    was_asked(&resolver, "dns01.example.com", &["NS"])?;
    was_asked(&resolver, "ns.example.com", &["A", "AAAA"])?;
    // The zone's servers are asked for the record, by the DNS's own protocol.
    let log = resolver.log()?;
    assert!(!log.contains("\"TXT IN"), "{log}");
    Ok(())
}

#[test]
fn a_certificate_that_nobody_trusts_and_a_url_of_something_else() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let resolver = cluster.lab.doh(8455, "front-proxy-ca")?;
    for (name, url, words) in [
        (
            "dns-doh-stranger",
            url(8455),
            "/dns-query cannot be reached: invalid peer certificate: UnknownIssuer",
        ),
        (
            "dns-doh-api",
            format!("https://{}:14000/dns-query", lab::ADDRESS),
            "/dns-query answers 404 by HTTP: correct the URL",
        ),
    ] {
        let namespace = cluster.namespace(name)?;
        namespace.dns01(&rfc2136(&format!("nameservers: [\"{url}\"]")))?;
        let domain = format!("{name}.dns01.example.com");
        namespace.apply(&certificate("site", "pebble", &domain, ""))?;
        namespace.says("site", &[words], SAID)?;
    }
    let log = resolver.log()?;
    assert!(!log.contains("dns-doh-stranger"), "{log}");
    Ok(())
}
