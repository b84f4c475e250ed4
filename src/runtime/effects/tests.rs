use std::convert::Infallible;
use std::future::ready;

use http::{Request, Response};
use kube::client::Body;
use tower::service_fn;

use super::*;
use crate::controllers::action::SecretObject;

fn newer() -> Response<Body> {
    let status = json!({ "kind": "Status", "status": "Failure", "reason": "Conflict", "message": "", "code": 409 });
    let mut response = Response::new(Body::from(status.to_string().into_bytes()));
    *response.status_mut() = http::StatusCode::CONFLICT;
    response
}

/// Of an API server that answers so: a real one has objects newer than what was seen of them by chance only.
fn effects(answer: impl Fn(&Request<Body>) -> Response<Body> + Send + 'static) -> Effects {
    let answer = move |request| ready(Ok::<_, Infallible>(answer(&request)));
    Effects::new(Client::new(service_fn(answer), "default"), Arc::default())
}

#[tokio::test]
async fn a_challenge_that_is_let_go_may_be_gone_and_one_that_is_held_may_not() {
    let effects = effects(|_| newer());
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

/// Of one that has an object of each name already, as this says.
fn effects_taken(object: &Value) -> Effects {
    let object = object.to_string();
    effects(move |request| {
        if request.method() == http::Method::POST {
            return newer();
        }
        Response::new(Body::from(object.clone().into_bytes()))
    })
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
        let effects = effects_taken(&found);
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
