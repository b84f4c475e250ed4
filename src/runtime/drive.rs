//! From a key to writes: observe, plan, carry out. One reconcile that panics is counted and its object
//! kept away for a while; all others go on.

mod certificates;
mod challenges;
mod revocations;

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::accounts::{AccountsInUse, Answer};
use super::approvals::Approvals;
use super::clock::now;
use super::crash::{self, Stage, point};
use super::effects::{EffectError, Effects};
use super::events::Events;
use super::limits::LimitsInUse;
use super::orders::Orders;
use super::preflight::{self, Preflights};
use super::queue::{Done, Queue};
use super::signing::Signer;
use super::validations::Validations;
use super::vaults;
use crate::api::meta::IssuerReference;
use crate::controllers::action::{Action, Event, Object, Plan};
use crate::controllers::key::{Key, Kind};
use crate::controllers::order::preflight::Standing;
use crate::controllers::progress::Seen;
use crate::controllers::reads::{ReadError, Reader};
use crate::controllers::{
    certificate, certificate_request, challenge, ingress, issuer, order, ordered_issuer,
};
use crate::issuers::acme::Account;
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
    /// Per kind: the newest error of each object, so that it is logged once.
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
            Ok((Err(failure), ended)) => (self.failed(&key, &failure), ended.seen),
            Err(_) => {
                self.metrics.panicked(controller);
                tracing::error!(object = %key, "reconciling this object panicked; it is left alone for a while");
                (Done::Panicked, vec![])
            }
        };
        self.queue.done(key, &done, seen);
        point(Stage::After, "");
    }

    fn failed(&self, key: &Key, failure: &Failure) -> Done {
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
            .post(key, "", Event::warning("everleaf", reason, text));
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

    async fn request(&self, key: &Key, ended: &mut Ended) -> Result<(), Failure> {
        let settings = &self.settings.request;
        let vaults = &self.signer.vaults;
        let resting = vaults.resting(&self.reader.store, key);
        let Some(mut seen) = certificate_request::observe(&self.reader, key, resting, now()) else {
            vaults.forget(key);
            return Ok(());
        };
        if settings.approve && seen.is_undecided() {
            let (reader, issuer) = (&self.reader, &seen.request.issuer);
            let allowed = self.approvals.allow(reader, &key.namespace, issuer).await?;
            seen.may_approve = allowed;
        }
        let uid = seen.request.id.uid.clone();
        let mut plan = certificate_request::plan(&seen, settings, now());
        let effect = plan.effect.take();
        self.carry_out(key, &uid, plan, ended).await?;
        if let Some(effect) = effect {
            let asked = vaults::asked(&self.reader.store, key);
            let outcome = self
                .signer
                .request(&self.reader, &key.namespace, effect)
                .await?;
            let unavailable = matches!(outcome, certificate_request::Outcome::Unavailable { .. });
            let plan = certificate_request::absorb(&seen, settings, outcome, now());
            if let Some(wait) = plan.wake.filter(|_| unavailable) {
                vaults.rest(key, asked, now().checked_add(wait).ok());
                self.doubt(&seen);
            } else {
                vaults.forget(key);
            }
            self.carry_out(key, &uid, plan, ended).await?;
        }
        Ok(())
    }

    /// A request could not be signed though its issuer is ready: that may not be true any more.
    fn doubt(&self, seen: &certificate_request::Observation) {
        if let Some(issuer) = seen.issuer.as_ref().filter(|issuer| issuer.is_ready()) {
            let key = certificate_request::issuer_key(issuer);
            self.signer.vaults.forget(&key);
            self.queue.add(key);
        }
    }

    async fn issuer(&self, key: &Key, ended: &mut Ended) -> Result<(), Failure> {
        let loaded = self.accounts.loaded_hash(&self.reader.store, key);
        let store = &self.reader.store;
        let vaults = &self.signer.vaults;
        let account = self.accounts.state(store, key);
        let resting = account.resting.or_else(|| vaults.resting(store, key));
        let solvers = self.validations.dns01.solvers(key);
        let Some(mut seen) = issuer::observe(&self.reader, key, loaded, account, resting, solvers)
        else {
            self.accounts.forget(key);
            self.validations.dns01.forget_issuer(key);
            self.signer.authorities.forget(key);
            vaults.forget(key);
            return Ok(());
        };
        if seen.issuer.spec.ca.is_none() {
            self.signer.authorities.forget(key);
        }
        match self.limits.to_store(&seen.issuer, now()) {
            Ok(limits) => seen.limits = limits,
            Err(wait) => ended.wake = Some(wait),
        }
        let uid = seen.issuer.id.uid.clone();
        let mut plan = issuer::plan(&seen, now());
        let effect = plan.effect.take();
        // One that only waits, or says what is wrong with its solvers, has not written them.
        let waits = plan.wake.is_some() || matches!(seen.solvers, issuer::Solvers::Faulty(_));
        let stores = effect.is_none() && !waits && seen.limits.is_some();
        self.carry_out(key, &uid, plan, ended).await?;
        if stores {
            self.limits.is_stored(key, now());
        }
        if let Some(effect) = effect {
            let asked = vaults::asked(store, key);
            let outcome = match effect {
                issuer::Effect::LoadAuthority(secret) => {
                    let authorities = &self.signer.authorities;
                    authorities.issuer(&self.reader, key, &secret).await?
                }
                issuer::Effect::CheckSolvers => self.validations.dns01.check_solvers(&seen).await?,
                issuer::Effect::LoadAccountKey => self.accounts.load(&self.reader, &seen).await?,
                issuer::Effect::Register => self.accounts.register(&self.reader, &seen).await?,
                issuer::Effect::Block(why) => self.accounts.block(&seen, why),
                issuer::Effect::StageKey => self.accounts.stage_key(&seen).await,
                issuer::Effect::ChangeKey => self.accounts.change_key(&seen).await,
                issuer::Effect::CheckVault => vaults.check(&self.reader, &seen).await?,
            };
            let answer = Answer::of(&outcome);
            let asked_vault = matches!(outcome, issuer::Outcome::Vault(_));
            let plan = issuer::absorb(&seen, &self.settings.issuer, outcome, now());
            if asked_vault {
                let until = plan.wake.map(|wait| now().checked_add(wait));
                vaults.rest(key, asked, until.transpose().ok().flatten());
            }
            if let Some(answer) = answer {
                let until = plan.wake.and_then(|wait| now().checked_add(wait).ok());
                self.accounts.note(&self.reader.store, key, answer, until);
            }
            let usable = self.accounts.is_usable(key);
            self.carry_out(key, &uid, plan, ended).await?;
            if usable {
                // Orders and Challenges wait for the account, which no informer shows.
                for user in self.reader.store.users_of(key) {
                    self.queue.add(user);
                }
            }
        }
        Ok(())
    }

    async fn order(&self, key: &Key, ended: &mut Ended) -> Result<(), Failure> {
        let account = self
            .reader
            .store
            .order(&key.namespace, &key.name)
            .and_then(|o| {
                self.accounts
                    .account(&self.reader.store, &key.namespace, &o.spec.issuer_ref)
            });
        let thumbprint = account.as_ref().map(|a| a.thumbprint.clone());
        let store = &self.reader.store;
        let ahead = self.preflights.ahead(store, key);
        // What is in the way of an order takes no place from others.
        let standing = ahead.as_ref().map(|ahead| ahead.standing(now()));
        let is_clear = matches!(standing, None | Some(Standing::Clear(_)));
        if let Some(Standing::Held(..)) = standing {
            self.limits.withdraw(store, key, now());
        }
        let memo = self.orders.memo(store, key);
        let asks = thumbprint.is_some() && is_clear && memo.rests(now()).is_none();
        let turn = self.limits.order(store, key, asks, now());
        let Some(mut seen) = order::observe(&self.reader, key, thumbprint, ahead, turn, memo)
        else {
            self.orders.forget(key);
            self.preflights.forget(key);
            return Ok(());
        };
        self.know_the_valid(&mut seen);
        let uid = seen.order.metadata.uid.clone().unwrap_or_default();
        let mut plan = order::plan(&seen, now());
        let effect = plan.effect.take();
        let tells = self.settings.challenge.verbose_events;
        let told = |plan: &mut Plan<order::Effect>| {
            if tells {
                plan.events.extend(order::steps(plan));
            }
        };
        told(&mut plan);
        self.carry_out(key, &uid, plan, ended).await?;
        if let (Some(effect), Some(account)) = (effect, account) {
            let question = match effect {
                order::Effect::Ask(question) => question,
                order::Effect::Look(subjects) => {
                    self.preflights.look(key, account, subjects);
                    return Ok(());
                }
            };
            let creates = matches!(question, order::Question::Create { .. });
            let outcome = self.accounts.order(&account, &seen, question).await;
            if creates && matches!(outcome, order::Outcome::Read { .. }) {
                self.preflights.made(key, seen.ahead.as_ref());
            }
            let mut plan = if let Some((words, retry)) = outcome.refusal().filter(|_| creates) {
                // How long it waits is the ledger's to say, which may let it go sooner: nothing is remembered.
                seen.turn = self.limits.refused(store, key, words, retry, now());
                order::plan(&seen, now())
            } else {
                let heard = outcome.heard();
                if heard == order::Heard::Wait(order::Wait::Human) && creates {
                    self.limits.give_back(store, key, now());
                }
                let plan = order::absorb(&seen, outcome, now());
                let memo = seen.memo.after(heard, plan.wake, now());
                self.orders.note(store, key, memo);
                plan
            };
            told(&mut plan);
            self.suspect(&account, &seen.order.spec.issuer_ref, &key.namespace);
            self.carry_out(key, &uid, plan, ended).await?;
        }
        Ok(())
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

    /// What this process has heard from the CA is newer than the status of a Challenge.
    fn know_the_valid(&self, seen: &mut order::Observation) {
        for challenge in &mut seen.challenges {
            let meta = &challenge.metadata;
            let namespace = meta.namespace.as_deref().unwrap_or_default();
            let name = meta.name.as_deref().unwrap_or_default();
            if self
                .validations
                .is_valid(&Key::new(Kind::Challenge, namespace, name))
            {
                let status = Arc::make_mut(challenge).status.get_or_insert_default();
                status.state = Some("valid".into());
            }
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

    async fn ordered_issuer(&self, key: &Key, ended: &mut Ended) -> Result<(), Failure> {
        let Some(seen) = ordered_issuer::observe(&self.reader, &self.looks, key) else {
            return Ok(());
        };
        let uid = seen.fact.id.uid.clone();
        let mut plan = ordered_issuer::plan(&seen, now());
        let Some(ordered_issuer::Effect::Probe(issuers)) = plan.effect.take() else {
            return self.carry_out(key, &uid, plan, ended).await;
        };
        let store = &self.reader.store;
        let names = store.names_by(key, preflight::MOST_NAMES);
        let probes = issuers.into_iter().map(async |issuer| {
            let account = self.accounts.account(store, &key.namespace, &issuer);
            let answered = self.accounts.probe(store, &key.namespace, &issuer).await;
            let fact = store.issuer(&key.namespace, &issuer);
            let forbidden = match (account, fact) {
                (Some(account), Some(fact)) if answered.is_ok() => {
                    self.preflights.forbidden(&account, &fact, &names).await
                }
                _ => None,
            };
            (issuer, answered.map(|()| forbidden))
        });
        let outcome = futures::future::join_all(probes).await;
        self.looks.note(&key.namespace, &outcome, now());
        let plan = ordered_issuer::absorb(&seen, &outcome, now());
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
