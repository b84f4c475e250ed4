//! Validations under way: the tokens that this process answers for, its self-checks, and what it
//! remembers of each Challenge. All of it can be found out again.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use super::dns01::Dns01;
use super::places::Places;
use super::shared::Shared;
use crate::api::Challenge;
use crate::api::challenge::DNS_01;
use crate::controllers::challenge::{self, Check, Memo};
use crate::controllers::key::Key;
use crate::controllers::reads::Recoveries;
use crate::issuers::acme::Account;
use crate::runtime::acme::session::Session;
use crate::runtime::clock::{monotonic, now};
use crate::runtime::queue::Queue;
use crate::solvers::http01::objects::Mode;
use crate::solvers::http01::self_check::{Outcome as Checked, SelfCheck};
use crate::solvers::http01::tokens::Tokens;
use crate::solvers::http01::watch::{Answer, Glimpse, Watch};

/// A Challenge that is no older than this when a process begins to act may have failed for want of one to answer.
const AROUND_A_START: SignedDuration = SignedDuration::from_mins(10);

/// The validations of all Challenges.
pub struct Validations {
    places: Mutex<Places>,
    queue: Arc<Queue>,
    /// What the Challenges of a namespace share in the Direct mode.
    pub shared: Shared,
    /// What the responder of this process answers for.
    pub tokens: Tokens,
    self_check: SelfCheck,
    /// The records of DNS-01.
    pub dns01: Arc<Dns01>,
    recoveries: Arc<Recoveries>,
    /// When this process began to act: until then another one may have.
    began: Mutex<Timestamp>,
}

impl Validations {
    /// None is under way yet; at most `most` will be at once.
    pub fn new(
        self_check: SelfCheck,
        dns01: Dns01,
        recoveries: Arc<Recoveries>,
        queue: Arc<Queue>,
        most: usize,
    ) -> Self {
        Self {
            places: Mutex::new(Places::new(most)),
            queue,
            shared: Shared::default(),
            tokens: Tokens::default(),
            self_check,
            dns01: Arc::new(dns01),
            recoveries,
            began: Mutex::new(now()),
        }
    }

    /// This process acts from now on: what is there already is of another one.
    pub fn begin(&self) {
        *self.began.lock() = now();
    }

    /// What is remembered of a Challenge.
    pub fn memo(&self, key: &Key) -> Memo {
        self.places.lock().memo(key).clone()
    }

    /// The Challenge is gone.
    pub fn forget(&self, key: &Key) {
        self.leave(key);
        if let Some(uid) = self.places.lock().forget(key) {
            self.tokens.remove_owner(&uid);
        }
        self.dns01.forget(key);
        self.shared.leave(key);
    }

    fn leave(&self, key: &Key) {
        let next = self.places.lock().leave(key, monotonic());
        for key in next {
            self.queue.add(key);
        }
    }

    /// Answer for the token before anybody is sent here; stop when the Challenge has ended.
    pub fn prepare(
        &self,
        key: &Key,
        seen: &mut challenge::Observation,
        settings: &challenge::Settings,
    ) {
        seen.record = self.dns01.state(key, &seen.challenge);
        let object = &seen.challenge;
        let uid = object.metadata.uid.clone().unwrap_or_default();
        let ended = object.metadata.deletion_timestamp.is_some()
            || challenge::is_final(challenge::state(object));
        if ended {
            if self.may_have_been_absent(object, settings) {
                self.recoveries.note(&uid, now());
            }
            self.tokens.remove_owner(&uid);
            self.shared.leave(key);
            self.leave(key);
            if object.metadata.deletion_timestamp.is_some() {
                self.places.lock().forget(key);
                self.recoveries.forget(&uid);
            }
            return;
        }
        if seen.is_hindered() {
            seen.memo.hindered = Some(now());
            self.places.lock().memo_mut(key).hindered = seen.memo.hindered;
        }
        let is_solved = mode(object, settings).is_some() || is_dns01(object);
        let takes_place = seen.account && !seen.earlier && !seen.memo.valid && is_solved;
        seen.admitted = !takes_place || self.places.lock().admit(key, monotonic());
        if mode(object, settings) == Some(Mode::Direct) {
            let spec = &object.spec;
            self.places.lock().answers(key, &uid);
            self.tokens
                .insert(&uid, &spec.dns_name, &spec.token, &spec.key);
            if !self.shared.join(key) {
                seen.objects.direct_service = None;
            }
        }
    }

    /// Whether the CA has found a Challenge valid, as far as this process knows.
    pub fn is_valid(&self, key: &Key) -> bool {
        self.places.lock().memo(key).valid
    }

    /// A Challenge's effect.
    pub async fn run(
        self: Arc<Self>,
        key: &Key,
        seen: &challenge::Observation,
        account: Option<Arc<Account>>,
        effect: challenge::Effect,
    ) -> challenge::Outcome {
        let outcome = self.clone().ask(key, seen, account, effect).await;
        if matches!(&outcome, challenge::Outcome::State { state, .. } if state == "valid") {
            self.leave(key);
            self.places.lock().memo_mut(key).valid = true;
        }
        outcome
    }

    async fn ask(
        self: Arc<Self>,
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
                let mut places = self.places.lock();
                let memo = places.memo_mut(key);
                memo.presented.get_or_insert_with(now);
                memo.check = Check::Running;
                drop(places);
                self.clone()
                    .check(key.clone(), seen.challenge.clone(), false);
                challenge::Outcome::Started
            }
            (challenge::Effect::Present, _) => {
                self.dns01.start(key, &seen.challenge, false);
                challenge::Outcome::Started
            }
            (challenge::Effect::CleanUp, _) => {
                self.dns01.start(key, &seen.challenge, true);
                challenge::Outcome::Started
            }
            (challenge::Effect::Probe, _) => {
                let mut places = self.places.lock();
                let memo = places.memo_mut(key);
                if std::mem::replace(&mut memo.probing, true) {
                    return challenge::Outcome::Started;
                }
                memo.probes = memo.probes.saturating_add(1);
                memo.probed = Some(now());
                drop(places);
                if is_dns01(&seen.challenge) {
                    self.dns01.watch(key);
                }
                self.clone()
                    .check(key.clone(), seen.challenge.clone(), true);
                challenge::Outcome::Started
            }
            (challenge::Effect::Accept, Some(session)) => {
                let (authorization, url) = (&spec.authorization_url, &spec.url);
                let outcome = if self.is_inherited(&seen.challenge) {
                    session.accept_if_pending(authorization, url).await
                } else {
                    session.accept(authorization, url).await
                };
                self.heard(key, &seen.challenge, &outcome);
                outcome
            }
            (challenge::Effect::Poll, Some(session)) => {
                let outcome = session.poll(&spec.authorization_url, &spec.url).await;
                self.heard(key, &seen.challenge, &outcome);
                outcome
            }
            (_, None) => unavailable,
        }
    }

    /// Whether a process before this one may have asked the CA for it.
    fn is_inherited(&self, object: &Challenge) -> bool {
        let created = object.metadata.creation_timestamp.as_ref();
        created.is_some_and(|t| t.0 <= *self.began.lock())
    }

    /// The CA has said how far it is. Of a Challenge that is older than this process it may have asked
    /// the one before, which did not live to answer: that obstacle is gone, since this one does.
    fn heard(&self, key: &Key, object: &Challenge, outcome: &challenge::Outcome) {
        let mut places = self.places.lock();
        places.asked(key, monotonic());
        let memo = places.memo_mut(key);
        *memo = memo.after(outcome, now());
        let is_refused = matches!(outcome, challenge::Outcome::State { state, .. }
            if challenge::is_final(state) && state != "valid");
        if memo.direct && is_refused && self.is_inherited(object) {
            let uid = object.metadata.uid.as_deref().unwrap_or_default();
            self.recoveries.note(uid, now());
        }
    }

    /// Whether a failure may have come from there being no process to answer: it fell into the time at which this one
    /// began, and the process that heard of it did not live to try again.
    fn may_have_been_absent(&self, object: &Challenge, settings: &challenge::Settings) -> bool {
        let created = object.metadata.creation_timestamp.as_ref();
        let began = *self.began.lock();
        let recent = created.is_some_and(|t| began.duration_since(t.0) < AROUND_A_START);
        let failed =
            object.metadata.deletion_timestamp.is_none() && challenge::state(object) != "valid";
        recent
            && failed
            && self.is_inherited(object)
            && mode(object, settings) == Some(Mode::Direct)
    }

    /// Look for what was presented aside, so that a slow host takes no worker; the answer wakes the
    /// Challenge. `probe`: after a failure, whether the name can be reached at all.
    fn check(self: Arc<Self>, key: Key, object: Arc<Challenge>, probe: bool) {
        tokio::spawn(async move {
            let look = self.look(key.clone(), object, probe);
            let broke = AssertUnwindSafe(look).catch_unwind().await.is_err();
            if probe {
                let mut places = self.places.lock();
                if places.knows(&key) {
                    places.memo_mut(&key).probing = false;
                }
            } else if broke {
                self.broke(key);
            }
        });
    }

    /// A look that ended by a panic has seen nothing, and is taken again.
    fn broke(&self, key: Key) {
        let mut places = self.places.lock();
        if places.knows(&key) {
            places.memo_mut(&key).check = Check::Failed {
                reason: "a bug of Everleaf: the log has where; it is tried again".into(),
                at: now(),
            };
        }
        drop(places);
        self.queue.add(key);
    }

    async fn look(&self, key: Key, object: Arc<Challenge>, probe: bool) {
        if !self.places.lock().knows(&key) {
            // The Challenge has gone meanwhile.
            return;
        }
        let spec = &object.spec;
        if is_dns01(&object) && probe {
            let is_over = challenge::is_final(challenge::state(&object));
            let better = if is_over {
                self.dns01.has_recovered(&key, &object).await
            } else {
                self.dns01.has_moved(&key, &object).await
            };
            if better && is_over {
                self.recovered(&object);
            }
            if better {
                self.queue.add(key);
            }
            return;
        }
        if is_dns01(&object) {
            let (check, sight) = self.dns01.check(&key, &object).await;
            let mut places = self.places.lock();
            // Without an entry the Challenge has gone meanwhile.
            if places.knows(&key) {
                places.memo_mut(&key).see(check, sight, now());
            }
            drop(places);
            self.queue.add(key);
            return;
        }
        let found = self
            .self_check
            .check(&spec.dns_name, &spec.token, &spec.key)
            .await;
        let glimpse = if probe {
            let addresses = self.self_check.leads_to(&spec.dns_name).await;
            Some(Glimpse {
                addresses,
                answer: Answer::of(&found),
                caa: self.dns01.caa(&object).await,
            })
        } else {
            None
        };
        if self.found(&key, &object, &found, glimpse) {
            self.queue.add(key);
        }
    }

    /// Take note of an answer, after a failure with the rest of what was seen; whether the Challenge has to know at once.
    fn found(
        &self,
        key: &Key,
        object: &Challenge,
        found: &Checked,
        after: Option<Glimpse>,
    ) -> bool {
        let blocked = match found {
            Checked::Reachable => false,
            Checked::NotYet(reason) => !reason.reached_a_server(),
        };
        let mut places = self.places.lock();
        // Without an entry the Challenge has gone meanwhile.
        if !places.knows(key) {
            return false;
        }
        let memo = places.memo_mut(key);
        memo.blocked = if blocked {
            memo.blocked.saturating_add(1)
        } else {
            0
        };
        if memo.direct && *found != Checked::Reachable && !blocked {
            self.shared.doubt(key, monotonic());
        }
        let Some(glimpse) = after else {
            memo.watch = Watch::since(found);
            memo.check = match found {
                Checked::Reachable => Check::Passed,
                Checked::NotYet(reason) => Check::Failed {
                    reason: format!("{reason}: {}", reason.advice()),
                    at: now(),
                },
            };
            return true;
        };
        let recovered = memo.watch.see(glimpse);
        if recovered {
            self.recovered(object);
        }
        recovered
    }

    fn recovered(&self, object: &Challenge) {
        let uid = object.metadata.uid.as_deref().unwrap_or_default();
        self.recoveries.note(uid, now());
    }
}

fn is_dns01(object: &Challenge) -> bool {
    object.spec.type_ == DNS_01 && object.spec.solver.dns01.is_some()
}

fn mode(object: &Challenge, settings: &challenge::Settings) -> Option<Mode> {
    let ingress = object.spec.solver.http01.as_ref()?.ingress.as_ref()?;
    Some(Mode::of(ingress, settings.mode))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::collections::BTreeSet;
    use std::time::Duration;

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::controllers::key::Kind;
    use crate::runtime::challenges::dns01::tests::dns01;
    use crate::solvers::http01::self_check;

    /// Of a host that nobody asks.
    fn validations() -> Validations {
        let (dns01, recoveries, queue) = dns01();
        let check = SelfCheck::new(self_check::Settings::default()).unwrap();
        Validations::new(check, dns01, recoveries, queue, 1)
    }

    #[tokio::test]
    async fn what_is_seen_of_a_challenge_that_is_gone_is_not_remembered() {
        let validations = Arc::new(validations());
        let key = Key::new(Kind::Challenge, "team", "failed");
        let object = Arc::new(Challenge::default());
        validations.places.lock().memo_mut(&key).probes = 1;
        validations.forget(&key);
        for probe in [true, false] {
            let answer = Answer::of(&Checked::Reachable);
            let addresses = BTreeSet::new();
            let caa = None;
            let glimpse = Glimpse {
                addresses,
                answer,
                caa,
            };
            let glimpse = probe.then_some(glimpse);
            assert!(!validations.found(&key, &object, &Checked::Reachable, glimpse));
            validations.look(key.clone(), object.clone(), probe).await;
            validations.broke(key.clone());
            assert!(!validations.places.lock().knows(&key));
        }
    }

    /// A warm standby has been there for days.
    #[tokio::test]
    async fn what_was_there_before_this_process_acts_is_of_another_one() {
        let mut validations = validations();
        let time = now();
        *validations.began.get_mut() = time - SignedDuration::from_hours(48);
        let mut object = Challenge::default();
        let created = Time(time - SignedDuration::from_mins(1));
        object.metadata.creation_timestamp = Some(created);
        assert!(!validations.is_inherited(&object));
        validations.begin();
        assert!(validations.is_inherited(&object));
        object.metadata.creation_timestamp = Some(Time(now() + SignedDuration::from_secs(1)));
        assert!(!validations.is_inherited(&object), "it is our own");
    }

    #[tokio::test]
    async fn the_token_of_a_challenge_that_has_vanished_is_not_answered_for() {
        let validations = validations();
        let key = Key::new(Kind::Challenge, "team", "site");
        validations.places.lock().answers(&key, "uid");
        validations.tokens.insert("uid", "site.example", "t", "k");
        assert_eq!(validations.tokens.len(), 1);
        validations.forget(&key);
        assert_eq!(validations.tokens.len(), 0);
    }

    #[tokio::test]
    async fn what_the_ca_says_is_remembered() {
        let validations = validations();
        let key = Key::new(Kind::Challenge, "team", "site");
        let refused = challenge::Outcome::Unavailable {
            reason: "429".into(),
            retry: Some(Duration::from_hours(1)),
        };
        validations.heard(&key, &Challenge::default(), &refused);
        assert!(validations.memo(&key).rests(now()).is_some());
    }

    #[tokio::test]
    async fn a_look_that_ended_by_a_panic_is_taken_again() {
        let validations = validations();
        let key = Key::new(Kind::Challenge, "team", "site");
        validations.places.lock().memo_mut(&key).check = Check::Running;
        validations.broke(key.clone());
        assert!(matches!(validations.memo(&key).check, Check::Failed { .. }));
    }
}
