//! Whatever the spec, the state of things and the answers: no panic, no strife with itself, and in the
//! end a certificate or a word why not.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::authority::{Answer, new_key, pair, pem};
use super::world::{START, World};
use crate::controllers::certificate::request::{certificate_request, key_secret_name};
use crate::controllers::certificate::secret::next_key;
use crate::controllers::certificate::{Entries, IssuerState, Outcome, SecretData, absorb, plan};
use crate::controllers::status::condition;
use crate::pki::{Curve, KeyAlgorithm, KeyEncoding, PrivateKey, parse_chain, verify_key_matches};

/// What a plan may end with when there is no certificate.
const REFUSALS: [&str; 2] = ["InvalidSpec", "CannotRegenerateKey"];

/// Pieces of a spec: mostly good, some that cannot be met.
fn spec() -> impl Strategy<Value = Value> {
    let piece = prop::sample::select(vec![
        json!({}),
        json!({ "dnsNames": null }),
        json!({ "dnsNames": ["*.example.com", "b.example.com"] }),
        json!({ "dnsNames": ["\u{fc}.example.com"] }),
        json!({ "commonName": "app" }),
        json!({ "ipAddresses": ["192.0.2.7"] }),
        json!({ "ipAddresses": ["nowhere"] }),
        json!({ "uris": ["spiffe://a/b"], "emailAddresses": ["a@example.com"] }),
        json!({ "otherNames": [{ "oid": "1.2.3", "utf8Value": "x" }] }),
        json!({ "subject": { "organizations": ["Shop"], "serialNumber": "7" } }),
        json!({ "duration": "1h" }),
        json!({ "duration": "soon" }),
        json!({ "renewBefore": "30m" }),
        json!({ "renewBeforePercentage": 99 }),
        json!({ "renewal": { "policy": "Disabled" } }),
        json!({ "isCA": true }),
        json!({ "usages": ["server auth", "client auth"] }),
        json!({ "usages": ["telepathy"] }),
        json!({ "privateKey": { "algorithm": "Ed25519" } }),
        json!({ "privateKey": { "size": 384 } }),
        json!({ "privateKey": { "rotationPolicy": "Never" } }),
        json!({ "privateKey": { "encoding": "PKCS8" } }),
        json!({ "signatureAlgorithm": "SHA256WithRSA" }),
        json!({ "encodeUsagesInRequest": false }),
        json!({ "revisionHistoryLimit": 2 }),
        json!({ "issuerRef": { "name": "other", "kind": "ClusterIssuer" } }),
        json!({ "secretTemplate": { "labels": { "a": "b", "controller.cert-manager.io/fao": "no" } } }),
        json!({ "keystores": { "pkcs12": { "create": true } } }),
        json!({ "keystores": { "pkcs12": { "create": true, "password": "x" } } }),
        json!({ "keystores": { "jks": { "create": true, "passwordSecretRef": { "name": "p", "key": "k" } } } }),
        json!({ "additionalOutputFormats": [{ "type": "DER" }, { "type": "CombinedPEM" }] }),
    ]);
    prop::collection::vec(piece, 0..4).prop_map(|pieces| {
        let mut whole = json!({});
        for piece in pieces {
            for (key, value) in piece.as_object().unwrap() {
                let place = whole
                    .as_object_mut()
                    .unwrap()
                    .entry(key.clone())
                    .or_insert(Value::Null);
                match (place.as_object_mut(), value.as_object()) {
                    (Some(old), Some(new)) => old.extend(new.clone()),
                    _ => *place = value.clone(),
                }
            }
        }
        whole
    })
}

/// Something that happens.
#[derive(Debug, Clone)]
enum Blow {
    Edit(Value),
    Answer(Answer),
    Issuer(IssuerState),
    Pass(SignedDuration),
    RenewByHand,
    Restart,
    LoseSecret,
    LoseKeyEntry,
    SpoilCertificate,
    OtherPair,
    LoseAnnotations,
    LoseLabels,
    LoseRequests,
    SpoilRequests,
    StrayRequest,
    LoseNextKeys,
    StrayNextKey,
    LoseStatus,
    IssuerEdited,
    Step,
    Run,
}

fn blow() -> impl Strategy<Value = Blow> {
    use Blow::{
        Edit, Issuer, IssuerEdited, LoseAnnotations, LoseKeyEntry, LoseLabels, LoseNextKeys,
        LoseRequests, LoseSecret, LoseStatus, OtherPair, Pass, RenewByHand, Restart, Run,
        SpoilCertificate, SpoilRequests, Step, StrayNextKey, StrayRequest,
    };
    let answers = vec![
        Answer::Sign,
        Answer::Nothing,
        Answer::Deny,
        Answer::Invalid,
        Answer::Fail,
        Answer::WrongKey,
        Answer::Expired,
        Answer::Garbage,
        Answer::Empty,
    ];
    let issuers = vec![
        IssuerState::External,
        IssuerState::Missing,
        IssuerState::NotReady,
        IssuerState::Ready { in_process: true },
        IssuerState::Ready { in_process: false },
    ];
    let happens = vec![
        RenewByHand,
        Restart,
        LoseSecret,
        LoseKeyEntry,
        SpoilCertificate,
        OtherPair,
        LoseAnnotations,
        LoseLabels,
        LoseRequests,
        SpoilRequests,
        StrayRequest,
        LoseNextKeys,
        StrayNextKey,
        LoseStatus,
        IssuerEdited,
    ];
    prop_oneof![
        2 => spec().prop_map(Edit),
        2 => prop::sample::select(answers).prop_map(Blow::Answer),
        1 => prop::sample::select(issuers).prop_map(Issuer),
        2 => (0..20_000_000_i64).prop_map(|s| Pass(SignedDuration::from_secs(s))),
        5 => prop::sample::select(happens),
        3 => Just(Step),
        3 => Just(Run),
    ]
}

fn strike(world: &mut World, blow: Blow) {
    let has_secret = world.secret.is_some();
    match blow {
        Blow::Edit(spec) => world.edit(&spec),
        Blow::Answer(answer) => world.answer = answer,
        Blow::Issuer(issuer) => world.issuer = issuer,
        Blow::Pass(time) => world.pass(time),
        Blow::RenewByHand => world.renew_by_hand(),
        Blow::Restart => world.memory.clear(),
        Blow::LoseSecret => world.secret = None,
        Blow::LoseKeyEntry if has_secret => world.entry("tls.key").clear(),
        Blow::SpoilCertificate if has_secret => *world.entry("tls.crt") = b"?".to_vec(),
        Blow::OtherPair if has_secret => {
            let (key, certificate) = pair(&["app.example.com"], world.now, world.lifetime);
            *world.entry("tls.key") = key;
            *world.entry("tls.crt") = certificate;
        }
        Blow::LoseAnnotations if has_secret => world.annotations().clear(),
        Blow::LoseLabels if has_secret => world.secret.as_mut().unwrap().metadata.labels = None,
        Blow::LoseRequests => world.requests.clear(),
        Blow::SpoilRequests => {
            for request in &mut world.requests {
                request.spec.request = ByteString(b"?".to_vec());
            }
        }
        Blow::StrayRequest => {
            let mut stray = certificate_request(&world.certificate, 0, "none", "?", None, &[]);
            stray.metadata.uid = Some("uid-stray".into());
            stray.metadata.annotations = None;
            world
                .requests
                .retain(|r| r.metadata.uid != stray.metadata.uid);
            world.requests.insert(0, stray);
        }
        Blow::LoseNextKeys => world.next_keys.clear(),
        Blow::StrayNextKey => {
            let key = pem(
                &new_key(KeyAlgorithm::Ecdsa(Curve::P256)),
                KeyEncoding::Pkcs8,
            );
            let mut stray = next_key(&world.certificate, "app-stray", &key);
            stray.metadata.uid = Some("uid-stray".into());
            world
                .next_keys
                .retain(|s| s.metadata.uid != stray.metadata.uid);
            world.next_keys.insert(0, stray);
        }
        Blow::LoseStatus => world.certificate.status = None,
        Blow::IssuerEdited => world.issuer_changed = Some(world.now),
        Blow::Step => _ = world.step(),
        Blow::Run => _ = world.run(12),
        _ => {}
    }
}

/// What holds when the dust has settled, with an issuer that signs.
fn settles(mut world: World) -> Result<(), TestCaseError> {
    let in_process = matches!(world.issuer, IssuerState::Ready { in_process: true });
    world.issuer = IssuerState::Ready { in_process };
    world.answer = Answer::Sign;
    // A failure is waited out; twice, because one that was forgotten with the status counts again.
    world.pass(SignedDuration::from_hours(33));
    let password = [("k".to_owned(), ByteString(b"x".to_vec()))];
    world.passwords.insert("p".into(), password.into());
    prop_assert!(
        world.run(12),
        "no rest: {:?}, {:?}",
        world.writes,
        world.conditions()
    );
    world.pass(SignedDuration::from_hours(33));
    world.forget_records();
    prop_assert!(
        world.run(12),
        "no rest: {:?}, {:?}",
        world.writes,
        world.conditions()
    );
    let policy = world
        .certificate
        .spec
        .renewal
        .as_ref()
        .and_then(|r| r.policy.as_deref());
    let disabled = policy == Some("Disabled");
    let ready = world.ready();
    let refused =
        ready.0 == "False" && (REFUSALS.contains(&ready.1) || (disabled && ready.1 == "Expired"));
    prop_assert!(
        ready == ("True", "Ready") || refused,
        "{:?}",
        world.conditions()
    );
    if refused {
        return Ok(());
    }
    // A renewal by hand that failed leaves its condition: nothing makes it try again.
    prop_assert_ne!(world.issuing().0, "True");
    prop_assert_eq!(world.next_keys.len(), 0);
    let spec = &world.certificate.spec;
    let kept = usize::try_from(spec.revision_history_limit.unwrap_or(1)).unwrap();
    prop_assert!(
        world.requests.len() <= kept,
        "{} requests",
        world.requests.len()
    );
    let names = spec.dns_names.clone().unwrap_or_default();
    let certificate = parse_chain(world.entry("tls.crt")).unwrap().remove(0);
    let key = PrivateKey::from_pem(world.entry("tls.key")).unwrap();
    prop_assert!(verify_key_matches(&certificate, &key).is_ok());
    prop_assert_eq!(certificate.sans().dns_names, names);
    prop_assert!(disabled || certificate.not_after() > world.now);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_spec_is_issued_or_refused(spec in spec(), in_process: bool) {
        let mut world = World::new(&spec);
        world.issuer = IssuerState::Ready { in_process };
        settles(world)?;
    }

    #[test]
    fn after_any_blows_it_is_issued_or_refused(spec in spec(), blows in prop::collection::vec(blow(), 1..12)) {
        let mut world = World::new(&spec);
        world.run(12);
        for blow in blows {
            strike(&mut world, blow);
        }
        settles(world)?;
    }

    #[test]
    fn no_state_is_too_strange(
        now in time(),
        times in prop::array::uniform4(prop::option::of(time())),
        numbers in prop::array::uniform2(prop::option::of(prop_oneof![any::<i64>(), Just(i64::MAX), -2..5_i64])),
        conditions in prop::collection::vec(strange_condition(), 0..3),
        spec in spec(),
        outcome in 0..7,
    ) {
        let mut world = World::issued(&json!({}));
        world.edit(&spec);
        world.now = now;
        let status = world.certificate.status.as_mut().unwrap();
        let [failed, renewal, changed, recovered] = times;
        status.last_failure_time = failed.map(Time);
        status.renewal_time = renewal.map(Time);
        (world.issuer_changed, world.recovered) = (changed, recovered);
        [status.revision, status.failed_issuance_attempts] = numbers;
        status.conditions = Some(conditions);
        let seen = world.observe();
        let first = plan(&seen, &world.settings, now);
        prop_assert!(first.wake.is_none_or(|w| w.as_secs() < 400_000_000_000));
        let name = key_secret_name(&world.certificate, seen.next_revision());
        let (key, certificate) = pair(&["x"], START, world.lifetime);
        let data = SecretData { key: key.clone(), certificate, ca: None, outputs: Entries::new() };
        let outcome = match outcome {
            0 => Outcome::Prepared { csr: name, key: None },
            1 => Outcome::Prepared { csr: "?".into(), key: Some(key.into()) },
            2 => Outcome::Loaded(data),
            3 => Outcome::KeyLost,
            4 => Outcome::Unbuildable("?".into()),
            5 => Outcome::Unmakable("?".into()),
            _ => Outcome::Repaired(data),
        };
        prop_assert_eq!(absorb(&seen, &world.settings, outcome, now).effect, None);
    }
}

fn time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        Just(Timestamp::MIN),
        Just(Timestamp::MAX),
        (0..1_i64 << 33).prop_map(|s| Timestamp::from_second(s).unwrap()),
        (-10_000_000..10_000_000_i64).prop_map(|s| START + SignedDuration::from_secs(s)),
    ]
}

fn strange_condition() -> impl Strategy<Value = crate::api::meta::Condition> {
    let kind = prop::sample::select(vec!["Ready", "Issuing", "Other", ""]);
    (kind, any::<bool>(), prop::option::of(time())).prop_map(|(kind, status, time)| {
        let mut made = condition(kind, status, "Reason", "message", Some(7));
        made.last_transition_time = time.map(Time);
        made
    })
}
