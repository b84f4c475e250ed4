//! A small HTTP/1 server whose every resource is bounded: for the solver port, probes and metrics.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// What a client may take of the server.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections at a time; more wait in the kernel's queue.
    pub connections: usize,
    /// From the connection to the end of the request's head.
    pub head: Duration,
    /// From the connection to its end, whatever it does. One connection serves one request, so that
    /// no idle one holds a place and no proxy reuses one that is just being closed.
    pub life: Duration,
    /// After the stop, for the requests that are already there.
    pub drain: Duration,
}

impl Bounds {
    /// For the solver port, which the world may reach.
    pub const PUBLIC: Self = Self {
        connections: 1024,
        head: Duration::from_secs(5),
        life: Duration::from_secs(10),
        drain: Duration::from_secs(2),
    };

    /// For probes and metrics: few clients, larger answers.
    pub const ADMIN: Self = Self {
        connections: 64,
        head: Duration::from_secs(5),
        life: Duration::from_secs(30),
        drain: Duration::from_secs(1),
    };
}

/// Opens a port on all addresses of both families, or of IPv4 where there is no IPv6.
///
/// # Errors
/// The port is taken, or may not be opened.
pub async fn listen(port: u16) -> io::Result<TcpListener> {
    match TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).await {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
        Err(_) => TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).await,
        listener => listener,
    }
}

/// The largest head of a request, and at the same time the smallest that hyper can be told.
const HEAD_BYTES: usize = 8192;

/// Answers each request with `handler` until `stop`, then drains.
///
/// # Errors
/// None while the listener lives: a failed accept (too many open files, a client that left) is
/// tried again after a pause.
pub async fn serve<H>(listener: TcpListener, bounds: Bounds, stop: CancellationToken, handler: H)
where
    H: Fn(&Request<Incoming>) -> Response<Full<Bytes>> + Send + Sync + 'static,
{
    let handler = Arc::new(handler);
    let places = Arc::new(Semaphore::new(bounds.connections));
    while let Some((stream, place)) = next(&listener, &places, &stop).await {
        let handler = Arc::clone(&handler);
        tokio::spawn(async move {
            converse(stream, bounds, handler.as_ref()).await;
            drop(place);
        });
    }
    drop(listener);
    let all = u32::try_from(bounds.connections).unwrap_or(u32::MAX);
    // Both errors mean the same here: what is left has had its time.
    let _ = tokio::time::timeout(bounds.drain, places.acquire_many(all)).await;
}

/// The next connection with its place, or nothing once stopped.
async fn next(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let accept = async {
        let place = Arc::clone(places).acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return Some((stream, place)),
                Err(error) => {
                    if !is_of_one_client(&error) {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => None,
        accepted = accept => accepted,
    }
}

/// Whether only the one client is gone, so that the next accept can follow at once.
fn is_of_one_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

async fn converse<H>(stream: TcpStream, bounds: Bounds, handler: &H)
where
    H: Fn(&Request<Incoming>) -> Response<Full<Bytes>> + Send + Sync + 'static,
{
    let service = service_fn(async |request| Ok::<_, Infallible>(handler(&request)));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head)
        .keep_alive(false)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    // A client that breaks off or is too slow is no event of ours.
    let _ = tokio::time::timeout(bounds.life, connection).await;
}

#[cfg(test)]
mod tests;
