//! What a refusal teaches: which bucket is empty, by the CA's own words where they say so.

use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::book::Freeze;
use super::ledger::Ledger;
use super::line::{Id, Place};
use super::order::Stage;
use super::patience::{refusal_delay, within_a_share};
use super::rate::later;
use super::scope::{Ask, Exemption, Scope};
use super::turn::Turn;

/// The longest wait that a CA is believed: what it says is its word only. Let's Encrypt's longest is a week.
const MOST: SignedDuration = SignedDuration::from_hours(8 * 24);

impl Ledger {
    /// The CA has refused an Order for a limit: `words` are its own, `retry_after` the time of its Retry-After. It waits in line
    /// again.
    pub fn refused(
        &mut self,
        id: &Id,
        words: &str,
        retry_after: Option<Timestamp>,
        now: Timestamp,
    ) -> Turn {
        let Some(entry) = self.entries.get_mut(id) else {
            return Turn::Behind(None);
        };
        let of = entry.ask.account.clone();
        let directory = entry.ca.directory.clone();
        let policy = entry.ca.policy.clone();
        let account = self.accounts.entry(of.clone()).or_default();
        let book = self.books.entry(directory.clone()).or_default();
        if entry.stage == Stage::Admitted {
            let needs = &entry.needs;
            book.release(
                needs.certificate(&policy).chain(needs.order(&policy)),
                &policy,
            );
            account.places.give_back(id);
            account.twins.end(&entry.twin(), id);
            let place = entry
                .ask
                .expires
                .map_or(Place::Fresh(entry.ask.since), Place::Renewal);
            account.line.join(id, place);
            entry.stage = Stage::Waiting(place);
        }
        let closed = book
            .states
            .values()
            .filter_map(|state| state.freeze.as_deref());
        let closed = closed.filter(|freeze| freeze.until > now);
        let named = named(words, &entry.ask);
        let scope = named
            .clone()
            .unwrap_or_else(|| narrowest(&entry.ask, closed.filter_map(|f| f.unnamed.as_deref())));
        if !entry
            .needs
            .counted(&policy)
            .any(|counted| *counted == scope)
        {
            // The CA counts it after all.
            entry.needs.exemption = Exemption::Nothing;
        }
        let state = book.states.entry(scope.clone()).or_default();
        let last = state.freeze.as_deref();
        let (until, unsaid) = match until(words, retry_after, now) {
            Some(until) => (until, 0),
            None => in_a_row(last, entry.ask.expires, now),
        };
        if let Some(rate) = policy.rate(scope.limit) {
            state.bucket.learn(rate, until);
        }
        state.freeze = Some(Box::new(Freeze {
            until,
            words: words.into(),
            unsaid,
            unnamed: named.is_none().then(|| entry.needs.scopes.clone()),
        }));
        let issuer = entry.ca.issuer.clone();
        self.keep(&directory, &issuer, [scope]);
        self.serve(&of, true, now);
        self.turn(id, now)
    }
}

/// The bucket that a refusal names, as Boulder's limiter writes it (`ratelimits/limiter.go`); `None` when the words say
/// nothing, or something that the order does not touch.
pub fn named(words: &str, ask: &Ask) -> Option<Scope> {
    let quoted = || words.split('"').nth(1).map(str::to_ascii_lowercase);
    if words.contains("exact set of") {
        return Some(ask.set());
    }
    if words.contains("new orders") {
        return Some(ask.orders());
    }
    if words.contains("failed authorizations") {
        return quoted().map(|name| ask.failures(&name));
    }
    if words.contains("certificates") && words.contains("already issued for") {
        let domain = quoted()?;
        return ask.domains().into_iter().find(|scope| *scope.of == *domain);
    }
    // Not a problem of the CA but of what stands before it: a limit of requests, which all of them meet.
    if !words.contains("urn:ietf:params:acme:error:") {
        return Some(ask.orders());
    }
    None
}

/// Until when the CA is left alone that does not say it, and how often in a row that is. Orders that it had been asked for
/// together count once. Never beyond a share of what is left until `expires`.
fn in_a_row(last: Option<&Freeze>, expires: Option<Timestamp>, now: Timestamp) -> (Timestamp, u32) {
    let left = expires.filter(|end| *end > now);
    let left = left.and_then(|end| Duration::try_from(end.duration_since(now)).ok());
    let until = |refusals| {
        let delay = within_a_share(refusal_delay(refusals), left);
        later(now, SignedDuration::try_from(delay).unwrap_or(MOST))
    };
    match last {
        Some(last) if last.until > now && last.unsaid == 0 => (last.until, 0),
        Some(last) if last.until > now => (last.until.min(until(last.unsaid)), last.unsaid),
        _ => {
            let row = last.filter(|last| last.is_of_a_row(now));
            let refusals = row.map_or(0, |last| last.unsaid).saturating_add(1);
            (until(refusals), refusals)
        }
    }
}

/// Until when: what `Retry-After` said, or the words do, or what was noted of it behind them; whichever is later.
pub fn until(words: &str, retry_after: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
    let said = words.split_once("retry after ").and_then(|(_, rest)| {
        let (time, _) = rest.split_once(" UTC")?;
        let time: DateTime = time.parse().ok()?;
        Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
    });
    let noted = words.rsplit_once("(not before ").and_then(|(_, rest)| {
        let (time, _) = rest.split_once(')')?;
        time.parse().ok()
    });
    let until = said.max(noted).max(retry_after)?;
    let soonest = later(now, SignedDuration::from_secs(1));
    Some(until.clamp(soonest, later(now, MOST)))
}

/// The narrowest bucket that fits words which name none, given the buckets that such words have closed already: first
/// these names alone, then their domain when another set of it was refused too, then the account.
pub fn narrowest<'a>(ask: &Ask, closed: impl Iterator<Item = &'a [Scope]>) -> Scope {
    let (set, domains) = (ask.set(), ask.domains());
    let mut wider = None;
    for other in closed {
        if other.contains(&set) {
            continue;
        }
        match domains.iter().find(|domain| other.contains(domain)) {
            Some(domain) => wider = wider.or_else(|| Some(domain.clone())),
            None => return ask.orders(),
        }
    }
    wider.unwrap_or(set)
}
