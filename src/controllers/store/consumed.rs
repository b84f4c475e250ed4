//! What is dropped once the answer to a request is where it belongs.

use std::sync::Arc;

use k8s_openapi::ByteString;

use super::entries::OrderEntry;
use super::{Inner, Name};
use crate::api::order::OrderSpec;
use crate::controllers::facts::{Identity, RequestFact};
use crate::controllers::key::Kind;
use crate::controllers::order;

impl Inner {
    /// Drop what nobody needs any more of a request that is answered: most of it, of those that were made for it, and
    /// of their Orders.
    pub(super) fn consume(&mut self, request: &RequestFact) {
        let Identity {
            namespace,
            name,
            uid,
            ..
        } = &request.id;
        if let Some(fact) = self.requests.get_mut(&(namespace.clone(), name.clone())) {
            Arc::make_mut(fact).body = None;
        }
        for name in self.children_of(Kind::Order, namespace, uid) {
            self.shrink_order(&name);
        }
        for name in self.children_of(Kind::CertificateRequest, namespace, uid) {
            if let Some(child) = self.requests.get(&name).cloned() {
                self.consume(&child);
            }
        }
    }

    /// Whether there is anything left to drop. A list brings Orders back as they were.
    pub(super) fn is_whole(&self, request: &RequestFact) -> bool {
        let Identity { namespace, uid, .. } = &request.id;
        let orders = self.children_of(Kind::Order, namespace, uid).into_iter();
        let mut orders = orders.filter_map(|name| self.orders.get(&name));
        let children = self
            .children_of(Kind::CertificateRequest, namespace, uid)
            .into_iter();
        let mut children = children.filter_map(|name| self.requests.get(&name));
        request.body.is_some()
            || orders.any(|order| !order.shrunk)
            || children.any(|child| self.is_whole(child))
    }

    pub(super) fn children_of(&self, kind: Kind, namespace: &Arc<str>, uid: &str) -> Vec<Name> {
        let index = self.by_owner.get(&kind).into_iter();
        let names = index.flat_map(|index| index.names(namespace, uid));
        names.map(|n| (namespace.clone(), n.clone())).collect()
    }

    fn shrink_order(&mut self, name: &Name) {
        let Some(entry) = self.orders.get_mut(name) else {
            return;
        };
        let Some(order) = entry.object.open().filter(|o| order::has_ended(o)) else {
            return;
        };
        let mut order = Arc::unwrap_or_clone(order);
        order.metadata.annotations = None;
        order.metadata.labels = None;
        order.spec = OrderSpec {
            issuer_ref: std::mem::take(&mut order.spec.issuer_ref),
            ..OrderSpec::default()
        };
        if let Some(status) = &mut order.status {
            // That there is a certificate still counts.
            status.certificate = status.certificate.take().map(|_| ByteString::default());
            status.authorizations = None;
            status.finalize_url = None;
            status.url = None;
        }
        *entry = OrderEntry::of(&order, entry.written());
        entry.shrunk = true;
    }
}
