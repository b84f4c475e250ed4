//! Issuance by Boulder, the server of Let's Encrypt, with its rules: limits, pauses, CAA, profiles, alternate chains.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests fail by panicking and measure by the wall clock"
)]

#[path = "../support/mod.rs"]
mod support;

mod dns;
mod issuance;
mod ledger;
mod matrix;
mod refusals;
mod renewal;
mod revocation;

use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result};
use lab::boulder::{Authorization, Boulder, Options, Order, Request};
use support::{Cluster, DEADLINE, Namespace, TEMPORARY, TRAEFIK, shared};

/// How long the operator may take to say what is wrong.
const SAID: Duration = DEADLINE;

/// The operator holds no Lease, so that one started after another acts at once.
const FLAGS: [&str; 1] = ["--leader-elect=false"];

/// One certificate in this time for `limited.shop`, so that a test can ask for another in it, and see the limit end; and one for ever
/// for `long.shop`: Boulder's `Retry-After` is another one each time then, since it adds some percent at random.
const LIMITED: &str = "
- CertificatesPerDomain:
    count: 1
    burst: 1
    period: 60s
    ids: [{id: limited.shop, comment: a test}]
- CertificatesPerDomain:
    count: 1
    burst: 1
    period: 2160h
    ids: [{id: long.shop, comment: a test}]
";

static CLUSTER: OnceLock<Cluster> = OnceLock::new();
static BOULDER: OnceLock<Boulder> = OnceLock::new();

/// One operator and one Boulder for all tests.
struct Stage {
    cluster: &'static Cluster,
    boulder: &'static Boulder,
}

fn stage() -> Option<Stage> {
    let cluster = shared(&CLUSTER, || {
        let cluster = Cluster::start(&lab::Options::default())?;
        let options = Options {
            overrides: Some(LIMITED.to_owned() + &ledger::overrides()),
            ..Options::default()
        };
        let boulder = Boulder::start(&cluster.lab, &options)?;
        assert!(BOULDER.set(boulder).is_ok(), "made once, with the cluster");
        cluster.operator(&FLAGS)?;
        Ok(cluster)
    })?;
    let boulder = BOULDER.get().expect("made with the cluster");
    Some(Stage { cluster, boulder })
}

impl Stage {
    /// An Issuer `boulder` of one of its directories; `rest` are further fields of its `acme` in flow style, each
    /// after a comma.
    fn issuer(&self, directory: &str, rest: &str) -> Result<String> {
        Ok(format!(
            "{{apiVersion: cert-manager.io/v1, kind: Issuer, metadata: {{name: boulder}}, spec: {{acme: {{server: {directory}, \
             caBundle: {}, privateKeySecretRef: {{name: boulder-account}}, solvers: [{{http01: {{ingress: {TRAEFIK}}}}}]{rest}}}}}}}",
            self.cluster.ca_bundle()?
        ))
    }

    /// A namespace with the Issuer `boulder`.
    fn namespace(&self, name: &str, rest: &str) -> Result<Namespace<'static>> {
        let namespace = self.cluster.namespace(name)?;
        namespace.apply(&self.issuer(&self.boulder.directory(), rest)?)?;
        Ok(namespace)
    }

    /// What the CA has on record of the certificates with this name.
    fn orders(&self, name: &str) -> Result<Vec<Order>> {
        let mut orders = self.boulder.orders(&self.cluster.lab)?;
        orders.retain(|order| order.names.iter().any(|known| known == name));
        Ok(orders)
    }

    /// What the CA has on record of the authorizations of this name.
    fn authorizations(&self, name: &str) -> Result<Vec<Authorization>> {
        let mut all = self.boulder.authorizations(&self.cluster.lab)?;
        all.retain(|authorization| authorization.identifier == name);
        Ok(all)
    }

    /// What an account has asked for so far.
    fn requests(&self, account: u64) -> Result<Vec<Request>> {
        let mut all = self.boulder.requests()?;
        all.retain(|request| request.account == account);
        Ok(all)
    }

    /// How often an account has asked for an order.
    fn orders_asked_for(&self, account: u64) -> Result<usize> {
        let all = self.requests(account)?;
        let asks = |request: &&Request| request.endpoint == "/acme/new-order";
        Ok(all.iter().filter(asks).count())
    }

    /// How often an account was refused an order.
    fn refusals(&self, account: u64) -> Result<usize> {
        let all = self.requests(account)?;
        let refused =
            |request: &&Request| request.endpoint == "/acme/new-order" && request.status == 429;
        Ok(all.iter().filter(refused).count())
    }

    /// Check that a Secret's chain leads to one of Boulder's roots.
    fn verify(&self, namespace: &Namespace<'_>, secret: &str) -> Result<()> {
        namespace.verify(secret, &self.boulder.roots_pem()?)
    }
}

/// The number of the account of the Issuer `boulder` at the CA.
fn account(namespace: &Namespace<'_>) -> Result<u64> {
    account_of(namespace, "boulder")
}

fn account_of(namespace: &Namespace<'_>, issuer: &str) -> Result<u64> {
    let issuer = namespace.until(SAID, "issuer", issuer, "registered", |issuer| {
        issuer["status"]["acme"]["uri"].is_string()
    })?;
    let uri = issuer["status"]["acme"]["uri"].as_str().unwrap_or_default();
    let number = uri.rsplit('/').next().context("an account's URL")?;
    Ok(number.parse()?)
}
