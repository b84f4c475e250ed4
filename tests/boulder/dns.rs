//! Names that are proven in DNS.

use anyhow::Result;
use lab::{ADDRESS, TSIG_SECRET};

use crate::stage;
use crate::support::{DEADLINE, certificate};

#[test]
fn a_wildcard_and_its_name_by_dynamic_update() -> Result<()> {
    let Some(stage) = stage() else { return Ok(()) };
    let namespace = stage.cluster.namespace("wildcard")?;
    let secret = format!("--from-literal=key={TSIG_SECRET}");
    namespace.kubectl(&["create", "secret", "generic", "tsig", &secret])?;
    let solver = format!(
        "dns01: {{rfc2136: {{nameserver: {ADDRESS}, tsigKeyName: lab, tsigAlgorithm: HMACSHA256, \
         tsigSecretSecretRef: {{name: tsig, key: key}}}}}}"
    );
    let issuer = stage.issuer(&stage.boulder.next_directory(), "")?;
    let http = format!("http01: {{ingress: {}}}", crate::TRAEFIK);
    assert!(issuer.contains(&http));
    namespace.apply(&issuer.replace(&http, &solver))?;
    namespace.apply(&certificate(
        "site",
        "boulder",
        "'*.zone.shop', zone.shop",
        "",
    ))?;
    namespace.ready("site", DEADLINE)?;
    stage.verify(&namespace, "site")?;
    let names = namespace.x509("site", &["-ext", "subjectAltName"])?;
    assert!(names.contains("DNS:*.zone.shop, DNS:zone.shop"), "{names}");
    assert_eq!(stage.orders("*.zone.shop")?.len(), 1);
    namespace.none_left(&["challenge"], DEADLINE)?;
    let mut dig = stage.cluster.lab.command("dig");
    dig.args([
        "+short",
        &format!("@{ADDRESS}"),
        "TXT",
        "_acme-challenge.zone.shop",
    ]);
    assert_eq!(lab::output(&mut dig)?, "");
    Ok(())
}
