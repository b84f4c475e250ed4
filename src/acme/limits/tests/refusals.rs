use super::super::refusal::{named, narrowest, until};
use super::*;

const SLOW: &str = "429 urn:ietf:params:acme:error:rateLimited: slow down";

/// An Order that the CA refuses, as often as it may ask, without a word about when. Waits, in seconds, from refusal to refusal.
fn refused(
    ledger: &mut Ledger,
    (name, ask): (&str, &Ask),
    now: &mut Timestamp,
    times: u32,
) -> Vec<i64> {
    let ca = ca(Policy::of("https://ca.example", 1000));
    refused_by(&ca, ledger, (name, ask), now, times)
}

fn refused_by(
    ca: &Ca,
    ledger: &mut Ledger,
    (name, ask): (&str, &Ask),
    now: &mut Timestamp,
    times: u32,
) -> Vec<i64> {
    let (id, mut waits) = (id("team", name), vec![]);
    for _ in 0..times {
        assert_eq!(ledger.ask(ca, &id, "uid", ask.clone(), *now), Turn::Go);
        let Turn::Wait(slot) = ledger.refused(&id, SLOW, None, *now) else {
            panic!()
        };
        waits.push(slot.until.duration_since(*now).as_secs());
        *now = slot.until;
    }
    waits
}

#[test]
fn a_ca_that_never_says_when_is_asked_less_and_less() {
    let day = 24 * 60 * 60;
    let (mut ledger, mut now) = (Ledger::default(), START);
    let ask = fresh(&["a.example.com"]);
    let waits = refused(&mut ledger, ("site", &ask), &mut now, 5);
    assert_eq!(waits, [60, 600, 6000, day, day]);
    // It takes one, which is the end of the row.
    let ca = ca(Policy::of("https://ca.example", 1000));
    let (id, which) = (id("team", "site"), |id| (id, "uid"));
    assert_eq!(ledger.ask(&ca, &id, "uid", ask.clone(), now), Turn::Go);
    ledger.see(&ca, which(&id), ask.clone(), &Progress::Issued, (now, now));
    let waits = refused(&mut ledger, ("next", &ask), &mut now, 2);
    assert_eq!(waits, [60, 600]);
    // So is a day and more without a question.
    now += days(2);
    ledger.ask(
        &ca,
        &("team".into(), "more".into()),
        "uid",
        fresh(&["o.example"]),
        now,
    );
    assert_eq!(refused(&mut ledger, ("next", &ask), &mut now, 1), [60]);
}

/// Its bucket is kept until it is full again, which takes a week.
#[test]
fn a_refusal_of_days_ago_is_of_no_row_though_its_bucket_is_not_full() {
    let (mut ledger, mut now) = (Ledger::default(), START);
    let ask = ("site", &fresh(&["a.example.com"]));
    let ca = lets_encrypt();
    let waits = refused_by(&ca, &mut ledger, ask, &mut now, 2);
    assert_eq!(waits, [60, 600]);
    now += days(2);
    let waits = refused_by(&ca, &mut ledger, ask, &mut now, 1);
    assert_eq!(waits, [60]);
}

#[test]
fn a_ca_that_never_says_when_is_not_left_alone_beyond_a_share_of_the_life_left() {
    let hours = SignedDuration::from_hours;
    let (mut ledger, mut now) = (Ledger::default(), START);
    let ask = renewal(&["a.example.com"], START + hours(2));
    let waits = refused(&mut ledger, ("site", &ask), &mut now, 4);
    assert_eq!(waits, [60, 600, (7200 - 660) / 10, (7200 - 1314) / 10]);
    // It has expired.
    now = START + hours(3);
    let waits = refused(&mut ledger, ("site", &ask), &mut now, 1);
    assert_eq!(waits, [days(1).as_secs()]);
}

#[test]
fn orders_that_are_refused_together_are_one_refusal_of_their_account() {
    let mut ledger = Ledger::default();
    let ca = ca(Policy::of("https://ca.example", 1000));
    let mut now = START;
    for wait in [60, 600, 6000] {
        let all: Vec<_> = (0..9)
            .map(|n| {
                (
                    id("team", &n.to_string()),
                    fresh(&[&format!("{n}.example")]),
                )
            })
            .collect();
        for (id, ask) in &all {
            assert_eq!(ledger.ask(&ca, id, "uid", ask.clone(), now), Turn::Go);
        }
        let turns = all
            .iter()
            .map(|(id, _)| ledger.refused(id, SLOW, None, now));
        let Some(Turn::Wait(slot)) = turns.last() else {
            panic!()
        };
        assert_eq!(slot.scope.limit, Limit::OrdersPerAccount);
        assert_eq!(slot.until.duration_since(now).as_secs(), wait);
        now = slot.until;
    }
}

const RATE_LIMITED: &str = "429 urn:ietf:params:acme:error:rateLimited: ";

/// Boulder's words (`ratelimits/limiter.go`).
#[test]
fn the_words_of_lets_encrypt_name_the_bucket() {
    let ask = fresh(&["a.example.com", "b.example.co.uk"]);
    for (words, scope) in [
        (
            "too many new orders (300) from this account in the last 3h0m0s, retry after 2027-01-15 09:00:00 UTC",
            Some(ask.orders()),
        ),
        (
            "too many certificates (50) already issued for \"example.co.uk\" in the last 168h0m0s, retry after",
            Some(Scope::new(Limit::CertificatesPerDomain, "example.co.uk")),
        ),
        (
            "too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s",
            Some(ask.set()),
        ),
        (
            "too many certificates (5) already issued for this exact set of domains in the last 168h0m0s",
            Some(ask.set()),
        ),
        (
            "too many failed authorizations (5) for \"a.example.com\" in the last 1h0m0s, retry after",
            Some(ask.failures("a.example.com")),
        ),
        (
            "too many certificates (50) already issued for \"other.example\"",
            None,
        ),
        (
            "Your account is temporarily prevented from requesting certificates for a.example.com",
            None,
        ),
    ] {
        assert_eq!(
            named(&format!("{RATE_LIMITED}{words}"), &ask),
            scope,
            "{words}"
        );
    }
    let edge = "503: the reply of ca.example is not an ACME problem document";
    assert_eq!(named(edge, &ask), Some(ask.orders()));
}

#[test]
fn the_later_of_two_words_counts_within_reason() {
    let words = "too many, retry after 2027-01-15 09:00:00 UTC: see https://letsencrypt.org/docs/rate-limits/";
    let said: Timestamp = "2027-01-15T09:00:00Z".parse().unwrap();
    assert_eq!(until(words, None, START), Some(said));
    assert_eq!(
        until(words, Some(said + days(1)), START),
        Some(said + days(1))
    );
    assert_eq!(until(words, Some(START), START), Some(said));
    assert_eq!(
        until("no (not before 2027-01-15T09:00:00Z)", Some(at(60)), START),
        Some(said)
    );
    assert_eq!(until("no", None, START), None);
    assert_eq!(
        until("no", Some(START - days(1)), START),
        Some(at(1)),
        "never at once"
    );
    assert_eq!(
        until("no", Some(START + days(400)), START),
        Some(START + days(8))
    );
    assert_eq!(until("retry after yesterday UTC", None, START), None);
}

#[test]
fn words_that_name_nothing_close_no_more_than_they_must() {
    let ask = fresh(&["a.example.com"]);
    let scopes = |name: &str| {
        let other = fresh(&[name]);
        let mut scopes = other.domains();
        scopes.push(other.set());
        scopes
    };
    let closed = |names: &[&str]| {
        let lists: Vec<_> = names.iter().map(|n| scopes(n)).collect();
        narrowest(&ask, lists.iter().map(Vec::as_slice))
    };
    assert_eq!(closed(&[]), ask.set());
    assert_eq!(closed(&["a.example.com"]), ask.set(), "the same again");
    assert_eq!(
        closed(&["b.example.com"]),
        ask.domains()[0],
        "two of a domain"
    );
    assert_eq!(closed(&["b.example.org"]), ask.orders(), "of two domains");
}
