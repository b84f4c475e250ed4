//! The Service and EndpointSlices that the Direct mode shares among the Challenges of a namespace:
//! the first makes them, the last takes them away. What informers show is too old to tell who is
//! first and last, so the users are counted here, and the writes of a namespace take turns.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

use crate::controllers::action::{Action, Object};
use crate::controllers::key::Key;
use crate::solvers::http01::service::DIRECT_NAME;

/// After this time an informer shows what was made; what it does not show then is gone.
const SHOWN: Duration = Duration::from_secs(5);
/// No informer shows the slices. When they have not led anybody here for this long, they are made again.
const DOUBTED: Duration = Duration::from_secs(10);

/// All namespaces with Challenges in the Direct mode.
#[derive(Debug, Default)]
pub struct Shared(Mutex<HashMap<Arc<str>, Namespace>>);

#[derive(Debug, Default)]
struct Namespace {
    /// Challenges that need the objects.
    users: HashSet<Arc<str>>,
    /// When this process made them; `None` when it did not, or took them away.
    made: Option<Instant>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// While it is held, nobody else writes to the shared objects of the namespace.
pub struct Turn(#[expect(dead_code, reason = "held")] OwnedMutexGuard<()>);

impl Shared {
    /// A Challenge needs the objects. Whether this process made them: those of an earlier one lead to
    /// an address that may be another's by now.
    pub fn join(&self, challenge: &Key) -> bool {
        let mut all = self.0.lock();
        let namespace = all.entry(challenge.namespace.clone()).or_default();
        namespace.users.insert(challenge.name.clone());
        namespace.made.is_some()
    }

    /// A Challenge does not need them any more.
    pub fn leave(&self, challenge: &Key) {
        let mut all = self.0.lock();
        let Some(namespace) = all.get_mut(&challenge.namespace) else {
            return;
        };
        namespace.users.remove(&challenge.name);
        // Whoever has the turn, or waits for it, will leave too.
        let idle = Arc::strong_count(&namespace.turn) == 1;
        if namespace.users.is_empty() && namespace.made.is_none() && idle {
            all.remove(&challenge.namespace);
        }
    }

    /// A Challenge is answered by somebody else: the objects may have been deleted.
    pub fn doubt(&self, challenge: &Key, now: Instant) {
        let mut all = self.0.lock();
        if let Some(namespace) = all.get_mut(&challenge.namespace)
            && let Some(made) = namespace.made
            && now - made >= DOUBTED
        {
            namespace.made = None;
        }
    }

    /// Wait for the turn to write, if any of these actions is about the objects.
    pub async fn turn(&self, challenge: &Key, actions: &[Action]) -> Option<Turn> {
        if !actions.iter().any(|a| makes(a) || takes_away(a)) {
            return None;
        }
        let turn = {
            let mut all = self.0.lock();
            all.entry(challenge.namespace.clone())
                .or_default()
                .turn
                .clone()
        };
        Some(Turn(turn.lock_owned().await))
    }

    /// With the turn held: the actions that are still to be carried out. Another Challenge may have
    /// made the objects meanwhile, or may need them.
    pub fn due(&self, challenge: &Key, actions: Vec<Action>, now: Instant) -> Vec<Action> {
        let mut all = self.0.lock();
        let namespace = all.entry(challenge.namespace.clone()).or_default();
        let just_made = namespace.made.is_some_and(|made| now - made < SHOWN);
        let others = namespace.users.iter().any(|u| *u != challenge.name);
        let moot = |a: &Action| (just_made && makes(a)) || (others && takes_away(a));
        let due = |a: &Action| !moot(a);
        let actions: Vec<_> = actions.into_iter().filter(due).collect();
        if actions.iter().any(takes_away) {
            // Who joins from now on makes them anew, in the next turn.
            namespace.made = None;
        }
        actions
    }

    /// With the turn held: these actions were carried out.
    pub fn made(&self, challenge: &Key, now: Instant) {
        let mut all = self.0.lock();
        all.entry(challenge.namespace.clone()).or_default().made = Some(now);
    }
}

/// Whether the action makes one of the shared objects.
pub fn makes(action: &Action) -> bool {
    let Action::Ensure(object) = action else {
        return false;
    };
    match &**object {
        Object::EndpointSlice(_) => true,
        Object::Service(service) => service.metadata.name.as_deref() == Some(DIRECT_NAME),
        _ => false,
    }
}

fn takes_away(action: &Action) -> bool {
    matches!(action, Action::DeleteDirectService(_))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use crate::controllers::key::Kind;
    use crate::runtime::clock::monotonic;
    use crate::solvers::http01::service::direct_service;

    fn challenge(name: &str) -> Key {
        Key::new(Kind::Challenge, "team", name)
    }

    fn make() -> Vec<Action> {
        vec![Action::Ensure(Box::new(Object::Service(direct_service(
            "team",
        ))))]
    }

    fn take_away() -> Vec<Action> {
        vec![Action::DeleteDirectService("team".into())]
    }

    #[test]
    fn the_first_makes_and_the_second_does_not() {
        let shared = Shared::default();
        let now = monotonic();
        assert!(!shared.join(&challenge("a")));
        assert!(!shared.join(&challenge("b")), "not made yet");
        assert_eq!(shared.due(&challenge("a"), make(), now), make());
        shared.made(&challenge("a"), now);
        assert_eq!(shared.due(&challenge("b"), make(), now), vec![]);
        assert!(shared.join(&challenge("c")));
    }

    #[test]
    fn what_a_user_deleted_is_made_anew() {
        let shared = Shared::default();
        let now = monotonic();
        shared.join(&challenge("a"));
        shared.made(&challenge("a"), now);
        assert_eq!(shared.due(&challenge("a"), make(), now + SHOWN), make());
    }

    #[test]
    fn what_leads_nobody_here_is_made_anew_after_a_while() {
        let shared = Shared::default();
        let made = monotonic();
        let only = challenge("a");
        shared.doubt(&only, made);
        shared.join(&only);
        shared.made(&only, made);
        shared.doubt(&only, made + DOUBTED / 2);
        assert!(shared.join(&only));
        shared.doubt(&only, made + DOUBTED);
        assert!(!shared.join(&only));
        assert_eq!(shared.due(&only, make(), made + DOUBTED), make());
    }

    #[test]
    fn only_the_last_takes_away_and_the_next_makes_anew() {
        let shared = Shared::default();
        let now = monotonic();
        shared.join(&challenge("a"));
        shared.made(&challenge("a"), now);
        shared.join(&challenge("b"));
        shared.leave(&challenge("a"));
        assert_eq!(shared.due(&challenge("a"), take_away(), now), vec![]);
        shared.leave(&challenge("b"));
        assert_eq!(shared.due(&challenge("b"), take_away(), now), take_away());
        assert!(!shared.join(&challenge("c")), "gone, or about to go");
        assert_eq!(shared.due(&challenge("c"), make(), now), make());
    }

    #[tokio::test]
    async fn writes_take_turns_and_other_plans_do_not_wait() {
        let shared = Shared::default();
        let first = shared.turn(&challenge("a"), &make()).await;
        assert!(first.is_some());
        assert!(shared.turn(&challenge("b"), &[]).await.is_none());
        waits(&shared, &challenge("b"), &take_away(), first).await;
    }

    /// For the turn that somebody else holds.
    async fn waits(shared: &Shared, next: &Key, actions: &[Action], held: Option<Turn>) {
        let turn = shared.turn(next, actions);
        tokio::pin!(turn);
        assert!(futures::poll!(&mut turn).is_pending());
        drop(held);
        assert!(turn.await.is_some());
    }

    #[tokio::test]
    async fn who_comes_while_the_last_takes_away_waits_for_it() {
        let shared = Shared::default();
        let now = monotonic();
        let (last, next) = (challenge("a"), challenge("b"));
        shared.join(&last);
        shared.made(&last, now);
        shared.leave(&last);
        let actions = take_away();
        let turn = shared.turn(&last, &actions).await;
        assert_eq!(shared.due(&last, actions.clone(), now), actions);
        shared.leave(&last);
        assert!(!shared.join(&next));
        waits(&shared, &next, &make(), turn).await;
    }

    #[tokio::test]
    async fn nothing_stays_of_a_namespace_without_challenges() {
        let shared = Shared::default();
        let only = challenge("a");
        shared.join(&only);
        shared.made(&only, monotonic());
        shared.leave(&only);
        let turn = shared.turn(&only, &take_away()).await;
        shared.due(&only, take_away(), monotonic());
        drop(turn);
        shared.leave(&only);
        assert!(shared.0.lock().is_empty());
    }
}
