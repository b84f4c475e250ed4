//! Another replica goes on where the leader was when it died or hung: what the CA was asked for is on its record once.

use anyhow::{Result, ensure};
use lab::Process;

use crate::process::{cluster, leads, replica, stands_by, turn};
use crate::support::{
    Ca, DEADLINE, Namespace, STOPPED, TRAEFIK, certificate, is_ready, ready_condition,
};

/// Certificates that are revoked at once.
const SITES: usize = 6;

const REASON: u64 = 4;

/// What befalls the leader while the CA has its requests and has not answered.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Dies,
    /// It does not know that its time as a leader is over, until it goes on.
    Hangs,
}

#[test]
fn revocations_under_way_when_the_leader_is_lost_are_each_on_record_once() -> Result<()> {
    let Some(cluster) = cluster()? else {
        return Ok(());
    };
    let _turn = turn();
    let lab = &cluster.lab;
    let mut leader = replica(lab, 1)?;
    lab.wait(DEADLINE, "the first replica leads", || leads(lab, 1))?;
    for (number, fate) in [(2, Fate::Dies), (3, Fate::Hangs)] {
        let namespace = cluster.namespace(&format!("{fate:?}").to_lowercase())?;
        // Refused nonces would be asked for twice.
        let ca = Ca::start(lab, &[("PEBBLE_WFE_NONCEREJECT", "0")], |config| config)?;
        namespace.apply(&ca.issuer(&cluster, "pebble", TRAEFIK)?)?;
        let old = issued(&namespace)?;

        let standby = replica(lab, number)?;
        stands_by(lab, number)?;
        ca.pause()?;
        revoke(&namespace)?;
        match fate {
            Fate::Dies => leader.kill()?,
            Fate::Hangs => leader.signal("STOP")?,
        }
        lab.wait(DEADLINE, "the standby leads", || leads(lab, number))?;
        // It has the questions of both now.
        ca.resume()?;
        settled(&namespace)?;
        if fate == Fate::Hangs {
            leader.signal("CONT")?;
            ends(&leader)?;
        }
        for serial in &old {
            let record = ca.record(lab, serial)?;
            assert_eq!(record, ("Revoked".into(), Some(REASON)), "{serial}");
        }
        let questions = ca.count("POST /revoke-cert -> calling")?;
        assert!((SITES..=2 * SITES).contains(&questions), "{questions}");
        assert_eq!(ca.orders()?, 2 * SITES, "each was replaced once");
        for name in sites() {
            namespace.pair_matches(&name)?;
            let new = ca.record(lab, &namespace.serial(&name)?)?;
            assert_eq!(new.0, "Valid", "{name}");
        }
        println!("{fate:?}: {SITES} revocations, the CA was asked {questions} times");
        leader = standby;
    }
    Ok(())
}

fn sites() -> impl Iterator<Item = String> {
    (0..SITES).map(|number| format!("site-{number}"))
}

/// The certificates, and their serial numbers.
fn issued(namespace: &Namespace<'_>) -> Result<Vec<String>> {
    let host = |name: &String| format!("{name}.{}.example.com", namespace.name);
    let all = sites().map(|name| certificate(&name, "pebble", &host(&name), ""));
    namespace.apply(&all.collect::<Vec<_>>().join("\n---\n"))?;
    sites()
        .map(|name| {
            namespace.ready(&name, DEADLINE)?;
            namespace.serial(&name)
        })
        .collect()
}

/// Have all of them revoked, up to where the CA is asked.
fn revoke(namespace: &Namespace<'_>) -> Result<()> {
    let all = sites().map(|name| {
        format!(
            "{{apiVersion: everleaf.io/v1alpha1, kind: CertificateRevocation, metadata: {{name: {name}}}, spec: \
             {{certificateRef: {{name: {name}}}, reason: superseded}}}}"
        )
    });
    namespace.apply(&all.collect::<Vec<_>>().join("\n---\n"))?;
    namespace
        .until_list("certificaterevocation", "all asked for", |all| {
            let state = |object: &serde_json::Value| {
                object["status"]["certificates"][0]["state"] == "Requested"
            };
            all.len() == SITES && all.iter().all(state)
        })
        .map(drop)
}

/// Wait until all are revoked and replaced; each was asked for by the same question.
fn settled(namespace: &Namespace<'_>) -> Result<()> {
    for name in sites() {
        let kind = "certificaterevocation";
        let done = namespace.until(DEADLINE, kind, &name, "done", |object| {
            ready_condition(object)["reason"] == "Revoked"
        })?;
        let entry = &done["status"]["certificates"][0];
        ensure!(entry["attempts"] == 1, "{entry}");
        namespace.until(DEADLINE, "certificate", &name, "replaced", |object| {
            is_ready(object) && object["status"]["revision"] == 2
        })?;
    }
    Ok(())
}

/// A leader that finds its Lease gone ends by itself.
fn ends(leader: &Process) -> Result<()> {
    leader.wait(STOPPED).map(drop)
}
