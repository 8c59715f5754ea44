//! `contour-operator`: manages whole Contour-plus-Envoy installations.
//!
//! Its reconciler is not written yet. What exists is what an installation needs before it: the definitions, and the version.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use contour_runtime::BuildInfo;

/// Operator of Contour and Envoy installations on Kubernetes
///
/// The reconciler of ContourDeployment is not part of this version: this binary prints the custom resource definitions, for
/// `kubectl apply`. On one machine, `contour standalone` serves a ContourDeployment from a directory.
#[derive(Debug, Parser)]
#[command(name = "contour-operator", subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the custom resource definitions as YAML: contour-operator crds | kubectl apply --server-side -f -
    Crds,
    /// Print the version
    Version,
    /// Print a completion script for a shell
    Completion {
        /// The shell to complete for
        shell: Shell,
    },
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Crds => crds(),
        Command::Version => write!(io::stdout(), "{}", BuildInfo::current()).map_err(Into::into),
        Command::Completion { shell } => completion(shell),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn crds() -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    for definition in contour_crds::all_crds() {
        writeln!(out, "---\n{}", serde_saphyr::to_string(&definition)?)?;
    }
    Ok(())
}

fn completion(shell: Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "contour-operator", &mut script);
    Ok(io::stdout().write_all(&script)?)
}
