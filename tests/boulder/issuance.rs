//! What Boulder issues, and what it has on record of it.

use std::time::Instant;

use anyhow::Result;
use lab::boulder::{PUBLIC_ADDRESS, Revocation};

use crate::support::{DEADLINE, certificate};
use crate::{TEMPORARY, account, stage};

/// RFC 6962 §3.3: the list of signed certificate timestamps.
const TIMESTAMPS: &str = "CT Precertificate SCTs";

#[test]
fn over_http_through_an_ingress_controller() -> Result<()> {
    let Some(stage) = stage() else { return Ok(()) };
    let namespace = stage.namespace("http", "")?;
    namespace.apply(&certificate(
        "site",
        "boulder",
        "www.http.shop, http.shop",
        "",
    ))?;
    namespace.ready("site", DEADLINE)?;
    stage.verify(&namespace, "site")?;
    let text = namespace.x509("site", &["-text"])?;
    assert!(text.contains(TIMESTAMPS), "{text}");
    namespace.none_left(&TEMPORARY, DEADLINE)?;

    let orders = stage.orders("www.http.shop")?;
    assert_eq!(orders.len(), 1, "{orders:?}");
    assert_eq!(orders[0].account, account(&namespace)?);
    let serial = namespace.x509("site", &["-serial"])?.to_lowercase();
    assert_eq!(serial.trim(), format!("serial={}", orders[0].serial));
    for name in ["www.http.shop", "http.shop"] {
        let all = stage.authorizations(name)?;
        let statuses: Vec<_> = all
            .iter()
            .map(|authorization| authorization.status)
            .collect();
        assert_eq!(statuses, ["valid"]);
    }
    Ok(())
}

#[test]
fn finalized_after_the_answer() -> Result<()> {
    let Some(stage) = stage() else { return Ok(()) };
    let namespace = stage.cluster.namespace("next")?;
    namespace.apply(&stage.issuer(&stage.boulder.next_directory(), "")?)?;
    let begun = Instant::now();
    namespace.apply(&certificate("site", "boulder", "www.next.shop", ""))?;
    namespace.ready("site", DEADLINE)?;
    let took = begun.elapsed();
    stage.verify(&namespace, "site")?;
    assert_eq!(stage.orders("www.next.shop")?.len(), 1);
    let requests = stage.requests(account(&namespace)?)?;
    let mut endpoints = requests.iter().map(|request| request.endpoint.as_str());
    assert!(
        endpoints.any(|endpoint| endpoint == "/acme/finalize/"),
        "{requests:?}"
    );
    let polls = endpoints
        .filter(|endpoint| *endpoint == "/acme/order/")
        .count();
    // Every three seconds, as it asks for, however long it takes: and one at the beginning, and one at the end.
    let most = 2 + usize::try_from(took.as_secs() / 3)?;
    assert!((1..=most).contains(&polls), "{took:?}: {requests:?}");
    Ok(())
}

#[test]
fn a_second_certificate_needs_no_challenge() -> Result<()> {
    let Some(stage) = stage() else { return Ok(()) };
    let namespace = stage.namespace("reuse", "")?;
    namespace.apply(&certificate("one", "boulder", "www.reuse.shop", ""))?;
    namespace.ready("one", DEADLINE)?;
    // Born ready: nobody could answer a challenge of this name now.
    let issuer = stage.issuer(&stage.boulder.directory(), "")?;
    namespace.apply(&issuer.replace("ingressClassName: traefik", "ingressClassName: nobody"))?;
    namespace.apply(&certificate("two", "boulder", "www.reuse.shop", ""))?;
    namespace.ready("two", DEADLINE)?;
    stage.verify(&namespace, "two")?;
    assert_eq!(stage.authorizations("www.reuse.shop")?.len(), 1);
    assert_eq!(stage.orders("www.reuse.shop")?.len(), 2);
    Ok(())
}

/// Boulder answers an order with an open one of the same account for the same names.
#[test]
fn two_certificates_with_the_same_names_have_a_key_each() -> Result<()> {
    let Some(stage) = stage() else { return Ok(()) };
    let namespace = stage.cluster.namespace("twins")?;
    let issuer = stage.issuer(&stage.boulder.directory(), "")?;
    namespace.apply(&issuer.replace("ingressClassName: traefik", "ingressClassName: nobody"))?;
    for (name, algorithm) in [("ecdsa", "ECDSA"), ("rsa", "RSA")] {
        let twin = certificate(name, "boulder", "www.twins.shop, twins.shop", "");
        namespace.apply(&twin.replace("ECDSA", algorithm))?;
    }
    // Both are there before either can be proven.
    let known = stage
        .cluster
        .lab
        .wait(DEADLINE, "two Orders, one known to the CA", || {
            let orders = namespace.list("order")?;
            let urls = orders
                .iter()
                .filter_map(|order| order["status"]["url"].as_str());
            let urls: Vec<_> = urls.map(str::to_owned).collect();
            Ok((orders.len() == 2 && !urls.is_empty()).then_some(urls))
        })?;
    namespace.apply(&issuer)?;
    for name in ["ecdsa", "rsa"] {
        let object = namespace.ready(name, DEADLINE)?;
        assert_eq!(object["status"]["revision"], 1, "{object}");
        let failures = &object["status"]["failedIssuanceAttempts"];
        assert!(failures.is_null(), "{object}");
        stage.verify(&namespace, name)?;
    }
    assert_eq!(known.len(), 1, "the other waits: {known:?}");
    assert_eq!(stage.orders("www.twins.shop")?.len(), 2);
    Ok(())
}

#[test]
fn the_chain_that_the_issuer_prefers() -> Result<()> {
    let Some(stage) = stage() else { return Ok(()) };
    for (name, rest, root) in [
        ("chain-own", "", "root ecdsa"),
        ("chain-rsa", ", preferredChain: root rsa", "root rsa"),
    ] {
        let namespace = stage.namespace(name, rest)?;
        let host = format!("www.{name}.shop");
        namespace.apply(&certificate("site", "boulder", &host, ""))?;
        namespace.ready("site", DEADLINE)?;
        stage.verify(&namespace, "site")?;
        let chain = String::from_utf8(namespace.secret_entry("site", "tls.crt")?)?;
        let last = chain.rfind("-----BEGIN").unwrap_or_default();
        let issuer = stage
            .cluster
            .openssl(&["x509", "-noout", "-issuer"], &chain.as_bytes()[last..])?;
        assert!(issuer.contains(&format!("CN = {root}")), "{issuer}");
    }
    Ok(())
}

#[test]
fn profiles() -> Result<()> {
    let Some(stage) = stage() else { return Ok(()) };
    for (profile, hours) in [("modern", 45 * 24), ("shortlived", 160)] {
        let name = format!("profile-{profile}");
        let namespace = stage.namespace(&name, &format!(", profile: {profile}"))?;
        let host = format!("www.{name}.shop");
        namespace.apply(&certificate("site", "boulder", &host, ""))?;
        let object = namespace.ready("site", DEADLINE)?;
        let time = |field: &str| object["status"][field].as_str().unwrap_or_default().parse();
        let (from, to): (jiff::Timestamp, jiff::Timestamp) =
            (time("notBefore")?, time("notAfter")?);
        assert_eq!((to - from).get_seconds() + 1, hours * 3600);
        assert_eq!(stage.orders(&host)?[0].profile, profile);
    }
    Ok(())
}

#[test]
fn an_address() -> Result<()> {
    let Some(stage) = stage() else { return Ok(()) };
    let namespace = stage.namespace("address", ", profile: shortlived")?;
    let yaml = certificate(
        "site",
        "boulder",
        "",
        &format!("ipAddresses: [{PUBLIC_ADDRESS}]"),
    );
    namespace.apply(&yaml.replace("dnsNames: [], ", ""))?;
    namespace.ready("site", DEADLINE)?;
    stage.verify(&namespace, "site")?;
    let names = namespace.x509("site", &["-ext", "subjectAltName"])?;
    assert!(
        names.contains(&format!("IP Address:{PUBLIC_ADDRESS}")),
        "{names}"
    );
    Ok(())
}

/// The CA's own part of it, which the tests of revocation and of renewal information build on.
#[test]
fn what_the_ca_revokes_is_on_record() -> Result<()> {
    let Some(stage) = stage() else { return Ok(()) };
    let namespace = stage.namespace("revoked", "")?;
    namespace.apply(&certificate("site", "boulder", "www.revoked.shop", ""))?;
    namespace.ready("site", DEADLINE)?;
    let serial = stage.orders("www.revoked.shop")?.remove(0).serial;
    let lab = &stage.cluster.lab;
    stage.boulder.revoke(lab, &serial, "superseded")?;
    let revoked = Revocation { serial, reason: 4 };
    assert!(stage.boulder.revocations(lab)?.contains(&revoked));
    Ok(())
}
