//! Cloud DNS. Documents: "Cloud DNS API v1: managedZones.list", "resourceRecordSets.list", "changes.create"; "Using OAuth
//! 2.0 for Server to Server Applications"; "View and query VM metadata".

use std::sync::Arc;

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::super::Hosted;
use super::scenarios::{all, record};
use super::server::{
    Answer, Case, Running, Sent, World, Zone, ambient, given, local, now, pass, start,
};
use crate::api::dns01::{CloudDns, Dns01Solver};
use crate::pki::{KeyAlgorithm, KeyEncoding, PrivateKey};
use crate::solvers::dns01::{Class, Error, Given, Provider};

const EMAIL: &str = "dns@shop.iam.gserviceaccount.com";
const NAME: &str = "_acme-challenge.a.example.com";

static CASE: Case = Case {
    handler: answer,
    provider: |hosted| provider(hosted, None, &account()).unwrap(),
    ttl: 60,
    raw: |value| format!("\"{value}\""),
    conditional: true,
    secrets: &["ya29.", "PRIVATE KEY"],
};

/// One for all tests: it takes a while to make.
static KEY: Mutex<Option<Arc<PrivateKey>>> = Mutex::new(None);

fn key() -> Arc<PrivateKey> {
    let made = || Arc::new(PrivateKey::generate(KeyAlgorithm::Rsa { bits: 2048 }).unwrap());
    Arc::clone(KEY.lock().get_or_insert_with(made))
}

fn key_file() -> Value {
    let pem = key().to_pem(KeyEncoding::Pkcs8).unwrap();
    json!({
        "type": "service_account",
        "project_id": "shop",
        "private_key_id": "k1",
        "private_key": pem.as_str(),
        "client_email": EMAIL,
        "token_uri": "https://oauth2.googleapis.com/token",
    })
}

fn account() -> Given {
    given(&[("cloudDNS.serviceAccountSecretRef", &key_file().to_string())])
}

fn provider(
    hosted: &Arc<Hosted>,
    zone: Option<&str>,
    given: &Given,
) -> Result<Box<dyn Provider>, Error> {
    let solver = Dns01Solver {
        cloud_dns: Some(CloudDns {
            project: "shop".into(),
            hosted_zone_name: zone.map(str::to_owned),
            ..CloudDns::default()
        }),
        ..Dns01Solver::default()
    };
    hosted.provider(&solver, given).unwrap()
}

fn complaint(status: u16, reason: &str, message: &str) -> Answer {
    let errors = json!([{ "message": message, "domain": "global", "reason": reason }]);
    Answer::json(
        status,
        &json!({ "error": { "code": status, "message": message, "errors": errors } }),
    )
}

fn answer(world: &mut World, sent: &Sent) -> Result<Answer, String> {
    match sent.host.as_str() {
        "oauth2.googleapis.com" => token(world, sent),
        "dns.googleapis.com" => dns(world, sent),
        _ => Err("another host".into()),
    }
}

fn token(world: &mut World, sent: &Sent) -> Result<Answer, String> {
    let form = sent.form()?;
    if form["grant_type"] != "urn:ietf:params:oauth:grant-type:jwt-bearer" || sent.path != "/token"
    {
        return Err("another grant".into());
    }
    let (signed, signature) = form["assertion"].rsplit_once('.').ok_or("no JWT")?;
    let public =
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key().public_key_der().to_vec());
    let signature = URL_SAFE_NO_PAD
        .decode(signature)
        .map_err(|error| error.to_string())?;
    public
        .verify(signed.as_bytes(), &signature)
        .map_err(|_| "another signature")?;
    let part = |index: usize| -> Value {
        let part = signed.split('.').nth(index).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    };
    if part(0) != json!({ "alg": "RS256", "typ": "JWT", "kid": "k1" }) {
        return Err(format!("another header: {}", part(0)));
    }
    let claims = part(1);
    let life = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
    let scope = "https://www.googleapis.com/auth/ndev.clouddns.readwrite";
    if claims["iss"] != EMAIL || claims["scope"] != scope || life != 3600 {
        return Err(format!("other claims: {claims}"));
    }
    if claims["aud"] != "https://oauth2.googleapis.com/token"
        || claims["iat"].as_i64() < Some(start().as_second())
    {
        return Err(format!("other claims: {claims}"));
    }
    if world.revoked {
        let body =
            json!({ "error": "invalid_grant", "error_description": "Invalid JWT Signature." });
        return Ok(Answer::json(400, &body));
    }
    world.logins += 1;
    let token = format!("ya29.{}", world.logins);
    Ok(Answer::json(
        200,
        &json!({ "access_token": token, "expires_in": 3599, "token_type": "Bearer" }),
    ))
}

fn dns(world: &mut World, sent: &Sent) -> Result<Answer, String> {
    if world.revoked || sent.header("authorization") != format!("Bearer ya29.{}", world.logins) {
        let message = "Request had invalid authentication credentials.";
        return Ok(complaint(401, "authError", message));
    }
    let page_size = world.page;
    let start: usize = sent.field("pageToken").parse().unwrap_or_default();
    let page = |name: &str, all: &[Value]| {
        let mut body = json!({ "kind": "dns#list" });
        if !all.is_empty() {
            body[name] = json!(all[start..all.len().min(start + page_size)]);
        }
        if start + page_size < all.len() {
            body["nextPageToken"] = json!((start + page_size).to_string());
        }
        Answer::json(200, &body)
    };
    let parts = sent.parts();
    let parts: Vec<_> = parts.iter().map(String::as_str).collect();
    let ["dns", "v1", "projects", "shop", "managedZones", rest @ ..] = parts.as_slice() else {
        return Err("no such call".into());
    };
    if let ("GET", []) = (sent.method.as_str(), rest) {
        let name = sent
            .field("dnsName")
            .strip_suffix('.')
            .ok_or("a name without its dot")?;
        let zones = world.zones.iter().filter(|zone| zone.name == name);
        let zones: Vec<_> = zones
            .map(|zone| {
                let visibility = if zone.private { "private" } else { "public" };
                json!({ "name": zone.id, "dnsName": format!("{}.", zone.name), "visibility": visibility })
            })
            .collect();
        return Ok(page("managedZones", &zones));
    }
    let [id, what] = rest else {
        return Err("no such call".into());
    };
    let Some(zone) = world.zone(id) else {
        let message = format!("The 'parameters.managedZone' resource named '{id}' does not exist.");
        return Ok(complaint(404, "notFound", &message));
    };
    match (sent.method.as_str(), *what) {
        ("GET", "rrsets") => {
            if sent.field("type") != "TXT" {
                return Err("no type".into());
            }
            let name = sent
                .field("name")
                .strip_suffix('.')
                .ok_or("a name without its dot")?;
            let set = zone.set(name);
            let raws: Vec<_> = set.iter().map(|txt| &txt.raw).collect();
            let sets: Vec<_> = set
                .first()
                .map(|txt| json!({ "name": format!("{name}."), "type": "TXT", "ttl": txt.ttl, "rrdatas": raws }))
                .into_iter()
                .collect();
            Ok(page("rrsets", &sets))
        }
        ("POST", "changes") => change(zone, sent),
        _ => Err("no such call".into()),
    }
}

/// Deletions first, then additions, all or none.
fn change(zone: &mut Zone, sent: &Sent) -> Result<Answer, String> {
    let body = sent.json()?;
    let sets = |name: &str| body[name].as_array().cloned().ok_or(format!("no {name}"));
    let mut after = zone.clone();
    let read = |set: &Value| {
        let raws = set["rrdatas"].as_array().unwrap().iter();
        let raws: Vec<_> = raws.map(|raw| raw.as_str().unwrap().to_owned()).collect();
        assert!(
            raws.iter()
                .all(|raw| raw.starts_with('"') && raw.ends_with('"'))
        );
        assert_eq!(set["type"], "TXT");
        let name = set["name"]
            .as_str()
            .unwrap()
            .strip_suffix('.')
            .unwrap()
            .to_owned();
        (name, set["ttl"].as_u64().unwrap(), raws)
    };
    for set in &sets("deletions")? {
        let (name, ttl, raws) = read(set);
        let there = after.set(&name);
        let now: Vec<_> = there.iter().map(|txt| txt.raw.clone()).collect();
        if there.is_empty() {
            let message = format!(
                "The 'entity.change.deletions[0]' resource named '{name}. (TXT)' does not exist."
            );
            return Ok(complaint(404, "notFound", &message));
        }
        if now != raws || there[0].ttl != ttl {
            return Ok(complaint(
                412,
                "conditionNotMet",
                "Precondition not met for 'entity.change.deletions[0]'",
            ));
        }
        after.replace(&name, ttl, &[]);
    }
    for set in &sets("additions")? {
        let (name, ttl, raws) = read(set);
        if !after.set(&name).is_empty() {
            let message = format!(
                "The resource 'entity.change.additions[0]' named '{name}. (TXT)' already exists"
            );
            return Ok(complaint(409, "alreadyExists", &message));
        }
        after.replace(&name, ttl, &raws);
    }
    *zone = after;
    Ok(Answer::json(
        200,
        &json!({ "kind": "dns#change", "id": "1", "status": "pending" }),
    ))
}

async fn there_and_back(provider: &dyn Provider) -> Result<(), Error> {
    let record = record("example.com", NAME, "v");
    provider.present(&record).await?;
    provider.clean_up(&record).await
}

fn running() -> Running {
    let running = Running::start(answer);
    running.world().add_zone("example.com", false);
    running
}

#[tokio::test]
async fn it_does_what_every_provider_must() {
    all(&CASE).await;
}

#[tokio::test]
async fn a_token_is_lent_once_until_shortly_before_it_ends() {
    let running = running();
    let provider = || provider(&running.hosted, None, &account()).unwrap();
    there_and_back(&*provider()).await.unwrap();
    there_and_back(&*provider()).await.unwrap();
    assert_eq!(running.world().logins, 1);
    pass(3599 - 119);
    there_and_back(&*provider()).await.unwrap();
    assert_eq!(running.world().logins, 2);
    // It is not taken any more: another is lent, once.
    running.world().logins += 1;
    there_and_back(&*provider()).await.unwrap();
    assert_eq!(running.world().logins, 4);
    running.assert_documented();
}

#[tokio::test]
async fn a_managed_zone_that_is_named_is_not_looked_for() {
    let running = running();
    let id = running.world().zones[0].id.clone();
    there_and_back(&*provider(&running.hosted, Some(&id), &account()).unwrap())
        .await
        .unwrap();
    assert!(
        running
            .world()
            .sent
            .iter()
            .all(|sent| !sent.path.ends_with("/managedZones"))
    );
    let gone = provider(&running.hosted, Some("gone"), &account()).unwrap();
    let error = there_and_back(&*gone).await.unwrap_err();
    assert!(error.text.contains("does not exist"), "{error}");
    running.assert_documented();
}

#[tokio::test]
async fn too_many_calls_may_be_forbidden_there() {
    let running = running();
    running.world().fault = Some(complaint(403, "rateLimitExceeded", "Rate Limit Exceeded"));
    let error = there_and_back(&*(CASE.provider)(&running.hosted))
        .await
        .unwrap_err();
    assert!(
        matches!(error.class, Class::RateLimited { until } if until > now()),
        "{error}"
    );
}

fn machine(world: &mut World, sent: &Sent) -> Result<Answer, String> {
    world.logins += 1;
    if sent.header("metadata-flavor") != "Google" {
        return Ok(Answer::new(403, ""));
    }
    if sent.path != "/computeMetadata/v1/instance/service-accounts/default/token" {
        return Ok(Answer::new(404, "").with("metadata-flavor", "Google"));
    }
    let body = json!({ "access_token": "ya29.0", "expires_in": 3000, "token_type": "Bearer" });
    Ok(Answer::json(200, &body).with("metadata-flavor", "Google"))
}

#[tokio::test]
async fn what_the_operator_has_is_used_if_it_may() {
    let (url, metadata) = local(machine);
    let host = url.trim_start_matches("http://");
    let running = running();
    let own = ambient(&[("GCE_METADATA_HOST", host)]);
    let own = provider(&running.hosted, None, &own).unwrap();
    there_and_back(&*own).await.unwrap();
    there_and_back(&*own).await.unwrap();
    assert_eq!((metadata.lock().logins, running.world().logins), (1, 0));
    // A key file of the operator's comes before.
    let path = std::env::temp_dir().join(format!("everleaf-google-{}", std::process::id()));
    std::fs::write(&path, key_file().to_string()).unwrap();
    let running = self::running();
    let file = [
        ("GCE_METADATA_HOST", host),
        ("GOOGLE_APPLICATION_CREDENTIALS", path.to_str().unwrap()),
    ];
    there_and_back(&*provider(&running.hosted, None, &ambient(&file)).unwrap())
        .await
        .unwrap();
    assert_eq!((metadata.lock().logins, running.world().logins), (1, 1));
    std::fs::remove_file(path).unwrap();
    let error = provider(&running.hosted, None, &given(&[]))
        .map(drop)
        .unwrap_err();
    assert!(
        error.text.contains("--issuer-ambient-credentials"),
        "{error}"
    );
    running.assert_documented();
}

/// Somebody else at the address of the metadata server.
fn impostor(_: &mut World, _: &Sent) -> Result<Answer, String> {
    Ok(Answer::json(
        200,
        &json!({ "access_token": "ya29.0", "expires_in": 3000 }),
    ))
}

#[tokio::test]
async fn only_googles_metadata_server_is_believed() {
    let (url, _) = local(impostor);
    let running = running();
    let own = ambient(&[("GCE_METADATA_HOST", url.trim_start_matches("http://"))]);
    let own = provider(&running.hosted, None, &own).unwrap();
    let error = there_and_back(&*own).await.unwrap_err();
    assert_eq!(error.class, Class::Transient);
    assert!(running.world().sent.is_empty());
}

#[test]
fn a_key_file_that_does_not_do_is_not_shown() {
    let running = Running::start(answer);
    let with = |name: &str, value: Value| {
        let mut file = key_file();
        file[name] = value;
        file.to_string()
    };
    for (file, word) in [
        ("hunter2".to_owned(), "is no JSON key"),
        (
            with("type", json!("external_account")),
            "type service_account",
        ),
        (with("private_key", json!("hunter2")), "private_key"),
        (with("client_email", json!("")), "client_email"),
        (
            with("token_uri", json!("http://169.254.169.254/hunter2")),
            "token_uri",
        ),
    ] {
        let given = given(&[("cloudDNS.serviceAccountSecretRef", &file)]);
        let error = provider(&running.hosted, None, &given)
            .map(drop)
            .unwrap_err();
        assert_eq!(error.class, Class::Permanent);
        assert!(
            error.text.contains(word) && error.text.contains("serviceAccountSecretRef"),
            "{error}"
        );
        assert!(
            !error.text.contains("hunter2") && !error.text.contains("PRIVATE"),
            "{error}"
        );
    }
}
