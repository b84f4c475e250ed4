//! The Ingress of one challenge (contract §5.6).

use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule,
    IngressServiceBackend, IngressSpec, ServiceBackendPort,
};

use super::PORT;
use super::objects::{Presentation, SolverSettings, challenge_path_of, owned_map, rule_host};
use super::pod::extend;
use crate::api::labels::INGRESS_CLASS_ANNOTATION;

/// Opens the path to the CA where the controller restricts sources by default.
const WHITELIST: &str = "nginx.ingress.kubernetes.io/whitelist-source-range";

/// The Ingress that sends the challenge's path to `service`: the challenge's own in `Pod` mode,
/// [`super::service::DIRECT_NAME`] in `Direct` mode.
pub fn ingress(
    presentation: &Presentation<'_>,
    settings: &SolverSettings,
    service: &str,
) -> Ingress {
    let solver = presentation.solver;
    let template = solver.ingress_template.as_ref();
    let template = template.and_then(|template| template.metadata.as_ref());
    let wished = template.and_then(|metadata| metadata.annotations.as_ref());

    let mut metadata = presentation.metadata(settings);
    let mut annotations = owned_map([(WHITELIST, "0.0.0.0/0,::/0")]);
    // A user's own list is for the controller at hand, whatever its prefix.
    if wished.is_some_and(|wished| wished.keys().any(|key| is_whitelist(key))) {
        annotations.clear();
    }
    if let Some(class) = &solver.class {
        annotations.insert(INGRESS_CLASS_ANNOTATION.to_owned(), class.clone());
    }
    metadata.annotations = (!annotations.is_empty()).then_some(annotations);
    extend(&mut metadata.annotations, wished);
    extend(
        &mut metadata.labels,
        template.and_then(|metadata| metadata.labels.as_ref()),
    );

    let path = challenge_path(presentation.token, service, settings.exact_path_type);
    Ingress {
        metadata,
        spec: Some(IngressSpec {
            ingress_class_name: solver.ingress_class_name.clone(),
            rules: Some(vec![IngressRule {
                host: rule_host(presentation.dns_name).map(str::to_owned),
                http: Some(HTTPIngressRuleValue { paths: vec![path] }),
            }]),
            ..IngressSpec::default()
        }),
        status: None,
    }
}

/// The path of one challenge, in our own Ingress or in the user's.
pub fn challenge_path(token: &str, service: &str, exact: bool) -> HTTPIngressPath {
    let path_type = if exact {
        "Exact"
    } else {
        "ImplementationSpecific"
    };
    HTTPIngressPath {
        path: Some(challenge_path_of(token)),
        path_type: path_type.to_owned(),
        backend: IngressBackend {
            resource: None,
            service: Some(IngressServiceBackend {
                name: service.to_owned(),
                port: Some(ServiceBackendPort {
                    name: None,
                    number: Some(i32::from(PORT)),
                }),
            }),
        },
    }
}

fn is_whitelist(key: &str) -> bool {
    key.rsplit('/').next() == Some("whitelist-source-range")
}
