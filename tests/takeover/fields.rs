//! Contract §4.2: which changes of a Certificate make a new one, and which do not.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::support::recorded::READY;
use crate::support::{DEADLINE, Namespace, is_ready, ready_condition};
use crate::{Taken, by_name, condition, version};

/// Changes that need no new certificate: what changes, whose, and what is merged into its spec.
const NOT_COMPARED: &str = r#"
nameConstraints          intermediate          {"nameConstraints": {"permitted": {"dnsDomains": ["other.example.com"]}}}
signatureAlgorithm       minimal               {"signatureAlgorithm": "SHA512WithRSA"}
encodeUsagesInRequest    no-usages-in-request  {"encodeUsagesInRequest": true}
privateKey.encoding      ecdsa-256             {"privateKey": {"encoding": "PKCS8"}}
rotationPolicy           ed25519               {"privateKey": {"rotationPolicy": "Never"}}
renewBefore              ecdsa-521-pkcs8       {"renewBefore": "240h"}
renewBeforePercentage    percent               {"renewBeforePercentage": 30}
renewal                  no-renewal            {"renewal": null}
renewal.windows          windows               {"renewal": {"windows": [{"cron": "0 3 * * 0", "windowDuration": "4h"}]}}
revisionHistoryLimit     minimal               {"revisionHistoryLimit": 5}
duration-in-no-request   literal               {"duration": "720h"}
otherNames-given-up      every-name            {"otherNames": null}
order-of-dnsNames        ecdsa-256             {"dnsNames": ["a.example.com", "ec.example.com", "b.example.com"]}
order-of-usages          every-name            {"usages": ["client auth", "server auth", "key encipherment", "digital signature"]}
issuer's-defaults        twin-a                {"issuerRef": {"kind": "Issuer", "group": "cert-manager.io"}}
issuer's-defaults        rsa-4096-pkcs8        {"issuerRef": {"kind": "", "group": ""}}
"#;

/// As above, and the Secret is completed without a new certificate.
const REPAIRED: &str = r#"
keystores                pkcs12-2026           {"keystores": {"pkcs12": {"profile": "Modern2023"}}}
secretTemplate           outputs               {"secretTemplate": {"labels": {"app": "other"}}}
additionalOutputFormats  cluster-issuer        {"additionalOutputFormats": [{"type": "DER"}]}
"#;

/// Changes that differ from what was asked for, by the names that cert-manager gives them.
const REQUEST_CHANGED: &str = r#"
ipAddresses                  minimal               {"ipAddresses": ["10.9.9.9"]}
uris                         ecdsa-256             {"uris": ["spiffe://other"]}
emailAddresses               ed25519               {"emailAddresses": ["a@example.com"]}
dnsNames                     ecdsa-521-pkcs8       {"dnsNames": ["other.example.com"]}
otherNames                   percent               {"otherNames": [{"oid": "1.3.6.1.4.1.311.20.2.3", "utf8Value": "o@example.com"}]}
commonName                   percent               {"commonName": "other.example.com"}
subject.organizations        every-name            {"subject": {"organizations": ["Other"]}}
subject.countries            every-name            {"subject": {"countries": ["FR"]}}
subject.organizationalUnits  no-renewal            {"subject": {"organizationalUnits": ["Other"]}}
subject.localities           no-usages-in-request  {"subject": {"localities": ["Other"]}}
subject.provinces            outputs               {"subject": {"provinces": ["Other"]}}
subject.streetAddresses      pkcs12-legacy         {"subject": {"streetAddresses": ["Other"]}}
subject.postCodes            pkcs12-2026           {"subject": {"postalCodes": ["1"]}}
subject.serialNumber         windows               {"subject": {"serialNumber": "1"}}
literalSubject               literal               {"literalSubject": "CN=literal,OU=a,OU=b,O=Shop\\, Ltd,DC=example,DC=com"}
isCA                         minimal               {"isCA": true}
usages                       ecdsa-256             {"usages": ["server auth"]}
duration                     every-name            {"duration": "72h"}
"#;

/// Changes that what is in the Secret does not fit, by reason.
const SECRET_UNFIT: &str = r#"
IncorrectIssuer  ecdsa-521-pkcs8  {"issuerRef": {"name": "self"}}
IncorrectIssuer  cluster-issuer   {"issuerRef": {"kind": "Issuer"}}
SecretMismatch   ed25519          {"privateKey": {"algorithm": "ECDSA"}}
SecretMismatch   ecdsa-256        {"privateKey": {"size": 384}}
DoesNotExist     no-renewal       {"secretName": "elsewhere"}
"#;

/// A row of a table.
struct Change {
    what: &'static str,
    certificate: &'static str,
    spec: &'static str,
}

impl Change {
    fn row(line: &'static str) -> Result<Self> {
        let (what, rest) = line.split_once(' ').context("a first column")?;
        let (certificate, spec) = rest.trim_start().split_once(' ').context("a second one")?;
        Ok(Self {
            what,
            certificate,
            spec: spec.trim_start(),
        })
    }

    fn table(table: &'static str) -> Result<Vec<Self>> {
        table.trim().lines().map(Self::row).collect()
    }

    fn make(&self, namespace: &Namespace<'_>) -> Result<()> {
        patch(
            namespace,
            self.certificate,
            &format!("{{\"spec\": {}}}", self.spec),
        )
    }
}

fn patch(namespace: &Namespace<'_>, certificate: &str, patch: &str) -> Result<()> {
    let patch = format!("--patch={patch}");
    namespace.kubectl(&["patch", "certificate", certificate, "--type=merge", &patch])?;
    Ok(())
}

/// What an issuance changes, by name.
#[derive(Debug, PartialEq)]
struct Seen {
    requests: BTreeMap<String, Value>,
    revisions: BTreeMap<String, Value>,
    secrets: BTreeMap<String, Value>,
}

impl Seen {
    fn now(namespace: &Namespace<'_>, secrets: impl Fn(&Value) -> Value) -> Result<Self> {
        let revision = |object: &Value| object["status"]["revision"].clone();
        let uid = |object: &Value| object["metadata"]["uid"].clone();
        Ok(Self {
            requests: by_name(namespace, "certificaterequest", uid)?,
            revisions: by_name(namespace, "certificate", revision)?,
            secrets: by_name(namespace, "secret", secrets)?,
        })
    }

    /// Without what belongs to a Certificate.
    fn without(mut self, certificate: &str) -> Self {
        let prefix = format!("{certificate}-");
        let theirs = |name: &String| {
            let rest = name.strip_prefix(&prefix);
            name == certificate || rest.is_some_and(|rest| rest.parse::<u64>().is_ok())
        };
        for map in [&mut self.requests, &mut self.revisions, &mut self.secrets] {
            map.retain(|name, _| !theirs(name));
        }
        self.secrets.remove("elsewhere");
        self
    }
}

#[test]
fn what_is_not_compared_may_change() -> Result<()> {
    let Some(taken) = Taken::with(&[READY])? else {
        return Ok(());
    };
    let namespace = taken.namespace();
    taken.operate()?;
    let pair = |secret: &Value| json!([secret["data"]["tls.crt"], secret["data"]["tls.key"]]);
    let before = Seen::now(&namespace, pair)?;
    let versions = by_name(&namespace, "secret", version)?;
    let (unseen, repaired) = (Change::table(NOT_COMPARED)?, Change::table(REPAIRED)?);
    for change in unseen.iter().chain(&repaired) {
        change.make(&namespace)?;
        let what = format!("Ready after a change of {}", change.what);
        namespace.until(DEADLINE, "certificate", change.certificate, &what, is_ready)?;
    }
    patch(
        &namespace,
        "literal",
        r#"{"metadata": {"labels": {"team": "b"}, "annotations": {"example.com/note": "new"}}}"#,
    )?;
    for change in &repaired {
        let (name, what) = (change.certificate, change.what);
        namespace.until(DEADLINE, "secret", name, what, |secret| {
            version(secret) != versions[name]
        })?;
    }
    taken.cluster.quiet()?;
    assert_eq!(Seen::now(&namespace, pair)?, before);
    let mut now = by_name(&namespace, "secret", version)?;
    for change in repaired {
        now.insert(
            change.certificate.into(),
            versions[change.certificate].clone(),
        );
    }
    assert_eq!(now, versions, "no other Secret is written");
    Ok(())
}

#[test]
fn what_is_compared_makes_exactly_one_new_certificate() -> Result<()> {
    let Some(taken) = Taken::with(&[READY])? else {
        return Ok(());
    };
    let namespace = taken.namespace();
    taken.operate()?;
    let watch = namespace.watch("certificate", "")?;
    // Why a Certificate, as it is now, was issued last.
    let why = |issued: &Value| -> Result<Value> {
        let seen = watch
            .as_far_as(issued)?
            .into_iter()
            .map(|(_, object)| object);
        let conditions = seen
            .filter(|object| object["metadata"]["name"] == issued["metadata"]["name"])
            .map(|object| condition(&object, "Issuing").clone());
        let mut issuing = conditions.filter(|issuing| issuing["status"] == "True");
        Ok(issuing.next_back().unwrap_or_default())
    };

    for change in Change::table(REQUEST_CHANGED)? {
        let said = why(&issues_one(&namespace, &change)?)?;
        assert_eq!(said["reason"], "RequestChanged", "{}", change.what);
        let message = said["message"].as_str().unwrap_or_default();
        let list = format!("not up to date: [spec.{}]", change.what);
        assert!(message.ends_with(&list), "{message}");
    }
    for change in Change::table(SECRET_UNFIT)? {
        let said = why(&issues_one(&namespace, &change)?)?;
        assert_eq!(said["reason"], change.what, "{}", change.spec);
    }

    // An issuer of another group: the request is its controller's.
    let before = Seen::now(&namespace, version)?;
    let name = "rsa-4096-pkcs8";
    patch(
        &namespace,
        name,
        r#"{"spec": {"issuerRef": {"group": "example.org"}}}"#,
    )?;
    let request = format!("{name}-3");
    namespace.until(DEADLINE, "certificaterequest", &request, "made", |made| {
        made["spec"]["issuerRef"]["group"] == "example.org"
    })?;
    taken.cluster.quiet()?;
    let after = Seen::now(&namespace, version)?;
    assert_eq!(after.revisions, before.revisions);
    assert_eq!(after.without(name).requests, before.without(name).requests);
    let object = namespace.get("certificate", name)?;
    assert_eq!(ready_condition(&object)["reason"], "IncorrectIssuer");
    Ok(())
}

/// A change makes one new certificate, its own, and touches nothing of the others. The Certificate then.
fn issues_one(namespace: &Namespace<'_>, change: &Change) -> Result<Value> {
    let name = change.certificate;
    let before = Seen::now(namespace, version)?;
    let next = before.revisions[name].as_u64().unwrap() + 1;
    change.make(namespace)?;
    let what = format!("issued anew after {}", change.spec);
    let issued = namespace.until(DEADLINE, "certificate", name, &what, |object| {
        object["status"]["revision"] == next && is_ready(object)
    })?;
    // The key of `pending` stays.
    namespace.until_list("secret", "key put away", |all| {
        let labels = all.iter().map(|secret| &secret["metadata"]["labels"]);
        let keys = labels.filter(|l| l["cert-manager.io/next-private-key"] == "true");
        keys.count() == 1
    })?;
    let after = Seen::now(namespace, version)?;
    assert_eq!(after.without(name), before.without(name), "{}", change.spec);
    Ok(issued)
}
