//! Each field of a Certificate's spec (contract §1.3) on its own: what it does to the signing request and
//! to the certificate, as openssl reads them, or to what else it is about.

use std::io::Write as _;

use anyhow::{Context, Result, bail, ensure};
use everleaf::api::meta::KEY_USAGES;
use jiff::tz::TimeZoneDatabase;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::support::{DEADLINE, Namespace, entry, is_ready};
use crate::{cluster, now, set_condition};

/// Every field of the contract's tables, one a line: kind, path, type, rules.
const SCHEMA: &str = include_str!("../fixtures/contract-schema.tsv");

/// Fields that no row has: they are entries of the Secret, and have tests of their own.
const ELSEWHERE: [&str; 2] = ["spec.keystores", "spec.additionalOutputFormats"];

/// What is seen of a Certificate that was issued.
struct Seen<'a> {
    namespace: &'a Namespace<'a>,
    name: &'a str,
    certificate: Value,
    request: Value,
    secret: Value,
}

type Check = fn(&Seen<'_>) -> Result<()>;

/// A Certificate with these fields set.
struct Row {
    /// Without `spec.`, separated by spaces.
    fields: &'static str,
    /// Merged over a spec with one name and an ECDSA key.
    spec: Value,
    /// What openssl says of the signing request; what begins with `!` it does not say.
    request: &'static [&'static str],
    /// What openssl says of the certificate.
    certificate: &'static [&'static str],
    also: Option<Check>,
}

fn row(
    fields: &'static str,
    spec: Value,
    request: &'static [&'static str],
    certificate: &'static [&'static str],
) -> Row {
    Row {
        fields,
        spec,
        request,
        certificate,
        also: None,
    }
}

/// The same words in both.
fn both(fields: &'static str, spec: Value, words: &'static [&'static str]) -> Row {
    row(fields, spec, words, words)
}

/// Neither says it.
fn outside(fields: &'static str, spec: Value, also: Check) -> Row {
    Row {
        also: Some(also),
        ..row(fields, spec, &[], &[])
    }
}

fn names() -> Vec<Row> {
    vec![
        both(
            "commonName",
            json!({ "commonName": "app.example.com" }),
            &["Subject: CN=app.example.com"],
        ),
        both(
            "dnsNames",
            json!({ "dnsNames": ["a.example.com", "*.b.example.com"] }),
            &["Alternative Name: critical DNS:a.example.com, DNS:*.b.example.com"],
        ),
        both(
            "ipAddresses",
            json!({ "ipAddresses": ["192.0.2.7", "2001:db8::7"] }),
            &["IP Address:192.0.2.7, IP Address:2001:DB8:0:0:0:0:0:7"],
        ),
        both(
            "emailAddresses",
            json!({ "emailAddresses": ["ops@example.com"] }),
            &["email:ops@example.com"],
        ),
        both(
            "uris",
            json!({ "uris": ["spiffe://cluster.local/ns/a/sa/b"] }),
            &["URI:spiffe://cluster.local/ns/a/sa/b"],
        ),
        both(
            "otherNames[].oid otherNames[].utf8Value",
            json!({ "otherNames": [{ "oid": "1.3.6.1.4.1.311.20.2.3", "utf8Value": "upn@example.com" }] }),
            &["othername: UPN::upn@example.com"],
        ),
        both(
            "literalSubject",
            json!({ "literalSubject": "CN=#0c03617070,OU=b+UID=7,OU=a,O=Shop\\, Ltd,2.5.4.12=Dr,DC=example,DC=com" }),
            &["Subject: CN=app,UID=7+OU=b,OU=a,O=Shop\\, Ltd,title=Dr,DC=example,DC=com"],
        ),
        both(
            "subject.organizations",
            json!({ "subject": { "organizations": ["Shop", "Acme"] } }),
            &["Subject: O=Shop+O=Acme"],
        ),
        both(
            "subject.countries",
            json!({ "subject": { "countries": ["DE"] } }),
            &["Subject: C=DE"],
        ),
        both(
            "subject.organizationalUnits",
            json!({ "subject": { "organizationalUnits": ["Web"] } }),
            &["Subject: OU=Web"],
        ),
        both(
            "subject.localities",
            json!({ "subject": { "localities": ["K\u{f6}ln"] } }),
            &["Subject: L=K\u{f6}ln"],
        ),
        both(
            "subject.provinces",
            json!({ "subject": { "provinces": ["NRW"] } }),
            &["Subject: ST=NRW"],
        ),
        both(
            "subject.streetAddresses",
            json!({ "subject": { "streetAddresses": ["Am Dom 1"] } }),
            &["Subject: street=Am Dom 1"],
        ),
        both(
            "subject.postalCodes",
            json!({ "subject": { "postalCodes": ["50667"] } }),
            &["Subject: postalCode=50667"],
        ),
        both(
            "subject.serialNumber",
            json!({ "subject": { "serialNumber": "42" } }),
            &["Subject: serialNumber=42"],
        ),
    ]
}

fn usages() -> Vec<Row> {
    const ALL: &[&str] = &[
        "Key Usage: critical Digital Signature, Non Repudiation, Key Encipherment, Data Encipherment, Key Agreement, \
         Certificate Sign, CRL Sign, Encipher Only, Decipher Only",
        "Extended Key Usage: Any Extended Key Usage, TLS Web Server Authentication, TLS Web Client Authentication, \
         Code Signing, E-mail Protection, IPSec End System, IPSec Tunnel, IPSec User, Time Stamping, OCSP Signing, \
         Microsoft Server Gated Crypto, Netscape Server Gated Crypto",
    ];
    vec![
        both("usages", json!({ "usages": KEY_USAGES }), ALL),
        row(
            "encodeUsagesInRequest",
            json!({ "encodeUsagesInRequest": false, "usages": ["digital signature", "server auth"] }),
            &["!Key Usage"],
            &[
                "Key Usage: critical Digital Signature X509v3 Extended Key Usage: TLS Web Server Authentication",
            ],
        ),
        row(
            "isCA",
            json!({ "isCA": true }),
            &[
                "Key Usage: critical Digital Signature, Key Encipherment, Certificate Sign",
                "!Basic Constraints",
            ],
            &["Certificate Sign", "Basic Constraints: critical CA:TRUE"],
        ),
        both(
            "nameConstraints.permitted.dnsDomains nameConstraints.permitted.ipRanges \
             nameConstraints.permitted.emailAddresses nameConstraints.permitted.uriDomains nameConstraints.critical",
            json!({ "isCA": true, "nameConstraints": { "critical": true, "permitted": { "dnsDomains": ["example.com"],
                "ipRanges": ["10.1.2.3/8", "2001:db8::/32"], "emailAddresses": ["example.com"], "uriDomains": [".example.com"] } } }),
            &[
                "Name Constraints: critical Permitted: DNS:example.com IP:10.0.0.0/255.0.0.0 \
               IP:2001:DB8:0:0:0:0:0:0/FFFF:FFFF:0:0:0:0:0:0 email:example.com URI:.example.com",
            ],
        ),
        both(
            "nameConstraints.excluded.dnsDomains nameConstraints.excluded.ipRanges \
             nameConstraints.excluded.emailAddresses nameConstraints.excluded.uriDomains",
            json!({ "isCA": true, "nameConstraints": { "excluded": { "dnsDomains": ["example.com"],
                "ipRanges": ["10.1.2.3/32"], "emailAddresses": ["root@example.com"], "uriDomains": ["example.com"] } } }),
            &[
                "Name Constraints: Excluded: DNS:example.com IP:10.1.2.3/255.255.255.255 email:root@example.com URI:example.com",
            ],
        ),
    ]
}

fn keys() -> Vec<Row> {
    fn pkcs8(seen: &Seen<'_>) -> Result<()> {
        let key = String::from_utf8(entry(&seen.secret, "tls.key")?)?;
        ensure!(key.starts_with("-----BEGIN PRIVATE KEY-----"), "not PKCS#8");
        Ok(())
    }
    vec![
        both(
            "privateKey.algorithm",
            json!({ "privateKey": { "algorithm": "Ed25519" } }),
            &["Public Key Algorithm: ED25519"],
        ),
        both(
            "privateKey.algorithm",
            json!({ "privateKey": { "algorithm": "RSA" } }),
            &["Public-Key: (2048 bit)", "sha256WithRSAEncryption"],
        ),
        both(
            "privateKey.size",
            json!({ "privateKey": { "algorithm": "RSA", "size": 3072 } }),
            &["Public-Key: (3072 bit)", "sha384WithRSAEncryption"],
        ),
        both(
            "privateKey.size",
            json!({ "privateKey": { "algorithm": "RSA", "size": 2500 } }),
            &["Public-Key: (2500 bit)", "sha256WithRSAEncryption"],
        ),
        both(
            "privateKey.size",
            json!({ "privateKey": { "size": 384 } }),
            &["ASN1 OID: secp384r1", "ecdsa-with-SHA384"],
        ),
        both(
            "privateKey.size",
            json!({ "privateKey": { "size": 521 } }),
            &["ASN1 OID: secp521r1", "ecdsa-with-SHA512"],
        ),
        Row {
            also: Some(pkcs8),
            ..both(
                "privateKey.encoding",
                json!({ "privateKey": { "encoding": "PKCS8" } }),
                &["ASN1 OID: prime256v1", "ecdsa-with-SHA256"],
            )
        },
        // The issuer signs by its own key's size: only the request shows it (contract §6.1).
        row(
            "signatureAlgorithm",
            json!({ "signatureAlgorithm": "ECDSAWithSHA512" }),
            &["Signature Algorithm: ecdsa-with-SHA512"],
            &["Signature Algorithm: ecdsa-with-SHA256"],
        ),
        outside(
            "privateKey.rotationPolicy revisionHistoryLimit",
            json!({ "privateKey": { "rotationPolicy": "Never" }, "revisionHistoryLimit": 2 }),
            renewed_with_its_key,
        ),
    ]
}

fn rest() -> Vec<Row> {
    vec![
        Row {
            also: Some(|seen| {
                let annotation =
                    &seen.secret["metadata"]["annotations"]["cert-manager.io/issuer-name"];
                ensure!(annotation == "other", "issuer {annotation}");
                Ok(())
            }),
            ..row(
                "issuerRef",
                json!({ "issuerRef": { "name": "other" } }),
                &[],
                &["URI:http://crl.example.com/other"],
            )
        },
        outside("duration", json!({ "duration": "48h" }), |seen| {
            let [from, to] = [time(seen, "notBefore")?, time(seen, "notAfter")?];
            ensure!(
                to.duration_since(from) == SignedDuration::from_hours(48),
                "{from} to {to}"
            );
            ensure!(
                seen.request["spec"]["duration"] == "48h0m0s",
                "{}",
                seen.request["spec"]["duration"]
            );
            Ok(())
        }),
        outside(
            "renewBefore",
            json!({ "duration": "48h", "renewBefore": "5h" }),
            |seen| renewed_before_expiry(seen, SignedDuration::from_hours(5)),
        ),
        outside(
            "renewBeforePercentage",
            json!({ "duration": "48h", "renewBeforePercentage": 25 }),
            |seen| renewed_before_expiry(seen, SignedDuration::from_hours(12)),
        ),
        outside(
            "renewal.policy",
            json!({ "renewal": { "policy": "Disabled" } }),
            |seen| {
                let status = &seen.certificate["status"];
                ensure!(status["renewalTime"].is_null(), "{}", status["renewalTime"]);
                Ok(())
            },
        ),
        outside(
            "renewal.windows[].cron renewal.windows[].timezone renewal.windows[].windowDuration",
            json!({ "renewal": { "policy": "RenewBefore", "windows": [
                { "cron": "0 2 * * sat", "timezone": "Europe/Berlin", "windowDuration": "4h" }] } }),
            |seen| {
                let time = time(seen, "renewalTime")?;
                let local = time.to_zoned(TimeZoneDatabase::bundled().get("Europe/Berlin")?);
                let open =
                    local.weekday().to_sunday_zero_offset() == 6 && (2..6).contains(&local.hour());
                ensure!(open, "{local}");
                Ok(())
            },
        ),
        outside(
            "secretName",
            json!({ "secretName": "somewhere-else" }),
            |seen| {
                ensure!(seen.secret["metadata"]["name"] == "somewhere-else");
                Ok(())
            },
        ),
        outside(
            "secretTemplate.labels secretTemplate.annotations",
            json!({ "secretTemplate": { "labels": { "team": "shop" }, "annotations": { "reflector": "true" } } }),
            |seen| {
                let meta = &seen.secret["metadata"];
                ensure!(
                    meta["labels"]["team"] == "shop" && meta["annotations"]["reflector"] == "true",
                    "{meta}"
                );
                Ok(())
            },
        ),
    ]
}

fn rows() -> Vec<Row> {
    [names(), usages(), keys(), rest()]
        .into_iter()
        .flatten()
        .collect()
}

fn time(seen: &Seen<'_>, field: &str) -> Result<Timestamp> {
    let text = seen.certificate["status"][field]
        .as_str()
        .context("no time")?;
    Ok(text.parse()?)
}

fn renewed_before_expiry(seen: &Seen<'_>, wanted: SignedDuration) -> Result<()> {
    let [due, end] = [time(seen, "renewalTime")?, time(seen, "notAfter")?];
    ensure!(end.duration_since(due) == wanted, "{due}, {end}");
    Ok(())
}

/// After a renewal by hand the key is the same, and both requests are there.
fn renewed_with_its_key(seen: &Seen<'_>) -> Result<()> {
    let trigger = json!({ "type": "Issuing", "status": "True", "reason": "ManuallyTriggered", "message": "by hand",
        "lastTransitionTime": now() });
    set_condition(seen.namespace, "certificate", seen.name, &trigger)?;
    seen.namespace
        .until(DEADLINE, "certificate", seen.name, "renewed", |object| {
            object["status"]["revision"] == 2 && is_ready(object)
        })?;
    let secret = seen.namespace.get("secret", seen.name)?;
    ensure!(
        entry(&secret, "tls.key")? == entry(&seen.secret, "tls.key")?,
        "another key"
    );
    ensure!(
        entry(&secret, "tls.crt")? != entry(&seen.secret, "tls.crt")?,
        "the same certificate"
    );
    for revision in ["1", "2"] {
        seen.namespace
            .get("certificaterequest", &format!("{}-{revision}", seen.name))?;
    }
    Ok(())
}

/// What openssl says, every run of blanks one.
fn text(seen: &Seen<'_>, command: &str, input: &[u8]) -> Result<String> {
    let options = [
        command,
        "-noout",
        "-text",
        "-nameopt",
        "RFC2253,-esc_msb,utf8",
    ];
    let text = seen.namespace.cluster.openssl(&options, input)?;
    Ok(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn compare(seen: &Seen<'_>, what: &str, text: &str, words: &[&str]) -> Result<()> {
    // Older programs cannot print what they call this.
    if text.contains("othername:<unsupported>") {
        // The harness hides what is printed by macros.
        let name = seen.name;
        writeln!(
            std::io::stderr(),
            "SKIPPED (openssl too old for other names): the {what} of {name}"
        )?;
        return Ok(());
    }
    for word in words {
        let (word, wanted) = word
            .strip_prefix('!')
            .map_or((*word, true), |word| (word, false));
        if text.contains(word) != wanted {
            let not = if wanted { "" } else { "not " };
            bail!("the {what} should {not}say {word:?}:\n{text}");
        }
    }
    Ok(())
}

#[test]
fn each_field_has_its_effect() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("fields")?;
    for (name, spec) in [
        ("self", json!({})),
        (
            "other",
            json!({ "crlDistributionPoints": ["http://crl.example.com/other"] }),
        ),
    ] {
        let issuer = json!({ "apiVersion": "cert-manager.io/v1", "kind": "Issuer", "metadata": { "name": name },
            "spec": { "selfSigned": spec } });
        namespace.apply(&issuer.to_string())?;
    }
    let rows = rows();
    let named = |index: usize| format!("row-{index}");
    let mut all = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let name = named(index);
        let mut spec = json!({ "secretName": name, "issuerRef": { "name": "self" }, "dnsNames": ["app.example.com"],
            "privateKey": { "algorithm": "ECDSA" } });
        json_patch::merge(&mut spec, &row.spec);
        all.push(json!({ "apiVersion": "cert-manager.io/v1", "kind": "Certificate", "metadata": { "name": name },
            "spec": spec }));
    }
    namespace.apply(&json!({ "apiVersion": "v1", "kind": "List", "items": all }).to_string())?;
    let mut failed = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let name = named(index);
        if let Err(error) = check(&namespace, &name, row) {
            failed.push(format!("{} ({name}): {error:?}", row.fields));
        }
    }
    ensure!(
        failed.is_empty(),
        "{} of {} rows:\n{}",
        failed.len(),
        rows.len(),
        failed.join("\n")
    );
    Ok(())
}

fn check(namespace: &Namespace<'_>, name: &str, row: &Row) -> Result<()> {
    let certificate = namespace.ready(name, DEADLINE)?;
    let secret = certificate["spec"]["secretName"]
        .as_str()
        .context("no secretName")?;
    let seen = Seen {
        namespace,
        name,
        request: namespace.get("certificaterequest", &format!("{name}-1"))?,
        secret: namespace.get("secret", secret)?,
        certificate,
    };
    let csr = json!({ "data": { "csr": seen.request["spec"]["request"] }, "metadata": {} });
    compare(
        &seen,
        "request",
        &text(&seen, "req", &entry(&csr, "csr")?)?,
        row.request,
    )?;
    compare(
        &seen,
        "certificate",
        &text(&seen, "x509", &entry(&seen.secret, "tls.crt")?)?,
        row.certificate,
    )?;
    row.also.map_or(Ok(()), |check| check(&seen))
}

#[test]
fn no_field_is_left_out() {
    let rows = rows();
    let tested: Vec<String> = rows
        .iter()
        .flat_map(|row| row.fields.split_whitespace())
        .map(|field| format!("spec.{field}"))
        .collect();
    let mut fields = Vec::new();
    for line in SCHEMA.lines() {
        let mut columns = line.split('\t');
        if columns.next() == Some("Certificate") {
            fields.extend(columns.next().filter(|path| path.starts_with("spec.")));
        }
    }
    assert!(fields.len() > 60, "{fields:?}");
    for field in &tested {
        assert!(fields.contains(&field.as_str()), "{field} is no field");
    }
    for field in fields {
        // Those inside stand for what holds them.
        let inside = |other: &String| {
            other.starts_with(&format!("{field}.")) || other.starts_with(&format!("{field}[]"))
        };
        let found = tested.iter().any(|other| other == field || inside(other));
        assert!(
            found || ELSEWHERE.iter().any(|part| field.starts_with(part)),
            "no row has {field}"
        );
    }
}
