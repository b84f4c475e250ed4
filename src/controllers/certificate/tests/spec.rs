//! Specs that cannot be met: which field, why, and never a wrong certificate.

use serde_json::{Value, json};

use super::authority::Answer;
use super::world::World;

/// What is said of a new Certificate with this spec, and of one that had a certificate before.
fn refused(spec: &Value, reason: &str, field: &str) {
    let mut world = World::new(spec);
    assert!(world.run(6), "{spec}: {:?}", world.writes);
    assert_eq!(world.writes, ["status"], "{spec}");
    assert_eq!(
        (world.ready(), world.issuing()),
        (("False", reason), ("", "")),
        "{spec}"
    );
    assert!(
        world.message("Ready").starts_with(&format!("{field}: ")),
        "{spec}: {}",
        world.message("Ready")
    );

    let mut world = World::issued(&json!({}));
    let before = world.secret.clone();
    world.edit(spec);
    assert!(world.run(6), "{spec}: {:?}", world.writes);
    assert_eq!(
        (world.ready(), world.issuing()),
        (("False", reason), ("", "")),
        "{spec}: {}",
        world.message("Ready")
    );
    assert!(
        world.message("Ready").starts_with(&format!("{field}: ")),
        "{spec}: {}",
        world.message("Ready")
    );
    assert_eq!(
        (&world.secret, world.requests.len()),
        (&before, 1),
        "{spec}"
    );
    assert!(world.status().not_after.is_some(), "{spec}");
    // Not even when it is due, or asked for by hand.
    world.now = world.status().not_after.unwrap().0;
    world.renew_by_hand();
    assert!(world.run(6), "{spec}: {:?}", world.writes);
    assert_eq!(
        (world.ready(), world.issuing()),
        (("False", reason), ("", "")),
        "{spec}"
    );
    assert_eq!(
        (&world.secret, world.requests.len()),
        (&before, 1),
        "{spec}"
    );
}

#[test]
fn what_nobody_can_do_is_said() {
    for (field, spec) in [
        ("spec.duration", json!({ "duration": "90d" })),
        ("spec.duration", json!({ "duration": "-1h" })),
        (
            "spec",
            json!({ "dnsNames": (0..1500).map(|n| format!("n{n}.example.com")).collect::<Vec<_>>() }),
        ),
        ("spec", json!({ "dnsNames": null })),
        ("spec", json!({ "dnsNames": [] })),
        ("spec.commonName", json!({ "commonName": "x".repeat(65) })),
        (
            "spec.ipAddresses",
            json!({ "ipAddresses": ["192.0.2.700"] }),
        ),
        (
            "spec.ipAddresses",
            json!({ "ipAddresses": ["fe80::1%eth0"] }),
        ),
        ("spec.usages", json!({ "usages": ["telepathy"] })),
        (
            "spec.issuerRef.kind",
            json!({ "issuerRef": { "kind": "clusterissuer" } }),
        ),
        (
            "spec.privateKey.algorithm",
            json!({ "privateKey": { "algorithm": "DSA" } }),
        ),
        (
            "spec.privateKey.size",
            json!({ "privateKey": { "size": 512 } }),
        ),
        (
            "spec.privateKey.size",
            json!({ "privateKey": { "algorithm": "RSA", "size": 1024 } }),
        ),
        (
            "spec.privateKey.size",
            json!({ "privateKey": { "algorithm": "RSA", "size": -1 } }),
        ),
        (
            "spec.signatureAlgorithm",
            json!({ "signatureAlgorithm": "MD5WithRSA" }),
        ),
        (
            "spec.signatureAlgorithm",
            json!({ "signatureAlgorithm": "SHA256WithRSA" }),
        ),
        (
            "spec.keystores.jks",
            json!({ "keystores": { "jks": { "create": true } } }),
        ),
        (
            "spec.keystores.jks",
            json!({ "keystores": { "jks": { "create": true, "password": "" } } }),
        ),
        (
            "spec.keystores.jks",
            json!({ "keystores": { "jks": { "create": true, "passwordSecretRef": { "name": "p" } } } }),
        ),
        (
            "spec.keystores.jks",
            json!({ "keystores": { "jks": { "create": true, "password": "x", "alias": "a".repeat(1025) } } }),
        ),
        (
            "spec.keystores.pkcs12",
            json!({ "keystores": { "pkcs12": { "create": true, "password": "x",
                "passwordSecretRef": { "name": "p", "key": "k" } } } }),
        ),
        (
            "spec.keystores.pkcs12.profile",
            json!({ "keystores": { "pkcs12": { "create": true, "password": "x", "profile": "Modern" } } }),
        ),
        (
            "spec.additionalOutputFormats",
            json!({ "additionalOutputFormats": [{ "type": "PEM" }] }),
        ),
        (
            "spec.dnsNames",
            json!({ "dnsNames": ["b\u{fc}cher.example.com"] }),
        ),
        (
            "spec.emailAddresses",
            json!({ "emailAddresses": ["b\u{fc}cher@example.com"] }),
        ),
        (
            "spec.otherNames",
            json!({ "otherNames": [{ "oid": "one.two", "utf8Value": "x" }] }),
        ),
    ] {
        refused(&spec, "InvalidSpec", field);
    }
}

/// Before a CA is asked for what cannot be stored.
#[test]
fn what_the_api_server_would_refuse_is_said() {
    for (field, spec) in [
        ("spec.secretName", json!({ "secretName": "My_Secret" })),
        ("spec.secretName", json!({ "secretName": "-a" })),
        ("spec.secretName", json!({ "secretName": "a..b" })),
        ("spec.secretName", json!({ "secretName": "a".repeat(254) })),
        (
            "spec.secretTemplate.labels",
            json!({ "secretTemplate": { "labels": { "owner": "Team A" } } }),
        ),
        (
            "spec.secretTemplate.labels",
            json!({ "secretTemplate": { "labels": { "owner": "a".repeat(64) } } }),
        ),
        (
            "spec.secretTemplate.labels",
            json!({ "secretTemplate": { "labels": { "Example.com/owner": "a" } } }),
        ),
        (
            "spec.secretTemplate.annotations",
            json!({ "secretTemplate": { "annotations": { "a note": "Team A" } } }),
        ),
        (
            "spec.secretTemplate.annotations",
            json!({ "secretTemplate": { "annotations": { "cert-manager.io/common-name": "forged" } } }),
        ),
    ] {
        refused(&spec, "InvalidSpec", field);
    }
}

#[test]
fn the_place_of_the_fault_is_said() {
    for (field, spec) in [
        (
            "spec.otherNames[1].utf8Value",
            json!({ "otherNames": [{ "oid": "1.2.3", "utf8Value": "x" }, { "oid": "1.2.3" }] }),
        ),
        (
            "spec.literalSubject",
            json!({ "literalSubject": "CN=app,cn=b" }),
        ),
        (
            "spec.literalSubject",
            json!({ "literalSubject": "CN=Shop, Ltd" }),
        ),
        (
            "spec.literalSubject",
            json!({ "literalSubject": format!("CN={}", "x".repeat(65)) }),
        ),
        (
            "spec.commonName",
            json!({ "literalSubject": "CN=app", "commonName": "app" }),
        ),
        (
            "spec.subject",
            json!({ "literalSubject": "CN=app", "subject": { "countries": ["DE"] } }),
        ),
        (
            "spec",
            json!({ "literalSubject": "O=Shop", "dnsNames": null }),
        ),
        (
            "spec.nameConstraints",
            json!({ "nameConstraints": { "permitted": { "dnsDomains": ["example.com"] } } }),
        ),
        (
            "spec.nameConstraints",
            json!({ "isCA": true, "nameConstraints": { "critical": true } }),
        ),
        (
            "spec.nameConstraints.excluded.ipRanges[1]",
            json!({ "isCA": true, "nameConstraints": { "excluded": { "ipRanges": ["10.0.0.0/8", "10.0.0.0/33"] } } }),
        ),
        (
            "spec.nameConstraints",
            json!({ "isCA": true, "nameConstraints": { "permitted": { "dnsDomains": ["b\u{fc}cher.example.com"] } } }),
        ),
        (
            "spec.renewal.windows",
            json!({ "renewal": { "policy": "Disabled", "windows": [{ "cron": "@daily", "windowDuration": "2h" }] } }),
        ),
        (
            "spec.renewal.windows[1].cron",
            json!({ "renewal": { "policy": "RenewBefore", "windows": [
                { "cron": "0 2 * * *", "windowDuration": "2h" },
                { "cron": "0 25 * * *", "windowDuration": "2h" },
            ] } }),
        ),
        (
            "spec.renewal.windows[0].timezone",
            json!({ "renewal": { "policy": "RenewBefore", "windows": [
                { "cron": "@daily", "windowDuration": "2h", "timezone": "Europe/Atlantis" },
            ] } }),
        ),
        (
            "spec.renewal.windows[0].windowDuration",
            json!({ "renewal": { "policy": "RenewBefore", "windows": [{ "cron": "@daily", "windowDuration": "0h" }] } }),
        ),
    ] {
        refused(&spec, "InvalidSpec", field);
    }
}

#[test]
fn fields_that_ask_for_nothing_are_no_obstacle() {
    for spec in [
        json!({ "literalSubject": "" }),
        json!({ "isCA": true, "nameConstraints": { "permitted": {} } }),
        json!({ "keystores": { "jks": { "create": false }, "pkcs12": { "create": false } } }),
        json!({ "additionalOutputFormats": [] }),
        json!({ "renewal": { "policy": "RenewBefore", "windows": [] } }),
        json!({ "privateKey": { "size": 0 } }),
        json!({ "secretName": "a.b-c.0" }),
        json!({ "secretTemplate": {
            "labels": { "a": "", "example.com/B_c.d": "x".repeat(63) },
            "annotations": { "Example.com/A": "any thing" },
        } }),
    ] {
        World::issued(&spec);
    }
}

#[test]
fn each_kind_of_name_is_enough() {
    for spec in [
        json!({ "dnsNames": null, "commonName": "app" }),
        json!({ "dnsNames": null, "literalSubject": "CN=app,O=Shop" }),
        json!({ "dnsNames": null, "ipAddresses": ["2001:db8::7"] }),
        json!({ "dnsNames": null, "uris": ["spiffe://a"] }),
        json!({ "dnsNames": null, "emailAddresses": ["a@example.com"] }),
        json!({ "dnsNames": null, "otherNames": [{ "oid": "1.2.3", "utf8Value": "x" }] }),
    ] {
        World::issued(&spec);
    }
}

/// The certificate has it in four bytes, as its CA sees it.
#[test]
fn an_ipv4_address_in_ipv6_is_one_of_ipv4() {
    let mut world = World::issued(&json!({ "ipAddresses": ["::ffff:192.0.2.1"] }));
    assert_eq!(world.annotations()["cert-manager.io/ip-sans"], "192.0.2.1");
    assert!(!world.message("Ready").contains("other names"));
    // Nor is it another one when no request is left.
    world.requests.clear();
    assert!(world.run(3));
    assert_eq!(world.writes, [""; 0]);
}

#[test]
fn any_kind_of_issuer_of_another_group_will_do() {
    let kind = json!({ "issuerRef": { "kind": "clusterissuer", "group": "pca.example" } });
    World::issued(&kind);
}

#[test]
fn a_mended_spec_is_issued_at_once() {
    let mut world = World::new(&json!({ "signatureAlgorithm": "SHA256WithRSA" }));
    world.run(6);
    world.edit(&json!({ "signatureAlgorithm": null }));
    world.run(12);
    assert_eq!(
        (world.ready(), world.status().failed_issuance_attempts),
        (("True", "Ready"), None)
    );
}

#[test]
fn a_spec_that_is_spoilt_during_an_issuance_ends_it() {
    let mut world = World::new(&json!({}));
    world.answer = Answer::Nothing;
    world.run(4);
    assert_eq!(world.issuing().0, "True");
    world.edit(&json!({ "usages": ["telepathy"] }));
    assert!(world.run(4));
    assert_eq!(
        (world.ready(), world.issuing()),
        (("False", "InvalidSpec"), ("", ""))
    );
    assert_eq!(
        (
            world.next_keys.len(),
            world.status().next_private_key_secret_name
        ),
        (0, None)
    );
    world.edit(&json!({ "usages": null }));
    world.answer = Answer::Sign;
    world.run(12);
    assert_eq!(world.ready(), ("True", "Ready"));
}

#[test]
fn as_many_names_as_can_be_read_back_are_accepted() {
    let longest = "x".repeat(50);
    let names = |count: usize| {
        (0..count)
            .map(|n| format!("{n}.{longest}.example.com"))
            .collect::<Vec<_>>()
    };
    let fits = |count| {
        let mut world =
            World::new(&json!({ "dnsNames": names(count), "privateKey": { "algorithm": null } }));
        world.run(12);
        world.ready().0 == "True"
    };
    assert!(fits(350));
    // Whatever is accepted is issued.
    let most = (350..420).take_while(|count| fits(*count)).count();
    assert!(most > 0 && most < 70, "{most}");
}
