use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tokio::time::Instant;

use super::super::client::CALL_TIMEOUT;
use super::super::transport::{Transport, bounds};
use super::super::url::Origin;
use super::super::{
    AccountRef, Action, CallStage, Class, Client, Eab, Error, Hooks, Identifier, ServerConfig,
    Status, TRANSPORT_FAILURE,
};
use super::fake::{FakeServer, Response};
use crate::net::Unanswered;
use crate::pki::{Curve, KeyAlgorithm, PrivateKey};

fn key() -> PrivateKey {
    PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256)).unwrap()
}

/// An address where nobody listens, nor will while the socket is kept.
fn deaf() -> (TcpSocket, SocketAddr) {
    let taken = TcpSocket::new_v4().unwrap();
    taken.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = taken.local_addr().unwrap();
    (taken, address)
}

pub(super) fn account(server: &FakeServer) -> AccountRef {
    AccountRef {
        key: Arc::new(key()),
        kid: server.url("/account/1"),
    }
}

fn valid() -> Value {
    json!({"status": "valid"})
}

#[tokio::test]
async fn an_account_is_registered_found_and_changed() {
    let server = FakeServer::start(|request| {
        let payload: Value = serde_json::from_str(&request.payload()).unwrap();
        Some(
            match (
                request.path.as_str(),
                payload["onlyReturnExisting"].as_bool(),
            ) {
                ("/account", Some(true)) => Response::problem(400, "accountDoesNotExist"),
                ("/account", _) => Response::json(
                    201,
                    &json!({"status": "valid", "contact": payload["contact"]}),
                )
                .with("Location", "/account/1"),
                _ => Response::json(
                    200,
                    &json!({"status": "valid", "contact": payload["contact"]}),
                ),
            },
        )
    });
    let (client, key) = (server.client(), key());
    let error = client.find_account(&key).await.unwrap_err();
    assert!(error.problem().unwrap().is("accountDoesNotExist"));

    let eab = Eab::new("kid-1", b"c2VjcmV0").unwrap();
    let made = client
        .new_account(&key, Some("Admin@Example.com"), Some(&eab))
        .await
        .unwrap();
    assert!(made.created);
    assert_eq!(made.url, server.url("/account/1"));
    assert_eq!(
        (made.status, made.contact),
        (Status::Valid, vec!["mailto:admin@example.com".to_owned()])
    );

    let reference = AccountRef {
        key: Arc::new(key),
        kid: made.url,
    };
    let changed = client.update_contact(&reference, None).await.unwrap();
    assert!(changed.contact.is_empty() && !changed.created);

    let posts = server.posts();
    let payload: Value = serde_json::from_str(&posts[1].payload()).unwrap();
    assert_eq!(payload["termsOfServiceAgreed"], true);
    assert!(payload["externalAccountBinding"]["signature"].is_string());
    assert!(posts[1].protected()["jwk"].is_object() && posts[1].protected()["kid"].is_null());
    assert!(posts[2].protected()["jwk"].is_null());
    assert_eq!(posts[2].protected()["kid"], reference.kid);
    assert_eq!(posts[2].payload(), r#"{"contact":[]}"#);
    for post in &posts {
        assert_eq!(post.header("content-type"), Some("application/jose+json"));
        assert_eq!(post.header("user-agent"), Some("everleaf-test/1"));
        assert_eq!(post.protected()["url"], server.url(&post.path));
    }
}

/// RFC 8555 §7.3.5, with keys of all types that accounts have.
#[tokio::test]
async fn the_key_of_an_account_is_changed_by_both_keys() {
    let ca = super::scripted::ScriptedCa::start();
    let client = ca.client();
    let mut account = ca.account();
    for algorithm in [
        KeyAlgorithm::Ecdsa(Curve::P384),
        KeyAlgorithm::Ed25519,
        KeyAlgorithm::Rsa { bits: 2048 },
    ] {
        let next = PrivateKey::generate(algorithm).unwrap();
        client.change_key(&account, &next).await.unwrap();
        assert_eq!(ca.keys().len(), 1, "the same account");
        let found = client.find_account(&next).await.unwrap();
        assert_eq!(found.url, account.kid);
        let error = client.find_account(&account.key).await.unwrap_err();
        assert!(error.problem().unwrap().is("accountDoesNotExist"));
        account.key = Arc::new(next);
    }
    let posts = ca.server.posts();
    let outer = posts[0].protected();
    assert_eq!(
        (&outer["kid"], &outer["alg"]),
        (&json!(account.kid), &json!("ES256"))
    );
    let inner: Value = serde_json::from_str(&posts[0].payload()).unwrap();
    assert!(inner["protected"].is_string() && inner["signature"].is_string());
}

#[tokio::test]
async fn directory_and_nonces_are_used_again() {
    let server = FakeServer::start(|_| Some(Response::json(200, &valid())));
    let (client, account) = (server.client(), account(&server));
    for _ in 0..3 {
        client
            .order(&account, &server.url("/order/1"))
            .await
            .unwrap();
    }
    let methods: Vec<_> = server
        .seen()
        .into_iter()
        .map(|request| request.method)
        .collect();
    assert_eq!(methods, ["GET", "HEAD", "POST", "POST", "POST"]);
    let nonces: Vec<_> = server
        .posts()
        .iter()
        .map(|post| post.protected()["nonce"].clone())
        .collect();
    assert_eq!(nonces, ["nonce-2", "nonce-3", "nonce-4"]);
    assert_eq!(server.posts()[0].payload(), "");
}

#[tokio::test]
async fn a_refused_nonce_is_replaced_at_most_five_times() {
    for (refusals, expected) in [(0, Ok(1)), (5, Ok(6)), (6, Err(6))] {
        let count = AtomicUsize::new(0);
        let server = FakeServer::start(move |_| {
            let bad = count.fetch_add(1, Ordering::SeqCst) < refusals;
            Some(if bad {
                Response::problem(400, "badNonce")
            } else {
                Response::json(200, &valid())
            })
        });
        let account = account(&server);
        let result = server
            .client()
            .order(&account, &server.url("/order/1"))
            .await;
        let posts = server.posts().len();
        match &result {
            Ok(_) => assert_eq!(expected, Ok(posts)),
            Err(error) => {
                assert!(error.problem().unwrap().is("badNonce"));
                assert_eq!(error.class(), Class::Transient);
                assert_eq!(expected, Err(posts));
            }
        }
        let heads = server
            .seen()
            .iter()
            .filter(|request| request.method == "HEAD")
            .count();
        assert_eq!(heads, 1);
    }
}

#[tokio::test]
async fn an_old_nonce_is_not_used() {
    let server = FakeServer::start(|_| Some(Response::json(200, &valid())));
    let (client, account) = (server.client(), account(&server));
    let url = server.url("/order/1");
    for (age, fetched) in [(0, 1), (9, 1), (10, 2)] {
        client.age_nonces(Duration::from_mins(age));
        client.order(&account, &url).await.unwrap();
        let seen = server.seen();
        let heads = seen.iter().filter(|request| request.method == "HEAD");
        assert_eq!(heads.count(), fetched, "{age} minutes");
    }
}

/// Dogtag does not say that it does not know a nonce: status 500, an HTML page and no nonce.
#[tokio::test]
async fn an_unknown_nonce_may_be_an_internal_error() {
    let page = |status| Response::new(status, "<html>").without_nonce();
    let internal = || Response::problem(500, "serverInternal").without_nonce();
    for (faults, posts, status) in [
        (vec![page(500)], 2, None),
        (vec![page(500), page(500)], 2, Some(500)),
        // What a proxy says, or the CA of itself.
        (vec![page(502)], 1, Some(502)),
        (vec![page(503)], 1, Some(503)),
        (vec![internal()], 1, Some(500)),
        (vec![Response::new(500, "<html>")], 1, Some(500)),
    ] {
        let faults = Mutex::new(faults.into_iter());
        let server = FakeServer::start(move |request| {
            let fault = || faults.lock().unwrap().next();
            let is_first = request.path == "/order/first";
            let answer = if is_first { None } else { fault() };
            Some(answer.unwrap_or_else(|| Response::json(200, &valid())))
        });
        let (client, account) = (server.client(), account(&server));
        let url = server.url("/order/first");
        client.order(&account, &url).await.unwrap();
        let second = client.order(&account, &server.url("/order/1")).await;
        assert_eq!(second.err().and_then(|error| error.status()), status);
        assert_eq!(server.posts().len() - 1, posts);
    }
    // The nonce was new: it is not that.
    let server = FakeServer::start(move |_| Some(page(500)));
    let (client, account) = (server.client(), account(&server));
    let order = client.order(&account, &server.url("/order/1")).await;
    assert_eq!(order.unwrap_err().status(), Some(500));
    assert_eq!(server.posts().len(), 1);
}

/// The next question has a new nonce.
#[tokio::test]
async fn an_order_is_not_asked_for_twice_where_an_unknown_nonce_may_be_an_internal_error() {
    let faults = Mutex::new(vec![Response::new(500, "<html>").without_nonce()].into_iter());
    let server = FakeServer::start(move |request| {
        let is_new_order = request.path == "/order";
        let fault = is_new_order.then(|| faults.lock().unwrap().next());
        Some(
            fault
                .flatten()
                .unwrap_or_else(|| Response::json(200, &valid())),
        )
    });
    let (client, account) = (server.client(), account(&server));
    let names = [Identifier::dns("a.example.com".to_owned())];
    let url = server.url("/order/1");
    client.order(&account, &url).await.unwrap();
    let order = client.new_order(&account, &names, None, None, None).await;
    assert_eq!(order.unwrap_err().status(), Some(500));
    assert_eq!(server.posts().len(), 2);
    client.order(&account, &url).await.unwrap();
    let seen = server.seen();
    let heads = seen.iter().filter(|request| request.method == "HEAD");
    assert_eq!(heads.count(), 2);
}

#[tokio::test]
async fn an_order_goes_through_all_its_urls() {
    let server = FakeServer::start(|request| {
        Some(match request.path.as_str() {
            "/order" => Response::json(201, &json!({
                "status": "pending", "authorizations": ["https://x/1"], "finalize": "https://x/f",
                "expires": "2026-01-01T00:00:00Z", "profile": "short"
            }))
            .with("Location", "/order/7"),
            "/order/7" => Response::json(200, &json!({"status": "processing"})).with("Retry-After", "5"),
            "/authz/1" => Response::json(200, &json!({
                "status": "pending", "wildcard": true, "identifier": {"type": "dns", "value": "example.com"},
                "challenges": [{"type": "dns-01", "url": "https://x/c", "token": "t", "status": "pending"}]
            })),
            "/challenge/1" => Response::json(200, &json!({
                "type": "dns-01", "status": "invalid",
                "error": {"type": "urn:ietf:params:acme:error:dns", "detail": "no TXT", "status": 400}
            })),
            _ => Response::json(200, &json!({"status": "valid", "certificate": "https://x/cert"})),
        })
    });
    let (client, account) = (server.client(), account(&server));
    let names = [
        Identifier::dns("example.com"),
        Identifier::dns("*.example.com"),
    ];
    let not_after = "2026-01-01T00:00:00.7Z".parse().unwrap();
    let order = client
        .new_order(&account, &names, Some(not_after), Some("short"), None)
        .await
        .unwrap();
    assert_eq!(order.url, server.url("/order/7"));
    assert_eq!((order.status, order.retry_after), (Status::Pending, None));
    assert_eq!(
        serde_json::from_str::<Value>(&server.posts()[0].payload()).unwrap(),
        json!({
            "identifiers": [{"type": "dns", "value": "example.com"}, {"type": "dns", "value": "*.example.com"}],
            "notAfter": "2026-01-01T00:00:01Z", "profile": "short"
        })
    );

    let order = client.order(&account, &order.url).await.unwrap();
    assert_eq!(order.status, Status::Processing);
    assert!(order.retry_after.is_some());
    let authorization = client
        .authorization(&account, &server.url("/authz/1"))
        .await
        .unwrap();
    assert!(authorization.wildcard);
    assert_eq!(authorization.challenges[0].kind, "dns-01");
    let challenge = client
        .challenge(&account, &server.url("/challenge/1"))
        .await
        .unwrap();
    assert_eq!(
        challenge.error.unwrap().to_string(),
        "400 urn:ietf:params:acme:error:dns: no TXT"
    );
    client
        .accept(&account, &server.url("/challenge/1"))
        .await
        .unwrap();
    assert_eq!(server.posts().last().unwrap().payload(), "{}");
    let order = client
        .finalize(&account, &server.url("/finalize"), &[1, 2, 255])
        .await
        .unwrap();
    assert_eq!(order.certificate.as_deref(), Some("https://x/cert"));
    assert_eq!(
        server.posts().last().unwrap().payload(),
        r#"{"csr":"AQL_"}"#
    );
}

#[tokio::test]
async fn an_unknown_profile_is_not_ordered() {
    let server = FakeServer::start(|_| None);
    let account = account(&server);
    let error = server
        .client()
        .new_order(&account, &[], None, Some("long"), None)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "acme: certificate authority does not advertise a profile with name long; it offers: other, short"
    );
    assert_eq!(error.class(), Class::Permanent);
    assert!(server.posts().is_empty());
}

/// It may have been told of since the directory was fetched, which is kept for hours.
#[tokio::test]
async fn an_unknown_profile_is_looked_for_in_a_directory_of_this_minute() {
    let server = FakeServer::start(|_| None);
    let (client, account) = (server.client(), account(&server));
    for (age, fetched) in [(0, 1), (59, 1), (61, 2), (0, 2)] {
        client.age_directory(Duration::from_secs(age)).await;
        let order = client.new_order(&account, &[], None, Some("long"), None);
        assert!(matches!(order.await, Err(Error::UnknownProfile { .. })));
        let fetches = server.seen().len();
        assert_eq!(fetches, fetched, "{age}");
    }
}

#[tokio::test]
async fn signed_requests_go_to_the_server_only() {
    let server = FakeServer::start(|_| Some(Response::json(200, &valid())));
    let other = FakeServer::start(|_| Some(Response::json(200, &valid())));
    let (client, account) = (server.client(), account(&server));
    for url in [
        other.url("/order/1"),
        server.url("/order/1").replace("https", "http"),
        String::new(),
    ] {
        let error = client.order(&account, &url).await.unwrap_err();
        assert!(matches!(error, Error::Url { .. }), "{error}");
        assert_eq!(error.class(), Class::Permanent);
    }
    assert!(server.posts().is_empty() && other.seen().is_empty());
    let ldap = ServerConfig {
        directory_url: "ldap://ca.example/".into(),
        ..server.config()
    };
    assert!(matches!(Client::new(&ldap), Err(Error::Url { .. })));
}

/// As cert-manager takes it, for a server inside of a cluster; and nobody is led there from one that has TLS.
#[tokio::test]
async fn a_server_without_tls_is_used_where_the_issuer_names_it() {
    let server = FakeServer::plain(|_| Some(Response::json(200, &valid())));
    assert!(server.base.starts_with("http://"));
    let order = server.url("/order/1");
    let found = server.client().order(&account(&server), &order).await;
    assert_eq!(found.unwrap().url, order);
    let [http, https] =
        ["http://ca.example", "https://ca.example"].map(|url| Origin::of(url).unwrap());
    assert!(http.may_lead_to(&https) && https.may_lead_to(&https));
    assert!(!https.may_lead_to(&http));
}

#[tokio::test]
async fn replies_of_proxies_are_told_by_their_status_alone() {
    let page = "<html>secret of the proxy</html>";
    for (response, expected) in [
        (Response::new(502, page), Class::Transient),
        (
            Response::new(503, page).with("Retry-After", "x"),
            Class::Transient,
        ),
        (Response::new(404, page), Class::Transient),
        (
            Response::new(302, page).with("Location", "/elsewhere"),
            Class::Transient,
        ),
        (
            Response::json(500, &json!({"message": "secret"})),
            Class::Transient,
        ),
        (Response::json(500, &json!(["secret"])), Class::Transient),
    ] {
        let server = FakeServer::start(move |_| Some(response.clone()));
        let account = account(&server);
        let error = server
            .client()
            .order(&account, &server.url("/order/1"))
            .await
            .unwrap_err();
        assert_eq!(error.class(), expected, "{error}");
        assert!(!format!("{error} {error:?}").contains("secret"));
        let leads = error
            .to_string()
            .contains(", which leads to /elsewhere, is not");
        assert_eq!(leads, error.status() == Some(302), "{error}");
        assert_eq!(server.posts().len(), 1);
    }
    let server = FakeServer::start(move |_| {
        Some(Response::new(503, page).with("Retry-After", "Wed, 21 Oct 2026 07:28:00 GMT"))
    });
    let error = server
        .client()
        .order(&account(&server), &server.url("/order/1"))
        .await
        .unwrap_err();
    let until = Some("2026-10-21T07:28:00Z".parse().unwrap());
    assert_eq!(error.class(), Class::RateLimited { until });
}

#[tokio::test]
async fn replies_that_make_no_sense_are_transient() {
    let long = vec![b' '; (1 << 20) + 1];
    for (response, expected) in [
        (
            Response::new(200, "not json secret"),
            "unexpected reply of the ACME server: not a valid order",
        ),
        (
            Response::json(200, &json!({"status": ["secret"]})),
            "unexpected reply of the ACME server: not a valid order",
        ),
        (Response::new(200, long), "is over 1048576 bytes"),
    ] {
        let server = FakeServer::start(move |_| Some(response.clone()));
        let error = server
            .client()
            .order(&account(&server), &server.url("/order/1"))
            .await
            .unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!format!("{error:?}").contains("secret"));
        assert_eq!(error.class(), Class::Transient);
    }
    let server = FakeServer::start(|_| Some(Response::json(201, &valid())));
    let error = server
        .client()
        .new_account(&key(), None, None)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "unexpected reply of the ACME server: no Location of the account"
    );
}

#[tokio::test]
async fn broken_connections_are_transient_and_not_repeated() {
    let server = FakeServer::start(|_| None);
    let error = server
        .client()
        .order(&account(&server), &server.url("/order/1"))
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Unanswered(Unanswered::Network { .. })),
        "{error}"
    );
    assert_eq!(error.class(), Class::Transient);
    assert_eq!(server.posts().len(), 1);
    // A port where nobody listens.
    let (_taken, free) = deaf();
    let config = ServerConfig {
        directory_url: format!("https://{free}/"),
        ..server.config()
    };
    let error = Client::new(&config).unwrap().directory().await.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with(&format!("cannot reach {free}: Connection refused")),
        "{error}"
    );
}

#[tokio::test]
async fn trust_is_what_the_configuration_says() {
    let server = FakeServer::start(|_| None);
    let public = ServerConfig {
        ca_bundle: None,
        ..server.config()
    };
    let error = Client::new(&public).unwrap().directory().await.unwrap_err();
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");
    let other = FakeServer::start(|_| None);
    let wrong = ServerConfig {
        ca_bundle: other.config().ca_bundle,
        ..server.config()
    };
    assert!(Client::new(&wrong).unwrap().directory().await.is_err());
    let blind = ServerConfig {
        skip_tls_verify: true,
        ..public
    };
    Client::new(&blind).unwrap().directory().await.unwrap();
    for bundle in [
        "",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        let config = ServerConfig {
            ca_bundle: Some(bundle.into()),
            ..server.config()
        };
        let error = Client::new(&config).unwrap_err();
        assert!(error.to_string().starts_with("caBundle: "), "{error}");
    }
}

/// Go believes whatever certificate is in the bundle itself, and so does cert-manager.
#[tokio::test]
async fn a_servers_own_certificate_may_be_in_the_bundle() {
    let server = FakeServer::self_signed(|_| None);
    server.client().directory().await.unwrap();
    // It does not vouch for another server, nor for another name.
    let other = FakeServer::self_signed(|_| None);
    let wrong = ServerConfig {
        ca_bundle: other.config().ca_bundle,
        ..server.config()
    };
    assert!(Client::new(&wrong).unwrap().directory().await.is_err());
    let name = ServerConfig {
        directory_url: server
            .config()
            .directory_url
            .replace("127.0.0.1", "localhost"),
        ..server.config()
    };
    let error = Client::new(&name).unwrap().directory().await.unwrap_err();
    assert!(error.to_string().contains("not valid for name"), "{error}");
}

#[tokio::test]
async fn a_silent_server_is_given_up_at_the_deadline() {
    // The kernel accepts the connection, nobody else does.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let transport = Transport::new(None, true, "everleaf-test/1", None).unwrap();
    let deadline = Instant::now() + Duration::from_millis(50);
    let exchange = transport.exchange(Action::Discover, Method::GET, &url, None, deadline);
    let error = exchange.await.result.unwrap_err();
    assert!(
        matches!(error, Error::Unanswered(Unanswered::Timeout { .. })),
        "{error}"
    );
    assert_eq!(error.class(), Class::Transient);
}

/// cert-manager gives a request 90 s, for `ZeroSSL`'s sake.
#[test]
fn a_slow_server_has_the_whole_time_of_its_call() {
    let now = Instant::now();
    let bound = |action, method, passed| {
        let (now, end) = (now + Duration::from_secs(passed), now + CALL_TIMEOUT);
        bounds(action, &method, end, now).time.as_secs()
    };
    let order = Action::AuthorizeOrder;
    assert_eq!(bound(order, Method::POST, 0), 90);
    assert_eq!(bound(order, Method::POST, 60), 30);
    assert_eq!(bound(order, Method::POST, 91), 0);
    // What makes nothing there may be asked again.
    assert_eq!(bound(order, Method::HEAD, 0), 30);
    assert_eq!(bound(Action::Discover, Method::GET, 0), 30);
    assert_eq!(bound(Action::Discover, Method::GET, 80), 10);
    assert_eq!(bound(Action::GetRenewalInfo, Method::GET, 0), 10);
}

#[tokio::test]
async fn failing_directories_are_not_asked_by_everyone_in_turn() {
    let (_taken, address) = deaf();
    let url = format!("https://{address}/");
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let hooks = Hooks {
        observer: Some(Arc::new(move |_| {
            counter.fetch_add(1, Ordering::SeqCst);
        })),
        on_call: None,
    };
    let config = ServerConfig {
        directory_url: url,
        ..ServerConfig::default()
    };
    let client = Client::with_hooks(&config, hooks).unwrap();
    let calls = (0..20).map(|_| client.directory());
    for result in futures::future::join_all(calls).await {
        assert!(matches!(
            result,
            Err(Error::Unanswered(Unanswered::Network { .. }))
        ));
    }
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn calls_are_observed_and_can_be_cut_off() {
    let count = AtomicUsize::new(0);
    let server = FakeServer::start(move |request| match request.path.as_str() {
        "/order/gone" => None,
        _ if count.fetch_add(1, Ordering::SeqCst) == 0 => Some(Response::problem(400, "badNonce")),
        _ => Some(Response::json(200, &valid())),
    });
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (observed, called) = (Arc::clone(&seen), Arc::clone(&seen));
    let hooks = Hooks {
        observer: Some(Arc::new(move |observation| {
            assert!(observation.host.starts_with("127.0.0.1:"));
            let line = format!(
                "{} {} {}",
                observation.action.as_str(),
                observation.method,
                observation.status
            );
            observed.lock().unwrap().push(line);
        })),
        on_call: Some(Arc::new(move |action: Action, stage: CallStage| {
            called
                .lock()
                .unwrap()
                .push(format!("{} {stage:?}", action.as_str()));
        })),
    };
    let (client, account) = (server.client_with(hooks), account(&server));
    client
        .accept(&account, &server.url("/challenge/1"))
        .await
        .unwrap();
    client
        .order(&account, &server.url("/order/gone"))
        .await
        .unwrap_err();
    assert_eq!(TRANSPORT_FAILURE, 999);
    assert_eq!(
        *seen.lock().unwrap(),
        [
            "discover GET 200",
            "accept_challenge Before",
            "accept_challenge HEAD 200",
            "accept_challenge POST 400",
            "accept_challenge POST 200",
            "accept_challenge After",
            "get_order Before",
            "get_order POST 999",
            "get_order After",
        ]
    );
}
