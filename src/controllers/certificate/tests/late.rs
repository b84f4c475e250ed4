//! Informers that are late, each on its own.

use std::future::ready;
use std::sync::Arc;

use http::{Request, Response};
use k8s_openapi::api::core::v1::Secret;
use kube::client::Body;
use kube::{Client, ResourceExt};
use serde_json::json;
use tower::service_fn;

use super::authority::Answer;
use super::world::World;
use crate::controllers::action::{Action, Target};
use crate::controllers::certificate::{observe, plan};
use crate::controllers::facts::RequestFact;
use crate::controllers::key::{Key, Kind};
use crate::controllers::reads::Reader;
use crate::controllers::store::{Change, Store};

/// An API server with one Secret, or none, that no watch has shown yet: a real one is that late by chance only.
fn unwatched(secret: Option<Secret>) -> Client {
    let answer = move |request: Request<Body>| {
        let path = request.uri().path();
        let asked = |s: &&Secret| path.ends_with(&format!("/secrets/{}", s.name_any()));
        let (code, body) = match secret.as_ref().filter(asked) {
            Some(secret) => (200, json!(secret)),
            None => (
                404,
                json!({ "kind": "Status", "status": "Failure", "reason": "NotFound", "message": "", "code": 404 }),
            ),
        };
        let body = Body::from(body.to_string().into_bytes());
        ready(Response::builder().status(code).body(body))
    };
    Client::new(service_fn(answer), "default")
}

/// Whether the request of a world is deleted by who does not remember its private key, while this Secret is there.
async fn deletes_request(world: &World, secret: Option<Secret>) -> bool {
    let store = Store::new("system");
    store.apply(Change::Certificate(world.certificate.clone()));
    for request in &world.requests {
        store.apply(Change::Request(RequestFact::of(request.clone())));
    }
    let reader = Reader::new(Arc::new(store), unwatched(secret));
    let key = Key::new(Kind::Certificate, "shop", "app");
    let seen = observe(&reader, &key, &world.settings, world.now).await;
    let plan = plan(&seen.unwrap().unwrap(), &world.settings, world.now);
    let is_deletion = |a: &Action| matches!(a, Action::Delete(Target::CertificateRequest, _));
    plan.actions.iter().any(is_deletion)
}

#[tokio::test]
async fn a_request_is_not_deleted_before_its_private_key_has_been_looked_for() {
    let mut world = World::new(&json!({}));
    world.answer = Answer::Nothing;
    assert!(world.run(12), "{:?}", world.writes);
    assert_eq!((world.requests.len(), world.next_keys.len()), (1, 1));
    let stored = world.next_keys[0].clone();
    assert!(!deletes_request(&world, Some(stored.clone())).await);
    assert!(deletes_request(&world, None).await);
    let mut foreign = stored;
    foreign.metadata.owner_references = None;
    assert!(deletes_request(&world, Some(foreign)).await);
}
