//! What the demo shows, in order.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use lab::{Lab, Options, Process, Tier};
use serde_json::Value;

use crate::operator;
use crate::say::{Say, chapter, command, seconds};
use crate::site::{self, Served};
use crate::watch::{Event, Watch};

const ISSUANCE: Duration = Duration::from_mins(1);
/// The certificates live for a minute, and the demo's CA may take a while under load.
const RENEWAL: Duration = Duration::from_secs(75);
const CLEANUP: Duration = Duration::from_secs(10);
/// How long nothing may be said.
const QUIET: Duration = Duration::from_secs(5);

/// A certificate to be had, and what was seen of it.
struct Subject {
    /// Of the Certificate, its Secret and its Ingress.
    name: &'static str,
    title: &'static str,
    host: &'static str,
    said: String,
    /// From apply to Ready.
    ready: Option<Duration>,
    served: Vec<Served>,
    handshakes: usize,
}

impl Subject {
    fn new(name: &'static str, title: &'static str, host: &'static str) -> Self {
        Self {
            name,
            title,
            host,
            said: "not seen by the operator yet".to_owned(),
            ready: None,
            served: Vec::new(),
            handshakes: 0,
        }
    }
}

struct Story<'a> {
    say: &'a Say,
    lab: &'a Lab,
    watch: Watch,
    subjects: [Subject; 2],
    applied: Instant,
    /// When each solver object that is there appeared, by kind and name.
    solvers: BTreeMap<(&'static str, String), Instant>,
    /// Kinds of solver objects that came and went.
    gone: BTreeSet<&'static str>,
    /// The name that each Challenge proves.
    challenges: BTreeMap<String, String>,
    /// The CA's root certificate.
    root: PathBuf,
}

/// Shows everything, or fails.
pub fn tell(say: &Say, tier: Tier) -> Result<()> {
    let keep = env::var("KEEP").is_ok_and(|keep| keep == "1");
    chapter("A cluster: a real Kubernetes of plain processes, in namespaces of its own");
    say.line("starting it");
    let options = Options {
        dir: keep.then(|| env::temp_dir().join("everleaf-lab")),
        detached: keep,
        // Names that were proved once would be good for later orders too, and the renewal would show no solver.
        pebble: vec![("PEBBLE_AUTHZREUSE".into(), "0".into())],
        ..Options::default()
    };
    let lab = Lab::start(tier, &options)?;
    say.line(match tier {
        Tier::Node => "ready: Kubernetes with a node, an ACME CA (Pebble), DNS, an ingress controller (Traefik)",
        Tier::Control => "ready: Kubernetes without a node, an ACME CA (Pebble), DNS, an ingress controller (Traefik)",
    });
    let told = show(say, &lab, tier);
    if keep {
        enter(&lab);
    }
    told
}

fn show(say: &Say, lab: &Lab, tier: Tier) -> Result<()> {
    chapter("Everleaf: installed as its README says");
    // They run until the end.
    let _processes = install(say, lab, tier)?;
    let root = lab.dir().join("acme-root.pem");
    std::fs::write(&root, lab.acme_root_pem()?)?;
    let mut story = Story {
        say,
        lab,
        watch: Watch::start(lab)?,
        subjects: [
            Subject::new("shop", "Certificate shop", "shop.example.com"),
            Subject::new("www", "Ingress www", "www.example.com"),
        ],
        applied: Instant::now(),
        solvers: BTreeMap::new(),
        gone: BTreeSet::new(),
        challenges: BTreeMap::new(),
        root,
    };
    story.issue()?;
    story.visit()?;
    story.list()?;
    story.renew()?;
    let leftovers = story.leftovers()?;
    story.sum_up(tier, &leftovers)?;
    next();
    Ok(())
}

/// The operator and the web server.
fn install(say: &Say, lab: &Lab, tier: Tier) -> Result<Vec<Process>> {
    lab.apply(&manifest("site")?)?;
    let processes = match tier {
        Tier::Node => {
            lab.apply(&manifest("site-pod")?)?;
            operator::install(lab, say)?;
            Vec::new()
        }
        Tier::Control => {
            lab.apply(&manifest("site-process")?)?;
            let mut serve = lab.command(env::current_exe()?);
            serve.args(["serve", "10.244.0.1:8080", "Hello over TLS."]);
            vec![lab.spawn("site", serve)?, operator::run(lab, say)?]
        }
    };
    let ca = base64::engine::general_purpose::STANDARD.encode(lab.acme_ca_pem()?);
    let issuer = manifest("issuer")?
        .replace("${ACME_DIRECTORY}", &lab.acme_directory())
        .replace("${ACME_CA}", &ca);
    lab.apply(&issuer)?;
    let wait = "--namespace demo wait issuer/acme --for=condition=Ready --timeout=30s";
    lab.kubectl(&wait.split(' ').collect::<Vec<_>>())?;
    let uri = "--namespace demo get issuer/acme -o jsonpath={.status.acme.uri}";
    let uri = lab.kubectl(&uri.split(' ').collect::<Vec<_>>())?;
    say.line(&format!("Issuer acme is Ready: account {uri}"));
    Ok(processes)
}

impl Story<'_> {
    /// Asks for both certificates and tells what happens until both are there.
    fn issue(&mut self) -> Result<()> {
        chapter(
            "Two certificates: one asked for by a Certificate, one by an annotation of an Ingress",
        );
        self.applied = Instant::now();
        let asked = format!("{}---\n{}", manifest("certificate")?, manifest("ingress")?);
        self.lab.apply(&asked)?;
        self.say
            .line("applied demo/manifests/certificate.yaml and demo/manifests/ingress.yaml");
        self.follow(ISSUANCE, "certificates", |story| {
            Ok(story.subjects.iter().all(|subject| subject.ready.is_some()))
        })?;
        let gone = |story: &mut Self| Ok(story.solvers.is_empty());
        self.follow(CLEANUP, "the end of the solvers", gone)
    }

    /// Fetches both sites as a visitor would.
    fn visit(&mut self) -> Result<()> {
        chapter(
            "Served: both sites fetched over TLS through Traefik, trusting the CA's root alone",
        );
        self.follow(Duration::from_secs(15), "Traefik", |story| {
            story.shake_hands();
            Ok(story
                .subjects
                .iter()
                .all(|subject| !subject.served.is_empty()))
        })?;
        for subject in &self.subjects {
            let url = format!("https://{}/", subject.host);
            let mut curl = self.lab.command("curl");
            curl.args(["-sS", "--fail", "--max-time", "5", "--cacert"])
                .arg(&self.root)
                .arg(&url);
            let body = lab::output(&mut curl)?;
            let served = subject.served.first().context("a handshake")?;
            self.say.line(&format!("{url} says {body:?}"));
            self.say.line(&format!(
                "  serial {}, until {}",
                served.serial, served.ends
            ));
            self.say.line(&format!(
                "  name and chain verified; signed by {}",
                served.issuer
            ));
        }
        Ok(())
    }

    /// What there is now.
    fn list(&self) -> Result<()> {
        chapter("What was made");
        for get in [
            "get issuers,certificates,certificaterequests,orders",
            "get secrets --field-selector type=kubernetes.io/tls",
        ] {
            let listed = self.lab.kubectl(
                &[
                    &["--namespace", "demo"],
                    get.split(' ').collect::<Vec<_>>().as_slice(),
                ]
                .concat(),
            )?;
            command(&format!("kubectl --namespace demo {get}"), &listed);
        }
        Ok(())
    }

    /// Looks at both sites all the time, until each serves another certificate.
    fn renew(&mut self) -> Result<()> {
        chapter(
            "A renewal: the CA's profile gives them a minute, and they are renewed after two thirds of it",
        );
        self.say
            .line("both sites are looked at all the time: each handshake must succeed");
        self.follow(RENEWAL, "renewal", |story| {
            for subject in &mut story.subjects {
                let served = site::look(story.lab, subject.host, &story.root)
                    .context("while a certificate was renewed")?;
                subject.handshakes += 1;
                if subject.served.last() != Some(&served) {
                    let after = format!(
                        "{}: serial {} is served now, until {}",
                        subject.title, served.serial, served.ends
                    );
                    story.say.line(&after);
                    subject.served.push(served);
                }
            }
            Ok(story
                .subjects
                .iter()
                .all(|subject| subject.served.len() > 1))
        })
    }

    /// Everything temporary that is still there when it should be gone.
    fn leftovers(&mut self) -> Result<Vec<String>> {
        let end = Instant::now() + CLEANUP;
        loop {
            let mut left = temporary(self.lab)?;
            if left.is_empty() || Instant::now() >= end {
                left.sort();
                return Ok(left);
            }
            self.listen(Duration::from_millis(200));
        }
    }

    /// The table at the end. Fails unless everything was shown.
    fn sum_up(&self, tier: Tier, leftovers: &[String]) -> Result<()> {
        chapter("Shown");
        let [shop, www] = &self.subjects;
        let row = |what: &str, of: &dyn Fn(&Subject) -> String| {
            println!("  {what:16} {:34} {:34}", of(shop), of(www));
        };
        row("", &|subject| subject.title.to_owned());
        row("apply to Ready", &|subject| {
            subject.ready.map(seconds).unwrap_or_default()
        });
        row("served serial", &|subject| {
            subject
                .served
                .first()
                .map(|served| served.serial.clone())
                .unwrap_or_default()
        });
        row("chain verified", &|subject| {
            format!("yes, and the name {}", subject.host)
        });
        row("renewal seen", &|subject| {
            subject
                .served
                .last()
                .map(|served| format!("to {}", served.serial))
                .unwrap_or_default()
        });
        row("handshakes", &|subject| {
            format!("{} meanwhile, 0 failed", subject.handshakes)
        });
        row("leftovers", &|subject| {
            leftovers
                .iter()
                .filter(|left| left.contains(subject.name))
                .count()
                .to_string()
        });
        ensure!(
            leftovers.is_empty(),
            "left after {}: {}",
            seconds(CLEANUP),
            leftovers.join(", ")
        );
        let wanted: &[&str] = match tier {
            Tier::Node => &["Ingress", "Pod", "Service"],
            Tier::Control => &["EndpointSlice", "Ingress", "Service"],
        };
        for kind in wanted {
            ensure!(
                self.gone.contains(kind),
                "no temporary {kind} was seen to come and go"
            );
        }
        Ok(())
    }

    /// One handshake a site; none is fine before Traefik has read the Secret.
    fn shake_hands(&mut self) {
        for subject in &mut self.subjects {
            if let (true, Ok(served)) = (
                subject.served.is_empty(),
                site::look(self.lab, subject.host, &self.root),
            ) {
                subject.served.push(served);
            }
        }
    }

    /// Tells events until `done`; breaks a silence by what is waited for.
    fn follow(
        &mut self,
        patience: Duration,
        what: &str,
        mut done: impl FnMut(&mut Self) -> Result<bool>,
    ) -> Result<()> {
        let begin = Instant::now();
        let mut spoken = begin;
        while !done(self)? {
            if self.listen(Duration::from_millis(200)) {
                spoken = Instant::now();
            }
            if begin.elapsed() > patience {
                bail!(
                    "{}\n{}",
                    self.waiting(what, begin),
                    operator::diagnosis(self.lab)
                );
            }
            if spoken.elapsed() > QUIET {
                self.say.line(&self.waiting(what, begin));
                spoken = Instant::now();
            }
        }
        Ok(())
    }

    fn waiting(&self, what: &str, since: Instant) -> String {
        let mut text = format!("waiting for {what} for {}", seconds(since.elapsed()));
        for subject in self
            .subjects
            .iter()
            .filter(|subject| subject.ready.is_none())
        {
            text += &["; ", subject.title, ": ", &subject.said].concat();
        }
        text
    }

    /// Takes events for this long; whether there was something to tell.
    fn listen(&mut self, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        let mut told = false;
        while let Some(event) = self
            .watch
            .next(end.saturating_duration_since(Instant::now()))
        {
            told |= match event.kind {
                "Certificate" => self.certificate(&event),
                "Challenge" => self.challenge(&event),
                kind => self.solver(kind, &event),
            };
        }
        told
    }

    fn certificate(&mut self, event: &Event) -> bool {
        let name = &event.object["metadata"]["name"];
        let Some(subject) = self
            .subjects
            .iter_mut()
            .find(|subject| name == subject.name)
        else {
            return false;
        };
        let none = Vec::new();
        let conditions = event.object["status"]["conditions"]
            .as_array()
            .unwrap_or(&none);
        let Some(ready) = conditions
            .iter()
            .find(|condition| condition["type"] == "Ready")
        else {
            return false;
        };
        let said = ready["message"].as_str().unwrap_or_default();
        if subject.said == said {
            return false;
        }
        said.clone_into(&mut subject.said);
        if ready["status"] != "True" {
            self.say.line(&format!("{}: {said}", subject.title));
            return true;
        }
        let after = event.at - self.applied;
        if subject.ready.is_none() {
            subject.ready = Some(after);
            self.say.line(&format!(
                "{}: Ready, {} after apply. {said}",
                subject.title,
                seconds(after)
            ));
        }
        true
    }

    fn challenge(&mut self, event: &Event) -> bool {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let challenge = text(&event.object["metadata"]["name"]);
        self.challenges
            .insert(challenge, text(&event.object["spec"]["dnsName"]));
        false
    }

    /// A Pod, Service, Ingress or EndpointSlice of a solver came or went.
    fn solver(&mut self, kind: &'static str, event: &Event) -> bool {
        let metadata = &event.object["metadata"];
        let owner = &metadata["ownerReferences"][0];
        // Kubernetes makes EndpointSlices for Services, and copies their labels.
        if owner["kind"] != "Challenge" {
            return false;
        }
        let name = metadata["name"].as_str().unwrap_or_default().to_owned();
        let challenge = owner["name"].as_str().unwrap_or_default();
        let host = self
            .challenges
            .get(challenge)
            .map_or(challenge, String::as_str);
        let key = (kind, name);
        if event.gone {
            let Some(since) = self.solvers.remove(&key) else {
                return false;
            };
            self.gone.insert(kind);
            self.say.line(&format!(
                "solver for {host}: {kind} {} is gone, after {}",
                key.1,
                seconds(event.at - since)
            ));
            return true;
        }
        if self.solvers.contains_key(&key) {
            return false;
        }
        self.say
            .line(&format!("solver for {host}: {kind} {} appeared", key.1));
        self.solvers.insert(key, event.at);
        true
    }
}

/// Solver objects, Challenges and Secrets of keys to come, each as `kind/name of owner`.
fn temporary(lab: &Lab) -> Result<Vec<String>> {
    let solvers =
        "pods,services,ingresses,endpointslices -l acme.cert-manager.io/http01-solver=true";
    let keys = "secrets -l cert-manager.io/next-private-key=true";
    let mut left = Vec::new();
    for what in [solvers, keys, "challenges"] {
        let mut get = vec!["--namespace", "demo", "get", "-o", "json"];
        get.extend(what.split(' '));
        let list: Value = serde_json::from_str(&lab.kubectl(&get)?)?;
        for object in list["items"].as_array().into_iter().flatten() {
            let text = |pointer| {
                object
                    .pointer(pointer)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
            };
            let owner = text("/metadata/ownerReferences/0/name");
            left.push(format!(
                "{}/{} of {owner}",
                text("/kind"),
                text("/metadata/name")
            ));
        }
    }
    Ok(left)
}

fn manifest(name: &str) -> Result<String> {
    let file = operator::repository().join(format!("demo/manifests/{name}.yaml"));
    std::fs::read_to_string(&file).with_context(|| file.display().to_string())
}

fn next() {
    chapter("Next");
    println!("  KEEP=1 make demo   the same, and the cluster stays up for you");
    println!("  README.md          how to install Everleaf into a cluster of yours");
    println!("  demo/manifests/    what was applied");
}

/// How to get into the cluster that stays up.
fn enter(lab: &Lab) {
    println!("\nThe cluster stays up. It has a network of its own: enter it, and look around.\n");
    println!("    cargo run -p lab -- shell");
    println!("    export KUBECONFIG={}", lab.kubeconfig().display());
    println!("    kubectl --namespace demo get certificates --watch\n");
    println!("make lab-down ends it.");
}
