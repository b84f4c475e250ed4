//! With whose credentials a Challenge is solved.

use std::collections::BTreeMap;

use super::Dns01;
use crate::api::Challenge;
use crate::api::dns01::Dns01Solver;
use crate::api::names::is_same_dns01;
use crate::api::solver::Solver;
use crate::controllers::key::{Key, Kind};
use crate::solvers::dns01::Error;
use crate::solvers::pick::{Wanted, pick};

impl Dns01 {
    /// Whose solver it is, as that has it. What a Challenge says is used with the credentials of a ClusterIssuer only if that
    /// says so too: whoever may write Challenges is not whom those are entrusted to. What a solver has written that the
    /// ClusterIssuer has no longer, its present one of the same provider takes away.
    pub(super) fn entitled(
        &self,
        object: &Challenge,
        solver: &Dns01Solver,
        removing: bool,
    ) -> Result<(Key, Dns01Solver), Error> {
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
        let reference = &object.spec.issuer_ref;
        if reference.kind_or_default() != Kind::ClusterIssuer.name() {
            let key = Key::new(Kind::Issuer, namespace, &reference.name);
            return Ok((key, solver.clone()));
        }
        let issuer = self.reader.store.issuer(namespace, reference);
        let acme = issuer.as_ref().and_then(|issuer| issuer.spec.acme.as_ref());
        let solvers = acme.and_then(|acme| acme.solvers.as_deref());
        let solvers = solvers.unwrap_or_default();
        let found = same(solvers, solver).or_else(|| {
            let successor = || successor(solvers, solver, object);
            removing.then(successor).flatten()
        });
        let found = found.ok_or_else(|| {
            Error::permanent(format!(
                "ClusterIssuer \"{}\" has no such solver, or no longer: delete this Challenge, so that its Order makes another",
                reference.name
            ))
        })?;
        Ok((Key::new(Kind::ClusterIssuer, "", &reference.name), found))
    }
}

fn same(solvers: &[Solver], wanted: &Dns01Solver) -> Option<Dns01Solver> {
    let mut all = solvers.iter().filter_map(|solver| solver.dns01.as_deref());
    all.find(|known| is_same_dns01(known, wanted)).cloned()
}

/// The solver of the same provider that such a Challenge would have now; the first one, if it would have none.
fn successor(solvers: &[Solver], former: &Dns01Solver, object: &Challenge) -> Option<Dns01Solver> {
    let is_of_it = |solver: &&Solver| {
        let dns01 = solver.dns01.as_deref();
        dns01.is_some_and(|dns01| provider(dns01) == provider(former))
    };
    let all: Vec<Solver> = solvers.iter().filter(is_of_it).cloned().collect();
    let wanted = Wanted {
        name: &object.spec.dns_name,
        wildcard: object.spec.wildcard.unwrap_or_default(),
        labels: &BTreeMap::new(),
        offered: &["dns-01"],
    };
    let index = pick(&all, &wanted).map_or(0, |pick| pick.solver);
    all.get(index)?.dns01.as_deref().cloned()
}

/// Which provider a solver names; of webhooks, whose.
fn provider(solver: &Dns01Solver) -> ([bool; 9], Option<(&str, &str)>) {
    let webhook = solver.webhook.as_ref();
    let named = [
        webhook.is_some(),
        solver.rfc2136.is_some(),
        solver.acme_dns.is_some(),
        solver.akamai.is_some(),
        solver.azure_dns.is_some(),
        solver.cloud_dns.is_some(),
        solver.cloudflare.is_some(),
        solver.digitalocean.is_some(),
        solver.route53.is_some(),
    ];
    let webhook = webhook.map(|w| (w.group_name.as_str(), w.solver_name.as_str()));
    (named, webhook)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use serde_json::{Value, json};

    use super::*;

    fn solvers(all: &Value) -> Vec<Solver> {
        serde_json::from_value(all.clone()).unwrap()
    }

    fn solver(dns01: &Value) -> Dns01Solver {
        serde_json::from_value(dns01.clone()).unwrap()
    }

    /// What cert-manager 1.21 makes of each in a Challenge.
    #[test]
    fn a_reference_with_an_empty_name_is_none() {
        let empty = json!({ "name": "" });
        for (field, reference, plain) in [
            (
                "rfc2136",
                "tsigSecretSecretRef",
                json!({ "nameserver": "192.0.2.53" }),
            ),
            (
                "route53",
                "secretAccessKeySecretRef",
                json!({ "region": "eu-west-1", "role": "r" }),
            ),
        ] {
            let issuer = solvers(&json!([{ "dns01": { field: plain } }]));
            let mut theirs = plain.clone();
            theirs[reference] = empty.clone();
            let found = same(&issuer, &solver(&json!({ field: theirs })));
            assert_eq!(found, Some(solver(&json!({ field: plain }))), "{field}");
            theirs[reference] = json!({ "name": "other" });
            assert_eq!(same(&issuer, &solver(&json!({ field: theirs }))), None);
        }
    }

    #[test]
    fn every_difference_of_a_solver_counts() {
        let issuer = solvers(&json!([{ "dns01": { "rfc2136": { "nameserver": "192.0.2.53" } } }]));
        for other in [
            json!({ "rfc2136": { "nameserver": "192.0.2.54" } }),
            json!({ "rfc2136": { "nameserver": "192.0.2.53", "protocol": "TCP" } }),
            json!({ "rfc2136": { "nameserver": "192.0.2.53" }, "nameservers": ["192.0.2.54"] }),
            json!({ "rfc2136": { "nameserver": "192.0.2.53" }, "cnameStrategy": "Follow" }),
            json!({ "webhook": { "groupName": "g", "solverName": "s" } }),
        ] {
            assert_eq!(same(&issuer, &solver(&other)), None, "{other}");
        }
    }

    #[test]
    fn what_a_former_solver_has_written_the_present_one_takes_away() {
        let rfc2136 = |server: &str| json!({ "rfc2136": { "nameserver": server } });
        let present = solvers(&json!([
            { "http01": { "ingress": {} } },
            { "dns01": { "webhook": { "groupName": "g", "solverName": "s" } } },
            { "dns01": rfc2136("192.0.2.1") },
            { "dns01": rfc2136("192.0.2.2"), "selector": { "dnsZones": ["example.com"] } },
        ]));
        let mut object = Challenge::default();
        let former = solver(&rfc2136("192.0.2.9"));
        for (name, server) in [
            ("a.example.com", "192.0.2.2"),
            ("a.example.net", "192.0.2.1"),
        ] {
            object.spec.dns_name = name.into();
            let found = successor(&present, &former, &object);
            assert_eq!(found, Some(solver(&rfc2136(server))), "{name}");
        }
        let other = solver(&json!({ "webhook": { "groupName": "g", "solverName": "other" } }));
        assert_eq!(successor(&present, &other, &object), None);
        let other = solver(&json!({ "cloudflare": {} }));
        assert_eq!(successor(&present, &other, &object), None);
    }
}
