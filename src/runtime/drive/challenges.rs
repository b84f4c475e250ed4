//! Challenges: what they share is written by one at a time.

use super::{Driver, Ended, Failure};
use crate::controllers::action::Plan;
use crate::controllers::challenge;
use crate::controllers::facts::controller_of;
use crate::controllers::key::{Key, Kind};
use crate::runtime::challenges::shared;
use crate::runtime::clock::{monotonic, now};

impl Driver {
    pub(super) async fn challenge(&self, key: &Key, ended: &mut Ended) -> Result<(), Failure> {
        let settings = &self.settings.challenge;
        let account = self
            .reader
            .store
            .challenge(&key.namespace, &key.name)
            .and_then(|c| {
                self.accounts
                    .account(&self.reader.store, &key.namespace, &c.spec.issuer_ref)
            });
        let memo = self.validations.memo(key);
        let known = account.is_some();
        let Some(mut seen) =
            challenge::observe(&self.reader, key, settings, memo, known, now()).await?
        else {
            self.validations.forget(key);
            return Ok(());
        };
        self.validations.prepare(key, &mut seen, settings);
        if let Some(order) = controller_of(&seen.challenge.metadata, "Order") {
            let order = Key::new(Kind::Order, &key.namespace, &order.name);
            seen.waited = self.preflights.has_waited(&order);
        }
        let uid = seen.challenge.metadata.uid.as_deref().unwrap_or_default();
        if self.reader.recoveries.since(uid).is_some() {
            // No informer shows it to the Certificate, whose back-off it ends.
            if let Some(root) = self.reader.store.root_of(&seen.challenge) {
                self.queue.add(root);
            }
        }
        let mut plan = challenge::plan(&seen, settings, now());
        let effect = plan.effect.take();
        self.act(key, &seen, plan, ended).await?;
        if let Some(effect) = effect {
            let outcome = self
                .validations
                .clone()
                .run(key, &seen, account.clone(), effect)
                .await;
            if let Some(account) = account {
                self.suspect(&account, &seen.challenge.spec.issuer_ref, &key.namespace);
            }
            let plan = challenge::absorb(&seen, settings, outcome, now());
            self.act(key, &seen, plan, ended).await?;
            if self.validations.is_valid(key)
                && let Some(order) = controller_of(&seen.challenge.metadata, "Order")
            {
                self.queue
                    .add(Key::new(Kind::Order, &key.namespace, &order.name));
            }
        }
        Ok(())
    }

    /// The writes of a plan. What the API server refuses of a solver's objects is said of the Challenge.
    async fn act(
        &self,
        key: &Key,
        seen: &challenge::Observation,
        plan: Plan<challenge::Effect>,
        ended: &mut Ended,
    ) -> Result<(), Failure> {
        let uid = seen.challenge.metadata.uid.as_deref().unwrap_or_default();
        let presents = plan.actions.iter().any(challenge::presents);
        let Err(failure) = self.carry_out_in_turn(key, uid, plan, ended).await else {
            return Ok(());
        };
        let refusal = match &failure {
            Failure::Write(error) => error.refusal(),
            _ => None,
        };
        let Some(words) = refusal else {
            return Err(failure);
        };
        let words = challenge::without_secrets(&seen.challenge, &words);
        let plan = challenge::refused(seen, presents, &words);
        self.carry_out(key, uid, plan, ended).await?;
        Err(Failure::Solver(words))
    }

    /// As [`Self::carry_out`]; what Challenges share is written by one at a time.
    async fn carry_out_in_turn(
        &self,
        key: &Key,
        uid: &str,
        mut plan: Plan<challenge::Effect>,
        ended: &mut Ended,
    ) -> Result<(), Failure> {
        let shared = &self.validations.shared;
        let Some(_turn) = shared.turn(key, &plan.actions).await else {
            return self.carry_out(key, uid, plan, ended).await;
        };
        plan.actions = shared.due(key, plan.actions, monotonic());
        let makes = plan.actions.iter().any(shared::makes);
        self.carry_out(key, uid, plan, ended).await?;
        if makes {
            shared.made(key, monotonic());
        }
        Ok(())
    }
}
