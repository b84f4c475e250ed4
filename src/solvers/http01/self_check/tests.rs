#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::{default_provider, sign::any_ecdsa_type};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio_rustls::TlsAcceptor;

use super::{
    Arc, AsyncRead, AsyncWrite, Duration, IpAddr, Outcome, Reason, Resolver, SelfCheck, Settings,
    SocketAddr, Target,
};
use crate::dns::Server;
use crate::net::{Client, Proxies, public_roots};

const KEY: &str = "tok.print";

/// Reads one request and answers it; gives the request's head back.
async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &str) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    stream.write_all(answer.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    String::from_utf8(head).unwrap()
}

fn with_body(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn redirect(location: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
}

async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

async fn check(domain: &str, settings: Settings) -> Outcome {
    SelfCheck::new(settings)
        .unwrap()
        .check(domain, "tok", KEY)
        .await
}

/// The outcome when `answers` are given one after the other, and the requests that came.
async fn outcome(answers: Vec<String>) -> (Outcome, Vec<String>) {
    let (listener, http_port) = listener().await;
    let settings = Settings {
        http_port,
        ..Settings::default()
    };
    let serve = async {
        let mut heads = Vec::new();
        for answer in answers {
            let (stream, _) = listener.accept().await.unwrap();
            heads.push(converse(stream, &answer).await);
        }
        heads
    };
    tokio::join!(check("localhost", settings), serve)
}

/// A name server that has this machine's address for every name, and no IPv6.
async fn name_server() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            // RFC 1035 §4.1: the header of 12 bytes, then the question: labels up to an empty one, type and class.
            let name = buffer[12..length].iter().position(|byte| *byte == 0);
            let end = 12 + name.unwrap() + 1;
            let is_four = buffer[end..end + 2] == [0, 1];
            let mut answer = buffer[..end + 4].to_vec();
            let counts = [0x81, 0x80, 0, 1, 0, u8::from(is_four), 0, 0, 0, 0];
            answer[2..12].copy_from_slice(&counts);
            if is_four {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
            }
            socket.send_to(&answer, from).await.unwrap();
        }
    });
    address
}

/// With `--acme-http01-solver-nameservers`.
#[tokio::test]
async fn the_name_servers_that_are_named_say_where_a_check_goes() {
    let (listener, http_port) = listener().await;
    let settings = Settings {
        http_port,
        ..Settings::default()
    };
    let servers = vec![Server::Dns(name_server().await)];
    let resolver = Resolver::new(servers, Client::plain(public_roots()).unwrap());
    let check = SelfCheck::new(settings).unwrap().asking(Some(resolver));
    let serve = async {
        for _ in 0..2 {
            let (stream, _) = listener.accept().await.unwrap();
            converse(stream, &with_body("200 OK", KEY)).await;
        }
    };
    let asks = async {
        // The system knows nothing of the first, and nobody is asked for the second.
        for domain in ["site.example", "127.0.0.1"] {
            let found = check.check(domain, "tok", KEY).await;
            assert_eq!(found, Outcome::Reachable, "{domain}");
        }
    };
    tokio::join!(asks, serve);
}

#[tokio::test]
async fn the_key_alone_is_reachable() {
    let cases = [
        (KEY.to_owned(), Outcome::Reachable),
        (format!("{KEY}\r\n \t"), Outcome::Reachable),
        (
            format!(" {KEY}"),
            Outcome::NotYet(Reason::OtherBody {
                length: 10,
                more: false,
            }),
        ),
        (
            String::new(),
            Outcome::NotYet(Reason::OtherBody {
                length: 0,
                more: false,
            }),
        ),
        (
            "x".repeat(1025),
            Outcome::NotYet(Reason::OtherBody {
                length: 1024,
                more: true,
            }),
        ),
        (
            KEY.to_owned() + &" ".repeat(2000),
            Outcome::NotYet(Reason::OtherBody {
                length: 1024,
                more: true,
            }),
        ),
    ];
    for (body, expected) in cases {
        let (found, heads) = outcome(vec![with_body("200 OK", &body)]).await;
        assert_eq!(found, expected);
        assert!(
            heads
                .concat()
                .starts_with("GET /.well-known/acme-challenge/tok HTTP/1.1\r\n")
        );
    }
}

#[tokio::test]
async fn a_status_is_reported_without_the_body() {
    let (found, _) = outcome(vec![with_body(
        "404 Not Found",
        "secret of the remote side",
    )])
    .await;
    let Outcome::NotYet(reason) = found else {
        panic!("reachable")
    };
    assert_eq!(reason.to_string(), "answered 404");
}

#[tokio::test]
async fn redirects_are_followed_up_to_ten() {
    let mut answers = vec![redirect("/next?q=1#part"); 10];
    answers.push(with_body("200 OK", KEY));
    let (found, heads) = outcome(answers.clone()).await;
    assert_eq!(found, Outcome::Reachable);
    assert!(
        heads
            .last()
            .unwrap()
            .starts_with("GET /next?q=1 HTTP/1.1\r\nhost: localhost:")
    );

    answers.insert(0, redirect("/next"));
    answers.pop();
    assert_eq!(
        outcome(answers).await.0,
        Outcome::NotYet(Reason::TooManyRedirects)
    );
}

#[tokio::test]
async fn a_redirect_that_no_ca_follows_is_reported_without_its_target() {
    for location in [
        "http://example.com:8080/secret",
        "http://169.254.169.254/secret",
        "https://[::1]/secret",
        "ftp://example.com/secret",
        "http:///secret",
        "/secret of mine",
        "secret",
        "",
    ] {
        let (found, _) = outcome(vec![redirect(location)]).await;
        assert_eq!(
            found,
            Outcome::NotYet(Reason::BadRedirect(302)),
            "{location}"
        );
        assert!(!Reason::BadRedirect(302).to_string().contains("secret"));
    }
}

#[derive(Debug)]
struct OneKey(Arc<CertifiedKey>);

impl ResolvesServerCert for OneKey {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// TLS with a "certificate" of two bytes, which no verification could pass.
fn acceptor() -> TlsAcceptor {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
    let random = aws_lc_rs::rand::SystemRandom::new();
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
    let key = PrivateKeyDer::Pkcs8(key.as_ref().to_vec().into());
    let signer = any_ecdsa_type(&key).unwrap();
    let certified = CertifiedKey::new(vec![vec![0x30, 0x00].into()], signer);
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(OneKey(Arc::new(certified))));
    TlsAcceptor::from(Arc::new(config))
}

#[tokio::test]
async fn a_redirect_to_https_is_followed_whatever_the_certificate() {
    let (plain, http_port) = listener().await;
    let (tls, https_port) = listener().await;
    let settings = Settings {
        http_port,
        https_port,
        ..Settings::default()
    };
    let serve = async {
        let (stream, _) = plain.accept().await.unwrap();
        converse(stream, &redirect("https://localhost/other")).await;
        let (stream, _) = tls.accept().await.unwrap();
        let stream = acceptor().accept(stream).await.unwrap();
        converse(stream, &with_body("200 OK", KEY)).await
    };
    let (found, head) = tokio::join!(check("localhost", settings), serve);
    assert_eq!(found, Outcome::Reachable);
    assert!(head.starts_with("GET /other HTTP/1.1\r\n"), "{head}");
}

#[tokio::test]
async fn each_way_to_fail_has_its_words() {
    let (closed, http_port) = listener().await;
    drop(closed);
    let settings = Settings {
        http_port,
        ..Settings::default()
    };
    let refused = Outcome::NotYet(Reason::Refused(http_port));
    assert_eq!(check("127.0.0.1", settings).await, refused);
    // A label has at most 63 bytes, so that the resolver refuses without asking a server.
    let unresolved = Outcome::NotYet(Reason::Unresolved);
    assert_eq!(check(&"a".repeat(64), settings).await, unresolved);
    assert_eq!(check("", settings).await, Outcome::NotYet(Reason::BadName));

    let broken = outcome(vec![
        "HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n".to_owned(),
    ])
    .await;
    assert_eq!(broken.0, Outcome::NotYet(Reason::Broken));
    let nonsense = outcome(vec!["SSH-2.0\r\n".to_owned()]).await;
    assert_eq!(nonsense.0, Outcome::NotYet(Reason::Broken));
}

/// The name does not resolve here, as behind a proxy it need not.
#[tokio::test]
async fn where_a_proxy_leads_to_the_name_it_is_asked() {
    let (listener, port) = listener().await;
    let proxies = Proxies::of(&format!("http://u:p@127.0.0.1:{port}"), "inside.example");
    let check = SelfCheck::new(Settings::default())
        .unwrap()
        .through(proxies);
    assert!(check.is_proxied("site.example"));
    assert!(!check.is_proxied("a.inside.example"));
    let answers = [
        with_body("200 OK", KEY),
        redirect("https://site.example/x"),
        "HTTP/1.1 407 x\r\nContent-Length: 0\r\n\r\n".to_owned(),
        with_body("503 Service Unavailable", "no such host"),
    ];
    let serve = async {
        let mut heads = Vec::new();
        for answer in answers {
            let (stream, _) = listener.accept().await.unwrap();
            heads.push(converse(stream, &answer).await.to_ascii_lowercase());
        }
        heads
    };
    let asks = async {
        let ask = || check.check("site.example", "tok", KEY);
        [ask().await, ask().await, ask().await]
    };
    let ([first, second, third], heads) = tokio::join!(asks, serve);
    assert_eq!(first, Outcome::Reachable);
    assert_eq!(second, Outcome::NotYet(Reason::Proxy));
    assert_eq!(third, Outcome::NotYet(Reason::Proxy), "it is not the site");
    let plain = "get http://site.example/.well-known/acme-challenge/tok http/1.1";
    let lines = [plain, plain, "connect site.example:443 http/1.1", plain];
    for (head, line) in heads.iter().zip(lines) {
        assert_eq!(head.lines().next(), Some(line));
        assert!(
            head.contains("\r\nproxy-authorization: basic dtpw\r\n"),
            "{head}"
        );
        assert!(head.contains("\r\nhost: site.example"), "{head}");
    }
}

#[tokio::test]
async fn the_deadline_is_for_all_of_it() {
    let (silent, http_port) = listener().await;
    let deadline = Duration::from_millis(50);
    let settings = Settings {
        http_port,
        deadline,
        ..Settings::default()
    };
    let found = check("127.0.0.1", settings).await;
    assert_eq!(found, Outcome::NotYet(Reason::TimedOut(deadline)));
    drop(silent);
}

#[tokio::test]
async fn a_token_that_would_change_the_request_is_refused() {
    let check = SelfCheck::new(Settings::default()).unwrap();
    for token in ["", "a b", "a/../b", "a?b", "a\r\nb", "a%2f"] {
        let found = check.check("localhost", token, KEY).await;
        assert_eq!(found, Outcome::NotYet(Reason::BadName), "{token:?}");
    }
}

#[test]
fn the_default_ports_are_left_out_of_the_host_and_ipv6_is_bracketed() {
    let first = |domain, port| Target::first(domain, "tok", port).ok().unwrap().authority();
    assert_eq!(first("Example.com", 80), "example.com");
    assert_eq!(first("example.com", 5002), "example.com:5002");
    assert_eq!(first("2001:db8::7", 80), "[2001:db8::7]");
    assert!("2001:db8::7".parse::<IpAddr>().is_ok());
}
