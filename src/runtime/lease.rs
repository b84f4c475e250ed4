//! Which replica acts: the Lease that cert-manager uses too, so that never both are at work
//! (contract §7.6, §11). The expiry of another holder is measured by our own clock since its last
//! change, never by the time it wrote.

#![allow(
    clippy::disallowed_methods,
    reason = "the Lease decides who may use runtime::effects, so it cannot be written by it"
)]

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::watch::{self, error::RecvError};
use tokio_util::sync::CancellationToken;

use super::clock::{monotonic, now};
use crate::api::labels;

/// The Lease's name.
pub const NAME: &str = "cert-manager-controller";

/// How often it is read again at once after somebody else has written it.
const ROUNDS: usize = 3;

/// Before it is tried once more to give it back.
const AGAIN: Duration = Duration::from_millis(200);

/// The contract's flags `--leader-election-*`.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the Lease is.
    pub namespace: String,
    /// Who we are.
    pub identity: String,
    /// How long others wait for a holder that is silent.
    pub duration: Duration,
    /// How long a holder tries to renew before it gives up.
    pub renew_deadline: Duration,
    /// Time between tries.
    pub retry_period: Duration,
}

impl Settings {
    /// # Errors
    /// Two could hold the Lease at once, or nobody for long, with these times: which flag, and what it has to be.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.retry_period.is_zero() {
            return Err("retry-period has to be longer than 0s");
        }
        // As long as each try may take, and a fifth more.
        if self.renew_deadline <= self.retry_period.saturating_mul(6) / 5 {
            return Err("renew-deadline has to be longer than 1.2 times the retry-period");
        }
        // It is written in whole seconds.
        if Duration::from_secs(self.duration.as_secs()) <= self.renew_deadline {
            return Err(
                "lease-duration, in whole seconds, has to be longer than the renew-deadline",
            );
        }
        Ok(())
    }
}

/// What a look at the Lease leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Ours, or nobody's: write it.
    Take,
    /// Somebody else's, and alive as far as we know.
    Wait,
}

/// What was seen of another holder, and since when it has not changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    holder: String,
    renewed: Option<Timestamp>,
    since: Instant,
}

/// Decide from the Lease as it is. `seen` is what earlier looks saw; it is brought up to date.
pub fn decide(spec: &LeaseSpec, me: &str, seen: &mut Option<Seen>, now: Instant) -> Decision {
    let holder = spec.holder_identity.clone().unwrap_or_default();
    if holder.is_empty() || holder == me {
        return Decision::Take;
    }
    let renewed = spec.renew_time.as_ref().map(|t| t.0);
    let unchanged = seen
        .as_ref()
        .filter(|s| s.holder == holder && s.renewed == renewed)
        .cloned();
    let current = unchanged.unwrap_or(Seen {
        holder,
        renewed,
        since: now,
    });
    let wait =
        Duration::from_secs(u64::try_from(spec.lease_duration_seconds.unwrap_or(60)).unwrap_or(60));
    let expired = now.duration_since(current.since) >= wait;
    *seen = Some(current);
    if expired {
        Decision::Take
    } else {
        Decision::Wait
    }
}

/// When the Lease was renewed last; none while it is not ours.
pub type Held = Option<Instant>;

/// Wait until the Lease is ours.
///
/// # Errors
/// Nobody tries to get it any more.
pub async fn held(held: &mut watch::Receiver<Held>) -> Result<(), RecvError> {
    held.wait_for(Option::is_some).await.map(drop)
}

/// What is wrong with a Lease that is held and was not renewed within `limit`.
pub fn overdue(held: Held, limit: Duration, now: Instant) -> Result<(), String> {
    let silent = held.map_or(Duration::ZERO, |at| now.duration_since(at));
    if silent <= limit {
        return Ok(());
    }
    Err(format!("held, and not renewed for {} s", silent.as_secs()))
}

/// Hold the Lease until `stop`, or until it is lost: then this returns before. `held` tells whether we do.
pub async fn hold(
    client: Client,
    settings: Settings,
    held: watch::Sender<Held>,
    stop: CancellationToken,
) {
    let api: Api<Lease> = Api::namespaced(client, &settings.namespace);
    let mut seen = None::<Seen>;
    let mut told = None;
    let mut last = None;
    // What was asked for may be done though it was not answered: only that somebody else has it is certain.
    let mut may_be_ours = false;
    while !stop.is_cancelled() {
        let began = monotonic();
        let until = last.map(|last| last + settings.renew_deadline);
        let round = before(until, attempt(&api, &settings, &mut seen));
        may_be_ours = true;
        let round = tokio::select! {
            round = round => round,
            () = stop.cancelled() => break,
        };
        match round.unwrap_or(Err(Error::Deadline)) {
            Ok(true) => {
                // From before the write: others wait from when they have seen it.
                last = Some(began);
                held.send_replace(last);
            }
            Ok(false) if last.is_some() => {
                tracing::error!("another replica has taken the Lease");
                held.send_replace(None);
                return;
            }
            Ok(false) => {
                may_be_ours = false;
                let holder = seen.as_ref().map(|seen| seen.holder.clone());
                if told != holder {
                    let lease = format!("{}/{NAME}", settings.namespace);
                    let holder = holder.as_deref().unwrap_or_default();
                    tracing::info!(
                        lease,
                        holder,
                        "another replica holds the Lease: this one stands by"
                    );
                }
                told = holder;
            }
            Err(error) => tracing::warn!(%error, "the Lease cannot be read or written"),
        }
        let until = last.map(|last| last + settings.renew_deadline);
        let pause = tokio::time::sleep(settings.retry_period);
        tokio::select! {
            paused = before(until, pause) => if paused.is_none() {
                tracing::error!("the Lease could not be renewed in time");
                held.send_replace(None);
                return;
            },
            () = stop.cancelled() => {}
        }
    }
    if may_be_ours {
        release(&api, &settings).await;
    }
}

/// What comes of a call, if that is in time.
async fn before<T>(until: Option<Instant>, call: impl Future<Output = T>) -> Option<T> {
    match until {
        Some(until) => tokio::time::timeout_at(until.into(), call).await.ok(),
        None => Some(call.await),
    }
}

/// Whether it is ours. Whoever was faster may have changed something else of it: it is read again.
async fn attempt(
    api: &Api<Lease>,
    settings: &Settings,
    seen: &mut Option<Seen>,
) -> Result<bool, Error> {
    for _ in 0..ROUNDS {
        match round(api, settings, seen).await {
            Err(Error::Api(e)) if is_conflict(&e) => {}
            answer => return answer,
        }
    }
    Err(Error::Contended)
}

async fn round(
    api: &Api<Lease>,
    settings: &Settings,
    seen: &mut Option<Seen>,
) -> Result<bool, Error> {
    let Some(mut lease) = deadline(settings, api.get_opt(NAME)).await? else {
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(NAME.into()),
                labels: Some(
                    [(
                        labels::MANAGED_BY_LABEL.to_owned(),
                        labels::MANAGED_BY.to_owned(),
                    )]
                    .into(),
                ),
                ..ObjectMeta::default()
            },
            spec: Some(ours(LeaseSpec::default(), settings)),
        };
        deadline(settings, api.create(&PostParams::default(), &lease)).await?;
        return Ok(true);
    };
    let spec = lease.spec.take().unwrap_or_default();
    if decide(&spec, &settings.identity, seen, monotonic()) == Decision::Wait {
        return Ok(false);
    }
    lease.spec = Some(ours(spec, settings));
    deadline(settings, api.replace(NAME, &PostParams::default(), &lease)).await?;
    Ok(true)
}

fn ours(spec: LeaseSpec, settings: &Settings) -> LeaseSpec {
    let mine = spec.holder_identity.as_deref() == Some(settings.identity.as_str());
    let time = MicroTime(now());
    LeaseSpec {
        holder_identity: Some(settings.identity.clone()),
        lease_duration_seconds: Some(
            i32::try_from(settings.duration.as_secs()).unwrap_or(i32::MAX),
        ),
        acquire_time: if mine {
            spec.acquire_time
        } else {
            Some(time.clone())
        },
        lease_transitions: Some(spec.lease_transitions.unwrap_or_default() + i32::from(!mine)),
        renew_time: Some(time),
        ..spec
    }
}

/// Let the next replica in at once. It is tried until the API server has taken it; the caller sets the limit.
async fn release(api: &Api<Lease>, settings: &Settings) {
    let mut told = false;
    while let Err(error) = released(api, settings).await {
        if !told {
            tracing::warn!(%error, "the Lease could not be released yet; until it is, or expires, the next replica waits");
        }
        told = true;
        tokio::time::sleep(AGAIN).await;
    }
}

/// One try, which takes as long as it takes: another one would not be answered sooner.
async fn released(api: &Api<Lease>, settings: &Settings) -> Result<(), kube::Error> {
    let Some(mut lease) = api.get_opt(NAME).await? else {
        return Ok(());
    };
    let ours = |spec: &&mut LeaseSpec| spec.holder_identity.as_ref() == Some(&settings.identity);
    let Some(spec) = lease.spec.as_mut().filter(ours) else {
        return Ok(());
    };
    spec.holder_identity = Some(String::new());
    spec.lease_duration_seconds = Some(1);
    let params = PostParams::default();
    api.replace(NAME, &params, &lease).await.map(drop)
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Api(Box<kube::Error>),
    #[error("no answer from the API server in time")]
    Deadline,
    #[error("others write it all the time")]
    Contended,
}

async fn deadline<T>(
    settings: &Settings,
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(settings.retry_period, call).await {
        Ok(answer) => answer.map_err(|e| Error::Api(Box::new(e))),
        Err(_) => Err(Error::Deadline),
    }
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::collections::VecDeque;
    use std::sync::Arc;

    use http::{Method, Request, Response};
    use kube::client::Body;
    use parking_lot::Mutex;
    use tower::service_fn;

    use super::*;

    /// In place of a status: there is no answer.
    const HANGS: u16 = 0;

    /// An API server with one Lease, whose writes are answered as by a server that another writer is faster at, or that
    /// hangs: a real one does so by chance only.
    #[derive(Clone)]
    struct Server {
        lease: Lease,
        /// Statuses of writes, in order; after the last it hangs too.
        writes: Arc<Mutex<VecDeque<u16>>>,
    }

    impl Server {
        async fn answer(self, request: Request<Body>) -> http::Result<Response<Body>> {
            let status = match *request.method() {
                Method::GET => Some(200),
                _ => self.writes.lock().pop_front(),
            };
            let body = match status {
                Some(200) => serde_json::to_vec(&self.lease).unwrap(),
                status => serde_json::to_vec(&serde_json::json!({
                    "kind": "Status", "status": "Failure", "reason": "Conflict", "message": "", "code": status,
                }))
                .unwrap(),
            };
            let Some(status) = status.filter(|status| *status != HANGS) else {
                return std::future::pending().await;
            };
            Response::builder().status(status).body(Body::from(body))
        }

        fn client(&self) -> Client {
            let server = self.clone();
            Client::new(
                service_fn(move |request| server.clone().answer(request)),
                "system",
            )
        }

        fn held_by(holder: &str, writes: &[u16]) -> Self {
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(NAME.into()),
                    ..ObjectMeta::default()
                },
                spec: Some(held_by(holder, 1)),
            };
            let writes = Arc::new(Mutex::new(writes.iter().copied().collect()));
            Self { lease, writes }
        }
    }

    fn server(holder: &str, writes: &[u16]) -> Client {
        Server::held_by(holder, writes).client()
    }

    fn settings() -> Settings {
        Settings {
            namespace: "system".into(),
            identity: "me".into(),
            duration: Duration::from_mins(1),
            renew_deadline: Duration::from_millis(300),
            retry_period: Duration::from_mins(1),
        }
    }

    #[tokio::test]
    async fn whoever_writes_it_too_does_not_end_a_leadership() {
        let tried = async |holder, writes: &[u16]| {
            let api = Api::namespaced(server(holder, writes), "system");
            attempt(&api, &settings(), &mut None).await
        };
        assert!(tried("me", &[409, 409, 200]).await.unwrap());
        assert!(!tried("other", &[409, 200]).await.unwrap());
        let contended = tried("me", &[409; 9]).await.unwrap_err();
        assert!(matches!(contended, Error::Contended));
    }

    #[tokio::test]
    async fn a_lease_that_cannot_be_renewed_is_lost_at_its_deadline() {
        let began = monotonic();
        let (held, mut seen) = watch::channel(None);
        // Both ways: it waits for an answer, and for the next try.
        for retry_period in [Duration::from_mins(1), Duration::from_millis(1)] {
            let settings = Settings {
                retry_period,
                ..settings()
            };
            let hold = hold(
                server("me", &[200]),
                settings,
                held.clone(),
                CancellationToken::new(),
            );
            tokio::time::timeout(Duration::from_secs(20), hold)
                .await
                .unwrap();
            assert!(seen.has_changed().unwrap() && seen.borrow_and_update().is_none());
        }
        assert!(monotonic().duration_since(began) >= 2 * settings().renew_deadline);
    }

    #[tokio::test]
    async fn a_lease_is_given_back_though_the_api_server_fails_at_first() {
        let server = Server::held_by("me", &[200, 500, 409, 200]);
        let (held, mut seen) = watch::channel(None);
        let stop = CancellationToken::new();
        let client = server.client();
        let hold = tokio::spawn(hold(client, settings(), held, stop.clone()));
        super::held(&mut seen).await.unwrap();
        stop.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(20), hold);
        ended.await.unwrap().unwrap();
        assert!(server.writes.lock().is_empty(), "it was given up");
    }

    #[tokio::test]
    async fn a_lease_whose_write_has_no_answer_is_given_back_at_the_end() {
        let server = Server::held_by("me", &[HANGS, 200]);
        let stop = CancellationToken::new();
        let client = server.client();
        let hold = hold(client, settings(), watch::channel(None).0, stop.clone());
        let asked = async {
            while server.writes.lock().len() == 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            stop.cancel();
        };
        let both = futures::future::join(hold, asked);
        let ended = tokio::time::timeout(Duration::from_secs(20), both);
        ended.await.unwrap();
        assert!(server.writes.lock().is_empty(), "it was not given back");
    }

    #[tokio::test]
    async fn a_lease_whose_write_has_failed_is_given_back_at_the_end() {
        // It may be done all the same.
        let server = Server::held_by("me", &[500, 200]);
        let stop = CancellationToken::new();
        let client = server.client();
        let hold = hold(client, settings(), watch::channel(None).0, stop.clone());
        let mut hold = std::pin::pin!(hold);
        // It has its answer, and waits for the next try.
        let waits = tokio::time::timeout(Duration::from_millis(200), hold.as_mut());
        assert!(waits.await.is_err());
        stop.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(20), hold);
        ended.await.unwrap();
        assert!(server.writes.lock().is_empty(), "it was not given back");
    }

    fn held_by(holder: &str, renewed: i64) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.into()),
            lease_duration_seconds: Some(60),
            renew_time: Timestamp::from_second(renewed).ok().map(MicroTime),
            ..LeaseSpec::default()
        }
    }

    #[tokio::test]
    async fn a_lease_is_held_once_it_was_renewed() {
        let (sender, mut receiver) = watch::channel(None);
        sender.send_replace(Some(monotonic()));
        assert!(held(&mut receiver).await.is_ok());
        // As when the task that renews it has panicked.
        let (sender, mut receiver) = watch::channel(None);
        drop(sender);
        assert!(held(&mut receiver).await.is_err(), "it is never ours");
    }

    #[test]
    fn a_lease_that_is_held_beyond_its_end_is_overdue() {
        let now = monotonic();
        let limit = Duration::from_secs(80);
        assert_eq!(overdue(None, limit, now), Ok(()));
        assert_eq!(overdue(Some(now), limit, now + limit), Ok(()));
        let later = now + Duration::from_secs(81);
        let fault = "held, and not renewed for 81 s".to_owned();
        assert_eq!(overdue(Some(now), limit, later), Err(fault));
    }

    #[test]
    fn a_free_lease_and_our_own_are_taken() {
        let now = monotonic();
        assert_eq!(
            decide(&LeaseSpec::default(), "me", &mut None, now),
            Decision::Take
        );
        assert_eq!(
            decide(&held_by("me", 1), "me", &mut None, now),
            Decision::Take
        );
    }

    #[test]
    fn a_live_holder_is_left_alone_however_old_its_own_clock_says_it_is() {
        let start = monotonic();
        let mut seen = None;
        let later = start + Duration::from_secs(59);
        assert_eq!(
            decide(&held_by("other", 1), "me", &mut seen, start),
            Decision::Wait
        );
        assert_eq!(
            decide(&held_by("other", 2), "me", &mut seen, later),
            Decision::Wait
        );
        let after = later + Duration::from_secs(59);
        assert_eq!(
            decide(&held_by("other", 2), "me", &mut seen, after),
            Decision::Wait
        );
    }

    #[test]
    fn a_silent_holder_is_replaced_after_its_lease_duration() {
        let start = monotonic();
        let mut seen = None;
        assert_eq!(
            decide(&held_by("other", 1), "me", &mut seen, start),
            Decision::Wait
        );
        let later = start + Duration::from_mins(1);
        assert_eq!(
            decide(&held_by("other", 1), "me", &mut seen, later),
            Decision::Take
        );
    }

    #[test]
    fn a_new_holder_gets_a_whole_lease_duration() {
        let start = monotonic();
        let mut seen = None;
        assert_eq!(
            decide(&held_by("other", 1), "me", &mut seen, start),
            Decision::Wait
        );
        let later = start + Duration::from_mins(1);
        assert_eq!(
            decide(&held_by("third", 1), "me", &mut seen, later),
            Decision::Wait
        );
    }
}
