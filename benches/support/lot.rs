//! A lab, the operator with its default flags, and lots of Certificates that the client inside the lab makes.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use lab::{Lab, Options, Process, Tier};
use serde::Deserialize;

use super::process::{cpu_seconds, mib};
use super::requests::Requests;

/// Everything happens in this namespace.
pub const NAMESPACE: &str = "bench";

const DEADLINE: Duration = Duration::from_secs(30);
/// Memory has settled this long after the last certificate.
pub const SETTLED: Duration = Duration::from_secs(10);

/// Who issues.
#[derive(Clone, Copy, PartialEq)]
pub enum Lot {
    SelfSigned,
    /// Ten CAs, each its own root.
    Ca,
    /// Over HTTP, answered by the operator itself.
    Acme,
    /// In the zone of the lab that takes updates.
    Dns01,
}

impl Lot {
    pub fn issuers(self) -> usize {
        if self == Self::Ca { 10 } else { 1 }
    }

    /// Where the names of its certificates are.
    fn domain(self) -> &'static str {
        match self {
            Self::Dns01 => "dns01.example.com",
            _ => "bench.example.com",
        }
    }
}

/// What the client saw.
#[derive(Deserialize)]
pub struct Seen {
    /// From the first create to the last Ready.
    pub seconds: f64,
    pub p50: f64,
    pub p99: f64,
}

/// The bare client's writes.
pub struct Floor {
    pub seconds: f64,
    pub server_cpu: f64,
}

/// A lot of certificates.
pub struct Issued {
    pub seconds: f64,
    pub p50: f64,
    pub p99: f64,
    pub operator_cpu: f64,
    pub server_cpu: f64,
    pub peak_mib: f64,
    pub settled_mib: f64,
    pub requests: Requests,
}

/// The writes that the contract demands for `count` certificates, by a bare client, without an operator.
pub fn floor(count: usize) -> Result<Floor> {
    let lab = cluster()?;
    client(&lab, "prepare", 0..count, Lot::SelfSigned)?;
    let server = lab.part("apiserver")?.pid()?;
    let before = cpu_seconds(server)?;
    let seen = client(&lab, "floor", 0..count, Lot::SelfSigned)?;
    Ok(Floor {
        seconds: seen.seconds,
        server_cpu: cpu_seconds(server)? - before,
    })
}

/// `count` Certificates at once, in a lab of their own.
pub fn issue(lot: Lot, count: usize) -> Result<Issued> {
    let lab = cluster()?;
    let operator = operator(&lab)?;
    issuers(&lab, lot)?;
    more(&lab, &operator, lot, 0..count)
}

/// Certificates of these numbers, at once, beside those that are there.
pub fn more(lab: &Lab, operator: &Process, lot: Lot, numbers: Range<usize>) -> Result<Issued> {
    let (pid, server) = (operator.pid()?, lab.part("apiserver")?.pid()?);
    let earlier = Requests::of_operator(lab)?;
    let (operator_before, server_before) = (cpu_seconds(pid)?, cpu_seconds(server)?);
    let seen = client(lab, "issue", numbers, lot)?;
    let server_cpu = cpu_seconds(server)? - server_before;
    pause(SETTLED);
    Ok(Issued {
        seconds: seen.seconds,
        p50: seen.p50,
        p99: seen.p99,
        // With what follows the last certificate: events, cleaning up.
        operator_cpu: cpu_seconds(pid)? - operator_before,
        server_cpu,
        peak_mib: mib(pid, "VmHWM")?,
        settled_mib: mib(pid, "VmRSS")?,
        requests: Requests::of_operator(lab)?.since(&earlier),
    })
}

#[allow(
    clippy::disallowed_methods,
    reason = "the time that passes is what is measured"
)]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// A lab with the resources and the namespace.
pub fn cluster() -> Result<Lab> {
    let pebble = [
        ("PEBBLE_VA_NOSLEEP", "1"),
        ("PEBBLE_WFE_NONCEREJECT", "0"),
        ("PEBBLE_AUTHZREUSE", "0"),
    ];
    let options = Options {
        audit: true,
        pebble: pebble.map(|(n, v)| (n.into(), v.into())).into(),
        ..Options::default()
    };
    let lab = Lab::start(Tier::Control, &options)?;
    let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    lab.kubectl(&["apply", "--server-side", "-f", &crds.to_string_lossy()])?;
    let established = "--for=condition=Established";
    lab.kubectl(&["wait", established, "crd", "--all", "--timeout=30s"])?;
    lab.kubectl(&["create", "namespace", NAMESPACE])?;
    Ok(lab)
}

/// The static release binary if `make bench` built it, else cargo's own.
fn binary() -> PathBuf {
    std::env::var_os("EVERLEAF_BINARY")
        .map(PathBuf::from)
        .filter(|path| path.exists())
        .unwrap_or_else(|| env!("CARGO_BIN_EXE_everleaf").into())
}

/// Start the operator.
pub fn spawn(lab: &Lab) -> Result<Process> {
    let mut command = lab.command(binary());
    command
        .args(["controller", "--http01-mode=Direct"])
        .env("POD_IP", lab::ADDRESS);
    lab.spawn("everleaf", command)
}

/// Start the operator and wait until it acts.
pub fn operator(lab: &Lab) -> Result<Process> {
    let operator = spawn(lab)?;
    lab.wait(DEADLINE, "the operator", || {
        Ok(operator.log()?.contains("acts from now on").then_some(()))
    })
    .with_context(|| operator.log().unwrap_or_default())?;
    Ok(operator)
}

/// Make the Issuers of a lot, and wait until they are ready.
pub fn issuers(lab: &Lab, lot: Lot) -> Result<()> {
    if lot == Lot::Ca {
        issuer(lab, "self", "{selfSigned: {}}")?;
    }
    for number in 0..lot.issuers() {
        let spec = match lot {
            Lot::SelfSigned => "{selfSigned: {}}".to_owned(),
            Lot::Ca => {
                root(lab, &format!("root-{number}"))?;
                format!("{{ca: {{secretName: root-{number}}}}}")
            }
            Lot::Acme => acme(lab, "http01: {ingress: {ingressClassName: traefik}}")?,
            Lot::Dns01 => {
                let secret = format!("--from-literal=key={}", lab::TSIG_SECRET);
                let create = ["create", "secret", "generic", "tsig", &secret];
                lab.kubectl(&[&["--namespace", NAMESPACE], &create[..]].concat())?;
                let solver = format!(
                    "dns01: {{rfc2136: {{nameserver: {}, tsigKeyName: lab, tsigAlgorithm: HMACSHA256, \
                     tsigSecretSecretRef: {{name: tsig, key: key}}}}}}",
                    lab::ADDRESS
                );
                acme(lab, &solver)?
            }
        };
        issuer(lab, &format!("issuer-{number}"), &spec)?;
    }
    ready(lab, "issuer")
}

/// The spec of an Issuer of the lab's ACME CA with one solver.
fn acme(lab: &Lab, solver: &str) -> Result<String> {
    Ok(format!(
        // Without a profile, Pebble chooses one at random: some would be renewed before the end.
        "{{acme: {{server: '{}', caBundle: {}, profile: default, privateKeySecretRef: {{name: account}}, \
         solvers: [{{{solver}}}]}}}}",
        lab.acme_directory(),
        base64(lab.acme_ca_pem()?.as_bytes()),
    ))
}

fn issuer(lab: &Lab, name: &str, spec: &str) -> Result<()> {
    lab.apply(&format!(
        "{{apiVersion: cert-manager.io/v1, kind: Issuer, metadata: {{name: {name}, namespace: {NAMESPACE}}}, \
         spec: {spec}}}"
    ))
    .map(drop)
}

/// A CA of the Issuer `self`.
fn root(lab: &Lab, name: &str) -> Result<()> {
    lab.apply(&format!(
        "{{apiVersion: cert-manager.io/v1, kind: Certificate, metadata: {{name: {name}, namespace: {NAMESPACE}}}, \
         spec: {{secretName: {name}, isCA: true, commonName: {name}, privateKey: {{algorithm: ECDSA}}, \
         issuerRef: {{name: self}}}}}}"
    ))?;
    ready(lab, &format!("certificate/{name}"))
}

/// Wait until an object, or all of a kind, are Ready.
fn ready(lab: &Lab, what: &str) -> Result<()> {
    let mut arguments = vec![
        "--namespace",
        NAMESPACE,
        "wait",
        "--for=condition=Ready",
        what,
    ];
    arguments.extend((!what.contains('/')).then_some("--all"));
    arguments.push("--timeout=30s");
    lab.kubectl(&arguments).map(drop)
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Run this program's other half inside the lab.
pub fn client(lab: &Lab, what: &str, numbers: Range<usize>, lot: Lot) -> Result<Seen> {
    let mut command = lab.command(std::env::current_exe()?);
    let numbers = [numbers.start, numbers.len(), lot.issuers()].map(|number| number.to_string());
    command.args(["client", what]).args(numbers);
    command.arg(lot.domain());
    Ok(serde_json::from_str(&lab::output(&mut command)?)?)
}
