//! The ACME server of Vault's PKI engine: a base URL of its own, headers that an administrator has to allow, validations
//! in the background that it repeats by itself, external account bindings that are good for one account.

use std::sync::OnceLock;

use anyhow::{Context, Result};
use lab::{Lab, Vault};
use serde_json::{Value, json};

use super::{Server, issuer_says, keeps_its_key, revised, revoke};
use crate::cluster;
use crate::support::{Cluster, DEADLINE, certificate};

const PORT: u16 = 8200;

fn shared(lab: &Lab) -> &'static Vault {
    static VAULT: OnceLock<Vault> = OnceLock::new();
    VAULT.get_or_init(|| {
        let mut vault = Vault::start(lab, PORT).expect("Vault starts");
        vault.init(lab).expect("it can be initialized");
        vault.unseal(lab).expect("it can be unsealed");
        vault
    })
}

/// A root and an intermediate that speaks ACME, with this policy for external account bindings.
fn engine(cluster: &Cluster, name: &str, eab_policy: &str) -> Result<Server> {
    let lab = &cluster.lab;
    let vault = shared(lab);
    let post = |path: String, body: Value| vault.call(lab, "POST", &path, &body);
    let ec = |name: &str| json!({ "common_name": name, "key_type": "ec", "key_bits": 256, "ttl": "87600h" });
    let root = format!("{name}-root");
    for mount in [&root, name] {
        let long = json!({ "type": "pki", "config": { "max_lease_ttl": "87600h" } });
        post(format!("sys/mounts/{mount}"), long)?;
    }
    let pem = |made: &Value, field: &str| {
        let text = made["data"][field].as_str();
        text.map(str::to_owned).with_context(|| field.to_owned())
    };
    let root_made = post(format!("{root}/root/generate/internal"), ec("acme root"))?;
    let request = post(format!("{name}/intermediate/generate/internal"), ec("acme"))?;
    let request = json!({ "csr": pem(&request, "csr")?, "ttl": "43800h" });
    let signed = post(format!("{root}/root/sign-intermediate"), request)?;
    let root = pem(&root_made, "certificate")?;
    let chain = json!({ "certificate": pem(&signed, "certificate")? + "\n" + &root });
    post(format!("{name}/intermediate/set-signed"), chain)?;
    let base = format!("{}/v1/{name}", vault.url);
    post(format!("{name}/config/cluster"), json!({ "path": base }))?;
    let acme = json!({ "enabled": true, "eab_policy": eab_policy, "dns_resolver": format!("{}:53", lab::ADDRESS) });
    post(format!("{name}/config/acme"), acme)?;
    Ok(Server {
        directory: format!("{base}/acme/directory"),
        root,
    })
}

/// Let the answers of an engine keep what Vault would take off.
fn allow_headers(lab: &Lab, name: &str) -> Result<()> {
    let headers = [
        "Replay-Nonce",
        "Location",
        "Link",
        "Retry-After",
        "Last-Modified",
    ];
    let tuned = json!({ "allowed_response_headers": headers });
    let path = format!("sys/mounts/{name}/tune");
    shared(lab).call(lab, "POST", &path, &tuned).map(drop)
}

/// When the CA has revoked this serial number; 0 for never.
fn revoked_at(lab: &Lab, name: &str, serial: &str) -> Result<u64> {
    let serial = if serial.len().is_multiple_of(2) {
        serial.to_owned()
    } else {
        format!("0{serial}")
    };
    let pairs: Vec<&str> = serial
        .as_bytes()
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).expect("hex"))
        .collect();
    let path = format!("{name}/cert/{}", pairs.join("-"));
    let record = shared(lab).call(lab, "GET", &path, &Value::Null)?;
    record["data"]["revocation_time"].as_u64().context("a time")
}

#[test]
fn the_life_of_a_certificate() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("by-vault")?;
    let server = engine(cluster, "life", "not-required")?;
    server.serves(&namespace, "")?;
    issuer_says(&namespace, "no Replay-Nonce from newNonce")?;
    allow_headers(&cluster.lab, "life")?;
    server.issues_and_renews(&namespace)?;
    for (name, reason, signer) in [
        ("site", "superseded", "Account"),
        ("wild", "keyCompromise", "CertificateKey"),
    ] {
        let serial = revoke(&namespace, name, reason, signer)?;
        assert_ne!(revoked_at(&cluster.lab, "life", &serial)?, 0);
        revised(&namespace, name, 3)?;
        let serial = namespace.serial(name)?;
        assert_eq!(revoked_at(&cluster.lab, "life", &serial)?, 0);
    }
    // It names the resource in its directory, and does not have it.
    keeps_its_key(&namespace, "404")
}

#[test]
fn an_account_that_needs_a_binding() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let lab = &cluster.lab;
    let namespace = cluster.namespace("by-bound-vault")?;
    let server = engine(cluster, "bound", "always-required")?;
    allow_headers(lab, "bound")?;
    server.serves(&namespace, "")?;
    issuer_says(&namespace, "externalAccountRequired")?;
    let made = shared(lab).call(lab, "POST", "bound/acme/new-eab", &json!({}))?;
    let text = |field: &str| made["data"][field].as_str().context("a binding");
    let (id, key) = (text("id")?, text("key")?);
    namespace.apply(&format!(
        "{{apiVersion: v1, kind: Secret, metadata: {{name: eab}}, stringData: {{key: {key}}}}}"
    ))?;
    let binding =
        format!(", externalAccountBinding: {{keyID: {id}, keySecretRef: {{name: eab, key: key}}}}");
    server.serves(&namespace, &binding)?;
    namespace.apply(&certificate("site", "ca", "bound.example.com", ""))?;
    namespace.ready("site", DEADLINE)?;
    namespace.verify("site", &server.root)?;
    let log = cluster.operator_log()?;
    assert!(!log.contains(key));
    Ok(())
}
