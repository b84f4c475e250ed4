//! What becomes of the answer to a request (contract §4.5), and the target Secret (§3.2, §4.6).

use std::collections::BTreeMap;

use jiff::SignedDuration;
use k8s_openapi::ByteString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::authority::{Answer, pair_for, pair_of, read_key};
use super::world::{START, World};
use crate::controllers::certificate::IssuerState;
use crate::controllers::certificate::request::owner;
use crate::controllers::status::{condition, seconds};
use crate::pki::{parse_chain, verify_key_matches};

#[test]
fn the_happy_path_takes_few_writes() {
    let mut world = World::new(&json!({}));
    world.run(12);
    assert_eq!(
        world.writes,
        [
            "status",
            "create key",
            "create request",
            "apply secret",
            "status",
            "delete Secret"
        ]
    );
    // With an issuer in this process the key need not be stored.
    let mut world = World::new(&json!({}));
    world.issuer = IssuerState::Ready { in_process: true };
    world.run(12);
    assert_eq!(
        world.writes,
        ["status", "create request", "apply secret", "status"]
    );
}

#[test]
fn success_sets_the_status_and_clears_what_failed_before() {
    let mut world = World::new(&json!({}));
    let status = world.certificate.status.get_or_insert_default();
    status.failed_issuance_attempts = Some(3);
    status.last_failure_time = Some(seconds(START - SignedDuration::from_hours(99)));
    world.run(12);
    let status = world.status();
    assert_eq!(world.ready(), ("True", "Ready"));
    assert_eq!(
        world.message("Ready"),
        "Certificate is up to date and has not expired"
    );
    assert_eq!(world.issuing(), ("", ""), "removed");
    assert_eq!(status.revision, Some(1));
    assert_eq!(
        (status.failed_issuance_attempts, status.last_failure_time),
        (None, None)
    );
    assert_eq!(status.next_private_key_secret_name, None);
    let (from, to) = (status.not_before.unwrap().0, status.not_after.unwrap().0);
    assert_eq!(to.duration_since(from), world.lifetime);
    assert_eq!(
        status.renewal_time.unwrap().0,
        from + SignedDuration::from_hours(1440)
    );
    assert_eq!(world.event_reasons(), ["Issuing"]);
    assert_eq!(
        world.events[0].message,
        "The certificate has been successfully issued"
    );
}

#[test]
fn the_secret_holds_the_pair_and_says_where_it_is_from() {
    let mut world = World::new(&json!({
        "commonName": "app.example.com",
        "dnsNames": ["app.example.com", "b.example.com"],
        "ipAddresses": ["192.0.2.7"],
        "emailAddresses": ["a@example.com"],
        "subject": { "organizations": ["Shop, Inc."], "serialNumber": "7" },
        "issuerRef": { "name": "ca", "kind": "ClusterIssuer" },
        "secretTemplate": { "annotations": { "note": "x" }, "labels": { "team": "shop" } },
    }));
    world.run(12);
    let secret = world.secret.clone().unwrap();
    assert_eq!(secret.type_.as_deref(), Some("kubernetes.io/tls"));
    assert_eq!(secret.metadata.name.as_deref(), Some("app-tls"));
    assert_eq!(secret.metadata.owner_references, None);
    let pairs = |items: &[(&str, &str)]| -> BTreeMap<String, String> {
        items
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    };
    assert_eq!(
        secret.metadata.labels,
        Some(pairs(&[
            ("team", "shop"),
            ("controller.cert-manager.io/fao", "true")
        ]))
    );
    let wanted = pairs(&[
        ("note", "x"),
        ("cert-manager.io/alt-names", "app.example.com,b.example.com"),
        ("cert-manager.io/certificate-name", "app"),
        ("cert-manager.io/common-name", "app.example.com"),
        ("cert-manager.io/email-sans", "a@example.com"),
        ("cert-manager.io/ip-sans", "192.0.2.7"),
        ("cert-manager.io/issuer-group", ""),
        ("cert-manager.io/issuer-kind", "ClusterIssuer"),
        ("cert-manager.io/issuer-name", "ca"),
        ("cert-manager.io/subject-organizations", "\"Shop, Inc.\""),
        ("cert-manager.io/subject-serialnumber", "7"),
        ("cert-manager.io/uri-sans", ""),
    ]);
    assert_eq!(secret.metadata.annotations, Some(wanted));
    let data = secret.data.unwrap();
    assert_eq!(
        data.keys().collect::<Vec<_>>(),
        ["tls.crt", "tls.key"],
        "the CA is not known"
    );
    let chain = parse_chain(&data["tls.crt"].0).unwrap();
    let key = crate::pki::PrivateKey::from_pem(&data["tls.key"].0).unwrap();
    verify_key_matches(&chain[0], &key).unwrap();
}

#[test]
fn the_ca_is_stored_when_the_issuer_gives_it() {
    let mut world = World::new(&json!({}));
    world.settings.enable_certificate_owner_ref = true;
    while world.requests.is_empty() {
        world.step();
    }
    world.answer_requests();
    world.requests[0].status.as_mut().unwrap().ca = Some(ByteString(b"a CA".to_vec()));
    world.run(12);
    assert_eq!(*world.entry("ca.crt"), b"a CA");
    let owners = world.secret.clone().unwrap().metadata.owner_references;
    assert_eq!(owners, Some(vec![owner(&world.certificate)]));
}

#[test]
fn a_refused_or_unusable_answer_fails_the_issuance() {
    for (answer, reason, says) in [
        (Answer::Fail, "Failed", "the CA said no"),
        (Answer::Deny, "Policy", "not like this"),
        (Answer::Invalid, "Bad", "not like this"),
        (
            Answer::WrongKey,
            "InvalidCertificate",
            "for another public key",
        ),
        (
            Answer::LeafLast,
            "InvalidCertificate",
            "its chain in the wrong order: the certificate has to come first, and is number 2",
        ),
        (Answer::Expired, "InvalidCertificate", "expired at"),
        (Answer::Garbage, "InvalidCertificate", "cannot be read"),
        (Answer::Empty, "InvalidCertificate", "no certificate"),
    ] {
        let mut world = World::new(&json!({}));
        world.answer = answer;
        assert!(world.run(12), "{answer:?}: {:?}", world.writes);
        assert_eq!(world.issuing(), ("False", reason), "{answer:?}");
        let message = world.message("Issuing");
        assert!(
            message.starts_with(
                "The certificate request has failed to complete and will be retried: "
            ),
            "{message}"
        );
        assert!(message.contains(says), "{answer:?}: {message}");
        assert_eq!(world.ready(), ("False", "DoesNotExist"), "{answer:?}");
        let why = world.message("Ready");
        if reason == "InvalidCertificate" {
            assert!(why.contains(says) && why.contains("(EL-1206)"), "{why}");
        }
        let status = world.status();
        assert_eq!(status.failed_issuance_attempts, Some(1), "{answer:?}");
        assert!(
            status
                .last_failure_time
                .is_some_and(|t| t.0 >= START && t.0 < world.now),
            "{answer:?}"
        );
        assert_eq!(
            (status.revision, status.next_private_key_secret_name),
            (None, None),
            "{answer:?}"
        );
        assert!(
            world.secret.is_none() && world.next_keys.is_empty(),
            "{answer:?}"
        );
        let warning = world.events.iter().find(|e| e.warning).unwrap();
        assert_eq!(
            (warning.reason.as_str(), warning.message.as_str()),
            (reason, message),
            "{answer:?}"
        );
        assert_eq!(world.requests.len(), 1, "it stays, to be looked at");
    }
}

#[test]
fn names_that_the_issuer_chose_are_used_and_said() {
    let mut world = World::issued(&json!({}));
    let secret = world.secret.as_ref().unwrap();
    let key = read_key(secret).unwrap();
    let (_, other) = pair_of(&key, &["other.example.com"], world.now, world.lifetime);
    let data = world.secret.as_mut().unwrap().data.as_mut().unwrap();
    data.insert("tls.crt".into(), ByteString(other));
    assert!(world.run(12));
    assert_eq!(world.ready(), ("True", "Ready"));
    let message = world.message("Ready");
    assert!(
        message.starts_with("Certificate is up to date and has not expired. ")
            && message.contains("(EL-1205)"),
        "{message}"
    );
    assert_eq!(world.requests.len(), 1);
}

/// Let's Encrypt gives none for clients.
#[test]
fn usages_that_the_ca_left_out_are_said_once() {
    let usages = json!(["digital signature", "server auth", "client auth"]);
    let mut world = World::issued(&json!({ "usages": usages }));
    assert_eq!(
        world.message("Ready"),
        "Certificate is up to date and has not expired"
    );
    let key = read_key(world.secret.as_ref().unwrap()).unwrap();
    let given = |world: &World, usages: &[&str]| {
        let names = ["app.example.com"];
        pair_for(&key, &names, usages, world.now, world.lifetime).1
    };
    *world.entry("tls.crt") = given(&world, &["digital signature", "server auth"]);
    assert!(world.run(12));
    assert_eq!(world.ready(), ("True", "Ready"));
    let message = world.message("Ready");
    assert!(
        message.contains("(client auth)") && message.ends_with("(EL-1112)."),
        "{message}"
    );
    assert_eq!(world.event_reasons(), ["UsagesLeftOut"]);
    assert!(world.events[0].warning);
    world.pass(SignedDuration::from_hours(1));
    assert!(world.run(12));
    assert_eq!((world.event_reasons().len(), world.requests.len()), (1, 1));
    assert_eq!(world.status().revision, Some(1));
    // One that says no extended usages may be used for all.
    *world.entry("tls.crt") = given(&world, &[]);
    assert!(world.run(12));
    assert_eq!(
        world.message("Ready"),
        "Certificate is up to date and has not expired"
    );
}

/// The status of an issuance is written once, and each renewal is no news.
#[test]
fn what_a_new_certificate_lacks_is_said_with_it() {
    let usages = json!(["digital signature", "server auth", "client auth"]);
    let spec = json!({ "usages": usages, "encodeUsagesInRequest": false });
    let mut world = World::new(&spec);
    world.answer = Answer::SignForServers;
    for revision in [1, 2] {
        for _ in 0..12 {
            if world.status().revision == Some(revision) {
                break;
            }
            world.step();
            world.answer_requests();
        }
        let issued = world.status();
        assert_eq!(issued.revision, Some(revision));
        let message = world.message("Ready");
        assert!(message.ends_with("(EL-1112)."), "{message}");
        assert!(world.run(12));
        assert_eq!(world.status(), issued);
        let said = world.event_reasons().into_iter();
        assert_eq!(said.filter(|r| *r == "UsagesLeftOut").count(), 1);
        world.renew_by_hand();
    }
}

/// What the certificate in a Secret of a backup was asked for, nobody knows.
#[test]
fn without_its_request_a_ca_is_not_said_to_have_left_out_what_the_spec_asks_for() {
    let mut world = World::issued(&json!({ "usages": ["server auth"] }));
    world.requests.clear();
    world.edit(&json!({ "usages": ["server auth", "client auth"] }));
    assert!(world.run(12));
    assert_eq!(world.status().revision, Some(1));
    assert_eq!(
        world.message("Ready"),
        "Certificate is up to date and has not expired"
    );
}

#[test]
fn the_old_certificate_is_served_until_the_new_one_is_there() {
    let mut world = World::issued(&json!({}));
    let before = world.secret.clone();
    world.answer = Answer::Fail;
    world.edit(&json!({ "dnsNames": ["b.example.com"] }));
    world.run(12);
    assert_eq!(world.issuing(), ("False", "Failed"));
    assert_eq!(world.secret, before);
    assert_eq!(world.status().revision, Some(1));
    world.pass(SignedDuration::from_hours(1));
    world.answer = Answer::Sign;
    world.run(12);
    assert_eq!(
        (world.ready(), world.status().revision),
        (("True", "Ready"), Some(2))
    );
    assert_ne!(world.secret, before);
}

#[test]
fn a_crash_between_secret_and_status_repeats_nothing_but_the_writes() {
    let mut world = World::new(&json!({}));
    while world.requests.is_empty() {
        world.step();
    }
    world.answer_requests();
    let before = world.clone();
    world.step();
    // The status write was lost.
    let mut crashed = before;
    crashed.secret.clone_from(&world.secret);
    crashed.memory.clone_from(&world.memory);
    let written = crashed.secret.clone();
    crashed.run(12);
    assert_eq!(crashed.ready(), ("True", "Ready"));
    assert_eq!((crashed.secret, crashed.requests.len()), (written, 1));
}

#[test]
fn a_request_that_was_answered_for_nobody_starts_over() {
    let mut world = World::new(&json!({}));
    while world.requests.is_empty() {
        world.step();
    }
    world.answer_requests();
    world.next_keys.clear();
    world.memory.clear();
    world.run(12);
    assert_eq!(world.ready(), ("True", "Ready"));
    assert!(world.writes.contains(&"delete CertificateRequest".into()));
    assert_eq!(
        world.status().failed_issuance_attempts,
        None,
        "nobody failed"
    );
}

#[test]
fn nothing_is_done_for_a_certificate_that_is_being_deleted() {
    let mut world = World::new(&json!({}));
    world.certificate.metadata.deletion_timestamp = Some(seconds(START));
    assert!(world.run(2));
    assert_eq!(world.writes, [""; 0]);
}

#[test]
fn an_issuer_that_cannot_sign_is_waited_for_and_said() {
    for issuer in [IssuerState::Missing, IssuerState::NotReady] {
        let mut world = World::new(&json!({}));
        world.issuer = issuer;
        world.cause = Some("Issuer \"ca\" does not exist.".into());
        world.run(6);
        assert_eq!(
            (world.issuing(), world.ready()),
            (("True", "DoesNotExist"), ("False", "DoesNotExist"))
        );
        assert_eq!(
            world.message("Ready"),
            "Issuing certificate as Secret does not exist. Issuer \"ca\" does not exist."
        );
        world.issuer = IssuerState::Ready { in_process: false };
        world.cause = None;
        world.run(6);
        assert_eq!(world.ready(), ("True", "Ready"));
    }
}

#[test]
fn a_secret_that_comes_back_while_another_is_issued_stays() {
    let restored = World::issued(&json!({})).secret;
    for answer in [Answer::Nothing, Answer::Pend] {
        for spec in [
            json!({}),
            json!({ "privateKey": { "rotationPolicy": "Never" } }),
        ] {
            let mut world = World::new(&spec);
            world.answer = answer;
            world.run(12);
            assert_eq!((world.requests.len(), world.issuing().0), (1, "True"));
            world.secret.clone_from(&restored);
            assert!(world.run(12));
            assert_eq!(world.ready(), ("True", "Ready"), "{:?}", world.conditions());
            assert_eq!(world.issuing(), ("", ""));
            assert_eq!((&world.secret, world.requests.len()), (&restored, 0));
            assert!(world.next_keys.is_empty());
            assert!(world.event_reasons().contains(&"Restored"));
        }
    }
}

#[test]
fn a_secret_that_will_not_do_is_replaced_when_it_comes_back() {
    let mut world = World::new(&json!({ "dnsNames": ["other.example.com"] }));
    world.answer = Answer::Nothing;
    world.run(12);
    world.secret = World::issued(&json!({})).secret;
    world.answer = Answer::Sign;
    assert!(world.run(12));
    assert_eq!(
        (world.ready(), world.status().revision),
        (("True", "Ready"), Some(1))
    );
    assert_eq!(world.requests.len(), 1);
}

#[test]
fn a_request_that_waits_for_approval_is_looked_at_when_that_takes_too_long() {
    // Whether the request is approved, when the one was made that was made for it and is not, and the wake.
    for (approved, of_child, expected) in [
        (false, None, Some(5)),
        (true, None, None),
        (true, Some(0), Some(5)),
        (true, Some(-3), Some(2)),
        (true, Some(-5), None),
    ] {
        let mut world = World::new(&json!({}));
        world.settings.approves = false;
        world.answer = Answer::Nothing;
        world.run(6);
        let made = |ago: i64| world.now + SignedDuration::from_secs(ago);
        world.unapproved = of_child.map(made);
        let request = &mut world.requests[0];
        request.metadata.creation_timestamp = Some(Time(world.now));
        let approval = condition("Approved", true, "ByHand", "fine", None);
        let conditions = approved.then(|| vec![approval]);
        request.status.get_or_insert_default().conditions = conditions;
        world.step();
        let wake = world.wake.map(|wake| wake.as_secs());
        assert_eq!(wake, expected, "{approved} {of_child:?}");
    }
}
