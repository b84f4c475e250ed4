//! The Certificate of one TLS block.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::annotations::Wishes;
use crate::api::{Certificate, labels};
use crate::controllers::facts::IngressFact;

/// The Certificate for these hosts and this Secret.
pub(super) fn certificate(
    ingress: &IngressFact,
    wishes: &Wishes,
    hosts: &[String],
    secret: &str,
) -> Certificate {
    let mut spec = wishes.spec.clone();
    let (addresses, names): (Vec<_>, Vec<_>) = hosts
        .iter()
        .cloned()
        .partition(|host| host.parse::<IpAddr>().is_ok());
    spec.dns_names = once(names, spec.dns_names, str::to_owned);
    spec.ip_addresses = once(addresses, spec.ip_addresses, |address| {
        address
            .parse()
            .map_or_else(|_| address.to_owned(), |a: IpAddr| a.to_string())
    });
    secret.clone_into(&mut spec.secret_name);
    let mut copied = ingress.labels.clone();
    // An applyset prunes what carries its label and is not among its manifests.
    copied.remove(labels::APPLYSET_PART_OF_LABEL);
    Certificate {
        metadata: ObjectMeta {
            name: Some(secret.to_owned()),
            namespace: Some(ingress.id.namespace.to_string()),
            labels: (!copied.is_empty()).then_some(copied),
            annotations: (!wishes.annotations.is_empty()).then(|| wishes.annotations.clone()),
            owner_references: Some(vec![OwnerReference {
                api_version: "networking.k8s.io/v1".into(),
                kind: "Ingress".into(),
                name: ingress.id.name.to_string(),
                uid: ingress.id.uid.clone(),
                controller: Some(true),
                block_owner_deletion: Some(true),
            }]),
            ..ObjectMeta::default()
        },
        spec,
        status: None,
    }
}

/// Both lists, in order, each item once; two items are the same when `form` says so.
fn once(
    mut first: Vec<String>,
    second: Option<Vec<String>>,
    form: impl Fn(&str) -> String,
) -> Option<Vec<String>> {
    first.extend(second.into_iter().flatten());
    let mut seen = BTreeSet::new();
    first.retain(|item| seen.insert(form(item)));
    (!first.is_empty()).then_some(first)
}
