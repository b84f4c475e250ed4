//! The trigger and readiness chains of contract §4.2 and §4.7: why a Certificate is not as it should
//! be. The first check that hits is the answer; reasons and messages are the contract's.

use jiff::Timestamp;

use super::Observation;
use super::names::subject;
use super::renewal::By;
use super::request::desired_key;
use crate::controllers::facts::{KeyFact, LeafFact, RequestFact, SecretFact};
use crate::controllers::matching::{differences, spec_names};
use crate::controllers::revocation::Withdrawal;
use crate::controllers::rotation::Wish;
use crate::controllers::watched_lists::Listing;
use crate::explain::{Code, Verdict};
use crate::pki::KeyAlgorithm;

/// Why a certificate has to be issued, or is not ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Condition reason.
    pub reason: &'static str,
    /// Condition message.
    pub message: String,
}

#[allow(clippy::unnecessary_wraps, reason = "a check that hits returns this")]
fn hit(reason: &'static str, message: impl Into<String>) -> Option<Violation> {
    Some(Violation {
        reason,
        message: message.into(),
    })
}

/// Why the certificate has to be issued now, if it has to.
pub fn trigger(o: &Observation, now: Timestamp) -> Option<Violation> {
    let (secret, leaf) = match sound(o) {
        Ok(found) => found,
        Err(violation) => return Some(violation),
    };
    consistent(o, secret, leaf)
        .or_else(|| temporary(secret))
        .or_else(|| withdrawn(o))
        .or_else(|| renewal_due(o, leaf, now))
        .or_else(|| replaced(o))
}

/// Why the certificate is not ready, if it is not. A certificate that is due is still ready.
pub fn readiness(o: &Observation, now: Timestamp) -> Option<Violation> {
    let (secret, leaf) = match sound(o) {
        Ok(found) => found,
        Err(violation) => return Some(violation),
    };
    consistent(o, secret, leaf)
        .or_else(|| expired(leaf, now))
        .or_else(|| withdrawn(o).filter(|_| !is_good_until_replaced(o)))
        .or_else(|| {
            let missed = missed_windows(o)?;
            let what = "It will be renewed at that time, outside of them: widen spec.renewal.windows, or renew \
                        earlier with spec.renewBefore";
            let what = Verdict::new(Code::WINDOWS_MISSED, what);
            hit("WindowError", format!("Could not calculate renewal time: {missed}. {what}"))
        })
}

/// Steps 1 to 3: the Secret exists, has data, and its key belongs to its certificate.
fn sound(o: &Observation) -> Result<(&SecretFact, &LeafFact), Violation> {
    let fail = |reason, message: String| Err(Violation { reason, message });
    let missing = |what| {
        fail(
            "MissingData",
            format!("Issuing certificate as Secret does not contain {what}"),
        )
    };
    let Some(secret) = o.secret.as_deref() else {
        return fail(
            "DoesNotExist",
            "Issuing certificate as Secret does not exist".into(),
        );
    };
    if !secret.has_data {
        return missing("any data");
    }
    let Some(key) = &secret.key else {
        return missing("a private key");
    };
    let Some(leaf) = &secret.certificate else {
        return missing("a certificate");
    };
    let key = match key {
        Ok(key) => key,
        Err(e) => {
            let message =
                format!("Issuing certificate as Secret contains invalid private key data: {e}");
            return fail("InvalidKeyPair", message);
        }
    };
    let leaf = match leaf {
        Ok(leaf) => leaf,
        Err(e) => {
            let message =
                format!("Issuing certificate as Secret contains an invalid certificate: {e}");
            return fail("InvalidCertificate", message);
        }
    };
    if key.public != leaf.public {
        let message = "Issuing certificate as Secret contains a private key that does not match the certificate";
        return fail("InvalidKeyPair", message.into());
    }
    Ok((secret, leaf))
}

/// Whether the Secret has no key pair that could be served: what a temporary certificate is for.
pub fn lacks_pair(o: &Observation) -> bool {
    sound(o).is_err()
}

/// What holds a place only is no reason to stop trying. That it may be ready is the contract's.
fn temporary(secret: &SecretFact) -> Option<Violation> {
    if !secret.is_temporary() {
        return None;
    }
    let message = "Issuing certificate as Secret contains a temporary certificate";
    hit("SecretMismatch", message)
}

/// Steps 4 to 8: the Secret is this Certificate's, from this issuer, with this key and these names.
fn consistent(o: &Observation, secret: &SecretFact, leaf: &LeafFact) -> Option<Violation> {
    other_issuer(o, secret)
        .or_else(|| other_certificate(o, secret))
        .or_else(|| other_key(o, secret))
        .or_else(|| other_request(o, secret, leaf))
}

fn other_issuer(o: &Observation, secret: &SecretFact) -> Option<Violation> {
    let wanted = &o.certificate.spec.issuer_ref;
    let [name, kind, group] = &secret.issuer;
    let or = |value: &Option<String>, default: &str| {
        value
            .as_deref()
            .filter(|v| !v.is_empty())
            .unwrap_or(default)
            .to_owned()
    };
    let (kind_found, group_found) = (or(kind, "Issuer"), or(group, "cert-manager.io"));
    let annotated = name.is_some() || kind.is_some() || group.is_some();
    let name_found = name.clone().unwrap_or_default();
    let differs = (annotated && name_found != wanted.name)
        || kind_found != wanted.kind_or_default()
        || group_found != wanted.group_or_default();
    if !differs {
        return None;
    }
    hit(
        "IncorrectIssuer",
        format!(
            "Issuing certificate as Secret was previously issued by \"{kind_found}.{group_found}/{name_found}\""
        ),
    )
}

fn other_certificate(o: &Observation, secret: &SecretFact) -> Option<Violation> {
    let named = secret.certificate_name.as_deref()?;
    if Some(named) == o.certificate.metadata.name.as_deref() {
        return None;
    }
    hit(
        "IncorrectCertificate",
        format!(
            "Secret was issued for \"{named}\". If this message is not transient, you might have two \
             conflicting Certificates pointing to the same secret."
        ),
    )
}

fn other_key(o: &Observation, secret: &SecretFact) -> Option<Violation> {
    let key = secret.key.as_ref()?.as_ref().ok()?;
    let fields = key_differences(o, key);
    if fields.is_empty() {
        return None;
    }
    hit(
        "SecretMismatch",
        format!(
            "Existing private key is not up to date for spec: [{}]",
            fields.join(" ")
        ),
    )
}

/// The fields of `spec.privateKey` that a key does not meet. A spec that cannot be met at all is
/// reported elsewhere, and no reason to issue again.
pub fn key_differences(o: &Observation, key: &KeyFact) -> Vec<&'static str> {
    let Ok(wanted) = desired_key(&o.certificate.spec) else {
        return vec![];
    };
    match (wanted, key.algorithm) {
        (a, b) if a == b => vec![],
        (KeyAlgorithm::Rsa { .. }, KeyAlgorithm::Rsa { .. })
        | (KeyAlgorithm::Ecdsa(_), KeyAlgorithm::Ecdsa(_)) => vec!["spec.privateKey.size"],
        _ => vec!["spec.privateKey.algorithm"],
    }
}

fn other_request(o: &Observation, secret: &SecretFact, leaf: &LeafFact) -> Option<Violation> {
    let spec = &o.certificate.spec;
    let Some(current) = o.current_request() else {
        if leaf.names == spec_names(spec) {
            return None;
        }
        let message = format!(
            "Issuing certificate as Existing issued Secret is not up to date for spec: [{}]",
            leaf.by_field.differences(spec).join(" ")
        );
        return hit("SecretMismatch", message);
    };
    let compared = match &current.compared {
        Ok(compared) => compared,
        Err(e) => {
            let message = format!("Failed to decode current CertificateRequest: {e}");
            return hit("InvalidCertificateRequest", message);
        }
    };
    let key = secret.key.as_ref()?.as_ref().ok()?;
    if key.public != compared.public {
        let message =
            "Secret contains a private key that does not match the current CertificateRequest";
        return hit("SecretMismatch", message);
    }
    let fields = request_differences(o, current);
    if fields.is_empty() {
        return None;
    }
    let message = format!(
        "Fields on existing CertificateRequest resource not up to date: [{}]",
        fields.join(" ")
    );
    hit("RequestChanged", message)
}

/// The fields of the spec that a request does not meet.
pub fn request_differences(o: &Observation, request: &RequestFact) -> Vec<&'static str> {
    let spec = &o.certificate.spec;
    match (&request.compared, subject(spec)) {
        (Ok(compared), Ok(subject)) => differences(spec, &subject, compared, &request.issuer),
        _ => vec![],
    }
}

fn renewal_due(o: &Observation, leaf: &LeafFact, now: Timestamp) -> Option<Violation> {
    let due = o.renewal_of(leaf)?;
    if o.renewal_start(leaf, &due) > now {
        return None;
    }
    if let Some(suggestion) = o.suggestion().filter(|_| due.by == By::Demand) {
        let words = "Renewing certificate as the CA asks for it: its window was";
        return hit("Renewing", suggestion.verdict(words).to_string());
    }
    let how = if due.misses_windows {
        "without satisfying renewal windows at:"
    } else {
        "as renewal was scheduled at"
    };
    let time = go_time(due.at);
    hit("Renewing", format!("Renewing certificate {how} {time}"))
}

/// That no window opens in time, so that the certificate will be renewed outside, if that is so.
pub fn missed_windows(o: &Observation) -> Option<String> {
    let leaf = o.leaf()?;
    let due = o.renewal_of(leaf)?;
    due.misses_windows.then(|| {
        format!(
            "cannot find a time with the given windows between {} and {} for: {}",
            go_time(leaf.not_before),
            go_time(leaf.not_after),
            go_time(due.at)
        )
    })
}

/// Reason of a certificate that is issued anew because its CA was replaced.
pub const CA_ROTATED: &str = "CARotated";

fn replaced(o: &Observation) -> Option<Violation> {
    let wish = o.rotation.as_ref()?.wish;
    if wish != Wish::Reissue {
        return None;
    }
    hit(
        CA_ROTATED,
        "Issuing certificate as the CA of its issuer was replaced",
    )
}

/// Reason of a certificate that is issued anew because the one in the Secret is revoked, or is going to be.
pub const REVOKED: &str = "Revoked";

/// Reason of a certificate that is issued anew because the private key in the Secret is compromised.
pub const KEY_COMPROMISED: &str = "KeyCompromised";

fn withdrawn(o: &Observation) -> Option<Violation> {
    let say = |reason, code, text: String| hit(reason, Verdict::new(code, text).to_string());
    match o.withdrawal.as_ref()? {
        Withdrawal::Replaced { by } => hit(
            REVOKED,
            format!(
                "Issuing certificate as CertificateRevocation \"{by}\" revokes the one in the Secret once it has a \
                 successor"
            ),
        ),
        Withdrawal::Revoked { by } => {
            let text = format!(
                "Issuing certificate as the one in the Secret is revoked by CertificateRevocation \"{by}\""
            );
            say(REVOKED, Code::REVOKED, text)
        }
        Withdrawal::Listed(Listing { list, at, reason }) => {
            let text = format!(
                "Issuing certificate as its CA has revoked the one in the Secret: it is in {list} since {at:.0}, with the \
                 reason {}",
                reason.word()
            );
            say(REVOKED, Code::REVOKED, text)
        }
        Withdrawal::Compromised { by } => {
            let text = format!(
                "Issuing certificate as the private key in the Secret is compromised according to \
                 CertificateRevocation \"{by}\""
            );
            say(KEY_COMPROMISED, Code::KEY_COMPROMISED, text)
        }
    }
}

fn is_good_until_replaced(o: &Observation) -> bool {
    matches!(o.withdrawal, Some(Withdrawal::Replaced { .. }))
}

fn expired(leaf: &LeafFact, now: Timestamp) -> Option<Violation> {
    if now <= leaf.not_after {
        return None;
    }
    let date = leaf.not_after.strftime("%a, %d %b %Y %H:%M:%S UTC");
    hit("Expired", format!("Certificate expired on {date}"))
}

/// A time as Go prints it.
fn go_time(time: Timestamp) -> impl std::fmt::Display {
    time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC")
}
