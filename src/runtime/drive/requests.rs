//! Requests: who signs is asked between two plans.

use super::{Driver, Ended, Failure};
use crate::controllers::certificate_request;
use crate::controllers::key::Key;
use crate::runtime::clock::now;
use crate::runtime::signing::vaults;

impl Driver {
    pub(super) async fn request(&self, key: &Key, ended: &mut Ended) -> Result<(), Failure> {
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
}
