#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use super::*;

fn object<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn reference() -> IssuerReference {
    object(json!({ "name": "ca" }))
}

fn request(conditions: &Value) -> CertificateRequest {
    object(
        json!({ "metadata": { "name": "site-1" }, "spec": { "issuerRef": { "name": "ca" }, "request": "" },
        "status": { "conditions": conditions } }),
    )
}

fn order(state: &str, reason: &str) -> Order {
    object(json!({ "metadata": { "name": "site-1-1" },
        "spec": { "issuerRef": { "name": "ca" }, "request": "" }, "status": { "state": state, "reason": reason } }))
}

fn pending(state: &str, reason: &str) -> Challenge {
    object(json!({ "metadata": { "name": "c" },
        "spec": { "authorizationURL": "", "dnsName": "a.example.com", "issuerRef": { "name": "ca" }, "key": "",
            "solver": {}, "token": "", "type": "HTTP-01", "url": "", "wildcard": false },
        "status": { "state": state, "reason": reason } }))
}

fn chain(reference: &IssuerReference) -> Chain<'_> {
    Chain {
        namespace: "team",
        issuer_ref: reference,
        issuer: Issuer::Ready,
        request: None,
        child: None,
        order: None,
        challenges: vec![],
        overdue: false,
    }
}

#[test]
fn progress_as_it_should_be_is_no_cause() {
    let reference = reference();
    let waiting = request(&json!([]));
    let valid = pending("valid", "Successfully authorized domain");
    let found = verdict(&Chain {
        request: Some(&waiting),
        challenges: vec![&valid],
        ..chain(&reference)
    });
    assert_eq!(found, None);
}

#[test]
fn the_deepest_cause_is_told() {
    let reference = reference();
    let failed = request(
        &json!([{ "type": "Ready", "status": "False", "reason": "Failed", "message": "no" }]),
    );
    let waiting = order(
        "pending",
        "waits for a limit of the CA, next slot 2026-11-28 14:32 UTC (EL-1430).",
    );
    let order = order("errored", "no solver");
    let challenge = pending("pending", "the name does not resolve");
    let all = Chain {
        issuer: Issuer::NotReady("no account".into()),
        request: Some(&failed),
        order: Some(&order),
        challenges: vec![&challenge],
        ..chain(&reference)
    };
    let code = |chain: &Chain<'_>| verdict(chain).map(|v| v.code);
    assert_eq!(code(&all), Some(Code::CHALLENGE_WAITS));
    let all = Chain {
        challenges: vec![],
        ..all
    };
    assert_eq!(code(&all), Some(Code::ORDER_FAILED));
    let open = Chain {
        order: Some(&waiting),
        ..all.clone()
    };
    assert_eq!(code(&open), Some(Code::ISSUER_NOT_READY), "it is first");
    let ready = Chain {
        issuer: Issuer::Ready,
        ..open
    };
    assert_eq!(code(&ready), Some(Code::LIMIT_AHEAD));
    let all = Chain { order: None, ..all };
    assert_eq!(code(&all), Some(Code::REQUEST_FAILED));
    let all = Chain {
        request: None,
        ..all
    };
    assert_eq!(code(&all), Some(Code::ISSUER_NOT_READY));
    let all = Chain {
        issuer: Issuer::Missing,
        request: Some(&failed),
        ..all
    };
    assert_eq!(
        code(&all),
        Some(Code::ISSUER_MISSING),
        "nothing below it goes on"
    );
}

#[test]
fn what_the_ca_said_decides() {
    let reference = reference();
    let words = "Error accepting authorization: urn:ietf:params:acme:error:caa: CAA record for a.example.com";
    let challenge = pending("invalid", words);
    let found = verdict(&Chain {
        challenges: vec![&challenge],
        ..chain(&reference)
    })
    .unwrap();
    assert_eq!(found.code, Code::ACME_CAA);
    let text = found.to_string();
    assert!(
        text.starts_with(&format!(
            "HTTP-01 challenge for \"a.example.com\": {words}. A CAA record"
        )),
        "{text}"
    );
    assert!(text.ends_with("that it allows (EL-1403)."), "{text}");
    let challenge = pending("invalid", "urn:ietf:params:acme:error:neverHeardOf: x");
    let found = verdict(&Chain {
        challenges: vec![&challenge],
        ..chain(&reference)
    })
    .unwrap();
    assert_eq!(found.code, Code::CHALLENGE_FAILED);
}

#[test]
fn a_code_that_is_in_the_words_of_below_is_the_codes_of_all() {
    let reference = reference();
    let said = vault::verdict(vault::Cause::Sealed, "Vault is sealed").to_string();
    assert!(said.starts_with("Vault is sealed. Unseal it"), "{said}");
    let not_ready = verdict(&Chain {
        issuer: Issuer::NotReady(said.clone()),
        ..chain(&reference)
    })
    .unwrap();
    assert_eq!(not_ready.code, Code::VAULT_SEALED);
    let text = not_ready.to_string();
    assert!(
        text.starts_with("Issuer \"ca\" is not ready: Vault is sealed. "),
        "{text}"
    );
    assert_eq!(text.matches("EL-1502").count(), 1, "{text}");
    assert!(text.ends_with(" (EL-1502)."), "{text}");
    for (reason, words, code) in [
        ("Failed", said.as_str(), Some(Code::VAULT_SEALED)),
        ("Failed", "no", Some(Code::REQUEST_FAILED)),
        ("Pending", &said, Some(Code::VAULT_SEALED)),
        ("Pending", "no (EL-9999).", None),
        ("Pending", "no", None),
    ] {
        let ready =
            json!([{ "type": "Ready", "status": "False", "reason": reason, "message": words }]);
        let request = request(&ready);
        let found = verdict(&Chain {
            request: Some(&request),
            ..chain(&reference)
        });
        assert_eq!(found.map(|found| found.code), code, "{reason}: {words}");
    }
}

#[test]
fn requests_that_wait_are_told_when_they_are_overdue() {
    let reference = reference();
    let (new, approved) = (
        request(&json!([])),
        request(&json!([{ "type": "Approved", "status": "True" }])),
    );
    let code = |request: &CertificateRequest, issuer, overdue| {
        let chain = Chain {
            request: Some(request),
            issuer,
            overdue,
            ..chain(&reference)
        };
        verdict(&chain).map(|v| v.code)
    };
    assert_eq!(code(&new, Issuer::Ready, false), None);
    assert_eq!(
        code(&new, Issuer::Ready, true),
        Some(Code::REQUEST_NOT_APPROVED)
    );
    assert_eq!(code(&approved, Issuer::Ready, true), None);
    assert_eq!(
        code(&approved, Issuer::External, true),
        Some(Code::REQUEST_EXTERNAL)
    );
    let mut stalled = request(&json!([{ "type": "Approved", "status": "True" }]));
    let failure = &mut stalled.status.as_mut().unwrap().failure_time;
    *failure = Some(object(json!("2026-01-01T00:00:00Z")));
    assert_eq!(
        code(&stalled, Issuer::External, true),
        Some(Code::REQUEST_FAILED)
    );
    for kind in ["Denied", "InvalidRequest"] {
        let refused = request(&json!([{ "type": kind, "status": "True", "message": "policy" }]));
        assert_eq!(
            code(&refused, Issuer::Ready, false),
            Some(Code::REQUEST_DENIED),
            "{kind}"
        );
    }
}

#[test]
fn what_an_external_issuer_says_is_told() {
    let reference =
        object(json!({ "name": "step", "kind": "StepIssuer", "group": "certmanager.step.sm" }));
    let new = request(&json!([]));
    let found = verdict(&Chain {
        request: Some(&new),
        issuer: Issuer::External,
        overdue: true,
        ..chain(&reference)
    });
    let kind = "to this issuer, whose kind StepIssuer.certmanager.step.sm has to exist (EL-1203).";
    assert!(found.unwrap().to_string().ends_with(kind));
    let text = |message: &str| {
        let approved = json!({ "type": "Approved", "status": "True" });
        let ready =
            json!({ "type": "Ready", "status": "False", "reason": "Pending", "message": message });
        let request = request(&json!([approved, ready]));
        let found = verdict(&Chain {
            request: Some(&request),
            issuer: Issuer::External,
            overdue: true,
            ..chain(&reference)
        });
        found.unwrap().to_string()
    };
    let begin = "CertificateRequest \"site-1\" waits for the external issuer StepIssuer.certmanager.step.sm \"step\"";
    assert_eq!(
        text(""),
        format!("{begin}: look at that issuer's controller (EL-1204).")
    );
    let said = "StepIssuer shop/step is not Ready.";
    let expected =
        format!("{begin}, whose controller says: StepIssuer shop/step is not Ready (EL-1204).");
    assert_eq!(text(said), expected);
    assert!(text(&"x".repeat(5000)).len() < 500);
    // What it has signed may be of no use, and is not waited for.
    let signed = request(&json!([
        { "type": "Approved", "status": "True" },
        { "type": "Ready", "status": "True", "reason": "Issued", "message": "signed" },
    ]));
    let chain = Chain {
        request: Some(&signed),
        issuer: Issuer::External,
        overdue: true,
        ..chain(&reference)
    };
    assert_eq!(verdict(&chain).map(|v| v.code), None);
}

#[test]
fn a_request_that_was_made_for_another_is_the_deeper_cause() {
    let reference = reference();
    let named = |name: &str, conditions: &Value| {
        let mut request = request(conditions);
        request.metadata.name = Some(name.into());
        request
    };
    let approved = json!({ "type": "Approved", "status": "True" });
    let ready = |reason: &str, message: &str| json!({ "type": "Ready", "status": "False", "reason": reason, "message": message });
    let fault = json!({ "type": "IssuerFault", "status": "True", "message": "Issuer \"a\" cannot sign: no (EL-1420)." });
    let asked = ready("Pending", "Issuer \"a\" is asked");
    let fallback = ready("Pending", "Issuer \"b\" is asked, because so (EL-1220).");
    let refused = ready("Failed", "policy");
    let sealed = ready("Pending", "Vault is sealed (EL-1502).");
    let denied = json!({ "type": "Denied", "status": "True", "message": "policy" });
    let waits = Code::REQUEST_NOT_APPROVED;
    // The conditions of both but for the approval of the first, whether it takes too long, and what is said of which.
    for (parent, child, overdue, expected) in [
        (vec![&asked], vec![], false, None),
        (vec![&asked], vec![], true, Some((waits, "site-1-7"))),
        (vec![&asked], vec![&approved], true, None),
        (vec![&fallback], vec![], true, Some((waits, "site-1-7"))),
        (
            vec![&fallback],
            vec![],
            false,
            Some((Code::ORDERED_FALLBACK, "site-1")),
        ),
        (
            vec![&asked],
            vec![&approved, &sealed],
            false,
            Some((Code::VAULT_SEALED, "site-1-7")),
        ),
        (
            vec![&asked],
            vec![&denied],
            false,
            Some((Code::REQUEST_DENIED, "site-1-7")),
        ),
        (
            vec![&asked, &fault],
            vec![],
            true,
            Some((Code::CA_UNABLE, "site-1")),
        ),
        (
            vec![&refused, &fault],
            vec![],
            true,
            Some((Code::REQUEST_FAILED, "site-1")),
        ),
    ] {
        let parent: Vec<_> = std::iter::once(&approved).chain(parent).collect();
        let (parent, child) = (
            named("site-1", &json!(parent)),
            named("site-1-7", &json!(child)),
        );
        let found = verdict(&Chain {
            request: Some(&parent),
            child: Some(&child),
            overdue,
            ..chain(&reference)
        });
        assert_eq!(
            found.as_ref().map(|found| found.code),
            expected.map(|(code, _)| code),
            "{found:?}"
        );
        if let Some((_, name)) = expected {
            let begins = format!("CertificateRequest \"{name}\"");
            assert!(
                found.as_ref().unwrap().text.starts_with(&begins),
                "{found:?}"
            );
        }
    }
}

#[test]
fn each_code_has_a_page_and_each_page_a_code() {
    let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/troubleshooting");
    let index = std::fs::read_to_string(pages.join("README.md")).unwrap();
    let mut known = BTreeSet::from(["README.md".to_owned()]);
    for (code, what) in Code::ALL {
        let page = format!("{code}.md");
        let text = std::fs::read_to_string(pages.join(&page)).unwrap_or_default();
        assert!(text.starts_with(&format!("# {code}: {what}\n")), "{page}");
        assert!(text.contains("## What to do"), "{page}");
        assert!(
            index.contains(&format!("| [{code}]({page}) | {what} |")),
            "{page} in the index"
        );
        assert!(known.insert(page), "{code} is given out twice");
    }
    let files = std::fs::read_dir(pages).unwrap();
    let files: BTreeSet<_> = files
        .map(|f| f.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(files, known);
}
