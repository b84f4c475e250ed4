use super::super::refusal::{named, narrowest, until};
use super::*;

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
    assert_eq!(until(words, None, START), said);
    assert_eq!(until(words, Some(said + days(1)), START), said + days(1));
    assert_eq!(until(words, Some(START), START), said);
    assert_eq!(
        until("no (not before 2027-01-15T09:00:00Z)", Some(at(60)), START),
        said
    );
    assert_eq!(until("no", None, START), at(3600));
    assert_eq!(
        until("no", Some(START - days(1)), START),
        at(1),
        "never at once"
    );
    assert_eq!(until("no", Some(START + days(400)), START), START + days(8));
    assert_eq!(until("retry after yesterday UTC", None, START), at(3600));
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
