//! What every provider must do.

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};

use super::super::edit::is;
use super::server::{Answer, Case, Running, now, pass};
use crate::solvers::dns01::{Class, Error, Provider, Record};

const NAME: &str = "_acme-challenge.a.b.example.com";
const ONE: &str = "Jk7yJOzJFH1u8ZBXlE0uN0WbI6vSjWJz8x1q3VvqV5c";
const TWO: &str = "zz7yJOzJFH1u8ZBXlE0uN0WbI6vSjWJz8x1q3VvqV5c";

pub(super) fn record(zone: &str, name: &str, value: &str) -> Record {
    Record {
        domain: name.trim_start_matches("_acme-challenge.").to_owned(),
        zone: format!("{zone}."),
        name: format!("{name}."),
        value: value.to_owned(),
    }
}

fn one() -> Record {
    record("example.com", NAME, ONE)
}

fn two() -> Record {
    record("example.com", NAME, TWO)
}

/// A provider that has the zone example.com.
struct Stage {
    case: &'static Case,
    running: Running,
    provider: Box<dyn Provider>,
}

impl Stage {
    fn new(case: &'static Case) -> Self {
        let stage = Self::empty(case);
        stage.running.world().add_zone("example.com", false);
        stage
    }

    fn empty(case: &'static Case) -> Self {
        let running = Running::start(case.handler);
        let provider = (case.provider)(&running.hosted);
        Self {
            case,
            running,
            provider,
        }
    }

    /// Whatever is at a name, in order.
    fn raws(&self) -> Vec<String> {
        let mut raws: Vec<_> = self
            .running
            .world()
            .at(NAME)
            .into_iter()
            .map(|txt| txt.raw)
            .collect();
        raws.sort_unstable();
        raws
    }

    fn has(&self, zone: &str, value: &str) -> bool {
        let mut world = self.running.world();
        let zone = world.public(zone).unwrap();
        zone.records.iter().any(|txt| is(&txt.raw, value))
    }

    async fn failure(&self) -> Error {
        self.provider.present(&one()).await.unwrap_err()
    }

    fn end(self) {
        self.running.assert_documented();
    }
}

pub(super) async fn all(case: &'static Case) {
    values_come_and_go_one_by_one(case).await;
    a_strangers_values_stay(case).await;
    the_zone_is_the_right_one(case).await;
    long_lists_are_read_to_their_end(case).await;
    if case.conditional {
        others_write_at_the_same_time(case).await;
    }
    many_at_one_name_at_once(case).await;
    without_a_zone(case).await;
    refused_credentials(case).await;
    faults_have_their_class(case).await;
}

async fn values_come_and_go_one_by_one(case: &'static Case) {
    let stage = Stage::new(case);
    let raw = case.raw;
    stage.provider.present(&one()).await.unwrap();
    let there = stage.running.world().at(NAME);
    assert_eq!(there.len(), 1);
    assert_eq!((there[0].raw.clone(), there[0].ttl), (raw(ONE), case.ttl));

    // Again, as a new process would do: nothing is written.
    let writes = stage.running.world().writes();
    stage.provider.present(&one()).await.unwrap();
    assert_eq!(stage.running.world().writes(), writes);
    assert_eq!(stage.raws(), [raw(ONE)]);

    stage.provider.present(&two()).await.unwrap();
    assert_eq!(stage.raws(), [raw(ONE), raw(TWO)]);
    stage.provider.clean_up(&one()).await.unwrap();
    assert_eq!(stage.raws(), [raw(TWO)]);

    let writes = stage.running.world().writes();
    stage.provider.clean_up(&one()).await.unwrap();
    assert_eq!(stage.running.world().writes(), writes);
    stage.provider.clean_up(&two()).await.unwrap();
    stage.provider.clean_up(&two()).await.unwrap();
    assert!(stage.raws().is_empty());

    // At the zone itself, to which a CNAME may lead.
    let apex = record("example.com", "example.com", ONE);
    stage.provider.present(&apex).await.unwrap();
    assert_eq!(stage.running.world().at("example.com").len(), 1);
    stage.provider.clean_up(&apex).await.unwrap();
    assert!(stage.running.world().at("example.com").is_empty());
    stage.end();
}

async fn a_strangers_values_stay(case: &'static Case) {
    let stage = Stage::new(case);
    let strangers = [
        (case.raw)("v=spf1 -all"),
        (case.raw)("jk7yjozjfh1u8zbxle0un0wbi6vsjwjz8x1q3vvqv5c"),
    ];
    for stranger in &strangers {
        stage
            .running
            .world()
            .add("example.com", NAME, stranger, 1234);
    }
    stage.provider.present(&one()).await.unwrap();
    assert_eq!(stage.raws().len(), 3);
    stage.provider.clean_up(&one()).await.unwrap();
    let left = stage.running.world().at(NAME);
    let mut raws: Vec<_> = left.iter().map(|txt| txt.raw.clone()).collect();
    raws.sort_unstable();
    let mut expected = strangers.to_vec();
    expected.sort_unstable();
    assert_eq!(raws, expected);
    assert!(left.iter().all(|txt| txt.ttl == 1234), "{left:?}");
    stage.end();
}

async fn the_zone_is_the_right_one(case: &'static Case) {
    let stage = Stage::empty(case);
    for name in [
        "example.com",
        "b.example.com",
        "ab.example.com",
        "a.b.example.com",
    ] {
        stage.running.world().add_zone(name, false);
    }
    // The zone of the SOA record, or the longest if it is none of the account's.
    for (soa, expected) in [
        ("example.com", "example.com"),
        ("b.example.com", "b.example.com"),
        ("a.b.example.com", "a.b.example.com"),
        ("com", "a.b.example.com"),
        (NAME, "a.b.example.com"),
    ] {
        let record = record(soa, NAME, ONE);
        stage.provider.present(&record).await.unwrap();
        assert!(stage.has(expected, ONE), "{soa}");
        assert_eq!(stage.running.world().at(NAME).len(), 1, "{soa}");
        stage.provider.clean_up(&record).await.unwrap();
        assert!(!stage.has(expected, ONE), "{soa}");
    }
    stage.end();
}

async fn long_lists_are_read_to_their_end(case: &'static Case) {
    let stage = Stage::empty(case);
    // Before the public zone come others that are like it, so that it is on a later page.
    for number in 0..5 {
        let mut world = stage.running.world();
        world.add_zone(&format!("a{number}.net"), false);
        world.add_zone("example.com", true);
    }
    stage.running.world().add_zone("example.com", false);
    for number in 0..5 {
        let mut world = stage.running.world();
        world.add(
            "example.com",
            NAME,
            &(case.raw)(&format!("other {number}")),
            case.ttl,
        );
        world.add(
            "example.com",
            &format!("a{number}.example.com"),
            &(case.raw)("x"),
            60,
        );
    }
    stage.provider.present(&one()).await.unwrap();
    stage.provider.present(&one()).await.unwrap();
    assert_eq!(stage.raws().len(), 6);
    // And not in one of those that are like it.
    assert!(stage.has("example.com", ONE));
    stage.provider.clean_up(&one()).await.unwrap();
    assert_eq!(stage.raws().len(), 5);
    assert_eq!(
        stage
            .running
            .world()
            .zones
            .iter()
            .map(|zone| zone.records.len())
            .sum::<usize>(),
        10
    );
    stage.end();
}

/// Between our read and our write somebody else adds a value, and takes it away again.
async fn others_write_at_the_same_time(case: &'static Case) {
    let stage = Stage::new(case);
    let foreign = case.raw;
    let meddle = move |stage: &Stage, present: bool| {
        stage
            .running
            .world()
            .before_write
            .push(Box::new(move |world| {
                let zone = world.public("example.com").unwrap();
                let mut raws: Vec<_> = zone.set(NAME).into_iter().map(|txt| txt.raw).collect();
                raws.retain(|raw| *raw != foreign("foreign"));
                if present {
                    raws.push(foreign("foreign"));
                }
                zone.replace(NAME, 60, &raws);
            }));
    };
    meddle(&stage, true);
    stage.provider.present(&one()).await.unwrap();
    assert_eq!(stage.raws().len(), 2, "{:?}", stage.raws());
    meddle(&stage, false);
    stage.provider.present(&two()).await.unwrap();
    assert_eq!(stage.raws(), [foreign(ONE), foreign(TWO)]);
    meddle(&stage, true);
    stage.provider.clean_up(&one()).await.unwrap();
    meddle(&stage, false);
    stage.provider.clean_up(&two()).await.unwrap();
    assert!(stage.raws().is_empty(), "{:?}", stage.raws());
    // And somebody else does the very same.
    stage
        .running
        .world()
        .before_write
        .push(Box::new(move |world| {
            world
                .public("example.com")
                .unwrap()
                .replace(NAME, 60, &[foreign(ONE)]);
        }));
    stage.provider.present(&one()).await.unwrap();
    stage
        .running
        .world()
        .before_write
        .push(Box::new(move |world| {
            world.public("example.com").unwrap().replace(NAME, 60, &[]);
        }));
    stage.provider.clean_up(&one()).await.unwrap();
    assert!(stage.raws().is_empty(), "{:?}", stage.raws());
    stage.end();
}

async fn many_at_one_name_at_once(case: &'static Case) {
    let stage = Stage::new(case);
    let records: Vec<_> = (0..4)
        .map(|n| record("example.com", NAME, &format!("value{n}")))
        .collect();
    let done = join_all(records.iter().map(|record| stage.provider.present(record))).await;
    assert!(done.iter().all(Result::is_ok), "{done:?}");
    assert_eq!(stage.raws().len(), 4);
    let done = join_all(records.iter().map(|record| stage.provider.clean_up(record))).await;
    assert!(done.iter().all(Result::is_ok), "{done:?}");
    assert!(stage.raws().is_empty());
    stage.end();
}

async fn without_a_zone(case: &'static Case) {
    let stage = Stage::empty(case);
    stage.running.world().add_zone("example.org", false);
    let error = stage.failure().await;
    assert_eq!(error.class, Class::Permanent);
    assert!(error.text.contains(NAME), "{error}");
    // It took the value along.
    stage.provider.clean_up(&one()).await.unwrap();
    assert_eq!(stage.running.world().writes(), 0);
    stage.end();
}

async fn refused_credentials(case: &'static Case) {
    let stage = Stage::new(case);
    stage.provider.present(&one()).await.unwrap();
    stage.running.world().revoked = true;
    let error = stage.provider.present(&two()).await.unwrap_err();
    assert_eq!(error.class, Class::Permanent, "{error}");
    assert!(error.text.contains(": 40"), "{error}");
    // What helps is at the end.
    assert!(
        ["let ", "give ", "put ", "correct "]
            .iter()
            .any(|word| error.text.contains(word)),
        "{error}"
    );
    // It is the same each time, for status.reason.
    let again = stage.provider.present(&two()).await.unwrap_err();
    assert_eq!(error, again);
    let cleaning = stage.provider.clean_up(&one()).await.unwrap_err();
    for text in [error.text, cleaning.text] {
        for secret in case.secrets {
            assert!(!text.contains(secret), "{text}");
        }
    }
    assert_eq!(stage.raws().len(), 1);
    stage.end();
}

async fn faults_have_their_class(case: &'static Case) {
    let html = "<html><body>Bad Gateway</body></html>";
    let wait = SignedDuration::from_secs(17);
    let until = |wait| Class::RateLimited {
        until: now() + wait,
    };
    for (answer, class) in [
        (Answer::new(500, ""), Class::Transient),
        (Answer::new(502, html), Class::Transient),
        (Answer::new(503, html), Class::Transient),
        (
            Answer::new(503, html).with("retry-after", "17"),
            until(wait),
        ),
        (
            Answer::new(429, "{}").with("retry-after", "17"),
            until(wait),
        ),
        (
            Answer::new(429, html).with("retry-after", "Thu, 01 Jan 2026 00:00:17 GMT"),
            until(wait),
        ),
        // A server's word is believed for an hour.
        (
            Answer::new(429, html).with("retry-after", "9999999999"),
            until(SignedDuration::from_hours(1)),
        ),
        (Answer::new(429, html), until(SignedDuration::from_secs(30))),
        (Answer::new(403, html), Class::Permanent),
        (Answer::new(401, "null"), Class::Permanent),
        // A portal, or a proxy, in between.
        (Answer::new(200, html), Class::Transient),
        (Answer::new(200, ""), Class::Transient),
        (Answer::new(200, "[]"), Class::Transient),
        (
            Answer::new(302, "").with("location", "https://api.cloudflare.com/"),
            Class::Transient,
        ),
    ] {
        let stage = Stage::new(case);
        stage.running.world().fault = Some(answer.clone());
        let error = stage.failure().await;
        assert_eq!(error.class, class, "{answer:?}: {error}");
        assert!(!error.text.contains('<'), "{error}");
        assert!(error.text.len() < 500, "{error}");
        let again = stage.failure().await;
        assert_eq!(error, again);
        stage.running.world().fault = None;
        if let Class::RateLimited { until } = class {
            left_alone(&stage, &error, until).await;
        }
        stage.provider.present(&one()).await.unwrap();
        stage.end();
    }
}

/// Whoever has the same account asks for nothing before the service's time.
async fn left_alone(stage: &Stage, error: &Error, until: Timestamp) {
    let sent = stage.running.world().sent.len();
    let other = (stage.case.provider)(&stage.running.hosted);
    let seconds = until.duration_since(now()).as_secs();
    pass(seconds - 1);
    assert_eq!(other.present(&two()).await.as_ref(), Err(error));
    assert_eq!(other.clean_up(&two()).await.as_ref(), Err(error));
    assert_eq!(stage.running.world().sent.len(), sent);
    pass(1);
    other.present(&two()).await.unwrap();
}
