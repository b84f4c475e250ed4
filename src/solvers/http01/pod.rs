//! The solver Pod of `Pod` mode (contract §5.6).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EnvVar, Pod, PodSecurityContext, PodSpec,
    ResourceRequirements, SeccompProfile, SecurityContext,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::PORT;
use super::objects::{Presentation, Resources, SolverSettings, owned_map};
use super::responder::{ENV_DOMAIN, ENV_KEY, ENV_TOKEN};
use crate::api::solver::{SolverPodSecurityContext, SolverPodSpec, SolverPodTemplate};

/// The Pod that answers for one challenge. It passes the restricted Pod Security Standard as long
/// as the podTemplate does not say otherwise.
pub fn pod(presentation: &Presentation<'_>, settings: &SolverSettings) -> Pod {
    let mut metadata = presentation.metadata(settings);
    metadata.annotations = Some(owned_map([
        ("sidecar.istio.io/inject", "false"),
        ("cluster-autoscaler.kubernetes.io/safe-to-evict", "true"),
    ]));
    let spec = PodSpec {
        automount_service_account_token: Some(false),
        containers: vec![container(presentation, settings)],
        enable_service_links: Some(false),
        node_selector: Some(owned_map([("kubernetes.io/os", "linux")])),
        restart_policy: Some("OnFailure".to_owned()),
        runtime_class_name: settings.runtime_class_name.clone(),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(settings.run_as_non_root),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                localhost_profile: None,
            }),
            ..PodSecurityContext::default()
        }),
        ..PodSpec::default()
    };
    let mut pod = Pod {
        metadata,
        spec: Some(spec),
        status: None,
    };
    if let Some(template) = &presentation.solver.pod_template {
        merge(&mut pod, template);
    }
    pod
}

fn container(presentation: &Presentation<'_>, settings: &SolverSettings) -> Container {
    // By environment, not by arguments, which process listings show.
    let env = [
        (ENV_DOMAIN, presentation.dns_name),
        (ENV_TOKEN, presentation.token),
        (ENV_KEY, presentation.key),
    ]
    .map(|(name, value)| EnvVar {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        value_from: None,
    });
    Container {
        name: "acmesolver".to_owned(),
        image: Some(settings.image.clone()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        args: Some(vec!["solver".to_owned(), format!("--listen-port={PORT}")]),
        env: Some(env.into()),
        ports: Some(vec![ContainerPort {
            name: Some("http".to_owned()),
            container_port: i32::from(PORT),
            ..ContainerPort::default()
        }]),
        resources: Some(ResourceRequirements {
            requests: Some(quantities(&settings.requests)),
            limits: Some(quantities(&settings.limits)),
            claims: None,
        }),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities {
                add: None,
                drop: Some(vec!["ALL".to_owned()]),
            }),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}

fn quantities(resources: &Resources) -> BTreeMap<String, Quantity> {
    [("cpu", &resources.cpu), ("memory", &resources.memory)]
        .map(|(name, quantity)| (name.to_owned(), quantity.clone()))
        .into()
}

/// Maps are merged, lists appended, single values replaced (contract §5.6).
fn merge(pod: &mut Pod, template: &SolverPodTemplate) {
    if let Some(metadata) = &template.metadata {
        extend(&mut pod.metadata.labels, metadata.labels.as_ref());
        extend(&mut pod.metadata.annotations, metadata.annotations.as_ref());
    }
    if let (Some(spec), Some(wish)) = (&mut pod.spec, &template.spec) {
        merge_spec(spec, wish);
    }
}

fn merge_spec(spec: &mut PodSpec, wish: &SolverPodSpec) {
    extend(&mut spec.node_selector, wish.node_selector.as_ref());
    append(&mut spec.tolerations, wish.tolerations.as_ref());
    append(
        &mut spec.image_pull_secrets,
        wish.image_pull_secrets.as_ref(),
    );
    replace(&mut spec.affinity, wish.affinity.as_ref());
    replace(
        &mut spec.priority_class_name,
        non_empty(wish.priority_class_name.as_ref()),
    );
    replace(
        &mut spec.service_account_name,
        non_empty(wish.service_account_name.as_ref()),
    );
    if let Some(context) = &wish.security_context {
        spec.security_context = Some(security_context(context));
    }
    let Some(wish) = &wish.resources else { return };
    for container in &mut spec.containers {
        let resources = container.resources.get_or_insert_default();
        extend(&mut resources.requests, wish.requests.as_ref());
        extend(&mut resources.limits, wish.limits.as_ref());
    }
}

fn security_context(context: &SolverPodSecurityContext) -> PodSecurityContext {
    let context = context.clone();
    PodSecurityContext {
        fs_group: context.fs_group,
        fs_group_change_policy: context.fs_group_change_policy,
        run_as_group: context.run_as_group,
        run_as_non_root: context.run_as_non_root,
        run_as_user: context.run_as_user,
        se_linux_options: context.se_linux_options,
        seccomp_profile: context.seccomp_profile,
        supplemental_groups: context.supplemental_groups,
        sysctls: context.sysctls,
        ..PodSecurityContext::default()
    }
}

pub(super) fn extend<V: Clone>(
    map: &mut Option<BTreeMap<String, V>>,
    more: Option<&BTreeMap<String, V>>,
) {
    if let Some(more) = more.filter(|more| !more.is_empty()) {
        map.get_or_insert_default().extend(more.clone());
    }
}

fn append<T: Clone>(list: &mut Option<Vec<T>>, more: Option<&Vec<T>>) {
    if let Some(more) = more.filter(|more| !more.is_empty()) {
        list.get_or_insert_default().extend_from_slice(more);
    }
}

fn replace<T: Clone>(value: &mut Option<T>, wish: Option<&T>) {
    if let Some(wish) = wish {
        *value = Some(wish.clone());
    }
}

fn non_empty(text: Option<&String>) -> Option<&String> {
    text.filter(|text| !text.is_empty())
}
