//! The parts of a spec that name somebody: subject, alternative names of other types, name constraints
//! (contract §1.3).

use super::request::{Invalid, invalid};
use crate::api::CertificateSpec;
use crate::api::certificate::NameConstraintItem;
use crate::controllers::matching::WantedSubject;
use crate::pki::{DistinguishedName, Error, NameConstraints, OtherName, Subject, Subtrees};

/// The longest common name (RFC 5280 appendix A.1, `ub-common-name`), in bytes as cert-manager counts.
const MAX_COMMON_NAME: usize = 64;

/// The subject of the CSR.
pub fn subject(spec: &CertificateSpec) -> Result<WantedSubject, Invalid> {
    let literal = spec.literal_subject.as_deref().unwrap_or_default();
    if literal.is_empty() {
        let subject = parts(spec);
        check_length("spec.commonName", &subject.common_name)?;
        return Ok(WantedSubject::Parts(subject));
    }
    let mut given = parts(spec);
    if !std::mem::take(&mut given.common_name).is_empty() {
        let problem =
            "it cannot stand beside spec.literalSubject: put CN= in there, or remove one of them";
        return Err(invalid("spec.commonName", problem));
    }
    if given != Subject::default() {
        let problem = "it cannot stand beside spec.literalSubject: remove one of them";
        return Err(invalid("spec.subject", problem));
    }
    let name = DistinguishedName::from_rfc4514(literal)
        .map_err(|e| invalid("spec.literalSubject", problem(e)))?;
    check_length(
        "spec.literalSubject",
        &name.common_name().unwrap_or_default(),
    )?;
    Ok(WantedSubject::Literal(name))
}

fn parts(spec: &CertificateSpec) -> Subject {
    let list = |field: Option<Vec<String>>| field.unwrap_or_default();
    let given = spec.subject.clone().unwrap_or_default();
    Subject {
        common_name: spec.common_name.clone().unwrap_or_default(),
        countries: list(given.countries),
        organizations: list(given.organizations),
        organizational_units: list(given.organizational_units),
        localities: list(given.localities),
        provinces: list(given.provinces),
        street_addresses: list(given.street_addresses),
        postal_codes: list(given.postal_codes),
        serial_number: given.serial_number.unwrap_or_default(),
    }
}

fn check_length(field: &'static str, common_name: &str) -> Result<(), Invalid> {
    if common_name.len() > MAX_COMMON_NAME {
        let problem = format!(
            "the common name has {} bytes; {MAX_COMMON_NAME} are possible",
            common_name.len()
        );
        return Err(invalid(field, problem));
    }
    Ok(())
}

/// `spec.otherNames`; that the types are object identifiers is found out when they are encoded.
pub fn other_names(spec: &CertificateSpec) -> Result<Vec<OtherName>, Invalid> {
    let names = spec.other_names.iter().flatten().enumerate();
    let names = names.map(|(index, name)| {
        let utf8_value = name.utf8_value.clone().unwrap_or_default();
        if utf8_value.is_empty() {
            let field = format!("spec.otherNames[{index}].utf8Value");
            return Err(invalid(field, "it is empty: say the name, or remove it"));
        }
        Ok(OtherName {
            oid: name.oid.clone().unwrap_or_default(),
            utf8_value,
        })
    });
    names.collect()
}

/// `spec.nameConstraints`. Sets without entries say nothing, and are no error: cert-manager takes them.
pub fn name_constraints(spec: &CertificateSpec) -> Result<NameConstraints, Invalid> {
    let Some(given) = &spec.name_constraints else {
        return Ok(NameConstraints::default());
    };
    if !spec.is_ca.unwrap_or_default() {
        let problem = "only a CA can have them: set spec.isCA, or remove them";
        return Err(invalid("spec.nameConstraints", problem));
    }
    if given.permitted.is_none() && given.excluded.is_none() {
        let problem = "neither permitted nor excluded is set: set one of them";
        return Err(invalid("spec.nameConstraints", problem));
    }
    Ok(NameConstraints {
        critical: given.critical.unwrap_or_default(),
        permitted: subtrees("permitted", given.permitted.as_ref())?,
        excluded: subtrees("excluded", given.excluded.as_ref())?,
    })
}

fn subtrees(which: &str, given: Option<&NameConstraintItem>) -> Result<Subtrees, Invalid> {
    let given = given.cloned().unwrap_or_default();
    let ranges = given.ip_ranges.unwrap_or_default();
    let ranges = ranges.iter().enumerate().map(|(index, text)| {
        let field = format!("spec.nameConstraints.{which}.ipRanges[{index}]");
        text.parse().map_err(|e| invalid(field, problem(e)))
    });
    Ok(Subtrees {
        dns_domains: given.dns_domains.unwrap_or_default(),
        ip_ranges: ranges.collect::<Result<_, _>>()?,
        email_addresses: given.email_addresses.unwrap_or_default(),
        uri_domains: given.uri_domains.unwrap_or_default(),
    })
}

/// What is wrong with a value, where the field is said already.
fn problem(error: Error) -> String {
    match error {
        Error::InvalidValue { problem, .. } => problem,
        other => other.to_string(),
    }
}

/// The field that cannot be encoded.
pub fn unencodable(error: Error) -> Invalid {
    match error {
        Error::InvalidValue { field, problem } => invalid(format!("spec.{field}"), problem),
        other => invalid("spec", other.to_string()),
    }
}
