//! What one HTTP-01 challenge needs, and the metadata that all its objects share.
//!
//! The builders are pure: equal input, equal objects, names included. A name comes from the
//! Challenge's uid, so that a crash between a create and the next observation never makes two.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::hash::{adler32, short};
use crate::api::Challenge;
use crate::api::labels::{HTTP_DOMAIN_LABEL, HTTP_TOKEN_LABEL, HTTP01_SOLVER_LABEL, TRUE};
use crate::api::solver::IngressSolver;

/// Names of solver objects begin with this, as cert-manager's do.
pub const NAME_PREFIX: &str = "cm-acme-http-solver-";

/// How many characters of its choice the API server puts behind a name that is to be generated.
const GENERATED: usize = 5;

/// Whether cert-manager has made a solver object of this name. The rest of ours is longer.
pub fn is_cert_managers(name: &str) -> bool {
    let generated = name.strip_prefix(NAME_PREFIX);
    generated.is_some_and(|rest| rest.len() == GENERATED)
}

/// Who answers the CA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// A Pod for each challenge.
    #[default]
    Pod,
    /// The operator itself.
    Direct,
}

impl Mode {
    /// The solver's own wish, else the flag's. An unknown word is the flag's too: the schema keeps
    /// it out, and a newer version may have stored it.
    pub fn of(solver: &IngressSolver, flag: Self) -> Self {
        let wish = solver.mode.as_deref().and_then(|mode| mode.parse().ok());
        wish.unwrap_or(flag)
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(mode: &str) -> Result<Self, Self::Err> {
        match mode {
            "Pod" => Ok(Self::Pod),
            "Direct" => Ok(Self::Direct),
            _ => Err(format!("{mode:?} is neither Pod nor Direct")),
        }
    }
}

/// One challenge, as the builders need it.
#[derive(Clone, Copy, PartialEq)]
pub struct Presentation<'a> {
    pub namespace: &'a str,
    pub challenge_name: &'a str,
    pub challenge_uid: &'a str,
    /// The name, or an IP address.
    pub dns_name: &'a str,
    pub token: &'a str,
    /// The key authorization (RFC 8555 §8.1).
    pub key: &'a str,
    pub solver: &'a IngressSolver,
}

impl<'a> Presentation<'a> {
    /// None for a Challenge that is not stored yet or is not solved through an Ingress.
    pub fn of(challenge: &'a Challenge) -> Option<Self> {
        Some(Self {
            namespace: challenge.metadata.namespace.as_deref()?,
            challenge_name: challenge.metadata.name.as_deref()?,
            challenge_uid: challenge.metadata.uid.as_deref()?,
            dns_name: &challenge.spec.dns_name,
            token: &challenge.spec.token,
            key: &challenge.spec.key,
            solver: challenge.spec.solver.http01.as_ref()?.ingress.as_ref()?,
        })
    }

    /// The name of its Pod, Service and Ingress.
    pub fn name(&self) -> String {
        format!("{NAME_PREFIX}{}", short(self.challenge_uid))
    }

    /// The path that a CA asks for.
    pub fn path(&self) -> String {
        challenge_path_of(self.token)
    }

    /// The labels by which the objects of a challenge are found, those of cert-manager included.
    pub fn identity(&self) -> BTreeMap<String, String> {
        [
            (HTTP_DOMAIN_LABEL, adler32(self.dns_name)),
            (HTTP_TOKEN_LABEL, adler32(self.token)),
            (HTTP01_SOLVER_LABEL, TRUE.to_owned()),
        ]
        .map(|(label, value)| (label.to_owned(), value))
        .into()
    }

    pub(super) fn metadata(&self, settings: &SolverSettings) -> ObjectMeta {
        let mut labels = settings.extra_labels.clone();
        labels.extend(self.identity());
        ObjectMeta {
            name: Some(self.name()),
            namespace: Some(self.namespace.to_owned()),
            labels: Some(labels),
            owner_references: Some(vec![OwnerReference {
                api_version: "acme.cert-manager.io/v1".to_owned(),
                kind: "Challenge".to_owned(),
                name: self.challenge_name.to_owned(),
                uid: self.challenge_uid.to_owned(),
                controller: Some(true),
                block_owner_deletion: Some(true),
            }]),
            ..ObjectMeta::default()
        }
    }
}

/// Without token and key, which belong to no log.
impl fmt::Debug for Presentation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presentation")
            .field("namespace", &self.namespace)
            .field("challenge_name", &self.challenge_name)
            .field("dns_name", &self.dns_name)
            .finish_non_exhaustive()
    }
}

/// What the operator's flags say about solver objects (contract §7.2).
#[derive(Clone, Debug, PartialEq)]
pub struct SolverSettings {
    /// `--acme-http01-solver-image`: an image whose entry point is this program.
    pub image: String,
    /// `--acme-http01-solver-resource-request-cpu` and `-memory`.
    pub requests: Resources,
    /// `--acme-http01-solver-resource-limits-cpu` and `-memory`.
    pub limits: Resources,
    /// `--acme-http01-solver-run-as-non-root`.
    pub run_as_non_root: bool,
    /// `--acme-http01-solver-extra-labels`. They never replace the labels of identity.
    pub extra_labels: BTreeMap<String, String>,
    /// `--acme-http01-solver-runtime-class-name`.
    pub runtime_class_name: Option<String>,
    /// Gate `ACMEHTTP01IngressPathTypeExact`; without it the type is `ImplementationSpecific`.
    pub exact_path_type: bool,
}

/// Processor and memory, as Kubernetes quantities.
#[derive(Clone, Debug, PartialEq)]
pub struct Resources {
    pub cpu: Quantity,
    pub memory: Quantity,
}

impl Default for SolverSettings {
    fn default() -> Self {
        let resources = |cpu: &str| Resources {
            cpu: Quantity(cpu.to_owned()),
            memory: Quantity("64Mi".to_owned()),
        };
        Self {
            image: format!("everleaf:{}", env!("CARGO_PKG_VERSION")),
            requests: resources("10m"),
            limits: resources("100m"),
            run_as_non_root: true,
            extra_labels: BTreeMap::new(),
            runtime_class_name: None,
            exact_path_type: true,
        }
    }
}

pub(super) fn challenge_path_of(token: &str) -> String {
    format!("{}{token}", super::PATH_PREFIX)
}

/// The host of an Ingress rule; none for an IP address, which an Ingress cannot name.
pub(super) fn rule_host(dns_name: &str) -> Option<&str> {
    dns_name.parse::<IpAddr>().is_err().then_some(dns_name)
}

pub(super) fn owned_map<const N: usize>(entries: [(&str, &str); N]) -> BTreeMap<String, String> {
    entries
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

#[cfg(test)]
mod tests;
