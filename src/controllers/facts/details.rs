//! The annotations of a target Secret that describe its certificate (contract §3.2).

use std::collections::BTreeMap;

use crate::api::labels;
use crate::pki::ParsedCertificate;

/// Annotations that describe the certificate. The first four are always there, the others only when
/// there is something to say.
pub fn details(leaf: &ParsedCertificate) -> BTreeMap<String, String> {
    let sans = leaf.sans();
    let subject = leaf.subject().to_subject();
    let texts =
        |items: &[std::net::IpAddr]| items.iter().map(ToString::to_string).collect::<Vec<_>>();
    let always = [
        (
            labels::COMMON_NAME_ANNOTATION,
            leaf.subject().common_name().unwrap_or_default(),
        ),
        (labels::ALT_NAMES_ANNOTATION, csv(&sans.dns_names)),
        (labels::IP_SANS_ANNOTATION, csv(&texts(&sans.ip_addresses))),
        (labels::URI_SANS_ANNOTATION, csv(&sans.uris)),
    ];
    let sometimes = [
        (labels::EMAIL_SANS_ANNOTATION, csv(&sans.email_addresses)),
        (
            labels::SUBJECT_ORGANIZATIONS_ANNOTATION,
            csv(&subject.organizations),
        ),
        (
            labels::SUBJECT_ORGANIZATIONALUNITS_ANNOTATION,
            csv(&subject.organizational_units),
        ),
        (
            labels::SUBJECT_COUNTRIES_ANNOTATION,
            csv(&subject.countries),
        ),
        (
            labels::SUBJECT_PROVINCES_ANNOTATION,
            csv(&subject.provinces),
        ),
        (
            labels::SUBJECT_LOCALITIES_ANNOTATION,
            csv(&subject.localities),
        ),
        (
            labels::SUBJECT_STREETADDRESSES_ANNOTATION,
            csv(&subject.street_addresses),
        ),
        (
            labels::SUBJECT_POSTALCODES_ANNOTATION,
            csv(&subject.postal_codes),
        ),
        (
            labels::SUBJECT_SERIALNUMBER_ANNOTATION,
            subject.serial_number.clone(),
        ),
    ];
    let sometimes = sometimes.into_iter().filter(|(_, value)| !value.is_empty());
    always
        .into_iter()
        .chain(sometimes)
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

/// One CSV record (RFC 4180), as Go writes it.
fn csv<T: AsRef<str>>(items: &[T]) -> String {
    let field = |text: &str| {
        let quoted =
            text.contains([',', '"', '\n', '\r']) || text.starts_with([' ', '\t']) || text == r"\.";
        if quoted {
            format!("\"{}\"", text.replace('"', "\"\""))
        } else {
            text.to_owned()
        }
    };
    items
        .iter()
        .map(|i| field(i.as_ref()))
        .collect::<Vec<_>>()
        .join(",")
}
