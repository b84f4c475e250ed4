//! Reads for a CertificateRevocation: what it is about, from live objects, once; then facts.

use k8s_openapi::api::core::v1::Secret;

use super::mark::marks;
use super::plan::is_certificate;
use super::standing::stands_by;
use super::{Found, FoundCertificate, Observation};
use crate::api::meta::IssuerReference;
use crate::api::{Certificate, CertificateRequest, CertificateRevocation, labels};
use crate::controllers::key::Key;
use crate::controllers::reads::{ReadError, Reader};
use crate::explain::{Code, Verdict};
use crate::pki::{ParsedCertificate, PrivateKey, TEMPORARY_ISSUER, parse_chain};

/// The most certificates of one revocation.
const MOST: usize = 50;

/// Everything that the plan of this revocation depends on; `None` when it is gone. `account` says whether the account of an
/// issuer can be used.
pub async fn observe(
    reader: &Reader,
    key: &Key,
    account: impl Fn(&IssuerReference) -> bool,
) -> Result<Option<Observation>, ReadError> {
    let store = &reader.store;
    let Some(object) = store.revocation(&key.namespace, &key.name) else {
        return Ok(None);
    };
    let status = object.status.clone().unwrap_or_default();
    let subject = object.spec.certificate_ref.as_ref();
    let subject = subject.and_then(|r| store.certificate(&key.namespace, &r.name));
    let found = if needs_search(reader, key, &object, subject.as_deref()) {
        Some(find(reader, &key.namespace, &object).await?)
    } else {
        None
    };
    let issuer = match &found {
        Some(Ok(found)) => Some(found.issuer.clone()),
        _ => status.issuer_ref,
    };
    let keepers = status
        .secret_name
        .as_deref()
        .map(|name| store.certificates_for(&key.namespace, name));
    let secret = status.secret_name.as_deref();
    Ok(Some(Observation {
        found,
        account: issuer.as_ref().is_some_and(account),
        issuer: issuer.and_then(|issuer| store.issuer(&key.namespace, &issuer)),
        secret: secret.and_then(|name| store.secret(&key.namespace, name)),
        keeper: keepers.and_then(|keepers| keepers.first().cloned()),
        subject,
        unmarkable: false,
        object,
    }))
}

/// Whether it has to be found out what the spec leads to: once, or as often as the certificate changes whose end is waited
/// for.
fn needs_search(
    reader: &Reader,
    key: &Key,
    object: &CertificateRevocation,
    subject: Option<&Certificate>,
) -> bool {
    let entries = object.status.as_ref().and_then(|s| s.certificates.as_ref());
    let Some(entries) = entries else {
        return true;
    };
    let Some(subject) = subject.filter(|subject| stands_by(object, subject)) else {
        return false;
    };
    let secret = reader
        .store
        .secret(&key.namespace, &subject.spec.secret_name);
    let leaf = secret
        .as_ref()
        .and_then(|s| s.certificate.as_ref()?.as_ref().ok());
    let leaf = leaf.filter(|_| secret.as_ref().is_some_and(|s| !s.is_temporary()));
    leaf.is_some_and(|leaf| !entries.iter().any(|e| is_certificate(e, leaf.fingerprint)))
}

/// What the spec leads to.
async fn find(
    reader: &Reader,
    namespace: &str,
    object: &CertificateRevocation,
) -> Result<Result<Found, Verdict>, ReadError> {
    let spec = &object.spec;
    if let Some(reference) = &spec.certificate_ref {
        let Some(certificate) = reader.store.certificate(namespace, &reference.name) else {
            let text = format!(
                "spec.certificateRef: Certificate \"{}\" does not exist in namespace \"{namespace}\"",
                reference.name
            );
            return Ok(Err(nothing(text)));
        };
        let name = &certificate.spec.secret_name;
        let found = in_secret(
            reader,
            namespace,
            name,
            spec.issuer_ref.as_ref(),
            |reference| {
                let named = reference.unwrap_or_else(|| certificate.spec.issuer_ref.clone());
                signer(reader, namespace, name, named)
            },
        );
        let mut found = match found.await? {
            Ok(found) => found,
            Err(verdict) => return Ok(Err(verdict)),
        };
        if spec.older_revisions == Some(true) || marks(object).is_some() {
            add_older(reader, namespace, &certificate, &mut found).await?;
        }
        return Ok(checked(object, found));
    }
    if let Some(reference) = &spec.secret_ref {
        let name = &reference.name;
        let found = in_secret(
            reader,
            namespace,
            name,
            spec.issuer_ref.as_ref(),
            |reference| signer(reader, namespace, name, reference.unwrap_or_default()),
        );
        return Ok(found.await?.and_then(|found| checked(object, found)));
    }
    let pem = spec.certificate.as_deref().unwrap_or_default();
    Ok(match first(pem.as_bytes()) {
        Ok(certificate) => {
            let key_held = is_held(reader, namespace, object, &certificate).await?;
            let found = Found {
                certificates: vec![FoundCertificate {
                    certificate,
                    key_held,
                }],
                issuer: spec.issuer_ref.clone().unwrap_or_default(),
                secret: None,
                stored: None,
            };
            checked(object, found)
        }
        Err(problem) => Err(nothing(format!("spec.certificate: {problem}"))),
    })
}

/// Whether the Secret of `spec.privateKeySecretRef` has the key of this certificate.
async fn is_held(
    reader: &Reader,
    namespace: &str,
    object: &CertificateRevocation,
    certificate: &ParsedCertificate,
) -> Result<bool, ReadError> {
    let Some(reference) = &object.spec.private_key_secret_ref else {
        return Ok(false);
    };
    let secret: Option<Secret> = reader.live(namespace, &reference.name).await?;
    let pem = secret.and_then(|s| s.data?.remove(reference.key_or("tls.key")));
    let key = pem.and_then(|pem| PrivateKey::from_pem(&pem.0).ok());
    Ok(key.is_some_and(|key| key.public_key_der() == certificate.public_key_der()))
}

/// The certificate in a Secret. `or` says who has issued it if the Secret does not.
async fn in_secret(
    reader: &Reader,
    namespace: &str,
    name: &str,
    given: Option<&IssuerReference>,
    or: impl FnOnce(Option<IssuerReference>) -> IssuerReference,
) -> Result<Result<Found, Verdict>, ReadError> {
    let secret: Option<Secret> = reader.live(namespace, name).await?;
    let Some(secret) = secret else {
        let text = format!("Secret \"{name}\" does not exist in namespace \"{namespace}\"");
        return Ok(Err(nothing(text)));
    };
    let stored = secret.metadata.creation_timestamp.as_ref().map(|t| t.0);
    let data = secret.data.unwrap_or_default();
    let entry = |name: &str| data.get(name).map(|bytes| bytes.0.as_slice());
    let certificate = match first(entry("tls.crt").unwrap_or_default()) {
        Ok(certificate) => certificate,
        Err(problem) => {
            let text = format!("tls.crt of Secret \"{name}\": {problem}");
            return Ok(Err(nothing(text)));
        }
    };
    let key = entry("tls.key").and_then(|pem| PrivateKey::from_pem(pem).ok());
    let key_held = key.is_some_and(|key| key.public_key_der() == certificate.public_key_der());
    let annotations = secret.metadata.annotations.unwrap_or_default();
    let annotation = |name: &str| annotations.get(name).filter(|v| !v.is_empty()).cloned();
    let annotated = annotation(labels::ISSUER_NAME_ANNOTATION).map(|name| IssuerReference {
        group: annotation(labels::ISSUER_GROUP_ANNOTATION),
        kind: annotation(labels::ISSUER_KIND_ANNOTATION),
        name,
    });
    Ok(Ok(Found {
        certificates: vec![FoundCertificate {
            certificate,
            key_held,
        }],
        issuer: given.cloned().unwrap_or_else(|| or(annotated)),
        secret: Some(name.to_owned()),
        stored,
    }))
}

/// The issuer that a Secret names; of an ordered one that of its issuers which has signed, if that is known.
fn signer(
    reader: &Reader,
    namespace: &str,
    secret: &str,
    named: IssuerReference,
) -> IssuerReference {
    let member = || {
        let secret = reader.store.secret(namespace, secret)?;
        let name = secret.certificate_name.as_deref()?;
        let certificate = reader.store.certificate(namespace, name)?;
        reader.store.signer(namespace, &certificate, &secret)
    };
    let member = named.is_ordered().then(member).flatten();
    member.unwrap_or(named)
}

/// What the requests of a Certificate were answered with.
async fn add_older(
    reader: &Reader,
    namespace: &str,
    certificate: &Certificate,
    found: &mut Found,
) -> Result<(), ReadError> {
    let uid = certificate.metadata.uid.as_deref().unwrap_or_default();
    for request in reader.store.requests_of(namespace, uid) {
        let live: Option<CertificateRequest> = reader.live(namespace, &request.id.name).await?;
        let pem = live.and_then(|r| r.status?.certificate);
        let Some(Ok(older)) = pem.map(|pem| first(&pem.0)) else {
            continue;
        };
        let known = found.certificates.iter();
        let known = known
            .map(|f| &f.certificate)
            .any(|c| c.der() == older.der());
        // The request is of this Certificate: that its answer is the namespace's needs no further proof.
        let issuer = reader.store.answered_by(&request);
        let same = issuer.is_some_and(|issuer| issuer.is_same(&found.issuer));
        if !known && found.certificates.len() < MOST && same {
            found.certificates.push(FoundCertificate {
                certificate: older,
                key_held: false,
            });
        }
    }
    Ok(())
}

/// Whether the namespace may ask that issuer for that: an account revokes whatever was issued to it, and that of a
/// ClusterIssuer is everybody's.
fn checked(object: &CertificateRevocation, found: Found) -> Result<Found, Verdict> {
    let spec = &object.spec;
    let Found { issuer, secret, .. } = &found;
    if issuer.name.is_empty() {
        let text = "The Secret does not say who has issued the certificate: set spec.issuerRef";
        return Err(nothing(text));
    }
    if issuer.is_ordered() {
        let text = format!(
            "{} \"{}\" does not sign itself: set spec.issuerRef to that of its issuers which has signed the certificate",
            issuer.kind_or_default(),
            issuer.name
        );
        return Err(Verdict::new(Code::REVOCATION_ISSUER, text));
    }
    if !issuer.is_ours() {
        let text = format!(
            "The certificate is of an issuer of the group {}, which has to revoke it itself",
            issuer.group_or_default()
        );
        return Err(Verdict::new(Code::REVOCATION_ISSUER, text));
    }
    let key = spec.private_key_secret_ref.as_ref();
    if spec.renew_first == Some(true) && key.is_some_and(|key| Some(&key.name) == secret.as_ref()) {
        let text = "spec.privateKeySecretRef: with renewFirst the key in that Secret is another one when the CA is \
                    asked; name a Secret with a copy of the key";
        return Err(Verdict::new(Code::REVOCATION_KEY, text));
    }
    let first = found.certificates.first();
    let shown = key.is_some() || first.is_some_and(|first| first.key_held);
    if !shown && issuer.kind_or_default() == "ClusterIssuer" {
        let text = format!(
            "Nothing shows that the certificate is of this namespace, and ClusterIssuer \"{}\" issues for all: name a \
             Secret with its private key in spec.secretRef or spec.privateKeySecretRef",
            issuer.name
        );
        return Err(Verdict::new(Code::REVOCATION_KEY, text));
    }
    Ok(found)
}

fn first(pem: &[u8]) -> Result<ParsedCertificate, String> {
    let chain = parse_chain(pem).map_err(|e| e.to_string())?;
    let first = chain.into_iter().next().ok_or("no certificate found")?;
    if first.issuer().common_name().as_deref() == Some(TEMPORARY_ISSUER) {
        return Err("it is a temporary certificate, which no CA has issued".into());
    }
    Ok(first)
}

fn nothing(text: impl Into<String>) -> Verdict {
    Verdict::new(Code::REVOCATION_SUBJECT, text)
}
