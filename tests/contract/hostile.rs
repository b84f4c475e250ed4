//! Everybody works against us at once, every second: issuers that answer with something else, other writers, users. Each
//! costs a bounded number of requests, says what is wrong, and keeps nobody else waiting.
//!
//! It lasts for `EVERLEAF_FIGHT_SECONDS`, ten minutes in `make nightly`.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::signing::shell;
use crate::support::{Cluster, DEADLINE, Namespace, certificate, ready_condition, requests};
use crate::{ca, cluster, condition, now, overwrite, patch_status, self_signed, set_condition};

/// Requests that one Certificate may make within an hour.
const BUDGET: usize = 6;

/// Requests of one Certificate that may be open at once.
const OPEN: usize = 3;

/// Within this, each has acted often enough to spend a budget, and that is said.
const PATIENCE: Duration = Duration::from_mins(3);

/// How late a renewal may be, on a machine that all of this keeps busy.
const PUNCTUAL: i64 = 60;

/// How many renewals fall into the time.
const RENEWALS: u32 = 4;

fn length() -> Duration {
    let seconds = std::env::var("EVERLEAF_FIGHT_SECONDS").ok();
    Duration::from_secs(seconds.and_then(|s| s.parse().ok()).unwrap_or(25))
}

/// One who works against us.
struct Fight {
    name: &'static str,
    /// Its Certificate has an external issuer.
    external: bool,
    /// What it does every second.
    act: fn(&Namespace<'_>, u64) -> Result<()>,
    /// How many requests its Certificate makes.
    requests: std::ops::RangeInclusive<usize>,
    /// What the Certificate says in the end: in the message of the Issuing condition if there is one, or of Ready.
    says: &'static [&'static str],
    /// Whether the Certificate is Ready in the end.
    ready: Option<bool>,
}

const FIGHTS: [Fight; 13] = [
    Fight {
        name: "other-key",
        external: true,
        act: |namespace, _| external(namespace, "other-key"),
        requests: 1..=1,
        says: &[
            "the issuer returned a certificate for another public key",
            "EL-1206",
            "Next attempt at",
        ],
        ready: Some(false),
    },
    Fight {
        name: "other-names",
        external: true,
        act: |namespace, _| external(namespace, "other-names"),
        requests: 1..=1,
        says: &["other names", "EL-1205"],
        ready: Some(true),
    },
    Fight {
        name: "expired",
        external: true,
        act: |namespace, _| external(namespace, "expired"),
        requests: 1..=1,
        says: &["the issuer returned a certificate that expired at 2020-01-31"],
        ready: Some(false),
    },
    Fight {
        name: "nothing",
        external: true,
        act: |namespace, _| external(namespace, "nothing"),
        requests: 1..=1,
        says: &["the issuer returned no certificate"],
        ready: Some(false),
    },
    Fight {
        name: "rubbish",
        external: true,
        act: |namespace, _| external(namespace, "rubbish"),
        requests: 1..=1,
        says: &["the issuer returned a certificate that cannot be read"],
        ready: Some(false),
    },
    Fight {
        name: "no-chain",
        external: true,
        act: |namespace, _| external(namespace, "no-chain"),
        requests: 1..=1,
        says: &["Certificate is up to date and has not expired"],
        ready: Some(true),
    },
    Fight {
        name: "leaf-last",
        external: true,
        act: |namespace, _| external(namespace, "leaf-last"),
        requests: 1..=1,
        says: &[
            "the issuer returned its chain in the wrong order",
            "is number 3",
        ],
        ready: Some(false),
    },
    Fight {
        name: "shuffled",
        external: true,
        act: |namespace, _| external(namespace, "shuffled"),
        requests: 1..=1,
        says: &["Certificate is up to date and has not expired"],
        ready: Some(true),
    },
    Fight {
        name: "second-writer",
        external: false,
        act: second_writer,
        requests: BUDGET..=BUDGET,
        says: &[
            "6 requests were made within an hour",
            "\"secret-sync\" (a field manager)",
            "EL-1105",
        ],
        ready: Some(false),
    },
    Fight {
        name: "twins",
        external: false,
        act: twins,
        requests: 1..=1,
        says: &["Certificate is up to date and has not expired"],
        ready: Some(true),
    },
    Fight {
        name: "flapping-spec",
        external: false,
        act: flapping_spec,
        requests: BUDGET..=BUDGET,
        says: &["6 requests were made within an hour", "EL-1105"],
        ready: None,
    },
    Fight {
        name: "renewed-by-hand",
        external: false,
        act: renewed_by_hand,
        requests: BUDGET..=BUDGET,
        says: &["6 requests were made within an hour", "EL-1105"],
        ready: Some(true),
    },
    Fight {
        name: "requests-deleted",
        external: true,
        act: requests_deleted,
        requests: 1..=BUDGET,
        says: &["6 requests were made within an hour", "EL-1105"],
        ready: Some(false),
    },
];

/// The Certificate of an external issuer, whose answer is what `how` says.
fn external(namespace: &Namespace<'_>, how: &str) -> Result<()> {
    for request in namespace.list("certificaterequest")? {
        let approved = condition(&request, "Approved")["status"] == "True";
        if !approved || !condition(&request, "Ready").is_null() {
            continue;
        }
        let csr = request["spec"]["request"].as_str().context("a CSR")?;
        let mut conditions = request["status"]["conditions"].clone();
        conditions
            .as_array_mut()
            .context("conditions")?
            .push(json!({"type": "Ready", "status": "True",
            "reason": "Issued", "message": "signed outside", "lastTransitionTime": now()}));
        let mut status = json!({ "conditions": conditions });
        if how != "nothing" {
            let chain = shell(namespace, SIGN, &[csr, how, FAKETIME])?;
            status["certificate"] = json!(STANDARD.encode(chain));
        }
        let name = request["metadata"]["name"].as_str().context("a name")?;
        patch_status(namespace, &format!("certificaterequest/{name}"), &status)?;
    }
    Ok(())
}

/// A root, an intermediate and what `$2` makes of the request `$1`.
const SIGN: &str = r#"
    key="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    [ -e root.pem ] || openssl req -x509 $key -keyout root.key -out root.pem -subj /CN=root 2>/dev/null
    [ -e ca.pem ] || openssl req -x509 $key -keyout ca.key -out ca.pem -subj /CN=ca -CA root.pem -CAkey root.key 2>/dev/null
    echo "$1" | base64 -d >asked.pem
    echo subjectAltName=DNS:elsewhere.example.com >names
    if [ $2 = expired ]; then export LD_PRELOAD=$3 FAKETIME='@2020-01-01 00:00:00' TZ=UTC; fi
    with=-copy_extensions\ copy
    if [ $2 = other-names ]; then with=-extfile\ names; fi
    if [ $2 = other-key ]; then
        openssl req -x509 $key -keyout other.key -out leaf.pem -subj /CN=other 2>/dev/null
    else
        openssl x509 -req -in asked.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 $with -out leaf.pem 2>/dev/null
    fi
    case $2 in
        leaf-last) cat root.pem ca.pem leaf.pem;;
        shuffled) cat leaf.pem root.pem ca.pem;;
        no-chain) cat leaf.pem;;
        rubbish) echo no certificate;;
        *) cat leaf.pem ca.pem;;
    esac"#;

/// Puts back what was in the Secret first.
fn second_writer(namespace: &Namespace<'_>, second: u64) -> Result<()> {
    if second == 0 {
        let other = certificate("theirs", "self", "site.example.com", "");
        namespace.apply(&other)?;
        namespace.ready("theirs", DEADLINE)?;
    }
    overwrite(namespace, &namespace.get("secret", "theirs")?["data"])
}

/// A second Certificate for the Secret, that is edited every second.
fn twins(namespace: &Namespace<'_>, second: u64) -> Result<()> {
    let twin = certificate("twin", "self", &format!("{second}.example.com"), "");
    namespace.apply(&twin.replace("secretName: twin", "secretName: site"))?;
    let words = [
        "Certificate \"site\" has spec.secretName \"site\" too",
        "EL-1104",
    ];
    namespace.says("twin", &words, DEADLINE).map(drop)
}

fn flapping_spec(namespace: &Namespace<'_>, second: u64) -> Result<()> {
    let name = ["site.example.com", "other.example.com"][usize::from(second.is_multiple_of(2))];
    namespace.apply(&certificate("site", "self", name, ""))
}

/// As cmctl does it.
fn renewed_by_hand(namespace: &Namespace<'_>, _: u64) -> Result<()> {
    let trigger = json!({"type": "Issuing", "status": "True", "reason": "ManuallyTriggered",
        "message": "Certificate re-issuance manually triggered", "lastTransitionTime": now()});
    set_condition(namespace, "certificate", "site", &trigger)
}

/// Nobody answers, and somebody tidies up.
fn requests_deleted(namespace: &Namespace<'_>, _: u64) -> Result<()> {
    namespace.kubectl(&["delete", "certificaterequest", "--all", "--wait=false"])?;
    Ok(())
}

const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// One fight, to its end; a line about it.
fn fight(cluster: &Cluster, fight: &Fight) -> Result<String> {
    let namespace = cluster.namespace(&format!("hostile-{}", fight.name))?;
    namespace.apply(&self_signed("self"))?;
    let ours = certificate("site", "self", "site.example.com", "");
    let outside = "issuerRef: {name: outside, kind: Outside, group: issuers.example.org}";
    if fight.external {
        namespace.apply(&ours.replace("issuerRef: {name: self}", outside))?;
    } else {
        namespace.apply(&ours)?;
        namespace.ready("site", DEADLINE)?;
    }
    let (mut acts, mut open) = (0, 0);
    let mut failure = None;
    let enough = u64::try_from(BUDGET)? + 1;
    let text = |object: &Value| {
        let message = |condition: &Value| condition["message"].as_str().map(str::to_owned);
        let issuing = message(condition(object, "Issuing")).unwrap_or_default();
        let ready = message(&ready_condition(object)).unwrap_or_default();
        format!("{issuing} {ready}")
    };
    let as_it_should = |object: &Value| {
        let text = text(object);
        let ready = ready_condition(object)["status"] == "True";
        fight.says.iter().all(|words| text.contains(words))
            && fight.ready.is_none_or(|wanted| ready == wanted)
    };
    let is_said = || {
        namespace
            .get("certificate", "site")
            .is_ok_and(|site| as_it_should(&site))
    };
    let begun = Instant::now();
    while begun.elapsed() < length()
        || (begun.elapsed() < PATIENCE && (acts < enough || !is_said()))
    {
        let began = Instant::now();
        // What fails once, because the object has changed meanwhile, is done again in the next second.
        match (fight.act)(&namespace, acts) {
            Ok(()) => acts += 1,
            Err(error) => failure = Some(error),
        }
        let all = namespace.list("certificaterequest").unwrap_or_default();
        let live = all
            .iter()
            .filter(|r| condition(r, "Ready")["reason"] != "Issued");
        open = open.max(live.count());
        std::thread::sleep(Duration::from_secs(1).saturating_sub(began.elapsed()));
    }
    ensure!(acts >= enough, "{}: {acts} acts: {failure:?}", fight.name);
    ensure!(open <= OPEN, "{}: {open} requests at once", fight.name);

    let what = format!("saying {:?}, Ready: {:?}", fight.says, fight.ready);
    let object = namespace.until(DEADLINE, "certificate", "site", &what, as_it_should)?;
    let text = text(&object);

    let made = requests(&cluster.lab)?.into_iter().filter(|r| {
        r.namespace == namespace.name
            && r.verb == "create"
            && r.resource == "certificaterequests"
            && r.code == 201
    });
    // Those of the Certificate that lends its data are not counted.
    let made = made.filter(|r| !r.name.starts_with("theirs")).count();
    let line = format!(
        "{}: {acts} acts, {made} requests, {open} open: {}",
        fight.name,
        text.trim()
    );
    ensure!(fight.requests.contains(&made), "{line}");
    Ok(line)
}

/// Certificates of others are renewed several times meanwhile, each in time; the latest.
fn bystanders(cluster: &Cluster) -> Result<String> {
    let namespace = cluster.namespace("hostile-bystanders")?;
    namespace.apply(&self_signed("self"))?;
    ca::bootstrap(&namespace, "issuer")?;
    let watch = namespace.watch("certificate", "")?;
    let period = length() / RENEWALS;
    let rest = format!("duration: 1h, renewBefore: {}s", 3600 - period.as_secs());
    let names = ["self", "issuer"];
    for issuer in names {
        namespace.apply(&certificate(
            &format!("by-{issuer}"),
            issuer,
            "by.example.com",
            &rest,
        ))?;
    }
    std::thread::sleep(length());
    watch.until(PATIENCE, "renewals", |events| {
        names.iter().all(|issuer| {
            events.iter().any(|(_, object)| {
                let revision = object["status"]["revision"].as_u64();
                object["metadata"]["name"] == format!("by-{issuer}")
                    && revision >= Some(u64::from(RENEWALS) - 1)
            })
        })
    })?;
    let mut worst = 0;
    for issuer in names {
        let name = format!("by-{issuer}");
        let time = |object: &Value, field: &str| -> Option<i64> {
            let text = object["status"][field].as_str()?;
            Some(text.parse::<Timestamp>().ok()?.as_second())
        };
        let (mut due, mut revision, mut renewals) = (None, Value::Null, 0);
        for (_, object) in watch.events()? {
            if object["metadata"]["name"] != *name || object["status"]["revision"].is_null() {
                continue;
            }
            if object["status"]["revision"] != revision {
                let began = time(&object, "notBefore").context("notBefore")?;
                if let Some(due) = due {
                    worst = worst.max(began - due);
                    renewals += 1;
                }
            }
            revision = object["status"]["revision"].clone();
            due = time(&object, "renewalTime");
        }
        ensure!(renewals + 2 >= RENEWALS, "{name}: {renewals} renewals");
        let overdue = Timestamp::now().as_second() - due.context("a renewal time")?;
        // After so many it has spent a budget of its own.
        let may_renew = revision.as_u64() < Some(u64::try_from(BUDGET)?);
        ensure!(
            overdue <= PUNCTUAL || !may_renew,
            "{name}: due since {overdue} s"
        );
    }
    ensure!(worst <= PUNCTUAL, "a renewal was {worst} s late");
    Ok(format!("bystanders: the latest renewal was {worst} s late"))
}

#[test]
fn each_costs_little_and_keeps_nobody_waiting() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let results: Vec<Result<String>> = std::thread::scope(|scope| {
        let mut all: Vec<_> = FIGHTS
            .iter()
            .map(|f| scope.spawn(move || fight(cluster, f)))
            .collect();
        all.push(scope.spawn(move || bystanders(cluster)));
        let ended = all
            .into_iter()
            .map(|thread| thread.join().expect("no panic"));
        ended.collect()
    });
    let mut failures = 0;
    for result in results {
        match result {
            Ok(line) => println!("{line}"),
            Err(error) => {
                println!("FAILED {error:#}");
                failures += 1;
            }
        }
    }
    ensure!(failures == 0, "{failures} of them");
    Ok(())
}
