//! Calls with a token that is logged in for: OAuth 2.0 (RFC 6749, RFC 6750), as Google and Microsoft have it.

use http::header::AUTHORIZATION;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::tokens::{Identity, Lent};
use super::{Api, Hosted, secret};
use crate::net::{Reply, Request};
use crate::solvers::dns01::Error;

/// Of a token that does not say when it ends.
const USUAL_LIFE: SignedDuration = SignedDuration::from_mins(5);

/// A way to a token.
pub(super) trait Login: Sync {
    /// Who gets it.
    fn identity(&self) -> Identity;

    /// A new one.
    async fn log_in(&self, hosted: &Hosted) -> Result<Lent<Zeroizing<String>>, Error>;
}

/// A successful answer of a token endpoint (RFC 6749 §5.1).
#[derive(Deserialize)]
struct Granted {
    #[serde(deserialize_with = "secret")]
    access_token: Zeroizing<String>,
    /// In seconds; Azure's metadata service writes it as text.
    #[serde(default)]
    expires_in: Value,
}

/// A failure of one (§5.2).
#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    error: Value,
    error_description: String,
}

impl Hosted {
    /// A call with a token. One that the service does not take any more is replaced, once.
    pub(super) async fn send_as(
        &self,
        login: &impl Login,
        api: &Api,
        call: &str,
        request: Request,
    ) -> Result<Reply, Error> {
        let reply = self.send_once(login, api, call, request.clone()).await?;
        if reply.status != 401 {
            return Ok(reply);
        }
        self.bearers.forget(login.identity());
        self.send_once(login, api, call, request).await
    }

    async fn send_once(
        &self,
        login: &impl Login,
        api: &Api,
        call: &str,
        request: Request,
    ) -> Result<Reply, Error> {
        let log_in = login.log_in(self);
        let token = self
            .bearers
            .lend(login.identity(), self.now(), log_in)
            .await?;
        let value = Zeroizing::new(format!("Bearer {}", token.as_str()));
        let request = request
            .header(AUTHORIZATION, &value)
            .map_err(|error| api.unreached(call, &error))?;
        self.send(api, call, request).await
    }
}

/// The token in the answer of a token endpoint.
pub(super) fn granted(
    api: &Api,
    call: &str,
    reply: &Reply,
    now: Timestamp,
) -> Result<Lent<Zeroizing<String>>, Error> {
    if !reply.is_success() {
        let refusal: Refusal = reply.json().unwrap_or_default();
        // Microsoft puts identifiers of the request and the time behind the first line.
        let said = refusal.error_description;
        let said = said.split(['\r', '\n']).next().unwrap_or_default();
        let said = said.split(" Trace ID:").next().unwrap_or_default();
        let error = refusal.error.as_str().unwrap_or_default();
        let words = format!("{error} {said}");
        let refused = api.refused(call, reply, words.trim(), now);
        // A wrong key is a "bad request" there.
        return Err(match reply.status {
            400 => Error::permanent(format!("{refused}: {}", api.remedy)),
            _ => refused,
        });
    }
    let granted: Granted = reply.json().ok_or_else(|| api.unreadable(call, reply))?;
    let seconds = match &granted.expires_in {
        Value::String(text) => text.parse().ok(),
        number => number.as_i64(),
    };
    let life = seconds.map_or(USUAL_LIFE, SignedDuration::from_secs);
    Ok(Lent {
        token: granted.access_token,
        ends: now.saturating_add(life).unwrap_or(Timestamp::MAX),
    })
}
