//! Each row of the trigger chain (contract §4.2) and of the tables of Ready and Issuing (§2.1).

use jiff::SignedDuration;
use k8s_openapi::ByteString;
use serde_json::{Value, json};

use super::authority::{Answer, pair};
use super::world::{START, World};
use crate::controllers::certificate::IssuerState;

type Change = fn(&mut World);

const LIFETIME: SignedDuration = SignedDuration::from_hours(2160);

/// One reconcile after the change: the reason of the new issuance, if any, and Ready.
fn look(name: &str, mut world: World, change: fn(&mut World), issuing: &str, ready: (&str, &str)) {
    change(&mut world);
    world.answer = Answer::Nothing;
    assert!(world.step(), "{name}");
    let wanted = if issuing.is_empty() {
        ("", "")
    } else {
        ("True", issuing)
    };
    assert_eq!(world.issuing(), wanted, "{name}");
    assert_eq!(world.ready(), ready, "{name}: {}", world.message("Ready"));
    let generation = world.certificate.metadata.generation;
    assert!(
        world
            .conditions()
            .iter()
            .all(|c| c.observed_generation == generation),
        "{name}"
    );
    if !issuing.is_empty() {
        let told = world
            .events
            .iter()
            .any(|e| e.reason == "Issuing" && e.message == world.message("Issuing"));
        assert_eq!(
            told,
            issuing != "DoesNotExist",
            "{name}: {:?}",
            world.events
        );
    }
}

/// A change that makes the certificate wrong: the reason is that of both conditions.
fn wrong(name: &str, world: World, reason: &str, change: fn(&mut World)) {
    look(name, world, change, reason, ("False", reason));
}

/// A change after which the certificate is as good as before.
fn fine(name: &str, world: World, change: fn(&mut World)) {
    look(name, world, change, "", ("True", "Ready"));
}

#[test]
fn step_1_the_secret_exists() {
    wrong("new", World::new(&json!({})), "DoesNotExist", |_| {});
    wrong("deleted", World::issued(&json!({})), "DoesNotExist", |w| {
        w.secret = None
    });
}

#[test]
fn step_2_the_secret_has_data() {
    let world = World::issued(&json!({}));
    for (what, change) in [
        (
            "any data",
            (|w| w.secret.as_mut().unwrap().data = None) as Change,
        ),
        ("any data", |w| {
            w.secret.as_mut().unwrap().data.as_mut().unwrap().clear()
        }),
        ("a private key", |w| w.entry("tls.key").clear()),
        ("a private key", |w| {
            _ = w
                .secret
                .as_mut()
                .unwrap()
                .data
                .as_mut()
                .unwrap()
                .remove("tls.key")
        }),
        ("a certificate", |w| w.entry("tls.crt").clear()),
        ("a certificate", |w| {
            _ = w
                .secret
                .as_mut()
                .unwrap()
                .data
                .as_mut()
                .unwrap()
                .remove("tls.crt")
        }),
    ] {
        wrong(what, world.clone(), "MissingData", change);
        let mut world = world.clone();
        change(&mut world);
        world.step();
        assert!(
            world.message("Ready").contains(what),
            "{}",
            world.message("Ready")
        );
    }
}

#[test]
fn step_3_the_key_belongs_to_the_certificate() {
    let world = World::issued(&json!({}));
    wrong("key", world.clone(), "InvalidKeyPair", |w| {
        *w.entry("tls.key") = b"?".to_vec()
    });
    wrong("certificate", world.clone(), "InvalidCertificate", |w| {
        *w.entry("tls.crt") = b"?".to_vec()
    });
    wrong("other key", world.clone(), "InvalidKeyPair", |w| {
        *w.entry("tls.key") = pair(&["a"], START, LIFETIME).0
    });
    fine("something cut off", world.clone(), |w| {
        for name in ["tls.key", "tls.crt"] {
            let cut = w.entry(name)[..100].to_vec();
            w.entry(name).extend(cut);
        }
    });
    fine("as old OpenSSL labels it", world, |w| {
        let text = String::from_utf8(w.entry("tls.crt").clone()).unwrap();
        *w.entry("tls.crt") = text
            .replace(" CERTIFICATE-", " X509 CERTIFICATE-")
            .into_bytes();
    });
}

#[test]
fn step_4_the_issuer_is_that_of_the_spec() {
    const NAME: &str = "cert-manager.io/issuer-name";
    const KIND: &str = "cert-manager.io/issuer-kind";
    const GROUP: &str = "cert-manager.io/issuer-group";
    let plain = World::issued(&json!({}));
    let cluster = World::issued(
        &json!({ "issuerRef": { "kind": "ClusterIssuer", "group": "cert-manager.io" } }),
    );
    let unannotated = |w: &mut World| {
        w.annotations()
            .retain(|key, _| ![NAME, KIND, GROUP].contains(&key.as_str()));
    };

    wrong("name", plain.clone(), "IncorrectIssuer", |w| {
        _ = w.annotations().insert(NAME.into(), "other".into())
    });
    wrong("kind", plain.clone(), "IncorrectIssuer", |w| {
        _ = w.annotations().insert(KIND.into(), "ClusterIssuer".into())
    });
    wrong("group", plain.clone(), "IncorrectIssuer", |w| {
        _ = w.annotations().insert(GROUP.into(), "x.example".into())
    });
    wrong(
        "no name, but a kind",
        plain.clone(),
        "IncorrectIssuer",
        |w| _ = w.annotations().remove(NAME),
    );
    wrong("spec", plain.clone(), "IncorrectIssuer", |w| {
        w.edit(&json!({ "issuerRef": { "name": "other" } }))
    });
    wrong(
        "unannotated, ClusterIssuer",
        cluster,
        "IncorrectIssuer",
        |w| {
            w.annotations()
                .retain(|key, _| ![NAME, KIND, GROUP].contains(&key.as_str()));
        },
    );
    fine("defaults are equal to empty", plain.clone(), |w| {
        w.annotations().insert(KIND.into(), "Issuer".into());
        w.annotations()
            .insert(GROUP.into(), "cert-manager.io".into());
    });
    fine("defaults in the spec", plain.clone(), |w| {
        w.edit(&json!({ "issuerRef": { "kind": "Issuer", "group": "cert-manager.io" } }));
    });
    fine("unannotated, Issuer", plain, unannotated);
}

#[test]
fn step_5_the_secret_names_this_certificate() {
    const NAME: &str = "cert-manager.io/certificate-name";
    let world = World::issued(&json!({}));
    wrong("other", world.clone(), "IncorrectCertificate", |w| {
        _ = w.annotations().insert(NAME.into(), "other".into())
    });
    fine("none", world, |w| _ = w.annotations().remove(NAME));
}

#[test]
fn step_6_the_key_is_of_the_kind_that_the_spec_asks_for() {
    let world = World::issued(&json!({}));
    wrong("size", world.clone(), "SecretMismatch", |w| {
        w.edit(&json!({ "privateKey": { "size": 384 } }))
    });
    wrong("algorithm", world.clone(), "SecretMismatch", |w| {
        w.edit(&json!({ "privateKey": { "algorithm": "Ed25519" } }))
    });
    wrong("default algorithm", world.clone(), "SecretMismatch", |w| {
        w.edit(&json!({ "privateKey": null }))
    });
    fine("the default size, said", world, |w| {
        w.edit(&json!({ "privateKey": { "size": 256 } }))
    });
    let rsa = World::issued(&json!({ "privateKey": { "algorithm": null } }));
    fine("RSA is the default", rsa.clone(), |w| {
        w.edit(&json!({ "privateKey": { "algorithm": "RSA", "size": 2048 } }))
    });
    wrong("RSA size", rsa, "SecretMismatch", |w| {
        w.edit(&json!({ "privateKey": { "size": 4096 } }))
    });
}

#[test]
fn step_7_the_key_is_that_of_the_current_request() {
    let world = World::issued(&json!({}));
    wrong("other pair", world.clone(), "SecretMismatch", |w| {
        let (key, certificate) = pair(&["app.example.com"], START, LIFETIME);
        *w.entry("tls.key") = key;
        *w.entry("tls.crt") = certificate;
    });
    wrong(
        "unreadable request",
        world,
        "InvalidCertificateRequest",
        |w| {
            w.requests[0].spec.request = ByteString(b"?".to_vec());
        },
    );
}

/// cert-manager before 1.13 left several, and reads none then.
#[test]
fn step_7_of_several_requests_of_the_revision_the_one_for_the_key_is_current() {
    let world = World::issued(&json!({}));
    let add = |world: &mut World, name: &str| {
        let other = World::issued(&json!({ "dnsNames": ["other.example.com"] }));
        let mut request = other.requests[0].clone();
        request.metadata.name = Some(name.into());
        request.metadata.uid = Some(format!("uid-of-{name}"));
        world.requests.push(request);
    };
    for (place, name) in [("before", "a"), ("after", "z")] {
        let mut world = world.clone();
        let ours = world.requests[0].metadata.uid.clone();
        add(&mut world, name);
        world.requests.sort_by_key(|r| r.metadata.name.clone());
        world.answer = Answer::Nothing;
        world.run(4);
        assert_eq!(
            (world.issuing(), world.ready()),
            (("", ""), ("True", "Ready")),
            "{place}"
        );
        assert_eq!(world.requests.len(), 1, "{place}: the history has one");
        assert_eq!(world.requests[0].metadata.uid, ours, "{place}");
        assert_eq!(world.issuing(), ("", ""), "{place}");
    }
    // Two for the key, as rotationPolicy Never leaves them.
    let mut world = World::issued(&json!({ "revisionHistoryLimit": 3 }));
    let names = json!({ "dnsNames": ["app.example.com", "more.example.com"] });
    let mut other = world.clone();
    other.edit(&json!({ "privateKey": { "rotationPolicy": "Never" } }));
    other.edit(&names);
    other.run(12);
    let mut newer = other.requests.pop().unwrap();
    newer.metadata.name = Some("a".into());
    let annotations = newer.metadata.annotations.as_mut().unwrap();
    annotations.insert("cert-manager.io/certificate-revision".into(), "1".into());
    world.requests.insert(0, newer);
    world.answer = Answer::Nothing;
    world.run(4);
    assert_eq!((world.issuing(), world.requests.len()), (("", ""), 2));
    world.edit(&json!({ "dnsNames": ["third.example.com"] }));
    world.run(4);
    assert_eq!(world.issuing(), ("True", "RequestChanged"));
}

#[test]
fn step_8_the_current_request_asks_for_what_the_spec_does() {
    let world = World::issued(&json!({}));
    for (field, spec) in [
        (
            "spec.dnsNames",
            json!({ "dnsNames": ["app.example.com", "b.example.com"] }),
        ),
        ("spec.ipAddresses", json!({ "ipAddresses": ["192.0.2.7"] })),
        ("spec.uris", json!({ "uris": ["spiffe://a/b"] })),
        (
            "spec.emailAddresses",
            json!({ "emailAddresses": ["a@example.com"] }),
        ),
        (
            "spec.otherNames",
            json!({ "otherNames": [{ "oid": "1.2.3", "utf8Value": "x" }] }),
        ),
        ("spec.commonName", json!({ "commonName": "app" })),
        (
            "spec.subject.serialNumber",
            json!({ "subject": { "serialNumber": "7" } }),
        ),
        (
            "spec.subject.organizations",
            json!({ "subject": { "organizations": ["Shop"] } }),
        ),
        (
            "spec.subject.countries",
            json!({ "subject": { "countries": ["DE"] } }),
        ),
        (
            "spec.subject.localities",
            json!({ "subject": { "localities": ["Berlin"] } }),
        ),
        (
            "spec.subject.organizationalUnits",
            json!({ "subject": { "organizationalUnits": ["Web"] } }),
        ),
        // So it is spelled.
        (
            "spec.subject.postCodes",
            json!({ "subject": { "postalCodes": ["10115"] } }),
        ),
        (
            "spec.subject.provinces",
            json!({ "subject": { "provinces": ["BE"] } }),
        ),
        (
            "spec.subject.streetAddresses",
            json!({ "subject": { "streetAddresses": ["Main St. 1"] } }),
        ),
        (
            "spec.literalSubject",
            json!({ "literalSubject": "CN=app,O=Shop" }),
        ),
        (
            "spec.dnsNames spec.otherNames spec.commonName spec.isCA",
            json!({ "dnsNames": null, "otherNames": [{ "oid": "1.2.3", "utf8Value": "x" }],
                "commonName": "app", "isCA": true }),
        ),
        ("spec.isCA", json!({ "isCA": true })),
        ("spec.usages", json!({ "usages": ["server auth"] })),
    ] {
        let mut changed = world.clone();
        changed.edit(&spec);
        wrong(field, changed.clone(), "RequestChanged", |_| {});
        changed.step();
        let message =
            format!("Fields on existing CertificateRequest resource not up to date: [{field}]");
        assert_eq!(changed.message("Ready"), message);
    }
    let timed = World::issued(&json!({ "duration": "720h" }));
    wrong("duration", timed.clone(), "RequestChanged", |w| {
        w.edit(&json!({ "duration": "721h" }))
    });
    fine("duration in other words", timed.clone(), |w| {
        w.edit(&json!({ "duration": "720h0m0s" }))
    });
    fine("duration of one only", timed, |w| {
        w.edit(&json!({ "duration": null }))
    });

    // Without annotations the issuer's name is not looked at before this step.
    wrong("issuer", world, "RequestChanged", |w| {
        w.annotations()
            .retain(|key, _| !key.starts_with("cert-manager.io/issuer-"));
        w.edit(&json!({ "issuerRef": { "name": "other" } }));
    });
}

#[test]
fn lists_are_sets() {
    let world = World::issued(&json!({
        "dnsNames": ["a.example.com", "b.example.com"],
        "ipAddresses": ["192.0.2.7", "2001:db8::7"],
        "usages": ["signing", "key encipherment"],
        "subject": { "organizations": ["A", "B"] },
    }));
    fine("order", world, |w| {
        w.edit(&json!({
            "dnsNames": ["b.example.com", "a.example.com", "b.example.com"],
            "ipAddresses": ["2001:0db8:0::7", "192.0.2.7"],
            "usages": ["key encipherment", "digital signature"],
            "subject": { "organizations": ["B", "A"] },
        }));
    });
}

#[test]
fn fields_of_the_not_compared_list_do_not_matter() {
    let world = World::issued(&json!({}));
    for spec in [
        json!({ "privateKey": { "encoding": "PKCS8" } }),
        json!({ "privateKey": { "rotationPolicy": "Never" } }),
        json!({ "signatureAlgorithm": "ECDSAWithSHA384" }),
        json!({ "encodeUsagesInRequest": false }),
        json!({ "secretTemplate": { "labels": { "a": "b" } } }),
        json!({ "renewBefore": "24h" }),
        json!({ "revisionHistoryLimit": 3 }),
    ] {
        let mut changed = world.clone();
        changed.edit(&spec);
        fine(&spec.to_string(), changed, |_| {});
    }
}

#[test]
fn without_a_request_only_names_are_compared() {
    let spec = json!({ "commonName": "app.example.com", "ipAddresses": ["192.0.2.7"], "emailAddresses": ["a@x.org"], "uris": ["a:b"] });
    let mut world = World::issued(&spec);
    world.requests.clear();
    let edited = |spec: Value| {
        let mut edited = world.clone();
        edited.edit(&spec);
        edited
    };
    fine("as it was", world.clone(), |_| {});
    fine(
        "usages",
        edited(json!({ "usages": ["any"], "duration": "1h", "isCA": true })),
        |_| {},
    );
    fine(
        "subject",
        edited(json!({ "subject": { "organizations": ["Shop"] } })),
        |_| {},
    );
    fine(
        "common name in another place",
        edited(json!({ "commonName": null })),
        |_| {},
    );
    for spec in [
        json!({ "dnsNames": ["other.example.com"] }),
        json!({ "commonName": "other" }),
        json!({ "ipAddresses": null }),
        json!({ "emailAddresses": ["b@x.org"] }),
        json!({ "uris": [] }),
    ] {
        wrong(&spec.to_string(), edited(spec), "SecretMismatch", |_| {});
    }
}

#[test]
fn step_9_renewal_is_due() {
    let world = World::issued(&json!({}));
    let due = world.status().renewal_time.unwrap().0;
    let mut early = world.clone();
    early.now = due - SignedDuration::from_secs(1);
    fine("a second before", early, |_| {});
    let mut late = world.clone();
    late.now = due;
    // It is ready all the while.
    look("due", late.clone(), |_| {}, "Renewing", ("True", "Ready"));
    late.step();
    assert_eq!(
        late.message("Issuing"),
        "Renewing certificate as renewal was scheduled at 2026-03-02 00:00:00 +0000 UTC"
    );

    let end = world.status().not_after.unwrap().0;
    late.now = end;
    look(
        "in its last second",
        late.clone(),
        |_| {},
        "Renewing",
        ("True", "Ready"),
    );
    late.now = end + SignedDuration::from_secs(1);
    look("expired", late, |_| {}, "Renewing", ("False", "Expired"));
}

#[test]
fn the_first_hit_of_the_chain_is_the_reason() {
    let mut world = World::issued(&json!({}));
    world.now = world.status().not_after.unwrap().0 + SignedDuration::from_secs(1);
    let steps: [(&str, Change); 6] = [
        ("RequestChanged", |w| {
            w.edit(&json!({ "dnsNames": ["b.example.com"] }))
        }),
        ("SecretMismatch", |w| {
            w.edit(&json!({ "privateKey": { "algorithm": "Ed25519" } }))
        }),
        ("IncorrectCertificate", |w| {
            _ = w
                .annotations()
                .insert("cert-manager.io/certificate-name".into(), "b".into())
        }),
        ("IncorrectIssuer", |w| {
            w.edit(&json!({ "issuerRef": { "name": "b" } }))
        }),
        ("InvalidCertificate", |w| {
            *w.entry("tls.crt") = b"?".to_vec()
        }),
        ("MissingData", |w| w.entry("tls.key").clear()),
    ];
    for (reason, change) in steps {
        change(&mut world);
        wrong(reason, world.clone(), reason, |_| {});
    }
}

#[test]
fn an_external_issuer_is_compared_like_any_other() {
    let mut world = World::new(&json!({ "issuerRef": { "kind": "PCA", "group": "pca.example" } }));
    world.issuer = IssuerState::External;
    world.run(12);
    assert_eq!(world.ready(), ("True", "Ready"));
    wrong("group", world, "IncorrectIssuer", |w| {
        w.edit(&json!({ "issuerRef": { "group": "other.example" } }))
    });
}

/// As cert-manager's `FuzzyX509AltNamesMatchSpec` names them.
#[test]
fn without_its_request_the_fields_that_the_certificate_does_not_meet_are_named() {
    let spec = json!({ "commonName": "a.example.com", "dnsNames": ["a.example.com", "b.example.com"],
        "ipAddresses": ["192.0.2.7"], "uris": ["spiffe://a/b"], "emailAddresses": ["a@example.com"] });
    let mut issued = World::issued(&spec);
    issued.requests.clear();
    for (edit, fields) in [
        (json!({ "commonName": "c.example.com" }), "spec.commonName"),
        (json!({ "commonName": null }), ""),
        (json!({ "dnsNames": ["b.example.com"] }), ""),
        (
            json!({ "dnsNames": ["b.example.com", "c.example.com"] }),
            "spec.dnsNames",
        ),
        (
            json!({ "commonName": null, "dnsNames": ["b.example.com"] }),
            "spec.commonName spec.dnsNames",
        ),
        (
            json!({ "commonName": "c.example.com", "dnsNames": ["c.example.com"] }),
            "spec.commonName spec.dnsNames",
        ),
        (json!({ "ipAddresses": ["192.0.2.8"] }), "spec.ipAddresses"),
        (json!({ "ipAddresses": ["::ffff:192.0.2.7"] }), ""),
        (json!({ "uris": null, "commonName": null }), "spec.uris"),
        (
            json!({ "dnsNames": ["a.example.com"], "emailAddresses": ["b@example.com"] }),
            "spec.dnsNames spec.emailAddresses",
        ),
        (
            json!({ "literalSubject": "CN=c.example.com", "commonName": null }),
            "spec.commonName",
        ),
    ] {
        let mut world = issued.clone();
        world.answer = Answer::Nothing;
        world.edit(&edit);
        world.step();
        let said = "Issuing certificate as Existing issued Secret is not up to date for spec: ";
        let expected = match fields {
            "" => String::new(),
            fields => format!("{said}[{fields}]"),
        };
        assert_eq!(world.message("Issuing"), expected, "{edit}");
    }
}
