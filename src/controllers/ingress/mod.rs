//! stub until the shim lands
use super::action::Plan;
use super::facts::IngressFact;
use super::key::Key;
use super::reads::Reader;
use std::sync::Arc;
#[derive(Debug, Clone)]
pub struct Settings {
    pub default_issuer_name: String,
    pub default_issuer_kind: String,
    pub default_issuer_group: String,
    pub auto_annotations: Vec<String>,
    pub extra_annotations: Vec<String>,
}
pub struct Observation {
    pub ingress: Arc<IngressFact>,
}
pub fn observe(reader: &Reader, key: &Key, _: &Settings) -> Option<Observation> {
    Some(Observation {
        ingress: reader.store.ingress(&key.namespace, &key.name)?,
    })
}
pub fn plan(_: &Observation, _: &Settings, _: jiff::Timestamp) -> Plan<std::convert::Infallible> {
    Plan::idle()
}
