//! Each row of the annotation table (contract §3.1).

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::api::IssuerReference;

/// What a Certificate's spec holds beyond what every one of these Ingresses has.
fn extra(annotations: &[(&str, &str)]) -> Value {
    let plain = json!(made(&[], &settings()).spec);
    let mut spec = json!(made(annotations, &settings()).spec);
    let fields = spec.as_object_mut().unwrap();
    fields.retain(|key, value| plain.get(key) != Some(value));
    spec
}

#[test]
#[allow(clippy::too_many_lines, reason = "one line for each row of the table")]
fn each_annotation_sets_its_field() {
    let csv = json!(["Shop, Inc.", "a \"b\"", "", "c"]);
    let record = r#""Shop, Inc.","a ""b""",,c"#;
    for (annotation, value, spec) in [
        (
            "common-name",
            "app.example.com",
            json!({ "commonName": "app.example.com" }),
        ),
        ("common-name", "", json!({})),
        (
            "alt-names",
            "b.example.com, *.c.example.com,,app.example.com",
            json!({ "dnsNames": ["app.example.com", "b.example.com", "*.c.example.com"] }),
        ),
        ("alt-names", "", json!({})),
        (
            "ip-sans",
            "192.0.2.7, 2001:db8::7",
            json!({ "ipAddresses": ["192.0.2.7", "2001:db8::7"] }),
        ),
        (
            "email-sans",
            "a@example.com, b+c@x.org",
            json!({ "emailAddresses": ["a@example.com", "b+c@x.org"] }),
        ),
        ("uri-sans", "spiffe://a/b", json!({})),
        (
            "subject-organizations",
            record,
            json!({ "subject": { "organizations": csv } }),
        ),
        (
            "subject-organizationalunits",
            record,
            json!({ "subject": { "organizationalUnits": csv } }),
        ),
        (
            "subject-countries",
            record,
            json!({ "subject": { "countries": csv } }),
        ),
        (
            "subject-provinces",
            record,
            json!({ "subject": { "provinces": csv } }),
        ),
        (
            "subject-localities",
            record,
            json!({ "subject": { "localities": csv } }),
        ),
        (
            "subject-postalcodes",
            record,
            json!({ "subject": { "postalCodes": csv } }),
        ),
        (
            "subject-streetaddresses",
            record,
            json!({ "subject": { "streetAddresses": csv } }),
        ),
        (
            "subject-serialnumber",
            "1,2",
            json!({ "subject": { "serialNumber": "1,2" } }),
        ),
        ("subject-serialnumber", "", json!({})),
        (
            "subject-countries",
            "NL\n",
            json!({ "subject": { "countries": ["NL"] } }),
        ),
        (
            "subject-countries",
            "\"N\nL\"",
            json!({ "subject": { "countries": ["N\nL"] } }),
        ),
        ("subject-countries", "", json!({})),
        ("duration", "720h", json!({ "duration": "720h0m0s" })),
        ("duration", "1h", json!({ "duration": "1h0m0s" })),
        ("renew-before", "5m", json!({ "renewBefore": "5m0s" })),
        (
            "renew-before-percentage",
            "25",
            json!({ "renewBeforePercentage": 25 }),
        ),
        (
            "usages",
            "server auth, client auth,signing",
            json!({ "usages": ["server auth", "client auth", "signing"] }),
        ),
        (
            "revision-history-limit",
            "3",
            json!({ "revisionHistoryLimit": 3 }),
        ),
        (
            "private-key-algorithm",
            "Ed25519",
            json!({ "privateKey": { "algorithm": "Ed25519" } }),
        ),
        (
            "private-key-algorithm",
            "ECDSA",
            json!({ "privateKey": { "algorithm": "ECDSA" } }),
        ),
        (
            "private-key-algorithm",
            "RSA",
            json!({ "privateKey": { "algorithm": "RSA" } }),
        ),
        (
            "private-key-encoding",
            "PKCS1",
            json!({ "privateKey": { "encoding": "PKCS1" } }),
        ),
        (
            "private-key-encoding",
            "PKCS8",
            json!({ "privateKey": { "encoding": "PKCS8" } }),
        ),
        (
            "private-key-size",
            "4096",
            json!({ "privateKey": { "size": 4096 } }),
        ),
        (
            "private-key-rotation-policy",
            "Never",
            json!({ "privateKey": { "rotationPolicy": "Never" } }),
        ),
        (
            "private-key-rotation-policy",
            "Always",
            json!({ "privateKey": { "rotationPolicy": "Always" } }),
        ),
        (
            "secret-template",
            r#"{"annotations":{"a":"b"},"labels":{"c":"d"}}"#,
            json!({ "secretTemplate": { "annotations": { "a": "b" }, "labels": { "c": "d" } } }),
        ),
        (
            "secret-template",
            r#"{"annotations":{},"labels":{}}"#,
            json!({}),
        ),
    ] {
        let key = format!("cert-manager.io/{annotation}");
        assert_eq!(extra(&[(&key, value)]), spec, "{annotation}: {value:?}");
    }
}

#[test]
fn annotations_of_one_object_add_up() {
    let both = extra(&[
        ("cert-manager.io/private-key-algorithm", "ECDSA"),
        ("cert-manager.io/private-key-size", "384"),
        ("cert-manager.io/subject-organizations", "Shop"),
        ("cert-manager.io/subject-countries", "NL"),
    ]);
    let wanted = json!({
        "privateKey": { "algorithm": "ECDSA", "size": 384 },
        "subject": { "organizations": ["Shop"], "countries": ["NL"] },
    });
    assert_eq!(both, wanted);
}

#[test]
fn a_faulty_value_refuses_the_ingress_and_says_what_to_write() {
    for (annotation, value, says) in [
        ("common-name", &*"x".repeat(65), "65 bytes"),
        ("ip-sans", "192.0.2.7,host", "\"host\" is no IP address"),
        (
            "email-sans",
            "a@b.org,Ops <ops@x.org>",
            "\"Ops <ops@x.org>\" is no e-mail address",
        ),
        ("email-sans", "a@b@c", "no e-mail address"),
        ("email-sans", "@b", "no e-mail address"),
        ("email-sans", "a..b@c", "no e-mail address"),
        ("subject-organizations", "a\"b", "has a quote inside"),
        ("subject-organizations", "\"a", "no closing quote"),
        ("subject-organizations", "\"a\"b", "after its closing quote"),
        ("subject-organizations", "a\nb", "more than one line"),
        ("subject-organizationalunits", "\"", "no closing quote"),
        ("subject-countries", "\"", "no closing quote"),
        ("subject-provinces", "\"", "no closing quote"),
        ("subject-localities", "\"", "no closing quote"),
        ("subject-postalcodes", "\"", "no closing quote"),
        ("subject-streetaddresses", "\"", "no closing quote"),
        ("duration", "59m59s", "\"59m59s\" is shorter than 1h0m0s"),
        ("duration", "90d", "known are h, m, s"),
        ("duration", "-720h", "shorter than 1h0m0s"),
        ("renew-before", "4m", "\"4m\" is shorter than 5m0s"),
        (
            "renew-before",
            "2160h",
            "2160h0m0s is not shorter than the lifetime",
        ),
        ("renew-before", "", "is not a duration"),
        ("renew-before-percentage", "a third", "no whole number"),
        ("renew-before-percentage", "3000000000", "no whole number"),
        (
            "usages",
            "server auth,telepathy",
            "\"telepathy\" is no key usage; known are signing",
        ),
        ("usages", "", "\"\" is no key usage"),
        ("revision-history-limit", "0", "0 is less than 1"),
        ("revision-history-limit", "many", "no whole number"),
        (
            "private-key-algorithm",
            "rsa",
            "\"rsa\" is not known; use RSA or ECDSA or Ed25519",
        ),
        ("private-key-encoding", "PKCS7", "use PKCS1 or PKCS8"),
        ("private-key-size", "big", "no whole number"),
        ("private-key-size", "1024", "use 2048 to 8192"),
        ("private-key-size", "384", "use 2048 to 8192"),
        (
            "private-key-rotation-policy",
            "always",
            "use Never or Always",
        ),
        ("secret-template", "{", "EOF"),
        ("secret-template", r#"{"data":{}}"#, "unknown field `data`"),
        ("secret-template", r#"{"labels":{"a":1}}"#, "invalid type"),
        (
            "secret-template",
            r#"{"annotations":{"cert-manager.io/x":""}}"#,
            "\"cert-manager.io/x\"",
        ),
        (
            "secret-template",
            r#"{"annotations":{"cert-manager.io/allow-direct-injection":"true"}}"#,
            "remove it",
        ),
    ] {
        let key = format!("cert-manager.io/{annotation}");
        let annotations = [("cert-manager.io/issuer", "ca"), (key.as_str(), value)];
        let sight = sight(ingress(&annotations, &[(&["app.example.com"], "app-tls")]));
        let told = refusals(&sight, &settings());
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(
            told[0].contains(&format!("annotation {key}: ")),
            "{}",
            told[0]
        );
        assert!(told[0].contains(says), "{}", told[0]);
    }
}

#[test]
fn values_that_exclude_each_other_are_refused() {
    for (annotations, says) in [
        (
            [
                ("cert-manager.io/private-key-algorithm", "ECDSA"),
                ("cert-manager.io/private-key-size", "2048"),
            ],
            "use 256, 384 or 521",
        ),
        (
            [
                ("cert-manager.io/renew-before", "24h"),
                ("cert-manager.io/renew-before-percentage", "30"),
            ],
            "cannot be set together",
        ),
        (
            [
                ("cert-manager.io/duration", "24h"),
                ("cert-manager.io/renew-before", "24h"),
            ],
            "not shorter",
        ),
    ] {
        let mut all = vec![("cert-manager.io/issuer", "ca")];
        all.extend(annotations);
        let told = refusals(
            &sight(ingress(&all, &[(&["a.example.com"], "a")])),
            &settings(),
        );
        assert!(told.len() == 1 && told[0].contains(says), "{told:?}");
    }
    // The size of an Ed25519 key means nothing.
    made(
        &[
            ("cert-manager.io/private-key-algorithm", "Ed25519"),
            ("cert-manager.io/private-key-size", "1"),
        ],
        &settings(),
    );
}

#[test]
fn every_fault_is_told() {
    let annotations = [
        ("cert-manager.io/duration", "x"),
        ("cert-manager.io/usages", "x"),
        ("cert-manager.io/issuer", ""),
    ];
    assert_eq!(
        refusals(&sight(ingress(&annotations, &[])), &settings()).len(),
        3
    );
}

#[test]
fn the_issuer_is_the_named_one_else_the_default() {
    let with_default = Settings {
        default_issuer_name: "house".into(),
        default_issuer_kind: "ClusterIssuer".into(),
        default_issuer_group: "house.example".into(),
        ..settings()
    };
    let auto = ("kubernetes.io/tls-acme", "true");
    let cases: [(Pairs, Settings, [&str; 3]); 8] = [
        (
            &[("cert-manager.io/issuer", "ca")],
            settings(),
            ["ca", "Issuer", "cert-manager.io"],
        ),
        (
            &[("cert-manager.io/cluster-issuer", "ca")],
            settings(),
            ["ca", "ClusterIssuer", "cert-manager.io"],
        ),
        (
            &[
                ("cert-manager.io/issuer", "ca"),
                ("cert-manager.io/issuer-kind", "ClusterIssuer"),
            ],
            settings(),
            ["ca", "ClusterIssuer", "cert-manager.io"],
        ),
        (
            &[
                ("cert-manager.io/issuer", "ca"),
                ("cert-manager.io/issuer-kind", "PCA"),
                ("cert-manager.io/issuer-group", "pca.example"),
            ],
            settings(),
            ["ca", "PCA", "pca.example"],
        ),
        (
            &[auto],
            with_default.clone(),
            ["house", "ClusterIssuer", "house.example"],
        ),
        (
            &[
                auto,
                ("cert-manager.io/issuer-group", "pca.example"),
                ("cert-manager.io/issuer-kind", "PCA"),
            ],
            with_default.clone(),
            ["house", "PCA", "pca.example"],
        ),
        // As cert-manager: only the group of the default stays.
        (
            &[("cert-manager.io/issuer", "ca")],
            with_default,
            ["ca", "Issuer", "house.example"],
        ),
        (
            &[
                ("cert-manager.io/issuer", "ca"),
                ("cert-manager.io/issuer-kind", ""),
                ("cert-manager.io/issuer-group", ""),
            ],
            settings(),
            ["ca", "Issuer", "cert-manager.io"],
        ),
    ];
    for (annotations, settings, [name, kind, group]) in cases {
        let plan = decide(
            &sight(ingress(annotations, &[(&["a.example.com"], "a")])),
            &settings,
        );
        let wanted = IssuerReference {
            name: name.into(),
            kind: Some(kind.into()),
            group: Some(group.into()),
        };
        assert_eq!(created(&plan)[0].spec.issuer_ref, wanted, "{annotations:?}");
    }
}

#[test]
fn an_issuer_that_is_not_clear_refuses_the_ingress() {
    let cluster = ("cert-manager.io/cluster-issuer", "ca");
    let cases: [(Pairs, &str); 6] = [
        (
            &[cluster, ("cert-manager.io/issuer", "ca")],
            "together with cert-manager.io/issuer;",
        ),
        (
            &[cluster, ("cert-manager.io/issuer-kind", "ClusterIssuer")],
            "together with cert-manager.io/issuer-kind;",
        ),
        (
            &[cluster, ("cert-manager.io/issuer-group", "x.example")],
            "together with cert-manager.io/issuer-group;",
        ),
        (
            &[("kubernetes.io/tls-acme", "true")],
            "there is no default issuer",
        ),
        (&[("cert-manager.io/issuer", "")], "it names no issuer"),
        (
            &[
                ("cert-manager.io/issuer", "ca"),
                ("cert-manager.io/issuer-kind", "PCA"),
            ],
            "\"PCA\" is no kind of",
        ),
    ];
    for (annotations, says) in cases {
        let told = refusals(
            &sight(ingress(annotations, &[(&["a.example.com"], "a")])),
            &settings(),
        );
        assert!(told.len() == 1 && told[0].contains(says), "{told:?}");
    }
}

#[test]
fn solver_and_extra_annotations_go_to_the_certificate() {
    let extra = Settings {
        extra_annotations: strings(&["example.com/team", "example.com/empty", "absent"]),
        ..settings()
    };
    let cases: [(Pairs, Pairs); 6] = [
        (
            &[("acme.cert-manager.io/http01-edit-in-place", "true")],
            &[
                ("acme.cert-manager.io/http01-override-ingress-name", "web"),
                ("cert-manager.io/issue-temporary-certificate", "true"),
            ],
        ),
        (
            &[("acme.cert-manager.io/http01-edit-in-place", "True")],
            &[],
        ),
        (
            &[("acme.cert-manager.io/http01-ingress-class", "traefik")],
            &[(
                "acme.cert-manager.io/http01-override-ingress-class",
                "traefik",
            )],
        ),
        (
            &[(
                "acme.cert-manager.io/http01-ingress-ingressclassname",
                "nginx",
            )],
            &[(
                "acme.cert-manager.io/http01-override-ingress-ingressclassname",
                "nginx",
            )],
        ),
        (
            &[
                ("acme.cert-manager.io/http01-ingress-class", ""),
                ("acme.cert-manager.io/http01-ingress-ingressclassname", ""),
            ],
            &[],
        ),
        (
            &[
                ("example.com/team", "shop"),
                ("example.com/empty", ""),
                ("example.com/other", "x"),
            ],
            &[("example.com/team", "shop"), ("example.com/empty", "")],
        ),
    ];
    for (annotations, wanted) in cases {
        let made = made(annotations, &extra).metadata.annotations;
        assert_eq!(made.is_none(), wanted.is_empty());
        assert_eq!(made.unwrap_or_default(), map(wanted), "{annotations:?}");
    }
}

const KEYS: [&str; 31] = [
    "cert-manager.io/issuer",
    "cert-manager.io/cluster-issuer",
    "cert-manager.io/issuer-kind",
    "cert-manager.io/issuer-group",
    "cert-manager.io/common-name",
    "cert-manager.io/alt-names",
    "cert-manager.io/ip-sans",
    "cert-manager.io/email-sans",
    "cert-manager.io/subject-organizations",
    "cert-manager.io/subject-organizationalunits",
    "cert-manager.io/subject-countries",
    "cert-manager.io/subject-provinces",
    "cert-manager.io/subject-localities",
    "cert-manager.io/subject-postalcodes",
    "cert-manager.io/subject-streetaddresses",
    "cert-manager.io/subject-serialnumber",
    "cert-manager.io/duration",
    "cert-manager.io/renew-before",
    "cert-manager.io/renew-before-percentage",
    "cert-manager.io/usages",
    "cert-manager.io/revision-history-limit",
    "cert-manager.io/private-key-algorithm",
    "cert-manager.io/private-key-encoding",
    "cert-manager.io/private-key-size",
    "cert-manager.io/private-key-rotation-policy",
    "cert-manager.io/secret-template",
    "acme.cert-manager.io/http01-edit-in-place",
    "acme.cert-manager.io/http01-ingress-class",
    "acme.cert-manager.io/http01-ingress-ingressclassname",
    "kubernetes.io/tls-acme",
    "cert-manager.io/unknown",
];

/// Anything, and what is close to right.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        ".{0,40}",
        "[\",\na ]{0,8}",
        "-?[0-9]{0,22}[hmsd]?",
        "[a-z@., ]{0,20}",
        Just("true".to_owned()),
        "(server auth|signing|any)?,?(crl sign|x)?",
        r#"\{("(labels|annotations|x)":\{("a":"b")?\},?){0,2}\}?"#,
    ]
}

proptest! {
    #[test]
    fn any_values_give_certificates_or_reasons_and_then_nothing(
        annotations in prop::collection::btree_map(prop::sample::select(KEYS.as_slice()), value(), 0..6),
        hosts in prop::collection::vec(prop_oneof!["[a-z.*]{0,12}", Just("192.0.2.1".to_owned()), ".{0,9}"], 0..4),
        secret in prop_oneof![Just(None), "[a-z]{0,5}".prop_map(Some)],
    ) {
        let mut fact = ingress(&[("cert-manager.io/issuer", "ca")], &[]);
        fact.annotations.extend(annotations.into_iter().map(|(k, v)| (k.to_owned(), v)));
        fact.tls = vec![(hosts, secret)];
        let sight = sight(fact);
        let first = decide(&sight, &settings());
        prop_assert_eq!(first.events.is_empty(), false, "silent: {:?}", sight.ingress);
        let made: Vec<_> = created(&first).into_iter().map(stored).collect();
        // What was made is what is asked for: a second look changes nothing.
        let second = decide(&with(&sight, made), &settings());
        prop_assert_eq!(second.actions, vec![]);
    }
}
