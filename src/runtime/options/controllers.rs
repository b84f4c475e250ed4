//! `--controllers`: which of cert-manager's controllers run, and what of ours does the work of each.

use super::Error;
use crate::controllers::key::Kind;

/// Those that do all the work on a kind, or share it: then it is off as soon as one of them is.
const OF_KINDS: [(&str, Kind); 14] = [
    ("certificates-trigger", Kind::Certificate),
    ("certificates-key-manager", Kind::Certificate),
    ("certificates-request-manager", Kind::Certificate),
    ("certificates-issuing", Kind::Certificate),
    ("certificates-readiness", Kind::Certificate),
    ("certificates-revision-manager", Kind::Certificate),
    ("issuers", Kind::Issuer),
    ("clusterissuers", Kind::ClusterIssuer),
    ("orders", Kind::Order),
    ("challenges", Kind::Challenge),
    ("ingress-shim", Kind::Ingress),
    ("orderedissuers", Kind::OrderedIssuer),
    ("clusterorderedissuers", Kind::ClusterOrderedIssuer),
    ("certificaterevocations", Kind::Revocation),
];

/// Approves CertificateRequests.
pub const APPROVER: &str = "certificaterequests-approver";

/// Those that sign CertificateRequests, each for the issuers of a type.
const SIGNERS: [&str; 5] = [
    "certificaterequests-issuer-acme",
    "certificaterequests-issuer-ca",
    "certificaterequests-issuer-selfsigned",
    "certificaterequests-issuer-vault",
    "certificaterequests-issuer-venafi",
];

/// This version has nothing that does their work.
const IDLE: [&str; 7] = [
    "gateway-shim",
    "listenerset-shim",
    "certificatesigningrequests-issuer-acme",
    "certificatesigningrequests-issuer-ca",
    "certificatesigningrequests-issuer-selfsigned",
    "certificatesigningrequests-issuer-vault",
    "certificatesigningrequests-issuer-venafi",
];

/// Cannot be turned off.
const METRICS: &str = "certificates-metrics";

/// All names that there are.
pub fn names() -> Vec<&'static str> {
    let of_kinds = OF_KINDS.iter().map(|(name, _)| *name);
    let others = [APPROVER, METRICS].into_iter().chain(SIGNERS).chain(IDLE);
    of_kinds.chain(others).collect()
}

/// The values of the flag: `*` for all, a name for one, `-` before a name for all but one.
#[derive(Clone, Copy)]
pub struct Controllers<'a>(pub &'a [String]);

impl<'a> Controllers<'a> {
    /// Whether the controller of this name runs.
    pub fn run(self, name: &str) -> bool {
        let is_off = |given: &String| given.strip_prefix('-') == Some(name);
        let is_on = |given: &String| given == "*" || given == name;
        !self.0.iter().any(is_off) && self.0.iter().any(is_on)
    }

    /// The kinds that nothing works on.
    ///
    /// # Errors
    /// A value is no name.
    pub fn disabled(self) -> Result<Vec<Kind>, Error> {
        let names = names();
        for given in self.0 {
            let name = given.strip_prefix('-').unwrap_or(given);
            if !["", "*"].contains(&name) && !names.contains(&name) {
                return Err(Error::Controller(name.to_owned()));
            }
        }
        let requests = self.run(APPROVER) || self.signers_off().len() < SIGNERS.len();
        let runs = |kind: Kind| match kind {
            Kind::CertificateRequest => requests,
            kind => OF_KINDS.iter().all(|(n, k)| *k != kind || self.run(n)),
        };
        Ok(Kind::ALL.into_iter().filter(|k| !runs(*k)).collect())
    }

    /// Those that do not sign.
    pub fn signers_off(self) -> Vec<&'static str> {
        let off = SIGNERS.into_iter().filter(|name| !self.run(name));
        off.collect()
    }

    /// Values that do not do what they say.
    pub fn without_effect(self) -> impl Iterator<Item = &'a str> {
        let given = self.0.iter().map(String::as_str);
        given.filter(|value| IDLE.contains(value) || value.strip_prefix('-') == Some(METRICS))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    fn given(values: &[&str]) -> Vec<String> {
        values.iter().map(|v| (*v).to_owned()).collect()
    }

    #[test]
    fn a_signer_that_is_off_is_the_only_one() {
        for off in SIGNERS {
            let values = given(&["*", &format!("-{off}")]);
            let controllers = Controllers(&values);
            assert_eq!(controllers.signers_off(), [off]);
            assert_eq!(controllers.disabled().unwrap(), []);
            assert!(controllers.run(APPROVER));
        }
    }

    #[test]
    fn requests_are_left_alone_when_all_of_their_controllers_are_off() {
        let values = given(&["issuers", "orders"]);
        let disabled = Controllers(&values).disabled().unwrap();
        assert!(disabled.contains(&Kind::CertificateRequest));
        for kind in [Kind::Issuer, Kind::Order] {
            assert!(!disabled.contains(&kind), "{kind:?}");
        }
        let values = given(&["issuers", APPROVER]);
        let disabled = Controllers(&values).disabled().unwrap();
        assert!(!disabled.contains(&Kind::CertificateRequest));
    }

    #[test]
    fn certificates_are_off_with_any_of_their_controllers() {
        let values = given(&["*", "-certificates-issuing"]);
        let disabled = Controllers(&values).disabled().unwrap();
        assert_eq!(disabled, [Kind::Certificate]);
    }

    #[test]
    fn what_does_nothing_is_named() {
        let values = given(&[
            "*",
            "certificatesigningrequests-issuer-ca",
            "-certificatesigningrequests-issuer-vault",
            "-certificates-metrics",
            "-certificaterequests-issuer-vault",
            "",
        ]);
        let controllers = Controllers(&values);
        assert_eq!(controllers.disabled().unwrap(), []);
        let idle: Vec<_> = controllers.without_effect().collect();
        assert_eq!(
            idle,
            [
                "certificatesigningrequests-issuer-ca",
                "-certificates-metrics"
            ]
        );
    }
}
