//! Route 53. Documents: "Amazon Route 53 API Reference: `ListHostedZonesByName`", "`ListResourceRecordSets`",
//! "`ChangeResourceRecordSets`", "Common Errors"; "AWS STS API Reference: `AssumeRole`", "`AssumeRoleWithWebIdentity`"; "Create
//! a signed AWS API request"; "Use `IMDSv2`", "Container credential provider", "How EKS Pod Identity works".

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::SignedDuration;

use super::super::Hosted;
use super::super::xml::{Element, escape};
use super::scenarios::{all, record};
use super::server::{
    Answer, Case, Running, Sent, Txt, World, Zone, ambient, given, local, now, pass, start,
};
use crate::api::dns01::{Dns01Solver, Route53, Route53Auth};
use crate::net::hex;
use crate::solvers::dns01::{Class, Error, Given, Provider, ROUTE53_TOKEN};

const ID: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
/// Of temporary credentials, with a number behind.
const TEMPORARY: &str = "ASIATEMP";
const NAME: &str = "_acme-challenge.a.example.com";
/// The TTL of sets that have another policy.
const WEIGHTED: u64 = 77;

static CASE: Case = Case {
    handler: answer,
    provider: |hosted| provider(hosted, Route53::default(), &keys()).unwrap(),
    ttl: 10,
    raw: |value| format!("\"{value}\""),
    conditional: true,
    secrets: &[SECRET],
};

fn keys() -> Given {
    given(&[
        ("route53.accessKeyIDSecretRef", "AKIDEXAMPLE\n"),
        ("route53.secretAccessKeySecretRef", SECRET),
    ])
}

fn provider(
    hosted: &Arc<Hosted>,
    route53: Route53,
    given: &Given,
) -> Result<Box<dyn Provider>, Error> {
    let solver = Dns01Solver {
        route53: Some(route53),
        ..Dns01Solver::default()
    };
    hosted.provider(&solver, given).unwrap()
}

fn mac(key: &[u8], data: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data.as_bytes())
        .as_ref()
        .to_vec()
}

fn sha256(data: &str) -> String {
    hex(digest::digest(&digest::SHA256, data.as_bytes()).as_ref())
}

/// The signature, made anew from what came; whose it is.
fn verify(sent: &Sent, region: &str, service: &str) -> Result<String, String> {
    let header = sent.header("authorization");
    let fields = header
        .strip_prefix("AWS4-HMAC-SHA256 ")
        .ok_or("another algorithm")?;
    let field = |name: &str| {
        let found = fields
            .split(", ")
            .find_map(|field| field.strip_prefix(&format!("{name}=")));
        found.ok_or_else(|| format!("no {name}"))
    };
    let credential: Vec<_> = field("Credential")?.split('/').collect();
    let [id, day, in_region, of_service, "aws4_request"] = credential.as_slice() else {
        return Err("no scope".into());
    };
    let time = sent.header("x-amz-date");
    if (*in_region, *of_service) != (region, service) || !time.starts_with(day) {
        return Err(format!("another scope: {}", field("Credential")?));
    }
    let signed: BTreeSet<_> = field("SignedHeaders")?.split(';').collect();
    for name in sent.headers.keys() {
        let must = name == "host" || name == "content-type" || name.starts_with("x-amz-");
        if must && !signed.contains(name.as_str()) {
            return Err(format!("{name} is not signed"));
        }
    }
    let mut query: Vec<_> = sent.raw_query.split('&').collect();
    query.sort_unstable();
    let mut lines = vec![sent.method.clone(), sent.path.clone(), query.join("&")];
    lines.extend(
        signed
            .iter()
            .map(|name| format!("{name}:{}", sent.header(name))),
    );
    let names = signed.into_iter().collect::<Vec<_>>().join(";");
    lines.extend([String::new(), names, sha256(&sent.body)]);
    let canonical = lines.join("\n");
    let scope = format!("{day}/{region}/{service}/aws4_request");
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", sha256(&canonical));
    let (secret, token) = match id.strip_prefix(TEMPORARY) {
        None => (SECRET.to_owned(), String::new()),
        Some(number) => (format!("secret{number}"), format!("token{number}")),
    };
    if sent.header("x-amz-security-token") != token {
        return Err("another session token".into());
    }
    let mut key = mac(format!("AWS4{secret}").as_bytes(), day);
    for part in [region, service, "aws4_request"] {
        key = mac(&key, part);
    }
    if hex(&mac(&key, &to_sign)) != field("Signature")? {
        return Err("another signature".into());
    }
    Ok((*id).to_owned())
}

/// With a request ID, which is another one each time.
fn complaint(world: &mut World, status: u16, code: &str, message: &str) -> Answer {
    let request = world.next();
    Answer::new(
        status,
        format!(
            "<?xml version=\"1.0\"?>\n<ErrorResponse xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><Error>\
             <Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>\
             <RequestId>{request}</RequestId></ErrorResponse>"
        ),
    )
}

fn answer(world: &mut World, sent: &Sent) -> Result<Answer, String> {
    if let Some(region) = sent
        .host
        .strip_prefix("sts.")
        .and_then(|h| h.strip_suffix(".amazonaws.com"))
    {
        return token_service(world, sent, region);
    }
    if sent.host != "route53.amazonaws.com" {
        return Err("another host".into());
    }
    let id = verify(sent, "us-east-1", "route53")?;
    if world.revoked {
        let message = "The security token included in the request is invalid.";
        return Ok(complaint(world, 403, "InvalidClientTokenId", message));
    }
    // The last that was lent is the only one that counts.
    if id.starts_with(TEMPORARY) && id != format!("{TEMPORARY}{}", world.logins) {
        let message = "The security token included in the request is expired";
        return Ok(complaint(world, 403, "ExpiredToken", message));
    }
    let parts = sent.parts();
    let parts: Vec<_> = parts.iter().map(String::as_str).collect();
    match (sent.method.as_str(), parts.as_slice()) {
        ("GET", ["2013-04-01", "hostedzonesbyname"]) => Ok(zones(world, sent)),
        ("GET", ["2013-04-01", "hostedzone", zone, "rrset"]) => sets(world, sent, zone),
        ("POST", ["2013-04-01", "hostedzone", zone, "rrset", ""]) => change(world, sent, zone),
        _ => Err("no such call".into()),
    }
}

/// By the labels from the right.
fn order(name: &str) -> String {
    let mut labels: Vec<_> = name.split('.').collect();
    labels.reverse();
    labels.join(".")
}

fn zones(world: &World, sent: &Sent) -> Answer {
    let mut zones: Vec<_> = world.zones.iter().collect();
    zones.sort_by_key(|zone| (order(&zone.name), !zone.private, zone.id.clone()));
    let first = |zone: &&&Zone| {
        order(&zone.name) >= order(sent.field("dnsname"))
            && (sent.field("hostedzoneid").is_empty() || zone.name != sent.field("dnsname") || {
                let at = zones
                    .iter()
                    .position(|z| z.id == sent.field("hostedzoneid"));
                zones.iter().position(|z| z.id == zone.id) >= at
            })
    };
    let rest: Vec<_> = zones.iter().filter(first).collect();
    let mut list = String::new();
    for zone in rest.iter().take(world.page) {
        let _ = write!(
            list,
            "<HostedZone><Id>/hostedzone/{}</Id><Name>{}.</Name><CallerReference>x</CallerReference><Config>\
             <PrivateZone>{}</PrivateZone></Config></HostedZone>",
            zone.id, zone.name, zone.private
        );
    }
    let next = rest.get(world.page).map(|zone| {
        format!(
            "<NextDNSName>{}</NextDNSName><NextHostedZoneId>{}</NextHostedZoneId>",
            zone.name, zone.id
        )
    });
    Answer::new(
        200,
        format!(
            "<?xml version=\"1.0\"?>\n<ListHostedZonesByNameResponse xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\">\
             <HostedZones>{list}</HostedZones><IsTruncated>{}</IsTruncated>{}<MaxItems>100</MaxItems>\
             </ListHostedZonesByNameResponse>",
            next.is_some(),
            next.unwrap_or_default()
        ),
    )
}

fn sets(world: &mut World, sent: &Sent, id: &str) -> Result<Answer, String> {
    if sent.field("type") != "TXT" || !sent.field("name").ends_with('.') {
        return Err("no name and type".into());
    }
    let most: usize = sent.field("maxitems").parse().map_err(|_| "no maxitems")?;
    let Some(zone) = world.zone(id) else {
        return Ok(complaint(
            world,
            404,
            "NoSuchHostedZone",
            "No hosted zone found with ID",
        ));
    };
    // All sets from this name and identifier on, in the order of the zone.
    let from = (
        order(sent.field("name").trim_end_matches('.')),
        sent.field("identifier"),
    );
    let mut sets: Vec<_> = zone
        .records
        .iter()
        .map(|txt| (txt.name.clone(), txt.set.clone()))
        .collect();
    sets.sort_by_key(|(name, set)| (order(name), set.clone()));
    sets.dedup();
    sets.retain(|(name, set)| {
        (order(name).as_str(), set.as_deref().unwrap_or_default()) >= (&from.0, from.1)
    });
    let zone = zone.clone();
    let most = most.min(world.page);
    let list: String = sets
        .iter()
        .take(most)
        .map(|(name, set)| listed(&zone, name, set.as_deref()))
        .collect();
    let next = sets.get(most).map(|(name, set)| {
        let identifier = set.as_ref().map(|set| {
            format!(
                "<NextRecordIdentifier>{}</NextRecordIdentifier>",
                escape(set)
            )
        });
        format!(
            "<NextRecordName>{name}.</NextRecordName><NextRecordType>TXT</NextRecordType>{}",
            identifier.unwrap_or_default()
        )
    });
    Ok(Answer::new(
        200,
        format!(
            "<?xml version=\"1.0\"?>\n<ListResourceRecordSetsResponse xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\">\
             <ResourceRecordSets>{list}</ResourceRecordSets><IsTruncated>{}</IsTruncated>{}<MaxItems>{most}</MaxItems>\
             </ListResourceRecordSetsResponse>",
            next.is_some(),
            next.unwrap_or_default()
        ),
    ))
}

/// The records of one set.
fn set_of(zone: &Zone, name: &str, set: Option<&str>) -> Vec<Txt> {
    let mut records = zone.set(name);
    records.retain(|txt| txt.set.as_deref() == set);
    records
}

fn listed(zone: &Zone, name: &str, set: Option<&str>) -> String {
    let records = set_of(zone, name, set);
    let ttl = records[0].ttl;
    let policy = match set {
        Some(set) if ttl == WEIGHTED => {
            format!("<SetIdentifier>{set}</SetIdentifier><Weight>1</Weight>")
        }
        Some(set) => format!(
            "<SetIdentifier>{}</SetIdentifier><MultiValueAnswer>true</MultiValueAnswer>",
            escape(set)
        ),
        None => String::new(),
    };
    let mut values = String::new();
    for txt in &records {
        let raw = escape(&txt.raw);
        let _ = write!(
            values,
            "<ResourceRecord><Value>{raw}</Value></ResourceRecord>"
        );
    }
    format!(
        "<ResourceRecordSet><Name>{name}.</Name><Type>TXT</Type>{policy}<TTL>{ttl}</TTL>\
         <ResourceRecords>{values}</ResourceRecords></ResourceRecordSet>"
    )
}

fn invalid(world: &mut World, message: &str) -> Answer {
    let request = world.next();
    Answer::new(
        400,
        format!(
            "<?xml version=\"1.0\"?>\n<InvalidChangeBatch xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><Messages>\
             <Message>{message}</Message></Messages><RequestId>{request}</RequestId></InvalidChangeBatch>"
        ),
    )
}

fn change(world: &mut World, sent: &Sent, id: &str) -> Result<Answer, String> {
    let root = Element::parse(sent.body.as_bytes()).ok_or("no document")?;
    if root.name != "ChangeResourceRecordSetsRequest"
        || sent.header("content-type") != "application/xml"
    {
        return Err("another document".into());
    }
    if !sent
        .body
        .contains("xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"")
    {
        return Err("no name space".into());
    }
    let changes = root.at(&["ChangeBatch", "Changes"]).ok_or("no changes")?;
    if changes.children.is_empty() {
        return Err("no changes".into());
    }
    let Some(zone) = world.zone(id) else {
        return Ok(complaint(
            world,
            404,
            "NoSuchHostedZone",
            "No hosted zone found with ID",
        ));
    };
    // All or nothing.
    let mut after = zone.clone();
    for change in &changes.children {
        if let Some(message) = apply(&mut after, change)? {
            return Ok(invalid(world, &message));
        }
    }
    *zone = after;
    Ok(Answer::new(
        200,
        "<?xml version=\"1.0\"?>\n<ChangeResourceRecordSetsResponse xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\">\
         <ChangeInfo><Id>/change/C1</Id><Status>PENDING</Status><SubmittedAt>2026-01-01T00:00:00Z</SubmittedAt>\
         </ChangeInfo></ChangeResourceRecordSetsResponse>",
    ))
}

/// One change; what Route 53 says against it.
fn apply(after: &mut Zone, change: &Element) -> Result<Option<String>, String> {
    let set = change.child("ResourceRecordSet").ok_or("no set")?;
    let name = set.text_of("Name").trim_end_matches('.');
    let ttl: u64 = set.text_of("TTL").parse().map_err(|_| "no TTL")?;
    let values = set.child("ResourceRecords").ok_or("no records")?;
    let values: Vec<_> = values
        .children
        .iter()
        .map(|v| v.text_of("Value").to_owned())
        .collect();
    if set.text_of("Type") != "TXT"
        || !values
            .iter()
            .all(|v| v.starts_with('"') && v.ends_with('"'))
    {
        return Err("no TXT in quotes".into());
    }
    let id = set.child("SetIdentifier").map(|id| id.text.clone());
    let in_set = id
        .as_ref()
        .map_or(String::new(), |id| format!(", set-identifier='{id}'"));
    let at = format!("[name='{name}.', type='TXT'{in_set}]");
    if id.is_some() != (set.text_of("MultiValueAnswer") == "true") {
        return Err("an identifier without a policy, or a policy without one".into());
    }
    let there = set_of(after, name, id.as_deref());
    let beside = after.set(name).into_iter().find(|txt| txt.set != id);
    let beside = beside.filter(|other| id.is_none() || other.set.is_none());
    match change.text_of("Action") {
        "DELETE" => {
            let raws: Vec<_> = there.iter().map(|txt| txt.raw.clone()).collect();
            let same = raws == values && there.iter().all(|txt| txt.ttl == ttl);
            if !same {
                let message = format!(
                    "Tried to delete resource record set {at} but the values provided do not match the current values"
                );
                return Ok(Some(message));
            }
            after
                .records
                .retain(|txt| txt.name != name || txt.set != id);
        }
        "CREATE" | "UPSERT" if beside.is_some() => {
            let id = id.map_or(String::new(), |id| format!(", SetIdentifier {id}"));
            let message = format!(
                "RRSet with DNS name {name}., type TXT{id} cannot be created because a non multivalue answer rrset \
                 exists with the same name and type."
            );
            return Ok(Some(message));
        }
        "CREATE" if !there.is_empty() => {
            let message = format!("Tried to create resource record set {at} but it already exists");
            return Ok(Some(message));
        }
        "UPSERT" if id.is_none() => {
            return Err("what others have in a simple set would be lost".into());
        }
        "CREATE" | "UPSERT" => {
            after
                .records
                .retain(|txt| txt.name != name || txt.set != id);
            after.records.extend(values.into_iter().map(|raw| Txt {
                name: name.to_owned(),
                raw,
                ttl,
                set: id.clone(),
                ..Txt::default()
            }));
        }
        _ => return Err("another action".into()),
    }
    Ok(None)
}

fn token_service(world: &mut World, sent: &Sent, region: &str) -> Result<Answer, String> {
    let form = sent.form()?;
    let field = |name: &str| form.get(name).map_or("", String::as_str);
    if field("Version") != "2011-06-15"
        || field("RoleSessionName") != "cert-manager"
        || sent.path != "/"
    {
        return Err("another call of STS".into());
    }
    let action = field("Action");
    match action {
        "AssumeRole" => {
            verify(sent, region, "sts")?;
        }
        "AssumeRoleWithWebIdentity" => {
            if !sent.header("authorization").is_empty() || field("WebIdentityToken").is_empty() {
                return Err("signed, or without a token".into());
            }
        }
        _ => return Err("another action".into()),
    }
    if field("RoleArn") != "arn:aws:iam::1:role/dns" {
        let message = format!("User is not authorized to perform: sts:{action}");
        return Ok(complaint(world, 403, "AccessDenied", &message));
    }
    world.logins += 1;
    let number = world.logins;
    let ends = start() + SignedDuration::from_secs(i64::try_from(number).unwrap() * 3600);
    Ok(Answer::new(
        200,
        format!(
            "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result><Credentials>\
             <AccessKeyId>{TEMPORARY}{number}</AccessKeyId><SecretAccessKey>secret{number}</SecretAccessKey>\
             <SessionToken>token{number}</SessionToken><Expiration>{ends}</Expiration></Credentials></{action}Result>\
             </{action}Response>"
        ),
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

fn role(region: Option<&str>) -> Route53 {
    Route53 {
        role: Some("arn:aws:iam::1:role/dns".into()),
        region: region.map(str::to_owned),
        ..Route53::default()
    }
}

#[tokio::test]
async fn it_does_what_every_provider_must() {
    all(&CASE).await;
}

#[tokio::test]
async fn a_hosted_zone_that_is_named_is_not_looked_for() {
    let running = running();
    let id = running.world().zones[0].id.clone();
    for id in [id.clone(), format!("/hostedzone/{id}")] {
        let spec = Route53 {
            hosted_zone_id: Some(id),
            access_key_id: Some(ID.into()),
            ..Route53::default()
        };
        let keys = given(&[("route53.secretAccessKeySecretRef", SECRET)]);
        there_and_back(&*provider(&running.hosted, spec, &keys).unwrap())
            .await
            .unwrap();
    }
    assert!(
        running
            .world()
            .sent
            .iter()
            .all(|sent| !sent.path.contains("hostedzonesbyname"))
    );
    // It has gone, and the value with it.
    running.world().zones.clear();
    let spec = Route53 {
        hosted_zone_id: Some("Z9".into()),
        ..Route53::default()
    };
    let gone = provider(&running.hosted, spec, &keys()).unwrap();
    let record = record("example.com", NAME, "v");
    gone.clean_up(&record).await.unwrap();
    let error = gone.present(&record).await.unwrap_err();
    assert!(error.text.contains("404 NoSuchHostedZone"), "{error}");
    running.assert_documented();
}

#[tokio::test]
async fn a_role_is_assumed_once_until_shortly_before_it_ends() {
    let running = running();
    let provider = |region| provider(&running.hosted, role(region), &keys()).unwrap();
    there_and_back(&*provider(None)).await.unwrap();
    there_and_back(&*provider(None)).await.unwrap();
    assert_eq!(running.world().logins, 1);
    pass(3600 - 119);
    there_and_back(&*provider(None)).await.unwrap();
    assert_eq!(running.world().logins, 2);
    // Ended before its time: the service says so, and it is assumed again.
    running.world().logins += 1;
    there_and_back(&*provider(None)).await.unwrap();
    assert_eq!(running.world().logins, 4);
    // Of another region it is another.
    there_and_back(&*provider(Some("eu-west-1"))).await.unwrap();
    assert_eq!(running.world().logins, 5);
    running.assert_documented();
}

#[tokio::test]
async fn a_service_account_assumes_the_role_with_its_token() {
    let running = running();
    let spec = || Route53 {
        auth: Some(Route53Auth::default()),
        ..role(None)
    };
    let token = |number: u32, subject: &str| {
        let claims =
            format!("{{\"iss\":\"https://k8s\",\"sub\":\"{subject}\",\"jti\":\"{number}\"}}");
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    };
    // Each time with a new token of the same account.
    for (number, subject, logins) in [
        (1, "system:serviceaccount:team-a:dns", 1),
        (2, "system:serviceaccount:team-a:dns", 1),
        (3, "system:serviceaccount:team-b:dns", 2),
    ] {
        let given = given(&[(ROUTE53_TOKEN, &token(number, subject))]);
        there_and_back(&*provider(&running.hosted, spec(), &given).unwrap())
            .await
            .unwrap();
        assert_eq!(running.world().logins, logins, "{number}");
    }
    let refused = Route53 {
        role: Some("arn:aws:iam::1:role/other".into()),
        ..spec()
    };
    let given = given(&[(ROUTE53_TOKEN, &token(4, "system:serviceaccount:team-a:dns"))]);
    let refused = provider(&running.hosted, refused, &given).unwrap();
    let error = there_and_back(&*refused).await.unwrap_err();
    assert_eq!(error.class, Class::Permanent);
    assert!(error.text.contains("403 AccessDenied"), "{error}");
    assert!(error.text.contains("trust policy"), "{error}");
    running.assert_documented();
}

/// As in cert-manager: a region is no credential, so any issuer may fall back on that of the process; with the process's
/// own credentials it comes first.
#[tokio::test]
async fn the_region_is_the_issuers_or_that_of_the_process() {
    let keys_in = |region: &str| Given {
        aws_region: Some(region.into()),
        ..keys()
    };
    let own = [
        ("AWS_ACCESS_KEY_ID", ID),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("AWS_REGION", "us-east-1"),
    ];
    let europe = Some("eu-west-1");
    for (region, given, expected) in [
        (None, keys(), "us-east-1"),
        (europe, keys(), "eu-west-1"),
        (None, keys_in("eu-west-1"), "eu-west-1"),
        (europe, keys_in("us-east-1"), "eu-west-1"),
        (europe, ambient(&own), "us-east-1"),
        (europe, ambient(&own[..2]), "eu-west-1"),
        (None, ambient(&own[..2]), "us-east-1"),
    ] {
        let running = running();
        let provider = provider(&running.hosted, role(region), &given).unwrap();
        there_and_back(&*provider).await.unwrap();
        let host = running.world().sent[0].host.clone();
        assert_eq!(host, format!("sts.{expected}.amazonaws.com"), "{region:?}");
        running.assert_documented();
    }
}

#[test]
fn each_part_of_aws_has_hosts_of_its_own() {
    for (region, sts, route53) in [
        (
            "ap-south-1",
            "sts.ap-south-1.amazonaws.com",
            "route53.amazonaws.com",
        ),
        (
            "cn-north-1",
            "sts.cn-north-1.amazonaws.com.cn",
            "route53.amazonaws.com.cn",
        ),
        (
            "us-gov-east-1",
            "sts.us-gov-east-1.amazonaws.com",
            "route53.us-gov.amazonaws.com",
        ),
        (
            "eusc-de-east-1",
            "sts.eusc-de-east-1.amazonaws.eu",
            "route53.amazonaws.eu",
        ),
        (
            "us-iso-west-1",
            "sts.us-iso-west-1.c2s.ic.gov",
            "route53.c2s.ic.gov",
        ),
        (
            "us-isob-east-1",
            "sts.us-isob-east-1.sc2s.sgov.gov",
            "route53.sc2s.sgov.gov",
        ),
        (
            "eu-isoe-west-1",
            "sts.eu-isoe-west-1.cloud.adc-e.uk",
            "route53.cloud.adc-e.uk",
        ),
        (
            "us-isof-south-1",
            "sts.us-isof-south-1.csp.hci.ic.gov",
            "route53.csp.hci.ic.gov",
        ),
    ] {
        let partition = super::super::aws::partition(region);
        assert_eq!(partition.route53, route53);
        assert_eq!(format!("sts.{region}.{}", partition.domain), sts);
    }
}

/// The instance metadata of EC2, and the credentials endpoints of containers.
fn machine(world: &mut World, sent: &Sent) -> Result<Answer, String> {
    world.logins += 1;
    let issued = format!(
        "{{\"Code\":\"Success\",\"AccessKeyId\":\"{TEMPORARY}0\",\"SecretAccessKey\":\"secret0\",\"Token\":\"token0\",\
         \"Expiration\":\"{}\"}}",
        start() + SignedDuration::from_hours(1)
    );
    match (sent.method.as_str(), sent.path.as_str()) {
        ("PUT", "/latest/api/token")
            if !sent
                .header("x-aws-ec2-metadata-token-ttl-seconds")
                .is_empty() =>
        {
            Ok(Answer::new(200, "imds"))
        }
        ("GET", path)
            if path.starts_with("/latest/meta-data/")
                && sent.header("x-aws-ec2-metadata-token") != "imds" =>
        {
            Ok(Answer::new(401, ""))
        }
        ("GET", "/latest/meta-data/iam/security-credentials/") => {
            Ok(Answer::new(200, "node-role\n"))
        }
        ("GET", "/latest/meta-data/iam/security-credentials/node-role") => {
            Ok(Answer::new(200, issued))
        }
        ("GET", "/v1/credentials") if sent.header("authorization") == "pod-token" => {
            Ok(Answer::new(200, issued))
        }
        _ => Ok(Answer::new(404, "")),
    }
}

#[tokio::test]
async fn what_the_operator_has_is_used_in_awss_order() {
    let (url, metadata) = local(machine);
    let directory = std::env::temp_dir().join(format!("everleaf-route53-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (web, pod) = (file("web", "e30.e30.c2ln\n"), file("pod", "pod-token\n"));
    let container = format!("{url}/v1/credentials");
    let instance = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", url.as_str());
    let keys = [("AWS_ACCESS_KEY_ID", ID), ("AWS_SECRET_ACCESS_KEY", SECRET)];
    let identity = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", web.as_str()),
        ("AWS_ROLE_ARN", "arn:aws:iam::1:role/dns"),
    ];
    let association = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", container.as_str()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", pod.as_str()),
    ];
    // What comes first wins over what follows; how often the machine and STS were asked.
    for (variables, asked, logins) in [
        (
            [&keys[..], &identity, &association, &[instance]].concat(),
            0,
            0,
        ),
        ([&identity[..], &association, &[instance]].concat(), 0, 1),
        ([&association[..], &[instance]].concat(), 1, 0),
        (vec![instance], 3, 0),
    ] {
        let running = running();
        metadata.lock().logins = 0;
        let own = provider(&running.hosted, Route53::default(), &ambient(&variables)).unwrap();
        there_and_back(&*own).await.unwrap();
        there_and_back(&*own).await.unwrap();
        assert_eq!(
            (metadata.lock().logins, running.world().logins),
            (asked, logins),
            "{variables:?}"
        );
        running.assert_documented();
    }
    // And from there to a role.
    let running = running();
    let own = provider(
        &running.hosted,
        role(None),
        &ambient(&[instance, ("AWS_REGION", "eu-west-1")]),
    )
    .unwrap();
    there_and_back(&*own).await.unwrap();
    assert_eq!(running.world().sent[0].host, "sts.eu-west-1.amazonaws.com");
    let off = ambient(&[instance, ("AWS_EC2_METADATA_DISABLED", "true")]);
    let running = Running::start(answer);
    let error =
        there_and_back(&*provider(&running.hosted, Route53::default(), &off).unwrap()).await;
    assert_eq!(error.unwrap_err().class, Class::Permanent);
    std::fs::remove_dir_all(directory).unwrap();
}

#[tokio::test]
async fn too_many_calls_are_made_later() {
    let running = running();
    let provider = (CASE.provider)(&running.hosted);
    let record = record("example.com", NAME, "v");
    let throttled = complaint(&mut running.world(), 400, "Throttling", "Rate exceeded");
    let beaten = complaint(
        &mut running.world(),
        400,
        "PriorRequestNotComplete",
        "The request was rejected",
    );
    running.world().faults = vec![throttled.clone(), throttled.clone()];
    provider.present(&record).await.unwrap();
    running
        .world()
        .before_write
        .push(Box::new(move |world| world.faults.push(beaten)));
    provider.clean_up(&record).await.unwrap();
    assert!(running.world().at(NAME).is_empty());
    running.world().fault = Some(throttled);
    let error = provider.present(&record).await.unwrap_err();
    let until = now() + SignedDuration::from_secs(30);
    assert_eq!(error.class, Class::RateLimited { until });
    running.assert_documented();
}

/// A set of somebody else with a policy, of one value.
fn add_set(running: &Running, identifier: &str, raw: &str, ttl: u64) {
    let mut world = running.world();
    world.add("example.com", NAME, raw, ttl);
    let zone = world.public("example.com").unwrap();
    zone.records.last_mut().unwrap().set = Some(identifier.to_owned());
}

fn identifiers(running: &Running) -> Vec<String> {
    let records = running.world().at(NAME).into_iter();
    records.filter_map(|txt| txt.set).collect()
}

/// As cert-manager leaves them, or has them there just now.
#[tokio::test]
async fn each_value_has_a_set_of_its_own_beside_cert_managers() {
    let running = running();
    // On several pages, with ours between them.
    let theirs = ["\"a1\"", "\"b2\"", "\"c3\"", "\"x4\"", "\"y5\""];
    for raw in theirs {
        add_set(&running, raw, raw, 10);
    }
    let provider = (CASE.provider)(&running.hosted);
    let record = record("example.com", NAME, "v");
    provider.present(&record).await.unwrap();
    provider.present(&record).await.unwrap();
    let ours = running.world().at(NAME).pop().unwrap();
    assert_eq!(
        (ours.raw, ours.ttl, ours.set.as_deref()),
        ("\"v\"".into(), 10, Some("\"v\""))
    );
    let wrote = running.world().sent.last().unwrap().body.clone();
    assert_eq!(running.world().writes(), 1, "{wrote}");
    provider.clean_up(&record).await.unwrap();
    provider.clean_up(&record).await.unwrap();
    assert_eq!(running.world().writes(), 2);
    assert_eq!(identifiers(&running), theirs);
    running.assert_documented();
}

#[tokio::test]
async fn a_value_goes_from_whatever_set_it_is_in() {
    let running = running();
    // With another's TTL and identifier, and beside a value of theirs.
    add_set(&running, "one", "\"v\"", 300);
    add_set(&running, "two", "\"v\"", 60);
    add_set(&running, "two", "\"theirs\"", 60);
    let record = record("example.com", NAME, "v");
    (CASE.provider)(&running.hosted)
        .clean_up(&record)
        .await
        .unwrap();
    let left: Vec<_> = running.world().at(NAME);
    let left: Vec<_> = left
        .iter()
        .map(|txt| (txt.raw.as_str(), txt.ttl, txt.set.as_deref()))
        .collect();
    assert_eq!(left, [("\"theirs\"", 60, Some("two"))]);
    running.assert_documented();
}

/// The one kind of set comes to a name between our look and our write, where it had the other.
#[tokio::test]
async fn a_set_of_the_other_kind_is_seen_at_the_next_look() {
    let running = running();
    let provider = (CASE.provider)(&running.hosted);
    let record = record("example.com", NAME, "v");
    running.world().before_write.push(Box::new(|world| {
        world.add("example.com", NAME, "\"theirs\"", 1234);
    }));
    provider.present(&record).await.unwrap();
    let there = running.world().at(NAME);
    assert!(
        there.iter().all(|txt| txt.set.is_none() && txt.ttl == 1234),
        "{there:?}"
    );
    assert_eq!(there.len(), 2);
    running.world().before_write.push(Box::new(|world| {
        let zone = world.public("example.com").unwrap();
        zone.records.retain(|txt| txt.raw == "\"v\"");
        zone.records[0].set = Some("\"v\"".into());
    }));
    provider.clean_up(&record).await.unwrap();
    assert!(running.world().at(NAME).is_empty());
    running.assert_documented();
}

#[tokio::test]
async fn sets_with_another_routing_policy_are_left_alone() {
    let running = running();
    add_set(&running, "a", "\"x\"", WEIGHTED);
    let provider = (CASE.provider)(&running.hosted);
    let record = record("example.com", NAME, "v");
    let error = provider.present(&record).await.unwrap_err();
    assert_eq!(error.class, Class::Permanent);
    assert!(error.text.contains("routing policy"), "{error}");
    // There is nothing of ours.
    provider.clean_up(&record).await.unwrap();
    assert_eq!(running.world().writes(), 0);
}

#[test]
fn fields_that_do_not_do_are_named() {
    let running = Running::start(answer);
    let secret = ("route53.secretAccessKeySecretRef", SECRET);
    let token = (ROUTE53_TOKEN, "t");
    let with = |id: Option<&str>, zone: Option<&str>, region: Option<&str>, auth: bool| Route53 {
        access_key_id: id.map(str::to_owned),
        hosted_zone_id: zone.map(str::to_owned),
        region: region.map(str::to_owned),
        auth: auth.then(Route53Auth::default),
        ..Route53::default()
    };
    for (spec, given, word) in [
        (
            with(None, None, None, false),
            given(&[]),
            "--issuer-ambient-credentials",
        ),
        (with(Some(ID), None, None, false), given(&[]), "only one"),
        (with(None, None, None, false), given(&[secret]), "only one"),
        (
            with(Some("A B"), None, None, false),
            given(&[secret]),
            "access key ID",
        ),
        (
            with(Some(ID), Some("a/b"), None, false),
            given(&[secret]),
            "hostedZoneID",
        ),
        (
            with(Some(ID), None, Some("evil.net/"), false),
            given(&[secret]),
            "route53.region",
        ),
        (
            with(None, None, None, true),
            given(&[token]),
            "route53.role",
        ),
        (with(None, None, None, true), given(&[]), ROUTE53_TOKEN),
        (
            with(Some(ID), None, None, false),
            given(&[secret, ("route53.accessKeyIDSecretRef", ID)]),
            "both",
        ),
    ] {
        let error = provider(&running.hosted, spec, &given)
            .map(drop)
            .unwrap_err();
        assert_eq!(error.class, Class::Permanent);
        assert!(error.text.contains(word), "{error}");
        assert!(!error.text.contains(SECRET), "{error}");
    }
}
