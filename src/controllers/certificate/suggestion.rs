//! What the CA suggests about the time of renewal (RFC 9773), as the status has it.

use aws_lc_rs::digest::{SHA256, digest};
use jiff::{SignedDuration, Timestamp};

use super::Observation;
use crate::acme::{RenewalInfo, web_link};
use crate::api::CertificateStatus;
use crate::api::certificate::CertificateAriStatus;
use crate::controllers::facts::LeafFact;
use crate::explain::{Code, Verdict};

/// The CA's suggestion for the certificate in the Secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suggestion<'a> {
    /// The certificate's identifier.
    pub id: &'a str,
    /// Start of the window.
    pub start: Timestamp,
    /// End of the window, after its start.
    pub end: Timestamp,
    /// When the CA said so.
    pub heard: Timestamp,
    /// A page that says why.
    pub explanation: Option<&'a str>,
}

/// Whether the CA is asked when to renew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking {
    /// By the gate or by the issuer it is not.
    Off,
    /// The issuer is missing or not ready: not now.
    Idle,
    /// It is; when next, as far as this process knows.
    On(Option<Timestamp>),
}

impl Suggestion<'_> {
    /// The window was over when the CA named it, as it does when a certificate is revoked, or will be.
    pub fn is_urgent(&self) -> bool {
        self.end <= self.heard
    }

    /// The window after some words, and where the CA says why.
    pub fn verdict(&self, words: &str) -> Verdict {
        let Self { start, end, .. } = self;
        let why = self.explanation.map(|url| format!("; see {url}"));
        let why = why.unwrap_or_default();
        Verdict::new(
            Code::CA_WINDOW,
            format!("{words} {start:.0} to {end:.0}{why}"),
        )
    }

    /// A time in the window before `limit`, and not before the window; in whole seconds.
    ///
    /// The RFC wants a random one, so that a fleet does not come at once. This one is drawn by a digest of the
    /// certificate's identifier, which has a random serial number in it, and of the window: as good for the fleet, and for
    /// this certificate always the same as long as the window is, in each replica and after each restart, with nothing to
    /// remember but the window.
    pub fn drawn(&self, limit: Timestamp) -> Timestamp {
        let (start, end) = (self.start.as_second(), self.end.min(limit).as_second());
        let text = format!("{} {start} {}", self.id, self.end.as_second());
        let offset = drawn(&text, end.saturating_sub(start));
        Timestamp::from_second(start.saturating_add(offset)).unwrap_or(self.start)
    }
}

/// A number below `span`, and not below 0: for one text always the same, and for many texts as good as random.
pub fn drawn(text: &str, span: i64) -> i64 {
    let digest = digest(&SHA256, text.as_bytes());
    let random = digest
        .as_ref()
        .iter()
        .take(8)
        .fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
    let span = u64::try_from(span).unwrap_or(0);
    // The upper half of the product: below `span`.
    let offset = (u128::from(random) * u128::from(span)) >> 64;
    i64::try_from(offset).unwrap_or(0)
}

/// Why a window says nothing, if so: one of more than half of the lifetime holds the usual time anyway, and a point
/// drawn in it could be the next moment, each time anew. One that is over is to be obeyed at once (RFC 9773 §4.2), and
/// nothing is drawn in it.
pub fn absurdity(
    leaf: &LeafFact,
    (start, end): (Timestamp, Timestamp),
    now: Timestamp,
) -> Option<String> {
    let half = leaf.not_after.duration_since(leaf.not_before) / 2;
    (end > now && end.duration_since(start) > half).then(|| {
        format!("the suggested window from {start} to {end} is longer than half of the certificate's lifetime")
    })
}

/// Whether a window that is heard of for the first time is the CA's usual one, only that it was over before anybody asked:
/// cert-manager does not ask, and renews when the spec says. RFC 9773 §4.2 would renew it at once, and so everything
/// that is past its window when this operator takes over. It says nothing then, and the spec's time stands.
///
/// What a CA names for a certificate that it wants replaced at once looks otherwise: it comes with a reason, or lies
/// before the certificate, or began a moment before the answer (Boulder: an hour; Pebble: as long). A usual one is longer.
pub fn is_missed(leaf: &LeafFact, info: &RenewalInfo, now: Timestamp) -> bool {
    let began = now.duration_since(info.start);
    info.end <= now
        && info.explanation_url.is_none()
        && info.end > leaf.not_before
        && began > MOMENT
}

/// Twice as long ago as the windows of revoked certificates begin.
const MOMENT: SignedDuration = SignedDuration::from_hours(2);

/// What the status says of the certificate in the Secret, if it is of this one: the times of validity are written
/// together with it.
pub fn noted<'a>(
    status: &'a CertificateStatus,
    leaf: &LeafFact,
) -> Option<&'a CertificateAriStatus> {
    let is = |time: &Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>,
              of: Timestamp| { time.as_ref().is_some_and(|time| time.0 == of) };
    let same = is(&status.not_before, leaf.not_before) && is(&status.not_after, leaf.not_after);
    status.acme.as_ref()?.ari.as_ref().filter(|_| same)
}

impl Observation {
    /// The CA's suggestion for the certificate in the Secret, if it is asked for and there is one.
    pub fn suggestion(&self) -> Option<Suggestion<'_>> {
        let leaf = self.leaf()?;
        let noted = noted(self.status(), leaf).filter(|_| self.asking != Asking::Off)?;
        let window = noted.suggested_window.as_ref()?;
        let suggestion = Suggestion {
            id: leaf.id.as_deref()?,
            start: window.start.0,
            end: window.end.0,
            heard: noted.last_checked.as_ref()?.0,
            explanation: noted.explanation_url.as_deref().and_then(web_link),
        };
        (suggestion.start < suggestion.end).then_some(suggestion)
    }
}

/// How old `lastChecked` may become while nothing changes: each poll would be a write otherwise.
pub const STALE: SignedDuration = SignedDuration::from_hours(24);
