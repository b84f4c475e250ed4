//! The buckets of one CA.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::policy::Policy;
use super::rate::{Bucket, Rate, later};
use super::scope::{Ask, Exemption, Limit, Scope};

/// How long after its end a refusal is one of a row with the next.
const ROW: SignedDuration = SignedDuration::from_hours(24);

/// What an order takes, in buckets; and which of them the CA counts for it.
#[derive(Debug, Clone)]
pub(super) struct Needs {
    pub(super) scopes: Box<[Scope]>,
    pub(super) exemption: Exemption,
}

impl Needs {
    pub(super) fn of(ask: &Ask) -> Self {
        let mut scopes = vec![ask.orders()];
        scopes.extend(ask.domains());
        scopes.push(ask.set());
        scopes.extend(ask.names.iter().map(|name| ask.failures(name)));
        Self {
            scopes: scopes.into(),
            exemption: ask.exemption,
        }
    }

    /// Those that the CA looks at before it takes the order.
    pub(super) fn counted<'a>(&'a self, policy: &'a Policy) -> impl Iterator<Item = &'a Scope> {
        let counts = move |limit| match (self.exemption, limit) {
            (Exemption::Replaces, _) => false,
            (Exemption::SameNames, Limit::OrdersPerAccount | Limit::CertificatesPerDomain) => {
                policy.renewals_count
            }
            (Exemption::Nothing | Exemption::SameNames, _) => true,
        };
        self.scopes.iter().filter(move |scope| counts(scope.limit))
    }

    /// The buckets that are counted by when the certificate is issued.
    pub(super) fn certificate<'a>(&'a self, policy: &'a Policy) -> impl Iterator<Item = &'a Scope> {
        self.counted(policy).filter(|scope| {
            matches!(
                scope.limit,
                Limit::CertificatesPerDomain | Limit::CertificatesPerSet
            )
        })
    }

    /// An order of several domains gets its tokens at different times: by `block.until` those are to be there of which there
    /// are enough by now.
    pub(super) fn hold(&self, block: &Block, held: &mut HashMap<Scope, Timestamp>) {
        if self.is_of_several_domains() {
            for scope in self.domains().filter(|scope| **scope != block.scope) {
                held.entry(scope.clone()).or_insert(block.until);
            }
        }
    }

    pub(super) fn is_of_several_domains(&self) -> bool {
        self.domains().nth(1).is_some()
    }

    fn domains(&self) -> impl Iterator<Item = &Scope> {
        let scopes = self.scopes.iter();
        scopes.filter(|scope| scope.limit == Limit::CertificatesPerDomain)
    }

    /// The bucket of the orders of the account.
    pub(super) fn order<'a>(&'a self, policy: &'a Policy) -> impl Iterator<Item = &'a Scope> {
        let counted = self.counted(policy);
        counted.filter(|scope| scope.limit == Limit::OrdersPerAccount)
    }
}

/// The CA has refused: nothing of this until then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Freeze {
    pub(super) until: Timestamp,
    /// The CA's own words.
    pub(super) words: Arc<str>,
    /// Refusals in a row that did not say until when.
    pub(super) unsaid: u32,
    /// What the refused order took, when the words named no bucket.
    pub(super) unnamed: Option<Box<[Scope]>>,
}

impl Freeze {
    /// Whether another refusal would be the next in a row with this one.
    pub(super) fn is_of_a_row(&self, now: Timestamp) -> bool {
        self.unsaid > 0 && later(self.until, ROW) > now
    }
}

/// A bucket, and what is known of it.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) bucket: Bucket,
    pub(super) freeze: Option<Box<Freeze>>,
    /// Everything before this time is in the bucket already: it was stored.
    pub(super) stored: Option<Timestamp>,
}

/// What keeps an order waiting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    /// When there is a token again, for whoever is first then.
    pub(super) until: Timestamp,
    /// When it is the turn of this order, as far as can be said.
    pub(super) slot: Timestamp,
    pub(super) scope: Scope,
    pub(super) rate: Option<Rate>,
    pub(super) words: Option<Arc<str>>,
}

impl Block {
    /// Behind so many others who wait for the same bucket.
    pub(super) fn shifted(mut self, behind: i32) -> Self {
        if let Some(rate) = self.rate {
            let wait = rate.interval().saturating_mul(behind);
            self.slot = later(self.until, wait);
        }
        self
    }
}

/// All buckets of a CA that are not full.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) states: HashMap<Scope, State>,
    /// What was last known of what the CA allows.
    pub(super) policy: Option<Policy>,
    /// When the CA counted last.
    pub(super) newest: Timestamp,
}

impl Book {
    /// What keeps an order with these needs waiting for the longest; `None` when nothing does. `held`: buckets of which
    /// a better placed order needs a token at that time.
    pub(super) fn block(
        &self,
        needs: &Needs,
        policy: &Policy,
        held: &HashMap<Scope, Timestamp>,
        now: Timestamp,
    ) -> Option<Block> {
        let blocks = needs.counted(policy).filter_map(|scope| {
            let rate = policy.rate(scope.limit);
            let state = self.states.get(scope);
            let frozen = state
                .and_then(|s| s.freeze.as_deref())
                .filter(|f| f.until > now);
            let bucket = state.map(|s| s.bucket).unwrap_or_default();
            let next = rate.map(|rate| next(bucket, rate, held.get(scope).copied(), now));
            let (until, words) = match (next.filter(|next| *next > now), frozen) {
                (Some(next), Some(freeze)) if freeze.until >= next => {
                    (freeze.until, Some(freeze.words.clone()))
                }
                (Some(next), _) => (next, None),
                (None, Some(freeze)) => (freeze.until, Some(freeze.words.clone())),
                (None, None) => return None,
            };
            Some(Block {
                until,
                slot: until,
                scope: scope.clone(),
                rate,
                words,
            })
        });
        blocks.max_by_key(|block| block.until)
    }

    /// Tokens for a certificate, and for the order, are spoken for.
    pub(super) fn reserve(&mut self, needs: &Needs, policy: &Policy) {
        for scope in needs.certificate(policy).chain(needs.order(policy)) {
            if policy.rate(scope.limit).is_some() {
                let state = self.states.entry(scope.clone()).or_default();
                state.bucket.reserved += 1;
            }
        }
    }

    /// As [`Self::reserve`], backwards.
    pub(super) fn release<'a>(&mut self, scopes: impl Iterator<Item = &'a Scope>, policy: &Policy) {
        for scope in scopes.filter(|scope| policy.rate(scope.limit).is_some()) {
            if let Some(state) = self.states.get_mut(scope) {
                state.bucket.reserved = state.bucket.reserved.saturating_sub(1);
            }
        }
    }

    /// The CA has counted, at that time.
    pub(super) fn take<'a>(
        &mut self,
        scopes: impl Iterator<Item = &'a Scope>,
        policy: &Policy,
        at: Timestamp,
    ) {
        for scope in scopes {
            let Some(rate) = policy.rate(scope.limit) else {
                continue;
            };
            let state = self.states.entry(scope.clone()).or_default();
            if state.stored.is_none_or(|stored| stored < at) {
                state.bucket.take(rate, at);
                self.newest = self.newest.max(at);
            }
        }
    }

    /// The buckets of accounts and domains of which a token is missing, with what is left.
    pub(super) fn used(&self, now: Timestamp) -> impl Iterator<Item = (&Scope, u32)> {
        self.states.iter().filter_map(move |(scope, state)| {
            let worth = matches!(
                scope.limit,
                Limit::OrdersPerAccount | Limit::CertificatesPerDomain
            );
            let rate = self.policy.as_ref()?.rate(scope.limit)?;
            let used = state.bucket.full_at > now || state.bucket.reserved > 0;
            (worth && used).then(|| (scope, state.bucket.left(rate, now)))
        })
    }

    /// The CA has taken an order with these needs: what it has refused before is no row of refusals any more.
    pub(super) fn taken(&mut self, needs: &Needs, now: Timestamp) {
        for scope in &needs.scopes {
            if let Some(state) = self.states.get_mut(scope) {
                state.freeze.take_if(|freeze| freeze.until <= now);
            }
        }
    }

    /// Drop what is as good as new.
    pub(super) fn sweep(&mut self, now: Timestamp) {
        self.states.retain(|_, state| {
            let freeze = state.freeze.as_ref();
            let counts = freeze.is_some_and(|f| f.until > now || f.is_of_a_row(now));
            counts || state.bucket.reserved > 0 || state.bucket.full_at > now
        });
    }
}

/// When this order may take a token, so that there is still one at `held` for the other.
fn next(bucket: Bucket, rate: Rate, held: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let next = bucket.next(rate, now);
    let Some(held) = held.filter(|held| *held > now && next <= now) else {
        return next;
    };
    let mut after = bucket;
    after.take(rate, now);
    let other = after.next(rate, now);
    // Then the other is not there any more, and this one is next.
    if other > held { held } else { next }
}
