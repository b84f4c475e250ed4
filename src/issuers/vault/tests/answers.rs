//! Which calls there are, and how their answers read.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::super::{
    Call, Credential, Error, Login, judge_health, read_expiry, read_signed, read_token,
};
use crate::pki::{
    CertificateSigningRequest, CertificateTemplate, Curve, IssuerIdentity, KeyAlgorithm, KeyUsages,
    ParsedCertificate, PrivateKey, RequestParams, Subject, Urls, build_request, parse_chain,
    self_sign, sign,
};

fn key() -> PrivateKey {
    PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256)).unwrap()
}

fn body(call: &Call) -> Value {
    serde_json::from_str(call.body.as_ref().unwrap()).unwrap()
}

#[test]
fn a_login_is_what_the_method_wants() {
    let secret = || Credential::read(b" s3cret\n").unwrap();
    let approle = |mount: &str| Login::AppRole {
        mount: mount.into(),
        role_id: " id ".into(),
        secret_id: secret(),
    };
    let certificate = |mount: &str| Login::ClientCertificate {
        mount: mount.into(),
        name: "app".into(),
    };
    let kubernetes = |mount: &str| Login::Kubernetes {
        mount: mount.into(),
        role: "app".into(),
        jwt: secret(),
    };
    let ids = json!({ "role_id": "id", "secret_id": "s3cret" });
    let jwt = json!({ "role": "app", "jwt": "s3cret" });
    for (login, path, sent) in [
        (approle(""), "/v1/auth/approle/login", &ids),
        (approle("team/roles"), "/v1/auth/team/roles/login", &ids),
        (
            certificate(""),
            "/v1/auth/cert/login",
            &json!({ "name": "app" }),
        ),
        (
            certificate("/v1/auth/tls"),
            "/v1/auth/tls/login",
            &json!({ "name": "app" }),
        ),
        (kubernetes(""), "/v1/auth/kubernetes/login", &jwt),
        (kubernetes("/v1/auth/k8s"), "/v1/auth/k8s/login", &jwt),
    ] {
        let call = Call::login(&login).unwrap();
        assert_eq!((call.method.as_str(), call.path.as_str()), ("POST", path));
        assert_eq!(body(&call), *sent);
        let printed = format!("{login:?}");
        assert!(!printed.contains("s3cret"), "{printed}");
    }
    assert!(Call::login(&Login::Token(secret())).is_none());
}

#[test]
fn a_request_is_sent_with_the_names_of_its_csr() {
    let params = RequestParams {
        subject: Subject::from_common_name("app.example.com"),
        dns_names: vec!["app.example.com".into(), "b.example.com".into()],
        ip_addresses: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
        uris: vec!["spiffe://a/b".into(), "spiffe://a/c".into()],
        email_addresses: vec!["ops@example.com".into()],
        ..RequestParams::default()
    };
    let csr = build_request(&params, &key()).unwrap();
    let call = Call::sign(
        "pki/sign/app",
        csr.as_bytes(),
        SignedDuration::from_hours(2160),
    )
    .unwrap();
    assert_eq!(
        (call.method.as_str(), call.path.as_str()),
        ("POST", "/v1/pki/sign/app")
    );
    assert_eq!(
        body(&call),
        json!({
            "csr": csr,
            "common_name": "app.example.com",
            "alt_names": "app.example.com,b.example.com",
            "ip_sans": "10.0.0.1,fd00::1",
            "uri_sans": "spiffe://a/b,spiffe://a/c",
            "ttl": "2160h0m0s",
            "exclude_cn_from_sans": "true",
        })
    );
    let none = Call::sign("pki/sign/app", b"?", SignedDuration::ZERO).unwrap_err();
    assert!(matches!(none, Error::Request(_)));
}

#[test]
fn the_state_of_the_server_is_in_its_status() {
    let judged = |status| judge_health(status, || Error::Answer("other"));
    for status in [200, 429, 472, 473] {
        judged(status).unwrap();
    }
    assert!(matches!(judged(501), Err(Error::NotInitialized)));
    assert!(matches!(judged(503), Err(Error::Sealed)));
    for status in [307, 404, 500, 502] {
        assert!(matches!(judged(status), Err(Error::Answer("other"))));
    }
}

#[test]
fn tokens_and_their_end_are_read() {
    let token = read_token(br#"{"auth":{"client_token":"hvs.x","policies":[]},"data":null}"#);
    assert_eq!(token.unwrap().0.as_str(), "hvs.x");
    for none in [
        &b"{}"[..],
        br#"{"auth":null}"#,
        br#"{"auth":{"client_token":""}}"#,
        b"hvs.x",
    ] {
        let error = read_token(none).unwrap_err();
        assert!(matches!(error, Error::Answer(_)), "{error}");
        assert!(!error.to_string().contains("hvs.x"), "{error}");
    }
    let expiry =
        |time: &str| read_expiry(format!(r#"{{"data":{{"expire_time":{time}}}}}"#).as_bytes());
    assert_eq!(expiry("null").unwrap(), None);
    let time: Timestamp = "2026-01-01T00:00:00.123456789Z".parse().unwrap();
    assert_eq!(
        expiry("\"2026-01-01T00:00:00.123456789Z\"").unwrap(),
        Some(time)
    );
    assert!(read_expiry(b"{}").is_err());
}

/// A certificate of a name, signed by `parent` or by itself.
fn made(
    name: &str,
    parent: Option<&(PrivateKey, ParsedCertificate)>,
) -> (PrivateKey, ParsedCertificate) {
    let key = key();
    let params = RequestParams {
        subject: Subject::from_common_name(name),
        ..RequestParams::default()
    };
    let csr = build_request(&params, &key).unwrap();
    let csr = CertificateSigningRequest::parse_pem(csr.as_bytes()).unwrap();
    let template = CertificateTemplate {
        csr: &csr,
        not_before: Timestamp::constant(1_767_225_600, 0),
        duration: Duration::from_hours(24),
        is_ca: true,
        usages: KeyUsages::from_names::<&str>(&[], true).unwrap(),
        urls: Urls::default(),
    };
    let certificate = match parent {
        None => self_sign(&template, &key).unwrap(),
        Some((key, parent)) => sign(
            &template,
            IssuerIdentity {
                subject_der: parent.subject().as_der(),
                subject_key_id: parent.subject_key_id(),
                key,
            },
        )
        .unwrap(),
    };
    (key, certificate)
}

#[test]
fn a_chain_is_put_in_order_whatever_comes() {
    let root = made("root", None);
    let upper = made("upper", Some(&root));
    let lower = made("lower", Some(&upper));
    let leaf = made("leaf", Some(&lower)).1;
    let other = made("other", None).1;
    let pem = |c: &ParsedCertificate| c.to_pem();
    let (root, upper, lower) = (root.1, upper.1, lower.1);
    let answer = |chain: Value, issuing: Value| {
        let data = json!({ "certificate": pem(&leaf), "ca_chain": chain, "issuing_ca": issuing });
        read_signed(json!({ "data": data }).to_string().as_bytes())
    };
    for (chain, issuing, above, top) in [
        (
            json!([pem(&lower), pem(&upper), pem(&root)]),
            json!(pem(&lower)),
            vec![&lower, &upper],
            Some(&root),
        ),
        (
            json!([pem(&root), pem(&upper)]),
            json!(pem(&lower)),
            vec![&lower, &upper],
            Some(&root),
        ),
        (
            json!([pem(&upper), ""]),
            json!(pem(&lower)),
            vec![&lower, &upper],
            Some(&upper),
        ),
        (Value::Null, json!(pem(&lower)), vec![&lower], Some(&lower)),
        (Value::Null, json!(""), vec![], None),
    ] {
        let signed = answer(chain, issuing).unwrap();
        let certificates = parse_chain(signed.certificate.as_bytes()).unwrap();
        let expected: Vec<_> = [&leaf].into_iter().chain(above).collect();
        assert_eq!(certificates.iter().collect::<Vec<_>>(), expected);
        assert_eq!(signed.ca, top.map(pem).unwrap_or_default());
    }
    let broken = answer(json!([pem(&other)]), json!(pem(&lower))).unwrap_err();
    assert!(broken.to_string().contains("broken"), "{broken}");
    for none in [
        json!({}),
        json!({ "data": { "certificate": "" } }),
        json!({ "data": { "certificate": "x" } }),
    ] {
        assert!(read_signed(none.to_string().as_bytes()).is_err(), "{none}");
    }
}
