//! `contour-operator`: manages whole Contour-plus-Envoy installations.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use clap_complete::Shell;
use contour_crds::{ContourPolicy, ContourPolicySpec};
use contour_operator::cli::{Cli, Command, NAMESPACE, POLICY};
use contour_operator::policy::built_in;
use contour_operator::{diff, render, run};
use contour_runtime::BuildInfo;

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(args) => run::run(*args).await,
        Command::Crds => crds(),
        Command::Policy => policy(),
        Command::Render(args) => render::run(*args),
        Command::Diff(args) => return diff::run(*args).await,
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

fn policy() -> anyhow::Result<()> {
    let spec = ContourPolicySpec { rules: built_in(NAMESPACE) };
    let policy = ContourPolicy::new(POLICY, spec);
    Ok(write!(io::stdout(), "{}", serde_saphyr::to_string(&policy)?)?)
}

fn completion(shell: Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "contour-operator", &mut script);
    Ok(io::stdout().write_all(&script)?)
}
