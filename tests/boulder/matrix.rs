//! Fifty orders of one to ten names each, drawn by lot: over HTTP and by dynamic update, wildcards and an address among
//! them, finalized at once and after the answer, with the usual chain and with another.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use lab::boulder::PUBLIC_ADDRESS;

use crate::support::DEADLINE;
use crate::support::orders::{Dice, Wanted};
use crate::{Stage, TEMPORARY, account_of, stage};

const ORDERS: usize = 50;

/// A debug build on a busy machine, with sixteen processes beside it.
const LIMIT: Duration = Duration::from_mins(4);

/// The issuers: the name, and what is special of each. `next` is of the directory that finalizes after its answer.
const ISSUERS: [(&str, &str); 3] = [
    ("rsa", ", preferredChain: root rsa"),
    ("next", ""),
    ("short", ", profile: shortlived"),
];

#[test]
fn fifty_orders_of_one_to_ten_names() -> Result<()> {
    let Some(stage) = stage() else { return Ok(()) };
    let namespace = stage.cluster.namespace("matrix")?;
    let secret = format!("--from-literal=key={}", lab::TSIG_SECRET);
    namespace.kubectl(&["create", "secret", "generic", "tsig", &secret])?;
    for (name, rest) in ISSUERS {
        namespace.apply(&issuer(&stage, name, rest)?)?;
    }
    let wanted = draw()?;
    namespace.issue_all(&wanted, LIMIT)?;

    let roots = stage.boulder.roots_pem()?;
    let (first, second) = roots.split_once("-----BEGIN").context("a root")?;
    assert_eq!(first, "");
    let (rsa, _) = second.split_once("-----BEGIN").context("another root")?;
    let rsa = format!("-----BEGIN{rsa}");
    let (preferring, others): (Vec<_>, Vec<_>) = wanted
        .into_iter()
        .partition(|wanted| wanted.issuer == "rsa");
    namespace.all_are_right(&preferring, &rsa)?;
    namespace.all_are_right(&others, &roots)?;

    let mut made = BTreeMap::new();
    for order in stage.boulder.orders(&stage.cluster.lab)? {
        *made.entry(order.account).or_insert(0) += 1;
    }
    for (name, _) in ISSUERS {
        let of_it = |wanted: &&Wanted| wanted.issuer == name;
        let needed = preferring.iter().chain(&others).filter(of_it).count();
        let account = account_of(&namespace, name)?;
        assert_eq!(made.get(&account), Some(&needed), "{name}");
        assert_eq!(stage.refusals(account)?, 0, "{name}");
    }
    namespace.none_left(&TEMPORARY, DEADLINE)?;
    let mut dig = stage.cluster.lab.command("dig");
    let server = format!("@{}", lab::ADDRESS);
    let zone = lab::output(dig.args([&server, "zone.shop", "AXFR"]))?;
    assert!(zone.contains("SOA"), "{zone}");
    assert!(!zone.contains("_acme-challenge.matrix"), "{zone}");
    namespace.leave_the_line()
}

/// It proves names of the zone that takes updates in DNS, and others over HTTP.
fn issuer(stage: &Stage, name: &str, rest: &str) -> Result<String> {
    let directory = match name {
        "next" => stage.boulder.next_directory(),
        _ => stage.boulder.directory(),
    };
    let zone = format!(
        "solvers: [{{selector: {{dnsZones: [zone.shop]}}, dns01: {{rfc2136: {{nameserver: {}, tsigKeyName: lab, \
         tsigAlgorithm: HMACSHA256, tsigSecretSecretRef: {{name: tsig, key: key}}}}}}}}, ",
        lab::ADDRESS
    );
    let issuer = stage.issuer(&directory, rest)?;
    Ok(issuer
        .replace("name: boulder", &format!("name: {name}"))
        .replace("solvers: [", &zone))
}

/// Five Certificates of each size. Every other one has names in `zone.shop`, of which the CA lets fifty a week pass; an
/// address has the short profile alone.
fn draw() -> Result<Vec<Wanted>> {
    let mut dice = Dice::of("matrix")?;
    let all = (0..ORDERS).map(|number| {
        let (issuer, _) = ISSUERS[number % ISSUERS.len()];
        let addresses = if issuer == "short" && number % 4 == 0 {
            &[PUBLIC_ADDRESS][..]
        } else {
            &[]
        };
        let name = format!("site-{number}");
        Wanted::draw((name, issuer), 1 + number % 10, addresses, || {
            let host = dice.below(40);
            match dice.below(10) {
                5..8 if number % 2 == 0 => format!("matrix{host}.zone.shop"),
                8.. if number % 2 == 0 => format!("*.matrix{host}.zone.shop"),
                _ => format!("w{host}.matrix{}.shop", host % 10),
            }
        })
    });
    Ok(all.collect())
}
