//! Many Envoys, played, against a real controller with a real kube-apiserver. Run by `make bench-many`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Parser;
use contour_bench::many::{Bench, Phase, Size, report};
use contour_bench::results;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

const EXAMPLES: &str = "\
Examples:
  # Everything, on an optimized build; writes the section of bench/RESULTS.md
  make bench-many

  # One phase at a smaller size; writes nothing
  target/release/many --streams 100 --hosts 1000 --only cold

  # The same against the controller of another directory
  target/release/many --contour /work/other/target/release/contour --only cold --only restart

A played Envoy has a connection of its own (mutual TLS, HTTP/2) and one delta stream. It asks for what Envoy asks for, in Envoy's order, and
accepts all it is told, but only counts it. One more of them, the first, decodes everything: from it the others know what to ask for, and with
which versions they are back. Known versions are answered by nothing, so whoever is back also asks for names that nothing has, for
endpoints and for routes: once it is told so, the server has dealt with all it asked before.

What each phase is about:
  cold       All connect at once and know nothing. Memory a stream is the difference to one stream, after --rest.
  host       A new Service, EndpointSlice and HTTPProxy; until the last Envoy has and has accepted cluster, endpoints and routes.
  endpoint   Another address in an EndpointSlice; until the last Envoy has accepted it.
  reconnect  All leave at once and are back at once with the versions that they have.
  restart    The controller ends and starts anew; all are back the moment that it listens, with the versions that they have.
  slow       All connect at once and know nothing; a tenth reads 64 KiB/s, --silent more ask for everything and read nothing.
             The figures are those of the others.
  leave      All leave. Memory is looked at after three times --rest.

Needs Linux and the kube-apiserver that `make kube` gets. Everything stays on loopback. The controller needs an open file for each stream
(ulimit -n); this program raises its own limit, and with it that of the controller it starts, as far as it may.";

/// Play many Envoys that connect to one controller, and measure what that costs
#[derive(Parser)]
#[command(name = "many", after_help = EXAMPLES)]
struct Args {
    /// Envoys to play
    #[arg(long, value_name = "NUMBER", default_value_t = 1000)]
    streams: usize,
    /// Hosts: a Service, an EndpointSlice and an HTTPProxy each
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000)]
    hosts: usize,
    /// Only this phase; may be repeated. Others are done unmeasured where one needs them
    #[arg(long, value_name = "PHASE", value_enum)]
    only: Vec<Phase>,
    /// Changes of each kind
    #[arg(long, value_name = "NUMBER", default_value_t = 5)]
    changes: usize,
    /// Envoys that never read, in the phase `slow`
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    silent: usize,
    /// Seconds before memory is looked at, for what is free to be given back
    #[arg(long, value_name = "SECONDS", default_value_t = 12)]
    rest: u64,
    /// The `contour` binary to measure; else the one beside this program
    #[arg(long, value_name = "FILE")]
    contour: Option<PathBuf>,
    /// Where to write the section; without it all phases at the usual size write bench/RESULTS.md
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
}

/// Runs `contour` itself when that is its first argument: a test of this package has no other binary of it.
fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    if arguments.peek().is_some_and(|first| first == "contour") {
        return match contour::cli::Cli::of(arguments) {
            Ok(cli) => contour::cmd::run(cli),
            Err(error) => error.exit(),
        };
    }
    let args = Args::parse();
    let runtime = tokio::runtime::Runtime::new().context("cannot start threads");
    match runtime.and_then(|runtime| runtime.block_on(run(args))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    println!("open files: at most {hard} (was {soft}), here and in the controller");
    let contour = match args.contour {
        Some(path) => path,
        None => std::env::current_exe()?.with_file_name("contour"),
    };
    let contour = contour.canonicalize().with_context(|| format!("there is no {}", contour.display()))?;
    let size = Size {
        streams: args.streams,
        hosts: args.hosts,
        changes: args.changes,
        silent: args.silent,
        rest: Duration::from_secs(args.rest),
    };
    let started = Instant::now();
    let mut bench = Bench::start(&[OsString::from(contour)], size).await?;
    println!("{} hosts are there after {:.0} s", args.hosts, started.elapsed().as_secs_f64());
    let all = <Phase as clap::ValueEnum>::value_variants();
    for phase in all.iter().filter(|phase| args.only.is_empty() || args.only.contains(phase)) {
        bench.run(*phase).await.with_context(|| format!("in the phase {}", report::name(*phase)))?;
        if let Some(row) = bench.figures().rows.last() {
            println!("{}", report::line(row));
        }
        if *phase == Phase::Cold
            && let Some(memory) = report::memory(bench.figures())
        {
            println!("  resident: {memory}");
        }
    }
    let usual = args.only.is_empty() && (args.streams, args.hosts) == (1000, 10_000);
    let table = args.table.or_else(|| usual.then(|| PathBuf::from("bench/RESULTS.md")));
    match table {
        Some(path) => results::write(&path, report::SECTION, &report::section(bench.figures(), size)),
        None => Ok(()),
    }
}
