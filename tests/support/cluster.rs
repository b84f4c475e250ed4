//! A lab with the CRDs and the operator in it.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use lab::{Lab, Options, Process, Tier};
use parking_lot::RwLock;
use serde_json::Value;

use super::namespace::{Namespace, POLL, Turn, kubectl, persistently};
use super::{DEADLINE, Request, STOPPED, Tail, entry, everleaf, install, repository, unique};

/// The operator's probes, as it has them by default.
const PROBES: &str = "http://10.244.0.1:9403";

/// So often nothing was asked for since the last look when the operator is at rest, and it has answered each time.
const LOOKS: usize = 12;

/// Wait until the API server serves every kind that is defined: it does so a moment after it has said that it will.
pub fn served(lab: &Lab) -> Result<()> {
    let established = ["wait", "--for=condition=Established", "crd", "--all"];
    lab.kubectl(&[&established[..], &["--timeout=120s"]].concat())?;
    let crds = lab.kubectl(&["get", "crds", "-o", "name"])?;
    let kinds: Vec<_> = crds
        .lines()
        .filter_map(|name| name.split('/').nth(1))
        .collect();
    let all = ["get", &kinds.join(","), "--all-namespaces"];
    lab.wait(2 * DEADLINE, "all kinds", || lab.kubectl(&all).map(Some))?;
    Ok(())
}

/// A lab with the operator as a process in it.
pub struct Cluster {
    pub lab: Lab,
    operator: parking_lot::Mutex<Option<Process>>,
    started: parking_lot::Mutex<Started>,
    /// As [`Options::clock`].
    clock: Option<String>,
    /// Whoever ends the operator, or counts requests, has the cluster to itself.
    turn: RwLock<()>,
}

/// What the operator was given beside the usual: arguments, and variables of its environment.
#[derive(Clone, Default)]
struct Started {
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
}

impl Cluster {
    /// A control lab with the CRDs; no operator yet.
    pub fn start(options: &Options) -> Result<Self> {
        Self::of(Tier::Control, options)
    }

    /// The same; the API server's requests can be counted, and the CA has each name proven for each order.
    pub fn counted() -> Result<Self> {
        Self::start(&Options {
            audit: true,
            pebble: vec![("PEBBLE_AUTHZREUSE".into(), "0".into())],
            ..Options::default()
        })
    }

    /// A lab of this tier with the CRDs; no operator yet.
    pub fn of(tier: Tier, options: &Options) -> Result<Self> {
        let lab = Lab::start(tier, options)?;
        let crds = repository().join("crds");
        lab.kubectl(&["apply", "--server-side", "-f", &crds.to_string_lossy()])?;
        served(&lab)?;
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
            started: parking_lot::Mutex::default(),
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
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        *self.started.lock() = Started {
            arguments: arguments.iter().map(ToString::to_string).collect(),
            variables: variables.iter().map(owned).collect(),
        };
        Ok(())
    }

    /// Do this with an operator that is started so, and then start it as it was before, whatever came of it.
    pub fn while_operator_with(
        &self,
        arguments: &[&str],
        variables: &[(&str, &str)],
        act: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let before = self.started.lock().clone();
        self.operator_with(arguments, variables)?;
        let done = catch_unwind(AssertUnwindSafe(act));
        let arguments: Vec<_> = before.arguments.iter().map(String::as_str).collect();
        let variables: Vec<_> = before
            .variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let restored = self.operator_with(&arguments, &variables);
        done.unwrap_or_else(|panic| resume_unwind(panic))
            .and(restored)
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
        kubectl(&self.lab, &["create", "namespace", name])?;
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
    pub(super) fn quiet_as_to(&self, counts: impl Fn(&Request) -> bool) -> Result<()> {
        let end = Instant::now() + 2 * DEADLINE;
        self.lab.wait(2 * DEADLINE, "the operator acts", || {
            let said = self.probe("readyz?verbose")?;
            let acts = said.is_none_or(|said| said.contains("role leader"));
            Ok(acts.then_some(()))
        })?;
        let mut log = Tail::start(&self.lab)?;
        let mut last = None;
        let (mut looks, mut since) = (0, Instant::now());
        // Looks too: where the machine stands still, time alone says nothing.
        while looks < LOOKS || since.elapsed() < Duration::from_secs(3) {
            if Instant::now() > end {
                bail!("the operator does not come to rest: {last:?}");
            }
            std::thread::sleep(POLL);
            let lives = self.probe("livez");
            let all = log.requests()?.into_iter();
            let mut asked =
                all.filter(|r| r.verb != "watch" && r.resource != "leases" && counts(r));
            match (lives, asked.next()) {
                (Ok(_), None) => looks += 1,
                seen => {
                    last = Some(seen);
                    (looks, since) = (0, Instant::now());
                }
            }
        }
        Ok(())
    }

    /// What the operator, if it runs as a process, answers to a probe.
    fn probe(&self, path: &str) -> Result<Option<String>> {
        if self.operator.lock().is_none() {
            return Ok(None);
        }
        self.lab.get(&format!("{PROBES}/{path}")).map(Some)
    }

    /// The operator's metrics.
    pub fn metrics(&self) -> Result<String> {
        let url = format!("http://{}:9402/metrics", lab::ADDRESS);
        persistently(|| self.lab.get(&url))
    }

    /// Change a zone of the lab that takes updates; `change` is a line as nsupdate reads it.
    pub fn dns_update(&self, change: &str) -> Result<()> {
        let file = self.lab.dir().join(format!("dns-{}", unique()));
        std::fs::write(&file, format!("server {}\n{change}\nsend\n", lab::ADDRESS))?;
        let mut nsupdate = self.lab.command("nsupdate");
        // By TCP, where nothing is lost, and with no more patience than a test has.
        nsupdate
            .args(["-v", "-t", "60", "-y"])
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
