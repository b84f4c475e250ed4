//! Deletions: of the very object that a plan has seen, or of what Challenges share under a fixed name.

use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Resource;
use kube::api::{DeleteParams, Preconditions};
use kube::core::Request;

use super::place::target_place;
use super::reply::Reply;
use super::{EffectError, Effects, bug, seen};
use crate::controllers::action::Target;
use crate::controllers::facts::Identity;
use crate::controllers::progress::Seen;
use crate::runtime::clock::monotonic;
use crate::solvers::http01::service::DIRECT_NAME;

/// How long a deletion is remembered.
const MOMENT: Duration = Duration::from_secs(30);

impl Effects {
    /// Delete the very object that the plan has seen; one that is gone is as good.
    pub(super) async fn delete(
        &self,
        target: Target,
        id: &Identity,
    ) -> Result<Vec<Seen>, EffectError> {
        if self.deleted.lock().contains_key(&id.uid) {
            return Ok(vec![]);
        }
        let (path, informer) = target_place(target, &id.namespace);
        // A solver Pod has nothing to finish.
        let grace = (target == Target::Pod).then_some(0);
        let seen = match self.delete_at(&path, &id.name, &id.uid, grace).await? {
            Some(reply) => seen(Some(informer), &reply),
            None => vec![],
        };
        let now = monotonic();
        let mut deleted = self.deleted.lock();
        deleted.retain(|_, at| now.duration_since(*at) < MOMENT);
        deleted.insert(id.uid.clone(), now);
        Ok(seen)
    }

    /// Delete the object of this uid; `None` when it is gone, or another has its name.
    pub(super) async fn delete_at(
        &self,
        path: &str,
        name: &str,
        uid: &str,
        grace: Option<u32>,
    ) -> Result<Option<Reply>, EffectError> {
        let what = format!("delete {path}/{name}");
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(uid.to_owned()),
                resource_version: None,
            }),
            grace_period_seconds: grace,
            ..DeleteParams::background()
        };
        let request = Request::new(path)
            .delete(name, &params)
            .map_err(|e| bug(&what, &e))?;
        match self.send(&what, request).await {
            Ok(reply) => Ok(Some(reply)),
            Err(EffectError::Stale { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The Service goes last: as long as it is there, a deletion that was interrupted is taken up again.
    pub(super) async fn delete_direct(&self, namespace: &str) -> Result<Vec<Seen>, EffectError> {
        let slices = EndpointSlice::url_path(&(), Some(namespace));
        for family in ["ipv4", "ipv6"] {
            self.delete_named(&slices, &format!("{DIRECT_NAME}-{family}"))
                .await?;
        }
        self.delete_named(&Service::url_path(&(), Some(namespace)), DIRECT_NAME)
            .await?;
        Ok(vec![])
    }

    /// Delete whatever has this name; none is as good.
    async fn delete_named(&self, path: &str, name: &str) -> Result<(), EffectError> {
        let what = format!("delete {path}/{name}");
        let request = Request::new(path)
            .delete(name, &DeleteParams::background())
            .map_err(|e| bug(&what, &e))?;
        match self.send(&what, request).await {
            Ok(_) | Err(EffectError::Stale { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
