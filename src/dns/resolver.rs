//! What resolvers know: where names lead, whose they are.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use domain::base::Rtype;
use domain::base::name::ToName;
use tokio::time::Instant;

use super::cache::{Cache, Question};
use super::exchange::{Asker, DEADLINE, Server};
use super::message::{Answer, Data, Name, absolute};
use super::{Caa, Error};
use crate::net::Client;

/// How many CNAME records are followed from one name.
pub(super) const MOST_ALIASES: usize = 10;
/// How many name servers of a zone are looked at, and how many addresses of each.
const MOST_SERVERS: usize = 16;
const MOST_ADDRESSES: usize = 4;
const DNS_PORT: u16 = 53;
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Where nothing else is said (contract §5.7).
const FALLBACK: [[u8; 4]; 2] = [[8, 8, 8, 8], [8, 8, 4, 4]];

/// The name servers of a zone, with the addresses of each.
pub(super) type Servers = Vec<(Name, Vec<SocketAddr>)>;

/// Asks resolvers in their order, until one knows; cheap to clone.
#[derive(Clone)]
pub struct Resolver {
    pub(super) asker: Asker,
    pub(super) servers: Arc<[Server]>,
    /// Where servers of zones are asked. Another one than 53 in laboratories only.
    pub(super) port: u16,
    cache: Arc<Cache>,
    /// What was asked for before is not known any more.
    since: Option<Instant>,
}

impl Resolver {
    /// Of these servers; `http` leads to those that are asked by HTTPS.
    pub fn new(servers: Vec<Server>, http: Client) -> Self {
        Self {
            asker: Asker {
                http,
                deadline: DEADLINE,
            },
            servers: servers.into(),
            port: DNS_PORT,
            cache: Arc::default(),
            since: None,
        }
    }

    /// The same, but of other servers.
    #[must_use]
    pub fn with(&self, servers: Vec<Server>) -> Self {
        Self {
            servers: servers.into(),
            ..self.clone()
        }
    }

    /// The same, which knows nothing from before.
    #[must_use]
    pub fn fresh(&self) -> Self {
        Self {
            since: Some(Instant::now()),
            ..self.clone()
        }
    }

    /// The first answer that says something. Otherwise what the first server's fault was: the others are there to stand
    /// in for it.
    pub(super) async fn ask(&self, name: &Name, kind: Rtype) -> Result<Answer, Error> {
        let mut fault = None;
        for server in &*self.servers {
            let answer = self.asker.ask(server, name, kind, true).await;
            let problem = match answer {
                Ok(answer) if answer.is_definite() => return Ok(answer),
                Ok(answer) => Error::Failed {
                    server: server.to_string(),
                    code: answer.code.to_string(),
                    name: absolute(name),
                },
                Err(error) => error,
            };
            fault.get_or_insert(problem);
        }
        Err(fault.unwrap_or_else(|| Error::NoZone(absolute(name))))
    }

    /// As [`Self::ask`], or what is known from before: of zones and their servers.
    async fn know(&self, name: &Name, kind: Rtype) -> Result<Answer, Error> {
        let question = Question {
            servers: Arc::clone(&self.servers),
            name: name.clone(),
            kind,
        };
        let asked = self.ask(name, kind);
        self.cache.answer(question, self.since, asked).await
    }

    /// Where the CNAME records of a name lead in the end: to itself without any.
    pub async fn follow(&self, name: &Name) -> Result<Name, Error> {
        let mut path = vec![name.clone()];
        let mut current = name.clone();
        loop {
            let answer = self.ask(&current, Rtype::CNAME).await?;
            let Some(next) = answer.alias_of(&current).cloned() else {
                return Ok(current);
            };
            if path.contains(&next) || path.len() > MOST_ALIASES {
                return Err(Error::Circle(absolute(name)));
            }
            path.push(next.clone());
            current = next;
        }
    }

    /// The addresses of a name, or of where its CNAME records lead; none for one that has none.
    pub async fn addresses(&self, name: &Name) -> Result<Vec<IpAddr>, Error> {
        let (four, six) = futures::join!(self.ask(name, Rtype::A), self.ask(name, Rtype::AAAA));
        let fault = match (&four, &six) {
            (Err(error), Err(_)) => Some(error.clone()),
            _ => None,
        };
        let answers = [four, six].into_iter().flatten();
        let entries = answers.flat_map(|answer| answer.answers);
        let found = entries.filter_map(|entry| match entry.data {
            Data::Address(address) => Some(address),
            _ => None,
        });
        fault.map_or_else(|| Ok(found.collect()), Err)
    }

    /// The CAA records of this very name, or of where its CNAME records lead; without any, those of the names above it
    /// count (RFC 8659 §3).
    pub async fn caa(&self, name: &Name) -> Result<Vec<Caa>, Error> {
        Ok(self.ask(name, Rtype::CAA).await?.caa_of(name))
    }

    /// The CAA records that count for a name: those of the closest name upwards that has any.
    ///
    /// # Errors
    /// When that cannot be told.
    pub async fn caa_upwards(&self, name: &Name) -> Result<BTreeSet<Caa>, Error> {
        for place in name.iter_suffixes() {
            let place: Name = place.to_canonical_name();
            let found = if place.is_root() {
                vec![]
            } else {
                self.caa(&place).await?
            };
            if !found.is_empty() {
                return Ok(found.into_iter().collect());
            }
        }
        Ok(BTreeSet::new())
    }

    /// The zone that a name is in: the closest name upwards with an SOA record. A name with a CNAME record is no top of
    /// a zone.
    pub async fn zone(&self, name: &Name) -> Result<Name, Error> {
        let mut fault = None;
        for candidate in name.iter_suffixes() {
            let candidate: Name = candidate.to_canonical_name();
            if candidate.is_root() {
                break;
            }
            let answer = match self.know(&candidate, Rtype::SOA).await {
                Ok(answer) => answer,
                Err(error) => {
                    // A name within may be broken where the zone is not.
                    fault.get_or_insert(error);
                    continue;
                }
            };
            let all = answer.answers.iter().chain(&answer.authority);
            let is_alias = answer.alias_of(&candidate).is_some();
            let tops = all.filter(|entry| matches!(entry.data, Data::Zone { .. }) && !is_alias);
            // The closest that the server names, which spares the steps between.
            let closest = tops
                .map(|entry| &entry.owner)
                .filter(|top| candidate.ends_with(top) && !top.is_root())
                .max_by_key(|top| top.label_count());
            if let Some(top) = closest {
                return Ok(top.clone());
            }
        }
        Err(fault.unwrap_or_else(|| Error::NoZone(absolute(name))))
    }

    /// The name servers of a zone, with the addresses of each: an empty list for one that has none.
    pub(super) async fn servers_of(&self, zone: &Name) -> Result<Servers, Error> {
        let answer = self.know(zone, Rtype::NS).await?;
        let mut names: Vec<&Name> = answer
            .answers
            .iter()
            .filter_map(|entry| match &entry.data {
                Data::Server(server) if entry.owner == *zone => Some(server),
                _ => None,
            })
            .collect();
        names.sort();
        names.dedup();
        names.truncate(MOST_SERVERS);
        let found = names.into_iter().map(|server| async move {
            let (four, six) =
                futures::join!(self.know(server, Rtype::A), self.know(server, Rtype::AAAA));
            let fault = four.as_ref().err().or(six.as_ref().err()).cloned();
            let addresses = [four, six]
                .into_iter()
                .flatten()
                .flat_map(|answer| answer.answers)
                .filter_map(|entry| match entry.data {
                    Data::Address(address) => Some(SocketAddr::new(address, self.port)),
                    _ => None,
                });
            let addresses: Vec<SocketAddr> = addresses.take(MOST_ADDRESSES).collect();
            ((server.clone(), addresses), fault)
        });
        let found = futures::future::join_all(found).await;
        let (found, faults): (Servers, Vec<_>) = found.into_iter().unzip();
        if found.iter().all(|(_, addresses)| addresses.is_empty()) {
            // That nothing came may be the resolver's fault.
            let fault = faults.into_iter().flatten().next();
            return Err(fault.unwrap_or_else(|| Error::NoServers(absolute(zone))));
        }
        Ok(found)
    }
}

/// The resolvers of the system.
pub fn system_servers() -> Vec<Server> {
    let text = std::fs::read_to_string(RESOLV_CONF).unwrap_or_default();
    let found = named_in(&text);
    if !found.is_empty() {
        return found;
    }
    FALLBACK
        .map(|address| Server::Dns(SocketAddr::new(IpAddr::from(address), DNS_PORT)))
        .into()
}

fn named_in(resolv_conf: &str) -> Vec<Server> {
    let lines = resolv_conf.lines();
    lines
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let address = words
                .next()
                .filter(|word| *word == "nameserver")
                .and(words.next())?;
            Some(Server::Dns(SocketAddr::new(
                address.parse().ok()?,
                DNS_PORT,
            )))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_resolvers() {
        let text = "# by hand\nsearch example.com\nnameserver 192.0.2.1\nnameserver  2001:db8::1 \n\
                    nameserver fe80::1%eth0\noptions ndots:5\nnameserver\n";
        let found: Vec<String> = named_in(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["192.0.2.1:53", "[2001:db8::1]:53"]);
    }

    #[test]
    fn servers_are_addresses_or_urls() {
        for (text, expected) in [
            ("192.0.2.1", "192.0.2.1:53"),
            ("192.0.2.1:5353", "192.0.2.1:5353"),
            ("2001:db8::1", "[2001:db8::1]:53"),
            ("[2001:db8::1]", "[2001:db8::1]:53"),
            ("[2001:db8::1]:5353", "[2001:db8::1]:5353"),
            (
                "https://dns.example/dns-query",
                "https://dns.example/dns-query",
            ),
        ] {
            let server = Server::parse(text).map(|server| server.to_string());
            assert_eq!(server.as_deref(), Ok(expected), "{text}");
        }
        for text in [
            "",
            "dns.example",
            "http://dns.example/",
            "https://",
            "1.2.3",
            ":53",
        ] {
            assert_eq!(
                Server::parse(text),
                Err(Error::Server(text.into())),
                "{text}"
            );
        }
    }
}
