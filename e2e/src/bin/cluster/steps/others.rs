//! More classes in the same cluster, and one that clashes.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use contour_e2e::wait::eventually;

use super::serve::{self, APPS};
use crate::objects::{CONTOUR_DEPLOYMENT, DAEMON_SET, DEPLOYMENT, HTTP_PROXY};
use crate::world::{EDGE, World, condition};

/// Where the other `ContourDeployment`s are.
pub(crate) const OTHERS: &str = "e2e-others";

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
