//! A request that is made for another one: the same CSR, at another issuer.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::json;

use super::Step;
use crate::api::meta::IssuerReference;
use crate::api::{CertificateRequest, CertificateRequestSpec, labels, names};
use crate::controllers::action::{Action, Object, Target, patch_status};
use crate::controllers::certificate_request::Child;
use crate::controllers::facts::Identity;
use crate::controllers::key::Kind;
use crate::controllers::ordered_issuer::shown;
use crate::controllers::status::{condition, seconds, set_condition};
use crate::explain::{Code, Fault, Verdict, ca_fault};

/// Annotations of a request that are about its Certificate, not about what is signed.
const NOT_COPIED: [&str; 4] = [
    labels::CERTIFICATE_REVISION_ANNOTATION,
    labels::REQUESTS_MADE_ANNOTATION,
    labels::FAILED_ATTEMPTS_ANNOTATION,
    labels::ISSUER_SEEN_ANNOTATION,
];

impl Step<'_> {
    /// Ask this issuer the same.
    pub(super) fn ask_for(&mut self, issuer: &IssuerReference) {
        let child = Box::new(Object::CertificateRequest(self.child(issuer)));
        self.after.push(Action::Ensure(child));
    }

    /// The request ends here for a fault of its issuer, so that there is never more than one under way.
    pub(super) fn give_up(&mut self, child: &Child, fault: &str, code: Code) {
        let issuer = shown(&child.request.issuer);
        let text = format!("Given up, because {issuer} cannot sign: {fault}");
        // A limit is told by its own words, and when it ends.
        let message = match code {
            Code::ACME_RATE_LIMITED => text,
            code => Verdict::new(code, text).to_string(),
        };
        let body = child.request.object();
        let status = body.as_ref().and_then(|body| body.status.as_ref());
        let conditions = status.and_then(|status| status.conditions.clone());
        let mut conditions = conditions.unwrap_or_default();
        let failed = condition("Ready", false, "Failed", message, None);
        set_condition(&mut conditions, failed, self.now);
        let status = json!({ "conditions": conditions, "failureTime": seconds(self.now) });
        let patch = patch_status(Kind::CertificateRequest, &child.request.id, status);
        self.after.push(patch);
    }

    /// Have the Orders of requests that ended deleted; whether none is left. Their deletion wakes this one.
    pub(super) fn clears_orders<'c>(
        &mut self,
        children: impl IntoIterator<Item = &'c Child>,
    ) -> bool {
        let left = children.into_iter().flat_map(|child| &child.orders);
        let left: Vec<_> = left.map(|o| Identity::of(&o.metadata)).collect();
        let none = left.is_empty();
        let gone = left.into_iter().filter(|id| !id.deleting);
        let gone = gone.map(|id| Action::Delete(Target::Order, id));
        self.after.extend(gone);
        none
    }

    /// The same request, of this issuer.
    fn child(&self, issuer: &IssuerReference) -> CertificateRequest {
        let id = &self.o.request.id;
        let meta = &self.body.metadata;
        let spec = &self.body.spec;
        let annotations = meta.annotations.clone().map(|mut annotations| {
            annotations.retain(|name, _| !NOT_COPIED.contains(&name.as_str()));
            annotations
        });
        CertificateRequest {
            metadata: ObjectMeta {
                name: Some(names::child_request_name(&id.name, issuer)),
                namespace: meta.namespace.clone(),
                labels: meta.labels.clone(),
                annotations,
                owner_references: Some(vec![OwnerReference {
                    api_version: labels::API_VERSION.into(),
                    kind: Kind::CertificateRequest.name().into(),
                    name: id.name.to_string(),
                    uid: id.uid.clone(),
                    controller: Some(true),
                    block_owner_deletion: Some(true),
                }]),
                ..ObjectMeta::default()
            },
            spec: CertificateRequestSpec {
                duration: spec.duration.clone(),
                is_ca: spec.is_ca,
                issuer_ref: issuer.clone(),
                request: spec.request.clone(),
                usages: spec.usages.clone(),
                ..CertificateRequestSpec::default()
            },
            status: None,
        }
    }
}

impl Child {
    /// Whether it failed because its issuer could not sign.
    pub(super) fn is_given_up(&self) -> bool {
        self.end().is_some()
    }

    /// Why it failed, if its issuer was to blame.
    pub(super) fn end(&self) -> Option<Fault<'_>> {
        let ready = self.request.ready.as_ref();
        let ready = ready.filter(|c| c.reason.as_deref() == Some("Failed"))?;
        ca_fault(ready.message.as_deref()?)
    }

    /// What its issuer does wrong at the moment.
    pub(super) fn fault(&self) -> Option<Fault<'_>> {
        let open = |state: Option<&str>| !matches!(state, Some("valid" | "invalid" | "expired"));
        let challenges = self.challenges.iter().filter_map(|c| {
            let status = c.status.as_ref()?;
            let is_open = open(status.state.as_deref());
            status.reason.as_deref().filter(|_| is_open)
        });
        let orders = self.orders.iter().filter_map(|o| {
            let status = o.status.as_ref()?;
            let is_open = open(status.state.as_deref());
            status.reason.as_deref().filter(|_| is_open)
        });
        let ready = self.request.ready.as_ref();
        let ready = ready.and_then(|c| c.message.as_deref());
        challenges.chain(orders).chain(ready).find_map(ca_fault)
    }
}
