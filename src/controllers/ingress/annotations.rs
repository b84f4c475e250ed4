//! From the annotations of an Ingress to what they ask for.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::Settings;
use super::values::{self, Value, is_true, shown};
use crate::api::certificate::{CertificatePrivateKey, X509Subject};
use crate::api::duration::parse_go_duration;
use crate::api::meta::{CLUSTER_ISSUER_KIND, ISSUER_KIND};
use crate::api::{CertificateSpec, IssuerReference, labels};
use crate::controllers::facts::IngressFact;

/// What all Certificates of an Ingress have in common.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wishes {
    /// The spec without what is each TLS block's own. DNS names and addresses are those that the
    /// annotations add.
    pub(super) spec: CertificateSpec,
    /// Annotations of the Certificate.
    pub(super) annotations: BTreeMap<String, String>,
}

/// What is wrong with an annotation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("annotation {annotation}: {problem}")]
pub(super) struct Fault {
    /// Its key.
    pub(super) annotation: &'static str,
    /// The value's fault, and what to do.
    pub(super) problem: String,
}

fn fault(annotation: &'static str, problem: impl Into<String>) -> Fault {
    Fault {
        annotation,
        problem: problem.into(),
    }
}

/// Whether an Ingress asks for certificates: it names an issuer, or an annotation of
/// `--auto-certificate-annotations` is true.
pub(super) fn asks(ingress: &IngressFact, settings: &Settings) -> bool {
    let value = |key: &str| ingress.annotations.get(key);
    let named = [labels::ISSUER_ANNOTATION, labels::CLUSTER_ISSUER_ANNOTATION];
    named.iter().any(|key| value(key).is_some())
        || settings
            .auto_annotations
            .iter()
            .any(|key| value(key).is_some_and(|v| is_true(v)))
}

/// Read all annotations; every fault that is found.
pub(super) fn read(ingress: &IngressFact, settings: &Settings) -> Result<Wishes, Vec<Fault>> {
    let mut spec = CertificateSpec {
        usages: Some(vec!["digital signature".into(), "key encipherment".into()]),
        ..CertificateSpec::default()
    };
    let mut faults = vec![];
    match issuer(&ingress.annotations, settings) {
        Ok(issuer) => spec.issuer_ref = issuer,
        Err(found) => faults.extend(found),
    }
    for (annotation, set) in TABLE {
        if let Some(value) = ingress.annotations.get(annotation)
            && let Err(problem) = set(&mut spec, value)
        {
            faults.push(fault(annotation, problem));
        }
    }
    if faults.is_empty() {
        faults.extend(contradictions(&spec));
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    spec.subject = spec.subject.filter(|s| *s != X509Subject::default());
    Ok(Wishes {
        spec,
        annotations: certificate_annotations(ingress, settings),
    })
}

/// The issuer that the annotations name, else the default one.
fn issuer(
    annotations: &BTreeMap<String, String>,
    settings: &Settings,
) -> Result<IssuerReference, Vec<Fault>> {
    let value = |key: &str| annotations.get(key).cloned();
    let named = value(labels::ISSUER_ANNOTATION);
    let cluster = value(labels::CLUSTER_ISSUER_ANNOTATION);
    let kind = value(labels::ISSUER_KIND_ANNOTATION);
    let group = value(labels::ISSUER_GROUP_ANNOTATION);
    let mut faults = vec![];
    let others = [
        (labels::ISSUER_ANNOTATION, named.is_some()),
        (labels::ISSUER_KIND_ANNOTATION, kind.is_some()),
        (labels::ISSUER_GROUP_ANNOTATION, group.is_some()),
    ];
    for (other, _) in others
        .into_iter()
        .filter(|(_, set)| *set && cluster.is_some())
    {
        let problem = format!("it cannot be set together with {other}; remove one of the two");
        faults.push(fault(labels::CLUSTER_ISSUER_ANNOTATION, problem));
    }
    let (annotation, name, own_kind) = match (cluster, named) {
        (Some(name), _) => (labels::CLUSTER_ISSUER_ANNOTATION, name, CLUSTER_ISSUER_KIND),
        (None, Some(name)) => (labels::ISSUER_ANNOTATION, name, ISSUER_KIND),
        (None, None) => {
            let name = settings.default_issuer_name.clone();
            (
                labels::ISSUER_ANNOTATION,
                name,
                settings.default_issuer_kind.as_str(),
            )
        }
    };
    if name.is_empty() {
        let problem = "it names no issuer and there is no default issuer; set it, or \
                       cert-manager.io/cluster-issuer, to the name of one";
        faults.push(fault(annotation, problem));
    }
    let issuer = IssuerReference {
        name,
        kind: Some(kind.unwrap_or_else(|| own_kind.to_owned())),
        group: Some(group.unwrap_or_else(|| settings.default_issuer_group.clone())),
    };
    let issuer = IssuerReference {
        kind: Some(issuer.kind_or_default().to_owned()),
        group: Some(issuer.group_or_default().to_owned()),
        name: issuer.name,
    };
    if issuer.is_ours() && ![ISSUER_KIND, CLUSTER_ISSUER_KIND].contains(&issuer.kind_or_default()) {
        let problem = format!(
            "{} is no kind of {}; use Issuer or ClusterIssuer, or name the group of an external issuer in {}",
            shown(issuer.kind_or_default()),
            labels::GROUP,
            labels::ISSUER_GROUP_ANNOTATION
        );
        faults.push(fault(labels::ISSUER_KIND_ANNOTATION, problem));
    }
    if faults.is_empty() {
        Ok(issuer)
    } else {
        Err(faults)
    }
}

type Set = fn(&mut CertificateSpec, &str) -> Value<()>;

/// Each annotation and the field that it sets (contract §3.1).
const TABLE: [(&str, Set); 22] = [
    (labels::COMMON_NAME_ANNOTATION, |spec, value| {
        spec.common_name = Some(values::common_name(value)?).filter(|name| !name.is_empty());
        Ok(())
    }),
    (labels::ALT_NAMES_ANNOTATION, |spec, value| {
        spec.dns_names = filled(values::list(value));
        Ok(())
    }),
    (labels::IP_SANS_ANNOTATION, |spec, value| {
        spec.ip_addresses = filled(values::addresses(value)?);
        Ok(())
    }),
    (labels::EMAIL_SANS_ANNOTATION, |spec, value| {
        spec.email_addresses = filled(values::mailboxes(value)?);
        Ok(())
    }),
    (labels::SUBJECT_ORGANIZATIONS_ANNOTATION, |spec, value| {
        subject(spec).organizations = filled(values::csv(value)?);
        Ok(())
    }),
    (
        labels::SUBJECT_ORGANIZATIONALUNITS_ANNOTATION,
        |spec, value| {
            subject(spec).organizational_units = filled(values::csv(value)?);
            Ok(())
        },
    ),
    (labels::SUBJECT_COUNTRIES_ANNOTATION, |spec, value| {
        subject(spec).countries = filled(values::csv(value)?);
        Ok(())
    }),
    (labels::SUBJECT_PROVINCES_ANNOTATION, |spec, value| {
        subject(spec).provinces = filled(values::csv(value)?);
        Ok(())
    }),
    (labels::SUBJECT_LOCALITIES_ANNOTATION, |spec, value| {
        subject(spec).localities = filled(values::csv(value)?);
        Ok(())
    }),
    (labels::SUBJECT_POSTALCODES_ANNOTATION, |spec, value| {
        subject(spec).postal_codes = filled(values::csv(value)?);
        Ok(())
    }),
    (labels::SUBJECT_STREETADDRESSES_ANNOTATION, |spec, value| {
        subject(spec).street_addresses = filled(values::csv(value)?);
        Ok(())
    }),
    (labels::SUBJECT_SERIALNUMBER_ANNOTATION, |spec, value| {
        subject(spec).serial_number = Some(value.to_owned()).filter(|number| !number.is_empty());
        Ok(())
    }),
    (labels::DURATION_ANNOTATION, |spec, value| {
        spec.duration = Some(values::duration(value, SignedDuration::from_hours(1))?);
        Ok(())
    }),
    (labels::RENEW_BEFORE_ANNOTATION, |spec, value| {
        spec.renew_before = Some(values::duration(value, SignedDuration::from_mins(5))?);
        Ok(())
    }),
    (labels::RENEW_BEFORE_PERCENTAGE_ANNOTATION, |spec, value| {
        spec.renew_before_percentage = Some(values::number(value, None)?);
        Ok(())
    }),
    (labels::USAGES_ANNOTATION, |spec, value| {
        spec.usages = Some(values::usages(value)?);
        Ok(())
    }),
    (labels::REVISION_HISTORY_LIMIT_ANNOTATION, |spec, value| {
        spec.revision_history_limit = Some(values::number(value, Some(1))?);
        Ok(())
    }),
    (labels::PRIVATE_KEY_ALGORITHM_ANNOTATION, |spec, value| {
        private_key(spec).algorithm = Some(values::word(value, &["RSA", "ECDSA", "Ed25519"])?);
        Ok(())
    }),
    (labels::PRIVATE_KEY_ENCODING_ANNOTATION, |spec, value| {
        private_key(spec).encoding = Some(values::word(value, &["PKCS1", "PKCS8"])?);
        Ok(())
    }),
    (labels::PRIVATE_KEY_SIZE_ANNOTATION, |spec, value| {
        private_key(spec).size = Some(values::number(value, None)?);
        Ok(())
    }),
    (
        labels::PRIVATE_KEY_ROTATION_POLICY_ANNOTATION,
        |spec, value| {
            private_key(spec).rotation_policy = Some(values::word(value, &["Never", "Always"])?);
            Ok(())
        },
    ),
    (labels::SECRET_TEMPLATE_ANNOTATION, |spec, value| {
        spec.secret_template = values::template(value)?;
        Ok(())
    }),
];

fn filled(items: Vec<String>) -> Option<Vec<String>> {
    (!items.is_empty()).then_some(items)
}

fn subject(spec: &mut CertificateSpec) -> &mut X509Subject {
    spec.subject.get_or_insert_default()
}

fn private_key(spec: &mut CertificateSpec) -> &mut CertificatePrivateKey {
    spec.private_key.get_or_insert_default()
}

/// Values that are good each and not together.
fn contradictions(spec: &CertificateSpec) -> Vec<Fault> {
    let mut faults = vec![];
    let key = spec.private_key.clone().unwrap_or_default();
    let size = key.size;
    let problem = match (key.algorithm.as_deref().unwrap_or("RSA"), size) {
        ("RSA", Some(bits)) if !(2048..=8192).contains(&bits) => {
            Some(format!("{bits} is no size of an RSA key; use 2048 to 8192"))
        }
        ("ECDSA", Some(bits)) if ![256, 384, 521].contains(&bits) => Some(format!(
            "{bits} is no size of an ECDSA key; use 256, 384 or 521"
        )),
        _ => None,
    };
    faults.extend(problem.map(|p| fault(labels::PRIVATE_KEY_SIZE_ANNOTATION, p)));
    if spec.renew_before.is_some() && spec.renew_before_percentage.is_some() {
        let problem =
            "it cannot be set together with cert-manager.io/renew-before; remove one of the two";
        faults.push(fault(labels::RENEW_BEFORE_PERCENTAGE_ANNOTATION, problem));
    }
    let read = |text: Option<&String>| text.and_then(|t| parse_go_duration(t).ok());
    let lifetime = read(spec.duration.as_ref()).unwrap_or(SignedDuration::from_hours(2160));
    if let Some(before) = &spec.renew_before
        && read(Some(before)).is_some_and(|before| before >= lifetime)
    {
        let problem = format!(
            "{before} is not shorter than the lifetime; use less than cert-manager.io/duration (90 days when absent)"
        );
        faults.push(fault(labels::RENEW_BEFORE_ANNOTATION, problem));
    }
    faults
}

/// Annotations of the Certificate: the extra ones, and what tells the HTTP-01 solver which Ingress
/// to use.
fn certificate_annotations(ingress: &IngressFact, settings: &Settings) -> BTreeMap<String, String> {
    let value = |key: &str| {
        ingress
            .annotations
            .get(key)
            .filter(|v| !v.is_empty())
            .cloned()
    };
    let extra = settings.extra_annotations.iter();
    let extra = extra.filter_map(|key| Some((key.clone(), ingress.annotations.get(key)?.clone())));
    let mut all: BTreeMap<String, String> = extra.collect();
    if value(labels::HTTP01_EDIT_IN_PLACE_ANNOTATION).is_some_and(|v| v == labels::TRUE) {
        all.insert(
            labels::HTTP01_OVERRIDE_INGRESS_NAME_ANNOTATION.into(),
            ingress.id.name.to_string(),
        );
        all.insert(
            labels::ISSUE_TEMPORARY_CERTIFICATE_ANNOTATION.into(),
            labels::TRUE.into(),
        );
    }
    let overrides = [
        (
            labels::HTTP01_INGRESS_CLASS_ANNOTATION,
            labels::HTTP01_OVERRIDE_INGRESS_CLASS_ANNOTATION,
        ),
        (
            labels::HTTP01_INGRESS_INGRESSCLASSNAME_ANNOTATION,
            labels::HTTP01_OVERRIDE_INGRESS_INGRESSCLASSNAME_ANNOTATION,
        ),
    ];
    all.extend(
        overrides
            .into_iter()
            .filter_map(|(from, to)| Some((to.to_owned(), value(from)?))),
    );
    all
}
