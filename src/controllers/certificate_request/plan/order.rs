//! The Order behind a request of an ACME issuer (contract §5.2).

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::{ACME, ISSUED, Step};
use crate::api::acme_issuer::AcmeIssuer;
use crate::api::order::state;
use crate::api::{Order, OrderSpec, names};
use crate::controllers::action::{Action, Object, Target};
use crate::controllers::digest::public_digest;
use crate::controllers::facts::Identity;
use crate::pki::{CertificateSigningRequest, parse_chain};

/// How long an Order has to last before its state is told here too.
const MOMENT: SignedDuration = SignedDuration::from_secs(30);

impl Step<'_> {
    /// Contract §5.2: one Order a request, found by its owner.
    pub(super) fn order(&mut self, csr: &CertificateSigningRequest, acme: &AcmeIssuer) {
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
        if !self.is_rehearsed() {
            return;
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
            replaces: (self.settings.renewal_info && acme.asks_renewal_info())
                .then(|| self.o.predecessor.as_deref().map(ToOwned::to_owned))
                .flatten(),
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
            state if state::is_failure(state) => {
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
                    self.issued(ACME, &certificate, ISSUED);
                } else {
                    self.after
                        .push(Action::Delete(Target::Order, Identity::of(&order.metadata)));
                }
            }
            state => {
                let message = format!(
                    "Waiting on certificate issuance from order {namespace}/{name}: \"{state}\""
                );
                // Most are over before anybody could read it.
                let created = Identity::of(&order.metadata).created;
                if self.o.request.ready.is_none() || self.now.duration_since(created) >= MOMENT {
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
        leaf.is_some_and(|leaf| asked == Ok(public_digest(leaf.public_key_der())))
    }
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}
