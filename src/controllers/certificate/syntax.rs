//! Names, labels and annotations as the API server takes them: what it would refuse is said before a CA is asked.

use super::request::{Invalid, invalid};
use crate::api::{CertificateSpec, labels};
use crate::controllers::facts::is_template_annotation;

/// What names the target Secret, and what it is to carry.
pub(super) fn check(spec: &CertificateSpec) -> Result<(), Invalid> {
    let name = &spec.secret_name;
    if !is_subdomain(name) {
        let problem = format!(
            "\"{name}\" is no name of a Secret: use lower-case letters, digits, \"-\" and \".\", a letter or digit first \
             and last, 253 at most"
        );
        return Err(invalid("spec.secretName", problem));
    }
    let template = spec.secret_template.as_ref();
    let labels = template.and_then(|t| t.labels.as_ref());
    for (key, value) in labels.into_iter().flatten() {
        if !is_key(key) || !(value.is_empty() || is_word(value)) {
            let problem = format!(
                "{key}: \"{value}\" is no label: use letters, digits, \"-\", \"_\" and \".\", a letter or digit first and \
                 last, 63 at most"
            );
            return Err(invalid("spec.secretTemplate.labels", problem));
        }
    }
    let annotations = template.and_then(|t| t.annotations.as_ref());
    for key in annotations.into_iter().flat_map(|all| all.keys()) {
        if !is_key(&key.to_ascii_lowercase()) {
            let problem = format!(
                "\"{key}\" is no key of an annotation: use letters, digits, \"-\", \"_\" and \".\", 63 at most, behind the \
                 name of a domain and \"/\" or alone"
            );
            return Err(invalid("spec.secretTemplate.annotations", problem));
        }
        if !is_template_annotation(key) {
            let problem = format!(
                "\"{key}\" is set by the operator: of those of cert-manager.io/ only {} can be given",
                labels::ALLOW_DIRECT_INJECTION_ANNOTATION
            );
            return Err(invalid("spec.secretTemplate.annotations", problem));
        }
    }
    Ok(())
}

/// RFC 1123, as Kubernetes has it.
fn is_subdomain(text: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let is_label = |label: &str| is_framed(label, is_inner, |b| is_inner(b) || b == b'-');
    text.len() <= 253 && text.split('.').all(is_label)
}

fn is_key(key: &str) -> bool {
    match key.split_once('/') {
        Some((domain, name)) => is_subdomain(domain) && is_word(name),
        None => is_word(key),
    }
}

fn is_word(text: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    text.len() <= 63 && is_framed(text, |b| b.is_ascii_alphanumeric(), is_inner)
}

/// Begins and ends with the one, and has nothing but the other.
fn is_framed(text: &str, frame: impl Fn(u8) -> bool, inner: impl Fn(u8) -> bool) -> bool {
    let ends = [text.bytes().next(), text.bytes().next_back()];
    ends.into_iter().all(|end| end.is_some_and(&frame)) && text.bytes().all(inner)
}
