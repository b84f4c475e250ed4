//! Akamai. Documents: "Edge DNS Zone Management API v2: Get a zone", "Get a record set", "Create a record set",
//! "Update a record set", "Delete a record set", "Authenticate with `EdgeGrid`".

use std::sync::Arc;

use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::join_all;
use serde_json::{Value, json};

use super::super::Hosted;
use super::scenarios::all;
use super::server::{Answer, Case, Running, Sent, World, given, start};
use crate::api::dns01::{Akamai, Dns01Solver};
use crate::solvers::dns01::{Class, Error, Provider};

const HOST: &str = "akab-1.luna.akamaiapis.net";
const SECRET: &str = "c11ents3cret=";

static CASE: Case = Case {
    handler: answer,
    provider: |hosted| provider(hosted, HOST).unwrap(),
    ttl: 300,
    raw: |value| format!("\"{value}\""),
    conditional: false,
    secrets: &[SECRET, "akab-access", "akab-client"],
};

fn provider(hosted: &Arc<Hosted>, host: &str) -> Result<Box<dyn Provider>, Error> {
    let solver = Dns01Solver {
        akamai: Some(Akamai {
            service_consumer_domain: host.to_owned(),
            ..Akamai::default()
        }),
        ..Dns01Solver::default()
    };
    let given = given(&[
        ("akamai.clientTokenSecretRef", "akab-client"),
        ("akamai.clientSecretSecretRef", SECRET),
        ("akamai.accessTokenSecretRef", "akab-access"),
    ]);
    hosted.provider(&solver, &given).unwrap()
}

/// The signature, made anew from what came.
fn verify(sent: &Sent) -> Result<(), String> {
    let header = sent.header("authorization");
    let (unsigned, signature) = header.split_once("signature=").ok_or("no signature")?;
    let fields = unsigned
        .strip_prefix("EG1-HMAC-SHA256 ")
        .ok_or("another algorithm")?;
    let field = |name: &str| {
        let found = fields
            .split(';')
            .find_map(|field| field.strip_prefix(&format!("{name}=")));
        found.ok_or_else(|| format!("no {name}"))
    };
    if (field("client_token")?, field("access_token")?) != ("akab-client", "akab-access") {
        return Err("another client".into());
    }
    let time = field("timestamp")?;
    let day = start().strftime("%Y%m%dT").to_string();
    let is_time = time.starts_with(&day) && time.ends_with("+0000") && time.len() == 22;
    if !is_time || field("nonce")?.len() < 16 {
        return Err("another time, or no nonce".into());
    }
    let mac = |key: &[u8], data: &str| {
        STANDARD.encode(hmac::sign(
            &hmac::Key::new(hmac::HMAC_SHA256, key),
            data.as_bytes(),
        ))
    };
    let hash = match sent.method.as_str() {
        "POST" => STANDARD.encode(digest::digest(&digest::SHA256, sent.body.as_bytes())),
        _ => String::new(),
    };
    let target = match sent.raw_query.as_str() {
        "" => sent.path.clone(),
        query => format!("{}?{query}", sent.path),
    };
    let data = [
        sent.method.as_str(),
        "https",
        sent.host.as_str(),
        target.as_str(),
        "",
        hash.as_str(),
        unsigned,
    ]
    .join("\t");
    let key = mac(SECRET.as_bytes(), time);
    if mac(key.as_bytes(), &data) == signature {
        Ok(())
    } else {
        Err("another signature".into())
    }
}

fn problem(world: &mut World, status: u16, title: &str) -> Answer {
    let instance = format!("3c0b4a1e-1111-4c4f-8f3c-{:012}", world.next());
    Answer::json(
        status,
        &json!({ "type": "https://problems.luna.akamaiapis.net/", "title": title, "detail": title, "status": status,
                 "instance": instance, "requestId": instance }),
    )
}

fn answer(world: &mut World, sent: &Sent) -> Result<Answer, String> {
    if sent.host != HOST {
        return Err("another host".into());
    }
    verify(sent)?;
    if world.revoked {
        return Ok(problem(world, 401, "Not authorized"));
    }
    let parts = sent.parts();
    let parts: Vec<_> = parts.iter().map(String::as_str).collect();
    let ["config-dns", "v2", "zones", zone_name, rest @ ..] = parts.as_slice() else {
        return Err("no such call".into());
    };
    let Some(zone) = world.public(zone_name) else {
        return Ok(problem(world, 404, "Zone not found"));
    };
    let method = sent.method.as_str();
    let name = match rest {
        [] if method == "GET" => {
            let kind = if zone.id == "SECONDARY" {
                "SECONDARY"
            } else {
                "PRIMARY"
            };
            return Ok(Answer::json(
                200,
                &json!({ "zone": zone_name, "type": kind }),
            ));
        }
        ["names", name, "types", "TXT"] if name.ends_with(zone_name) => *name,
        _ => return Err("no such call".into()),
    };
    let set = zone.set(name);
    match method {
        "GET" | "PUT" | "DELETE" if set.is_empty() => {
            Ok(problem(world, 404, "Record set not found"))
        }
        "GET" => {
            let rdata: Vec<_> = set.iter().map(|txt| &txt.raw).collect();
            Ok(Answer::json(
                200,
                &json!({ "name": name, "type": "TXT", "ttl": set[0].ttl, "rdata": rdata }),
            ))
        }
        "DELETE" => {
            zone.replace(name, 0, &[]);
            Ok(Answer::new(204, ""))
        }
        "POST" if !set.is_empty() => Ok(problem(world, 409, "Record set already exists")),
        "POST" | "PUT" => {
            let body = sent.json()?;
            let rdata = body["rdata"].as_array().ok_or("no rdata")?;
            let raws: Vec<_> = rdata
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect();
            let quoted = raws
                .iter()
                .all(|raw| raw.starts_with('"') && raw.ends_with('"'));
            if body["name"] != name || body["type"] != "TXT" || raws.is_empty() || !quoted {
                return Err("no record set".into());
            }
            zone.replace(name, body["ttl"].as_u64().ok_or("no ttl")?, &raws);
            let status = if method == "POST" { 201 } else { 200 };
            Ok(Answer::json(status, &body))
        }
        _ => Err("no such call".into()),
    }
}

#[tokio::test]
async fn it_does_what_every_provider_must() {
    all(&CASE).await;
}

/// Or a value that was read back already could go with the write of another that has read before it.
#[tokio::test]
async fn writes_to_one_name_wait_for_each_other() {
    let running = Running::start(answer);
    running.world().add_zone("example.com", false);
    let provider = (CASE.provider)(&running.hosted);
    let name = "_acme-challenge.example.com";
    let values = ["a", "b", "c", "d"];
    let records = values.map(|value| super::scenarios::record("example.com", name, value));
    let done = join_all(records.iter().map(|record| provider.present(record))).await;
    assert!(done.iter().all(Result::is_ok), "{done:?}");
    assert_eq!(running.world().at(name).len(), 4);
    assert_eq!(running.world().writes(), 4);
    running.assert_documented();
}

#[tokio::test]
async fn a_secondary_zone_is_written_elsewhere() {
    let running = Running::start(answer);
    running.world().add_zone("example.com", false);
    running.world().zones[0].id = "SECONDARY".into();
    let record = super::scenarios::record("example.com", "_acme-challenge.example.com", "v");
    let error = (CASE.provider)(&running.hosted)
        .present(&record)
        .await
        .unwrap_err();
    assert_eq!(error.class, Class::Permanent);
    assert!(error.text.contains("not a primary"), "{error}");
    running.assert_documented();
}

#[test]
fn the_host_is_a_host() {
    let running = Running::start(answer);
    for host in [
        HOST,
        "https://akab-1.luna.akamaiapis.net/",
        " AKAB-1.luna.akamaiapis.net",
    ] {
        assert!(provider(&running.hosted, host).is_ok(), "{host}");
    }
    for host in ["", "a/b", "a?b", "u@a", "a:80", "http://a"] {
        let error = provider(&running.hosted, host).map(drop).unwrap_err();
        assert!(
            error.text.contains("akamai.serviceConsumerDomain"),
            "{error}"
        );
    }
}
