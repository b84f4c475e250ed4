#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::super::ingress::ingress;
use super::super::pod::pod;
use super::super::service::{direct_endpoint_slice, direct_service, service};
use super::{Challenge, IngressSolver, Mode, Presentation, SolverSettings};

fn solver(spec: Value) -> IngressSolver {
    serde_json::from_value(spec).unwrap()
}

fn presentation(solver: &IngressSolver) -> Presentation<'_> {
    Presentation {
        namespace: "shop",
        challenge_name: "www-1-2-3",
        challenge_uid: "abc",
        dns_name: "www.example.com",
        token: "tok-1",
        key: "tok-1.print",
        solver,
    }
}

fn json_of<T: serde::Serialize>(object: &T) -> Value {
    serde_json::to_value(object).unwrap()
}

fn labels() -> Value {
    json!({
        // Python: zlib.adler32 of the two texts.
        "acme.cert-manager.io/http-domain": "810681837",
        "acme.cert-manager.io/http-token": "97583533",
        "acme.cert-manager.io/http01-solver": "true",
    })
}

fn metadata(annotations: &Value) -> Value {
    json!({
        // printf abc | sha256sum
        "name": "cm-acme-http-solver-ba7816bf8f",
        "namespace": "shop",
        "labels": labels(),
        "annotations": annotations,
        "ownerReferences": [{
            "apiVersion": "acme.cert-manager.io/v1",
            "kind": "Challenge",
            "name": "www-1-2-3",
            "uid": "abc",
            "controller": true,
            "blockOwnerDeletion": true,
        }],
    })
}

#[test]
fn the_pod_is_the_contracts() {
    let solver = IngressSolver::default();
    let settings = SolverSettings {
        image: "registry.example/everleaf:1".to_owned(),
        ..SolverSettings::default()
    };
    let expected = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata(&json!({
            "sidecar.istio.io/inject": "false",
            "cluster-autoscaler.kubernetes.io/safe-to-evict": "true",
        })),
        "spec": {
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "restartPolicy": "OnFailure",
            "nodeSelector": { "kubernetes.io/os": "linux" },
            "securityContext": {
                "runAsNonRoot": true,
                "seccompProfile": { "type": "RuntimeDefault" },
            },
            "containers": [{
                "name": "acmesolver",
                "image": "registry.example/everleaf:1",
                "imagePullPolicy": "IfNotPresent",
                "args": ["solver", "--listen-port=8089"],
                "env": [
                    { "name": "ACME_CHALLENGE_DOMAIN", "value": "www.example.com" },
                    { "name": "ACME_CHALLENGE_TOKEN", "value": "tok-1" },
                    { "name": "ACME_CHALLENGE_KEY", "value": "tok-1.print" },
                ],
                "ports": [{ "name": "http", "containerPort": 8089 }],
                "resources": {
                    "requests": { "cpu": "10m", "memory": "64Mi" },
                    "limits": { "cpu": "100m", "memory": "64Mi" },
                },
                "securityContext": {
                    "readOnlyRootFilesystem": true,
                    "allowPrivilegeEscalation": false,
                    "capabilities": { "drop": ["ALL"] },
                },
            }],
        },
    });
    assert_eq!(json_of(&pod(&presentation(&solver), &settings)), expected);
}

#[test]
fn flags_reach_the_pod_and_extra_labels_never_replace_identity() {
    let solver = IngressSolver::default();
    let extra = [
        ("team", "edge"),
        ("acme.cert-manager.io/http01-solver", "no"),
    ];
    let settings = SolverSettings {
        run_as_non_root: false,
        runtime_class_name: Some("gvisor".to_owned()),
        extra_labels: super::owned_map(extra),
        ..SolverSettings::default()
    };
    let mut expected = labels();
    expected["team"] = json!("edge");
    let presentation = presentation(&solver);
    let pod = json_of(&pod(&presentation, &settings));
    assert_eq!(pod["metadata"]["labels"], expected);
    assert_eq!(pod["spec"]["runtimeClassName"], "gvisor");
    assert_eq!(pod["spec"]["securityContext"]["runAsNonRoot"], false);

    let service = json_of(&service(&presentation, &settings));
    assert_eq!(service["metadata"]["labels"], expected);
    assert_eq!(service["spec"]["selector"], labels());
    let ingress = json_of(&ingress(&presentation, &settings, "s"));
    assert_eq!(ingress["metadata"]["labels"], expected);
}

#[test]
fn the_pod_template_is_merged_by_the_rules() {
    let solver = solver(json!({ "podTemplate": {
        "metadata": {
            "labels": { "team": "shop", "acme.cert-manager.io/http01-solver": "mine" },
            "annotations": { "sidecar.istio.io/inject": "true", "example.com/a": "b" },
        },
        "spec": {
            "nodeSelector": { "kubernetes.io/os": "linux", "role": "edge" },
            "tolerations": [{ "key": "edge", "operator": "Exists" }],
            "imagePullSecrets": [{ "name": "registry" }],
            "affinity": { "nodeAffinity": {} },
            "priorityClassName": "high",
            "serviceAccountName": "solver",
            "securityContext": { "runAsUser": 1000, "fsGroup": 7 },
            "resources": { "limits": { "cpu": "1" }, "requests": { "ephemeral-storage": "1Mi" } },
        },
    }}));
    let pod = json_of(&pod(&presentation(&solver), &SolverSettings::default()));
    let (metadata, spec) = (&pod["metadata"], &pod["spec"]);
    assert_eq!(metadata["labels"]["team"], "shop");
    assert_eq!(
        metadata["labels"]["acme.cert-manager.io/http01-solver"],
        "mine"
    );
    let annotations = json!({
        "sidecar.istio.io/inject": "true",
        "cluster-autoscaler.kubernetes.io/safe-to-evict": "true",
        "example.com/a": "b",
    });
    assert_eq!(metadata["annotations"], annotations);
    let nodes = json!({ "kubernetes.io/os": "linux", "role": "edge" });
    assert_eq!(spec["nodeSelector"], nodes);
    assert_eq!(
        spec["tolerations"],
        json!([{ "key": "edge", "operator": "Exists" }])
    );
    assert_eq!(spec["imagePullSecrets"], json!([{ "name": "registry" }]));
    assert_eq!(spec["affinity"], json!({ "nodeAffinity": {} }));
    assert_eq!(spec["priorityClassName"], "high");
    assert_eq!(spec["serviceAccountName"], "solver");
    assert_eq!(
        spec["securityContext"],
        json!({ "runAsUser": 1000, "fsGroup": 7 })
    );
    let resources = json!({
        "requests": { "cpu": "10m", "memory": "64Mi", "ephemeral-storage": "1Mi" },
        "limits": { "cpu": "1", "memory": "64Mi" },
    });
    assert_eq!(spec["containers"][0]["resources"], resources);
    assert_eq!(spec["automountServiceAccountToken"], false);
}

#[test]
fn the_service_is_the_contracts() {
    for (wish, expected) in [
        (json!({}), "NodePort"),
        (json!({ "serviceType": "" }), "NodePort"),
        (json!({ "serviceType": "ClusterIP" }), "ClusterIP"),
    ] {
        let solver = solver(wish);
        let expected = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata(&json!({ "auth.istio.io/8089": "NONE" })),
            "spec": {
                "type": expected,
                "ports": [{ "name": "http", "port": 8089, "protocol": "TCP", "targetPort": 8089 }],
                "selector": labels(),
            },
        });
        let service = service(&presentation(&solver), &SolverSettings::default());
        assert_eq!(json_of(&service), expected);
    }
}

#[test]
fn the_ingress_is_the_contracts() {
    let solver = IngressSolver::default();
    let expected = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": metadata(&json!({
            "nginx.ingress.kubernetes.io/whitelist-source-range": "0.0.0.0/0,::/0",
        })),
        "spec": { "rules": [{
            "host": "www.example.com",
            "http": { "paths": [{
                "path": "/.well-known/acme-challenge/tok-1",
                "pathType": "Exact",
                "backend": { "service": { "name": "backend", "port": { "number": 8089 } } },
            }] },
        }] },
    });
    let ingress = ingress(
        &presentation(&solver),
        &SolverSettings::default(),
        "backend",
    );
    assert_eq!(json_of(&ingress), expected);
}

#[test]
fn class_template_and_gate_shape_the_ingress() {
    let whitelist = "nginx.ingress.kubernetes.io/whitelist-source-range";
    let open = "0.0.0.0/0,::/0";
    let cases = [
        (
            json!({ "class": "nginx" }),
            json!({ whitelist: open, "kubernetes.io/ingress.class": "nginx" }),
        ),
        (
            json!({ "ingressClassName": "traefik" }),
            json!({ whitelist: open }),
        ),
        (
            json!({ "ingressTemplate": { "metadata": { "annotations": { "a": "b" } } } }),
            json!({ whitelist: open, "a": "b" }),
        ),
        (
            json!({ "ingressTemplate": { "metadata": { "annotations": { whitelist: "10.0.0.0/8" } } } }),
            json!({ whitelist: "10.0.0.0/8" }),
        ),
        (
            json!({ "ingressTemplate": { "metadata": { "annotations": { "example.com/whitelist-source-range": "x" } } } }),
            json!({ "example.com/whitelist-source-range": "x" }),
        ),
    ];
    for (wish, annotations) in cases {
        let solver = solver(wish);
        let settings = SolverSettings {
            exact_path_type: false,
            ..SolverSettings::default()
        };
        let ingress = json_of(&ingress(&presentation(&solver), &settings, "backend"));
        assert_eq!(ingress["metadata"]["annotations"], annotations);
        let class = ingress["spec"].get("ingressClassName").cloned();
        assert_eq!(class, solver.ingress_class_name.map(Value::from));
        let path_type = ingress.pointer("/spec/rules/0/http/paths/0/pathType");
        assert_eq!(path_type.unwrap(), "ImplementationSpecific");
    }
}

#[test]
fn an_ip_identifier_has_a_rule_without_host() {
    let solver = IngressSolver::default();
    for dns_name in ["192.0.2.7", "2001:db8::7"] {
        let presentation = Presentation {
            dns_name,
            ..presentation(&solver)
        };
        let ingress = json_of(&ingress(&presentation, &SolverSettings::default(), "s"));
        assert_eq!(ingress["spec"]["rules"][0].get("host"), None);
    }
}

#[test]
fn direct_mode_shares_a_service_without_selector_and_a_slice_a_family() {
    let labels = json!({
        "app.kubernetes.io/managed-by": "everleaf",
        "acme.cert-manager.io/http01-solver": "true",
    });
    let service = json_of(&direct_service("shop"));
    assert_eq!(service["metadata"]["name"], "cm-acme-http-solver-direct");
    assert_eq!(service["metadata"]["labels"], labels);
    assert_eq!(service["metadata"].get("ownerReferences"), None);
    assert_eq!(service["spec"].get("selector"), None);
    assert_eq!(service["spec"]["type"], "ClusterIP");

    for (address, family, name) in [
        ("10.0.0.7", "IPv4", "cm-acme-http-solver-direct-ipv4"),
        ("2001:db8::7", "IPv6", "cm-acme-http-solver-direct-ipv6"),
    ] {
        let expected = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": name,
                "namespace": "shop",
                "labels": {
                    "app.kubernetes.io/managed-by": "everleaf",
                    "acme.cert-manager.io/http01-solver": "true",
                    "kubernetes.io/service-name": "cm-acme-http-solver-direct",
                    "endpointslice.kubernetes.io/managed-by": "everleaf",
                },
            },
            "addressType": family,
            "endpoints": [{ "addresses": [address], "conditions": { "ready": true } }],
            "ports": [{ "name": "http", "port": 9000, "protocol": "TCP" }],
        });
        let operator = SocketAddr::new(address.parse().unwrap(), 9000);
        let slice = direct_endpoint_slice("shop", operator);
        assert_eq!(json_of(&slice), expected);
    }
}

#[test]
fn a_stored_challenge_becomes_a_presentation() {
    let challenge = |solver: Value, uid: Option<&str>| -> Challenge {
        let mut challenge = json!({
            "apiVersion": "acme.cert-manager.io/v1",
            "kind": "Challenge",
            "metadata": { "name": "www-1-2-3", "namespace": "shop" },
            "spec": {
                "authorizationURL": "https://ca.example/authz/1",
                "dnsName": "www.example.com",
                "issuerRef": { "name": "ca" },
                "key": "tok-1.print",
                "solver": solver,
                "token": "tok-1",
                "type": "HTTP-01",
                "url": "https://ca.example/chall/1",
            },
        });
        if let Some(uid) = uid {
            challenge["metadata"]["uid"] = json!(uid);
        }
        serde_json::from_value(challenge).unwrap()
    };
    let stored = challenge(json!({ "http01": { "ingress": {} } }), Some("abc"));
    let solver = IngressSolver::default();
    assert!(Presentation::of(&stored) == Some(presentation(&solver)));
    assert!(Presentation::of(&challenge(json!({ "http01": { "ingress": {} } }), None)).is_none());
    assert!(Presentation::of(&challenge(json!({ "http01": {} }), Some("abc"))).is_none());
    assert!(Presentation::of(&challenge(json!({}), Some("abc"))).is_none());
}

#[test]
fn debug_shows_neither_token_nor_key() {
    let solver = IngressSolver::default();
    let text = format!("{:?}", presentation(&solver));
    assert!(
        !text.contains("tok-1") && text.contains("www.example.com"),
        "{text}"
    );
}

#[test]
fn the_solver_decides_the_mode_before_the_flag() {
    let cases = [
        (json!({}), Mode::Direct, Mode::Direct),
        (json!({}), Mode::Pod, Mode::Pod),
        (json!({ "mode": "Pod" }), Mode::Direct, Mode::Pod),
        (json!({ "mode": "Direct" }), Mode::Pod, Mode::Direct),
        (json!({ "mode": "Other" }), Mode::Direct, Mode::Direct),
    ];
    for (wish, flag, expected) in cases {
        assert_eq!(Mode::of(&solver(wish), flag), expected);
    }
    assert!("direct".parse::<Mode>().is_err());
}
