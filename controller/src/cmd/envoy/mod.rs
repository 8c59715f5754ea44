//! `contour envoy`: what runs beside an Envoy, so that its pod ends without cutting connections off.
//!
//! The container of Envoy has a `preStop` hook that asks `/shutdown` of `contour envoy shutdown-manager` next to it, and Kubernetes
//! waits for the answer before it ends Envoy. There are two ways to it:
//! - as in the stock manifests, `contour envoy shutdown` runs as the `preStop` hook of the manager's container, drains Envoy, and leaves
//!   a *ready file* that the manager waits for,
//! - with `shutdown-manager --drain`, the manager drains Envoy when it is asked, and needs no hook of its own.

mod admin;
mod connections;
mod drain;
mod manager;
mod marks;
mod meter;
mod requests;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Subcommand;
use contour_graph::parse_duration;

use self::admin::Admin;
use self::drain::{Pace, drain};
use self::marks::Marks;
use self::meter::Meter;

/// `contour envoy …`
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Answer the preStop hook of an Envoy's container once Envoy may be ended
    ShutdownManager(Box<manager::Args>),
    /// Drain Envoy, then leave the file that shutdown-manager waits for
    Shutdown(Args),
}

const EXAMPLES: &str = "\
Examples:
  # As the stock manifests do it: the preStop hook of the container that runs `contour envoy shutdown-manager`
  contour envoy shutdown

  # Wait until load balancers know before asking, and never longer than four minutes
  contour envoy shutdown --drain-delay=10s --drain-timeout=4m";

/// Flags of `contour envoy shutdown`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    drain: DrainFlags,
    #[command(flatten)]
    ready: ReadyFlags,
}

/// Where the two commands meet.
#[derive(clap::Args, Clone, Debug)]
struct ReadyFlags {
    /// File that says: Envoy may be ended
    ///
    /// It is in a directory that both containers share. A file of this name and `.draining` is there while Envoy is drained.
    #[arg(long, value_name = "FILE", default_value = "/admin/ok")]
    ready_file: PathBuf,
}

/// How Envoy is drained. Names and defaults are Contour's; `--drain-timeout` is ours.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Draining")]
struct DrainFlags {
    /// Path of the Unix domain socket of Envoy's administration
    #[arg(long, value_name = "PATH", default_value = "/admin/admin.sock")]
    admin_address: PathBuf,
    /// Deprecated: no effect
    #[arg(long, value_name = "PORT", default_value_t = 9001, hide = true)]
    admin_port: u16,
    /// Time before anything is done, for load balancers that learn late
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = parse_duration)]
    drain_delay: Duration,
    /// Time between making Envoy unready and the first count of its connections
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = parse_duration)]
    check_delay: Duration,
    /// Time between counts of open connections
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_interval)]
    check_interval: Duration,
    /// Number of open connections at which Envoy may be ended
    ///
    /// Connections of clients count, HTTP and TCP; those of probes, scrapers and administration do not.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    min_open_connections: u64,
    /// Longest time that all of this may take; 0 for as long as the pod's grace period lasts
    ///
    /// What is still open then is cut off in good order. Best a few seconds less than terminationGracePeriodSeconds.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = parse_duration)]
    drain_timeout: Duration,
}

impl DrainFlags {
    fn admin(&self) -> Admin {
        Admin::new(self.admin_address.clone())
    }

    fn pace(&self) -> Pace {
        Pace {
            drain_delay: self.drain_delay,
            check_delay: self.check_delay,
            check_interval: self.check_interval,
            min_open_connections: self.min_open_connections,
            limit: Some(self.drain_timeout).filter(|limit| !limit.is_zero()),
        }
    }
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err(String::from("must be longer than 0, or Envoy would be asked without pause")),
        interval => Ok(interval),
    }
}

/// Does what the command line says.
pub async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::ShutdownManager(args) => manager::run(*args).await,
        Command::Shutdown(args) => shutdown(&args).await,
    }
}

/// Drains Envoy and leaves the ready file, whatever became of Envoy: nobody is helped by a pod that waits for nothing.
async fn shutdown(args: &Args) -> anyhow::Result<()> {
    let marks = Marks::new(&args.ready.ready_file);
    marks.note_draining();
    drain(&args.drain.admin(), &args.drain.pace(), &Meter::default()).await;
    let path = args.ready.ready_file.display();
    marks.write_ready().with_context(|| {
        format!(
            "cannot write {path}, which shutdown-manager waits for; name a writable place with --ready-file"
        )
    })
}
