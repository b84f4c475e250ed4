//! What is kept of an Ingress, and of what else an HTTP-01 solver consists of.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{Identity, PodView, controller_of, prune};
use crate::solvers::http01;

/// An Ingress.
#[derive(Debug, Clone, PartialEq)]
pub struct IngressFact {
    /// Identity.
    pub id: Identity,
    /// All annotations but kubectl's copy of the object.
    pub annotations: BTreeMap<String, String>,
    /// All labels.
    pub labels: BTreeMap<String, String>,
    /// `spec.tls`: hosts and Secret name of each block.
    pub tls: Vec<(Vec<String>, Option<String>)>,
    /// The Challenge that controls it.
    pub challenge: Option<String>,
    /// It has a path of a Challenge: its own, or one that was added to it.
    pub solves: bool,
    /// The finalizer of a foreground deletion is set.
    pub foreground_deletion: bool,
}

impl IngressFact {
    /// Reduce an object.
    pub fn of(mut object: Ingress) -> Self {
        let challenge = controller_of(&object.metadata, "Challenge").map(|o| o.name.clone());
        prune(&mut object.metadata);
        let finalizers = object.metadata.finalizers.as_deref().unwrap_or_default();
        let rules = object
            .spec
            .iter()
            .flat_map(|spec| spec.rules.iter().flatten());
        let mut paths = rules.flat_map(|rule| rule.http.iter().flat_map(|http| &http.paths));
        let is_of_a_challenge = |path: &str| path.starts_with(http01::PATH_PREFIX);
        Self {
            id: Identity::of(&object.metadata),
            solves: paths.any(|path| path.path.as_deref().is_some_and(is_of_a_challenge)),
            foreground_deletion: finalizers.iter().any(|f| f == "foregroundDeletion"),
            annotations: object.metadata.annotations.unwrap_or_default(),
            labels: object.metadata.labels.unwrap_or_default(),
            tls: object
                .spec
                .and_then(|s| s.tls)
                .unwrap_or_default()
                .into_iter()
                .map(|t| (t.hosts.unwrap_or_default(), t.secret_name))
                .collect(),
            challenge,
        }
    }
}

/// A Pod or Service of an HTTP-01 solver.
#[derive(Debug, Clone, PartialEq)]
pub struct SolverFact {
    /// Identity.
    pub id: Identity,
    /// The Challenge that controls it.
    pub challenge: Option<String>,
    /// Why a Pod does not run; `None` when it runs, or for a Service.
    pub problem: Option<String>,
}

impl SolverFact {
    /// Reduce metadata.
    pub fn of(meta: &ObjectMeta) -> Self {
        let challenge = controller_of(meta, "Challenge").map(|o| o.name.clone());
        Self {
            id: Identity::of(meta),
            challenge,
            problem: None,
        }
    }

    /// Reduce a Pod.
    pub fn of_pod(pod: &PodView) -> Self {
        Self {
            problem: pod.problem(),
            ..Self::of(&pod.metadata)
        }
    }
}
