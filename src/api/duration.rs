//! Durations as Go writes them, which is how the API stores them.
//!
//! The grammar is that of Go's `time.ParseDuration`: an optional sign, then `0`, or decimal numbers
//! with an optional fraction and a unit each, largest first by habit but in any order.

use std::fmt::Write;

use jiff::SignedDuration;

/// Why a string is not a Go duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The string holds no number, or something that is not one.
    #[error("{0:?} is not a duration such as 2160h or 1h30m")]
    Syntax(String),
    /// A number has no unit.
    #[error("duration {0:?} has a number without a unit (h, m, s, ms, us, ns)")]
    MissingUnit(String),
    /// A number has a unit that Go does not know, such as days.
    #[error("duration {duration:?} has an unknown unit {unit:?}; known are h, m, s, ms, us, ns")]
    UnknownUnit {
        /// The whole string.
        duration: String,
        /// The unit in it.
        unit: String,
    },
    /// The duration does not fit into 64 bits of nanoseconds, about 292 years.
    #[error("duration {0:?} is longer than 292 years")]
    Range(String),
}

/// Go's units and their nanoseconds; the micro sign exists twice in Unicode.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads a Go duration, e.g. `2160h0m0s`, `1.5h`, `-300ms` or `0`.
///
/// # Errors
///
/// What is wrong with the string; see [`Error`].
pub fn parse_go_duration(text: &str) -> Result<SignedDuration, Error> {
    let (negative, magnitude) = match text.as_bytes().first() {
        Some(b'-') => (true, text.get(1..)),
        Some(b'+') => (false, text.get(1..)),
        _ => (false, Some(text)),
    };
    let mut rest = magnitude.unwrap_or_default();
    if rest.is_empty() {
        return Err(Error::Syntax(text.to_owned()));
    }
    if rest == "0" {
        return Ok(SignedDuration::ZERO);
    }

    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (nanos, tail) = parse_term(text, rest)?;
        // One more than i64::MAX is allowed, for the most negative duration.
        total = total
            .checked_add(nanos)
            .filter(|sum| *sum <= i64::MIN.unsigned_abs())
            .ok_or_else(|| Error::Range(text.to_owned()))?;
        rest = tail;
    }

    let nanos = if negative {
        0_i64.checked_sub_unsigned(total)
    } else {
        i64::try_from(total).ok()
    };
    nanos
        .map(SignedDuration::from_nanos)
        .ok_or_else(|| Error::Range(text.to_owned()))
}

/// Reads one number with its unit off the front of `rest`; gives nanoseconds and what follows.
fn parse_term<'a>(text: &str, rest: &'a str) -> Result<(u64, &'a str), Error> {
    let range = || Error::Range(text.to_owned());
    let (whole, rest) = split_digits(rest);
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(after) => split_digits(after),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return Err(Error::Syntax(text.to_owned()));
    }

    let unit_len = rest
        .find(|c: char| c == '.' || c.is_ascii_digit())
        .unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(unit_len);
    if unit.is_empty() {
        return Err(Error::MissingUnit(text.to_owned()));
    }
    let scale = UNITS
        .iter()
        .find_map(|(name, scale)| (*name == unit).then_some(*scale))
        .ok_or_else(|| Error::UnknownUnit {
            duration: text.to_owned(),
            unit: unit.to_owned(),
        })?;

    let whole: u64 = match whole {
        "" => 0,
        digits => digits.parse().map_err(|_| range())?,
    };
    let nanos = whole
        .checked_mul(scale)
        .and_then(|n| n.checked_add(fraction_nanos(fraction, scale)))
        .ok_or_else(range)?;
    Ok((nanos, rest))
}

fn split_digits(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(end)
}

/// The fraction of a unit in nanoseconds, rounded as Go rounds: in 64-bit floats, then cut off.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "Go computes it so, and the result is positive and below an hour"
)]
fn fraction_nanos(digits: &str, scale: u64) -> u64 {
    let mut value: u64 = 0;
    let mut power: f64 = 1.0;
    for digit in digits.bytes() {
        // Digits beyond what 63 bits hold are ignored.
        let Some(next) = value
            .checked_mul(10)
            .and_then(|v| v.checked_add(u64::from(digit - b'0')))
            .filter(|v| *v <= 1 << 63)
        else {
            break;
        };
        value = next;
        power *= 10.0;
    }
    (value as f64 * (scale as f64 / power)) as u64
}

/// Writes a duration as Go's `Duration.String` does, e.g. `2160h0m0s`, `1.5s`, `300ms` or `0s`.
pub fn format_go_duration(duration: SignedDuration) -> String {
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    let mut out = String::new();
    if nanos < 0 {
        out.push('-');
    }
    let nanos = nanos.unsigned_abs();

    let (unit, scale, digits) = match nanos {
        0..1_000 => ("ns", 1, 0),
        1_000..1_000_000 => ("\u{b5}s", 1_000, 3),
        1_000_000..1_000_000_000 => ("ms", 1_000_000, 6),
        _ => ("s", 1_000_000_000, 9),
    };
    let mut whole = nanos / scale;
    if unit == "s" {
        let hours = whole / 3_600;
        let minutes = whole / 60 % 60;
        if hours > 0 {
            push_number(&mut out, hours, "h");
        }
        if hours > 0 || minutes > 0 {
            push_number(&mut out, minutes, "m");
        }
        whole %= 60;
    }

    let mut fraction = String::new();
    if !nanos.is_multiple_of(scale) {
        push_number(&mut fraction, nanos % scale, "");
        let zeros = digits - fraction.len();
        fraction.insert_str(0, &"0".repeat(zeros));
        fraction.truncate(fraction.trim_end_matches('0').len());
        fraction.insert(0, '.');
    }
    push_number(&mut out, whole, &fraction);
    out.push_str(unit);
    out
}

fn push_number(out: &mut String, number: u128, suffix: &str) {
    // Writing to a String cannot fail.
    let _ = write!(out, "{number}{suffix}");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use proptest::prelude::*;

    use super::*;

    const S: i64 = 1_000_000_000;

    #[test]
    fn reads_what_go_reads() {
        for (text, nanos) in [
            ("0", 0),
            ("-0", 0),
            ("+0", 0),
            ("0s", 0),
            ("5s", 5 * S),
            ("+5s", 5 * S),
            ("-5m", -300 * S),
            ("2160h0m0s", 2_160 * 3_600 * S),
            ("1h30m", 5_400 * S),
            ("1.5h", 5_400 * S),
            (".5s", S / 2),
            ("5.s", 5 * S),
            ("300ms", 300_000_000),
            ("1us2ns", 1_002),
            ("1\u{b5}s", 1_000),
            ("1\u{3bc}s", 1_000),
            ("30m1h", 5_400 * S),
            ("1m1m", 120 * S),
            ("0.3333333333333333333h", 1_200 * S),
            ("0.100000000000000000000h", 360 * S),
            ("0.830103483285477580700h", 2_988_372_539_827),
            ("9223372036854775807ns", i64::MAX),
            ("-9223372036854775808ns", i64::MIN),
        ] {
            assert_eq!(
                parse_go_duration(text),
                Ok(SignedDuration::from_nanos(nanos)),
                "{text}"
            );
        }
    }

    #[test]
    fn refuses_what_go_refuses_and_says_why() {
        for text in [
            "", "-", "+", "abc", "s", ".s", "1h-5m", "1h ", " 1h", "--1s", ".",
        ] {
            assert!(
                matches!(
                    parse_go_duration(text),
                    Err(Error::Syntax(_) | Error::UnknownUnit { .. })
                ),
                "{text:?}: {:?}",
                parse_go_duration(text)
            );
        }
        for text in ["3", "1h3", "-7.5"] {
            assert_eq!(
                parse_go_duration(text),
                Err(Error::MissingUnit(text.to_owned()))
            );
        }
        assert_eq!(
            parse_go_duration("90d"),
            Err(Error::UnknownUnit {
                duration: "90d".to_owned(),
                unit: "d".to_owned()
            })
        );
        for text in [
            "9223372036854775808ns",
            "-9223372036854775809ns",
            "3000000h",
            "99999999999999999999s",
            "9223372036854775807ns1ns",
        ] {
            assert_eq!(parse_go_duration(text), Err(Error::Range(text.to_owned())));
        }
    }

    #[test]
    fn writes_what_go_writes() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1\u{b5}s"),
            (2_200_000, "2.2ms"),
            (300_000_000, "300ms"),
            (3_300_000_000, "3.3s"),
            (-5 * 60 * S, "-5m0s"),
            (4 * 60 * S + 5 * S, "4m5s"),
            (4 * 60 * S + 5_001_000_000, "4m5.001s"),
            (5 * 3_600 * S + 7_001_000_000, "5h0m7.001s"),
            (2_160 * 3_600 * S, "2160h0m0s"),
            (i64::MAX, "2562047h47m16.854775807s"),
            (i64::MIN, "-2562047h47m16.854775808s"),
        ] {
            assert_eq!(format_go_duration(SignedDuration::from_nanos(nanos)), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(nanos in any::<i64>()) {
            let duration = SignedDuration::from_nanos(nanos);
            prop_assert_eq!(parse_go_duration(&format_go_duration(duration)).unwrap(), duration);
        }

        #[test]
        fn no_string_panics(text in "[-+]?[0-9.hmsunµ ]{0,24}") {
            let _ = parse_go_duration(&text);
        }
    }
}
