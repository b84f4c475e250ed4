//! Another client, instant-acme, takes over what the operator has at a CA, and the operator what that client has: an
//! account is a key, and neither has ideas of its own about it.

use std::future::Future;
use std::pin::Pin;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use instant_acme::{
    Account, AccountBuilder, AuthorizationStatus, BodyWrapper, BytesResponse, Error, HttpClient,
    Identifier, Key, NewOrder, OrderStatus,
};
use lab::Lab;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::accounts::authority;
use crate::cluster;
use crate::support::{Cluster, DEADLINE, certificate};

/// The only type of key that both know.
const ES256: &str = "everleaf.io/account-key-algorithm: ES256";

/// Its requests are made inside the lab, where the CA is.
struct Curl(&'static Lab);

impl HttpClient for Curl {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let lab = self.0;
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.expect("it is in memory").to_bytes();
            exchange(lab, &parts, &body).map_err(|error| Error::Other(error.into()))
        })
    }
}

fn exchange(lab: &Lab, request: &http::request::Parts, body: &[u8]) -> Result<BytesResponse> {
    let mut curl = lab.command("curl");
    curl.args(["-sS", "--include", "--max-time", "10", "--cacert"]);
    curl.arg(lab.dir().join("pki/ca.crt"));
    for (name, value) in &request.headers {
        curl.arg("--header")
            .arg(format!("{name}: {}", value.to_str()?));
    }
    if request.method == Method::HEAD {
        curl.arg("--head");
    } else if request.method == Method::POST {
        curl.arg("--data-binary").arg(std::str::from_utf8(body)?);
    }
    let said = lab::output(curl.arg(request.uri.to_string()))?;
    let said = said.replace("\r\n", "\n");
    let (head, body) = said.split_once("\n\n").unwrap_or((&said, ""));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let mut response = Response::builder().status(status.context("a status")?);
    for line in lines {
        let (name, value) = line.split_once(": ").context("a header")?;
        response = response.header(name, value);
    }
    let body = Full::new(Bytes::from(body.to_owned()));
    Ok(response.body(body)?.into())
}

fn builder(cluster: &'static Cluster) -> AccountBuilder {
    Account::builder_with_http(Box::new(Curl(&cluster.lab)))
}

/// A key as the other client takes it.
fn key_of(pem: &str) -> Result<(Key, PrivateKeyDer<'static>)> {
    let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes())?;
    Ok((Key::from_pkcs8_der(der.clone_key())?, der.into()))
}

#[test]
fn it_goes_on_with_the_account_of_the_operator() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("second-client")?;
    let (ca, issuer) = authority(cluster, ES256)?;
    namespace.apply(&issuer)?;
    let host = "second-client.example.com";
    namespace.apply(&certificate("site", "pebble", host, ""))?;
    namespace.ready("site", DEADLINE)?;
    let pem = namespace.secret_entry("pebble-account", "tls.key")?;
    let pem = cluster.openssl(&["pkcs8", "-topk8", "-nocrypt"], &pem)?;
    let uri = namespace.get("issuer", "pebble")?["status"]["acme"]["uri"].clone();
    let made = namespace.list("order")?.remove(0)["status"]["url"].clone();
    let chain = String::from_utf8(namespace.secret_entry("site", "tls.crt")?)?;

    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let key = key_of(&pem)?;
        // Fails when the CA does not know the key.
        let known = builder(cluster).from_key(key, ca.directory.clone());
        let (account, _) = known.await?;
        assert_eq!(uri, account.id());
        let made = made.as_str().context("an order's URL")?;
        let mut order = account.order(made.to_owned()).await?;
        assert_eq!(order.state().status, OrderStatus::Valid);
        let mut authorizations = order.authorizations();
        let authorization = authorizations.next().await.context("an authorization")??;
        assert_eq!(authorization.status, AuthorizationStatus::Valid);
        assert_eq!(authorization.identifier().to_string(), host);
        let fetched = order.certificate().await?.context("a certificate")?;
        assert_eq!(
            fetched.trim(),
            chain.trim(),
            "the chain is in the Secret as it was"
        );
        anyhow::Ok(())
    })?;
    assert_eq!((ca.accounts()?, ca.orders()?), (1, 1));
    Ok(())
}

#[test]
fn the_operator_goes_on_with_its_account() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("first-client")?;
    let (ca, issuer) = authority(cluster, "")?;
    let runtime = tokio::runtime::Runtime::new()?;
    let (key, der) = Key::generate_pkcs8()?;
    let pem = cluster.openssl(&["pkey", "-inform", "DER"], der.secret_pkcs8_der())?;
    let made = builder(cluster).create_from_key((key, der.into()), ca.directory.clone());
    let (account, _) = runtime.block_on(made)?;
    assert_eq!(ca.accounts()?, 1);

    let file = cluster.lab.dir().join("first-client.key");
    std::fs::write(&file, &pem)?;
    let file = format!("--from-file=tls.key={}", file.display());
    namespace.kubectl(&["create", "secret", "generic", "pebble-account", &file])?;
    namespace.apply(&issuer)?;
    let host = "first-client.example.com";
    namespace.apply(&certificate("site", "pebble", host, ""))?;
    namespace.ready("site", DEADLINE)?;
    let issuer = namespace.get("issuer", "pebble")?;
    assert_eq!(issuer["status"]["acme"]["uri"], account.id());
    assert_eq!((ca.accounts()?, ca.orders()?), (1, 1));
    let kept = namespace.secret_entry("pebble-account", "tls.key")?;
    assert_eq!(
        String::from_utf8(kept)?.trim(),
        pem.trim(),
        "nobody touched it"
    );

    // Both are at work with it: an order of the operator is one of the other client's too.
    let made = namespace.list("order")?.remove(0)["status"]["url"].clone();
    runtime.block_on(async {
        let made = made.as_str().context("an order's URL")?;
        let mut order = account.order(made.to_owned()).await?;
        assert_eq!(order.state().status, OrderStatus::Valid);
        let names = [Identifier::Dns(host.to_owned())];
        let mut order = account.new_order(&NewOrder::new(&names)).await?;
        let state = order.refresh().await?.status;
        assert!(matches!(state, OrderStatus::Pending | OrderStatus::Ready));
        anyhow::Ok(())
    })?;
    assert_eq!((ca.accounts()?, ca.orders()?), (1, 2));
    Ok(())
}
