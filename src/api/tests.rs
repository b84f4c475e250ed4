#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use kube::Resource;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::meta::{CLUSTER_ISSUER_KIND, Sensitive};
use super::{
    Certificate, CertificateRequest, Challenge, ClusterIssuer, Issuer, IssuerReference, Order,
    fixtures, labels,
};

/// Reads all recorded objects of a kind and writes them back; gives their number.
fn survive<K: Resource<DynamicType = ()> + DeserializeOwned + Serialize>() -> usize {
    let recorded = fixtures::raw::<K>();
    for before in &recorded {
        let object: K = serde_json::from_value(before.clone()).unwrap();
        let after = serde_json::to_value(&object).unwrap();
        for part in ["apiVersion", "kind", "spec", "status"] {
            assert_eq!(after.get(part), before.get(part), "{}", before["metadata"]);
        }
    }
    recorded.len()
}

#[test]
fn recorded_objects_survive_reading_and_writing() {
    assert_eq!(survive::<Certificate>(), 24);
    assert_eq!(survive::<CertificateRequest>(), 23);
    assert_eq!(survive::<Issuer>(), 4);
    assert_eq!(survive::<ClusterIssuer>(), 1);
    assert_eq!(survive::<Order>(), 3);
    assert_eq!(survive::<Challenge>(), 2);
}

/// An object of a kind with that spec.
fn with_spec<K: Resource<DynamicType = ()>>(spec: &Value) -> Value {
    json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": "x", "namespace": "y"},
        "spec": spec,
    })
}

#[test]
fn an_absent_spec_reads_as_an_empty_one() {
    let mut object = with_spec::<Certificate>(&json!({}));
    object.as_object_mut().unwrap().remove("spec");
    let certificate: Certificate = serde_json::from_value(object.clone()).unwrap();
    assert_eq!(certificate.spec, super::CertificateSpec::default());
    let request: CertificateRequest = serde_json::from_value(object.clone()).unwrap();
    assert_eq!(request.spec, super::CertificateRequestSpec::default());

    // The schema requires it of the others, so this cannot come from the API server.
    assert!(serde_json::from_value::<Order>(object).is_err());
}

#[test]
fn values_and_fields_of_newer_versions_can_be_read() {
    let certificate: Certificate = serde_json::from_value(with_spec::<Certificate>(&json!({
        "secretName": "s",
        "issuerRef": {"name": "i", "shard": 3},
        "privateKey": {"algorithm": "ML-DSA", "rotationPolicy": "Sometimes"},
        "usages": ["time travel"],
        "future": {"a": 1},
    })))
    .unwrap();
    let key = certificate.spec.private_key.unwrap();
    assert_eq!(key.algorithm.as_deref(), Some("ML-DSA"));
    assert_eq!(certificate.spec.usages.unwrap(), ["time travel"]);
}

#[test]
fn absent_and_empty_stay_distinct() {
    for spec in [
        json!({"secretName": "s", "issuerRef": {"name": "i"}}),
        json!({
            "secretName": "s",
            "issuerRef": {"name": "i", "kind": "", "group": ""},
            "dnsNames": [],
            "usages": [],
            "commonName": "",
            "isCA": false,
            "revisionHistoryLimit": 0,
            "secretTemplate": {"labels": {}},
            "keystores": {},
            "renewal": {"windows": []},
        }),
    ] {
        let object = with_spec::<Certificate>(&spec);
        let certificate: Certificate = serde_json::from_value(object.clone()).unwrap();
        assert_eq!(serde_json::to_value(&certificate.spec).unwrap(), spec);
    }
}

#[test]
fn base64_is_read_as_leniently_as_the_api_server_reads_it() {
    for (text, bytes) in [("YQ==", "a"), ("YR==", "a"), ("YWJj", "abc")] {
        let request: CertificateRequest =
            serde_json::from_value(with_spec::<CertificateRequest>(&json!({
                "issuerRef": {"name": "i"},
                "request": text,
            })))
            .unwrap();
        assert_eq!(request.spec.request.0, bytes.as_bytes());
        let issuer: Issuer = serde_json::from_value(with_spec::<Issuer>(&json!({"acme": {
            "server": "s",
            "privateKeySecretRef": {"name": "k"},
            "caBundle": text,
        }})))
        .unwrap();
        let bundle = issuer.spec.acme.unwrap().ca_bundle.unwrap();
        assert_eq!(bundle.0, bytes.as_bytes());
    }
}

#[test]
fn quantities_may_be_numbers() {
    let issuer: Issuer = serde_json::from_value(with_spec::<Issuer>(&json!({"acme": {
        "server": "s",
        "privateKeySecretRef": {"name": "k"},
        "solvers": [{"http01": {"ingress": {"podTemplate": {"spec": {"resources": {
            "limits": {"cpu": 1, "memory": "64Mi", "example.com/x": 0.5},
        }}}}}}],
    }})))
    .unwrap();
    let json = serde_json::to_value(&issuer.spec).unwrap();
    assert_eq!(
        json.pointer("/acme/solvers/0/http01/ingress/podTemplate/spec/resources/limits"),
        Some(&json!({"cpu": "1", "memory": "64Mi", "example.com/x": "0.5"}))
    );
}

#[test]
fn free_json_of_a_webhook_solver_is_kept() {
    let spec = json!({"acme": {
        "server": "https://acme.example.com",
        "privateKeySecretRef": {"name": "k"},
        "solvers": [{"dns01": {"webhook": {
            "groupName": "g",
            "solverName": "s",
            "config": {"list": [1, 2.5, null, {"deep": true}], "text": "<&>"},
        }}}],
    }});
    let issuer: Issuer = serde_json::from_value(with_spec::<Issuer>(&spec)).unwrap();
    assert_eq!(serde_json::to_value(&issuer.spec).unwrap(), spec);
    let cluster: ClusterIssuer = serde_json::from_value(with_spec::<ClusterIssuer>(&spec)).unwrap();
    assert_eq!(cluster.spec.0, issuer.spec);
}

#[test]
fn passwords_are_not_shown() {
    let certificate: Certificate = serde_json::from_value(with_spec::<Certificate>(&json!({
        "secretName": "s",
        "issuerRef": {"name": "i"},
        "keystores": {
            "jks": {"create": true, "password": "geheim"},
            "pkcs12": {"create": true, "password": "geheim"},
        },
    })))
    .unwrap();
    assert!(!format!("{certificate:?}").contains("geheim"));
    let jks = certificate.spec.keystores.unwrap().jks.unwrap();
    assert_eq!(jks.password, Some(Sensitive("geheim".to_owned())));
}

fn reference(name: &str, kind: Option<&str>, group: Option<&str>) -> IssuerReference {
    IssuerReference {
        name: name.to_owned(),
        kind: kind.map(str::to_owned),
        group: group.map(str::to_owned),
    }
}

#[test]
fn issuer_references_are_compared_by_what_they_mean() {
    let plain = reference("a", None, None);
    assert_eq!(plain.kind_or_default(), "Issuer");
    assert_eq!(plain.group_or_default(), labels::GROUP);
    for same in [
        reference("a", Some(""), Some("")),
        reference("a", Some("Issuer"), None),
        reference("a", None, Some("cert-manager.io")),
    ] {
        assert!(plain.is_same(&same) && same.is_same(&plain), "{same:?}");
    }
    for other in [
        reference("b", None, None),
        reference("a", Some(CLUSTER_ISSUER_KIND), None),
        reference("a", None, Some("example.com")),
    ] {
        assert!(!plain.is_same(&other), "{other:?}");
    }
}
