//! When a renewal window opens: five cron fields or a descriptor, as cert-manager's parser (robfig/cron)
//! reads them. docs/adr/0010 says why this is no library.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::api::duration::parse_go_duration;

/// Years after which a time that never comes, as a 30th of February, is no longer looked for.
const HORIZON: i16 = 5;

/// Recurring times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schedule {
    /// `@every` says no time of the day: any will do.
    Any,
    /// Each minute whose local time matches.
    At(Fields),
}

/// A bit for each value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// One of the two fields for days is a star, so that the other decides; else one that matches is enough.
    both_days: bool,
}

/// What a field may say.
struct Range {
    name: &'static str,
    min: u8,
    max: u8,
    /// Of the values from `min` on.
    names: &'static [&'static str],
}

const MINUTES: Range = Range {
    name: "minutes",
    min: 0,
    max: 59,
    names: &[],
};
const HOURS: Range = Range {
    name: "hours",
    max: 23,
    ..MINUTES
};
const DAYS: Range = Range {
    name: "days of the month",
    min: 1,
    max: 31,
    names: &[],
};
const MONTHS: Range = Range {
    name: "months",
    min: 1,
    max: 12,
    names: &[
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ],
};
const WEEKDAYS: Range = Range {
    name: "days of the week",
    min: 0,
    max: 6,
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
};

const DESCRIPTORS: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

impl Schedule {
    /// Reads five fields or a descriptor. An error says what is wrong, and does not repeat the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some(interval) = text.strip_prefix("@every ") {
            let parsed = parse_go_duration(interval);
            return parsed.map(|_| Self::Any).map_err(|e| e.to_string());
        }
        let fields = match DESCRIPTORS.iter().find(|(name, _)| *name == text) {
            Some((_, fields)) => fields,
            None if text.starts_with('@') => {
                let known = DESCRIPTORS.map(|(name, _)| name).join(", ");
                return Err(format!("descriptors are {known} and @every"));
            }
            None => text,
        };
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields[..] else {
            return Err(format!(
                "it has {} fields; minute, hour, day of the month, month and day of the week are needed",
                fields.len()
            ));
        };
        let (days, any_day) = DAYS.read(days)?;
        let (weekdays, any_weekday) = WEEKDAYS.read(weekdays)?;
        Ok(Self::At(Fields {
            minutes: MINUTES.read(minutes)?.0,
            hours: HOURS.read(hours)?.0,
            days,
            months: MONTHS.read(months)?.0,
            weekdays,
            both_days: any_day || any_weekday,
        }))
    }

    /// The first time from `from` on, in whole minutes. A local time that the change to summer time leaves
    /// out does not come that day, one that is there twice comes twice.
    pub fn next(&self, from: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let Self::At(fields) = self else {
            return Some(from);
        };
        let mut at = whole_minute(from)?;
        let last_year = at.to_zoned(zone.clone()).year().saturating_add(HORIZON);
        loop {
            let local = at.to_zoned(zone.clone());
            if local.year() > last_year {
                return None;
            }
            at = if !fields.has_day(local.date()) {
                local.tomorrow().ok()?.start_of_day().ok()?.timestamp()
            } else if !has(fields.hours, local.hour()) {
                let left = 60 - i64::from(local.minute());
                at.checked_add(SignedDuration::from_mins(left)).ok()?
            } else if !has(fields.minutes, local.minute()) {
                at.checked_add(SignedDuration::from_mins(1)).ok()?
            } else {
                return Some(at);
            };
        }
    }
}

fn whole_minute(time: Timestamp) -> Option<Timestamp> {
    let seconds = time.as_second() + i64::from(time.subsec_nanosecond() > 0);
    let minutes = seconds.checked_add(59)?.div_euclid(60);
    Timestamp::from_second(minutes * 60).ok()
}

fn has(bits: u64, value: i8) -> bool {
    u32::try_from(value).is_ok_and(|value| bits >> value & 1 == 1)
}

impl Fields {
    fn has_day(&self, date: Date) -> bool {
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        let matches = if self.both_days {
            day && weekday
        } else {
            day || weekday
        };
        matches && has(self.months, date.month())
    }
}

impl Range {
    /// The values of a list, and whether a star is among them.
    fn read(&self, list: &str) -> Result<(u64, bool), String> {
        let (mut bits, mut star) = (0, false);
        for part in list.split(',').filter(|part| !part.is_empty()) {
            let (more, is_star) = self.read_part(part).map_err(|problem| {
                let part: String = part.chars().take(40).collect();
                format!("{}: \"{part}\" {problem}", self.name)
            })?;
            bits |= more;
            star |= is_star;
        }
        if bits == 0 {
            return Err(format!("{}: no value", self.name));
        }
        Ok((bits, star))
    }

    fn read_part(&self, part: &str) -> Result<(u64, bool), String> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (part, None),
        };
        let (low, high) = match range.split_once('-') {
            Some((low, high)) => (low, Some(high)),
            None => (range, None),
        };
        let star = low == "*" || low == "?";
        let first = if star { self.min } else { self.value(low)? };
        let last = match high {
            _ if star => self.max,
            Some(high) => self.value(high)?,
            // N/step is N-max/step.
            None if step.is_some() => self.max,
            None => first,
        };
        if first > last {
            return Err("ends before it begins".into());
        }
        let step = step.map_or(Ok(1), |step| match step.parse::<u8>() {
            Ok(0) | Err(_) => Err("has a step that is no positive number"),
            Ok(step) => Ok(step),
        })?;
        let values = (first..=last).step_by(usize::from(step));
        let bits = values.fold(0, |bits, value| bits | 1 << value);
        Ok((bits, star && step == 1))
    }

    fn value(&self, text: &str) -> Result<u8, String> {
        let name = text.to_ascii_lowercase();
        let named = (self.min..).zip(self.names).find(|(_, n)| **n == name);
        let value = named.map_or_else(|| text.parse().ok(), |(value, _)| Some(value));
        value
            .filter(|value| (self.min..=self.max).contains(value))
            .ok_or_else(|| format!("is not from {} to {}", self.min, self.max))
    }
}
