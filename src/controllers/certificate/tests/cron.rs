//! Cron expressions against cert-manager's parser, and against a look at every minute.

use jiff::tz::TimeZoneDatabase;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use crate::controllers::certificate::cron::Schedule;

/// Expression, zone, time, and the next start from then on, as robfig/cron of cert-manager 1.21.1 has it.
const TIMES: &str = include_str!("../../../../tests/fixtures/cron-times.txt");

#[test]
fn starts_are_those_of_cert_manager() {
    let mut seen = 0;
    for line in TIMES.lines() {
        let [text, zone, from, wanted] = line.split('|').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let zone = TimeZoneDatabase::bundled().get(zone).unwrap();
        let found = Schedule::parse(text);
        if wanted.starts_with("error") {
            assert!(found.is_err(), "{line}: {found:?}");
        } else {
            let found = found.unwrap().next(from.parse().unwrap(), &zone);
            let found = found.map_or("never".to_owned(), |time| time.to_string());
            assert_eq!(found, wanted, "{line}");
        }
        seen += 1;
    }
    assert_eq!(seen, 232);
}

#[test]
fn a_fault_is_told_by_field_and_value() {
    for (text, words) in [
        ("0 25 * * *", vec!["hours", "\"25\"", "0 to 23"]),
        ("0 0 * * mon,7", vec!["days of the week", "\"7\"", "0 to 6"]),
        ("0 0 5-1 * *", vec!["days of the month", "\"5-1\""]),
        ("*/0 * * * *", vec!["minutes", "step"]),
        (", * * * *", vec!["minutes", "no value"]),
        ("* * * *", vec!["4 fields"]),
        ("@fortnightly", vec!["@weekly"]),
    ] {
        let problem = Schedule::parse(text).unwrap_err();
        for word in words {
            assert!(problem.contains(word), "{text}: {problem}");
        }
    }
}

/// Values of a field, and the field's text.
fn field(min: i8, max: i8) -> impl Strategy<Value = (Vec<i8>, String)> {
    prop_oneof![
        2 => Just(((min..=max).collect(), "*".to_owned())),
        1 => (min..=max).prop_map(|v| (vec![v], v.to_string())),
        1 => (min..=max, min..=max).prop_map(|(a, b)| {
            let (a, b) = (a.min(b), a.max(b));
            ((a..=b).collect(), format!("{a}-{b}"))
        }),
        1 => (min..=max, 2..9_i8).prop_map(move |(a, step)| {
            let values = (a..=max).step_by(usize::try_from(step).unwrap());
            (values.collect(), format!("{a}/{step}"))
        }),
        1 => (min..=max, min..=max).prop_map(|(a, b)| (vec![a, b], format!("{a},{b}"))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_next_start_is_the_first_minute_that_matches(
        minutes in field(0, 59),
        hours in field(0, 23),
        days in field(1, 31),
        months in field(1, 12),
        weekdays in field(0, 6),
        // A year with both changes of the clock.
        from in 1_767_225_600_i64..1_798_761_600,
        zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"]),
    ) {
        let text = [&minutes, &hours, &days, &months, &weekdays].map(|f| f.1.as_str()).join(" ");
        let schedule = Schedule::parse(&text).unwrap();
        let zone = TimeZoneDatabase::bundled().get(zone).unwrap();
        let from = Timestamp::from_second(from).unwrap();
        let first = Timestamp::from_second((from.as_second() + 59).div_euclid(60) * 60).unwrap();
        let found = schedule.next(from, &zone);
        // Four days by the minute.
        let near = (0..4 * 1440).map(|minute| first + SignedDuration::from_mins(minute));
        let mut near = near.filter(|time| {
            let local = time.to_zoned(zone.clone());
            let day = days.0.contains(&local.day());
            let weekday = weekdays.0.contains(&local.weekday().to_sunday_zero_offset());
            let either = days.1 != "*" && weekdays.1 != "*";
            minutes.0.contains(&local.minute())
                && hours.0.contains(&local.hour())
                && months.0.contains(&local.month())
                && if either { day || weekday } else { day && weekday }
        });
        match near.next() {
            Some(wanted) => prop_assert_eq!(found, Some(wanted), "{}", text),
            None => prop_assert!(found.is_none_or(|f| f >= first + SignedDuration::from_hours(96)), "{}", text),
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,40}", from in any::<i64>()) {
        check(&text, from);
    }

    #[test]
    fn any_text_of_the_grammar_is_read_or_refused(
        text in "(([0-9]{1,3}|[*?]|mon|feb)([-/,]([0-9]{1,2}|[*?]|)){0,2} ){4,5}[0-9*]{0,2}",
        from in any::<i64>(),
    ) {
        check(&text, from);
    }
}

/// Whatever it says, an answer comes, and lies ahead.
fn check(text: &str, from: i64) {
    let Ok(schedule) = Schedule::parse(text) else {
        return;
    };
    let zone = TimeZoneDatabase::bundled()
        .get("Australia/Lord_Howe")
        .unwrap();
    let from = Timestamp::from_second(from)
        .unwrap_or_else(|_| Timestamp::from_second(from.rem_euclid(1 << 33)).unwrap());
    for from in [from, Timestamp::MIN, Timestamp::MAX] {
        if let Some(next) = schedule.next(from, &zone) {
            assert!(next >= from, "{text} {from}");
        }
    }
}
