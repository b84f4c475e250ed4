//! Challenges: present, check, ask the CA, clean up.

mod memo;
mod plan;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::networking::v1::Ingress;

pub use memo::{Check, Memo, Sight};
pub use plan::{absorb, plan, presents, refused, without_secrets};

use super::action::Target;
use super::facts::{Identity, controller_of};
use super::key::Key;
use super::reads::{ReadError, Reader};
use super::store::Store;
use crate::api::Challenge;
use crate::api::challenge::DNS_01;
use crate::solvers::http01::objects::{Mode, Presentation, SolverSettings, is_cert_managers};
use crate::solvers::http01::service::DIRECT_NAME;

/// What the flags say about Challenges.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How solver objects are made.
    pub solver: SolverSettings,
    /// `--http01-mode`: for solvers that do not say.
    pub mode: Mode,
    /// Where the operator itself can be reached, for [`Mode::Direct`].
    pub address: Option<SocketAddr>,
    /// How long a failing self-check delays the CA.
    pub self_check_limit: Duration,
    /// The same, and more, of DNS-01.
    pub dns01: Dns01Settings,
    /// Post an event for each step, not only for what a condition does not say.
    pub verbose_events: bool,
}

/// What the flags say about DNS-01.
#[derive(Debug, Clone, Copy)]
pub struct Dns01Settings {
    /// `--dns01-check-retry-period`: the longest time between two self-checks that fail.
    pub check_period: Duration,
    /// `--dns01-self-check-limit`: how long a name server that says there is no record delays the CA.
    pub check_limit: Duration,
}

/// A DNS-01 record, as far as this process knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum RecordState {
    /// Nothing was done by this process, or what it depends on has changed since.
    #[default]
    Unknown,
    /// The provider is being asked, since then.
    Busy(Timestamp),
    /// The provider has it.
    Present,
    /// The provider has it no longer.
    Absent,
    /// The provider did not do it.
    Failed(Failure),
}

/// A provider that did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// It was to take the record away.
    pub removing: bool,
    /// The fault, and what to do.
    pub reason: String,
    /// When it may do it.
    pub retry: Retry,
    /// How many times in a row.
    pub count: u32,
    /// When it first did not.
    pub since: Timestamp,
    /// When it did not last.
    pub at: Timestamp,
}

/// When a failed step is of use again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// When something has changed.
    OnChange,
    /// Soon.
    Soon,
    /// The provider said when.
    At(Timestamp),
}

/// A Challenge and everything that its plan depends on.
#[allow(clippy::struct_excessive_bools, reason = "independent facts")]
#[derive(Debug, Clone)]
pub struct Observation {
    /// The Challenge.
    pub challenge: Arc<Challenge>,
    /// Whether the issuer's account is loaded.
    pub account: bool,
    /// The solver objects that exist.
    pub objects: Objects,
    /// The IngressClass that the solver names and that does not exist.
    pub missing_class: Option<String>,
    /// An older live Challenge for the same name.
    pub earlier: bool,
    /// Whether it is one of those that may be validated now (`--max-concurrent-challenges`).
    pub admitted: bool,
    /// Other live Challenges of the namespace that use the shared Service of the Direct mode.
    pub direct_users: usize,
    /// Its Order waits for nothing else.
    pub last: bool,
    /// Its Order has waited for the name before it was made.
    pub waited: bool,
    /// Its DNS-01 record.
    pub record: RecordState,
    /// Another live Challenge has the same DNS-01 record.
    pub shared: bool,
    /// What this process remembers.
    pub memo: Memo,
}

/// The objects of one presentation, as far as they exist.
#[derive(Debug, Clone, Default)]
pub struct Objects {
    /// Its Pod.
    pub pod: Option<Identity>,
    /// Why its Pod does not run.
    pub pod_problem: Option<String>,
    /// Its Service.
    pub service: Option<Identity>,
    /// Its Ingress.
    pub ingress: Option<Identity>,
    /// The namespace's Service of the Direct mode.
    pub direct_service: Option<Identity>,
    /// The user's Ingress that a solver with `name` edits, live.
    pub edited: Option<Box<Ingress>>,
    /// Those that cert-manager has made for it, before a take-over.
    pub adopted: Vec<(Target, Identity)>,
}

/// A step that asks the network or the CA.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Look for the answer to the challenge as the CA would; what is seen comes into the memo.
    SelfCheck,
    /// Have the provider write the DNS-01 record; what becomes of it comes into the record.
    Present,
    /// Have the provider take the DNS-01 record away; what becomes of it comes into the record.
    CleanUp,
    /// Ask the CA to validate, if it is not doing so already.
    Accept,
    /// Read the authorization.
    Poll,
    /// After a failure: whether what stood in the way has gone. That ends the Certificate's back-off; of a DNS-01 record that
    /// could not be written, its own.
    Probe,
}

/// What the CA said.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The answer will come into the memo.
    Started,
    /// The challenge, as the CA has it.
    State {
        /// `pending`, `processing`, `valid`, `invalid`, `expired` or `errored`.
        state: String,
        /// Why it failed.
        reason: Option<String>,
        /// When to look again.
        retry: Option<Duration>,
    },
    /// The request failed; trying again may help.
    Unavailable {
        /// What was said.
        reason: String,
        /// When to try again, if the CA said so.
        retry: Option<Duration>,
    },
    /// The CA does not take the account: the Challenge goes on when its issuer has looked.
    AccountRefused {
        /// What was said.
        reason: String,
    },
}

/// Whether a state is an end.
pub fn is_final(state: &str) -> bool {
    matches!(state, "valid" | "invalid" | "expired" | "errored")
}

/// `status.state`; empty before the CA was asked.
pub fn state(challenge: &Challenge) -> &str {
    challenge
        .status
        .as_ref()
        .and_then(|s| s.state.as_deref())
        .unwrap_or_default()
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

/// Everything that the plan of this Challenge depends on; `None` when it is gone.
pub async fn observe(
    reader: &Reader,
    key: &Key,
    settings: &Settings,
    memo: Memo,
    account: bool,
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
        earlier: has_earlier(store, &challenge, &others),
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

/// Whether as many older Challenges of its name are being solved as are at once. Those of other namespaces count where the
/// server knows no namespaces, and may put one value in the place of another's.
fn has_earlier(store: &Store, challenge: &Challenge, neighbours: &[Arc<Challenge>]) -> bool {
    let most = at_once(challenge);
    if most == usize::MAX {
        return false;
    }
    let everywhere = (challenge.spec.type_ == DNS_01).then(|| store.challenges());
    let born = |c: &Challenge| {
        let meta = &c.metadata;
        let at = meta.creation_timestamp.clone().map(|t| t.0);
        (at, meta.name.clone(), meta.namespace.clone())
    };
    let is_earlier = |c: &&Arc<Challenge>| {
        c.spec.dns_name == challenge.spec.dns_name
            && c.spec.type_ == challenge.spec.type_
            && is_live_beside(challenge, c)
            && born(c) < born(challenge)
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
