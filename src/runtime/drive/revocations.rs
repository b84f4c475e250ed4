//! CertificateRevocations, and the revocation lists of CA issuers.

use std::time::Duration;

use super::{Driver, Ended, Failure};
use crate::api::meta::IssuerReference;
use crate::controllers::action::Action;
use crate::controllers::key::Key;
use crate::controllers::revocation;
use crate::controllers::revocation_list::unsigned;
use crate::runtime::clock::now;
use crate::runtime::revocation::lists::{self, Signed};
use crate::runtime::revocation::revoking::{self, Asked};

impl Driver {
    pub(super) async fn revocation(&self, key: &Key, ended: &mut Ended) -> Result<(), Failure> {
        let store = &self.reader.store;
        let usable = |issuer: &IssuerReference| {
            let account = self.accounts.account(store, &key.namespace, issuer);
            account.is_some()
        };
        let Some(mut seen) = revocation::observe(&self.reader, key, usable).await? else {
            return Ok(());
        };
        let uid = seen.object.metadata.uid.clone().unwrap_or_default();
        let mut plan = revocation::plan(&seen, now());
        let marks = |action: &Action| matches!(action, Action::Annotate { .. });
        if plan.actions.iter().any(marks) {
            match self.carry_out(key, &uid, plan, ended).await {
                // It is for backups; the CA is not kept waiting for a right that is missing.
                Err(Failure::Write(error)) if error.refusal().is_some() => {
                    self.announce(key, &uid, vec![revocation::unmarkable(&error.to_string())]);
                    seen.unmarkable = true;
                    plan = revocation::plan(&seen, now());
                }
                written => return written,
            }
        }
        let effect = plan.effect.take();
        self.carry_out(key, &uid, plan, ended).await?;
        let Some(effect) = effect else {
            return Ok(());
        };
        let reader = &self.reader;
        let outcome = match &effect {
            revocation::Effect::Revoke {
                certificate,
                reason,
                signer,
                ..
            } => {
                let asked = Asked {
                    certificate,
                    reason: *reason,
                    signer,
                };
                revoking::revoke(&self.accounts, reader, &seen, asked).await?
            }
            revocation::Effect::List { certificate, .. } => {
                let (authorities, keeps) = (&self.signer.authorities, self.settings.keeps_lists);
                revoking::list(authorities, reader, &seen, certificate, keeps).await?
            }
        };
        let plan = revocation::absorb(&seen, &effect, outcome, now());
        self.carry_out(key, &uid, plan, ended).await
    }

    /// Keep the revocation list of a CA issuer signed.
    pub(super) async fn revocation_list(
        &self,
        key: &Key,
        ended: &mut Ended,
    ) -> Result<(), Failure> {
        let store = &self.reader.store;
        let Some(issuer) = store.issuer_named(&key.namespace, &key.name) else {
            return Ok(());
        };
        let ca = issuer.spec.ca.as_ref();
        let Some(ca) = ca.filter(|ca| ca.revocation_list.is_some()) else {
            return Ok(());
        };
        let (authorities, keeps) = (&self.signer.authorities, self.settings.keeps_lists);
        match lists::sign(authorities, &self.reader, key, ca, keeps).await? {
            // The informer wakes the issuer with it, which is told then when it is due.
            Signed::Anew(_, list) => self.write(vec![Action::PutList(list)], ended).await?,
            Signed::Stands(_, until) => {
                let wait = Duration::try_from(until.duration_since(now())).unwrap_or_default();
                ended.wake = Some(ended.wake.map_or(wait, |wake| wake.min(wait)));
            }
            // Its Secret, or its spec, wakes it.
            Signed::Not(problem) => {
                self.announce(key, &issuer.id.uid, vec![unsigned(&problem)]);
            }
        }
        Ok(())
    }
}
