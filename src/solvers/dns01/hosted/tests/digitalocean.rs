//! `DigitalOcean`. Documents: "`DigitalOcean` API: Retrieve an Existing Domain", "List All Domain Records" (name and type
//! filter, `per_page` up to 200, `links.pages.next`), "Create a New Domain Record", "Delete a Domain Record".

use std::sync::Arc;

use serde_json::json;

use super::super::Hosted;
use super::scenarios::all;
use super::server::{Answer, Case, Sent, Txt, World, given};
use crate::api::dns01::{DigitalOcean, Dns01Solver};
use crate::solvers::dns01::Provider;

const TOKEN: &str = "dop_v1_0123456789abcdef";

static CASE: Case = Case {
    handler: answer,
    provider,
    ttl: 60,
    raw: str::to_owned,
    conditional: false,
    secrets: &[TOKEN],
};

fn provider(hosted: &Arc<Hosted>) -> Box<dyn Provider> {
    let solver = Dns01Solver {
        digitalocean: Some(DigitalOcean::default()),
        ..Dns01Solver::default()
    };
    let given = given(&[("digitalocean.tokenSecretRef", TOKEN)]);
    hosted.provider(&solver, &given).unwrap().unwrap()
}

/// With a `request_id`, which is another one each time.
fn complaint(world: &mut World, status: u16, id: &str, message: &str) -> Answer {
    let request = format!("3c0b4a1e-1111-4c4f-8f3c-{:012}", world.next());
    Answer::json(
        status,
        &json!({ "id": id, "message": message, "request_id": request }),
    )
}

fn answer(world: &mut World, sent: &Sent) -> Result<Answer, String> {
    if sent.host != "api.digitalocean.com" {
        return Err("another host".into());
    }
    if world.revoked || sent.header("authorization") != format!("Bearer {TOKEN}") {
        return Ok(complaint(
            world,
            401,
            "unauthorized",
            "Unable to authenticate you",
        ));
    }
    let parts = sent.parts();
    let parts: Vec<_> = parts.iter().map(String::as_str).collect();
    let ["v2", "domains", domain, rest @ ..] = parts.as_slice() else {
        return Err("no such call".into());
    };
    let serial = world.next();
    let page_size = world.page;
    let Some(zone) = world.public(domain) else {
        let message = "The resource you were accessing could not be found.";
        return Ok(complaint(world, 404, "not_found", message));
    };
    let relative = |name: &str| match name.strip_suffix(domain) {
        Some("") => "@".to_owned(),
        Some(name) => name.trim_end_matches('.').to_owned(),
        None => panic!("{name} is not in {domain}"),
    };
    let entry = |txt: &Txt| json!({ "id": txt.id, "type": "TXT", "name": relative(&txt.name), "data": txt.raw, "ttl": txt.ttl });
    match (sent.method.as_str(), rest) {
        ("GET", []) => Ok(Answer::json(
            200,
            &json!({ "domain": { "name": domain, "ttl": 1800 } }),
        )),
        ("GET", ["records"]) => {
            if sent.field("type") != "TXT" || sent.field("per_page") != "200" {
                return Err("another filter".into());
            }
            // A fully qualified name.
            let found: Vec<_> = zone.set(sent.field("name")).iter().map(entry).collect();
            let page: usize = sent.field("page").parse().map_err(|_| "no page")?;
            let pages: Vec<_> = found.chunks(page_size).collect();
            let mut links = json!({});
            if page < pages.len() {
                let next = format!("https://evil.example.net/?page={}", page + 1);
                links = json!({ "pages": { "next": next, "last": next } });
            }
            let records = pages.get(page - 1).copied().unwrap_or_default();
            let meta = json!({ "total": found.len() });
            Ok(Answer::json(
                200,
                &json!({ "domain_records": records, "links": links, "meta": meta }),
            ))
        }
        ("POST", ["records"]) => {
            let body = sent.json()?;
            let text = |name: &str| body[name].as_str().unwrap_or_default();
            if text("type") != "TXT" || text("name").ends_with(domain) {
                return Err("the name is relative, the type TXT".into());
            }
            let name = match text("name") {
                "@" => (*domain).to_owned(),
                name => format!("{name}.{domain}"),
            };
            let made = Txt {
                id: serial,
                name,
                raw: text("data").to_owned(),
                ttl: body["ttl"]
                    .as_u64()
                    .filter(|ttl| *ttl >= 30)
                    .ok_or("no ttl")?,
                ..Txt::default()
            };
            let answer = Answer::json(201, &json!({ "domain_record": entry(&made) }));
            zone.records.push(made);
            Ok(answer)
        }
        ("DELETE", ["records", id]) => {
            let count = zone.records.len();
            zone.records.retain(|txt| txt.id.to_string() != *id);
            if zone.records.len() == count {
                return Ok(complaint(
                    world,
                    404,
                    "not_found",
                    "The resource could not be found.",
                ));
            }
            Ok(Answer::new(204, ""))
        }
        _ => Err("no such call".into()),
    }
}

#[tokio::test]
async fn it_does_what_every_provider_must() {
    all(&CASE).await;
}
