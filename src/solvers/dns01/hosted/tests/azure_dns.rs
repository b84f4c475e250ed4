//! Azure DNS. Documents: "Azure DNS REST API: Zones - Get", "Record Sets - Get", "Record Sets - Create Or Update", "Record
//! Sets - Delete"; "Private DNS REST API", the same; "Microsoft identity platform and the OAuth 2.0 client credentials
//! flow"; "How to use managed identities for Azure resources on an Azure VM to acquire an access token".

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::Hosted;
use super::scenarios::{all, record};
use super::server::{Answer, Case, Running, Sent, Txt, World, Zone, ambient, given, local};
use crate::api::dns01::{AzureDns, AzureManagedIdentity, Dns01Solver};
use crate::net::hex;
use crate::solvers::dns01::{Class, Error, Given, Provider};

const SECRET: &str = "cl13nt~s3cret";
const NAME: &str = "_acme-challenge.a.example.com";

static CASE: Case = Case {
    handler: answer,
    provider: |hosted| provider(hosted, spec(), &password()).unwrap(),
    ttl: 60,
    raw: str::to_owned,
    conditional: true,
    secrets: &[SECRET, "eyJ0"],
};

static PRIVATE: Case = Case {
    handler: answer,
    provider: |hosted| {
        let spec = AzureDns {
            zone_type: Some("AzurePrivateZone".into()),
            ..spec()
        };
        provider(hosted, spec, &password()).unwrap()
    },
    ttl: 60,
    raw: str::to_owned,
    conditional: true,
    secrets: &[SECRET, "eyJ0"],
};

fn spec() -> AzureDns {
    AzureDns {
        client_id: Some("c1".into()),
        tenant_id: Some("t1".into()),
        subscription_id: "s1".into(),
        resource_group_name: "dns (prod)".into(),
        ..AzureDns::default()
    }
}

fn password() -> Given {
    given(&[("azureDNS.clientSecretSecretRef", "cl13nt~s3cret\n")])
}

fn provider(
    hosted: &Arc<Hosted>,
    spec: AzureDns,
    given: &Given,
) -> Result<Box<dyn Provider>, Error> {
    let solver = Dns01Solver {
        azure_dns: Some(spec),
        ..Dns01Solver::default()
    };
    hosted.provider(&solver, given).unwrap()
}

fn answer(world: &mut World, sent: &Sent) -> Result<Answer, String> {
    match sent.host.as_str() {
        "login.microsoftonline.com" => token(world, sent, "https://management.azure.com"),
        "login.chinacloudapi.cn" => token(world, sent, "https://management.chinacloudapi.cn"),
        "management.azure.com" | "management.chinacloudapi.cn" => manage(world, sent),
        _ => Err("another host".into()),
    }
}

fn token(world: &mut World, sent: &Sent, management: &str) -> Result<Answer, String> {
    let form = sent.form()?;
    let field = |name: &str| form.get(name).map_or("", String::as_str);
    let scope = format!("{management}/.default");
    if field("grant_type") != "client_credentials" || field("scope") != scope {
        return Err("another grant".into());
    }
    let assertion = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    let by_secret = sent.path == "/t1/oauth2/v2.0/token"
        && (field("client_id"), field("client_secret")) == ("c1", SECRET);
    let by_token = sent.path == "/t2/oauth2/v2.0/token"
        && (field("client_id"), field("client_assertion_type")) == ("c2", assertion)
        && field("client_assertion") == "e30.e30.c2ln";
    if world.revoked || !(by_secret || by_token) {
        let trace = format!("3c0b4a1e-1111-4c4f-8f3c-{:012}", world.next());
        let said = format!(
            "AADSTS7000215: Invalid client secret provided. Trace ID: {trace} Correlation ID: {trace} Timestamp: \
             2026-01-01 00:00:{:02}Z",
            world.next()
        );
        let body = json!({ "error": "invalid_client", "error_description": said, "error_codes": [7_000_215],
                           "trace_id": trace });
        return Ok(Answer::json(401, &body));
    }
    world.logins += 1;
    let token = format!("eyJ0{}", world.logins);
    Ok(Answer::json(
        200,
        &json!({ "token_type": "Bearer", "expires_in": 3599, "access_token": token }),
    ))
}

fn complaint(status: u16, code: &str, message: &str) -> Answer {
    Answer::json(
        status,
        &json!({ "error": { "code": code, "message": message } }),
    )
}

/// It changes with what is there.
fn etag(set: &[Txt]) -> String {
    let text = format!("{set:?}");
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    hex(&digest.as_ref()[..8])
}

fn manage(world: &mut World, sent: &Sent) -> Result<Answer, String> {
    if world.revoked || sent.header("authorization") != format!("Bearer eyJ0{}", world.logins) {
        return Ok(complaint(
            401,
            "ExpiredAuthenticationToken",
            "The access token expiry is over.",
        ));
    }
    let parts = sent.parts();
    let parts: Vec<_> = parts.iter().map(String::as_str).collect();
    let [
        "subscriptions",
        "s1",
        "resourceGroups",
        "dns (prod)",
        "providers",
        "Microsoft.Network",
        kind,
        zone_name,
        rest @ ..,
    ] = parts.as_slice()
    else {
        return Err("no such call".into());
    };
    let (version, ttl_name, records_name) = match *kind {
        "dnsZones" => ("2018-05-01", "TTL", "TXTRecords"),
        "privateDnsZones" => ("2020-06-01", "ttl", "txtRecords"),
        _ => return Err("no such zones".into()),
    };
    if sent.field("api-version") != version {
        return Err("another version".into());
    }
    let Some(zone) = world.public(zone_name) else {
        let message =
            format!("The Resource '{zone_name}' under resource group 'dns (prod)' was not found.");
        return Ok(complaint(404, "ResourceNotFound", &message));
    };
    let method = sent.method.as_str();
    let name = match rest {
        [] if method == "GET" => {
            let id = format!("/subscriptions/s1/{zone_name}");
            return Ok(Answer::json(200, &json!({ "id": id, "name": zone_name })));
        }
        ["TXT", "@"] => (*zone_name).to_owned(),
        ["TXT", name] if !name.ends_with(zone_name) => format!("{name}.{zone_name}"),
        _ => return Err("no such call".into()),
    };
    record_set(zone, &name, sent, (ttl_name, records_name))
}

/// The record set of a name; how its fields are called is the zone's affair.
fn record_set(
    zone: &mut Zone,
    name: &str,
    sent: &Sent,
    (ttl_name, records_name): (&str, &str),
) -> Result<Answer, String> {
    let method = sent.method.as_str();
    let set = zone.set(name);
    let entry = |set: &[Txt]| {
        let records: Vec<_> = set
            .iter()
            .map(|txt| json!({ "value": [txt.raw] }))
            .collect();
        json!({
            "id": "/x", "name": name, "etag": etag(set),
            "properties": {
                "fqdn": format!("{name}."), "provisioningState": "Succeeded", "metadata": { "owner": "them" },
                ttl_name: set[0].ttl, records_name: records,
            },
        })
    };
    if method == "GET" {
        if set.is_empty() {
            return Ok(complaint(
                404,
                "NotFound",
                "The resource record does not exist.",
            ));
        }
        return Ok(Answer::json(200, &entry(&set)));
    }
    let (matches, none) = (sent.header("if-match"), sent.header("if-none-match"));
    let met = match (matches, none) {
        ("", "*") => set.is_empty(),
        (tag, "") if !tag.is_empty() => !set.is_empty() && tag == etag(&set),
        _ => return Err("no condition".into()),
    };
    if !met {
        return Ok(complaint(
            412,
            "PreconditionFailed",
            "The condition '...' in the If-Match header was not satisfied.",
        ));
    }
    match method {
        "DELETE" => {
            zone.replace(name, 0, &[]);
            Ok(Answer::new(200, ""))
        }
        "PUT" => {
            let body = sent.json()?;
            let properties = body["properties"].as_object().ok_or("no properties")?;
            if properties.contains_key("fqdn") || properties.contains_key("provisioningState") {
                return Err("what only the service writes".into());
            }
            if !set.is_empty() && properties["metadata"] != json!({ "owner": "them" }) {
                return Err("the metadata is lost".into());
            }
            let raws: Vec<_> = properties[records_name]
                .as_array()
                .ok_or("no records")?
                .iter()
                .filter_map(|record| Some(record["value"][0].as_str()?.to_owned()))
                .collect();
            zone.replace(name, properties[ttl_name].as_u64().ok_or("no ttl")?, &raws);
            Ok(Answer::json(
                if set.is_empty() { 201 } else { 200 },
                &entry(&zone.set(name)),
            ))
        }
        _ => Err("no such call".into()),
    }
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
async fn private_zones_are_written_likewise() {
    all(&PRIVATE).await;
}

#[tokio::test]
async fn what_microsoft_says_of_a_wrong_password_is_the_same_each_time() {
    let running = running();
    running.world().revoked = true;
    let provider = (CASE.provider)(&running.hosted);
    let error = there_and_back(&*provider).await.unwrap_err();
    assert_eq!(
        error.text,
        "Microsoft Entra: cannot log in: 401 invalid_client AADSTS7000215: Invalid client secret provided.: correct \
         clientID, tenantID and the Secret of dns01.azureDNS.clientSecretSecretRef"
    );
    assert_eq!(there_and_back(&*provider).await.unwrap_err(), error);
}

#[tokio::test]
async fn a_zone_that_is_named_is_not_looked_for() {
    let running = running();
    let spec = |zone: &str| AzureDns {
        hosted_zone_name: Some(zone.into()),
        ..spec()
    };
    let named = provider(&running.hosted, spec("Example.com."), &password()).unwrap();
    there_and_back(&*named).await.unwrap();
    assert!(
        running
            .world()
            .sent
            .iter()
            .all(|sent| !sent.path.ends_with("example.com"))
    );
    let other = provider(&running.hosted, spec("example.net"), &password()).unwrap();
    let error = there_and_back(&*other).await.unwrap_err();
    assert!(error.text.contains("has no zone"), "{error}");
    running.assert_documented();
}

#[tokio::test]
async fn each_cloud_has_hosts_of_its_own() {
    let running = running();
    let spec = |environment: &str| AzureDns {
        environment: Some(environment.into()),
        ..spec()
    };
    let china = provider(&running.hosted, spec("AzureChinaCloud"), &password()).unwrap();
    there_and_back(&*china).await.unwrap();
    assert!(
        running
            .world()
            .sent
            .iter()
            .all(|sent| sent.host.ends_with("chinacloudapi.cn"))
    );
    let error = provider(&running.hosted, spec("AzureMoonCloud"), &password())
        .map(drop)
        .unwrap_err();
    assert!(error.text.contains("AzureUSGovernmentCloud"), "{error}");
    running.assert_documented();
}

/// A role on one zone does not tell of the others.
#[tokio::test]
async fn zones_that_may_not_be_read_are_passed_over() {
    let running = running();
    let denied = complaint(
        403,
        "AuthorizationFailed",
        "does not have authorization to perform action",
    );
    running.world().faults = vec![denied.clone(); 3];
    // The resolver's zone is none of the account's; two longer names come before the zone.
    let record = record("com", NAME, "v");
    (CASE.provider)(&running.hosted)
        .present(&record)
        .await
        .unwrap();
    running.assert_documented();

    let running = self::running();
    running.world().fault = Some(denied);
    let error = (CASE.provider)(&running.hosted)
        .present(&record)
        .await
        .unwrap_err();
    assert_eq!(error.class, Class::Permanent);
    assert!(error.text.contains("DNS Zone Contributor"), "{error}");
    running.assert_documented();
}

/// One who is just writing has done so at the next look; a CNAME stays.
#[tokio::test]
async fn a_conflict_is_looked_at_once_more() {
    let conflict = |message: &str| complaint(409, "Conflict", message);
    let cname = conflict(
        "The record could not be created because a CNAME record with the same name already exists in this zone.",
    );
    let busy = conflict("Another operation is in progress.");
    let record = record("example.com", NAME, "v");
    let meddle = |running: &Running, answers: &[&Answer]| {
        let answers = answers.iter().map(|answer| (*answer).clone());
        running.world().before_write = answers
            .map(|answer| -> Box<dyn FnOnce(&mut World) + Send> {
                Box::new(move |world| world.faults.push(answer))
            })
            .collect();
    };
    let running = running();
    let provider = (CASE.provider)(&running.hosted);
    meddle(&running, &[&busy]);
    provider.present(&record).await.unwrap();
    provider.clean_up(&record).await.unwrap();
    let writes = running.world().writes();
    for (answer, class, word) in [
        (&busy, Class::Transient, "in progress"),
        (&cname, Class::Permanent, "Follow"),
    ] {
        meddle(&running, &[answer, answer]);
        let error = provider.present(&record).await.unwrap_err();
        assert_eq!(error.class, class);
        assert!(error.text.contains(word), "{error}");
    }
    assert_eq!(running.world().writes(), writes + 4);
    running.assert_documented();
}

fn machine(world: &mut World, sent: &Sent) -> Result<Answer, String> {
    world.logins += 1;
    if sent.header("metadata") != "true" || sent.path != "/metadata/identity/oauth2/token" {
        return Ok(Answer::new(400, ""));
    }
    if sent.field("api-version") != "2018-02-01"
        || sent.field("resource") != "https://management.azure.com"
    {
        return Ok(Answer::new(400, ""));
    }
    let known = ["", "c3"].contains(&sent.field("client_id"))
        && ["", "/r"].contains(&sent.field("msi_res_id"));
    if !known {
        let body = json!({ "error": "invalid_request", "error_description": "Identity not found" });
        return Ok(Answer::json(400, &body));
    }
    // Numbers are text there.
    let body: Value = json!({ "access_token": "eyJ00", "expires_in": "3599", "resource": sent.field("resource") });
    Ok(Answer::json(200, &body))
}

#[tokio::test]
async fn what_the_operator_has_is_used_if_it_may() {
    let (url, metadata) = local(machine);
    let machine = ("AZURE_POD_IDENTITY_AUTHORITY_HOST", url.as_str());
    let spec = |client: Option<&str>, resource: Option<&str>| AzureDns {
        client_id: None,
        tenant_id: None,
        managed_identity: Some(AzureManagedIdentity {
            client_id: client.map(str::to_owned),
            resource_id: resource.map(str::to_owned),
            tenant_id: None,
        }),
        ..spec()
    };
    let running = running();
    for (client, resource) in [(None, None), (Some("c3"), None), (None, Some("/r"))] {
        let own = provider(
            &running.hosted,
            spec(client, resource),
            &ambient(&[machine]),
        )
        .unwrap();
        there_and_back(&*own).await.unwrap();
        there_and_back(&*own).await.unwrap();
    }
    assert_eq!((metadata.lock().logins, running.world().logins), (3, 0));
    let other = provider(
        &running.hosted,
        spec(Some("c4"), None),
        &ambient(&[machine]),
    )
    .unwrap();
    let error = there_and_back(&*other).await.unwrap_err();
    assert_eq!(error.class, Class::Permanent);
    assert!(error.text.contains("managedIdentity"), "{error}");

    // Workload identity comes before.
    let path = std::env::temp_dir().join(format!("everleaf-azure-{}", std::process::id()));
    std::fs::write(&path, "e30.e30.c2ln\n").unwrap();
    let workload = ambient(&[
        machine,
        ("AZURE_FEDERATED_TOKEN_FILE", path.to_str().unwrap()),
        ("AZURE_CLIENT_ID", "other"),
        ("AZURE_TENANT_ID", "t2"),
        ("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com/"),
    ]);
    let own = provider(&running.hosted, spec(Some("c2"), None), &workload).unwrap();
    there_and_back(&*own).await.unwrap();
    assert_eq!(running.world().logins, 1);
    std::fs::remove_file(path).unwrap();

    let error = provider(&running.hosted, spec(None, None), &given(&[]))
        .map(drop)
        .unwrap_err();
    assert!(
        error.text.contains("--issuer-ambient-credentials"),
        "{error}"
    );
    running.assert_documented();
}

/// "Error handling" of the metadata service: both are while it is being updated.
#[tokio::test]
async fn a_metadata_service_that_is_updated_is_asked_again() {
    for (status, class) in [
        (404, Class::Transient),
        (410, Class::Transient),
        (400, Class::Permanent),
    ] {
        let (url, metadata) = local(machine);
        metadata.lock().fault = Some(Answer::new(status, ""));
        let machine = ambient(&[("AZURE_POD_IDENTITY_AUTHORITY_HOST", url.as_str())]);
        let spec = AzureDns {
            client_id: None,
            ..spec()
        };
        let running = running();
        let own = provider(&running.hosted, spec, &machine).unwrap();
        let error = there_and_back(&*own).await.unwrap_err();
        assert_eq!(error.class, class, "{error}");
    }
}

#[test]
fn fields_that_do_not_do_are_named() {
    let running = Running::start(answer);
    for (change, word) in [
        (
            (|s: &mut AzureDns| s.tenant_id = None) as fn(&mut AzureDns),
            "azureDNS.tenantID",
        ),
        (
            |s| s.resource_group_name = "..".into(),
            "azureDNS.resourceGroupName",
        ),
        (
            |s| s.subscription_id = " ".into(),
            "azureDNS.subscriptionID",
        ),
        (|s| s.zone_type = Some("Public".into()), "azureDNS.zoneType"),
    ] {
        let mut changed = spec();
        change(&mut changed);
        let error = provider(&running.hosted, changed, &password())
            .map(drop)
            .unwrap_err();
        assert_eq!(error.class, Class::Permanent);
        assert!(error.text.contains(word), "{error}");
    }
    let error = provider(&running.hosted, spec(), &given(&[]))
        .map(drop)
        .unwrap_err();
    assert!(
        error.text.contains("azureDNS.clientSecretSecretRef"),
        "{error}"
    );
}
