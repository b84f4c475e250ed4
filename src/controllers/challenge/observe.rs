//! What the plan of a Challenge depends on, gathered.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::networking::v1::Ingress;

use super::{Memo, Objects, Observation, RecordState, Settings, is_final, state};
use crate::api::Challenge;
use crate::api::challenge::DNS_01;
use crate::controllers::facts::controller_of;
use crate::controllers::key::Key;
use crate::controllers::reads::{ReadError, Reader};
use crate::controllers::store::Store;
use crate::solvers::http01::objects::{Mode, Presentation, is_cert_managers};
use crate::solvers::http01::service::DIRECT_NAME;

/// Everything that the plan of this Challenge depends on; `None` when it is gone.
pub async fn observe(
    reader: &Reader,
    key: &Key,
    settings: &Settings,
    memo: Memo,
    account: bool,
    now: Timestamp,
) -> Result<Option<Observation>, ReadError> {
    let store = &reader.store;
    let Some(challenge) = store.challenge(&key.namespace, &key.name) else {
        return Ok(None);
    };
    let solver = challenge
        .spec
        .solver
        .http01
        .as_ref()
        .and_then(|h| h.ingress.as_ref());
    let mut objects = Objects::default();
    if let Some(presentation) = Presentation::of(&challenge) {
        let name = presentation.name();
        let pod = store.solver_pod(&key.namespace, &name);
        objects.pod_problem = pod.as_ref().and_then(|p| p.problem.clone());
        objects.pod = pod.map(|p| p.id.clone());
        objects.service = store
            .solver_service(&key.namespace, &name)
            .map(|s| s.id.clone());
        objects.ingress = store.ingress(&key.namespace, &name).map(|i| i.id.clone());
        objects.direct_service = store
            .solver_service(&key.namespace, DIRECT_NAME)
            .map(|s| s.id.clone());
        // What it has presented itself it says seldom.
        let status = challenge.status.as_ref();
        if status.is_some_and(|status| status.presented == Some(true)) {
            objects.adopted = store.solver_objects_of(&key.namespace, &key.name);
            objects.adopted.retain(|(_, id)| is_cert_managers(&id.name));
        }
    }
    // One that has ended takes its path away, and is looked at often before it goes.
    let rests = is_final(state(&challenge)) && challenge.metadata.deletion_timestamp.is_none();
    let is_edited = |name: &str| {
        let fact = store.ingress(&key.namespace, name);
        !rests || fact.is_some_and(|fact| fact.solves)
    };
    if let Some(name) = solver
        .and_then(|s| s.name.as_deref())
        .filter(|n| !n.is_empty() && is_edited(n))
    {
        objects.edited = reader
            .live::<Ingress>(&key.namespace, name)
            .await?
            .map(Box::new);
    }
    let class = solver
        .and_then(|s| s.ingress_class_name.clone())
        .filter(|c| !c.is_empty());
    let others = store.challenges_in(&key.namespace);
    let live = |c: &&Arc<Challenge>| is_live_beside(&challenge, c);
    let mode = |c: &Challenge| {
        let ingress = c
            .spec
            .solver
            .http01
            .as_ref()
            .and_then(|h| h.ingress.as_ref())?;
        Some(Mode::of(ingress, settings.mode))
    };
    Ok(Some(Observation {
        missing_class: class.filter(|c| !store.has_ingress_class(c)),
        earlier: has_earlier(store, &challenge, &others, now),
        direct_users: others
            .iter()
            .filter(live)
            .filter(|c| mode(c) == Some(Mode::Direct))
            .count(),
        last: is_last(reader, &challenge),
        waited: false,
        challenge: challenge.clone(),
        account,
        objects,
        admitted: false,
        record: RecordState::Unknown,
        shared: is_shared(reader, &challenge),
        memo,
    }))
}

/// Whether the Order of a Challenge goes on as soon as it is valid: it has no end yet, and no other open
/// Challenge.
fn is_last(reader: &Reader, challenge: &Challenge) -> bool {
    let Some(owner) = controller_of(&challenge.metadata, "Order") else {
        return false;
    };
    let namespace = challenge.metadata.namespace.as_deref().unwrap_or_default();
    let order = reader.store.order(namespace, &owner.name);
    let order = order.and_then(|o| o.status.as_ref()?.state.clone());
    let others = reader.store.challenges_of(namespace, &owner.uid);
    order.is_some_and(|state| !is_final(&state))
        && others
            .iter()
            .all(|c| c.metadata.uid == challenge.metadata.uid || state(c) == "valid")
}

/// How long an older Challenge is waited for. One that takes longer waits for something outside, and is in nobody's way.
const LONGEST: SignedDuration = SignedDuration::from_hours(1);

/// Whether as many older Challenges of its name are being solved as are at once. Those of other namespaces count where the
/// server knows no namespaces, and may put one value in the place of another's.
pub(super) fn has_earlier(
    store: &Store,
    challenge: &Challenge,
    neighbours: &[Arc<Challenge>],
    now: Timestamp,
) -> bool {
    let most = at_once(challenge);
    if most == usize::MAX {
        return false;
    }
    let everywhere = (challenge.spec.type_ == DNS_01).then(|| store.challenges());
    let created = |c: &Challenge| c.metadata.creation_timestamp.as_ref().map(|t| t.0);
    let born = |c: &Challenge| {
        let meta = &c.metadata;
        (created(c), meta.name.clone(), meta.namespace.clone())
    };
    let is_earlier = |c: &&Arc<Challenge>| {
        c.spec.dns_name == challenge.spec.dns_name
            && c.spec.type_ == challenge.spec.type_
            && (is_live_beside(challenge, c) || leaves_a_record(c))
            && server(c) == server(challenge)
            && born(c) < born(challenge)
            && created(c).is_some_and(|at| now.duration_since(at) < LONGEST)
    };
    let all = everywhere.as_deref().unwrap_or(neighbours).iter();
    all.filter(is_earlier).count() >= most
}

/// Whether another Challenge is being solved.
fn is_live_beside(challenge: &Challenge, other: &Challenge) -> bool {
    other.metadata.uid != challenge.metadata.uid
        && !is_final(state(other))
        && other.metadata.deletion_timestamp.is_none()
}

/// Whether a Challenge has a DNS-01 record that has not been taken away yet, though it may have ended.
fn leaves_a_record(challenge: &Challenge) -> bool {
    let status = challenge.status.as_ref();
    challenge.spec.type_ == DNS_01 && status.is_some_and(|status| status.processing == Some(true))
}

/// Who keeps the values of a name, where that may be few: a webhook solver, or an acme-dns server.
fn server(challenge: &Challenge) -> Option<(&str, &str)> {
    let solver = challenge.spec.solver.dns01.as_ref()?;
    let webhook = solver.webhook.as_ref();
    let webhook = webhook.map(|w| (w.group_name.as_str(), w.solver_name.as_str()));
    webhook.or_else(|| Some((solver.acme_dns.as_ref()?.host.as_str(), "")))
}

/// How many Challenges of one name are solved at once. Of DNS-01 any number, since each has its own value; but an acme-dns
/// server keeps two values of a name, and webhook solvers may rely on it that there is one (contract §5.5).
fn at_once(challenge: &Challenge) -> usize {
    match &challenge.spec.solver.dns01 {
        _ if challenge.spec.type_ != DNS_01 => 1,
        Some(solver) if solver.webhook.is_some() => 1,
        Some(solver) if solver.acme_dns.is_some() => 2,
        _ => usize::MAX,
    }
}

/// Whether another live Challenge, of any namespace, has the same DNS-01 record: Orders of one account may have an
/// authorization in common.
fn is_shared(reader: &Reader, challenge: &Challenge) -> bool {
    challenge.spec.type_ == DNS_01
        && reader.store.challenges().iter().any(|other| {
            other.spec.dns_name == challenge.spec.dns_name
                && other.spec.key == challenge.spec.key
                && is_live_beside(challenge, other)
        })
}
