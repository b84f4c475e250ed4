//! Against name servers that do what no good one does; the good one is BIND, in tests/acme/dns01.rs.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use domain::base::iana::{Class, Rcode};
use domain::base::name::ToName as _;
use domain::base::{Message, MessageBuilder, Record, Rtype, Serial, Ttl};
use domain::rdata::caa::{CaaFlags, CaaTag};
use domain::rdata::{A, Caa as CaaData, Cname, Ns, Soa, Txt};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};

use super::message::Query;
use super::*;
use crate::net;

const TTL: Ttl = Ttl::from_secs(60);

/// What a scripted server answers.
#[derive(Clone, Debug)]
enum Rr {
    A(&'static str),
    Alias(&'static str),
    Server(&'static str),
    Top,
    Text(&'static str),
    /// SERVFAIL, whatever else there is.
    Fails,
    /// `issue` with this value; alone at another name if that is given.
    Issue(&'static str, Option<&'static str>),
}

/// How a scripted server behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    Good,
    /// The first datagrams answer another question, with another id.
    Forged,
    /// By UDP it says that there is more.
    Short,
    /// It says nothing.
    Silent,
    /// It does not say that it is responsible.
    Lame,
    Refusing,
    /// Bytes of no meaning.
    Garbled,
}

type Zone = HashMap<(&'static str, Rtype), Vec<Rr>>;

fn zone(entries: &[(&'static str, Rtype, &[Rr])]) -> Zone {
    let entries = entries.iter();
    entries
        .map(|(name, kind, records)| ((*name, *kind), records.to_vec()))
        .collect()
}

fn answer(zone: &Zone, manner: Manner, query: &[u8], by_udp: bool) -> Vec<u8> {
    if manner == Manner::Garbled {
        return query[..2].iter().copied().chain([0x80; 9]).collect();
    }
    let query = Message::from_octets(query).unwrap();
    let question = query.first_question().unwrap();
    let name = absolute(&question.qname().to_vec());
    let records = zone.get(&(name.as_str(), question.qtype()));
    let code = match (manner, records) {
        (Manner::Refusing, _) => Rcode::REFUSED,
        (_, Some(records)) if records.iter().any(|r| matches!(r, Rr::Fails)) => Rcode::SERVFAIL,
        (_, None) => Rcode::NXDOMAIN,
        _ => Rcode::NOERROR,
    };
    let mut answer = MessageBuilder::new_vec()
        .start_answer(&query, code)
        .unwrap();
    answer.header_mut().set_aa(manner != Manner::Lame);
    if manner == Manner::Short && by_udp {
        answer.header_mut().set_tc(true);
        return answer.finish();
    }
    let owner = name.parse::<Name>().unwrap();
    for record in records.into_iter().flatten() {
        match record {
            Rr::A(address) => {
                let data = A::new(address.parse().unwrap());
                answer
                    .push(Record::new(&owner, Class::IN, TTL, data))
                    .unwrap();
            }
            Rr::Alias(target) => {
                let data = Cname::new(target.parse::<Name>().unwrap());
                answer
                    .push(Record::new(&owner, Class::IN, TTL, data))
                    .unwrap();
            }
            Rr::Server(target) => {
                let data = Ns::new(target.parse::<Name>().unwrap());
                answer
                    .push(Record::new(&owner, Class::IN, TTL, data))
                    .unwrap();
            }
            Rr::Top => {
                let root = Name::root_vec();
                let data = Soa::new(root.clone(), root, Serial(1), TTL, TTL, TTL, TTL);
                answer
                    .push(Record::new(&owner, Class::IN, TTL, data))
                    .unwrap();
            }
            Rr::Fails => {}
            Rr::Issue(value, at) => {
                let at = at.map(|at| at.parse::<Name>().unwrap());
                let tag = CaaTag::from_octets(b"issue".to_vec()).unwrap();
                let data = CaaData::new(CaaFlags::new(0), tag, value.as_bytes().to_vec());
                let at = at.as_ref().unwrap_or(&owner);
                answer.push(Record::new(at, Class::IN, TTL, data)).unwrap();
            }
            Rr::Text(text) => {
                let data = Txt::<Vec<u8>>::build_from_slice(text.as_bytes()).unwrap();
                answer
                    .push(Record::new(&owner, Class::IN, TTL, data))
                    .unwrap();
            }
        }
    }
    answer.finish()
}

/// What a server has, and what it was asked.
#[derive(Default)]
struct Stage {
    zone: Zone,
    asked: Vec<(String, Rtype)>,
}

impl Stage {
    fn of(zone: Zone) -> Arc<Mutex<Self>> {
        let asked = vec![];
        Arc::new(Mutex::new(Self { zone, asked }))
    }

    fn answer(&mut self, manner: Manner, query: &[u8], by_udp: bool) -> Vec<u8> {
        let question = Message::from_octets(query).unwrap().first_question();
        let question = question.unwrap();
        let name = absolute(&question.qname().to_vec());
        self.asked.push((name, question.qtype()));
        answer(&self.zone, manner, query, by_udp)
    }

    /// How many times this was asked for.
    fn count(&self, name: &str, kind: Rtype) -> usize {
        let wanted = (name.to_owned(), kind);
        self.asked.iter().filter(|asked| **asked == wanted).count()
    }
}

/// Serves at an address of this machine by UDP and TCP for as long as the test's runtime lives.
async fn serve(ip: &str, port: u16, zone: Zone, manner: Manner) -> SocketAddr {
    serve_stage(ip, port, &Stage::of(zone), manner).await
}

async fn serve_stage(ip: &str, port: u16, stage: &Arc<Mutex<Stage>>, manner: Manner) -> SocketAddr {
    let address = SocketAddr::new(ip.parse::<IpAddr>().unwrap(), port);
    let (listener, socket) = loop {
        let listener = TcpListener::bind(address).await.unwrap();
        match UdpSocket::bind(listener.local_addr().unwrap()).await {
            Ok(socket) => break (listener, socket),
            // Free for TCP alone: another one is.
            Err(error) if port == 0 && error.kind() == ErrorKind::AddrInUse => {}
            Err(error) => panic!("{address}: {error}"),
        }
    };
    let address = listener.local_addr().unwrap();
    let stage = Arc::clone(stage);
    let by_tcp = Arc::clone(&stage);
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            if manner == Manner::Silent {
                continue;
            }
            let query = &buffer[..length];
            if manner == Manner::Forged {
                let mut other = stage.lock().answer(Manner::Good, query, true);
                other[0] ^= 1;
                socket.send_to(&other, from).await.unwrap();
                let id = u16::from_be_bytes([query[0], query[1]]);
                let name = name("forged.example").unwrap();
                let other = Query::new(id, &name, Rtype::TXT, true).unwrap();
                let other = stage.lock().answer(Manner::Good, &other.bytes, true);
                socket.send_to(&other, from).await.unwrap();
                socket.send_to(&[], from).await.unwrap();
            }
            let answer = stage.lock().answer(manner, query, true);
            socket.send_to(&answer, from).await.unwrap();
        }
    });
    tokio::spawn(async move {
        let mut open = vec![];
        while let Ok((mut stream, _)) = listener.accept().await {
            if manner == Manner::Silent {
                open.push(stream);
                continue;
            }
            let mut length = [0; 2];
            stream.read_exact(&mut length).await.unwrap();
            let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut query).await.unwrap();
            let answer = by_tcp.lock().answer(manner, &query, false);
            let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
            stream
                .write_all(&[&length[..], &answer].concat())
                .await
                .unwrap();
        }
    });
    address
}

fn resolver(servers: &[SocketAddr]) -> Resolver {
    let http = net::Client::new(net::public_roots(), net::Resolver::System).unwrap();
    let servers = servers.iter().copied().map(Server::Dns).collect();
    Resolver::new(servers, http)
}

fn sub() -> Zone {
    zone(&[
        (
            "_acme-challenge.a.example.com.",
            Rtype::CNAME,
            &[Rr::Alias("b.example.net.")],
        ),
        (
            "b.example.net.",
            Rtype::CNAME,
            &[Rr::Alias("C.example.net.")],
        ),
        ("c.example.net.", Rtype::CNAME, &[]),
        ("example.net.", Rtype::SOA, &[Rr::Top]),
    ])
}

/// What a resolver answers has the records of where an alias leads.
#[tokio::test]
async fn caa_records_are_those_of_the_name_or_of_where_it_leads() {
    let zone = zone(&[
        (
            "own.example.",
            Rtype::CAA,
            &[Rr::Issue("a.example; x=y", None), Rr::Issue(";", None)],
        ),
        (
            "alias.example.",
            Rtype::CAA,
            &[
                Rr::Alias("Other.example."),
                Rr::Issue("b.example", Some("other.example.")),
            ],
        ),
        (
            "stray.example.",
            Rtype::CAA,
            &[Rr::Issue("c.example", Some("other.example."))],
        ),
        (
            "circle.example.",
            Rtype::CAA,
            &[Rr::Alias("circle.example.")],
        ),
        ("none.example.", Rtype::CAA, &[]),
    ]);
    let server = serve("127.0.0.1", 0, zone, Manner::Good).await;
    let resolver = resolver(&[server]);
    for (at, expected) in [
        ("own.example", &["a.example; x=y", ";"][..]),
        ("alias.example", &["b.example"]),
        ("stray.example", &[]),
        ("circle.example", &[]),
        ("none.example", &[]),
        ("absent.example", &[]),
    ] {
        let found = resolver.caa(&name(at).unwrap()).await.unwrap();
        let values: Vec<_> = found.iter().map(|caa| caa.value.as_str()).collect();
        assert_eq!(values, expected, "{at}");
        assert!(
            found
                .iter()
                .all(|caa| (caa.flags, caa.tag.as_str()) == (0, "issue"))
        );
    }
    let refusing = serve("127.0.0.1", 0, sub(), Manner::Refusing).await;
    let refused = self::resolver(&[refusing])
        .caa(&name("own.example").unwrap())
        .await;
    assert!(matches!(refused, Err(Error::Failed { .. })), "{refused:?}");
}

#[tokio::test]
async fn the_addresses_of_a_name_are_those_that_it_has() {
    let zone = zone(&[
        (
            "site.example.",
            Rtype::A,
            &[Rr::A("192.0.2.1"), Rr::A("192.0.2.2")],
        ),
        ("none.example.", Rtype::A, &[]),
    ]);
    let server = serve("127.0.0.1", 0, zone, Manner::Good).await;
    let known = resolver(&[server]);
    for (at, expected) in [
        ("site.example", &["192.0.2.1", "192.0.2.2"][..]),
        ("none.example", &[]),
        ("absent.example", &[]),
    ] {
        let found = known.addresses(&name(at).unwrap()).await.unwrap();
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, expected, "{at}");
    }
    let refusing = serve("127.0.0.1", 0, sub(), Manner::Refusing).await;
    let refused = resolver(&[refusing])
        .addresses(&name("site.example").unwrap())
        .await;
    assert!(matches!(refused, Err(Error::Failed { .. })));
}

#[tokio::test]
async fn aliases_are_followed_to_their_end_whatever_the_transport() {
    for manner in [Manner::Good, Manner::Forged, Manner::Short] {
        let server = serve("127.0.0.1", 0, sub(), manner).await;
        let resolver = resolver(&[server]);
        let start = name("_acme-challenge.A.example.com").unwrap();
        let end = resolver.follow(&start).await;
        assert_eq!(end, name("c.example.net"), "{manner:?}");
        let zone = resolver.zone(&end.unwrap()).await;
        assert_eq!(zone.map(|zone| absolute(&zone)), Ok("example.net.".into()));
    }
}

#[tokio::test]
async fn circles_and_endless_chains_end() {
    let chain: Vec<&'static str> = (0..14)
        .map(|n| &*Box::leak(format!("n{n}.example.").into_boxed_str()))
        .collect();
    let mut endless = Zone::new();
    for pair in chain.windows(2) {
        endless.insert((pair[0], Rtype::CNAME), vec![Rr::Alias(pair[1])]);
    }
    let circle = zone(&[
        ("n0.example.", Rtype::CNAME, &[Rr::Alias("n1.example.")]),
        ("n1.example.", Rtype::CNAME, &[Rr::Alias("n0.example.")]),
    ]);
    for zone in [endless, circle] {
        let server = serve("127.0.0.1", 0, zone, Manner::Good).await;
        let start = name("n0.example").unwrap();
        let end = resolver(&[server]).follow(&start).await;
        assert_eq!(end, Err(Error::Circle("n0.example.".into())));
    }
}

#[tokio::test]
async fn a_resolver_that_fails_is_stood_in_for_and_otherwise_named() {
    let refusing = serve("127.0.0.1", 0, sub(), Manner::Refusing).await;
    let garbled = serve("127.0.0.1", 0, sub(), Manner::Garbled).await;
    let good = serve("127.0.0.1", 0, sub(), Manner::Good).await;
    let start = name("b.example.net").unwrap();
    let end = resolver(&[refusing, garbled, good]).follow(&start).await;
    assert_eq!(end, name("c.example.net"));
    let error = resolver(&[refusing, garbled])
        .follow(&start)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("name server {refusing} answers REFUSED to a question for b.example.net.")
    );
    let error = resolver(&[garbled]).follow(&start).await.unwrap_err();
    assert_eq!(error, Error::Garbled(garbled.to_string()));
    let closed = SocketAddr::from(([127, 0, 0, 1], 1));
    let error = resolver(&[closed]).follow(&start).await.unwrap_err();
    let reason = "connection refused".to_owned();
    let server = closed.to_string();
    assert_eq!(error, Error::Unreachable { server, reason });
}

#[tokio::test]
async fn a_name_without_a_zone_says_so() {
    let server = serve("127.0.0.1", 0, Zone::new(), Manner::Good).await;
    let start = name("a.b.example").unwrap();
    let error = resolver(&[server]).zone(&start).await.unwrap_err();
    assert_eq!(error, Error::NoZone("a.b.example.".into()));
}

/// A zone with these servers, each at its address and with its manner and TXT values.
async fn authority(
    servers: &[(&'static str, &'static str, Manner, &[&'static str])],
) -> (Resolver, Vec<String>) {
    let mut names = vec![];
    let mut parent = zone(&[("example.com.", Rtype::SOA, &[Rr::Top])]);
    let mut port = 0;
    for (server, ip, manner, values) in servers {
        names.push(Rr::Server(server));
        if ip.is_empty() {
            continue;
        }
        parent.insert((*server, Rtype::A), vec![Rr::A(ip)]);
        let values: Vec<Rr> = values.iter().map(|value| Rr::Text(value)).collect();
        let mut zone = Zone::new();
        if !values.is_empty() {
            zone.insert(("_acme-challenge.example.com.", Rtype::TXT), values);
        }
        port = serve(ip, port, zone, *manner).await.port();
    }
    parent.insert(("example.com.", Rtype::NS), names);
    let parent = serve("127.0.0.1", 0, parent, Manner::Good).await;
    let mut resolver = resolver(&[parent]);
    resolver.port = port;
    let silent = |(_, _, manner, _): &(_, _, Manner, _)| *manner == Manner::Silent;
    if servers.iter().any(silent) {
        resolver.asker.deadline = Duration::from_secs(2);
    }
    let name = name("_acme-challenge.example.com").unwrap();
    let seen = resolver.propagation(&name, "value", false).await.unwrap();
    let faults = seen.faults.iter().map(ToString::to_string).collect();
    (resolver, faults)
}

#[tokio::test]
async fn all_servers_of_the_zone_have_the_value() {
    let (resolver, faults) = authority(&[
        ("a.ns.", "127.0.1.1", Manner::Good, &["other", "value"]),
        ("b.ns.", "127.0.1.2", Manner::Short, &["value"]),
    ])
    .await;
    assert_eq!(faults, Vec::<String>::new());
    let name = name("_acme-challenge.example.com").unwrap();
    let seen = resolver.propagation(&name, "value", false).await.unwrap();
    assert!(seen.is_complete() && seen.having == 2, "{seen:?}");
}

#[tokio::test]
async fn each_server_with_a_fault_is_named_with_its_fault() {
    let (_, faults) = authority(&[
        ("absent.ns.", "127.0.2.1", Manner::Good, &[]),
        ("good.ns.", "127.0.2.2", Manner::Good, &["value"]),
        ("lame.ns.", "127.0.2.3", Manner::Lame, &["value"]),
        ("lying.ns.", "127.0.2.4", Manner::Good, &["old", "older"]),
        ("nowhere.ns.", "", Manner::Good, &[]),
        ("refusing.ns.", "127.0.2.5", Manner::Refusing, &[]),
    ])
    .await;
    let lame = "is named as a server of the zone and does not serve it";
    let correct = "correct the zone's NS records";
    let expected = [
        "absent.ns. (127.0.2.1) answers that there is none".to_owned(),
        format!("lame.ns. (127.0.2.3) {lame} (not authoritative): {correct}"),
        "lying.ns. (127.0.2.4) answers with other values only (2)".to_owned(),
        format!("nowhere.ns. has no address: {correct}"),
        format!("refusing.ns. (127.0.2.5) {lame} (answers REFUSED): {correct}"),
    ];
    assert_eq!(faults, expected);
}

#[tokio::test]
async fn a_silent_server_is_named_in_the_end() {
    let (_, faults) = authority(&[
        ("good.ns.", "127.0.3.1", Manner::Good, &["value"]),
        ("slow.ns.", "127.0.3.2", Manner::Silent, &["value"]),
    ])
    .await;
    assert_eq!(faults, ["slow.ns. (127.0.3.2) does not answer within 10 s"]);
}

#[tokio::test]
async fn resolvers_alone_are_asked_where_they_are_to_be() {
    let has = zone(&[("a.example.", Rtype::TXT, &[Rr::Text("value")])]);
    let with = serve("127.0.0.1", 0, has, Manner::Lame).await;
    let without = serve("127.0.0.1", 0, Zone::new(), Manner::Lame).await;
    let name = name("a.example").unwrap();
    let resolver = resolver(&[with, without]);
    let seen = resolver.propagation(&name, "value", true).await.unwrap();
    assert_eq!(
        seen.to_string(),
        format!(
            "1 of 2 name servers have the TXT record of a.example.; {without} answers that there is none"
        )
    );
    assert!(seen.is_denied());
}

/// A name of example.com, and its challenge.
fn numbered(number: usize) -> &'static str {
    Box::leak(format!("_acme-challenge.n{number}.example.com.").into_boxed_str())
}

/// A resolver that knows example.com, with this server at this address; and a server there, with a value at each of a
/// hundred names.
async fn zone_of_a_hundred(
    server: &'static str,
    ip: &'static str,
) -> (Arc<Mutex<Stage>>, Resolver) {
    let mut hundred = zone(&[("example.com.", Rtype::SOA, &[Rr::Top])]);
    for number in 0..100 {
        hundred.insert((numbered(number), Rtype::TXT), vec![Rr::Text("value")]);
    }
    let port = serve(ip, 0, hundred, Manner::Good).await.port();
    let parent = Stage::of(zone(&[
        ("example.com.", Rtype::SOA, &[Rr::Top]),
        ("example.com.", Rtype::NS, &[Rr::Server(server)]),
        (server, Rtype::A, &[Rr::A(ip)]),
    ]));
    let address = serve_stage("127.0.0.1", 0, &parent, Manner::Good).await;
    let mut resolver = resolver(&[address]);
    resolver.port = port;
    (parent, resolver)
}

#[tokio::test]
async fn a_hundred_names_of_a_zone_ask_once_who_serves_it() {
    let (parent, resolver) = zone_of_a_hundred("ns.example.", "127.0.4.1").await;
    let looks = (0..100).map(async |number| {
        let name = name(numbered(number)).unwrap();
        resolver.propagation(&name, "value", false).await.unwrap()
    });
    let seen = futures::future::join_all(looks).await;
    assert!(seen.iter().all(Propagation::is_complete), "{seen:?}");
    let parent = parent.lock();
    for (name, kind) in [
        ("example.com.", Rtype::SOA),
        ("example.com.", Rtype::NS),
        ("ns.example.", Rtype::A),
    ] {
        assert_eq!(parent.count(name, kind), 1, "{name} {kind}");
    }
    // What leads to the record is asked for each time.
    assert_eq!(parent.count(numbered(7), Rtype::CNAME), 1);
}

#[tokio::test]
async fn nobody_is_blamed_on_the_word_of_what_was_known() {
    let (parent, resolver) = zone_of_a_hundred("new.example.", "127.0.4.2").await;
    let other = serve("127.0.4.3", resolver.port, Zone::new(), Manner::Lame);
    other.await;
    let servers = |server| {
        let mut parent = parent.lock();
        parent
            .zone
            .insert(("old.example.", Rtype::A), vec![Rr::A("127.0.4.3")]);
        parent
            .zone
            .insert(("example.com.", Rtype::NS), vec![Rr::Server(server)]);
    };
    servers("old.example.");
    let name = name(numbered(1)).unwrap();
    let seen = resolver.propagation(&name, "value", false).await.unwrap();
    assert_eq!(seen.having, 0, "{seen}");
    servers("new.example.");
    let seen = resolver.propagation(&name, "value", false).await.unwrap();
    assert!(seen.is_complete() && seen.having == 1, "{seen}");
    // A fault of one that is a server by now is told.
    servers("old.example.");
    let seen = resolver.propagation(&name, "other", false).await.unwrap();
    assert!(
        seen.to_string().contains("old.example. (127.0.4.3)"),
        "{seen}"
    );
}

#[tokio::test]
async fn what_the_servers_deny_stands_where_they_cannot_be_looked_up_again() {
    let (parent, resolver) = zone_of_a_hundred("ns.example.", "127.0.4.5").await;
    let name = name(numbered(1)).unwrap();
    let seen = resolver.propagation(&name, "value", false).await.unwrap();
    assert!(seen.is_complete(), "{seen}");
    parent.lock().zone.remove(&("example.com.", Rtype::NS));
    let seen = resolver.propagation(&name, "other", false).await;
    assert!(seen.as_ref().is_ok_and(Propagation::is_denied), "{seen:?}");
}

#[tokio::test]
async fn servers_whose_addresses_cannot_be_looked_up_are_not_said_to_have_none() {
    let (parent, resolver) = zone_of_a_hundred("ns.example.", "127.0.4.6").await;
    let name = name(numbered(1)).unwrap();
    let address = |records: &[Rr]| {
        let at = ("ns.example.", Rtype::A);
        parent.lock().zone.insert(at, records.to_vec());
    };
    address(&[]);
    let none = resolver.standing(&name, false).await;
    assert_eq!(none, Err(Error::NoServers("example.com.".into())));
    address(&[Rr::Fails]);
    let failed = resolver.standing(&name, false).await;
    assert!(matches!(failed, Err(Error::Failed { .. })), "{failed:?}");
}

#[tokio::test]
async fn how_things_stand_is_asked_of_all_and_a_new_alias_is_a_change() {
    let (parent, resolver) = zone_of_a_hundred("ns.example.", "127.0.4.4").await;
    let start = name(numbered(1)).unwrap();
    let before = resolver.standing(&start, false).await.unwrap();
    let again = resolver.standing(&start, false).await.unwrap();
    assert_eq!(before, again);
    let mut watch = Watch::since(Some(Ok(before)));
    assert!(!watch.see(Ok(again)));
    let alias = vec![Rr::Alias(numbered(2))];
    parent
        .lock()
        .zone
        .insert((numbered(1), Rtype::CNAME), alias);
    let then = resolver.standing(&start, false).await.unwrap();
    assert_eq!(
        [watch.see(Ok(then.clone())), watch.see(Ok(then))],
        [false, true]
    );
    parent.lock().zone.remove(&("example.com.", Rtype::SOA));
    let lost = resolver.standing(&start, false).await;
    assert_eq!(lost, Err(Error::NoZone(numbered(2).into())));
}

/// RFC 2202 §2 and RFC 4231 §4.3, over the message alone.
#[test]
fn macs_are_those_of_the_standards() {
    let text = b"what do ya want for nothing?";
    let expected = [
        "750c783e6ab0b503eaa86e310a5db738",
        "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
    ];
    for (algorithm, expected) in Algorithm::ALL.into_iter().zip(expected) {
        let key = Key::new(name("k").unwrap(), algorithm, b"Jefe".to_vec());
        assert_eq!(net::hex(&key.mac(&[text])), expected, "{algorithm:?}");
    }
}

#[test]
fn arbitrary_answers_are_no_answers() {
    use proptest::prelude::*;
    let query = Query::new(7, &name("a.example").unwrap(), Rtype::TXT, true).unwrap();
    let mut config = ProptestConfig::with_cases(2000);
    config.failure_persistence = None;
    proptest!(config, |(bytes in proptest::collection::vec(any::<u8>(), 0..200))| {
        prop_assert!(!query.is_answered_by(&bytes));
        // Neither panics nor runs on.
        let _ = message::Answer::read(&bytes);
        let key = Key::new(name("k").unwrap(), Algorithm::HmacSha256, vec![1]);
        prop_assert!(key.verify(&bytes, &[], jiff::Timestamp::UNIX_EPOCH) != tsig::Verdict::Sound);
    });
}
