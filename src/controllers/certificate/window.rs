//! `spec.renewal.windows`: the times in which a renewal may start (contract §4.2).

use std::sync::LazyLock;

use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp};

use super::cron::Schedule;
use super::request::{Invalid, invalid};
use crate::api::CertificateSpec;
use crate::api::certificate::CertificateRenewalWindow;
use crate::api::duration::parse_go_duration;

/// The zones that are compiled in: an empty image has no others, and everywhere else they decide alike.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// A recurring time in which a renewal may start.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    opens: Schedule,
    zone: TimeZone,
    /// Positive.
    length: SignedDuration,
}

/// The windows of a spec; none is any time.
pub fn windows(spec: &CertificateSpec) -> Result<Vec<Window>, Invalid> {
    let Some(renewal) = &spec.renewal else {
        return Ok(vec![]);
    };
    let given = renewal.windows.as_deref().unwrap_or_default();
    if renewal.policy.as_deref() == Some("Disabled") && !given.is_empty() {
        let problem = "spec.renewal.policy Disabled renews at no time: remove the windows, or use RenewBefore";
        return Err(invalid("spec.renewal.windows", problem));
    }
    let read = given.iter().enumerate().map(|(index, window)| {
        let fault = |field: &str, problem: String| {
            invalid(format!("spec.renewal.windows[{index}].{field}"), problem)
        };
        read(window, fault)
    });
    read.collect()
}

fn read(
    given: &CertificateRenewalWindow,
    fault: impl Fn(&str, String) -> Invalid,
) -> Result<Window, Invalid> {
    let shown = |text: &str| text.chars().take(64).collect::<String>();
    let opens = Schedule::parse(&given.cron)
        .map_err(|problem| fault("cron", format!("\"{}\": {problem}", shown(&given.cron))))?;
    let zone = match given.timezone.as_deref().unwrap_or_default() {
        "" => TimeZone::UTC,
        name => ZONES.get(name).map_err(|_| {
            let name = shown(name);
            let problem = format!("\"{name}\" is no IANA time zone; write it like Europe/Berlin");
            fault("timezone", problem)
        })?,
    };
    let length = parse_go_duration(&given.window_duration)
        .ok()
        .filter(SignedDuration::is_positive);
    let length = length.ok_or_else(|| {
        let text = shown(&given.window_duration);
        let problem = format!("\"{text}\" is no length of a window; write it like 2h30m");
        fault("windowDuration", problem)
    })?;
    Ok(Window {
        opens,
        zone,
        length,
    })
}

/// `desired` if a window is open then, else the next opening before `end`, if there is one.
///
/// cert-manager looks beyond the end for as long as a window lasts, and then lets the certificate expire.
pub fn place(windows: &[Window], desired: Timestamp, end: Timestamp) -> Option<Timestamp> {
    if windows.iter().any(|window| window.is_open(desired)) {
        return Some(desired);
    }
    let openings = windows
        .iter()
        .filter_map(|window| window.opens.next(desired, &window.zone));
    openings.min().filter(|opening| *opening < end)
}

impl Window {
    /// The moment at which it closes belongs to it, as in cert-manager.
    fn is_open(&self, time: Timestamp) -> bool {
        let earliest = time.checked_sub(self.length).unwrap_or(Timestamp::MIN);
        let opening = self.opens.next(earliest, &self.zone);
        opening.is_some_and(|opening| opening <= time)
    }
}
