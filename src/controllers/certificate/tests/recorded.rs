//! The signing requests of a real cert-manager, made again from the same spec and key.

use std::collections::BTreeMap;

use der::{Any, Decode};
use k8s_openapi::api::core::v1::Secret;
use serde_json::Value;

use super::authority::read_key;
use crate::api::{Certificate, CertificateRequest, labels};
use crate::controllers::certificate::request::Wanted;
use crate::pki::{CertificateSigningRequest, build_request};

const READY: &str = include_str!("../../../../tests/fixtures/cert-manager-1.21.1/ready.json");

fn named<T: serde::de::DeserializeOwned>(
    kind: &str,
    name: impl Fn(&Value) -> Value,
) -> BTreeMap<String, T> {
    let all: Value = serde_json::from_str(READY).unwrap();
    let items = all["items"].as_array().unwrap().iter();
    let found = items.filter(|item| item["kind"] == kind);
    found
        .filter_map(|item| {
            let name = name(item).as_str()?.to_owned();
            Some((name, serde_json::from_value(item.clone()).unwrap()))
        })
        .collect()
}

/// What is signed; the signature of an ECDSA key is another each time.
fn body(request: &[u8]) -> Any {
    let csr = CertificateSigningRequest::parse_pem(request).unwrap();
    Vec::<Any>::from_der(csr.der()).unwrap().remove(0)
}

#[test]
fn requests_are_those_of_cert_manager_byte_for_byte() {
    let own = |item: &Value| item["metadata"]["name"].clone();
    let certificates: BTreeMap<String, Certificate> = named("Certificate", own);
    let secrets: BTreeMap<String, Secret> = named("Secret", own);
    let requests: BTreeMap<String, CertificateRequest> = named("CertificateRequest", |item| {
        item["metadata"]["annotations"][labels::CERTIFICATE_NAME_ANNOTATION].clone()
    });
    let mut compared = Vec::new();
    for (name, certificate) in &certificates {
        let (Ok(wanted), Some(request)) = (Wanted::try_from(&certificate.spec), requests.get(name))
        else {
            continue;
        };
        let Some(key) = secrets
            .get(&certificate.spec.secret_name)
            .and_then(read_key)
        else {
            continue;
        };
        let theirs = &request.spec.request.0;
        let csr = CertificateSigningRequest::parse_pem(theirs).unwrap();
        if csr.public_key_der() != key.public_key_der() {
            // twin-b: the Secret is that of twin-a.
            continue;
        }
        let ours = build_request(&wanted.params, &key).unwrap();
        assert_eq!(body(ours.as_bytes()), body(theirs), "{name}");
        compared.push(name.as_str());
    }
    for name in ["every-name", "intermediate", "literal", "rsa-4096-pkcs8"] {
        assert!(compared.contains(&name), "{name} in {compared:?}");
    }
    assert!(compared.len() >= 16, "{compared:?}");
}
