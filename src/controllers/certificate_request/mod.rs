//! CertificateRequests: approve them, and have them signed.

mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

pub use plan::{REFUSED, absorb, issuer_key, plan};

use super::facts::{IssuerFact, OrderedFact, RequestFact};
use super::key::Key;
use super::ordered_issuer::{Listed, listed};
use super::reads::Reader;
use super::rotation::{Known, Leaf};
use super::status::find;
use crate::api::meta::IssuerReference;
use crate::api::vault::VaultIssuer;
use crate::api::{Challenge, Order, labels};

/// What the flags say about requests.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Approve what nobody has decided about (`--controllers` without
    /// `-certificaterequests-approver`).
    pub approve: bool,
    /// Controllers that are off, as `certificaterequests-issuer-ca`: requests to issuers of their types are for others to
    /// sign.
    pub signers_off: Vec<&'static str>,
    /// Post an event for each step, not only for what a condition does not say.
    pub verbose_events: bool,
    /// Tell CAs which certificate an order replaces (gate `ACMEUseARI`).
    pub renewal_info: bool,
    /// The front of the URLs at which clients reach the revocation lists; empty if they do not.
    pub revocation_list_url: String,
}

impl Settings {
    /// Whether requests to this issuer are for others to sign.
    pub fn is_off(&self, issuer: &IssuerFact) -> bool {
        let component = plan::component(Some(issuer));
        let mut off = self.signers_off.iter();
        off.any(|name| component.ends_with(name))
    }
}

/// A request and everything that its plan depends on.
#[derive(Debug, Clone)]
pub struct Observation {
    /// The request; its body is there unless it is final.
    pub request: Arc<RequestFact>,
    /// Whether the approver may approve it, if it has to.
    pub may_approve: bool,
    /// What controls it, by its uid, is not there.
    pub orphaned: bool,
    /// Its issuer, if it is of this operator's group and exists.
    pub issuer: Option<Arc<IssuerFact>>,
    /// What it depends on if it is of an ordered issuer that exists.
    pub ordered: Option<Box<Ordered>>,
    /// Another issuer that is to be asked first, since attempts have failed.
    pub rehearsal: Option<Box<Rehearsal>>,
    /// The Orders that it controls.
    pub orders: Vec<Arc<Order>>,
    /// Its issuer could not be asked, and is left alone until then; unless the issuer changes.
    pub resting: Option<Timestamp>,
    /// Why a renewal that can wait should, and until when it can.
    pub waits: Option<(String, Timestamp)>,
    /// The CertificateRevocation that calls its key compromised.
    pub compromised: Option<String>,
    /// The certificate that the new one will follow, by its identifier (RFC 9773 §4.1): it came from the same issuer.
    pub predecessor: Option<Box<str>>,
}

impl Observation {
    /// Whether nobody has decided about it yet.
    pub fn is_undecided(&self) -> bool {
        let request = &self.request;
        let is_decided = request.approved || request.denied.is_some() || request.invalid.is_some();
        !is_decided && !request.is_final() && !request.id.deleting
    }
}

/// The ordered issuer of a request, and the requests that were made of its issuers.
#[derive(Debug, Clone)]
pub struct Ordered {
    /// OrderedIssuer or ClusterOrderedIssuer.
    pub fact: Arc<OrderedFact>,
    /// Its issuers, in order.
    pub listed: Vec<Listed>,
    /// The requests that were made for this one.
    pub children: Vec<Child>,
    /// The end of the certificate that is to be replaced.
    pub not_after: Option<Timestamp>,
}

/// An issuer at which the order is tried, before the CA is asked.
#[derive(Debug, Clone)]
pub struct Rehearsal {
    /// Of the same kind as the request's issuer.
    pub reference: IssuerReference,
    /// It, if it exists.
    pub issuer: Option<Arc<IssuerFact>>,
    /// The request that was made of it.
    pub child: Option<Child>,
}

/// A request that was made of another issuer for this one, and what is under it.
#[derive(Debug, Clone)]
pub struct Child {
    /// The request.
    pub request: Arc<RequestFact>,
    /// Its Orders.
    pub orders: Vec<Arc<Order>>,
    /// Their Challenges.
    pub challenges: Vec<Arc<Challenge>>,
}

/// A step that needs a private key, or somebody else who has one.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// Sign the request with the private key that its CSR was made with.
    SelfSign {
        /// The Secret of the private key.
        key_secret: String,
        /// What to sign.
        wanted: Wanted,
    },
    /// Have a CA sign the request.
    SignByCa {
        /// Issuer or ClusterIssuer.
        issuer: Key,
        /// The Secret of the CA.
        secret: String,
        /// What to sign.
        wanted: Wanted,
    },
    /// Have a Vault sign the request.
    SignByVault {
        /// Issuer or ClusterIssuer.
        issuer: Key,
        /// The Vault.
        vault: Box<VaultIssuer>,
        /// PEM.
        csr: Vec<u8>,
        /// Lifetime.
        duration: SignedDuration,
    },
}

/// What a certificate is to hold.
#[derive(Debug, PartialEq, Eq)]
pub struct Wanted {
    /// PEM.
    pub csr: Vec<u8>,
    /// Start of validity.
    pub not_before: Timestamp,
    /// Lifetime.
    pub duration: SignedDuration,
    /// Make it a CA.
    pub is_ca: bool,
    /// Names of the usages.
    pub usages: Vec<String>,
    /// From the issuer.
    pub crl_distribution_points: Vec<String>,
    /// From the issuer.
    pub ocsp_servers: Vec<String>,
    /// From the issuer.
    pub issuing_certificate_urls: Vec<String>,
}

/// What an effect brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is signed.
    Signed {
        /// PEM of the certificate, and of the chain that a server is to present.
        certificate: String,
        /// PEM of what its clients trust; empty if nothing is known.
        ca: String,
        /// The end of validity, if the CA's own brought it forward.
        clamped: Option<Timestamp>,
    },
    /// A Secret is missing, or what is in it does not do: it may come.
    Waiting {
        /// Event reason of the contract.
        reason: &'static str,
        /// For what.
        message: String,
    },
    /// The issuer's server cannot be asked, or cannot answer: it is asked again.
    Unavailable {
        /// Event reason of the contract.
        reason: &'static str,
        /// What is wrong.
        message: String,
    },
    /// It cannot be signed, now or ever.
    Refused {
        /// Event reason of the contract.
        reason: &'static str,
        /// What is wrong.
        message: String,
    },
}

/// Everything that the plan of this request depends on; `None` when it is gone. `resting` is what this process
/// remembers of an issuer that could not be asked.
pub fn observe(
    reader: &Reader,
    key: &Key,
    resting: Option<Timestamp>,
    now: Timestamp,
) -> Option<Observation> {
    let store = &reader.store;
    let request = store.request(&key.namespace, &key.name)?;
    let issuer = store
        .issuer(&key.namespace, &request.issuer)
        .filter(|_| request.issuer.is_ours());
    let waits = issuer.as_deref().and_then(Known::of);
    let waits = waits.and_then(|known| known.waits());
    Some(Observation {
        waits: waits.zip(can_wait(reader, &request, now)),
        compromised: compromised(reader, &request),
        predecessor: issuer
            .as_ref()
            .filter(|issuer| issuer.spec.acme.is_some())
            .and_then(|_| predecessor(reader, &request)),
        rehearsal: issuer
            .as_deref()
            .and_then(|issuer| rehearsal(reader, &request, issuer)),
        issuer,
        orphaned: store.is_orphaned_request(&request),
        may_approve: true,
        ordered: ordered(reader, &request),
        orders: store.orders_of(&key.namespace, &request.id.uid),
        request,
        resting,
    })
}

fn compromised(reader: &Reader, request: &RequestFact) -> Option<String> {
    let public = request.compared.as_ref().ok()?.public;
    reader.store.compromised(&request.id.namespace, public)
}

/// The certificate in the Secret that the request is for, if its issuer is the request's. That the issuer has
/// another server or account since is for the CA to say, and costs one refusal.
fn predecessor(reader: &Reader, request: &RequestFact) -> Option<Box<str>> {
    let store = &reader.store;
    let namespace = &request.id.namespace;
    let certificate = store.certificate_of(request)?;
    let secret = store.secret(namespace, &certificate.spec.secret_name)?;
    let signer = store.signer(namespace, &certificate, &secret);
    let is_its = secret.certificate_name.as_deref() == certificate.metadata.name.as_deref()
        && signer.is_some_and(|signer| signer.is_same(&request.issuer));
    let leaf = secret.certificate.as_ref()?.as_ref().ok()?;
    leaf.id.clone().filter(|_| is_its)
}

/// The rehearsal of a request, if attempts before it have failed and its issuer's annotation names one.
fn rehearsal(
    reader: &Reader,
    request: &RequestFact,
    issuer: &IssuerFact,
) -> Option<Box<Rehearsal>> {
    let name = issuer.rehearsal_issuer.as_deref()?;
    let body = request.object()?;
    let annotations = body.metadata.annotations.as_ref()?;
    annotations.get(labels::FAILED_ATTEMPTS_ANNOTATION)?;
    let reference = IssuerReference {
        name: name.into(),
        ..request.issuer.clone()
    };
    let mut children = children(reader, request);
    Some(Box::new(Rehearsal {
        issuer: reader.store.issuer(&request.id.namespace, &reference),
        child: children.find(|child| child.request.issuer.is_same(&reference)),
        reference,
    }))
}

/// The requests that were made for this one.
fn children(reader: &Reader, request: &RequestFact) -> impl Iterator<Item = Child> {
    let store = &reader.store;
    let namespace = request.id.namespace.clone();
    let children = store.requests_of(&namespace, &request.id.uid).into_iter();
    children.map(move |request| {
        let orders = store.orders_of(&namespace, &request.id.uid);
        let uids = orders.iter().filter_map(|o| o.metadata.uid.as_deref());
        let challenges = uids.flat_map(|uid| store.challenges_of(&namespace, uid));
        Child {
            challenges: challenges.collect(),
            orders,
            request,
        }
    })
}

fn ordered(reader: &Reader, request: &RequestFact) -> Option<Box<Ordered>> {
    let store = &reader.store;
    let namespace = &request.id.namespace;
    let fact = store.ordered(namespace, &request.issuer)?;
    let owner = request.owner.as_ref();
    let certificate = owner.and_then(|(_, name)| store.certificate(namespace, name));
    let secret = certificate.and_then(|c| store.secret(namespace, &c.spec.secret_name));
    let leaf = secret.and_then(|secret| secret.certificate.clone()?.ok());
    Some(Box::new(Ordered {
        listed: listed(store, namespace, &fact),
        children: children(reader, request).collect(),
        not_after: leaf.map(|leaf| leaf.not_after),
        fact,
    }))
}

/// What a certificate that could be renewed later has left.
const SPARE: SignedDuration = SignedDuration::from_hours(1);

/// How long it can wait, if it is for the renewal of a certificate that has some time left.
fn can_wait(reader: &Reader, request: &RequestFact, now: Timestamp) -> Option<Timestamp> {
    let namespace = &request.id.namespace;
    let (_, owner) = request.owner.as_ref()?;
    let certificate = reader.store.certificate(namespace, owner)?;
    let conditions = certificate.status.as_ref();
    let conditions = conditions.and_then(|s| s.conditions.as_deref());
    let issuing = find(conditions.unwrap_or_default(), "Issuing");
    let renews = issuing.is_some_and(|c| c.reason.as_deref() == Some("Renewing"));
    let secret = reader
        .store
        .secret(namespace, &certificate.spec.secret_name);
    let leaf = secret.and_then(|secret| Leaf::of(&certificate, &secret));
    let until = leaf?.place.not_after.checked_sub(SPARE).ok()?;
    (renews && until > now).then_some(until)
}
