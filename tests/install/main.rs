//! Installation into a cluster that has nothing of Everleaf yet, by the words of the README, and what
//! stays when it goes. A lab each: what is installed belongs to the whole cluster.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail by panicking; JSON without an entry is null"
)]

#[path = "../support/mod.rs"]
mod support;

mod readme;

use anyhow::{Result, ensure};
use lab::Options;
use parking_lot::{Mutex, MutexGuard};
use serde_json::Value;
use support::install::{self, helm, of_pods, pods, rolled_out};
use support::{Cluster, DEADLINE, Namespace};

/// The two labs one after the other: each is half of a small machine.
static TURN: Mutex<()> = Mutex::new(());

/// Where the README has the image.
const REGISTRY: &str = concat!("registry.example.com/everleaf:", env!("CARGO_PKG_VERSION"));

const CRDS: usize = 9;

/// A lab to install into.
fn fresh() -> Result<Option<(Cluster, MutexGuard<'static, ()>)>> {
    let test = std::thread::current();
    if lab::skipped(test.name().unwrap_or("a test")) {
        return Ok(None);
    }
    let turn = TURN.lock();
    let lab = install::node(&Options::default())?;
    lab.load_image(REGISTRY, &install::archive()?)?;
    Ok(Some((Cluster::with(lab), turn)))
}

#[test]
fn by_kubectl() -> Result<()> {
    let Some((cluster, _turn)) = fresh()? else {
        return Ok(());
    };
    let lab = &cluster.lab;
    let command = readme::block("kubectl apply --server-side")?;
    readme::run(lab, &command)?;
    rolled_out(lab)?;
    assert_eq!(operator_images(&cluster)?, [REGISTRY]);

    // The words of the README, with the lab's CA in place of Let's Encrypt's.
    let namespace = cluster.namespace("readme")?;
    let at_lab = |yaml: &str| -> Result<String> {
        let server = "server: https://acme-staging-v02.api.letsencrypt.org/directory";
        ensure!(yaml.contains(server), "another CA: {yaml}");
        let lab = format!(
            "server: {}\n    caBundle: {}",
            lab.acme_directory(),
            cluster.ca_bundle()?
        );
        Ok(yaml.replace(server, &lab))
    };
    namespace.apply(&at_lab(&readme::block("kind: Certificate")?)?)?;
    namespace.ready("www", DEADLINE)?;
    namespace.apply(&readme::block("kind: Ingress")?)?;
    namespace.ready("shop-tls", DEADLINE)?;
    for secret in ["www-tls", "shop-tls"] {
        namespace.pair_matches(secret)?;
    }
    lab.kubectl(&["config", "set-context", "--current", "--namespace=readme"])?;
    let shown = readme::run(lab, &readme::block("kubectl get certificates")?)?;
    ensure!(shown.contains("Certificate is up to date"), "{shown}");

    // Once more changes nothing.
    let pods = operator_pods(&cluster)?;
    readme::run(lab, &command)?;
    rolled_out(lab)?;
    assert_eq!(operator_pods(&cluster)?, pods);

    let secret = namespace.secret_entry("www-tls", "tls.crt")?;
    readme::run(lab, &readme::block("kubectl delete deployments")?)?;
    uninstalled(&cluster)?;
    namespace.get("certificate", "www")?;
    assert_eq!(namespace.secret_entry("www-tls", "tls.crt")?, secret);
    Ok(())
}

#[test]
fn by_helm() -> Result<()> {
    let Some((cluster, _turn)) = fresh()? else {
        return Ok(());
    };
    let lab = &cluster.lab;
    let install = readme::block("helm install")?;
    let notes = readme::run(lab, &install)?;
    // The three commands of the notes show that it works, and say so by their exit status.
    readme::run(lab, &readme::of_notes(&notes)?)?;
    assert_eq!(operator_images(&cluster)?, [REGISTRY]);
    let namespace = cluster.existing(install::NAMESPACE);
    namespace.ready("try", DEADLINE)?;
    let issued = issuance(&namespace)?;

    let upgrade = "upgrade everleaf charts/everleaf --namespace everleaf --reuse-values --set";
    let account = "vault.serviceAccounts[0].namespace=default,vault.serviceAccounts[0].name=vault";
    helm(
        lab,
        &format!("{upgrade} replicaCount=2,global.logLevel=4,logFormat=json,{account}"),
    )?;
    rolled_out(lab)?;
    pods(lab, 2)?;
    assert!(may_make_a_token(&cluster, "vault"));
    assert!(!may_make_a_token(&cluster, "default"));
    namespace.ready("try", DEADLINE)?;
    assert_eq!(issuance(&namespace)?, issued, "not issued again");

    helm(lab, "uninstall everleaf --namespace everleaf --wait")?;
    uninstalled(&cluster)?;
    assert_eq!(
        issuance(&namespace)?,
        issued,
        "and with them what was issued"
    );
    namespace.pair_matches("try-tls")?;

    readme::run(lab, &install)?;
    rolled_out(lab)?;
    namespace.kubectl(&["delete", "secret", "try-tls"])?;
    // Helm takes the right to the Lease away before the operator has ended: it cannot give it back, and it has to expire.
    namespace.until(3 * DEADLINE, "secret", "try-tls", "made again", |_| true)?;
    namespace.ready("try", DEADLINE)?;
    Ok(())
}

/// The operator is gone, with all that it had but the CRDs.
fn uninstalled(cluster: &Cluster) -> Result<()> {
    pods(&cluster.lab, 0)?;
    assert_eq!(crds(cluster)?.len(), CRDS, "the CRDs stay");
    let kinds = "deployments,services,roles,rolebindings,clusterroles,clusterrolebindings,serviceaccounts,leases";
    let arguments = ["get", kinds, "--all-namespaces", "-o", "name"];
    let left = cluster.lab.kubectl(&arguments)?;
    ensure!(!left.contains("everleaf"), "left: {left}");
    Ok(())
}

/// Whether the operator may log in to a Vault as this account of the namespace default.
fn may_make_a_token(cluster: &Cluster, account: &str) -> bool {
    let operator = format!(
        "--as=system:serviceaccount:{0}:everleaf",
        install::NAMESPACE
    );
    let what = format!("serviceaccounts/{account}");
    // It answers by its exit status.
    let asked = [
        "auth",
        "can-i",
        "create",
        &what,
        "--subresource=token",
        &operator,
    ];
    cluster.lab.kubectl(&asked).is_ok()
}

/// What tells one issuance from another: revision and end.
fn issuance(namespace: &Namespace<'_>) -> Result<[Value; 2]> {
    let status = namespace.get("certificate", "try")?["status"].take();
    Ok([status["revision"].clone(), status["notAfter"].clone()])
}

fn crds(cluster: &Cluster) -> Result<Vec<String>> {
    let names = cluster.lab.kubectl(&["get", "crds", "-o", "name"])?;
    let ours = names
        .lines()
        .filter(|name| name.ends_with("cert-manager.io") || name.ends_with("everleaf.io"));
    Ok(ours.map(str::to_owned).collect())
}

fn operator_pods(cluster: &Cluster) -> Result<Vec<String>> {
    of_pods(&cluster.lab, "{.metadata.uid}")
}

fn operator_images(cluster: &Cluster) -> Result<Vec<String>> {
    of_pods(&cluster.lab, "{.spec.containers[0].image}")
}
