//! Revocation, and what Boulder has on record of it.

use anyhow::Result;
use lab::boulder::Revocation;

use crate::support::{DEADLINE, Namespace, certificate, is_ready};
use crate::{Stage, stage};

/// A certificate for this host; its serial number.
fn issued(stage: &Stage, namespace: &Namespace<'_>, name: &str, host: &str) -> Result<String> {
    namespace.apply(&certificate(name, "boulder", host, ""))?;
    namespace.ready(name, DEADLINE)?;
    Ok(stage.orders(host)?.remove(0).serial)
}

/// Why the CA has revoked a certificate, each time that it has.
fn reasons(stage: &Stage, serial: &str) -> Result<Vec<u8>> {
    let all = stage.boulder.revocations(&stage.cluster.lab)?;
    let its = all.iter().filter(|revocation| revocation.serial == serial);
    Ok(its.map(|Revocation { reason, .. }| *reason).collect())
}

#[test]
fn by_the_account_and_by_the_key_of_the_certificate() -> Result<()> {
    let Some(stage) = stage() else { return Ok(()) };
    let namespace = stage.namespace("revoke", "")?;
    for (name, reason, code, signer) in [
        ("account", "superseded", 4, "Account"),
        ("key", "keyCompromise", 1, "CertificateKey"),
    ] {
        let host = format!("{name}.revoke.shop");
        let serial = issued(&stage, &namespace, name, &host)?;
        let key = namespace.x509(name, &["-pubkey"])?;
        let entry = namespace.revoked(name, reason)?;
        assert_eq!(
            (&entry["signedBy"], &entry["attempts"]),
            (&signer.into(), &1.into())
        );
        assert_eq!(entry["serial"], *serial.trim_start_matches('0'));
        assert_eq!(reasons(&stage, &serial)?, [code], "{name}");

        namespace.until(DEADLINE, "certificate", name, "replaced", |object| {
            is_ready(object) && object["status"]["revision"] == 2
        })?;
        stage.verify(&namespace, name)?;
        assert_ne!(namespace.x509(name, &["-pubkey"])?, key);
        let orders = stage.orders(&host)?;
        assert_eq!(orders.len(), 2, "{orders:?}");
        assert_eq!(reasons(&stage, &orders[1].serial)?, [0_u8; 0], "{name}");
    }
    Ok(())
}

#[test]
fn what_the_ca_has_revoked_already_is_done() -> Result<()> {
    let Some(stage) = stage() else { return Ok(()) };
    let namespace = stage.namespace("revoke-done", "")?;
    let serial = issued(&stage, &namespace, "site", "www.revoke-done.shop")?;
    let lab = &stage.cluster.lab;
    stage.boulder.revoke(lab, &serial, "superseded")?;
    namespace.revoked("site", "cessationOfOperation")?;
    assert_eq!(reasons(&stage, &serial)?, [4], "as the CA has said first");
    Ok(())
}
