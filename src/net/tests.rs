use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;

use http::header::AUTHORIZATION;
use proptest::prelude::*;

use super::{Client, Error, Request, Resolver, Unanswered, escape, public_roots, query};

/// A server that gives one answer to one request.
fn answering(answer: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            seen.extend(byte);
        }
        let head = String::from_utf8(seen).unwrap();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        stream.read_exact(&mut body).unwrap();
        // The client hangs up on what is too long.
        let _ = stream.write_all(&answer);
    });
    url
}

#[tokio::test]
async fn an_answer_is_what_it_is_redirects_too() {
    let url = answering(
        b"HTTP/1.1 302 x\r\nlocation: http://127.0.0.1:1/\r\nretry-after: 5\r\ncontent-length: 2\r\n\r\n{}".to_vec(),
    );
    let reply = Client::local()
        .unwrap()
        .send(Request::get(url))
        .await
        .unwrap();
    assert_eq!((reply.status, reply.body.as_slice()), (302, &b"{}"[..]));
    assert!(!reply.is_success());
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let then = "2026-01-01T00:00:05Z".parse().unwrap();
    assert_eq!(reply.retry_after(now), Some(then));
}

#[tokio::test]
async fn a_refusal_does_not_say_the_credential_again() {
    let url = answering(
        b"HTTP/1.1 401 x\r\n\r\n{\"message\":\"token hunter2hunter2 of hunter3hunter3 is wrong\"}"
            .to_vec(),
    );
    let request = Request::get(url)
        .header(AUTHORIZATION, "Bearer hunter2hunter2")
        .unwrap()
        .form(&[("client_secret", "hunter3hunter3")]);
    let reply = Client::local().unwrap().send(request).await.unwrap();
    let body = std::str::from_utf8(&reply.body).unwrap();
    assert_eq!(
        body,
        "{\"message\":\"token [hidden] of [hidden] is wrong\"}"
    );
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let mut answer = b"HTTP/1.1 200 x\r\n\r\n".to_vec();
    answer.resize(5 << 20, b'x');
    let error = Client::local()
        .unwrap()
        .send(Request::get(answering(answer)))
        .await;
    assert!(
        matches!(error, Err(Error::Unanswered(Unanswered::TooLarge { limit, .. })) if limit == 4 << 20)
    );
}

#[tokio::test]
async fn services_are_reached_by_https_alone() {
    let client = Client::new(public_roots(), Resolver::System).unwrap();
    for url in [
        "http://127.0.0.1:1/",
        "/path",
        "https://user:hunter2@127.0.0.1:1/",
        "nonsense hunter2",
    ] {
        let error = client
            .send(Request::get(url))
            .await
            .map(|reply| reply.status)
            .unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
    let url = answering(b"HTTP/1.1 200 x\r\ncontent-length: 0\r\n\r\n".to_vec());
    let error = client
        .send(Request::get(&url))
        .await
        .map(|reply| reply.status);
    assert!(
        matches!(error, Err(Error::Unanswered(Unanswered::Network { .. }))),
        "{error:?}"
    );
}

#[test]
fn a_request_is_printed_without_its_credentials() {
    let request = Request::get("https://api.example.com/")
        .header(AUTHORIZATION, "Bearer hunter2")
        .unwrap()
        .form(&[("client_secret", "hunter3 &=")]);
    assert_eq!(request.body, "client_secret=hunter3%20%26%3D");
    assert_eq!(format!("{request:?}"), "GET https://api.example.com/");
    assert!(!format!("{:?}", request.headers).contains("hunter"));
    let error = Request::get("")
        .header(AUTHORIZATION, "hunter2\n")
        .unwrap_err();
    assert!(!format!("{error:?}{error}").contains("hunter"));
}

proptest! {
    #[test]
    fn what_is_escaped_is_a_url(text in "\\PC*") {
        let url = format!("https://a/{}?{}", escape(&text), query(&[("a", &text)]));
        prop_assert!(url.parse::<http::Uri>().is_ok());
    }
}
