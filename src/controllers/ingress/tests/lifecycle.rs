//! Which Ingresses are looked at, what is made for each TLS block, and what is deleted.

use super::*;
use crate::controllers::action::{Event, Target};

const ISSUER: (&str, &str) = ("cert-manager.io/issuer", "ca");

fn blocks<'a>() -> [(&'a [&'a str], &'a str); 2] {
    [
        (&["a.example.com"], "a-tls"),
        (&["b.example.com", "c.example.com"], "b-tls"),
    ]
}

#[test]
fn only_ingresses_that_ask_are_looked_at() {
    let named = Settings {
        default_issuer_name: "ca".into(),
        ..settings()
    };
    let other = Settings {
        auto_annotations: strings(&["example.com/tls"]),
        ..named.clone()
    };
    let cases: [(Pairs, &Settings, bool); 13] = [
        (&[], &named, false),
        (&[("cert-manager.io/issuer-kind", "Issuer")], &named, false),
        (&[("cert-manager.io/issuer", "x")], &named, true),
        (&[("cert-manager.io/cluster-issuer", "x")], &named, true),
        (&[("kubernetes.io/tls-acme", "true")], &named, true),
        (&[("kubernetes.io/tls-acme", "1")], &named, true),
        (&[("kubernetes.io/tls-acme", "T")], &named, true),
        (&[("kubernetes.io/tls-acme", "TRUE")], &named, true),
        (&[("kubernetes.io/tls-acme", "false")], &named, false),
        (&[("kubernetes.io/tls-acme", "yes")], &named, false),
        (&[("kubernetes.io/tls-acme", "tRUE")], &named, false),
        (&[("kubernetes.io/tls-acme", "true")], &other, false),
        (&[("example.com/tls", "true")], &other, true),
    ];
    for (annotations, settings, asks) in cases {
        let plan = decide(&sight(ingress(annotations, &blocks())), settings);
        assert_eq!(
            created(&plan).len(),
            if asks { 2 } else { 0 },
            "{annotations:?}"
        );
        assert_eq!(plan.events.len(), plan.actions.len());
    }
}

#[test]
fn an_ingress_that_goes_away_is_left_alone() {
    let gone = |change: fn(&mut IngressFact)| {
        let mut fact = ingress(&[ISSUER], &blocks());
        change(&mut fact);
        let mut sight = sight(fact);
        // Its Certificates go with it, by their owner reference.
        sight.certificates = vec![Arc::new(foreign("old"))];
        assert_eq!(decide(&sight, &settings()), Plan::idle());
    };
    gone(|fact| fact.id.deleting = true);
    gone(|fact| fact.foreground_deletion = true);
}

#[test]
fn each_block_gets_a_certificate() {
    let mut fact = ingress(
        &[ISSUER],
        &[
            (
                &[
                    "a.example.com",
                    "192.0.2.7",
                    "*.a.example.com",
                    "a.example.com",
                    "2001:db8::7",
                    "2001:0db8::7",
                ],
                "a-tls",
            ),
            blocks()[1],
        ],
    );
    fact.labels = map(&[("team", "shop"), ("applyset.kubernetes.io/part-of", "set")]);
    let plan = decide(&sight(fact), &settings());
    let made = created(&plan);
    let wanted = Certificate {
        metadata: ObjectMeta {
            name: Some("a-tls".into()),
            namespace: Some("shop".into()),
            labels: Some(map(&[("team", "shop")])),
            owner_references: Some(vec![owner()]),
            ..ObjectMeta::default()
        },
        spec: CertificateSpec {
            secret_name: "a-tls".into(),
            dns_names: Some(strings(&["a.example.com", "*.a.example.com"])),
            ip_addresses: Some(strings(&["192.0.2.7", "2001:db8::7"])),
            issuer_ref: crate::api::IssuerReference {
                name: "ca".into(),
                kind: Some("Issuer".into()),
                group: Some("cert-manager.io".into()),
            },
            usages: Some(strings(&["digital signature", "key encipherment"])),
            ..CertificateSpec::default()
        },
        status: None,
    };
    assert_eq!(made[0], &wanted);
    assert_eq!(
        made[1].spec.dns_names,
        Some(strings(&["b.example.com", "c.example.com"]))
    );
    assert_eq!(made[1].spec.ip_addresses, None);
    let event = |name: &str| {
        let message = format!("Successfully created Certificate \"{name}\"");
        Event::normal("cert-manager-ingress-shim", "CreateCertificate", message)
    };
    assert_eq!(plan.events, [event("a-tls"), event("b-tls")]);
}

#[test]
fn addresses_of_annotations_and_hosts_are_one_list() {
    let annotations = [
        ISSUER,
        ("cert-manager.io/ip-sans", "192.0.2.9,2001:0DB8::7"),
        ("cert-manager.io/alt-names", "z.example.com"),
    ];
    let plan = decide(
        &sight(ingress(&annotations, &[(&["2001:db8::7"], "a")])),
        &settings(),
    );
    let spec = &created(&plan)[0].spec;
    assert_eq!(
        spec.ip_addresses,
        Some(strings(&["2001:db8::7", "192.0.2.9"]))
    );
    assert_eq!(spec.dns_names, Some(strings(&["z.example.com"])));
}

#[test]
fn a_faulty_block_is_skipped_and_the_others_are_not() {
    let tls: [(&[&str], &str); 5] = [
        (&[], "a"),
        (&["b.example.com"], ""),
        (&[""], "c"),
        (&["d.example.com"], "d"),
        (&[], ""),
    ];
    let plan = decide(&sight(ingress(&[ISSUER], &tls)), &settings());
    let names: Vec<_> = created(&plan)
        .iter()
        .map(|c| c.spec.secret_name.clone())
        .collect();
    assert_eq!(names, ["d"]);
    let warnings: Vec<_> = plan
        .events
        .iter()
        .filter(|e| e.warning)
        .map(|e| e.message.as_str())
        .collect();
    assert_eq!(
        warnings,
        [
            "Ingress \"shop/web\": spec.tls[0] has no hosts; list the names that the certificate is for; it is skipped",
            "Ingress \"shop/web\": spec.tls[1] has no secretName; set it to the name of the Secret that is to hold the certificate; it is skipped",
            "Ingress \"shop/web\": spec.tls[2] has no hosts; list the names that the certificate is for; it is skipped",
            "Ingress \"shop/web\": spec.tls[4] has no secretName; set it to the name of the Secret that is to hold the certificate; it is skipped",
        ]
    );
    assert!(
        plan.events
            .iter()
            .filter(|e| e.warning)
            .all(|e| e.reason == "BadConfig")
    );
}

#[test]
fn a_secret_in_two_blocks_refuses_the_ingress() {
    let tls: [(&[&str], &str); 4] = [
        (&["a.example.com"], "a"),
        (&["b.example.com"], "b"),
        (&["c.example.com"], "a"),
        (&["d.example.com"], "a"),
    ];
    let mut sight = sight(ingress(&[ISSUER], &tls));
    // Not even what nobody names is deleted.
    sight.certificates = vec![Arc::new(foreign("old"))];
    let told = refusals(&sight, &settings());
    assert!(
        told.len() == 1 && told[0].contains("the Secret \"a\" in more than one block"),
        "{told:?}"
    );
}

#[test]
fn certificates_of_others_are_not_touched() {
    let mut sight = sight(ingress(&[ISSUER], &blocks()));
    sight.others = vec![Arc::new(foreign("a-tls"))];
    let plan = decide(&sight, &settings());
    let names: Vec<_> = created(&plan)
        .iter()
        .map(|c| c.spec.secret_name.clone())
        .collect();
    assert_eq!(names, ["b-tls"]);
    assert_eq!(plan.events.len(), 1);
}

#[test]
fn a_certificate_whose_secret_is_not_named_any_more_is_deleted() {
    let both = sight(ingress(&[ISSUER], &blocks()));
    let made: Vec<_> = created(&decide(&both, &settings()))
        .into_iter()
        .map(stored)
        .collect();
    let one = with(&sight(ingress(&[ISSUER], &blocks()[..1])), made.clone());
    let plan = decide(&one, &settings());
    assert_eq!(
        plan.actions,
        [Action::Delete(
            Target::Certificate,
            Identity::of(&made[1].metadata)
        )]
    );
    let message = "Successfully deleted unrequired Certificate \"b-tls\"";
    assert_eq!(
        plan.events,
        [Event::normal(
            "cert-manager-ingress-shim",
            "DeleteCertificate",
            message
        )]
    );

    // A block that is faulty now still names its Secret.
    let faulty: [(&[&str], &str); 2] = [blocks()[0], (&[], "b-tls")];
    let plan = decide(
        &with(&sight(ingress(&[ISSUER], &faulty)), made.clone()),
        &settings(),
    );
    assert_eq!(plan.actions, []);

    // One that is on its way out needs no second delete, and no mending.
    let mut leaving = made;
    for certificate in &mut leaving {
        certificate.metadata.deletion_timestamp = Some(
            k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH),
        );
        certificate.spec.dns_names = None;
    }
    assert_eq!(decide(&with(&one, leaving), &settings()), Plan::idle());
}
