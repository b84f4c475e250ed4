//! Tokens that were logged in for, kept in memory until shortly before they end.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::digest::{Context, SHA256};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use crate::solvers::dns01::Error;

/// A token is not used in the last part of its life: a call takes time, and clocks differ.
const MARGIN: SignedDuration = SignedDuration::from_secs(120);

/// To whom a token was given, and for what: a digest, so that no credential is kept for it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Identity([u8; 32]);

impl Identity {
    /// Of all that the login depends on.
    pub(super) fn of(parts: &[&str]) -> Self {
        let mut context = Context::new(&SHA256);
        for part in parts {
            context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut digest = [0; 32];
        // SHA-256 has 32 bytes.
        digest.copy_from_slice(context.finish().as_ref());
        Self(digest)
    }

    /// The same with something more.
    pub(super) fn with(self, part: &str) -> Self {
        Self::of(&[&super::hex(&self.0), part])
    }
}

/// A token and when it ends.
pub(super) struct Lent<T> {
    pub(super) token: T,
    pub(super) ends: Timestamp,
}

/// Where the token of one identity is.
struct Place<T> {
    kept: tokio::sync::Mutex<Kept<T>>,
    /// How many logins failed.
    failures: AtomicU64,
}

struct Kept<T> {
    token: Option<(Arc<T>, Timestamp)>,
    failure: Option<Error>,
}

impl<T> Default for Place<T> {
    fn default() -> Self {
        let (token, failure) = (None, None);
        Self {
            kept: tokio::sync::Mutex::new(Kept { token, failure }),
            failures: AtomicU64::default(),
        }
    }
}

/// The tokens of one kind.
pub(super) struct Tokens<T>(Mutex<HashMap<Identity, Arc<Place<T>>>>);

impl<T> Default for Tokens<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Tokens<T> {
    /// The token of an identity. Of many who want it at once one logs in, and the others wait; they get its failure too, so
    /// that none waits for more than one login.
    pub(super) async fn lend(
        &self,
        identity: Identity,
        now: Timestamp,
        log_in: impl Future<Output = Result<Lent<T>, Error>>,
    ) -> Result<Arc<T>, Error> {
        let place = self.place(identity);
        let failures = place.failures.load(Ordering::Relaxed);
        let mut kept = place.kept.lock().await;
        if let Some((token, _)) = kept.token.as_ref().filter(|(_, until)| now < *until) {
            return Ok(Arc::clone(token));
        }
        if let Some(error) = &kept.failure
            && place.failures.load(Ordering::Relaxed) != failures
        {
            return Err(error.clone());
        }
        let lent = log_in.await.inspect_err(|error| {
            kept.failure = Some(error.clone());
            place.failures.fetch_add(1, Ordering::Relaxed);
        })?;
        let token = Arc::new(lent.token);
        kept.token = Some((Arc::clone(&token), usable_until(now, lent.ends)));
        Ok(token)
    }

    /// The service does not take it any more.
    pub(super) fn forget(&self, identity: Identity) {
        self.0.lock().remove(&identity);
    }

    fn place(&self, identity: Identity) -> Arc<Place<T>> {
        let mut places = self.0.lock();
        // Of credentials that were replaced nothing stays: whoever is not in use is made anew at the next login.
        if places.len() > 100 {
            places.retain(|_, place| Arc::strong_count(place) > 1);
        }
        Arc::clone(places.entry(identity).or_default())
    }
}

fn usable_until(now: Timestamp, ends: Timestamp) -> Timestamp {
    let life = ends.duration_since(now);
    let margin = MARGIN.min(life / 2);
    ends.saturating_sub(margin).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;

    use super::*;

    #[tokio::test]
    async fn who_waits_for_a_login_that_fails_gets_its_failure() {
        let tokens = Tokens::<u64>::default();
        let (of, now) = (Identity::of(&["a"]), Timestamp::UNIX_EPOCH);
        let logins = &AtomicU64::new(0);
        let lend = |succeeds: bool| {
            tokens.lend(of, now, async move {
                let number = logins.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                if succeeds {
                    let (token, ends) = (number, Timestamp::MAX);
                    return Ok(Lent { token, ends });
                }
                Err(Error::transient(number.to_string()))
            })
        };
        let failed = join_all((0..5).map(|_| lend(false))).await;
        assert!(
            failed
                .iter()
                .all(|done| *done == Err(Error::transient("0"))),
            "{failed:?}"
        );
        // Who comes later tries again.
        assert_eq!(lend(false).await, Err(Error::transient("1")));
        let lent = join_all((0..5).map(|_| lend(true))).await;
        assert!(lent.iter().all(|done| *done == Ok(Arc::new(2))), "{lent:?}");
    }
}
