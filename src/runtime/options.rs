//! The flags of `everleaf controller`: cert-manager's names (contract §7.2), and a few of our own.

mod controllers;
mod later;
mod values;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use clap::{ArgAction, Args, value_parser};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use self::controllers::Controllers;
use self::later::Later;
use self::values::{bytes, gate, given, go_bool, go_duration, pair, some};
use crate::controllers::key::Kind;
use crate::controllers::rotation::Pace;
use crate::controllers::{certificate, certificate_request, challenge, ingress, issuer};
use crate::dns::{self, Server};
use crate::pki::Limits;
use crate::runtime::challenges::dns01;
use crate::runtime::drive::Settings;
use crate::runtime::lease;
use crate::solvers::http01::PORT;
use crate::solvers::http01::objects::{Mode, Resources, SolverSettings};
use crate::telemetry::admin::Address;
use crate::telemetry::logs::Format;

/// cert-manager's.
const MIN_BACKOFF: Duration = Duration::from_hours(1);
const MAX_BACKOFF: Duration = Duration::from_hours(32);

/// `everleaf controller`.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "flags are flags")]
pub struct Options {
    /// Namespace of the Secrets that ClusterIssuers refer to.
    #[arg(long, default_value = "kube-system")]
    pub cluster_resource_namespace: String,
    /// Work in this namespace only; ClusterIssuers are not served then.
    #[arg(long, default_value = "")]
    pub namespace: String,
    /// Path of a kubeconfig; without it the cluster that the Pod runs in, or the usual places.
    #[arg(long, default_value = "")]
    pub kubeconfig: String,
    /// Context of the kubeconfig.
    #[arg(long, default_value = "")]
    pub context: String,

    /// Act only while holding the Lease that cert-manager uses too.
    #[arg(long, default_value_t = true, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_parser = go_bool)]
    pub leader_elect: bool,
    /// Namespace of the Lease.
    #[arg(long, default_value = "kube-system")]
    pub leader_election_namespace: String,
    /// How long others wait for a holder that is silent.
    #[arg(long, default_value = "60s", value_parser = go_duration)]
    pub leader_election_lease_duration: Duration,
    /// How long the holder tries to renew before it gives up.
    #[arg(long, default_value = "40s", value_parser = go_duration)]
    pub leader_election_renew_deadline: Duration,
    /// Time between tries.
    #[arg(long, default_value = "15s", value_parser = go_duration)]
    pub leader_election_retry_period: Duration,

    /// Controllers to run: `*` for all, a name for one, `-` before a name for all but one.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "*",
        allow_hyphen_values = true
    )]
    pub controllers: Vec<String>,
    /// Gates as `Name=true,Other=false`.
    #[arg(long, value_delimiter = ',', value_parser = gate)]
    pub feature_gates: Vec<(String, bool)>,
    /// Reconciles at once, of each kind.
    #[arg(long)]
    pub concurrent_workers: Option<usize>,
    /// Challenges that are validated at once.
    #[arg(long, default_value_t = 60)]
    pub max_concurrent_challenges: usize,

    /// How HTTP-01 challenges are answered by solvers that do not say: `Pod`, one Pod a challenge, or
    /// `Direct`, by this process.
    #[arg(long, default_value = "Pod")]
    pub http01_mode: Mode,
    /// Address at which Ingress controllers reach this process, for the mode `Direct`.
    #[arg(long, env = "POD_IP")]
    pub http01_address: Option<IpAddr>,
    /// Port of the HTTP-01 responder of this process; 0 for none.
    #[arg(long, default_value_t = PORT)]
    pub http01_port: u16,
    /// How long a name that cannot be reached keeps an order from being made, and the CA from being asked; a wrong answer
    /// keeps the CA from it five times as long, ten minutes at most.
    #[arg(long, default_value = "60s", value_parser = go_duration)]
    pub http01_self_check_limit: Duration,
    /// Name servers that are asked where HTTP-01 self-checks go, as `ADDRESS:PORT` or `https://…`; without any, those of
    /// the system.
    #[arg(long, value_delimiter = ',')]
    pub acme_http01_solver_nameservers: Vec<String>,
    /// Name servers that are asked about DNS-01 records, as `ADDRESS:PORT` or `https://…`; without any, those of the
    /// system. They find the zone, and its name servers, which are then asked.
    #[arg(long, value_delimiter = ',')]
    pub dns01_recursive_nameservers: Vec<String>,
    /// Ask none but `--dns01-recursive-nameservers` whether a DNS-01 record is there.
    #[arg(long, default_value_t = false, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_parser = go_bool)]
    pub dns01_recursive_nameservers_only: bool,
    /// Longest time between two looks for a DNS-01 record that is not there yet.
    #[arg(long, default_value = "10s", value_parser = go_duration)]
    pub dns01_check_retry_period: Duration,
    /// How long a name server that says there is no DNS-01 record keeps the CA from being asked.
    #[arg(long, default_value = "10m", value_parser = go_duration)]
    pub dns01_self_check_limit: Duration,
    /// Let Issuers use the operator's own cloud credentials.
    #[arg(long, default_value_t = false, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_parser = go_bool)]
    pub issuer_ambient_credentials: bool,
    /// Let ClusterIssuers use the operator's own cloud credentials.
    #[arg(long, default_value_t = true, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_parser = go_bool)]
    pub cluster_issuer_ambient_credentials: bool,
    /// Image of solver Pods; its entry point is this program.
    #[arg(long, default_value = concat!("everleaf:", env!("CARGO_PKG_VERSION")))]
    pub acme_http01_solver_image: String,
    /// CPU request of solver Pods.
    #[arg(long, default_value = "10m")]
    pub acme_http01_solver_resource_request_cpu: String,
    /// Memory request of solver Pods.
    #[arg(long, default_value = "64Mi")]
    pub acme_http01_solver_resource_request_memory: String,
    /// CPU limit of solver Pods.
    #[arg(long, default_value = "100m")]
    pub acme_http01_solver_resource_limits_cpu: String,
    /// Memory limit of solver Pods.
    #[arg(long, default_value = "64Mi")]
    pub acme_http01_solver_resource_limits_memory: String,
    /// Run solver Pods as another user than root.
    #[arg(long, default_value_t = true, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_parser = go_bool)]
    pub acme_http01_solver_run_as_non_root: bool,
    /// Labels of solver objects, as `key=value,other=value`.
    #[arg(long, value_delimiter = ',', value_parser = pair)]
    pub acme_http01_solver_extra_labels: Vec<(String, String)>,
    /// RuntimeClass of solver Pods.
    #[arg(long, default_value = "")]
    pub acme_http01_solver_runtime_class_name: String,

    /// Ingress annotations that ask for a certificate of the default issuer.
    #[arg(long, value_delimiter = ',', default_value = "kubernetes.io/tls-acme")]
    pub auto_certificate_annotations: Vec<String>,
    /// Ingress annotations that are copied to the Certificate.
    #[arg(long, value_delimiter = ',')]
    pub extra_certificate_annotations: Vec<String>,
    /// Issuer of Ingresses that name none.
    #[arg(long, default_value = "")]
    pub default_issuer_name: String,
    /// Its kind.
    #[arg(long, default_value = "Issuer")]
    pub default_issuer_kind: String,
    /// Its group.
    #[arg(long, default_value = "cert-manager.io")]
    pub default_issuer_group: String,

    /// Let the Secret go with its Certificate.
    #[arg(long, default_value_t = false, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_parser = go_bool)]
    pub enable_certificate_owner_ref: bool,
    /// Which annotations of a Certificate go to its requests: `*` for all, `-` before a prefix to leave
    /// out.
    #[arg(
        long,
        value_delimiter = ',',
        allow_hyphen_values = true,
        default_value = "*,-kubectl.kubernetes.io/,-fluxcd.io/,-argocd.argoproj.io/"
    )]
    pub copied_annotation_prefixes: Vec<String>,
    /// Wait after a first failed issuance; it doubles each time. 1h by default; without this flag and the next one,
    /// failures at an ACME CA that may pass by themselves wait for 1, 10 and 100 minutes, then a day.
    #[arg(long, value_parser = go_duration)]
    pub certificate_request_minimum_backoff_duration: Option<Duration>,
    /// Longest wait after failed issuances. 32h by default.
    #[arg(long, value_parser = go_duration)]
    pub certificate_request_maximum_backoff_duration: Option<Duration>,
    /// Requests that one Certificate may make within an hour, renewals on schedule aside; 0 for no bound.
    #[arg(long, default_value_t = 6)]
    pub certificate_requests_per_hour: usize,
    /// Requests that one Certificate may make within a day without a change of its spec, renewals on
    /// schedule aside; 0 for no bound.
    #[arg(long, default_value_t = 20)]
    pub certificate_requests_per_day: usize,
    /// Secrets that a rotation of a CA writes within a minute, for each issuer with `spec.ca.rotation`.
    #[arg(long, default_value_t = 60, value_parser = value_parser!(u32).range(1..))]
    pub ca_rotation_rate: u32,
    /// How many of them at once: a wave.
    #[arg(long, default_value_t = 10, value_parser = some)]
    pub ca_rotation_parallelism: usize,
    /// Largest certificate or signing request that is read, in bytes of PEM.
    #[arg(long, default_value_t = Limits::default().certificate, value_parser = bytes)]
    pub max_certificate_size: usize,
    /// Largest private key that is read, in bytes of PEM.
    #[arg(long, default_value_t = Limits::default().private_key, value_parser = bytes)]
    pub max_private_key_size: usize,
    /// Largest certificate chain that is read, in bytes of PEM.
    #[arg(long, default_value_t = Limits::default().chain, value_parser = bytes)]
    pub max_certificate_chain_length: usize,
    /// Largest bundle of CA certificates that is read, in bytes of PEM.
    #[arg(long, default_value_t = Limits::default().bundle, value_parser = bytes)]
    pub max_certificate_bundle_size: usize,
    /// Keep the revocation lists of CA issuers with `spec.ca.revocationList`, and serve them at this address; `0` for not.
    #[arg(long, default_value = "0")]
    pub revocation_list_listen_address: Address,
    /// The front of the URLs at which clients reach that, `http://crl.example.com` for example: certificates of these issuers
    /// name their list by it.
    #[arg(long, default_value = "")]
    pub revocation_list_url: String,
    /// Post a Kubernetes event for every step, as cert-manager does; otherwise only for an issued
    /// certificate and for what goes wrong.
    #[arg(long, default_value_t = false, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_parser = go_bool)]
    pub verbose_events: bool,

    /// Where `/metrics` is served; `0` for nowhere.
    #[arg(long, default_value = crate::telemetry::admin::METRICS_ADDRESS)]
    pub metrics_listen_address: Address,
    /// Where `/livez` and `/readyz` are served; `0` for nowhere.
    #[arg(long, default_value = crate::telemetry::admin::PROBES_ADDRESS)]
    pub internal_healthz_listen_address: Address,
    /// Verbosity, 0 to 10.
    #[arg(long, short = 'v', default_value_t = 2)]
    pub v: u8,
    /// `text` or `json`.
    #[arg(long, default_value = "text")]
    pub logging_format: Format,

    #[command(flatten)]
    later: Later,
}

/// A flag whose value does not do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No name server.
    #[error("--{flag}: {problem}")]
    Nameserver {
        /// Its name.
        flag: &'static str,
        /// What is wrong.
        problem: dns::Error,
    },
    /// No such controller.
    #[error("--controllers: there is no controller \"{0}\"; there are: {names}", names = controllers::names().join(", "))]
    Controller(String),
    /// Times with which two could act at once, or that leave no time for another try.
    #[error("--leader-election-{0}")]
    Lease(&'static str),
}

fn servers(flag: &'static str, given: &[String]) -> Result<Vec<Server>, Error> {
    let given = given.iter().filter(|text| !text.is_empty());
    let parsed = given.map(|text| Server::parse(text));
    let parsed: Result<_, _> = parsed.collect();
    parsed.map_err(|problem| Error::Nameserver { flag, problem })
}

impl Options {
    /// Flags that are accepted and have no effect.
    pub fn without_effect(&self) -> Vec<String> {
        let flags = self.later.0.iter().map(|name| format!("--{name}"));
        let idle = Controllers(&self.controllers).without_effect();
        let idle = idle.map(|value| format!("--controllers={value}"));
        flags.chain(idle).collect()
    }

    /// Reconciles at once, a kind.
    pub fn limit(&self) -> usize {
        self.concurrent_workers.unwrap_or(16).max(1)
    }

    /// Orders of an ACME account at once, where its issuer does not say: one for each challenge that may be validated and
    /// for each worker. With more, some would only wait for those.
    pub fn orders_under_way(&self) -> usize {
        self.max_concurrent_challenges.max(1) + self.limit()
    }

    fn gate(&self, name: &str, default: bool) -> bool {
        self.feature_gates
            .iter()
            .rev()
            .find(|(n, _)| n == name)
            .map_or(default, |(_, on)| *on)
    }

    /// The kinds that are not worked on.
    fn disabled(&self) -> Result<Vec<Kind>, Error> {
        let mut disabled = Controllers(&self.controllers).disabled()?;
        if !self.namespace.is_empty() {
            disabled.extend([Kind::ClusterIssuer, Kind::ClusterOrderedIssuer]);
        }
        Ok(disabled)
    }

    /// What the controllers have to know.
    pub fn settings(&self) -> Result<Settings, Error> {
        let text = |value: &str| (!value.is_empty()).then(|| value.to_owned());
        let minimum = self.certificate_request_minimum_backoff_duration;
        let maximum = self.certificate_request_maximum_backoff_duration;
        let resources = |cpu: &str, memory: &str| Resources {
            cpu: Quantity(cpu.to_owned()),
            memory: Quantity(memory.to_owned()),
        };
        let controllers = Controllers(&self.controllers);
        // Off in cert-manager, where it is an experiment.
        let renewal_info = self.gate("ACMEUseARI", true);
        Ok(Settings {
            issuer: issuer::Settings {
                pace: Pace {
                    rate: self.ca_rotation_rate,
                    parallelism: self.ca_rotation_parallelism,
                },
            },
            certificate: certificate::Settings {
                min_backoff: minimum.unwrap_or(MIN_BACKOFF),
                max_backoff: maximum.unwrap_or(MAX_BACKOFF),
                is_backoff_set: minimum.or(maximum).is_some(),
                budget: certificate::Budget {
                    hour: self.certificate_requests_per_hour,
                    day: self.certificate_requests_per_day,
                },
                enable_certificate_owner_ref: self.enable_certificate_owner_ref,
                copied_annotation_prefixes: given(&self.copied_annotation_prefixes),
                basic_constraints_in_request: self
                    .gate("UseCertificateRequestBasicConstraints", false),
                verbose_events: self.verbose_events,
                approves: controllers.run(controllers::APPROVER),
                renewal_info,
            },
            request: certificate_request::Settings {
                approve: controllers.run(controllers::APPROVER),
                signers_off: controllers.signers_off(),
                verbose_events: self.verbose_events,
                renewal_info,
                revocation_list_url: self.revocation_list_url.clone(),
            },
            challenge: challenge::Settings {
                solver: SolverSettings {
                    image: self.acme_http01_solver_image.clone(),
                    requests: resources(
                        &self.acme_http01_solver_resource_request_cpu,
                        &self.acme_http01_solver_resource_request_memory,
                    ),
                    limits: resources(
                        &self.acme_http01_solver_resource_limits_cpu,
                        &self.acme_http01_solver_resource_limits_memory,
                    ),
                    run_as_non_root: self.acme_http01_solver_run_as_non_root,
                    extra_labels: self
                        .acme_http01_solver_extra_labels
                        .iter()
                        .filter(|(key, _)| !key.is_empty())
                        .cloned()
                        .collect::<BTreeMap<_, _>>(),
                    runtime_class_name: text(&self.acme_http01_solver_runtime_class_name),
                    exact_path_type: self.gate("ACMEHTTP01IngressPathTypeExact", true),
                },
                mode: self.http01_mode,
                address: self
                    .http01_address
                    .map(|a| SocketAddr::new(a, self.http01_port)),
                self_check_limit: self.http01_self_check_limit,
                dns01: challenge::Dns01Settings {
                    check_period: self.dns01_check_retry_period,
                    check_limit: self.dns01_self_check_limit,
                },
                verbose_events: self.verbose_events,
            },
            ingress: ingress::Settings {
                default_issuer_name: self.default_issuer_name.clone(),
                default_issuer_kind: self.default_issuer_kind.clone(),
                default_issuer_group: self.default_issuer_group.clone(),
                auto_annotations: given(&self.auto_certificate_annotations),
                extra_annotations: given(&self.extra_certificate_annotations),
            },
            keeps_lists: !matches!(self.revocation_list_listen_address, Address::Off),
            disabled: self.disabled()?,
        })
    }

    /// Whom HTTP-01 asks for addresses; nobody in particular if there are none.
    pub fn http01_nameservers(&self) -> Result<Vec<Server>, Error> {
        servers(
            "acme-http01-solver-nameservers",
            &self.acme_http01_solver_nameservers,
        )
    }

    /// How DNS-01 works.
    pub fn dns01(&self) -> Result<dns01::Settings, Error> {
        let resolvers = servers(
            "dns01-recursive-nameservers",
            &self.dns01_recursive_nameservers,
        );
        Ok(dns01::Settings {
            resolvers: resolvers?,
            resolvers_only: self.dns01_recursive_nameservers_only,
            issuer_ambient: self.issuer_ambient_credentials,
            cluster_issuer_ambient: self.cluster_issuer_ambient_credentials,
        })
    }

    /// How much is read of what others wrote.
    pub fn limits(&self) -> Limits {
        Limits {
            certificate: self.max_certificate_size,
            private_key: self.max_private_key_size,
            chain: self.max_certificate_chain_length,
            bundle: self.max_certificate_bundle_size,
        }
    }

    /// How the Lease is held, if it is.
    ///
    /// # Errors
    /// [`Error::Lease`], for what client-go refuses too.
    pub fn lease(&self, identity: String) -> Result<Option<lease::Settings>, Error> {
        let settings = lease::Settings {
            namespace: self.leader_election_namespace.clone(),
            identity,
            duration: self.leader_election_lease_duration,
            renew_deadline: self.leader_election_renew_deadline,
            retry_period: self.leader_election_retry_period,
        };
        if !self.leader_elect {
            return Ok(None);
        }
        settings.check().map_err(Error::Lease)?;
        Ok(Some(settings))
    }
}
