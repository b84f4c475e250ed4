//! The only code that writes to the API server, but for the Lease, which says who may. Each call has a deadline, asks for no more than
//! metadata in return, and tells which version an informer has to show before its object is
//! reconciled again.

mod creation;
mod creator;
mod deletion;
mod error;
mod place;
mod quoting;
mod reply;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ConfigMap, Event, Secret};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::Request;
use kube::{Client, Resource};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Value, json};

use creation::Creation;
use creator::Creator;
pub use error::EffectError;
use place::{Place, account_secret_place, place_of, resource, status_manager};
use reply::{Owner, Reply, owner};

use super::clock::monotonic;
use super::crash::{Stage, point};
use crate::api::labels;
use crate::controllers::action::{Action, Object};
use crate::controllers::facts::Identity;
use crate::controllers::key::{Key, Kind};
use crate::controllers::progress::{Informer, Seen};
use crate::telemetry::metrics::Metrics;

/// The longest time that a write may take.
const DEADLINE: Duration = Duration::from_secs(15);

/// Metadata is all that is read of a reply.
const ACCEPT: &str =
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";

/// What came of an action.
#[derive(Debug, Default)]
pub struct Written {
    /// What the informers have to show before the object is reconciled again.
    pub seen: Vec<Seen>,
    /// Metadata of the CertificateRequest that was made.
    pub request: Option<Box<ObjectMeta>>,
}

impl Written {
    fn of(seen: Vec<Seen>) -> Self {
        Self {
            seen,
            request: None,
        }
    }
}

/// The writer.
#[derive(Clone)]
pub struct Effects {
    client: Client,
    metrics: Arc<Metrics>,
    /// Uids of what was deleted a moment ago: an informer may still show it.
    deleted: Arc<Mutex<HashMap<String, Instant>>>,
    creator: Creator,
}

impl Effects {
    /// A writer on this client.
    pub fn new(client: Client, metrics: Arc<Metrics>) -> Self {
        Self {
            client,
            metrics,
            deleted: Arc::default(),
            creator: Creator::default(),
        }
    }

    /// Carry out one action.
    pub async fn execute(&self, action: Action) -> Result<Written, EffectError> {
        let seen = match action {
            Action::Create(object) => return self.create(object, false).await,
            Action::Ensure(object) => return self.create(object, true).await,
            Action::PatchStatus {
                key,
                version,
                status,
            } => self.patch_status(&key, &version, status).await,
            Action::ApplySecret(secret) => self.apply_secret(&secret.0).await,
            Action::PatchCertificate { id, patch } => {
                let place = place_of(
                    Kind::Certificate,
                    &id.namespace,
                    labels::MANAGER_INGRESS_SHIM,
                );
                self.merge(&place, &id.name, &id.version, patch).await
            }
            Action::Annotate {
                key,
                version,
                annotation,
                value,
            } => {
                let place = place_of(key.kind, &key.namespace, status_manager(key.kind));
                let patch = json!({ "metadata": { "annotations": { annotation: value } } });
                self.merge(&place, &key.name, &version, patch).await
            }
            Action::PatchAccountSecret(secret) => {
                let id = &secret.id;
                let place = account_secret_place(&id.namespace);
                self.merge(&place, &id.name, &id.version, secret.patch)
                    .await
            }
            Action::SetFinalizers {
                key,
                version,
                finalizers,
            } => {
                let place = place_of(key.kind, &key.namespace, labels::MANAGER_CHALLENGES);
                let patch = json!({ "metadata": { "finalizers": finalizers } });
                match self.merge(&place, &key.name, &version, patch).await {
                    // It is gone, as it was to; or its change wakes it.
                    Err(EffectError::Stale { .. }) if !labels::holds(&finalizers) => Ok(vec![]),
                    answer => answer,
                }
            }
            Action::EditIngress(id, patch) => self.edit_ingress(&id, patch).await,
            Action::PutList(list) => self.put_list(&list).await,
            Action::Delete(target, id) => self.delete(target, &id).await,
            Action::DeleteDirectService(namespace) => self.delete_direct(&namespace).await,
        };
        Ok(Written::of(seen?))
    }

    async fn patch_status(
        &self,
        key: &Key,
        version: &str,
        status: Value,
    ) -> Result<Vec<Seen>, EffectError> {
        let place = place_of(key.kind, &key.namespace, status_manager(key.kind));
        let what = format!("patch status of {key}");
        let body = json!({ "metadata": { "resourceVersion": version }, "status": status });
        let params = PatchParams {
            field_manager: Some(place.manager.into()),
            ..PatchParams::default()
        };
        let request = Request::new(&place.path)
            .patch_subresource("status", &key.name, &params, &Patch::Merge(body))
            .map_err(|e| bug(&what, &e))?;
        let reply = self.send(&what, request).await?;
        Ok(seen(place.informer, &reply))
    }

    async fn merge(
        &self,
        place: &Place,
        name: &str,
        version: &str,
        patch: Value,
    ) -> Result<Vec<Seen>, EffectError> {
        let what = format!("patch {}/{name}", place.path);
        let mut patch = patch;
        if let Some(object) = patch.as_object_mut() {
            let meta = object.entry("metadata").or_insert_with(|| json!({}));
            if let Some(meta) = meta.as_object_mut() {
                meta.insert("resourceVersion".into(), json!(version));
            }
        }
        let params = PatchParams {
            field_manager: Some(place.manager.into()),
            ..PatchParams::default()
        };
        let request = Request::new(&place.path)
            .patch(name, &params, &Patch::Merge(patch))
            .map_err(|e| bug(&what, &e))?;
        let reply = self.send(&what, request).await?;
        Ok(seen(place.informer, &reply))
    }

    async fn create(&self, mut object: Box<Object>, ensure: bool) -> Result<Written, EffectError> {
        if let Object::EndpointSlice(slice) = &*object {
            // Its address is ours: an earlier process may have left another one.
            let seen = self.apply(slice, None, labels::MANAGER_CHALLENGES).await?;
            return Ok(Written::of(seen));
        }
        self.creator.sign(&mut object);
        let creation = Creation::of(&object)?;
        drop(object);
        let Creation {
            what,
            path,
            mut meta,
            body,
            informer,
            manager,
        } = creation;
        let params = PostParams {
            field_manager: Some(manager.into()),
            ..PostParams::default()
        };
        let request = Request::new(&path)
            .create(&params, body)
            .map_err(|e| bug(&what, &e))?;
        match self.send(&what, request).await {
            Ok(reply) => {
                let seen = seen(informer, &reply);
                meta.creation_timestamp = reply.metadata.creation_timestamp;
                let request = (informer == Some(Informer::CertificateRequests)).then_some(meta);
                Ok(Written { seen, request })
            }
            Err(EffectError::Stale { what }) if ensure => {
                let name = meta.name.as_deref().unwrap_or_default();
                let existing = Request::new(&path)
                    .get(name, &kube::api::GetParams::default())
                    .map_err(|e| bug(&what, &e))?;
                let reply = self.exchange(&what, existing).await?;
                match owner(&meta, &reply.metadata) {
                    Owner::Unseen => Err(EffectError::Stale { what }),
                    Owner::Same => Ok(Written::of(seen(informer, &reply))),
                    Owner::Former => {
                        self.delete_at(&path, name, &reply.metadata.uid, None)
                            .await?;
                        Err(EffectError::Stale { what })
                    }
                    Owner::Other => Err(EffectError::Foreign { what }),
                }
            }
            Err(error) => Err(error),
        }
    }

    async fn apply_secret(&self, secret: &Secret) -> Result<Vec<Seen>, EffectError> {
        self.apply(
            secret,
            Some(Informer::Secrets),
            labels::MANAGER_CERTIFICATES_ISSUING,
        )
        .await
    }

    async fn apply<K>(
        &self,
        object: &K,
        informer: Option<Informer>,
        manager: &str,
    ) -> Result<Vec<Seen>, EffectError>
    where
        K: Resource<DynamicType = ()> + Serialize,
    {
        let meta = object.meta();
        let name = meta.name.as_deref().unwrap_or_default();
        let namespace = meta.namespace.as_deref();
        let what = format!(
            "apply {} {}/{name}",
            K::kind(&()),
            namespace.unwrap_or_default()
        );
        let params = PatchParams {
            field_manager: Some(manager.into()),
            force: true,
            ..PatchParams::default()
        };
        let request = Request::new(K::url_path(&(), namespace))
            .patch(name, &params, &Patch::Apply(typed(object)))
            .map_err(|e| bug(&what, &e))?;
        let reply = self.send(&what, request).await?;
        Ok(seen(informer, &reply))
    }

    /// The version in the object, if there is one, refuses the write when there is a newer one.
    async fn put_list(&self, list: &ConfigMap) -> Result<Vec<Seen>, EffectError> {
        let meta = &list.metadata;
        let name = meta.name.as_deref().unwrap_or_default();
        let namespace = meta.namespace.as_deref();
        let what = format!("put ConfigMap {}/{name}", namespace.unwrap_or_default());
        let body = serde_json::to_vec(&typed(list)).map_err(|e| bug(&what, &e))?;
        let request = Request::new(ConfigMap::url_path(&(), namespace));
        let params = PostParams {
            field_manager: Some(labels::MANAGER_CERTIFICATEREVOCATIONS.into()),
            ..PostParams::default()
        };
        let request = match meta.resource_version {
            Some(_) => request.replace(name, &params, body),
            None => request.create(&params, body),
        };
        let request = request.map_err(|e| bug(&what, &e))?;
        match self.send(&what, request).await {
            Ok(reply) => Ok(seen(Some(Informer::RevocationLists), &reply)),
            // No informer shows one of somebody else.
            Err(EffectError::Stale { what }) if meta.resource_version.is_none() => {
                let existing = Request::new(ConfigMap::url_path(&(), namespace))
                    .get(name, &kube::api::GetParams::default())
                    .map_err(|e| bug(&what, &e))?;
                let reply = self.exchange(&what, existing).await?;
                let labels = &reply.metadata.labels;
                Err(if labels.contains_key(labels::REVOCATION_LIST_LABEL) {
                    EffectError::Stale { what }
                } else {
                    EffectError::Foreign { what }
                })
            }
            Err(error) => Err(error),
        }
    }

    async fn edit_ingress(
        &self,
        id: &Identity,
        patch: json_patch::Patch,
    ) -> Result<Vec<Seen>, EffectError> {
        let what = format!("edit Ingress {}/{}", id.namespace, id.name);
        let params = PatchParams {
            field_manager: Some(labels::MANAGER_CHALLENGES.into()),
            ..PatchParams::default()
        };
        let request = Request::new(Ingress::url_path(&(), Some(&id.namespace)))
            .patch(&id.name, &params, &Patch::<()>::Json(patch))
            .map_err(|e| bug(&what, &e))?;
        match self.send(&what, request).await {
            Ok(reply) => Ok(seen(Some(Informer::Ingresses), &reply)),
            // A test of the patch did not hold, of the version most likely: the API server does not say which.
            Err(EffectError::Api { what, source }) if is_unfit(&source) => {
                Err(EffectError::Stale { what })
            }
            Err(error) => Err(error),
        }
    }

    /// Post an event; the caller does not wait for more than the write.
    pub async fn post_event(&self, event: &Event) -> Result<(), EffectError> {
        let component = event.source.as_ref().and_then(|s| s.component.as_deref());
        let params = PostParams {
            field_manager: Some(component.unwrap_or("everleaf").into()),
            ..PostParams::default()
        };
        let what = "create Event";
        let body = serde_json::to_vec(&typed(event)).map_err(|e| bug(what, &e))?;
        let request = Request::new(Event::url_path(&(), event.metadata.namespace.as_deref()))
            .create(&params, body)
            .map_err(|e| bug(what, &e))?;
        self.exchange(what, request).await.map(drop)
    }

    /// A write that others build on.
    async fn send(
        &self,
        what: &str,
        request: http::Request<Vec<u8>>,
    ) -> Result<Reply, EffectError> {
        point(Stage::Before, what);
        let answer = self.exchange(what, request).await;
        point(Stage::Committed, what);
        answer
    }

    async fn exchange(
        &self,
        what: &str,
        mut request: http::Request<Vec<u8>>,
    ) -> Result<Reply, EffectError> {
        request
            .headers_mut()
            .insert(http::header::ACCEPT, http::HeaderValue::from_static(ACCEPT));
        let (verb, path) = (request.method().clone(), request.uri().path().to_owned());
        let secret = path.contains("/secrets").then(|| request.body().clone());
        let answer = tokio::time::timeout(DEADLINE, self.client.request::<Reply>(request)).await;
        self.count(&verb, &path, &answer);
        let what = || what.to_owned();
        match answer {
            Err(_) => Err(EffectError::Deadline { what: what() }),
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(kube::Error::Api(mut status))) => match status.code {
                404 if verb == http::Method::POST => Err(EffectError::Nowhere {
                    what: what(),
                    problem: status.message.trim().to_owned(),
                }),
                404 | 409 => Err(EffectError::Stale { what: what() }),
                403 if status.message.contains("being terminated") => {
                    Err(EffectError::Terminating { what: what() })
                }
                _ => {
                    if let Some(secret) = &secret {
                        quoting::silence(&mut status, secret);
                    }
                    Err(EffectError::Api {
                        what: what(),
                        source: Box::new(kube::Error::Api(status)),
                    })
                }
            },
            Ok(Err(source)) => Err(EffectError::Api {
                what: what(),
                source: Box::new(source),
            }),
        }
    }

    fn count(
        &self,
        verb: &http::Method,
        path: &str,
        answer: &Result<Result<Reply, kube::Error>, tokio::time::error::Elapsed>,
    ) {
        let code = match answer {
            Ok(Ok(_)) => 200,
            Ok(Err(kube::Error::Api(status))) => status.code,
            _ => 0,
        };
        let verb = match verb.as_str() {
            "POST" => "create",
            "PATCH" => "patch",
            "PUT" => "update",
            "DELETE" => "delete",
            _ => "get",
        };
        self.metrics.api_request(verb, resource(path), code);
    }
}

/// Whether a JSON patch did not fit the object; a result that is invalid is said in other words.
fn is_unfit(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else {
        return false;
    };
    status.code == 422
        && status
            .message
            .contains("the server rejected our request due to an error")
}

fn bug(what: &str, error: &dyn std::fmt::Display) -> EffectError {
    EffectError::Request {
        what: what.to_owned(),
        problem: error.to_string(),
    }
}

fn seen(informer: Option<Informer>, reply: &Reply) -> Vec<Seen> {
    let version = &reply.metadata.resource_version;
    informer
        .map(|i| Seen::new(i, version, monotonic()))
        .into_iter()
        .collect()
}

/// Typed objects do not carry their own type.
fn typed<K: Resource<DynamicType = ()> + Serialize>(object: &K) -> Value {
    let mut value = serde_json::to_value(object).unwrap_or_default();
    if let Some(map) = value.as_object_mut() {
        map.insert("apiVersion".into(), json!(K::api_version(&())));
        map.insert("kind".into(), json!(K::kind(&())));
    }
    value
}
