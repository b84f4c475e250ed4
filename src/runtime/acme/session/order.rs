//! The calls of an Order.

use std::time::Duration;

use jiff::Timestamp;

use super::{Session, after, rest, told};
use crate::acme::{
    self, Authorization, CertificateChain, Class, Fault, Identifier, Preference, Status,
    may_be_replaces,
};
use crate::api::order::{OrderAuthorization, OrderChallenge};
use crate::controllers::order::{Made, Outcome, Wait};
use crate::explain::{Code, Verdict};
use crate::pki::CertificateSigningRequest;

/// What is done when an order is read, in cert-manager's words.
const ORDER: &str = "Failed to retrieve Order resource";

impl Session<'_> {
    /// Create an order and read its authorizations. One that is refused, perhaps because of the certificate that it is
    /// to replace, is asked for once more without: that certificate is no condition of the new one.
    pub async fn create_order(
        &self,
        identifiers: &[Identifier],
        duration: Option<Duration>,
        profile: Option<&str>,
        replaces: Option<&str>,
    ) -> Outcome {
        let not_after = duration.and_then(|d| self.now.checked_add(d).ok());
        let order = |replaces| {
            let client = self.client;
            client.new_order(&self.account, identifiers, not_after, profile, replaces)
        };
        let mut answer = order(replaces).await;
        let mut without = false;
        if let (Err(error), Some(replaces)) = (&answer, replaces)
            && may_be_replaces(error)
        {
            tracing::info!(%error, replaces, "the order is asked for again without `replaces`");
            answer = order(None).await;
            without = true;
        }
        match answer {
            Ok(order) => Outcome::Read(Made {
                without_replaces: without,
                ..self.begun(order).await
            }),
            Err(error) => self.refused(&error, "Failed to create Order").await,
        }
    }

    /// A new order with its authorizations. Where they cannot be read it is kept without, and read again: nothing else
    /// knows of it.
    async fn begun(&self, order: acme::Order) -> Made {
        let alone = made(&order, order.expires, vec![]);
        let whole = self.authorizations(&order).await;
        whole.unwrap_or(alone)
    }

    /// Read an order and its authorizations.
    pub async fn read_order(&self, url: &str) -> Outcome {
        match self.client.order(&self.account, url).await {
            Ok(order) if order.status == Status::Invalid => ended(&order),
            Ok(order) => match self.authorizations(&order).await {
                Ok(made) => Outcome::Read(made),
                Err(error) => {
                    self.unread(&error, "Failed to retrieve authorization")
                        .await
                }
            },
            Err(error) => self.unread(&error, ORDER).await,
        }
    }

    /// What the CA says that it does not have, and has given the URL of, may be known to another replica of it.
    async fn unread(&self, error: &acme::Error, doing: &str) -> Outcome {
        let is_unknown = error.status() == Some(404) && error.class() == Class::Permanent;
        match self.refused(error, doing).await {
            Outcome::Ended { reason, .. } if is_unknown => Outcome::Unavailable {
                reason,
                wait: Wait::Unknown,
            },
            outcome => outcome,
        }
    }

    async fn authorizations(&self, order: &acme::Order) -> Result<Made, acme::Error> {
        let mut authorizations = Vec::new();
        let mut expires = order.expires;
        for url in &order.authorizations {
            let authorization = self.client.authorization(&self.account, url).await?;
            expires = earlier(expires, authorization.expires);
            authorizations.push(stored(url, &authorization));
        }
        Ok(made(order, expires, authorizations))
    }

    /// Finalize an order that is ready, and fetch the certificate of one that is valid.
    pub async fn complete_order(
        &self,
        url: &str,
        csr: &CertificateSigningRequest,
        preference: Preference<'_>,
    ) -> Outcome {
        let mut order = match self.client.order(&self.account, url).await {
            Ok(order) => order,
            Err(error) => return self.unread(&error, ORDER).await,
        };
        if order.status == Status::Ready {
            let finalize = order.finalize.clone();
            let finalized = self.client.finalize(&self.account, &finalize, csr.der());
            order = match finalized.await {
                Ok(order) => order,
                Err(error) => match self.finalized_before(&error, url).await {
                    Some(order) => order,
                    None => return self.unread(&error, "Failed to finalize Order").await,
                },
            };
        }
        match order.status {
            Status::Valid => self.fetch(&order, csr, preference).await,
            Status::Invalid => ended(&order),
            status => self.not_yet(&order, status.stored().unwrap_or_default()),
        }
    }

    fn not_yet(&self, order: &acme::Order, state: &str) -> Outcome {
        Outcome::NotYet {
            state: state.into(),
            retry: after(order.retry_after, self.now),
            expires: order.expires,
        }
    }

    /// The order, if finalize was refused and the CA goes on all the same: a process that did not live to see the answer has
    /// finalized it, or the CA has taken the request with its refusal (`DigiCert`). The refusal is `orderNotReady` by RFC 8555
    /// §7.4, and anything in practice.
    async fn finalized_before(&self, error: &acme::Error, url: &str) -> Option<acme::Order> {
        let not_ready = error.problem().is_some_and(|p| p.is("orderNotReady"));
        if !not_ready && error.class() != Class::Permanent {
            return None;
        }
        let order = self.client.order(&self.account, url).await.ok()?;
        let is_finalized = matches!(order.status, Status::Valid | Status::Processing);
        (not_ready || is_finalized).then_some(order)
    }

    async fn fetch(
        &self,
        order: &acme::Order,
        csr: &CertificateSigningRequest,
        preference: Preference<'_>,
    ) -> Outcome {
        let Some(url) = &order.certificate else {
            return self.not_yet(order, "processing");
        };
        let chain = self
            .client
            .preferred_certificate(&self.account, url, preference);
        match chain.await {
            Ok(chain) => self.checked(chain, csr),
            Err(error) => self.withheld(&error).await,
        }
    }

    /// A certificate that is issued and not handed out comes in a moment: Venafi refuses it until it is made, and a replica
    /// that lags behind does not know of it.
    async fn withheld(&self, error: &acme::Error) -> Outcome {
        let doing = "Failed to retrieve signed certificate";
        let may_come = error.problem().is_some() && matches!(error.status(), Some(401 | 403 | 404));
        if !may_come || error.class() != Class::Permanent {
            return self.refused(error, doing).await;
        }
        if self.blames_account(error).await {
            return Outcome::AccountRefused;
        }
        let reason = Verdict::new(Code::CA_UNABLE, format!("{doing}: {error}")).to_string();
        let wait = Wait::Missing;
        Outcome::Unavailable { reason, wait }
    }

    fn checked(&self, chain: CertificateChain, csr: &CertificateSigningRequest) -> Outcome {
        let chain = chain.in_order(csr);
        let Some(fault) = chain.fault(csr, self.now) else {
            return Outcome::Issued(chain.pem.into_bytes());
        };
        let text = format!("The certificate that the CA has signed cannot be used: {fault}");
        let reason = Verdict::new(Code::CA_UNABLE, text).to_string();
        if fault == Fault::OtherKey {
            return Outcome::OtherKey(reason);
        }
        let state = "errored".into();
        Outcome::Ended { state, reason }
    }

    async fn refused(&self, error: &acme::Error, doing: &str) -> Outcome {
        let reason = told(doing, error);
        if self.blames_account(error).await {
            return Outcome::AccountRefused;
        }
        match error.class() {
            Class::Account | Class::Permanent => Outcome::Ended {
                state: "errored".into(),
                reason,
            },
            Class::Transient => Outcome::Unavailable {
                reason,
                wait: if error.finds_nothing() || error.status() == Some(410) {
                    Wait::Missing
                } else {
                    Wait::Fault
                },
            },
            Class::RateLimited { until } => {
                if let Some(pause) = error.problem().and_then(acme::Problem::pause) {
                    let reason =
                        format!("{doing}: the CA has paused names that failed too often. {pause}");
                    let wait = Wait::Human;
                    return Outcome::Unavailable { reason, wait };
                }
                let wait = until.map_or(Wait::Refused, |until| {
                    Wait::Asked(rest(error, until, self.now))
                });
                Outcome::Unavailable { reason, wait }
            }
        }
    }
}

fn made(
    order: &acme::Order,
    expires: Option<Timestamp>,
    authorizations: Vec<OrderAuthorization>,
) -> Made {
    Made {
        url: order.url.clone(),
        finalize_url: order.finalize.clone(),
        state: order.status.stored().unwrap_or_default().into(),
        expires,
        authorizations,
        without_replaces: false,
    }
}

/// The CA will not make a certificate of this order.
fn ended(order: &acme::Order) -> Outcome {
    let reason = match &order.error {
        None => "the CA has marked the order as invalid".to_owned(),
        Some(problem) => {
            let text = format!("Failed to finalize Order: {problem}");
            if problem.is("serverInternal") {
                Verdict::new(Code::CA_UNABLE, text).to_string()
            } else {
                text
            }
        }
    };
    Outcome::Ended {
        state: "invalid".into(),
        reason,
    }
}

fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}

/// An authorization as the status of an Order keeps it. Some CAs leave the `*.` of a wildcard in its name, where RFC 8555
/// §7.1.4 has it taken off.
fn stored(url: &str, authorization: &Authorization) -> OrderAuthorization {
    let challenges = authorization.challenges.iter().map(|c| OrderChallenge {
        token: c.token.clone(),
        type_: c.kind.clone(),
        url: c.url.clone(),
    });
    let name = &authorization.identifier.value;
    let base = name.strip_prefix("*.");
    OrderAuthorization {
        challenges: Some(challenges.collect()),
        identifier: Some(base.unwrap_or(name).to_owned()),
        initial_state: authorization.status.stored().map(Into::into),
        url: url.to_owned(),
        wildcard: Some(authorization.wildcard || base.is_some()),
    }
}
