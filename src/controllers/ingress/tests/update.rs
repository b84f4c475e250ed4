//! What of an existing Certificate is changed, and what is not.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};
use serde_json::{Value, json};

use super::*;
use crate::controllers::action::Event;
use crate::controllers::facts;

fn base() -> Certificate {
    stored(&made(&[], &settings()))
}

/// The patch for this Certificate when the Ingress has these annotations.
fn patch_with(
    found: Certificate,
    annotations: &[(&str, &str)],
    settings: &Settings,
) -> Option<Value> {
    let mut all = vec![("cert-manager.io/issuer", "ca")];
    all.extend(annotations);
    let plain = sight(ingress(&all, &[(&["app.example.com"], "app-tls")]));
    let id = Identity::of(&found.metadata);
    let plan = decide(&with(&plain, vec![found]), settings);
    match plan.actions.as_slice() {
        [] => {
            assert_eq!(plan.events, []);
            None
        }
        [Action::PatchCertificate { id: patched, patch }] => {
            let message = "Successfully updated Certificate \"app-tls\"";
            let event = Event::normal("cert-manager-ingress-shim", "UpdateCertificate", message);
            assert_eq!((patched, plan.events), (&id, vec![event]));
            Some(patch.clone())
        }
        other => panic!("does {other:?}"),
    }
}

fn patch(found: Certificate, annotations: &[(&str, &str)]) -> Option<Value> {
    patch_with(found, annotations, &settings())
}

/// The Certificate after a merge patch.
fn patched(mut found: Certificate, patch: &Value) -> Certificate {
    let mut whole = json!(found);
    json_patch::merge(&mut whole, patch);
    let changed: Certificate = serde_json::from_value(whole).unwrap();
    changed
        .metadata
        .managed_fields
        .clone_into(&mut found.metadata.managed_fields);
    changed
}

/// With the shim as the one who set these paths.
fn set_by(manager: &str, mut certificate: Certificate, fields: Value) -> Certificate {
    certificate.metadata.managed_fields = Some(vec![ManagedFieldsEntry {
        manager: Some(manager.into()),
        fields_v1: Some(FieldsV1(fields)),
        ..ManagedFieldsEntry::default()
    }]);
    facts::certificate(certificate)
}

#[test]
fn each_annotation_reaches_an_existing_certificate() {
    for (annotation, value, wanted) in [
        ("common-name", "a", json!({ "commonName": "a" })),
        (
            "alt-names",
            "b.example.com",
            json!({ "dnsNames": ["app.example.com", "b.example.com"] }),
        ),
        (
            "ip-sans",
            "192.0.2.7",
            json!({ "ipAddresses": ["192.0.2.7"] }),
        ),
        (
            "email-sans",
            "a@b.org",
            json!({ "emailAddresses": ["a@b.org"] }),
        ),
        (
            "subject-countries",
            "NL",
            json!({ "subject": { "countries": ["NL"] } }),
        ),
        ("duration", "720h", json!({ "duration": "720h0m0s" })),
        ("renew-before", "48h", json!({ "renewBefore": "48h0m0s" })),
        (
            "renew-before-percentage",
            "30",
            json!({ "renewBeforePercentage": 30 }),
        ),
        (
            "usages",
            "server auth",
            json!({ "usages": ["server auth"] }),
        ),
        (
            "revision-history-limit",
            "4",
            json!({ "revisionHistoryLimit": 4 }),
        ),
        (
            "private-key-algorithm",
            "ECDSA",
            json!({ "privateKey": { "algorithm": "ECDSA" } }),
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
            "secret-template",
            r#"{"labels":{"a":"b"}}"#,
            json!({ "secretTemplate": { "labels": { "a": "b" } } }),
        ),
    ] {
        let key = format!("cert-manager.io/{annotation}");
        let annotations = [(key.as_str(), value)];
        assert_eq!(
            patch(base(), &annotations),
            Some(json!({ "spec": wanted })),
            "{annotation}"
        );
        let after = patched(base(), &json!({ "spec": wanted }));
        assert_eq!(
            patch(after, &annotations),
            None,
            "{annotation}: the patch does not end it"
        );
    }
}

#[test]
fn the_issuer_the_group_and_the_labels_reach_an_existing_certificate() {
    let issuer = json!({ "group": "pca.example", "kind": "PCA" });
    let annotations = [
        ("cert-manager.io/issuer-kind", "PCA"),
        ("cert-manager.io/issuer-group", "pca.example"),
    ];
    assert_eq!(
        patch(base(), &annotations),
        Some(json!({ "spec": { "issuerRef": issuer } }))
    );

    let mut labelled = base();
    labelled.metadata.labels = Some(map(&[("a", "b")]));
    assert_eq!(
        patch(labelled, &[]),
        Some(json!({ "metadata": { "labels": { "a": null } } }))
    );

    let mut moved = base();
    moved.spec.secret_name = "elsewhere".into();
    assert_eq!(
        patch(moved, &[]),
        Some(json!({ "spec": { "secretName": "app-tls" } }))
    );
}

#[test]
fn what_means_the_same_is_not_changed() {
    let same = |change: fn(&mut Certificate), annotations: &[(&str, &str)]| {
        let mut found = base();
        change(&mut found);
        assert_eq!(patch(found, annotations), None);
    };
    same(|c| c.spec.issuer_ref.kind = None, &[]);
    same(|c| c.spec.issuer_ref.group = Some(String::new()), &[]);
    same(
        |c| c.spec.duration = Some("720h".into()),
        &[("cert-manager.io/duration", "720h0m")],
    );
    same(
        |c| c.spec.usages = Some(strings(&["key encipherment", "signing"])),
        &[(
            "cert-manager.io/usages",
            "digital signature,key encipherment",
        )],
    );
    same(|c| c.spec.common_name = Some(String::new()), &[]);
    same(|c| c.spec.ip_addresses = Some(vec![]), &[]);
    same(|c| c.metadata.labels = Some(BTreeMap::new()), &[]);
    same(
        |c| {
            c.spec.private_key =
                serde_json::from_value(json!({ "algorithm": "Ed25519", "size": 256 })).unwrap();
        },
        &[("cert-manager.io/private-key-algorithm", "Ed25519")],
    );
}

#[test]
fn fields_of_no_annotation_are_left_alone() {
    let mut found = base();
    let more = json!({
        "uris": ["spiffe://a"],
        "isCA": true,
        "literalSubject": "CN=x",
        "keystores": { "jks": { "create": true } },
        "additionalOutputFormats": [{ "type": "DER" }],
        "otherNames": [{ "oid": "1.2", "utf8Value": "x" }],
        "nameConstraints": { "critical": true },
        "signatureAlgorithm": "SHA256WithRSA",
        "encodeUsagesInRequest": false,
        "renewal": { "policy": "Disabled" },
    });
    let mut spec = json!(found.spec);
    json_patch::merge(&mut spec, &more);
    found.spec = serde_json::from_value(spec).unwrap();
    found.metadata.annotations = Some(map(&[
        ("note", "mine"),
        ("cert-manager.io/issue-temporary-certificate", "true"),
    ]));
    assert_eq!(patch(found.clone(), &[]), None);
    assert_eq!(
        patch(found, &[("cert-manager.io/duration", "720h")]),
        Some(json!({ "spec": { "duration": "720h0m0s" } }))
    );
}

#[test]
fn what_cert_manager_compares_goes_with_its_annotation() {
    let more = json!({
        "commonName": "a",
        "dnsNames": ["app.example.com", "b.example.com"],
        "duration": "720h",
        "renewBefore": "48h",
        "revisionHistoryLimit": 4,
        "privateKey": { "algorithm": "ECDSA", "encoding": "PKCS8", "size": 384, "rotationPolicy": "Never" },
    });
    let found = patched(base(), &json!({ "spec": more }));
    let wanted = json!({
        "commonName": null,
        "dnsNames": ["app.example.com"],
        "duration": null,
        "renewBefore": null,
        "revisionHistoryLimit": null,
        "privateKey": { "algorithm": null, "encoding": null, "size": null, "rotationPolicy": null },
    });
    let change = patch(found.clone(), &[]).unwrap();
    assert_eq!(change, json!({ "spec": wanted }));
    assert_eq!(patch(patched(found, &change), &[]), None);
}

#[test]
fn what_people_edit_by_hand_goes_only_when_the_shim_had_set_it() {
    let more = json!({
        "ipAddresses": ["192.0.2.7"],
        "emailAddresses": ["a@b.org"],
        "subject": { "countries": ["NL"] },
        "renewBeforePercentage": 30,
        "secretTemplate": { "labels": { "a": "b" } },
    });
    let by_hand = patched(base(), &json!({ "spec": more }));
    assert_eq!(patch(by_hand.clone(), &[]), None);
    for field in [
        "ipAddresses",
        "emailAddresses",
        "subject",
        "renewBeforePercentage",
        "secretTemplate",
    ] {
        let path = json!({ "f:spec": { format!("f:{field}"): {}, "f:dnsNames": {} } });
        let ours = set_by("cert-manager-ingress-shim", by_hand.clone(), path.clone());
        assert_eq!(patch(ours, &[]), Some(json!({ "spec": { field: null } })));
        let theirs = set_by("kubectl-edit", by_hand.clone(), path);
        assert_eq!(theirs.metadata.managed_fields, None);
        assert_eq!(patch(theirs, &[]), None);
    }
    // The annotation is the whole value of its field.
    let template = [("cert-manager.io/secret-template", r#"{"labels":{"c":"d"}}"#)];
    let wanted = json!({ "spec": { "secretTemplate": { "labels": { "a": null, "c": "d" } } } });
    assert_eq!(patch(by_hand, &template), Some(wanted));
}

#[test]
fn usages_are_compared_only_with_their_annotation() {
    let by_hand = patched(base(), &json!({ "spec": { "usages": ["server auth"] } }));
    assert_eq!(patch(by_hand.clone(), &[]), None);
    let wanted = json!({ "spec": { "usages": ["client auth"] } });
    let annotation = [("cert-manager.io/usages", "client auth")];
    assert_eq!(patch(by_hand, &annotation), Some(wanted));
}

#[test]
fn solver_annotations_follow_the_ingress() {
    let settings = Settings {
        extra_annotations: strings(&["example.com/team"]),
        ..settings()
    };
    let annotations = [
        ("acme.cert-manager.io/http01-edit-in-place", "true"),
        ("example.com/team", "shop"),
    ];
    let wanted = json!({ "metadata": { "annotations": {
        "acme.cert-manager.io/http01-override-ingress-name": "web",
        "cert-manager.io/issue-temporary-certificate": "true",
        "example.com/team": "shop",
    } } });
    assert_eq!(
        patch_with(base(), &annotations, &settings),
        Some(wanted.clone())
    );

    let by_hand = patched(base(), &wanted);
    assert_eq!(patch_with(by_hand.clone(), &[], &settings), None);
    let names = wanted["metadata"]["annotations"]
        .as_object()
        .unwrap()
        .keys();
    let names: serde_json::Map<String, Value> =
        names.map(|k| (format!("f:{k}"), json!({}))).collect();
    let ours = set_by(
        "cert-manager-ingress-shim",
        by_hand,
        json!({ "f:metadata": { "f:annotations": names, "f:labels": {} }, "f:spec": { "f:dnsNames": {} } }),
    );
    let gone = json!({ "metadata": { "annotations": {
        "acme.cert-manager.io/http01-override-ingress-name": null,
        "cert-manager.io/issue-temporary-certificate": null,
        "example.com/team": null,
    } } });
    assert_eq!(patch_with(ours, &[], &settings), Some(gone));
}

#[test]
fn no_managed_fields_are_kept_of_a_certificate_that_needs_none() {
    let plain = json!({ "f:metadata": { "f:labels": {} }, "f:spec": { "f:dnsNames": {}, "f:secretName": {} } });
    assert_eq!(
        set_by("cert-manager-ingress-shim", base(), plain)
            .metadata
            .managed_fields,
        None
    );
}
