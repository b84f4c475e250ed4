use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::renewal_info::identifier;
use super::super::{Class, Error, Identifier, Problem, RenewalInfo, may_be_replaces};
use super::client::account;
use super::fake::{FakeServer, Response};
use crate::net::Unanswered;

#[test]
fn the_identifier_of_the_rfc() {
    let key = [
        0x69, 0x88, 0x5b, 0x6b, 0x87, 0x46, 0x40, 0x41, 0xe1, 0xb3, 0x7b, 0x84, 0x7b, 0xa0, 0xae,
        0x2c, 0xde, 0x01, 0xc8, 0xd4,
    ];
    let serial = [0x00, 0x87, 0x65, 0x43, 0x21];
    let id = "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE";
    assert_eq!(identifier(&key, &serial).as_deref(), Some(id));
    assert_eq!(identifier(&[], &serial), None);
    assert_eq!(identifier(&key, &[]), None);
    assert_eq!(identifier(&[1; 65], &serial), None);
}

fn window(start: &str, end: &str) -> Value {
    json!({ "suggestedWindow": { "start": start, "end": end } })
}

async fn asked(response: Response) -> (Result<RenewalInfo, Error>, FakeServer) {
    let server = FakeServer::start(move |_| Some(response.clone()));
    let answer = server.client().renewal_info("key.serial").await;
    (answer, server)
}

#[tokio::test]
async fn it_is_asked_for_without_an_account() {
    let mut body = window("2025-01-02T04:00:00.123Z", "2025-01-03T04:00:00+02:00");
    body["explanationURL"] = json!("https://ca.example/why?a=b");
    body["more"] = json!({ "a": [1] });
    let response = Response::json(200, &body).with("Retry-After", "Wed, 21 Oct 2026 07:28:00 GMT");
    let (answer, server) = asked(response).await;
    let time = |text: &str| text.parse::<Timestamp>().unwrap();
    let info = RenewalInfo {
        start: time("2025-01-02T04:00:00.123Z"),
        end: time("2025-01-03T02:00:00Z"),
        explanation_url: Some("https://ca.example/why?a=b".into()),
        retry_after: Some(time("2026-10-21T07:28:00Z")),
    };
    assert_eq!(answer.unwrap(), info);
    let seen = server.seen();
    let asked = seen.last().unwrap();
    let line = (asked.method.as_str(), asked.path.as_str());
    assert_eq!(line, ("GET", "/renewal-info/key.serial"));
    assert_eq!(asked.body, "");
}

#[tokio::test]
async fn what_is_no_window_is_no_answer() {
    let start = "2025-01-02T04:00:00Z";
    for body in [
        json!(null),
        json!([]),
        json!({}),
        json!({ "suggestedWindow": null }),
        json!({ "suggestedWindow": { "start": start } }),
        json!({ "suggestedWindow": { "start": 1, "end": 2 } }),
        window("", start),
        window("tomorrow\u{1b}[31m", start),
        window(start, start),
        window(start, "2025-01-02T03:59:59Z"),
    ] {
        let (answer, _) = asked(Response::json(200, &body)).await;
        let error = answer.unwrap_err();
        assert!(matches!(error, Error::Protocol(_)), "{body}: {error}");
        assert!(!error.to_string().contains('\u{1b}'), "{error}");
    }
    for text in ["", "{", "<html>busy</html>", "{\"suggestedWindow\":"] {
        let (answer, _) = asked(Response::new(200, text)).await;
        assert!(matches!(answer, Err(Error::Protocol(_))), "{text}");
    }
    let (answer, _) = asked(Response::problem(404, "malformed")).await;
    assert_eq!(answer.unwrap_err().class(), Class::Permanent);
    let (answer, _) = asked(Response::new(503, "busy").with("Retry-After", "120")).await;
    let class = answer.unwrap_err().class();
    assert!(matches!(class, Class::RateLimited { until: Some(_) }));
}

#[tokio::test]
async fn an_explanation_that_cannot_be_shown_is_left_out() {
    let long = format!("https://ca.example/{}", "x".repeat(600));
    for explanation in [
        json!(null),
        json!(7),
        json!(""),
        json!("javascript:alert(1)"),
        json!("https://ca.example/a b"),
        json!("https://ca.example/\u{202e}gnp"),
        json!("https://ca.example/\n"),
        json!(long),
    ] {
        let mut body = window("2025-01-02T04:00:00Z", "2025-01-03T04:00:00Z");
        body["explanationURL"] = explanation.clone();
        let (answer, _) = asked(Response::json(200, &body)).await;
        let shown = answer.unwrap().explanation_url;
        let expected = explanation.as_str().filter(|text| text.ends_with('\n'));
        assert_eq!(shown.as_deref(), expected.map(str::trim), "{explanation}");
    }
}

#[tokio::test]
async fn an_order_tells_what_it_replaces() {
    let server = FakeServer::start(|_| {
        let order = Response::json(201, &json!({ "status": "pending" }));
        Some(order.with("Location", "/order/7"))
    });
    let account = account(&server);
    let names = [Identifier::dns("example.com")];
    let client = server.client();
    let order = client.new_order(&account, &names, None, None, Some("key.serial"));
    let order = order.await.unwrap();
    assert_eq!(
        order.url,
        server.url("/order/7"),
        "kept, though it does not repeat it"
    );
    let payload: Value = serde_json::from_str(&server.posts()[0].payload()).unwrap();
    assert_eq!(payload["replaces"], "key.serial");
}

#[test]
fn what_may_be_because_of_the_replaced_certificate() {
    let problem = |status: u16, kind: &str| Error::Problem {
        problem: Box::new(Problem {
            kind: format!("urn:ietf:params:acme:error:{kind}"),
            status,
            ..Problem::default()
        }),
        retry_after: None,
    };
    for (status, kind, expected) in [
        (409, "alreadyReplaced", true),
        (400, "malformed", true),
        (403, "unauthorized", true),
        (500, "serverInternal", true),
        (404, "notFound", true),
        (409, "conflict", true),
        (400, "badNonce", false),
        (403, "caa", false),
        (400, "invalidProfile", false),
        (429, "rateLimited", false),
        (400, "rejectedIdentifier", false),
        (400, "unsupportedIdentifier", false),
        (403, "userActionRequired", false),
    ] {
        assert_eq!(may_be_replaces(&problem(status, kind)), expected, "{kind}");
    }
    for (status, expected) in [
        (400, true),
        (404, true),
        (500, true),
        (429, false),
        (503, false),
        (302, false),
    ] {
        let error = Error::Status {
            status,
            host: "ca".into(),
            leads_to: None,
            retry_after: None,
        };
        assert_eq!(may_be_replaces(&error), expected, "{status}");
    }
    let network = Error::Unanswered(Unanswered::Network {
        host: "ca".into(),
        message: "reset".into(),
    });
    assert!(!may_be_replaces(&network), "there may be an order");
}
