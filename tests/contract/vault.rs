//! Issuers whose certificates a real Vault signs: each way to log in, what they say when it does not work, and that they
//! recover by themselves.

use std::sync::OnceLock;

use anyhow::{Context, Result};
use lab::{Lab, Vault};
use serde_json::{Value, json};

use crate::ca::{presented, says, says_within, verify};
use crate::support::{Cluster, DEADLINE, Namespace, certificate, is_ready, ready_condition};
use crate::{cluster, self_signed};

/// Of the Vault that the tests share; another one is at the next.
const PORT: u16 = 8200;

/// Ids of an `AppRole` that a test can know before there is a Vault.
const ROLE_ID: &str = "0c9bb8d5-everleaf-role";
const SECRET_ID: &str = "9f1cf0e7-everleaf-secret";

const WELL: (&str, &str) = ("VaultVerified", "Vault verified");

/// The Vault that most tests share, unsealed, with an engine in it.
fn shared(lab: &Lab) -> &'static Vault {
    static VAULT: OnceLock<Vault> = OnceLock::new();
    VAULT.get_or_init(|| {
        let mut vault = Vault::start(lab, PORT).expect("Vault starts");
        vault.init(lab).expect("it can be initialized");
        vault.unseal(lab).expect("it can be unsealed");
        engine(lab, &vault).expect("it can be set up");
        vault
    })
}

/// A root, an intermediate that signs at `pki/sign/app` below `example.com`, and who may: the policy `app`, and an `AppRole`
/// that has it.
fn engine(lab: &Lab, vault: &Vault) -> Result<()> {
    let post = |path: &str, body: Value| vault.call(lab, "POST", path, &body);
    let ec = |name: &str| json!({ "common_name": name, "key_type": "ec", "key_bits": 256, "ttl": "87600h" });
    for mount in ["root", "pki"] {
        let long = json!({ "type": "pki", "config": { "max_lease_ttl": "87600h" } });
        post(&format!("sys/mounts/{mount}"), long)?;
    }
    let root = post("root/root/generate/internal", ec("vault root"))?;
    let request = post(
        "pki/intermediate/generate/internal",
        ec("vault intermediate"),
    )?;
    let request = json!({ "csr": request["data"]["csr"], "ttl": "43800h" });
    let signed = post("root/root/sign-intermediate", request)?;
    let pem = |made: &Value| made["data"]["certificate"].as_str().map(str::to_owned);
    // With the root, so that Vault hands it out.
    let chain = [pem(&signed), pem(&root)].map(Option::unwrap_or_default);
    let chain = json!({ "certificate": chain.join("\n") });
    // Fetched again after a quarter of it; the first list is signed when the certificate is set.
    post("pki/config/crl", json!({ "expiry": "4m" }))?;
    post("pki/intermediate/set-signed", chain)?;
    let list = json!({ "crl_distribution_points": [format!("{}/v1/pki/crl", vault.url)] });
    post("pki/config/urls", list)?;
    let role = json!({ "allowed_domains": "example.com", "allow_subdomains": true, "max_ttl": "2160h",
        "key_type": "any", "require_cn": false, "allowed_uri_sans": "spiffe://*" });
    post("pki/roles/app", role)?;
    let policy = "path \"pki/sign/app\" { capabilities = [\"create\", \"update\"] }";
    post("sys/policies/acl/app", json!({ "policy": policy }))?;
    post("sys/auth/approle", json!({ "type": "approle" }))?;
    post("auth/approle/role/app", json!({ "token_policies": "app" }))?;
    post(
        "auth/approle/role/app/role-id",
        json!({ "role_id": ROLE_ID }),
    )?;
    let secret = json!({ "secret_id": SECRET_ID });
    post("auth/approle/role/app/custom-secret-id", secret)?;
    Ok(())
}

/// A token with the policy `app`.
fn token(lab: &Lab, vault: &Vault, ttl: &str) -> Result<String> {
    let asked = json!({ "policies": ["app"], "ttl": ttl, "explicit_max_ttl": ttl });
    let made = vault.call(lab, "POST", "auth/token/create", &asked)?;
    Ok(made["auth"]["client_token"]
        .as_str()
        .context("a token")?
        .to_owned())
}

/// Let service accounts log in: a role for each of `roles`, bound to the account `vault` of the namespace, and an audience.
fn kubernetes(
    namespace: &Namespace<'_>,
    vault: &Vault,
    mount: &str,
    roles: &[(&str, &str)],
) -> Result<()> {
    let lab = &namespace.cluster.lab;
    let post = |path: &str, body: Value| vault.call(lab, "POST", path, &body);
    namespace.kubectl(&["create", "serviceaccount", "reviewer"])?;
    let reviewer = format!("--serviceaccount={}:reviewer", namespace.name);
    let binding = format!("{}-reviewer", namespace.name);
    let role = "--clusterrole=system:auth-delegator";
    lab.kubectl(&["create", "clusterrolebinding", &binding, role, &reviewer])?;
    let jwt = namespace.kubectl(&["create", "token", "reviewer"])?;
    vault.register_kubernetes(lab)?;
    post(
        &format!("sys/auth/{mount}"),
        json!({ "type": "kubernetes" }),
    )?;
    let config = json!({
        "kubernetes_host": format!("https://{}:6443", lab::ADDRESS),
        "kubernetes_ca_cert": std::fs::read_to_string(lab.dir().join("pki/ca.crt"))?,
        "token_reviewer_jwt": jwt.trim(), "disable_local_ca_jwt": true,
    });
    post(&format!("auth/{mount}/config"), config)?;
    for (role, audience) in roles {
        role_for(namespace, vault, mount, role, audience)?;
    }
    Ok(())
}

fn role_for(
    namespace: &Namespace<'_>,
    vault: &Vault,
    mount: &str,
    role: &str,
    audience: &str,
) -> Result<()> {
    let bound = json!({ "bound_service_account_names": "vault", "bound_service_account_namespaces": namespace.name,
        "audience": audience, "token_policies": "app" });
    let path = format!("auth/{mount}/role/{role}");
    vault.call(&namespace.cluster.lab, "POST", &path, &bound)?;
    Ok(())
}

/// A Vault Issuer; `more` goes over its `spec.vault`.
fn issuer(cluster: &Cluster, name: &str, port: u16, more: &Value) -> Result<String> {
    let mut vault = json!({ "server": format!("https://{}:{port}", lab::ADDRESS), "path": "pki/sign/app",
        "caBundle": cluster.ca_bundle()? });
    for (field, value) in more.as_object().into_iter().flatten() {
        vault[field] = value.clone();
    }
    Ok(
        json!({ "apiVersion": "cert-manager.io/v1", "kind": "Issuer", "metadata": { "name": name },
        "spec": { "vault": vault } })
        .to_string(),
    )
}

fn secret(name: &str, entries: &Value) -> String {
    json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "stringData": entries }).to_string()
}

fn approle() -> Value {
    json!({ "auth": { "appRole": { "path": "approle", "roleId": ROLE_ID,
        "secretRef": { "name": "approle", "key": "secretId" } } } })
}

fn issue(namespace: &Namespace<'_>, name: &str, issuer: &str) -> Result<()> {
    namespace.apply(&certificate(
        name,
        issuer,
        &format!("{name}.example.com"),
        "",
    ))
}

/// Ask for another certificate, as cmctl does, and wait for it.
fn renew(namespace: &Namespace<'_>, name: &str) -> Result<()> {
    let old = namespace.ready(name, DEADLINE)?;
    let revision = old["status"]["revision"].as_u64().context("a revision")?;
    namespace.renew(name)?;
    namespace.until(DEADLINE, "certificate", name, "renewed", |object| {
        object["status"]["revision"] == revision + 1 && is_ready(object)
    })?;
    Ok(())
}

/// The certificate of a Secret holds, its chain is complete, and it can be had again.
fn issued_and_renewed(namespace: &Namespace<'_>, name: &str) -> Result<()> {
    namespace.ready(name, DEADLINE)?;
    verify(
        namespace,
        name,
        &format!("-verify_hostname {name}.example.com"),
    )?;
    assert_eq!(
        presented(namespace, name)?,
        2,
        "the intermediate, not the root"
    );
    let ca = namespace.secret_entry(name, "ca.crt")?;
    let root = namespace
        .cluster
        .openssl(&["x509", "-noout", "-subject"], &ca)?;
    assert!(root.contains("vault root"), "{root}");
    let old = namespace.secret_entry(name, "tls.crt")?;
    renew(namespace, name)?;
    verify(namespace, name, "")?;
    assert_ne!(namespace.secret_entry(name, "tls.crt")?, old);
    Ok(())
}

#[test]
fn by_token_and_by_app_role() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("vault-token")?;
    let vault = shared(&cluster.lab);
    let made = token(&cluster.lab, vault, "1h")?;
    namespace.apply(&secret("token", &json!({ "token": format!("{made}\n") })))?;
    namespace.apply(&secret("approle", &json!({ "secretId": SECRET_ID })))?;
    let ca = std::fs::read_to_string(cluster.lab.dir().join("pki/ca.crt"))?;
    namespace.apply(&secret("server-ca", &json!({ "ca.crt": ca })))?;
    let by_token = json!({ "auth": { "tokenSecretRef": { "name": "token" } }, "caBundle": null,
        "caBundleSecretRef": { "name": "server-ca" }, "serverName": "vault.internal" });
    for (name, more) in [("token", by_token), ("approle", approle())] {
        namespace.apply(&issuer(cluster, name, PORT, &more)?)?;
        says(&namespace, name, WELL.0, WELL.1)?;
        let site = format!("by-{name}");
        let rest = "duration: 48h, uris: ['spiffe://example/a'], ipAddresses: [10.0.0.7]";
        namespace.apply(&certificate(
            &site,
            name,
            &format!("{site}.example.com"),
            rest,
        ))?;
        issued_and_renewed(&namespace, &site)?;
        let text = namespace.x509(&site, &["-text"])?;
        for words in [
            "URI:spiffe://example/a",
            "IP Address:10.0.0.7",
            "vault intermediate",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        let two_days = namespace.x509(&site, &["-checkend", "180000"]);
        assert!(two_days.is_err(), "the role would give it a month");
    }
    let log = cluster.operator_log()?;
    assert!(!log.contains(&made) && !log.contains(SECRET_ID));
    Ok(())
}

#[test]
fn by_client_certificate() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("vault-cert")?;
    let vault = shared(&cluster.lab);
    // One of our own: what is in its Secret is what the issuer takes.
    namespace.apply(&self_signed("self"))?;
    let client = certificate(
        "client",
        "self",
        "client.example.com",
        "usages: [client auth, digital signature], commonName: client.example.com",
    );
    namespace.apply(&client)?;
    namespace.ready("client", DEADLINE)?;
    let pem = String::from_utf8(namespace.secret_entry("client", "tls.crt")?)?;
    let post = |path: &str, body: Value| vault.call(&cluster.lab, "POST", path, &body);
    post("sys/auth/tls", json!({ "type": "cert" }))?;
    post(
        "auth/tls/certs/app",
        json!({ "certificate": pem, "token_policies": "app" }),
    )?;
    let auth = |more: Value| {
        let mut auth = json!({ "mountPath": "/v1/auth/tls", "name": "app" });
        for (field, value) in more.as_object().into_iter().flatten() {
            auth[field] = value.clone();
        }
        json!({ "clientCertificate": auth })
    };
    let of_auth = json!({ "auth": auth(json!({ "secretName": "client" })) });
    let of_connection = json!({ "auth": auth(json!({})), "clientCertSecretRef": { "name": "client" },
        "clientKeySecretRef": { "name": "client" } });
    for (name, more) in [("auth", of_auth), ("connection", of_connection)] {
        namespace.apply(&issuer(cluster, name, PORT, &more)?)?;
        says(&namespace, name, WELL.0, WELL.1)?;
        let site = format!("cert-{name}");
        issue(&namespace, &site, name)?;
        issued_and_renewed(&namespace, &site)?;
    }
    let none = json!({ "auth": auth(json!({})) });
    namespace.apply(&issuer(cluster, "none", PORT, &none)?)?;
    says(&namespace, "none", "VaultError", "EL-1504")?;
    Ok(())
}

#[test]
fn by_service_account() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("vault-kubernetes")?;
    let vault = shared(&cluster.lab);
    kubernetes(
        &namespace,
        vault,
        "kubernetes",
        &[
            ("bound", "vault://vault-kubernetes/bound"),
            ("stored", "vault"),
            ("named", "mine"),
        ],
    )?;
    let account = |role: &str, audiences: Value| json!({ "auth": { "kubernetes": { "role": role, "serviceAccountRef": { "name": "vault", "audiences": audiences } } } });
    namespace.apply(&issuer(
        cluster,
        "bound",
        PORT,
        &account("bound", Value::Null),
    )?)?;
    // Nobody watches service accounts: it is asked for again.
    says(
        &namespace,
        "bound",
        "VaultError",
        "serviceaccounts \"vault\" not found",
    )?;
    says(&namespace, "bound", "VaultError", "EL-1506")?;
    namespace.kubectl(&["create", "serviceaccount", "vault"])?;
    says_within(2 * DEADLINE, &namespace, "bound", WELL)?;

    let jwt = namespace.kubectl(&["create", "token", "vault", "--audience=vault"])?;
    namespace.apply(&secret("jwt", &json!({ "token": jwt })))?;
    let stored = json!({ "auth": { "kubernetes": { "role": "stored", "mountPath": "/v1/auth/kubernetes",
        "secretRef": { "name": "jwt" } } } });
    namespace.apply(&issuer(cluster, "stored", PORT, &stored)?)?;
    namespace.apply(&issuer(
        cluster,
        "named",
        PORT,
        &account("named", json!(["mine"])),
    )?)?;
    for name in ["bound", "stored", "named"] {
        says(&namespace, name, WELL.0, WELL.1)?;
        let site = format!("by-{name}");
        issue(&namespace, &site, name)?;
        issued_and_renewed(&namespace, &site)?;
    }
    assert!(!cluster.operator_log()?.contains(jwt.trim()));

    // Another audience, and a role that does not exist yet.
    namespace.apply(&issuer(
        cluster,
        "other",
        PORT,
        &account("bound", Value::Null),
    )?)?;
    says(&namespace, "other", "VaultError", "invalid audience")?;
    namespace.apply(&issuer(
        cluster,
        "late",
        PORT,
        &account("late", Value::Null),
    )?)?;
    issue(&namespace, "by-late", "late")?;
    says(&namespace, "late", "VaultError", "invalid role name")?;
    says(&namespace, "late", "VaultError", "EL-1504")?;
    namespace.says(
        "by-late",
        &[
            "Issuer \"late\" is not ready",
            "invalid role name",
            "EL-1504",
        ],
        DEADLINE,
    )?;
    role_for(
        &namespace,
        vault,
        "kubernetes",
        "late",
        "vault://vault-kubernetes/late",
    )?;
    namespace.ready("by-late", 2 * DEADLINE)?;
    Ok(())
}

#[test]
fn a_cluster_issuer_takes_its_secrets_from_the_cluster_resource_namespace() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("vault-cluster")?;
    shared(&cluster.lab);
    let secret = secret("approle", &json!({ "secretId": SECRET_ID }));
    let of_cluster =
        issuer(cluster, "vault", PORT, &approle())?.replace("\"Issuer\"", "\"ClusterIssuer\"");
    cluster.lab.apply(&of_cluster)?;
    let yaml = certificate("site", "vault", "site.example.com", "");
    namespace.apply(&yaml.replace(
        "issuerRef: {name: vault}",
        "issuerRef: {name: vault, kind: ClusterIssuer}",
    ))?;
    namespace.says(
        "site",
        &[
            "secret \"approle\" not found in namespace \"kube-system\"",
            "EL-1506",
        ],
        DEADLINE,
    )?;
    cluster.existing("kube-system").apply(&secret)?;
    namespace.ready("site", DEADLINE)?;
    verify(&namespace, "site", "")
}

#[test]
fn a_token_that_ends_is_told_and_another_is_noticed() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("vault-expired")?;
    let vault = shared(&cluster.lab);
    let by_token = json!({ "auth": { "tokenSecretRef": { "name": "token", "key": "t" } } });
    namespace.apply(&issuer(cluster, "vault", PORT, &by_token)?)?;
    says(
        &namespace,
        "vault",
        "VaultError",
        "secret \"token\" not found",
    )?;
    namespace.apply(&secret("token", &json!({ "other": "x" })))?;
    says(&namespace, "vault", "VaultError", "no data for \"t\"")?;
    let states = namespace.watch("issuer", "vault")?;
    let brief = token(&cluster.lab, vault, "60s")?;
    namespace.apply(&secret("token", &json!({ "t": brief })))?;
    states.until_one(DEADLINE, "one that is well", |issuer| {
        let ready = ready_condition(issuer);
        ready["reason"] == WELL.0 && ready["message"] == WELL.1
    })?;
    let ended = ("VaultError", "invalid token");
    // It lives for a minute, and is looked at once a minute.
    says_within(3 * DEADLINE, &namespace, "vault", ended)?;
    says(&namespace, "vault", "VaultError", "EL-1505")?;
    issue(&namespace, "site", "vault")?;
    namespace.says(
        "site",
        &["Issuer \"vault\" is not ready", "EL-1505"],
        DEADLINE,
    )?;
    let good = token(&cluster.lab, vault, "1h")?;
    namespace.apply(&secret("token", &json!({ "t": good })))?;
    namespace.ready("site", DEADLINE)?;
    // One that is revoked is told by who needs it, and the request waits.
    vault.call(
        &cluster.lab,
        "POST",
        "auth/token/revoke",
        &json!({ "token": good }),
    )?;
    issue(&namespace, "next", "vault")?;
    namespace.says("next", &["EL-1505"], DEADLINE)?;
    says(&namespace, "vault", "VaultError", "EL-1505")?;
    let another = token(&cluster.lab, vault, "1h")?;
    namespace.apply(&secret("token", &json!({ "t": another })))?;
    namespace.ready("next", DEADLINE)?;
    let requests = namespace.list("certificaterequest")?;
    assert_eq!(requests.len(), 2, "one each: {requests:?}");
    Ok(())
}

#[test]
fn what_vault_refuses_is_the_end_of_a_request() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("vault-refused")?;
    shared(&cluster.lab);
    namespace.apply(&secret("approle", &json!({ "secretId": SECRET_ID })))?;
    for (name, path, host, words) in [
        (
            "domain",
            "pki/sign/app",
            "outside.test",
            ["not allowed by this role", "EL-1509"],
        ),
        (
            "policy",
            "pki/sign/other",
            "a.example.com",
            ["permission denied", "EL-1507"],
        ),
    ] {
        let mut more = approle();
        more["path"] = json!(path);
        namespace.apply(&issuer(cluster, name, PORT, &more)?)?;
        namespace.apply(&certificate(name, name, host, ""))?;
        let failed = namespace.until(
            DEADLINE,
            "certificaterequest",
            &format!("{name}-1"),
            "failed",
            |object| ready_condition(object)["reason"] == "Failed",
        )?;
        let message = ready_condition(&failed)["message"].to_string();
        assert!(
            message.starts_with("\"Vault failed to sign certificate: POST https://"),
            "{message}"
        );
        assert!(!failed["status"]["failureTime"].is_null());
        namespace.says(name, &words, DEADLINE)?;
        let of_request = |event: &Value| {
            event["reason"] == "SigningError"
                && event["source"]["component"] == "cert-manager-certificaterequests-issuer-vault"
                && event["involvedObject"]["name"] == format!("{name}-1")
        };
        namespace.until_list("event", "a SigningError", |all| all.iter().any(of_request))?;
    }
    // The issuer was the cause: its correction ends the wait.
    namespace.apply(&issuer(cluster, "policy", PORT, &approle())?)?;
    namespace.ready("policy", DEADLINE)?;
    Ok(())
}

/// From no Vault at all to one that signs, and through each way in which it stops: nobody touches the issuer.
#[test]
fn an_issuer_says_what_its_vault_lacks_and_recovers_by_itself() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("vault-outage")?;
    let lab = &cluster.lab;
    let port = PORT + 10;
    // The first start of all takes longer than the issuer's pauses should grow.
    shared(lab);
    namespace.apply(&secret("approle", &json!({ "secretId": SECRET_ID })))?;
    namespace.apply(&issuer(cluster, "vault", port, &approle())?)?;
    issue(&namespace, "first", "vault")?;
    let unreachable = "Failed to call Vault health check: cannot reach 10.244.0.1:8210: ";
    says(&namespace, "vault", "VaultError", unreachable)?;
    namespace.says(
        "first",
        &[
            "Issuer \"vault\" is not ready",
            "onnection refused",
            "(EL-1501)",
        ],
        DEADLINE,
    )?;

    let mut vault = Vault::start(lab, port)?;
    let state = "Vault is not initialized or is sealed: Vault is ";
    // It is looked at again within a minute at the latest.
    let says_later =
        |words: &str| says_within(2 * DEADLINE, &namespace, "vault", ("VaultError", words));
    says_later(&format!("{state}not initialized"))?;
    namespace.says("first", &["(EL-1503)"], DEADLINE)?;
    vault.init(lab)?;
    says_later(&format!("{state}sealed"))?;
    namespace.says("first", &["(EL-1502)"], DEADLINE)?;
    vault.unseal(lab)?;
    says_later("Failed to initialize Vault client: POST https://")?;
    namespace.says("first", &["(EL-1504)"], DEADLINE)?;
    engine(lab, &vault)?;
    namespace.ready("first", 2 * DEADLINE)?;
    says(&namespace, "vault", WELL.0, WELL.1)?;

    vault.seal(lab)?;
    issue(&namespace, "second", "vault")?;
    namespace.says("second", &["Vault is sealed", "(EL-1502)"], DEADLINE)?;
    says(&namespace, "vault", "VaultError", &format!("{state}sealed"))?;
    vault.unseal(lab)?;
    namespace.ready("second", 2 * DEADLINE)?;
    verify(&namespace, "second", "")?;

    vault.process().kill()?;
    issue(&namespace, "third", "vault")?;
    namespace.says("third", &["cannot reach", "(EL-1501)"], DEADLINE)?;
    says(&namespace, "vault", "VaultError", unreachable)?;
    let requests = namespace.list("certificaterequest")?;
    assert_eq!(requests.len(), 3, "no attempt was given up: {requests:?}");
    Ok(())
}

/// The issuer asks to have lists watched: what Vault revokes is replaced, and its condition says which list has it.
#[test]
fn what_vault_revokes_is_replaced_and_says_why() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let vault = shared(&cluster.lab);
    let namespace = cluster.namespace("vault-revoked")?;
    let lab = &cluster.lab;
    namespace.apply(&secret(
        "token",
        &json!({ "token": token(lab, vault, "1h")? }),
    ))?;
    let by_token = json!({ "auth": { "tokenSecretRef": { "name": "token", "key": "token" } } });
    let mut watching: Value = serde_json::from_str(&issuer(cluster, "vault", PORT, &by_token)?)?;
    watching["spec"]["watchRevocationLists"] = true.into();
    namespace.apply(&watching.to_string())?;
    for name in ["stays", "goes"] {
        issue(&namespace, name, "vault")?;
        namespace.ready(name, DEADLINE)?;
    }
    let stays = namespace.secret_entry("stays", "tls.crt")?;
    let said = namespace.x509("goes", &["-serial"])?;
    let serial = said.trim().strip_prefix("serial=").context("a serial")?;
    let pairs = serial.as_bytes().chunks(2).map(String::from_utf8_lossy);
    let serial = pairs.collect::<Vec<_>>().join(":").to_lowercase();
    let list = format!("{}/v1/pki/crl", vault.url);
    // Before it has anything to say: it is fetched again. A fetch that fails is made again after a minute.
    lab.wait(2 * DEADLINE, "the list is fetched", || {
        let log = cluster.operator_log()?;
        let fetched = |line: &str| line.contains("revocation list fetched") && line.contains(&list);
        Ok(log.lines().any(fetched).then_some(()))
    })?;
    let states = namespace.watch("certificate", "goes")?;
    vault.call(
        lab,
        "POST",
        "pki/revoke",
        &json!({ "serial_number": serial }),
    )?;
    namespace.until(2 * DEADLINE, "certificate", "goes", "replaced", |object| {
        object["status"]["revision"] == 2 && is_ready(object)
    })?;
    let says_so = |object: &Value| {
        let ready = ready_condition(object);
        let message = ready["message"].as_str().unwrap_or_default();
        ready["reason"] == "Revoked" && message.contains(&list) && message.contains("EL-1607")
    };
    states.until_one(DEADLINE, "one that says so", says_so)?;
    assert_eq!(namespace.secret_entry("stays", "tls.crt")?, stays);
    Ok(())
}
