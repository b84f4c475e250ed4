#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "tests fail by panicking"
)]

mod annotations;
mod lifecycle;
mod update;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::{Observation, Settings, plan};
use crate::api::{Certificate, CertificateSpec};
use crate::controllers::action::{Action, Object, Plan};
use crate::controllers::facts::{Identity, IngressFact};

type Pairs<'a> = &'a [(&'a str, &'a str)];

fn settings() -> Settings {
    Settings {
        default_issuer_name: String::new(),
        default_issuer_kind: "Issuer".into(),
        default_issuer_group: "cert-manager.io".into(),
        auto_annotations: vec!["kubernetes.io/tls-acme".into()],
        extra_annotations: vec![],
    }
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

fn strings(items: &[&str]) -> Vec<String> {
    items.iter().map(|i| (*i).to_owned()).collect()
}

/// An Ingress with one block for each pair of hosts and Secret.
fn ingress(annotations: &[(&str, &str)], tls: &[(&[&str], &str)]) -> IngressFact {
    let secret = |name: &str| (!name.is_empty()).then(|| name.to_owned());
    IngressFact {
        id: Identity {
            namespace: "shop".into(),
            name: "web".into(),
            uid: "uid-of-web".into(),
            version: "7".into(),
            ..Identity::default()
        },
        annotations: map(annotations),
        labels: BTreeMap::new(),
        tls: tls
            .iter()
            .map(|(hosts, name)| (strings(hosts), secret(name)))
            .collect(),
        challenge: None,
        solves: false,
        foreground_deletion: false,
    }
}

fn sight(ingress: IngressFact) -> Observation {
    Observation {
        ingress: ingress.into(),
        certificates: vec![],
        others: vec![],
    }
}

fn decide(o: &Observation, settings: &Settings) -> Plan<Infallible> {
    let plan = plan(o, settings, Timestamp::UNIX_EPOCH);
    assert!(plan.effect.is_none() && plan.wake.is_none());
    plan
}

/// The Certificates that a plan creates; the plan does nothing else.
fn created<'a>(plan: &'a Plan<Infallible>) -> Vec<&'a Certificate> {
    let certificate = |action: &'a Action| match action {
        Action::Create(object) => match &**object {
            Object::Certificate(c) => c,
            other => panic!("creates {other:?}"),
        },
        other => panic!("does {other:?}"),
    };
    plan.actions.iter().map(certificate).collect()
}

/// The one Certificate of an Ingress with an Issuer, the host app.example.com and these annotations.
fn made(annotations: &[(&str, &str)], settings: &Settings) -> Certificate {
    let mut all = vec![("cert-manager.io/issuer", "ca")];
    all.extend(annotations);
    let plan = decide(
        &sight(ingress(&all, &[(&["app.example.com"], "app-tls")])),
        settings,
    );
    let made = created(&plan);
    assert_eq!(made.len(), 1, "{:?}", plan.events);
    made[0].clone()
}

/// The messages of an Ingress that is refused as a whole.
fn refusals(o: &Observation, settings: &Settings) -> Vec<String> {
    let plan = decide(o, settings);
    assert_eq!(plan.actions, []);
    assert!(!plan.events.is_empty(), "nothing is refused");
    let message = |event: &crate::controllers::action::Event| {
        assert_eq!((event.warning, event.reason.as_str()), (true, "BadConfig"));
        assert_eq!(event.component, "cert-manager-ingress-shim");
        assert!(
            event.message.starts_with("Ingress \"shop/web\": "),
            "{}",
            event.message
        );
        event.message.clone()
    };
    plan.events.iter().map(message).collect()
}

/// As the API server would have it: the Certificate that the shim made.
fn stored(certificate: &Certificate) -> Certificate {
    let mut stored = certificate.clone();
    stored.metadata.uid = Some("uid-of-certificate".into());
    stored.metadata.resource_version = Some("41".into());
    stored
}

/// A Certificate of this name that nobody controls.
fn foreign(name: &str) -> Certificate {
    Certificate {
        metadata: ObjectMeta {
            name: Some(name.into()),
            namespace: Some("shop".into()),
            ..ObjectMeta::default()
        },
        spec: CertificateSpec {
            secret_name: name.into(),
            ..CertificateSpec::default()
        },
        status: None,
    }
}

fn with(o: &Observation, certificates: Vec<Certificate>) -> Observation {
    Observation {
        certificates: certificates.into_iter().map(Arc::new).collect(),
        ..o.clone()
    }
}

fn owner() -> OwnerReference {
    OwnerReference {
        api_version: "networking.k8s.io/v1".into(),
        kind: "Ingress".into(),
        name: "web".into(),
        uid: "uid-of-web".into(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}
