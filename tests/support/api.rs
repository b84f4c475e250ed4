//! Where objects are in the API server: one GET costs a tenth of a kubectl.

use anyhow::{Context, Result};

const SERVER: &str = "https://10.244.0.1:6443";

const CORE: &str = "/api/v1";
const CERT_MANAGER: &str = "/apis/cert-manager.io/v1";
const ACME: &str = "/apis/acme.cert-manager.io/v1";
const EVERLEAF: &str = "/apis/everleaf.io/v1alpha1";
const NETWORKING: &str = "/apis/networking.k8s.io/v1";

/// Kind, group and version, plural.
const KINDS: [(&str, &str, &str); 16] = [
    ("certificate", CERT_MANAGER, "certificates"),
    ("certificaterequest", CERT_MANAGER, "certificaterequests"),
    ("certificaterevocation", EVERLEAF, "certificaterevocations"),
    ("challenge", ACME, "challenges"),
    (
        "endpointslice",
        "/apis/discovery.k8s.io/v1",
        "endpointslices",
    ),
    ("event", CORE, "events"),
    ("ingress", NETWORKING, "ingresses"),
    ("issuer", CERT_MANAGER, "issuers"),
    ("lease", "/apis/coordination.k8s.io/v1", "leases"),
    ("order", ACME, "orders"),
    (
        "orderedissuer",
        "/apis/everleaf.io/v1alpha1",
        "orderedissuers",
    ),
    ("pod", CORE, "pods"),
    ("resourcequota", CORE, "resourcequotas"),
    ("secret", CORE, "secrets"),
    ("service", CORE, "services"),
    ("configmap", CORE, "configmaps"),
];

/// The URL of an object, or with an empty name of the list.
pub fn url(namespace: &str, kind: &str, name: &str) -> Result<String> {
    let (_, group, plural) = KINDS
        .iter()
        .find(|(known, _, _)| *known == kind)
        .with_context(|| format!("kind {kind} is not in the table of tests/support/api.rs"))?;
    let base = format!("{SERVER}{group}/namespaces/{namespace}/{plural}");
    Ok(if name.is_empty() {
        base
    } else {
        format!("{base}/{name}")
    })
}
