//! What the demo shows, in order.

use std::env;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use jiff::Timestamp;
use lab::{Lab, Options, Process, Tier};
use serde_json::Value;

use crate::operator::{self, manifest};
use crate::say::{Say, chapter, command, seconds};
use crate::site;
use crate::subject::{Seen, Subject, belongs};
use crate::watch::Watch;

/// These are long for machines with much else to do.
const ISSUANCE: Duration = Duration::from_mins(1);
const SERVED: Duration = Duration::from_secs(15);
const RENEWAL: Duration = Duration::from_secs(75);
/// What the operator promises.
const CLEANUP: Duration = Duration::from_secs(10);

/// How long nothing may be said.
const QUIET: Duration = Duration::from_secs(5);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);

struct Story<'a> {
    say: &'a Say,
    lab: &'a Lab,
    watch: Watch,
    seen: Seen,
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
        Tier::Node => {
            "ready: Kubernetes, a node, an ACME CA (Pebble), DNS, an ingress controller (Traefik)"
        }
        Tier::Control => {
            "ready: Kubernetes, an ACME CA (Pebble), DNS, an ingress controller (Traefik); no node"
        }
    });
    let told = show(say, &lab, tier);
    if keep {
        stays(&lab, tier);
    }
    told
}

fn show(say: &Say, lab: &Lab, tier: Tier) -> Result<()> {
    // They run until the end.
    let _processes = install(say, lab, tier)?;
    let root = lab.dir().join("acme-root.pem");
    std::fs::write(&root, lab.acme_root_pem()?)?;
    let mut story = Story {
        say,
        lab,
        watch: Watch::start(lab)?,
        seen: Seen::new(),
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

/// The operator, an issuer, and a web server.
fn install(say: &Say, lab: &Lab, tier: Tier) -> Result<Vec<Process>> {
    lab.apply(&manifest("site")?)?;
    let processes = match tier {
        Tier::Node => {
            chapter("Everleaf: installed by its chart");
            lab.apply(&manifest("site-pod")?)?;
            operator::install(lab, say)?;
            Vec::new()
        }
        Tier::Control => {
            chapter("Everleaf: as a process, since Pods need a node");
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
    kubectl(lab, "wait issuer/acme --for=condition=Ready --timeout=30s")?;
    let account = kubectl(lab, "get issuer/acme -o jsonpath={.status.acme.uri}")?;
    say.line(&format!("Issuer acme is Ready: account {account}"));
    Ok(processes)
}

impl Story<'_> {
    /// Asks for both certificates and tells what happens until both are there.
    fn issue(&mut self) -> Result<()> {
        chapter(
            "Two certificates: one asked for by a Certificate, one by an annotation of an Ingress",
        );
        let asked = format!("{}---\n{}", manifest("certificate")?, manifest("ingress")?);
        self.seen.applied = Instant::now();
        self.lab.apply(&asked)?;
        self.say.line(
            "kubectl apply -f demo/manifests/certificate.yaml -f demo/manifests/ingress.yaml",
        );
        self.follow(ISSUANCE, |story| {
            let waits = |subject: &&Subject| subject.ready.is_none();
            let waiting = story.seen.subjects.iter().filter(waits);
            let waiting: Vec<_> = waiting
                .map(|subject| format!("{}: {}", subject.title, subject.said))
                .collect();
            Ok((!waiting.is_empty()).then(|| waiting.join("; ")))
        })?;
        self.follow(CLEANUP, |story| {
            Ok((!story.seen.solvers.is_empty()).then(|| "the end of the solvers".to_owned()))
        })
    }

    /// Fetches both sites as a visitor would.
    fn visit(&mut self) -> Result<()> {
        chapter(
            "Served: both sites fetched over TLS through Traefik, trusting the CA's root alone",
        );
        self.follow(SERVED, |story| {
            for subject in story
                .seen
                .subjects
                .iter_mut()
                .filter(|subject| subject.served.is_empty())
            {
                // None is fine before Traefik has read the Secret.
                let served = site::look(story.lab, subject.host, &story.root).ok();
                subject
                    .served
                    .extend(served.map(|served| (served, Instant::now())));
            }
            let missing = story
                .seen
                .subjects
                .iter()
                .find(|subject| subject.served.is_empty());
            Ok(missing.map(|subject| format!("Traefik to serve {}", subject.host)))
        })?;
        for subject in &self.seen.subjects {
            let url = format!("https://{}/", subject.host);
            let body = site::fetch(self.lab, &url, &self.root)?;
            let (served, _) = subject.served.first().context("a handshake")?;
            self.say.line(&format!("{url} says {body:?}"));
            self.say.line(&format!(
                "  name and chain verified; signed by {}",
                served.issuer
            ));
            self.say.line(&format!(
                "  serial {}, until {}",
                served.serial, served.ends
            ));
        }
        Ok(())
    }

    /// What there is now.
    fn list(&self) -> Result<()> {
        chapter("What was made");
        for get in [
            "get issuers,certificates,certificaterequests,orders,ingresses",
            "get secrets --field-selector type=kubernetes.io/tls",
        ] {
            command(
                &format!("kubectl --namespace demo {get}"),
                &kubectl(self.lab, get)?,
            );
        }
        Ok(())
    }

    /// Looks at both sites all the time, until each serves another certificate.
    fn renew(&mut self) -> Result<()> {
        chapter(
            "A renewal: this CA gives them a minute, and they are renewed after two thirds of it",
        );
        self.say
            .line("both sites are looked at all the time; each handshake must succeed");
        self.follow(RENEWAL, |story| {
            for subject in &mut story.seen.subjects {
                let served = site::look(story.lab, subject.host, &story.root)
                    .context("while a certificate was renewed")?;
                subject.handshakes += 1;
                if subject
                    .served
                    .last()
                    .is_none_or(|(last, _)| *last != served)
                {
                    let (serial, ends) = (&served.serial, &served.ends);
                    story.say.line(&format!(
                        "{}: now serial {serial}, until {ends}",
                        subject.host
                    ));
                    subject.served.push((served, Instant::now()));
                }
            }
            let mut old = story
                .seen
                .subjects
                .iter()
                .filter(|subject| subject.served.len() < 2);
            Ok(old
                .next()
                .map(|subject| format!("renewal of {}{}", subject.host, due(subject))))
        })
    }

    /// Everything temporary that is still there when it should be gone.
    fn leftovers(&mut self) -> Result<Vec<String>> {
        let end = Instant::now() + CLEANUP;
        loop {
            let left = temporary(self.lab)?;
            if left.is_empty() || Instant::now() >= end {
                return Ok(left);
            }
            self.listen();
        }
    }

    /// The table at the end. Fails unless everything was shown.
    fn sum_up(&self, tier: Tier, leftovers: &[String]) -> Result<()> {
        chapter("Shown");
        let [shop, www] = &self.seen.subjects;
        let row = |what: &str, of: &dyn Fn(&Subject) -> String| {
            println!("  {what:15} {:34} {}", of(shop), of(www));
        };
        let serial = |subject: &Subject, number: usize| {
            let served = subject.served.get(number);
            served.map_or_else(|| "none".to_owned(), |(served, _)| served.serial.clone())
        };
        row("", &|subject| subject.title.to_owned());
        row("apply to Ready", &|subject| {
            subject.ready.map_or_else(|| "never".to_owned(), seconds)
        });
        row("served serial", &|subject| serial(subject, 0));
        row("chain verified", &|subject| {
            format!("yes, for {}", subject.host)
        });
        row("renewal seen", &|subject| {
            format!("yes, to {}", serial(subject, 1))
        });
        row("handshakes", &|subject| {
            format!("{} meanwhile, 0 failed", subject.handshakes)
        });
        row("leftovers", &|subject| {
            let of = |left: &&String| {
                left.rsplit(' ')
                    .next()
                    .is_some_and(|owner| belongs(owner, subject.name))
            };
            leftovers.iter().filter(of).count().to_string()
        });
        ensure!(
            leftovers.is_empty(),
            "left after {}: {}",
            seconds(CLEANUP),
            leftovers.join(", ")
        );
        let answering = if tier == Tier::Node {
            "Pod"
        } else {
            "EndpointSlice"
        };
        for kind in [answering, "Service", "Ingress"] {
            ensure!(
                self.seen.gone.contains(kind),
                "no temporary {kind} was seen to come and go"
            );
        }
        Ok(())
    }

    /// Tells events until `waits_for` is nothing any more; breaks a silence by saying what it is.
    fn follow(
        &mut self,
        patience: Duration,
        mut waits_for: impl FnMut(&mut Self) -> Result<Option<String>>,
    ) -> Result<()> {
        let begin = Instant::now();
        let mut spoken = begin;
        while let Some(what) = waits_for(self)? {
            let waiting = format!("waiting for {}: {what}", seconds(begin.elapsed()));
            if begin.elapsed() > patience {
                bail!("{waiting}\n{}", operator::diagnosis(self.lab));
            }
            if spoken.elapsed() > QUIET {
                self.say.line(&waiting);
                spoken = Instant::now();
            }
            if self.listen() {
                spoken = Instant::now();
            }
        }
        Ok(())
    }

    /// Takes events for a moment; whether there was something to tell.
    fn listen(&mut self) -> bool {
        let end = Instant::now() + PAUSE;
        let mut told = false;
        while let Some(event) = self
            .watch
            .next(end.saturating_duration_since(Instant::now()))
        {
            told |= self.seen.note(&event, self.say);
        }
        told
    }
}

fn due(subject: &Subject) -> String {
    let left = subject
        .due
        .map(|due| due.as_second() - Timestamp::now().as_second());
    left.filter(|seconds| *seconds > 0)
        .map_or_else(String::new, |seconds| format!(", due in {seconds} s"))
}

/// Solver objects, Challenges and Secrets of keys to come, each as `kind/name of owner`.
fn temporary(lab: &Lab) -> Result<Vec<String>> {
    let mut left = Vec::new();
    for what in [
        "pods,services,ingresses,endpointslices -l acme.cert-manager.io/http01-solver=true",
        "secrets -l cert-manager.io/next-private-key=true",
        "challenges",
    ] {
        let list: Value = serde_json::from_str(&kubectl(lab, &format!("get -o json {what}"))?)?;
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

/// kubectl in the demo's namespace; `line` is its arguments, separated by spaces.
fn kubectl(lab: &Lab, line: &str) -> Result<String> {
    let mut arguments = vec!["--namespace", "demo"];
    arguments.extend(line.split(' '));
    lab.kubectl(&arguments)
}

fn next() {
    chapter("Next");
    println!("  KEEP=1 make demo    the same, and the cluster stays up for you");
    println!("  README.md           how to install Everleaf into a cluster of yours");
    println!("  demo/manifests      what was applied here");
}

/// How to get into the cluster that stays up.
fn stays(lab: &Lab, tier: Tier) {
    let dir = lab.dir().display();
    chapter("The cluster stays up, in a network of its own. Enter it, and look around:");
    match tier {
        Tier::Node => println!("  cargo run -q -p lab -- shell"),
        // It has a user namespace too, which `lab shell` knows nothing of.
        Tier::Control => {
            println!("  nsenter --target $(cat {dir}/init) --user --preserve-credentials \\");
            println!("    --net --mount --pid env PATH=$(cat {dir}/path) bash");
        }
    }
    println!("  export KUBECONFIG={}", lab.kubeconfig().display());
    println!("  kubectl --namespace demo describe certificate shop");
    println!("  kubectl --namespace demo delete secret shop       # it is made again");
    println!("  kubectl --namespace demo get certificates --watch\n");
    println!("`make lab-down` ends it.");
}
