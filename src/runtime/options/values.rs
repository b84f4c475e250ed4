//! The values of flags, in the forms that cert-manager takes.

use std::time::Duration;

use crate::api::duration::parse_go_duration;

/// Feature gates that cert-manager knows (contract §7.4). Three have an effect: `ACMEHTTP01IngressPathTypeExact`,
/// `ACMEUseARI` and `UseCertificateRequestBasicConstraints`; the others are accepted, so that a chart's values keep working.
const GATES: [&str; 18] = [
    "ACMEHTTP01IngressPathTypeExact",
    "ACMEUseARI",
    "AdditionalCertificateOutputFormats",
    "AllAlpha",
    "AllBeta",
    "CAInjectorMerging",
    "DefaultPrivateKeyRotationPolicyAlways",
    "DisallowInsecureCSRUsageDefinition",
    "ExperimentalCertificateSigningRequestControllers",
    "ExperimentalGatewayAPISupport",
    "ListenerSets",
    "LiteralCertificateSubject",
    "NameConstraints",
    "OtherNames",
    "SecretsFilteredCaching",
    "ServerSideApply",
    "StableCertificateRequestName",
    "UseCertificateRequestBasicConstraints",
];

/// Gates that say what is so anyway.
const GATES_OF_OLD: [&str; 2] = ["UseDomainQualifiedFinalizer", "ValidateCAA"];

/// What is in a list; the flag with an empty value has one empty string.
pub fn given(list: &[String]) -> Vec<String> {
    let values = list.iter().filter(|value| !value.is_empty());
    values.cloned().collect()
}

pub fn go_duration(text: &str) -> Result<Duration, String> {
    let parsed = parse_go_duration(text).map_err(|e| e.to_string())?;
    Duration::try_from(parsed).map_err(|_| format!("\"{text}\" is negative"))
}

pub fn some(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err(format!("\"{text}\" is no number above 0")),
    }
}

pub fn bytes(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(size) if size > 0 => Ok(size),
        _ => Err(format!(
            "\"{text}\" is no size: a number of bytes above 0 is needed"
        )),
    }
}

/// As Go's `strconv.ParseBool` takes them.
pub fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("\"{text}\" is neither true nor false")),
    }
}

pub fn gate(text: &str) -> Result<(String, bool), String> {
    if text.is_empty() {
        // Of an empty list; no gate has this name.
        return Ok((String::new(), false));
    }
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| format!("\"{text}\" is not of the form Name=true"))?;
    if !GATES.contains(&name) && !GATES_OF_OLD.contains(&name) {
        return Err(format!(
            "there is no feature gate \"{name}\"; there are: {}",
            GATES.join(", ")
        ));
    }
    let on = go_bool(value).map_err(|e| format!("{name}: {e}"))?;
    Ok((name.to_owned(), on))
}

pub fn pair(text: &str) -> Result<(String, String), String> {
    if text.is_empty() {
        // Of an empty list; it is dropped.
        return Ok((String::new(), String::new()));
    }
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| format!("\"{text}\" is not of the form key=value"))?;
    Ok((key.to_owned(), value.to_owned()))
}
