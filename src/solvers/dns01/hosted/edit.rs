//! One value added to what is at a name, or taken away from it, whatever the provider's way to say so.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use super::Hosted;
use super::tokens::Identity;
use crate::solvers::dns01::{Class, Error, Record};

/// How long to wait before each look: others write at the same name, at most a few, and each is done at once.
const PAUSES: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_millis(600),
    Duration::from_millis(1200),
    Duration::from_millis(2400),
];

/// What becomes of the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Add,
    Remove,
}

/// What is at a name, of type TXT.
#[derive(Clone, Debug, Default)]
pub(super) struct Set<T> {
    /// As the provider writes them: what is a stranger's goes back as it came.
    pub(super) values: Vec<String>,
    /// What the provider wants to have with a change, such as an entity tag.
    pub(super) state: T,
}

/// What became of a change.
pub(super) enum Written {
    Done,
    /// The set is not what was read any more, or nobody knows: look again.
    LookAgain,
    /// Somebody else may have been first. If it is refused again after another look, this is why.
    Refused(Error),
}

/// What a provider has at a name that may be a zone.
pub(super) enum Zoned {
    Here(String),
    Absent,
    /// The credentials may not know.
    Denied(Error),
}

/// A provider's DNS zones.
pub(super) trait Zones: Sync {
    /// What else than its values is known of a set.
    type State: Send + Sync;
    /// As messages have it.
    const NAME: &'static str;

    /// What all providers share.
    fn hosted(&self) -> &Hosted;

    /// Whose zones they are.
    fn account(&self) -> Identity;

    /// The public zone of exactly this name, without a final dot, as calls name it.
    async fn zone(&self, name: &str) -> Result<Zoned, Error>;

    /// The values at the record's name.
    async fn read(&self, zone: &str, record: &Record) -> Result<Set<Self::State>, Error>;

    /// Change the set that was read, unless somebody else has changed it since.
    async fn write(
        &self,
        zone: &str,
        record: &Record,
        before: &Set<Self::State>,
        change: Change,
    ) -> Result<Written, Error>;
}

/// Providers count calls, some to a few a second: where a zone is is not asked for each value.
const ZONE_KNOWN: SignedDuration = SignedDuration::from_mins(5);

/// The zones that were found lately, by account and name.
#[derive(Default)]
pub(super) struct Known(Mutex<HashMap<(Identity, String), (String, Timestamp)>>);

impl Known {
    fn find(&self, seen: &(Identity, String), now: Timestamp) -> Option<String> {
        let known = self.0.lock();
        let (zone, until) = known.get(seen)?;
        (now < *until).then(|| zone.clone())
    }

    fn keep(&self, seen: (Identity, String), zone: &str, now: Timestamp) {
        let until = now.saturating_add(ZONE_KNOWN).unwrap_or(Timestamp::MAX);
        let mut known = self.0.lock();
        known.retain(|_, (_, until)| now < *until);
        known.insert(seen, (zone.to_owned(), until));
    }
}

/// The names that are being written, one value after the other: not every provider refuses a write over another's, and a
/// list that is read page by page moves while others delete from it.
#[derive(Default)]
pub(super) struct Names(Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>);

impl Names {
    fn of(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut names = self.0.lock();
        names.retain(|_, turns| Arc::strong_count(turns) > 1);
        Arc::clone(names.entry(name.to_owned()).or_default())
    }
}

/// Accounts that their service wants to be left alone, until when, and its words.
#[derive(Default)]
pub(super) struct Resting(Mutex<HashMap<Identity, (Timestamp, Error)>>);

pub(super) async fn present<Z: Zones>(zones: &Z, record: &Record) -> Result<(), Error> {
    heard(zones, add(zones, record).await)
}

pub(super) async fn clean_up<Z: Zones>(zones: &Z, record: &Record) -> Result<(), Error> {
    heard(zones, remove(zones, record).await)
}

/// What one call has been told is for all calls of the account: they share what they may ask for in a while.
fn heard<Z: Zones>(zones: &Z, done: Result<(), Error>) -> Result<(), Error> {
    if let Err(error) = &done
        && let Class::RateLimited { until } = error.class
    {
        let now = zones.hosted().now();
        let mut resting = zones.hosted().resting.0.lock();
        resting.retain(|_, (until, _)| now < *until);
        resting.insert(zones.account(), (until, error.clone()));
    }
    done
}

fn may_be_asked<Z: Zones>(zones: &Z) -> Result<(), Error> {
    let resting = zones.hosted().resting.0.lock();
    match resting.get(&zones.account()) {
        Some((until, error)) if zones.hosted().now() < *until => Err(error.clone()),
        _ => Ok(()),
    }
}

async fn add<Z: Zones>(zones: &Z, record: &Record) -> Result<(), Error> {
    let Some(zone) = find(zones, record).await? else {
        return Err(Error::permanent(format!(
            "{} has no zone for {}: create it there, or correct the solver's account",
            Z::NAME,
            name(record)
        )));
    };
    edit(zones, &zone, record, Change::Add).await
}

async fn remove<Z: Zones>(zones: &Z, record: &Record) -> Result<(), Error> {
    let Some(zone) = find(zones, record).await? else {
        return Ok(());
    };
    edit(zones, &zone, record, Change::Remove).await
}

/// The zone that the SOA record names, if the account has it, else the longest that it has: a zone may be hidden from
/// the resolvers that were asked.
async fn find<Z: Zones>(zones: &Z, record: &Record) -> Result<Option<String>, Error> {
    may_be_asked(zones)?;
    let mut denied = None;
    for candidate in candidates(record) {
        let seen = (zones.account(), candidate.to_owned());
        let known = &zones.hosted().zones;
        let now = zones.hosted().now();
        if let Some(zone) = known.find(&seen, now) {
            return Ok(Some(zone));
        }
        match zones.zone(candidate).await? {
            Zoned::Here(zone) => {
                known.keep(seen, &zone, now);
                return Ok(Some(zone));
            }
            Zoned::Absent => (),
            Zoned::Denied(error) => denied = denied.or(Some(error)),
        }
    }
    denied.map_or(Ok(None), Err)
}

/// Without final dots.
fn candidates(record: &Record) -> Vec<&str> {
    let name = name(record);
    let first = record.zone.trim_end_matches('.');
    let mut found: Vec<_> = Some(first)
        .filter(|zone| is_below(name, zone))
        .into_iter()
        .collect();
    let mut rest = Some(name);
    while let Some(zone) = rest {
        // Nobody has a top-level domain there.
        if zone != first && zone.contains('.') {
            found.push(zone);
        }
        rest = zone.split_once('.').map(|(_, parent)| parent);
    }
    found
}

/// Whether a name is a zone's, or below it.
pub(super) fn is_below(name: &str, zone: &str) -> bool {
    !zone.is_empty()
        && name
            .strip_suffix(zone)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// The record's name without a final dot.
pub(super) fn name(record: &Record) -> &str {
    record.name.trim_end_matches('.')
}

/// A name relative to a zone, both without final dots; `None` for the zone itself.
pub(super) fn relative<'a>(name: &'a str, zone: &str) -> Option<&'a str> {
    name.strip_suffix(zone)?.strip_suffix('.')
}

async fn edit<Z: Zones>(
    zones: &Z,
    zone: &str,
    record: &Record,
    change: Change,
) -> Result<(), Error> {
    let turns = zones.hosted().names.of(name(record));
    let mut refused = false;
    for pause in PAUSES {
        tokio::time::sleep(pause).await;
        let _turn = turns.lock().await;
        may_be_asked(zones)?;
        let set = zones.read(zone, record).await?;
        let there = set.values.iter().any(|raw| is(raw, &record.value));
        if there == (change == Change::Add) {
            return Ok(());
        }
        match zones.write(zone, record, &set, change).await? {
            Written::Done => return Ok(()),
            Written::Refused(error) if refused => return Err(error),
            Written::Refused(_) => refused = true,
            Written::LookAgain => (),
        }
    }
    Err(Error::transient(format!(
        "{}: others keep changing {}",
        Z::NAME,
        name(record)
    )))
}

/// The values of a set after a change.
pub(super) fn after<T>(before: &Set<T>, record: &Record, change: Change) -> Vec<String> {
    let mut values = before.values.clone();
    match change {
        Change::Add => values.push(quote(&record.value)),
        Change::Remove => values.retain(|raw| !is(raw, &record.value)),
    }
    values
}

/// A value as zone files have it. Those of challenges are base64url: nothing in them is escaped.
pub(super) fn quote(value: &str) -> String {
    format!("\"{value}\"")
}

/// Whether what a provider writes, with quotes or without, is this value.
pub(super) fn is(raw: &str, value: &str) -> bool {
    let raw = raw.trim();
    let bare = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"'));
    bare.unwrap_or(raw) == value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str, zone: &str) -> Record {
        Record {
            domain: String::new(),
            zone: zone.into(),
            name: name.into(),
            value: "v".into(),
        }
    }

    #[test]
    fn the_zone_of_the_soa_record_comes_first_then_the_longest() {
        for (zone, expected) in [
            (
                "example.com.",
                vec![
                    "example.com",
                    "_acme-challenge.a.example.com",
                    "a.example.com",
                ],
            ),
            // Of a resolver that knows nothing of it, or of a name that a CNAME has led elsewhere.
            (
                "com.",
                vec![
                    "com",
                    "_acme-challenge.a.example.com",
                    "a.example.com",
                    "example.com",
                ],
            ),
            (
                "other.net.",
                vec![
                    "_acme-challenge.a.example.com",
                    "a.example.com",
                    "example.com",
                ],
            ),
            (
                "ple.com.",
                vec![
                    "_acme-challenge.a.example.com",
                    "a.example.com",
                    "example.com",
                ],
            ),
        ] {
            let record = record("_acme-challenge.a.example.com.", zone);
            assert_eq!(candidates(&record), expected, "{zone}");
        }
    }

    #[test]
    fn only_the_value_itself_goes() {
        let before = Set {
            values: ["\"v\"", "\"vv\"", "\"v\" \"w\"", "v ", "\"V\""]
                .map(String::from)
                .to_vec(),
            state: (),
        };
        let left = after(&before, &record("a.", "."), Change::Remove);
        assert_eq!(left, ["\"vv\"", "\"v\" \"w\"", "\"V\""]);
        let more = after(&before, &record("a.", "."), Change::Add);
        assert_eq!(more.len(), 6);
        assert_eq!(more.last().map(String::as_str), Some("\"v\""));
    }
}
