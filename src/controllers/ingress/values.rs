//! How the value of one annotation is read. An error says what is wrong with the value and what
//! to write instead.

use std::net::IpAddr;

use jiff::SignedDuration;
use serde::Deserialize;

use crate::api::certificate::CertificateSecretTemplate;
use crate::api::duration::{format_go_duration, parse_go_duration};
use crate::api::labels;
use crate::pki::usage_names;

/// A value, or what is wrong with it.
pub(super) type Value<T> = Result<T, String>;

/// A string as the error messages show it: short, and on one line.
pub(super) fn shown(value: &str) -> String {
    const LONGEST: usize = 64;
    let mut short: String = value.chars().take(LONGEST).collect();
    if short.len() < value.len() {
        short.push('…');
    }
    format!("{short:?}")
}

/// A boolean as Go's `strconv.ParseBool` reads it; anything else is no.
pub(super) fn is_true(value: &str) -> bool {
    matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True")
}

/// A comma separated list; blanks around an item and empty items do not count.
pub(super) fn list(value: &str) -> Vec<String> {
    value
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(str::to_owned)
        .collect()
}

/// A common name (X.520 upper bound).
pub(super) fn common_name(value: &str) -> Value<String> {
    match value.len() {
        0..=64 => Ok(value.to_owned()),
        bytes => Err(format!(
            "{} has {bytes} bytes; a common name has at most 64",
            shown(value)
        )),
    }
}

/// A list of IP addresses.
pub(super) fn addresses(value: &str) -> Value<Vec<String>> {
    let items = list(value);
    match items.iter().find(|item| item.parse::<IpAddr>().is_err()) {
        Some(bad) => Err(format!(
            "{} is no IP address; write addresses such as 192.0.2.7,2001:db8::7",
            shown(bad)
        )),
        None => Ok(items),
    }
}

/// A list of e-mail addresses without display names.
pub(super) fn mailboxes(value: &str) -> Value<Vec<String>> {
    let items = list(value);
    match items.iter().find(|item| !is_mailbox(item)) {
        Some(bad) => Err(format!(
            "{} is no e-mail address; write bare addresses such as ops@example.com",
            shown(bad)
        )),
        None => Ok(items),
    }
}

/// Two dot-atoms (RFC 5322 §3.4.1), the only form that parses and prints back as itself.
fn is_mailbox(text: &str) -> bool {
    let is_atom = |atom: &str| {
        let special = |c: char| "!#$%&'*+-/=?^_`{|}~".contains(c);
        !atom.is_empty()
            && atom
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || special(c))
    };
    let is_dot_atom = |part: &str| part.split('.').all(is_atom);
    text.split_once('@')
        .is_some_and(|(local, domain)| is_dot_atom(local) && is_dot_atom(domain))
}

/// One CSV record (RFC 4180), with quoting, as Go's `encoding/csv` reads it; empty for no text.
pub(super) fn csv(value: &str) -> Value<Vec<String>> {
    let text = value.trim_matches(['\r', '\n']);
    if text.is_empty() {
        return Ok(vec![]);
    }
    let mut fields = vec![];
    let mut rest = text;
    loop {
        let (field, after) = csv_field(rest)?;
        fields.push(field);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(fields),
            None => {
                return Err(format!(
                    "{} has more than one line; write one list",
                    shown(value)
                ));
            }
        }
    }
}

/// Reads one field off the front; what follows starts with a comma or a line break, or is empty.
fn csv_field(text: &str) -> Value<(String, &str)> {
    let Some(mut rest) = text.strip_prefix('"') else {
        let (field, after) = text.split_at(text.find([',', '\r', '\n']).unwrap_or(text.len()));
        if field.contains('"') {
            return Err(format!(
                "{} has a quote inside; put the whole item in quotes, and write \"\" for a quote",
                shown(field)
            ));
        }
        return Ok((field.to_owned(), after));
    };
    let mut field = String::new();
    loop {
        let Some((part, after)) = rest.split_once('"') else {
            return Err(format!("{} has no closing quote", shown(text)));
        };
        field.push_str(part);
        match after.strip_prefix('"') {
            Some(next) => {
                field.push('"');
                rest = next;
            }
            None if after.is_empty() || after.starts_with([',', '\r', '\n']) => {
                return Ok((field, after));
            }
            None => {
                return Err(format!(
                    "{} goes on after its closing quote; put a comma there",
                    shown(text)
                ));
            }
        }
    }
}

/// A duration of at least `least`, as the API stores it.
pub(super) fn duration(value: &str, least: SignedDuration) -> Value<String> {
    let read = parse_go_duration(value).map_err(|e| e.to_string())?;
    if read < least {
        return Err(format!(
            "{} is shorter than {}",
            shown(value),
            format_go_duration(least)
        ));
    }
    Ok(format_go_duration(read))
}

/// A whole number of at least `least`.
pub(super) fn number<T>(value: &str, least: Option<T>) -> Value<T>
where
    T: std::str::FromStr + PartialOrd + std::fmt::Display + Copy,
{
    let read = value
        .parse()
        .map_err(|_| format!("{} is no whole number", shown(value)))?;
    match least {
        Some(least) if read < least => Err(format!("{read} is less than {least}")),
        _ => Ok(read),
    }
}

/// One of a few words.
pub(super) fn word(value: &str, known: &[&str]) -> Value<String> {
    if known.contains(&value) {
        return Ok(value.to_owned());
    }
    Err(format!(
        "{} is not known; use {}",
        shown(value),
        known.join(" or ")
    ))
}

/// A list of key usages.
pub(super) fn usages(value: &str) -> Value<Vec<String>> {
    let items: Vec<String> = value
        .split(',')
        .map(|item| item.trim().to_owned())
        .collect();
    match items
        .iter()
        .find(|item| !usage_names().any(|known| known == item.as_str()))
    {
        Some(bad) => {
            let known: Vec<&str> = usage_names().collect();
            Err(format!(
                "{} is no key usage; known are {}",
                shown(bad),
                known.join(", ")
            ))
        }
        None => Ok(items),
    }
}

/// What a Secret template may hold. Unlike the API's own type it refuses what it does not know.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Template {
    annotations: Option<std::collections::BTreeMap<String, String>>,
    labels: Option<std::collections::BTreeMap<String, String>>,
}

/// A Secret template as JSON; `None` when it holds nothing.
pub(super) fn template(value: &str) -> Value<Option<CertificateSecretTemplate>> {
    let read: Template = serde_json::from_str(value).map_err(|e| {
        format!(
            "{e}; write JSON such as {{\"annotations\":{{\"a\":\"b\"}},\"labels\":{{\"c\":\"d\"}}}}"
        )
    })?;
    let reserved = |key: &&String| key.starts_with("cert-manager.io/");
    if let Some(key) = read
        .annotations
        .iter()
        .flat_map(|a| a.keys())
        .find(reserved)
    {
        return Err(format!(
            "it sets the annotation {}; those of {}/ are not free to set: remove it",
            shown(key),
            labels::GROUP
        ));
    }
    let filled = |map: Option<std::collections::BTreeMap<_, _>>| map.filter(|m| !m.is_empty());
    let template = CertificateSecretTemplate {
        annotations: filled(read.annotations),
        labels: filled(read.labels),
    };
    Ok((template != CertificateSecretTemplate::default()).then_some(template))
}
