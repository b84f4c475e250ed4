//! Cloudflare. Documents: "Cloudflare API: List Zones", "List DNS Records", "Create DNS Record", "Delete DNS Record",
//! "API: Pagination", "Troubleshooting: DNS record errors" (81058).

use serde_json::{Value, json};

use super::super::Hosted;
use super::scenarios::{all, record};
use super::server::{Answer, Case, Running, Sent, Txt, World, given};
use crate::api::dns01::{Cloudflare, Dns01Solver};
use crate::solvers::dns01::{Class, Error, Given, Provider};

const TOKEN: &str = "v1.0-0123456789abcdef";

static CASE: Case = Case {
    handler: answer,
    provider: |hosted| {
        provider(
            hosted,
            None,
            &given(&[("cloudflare.apiTokenSecretRef", "v1.0-0123456789abcdef\n")]),
        )
        .unwrap()
    },
    ttl: 60,
    raw: |value| format!("\"{value}\""),
    conditional: false,
    secrets: &[TOKEN],
};

fn provider(
    hosted: &std::sync::Arc<Hosted>,
    email: Option<&str>,
    given: &Given,
) -> Result<Box<dyn Provider>, Error> {
    let solver = Dns01Solver {
        cloudflare: Some(Cloudflare {
            email: email.map(str::to_owned),
            ..Cloudflare::default()
        }),
        ..Dns01Solver::default()
    };
    hosted.provider(&solver, given).unwrap()
}

fn frame(status: u16, result: &Value, errors: &Value) -> Answer {
    Answer::json(
        status,
        &json!({ "success": status < 300, "errors": errors, "messages": [], "result": result }),
    )
}

/// A list by pages: `page` from 1, `per_page` at most 50 for zones.
fn list(world: &World, sent: &Sent, entries: &[Value]) -> Result<Answer, String> {
    let per_page: usize = sent.field("per_page").parse().map_err(|_| "no per_page")?;
    if !(5..=50).contains(&per_page) {
        return Err("per_page out of range".into());
    }
    let page: usize = sent.field("page").parse().map_err(|_| "no page")?;
    let pages: Vec<_> = entries.chunks(world.page).collect();
    let mut answer = json!({
        "success": true,
        "errors": [],
        "messages": [],
        "result": pages.get(page - 1).copied().unwrap_or_default(),
        "result_info": { "page": page, "per_page": world.page, "total_count": entries.len() },
    });
    answer["result_info"]["total_pages"] = json!(pages.len());
    Ok(Answer::json(200, &answer))
}

/// Names are answered in Unicode.
fn shown(name: &str) -> String {
    name.replace("xn--bcher-kva", "b\u{fc}cher")
}

fn answer(world: &mut World, sent: &Sent) -> Result<Answer, String> {
    if sent.host != "api.cloudflare.com" {
        return Err("another host".into());
    }
    let key = (sent.header("x-auth-email"), sent.header("x-auth-key"));
    let known = sent.header("authorization") == format!("Bearer {TOKEN}")
        || key == ("ops@example.com", "k3y");
    if world.revoked || !known {
        return Ok(frame(
            403,
            &Value::Null,
            &json!([{ "code": 9109, "message": "Invalid access token" }]),
        ));
    }
    let parts = sent.parts();
    let parts: Vec<_> = parts.iter().map(String::as_str).collect();
    let [_, _, "zones", rest @ ..] = parts.as_slice() else {
        return Err("no such call".into());
    };
    match (sent.method.as_str(), rest) {
        ("GET", []) => {
            let name = sent.field("name");
            let found = world.zones.iter().filter(|zone| zone.name == name);
            let found: Vec<_> = found
                .map(|zone| {
                    let status = if zone.private { "moved" } else { "active" };
                    json!({ "id": zone.id, "name": shown(&zone.name), "status": status })
                })
                .collect();
            list(world, sent, &found)
        }
        (method, [zone, "dns_records", id @ ..]) => records(world, sent, method, zone, id),
        _ => Err("no such call".into()),
    }
}

fn records(
    world: &mut World,
    sent: &Sent,
    method: &str,
    id: &str,
    record: &[&str],
) -> Result<Answer, String> {
    let serial = world.next();
    let Some(zone) = world.zone(id) else {
        let errors = json!([{ "code": 7003, "message": "Could not route to the zone" }]);
        return Ok(frame(404, &Value::Null, &errors));
    };
    let entry = |txt: &Txt| {
        let ttl = txt.ttl;
        json!({ "id": txt.id.to_string(), "type": "TXT", "name": shown(&txt.name), "content": txt.raw, "ttl": ttl })
    };
    match (method, record) {
        ("GET", []) => {
            if sent.field("type") != "TXT" {
                return Err("no type".into());
            }
            // Filters that are not known are passed over there.
            let wanted = sent.field("name.exact");
            let found: Vec<_> = zone.set(wanted).iter().map(entry).collect();
            list(world, sent, &found)
        }
        ("POST", []) => {
            let body = sent.json()?;
            let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
            let content = text("content");
            if text("type") != "TXT" || !content.starts_with('"') || !content.ends_with('"') {
                return Err("the content of a TXT record is in quotes".into());
            }
            let name = text("name");
            if !name.ends_with(&zone.name) {
                return Err("a name of another zone".into());
            }
            if zone
                .records
                .iter()
                .any(|txt| txt.name == name && txt.raw == content)
            {
                let errors =
                    json!([{ "code": 81058, "message": "An identical record already exists." }]);
                return Ok(frame(400, &Value::Null, &errors));
            }
            let made = Txt {
                id: serial,
                name,
                raw: content,
                ttl: body["ttl"].as_u64().ok_or("no ttl")?,
                ..Txt::default()
            };
            let answer = frame(200, &entry(&made), &json!([]));
            zone.records.push(made);
            Ok(answer)
        }
        ("DELETE", [record]) => {
            let count = zone.records.len();
            zone.records.retain(|txt| txt.id.to_string() != *record);
            if zone.records.len() == count {
                let errors = json!([{ "code": 81044, "message": "Record does not exist." }]);
                return Ok(frame(404, &Value::Null, &errors));
            }
            Ok(frame(200, &json!({ "id": record }), &json!([])))
        }
        _ => Err("no such call".into()),
    }
}

#[tokio::test]
async fn it_does_what_every_provider_must() {
    all(&CASE).await;
}

#[tokio::test]
async fn an_internationalized_name_is_known_in_unicode() {
    let running = Running::start(answer);
    running.world().add_zone("xn--bcher-kva.example", false);
    let provider = (CASE.provider)(&running.hosted);
    let name = "_acme-challenge.xn--bcher-kva.example";
    let record = record("xn--bcher-kva.example", name, "v");
    provider.present(&record).await.unwrap();
    provider.present(&record).await.unwrap();
    assert_eq!(running.world().at(name).len(), 1);
    provider.clean_up(&record).await.unwrap();
    assert!(running.world().at(name).is_empty());
    assert_eq!(running.world().writes(), 2);
    running.assert_documented();
}

#[tokio::test]
async fn a_key_goes_with_the_address_of_its_account() {
    let running = Running::start(answer);
    running.world().add_zone("example.com", false);
    let given = given(&[("cloudflare.apiKeySecretRef", "k3y\n")]);
    let provider = provider(&running.hosted, Some(" ops@example.com"), &given).unwrap();
    let record = record("example.com", "_acme-challenge.example.com", "v");
    provider.present(&record).await.unwrap();
    provider.clean_up(&record).await.unwrap();
    running.assert_documented();
}

#[tokio::test]
async fn what_others_did_first_is_no_failure() {
    let running = Running::start(answer);
    running.world().add_zone("example.com", false);
    let provider = (CASE.provider)(&running.hosted);
    let name = "_acme-challenge.example.com";
    let record = record("example.com", name, "v");
    running.world().before_write.push(Box::new(move |world| {
        world.add("example.com", name, "\"v\"", 60);
    }));
    provider.present(&record).await.unwrap();
    running.world().before_write.push(Box::new(|world| {
        world.public("example.com").unwrap().records.clear();
    }));
    provider.clean_up(&record).await.unwrap();
    running.assert_documented();
}

#[tokio::test]
async fn success_false_is_a_failure_with_any_status() {
    let running = Running::start(answer);
    let provider = (CASE.provider)(&running.hosted);
    let errors = json!([{ "code": 1000, "message": "Not this time" }]);
    let body = json!({ "success": false, "errors": errors, "result": null });
    running.world().fault = Some(Answer::json(200, &body));
    let record = record("example.com", "_acme-challenge.example.com", "v");
    let error = provider.present(&record).await.unwrap_err();
    assert_eq!(
        error.text,
        "Cloudflare: cannot list zones: Not this time (1000)"
    );
    assert_eq!(error.class, Class::Permanent);
}

#[test]
fn credentials_that_cannot_be_are_refused_without_being_shown() {
    let running = Running::start(answer);
    for (email, secrets, word) in [
        (None, vec![], "neither"),
        (
            None,
            vec![("cloudflare.apiKeySecretRef", "k")],
            "cloudflare.email",
        ),
        (
            Some("a@b.c"),
            vec![
                ("cloudflare.apiKeySecretRef", "k"),
                ("cloudflare.apiTokenSecretRef", "t"),
            ],
            "both",
        ),
        (
            None,
            vec![("cloudflare.apiTokenSecretRef", "hunter2\nhunter3")],
            "apiTokenSecretRef",
        ),
        (
            None,
            vec![("cloudflare.apiTokenSecretRef", "hunter2 hunter3")],
            "apiTokenSecretRef",
        ),
        (
            None,
            vec![("cloudflare.apiTokenSecretRef", "hunter2\u{fc}")],
            "apiTokenSecretRef",
        ),
        (
            None,
            vec![("cloudflare.apiTokenSecretRef", " ")],
            "apiTokenSecretRef",
        ),
    ] {
        let error = provider(&running.hosted, email, &given(&secrets))
            .map(drop)
            .unwrap_err();
        assert_eq!(error.class, Class::Permanent);
        assert!(error.text.contains(word), "{error}");
        assert!(!error.text.contains("hunter"), "{error}");
    }
}
