//! Orders: what is in the way is looked at, a turn waited for, and the CA asked, in this order.

use std::sync::Arc;

use super::{Driver, Ended, Failure};
use crate::controllers::action::Plan;
use crate::controllers::key::{Key, Kind};
use crate::controllers::order;
use crate::controllers::order::preflight::Standing;
use crate::runtime::acme::orders::Subject;
use crate::runtime::clock::now;

impl Driver {
    pub(super) async fn order(&self, key: &Key, ended: &mut Ended) -> Result<(), Failure> {
        let store = &self.reader.store;
        let order = store.order(&key.namespace, &key.name);
        let issuer = order.as_ref().map(|order| &order.spec.issuer_ref);
        let account =
            issuer.and_then(|issuer| self.accounts.account(store, &key.namespace, issuer));
        let thumbprint = account.as_ref().map(|a| a.thumbprint.clone());
        let subject = Subject::of(store, key);
        let made = self.orders.made(store, key);
        // What the CA has made already is not looked at any more.
        let ahead = self.preflights.ahead(store, key).filter(|_| made.is_none());
        // What is in the way of an order takes no place from others.
        let standing = ahead.as_ref().map(|ahead| ahead.standing(now()));
        let orphaned = order.is_some_and(|order| made.is_none() && store.is_orphaned_order(&order));
        let is_clear = !orphaned && matches!(standing, None | Some(Standing::Clear(_)));
        if orphaned || matches!(standing, Some(Standing::Held(..))) {
            self.limits.withdraw(store, key, now());
        }
        let memo = self.orders.memo(&subject, key, now());
        let asks = thumbprint.is_some() && is_clear && memo.rests(now()).is_none();
        let turn = self.limits.order(store, key, asks, now());
        let Some(mut seen) =
            order::observe(&self.reader, key, thumbprint, ahead, turn, (memo, made))
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
            if creates && let order::Outcome::Read(made) = &outcome {
                self.preflights.made(key, seen.ahead.as_ref());
                self.orders.keep(&subject, key, made.clone());
                if made.without_replaces {
                    self.limits.replaces_nothing(store, key, now());
                }
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
                self.orders.note(subject, key, memo, now());
                plan
            };
            told(&mut plan);
            self.suspect(&account, &seen.order.spec.issuer_ref, &key.namespace);
            self.carry_out(key, &uid, plan, ended).await?;
        }
        Ok(())
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
}
