//! The DNS as far as challenges need it: lookups, zones and their servers, who of them has a record, CAA records, and
//! dynamic update (RFC 2136) with TSIG (RFC 8945). Messages are `domain`'s; the transport is here (docs/adr/0015).
//!
//! Every question has a deadline, every answer is checked against its question, every walk has an end.

mod cache;
mod exchange;
mod message;
mod propagation;
mod resolver;
mod standing;
mod tsig;
mod update;

#[cfg(test)]
mod tests;

pub use exchange::{DEADLINE, Server, Transport};
pub use message::{Name, absolute, name};
pub use propagation::{Fault, Propagation, Trouble};
pub use resolver::{Resolver, system_servers};
pub use standing::{Path, Standing, Watch};
pub use tsig::{Algorithm, Key};
pub use update::{Change, Refusal, Update, UpdateError};

/// A CAA record (RFC 8659 §4).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Caa {
    /// 128: whoever does not know the tag must not issue.
    pub flags: u8,
    /// `issue`, `issuewild` and others.
    pub tag: String,
    /// What the property says; what is no UTF-8 in it is replaced.
    pub value: String,
}

/// Why a question has no answer. Stable in words: the same fault, the same text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// What was given.
    #[error("\"{0}\" is no domain name")]
    Name(String),
    /// What was given.
    #[error(
        "\"{0}\" is no name server: an address, an address with port, or an https URL is needed"
    )]
    Server(String),
    /// Neither by UDP nor by TCP.
    #[error("name server {0} does not answer within {seconds} s", seconds = DEADLINE.as_secs())]
    Silent(String),
    /// The connection was refused or there is no way.
    #[error("name server {server} cannot be reached: {reason}")]
    Unreachable {
        /// Address and port, or URL.
        server: String,
        /// A few words.
        reason: String,
    },
    /// Its host answers, but it does not.
    #[error(
        "name server {server} answers {status} by HTTP: correct the URL, which is mostly one with the path /dns-query"
    )]
    Status {
        /// Its URL.
        server: String,
        /// Of HTTP.
        status: u16,
    },
    /// Its answer cannot be read or is to another question.
    #[error("name server {0} answers with what is no DNS answer")]
    Garbled(String),
    /// SERVFAIL, REFUSED and the like.
    #[error("name server {server} answers {code} to a question for {name}")]
    Failed {
        /// Address and port, or URL.
        server: String,
        /// As RFC 1035 and its successors write it.
        code: String,
        /// What was asked for.
        name: String,
    },
    /// Each leads to the next, and back.
    #[error("the CNAME records from {0} on lead in a circle, or further than {most} steps", most = resolver::MOST_ALIASES)]
    Circle(String),
    /// Nobody is responsible, up to the root.
    #[error("no zone is found for {0}: no name server answers with an SOA record")]
    NoZone(String),
    /// The zone has no NS records, or none of their names has an address.
    #[error("none of the name servers of zone {0} has an address")]
    NoServers(String),
}
