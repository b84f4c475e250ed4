//! From a key to writes: observe, plan, carry out. One reconcile that panics is counted and its object
//! kept away for a while; all others go on.

mod certificates;
mod challenges;
mod issuers;
mod orders;
mod requests;
mod revocations;

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::clock::now;
use super::crash::{self, Stage, point};
use super::effects::{EffectError, Effects};
use super::events::Events;
use super::queue::{Done, Queue};
use super::signing::Signer;
use crate::api::meta::IssuerReference;
use crate::controllers::action::{Action, Event, Object, Plan};
use crate::controllers::key::{Key, Kind};
use crate::controllers::progress::Seen;
use crate::controllers::reads::{ReadError, Reader};
use crate::controllers::{
    certificate, certificate_request, challenge, ingress, issuer, ordered_issuer,
};
use crate::issuers::acme::Account;
use crate::runtime::acme::accounts::AccountsInUse;
use crate::runtime::acme::limits::LimitsInUse;
use crate::runtime::acme::orders::Orders;
use crate::runtime::acme::preflight::Preflights;
use crate::runtime::challenges::validations::Validations;
use crate::runtime::signing::approvals::Approvals;
use crate::telemetry::metrics::Metrics;

/// What the flags say to the controllers.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Issuers.
    pub issuer: issuer::Settings,
    /// Certificates.
    pub certificate: certificate::Settings,
    /// Requests.
    pub request: certificate_request::Settings,
    /// Challenges.
    pub challenge: challenge::Settings,
    /// Ingresses.
    pub ingress: ingress::Settings,
    /// Whether revocation lists are kept and served.
    pub keeps_lists: bool,
    /// Kinds whose controller is switched off.
    pub disabled: Vec<Kind>,
}

/// Everything that a reconcile needs.
pub struct Driver {
    /// Facts, keys and live reads.
    pub reader: Reader,
    /// What is to be reconciled.
    pub queue: Arc<Queue>,
    /// The only writer.
    pub effects: Effects,
    /// Events.
    pub events: Events,
    /// Private keys and signatures.
    pub signer: Arc<Signer>,
    /// What the approver may approve.
    pub approvals: Approvals,
    /// ACME accounts.
    pub accounts: AccountsInUse,
    /// What is remembered of Orders.
    pub orders: Orders,
    /// What was seen of their names.
    pub preflights: Arc<Preflights>,
    /// Validations under way.
    pub validations: Arc<Validations>,
    /// What CAs allow.
    pub limits: Arc<LimitsInUse>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// What was seen of the servers of ordered issuers.
    pub looks: ordered_issuer::Looks,
    /// What the flags say.
    pub settings: Settings,
    /// The newest error of each object, so that it is logged once.
    pub errors: Mutex<HashMap<Key, String>>,
    /// What the API server refuses to write of Certificates.
    pub refusals: certificates::Refusals,
}

/// A reconcile that did not come to its end.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] EffectError),
    /// The API server refuses a solver's object; without what only the CA is to know.
    #[error("{0}")]
    Solver(String),
}

/// What a reconcile leaves behind.
#[derive(Debug, Default)]
struct Ended {
    /// Of the object.
    uid: String,
    wake: Option<Duration>,
    seen: Vec<Seen>,
    /// What could not be made, and nothing else waits for.
    aside: Option<EffectError>,
}

impl Driver {
    /// Reconcile until `stop`, then let what is under way come to its end. The queue bounds how much that is.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                // Its memory is free again.
                Some(_) = tasks.join_next() => {}
                key = self.queue.next() => {
                    tasks.spawn(self.clone().work(key));
                }
            }
        }
        while tasks.join_next().await.is_some() {}
    }

    async fn work(self: Arc<Self>, key: Key) {
        let controller = key.kind.controller();
        self.metrics.sync_called(controller);
        self.metrics
            .set_queue_depth(controller, self.queue.depth(key.kind));
        for _ in 0..self.queue.take_stale_skips() {
            self.metrics.stale_sync_skipped();
        }
        let answer = AssertUnwindSafe(self.reconcile(&key)).catch_unwind().await;
        let (done, seen) = match answer {
            Ok((Ok(()), ended)) => {
                self.errors.lock().remove(&key);
                (Done::Idle(ended.wake), ended.seen)
            }
            Ok((Err(failure), ended)) => (self.failed(&key, &ended.uid, &failure), ended.seen),
            Err(_) => {
                self.metrics.panicked(controller);
                tracing::error!(object = %key, "reconciling this object panicked; it is left alone for a while");
                (Done::Panicked, vec![])
            }
        };
        self.queue.done(key, &done, seen);
        point(Stage::After, "");
    }

    fn failed(&self, key: &Key, uid: &str, failure: &Failure) -> Done {
        match failure {
            // The change that made it so wakes the object before its back-off ends.
            Failure::Write(EffectError::Stale { .. }) => return Done::Failed,
            // Nothing can be made there any more; what is there goes away by itself.
            Failure::Write(EffectError::Terminating { .. }) => return Done::Idle(None),
            _ => {}
        }
        self.metrics.sync_failed(key.kind.controller());
        let text = failure.to_string();
        if self
            .errors
            .lock()
            .insert(key.clone(), text.clone())
            .as_ref()
            == Some(&text)
        {
            return Done::Failed;
        }
        tracing::warn!(object = %key, error = text, "reconciling failed; it is tried again");
        let reason = match failure {
            Failure::Write(EffectError::Foreign { .. }) => "NameTaken",
            Failure::Write(EffectError::Nowhere { .. }) => "CannotCreate",
            _ => return Done::Failed,
        };
        self.events
            .post(key, uid, Event::warning("everleaf", reason, text));
        Done::Failed
    }

    async fn reconcile(&self, key: &Key) -> (Result<(), Failure>, Ended) {
        crash::reconcile(key);
        let mut ended = Ended::default();
        if self.settings.disabled.contains(&key.kind) {
            return (Ok(()), ended);
        }
        // Boxed, so that each takes the memory of its own kind only.
        let reconcile = match key.kind {
            Kind::Certificate => self.certificate(key, &mut ended).boxed(),
            Kind::CertificateRequest => self.request(key, &mut ended).boxed(),
            Kind::Issuer | Kind::ClusterIssuer => async {
                self.issuer(key, &mut ended).await?;
                self.revocation_list(key, &mut ended).await
            }
            .boxed(),
            Kind::Order => self.order(key, &mut ended).boxed(),
            Kind::Challenge => self.challenge(key, &mut ended).boxed(),
            Kind::Ingress => self.ingress(key, &mut ended).boxed(),
            Kind::Revocation => self.revocation(key, &mut ended).boxed(),
            Kind::OrderedIssuer | Kind::ClusterOrderedIssuer => {
                self.ordered_issuer(key, &mut ended).boxed()
            }
        };
        let outcome = reconcile.await;
        let aside = ended.aside.take().map(Failure::Write);
        (outcome.and(aside.map_or(Ok(()), Err)), ended)
    }

    /// The CA may have refused an account rather than what was asked for with it.
    fn suspect(&self, account: &Account, issuer: &IssuerReference, namespace: &str) {
        if account.trouble().is_none() {
            return;
        }
        if let Some(issuer) = self.reader.store.issuer(namespace, issuer) {
            self.queue.add(certificate_request::issuer_key(&issuer));
        }
    }

    async fn ingress(&self, key: &Key, ended: &mut Ended) -> Result<(), Failure> {
        let settings = &self.settings.ingress;
        let Some(seen) = ingress::observe(&self.reader, key, settings) else {
            return Ok(());
        };
        let uid = seen.ingress.id.uid.clone();
        let plan = ingress::plan(&seen, settings, now());
        self.carry_out(key, &uid, plan, ended).await
    }

    /// The writes of a plan, in order; then its events.
    async fn carry_out<E>(
        &self,
        key: &Key,
        uid: &str,
        plan: Plan<E>,
        ended: &mut Ended,
    ) -> Result<(), Failure> {
        uid.clone_into(&mut ended.uid);
        if let Some(wake) = plan.wake {
            ended.wake = Some(ended.wake.map_or(wake, |w| w.min(wake)));
        }
        self.write(plan.actions, ended).await?;
        self.announce(key, uid, plan.events);
        Ok(())
    }

    async fn write(&self, actions: Vec<Action>, ended: &mut Ended) -> Result<(), Failure> {
        for action in actions {
            let is_aside =
                matches!(&action, Action::Ensure(made) if matches!(**made, Object::Revocation(_)));
            let written = match self.effects.execute(action).await {
                // Where there are no CertificateRevocations, certificates are issued all the same.
                Err(error @ EffectError::Nowhere { .. }) if is_aside => {
                    ended.aside = Some(error);
                    continue;
                }
                written => written?,
            };
            ended.seen.extend(written.seen);
            if let Some(request) = written.request {
                self.reader.store.request_is_made(&request);
            }
        }
        Ok(())
    }

    fn announce(&self, key: &Key, uid: &str, events: Vec<Event>) {
        for event in events {
            tracing::info!(object = %key, reason = event.reason, component = event.component, "{}", event.message);
            self.events.post(key, uid, event);
        }
    }
}
