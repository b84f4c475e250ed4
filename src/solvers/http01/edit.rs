//! `name` mode: the challenge's path in an Ingress that the user owns.
//!
//! The change is a JSON patch (RFC 6902) guarded by the resourceVersion, so that fields newer than
//! our types survive and a concurrent edit makes the patch fail instead of hitting another path.
//! Only the path of the challenge to our own Service, or to the one that cert-manager has made for it, is ever removed, and
//! removing undoes adding exactly.

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation, RemoveOperation, TestOperation};
use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressRule,
};
use serde_json::{Value, json};

use super::objects::{is_cert_managers, rule_host};

/// Puts `path` first in the host's rule, or in a new rule at the end where the host has none; in place of the path that
/// cert-manager has put there for the same challenge. None when it is there already.
pub fn add(ingress: &Ingress, dns_name: &str, path: &HTTPIngressPath) -> Option<Patch> {
    let host = rule_host(dns_name);
    let spec = ingress.spec.as_ref()?;
    let rules = spec.rules.as_deref().unwrap_or_default();
    let of_host = || {
        rules
            .iter()
            .enumerate()
            .filter(|(_, rule)| is_for(rule, host))
    };
    let is_former = |known: &HTTPIngressPath| {
        known.path == path.path && service(known).is_some_and(is_cert_managers)
    };
    // From the end to the start, so that an earlier removal does not move a later one.
    let former = of_host().rev().flat_map(|(rule, of)| {
        let positions = paths(of).iter().enumerate().rev();
        let positions = positions.filter(|(_, known)| is_former(known));
        positions.map(move |(position, _)| take_path(rule, position))
    });
    let mut changes: Vec<_> = former.collect();
    if of_host().any(|(_, rule)| paths(rule).iter().any(|known| known == path)) {
        return (!changes.is_empty()).then(|| guarded(ingress, changes));
    }
    // A rule without paths belongs to the default backend; ours next to it can be removed whole.
    let with_paths = of_host().find(|(_, rule)| !paths(rule).is_empty());
    let change = if let Some((rule, _)) = with_paths {
        let first = ["spec", "rules", &rule.to_string(), "http", "paths", "0"];
        insert(first, json!(path))
    } else {
        let rule = json!(IngressRule {
            host: host.map(str::to_owned),
            http: Some(HTTPIngressRuleValue {
                paths: vec![path.clone()],
            }),
        });
        match spec.rules {
            Some(_) => insert(["spec", "rules", "-"], rule),
            None => insert(["spec", "rules"], json!([rule])),
        }
    };
    changes.push(change);
    Some(guarded(ingress, changes))
}

/// Takes the path of the challenge that leads to `own`, or to a Service of cert-manager's, out again, and the rule that held
/// nothing else. None when there is nothing to take out, or when nothing would be left: the API
/// server refuses an Ingress with neither rule nor default backend, and a path to a Service that is
/// gone does no harm.
pub fn remove(ingress: &Ingress, dns_name: &str, path: &str, own: &str) -> Option<Patch> {
    let host = rule_host(dns_name);
    let spec = ingress.spec.as_ref()?;
    let rules = spec.rules.as_deref()?;
    let is_ours = |candidate: &HTTPIngressPath| {
        let leads_here =
            service(candidate).is_some_and(|name| name == own || is_cert_managers(name));
        candidate.path.as_deref() == Some(path) && leads_here
    };
    let is_only_ours = |rule: &IngressRule| {
        is_for(rule, host) && !paths(rule).is_empty() && paths(rule).iter().all(is_ours)
    };
    if rules.iter().all(is_only_ours) {
        let removable = !rules.is_empty() && spec.default_backend.is_some();
        return removable.then(|| guarded(ingress, vec![take(["spec", "rules"])]));
    }
    // From the end to the start, so that an earlier removal does not move a later one.
    let mut changes = Vec::new();
    for (index, rule) in rules
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, rule)| is_for(rule, host))
    {
        if is_only_ours(rule) {
            changes.push(take(["spec", "rules", &index.to_string()]));
            continue;
        }
        for (position, _) in paths(rule)
            .iter()
            .enumerate()
            .rev()
            .filter(|(_, path)| is_ours(path))
        {
            changes.push(take_path(index, position));
        }
    }
    (!changes.is_empty()).then(|| guarded(ingress, changes))
}

fn is_for(rule: &IngressRule, host: Option<&str>) -> bool {
    rule.host.as_deref().filter(|name| !name.is_empty()) == host
}

fn paths(rule: &IngressRule) -> &[HTTPIngressPath] {
    rule.http
        .as_ref()
        .map(|http| http.paths.as_slice())
        .unwrap_or_default()
}

fn service(path: &HTTPIngressPath) -> Option<&str> {
    let service = path.backend.service.as_ref();
    service.map(|service| service.name.as_str())
}

fn guarded(ingress: &Ingress, changes: Vec<PatchOperation>) -> Patch {
    let version = ingress.metadata.resource_version.as_ref();
    let test = version.map(|version| {
        PatchOperation::Test(TestOperation {
            path: PointerBuf::from_tokens(["metadata", "resourceVersion"]),
            value: json!(version),
        })
    });
    Patch(test.into_iter().chain(changes).collect())
}

fn insert<const N: usize>(at: [&str; N], value: Value) -> PatchOperation {
    PatchOperation::Add(AddOperation {
        path: PointerBuf::from_tokens(at),
        value,
    })
}

fn take<const N: usize>(at: [&str; N]) -> PatchOperation {
    PatchOperation::Remove(RemoveOperation {
        path: PointerBuf::from_tokens(at),
    })
}

fn take_path(rule: usize, position: usize) -> PatchOperation {
    let (rule, position) = (rule.to_string(), position.to_string());
    take(["spec", "rules", &rule, "http", "paths", &position])
}

#[cfg(test)]
mod tests;
