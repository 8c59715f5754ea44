//! The operator against a large fleet. Run by `make bench-fleet`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result};
use clap::Parser;
use contour_bench::fleet::{Bench, Size, report};
use contour_bench::results;

const EXAMPLES: &str = "\
Examples:
  # Everything, on an optimized build; writes the section of bench/RESULTS.md
  make bench-fleet

  # Beside the operator of another checkout, in the same cluster
  target/release/fleet --before /work/other/target/release/contour-operator

  # Smaller; writes nothing
  target/release/fleet --nodes 200

What happens to each operator:
  - it starts on an empty cluster, and again where all nodes and pods are
  - it looks --looks times while nothing happens
  - one pod becomes not ready, and ready again, --flips times, and each time it comes to rest
  - --many pods become not ready at once, and ready again
  - --restarted pods are replaced at once

Needs Linux and the kube-apiserver that `make kube` gets, about 2 GiB of memory and some minutes. Everything stays on loopback.";

/// Measure the operator where Envoy runs on thousands of nodes
#[derive(Parser)]
#[command(name = "fleet", after_help = EXAMPLES)]
struct Args {
    /// Nodes, each with a pod of Envoy
    #[arg(long, value_name = "NUMBER", default_value_t = 5000)]
    nodes: usize,
    /// Looks while nothing happens
    #[arg(long, value_name = "NUMBER", default_value_t = 60)]
    looks: usize,
    /// How often one pod becomes not ready, and ready again
    #[arg(long, value_name = "NUMBER", default_value_t = 5)]
    flips: usize,
    /// Pods that become not ready at once
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    many: usize,
    /// Pods that are replaced at once
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    restarted: usize,
    /// The operator to measure; beside this program by default
    #[arg(long, value_name = "FILE")]
    operator: Option<PathBuf>,
    /// Another one to measure before it
    #[arg(long, value_name = "FILE")]
    before: Option<PathBuf>,
    /// Where to write the section; bench/RESULTS.md by default for 5000 nodes, else nowhere
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<()> {
    let operator = match args.operator {
        Some(path) => path,
        None => std::env::current_exe()?.with_file_name("contour-operator"),
    };
    let mut operators = Vec::new();
    for (name, path) in [("before", args.before), ("now", Some(operator))] {
        let Some(path) = path else { continue };
        let path = path.canonicalize().with_context(|| format!("there is no {}", path.display()))?;
        operators.push((name.to_owned(), path));
    }
    let size = Size {
        nodes: args.nodes,
        looks: args.looks,
        flips: args.flips,
        many: args.many,
        restarted: args.restarted,
    };
    let started = Instant::now();
    let mut bench = Bench::start(&operators, size).await?;
    println!("{} nodes and pods are there after {:.0} s", args.nodes, started.elapsed().as_secs_f64());
    let rows = bench.run().await?;
    println!("{}", report::section(&rows, size));
    match args.table.or_else(|| (args.nodes == 5000).then(|| PathBuf::from("bench/RESULTS.md"))) {
        Some(path) => results::write(&path, report::SECTION, &report::section(&rows, size)),
        None => Ok(()),
    }
}
