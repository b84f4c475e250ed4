//! One watch a kind, each with its own back-off. What arrives is reduced to a fact and dropped; what
//! vanished while a watch was down is found by comparing the new list with what was known.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, pin_mut};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client, Resource};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;

use super::clock::{monotonic, now};
use super::queue::Queue;
use crate::api::issuer::{ClusterIssuer, Issuer};
use crate::api::{
    Certificate, CertificateRequest, CertificateRevocation, Challenge, ClusterOrderedIssuer, Item,
    Order, OrderedIssuer, labels,
};
use crate::controllers::digest::digest;
use crate::controllers::facts::{
    Identity, IngressFact, IssuerFact, OrderedFact, PodView, RequestFact, SecretFact, SolverFact,
    certificate,
};
use crate::controllers::key::Kind;
use crate::controllers::progress::{Informer, Progress};
use crate::controllers::revocation_list::ListFact;
use crate::controllers::store::{Change, Name, Store};
use crate::telemetry::metrics::Metrics;

/// Shorter than the idle limits of common load balancers.
pub const WATCH_SECONDS: u32 = 200;
/// Objects a page of a list: bounds the memory of a start.
const PAGE: u32 = 100;
/// A kind of which no list was ever complete, and of which nothing has come for this long, is not watched. A watch that goes
/// silent later ends by itself: the client of the API server bounds the wait for an answer, and the watch its own silence.
const STALL: Duration = Duration::from_secs(2 * WATCH_SECONDS as u64 + 60);

/// All watches.
pub struct Informers {
    /// How far each has come.
    pub progress: Arc<Progress>,
    /// What they keep.
    pub store: Arc<Store>,
    queue: Arc<Queue>,
    metrics: Arc<Metrics>,
    last: [Mutex<Option<Timestamp>>; Informer::COUNT],
}

impl Informers {
    /// None is running yet.
    pub fn new(
        store: Arc<Store>,
        queue: Arc<Queue>,
        progress: Arc<Progress>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        Arc::new(Self {
            progress,
            store,
            queue,
            metrics,
            last: Default::default(),
        })
    }

    /// Start all watches, in `namespace` or everywhere; those of revocation lists if `lists`. They end when their tasks are
    /// dropped.
    pub fn start(
        self: &Arc<Self>,
        client: &Client,
        namespace: Option<&str>,
        lists: bool,
    ) -> tokio::task::JoinSet<()> {
        let mut tasks = tokio::task::JoinSet::new();
        let fao = format!("{}=true", labels::FAO_LABEL);
        let not_fao = format!("{}!=true", labels::FAO_LABEL);
        macro_rules! run {
            ($informer:ident, $type:ty, $config:expr, $reduce:expr) => {
                let api: Api<Item<$type>> = api(client, namespace);
                let me = self.clone();
                let config = $config;
                tasks.spawn(async move { me.run(Informer::$informer, api, config, $reduce).await });
            };
        }
        run!(Certificates, Certificate, all(), |o| Change::Certificate(
            certificate(o)
        ));
        run!(CertificateRequests, CertificateRequest, all(), |o| {
            Change::Request(RequestFact::of(o))
        });
        run!(Orders, Order, all(), Change::Order);
        run!(Challenges, Challenge, all(), Change::Challenge);
        run!(
            Revocations,
            CertificateRevocation,
            all(),
            Change::Revocation
        );
        run!(Issuers, Issuer, all(), |o: Issuer| {
            Change::Issuer(Kind::Issuer, IssuerFact::of(&o.metadata, o.spec, o.status))
        });
        run!(OrderedIssuers, OrderedIssuer, all(), |o: OrderedIssuer| {
            Change::Ordered(
                Kind::OrderedIssuer,
                OrderedFact::of(&o.metadata, o.spec, o.status),
            )
        });
        run!(Secrets, Secret, all().labels(&fao), |o| Change::Secret(
            SecretFact::of(&o)
        ));
        run!(
            OtherSecrets,
            PartialObjectMeta<Secret>,
            all().labels(&not_fao),
            |o: PartialObjectMeta<Secret>| { Change::OtherSecret(Identity::of(&o.metadata), true) }
        );
        run!(Ingresses, Ingress, all(), |o| Change::Ingress(
            IngressFact::of(o)
        ));
        if lists {
            let marked = format!("{}={}", labels::REVOCATION_LIST_LABEL, labels::TRUE);
            let marked = all().labels(&marked);
            run!(RevocationLists, ConfigMap, marked, |o: ConfigMap| {
                Change::List(ListFact::of(&o))
            });
        } else {
            self.progress.listed(Informer::RevocationLists, monotonic());
        }
        let solver = format!("{}={}", labels::HTTP01_SOLVER_LABEL, labels::TRUE);
        let solvers = all().labels(&solver);
        run!(SolverPods, PodView, solvers.clone(), |o: PodView| {
            Change::Pod(SolverFact::of_pod(&o))
        });
        run!(
            SolverServices,
            PartialObjectMeta<Service>,
            solvers,
            |o: PartialObjectMeta<Service>| Change::Service(SolverFact::of(&o.metadata))
        );
        self.start_cluster_wide(&mut tasks, client, namespace.is_none());
        tasks
    }

    /// Kinds without a namespace. With `--namespace` none is watched (contract §7.1): a Role does not
    /// reach them.
    fn start_cluster_wide(
        self: &Arc<Self>,
        tasks: &mut tokio::task::JoinSet<()>,
        client: &Client,
        everywhere: bool,
    ) {
        if !everywhere {
            self.store.ignore_ingress_classes();
            self.progress.listed(Informer::ClusterIssuers, monotonic());
            self.progress
                .listed(Informer::ClusterOrderedIssuers, monotonic());
            self.progress.listed(Informer::IngressClasses, monotonic());
            return;
        }
        let me = self.clone();
        let api: Api<Item<PartialObjectMeta<IngressClass>>> = Api::all(client.clone());
        tasks.spawn(async move {
            let reduce = |o: PartialObjectMeta<IngressClass>| {
                Change::IngressClass(o.metadata.name.unwrap_or_default().into())
            };
            me.run(Informer::IngressClasses, api, all(), reduce).await;
        });
        let me = self.clone();
        let api: Api<Item<ClusterIssuer>> = Api::all(client.clone());
        tasks.spawn(async move {
            let reduce = |o: ClusterIssuer| {
                Change::Issuer(
                    Kind::ClusterIssuer,
                    IssuerFact::of(&o.metadata, o.spec.0, o.status),
                )
            };
            me.run(Informer::ClusterIssuers, api, all(), reduce).await;
        });
        let me = self.clone();
        let api: Api<Item<ClusterOrderedIssuer>> = Api::all(client.clone());
        tasks.spawn(async move {
            let reduce = |o: ClusterOrderedIssuer| {
                Change::Ordered(
                    Kind::ClusterOrderedIssuer,
                    OrderedFact::of(&o.metadata, o.spec.0, o.status),
                )
            };
            me.run(Informer::ClusterOrderedIssuers, api, all(), reduce)
                .await;
        });
    }

    async fn run<K>(
        &self,
        informer: Informer,
        api: Api<Item<K>>,
        config: watcher::Config,
        reduce: impl Fn(K) -> Change,
    ) where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let stream = watch(api, config).default_backoff();
        pin_mut!(stream);
        let mut list = List::default();
        while let Some(event) = stream.next().await {
            match event {
                Ok(event) => self.take(informer, event, &mut list, &reduce),
                Err(error) => {
                    let code = status_of(&error).map(|status| status.code);
                    if informer.is_optional() && matches!(code, Some(403 | 404)) {
                        self.progress.listed(informer, monotonic());
                        self.queue.progressed();
                        if code == Some(404) {
                            continue;
                        }
                    }
                    self.metrics.informer_restarted(informer.name());
                    let error = brief(&error);
                    tracing::warn!(
                        informer = informer.name(),
                        error,
                        "watch failed; it is started again"
                    );
                }
            }
        }
    }

    fn take<K>(
        &self,
        informer: Informer,
        event: Event<Item<K>>,
        list: &mut List,
        reduce: impl Fn(K) -> Change,
    ) where
        K: Resource<DynamicType = ()>,
    {
        if let Some(last) = self.last.get(informer as usize) {
            *last.lock() = Some(now());
        }
        self.metrics.informer_event(informer.name(), now());
        match event {
            Event::Init => {
                *list = List {
                    began: Some(monotonic()),
                    ..List::default()
                }
            }
            Event::InitApply(object) => {
                let meta = object.meta();
                let name = name_of(meta);
                // It comes by name: what is newest of it may come before what is older.
                let version = meta.resource_version.as_deref().unwrap_or_default();
                list.newest = list.newest.max(version.parse().unwrap_or(0));
                if informer == Informer::OtherSecrets {
                    let version = meta.resource_version.clone().unwrap_or_default();
                    list.digests.insert(digest(&name), digest(&version));
                } else {
                    list.names.insert(name);
                }
                self.apply(informer, object, reduce);
            }
            Event::InitDone => self.listed(informer, std::mem::take(list)),
            Event::Apply(object) => {
                let version = object.meta().resource_version.clone().unwrap_or_default();
                self.apply(informer, object, reduce);
                self.progress.advance(informer, &version);
                self.queue.progressed();
            }
            Event::Delete(object) => {
                let meta = object.meta();
                let name = name_of(meta);
                let version = meta.resource_version.clone().unwrap_or_default();
                self.remove(informer, &name);
                self.progress.advance(informer, &version);
                self.queue.progressed();
            }
        }
    }

    fn apply<K>(&self, informer: Informer, item: Item<K>, reduce: impl Fn(K) -> Change)
    where
        K: Resource<DynamicType = ()>,
    {
        match item {
            Item::Read(object) => {
                let name = name_of(object.meta());
                match catch_unwind(AssertUnwindSafe(|| reduce(object))) {
                    Ok(change) => {
                        for key in self.store.apply(change) {
                            self.queue.add(key);
                        }
                    }
                    Err(_) => self.leave_out(informer, &name),
                }
            }
            Item::Unreadable(meta) => self.leave_out(informer, &name_of(&meta)),
        }
    }

    /// As if there were no such object. The log does not say what is in it: that may be a private key.
    fn leave_out(&self, informer: Informer, name: &Name) {
        tracing::warn!(
            informer = informer.name(),
            namespace = &*name.0,
            name = &*name.1,
            "an object is not of its schema and is left out: correct it, or delete it"
        );
        self.remove(informer, name);
    }

    fn remove(&self, informer: Informer, name: &Name) {
        for key in self.store.remove(informer, name) {
            self.queue.add(key);
        }
    }

    /// A list is complete: what was known and is not in it is gone.
    fn listed(&self, informer: Informer, list: List) {
        if informer == Informer::OtherSecrets {
            for key in self.store.replace_other_secrets(list.digests) {
                self.queue.add(key);
            }
        }
        for name in self.store.names(informer).unwrap_or_default() {
            if !list.names.contains(&name) {
                self.remove(informer, &name);
            }
        }
        if let Some(began) = list.began {
            self.progress.listed(informer, began);
        }
        self.progress.advance(informer, &list.newest.to_string());
        self.queue.progressed();
    }

    /// Watches that have been silent for longer than one can be.
    pub fn stalled(&self, now: Timestamp) -> Vec<&'static str> {
        let silent = |informer: &Informer| {
            let last = self
                .last
                .get(*informer as usize)
                .and_then(|last| *last.lock());
            // A quiet cluster brings no events: only a watch that never listed is known to be stuck.
            last.is_none_or(|last| {
                Duration::try_from(now.duration_since(last)).unwrap_or_default() > STALL
            }) && self.progress.waiting_for().contains(informer)
        };
        Informer::ALL
            .into_iter()
            .filter(silent)
            .map(Informer::name)
            .collect()
    }
}

/// Everything, read at the newest version: a list from a cache that lags would hide our own writes.
fn all() -> watcher::Config {
    watcher::Config::default()
        .timeout(WATCH_SECONDS)
        .page_size(PAGE)
}

/// What the API server said, if it did.
fn status_of(error: &watcher::Error) -> Option<&kube::core::Status> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(kube::Error::Api(status)) = current.downcast_ref() {
            return Some(status);
        }
        cause = current.source();
    }
    None
}

/// A failed watch in one line, with what to do where that is known.
fn brief(error: &watcher::Error) -> String {
    let Some(status) = status_of(error) else {
        return error.to_string();
    };
    let hint = match status.code {
        404 => ": the CustomResourceDefinition is not installed; apply crds/",
        403 => ": the ClusterRole of this operator lacks the right; compare it with the chart's",
        _ => "",
    };
    format!("{} {}{hint}", status.code, status.message.trim())
}

fn name_of(meta: &ObjectMeta) -> Name {
    (
        meta.namespace.as_deref().unwrap_or_default().into(),
        meta.name.as_deref().unwrap_or_default().into(),
    )
}

/// A list in the making.
#[derive(Debug, Default)]
struct List {
    began: Option<std::time::Instant>,
    names: HashSet<Name>,
    digests: HashMap<u64, u64>,
    /// The highest version in it.
    newest: u64,
}

fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use serde_json::json;

    use super::*;
    use crate::controllers::progress::Seen;

    fn issuer(name: &str, version: &str) -> Item<Issuer> {
        let object = json!({
            "metadata": { "name": name, "namespace": "shop", "uid": name, "resourceVersion": version },
            "spec": { "selfSigned": {} },
        });
        Item::Read(serde_json::from_value(object).unwrap())
    }

    #[test]
    fn an_own_write_is_seen_with_the_whole_list_and_not_with_what_is_newer_in_it() {
        let progress = Arc::new(Progress::default());
        let queue = Arc::new(Queue::new(1, progress.clone()));
        let store = Arc::new(Store::new("system"));
        let informers = Informers::new(store, queue, progress.clone(), Arc::default());
        let mut list = List::default();
        let mut take = |event| {
            let reduce = |o: Issuer| {
                Change::Issuer(Kind::Issuer, IssuerFact::of(&o.metadata, o.spec, o.status))
            };
            informers.take(Informer::Issuers, event, &mut list, reduce);
        };
        take(Event::Init);
        // While the list is under way.
        let write = Seen::new(Informer::Issuers, "8", monotonic());
        take(Event::InitApply(issuer("a", "9")));
        assert!(!progress.has(&write), "b has not come yet");
        take(Event::InitApply(issuer("b", "8")));
        take(Event::InitDone);
        assert!(progress.has(&write));
        let write = Seen::new(Informer::Issuers, "10", monotonic());
        assert!(!progress.has(&write));
        take(Event::Apply(issuer("b", "10")));
        assert!(progress.has(&write));
    }
}
