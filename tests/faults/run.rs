//! One plan: an operator that is to die, another that is to bring the rest to its end, and what must hold then.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lab::Process;
use serde_json::Value;

use crate::support::{
    Ca, Cluster, DEADLINE, Namespace, STOPPED, TEMPORARY, TRAEFIK, certificate, everleaf, is_ready,
    on_record, poll, ready_condition,
};

/// A crash costs its restart, not a back-off.
pub const RECOVERY: Duration = Duration::from_secs(50);
/// For all namespaces together: their CA is asked about renewal once a second.
const PREPARATION: Duration = Duration::from_mins(5);
pub const POLL: Duration = Duration::from_millis(50);

/// Objects of somebody else, which share the namespace, and names where they can.
const FOREIGN: [&str; 3] = ["secret", "ingress", "service"];

const STAGES: [&str; 3] = ["before", "committed", "after"];

/// What is interrupted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scenario {
    First,
    Renewal,
    /// The certificate is revoked, and replaced.
    Revocation,
    /// The first one of an ordered issuer's cannot be reached, the second signs.
    Ordered,
}

impl Scenario {
    pub const ALL: [Self; 4] = [Self::First, Self::Renewal, Self::Revocation, Self::Ordered];

    /// Whether it begins with the certificate that another has led to.
    pub fn goes_on(self) -> bool {
        matches!(self, Self::Renewal | Self::Revocation)
    }

    /// The namespace of a plan.
    pub fn namespace(self, plan: usize) -> String {
        match self {
            Self::Ordered => format!("crash-ordered-{plan}"),
            _ => namespace_of(plan),
        }
    }
}

/// Where the operator dies.
#[derive(Clone, Debug)]
pub struct Crash {
    /// Of the calls of this kind, counted from 1.
    pub number: usize,
    pub kind: String,
    pub stage: &'static str,
}

impl Crash {
    /// One for each stage of each call.
    pub fn each(calls: &[String]) -> Vec<Self> {
        let mut seen = BTreeMap::<String, usize>::new();
        let mut crashes = Vec::new();
        for call in calls {
            let kind = kind_of(call);
            let number = seen.entry(kind.clone()).or_default();
            *number += 1;
            crashes.extend(STAGES.map(|stage| Self {
                number: *number,
                kind: kind.clone(),
                stage,
            }));
        }
        crashes
    }
}

impl fmt::Display for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.number, self.stage, self.kind)
    }
}

/// How far the first operator came.
pub enum Ended {
    /// It died where it should.
    Crashed,
    /// It had fewer calls of this kind to make than the rehearsal.
    Unreached,
}

/// Where a scenario leads from where its namespace is.
struct Goal {
    scenario: Scenario,
    /// The revision that the Certificate has at the end.
    revision: u64,
    /// Versions of the objects of somebody else.
    foreign: Foreign,
}

impl Goal {
    fn of(namespace: &Namespace<'_>, scenario: Scenario) -> Result<Self> {
        let certificate = namespace.get("certificate", "site")?;
        Ok(Self {
            scenario,
            revision: certificate["status"]["revision"]
                .as_u64()
                .unwrap_or_default()
                + 1,
            foreign: Foreign::of(namespace)?,
        })
    }

    fn is_reached(&self, namespace: &Namespace<'_>) -> Result<bool> {
        let certificate = namespace.get("certificate", "site")?;
        // The CA has also said when it wants the next one.
        let window = &certificate["status"]["acme"]["ari"]["suggestedWindow"];
        let issued = is_ready(&certificate)
            && certificate["status"]["revision"] == self.revision
            && window.is_object();
        if !issued || self.scenario != Scenario::Revocation {
            return Ok(issued);
        }
        let revocation = namespace.get("certificaterevocation", "gone")?;
        Ok(ready_condition(&revocation)["status"] == "True")
    }
}

/// The namespace of a plan: the second scenario goes on where the first has ended.
pub fn namespace_of(plan: usize) -> String {
    format!("crash-{plan}")
}

/// A call without the names in it.
fn kind_of(call: &str) -> String {
    let kind = call.split("crash-").next().unwrap_or(call);
    kind.trim_end_matches([' ', '/']).to_owned()
}

/// Namespaces with a registered ACME Issuer each, and what is not ours. The Certificates are there, and no operator
/// runs.
pub fn prepare(cluster: &Cluster, down: &Ca, scenario: Scenario, names: &[String]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let mut issuer = "pebble";
    let mut reference = "issuerRef: {name: pebble}";
    if scenario == Scenario::Ordered {
        issuer = "list";
        reference = "issuerRef: {group: everleaf.io, kind: OrderedIssuer, name: list}";
        ordered(cluster, down, names)?;
    } else {
        issuers(cluster, names)?;
    }
    let certificates = names.iter().map(|name| {
        let site = certificate("site", issuer, &format!("{name}.example.com"), "");
        let site = site.replace(&format!("issuerRef: {{name: {issuer}}}"), reference);
        within(name, &site)
    });
    let certificates: Vec<_> = certificates.collect();
    cluster.lab.apply(&certificates.join("\n---\n"))?;
    Ok(())
}

/// As [`prepare`], without the Certificates.
pub fn issuers(cluster: &Cluster, names: &[String]) -> Result<()> {
    let issuer = issuer(cluster, "pebble")?;
    ready(cluster, names, &[issuer], &["issuer/pebble"])
}

/// An Issuer of the lab's own CA. Hundreds of RSA keys would take their time.
fn issuer(cluster: &Cluster, name: &str) -> Result<String> {
    let issuer = cluster.acme_issuer(name, "default", TRAEFIK)?;
    let annotations = "annotations: {everleaf.io/account-key-algorithm: ES256}";
    let metadata = format!("metadata: {{name: {name}, {annotations}}}");
    Ok(issuer.replacen(&format!("metadata: {{name: {name}}}"), &metadata, 1))
}

/// With an ordered issuer in each, whose first one is registered at a CA that is gone then.
fn ordered(cluster: &Cluster, down: &Ca, names: &[String]) -> Result<()> {
    let pebble = issuer(cluster, "pebble")?;
    let first = issuer(cluster, "first")?.replace(&cluster.lab.acme_directory(), &down.directory);
    let list = "{apiVersion: everleaf.io/v1alpha1, kind: OrderedIssuer, metadata: {name: list}, \
                spec: {after: 1s, issuers: [{name: first}, {name: pebble}]}}";
    down.restart()?;
    let answers = || cluster.lab.get(&down.directory).map(Some);
    cluster.lab.wait(DEADLINE, "the other CA", answers)?;
    let waits = ["issuer/pebble", "issuer/first", "orderedissuer/list"];
    ready(cluster, names, &[pebble, first, list.to_owned()], &waits)?;
    down.stop()
}

/// These objects in each namespace, until they are ready.
fn ready(cluster: &Cluster, names: &[String], objects: &[String], waits: &[&str]) -> Result<()> {
    let mut manifests = Vec::new();
    for name in names {
        manifests.push(format!(
            "{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}}}}}"
        ));
        manifests.extend(foreign(name));
        manifests.extend(objects.iter().map(|object| within(name, object)));
    }
    cluster.lab.apply(&manifests.join("\n---\n"))?;
    let operator = Operator::start(cluster, "prepare", 0, None, None)?;
    for name in names {
        let wait = [
            "wait",
            "--for=condition=Ready",
            "--timeout=5m",
            "--namespace",
            name,
        ];
        cluster.lab.kubectl(&[&wait[..], waits].concat())?;
    }
    operator.stop()
}

/// An object in a namespace.
fn within(namespace: &str, object: &str) -> String {
    let metadata = format!("metadata: {{namespace: {namespace}, ");
    object.replacen("metadata: {", &metadata, 1)
}

/// Objects that nobody may touch: no controller of the lab does.
fn foreign(namespace: &str) -> [String; 3] {
    let meta = format!("metadata: {{name: foreign, namespace: {namespace}}}");
    let backend = "{service: {name: foreign, port: {number: 80}}}";
    [
        format!("{{apiVersion: v1, kind: Secret, {meta}, stringData: {{a: b}}}}"),
        format!("{{apiVersion: v1, kind: Service, {meta}, spec: {{ports: [{{port: 80}}]}}}}"),
        format!(
            "{{apiVersion: networking.k8s.io/v1, kind: Ingress, {meta}, spec: {{ingressClassName: nobody, \
             rules: [{{host: {namespace}.example.com, http: {{paths: [{{path: /, pathType: Prefix, backend: {backend}}}]}}}}]}}}}"
        ),
    ]
}

pub fn has_certificate(cluster: &Cluster, name: &str) -> bool {
    let namespace = cluster.existing(name);
    namespace
        .get("certificate", "site")
        .is_ok_and(|c| is_ready(&c))
}

/// The first certificates of many namespaces, by one operator.
pub fn issue(cluster: &Cluster, names: &[String]) -> Result<()> {
    let namespaces = names.iter().map(|name| cluster.existing(name));
    let goals = namespaces.map(|namespace| {
        let goal = Goal::of(&namespace, Scenario::First)?;
        Ok((namespace, goal))
    });
    let goals: Vec<_> = goals.collect::<Result<_>>()?;
    let operator = Operator::start(cluster, "prepare", 0, None, None)?;
    for (namespace, goal) in &goals {
        finished(namespace, goal, PREPARATION)?;
    }
    operator.stop()
}

/// A run without a crash: the writes and calls that it makes.
pub fn rehearse(cluster: &Cluster, scenario: Scenario, name: &str) -> Result<Vec<String>> {
    let namespace = cluster.existing(name);
    let goal = Goal::of(&namespace, scenario)?;
    begin(&namespace, scenario)?;
    let log = log_path(cluster, name, scenario, "rehearsal");
    let operator = Operator::start(cluster, name, 0, None, Some(&log))?;
    let end = finished(&namespace, &goal, DEADLINE);
    operator.stop()?;
    end?;
    calls(&log)
}

/// Crash there, start again, and see that all is well.
pub fn plan(
    cluster: &Cluster,
    scenario: Scenario,
    slot: usize,
    name: &str,
    crash: &Crash,
) -> Result<Ended> {
    let namespace = cluster.existing(name);
    let goal = Goal::of(&namespace, scenario)?;
    begin(&namespace, scenario)?;
    let log = log_path(cluster, name, scenario, "crash");
    let doomed = Operator::start(cluster, name, slot, Some(crash), Some(&log))?;
    let died = doomed.dies(&namespace, &goal)?;
    doomed.kill()?;
    let stored = order_urls(&namespace)?;
    let made = calls(&log)?;

    let log = log_path(cluster, name, scenario, "rest");
    let operator = Operator::start(cluster, name, slot, None, Some(&log))?;
    let mut end = finished(&namespace, &goal, RECOVERY);
    if end.is_err() && scenario == Scenario::Renewal && unanswered(&namespace, &made)? {
        // What was asked for by hand and has failed is not tried again by itself.
        begin(&namespace, scenario)?;
        end = finished(&namespace, &goal, RECOVERY);
    }
    operator.stop()?;
    end.with_context(|| {
        format!(
            "crashed at {}; then {:?}",
            made.last().map_or("nothing", String::as_str),
            calls(&log).unwrap_or_default()
        )
    })?;
    let now = order_urls(&namespace)?;
    for (uid, url) in &stored {
        let kept = now.get(uid).is_none_or(|now| now == url);
        ensure!(
            kept,
            "Order {uid} had the URL {url}, then {:?}",
            now.get(uid)
        );
    }
    // An order that the CA has ended is replaced; any other is gone on with.
    if !stored.is_empty() && !unanswered(&namespace, &made)? {
        let again = calls(&log)?.iter().any(|call| call == "authorize_order");
        ensure!(
            !again,
            "a second order was made though {stored:?} was stored"
        );
    }
    Ok(if died {
        Ended::Crashed
    } else {
        Ended::Unreached
    })
}

/// Whether the CA looked for the answer while no operator was there to give it. It has ended the order then.
fn unanswered(namespace: &Namespace<'_>, made: &[String]) -> Result<bool> {
    let asked = made.iter().any(|call| call == "accept_challenge");
    let failed = |event: &Value| {
        event["reason"] == "Failed" && event["involvedObject"]["kind"] == "Challenge"
    };
    Ok(asked && namespace.list("event")?.iter().any(failed))
}

/// Give cause for what the scenario is about.
fn begin(namespace: &Namespace<'_>, scenario: Scenario) -> Result<()> {
    match scenario {
        Scenario::First | Scenario::Ordered => return Ok(()),
        Scenario::Revocation => {
            return namespace.apply(
                "{apiVersion: everleaf.io/v1alpha1, kind: CertificateRevocation, metadata: {name: gone}, spec: \
                 {certificateRef: {name: site}, reason: superseded}}",
            );
        }
        Scenario::Renewal => {}
    }
    namespace.renew("site")
}

/// Wait until the scenario has come to its end, and check what must hold then.
fn finished(namespace: &Namespace<'_>, goal: &Goal, deadline: Duration) -> Result<()> {
    poll(deadline, "the end", || {
        let status =
            || Ok::<_, anyhow::Error>(namespace.get("certificate", "site")?["status"].clone());
        ensure!(goal.is_reached(namespace)?, "{}", status()?);
        Ok(())
    })?;
    namespace.pair_matches("site")?;
    match goal.scenario {
        Scenario::Revocation => revoked_once(namespace)?,
        Scenario::Ordered => signed_by_the_second(namespace)?,
        Scenario::First | Scenario::Renewal => {}
    }
    poll(deadline, "the end of what is temporary", || {
        let left = leftovers(namespace)?;
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })?;
    let mut orders: BTreeMap<String, usize> = BTreeMap::new();
    for order in namespace.list("order")? {
        let owner = order["metadata"]["ownerReferences"][0]["uid"].to_string();
        *orders.entry(owner).or_default() += 1;
    }
    ensure!(
        orders.values().all(|count| *count == 1),
        "Orders by request: {orders:?}"
    );
    ensure!(
        Foreign::of(namespace)? == goal.foreign,
        "an object of somebody else was touched"
    );
    Ok(())
}

/// The CA has the old certificate on record as revoked, with the reason that was given, and the new one as valid.
fn revoked_once(namespace: &Namespace<'_>) -> Result<()> {
    let lab = &namespace.cluster.lab;
    let revocation = namespace.get("certificaterevocation", "gone")?;
    let entries = revocation["status"]["certificates"].as_array();
    ensure!(entries.is_some_and(|all| all.len() == 1), "{revocation}");
    let entry = &revocation["status"]["certificates"][0];
    let old = on_record(lab, entry["serial"].as_str().unwrap_or_default())?;
    ensure!(old == ("Revoked".into(), Some(4)), "{old:?}");
    ensure!(
        entry["attempts"] == 1,
        "asked once, or the same question again: {entry}"
    );
    let new = on_record(lab, &namespace.serial("site")?)?;
    ensure!(new.0 == "Valid", "{new:?}");
    Ok(())
}

/// The second issuer has given the answer, once; what was asked of the first one is given up. An attempt after one that
/// failed while nobody answered may pass the first one over.
fn signed_by_the_second(namespace: &Namespace<'_>) -> Result<()> {
    let mut asked: Vec<(String, String)> = vec![];
    for request in namespace.list("certificaterequest")? {
        if request["metadata"]["ownerReferences"][0]["kind"] == "CertificateRequest" {
            let reason = ready_condition(&request)["reason"].to_string();
            asked.push((request["spec"]["issuerRef"]["name"].to_string(), reason));
        }
    }
    asked.sort();
    let expected = [("first", "Failed"), ("pebble", "Issued")];
    let expected = expected.map(|(name, reason)| (format!("{name:?}"), format!("{reason:?}")));
    ensure!(asked == expected || asked == expected[1..], "{asked:?}");
    Ok(())
}

/// What is there and belongs neither to the end nor to somebody else.
fn leftovers(namespace: &Namespace<'_>) -> Result<Vec<String>> {
    let mut left = Vec::new();
    for kind in TEMPORARY.into_iter().chain(["secret"]) {
        for object in namespace.list(kind)? {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            let stays = name.starts_with("foreign")
                || (kind == "secret"
                    && ["site", "pebble-account", "first-account"].contains(&name));
            if !stays {
                left.push(format!("{kind}/{name}"));
            }
        }
    }
    Ok(left)
}

/// The URL of each Order that has one, by uid.
fn order_urls(namespace: &Namespace<'_>) -> Result<BTreeMap<String, String>> {
    let mut urls = BTreeMap::new();
    for order in namespace.list("order")? {
        let live = order["status"]["state"] != "valid";
        if let (true, Some(url)) = (live, order["status"]["url"].as_str()) {
            urls.insert(order["metadata"]["uid"].to_string(), url.to_owned());
        }
    }
    Ok(urls)
}

/// Versions of the objects of somebody else.
#[derive(Debug, PartialEq)]
struct Foreign(Vec<Value>);

impl Foreign {
    fn of(namespace: &Namespace<'_>) -> Result<Self> {
        let version = |kind| {
            let object = namespace.get(kind, "foreign")?;
            Ok(object["metadata"]["resourceVersion"].clone())
        };
        Ok(Self(
            FOREIGN.into_iter().map(version).collect::<Result<_>>()?,
        ))
    }
}

fn log_path(cluster: &Cluster, name: &str, scenario: Scenario, part: &str) -> PathBuf {
    let file = format!("{name}-{scenario:?}-{part}.calls");
    cluster.lab.dir().join(file)
}

/// The writes and calls in a log, in order.
pub fn calls(log: &Path) -> Result<Vec<String>> {
    let text = match std::fs::read_to_string(log) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error.into()),
    };
    Ok(text.lines().map(ToOwned::to_owned).collect())
}

/// An operator that sees one namespace only.
pub struct Operator(Process);

impl Operator {
    /// With the name `prepare`, one that sees all.
    pub fn start(
        cluster: &Cluster,
        name: &str,
        slot: usize,
        crash: Option<&Crash>,
        log: Option<&Path>,
    ) -> Result<Self> {
        let mut command = cluster.lab.command(everleaf());
        command.args([
            "controller",
            "--v=4",
            "--leader-elect=false",
            "--metrics-listen-address=0",
            "--internal-healthz-listen-address=0",
            "--http01-mode=Direct",
        ]);
        command
            .arg(format!("--http01-port={}", 8100 + slot))
            .env("POD_IP", lab::ADDRESS);
        if name != "prepare" {
            command.arg(format!("--namespace={name}"));
        }
        if let Some(crash) = crash {
            command.env("EVERLEAF_CRASH", crash.to_string());
        }
        if let Some(log) = log {
            command.env("EVERLEAF_CRASH_LOG", log);
        }
        let process = cluster.lab.spawn(&format!("everleaf-{name}"), command)?;
        Ok(Self(process))
    }

    /// Whether it has died.
    pub fn is_dead(&self) -> Result<bool> {
        Ok(self.0.exit_status()?.is_some())
    }

    /// Wait until it has died, or has come to the end without; whether it died.
    fn dies(&self, namespace: &Namespace<'_>, goal: &Goal) -> Result<bool> {
        let end = Instant::now() + DEADLINE;
        let mut issued = None;
        loop {
            if self.is_dead()? {
                return Ok(true);
            }
            let now = Instant::now();
            // What cannot be seen now is not there yet.
            if issued.is_none() {
                issued = goal.is_reached(namespace).is_ok_and(|is| is).then_some(now);
            } else if issued.is_some_and(|at| now - at > Duration::from_secs(2))
                && leftovers(namespace).is_ok_and(|left| left.is_empty())
            {
                return Ok(false);
            }
            if now > end {
                bail!("the operator neither crashed nor came to the end");
            }
            std::thread::sleep(POLL);
        }
    }

    pub fn stop(self) -> Result<()> {
        self.0.signal("TERM")?;
        self.0.wait(STOPPED)?;
        Ok(())
    }

    pub fn kill(self) -> Result<()> {
        self.0.kill()
    }
}
