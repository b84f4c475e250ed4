//! `everleaf controller`: put the parts together, run, and come to an orderly end.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use http::HeaderValue;
use jiff::Timestamp;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::accounts::AccountsInUse;
use super::clock::{monotonic, now};
use super::crash::{Stage, point};
use super::dns01::Dns01;
use super::drive::Driver;
use super::effects::Effects;
use super::events::Events;
use super::informer::Informers;
use super::lease;
use super::limits::LimitsInUse;
use super::lists::serve_lists;
use super::options::Options;
use super::orders::Orders;
use super::preflight::Preflights;
use super::queue::Queue;
use super::scrape::Scrape;
use super::signing::Signer;
use super::validations::Validations;
use super::watching::Watch;
use crate::acme::{CallStage, Hooks};
use crate::controllers::ordered_issuer::Looks;
use crate::controllers::progress::Progress;
use crate::controllers::reads::{Keys, Reader, Recoveries};
use crate::controllers::store::Store;
use crate::dns::Resolver;
use crate::net;
use crate::solvers::dns01::hosted::Hosted;
use crate::solvers::http01::responder;
use crate::solvers::http01::self_check::{SelfCheck, Settings as SelfCheckSettings};
use crate::telemetry::admin::{Check, Probes, serve_metrics, serve_probes};
use crate::telemetry::metrics::{AcmeRequest, Metrics};

/// The longest time that reconciles under way get after a SIGTERM.
const DRAIN: Duration = Duration::from_secs(8);
/// And for what is left to say after them.
const PARTING: Duration = Duration::from_secs(2);
/// A clock that moved by more than this against the monotonic one fails liveness, as in cert-manager.
const SKEW: Duration = Duration::from_mins(5);

/// Run until a signal, or until the Lease is lost.
pub async fn run(options: Options) -> anyhow::Result<()> {
    name_what_is_ignored(&options);
    options.limits().set();
    let settings = options.settings()?;
    let dns01 = options.dns01()?;
    let stop = CancellationToken::new();
    stop_on_signal(stop.clone())?;

    let client = client(&options).await?;
    let progress = Arc::new(Progress::default());
    let queue = Arc::new(Queue::new(options.limit(), progress.clone()));
    let store = Arc::new(Store::new(&options.cluster_resource_namespace));
    let metrics = Arc::new(Metrics::new());
    let limits = Arc::new(LimitsInUse::new(options.orders_under_way(), queue.clone()));
    metrics.set_objects(Arc::new(Scrape::new(store.clone(), limits.clone())));
    let recoveries = Arc::new(Recoveries::default());
    let http = net::Client::plain(net::public_roots()).context("TLS for DNS services")?;
    let named = options.http01_nameservers()?;
    let resolver = (!named.is_empty()).then(|| Resolver::new(named, http.clone()));
    let check = SelfCheck::new(SelfCheckSettings::default()).context("TLS for the self-check")?;
    let check = check.asking(resolver);
    let signer = Arc::new(Signer::default());
    let accounts = AccountsInUse::new(hooks(&metrics), signer.clone());
    let reader = Reader {
        store: store.clone(),
        keys: Arc::new(Keys::default()),
        recoveries: recoveries.clone(),
        checked: Arc::default(),
        trusting: Arc::default(),
        polls: Arc::default(),
        watched: Arc::default(),
        client: client.clone(),
    };
    let dns01 = Dns01::new(reader.clone(), queue.clone(), dns01, http, hosted()?);
    let validations = Arc::new(Validations::new(
        check.clone(),
        dns01,
        recoveries,
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
    let home = &options.cluster_resource_namespace;
    let (events, poster) = Events::start(effects.clone(), queue.clone(), home);

    let informers = Informers::new(
        store.clone(),
        queue.clone(),
        progress.clone(),
        metrics.clone(),
    );
    let namespace = (!options.namespace.is_empty()).then_some(options.namespace.as_str());
    let watches = informers.start(&client, namespace, settings.keeps_lists);

    let (leads, mut led) = watch::channel(false);
    serve(&options, &metrics, &informers, &validations, &leads, &stop).await?;
    // Kept until the last reconcile has ended.
    let release = CancellationToken::new();
    let lease = options.leader_elect.then(|| {
        let settings = options.lease(identity());
        tokio::spawn(lease::hold(
            client.clone(),
            settings,
            leads.clone(),
            release.clone(),
        ))
    });
    if lease.is_none() {
        leads.send_replace(true);
    }

    let driver = Arc::new(Driver {
        reader,
        queue,
        effects,
        events,
        signer,
        accounts,
        orders: Orders::default(),
        preflights,
        validations,
        limits,
        metrics: metrics.clone(),
        looks: Looks::default(),
        settings,
        errors: parking_lot::Mutex::default(),
    });
    let outcome = lead(&driver, &informers, &mut led, &stop).await;
    metrics.set_leader(false);
    stop.cancel();
    release.cancel();
    // What happened is told still, and the Lease given back, so that the next replica need not wait.
    drop(driver);
    let parting = futures::future::join(futures::future::OptionFuture::from(lease), poster);
    drop(tokio::time::timeout(PARTING, parting).await);
    drop(watches);
    outcome
}

fn name_what_is_ignored(options: &Options) {
    let ignored = options.without_effect();
    if !ignored.is_empty() {
        let ignored: Vec<_> = ignored.iter().map(|name| format!("--{name}")).collect();
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
    led: &mut watch::Receiver<bool>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let ready = async {
        while !informers.progress.waiting_for().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // The channel lives as long as the process.
        drop(led.wait_for(|leads| *leads).await);
    };
    tokio::select! {
        () = ready => {}
        () = stop.cancelled() => return Ok(()),
    }
    driver.metrics.set_leader(true);
    tracing::info!("this replica acts from now on");
    driver.limits.rebuild(&driver.reader.store, now());
    let watch = Watch {
        reader: driver.reader.clone(),
        queue: driver.queue.clone(),
        events: driver.events.clone(),
        http: net::Client::for_signed().context("TLS for revocation lists")?,
    };
    tokio::spawn(watch.keep(stop.clone()));
    let (limits, store) = (driver.limits.clone(), driver.reader.store.clone());
    tokio::spawn(limits.keep_time(store, stop.clone()));
    let work = tokio::spawn(driver.clone().run(stop.clone()));
    let lost = tokio::select! {
        _ = led.wait_for(|leads| !*leads) => true,
        () = stop.cancelled() => false,
    };
    if lost {
        // Another replica may act already: whatever is under way must not go on.
        anyhow::bail!("the Lease is lost; ending, to start again as a standby");
    }
    if tokio::time::timeout(DRAIN, work).await.is_err() {
        tracing::warn!("reconciles did not end in time; they are taken up again at the next start");
    }
    Ok(())
}

async fn client(options: &Options) -> anyhow::Result<Client> {
    let text = |value: &str| (!value.is_empty()).then(|| value.to_owned());
    let choice = KubeConfigOptions {
        context: text(&options.context),
        ..KubeConfigOptions::default()
    };
    let mut config = if options.kubeconfig.is_empty() && options.context.is_empty() {
        Config::infer()
            .await
            .context("no cluster to work in: neither in a Pod nor with a kubeconfig")?
    } else if options.kubeconfig.is_empty() {
        Config::from_kubeconfig(&choice)
            .await
            .context("--context")?
    } else {
        let file = Kubeconfig::read_from(&options.kubeconfig)
            .with_context(|| format!("--kubeconfig {}", options.kubeconfig))?;
        Config::from_custom_kubeconfig(file, &choice)
            .await
            .context("--kubeconfig")?
    };
    // Retries are ours: each call has a deadline, and each object a back-off.
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(10));
    let agent = HeaderValue::from_static(concat!("everleaf/", env!("CARGO_PKG_VERSION")));
    config.headers.push((http::header::USER_AGENT, agent));
    Client::try_from(config).context("the client of the API server")
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
    leads: &watch::Sender<bool>,
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
            leads: leads.subscribe(),
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
        let listener = responder::listen(options.http01_port)
            .await
            .context("--http01-port")?;
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
    leads: watch::Receiver<bool>,
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
        let role = if *self.leads.borrow() {
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
