//! `contour version`: which build this is.

use std::io::{self, Write};

use clap::ValueEnum;
use contour_runtime::BuildInfo;

/// Flags of `contour version`.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct Args {
    /// Form of the output
    ///
    /// `text` goes to standard error, as Contour's does; `json` to standard output.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    pub output: Output,
}

/// Form of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// `key: value` lines on standard error.
    #[default]
    Text,
    /// One object on standard output.
    Json,
}

/// Prints the build's version, commit and branch, without what is unknown.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let build = BuildInfo::current();
    match args.output {
        Output::Text => write!(io::stderr(), "{build}")?,
        Output::Json => writeln!(io::stdout(), "{}", serde_json::to_string(&build)?)?,
    }
    Ok(())
}
