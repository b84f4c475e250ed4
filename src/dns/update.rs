//! Adding one value to a zone and taking it away (RFC 2136).

use std::io;
use std::net::SocketAddr;

use domain::base::iana::{Class, Opcode, Rcode};
use domain::base::message_builder::PushError;
use domain::base::{Message, MessageBuilder, Record, Rtype, Ttl};
use domain::rdata::Txt;
use jiff::Timestamp;
use tokio::time::timeout;

use super::Error;
use super::exchange::{DEADLINE, Transport, datagrams, random_id, stream, unreachable};
use super::message::{Name, absolute};
use super::tsig::{Key, Verdict};

/// What is to become of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Be there, with this time to live in seconds.
    Add { ttl: u32 },
    /// Be gone.
    Remove,
}

/// One TXT value at one name.
#[derive(Clone, Copy, Debug)]
pub struct Update<'a> {
    pub zone: &'a Name,
    pub name: &'a Name,
    pub value: &'a str,
    pub change: Change,
}

/// Why a server that was reached did not update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It knows no key of this name and algorithm.
    UnknownKey,
    /// The secret is another one there.
    WrongSecret,
    /// The clocks are more than five minutes apart.
    ClockSkew,
    /// Its answer is not signed with the key.
    UnsignedAnswer,
    /// It is not the zone's primary server.
    NotAuthoritative,
    /// It does not let this key, or anybody without one, update the name.
    Forbidden,
    /// The name is not in the zone.
    NotInZone,
    /// It fails: another code.
    Code(String),
}

/// Why an update was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpdateError {
    /// The server was not reached, or answers nonsense.
    Exchange(Error),
    /// It was.
    Refused(Refusal),
}

impl Update<'_> {
    /// Sends it to the zone's primary server. Making it twice is the same as once.
    pub async fn send(
        &self,
        server: SocketAddr,
        transport: Transport,
        key: Option<&Key>,
        now: Timestamp,
    ) -> Result<(), UpdateError> {
        let garbled = || UpdateError::Exchange(Error::Garbled(server.to_string()));
        let message = self.message(random_id()).map_err(|_| garbled())?;
        let (request, mac) = match key {
            Some(key) => key.sign(&message, now).ok_or_else(garbled)?,
            None => (message.clone(), vec![]),
        };
        let fits = |answer: &[u8]| is_answer(&message, answer);
        let sent = async {
            match transport {
                Transport::Udp => datagrams(server, &request, fits).await,
                Transport::Tcp => stream(server, &request).await,
            }
        };
        let failed =
            |error: &io::Error| UpdateError::Exchange(unreachable(server.to_string(), error));
        let answer = match timeout(DEADLINE, sent).await {
            Ok(answer) => answer.map_err(|error| failed(&error))?,
            Err(_) => return Err(failed(&io::ErrorKind::TimedOut.into())),
        };
        if !fits(&answer) {
            return Err(garbled());
        }
        if let Some(key) = key {
            match key.verify(&answer, &mac, now) {
                Verdict::BadKey => return Err(UpdateError::Refused(Refusal::UnknownKey)),
                Verdict::BadSignature => return Err(UpdateError::Refused(Refusal::WrongSecret)),
                Verdict::BadTime => return Err(UpdateError::Refused(Refusal::ClockSkew)),
                // A refusal may come from something in between; success may not.
                Verdict::Unsigned if code(&answer) == Rcode::NOERROR => {
                    return Err(UpdateError::Refused(Refusal::UnsignedAnswer));
                }
                Verdict::Sound | Verdict::Unsigned => {}
            }
        }
        match code(&answer) {
            Rcode::NOERROR => Ok(()),
            Rcode::REFUSED => Err(Refusal::Forbidden),
            Rcode::NOTAUTH => Err(Refusal::NotAuthoritative),
            Rcode::NOTZONE => Err(Refusal::NotInZone),
            code => Err(Refusal::Code(code.to_string())),
        }
        .map_err(UpdateError::Refused)
    }

    fn message(&self, id: u16) -> Result<Vec<u8>, PushError> {
        let mut builder = MessageBuilder::new_vec();
        builder.header_mut().set_id(id);
        builder.header_mut().set_opcode(Opcode::UPDATE);
        let mut zone = builder.question();
        zone.push((self.zone, Rtype::SOA))?;
        let mut updates = zone.authority();
        let text = Txt::<Vec<u8>>::build_from_slice(self.value.as_bytes());
        let text = text.map_err(|_| PushError::ShortBuf)?;
        let (class, ttl) = match self.change {
            Change::Add { ttl } => (Class::IN, ttl),
            // This one value (RFC 2136 §2.5.4).
            Change::Remove => (Class::NONE, 0),
        };
        updates.push(Record::new(self.name, class, Ttl::from_secs(ttl), text))?;
        Ok(updates.finish())
    }
}

/// Servers need not repeat the zone in their answer.
fn is_answer(message: &[u8], answer: &[u8]) -> bool {
    let headers = (Message::from_octets(message), Message::from_octets(answer));
    let (Ok(message), Ok(answer)) = headers else {
        return false;
    };
    answer.header().qr()
        && answer.header().opcode() == Opcode::UPDATE
        && answer.header().id() == message.header().id()
}

fn code(answer: &[u8]) -> Rcode {
    Message::from_octets(answer).map_or(Rcode::FORMERR, |message| message.header().rcode())
}

impl Refusal {
    /// Whether time may cure it.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::ClockSkew | Self::UnsignedAnswer | Self::Code(_))
    }

    /// What it means, and what to do: `server` is what the solver names, `key` its key.
    pub fn explain(&self, server: &str, key: Option<&Key>, update: &Update<'_>) -> String {
        let zone = absolute(update.zone);
        let name = absolute(update.name);
        let with = match key {
            Some(key) => format!("with TSIG key \"{}\"", absolute(&key.name)),
            None => "without a TSIG key".to_owned(),
        };
        let (key, algorithm) = match key {
            Some(key) => (absolute(&key.name), key.algorithm.as_spec()),
            None => (String::new(), ""),
        };
        match self {
            Self::UnknownKey => format!(
                "rfc2136: name server {server} knows no TSIG key \"{key}\" with {algorithm} (BADKEY): correct \
                 tsigKeyName or tsigAlgorithm, or give the server this key"
            ),
            Self::WrongSecret => format!(
                "rfc2136: name server {server} has another secret for TSIG key \"{key}\" (BADSIG): correct the Secret \
                 that tsigSecretSecretRef names"
            ),
            Self::ClockSkew => format!(
                "rfc2136: the clock of name server {server} differs by more than 5 minutes (BADTIME): set the clocks"
            ),
            Self::UnsignedAnswer => format!(
                "rfc2136: the answer of name server {server} is not signed with TSIG key \"{key}\", so it is not believed"
            ),
            Self::NotAuthoritative => format!(
                "rfc2136: name server {server} is not the primary server of zone {zone} (NOTAUTH): correct nameserver, or \
                 let it serve the zone"
            ),
            Self::Forbidden => format!(
                "rfc2136: name server {server} refuses to update {name} in zone {zone} {with} (REFUSED): \
                 allow it there"
            ),
            Self::NotInZone => {
                format!(
                    "rfc2136: name server {server} says that {name} is not in zone {zone} (NOTZONE)"
                )
            }
            Self::Code(code) => {
                format!(
                    "rfc2136: name server {server} answers {code} to the update of {name} in zone {zone}"
                )
            }
        }
    }
}
