//! Flags of cert-manager that are accepted and have no effect, so that a chart's values keep working.

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

/// Flags of cert-manager whose feature this version does not have, or that mean nothing here. They are
/// accepted and named in one warning; those with an underscore are klog's. Those of the second list are switches.
const LATER: [&str; 22] = [
    "master",
    "config",
    "kube-api-qps",
    "kube-api-burst",
    "gateway-api-extra-protocols",
    "metrics-tls-cert-file",
    "metrics-tls-private-key-file",
    "metrics-dynamic-serving-ca-secret-namespace",
    "metrics-dynamic-serving-ca-secret-name",
    "metrics-dynamic-serving-dns-names",
    "metrics-dynamic-serving-leaf-duration",
    "metrics-tls-cipher-suites",
    "metrics-tls-min-version",
    "profiler-address",
    "internal-healthz-leader-election-timeout",
    "vmodule",
    "log-flush-frequency",
    "log_backtrace_at",
    "log_dir",
    "log_file",
    "log_file_max_size",
    "stderrthreshold",
];
const LATER_SWITCHES: [&str; 9] = [
    "enable-gateway-api",
    "enable-gateway-api-listenerset",
    "enable-profiling",
    "add_dir_header",
    "alsologtostderr",
    "logtostderr",
    "one_output",
    "skip_headers",
    "skip_log_headers",
];

/// Which of [`LATER`] and [`LATER_SWITCHES`] were given.
#[derive(Debug, Default)]
pub struct Later(pub Vec<&'static str>);

impl Args for Later {
    fn augment_args(command: Command) -> Command {
        let values = LATER.map(|name| Arg::new(name).long(name).hide(true));
        let switches =
            LATER_SWITCHES.map(|name| Arg::new(name).long(name).hide(true).num_args(0..=1));
        command.args(values).args(switches)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Later {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let names = LATER.into_iter().chain(LATER_SWITCHES);
        let given = |name: &&str| matches.value_source(name) == Some(ValueSource::CommandLine);
        Ok(Self(names.filter(given).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
