//! Which requests this operator may approve: those to whose issuer Kubernetes gives it the verb `approve`, on `signers` of
//! cert-manager.io (contract §4.7). cert-manager's webhook sees to that for all who approve; here nobody would, so it is
//! asked before.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::api::meta::IssuerReference;
use crate::controllers::certificate_request::REFUSED;
use crate::controllers::reads::{ReadError, Reader};
use crate::net::escape;
use crate::runtime::clock::monotonic;

/// How long a right is remembered: a Certificate must not cost a request more.
const ALLOWED: Duration = Duration::from_mins(10);

const REVIEWS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

/// What Kubernetes has answered.
#[derive(Default)]
pub struct Approvals {
    /// By the name of the signer, and until when.
    answers: Mutex<HashMap<String, (bool, Instant)>>,
    /// Of kinds of other groups, by group and kind.
    resources: Mutex<HashMap<(String, String), Resource>>,
}

/// Its plural, and whether its objects have namespaces.
type Resource = (String, bool);

impl Approvals {
    /// Whether a request of this namespace to this issuer may be approved.
    pub async fn allow(
        &self,
        reader: &Reader,
        namespace: &str,
        issuer: &IssuerReference,
    ) -> Result<bool, ReadError> {
        let Some((plural, is_namespaced)) = self.resource(reader, issuer).await? else {
            return Ok(false);
        };
        let signers = format!("{plural}.{}", issuer.group_or_default());
        if self.allowed(reader, format!("{signers}/*")).await? {
            return Ok(true);
        }
        let name = &issuer.name;
        let signer = if is_namespaced {
            format!("{signers}/{namespace}.{name}")
        } else {
            format!("{signers}/{name}")
        };
        self.allowed(reader, signer).await
    }

    async fn allowed(&self, reader: &Reader, signer: String) -> Result<bool, ReadError> {
        let known = self.answers.lock().get(&signer).copied();
        if let Some((allowed, until)) = known
            && monotonic() < until
        {
            return Ok(allowed);
        }
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": { "resourceAttributes": {
                "verb": "approve", "group": "cert-manager.io", "resource": "signers", "name": signer,
            } },
        });
        let answer = reader.ask(REVIEWS, Some(&review)).await?;
        let allowed = answer
            .as_ref()
            .and_then(|answer| answer.pointer("/status/allowed"))
            == Some(&Value::Bool(true));
        let time = monotonic();
        let until = time + if allowed { ALLOWED } else { REFUSED };
        let mut answers = self.answers.lock();
        // Requests may name as many issuers as they like.
        answers.retain(|_, (_, until)| time < *until);
        answers.insert(signer, (allowed, until));
        Ok(allowed)
    }

    /// What its kind is called in URLs; `None` where there is no such kind.
    async fn resource(
        &self,
        reader: &Reader,
        issuer: &IssuerReference,
    ) -> Result<Option<Resource>, ReadError> {
        let (group, kind) = (issuer.group_or_default(), issuer.kind_or_default());
        if issuer.is_ours() || issuer.is_ordered() {
            let plural = format!("{}s", kind.to_lowercase());
            return Ok(Some((plural, !issuer.is_cluster_wide())));
        }
        let key = (group.to_owned(), kind.to_owned());
        if let Some(known) = self.resources.lock().get(&key) {
            return Ok(Some(known.clone()));
        }
        let found = reader
            .ask(&format!("/apis/{}", escape(group)), None)
            .await?;
        for version in each(found.as_ref(), "versions") {
            let version = version["groupVersion"].as_str().unwrap_or_default();
            let all = reader.ask(&format!("/apis/{version}"), None).await?;
            let found = each(all.as_ref(), "resources").find(|r| r["kind"] == kind);
            if let Some((plural, found)) = found.and_then(|r| Some((r["name"].as_str()?, r))) {
                let found = (plural.to_owned(), found["namespaced"] == true);
                self.resources.lock().insert(key, found.clone());
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

fn each<'a>(answer: Option<&'a Value>, list: &str) -> impl Iterator<Item = &'a Value> {
    let list = answer.and_then(|answer| answer[list].as_array());
    list.into_iter().flatten()
}
