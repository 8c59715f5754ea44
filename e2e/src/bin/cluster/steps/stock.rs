//! An installation of Contour's own manifests, which the operator takes over while it serves.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use contour_e2e::wait::eventually;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::serve::{self, HOSTS};
use crate::objects::{CONTOUR_DEPLOYMENT, DAEMON_SET, DEPLOYMENT, POD, SERVICE};
use crate::traffic::{Probe, Traffic};
use crate::world::{CHANGE, ROLLOUT, World};

/// Where the manifests put it.
const STOCK: &str = "projectcontour";

/// The `ContourDeployment` that takes it over.
const ADOPTING: (&str, &str) = (STOCK, "stock");

/// The manifests, but for the definitions: those are the same as ours.
const FILES: [&str; 9] = [
    "00-common.yaml",
    "01-contour-config.yaml",
    "02-job-certgen.yaml",
    "02-rbac.yaml",
    "02-role-contour.yaml",
    "02-service-contour.yaml",
    "02-service-envoy.yaml",
    "03-contour.yaml",
    "03-envoy.yaml",
];

/// The version of Envoy that the manifests ask for is not here: the cluster has one.
const ENVOY: &str = "docker.io/envoyproxy/envoy:";

/// The manifests of Contour's module, with this run's image of Envoy.
fn manifest(world: &World) -> Result<String> {
    let directory = std::env::var_os("STOCK_MANIFESTS").map(PathBuf::from);
    let directory =
        directory.context("STOCK_MANIFESTS does not name examples/contour of Contour's module")?;
    let mut all = Vec::new();
    for file in FILES {
        let path = directory.join(file);
        all.push(std::fs::read_to_string(&path).with_context(|| path.display().to_string())?);
    }
    let lines = all.iter().flat_map(|text| text.lines());
    let ours = |line: &str| match line.split_once(ENVOY) {
        Some((before, _)) => format!("{before}{}", world.images.envoy),
        None => line.to_owned(),
    };
    Ok(lines.map(ours).collect::<Vec<_>>().join("\n"))
}

/// Installs Contour 1.33.8 as its users do: both hosts are served at the ports of nodes that its Service got.
pub(crate) async fn serves(world: &World) -> Result<()> {
    world.objects.apply(&manifest(world)?).await?;
    serve::application(world).await?;
    for probe in probes(world).await? {
        probe.until_answered().await?;
    }
    Ok(())
}

/// Takes it over: another Contour serves the same Envoys, and not one request fails.
pub(crate) async fn adopted(world: &World) -> Result<()> {
    let traffic = Traffic::start(probes(world).await?);
    let before = envoys(world).await?;
    let contour = world.objects.get(DEPLOYMENT, STOCK, "contour").await?;
    world.objects.apply(&adopting(json!({"adopt": true})).to_string()).await?;
    world.until_well(ADOPTING).await?;
    let taken = world.objects.get(DEPLOYMENT, STOCK, "contour").await?;
    anyhow::ensure!(
        taken["metadata"]["uid"] == contour["metadata"]["uid"],
        "Contour's Deployment is another one"
    );
    anyhow::ensure!(image(&taken) != image(&contour), "Contour is the one of before: {}", image(&taken));
    // The Envoys of before follow it: a route that only it knows is served.
    world.objects.apply(include_str!("../manifests/after-upgrade.yaml")).await?;
    let (http, _) = ports(world).await?;
    for node in &world.nodes {
        node.http(http, "after-upgrade.example.com").until_answered().await?;
    }
    let after = envoys(world).await?;
    anyhow::ensure!(before == after, "pods or containers of Envoy changed: {before:?} became {after:?}");
    println!("      {} requests, none failed", traffic.finish()?);
    Ok(())
}

/// Takes `spec.adopt` back: its Envoys become the operator's, node by node.
pub(crate) async fn replaced(world: &World) -> Result<()> {
    world.objects.apply(&adopting(json!({})).to_string()).await?;
    eventually(ROLLOUT, || async {
        let set = world.objects.get(DAEMON_SET, STOCK, "envoy").await?;
        let (generation, status) = (&set["metadata"]["generation"], &set["status"]);
        anyhow::ensure!(
            status["observedGeneration"] == *generation
                && set["spec"]["updateStrategy"]["type"] == "RollingUpdate"
                && status["updatedNumberScheduled"] == status["desiredNumberScheduled"],
            "its status is {status}"
        );
        Ok(())
    })
    .await?;
    world.until_well(ADOPTING).await?;
    for probe in probes(world).await? {
        probe.until_answered().await?;
    }
    Ok(())
}

/// Deletes all of it.
pub(crate) async fn removed(world: &World) -> Result<()> {
    world.objects.begin_delete(CONTOUR_DEPLOYMENT, ADOPTING.0, ADOPTING.1).await?;
    eventually(ROLLOUT, || async {
        let left = world.objects.get(CONTOUR_DEPLOYMENT, ADOPTING.0, ADOPTING.1).await;
        anyhow::ensure!(left.is_err(), "it is still there: {}", left?["status"]);
        Ok(())
    })
    .await?;
    world.objects.delete(&manifest(world)?, ROLLOUT).await
}

fn adopting(mut spec: Value) -> Value {
    spec["names"] = json!("Stock");
    spec["publishing"] = json!({"type": "LoadBalancerService"});
    json!({
        "apiVersion": CONTOUR_DEPLOYMENT.0, "kind": CONTOUR_DEPLOYMENT.1,
        "metadata": {"namespace": ADOPTING.0, "name": ADOPTING.1}, "spec": spec,
    })
}

/// Both hosts, over both ports of all nodes.
async fn probes(world: &World) -> Result<Vec<Probe>> {
    let (http, https) = ports(world).await?;
    let of_node =
        |node| HOSTS.iter().flat_map(move |host| [world.https(node, https, host), node.http(http, host)]);
    Ok(world.nodes.iter().flat_map(of_node).collect())
}

/// The ports of nodes that lead to Envoy.
async fn ports(world: &World) -> Result<(u16, u16)> {
    eventually(CHANGE, || async {
        let service = world.objects.get(SERVICE, STOCK, "envoy").await?;
        let ports = service["spec"]["ports"].as_array().map_or(&[][..], Vec::as_slice);
        let port = |name: &str| {
            let found = ports.iter().find(|port| port["name"] == name);
            found.and_then(|port| u16::try_from(port["nodePort"].as_u64()?).ok())
        };
        port("http").zip(port("https")).with_context(|| format!("its ports are {ports:?}"))
    })
    .await
}

fn image(workload: &Value) -> &Value {
    &workload["spec"]["template"]["spec"]["containers"][0]["image"]
}

/// Envoy's pods and their containers, by which one sees whether any was replaced or restarted.
async fn envoys(world: &World) -> Result<Vec<Value>> {
    let mut pods = Vec::new();
    for pod in world.objects.list(POD, "app=envoy").await? {
        let containers = pod.data["status"]["containerStatuses"].as_array().cloned().unwrap_or_default();
        let containers: Vec<&Value> = containers.iter().map(|container| &container["containerID"]).collect();
        pods.push(json!([pod.name_any(), pod.metadata.uid, containers]));
    }
    anyhow::ensure!(pods.len() == world.nodes.len(), "the pods of Envoy are {pods:?}");
    pods.sort_by_key(ToString::to_string);
    Ok(pods)
}
