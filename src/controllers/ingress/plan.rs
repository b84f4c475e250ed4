//! What to do with the Certificates of an Ingress (contract §3.1).

use std::collections::BTreeSet;
use std::convert::Infallible;

use jiff::Timestamp;

use super::annotations;
use super::certificate::certificate;
use super::{Observation, Settings, fields};
use crate::api::{Certificate, labels};
use crate::controllers::action::{Action, Event, Object, Plan, Target};
use crate::controllers::facts::{Identity, IngressFact};

/// Plan the Certificates of an Ingress.
pub fn plan(o: &Observation, settings: &Settings, _now: Timestamp) -> Plan<Infallible> {
    let ingress = &*o.ingress;
    if ingress.id.deleting || ingress.foreground_deletion || !annotations::asks(ingress, settings) {
        return Plan::idle();
    }
    let wishes = match annotations::read(ingress, settings) {
        Ok(wishes) => wishes,
        Err(faults) => return refused(ingress, faults.iter().map(ToString::to_string)),
    };
    let duplicates = duplicates(ingress);
    if !duplicates.is_empty() {
        return refused(ingress, duplicates.into_iter());
    }
    let mut plan = Plan::idle();
    for (index, (hosts, secret)) in ingress.tls.iter().enumerate() {
        match block(hosts, secret.as_deref()) {
            Ok((hosts, secret)) => {
                let wanted = certificate(ingress, &wishes, &hosts, secret);
                keep(o, wanted, settings, &mut plan);
            }
            Err(problem) => {
                plan.events.push(bad_config(
                    ingress,
                    &format!("spec.tls[{index}] {problem}; it is skipped"),
                ));
            }
        }
    }
    drop_unreferenced(o, &mut plan);
    plan
}

/// Nothing is made, changed or deleted until this is mended.
fn refused(ingress: &IngressFact, problems: impl Iterator<Item = String>) -> Plan<Infallible> {
    let after = "no Certificate of this Ingress is made or changed until then";
    let events = problems
        .map(|problem| bad_config(ingress, &format!("{problem}; {after}")))
        .collect();
    Plan {
        events,
        ..Plan::idle()
    }
}

fn bad_config(ingress: &IngressFact, problem: &str) -> Event {
    let id = &ingress.id;
    let message = format!("Ingress \"{}/{}\": {problem}", id.namespace, id.name);
    Event::warning(labels::MANAGER_INGRESS_SHIM, "BadConfig", message)
}

fn done(reason: &str, message: String) -> Event {
    Event::normal(labels::MANAGER_INGRESS_SHIM, reason, message)
}

/// Secrets that more than one block names: whose hosts would count?
fn duplicates(ingress: &IngressFact) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut twice = BTreeSet::new();
    for secret in ingress
        .tls
        .iter()
        .filter_map(|(_, secret)| secret.as_deref())
        .filter(|s| !s.is_empty())
    {
        if !seen.insert(secret) {
            twice.insert(secret);
        }
    }
    let problem = |secret| {
        format!(
            "spec.tls names the Secret \"{secret}\" in more than one block; put its hosts into one block, or give each block a Secret of its own"
        )
    };
    twice.into_iter().map(problem).collect()
}

/// What a block must have.
fn block<'a>(
    hosts: &[String],
    secret: Option<&'a str>,
) -> Result<(Vec<String>, &'a str), &'static str> {
    let hosts: Vec<String> = hosts
        .iter()
        .filter(|host| !host.is_empty())
        .cloned()
        .collect();
    match secret.filter(|secret| !secret.is_empty()) {
        None => Err(
            "has no secretName; set it to the name of the Secret that is to hold the certificate",
        ),
        Some(_) if hosts.is_empty() => {
            Err("has no hosts; list the names that the certificate is for")
        }
        Some(secret) => Ok((hosts, secret)),
    }
}

/// Create the Certificate, or mend it. One that somebody else controls, or nobody, is not touched.
fn keep(
    o: &Observation,
    mut wanted: Certificate,
    settings: &Settings,
    plan: &mut Plan<Infallible>,
) {
    let name = wanted.metadata.name.clone().unwrap_or_default();
    let is_named = |c: &Certificate| c.metadata.name.as_deref() == Some(name.as_str());
    if let Some(found) = o.certificates.iter().find(|c| is_named(c)) {
        let id = Identity::of(&found.metadata);
        if !o
            .ingress
            .annotations
            .contains_key(labels::USAGES_ANNOTATION)
        {
            // Those of one that is new. cert-manager never looks at them again, so people edit them by hand.
            wanted.spec.usages.clone_from(&found.spec.usages);
        }
        // One that is being deleted comes back when it is gone.
        if let Some(patch) = fields::patch(found, &wanted, settings).filter(|_| !id.deleting) {
            plan.actions.push(Action::PatchCertificate { id, patch });
            plan.events.push(done(
                "UpdateCertificate",
                format!("Successfully updated Certificate \"{name}\""),
            ));
        }
    } else if !o.others.iter().any(|c| is_named(c)) {
        plan.actions
            .push(Action::Create(Box::new(Object::Certificate(wanted))));
        plan.events.push(done(
            "CreateCertificate",
            format!("Successfully created Certificate \"{name}\""),
        ));
    }
}

/// Delete the Certificates of Secrets that no block names any more, not even a faulty one. One that
/// has the name of such a Secret and holds another is mended instead.
fn drop_unreferenced(o: &Observation, plan: &mut Plan<Infallible>) {
    let named = o
        .ingress
        .tls
        .iter()
        .filter_map(|(_, secret)| secret.as_deref());
    let named: BTreeSet<&str> = named.collect();
    for found in &o.certificates {
        let id = Identity::of(&found.metadata);
        let is_named = named.contains(found.spec.secret_name.as_str()) || named.contains(&*id.name);
        if is_named || id.deleting {
            continue;
        }
        let message = format!(
            "Successfully deleted unrequired Certificate \"{}\"",
            id.name
        );
        plan.events.push(done("DeleteCertificate", message));
        plan.actions.push(Action::Delete(Target::Certificate, id));
    }
}
