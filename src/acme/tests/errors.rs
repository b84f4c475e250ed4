use jiff::Timestamp;
use proptest::prelude::*;

use super::super::{Blame, Class, Error, Identifier, Problem, Subproblem};
use crate::net::{MAX_MESSAGE, MAX_PIECE, clean};

fn problem(status: u16, kind: &str) -> Problem {
    Problem {
        kind: format!("urn:ietf:params:acme:error:{kind}"),
        detail: "because".into(),
        status,
        ..Problem::default()
    }
}

fn refused(problem: Problem, retry_after: Option<Timestamp>) -> Error {
    Error::Problem {
        problem: Box::new(problem),
        retry_after,
    }
}

/// The message that cert-manager 1.21.1 left in an Order's status.
#[test]
fn a_problem_reads_as_in_cert_manager() {
    let kind = "urn:ietf:params:acme:error:rejectedIdentifier";
    let problem = Problem {
        kind: kind.into(),
        detail: "Order included an identifier for which issuance is forbidden by policy: \"blocked.example.com\"".into(),
        status: 400,
        instance: None,
        subproblems: vec![Subproblem {
            kind: kind.into(),
            detail: "blocked.example.com is a forbidden domain".into(),
            identifier: Some(Identifier::dns("blocked.example.com")),
        }],
    };
    assert_eq!(
        refused(problem, None).to_string(),
        "400 urn:ietf:params:acme:error:rejectedIdentifier: Order included an identifier for which issuance is \
         forbidden by policy: \"blocked.example.com\"; subproblems:\n\turn:ietf:params:acme:error:rejectedIdentifier: \
         [dns: blocked.example.com] blocked.example.com is a forbidden domain"
    );
}

#[test]
fn every_failure_has_its_class() {
    let until = Some("2026-01-01T00:00:00Z".parse().unwrap());
    let limited = Class::RateLimited { until };
    for (status, kind, retry_after, expected) in [
        (400, "rejectedIdentifier", None, Class::Permanent),
        (400, "unsupportedIdentifier", None, Class::Permanent),
        (400, "malformed", None, Class::Permanent),
        (400, "badCSR", until, Class::Permanent),
        (400, "invalidContact", None, Class::Permanent),
        (400, "invalidProfile", None, Class::Permanent),
        (400, "badPublicKey", None, Class::Permanent),
        (400, "accountDoesNotExist", None, Class::Account),
        (400, "alreadyRevoked", None, Class::Permanent),
        (400, "badRevocationReason", None, Class::Permanent),
        (400, "badSignatureAlgorithm", None, Class::Permanent),
        (400, "compound", None, Class::Permanent),
        (400, "unsupportedContact", None, Class::Permanent),
        (400, "autoRenewalCanceled", None, Class::Permanent),
        (400, "onionCAARequired", None, Class::Permanent),
        (400, "unknownDelegation", None, Class::Permanent),
        (401, "externalAccountRequired", None, Class::Permanent),
        (403, "unauthorized", None, Class::Permanent),
        (403, "userActionRequired", None, Class::Account),
        (403, "caa", None, Class::Permanent),
        (409, "alreadyReplaced", None, Class::Permanent),
        (400, "somethingNew", None, Class::Permanent),
        (400, "badNonce", None, Class::Transient),
        (403, "orderNotReady", None, Class::Transient),
        (400, "connection", None, Class::Transient),
        (400, "dns", None, Class::Transient),
        (400, "tls", None, Class::Transient),
        (403, "incorrectResponse", None, Class::Transient),
        (409, "conflict", None, Class::Transient),
        (500, "serverInternal", None, Class::Transient),
        (500, "somethingNew", until, Class::Transient),
        (501, "notImplemented", None, Class::Permanent),
        (503, "serverInternal", until, limited),
        (503, "serverInternal", None, Class::Transient),
        (429, "rateLimited", until, limited),
        (429, "rateLimited", None, Class::RateLimited { until: None }),
        // Boulder refuses paused names so.
        (400, "rateLimited", None, Class::RateLimited { until: None }),
        (429, "malformed", until, limited),
    ] {
        let error = refused(problem(status, kind), retry_after);
        assert_eq!(error.class(), expected, "{status} {kind}");
        assert_eq!(error.status(), Some(status));
        assert!(error.problem().unwrap().is(kind));
    }
    for (status, retry_after, expected) in [
        (302, None, Class::Transient),
        // Of a proxy: the server itself says what it refuses.
        (400, None, Class::Transient),
        (403, None, Class::Transient),
        (404, None, Class::Transient),
        (407, None, Class::Transient),
        (408, None, Class::Transient),
        (429, None, Class::Transient),
        (429, until, limited),
        (501, None, Class::Permanent),
        (502, None, Class::Transient),
        (503, None, Class::Transient),
        (503, until, limited),
    ] {
        let host = "ca.example".to_owned();
        let error = Error::Status {
            status,
            host,
            leads_to: None,
            retry_after,
        };
        assert_eq!(error.class(), expected, "{status}");
        let blame = if status == 429 {
            Blame::Other
        } else {
            Blame::Ca
        };
        assert_eq!(error.blame(), blame, "{status}");
        assert!(error.problem().is_none());
    }
    // Inside a challenge there may be no status at all.
    assert_eq!(problem(0, "unauthorized").class(), Class::Permanent);
    assert_eq!(problem(0, "dns").class(), Class::Transient);
    assert_eq!(
        problem(0, "rateLimited").class(),
        Class::RateLimited { until: None }
    );
}

#[test]
fn what_a_human_has_to_do_has_its_link() {
    let pause = "Your account is temporarily prevented from requesting certificates for a.example.com and possibly others. \
                 Please visit: https://ca.example/sfe/v1/unpause?jwt=eyJ.x-_y";
    let paused = |kind: &str, detail: &str| Problem {
        detail: detail.into(),
        ..problem(429, kind)
    };
    assert_eq!(paused("rateLimited", pause).pause().as_deref(), Some(pause));
    // A throttle names its documentation; other problems may speak of anything.
    let throttle = "too many certificates: see https://letsencrypt.org/docs/rate-limits/";
    assert_eq!(paused("rateLimited", throttle).pause(), None);
    assert_eq!(paused("unauthorized", pause).pause(), None);
    assert_eq!(paused("rateLimited", "unpause").pause(), None);

    let asked = |kind: &str, instance: Option<&str>| Problem {
        instance: instance.map(Into::into),
        ..problem(403, kind)
    };
    let link = Some("https://ca.example/terms?a=1");
    let found = asked("userActionRequired", link).action_link();
    assert_eq!(found.as_deref(), link);
    for (kind, instance) in [
        ("userActionRequired", None),
        ("userActionRequired", Some("javascript:alert(1)")),
        ("malformed", link),
    ] {
        assert_eq!(asked(kind, instance).action_link(), None, "{kind}");
    }
}

#[test]
fn long_and_hostile_texts_are_cut_and_escaped() {
    let hostile = Problem {
        detail: format!("<b>\n\u{1b}[2J\u{202e}\0{}", "ä".repeat(2000)),
        subproblems: vec![Subproblem::default(); 100],
        ..problem(400, "malformed")
    };
    let text = hostile.to_string();
    assert!(text.starts_with(
        "400 urn:ietf:params:acme:error:malformed: <b>\\n\\u{1b}[2J\\u{202e}\\u{0}ää"
    ));
    assert!(text.contains("ä...; subproblems:\n\t"));
    assert!(text.ends_with("\n\tand 95 more"));
    assert!(text.len() <= MAX_MESSAGE);
}

proptest! {
    #[test]
    fn cleaned_text_is_short_and_harmless(text in any::<String>(), repeat in 1_usize..40) {
        let cleaned = clean(&text.repeat(repeat), MAX_PIECE);
        prop_assert!(cleaned.len() <= MAX_PIECE);
        prop_assert!(!cleaned.chars().any(char::is_control));
    }

    #[test]
    fn shown_problems_are_bounded(detail in ".{0,900}", parts in proptest::collection::vec(".{0,900}", 0..9)) {
        let problem = Problem {
            detail,
            subproblems: parts
                .into_iter()
                .map(|text| Subproblem {
                    kind: text.clone(),
                    detail: text.clone(),
                    identifier: Some(Identifier::dns(text)),
                })
                .collect(),
            ..problem(400, "compound")
        };
        let text = problem.to_string();
        prop_assert!(text.len() <= MAX_MESSAGE);
        prop_assert!(!text.chars().any(|c| c.is_control() && c != '\n' && c != '\t'));
    }
}
