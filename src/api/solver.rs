//! How an ACME challenge is solved: selector, HTTP-01, and the templates of what it makes.
//!
//! An Issuer's solvers and a Challenge's solver share this schema. Source of names and rules:
//! contract §1.6 and §5.6. `ingress.mode` is Everleaf's own.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, LocalObjectReference, SELinuxOptions, SeccompProfile, Sysctl, Toleration,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::dns01::Dns01Solver;

/// How challenges are solved for the names that the selector picks: one of `http01` and `dns01`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Solver {
    /// By a DNS record. Example: `{"rfc2136": {"nameserver": "192.0.2.53"}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns01: Option<Box<Dns01Solver>>,
    /// By a file on port 80 of the name. Example: `{"ingress": {"ingressClassName": "traefik"}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http01: Option<Box<Http01Solver>>,
    /// Which names and Certificates this solver is for; all when absent. Example: `{"dnsZones":
    /// ["example.com"]}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<DnsNameSelector>,
    /// A Go duration to wait for in place of the self-check. Example: `30s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_instead_of_self_check: Option<String>,
}

/// Which names and Certificates a solver is for; names beat zones, longer zones beat shorter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DnsNameSelector {
    /// Exact names. Example: `["app.example.com"]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_names: Option<Vec<String>>,
    /// Zones, with all names below. Example: `["example.com"]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_zones: Option<Vec<String>>,
    /// Labels that the Certificate must carry. Example: `{"team": "shop"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub match_labels: Option<BTreeMap<String, String>>,
}

/// HTTP-01: exactly one of `ingress` and `gatewayHTTPRoute`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Http01Solver {
    /// Through an `HTTPRoute` of the Gateway API. Example: `{"parentRefs": [{"name": "public"}]}`.
    #[serde(rename = "gatewayHTTPRoute", skip_serializing_if = "Option::is_none")]
    pub gateway_http_route: Option<GatewayHttpRouteSolver>,
    /// Through an Ingress. Example: `{"ingressClassName": "traefik"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress: Option<IngressSolver>,
}

/// HTTP-01 through an `HTTPRoute`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayHttpRouteSolver {
    /// Labels of the `HTTPRoute`. Example: `{"expose": "public"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Gateways that the route attaches to. Example: `[{"name": "public", "namespace":
    /// "gateways"}]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_refs: Option<Vec<ParentReference>>,
    /// Changes to the solver Pod. Example: `{"spec": {"nodeSelector": {"role": "edge"}}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<SolverPodTemplate>,
    /// Type of the solver Service: `ClusterIP` or `NodePort`, which it is when absent. Example:
    /// `ClusterIP`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_type: Option<String>,
}

/// A Gateway, or another parent of a route (Gateway API).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParentReference {
    /// API group of the parent. Example: `gateway.networking.k8s.io`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), extend("default" = "gateway.networking.k8s.io", "pattern" = "^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"))]
    pub group: Option<String>,
    /// Kind of the parent. Example: `Gateway`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), extend("default" = "Gateway", "pattern" = "^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$"))]
    pub kind: Option<String>,
    /// Name of the parent. Example: `public`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Namespace of the parent; the route's own when absent. Example: `gateways`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), extend("pattern" = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub namespace: Option<String>,
    /// Port of the parent to attach to. Example: `80`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
    /// Listener of the parent to attach to. Example: `http`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), extend("pattern" = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"))]
    pub section_name: Option<String>,
}

/// HTTP-01 through an Ingress: one of `class`, `ingressClassName` and `name`, or none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IngressSolver {
    /// Value of the annotation `kubernetes.io/ingress.class`. Example: `nginx`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// The Ingress class. Example: `traefik`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress_class_name: Option<String>,
    /// Labels and annotations of the solver Ingress. Example: `{"metadata": {"labels": {"expose":
    /// "public"}}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress_template: Option<IngressTemplate>,
    /// Everleaf's own: who answers the CA. `Pod` starts a solver Pod; `Direct` answers from the
    /// operator, with nothing to schedule or pull. The flag `--http01-mode` decides when absent.
    /// Example: `Direct`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Pod", "Direct"]))]
    pub mode: Option<String>,
    /// An existing Ingress to which the path is added. Example: `app`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Changes to the solver Pod. Example: `{"spec": {"nodeSelector": {"role": "edge"}}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<SolverPodTemplate>,
    /// Type of the solver Service: `ClusterIP` or `NodePort`, which it is when absent. Example:
    /// `ClusterIP`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_type: Option<String>,
}

/// Changes to the solver Ingress.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IngressTemplate {
    /// Labels and annotations to add. Example: `{"labels": {"expose": "public"}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<TemplateMetadata>,
}

/// Labels and annotations of something that a solver makes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateMetadata {
    /// Annotations to add; they win over the built-in ones. Example: `{"example.com/owner":
    /// "shop"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// Labels to add; they win over the built-in ones. Example: `{"team": "shop"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
}

/// Changes to the solver Pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SolverPodTemplate {
    /// Labels and annotations to add. Example: `{"labels": {"team": "shop"}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<TemplateMetadata>,
    /// Where and how the Pod runs. Example: `{"nodeSelector": {"role": "edge"}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<SolverPodSpec>,
}

/// Where and how the solver Pod runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SolverPodSpec {
    /// Scheduling rules, as in a Pod. Example: `{"nodeAffinity": {}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// Secrets to pull the image with, besides the built-in ones. Example: `[{"name":
    /// "registry"}]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub image_pull_secrets: Option<Vec<LocalObjectReference>>,
    /// Labels that the node must carry. Example: `{"role": "edge"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_selector: Option<BTreeMap<String, String>>,
    /// Priority class. Example: `high`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<String>,
    /// Requests and limits, each entry in place of the built-in one. Example: `{"limits":
    /// {"memory": "64Mi"}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<SolverPodResources>,
    /// Security settings of the Pod, in place of all built-in ones. Example: `{"runAsUser": 1000}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_context: Option<SolverPodSecurityContext>,
    /// Service account. Example: `solver`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account_name: Option<String>,
    /// Taints to tolerate, besides the built-in ones. Example: `[{"key": "edge", "operator":
    /// "Exists"}]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerations: Option<Vec<Toleration>>,
}

/// Requests and limits of the solver container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SolverPodResources {
    /// Limits by resource. Example: `{"memory": "64Mi"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<BTreeMap<String, Quantity>>,
    /// Requests by resource. Example: `{"cpu": "10m"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<BTreeMap<String, Quantity>>,
}

/// Security settings of the solver Pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SolverPodSecurityContext {
    /// Group that owns mounted volumes. Example: `1000`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fs_group: Option<i64>,
    /// When the owner of volumes is changed: `OnRootMismatch` or `Always`. Example:
    /// `OnRootMismatch`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fs_group_change_policy: Option<String>,
    /// Group ID to run with. Example: `1000`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_as_group: Option<i64>,
    /// Whether user ID 0 is refused. Example: `true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_as_non_root: Option<bool>,
    /// User ID to run with. Example: `1000`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_as_user: Option<i64>,
    /// `SELinux` labels. Example: `{"level": "s0:c1,c2"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub se_linux_options: Option<SELinuxOptions>,
    /// Seccomp profile. Example: `{"type": "RuntimeDefault"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seccomp_profile: Option<SeccompProfile>,
    /// Further groups to run with. Example: `[2000]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supplemental_groups: Option<Vec<i64>>,
    /// Kernel settings of the Pod. Example: `[{"name": "net.ipv4.ip_unprivileged_port_start",
    /// "value": "0"}]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sysctls: Option<Vec<Sysctl>>,
}
