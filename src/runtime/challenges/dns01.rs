//! DNS-01 at work: credentials read, records written and taken away aside of the workers, and looked for as a CA would.
//! None of it is the only copy of anything.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use jiff::Timestamp;
use parking_lot::Mutex;

use crate::api::Challenge;
use crate::api::dns01::Dns01Solver;
use crate::controllers::challenge::{Failure, RecordState, Retry};
use crate::controllers::digest::digest;
use crate::controllers::issuer::{self, Solvers};
use crate::controllers::key::{Key, Kind};
use crate::controllers::reads::{ReadError, Reader};
use crate::controllers::store::Store;
use crate::dns::{self, Name, Propagation, Resolver, Server, Watch};
use crate::net::Client;
use crate::runtime::clock::now;
use crate::runtime::queue::Queue;
use crate::solvers::dns01::hosted::Hosted;
use crate::solvers::dns01::{
    Ambient, Class, Error, Given, Provider, Record, acme_dns, needs, rfc2136, webhook,
};

mod credentials;
mod entitled;
mod looks;
#[cfg(test)]
pub(in crate::runtime) mod tests;

/// When a record that all servers deny is written once more; doubled each time. A name server drops a value beside a CNAME
/// record without a word (RFC 2136 §3.4.2.2), and another client of the provider may have written over it.
const LOST: Duration = Duration::from_secs(5);

const PANICKED: &str = "a bug of Everleaf: the log has where; it is tried again";

/// What the flags say about it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `--dns01-recursive-nameservers`; empty for the system's.
    pub resolvers: Vec<Server>,
    /// `--dns01-recursive-nameservers-only`: ask these alone whether a record is there.
    pub resolvers_only: bool,
    /// `--issuer-ambient-credentials`.
    pub issuer_ambient: bool,
    /// `--cluster-issuer-ambient-credentials`.
    pub cluster_issuer_ambient: bool,
}

/// The records of all Challenges.
pub struct Dns01 {
    reader: Reader,
    queue: Arc<Queue>,
    settings: Settings,
    http: Client,
    hosted: Arc<Hosted>,
    resolver: Resolver,
    ambient: Arc<Ambient>,
    records: Mutex<HashMap<Key, Kept>>,
    solvers: Mutex<HashMap<Key, (u64, Option<String>)>>,
}

/// What is remembered of one record.
#[derive(Default)]
struct Kept {
    state: RecordState,
    /// What a failure depended on, as far as it is in the cluster.
    asked: u64,
    /// Where the record is, or may be: the CNAME records that led there may have changed. The newest is the last.
    places: Vec<Record>,
    /// Why it could not be written, as far as the DNS is concerned.
    refused: Option<Refused>,
    /// When the provider took it last.
    written: Option<Timestamp>,
    /// How many times it did.
    times: u32,
    /// It is written anew only since no server has it.
    lost: bool,
    /// What is seen after a refusal by the CA.
    watch: Watch,
    /// It is being looked at.
    looking: bool,
}

impl Kept {
    /// The provider has been asked. One that took a record and does not take it once more, since it is there already or for
    /// another reason, still has it for all that is known.
    fn end(&mut self, before: &RecordState, removing: bool, outcome: Result<(), Error>) {
        let repeated = std::mem::take(&mut self.lost) && !removing && self.written.is_some();
        self.state = if repeated {
            RecordState::Present
        } else {
            became(before, removing, outcome)
        };
        if self.state == RecordState::Present {
            self.written = Some(now());
            self.times = self.times.saturating_add(1);
        }
    }

    /// Whether the provider took it, long enough ago, and no server has it.
    fn is_lost(&self, seen: &Propagation, now: Timestamp) -> bool {
        let patience = LOST.saturating_mul(1 << self.times.saturating_sub(1).min(16));
        let passed = self.written.map(|written| now.duration_since(written));
        let passed = passed.and_then(|passed| Duration::try_from(passed).ok());
        seen.having == 0 && seen.is_denied() && passed.is_some_and(|passed| passed >= patience)
    }
}

/// What the DNS has to do with a record that could not be written.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Refused {
    /// Where it belongs was not found out.
    Lost,
    /// It was refused for good where it belonged.
    At(Record),
}

impl Dns01 {
    /// Nothing is there yet.
    pub fn new(
        reader: Reader,
        queue: Arc<Queue>,
        settings: Settings,
        http: Client,
        hosted: Arc<Hosted>,
    ) -> Self {
        let servers = if settings.resolvers.is_empty() {
            dns::system_servers()
        } else {
            settings.resolvers.clone()
        };
        Self {
            reader,
            queue,
            settings,
            resolver: Resolver::new(servers, http.clone()),
            http,
            hosted,
            ambient: Arc::new(Ambient {
                variables: std::env::vars().collect(),
            }),
            records: Mutex::default(),
            solvers: Mutex::default(),
        }
    }

    /// The record of a Challenge. A failure whose causes have changed since is none.
    pub fn state(&self, key: &Key, object: &Challenge) -> RecordState {
        let mut records = self.records.lock();
        let Some(kept) = records.get_mut(key) else {
            return RecordState::Unknown;
        };
        let is_failed = matches!(kept.state, RecordState::Failed(_));
        if is_failed && kept.asked != self.asked(object) {
            kept.state = RecordState::Unknown;
        }
        kept.state.clone()
    }

    /// What is seen of the DNS is to be remembered.
    pub fn watch(&self, key: &Key) {
        self.records.lock().entry(key.clone()).or_default();
    }

    /// The Challenge is gone.
    pub fn forget(&self, key: &Key) {
        self.records.lock().remove(key);
    }

    /// Have the record written, or taken away. The answer wakes the Challenge.
    pub fn start(self: &Arc<Self>, key: &Key, object: &Arc<Challenge>, removing: bool) {
        let before = {
            let mut records = self.records.lock();
            let kept = records.entry(key.clone()).or_default();
            std::mem::replace(&mut kept.state, RecordState::Busy(now()))
        };
        let (dns01, key, object) = (self.clone(), key.clone(), object.clone());
        tokio::spawn(async move {
            // From before the question: what changes meanwhile may not be in the answer.
            let asked = dns01.asked(&object);
            let change = AssertUnwindSafe(dns01.change(&key, &object, removing)).catch_unwind();
            let outcome = change
                .await
                .unwrap_or_else(|_| Err(Error::transient(PANICKED)));
            if let Err(error) = &outcome {
                tracing::warn!(object = %key, error = error.text, removing, "the DNS-01 provider failed");
            }
            let mut records = dns01.records.lock();
            if let Some(kept) = records.get_mut(&key) {
                kept.asked = asked;
                kept.end(&before, removing, outcome);
            }
            drop(records);
            dns01.queue.add(key);
        });
    }

    async fn change(&self, key: &Key, object: &Challenge, removing: bool) -> Result<(), Error> {
        let solver = object.spec.solver.dns01.as_ref();
        let solver = solver.ok_or_else(|| Error::permanent("spec.solver.dns01 is absent"))?;
        let provider = self.provider(object, solver, removing).await?;
        let (resolver, _) = self.resolver(solver)?;
        if removing {
            let mut places = self.with_kept(key, |kept| kept.places.clone());
            if places.is_empty() {
                places.push(place(object, solver, &resolver).await?);
            }
            for place in places {
                provider.clean_up(&place).await?;
                tracing::debug!(object = %key, name = place.name, zone = place.zone, "TXT record taken away");
                self.with_kept(key, |kept| kept.places.retain(|known| *known != place));
            }
            return Ok(());
        }
        let place = place(object, solver, &resolver).await;
        self.with_kept(key, |kept| {
            kept.refused = place.is_err().then_some(Refused::Lost);
        });
        let place = place?;
        let is_new = self.with_kept(key, |kept| {
            let known = kept.places.len();
            kept.places.retain(|known| *known != place);
            let is_new = kept.places.len() == known;
            kept.places.push(place.clone());
            is_new
        });
        let done = provider.present(&place).await;
        if done.is_ok() {
            tracing::debug!(object = %key, name = place.name, zone = place.zone, "TXT record written");
        }
        if matches!(&done, Err(error) if error.class == Class::Permanent) {
            self.with_kept(key, |kept| {
                if is_new {
                    kept.places.retain(|known| *known != place);
                }
                kept.refused = Some(Refused::At(place));
            });
        }
        done
    }

    fn with_kept<T: Default>(&self, key: &Key, f: impl FnOnce(&mut Kept) -> T) -> T {
        let mut records = self.records.lock();
        // Without an entry the Challenge has gone meanwhile.
        records.get_mut(key).map(f).unwrap_or_default()
    }

    /// Whom a solver asks, and whether nobody else.
    fn resolver(&self, solver: &Dns01Solver) -> Result<(Resolver, bool), Error> {
        let own = solver.nameservers.as_deref().unwrap_or_default();
        let resolver = self.resolver_of(own);
        let resolver =
            resolver.map_err(|error| Error::permanent(format!("dns01.nameservers: {error}")))?;
        Ok((resolver, !own.is_empty() || self.settings.resolvers_only))
    }

    /// A resolver of these servers, as an issuer writes them; without any, of those of the flags or of the system.
    ///
    /// # Errors
    /// [`dns::Error::Server`].
    pub fn resolver_of(&self, servers: &[String]) -> Result<Resolver, dns::Error> {
        if servers.is_empty() {
            return Ok(self.resolver.clone());
        }
        let servers: Result<Vec<_>, _> = servers.iter().map(|text| Server::parse(text)).collect();
        Ok(self.resolver.with(servers?))
    }

    /// In the order of cert-manager, for solvers with more than one (contract §1.10).
    async fn provider(
        &self,
        object: &Challenge,
        solver: &Dns01Solver,
        removing: bool,
    ) -> Result<Box<dyn Provider>, Error> {
        let (issuer, solver) = self.entitled(object, solver, removing)?;
        let home = self.reader.store.home(issuer.kind, &issuer.namespace);
        let may = match issuer.kind {
            Kind::ClusterIssuer => self.settings.cluster_issuer_ambient,
            _ => self.settings.issuer_ambient,
        };
        let given = Given {
            clock: now,
            secrets: credentials::all(&self.reader, home, &solver).await?,
            aws_region: self.ambient.aws_region(),
            ambient: may.then(|| self.ambient.clone()),
        };
        Ok(if let Some(spec) = &solver.webhook {
            let client = self.reader.client.clone();
            Box::new(webhook::provider(spec, home, may, client)?)
        } else if let Some(spec) = &solver.rfc2136 {
            Box::new(rfc2136::provider(spec, &given)?)
        } else if let Some(made) = self.hosted.provider(&solver, &given) {
            made?
        } else if let Some(spec) = &solver.acme_dns {
            Box::new(acme_dns::provider(spec, &given, self.http.clone())?)
        } else {
            return Err(Error::permanent("dns01: no provider is named: name one"));
        })
    }

    /// What the answer of a provider depends on, as far as it is in the cluster.
    fn asked(&self, object: &Challenge) -> u64 {
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
        let reference = &object.spec.issuer_ref;
        let store = &self.reader.store;
        let issuer = store.issuer(namespace, reference);
        let issuer = issuer.map(|i| (i.id.uid.clone(), i.generation));
        let kind = if reference.kind_or_default() == Kind::ClusterIssuer.name() {
            Kind::ClusterIssuer
        } else {
            Kind::Issuer
        };
        let home = store.home(kind, &namespace.into()).clone();
        let solver = object.spec.solver.dns01.as_deref();
        digest(&(issuer, versions(store, &home, solver)))
    }

    /// Whether the Secrets that the DNS-01 solvers of an issuer refer to are known to be there.
    pub fn solvers(&self, key: &Key) -> Solvers {
        let store = &self.reader.store;
        let Some(issuer) = store.issuer_named(&key.namespace, &key.name) else {
            return Solvers::Sound;
        };
        let mut solvers = issuer.dns01_solvers().peekable();
        if solvers.peek().is_none() {
            return Solvers::Sound;
        }
        let home = store.home(key.kind, &key.namespace);
        let (uid, generation) = (&issuer.id.uid, issuer.generation);
        let asked = digest(&(uid, generation, versions(store, home, solvers)));
        match self.solvers.lock().get(key) {
            Some((of, problem)) if *of == asked => match problem {
                None => Solvers::Sound,
                Some(problem) => Solvers::Faulty(problem.clone()),
            },
            _ => Solvers::Unknown,
        }
    }

    /// An issuer's effect: read them.
    pub async fn check_solvers(
        &self,
        seen: &issuer::Observation,
    ) -> Result<issuer::Outcome, ReadError> {
        let id = &seen.issuer.id;
        let key = Key::new(seen.kind, &id.namespace, &id.name);
        let store = &self.reader.store;
        let asked = digest(&(
            &id.uid,
            seen.issuer.generation,
            versions(store, &seen.home, seen.issuer.dns01_solvers()),
        ));
        let mut problem = None;
        let solvers = seen
            .issuer
            .spec
            .acme
            .iter()
            .flat_map(|acme| acme.solvers.iter().flatten());
        for (index, solver) in solvers.enumerate() {
            let Some(solver) = &solver.dns01 else {
                continue;
            };
            if let Err(error) = credentials::read(&self.reader, &seen.home, solver).await? {
                problem.get_or_insert(format!("spec.acme.solvers[{index}].{error}"));
            }
        }
        self.solvers.lock().insert(key, (asked, problem));
        Ok(issuer::Outcome::SolversChecked)
    }

    /// The issuer is gone.
    pub fn forget_issuer(&self, key: &Key) {
        self.solvers.lock().remove(key);
    }
}

/// Where the record of a Challenge belongs.
async fn place(
    object: &Challenge,
    solver: &Dns01Solver,
    resolver: &Resolver,
) -> Result<Record, Error> {
    let spec = &object.spec;
    let looked_up = |error: dns::Error| match error {
        dns::Error::Name(_) => Error::permanent(error.to_string()),
        _ => Error::transient(error.to_string()),
    };
    let mut name = challenge_name(&spec.dns_name).map_err(looked_up)?;
    let mut zone = String::new();
    // It has one name for each domain, and wants to know no other.
    if solver.acme_dns.is_none() {
        if follows(solver) {
            name = resolver.follow(&name).await.map_err(looked_up)?;
        }
        zone = match resolver.zone(&name).await {
            Ok(found) => dns::absolute(&found),
            // A hosted provider knows its zones, also those that no resolver sees.
            Err(_) if solver.rfc2136.is_none() && solver.webhook.is_none() => {
                format!("{}.", spec.dns_name)
            }
            Err(error) => return Err(looked_up(error)),
        };
    }
    Ok(Record {
        domain: spec.dns_name.clone(),
        zone,
        name: dns::absolute(&name),
        value: spec.key.clone(),
    })
}

fn follows(solver: &Dns01Solver) -> bool {
    solver.cname_strategy.as_deref() == Some("Follow")
}

fn challenge_name(domain: &str) -> Result<Name, dns::Error> {
    dns::name(&format!("_acme-challenge.{domain}"))
}

fn versions<'a>(
    store: &Store,
    home: &str,
    solvers: impl IntoIterator<Item = &'a Dns01Solver>,
) -> Vec<Option<u64>> {
    let needs = solvers.into_iter().flat_map(needs);
    needs
        .map(|need| store.secret_version(home, &need.selector.name))
        .collect()
}

/// What becomes of a record when a provider has been asked.
fn became(before: &RecordState, removing: bool, outcome: Result<(), Error>) -> RecordState {
    let error = match outcome {
        Ok(()) if removing => return RecordState::Absent,
        Ok(()) => return RecordState::Present,
        Err(error) => error,
    };
    let at: Timestamp = now();
    let (count, since) = match before {
        RecordState::Failed(failure) if failure.removing == removing => {
            (failure.count.saturating_add(1), failure.since)
        }
        _ => (1, at),
    };
    RecordState::Failed(Failure {
        removing,
        reason: error.text,
        retry: match error.class {
            Class::Permanent => Retry::OnChange,
            Class::Transient => Retry::Soon,
            Class::RateLimited { until } => Retry::At(until),
        },
        count,
        since,
        at,
    })
}
