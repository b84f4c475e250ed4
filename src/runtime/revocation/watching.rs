//! Fetching the revocation lists of other CAs that issuers ask to watch: one at a time, and one a second at most.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use tokio_util::sync::CancellationToken;

use crate::acme::{certificate_id, identified};
use crate::controllers::action::Event;
use crate::controllers::reads::Reader;
use crate::controllers::watched_lists::{Failure, Fetched, Heard, Watched};
use crate::explain::{Code, Verdict};
use crate::net::{self, Request};
use crate::pki::{ParsedCertificate, RevocationList, parse_bundle, parse_chain};
use crate::runtime::clock::now;
use crate::runtime::events::Events;
use crate::runtime::queue::Queue;

/// Between two fetches.
const PACE: Duration = Duration::from_secs(1);
/// How often it is looked for what has come to be watched.
const TICK: Duration = Duration::from_secs(10);
/// How many Secrets are read for the certificate of one CA.
const SECRETS: usize = 3;

/// What it takes.
pub struct Watch {
    /// Facts, and live Secrets.
    pub reader: Reader,
    /// Where Certificates are told.
    pub queue: Arc<Queue>,
    /// Where it is said that a list cannot be used.
    pub events: Events,
    /// The way to the lists.
    pub http: net::Client,
}

impl Watch {
    /// Fetch what is due, until `stop`.
    pub async fn keep(self, stop: CancellationToken) {
        loop {
            let step = async {
                let wait = self.step().await;
                tokio::time::sleep(wait).await;
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = step => {}
            }
        }
    }

    /// Fetch one list, if one is due; how long to wait.
    async fn step(&self) -> Duration {
        let watched = self.reader.store.watched();
        let url = match self.reader.watched.due(&watched, now()) {
            Ok(url) => url,
            Err(next) => {
                let left = next.map(|next| Duration::try_from(next.duration_since(now())));
                return left.and_then(Result::ok).unwrap_or(TICK).clamp(PACE, TICK);
            }
        };
        let of_it: Vec<&Watched> = watched.iter().filter(|one| one.list == url).collect();
        let answer = self.fetch(&url, &of_it).await;
        match &answer {
            Ok(fetched) => {
                let revoked = fetched.list.revoked.len();
                tracing::debug!(list = %url, revoked, "revocation list fetched");
            }
            Err(failure) => {
                tracing::debug!(list = %url, problem = failure.message, "no revocation list");
            }
        }
        match self.reader.watched.heard(&url, &watched, answer, now()) {
            Heard::Nothing => {}
            Heard::Revoked(certificates) => {
                for certificate in certificates {
                    tracing::info!(object = %certificate, list = %url, "its certificate is in a revocation list");
                    self.queue.add(certificate);
                }
            }
            Heard::Unusable(problem) => self.complain(&url, &of_it, &problem),
        }
        PACE
    }

    /// Say to each issuer that asks for a list that it cannot be used.
    fn complain(&self, url: &str, watched: &[&Watched], problem: &str) {
        let text = format!("spec.watchRevocationLists: {url}: {problem}");
        let verdict = Verdict::new(Code::WATCHED_LIST, text).to_string();
        let mut issuers: Vec<_> = watched.iter().map(|one| &one.issuer).collect();
        issuers.sort();
        issuers.dedup();
        for issuer in issuers {
            let fact = self
                .reader
                .store
                .issuer_named(&issuer.namespace, &issuer.name);
            let uid = fact.map_or(String::new(), |fact| fact.id.uid.clone());
            let event = Event::warning("everleaf", "RevocationListUnusable", verdict.clone());
            tracing::warn!(object = %issuer, "{verdict}");
            self.events.post(issuer, &uid, event);
        }
    }

    async fn fetch(&self, url: &str, watched: &[&Watched]) -> Result<Fetched, Failure> {
        let fail = |message: String| failure(message, None);
        let reply = self.http.send(Request::get(url)).await;
        let reply = reply.map_err(|e| fail(e.to_string()))?;
        if !reply.is_success() {
            let message = format!("{} answers with status {}", reply.host, reply.status);
            return Err(failure(message, reply.retry_after(now())));
        }
        let fresh_until = reply.fresh_until(now());
        let der = reply.body.to_vec();
        drop(reply);
        // A hundred thousand entries are a while.
        let read = tokio::task::spawn_blocking(move || RevocationList::from_der(der)).await;
        let list = read.map_err(|e| fail(e.to_string()))?;
        let list = list.map_err(|e| fail(e.to_string()))?;
        let signer = self.signer(&list, watched).await?;
        Ok(Fetched {
            list,
            signer,
            fresh_until,
        })
    }

    /// The key identifier of the CA that has signed a list, among those of the certificates that name it.
    async fn signer(
        &self,
        list: &RevocationList,
        watched: &[&Watched],
    ) -> Result<Vec<u8>, Failure> {
        let mut by_signer: HashMap<Vec<u8>, Vec<&Watched>> = HashMap::new();
        for one in watched {
            if let Some((signer, _)) = identified(&one.id) {
                by_signer.entry(signer).or_default().push(one);
            }
        }
        let mut known = false;
        for (signer, of_it) in by_signer {
            for one in of_it.into_iter().take(SECRETS) {
                let Some(authority) = self.authority(one).await? else {
                    continue;
                };
                known = true;
                if authority.may_list() && list.verify(authority.public_key_der()).is_ok() {
                    return Ok(signer);
                }
                break;
            }
        }
        let message = if known {
            "it is not signed by the CA of the certificates that name it"
        } else {
            "no Secret of a certificate that names it has the certificate of the CA, in tls.crt or ca.crt"
        };
        Err(failure(message, None))
    }

    /// The certificate of the CA that has signed this one, as its Secret has it.
    async fn authority(&self, watched: &Watched) -> Result<Option<ParsedCertificate>, Failure> {
        let namespace = &watched.certificate.namespace;
        let secret: Option<Secret> = self
            .reader
            .live(namespace, &watched.secret)
            .await
            .map_err(|e| failure(e.to_string(), None))?;
        let data = secret.and_then(|secret| secret.data).unwrap_or_default();
        let entry = |name: &str| data.get(name).map(|bytes| bytes.0.as_slice());
        let chain = parse_chain(entry("tls.crt").unwrap_or_default()).unwrap_or_default();
        let Some((leaf, above)) = chain.split_first() else {
            return Ok(None);
        };
        if certificate_id(leaf).as_deref() != Some(&watched.id) {
            return Ok(None);
        }
        let roots = parse_bundle(entry("ca.crt").unwrap_or_default()).unwrap_or_default();
        let mut all = above.iter().chain(&roots);
        let authority = all.find(|above| leaf.verify_issued_by(above).is_ok());
        Ok(authority.cloned())
    }
}

fn failure(message: impl Into<String>, until: Option<Timestamp>) -> Failure {
    Failure {
        message: message.into(),
        until,
    }
}
