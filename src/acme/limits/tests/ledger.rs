use super::*;

/// A ledger, and what the cluster would show.
#[derive(Default)]
struct Cluster {
    ledger: Ledger,
    now: i64,
}

impl Cluster {
    fn ask(&mut self, ca: &Ca, name: &str, ask: &Ask) -> Turn {
        let id = id("team", name);
        self.ledger.ask(ca, &id, "uid", ask.clone(), at(self.now))
    }

    fn see(&mut self, ca: &Ca, name: &str, ask: &Ask, progress: &Progress) {
        let (id, now) = (id("team", name), at(self.now));
        self.ledger
            .see(ca, (&id, "uid"), ask.clone(), progress, (now, now));
    }

    /// Ask, and if it may go, let it be issued at once.
    fn issue(&mut self, ca: &Ca, name: &str, ask: &Ask) -> Turn {
        let turn = self.ask(ca, name, ask);
        if turn == Turn::Go {
            self.see(ca, name, ask, &Progress::Issued);
        }
        turn
    }

    fn admitted(&mut self) -> Vec<String> {
        let ids = self.ledger.take_admitted().into_iter();
        ids.map(|(_, name)| name.to_string()).collect()
    }
}

fn wait(turn: Turn) -> Slot {
    match turn {
        Turn::Wait(wait) => wait,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_sixth_of_the_same_names_within_a_week_waits_and_says_for_what() {
    let (ca, mut cluster) = (lets_encrypt(), Cluster::default());
    let ask = fresh(&["www.example.com"]);
    for n in 0..5 {
        cluster.now = n * 60;
        assert_eq!(cluster.issue(&ca, &format!("site-{n}"), &ask), Turn::Go);
    }
    let waits = wait(cluster.ask(&ca, "site-6", &ask));
    // 34 hours less than a minute after the first.
    assert_eq!(waits.until, at(120_960));
    assert_eq!(
        waits.to_string(),
        "next slot 2027-01-16 17:36 UTC: 5 a week for this exact set"
    );
    // Nobody else is touched.
    let other = fresh(&["www.example.com", "shop.example.com"]);
    assert_eq!(cluster.issue(&ca, "other", &other), Turn::Go);
    cluster.now = 120_959;
    assert!(matches!(cluster.ask(&ca, "site-6", &ask), Turn::Wait(_)));
    cluster.now = 120_960;
    assert_eq!(cluster.ask(&ca, "site-6", &ask), Turn::Go);
}

#[test]
fn a_full_domain_leaves_others_and_renewals_of_the_same_names_alone() {
    let (ca, mut cluster) = (lets_encrypt(), Cluster::default());
    let name = |n: usize| format!("n{n}.example.com");
    for n in 0..50 {
        assert_eq!(cluster.issue(&ca, &name(n), &fresh(&[&name(n)])), Turn::Go);
    }
    let waits = wait(cluster.ask(&ca, "late", &fresh(&["late.example.com"])));
    assert_eq!(waits.until, at(12_096));
    assert_eq!(
        waits.to_string(),
        "next slot 2027-01-15 11:21 UTC: 50 a week for example.com"
    );
    // The next in line, one refill later.
    let second = wait(cluster.ask(&ca, "later", &fresh(&["later.example.com"])));
    assert_eq!(
        (second.until, second.told),
        (at(2 * 12_096), at(2 * 12_096))
    );
    assert_eq!(
        cluster.issue(&ca, "o", &fresh(&["www.example.org"])),
        Turn::Go
    );
    let again = renewal(&[&name(7)], START + days(30));
    assert_eq!(
        cluster.issue(&ca, "again", &again),
        Turn::Go,
        "a renewal of the same names"
    );
    let replaces = Ask {
        exemption: Exemption::Replaces,
        ..again.clone()
    };
    for n in 0..9 {
        let name = format!("ari-{n}");
        assert_eq!(
            cluster.issue(&ca, &name, &replaces),
            Turn::Go,
            "by ARI nothing counts"
        );
    }
    // But five a week of the same names count without it.
    for n in 0..3 {
        assert_eq!(cluster.issue(&ca, &format!("more-{n}"), &again), Turn::Go);
    }
    let waits = wait(cluster.ask(&ca, "too many", &again));
    assert_eq!(waits.scope.limit, Limit::CertificatesPerSet);
}

#[test]
fn a_name_that_failed_five_times_in_an_hour_waits() {
    let (ca, mut cluster) = (lets_encrypt(), Cluster::default());
    let ask = fresh(&["a.example.com", "b.example.com"]);
    for n in 0..5 {
        let name = format!("try-{n}");
        assert_eq!(cluster.ask(&ca, &name, &ask), Turn::Go);
        let failed = Progress::Failed(vec!["a.example.com".into()]);
        cluster.see(&ca, &name, &ask, &failed);
    }
    let waits = wait(cluster.ask(&ca, "try-6", &ask));
    assert_eq!(waits.until, at(12 * 60));
    let said = waits.to_string();
    assert!(
        said.ends_with("5 an hour failed validations of a.example.com"),
        "{said}"
    );
    assert_eq!(
        cluster.issue(&ca, "b", &fresh(&["b.example.com"])),
        Turn::Go
    );
    // No certificate came of it: the domain has lost none.
    for n in 0..49 {
        let name = format!("n{n}.example.com");
        assert_eq!(cluster.issue(&ca, &name, &fresh(&[&name])), Turn::Go, "{n}");
    }
}

#[test]
fn what_is_on_its_way_counts_already() {
    let (ca, mut cluster) = (lets_encrypt(), Cluster::default());
    let ask = fresh(&["www.example.com"]);
    for n in 0..5 {
        let other = Ask {
            profile: Some(format!("profile-{n}").into()),
            ..ask.clone()
        };
        assert_eq!(cluster.ask(&ca, &format!("site-{n}"), &other), Turn::Go);
        cluster.see(&ca, &format!("site-{n}"), &other, &Progress::Made);
    }
    assert!(matches!(cluster.ask(&ca, "site-6", &ask), Turn::Wait(_)));
    // One of them fails: its token is free.
    cluster.see(&ca, "site-0", &ask, &Progress::Failed(vec![]));
    assert_eq!(cluster.admitted(), ["site-6"]);
    assert_eq!(cluster.ask(&ca, "site-6", &ask), Turn::Go);
    assert_eq!(cluster.admitted(), [""; 0], "it knows");
}

#[test]
fn so_many_at_once_and_the_next_when_one_has_ended() {
    let (ca, mut cluster) = (ca(Policy::of("https://ca.example", 2)), Cluster::default());
    let ask = |n: usize| fresh(&[&format!("n{n}.example.com")]);
    for n in 0..2 {
        assert_eq!(cluster.ask(&ca, &n.to_string(), &ask(n)), Turn::Go);
        assert_eq!(
            cluster.ask(&ca, &n.to_string(), &ask(n)),
            Turn::Go,
            "asked again"
        );
    }
    for n in 2..5 {
        assert_eq!(
            cluster.ask(&ca, &n.to_string(), &ask(n)),
            Turn::Behind(Some(at(120)))
        );
    }
    cluster.see(&ca, "1", &ask(1), &Progress::Made);
    assert_eq!(cluster.admitted(), [""; 0]);
    cluster.see(&ca, "1", &ask(1), &Progress::Issued);
    assert_eq!(cluster.admitted(), ["2"]);
    cluster.ledger.gone(&id("team", "0"), START);
    assert_eq!(cluster.admitted(), ["3"]);
    cluster.see(&ca, "2", &ask(2), &Progress::Refused);
    assert_eq!(cluster.admitted(), ["4"]);
}

#[test]
fn whoever_takes_for_ever_does_not_keep_the_others() {
    let (ca, mut cluster) = (ca(Policy::of("https://ca.example", 1)), Cluster::default());
    let ask = |n: usize| fresh(&[&format!("n{n}.example.com")]);
    assert_eq!(cluster.ask(&ca, "stuck", &ask(0)), Turn::Go);
    cluster.see(&ca, "stuck", &ask(0), &Progress::Made);
    cluster.now = 60;
    assert_eq!(
        cluster.ask(&ca, "next", &ask(1)),
        Turn::Behind(Some(at(120)))
    );
    cluster.now = 120;
    assert_eq!(cluster.ask(&ca, "next", &ask(1)), Turn::Go);
    assert!(matches!(
        cluster.ask(&ca, "third", &ask(2)),
        Turn::Behind(_)
    ));
    // Its late end frees no second place.
    cluster.see(&ca, "stuck", &ask(0), &Progress::Issued);
    assert_eq!(cluster.admitted(), [""; 0]);
}

#[test]
fn the_line_is_by_expiry_and_namespaces_take_turns_with_what_is_new() {
    let ca = ca(Policy::of("https://ca.example", 1));
    let mut ledger = Ledger::default();
    let first = id("x", "first");
    let names = fresh(&["example.com"]);
    assert_eq!(ledger.ask(&ca, &first, "u", names.clone(), START), Turn::Go);
    let mut join = |namespace: &str, name: &str, ask: Ask| {
        let id = id(namespace, name);
        let turn = ledger.ask(&ca, &id, "u", ask, START);
        assert!(matches!(turn, Turn::Twin(_)), "{turn:?}");
    };
    for n in 0..3 {
        let since = at(n);
        let ask = Ask {
            since,
            ..fresh(&["example.com"])
        };
        join("crowd", &format!("new-{n}"), ask);
    }
    let since = at(9);
    join(
        "quiet",
        "new",
        Ask {
            since,
            ..fresh(&["example.com"])
        },
    );
    join("b", "in-30d", renewal(&["example.com"], START + days(30)));
    join("a", "in-2d", renewal(&["example.com"], START + days(2)));
    join("a", "in-3h", renewal(&["example.com"], at(3 * 3600)));
    join("a", "expired", renewal(&["example.com"], at(-3600)));
    let (mut order, mut last) = (vec![], first);
    loop {
        let progress = Progress::Issued;
        ledger.see(&ca, (&last, "u"), names.clone(), &progress, (START, START));
        let Some(next) = ledger.take_admitted().pop() else {
            break;
        };
        order.push(next.1.to_string());
        last = next;
    }
    assert_eq!(
        order,
        [
            "expired", "in-3h", "new-0", "new", "new-1", "new-2", "in-2d", "in-30d"
        ]
    );
}

#[test]
fn those_who_waited_before_a_restart_keep_their_places() {
    let policy = Policy::of("https://ca.example", 9).with("domain=1/60s");
    let ca = ca(policy.unwrap());
    let asks = [
        ("new", fresh(&["a.example.com"])),
        ("in-9d", renewal(&["b.example.com"], START + days(9))),
        ("in-3h", renewal(&["c.example.com"], at(3 * 3600))),
        ("elsewhere", fresh(&["example.org"])),
    ];
    let mut ledger = Ledger::default();
    for (name, ask) in &asks {
        assert!(ledger.stand(&ca, &id("team", name), "u", ask.clone()));
    }
    assert_eq!(ledger.take_admitted(), [], "nobody has asked");
    let [(name, first), .., (_, elsewhere)] = asks;
    let turn = ledger.ask(&ca, &id("team", name), "u", first.clone(), START);
    assert!(matches!(turn, Turn::Wait(_)), "{turn:?}");
    let mut admitted = ledger.take_admitted();
    admitted.sort();
    assert_eq!(admitted, [id("team", "elsewhere"), id("team", "in-3h")]);
    assert!(!ledger.stand(&ca, &id("team", "elsewhere"), "u", elsewhere));
}

#[test]
fn what_the_ca_does_not_take_for_another_reason_keeps_no_token() {
    let policy = Policy::of("https://ca.example", 1).with("domain=1/60s");
    let (ca, mut cluster) = (ca(policy.unwrap()), Cluster::default());
    let (paused, other) = (fresh(&["paused.example.com"]), fresh(&["b.example.com"]));
    assert_eq!(cluster.ask(&ca, "paused", &paused), Turn::Go);
    assert!(matches!(cluster.ask(&ca, "other", &other), Turn::Behind(_)));
    cluster.ledger.give_back(&id("team", "paused"), START);
    assert_eq!(cluster.admitted(), ["other"]);
    assert_eq!(cluster.ask(&ca, "other", &other), Turn::Go);
    // It asks again, behind those who came meanwhile.
    assert!(matches!(
        cluster.ask(&ca, "paused", &paused),
        Turn::Behind(_)
    ));
    // What the CA has is given back by nobody.
    cluster.see(&ca, "other", &other, &Progress::Made);
    cluster.ledger.give_back(&id("team", "other"), START);
    assert_eq!(cluster.admitted(), [""; 0]);
}

#[test]
fn a_refusal_closes_what_it_names_and_nothing_else() {
    let (ca, mut cluster) = (lets_encrypt(), Cluster::default());
    let ask = fresh(&["www.example.com"]);
    assert_eq!(cluster.ask(&ca, "site", &ask), Turn::Go);
    let words = "429 urn:ietf:params:acme:error:rateLimited: too many certificates (50) already issued for \
                 \"example.com\" in the last 168h0m0s, retry after 2027-01-15 10:00:00 UTC";
    let waits = wait(
        cluster
            .ledger
            .refused(&id("team", "site"), words, None, START),
    );
    assert_eq!(waits.scope, ask.domains()[0]);
    assert!(
        waits.to_string().contains(
            "next slot 2027-01-15 10:00 UTC: 50 a week for example.com; the CA said: 429"
        )
    );
    assert!(matches!(
        cluster.ask(&ca, "more", &fresh(&["b.example.com"])),
        Turn::Wait(_)
    ));
    assert_eq!(
        cluster.ask(&ca, "other", &fresh(&["example.org"])),
        Turn::Go
    );
    let again = renewal(&["c.example.com"], START + days(9));
    assert_eq!(cluster.ask(&ca, "again", &again), Turn::Go, "exempt");
    // At the time that was said there is one token, and no more.
    cluster.now = 7200;
    assert_eq!(
        cluster.ask(&ca, "more", &fresh(&["b.example.com"])),
        Turn::Go
    );
    let waits = wait(cluster.ask(&ca, "site", &ask));
    assert_eq!((waits.until, waits.words), (at(7200 + 12_096), None));
}

#[test]
fn an_exemption_that_the_ca_does_not_know_is_forgotten() {
    let (ca, mut cluster) = (lets_encrypt(), Cluster::default());
    let ask = renewal(&["www.example.com"], START + days(9));
    assert_eq!(cluster.ask(&ca, "site", &ask), Turn::Go);
    let words = "429 urn:ietf:params:acme:error:rateLimited: too many certificates (50) already issued for \
                 \"example.com\" in the last";
    let until = Some(at(600));
    let waits = wait(
        cluster
            .ledger
            .refused(&id("team", "site"), words, until, START),
    );
    assert_eq!(waits.until, at(600));
    assert!(
        matches!(cluster.ask(&ca, "site", &ask), Turn::Wait(_)),
        "nor asked at once again"
    );
    cluster.now = 600;
    assert_eq!(cluster.ask(&ca, "site", &ask), Turn::Go);
}

#[test]
fn an_unknown_ca_is_asked_until_it_refuses() {
    let (ca, mut cluster) = (
        ca(Policy::of("https://ca.example", 1000)),
        Cluster::default(),
    );
    let ask = fresh(&["www.example.com"]);
    for n in 0..500 {
        assert_eq!(cluster.issue(&ca, &n.to_string(), &ask), Turn::Go);
    }
    assert_eq!(cluster.ask(&ca, "site", &ask), Turn::Go);
    let words = "429 urn:ietf:params:acme:error:rateLimited: slow down";
    let waits = wait(
        cluster
            .ledger
            .refused(&id("team", "site"), words, Some(at(60)), START),
    );
    assert_eq!(waits.until, at(60));
    assert!(
        waits
            .to_string()
            .starts_with("next slot 2027-01-15 08:01 UTC: for this exact set; the CA said")
    );
    // Another set of the domain is tried, and its refusal closes the domain.
    let other = fresh(&["b.example.com"]);
    assert_eq!(cluster.ask(&ca, "b", &other), Turn::Go);
    let waits = wait(
        cluster
            .ledger
            .refused(&id("team", "b"), words, Some(at(60)), START),
    );
    assert_eq!(waits.scope, other.domains()[0]);
    assert!(matches!(
        cluster.ask(&ca, "c", &fresh(&["c.example.com"])),
        Turn::Wait(_)
    ));
    // That of another domain closes the account.
    let elsewhere = fresh(&["example.org"]);
    assert_eq!(cluster.ask(&ca, "d", &elsewhere), Turn::Go);
    let waits = wait(
        cluster
            .ledger
            .refused(&id("team", "d"), words, Some(at(60)), START),
    );
    assert_eq!(waits.scope.limit, Limit::OrdersPerAccount);
    assert!(matches!(
        cluster.ask(&ca, "e", &fresh(&["example.net"])),
        Turn::Wait(_)
    ));
    cluster.now = 60;
    assert_eq!(cluster.ask(&ca, "e", &fresh(&["example.net"])), Turn::Go);
}

/// Whoever of them hears of it first.
#[test]
fn a_limit_that_is_raised_is_so_for_all_who_wait() {
    let with = |limits| {
        let policy = Policy::of("https://ca.example", 1000).with(limits);
        ca(policy.unwrap())
    };
    let (before, after) = (with("orders=1/3h"), with("orders=300/3h"));
    let mut cluster = Cluster::default();
    let ask = |n: i64| Ask {
        expires: Some(at(n * 3600)),
        ..fresh(&[&format!("{n}.example.com")])
    };
    assert_eq!(cluster.issue(&after, "0", &ask(0)), Turn::Go);
    for n in 1..=4 {
        wait(cluster.ask(&before, &n.to_string(), &ask(n)));
    }
    let mut going = vec![];
    for n in [3, 1, 4, 2] {
        let name = n.to_string();
        if cluster.ask(&after, &name, &ask(n)) == Turn::Go {
            going.push(name);
        }
        going.extend(cluster.admitted());
    }
    going.sort();
    going.dedup();
    assert_eq!(going, ["1", "2", "3", "4"]);
}

#[test]
fn what_no_object_shows_any_more_is_kept() {
    let (ca, mut cluster) = (lets_encrypt(), Cluster::default());
    let ask = fresh(&["www.example.com"]);
    for n in 0..5 {
        assert_eq!(cluster.issue(&ca, &format!("site-{n}"), &ask), Turn::Go);
    }
    assert!(
        cluster.ledger.take_unsaved().is_empty(),
        "the Orders are there"
    );
    for n in 0..4 {
        cluster.now += 1;
        cluster
            .ledger
            .gone(&id("team", &format!("site-{n}")), at(cluster.now));
    }
    let unsaved = cluster.ledger.take_unsaved();
    assert!(unsaved.iter().eq([&ca.issuer]), "{unsaved:?}");
    let kept = cluster.ledger.kept(&ca.issuer, at(cluster.now));
    let limits: Vec<_> = kept.iter().map(|k| k.scope.limit).collect();
    assert_eq!(
        limits,
        [
            Limit::OrdersPerAccount,
            Limit::CertificatesPerDomain,
            Limit::CertificatesPerSet
        ]
    );
    let before = wait(cluster.ask(&ca, "next", &ask));

    // A new process: what was stored, then what is there.
    let stored = cluster.ledger.newest(LETS_ENCRYPT);
    cluster.ledger = Ledger::default();
    cluster.ledger.restore(&ca, kept, stored);
    let now = std::mem::take(&mut cluster.now);
    cluster.see(&ca, "site-4", &ask, &Progress::Issued);
    cluster.now = now;
    assert_eq!(wait(cluster.ask(&ca, "next", &ask)), before);
    assert!(cluster.ledger.take_unsaved().is_empty());
}

#[test]
fn a_refusal_survives_a_restart() {
    let (ca, mut cluster) = (ca(Policy::of("https://ca.example", 9)), Cluster::default());
    let ask = fresh(&["www.example.com"]);
    assert_eq!(cluster.ask(&ca, "site", &ask), Turn::Go);
    let words = "429 urn:ietf:params:acme:error:rateLimited: slow down";
    let before = cluster
        .ledger
        .refused(&id("team", "site"), words, Some(at(900)), START);
    assert!(cluster.ledger.take_unsaved().contains(&ca.issuer));
    let kept = cluster.ledger.kept(&ca.issuer, START);
    cluster.ledger = Ledger::default();
    cluster.ledger.restore(&ca, kept, START);
    assert_eq!(cluster.ask(&ca, "site", &ask), before);
    assert_eq!(
        cluster.ledger.kept(&ca.issuer, at(900)),
        [],
        "nothing is left of it"
    );
}

#[test]
fn seen_twice_it_counts_once_and_under_another_uid_anew() {
    let (ca, mut cluster) = (lets_encrypt(), Cluster::default());
    let ask = fresh(&["www.example.com"]);
    for _ in 0..9 {
        cluster.see(&ca, "site", &ask, &Progress::Made);
    }
    for _ in 0..9 {
        cluster.see(&ca, "site", &ask, &Progress::Issued);
    }
    for n in 0..4 {
        assert_eq!(cluster.issue(&ca, &n.to_string(), &ask), Turn::Go, "{n}");
    }
    assert!(matches!(cluster.ask(&ca, "sixth", &ask), Turn::Wait(_)));
    let (now, site) = (START, id("team", "site"));
    let turn = cluster.ledger.ask(&ca, &site, "another", ask.clone(), now);
    assert!(
        matches!(turn, Turn::Wait(_)),
        "it is not the one that has ended"
    );
    assert!(!cluster.ledger.take_unsaved().is_empty(), "which is gone");
}

#[test]
fn an_order_of_two_domains_is_not_overtaken_for_ever() {
    let policy = Policy::of("", 1000).with("domain=1/100s").unwrap();
    let (ca, mut cluster) = (ca(policy), Cluster::default());
    assert_eq!(
        cluster.issue(&ca, "a", &fresh(&["a.example.com"])),
        Turn::Go
    );
    cluster.now = 50;
    assert_eq!(
        cluster.issue(&ca, "b", &fresh(&["b.example.org"])),
        Turn::Go
    );
    let both = renewal(&["both.example.com", "both.example.org"], START + days(2));
    let waits = wait(cluster.ask(&ca, "both", &both));
    assert_eq!(waits.until, at(150));
    let late = renewal(&["late.example.com"], START + days(20));
    cluster.now = 60;
    cluster.ask(&ca, "late", &late);
    cluster.now = 100;
    let turn = cluster.ask(&ca, "late", &late);
    assert!(
        matches!(turn, Turn::Wait(_)),
        "the token is spoken for: {turn:?}"
    );
    cluster.now = 150;
    assert_eq!(cluster.ask(&ca, "both", &both), Turn::Go);
}

#[test]
fn a_time_that_moves_a_little_is_not_said_again() {
    let (ca, mut cluster) = (lets_encrypt(), Cluster::default());
    let name = |n: usize| format!("n{n}.example.com");
    for n in 0..50 {
        cluster.issue(&ca, &name(n), &fresh(&[&name(n)]));
    }
    let ask = renewal(&["site.example.com"], START + days(30));
    let ask = Ask {
        exemption: Exemption::Nothing,
        ..ask
    };
    let told = wait(cluster.ask(&ca, "site", &ask)).told;
    assert_eq!(told, at(12_096));
    // One more urgent comes: a whole refill later is news.
    let soon = Ask {
        expires: Some(START + days(3)),
        ..ask.clone()
    };
    let soon = Ask {
        names: Ask::normal(["soon.example.com".into()]),
        ..soon
    };
    cluster.ask(&ca, "soon", &soon);
    cluster.now = 12_096;
    let turn = wait(cluster.ask(&ca, "site", &ask));
    assert_eq!((turn.until, turn.told), (at(2 * 12_096), at(2 * 12_096)));
    assert_eq!(cluster.admitted(), ["soon"]);
    cluster.now = 12_100;
    let words = "429 urn:ietf:params:acme:error:rateLimited: too many certificates (50) already issued for \"example.com\"";
    let until = Some(at(2 * 12_096 + 60));
    cluster
        .ledger
        .refused(&id("team", "soon"), words, until, at(12_100));
    let turn = wait(cluster.ask(&ca, "soon", &soon));
    assert_eq!(turn.until, at(2 * 12_096 + 60));
    assert_eq!(
        turn.told,
        at(2 * 12_096),
        "as it was told when it came behind the other"
    );
}

proptest! {
    /// Whatever happens in whatever order: no more under way than may be, and nobody is left behind when there is room.
    #[test]
    fn nobody_is_lost(
        steps in prop::collection::vec((0_usize..12, 0_usize..5, 0_i64..4000), 1..150),
        under_way in 1_usize..4,
    ) {
        let policy = Policy::of("", under_way).with("domain=3/1h, set=2/1h, orders=5/30m").unwrap();
        let ca = ca(policy);
        let mut ledger = Ledger::default();
        let mut now = 0;
        // Who is under way, and since when.
        let mut out = std::collections::BTreeMap::new();
        let ask = |n: usize| renewal(&[&format!("n{}.d{}.com", n % 4, n % 2)], at(i64::try_from(n).unwrap() * 1000));
        for (n, what, passed) in steps {
            now += passed;
            let (id, time) = (id("ns", &n.to_string()), at(now));
            let ended = match what {
                0 | 1 => {
                    if ledger.ask(&ca, &id, "u", ask(n), time) == Turn::Go {
                        out.entry(n).or_insert(now);
                    }
                    None
                }
                2 => Some(Progress::Issued),
                3 => Some(Progress::Failed(vec![])),
                _ => Some(Progress::Refused),
            };
            if let Some(progress) = ended.filter(|_| out.remove(&n).is_some()) {
                ledger.see(&ca, (&id, "u"), ask(n), &progress, (time, time));
                ledger.gone(&id, time);
            }
            for (_, name) in ledger.take_admitted() {
                out.insert(name.parse().unwrap(), now);
            }
            let patient = out.values().filter(|since| **since > now - 120);
            prop_assert!(patient.count() <= under_way);
        }
        // A week later everything is free again.
        let time = at(now) + days(7);
        for n in 0..12 {
            ledger.gone(&id("ns", &n.to_string()), time);
        }
        let turn = ledger.ask(&ca, &id("ns", "last"), "u", renewal(&["last.com"], START), time);
        prop_assert_eq!(turn, Turn::Go);
    }
}

/// The CA may answer the second with the order of the first, and then only one key gets its certificate.
#[test]
fn of_two_orders_of_an_account_for_the_same_names_the_second_waits_for_the_end_of_the_first() {
    let (ca, ask) = (
        ca(Policy::of("https://ca.example", 9)),
        fresh(&["a.example.com"]),
    );
    let short = Ask {
        profile: Some("short".into()),
        ..ask.clone()
    };
    let elsewhere = Ask {
        account: "https://ca/acct/2".into(),
        ..ask.clone()
    };
    for end in [
        Progress::Issued,
        Progress::Failed(vec![]),
        Progress::Refused,
    ] {
        let mut cluster = Cluster::default();
        assert_eq!(cluster.ask(&ca, "rsa", &ask), Turn::Go);
        let behind = Turn::Twin(at(600));
        assert_eq!(cluster.ask(&ca, "ecdsa", &ask), behind);
        assert_eq!(cluster.ask(&ca, "short", &short), Turn::Go);
        assert_eq!(cluster.ask(&ca, "elsewhere", &elsewhere), Turn::Go);
        cluster.see(&ca, "rsa", &ask, &Progress::Made);
        assert_eq!(cluster.ask(&ca, "ecdsa", &ask), behind);
        assert_eq!(cluster.admitted(), [""; 0]);
        cluster.see(&ca, "rsa", &ask, &end);
        assert_eq!(cluster.admitted(), ["ecdsa"], "{end:?}");
    }
    // One that is gone, or that the CA does not take for now, is not waited for.
    let mut cluster = Cluster::default();
    for (first, second) in [("1", "2"), ("2", "3")] {
        assert_eq!(cluster.ask(&ca, first, &ask), Turn::Go);
        assert!(matches!(cluster.ask(&ca, second, &ask), Turn::Twin(_)));
        cluster.ledger.gone(&id("team", first), START);
        assert_eq!(cluster.admitted(), [second]);
    }
    // Both in one look at the line.
    let mut cluster = Cluster::default();
    for name in ["1", "2"] {
        let id = id("team", name);
        assert!(cluster.ledger.stand(&ca, &id, "uid", ask.clone()));
    }
    assert_eq!(cluster.ask(&ca, "1", &ask), Turn::Go);
    assert!(matches!(cluster.ask(&ca, "2", &ask), Turn::Twin(_)));
    // One that takes for ever is waited for no longer.
    cluster.now = 600;
    assert_eq!(cluster.ask(&ca, "2", &ask), Turn::Go);
}

#[test]
fn an_order_goes_over_to_the_other_account_or_server_of_its_issuer() {
    let policy = Policy::of("https://ca.example", 1);
    let (old, ask) = (ca(policy), fresh(&["a.example.com"]));
    let new = Ca {
        directory: "https://new.example".into(),
        ..old.clone()
    };
    let account = Ask {
        account: "https://ca/acct/2".into(),
        ..ask.clone()
    };
    let full = |cluster: &mut Cluster| {
        assert_eq!(
            cluster.ask(&old, "first", &fresh(&["b.example.com"])),
            Turn::Go
        );
        let turn = cluster.ask(&old, "site", &ask);
        assert!(matches!(turn, Turn::Behind(_)), "{turn:?}");
    };
    // From the line of the old account.
    let mut cluster = Cluster::default();
    full(&mut cluster);
    assert_eq!(cluster.ask(&new, "site", &account), Turn::Go);
    cluster.see(&new, "site", &account, &Progress::Made);
    cluster.ledger.gone(&id("team", "first"), START);
    assert_eq!(cluster.admitted(), [""; 0], "nobody is left there");
    // With a place there, which others get.
    let mut cluster = Cluster::default();
    full(&mut cluster);
    let moved = cluster.ask(
        &old,
        "first",
        &Ask {
            account: account.account.clone(),
            ..fresh(&["b.example.com"])
        },
    );
    assert_eq!(moved, Turn::Go);
    assert_eq!(cluster.admitted(), ["site"]);
    // What is with the CA already has its place where it was made.
    cluster.see(&old, "site", &ask, &Progress::Made);
    assert_eq!(cluster.ask(&old, "next", &ask), Turn::Twin(at(600)));
    cluster.see(&new, "site", &account, &Progress::Issued);
    assert_eq!(cluster.admitted(), ["next"]);
    // Nor is a wait for a limit of the old server one at the new.
    let limited = Ca {
        policy: Policy::of("", 9).with("domain=1/100s").unwrap(),
        ..old
    };
    let mut cluster = Cluster::default();
    assert_eq!(cluster.issue(&limited, "first", &ask), Turn::Go);
    assert!(matches!(cluster.ask(&limited, "site", &ask), Turn::Wait(_)));
    assert_eq!(cluster.ask(&new, "site", &account), Turn::Go);
}

#[test]
fn what_was_held_back_for_an_order_that_is_gone_is_free() {
    let policy = Policy::of("", 1000).with("domain=1/100s").unwrap();
    let (ca, mut cluster) = (ca(policy), Cluster::default());
    for (now, name) in [(0, "a.example.com"), (50, "a.example.org")] {
        cluster.now = now;
        assert_eq!(cluster.issue(&ca, name, &fresh(&[name])), Turn::Go);
    }
    let both = renewal(&["both.example.com", "both.example.org"], START + days(2));
    assert!(matches!(cluster.ask(&ca, "both", &both), Turn::Wait(_)));
    let late = renewal(&["late.example.com"], START + days(20));
    cluster.ask(&ca, "late", &late);
    cluster.now = 100;
    assert!(matches!(cluster.ask(&ca, "late", &late), Turn::Wait(_)));
    cluster.ledger.gone(&id("team", "both"), at(100));
    assert_eq!(cluster.admitted(), ["late"]);
}

#[test]
fn what_changes_while_an_issuer_is_stored_is_stored_next() {
    let (ca, mut cluster) = (lets_encrypt(), Cluster::default());
    let ask = fresh(&["www.example.com"]);
    for name in ["a", "b"] {
        assert_eq!(cluster.issue(&ca, name, &ask), Turn::Go);
    }
    cluster.ledger.gone(&id("team", "a"), START);
    let stored = cluster.ledger.unsaved(&ca.issuer).unwrap();
    assert_eq!(cluster.ledger.take_unsaved().len(), 1);
    cluster.ledger.gone(&id("team", "b"), START);
    assert_eq!(cluster.ledger.take_unsaved().len(), 1);
    cluster.ledger.saved(&ca.issuer, stored);
    let newest = cluster.ledger.unsaved(&ca.issuer);
    assert!(newest.is_some_and(|newest| newest > stored));
    cluster.ledger.saved(&ca.issuer, newest.unwrap());
    assert_eq!(cluster.ledger.unsaved(&ca.issuer), None);
}

#[test]
fn an_order_that_was_made_without_what_it_replaces_counts() {
    let (ca, mut cluster) = (lets_encrypt(), Cluster::default());
    let ask = Ask {
        exemption: Exemption::Replaces,
        ..renewal(&["www.example.com"], START + days(9))
    };
    for n in 0..5 {
        let name = n.to_string();
        assert_eq!(cluster.ask(&ca, &name, &ask), Turn::Go);
        let exemption = Exemption::SameNames;
        cluster.ledger.counts(&id("team", &name), exemption);
        cluster.see(&ca, &name, &ask, &Progress::Made);
        cluster.see(&ca, &name, &ask, &Progress::Issued);
    }
    let same = renewal(&["www.example.com"], START + days(9));
    let waits = wait(cluster.ask(&ca, "sixth", &same));
    assert_eq!(waits.scope.limit, Limit::CertificatesPerSet);
}
