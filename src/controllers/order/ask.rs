//! What the ledger of limits (`acme::limits`) has to know of an Order.

use std::sync::Arc;

use jiff::Timestamp;

use crate::acme::limits::{Ask, Ca, Exemption, Policy, PolicyError, Progress};
use crate::api::certificate::CertificateStatus;
use crate::api::meta::IssuerReference;
use crate::api::order::state;
use crate::api::{Certificate, Challenge, Order, labels};
use crate::controllers::facts::{IssuerFact, SecretFact, controller_of};
use crate::controllers::matching::order_names;
use crate::controllers::store::Store;

/// The CA of an ACME issuer. `under_way`: Orders at once, unless the issuer says. What its annotation does not say
/// rightly is left out; the issuer's condition says so.
pub fn ca(issuer: &IssuerFact, under_way: usize) -> Option<Ca> {
    let directory = &issuer.spec.acme.as_ref()?.server;
    let known = || Policy::of(directory, under_way);
    Some(Ca {
        directory: directory.as_str().into(),
        policy: policy(issuer, under_way)?.unwrap_or_else(|_| known()),
        issuer: (issuer.id.namespace.clone(), issuer.id.name.clone()),
    })
}

/// What an ACME issuer's CA allows.
pub fn policy(issuer: &IssuerFact, under_way: usize) -> Option<Result<Policy, PolicyError>> {
    let directory = &issuer.spec.acme.as_ref()?.server;
    let known = Policy::of(directory, under_way);
    Some(match &issuer.limits {
        Some(text) => known.with(text),
        None => Ok(known),
    })
}

/// How far the CA is with an Order; `None` before it has heard of it.
pub fn progress(order: &Order, challenges: &[Arc<Challenge>]) -> Option<Progress> {
    let status = order.status.as_ref()?;
    let word = status.state.as_deref().unwrap_or_default();
    if state::is_failure(word) {
        return Some(match &status.url {
            None => Progress::Refused,
            Some(_) => Progress::Failed(failed(challenges)),
        });
    }
    if word == state::VALID && status.certificate.is_some() {
        return Some(Progress::Issued);
    }
    status.url.as_ref().map(|_| Progress::Made)
}

/// The names that the CA could not validate.
fn failed(challenges: &[Arc<Challenge>]) -> Vec<String> {
    let is_invalid = |c: &&Arc<Challenge>| {
        let status = c.status.as_ref().and_then(|s| s.state.as_deref());
        status == Some(state::INVALID)
    };
    let failed = challenges.iter().filter(is_invalid);
    failed.map(|c| c.spec.dns_name.clone()).collect()
}

/// What an Order takes of its CA's limits; `None` for one of which the names are not in memory any more, as it has
/// ended long ago. `account` is the URL of the account.
pub fn ask(store: &Store, order: &Order, account: &str, now: Timestamp) -> Option<Ask> {
    let spec = &order.spec;
    let list = |field: &Option<Vec<String>>| field.clone().unwrap_or_default();
    let mut names = list(&spec.dns_names);
    names.extend(list(&spec.ip_addresses));
    names.extend(spec.common_name.clone());
    let names = Ask::normal(names.into_iter().filter(|name| !name.is_empty()));
    if names.is_empty() {
        return None;
    }
    let namespace = order.metadata.namespace.as_deref().unwrap_or_default();
    let certificate = certificate(store, namespace, order);
    let secret = certificate
        .as_ref()
        .and_then(|c| store.secret(namespace, &c.spec.secret_name));
    let signer = certificate
        .as_ref()
        .zip(secret.as_ref())
        .and_then(|(c, s)| store.signer(namespace, c, s));
    let before = Before {
        certificate: certificate.as_deref(),
        secret: secret.as_deref(),
        signer: signer.as_ref(),
    };
    let created = order.metadata.creation_timestamp.as_ref();
    Some(Ask {
        account: account.into(),
        names,
        profile: spec.profile.as_deref().map(Into::into),
        exemption: exemption(order, &before, now),
        expires: secret.as_deref().and_then(expires),
        since: created.map_or(now, |time| time.0),
    })
}

/// When the certificate expires that an Order is to replace.
pub(super) fn in_use_until(store: &Store, order: &Order) -> Option<Timestamp> {
    let namespace = order.metadata.namespace.as_deref().unwrap_or_default();
    let certificate = certificate(store, namespace, order)?;
    let secret = store.secret(namespace, &certificate.spec.secret_name)?;
    expires(&secret)
}

/// The Certificate that an Order is for.
fn certificate(store: &Store, namespace: &str, order: &Order) -> Option<Arc<Certificate>> {
    let request = controller_of(&order.metadata, "CertificateRequest")?;
    let request = store.request(namespace, &request.name)?;
    store.certificate_of(&request)
}

/// What an Order follows.
struct Before<'a> {
    certificate: Option<&'a Certificate>,
    secret: Option<&'a SecretFact>,
    /// Who has signed what is in the Secret.
    signer: Option<&'a IssuerReference>,
}

/// When the certificate in a Secret expires, if there is one that counts.
fn expires(secret: &SecretFact) -> Option<Timestamp> {
    let leaf = secret.certificate.as_ref()?.as_ref().ok()?;
    (!secret.is_temporary()).then_some(leaf.not_after)
}

/// A renewal that the CA itself has asked for counts nowhere; one of the same names counts less (docs/limits.md).
fn exemption(order: &Order, before: &Before<'_>, now: Timestamp) -> Exemption {
    let status = before.certificate.and_then(|c| c.status.as_ref());
    let replaces = order
        .spec
        .replaces
        .as_deref()
        .is_some_and(|id| !id.is_empty());
    if replaces && status.is_some_and(|status| is_in_window(status, now)) {
        return Exemption::Replaces;
    }
    if has_ended(order) {
        // The Secret has the new certificate by now. That an issuance before had the same names is as good as certain.
        return if revision(order) > 1 {
            Exemption::SameNames
        } else {
            Exemption::Nothing
        };
    }
    let wanted = order_names(&order.spec);
    let leaf = before.secret.and_then(|secret| secret.certificate.as_ref());
    let same = leaf.is_some_and(|leaf| leaf.as_ref().is_ok_and(|leaf| leaf.names == wanted));
    let signer = before.signer;
    if same && signer.is_some_and(|signer| signer.is_same(&order.spec.issuer_ref)) {
        Exemption::SameNames
    } else {
        Exemption::Nothing
    }
}

fn has_ended(order: &Order) -> bool {
    let state = order.status.as_ref().and_then(|s| s.state.as_deref());
    state.is_some_and(state::is_final)
}

/// Whether the time that the CA suggests has come, and has not passed (RFC 9773 §4.2).
fn is_in_window(status: &CertificateStatus, now: Timestamp) -> bool {
    let ari = status.acme.as_ref().and_then(|acme| acme.ari.as_ref());
    let window = ari.and_then(|ari| ari.suggested_window.as_ref());
    window.is_some_and(|window| (window.start.0..window.end.0).contains(&now))
}

fn revision(order: &Order) -> i64 {
    let annotations = order.metadata.annotations.as_ref();
    let text = annotations.and_then(|a| a.get(labels::CERTIFICATE_REVISION_ANNOTATION));
    text.and_then(|text| text.parse().ok()).unwrap_or(1)
}
