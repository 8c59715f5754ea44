//! Propagation, end to end: from an object written to a real kube-apiserver to the first answer through a real Envoy.
//!
//! Run by `make bench`, inside a network namespace of its own (`hack/netns.py`), where all stock ports are free and where an address that is
//! not loopback, as EndpointSlices need, belongs to nobody else. Everything shares this machine's cores.

mod measure;
mod report;
mod world;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Parser;

use crate::measure::Figures;
use crate::world::World;

/// Measure from an object's creation to the first answer through Envoy, and write the table.
#[derive(Parser)]
struct Args {
    /// Numbers of plain hosts to measure at, ascending; 0: none
    #[arg(long, value_delimiter = ',', default_value = "1000,3000,5000,10000")]
    plain: Vec<usize>,
    /// Numbers of TLS hosts to measure at, ascending (0: none), in an installation of their own
    #[arg(long, value_delimiter = ',', default_value = "1000")]
    tls: Vec<usize>,
    /// Samples of each figure
    #[arg(long, default_value_t = 60)]
    samples: usize,
    /// The `contour` binary to measure
    #[arg(long, default_value = "target/release/contour")]
    contour: PathBuf,
    /// The criterion output directory, for the table of the controller's own work
    #[arg(long, default_value = "target/criterion")]
    criterion: PathBuf,
    /// Where to write the table
    #[arg(long, default_value = "bench/RESULTS.md")]
    output: PathBuf,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let mut all = Vec::new();
    for (kind, sizes) in [("HTTP", &args.plain), ("TLS", &args.tls)] {
        let sizes: Vec<usize> = sizes.iter().copied().filter(|size| *size > 0).collect();
        if sizes.is_empty() {
            continue;
        }
        let mut world =
            World::start(&args.contour, kind == "TLS").await.context("cannot start the installation")?;
        for size in sizes {
            world.grow(size).await?;
            let figures = Figures::measure(&mut world, args.samples).await?;
            println!("{}", report::row(kind, size, &figures));
            all.push((kind, size, figures));
        }
    }
    let table = report::table(&all, args.samples, &args.criterion)?;
    println!("\n{table}");
    contour_bench::results::write_around(&args.output, contour_bench::many::report::SECTION, &table)
}
