//! `everleaf`: one binary. `controller` keeps certificates valid, `solver` answers one HTTP-01
//! challenge, `crds` prints the API.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use everleaf::api;
use everleaf::runtime::{controller, options::Options};
use everleaf::solvers::http01::responder::{SolverArgs, run_solver};
use everleaf::telemetry::logs::{self, Format};
use tikv_jemallocator::Jemalloc;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// It gives back to the system what a burst of issuance took (ADR 13).
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Keeps TLS certificates in Kubernetes valid; speaks the cert-manager API.
#[derive(Parser)]
// Of a flag that is given twice the last value counts, as in cert-manager.
#[command(name = "everleaf", version, args_override_self = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the operator.
    Controller(Box<Options>),
    /// Answer one HTTP-01 challenge: what a solver Pod runs.
    Solver(SolverArgs),
    /// Print the `CustomResourceDefinitions`.
    Crds,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error is all there is to complain to.
            drop(writeln!(std::io::stderr(), "everleaf: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Controller(options) => {
            logs::init(options.logging_format, options.v)?;
            install_crypto()?;
            run_to_end(controller::run(*options))
        }
        Command::Solver(arguments) => {
            logs::init(Format::default(), 2)?;
            run_to_end(async {
                let stop = CancellationToken::new();
                let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
                let stopped = stop.clone();
                tokio::spawn(async move {
                    terminate.recv().await;
                    stopped.cancel();
                });
                run_solver(&arguments, stop)
                    .await
                    .context("answering the challenge")
            })
        }
        Command::Crds => {
            let mut out = std::io::stdout().lock();
            for (_, yaml) in api::crds_yaml()? {
                writeln!(out, "---\n{yaml}")?;
            }
            Ok(())
        }
    }
}

/// One crypto library for all of TLS.
fn install_crypto() -> anyhow::Result<()> {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("a TLS back end is installed already"))
}

/// What still runs aside when `work` has ended is not waited for: a key of RSA can take longer than there is time to end.
fn run_to_end(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the async runtime")?;
    let outcome = runtime.block_on(work);
    runtime.shutdown_background();
    outcome
}
