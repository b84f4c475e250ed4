use jiff::Timestamp;
use serde_json::json;

use super::super::reply::links;
use super::super::url::{Origin, resolve};
use super::super::{Authorization, Directory, Identifier, Order, Status};
use crate::net::parse_retry_after;

#[test]
fn retry_after_is_seconds_or_a_date() {
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    for (value, expected) in [
        ("0", Some("2026-01-01T00:00:00Z")),
        (" 120 ", Some("2026-01-01T00:02:00Z")),
        (
            "Wed, 21 Oct 2026 07:28:00 GMT",
            Some("2026-10-21T07:28:00Z"),
        ),
        ("86401", Some("2026-01-02T00:00:00Z")),
        ("99999999999999999999", Some("2026-01-02T00:00:00Z")),
        ("-5", None),
        ("soon", None),
        ("", None),
    ] {
        let expected = expected.map(|time| time.parse().unwrap());
        assert_eq!(parse_retry_after(value, now), expected, "{value}");
    }
}

#[test]
fn links_are_found_by_relation() {
    for (header, expected) in [
        ("<https://a/1>;rel=\"alternate\"", &["https://a/1"][..]),
        ("</b>; rel=alternate", &["/b"]),
        (
            "<https://a/i>;rel=\"index\", <https://a/2>; title=\"x, y\"; rel=\"up Alternate\"",
            &["https://a/2"],
        ),
        ("<a>;rel=alternate,<b>;rel=alternate", &["a", "b"]),
        ("<a>;rel=alternates", &[]),
        ("<a>;title=alternate", &[]),
        ("<a", &[]),
        ("rel=alternate", &[]),
    ] {
        assert_eq!(links(header, "alternate"), expected, "{header}");
    }
}

#[test]
fn references_resolve_against_the_request() {
    let base = "https://ca.example:14000/a/b?c";
    assert_eq!(resolve(base, "/x"), "https://ca.example:14000/x");
    assert_eq!(
        resolve("https://ca.example/a", "/x"),
        "https://ca.example/x"
    );
    assert_eq!(resolve(base, "https://other/x"), "https://other/x");
    // Not rooted here: refused when used.
    assert_eq!(resolve(base, "//other/x"), "//other/x");
}

#[test]
fn origins_are_compared_by_scheme_host_and_port() {
    let origin = |url| Origin::of(url).unwrap();
    assert_eq!(
        origin("https://CA.example/x"),
        origin("https://ca.example:443/y?z")
    );
    assert_ne!(
        origin("https://ca.example/"),
        origin("https://ca.example:444/")
    );
    assert_ne!(
        origin("https://ca.example/"),
        origin("https://ca.example.org/")
    );
    assert_ne!(origin("https://ca.example/"), origin("http://ca.example/"));
    assert_ne!(
        origin("https://ca.example/"),
        origin("http://ca.example:443/")
    );
    assert_eq!(origin("https://[::1]:14000/x").host(), "[::1]:14000");
    assert_eq!(origin("http://ca.example:80/").host(), "ca.example");
    for bad in [
        "ldap://ca.example/",
        "ca.example",
        "/x",
        "",
        "https://",
        "https://user@ca.example/",
        "file:///etc/passwd",
        "https://ca.example@evil.example/",
    ] {
        assert!(Origin::of(bad).is_err(), "{bad}");
    }
}

#[test]
fn unknown_and_missing_values_do_not_stop_a_reply() {
    let order: Order = serde_json::from_value(json!({
        "status": "hibernating", "expires": "tomorrow", "identifiers": null, "authorizations": ["https://a/1"],
        "finalize": null, "certificate": null, "error": {"type": null, "subproblems": null, "status": "400 or so"},
        "notBefore": 7, "future": {"x": []}
    }))
    .unwrap();
    assert_eq!(order.status, Status::Unknown);
    assert_eq!(order.expires, None);
    assert_eq!(order.authorizations, ["https://a/1"]);
    assert_eq!(order.error.unwrap().kind, "");

    let authorization: Authorization = serde_json::from_value(json!({
        "status": "valid", "expires": "2026-01-01T00:00:00.5+01:00",
        "identifier": {"type": "onion-thing", "value": "x", "y": 1}, "wildcard": null,
        "challenges": [
            {"type": "dns-persist-01", "url": "https://a/2", "status": "pending", "issuer-domain-names": ["x"]},
            {"type": "http-01", "url": "https://a/3", "token": "t", "status": null, "validated": "x"},
            {}
        ]
    }))
    .unwrap();
    assert_eq!(
        authorization.identifier,
        Identifier {
            kind: "onion-thing".into(),
            value: "x".into()
        }
    );
    assert_eq!(
        authorization.expires,
        Some("2025-12-31T23:00:00.5Z".parse().unwrap())
    );
    let kinds: Vec<_> = authorization
        .challenges
        .iter()
        .map(|challenge| challenge.kind.as_str())
        .collect();
    assert_eq!(kinds, ["dns-persist-01", "http-01", ""]);
    assert_eq!(authorization.challenges[0].token, "");

    let empty: Directory = serde_json::from_str("{}").unwrap();
    assert_eq!(empty, Directory::default());
    assert_eq!(
        serde_json::from_value::<Directory>(json!({"meta": null})).unwrap(),
        empty
    );
}

#[test]
fn status_words_are_those_of_the_rfc() {
    for (word, status) in [
        ("pending", Status::Pending),
        ("ready", Status::Ready),
        ("processing", Status::Processing),
        ("valid", Status::Valid),
        ("invalid", Status::Invalid),
        ("expired", Status::Expired),
        ("deactivated", Status::Deactivated),
        ("revoked", Status::Revoked),
    ] {
        assert_eq!(
            serde_json::from_value::<Status>(json!(word)).unwrap(),
            status
        );
        assert_eq!(status.as_str(), word);
    }
}

#[test]
fn identifiers_are_written_as_servers_want_them() {
    let written = serde_json::to_value([
        Identifier::dns("a.example.com"),
        Identifier::ip("2001:db8:0::1".parse().unwrap()),
    ])
    .unwrap();
    assert_eq!(
        written,
        json!([{"type": "dns", "value": "a.example.com"}, {"type": "ip", "value": "2001:db8::1"}])
    );
}
