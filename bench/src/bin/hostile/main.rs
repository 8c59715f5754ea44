//! The promise that one tenant harms nobody else, tried: attacks as data against a whole installation.
//!
//! Run by `make hostile`, inside a network namespace of its own (`hack/netns.py`), where all stock ports are free, where an address that is not
//! loopback, as EndpointSlices need, belongs to nobody else, and from which nothing gets out.

mod attacker;
mod attempt;
mod catalogue;
mod changes;
mod events;
mod judge;
mod network;
mod notice;
mod observer;
mod report;
mod secrecy;
mod template;
mod traffic;
mod victim;
mod world;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, ValueEnum};

use crate::attempt::{Attempt, Row};
use crate::catalogue::{Attack, Catalogue};
use crate::judge::{Form, Size};
use crate::victim::Victim;
use crate::world::World;

const EXAMPLES: &str = "\
Examples:
  # All attacks, on an optimized build; writes bench/HOSTILE.md
  make hostile

  # What a pipeline runs, on the binaries that the tests have built
  hack/netns.py target/debug/hostile --short

  # Two attacks, with everything that was measured
  hack/netns.py target/release/hostile --only 10-regex-refused --only 60-dns-slow -o json

An attack is a directory of bench/hostile: attack.yaml says what is tried, where the idea is from and what the attacker has to be told; the
steps 10-….yaml, 20-….yaml, … are what the attacker writes. bench/hostile/README.md tells how to write one.

Needs Linux, root, iproute2 and util-linux; Envoy and kube-apiserver as `make test` has them. Exit status 1: an attack did harm.";

/// Attack a shared installation as the owner of one namespace could, and tell whom it harms
#[derive(Parser)]
#[command(name = "hostile", after_help = EXAMPLES)]
struct Args {
    /// What a pipeline runs: attacks marked short, few hosts, and no judgement by the clock
    #[arg(long)]
    short: bool,
    /// Only this attack; may be repeated
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Hosts of the other tenant, at least 160; without it 3000, and 200 in the short form
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(160..))]
    hosts: Option<u16>,
    /// List the attacks and end
    #[arg(long)]
    list: bool,
    /// What to print for each attack and at the end
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    /// Where to write the table; without it the long form of all attacks writes bench/HOSTILE.md
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    /// The attacks
    #[arg(long, value_name = "DIRECTORY", default_value = "bench/hostile")]
    catalogue: PathBuf,
    /// The `contour` binary to attack; else the one beside this program
    #[arg(long, value_name = "FILE")]
    contour: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Lines for people
    Text,
    /// Everything that was measured, as one list
    Json,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let catalogue = Catalogue::read(&args.catalogue)?;
    let attacks = chosen(&catalogue, &args)?;
    if args.list {
        for attack in attacks {
            let form = if attack.about.short { "short" } else { "long" };
            println!("{:34} {form:5}  {} ({})", attack.name, attack.about.title, attack.about.source);
        }
        return Ok(());
    }
    let form = if args.short { Form::Short } else { Form::Long };
    let beside = std::env::current_exe()?.with_file_name("contour");
    let contour = args.contour.clone().unwrap_or(beside);
    let size = args.hosts.map_or_else(|| form.size(), |hosts| Size { hosts: hosts.into(), ..form.size() });
    let installer = Installer { contour, size };
    let rows = attempts(&catalogue, &attacks, &installer, form, args.output).await?;
    if args.output == Output::Json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    }
    let usual = (form == Form::Long && args.only.is_empty()).then(|| PathBuf::from("bench/HOSTILE.md"));
    if let Some(path) = args.table.or(usual) {
        let command = std::env::args().skip(1).fold("hostile".to_owned(), |line, word| line + " " + &word);
        let table = report::table(&rows, size, &command)?;
        std::fs::write(&path, table).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let harmful: Vec<&str> =
        rows.iter().filter(|row| !row.broken.is_empty()).map(|row| row.name.as_str()).collect();
    ensure!(
        harmful.is_empty(),
        "{} of {} attacks do harm: {}",
        harmful.len(),
        rows.len(),
        harmful.join(", ")
    );
    println!("none of {} attacks does harm", rows.len());
    Ok(())
}

fn chosen<'a>(catalogue: &'a Catalogue, args: &Args) -> Result<Vec<&'a Attack>> {
    let named = |name: &String| catalogue.attacks.iter().any(|attack| attack.name == *name);
    for name in &args.only {
        ensure!(named(name), "there is no attack {name}: see --list");
    }
    let wanted = |attack: &&Attack| {
        let short = !args.short || attack.about.short || !args.only.is_empty();
        short && (args.only.is_empty() || args.only.contains(&attack.name))
    };
    Ok(catalogue.attacks.iter().filter(wanted).collect())
}

/// Makes the attempts in one installation, and in a new one after an attack that left traces.
async fn attempts(
    catalogue: &Catalogue,
    attacks: &[&Attack],
    installer: &Installer,
    form: Form,
    output: Output,
) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut installation: Option<(Arc<World>, Arc<Victim>)> = None;
    let mut quiet = None;
    for attack in attacks {
        let (world, victim) = if let Some(present) = installation.take() {
            present
        } else {
            quiet = None;
            installer.install().await.context("cannot start the installation")?
        };
        let certificates = &catalogue.certificates;
        let attempt =
            Attempt { world: &world, victim: &victim, attack, certificates, form, quiet: quiet.take() };
        let mut row = attempt.row_of_run().await;
        if row.slow_alone && row.recovered.is_some() {
            // What an attack does it does twice; what else runs on this machine does not.
            eprintln!("{} again: {}", row.name, row.broken.join("; "));
            row = attempt.row_of_run().await;
        }
        match output {
            Output::Text => println!("{}", report::line(&row)),
            Output::Json => eprintln!("{}", report::line(&row)),
        }
        // What is as before serves for the next attack, too, whatever happened meanwhile.
        if row.recovered.is_some() {
            // The long form compares times, and has a quiet run before each attack.
            quiet = (form == Form::Short).then(|| row.quiet.clone());
            installation = Some((world, victim));
        }
        rows.push(row);
    }
    Ok(rows)
}

/// What every installation of a run has in common.
struct Installer {
    contour: PathBuf,
    size: Size,
}

impl Installer {
    async fn install(&self) -> Result<(Arc<World>, Arc<Victim>)> {
        let started = Instant::now();
        let world = Arc::new(World::start(&self.contour).await?);
        let victim = Victim::settle_in(Arc::clone(&world), self.size).await?;
        // Envoys that come to a finished table start much sooner than ones that follow its growth.
        world.start_envoys().await?;
        victim.until_served().await?;
        eprintln!("all {} hosts are served after {:.1} s", self.size.hosts, started.elapsed().as_secs_f64());
        Ok((world, Arc::new(victim)))
    }
}
