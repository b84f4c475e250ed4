//! Issuers, and those that list others in order of preference.

use super::{Driver, Ended, Failure};
use crate::controllers::key::Key;
use crate::controllers::{issuer, ordered_issuer};
use crate::runtime::acme::accounts::{self, Answer};
use crate::runtime::acme::preflight;
use crate::runtime::clock::now;
use crate::runtime::signing::vaults;

impl Driver {
    pub(super) async fn issuer(&self, key: &Key, ended: &mut Ended) -> Result<(), Failure> {
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
        let (limits, change) = match self.limits.to_store(&seen.issuer, now()) {
            Ok(behind) => behind.unzip(),
            Err(wait) => {
                ended.wake = Some(wait);
                (None, None)
            }
        };
        seen.limits = limits;
        let uid = seen.issuer.id.uid.clone();
        let mut plan = issuer::plan(&seen, now());
        let effect = plan.effect.take();
        // One that only waits, or says what is wrong with its solvers, has not written them.
        let waits = plan.wake.is_some() || matches!(seen.solvers, issuer::Solvers::Faulty(_));
        let stored = change.filter(|_| effect.is_none() && !waits);
        self.carry_out(key, &uid, plan, ended).await?;
        if let Some(change) = stored {
            self.limits.is_stored(key, change, now());
        }
        if let Some(effect) = effect {
            let asked = accounts::asked(store, key);
            let asked_vault = vaults::asked(store, key);
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
            let answer = Answer::of(&outcome, seen.account.unknown);
            let is_vault = matches!(outcome, issuer::Outcome::Vault(_));
            let plan = issuer::absorb(&seen, &self.settings.issuer, outcome, now());
            if is_vault {
                let until = plan.wake.map(|wait| now().checked_add(wait));
                vaults.rest(key, asked_vault, until.transpose().ok().flatten());
            }
            if let Some(answer) = answer {
                let until = plan.wake.and_then(|wait| now().checked_add(wait).ok());
                self.accounts.note(key, asked, answer, until);
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

    pub(super) async fn ordered_issuer(&self, key: &Key, ended: &mut Ended) -> Result<(), Failure> {
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
}
