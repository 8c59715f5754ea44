//! What each subcommand does.

pub mod bootstrap;
pub mod certgen;
mod certificates;
pub mod envoy;
pub mod serve;
pub mod version;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;
use contour_runtime::{LogFormat, Telemetry, allow_many_files};

use crate::cli::{Cli, Command, ServeArgs};
use crate::config::{self, LoadError, Source};
use crate::standalone;

/// Exit status for wrong usage and wrong configuration; clap's, too.
const WRONG_USAGE: u8 = 2;

/// Does what the command line says, and returns the process' exit status. Errors are told on standard error.
pub fn run(cli: Cli) -> ExitCode {
    match cli.command {
        Command::Serve(args) => run_controller(&args, cli.log_format),
        Command::Standalone(args) => {
            let telemetry = Telemetry { format: cli.log_format, ..Telemetry::default() };
            finish(
                telemetry.init().map_err(anyhow::Error::from).and_then(|()| block_on(standalone::run(*args))),
            )
        }
        Command::Bootstrap(args) => finish(bootstrap::run(&args)),
        Command::Envoy { command } => {
            let telemetry = Telemetry { format: cli.log_format, ..Telemetry::default() };
            finish(telemetry.init().map_err(anyhow::Error::from).and_then(|()| block_on(envoy::run(command))))
        }
        Command::Certgen(args) => finish(certgen::run(&args)),
        Command::Version(args) => finish(version::run(&args)),
        Command::Completion { shell } => finish(completion(shell).map_err(anyhow::Error::from)),
    }
}

/// Runs the controller, if its settings are right.
fn run_controller(args: &ServeArgs, format: LogFormat) -> ExitCode {
    let telemetry = |debug, kubernetes_debug| {
        Telemetry { format, debug, kubernetes_debug }.init().map_err(anyhow::Error::from)
    };
    let outcome = match config::source(args) {
        Ok(Source::Object(name)) => {
            let kubernetes_debug = config::level(args.base.kubernetes_debug);
            telemetry(args.base.debug.unwrap_or_default(), kubernetes_debug)
                .and_then(|()| block_on(serve::run_by_object(args, name)))
        }
        Ok(Source::Settings(settings)) => telemetry(settings.debug, settings.kubernetes_debug)
            .and_then(|()| block_on(serve::run(*settings))),
        Err(error) => Err(error.into()),
    };
    let wrong_usage = outcome.as_ref().is_err_and(anyhow::Error::is::<LoadError>);
    let code = finish(outcome);
    if wrong_usage { ExitCode::from(WRONG_USAGE) } else { code }
}

/// Runs a future to its end on as many threads as there are cores.
fn block_on(future: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    allow_many_files();
    tokio::runtime::Runtime::new().context("cannot start threads")?.block_on(future)
}

/// Tells an error with its causes.
fn finish(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Writes the completion script to standard output.
fn completion(shell: Shell) -> io::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "contour", &mut script);
    io::stdout().write_all(&script)
}
