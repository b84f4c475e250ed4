//! Objects as YAML and as JSON.

use anyhow::{Context, Result};
use serde_json::Value;

/// The Issuer `self`.
pub const SELF_SIGNED: &str = "{apiVersion: cert-manager.io/v1, kind: Issuer, metadata: {name: self}, spec: {selfSigned: {}}}";

/// A Certificate in YAML. `rest` are further lines of its spec in flow style, comma-separated.
pub fn certificate(name: &str, issuer: &str, dns_name: &str, rest: &str) -> String {
    let comma = if rest.is_empty() { "" } else { ", " };
    format!(
        "{{apiVersion: cert-manager.io/v1, kind: Certificate, metadata: {{name: {name}}}, spec: {{secretName: {name}, \
         dnsNames: [{dns_name}], privateKey: {{algorithm: ECDSA}}, issuerRef: {{name: {issuer}}}{comma}{rest}}}}}"
    )
}

/// One entry of a Secret, decoded.
pub fn entry(secret: &Value, name: &str) -> Result<Vec<u8>> {
    use base64::Engine as _;
    let text = secret["data"][name]
        .as_str()
        .with_context(|| format!("no {name} in Secret {}", secret["metadata"]["name"]))?;
    Ok(base64::engine::general_purpose::STANDARD.decode(text)?)
}

/// The Ready condition; null without one.
pub fn ready_condition(object: &Value) -> Value {
    let all = object["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    all.into_iter()
        .find(|c| c["type"] == "Ready")
        .unwrap_or_default()
}

/// Ready for its current generation, and nothing under way.
pub fn is_ready(object: &Value) -> bool {
    let all = object["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let ready = ready_condition(object);
    let issuing = all
        .iter()
        .any(|c| c["type"] == "Issuing" && c["status"] == "True");
    ready["status"] == "True"
        && ready["observedGeneration"] == object["metadata"]["generation"]
        && !issuing
}
