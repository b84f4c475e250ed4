//! Approval and signing of a CertificateRequest (contract §2.2, §4.7, §5.2, §6).

mod child;
mod order;
mod ordered;
mod rehearsal;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use serde_json::{Map, Value, json};

use super::{Effect, Observation, Outcome, Settings, Wanted};
use crate::api::duration::parse_go_duration;
use crate::api::issuer::{CaIssuer, SelfSignedIssuer};
use crate::api::vault::VaultIssuer;
use crate::api::{CertificateRequest, Condition, IssuerSpec, labels};
use crate::controllers::action::{Action, Event, Plan, patch_status};
use crate::controllers::certificate::DEFAULT_DURATION;
use crate::controllers::facts::IssuerFact;
use crate::controllers::key::{Key, Kind};
use crate::controllers::revocation_list::path;
use crate::controllers::status::{backoff, condition, find, seconds, set_condition};
use crate::explain::{Code, Verdict};
use crate::pki::{CertificateSigningRequest, KeyUsages, Subject};

const APPROVER: &str = labels::MANAGER_CERTIFICATEREQUESTS_APPROVER;
const SELF_SIGNED: &str = labels::MANAGER_CERTIFICATEREQUESTS_ISSUER_SELFSIGNED;
const CA: &str = labels::MANAGER_CERTIFICATEREQUESTS_ISSUER_CA;
const ACME: &str = labels::MANAGER_CERTIFICATEREQUESTS_ISSUER_ACME;
const VAULT: &str = labels::MANAGER_CERTIFICATEREQUESTS_ISSUER_VAULT;
const VENAFI: &str = labels::MANAGER_CERTIFICATEREQUESTS_ISSUER_VENAFI;

/// The longest time between two tries of an issuer that could not be asked.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long a request whose owner is not there is left alone before it says so.
const ORPHANED: Duration = Duration::from_mins(1);

/// Until it is asked again whether a request may be approved.
pub const REFUSED: Duration = Duration::from_mins(1);

const ISSUED: &str = "Certificate fetched from issuer successfully";

/// Plan the next step of a request.
pub fn plan(o: &Observation, settings: &Settings, now: Timestamp) -> Plan<Effect> {
    let request = &o.request;
    if request.id.deleting || request.is_final() {
        return Plan::idle();
    }
    let Some(body) = request.object() else {
        return Plan::idle();
    };
    let mut step = Step::new(o, settings, body, now);
    step.decide();
    step.finish()
}

/// Plan what follows from signing.
pub fn absorb(
    o: &Observation,
    settings: &Settings,
    outcome: Outcome,
    now: Timestamp,
) -> Plan<Effect> {
    let Some(body) = o.request.object() else {
        return Plan::idle();
    };
    let mut step = Step::new(o, settings, body, now);
    step.approve();
    let component = component(o.issuer.as_deref());
    match outcome {
        Outcome::Signed {
            certificate,
            ca,
            clamped,
        } => {
            if !ca.is_empty() {
                step.put("ca", json!(ByteString(ca.into_bytes())));
            }
            let message = clamped.map_or_else(|| ISSUED.to_owned(), clamped_message);
            step.issued(component, &ByteString(certificate.into_bytes()), &message);
            if component == SELF_SIGNED {
                step.warn_of_empty_issuer();
            }
        }
        Outcome::Waiting { reason, message } => step.pending(component, reason, message),
        Outcome::Unavailable { reason, message } => {
            let pending = find(&step.conditions, "Ready").cloned();
            step.pending(component, reason, message);
            step.plan.wake = Some(backoff(pending.as_ref(), now, PATIENCE));
        }
        Outcome::Refused { reason, message } => step.failed(component, reason, &message),
    }
    step.finish()
}

fn clamped_message(end: Timestamp) -> String {
    format!(
        "{ISSUED}; it ends at {end}, before the time asked for, because its CA's certificate does"
    )
}

/// Whom events come from: the controller of the issuer's type.
pub(super) fn component(issuer: Option<&IssuerFact>) -> &'static str {
    match issuer.map(|issuer| &issuer.spec) {
        Some(IssuerSpec { ca: Some(_), .. }) => CA,
        Some(IssuerSpec {
            self_signed: Some(_),
            ..
        }) => SELF_SIGNED,
        Some(IssuerSpec { vault: Some(_), .. }) => VAULT,
        Some(IssuerSpec {
            venafi: Some(_), ..
        }) => VENAFI,
        _ => ACME,
    }
}

struct Step<'a> {
    o: &'a Observation,
    settings: &'a Settings,
    body: Arc<CertificateRequest>,
    now: Timestamp,
    plan: Plan<Effect>,
    /// Writes that follow the status.
    after: Vec<Action>,
    conditions: Vec<Condition>,
    status: Map<String, Value>,
    changed: bool,
    /// The status waits for what the effect brings.
    hold_status: bool,
}

impl<'a> Step<'a> {
    fn new(
        o: &'a Observation,
        settings: &'a Settings,
        body: Arc<CertificateRequest>,
        now: Timestamp,
    ) -> Self {
        let conditions = body
            .status
            .as_ref()
            .and_then(|s| s.conditions.clone())
            .unwrap_or_default();
        Self {
            o,
            settings,
            body,
            now,
            plan: Plan::idle(),
            after: vec![],
            conditions,
            status: Map::new(),
            changed: false,
            hold_status: false,
        }
    }

    fn decide(&mut self) {
        let request = &self.o.request;
        let ordered = request.issuer.is_ordered();
        let ours = request.issuer.is_ours() || ordered;
        if request.denied.is_some() {
            if ours {
                self.end(
                    "Denied",
                    "The CertificateRequest was denied by an approval controller",
                );
            }
            return;
        }
        if request.invalid.is_some() {
            return;
        }
        if self.o.orphaned {
            return self.wait_for_owner(ours);
        }
        if !self.approve() {
            if ours && self.settings.verbose_events {
                let message = "Not signing CertificateRequest until it is Approved";
                let component = component(self.o.issuer.as_deref());
                let event = Event::normal(component, "WaitingForApproval", message);
                self.plan.events.push(event);
            }
            return;
        }
        if ordered {
            self.sign_in_order();
        } else if ours {
            self.sign();
        }
    }

    /// Nobody would use the certificate. The garbage collector deletes such a request, but perhaps after the CA has been asked;
    /// its owner may also not be known yet, and wakes it then.
    fn wait_for_owner(&mut self, ours: bool) {
        let id = &self.o.request.id;
        let age = Duration::try_from(self.now.duration_since(id.created)).unwrap_or_default();
        if let Some(left) = ORPHANED.checked_sub(age).filter(|left| !left.is_zero()) {
            return self.plan.sooner(left);
        }
        let parent = self.o.request.parent.as_deref();
        let (kind, owner) = match &self.o.request.owner {
            Some(owner) => ("Certificate", Some(owner)),
            None => ("CertificateRequest", parent),
        };
        let Some((uid, name)) = owner.filter(|_| ours) else {
            return;
        };
        let message = format!(
            "Not signed: {kind} \"{name}\" with the uid {uid}, which the request is for, does not exist. A request from a backup \
             is of no use: delete it, its Certificate makes another one"
        );
        self.pending(
            component(self.o.issuer.as_deref()),
            "OwnerNotFound",
            message,
        );
    }

    /// Whether the request is approved, after approving what nobody has decided about.
    fn approve(&mut self) -> bool {
        if self.o.request.approved {
            return true;
        }
        if !self.settings.approve {
            return false;
        }
        if !self.o.may_approve {
            self.plan.sooner(REFUSED);
            return false;
        }
        let message = "Certificate request has been approved by cert-manager.io";
        self.set(condition(
            "Approved",
            true,
            "cert-manager.io",
            message,
            None,
        ));
        if self.settings.verbose_events {
            self.plan
                .events
                .push(Event::normal(APPROVER, "cert-manager.io", message));
        }
        true
    }

    fn sign(&mut self) {
        let reference = &self.o.request.issuer;
        let Some(issuer) = self.o.issuer.clone() else {
            let kind = reference.kind_or_default();
            let message = format!(
                "Referenced \"{kind}\" not found: {}.cert-manager.io \"{}\" not found",
                kind.to_lowercase(),
                reference.name
            );
            return self.pending(ACME, "IssuerNotFound", message);
        };
        let component = component(Some(&issuer));
        if self.settings.is_off(&issuer) {
            return;
        }
        if let Some(by) = &self.o.compromised {
            let text = format!(
                "The private key of the request is compromised according to CertificateRevocation \"{by}\": make the \
                 request with another key"
            );
            let verdict = Verdict::new(Code::KEY_COMPROMISED, text);
            return self.failed(component, "KeyCompromised", &verdict.to_string());
        }
        if !issuer.is_ready() {
            let message = "Referenced issuer does not have a Ready status condition";
            return self.pending(component, "IssuerNotReady", message.into());
        }
        let csr = match self.checked_csr() {
            Ok(csr) => csr,
            Err(problem) => return self.failed(component, "RequestParsingError", &problem),
        };
        if let Some(self_signed) = &issuer.spec.self_signed {
            self.self_sign(self_signed);
        } else if let Some(ca) = &issuer.spec.ca {
            self.sign_by_ca(&issuer, ca);
        } else if let Some(acme) = &issuer.spec.acme {
            self.order(&csr, acme);
        } else if let Some(vault) = &issuer.spec.vault {
            self.sign_by_vault(&issuer, vault);
        } else {
            let message = format!(
                "{} \"{}\" is of a type that this version of Everleaf does not sign with; it signs with \
                 acme, ca, selfSigned and vault",
                reference.kind_or_default(),
                reference.name
            );
            self.pending(component, "IssuerTypeMissing", message);
        }
    }

    /// The CSR, if it says the same as the request around it.
    fn checked_csr(&self) -> Result<CertificateSigningRequest, String> {
        let spec = &self.body.spec;
        let csr = CertificateSigningRequest::parse_pem(&spec.request.0)
            .map_err(|e| format!("spec.request cannot be read: {e}"))?;
        if let Some(Err(problem)) = spec.duration.as_deref().map(parse_go_duration) {
            return Err(format!("spec.duration: {problem}"));
        }
        let names = spec.usages.clone().unwrap_or_default();
        let is_ca = spec.is_ca.unwrap_or_default();
        let asked =
            KeyUsages::from_names(&names, is_ca).map_err(|e| format!("spec.usages: {e}"))?;
        if let Some(encoded) = csr.usages()
            && !same_usages(&encoded, &asked)
        {
            return Err(format!(
                "the usages in the CSR ({}) are not those of spec.usages ({})",
                encoded.names().join(", "),
                asked.names().join(", ")
            ));
        }
        if let Some(encoded) = csr.is_ca()
            && encoded != is_ca
        {
            return Err(
                "the CSR and spec.isCA disagree on whether the certificate is a CA's".into(),
            );
        }
        Ok(csr)
    }

    fn self_sign(&mut self, issuer: &SelfSignedIssuer) {
        let named = self
            .o
            .request
            .key_secret
            .as_deref()
            .filter(|n| !n.is_empty());
        let Some(key_secret) = named else {
            let message = "Annotation \"cert-manager.io/private-key-secret-name\" missing or reference empty: it \
                           names the Secret of the private key that a self-signed certificate is signed with";
            return self.failed(SELF_SIGNED, "MissingAnnotation", message);
        };
        let wanted = Wanted {
            crl_distribution_points: issuer.crl_distribution_points.clone().unwrap_or_default(),
            ..self.wanted()
        };
        self.plan.effect = Some(Effect::SelfSign {
            key_secret: key_secret.to_owned(),
            wanted,
        });
        self.hold_status = true;
    }

    fn sign_by_vault(&mut self, issuer: &IssuerFact, vault: &VaultIssuer) {
        if let Some(until) = self.o.resting.filter(|until| *until > self.now) {
            let left = until.duration_since(self.now).try_into();
            return self.plan.sooner(left.unwrap_or_default());
        }
        let wanted = self.wanted();
        self.plan.effect = Some(Effect::SignByVault {
            issuer: issuer_key(issuer),
            vault: Box::new(vault.clone()),
            csr: wanted.csr,
            duration: wanted.duration,
        });
        self.hold_status = true;
    }

    fn sign_by_ca(&mut self, issuer: &IssuerFact, ca: &CaIssuer) {
        if let Some((why, until)) = self.o.waits.clone() {
            let left = until.duration_since(self.now).try_into();
            self.plan.sooner(left.unwrap_or_default());
            return self.pending(CA, "IssuancePending", why);
        }
        let urls = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
        self.plan.effect = Some(Effect::SignByCa {
            issuer: issuer_key(issuer),
            secret: ca.secret_name.clone(),
            wanted: Wanted {
                crl_distribution_points: self.distribution_points(issuer, ca),
                ocsp_servers: urls(&ca.ocsp_servers),
                issuing_certificate_urls: urls(&ca.issuing_certificate_urls),
                ..self.wanted()
            },
        });
        self.hold_status = true;
    }

    /// Where the revocation list of the CA is: what the issuer says, else where this operator serves it.
    fn distribution_points(&self, issuer: &IssuerFact, ca: &CaIssuer) -> Vec<String> {
        let base = self.settings.revocation_list_url.trim_end_matches('/');
        match &ca.crl_distribution_points {
            Some(urls) => urls.clone(),
            None if ca.revocation_list.is_none() || base.is_empty() => vec![],
            None => vec![format!("{base}{}", path(&issuer_key(issuer)))],
        }
    }

    /// What the request itself says of its certificate.
    fn wanted(&self) -> Wanted {
        let spec = &self.body.spec;
        let duration = spec.duration.as_deref();
        let duration = duration.and_then(|d| parse_go_duration(d).ok());
        Wanted {
            csr: spec.request.0.clone(),
            not_before: self.now,
            duration: duration.unwrap_or(DEFAULT_DURATION),
            is_ca: spec.is_ca.unwrap_or_default(),
            usages: spec.usages.clone().unwrap_or_default(),
            crl_distribution_points: vec![],
            ocsp_servers: vec![],
            issuing_certificate_urls: vec![],
        }
    }

    fn issued(&mut self, component: &'static str, certificate: &ByteString, message: &str) {
        self.put("certificate", json!(certificate));
        self.set(condition("Ready", true, "Issued", message, None));
        if self.settings.verbose_events || self.o.request.owner.is_none() {
            self.plan
                .events
                .push(Event::normal(component, "CertificateIssued", message));
        }
    }

    /// The issuer of a self-signed certificate is its own subject (RFC 5280 §4.1.2.4).
    fn warn_of_empty_issuer(&mut self) {
        let csr = CertificateSigningRequest::parse_pem(&self.body.spec.request.0);
        let is_empty = csr.is_ok_and(|csr| csr.subject().to_subject() == Subject::default());
        if is_empty && self.settings.verbose_events {
            let message = "The certificate has an empty issuer, which RFC 5280 forbids and some clients \
                           refuse: give the Certificate a commonName or a subject";
            self.plan
                .events
                .push(Event::warning(SELF_SIGNED, "BadConfig", message));
        }
    }

    fn pending(&mut self, component: &'static str, reason: &str, message: String) {
        let first = find(&self.conditions, "Ready").is_none();
        if first && (self.settings.verbose_events || !reason.starts_with("Order")) {
            self.plan
                .events
                .push(Event::normal(component, reason, &message));
        }
        self.set(condition("Ready", false, "Pending", message, None));
    }

    fn failed(&mut self, component: &'static str, reason: &str, message: &str) {
        self.plan
            .events
            .push(Event::warning(component, reason, message));
        self.end("Failed", message);
    }

    fn end(&mut self, reason: &str, message: &str) {
        self.set(condition("Ready", false, reason, message, None));
        self.put("failureTime", json!(seconds(self.now)));
    }

    fn set(&mut self, new: Condition) {
        self.changed |= set_condition(&mut self.conditions, new, self.now);
    }

    fn put(&mut self, field: &str, value: Value) {
        self.status.insert(field.into(), value);
    }

    fn finish(mut self) -> Plan<Effect> {
        if self.changed {
            self.status
                .insert("conditions".into(), json!(self.conditions));
        }
        if !self.status.is_empty() && !self.hold_status {
            let patch = patch_status(
                Kind::CertificateRequest,
                &self.o.request.id,
                Value::Object(self.status),
            );
            self.plan.actions.push(patch);
        }
        if self.hold_status {
            self.plan.events.clear();
        }
        self.plan.actions.append(&mut self.after);
        self.plan
    }
}

/// Only a ClusterIssuer has no namespace.
pub fn issuer_key(issuer: &IssuerFact) -> Key {
    let kind = match &*issuer.id.namespace {
        "" => Kind::ClusterIssuer,
        _ => Kind::Issuer,
    };
    Key::new(kind, &issuer.id.namespace, &issuer.id.name)
}

fn same_usages(a: &KeyUsages, b: &KeyUsages) -> bool {
    let sorted = |usages: &KeyUsages| {
        let mut names = usages.names();
        names.sort();
        names
    };
    sorted(a) == sorted(b)
}
