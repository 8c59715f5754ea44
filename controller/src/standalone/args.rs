//! Flags of `contour standalone`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

const EXAMPLES: &str = "\
Examples:
  contour standalone ./proxies
  contour standalone /etc/contour --state-dir /var/lib/contour --http-port 80 --https-port 443
  contour standalone ./proxies --output json | jq 'select(.event == \"status\")'

The directory is read with all directories in it: HTTPProxy, TLSCertificateDelegation, Ingress, Service, EndpointSlice, Secret and
Namespace objects from every *.yaml, *.yml and *.json file, and one ContourDeployment for the settings. A change takes effect as soon
as the file is saved; what is broken is reported with file and line, and its last good state goes on serving. So do, for ten seconds, the
objects of a file that becomes empty, as one does that is about to be written; what is deleted is gone at once. A file may have 64 MiB and
8 million values, of which aliases (*name) may stand for one million.

A setting is taken from its flag, else from the ContourDeployment, else it has its default. When the ContourDeployment changes, open
requests end, and Envoy and the controller start again with the new settings. Statuses are in STATE/status, Envoy's log is STATE/envoy.log, and requests are logged to STATE/access.log.
STATE is made for this user alone (0700), and so is everything in it; the mode of a directory that exists stays as it is.

SIGINT (Ctrl-C) or SIGTERM lets open requests end, then stops Envoy and the controller; a second one stops them at once.
Exit status: 0 stopped by a signal, 1 failure (a port or the state directory in use, no Envoy, a task that failed), 2 wrong usage.";

/// Flags of `contour standalone`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct StandaloneArgs {
    /// The directory of YAML files
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// The Envoy to run: by default the first `envoy` on PATH, else .venv/bin/envoy
    #[arg(long, value_name = "PATH")]
    pub envoy: Option<PathBuf>,
    /// Where certificates, statuses and logs are kept, private to one process [default: DIR/.contour]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// The IP address Envoy listens on [default: 0.0.0.0, reachable from the network]
    #[arg(long, value_name = "IP")]
    pub listen_address: Option<IpAddr>,
    /// Port for HTTP [default: 8080]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub http_port: Option<u16>,
    /// Port for HTTPS [default: 8443]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub https_port: Option<u16>,
    /// Port for Envoy's health and metrics [default: 8002]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub stats_port: Option<u16>,
    /// Port on 127.0.0.1 for the readable part of Envoy's admin interface; 0: none [default: 9001]
    #[arg(long, value_name = "PORT")]
    pub admin_port: Option<u16>,
    /// Port on 127.0.0.1 for xDS, with mutual TLS; 0: any free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub xds_port: u16,
    /// Port on 127.0.0.1 for the controller's metrics, health and debug pages; 0: any free one
    #[arg(long, value_name = "PORT", default_value_t = 8000)]
    pub controller_port: u16,
    /// How news is written to standard output
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Output,
}

impl StandaloneArgs {
    /// The state directory: the only thing that must be known before the files are read.
    pub fn state(&self) -> PathBuf {
        self.state_dir.clone().unwrap_or_else(|| self.directory.join(".contour"))
    }
}

/// How news is written to standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object per line: `time`, `event`, and what belongs to the event.
    Json,
}
