//! acme2certifier: accounts by binding alone, profiles, renewal information, answers that say how long to wait.

use anyhow::{Context, Result};
use lab::PrivateCa;

use super::{Server, issuer_says, revised, revoke};
use crate::cluster;
use crate::support::{Cluster, DEADLINE};

/// base64url of 32 bytes, with the padding that the server itself does without.
const KEY: &str = "YW5kX2ZpbmFsbHlfdGhlX2xhc3RfaG1hY19rZXlfd2hpY2hfaXNfbG9uZ2VyX3RoYW4=";

const CONFIG: &str = "[EABhandler]
eab_handler_module: acme2certifier.eabhandlers.json_handler
key_file: {dir}/eab.json
[Order]
profiles: {\"short\": \"https://ca.example/short\"}
retry_after_timeout: 2
[Certificate]
retry_after: 2
[Renewalinfo]
retry_after_timeout: 60
";

fn server(cluster: &Cluster) -> Result<(PrivateCa, Server)> {
    let lab = &cluster.lab;
    let resolver = format!("[DEFAULT]\ndns_server_list: [\"{}\"]\n", lab::ADDRESS);
    let ca = lab.acme2certifier(9110, &(CONFIG.to_owned() + &resolver))?;
    let bindings = serde_json::json!({ "everleaf": KEY.trim_end_matches('=') });
    std::fs::write(ca.dir.join("eab.json"), bindings.to_string())?;
    let server = Server {
        directory: ca.directory.clone(),
        root: lab.acme_ca_pem()?,
    };
    Ok((ca, server))
}

#[test]
#[ignore = "the server is fetched: make nightly"]
fn the_life_of_a_certificate() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("by-python")?;
    let (ca, server) = server(cluster)?;
    server.serves(&namespace, "")?;
    issuer_says(&namespace, "externalAccountRequired")?;
    namespace.apply(&format!(
        "{{apiVersion: v1, kind: Secret, metadata: {{name: eab}}, stringData: {{key: {KEY}}}}}"
    ))?;
    server.serves(
        &namespace,
        ", email: ops@example.com, profile: short, externalAccountBinding: {keyID: everleaf, keySecretRef: {name: eab, key: key}}",
    )?;
    server.issues_and_renews(&namespace)?;

    let asked =
        |object: &serde_json::Value| object["status"]["acme"]["ari"]["suggestedWindow"].is_object();
    let object = namespace.until(DEADLINE, "certificate", "site", "asked for", asked)?;
    let start = object["status"]["acme"]["ari"]["suggestedWindow"]["start"].clone();
    assert!(start.is_string(), "{object}");

    let uri =
        |issuer: &serde_json::Value| issuer["status"]["acme"]["uri"].as_str().map(str::to_owned);
    let before = namespace.get("issuer", "ca")?;
    namespace.kubectl(&[
        "annotate",
        "issuer",
        "ca",
        "everleaf.io/rotate-account-key=now",
    ])?;
    let hash = |issuer: &serde_json::Value| issuer["status"]["acme"]["lastPrivateKeyHash"].clone();
    let after = namespace.until(DEADLINE, "issuer", "ca", "of another key", |issuer| {
        hash(issuer) != hash(&before)
    })?;
    assert_eq!(uri(&after), uri(&before), "the same account");

    for (name, reason, signer) in [
        ("site", "superseded", "Account"),
        // Who has a key has no binding for that.
        ("wild", "keyCompromise", "Account"),
    ] {
        let serial = revoke(&namespace, name, reason, signer)?;
        let list = std::fs::read(ca.dir.join("crl.pem")).context("its list")?;
        let list = cluster
            .openssl(&["crl", "-noout", "-text"], &list)?
            .to_lowercase();
        assert!(list.contains(&serial), "{serial}: {list}");
        revised(&namespace, name, 3)?;
    }
    assert!(!cluster.operator_log()?.contains(KEY.trim_end_matches('=')));
    Ok(())
}
