//! A lab with the CRDs and the operator in it. One a test binary: tests take a namespace each.
#![allow(
    dead_code,
    unused_imports,
    reason = "each test binary uses a part of it"
)]
#![allow(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "tests wait by the wall clock and fail by panicking; JSON without an entry is null"
)]

mod api;
mod audit;
mod ca;
pub mod install;
pub mod orders;
pub mod recorded;
mod watch;

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lab::{Lab, Options, Process, Tier};
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use serde_json::{Value, json};

pub use audit::{Request, requests};
#[allow(unused_imports, reason = "each test binary uses a part of it")]
pub use ca::{Ca, on_record};
pub use watch::Watch;

/// Long enough for a loaded machine; a test that waits this long has failed.
pub const DEADLINE: Duration = Duration::from_mins(1);

/// Between two looks at the cluster.
const POLL: Duration = Duration::from_millis(250);

/// A process that is told to end has ended by then, however busy the machine: the operator itself allows ten seconds.
pub const STOPPED: Duration = Duration::from_secs(30);

/// A lab with the operator as a process in it.
pub struct Cluster {
    pub lab: Lab,
    operator: parking_lot::Mutex<Option<Process>>,
    /// As [`Options::clock`].
    clock: Option<String>,
    /// Whoever ends the operator, or counts requests, has the cluster to itself.
    turn: RwLock<()>,
}

/// The binary under test.
pub fn everleaf() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_everleaf"))
}

/// The top of the repository.
pub fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

impl Cluster {
    /// A control lab with the CRDs; no operator yet.
    pub fn start(options: &Options) -> Result<Self> {
        Self::of(Tier::Control, options)
    }

    /// A lab of this tier with the CRDs; no operator yet.
    pub fn of(tier: Tier, options: &Options) -> Result<Self> {
        let lab = Lab::start(tier, options)?;
        let crds = repository().join("crds");
        lab.kubectl(&["apply", "--server-side", "-f", &crds.to_string_lossy()])?;
        lab.kubectl(&[
            "wait",
            "--for=condition=Established",
            "crd",
            "--all",
            "--timeout=120s",
        ])?;
        let clock = options.clock.clone();
        Ok(Self {
            clock,
            ..Self::with(lab)
        })
    }

    /// A node lab with the operator as the chart installs it, in a restricted namespace; `values` are
    /// helm's `--set` arguments, separated by spaces.
    pub fn installed(options: &Options, values: &str) -> Result<Self> {
        let lab = install::node(options)?;
        lab.kubectl(&["create", "namespace", install::NAMESPACE])?;
        install::restrict(&lab, install::NAMESPACE)?;
        let line = format!("install everleaf charts/everleaf --namespace everleaf {values}");
        install::helm(&lab, line.trim_end())?;
        install::rolled_out(&lab)?;
        Ok(Self::with(lab))
    }

    /// A cluster of this lab.
    pub fn with(lab: Lab) -> Self {
        Self {
            lab,
            operator: parking_lot::Mutex::default(),
            clock: None,
            turn: RwLock::default(),
        }
    }

    /// Start the operator, or start it anew, with these arguments beside the usual ones.
    pub fn operator(&self, arguments: &[&str]) -> Result<()> {
        self.operator_with(arguments, &[])
    }

    /// The same, with variables of its environment.
    pub fn operator_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Result<()> {
        self.stop_operator()?;
        let mut command = self.lab.command(everleaf());
        command
            .args([
                "controller",
                "--v=4",
                "--leader-election-retry-period=1s",
                "--http01-mode=Direct",
            ])
            .args(arguments)
            .env("POD_IP", lab::ADDRESS)
            .envs(variables.iter().copied());
        if let Some(clock) = &self.clock {
            lab::begin_at(&mut command, clock);
        }
        *self.operator.lock() = Some(self.lab.spawn("everleaf", command)?);
        Ok(())
    }

    /// End the operator by SIGTERM and wait for it.
    pub fn stop_operator(&self) -> Result<()> {
        if let Some(process) = self.operator.lock().take() {
            process.signal("TERM")?;
            process.wait(STOPPED)?;
        }
        Ok(())
    }

    /// End the operator at once, as a crash would.
    pub fn kill_operator(&self) -> Result<()> {
        if let Some(process) = self.operator.lock().take() {
            process.kill()?;
        }
        Ok(())
    }

    /// Send the operator a signal, named as in `kill -s`.
    pub fn signal_operator(&self, signal: &str) -> Result<()> {
        self.operator
            .lock()
            .as_ref()
            .context("no operator runs")?
            .signal(signal)
    }

    /// The operator's process id.
    pub fn operator_pid(&self) -> Result<u32> {
        self.operator
            .lock()
            .as_ref()
            .context("no operator runs")?
            .pid()
    }

    /// Everything that the operator has logged.
    pub fn operator_log(&self) -> Result<String> {
        self.operator
            .lock()
            .as_ref()
            .context("no operator runs")?
            .log()
    }

    /// A namespace for one test, beside others.
    pub fn namespace(&self, name: &str) -> Result<Namespace<'_>> {
        self.namespace_in_turn(name, Turn::Together(self.turn.read_recursive()))
    }

    /// A namespace for one test, which has the cluster to itself.
    pub fn alone(&self, name: &str) -> Result<Namespace<'_>> {
        self.namespace_in_turn(name, Turn::Alone(self.turn.write()))
    }

    /// A namespace that is there, beside others.
    pub fn existing(&self, name: &str) -> Namespace<'_> {
        Namespace {
            cluster: self,
            name: name.to_owned(),
            _turn: Turn::Together(self.turn.read_recursive()),
        }
    }

    fn namespace_in_turn<'a>(&'a self, name: &str, turn: Turn<'a>) -> Result<Namespace<'a>> {
        self.lab.kubectl(&["create", "namespace", name])?;
        Ok(Namespace {
            cluster: self,
            name: name.to_owned(),
            _turn: turn,
        })
    }

    /// Wait until the operator has asked the API server for nothing but its watches and its Lease for
    /// three seconds.
    pub fn quiet(&self) -> Result<()> {
        self.quiet_as_to(|_| true)
    }

    /// The same, of some requests.
    fn quiet_as_to(&self, counts: impl Fn(&Request) -> bool) -> Result<()> {
        let end = Instant::now() + DEADLINE;
        let busy = || -> Result<usize> {
            let all = requests(&self.lab)?;
            Ok(all
                .iter()
                .filter(|r| r.verb != "watch" && r.resource != "leases" && counts(r))
                .count())
        };
        let (mut count, mut since) = (busy()?, Instant::now());
        while since.elapsed() < Duration::from_secs(3) {
            if Instant::now() > end {
                bail!("the operator does not come to rest");
            }
            std::thread::sleep(POLL);
            let now = busy()?;
            if now != count {
                (count, since) = (now, Instant::now());
            }
        }
        Ok(())
    }

    /// The operator's metrics.
    pub fn metrics(&self) -> Result<String> {
        self.lab
            .get(&format!("http://{}:9402/metrics", lab::ADDRESS))
    }

    /// Change a zone of the lab that takes updates; `change` is a line as nsupdate reads it.
    pub fn dns_update(&self, change: &str) -> Result<()> {
        let file = self.lab.dir().join(format!("dns-{}", unique()));
        std::fs::write(&file, format!("server {}\n{change}\nsend\n", lab::ADDRESS))?;
        let mut nsupdate = self.lab.command("nsupdate");
        nsupdate
            .arg("-y")
            .arg(format!("hmac-sha256:lab:{}", lab::TSIG_SECRET))
            .arg(&file);
        lab::output(&mut nsupdate)?;
        Ok(())
    }

    /// Run openssl on `input`.
    pub fn openssl(&self, arguments: &[&str], input: &[u8]) -> Result<String> {
        let file = self.lab.dir().join(format!("openssl-{}", unique()));
        std::fs::write(&file, input)?;
        let mut openssl = self.lab.command("openssl");
        openssl.args(arguments).arg("-in").arg(&file);
        let said = lab::output(&mut openssl)?;
        std::fs::remove_file(file)?;
        Ok(said)
    }

    /// Check that key and certificate of a Secret belong together.
    pub fn is_pair(&self, secret: &Value) -> Result<()> {
        let key = self.openssl(&["pkey", "-pubout"], &entry(secret, "tls.key")?)?;
        let certificate =
            self.openssl(&["x509", "-noout", "-pubkey"], &entry(secret, "tls.crt")?)?;
        if key != certificate {
            let name = &secret["metadata"]["name"];
            bail!("Secret {name}: the key is not the certificate's");
        }
        Ok(())
    }

    /// The CA bundle of the ACME server's own TLS, base64, as `caBundle` takes it.
    pub fn ca_bundle(&self) -> Result<String> {
        use base64::Engine as _;
        Ok(base64::engine::general_purpose::STANDARD.encode(self.lab.acme_ca_pem()?))
    }

    /// An ACME Issuer with one HTTP-01 solver; `solver` is its `ingress` in YAML flow style.
    pub fn acme_issuer(&self, name: &str, profile: &str, solver: &str) -> Result<String> {
        Ok(format!(
            "apiVersion: cert-manager.io/v1\nkind: Issuer\nmetadata: {{name: {name}}}\nspec:\n  acme:\n    \
             server: {}\n    caBundle: {}\n    profile: {profile}\n    privateKeySecretRef: {{name: {name}-account}}\n    \
             solvers: [{{http01: {{ingress: {solver}}}}}]\n",
            self.lab.acme_directory(),
            self.ca_bundle()?,
        ))
    }
}

/// A Certificate in YAML. `rest` are further lines of its spec in flow style, comma-separated.
pub fn certificate(name: &str, issuer: &str, dns_name: &str, rest: &str) -> String {
    let comma = if rest.is_empty() { "" } else { ", " };
    format!(
        "{{apiVersion: cert-manager.io/v1, kind: Certificate, metadata: {{name: {name}}}, spec: {{secretName: {name}, \
         dnsNames: [{dns_name}], privateKey: {{algorithm: ECDSA}}, issuerRef: {{name: {issuer}}}{comma}{rest}}}}}"
    )
}

/// A number that no other test of this process has.
fn unique() -> u32 {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(1);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

enum Turn<'a> {
    Together(#[expect(dead_code, reason = "held")] RwLockReadGuard<'a, ()>),
    Alone(#[expect(dead_code, reason = "held")] RwLockWriteGuard<'a, ()>),
}

/// A namespace of a [`Cluster`].
pub struct Namespace<'a> {
    pub cluster: &'a Cluster,
    pub name: String,
    _turn: Turn<'a>,
}

impl Namespace<'_> {
    /// Apply YAML in this namespace.
    pub fn apply(&self, yaml: &str) -> Result<()> {
        let name = format!("{}-{}.yaml", self.name, unique());
        let file = self.cluster.lab.dir().join(name);
        std::fs::write(&file, yaml)?;
        self.kubectl(&["apply", "-f", &file.to_string_lossy()])?;
        Ok(())
    }

    /// Run kubectl in this namespace.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let mut all = vec!["--namespace", self.name.as_str()];
        all.extend(arguments);
        self.cluster.lab.kubectl(&all)
    }

    /// One object.
    pub fn get(&self, kind: &str, name: &str) -> Result<Value> {
        let url = api::url(&self.name, kind, name)?;
        Ok(serde_json::from_str(&self.cluster.lab.get(&url)?)?)
    }

    /// All objects of a kind.
    pub fn list(&self, kind: &str) -> Result<Vec<Value>> {
        let url = api::url(&self.name, kind, "")?;
        let list: Value = serde_json::from_str(&self.cluster.lab.get(&url)?)?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    /// Ask for a new certificate, as `cmctl renew` does.
    pub fn renew(&self, name: &str) -> Result<()> {
        let certificate = self.get("certificate", name)?;
        let mut conditions = certificate["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        conditions.retain(|condition| condition["type"] != "Issuing");
        conditions.push(json!({
            "type": "Issuing", "status": "True", "reason": "ManuallyTriggered",
            "message": "Certificate re-issuance manually triggered",
            "lastTransitionTime": format!("{:.0}", jiff::Timestamp::now()),
            "observedGeneration": certificate["metadata"]["generation"],
        }));
        let patch = json!({ "status": { "conditions": conditions } }).to_string();
        let patch = ["--subresource=status", "--type=merge", "--patch", &patch];
        self.kubectl(&[&["patch", "certificate", name], &patch[..]].concat())?;
        Ok(())
    }

    /// Have the certificate of this Certificate revoked; what the status says of it.
    pub fn revoked(&self, name: &str, reason: &str) -> Result<Value> {
        self.apply(&format!(
            "{{apiVersion: everleaf.io/v1alpha1, kind: CertificateRevocation, metadata: {{name: {name}}}, spec: \
             {{certificateRef: {{name: {name}}}, reason: {reason}}}}}"
        ))?;
        let kind = "certificaterevocation";
        let done = self.until(DEADLINE, kind, name, "done", |object| {
            ready_condition(object)["reason"] == "Revoked"
        })?;
        Ok(done["status"]["certificates"][0].clone())
    }

    /// Record every version of an object from now on.
    pub fn watch(&self, kind: &str, name: &str) -> Result<Watch> {
        Watch::start(&self.cluster.lab, &self.name, kind, name)
    }

    /// A condition of an object; null when it has none of that type.
    pub fn condition(&self, kind: &str, name: &str, condition: &str) -> Result<Value> {
        let object = self.get(kind, name)?;
        let all = object["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        Ok(all
            .into_iter()
            .find(|c| c["type"] == condition)
            .unwrap_or_default())
    }

    /// Wait until an object satisfies `holds`; at the deadline, say what it looked like last.
    pub fn until(
        &self,
        deadline: Duration,
        kind: &str,
        name: &str,
        what: &str,
        holds: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let what = format!("{kind} {}/{name} that is {what}", self.name);
        poll(deadline, &what, || {
            let object = self.get(kind, name)?;
            ensure!(holds(&object), "{:#}", object["status"]);
            Ok(object)
        })
    }

    /// Wait until the operator asks for nothing of this namespace, as [`Cluster::quiet`] does for all.
    pub fn quiet(&self) -> Result<()> {
        self.cluster.quiet_as_to(|r| r.namespace == self.name)
    }

    /// Whether there is an object of this name.
    pub fn has(&self, kind: &str, name: &str) -> Result<bool> {
        let all = self.list(kind)?;
        Ok(all.iter().any(|object| object["metadata"]["name"] == name))
    }

    /// Delete its Certificates. The CA is asked about each, one a second: those of other tests would wait for their turn.
    pub fn leave_the_line(&self) -> Result<()> {
        self.kubectl(&["delete", "certificates", "--all", "--wait=false"])
            .map(drop)
    }

    /// Wait until the objects of a kind satisfy `holds`.
    pub fn until_list(
        &self,
        kind: &str,
        what: &str,
        holds: impl Fn(&[Value]) -> bool,
    ) -> Result<Vec<Value>> {
        self.until_list_within(DEADLINE, kind, what, holds)
    }

    /// The same, with a deadline of the caller's.
    pub fn until_list_within(
        &self,
        deadline: Duration,
        kind: &str,
        what: &str,
        holds: impl Fn(&[Value]) -> bool,
    ) -> Result<Vec<Value>> {
        poll(
            deadline,
            &format!("{kind} in {}: {what}", self.name),
            || {
                let all = self.list(kind)?;
                ensure!(holds(&all), "{all:?}");
                Ok(all)
            },
        )
    }

    /// Wait until a Certificate is Ready for its current generation and nothing is under way.
    pub fn ready(&self, name: &str, deadline: Duration) -> Result<Value> {
        self.until(deadline, "certificate", name, "Ready", is_ready)
    }

    /// Wait until the message of a Certificate's Ready condition contains all of `words`.
    pub fn says(&self, name: &str, words: &[&str], deadline: Duration) -> Result<String> {
        let object = self.until(
            deadline,
            "certificate",
            name,
            &format!("saying {words:?}"),
            |object| {
                let message = ready_condition(object)["message"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned();
                words.iter().all(|word| message.contains(word))
            },
        )?;
        Ok(ready_condition(&object)["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned())
    }

    /// Wait until there is no object of these kinds left.
    pub fn none_left(&self, kinds: &[&str], deadline: Duration) -> Result<()> {
        let what = format!("end of all {kinds:?} in {}", self.name);
        poll(deadline, &what, || {
            for kind in kinds {
                let left = self.list(kind)?;
                let names = left.iter().map(|object| &object["metadata"]["name"]);
                ensure!(left.is_empty(), "{kind}: {:?}", names.collect::<Vec<_>>());
            }
            Ok(())
        })
    }

    /// One entry of a Secret, decoded.
    pub fn secret_entry(&self, name: &str, part: &str) -> Result<Vec<u8>> {
        entry(&self.get("secret", name)?, part)
    }

    /// Check that key and certificate of a Secret belong together.
    pub fn pair_matches(&self, secret: &str) -> Result<()> {
        self.cluster.is_pair(&self.get("secret", secret)?)
    }

    /// What openssl says about a certificate of this namespace, with these options of `openssl x509`.
    pub fn x509(&self, secret: &str, options: &[&str]) -> Result<String> {
        let certificate = self.secret_entry(secret, "tls.crt")?;
        self.cluster
            .openssl(&[&["x509", "-noout"], options].concat(), &certificate)
    }

    /// Serial number of the certificate in a Secret, as CAs have it on record.
    pub fn serial(&self, secret: &str) -> Result<String> {
        let said = self.x509(secret, &["-serial"])?;
        let serial = said.trim().strip_prefix("serial=").context("a serial")?;
        Ok(serial.trim_start_matches('0').to_lowercase())
    }
}

/// Look until there is what is wanted. An error says what there is instead, or why it could not be seen: one answer that
/// does not come on a busy machine is no end. At the deadline the last one is told.
pub fn poll<T>(deadline: Duration, what: &str, mut look: impl FnMut() -> Result<T>) -> Result<T> {
    let end = Instant::now() + deadline;
    loop {
        match look() {
            Err(last) if Instant::now() > end => {
                let error = last.context(format!("waited {deadline:?} for {what}; last"));
                return Err(error);
            }
            Err(_) => std::thread::sleep(POLL),
            found => return found,
        }
    }
}

/// One entry of a Secret, decoded.
pub fn entry(secret: &Value, name: &str) -> Result<Vec<u8>> {
    use base64::Engine as _;
    let text = secret["data"][name]
        .as_str()
        .with_context(|| format!("no {name} in Secret {}", secret["metadata"]["name"]))?;
    Ok(base64::engine::general_purpose::STANDARD.decode(text)?)
}

/// The Ready condition; null without one.
pub fn ready_condition(object: &Value) -> Value {
    let all = object["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    all.into_iter()
        .find(|c| c["type"] == "Ready")
        .unwrap_or_default()
}

/// Ready for its current generation, and nothing under way.
pub fn is_ready(object: &Value) -> bool {
    let all = object["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let ready = ready_condition(object);
    let issuing = all
        .iter()
        .any(|c| c["type"] == "Issuing" && c["status"] == "True");
    ready["status"] == "True"
        && ready["observedGeneration"] == object["metadata"]["generation"]
        && !issuing
}

/// The cluster that all tests of a binary share, made by the first; `None` on a machine that cannot
/// run labs, which is said loudly.
pub fn shared(
    cell: &'static OnceLock<Cluster>,
    make: impl FnOnce() -> Result<Cluster>,
) -> Option<&'static Cluster> {
    // The harness names a test's thread after the test.
    let test = std::thread::current();
    (!lab::skipped(test.name().unwrap_or("a test")))
        .then(|| cell.get_or_init(|| make().expect("the lab starts")))
}
