//! Approval and signing of a CertificateRequest (contract §2.2, §4.7, §5.2, §6.2).

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::{Map, Value, json};

use super::{Effect, Observation, Outcome, Settings};
use crate::api::acme_issuer::AcmeIssuer;
use crate::api::duration::parse_go_duration;
use crate::api::issuer::SelfSignedIssuer;
use crate::api::{CertificateRequest, Condition, Order, OrderSpec, names};
use crate::controllers::action::{Action, Event, Object, Plan, Target, patch_status};
use crate::controllers::facts::{Identity, digest};
use crate::controllers::key::Kind;
use crate::controllers::status::{condition, find, seconds, set_condition};
use crate::pki::{CertificateSigningRequest, KeyUsages, Subject, parse_chain};

const APPROVER: &str = "cert-manager-certificaterequests-approver";
const SELF_SIGNED: &str = "cert-manager-certificaterequests-issuer-selfsigned";
const ACME: &str = "cert-manager-certificaterequests-issuer-acme";

/// Lifetime of a certificate when nobody asked for one: 90 days.
const DEFAULT_DURATION: SignedDuration = SignedDuration::from_hours(2160);

/// Plan the next step of a request.
pub fn plan(o: &Observation, settings: &Settings, now: Timestamp) -> Plan<Effect> {
    let request = &o.request;
    if request.id.deleting || request.is_final() {
        return Plan::idle();
    }
    let Some(body) = request.body.clone() else {
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
    let Some(body) = o.request.body.clone() else {
        return Plan::idle();
    };
    let mut step = Step::new(o, settings, body, now);
    step.approve();
    match outcome {
        Outcome::Signed(pem) => {
            let certificate = ByteString(pem.into_bytes());
            step.put("ca", json!(certificate));
            step.issued(SELF_SIGNED, &certificate);
            step.warn_of_empty_issuer();
        }
        Outcome::NoKey(message) => step.pending(SELF_SIGNED, "SecretMissing", message),
        Outcome::Refused { reason, message } => step.failed(SELF_SIGNED, reason, &message),
    }
    step.finish()
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
        let ours = request.issuer.is_ours();
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
        if !self.approve() {
            return;
        }
        if ours {
            self.sign();
        }
    }

    /// Whether the request is approved, after approving what nobody has decided about.
    fn approve(&mut self) -> bool {
        if self.o.request.approved {
            return true;
        }
        if !self.settings.approve {
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
        if !issuer.is_ready() {
            let message = "Referenced issuer does not have a Ready status condition";
            return self.pending(ACME, "IssuerNotReady", message.into());
        }
        let csr = match self.checked_csr() {
            Ok(csr) => csr,
            Err(problem) => return self.failed(ACME, "RequestParsingError", &problem),
        };
        if let Some(self_signed) = &issuer.spec.self_signed {
            self.self_sign(self_signed);
        } else if let Some(acme) = &issuer.spec.acme {
            self.order(&csr, acme);
        } else {
            let message = format!(
                "{} \"{}\" is of a type that this version of Everleaf does not sign with; it signs with \
                 acme and selfSigned",
                reference.kind_or_default(),
                reference.name
            );
            self.pending(ACME, "IssuerTypeMissing", message);
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
        let named = self.o.request.key_secret.clone().filter(|n| !n.is_empty());
        let Some(key_secret) = named else {
            let message = "Annotation \"cert-manager.io/private-key-secret-name\" missing or reference empty: it \
                           names the Secret of the private key that a self-signed certificate is signed with";
            return self.failed(SELF_SIGNED, "MissingAnnotation", message);
        };
        let spec = &self.body.spec;
        let duration = spec
            .duration
            .as_deref()
            .and_then(|d| parse_go_duration(d).ok());
        self.plan.effect = Some(Effect::SelfSign {
            key_secret,
            csr: spec.request.0.clone(),
            duration: duration.unwrap_or(DEFAULT_DURATION),
            is_ca: spec.is_ca.unwrap_or_default(),
            usages: spec.usages.clone().unwrap_or_default(),
            crl_distribution_points: issuer.crl_distribution_points.clone().unwrap_or_default(),
            not_before: self.now,
        });
        self.hold_status = true;
    }

    /// Contract §5.2: one Order a request, found by its owner.
    fn order(&mut self, csr: &CertificateSigningRequest, acme: &AcmeIssuer) {
        let sans = csr.sans();
        let ip_addresses: Vec<String> = sans.ip_addresses.iter().map(ToString::to_string).collect();
        let common_name = csr.subject().common_name().filter(|c| !c.is_empty());
        if let Some(name) = &common_name
            && !sans.dns_names.contains(name)
            && !ip_addresses.contains(name)
        {
            let message = format!(
                "The CSR PEM requests a commonName that is not present in the list of dnsNames or ipAddresses: \
                 add \"{name}\" to spec.dnsNames of the Certificate"
            );
            return self.failed(ACME, "InvalidOrder", &message);
        }
        if let Some(order) = self
            .o
            .orders
            .iter()
            .find(|o| o.metadata.deletion_timestamp.is_none())
            .cloned()
        {
            return self.follow(&order);
        }
        let spec = OrderSpec {
            common_name,
            dns_names: some(sans.dns_names),
            ip_addresses: some(ip_addresses),
            duration: self
                .body
                .spec
                .duration
                .clone()
                .filter(|_| acme.enable_duration_feature == Some(true)),
            issuer_ref: self.body.spec.issuer_ref.clone(),
            profile: acme.profile.clone().filter(|p| !p.is_empty()),
            replaces: None,
            request: self.body.spec.request.clone(),
        };
        let meta = &self.body.metadata;
        let id = &self.o.request.id;
        let name = match names::order_name(&id.name, &spec) {
            Ok(name) => name,
            Err(e) => return self.failed(ACME, "OrderBuildingError", &e.to_string()),
        };
        let order = Order {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: meta.namespace.clone(),
                labels: meta.labels.clone(),
                annotations: meta.annotations.clone(),
                owner_references: Some(vec![OwnerReference {
                    api_version: "cert-manager.io/v1".into(),
                    kind: "CertificateRequest".into(),
                    name: id.name.to_string(),
                    uid: id.uid.clone(),
                    controller: Some(true),
                    block_owner_deletion: Some(true),
                }]),
                ..ObjectMeta::default()
            },
            spec,
            status: None,
        };
        let message = format!("Created Order resource {}/{name}", id.namespace);
        self.pending(ACME, "OrderCreated", message);
        self.after
            .push(Action::Ensure(Box::new(Object::Order(order))));
    }

    fn follow(&mut self, order: &Order) {
        let namespace = &self.o.request.id.namespace;
        let name = order.metadata.name.as_deref().unwrap_or_default();
        let status = order.status.clone().unwrap_or_default();
        match status.state.as_deref().unwrap_or_default() {
            state @ ("invalid" | "expired" | "errored") => {
                let reason = status.reason.unwrap_or_default();
                let message = format!(
                    "Failed to wait for order resource \"{name}\" to become ready: order is in \"{state}\" \
                     state: {reason}"
                );
                self.failed(ACME, "OrderFailed", &message);
            }
            "valid" if status.certificate.is_some() => {
                let certificate = status.certificate.unwrap_or_default();
                if self.fits(&certificate.0) {
                    self.issued(ACME, &certificate);
                } else {
                    self.after
                        .push(Action::Delete(Target::Order, Identity::of(&order.metadata)));
                }
            }
            state => {
                let message = format!(
                    "Waiting on certificate issuance from order {namespace}/{name}: \"{state}\""
                );
                // The first word is enough: each state is on the Order itself.
                if self.o.request.ready.is_none() {
                    self.pending(ACME, "OrderPending", message);
                }
            }
        }
    }

    /// Whether the certificate has the public key of the request.
    fn fits(&self, pem: &[u8]) -> bool {
        let asked = self.o.request.compared.as_ref().map(|c| c.public);
        let leaf = parse_chain(pem)
            .ok()
            .and_then(|chain| chain.into_iter().next());
        leaf.is_some_and(|leaf| asked == Ok(digest(&leaf.public_key_der())))
    }

    fn issued(&mut self, component: &'static str, certificate: &ByteString) {
        self.put("certificate", json!(certificate));
        let message = "Certificate fetched from issuer successfully";
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

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn same_usages(a: &KeyUsages, b: &KeyUsages) -> bool {
    let sorted = |usages: &KeyUsages| {
        let mut names = usages.names();
        names.sort();
        names
    };
    sorted(a) == sorted(b)
}
