//! `cluster`: proves an installation in a real cluster, as a story from `bundle/install.yaml` to its removal.
//!
//! `make e2e` runs it. Every step waits on conditions with deadlines, says how long it took, and needs those before it; the
//! first that fails ends the story with what the cluster has to say. There is nothing to skip: without a cluster it fails.

mod objects;
mod report;
mod steps;
mod traffic;
mod world;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::Parser;
use futures::FutureExt as _;
use futures::future::BoxFuture;

use steps::{install, nodes, orphaned, others, removal, rotation, serve, stock, upgrade};
use world::{Images, Power, World};

/// Proves an installation in the cluster that KUBECONFIG names.
///
/// The cluster has to have two nodes at least, whose addresses can be reached from here, and whose ports 80, 443, 8080 and
/// 8443 are free. It is left as it was found.
#[derive(Debug, Parser)]
#[command(name = "cluster")]
struct Arguments {
    /// The image of the operator and of Contour; by default that of bundle/install.yaml
    #[arg(long, env = "OPERATOR_IMAGE")]
    operator_image: Option<String>,
    /// Another version of the same; by default the first with `-next` added
    #[arg(long, env = "OPERATOR_IMAGE_NEXT")]
    operator_image_next: Option<String>,
    /// The image of Envoy; by default that of bundle/install.yaml
    #[arg(long, env = "ENVOY_IMAGE")]
    envoy_image: Option<String>,
    /// The image of the application, from e2e/src/bin/echo.rs
    #[arg(long, env = "ECHO_IMAGE", default_value = "contour-cluster.local/echo:v1")]
    echo_image: String,
    /// The command that cuts the power of the node that it is given; without it no node is killed
    #[arg(long, env = "NODE_OFF", requires = "node_on")]
    node_off: Option<String>,
    /// The command that gives all nodes power
    #[arg(long, env = "NODE_ON", requires = "node_off")]
    node_on: Option<String>,
}

impl Arguments {
    fn power(&self) -> Option<Power> {
        Some(Power { off: self.node_off.clone()?, on: self.node_on.clone()? })
    }

    fn images(self) -> Result<Images> {
        let (operator, envoy) = install::default_images(&install::read_manifest()?)?;
        let set = |value: Option<String>| value.filter(|value| !value.is_empty());
        let operator = set(self.operator_image).unwrap_or(operator);
        Ok(Images {
            operator_next: set(self.operator_image_next).unwrap_or_else(|| format!("{operator}-next")),
            operator,
            envoy: set(self.envoy_image).unwrap_or(envoy),
            echo: self.echo_image,
        })
    }
}

/// A step of the story.
type Step = (&'static str, fn(&World) -> BoxFuture<'_, Result<()>>);

const STORY: [Step; 21] = [
    ("the cluster is clean", |world| install::clean_cluster(world).boxed()),
    ("install.yaml: the operator is available", |world| install::operator(world).boxed()),
    ("Contour 1.33.8 by its own manifests serves", |world| stock::serves(world).boxed()),
    ("it is adopted under traffic", |world| stock::adopted(world).boxed()),
    ("its Envoys are replaced, node by node", |world| stock::replaced(world).boxed()),
    ("it is removed", |world| stock::removed(world).boxed()),
    ("examples/contourdeployment.yaml: all is well", |world| install::deployment(world).boxed()),
    ("200 on ports 80 and 443 of every node", |world| serve::traffic(world).boxed()),
    ("statuses and addresses of the routes", |world| serve::statuses(world).boxed()),
    ("two more classes on other ports", |world| others::beside(world).boxed()),
    ("a class that is taken is refused", |world| others::clash(world).boxed()),
    ("a watched namespace is deleted, and held", |world| others::watched_namespace_ends(world).boxed()),
    ("another version of Contour, the same Envoys", |world| upgrade::contour(world).boxed()),
    ("a node is cordoned and drained", |world| nodes::drain(world).boxed()),
    ("the power of that node is cut", |world| nodes::killed(world).boxed()),
    ("its Envoy leaves as well", |world| nodes::away(world).boxed()),
    ("the node returns", |world| nodes::returned(world).boxed()),
    ("its object is deleted with --cascade=orphan, and adopts", |world| orphaned::adopted(world).boxed()),
    ("the authority is replaced twice under traffic", |world| rotation::authority(world).boxed()),
    ("the deployments are deleted, nothing stays", |world| removal::deployments(world).boxed()),
    ("the operator is removed", |world| removal::operator(world).boxed()),
];

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cluster: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<()> {
    let world = World::connect(arguments.power(), arguments.images()?).await?;
    let began = Instant::now();
    for (passed, (name, step)) in STORY.iter().enumerate() {
        let started = Instant::now();
        let outcome = step(&world).await;
        let seconds = started.elapsed().as_secs_f64();
        if let Err(error) = outcome {
            println!("FAIL  {seconds:>6.1} s  {name}: {error:#}");
            report::print(&world).await;
            println!("\n{passed} passed, 1 failed");
            anyhow::bail!("{name}: {error:#}");
        }
        println!("ok    {seconds:>6.1} s  {name}");
    }
    println!("\n{} passed, 0 failed", STORY.len());
    println!("in {:.0} s", began.elapsed().as_secs_f64());
    Ok(())
}
