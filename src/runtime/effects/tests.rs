use std::convert::Infallible;
use std::task::{Context, Poll};

use futures::future::{Ready, ready};
use http::{Request, Response};
use kube::client::Body;
use tower_service::Service;

use super::*;
use crate::controllers::action::SecretObject;

/// An API server whose objects are all newer than what was seen of them: a real one has them so by chance only.
#[derive(Clone)]
struct Newer;

impl Service<Request<Body>> for Newer {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        let status = json!({ "kind": "Status", "status": "Failure", "reason": "Conflict", "message": "", "code": 409 });
        let mut response = Response::new(Body::from(status.to_string().into_bytes()));
        *response.status_mut() = http::StatusCode::CONFLICT;
        ready(Ok(response))
    }
}

#[tokio::test]
async fn a_challenge_that_is_let_go_may_be_gone_and_one_that_is_held_may_not() {
    let effects = Effects::new(Client::new(Newer, "default"), Arc::default());
    let set = |finalizers: &[&str]| Action::SetFinalizers {
        key: Key::new(Kind::Challenge, "shop", "app"),
        version: "7".into(),
        finalizers: finalizers.iter().map(|&name| name.to_owned()).collect(),
    };
    for left in [&[][..], &["somebody/else"]] {
        let written = effects.execute(set(left)).await;
        assert!(written.is_ok(), "{left:?}: {written:?}");
    }
    let held = effects.execute(set(&[labels::CHALLENGE_FINALIZER])).await;
    assert!(matches!(held, Err(EffectError::Stale { .. })), "{held:?}");
}

/// An API server that has an object of each name already, as this says.
#[derive(Clone)]
struct Taken(Value);

impl Service<Request<Body>> for Taken {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if request.method() == http::Method::POST {
            return Newer.call(request);
        }
        ready(Ok(Response::new(Body::from(
            self.0.to_string().into_bytes(),
        ))))
    }
}

/// What another replica has written, or this one before a watch that is late has shown it: a real server is that late by
/// chance only.
#[tokio::test]
async fn a_private_key_of_a_name_that_is_taken_is_not_stored() {
    let object = |owner: &str, labels: Value| {
        let owner = json!({ "apiVersion": "cert-manager.io/v1", "kind": "Certificate", "name": "app", "uid": owner,
            "controller": true, "blockOwnerDeletion": true });
        json!({ "metadata": { "name": "app-x", "namespace": "shop", "uid": "1", "resourceVersion": "7",
            "labels": labels, "ownerReferences": [owner] } })
    };
    let tags = json!({ labels::NEXT_PRIVATE_KEY_LABEL: "true", labels::FAO_LABEL: "true" });
    let ensured = async |found: Value, made: &Value| {
        let effects = Effects::new(Client::new(Taken(found), "default"), Arc::default());
        let secret = SecretObject(serde_json::from_value(made.clone()).unwrap());
        let ensured = effects.execute(Action::Ensure(Box::new(Object::Secret(secret))));
        ensured.await
    };
    let key = object("of-app", tags.clone());
    let written = ensured(key.clone(), &key).await;
    assert!(
        matches!(written, Err(EffectError::Stale { .. })),
        "{written:?}"
    );
    // No watch shows it as a key: it is in the way for good.
    let bare = object("of-app", json!({}));
    let mut owned = key.clone();
    owned["metadata"]["ownerReferences"][0]["controller"] = json!(false);
    let half = |label: &str| object("of-app", json!({ label: "true" }));
    let off = json!({ labels::NEXT_PRIVATE_KEY_LABEL: "false", labels::FAO_LABEL: "true" });
    for found in [
        bare.clone(),
        half(labels::NEXT_PRIVATE_KEY_LABEL),
        half(labels::FAO_LABEL),
        object("of-app", off),
        owned,
    ] {
        let written = ensured(found.clone(), &key).await;
        assert!(
            matches!(written, Err(EffectError::Foreign { .. })),
            "{found}: {written:?}"
        );
    }
    let written = ensured(bare.clone(), &bare).await;
    assert!(written.is_ok(), "{written:?}");
    let other = ensured(object("of-other", tags), &bare).await;
    assert!(matches!(other, Err(EffectError::Stale { .. })), "{other:?}");
}
