#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use clap::Parser;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{
    Bytes, CACHE_CONTROL, CONTENT_TYPE, CancellationToken, Full, Method, Request, Response,
    SELF_CHECK_AGENT, SolverArgs, StatusCode, Tokens, answer, listen, only, respond,
};

const PATH: &str = "/.well-known/acme-challenge/tok-1_A";

fn tokens() -> Tokens {
    let tokens = Tokens::default();
    tokens.insert("uid", "www.example.com", "tok-1_A", "tok-1_A.key");
    tokens.insert("uid", "2001:db8::7", "tok6", "tok6.key");
    tokens
}

async fn body(response: Response<Full<Bytes>>) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

fn get(host: &str, path: &str) -> Request<()> {
    Request::get(path).header("host", host).body(()).unwrap()
}

#[tokio::test]
async fn token_and_host_together_are_answered_with_the_key_exactly() {
    for host in ["www.example.com", "WWW.Example.com:80", "www.example.com."] {
        let response = answer(&tokens(), &get(host, PATH));
        assert_eq!(response.status(), StatusCode::OK, "{host}");
        assert_eq!(response.headers().get(CONTENT_TYPE).unwrap(), "text/plain");
        assert_eq!(response.headers().get(CACHE_CONTROL).unwrap(), "no-store");
        assert_eq!(body(response).await, "tok-1_A.key");
    }
}

#[tokio::test]
async fn an_ip_identifier_is_answered_with_and_without_brackets() {
    for host in ["[2001:db8::7]:80", "[2001:DB8:0::7]", "2001:db8::7"] {
        let response = answer(&tokens(), &get(host, "/.well-known/acme-challenge/tok6"));
        assert_eq!(body(response).await, "tok6.key", "{host}");
    }
}

#[tokio::test]
async fn anything_else_is_the_same_404() {
    let requests = [
        ("other.example.com", PATH),
        ("", PATH),
        ("www.example.com", "/.well-known/acme-challenge/tok-1_a"),
        ("www.example.com", "/.well-known/acme-challenge/tok6"),
        ("www.example.com", "/.well-known/acme-challenge/"),
        ("www.example.com", "/.well-known/acme-challenge/tok-1_A/"),
        ("www.example.com", "/.well-known//acme-challenge/tok-1_A"),
        ("www.example.com", "/.well-known/acme-challenge/%74ok-1_A"),
        (
            "www.example.com",
            "/.well-known/acme-challenge/../acme-challenge/tok-1_A",
        ),
        ("www.example.com", "/x/.well-known/acme-challenge/tok-1_A"),
        ("www.example.com", "/tok-1_A"),
        ("www.example.com", "/healthz/"),
    ];
    for (host, path) in requests {
        let response = answer(&tokens(), &get(host, path));
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{host} {path}");
        assert_eq!(response.headers().get(CACHE_CONTROL).unwrap(), "no-store");
        assert_eq!(body(response).await, "not found\n");
    }
    let no_host = Request::get(PATH).body(()).unwrap();
    assert_eq!(answer(&tokens(), &no_host).status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn health_needs_no_host() {
    for path in ["/", "/healthz"] {
        let request = Request::get(path).body(()).unwrap();
        assert_eq!(answer(&tokens(), &request).status(), StatusCode::OK);
    }
}

#[test]
fn the_host_of_an_absolute_target_outranks_the_field() {
    let target = format!("http://www.example.com:80{PATH}");
    let response = answer(&tokens(), &get("other.example.com", &target));
    assert_eq!(response.status(), StatusCode::OK);
}

#[test]
fn only_get_and_head_are_allowed() {
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let mut request = get("www.example.com", PATH);
        *request.method_mut() = method;
        let response = answer(&tokens(), &request);
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.headers().get("allow").unwrap(), "GET, HEAD");
    }
    let mut request = get("www.example.com", PATH);
    *request.method_mut() = Method::HEAD;
    assert_eq!(answer(&tokens(), &request).status(), StatusCode::OK);
}

#[test]
fn a_request_of_the_self_check_is_no_hit() {
    let tokens = tokens();
    let hits = tokens.insert("uid", "www.example.com", "tok-1_A", "tok-1_A.key");
    let mut request = get("www.example.com", PATH);
    request
        .headers_mut()
        .insert("user-agent", SELF_CHECK_AGENT.parse().unwrap());
    assert_eq!(answer(&tokens, &request).status(), StatusCode::OK);
    assert_eq!(hits.count(), 0);
    answer(&tokens, &get("www.example.com", PATH));
    assert_eq!(hits.count(), 1);
    // After its time the way here may be open for a moment more, which says nothing of whoever the name leads to.
    let status = |mut request: Request<()>, path: &str| {
        *request.uri_mut() = path.parse().unwrap();
        answer(&tokens, &request).status()
    };
    let other = "/.well-known/acme-challenge/other";
    assert_eq!(status(request, other), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        status(get("www.example.com", PATH), other),
        StatusCode::NOT_FOUND
    );
}

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    solver: SolverArgs,
}

#[test]
fn the_flags_of_acmesolver_are_accepted() {
    let args = [
        "solver",
        "--listen-port=8089",
        "--domain=a",
        "--token=t",
        "--key=k",
    ];
    let solver = Command::try_parse_from(args).unwrap().solver;
    assert_eq!(solver.listen_port, 8089);
    assert_eq!(
        (solver.domain, solver.token, solver.key),
        ("a".into(), "t".into(), "k".into())
    );
}

#[tokio::test]
async fn the_solver_answers_over_the_network_and_stops() {
    let args = SolverArgs {
        listen_port: 0,
        domain: "www.example.com".into(),
        token: "tok-1_A".into(),
        key: "tok-1_A.key".into(),
    };
    let listener = listen(args.listen_port).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let stop = CancellationToken::new();
    let solver = tokio::spawn(respond(listener, only(&args), stop.clone()));

    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = format!("GET {PATH} HTTP/1.1\r\nHost: www.example.com\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.ends_with("\r\n\r\ntok-1_A.key"), "{text}");

    stop.cancel();
    solver.await.unwrap();
}
