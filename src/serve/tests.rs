#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use super::{Bounds, Bytes, CancellationToken, Duration, Full, Response, TcpListener, TcpStream};

/// Out of the way of what is tested.
const LONG: Duration = Duration::from_mins(10);

/// A test that waits this long has failed.
const LIMIT: Duration = Duration::from_mins(1);

async fn start(bounds: Bounds) -> (SocketAddr, CancellationToken, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let server = tokio::spawn(super::serve(listener, bounds, stop.clone(), |request| {
        Response::new(Full::new(Bytes::from(request.uri().path().to_owned())))
    }));
    (address, stop, server)
}

async fn read_all(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset instead of an end is as good: what was answered before counts.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn one_request_is_answered_and_the_connection_closed() {
    let (address, ..) = start(Bounds::PUBLIC).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let twice = "GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n";
    stream.write_all(twice.as_bytes()).await.unwrap();
    let answer = read_all(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n/a"), "{answer}");
}

#[tokio::test]
async fn a_slow_head_ends_the_connection() {
    let bounds = Bounds {
        head: Duration::from_millis(50),
        life: LONG,
        ..Bounds::PUBLIC
    };
    let (address, ..) = start(bounds).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost:").await.unwrap();
    let answer = tokio::time::timeout(LIMIT, read_all(&mut stream))
        .await
        .unwrap();
    assert!(!answer.contains("200"), "{answer}");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let (address, ..) = start(Bounds::PUBLIC).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", "x".repeat(1 << 20));
    // The server may close before all is written.
    let _ = stream.write_all(request.as_bytes()).await;
    assert!(!read_all(&mut stream).await.contains("200"));
}

#[tokio::test]
async fn the_one_beyond_the_last_place_waits_until_a_place_is_free() {
    let bounds = Bounds {
        connections: 1,
        head: LONG,
        life: LONG,
        ..Bounds::PUBLIC
    };
    let (address, ..) = start(bounds).await;
    let mut idle = TcpStream::connect(address).await.unwrap();
    let mut next = TcpStream::connect(address).await.unwrap();
    let request = b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n";
    next.write_all(request).await.unwrap();
    let mut byte = [0];
    let early = tokio::time::timeout(Duration::from_millis(100), next.read(&mut byte)).await;
    assert!(early.is_err(), "answered although the only place was taken");

    idle.shutdown().await.unwrap();
    drop(idle);
    assert!(read_all(&mut next).await.ends_with("/next"));
}

#[tokio::test]
async fn a_stop_ends_the_server_and_frees_the_port() {
    let (address, stop, server) = start(Bounds::PUBLIC).await;
    stop.cancel();
    tokio::time::timeout(LIMIT, server).await.unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn the_drain_is_bounded() {
    let bounds = Bounds {
        drain: Duration::from_millis(50),
        head: LONG,
        life: LONG,
        ..Bounds::PUBLIC
    };
    let (address, stop, server) = start(bounds).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    stop.cancel();
    tokio::time::timeout(LIMIT, server).await.unwrap().unwrap();
}
