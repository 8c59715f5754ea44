//! Generation and checks that are part of the build, run as `cargo run -p contour-xtask -- <command>`.

mod check_schema;
mod generate;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Generates the files that are made from the source, and checks what only tools can check.
#[derive(Parser)]
#[command(name = "xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Writes the custom resource definitions to `bundle/crds`, one file per kind, and `bundle/install.yaml`.
    Generate,
    /// Fails if a generated file is not what `generate` would write, and names it.
    CheckGenerate,
    /// Compares our custom resource definitions with those of Contour, field by field.
    ///
    /// Exits with 0 if they differ as intended only, with 1 if not, and with 3 if Contour's definitions
    /// cannot be had because Go is not installed.
    CheckSchema {
        /// The file with Contour's definitions. Without it Go downloads the module of Contour.
        #[arg(long, value_name = "FILE")]
        contour_crds: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<ExitCode> {
    match arguments.command {
        Command::Generate => generate::write(),
        Command::CheckGenerate => generate::check(),
        Command::CheckSchema { contour_crds } => check_schema::run(contour_crds),
    }
}

/// The root of the repository: generated files are found from any working directory.
fn repository_root() -> PathBuf {
    let xtask = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().map_or(xtask.clone(), PathBuf::from)
}
