//! What goes over the wire, to a server that records it. Namespaces are of Vault Enterprise, which no test can run:
//! that their header is where it belongs is seen here only.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use jiff::SignedDuration;

use super::super::client::{Server, Vault};
use super::super::{Class, Credential, Error, Login};
use crate::pki::{Curve, KeyAlgorithm, PrivateKey, RequestParams, build_request};

/// A server that gives these answers, one a connection, and tells what it was sent.
fn recorded(answers: &'static [(u16, &'static str)]) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/base/", listener.local_addr().unwrap());
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for (status, body) in answers {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                reader.read_line(&mut head).unwrap();
            }
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let mut sent = vec![0; length.map_or(0, |length| length.parse().unwrap())];
            reader.read_exact(&mut sent).unwrap();
            let answer = format!(
                "HTTP/1.1 {status} x\r\ncontent-length: {}\r\nlocation: http://127.0.0.1:1/\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            reader.get_mut().write_all(answer.as_bytes()).unwrap();
            sender
                .send(head + &String::from_utf8(sent).unwrap())
                .unwrap();
        }
    });
    (url, receiver)
}

fn vault(url: &str, namespace: Option<&str>) -> Vault {
    Vault::new(&server(url, namespace)).unwrap()
}

fn server<'a>(url: &'a str, namespace: Option<&'a str>) -> Server<'a> {
    Server {
        url,
        name: None,
        namespace,
        ca_bundle: None,
        identity: None,
    }
}

fn approle() -> Login {
    Login::AppRole {
        mount: String::new(),
        role_id: "id".into(),
        secret_id: Credential::from("s3cret-id"),
    }
}

fn csr() -> String {
    let key = PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256)).unwrap();
    build_request(&RequestParams::default(), &key).unwrap()
}

async fn signed(vault: &Vault) -> Result<(), Error> {
    let csr = csr();
    let token = Credential::from("hvs.t0ken");
    let path = "/pki//sign/a b";
    let signed = vault.sign(&token, path, csr.as_bytes(), SignedDuration::from_hours(1));
    signed.await.map(drop)
}

#[tokio::test]
async fn the_namespace_is_named_but_not_to_the_server_itself() {
    let (url, sent) = recorded(&[
        (200, "{}"),
        (200, r#"{"auth":{"client_token":"t"}}"#),
        (200, r#"{"data":{"expire_time":null}}"#),
        (400, "{}"),
    ]);
    let vault = vault(&url, Some("team/a"));
    vault.health().await.unwrap();
    let token = vault.log_in(approle()).await.unwrap();
    vault.expiry(&token).await.unwrap();
    signed(&vault).await.unwrap_err();
    let sent: Vec<_> = sent.iter().take(4).collect();
    let lines = [
        "GET /base/v1/sys/health ",
        "POST /base/v1/auth/approle/login ",
        "GET /base/v1/auth/token/lookup-self ",
        "POST /base/v1/pki/sign/a%20b ",
    ];
    for (index, (sent, line)) in sent.iter().zip(lines).enumerate() {
        assert!(sent.starts_with(line), "{sent}");
        assert!(sent.contains("x-vault-request: true"), "{sent}");
        let named = sent.contains("x-vault-namespace: team/a\r\n");
        assert_eq!(named, index > 0, "{sent}");
        let token = [
            "",
            "",
            "x-vault-token: t\r\n",
            "x-vault-token: hvs.t0ken\r\n",
        ][index];
        assert!(sent.contains(token), "{sent}");
        assert_eq!(sent.contains("x-vault-token"), index > 1, "{sent}");
    }
}

#[tokio::test]
async fn without_a_namespace_none_is_named() {
    for namespace in [None, Some("")] {
        let (url, sent) = recorded(&[(400, "{}")]);
        signed(&vault(&url, namespace)).await.unwrap_err();
        assert!(!sent.recv().unwrap().contains("namespace"));
    }
}

#[tokio::test]
async fn a_failure_is_of_its_class_and_says_what_vault_did() {
    let both = r#"{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}"#;
    for (answer, class, says) in [
        (
            (400, r#"{"errors":["unknown role: app"]}"#),
            Class::Refused,
            "400: unknown role: app",
        ),
        (
            (403, both),
            Class::Token,
            "403: permission denied; invalid token",
        ),
        (
            (
                403,
                r#"{"errors":["1 error occurred:\n\t* permission denied\n\n"]}"#,
            ),
            Class::Forbidden,
            "403: permission denied",
        ),
        (
            (404, r#"{"errors":["no handler for route"]}"#),
            Class::Nowhere,
            "404: no handler",
        ),
        ((429, "{}"), Class::Failed, ": 429"),
        ((307, "{}"), Class::Failed, ": 307"),
        ((500, "<html>hvs.t0ken</html>"), Class::Failed, ": 500"),
        (
            (503, r#"{"errors":["Vault is sealed"]}"#),
            Class::Sealed,
            "503: Vault is sealed",
        ),
        ((503, ""), Class::Failed, ": 503"),
        ((200, "hvs.t0ken"), Class::Failed, "unexpected answer"),
        (
            (400, r#"{"errors":["no hvs.t0ken here"]}"#),
            Class::Refused,
            "no [hidden] here",
        ),
    ] {
        let (url, _sent) = recorded(Box::leak(Box::new([answer])));
        let error = signed(&vault(&url, None)).await.unwrap_err();
        assert_eq!(error.class(), class, "{error}");
        let text = error.to_string();
        assert!(text.contains(says), "{text}");
        assert!(!text.contains("t0ken"), "{text}");
    }
}

#[tokio::test]
async fn a_login_that_is_refused_does_not_show_what_it_was_tried_with() {
    let (url, _sent) = recorded(&[(400, r#"{"errors":["bad s3cret-id"]}"#)]);
    let error = vault(&url, None).log_in(approle()).await.unwrap_err();
    assert!(error.to_string().contains("400: bad [hidden]"), "{error}");
    assert!(!format!("{error:?}").contains("s3cret-id"));
}

#[tokio::test]
async fn a_token_that_may_not_look_itself_up_is_taken_as_it_is() {
    let (url, _sent) = recorded(&[(403, r#"{"errors":["permission denied"]}"#)]);
    let token = Credential::from("t0ken");
    assert_eq!(vault(&url, None).expiry(&token).await.unwrap(), None);
    let (url, _sent) = recorded(&[(403, r#"{"errors":["permission denied","invalid token"]}"#)]);
    let error = vault(&url, None).expiry(&token).await.unwrap_err();
    assert_eq!(error.class(), Class::Token);
}

#[tokio::test]
async fn who_does_not_answer_is_not_reached() {
    // Taken, so that nobody else listens there.
    let taken = tokio::net::TcpSocket::new_v4().unwrap();
    taken.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let url = format!("http://{}", taken.local_addr().unwrap());
    let error = vault(&url, None).health().await.unwrap_err();
    assert_eq!(error.class(), Class::Unreachable);
    assert!(error.to_string().contains("onnection refused"), "{error}");
}

#[test]
fn a_field_that_does_not_do_is_named() {
    for (url, says) in [
        ("vault", "spec.vault.server: not an http or https URL"),
        ("ftp://vault", "spec.vault.server: not an http or https URL"),
        ("https://me:word@vault", "user information"),
        ("", "spec.vault.server: not a URL"),
    ] {
        let error = Vault::new(&server(url, None)).err().unwrap();
        assert_eq!(error.class(), Class::Config);
        assert!(error.to_string().contains(says), "{error}");
        assert!(!error.to_string().contains("word@"), "{error}");
    }
    let change = |change: fn(&mut Server<'_>)| {
        let mut server = server("https://vault", None);
        change(&mut server);
        Vault::new(&server).err().unwrap().to_string()
    };
    for (error, says) in [
        (change(|s| s.name = Some("a b")), "spec.vault.serverName"),
        (
            change(|s| s.namespace = Some("a\nb")),
            "spec.vault.namespace",
        ),
        (change(|s| s.ca_bundle = Some(b"x")), "spec.vault.caBundle"),
    ] {
        assert!(error.starts_with(says), "{error}");
    }
}
