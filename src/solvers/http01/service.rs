//! The Service in front of a solver Pod, and the Service and `EndpointSlice`s of `Direct` mode.

use std::net::SocketAddr;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::PORT;
use super::objects::{Presentation, SolverSettings, owned_map};
use crate::api::labels::{HTTP01_SOLVER_LABEL, MANAGED_BY_LABEL, TRUE};

/// The Service of `Direct` mode, one a namespace. No Challenge owns it: whoever ends the last
/// challenge of the namespace deletes it and its slices by their names.
pub const DIRECT_NAME: &str = "cm-acme-http-solver-direct";

const MANAGER: &str = "everleaf";

/// The Service in front of the Pod of one challenge (contract §5.6).
pub fn service(presentation: &Presentation<'_>, settings: &SolverSettings) -> Service {
    let mut metadata = presentation.metadata(settings);
    metadata.annotations = Some(owned_map([("auth.istio.io/8089", "NONE")]));
    let wish = presentation.solver.service_type.as_deref();
    Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some(
                wish.filter(|wish| !wish.is_empty())
                    .unwrap_or("NodePort")
                    .to_owned(),
            ),
            ports: Some(vec![port()]),
            selector: Some(presentation.identity()),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// The Service without selector through which an Ingress controller reaches the operator.
pub fn direct_service(namespace: &str) -> Service {
    let mut metadata = direct_metadata(namespace, DIRECT_NAME.to_owned());
    metadata.annotations = Some(owned_map([("auth.istio.io/8089", "NONE")]));
    Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            ports: Some(vec![port()]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// Points the Service of `Direct` mode at the operator's own solver port. One slice an address family,
/// because the family of a slice cannot be changed.
pub fn direct_endpoint_slice(namespace: &str, operator: SocketAddr) -> EndpointSlice {
    let family = if operator.is_ipv4() { "IPv4" } else { "IPv6" };
    let name = format!("{DIRECT_NAME}-{}", family.to_ascii_lowercase());
    let mut metadata = direct_metadata(namespace, name);
    metadata.labels.get_or_insert_default().extend(owned_map([
        ("kubernetes.io/service-name", DIRECT_NAME),
        ("endpointslice.kubernetes.io/managed-by", MANAGER),
    ]));
    EndpointSlice {
        metadata,
        address_type: family.to_owned(),
        endpoints: vec![Endpoint {
            addresses: vec![operator.ip().to_string()],
            conditions: Some(EndpointConditions {
                ready: Some(true),
                ..EndpointConditions::default()
            }),
            ..Endpoint::default()
        }],
        ports: Some(vec![EndpointPort {
            name: Some("http".to_owned()),
            port: Some(i32::from(operator.port())),
            protocol: Some("TCP".to_owned()),
            app_protocol: None,
        }]),
    }
}

fn port() -> ServicePort {
    ServicePort {
        name: Some("http".to_owned()),
        port: i32::from(PORT),
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::Int(i32::from(PORT))),
        ..ServicePort::default()
    }
}

fn direct_metadata(namespace: &str, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(namespace.to_owned()),
        labels: Some(owned_map([
            (MANAGED_BY_LABEL, MANAGER),
            (HTTP01_SOLVER_LABEL, TRUE),
        ])),
        ..ObjectMeta::default()
    }
}
