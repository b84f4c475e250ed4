//! What a CA suggests about renewal (RFC 9773): when it is asked, what is written, and when it counts.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::authority::{Answer as Signs, pair};
use super::world::{START, World};
use crate::acme::RenewalInfo;
use crate::api::CertificateSpec;
use crate::controllers::certificate::Asking;
use crate::controllers::certificate::renewal::{By, renewal};
use crate::controllers::certificate::suggestion::Suggestion;
use crate::controllers::polls::{Answer, Heard};

const HOUR: SignedDuration = SignedDuration::from_hours(1);
const DAY: SignedDuration = SignedDuration::from_hours(24);

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn info(start: Timestamp, end: Timestamp) -> RenewalInfo {
    RenewalInfo {
        start,
        end,
        explanation_url: None,
        retry_after: None,
    }
}

impl World {
    /// A certificate of a CA that answers like this when it is asked, with the next question in six hours.
    fn of_ca(spec: &Value, answer: Answer) -> Self {
        let mut world = Self::issued(spec);
        world.asking = Asking::On(None);
        world.says(answer);
        world
    }

    fn says(&mut self, answer: Answer) {
        self.heard = Some(Heard {
            answer,
            next: self.now + HOUR * 6,
            tries: 0,
        });
    }

    fn suggests(&mut self, start: Timestamp, end: Timestamp) {
        self.says(Answer::Given(info(start, end)));
    }

    /// To the next question, and as far as that leads.
    fn ask_again(&mut self) {
        self.now = self.heard.clone().unwrap().next;
        let asked = self.asked;
        self.heard.as_mut().unwrap().next = self.now + HOUR * 6;
        self.run(12);
        assert!(self.asked > asked, "it is time");
    }

    fn ari(&self) -> Value {
        json!(self.status())["acme"]["ari"].clone()
    }

    fn due(&self) -> Timestamp {
        self.status().renewal_time.unwrap().0
    }
}

/// The window of a CA for a certificate of 90 days: around the 60th.
fn usual() -> (Timestamp, Timestamp) {
    (START + DAY * 59, START + DAY * 61)
}

#[test]
fn the_ca_is_asked_after_the_issuance_and_its_answer_is_written_once() {
    let (start, end) = usual();
    let mut world = World::of_ca(&json!({}), Answer::Given(info(start, end)));
    let limit = world.due();
    assert!(world.run(4));
    assert_eq!(
        (world.asked, world.writes.as_slice()),
        (1, &["status".to_owned()][..])
    );
    let ari = world.ari();
    assert_eq!(
        ari["suggestedWindow"],
        json!({ "start": "2026-03-01T00:00:00Z", "end": "2026-03-03T00:00:00Z" })
    );
    assert!(
        ari["lastChecked"].is_string() && ari["nextCheck"].is_string(),
        "{ari}"
    );
    assert_eq!(
        (&ari["lastError"], &ari["explanationURL"]),
        (&Value::Null, &Value::Null)
    );
    assert!((start..limit).contains(&world.due()), "{}", world.due());
    let message = format!(
        "Certificate is up to date and has not expired. It renews at {}, as the CA suggests 2026-03-01T00:00:00Z to \
         2026-03-03T00:00:00Z (EL-1111).",
        world.due()
    );
    assert_eq!(world.message("Ready"), message);
    assert!(world.events.is_empty());

    let (due, written) = (world.due(), world.writes.len());
    world.ask_again();
    assert_eq!(
        (world.asked, world.writes.len()),
        (2, written),
        "nothing new"
    );
    assert_eq!(world.due(), due);
    world.now = due - SignedDuration::from_secs(1);
    world.asking = Asking::Idle;
    world.run(2);
    assert_eq!(world.issuing(), ("", ""));
    world.now = due;
    world.step();
    assert_eq!(world.issuing(), ("True", "Renewing"));
    let scheduled = "Renewing certificate as renewal was scheduled at 2026-03-";
    assert!(world.message("Issuing").starts_with(scheduled));
}

#[test]
fn a_new_certificate_has_nothing_to_do_with_what_was_said_of_the_old_one() {
    let (start, end) = usual();
    let mut world = World::of_ca(&json!({}), Answer::Given(info(start, end)));
    world.run(4);
    world.renew_by_hand();
    world.answer = Signs::Sign;
    world.asking = Asking::Idle;
    world.run(12);
    assert_eq!(world.status().revision, Some(2));
    assert_eq!(world.status().acme, None);
    assert_eq!(
        world.message("Ready"),
        "Certificate is up to date and has not expired"
    );
    world.asking = Asking::On(None);
    world.run(4);
    assert_eq!(world.asked, 2, "at once");
    assert!(world.ari()["suggestedWindow"].is_object());

    // Somebody puts another certificate there: another question, and not the answer for the one before.
    let (key, certificate) = pair(&["app.example.com"], world.now - DAY, DAY * 90);
    *world.entry("tls.key") = key;
    *world.entry("tls.crt") = certificate;
    world.requests.clear();
    world.asking = Asking::Idle;
    world.run(12);
    assert_eq!(
        (world.status().acme, world.status().revision),
        (None, Some(2))
    );
}

#[test]
fn a_window_that_moves_is_drawn_anew() {
    let (start, end) = usual();
    let mut world = World::of_ca(&json!({}), Answer::Given(info(start, end)));
    world.run(4);
    let (start, end) = (START + DAY * 20, START + DAY * 21);
    world.suggests(start, end);
    world.ask_again();
    assert!((start..end).contains(&world.due()), "{}", world.due());
    assert_eq!(world.status().revision, Some(1));
}

#[test]
fn a_window_that_is_over_when_it_is_named_means_at_once() {
    let (start, end) = usual();
    let mut world = World::of_ca(&json!({}), Answer::Given(info(start, end)));
    world.run(4);
    world.now += DAY;
    let revoked = RenewalInfo {
        explanation_url: Some("https://ca.example/incident".into()),
        ..info(world.now - HOUR, world.now - HOUR / 2)
    };
    world.says(Answer::Given(revoked.clone()));
    world.forget_records();
    world.step();
    assert_eq!(world.writes, ["status"]);
    world.step();
    let words = format!(
        "Renewing certificate as the CA asks for it: its window was {:.0} to {:.0}; see https://ca.example/incident \
         (EL-1111).",
        revoked.start, revoked.end
    );
    assert_eq!(
        (world.issuing(), world.message("Issuing")),
        (("True", "Renewing"), words.as_str())
    );
    assert_eq!(
        world.events.first().map(|e| e.message.as_str()),
        Some(words.as_str())
    );
    assert_eq!(
        world.ready(),
        ("True", "Ready"),
        "it is served until there is another"
    );
    let (start, end) = (world.now + DAY * 59, world.now + DAY * 61);
    world.suggests(start, end);
    world.run(12);
    assert_eq!(
        (world.ready(), world.status().revision),
        (("True", "Ready"), Some(2))
    );
    assert!(world.due() > start);
}

/// RFC 9773 §4.2: what matters is that it is over.
#[test]
fn a_window_that_is_over_may_be_of_any_length() {
    let (start, end) = usual();
    let mut world = World::of_ca(&json!({}), Answer::Given(info(start, end)));
    world.run(4);
    world.now += DAY;
    world.suggests(START - DAY * 60, world.now - HOUR);
    world.step();
    world.step();
    assert_eq!(world.issuing(), ("True", "Renewing"));
    assert_eq!(world.ari()["lastError"], Value::Null);
}

#[test]
fn windows_of_the_spec_are_waited_for_unless_the_ca_wants_it_at_once() {
    // Sundays.
    let windows = json!([{ "cron": "0 2 * * 0", "windowDuration": "4h" }]);
    let spec = json!({ "renewal": { "policy": "RenewBefore", "windows": windows } });
    // Thursday and Friday.
    let (start, end) = (at("2026-02-05T00:00:00Z"), at("2026-02-07T00:00:00Z"));
    let mut world = World::of_ca(&spec, Answer::Given(info(start, end)));
    world.run(4);
    let sunday = at("2026-02-08T02:00:00Z");
    assert_eq!(world.due(), sunday);
    // It is over now, but was not when it was named: nothing is urgent.
    world.now = at("2026-02-07T12:00:00Z");
    world.heard.as_mut().unwrap().next = world.now + HOUR * 6;
    let written = world.writes.len();
    world.run(3);
    assert_eq!(
        (world.asked, world.writes.len(), world.issuing()),
        (2, written, ("", ""))
    );
    world.suggests(world.now - HOUR, world.now - HOUR / 2);
    world.pass(HOUR * 7);
    world.step();
    world.step();
    assert_eq!(world.issuing(), ("True", "Renewing"), "on a Saturday");
}

/// As after the switch from cert-manager, which does not ask.
#[test]
fn a_usual_window_that_was_over_before_the_ca_was_asked_first_counts_for_nothing() {
    let windows = json!([{ "cron": "0 2 * * 0", "windowDuration": "4h" }]);
    let spec = json!({ "renewBefore": "360h", "renewal": { "policy": "RenewBefore", "windows": windows } });
    let (start, end) = usual();
    let mut world = World::of_ca(&spec, Answer::Given(info(start, end)));
    let due = world.due();
    world.asking = Asking::Idle;
    world.pass(DAY * 62);
    world.run(4);
    world.forget_records();
    world.asking = Asking::On(None);
    world.suggests(start, end);
    world.run(12);
    assert_eq!(
        (world.asked, world.writes.as_slice()),
        (1, &["status".to_owned()][..])
    );
    assert_eq!((world.due(), world.issuing()), (due, ("", "")));
    assert_eq!(
        world.message("Ready"),
        "Certificate is up to date and has not expired"
    );
    assert_eq!(
        (&world.ari()["suggestedWindow"], &world.ari()["lastError"]),
        (&Value::Null, &Value::Null)
    );
    assert!(world.ari()["lastChecked"].is_string(), "{}", world.ari());
    assert!(world.events.is_empty());
    world.ask_again();
    world.ask_again();
    assert_eq!(
        (world.due(), world.issuing(), world.writes.len()),
        (due, ("", ""), 1)
    );
    // Now it is revoked.
    world.answer = Signs::Nothing;
    world.suggests(world.now + HOUR * 5, world.now + HOUR * 11 / 2);
    world.ask_again();
    assert_eq!(world.issuing(), ("True", "Renewing"));
    assert!(world.message("Issuing").contains("as the CA asks for it"));
}

/// The windows that CAs name for certificates that are revoked.
#[test]
fn a_first_answer_means_at_once_if_it_is_no_usual_one() {
    let now = START + DAY * 70;
    let minutes = SignedDuration::from_mins(30);
    let second = SignedDuration::from_secs(1);
    let why = Some("https://ca.example/incident");
    for (name, start, end, why, urgent) in [
        ("Boulder", now - HOUR, now - minutes, None, true),
        ("Pebble", now - HOUR, now - HOUR + second, None, true),
        (
            "with a reason",
            START + DAY * 59,
            START + DAY * 61,
            why,
            true,
        ),
        ("before it began", START - DAY * 9, START - DAY, None, true),
        ("usual, a moment ago", now - DAY, now - second, None, false),
        (
            "usual, long ago",
            START + DAY * 59,
            START + DAY * 61,
            None,
            false,
        ),
    ] {
        let mut world = World::of_ca(&json!({ "renewBefore": "360h" }), Answer::Later);
        world.asking = Asking::Idle;
        world.pass(now.duration_since(world.now));
        world.run(4);
        world.asking = Asking::On(None);
        world.answer = Signs::Nothing;
        world.says(Answer::Given(RenewalInfo {
            explanation_url: why.map(Into::into),
            ..info(start, end)
        }));
        world.run(4);
        assert_eq!(world.asked, 1, "{name}");
        assert_eq!(world.issuing().0 == "True", urgent, "{name}");
    }
}

#[test]
fn a_window_that_is_waited_out_does_not_become_urgent_by_what_happens_to_the_answers() {
    let windows = json!([{ "cron": "0 2 * * 0", "windowDuration": "4h" }]);
    let spec = json!({ "renewal": { "policy": "RenewBefore", "windows": windows } });
    // Thursday to Friday; the renewal is on Sunday.
    let (start, end) = (at("2026-02-05T00:00:00Z"), at("2026-02-07T00:00:00Z"));
    let explained = RenewalInfo {
        explanation_url: Some("https://ca.example/load".into()),
        ..info(start, end)
    };
    for answers in [
        vec![
            Answer::Failed("404".into(), true),
            Answer::Given(info(start, end)),
        ],
        vec![Answer::Given(explained)],
    ] {
        let mut world = World::of_ca(&spec, Answer::Given(info(start, end)));
        world.run(4);
        let sunday = at("2026-02-08T02:00:00Z");
        assert_eq!(world.due(), sunday);
        world.heard.as_mut().unwrap().next = end + HOUR;
        for answer in answers.clone() {
            world.heard.as_mut().unwrap().answer = answer;
            world.ask_again();
        }
        assert_eq!(
            (world.due(), world.issuing()),
            (sunday, ("", "")),
            "{answers:?}"
        );
        assert_eq!(world.ari()["lastError"], Value::Null);
    }
}

#[test]
fn who_disabled_renewals_has_none_and_nobody_asks() {
    let disabled = json!({ "renewal": { "policy": "Disabled" } });
    let mut world = World::of_ca(&disabled, Answer::Given(info(START, START + HOUR)));
    world.pass(HOUR * 2);
    world.run(4);
    assert_eq!(
        (world.asked, world.issuing(), world.status().revision),
        (0, ("", ""), Some(1))
    );
}

#[test]
fn nobody_asks_where_it_makes_no_sense() {
    type Change = fn(&mut World);
    let cases: [(&str, Change); 5] = [
        ("gate or issuer off", |world| world.asking = Asking::Off),
        ("issuer not ready", |world| world.asking = Asking::Idle),
        ("expired", |world| {
            world.answer = Signs::Nothing;
            world.now = START + DAY * 91;
        }),
        ("renewal under way", |world| {
            world.answer = Signs::Nothing;
            world.renew_by_hand();
        }),
        ("of no issuer", |world| {
            world
                .annotations()
                .retain(|key, _| !key.starts_with("cert-manager.io/issuer"));
        }),
    ];
    for (why, change) in cases {
        let (start, end) = usual();
        let mut world = World::of_ca(&json!({}), Answer::Given(info(start, end)));
        change(&mut world);
        world.run(6);
        assert_eq!(world.asked, 0, "{why}");
    }
}

#[test]
fn what_was_said_goes_when_the_ca_is_not_to_be_asked_any_more() {
    let (start, end) = usual();
    let mut world = World::of_ca(&json!({}), Answer::Given(info(start, end)));
    let limit = world.due();
    world.run(4);
    assert_ne!(world.due(), limit);
    world.asking = Asking::Idle;
    world.forget_records();
    world.run(4);
    assert!(
        world.writes.is_empty(),
        "an issuer that is gone for a while"
    );
    world.asking = Asking::Off;
    world.run(4);
    assert_eq!((world.status().acme, world.due()), (None, limit));
    assert_eq!(world.writes, ["status"]);
}

#[test]
fn a_restart_asks_again_when_the_status_says_so() {
    let (start, end) = usual();
    let mut world = World::of_ca(&json!({}), Answer::Given(info(start, end)));
    world.run(4);
    let next = world.heard.clone().unwrap().next;
    world.forget_polls();
    world.now = next - HOUR;
    world.run(3);
    assert_eq!(world.asked, 1);
    assert!(
        world
            .wake
            .is_some_and(|wake| SignedDuration::try_from(wake).unwrap() <= HOUR)
    );
    world.now = next;
    world.heard.as_mut().unwrap().next = next + HOUR * 6;
    world.run(3);
    assert_eq!(world.asked, 2);
}

#[test]
fn failures_that_pass_leave_no_trace_and_others_are_written_once() {
    let mut world = World::of_ca(&json!({}), Answer::Failed("reset by peer".into(), false));
    world.run(4);
    assert_eq!(
        (world.asked, world.writes.len(), world.status().acme),
        (1, 0, None)
    );

    let limit = world.due();
    world.says(Answer::Failed("404: unknown certificate".into(), true));
    world.ask_again();
    world.ask_again();
    assert_eq!(world.writes, ["status"]);
    assert_eq!(world.ari()["lastError"], "404: unknown certificate");
    assert_eq!(world.event_reasons(), ["ARIError"]);
    assert_eq!(world.due(), limit);
    assert_eq!(
        world.message("Ready"),
        "Certificate is up to date and has not expired"
    );

    let (start, end) = usual();
    world.suggests(start, end);
    world.ask_again();
    assert_eq!(world.ari()["lastError"], Value::Null);
    let due = world.due();
    assert!(due < limit);

    world.says(Answer::Failed("not a valid renewalInfo".into(), true));
    world.ask_again();
    assert_eq!(world.ari()["lastError"], "not a valid renewalInfo");
    assert_eq!(world.due(), due, "a window that is known still counts");
    assert_eq!(world.event_reasons(), ["ARIError", "ARIError"]);
}

#[test]
fn a_window_as_long_as_half_a_life_says_nothing() {
    let mut world = World::of_ca(&json!({}), Answer::Given(info(START, START + DAY * 46)));
    let limit = world.due();
    world.run(4);
    world.ask_again();
    assert_eq!((world.due(), world.issuing()), (limit, ("", "")));
    assert_eq!(
        world.ari()["lastError"],
        "the suggested window from 2026-01-01T00:00:00Z to 2026-02-16T00:00:00Z is longer than half of the \
         certificate's lifetime"
    );
    assert_eq!(world.ari()["suggestedWindow"], Value::Null);
    assert_eq!(world.writes, ["status"]);
}

#[test]
fn that_it_was_asked_is_written_once_a_day() {
    let (start, end) = usual();
    let mut world = World::of_ca(&json!({}), Answer::Given(info(start, end)));
    world.run(4);
    world.forget_records();
    let mut writes = vec![];
    for _ in 0..8 {
        world.ask_again();
        writes.push(world.writes.len());
    }
    assert_eq!(writes, [0, 0, 0, 1, 1, 1, 1, 2]);
}

#[test]
fn a_ca_that_always_wants_it_at_once_is_held_by_the_budget() {
    let mut world = World::of_ca(&json!({}), Answer::Given(info(START - HOUR, START)));
    let end = world.now + HOUR;
    while world.now < end {
        world.says(Answer::Given(info(world.now - HOUR, world.now - HOUR / 2)));
        world.run(12);
        world.pass(SignedDuration::from_secs(10));
    }
    let revision = world.status().revision.unwrap();
    assert!((2..=7).contains(&revision), "{revision}");
}

fn of(spec: &Value) -> CertificateSpec {
    let mut whole = json!({ "secretName": "a", "issuerRef": { "name": "a" } });
    json_patch::merge(&mut whole, spec);
    serde_json::from_value(whole).unwrap()
}

fn suggestion(id: &str, start: Timestamp, end: Timestamp) -> Suggestion<'_> {
    Suggestion {
        id,
        start,
        end,
        heard: START,
        explanation: None,
    }
}

#[test]
fn the_ca_can_bring_a_renewal_forward_and_not_put_it_off() {
    let day = |n: i32| START + DAY * n;
    for (spec, start, end, by, earliest, latest) in [
        (json!({}), 59, 61, By::Window, 59, 60),
        (json!({}), 10, 12, By::Window, 10, 12),
        (json!({}), 60, 62, By::Spec, 60, 60),
        (json!({}), 80, 85, By::Spec, 60, 60),
        (json!({}), 200, 201, By::Spec, 60, 60),
        (json!({ "renewBefore": "720h" }), 59, 61, By::Window, 59, 60),
        (json!({ "renewBefore": "1200h" }), 59, 61, By::Spec, 40, 40),
        // Near the end nothing is put off either.
        (json!({ "renewBefore": "24h" }), 88, 90, By::Window, 88, 89),
        (
            json!({ "renewBeforePercentage": 1 }),
            59,
            61,
            By::Window,
            59,
            61,
        ),
    ] {
        let given = suggestion("key.serial", day(start), day(end));
        let found = renewal(&of(&spec), START, day(90), Some(given)).unwrap();
        assert_eq!(found.by, by, "{spec} {start}");
        assert!(
            found.at >= day(earliest) && found.at <= day(latest),
            "{spec} {start}: {}",
            found.at
        );
    }
}

#[test]
fn a_fleet_is_spread_over_the_window() {
    let (start, end) = usual();
    let mut tenths = [0; 10];
    for n in 0..10_000 {
        let id = format!("aYhba4dGQEHhs3uEe6CuLN4ByNQ.{n}");
        let at = suggestion(&id, start, end).drawn(end);
        let tenth = at.duration_since(start).as_secs() * 10 / end.duration_since(start).as_secs();
        tenths[usize::try_from(tenth).unwrap()] += 1;
    }
    assert!(tenths.iter().all(|n| (850..1150).contains(n)), "{tenths:?}");
}

proptest! {
    /// In the window and before the limit, in whole seconds; the same each time.
    #[test]
    fn a_drawn_point_is_in_its_window(
        id in "[A-Za-z0-9_-]{1,28}\\.[A-Za-z0-9_-]{1,28}",
        start in -1_000_000_000_i64..4_000_000_000,
        length in 1_i64..4_000_000_000,
        limit in -1_000_000_000_i64..8_000_000_000,
    ) {
        let time = |second| Timestamp::from_second(second).unwrap();
        let given = suggestion(&id, time(start), time(start + length));
        let drawn = given.drawn(time(limit));
        prop_assert!(drawn >= given.start && drawn < given.end);
        prop_assert!(drawn < time(limit) || limit <= start);
        prop_assert_eq!(drawn.subsec_nanosecond(), 0);
        prop_assert_eq!(drawn, given.drawn(time(limit)));
    }
}
