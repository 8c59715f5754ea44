//! What each subcommand does.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::{Cli, Command, ServeArgs};
use crate::config;

/// Exit status for wrong usage and wrong configuration; clap's, too.
const WRONG_USAGE: u8 = 2;

/// Does what the command line says, and returns the process' exit status. Errors are told on standard error.
pub fn run(cli: Cli) -> ExitCode {
    match cli.command {
        Command::Serve(args) => serve(&args),
        Command::Completion { shell } => finish(completion(shell).map_err(anyhow::Error::from)),
    }
}

/// Runs the controller, if its settings are right.
fn serve(args: &ServeArgs) -> ExitCode {
    match config::load(args) {
        Ok(_) => finish(Err(anyhow::anyhow!("contour serve is being wired"))),
        Err(error) => {
            finish(Err(error.into()));
            ExitCode::from(WRONG_USAGE)
        }
    }
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
