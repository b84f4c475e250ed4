//! Any spec that the schema admits: in a bounded number of steps there is a certificate for exactly what
//! was asked for, or a word that names the field at fault.

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::world::World;
use crate::api::CertificateSpec;
use crate::api::duration::parse_go_duration;
use crate::controllers::certificate::IssuerState;
use crate::pki::{
    CertificateSigningRequest, DistinguishedName, KeyUsages, PrivateKey, parse_chain, usage_names,
    verify_key_matches,
};

/// Text as people write it, and as nobody does.
fn text() -> BoxedStrategy<String> {
    prop_oneof![
        4 => "[a-z]{1,8}(\\.[a-z]{2,5}){0,2}",
        1 => any::<String>().prop_map(|s| s.chars().take(20).collect()),
        1 => "[ -~]{0,16}",
        1 => "[a-z]{60,70}",
        1 => Just(String::new()),
    ]
    .boxed()
}

fn texts() -> BoxedStrategy<Vec<String>> {
    prop_oneof![
        4 => prop::collection::vec("[a-z]{1,8}\\.example\\.com", 1..4),
        1 => prop::collection::vec(text(), 0..3),
    ]
    .boxed()
}

fn one_of(values: &[&str]) -> BoxedStrategy<String> {
    let values = values.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>();
    prop::sample::select(values).boxed()
}

fn address() -> BoxedStrategy<String> {
    prop_oneof![
        4 => any::<u32>().prop_map(|a| IpAddr::V4(a.into()).to_string()),
        4 => any::<u128>().prop_map(|a| IpAddr::V6(a.into()).to_string()),
        1 => text(),
    ]
    .boxed()
}

fn range() -> BoxedStrategy<String> {
    (address(), 0..140_u8)
        .prop_map(|(a, bits)| format!("{a}/{bits}"))
        .boxed()
}

fn duration() -> BoxedStrategy<String> {
    prop_oneof![
        6 => one_of(&["1h", "2160h", "1h30m", "720h0m0s", "300s", "10m"]),
        1 => one_of(&["90d", "-1h", "0s", "1.5h", "99999h", "2562047h"]),
        1 => text(),
    ]
    .boxed()
}

fn literal() -> BoxedStrategy<String> {
    let part = "(CN|O|OU|C|DC|UID|1\\.2\\.3|E|cn)=[a-zA-Z \\\\,#=0-9]{0,6}(\\+OU=x|)";
    prop_oneof![
        3 => prop::collection::vec("(CN|O|OU|DC)=[a-z]{1,6}", 1..5).prop_map(|v| v.join(",")),
        2 => prop::collection::vec(part, 1..4).prop_map(|v| v.join(",")),
        1 => text(),
    ]
    .boxed()
}

fn window() -> BoxedStrategy<Value> {
    let cron = prop_oneof![
        3 => "([0-9]|\\*) ([0-9]|1[0-9]|\\*/3) \\* \\* ([0-6]|\\*)",
        1 => one_of(&["@daily", "@yearly", "@every 1h", "@reboot", "0 0 30 2 *", "0 25 * * *"]),
        1 => text().prop_filter("minLength", |t| !t.is_empty()),
    ];
    let zone = one_of(&["UTC", "Europe/Berlin", "America/New_York", "Mars/Base"]);
    let length = one_of(&["2h", "30m", "1h30m", "0s", "0.5h"]);
    (cron, prop::option::of(zone), length)
        .prop_map(|(cron, zone, length)| {
            json!({ "cron": cron, "timezone": zone, "windowDuration": length })
        })
        .boxed()
}

fn subtrees() -> BoxedStrategy<Value> {
    let ranges = prop::collection::vec(range(), 0..2);
    (texts(), ranges, texts(), texts())
        .prop_map(|(dns, ranges, mail, uri)| {
            json!({ "dnsDomains": dns, "ipRanges": ranges, "emailAddresses": mail, "uriDomains": uri })
        })
        .boxed()
}

/// One field, with any value of its type.
fn field() -> BoxedStrategy<Value> {
    fn of<S: Strategy<Value: serde::Serialize> + 'static>(
        path: &'static str,
        values: S,
    ) -> BoxedStrategy<Value> {
        let nest = move |value| {
            let parts = path.rsplit('.');
            parts.fold(json!(value), |inner, name| json!({ name: inner }))
        };
        values.prop_map(nest).boxed()
    }
    let usages: Vec<&str> = usage_names().collect();
    let signatures = [
        "SHA256WithRSA",
        "SHA384WithRSA",
        "SHA512WithRSA",
        "ECDSAWithSHA256",
        "ECDSAWithSHA384",
        "ECDSAWithSHA512",
        "PureEd25519",
    ];
    let sizes = vec![0, 256, 384, 521, 2048, 2049, 1024, 9000, -1, i64::MAX];
    let other = (
        one_of(&["1.3.6.1.4.1.311.20.2.3", "1.2.3", "", "x", "9.9"]),
        text(),
    );
    let other =
        other.prop_map(|(oid, value)| json!([{ "oid": oid, "utf8Value": value }, { "oid": oid }]));
    let other = prop_oneof![
        other,
        text().prop_map(|value| json!([{ "oid": "1.2.3", "utf8Value": value }])),
    ];
    prop_oneof![
        of("commonName", text()),
        of("dnsNames", texts()),
        of("ipAddresses", prop::collection::vec(address(), 0..3)),
        of("emailAddresses", texts()),
        of("uris", texts()),
        of("otherNames", other),
        of("literalSubject", literal()),
        of("subject.organizations", texts()),
        of("subject.countries", texts()),
        of("subject.organizationalUnits", texts()),
        of("subject.localities", texts()),
        of("subject.provinces", texts()),
        of("subject.streetAddresses", texts()),
        of("subject.postalCodes", texts()),
        of("subject.serialNumber", text()),
        of("duration", duration()),
        of("renewBefore", duration()),
        of("renewBeforePercentage", any::<i32>()),
        of("renewal.policy", one_of(&["RenewBefore", "Disabled"])),
        of("renewal.windows", prop::collection::vec(window(), 0..3)),
        of("usages", prop::collection::vec(one_of(&usages), 0..4)),
        of("isCA", any::<bool>()),
        of("encodeUsagesInRequest", any::<bool>()),
        of("nameConstraints.critical", any::<bool>()),
        of("nameConstraints.permitted", subtrees()),
        of("nameConstraints.excluded", subtrees()),
        of("privateKey.algorithm", one_of(&["RSA", "ECDSA", "Ed25519"])),
        of("privateKey.size", prop::sample::select(sizes)),
        of("privateKey.encoding", one_of(&["PKCS1", "PKCS8"])),
        of("privateKey.rotationPolicy", one_of(&["Never", "Always"])),
        of("signatureAlgorithm", one_of(&signatures)),
        of("revisionHistoryLimit", any::<i32>()),
        of("secretName", text()),
        of("issuerRef.name", text()),
        of("issuerRef.kind", text()),
        of("secretTemplate.labels", Just(json!({ "a": "b" }))),
        of("secretTemplate.annotations", Just(json!({ "a": "b" }))),
    ]
    .boxed()
}

/// A few fields, merged.
fn spec() -> impl Strategy<Value = Value> {
    prop::collection::vec(field(), 0..7).prop_map(|fields| {
        let mut whole = json!({});
        for field in fields {
            json_patch::merge(&mut whole, &field);
        }
        whole
    })
}

/// Whether the CSR asks for all that the spec says and nothing else, read from the spec as it stands.
fn asks_for(spec: &CertificateSpec, csr: &CertificateSigningRequest) -> Result<(), TestCaseError> {
    let list = |field: &Option<Vec<String>>| field.clone().unwrap_or_default();
    let sans = csr.sans();
    prop_assert_eq!(&sans.dns_names, &list(&spec.dns_names));
    prop_assert_eq!(&sans.email_addresses, &list(&spec.email_addresses));
    prop_assert_eq!(&sans.uris, &list(&spec.uris));
    let addresses = list(&spec.ip_addresses).into_iter();
    let addresses = addresses.map(|a| a.parse::<IpAddr>().unwrap().to_canonical());
    prop_assert_eq!(sans.ip_addresses, addresses.collect::<Vec<_>>());
    let others = spec.other_names.iter().flatten().map(|o| &o.utf8_value);
    let found = sans.other_names.iter().map(|o| Some(o.utf8_value.clone()));
    prop_assert!(others.cloned().eq(found));
    let subject = csr.subject().to_subject();
    match spec.literal_subject.as_deref() {
        Some(literal) if !literal.is_empty() => {
            let wanted = DistinguishedName::from_rfc4514(literal).unwrap();
            prop_assert_eq!(csr.subject(), &wanted);
        }
        _ => {
            let given = spec.subject.clone().unwrap_or_default();
            let set = |list: Vec<String>| list.into_iter().collect::<BTreeSet<_>>();
            let text = |field: &Option<String>| field.clone().unwrap_or_default();
            prop_assert_eq!(subject.common_name, text(&spec.common_name));
            prop_assert_eq!(subject.serial_number, text(&given.serial_number));
            for (found, asked) in [
                (subject.organizations, &given.organizations),
                (subject.countries, &given.countries),
                (subject.organizational_units, &given.organizational_units),
                (subject.localities, &given.localities),
                (subject.provinces, &given.provinces),
                (subject.street_addresses, &given.street_addresses),
                (subject.postal_codes, &given.postal_codes),
            ] {
                prop_assert_eq!(set(found), set(list(asked)));
            }
        }
    }
    let is_ca = spec.is_ca.unwrap_or_default();
    let usages = KeyUsages::from_names(&list(&spec.usages), is_ca).unwrap();
    let said = spec.encode_usages_in_request != Some(false);
    prop_assert_eq!(csr.usages(), said.then_some(usages));
    let constraints = spec.name_constraints.clone().unwrap_or_default();
    let constrained = [constraints.permitted, constraints.excluded];
    let constrained = constrained.into_iter().flatten().any(|s| {
        [s.dns_domains, s.ip_ranges, s.email_addresses, s.uri_domains]
            .into_iter()
            .flatten()
            .any(|list| !list.is_empty())
    });
    prop_assert_eq!(csr.name_constraints().is_some(), constrained);
    prop_assert!(
        csr.name_constraints()
            .is_none_or(|e| e.critical == constraints.critical.unwrap_or_default())
    );
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(2000),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_spec_is_asked_for_or_the_field_is_named(given in spec(), in_process: bool) {
        let mut world = World::new(&given);
        world.issuer = IssuerState::Ready { in_process };
        prop_assert!(world.run(12), "no rest: {:?}, {:?}", world.writes, world.conditions());
        let spec = world.certificate.spec.clone();
        let ready = world.ready();
        if ready.0 == "False" && ready.1 != "WindowError" {
            prop_assert_eq!(ready.1, "InvalidSpec", "{:?}", world.conditions());
            prop_assert_eq!(&world.writes, &["status"]);
            let message = world.message("Ready").to_owned();
            let (field, problem) = message.split_once(": ").unwrap();
            prop_assert!(field == "spec" || field.starts_with("spec."), "{}", message);
            prop_assert!(problem.len() > 20, "{}", message);
            // What is named is at fault: without it, or with it alone, there is another answer.
            let name = field.trim_start_matches("spec.").split(['.', '[']).next().unwrap();
            let is_given = given.get(name).is_some();
            prop_assert!(is_given || field == "spec", "{} of {}", message, given);
            return Ok(());
        }
        prop_assert!(ready.0 == "True" || ready.1 == "WindowError", "{:?}", world.conditions());
        let csr = CertificateSigningRequest::parse_pem(&world.requests[0].spec.request.0).unwrap();
        asks_for(&spec, &csr)?;
        let certificate = parse_chain(world.entry("tls.crt")).unwrap().remove(0);
        let key = PrivateKey::from_pem(world.entry("tls.key")).unwrap();
        prop_assert!(verify_key_matches(&certificate, &key).is_ok());
        prop_assert_eq!(certificate.subject(), csr.subject());
        let life = spec.duration.as_deref().map_or(Ok(world.lifetime), parse_go_duration).unwrap();
        prop_assert_eq!(certificate.not_after().duration_since(certificate.not_before()),
            SignedDuration::from_secs(life.as_secs()));
        // And it is renewed in time, unless that is switched off.
        let status = world.status();
        let disabled = spec.renewal.as_ref().and_then(|r| r.policy.as_deref()) == Some("Disabled");
        prop_assert_eq!(status.renewal_time.is_none(), disabled);
        if let Some(due) = status.renewal_time {
            prop_assert!(due.0 >= certificate.not_before() && due.0 < certificate.not_after(), "{:?}", due);
        }
    }
}
