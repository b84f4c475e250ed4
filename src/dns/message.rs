//! Questions and answers as bytes (RFC 1035, RFC 6891).

use std::net::IpAddr;
use std::time::Duration;

use domain::base::iana::{Class, Rcode};
use domain::base::message::ShortMessage;
use domain::base::message_builder::PushError;
use domain::base::name::ToName;
use domain::base::wire::ParseError;
use domain::base::{Message, MessageBuilder, ParsedRecord, Rtype, Serial};
use domain::rdata::{A, Aaaa, Caa as CaaData, Cname, Ns, Soa, Txt};

use super::{Caa, Error};

/// An absolute name. Equal whatever the case.
pub type Name = domain::base::Name<Vec<u8>>;

/// Larger answers come by TCP: what fits into this is not fragmented anywhere.
const MOST_BY_UDP: u16 = 1232;

/// A name in letters, with or without the final dot; in lower case.
pub fn name(text: &str) -> Result<Name, Error> {
    let parsed = Name::vec_from_str(text).ok().filter(|_| !text.is_empty());
    let mut name = parsed.ok_or_else(|| Error::Name(text.to_owned()))?;
    name.make_canonical();
    Ok(name)
}

/// A name in letters, with its final dot.
pub fn absolute(name: &Name) -> String {
    name.fmt_with_dot().to_string()
}

/// A question, and the bytes that ask it.
pub(super) struct Query {
    pub(super) bytes: Vec<u8>,
}

impl Query {
    /// `recurse`: of a resolver; not of a server that is responsible.
    pub(super) fn new(id: u16, name: &Name, kind: Rtype, recurse: bool) -> Result<Self, PushError> {
        let mut builder = MessageBuilder::new_vec();
        builder.header_mut().set_id(id);
        builder.header_mut().set_rd(recurse);
        let mut question = builder.question();
        question.push((name, kind))?;
        let mut additional = question.additional();
        additional.opt(|opt| {
            opt.set_udp_payload_size(MOST_BY_UDP);
            Ok(())
        })?;
        Ok(Self {
            bytes: additional.finish(),
        })
    }

    /// Whether these bytes answer this very question.
    pub(super) fn is_answered_by(&self, bytes: &[u8]) -> bool {
        let Ok(query) = Message::from_octets(self.bytes.as_slice()) else {
            return false;
        };
        let Ok(answer) = Message::from_octets(bytes) else {
            return false;
        };
        // Some servers leave the question out of an answer that only says they failed.
        let bare = answer.header().qr()
            && answer.header().id() == query.header().id()
            && answer.header_counts().qdcount() == 0
            && answer.header().rcode() != Rcode::NOERROR;
        bare || answer.is_answer(&query)
    }
}

/// Whether an answer says that there is more of it by TCP.
pub(super) fn is_truncated(bytes: &[u8]) -> bool {
    Message::from_octets(bytes).is_ok_and(|message| message.header().tc())
}

/// An answer, as far as it is of use here.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) code: Rcode,
    /// The server is responsible for the name.
    pub(super) authoritative: bool,
    pub(super) answers: Vec<Entry>,
    pub(super) authority: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) owner: Name,
    pub(super) ttl: Duration,
    pub(super) data: Data,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Data {
    Address(IpAddr),
    Alias(Name),
    Server(Name),
    /// The owner is the top of a zone. `minimum`: how long it holds that something is not there (RFC 2308 §5).
    Zone {
        serial: Serial,
        minimum: Duration,
    },
    /// The strings of one record, joined (RFC 8555 §8.4 compares them so).
    Text(Vec<u8>),
    Caa(Caa),
}

#[derive(Debug)]
pub(super) struct Unreadable;

impl From<ParseError> for Unreadable {
    fn from(_: ParseError) -> Self {
        Self
    }
}

impl From<ShortMessage> for Unreadable {
    fn from(_: ShortMessage) -> Self {
        Self
    }
}

impl Answer {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Unreadable> {
        let message = Message::from_octets(bytes)?;
        let answers = message.answer()?;
        let mut found = Self {
            code: message.header().rcode(),
            authoritative: message.header().aa(),
            answers: vec![],
            authority: vec![],
        };
        let mut section = answers;
        for record in section.by_ref() {
            found.answers.extend(entry(&record?)?);
        }
        if let Some(section) = section.next_section()? {
            for record in section {
                found.authority.extend(entry(&record?)?);
            }
        }
        Ok(found)
    }

    /// It says what there is at the name, be it nothing.
    pub(super) fn is_definite(&self) -> bool {
        matches!(self.code, Rcode::NOERROR | Rcode::NXDOMAIN)
    }

    /// Where a CNAME record of this name leads.
    pub(super) fn alias_of(&self, name: &Name) -> Option<&Name> {
        self.answers.iter().find_map(|entry| match &entry.data {
            Data::Alias(target) if entry.owner == *name => Some(target),
            _ => None,
        })
    }

    /// How long it holds, by the word of whoever is responsible: `None` of an answer that does not say.
    pub(super) fn lifetime(&self) -> Option<Duration> {
        let there = self.answers.iter().map(|entry| entry.ttl).min();
        let absent = || {
            self.authority.iter().find_map(|entry| match entry.data {
                Data::Zone { minimum, .. } => Some(minimum.min(entry.ttl)),
                _ => None,
            })
        };
        there.or_else(absent)
    }

    /// The CAA records of a name, or of where its CNAME records lead (RFC 8659 §3).
    pub(super) fn caa_of(&self, name: &Name) -> Vec<Caa> {
        let mut place = name;
        // An answer has fewer steps than records.
        for _ in &self.answers {
            place = self.alias_of(place).unwrap_or(place);
        }
        let records = self.answers.iter().filter_map(|entry| match &entry.data {
            Data::Caa(caa) if entry.owner == *place => Some(caa.clone()),
            _ => None,
        });
        records.collect()
    }

    pub(super) fn texts(&self) -> impl Iterator<Item = &[u8]> {
        self.answers.iter().filter_map(|entry| match &entry.data {
            Data::Text(text) => Some(text.as_slice()),
            _ => None,
        })
    }
}

fn entry(record: &ParsedRecord<'_, &[u8]>) -> Result<Option<Entry>, ParseError> {
    if record.class() != Class::IN {
        return Ok(None);
    }
    let data = match record.rtype() {
        Rtype::A => record
            .to_record::<A>()?
            .map(|r| Data::Address(r.data().addr().into())),
        Rtype::AAAA => record
            .to_record::<Aaaa>()?
            .map(|r| Data::Address(r.data().addr().into())),
        Rtype::CNAME => record
            .to_record::<Cname<_>>()?
            .map(|r| Data::Alias(r.data().cname().to_canonical_name())),
        Rtype::NS => record
            .to_record::<Ns<_>>()?
            .map(|r| Data::Server(r.data().nsdname().to_canonical_name())),
        Rtype::SOA => record.to_record::<Soa<_>>()?.map(|r| Data::Zone {
            serial: r.data().serial(),
            minimum: r.data().minimum().into_duration(),
        }),
        Rtype::TXT => record
            .to_record::<Txt<_>>()?
            .map(|r| Data::Text(r.data().text())),
        Rtype::CAA => record.to_record::<CaaData<_>>()?.map(|r| {
            let caa = r.data();
            Data::Caa(Caa {
                flags: caa.flags().bits(),
                tag: caa.tag().to_string(),
                value: String::from_utf8_lossy(caa.value()).into_owned(),
            })
        }),
        _ => None,
    };
    Ok(data.map(|data| Entry {
        owner: record.owner().to_canonical_name(),
        ttl: record.ttl().into_duration(),
        data,
    }))
}
