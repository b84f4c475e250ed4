//! Reads for a Certificate: facts, and a live object only where the facts leave something open.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;

use super::outputs::{Outputs, Passwords, missing, password_of};
use super::{Asking, Following, IssuerState, Observation, PATIENCE, Settings};
use crate::api::meta::Condition;
use crate::api::{Certificate, CertificateRequest};
use crate::controllers::digest::digest;
use crate::controllers::facts::{
    IssuerFact, KeyFact, OrderedFact, RequestFact, SecretFact, ca_digest,
};
use crate::controllers::key::Key;
use crate::controllers::polls::Subject;
use crate::controllers::reads::{ReadError, Reader};
use crate::controllers::revocation::{Withdrawal, compromise_name, compromised_key, standing_name};
use crate::controllers::rotation::{Known, Leaf, Wish};
use crate::controllers::status::find;
use crate::controllers::store::Store;
use crate::explain;
use crate::pki::RevocationReason;

/// Everything that the plan of this Certificate depends on; `None` when it is gone.
pub async fn observe(
    reader: &Reader,
    key: &Key,
    settings: &Settings,
    now: Timestamp,
) -> Result<Option<Observation>, ReadError> {
    let store = &reader.store;
    let Some(certificate) = store.certificate(&key.namespace, &key.name) else {
        return Ok(None);
    };
    let uid = certificate.metadata.uid.as_deref().unwrap_or_default();
    let spec = &certificate.spec;
    let secret = target_secret(reader, &certificate).await?;
    let issuer_ref = &spec.issuer_ref;
    let issuer = store
        .issuer(&key.namespace, issuer_ref)
        .filter(|_| issuer_ref.is_ours());
    let ordered = store.ordered(&key.namespace, issuer_ref);
    let mut observation = Observation {
        rival: rival(reader, &certificate, secret.as_deref()),
        requests: store.requests_of(&key.namespace, uid),
        unlisted: store.unlisted_of(uid),
        next_keys: store.next_keys_of(&key.namespace, uid),
        staged: None,
        issuer: match &issuer {
            _ if issuer_ref.is_ordered() => ordered_state(ordered.as_deref()),
            _ if !issuer_ref.is_ours() => IssuerState::External,
            None => IssuerState::Missing,
            Some(issuer) if issuer.is_ready() => IssuerState::Ready {
                in_process: issuer.signs_in_process(),
            },
            Some(_) => IssuerState::NotReady,
        },
        issuer_changed: issuer.as_ref().and_then(|i| i.changed_at),
        issuer_version: issuer.as_ref().and_then(|i| i.version()),
        cause: None,
        unapproved: None,
        refused: None,
        recovered: None,
        passwords: BTreeMap::new(),
        stores_version: 0,
        stores_checked: true,
        rotation: None,
        withdrawal: None,
        compromised: vec![],
        is_stood_by: false,
        is_reported: false,
        asking: Asking::Off,
        is_acme: false,
        signer: None,
        certificate,
        secret,
    };
    observation.rotation = following(reader, key, issuer.as_deref(), &observation);
    let signer = look_at_signer(reader, key, issuer.clone(), &mut observation);
    if settings.renewal_info {
        observation.asking = asking(reader, key, signer.as_deref(), &observation);
    }
    let next = observation.next_revision();
    let names = observation
        .requests
        .iter()
        .filter(|r| r.revision == Some(next));
    let staged = names
        .filter_map(|r| r.key_secret.as_deref().map(ToOwned::to_owned))
        .chain(std::iter::once(super::request::key_secret_name(
            &observation.certificate,
            next,
        )))
        .find_map(|name| reader.keys.get(&key.namespace, &name));
    observation.staged = staged.map(|k| KeyFact::of(&k));
    look_for_key(reader, &mut observation, next).await?;
    look_at_revocations(reader, key, &mut observation);
    complete_answer(reader, &mut observation, next).await?;
    let message = match (&issuer, &ordered) {
        (Some(issuer), _) => issuer.ready().and_then(|c| c.message.clone()),
        (None, Some(ordered)) => ordered.ready().and_then(|c| c.message.clone()),
        (None, None) => None,
    };
    explain_it(reader, &mut observation, message, next, now);
    look_at_stores(reader, &mut observation, next).await?;
    Ok(Some(observation))
}

/// Whether the certificate in the Secret is revoked, and which of the keys that are there must not be used.
fn look_at_revocations(reader: &Reader, key: &Key, o: &mut Observation) {
    let (store, namespace) = (&reader.store, &key.namespace);
    o.withdrawal = o.leaf().and_then(|leaf| store.withdrawal(namespace, leaf));
    let secrets = o.secret.iter().chain(&o.next_keys);
    let stored = secrets.filter_map(|s| s.key.as_ref()?.as_ref().ok());
    let keys = stored.chain(o.staged.as_ref()).map(|key| key.public);
    let requests = o.requests.iter().filter_map(|r| r.compared.as_ref().ok());
    let all = keys.chain(requests.map(|compared| compared.public));
    let compromised = all.filter(|public| store.compromised(namespace, *public).is_some());
    o.compromised = compromised.collect();
    // What is asked for here is known to better than what the CA says of it.
    let listing = o.leaf().and_then(|leaf| {
        let id = leaf.id.as_deref().filter(|_| leaf.list.is_some())?;
        Some((leaf.public, reader.watched.listing(id)?))
    });
    if let Some((public, listing)) = listing.filter(|_| o.withdrawal.is_none()) {
        if listing.reason == RevocationReason::KeyCompromise {
            o.compromised.push(public);
        }
        o.withdrawal = Some(Withdrawal::Listed(listing));
    }
    let standing = standing_name(&o.certificate);
    o.is_stood_by = store.revocation(namespace, &standing).is_some();
    let reported = compromised_key(&o.certificate).and_then(Result::ok);
    o.is_reported = reported.is_some_and(|key| {
        let name = compromise_name(&o.certificate, &key);
        store.revocation(namespace, &name).is_some()
    });
}

/// Who has signed the certificate in the Secret; the issuer, or that one of an ordered issuer's.
fn look_at_signer(
    reader: &Reader,
    key: &Key,
    issuer: Option<Arc<IssuerFact>>,
    o: &mut Observation,
) -> Option<Arc<IssuerFact>> {
    let (store, namespace) = (&reader.store, &key.namespace);
    let secret = o.secret.as_deref();
    o.signer = secret.and_then(|secret| store.signer(namespace, &o.certificate, secret));
    let member = o
        .signer
        .as_ref()
        .filter(|_| o.certificate.spec.issuer_ref.is_ordered())
        .and_then(|signer| store.issuer(namespace, signer));
    let signer = issuer.or(member);
    o.is_acme = signer
        .as_ref()
        .is_some_and(|issuer| issuer.spec.acme.is_some());
    signer
}

/// Whether the CA is asked when to renew. An issuer that is gone for a while does not change what its CA has said.
fn asking(reader: &Reader, key: &Key, issuer: Option<&IssuerFact>, o: &Observation) -> Asking {
    match (o.issuer, issuer) {
        (IssuerState::External, _) => Asking::Off,
        (_, None) => Asking::Idle,
        (_, Some(issuer)) => match &issuer.spec.acme {
            Some(acme) if acme.asks_renewal_info() && issuer.is_ready() => {
                let id = o.leaf().and_then(|leaf| leaf.id.as_deref());
                let subject = |id| Subject {
                    namespace: &key.namespace,
                    name: &key.name,
                    id,
                };
                Asking::On(id.and_then(|id| reader.polls.next(subject(id))))
            }
            Some(acme) if acme.asks_renewal_info() => Asking::Idle,
            _ => Asking::Off,
        },
    }
}

/// Whether an ordered issuer can sign: one that was not looked at yet may.
fn ordered_state(ordered: Option<&OrderedFact>) -> IssuerState {
    let Some(ordered) = ordered else {
        return IssuerState::Missing;
    };
    match ordered.ready() {
        Some(ready) if !ready.is_true() => IssuerState::NotReady,
        _ => IssuerState::Ready { in_process: false },
    }
}

/// The rotation of the CA, while one is under way.
fn following(
    reader: &Reader,
    key: &Key,
    issuer: Option<&IssuerFact>,
    o: &Observation,
) -> Option<Following> {
    let known = Known::of(issuer?)?;
    let started = known.rotation.as_ref()?.started;
    let leaf = o.secret.as_ref().and_then(|s| Leaf::of(&o.certificate, s));
    let wish = leaf.map_or(Wish::Nothing, |mut leaf| {
        let roots = u64::from(ca_digest(known.roots.as_bytes()));
        let (namespace, name, ca) = (&key.namespace, &key.name, u64::from(leaf.ca));
        leaf.noted = reader.trusting.is_noted(namespace, name, roots, ca);
        known.wish(&leaf)
    });
    Some(Following {
        wish,
        roots: known.roots,
        started,
    })
}

/// Whether the keystores are known to be as they should; and their passwords, when they are about to be
/// written or have to be checked.
async fn look_at_stores(reader: &Reader, o: &mut Observation, next: i64) -> Result<(), ReadError> {
    let Ok(outputs) = Outputs::try_from(&o.certificate.spec) else {
        return Ok(());
    };
    if !outputs.has_stores() {
        return Ok(());
    }
    let meta = &o.certificate.metadata;
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    let name = meta.name.as_deref().unwrap_or_default();
    let store = &reader.store;
    // The versions are older than what is read below, or the same: what is noted with them may be looked
    // at once more, and never too seldom.
    let versions: Vec<_> = outputs
        .password_refs()
        .map(|r| store.secret_version(namespace, &r.secret))
        .collect();
    o.stores_version = digest(&(&outputs, &versions));
    let stores = o.secret.as_ref().map_or(0, |s| s.outputs.stores);
    o.stores_checked = reader
        .checked
        .is_noted(namespace, name, o.stores_version, stores);
    let answered = |r: &Arc<RequestFact>| r.revision == Some(next) && r.ready_reason() == "Issued";
    let wish = o.rotation.as_ref().map(|following| following.wish);
    let written = matches!(wish, Some(Wish::Trust | Wish::Retire));
    if o.stores_checked && !written && !o.requests.iter().any(answered) {
        return Ok(());
    }
    let mut passwords = Passwords::new();
    for reference in outputs.password_refs() {
        if passwords.contains_key(reference) {
            continue;
        }
        let secret: Option<Secret> = match store.secret_version(namespace, &reference.secret) {
            None => None,
            Some(_) => reader.live(namespace, &reference.secret).await?,
        };
        let found = match secret {
            None => Err(missing(reference)),
            Some(secret) => password_of(reference, secret.data.as_ref()),
        };
        passwords.insert(reference.clone(), found);
    }
    o.passwords = passwords;
    Ok(())
}

/// The deepest cause, and whether what failed has recovered.
fn explain_it(
    reader: &Reader,
    o: &mut Observation,
    ready: Option<String>,
    next: i64,
    now: Timestamp,
) {
    let namespace = o.certificate.metadata.namespace.clone().unwrap_or_default();
    let request = o.requests.iter().find(|r| r.revision == Some(next));
    // Its own Order, else that of a request that was made for it: one of those has an Order at most.
    let children = request.map(|r| reader.store.requests_of(&namespace, &r.id.uid));
    let children = children.unwrap_or_default();
    let orders = request.into_iter().chain(&children);
    let order = orders
        .flat_map(|r| reader.store.orders_of(&namespace, &r.id.uid))
        .next();
    let order = order.as_ref();
    let uid = order
        .and_then(|o| o.metadata.uid.clone())
        .unwrap_or_default();
    let challenges = reader.store.challenges_of(&namespace, &uid);
    let open = children.iter().filter(|r| !r.is_final() && !r.id.deleting);
    let child = open.max_by_key(|r| r.id.created);
    o.unapproved = child.filter(|r| !r.approved).map(|r| r.id.created);
    let asked = child.or(request).map(|r| r.id.created);
    let recovered = challenges
        .iter()
        .filter_map(|c| reader.recoveries.since(c.metadata.uid.as_deref()?))
        .max();
    let body = request.and_then(|r| r.object());
    let child = child.and_then(|r| r.object());
    let cause = explain::verdict(&explain::Chain {
        namespace: &namespace,
        issuer_ref: &o.certificate.spec.issuer_ref,
        issuer: match o.issuer {
            IssuerState::External => explain::Issuer::External,
            IssuerState::Missing => explain::Issuer::Missing,
            IssuerState::Ready { .. } => explain::Issuer::Ready,
            IssuerState::NotReady => explain::Issuer::NotReady(ready.unwrap_or_default()),
        },
        request: body.as_deref(),
        child: child.as_deref(),
        order: order.map(AsRef::as_ref),
        challenges: challenges.iter().map(AsRef::as_ref).collect(),
        overdue: asked.is_some_and(|asked| now.duration_since(asked) >= PATIENCE),
    });
    o.cause = cause.map(|verdict| verdict.to_string());
    o.recovered = recovered;
}

/// The target Secret. One without our label is read live: a user made it, or another tool.
async fn target_secret(
    reader: &Reader,
    certificate: &Certificate,
) -> Result<Option<Arc<SecretFact>>, ReadError> {
    let namespace = certificate.metadata.namespace.as_deref();
    let namespace = namespace.unwrap_or_default();
    let name = &certificate.spec.secret_name;
    if let Some(fact) = reader.store.secret(namespace, name) {
        return Ok(Some(fact));
    }
    if !may_have_secret(&reader.store, certificate) {
        return Ok(None);
    }
    let secret: Option<Secret> = reader.live(namespace, name).await?;
    Ok(secret.map(|s| Arc::new(SecretFact::of(&s))))
}

/// Whether the target Secret may be there without our label. Where the label was taken off, the one informer shows the
/// Secret no more before the other shows it: what is about to begin an issuance has to be known better.
pub(super) fn may_have_secret(store: &Store, certificate: &Certificate) -> bool {
    let namespace = certificate.metadata.namespace.as_deref();
    let status = certificate.status.as_ref();
    let had_one = status.is_some_and(|status| {
        let conditions = status.conditions.as_deref().unwrap_or_default();
        status.revision.is_some() && !find(conditions, "Issuing").is_some_and(Condition::is_true)
    });
    had_one || store.has_other_secret(namespace.unwrap_or_default(), &certificate.spec.secret_name)
}

/// The answer to the next request may have been dropped from memory: read it again.
async fn complete_answer(reader: &Reader, o: &mut Observation, next: i64) -> Result<(), ReadError> {
    for request in &mut o.requests {
        if request.revision == Some(next)
            && request.ready_reason() == "Issued"
            && request.body.is_none()
        {
            let live: Option<CertificateRequest> =
                reader.live(&request.id.namespace, &request.id.name).await?;
            if let Some(live) = live {
                *request = Arc::new(RequestFact::of(live));
            }
        }
    }
    Ok(())
}

/// A request whose private key is nowhere is deleted, and its order with it: a Secret that no informer has shown yet is
/// read before.
async fn look_for_key(reader: &Reader, o: &mut Observation, next: i64) -> Result<(), ReadError> {
    let mut requests = o.requests.iter();
    let Some(request) = requests.find(|r| r.revision == Some(next) && !r.id.deleting) else {
        return Ok(());
    };
    let (Ok(compared), Some(name)) = (&request.compared, &request.key_secret) else {
        return Ok(());
    };
    let stored = o
        .next_keys
        .iter()
        .filter_map(|s| s.key.as_ref()?.as_ref().ok());
    let mut known = stored.chain(&o.staged);
    if !o.is_issuing() || known.any(|key| key.public == compared.public) {
        return Ok(());
    }
    let live: Option<Secret> = reader.live(&request.id.namespace, name).await?;
    let Some(fact) = live.map(|secret| SecretFact::of(&secret)) else {
        return Ok(());
    };
    if fact.next_key_of.as_deref() == o.certificate.metadata.uid.as_deref() {
        o.next_keys.retain(|seen| seen.id.name != fact.id.name);
        o.next_keys.push(Arc::new(fact));
    }
    Ok(())
}

/// The Certificate that keeps a Secret which several name: the one that the Secret says, else the
/// oldest, else the first by name (contract §4.2). `None` when that is this one.
fn rival(
    reader: &Reader,
    certificate: &Certificate,
    secret: Option<&SecretFact>,
) -> Option<String> {
    let meta = &certificate.metadata;
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    let claimants = reader
        .store
        .certificates_for(namespace, &certificate.spec.secret_name);
    if claimants.len() < 2 || certificate.spec.secret_name.is_empty() {
        return None;
    }
    let name = |c: &Arc<Certificate>| c.metadata.name.clone().unwrap_or_default();
    let named = secret.and_then(|s| s.certificate_name.clone());
    let keeper = claimants
        .iter()
        .map(name)
        .find(|n| Some(n.as_str()) == named.as_deref())
        .or_else(|| {
            let age = |c: &&Arc<Certificate>| {
                (c.metadata.creation_timestamp.clone().map(|t| t.0), name(c))
            };
            claimants.iter().min_by_key(age).map(name)
        })?;
    (Some(keeper.as_str()) != meta.name.as_deref()).then_some(keeper)
}
