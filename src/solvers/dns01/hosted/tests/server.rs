//! A server for all hosts, over real TLS on the loopback interface, and the world that it keeps.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use parking_lot::{Mutex, MutexGuard};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

use super::super::Hosted;
use crate::net::{Client, Resolver};
use crate::pki::{
    CertificateSigningRequest, CertificateTemplate, Curve, IssuerIdentity, KeyAlgorithm, KeyUsages,
    ParsedCertificate, PrivateKey, RequestParams, Subject, Urls, build_request, self_sign, sign,
};
use crate::solvers::dns01::{Ambient, Given, Provider, Secrets};

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub(super) struct Sent {
    pub(super) method: String,
    pub(super) host: String,
    /// As it came, escaped.
    pub(super) path: String,
    pub(super) raw_query: String,
    /// Not escaped any more.
    pub(super) query: BTreeMap<String, String>,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: String,
}

impl Sent {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(super) fn field(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }

    pub(super) fn json(&self) -> Result<Value, String> {
        if self.header("content-type") != "application/json" {
            return Err("not JSON by its type".into());
        }
        serde_json::from_str(&self.body).map_err(|error| error.to_string())
    }

    /// A form's fields.
    pub(super) fn form(&self) -> Result<BTreeMap<String, String>, String> {
        if self.header("content-type") != "application/x-www-form-urlencoded" {
            return Err("not a form by its type".into());
        }
        Ok(fields(&self.body))
    }

    /// The parts of the path, not escaped any more.
    pub(super) fn parts(&self) -> Vec<String> {
        self.path.split('/').skip(1).map(unescape).collect()
    }
}

/// What is answered.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn new(status: u16, body: impl Into<String>) -> Self {
        Self {
            status,
            headers: vec![],
            body: body.into(),
        }
    }

    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self::new(status, body.to_string())
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

#[derive(Clone, Debug)]
pub(super) struct Zone {
    pub(super) id: String,
    /// Without a final dot.
    pub(super) name: String,
    pub(super) private: bool,
    pub(super) records: Vec<Txt>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Txt {
    pub(super) id: u64,
    /// Without a final dot.
    pub(super) name: String,
    /// As the provider keeps it.
    pub(super) raw: String,
    pub(super) ttl: u64,
    /// Of the record set, where a name may have several.
    pub(super) set: Option<String>,
}

type Meddler = Box<dyn FnOnce(&mut World) + Send>;

/// What a provider keeps, and what it was asked.
#[derive(Default)]
pub(super) struct World {
    pub(super) zones: Vec<Zone>,
    /// The entries of a page.
    pub(super) page: usize,
    pub(super) serial: u64,
    pub(super) sent: Vec<Sent>,
    /// Requests that are none of the documented ones.
    pub(super) wrong: Vec<String>,
    /// What the next calls are answered, logins apart.
    pub(super) faults: Vec<Answer>,
    /// What every call is answered, logins apart.
    pub(super) fault: Option<Answer>,
    /// What others do just before the next writes.
    pub(super) before_write: Vec<Meddler>,
    pub(super) revoked: bool,
    /// Tokens that were given.
    pub(super) logins: usize,
}

impl World {
    pub(super) fn add_zone(&mut self, name: &str, private: bool) {
        self.serial += 1;
        self.zones.push(Zone {
            id: format!("Z{}", self.serial),
            name: name.to_owned(),
            private,
            records: vec![],
        });
    }

    pub(super) fn zone(&mut self, id: &str) -> Option<&mut Zone> {
        self.zones.iter_mut().find(|zone| zone.id == id)
    }

    pub(super) fn public(&mut self, name: &str) -> Option<&mut Zone> {
        let mut zones = self.zones.iter_mut();
        zones.find(|zone| zone.name == name && !zone.private)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// A record of somebody else, in the public zone of a name.
    pub(super) fn add(&mut self, zone: &str, name: &str, raw: &str, ttl: u64) {
        let id = self.next();
        let record = Txt {
            id,
            name: name.to_owned(),
            raw: raw.to_owned(),
            ttl,
            ..Txt::default()
        };
        self.public(zone).unwrap().records.push(record);
    }

    /// All that is at a name, in all zones.
    pub(super) fn at(&self, name: &str) -> Vec<Txt> {
        let records = self.zones.iter().flat_map(|zone| &zone.records);
        records.filter(|txt| txt.name == name).cloned().collect()
    }

    /// The calls that change something, logins apart.
    pub(super) fn writes(&self) -> usize {
        let writes = self.sent.iter().filter(|sent| is_write(sent));
        writes.count()
    }
}

impl Zone {
    pub(super) fn set(&self, name: &str) -> Vec<Txt> {
        let found = self.records.iter().filter(|txt| txt.name == name);
        found.cloned().collect()
    }

    /// The values of a name become these.
    pub(super) fn replace(&mut self, name: &str, ttl: u64, raws: &[String]) {
        self.records.retain(|txt| txt.name != name);
        let made = raws.iter().map(|raw| Txt {
            name: name.to_owned(),
            raw: raw.clone(),
            ttl,
            ..Txt::default()
        });
        self.records.extend(made);
    }
}

fn is_write(sent: &Sent) -> bool {
    sent.method != "GET" && !is_login(sent)
}

fn is_login(sent: &Sent) -> bool {
    let logins = ["oauth2.", "login.", "sts."];
    logins.iter().any(|prefix| sent.host.starts_with(prefix))
}

/// How a provider answers; what is not documented is an error.
pub(super) type Handler = fn(&mut World, &Sent) -> Result<Answer, String>;

/// A provider to be tested.
pub(super) struct Case {
    pub(super) handler: Handler,
    pub(super) provider: fn(&Arc<Hosted>) -> Box<dyn Provider>,
    /// In seconds (contract §5.7).
    pub(super) ttl: u64,
    /// How the provider keeps a value.
    pub(super) raw: fn(&str) -> String,
    /// Whether a write is refused when what was read has changed.
    pub(super) conditional: bool,
    /// What must be in no message.
    pub(super) secrets: &'static [&'static str],
}

/// A provider and its server.
pub(super) struct Running {
    pub(super) hosted: Arc<Hosted>,
    world: Arc<Mutex<World>>,
}

impl Running {
    pub(super) fn start(handler: Handler) -> Self {
        PASSED.set(0);
        let world = Arc::new(Mutex::new(World {
            page: 2,
            ..World::default()
        }));
        let (roots, tls) = tls();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::clone(&world);
        // It ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (tls, world) = (Arc::clone(&tls), Arc::clone(&shared));
                thread::spawn(move || {
                    let connection = ServerConnection::new(tls).unwrap();
                    serve(
                        stream.unwrap(),
                        |stream| StreamOwned::new(connection, stream),
                        &world,
                        handler,
                    );
                });
            }
        });
        let http = Client::new(roots, Resolver::Fixed(address)).unwrap();
        let hosted = Hosted::new(http, Client::local().unwrap(), now);
        Self { hosted, world }
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock()
    }

    /// Nothing was sent that is not documented.
    pub(super) fn assert_documented(&self) {
        let world = self.world();
        assert!(world.wrong.is_empty(), "{:#?}", world.wrong);
    }
}

/// A metadata service of a machine, by plain http: its URL, and what it was asked.
pub(super) fn local(handler: Handler) -> (String, Arc<Mutex<World>>) {
    let world = Arc::new(Mutex::new(World::default()));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let shared = Arc::clone(&world);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let world = Arc::clone(&shared);
            thread::spawn(move || serve(stream.unwrap(), |stream| stream, &world, handler));
        }
    });
    (url, world)
}

const START: &str = "2026-01-01T00:00:00Z";

thread_local! {
    static PASSED: Cell<i64> = const { Cell::new(0) };
}

/// The time of the test, which runs in one thread.
pub(super) fn now() -> Timestamp {
    let start: Timestamp = START.parse().unwrap();
    start + SignedDuration::from_secs(PASSED.get())
}

/// The start of every test's time, for servers, which have threads of their own.
pub(super) fn start() -> Timestamp {
    START.parse().unwrap()
}

pub(super) fn pass(seconds: i64) {
    PASSED.set(PASSED.get() + seconds);
}

pub(super) fn given(secrets: &[(&'static str, &str)]) -> Given {
    let mut read = Secrets::default();
    for (field, value) in secrets {
        read.put(field, value.as_bytes().to_vec());
    }
    Given {
        clock: now,
        secrets: read,
        aws_region: None,
        ambient: None,
    }
}

pub(super) fn ambient(variables: &[(&str, &str)]) -> Given {
    let owned = variables
        .iter()
        .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
    let ambient = Ambient {
        variables: owned.collect(),
    };
    Given {
        aws_region: ambient.aws_region(),
        ambient: Some(Arc::new(ambient)),
        ..given(&[])
    }
}

fn serve<S: std::io::Read + Write>(
    stream: TcpStream,
    wrap: impl FnOnce(TcpStream) -> S,
    world: &Mutex<World>,
    handler: Handler,
) {
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let mut reader = BufReader::new(wrap(stream));
    let Some(sent) = read(&mut reader) else {
        return;
    };
    let answer = answer(&mut world.lock(), &sent, handler);
    let mut head = format!("HTTP/1.1 {} x\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    let length = answer.body.len();
    let head = format!("{head}content-length: {length}\r\nconnection: close\r\n\r\n");
    let stream = reader.get_mut();
    let sent = stream.write_all((head + &answer.body).as_bytes());
    // The client may have gone.
    let _ = sent.and_then(|()| stream.flush());
}

fn answer(world: &mut World, sent: &Sent, handler: Handler) -> Answer {
    world.sent.push(sent.clone());
    if is_write(sent) && !world.before_write.is_empty() {
        let meddle = world.before_write.remove(0);
        meddle(world);
    }
    if !world.faults.is_empty() && !is_login(sent) {
        return world.faults.remove(0);
    }
    if let Some(fault) = world.fault.as_ref().filter(|_| !is_login(sent)) {
        return fault.clone();
    }
    handler(world, sent).unwrap_or_else(|problem| {
        let line = format!(
            "{problem}: {} https://{}{}",
            sent.method, sent.host, sent.path
        );
        world
            .wrong
            .push(format!("{line}?{} {}", sent.raw_query, sent.body));
        Answer::new(400, "the test's server does not know this call")
    })
}

fn read(reader: &mut impl std::io::BufRead) -> Option<Sent> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers
        .get("content-length")
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    Some(Sent {
        method,
        host: headers.get("host")?.clone(),
        path: path.to_owned(),
        raw_query: query.to_owned(),
        query: fields(query),
        headers,
        body: String::from_utf8(body).unwrap(),
    })
}

fn fields(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| (unescape(name), unescape(value)))
        .collect()
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first == b'%' {
            let digits = std::str::from_utf8(&rest[..2]).unwrap();
            bytes.push(u8::from_str_radix(digits, 16).unwrap());
            rest = &rest[2..];
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// Where the providers are.
const HOSTS: [&str; 12] = [
    "akab-1.luna.akamaiapis.net",
    "api.cloudflare.com",
    "api.digitalocean.com",
    "dns.googleapis.com",
    "login.chinacloudapi.cn",
    "login.microsoftonline.com",
    "management.azure.com",
    "management.chinacloudapi.cn",
    "oauth2.googleapis.com",
    "route53.amazonaws.com",
    "sts.eu-west-1.amazonaws.com",
    "sts.us-east-1.amazonaws.com",
];

/// A CA that vouches for all hosts.
fn tls() -> (RootCertStore, Arc<ServerConfig>) {
    let key = || PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256)).unwrap();
    let (ca_key, key) = (key(), key());
    let params = RequestParams {
        subject: Subject::from_common_name("test CA"),
        ..RequestParams::default()
    };
    let ca_csr = csr(&params, &ca_key);
    let ca = self_sign(&template(&ca_csr, true), &ca_key).unwrap();
    let params = RequestParams {
        dns_names: HOSTS.map(str::to_owned).to_vec(),
        ..RequestParams::default()
    };
    let csr = csr(&params, &key);
    let issuer = IssuerIdentity {
        subject_der: ca.subject().as_der(),
        subject_key_id: ca.subject_key_id(),
        key: &ca_key,
    };
    let certificate = sign(&template(&csr, false), issuer).unwrap();
    let der = |certificate: &ParsedCertificate| CertificateDer::from(certificate.der().to_vec());
    let mut roots = RootCertStore::empty();
    roots.add(der(&ca)).unwrap();
    let key = PrivatePkcs8KeyDer::from(key.pkcs8_der().unwrap().to_vec());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![der(&certificate)], PrivateKeyDer::from(key))
        .unwrap();
    (roots, Arc::new(config))
}

fn csr(params: &RequestParams, key: &PrivateKey) -> CertificateSigningRequest {
    CertificateSigningRequest::parse_pem(build_request(params, key).unwrap().as_bytes()).unwrap()
}

#[allow(
    clippy::disallowed_methods,
    reason = "the client checks the certificate against its own clock"
)]
fn template(csr: &CertificateSigningRequest, is_ca: bool) -> CertificateTemplate<'_> {
    CertificateTemplate {
        csr,
        // A clock that is set back meanwhile makes no certificate of the future.
        not_before: Timestamp::now() - SignedDuration::from_hours(1),
        duration: Duration::from_hours(2),
        is_ca,
        usages: KeyUsages::from_names(&["digital signature", "server auth"], is_ca).unwrap(),
        urls: Urls::default(),
    }
}
