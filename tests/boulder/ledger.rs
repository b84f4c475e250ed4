//! The CA's limits foreseen: two hundred names, of which the CA refuses none, in the order of docs/limits.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::support::{Namespace, certificate, is_ready};
use crate::{FLAGS, Stage, account, stage};

const DOMAINS: usize = 8;
/// Certificates of a domain within [`PERIOD`], for Boulder and for Everleaf.
const COUNT: usize = 10;
const PERIOD: &str = "40s";
/// Of each domain, beside the [`COUNT`] that use up what it has: renewals of what expires within a day, others, and
/// what is new.
const URGENT: [u32; 3] = [7, 3, 12];
const LATER: [u32; 5] = [960, 240, 720, 480, 600];
const NEW: usize = 7;

const UNDER_WAY: usize = 16;

/// All that the limits keep waiting, on a busy machine.
const ALL: Duration = Duration::from_mins(5);

/// Who goes on with two tokens at once may overtake each other by so many places.
const SLACK: usize = 2;

/// Of Boulder's limits, for the domains of this test.
pub fn overrides() -> String {
    let ids = (0..DOMAINS).map(|n| format!("{{id: {}, comment: a test}}", domain(n)));
    format!(
        "- CertificatesPerDomain:\n    count: {COUNT}\n    burst: {COUNT}\n    period: {PERIOD}\n    ids: [{}]\n",
        ids.collect::<Vec<_>>().join(", ")
    )
}

fn domain(number: usize) -> String {
    format!("ledger-{number}.shop")
}

/// A Certificate's place in the line: lower ones are served first, of equal ones any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Urgent(u32),
    New,
    Later(u32),
}

/// What is made of each domain when its tokens are used up: name, host and rank.
fn waiting() -> Vec<(String, String, Rank)> {
    let mut ranks: Vec<_> = URGENT.map(Rank::Urgent).into();
    ranks.extend([Rank::New; NEW]);
    ranks.extend(LATER.map(Rank::Later));
    let all =
        (0..DOMAINS).flat_map(|d| ranks.iter().enumerate().map(move |(n, rank)| (d, n, *rank)));
    all.map(|(d, n, rank)| (format!("w{d}-{n}"), format!("w{n}.{}", domain(d)), rank))
        .collect()
}

#[test]
fn of_two_hundred_names_none_is_refused_and_they_come_by_expiry_over_a_restart() -> Result<()> {
    let Some(stage) = stage() else { return Ok(()) };
    let namespace = stage.cluster.alone("ledger")?;
    let limits = |orders: &str| {
        format!("domain={COUNT}/{PERIOD}, orders={orders}, set=5/7d, under-way={UNDER_WAY}")
    };
    let usual = limits("300/3h");
    let issuer = stage.issuer(&stage.boulder.directory(), "")?.replacen(
        "{name: boulder}",
        &format!("{{name: boulder, annotations: {{everleaf.io/acme-limits: '{usual}'}}}}"),
        1,
    );
    namespace.apply(&issuer)?;
    let account = account(&namespace)?;
    let old = expiring(&namespace)?;

    // These take all tokens.
    let first = (0..DOMAINS).flat_map(|d| (0..COUNT).map(move |n| (d, n)));
    let first: Vec<_> = first
        .map(|(d, n)| (format!("f{d}-{n}"), format!("f{n}.{}", domain(d))))
        .collect();
    let yaml = first
        .iter()
        .map(|(name, host)| certificate(name, "boulder", host, ""));
    apply(&namespace, yaml)?;
    ready(&namespace, old + first.len())?;

    // An account that has ordered all that it may: all wait and take nothing, however long it takes until they are
    // there.
    allow(&namespace, &limits("1/3h"))?;
    let line = waiting();
    let yaml = line
        .iter()
        .map(|(name, host, rank)| of_boulder(name, host, *rank));
    apply(&namespace, yaml)?;
    let all = first.len() + line.len();
    assert_eq!(all, 200);
    namespace.until_list_within(ALL, "order", "all orders", |orders| orders.len() == all)?;
    assert_eq!(proven(&stage, account)?.len(), first.len(), "they wait");
    stage.cluster.kill_operator()?;
    allow(&namespace, &usual)?;
    stage.cluster.operator(&FLAGS)?;
    // Another end comes in the middle.
    let begun = first.len() + UNDER_WAY;
    let lab = &stage.cluster.lab;
    lab.wait(ALL, "some more known to the CA", || {
        Ok((proven(&stage, account)?.len() >= begun).then_some(()))
    })?;
    stage.cluster.kill_operator()?;
    let had = proven(&stage, account)?;
    stage.cluster.operator(&FLAGS)?;
    ready(&namespace, all)?;

    assert_eq!(stage.refusals(account)?, 0, "refused for a limit");
    let mut orders = stage.boulder.orders(&stage.cluster.lab)?;
    orders.retain(|order| order.account == account);
    let made = orders.len();
    orders.retain(|order| !order.serial.is_empty());
    let names: BTreeSet<_> = orders.iter().flat_map(|order| &order.names).collect();
    assert_eq!((orders.len(), names.len()), (all, all), "each once");
    // What the CA tried to validate while nobody answered is ordered again.
    ensure!(made - all <= UNDER_WAY, "{made} orders");

    // Those of which the CA had not heard at the restart, in the order in which it did.
    let ranks: BTreeMap<_, _> = line
        .iter()
        .map(|(_, host, rank)| (host.as_str(), *rank))
        .collect();
    let (mut ordered, mut said) = (0, String::new());
    for number in 0..DOMAINS {
        let of_domain = orders.iter().filter_map(|order| order.names.first());
        let end = format!(".{}", domain(number));
        let later: Vec<_> = of_domain
            .filter(|host| host.ends_with(&end) && !had.contains(*host))
            .filter_map(|host| ranks.get(host.as_str()))
            .collect();
        writeln!(said, "{number}: {later:?}")?;
        for (place, rank) in later.iter().enumerate() {
            let overtaken = later
                .iter()
                .skip(place + 1 + SLACK)
                .find(|later| later < &rank);
            ensure!(
                overtaken.is_none(),
                "{rank:?} before {overtaken:?}:\n{said}"
            );
        }
        ordered += later.len();
    }
    ensure!(ordered >= line.len() / 4, "the test tests little:\n{said}");
    println!("ledger: {all} certificates, {ordered} of them after the restart:\n{said}");
    namespace.leave_the_line()
}

fn apply(namespace: &Namespace<'_>, yaml: impl Iterator<Item = String>) -> Result<()> {
    namespace.apply(&yaml.collect::<Vec<_>>().join("\n---\n"))
}

/// Certificates of the namespace's own issuer, of which Boulder's are to be the renewals; how many.
fn expiring(namespace: &Namespace<'_>) -> Result<usize> {
    namespace.apply(
        "{apiVersion: cert-manager.io/v1, kind: Issuer, metadata: {name: own}, spec: {selfSigned: {}}}",
    )?;
    let line = waiting();
    let old = line.iter().filter_map(|(name, host, rank)| {
        let yaml = of_boulder(name, host, *rank);
        (*rank != Rank::New)
            .then(|| yaml.replace("issuerRef: {name: boulder}", "issuerRef: {name: own}"))
    });
    let old: Vec<_> = old.collect();
    let count = old.len();
    apply(namespace, old.into_iter())?;
    ready(namespace, count)?;
    Ok(count)
}

fn of_boulder(name: &str, host: &str, rank: Rank) -> String {
    let duration = match rank {
        Rank::New => String::new(),
        Rank::Urgent(hours) | Rank::Later(hours) => format!("duration: {hours}h"),
    };
    certificate(name, "boulder", host, &duration)
}

/// Wait until so many Certificates are there and Ready.
fn ready(namespace: &Namespace<'_>, count: usize) -> Result<()> {
    let lab = &namespace.cluster.lab;
    lab.wait(ALL, &format!("{count} certificates"), || {
        let all = namespace.list("certificate")?;
        let ready = all.iter().filter(|object| is_ready(object)).count();
        Ok((all.len() == count && ready == count).then_some(()))
    })
    .with_context(|| {
        let all = namespace.list("certificate").unwrap_or_default();
        let open = all.iter().find(|object| !is_ready(object));
        format!(
            "for example {}",
            open.map_or(&Value::Null, |o| &o["status"])
        )
    })
}

/// The issuer learns what its CA allows.
fn allow(namespace: &Namespace<'_>, limits: &str) -> Result<()> {
    let limits = format!("everleaf.io/acme-limits={limits}");
    let annotate = ["annotate", "issuer", "boulder", "--overwrite", &limits];
    namespace.kubectl(&annotate).map(drop)
}

/// The names of which the CA has heard from this account.
fn proven(stage: &Stage, account: u64) -> Result<BTreeSet<String>> {
    let mut all = stage.boulder.authorizations(&stage.cluster.lab)?;
    all.retain(|authorization| authorization.account == account);
    Ok(all
        .into_iter()
        .map(|authorization| authorization.identifier)
        .collect())
}
