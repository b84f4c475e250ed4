//! The request that is made, and which ones are kept (contract §4.4).

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::authority::Answer;
use super::world::{START, World};
use crate::api::CertificateRequest;
use crate::controllers::certificate::request::owner;
use crate::controllers::status::condition;
use crate::pki::{CertificateSigningRequest, KeyUsages, OtherName};

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

/// A world that has just made its request.
fn asking(spec: &Value) -> World {
    let mut world = World::new(spec);
    world.answer = Answer::Nothing;
    world.run(4);
    assert_eq!(world.requests.len(), 1, "{:?}", world.conditions());
    world.forget_records();
    world
}

fn csr(world: &World) -> CertificateSigningRequest {
    CertificateSigningRequest::parse_pem(&world.requests[0].spec.request.0).unwrap()
}

#[test]
fn whether_it_is_for_a_ca_is_said_if_the_gate_is_open() {
    for (gate, is_ca) in [(false, true), (true, true), (true, false)] {
        let mut world = World::new(&json!({ "isCA": is_ca }));
        world.settings.basic_constraints_in_request = gate;
        world.answer = Answer::Nothing;
        world.run(4);
        assert_eq!(csr(&world).is_ca(), gate.then_some(is_ca));
    }
}

#[test]
fn the_request_holds_the_name_constraints() {
    let constraints = json!({ "critical": true, "permitted": { "dnsDomains": ["example.com"] } });
    let world = asking(&json!({ "isCA": true, "nameConstraints": constraints }));
    assert!(csr(&world).name_constraints().unwrap().critical);
    // They are not compared (contract §4.2).
    let mut world = World::issued(&json!({ "isCA": true }));
    world.edit(&json!({ "nameConstraints": constraints }));
    assert!(world.run(3));
    assert_eq!(world.status().revision, Some(1));
}

#[test]
fn a_literal_subject_is_asked_for_and_compared_in_its_order() {
    let mut world = World::issued(&json!({ "literalSubject": "CN=app,OU=b,OU=a" }));
    assert_eq!(csr(&world).subject().to_string(), "CN=app,OU=b,OU=a");
    for same in ["CN=app, OU=b, OU=a", "CN=\\61pp;OU=b;OU=a"] {
        world.edit(&json!({ "literalSubject": same }));
        assert!(world.run(3));
        assert_eq!(world.status().revision, Some(1), "{same}");
    }
    world.edit(&json!({ "literalSubject": "CN=app,OU=a,OU=b" }));
    assert!(world.run(12));
    assert_eq!(world.status().revision, Some(2));
    // Without its request the names are compared, that of the subject among them.
    world.requests.clear();
    assert!(world.run(12));
    assert_eq!(world.status().revision, Some(2));
}

#[test]
fn the_request_is_made_of_the_certificate() {
    let mut world = World::new(&json!({
        "issuerRef": { "name": "ca", "kind": "ClusterIssuer" },
        "duration": "720h",
        "isCA": true,
        "usages": ["server auth", "cert sign"],
    }));
    world.answer = Answer::Nothing;
    world.certificate.metadata.labels = Some(map(&[("team", "shop")]));
    world.certificate.metadata.annotations = Some(map(&[
        (
            "acme.cert-manager.io/http01-override-ingress-class",
            "traefik",
        ),
        ("kubectl.kubernetes.io/last-applied-configuration", "{}"),
        ("fluxcd.io/a", "x"),
        ("cert-manager.io/certificate-name", "forged"),
    ]));
    world.settings.copied_annotation_prefixes = ["*", "-kubectl.kubernetes.io/", "-fluxcd.io/"]
        .map(Into::into)
        .to_vec();
    world.run(4);
    let request = &world.requests[0];
    let key = world.next_keys[0].metadata.name.clone().unwrap();
    assert_eq!(request.metadata.name.as_deref(), Some("app-1"));
    assert_eq!(request.metadata.namespace.as_deref(), Some("shop"));
    assert_eq!(request.metadata.labels, Some(map(&[("team", "shop")])));
    let annotations = map(&[
        (
            "acme.cert-manager.io/http01-override-ingress-class",
            "traefik",
        ),
        ("cert-manager.io/certificate-name", "app"),
        ("cert-manager.io/certificate-revision", "1"),
        ("cert-manager.io/private-key-secret-name", &key),
    ]);
    assert_eq!(request.metadata.annotations, Some(annotations));
    let owner = owner(&world.certificate);
    assert_eq!(
        (owner.controller, owner.block_owner_deletion),
        (Some(true), Some(true))
    );
    assert_eq!(request.metadata.owner_references, Some(vec![owner]));
    let (spec, wanted) = (&request.spec, &world.certificate.spec);
    assert_eq!(
        (&spec.duration, &spec.issuer_ref, spec.is_ca, &spec.usages),
        (
            // As Go writes it, and as cert-manager's own requests have it.
            &Some("720h0m0s".to_owned()),
            &wanted.issuer_ref,
            wanted.is_ca,
            &wanted.usages
        )
    );
    assert_eq!(
        (&spec.username, &spec.uid, &spec.groups, &spec.extra),
        (&None, &None, &None, &None)
    );
}

#[test]
fn the_csr_says_what_the_spec_does() {
    let world = asking(&json!({
        "commonName": "app",
        "subject": { "organizations": ["Shop"], "countries": ["NL"] },
        "ipAddresses": ["192.0.2.7"],
        "uris": ["spiffe://a/b"],
        "emailAddresses": ["a@example.com"],
        "otherNames": [{ "oid": "1.2.3.4", "utf8Value": "ö" }],
        "usages": ["client auth"],
    }));
    let csr = csr(&world);
    let sans = csr.sans();
    let subject = csr.subject().to_subject();
    assert_eq!(
        (
            subject.common_name.as_str(),
            subject.organizations,
            subject.countries
        ),
        ("app", vec!["Shop".into()], vec!["NL".into()])
    );
    assert_eq!(
        sans.dns_names,
        ["app.example.com"],
        "the common name is not added"
    );
    assert_eq!(
        sans.ip_addresses,
        ["192.0.2.7".parse::<std::net::IpAddr>().unwrap()]
    );
    assert_eq!(
        (sans.uris, sans.email_addresses),
        (vec!["spiffe://a/b".into()], vec!["a@example.com".into()])
    );
    assert_eq!(
        sans.other_names,
        [OtherName {
            oid: "1.2.3.4".into(),
            utf8_value: "ö".into()
        }]
    );
    assert_eq!(
        csr.usages(),
        KeyUsages::from_names(&["client auth"], false).ok()
    );
    assert_eq!(csr.is_ca(), None, "no basic constraints");
}

#[test]
fn usages_are_said_unless_told_otherwise() {
    let default = KeyUsages::from_names::<&str>(&[], false).ok();
    assert_eq!(csr(&asking(&json!({}))).usages(), default);
    assert_eq!(
        csr(&asking(&json!({ "encodeUsagesInRequest": true }))).usages(),
        default
    );
    assert_eq!(
        csr(&asking(&json!({ "encodeUsagesInRequest": false }))).usages(),
        None
    );
    assert_eq!(
        csr(&asking(&json!({ "isCA": true }))).usages(),
        KeyUsages::from_names::<&str>(&[], true).ok()
    );
}

#[test]
fn the_revision_is_one_more_than_that_of_the_status() {
    let mut world = World::issued(&json!({}));
    for revision in 2..4 {
        world.renew_by_hand();
        world.run(12);
        assert_eq!(world.status().revision, Some(revision));
        let name = format!("app-{revision}");
        assert_eq!(world.requests.last().unwrap().metadata.name, Some(name));
    }
}

#[test]
fn a_good_request_is_waited_for() {
    let mut world = asking(&json!({}));
    assert!(world.run(3));
    assert_eq!(world.writes, [""; 0]);
}

/// A request under way, changed: what is written until it rests.
fn after(change: fn(&mut World)) -> Vec<String> {
    let mut world = asking(&json!({}));
    change(&mut world);
    world.run(6);
    assert_eq!(world.requests.len(), 1);
    assert_eq!(world.issuing().0, "True");
    world.writes
}

#[test]
fn a_request_that_does_not_fit_any_more_is_replaced() {
    let replaced = ["delete CertificateRequest", "create request"];
    assert_eq!(
        after(|w| w.edit(&json!({ "dnsNames": ["b.example.com"] }))),
        ["status", replaced[0], replaced[1]],
        "spec (and observedGeneration)"
    );
    assert_eq!(
        after(|w| w.requests[0].spec.request = ByteString(b"?".to_vec())),
        replaced,
        "unreadable"
    );
    let lost = after(|w| {
        w.next_keys.clear();
        w.memory.clear();
    });
    assert_eq!(
        lost,
        ["delete CertificateRequest", "create key", "create request"],
        "its key is lost"
    );
}

#[test]
fn a_request_without_a_revision_is_deleted_during_an_issuance() {
    let mut world = asking(&json!({}));
    let mut strange: CertificateRequest = world.requests[0].clone();
    strange.metadata.name = Some("strange".into());
    strange.metadata.uid = Some("uid-strange".into());
    strange
        .metadata
        .annotations
        .as_mut()
        .unwrap()
        .insert("cert-manager.io/certificate-revision".into(), "x".into());
    world.requests.push(strange);
    world.run(4);
    assert_eq!(world.writes, ["delete CertificateRequest"]);
    assert_eq!(world.requests[0].metadata.name.as_deref(), Some("app-1"));
}

#[test]
fn a_failure_of_an_earlier_issuance_does_not_count() {
    let mut world = asking(&json!({}));
    let status = world.requests[0].status.get_or_insert_default();
    status.conditions = Some(vec![condition("Ready", false, "Failed", "no", None)]);
    status.failure_time = Some(Time(START - jiff::SignedDuration::from_secs(60)));
    world.run(4);
    assert_eq!(
        world.writes,
        ["delete CertificateRequest", "create request"]
    );
    assert_eq!(world.status().failed_issuance_attempts, None);
}

#[test]
fn a_request_that_is_being_deleted_is_not_waited_for() {
    let mut world = asking(&json!({}));
    world.requests[0].metadata.deletion_timestamp = Some(Time(START));
    // Its name is taken until it is gone.
    assert!(world.step());
    assert_eq!(world.requests.len(), 1);
    world.answer = Answer::Sign;
    world.requests.clear();
    world.run(4);
    assert_eq!(world.ready(), ("True", "Ready"));
}

#[test]
fn prefixes_choose_the_annotations() {
    for (prefixes, copied) in [
        (&["*"][..], &["a/x", "b/y"][..]),
        (&[], &[]),
        (&["a/"], &["a/x"]),
        (&["*", "-a/"], &["b/y"]),
        (&["-a/", "*"], &["a/x", "b/y"]),
        (&["*", "-a/", "a/x"], &["a/x", "b/y"]),
        (&["a/", "-a/x", "b/"], &["b/y"]),
        (&["b/", "-b/y"], &[]),
    ] {
        let mut world = World::new(&json!({}));
        world.certificate.metadata.annotations = Some(map(&[("a/x", ""), ("b/y", "")]));
        world.settings.copied_annotation_prefixes =
            prefixes.iter().map(|p| (*p).to_owned()).collect();
        world.answer = Answer::Nothing;
        world.run(4);
        let found = world.requests[0].metadata.annotations.clone().unwrap();
        let found: Vec<_> = found
            .keys()
            .filter(|k| !k.starts_with("cert-manager.io/"))
            .collect();
        assert_eq!(found, copied, "{prefixes:?}");
    }
}

#[test]
fn each_step_has_an_event_only_when_asked_for() {
    let mut quiet = World::new(&json!({}));
    quiet.run(12);
    assert_eq!(quiet.event_reasons(), ["Issuing"]);
    let mut loud = World::new(&json!({}));
    loud.settings.verbose_events = true;
    loud.run(12);
    assert_eq!(
        loud.event_reasons(),
        ["Issuing", "Generated", "Requested", "Issuing"]
    );
    loud.events.clear();
    loud.answer = Answer::Nothing;
    loud.renew_by_hand();
    loud.run(4);
    loud.edit(&json!({ "privateKey": { "size": 384 } }));
    loud.run(4);
    assert_eq!(
        loud.event_reasons(),
        [
            "Generated",
            "Requested",
            "Deleted",
            "Generated",
            "Requested"
        ]
    );
    assert_eq!(
        loud.events[2].message,
        "Regenerating private key due to change in fields: [spec.privateKey.size]"
    );
}
