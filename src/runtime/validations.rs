//! Validations under way: the tokens that this process answers for, its self-checks, and what it
//! remembers of each Challenge. All of it can be found out again.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::ca::Session;
use super::clock::now;
use super::queue::Queue;
use super::shared::Shared;
use crate::api::Challenge;
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
    /// What the Challenges of a namespace share in the Direct mode.
    pub shared: Shared,
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
            shared: Shared::default(),
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
        self.shared.leave(key);
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
            self.shared.leave(key);
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
            if !self.shared.join(key) {
                seen.objects.direct_service = None;
            }
        }
    }

    /// Whether the CA has found a Challenge valid, as far as this process knows.
    pub fn is_valid(&self, key: &Key) -> bool {
        self.memos.lock().get(key).is_some_and(|memo| memo.valid)
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
        let outcome = self.clone().ask(queue, key, seen, account, effect).await;
        if matches!(&outcome, challenge::Outcome::State { state, .. } if state == "valid")
            && let Some(memo) = self.memos.lock().get_mut(key)
        {
            memo.valid = true;
        }
        outcome
    }

    async fn ask(
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
            if self.found(&key, &object, &found, probe) {
                queue.add(key);
            }
        });
    }

    /// Take note of an answer; whether the Challenge has to know at once.
    fn found(&self, key: &Key, object: &Challenge, found: &Checked, probe: bool) -> bool {
        let blocked = match found {
            Checked::Reachable => false,
            Checked::NotYet(reason) => !reason.reached_a_server(),
        };
        let mut memos = self.memos.lock();
        // Without an entry the Challenge has gone meanwhile.
        let memo = match memos.get_mut(key) {
            Some(memo) => memo,
            None if probe => memos.entry(key.clone()).or_default(),
            None => return false,
        };
        let before = std::mem::replace(&mut memo.blocked, blocked);
        if !probe {
            memo.check = match found {
                Checked::Reachable => Check::Passed,
                Checked::NotYet(reason) => Check::Failed {
                    reason: format!("{reason}: {}", reason.advice()),
                    at: now(),
                },
            };
            return true;
        }
        let recovered = before && !blocked;
        if recovered {
            let uid = object.metadata.uid.clone().unwrap_or_default();
            self.recoveries.note(&uid, now());
        }
        recovered
    }
}

fn mode(object: &Challenge, settings: &challenge::Settings) -> Option<Mode> {
    let ingress = object.spec.solver.http01.as_ref()?.ingress.as_ref()?;
    Some(Mode::of(ingress, settings.mode))
}
