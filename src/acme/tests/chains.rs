use std::sync::Arc;
use std::time::Duration;

use super::super::{AccountRef, Error, Preference};
use super::fake::{FakeServer, Response};
use crate::pki::{
    CertificateSigningRequest, CertificateTemplate, Curve, IssuerIdentity, KeyAlgorithm, KeyUsages,
    PrivateKey, RequestParams, Subject, Urls, build_request, sign,
};

/// PEM of a leaf whose issuer has this name.
fn issued_by(issuer: &str) -> String {
    let key = PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256)).unwrap();
    let params = RequestParams {
        dns_names: vec!["example.com".into()],
        ..RequestParams::default()
    };
    let csr = build_request(&params, &key).unwrap();
    let csr = CertificateSigningRequest::parse_pem(csr.as_bytes()).unwrap();
    let template = CertificateTemplate {
        csr: &csr,
        not_before: "2026-01-01T00:00:00Z".parse().unwrap(),
        duration: Duration::from_hours(1),
        is_ca: false,
        usages: KeyUsages::default(),
        urls: Urls::default(),
    };
    let subject_der = &Subject::from_common_name(issuer).to_der().unwrap();
    let issuer = IssuerIdentity {
        subject_der,
        subject_key_id: None,
        key: &key,
    };
    sign(&template, issuer).unwrap().to_pem()
}

#[tokio::test]
async fn the_chain_that_ends_at_the_preferred_root_is_taken() {
    let chains = ["Default", "One", "Two"].map(issued_by);
    let served = chains.clone();
    let server = FakeServer::start(move |request| {
        Some(match request.path.as_str() {
            "/cert" => Response::new(200, format!("some text\n{}", served[0]))
                .with("Link", "</broken>;rel=\"alternate\"")
                .with(
                    "Link",
                    "</down>;rel=\"alternate\", </one>;rel=\"alternate\"",
                )
                .with("Link", "</two>;rel=\"alternate\"")
                .with("Link", "</directory>;rel=\"index\""),
            "/one" => Response::new(200, served[1].clone()),
            "/two" => Response::new(200, served[2].clone()),
            "/broken" => Response::new(200, "not a certificate"),
            _ => Response::new(500, ""),
        })
    });
    let account = AccountRef {
        key: Arc::new(PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap()),
        kid: server.url("/account/1"),
    };
    let client = server.client();
    let url = server.url("/cert");
    let default = client.certificate(&account, &url).await.unwrap();
    assert_eq!(default.pem, chains[0]);
    let alternates = ["/broken", "/down", "/one", "/two"].map(|path| server.url(path));
    assert_eq!(default.alternates, alternates);

    for (preferred, expected, requests) in [
        (None, Some(0), 1),
        (Some(""), Some(0), 1),
        (Some("Default"), Some(0), 1),
        (Some("One"), Some(1), 4),
        (Some("Two"), Some(2), 5),
        (Some("Nobody"), None, 5),
    ] {
        for waits in [true, false] {
            let before = server.posts().len();
            let preference = Preference {
                issuer: preferred,
                waits,
            };
            let chain = client.preferred_certificate(&account, &url, preference);
            let chain = chain.await;
            // It may be the one that is down.
            if waits && expected.is_none() {
                assert_eq!(chain.unwrap_err().status(), Some(500));
            } else {
                let expected = expected.unwrap_or(0);
                assert_eq!(chain.unwrap().pem, chains[expected], "{preferred:?}");
            }
            assert_eq!(server.posts().len() - before, requests, "{preferred:?}");
        }
    }
}

/// The top of a chain counts first, in all of them; then whatever is on the way.
#[tokio::test]
async fn an_issuer_anywhere_in_a_chain_is_second_best() {
    let of = ["X", "Y", "Z"].map(issued_by);
    let chains = [[0, 1], [2, 0], [1, 2]].map(|path| path.map(|i: usize| of[i].clone()).concat());
    let served = chains.clone();
    let server = FakeServer::start(move |request| {
        Some(match request.path.as_str() {
            "/cert" => Response::new(200, served[0].clone())
                .with("Link", "</one>;rel=\"alternate\", </two>;rel=\"alternate\""),
            "/one" => Response::new(200, served[1].clone()),
            _ => Response::new(200, served[2].clone()),
        })
    });
    let account = AccountRef {
        key: Arc::new(PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap()),
        kid: server.url("/account/1"),
    };
    let url = server.url("/cert");
    let wish = |issuer| Preference {
        issuer: Some(issuer),
        waits: true,
    };
    for (preferred, expected) in [("X", 1), ("Y", 0), ("Z", 2)] {
        let client = server.client();
        let chain = client.preferred_certificate(&account, &url, wish(preferred));
        assert_eq!(chain.await.unwrap().pem, chains[expected], "{preferred}");
    }
    // None ends there: the default one goes past it, and is taken before the alternates.
    let of = ["A", "B", "C"].map(issued_by);
    let [default, alternate] = [1, 2].map(|top| [of[0].clone(), of[top].clone()].concat());
    let served = default.clone();
    let server = FakeServer::start(move |request| {
        Some(match request.path.as_str() {
            "/cert" => Response::new(200, served.clone()).with("Link", "</one>;rel=\"alternate\""),
            _ => Response::new(200, alternate.clone()),
        })
    });
    let client = server.client();
    let url = server.url("/cert");
    let chain = client.preferred_certificate(&account, &url, wish("A"));
    assert_eq!(chain.await.unwrap().pem, default);
}

#[tokio::test]
async fn a_chain_with_anything_else_in_it_is_refused() {
    let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    for body in [
        format!("{}{key}", issued_by("x")),
        String::new(),
        "<html>".into(),
    ] {
        let server = FakeServer::start(move |_| Some(Response::new(200, body.clone())));
        let account = AccountRef {
            key: Arc::new(PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap()),
            kid: server.url("/account/1"),
        };
        let error = server
            .client()
            .certificate(&account, &server.url("/cert"))
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Certificate(_)), "{error}");
    }
}
