//! Effects that ask an ACME server: what a plan wants, as calls; what comes back, as an outcome.

mod order;
#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::Timestamp;

use crate::acme::{self, AccountRef, Authorization, Blame, Client, Status};
use crate::controllers::challenge;
use crate::explain::{Code, Verdict, not_before};
use crate::issuers::acme::{Account, Trouble, closed_account};

/// The least time between two looks at something that the CA works on.
const LEAST: Duration = Duration::from_millis(500);
/// The longest time between two such looks, whatever the CA says: some say a day, and are done in seconds.
const WORK_MOST: Duration = Duration::from_mins(10);
/// The least that a CA is left alone that has refused for the time being.
const REFUSED_LEAST: Duration = Duration::from_mins(1);
/// The least for one that is overloaded.
const BUSY_LEAST: Duration = Duration::from_secs(1);
/// The longest that a CA is believed that wants to be left alone.
const REFUSED_MOST: Duration = Duration::from_hours(7 * 24);
const UNAVAILABLE: u16 = 503;

/// When the CA wants to be looked at again, from now.
fn after(retry_after: Option<Timestamp>, now: Timestamp) -> Option<Duration> {
    Some(until(retry_after?, now).clamp(LEAST, WORK_MOST))
}

/// How long the CA wants to be left alone after a refusal.
fn rest(error: &acme::Error, asked: Timestamp, now: Timestamp) -> Duration {
    let least = match error.status() {
        Some(UNAVAILABLE) => BUSY_LEAST,
        _ => REFUSED_LEAST,
    };
    until(asked, now).clamp(least, REFUSED_MOST)
}

fn until(time: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(time.duration_since(now)).unwrap_or_default()
}

/// An account with its URL, ready for signed calls.
pub struct Session<'a> {
    of: &'a Account,
    client: &'a Client,
    account: AccountRef,
    now: Timestamp,
}

impl<'a> Session<'a> {
    /// `None` before the account is registered.
    pub fn new(account: &'a Account, now: Timestamp) -> Option<Self> {
        Some(Self {
            of: account,
            client: &account.client,
            account: account.reference()?,
            now,
        })
    }

    /// Whether a refusal is about the account, whatever was asked for; its issuer is to look at it then.
    async fn blames_account(&self, error: &acme::Error) -> bool {
        let trouble = match (error.class(), error.problem()) {
            (acme::Class::Account, _) if error.is_account_unknown() => Some(Trouble::Unknown),
            (acme::Class::Account, _) => Some(Trouble::Blocked(self.demand(error).await)),
            // What servers say about a deactivated account too (RFC 8555 §7.3.6).
            (acme::Class::Permanent, Some(problem)) if problem.is("unauthorized") => {
                self.closed().await
            }
            _ => None,
        };
        let Some(trouble) = trouble else {
            return false;
        };
        self.of.note(trouble);
        true
    }

    /// What the CA wants a human to do, with the place where it can be done.
    async fn demand(&self, error: &acme::Error) -> String {
        let link = self.of.place_to_act(error).await;
        let todo = link.map(|link| format!(". Do at {link} what it asks for"));
        format!(
            "The CA wants something done before it goes on: {error}{}",
            todo.unwrap_or_default()
        )
    }

    async fn closed(&self) -> Option<Trouble> {
        match self.client.find_account(&self.account.key).await {
            Ok(found) => match found.status {
                Status::Deactivated | Status::Revoked => {
                    Some(Trouble::Blocked(closed_account(found.status.as_str())))
                }
                _ => None,
            },
            Err(error) => {
                let problem = error.problem()?;
                if error.is_account_unknown() {
                    return Some(Trouble::Unknown);
                }
                let closed = problem.is("unauthorized");
                closed.then(|| Trouble::Blocked(closed_account(&problem.to_string())))
            }
        }
    }

    /// Ask the CA to validate a challenge that nobody has asked for yet. If somebody has after all, that is no fault.
    pub async fn accept(&self, authorization_url: &str, url: &str) -> challenge::Outcome {
        match self.client.accept(&self.account, url).await {
            Ok(accepted) => challenge::Outcome::State {
                state: accepted.status.as_str().into(),
                reason: obstacle(&accepted),
                retry: after(accepted.retry_after, self.now),
            },
            Err(error) if error.problem().is_some_and(|p| p.is("malformed")) => {
                self.poll(authorization_url, url).await
            }
            Err(error) => self.challenge_refused(&error).await,
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
            Err(error) => self.challenge_refused(&error).await,
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
            Err(error) => self.challenge_refused(&error).await,
        }
    }

    /// The authorization decides; the challenge's own problem says why.
    fn verdict(&self, authorization: &Authorization, url: &str) -> challenge::Outcome {
        let challenge = authorization.challenges.iter().find(|c| c.url == url);
        let state = match authorization.status {
            Status::Valid => "valid",
            Status::Invalid => "invalid",
            Status::Expired | Status::Deactivated | Status::Revoked => "expired",
            // step-ca leaves the authorization open after that.
            _ => match challenge.map(|c| c.status) {
                Some(Status::Invalid) => "invalid",
                Some(Status::Processing) => "processing",
                _ => "pending",
            },
        };
        challenge::Outcome::State {
            state: state.into(),
            reason: challenge.and_then(obstacle),
            retry: after(authorization.retry_after, self.now),
        }
    }

    async fn challenge_refused(&self, error: &acme::Error) -> challenge::Outcome {
        let reason = told_with_end("Error accepting challenge", error);
        if self.blames_account(error).await {
            return challenge::Outcome::AccountRefused { reason };
        }
        let state = |state: &str| challenge::Outcome::State {
            state: state.into(),
            reason: Some(reason.clone()),
            retry: None,
        };
        match error.class() {
            acme::Class::Permanent if error.status() == Some(404) => {
                challenge::Outcome::Unknown { reason }
            }
            acme::Class::Permanent if error.problem().is_some_and(|p| p.is("malformed")) => {
                state("expired")
            }
            acme::Class::Permanent | acme::Class::Account => state("errored"),
            acme::Class::Transient => challenge::Outcome::Unavailable {
                reason,
                retry: None,
            },
            acme::Class::RateLimited { until: Some(until) } => challenge::Outcome::Unavailable {
                reason,
                retry: Some(rest(error, until, self.now)),
            },
            acme::Class::RateLimited { until: None } => challenge::Outcome::Refused { reason },
        }
    }
}

/// A failure in words, which say if the CA is to blame.
fn told(doing: &str, error: &acme::Error) -> String {
    let text = format!("{doing}: {error}");
    match error.blame() {
        Blame::Ca => Verdict::new(Code::CA_UNABLE, text).to_string(),
        Blame::Account => Verdict::new(Code::CA_ACCOUNT, text).to_string(),
        Blame::Other => text,
    }
}

/// The same, with the end of a limit if the CA says it.
fn told_with_end(doing: &str, error: &acme::Error) -> String {
    let text = told(doing, error);
    match (error.blame(), error.class()) {
        (Blame::Other, acme::Class::RateLimited { until: Some(until) }) => {
            format!("{text}. {}", not_before(until))
        }
        _ => text,
    }
}

/// Why the CA has not found the challenge to be proven, if it says so.
fn obstacle(challenge: &acme::Challenge) -> Option<String> {
    let problem = challenge.error.as_ref()?;
    let problem = problem.to_string();
    let asked = challenge.asked.beside(&problem);
    let asked = asked.map(|asked| format!("; {asked}"));
    let text = format!(
        "Error accepting authorization: {problem}{}",
        asked.unwrap_or_default()
    );
    Some(without(&challenge.token, text))
}

/// A text without the token: CAs quote the URL that they asked for, and who knows it can answer in the name of the site.
fn without(token: &str, text: String) -> String {
    if token.is_empty() {
        text
    } else {
        text.replace(token, "<token>")
    }
}

/// Whether the CA waits for the word to begin. Where an authorization is open and says nothing of the challenge, as Nexus does,
/// it may: a word too many does less than one too few.
fn pending(authorization: &Authorization, url: &str) -> bool {
    let challenge = authorization.challenges.iter().find(|c| c.url == url);
    let status = challenge.map_or(Status::Unknown, |challenge| challenge.status);
    authorization.status == Status::Pending && matches!(status, Status::Pending | Status::Unknown)
}
