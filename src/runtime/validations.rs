//! Validations under way: the tokens that this process answers for, its self-checks, and what it
//! remembers of each Challenge. All of it can be found out again.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;

use super::ca::Session;
use super::clock::now;
use super::queue::Queue;
use crate::api::Challenge;
use crate::controllers::action::{Action, Object};
use crate::controllers::challenge::{self, Check, Memo};
use crate::controllers::key::Key;
use crate::controllers::reads::Recoveries;
use crate::issuers::acme::Account;
use crate::solvers::http01::objects::Mode;
use crate::solvers::http01::self_check::{Outcome as Checked, SelfCheck};
use crate::solvers::http01::tokens::Tokens;

/// The validations of all Challenges.
pub struct Validations {
    memos: Mutex<HashMap<Key, Memo>>,
    /// Namespaces whose EndpointSlice of the Direct mode was written by this process.
    slices: Mutex<HashSet<Arc<str>>>,
    /// What the responder of this process answers for.
    pub tokens: Tokens,
    self_check: SelfCheck,
    recoveries: Arc<Recoveries>,
}

impl Validations {
    /// None is under way yet.
    pub fn new(self_check: SelfCheck, recoveries: Arc<Recoveries>) -> Self {
        Self {
            memos: Mutex::default(),
            slices: Mutex::default(),
            tokens: Tokens::default(),
            self_check,
            recoveries,
        }
    }

    /// What is remembered of a Challenge, and how many others are being validated.
    pub fn memo(&self, key: &Key) -> (Memo, usize) {
        let memos = self.memos.lock();
        let in_flight = memos
            .iter()
            .filter(|(k, m)| *k != key && m.presented.is_some())
            .count();
        (memos.get(key).cloned().unwrap_or_default(), in_flight)
    }

    /// The Challenge is gone.
    pub fn forget(&self, key: &Key) {
        self.memos.lock().remove(key);
    }

    /// Answer for the token before anybody is sent here; stop when the Challenge has ended.
    pub fn prepare(
        &self,
        key: &Key,
        seen: &mut challenge::Observation,
        settings: &challenge::Settings,
    ) {
        let object = &seen.challenge;
        let uid = object.metadata.uid.clone().unwrap_or_default();
        let ended = object.metadata.deletion_timestamp.is_some()
            || challenge::is_final(challenge::state(object));
        if ended {
            self.tokens.remove_owner(&uid);
            let mut memos = self.memos.lock();
            if let Some(memo) = memos.get_mut(key) {
                memo.presented = None;
            }
            if object.metadata.deletion_timestamp.is_some() {
                memos.remove(key);
                self.recoveries.forget(&uid);
            }
            return;
        }
        if mode(object, settings) == Some(Mode::Direct) {
            let spec = &object.spec;
            self.tokens
                .insert(&uid, &spec.dns_name, &spec.token, &spec.key);
            // A Service from before this process leads to an address that may be another's by now.
            if !self.slices.lock().contains(&key.namespace) {
                seen.objects.direct_service = None;
            }
        }
    }

    /// Take note of what a plan is about to write.
    pub fn planned(&self, key: &Key, actions: &[Action]) {
        let slice =
            |a: &Action| matches!(a, Action::Ensure(o) if matches!(**o, Object::EndpointSlice(_)));
        if actions.iter().any(slice) {
            self.slices.lock().insert(key.namespace.clone());
        }
        if actions
            .iter()
            .any(|a| matches!(a, Action::DeleteDirectService(_)))
        {
            self.slices.lock().remove(&key.namespace);
        }
    }

    /// A Challenge's effect.
    pub async fn run(
        self: Arc<Self>,
        queue: Arc<Queue>,
        key: &Key,
        seen: &challenge::Observation,
        account: Option<Arc<Account>>,
        effect: challenge::Effect,
    ) -> challenge::Outcome {
        let unavailable = challenge::Outcome::Unavailable {
            reason: "the ACME account is not registered yet".into(),
            retry: None,
        };
        let session = account.as_deref().and_then(|a| Session::new(a, now()));
        let spec = &seen.challenge.spec;
        match (effect, session) {
            (challenge::Effect::SelfCheck, _) => {
                let mut memos = self.memos.lock();
                let memo = memos.entry(key.clone()).or_default();
                memo.presented.get_or_insert_with(now);
                memo.check = Check::Running;
                drop(memos);
                self.clone()
                    .check(queue, key.clone(), seen.challenge.clone(), false);
                challenge::Outcome::Started
            }
            (challenge::Effect::Probe, _) => {
                self.clone()
                    .check(queue, key.clone(), seen.challenge.clone(), true);
                challenge::Outcome::Started
            }
            (challenge::Effect::Accept, Some(session)) => {
                let outcome = session.accept(&spec.authorization_url, &spec.url).await;
                if matches!(outcome, challenge::Outcome::State { .. }) {
                    self.memos.lock().entry(key.clone()).or_default().accepted = true;
                }
                outcome
            }
            (challenge::Effect::Poll, Some(session)) => {
                session.poll(&spec.authorization_url, &spec.url).await
            }
            (_, None) => unavailable,
        }
    }

    /// Look at the well-known path aside, so that a slow host takes no worker; the answer wakes the
    /// Challenge. `probe`: after a failure, whether the name can be reached at all.
    fn check(self: Arc<Self>, queue: Arc<Queue>, key: Key, object: Arc<Challenge>, probe: bool) {
        tokio::spawn(async move {
            let spec = &object.spec;
            let found = self
                .self_check
                .check(&spec.dns_name, &spec.token, &spec.key)
                .await;
            if probe {
                self.probed(&key, &object, &found);
                return;
            }
            let check = match found {
                Checked::Reachable => Check::Passed,
                Checked::NotYet(reason) => Check::Failed {
                    reason: reason.to_string(),
                    at: now(),
                },
            };
            if let Some(memo) = self.memos.lock().get_mut(&key) {
                memo.check = check;
            }
            queue.add(key);
        });
    }

    fn probed(&self, key: &Key, object: &Challenge, found: &Checked) {
        let reachable = match found {
            Checked::Reachable => true,
            Checked::NotYet(reason) => reason.reached_a_server(),
        };
        let mut memos = self.memos.lock();
        let memo = memos.entry(key.clone()).or_default();
        if reachable && memo.blocked {
            let uid = object.metadata.uid.clone().unwrap_or_default();
            self.recoveries.note(&uid, now());
        }
        memo.blocked = !reachable;
    }
}

fn mode(object: &Challenge, settings: &challenge::Settings) -> Option<Mode> {
    let ingress = object.spec.solver.http01.as_ref()?.ingress.as_ref()?;
    Some(Mode::of(ingress, settings.mode))
}
