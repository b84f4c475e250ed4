//! One question to one server: UDP and then TCP, or HTTPS (RFC 8484).

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use domain::base::Rtype;
use http::header::ACCEPT;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::Error;
use super::message::{Answer, Name, Query, is_truncated};
use crate::net::{self, Client, Request, Unanswered};

/// For one question to one server, all tries included (contract §5.7).
pub const DEADLINE: Duration = Duration::from_secs(10);
/// When a datagram is sent once more: it, or its answer, may have been lost.
const AGAIN: [Duration; 3] = [
    Duration::from_millis(500),
    Duration::from_millis(1500),
    Duration::from_secs(2),
];
/// The largest body of an answer by HTTPS (contract §5.7).
const MOST_BY_HTTPS: usize = 128 * 1024;
const DNS_PORT: u16 = 53;

/// By which protocol something is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

/// Who is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    Dns(SocketAddr),
    Https(String),
}

impl Server {
    /// An address (port 53), an address with a port, or an https URL.
    ///
    /// # Errors
    /// [`Error::Server`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.starts_with("https://") {
            let uri = text.parse::<http::Uri>().ok();
            let is_whole = uri.is_some_and(|uri| uri.host().is_some_and(|host| !host.is_empty()));
            return is_whole
                .then(|| Self::Https(text.to_owned()))
                .ok_or_else(|| Error::Server(text.to_owned()));
        }
        let address = text.parse::<SocketAddr>().ok().or_else(|| {
            let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
            let ip = bare.unwrap_or(text).parse::<IpAddr>().ok()?;
            Some(SocketAddr::new(ip, DNS_PORT))
        });
        address
            .map(Self::Dns)
            .ok_or_else(|| Error::Server(text.into()))
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(address) => address.fmt(f),
            Self::Https(url) => url.fmt(f),
        }
    }
}

/// Asks servers; cheap to clone.
#[derive(Clone)]
pub(super) struct Asker {
    /// To servers that are asked by HTTPS.
    pub(super) http: Client,
    /// [`DEADLINE`], but in tests.
    pub(super) deadline: Duration,
}

impl Asker {
    /// What a server answers, whatever its code.
    pub(super) async fn ask(
        &self,
        server: &Server,
        name: &Name,
        kind: Rtype,
        recurse: bool,
    ) -> Result<Answer, Error> {
        let garbled = || Error::Garbled(server.to_string());
        // HTTPS has no use for an id, and caches like one that is always the same (RFC 8484 §4.1).
        let id = match server {
            Server::Dns(_) => random_id(),
            Server::Https(_) => 0,
        };
        let query = Query::new(id, name, kind, recurse).map_err(|_| garbled())?;
        let asked = async {
            match server {
                Server::Dns(address) => exchange(*address, &query).await,
                Server::Https(url) => self.post(url, &query).await,
            }
        };
        let answered = timeout(self.deadline, asked)
            .await
            .map_err(|_| Error::Silent(server.to_string()))?;
        let bytes = answered.map_err(|error| unreachable(server.to_string(), &error))?;
        Answer::read(&bytes).map_err(|_| garbled())
    }

    async fn post(&self, url: &str, query: &Query) -> io::Result<Vec<u8>> {
        const MEDIA_TYPE: &str = "application/dns-message";
        let request = Request::new(http::Method::POST, url).header(ACCEPT, MEDIA_TYPE);
        let request = request.map_err(io::Error::other)?;
        let request = request.body(MEDIA_TYPE, query.bytes.clone());
        let reply = self.http.send(request).await.map_err(|error| match error {
            net::Error::Unanswered(Unanswered::Timeout { .. }) => io::ErrorKind::TimedOut,
            net::Error::Unanswered(Unanswered::TooLarge { .. }) => io::ErrorKind::InvalidData,
            net::Error::Request(_) | net::Error::Unanswered(Unanswered::Network { .. }) => {
                io::ErrorKind::ConnectionAborted
            }
        })?;
        if !reply.is_success() || reply.body.len() > MOST_BY_HTTPS {
            return Err(io::ErrorKind::InvalidData.into());
        }
        checked(reply.body.to_vec(), query)
    }
}

/// A name server's fault, as a short word.
pub(super) fn unreachable(server: String, error: &io::Error) -> Error {
    let reason = match error.kind() {
        io::ErrorKind::InvalidData => return Error::Garbled(server),
        io::ErrorKind::TimedOut => return Error::Silent(server),
        io::ErrorKind::ConnectionRefused => "connection refused",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "no route to it",
        _ => "the connection broke",
    };
    Error::Unreachable { server, reason }
}

/// A number that nobody can guess, so that nobody answers for another.
pub(super) fn random_id() -> u16 {
    let mut bytes = [0; 2];
    // Without randomness the port of the socket is what is left to guess.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    u16::from_be_bytes(bytes)
}

async fn exchange(server: SocketAddr, query: &Query) -> io::Result<Vec<u8>> {
    let fits = |bytes: &[u8]| query.is_answered_by(bytes);
    match datagrams(server, &query.bytes, fits).await {
        Ok(answer) if !is_truncated(&answer) => Ok(answer),
        // Cut short, lost, or not let through.
        _ => checked(stream(server, &query.bytes).await?, query),
    }
}

fn checked(answer: Vec<u8>, query: &Query) -> io::Result<Vec<u8>> {
    if query.is_answered_by(&answer) {
        Ok(answer)
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// Sends a message by UDP, a few times if need be; the first answer that fits. What does not fit is not from whom it
/// was asked, or late.
pub(super) async fn datagrams(
    server: SocketAddr,
    message: &[u8],
    fits: impl Fn(&[u8]) -> bool,
) -> io::Result<Vec<u8>> {
    let any: IpAddr = if server.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    for patience in AGAIN {
        socket.send(message).await?;
        let received = async {
            loop {
                let length = socket.recv(&mut buffer).await?;
                let answer = buffer.get(..length).unwrap_or_default();
                if fits(answer) {
                    return io::Result::Ok(answer.to_vec());
                }
            }
        };
        if let Ok(answer) = timeout(patience, received).await {
            return answer;
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// Sends a message by TCP (RFC 1035 §4.2.2); the first answer.
pub(super) async fn stream(server: SocketAddr, message: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(message);
    stream.write_all(&framed).await?;
    let mut length = [0; 2];
    stream.read_exact(&mut length).await?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}
