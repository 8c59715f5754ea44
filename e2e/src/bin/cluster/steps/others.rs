//! More classes in the same cluster, and one that clashes.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use contour_e2e::wait::eventually;

use serde_json::{Value, json};

use super::serve::{self, APPS};
use crate::objects::{CONFIG_MAP, CONTOUR_DEPLOYMENT, DAEMON_SET, DEPLOYMENT, HTTP_PROXY, NAMESPACE};
use crate::traffic::Traffic;
use crate::world::{EDGE, ROLLOUT, World, condition};

/// Where the other `ContourDeployment`s are.
pub(crate) const OTHERS: &str = "e2e-others";

/// A namespace that one of them watches besides that of the application.
const WATCHED: &str = "e2e-watched";

/// How long an impossible object may go without an explanation; the goal is a second, on an idle machine.
const EXPLAINED: Duration = Duration::from_secs(5);

/// Two classes beside the first, on other ports: each serves its own routes only, and the first is not touched.
pub(crate) async fn beside(world: &World) -> Result<()> {
    let before = (generations(world).await?, serve::route_state(world).await?);
    world.objects.apply(include_str!("../manifests/others.yaml")).await?;
    world.until_well((OTHERS, "internal")).await?;
    for node in &world.nodes {
        node.http(8080, "internal.example.com").until_answered().await?;
        node.http(8080, "www.example.com").until_status(404).await?;
        node.http(80, "internal.example.com").until_status(404).await?;
    }
    eventually(crate::world::CHANGE, || async {
        let proxy = world.objects.get(HTTP_PROXY, APPS, "internal").await?;
        let status = &proxy["status"];
        anyhow::ensure!(
            status["currentStatus"] == "valid",
            "the status of the other class's route is {status}"
        );
        Ok(())
    })
    .await?;
    let after = (generations(world).await?, serve::route_state(world).await?);
    anyhow::ensure!(before == after, "the first installation changed: {before:?} became {after:?}");
    Ok(())
}

/// A watched namespace is deleted, and its owner holds it: nothing else of the installation stops, and what is deleted of it comes again.
pub(crate) async fn watched_namespace_ends(world: &World) -> Result<()> {
    let internal = (OTHERS, "internal");
    let probes = || world.nodes.iter().map(|node| node.http(8080, "internal.example.com"));
    let watch = |namespaces: Value| json!({"spec": {"contour": {"watchNamespaces": namespaces}}});
    world.objects.apply(include_str!("../manifests/watched.yaml")).await?;
    world.objects.merge(CONTOUR_DEPLOYMENT, OTHERS, "internal", &watch(json!([APPS, WATCHED]))).await?;
    world.until_well(internal).await?;
    let traffic = Traffic::start(probes());
    world.objects.begin_delete(NAMESPACE, "", WATCHED).await?;
    let told = eventually(ROLLOUT, || async {
        let object = world.objects.get(CONTOUR_DEPLOYMENT, OTHERS, "internal").await?;
        let degraded = condition(&object, "Degraded") == "True";
        anyhow::ensure!(degraded, "its status is {}", object["status"]);
        Ok(object["status"]["reason"].clone())
    })
    .await?;
    anyhow::ensure!(told == "NamespaceTerminating", "the reason is {told}");
    println!("      {} requests, none failed", traffic.finish()?);
    // What its own namespace lacks comes again, whatever that one cannot have.
    let before = world.objects.get(DAEMON_SET, OTHERS, "envoy-internal").await?;
    world.objects.begin_delete(DAEMON_SET, OTHERS, "envoy-internal").await?;
    eventually(ROLLOUT, || async {
        let set = world.objects.get(DAEMON_SET, OTHERS, "envoy-internal").await?;
        let (is, was) = (&set["metadata"]["uid"], &before["metadata"]["uid"]);
        anyhow::ensure!(is != was, "the DaemonSet is the one of before: {}", set["metadata"]);
        Ok(())
    })
    .await?;
    for probe in probes() {
        probe.until_answered().await?;
    }
    world.objects.merge(CONTOUR_DEPLOYMENT, OTHERS, "internal", &watch(Value::Null)).await?;
    world.objects.merge(CONFIG_MAP, WATCHED, "held", &json!({"metadata": {"finalizers": null}})).await?;
    world.until_well(internal).await.map(drop)
}

/// One that asks for a class that is taken explains itself, makes nothing, and goes at once.
pub(crate) async fn clash(world: &World) -> Result<()> {
    world.objects.apply(include_str!("../manifests/clash.yaml")).await?;
    let applied = Instant::now();
    let object = eventually(EXPLAINED, || async {
        let object = world.objects.get(CONTOUR_DEPLOYMENT, OTHERS, "clash").await?;
        anyhow::ensure!(condition(&object, "Degraded") == "True", "its status is {}", object["status"]);
        Ok(object)
    })
    .await
    .context("the clash is not reported")?;
    println!("      reported after {:.1} s: {}", applied.elapsed().as_secs_f64(), object["status"]["reason"]);
    for (kind, name) in [(DEPLOYMENT, "contour-clash"), (DAEMON_SET, "envoy-clash")] {
        let made = world.objects.get(kind, OTHERS, name).await.is_ok();
        anyhow::ensure!(!made, "{} {name} was made in spite of the clash", kind.1);
    }
    world.objects.delete(include_str!("../manifests/clash.yaml"), crate::world::CHANGE).await
}

/// The generations of what the first installation runs.
async fn generations(world: &World) -> Result<[serde_json::Value; 2]> {
    let contour = world.objects.get(DEPLOYMENT, EDGE.0, "contour-edge").await?;
    let envoy = world.objects.get(DAEMON_SET, EDGE.0, "envoy-edge").await?;
    Ok([&contour, &envoy].map(|object| object["metadata"]["generation"].clone()))
}
