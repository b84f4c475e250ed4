#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::collections::{BTreeSet, HashSet};
use std::sync::LazyLock;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::controllers::facts::trust_digest;
use crate::controllers::fixtures::{START, issuer};
use crate::pki::{
    CertificateSigningRequest, CertificateTemplate, KeyAlgorithm, KeyUsages, PrivateKey,
    RequestParams, Subject, Urls, build_request, line_of, self_sign,
};

/// CAs that take turns.
static CAS: LazyLock<Vec<Signing>> = LazyLock::new(|| {
    let make = |number| {
        let key = PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap();
        signing(&format!("CA {number}"), &key, 9000)
    };
    (0..4).map(make).collect()
});

/// A self-signed CA for this many hours.
fn signing(name: &str, key: &PrivateKey, hours: u64) -> Signing {
    let params = RequestParams {
        subject: Subject::from_common_name(name),
        ..RequestParams::default()
    };
    let csr = build_request(&params, key).unwrap();
    let template = CertificateTemplate {
        csr: &CertificateSigningRequest::parse_pem(csr.as_bytes()).unwrap(),
        not_before: START,
        duration: Duration::from_hours(hours),
        is_ca: true,
        usages: KeyUsages::default(),
        urls: Urls::default(),
    };
    let root = self_sign(&template, key).unwrap();
    Signing {
        authority: line_of(&[&root, &root]),
        root: root.to_pem(),
    }
}

const PACE: Pace = Pace {
    rate: 60,
    parallelism: 3,
};

const TERMS: Terms = Terms {
    pace: PACE,
    trust_ahead: Duration::from_mins(2),
    overlap: Duration::from_mins(10),
};

/// A certificate of one of the CAs.
#[derive(Debug, Clone)]
struct Served {
    leaf: Leaf,
    signer: usize,
    ca: String,
}

/// An issuer and its certificates.
#[derive(Debug, Clone)]
struct World {
    now: Timestamp,
    ca: usize,
    known: Option<Known>,
    served: Vec<Served>,
    noted: HashSet<(usize, u32, u32)>,
    /// When each wave began, its phase, and what it brought.
    reissued: Vec<(Timestamp, usize)>,
}

impl World {
    /// `ends` are the days after which the certificates expire.
    fn new(ends: &[i64]) -> Self {
        let serve = |(number, days): (usize, &i64)| Served {
            leaf: Leaf {
                place: Place {
                    not_after: START + SignedDuration::from_hours(24 * days),
                    namespace: "shop".into(),
                    name: format!("site-{number}").into(),
                },
                not_before: START - SignedDuration::from_hours(24),
                ca: ca_digest(CAS[0].root.as_bytes()),
                trust: trust_digest(CAS[0].root.as_bytes()),
                noted: false,
                stuck: false,
            },
            signer: 0,
            ca: CAS[0].root.clone(),
        };
        Self {
            now: START,
            ca: 0,
            known: None,
            served: ends.iter().enumerate().map(serve).collect(),
            noted: HashSet::new(),
            reissued: vec![],
        }
    }

    fn leaves(&self) -> Vec<Leaf> {
        let roots = self
            .known
            .as_ref()
            .map(|known| ca_digest(known.roots.as_bytes()));
        let served = self.served.iter().enumerate();
        let leaves = served.map(|(number, served)| Leaf {
            noted: roots.is_some_and(|r| self.noted.contains(&(number, r, served.leaf.ca))),
            ..served.leaf.clone()
        });
        leaves.collect()
    }

    /// The issuer's turn, with its status as the API server would store it; when to look again.
    fn turn(&mut self) -> Option<Duration> {
        let turn = advance(
            self.known.as_ref(),
            &CAS[self.ca],
            &self.leaves(),
            &TERMS,
            self.now,
        );
        let mut fact = issuer(
            json!({ "ca": { "secretName": "ca", "rotation": {} } }),
            None,
        );
        let mut status = json!({ "ca": self.known.as_ref().map(Known::to_status) });
        json_patch::merge(&mut status, &json!({ "ca": turn.known.to_status() }));
        fact.status = serde_json::from_value(status).unwrap();
        assert_eq!(
            Known::of(&fact).as_ref(),
            Some(&turn.known),
            "stored as it is"
        );
        self.known = Some(turn.known);
        turn.wake
    }

    /// What this Certificate does, if it is its turn.
    fn follow(&mut self, number: usize) -> Wish {
        let Some(known) = self.known.clone() else {
            return Wish::Nothing;
        };
        let wish = known.wish(&self.leaves()[number]);
        match wish {
            Wish::Nothing => {}
            Wish::Trust => {
                let ca = merged(&known.roots, self.served[number].ca.as_bytes());
                self.write(number, ca);
                let roots = ca_digest(known.roots.as_bytes());
                self.noted
                    .insert((number, roots, self.served[number].leaf.ca));
            }
            Wish::Reissue => self.issue(number),
            Wish::Retire => self.write(number, known.roots),
        }
        wish
    }

    fn write(&mut self, number: usize, ca: String) {
        self.served[number].leaf.ca = ca_digest(ca.as_bytes());
        self.served[number].leaf.trust = trust_digest(ca.as_bytes());
        self.served[number].ca = ca;
    }

    /// Issue it anew, for whatever reason, if the issuer signs now.
    fn issue(&mut self, number: usize) {
        let known = self.known.clone().unwrap();
        let signing = &CAS[self.ca];
        if known.authority != signing.authority {
            return;
        }
        let ca = match &known.rotation {
            Some(_) => merged(&known.roots, signing.root.as_bytes()),
            None => signing.root.clone(),
        };
        self.write(number, ca);
        self.reissued.push((self.now, number));
        let served = &mut self.served[number];
        served.signer = self.ca;
        served.leaf.stuck = false;
        served.leaf.not_before = Timestamp::from_second(self.now.as_second()).unwrap();
        served.leaf.place.not_after = self.now + SignedDuration::from_hours(2160);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// Whoever trusts what is in `ca.crt` of one accepts the certificate of the other.
    fn trusts(&self, client: usize, server: usize) -> bool {
        let root = &CAS[self.served[server].signer].root;
        self.served[client].ca.contains(root.as_str())
    }

    fn each_verifies_by_itself(&self) {
        for number in 0..self.served.len() {
            assert!(self.trusts(number, number), "{number}: {self:#?}");
        }
    }

    fn each_verifies_by_all(&self) {
        for client in 0..self.served.len() {
            for server in 0..self.served.len() {
                assert!(self.trusts(client, server), "{client} {server}: {self:#?}");
            }
        }
    }

    fn phase(&self) -> Option<Phase> {
        Some(self.known.as_ref()?.rotation.as_ref()?.phase)
    }

    /// Everybody does what it is there for, for so long at most.
    fn settle(&mut self, limit: Duration) {
        let end = self.now + limit;
        loop {
            let wake = self.turn();
            for number in 0..self.served.len() {
                self.follow(number);
                self.each_verifies_by_itself();
            }
            let Some(wake) = wake else { return };
            assert!(self.now < end, "it does not end: {self:#?}");
            self.pass(wake.max(Duration::from_millis(1)));
        }
    }

    fn is_settled_on(&self, ca: usize) {
        assert_eq!(self.phase(), None);
        for served in &self.served {
            assert_eq!((served.signer, &served.ca), (ca, &CAS[ca].root));
        }
    }
}

#[test]
fn all_follow_in_waves_soonest_expiry_first() {
    let mut world = World::new(&[50, 20, 80, 10, 60, 30, 70, 40]);
    world.turn();
    assert_eq!(world.phase(), None, "nothing but to be known");
    world.ca = 1;
    world.settle(Duration::from_hours(1));
    world.is_settled_on(1);
    let order: Vec<_> = world.reissued.iter().map(|(_, number)| *number).collect();
    // Days 10 20 30, 40 50 60, 70 80; within a wave the order is free.
    let waves: Vec<BTreeSet<usize>> = order
        .chunks(3)
        .map(|w| w.iter().copied().collect())
        .collect();
    let expected = [vec![3, 1, 5], vec![7, 0, 4], vec![6, 2]];
    let expected = expected.map(|wave| wave.into_iter().collect::<BTreeSet<_>>());
    assert_eq!(waves, expected);
    let times: BTreeSet<_> = world.reissued.iter().map(|(at, _)| *at).collect();
    let times: Vec<_> = times.into_iter().collect();
    assert_eq!(times.len(), 3);
    for pair in times.windows(2) {
        let apart = pair[1].duration_since(pair[0]);
        assert!(apart >= SignedDuration::from_secs(3), "{apart}");
    }
    let first = times[0].duration_since(START);
    assert!(
        first >= SignedDuration::from_mins(2),
        "trusted ahead for {first}"
    );
}

#[test]
fn each_phase_waits_for_the_one_before() {
    let mut world = World::new(&[1, 2, 3, 4]);
    world.turn();
    world.ca = 1;
    world.turn();
    assert_eq!(world.phase(), Some(Phase::Trusting));
    world.turn();
    // The fourth is of the next wave, which waits for this one.
    for number in [0, 1] {
        assert_eq!(world.follow(number), Wish::Trust);
        assert_eq!(world.follow(number), Wish::Nothing, "done");
    }
    assert_eq!(world.follow(3), Wish::Nothing);
    for _ in 0..20 {
        world.pass(Duration::from_secs(5));
        world.turn();
        assert_eq!(world.follow(3), Wish::Nothing, "{:#?}", world.known);
    }
    assert_eq!(world.follow(2), Wish::Trust);
    world.turn();
    assert_eq!(world.follow(3), Wish::Trust);
    let wake = world.turn().unwrap();
    assert_eq!(world.phase(), Some(Phase::Reissuing));
    assert_eq!(wake, TERMS.trust_ahead);
    for number in 0..4 {
        assert_eq!(world.follow(number), Wish::Nothing);
    }
    world.pass(wake);
    world.turn();
    for number in 0..3 {
        assert_eq!(world.follow(number), Wish::Reissue);
    }
    assert_eq!(world.follow(3), Wish::Nothing);
    world.pass(Duration::from_secs(3));
    world.turn();
    assert_eq!(world.follow(3), Wish::Reissue);
    let wake = world.turn().unwrap();
    assert_eq!(world.phase(), Some(Phase::Overlapping));
    assert_eq!(wake, TERMS.overlap);
    world.pass(wake);
    world.turn();
    assert_eq!(world.phase(), Some(Phase::Retiring));
    assert_eq!(world.follow(0), Wish::Retire);
}

#[test]
fn one_that_fails_holds_up_nobody_and_keeps_the_old_root() {
    let mut world = World::new(&[1, 2, 3, 4, 5]);
    world.turn();
    world.ca = 1;
    for _ in 0..2000 {
        let wake = world.turn();
        for number in 1..5 {
            world.follow(number);
        }
        if world.phase() == Some(Phase::Trusting) {
            world.follow(0);
        }
        // It is asked for, fails, and is tried again later.
        world.served[0].leaf.stuck = world.phase() == Some(Phase::Reissuing);
        world.each_verifies_by_all();
        world.pass(wake.unwrap());
    }
    assert_eq!(world.phase(), Some(Phase::Reissuing));
    assert!(world.served[1..].iter().all(|served| served.signer == 1));
    let rotation = world.known.clone().unwrap().rotation.unwrap();
    assert_eq!((rotation.done, rotation.certificates), (4, 5));
    let quick = world.reissued.last().unwrap().0.duration_since(START);
    assert!(quick < SignedDuration::from_mins(4), "{quick}");
    // At last.
    assert_eq!(world.follow(0), Wish::Reissue);
    world.settle(Duration::from_hours(1));
    world.is_settled_on(1);
}

#[test]
fn the_same_root_needs_no_overlap_and_the_same_key_no_rotation() {
    let mut world = World::new(&[1, 2, 3, 4]);
    world.turn();
    let other = Signing {
        authority: "another intermediate".into(),
        root: CAS[0].root.clone(),
    };
    let known = world.known.clone().unwrap();
    let turn = advance(Some(&known), &other, &world.leaves(), &TERMS, START);
    world.known = Some(turn.known);
    let turn = advance(world.known.as_ref(), &other, &world.leaves(), &TERMS, START);
    let rotation = turn.known.rotation.unwrap();
    assert_eq!(rotation.phase, Phase::Reissuing);
    assert_eq!(rotation.wave, Some(START), "at once");

    let renewed = Signing {
        authority: CAS[0].authority.clone(),
        root: CAS[1].root.clone(),
    };
    let turn = advance(Some(&known), &renewed, &world.leaves(), &TERMS, START);
    assert_eq!((turn.known.rotation, turn.wake), (None, None));
    assert_eq!(turn.known.roots, renewed.root);
}

#[test]
fn who_asks_after_the_ca_was_replaced_gets_what_was_left_undone() {
    let mut world = World::new(&[1, 2]);
    world.ca = 1;
    world.turn();
    assert_eq!(world.phase(), Some(Phase::Trusting));
    world.settle(Duration::from_hours(1));
    world.is_settled_on(1);
}

/// The status is lost, or nobody had asked for rotations, and the CA was renewed in the meantime.
#[test]
fn a_ca_that_was_renewed_for_its_key_is_the_same_to_who_asks_later() {
    let key = PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap();
    let (first, renewed) = (signing("CA", &key, 9000), signing("CA", &key, 9001));
    assert_eq!(first.authority, renewed.authority);
    assert_ne!(first.root, renewed.root);
    let mut world = World::new(&[1, 2]);
    let both = merged(&renewed.root, first.root.as_bytes());
    world.write(0, first.root.clone());
    world.write(1, both);
    let turn = |world: &World| advance(None, &renewed, &world.leaves(), &TERMS, START);
    let quiet = turn(&world);
    assert_eq!((quiet.known.rotation, quiet.wake), (None, None));
    assert_eq!(quiet.known.roots, renewed.root);

    // In the middle of a rotation ca.crt has another one beside it.
    let other = merged(&renewed.root, CAS[0].root.as_bytes());
    world.write(1, other);
    assert!(turn(&world).known.rotation.is_some());
    // The same name with another key is another one.
    let key = PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap();
    world.write(1, signing("CA", &key, 9000).root);
    assert!(turn(&world).known.rotation.is_some());
}

#[test]
fn an_old_one_that_is_put_back_keeps_its_root_until_it_is_issued_anew() {
    let mut world = World::new(&[1, 2, 3, 4]);
    world.turn();
    world.ca = 1;
    let first = world.served[1].clone();
    while world.phase() != Some(Phase::Retiring) {
        let wake = world.turn().unwrap();
        for number in 0..4 {
            world.follow(number);
        }
        world.pass(wake);
    }
    world.served[1] = first;
    world.turn();
    for number in [1, 0, 2, 3] {
        assert_ne!(world.follow(1), Wish::Retire);
        world.follow(number);
        world.each_verifies_by_itself();
    }
    world.settle(Duration::from_hours(1));
    world.is_settled_on(1);
}

#[test]
fn nobody_asks_nothing_is_known() {
    let mut fact = issuer(json!({ "ca": { "secretName": "ca" } }), None);
    let known = Known {
        authority: "a".into(),
        roots: "b".into(),
        rotation: None,
    };
    fact.status = serde_json::from_value(json!({ "ca": known.to_status() })).unwrap();
    assert_eq!(Known::of(&fact), None);
}

/// What may happen at any time.
#[derive(Debug, Clone)]
enum Event {
    Turn,
    Follow(usize),
    Everybody,
    Renew(usize),
    Replace(usize),
    Pass(u64),
    Stick(usize),
    Restore(usize),
    Restart,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => Just(Event::Turn),
        6 => (0_usize..9).prop_map(Event::Follow),
        3 => Just(Event::Everybody),
        1 => (0_usize..9).prop_map(Event::Renew),
        1 => (0_usize..4).prop_map(Event::Replace),
        4 => (0_u64..400).prop_map(Event::Pass),
        1 => (0_usize..9).prop_map(Event::Stick),
        1 => (0_usize..9).prop_map(Event::Restore),
        1 => Just(Event::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Whatever comes in whatever order, each certificate verifies against its own `ca.crt`, and all is
    /// settled in the end.
    #[test]
    fn no_certificate_ever_fails_to_verify(
        ends in proptest::collection::vec(1_i64..5, 1..9),
        events in proptest::collection::vec(event(), 1..60),
    ) {
        let mut world = World::new(&ends);
        world.turn();
        let count = world.served.len();
        for event in events {
            match event {
                Event::Turn => {
                    world.turn();
                }
                Event::Follow(number) => {
                    world.follow(number % count);
                }
                Event::Everybody => {
                    for number in 0..count {
                        world.follow(number);
                    }
                }
                Event::Renew(number) => world.issue(number % count),
                Event::Replace(ca) => world.ca = ca,
                Event::Pass(seconds) => world.pass(Duration::from_secs(seconds)),
                Event::Stick(number) => world.served[number % count].leaf.stuck = true,
                // Later than that, it is the Certificate that finds its Secret changed.
                Event::Restore(number) if world.phase().is_some() => {
                    let first = World::new(&ends).served[number % count].clone();
                    world.served[number % count] = first;
                }
                Event::Restore(_) => {}
                Event::Restart => world.noted.clear(),
            }
            world.each_verifies_by_itself();
        }
        let ca = world.ca;
        world.settle(Duration::from_hours(9));
        world.is_settled_on(ca);
    }

    /// If everybody does what it is asked for in time, who trusts one `ca.crt` accepts every certificate at
    /// each moment, however often the CA is replaced.
    #[test]
    fn every_bundle_does_for_every_certificate(
        ends in proptest::collection::vec(1_i64..5, 1..7),
        replaced in proptest::collection::vec((0_usize..4, 0_usize..30), 1..4),
        order in any::<proptest::sample::Index>(),
    ) {
        let mut world = World::new(&ends);
        world.turn();
        let count = world.served.len();
        for (ca, turns) in replaced {
            world.ca = ca;
            for turn in 0..turns {
                let wake = world.turn();
                for number in 0..count {
                    world.follow((number + order.index(count) + turn) % count);
                    world.each_verifies_by_all();
                }
                world.pass(wake.unwrap_or_default());
            }
        }
    }
}
