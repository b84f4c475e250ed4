//! The recorded objects of a cert-manager 1.21.1, for tests.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use kube::Resource;
use serde::de::DeserializeOwned;
use serde_json::Value;

const LISTS: [&str; 3] = [
    include_str!("../../tests/fixtures/cert-manager-1.21.1/ready.json"),
    include_str!("../../tests/fixtures/cert-manager-1.21.1/acme-in-flight.json"),
    include_str!("../../tests/fixtures/cert-manager-1.21.1/acme-ready.json"),
];

/// All recorded objects of a kind, as JSON.
pub(super) fn raw<K: Resource<DynamicType = ()>>() -> Vec<Value> {
    LISTS
        .iter()
        .flat_map(|list| {
            let list: Value = serde_json::from_str(list).unwrap();
            list["items"].as_array().unwrap().clone()
        })
        .filter(|item| item["apiVersion"] == *K::api_version(&()) && item["kind"] == *K::kind(&()))
        .collect()
}

/// All recorded objects of a kind.
pub(super) fn all<K: Resource<DynamicType = ()> + DeserializeOwned>() -> Vec<K> {
    raw::<K>()
        .into_iter()
        .map(|item| serde_json::from_value(item).unwrap())
        .collect()
}
