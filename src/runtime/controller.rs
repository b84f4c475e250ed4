//! `everleaf controller`: put the parts together, run, and come to an orderly end.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use kube::Client;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::clock::{monotonic, now};
use super::connection;
use super::crash::{Stage, point};
use super::drive::Driver;
use super::effects::Effects;
use super::events::Events;
use super::informer::Informers;
use super::lease::{self, Held};
use super::options::Options;
use super::queue::Queue;
use super::scrape::Scrape;
use super::signing::Signer;
use super::user;
use crate::acme::{CallStage, Hooks};
use crate::controllers::ordered_issuer::Looks;
use crate::controllers::progress::Progress;
use crate::controllers::reads::Reader;
use crate::controllers::store::Store;
use crate::dns::Resolver;
use crate::net;
use crate::runtime::acme::accounts::AccountsInUse;
use crate::runtime::acme::limits::LimitsInUse;
use crate::runtime::acme::orders::Orders;
use crate::runtime::acme::preflight::Preflights;
use crate::runtime::challenges::dns01::Dns01;
use crate::runtime::challenges::validations::Validations;
use crate::runtime::revocation::lists::serve_lists;
use crate::runtime::revocation::watching::Watch;
use crate::runtime::signing::approvals::Approvals;
use crate::serve::listen;
use crate::solvers::dns01::hosted::Hosted;
use crate::solvers::http01::responder;
use crate::solvers::http01::self_check::{SelfCheck, Settings as SelfCheckSettings};
use crate::telemetry::admin::{Check, Probes, serve_metrics, serve_probes};
use crate::telemetry::metrics::{AcmeRequest, Metrics};

/// The longest time that reconciles under way get after a SIGTERM.
const DRAIN: Duration = Duration::from_secs(6);
/// And for what is left to say after them, and the Lease: ten seconds with the above, less than
/// `terminationGracePeriodSeconds` of the chart.
const PARTING: Duration = Duration::from_secs(4);
/// How long after its end a Lease that is still held fails liveness, as in cert-manager.
const TOLERANCE: Duration = Duration::from_secs(20);
/// A clock that moved by more than this against the monotonic one fails liveness, as in cert-manager.
const SKEW: Duration = Duration::from_mins(5);

/// Run until a signal, or until the Lease is lost.
pub async fn run(options: Options) -> anyhow::Result<()> {
    name_what_is_ignored(&options);
    options.limits().set();
    let settings = options.settings()?;
    let lease = options.lease(identity())?;
    let dns01 = options.dns01()?;
    let stop = CancellationToken::new();
    stop_on_signal(stop.clone())?;

    let client = connection::client(&options).await?;
    let progress = Arc::new(Progress::default());
    let queue = Arc::new(Queue::new(options.limit(), progress.clone()));
    let store = Arc::new(Store::new(&options.cluster_resource_namespace));
    let metrics = Arc::new(Metrics::new());
    let limits = Arc::new(LimitsInUse::new(options.orders_under_way(), queue.clone()));
    metrics.set_objects(Arc::new(Scrape::new(store.clone(), limits.clone())));
    let http = net::Client::plain(net::public_roots()).context("TLS for DNS services")?;
    let check = self_check(&options, &http)?;
    let signer = Arc::new(Signer::default());
    let accounts = AccountsInUse::new(hooks(&metrics), signer.clone());
    let reader = Reader::new(store.clone(), client.clone());
    let dns01 = Dns01::new(reader.clone(), queue.clone(), dns01, http, hosted()?);
    let validations = Arc::new(Validations::new(
        check.clone(),
        dns01,
        reader.recoveries.clone(),
        queue.clone(),
        options.max_concurrent_challenges,
    ));
    let preflights = Arc::new(Preflights::new(
        validations.dns01.clone(),
        check,
        queue.clone(),
        options.http01_self_check_limit,
    ));
    let effects = Effects::new(client.clone(), metrics.clone());
    let (events, poster) = Events::start(effects.clone(), queue.clone());

    let informers = Informers::new(
        store.clone(),
        queue.clone(),
        progress.clone(),
        metrics.clone(),
    );
    let namespace = (!options.namespace.is_empty()).then_some(options.namespace.as_str());
    let mut watches = informers.start(&client, namespace, settings.keeps_lists);

    let (leads, mut led) = watch::channel(None);
    serve(&options, &metrics, &informers, &validations, &led, &stop).await?;
    // Kept until the last reconcile has ended.
    let release = CancellationToken::new();
    let lost = CancellationToken::new();
    let lease = hold_lease(lease, client, leads, release.clone(), lost.clone());

    let driver = Arc::new(Driver {
        reader,
        queue,
        effects,
        events,
        signer,
        approvals: Approvals::default(),
        accounts,
        orders: Orders::default(),
        preflights,
        validations,
        limits,
        metrics: metrics.clone(),
        looks: Looks::default(),
        settings,
        errors: parking_lot::Mutex::default(),
        refusals: parking_lot::Mutex::default(),
    });
    let outcome = tokio::select! {
        // Another replica may act already: whatever is under way must not go on.
        () = lost.cancelled() => Err(anyhow::anyhow!("the Lease is lost; ending, to start again as a standby")),
        Some(_) = watches.join_next() => Err(anyhow::anyhow!("a watch has ended by itself; ending, to start again")),
        outcome = lead(&driver, &informers, &mut led, &stop) => outcome,
    };
    metrics.set_leader(false);
    stop.cancel();
    release.cancel();
    // What happened is told still, and the Lease given back, so that the next replica need not wait.
    drop(driver);
    let parting = futures::future::join(lease, poster);
    drop(tokio::time::timeout(PARTING, parting).await);
    drop(watches);
    outcome
}

fn self_check(options: &Options, http: &net::Client) -> anyhow::Result<SelfCheck> {
    let named = options.http01_nameservers()?;
    let resolver = (!named.is_empty()).then(|| Resolver::new(named, http.clone()));
    let check = SelfCheck::new(SelfCheckSettings::default()).context("TLS for the self-check")?;
    Ok(check
        .asking(resolver)
        .through(net::Proxies::of_environment()))
}

/// Hold the Lease until `release`, or what stands for it without `settings`; `lost` when it ends before.
fn hold_lease(
    settings: Option<lease::Settings>,
    client: Client,
    leads: watch::Sender<Held>,
    release: CancellationToken,
    lost: CancellationToken,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        // Also by a panic: nobody renews it any more.
        let _lost = lost.drop_guard();
        if let Some(settings) = settings {
            lease::hold(client, settings, leads, release).await;
        } else {
            leads.send_replace(Some(monotonic()));
            release.cancelled().await;
        }
    })
}

fn name_what_is_ignored(options: &Options) {
    let ignored = options.without_effect();
    if !ignored.is_empty() {
        tracing::warn!(
            flags = ignored.join(" "),
            "flags without effect in this version"
        );
    }
}

/// Wait until this replica may act and knows everything; then act.
async fn lead(
    driver: &Arc<Driver>,
    informers: &Informers,
    led: &mut watch::Receiver<Held>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let ready = async {
        let caches = async {
            while !informers.progress.waiting_for().is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        futures::future::join(caches, user::ask(&driver.reader, &driver.effects)).await;
        lease::held(led).await
    };
    tokio::select! {
        held = ready => held.context("the Lease")?,
        () = stop.cancelled() => return Ok(()),
    }
    driver.metrics.set_leader(true);
    tracing::info!("this replica acts from now on");
    driver.validations.begin();
    driver.limits.rebuild(&driver.reader.store, now());
    let watch = Watch {
        reader: driver.reader.clone(),
        queue: driver.queue.clone(),
        events: driver.events.clone(),
        http: net::Client::for_signed().context("TLS for revocation lists")?,
    };
    let (limits, store) = (driver.limits.clone(), driver.reader.store.clone());
    // Dropped, they end: nothing is written once this has returned.
    let mut work = JoinSet::new();
    work.spawn(watch.keep(stop.clone()));
    work.spawn(limits.keep_time(store, stop.clone()));
    work.spawn(driver.clone().run(stop.clone()));
    let (reader, effects) = (driver.reader.clone(), driver.effects.clone());
    work.spawn(user::keep_asking(reader, effects, stop.clone()));
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        Some(_) = work.join_next() => {
            anyhow::bail!("a part of the operator has ended by itself; ending, to start again");
        }
    }
    let rest = async { while work.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, rest).await.is_err() {
        tracing::warn!("reconciles did not end in time; they are taken up again at the next start");
    }
    work.shutdown().await;
    Ok(())
}

/// Metrics of ACME calls, and the crash points of tests.
fn hooks(metrics: &Arc<Metrics>) -> Hooks {
    let metrics = metrics.clone();
    Hooks {
        observer: Some(Arc::new(move |seen| {
            let request = AcmeRequest {
                scheme: seen.scheme.into(),
                host: seen.host.into(),
                action: seen.action.as_str(),
                method: match seen.method {
                    "HEAD" => "HEAD",
                    "GET" => "GET",
                    _ => "POST",
                },
                status: seen.status,
            };
            metrics.acme_request(request, seen.duration);
        })),
        on_call: Some(Arc::new(|action, stage| match stage {
            CallStage::Before => point(Stage::Before, action.as_str()),
            CallStage::After => point(Stage::Committed, action.as_str()),
        })),
    }
}

/// The ports: probes, metrics, and the responder of the Direct mode.
async fn serve(
    options: &Options,
    metrics: &Arc<Metrics>,
    informers: &Arc<Informers>,
    validations: &Arc<Validations>,
    led: &watch::Receiver<Held>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let address = &options.internal_healthz_listen_address;
    if let Some(listener) = address
        .listen()
        .await
        .context("--internal-healthz-listen-address")?
    {
        let probes = Arc::new(Health {
            informers: informers.clone(),
            led: led.clone(),
            limit: options
                .leader_elect
                .then(|| options.leader_election_lease_duration + TOLERANCE),
            started: (monotonic(), now()),
        });
        tokio::spawn(serve_probes(listener, probes, stop.clone()));
    }
    if let Some(listener) = options
        .metrics_listen_address
        .listen()
        .await
        .context("--metrics-listen-address")?
    {
        tokio::spawn(serve_metrics(listener, metrics.clone(), stop.clone()));
    }
    if let Some(listener) = options
        .revocation_list_listen_address
        .listen()
        .await
        .context("--revocation-list-listen-address")?
    {
        let store = informers.store.clone();
        tokio::spawn(serve_lists(listener, store, stop.clone()));
    }
    if options.http01_port != 0 {
        let listener = listen(options.http01_port).await.context("--http01-port")?;
        tokio::spawn(responder::respond(
            listener,
            validations.tokens.clone(),
            stop.clone(),
        ));
    }
    Ok(())
}

/// The hosted providers of DNS-01: by https alone, but for the metadata services of the machine.
fn hosted() -> anyhow::Result<Arc<Hosted>> {
    let http = net::Client::new(net::public_roots(), net::Resolver::System);
    let local = net::Client::local();
    let tls = "TLS for hosted DNS";
    Ok(Hosted::new(http.context(tls)?, local.context(tls)?, now))
}

struct Health {
    informers: Arc<Informers>,
    led: watch::Receiver<Held>,
    /// How long the Lease may be held without a renewal; none where there is no Lease.
    limit: Option<Duration>,
    started: (std::time::Instant, Timestamp),
}

impl Probes for Health {
    fn live(&self) -> Vec<Check> {
        let stalled = self.informers.stalled(now());
        let watches = if stalled.is_empty() {
            Ok(())
        } else {
            Err(format!(
                "no list was ever completed of {}",
                stalled.join(", ")
            ))
        };
        let lease = self.limit.map_or(Ok(()), |limit| {
            lease::overdue(*self.led.borrow(), limit, monotonic())
        });
        let (instant, time) = self.started;
        let wall = now().duration_since(time);
        let steady = monotonic().duration_since(instant);
        let skew = wall.unsigned_abs().abs_diff(steady);
        let clock = if skew > SKEW {
            Err(format!(
                "the wall clock has moved by {} s against the monotonic clock",
                skew.as_secs()
            ))
        } else {
            Ok(())
        };
        vec![
            (Cow::Borrowed("watches"), watches),
            (Cow::Borrowed("lease"), lease),
            (Cow::Borrowed("clock"), clock),
        ]
    }

    fn ready(&self) -> Vec<Check> {
        let missing = self.informers.progress.waiting_for();
        let names: Vec<_> = missing.iter().map(|i| i.name()).collect();
        let caches = if names.is_empty() {
            Ok(())
        } else {
            Err(format!("waiting for {}", names.join(", ")))
        };
        let role = if self.led.borrow().is_some() {
            "leader"
        } else {
            "standby"
        };
        vec![
            (Cow::Borrowed("caches"), caches),
            (Cow::Owned(format!("role {role}")), Ok(())),
        ]
    }
}

fn identity() -> String {
    let host = std::env::var("POD_NAME")
        .or_else(|_| std::env::var("HOSTNAME"))
        .or_else(|_| {
            std::fs::read_to_string("/proc/sys/kernel/hostname").map(|h| h.trim().to_owned())
        })
        .unwrap_or_else(|_| "everleaf".into());
    format!("{host}_{:x}", now().as_nanosecond())
}

fn stop_on_signal(stop: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("ending: reconciles under way come to their end");
        stop.cancel();
    });
    Ok(())
}
