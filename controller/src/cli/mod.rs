//! The command line of `contour`, as typed: flags and their help, no meaning yet.

mod negation;
mod serve;

use std::ffi::OsString;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;
use contour_runtime::LogFormat;

use crate::cmd::{bootstrap, certgen, envoy, version};
use crate::standalone::StandaloneArgs;

pub use serve::{
    AdminFlags, BaseFlags, EnvoyFlags, KubernetesFlags, LeaderElectionFlags, ObjectFlags, ServeArgs,
    StatusFlags, XdsFlags,
};

const EXAMPLES: &str = "\
Examples:
  contour serve --incluster --contour-cafile=/certs/ca.crt --contour-cert-file=/certs/tls.crt \\
      --contour-key-file=/certs/tls.key --config-path=/config/contour.yaml
  contour bootstrap /config/envoy.json --xds-address=contour --xds-port=8001 --resources-dir=/config/resources
  contour standalone ./sites
  contour completion bash > /etc/bash_completion.d/contour

Booleans take --flag, --flag=true, --flag=false and --no-flag.
`contour help <command>` explains a command. Exit status: 0 success, 1 failure, 2 wrong usage or configuration.";

/// Controller of Envoy proxies: turns HTTPProxy and Ingress objects into Envoy's configuration and keeps it current
#[derive(Clone, Debug, Parser)]
#[command(name = "contour", after_help = EXAMPLES, subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    /// How log lines are written to standard error
    ///
    /// `text` is one line per event for people, `json` one object per event for machines.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run the controller: watch Kubernetes, configure Envoys over xDS
    Serve(Box<ServeArgs>),
    /// Run controller and Envoy on this machine, from a directory of YAML
    Standalone(Box<StandaloneArgs>),
    /// Write what Envoy starts with: where the controller is, and how to trust it
    Bootstrap(bootstrap::Args),
    /// Make the certificates with which controller and Envoys know each other
    Certgen(certgen::Args),
    /// Run beside an Envoy, so that its pod ends without cutting connections off
    Envoy {
        /// What to do.
        #[command(subcommand)]
        command: envoy::Command,
    },
    /// Print a completion script for a shell
    Completion {
        /// The shell to complete for
        shell: Shell,
    },
    /// Print which build this is
    Version(version::Args),
}

impl Cli {
    /// Reads a command line, the program's name first. The error knows its own text and exit status (2 for wrong usage).
    pub fn of(arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Result<Self, clap::Error> {
        let mut command = Self::command();
        command.build();
        let arguments = negation::spell_out(&command, arguments.into_iter().map(Into::into).collect());
        Self::from_arg_matches(&command.try_get_matches_from(arguments)?)
    }
}
