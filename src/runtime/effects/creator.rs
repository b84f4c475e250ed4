//! Whose name is in a request: its creator's, where cert-manager's webhook would have written it. Approvers go by it.

use std::sync::{Arc, OnceLock};

use k8s_openapi::api::authentication::v1::UserInfo;

use super::Effects;
use crate::api::CertificateRequestSpec;
use crate::controllers::action::Object;

/// Who this operator is, once the API server has said so: the same for as long as the process runs.
#[derive(Clone, Default)]
pub(super) struct Creator(Arc<OnceLock<UserInfo>>);

impl Effects {
    /// Make CertificateRequests in the name of this user, which is who this operator is.
    pub fn act_as(&self, user: UserInfo) {
        drop(self.creator.0.set(user));
    }

    /// Whether it is known who this operator is.
    pub fn is_somebody(&self) -> bool {
        self.creator.0.get().is_some()
    }
}

impl Creator {
    pub(super) fn sign(&self, object: &mut Object) {
        let Object::CertificateRequest(request) = object else {
            return;
        };
        let Some(user) = self.0.get().cloned() else {
            return;
        };
        request.spec = CertificateRequestSpec {
            username: user.username,
            uid: user.uid,
            groups: user.groups,
            extra: user.extra,
            ..std::mem::take(&mut request.spec)
        };
    }
}
