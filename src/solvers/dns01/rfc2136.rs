//! Dynamic updates of a zone's primary server, as of BIND, Knot and `PowerDNS` (RFC 2136; contract §1.6, §5.7).

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::BoxFuture;
use jiff::Timestamp;

use super::{Error, Given, Provider, Record};
use crate::api::dns01;
use crate::dns::{self, Algorithm, Change, Key, Transport, Update, UpdateError};

/// Time to live of the values, in seconds (contract §5.7).
const TTL: u32 = 60;
const DNS_PORT: u16 = 53;
const SECRET: &str = "rfc2136.tsigSecretSecretRef";

/// A name server that takes updates.
pub struct Rfc2136 {
    /// As the solver names it.
    nameserver: String,
    transport: Transport,
    key: Option<Key>,
    clock: fn() -> Timestamp,
}

/// Makes the provider; nothing is sent.
///
/// # Errors
/// Permanent: the spec or the Secret does not do.
pub fn provider(spec: &dns01::Rfc2136, given: &Given) -> Result<Rfc2136, Error> {
    if spec.nameserver.trim().is_empty() {
        return Err(Error::permanent(
            "dns01.rfc2136.nameserver is empty: name the zone's primary server",
        ));
    }
    let transport = match spec.protocol.as_deref().unwrap_or_default() {
        "TCP" => Transport::Tcp,
        "" | "UDP" => Transport::Udp,
        other => {
            return Err(Error::permanent(format!(
                "dns01.rfc2136.protocol: \"{other}\" is neither TCP nor UDP"
            )));
        }
    };
    Ok(Rfc2136 {
        nameserver: with_port(spec.nameserver.trim()),
        transport,
        key: key(spec, given)?,
        clock: given.clock,
    })
}

/// A host may be a name, so it is not looked at further.
fn with_port(nameserver: &str) -> String {
    let is_bare = nameserver.parse::<std::net::Ipv6Addr>().is_ok();
    let has_port = match nameserver.rsplit_once(':') {
        Some((_, port)) => !is_bare && port.parse::<u16>().is_ok(),
        None => false,
    };
    match (has_port, is_bare) {
        (true, _) => nameserver.to_owned(),
        (false, true) => format!("[{nameserver}]:{DNS_PORT}"),
        (false, false) => format!("{nameserver}:{DNS_PORT}"),
    }
}

fn key(spec: &dns01::Rfc2136, given: &Given) -> Result<Option<Key>, Error> {
    let name = spec.tsig_key_name.as_deref().unwrap_or_default();
    let secret = given.secrets.text(SECRET)?;
    let (name, secret) = match (name, secret) {
        ("", None) => return Ok(None),
        ("", Some(_)) => {
            return Err(Error::permanent(
                "dns01.rfc2136.tsigKeyName is empty, and tsigSecretSecretRef is not: give both or none",
            ));
        }
        (_, None) => {
            return Err(Error::permanent(
                "dns01.rfc2136.tsigSecretSecretRef is empty, and tsigKeyName is not: give both or none",
            ));
        }
        (name, Some(secret)) => (name, secret),
    };
    let key_name = dns::name(name)
        .map_err(|error| Error::permanent(format!("dns01.rfc2136.tsigKeyName: {error}")))?;
    let secret = STANDARD.decode(secret).map_err(|_| {
        Error::permanent(format!(
            "dns01.{SECRET}: the entry of the Secret is not base64: put the secret there as the name server's \
             configuration has it"
        ))
    })?;
    Ok(Some(Key::new(key_name, algorithm(spec)?, secret)))
}

fn algorithm(spec: &dns01::Rfc2136) -> Result<Algorithm, Error> {
    let text = spec.tsig_algorithm.as_deref().unwrap_or_default();
    if text.is_empty() {
        return Ok(Algorithm::HmacMd5);
    }
    let known = Algorithm::ALL.into_iter();
    let mut known = known.filter(|known| known.as_spec().eq_ignore_ascii_case(text));
    known.next().ok_or_else(|| {
        let all = Algorithm::ALL.map(Algorithm::as_spec).join(", ");
        Error::permanent(format!(
            "dns01.rfc2136.tsigAlgorithm: \"{text}\" is not one of {all}"
        ))
    })
}

impl Rfc2136 {
    async fn change(&self, record: &Record, change: Change) -> Result<(), Error> {
        let parse = |text: &str| dns::name(text).map_err(|e| Error::permanent(e.to_string()));
        let (zone, name) = (parse(&record.zone)?, parse(&record.name)?);
        let update = Update {
            zone: &zone,
            name: &name,
            value: &record.value,
            change,
        };
        let server = self.address().await?;
        let key = self.key.as_ref();
        let sent = update
            .send(server, self.transport, key, (self.clock)())
            .await;
        sent.map_err(|error| match error {
            UpdateError::Exchange(error) => Error::transient(format!("rfc2136: {error}")),
            UpdateError::Refused(refusal) => {
                let text = refusal.explain(&self.nameserver, key, &update);
                if refusal.is_transient() {
                    Error::transient(text)
                } else {
                    Error::permanent(text)
                }
            }
        })
    }

    async fn address(&self) -> Result<SocketAddr, Error> {
        let nowhere = || {
            Error::transient(format!(
                "dns01.rfc2136.nameserver: \"{}\" does not resolve: correct it, or add the DNS record",
                self.nameserver
            ))
        };
        let looked_up = tokio::net::lookup_host(&self.nameserver);
        let found = tokio::time::timeout(dns::DEADLINE, looked_up).await;
        let mut addresses = found.map_err(|_| nowhere())?.map_err(|_| nowhere())?;
        addresses.next().ok_or_else(nowhere)
    }
}

impl Provider for Rfc2136 {
    fn present<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.change(record, Change::Add { ttl: TTL }))
    }

    fn clean_up<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.change(record, Change::Remove))
    }
}
