//! How things stand with a name, whatever its values: where it leads, who answers for it, and who of them is in trouble.
//! When this becomes better, a CA that found no record may find one.

use std::collections::BTreeSet;

use domain::base::{Rtype, Serial};

use super::message::{Answer, Data, Name, absolute};
use super::propagation::{Propagation, Trouble, responsible};
use super::resolver::{Resolver, Servers};
use super::{Caa, Error};

/// Where a name leads, absolute: the end of its CNAME records, its zone and its servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    pub name: String,
    pub zone: String,
    pub servers: Vec<String>,
}

/// How things stand with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    path: Path,
    /// Servers that do not do what they should, by name and address.
    troubled: BTreeSet<String>,
    /// Servers whose copy of the zone is older than another's: for a moment after each change, or for good.
    behind: BTreeSet<String>,
    /// The CAA records that count for the name, where a CA has refused it for those.
    caa: Option<BTreeSet<Caa>>,
}

impl Path {
    pub(super) fn new(name: &Name, zone: &Name, servers: &Servers) -> Self {
        Self {
            name: absolute(name),
            zone: absolute(zone),
            servers: servers.iter().map(|(server, _)| absolute(server)).collect(),
        }
    }
}

impl Standing {
    fn new(path: Path, found: Vec<(String, Result<Serial, Trouble>)>) -> Self {
        let serials = found.iter().filter_map(|(_, serial)| serial.as_ref().ok());
        let newest = serials.copied().reduce(|a, b| if b > a { b } else { a });
        let mut standing = Self {
            path,
            troubled: BTreeSet::new(),
            behind: BTreeSet::new(),
            caa: None,
        };
        for (server, serial) in found {
            match serial {
                Err(_) => standing.troubled.insert(server),
                Ok(serial) if newest.is_some_and(|newest| serial < newest) => {
                    standing.behind.insert(server)
                }
                Ok(_) => true,
            };
        }
        standing
    }

    /// What a look for a record has shown; nothing, where only resolvers were asked. A server without the record that
    /// others had is in trouble until its copy of the zone is as new as theirs.
    pub fn of(seen: &Propagation) -> Option<Self> {
        let faults = seen.faults.iter();
        let troubled = faults
            .filter(|fault| seen.having > 0 || !matches!(fault.trouble, Trouble::Absent { .. }));
        Some(Self {
            path: seen.path.clone()?,
            troubled: troubled.map(|fault| fault.server.clone()).collect(),
            behind: BTreeSet::new(),
            caa: None,
        })
    }

    /// The same, with the CAA records that count for the name.
    #[must_use]
    pub fn with_caa(self, caa: Option<BTreeSet<Caa>>) -> Self {
        Self { caa, ..self }
    }

    /// The name leads elsewhere, other CAA records count for it, or a server that was in trouble is not any more.
    fn is_better_than(&self, before: &Self) -> bool {
        let ended =
            |server: &String| !self.troubled.contains(server) && !self.behind.contains(server);
        let is_other = |caa: &BTreeSet<Caa>| before.caa.as_ref().is_some_and(|old| old != caa);
        self.path != before.path
            || self.caa.as_ref().is_some_and(is_other)
            || before.troubled.iter().any(ended)
    }
}

/// What is seen of a name after a CA refused it.
#[derive(Debug, Default)]
pub struct Watch {
    /// When it refused, or at the first look after that.
    before: Option<Result<Standing, Error>>,
    /// The newest look found it better.
    better: bool,
}

impl Watch {
    /// Of what was seen before the CA was asked.
    pub fn since(before: Option<Result<Standing, Error>>) -> Self {
        Self {
            before: before.filter(is_of_the_name),
            better: false,
        }
    }

    /// Take note of a look; whether it is better than before, as the one before it said too: a server that answers now and
    /// then is not to cost an attempt each time.
    pub fn see(&mut self, looked: Result<Standing, Error>) -> bool {
        if !is_of_the_name(&looked) {
            return false;
        }
        if let (Ok(now), Some(Ok(before))) = (&looked, &mut self.before)
            && before.caa.is_none()
        {
            // Before the CA was asked nobody had looked for them.
            before.caa.clone_from(&now.caa);
        }
        let better = match (&looked, &self.before) {
            (_, None) | (Err(_), _) => false,
            (Ok(_), Some(Err(_))) => true,
            (Ok(now), Some(Ok(before))) => now.is_better_than(before),
        };
        let twice = std::mem::replace(&mut self.better, better) && better;
        if self.before.is_none() || twice {
            *self = Self::since(Some(looked));
        }
        twice
    }
}

/// A resolver that cannot be asked says nothing about the name.
fn is_of_the_name(looked: &Result<Standing, Error>) -> bool {
    !matches!(
        looked,
        Err(Error::Silent(_)
            | Error::Unreachable { .. }
            | Error::Status { .. }
            | Error::Garbled(_))
    )
}

impl Resolver {
    /// How things stand with a name now. With `resolvers_only` the zone's servers are not asked.
    ///
    /// # Errors
    /// When it does not lead to any servers.
    pub async fn standing(&self, name: &Name, resolvers_only: bool) -> Result<Standing, Error> {
        let fresh = self.fresh();
        let name = fresh.follow(name).await?;
        let zone = fresh.zone(&name).await?;
        let servers = fresh.servers_of(&zone).await?;
        let asked = servers.iter().filter(|_| !resolvers_only);
        let asked = asked.map(|(server, addresses)| {
            let judge = |answer: &Answer| serial(answer, &zone);
            fresh.at_server(server, addresses, &zone, Rtype::SOA, judge)
        });
        let found = futures::future::join_all(asked).await;
        Ok(Standing::new(Path::new(&name, &zone, &servers), found))
    }
}

fn serial(answer: &Answer, zone: &Name) -> Result<Serial, Trouble> {
    responsible(answer)?;
    let found = answer.answers.iter().find_map(|entry| match entry.data {
        Data::Zone { serial, .. } if entry.owner == *zone => Some(serial),
        _ => None,
    });
    found.ok_or_else(|| Trouble::Lame("it has no such zone".into()))
}

#[cfg(test)]
mod tests {
    use super::super::propagation::Fault;
    use super::*;

    fn path(name: &str, servers: &[&str]) -> Path {
        Path {
            name: name.to_owned(),
            zone: "example.".to_owned(),
            servers: servers.iter().map(|s| (*s).to_owned()).collect(),
        }
    }

    type Server = Result<u32, Trouble>;

    /// A look at a name with the servers a and b.
    fn at(a: Server, b: Server) -> Standing {
        let found = [("a", a), ("b", b)]
            .map(|(server, serial)| (server.to_owned(), serial.map(Serial::from)));
        Standing::new(path("n.", &["a", "b"]), found.to_vec())
    }

    /// A look for a record, which so many servers have and these have not.
    fn without(having: usize, faults: &[(&str, Trouble)]) -> Standing {
        let faults = faults.iter().map(|(server, trouble)| Fault {
            server: (*server).to_owned(),
            trouble: trouble.clone(),
        });
        Standing::of(&Propagation {
            name: "n.".into(),
            path: Some(path("n.", &["a", "b"])),
            having,
            faults: faults.collect(),
        })
        .unwrap()
    }

    const ABSENT: Trouble = Trouble::Absent { others: 0 };

    #[test]
    fn what_counts_as_better() {
        let lame = || Err(Trouble::Lame("x".into()));
        let slow = || Err(Trouble::Slow);
        let elsewhere = |name, servers: &[&str]| Standing {
            path: path(name, servers),
            ..at(Ok(1), Ok(1))
        };
        let cases = [
            (at(Ok(1), Ok(1)), elsewhere("m.", &["a", "b"]), true),
            (at(Ok(1), Ok(1)), elsewhere("n.", &["a", "c"]), true),
            // Somebody else writes into the zone; a server lags for a moment, as all do after a change.
            (at(Ok(1), Ok(1)), at(Ok(2), Ok(2)), false),
            (at(Ok(2), Ok(1)), at(Ok(2), Ok(2)), false),
            // Trouble that comes is no cause that ends; another's trouble does not hide the one that ends.
            (at(Ok(1), Ok(1)), at(Ok(1), lame()), false),
            (at(Ok(1), lame()), at(Ok(1), slow()), false),
            (at(Ok(1), slow()), at(Ok(1), Ok(1)), true),
            (at(Ok(1), lame()), at(lame(), Ok(1)), true),
            // One that did not have the record: its old copy is renewed, or stays behind.
            (without(1, &[("b", ABSENT)]), at(Ok(10), Ok(10)), true),
            (without(1, &[("b", ABSENT)]), at(Ok(10), Ok(5)), false),
            (without(1, &[("b", ABSENT)]), at(Ok(10), slow()), false),
            (without(1, &[("b", ABSENT)]), at(Ok(2), Ok(u32::MAX)), false),
            // None had it: none is to blame.
            (
                without(0, &[("a", ABSENT), ("b", ABSENT)]),
                at(Ok(1), Ok(1)),
                false,
            ),
            (
                without(0, &[("a", ABSENT), ("b", Trouble::Slow)]),
                at(Ok(1), Ok(1)),
                true,
            ),
            (without(2, &[]), at(Ok(1), Ok(1)), false),
        ];
        for (before, now, expected) in cases {
            assert_eq!(now.is_better_than(&before), expected, "{before:?} {now:?}");
        }
    }

    #[test]
    fn a_recovery_is_believed_at_the_second_look_and_told_once() {
        let (good, bad) = (
            || Ok(at(Ok(1), Ok(1))),
            || Ok(at(Ok(1), Err(Trouble::Slow))),
        );
        let no_zone = || Err(Error::NoZone("n.".into()));
        let deaf = || Err(Error::Silent("192.0.2.1:53".into()));
        let cases = [
            (vec![bad(), good(), good(), good(), good()], vec![2]),
            // It answers now and then.
            (vec![bad(), good(), bad(), good(), bad(), good()], vec![]),
            // It fails again, and is mended again: that is another cause.
            (vec![bad(), good(), good(), bad(), good(), good()], vec![2]),
            (vec![good(), bad(), good(), good()], vec![]),
            (vec![no_zone(), no_zone(), good(), good(), good()], vec![3]),
            (vec![good(), no_zone(), good(), good()], vec![]),
            // Our own resolvers fail.
            (vec![deaf(), good(), deaf(), good(), good()], vec![]),
            (vec![bad(), deaf(), good(), deaf(), good()], vec![4]),
        ];
        for (looks, expected) in cases {
            let mut watch = Watch::default();
            let told: Vec<usize> = (0..looks.len())
                .filter(|at| watch.see(looks[*at].clone()))
                .collect();
            assert_eq!(told, expected, "{looks:?}");
        }
        let caa = |owner: &str| {
            let (tag, value) = ("issue".to_owned(), owner.to_owned());
            let record = Caa {
                flags: 0,
                tag,
                value,
            };
            at(Ok(1), Ok(1)).with_caa(Some(BTreeSet::from([record])))
        };
        let none = || Ok(at(Ok(1), Ok(1)).with_caa(Some(BTreeSet::new())));
        let mut watch = Watch::since(Some(good()));
        let looks = [Ok(caa("other")), Ok(caa("other")), good(), none(), none()];
        let told = looks.map(|look| watch.see(look));
        assert_eq!(told, [false, false, false, false, true]);
        let mut watch = Watch::since(Some(bad()));
        assert_eq!([watch.see(good()), watch.see(good())], [false, true]);
    }
}
