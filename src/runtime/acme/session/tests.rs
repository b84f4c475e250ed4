//! An Order against a CA with faults (reliability: what may come back from an ACME server): what becomes of it, what it
//! costs, what it says. Time is the test's own: a wait of a day takes no longer than one of a second.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod challenges;

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use crate::acme::limits::{Ask, Ca, Exemption, Id, Ledger, Policy, Turn};
use crate::acme::tests::fake::Response;
use crate::acme::tests::scripted::{Call, Issue, ScriptedCa};
use crate::acme::{Hooks, Status};
use crate::api::order::state;
use crate::api::{Challenge, Order};
use crate::controllers::action::{Action, Object, Plan, Target};
use crate::controllers::challenge;
use crate::controllers::facts::IssuerFact;
use crate::controllers::order::{self, Effect, Memo, Observation, Question, has_ended};
use crate::controllers::status::condition;
use crate::issuers::acme::{Account, Trouble};
use crate::pki::{
    CertificateSigningRequest, Curve, KeyAlgorithm, KeyEncoding, PrivateKey, RequestParams,
    build_request,
};
use crate::runtime::acme::accounts::AccountsInUse;
use crate::runtime::acme::session::Session;
use crate::runtime::clock;
use crate::runtime::signing::Signer;

/// Longer than any CA may ask for.
const PATIENCE: SignedDuration = SignedDuration::from_hours(10 * 24);

/// What the ledger is told of the Order.
fn asks(now: Timestamp) -> (Ca, Id, Ask) {
    let ca = Ca {
        directory: "https://ca.example/dir".into(),
        policy: Policy::of("https://ca.example/dir", 9),
        issuer: ("shop".into(), "ca".into()),
    };
    let ask = Ask {
        account: "https://ca.example/account/1".into(),
        names: Ask::normal(["a.example.com".to_owned()]),
        profile: None,
        exemption: Exemption::Nothing,
        expires: None,
        since: now,
    };
    (ca, ("shop".into(), "site-1-1".into()), ask)
}

/// One Order, its account, and the CA.
struct World {
    ca: ScriptedCa,
    accounts: AccountsInUse,
    account: Account,
    key: PrivateKey,
    seen: Observation,
    ledger: Ledger,
    began: Timestamp,
    now: Timestamp,
    /// Everything that the Order has ever given as its reason.
    said: Vec<String>,
    /// All waits, in seconds.
    waits: Vec<u64>,
}

impl World {
    async fn new() -> Self {
        let ca = ScriptedCa::start();
        let account = registered(&ca).await;
        let key = PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256)).unwrap();
        let csr = request(&key, "a.example.com");
        let order: Order = serde_json::from_value(json!({
            "metadata": { "namespace": "shop", "name": "site-1-1", "uid": "uid", "resourceVersion": "1" },
            "spec": {
                "dnsNames": ["a.example.com"],
                "issuerRef": { "name": "ca" },
                "request": k8s_openapi::ByteString(csr.into_bytes()),
            },
        }))
        .unwrap();
        let solvers = json!([{ "http01": { "ingress": { "ingressClassName": "traefik" } } }]);
        let spec = json!({ "acme": {
            "server": "https://ca.example/dir", "privateKeySecretRef": { "name": "a" }, "solvers": solvers } });
        let ready = condition("Ready", true, "ACMEAccountRegistered", "", None);
        let status = crate::api::IssuerStatus {
            conditions: Some(vec![ready]),
            ..Default::default()
        };
        let spec = serde_json::from_value(spec).unwrap();
        let issuer = IssuerFact::of(&ObjectMeta::default(), spec, Some(status));
        // At no fraction of a second: nothing is spread.
        let now = Timestamp::from_second(clock::now().as_second()).unwrap();
        Self {
            seen: Observation {
                order: order.into(),
                issuer: Some(issuer.into()),
                thumbprint: Some(account.thumbprint.clone()),
                challenges: vec![],
                ahead: None,
                turn: Turn::Go,
                memo: Memo::default(),
                made: None,
                orphaned: false,
                in_use_until: None,
            },
            ledger: Ledger::default(),
            accounts: AccountsInUse::new(Hooks::default(), Arc::new(Signer::default())),
            ca,
            account,
            key,
            began: now,
            now,
            said: vec![],
            waits: vec![],
        }
    }

    /// The first step: the order is at the CA, and its names are proven.
    async fn ordered() -> Self {
        let mut world = Self::new().await;
        assert!(world.step().await);
        world
    }

    /// Until the Order has ended, waits for its issuer, or has waited for too long.
    async fn run(&mut self) -> &mut Self {
        while !has_ended(&self.seen.order) && self.now.duration_since(self.began) < PATIENCE {
            if !self.step().await {
                break;
            }
        }
        self
    }

    /// One reconcile, as the driver does it; whether there will be another.
    async fn step(&mut self) -> bool {
        let is_new = self
            .seen
            .order
            .status
            .as_ref()
            .is_none_or(|s| s.url.is_none());
        if is_new && self.seen.memo.rests(self.now).is_none() {
            let (ca, id, ask) = asks(self.now);
            self.seen.turn = self.ledger.ask(&ca, &id, "uid", ask, self.now);
        }
        let mut plan = order::plan(&self.seen, self.now);
        let effect = plan.effect.take();
        let acted = !plan.actions.is_empty() || effect.is_some();
        let mut wake = self.carry_out(plan);
        if let Some(effect) = effect {
            let creates = matches!(&effect, Effect::Ask(Question::Create { .. }));
            let outcome = self.ask(effect).await;
            let plan = if let Some((words, retry)) = outcome.refusal().filter(|_| creates) {
                let until = retry.and_then(|retry| self.now.checked_add(retry).ok());
                let (_, id, _) = asks(self.now);
                self.seen.turn = self.ledger.refused(&id, words, until, self.now);
                order::plan(&self.seen, self.now)
            } else {
                let heard = outcome.heard();
                let plan = order::absorb(&self.seen, outcome, self.now);
                self.seen.memo = self.seen.memo.after(heard, plan.wake, self.now);
                plan
            };
            wake = self.carry_out(plan).or(wake);
            if self.account.trouble().is_some() {
                return false;
            }
        }
        if let Some(wake) = wake {
            self.waits.push(wake.as_secs());
            self.now = self.now.checked_add(wake).unwrap();
        }
        acted || wake.is_some()
    }

    async fn ask(&self, effect: Effect) -> order::Outcome {
        let Effect::Ask(question) = effect else {
            panic!("nobody is to look")
        };
        self.accounts
            .order(&self.account, &self.seen, question)
            .await
    }

    fn carry_out(&mut self, plan: Plan<Effect>) -> Option<Duration> {
        for action in plan.actions {
            match action {
                Action::PatchStatus { status, .. } => self.patch(&status),
                Action::Ensure(object) => {
                    let Object::Challenge(mut challenge) = *object else {
                        panic!()
                    };
                    // As if it had been answered at once.
                    challenge.status = serde_json::from_value(json!({ "state": "valid" })).unwrap();
                    self.seen.challenges.push(Arc::new(challenge));
                    self.ca.prove();
                }
                Action::Delete(target, _) => {
                    self.seen.challenges.clear();
                    if target == Target::Order {
                        // Its request makes it anew.
                        let mut order = Order::clone(&self.seen.order);
                        order.status = None;
                        self.seen.order = order.into();
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        plan.wake
    }

    fn patch(&mut self, status: &Value) {
        let mut order = Order::clone(&self.seen.order);
        let mut whole = json!(order.status.unwrap_or_default());
        json_patch::merge(&mut whole, status);
        order.status = serde_json::from_value(whole).unwrap();
        if let Some(reason) = status["reason"].as_str() {
            self.said.push(reason.to_owned());
        }
        self.seen.order = order.into();
    }

    fn state(&self) -> String {
        let status = self.seen.order.status.clone().unwrap_or_default();
        status.state.unwrap_or_default()
    }

    /// How many requests of each kind there were: newOrder, order, finalize, certificate.
    fn requests(&self) -> [usize; 4] {
        [
            Call::NewOrder,
            Call::Order,
            Call::Finalize,
            Call::Certificate,
        ]
        .map(|c| self.ca.count(c))
    }
}

/// An account that the CA knows, as it is loaded from a Secret.
async fn registered(ca: &ScriptedCa) -> Account {
    let config = ca.server.config();
    let spec = serde_json::from_value(json!({
        "server": config.directory_url,
        "caBundle": k8s_openapi::ByteString(config.ca_bundle.unwrap()),
        "privateKeySecretRef": { "name": "a" },
    }))
    .unwrap();
    let key = PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256)).unwrap();
    let pem = key.to_pem(KeyEncoding::Pkcs8).unwrap();
    let secret = Secret::default();
    let account = Account::load(
        &spec,
        pem.as_bytes(),
        &secret,
        Hooks::default(),
        (String::new(), 1, None),
    );
    let account = account.unwrap();
    let known = account.client.new_account(&account.key, None, None).await;
    account.with_url(Some(known.unwrap().url))
}

fn request(key: &PrivateKey, name: &str) -> String {
    let params = RequestParams {
        dns_names: vec![name.to_owned()],
        ..RequestParams::default()
    };
    build_request(&params, key).unwrap()
}

fn der(pem: &str) -> Vec<u8> {
    let csr = CertificateSigningRequest::parse_pem(pem.as_bytes()).unwrap();
    csr.der().to_vec()
}

fn html(status: u16) -> Response {
    Response::new(status, "<html><h1>Service unavailable</h1></html>")
}

fn limited(retry_after: Option<&str>) -> Response {
    let response = Response::problem(429, "rateLimited");
    match retry_after {
        Some(value) => response.with("Retry-After", value),
        None => response,
    }
}

fn date(from_now: SignedDuration) -> String {
    let time = clock::now() + from_now;
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[tokio::test]
async fn an_order_without_faults_costs_what_it_must() {
    let mut world = World::new().await;
    world.run().await;
    assert_eq!(
        (world.state().as_str(), world.requests()),
        ("valid", [1, 1, 1, 1])
    );
    assert_eq!((world.said.len(), world.waits.iter().sum::<u64>()), (0, 0));
    let deactivated = world
        .ca
        .server
        .posts()
        .iter()
        .any(|post| post.payload().contains("deactivated"));
    assert!(!deactivated, "an authorization is never deactivated");
    assert_eq!(world.ca.count(Call::Authorization), 1);

    // One that was proven before needs no challenge.
    let mut world = World::new().await;
    world.ca.reuse_authorizations();
    world.run().await;
    assert_eq!(
        (world.state().as_str(), world.requests()),
        ("valid", [1, 1, 1, 1])
    );
    assert_eq!(world.ca.count(Call::Challenge), 0);
}

#[tokio::test]
async fn an_order_that_is_ready_without_authorizations_is_finalized() {
    let mut world = World::new().await;
    world.ca.reuse_authorizations();
    let url = |path| world.ca.server.url(path);
    let order = json!({ "status": "ready", "authorizations": [], "finalize": url("/finalize/1") });
    let answer = Response::json(201, &order).with("Location", url("/order/1"));
    world.ca.spoil(Call::NewOrder, Some(answer));
    world.run().await;
    assert_eq!(
        (world.state().as_str(), world.requests()),
        ("valid", [1, 1, 1, 1])
    );
}

/// The API server would refuse it, and with it the URL of the order, which would be made again and again.
#[tokio::test]
async fn a_state_that_the_api_does_not_have_is_not_stored() {
    for (said, stored) in [
        ("deactivated", Some("expired")),
        ("revoked", Some("expired")),
        ("paused", None),
        ("pending", Some("pending")),
    ] {
        let mut world = World::new().await;
        let authorization = json!({
            "status": said,
            "identifier": { "type": "dns", "value": "a.example.com" },
            "challenges": [{ "type": "http-01", "url": world.ca.server.url("/challenge/1"), "token": "t" }],
        });
        let answer = Response::json(200, &authorization);
        world.ca.fault(Call::Authorization, 1, Some(answer));
        assert!(world.step().await);
        let status = world.seen.order.status.clone().unwrap();
        let authorizations = status.authorizations.unwrap();
        assert_eq!(authorizations[0].initial_state.as_deref(), stored, "{said}");
    }
    let all = [
        Status::Pending,
        Status::Ready,
        Status::Processing,
        Status::Valid,
        Status::Invalid,
        Status::Expired,
        Status::Deactivated,
        Status::Revoked,
        Status::Unknown,
    ];
    for word in all.into_iter().filter_map(Status::stored) {
        assert!(state::ALL.contains(&word), "{word}");
    }
}

/// (What newOrder is answered how often, the waits in seconds, what is said of them.)
#[allow(clippy::too_many_lines, reason = "a table")]
#[tokio::test]
async fn a_ca_that_refuses_for_now_is_asked_again_when_it_must_be() {
    let day = 24 * 60 * 60;
    let pause = json!({
        "type": "urn:ietf:params:acme:error:rateLimited",
        "detail": "Your account is temporarily prevented from requesting certificates for a.example.com and \
                   possibly others. Please visit: https://ca.example/sfe/v1/unpause?jwt=eyJ.x",
    });
    let in_a_day = date(SignedDuration::from_hours(24));
    let in_a_month = date(SignedDuration::from_hours(24 * 30));
    let asked = "as the CA asks";
    let limited_until = "waits for a limit of the CA, next slot";
    for (name, response, times, waits, says) in [
        (
            "429, seconds",
            Some(limited(Some("120"))),
            2,
            &[120, 120][..],
            limited_until,
        ),
        (
            "429, a date",
            Some(limited(Some(&in_a_day))),
            1,
            &[day],
            limited_until,
        ),
        (
            "429, a date far away",
            Some(limited(Some(&in_a_month))),
            1,
            &[7 * day],
            limited_until,
        ),
        (
            "429, ten years",
            Some(limited(Some("315360000"))),
            1,
            &[day],
            limited_until,
        ),
        (
            "429, at once",
            Some(limited(Some("0"))),
            1,
            &[60],
            limited_until,
        ),
        (
            "429, a date that has passed",
            Some(limited(Some("Wed, 21 Oct 2015 07:28:00 GMT"))),
            1,
            &[60],
            limited_until,
        ),
        (
            "429, garbage",
            Some(limited(Some("soon"))),
            1,
            &[60],
            limited_until,
        ),
        (
            "429 only",
            Some(limited(None)),
            4,
            &[60, 600, 6000, day],
            limited_until,
        ),
        (
            "429 by a proxy that does not say until when",
            Some(html(429)),
            3,
            &[5, 10, 20],
            "429: the reply of 127.0.0.1",
        ),
        (
            "429 by a proxy",
            Some(html(429).with("Retry-After", "300")),
            1,
            &[300],
            limited_until,
        ),
        (
            "paused",
            Some(Response::json(429, &pause)),
            1,
            &[day],
            "for a.example.com and possibly others. Please visit: https://ca.example/sfe/v1/unpause?jwt=eyJ.x. Next attempt at",
        ),
        (
            "503, HTML, seconds",
            Some(html(503).with("Retry-After", "7")),
            1,
            &[7],
            asked,
        ),
        (
            "503, HTML",
            Some(html(503)),
            3,
            &[5, 10, 20],
            "503: the reply of 127.0.0.1",
        ),
        (
            "500",
            Some(Response::problem(500, "serverInternal")),
            1,
            &[5],
            "serverInternal",
        ),
        (
            "HTML instead of an order",
            Some(html(200)),
            1,
            &[5],
            "no Location of the order",
        ),
        (
            "a body without end",
            Some(Response::new(200, vec![b' '; 3 << 20])),
            1,
            &[5],
            "is over 1048576 bytes",
        ),
        (
            "a broken connection",
            None,
            1,
            &[5],
            "cannot reach 127.0.0.1",
        ),
        (
            "no nonce is good",
            Some(Response::problem(400, "badNonce")),
            6,
            &[5],
            "badNonce",
        ),
    ] {
        let mut world = World::new().await;
        world.ca.fault(Call::NewOrder, times, response);
        world.run().await;
        let near = |(a, b): (&u64, &u64)| a.abs_diff(*b) <= 2;
        let fits = world.waits.len() >= waits.len() && world.waits.iter().zip(waits).all(near);
        assert!(fits, "{name}: {:?}", world.waits);
        assert!(world.said[0].contains(says), "{name}: {:?}", world.said);
        assert!(world.said[0].len() < 700, "{name}");
        assert_eq!(world.state(), "valid", "{name}");
        assert_eq!(world.requests(), [times + 1, 1, 1, 1], "{name}");
    }
}

/// It would be made a second time otherwise.
#[tokio::test]
async fn an_order_whose_authorizations_cannot_be_read_at_first_is_kept() {
    let mut world = World::new().await;
    world.ca.fault(Call::Authorization, 2, Some(html(502)));
    world.run().await;
    assert_eq!(
        (world.state().as_str(), world.requests()),
        ("valid", [1, 3, 1, 1])
    );
    let waited = world.waits.iter().sum::<u64>();
    assert_eq!(waited, 5, "for the second fault, not for the first");
    assert_eq!(world.said.len(), 1, "{:?}", world.said);
}

#[tokio::test]
async fn what_wakes_an_order_does_not_make_it_ask() {
    let mut world = World::new().await;
    world
        .ca
        .fault(Call::NewOrder, 1, Some(limited(Some("3600"))));
    world.step().await;
    let then = world.now;
    world.now = world.began;
    for _ in 0..20 {
        let plan = order::plan(&world.seen, world.now);
        assert_eq!((plan.actions.len(), plan.effect), (0, None));
        assert!(plan.wake.unwrap() >= Duration::from_secs(3590));
    }
    world.now = then;
    world.run().await;
    assert_eq!((world.state().as_str(), world.requests()[0]), ("valid", 2));
}

/// The CA counts it then.
#[tokio::test]
async fn an_order_that_was_made_without_what_it_replaces_says_so() {
    for (faults, expected) in [(0, false), (1, true)] {
        let mut world = World::new().await;
        let mut order = Order::clone(&world.seen.order);
        order.spec.replaces = Some("key.serial".into());
        world.seen.order = order.into();
        let refusal = Response::problem(409, "alreadyReplaced");
        world.ca.fault(Call::NewOrder, faults, Some(refusal));
        let effect = order::plan(&world.seen, world.now).effect.unwrap();
        let order::Outcome::Read(made) = world.ask(effect).await else {
            panic!()
        };
        assert_eq!(made.without_replaces, expected);
    }
}

/// Whatever it is read for.
#[tokio::test]
async fn an_order_that_the_ca_has_given_up_says_why_and_since_when() {
    let mut world = World::new().await;
    world.ca.fault(Call::Authorization, 1, Some(html(502)));
    assert!(world.step().await, "nothing is known but the URL");
    let problem =
        json!({ "type": "urn:ietf:params:acme:error:caa", "detail": "forbidden", "status": 403 });
    let order = json!({
        "status": "invalid", "error": problem, "authorizations": [], "finalize": world.ca.server.url("/finalize/1"),
    });
    let answer = Response::json(200, &order);
    world.ca.fault(Call::Order, 1, Some(answer));
    world.run().await;
    let status = world.seen.order.status.clone().unwrap();
    assert_eq!(status.state.as_deref(), Some("invalid"));
    let reason = "Failed to finalize Order: 403 urn:ietf:params:acme:error:caa: forbidden";
    assert_eq!(status.reason.as_deref(), Some(reason));
    assert!(status.failure_time.is_some());
}

/// (What becomes of the certificate, what is said.)
#[tokio::test]
async fn a_certificate_that_is_not_the_one_asked_for_is_never_stored() {
    let stranger = PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256)).unwrap();
    let other_key = der(&request(&stranger, "a.example.com"));
    let skewed = |begins| Issue {
        begins,
        ..Issue::default()
    };
    let minutes = SignedDuration::from_mins;
    for (name, issue, state, says) in [
        (
            "other key",
            Issue {
                instead: Some(other_key),
                ..Issue::default()
            },
            "errored",
            "another public key",
        ),
        (
            "other names",
            Issue::default(),
            "errored",
            "it does not name \"a.example.com\"",
        ),
        (
            "expired",
            skewed(minutes(-61)),
            "errored",
            "it has expired at",
        ),
        (
            "of tomorrow",
            skewed(minutes(11)),
            "errored",
            "the clock of the CA or of this node is wrong",
        ),
        ("of a clock that is ahead", skewed(minutes(9)), "valid", ""),
        (
            "in the wrong order",
            Issue {
                reversed: true,
                ..Issue::default()
            },
            "errored",
            "does not come first",
        ),
        (
            "with a stranger in it",
            Issue {
                stranger: true,
                ..Issue::default()
            },
            "valid",
            "",
        ),
    ] {
        let mut world = World::ordered().await;
        let mut issue = issue;
        if name == "other names" {
            issue.instead = Some(der(&request(&world.key, "b.example.com")));
        }
        world.ca.issue(issue);
        world.run().await;
        assert_eq!(world.state(), state, "{name}");
        // Of another key it may be because another client has ended the order: there is a second one, and no third.
        let orders = if name == "other key" { 2 } else { 1 };
        assert_eq!(world.requests(), [orders; 4], "{name}");
        let said = world.said.concat();
        assert!(said.contains(says), "{name}: {said}");
        let stored = world
            .seen
            .order
            .status
            .as_ref()
            .unwrap()
            .certificate
            .is_some();
        assert_eq!(stored, state == "valid", "{name}");
        if stored {
            let status = world.seen.order.status.clone().unwrap();
            let chain = crate::pki::parse_chain(&status.certificate.unwrap().0).unwrap();
            assert_eq!(chain.len(), 2, "{name}");
            crate::pki::check_chain_order(&chain).unwrap();
        }
    }
}

#[tokio::test]
async fn an_order_goes_on_where_it_stands() {
    // Finalize was carried out, and its answer lost.
    let mut world = World::ordered().await;
    world.ca.spoil(Call::Finalize, None);
    world.run().await;
    assert_eq!(
        (world.state().as_str(), world.requests()),
        ("valid", [1, 2, 1, 1])
    );

    // Finalize is refused because somebody has finalized it meanwhile, in both ways that CAs say so.
    // DigiCert says `malformed`, and issues.
    for (status, kind) in [
        (403, "orderNotReady"),
        (403, "unauthorized"),
        (400, "malformed"),
    ] {
        let mut world = World::ordered().await;
        let refusal = Response::problem(status, kind);
        world.ca.spoil(Call::Finalize, Some(refusal));
        world.run().await;
        assert_eq!(
            (world.state().as_str(), world.requests()),
            ("valid", [1, 2, 1, 1]),
            "{kind}"
        );
        assert_eq!(world.said.len(), 0, "{kind}");
    }

    // What it does not go on with is refused in its own words.
    let mut world = World::ordered().await;
    let refusal = Response::problem(400, "badCSR");
    world.ca.fault(Call::Finalize, 1, Some(refusal));
    world.run().await;
    assert_eq!(
        (world.state().as_str(), world.requests()),
        ("errored", [1, 2, 1, 0])
    );
    assert!(world.said.concat().contains("badCSR"));

    // The certificate cannot be fetched for a while.
    let mut world = World::ordered().await;
    world.ca.fault(Call::Certificate, 2, Some(html(502)));
    world.run().await;
    assert_eq!(
        (world.state().as_str(), world.requests()),
        ("valid", [1, 3, 1, 3])
    );
}

/// Venafi refuses it until it is made; a replica that lags behind does not know of it.
#[tokio::test]
async fn a_certificate_that_is_not_handed_out_yet_is_waited_for() {
    for (status, kind) in [
        (401, "unauthorized"),
        (403, "unauthorized"),
        (404, "malformed"),
    ] {
        for (faults, state) in [(3, "valid"), (9, "errored")] {
            let mut world = World::ordered().await;
            let refusal = Response::problem(status, kind);
            world.ca.fault(Call::Certificate, faults, Some(refusal));
            world.run().await;
            assert_eq!(world.state(), state, "{status} {kind}");
            let [orders, _, finalized, _] = world.requests();
            assert_eq!((orders, finalized), (1, 1), "{status} {kind}");
            assert_eq!(world.account.trouble(), None);
            let said = world.said.concat();
            assert!(
                said.contains("(EL-1420)") && !said.contains("EL-1421"),
                "{said}"
            );
        }
    }
    // The account was closed in that moment.
    let mut world = World::ordered().await;
    world.ca.fault(
        Call::Certificate,
        1,
        Some(Response::problem(401, "unauthorized")),
    );
    let closed = Response::problem(401, "unauthorized");
    world.ca.fault(Call::NewAccount, 1, Some(closed));
    world.run().await;
    assert!(matches!(world.account.trouble(), Some(Trouble::Blocked(_))));
}

/// ACME-Server-ADCS before 2.1.4 leaves the `*.` where it is.
#[tokio::test]
async fn a_wildcard_is_one_however_its_authorization_names_it() {
    for (name, wildcard) in [("*.example.com", json!(null)), ("example.com", json!(true))] {
        let mut world = World::new().await;
        let mut order = Order::clone(&world.seen.order);
        order.spec.dns_names = Some(vec!["*.example.com".into()]);
        world.seen.order = order.into();
        let authorization = json!({
            "status": "pending", "wildcard": wildcard,
            "identifier": { "type": "dns", "value": name },
            "challenges": [{ "type": "dns-01", "url": world.ca.server.url("/challenge/1"), "token": "t" }],
        });
        let answer = Response::json(200, &authorization);
        world.ca.fault(Call::Authorization, 1, Some(answer));
        assert!(world.step().await);
        let status = world.seen.order.status.clone().unwrap();
        assert_eq!(status.state.as_deref(), Some("pending"), "{:?}", world.said);
        let [kept] = &status.authorizations.unwrap()[..] else {
            panic!()
        };
        assert_eq!(kept.identifier.as_deref(), Some("example.com"));
        assert_eq!(kept.wildcard, Some(true));
    }
}

/// (How often the other chain cannot be fetched, how often it is tried, for how many seconds.)
#[tokio::test]
async fn a_chain_that_is_preferred_is_waited_for_but_not_for_ever() {
    for (faults, tries, waited) in [(0, 1, 0), (1, 2, 5), (9, 4, 35)] {
        let mut world = World::ordered().await;
        let issuer = Arc::make_mut(world.seen.issuer.as_mut().unwrap());
        let acme = issuer.spec.acme.as_mut().unwrap();
        acme.preferred_chain = Some("another root".into());
        world.ca.fault(Call::Alternate, faults, Some(html(502)));
        world.run().await;
        assert_eq!(
            (world.state().as_str(), world.requests()),
            ("valid", [1, tries, 1, tries])
        );
        assert_eq!(world.ca.count(Call::Alternate), tries);
        assert_eq!(world.waits.iter().sum::<u64>(), waited);
    }
}

/// (The state that the CA does not leave, what is said.)
#[tokio::test]
async fn a_ca_that_comes_to_no_end_is_given_up_in_time() {
    for stuck in ["processing", "valid", "ready", "new-state"] {
        let mut world = World::ordered().await;
        world.ca.stick(Some(stuck));
        world.run().await;
        assert_eq!(world.state(), "errored", "{stuck}");
        let said = world.said.concat();
        assert!(said.contains("for an hour"), "{said}");
        let took = world.now.duration_since(world.began);
        assert!(took < SignedDuration::from_mins(62), "{stuck}: {took}");
        let [orders, looks, ..] = world.requests();
        assert!(orders == 1 && looks < 300, "{stuck}: {looks} looks");
    }
    // It comes to an end after all.
    let mut world = World::ordered().await;
    world.ca.stick(Some("processing"));
    for _ in 0..8 {
        world.step().await;
    }
    world.ca.stick(None);
    world.run().await;
    assert_eq!((world.state().as_str(), world.requests()[2]), ("valid", 1));
}

#[tokio::test]
async fn an_order_that_the_ca_has_lost_ends() {
    // A replica that lags behind does not know of it for a moment.
    for (answers, state) in [(3, "valid"), (4, "errored")] {
        for call in [Call::Order, Call::Authorization] {
            let mut world = World::new().await;
            if call == Call::Authorization {
                world.ca.fault(call, 1, Some(html(502)));
            }
            assert!(world.step().await, "{:?}", world.said);
            let lost = Some(Response::problem(404, "malformed"));
            world.ca.fault(call, answers, lost);
            world.run().await;
            assert_eq!(world.state(), state, "{call:?}");
            let said = world.said.concat();
            assert!(
                said.contains("Failed to retrieve") && said.contains(": 404"),
                "{said}"
            );
            let waited: u64 = world.waits.iter().sum();
            assert!((35..60).contains(&waited), "{waited}");
            assert_eq!(world.requests()[0], 1);
        }
    }
}

#[tokio::test]
async fn an_account_that_the_ca_does_not_take_is_its_issuers_matter() {
    let terms = json!({
        "type": "urn:ietf:params:acme:error:userActionRequired",
        "detail": "Terms of service have changed",
        "instance": "https://ca.example/agree?token=1",
    });
    for ordered in [false, true] {
        // The CA was rebuilt, has closed the account, or has other terms.
        for (name, blocked) in [
            ("rebuilt", None),
            (
                "closed",
                Some("delete the Secret of spec.acme.privateKeySecretRef"),
            ),
            (
                "terms",
                Some("Do at https://ca.example/agree?token=1 what it asks for"),
            ),
        ] {
            let mut world = if ordered {
                World::ordered().await
            } else {
                World::new().await
            };
            let before = world.seen.order.clone();
            match name {
                "rebuilt" => world.ca.forget(),
                "closed" => world.ca.set_accounts("deactivated"),
                _ => {
                    let call = if ordered { Call::Order } else { Call::NewOrder };
                    world.ca.fault(call, 1, Some(Response::json(403, &terms)));
                }
            }
            world.run().await;
            assert_eq!(world.seen.order, before, "{name}: the Order waits as it is");
            match (world.account.trouble().unwrap(), blocked) {
                (Trouble::Unknown, None) => {}
                (Trouble::Blocked(why), Some(says)) => assert!(why.contains(says), "{name}: {why}"),
                other => panic!("{name}: {other:?}"),
            }
            assert!(
                !world.account.is_usable(),
                "{name}: nobody else asks with it"
            );
            assert_eq!(
                world.ca.count(Call::NewAccount),
                if name == "closed" { 2 } else { 1 }
            );
        }
    }
    // What is refused for its own sake leaves the account alone.
    let mut world = World::new().await;
    world.ca.fault(
        Call::NewOrder,
        1,
        Some(Response::problem(403, "unauthorized")),
    );
    world.run().await;
    assert_eq!(world.state(), "errored");
    assert_eq!(world.account.trouble(), None);
}

#[tokio::test]
async fn the_end_of_an_order_is_known_from_the_ca() {
    let mut world = World::new().await;
    let end = Timestamp::from_second(world.now.as_second() + 3600).unwrap();
    world.ca.expires(end);
    world.step().await;
    let status = world.seen.order.status.clone().unwrap();
    assert_eq!(status.expires.map(|end| end.0), Some(end));
    // Not proven in time.
    for challenge in &mut world.seen.challenges {
        let challenge: &mut Challenge = Arc::make_mut(challenge);
        challenge.status = None;
    }
    let wait = order::plan(&world.seen, world.now).wake.unwrap();
    assert!(
        wait > Duration::from_mins(59) && wait < Duration::from_hours(1),
        "{wait:?}"
    );
    world.now = end;
    world.run().await;
    assert_eq!(
        (world.state().as_str(), world.requests()),
        ("expired", [1, 0, 0, 0])
    );
}

/// step-ca leaves the authorization open when its challenge has failed; Vault works on one and says what is in its way.
#[tokio::test]
async fn a_challenge_says_more_than_an_open_authorization() {
    let ca = ScriptedCa::start();
    let account = registered(&ca).await;
    let session = Session::new(&account, clock::now()).unwrap();
    let url = "https://ca.example/challenge/1";
    for (status, state) in [
        ("pending", "pending"),
        ("processing", "processing"),
        ("invalid", "invalid"),
        ("valid", "pending"),
    ] {
        let error = json!({ "type": "urn:ietf:params:acme:error:dns", "detail": "none of t0ken", "status": 400 });
        let challenge = json!({ "type": "http-01", "url": url, "token": "t0ken", "status": status, "error": error });
        let authorization = json!({ "status": "pending", "challenges": [challenge] });
        let answer = Response::json(200, &authorization);
        ca.fault(Call::Authorization, 1, Some(answer));
        let open = session.poll(&ca.server.url("/authz/1"), url).await;
        let reason =
            "Error accepting authorization: 400 urn:ietf:params:acme:error:dns: none of <token>";
        assert_eq!(
            open,
            challenge::Outcome::State {
                state: state.into(),
                reason: Some(reason.into()),
                retry: None,
            }
        );
    }
}
