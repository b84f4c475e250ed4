use std::convert::Infallible;
use std::task::{Context, Poll};

use futures::future::{Ready, ready};
use http::{Request, Response};
use kube::client::Body;
use tower_service::Service;

use super::*;

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
