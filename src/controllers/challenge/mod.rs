//! Challenges: present, check, ask the CA, clean up.

mod memo;
mod observe;
mod plan;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::networking::v1::Ingress;

pub use memo::{Check, Memo, Sight};
pub use observe::observe;
pub use plan::{absorb, plan, presents, refused, without_secrets};

pub use crate::api::order::state::is_final;

use super::action::Target;
use super::facts::Identity;
use crate::api::Challenge;
use crate::solvers::http01::objects::{Mode, SolverSettings};

/// What the flags say about Challenges.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How solver objects are made.
    pub solver: SolverSettings,
    /// `--http01-mode`: for solvers that do not say.
    pub mode: Mode,
    /// Where the operator itself can be reached, for [`Mode::Direct`].
    pub address: Option<SocketAddr>,
    /// How long a name that cannot be reached delays the CA; a wrong answer five times as long.
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

impl Observation {
    /// Whether something in the cluster is in the way of an answer, and known.
    pub fn is_hindered(&self) -> bool {
        self.missing_class.is_some() || self.objects.pod_problem.is_some()
    }
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
    /// The CA refuses for now and does not say until when.
    Refused {
        /// What was said.
        reason: String,
    },
    /// The CA says that it has no such challenge: it has lost it, or a replica of it does not know it yet.
    Unknown {
        /// What was said.
        reason: String,
    },
    /// The CA does not take the account: the Challenge goes on when its issuer has looked.
    AccountRefused {
        /// What was said.
        reason: String,
    },
}

/// `status.state`; empty before the CA was asked.
pub fn state(challenge: &Challenge) -> &str {
    challenge
        .status
        .as_ref()
        .and_then(|s| s.state.as_deref())
        .unwrap_or_default()
}
