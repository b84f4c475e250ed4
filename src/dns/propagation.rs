//! Who has a TXT value, and what is wrong with each that has not.

use std::fmt;
use std::net::SocketAddr;

use domain::base::iana::Rcode;
use domain::base::{Rtype, name::ToName};

use super::exchange::Server;
use super::message::{Answer, Name, absolute};
use super::resolver::{Resolver, Servers};
use super::standing::Path;
use super::{DEADLINE, Error};

/// Who has the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Propagation {
    /// Where it is looked for, after all CNAME records; absolute.
    pub name: String,
    /// How it was found; `None` where only resolvers were asked.
    pub path: Option<Path>,
    /// How many servers have it.
    pub having: usize,
    /// Those that have not, in the order of their names.
    pub faults: Vec<Fault>,
}

/// A server without the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// `ns1.example.com. (192.0.2.53)`, or what a resolver was configured as.
    pub server: String,
    pub trouble: Trouble,
}

/// What is wrong with a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It answers for the zone, without this value; with so many others.
    Absent { others: usize },
    /// The zone is said to be there, but it does not answer for it.
    Lame(String),
    /// It does not answer in time.
    Slow,
    /// There is no way to it, or it answers nonsense.
    Broken(String),
    /// Its name has no address.
    Nowhere,
}

impl Propagation {
    pub fn is_complete(&self) -> bool {
        self.faults.is_empty()
    }

    /// Some server says that the value is not there: a CA that asks it will say so too. The other troubles are a
    /// server's own, and a CA may have better luck, or ask another.
    pub fn is_denied(&self) -> bool {
        let absent = |fault: &Fault| matches!(fault.trouble, Trouble::Absent { .. });
        self.faults.iter().any(absent)
    }
}

impl fmt::Display for Propagation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let asked = self.having + self.faults.len();
        let name = &self.name;
        write!(
            f,
            "{} of {asked} name servers have the TXT record of {name}",
            self.having
        )?;
        for fault in &self.faults {
            write!(f, "; {fault}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let server = &self.server;
        match &self.trouble {
            Trouble::Absent { others: 0 } => write!(f, "{server} answers that there is none"),
            Trouble::Absent { others } => {
                write!(f, "{server} answers with other values only ({others})")
            }
            Trouble::Lame(why) => write!(
                f,
                "{server} is named as a server of the zone and does not serve it ({why}): correct the zone's NS records"
            ),
            Trouble::Slow => write!(
                f,
                "{server} does not answer within {} s",
                DEADLINE.as_secs()
            ),
            Trouble::Broken(why) => write!(f, "{server}: {why}"),
            Trouble::Nowhere => write!(f, "{server} has no address: correct the zone's NS records"),
        }
    }
}

impl Resolver {
    /// Asks for a TXT value, after all CNAME records: all servers of the zone, or with `resolvers_only` the resolvers
    /// of this one.
    ///
    /// # Errors
    /// When it cannot be found out whom to ask.
    pub async fn propagation(
        &self,
        name: &Name,
        value: &str,
        resolvers_only: bool,
    ) -> Result<Propagation, Error> {
        if resolvers_only {
            let asked = self
                .servers
                .iter()
                .map(|server| self.at_resolver(server, name, value));
            let name = absolute(&name.to_canonical_name::<Vec<u8>>());
            let found = futures::future::join_all(asked).await;
            return Ok(collect(name, None, found));
        }
        let name = self.follow(name).await?;
        let (zone, servers) = self.place(&name).await?;
        let seen = self.at_servers(&name, &zone, &servers, value).await;
        if seen.is_complete() {
            return Ok(seen);
        }
        // Nobody is blamed on the word of what was known from before; where it cannot be asked again, it stands.
        let fresh = self.fresh();
        match fresh.place(&name).await {
            Ok((zone_now, servers_now)) if (&zone_now, &servers_now) != (&zone, &servers) => {
                let again = fresh.at_servers(&name, &zone_now, &servers_now, value);
                Ok(again.await)
            }
            _ => Ok(seen),
        }
    }

    async fn place(&self, name: &Name) -> Result<(Name, Servers), Error> {
        let zone = self.zone(name).await?;
        let servers = self.servers_of(&zone).await?;
        Ok((zone, servers))
    }

    async fn at_servers(
        &self,
        name: &Name,
        zone: &Name,
        servers: &Servers,
        value: &str,
    ) -> Propagation {
        let judge = |answer: &Answer| {
            responsible(answer)?;
            present(answer, value)
        };
        let asked = servers
            .iter()
            .map(|(server, addresses)| self.at_server(server, addresses, name, Rtype::TXT, judge));
        let found = futures::future::join_all(asked).await.into_iter();
        let faults = found.map(|(server, found)| {
            let trouble = found.err()?;
            Some(Fault { server, trouble })
        });
        let path = Path::new(name, zone, servers);
        collect(path.name.clone(), Some(path), faults.collect())
    }

    async fn at_resolver(&self, server: &Server, name: &Name, value: &str) -> Option<Fault> {
        let trouble = match self.asker.ask(server, name, Rtype::TXT, true).await {
            Ok(answer) if answer.is_definite() => present(&answer, value).err()?,
            Ok(answer) => Trouble::Broken(format!("answers {}", answer.code)),
            Err(error) => of(&error),
        };
        let server = server.to_string();
        Some(Fault { server, trouble })
    }

    /// What a server answers, as `judge` has it; which of its addresses has answered. The first that does speaks for it.
    pub(super) async fn at_server<T>(
        &self,
        server: &Name,
        addresses: &[SocketAddr],
        name: &Name,
        kind: Rtype,
        judge: impl Fn(&Answer) -> Result<T, Trouble>,
    ) -> (String, Result<T, Trouble>) {
        let mut first = None;
        for address in addresses {
            let asked = Server::Dns(*address);
            let found = match self.asker.ask(&asked, name, kind, false).await {
                Ok(answer) => judge(&answer),
                Err(error) => Err(of(&error)),
            };
            let server = format!("{} ({})", absolute(server), address.ip());
            match found {
                Err(trouble @ (Trouble::Slow | Trouble::Broken(_))) => {
                    first.get_or_insert((server, Err(trouble)));
                }
                settled => return (server, settled),
            }
        }
        first.unwrap_or_else(|| (absolute(server), Err(Trouble::Nowhere)))
    }
}

fn collect(name: String, path: Option<Path>, found: Vec<Option<Fault>>) -> Propagation {
    let asked = found.len();
    let faults: Vec<Fault> = found.into_iter().flatten().collect();
    Propagation {
        name,
        path,
        having: asked - faults.len(),
        faults,
    }
}

/// Whether an answer is that of a server that serves the zone.
pub(super) fn responsible(answer: &Answer) -> Result<(), Trouble> {
    match answer.code {
        Rcode::NOERROR | Rcode::NXDOMAIN if answer.authoritative => Ok(()),
        Rcode::NOERROR | Rcode::NXDOMAIN => Err(Trouble::Lame("not authoritative".into())),
        // It may have the zone, and trouble with it.
        Rcode::SERVFAIL => Err(Trouble::Broken("answers SERVFAIL".into())),
        code => Err(Trouble::Lame(format!("answers {code}"))),
    }
}

fn present(answer: &Answer, value: &str) -> Result<(), Trouble> {
    let others = answer.texts().count();
    let is_there = answer.texts().any(|text| text == value.as_bytes());
    if is_there {
        Ok(())
    } else {
        Err(Trouble::Absent { others })
    }
}

/// Without the server's address, which is said beside it.
fn of(error: &Error) -> Trouble {
    match error {
        Error::Silent(_) => Trouble::Slow,
        Error::Unreachable { reason, .. } => Trouble::Broken(reason.clone()),
        Error::Garbled(_) => Trouble::Broken("answers with what is no DNS answer".into()),
        other => Trouble::Broken(other.to_string()),
    }
}
