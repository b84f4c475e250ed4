//! Who this operator is to the API server: requests say it of whoever has made them, as cert-manager's webhook has it.

use std::time::Duration;

use k8s_openapi::api::authentication::v1::UserInfo;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::effects::Effects;
use crate::controllers::reads::Reader;

const REVIEWS: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

/// The longest time that the first answer may keep this operator from acting.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest time between two questions that came to nothing.
const LONGEST: Duration = Duration::from_mins(10);

/// The entry of `extra` that names the token of one question: there is another one within the hour.
const TOKEN: &str = "authentication.kubernetes.io/credential-id";

/// Ask once.
pub async fn ask(reader: &Reader, effects: &Effects) {
    let review = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview" });
    let question = reader.ask(REVIEWS, Some(&review));
    let why = match timeout(PATIENCE, question).await {
        Ok(Ok(answer)) => match answer.as_ref().and_then(user) {
            Some(user) => return effects.act_as(user),
            None => "it names nobody".to_owned(),
        },
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer".to_owned(),
    };
    tracing::warn!(
        why,
        "the API server does not say who this operator is: spec.username of its requests stays empty, and approvers \
         that look at it will not approve them"
    );
}

/// Ask until there is an answer; ends when all ends.
pub async fn keep_asking(reader: Reader, effects: Effects, stop: CancellationToken) {
    let asking = async {
        let mut pause = PATIENCE;
        while !effects.is_somebody() {
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST);
            ask(&reader, &effects).await;
        }
    };
    stop.run_until_cancelled(asking).await;
    stop.cancelled().await;
}

/// The user in an answer.
fn user(answer: &Value) -> Option<UserInfo> {
    let mut user: UserInfo =
        serde_json::from_value(answer.pointer("/status/userInfo")?.clone()).ok()?;
    user.username.as_ref().filter(|name| !name.is_empty())?;
    if let Some(extra) = &mut user.extra {
        extra.remove(TOKEN);
    }
    Some(user)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    #[test]
    fn a_user_is_whoever_has_a_name() {
        let answer = |user: Value| json!({ "status": { "userInfo": user } });
        let found = user(&answer(json!({
            "username": "system:serviceaccount:a:b", "uid": "7", "groups": ["system:authenticated"],
            "extra": { "authentication.kubernetes.io/pod-name": ["b-0"], TOKEN: ["JTI=1"] },
        })))
        .unwrap();
        assert_eq!(found.username.as_deref(), Some("system:serviceaccount:a:b"));
        assert_eq!(found.uid.as_deref(), Some("7"));
        assert_eq!(found.groups, Some(vec!["system:authenticated".to_owned()]));
        let extra: Vec<_> = found.extra.unwrap().into_keys().collect();
        assert_eq!(extra, ["authentication.kubernetes.io/pod-name"]);
        assert_eq!(user(&answer(json!({ "username": "" }))), None);
        assert_eq!(user(&answer(json!({ "groups": ["a"] }))), None);
        assert_eq!(user(&json!({ "kind": "Status" })), None);
    }
}
