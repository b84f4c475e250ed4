//! Effects that ask an ACME server: what a plan wants, as calls; what comes back, as an outcome.

use std::time::Duration;

use jiff::Timestamp;

use crate::acme::{
    self, AccountRef, Authorization, Blame, Client, Identifier, Problem, Status, may_be_replaces,
};
use crate::api::order::{OrderAuthorization, OrderChallenge};
use crate::controllers::{challenge, order};
use crate::explain::{Code, Verdict, not_before};
use crate::issuers::acme::Account;

/// The least time between two looks at something that the CA works on.
const LEAST: Duration = Duration::from_millis(500);
/// The longest that a Retry-After is believed at once.
const MOST: Duration = Duration::from_hours(1);

/// Until when the CA wants to be left alone, from now.
fn after(retry_after: Option<Timestamp>, now: Timestamp) -> Option<Duration> {
    let wait = Duration::try_from(retry_after?.duration_since(now)).unwrap_or_default();
    Some(wait.clamp(LEAST, MOST))
}

/// An account with its URL, ready for signed calls.
pub struct Session<'a> {
    client: &'a Client,
    account: AccountRef,
    now: Timestamp,
}

impl<'a> Session<'a> {
    /// `None` before the account is registered.
    pub fn new(account: &'a Account, now: Timestamp) -> Option<Self> {
        Some(Self {
            client: &account.client,
            account: account.reference()?,
            now,
        })
    }

    /// Create an order and read its authorizations. One that is refused, perhaps because of the certificate that it is
    /// to replace, is asked for once more without: that certificate is no condition of the new one.
    pub async fn create_order(
        &self,
        identifiers: &[Identifier],
        duration: Option<Duration>,
        profile: Option<&str>,
        replaces: Option<&str>,
    ) -> order::Outcome {
        let not_after = duration.and_then(|d| self.now.checked_add(d).ok());
        let order = |replaces| {
            let client = self.client;
            client.new_order(&self.account, identifiers, not_after, profile, replaces)
        };
        let mut answer = order(replaces).await;
        if let (Err(error), Some(replaces)) = (&answer, replaces)
            && may_be_replaces(error)
        {
            tracing::info!(%error, replaces, "the order is asked for again without `replaces`");
            answer = order(None).await;
        }
        match answer {
            Ok(order) => self.authorizations(order).await,
            Err(error) => self.order_refused(&error, "Failed to create Order"),
        }
    }

    /// Read an order and its authorizations.
    pub async fn read_order(&self, url: &str) -> order::Outcome {
        match self.client.order(&self.account, url).await {
            Ok(order) => self.authorizations(order).await,
            Err(error) => self.order_refused(&error, "Failed to retrieve Order resource"),
        }
    }

    async fn authorizations(&self, order: acme::Order) -> order::Outcome {
        let mut authorizations = Vec::new();
        for url in &order.authorizations {
            match self.client.authorization(&self.account, url).await {
                Ok(authorization) => authorizations.push(stored(url, &authorization)),
                Err(error) => {
                    return self.order_refused(&error, "Failed to retrieve authorization");
                }
            }
        }
        order::Outcome::Read {
            url: order.url,
            finalize_url: order.finalize,
            state: order.status.as_str().into(),
            authorizations,
        }
    }

    /// Finalize an order that is ready, and fetch the certificate of one that is valid.
    pub async fn complete_order(
        &self,
        url: &str,
        csr: &[u8],
        preferred: Option<&str>,
    ) -> order::Outcome {
        let mut order = match self.client.order(&self.account, url).await {
            Ok(order) => order,
            Err(error) => return self.order_refused(&error, "Failed to retrieve Order resource"),
        };
        if order.status == Status::Ready {
            let finalize = order.finalize.clone();
            order = match self.client.finalize(&self.account, &finalize, csr).await {
                Ok(order) => order,
                // Finalized before, by a process that did not live to see the answer.
                Err(error) if error.problem().is_some_and(|p| p.is("orderNotReady")) => {
                    return order::Outcome::NotYet {
                        state: "processing".into(),
                        retry: LEAST,
                    };
                }
                Err(error) => return self.order_refused(&error, "Failed to finalize Order"),
            };
        }
        match order.status {
            Status::Valid => self.fetch(&order, preferred).await,
            Status::Invalid => order::Outcome::Ended {
                state: "invalid".into(),
                reason: order.error.as_ref().map_or_else(
                    || "the CA has marked the order as invalid".to_owned(),
                    |problem| {
                        let text = format!("Failed to finalize Order: {problem}");
                        if problem.is("serverInternal") {
                            return Verdict::new(Code::CA_UNABLE, text).to_string();
                        }
                        text
                    },
                ),
            },
            status => order::Outcome::NotYet {
                state: status.as_str().into(),
                retry: after(order.retry_after, self.now).unwrap_or(LEAST),
            },
        }
    }

    async fn fetch(&self, order: &acme::Order, preferred: Option<&str>) -> order::Outcome {
        let Some(url) = &order.certificate else {
            return order::Outcome::NotYet {
                state: "processing".into(),
                retry: LEAST,
            };
        };
        match self
            .client
            .preferred_certificate(&self.account, url, preferred)
            .await
        {
            Ok(chain) => order::Outcome::Issued(chain.pem.into_bytes()),
            Err(error) => self.order_refused(&error, "Failed to retrieve signed certificate"),
        }
    }

    fn order_refused(&self, error: &acme::Error, doing: &str) -> order::Outcome {
        let reason = told(doing, error);
        match error.class() {
            acme::Class::Permanent => order::Outcome::Ended {
                state: "errored".into(),
                reason,
            },
            acme::Class::Transient => order::Outcome::Unavailable {
                reason,
                retry: None,
            },
            acme::Class::RateLimited { until } => order::Outcome::Unavailable {
                reason,
                retry: after(until, self.now).or(Some(MOST)),
            },
        }
    }

    /// Ask the CA to validate a challenge that nobody has asked for yet. If somebody has after all, that is no fault.
    pub async fn accept(&self, authorization_url: &str, url: &str) -> challenge::Outcome {
        match self.client.accept(&self.account, url).await {
            Ok(accepted) => challenge::Outcome::State {
                state: accepted.status.as_str().into(),
                reason: accepted.error.as_ref().map(|p| without(&accepted.token, p)),
                retry: after(accepted.retry_after, self.now),
            },
            Err(error) if error.problem().is_some_and(|p| p.is("malformed")) => {
                self.poll(authorization_url, url).await
            }
            Err(error) => self.challenge_refused(&error),
        }
    }

    /// As [`Self::accept`], where a process before this one may have asked already.
    pub async fn accept_if_pending(
        &self,
        authorization_url: &str,
        url: &str,
    ) -> challenge::Outcome {
        let authorization = self.client.authorization(&self.account, authorization_url);
        match authorization.await {
            Ok(authorization) if pending(&authorization, url) => {
                self.accept(authorization_url, url).await
            }
            Ok(authorization) => self.verdict(&authorization, url),
            Err(error) => self.challenge_refused(&error),
        }
    }

    /// How far the CA is with a challenge.
    pub async fn poll(&self, authorization_url: &str, url: &str) -> challenge::Outcome {
        match self
            .client
            .authorization(&self.account, authorization_url)
            .await
        {
            Ok(authorization) => self.verdict(&authorization, url),
            Err(error) => self.challenge_refused(&error),
        }
    }

    /// The authorization decides; the challenge's own problem says why.
    fn verdict(&self, authorization: &Authorization, url: &str) -> challenge::Outcome {
        let challenge = authorization.challenges.iter().find(|c| c.url == url);
        let problem = challenge.and_then(|c| c.error.as_ref());
        let state = match authorization.status {
            Status::Valid => "valid",
            Status::Invalid => "invalid",
            Status::Expired | Status::Deactivated | Status::Revoked => "expired",
            _ => "pending",
        };
        let retry = after(authorization.retry_after, self.now);
        let token = challenge.map(|c| c.token.as_str()).unwrap_or_default();
        let reason = |p: &Problem| format!("Error accepting authorization: {}", without(token, p));
        challenge::Outcome::State {
            state: state.into(),
            reason: problem.map(reason),
            retry,
        }
    }

    fn challenge_refused(&self, error: &acme::Error) -> challenge::Outcome {
        let reason = told("Error accepting challenge", error);
        let state = |state: &str| challenge::Outcome::State {
            state: state.into(),
            reason: Some(reason.clone()),
            retry: None,
        };
        match error.class() {
            acme::Class::Permanent if error.problem().is_some_and(|p| p.is("malformed")) => {
                state("expired")
            }
            acme::Class::Permanent => state("errored"),
            acme::Class::Transient => challenge::Outcome::Unavailable {
                reason,
                retry: None,
            },
            acme::Class::RateLimited { until } => challenge::Outcome::Unavailable {
                reason,
                retry: after(until, self.now).or(Some(MOST)),
            },
        }
    }
}

/// A failure in words, which say if the CA is to blame.
fn told(doing: &str, error: &acme::Error) -> String {
    let text = format!("{doing}: {error}");
    match error.blame() {
        Blame::Ca => Verdict::new(Code::CA_UNABLE, text).to_string(),
        Blame::Account => Verdict::new(Code::CA_ACCOUNT, text).to_string(),
        Blame::Other => match error.class() {
            acme::Class::RateLimited { until: Some(until) } => {
                format!("{text} {}", not_before(until))
            }
            _ => text,
        },
    }
}

/// A problem in words, without the token: CAs quote the URL that they asked for, and who knows it can
/// answer in the name of the site.
fn without(token: &str, problem: &Problem) -> String {
    let text = problem.to_string();
    if token.is_empty() {
        text
    } else {
        text.replace(token, "<token>")
    }
}

/// Whether the CA waits for the word to begin.
fn pending(authorization: &Authorization, url: &str) -> bool {
    authorization.status == Status::Pending
        && authorization
            .challenges
            .iter()
            .any(|c| c.url == url && c.status == Status::Pending)
}

/// An authorization as the status of an Order keeps it.
fn stored(url: &str, authorization: &Authorization) -> OrderAuthorization {
    let challenges = authorization.challenges.iter().map(|c| OrderChallenge {
        token: c.token.clone(),
        type_: c.kind.clone(),
        url: c.url.clone(),
    });
    OrderAuthorization {
        challenges: Some(challenges.collect()),
        identifier: Some(authorization.identifier.value.clone()),
        initial_state: Some(authorization.status.as_str().into()),
        url: url.to_owned(),
        wildcard: Some(authorization.wildcard),
    }
}
